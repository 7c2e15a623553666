//! From a request on a ready connection to the whole body: the phases first byte and body with their limits, alike for
//! HTTP/1.1 and HTTP/2. Knows no pool. Invariant: a body is handed out only when the protocol said that it is whole.

use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::HeaderMap;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::TrySendError;

use crate::http::alarm::Alarm;
use crate::http::failure::{self, Failure, Phase};
use crate::http::limits::{Limits, Timings};
use crate::runtime::sleep;
use crate::time::{Deadline, Mono, Now, UnixNanos};

pub(super) type Payload = Full<Bytes>;

/// A whole answer, its body as it came.
pub(super) struct Raw {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
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

/// What moves a connection on.
pub(super) trait Drive {
    /// Moves it on as far as it goes now.
    fn drive(&mut self, cx: &mut Context<'_>);

    /// Whether polling for an answer must register the task itself: not so where [`Drive::drive`] is the only one that
    /// can bring an answer, and then each registration would wake the task once more for nothing.
    const WAKES: bool;

    /// Whether a body that gives no more frames has come to its end. hyper takes a stream that the peer resets with
    /// `NO_ERROR` for one that has ended.
    fn is_whole(&self, incoming: &Incoming) -> bool;
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

/// Waits for the head and reads the body.
pub(super) async fn receive<D: Drive>(
    driver: &mut D,
    response: impl Future<Output = Result<hyper::Response<Incoming>, TrySendError<hyper::Request<Payload>>>>,
    bounds: &Bounds<'_>,
    timings: &mut Timings,
) -> Result<Raw, Fault> {
    bounds.alarm.reset((bounds.sent + bounds.limits.first_byte).min(bounds.deadline.at()));
    let mut response = pin!(response);
    let head = poll_fn(|cx| {
        driver.drive(cx);
        match poll_with::<D, _>(response.as_mut(), cx) {
            Poll::Ready(head) => Poll::Ready(Some(head)),
            Poll::Pending => bounds.alarm.poll(cx).map(|()| None),
        }
    })
    .await;
    if !matches!(head, Some(Ok(_))) {
        timings.first_byte = Mono::now().since(bounds.sent);
    }
    let response = match head {
        Some(Ok(response)) => response,
        Some(Err(mut error)) => {
            let unsent = error.take_message().is_some();
            return Err(send_fault(&error.into_error(), unsent, bounds));
        }
        None => return Err(Fault { failure: first_byte_over(bounds), stale: false }),
    };
    let (parts, incoming) = response.into_parts();
    let expected = incoming.size_hint().exact();
    let mut reader = Reader::new(incoming, expected, bounds).map_err(whole_fault)?;
    let mut head_at = None;
    let read = loop {
        match poll_fn(|cx| reader.poll(driver, cx, &mut head_at)).await {
            Turn::Over(read) => break read,
            // Sleeping and not merely yielding: sockets and timers of other exchanges are looked at before this goes on.
            Turn::Rest => sleep(REST).await,
        }
    };
    let end = Now::read();
    let head_at = head_at.unwrap_or(end.mono);
    timings.first_byte = head_at.since(bounds.sent);
    timings.body = end.mono.since(head_at);
    read.map_err(whole_fault)?;
    if let Some(expected) = expected
        && expected != reader.body.len() as u64
    {
        let message = format!("{}: expected a body of {expected} bytes, found {}", bounds.host, reader.body.len());
        return Err(whole_fault(Failure::after(Phase::Body, failure::CLOSED_EARLY, message, bounds.reused)));
    }
    Ok(Raw { status: parts.status.as_u16(), headers: parts.headers, body: reader.body, ts_recv: end.wall })
}

/// What a turn of reading ended with.
enum Turn {
    /// The body is whole, or will not be.
    Over(Result<(), Failure>),
    /// There is more to read, and others wait.
    Rest,
}

/// The body on its way in.
struct Reader<'a> {
    incoming: Incoming,
    body: Vec<u8>,
    bounds: &'a Bounds<'a>,
    pace: Pace,
}

/// The limits of a body's time, set up when it does not come at once.
struct Pace {
    body_at: Mono,
    span_at: Mono,
    span_bytes: usize,
}

impl<'a> Reader<'a> {
    fn new(incoming: Incoming, expected: Option<u64>, bounds: &'a Bounds<'a>) -> Result<Self, Failure> {
        let cap = bounds.limits.body_bytes_max;
        if expected.is_some_and(|bytes| bytes > cap as u64) {
            return Err(too_large(bounds));
        }
        // A length is a claim: no more than this is allocated before bytes come.
        let room = expected.map_or(0, |bytes| (bytes as usize).min(CLAIM_BYTES_MAX));
        let pace = Pace { body_at: Mono::default(), span_at: Mono::default(), span_bytes: 0 };
        Ok(Reader { incoming, body: Vec::with_capacity(room), bounds, pace })
    }

    fn poll<D: Drive>(&mut self, driver: &mut D, cx: &mut Context<'_>, head_at: &mut Option<Mono>) -> Poll<Turn> {
        let turn_end = (self.body.len() + BYTES_PER_TURN).max(BYTES_UNRESTED);
        let mut frames = 0;
        loop {
            // Frames first: what came with the head needs no further look at the socket.
            let mut next = poll_frame::<D>(&mut self.incoming, cx);
            if next.is_pending() {
                driver.drive(cx);
                next = poll_frame::<D>(&mut self.incoming, cx);
            }
            match next {
                Poll::Ready(None) if driver.is_whole(&self.incoming) => return Poll::Ready(Turn::Over(Ok(()))),
                Poll::Ready(None) => {
                    let message = format!("{}: expected the whole body, found: the stream was reset", self.bounds.host);
                    let failure = Failure::after(Phase::Body, failure::CLOSED_EARLY, message, self.bounds.reused);
                    return Poll::Ready(Turn::Over(Err(failure)));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(chunk) = frame.into_data() else { continue };
                    if self.body.len() + chunk.len() > self.bounds.limits.body_bytes_max {
                        return Poll::Ready(Turn::Over(Err(too_large(self.bounds))));
                    }
                    self.make_room(chunk.len());
                    self.body.extend_from_slice(&chunk);
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Turn::Over(Err(body_failure(&error, self.bounds))));
                }
                Poll::Pending => return self.wait(cx, head_at).map(|ended| Turn::Over(Err(ended))),
            }
            frames += 1;
            if frames == FRAMES_PER_TURN || self.body.len() >= turn_end {
                // A peer faster than this core must not keep it from the other exchanges.
                let over = self.wait(cx, head_at);
                return Poll::Ready(if let Poll::Ready(ended) = over { Turn::Over(Err(ended)) } else { Turn::Rest });
            }
        }
    }

    /// Grows for a chunk: once as much as was allocated on the length's word has come, the length is believed, so that a
    /// big body is moved once and not at each doubling.
    fn make_room(&mut self, bytes: usize) {
        if self.body.capacity() - self.body.len() >= bytes || self.body.len() < CLAIM_BYTES_MAX / 2 {
            return;
        }
        let rest = self.incoming.size_hint().upper().map_or(0, |rest| rest as usize);
        let most = self.bounds.limits.body_bytes_max.saturating_sub(self.body.len());
        self.body.reserve_exact((bytes + rest).min(most).max(bytes));
    }

    /// Holds the time limits while there is nothing to read; ready with why the body is given up.
    fn wait(&mut self, cx: &Context<'_>, head_at: &mut Option<Mono>) -> Poll<Failure> {
        let (bounds, pace) = (self.bounds, &mut self.pace);
        if head_at.is_none() {
            let now = Mono::now();
            *head_at = Some(now);
            pace.body_at = now + bounds.limits.body;
            pace.start_span(now, self.body.len(), bounds);
        }
        while bounds.alarm.poll(cx).is_ready() {
            let now = Mono::now();
            if bounds.deadline.passed(now) {
                return Poll::Ready(deadline_failure(bounds));
            }
            let failed = |reason, message| Poll::Ready(Failure::after(Phase::Body, reason, message, bounds.reused));
            if now >= pace.body_at {
                let message = format!("{}: the body was not whole within {:?}", bounds.host, bounds.limits.body);
                return failed(failure::BODY_TIMEOUT, message);
            }
            if now < pace.span_at {
                return Poll::Ready(closed_failure(bounds));
            }
            let came = (self.body.len() - pace.span_bytes) as u64;
            let least = bounds.limits.throughput_bytes_min * bounds.limits.throughput_span.as_millis() as u64 / 1_000;
            if came < least {
                let message = format!(
                    "{}: expected at least {least} bytes of the body within {:?}, found {came}",
                    bounds.host, bounds.limits.throughput_span
                );
                return failed(failure::BODY_TOO_SLOW, message);
            }
            pace.start_span(now, self.body.len(), bounds);
        }
        Poll::Pending
    }
}

impl Pace {
    fn start_span(&mut self, now: Mono, bytes: usize, bounds: &Bounds<'_>) {
        let judged = bounds.limits.throughput_bytes_min > 0;
        self.span_at = now + if judged { bounds.limits.throughput_span } else { NEVER };
        self.span_bytes = bytes;
        bounds.alarm.reset(self.span_at.min(self.body_at).min(bounds.deadline.at()));
    }
}

fn poll_with<D: Drive, F: Future>(future: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
    if D::WAKES { future.poll(cx) } else { future.poll(&mut Context::from_waker(Waker::noop())) }
}

type Frame = Option<Result<hyper::body::Frame<Bytes>, hyper::Error>>;

fn poll_frame<D: Drive>(incoming: &mut Incoming, cx: &mut Context<'_>) -> Poll<Frame> {
    let incoming = Pin::new(incoming);
    if D::WAKES { incoming.poll_frame(cx) } else { incoming.poll_frame(&mut Context::from_waker(Waker::noop())) }
}

fn whole_fault(failure: Failure) -> Fault {
    Fault { failure, stale: false }
}

fn too_large(bounds: &Bounds<'_>) -> Failure {
    let message = format!("{}: expected a body of at most {} bytes", bounds.host, bounds.limits.body_bytes_max);
    Failure::after(Phase::Body, failure::BODY_TOO_LARGE, message, bounds.reused)
}

fn first_byte_over(bounds: &Bounds<'_>) -> Failure {
    let now = Mono::now();
    if bounds.deadline.passed(now) {
        return deadline_failure(bounds);
    }
    if now < bounds.sent + bounds.limits.first_byte {
        return closed_failure(bounds);
    }
    let message = format!("{}: no answer within {:?}", bounds.host, bounds.limits.first_byte);
    Failure::after(Phase::FirstByte, failure::FIRST_BYTE_TIMEOUT, message, bounds.reused)
}

fn deadline_failure(bounds: &Bounds<'_>) -> Failure {
    let message = format!("{}: the answer was not whole at the deadline", bounds.host);
    Failure::after(Phase::Deadline, failure::DEADLINE, message, bounds.reused)
}

fn closed_failure(bounds: &Bounds<'_>) -> Failure {
    let message = format!("{}: the client was closed during the exchange", bounds.host);
    Failure::after(Phase::Wait, failure::POOL_CLOSED, message, bounds.reused)
}

/// What an error before the head means.
fn send_fault(error: &hyper::Error, unsent: bool, bounds: &Bounds<'_>) -> Fault {
    let (reason, refused) = reason_of(error);
    let found = text_of(error);
    let message = format!("{}: expected an answer, found: {found}", bounds.host);
    let died = matches!(reason, failure::CLOSED_EARLY | failure::RESET | failure::GOAWAY);
    let phase = if unsent { Phase::Send } else { Phase::FirstByte };
    let failure = Failure { phase, reason, message, reused: bounds.reused, retry_safe: unsent || refused };
    Fault { failure, stale: unsent || died }
}

fn body_failure(error: &hyper::Error, bounds: &Bounds<'_>) -> Failure {
    let message = format!("{}: expected the whole body, found: {}", bounds.host, text_of(error));
    let (reason, refused) = reason_of(error);
    Failure { retry_safe: refused, ..Failure::after(Phase::Body, reason, message, bounds.reused) }
}

/// The reason for an error, and whether the peer said that it did nothing with the request.
fn reason_of(error: &hyper::Error) -> (&'static str, bool) {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(stream) = cause.downcast_ref::<h2::Error>() {
            return reason_of_stream(stream);
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            // hyper's own framing errors travel as I/O errors that no system call gives.
            return match io.kind() {
                io::ErrorKind::UnexpectedEof => (failure::CLOSED_EARLY, false),
                io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                    (failure::RESET, false)
                }
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => {
                    (failure::BAD_FRAMING, false)
                }
                io::ErrorKind::TimedOut => (failure::RESET, false),
                _ => (failure::CLOSED_EARLY, false),
            };
        }
        source = cause.source();
    }
    if error.is_parse_too_large() {
        (failure::HEAD_TOO_LARGE, false)
    } else if error.is_parse() {
        (failure::BAD_FRAMING, false)
    } else if error.is_user() && !error.is_canceled() {
        (failure::BAD_REQUEST, false)
    } else if error.is_timeout() {
        (failure::RESET, false)
    } else {
        (failure::CLOSED_EARLY, false)
    }
}

fn reason_of_stream(error: &h2::Error) -> (&'static str, bool) {
    if let Some(io) = error.get_io() {
        let reset = matches!(io.kind(), io::ErrorKind::ConnectionReset);
        return (if reset { failure::RESET } else { failure::CLOSED_EARLY }, false);
    }
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) if error.is_remote() => (failure::STREAM_REFUSED, true),
        // RFC 9113 section 6.8: streams above the last one that a graceful GOAWAY names were not looked at; those below
        // go on and give no error of this kind.
        Some(h2::Reason::NO_ERROR) if error.is_go_away() && error.is_remote() => (failure::GOAWAY, true),
        _ if error.is_go_away() && error.is_remote() => (failure::GOAWAY, false),
        _ if error.is_remote() => (failure::RESET, false),
        _ => (failure::BAD_FRAMING, false),
    }
}

/// The error with its causes, the last one mostly the telling one.
fn text_of(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// One mebibyte in records of 16 KiB.
const FRAMES_PER_TURN: u32 = 64;
/// What a body may bring before it rests at all: nearly all are whole by then.
const BYTES_UNRESTED: usize = 128 << 10;
/// About 60 microseconds, most of them the kernel's: several big bodies have a turn each between two looks at the ring.
const BYTES_PER_TURN: usize = 16 << 10;
/// The least there is: the core looks at its ring once.
const REST: Duration = Duration::from_micros(1);
const CLAIM_BYTES_MAX: usize = 1 << 20;
const NEVER: Duration = Duration::from_secs(365 * 86_400);
