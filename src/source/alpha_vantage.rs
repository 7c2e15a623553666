//! Alpha Vantage. Facts: alphavantage.co/documentation, and recorded answers. Every answer comes under HTTP 200: the names
//! at the top of the body tell data from notices. Names are numbered and the numbers differ by function, so fields are
//! found by the words after the number; `tree` holds that reading. Invariant: a notice never becomes an empty series.

use std::time::Duration;

use compact_str::{CompactString, format_compact};
use jiff::tz::TimeZone;

use crate::model::{
    Bar, Data, Interval, IntervalUnit, Judgement, Kind, Native, Rate, SourceId, Symbol, Ticker, Verdict,
};
use crate::source::listing::{self, names};
use crate::source::spec::samples;
use crate::source::{
    Base, Batch, Batching, Context, Credential, Evidence, KeyUse, KindSpec, Past, QuotaScope, Source, Spec, State,
    Tier, WindowShape, WindowSpec, by_status,
};
use crate::time::UnixNanos;
use crate::wire::{Answer, Request, json, times};

mod tree;

use tree::{Node, Object};

/// The source.
pub struct AlphaVantage;

impl Source for AlphaVantage {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    /// Pairs are asked for in two parameters and have no name of their own; `EUR/USD` stands for them.
    fn native(&self, kind: Kind, symbol: &Symbol, _state: &State) -> Result<Native, Judgement> {
        let name = symbol.as_str();
        match symbol.pair() {
            Some((base, quote)) => Ok(Native::new(format_compact!("{base}/{quote}"))),
            None if kind == Kind::Rate || name.is_empty() || name.contains(['-', '/', ' ', ',']) => {
                let example = if kind == Kind::Rate { "EUR-USD" } else { "IBM, BRK.B or EUR-USD" };
                Err(Judgement::unservable(
                    "symbol_form",
                    format!("alpha_vantage: expected a symbol such as {example}, found {name:?}"),
                ))
            }
            None => Ok(Native::new(name)),
        }
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let key = cx.secret(KEY)?;
        let request = match (cx.query.kind, cx.only_native()?.split_once('/')) {
            (Kind::Ticker | Kind::Rate, Some((base, quote))) => Request::get("/query")
                .param("function", "CURRENCY_EXCHANGE_RATE")
                .param("from_currency", base)
                .param("to_currency", quote),
            (Kind::Ticker, None) => {
                Request::get("/query").param("function", "GLOBAL_QUOTE").param("symbol", cx.only_native()?)
            }
            (Kind::Bar, pair) => series(cx, pair)?,
            (kind, _) => {
                return Err(Judgement::unservable(
                    "kind_unknown",
                    format!("alpha_vantage: has no {kind} of that symbol"),
                ));
            }
        };
        Ok(request.param_secret("apikey", key))
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        let body: Object = json::exact(&answer.body).read()?;
        if let Some(judgement) = notice(answer, &body) {
            return Err(judgement);
        }
        if body.is_empty() {
            return Err(Judgement::not_found(
                "expected data, found an empty object, which stands for an unknown symbol",
            ));
        }
        match cx.query.kind {
            Kind::Ticker => match body.starting_with("Global Quote")? {
                Some((path, quote)) => decode_quote(cx, path, quote, out)?,
                None => decode_rate(cx, &body, out)?,
            },
            Kind::Rate => decode_rate(cx, &body, out)?,
            Kind::Bar => decode_series(cx, answer, &body, out)?,
            kind => return Err(Judgement::unservable("kind_unknown", format!("alpha_vantage: has no {kind}"))),
        }
        Ok(None)
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        let body: Option<Object> = json::exact(&answer.body).read().ok();
        body.and_then(|body| notice(answer, &body)).unwrap_or_else(|| {
            let judgement = by_status(answer, None);
            let message = listing::mask_keys(&judgement.message);
            Judgement { message, ..judgement }
        })
    }
}

fn series(cx: &Context<'_>, pair: Option<(&str, &str)>) -> Result<Request, Judgement> {
    let interval = cx.query.interval.unwrap_or(Interval::DAY);
    let Some((_, word)) = INTERVALS.iter().find(|(known, _)| *known == interval) else {
        let valid: Vec<String> = INTERVALS.iter().map(|(known, _)| known.to_string()).collect();
        return Err(Judgement::unservable(
            "interval_unknown",
            format!("alpha_vantage: expected an interval of {}, found {interval}", valid.join(", ")),
        ));
    };
    let intraday = word.ends_with("min");
    let word = if intraday { "INTRADAY" } else { word };
    let request = Request::get("/query");
    let request = match pair {
        None => request.param("function", format_args!("TIME_SERIES_{word}")).param("symbol", cx.only_native()?),
        Some((base, quote)) if listing::is_currency(base) && listing::is_currency(quote) => {
            request.param("function", format_args!("FX_{word}")).param("from_symbol", base).param("to_symbol", quote)
        }
        Some((base, quote)) => {
            let family = if intraday { "CRYPTO" } else { "DIGITAL_CURRENCY" };
            request.param("function", format_args!("{family}_{word}")).param("symbol", base).param("market", quote)
        }
    };
    let request = if intraday { request.param("interval", minutes(interval)) } else { request };
    let full = cx.query.limit.is_some_and(|rows| rows > COMPACT_ROWS);
    Ok(if full { request.param("outputsize", "full") } else { request })
}

fn minutes(interval: Interval) -> CompactString {
    let secs = interval.duration().map_or(0, |length| length.as_secs());
    format_compact!("{}min", secs / 60)
}

fn decode_quote(cx: &Context<'_>, path: &str, quote: &Object, out: &mut Batch) -> Result<(), Judgement> {
    if quote.is_empty() {
        return Err(Judgement::not_found("expected a quote, found an empty one, which stands for an unknown symbol"));
    }
    let ticker = Ticker {
        last: quote.required_dec(path, "price")?,
        open: quote.dec(path, "open")?,
        high: quote.dec(path, "high")?,
        low: quote.dec(path, "low")?,
        prev_close: quote.dec(path, "previous close")?,
        change: quote.dec(path, "change")?,
        change_pct: quote.dec(path, "change percent")?,
        volume: quote.dec(path, "volume")?,
        ..Ticker::default()
    };
    let day = quote.text(path, "latest trading day")?;
    let ts_event = day.map(|day| times::local("latest trading day", day, &TimeZone::UTC)).transpose()?;
    let (symbol, native) = names(cx, quote.text(path, "symbol")?, symbol_by_rule);
    out.push(symbol, native, ts_event, Data::Ticker(Box::new(ticker)));
    Ok(())
}

/// The answer about a pair: a rate, or a ticker where the last price of a pair was asked for.
fn decode_rate(cx: &Context<'_>, body: &Object, out: &mut Batch) -> Result<(), Judgement> {
    let Some((path, rate)) = body.starting_with("Realtime Currency Exchange Rate")? else {
        return Err(Judgement::malformed("expected a quote or an exchange rate, found neither"));
    };
    if rate.is_empty() {
        return Err(Judgement::not_found("expected an exchange rate, found an empty one"));
    }
    let value = rate.required_dec(path, "Exchange Rate")?;
    let base = rate.required_text(path, "From_Currency Code")?;
    let quote = rate.required_text(path, "To_Currency Code")?;
    let zone = zone_of(path, rate)?;
    let refreshed = rate.text(path, "Last Refreshed")?;
    let ts_event = refreshed.map(|text| moment("Last Refreshed", text, zone.as_ref())).transpose()?;
    let data = if cx.query.kind == Kind::Ticker {
        let (bid, ask) = (rate.dec(path, "Bid Price")?, rate.dec(path, "Ask Price")?);
        Data::Ticker(Box::new(Ticker { last: value, bid, ask, ..Ticker::default() }))
    } else {
        let date = refreshed.and_then(|text| text.split([' ', 'T']).next()).map(CompactString::from);
        Data::Rate(Rate { base: base.into(), quote: quote.into(), value, date })
    };
    let (symbol, native) = names(cx, Some(&format_compact!("{base}/{quote}")), symbol_by_rule);
    out.push(symbol, native, ts_event, data);
    Ok(())
}

fn decode_series(cx: &Context<'_>, answer: &Answer, body: &Object, out: &mut Batch) -> Result<(), Judgement> {
    let Some((path, rows)) = body.containing("Time Series")? else {
        return Err(Judgement::malformed("expected an object named after a time series, found none"));
    };
    let none = Object::default();
    let meta = body.starting_with("Meta Data")?.map_or(&none, |(_, meta)| meta);
    let market = meta.text("Meta Data", "Market Code")?;
    let native = match (meta.text("Meta Data", "Symbol")?, meta.text("Meta Data", "Digital Currency Code")?, market) {
        (Some(symbol), _, _) => Some(CompactString::from(symbol)),
        (None, Some(base), Some(quote)) => Some(format_compact!("{base}/{quote}")),
        _ => match (meta.text("Meta Data", "From Symbol")?, meta.text("Meta Data", "To Symbol")?) {
            (Some(base), Some(quote)) => Some(format_compact!("{base}/{quote}")),
            _ => None,
        },
    };
    let (symbol, native) = names(cx, native.as_deref(), symbol_by_rule);
    let zone = zone_of("Meta Data", meta)?;
    let interval = interval_of(path).or(cx.query.interval);
    for (time, row) in rows.objects(path) {
        let row = row?;
        let at = moment(path, time, zone.as_ref())?;
        // Weeks and months are named by their last day of trading.
        let start = times::period_start(path, at, interval, zone.as_ref().unwrap_or(&TimeZone::UTC))?;
        let bar = bar(&format!("{path}.{time}"), row, market, interval, start, answer.ts_recv)?;
        let ts_event = if bar.closed == Some(true) { bar.end } else { Some(start) };
        out.push(symbol.clone(), native.clone(), ts_event, Data::Bar(Box::new(bar)));
    }
    Ok(())
}

fn bar(
    path: &str,
    row: &Object,
    market: Option<&str>,
    interval: Option<Interval>,
    start: UnixNanos,
    now: UnixNanos,
) -> Result<Bar, Judgement> {
    // Until 2024 crypto prices were given twice: in the market's currency and in dollars.
    let price =
        |name: &str| match market.map(|market| row.dec(path, &format!("{name} ({market})"))).transpose()?.flatten() {
            Some(price) => Ok(price),
            None => row.required_dec(path, name),
        };
    let end = interval.and_then(|interval| times::bar_end(start, interval));
    Ok(Bar {
        interval,
        start,
        end,
        open: price("open")?,
        high: price("high")?,
        low: price("low")?,
        close: price("close")?,
        volume: row.dec(path, "volume")?,
        quote_volume: None,
        trades: None,
        closed: end.map(|end| end <= now),
        volume_unit: None,
    })
}

/// The zone of the body's wall times, where it names one.
fn zone_of(path: &str, meta: &Object) -> Result<Option<TimeZone>, Judgement> {
    meta.text(path, "Time Zone")?.map(|name| times::zone("Time Zone", name)).transpose()
}

/// The moment of `text` in `zone`; without one a date starts in UTC and a time of day cannot be read.
fn moment(path: &str, text: &str, zone: Option<&TimeZone>) -> Result<UnixNanos, Judgement> {
    if zone.is_none() && text.len() > "2026-01-01".len() {
        return Err(Judgement::malformed(format!("{path}: expected a time zone for {text:?}, found none")));
    }
    times::local(path, text, zone.unwrap_or(&TimeZone::UTC))
}

/// The interval in the name of a series: `Time Series (5min)`, `Time Series FX (Daily)`, `Weekly Adjusted Time Series`.
fn interval_of(name: &str) -> Option<Interval> {
    let words = name.split([' ', '(', ')']).filter(|word| !word.is_empty());
    words
        .filter_map(|word| INTERVALS.iter().find(|(_, known)| known.eq_ignore_ascii_case(word)))
        .map(|(interval, _)| *interval)
        .next()
}

/// A pair by its two fields; the provider takes both spellings of a share class.
fn symbol_by_rule(native: &str) -> Option<Symbol> {
    Some(match native.split_once('/') {
        Some((base, quote)) => Symbol::from_pair(base, quote),
        None => Symbol::new(listing::dotted(native).unwrap_or_else(|| native.to_owned())),
    })
}

/// Judges the notices that stand in place of data, in the order in which they exclude each other.
fn notice(answer: &Answer, body: &Object) -> Option<Judgement> {
    let found = ["Error Message", "Note", "Information"].into_iter().find_map(|name| match body.exact(name) {
        Some(Node::Text(text)) => Some((name, text.as_str())),
        _ => None,
    })?;
    let (name, message) = found;
    let words = message.to_ascii_lowercase();
    let has = |part: &str| words.contains(part);
    let (verdict, reason, wait) = match name {
        _ if has("per second") => (Verdict::RateLimited, "burst", Some(Duration::from_secs(1))),
        _ if has("is a premium endpoint") || has("premium membership") => (Verdict::Unauthorized, "plan", None),
        _ if has("per minute") => (Verdict::RateLimited, "calls_per_minute", Some(MINUTE)),
        _ if has("per day") => (Verdict::RateLimited, "calls_per_day", Some(until_reset(answer))),
        _ if has("apikey is invalid or missing") || has("demo") => (Verdict::Unauthorized, "key", None),
        // The parameters are built by rule, so the symbol is what the provider does not know.
        "Error Message" if has("invalid api call") => (Verdict::NotFound, "symbol_unknown", None),
        "Error Message" => (Verdict::BadRequest, "argument", None),
        "Note" => (Verdict::RateLimited, "calls_per_minute", Some(MINUTE)),
        _ if has("invalid input") => (Verdict::BadRequest, "argument", None),
        _ if has("premium") || has("entitlement") => (Verdict::Unauthorized, "plan", None),
        _ => (Verdict::RateLimited, "notice", Some(MINUTE)),
    };
    let judgement = Judgement::new(verdict, reason, listing::mask_keys(message.trim()));
    Some(judgement.retry_after(wait).retry_after(answer.retry_after()))
}

/// The daily quota starts again at midnight in New York.
fn until_reset(answer: &Answer) -> Duration {
    match times::zone("reset", "America/New_York") {
        Ok(zone) => times::until_midnight(answer.ts_recv, &zone),
        Err(_) => DAY,
    }
}

const KEY: &str = "ALPHA_VANTAGE_API_KEY";
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const SECOND: WindowSpec =
    WindowSpec { bucket: "", limit: 1, per: Duration::from_secs(1), shape: WindowShape::Rolling };
/// Rows of an answer unless all are asked for.
const COMPACT_ROWS: u32 = 100;

/// Each interval with the word in the names of functions and of series.
const INTERVALS: &[(Interval, &str)] = &[
    (Interval::MINUTE, "1min"),
    (Interval::new(5, IntervalUnit::Minute), "5min"),
    (Interval::new(15, IntervalUnit::Minute), "15min"),
    (Interval::new(30, IntervalUnit::Minute), "30min"),
    (Interval::HOUR, "60min"),
    (Interval::DAY, "DAILY"),
    (Interval::WEEK, "WEEKLY"),
    (Interval::MONTH, "MONTHLY"),
];

static SPEC: Spec = Spec {
    id: SourceId("alpha_vantage"),
    title: "Alpha Vantage",
    bases: &[Base { name: "api", url: "https://www.alphavantage.co" }],
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
                INTERVALS[7].0,
            ],
            every: Duration::from_secs(10),
            ..KIND
        },
        KindSpec { kind: Kind::Rate, every: Duration::from_secs(10), examples: &["EUR-USD", "BTC-USD"], ..KIND },
    ],
    credentials: &[Credential { variable: KEY, about: "API key", simulated: "simulated-alpha-vantage-key" }],
    tiers: &[
        Tier {
            name: "free",
            windows: &[WindowSpec { bucket: "", limit: 25, per: DAY, shape: WindowShape::Fixed }, SECOND],
        },
        Tier {
            name: "premium",
            windows: &[WindowSpec { bucket: "", limit: 75, per: MINUTE, shape: WindowShape::Rolling }],
        },
        Tier {
            name: "premium_1200",
            windows: &[WindowSpec { bucket: "", limit: 1_200, per: MINUTE, shape: WindowShape::Rolling }],
        },
    ],
    scope: QuotaScope::Key,
    samples: samples!(
        "alpha_vantage",
        "crypto_daily.json",
        "error_key.json",
        "exchange_rate.json",
        "fx_daily.json",
        "global_quote.json",
        "time_series_daily.json",
        "time_series_intraday.json",
    ),
    routes: include_str!("samples/alpha_vantage/routes.toml"),
    evidence: Evidence::Recorded,
    quota_docs: "25 requests a day and key (the notice in its answers, 2026-11-25); about one a second is reported by clients",
};

const KIND: KindSpec = KindSpec {
    kind: Kind::Ticker,
    key: KeyUse::Required,
    batching: Batching::One,
    whole_market: false,
    intervals: &[],
    past: Past::NONE,
    every: Duration::from_secs(5),
    examples: &["IBM", "MSFT"],
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Query;
    use crate::source::testing;

    fn ibm(kind: Kind) -> Query {
        Query::new(kind).symbol("IBM")
    }

    #[test]
    fn a_quote_loses_its_percent_sign_only() {
        testing::check(
            &AlphaVantage,
            &ibm(Kind::Ticker),
            "global_quote.json",
            json!([{"source": "alpha_vantage", "kind": "ticker", "symbol": "IBM", "native": "IBM", "ts_event": 1_767_139_200_000_000_000_i64,
                    "data": {"last": "296.2100", "open": "299.1000", "high": "300.5600", "low": "295.7800", "prev_close": "299.0500",
                             "change": "-2.8400", "change_pct": "-0.9497", "volume": "2318420"}}]),
        );
        testing::check_bad_bodies(&AlphaVantage, &ibm(Kind::Ticker), "global_quote.json");
    }

    #[test]
    fn rates_and_tickers_of_pairs() {
        let euro = |kind| Query::new(kind).symbol("EUR-USD");
        let record = |kind: &str, data: serde_json::Value| {
            json!([{"source": "alpha_vantage", "kind": kind, "symbol": "EUR-USD", "native": "EUR/USD",
                    "ts_event": 1_767_225_541_000_000_000_i64, "data": data}])
        };
        let rate = json!({"base": "EUR", "quote": "USD", "value": "1.17460000", "date": "2025-12-31"});
        testing::check(&AlphaVantage, &euro(Kind::Rate), "exchange_rate.json", record("rate", rate));
        let ticker = json!({"last": "1.17460000", "bid": "1.17457000", "ask": "1.17463000"});
        testing::check(&AlphaVantage, &euro(Kind::Ticker), "exchange_rate.json", record("ticker", ticker));
        testing::check_bad_bodies(&AlphaVantage, &euro(Kind::Rate), "exchange_rate.json");
    }

    fn bar(
        symbol: &str,
        native: &str,
        interval: &str,
        span: (i64, i64),
        ohlc: [&str; 4],
        volume: Option<&str>,
    ) -> serde_json::Value {
        let (start, end) = (span.0 * 1_000_000_000, (span.0 + span.1) * 1_000_000_000);
        let mut data = json!({"interval": interval, "start": start, "end": end, "open": ohlc[0], "high": ohlc[1], "low": ohlc[2],
                              "close": ohlc[3], "closed": true});
        if let Some(volume) = volume {
            data["volume"] = volume.into();
        }
        json!({"source": "alpha_vantage", "kind": "bar", "symbol": symbol, "native": native, "ts_event": end, "data": data})
    }

    #[test]
    fn wall_times_are_read_in_the_zone_of_the_body() {
        testing::check(
            &AlphaVantage,
            &Query::new(Kind::Bar),
            "time_series_intraday.json",
            json!([
                bar(
                    "IBM",
                    "IBM",
                    "5m",
                    (1_767_214_500, 300),
                    ["296.3000", "296.4500", "296.1800", "296.2100"],
                    Some("48211")
                ),
                bar(
                    "IBM",
                    "IBM",
                    "5m",
                    (1_767_214_200, 300),
                    ["296.1000", "296.3400", "296.0500", "296.3000"],
                    Some("30977")
                ),
            ]),
        );
        testing::check(
            &AlphaVantage,
            &ibm(Kind::Bar),
            "time_series_daily.json",
            json!([
                bar(
                    "IBM",
                    "IBM",
                    "1d",
                    (1_767_157_200, 86_400),
                    ["299.1000", "300.5600", "295.7800", "296.2100"],
                    Some("2318420")
                ),
                bar(
                    "IBM",
                    "IBM",
                    "1d",
                    (1_767_070_800, 86_400),
                    ["302.0000", "302.7700", "298.8000", "299.0500"],
                    Some("2610233")
                ),
            ]),
        );
        testing::check_bad_bodies(&AlphaVantage, &ibm(Kind::Bar), "time_series_daily.json");
        testing::check_bad_bodies(&AlphaVantage, &ibm(Kind::Bar), "time_series_intraday.json");
    }

    #[test]
    fn pairs_have_two_names() {
        testing::check(
            &AlphaVantage,
            &Query::new(Kind::Bar),
            "fx_daily.json",
            json!([
                bar(
                    "EUR-USD",
                    "EUR/USD",
                    "1d",
                    (1_767_139_200, 86_400),
                    ["1.17470", "1.17590", "1.17300", "1.17460"],
                    None
                ),
                bar(
                    "EUR-USD",
                    "EUR/USD",
                    "1d",
                    (1_767_052_800, 86_400),
                    ["1.17710", "1.17790", "1.17420", "1.17480"],
                    None
                ),
            ]),
        );
        testing::check(
            &AlphaVantage,
            &Query::new(Kind::Bar).symbol("BTC-USD"),
            "crypto_daily.json",
            json!([
                bar(
                    "BTC-USD",
                    "BTC/USD",
                    "1d",
                    (1_767_139_200, 86_400),
                    ["88430.12000000", "89210.00000000", "87130.55000000", "87648.22000000"],
                    Some("5210.44120000")
                ),
                bar(
                    "BTC-USD",
                    "BTC/USD",
                    "1d",
                    (1_767_052_800, 86_400),
                    ["87210.00000000", "89012.75000000", "86900.01000000", "88430.12000000"],
                    Some("6001.00450000")
                ),
            ]),
        );
        let old = r#"{"Meta Data":{"2. Digital Currency Code":"BTC","4. Market Code":"CNY"},"Time Series (Digital Currency Daily)":
            {"2018-01-01":{"1a. open (CNY)":"7","1b. open (USD)":"1","2a. high (CNY)":"8","3a. low (CNY)":"6","4a. close (CNY)":"7.50"}}}"#;
        let found = testing::decode(&AlphaVantage, &Query::new(Kind::Bar), 200, old).unwrap();
        assert_eq!(found[0]["data"]["open"], "7");
        assert_eq!(found[0]["data"]["close"], "7.50");
    }

    #[test]
    fn weeks_start_on_their_monday() {
        let body = r#"{"Meta Data":{"2. Symbol":"IBM","4. Time Zone":"US/Eastern"},"Weekly Time Series":
            {"2025-12-26":{"1. open":"1","2. high":"2","3. low":"1","4. close":"2"}}}"#;
        let found = testing::decode(&AlphaVantage, &ibm(Kind::Bar), 200, body).unwrap();
        assert_eq!(found, vec![bar("IBM", "IBM", "1w", (1_766_379_600, 604_800), ["1", "2", "1", "2"], None)]);
    }

    #[test]
    fn requests_hide_the_key() {
        let check = |query: &Query, expected: &str| {
            let request = testing::request(&AlphaVantage, query).unwrap();
            assert_eq!(request.target_redacted(), format!("/query?function={expected}&apikey=***"));
        };
        check(&Query::new(Kind::Ticker).symbol("BRK.B"), "GLOBAL_QUOTE&symbol=BRK.B");
        check(&Query::new(Kind::Rate).symbol("EUR-USD"), "CURRENCY_EXCHANGE_RATE&from_currency=EUR&to_currency=USD");
        check(&ibm(Kind::Bar), "TIME_SERIES_DAILY&symbol=IBM");
        check(
            &ibm(Kind::Bar).interval(Interval::HOUR).limit(500),
            "TIME_SERIES_INTRADAY&symbol=IBM&interval=60min&outputsize=full",
        );
        check(
            &Query::new(Kind::Bar).symbol("EUR-USD").interval(Interval::WEEK),
            "FX_WEEKLY&from_symbol=EUR&to_symbol=USD",
        );
        check(&Query::new(Kind::Bar).symbol("BTC-USD"), "DIGITAL_CURRENCY_DAILY&symbol=BTC&market=USD");
        check(
            &Query::new(Kind::Bar).symbol("BTC-USD").interval(Interval::MINUTE),
            "CRYPTO_INTRADAY&symbol=BTC&market=USD&interval=1min",
        );
        let refused = testing::request(&AlphaVantage, &ibm(Kind::Bar).interval(Interval::new(4, IntervalUnit::Hour)));
        assert_eq!(refused.unwrap_err().reason, "interval_unknown");
        assert!(testing::request(&AlphaVantage, &ibm(Kind::Rate)).is_err());
        assert!(testing::request(&AlphaVantage, &Query::new(Kind::Ticker).symbol("BTC-USDT.PERP")).is_err());
    }

    #[test]
    fn notices_are_told_apart() {
        let check = |name: &str, message: &str, expected: (Verdict, &str), wait: Option<u64>| {
            let body = json!({ name: message }).to_string();
            let judgement = testing::decode(&AlphaVantage, &ibm(Kind::Bar), 200, &body).unwrap_err();
            assert_eq!((judgement.verdict, judgement.reason), expected, "{message}");
            assert_eq!(judgement.retry_after.map(|wait| wait.as_secs()), wait, "{message}");
        };
        let day = (Verdict::RateLimited, "calls_per_day");
        // 22:04:05 in New York.
        check(
            "Information",
            "our standard API rate limit is 25 requests per day. Subscribe to premium plans",
            day,
            Some(6_955),
        );
        check("Note", "our standard API rate limit is 25 requests per day.", day, Some(6_955));
        check(
            "Note",
            "our standard API call frequency is 5 calls per minute and 500 calls per day.",
            (Verdict::RateLimited, "calls_per_minute"),
            Some(60),
        );
        check(
            "Information",
            "Please consider spreading out requests (1 request per second), premium plans lift 25 requests per day",
            (Verdict::RateLimited, "burst"),
            Some(1),
        );
        check("Information", "Thank you! This is a premium endpoint.", (Verdict::Unauthorized, "plan"), None);
        check("Error Message", "the parameter apikey is invalid or missing.", (Verdict::Unauthorized, "key"), None);
        check("Error Message", "Invalid API call. Please retry", (Verdict::NotFound, "symbol_unknown"), None);
        let verdict =
            |status, body, expected| testing::check_verdict(&AlphaVantage, &ibm(Kind::Ticker), status, body, expected);
        verdict(200, r#"{"Global Quote":{}}"#, (Verdict::NotFound, "symbol_unknown"));
        verdict(200, "{}", (Verdict::NotFound, "symbol_unknown"));
        verdict(503, "<html>", (Verdict::UpstreamError, "http_5xx"));
        verdict(429, "", (Verdict::RateLimited, "http_429"));
        let echoed = r#"{"Information":"We have detected your API key as ABCDEFGH12345678 and our limit is 25 requests per day."}"#;
        let judgement = testing::decode(&AlphaVantage, &ibm(Kind::Ticker), 200, echoed).unwrap_err();
        assert_eq!(judgement.message, "We have detected your API key as *** and our limit is 25 requests per day.");
    }

    #[test]
    fn fields_are_named_when_they_do_not_fit() {
        let check = |kind, body: &str, expected: &str| {
            let judgement = testing::decode(&AlphaVantage, &ibm(kind), 200, body).unwrap_err();
            assert_eq!((judgement.verdict, judgement.message.as_str()), (Verdict::Malformed, expected));
        };
        check(
            Kind::Ticker,
            r#"{"Global Quote":{"01. symbol":"IBM"}}"#,
            "Global Quote.price: expected a decimal, found nothing",
        );
        check(
            Kind::Ticker,
            r#"{"Global Quote":{"05. price":"1","02. open":[]}}"#,
            "Global Quote.open: expected a decimal, found a list",
        );
        check(
            Kind::Bar,
            r#"{"Time Series (Daily)":{"2026-01-01":{"1. open":"x"}}}"#,
            "Time Series (Daily).2026-01-01.open: expected a decimal, found \"x\"",
        );
        check(Kind::Bar, r#"{"Time Series (Daily)":[]}"#, "Time Series (Daily): expected an object, found a list");
    }
}
