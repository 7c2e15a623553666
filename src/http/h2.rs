//! One HTTP/2 connection, shared by streams up to what the peer and the settings allow: one task reads and writes for all
//! of them, once a turn of the core, and one asks a silent peer whether it is there.
//! Its tasks live as long as it does. Invariant: a place on it counts as taken until its stream is over or reset.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::http::bounds::{Bounds, Fault, Pace, REST, Raw, reason_of_io};
use crate::http::client::ClientSettings;
use crate::http::failure::{self, Failure, Phase};
use crate::http::frame::Broken;
use crate::http::io::{Io, Scratch};
use crate::http::limits::Timings;
use crate::http::mux::Mux;
use crate::http::pool::{Host, Slot};
use crate::http::render::Outgoing;
use crate::http::stream::{Lost, Stream};
use crate::runtime::{Task, sleep, spawn};
use crate::time::{Mono, Now};

/// A connection.
pub(super) struct H2 {
    mux: RefCell<Mux>,
    /// Wakes the task that reads and writes.
    driver: RefCell<Option<Waker>>,
    /// Whether it has been woken since it last ran.
    is_woken: Cell<bool>,
    /// Whether anything has come since the last look.
    is_heard: Cell<bool>,
    is_lost: Cell<bool>,
    pub(super) active: Cell<usize>,
    pub(super) idle_since: Cell<Mono>,
    pub(super) born: Mono,
    uses: Cell<u32>,
    uses_max: u32,
    /// How many streams the settings allow, and how many the peer does.
    streams_max: usize,
    peer_max: Cell<usize>,
    /// Whether the peer's settings have come; until then one stream is let on.
    settled: Cell<bool>,
    draining: Cell<bool>,
    host: Weak<Host>,
    slot: Slot,
    tasks: RefCell<Vec<Task<()>>>,
}

/// A place on a connection: one stream.
pub(super) struct Place(pub(super) Rc<H2>);

/// A request under way.
pub(super) struct Sent<'a> {
    h2: &'a Rc<H2>,
    stream: Rc<Stream>,
}

impl H2 {
    /// Makes a connection known to its host and takes the first place on it.
    pub(super) fn share(
        io: Io,
        scratch: Scratch,
        slot: Slot,
        host: &Rc<Host>,
        settings: &ClientSettings,
        now: Mono,
    ) -> Place {
        let h2 = Rc::new(H2 {
            mux: RefCell::new(Mux::new()),
            driver: RefCell::default(),
            is_woken: Cell::new(false),
            is_heard: Cell::new(false),
            is_lost: Cell::new(false),
            active: Cell::new(0),
            idle_since: Cell::new(now),
            born: now,
            uses: Cell::new(0),
            uses_max: settings.uses_max,
            streams_max: settings.h2_streams_max.max(1),
            peer_max: Cell::new(UNSETTLED_STREAMS),
            settled: Cell::new(false),
            draining: Cell::new(false),
            host: Rc::downgrade(host),
            slot,
            tasks: RefCell::default(),
        });
        let place = h2.place();
        host.share(h2.clone());
        let keeper = keep(Rc::downgrade(&h2), settings.h2_ping_interval, settings.h2_ping_timeout);
        // Last, as a task runs at once up to its first wait: it may find the peer's settings and let others on.
        let tasks = [spawn(keeper), spawn(drive(io, scratch, Rc::downgrade(&h2)))];
        h2.tasks.borrow_mut().extend(tasks);
        place
    }

    /// Whether another stream may be opened.
    pub(super) fn has_room(&self) -> bool {
        !self.is_over() && self.active.get() < self.streams_allowed()
    }

    /// Whether it takes no more streams for good.
    pub(super) fn is_over(&self) -> bool {
        self.draining.get() || self.is_lost.get()
    }

    /// Takes a place; call it only when there is room.
    pub(super) fn place(self: &Rc<Self>) -> Place {
        self.active.set(self.active.get() + 1);
        self.uses.set(self.uses.get() + 1);
        if self.uses.get() >= self.uses_max {
            self.draining.set(true);
        }
        Place(self.clone())
    }

    /// Lets no more streams on; the connection ends with its last one.
    pub(super) fn drain(self: &Rc<Self>) {
        self.draining.set(true);
        self.settle();
        if self.active.get() == 0
            && let Some(host) = self.host.upgrade()
        {
            host.retire(self);
        }
    }

    /// Ends its tasks, whatever they do, and waits until they are gone.
    pub(super) async fn close(&self) {
        self.draining.set(true);
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        for task in tasks {
            task.cancel().await;
        }
    }

    fn streams_allowed(&self) -> usize {
        if self.settled.get() { self.peer_max.get().min(self.streams_max) } else { UNSETTLED_STREAMS }
    }

    /// Notes how many streams the peer allows.
    fn allow(&self, streams: usize) {
        if self.peer_max.replace(streams) < streams
            && self.settled.get()
            && let Some(host) = self.host.upgrade()
        {
            host.released();
        }
        self.settle();
    }

    /// The peer's settings are known: its other streams may come.
    fn settle(&self) {
        if !self.settled.replace(true) {
            self.slot.opened();
        }
    }

    /// Has what is to be sent written in this turn, once all who are to run in it have added theirs.
    fn wake(&self) {
        if !self.is_woken.replace(true)
            && let Some(driver) = &*self.driver.borrow()
        {
            driver.wake_by_ref();
        }
    }

    /// The connection is no more.
    fn lose(self: &Rc<Self>, reason: &'static str, what: String) {
        if !self.is_lost.replace(true) {
            self.mux.borrow_mut().lose(Lost { reason, what });
        }
        self.drain();
        self.wake();
    }

    /// Reads and writes what can be, and acts on what has come.
    fn advance(self: &Rc<Self>, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<Turn> {
        self.is_woken.set(false);
        match &mut *self.driver.borrow_mut() {
            Some(driver) => driver.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        if self.is_lost.get() {
            return Poll::Ready(Turn::Over);
        }
        let mut mux = self.mux.borrow_mut();
        let turn = wire.advance(&mut mux, cx);
        let (streams_max, takes_streams, code) = (mux.streams_max(), mux.takes_streams(), mux.goaway_code());
        mux.rest();
        drop(mux);
        if wire.is_heard {
            wire.is_heard = false;
            self.is_heard.set(true);
        }
        if let Some(streams_max) = streams_max {
            self.allow(streams_max);
        }
        if !takes_streams {
            self.drain();
        }
        turn.map(|turn| match turn {
            Ok(turn) => turn,
            Err(End::Broken(broken)) => {
                self.lose(failure::BAD_FRAMING, format!("expected {}", broken.what));
                Turn::Over
            }
            Err(End::Closed(error)) => {
                match code {
                    Some(code) => self.lose(failure::GOAWAY, format!("the peer shut down with code {code}")),
                    None => self.lose(reason_of_io(&error), error.to_string()),
                }
                Turn::Over
            }
        })
    }
}

impl Place {
    /// Whether the connection had served an earlier stream.
    pub(super) fn is_reused(&self) -> bool {
        self.0.uses.get() > 1
    }

    /// Hands a request to the connection.
    pub(super) fn send(&self, request: &Outgoing<'_>, bounds: &Bounds<'_>) -> Result<Sent<'_>, Fault> {
        bounds.await_head();
        let stream = self.0.mux.borrow_mut().open(request, bounds.limits.body_bytes_max);
        let Some(stream) = stream else {
            self.0.drain();
            let message = format!("{}: the connection took no more requests", bounds.host);
            let failure = Failure::before(Phase::Send, failure::CLOSED_EARLY, message);
            return Err(Fault { failure: Failure { reused: bounds.reused, ..failure }, stale: true });
        };
        self.0.wake();
        Ok(Sent { h2: &self.0, stream })
    }
}

impl Sent<'_> {
    /// Reads the answer.
    pub(super) async fn receive(self, bounds: &Bounds<'_>, timings: &mut Timings) -> Result<Raw, Fault> {
        let mut pace = Pace::default();
        let over = poll_fn(|cx| self.stream.poll(cx, bounds, &mut pace)).await;
        let end = Now::read();
        let head_at = pace.head_at.unwrap_or(end.mono);
        timings.first_byte = head_at.since(bounds.sent);
        timings.body = end.mono.since(head_at);
        timings.ended = end.mono;
        let mut state = self.stream.state.borrow_mut();
        timings.bytes_in = state.body.len() as u64;
        if let Err(fault) = over {
            drop(state);
            if fault.stale {
                // It takes no more, whether or not its task has noticed yet.
                self.h2.drain();
            }
            return Err(fault);
        }
        let (headers, body) = (std::mem::take(&mut state.headers), std::mem::take(&mut state.body));
        Ok(Raw { status: state.status, headers, body, ts_recv: end.wall })
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        let mut mux = self.h2.mux.borrow_mut();
        mux.forget(&self.stream);
        if !mux.unsent().is_empty() {
            self.h2.wake();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let h2 = &self.0;
        h2.active.set(h2.active.get() - 1);
        if h2.active.get() == 0 {
            h2.idle_since.set(Mono::now());
        }
        let Some(host) = h2.host.upgrade() else { return };
        if h2.active.get() == 0 && h2.is_over() {
            host.retire(h2);
        } else {
            host.released();
        }
    }
}

/// The socket, in the hands of the task that reads and writes.
struct Wire {
    io: Io,
    scratch: Scratch,
    /// What came since the socket was last empty.
    streak: usize,
    is_heard: bool,
    needs_flush: bool,
    /// Why nothing can be written any more; the peer may have answered before it stopped reading.
    unwritable: Option<io::Error>,
}

/// What a turn ended with.
enum Turn {
    Over,
    /// There is more to read, and others wait.
    Rest,
}

/// Why there is no other turn.
enum End {
    Broken(Broken),
    Closed(io::Error),
}

impl Wire {
    fn advance(&mut self, mux: &mut Mux, cx: &mut Context<'_>) -> Poll<Result<Turn, End>> {
        let rest_at = Pace::turn_end(self.streak);
        let scratch = self.scratch.clone();
        loop {
            mux.pump();
            if self.unwritable.is_none()
                && let Err(error) = self.write(mux, cx)
            {
                self.unwritable = Some(error);
            }
            let mut buffer = scratch.borrow_mut();
            let count = match self.io.poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(count)) => count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.closed(error))),
                Poll::Pending => {
                    self.streak = 0;
                    return match self.unwritable.take() {
                        Some(error) => Poll::Ready(Err(End::Closed(error))),
                        None => Poll::Pending,
                    };
                }
            };
            if count == 0 {
                let end = self.closed(io::ErrorKind::UnexpectedEof.into());
                return Poll::Ready(Err(end));
            }
            self.is_heard = true;
            let taken = mux.take(&buffer[..count]);
            drop(buffer);
            if let Err(broken) = taken {
                mux.say_goodbye(broken.code);
                // As far as the socket takes it.
                let _ = self.write(mux, cx);
                return Poll::Ready(Err(End::Broken(broken)));
            }
            self.streak += count;
            if self.streak >= rest_at {
                return Poll::Ready(Ok(Turn::Rest));
            }
        }
    }

    /// Why it could not be written says more than why there was nothing to read.
    fn closed(&mut self, error: io::Error) -> End {
        End::Closed(self.unwritable.take().unwrap_or(error))
    }

    /// Writes what the socket takes.
    fn write(&mut self, mux: &mut Mux, cx: &mut Context<'_>) -> io::Result<()> {
        while !mux.unsent().is_empty() {
            let Poll::Ready(count) = self.io.poll_write(cx, mux.unsent()) else { return Ok(()) };
            let count = count?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            mux.sent(count);
            mux.pump();
            self.needs_flush = true;
        }
        if self.needs_flush
            && let Poll::Ready(flushed) = self.io.poll_flush(cx)
        {
            flushed?;
            self.needs_flush = false;
        }
        Ok(())
    }
}

/// Moves a connection on until it is over.
async fn drive(io: Io, scratch: Scratch, h2: Weak<H2>) {
    let mut wire = Wire { io, scratch, streak: 0, is_heard: false, needs_flush: false, unwritable: None };
    loop {
        let turn = poll_fn(|cx| match h2.upgrade() {
            Some(h2) => h2.advance(&mut wire, cx),
            None => Poll::Ready(Turn::Over),
        });
        match turn.await {
            Turn::Over => return,
            Turn::Rest => sleep(REST).await,
        }
    }
}

/// Asks a peer that has been silent, with streams open, whether it is there (RFC 9113 section 6.7).
async fn keep(h2: Weak<H2>, interval: Duration, timeout: Duration) {
    let mut silent = 0;
    loop {
        sleep((interval / TICKS).max(TICK_MIN)).await;
        let Some(h2) = h2.upgrade() else { return };
        h2.mux.borrow_mut().calm();
        if h2.is_heard.replace(false) || h2.active.get() == 0 {
            silent = 0;
            continue;
        }
        silent += 1;
        if silent < TICKS {
            continue;
        }
        silent = 0;
        h2.mux.borrow_mut().ping();
        h2.wake();
        let asked = Rc::downgrade(&h2);
        drop(h2);
        sleep(timeout).await;
        let Some(h2) = asked.upgrade() else { return };
        if !h2.is_heard.get() {
            h2.lose(failure::RESET, format!("no answer to a ping within {timeout:?}"));
            return;
        }
    }
}

/// Until the peer's settings come: a server may refuse more, and a second connection is not opened meanwhile.
const UNSETTLED_STREAMS: usize = 1;
/// Looks at a peer in the time that it may be silent: no clock is read for what comes.
const TICKS: u32 = 4;
const TICK_MIN: Duration = Duration::from_millis(1);
