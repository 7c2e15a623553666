//! One HTTP/1.1 connection and its exchanges. It has no task: whoever uses it moves it on, and while idle it holds its
//! socket and nothing else. The answer's head is read where it lies in the shard's read buffer, and the body is copied out
//! of it once.
//! Invariants: a connection whose exchange was dropped midway is dropped with it, never given back; a body is handed out
//! only when its framing said that it is whole.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use crate::http::bounds::{Bounds, Fault, Pace, Raw, Turn, reason_of_io, rest};
use crate::http::failure::{self, Failure, Phase};
use crate::http::framing::{Framing, HEAD_BYTES_MAX, Head, Wrong, head};
use crate::http::io::{Io, Scratch};
use crate::http::limits::Timings;
use crate::http::pool::Slot;
use crate::time::{Mono, Now};

/// A connection, idle or in use.
pub(super) struct H1 {
    io: Io,
    /// Whether another exchange may follow.
    keeps: bool,
    pub(super) slot: Slot,
    pub(super) born: Mono,
    pub(super) uses: u32,
}

impl H1 {
    pub(super) fn new(io: Io, slot: Slot, now: Mono) -> Box<H1> {
        Box::new(H1 { io, keeps: true, slot, born: now, uses: 0 })
    }

    /// Sends a request's bytes and reads the answer; the bytes' memory goes to `spare` once it is free.
    pub(super) async fn exchange(
        &mut self,
        request: Vec<u8>,
        spare: &Cell<Vec<u8>>,
        scratch: &Scratch,
        bounds: &Bounds<'_>,
        timings: &mut Timings,
    ) -> Result<Raw, Fault> {
        self.uses += 1;
        // Where more may be sent than was received, an end that has come already is not one to write into.
        if !self.keeps || (bounds.reused && !self.is_alive()) {
            let message = format!("{}: the connection was closed while idle", bounds.host);
            let failure =
                Failure { reused: bounds.reused, ..Failure::before(Phase::Send, failure::CLOSED_EARLY, message) };
            return Err(Fault { failure, stale: true });
        }
        self.keeps = false;
        bounds.await_head();
        let mut exchange = Exchange {
            io: &mut self.io,
            scratch,
            bounds,
            request,
            spare,
            sending: Sending::At(0),
            begun: Vec::new(),
            head: None,
            body: Vec::new(),
            pace: Pace::default(),
            bytes_in: 0,
            bytes_out: 0,
        };
        let over = loop {
            let mut began = None;
            let turn = poll_fn(|cx| {
                began = Pace::is_big(exchange.body.len()).then(Mono::now);
                exchange.poll(cx)
            });
            match turn.await {
                Turn::Over(over) => break over,
                Turn::Rest => rest(began.map_or(Duration::ZERO, |began| Mono::now().since(began))).await,
            }
        };
        let end = Now::read();
        let head_at = exchange.pace.head_at.unwrap_or(end.mono);
        timings.first_byte = head_at.since(bounds.sent);
        timings.body = end.mono.since(head_at);
        timings.ended = end.mono;
        timings.bytes_in = exchange.bytes_in;
        timings.bytes_out = exchange.bytes_out;
        over?;
        let sent = matches!(exchange.sending, Sending::Done);
        let (head, body) = (exchange.head, exchange.body);
        let head = head.ok_or_else(|| bounds.after(Phase::FirstByte, failure::CLOSED_EARLY, "expected an answer"))?;
        self.keeps = head.keeps && sent;
        Ok(Raw { status: head.status, headers: head.headers, body, ts_recv: end.wall })
    }

    /// Closes it and keeps its place in the pool for another.
    pub(super) fn into_slot(self) -> Slot {
        self.slot.reopen()
    }

    /// Whether another exchange can follow.
    pub(super) fn is_reusable(&self) -> bool {
        self.keeps
    }

    /// Whether the peer has neither closed an idle connection nor sent what nobody asked for.
    pub(super) fn is_alive(&mut self) -> bool {
        self.io.poll_quiet(&mut Context::from_waker(Waker::noop()))
    }
}

/// An exchange under way.
struct Exchange<'a> {
    io: &'a mut Io,
    scratch: &'a Scratch,
    bounds: &'a Bounds<'a>,
    request: Vec<u8>,
    spare: &'a Cell<Vec<u8>>,
    sending: Sending,
    /// The beginning of a head that did not come whole.
    begun: Vec<u8>,
    head: Option<Head>,
    body: Vec<u8>,
    pace: Pace,
    bytes_in: u64,
    bytes_out: u64,
}

/// How far the request has gone.
enum Sending {
    At(usize),
    Done,
    /// The peer may have answered before it stopped reading.
    Failed(io::Error),
}

impl Exchange<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        if matches!(self.sending, Sending::At(_))
            && let Poll::Ready(sent) = self.poll_send(cx)
        {
            self.sending = sent.map_or_else(Sending::Failed, |()| Sending::Done);
            let mut request = std::mem::take(&mut self.request);
            if request.capacity() <= SPARE_BYTES_MAX {
                request.clear();
                self.spare.set(request);
            }
        }
        let turn_end = Pace::turn_end(self.body.len());
        for _ in 0..READS_PER_TURN {
            let mut buffer = self.scratch.borrow_mut();
            match self.io.poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Turn::Over(self.ended())),
                Poll::Ready(Ok(count)) => {
                    self.bytes_in += count as u64;
                    match self.take(&buffer[..count]) {
                        Ok(false) => {}
                        Ok(true) => return Poll::Ready(Turn::Over(Ok(()))),
                        Err(failure) => return Poll::Ready(Turn::Over(Err(failure.into()))),
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Turn::Over(Err(self.lost(&error)))),
                Poll::Pending => return self.wait(cx).map(|failure| Turn::Over(Err(failure.into()))),
            }
            if self.body.len() >= turn_end {
                break;
            }
        }
        let over = self.wait(cx);
        Poll::Ready(if let Poll::Ready(failure) = over { Turn::Over(Err(failure.into())) } else { Turn::Rest })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Sending::At(at) = &mut self.sending else { return Poll::Ready(Ok(())) };
        while *at < self.request.len() {
            let count = ready!(self.io.poll_write(cx, &self.request[*at..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *at += count;
            self.bytes_out += count as u64;
        }
        self.io.poll_flush(cx)
    }

    /// Takes what has come; whether the answer is whole with it.
    fn take(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        if self.head.is_some() {
            return self.feed(bytes);
        }
        if self.begun.is_empty() {
            if self.read_head(bytes)? {
                return self.feed(&bytes[self.head.as_ref().map_or(0, |head| head.bytes)..]);
            }
            self.begun.extend_from_slice(bytes);
            return Ok(false);
        }
        self.begun.extend_from_slice(bytes);
        // A head ends with a line: whoever sends it byte by byte has it read once a line.
        let may_end = memchr::memchr(b'\n', bytes).is_some() || self.begun.len() >= HEAD_BYTES_MAX;
        let begun = std::mem::take(&mut self.begun);
        if may_end && self.read_head(&begun)? {
            return self.feed(&begun[self.head.as_ref().map_or(0, |head| head.bytes)..]);
        }
        self.begun = begun;
        Ok(false)
    }

    /// Reads the head if it is whole.
    fn read_head(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        self.head = head(bytes).map_err(|wrong| self.wrong(&wrong, Phase::FirstByte))?;
        if let Some(head) = &self.head {
            self.body = self.bounds.room(head.framing.length())?;
        }
        Ok(self.head.is_some())
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        let Some(head) = &mut self.head else { return Ok(false) };
        self.bounds.make_room(&mut self.body, bytes.len(), head.framing.length());
        let fed = head.framing.feed(bytes, &mut self.body, self.bounds.limits.body_bytes_max);
        let (taken, fits) = match fed {
            Ok(fed) => fed,
            Err(wrong) => return Err(self.wrong(&wrong, Phase::Body)),
        };
        if !fits {
            return Err(self.bounds.too_large());
        }
        // Bytes beyond the end are an answer to no request.
        head.keeps &= taken == bytes.len();
        Ok(head.framing.is_done())
    }

    fn wait(&mut self, cx: &Context<'_>) -> Poll<Failure> {
        if self.head.is_some() {
            return self.pace.wait(cx, self.bounds, self.body.len());
        }
        self.bounds.alarm.poll(cx).map(|()| self.bounds.first_byte_over())
    }

    /// The peer has closed.
    fn ended(&self) -> Result<(), Fault> {
        match &self.head {
            Some(head) if head.framing == Framing::Close => Ok(()),
            Some(_) => {
                let what = format!("expected the whole body, found its end after {} bytes", self.body.len());
                Err(self.bounds.after(Phase::Body, failure::CLOSED_EARLY, what).into())
            }
            None => Err(self.lost(&io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// The connection is lost.
    fn lost(&self, error: &io::Error) -> Fault {
        if self.head.is_some() {
            let what = format!("expected the whole body, found: {error}");
            return self.bounds.after(Phase::Body, reason_of_io(error), what).into();
        }
        // Why it could not be written says more than why there was nothing to read.
        let (phase, error) = match &self.sending {
            Sending::Failed(error) => (Phase::Send, error),
            Sending::At(_) | Sending::Done => (Phase::FirstByte, error),
        };
        let what = format!("expected an answer, found: {error}");
        let retry_safe = self.bytes_out == 0;
        let failure = Failure { retry_safe, ..self.bounds.after(phase, reason_of_io(error), what) };
        let died = matches!(failure.reason, failure::CLOSED_EARLY | failure::RESET);
        Fault { failure, stale: died && self.begun.is_empty() }
    }

    fn wrong(&self, wrong: &Wrong, phase: Phase) -> Failure {
        match wrong {
            Wrong::Framing(what) => self.bounds.after(phase, failure::BAD_FRAMING, format!("expected {what}")),
            Wrong::HeadTooLarge => {
                let what = format!("expected a head of at most {HEAD_BYTES_MAX} bytes and few headers");
                self.bounds.after(phase, failure::HEAD_TOO_LARGE, what)
            }
        }
    }
}

/// The largest request whose memory is kept for the next.
const SPARE_BYTES_MAX: usize = 16 << 10;
/// For a peer that sends its body in the smallest pieces.
const READS_PER_TURN: u32 = 64;
