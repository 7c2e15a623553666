//! One HTTP/2 stream: from a request to the whole body, the phases first byte and body under their limits.
//! Knows no pool. Invariant: a body is handed out only when the protocol said that it is whole.

use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::TrySendError;

use crate::http::bounds::{Bounds, Fault, Pace, REST, Raw, Turn, reason_of_io};
use crate::http::failure::{self, Failure, Phase};
use crate::http::limits::Timings;
use crate::runtime::sleep;
use crate::time::{Mono, Now};
use crate::wire::Headers;

pub(super) type Payload = Full<Bytes>;

/// Waits for the head and reads the body.
pub(super) async fn receive(
    response: impl Future<Output = Result<hyper::Response<Incoming>, TrySendError<hyper::Request<Payload>>>>,
    bounds: &Bounds<'_>,
    timings: &mut Timings,
) -> Result<Raw, Fault> {
    bounds.await_head();
    let mut response = pin!(response);
    let head = poll_fn(|cx| match response.as_mut().poll(cx) {
        Poll::Ready(head) => Poll::Ready(Some(head)),
        Poll::Pending => bounds.alarm.poll(cx).map(|()| None),
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
        None => return Err(bounds.first_byte_over().into()),
    };
    let (parts, incoming) = response.into_parts();
    let expected = incoming.size_hint().exact();
    let mut reader = Reader { incoming, body: bounds.room(expected)?, bounds, pace: Pace::default() };
    let read = loop {
        match poll_fn(|cx| reader.poll(cx)).await {
            Turn::Over(read) => break read,
            Turn::Rest => sleep(REST).await,
        }
    };
    let end = Now::read();
    let head_at = reader.pace.head_at.unwrap_or(end.mono);
    timings.first_byte = head_at.since(bounds.sent);
    timings.body = end.mono.since(head_at);
    timings.ended = end.mono;
    read?;
    if let Some(expected) = expected
        && expected != reader.body.len() as u64
    {
        let what = format!("expected a body of {expected} bytes, found {}", reader.body.len());
        return Err(bounds.after(Phase::Body, failure::CLOSED_EARLY, what).into());
    }
    let headers = Headers::from(&parts.headers);
    Ok(Raw { status: parts.status.as_u16(), headers, body: reader.body, ts_recv: end.wall })
}

/// The body on its way in.
struct Reader<'a> {
    incoming: Incoming,
    body: Vec<u8>,
    bounds: &'a Bounds<'a>,
    pace: Pace,
}

impl Reader<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let over = |failure: Failure| Poll::Ready(Turn::Over(Err(failure.into())));
        let turn_end = Pace::turn_end(self.body.len());
        for _ in 0..FRAMES_PER_TURN {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                // hyper takes a stream that the peer resets with `NO_ERROR` for one that has ended.
                Poll::Ready(None) if self.incoming.is_end_stream() => return Poll::Ready(Turn::Over(Ok(()))),
                Poll::Ready(None) => {
                    let what = "expected the whole body, found: the stream was reset";
                    return over(self.bounds.after(Phase::Body, failure::CLOSED_EARLY, what));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(chunk) = frame.into_data() else { continue };
                    if self.body.len() + chunk.len() > self.bounds.limits.body_bytes_max {
                        return over(self.bounds.too_large());
                    }
                    self.bounds.make_room(&mut self.body, chunk.len(), self.incoming.size_hint().upper());
                    self.body.extend_from_slice(&chunk);
                }
                Poll::Ready(Some(Err(error))) => return over(body_failure(&error, self.bounds)),
                Poll::Pending => {
                    return self
                        .pace
                        .wait(cx, self.bounds, self.body.len())
                        .map(|failure| Turn::Over(Err(failure.into())));
                }
            }
            if self.body.len() >= turn_end {
                break;
            }
        }
        match self.pace.wait(cx, self.bounds, self.body.len()) {
            Poll::Ready(failure) => over(failure),
            Poll::Pending => Poll::Ready(Turn::Rest),
        }
    }
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
    let (reason, refused) = reason_of(error);
    let what = format!("expected the whole body, found: {}", text_of(error));
    Failure { retry_safe: refused, ..bounds.after(Phase::Body, reason, what) }
}

/// The reason for an error, and whether the peer said that it did nothing with the request.
fn reason_of(error: &hyper::Error) -> (&'static str, bool) {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(stream) = cause.downcast_ref::<h2::Error>() {
            return reason_of_stream(stream);
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return (reason_of_io(io), false);
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
