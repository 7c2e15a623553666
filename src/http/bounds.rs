//! What an exchange is measured against, alike for HTTP/1.1 and HTTP/2: the limits of its phases and of its body, and
//! the words for what exceeds them.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::http::alarm::Alarm;
use crate::http::failure::{self, Failure, Phase};
use crate::http::limits::Limits;
use crate::runtime::sleep;
use crate::time::{Deadline, Mono, UnixNanos};
use crate::wire::Headers;

/// A whole answer, its body as it came.
pub(super) struct Raw {
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) body: Vec<u8>,
    pub(super) ts_recv: UnixNanos,
}

/// Why there is no whole answer, and what the request's fate was.
pub(super) struct Fault {
    pub(super) failure: Failure,
    /// The connection was dead before the request was written, or died without a byte of an answer: on a reused
    /// connection the sign that it had been closed while idle.
    pub(super) stale: bool,
}

impl From<Failure> for Fault {
    /// A failure of a connection that lived.
    fn from(failure: Failure) -> Self {
        Fault { failure, stale: false }
    }
}

/// What a turn of reading ended with.
pub(super) enum Turn {
    /// The answer is whole, or will not be.
    Over(Result<(), Fault>),
    /// There is more to read, and others wait.
    Rest,
}

/// What an exchange is measured against.
pub(super) struct Bounds<'a> {
    pub(super) limits: &'a Limits,
    pub(super) deadline: Deadline,
    pub(super) alarm: &'a Alarm,
    pub(super) host: &'a str,
    /// When the request was handed to the connection.
    pub(super) sent: Mono,
    pub(super) reused: bool,
}

impl Bounds<'_> {
    /// Sets the alarm for the head.
    pub(super) fn await_head(&self) {
        self.alarm.reset((self.sent + self.limits.first_byte).min(self.deadline.at()));
    }

    /// Room for a body.
    ///
    /// # Errors
    /// When the length alone exceeds the cap.
    pub(super) fn room(&self, length: Option<u64>) -> Result<Vec<u8>, Failure> {
        room(length, self.limits.body_bytes_max).ok_or_else(|| self.too_large())
    }

    /// Grows a body for a chunk, after which `rest` bytes are due.
    pub(super) fn make_room(&self, body: &mut Vec<u8>, chunk: usize, rest: Option<u64>) {
        grow(body, chunk, rest, self.limits.body_bytes_max);
    }

    /// A failure after the request was sent.
    pub(super) fn after(&self, phase: Phase, reason: &'static str, what: impl fmt::Display) -> Failure {
        Failure::after(phase, reason, format!("{}: {what}", self.host), self.reused)
    }

    /// The body exceeds its cap.
    pub(super) fn too_large(&self) -> Failure {
        let what = format!("expected a body of at most {} bytes", self.limits.body_bytes_max);
        self.after(Phase::Body, failure::BODY_TOO_LARGE, what)
    }

    /// Why the alarm went off before the head.
    pub(super) fn first_byte_over(&self) -> Failure {
        let now = Mono::now();
        if self.deadline.passed(now) {
            return self.deadline_over();
        }
        if now < self.sent + self.limits.first_byte {
            return self.closed();
        }
        let what = format!("no answer within {:?}", self.limits.first_byte);
        self.after(Phase::FirstByte, failure::FIRST_BYTE_TIMEOUT, what)
    }

    fn deadline_over(&self) -> Failure {
        self.after(Phase::Deadline, failure::DEADLINE, "the answer was not whole at the deadline")
    }

    /// An alarm before its time: the client is closing.
    fn closed(&self) -> Failure {
        self.after(Phase::Wait, failure::POOL_CLOSED, "the client was closed during the exchange")
    }
}

/// The limits of a body's time, set up when it does not come at once.
#[derive(Default)]
pub(super) struct Pace {
    /// When the head was there; told only where the body had to be waited for.
    pub(super) head_at: Option<Mono>,
    body_at: Mono,
    span_at: Mono,
    span_bytes: usize,
}

impl Pace {
    /// Holds the time limits of a body of which `received` bytes have come; ready with why it is given up.
    pub(super) fn wait(&mut self, cx: &Context<'_>, bounds: &Bounds<'_>, received: usize) -> Poll<Failure> {
        if self.head_at.is_none() {
            let now = Mono::now();
            self.head_at = Some(now);
            self.body_at = now + bounds.limits.body;
            self.start_span(now, received, bounds);
        }
        while bounds.alarm.poll(cx).is_ready() {
            let now = Mono::now();
            if bounds.deadline.passed(now) {
                return Poll::Ready(bounds.deadline_over());
            }
            if now >= self.body_at {
                let what = format!("the body was not whole within {:?}", bounds.limits.body);
                return Poll::Ready(bounds.after(Phase::Body, failure::BODY_TIMEOUT, what));
            }
            if now < self.span_at {
                return Poll::Ready(bounds.closed());
            }
            let came = (received - self.span_bytes) as u64;
            let least = bounds.limits.throughput_bytes_min * bounds.limits.throughput_span.as_millis() as u64 / 1_000;
            if came < least {
                let span = bounds.limits.throughput_span;
                let what = format!("expected at least {least} bytes of the body within {span:?}, found {came}");
                return Poll::Ready(bounds.after(Phase::Body, failure::BODY_TOO_SLOW, what));
            }
            self.start_span(now, received, bounds);
        }
        Poll::Pending
    }

    /// Whether a body of so many bytes counts as big: its turns are taken one at a time.
    pub(super) fn is_big(received: usize) -> bool {
        received >= BYTES_UNRESTED - BYTES_PER_TURN
    }

    /// How far a body that holds `received` bytes may grow in one turn: a peer faster than this core must not keep it from
    /// the other exchanges.
    pub(super) fn turn_end(received: usize) -> usize {
        (received + BYTES_PER_TURN).max(BYTES_UNRESTED)
    }

    fn start_span(&mut self, now: Mono, bytes: usize, bounds: &Bounds<'_>) {
        let judged = bounds.limits.throughput_bytes_min > 0;
        self.span_at = now + if judged { bounds.limits.throughput_span } else { NEVER };
        self.span_bytes = bytes;
        bounds.alarm.reset(self.span_at.min(self.body_at).min(bounds.deadline.at()));
    }
}

/// Room for a body: a length is a claim, and no more than a quarter of a mebibyte is allocated before bytes come.
/// `None` when the length alone exceeds the cap.
pub(super) fn room(length: Option<u64>, bytes_max: usize) -> Option<Vec<u8>> {
    if length.is_some_and(|bytes| bytes > bytes_max as u64) {
        return None;
    }
    Some(Vec::with_capacity(length.map_or(0, |bytes| (bytes as usize).min(CLAIM_BYTES_MAX))))
}

/// Grows a body for a chunk, after which `rest` bytes are due: once as much as was allocated on the length's word has come,
/// the length is believed, so that a big body is moved once and not at each doubling. One of no known length doubles.
pub(super) fn grow(body: &mut Vec<u8>, chunk: usize, rest: Option<u64>, bytes_max: usize) {
    if body.capacity() - body.len() >= chunk || body.len() < CLAIM_BYTES_MAX / 2 {
        return;
    }
    let Some(rest) = rest else { return };
    let rest = usize::try_from(rest).unwrap_or(usize::MAX);
    let most = bytes_max.saturating_sub(body.len());
    body.reserve_exact(chunk.saturating_add(rest).min(most).max(chunk));
}

/// The reason for an error of a socket or of TLS.
pub(super) fn reason_of_io(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::TimedOut => failure::RESET,
        // No system call gives these: they are errors of TLS or of framing.
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => failure::BAD_FRAMING,
        _ => failure::CLOSED_EARLY,
    }
}

/// The least rest there is: the core looks at its ring once. Sleeping and not merely yielding, so that sockets and timers
/// of other exchanges are looked at before a big body goes on.
pub(super) const REST: Duration = Duration::from_micros(1);
/// Rests after a turn of a big body that took so long. Of all big bodies of a core one has its turn at a time, and between
/// two turns the core is free for as long as the first took: however many there are, others have half the core and wait
/// for one turn at most. Sleeping and not merely yielding, so that sockets and timers of other exchanges are looked at.
pub(super) async fn rest(took: Duration) {
    // What took longer was not the turn: the thread was taken off its CPU.
    let took = took.clamp(TURN_MIN, TURN_MAX);
    let now = Mono::now();
    let at = NEXT_TURN.get().map_or(now, |next| next.max(now)) + took;
    NEXT_TURN.set(Some(at + took));
    sleep(at.since(now)).await;
}

thread_local! {
    /// When the next big body of this core may have its turn.
    static NEXT_TURN: Cell<Option<Mono>> = const { Cell::new(None) };
}

/// What a body may bring before it rests at all, a quarter of a millisecond: nearly all are whole by then.
const BYTES_UNRESTED: usize = 64 << 10;
/// About 60 microseconds, most of them the kernel's.
const BYTES_PER_TURN: usize = 16 << 10;
const TURN_MIN: Duration = Duration::from_micros(20);
const TURN_MAX: Duration = Duration::from_micros(500);
/// Of a big body so much is moved once, when its length is believed: a tenth of a millisecond.
const CLAIM_BYTES_MAX: usize = 256 << 10;
const NEVER: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Placement, launch, spawn};

    #[test]
    fn a_big_body_is_moved_seldom() {
        let check = |length: Option<usize>, moves_max: usize| {
            let (chunk, whole) = (vec![7; 16 << 10], 16 << 20);
            let mut body = room(length.map(|length| length as u64), 64 << 20).unwrap();
            let mut moves = 0;
            while body.len() < whole {
                let before = body.capacity();
                let rest = length.map(|length| (length - body.len()) as u64);
                grow(&mut body, chunk.len(), rest, 64 << 20);
                body.extend_from_slice(&chunk);
                moves += usize::from(body.capacity() != before && body.len() > chunk.len());
            }
            assert!(moves <= moves_max, "{moves} moves with {length:?}");
        };
        check(Some(16 << 20), 1);
        check(None, 10);
    }

    #[test]
    fn big_bodies_have_their_turns_one_at_a_time() {
        let turn = Duration::from_micros(300);
        let core = launch("turns", Placement::Unpinned, move || async move {
            let start = Mono::now();
            let bodies: Vec<_> = (0..4)
                .map(|_| {
                    spawn(async move {
                        for _ in 0..3 {
                            rest(turn).await;
                        }
                    })
                })
                .collect();
            for body in bodies {
                body.join().await.unwrap();
            }
            Mono::now().since(start)
        });
        // Twelve turns and as many rests, but for the last turn, which nobody takes here.
        let took = core.unwrap().join().unwrap();
        assert!(took >= turn * 23, "{took:?}");
    }
}
