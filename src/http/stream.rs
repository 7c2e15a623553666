//! One HTTP/2 stream on its way in (RFC 9113 section 8.1): interim heads, the head, the body, trailers, and how it ended.
//! No I/O and no windows but its own. Invariants: a stream is whole only when the peer ended it behind a head, with as many
//! bytes as the head told; what section 8.2 calls malformed is refused.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::http::bounds::{Bounds, Fault, Pace, grow, room};
use crate::http::failure::{self, Failure, Phase};
use crate::http::frame;
use crate::http::framing::{HEAD_BYTES_MAX, HEADERS_MAX, Wrong, length};
use crate::http::hpack::ROW_BYTES;
use crate::wire::Headers;

/// A stream, shared by the connection, which fills it, and the exchange, which waits for it.
pub(super) struct Stream {
    pub(super) id: u32,
    /// Where its request begins in all that the connection sends.
    pub(super) at: u64,
    pub(super) state: RefCell<State>,
}

pub(super) struct State {
    /// Zero until the head has come.
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) body: Vec<u8>,
    /// What is left of the length that the head told.
    left: Option<u64>,
    body_bytes_max: usize,
    /// Interim heads so far, in bytes.
    interim: usize,
    /// Bytes that came since the peer was last given more room.
    pub(super) used: usize,
    /// What is still to be sent of the request's body, and how much of it the peer has room for.
    pub(super) upload: Bytes,
    pub(super) window: i64,
    end: Option<End>,
    waker: Option<Waker>,
}

/// How a stream ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    BodyTooLarge,
    /// The peer shuts down and did not look at it.
    GoneAway,
    HeadTooLarge,
    Lost(Rc<Lost>),
    /// The connection was lost before anything of the request was written.
    LostUnsent(Rc<Lost>),
    Malformed(String),
    Reset(u32),
    Whole,
}

/// Why a connection is no more.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) reason: &'static str,
    pub(super) what: String,
}

/// The fields of a block, as far as they are those of an answer.
pub(super) struct Fields {
    status: u16,
    headers: Headers,
    count: usize,
    bytes: usize,
    wrong: Option<&'static str>,
}

impl Stream {
    pub(super) fn new(id: u32, at: u64, upload: Bytes, window: i64, body_bytes_max: usize) -> Rc<Stream> {
        let state = State {
            status: 0,
            headers: Headers::default(),
            body: Vec::new(),
            left: None,
            body_bytes_max,
            interim: 0,
            used: 0,
            upload,
            window,
            end: None,
            waker: None,
        };
        Rc::new(Stream { id, at, state: RefCell::new(state) })
    }

    /// Waits for the end, within the limits of the head and then of the body.
    pub(super) fn poll(&self, cx: &Context<'_>, bounds: &Bounds<'_>, pace: &mut Pace) -> Poll<Result<(), Fault>> {
        let mut state = self.state.borrow_mut();
        if let Some(end) = state.end.take() {
            return Poll::Ready(state.judge(end, bounds));
        }
        let over = if state.status == 0 {
            bounds.alarm.poll(cx).map(|()| bounds.first_byte_over())
        } else {
            pace.wait(cx, bounds, state.body.len())
        };
        if over.is_pending() {
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                empty => *empty = Some(cx.waker().clone()),
            }
        }
        over.map(|failure| Err(failure.into()))
    }
}

impl State {
    /// Takes a block of fields: an interim head, the head, or trailers.
    pub(super) fn take_fields(&mut self, fields: Fields, ends_stream: bool) -> Result<(), End> {
        if fields.bytes > HEAD_BYTES_MAX || fields.count > HEADERS_MAX {
            return Err(End::HeadTooLarge);
        }
        if let Some(what) = fields.wrong {
            return Err(End::Malformed(what.to_owned()));
        }
        if self.status != 0 {
            // Trailers say nothing that a source asks for.
            let is_trailer = ends_stream && fields.status == 0;
            return if is_trailer { Ok(()) } else { Err(malformed("one head and then trailers")) };
        }
        match fields.status {
            0 => return Err(malformed("a head with a status")),
            // Section 8.6.
            101 => return Err(malformed("no change of protocol")),
            100..=199 if ends_stream => return Err(malformed("an answer behind an interim one")),
            100..=199 => {
                self.interim += fields.bytes + ROW_BYTES;
                return if self.interim > HEAD_BYTES_MAX { Err(End::HeadTooLarge) } else { Ok(()) };
            }
            _ => {}
        }
        let told = length(&fields.headers).map_err(|wrong| match wrong {
            Wrong::Framing(what) => End::Malformed(what),
            Wrong::HeadTooLarge => End::HeadTooLarge,
        })?;
        self.left = if matches!(fields.status, 204 | 304) { Some(0) } else { told };
        if !ends_stream {
            self.body = room(self.left, self.body_bytes_max).ok_or(End::BodyTooLarge)?;
        }
        self.status = fields.status;
        self.headers = fields.headers;
        Ok(())
    }

    /// Takes bytes of the body.
    pub(super) fn take_data(&mut self, data: &[u8]) -> Result<(), End> {
        if self.status == 0 {
            return Err(malformed("a head before the body"));
        }
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(data.len() as u64).ok_or_else(|| malformed("no more than the length told"))?;
        }
        if self.body.len() + data.len() > self.body_bytes_max {
            return Err(End::BodyTooLarge);
        }
        grow(&mut self.body, data.len(), self.left, self.body_bytes_max);
        self.body.extend_from_slice(data);
        Ok(())
    }

    /// The peer has ended the stream.
    pub(super) fn take_end(&mut self) -> Result<(), End> {
        if self.status == 0 {
            return Err(malformed("a head before the end"));
        }
        if self.left.is_some_and(|left| left > 0) {
            return Err(malformed("as many bytes as the length told"));
        }
        Ok(())
    }

    /// Notes how it ended and tells the exchange.
    pub(super) fn end(&mut self, end: End) {
        self.end = Some(end);
        self.wake();
    }

    /// Tells the exchange that there is something to see.
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    #[cfg(test)]
    pub(super) fn ending(&self) -> Option<&End> {
        self.end.as_ref()
    }

    fn judge(&self, end: End, bounds: &Bounds<'_>) -> Result<(), Fault> {
        let phase = if self.status == 0 { Phase::FirstByte } else { Phase::Body };
        let expected = if self.status == 0 { "an answer" } else { "the whole body" };
        let failed = |reason, found: &str| bounds.after(phase, reason, format!("expected {expected}, found: {found}"));
        let fault = match end {
            End::Whole => return Ok(()),
            End::BodyTooLarge => bounds.too_large().into(),
            End::HeadTooLarge => {
                let what = format!("expected a head of at most {HEAD_BYTES_MAX} bytes and few headers");
                bounds.after(Phase::FirstByte, failure::HEAD_TOO_LARGE, what).into()
            }
            End::Malformed(what) => bounds.after(phase, failure::BAD_FRAMING, format!("expected {what}")).into(),
            End::GoneAway => {
                let found = "the peer shuts down and did not look at the request";
                let failure = Failure { retry_safe: true, ..failed(failure::GOAWAY, found) };
                Fault { failure, stale: true }
            }
            End::Reset(frame::REFUSED_STREAM) => {
                let failure = failed(failure::STREAM_REFUSED, "the stream was refused");
                Failure { retry_safe: true, ..failure }.into()
            }
            End::Reset(frame::NO_ERROR) => failed(failure::CLOSED_EARLY, "the stream was reset").into(),
            End::Reset(code) => failed(failure::RESET, &format!("the stream was reset with code {code}")).into(),
            End::LostUnsent(lost) => {
                let failure = failed(lost.reason, &lost.what);
                Fault { failure: Failure { phase: Phase::Send, retry_safe: true, ..failure }, stale: true }
            }
            End::Lost(lost) => {
                let died = matches!(lost.reason, failure::CLOSED_EARLY | failure::RESET | failure::GOAWAY);
                Fault { failure: failed(lost.reason, &lost.what), stale: died && self.status == 0 }
            }
        };
        Err(fault)
    }
}

impl Fields {
    pub(super) fn new() -> Fields {
        Fields { status: 0, headers: Headers::with_capacity(ROWS, BYTES), count: 0, bytes: 0, wrong: None }
    }

    pub(super) fn push(&mut self, name: &[u8], value: &[u8]) {
        self.count += 1;
        self.bytes += name.len() + value.len() + ROW_BYTES;
        if self.bytes > HEAD_BYTES_MAX || self.count > HEADERS_MAX || self.wrong.is_some() {
            return;
        }
        if name.first() == Some(&b':') {
            let status = status(value).filter(|_| name == b":status" && self.status == 0 && self.count == 1);
            match status {
                Some(status) => self.status = status,
                None => self.wrong = Some("a status of three digits, once and first, and no other pseudo-header"),
            }
            return;
        }
        let known = std::str::from_utf8(name).ok().filter(|name| !name.is_empty() && name.bytes().all(is_small_token));
        let Some(name) = known else {
            self.wrong = Some("names of headers in small letters");
            return;
        };
        if OF_CONNECTIONS.contains(&name) {
            self.wrong = Some("no header of a connection");
            return;
        }
        if value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
            self.wrong = Some("values of headers within a line");
            return;
        }
        // Space around a value is no part of it (RFC 9110 section 5.5), and harms nobody.
        self.headers.push(name, value.trim_ascii());
    }
}

fn status(value: &[u8]) -> Option<u16> {
    let digits: &[u8; 3] = value.try_into().ok()?;
    let is_status = digits.iter().all(u8::is_ascii_digit) && digits[0] != b'0';
    is_status.then(|| digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0')))
}

/// RFC 9110 section 5.6.2 without capitals.
fn is_small_token(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9') || b"-_!#$%&'*+.^`|~".contains(&byte)
}

fn malformed(what: &str) -> End {
    End::Malformed(what.to_owned())
}

/// Section 8.2.2.
const OF_CONNECTIONS: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];
/// Room for the usual head.
const ROWS: usize = 12;
const BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    /// Heads and data in turn, the last one with the end: the body, or why not.
    fn check(heads: &[&[(&str, &str)]], data: &[&str], expected: Result<&str, &str>) {
        let stream = Stream::new(1, 0, Bytes::new(), 0, 100);
        let mut state = stream.state.borrow_mut();
        let mut run = || {
            for (at, lines) in heads.iter().enumerate() {
                state.take_fields(fields(lines), at + 1 == heads.len() && data.is_empty())?;
            }
            for data in data {
                state.take_data(data.as_bytes())?;
            }
            state.take_end()?;
            Ok(String::from_utf8(state.body.clone()).unwrap())
        };
        let found: Result<String, End> = run();
        match (&found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(end), Err(expected)) => assert!(format!("{end:?}").contains(expected), "{end:?}"),
            (found, expected) => panic!("{heads:?}: expected {expected:?}, found {found:?}"),
        }
    }

    #[test]
    fn streams_are_whole_or_malformed() {
        let ok = &[(":status", "200"), ("server", "x")][..];
        check(&[ok], &["o", "k"], Ok("ok"));
        check(&[ok], &[], Ok(""));
        check(&[&[(":status", "103"), ("link", "x")], &[(":status", "100")], ok], &["ok"], Ok("ok"));
        check(&[&[(":status", "101")], ok], &[], Err("no change"));
        check(&[&[(":status", "100")]], &[], Err("interim"));
        check(&[&[]], &[], Err("status"));
        check(&[ok, &[("x-sum", "1")]], &[], Ok(""));
        check(&[ok, ok], &[], Err("trailers"));
        check(&[ok, &[("x-sum", "1")]], &["more"], Err("trailers"));
        let five = &[(":status", "200"), ("content-length", "5")][..];
        check(&[five], &["he", "llo"], Ok("hello"));
        check(&[five], &["hell"], Err("as many"));
        check(&[five], &["hello!"], Err("no more"));
        check(&[&[(":status", "200"), ("content-length", "5, 6")]], &[], Err("several"));
        check(&[&[(":status", "304"), ("content-length", "5")]], &[], Ok(""));
        check(&[&[(":status", "204")]], &["x"], Err("no more"));
        check(&[&[(":status", "200"), ("content-length", "101")]], &["x"], Err("BodyTooLarge"));
        check(&[ok], &[&"x".repeat(100)], Ok(&"x".repeat(100)));
        check(&[ok], &[&"x".repeat(101)], Err("BodyTooLarge"));
    }

    #[test]
    fn wrong_fields_are_refused() {
        let wrong = |lines: &[(&str, &str)]| check(&[lines], &[], Err("Malformed"));
        wrong(&[(":status", "20")]);
        wrong(&[(":status", "2x0")]);
        wrong(&[(":status", "099")]);
        wrong(&[(":status", "200"), (":status", "200")]);
        wrong(&[("server", "x"), (":status", "200")]);
        wrong(&[(":status", "200"), (":path", "/")]);
        for (name, value) in [
            ("Server", "x"),
            ("", "x"),
            ("a b", "x"),
            ("a:", "x"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("x", "a\r\nb"),
            ("x", "a\0b"),
        ] {
            wrong(&[(":status", "200"), (name, value)]);
        }
        let mut kept = fields(&[(":status", "200"), ("x", " a\tb ")]);
        assert_eq!(kept.headers.get("x"), Some(&b"a\tb"[..]));
        for _ in 0..HEADERS_MAX - 2 {
            kept.push(b"x", b"y");
        }
        let stream = Stream::new(1, 0, Bytes::new(), 0, 100);
        assert!(stream.state.borrow_mut().take_fields(kept, true).is_ok());
        let long = "y".repeat(HEAD_BYTES_MAX);
        check(&[&[(":status", "200"), ("x", &long)]], &[], Err("HeadTooLarge"));
        let many = vec![("x", "y"); HEADERS_MAX + 1];
        check(&[&many], &[], Err("HeadTooLarge"));
        let interim: Vec<&[(&str, &str)]> = vec![&[(":status", "103")]; 2_000];
        check(&interim, &["x"], Err("HeadTooLarge"));
    }
}
