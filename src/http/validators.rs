//! What makes the next request conditional: ETag and Last-Modified of the last answer, by target.
//! Bounded; forgets when full. Invariant: values are copies of their own, so that no answer's buffer is kept alive.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::http::endpoint::Endpoint;
use crate::wire::{Answer, Method, Request};

/// Validators by the hash of endpoint and target.
pub(super) struct Validators {
    max: usize,
    known: RefCell<HashMap<u64, Entry>>,
}

struct Entry {
    endpoint: u64,
    target: String,
    etag: Option<String>,
    modified: Option<String>,
}

impl Validators {
    pub(super) fn new(max: usize) -> Self {
        Validators { max, known: RefCell::default() }
    }

    /// Remembers what a 200 says of itself; forgets the target when it says nothing.
    pub(super) fn remember(&self, endpoint: &Endpoint, request: &Request, answer: &Answer) {
        if request.method != Method::Get || answer.status != 200 || self.max == 0 {
            return;
        }
        let copy = |name| answer.header(name).filter(|value| value.len() <= VALUE_BYTES_MAX).map(str::to_owned);
        let (etag, modified) = (copy("etag"), copy("last-modified"));
        let id = id(endpoint, request);
        let mut known = self.known.borrow_mut();
        if etag.is_none() && modified.is_none() {
            known.remove(&id);
            return;
        }
        if known.len() >= self.max && !known.contains_key(&id) {
            // Any one will do: a target that comes again is remembered again.
            let victim = known.keys().next().copied();
            victim.and_then(|victim| known.remove(&victim));
        }
        let target = request.target().to_owned();
        known.insert(id, Entry { endpoint: endpoint.hash, target, etag, modified });
    }

    /// Gives `add` the header fields that make a request conditional, when its target is known.
    pub(super) fn apply(&self, endpoint: &Endpoint, request: &Request, mut add: impl FnMut(&'static str, &str)) {
        if request.method != Method::Get {
            return;
        }
        let known = self.known.borrow();
        let Some(entry) = known.get(&id(endpoint, request)) else { return };
        if entry.endpoint != endpoint.hash || entry.target != request.target() {
            return;
        }
        if let Some(etag) = &entry.etag {
            add("if-none-match", etag);
        }
        if let Some(modified) = &entry.modified {
            add("if-modified-since", modified);
        }
    }
}

fn id(endpoint: &Endpoint, request: &Request) -> u64 {
    let mut hasher = DefaultHasher::new();
    endpoint.hash.hash(&mut hasher);
    request.target().hash(&mut hasher);
    hasher.finish()
}

const VALUE_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Headers;

    #[test]
    fn targets_are_remembered_within_the_bound() {
        let validators = Validators::new(2);
        let endpoint = Endpoint::parse("http://a").unwrap();
        let headers_for = |target: &str| {
            let mut headers = Headers::default();
            validators.apply(&endpoint, &Request::get(target), |name, value| headers.push(name, value.as_bytes()));
            headers
        };
        let mut answer = Answer::new(200, "x");
        answer.headers.push("ETag", b"\"1\"");
        answer.headers.push("Last-Modified", b"Sun, 06 Nov 1994 08:49:37 GMT");
        validators.remember(&endpoint, &Request::get("/1"), &answer);
        assert_eq!(headers_for("/1").get("if-none-match").unwrap(), b"\"1\"");
        assert_eq!(headers_for("/1").get("if-modified-since").unwrap(), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(headers_for("/2"), Headers::default());
        for index in 0..10 {
            validators.remember(&endpoint, &Request::get(format!("/{index}")), &answer);
        }
        assert_eq!(validators.known.borrow().len(), 2);
        validators.remember(&endpoint, &Request::get("/9"), &Answer::new(200, "y"));
        assert_eq!(headers_for("/9"), Headers::default());
        answer.status = 500;
        validators.remember(&endpoint, &Request::get("/9"), &answer);
        assert_eq!(headers_for("/9"), Headers::default());
    }
}
