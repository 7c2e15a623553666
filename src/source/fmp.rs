//! Financial Modeling Prep, the stable API. Facts: site.financialmodelingprep.com/developer/docs (quote, historical-price-eod,
//! historical-chart, news), and recorded answers. Every answer is a list and every price a number token that keeps its digits;
//! bodies of the closed v3 API are read too. Wall times without a zone are New York's; dates start at midnight in UTC.

use std::time::Duration;

use compact_str::{CompactString, format_compact};
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::model::{
    Data, Dec, Interval, IntervalUnit, Judgement, Kind, Native, News, SourceId, Symbol, Ticker, TimeRange, Verdict,
};
use crate::source::bars::Candle;
use crate::source::listing::{self, filled, names};
use crate::source::spec::samples;
use crate::source::{
    Base, Batch, Batching, Context, Credential, Evidence, KeyUse, KindSpec, Past, QuotaScope, Source, Spec, State,
    Tier, WindowShape, WindowSpec, by_status,
};
use crate::wire::fields::Int;
use crate::wire::{Answer, Request, fields, json, times};

/// The source.
pub struct Fmp;

impl Source for Fmp {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn native(&self, _kind: Kind, symbol: &Symbol, _state: &State) -> Result<Native, Judgement> {
        let name = symbol.as_str();
        match symbol.pair() {
            Some((base, quote)) => Ok(Native::new(format_compact!("{base}{quote}"))),
            None if name.is_empty() || name.contains(['-', '/', ' ', ',']) => Err(Judgement::unservable(
                "symbol_form",
                format!("fmp: expected a symbol such as AAPL, BRK.B, BTC-USD or EUR-USD, found {name:?}"),
            )),
            None => Ok(Native::new(listing::dashed(name, EXCHANGE_LETTERS))),
        }
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let key = cx.secret(KEY)?;
        let request = match cx.query.kind {
            Kind::Ticker => Request::get("/stable/quote").param("symbol", cx.only_native()?),
            Kind::Bar => bars(cx)?,
            Kind::News => {
                let request = match cx.natives.as_slice() {
                    [] => Request::get("/stable/news/general-latest"),
                    _ => Request::get("/stable/news/stock").param("symbols", cx.only_native()?),
                };
                let span = cx.query.range;
                request
                    .param_opt("from", span.map(|span| times::date(span.from)))
                    .param_opt("to", span.map(|span| times::date(span.to)))
                    .param("limit", news_limit(cx))
                    .param_opt("page", cx.query.cursor.as_ref())
            }
            kind => return Err(unserved(kind)),
        };
        Ok(request.header_secret("apikey", key.expose()))
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        let is_list = json::is_array(&answer.body);
        match cx.query.kind {
            Kind::Ticker if is_list => decode_quotes(cx, &answer.body, out).map(|()| None),
            Kind::Bar if is_list => {
                let rows: Vec<PriceRow> = json::exact(&answer.body).read()?;
                push_bars(cx, answer, &rows, None, out).map(|()| None)
            }
            Kind::News if is_list => {
                let rows = decode_news(cx, &answer.body, out)?;
                let page = cx.query.cursor.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0_u32);
                let full = rows >= news_limit(cx) as usize;
                Ok(full.then(|| format_compact!("{}", page.saturating_add(1))))
            }
            Kind::Bar => {
                if error_of(answer).is_none()
                    && let Some(history) = history_of(answer)?
                {
                    return push_bars(cx, answer, &history.historical, history.symbol.as_deref(), out).map(|()| None);
                }
                Err(refusal(answer))
            }
            Kind::Ticker | Kind::News => Err(refusal(answer)),
            kind => Err(unserved(kind)),
        }
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        refusal(answer)
    }
}

fn bars(cx: &Context<'_>) -> Result<Request, Judgement> {
    let interval = cx.query.interval.unwrap_or(Interval::DAY);
    let Some((_, word)) = INTERVALS.iter().find(|(known, _)| *known == interval) else {
        let valid: Vec<String> = INTERVALS.iter().map(|(known, _)| known.to_string()).collect();
        return Err(Judgement::unservable(
            "interval_unknown",
            format!("fmp: expected an interval of {}, found {interval}", valid.join(", ")),
        ));
    };
    let length = interval.duration().unwrap_or(DAY);
    let rows = cx.query.limit.unwrap_or(ROWS).clamp(1, ROWS_MAX);
    let span =
        cx.query.range.unwrap_or(TimeRange { from: cx.now.saturating_sub(length.saturating_mul(rows)), to: cx.now });
    Ok(Request::get(format!("/stable/{word}"))
        .param("symbol", cx.only_native()?)
        .param("from", times::date(span.from))
        .param("to", times::date(span.to)))
}

fn news_limit(cx: &Context<'_>) -> u32 {
    cx.query.limit.unwrap_or(NEWS_ROWS).clamp(1, NEWS_ROWS_MAX)
}

fn unserved(kind: Kind) -> Judgement {
    Judgement::unservable("kind_unknown", format!("fmp: has no {kind}"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Quote {
    symbol: CompactString,
    exchange: Option<CompactString>,
    price: Dec,
    /// In percent; the closed API spelled it with another s.
    #[serde(alias = "changesPercentage")]
    change_percentage: Option<Dec>,
    change: Option<Dec>,
    volume: Option<Dec>,
    day_low: Option<Dec>,
    day_high: Option<Dec>,
    open: Option<Dec>,
    previous_close: Option<Dec>,
    /// Seconds.
    timestamp: Option<Int>,
}

fn decode_quotes(cx: &Context<'_>, body: &[u8], out: &mut Batch) -> Result<(), Judgement> {
    let rows: Vec<Quote> = json::exact(body).read()?;
    if rows.is_empty() {
        return Err(Judgement::not_found("expected a quote, found an empty list, which stands for an unknown symbol"));
    }
    for row in &rows {
        let ticker = Ticker {
            last: row.price,
            open: row.open,
            high: row.day_high,
            low: row.day_low,
            prev_close: row.previous_close,
            change: row.change,
            change_pct: row.change_percentage,
            volume: row.volume,
            ..Ticker::default()
        };
        let ts_event = row.timestamp.map(|at| times::secs("timestamp", at.0)).transpose()?;
        let paired = matches!(row.exchange.as_deref(), Some("CRYPTO" | "FOREX"));
        let symbol = cx.symbol_of(&row.symbol).or_else(|| equity(&row.symbol).filter(|_| !paired));
        out.push(symbol, Some(Native::new(&row.symbol)), ts_event, Data::Ticker(Box::new(ticker)));
    }
    Ok(())
}

#[derive(Deserialize)]
struct PriceRow {
    symbol: Option<CompactString>,
    /// A date, or a wall time in New York.
    date: CompactString,
    #[serde(deserialize_with = "fields::nullable")]
    open: Option<Dec>,
    #[serde(deserialize_with = "fields::nullable")]
    high: Option<Dec>,
    #[serde(deserialize_with = "fields::nullable")]
    low: Option<Dec>,
    #[serde(deserialize_with = "fields::nullable")]
    close: Option<Dec>,
    volume: Option<Dec>,
}

/// The form of the closed API: one object with the rows inside.
#[derive(Deserialize)]
struct History {
    symbol: Option<CompactString>,
    historical: Vec<PriceRow>,
}

fn history_of(answer: &Answer) -> Result<Option<History>, Judgement> {
    if memchr::memmem::find(&answer.body, b"\"historical\"").is_none() {
        return Ok(None);
    }
    json::exact(&answer.body).read().map(Some)
}

fn push_bars(
    cx: &Context<'_>,
    answer: &Answer,
    rows: &[PriceRow],
    outer: Option<&str>,
    out: &mut Batch,
) -> Result<(), Judgement> {
    // A span of time can be empty for a known symbol; without one an empty list stands for an unknown symbol.
    if rows.is_empty() && cx.query.range.is_none() {
        return Err(Judgement::not_found("expected bars, found an empty list, which stands for an unknown symbol"));
    }
    let new_york = times::zone("date", NEW_YORK)?;
    for row in rows {
        let (Some(open), Some(high), Some(low), Some(close)) = (row.open, row.high, row.low, row.close) else {
            continue;
        };
        let zone = if row.date.len() == DATE_BYTES { &TimeZone::UTC } else { &new_york };
        let start = times::local("date", &row.date, zone)?;
        let names = names(cx, row.symbol.as_deref().or(outer), equity);
        let candle = Candle { start, open, high, low, close, volume: row.volume, quote_volume: None };
        candle.push(out, names, cx.query.interval, answer.ts_recv);
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Article {
    symbol: Option<CompactString>,
    /// A wall time in New York.
    published_date: Option<CompactString>,
    publisher: Option<String>,
    /// The publisher's host; all that the closed API tells.
    site: Option<String>,
    title: Option<String>,
    text: Option<String>,
    url: Option<String>,
}

/// Reads articles; returns how many there were.
fn decode_news(cx: &Context<'_>, body: &[u8], out: &mut Batch) -> Result<usize, Judgement> {
    let articles: Vec<Article> = json::plain(body).read()?;
    let rows = articles.len();
    let new_york = times::zone("publishedDate", NEW_YORK)?;
    for (at, article) in articles.into_iter().enumerate() {
        let about = article.symbol.filter(|symbol| !symbol.is_empty());
        let news = News {
            headline: filled(article.title),
            summary: filled(article.text),
            url: filled(article.url),
            publisher: filled(article.publisher).or(filled(article.site)),
            symbols: about.as_deref().and_then(equity).map(|symbol| symbol.as_str().into()).into_iter().collect(),
            ..News::default()
        };
        if news.headline.is_none() && news.url.is_none() {
            return Err(Judgement::malformed(format!(
                "[{at}].title: expected a headline or an address, found neither"
            )));
        }
        let ts_event =
            article.published_date.map(|text| times::local("publishedDate", &text, &new_york)).transpose()?;
        let (symbol, native) = names(cx, about.as_deref(), equity);
        out.push(symbol, native, ts_event, Data::News(Box::new(news)));
    }
    Ok(rows)
}

/// The canonical name of an equity or index. Longer names without a separator may be pairs, which have none here.
fn equity(native: &str) -> Option<Symbol> {
    let fits = !native.is_empty() && (native.len() <= TICKER_BYTES_MAX || native.contains(['-', '.', '^']));
    fits.then(|| listing::dotted(native)).flatten().map(Symbol::new)
}

/// The text of an error object; its name differs by path.
fn error_of(answer: &Answer) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(rename = "Error Message")]
        error_message: Option<String>,
        message: Option<String>,
        error: Option<Nested>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Nested {
        Text(String),
        Object { message: String },
    }
    let body: Refusal = json::plain(&answer.body).read().ok()?;
    let nested = body.error.map(|error| match error {
        Nested::Text(text) | Nested::Object { message: text } => text,
    });
    body.error_message.or(body.message).or(nested)
}

/// Judges by the words, which come under several statuses, then by the status.
fn refusal(answer: &Answer) -> Judgement {
    let told = error_of(answer);
    let message = told.clone().unwrap_or_else(|| answer.excerpt(300));
    let judgement = by_status(answer, Some(&listing::mask_keys(&message)));
    // A page of a proxy may hold any words; only an error object and the provider's plain texts count.
    let plain = !answer.body.trim_ascii_start().starts_with(b"<");
    let words = if plain { message.to_ascii_lowercase() } else { String::new() };
    let (verdict, reason) = match answer.status {
        _ if words.contains("bandwidth limit reach") => (Verdict::RateLimited, "bandwidth"),
        _ if words.contains("limit reach") => (Verdict::RateLimited, "calls"),
        429 => (Verdict::RateLimited, "calls"),
        _ if words.contains("invalid api key") => (Verdict::Unauthorized, "key"),
        _ if ["exclusive endpoint", "special endpoint", "legacy endpoint", "premium query parameter"]
            .iter()
            .any(|plan| words.contains(plan)) =>
        {
            (Verdict::Unauthorized, "plan")
        }
        401 => (Verdict::Unauthorized, "key"),
        402 | 403 => (Verdict::Unauthorized, "plan"),
        200..=299 if told.is_some() => (Verdict::BadRequest, "argument"),
        200..=299 => return Judgement::malformed(format!("expected a list, found {:?}", answer.excerpt(80))),
        400 => (Verdict::BadRequest, "argument"),
        _ => (judgement.verdict, judgement.reason),
    };
    Judgement { verdict, reason, ..judgement }
}

const KEY: &str = "FMP_API_KEY";
const NEW_YORK: &str = "America/New_York";
const DATE_BYTES: usize = 10;
const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);
/// Single letters that stand for an exchange: Frankfurt, London, Tokyo, TSX Venture.
const EXCHANGE_LETTERS: &str = "FLTV";
/// Tickers of American exchanges have at most five letters.
const TICKER_BYTES_MAX: usize = 5;
/// Rows asked for when the query names no number and no time.
const ROWS: u32 = 60;
const ROWS_MAX: u32 = 5_000;
const NEWS_ROWS: u32 = 20;
const NEWS_ROWS_MAX: u32 = 250;

/// Each interval with its path.
const INTERVALS: &[(Interval, &str)] = &[
    (Interval::MINUTE, "historical-chart/1min"),
    (Interval::new(5, IntervalUnit::Minute), "historical-chart/5min"),
    (Interval::new(15, IntervalUnit::Minute), "historical-chart/15min"),
    (Interval::new(30, IntervalUnit::Minute), "historical-chart/30min"),
    (Interval::HOUR, "historical-chart/1hour"),
    (Interval::new(4, IntervalUnit::Hour), "historical-chart/4hour"),
    (Interval::DAY, "historical-price-eod/full"),
];

const fn per_minute(limit: u32) -> WindowSpec {
    WindowSpec { bucket: "", limit, per: MINUTE, shape: WindowShape::Rolling }
}

static SPEC: Spec = Spec {
    id: SourceId("fmp"),
    title: "Financial Modeling Prep",
    bases: &[Base { name: "api", url: "https://financialmodelingprep.com" }],
    kinds: &[
        KIND,
        KindSpec {
            kind: Kind::Bar,
            intervals: &[
                INTERVALS[0].0,
                INTERVALS[1].0,
                INTERVALS[2].0,
                INTERVALS[3].0,
                INTERVALS[4].0,
                INTERVALS[5].0,
                INTERVALS[6].0,
            ],
            past: Past::ranged(ROWS_MAX),
            every: Duration::from_secs(10),
            ..KIND
        },
        KindSpec {
            kind: Kind::News,
            batching: Batching::Optional,
            past: Past::ranged(NEWS_ROWS_MAX),
            every: Duration::from_secs(10),
            examples: &["AAPL"],
            ..KIND
        },
    ],
    credentials: &[Credential { variable: KEY, about: "API key", simulated: "simulated-fmp-key" }],
    tiers: &[
        Tier { name: "free", windows: &[WindowSpec { bucket: "", limit: 250, per: DAY, shape: WindowShape::Rolling }] },
        Tier { name: "starter", windows: &[per_minute(300)] },
        Tier { name: "premium", windows: &[per_minute(750)] },
        Tier { name: "ultimate", windows: &[per_minute(3_000)] },
    ],
    scope: QuotaScope::Key,
    samples: samples!(
        "fmp",
        "error_401.json",
        "historical_chart.json",
        "historical_price_eod.json",
        "news_stock.json",
        "quote.json",
    ),
    routes: include_str!("samples/fmp/routes.toml"),
    evidence: Evidence::Mixed,
    quota_docs: "250 calls a day; Starter 300, Premium 750, Ultimate 3,000 a minute (pricing page, as reported, 2026-11-25)",
};

const KIND: KindSpec = KindSpec {
    kind: Kind::Ticker,
    key: KeyUse::Required,
    batching: Batching::One,
    whole_market: false,
    intervals: &[],
    past: Past::NONE,
    every: Duration::from_secs(5),
    examples: &["AAPL", "MSFT"],
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Query;
    use crate::source::testing;
    use crate::time::UnixNanos;

    fn apple(kind: Kind) -> Query {
        Query::new(kind).symbol("AAPL")
    }

    #[test]
    fn a_quote_keeps_every_digit() {
        testing::check(
            &Fmp,
            &apple(Kind::Ticker),
            "quote.json",
            json!([{"source": "fmp", "kind": "ticker", "symbol": "AAPL", "native": "AAPL", "ts_event": 1_767_214_801_000_000_000_i64,
                    "data": {"last": "271.86", "open": "273.06", "high": "273.68", "low": "271.75", "prev_close": "273.08",
                             "change": "-1.22", "change_pct": "-0.44676", "volume": "27293639"}}]),
        );
        testing::check_bad_bodies(&Fmp, &apple(Kind::Ticker), "quote.json");
        let old = r#"[{"symbol":"BTCUSD","price":1e5,"changesPercentage":0.50,"exchange":"CRYPTO"},{"symbol":"BRK-B","price":5}]"#;
        let found = testing::decode(&Fmp, &Query::new(Kind::Ticker), 200, old).unwrap();
        assert_eq!(
            found,
            vec![
                json!({"source": "fmp", "kind": "ticker", "native": "BTCUSD", "data": {"last": "100000", "change_pct": "0.50"}}),
                json!({"source": "fmp", "kind": "ticker", "symbol": "BRK.B", "native": "BRK-B", "data": {"last": "5"}}),
            ]
        );
    }

    fn bar(interval: &str, span: (i64, i64), ohlc: [&str; 4], volume: &str) -> serde_json::Value {
        let (start, end) = (span.0 * 1_000_000_000, (span.0 + span.1) * 1_000_000_000);
        json!({"source": "fmp", "kind": "bar", "symbol": "AAPL", "native": "AAPL", "ts_event": end,
               "data": {"interval": interval, "start": start, "end": end, "open": ohlc[0], "high": ohlc[1], "low": ohlc[2],
                        "close": ohlc[3], "volume": volume, "closed": true}})
    }

    #[test]
    fn dates_are_utc_and_wall_times_new_yorks() {
        let daily = apple(Kind::Bar).interval(Interval::DAY);
        testing::check(
            &Fmp,
            &daily,
            "historical_price_eod.json",
            json!([
                bar("1d", (1_767_139_200, 86_400), ["273.06", "273.68", "271.75", "271.86"], "27293639"),
                bar("1d", (1_767_052_800, 86_400), ["272.81", "274.08", "272.28", "273.08"], "22139600"),
            ]),
        );
        testing::check_bad_bodies(&Fmp, &daily, "historical_price_eod.json");
        let intraday = apple(Kind::Bar).interval(Interval::new(5, IntervalUnit::Minute));
        testing::check(
            &Fmp,
            &intraday,
            "historical_chart.json",
            json!([
                bar("5m", (1_767_214_500, 300), ["272.02", "272.11", "271.75", "271.86"], "1209331"),
                bar("5m", (1_767_214_200, 300), ["272.2", "272.245", "271.98", "272.02"], "540117"),
            ]),
        );
        testing::check_bad_bodies(&Fmp, &intraday, "historical_chart.json");
    }

    #[test]
    fn bars_of_the_closed_api_stand_inside_an_object() {
        let body = r#"{"symbol":"AAPL","historical":[{"date":"2026-01-01","open":1.0,"high":2,"low":1,"close":2},
            {"date":"2025-12-31","open":null,"high":2,"low":1,"close":2}]}"#;
        let found = testing::decode(&Fmp, &Query::new(Kind::Bar), 200, body).unwrap();
        let start = 1_767_225_600_000_000_000_i64;
        assert_eq!(
            found,
            vec![json!({"source": "fmp", "kind": "bar", "symbol": "AAPL", "native": "AAPL", "ts_event": start,
                        "data": {"start": start, "open": "1.0", "high": "2", "low": "1", "close": "2"}})]
        );
        let missing =
            testing::decode(&Fmp, &Query::new(Kind::Bar), 200, r#"[{"date":"2026-01-01","price":1,"volume":2}]"#);
        assert!(missing.unwrap_err().message.starts_with("[0]: missing field `open`"));
    }

    #[test]
    fn an_empty_list_is_an_unknown_symbol_unless_a_span_was_asked_for() {
        let at = |secs| UnixNanos::from_secs(secs).unwrap();
        for kind in [Kind::Ticker, Kind::Bar] {
            testing::check_verdict(&Fmp, &apple(kind), 200, "[]", (Verdict::NotFound, "symbol_unknown"));
        }
        assert!(testing::decode(&Fmp, &apple(Kind::Bar).range(at(0), at(1)), 200, "[]").unwrap().is_empty());
        assert!(testing::decode(&Fmp, &apple(Kind::News), 200, "[]").unwrap().is_empty());
    }

    #[test]
    fn news_name_their_instrument() {
        testing::check(
            &Fmp,
            &Query::new(Kind::News),
            "news_stock.json",
            json!([
                {"source": "fmp", "kind": "news", "symbol": "AAPL", "native": "AAPL", "ts_event": 1_767_222_611_000_000_000_i64,
                 "data": {"headline": "Apple closes the year near its high", "summary": "The shares gained in the last quarter.",
                          "url": "https://www.example.com/apple-closes-the-year", "publisher": "Example Network", "symbols": ["AAPL"]}},
                {"source": "fmp", "kind": "news", "ts_event": 1_767_219_000_000_000_000_i64,
                 "data": {"headline": "Year-end \"window dressing\"", "url": "https://www.example.org/window-dressing",
                          "publisher": "example.com"}}
            ]),
        );
        testing::check_bad_bodies(&Fmp, &apple(Kind::News), "news_stock.json");
    }

    #[test]
    fn requests_carry_the_key_in_a_header() {
        let target = |query: &Query| testing::request(&Fmp, query).unwrap().target().to_owned();
        assert_eq!(target(&Query::new(Kind::Ticker).symbol("BRK.B")), "/stable/quote?symbol=BRK-B");
        assert_eq!(
            target(&Query::new(Kind::Bar).symbol("BTC-USD").limit(2)),
            "/stable/historical-price-eod/full?symbol=BTCUSD&from=2025-12-31&to=2026-01-02"
        );
        assert_eq!(
            target(&apple(Kind::Bar).interval(Interval::HOUR).limit(1)),
            "/stable/historical-chart/1hour?symbol=AAPL&from=2026-01-02&to=2026-01-02"
        );
        assert_eq!(target(&apple(Kind::News).cursor("2")), "/stable/news/stock?symbols=AAPL&limit=20&page=2");
        assert_eq!(target(&Query::new(Kind::News).limit(5)), "/stable/news/general-latest?limit=5");
        let request = testing::request(&Fmp, &apple(Kind::Ticker)).unwrap();
        assert_eq!((request.headers[0].0, request.headers[0].1.as_str()), ("apikey", "simulated-fmp-key"));
        let refused = testing::request(&Fmp, &apple(Kind::Bar).interval(Interval::WEEK));
        assert_eq!(refused.unwrap_err().reason, "interval_unknown");
    }

    #[test]
    fn refusals_are_told_apart() {
        let check = |status, body, expected| testing::check_verdict(&Fmp, &apple(Kind::Bar), status, body, expected);
        let limit = r#"{"Error Message":"Limit Reach . Please upgrade your plan"}"#;
        check(429, limit, (Verdict::RateLimited, "calls"));
        check(200, limit, (Verdict::RateLimited, "calls"));
        check(200, r#"{"error":{"message":"Bandwidth Limit Reach"}}"#, (Verdict::RateLimited, "bandwidth"));
        check(401, r#"{"Error Message":"Invalid API KEY."}"#, (Verdict::Unauthorized, "key"));
        check(200, r#"{"message":"Invalid API KEY."}"#, (Verdict::Unauthorized, "key"));
        check(402, r#"{"Error Message":"Exclusive Endpoint : not available"}"#, (Verdict::Unauthorized, "plan"));
        check(402, "Premium Query Parameter: 'Special Endpoint'", (Verdict::Unauthorized, "plan"));
        check(403, r#"{"Error Message":"Legacy Endpoint : closed"}"#, (Verdict::Unauthorized, "plan"));
        check(400, r#"{"error":"Query Error: Invalid from"}"#, (Verdict::BadRequest, "argument"));
        check(502, "<html>Limit Reach</html>", (Verdict::UpstreamError, "http_5xx"));
        check(200, "<html>", (Verdict::Malformed, "html_page"));
    }
}
