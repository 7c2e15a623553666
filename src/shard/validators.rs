//! What makes a poll's next request conditional: the ETag and Last-Modified of its last answer (RFC 9110 section 13.1).
//! Bounded; forgets when full. Invariants: an answer is remembered only once its records are in the buffer, since a 304
//! does not bring them again; what one poll has seen never makes the request of another conditional, same target or not.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use crate::model::Query;
use crate::wire::request::HeaderText;
use crate::wire::{Answer, Method, Request};

/// The validators of one lane, by the hash of question and target.
#[derive(Debug, Default)]
pub(super) struct Validators {
    hasher: RandomState,
    known: RefCell<HashMap<u64, Validator>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Validator {
    etag: Option<String>,
    modified: Option<String>,
}

/// What an answer says of itself, until it may be remembered.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    id: u64,
    validator: Validator,
}

impl Validators {
    /// Makes a request conditional, when its last answer is known.
    pub(super) fn apply(&self, query: &Query, request: &mut Request) {
        let known = self.known.borrow();
        // Most providers give no validators: their requests are not even hashed.
        if known.is_empty() || request.method != Method::Get {
            return;
        }
        let Some(validator) = known.get(&self.id(query, request)) else { return };
        let fields = [("if-none-match", &validator.etag), ("if-modified-since", &validator.modified)];
        for (name, value) in fields {
            request.headers.extend(value.clone().map(|value| (name, HeaderText::Plain(value))));
        }
    }

    /// Reads what a 200 says of itself; `None` when it says nothing and nothing is known of it.
    pub(super) fn note(&self, query: &Query, request: &Request, answer: &Answer) -> Option<Box<Noted>> {
        if request.method != Method::Get || answer.status != 200 {
            return None;
        }
        let copy = |name| answer.header(name).filter(|value| may_be_sent(value)).map(str::to_owned);
        let validator = Validator { etag: copy("etag"), modified: copy("last-modified") };
        if validator == Validator::default() && self.known.borrow().is_empty() {
            return None;
        }
        Some(Box::new(Noted { id: self.id(query, request), validator }))
    }

    /// Remembers what was noted; forgets what the answer before had said when this one says nothing.
    pub(super) fn remember(&self, noted: Noted) {
        let mut known = self.known.borrow_mut();
        if noted.validator == Validator::default() {
            known.remove(&noted.id);
            return;
        }
        if known.len() >= KNOWN_MAX && !known.contains_key(&noted.id) {
            // Any one will do: what is asked again is remembered again.
            let victim = known.keys().next().copied();
            victim.and_then(|victim| known.remove(&victim));
        }
        known.insert(noted.id, noted.validator);
    }

    fn id(&self, query: &Query, request: &Request) -> u64 {
        self.hasher.hash_one((query, request.base, request.target()))
    }
}

/// An ETag may hold what a request of this client may not (RFC 9110 section 8.8.3): sent back, it would have every other
/// request of the poll refused before it leaves.
fn may_be_sent(value: &str) -> bool {
    value.len() <= VALUE_BYTES_MAX && value.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Far more than a source has polls; targets that hold a time never come again and fill it up.
const KNOWN_MAX: usize = 1_000;
const VALUE_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    fn answer(fields: &[(&str, &str)]) -> Answer {
        let mut answer = Answer::new(200, "x");
        fields.iter().for_each(|(name, value)| answer.headers.push(name, value.as_bytes()));
        answer
    }

    fn applied(validators: &Validators, query: &Query, target: &str) -> Vec<(&'static str, String)> {
        let mut request = Request::get(target);
        validators.apply(query, &mut request);
        request.headers.iter().map(|(name, text)| (*name, text.as_str().to_owned())).collect()
    }

    fn remember(validators: &Validators, query: &Query, target: &str, answer: &Answer) {
        if let Some(noted) = validators.note(query, &Request::get(target), answer) {
            validators.remember(*noted);
        }
    }

    #[test]
    fn a_question_is_conditional_once_its_answer_is_remembered() {
        let validators = Validators::default();
        let (rates, filings) = (Query::new(Kind::Rate), Query::new(Kind::Filing));
        let modified = "Sun, 06 Nov 1994 08:49:37 GMT";
        let both = answer(&[("ETag", "W/\"1\""), ("Last-Modified", modified)]);
        assert_eq!(applied(&validators, &rates, "/1"), []);
        remember(&validators, &rates, "/1", &both);
        let fields = [("if-none-match", "W/\"1\"".to_owned()), ("if-modified-since", modified.to_owned())];
        assert_eq!(applied(&validators, &rates, "/1"), fields);
        assert_eq!(applied(&validators, &rates, "/2"), [], "another target");
        assert_eq!(applied(&validators, &filings, "/1"), [], "another question at the same target");
        remember(&validators, &rates, "/1", &answer(&[]));
        assert_eq!(applied(&validators, &rates, "/1"), [], "the last answer says nothing");
    }

    #[test]
    fn what_is_no_validator_is_not_remembered() {
        let validators = Validators::default();
        let query = Query::new(Kind::Rate);
        remember(&validators, &query, "/1", &answer(&[("etag", &"x".repeat(VALUE_BYTES_MAX + 1))]));
        for etag in ["\"\u{e9}\"", "\"a\tb\"", "\"a\u{7f}\""] {
            remember(&validators, &query, "/1", &answer(&[("etag", etag)]));
        }
        let mut failed = answer(&[("etag", "\"1\"")]);
        failed.status = 500;
        remember(&validators, &query, "/1", &failed);
        assert!(validators.note(&query, &Request::post("/1", ""), &answer(&[("etag", "\"1\"")])).is_none());
        assert_eq!(applied(&validators, &query, "/1"), []);
    }

    #[test]
    fn no_more_are_known_than_the_bound_allows() {
        let validators = Validators::default();
        let query = Query::new(Kind::Rate);
        for index in 0..KNOWN_MAX + 10 {
            remember(&validators, &query, &format!("/{index}"), &answer(&[("etag", "\"1\"")]));
        }
        assert_eq!(validators.known.borrow().len(), KNOWN_MAX);
        let last = format!("/{}", KNOWN_MAX + 9);
        assert_eq!(applied(&validators, &query, &last).len(), 1);
    }
}
