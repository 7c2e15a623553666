//! Yahoo Finance, which publishes no documentation: facts from open client projects and recorded answers of 2021 to 2025.
//! One symbol's ticker and its bars come from the v8 chart; several tickers share a v7 quote, which needs a cookie and a
//! crumb. News come from the search, which answers without. This file asks and judges; `market` and `news` read bodies.

use std::time::Duration;

use compact_str::{CompactString, format_compact};

use crate::config::Secret;
use crate::model::{Interval, IntervalUnit, Judgement, Kind, Native, Query, SourceId, Symbol, Verdict};
use crate::source::listing;
use crate::source::spec::samples;
use crate::source::{
    Base, Batch, Batching, Context, Evidence, KeyUse, KindSpec, Past, Prerequisite, QuotaScope, Source, Spec, State,
    Tier, WindowShape, WindowSpec, by_status,
};
use crate::wire::{Answer, Request, json, request};

mod market;
mod news;

use market::{Body, Refusal};

/// The source.
pub struct YahooFinance;

impl Source for YahooFinance {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn native(&self, _kind: Kind, symbol: &Symbol, _state: &State) -> Result<Native, Judgement> {
        let name = symbol.as_str();
        match symbol.pair() {
            // A lone currency is one against the dollar: `INR=X` is dollar to rupee.
            Some(("USD", quote)) if listing::is_currency(quote) => Ok(Native::new(format_compact!("{quote}=X"))),
            Some((base, quote)) if listing::is_currency(base) && listing::is_currency(quote) => {
                Ok(Native::new(format_compact!("{base}{quote}=X")))
            }
            Some(_) => Ok(Native::new(name)),
            None if name.is_empty() || name.contains(['-', '/', ' ', ',']) => Err(Judgement::unservable(
                "symbol_form",
                format!(
                    "yahoo_finance: expected a symbol such as AAPL, BRK.B, GS2C.DE, BTC-USD or EUR-USD, found {name:?}"
                ),
            )),
            None => Ok(Native::new(listing::dashed(name, EXCHANGE_LETTERS))),
        }
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        match cx.query.kind {
            Kind::Ticker if cx.natives.len() == 1 => {
                Ok(chart(cx.only_native()?).param("interval", "1d").param("range", "1d"))
            }
            Kind::Ticker => quotes(cx),
            Kind::Bar => bars(cx),
            Kind::News => Ok(Request::get("/v1/finance/search")
                .param("q", cx.only_native()?)
                .param("quotesCount", 0)
                .param("newsCount", cx.query.limit.unwrap_or(10).clamp(1, NEWS_MAX))),
            kind => Err(Judgement::unservable("kind_unknown", format!("yahoo_finance: has no {kind}"))),
        }
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        if !answer.looks_like_json() {
            return Err(no_json(answer));
        }
        let body: Body = json::exact(&answer.body).read()?;
        if let Some(error) = body.error() {
            return Err(refusal(answer, error));
        }
        match cx.query.kind {
            Kind::Ticker => market::decode_tickers(cx, &body, out)?,
            Kind::Bar => market::decode_bars(cx, answer, &body, out)?,
            Kind::News => news::decode(cx, &answer.body, out)?,
            kind => return Err(Judgement::unservable("kind_unknown", format!("yahoo_finance: has no {kind}"))),
        }
        Ok(None)
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        let body: Option<Body> = json::exact(&answer.body).read().ok();
        match body.as_ref().and_then(Body::error) {
            Some(error) => refusal(answer, error),
            None => by_text(answer),
        }
    }

    fn prerequisites(&self) -> &'static [Prerequisite] {
        PREREQUISITES
    }

    fn prerequisite_request(&self, name: &str, cx: &Context<'_>) -> Result<Request, Judgement> {
        match name {
            COOKIE => Ok(Request::get("/").base(COOKIE_BASE)),
            _ => Ok(with_cookie(cx, Request::get("/v1/test/getcrumb"))),
        }
    }

    fn prerequisite_decode(&self, name: &str, answer: &Answer, state: &mut State) -> Result<(), Judgement> {
        let (key, value) = match name {
            COOKIE => (COOKIE, read_cookie(answer)?),
            _ => (CRUMB, read_crumb(answer)?),
        };
        state.values.insert(key.into(), value);
        Ok(())
    }
}

/// The cookie that the seed host sets, whatever its status.
fn read_cookie(answer: &Answer) -> Result<String, Judgement> {
    let set = answer.headers.all("set-cookie").filter_map(|value| std::str::from_utf8(value).ok());
    let pairs: Vec<&str> =
        set.filter_map(|cookie| cookie.split(';').next()).map(str::trim).filter(|pair| pair.contains('=')).collect();
    if !pairs.is_empty() {
        return Ok(pairs.join("; "));
    }
    match answer.status {
        429 | 999 => Err(by_text(answer)),
        // Addresses in the European Union are sent to a consent page instead.
        300..=399 => Err(Judgement::new(
            Verdict::Unauthorized,
            "consent",
            "expected a cookie, found a redirect to a consent page; ask from another region or for one symbol a request",
        )),
        status => {
            Err(Judgement::new(Verdict::Malformed, "cookie", format!("expected a cookie, found none in HTTP {status}")))
        }
    }
}

/// A throttled call answers with a notice in place of the crumb, under HTTP 200 too.
fn read_crumb(answer: &Answer) -> Result<String, Judgement> {
    if !answer.is_success() {
        return Err(by_text(answer));
    }
    let text = answer.excerpt(CRUMB_BYTES_MAX + 1);
    if is_throttled(&text) {
        return Err(by_text(answer));
    }
    let fits = (1..=CRUMB_BYTES_MAX).contains(&text.len()) && !text.contains([' ', '<', '{', '"']);
    if fits {
        Ok(text)
    } else {
        Err(Judgement::new(Verdict::Malformed, "crumb", format!("expected a crumb, found {text:?}")))
    }
}

fn chart(native: &str) -> Request {
    Request::get(format!("/v8/finance/chart/{}", request::encode(native)))
}

fn quotes(cx: &Context<'_>) -> Result<Request, Judgement> {
    if cx.natives.is_empty() {
        return Err(Judgement::unservable("symbol_count", "ticker: expected at least one symbol, found none"));
    }
    let Some(crumb) = cx.state.values.get(CRUMB) else {
        return Err(Judgement {
            verdict: Verdict::Unauthorized,
            ..Judgement::unservable(
                "crumb_missing",
                "expected a crumb for several symbols, found none; ask for one symbol a request",
            )
        });
    };
    let names: Vec<&str> = cx.natives.iter().map(Native::as_str).collect();
    let request = Request::get("/v7/finance/quote").param("symbols", names.join(","));
    Ok(with_cookie(cx, request.param_secret("crumb", &Secret::new(crumb.clone()))))
}

fn with_cookie(cx: &Context<'_>, request: Request) -> Request {
    match cx.state.values.get(COOKIE) {
        Some(cookie) => request.header_secret("cookie", cookie.clone()),
        None => request,
    }
}

fn bars(cx: &Context<'_>) -> Result<Request, Judgement> {
    let interval = cx.query.interval.unwrap_or(Interval::DAY);
    let Some((_, word, usual)) = INTERVALS.iter().find(|(known, _, _)| *known == interval) else {
        let valid: Vec<String> = INTERVALS.iter().map(|(known, _, _)| known.to_string()).collect();
        return Err(Judgement::unservable(
            "interval_unknown",
            format!("yahoo_finance: expected an interval of {}, found {interval}", valid.join(", ")),
        ));
    };
    let request = chart(cx.only_native()?).param("interval", word);
    Ok(match (cx.query.range, cx.query.limit) {
        (Some(range), _) => request.param("period1", range.from.as_secs()).param("period2", range.to.as_secs()),
        (None, Some(rows)) => {
            let length = interval.duration().unwrap_or(MONTH * u32::from(interval.count()));
            let span = length.saturating_mul(rows.clamp(1, ROWS_MAX)).as_secs() as i64;
            request.param("period1", (cx.now.as_secs() - span).max(0)).param("period2", cx.now.as_secs())
        }
        (None, None) => request.param("range", usual),
    })
}

/// The canonical name by the provider's separators; `class` is its word for the sort of instrument. Continuous futures
/// and option codes have none.
fn symbol_by_rule(native: &str, class: Option<&str>) -> Option<Symbol> {
    if matches!(class, Some("FUTURE" | "OPTION")) {
        return None;
    }
    if let Some(currencies) = native.strip_suffix("=X") {
        return match currencies.len() {
            3 => Some(Symbol::from_pair("USD", currencies)),
            6 if currencies.is_ascii() => Some(Symbol::from_pair(&currencies[..3], &currencies[3..])),
            _ => None,
        };
    }
    let digits = native.bytes().rev().take_while(u8::is_ascii_digit).count();
    if native.is_empty() || native.contains('=') || digits >= OPTION_STRIKE_DIGITS {
        return None;
    }
    if let Some(equity) = listing::dotted(native) {
        return Some(Symbol::new(equity));
    }
    let symbol = Symbol::new(native.to_uppercase());
    let is_pair = symbol.pair().is_some_and(|(_, quote)| quote.len() >= 3);
    is_pair.then_some(symbol)
}

/// Judges by the envelope's own code, which is the same under HTTP 200.
fn refusal(answer: &Answer, error: &Refusal) -> Judgement {
    let code = error.code.as_deref().unwrap_or_default();
    let message = error.description.as_deref().unwrap_or(code);
    let judgement = by_status(answer, Some(message));
    let (verdict, reason) = match code.to_ascii_lowercase().replace('-', " ").as_str() {
        "not found" => (Verdict::NotFound, "symbol_unknown"),
        "bad request" | "argument error" | "unprocessable entity" => (Verdict::BadRequest, "argument"),
        "unauthorized" if message.to_ascii_lowercase().contains("crumb") => (Verdict::Unauthorized, "crumb"),
        "unauthorized" | "forbidden" => (Verdict::Unauthorized, "refused"),
        "too many requests" => (Verdict::RateLimited, "throttled"),
        "internal server error" | "service unavailable" | "gateway timeout" => (Verdict::UpstreamError, "provider"),
        _ if answer.is_success() => (Verdict::Malformed, "error_unknown"),
        _ => (judgement.verdict, judgement.reason),
    };
    let wait = (verdict == Verdict::RateLimited).then_some(COOL_DOWN);
    Judgement { verdict, reason, retry_after: judgement.retry_after.or(wait), ..judgement }
}

/// A 2xx answer that is no JSON: the notice of a throttled client, or a page.
fn no_json(answer: &Answer) -> Judgement {
    if is_throttled(&answer.excerpt(2_000)) {
        return by_text(answer);
    }
    Judgement::new(Verdict::Malformed, "no_json", format!("expected JSON, found {:?}", answer.excerpt(80)))
}

/// Judges an answer without an envelope: limits come as plain text or HTML, with no time to wait.
fn by_text(answer: &Answer) -> Judgement {
    let judgement = by_status(answer, None);
    let throttled = matches!(answer.status, 429 | 999) || is_throttled(&answer.excerpt(2_000));
    if !throttled {
        return judgement;
    }
    let wait = judgement.retry_after.or(Some(COOL_DOWN));
    Judgement { verdict: Verdict::RateLimited, reason: "throttled", retry_after: wait, ..judgement }
}

fn is_throttled(text: &str) -> bool {
    text.contains("Too Many Requests")
}

const COOKIE: &str = "cookie";
const CRUMB: &str = "crumb";
const COOKIE_BASE: usize = 1;
/// Crumbs have eleven characters; room for longer ones, none for a page.
const CRUMB_BYTES_MAX: usize = 32;
/// A throttled client stays throttled for minutes: nothing shorter is worth trying.
const COOL_DOWN: Duration = Duration::from_secs(300);
/// Single letters that stand for an exchange: Frankfurt, London, Tokyo, TSX Venture.
const EXCHANGE_LETTERS: &str = "FLTV";
/// An option code ends in its strike of eight digits.
const OPTION_STRIKE_DIGITS: usize = 8;
const NEWS_MAX: u32 = 50;
const ROWS_MAX: u32 = 10_000;
const MONTH: Duration = Duration::from_secs(31 * 86_400);

/// Each interval with the provider's word and the span asked for when the query names none.
const INTERVALS: &[(Interval, &str, &str)] = &[
    (Interval::MINUTE, "1m", "1d"),
    (Interval::new(2, IntervalUnit::Minute), "2m", "1d"),
    (Interval::new(5, IntervalUnit::Minute), "5m", "1d"),
    (Interval::new(15, IntervalUnit::Minute), "15m", "5d"),
    (Interval::new(30, IntervalUnit::Minute), "30m", "5d"),
    (Interval::HOUR, "1h", "1mo"),
    (Interval::new(90, IntervalUnit::Minute), "90m", "1mo"),
    (Interval::DAY, "1d", "1mo"),
    (Interval::new(5, IntervalUnit::Day), "5d", "1y"),
    (Interval::WEEK, "1wk", "1y"),
    (Interval::MONTH, "1mo", "5y"),
    (Interval::new(3, IntervalUnit::Month), "3mo", "10y"),
];

static PREREQUISITES: &[Prerequisite] = &[
    Prerequisite {
        name: COOKIE,
        ttl: Duration::from_secs(86_400),
        needed: needs_crumb,
        invalidated_by: &[Verdict::Unauthorized],
    },
    Prerequisite {
        name: CRUMB,
        ttl: Duration::from_secs(86_400),
        needed: needs_crumb,
        invalidated_by: &[Verdict::Unauthorized],
    },
];

fn needs_crumb(query: &Query, _state: &State) -> bool {
    query.kind == Kind::Ticker && query.symbols.len() > 1
}

static SPEC: Spec = Spec {
    id: SourceId("yahoo_finance"),
    title: "Yahoo Finance",
    bases: &[
        Base { name: "api", url: "https://query2.finance.yahoo.com" },
        Base { name: "cookie", url: "https://fc.yahoo.com" },
    ],
    kinds: &[
        KindSpec { kind: Kind::Ticker, batching: Batching::Many(100), ..KIND },
        KindSpec {
            kind: Kind::Bar,
            intervals: BAR_INTERVALS,
            past: Past::ranged(ROWS_MAX),
            every: Duration::from_secs(10),
            examples: &["AAPL", "BTC-USD"],
            ..KIND
        },
        KindSpec { kind: Kind::News, every: Duration::from_secs(10), examples: &["AAPL"], ..KIND },
    ],
    credentials: &[],
    tiers: &[Tier {
        name: "free",
        windows: &[
            WindowSpec { bucket: "", limit: 2, per: Duration::from_secs(1), shape: WindowShape::Rolling },
            WindowSpec { bucket: "", limit: 2_000, per: Duration::from_secs(3_600), shape: WindowShape::Rolling },
        ],
    }],
    scope: QuotaScope::Ip,
    samples: samples!("yahoo_finance", "chart.json", "cookie.txt", "crumb.txt", "quote.json", "search.json"),
    routes: include_str!("samples/yahoo_finance/routes.toml"),
    evidence: Evidence::Recorded,
    quota_docs: "no limit is published; clients report about 2,000 requests per hour and address, 1 to 2 per second (2026-11-25)",
};

const KIND: KindSpec = KindSpec {
    kind: Kind::Ticker,
    key: KeyUse::None,
    batching: Batching::One,
    whole_market: false,
    intervals: &[],
    past: Past::NONE,
    every: Duration::from_secs(5),
    examples: &["AAPL", "MSFT", "BTC-USD"],
};

const BAR_INTERVALS: &[Interval] = &{
    let mut list = [Interval::DAY; INTERVALS.len()];
    let mut at = 0;
    while at < list.len() {
        list[at] = INTERVALS[at].0;
        at += 1;
    }
    list
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::testing;
    use crate::time::UnixNanos;

    fn apple(kind: Kind) -> Query {
        Query::new(kind).symbol("AAPL")
    }

    #[test]
    fn quotes_keep_every_digit() {
        let query = Query::new(Kind::Ticker).symbol("AAPL").symbol("MSFT");
        testing::check(
            &YahooFinance,
            &query,
            "quote.json",
            json!([
                {"source": "yahoo_finance", "kind": "ticker", "symbol": "AAPL", "native": "AAPL", "ts_event": 1_767_214_801_000_000_000_i64,
                 "data": {"last": "271.85", "open": "273.06", "high": "273.69", "low": "271.75", "prev_close": "273.0800170898438",
                          "change": "-1.23", "change_pct": "-0.450417", "volume": "27293639",
                          "bid": "271.8", "bid_size": "3", "ask": "271.91", "ask_size": "2"}},
                {"source": "yahoo_finance", "kind": "ticker", "symbol": "MSFT", "native": "MSFT", "ts_event": 1_767_214_801_000_000_000_i64,
                 "data": {"last": "483.62", "open": "487.84", "high": "488.14", "low": "483.3", "prev_close": "487.48",
                          "change": "-3.86", "change_pct": "-0.791827", "volume": "15601600",
                          "bid": "483.51", "bid_size": "3", "ask": "483.7", "ask_size": "2"}}
            ]),
        );
        testing::check_bad_bodies(&YahooFinance, &query, "quote.json");
    }

    #[test]
    fn a_chart_tells_the_last_price() {
        testing::check(
            &YahooFinance,
            &apple(Kind::Ticker),
            "chart.json",
            json!([
                {"source": "yahoo_finance", "kind": "ticker", "symbol": "AAPL", "native": "AAPL", "ts_event": 1_767_214_801_000_000_000_i64,
                 "data": {"last": "271.85", "high": "273.69", "low": "271.75", "volume": "27293639"}}
            ]),
        );
        testing::check_bad_bodies(&YahooFinance, &apple(Kind::Ticker), "chart.json");
    }

    #[test]
    fn sides_of_a_closed_market_are_left_out() {
        let body = r#"{"quoteResponse":{"result":[{"symbol":"BTC-USD","quoteType":"CRYPTOCURRENCY","regularMarketPrice":1E5,
            "regularMarketVolume":7,"bid":0,"bidSize":9,"ask":0.0,"askSize":1}],"error":null}}"#;
        let found = testing::decode(&YahooFinance, &Query::new(Kind::Ticker), 200, body).unwrap();
        assert_eq!(
            found,
            vec![json!({"source": "yahoo_finance", "kind": "ticker", "symbol": "BTC-USD", "native": "BTC-USD",
                        "data": {"last": "100000", "volume": "7", "volume_unit": "quote"}})]
        );
    }

    #[test]
    fn rows_with_nulls_are_no_bars() {
        let bar = |start: i64, ohlc: [&str; 4], volume: &str| {
            let (start, end) = (start * 1_000_000_000, (start + 86_400) * 1_000_000_000);
            json!({"source": "yahoo_finance", "kind": "bar", "symbol": "AAPL", "native": "AAPL", "ts_event": end,
                   "data": {"interval": "1d", "start": start, "end": end, "open": ohlc[0], "high": ohlc[1], "low": ohlc[2],
                            "close": ohlc[3], "volume": volume, "closed": true}})
        };
        testing::check(
            &YahooFinance,
            &apple(Kind::Bar),
            "chart.json",
            json!([
                bar(
                    1_767_105_000,
                    ["272.80999755859375", "274.0799865722656", "272.2799987792969", "273.0799865722656"],
                    "22139600"
                ),
                bar(
                    1_767_191_400,
                    ["273.05999755859375", "273.67999267578125", "271.75", "271.8599853515625"],
                    "27293639"
                ),
            ]),
        );
        testing::check_bad_bodies(&YahooFinance, &apple(Kind::Bar), "chart.json");
    }

    #[test]
    fn the_bar_of_an_open_session_is_running() {
        let check = |last: i64, closed: bool| {
            let body = format!(
                r#"{{"chart":{{"result":[{{"meta":{{"symbol":"AAPL","regularMarketTime":{last},"dataGranularity":"5m",
                "currentTradingPeriod":{{"regular":{{"start":1000,"end":2000}}}}}},"timestamp":[1200],
                "indicators":{{"quote":[{{"open":[1],"high":[2],"low":[0.5],"close":[1.5]}}]}}}}],"error":null}}}}"#
            );
            let found = testing::decode(&YahooFinance, &apple(Kind::Bar), 200, &body).unwrap();
            assert_eq!(found[0]["data"]["closed"], closed, "{last}");
            assert_eq!(found[0]["ts_event"], if closed { 1_500_000_000_000_i64 } else { 1_200_000_000_000 });
        };
        check(1_499, false);
        check(1_500, true);
        check(2_000, true);
    }

    #[test]
    fn columns_that_do_not_fit_are_refused_by_name() {
        let check = |columns: &str, expected: &str| {
            let body = format!(
                r#"{{"chart":{{"result":[{{"meta":{{}},"timestamp":[1,2],"indicators":{{"quote":[{columns}]}}}}],"error":null}}}}"#
            );
            let judgement = testing::decode(&YahooFinance, &apple(Kind::Bar), 200, &body).unwrap_err();
            assert_eq!(
                (judgement.verdict, judgement.message.contains(expected)),
                (Verdict::Malformed, true),
                "{judgement}"
            );
        };
        check(r#"{"close":[1,2]}"#, "quote[0].open: expected 2 values, found 0");
        check(r#"{"open":[1,2],"high":[1]}"#, "quote[0].high: expected 2 values, found 1");
        check(r#"{"open":[1,true]}"#, "open[1]");
        check("", "indicators.quote");
    }

    #[test]
    fn news_carry_the_symbol_asked_for() {
        let article = |id: &str, headline: &str, publisher: &str, url: &str, at: i64| {
            json!({"source": "yahoo_finance", "kind": "news", "symbol": "AAPL", "native": "AAPL", "ts_event": at * 1_000_000_000,
                   "data": {"id": id, "headline": headline, "publisher": publisher, "url": url}})
        };
        testing::check(
            &YahooFinance,
            &apple(Kind::News),
            "search.json",
            json!([
                article(
                    "5f0c9a4e-7d11-3b62-9a50-1c0d7be4a001",
                    "Apple ends the year with a record for services",
                    "Example Wire",
                    "https://finance.yahoo.com/news/apple-ends-year-record-services-210500001.html",
                    1_767_214_500
                ),
                article(
                    "5f0c9a4e-7d11-3b62-9a50-1c0d7be4a002",
                    "What \"AI\" chips cost phone makers",
                    "Example Markets",
                    "https://finance.yahoo.com/news/ai-chips-cost-phone-makers-200000002.html",
                    1_767_210_600
                ),
            ]),
        );
        testing::check_bad_bodies(&YahooFinance, &apple(Kind::News), "search.json");
        let none = testing::decode(&YahooFinance, &apple(Kind::News), 200, r#"{"count":0,"news":[]}"#).unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn stories_of_the_stream_skip_advertisements() {
        let body = r#"{"data":{"tickerStream":{"stream":[{"ad":1,"content":null},{"content":{"id":"a-1","title":"T","summary":"",
            "description":"D","pubDate":"2026-01-01T00:00:00Z","provider":{"displayName":"P"},
            "canonicalUrl":{"url":"https://example.com/a","lang":"en-US"},"finance":{"stockTickers":[{"symbol":"BRK-B"},{"symbol":"ES=F"}]}}}]}}}"#;
        let found = testing::decode(&YahooFinance, &Query::new(Kind::News), 200, body).unwrap();
        assert_eq!(
            found,
            vec![json!({"source": "yahoo_finance", "kind": "news", "ts_event": 1_767_225_600_000_000_000_i64,
                        "data": {"id": "a-1", "headline": "T", "summary": "D", "url": "https://example.com/a", "publisher": "P",
                                 "symbols": ["BRK.B"], "language": "en-US"}})]
        );
    }

    #[test]
    fn names_go_both_ways_by_rule() {
        for (symbol, native) in [
            ("AAPL", "AAPL"),
            ("BRK.B", "BRK-B"),
            ("OCDO.L", "OCDO.L"),
            ("GS2C.DE", "GS2C.DE"),
            ("BTC-USD", "BTC-USD"),
            ("EUR-USD", "EURUSD=X"),
            ("USD-INR", "INR=X"),
            ("^GSPC", "^GSPC"),
        ] {
            let found = YahooFinance.native(Kind::Ticker, &symbol.into(), &State::default()).unwrap();
            assert_eq!(found.as_str(), native);
            assert_eq!(symbol_by_rule(native, None), Some(symbol.into()));
        }
        for unnamed in ["AAPL210212C00065000", "ES=F", "BAC-PB", ""] {
            assert_eq!(symbol_by_rule(unnamed, None), None, "{unnamed}");
        }
        assert!(YahooFinance.native(Kind::Ticker, &"BTC-USDT.PERP".into(), &State::default()).is_err());
    }

    #[test]
    fn one_symbol_needs_no_crumb() {
        let target = |query: &Query| testing::request(&YahooFinance, query).unwrap().target().to_owned();
        assert_eq!(target(&apple(Kind::Ticker)), "/v8/finance/chart/AAPL?interval=1d&range=1d");
        assert_eq!(
            target(&Query::new(Kind::Bar).symbol("EUR-USD").interval(Interval::HOUR)),
            "/v8/finance/chart/EURUSD%3DX?interval=1h&range=1mo"
        );
        let at = |secs| UnixNanos::from_secs(secs).unwrap();
        assert_eq!(
            target(&apple(Kind::Bar).range(at(1_000), at(2_000))),
            "/v8/finance/chart/AAPL?interval=1d&period1=1000&period2=2000"
        );
        assert_eq!(
            target(&apple(Kind::Bar).interval(Interval::MINUTE).limit(2)),
            "/v8/finance/chart/AAPL?interval=1m&period1=1767322925&period2=1767323045"
        );
        assert_eq!(target(&apple(Kind::News)), "/v1/finance/search?q=AAPL&quotesCount=0&newsCount=10");
        let refused = testing::request(&YahooFinance, &apple(Kind::Bar).interval(Interval::new(4, IntervalUnit::Hour)));
        assert_eq!(refused.unwrap_err().reason, "interval_unknown");
        assert!(
            YahooFinance.prerequisites().iter().all(|step| !(step.needed)(&apple(Kind::Ticker), &State::default()))
        );
    }

    #[test]
    fn several_symbols_take_cookie_and_crumb() {
        let mut state = State::default();
        let mut seed = Answer::new(404, "");
        seed.headers.push("set-cookie", b"A3=d=x&S=y; Path=/; Secure");
        seed.headers.push("set-cookie", b"A1=z");
        YahooFinance.prerequisite_decode(COOKIE, &seed, &mut state).unwrap();
        YahooFinance.prerequisite_decode(CRUMB, &Answer::new(200, "AbC/1.dEfGh\n"), &mut state).unwrap();
        let query = Query::new(Kind::Ticker).symbol("AAPL").symbol("BRK.B");
        assert!((PREREQUISITES[1].needed)(&query, &state));
        let credentials = testing::credentials(&YahooFinance);
        let cx = Context::new(&YahooFinance, &query, &state, &credentials, "", testing::NOW).unwrap();
        let request = YahooFinance.request(&cx).unwrap();
        assert_eq!(request.target(), "/v7/finance/quote?symbols=AAPL,BRK-B&crumb=AbC%2F1.dEfGh");
        assert_eq!(request.target_redacted(), "/v7/finance/quote?symbols=AAPL,BRK-B&crumb=***");
        assert_eq!(request.headers[0].1.as_str(), "A3=d=x&S=y; A1=z");
        assert_eq!(testing::request(&YahooFinance, &query).unwrap_err().reason, "crumb_missing");
    }

    #[test]
    fn poisoned_crumbs_are_refused() {
        let check = |status, body: &str, expected| {
            let answer = Answer::new(status, body.to_owned());
            let judgement = YahooFinance.prerequisite_decode(CRUMB, &answer, &mut State::default()).unwrap_err();
            assert_eq!(judgement.verdict, expected, "{body}");
        };
        check(200, "Too Many Requests\n", Verdict::RateLimited);
        check(200, "Edge: Too Many Requests", Verdict::RateLimited);
        check(429, "", Verdict::RateLimited);
        check(200, "<html></html>", Verdict::Malformed);
        check(200, "", Verdict::Malformed);
        check(200, "two words", Verdict::Malformed);
        check(401, "", Verdict::Unauthorized);
        let redirect = YahooFinance.prerequisite_decode(COOKIE, &Answer::new(302, ""), &mut State::default());
        assert_eq!(redirect.unwrap_err().reason, "consent");
    }

    #[test]
    fn refusals_are_told_apart() {
        let check = |status, body, expected| {
            testing::check_verdict(&YahooFinance, &apple(Kind::Ticker), status, body, expected)
        };
        let missing = r#"{"chart":{"result":null,"error":{"code":"Not Found","description":"No data found, symbol may be delisted"}}}"#;
        check(404, missing, (Verdict::NotFound, "symbol_unknown"));
        check(200, missing, (Verdict::NotFound, "symbol_unknown"));
        check(200, r#"{"quoteResponse":{"result":[],"error":null}}"#, (Verdict::NotFound, "symbol_unknown"));
        check(
            422,
            r#"{"chart":{"result":null,"error":{"code":"Unprocessable Entity","description":"Invalid input - interval=7m"}}}"#,
            (Verdict::BadRequest, "argument"),
        );
        check(
            401,
            r#"{"finance":{"result":null,"error":{"code":"Unauthorized","description":"Invalid Crumb"}}}"#,
            (Verdict::Unauthorized, "crumb"),
        );
        check(429, "Too Many Requests\n", (Verdict::RateLimited, "throttled"));
        check(200, "Too Many Requests\n", (Verdict::RateLimited, "throttled"));
        check(999, "<html>", (Verdict::RateLimited, "throttled"));
        check(200, "<html>", (Verdict::Malformed, "no_json"));
        check(503, "<html>", (Verdict::UpstreamError, "http_5xx"));
        check(302, "", (Verdict::BadRequest, "redirect"));
        let waited = testing::decode(&YahooFinance, &apple(Kind::Bar), 429, "Too Many Requests").unwrap_err();
        assert_eq!(waited.retry_after, Some(COOL_DOWN));
    }
}
