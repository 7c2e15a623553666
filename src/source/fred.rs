//! FRED, the economic series of the Federal Reserve Bank of St. Louis.
//! Facts: fred.stlouisfed.org/docs/api, "fred/series/observations". Values are strings, `.` where one is missing; a
//! period is named by its first day. The answer does not name the series. Unknown series and bad keys are both a 400
//! and told apart by their text. `file_type=json` must be asked for: XML is the provider's default, also of its errors.

use std::time::Duration;

use compact_str::{CompactString, format_compact};
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::model::{Data, Dec, Judgement, Kind, Native, Observation, SourceId, Symbol, Verdict};
use crate::source::spec::samples;
use crate::source::{
    Base, Batch, Batching, Context, Credential, Evidence, KeyUse, KindSpec, Past, QuotaReport, QuotaScope, Source,
    Spec, State, Tier, WindowShape, WindowSpec, by_status,
};
use crate::wire::{Answer, Request, json, times};

/// The source.
pub struct Fred;

impl Source for Fred {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn native(&self, _kind: Kind, symbol: &Symbol, _state: &State) -> Result<Native, Judgement> {
        let id = symbol.as_str();
        if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Ok(Native::new(id.to_ascii_uppercase()));
        }
        Err(Judgement::unservable(
            "symbol_form",
            format!("fred: expected the id of a series such as GDP, found {symbol}"),
        ))
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let query = cx.query;
        let request = Request::get("/fred/series/observations")
            .param("series_id", cx.only_native()?)
            .param_secret("api_key", cx.secret(KEY)?)
            .param("file_type", "json");
        // Without a span the newest rows are wanted first; in a span, and from page to page, the order of time.
        let request = match query.range {
            Some(range) => request
                .param("observation_start", times::date(range.from))
                // The last day is inclusive.
                .param("observation_end", times::date(range.to.saturating_sub(Duration::from_nanos(1))))
                .param("limit", query.limit.unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX)),
            None => request
                .param("sort_order", "desc")
                .param("limit", query.limit.unwrap_or(ROWS_DEFAULT).clamp(1, ROWS_MAX)),
        };
        Ok(request.param_opt("offset", query.cursor.as_ref()))
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        let page: Page = json::plain(&answer.body).read()?;
        let Some(rows) = page.observations else {
            return Err(match page.error_message {
                Some(message) => refusal(answer, page.error_code, &message),
                None => Judgement::malformed("observations: expected a list, found nothing"),
            });
        };
        let only = cx.only();
        for (index, row) in rows.iter().enumerate().filter_map(|(index, row)| Some((index, row.as_ref()?))) {
            let observation = Observation {
                series: only.map(|(_, native)| native.as_str().into()),
                period: row.date.clone(),
                value: value(index, &row.value)?,
                unit: page.units.clone(),
            };
            let ts_event = times::local("observations.date", &row.date, &TimeZone::UTC)?;
            let (symbol, native) = (only.map(|(symbol, _)| symbol.clone()), only.map(|(_, native)| native.clone()));
            out.push(symbol, native, Some(ts_event), Data::Observation(observation));
        }
        let next = page.offset.unwrap_or(0).saturating_add(rows.len() as u64);
        let is_more = !rows.is_empty() && page.count.is_some_and(|count| next < count);
        Ok(is_more.then(|| format_compact!("{next}")))
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        if let Ok(Page { error_code, error_message: Some(message), .. }) = json::plain(&answer.body).read() {
            return refusal(answer, error_code, &message);
        }
        // `<error code="400" message="…"/>`: what is sent when the parameters were not understood at all.
        let text = String::from_utf8_lossy(&answer.body);
        match text.split_once("<error").and_then(|(_, rest)| rest.split_once("message=\"")) {
            Some((_, rest)) => refusal(answer, None, rest.split('"').next().unwrap_or_default()),
            None => by_status(answer, None),
        }
    }

    fn quota_used(&self, answer: &Answer) -> Option<QuotaReport> {
        let limit: u32 = answer.header("x-rate-limit-limit")?.parse().ok()?;
        let remaining: u32 = answer.header("x-rate-limit-remaining")?.parse().ok()?;
        Some(QuotaReport { bucket: "", window: MINUTE, used: limit.saturating_sub(remaining) })
    }
}

/// A page of observations, or an error in its place.
#[derive(Deserialize)]
struct Page {
    /// The transformation of the values: `lin` (levels), `pch` (percent change), ….
    units: Option<CompactString>,
    count: Option<u64>,
    offset: Option<u64>,
    observations: Option<Vec<Option<Row>>>,
    error_code: Option<u16>,
    error_message: Option<String>,
}

#[derive(Deserialize)]
struct Row {
    date: CompactString,
    /// A decimal, or `.` where there is none.
    value: String,
}

fn value(index: usize, text: &str) -> Result<Option<Dec>, Judgement> {
    if text == "." {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        Judgement::malformed(format!("observations[{index}].value: expected a decimal or \".\", found {shown:?}"))
    })
}

/// Judges by the text, which alone tells a bad key from an unknown series.
fn refusal(answer: &Answer, code: Option<u16>, message: &str) -> Judgement {
    let status = if answer.is_success() { code.unwrap_or(400) } else { answer.status };
    let judgement = by_status(&Answer { status, ..answer.clone() }, Some(message));
    let (verdict, reason) = match status {
        400 if message.contains("api_key") => (Verdict::Unauthorized, "key"),
        400 | 404 if message.contains("does not exist") => (Verdict::NotFound, "symbol_unknown"),
        400 => (Verdict::BadRequest, "argument"),
        _ => (judgement.verdict, judgement.reason),
    };
    Judgement { verdict, reason, ..judgement }
}

const KEY: &str = "FRED_API_KEY";
const MINUTE: Duration = Duration::from_secs(60);
const ROWS_MAX: u32 = 100_000;
// Long series have tens of thousands of rows, which no poll wants again each time.
const ROWS_DEFAULT: u32 = 1_000;

static SPEC: Spec = Spec {
    id: SourceId("fred"),
    title: "FRED",
    bases: &[Base { name: "api", url: "https://api.stlouisfed.org" }],
    kinds: &[KindSpec {
        kind: Kind::Observation,
        key: KeyUse::Required,
        batching: Batching::One,
        whole_market: false,
        intervals: &[],
        past: Past::ranged(ROWS_MAX),
        every: Duration::from_secs(5),
        examples: &["DGS10", "UNRATE", "GDP"],
    }],
    credentials: &[Credential {
        variable: KEY,
        about: "API key of 32 characters",
        simulated: "abcdef0123456789abcdef0123456789",
    }],
    tiers: &[Tier {
        name: "free",
        windows: &[WindowSpec { bucket: "", limit: 120, per: MINUTE, shape: WindowShape::Rolling }],
    }],
    scope: QuotaScope::Key,
    samples: samples!("fred", "error_key.json", "observations.json"),
    routes: include_str!("samples/fred/routes.toml"),
    evidence: Evidence::Recorded,
    quota_docs: "120 requests per minute and key (fred.stlouisfed.org/docs/api, help pages; 2026-08-01)",
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Query;
    use crate::source::testing;
    use crate::time::UnixNanos;

    fn query() -> Query {
        Query::new(Kind::Observation).symbol("DGS10")
    }

    #[test]
    fn a_missing_value_is_left_out() {
        let record = |period: &str, secs: i64, value: Option<&str>| {
            let mut data = json!({"series": "DGS10", "period": period});
            if let Some(value) = value {
                data["value"] = value.into();
            }
            data["unit"] = "lin".into();
            json!({"source": "fred", "kind": "observation", "symbol": "DGS10", "native": "DGS10",
                   "ts_event": secs * 1_000_000_000, "data": data})
        };
        testing::check(
            &Fred,
            &query(),
            "observations.json",
            json!([
                record("2025-12-30", 1_767_052_800, Some("4.14")),
                record("2025-12-29", 1_766_966_400, Some("4.10")),
                record("2025-12-25", 1_766_620_800, None),
            ]),
        );
        testing::check_bad_bodies(&Fred, &query(), "observations.json");
    }

    #[test]
    fn requests_page_by_offset() {
        let target = |query: &Query| testing::request(&Fred, query).map(|request| request.target_redacted());
        assert_eq!(
            target(&query()).unwrap(),
            "/fred/series/observations?series_id=DGS10&api_key=***&file_type=json&sort_order=desc&limit=1000"
        );
        let day = |secs| UnixNanos::from_secs(secs).unwrap();
        assert_eq!(
            target(&query().range(day(1_767_052_800), day(1_767_225_600)).limit(200_000).cursor("100000")).unwrap(),
            "/fred/series/observations?series_id=DGS10&api_key=***&file_type=json&observation_start=2025-12-30\
             &observation_end=2025-12-31&limit=100000&offset=100000"
        );
        assert_eq!(target(&Query::new(Kind::Observation).symbol("BTC-USD")).unwrap_err().reason, "symbol_form");
        let cursor = |body: &str| {
            let (state, credentials) = (State::default(), testing::credentials(&Fred));
            let query = query();
            let cx = Context::new(&Fred, &query, &state, &credentials, "", testing::NOW).unwrap();
            Fred.decode(&cx, &Answer::new(200, body.to_owned()), &mut Batch::new(SPEC.id, testing::NOW)).unwrap()
        };
        let row = r#"[{"date":"2025-12-30","value":"1"}]"#;
        assert_eq!(cursor(&format!(r#"{{"count":12,"offset":10,"observations":{row}}}"#)).as_deref(), Some("11"));
        assert_eq!(cursor(&format!(r#"{{"count":12,"offset":11,"observations":{row}}}"#)), None);
        assert_eq!(cursor(r#"{"count":12,"offset":0,"observations":[]}"#), None);
    }

    #[test]
    fn refusals_are_told_apart() {
        let check = |status, body, expected| testing::check_verdict(&Fred, &query(), status, body, expected);
        let key =
            r#"{"error_code":400,"error_message":"Bad Request.  The value for variable api_key is not registered."}"#;
        check(400, key, (Verdict::Unauthorized, "key"));
        check(200, key, (Verdict::Unauthorized, "key"));
        let series = r#"{"error_code":400,"error_message":"Bad Request.  The series does not exist."}"#;
        check(400, series, (Verdict::NotFound, "symbol_unknown"));
        check(
            400,
            r#"<?xml version="1.0"?><error code="400" message="Bad Request.  The series does not exist."/>"#,
            (Verdict::NotFound, "symbol_unknown"),
        );
        let limit = r#"{"error_code":400,"error_message":"Bad Request.  Variable limit is not between 1 and 100000."}"#;
        check(400, limit, (Verdict::BadRequest, "argument"));
        let pace = r#"{"error_code":429,"error_message":"Too Many Requests.  Exceeded Rate Limit"}"#;
        check(429, pace, (Verdict::RateLimited, "http_429"));
        check(200, pace, (Verdict::RateLimited, "http_429"));
        check(503, "<html>maintenance</html>", (Verdict::UpstreamError, "http_5xx"));
        check(200, r#"{"observations":[{"date":"2025-12-30"}]}"#, (Verdict::Malformed, "shape"));
        check(200, r#"{"observations":[{"date":"2025-12-30","value":"x"}]}"#, (Verdict::Malformed, "shape"));
        check(200, r#"{"observations":[{"date":"soon","value":"1"}]}"#, (Verdict::Malformed, "shape"));
    }
}
