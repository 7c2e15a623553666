//! Requests as they go out: bytes for HTTP/1.1, hyper's own form for HTTP/2.
//! Invariant: what HTTP does not allow in a target, a name or a value is refused, so that nothing can be smuggled in.

use bytes::Bytes;
use hyper::header::{ACCEPT_ENCODING, HeaderName, HeaderValue, USER_AGENT};
use hyper::http::uri::Parts;
use hyper::{HeaderMap, Uri};

use crate::error::{Error, Result};
use crate::http::body::ACCEPTED;
use crate::http::client::ClientSettings;
use crate::http::endpoint::Endpoint;
use crate::http::failure::{self, Failure, Phase};
use crate::http::stream::Payload;
use crate::wire::request::HeaderText;
use crate::wire::{Method, Request};

/// The headers of every request of a client.
pub(super) struct Common(HeaderMap);

impl Common {
    /// Who asks, what is understood, and what the settings add.
    ///
    /// # Errors
    /// When one is no header text.
    pub(super) fn new(settings: &ClientSettings) -> Result<Self> {
        let mut headers = HeaderMap::with_capacity(8);
        let user_agent = HeaderValue::from_str(&settings.user_agent)
            .map_err(|_| Error::config("http.user_agent: expected visible ASCII, found other characters"))?;
        headers.insert(USER_AGENT, user_agent);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
        for (name, secret) in &settings.headers {
            let header = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| Error::config(format!("expected the name of a header, found {name:?}")))?;
            let mut value = HeaderValue::from_str(secret.expose())
                .map_err(|_| Error::config(format!("the header {name} holds characters that HTTP does not allow")))?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        Ok(Common(headers))
    }

    /// The lines of a host's every HTTP/1.1 request.
    pub(super) fn lines(&self, endpoint: &Endpoint) -> Vec<u8> {
        let mut lines = Vec::with_capacity(256);
        line(&mut lines, "host", endpoint.host_header.as_bytes());
        for (name, value) in &self.0 {
            line(&mut lines, name.as_str(), value.as_bytes());
        }
        lines
    }

    /// Writes a request for HTTP/1.1 (RFC 9112 section 3), its body behind its head; `lines` are the host's.
    ///
    /// # Errors
    /// When HTTP does not allow what the request holds.
    pub(super) fn one(
        &self,
        lines: &[u8],
        endpoint: &Endpoint,
        request: &Request,
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), Failure> {
        let target = request.target();
        if !target.starts_with('/') || !target.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'#') {
            return Err(wrong_target(request));
        }
        out.clear();
        out.extend_from_slice(request.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(endpoint.prefix().as_bytes());
        out.extend_from_slice(target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        if request.headers.iter().any(|(name, _)| self.0.contains_key(*name)) {
            line(out, "host", endpoint.host_header.as_bytes());
            let own = |name: &str| request.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
            for (name, value) in self.0.iter().filter(|(name, _)| !own(name.as_str())) {
                line(out, name.as_str(), value.as_bytes());
            }
        } else {
            out.extend_from_slice(lines);
        }
        for (name, text) in &request.headers {
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(wrong(format!("{name} is no header name")));
            }
            if !text.as_str().bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
                return Err(wrong(format!("the header {name} holds characters that HTTP does not allow")));
            }
            line(out, name, text.as_str().as_bytes());
        }
        if request.method == Method::Post {
            let body = request.body.as_deref().unwrap_or_default();
            let mut digits = itoa::Buffer::new();
            line(out, "content-length", digits.format(body.len()).as_bytes());
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(body);
        } else {
            out.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    /// Builds a request for HTTP/2.
    ///
    /// # Errors
    /// As [`Common::one`].
    pub(super) fn two(
        &self,
        endpoint: &Endpoint,
        request: &Request,
    ) -> std::result::Result<hyper::Request<Payload>, Failure> {
        let target = endpoint.path_and_query(request.target()).ok_or_else(|| wrong_target(request))?;
        let body = if request.method == Method::Post { request.body.clone() } else { None };
        let mut built = hyper::Request::new(Payload::new(body.unwrap_or_else(Bytes::new)));
        let mut parts = Parts::default();
        parts.scheme = Some(endpoint.scheme());
        parts.authority = Some(endpoint.authority.clone());
        parts.path_and_query = Some(target);
        *built.uri_mut() = Uri::from_parts(parts).map_err(|error| wrong(format!("{endpoint}: {error}")))?;
        if request.method == Method::Post {
            *built.method_mut() = hyper::Method::POST;
        }
        let mut headers = self.0.clone();
        for (name, text) in &request.headers {
            let header =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong(format!("{name} is no header name")))?;
            let mut value = HeaderValue::from_str(text.as_str())
                .map_err(|_| wrong(format!("the header {name} holds characters that HTTP does not allow")))?;
            value.set_sensitive(matches!(text, HeaderText::Secret(_)));
            headers.insert(header, value);
        }
        *built.headers_mut() = headers;
        Ok(built)
    }
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn wrong(what: String) -> Failure {
    Failure::before(Phase::Send, failure::BAD_REQUEST, what)
}

fn wrong_target(request: &Request) -> Failure {
    let shown = request.target_redacted();
    wrong(format!("expected a percent-encoded target that begins with a slash, found {shown}"))
}
