//! CoinMarketCap: prices averaged over many venues. Facts: its API documentation (pro). Coins are named by numeric ids
//! (1 is Bitcoin), since several share a ticker. Prices are number tokens; error codes have come as numbers and as texts.
//! Invariant: volumes are in the currency of the price, never in base units.

use std::time::Duration;

use compact_str::CompactString;
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer};

use crate::model::{Data, Dec, Interval, Judgement, Kind, Native, SourceId, Symbol, Ticker, Verdict};
use crate::source::bars::{self, Candle};
use crate::source::coins::{self, Coins};
use crate::source::spec::samples;
use crate::source::{
    Base, Batch, Batching, Context, Credential, Evidence, Instrument, KeyUse, KindSpec, Past, Prerequisite, QuotaScope,
    Source, Spec, State, Tier, by_status,
};
use crate::time::UnixNanos;
use crate::wire::fields::{self, Id, Int, OneOrMany, Pairs};
use crate::wire::{Answer, Request, json, times};

/// The source.
pub struct CoinMarketCap;

impl Source for CoinMarketCap {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn native(&self, _kind: Kind, symbol: &Symbol, state: &State) -> Result<Native, Judgement> {
        Coins { known: KNOWN, state }.native("coinmarketcap", symbol)
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let query = cx.query;
        let convert = coins::quotes(cx);
        let request = match query.kind {
            Kind::Ticker if cx.natives.is_empty() => {
                return Err(Judgement::unservable("symbol_count", "coinmarketcap: expected a symbol, found none"));
            }
            Kind::Ticker => Request::get("/v2/cryptocurrency/quotes/latest")
                .param("id", coins::ids(cx))
                .param("convert", convert.join(","))
                // A credit for a hundred coins, and another for each further currency.
                .weight(convert.len() as u32),
            Kind::Bar => {
                let (period, interval) = bars::word("coinmarketcap", PERIODS, query.interval.unwrap_or(Interval::DAY))?;
                let rows = query.limit.map(|rows| rows.clamp(1, ROWS_MAX));
                Request::get("/v2/cryptocurrency/ohlcv/historical")
                    .param("id", cx.only_native()?)
                    .param("convert", convert.join(","))
                    .param("time_period", period)
                    .param("interval", interval)
                    // The provider's start is exclusive and its end inclusive, ours are the other way around.
                    .param_opt("time_start", query.range.map(|range| range.from.as_secs() - 1))
                    .param_opt("time_end", query.range.map(|range| range.to.as_secs() - 1))
                    .param_opt("count", rows)
                    .weight(rows.unwrap_or(10).div_ceil(100))
            }
            kind => return Err(Judgement::unservable("kind_unknown", format!("coinmarketcap: has no {kind}"))),
        };
        Ok(request.header_secret("x-cmc_pro_api_key", cx.secret(KEY)?.expose()))
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        match cx.query.kind {
            Kind::Ticker => decode_tickers(cx, answer, out).map(|()| None),
            Kind::Bar => decode_bars(cx, answer, out).map(|()| None),
            kind => Err(Judgement::unservable("kind_unknown", format!("coinmarketcap: has no {kind}"))),
        }
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        match json::read_owned::<Head>(json::exact(&answer.body)) {
            Ok(head) => head.status.judge(answer),
            Err(_) => by_status(answer, None),
        }
    }

    fn prerequisites(&self) -> &'static [Prerequisite] {
        PREREQUISITES
    }

    fn prerequisite_request(&self, _name: &str, cx: &Context<'_>) -> Result<Request, Judgement> {
        // By rank, since of several coins with one ticker the best known is meant.
        let request = Request::get("/v1/cryptocurrency/map").param("sort", "cmc_rank").param("limit", 5_000);
        Ok(request.header_secret("x-cmc_pro_api_key", cx.secret(KEY)?.expose()))
    }

    fn prerequisite_decode(&self, _name: &str, answer: &Answer, state: &mut State) -> Result<(), Judgement> {
        if !answer.is_success() {
            return Err(by_status(answer, None));
        }
        let rows: OneOrMany<Listed> = read(answer)?;
        let listed: Vec<Instrument> = rows
            .rows
            .iter()
            .map(|row| Instrument {
                symbol: Symbol::new(row.symbol.to_uppercase()),
                native: Native::new(&row.id.0),
                aliases: Vec::new(),
            })
            .collect();
        state.instruments = listed.into();
        Ok(())
    }
}

/// Reads the data of an answer, with or without the envelope.
fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, Judgement> {
    if !["data", "status"].iter().any(|key| fields::has_key(&answer.body, key)) {
        return json::read_owned(json::exact(&answer.body));
    }
    let refused = |status: &Status| !matches!(status.error_code, None | Some(Int(0)));
    match json::read_owned::<Envelope<T>>(json::exact(&answer.body)) {
        Ok(Envelope { status: Some(status), .. }) if refused(&status) => Err(status.judge(answer)),
        Ok(Envelope { data: Some(data), .. }) => Ok(data),
        Ok(_) => Err(Judgement::malformed("data: expected an object or a list, found nothing")),
        // A refusal may carry data of another shape.
        Err(judgement) => Err(match json::read_owned::<Head>(json::exact(&answer.body)) {
            Ok(head) if refused(&head.status) => head.status.judge(answer),
            _ => judgement,
        }),
    }
}

#[derive(Deserialize)]
struct Envelope<T> {
    status: Option<Status>,
    data: Option<T>,
}

#[derive(Deserialize)]
struct Head {
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    error_code: Option<Int>,
    error_message: Option<CompactString>,
}

impl Status {
    fn judge(&self, answer: &Answer) -> Judgement {
        let message = self.error_message.as_deref().unwrap_or_default();
        let named = ["\"id\"", "\"symbol\"", "\"slug\""].iter().any(|name| message.contains(name));
        let judgement = by_status(answer, Some(message));
        let code = self.error_code.unwrap_or_default().0;
        let (verdict, reason) = match code {
            1_001 | 1_002 | 1_005 | 1_007 => (Verdict::Unauthorized, "key"),
            1_003 | 1_004 | 1_006 => (Verdict::Unauthorized, "plan"),
            1_008 | 1_011 => (Verdict::RateLimited, "minute"),
            1_009 => (Verdict::RateLimited, "day"),
            1_010 => (Verdict::RateLimited, "month"),
            400 if named => (Verdict::NotFound, "symbol_unknown"),
            500..=599 => (Verdict::UpstreamError, "provider"),
            _ if answer.is_success() => (Verdict::BadRequest, "provider"),
            _ => (judgement.verdict, judgement.reason),
        };
        let told = judgement.retry_after;
        let reset = told.or_else(|| until_reset(code, answer.ts_recv));
        Judgement { verdict, reason, retry_after: reset, ..judgement }
    }
}

/// Counts start anew with the minute, the day and the month, in UTC (documentation, "Errors and Rate Limits").
fn until_reset(code: i64, now: UnixNanos) -> Option<Duration> {
    let reset = match code {
        1_008 | 1_011 => UnixNanos::from_secs((now.as_secs() / 60 + 1) * 60)?,
        1_009 => UnixNanos::from_secs((now.as_secs() / 86_400 + 1) * 86_400)?,
        1_010 => {
            let date = times::date(now);
            let first = format!("{}01", date.get(..8)?);
            let start = times::local("month", &first, &jiff::tz::TimeZone::UTC).ok()?;
            times::bar_end(start, Interval::MONTH)?
        }
        _ => return None,
    };
    Some(reset.since(now))
}

#[derive(Deserialize)]
struct Listed {
    id: Id,
    symbol: CompactString,
}

/// The rows of an answer: a list, or an object by id or ticker of one row or several.
struct Rows<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Rows<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = Rows<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object or a list")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Rows<T>, A::Error> {
                let mut rows = Vec::new();
                while let Some(row) = seq.next_element()? {
                    rows.push(row);
                }
                Ok(Rows(rows))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Rows<T>, A::Error> {
                let mut all = Vec::new();
                while let Some((_, OneOrMany { rows, .. })) = map.next_entry::<CompactString, OneOrMany<T>>()? {
                    all.extend(rows);
                }
                Ok(Rows(all))
            }
        }
        deserializer.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

#[derive(Deserialize)]
struct Coin {
    id: Id,
    symbol: Option<CompactString>,
    /// By currency.
    quote: Pairs<Price>,
}

#[derive(Deserialize)]
struct Price {
    /// Null for coins without a market.
    #[serde(deserialize_with = "fields::nullable")]
    price: Option<Dec>,
    /// In the currency of the price.
    volume_24h: Option<Dec>,
    /// In percent.
    percent_change_24h: Option<Dec>,
    last_updated: Option<CompactString>,
}

fn decode_tickers(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    // An element of the list alone is told by its own field.
    let alone = fields::has_key(&answer.body, "quote");
    let Rows(rows) = if alone { Rows(vec![read::<Coin>(answer)?]) } else { read(answer)? };
    if rows.is_empty() {
        return Err(Judgement::not_found("data: expected a coin, found none"));
    }
    let known = Coins { known: KNOWN, state: cx.state };
    for row in &rows {
        for (quote, price) in &row.quote.0 {
            let Some(last) = price.price else { continue };
            if coins::came_along(cx, &row.id.0, quote) {
                continue;
            }
            let updated = price.last_updated.as_deref();
            let ts_event = updated.map(|text| times::rfc3339("last_updated", text)).transpose()?;
            let ticker = Ticker {
                last,
                change_pct: price.percent_change_24h,
                quote_volume: price.volume_24h,
                ..Ticker::default()
            };
            let symbol = known.symbol(cx, &row.id.0, row.symbol.as_deref(), currency(quote).unwrap_or(quote));
            out.push(symbol, Some(Native::new(&row.id.0)), ts_event, Data::Ticker(Box::new(ticker)));
        }
    }
    Ok(())
}

/// The bars of one coin, as the API or as the web site's own interface names its fields.
#[derive(Deserialize)]
struct History {
    id: Id,
    symbol: Option<CompactString>,
    quotes: Vec<Period>,
}

/// One coin's bars, or those of several by id or ticker.
struct Histories(Vec<History>);

impl<'de> Deserialize<'de> for Histories {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Histories;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of bars or of coins")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Histories, A::Error> {
                let (mut id, mut symbol, mut quotes, mut all) = (None, None, None, Vec::new());
                while let Some(key) = map.next_key::<CompactString>()? {
                    match key.as_str() {
                        "id" => id = Some(map.next_value()?),
                        "symbol" => symbol = map.next_value()?,
                        "quotes" => quotes = Some(map.next_value()?),
                        key if is_field(key) => {
                            map.next_value::<de::IgnoredAny>()?;
                        }
                        _ => all.extend(map.next_value::<OneOrMany<History>>()?.rows),
                    }
                }
                if all.is_empty() {
                    let missing = de::Error::missing_field;
                    let id = id.ok_or_else(|| missing("id"))?;
                    all.push(History { id, symbol, quotes: quotes.ok_or_else(|| missing("quotes"))? });
                }
                Ok(Histories(all))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// Whether a key names a field: ids are digits and currencies are in capitals.
fn is_field(key: &str) -> bool {
    key.contains(|c: char| c.is_ascii_lowercase())
}

#[derive(Deserialize)]
struct Period {
    #[serde(alias = "timeOpen")]
    time_open: CompactString,
    #[serde(alias = "timeClose")]
    time_close: CompactString,
    quote: Values,
}

#[derive(Deserialize)]
struct Ohlcv {
    open: Dec,
    high: Dec,
    low: Dec,
    close: Dec,
    /// In the currency of the price.
    volume: Option<Dec>,
}

/// Values by currency; or the values themselves beside `name`, the id of their currency.
struct Values(Vec<(Option<CompactString>, Ohlcv)>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Values;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of values or of currencies")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
                let (mut list, mut name) = (Vec::new(), None);
                let (mut open, mut high, mut low, mut close, mut volume) = (None, None, None, None, None);
                while let Some(key) = map.next_key::<CompactString>()? {
                    match key.as_str() {
                        "open" => open = Some(map.next_value()?),
                        "high" => high = Some(map.next_value()?),
                        "low" => low = Some(map.next_value()?),
                        "close" => close = Some(map.next_value()?),
                        "volume" => volume = map.next_value()?,
                        "name" => name = Some(map.next_value::<Id>()?.0),
                        key if is_field(key) => {
                            map.next_value::<de::IgnoredAny>()?;
                        }
                        _ => list.push((Some(key), map.next_value()?)),
                    }
                }
                if !list.is_empty() {
                    return Ok(Values(list));
                }
                let missing = de::Error::missing_field;
                let values = Ohlcv {
                    open: open.ok_or_else(|| missing("open"))?,
                    high: high.ok_or_else(|| missing("high"))?,
                    low: low.ok_or_else(|| missing("low"))?,
                    close: close.ok_or_else(|| missing("close"))?,
                    volume,
                };
                Ok(Values(vec![(name, values)]))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

fn decode_bars(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let Histories(histories) = read(answer)?;
    let known = Coins { known: KNOWN, state: cx.state };
    for history in &histories {
        let id = history.id.0.as_str();
        for period in &history.quotes {
            let start = times::rfc3339("time_open", &period.time_open)?;
            let last = times::rfc3339("time_close", &period.time_close)?;
            // The close is the last millisecond of the bar.
            let end =
                if last.as_millis() % 1_000 == 999 { last.saturating_add(Duration::from_millis(1)) } else { last };
            let interval = cx.query.interval.or_else(|| times::interval_between(start, end));
            for (name, values) in &period.quote.0 {
                let symbol = match name.as_deref().and_then(currency).or(name.as_deref()) {
                    Some(quote) if !quote.bytes().all(|byte| byte.is_ascii_digit()) => {
                        known.symbol(cx, id, history.symbol.as_deref(), quote)
                    }
                    _ => cx.only().filter(|(_, native)| native.as_str() == id).map(|(symbol, _)| symbol.clone()),
                };
                let candle = Candle {
                    start,
                    open: values.open,
                    high: values.high,
                    low: values.low,
                    close: values.close,
                    volume: None,
                    quote_volume: values.volume,
                };
                candle.push(out, (symbol, Some(Native::new(id))), interval, answer.ts_recv);
            }
        }
    }
    Ok(())
}

/// The ticker of a currency that answers name by its id (documentation, "CoinMarketCap ID Map": fiat currencies).
fn currency(name: &str) -> Option<&'static str> {
    FIAT.iter().find(|(id, _)| *id == name).map(|(_, ticker)| *ticker)
}

const KEY: &str = "COINMARKETCAP_API_KEY";
const COINS_MAX: usize = 100;
const ROWS_MAX: u32 = 10_000;

/// Tickers and ids of the best-known coins.
const KNOWN: &[(&str, &str)] = &[
    ("BTC", "1"),
    ("LTC", "2"),
    ("XRP", "52"),
    ("DOGE", "74"),
    ("XLM", "512"),
    ("USDT", "825"),
    ("ETH", "1027"),
    ("BCH", "1831"),
    ("BNB", "1839"),
    ("TRX", "1958"),
    ("LINK", "1975"),
    ("ADA", "2010"),
    ("USDC", "3408"),
    ("SOL", "5426"),
    ("AVAX", "5805"),
    ("DOT", "6636"),
];

const FIAT: &[(&str, &str)] = &[
    ("2781", "USD"),
    ("2782", "AUD"),
    ("2784", "CAD"),
    ("2785", "CHF"),
    ("2790", "EUR"),
    ("2791", "GBP"),
    ("2797", "JPY"),
];

/// Intervals and the provider's words for them: the period the values are of, and the distance between two.
const PERIODS: &[(Interval, (&str, &str))] = &[
    (Interval::HOUR, ("hourly", "hourly")),
    (Interval::DAY, ("daily", "daily")),
    (Interval::WEEK, ("daily", "weekly")),
    (Interval::MONTH, ("daily", "monthly")),
];
const INTERVALS: &[Interval] = &bars::intervals::<_, { PERIODS.len() }>(PERIODS);

static PREREQUISITES: &[Prerequisite] = &[Prerequisite {
    name: "instruments",
    ttl: Duration::from_secs(86_400),
    needed: |query, state| {
        let coins = Coins { known: KNOWN, state };
        query.symbols.iter().filter_map(Symbol::pair).any(|(base, _)| coins.id(&base.to_uppercase()).is_none())
    },
    invalidated_by: &[],
}];

static SPEC: Spec = Spec {
    id: SourceId("coinmarketcap"),
    title: "CoinMarketCap",
    bases: &[Base { name: "api", url: "https://pro-api.coinmarketcap.com" }],
    kinds: &[
        KindSpec { batching: Batching::Many(COINS_MAX), ..KIND },
        // Not in the free plan.
        KindSpec {
            kind: Kind::Bar,
            intervals: INTERVALS,
            past: Past::ranged(ROWS_MAX),
            every: Duration::from_secs(10),
            ..KIND
        },
    ],
    credentials: &[Credential {
        variable: KEY,
        about: "API key; bars need a paid plan",
        simulated: "simulated-coinmarketcap-key",
    }],
    tiers: &[
        Tier { name: "free", windows: &coins::plan(30, 10_000) },
        Tier { name: "hobbyist", windows: &coins::plan(30, 110_000) },
        Tier { name: "startup", windows: &coins::plan(30, 300_000) },
        Tier { name: "standard", windows: &coins::plan(60, 1_200_000) },
        Tier { name: "professional", windows: &coins::plan(90, 3_000_000) },
    ],
    scope: QuotaScope::Key,
    samples: samples!(
        "coinmarketcap",
        "error_401.json",
        "listings_latest.json",
        "map.json",
        "ohlcv_historical.json",
        "quotes_latest.json",
    ),
    routes: include_str!("samples/coinmarketcap/routes.toml"),
    evidence: Evidence::Mixed,
    quota_docs: "free: 30 requests per minute, 10,000 credits per month (coinmarketcap.com/api/pricing; unverified)",
};

const KIND: KindSpec = KindSpec {
    kind: Kind::Ticker,
    key: KeyUse::Required,
    batching: Batching::One,
    whole_market: false,
    intervals: &[],
    past: Past::NONE,
    every: Duration::from_secs(5),
    examples: &["BTC-USD", "ETH-USD", "SOL-USD"],
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Query;
    use crate::source::testing;

    fn btc(kind: Kind) -> Query {
        Query::new(kind).symbol("BTC-USD")
    }

    fn bitcoin() -> serde_json::Value {
        json!({
            "source": "coinmarketcap", "kind": "ticker", "symbol": "BTC-USD", "native": "1", "ts_event": 1_767_225_540_000_000_000_i64,
            "data": {"last": "87648.22296808", "change_pct": "-0.95128167", "quote_volume": "33235034316.81813"}
        })
    }

    #[test]
    fn tickers_by_id_and_in_a_list() {
        testing::check(&CoinMarketCap, &btc(Kind::Ticker), "quotes_latest.json", json!([bitcoin()]));
        testing::check_bad_bodies(&CoinMarketCap, &btc(Kind::Ticker), "quotes_latest.json");
        let list = SPEC.sample("listings_latest.json").unwrap();
        let found = testing::decode(&CoinMarketCap, &Query::new(Kind::Ticker), 200, list).unwrap();
        assert_eq!((found.len(), &found[0], &found[1]["symbol"]), (2, &bitcoin(), &json!("ETH-USD")));
        let by_ticker = r#"{"status":{"error_code":"0"},"data":{"BTC":[
            {"id":1,"symbol":"BTC","quote":{"EUR":{"price":7e4},"USD":{"price":8e4}}},
            {"id":31469,"symbol":"BTC","quote":{"USD":{"price":1.5E-7}}},
            {"id":99999,"symbol":"DEAD","quote":{"USD":{"price":null}}}]}}"#;
        let query = btc(Kind::Ticker).symbol("ETH-EUR");
        let found = testing::decode(&CoinMarketCap, &query, 200, by_ticker).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((&found[0]["symbol"], &found[0]["data"]["last"]), (&json!("BTC-USD"), &json!("80000")));
        assert_eq!((found[1].get("symbol"), &found[1]["data"]["last"]), (None, &json!("0.00000015")));
    }

    #[test]
    fn bars_end_with_their_last_millisecond() {
        let bar = |start: i64, values: [&str; 5]| {
            let [open, high, low, close, volume] = values;
            let (start, end) = (start * 1_000_000_000, (start + 86_400) * 1_000_000_000);
            json!({"source": "coinmarketcap", "kind": "bar", "symbol": "BTC-USD", "native": "1", "ts_event": end,
                   "data": {"interval": "1d", "start": start, "end": end, "open": open, "high": high, "low": low, "close": close,
                            "quote_volume": volume, "closed": true}})
        };
        testing::check(
            &CoinMarketCap,
            &btc(Kind::Bar),
            "ohlcv_historical.json",
            json!([
                bar(
                    1_767_052_800,
                    [
                        "87140.1146368474",
                        "89010.9137031205",
                        "86910.7875016392",
                        "88490.9913330076",
                        "32901492931.834436708"
                    ]
                ),
                bar(
                    1_767_139_200,
                    ["88490.0161160068", "89000.681197423", "87120.5171870965", "87648.22296808", "33235034316.81813"]
                )
            ]),
        );
        testing::check_bad_bodies(&CoinMarketCap, &btc(Kind::Bar), "ohlcv_historical.json");
        let keyed = r#"{"status":{"error_code":0},"data":{"1":{"id":1,"symbol":"BTC","quotes":[{"time_open":"2025-12-31T00:00:00.000Z",
            "time_close":"2025-12-31T23:59:59.999Z","quote":{"2790":{"open":1,"high":2,"low":0.5,"close":1.50}}}]}}}"#;
        let found = testing::decode(&CoinMarketCap, &Query::new(Kind::Bar), 200, keyed).unwrap();
        assert_eq!((&found[0]["symbol"], &found[0]["data"]["close"]), (&json!("BTC-EUR"), &json!("1.50")));
    }

    #[test]
    fn refusals_are_told_apart() {
        let check = |status, body: &str, expected| {
            testing::check_verdict(&CoinMarketCap, &btc(Kind::Ticker), status, body, expected);
        };
        let error = |code: &str| format!(r#"{{"status":{{"error_code":{code},"error_message":"told"}}}}"#);
        check(401, &error("1001"), (Verdict::Unauthorized, "key"));
        check(402, &error("1004"), (Verdict::Unauthorized, "plan"));
        check(403, &error("1006"), (Verdict::Unauthorized, "plan"));
        check(429, &error("1008"), (Verdict::RateLimited, "minute"));
        check(429, &error("1010"), (Verdict::RateLimited, "month"));
        check(200, &error("\"500\""), (Verdict::UpstreamError, "provider"));
        check(200, r#"{"status":{"error_code":1002},"data":[]}"#, (Verdict::Unauthorized, "key"));
        let invalid = r#"{"status":{"error_code":400,"error_message":"Invalid value for \"id\": \"0\""}}"#;
        check(400, invalid, (Verdict::NotFound, "symbol_unknown"));
        check(400, &error("400"), (Verdict::BadRequest, "http_4xx"));
        check(200, r#"{"status":{"error_code":0},"data":{}}"#, (Verdict::NotFound, "symbol_unknown"));
        check(200, r#"{"status":{"error_code":0}}"#, (Verdict::Malformed, "shape"));
        check(
            200,
            r#"{"status":{"error_code":0},"data":[{"id":1,"quote":{"USD":{}}}]}"#,
            (Verdict::Malformed, "shape"),
        );
        check(500, "oops", (Verdict::UpstreamError, "http_5xx"));
    }

    #[test]
    fn limits_hold_until_their_count_starts_anew() {
        let check = |code, secs| assert_eq!(until_reset(code, testing::NOW), Some(Duration::from_secs(secs)), "{code}");
        check(1_008, 55);
        check(1_009, 86_400 - 3 * 3_600 - 4 * 60 - 5);
        check(1_010, 30 * 86_400 - 3 * 3_600 - 4 * 60 - 5);
        assert_eq!(until_reset(1_001, testing::NOW), None);
    }

    #[test]
    fn requests_carry_the_key_in_a_header() {
        let check = |query: Query, expected: &str, weight| {
            let request = testing::request(&CoinMarketCap, &query).unwrap();
            assert_eq!((request.target(), request.weight), (expected, weight));
            assert_eq!(request.headers[0].0, "x-cmc_pro_api_key");
        };
        check(btc(Kind::Ticker).symbol("ETH-USD"), "/v2/cryptocurrency/quotes/latest?id=1,1027&convert=USD", 1);
        check(btc(Kind::Ticker).symbol("BTC-EUR"), "/v2/cryptocurrency/quotes/latest?id=1&convert=USD,EUR", 2);
        let range = btc(Kind::Bar)
            .limit(150)
            .range(UnixNanos::from_secs(1_767_052_800).unwrap(), UnixNanos::from_secs(1_767_225_600).unwrap());
        check(
            range,
            "/v2/cryptocurrency/ohlcv/historical?id=1&convert=USD&time_period=daily&interval=daily\
             &time_start=1767052799&time_end=1767225599&count=150",
            2,
        );
        assert!(testing::request(&CoinMarketCap, &btc(Kind::Bar).interval(Interval::MINUTE)).is_err());
        assert!(testing::request(&CoinMarketCap, &Query::new(Kind::Ticker)).is_err());
    }

    #[test]
    fn the_list_of_coins_is_learned() {
        let mut state = State::default();
        let answer = Answer::new(200, SPEC.sample("map.json").unwrap());
        CoinMarketCap.prerequisite_decode("instruments", &answer, &mut state).unwrap();
        assert_eq!(CoinMarketCap.native(Kind::Ticker, &"PEPE-USD".into(), &state).unwrap().as_str(), "24478");
    }
}
