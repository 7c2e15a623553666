//! One request as a source builds it: method, target, headers, body, and what it costs. Secrets in it are marked.

use std::fmt;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::Secret;

/// The methods that sources use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET: idempotent, may be retried.
    Get,
    /// POST, for providers that take a query in the body; retried only where the source says it is a mere question.
    Post,
}

impl Method {
    /// The method's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
        }
    }
}

/// One request to a provider.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Which of the source's base URLs it goes to: an index into `Spec::bases`.
    pub base: usize,
    /// Path and query, percent-encoded: `/api/v3/depth?symbol=BTCUSDT`. Read it through [`Request::target`].
    target: String,
    /// Byte ranges of `target` that hold secrets.
    secrets: Vec<std::ops::Range<usize>>,
    /// Headers beyond those the client sets itself (host, user-agent, accept-encoding).
    pub headers: Vec<(&'static str, HeaderText)>,
    /// The body of a POST.
    pub body: Option<Bytes>,
    /// What the request costs in the provider's own unit; 1 where it counts requests.
    pub weight: u32,
    /// The quota bucket beyond the provider-wide one, where the provider counts per path; `""` for none.
    pub bucket: &'static str,
}

/// The text of a header, and whether it is a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum HeaderText {
    /// Shown in logs and audit.
    Plain(String),
    /// Never shown.
    Secret(String),
}

impl HeaderText {
    /// The text as it goes on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            HeaderText::Plain(text) | HeaderText::Secret(text) => text,
        }
    }
}

impl Request {
    /// A GET of `path`, which begins with a slash and is already percent-encoded.
    pub fn get(path: impl Into<String>) -> Self {
        Request {
            method: Method::Get,
            base: 0,
            target: path.into(),
            secrets: Vec::new(),
            headers: Vec::new(),
            body: None,
            weight: 1,
            bucket: "",
        }
    }

    /// A POST of `body` to `path`, which begins with a slash and is already percent-encoded.
    pub fn post(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Request { method: Method::Post, body: Some(body.into()), ..Request::get(path) }
    }

    /// The same request to another of the source's base URLs.
    pub fn base(mut self, index: usize) -> Self {
        self.base = index;
        self
    }

    /// The same request at this cost.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// The same request, counted in this bucket too.
    pub fn bucket(mut self, bucket: &'static str) -> Self {
        self.bucket = bucket;
        self
    }

    /// The same request with one more query parameter, its value percent-encoded.
    pub fn param(mut self, name: &str, value: impl fmt::Display) -> Self {
        let separator = if self.target.contains('?') { '&' } else { '?' };
        self.target.push(separator);
        self.target.push_str(name);
        self.target.push('=');
        self.target.extend(utf8_percent_encode(&value.to_string(), COMPONENT));
        self
    }

    /// The same request with a query parameter if there is a value.
    pub fn param_opt(self, name: &str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.param(name, value),
            None => self,
        }
    }

    /// The same request with a query parameter that is never shown.
    pub fn param_secret(mut self, name: &str, value: &Secret) -> Self {
        self = self.param(name, value.expose());
        let start = self.target.rfind('=').map_or(self.target.len(), |at| at + 1);
        self.secrets.push(start..self.target.len());
        self
    }

    /// The same request with a header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, HeaderText::Plain(value.into())));
        self
    }

    /// The same request with a header that is never shown.
    pub fn header_secret(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, HeaderText::Secret(value.into())));
        self
    }

    /// Path and query as they go on the wire, secrets included.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The query string as it goes on the wire, without the question mark: what signatures are computed over.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Path and query with each secret replaced by `***`: what may be logged.
    pub fn target_redacted(&self) -> String {
        let mut shown = String::with_capacity(self.target.len());
        self.push_target_redacted(&mut shown);
        shown
    }

    /// The same, appended to a text.
    pub fn push_target_redacted(&self, shown: &mut String) {
        let mut at = 0;
        for range in &self.secrets {
            shown.push_str(&self.target[at..range.start]);
            shown.push_str("***");
            at = range.end;
        }
        shown.push_str(&self.target[at..]);
    }

    /// `text` with every secret of this request replaced by `***`: providers echo keys in bodies and messages.
    pub fn redact(&self, text: &str) -> String {
        let mut shown = text.to_owned();
        let encoded = self.secrets.iter().map(|range| self.target[range.clone()].to_owned());
        let plain = encoded.clone().filter_map(|secret| {
            percent_encoding::percent_decode_str(&secret).decode_utf8().ok().map(|text| text.into_owned())
        });
        let headers = self.headers.iter().filter_map(|(_, text)| match text {
            // The scheme before the secret (`Bearer`, `Token`) is none.
            HeaderText::Secret(secret) => secret.rsplit(' ').next().map(str::to_owned),
            HeaderText::Plain(_) => None,
        });
        for secret in plain.chain(encoded).chain(headers).filter(|secret| secret.len() >= SECRET_BYTES_MIN) {
            shown = shown.replace(&secret, "***");
        }
        shown
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("base", &self.base)
            .field("target", &self.target_redacted())
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}

/// Percent-encodes one path segment or query value (RFC 3986 unreserved characters stay).
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, COMPONENT).to_string()
}

/// Everything but RFC 3986's unreserved characters, and the comma and colon, which all providers here take as they are.
const COMPONENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b',').remove(b':');

/// Shorter secrets are no keys, and replacing them would riddle messages.
const SECRET_BYTES_MIN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_marked_wherever_they_stand() {
        let key = Secret::new("k3y/with+odd");
        let request = Request::get("/query").param("symbol", "A&B").param_secret("apikey", &key).param("x", 1);
        assert_eq!(request.target(), "/query?symbol=A%26B&apikey=k3y%2Fwith%2Bodd&x=1");
        assert_eq!(request.target_redacted(), "/query?symbol=A%26B&apikey=***&x=1");
        assert_eq!(request.redact("key k3y/with+odd and k3y%2Fwith%2Bodd"), "key *** and ***");
        assert!(!format!("{request:?}").contains("k3y"));
        let request = Request::get("/").header_secret("authorization", "Bearer abcdef");
        assert_eq!(request.redact("bad token abcdef"), "bad token ***");
        let request = Request::get("/").header_secret("authorization", "apikey abcdef");
        assert_eq!(request.redact("bad token abcdef"), "bad token ***");
    }
}
