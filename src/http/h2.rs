//! One HTTP/2 connection, shared by streams up to what the peer and the settings allow.
//! Its tasks live as long as it does. Invariant: a place on it counts as taken until its stream is over or reset.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use futures_lite::FutureExt as _;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};

use crate::http::bounds::{Bounds, Fault, Raw};
use crate::http::client::ClientSettings;
use crate::http::failure::{self, Failure, Phase};
use crate::http::io::Io;
use crate::http::limits::Timings;
use crate::http::pool::{Host, Slot};
use crate::http::stream::{Payload, receive};
use crate::runtime::{Task, sleep, spawn};
use crate::time::Mono;

/// A connection.
pub(super) struct H2 {
    sender: RefCell<SendRequest<Payload>>,
    pub(super) active: Cell<usize>,
    pub(super) idle_since: Cell<Mono>,
    pub(super) born: Mono,
    uses: Cell<u32>,
    uses_max: u32,
    streams_max: usize,
    /// How many streams the peer allows.
    peer_max: Cell<usize>,
    /// Whether the peer's settings have come; until then one stream is let on.
    settled: Cell<bool>,
    draining: Cell<bool>,
    host: Weak<Host>,
    slot: Slot,
    spawned: Rc<Spawned>,
    tasks: RefCell<Vec<Task<()>>>,
}

/// A place on a connection: one stream.
pub(super) struct Place(pub(super) Rc<H2>);

impl H2 {
    /// Makes a connection known to its host and takes the first place on it.
    pub(super) async fn share(
        io: Io,
        slot: Slot,
        host: &Rc<Host>,
        settings: &ClientSettings,
        now: Mono,
    ) -> Result<Place, Failure> {
        let executor = Spawner(Rc::default());
        let (sender, connection) = Builder::new(executor.clone())
            .timer(LocalTimer)
            .keep_alive_interval(settings.h2_ping_interval)
            .keep_alive_timeout(settings.h2_ping_timeout)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .initial_max_send_streams(UNSETTLED_STREAMS)
            .max_header_list_size(HEAD_BYTES_MAX)
            .handshake::<Io, Payload>(io)
            .await
            .map_err(|error| Failure::before(Phase::Connect, failure::CONNECT_FAILED, error.to_string()))?;
        let h2 = Rc::new(H2 {
            sender: RefCell::new(sender),
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
            spawned: executor.0.clone(),
            tasks: RefCell::new(executor.0.connection.take().into_iter().collect()),
        });
        executor.0.is_open.set(true);
        let place = h2.place();
        host.share(h2.clone());
        // Last, as a task runs at once up to its first wait: it may find the peer's settings and let others on.
        let driver = spawn(drive(connection, Rc::downgrade(&h2), executor.0));
        h2.tasks.borrow_mut().push(driver);
        Ok(place)
    }

    /// Whether another stream may be opened.
    pub(super) fn has_room(&self) -> bool {
        if self.draining.get() || self.sender.borrow().is_closed() {
            return false;
        }
        self.active.get() < self.streams_allowed()
    }

    /// Whether it takes no more streams for good.
    pub(super) fn is_over(&self) -> bool {
        self.draining.get() || self.sender.borrow().is_closed()
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

    /// A peer whose limit is the one assumed is known by its first answer, which follows its settings.
    fn answered(&self) {
        if !self.spawned.is_answered.replace(true)
            && let Some(driver) = &*self.spawned.driver.borrow()
        {
            driver.wake_by_ref();
        }
    }

    /// The peer's settings are known: its other streams may come.
    fn settle(&self) {
        if !self.settled.replace(true) {
            self.slot.opened();
        }
    }
}

impl Place {
    /// Whether the connection had served an earlier stream.
    pub(super) fn is_reused(&self) -> bool {
        self.0.uses.get() > 1
    }

    /// Sends a request and reads the answer.
    pub(super) async fn exchange(
        &self,
        request: hyper::Request<Payload>,
        body_bytes: u64,
        bounds: &Bounds<'_>,
        timings: &mut Timings,
    ) -> Result<Raw, Fault> {
        let response = self.0.sender.borrow_mut().try_send_request(request);
        let raw = receive(response, bounds, timings).await;
        timings.bytes_out = body_bytes;
        match &raw {
            Ok(raw) => {
                timings.bytes_in = raw.body.len() as u64;
                self.0.answered();
            }
            // It takes no more, whether or not its driver has noticed yet.
            Err(fault) if fault.stale => self.0.drain(),
            Err(_) => {}
        }
        raw
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

/// Moves the side of a connection on that takes requests, and watches what the peer allows.
async fn drive(connection: Connection<Io, Payload, Spawner>, watched: Weak<H2>, spawned: Rc<Spawned>) {
    let mut connection = pin!(connection);
    poll_fn(|cx| {
        if !spawned.is_settled.get() {
            *spawned.driver.borrow_mut() = Some(cx.waker().clone());
        }
        let over = connection.as_mut().poll(cx).is_ready();
        let peer_max = connection.current_max_send_streams();
        let unknown = peer_max == UNSETTLED_STREAMS && !spawned.is_answered.get();
        if !over && unknown && !spawned.is_settled.get() {
            return Poll::Pending;
        }
        spawned.is_settled.set(true);
        let Some(h2) = watched.upgrade() else { return Poll::Ready(()) };
        if over {
            h2.drain();
            return Poll::Ready(());
        }
        h2.allow(peer_max);
        Poll::Pending
    })
    .await;
}

/// Starts hyper's tasks: the first one is the connection, which is kept to be ended with it; the others are one for each
/// stream and end when the connection does.
#[derive(Clone)]
struct Spawner(Rc<Spawned>);

#[derive(Default)]
struct Spawned {
    connection: Cell<Option<Task<()>>>,
    is_open: Cell<bool>,
    is_settled: Cell<bool>,
    is_answered: Cell<bool>,
    driver: RefCell<Option<Waker>>,
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Spawner {
    fn execute(&self, future: F) {
        if self.0.is_open.get() {
            spawn(future).detach();
            return;
        }
        let spawned = self.0.clone();
        let mut future = Box::pin(future);
        let task = spawn(poll_fn(move |cx| {
            let over = future.as_mut().poll(cx);
            // The peer's settings come to this task, and only the driver can read them.
            if !spawned.is_settled.get()
                && let Some(driver) = &*spawned.driver.borrow()
            {
                driver.wake_by_ref();
            }
            over
        }));
        self.0.connection.set(Some(task));
    }
}

/// hyper wants a timer that is `Send + Sync`, and the executor's is neither: a task of this core sleeps, and its one-shot
/// is both.
#[derive(Clone, Copy)]
struct LocalTimer;

struct LocalSleep(oneshot::Receiver<()>);

impl LocalTimer {
    fn sleep_for(duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        let (mut tell, told) = oneshot::channel();
        spawn(async move {
            // Ends early when nobody waits for it.
            sleep(duration).or(tell.cancellation()).await;
            let _ = tell.send(());
        })
        .detach();
        Box::pin(LocalSleep(told))
    }
}

impl hyper::rt::Timer for LocalTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        LocalTimer::sleep_for(duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        LocalTimer::sleep_for(deadline.saturating_duration_since(hyper::rt::Timer::now(self)))
    }
}

impl Future for LocalSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(|_| ())
    }
}

impl hyper::rt::Sleep for LocalSleep {}

/// Until the peer's settings come: a server may refuse more, and a second connection is not opened meanwhile.
const UNSETTLED_STREAMS: usize = 1;
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
const HEAD_BYTES_MAX: u32 = 64 << 10;
