//! HTTP/1.1 as bytes (RFC 9112): the head of an answer, and where its body ends. No I/O and no limits of time.
//! Invariants: a body ends only where its framing says so; what a strict reader refuses is refused.

use std::mem::MaybeUninit;

use crate::wire::Headers;

/// Why bytes are no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// They break the rules of HTTP.
    Framing(String),
    /// The head is larger than any provider's.
    HeadTooLarge,
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) framing: Framing,
    /// Whether another exchange may follow on the connection.
    pub(super) keeps: bool,
    /// Bytes that the head took, interim answers included.
    pub(super) bytes: usize,
}

/// Where a body ends (RFC 9112 section 6.3).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Chunked(Chunks),
    /// With the connection.
    Close,
    /// After so many more bytes.
    Length(u64),
}

impl Framing {
    /// Whether the whole body has come.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Framing::Chunked(chunks) => chunks.step == Step::Done,
            Framing::Close => false,
            Framing::Length(left) => *left == 0,
        }
    }

    /// The body's length where the head tells it.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Framing::Length(length) => Some(*length),
            Framing::Chunked(_) | Framing::Close => None,
        }
    }

    /// Appends what `bytes` hold of the body and returns how many of them belonged to it, framing included; stops when
    /// `body` would exceed `cap`, with `false`.
    pub(super) fn feed(&mut self, bytes: &[u8], body: &mut Vec<u8>, cap: usize) -> Result<(usize, bool), Wrong> {
        match self {
            Framing::Chunked(chunks) => chunks.feed(bytes, body, cap),
            Framing::Close => Ok(take(bytes, body, cap)),
            Framing::Length(left) => {
                let own = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let taken = take(&bytes[..own], body, cap);
                *left -= own as u64;
                Ok(taken)
            }
        }
    }
}

fn take(bytes: &[u8], body: &mut Vec<u8>, cap: usize) -> (usize, bool) {
    if body.len() + bytes.len() > cap {
        return (0, false);
    }
    body.extend_from_slice(bytes);
    (bytes.len(), true)
}

/// Reads the head of an answer, past interim ones (RFC 9110 section 15.2); `None` when there is no whole head yet.
pub(super) fn head(bytes: &[u8]) -> Result<Option<Head>, Wrong> {
    let mut at = 0;
    loop {
        let mut room = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut answer = httparse::Response::new(&mut []);
        let parsed =
            httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut answer, &bytes[at..], &mut room);
        let length = match parsed {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() >= HEAD_BYTES_MAX => return Err(Wrong::HeadTooLarge),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(Wrong::HeadTooLarge),
            Err(error) => return Err(Wrong::Framing(format!("a head of an answer, found: {error}"))),
        };
        at += length;
        if at > HEAD_BYTES_MAX {
            return Err(Wrong::HeadTooLarge);
        }
        let status = answer.code.unwrap_or_default();
        if status == SWITCHING {
            return Err(Wrong::Framing("no change of protocol".to_owned()));
        }
        if (100..200).contains(&status) {
            continue;
        }
        let is_old = answer.version == Some(0);
        let mut headers = Headers::with_capacity(answer.headers.len(), length);
        for field in answer.headers.iter() {
            headers.push(field.name, field.value);
        }
        let (framing, keeps) = framing(status, is_old, &headers)?;
        return Ok(Some(Head { status, headers, framing, keeps, bytes: at }));
    }
}

/// Where the body ends and whether the connection lives on.
fn framing(status: u16, is_old: bool, headers: &Headers) -> Result<(Framing, bool), Wrong> {
    let mut keeps = !is_old;
    for option in list(headers, "connection") {
        if option.eq_ignore_ascii_case(b"close") {
            keeps = false;
            break;
        }
        keeps |= option.eq_ignore_ascii_case(b"keep-alive");
    }
    let length = length(headers)?;
    if matches!(status, 204 | 304) {
        return Ok((Framing::Length(0), keeps));
    }
    if headers.contains("transfer-encoding") {
        let codings: Vec<_> = list(headers, "transfer-encoding").collect();
        // No other coding was asked for, and HTTP/1.0 knows none (section 6.1).
        if is_old || codings.len() != 1 || !codings[0].eq_ignore_ascii_case(b"chunked") {
            return Err(Wrong::Framing("a chunked body or none with a transfer coding".to_owned()));
        }
        // Both ways of framing in one head are a smuggler's sign: the body is read, the connection not used again.
        return Ok((Framing::Chunked(Chunks::default()), keeps && length.is_none()));
    }
    Ok(match length {
        Some(length) => (Framing::Length(length), keeps),
        None => (Framing::Close, false),
    })
}

/// The one length that all fields agree on (section 6.3, rule 5).
pub(super) fn length(headers: &Headers) -> Result<Option<u64>, Wrong> {
    let mut known = None;
    for text in list(headers, "content-length") {
        let digits = (!text.is_empty() && text.iter().all(u8::is_ascii_digit)).then_some(text);
        let length = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
        let found = || Wrong::Framing(format!("one content-length, found {:?}", String::from_utf8_lossy(text)));
        let length = length.ok_or_else(found)?;
        if known.is_some_and(|known| known != length) {
            return Err(Wrong::Framing("one content-length, found several".to_owned()));
        }
        known = Some(length);
    }
    Ok(known)
}

/// The elements of all fields of a name that is a list (RFC 9110 section 5.6.1).
fn list<'a>(headers: &'a Headers, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers.all(name).flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// A chunked body (section 7.1).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chunks {
    step: Step,
    /// What the size line told, and then what is left of the chunk.
    left: u64,
    /// Bytes of size lines and trailers beyond their bare needs.
    extra: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    Data,
    DataCr,
    DataLf,
    Done,
    EndLf,
    Extension,
    Size,
    SizeLf,
    #[default]
    SizeStart,
    Trailer,
    TrailerLf,
    TrailerStart,
}

impl Chunks {
    fn feed(&mut self, bytes: &[u8], body: &mut Vec<u8>, cap: usize) -> Result<(usize, bool), Wrong> {
        let mut at = 0;
        while at < bytes.len() && self.step != Step::Done {
            if self.step == Step::Data {
                let own = (bytes.len() - at).min(usize::try_from(self.left).unwrap_or(usize::MAX));
                let (taken, fits) = take(&bytes[at..at + own], body, cap);
                if !fits {
                    return Ok((at, false));
                }
                at += taken;
                self.left -= taken as u64;
                if self.left == 0 {
                    self.step = Step::DataCr;
                }
            } else {
                self.step = self.next(bytes[at])?;
                at += 1;
            }
        }
        Ok((at, true))
    }

    fn next(&mut self, byte: u8) -> Result<Step, Wrong> {
        let wrong = |expected: &str| Err(Wrong::Framing(format!("{expected}, found byte {byte:#04x}")));
        Ok(match (self.step, byte) {
            (Step::SizeStart | Step::Size, _) if byte.is_ascii_hexdigit() => {
                let digit = u64::from((byte as char).to_digit(16).unwrap_or_default());
                let size = self.left.checked_mul(16).and_then(|size| size.checked_add(digit));
                let Some(size) = size else { return wrong("a chunk size of 64 bits") };
                self.left = size;
                Step::Size
            }
            (Step::Size, b'\r') | (Step::Extension, b'\r') => Step::SizeLf,
            (Step::Size, b';' | b' ' | b'\t') => Step::Extension,
            // A bare line feed would end the line for some readers and not for others.
            (Step::Extension, b'\n') => return wrong("a line end after the chunk size"),
            (Step::Extension, _) => self.spend(Step::Extension)?,
            (Step::SizeLf, b'\n') if self.left == 0 => Step::TrailerStart,
            (Step::SizeLf, b'\n') => Step::Data,
            (Step::DataCr, b'\r') => Step::DataLf,
            (Step::DataLf, b'\n') => Step::SizeStart,
            (Step::TrailerStart, b'\r') => Step::EndLf,
            (Step::Trailer, b'\r') => Step::TrailerLf,
            (Step::TrailerStart | Step::Trailer, b'\n') => return wrong("a line end after the trailer"),
            (Step::TrailerStart | Step::Trailer, _) => self.spend(Step::Trailer)?,
            (Step::TrailerLf, b'\n') => Step::TrailerStart,
            (Step::EndLf, b'\n') => Step::Done,
            (Step::SizeStart | Step::Size, _) => return wrong("a chunk size"),
            _ => return wrong("the end of a line or chunk"),
        })
    }

    /// Counts a byte that carries nothing, so that a peer cannot send such for ever.
    fn spend(&mut self, next: Step) -> Result<Step, Wrong> {
        self.extra += 1;
        if self.extra > HEAD_BYTES_MAX {
            return Err(Wrong::HeadTooLarge);
        }
        Ok(next)
    }
}

const SWITCHING: u16 = 101;
/// Some providers send cookies and policies of 8 KiB and more in one header.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;
/// Beyond any known provider; a flood of headers ends here.
pub(super) const HEADERS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads an answer cut into pieces of `step` bytes.
    fn read(bytes: &[u8], step: usize) -> Result<(u16, Vec<u8>, bool, usize), Wrong> {
        let mut end = step.min(bytes.len());
        let mut head = loop {
            match head(&bytes[..end])? {
                Some(head) => break head,
                None if end == bytes.len() => return Err(Wrong::Framing("cut".to_owned())),
                None => end = (end + step).min(bytes.len()),
            }
        };
        let (mut body, mut at) = (Vec::new(), head.bytes);
        while !head.framing.is_done() && at < bytes.len() {
            end = (at + step).min(bytes.len()).max(end.min(bytes.len()));
            let (taken, fits) = head.framing.feed(&bytes[at..end], &mut body, 1_000)?;
            assert!(fits);
            at += taken;
        }
        let whole = head.framing.is_done() || head.framing == Framing::Close;
        if !whole {
            return Err(Wrong::Framing("cut".to_owned()));
        }
        Ok((head.status, body, head.keeps, bytes.len() - at))
    }

    #[test]
    fn answers_end_where_their_framing_says() {
        let check = |text: &str, expected: Option<(u16, &str, bool, usize)>| {
            for step in [1, 2, 7, text.len()] {
                let found = read(text.as_bytes(), step).ok();
                let found = found
                    .as_ref()
                    .map(|(status, body, keeps, left)| (*status, std::str::from_utf8(body).unwrap(), *keeps, *left));
                assert_eq!(found, expected, "{text:?} by {step}");
            }
        };
        check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Some((200, "ok", true, 0)));
        check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP", Some((200, "ok", true, 4)));
        check("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\nContent-Length: 2\r\n\r\nok", Some((200, "ok", true, 0)));
        check("HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nok", None);
        check("HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok", None);
        check("HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n", None);
        check("HTTP/1.1 200 OK\r\nconnection: Close\r\ncontent-length: 0\r\n\r\n", Some((200, "", false, 0)));
        check("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", Some((200, "", false, 0)));
        check("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n", Some((200, "", true, 0)));
        check("HTTP/1.1 200\r\n\r\nto the end", Some((200, "to the end", false, 0)));
        check("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\nx: y\r\n\r\n", Some((204, "", true, 0)));
        check("HTTP/1.1 101 Switching\r\n\r\n", None);
        check("HTTP/1.1 304 Not\r\ncontent-length: 9\r\n\r\n", Some((304, "", true, 0)));
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n";
        check(&format!("{chunked}\r\n3\r\nabc\r\n0A ;x=\"y\"\r\n0123456789\r\n0\r\nt: v\r\n\r\n"), {
            Some((200, "abc0123456789", true, 0))
        });
        check(&format!("{chunked}content-length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), Some((200, "abc", false, 0)));
        check(&format!("{chunked}\r\n3\r\nabc\r\n"), None);
        check(&format!("{chunked}\r\n3\nabc\r\n0\r\n\r\n"), None);
        check(&format!("{chunked}\r\n;x\r\n"), None);
        check(&format!("{chunked}\r\n3;x\nabc\r\n0\r\n\r\n"), None);
        check(&format!("{chunked}\r\nffffffffffffffff1\r\n"), None);
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", None);
        check("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", None);
        check("HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n", None);
        check("HTTP/1.1 200 OK\r\nx : a\r\n\r\n", None);
    }

    #[test]
    fn heads_and_trailers_are_bounded() {
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(HEAD_BYTES_MAX));
        assert_eq!(head(long.as_bytes()).unwrap_err(), Wrong::HeadTooLarge);
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(head(many.as_bytes()).unwrap_err(), Wrong::HeadTooLarge);
        let most = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(HEADERS_MAX));
        assert!(head(most.as_bytes()).unwrap().is_some());
        let interim = "HTTP/1.1 103 Early\r\nlink: x\r\n\r\n".repeat(3_000);
        assert_eq!(head(interim.as_bytes()).unwrap_err(), Wrong::HeadTooLarge);
        let mut chunks = Framing::Chunked(Chunks::default());
        let trailer = format!("0\r\n{}", "t: v\r\n".repeat(HEAD_BYTES_MAX));
        assert_eq!(chunks.feed(trailer.as_bytes(), &mut Vec::new(), 10).unwrap_err(), Wrong::HeadTooLarge);
    }

    proptest! {
        /// Any bytes: an answer, more to come, or an error; never a panic, and never more taken than there was.
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), step in 1usize..50) {
            let mut text = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
            text.extend_from_slice(&bytes);
            let _ = read(&text, step);
            let _ = head(&bytes);
        }

        /// A body in chunks of any sizes, fed in pieces of any size, is the body.
        #[test]
        fn chunks_give_the_body(parts in proptest::collection::vec("[a-z]{1,40}", 0..8), step in 1usize..60) {
            let mut text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
            for part in &parts {
                text.push_str(&format!("{:x}\r\n{part}\r\n", part.len()));
            }
            text.push_str("0\r\n\r\n");
            let (_, body, keeps, left) = read(text.as_bytes(), step).unwrap();
            prop_assert_eq!((body, keeps, left), (parts.concat().into_bytes(), true, 0));
        }
    }
}
