//! Checks that every source's tests share: a sample in, exact records out; and what no decoder may do on bad input.

use serde_json::Value;

use crate::config::{Credentials, Secret};
use crate::model::{Judgement, Query};
use crate::source::{Batch, Context, Source, State, judge};
use crate::time::UnixNanos;
use crate::wire::{Answer, Request};

/// The moment at which tests are asked and answered: 2026-01-02T03:04:05Z.
pub const NOW: UnixNanos = UnixNanos::from_nanos(1_767_323_045_000_000_000);

/// Judges `body` under `status` as the answer to `query`; gives the records as JSON, in the order of the format and
/// without the times of receipt.
pub fn decode(source: &dyn Source, query: &Query, status: u16, body: &str) -> Result<Vec<Value>, Judgement> {
    decode_with(source, query, &State::default(), Answer::new(status, body.to_owned()))
}

/// As [`decode`], with state and a whole answer.
pub fn decode_with(
    source: &dyn Source,
    query: &Query,
    state: &State,
    mut answer: Answer,
) -> Result<Vec<Value>, Judgement> {
    let credentials = credentials(source);
    let cx = Context::new(source, query, state, &credentials, "ops@example.com", NOW)?;
    answer.ts_recv = NOW;
    let mut batch = Batch::new(source.spec().id, UnixNanos::EPOCH);
    judge(source, &cx, &answer, &mut batch)?;
    Ok(batch.records().iter().map(|record| serde_json::to_value(record).unwrap()).collect())
}

/// Checks that a sample decodes to exactly these records.
pub fn check(source: &dyn Source, query: &Query, sample: &str, expected: Value) {
    let body = source.spec().sample(sample).unwrap_or_else(|| panic!("no sample {sample}"));
    let found = decode(source, query, 200, body).unwrap_or_else(|judgement| panic!("{sample}: {judgement}"));
    assert_eq!(Value::Array(found), expected, "{sample}");
}

/// Checks the verdict and reason on an answer.
pub fn check_verdict(
    source: &dyn Source,
    query: &Query,
    status: u16,
    body: &str,
    expected: (crate::model::Verdict, &str),
) {
    let judgement = decode(source, query, status, body).expect_err("a verdict other than ok");
    assert_eq!((judgement.verdict, judgement.reason), expected, "{body}: {judgement}");
}

/// The request for `query`, with the simulator's keys.
pub fn request(source: &dyn Source, query: &Query) -> Result<Request, Judgement> {
    let (state, credentials) = (State::default(), credentials(source));
    let cx = Context::new(source, query, &state, &credentials, "ops@example.com", NOW)?;
    source.request(&cx)
}

/// The simulator's keys of a source.
pub fn credentials(source: &dyn Source) -> Credentials {
    let mut credentials = Credentials::default();
    for credential in source.spec().credentials {
        credentials.insert(credential.variable, Secret::new(credential.simulated));
    }
    credentials
}

/// Checks that a sample's mutilated forms are refused and never panic: empty, cut at every 7th byte, no JSON,
/// and JSON of another shape.
pub fn check_bad_bodies(source: &dyn Source, query: &Query, sample: &str) {
    let body = source.spec().sample(sample).unwrap_or_else(|| panic!("no sample {sample}"));
    for bad in ["", " ", "null", "17", "\"text\"", "<html><body>busy</body></html>", "{\"unexpected\":true}", "[[[]]]"]
    {
        assert!(decode(source, query, 200, bad).is_err(), "{sample}: {bad:?} was taken for an answer");
    }
    let body = body.trim_end();
    for cut in (0..body.len()).step_by(7).filter(|cut| body.is_char_boundary(*cut)) {
        assert!(decode(source, query, 200, &body[..cut]).is_err(), "{sample}: cut at {cut} was taken for an answer");
    }
}
