//! Requests as they go out: a head's lines for HTTP/1.1, a block of header fields for HTTP/2.
//! Invariant: what HTTP does not allow in a target, a name or a value is refused, so that nothing can be smuggled in.

use bytes::Bytes;

use crate::config::Secret;
use crate::error::{Error, Result};
use crate::http::body::ACCEPTED;
use crate::http::client::ClientSettings;
use crate::http::endpoint::{Endpoint, is_target};
use crate::http::failure::{self, Failure, Phase};
use crate::http::hpack::{self, Form};
use crate::wire::request::HeaderText;
use crate::wire::{Method, Request};

/// The headers of every request of a client, names in small letters.
pub(super) struct Common(Vec<Header>);

struct Header {
    name: String,
    value: Secret,
    is_secret: bool,
}

/// What every request to a host has in common.
pub(super) struct Lines {
    /// For HTTP/1.1.
    one: Vec<u8>,
    /// For HTTP/2.
    two: Block,
}

/// Scheme, authority and common headers as HPACK, for what the peer does with them.
pub(super) struct Block {
    /// Scheme and authority alone.
    bare: Vec<u8>,
    /// Every field as it is.
    plain: Vec<u8>,
    /// The same for the peer to keep in its table, secrets apart, where it takes so many bytes.
    keeping: Vec<u8>,
    table_bytes: usize,
    /// The same, once kept.
    kept: Vec<u8>,
}

/// Whether the peer of an HTTP/2 connection keeps the common fields in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    No,
    /// Its table is too small, which it must be told that this side knows (RFC 7541 section 4.2).
    Refused {
        is_told: bool,
    },
    /// Its settings have not come.
    Unknown,
    Yes,
}

/// A request for HTTP/2: its fields before and after those of the host, and its body.
pub(super) struct Outgoing<'a> {
    lead: &'a [u8],
    lines: &'a Block,
    /// Whether the common headers are sent as they are.
    has_common: bool,
    tail: &'a [u8],
    pub(super) body: Bytes,
}

impl Outgoing<'_> {
    /// Appends the fields for a peer of which `kept` is known.
    pub(super) fn put(&self, kept: &mut Kept, out: &mut Vec<u8>) {
        if *kept == (Kept::Refused { is_told: false }) {
            hpack::put_no_table(out);
            *kept = Kept::Refused { is_told: true };
        }
        out.extend_from_slice(self.lead);
        let lines = self.lines;
        out.extend_from_slice(if !self.has_common {
            &lines.bare
        } else if *kept == Kept::Yes {
            &lines.kept
        } else if *kept == Kept::No && lines.table_bytes <= hpack::TABLE_BYTES {
            *kept = Kept::Yes;
            &lines.keeping
        } else {
            &lines.plain
        });
        out.extend_from_slice(self.tail);
    }
}

impl Common {
    /// Who asks, what is understood, and what the settings add.
    ///
    /// # Errors
    /// When one is no header text.
    pub(super) fn new(settings: &ClientSettings) -> Result<Self> {
        if !settings.user_agent.bytes().all(is_text) {
            return Err(Error::config("http.user_agent: expected visible ASCII, found other characters"));
        }
        let plain =
            |name: &str, value: &str| Header { name: name.to_owned(), value: Secret::new(value), is_secret: false };
        let mut headers = vec![plain("user-agent", &settings.user_agent), plain("accept-encoding", ACCEPTED)];
        for (name, secret) in &settings.headers {
            if !is_name(name) {
                return Err(Error::config(format!("expected the name of a header, found {name:?}")));
            }
            if !secret.expose().bytes().all(is_text) {
                return Err(Error::config(format!("the header {name} holds characters that HTTP does not allow")));
            }
            let header = Header { name: name.to_ascii_lowercase(), value: secret.clone(), is_secret: true };
            match headers.iter_mut().find(|known| known.name == header.name) {
                Some(known) => *known = header,
                None => headers.push(header),
            }
        }
        Ok(Common(headers))
    }

    /// What every request to a host has in common.
    pub(super) fn lines(&self, endpoint: &Endpoint) -> Lines {
        let mut one = Vec::with_capacity(256);
        line(&mut one, "host", endpoint.authority.as_bytes());
        for header in &self.0 {
            line(&mut one, &header.name, header.value.expose().as_bytes());
        }
        Lines { one, two: self.block(endpoint) }
    }

    fn block(&self, endpoint: &Endpoint) -> Block {
        let mut bare = Vec::new();
        hpack::put_indexed(&mut bare, if endpoint.is_tls() { hpack::SCHEME_HTTPS } else { hpack::SCHEME_HTTP });
        let mut block = Block { plain: bare.clone(), keeping: bare.clone(), kept: bare.clone(), bare, table_bytes: 0 };
        hpack::put(&mut block.bare, ":authority", endpoint.authority.as_bytes(), Form::Plain);
        let authority = (":authority", endpoint.authority.as_str(), false);
        let headers = self.0.iter().map(|header| (header.name.as_str(), header.value.expose(), header.is_secret));
        let fields: Vec<_> = std::iter::once(authority).chain(headers).collect();
        // The latest field that was kept has the lowest index.
        let mut index = hpack::DYNAMIC + fields.iter().filter(|(_, _, is_secret)| !is_secret).count();
        for (name, value, is_secret) in fields {
            let value = value.as_bytes();
            if is_secret {
                for form in [&mut block.plain, &mut block.keeping, &mut block.kept] {
                    hpack::put(form, name, value, Form::NeverKept);
                }
                continue;
            }
            index -= 1;
            hpack::put(&mut block.plain, name, value, Form::Plain);
            hpack::put(&mut block.keeping, name, value, Form::Kept);
            hpack::put_indexed(&mut block.kept, index);
            block.table_bytes += name.len() + value.len() + hpack::ROW_BYTES;
        }
        block
    }

    /// Writes a request for HTTP/1.1 (RFC 9112 section 3), its body behind its head; `lines` are the host's.
    ///
    /// # Errors
    /// When HTTP does not allow what the request holds.
    pub(super) fn one(
        &self,
        lines: &Lines,
        endpoint: &Endpoint,
        request: &Request,
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), Failure> {
        check(request)?;
        out.clear();
        out.extend_from_slice(request.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(endpoint.prefix().as_bytes());
        out.extend_from_slice(request.target().as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        if self.is_overridden(request) {
            line(out, "host", endpoint.authority.as_bytes());
            for header in self.without(request) {
                line(out, &header.name, header.value.expose().as_bytes());
            }
        } else {
            out.extend_from_slice(&lines.one);
        }
        for (name, text) in &request.headers {
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

    /// Writes a request for HTTP/2 (RFC 9113 section 8.3.1), as far as it is not the host's, into `out`.
    ///
    /// # Errors
    /// As [`Common::one`].
    pub(super) fn two<'a>(
        &self,
        lines: &'a Lines,
        endpoint: &Endpoint,
        request: &Request,
        out: &'a mut Vec<u8>,
    ) -> std::result::Result<Outgoing<'a>, Failure> {
        check(request)?;
        out.clear();
        let is_post = request.method == Method::Post;
        hpack::put_indexed(out, if is_post { hpack::METHOD_POST } else { hpack::METHOD_GET });
        hpack::put_path(out, [endpoint.prefix(), request.target()]);
        let lead = out.len();
        let has_common = !self.is_overridden(request);
        if !has_common {
            for header in self.without(request) {
                let form = if header.is_secret { Form::NeverKept } else { Form::Plain };
                hpack::put(out, &header.name, header.value.expose().as_bytes(), form);
            }
        }
        for (name, text) in &request.headers {
            let form = if matches!(text, HeaderText::Secret(_)) { Form::NeverKept } else { Form::Plain };
            hpack::put(out, name, text.as_str().as_bytes(), form);
        }
        let mut body = Bytes::new();
        if is_post {
            body = request.body.clone().unwrap_or_default();
            let mut digits = itoa::Buffer::new();
            hpack::put(out, "content-length", digits.format(body.len()).as_bytes(), Form::Plain);
        }
        let (lead, tail) = out.split_at(lead);
        Ok(Outgoing { lead, lines: &lines.two, has_common, tail, body })
    }

    /// Whether a request has a common header of its own.
    fn is_overridden(&self, request: &Request) -> bool {
        !request.headers.is_empty() && self.0.iter().any(|header| has(request, &header.name))
    }

    /// The common headers that the request has none of its own for.
    fn without(&self, request: &Request) -> impl Iterator<Item = &Header> {
        self.0.iter().filter(|header| !has(request, &header.name))
    }
}

fn has(request: &Request, name: &str) -> bool {
    request.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name))
}

/// Refuses what HTTP does not allow.
fn check(request: &Request) -> std::result::Result<(), Failure> {
    if !is_target(request.target()) {
        return Err(wrong_target(request));
    }
    for (name, text) in &request.headers {
        if !is_name(name) {
            return Err(wrong(format!("{name} is no header name")));
        }
        if !text.as_str().bytes().all(is_text) {
            return Err(wrong(format!("the header {name} holds characters that HTTP does not allow")));
        }
    }
    Ok(())
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn is_text(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t')
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_token)
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
