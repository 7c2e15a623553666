//! The headers of an answer: one copy of the head's bytes, looked through by name. An answer has a dozen and is asked for
//! two or three, so that a table by hash would cost more to build than it saves.

use std::fmt;
use std::ops::Range;

use hyper::HeaderMap;

/// Header fields in the order in which they came; names match whatever their case (RFC 9110 section 5.1).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

#[derive(Clone, PartialEq, Eq)]
struct Row {
    name: Range<u32>,
    value: Range<u32>,
}

impl Headers {
    /// None yet, with room for so many.
    pub fn with_capacity(rows: usize, bytes: usize) -> Self {
        Headers { bytes: Vec::with_capacity(bytes), rows: Vec::with_capacity(rows) }
    }

    /// Adds a field behind those there are.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        let name = self.keep(name.as_bytes());
        let value = self.keep(value);
        self.rows.push(Row { name, value });
    }

    /// The value of the first field of this name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The values of all fields of this name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let named = move |row: &&Row| self.slice(&row.name).eq_ignore_ascii_case(name.as_bytes());
        self.rows.iter().filter(named).map(|row| self.slice(&row.value))
    }

    /// Whether there is a field of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        // Names were text when they came in.
        self.rows.iter().map(|row| (std::str::from_utf8(self.slice(&row.name)).unwrap_or(""), self.slice(&row.value)))
    }

    // Heads are bounded by tens of KiB, far below what 32 bits count.
    fn keep(&mut self, bytes: &[u8]) -> Range<u32> {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len() as u32
    }

    fn slice(&self, range: &Range<u32>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }
}

impl From<&HeaderMap> for Headers {
    fn from(map: &HeaderMap) -> Self {
        let mut headers = Headers::with_capacity(map.len(), HEAD_BYTES);
        for (name, value) in map {
            headers.push(name.as_str(), value.as_bytes());
        }
        headers
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value)))).finish()
    }
}

/// Room for the usual head.
const HEAD_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_in_any_case_and_repeat() {
        let mut headers = Headers::default();
        headers.push("Set-Cookie", b"a=1");
        headers.push("ETag", b"\"x\"");
        headers.push("set-cookie", b"b=2");
        assert_eq!(headers.get("etag"), Some(&b"\"x\""[..]));
        assert_eq!(headers.all("SET-COOKIE").collect::<Vec<_>>(), [b"a=1", b"b=2"]);
        assert_eq!(headers.get("cookie"), None);
        assert_eq!(format!("{headers:?}"), r#"{"Set-Cookie": "a=1", "ETag": "\"x\"", "set-cookie": "b=2"}"#);
    }
}
