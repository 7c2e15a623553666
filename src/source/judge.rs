//! From an answer to records or a judgement: the same few steps for every source, in the shards and in `decode`.

use compact_str::CompactString;

use crate::model::{Judgement, Kind, Record, Symbol, Verdict};
use crate::source::{Batch, Context, Source};
use crate::wire::Answer;

/// Judges one whole answer: 2xx is decoded into `out`, 304 is `ok` with nothing new, anything else is classified.
/// A failure leaves `out` as it was.
///
/// # Errors
/// The judgement when the verdict is not `ok`.
pub fn judge(
    source: &dyn Source,
    cx: &Context<'_>,
    answer: &Answer,
    out: &mut Batch,
) -> Result<Option<CompactString>, Judgement> {
    if answer.status == 304 {
        return Ok(None);
    }
    if !answer.is_success() {
        return Err(in_words(source.classify(cx, answer), answer));
    }
    let before = out.records().len();
    if answer.body.iter().all(u8::is_ascii_whitespace) {
        return Err(Judgement::new(Verdict::Malformed, "empty_body", "expected a body, found none"));
    }
    let decoded = source.decode(cx, answer, out).and_then(|next| check_names(&out.records()[before..]).map(|()| next));
    let decoded = decoded.and_then(|next| check_any(cx, &out.records()[before..]).map(|()| next));
    decoded.map_err(|judgement| in_words(by_body(judgement, answer), answer)).inspect_err(|_| out.truncate(before))
}

/// Refuses a whole answer without a record about what was asked for by name and always has one: lists of what happens
/// may be empty, the state of an instrument may not.
fn check_any(cx: &Context<'_>, records: &[Record]) -> Result<(), Judgement> {
    let query = cx.query;
    let always = matches!(query.kind, Kind::Book | Kind::Quote | Kind::Rate | Kind::Ticker);
    if !always || !records.is_empty() || query.symbols.is_empty() || query.whole_market || query.range.is_some() {
        return Ok(());
    }
    let asked: Vec<&str> = query.symbols.iter().map(Symbol::as_str).collect();
    let message = format!("expected a {} of {}, found an answer without any", query.kind, asked.join(", "));
    Err(Judgement::new(Verdict::Malformed, "empty", message))
}

/// What a 2xx body that does not fit is, where the source knew no better: a page for people, or a notice to wait.
fn by_body(judgement: Judgement, answer: &Answer) -> Judgement {
    if judgement.verdict != Verdict::Malformed || judgement.reason != "shape" {
        return judgement;
    }
    let head = answer.body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&answer.body).trim_ascii_start();
    let text = String::from_utf8_lossy(&head[..head.len().min(NOTICE_BYTES_MAX)]).to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|words| text.contains(words));
    if text.starts_with('<') {
        let reason = if says(BLOCK_WORDS) { "block_page" } else { "html_page" };
        let message = format!("expected JSON, found a page: {}", answer.excerpt(EXCERPT_BYTES));
        return Judgement::new(Verdict::Malformed, reason, message);
    }
    // A notice is short; a long body that speaks of limits is about something else.
    if answer.body.len() <= NOTICE_BYTES_MAX && says(LIMIT_WORDS) {
        let judgement = Judgement::new(Verdict::RateLimited, "limit_notice", answer.excerpt(EXCERPT_BYTES));
        return judgement.retry_after(answer.retry_after());
    }
    judgement
}

/// Refuses records whose provider sent an empty text for a name: they would be about nothing.
fn check_names(records: &[Record]) -> Result<(), Judgement> {
    let is_blank = |record: &&Record| {
        let symbol = record.symbol.as_ref().map_or("-", Symbol::as_str);
        record.native.as_ref().is_some_and(|native| native.as_str().is_empty())
            || symbol.is_empty()
            || (symbol.len() > 1 && (symbol.starts_with('-') || symbol.ends_with('-')))
    };
    match records.iter().position(|record| is_blank(&record)) {
        Some(at) => {
            Err(Judgement::malformed(format!("record {at}: expected the name of an instrument, found an empty text")))
        }
        None => Ok(()),
    }
}

/// A judgement whose message is the provider's and empty says what came instead.
fn in_words(judgement: Judgement, answer: &Answer) -> Judgement {
    if !judgement.message.trim().is_empty() {
        return judgement;
    }
    Judgement { message: by_status(answer, None).message, ..judgement }
}

/// What a status alone says (RFC 9110), with the provider's own words where the source found them.
pub fn by_status(answer: &Answer, message: Option<&str>) -> Judgement {
    let (verdict, reason) = match answer.status {
        300..=399 => (Verdict::BadRequest, "redirect"),
        401 => (Verdict::Unauthorized, "http_401"),
        402 => (Verdict::Unauthorized, "http_402"),
        403 => (Verdict::Unauthorized, "http_403"),
        404 => (Verdict::NotFound, "http_404"),
        408 => (Verdict::UpstreamError, "http_408"),
        410 => (Verdict::NotFound, "http_410"),
        418 => (Verdict::Banned, "http_418"),
        426 => (Verdict::Unauthorized, "http_426"),
        429 => (Verdict::RateLimited, "http_429"),
        451 => (Verdict::Unauthorized, "http_451"),
        400..=499 => (Verdict::BadRequest, "http_4xx"),
        500..=599 => (Verdict::UpstreamError, "http_5xx"),
        _ => (Verdict::UpstreamError, "http_status"),
    };
    let message = match message.filter(|text| !text.trim().is_empty()) {
        Some(text) => text.trim().to_owned(),
        None => {
            let excerpt = answer.excerpt(EXCERPT_BYTES);
            if excerpt.is_empty() { format!("HTTP {}", answer.status) } else { excerpt }
        }
    };
    Judgement::new(verdict, reason, message).retry_after(answer.retry_after())
}

/// What pages say that keep programs out.
const BLOCK_WORDS: &[&str] =
    &["access denied", "are you a robot", "been blocked", "captcha", "cf-error", "not a robot", "unusual traffic"];
/// What notices of too many requests say.
const LIMIT_WORDS: &[&str] = &[
    "api limit",
    "call frequency",
    "limit exceeded",
    "quota exceeded",
    "rate limit",
    "rate-limit",
    "ratelimit",
    "too many calls",
    "too many requests",
];
/// No notice is longer, and pages say what they are about within that.
const NOTICE_BYTES_MAX: usize = 4 << 10;
const EXCERPT_BYTES: usize = 200;

#[cfg(test)]
mod tests {
    use crate::model::{Kind, Query, Verdict};
    use crate::source::testing;

    #[test]
    fn a_body_that_does_not_fit_says_what_it_is() {
        let source = crate::source::find("coinbase").unwrap();
        let check = |body: &str, expected: (Verdict, &str)| {
            let query = Query::new(Kind::Ticker).symbol("BTC-USD");
            let judgement = testing::decode(source, &query, 200, body).unwrap_err();
            assert_eq!((judgement.verdict, judgement.reason), expected, "{body}");
            assert!(judgement.message.len() <= 320, "{body}");
        };
        check("<!DOCTYPE html><title>Before you continue</title>", (Verdict::Malformed, "html_page"));
        check("\u{feff} <html>Sorry, you have been blocked", (Verdict::Malformed, "block_page"));
        check(r#"{"notice":"Too Many Requests, slow down"}"#, (Verdict::RateLimited, "limit_notice"));
        check(&format!(r#"{{"text":"{} rate limit"}}"#, "x".repeat(5_000)), (Verdict::Malformed, "shape"));
        check(r#"{"price":[]}"#, (Verdict::Malformed, "shape"));
        check(" \n", (Verdict::Malformed, "empty_body"));
    }

    #[test]
    fn the_state_of_an_instrument_is_never_empty() {
        let source = crate::source::find("bybit").unwrap();
        let query = Query::new(Kind::Ticker).symbol("BTC-USDT");
        let body = r#"{"retCode":0,"retMsg":"OK","result":{"category":"spot","list":[]},"time":1767225600000}"#;
        let judged = testing::decode(source, &query, 200, body);
        assert_eq!(judged.unwrap_err().reason, "empty");
        let trades = Query { kind: Kind::Trade, ..query };
        assert!(testing::decode(source, &trades, 200, body).unwrap().is_empty());
    }
}
