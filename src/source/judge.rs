//! From an answer to records or a judgement: the same few steps for every source, in the shards and in `decode`.

use compact_str::CompactString;

use crate::model::{Judgement, Record, Symbol, Verdict};
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
    decoded.map_err(|judgement| in_words(judgement, answer)).inspect_err(|_| out.truncate(before))
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
            let excerpt = answer.excerpt(200);
            if excerpt.is_empty() { format!("HTTP {}", answer.status) } else { excerpt }
        }
    };
    Judgement::new(verdict, reason, message).retry_after(answer.retry_after())
}
