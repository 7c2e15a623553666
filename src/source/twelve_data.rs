//! Twelve Data: equities, currencies and crypto; quotes and bars.
//! Facts: twelvedata.com/docs, "Quote", "Time series", "Errors". Prices are decimal strings. Times of bars are wall times
//! of the exchange named in the answer, UTC where none is named. Several symbols come back keyed by symbol, one comes
//! bare. Refusals are an object with a `code`, which counts more than the status, as they come under 200, too. The quota
//! counts credits: one per symbol, more for long answers, so that merging symbols into a request saves nothing.

use std::time::Duration;

use compact_str::CompactString;
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::model::{Data, Dec, Interval, IntervalUnit, Judgement, Kind, Native, SourceId, Symbol, Ticker, Verdict};
use crate::source::bars::Candle;
use crate::source::spec::samples;
use crate::source::{
    Base, Batch, Batching, Context, Credential, Evidence, KeyUse, KindSpec, Past, QuotaReport, QuotaScope, Source,
    Spec, State, Tier, WindowShape, WindowSpec, by_status, tickers,
};
use crate::wire::fields::{Int, Pairs};
use crate::wire::{Answer, Request, json, times};

/// The source.
pub struct TwelveData;

impl Source for TwelveData {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn native(&self, _kind: Kind, symbol: &Symbol, _state: &State) -> Result<Native, Judgement> {
        tickers::slashed("twelve_data", symbol).map(Native::new)
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let query = cx.query;
        let symbols: Vec<&str> = cx.natives.iter().map(Native::as_str).collect();
        if symbols.is_empty() {
            return Err(Judgement::unservable(
                "symbol_count",
                "twelve_data: expected a symbol such as AAPL, found none",
            ));
        }
        let (request, each) = match query.kind {
            Kind::Ticker => (Request::get("/quote").param("symbol", symbols.join(",")), 1),
            Kind::Bar => {
                let interval = tickers::interval(cx, "twelve_data", Interval::MINUTE, INTERVALS)?;
                let rows = query.limit.or(query.range.map(|_| ROWS_MAX)).map(|rows| rows.clamp(1, ROWS_MAX));
                let end = match &query.cursor {
                    Some(cursor) => Some(cursor.to_string()),
                    // The provider's end is inclusive.
                    None => {
                        query.range.map(|range| times::stamp(range.to.saturating_sub(Duration::from_nanos(1)), STAMP))
                    }
                };
                let request = Request::get("/time_series")
                    .param("symbol", symbols.join(","))
                    .param("interval", name_of(interval))
                    .param_opt("outputsize", rows)
                    .param_opt("start_date", query.range.map(|range| times::stamp(range.from, STAMP)))
                    .param_opt("end_date", end)
                    // Asked with a span only: it moves the answer's times to UTC, but for those of days.
                    .param_opt("timezone", query.range.map(|_| "UTC"));
                (request, rows.unwrap_or(ROWS_DEFAULT).div_ceil(ROWS_PER_CREDIT))
            }
            kind => return Err(Judgement::unservable("kind_unknown", format!("twelve_data: has no {kind}"))),
        };
        // Beyond the free plan's minute nothing would ever be admitted; the provider lets one such request through.
        let weight = (each * symbols.len() as u32).min(CREDITS_FREE);
        Ok(request.weight(weight).header_secret("authorization", format!("apikey {}", cx.secret(KEY)?.expose())))
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        let form: Form = json::exact(&answer.body).read()?;
        if form.is_refusal() {
            return Err(refusal(answer, form.code, form.message.as_deref()));
        }
        let is_single = form.meta.is_some() || form.values.is_some() || form.symbol.is_some() || form.close.is_some();
        if is_single {
            return decode_one(cx, answer, None, json::exact(&answer.body).read()?, out);
        }
        let keyed: Pairs<Element> = json::exact(&answer.body).read()?;
        if keyed.0.is_empty() {
            return Err(Judgement::malformed("expected a quote or bars, found an empty object"));
        }
        let before = out.records().len();
        let mut refused = None;
        for (key, element) in keyed.0 {
            if element.is_refusal() {
                let judgement = refusal(answer, element.code, element.message.as_deref());
                refused.get_or_insert(Judgement { message: format!("{key}: {}", judgement.message), ..judgement });
            } else {
                decode_one(cx, answer, Some(&key), element, out)?;
            }
        }
        // One refused symbol does not spoil the others; with none left, the refusal is the answer.
        match refused {
            Some(judgement) if out.records().len() == before => Err(judgement),
            _ => Ok(None),
        }
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        match json::exact(&answer.body).read::<Form>() {
            Ok(form) if form.message.is_some() => refusal(answer, form.code, form.message.as_deref()),
            _ => by_status(answer, None),
        }
    }

    fn quota_used(&self, answer: &Answer) -> Option<QuotaReport> {
        let used = answer.header("api-credits-used")?.parse().ok()?;
        Some(QuotaReport { bucket: "", window: MINUTE, used })
    }
}

/// The fields that tell the forms of an answer apart.
#[derive(Deserialize)]
struct Form {
    code: Option<Int>,
    message: Option<String>,
    status: Option<String>,
    meta: Option<serde::de::IgnoredAny>,
    values: Option<serde::de::IgnoredAny>,
    symbol: Option<serde::de::IgnoredAny>,
    #[serde(alias = "price")]
    close: Option<serde::de::IgnoredAny>,
}

impl Form {
    fn is_refusal(&self) -> bool {
        self.code.is_some() || self.status.as_deref() == Some("error")
    }
}

/// What is said of one symbol: a quote, a price alone, bars, or a refusal.
#[derive(Deserialize)]
struct Element {
    code: Option<Int>,
    message: Option<String>,
    status: Option<String>,
    meta: Option<Meta>,
    values: Option<Vec<Option<Value>>>,
    symbol: Option<String>,
    currency: Option<String>,
    #[serde(alias = "price")]
    close: Option<Dec>,
    open: Option<Dec>,
    high: Option<Dec>,
    low: Option<Dec>,
    volume: Option<Dec>,
    previous_close: Option<Dec>,
    change: Option<Dec>,
    /// In percent.
    percent_change: Option<Dec>,
    /// Seconds.
    timestamp: Option<Int>,
}

impl Element {
    fn is_refusal(&self) -> bool {
        self.code.is_some() || self.status.as_deref() == Some("error")
    }
}

#[derive(Deserialize)]
struct Meta {
    symbol: Option<String>,
    /// `1min`, `1day`, …
    interval: Option<String>,
    /// Equities only.
    currency: Option<String>,
    /// An IANA name; equities only.
    exchange_timezone: Option<String>,
}

#[derive(Deserialize)]
struct Value {
    datetime: String,
    open: Dec,
    high: Dec,
    low: Dec,
    close: Dec,
    volume: Option<Dec>,
}

fn decode_one(
    cx: &Context<'_>,
    answer: &Answer,
    key: Option<&str>,
    element: Element,
    out: &mut Batch,
) -> Result<Option<CompactString>, Judgement> {
    if cx.query.kind == Kind::Bar {
        return decode_bars(cx, answer, key, element, out);
    }
    let last = element.close.ok_or_else(|| Judgement::malformed("close: expected a decimal, found nothing"))?;
    let (symbol, native) = names(cx, element.symbol.as_deref().or(key), element.currency.as_deref());
    let ts_event = element.timestamp.map(|at| times::secs("timestamp", at.0)).transpose()?;
    let ticker = Ticker {
        last,
        open: element.open,
        high: element.high,
        low: element.low,
        prev_close: element.previous_close,
        change: element.change,
        change_pct: element.percent_change,
        volume: element.volume,
        ..Ticker::default()
    };
    out.push(symbol, native, ts_event, Data::Ticker(Box::new(ticker)));
    Ok(None)
}

fn decode_bars(
    cx: &Context<'_>,
    answer: &Answer,
    key: Option<&str>,
    element: Element,
    out: &mut Batch,
) -> Result<Option<CompactString>, Judgement> {
    let rows = element.values.ok_or_else(|| Judgement::malformed("values: expected a list, found nothing"))?;
    let meta = element.meta.as_ref();
    let named = meta.and_then(|meta| meta.symbol.as_deref()).or(key);
    let (symbol, native) = names(cx, named, meta.and_then(|meta| meta.currency.as_deref()));
    let interval = meta.and_then(|meta| meta.interval.as_deref()).and_then(interval_of).or(cx.query.interval);
    let told = meta.and_then(|meta| meta.exchange_timezone.as_deref()).filter(|name| !name.is_empty());
    let zone = told.map_or(Ok(TimeZone::UTC), |name| times::zone("meta.exchange_timezone", name))?;
    // Pairs trade around the clock and are told in UTC; an exchange's hours without its zone cannot be placed.
    let is_placed =
        told.is_some() || cx.query.range.is_some() || native.as_ref().is_some_and(|n| n.as_str().contains('/'));
    // A question about a span asks for UTC; days are dates of the exchange whatever was asked.
    let clock = if cx.query.range.is_some() { TimeZone::UTC } else { zone.clone() };
    let mut oldest: Option<String> = None;
    let count = rows.len();
    for row in rows.into_iter().flatten() {
        let is_date = row.datetime.len() == DATE_BYTES;
        if !is_date && !is_placed {
            return Err(Judgement::malformed("meta.exchange_timezone: expected a time zone, found none"));
        }
        let start = times::local("values.datetime", &row.datetime, if is_date { &zone } else { &clock })?;
        let candle = Candle {
            start,
            open: row.open,
            high: row.high,
            low: row.low,
            close: row.close,
            volume: row.volume,
            quote_volume: None,
        };
        candle.push(out, (symbol.clone(), native.clone()), interval, answer.ts_recv);
        oldest = Some(times::stamp(start.saturating_sub(Duration::from_secs(1)), STAMP));
    }
    // Newest first: a full page of a span goes on before its last row.
    let is_full = cx.query.range.is_some() && count as u32 >= cx.query.limit.unwrap_or(ROWS_MAX).min(ROWS_MAX);
    Ok(oldest.filter(|_| is_full).map(CompactString::from))
}

fn names(cx: &Context<'_>, named: Option<&str>, currency: Option<&str>) -> (Option<Symbol>, Option<Native>) {
    let Some(named) = named else {
        return (cx.only().map(|(symbol, _)| symbol.clone()), cx.only().map(|(_, native)| native.clone()));
    };
    // Tickers of exchanges outside the United States lack the suffix that their canonical names have.
    let is_ruled = named.contains('/') || currency.is_none_or(|currency| currency == "USD");
    let symbol = cx.symbol_of(named).or_else(|| tickers::canonical(named).filter(|_| is_ruled));
    (symbol, Some(Native::new(named)))
}

fn name_of(interval: Interval) -> String {
    let unit = match interval.unit() {
        IntervalUnit::Second => "s",
        IntervalUnit::Minute => "min",
        IntervalUnit::Hour => "h",
        IntervalUnit::Day => "day",
        IntervalUnit::Week => "week",
        IntervalUnit::Month => "month",
    };
    format!("{}{unit}", interval.count())
}

fn interval_of(name: &str) -> Option<Interval> {
    INTERVALS.iter().copied().find(|interval| name_of(*interval) == name)
}

fn refusal(answer: &Answer, code: Option<Int>, message: Option<&str>) -> Judgement {
    let status = code.and_then(|code| u16::try_from(code.0).ok()).filter(|code| (300..600).contains(code));
    let status = status.unwrap_or(if answer.is_success() { 400 } else { answer.status });
    let judgement = by_status(&Answer { status, ..answer.clone() }, message);
    let text = message.unwrap_or_default();
    let (verdict, reason) = match status {
        401 => (Verdict::Unauthorized, "key"),
        403 => (Verdict::Unauthorized, "plan"),
        404 => (Verdict::NotFound, "symbol_unknown"),
        400 if text.contains("symbol") && (text.contains("not found") || text.contains("invalid")) => {
            (Verdict::NotFound, "symbol_unknown")
        }
        400 if text.contains("**interval**") => (Verdict::BadRequest, "interval_unknown"),
        400 | 414 => (Verdict::BadRequest, "argument"),
        429 if text.contains("for the day") => (Verdict::RateLimited, "credits_day"),
        429 => (Verdict::RateLimited, "credits_minute"),
        _ => (judgement.verdict, judgement.reason),
    };
    let window = match reason {
        "credits_day" => 86_400,
        "credits_minute" => 60,
        _ => return Judgement { verdict, reason, ..judgement },
    };
    // The windows begin with the minute and the day, in UTC.
    let left = window - answer.ts_recv.as_secs().rem_euclid(window);
    let after = judgement.retry_after.unwrap_or(Duration::from_secs(left.unsigned_abs()));
    Judgement { verdict, reason, ..judgement }.retry_after(Some(after))
}

const KEY: &str = "TWELVE_DATA_API_KEY";
const STAMP: &str = "%Y-%m-%d %H:%M:%S";
const DATE_BYTES: usize = "2026-01-01".len();
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const ROWS_DEFAULT: u32 = 30;
const ROWS_MAX: u32 = 5_000;
/// By public measurements 1,000 rows cost 10 credits.
const ROWS_PER_CREDIT: u32 = 100;
const CREDITS_FREE: u32 = 8;

static SPEC: Spec = Spec {
    id: SourceId("twelve_data"),
    title: "Twelve Data",
    bases: &[Base { name: "api", url: "https://api.twelvedata.com" }],
    kinds: &[
        KindSpec { kind: Kind::Ticker, every: Duration::from_secs(5), ..KIND },
        KindSpec {
            kind: Kind::Bar,
            intervals: INTERVALS,
            past: Past::ranged(ROWS_MAX),
            every: Duration::from_secs(10),
            ..KIND
        },
    ],
    credentials: &[Credential { variable: KEY, about: "API key", simulated: "simulated-twelve-data-key" }],
    tiers: &[
        Tier {
            name: "free",
            windows: &[
                WindowSpec { bucket: "", limit: CREDITS_FREE, per: MINUTE, shape: WindowShape::Fixed },
                WindowSpec { bucket: "", limit: 800, per: DAY, shape: WindowShape::Fixed },
            ],
        },
        Tier { name: "grow", windows: &[WindowSpec { bucket: "", limit: 55, per: MINUTE, shape: WindowShape::Fixed }] },
        Tier { name: "pro", windows: &[WindowSpec { bucket: "", limit: 610, per: MINUTE, shape: WindowShape::Fixed }] },
    ],
    scope: QuotaScope::Key,
    samples: samples!(
        "twelve_data",
        "error_key.json",
        "quote.json",
        "quote_batch.json",
        "time_series.json",
        "time_series_fx.json",
    ),
    routes: include_str!("samples/twelve_data/routes.toml"),
    evidence: Evidence::Recorded,
    quota_docs: "8 credits per clock minute and 800 per day (twelvedata.com/pricing, Basic; 2026-08-01)",
};

const KIND: KindSpec = KindSpec {
    kind: Kind::Ticker,
    key: KeyUse::Required,
    batching: Batching::One,
    whole_market: false,
    intervals: &[],
    past: Past::NONE,
    every: Duration::from_secs(5),
    examples: &["AAPL", "EUR-USD"],
};

const INTERVALS: &[Interval] = &[
    Interval::MINUTE,
    Interval::new(5, IntervalUnit::Minute),
    Interval::new(15, IntervalUnit::Minute),
    Interval::new(30, IntervalUnit::Minute),
    Interval::new(45, IntervalUnit::Minute),
    Interval::HOUR,
    Interval::new(2, IntervalUnit::Hour),
    Interval::new(4, IntervalUnit::Hour),
    Interval::new(8, IntervalUnit::Hour),
    Interval::DAY,
    Interval::WEEK,
    Interval::MONTH,
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::Query;
    use crate::source::testing;
    use crate::time::UnixNanos;

    fn query(kind: Kind) -> Query {
        Query::new(kind).symbol("AAPL")
    }

    fn apple() -> Value {
        json!({
            "source": "twelve_data", "kind": "ticker", "symbol": "AAPL", "native": "AAPL", "ts_event": 1_767_214_799_000_000_000_i64,
            "data": {"last": "271.85999", "open": "273.06000", "high": "273.67999", "low": "271.75000", "prev_close": "273.07999",
                     "change": "-1.22000", "change_pct": "-0.44676", "volume": "27293600"}
        })
    }

    #[test]
    fn quotes_come_bare_or_keyed() {
        testing::check(&TwelveData, &query(Kind::Ticker), "quote.json", json!([apple()]));
        testing::check(&TwelveData, &query(Kind::Ticker).symbol("NOPE"), "quote_batch.json", json!([apple()]));
        let price = |body: &str, query: &Query| testing::decode(&TwelveData, query, 200, body).unwrap();
        let expected = json!({"source": "twelve_data", "kind": "ticker", "symbol": "EUR-USD", "native": "EUR/USD", "data": {"last": "1.17500"}});
        let eur = Query::new(Kind::Ticker).symbol("EUR-USD");
        assert_eq!(price(r#"{"price":"1.17500"}"#, &eur)[0], expected);
        assert_eq!(price(r#"{"EUR/USD":{"price":"1.17500"}}"#, &Query::new(Kind::Ticker))[0], expected);
        let foreign = price(r#"{"symbol":"GS2C","currency":"EUR","close":"1.0"}"#, &Query::new(Kind::Ticker));
        assert_eq!(foreign[0].get("symbol"), None);
        testing::check_bad_bodies(&TwelveData, &query(Kind::Ticker), "quote.json");
        testing::check_bad_bodies(&TwelveData, &query(Kind::Ticker), "quote_batch.json");
    }

    #[test]
    fn bars_are_in_the_exchange_s_time() {
        let start = 1_767_214_740_000_000_000_i64;
        let minute = 60_000_000_000_i64;
        testing::check(
            &TwelveData,
            &query(Kind::Bar),
            "time_series.json",
            json!([
                {"source": "twelve_data", "kind": "bar", "symbol": "AAPL", "native": "AAPL", "ts_event": start + minute,
                 "data": {"interval": "1m", "start": start, "end": start + minute, "open": "271.95001", "high": "272.01001",
                          "low": "271.79999", "close": "271.85999", "volume": "1046521", "closed": true}},
                {"source": "twelve_data", "kind": "bar", "symbol": "AAPL", "native": "AAPL", "ts_event": start,
                 "data": {"interval": "1m", "start": start - minute, "end": start, "open": "271.89999", "high": "271.98001",
                          "low": "271.85001", "close": "271.95001", "volume": "310442", "closed": true}}
            ]),
        );
        let day = 86_400_000_000_000_i64;
        let first = 1_767_225_600_000_000_000_i64;
        testing::check(
            &TwelveData,
            &Query::new(Kind::Bar),
            "time_series_fx.json",
            json!([
                {"source": "twelve_data", "kind": "bar", "symbol": "EUR-USD", "native": "EUR/USD", "ts_event": first + day,
                 "data": {"interval": "1d", "start": first + day, "end": first + 2 * day, "open": "1.17460", "high": "1.17650",
                          "low": "1.17380", "close": "1.17500", "closed": false}},
                {"source": "twelve_data", "kind": "bar", "symbol": "EUR-USD", "native": "EUR/USD", "ts_event": first + day,
                 "data": {"interval": "1d", "start": first, "end": first + day, "open": "1.17510", "high": "1.17560",
                          "low": "1.17390", "close": "1.17460", "closed": true}}
            ]),
        );
        testing::check_bad_bodies(&TwelveData, &query(Kind::Bar), "time_series.json");
    }

    #[test]
    fn requests_carry_the_key_in_a_header() {
        let request = testing::request(&TwelveData, &query(Kind::Ticker)).unwrap();
        assert_eq!(request.target(), "/quote?symbol=AAPL");
        assert_eq!(request.headers[0].1.as_str(), "apikey simulated-twelve-data-key");
        assert_eq!(request.redact("bad simulated-twelve-data-key"), "bad ***");
        let at = |secs| UnixNanos::from_secs(secs).unwrap();
        let bars = Query::new(Kind::Bar).symbol("EUR-USD").interval(Interval::HOUR);
        let target = |query: &Query| testing::request(&TwelveData, query).unwrap().target().to_owned();
        assert_eq!(target(&bars), "/time_series?symbol=EUR%2FUSD&interval=1h");
        let spanned = bars.clone().range(at(1_767_139_200), at(1_767_225_600));
        assert_eq!(
            target(&spanned),
            "/time_series?symbol=EUR%2FUSD&interval=1h&outputsize=5000&start_date=2025-12-31%2000:00:00\
             &end_date=2025-12-31%2023:59:59&timezone=UTC"
        );
        assert_eq!(testing::request(&TwelveData, &bars.clone().limit(250)).unwrap().weight, 3);
        assert_eq!(testing::request(&TwelveData, &spanned).unwrap().weight, 8);
        let odd = bars.interval(Interval::new(3, IntervalUnit::Minute));
        assert_eq!(testing::request(&TwelveData, &odd).unwrap_err().reason, "interval_unknown");
        let perp = Query::new(Kind::Bar).symbol("BTC-USDT.PERP");
        assert_eq!(testing::request(&TwelveData, &perp).unwrap_err().reason, "symbol_form");
    }

    #[test]
    fn spans_are_read_in_utc_and_paged_backwards() {
        let at = |secs| UnixNanos::from_secs(secs).unwrap();
        let asked = query(Kind::Bar).range(at(1_767_139_200), at(1_767_225_600)).limit(2);
        let (state, credentials) = (State::default(), testing::credentials(&TwelveData));
        let cx = Context::new(&TwelveData, &asked, &state, &credentials, "", testing::NOW).unwrap();
        let answer = Answer::new(200, SPEC.sample("time_series.json").unwrap());
        let mut batch = Batch::new(SPEC.id, testing::NOW);
        let next = TwelveData.decode(&cx, &answer, &mut batch).unwrap();
        assert_eq!(next.as_deref(), Some("2025-12-31 15:57:59"));
        let Data::Bar(bar) = &batch.records()[1].data else { panic!("no bar") };
        assert_eq!(bar.start.as_secs(), 1_767_196_680);
    }

    #[test]
    fn refusals_are_told_apart() {
        let check =
            |status, body, expected| testing::check_verdict(&TwelveData, &query(Kind::Ticker), status, body, expected);
        let credits = r#"{"code":429,"message":"You have run out of API credits for the current minute. 10 API credits were used, with the current limit being 8.","status":"error"}"#;
        check(429, credits, (Verdict::RateLimited, "credits_minute"));
        check(200, credits, (Verdict::RateLimited, "credits_minute"));
        let judgement = testing::decode(&TwelveData, &query(Kind::Ticker), 200, credits).unwrap_err();
        assert_eq!(judgement.retry_after, Some(Duration::from_secs(55)));
        let day = r#"{"code":429,"message":"You have run out of API credits for the day.","status":"error"}"#;
        check(200, day, (Verdict::RateLimited, "credits_day"));
        check(401, SPEC.sample("error_key.json").unwrap(), (Verdict::Unauthorized, "key"));
        check(200, SPEC.sample("error_key.json").unwrap(), (Verdict::Unauthorized, "key"));
        check(403, r#"{"code":403,"message":"upgrade","status":"error"}"#, (Verdict::Unauthorized, "plan"));
        check(
            200,
            r#"{"code":400,"message":"**symbol** not found: ABC/XYZ. Please specify it correctly.","status":"error"}"#,
            (Verdict::NotFound, "symbol_unknown"),
        );
        check(
            400,
            r#"{"code":400,"message":"Invalid **interval** provided: 7min.","status":"error"}"#,
            (Verdict::BadRequest, "interval_unknown"),
        );
        check(
            200,
            r#"{"NOPE":{"code":404,"message":"unknown","status":"error"}}"#,
            (Verdict::NotFound, "symbol_unknown"),
        );
        check(500, r#"{"code":500,"message":"oops","status":"error"}"#, (Verdict::UpstreamError, "http_5xx"));
        check(200, r#"{"symbol":"AAPL"}"#, (Verdict::Malformed, "shape"));
        check(200, r#"{"symbol":"AAPL","close":"x"}"#, (Verdict::Malformed, "shape"));
        check(200, r#"{"symbol":"AAPL","close":"1","timestamp":"x"}"#, (Verdict::Malformed, "shape"));
    }
}
