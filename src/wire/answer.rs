//! A whole answer: status, headers, decoded body, and when its last byte was read.

use std::time::Duration;

use bytes::Bytes;

use crate::time::UnixNanos;
use crate::wire::Headers;

/// A whole answer of a provider, body decompressed.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers, as received.
    pub headers: Headers,
    /// The body after decompression.
    pub body: Bytes,
    /// When the last byte of the body had been read.
    pub ts_recv: UnixNanos,
}

impl Answer {
    /// An answer with this status and body and no headers.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Answer { status, headers: Headers::default(), body: body.into(), ts_recv: UnixNanos::EPOCH }
    }

    /// A header's text; `None` when it is absent or no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| std::str::from_utf8(value).ok()).map(str::trim)
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the body starts like JSON: what a consent page or a plain notice does not.
    pub fn looks_like_json(&self) -> bool {
        let first = self.body.iter().find(|byte| !byte.is_ascii_whitespace() && **byte != 0xEF);
        matches!(first, Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n'))
    }

    /// `Retry-After` in both forms (RFC 9110 section 10.2.3): seconds, or a date against the time of receipt.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = self.header("retry-after")?;
        if let Ok(seconds) = text.parse::<u64>() {
            return Some(Duration::from_secs(seconds.min(RETRY_AFTER_SECS_MAX)));
        }
        let at = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        let now = self.ts_recv.since(UnixNanos::EPOCH);
        Some(at.saturating_sub(now).min(Duration::from_secs(RETRY_AFTER_SECS_MAX)))
    }

    /// The first `bytes` of the body as text on one line, for messages; not yet free of secrets.
    pub fn excerpt(&self, bytes: usize) -> String {
        let head = &self.body[..self.body.len().min(bytes)];
        String::from_utf8_lossy(head).split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// The longest wait believed: bans of Binance last three days; a longer wait is a provider's mistake or an attack.
const RETRY_AFTER_SECS_MAX: u64 = 7 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let check = |text: &'static str, expected| {
            let mut answer = Answer::new(429, "");
            answer.ts_recv = UnixNanos::from_secs(784_111_777).unwrap();
            answer.headers.push("retry-after", text.as_bytes());
            assert_eq!(answer.retry_after(), expected, "{text}");
        };
        check("30", Some(Duration::from_secs(30)));
        check("Sun, 06 Nov 1994 08:50:37 GMT", Some(Duration::from_secs(60)));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(Duration::ZERO));
        check("99999999999999", Some(Duration::from_secs(RETRY_AFTER_SECS_MAX)));
        check("soon", None);
        check("-1", None);
    }
}
