//! Kraken spot. Public market data only. Facts: Kraken's REST documentation, "Market Data", state of 2026-07-21.
//! Answers come under Kraken's own pair names (`XXBTZUSD` for `XBTUSD`), in an envelope whose `error` array is the only
//! sign of a failure. Prices and sizes are decimal strings; trade times are number tokens in seconds with a fraction.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use compact_str::{CompactString, format_compact};
use serde::de::{self, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::model::{
    Bar, Book, Data, Dec, Interval, Judgement, Kind, Level, Native, Query, Side, SourceId, Symbol, Ticker, Trade,
    Verdict,
};
use crate::source::spec::{intervals, samples};
use crate::source::{
    Base, Batch, Batching, Context, Evidence, Ids, Instrument, KeyUse, KindSpec, Past, Prerequisite, QuotaScope, Reach,
    Source, Spec, State, Tier, WindowShape, WindowSpec, by_status,
};
use crate::time::UnixNanos;
use crate::wire::fields::Int;
use crate::wire::{Answer, Request, json, times};

/// The source.
pub struct Kraken;

impl Source for Kraken {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn native(&self, _kind: Kind, symbol: &Symbol, state: &State) -> Result<Native, Judgement> {
        if let Some(native) = state.instruments.native_of(symbol) {
            return Ok(native.clone());
        }
        let (base, quote) = symbol.pair().ok_or_else(|| {
            Judgement::unservable(
                "symbol_form",
                format!("kraken: expected a spot pair such as BTC-USD, found {symbol}"),
            )
        })?;
        let (base, quote) = (base.to_uppercase(), quote.to_uppercase());
        Ok(Native::new(format_compact!("{}{}", short(&base), short(&quote))))
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let query = cx.query;
        match query.kind {
            Kind::Ticker if query.whole_market => Ok(Request::get("/0/public/Ticker")),
            Kind::Ticker => {
                let pairs: Vec<&str> = cx.natives.iter().map(Native::as_str).collect();
                Ok(Request::get("/0/public/Ticker").param("pair", pairs.join(",")))
            }
            Kind::Bar => {
                let interval = SPEC.interval(query)?;
                let minutes = interval.duration().map_or(0, |length| length.as_secs() / 60);
                // What is returned begins after `since`.
                let since = query.range.map(|range| range.from.as_secs().saturating_sub(1));
                Ok(Request::get("/0/public/OHLC")
                    .param("pair", cx.only_native()?)
                    .param("interval", minutes)
                    .param_opt("since", since))
            }
            Kind::Trade => {
                let from = query.range.map(|range| format_compact!("{}", range.from.as_nanos().saturating_sub(1)));
                Ok(Request::get("/0/public/Trades")
                    .param("pair", cx.only_native()?)
                    .param_opt("since", query.cursor.clone().or(from))
                    .param_opt("count", query.limit.map(|rows| rows.clamp(1, TRADES_MAX))))
            }
            Kind::Book => Ok(Request::get("/0/public/Depth")
                .param("pair", cx.only_native()?)
                .param_opt("count", query.limit.map(|levels| levels.clamp(1, LEVELS_MAX)))),
            kind => Err(Judgement::unservable("kind_unknown", format!("kraken: has no {kind}"))),
        }
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        match cx.query.kind {
            Kind::Ticker => decode_tickers(cx, answer, out).map(|()| None),
            Kind::Bar => decode_bars(cx, answer, out).map(|()| None),
            Kind::Trade => decode_trades(cx, answer, out),
            Kind::Book => decode_books(cx, answer, out).map(|()| None),
            kind => Err(Judgement::unservable("kind_unknown", format!("kraken: has no {kind}"))),
        }
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        by_envelope(answer).unwrap_or_else(|| by_status(answer, None))
    }

    fn prerequisites(&self) -> &'static [Prerequisite] {
        PREREQUISITES
    }

    fn prerequisite_request(&self, _name: &str, _cx: &Context<'_>) -> Result<Request, Judgement> {
        Ok(Request::get("/0/public/AssetPairs"))
    }

    fn prerequisite_decode(&self, _name: &str, answer: &Answer, state: &mut State) -> Result<(), Judgement> {
        if !answer.is_success() {
            return Err(by_envelope(answer).unwrap_or_else(|| by_status(answer, None)));
        }
        let mut doc = json::plain(&answer.body);
        let pairs = read::<ListedPair<'_>>(&mut doc, answer)?;
        // Dark pool pairs (`XBTUSD.d`) have no name of the other form and trade elsewhere.
        let listed = pairs.pairs.into_iter().filter_map(|(key, pair)| {
            let (base, quote) = pair.wsname?.split_once('/')?;
            Some(Instrument {
                symbol: Symbol::from_pair(long(base), long(quote)),
                native: Native::new(pair.altname),
                aliases: [key, pair.wsname?].into_iter().map(Native::new).collect(),
            })
        });
        state.instruments = listed.collect::<Vec<_>>().into();
        Ok(())
    }
}

/// What every answer comes in.
#[derive(Deserialize)]
struct Envelope<'a, T> {
    #[serde(default, borrow)]
    error: Vec<&'a str>,
    result: Option<T>,
}

/// Reads the result out of its envelope; an error there is a judgement, a warning is none.
fn read<'a, T: Deserialize<'a>>(doc: &'a mut json::Doc<'_>, answer: &Answer) -> Result<Keyed<'a, T>, Judgement> {
    let read = doc.read::<Envelope<'a, Keyed<'a, T>>>();
    let envelope = read.map_err(|judgement| by_envelope(answer).unwrap_or(judgement))?;
    if let Some(judgement) = by_errors(answer, &envelope.error) {
        return Err(judgement);
    }
    envelope.result.ok_or_else(|| Judgement::malformed("result: expected an object, found nothing"))
}

/// A result: values under Kraken's pair names, and beside them `last`, where the next page starts.
struct Keyed<'a, T> {
    pairs: Vec<(&'a str, T)>,
    last: Option<Int<i64>>,
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Keyed<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<'a, T>(PhantomData<(&'a (), T)>);
        impl<'de: 'a, 'a, T: Deserialize<'de>> de::Visitor<'de> for Visitor<'a, T> {
            type Value = Keyed<'a, T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object keyed by pair")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut keyed = Keyed { pairs: Vec::new(), last: None };
                while let Some(key) = map.next_key::<&'de str>()? {
                    match key {
                        "last" => keyed.last = Some(map.next_value()?),
                        pair => keyed.pairs.push((pair, map.next_value()?)),
                    }
                }
                Ok(keyed)
            }
        }
        deserializer.deserialize_map(Visitor(PhantomData))
    }
}

impl<'a, T> Keyed<'a, T> {
    /// The pairs; an answer without any is none.
    fn some_pairs(self) -> Result<Vec<(&'a str, T)>, Judgement> {
        if self.pairs.is_empty() {
            return Err(Judgement::malformed("result: expected a pair, found none"));
        }
        Ok(self.pairs)
    }
}

#[derive(Deserialize)]
struct ListedPair<'a> {
    altname: &'a str,
    wsname: Option<&'a str>,
}

json::row! {
    /// A side of a ticker: price, whole lots, lots; older answers have no whole lots.
    struct Best { price: Dec, second: Dec; third: Option<Dec> }
}

json::row! {
    /// The last trade.
    struct Last { price: Dec; size: Option<Dec> }
}

json::row! {
    /// Today's value and that of the last 24 hours.
    struct Decimals { _today: Dec; day: Option<Dec> }
}

json::row! {
    /// The same for counts.
    struct Counts { _today: u64; day: Option<u64> }
}

#[derive(Deserialize)]
struct TickerRow {
    a: Option<Best>,
    b: Option<Best>,
    c: Last,
    v: Option<Decimals>,
    p: Option<Decimals>,
    t: Option<Counts>,
    l: Option<Decimals>,
    h: Option<Decimals>,
    /// Today's first price.
    o: Option<Dec>,
}

fn decode_tickers(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let mut doc = json::plain(&answer.body);
    let rows = read::<TickerRow>(&mut doc, answer)?.some_pairs()?;
    let count = rows.len();
    for (key, row) in rows {
        let symbol = symbol_of(cx, key, count);
        if cx.query.whole_market && !cx.natives.is_empty() && !symbol.as_ref().is_some_and(|symbol| asked(cx, symbol)) {
            continue;
        }
        let day = |window: Option<Decimals>| window.and_then(|window| window.day);
        let ticker = Ticker {
            last: row.c.price,
            last_size: row.c.size,
            open: row.o,
            high: day(row.h),
            low: day(row.l),
            vwap: day(row.p),
            volume: day(row.v),
            bid: row.b.as_ref().map(|best| best.price),
            bid_size: row.b.map(|best| best.third.unwrap_or(best.second)),
            ask: row.a.as_ref().map(|best| best.price),
            ask_size: row.a.map(|best| best.third.unwrap_or(best.second)),
            trades: row.t.and_then(|window| window.day),
            ..Ticker::default()
        };
        out.push(symbol, Some(Native::new(key)), None, Data::Ticker(Box::new(ticker)));
    }
    Ok(())
}

json::row! {
    struct BarRow {
        /// Seconds.
        time: i64,
        open: Dec,
        high: Dec,
        low: Dec,
        close: Dec;
        _vwap: Option<Dec>,
        volume: Option<Dec>,
        trades: Option<u64>,
    }
}

fn decode_bars(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let mut doc = json::plain(&answer.body);
    let keyed = read::<Vec<BarRow>>(&mut doc, answer)?;
    let last = keyed.last.map(|last| last.0);
    let pairs = keyed.some_pairs()?;
    let count = pairs.len();
    for (key, rows) in pairs {
        out.expect(rows.len());
        for (index, row) in rows.iter().enumerate() {
            let start = times::secs("[0]", row.time)?;
            if cx.query.range.is_some_and(|range| start < range.from || start >= range.to) {
                continue;
            }
            // `last` is the newest bar that is over; without it, all but the last row are.
            let closed = last.map_or(index + 1 < rows.len(), |last| row.time <= last);
            let span = times::bar_span(start, cx.query.interval, Some(closed), answer.ts_recv);
            let bar = Bar {
                interval: cx.query.interval,
                start,
                end: span.end,
                open: row.open,
                high: row.high,
                low: row.low,
                close: row.close,
                volume: row.volume,
                quote_volume: None,
                trades: row.trades,
                closed: span.closed,
                volume_unit: None,
            };
            let native = Some(Native::new(key));
            out.push(symbol_of(cx, key, count), native, Some(span.ts_event), Data::Bar(Box::new(bar)));
        }
    }
    Ok(())
}

/// The aggressor, as a letter.
#[derive(Clone, Copy, Deserialize)]
enum Taker {
    #[serde(rename = "b")]
    Buy,
    #[serde(rename = "s")]
    Sell,
}

json::row! {
    /// A trade; older answers have no id.
    struct TradeRow {
        price: Dec,
        size: Dec,
        /// Seconds with a fraction.
        time: Dec,
        taker: Taker;
        _order: Option<IgnoredAny>,
        _misc: Option<IgnoredAny>,
        id: Option<Int<u64>>,
    }
}

fn decode_trades(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
    let mut doc = json::exact(&answer.body);
    let keyed = read::<Vec<TradeRow>>(&mut doc, answer)?;
    let last = keyed.last.map(|last| last.0);
    let pairs = keyed.some_pairs()?;
    let count = pairs.len();
    let mut rows_seen = 0;
    for (key, rows) in pairs {
        rows_seen += rows.len();
        out.expect(rows.len());
        for row in &rows {
            let side = match row.taker {
                Taker::Buy => Side::Buy,
                Taker::Sell => Side::Sell,
            };
            let trade = Trade {
                id: row.id.map(|id| format_compact!("{}", id.0)),
                price: row.price,
                size: row.size,
                side: Some(side),
                volume_unit: None,
            };
            let ts_event = times::decimal_secs("[2]", row.time)?;
            if cx.query.range.is_some_and(|range| ts_event >= range.to) {
                continue;
            }
            out.push(symbol_of(cx, key, count), Some(Native::new(key)), Some(ts_event), Data::Trade(trade));
        }
    }
    let full = rows_seen as u32 >= cx.query.limit.unwrap_or(TRADES_MAX).clamp(1, TRADES_MAX);
    let goes_on = |last: &i64| match cx.query.range {
        Some(range) => *last < range.to.as_nanos(),
        None => cx.query.cursor.is_some(),
    };
    Ok(last.filter(|_| full).filter(goes_on).map(|last| format_compact!("{last}")))
}

#[derive(Deserialize)]
struct Depth {
    bids: Vec<Level>,
    asks: Vec<Level>,
}

fn decode_books(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let mut doc = json::plain(&answer.body);
    let pairs = read::<Depth>(&mut doc, answer)?.some_pairs()?;
    let count = pairs.len();
    for (key, depth) in pairs {
        let book = Book { bids: depth.bids, asks: depth.asks, sequence: None, volume_unit: None };
        out.push(symbol_of(cx, key, count), Some(Native::new(key)), None, Data::Book(Box::new(book)));
    }
    Ok(())
}

/// The canonical name of the pair that an answer calls `key`, one of `count` in it.
fn symbol_of(cx: &Context<'_>, key: &str, count: usize) -> Option<Symbol> {
    if let Some((symbol, _)) = cx.only()
        && count == 1
    {
        return Some(symbol.clone());
    }
    if let Some(symbol) = cx.symbol_of(key) {
        return Some(symbol);
    }
    if let Some(symbol) = cx.query.symbols.iter().find(|symbol| is_name_of(symbol, key)) {
        return Some(symbol.clone());
    }
    let (base, quote) = key.split_once('/')?;
    Some(Symbol::from_pair(long(base), long(quote)))
}

fn asked(cx: &Context<'_>, symbol: &Symbol) -> bool {
    cx.query.symbols.contains(symbol)
}

/// Whether `key` is one of Kraken's names of the pair: each side short (`XBT`) or by its code (`XXBT`).
fn is_name_of(symbol: &Symbol, key: &str) -> bool {
    let Some((base, quote)) = symbol.pair() else { return false };
    let sides = |asset: &str| [Some(short(asset).to_owned()), code(asset)].into_iter().flatten().collect::<Vec<_>>();
    let quotes = sides(quote);
    sides(base).iter().any(|base| key.strip_prefix(base.as_str()).is_some_and(|rest| quotes.iter().any(|q| q == rest)))
}

/// Kraken's short name of an asset.
fn short(asset: &str) -> &str {
    match asset {
        "BTC" => "XBT",
        "DOGE" => "XDG",
        other => other,
    }
}

/// The canonical name of what Kraken calls `asset` in its short names.
fn long(asset: &str) -> &str {
    match asset {
        "XBT" => "BTC",
        "XDG" => "DOGE",
        other => other,
    }
}

/// The code of an asset of the first years: `X` before coins, `Z` before currencies.
fn code(asset: &str) -> Option<String> {
    let short = short(asset);
    if CODED_COINS.contains(&short) {
        Some(format!("X{short}"))
    } else {
        CODED_CURRENCIES.contains(&short).then(|| format!("Z{short}"))
    }
}

#[derive(Deserialize)]
struct Errors<'a> {
    #[serde(borrow)]
    error: Vec<&'a str>,
}

/// What the envelope says, whatever else the body holds.
fn by_envelope(answer: &Answer) -> Option<Judgement> {
    let mut doc = json::plain(&answer.body);
    let errors = doc.read::<Errors<'_>>().ok()?.error;
    by_errors(answer, &errors)
}

/// What the `error` array says: `<E|W><category>:<text>[:more]`, of which `W` is a warning only.
fn by_errors(answer: &Answer, errors: &[&str]) -> Option<Judgement> {
    let error = *errors.iter().find(|error| !error.starts_with('W'))?;
    let text = error.strip_prefix('E').unwrap_or(error);
    let (category, detail) = text.split_once(':').unwrap_or((text, ""));
    let has = |needle: &str| detail.contains(needle);
    let mut retry_after = None;
    let (verdict, reason) = match category {
        _ if has("Rate limit exceeded") || has("Too many requests") => (Verdict::RateLimited, "rate_limit"),
        _ if has("Throttled") => {
            // The moment to wait for follows, in Unix seconds.
            let until = detail.rsplit(':').next().and_then(|secs| UnixNanos::from_secs(secs.trim().parse().ok()?));
            retry_after = until.map(|until| until.since(answer.ts_recv));
            (Verdict::RateLimited, "rate_limit")
        }
        _ if has("lockout") => (Verdict::Banned, "lockout"),
        "Query" if has("Unknown asset") || has("Invalid asset pair") => (Verdict::NotFound, "symbol_unknown"),
        "API" | "Auth" | "Session" => (Verdict::Unauthorized, "key"),
        _ if has("Permission denied") => (Verdict::Unauthorized, "permission"),
        "Service" => (Verdict::UpstreamError, "provider"),
        _ if has("Internal error") || has("Temporary") => (Verdict::UpstreamError, "provider"),
        _ => (Verdict::BadRequest, "argument"),
    };
    let judgement = by_status(answer, Some(&errors.join("; ")));
    Some(Judgement { verdict, reason, ..judgement }.retry_after(retry_after))
}

const TRADES_MAX: u32 = 1_000;
/// Bars that are over; older ones are never served.
const BARS_MAX: u32 = 720;
const LEVELS_MAX: u32 = 500;

const CODED_COINS: &[&str] = &["ETC", "ETH", "LTC", "MLN", "REP", "XBT", "XDG", "XLM", "XMR", "XRP", "ZEC"];
const CODED_CURRENCIES: &[&str] = &["AUD", "CAD", "EUR", "GBP", "JPY", "USD"];

static PREREQUISITES: &[Prerequisite] = &[Prerequisite {
    name: "instruments",
    ttl: Duration::from_secs(86_400),
    needed: |query: &Query, _| query.whole_market && query.symbols.is_empty(),
    invalidated_by: &[],
}];

static SPEC: Spec = Spec {
    id: SourceId("kraken"),
    title: "Kraken",
    bases: &[Base { name: "api", url: "https://api.kraken.com" }],
    kinds: &[
        KindSpec {
            kind: Kind::Ticker,
            batching: Batching::Many(20),
            whole_market: true,
            every: Duration::from_secs(5),
            ..KIND
        },
        KindSpec { kind: Kind::Trade, past: Past::ranged(TRADES_MAX).ids(Ids::ByTime), ..KIND },
        KindSpec {
            kind: Kind::Bar,
            intervals: INTERVALS,
            past: Past::ranged(BARS_MAX).reach(Reach::Rows(BARS_MAX)),
            ..KIND
        },
        KindSpec { kind: Kind::Book, ..KIND },
    ],
    credentials: &[],
    tiers: &[Tier {
        name: "free",
        windows: &[WindowSpec { bucket: "", limit: 1, per: Duration::from_secs(1), shape: WindowShape::Rolling }],
    }],
    scope: QuotaScope::Ip,
    samples: samples! { "kraken", "asset_pairs.json", "depth.json", "ohlc.json", "ticker.json", "trades.json" },
    routes: include_str!("samples/kraken/routes.toml"),
    evidence: Evidence::Recorded,
    quota_docs: "about 1 public request per second and IP (Kraken's REST rate limits; 2026-07-21)",
};

const KIND: KindSpec = KindSpec {
    kind: Kind::Ticker,
    key: KeyUse::None,
    batching: Batching::One,
    whole_market: false,
    intervals: &[],
    past: Past::NONE,
    every: Duration::from_secs(10),
    examples: &["BTC-USD", "ETH-USD"],
};

const INTERVALS: &[Interval] =
    intervals![1 Minute, 5 Minute, 15 Minute, 30 Minute, 1 Hour, 4 Hour, 1 Day, 1 Week, 15 Day];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::testing;

    fn btc(kind: Kind) -> Query {
        Query::new(kind).symbol("BTC-USD")
    }

    #[test]
    fn a_ticker_is_of_the_last_day() {
        testing::check(
            &Kraken,
            &btc(Kind::Ticker),
            "ticker.json",
            json!([{
                "source": "kraken", "kind": "ticker", "symbol": "BTC-USD", "native": "XXBTZUSD",
                "data": {"last": "87650.10000", "last_size": "0.01250000", "open": "87490.00000", "high": "89000.00000",
                         "low": "87005.00000", "vwap": "87801.50612", "volume": "2450.11874300", "bid": "87650.00000",
                         "bid_size": "2.000", "ask": "87650.10000", "ask_size": "1.000", "trades": 60211}
            }]),
        );
        testing::check_bad_bodies(&Kraken, &btc(Kind::Ticker), "ticker.json");
        let short =
            r#"{"error":[],"result":{"XXBTZEUR":{"a":["560.9","0.5"],"b":["560.8","1.5"],"c":["560.9","0.1"]}}}"#;
        let found = testing::decode(&Kraken, &Query::new(Kind::Ticker), 200, short).unwrap();
        let data = json!({"last": "560.9", "last_size": "0.1", "bid": "560.8", "bid_size": "1.5", "ask": "560.9", "ask_size": "0.5"});
        assert_eq!(found, vec![json!({"source": "kraken", "kind": "ticker", "native": "XXBTZEUR", "data": data})]);
    }

    #[test]
    fn pairs_are_known_by_all_their_names() {
        let query = btc(Kind::Ticker).symbol("ETH-USD").symbol("DOGE-USD").symbol("USDT-USD");
        let request = testing::request(&Kraken, &query).unwrap();
        assert_eq!(request.target(), "/0/public/Ticker?pair=XBTUSD,ETHUSD,XDGUSD,USDTUSD");
        let names = |query: &Query, body: &str| -> Vec<(String, Option<String>)> {
            let records = testing::decode(&Kraken, query, 200, body).unwrap();
            let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
            records.iter().map(|record| (text(&record["native"]).unwrap(), text(&record["symbol"]))).collect()
        };
        let body = r#"{"error":[],"result":{"XXBTZUSD":{"c":["1","1"]},"XETHZUSD":{"c":["1"]},"XDGUSD":{"c":["1","1"]},
            "USDTZUSD":{"c":["1","1"]},"ADAUSD":{"c":["1","1"]},"SOL/USD":{"c":["1","1"]}}}"#;
        let expected = [
            ("XXBTZUSD", Some("BTC-USD")),
            ("XETHZUSD", Some("ETH-USD")),
            ("XDGUSD", Some("DOGE-USD")),
            ("USDTZUSD", Some("USDT-USD")),
            ("ADAUSD", None),
            ("SOL/USD", Some("SOL-USD")),
        ];
        let owned = |(native, symbol): (&str, Option<&str>)| (native.to_owned(), symbol.map(str::to_owned));
        assert_eq!(names(&query, body), expected.map(owned));
        let whole = Query { whole_market: true, ..btc(Kind::Ticker) };
        assert_eq!(names(&whole, body), [owned(("XXBTZUSD", Some("BTC-USD")))]);
        assert_eq!(testing::request(&Kraken, &whole).unwrap().target(), "/0/public/Ticker");
        assert!(testing::request(&Kraken, &Query::new(Kind::Book).symbol("BTC-USD.PERP")).is_err());
    }

    #[test]
    fn the_instrument_list_resolves_aliases() {
        let mut state = State::default();
        let answer = Answer::new(200, SPEC.sample("asset_pairs.json").unwrap());
        Kraken.prerequisite_decode("instruments", &answer, &mut state).unwrap();
        for name in ["XXBTZUSD", "XBTUSD", "XBT/USD"] {
            assert_eq!(state.instruments.symbol_of(name), Some(&Symbol::new("BTC-USD")), "{name}");
        }
        assert_eq!(state.instruments.native_of(&Symbol::new("BTC-USD")), Some(&Native::new("XBTUSD")));
        let answer = Answer::new(200, r#"{"error":["EService:Unavailable"]}"#);
        assert!(Kraken.prerequisite_decode("instruments", &answer, &mut state).is_err());
    }

    #[test]
    fn the_last_row_is_the_running_bar() {
        let minute = 60_000_000_000_i64;
        let start = 1_767_225_480_000_000_000_i64;
        let bar = |event: i64, data| json!({"source": "kraken", "kind": "bar", "symbol": "BTC-USD", "native": "XXBTZUSD", "ts_event": event, "data": data});
        testing::check(
            &Kraken,
            &btc(Kind::Bar).interval(Interval::MINUTE),
            "ohlc.json",
            json!([
                bar(
                    start + minute,
                    json!({"interval": "1m", "start": start, "end": start + minute, "open": "87600.0", "high": "87660.0",
                    "low": "87590.1", "close": "87640.0", "volume": "2.16327200", "trades": 61, "closed": true})
                ),
                bar(
                    start + 2 * minute,
                    json!({"interval": "1m", "start": start + minute, "end": start + 2 * minute, "open": "87640.0",
                    "high": "87655.5", "low": "87630.0", "close": "87650.1", "volume": "1.53866000", "trades": 72, "closed": true})
                ),
                bar(
                    start + 2 * minute,
                    json!({"interval": "1m", "start": start + 2 * minute, "end": start + 3 * minute, "open": "87650.1",
                    "high": "87650.1", "low": "87650.0", "close": "87650.0", "volume": "0.01250000", "trades": 2, "closed": false})
                ),
            ]),
        );
        let bare = r#"{"error":[],"result":{"XBTUSDT":[[60,"1","2","0.5","1.5"],[120,"1.5","2","1","2.0","1.7","3",4,"more"]]}}"#;
        let found = testing::decode(&Kraken, &Query::new(Kind::Bar), 200, bare).unwrap();
        assert_eq!(
            found[0]["data"],
            json!({"start": minute, "open": "1", "high": "2", "low": "0.5", "close": "1.5", "closed": true})
        );
        assert_eq!(found[1]["data"]["closed"], json!(false));
        assert_eq!(found[0]["ts_event"], json!(minute));
        testing::check_bad_bodies(&Kraken, &btc(Kind::Bar), "ohlc.json");
    }

    #[test]
    fn trade_times_are_exact() {
        let trade = |event: i64, data| json!({"source": "kraken", "kind": "trade", "symbol": "BTC-USD", "native": "XXBTZUSD", "ts_event": event, "data": data});
        testing::check(
            &Kraken,
            &btc(Kind::Trade),
            "trades.json",
            json!([
                trade(
                    1_767_225_598_120_345_600,
                    json!({"id": "94010218", "price": "87650.00000", "size": "0.02924000", "side": "sell"})
                ),
                trade(
                    1_767_225_599_001_700_000,
                    json!({"id": "94010219", "price": "87650.10000", "size": "0.01250000", "side": "buy"})
                ),
            ]),
        );
        testing::check_bad_bodies(&Kraken, &btc(Kind::Trade), "trades.json");
        let six = r#"{"error":[],"result":{"XXBTZUSD":[["701.0","0.5",1385579841.7774,"s","l",""]],"last":"1385579841777400000"}}"#;
        let found = testing::decode(&Kraken, &btc(Kind::Trade), 200, six).unwrap();
        assert_eq!(found[0]["ts_event"], json!(1_385_579_841_777_400_000_i64));
        assert_eq!(found[0]["data"], json!({"price": "701.0", "size": "0.5", "side": "sell"}));
    }

    #[test]
    fn books_leave_out_the_times_of_their_levels() {
        testing::check(
            &Kraken,
            &btc(Kind::Book),
            "depth.json",
            json!([{"source": "kraken", "kind": "book", "symbol": "BTC-USD", "native": "XXBTZUSD", "data": {
                "bids": [["87650.00000", "2.000"], ["87649.20000", "0.075"]],
                "asks": [["87650.10000", "1.000"], ["87651.00000", "0.250"]]}}]),
        );
        testing::check_bad_bodies(&Kraken, &btc(Kind::Book), "depth.json");
    }

    #[test]
    fn requests_go_on_where_a_page_ended() {
        let at = |secs| UnixNanos::from_secs(secs).unwrap();
        let target = |query: &Query| testing::request(&Kraken, query).unwrap().target().to_owned();
        let span = btc(Kind::Trade).range(at(1_767_225_598), at(1_767_225_600)).limit(2);
        assert_eq!(target(&span), "/0/public/Trades?pair=XBTUSD&since=1767225597999999999&count=2");
        assert_eq!(target(&span.clone().cursor("17")), "/0/public/Trades?pair=XBTUSD&since=17&count=2");
        let bars = btc(Kind::Bar).interval(Interval::HOUR).range(at(3_600), at(7_200));
        assert_eq!(target(&bars), "/0/public/OHLC?pair=XBTUSD&interval=60&since=3599");
        assert_eq!(target(&btc(Kind::Book).limit(9_999)), "/0/public/Depth?pair=XBTUSD&count=500");
        let odd = btc(Kind::Bar).interval(Interval::MONTH);
        assert_eq!(testing::request(&Kraken, &odd).unwrap_err().reason, "interval_unknown");
        let (state, credentials) = (State::default(), testing::credentials(&Kraken));
        let next = |query: &Query| {
            let cx = Context::new(&Kraken, query, &state, &credentials, "", testing::NOW).unwrap();
            let answer = Answer::new(200, SPEC.sample("trades.json").unwrap());
            Kraken.decode(&cx, &answer, &mut Batch::new(SPEC.id, UnixNanos::EPOCH)).unwrap()
        };
        assert_eq!(next(&span).as_deref(), Some("1767225599001700123"));
        assert_eq!(next(&btc(Kind::Trade)), None);
        assert_eq!(next(&span.clone().limit(3)), None);
    }

    #[test]
    fn the_error_array_decides() {
        let check =
            |status, body, expected| testing::check_verdict(&Kraken, &btc(Kind::Ticker), status, body, expected);
        check(200, r#"{"error":["EAPI:Rate limit exceeded"]}"#, (Verdict::RateLimited, "rate_limit"));
        check(200, r#"{"error":["EGeneral:Too many requests"]}"#, (Verdict::RateLimited, "rate_limit"));
        check(429, r#"{"error":["EGeneral:Too many requests"]}"#, (Verdict::RateLimited, "rate_limit"));
        check(200, r#"{"error":["EQuery:Unknown asset pair"]}"#, (Verdict::NotFound, "symbol_unknown"));
        check(200, r#"{"error":["EGeneral:Invalid arguments"]}"#, (Verdict::BadRequest, "argument"));
        check(200, r#"{"error":["EGeneral:Temporary lockout"]}"#, (Verdict::Banned, "lockout"));
        check(200, r#"{"error":["EAPI:Invalid key"]}"#, (Verdict::Unauthorized, "key"));
        check(200, r#"{"error":["EService:Unavailable"]}"#, (Verdict::UpstreamError, "provider"));
        check(520, "<html>", (Verdict::UpstreamError, "http_5xx"));
        check(200, r#"{"error":[],"result":{}}"#, (Verdict::Malformed, "shape"));
        check(200, r#"{"error":[]}"#, (Verdict::Malformed, "shape"));
        let body = r#"{"error":["EService:Throttled: 1767323075"]}"#;
        let judgement = testing::decode(&Kraken, &btc(Kind::Ticker), 200, body).unwrap_err();
        assert_eq!((judgement.verdict, judgement.retry_after), (Verdict::RateLimited, Some(Duration::from_secs(30))));
        let warned = r#"{"error":["WGeneral:Danger"],"result":{"XXBTZUSD":{"c":["1.0","2"]}}}"#;
        assert_eq!(testing::decode(&Kraken, &btc(Kind::Ticker), 200, warned).unwrap().len(), 1);
    }
}
