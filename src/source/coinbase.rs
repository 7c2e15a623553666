//! Coinbase Exchange, public market data. Answers of the Advanced Trade API to the same questions are read too.
//! Facts: Coinbase's Exchange REST reference and Advanced Trade reference, state of 2026-07-21. Prices are decimal
//! strings except in Exchange candles, which are rows of number tokens. Names have a dash and are canonical already.
//! The side of a trade is that of the maker on both APIs: a maker's `sell` is an aggressor's `buy`.

use std::time::Duration;

use compact_str::{CompactString, format_compact};
use serde::Deserialize;

use crate::model::{
    Bar, Book, Data, Dec, Interval, Judgement, Kind, Level, Native, Side, SourceId, Symbol, Ticker, Trade, Verdict,
};
use crate::source::spec::{intervals, samples};
use crate::source::{
    Base, Batch, Batching, Context, Evidence, Ids, Instrument, KeyUse, KindSpec, Past, Prerequisite, QuotaScope,
    Source, Spec, State, Tier, WindowShape, WindowSpec, by_status,
};
use crate::time::UnixNanos;
use crate::wire::fields::{Blank, Int};
use crate::wire::request::encode;
use crate::wire::{Answer, Request, json, times};

/// The source.
pub struct Coinbase;

impl Source for Coinbase {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn native(&self, _kind: Kind, symbol: &Symbol, _state: &State) -> Result<Native, Judgement> {
        match symbol.pair() {
            Some((base, quote)) => Ok(Native::new(Symbol::from_pair(base, quote).as_str())),
            None => Err(Judgement::unservable(
                "symbol_form",
                format!("coinbase: expected a spot pair such as BTC-USD, found {symbol}"),
            )),
        }
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let query = cx.query;
        let product = encode(cx.only_native()?);
        match query.kind {
            Kind::Ticker => Ok(Request::get(format!("/products/{product}/ticker"))),
            Kind::Trade => Ok(Request::get(format!("/products/{product}/trades"))
                .param_opt("limit", query.limit.map(|rows| rows.clamp(1, TRADES_MAX)))
                .param_opt("after", query.cursor.as_ref())),
            Kind::Bar => {
                let interval = SPEC.interval(query)?;
                let span = page(cx, interval);
                Ok(Request::get(format!("/products/{product}/candles"))
                    .param("granularity", interval.duration().map_or(0, |length| length.as_secs()))
                    .param_opt("start", span.map(|(from, _)| times::iso(from)))
                    .param_opt("end", span.map(|(_, to)| times::iso(to))))
            }
            Kind::Book => {
                let level = if query.limit == Some(1) { 1 } else { 2 };
                Ok(Request::get(format!("/products/{product}/book")).param("level", level))
            }
            kind => Err(Judgement::unservable("kind_unknown", format!("coinbase: has no {kind}"))),
        }
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        let decoded = match cx.query.kind {
            Kind::Ticker => decode_tickers(cx, &answer.body, out).map(|()| None),
            Kind::Trade => decode_trades(cx, answer, out),
            Kind::Bar => decode_bars(cx, answer, out),
            Kind::Book => decode_book(cx, &answer.body, out).map(|()| None),
            kind => Err(Judgement::unservable("kind_unknown", format!("coinbase: has no {kind}"))),
        };
        decoded.map_err(|judgement| by_message(answer).unwrap_or(judgement))
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        by_message(answer).unwrap_or_else(|| by_status(answer, None))
    }

    fn prerequisites(&self) -> &'static [Prerequisite] {
        PREREQUISITES
    }

    fn prerequisite_request(&self, _name: &str, _cx: &Context<'_>) -> Result<Request, Judgement> {
        Ok(Request::get("/products"))
    }

    fn prerequisite_decode(&self, _name: &str, answer: &Answer, state: &mut State) -> Result<(), Judgement> {
        if !answer.is_success() {
            return Err(by_message(answer).unwrap_or_else(|| by_status(answer, None)));
        }
        let mut doc = json::plain(&answer.body);
        let products: Vec<ListedProduct<'_>> = doc.read()?;
        let listed = products.iter().map(|row| Instrument {
            symbol: Symbol::from_pair(row.base_currency, row.quote_currency),
            native: Native::new(row.id),
            aliases: Vec::new(),
        });
        state.instruments = listed.collect::<Vec<_>>().into();
        Ok(())
    }
}

#[derive(Deserialize)]
struct ListedProduct<'a> {
    id: &'a str,
    base_currency: &'a str,
    quote_currency: &'a str,
}

/// `ticker` and `stats` of the Exchange, a product of Advanced Trade, or its `ticker`, which lists trades.
#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Summary<'a> {
    product_id: Option<&'a str>,
    #[serde(default)]
    price: Blank<Dec>,
    #[serde(default)]
    last: Blank<Dec>,
    #[serde(default)]
    size: Blank<Dec>,
    #[serde(default)]
    open: Blank<Dec>,
    #[serde(default)]
    high: Blank<Dec>,
    #[serde(default)]
    low: Blank<Dec>,
    /// In percent.
    #[serde(default, rename = "price_percentage_change_24h")]
    change_pct: Blank<Dec>,
    #[serde(default, alias = "volume_24h")]
    volume: Blank<Dec>,
    #[serde(default, rename = "approximate_quote_24h_volume")]
    quote_volume: Blank<Dec>,
    #[serde(default, alias = "best_bid", alias = "best_bid_price")]
    bid: Blank<Dec>,
    #[serde(default, alias = "best_ask", alias = "best_ask_price")]
    ask: Blank<Dec>,
    time: Option<&'a str>,
    /// Newest first.
    #[serde(default)]
    trades: Vec<TradeRow<'a>>,
    products: Option<Vec<Summary<'a>>>,
}

fn decode_tickers(cx: &Context<'_>, body: &[u8], out: &mut Batch) -> Result<(), Judgement> {
    let mut doc = json::plain(body);
    let summary: Summary<'_> = doc.read()?;
    let rows = match &summary.products {
        Some(products) => products.as_slice(),
        None => std::slice::from_ref(&summary),
    };
    out.expect(rows.len());
    for row in rows {
        let trade = row.trades.first();
        let last = row.price.0.or(row.last.0).or(trade.map(|trade| trade.price));
        // A product that has not traded yet has an empty price; in a list it is left out.
        let Some(last) = last else {
            if summary.products.is_some() {
                continue;
            }
            return Err(Judgement::malformed("price: expected a decimal, found nothing"));
        };
        let time = row.time.or(trade.map(|trade| trade.time));
        let ts_event = time.map(|text| times::rfc3339("time", text)).transpose()?;
        let (symbol, native) = names(cx, row.product_id.or(trade.and_then(|trade| trade.product_id)));
        let ticker = Ticker {
            last,
            last_size: row.size.0.or(trade.map(|trade| trade.size)),
            open: row.open.0,
            high: row.high.0,
            low: row.low.0,
            change_pct: row.change_pct.0,
            volume: row.volume.0,
            quote_volume: row.quote_volume.0,
            bid: row.bid.0,
            ask: row.ask.0,
            ..Ticker::default()
        };
        out.push(symbol, native, ts_event, Data::Ticker(Box::new(ticker)));
    }
    Ok(())
}

/// A trade; its id is an integer on the Exchange and a string on Advanced Trade.
#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct TradeRow<'a> {
    trade_id: Option<Int<u64>>,
    product_id: Option<&'a str>,
    price: Dec,
    size: Dec,
    time: &'a str,
    side: Option<Maker>,
}

/// The maker's side.
#[derive(Clone, Copy, Deserialize)]
enum Maker {
    #[serde(alias = "buy", alias = "BUY")]
    Buy,
    #[serde(alias = "sell", alias = "SELL")]
    Sell,
    #[serde(alias = "UNKNOWN_ORDER_SIDE")]
    Unknown,
}

impl Maker {
    fn aggressor(self) -> Option<Side> {
        match self {
            Maker::Buy => Some(Side::Sell),
            Maker::Sell => Some(Side::Buy),
            Maker::Unknown => None,
        }
    }
}

#[derive(Deserialize)]
struct MarketTrades<'a> {
    #[serde(borrow)]
    trades: Vec<TradeRow<'a>>,
}

fn decode_trades(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
    let mut doc = json::plain(&answer.body);
    let rows: Vec<TradeRow<'_>> =
        if json::is_array(&answer.body) { doc.read()? } else { doc.read::<MarketTrades<'_>>()?.trades };
    let mut oldest = None;
    out.expect(rows.len());
    for row in &rows {
        let ts_event = times::rfc3339("time", row.time)?;
        oldest = Some(ts_event);
        if cx.query.range.is_some_and(|range| ts_event < range.from || ts_event >= range.to) {
            continue;
        }
        let trade = Trade {
            id: row.trade_id.map(|id| format_compact!("{}", id.0)),
            price: row.price,
            size: row.size,
            side: row.side.and_then(Maker::aggressor),
            volume_unit: None,
        };
        let (symbol, native) = names(cx, row.product_id);
        out.push(symbol, native, Some(ts_event), Data::Trade(trade));
    }
    // Pages go back in time, each from the id before which it starts.
    let goes_on = match cx.query.range {
        Some(range) => oldest.is_some_and(|oldest| oldest >= range.from),
        None => cx.query.cursor.is_some(),
    };
    let full = rows.len() as u32 >= cx.query.limit.unwrap_or(TRADES_MAX).clamp(1, TRADES_MAX);
    let told = answer.header("cb-after").map(CompactString::new);
    let next = told.or_else(|| rows.last()?.trade_id.map(|id| format_compact!("{}", id.0)));
    Ok(next.filter(|_| goes_on && full))
}

json::row! {
    struct Candle {
        /// Seconds.
        time: Int<i64>,
        low: Dec,
        high: Dec,
        open: Dec,
        close: Dec;
        volume: Option<Dec>,
    }
}

/// A candle of Advanced Trade.
#[derive(Deserialize)]
struct NamedCandle {
    /// Seconds.
    start: Int<i64>,
    low: Dec,
    high: Dec,
    open: Dec,
    close: Dec,
    volume: Option<Dec>,
}

#[derive(Deserialize)]
struct Candles {
    candles: Vec<NamedCandle>,
}

fn decode_bars(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
    let rows = if json::is_array(&answer.body) {
        json::exact(&answer.body).read::<Vec<Candle>>()?
    } else {
        let named = json::exact(&answer.body).read::<Candles>()?.candles;
        let row = |row: NamedCandle| Candle {
            time: row.start,
            low: row.low,
            high: row.high,
            open: row.open,
            close: row.close,
            volume: row.volume,
        };
        named.into_iter().map(row).collect()
    };
    let interval = cx.query.interval;
    out.expect(rows.len());
    for row in &rows {
        let start = times::secs("[0]", row.time.0)?;
        let span = times::bar_span(start, interval, None, answer.ts_recv);
        let bar = Bar {
            interval,
            start,
            end: span.end,
            open: row.open,
            high: row.high,
            low: row.low,
            close: row.close,
            volume: row.volume,
            quote_volume: None,
            trades: None,
            closed: span.closed,
            volume_unit: None,
        };
        let (symbol, native) = names(cx, None);
        out.push(symbol, native, Some(span.ts_event), Data::Bar(Box::new(bar)));
    }
    let (Some(range), Ok(interval)) = (cx.query.range, SPEC.interval(cx.query)) else { return Ok(None) };
    let next = page(cx, interval).map(|(_, to)| to.saturating_add(SECOND));
    Ok(next.filter(|next| *next < range.to).map(|next| format_compact!("{}", next.as_secs())))
}

/// First and last moment of the page asked for: the provider refuses more than 300 bars and takes its end inclusively.
fn page(cx: &Context<'_>, interval: Interval) -> Option<(UnixNanos, UnixNanos)> {
    let range = cx.query.range?;
    let cursor = cx.query.cursor.as_ref().and_then(|cursor| UnixNanos::from_secs(cursor.parse().ok()?));
    let from = cursor.unwrap_or(range.from);
    let length = interval.duration()?.saturating_mul(CANDLES_MAX - 1);
    Some((from, from.saturating_add(length).min(range.to.saturating_sub(SECOND)).max(from)))
}

/// A book of the Exchange, or one of Advanced Trade, which wraps it in a `pricebook`.
#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct Depth<'a> {
    product_id: Option<&'a str>,
    bids: Option<Vec<Level>>,
    asks: Option<Vec<Level>>,
    sequence: Option<u64>,
    time: Option<&'a str>,
    pricebook: Option<Box<Depth<'a>>>,
}

fn decode_book(cx: &Context<'_>, body: &[u8], out: &mut Batch) -> Result<(), Judgement> {
    let mut doc = json::plain(body);
    let mut depth = doc.read::<Depth<'_>>()?;
    if let Some(inner) = depth.pricebook.take() {
        depth = *inner;
    }
    let ts_event = depth.time.map(|text| times::rfc3339("time", text)).transpose()?;
    let side = |name: &str, levels: Option<Vec<Level>>| {
        let mut levels =
            levels.ok_or_else(|| Judgement::malformed(format!("{name}: expected levels, found nothing")))?;
        levels.truncate(cx.query.limit.map_or(usize::MAX, |limit| limit as usize));
        Ok(levels)
    };
    let (bids, asks) = (side("bids", depth.bids)?, side("asks", depth.asks)?);
    let book = Book { bids, asks, sequence: depth.sequence, volume_unit: None };
    let (symbol, native) = names(cx, depth.product_id);
    out.push(symbol, native, ts_event, Data::Book(Box::new(book)));
    Ok(())
}

/// Names of a record. A name of two parts is canonical already.
fn names(cx: &Context<'_>, told: Option<&str>) -> (Option<Symbol>, Option<Native>) {
    let (symbol, native) = cx.names(told);
    let by_rule = || told.map(Symbol::new).filter(|symbol| symbol.pair().is_some());
    (symbol.or_else(by_rule), native)
}

/// The error of the Exchange (`message`), or those of Advanced Trade (`error` with details, or a list of `errors`).
#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
struct ErrorBody<'a> {
    message: Option<&'a str>,
    error: Option<&'a str>,
    error_details: Option<&'a str>,
    #[serde(default)]
    errors: Vec<ErrorRow<'a>>,
}

#[derive(Deserialize)]
struct ErrorRow<'a> {
    id: Option<&'a str>,
    message: Option<&'a str>,
}

/// What an error body says; `None` when there is none.
fn by_message(answer: &Answer) -> Option<Judgement> {
    let mut doc = json::plain(&answer.body);
    let body = doc.read::<ErrorBody<'_>>().ok()?;
    let listed = body.errors.first();
    let texts = [
        body.message,
        body.error,
        body.error_details,
        listed.and_then(|row| row.id),
        listed.and_then(|row| row.message),
    ];
    let message = body.message.or(listed.and_then(|row| row.message)).or(body.error_details).or(body.error)?;
    let all = texts.iter().flatten().map(|text| text.to_lowercase()).collect::<Vec<_>>().join("\n");
    let has = |needle: &str| all.contains(needle);
    let judgement = by_status(answer, Some(message));
    let (verdict, reason) = if has("rate limit") || has("rate_limit") || has("too many requests") {
        (Verdict::RateLimited, "rate_limit")
    } else if has("notfound") || has("not found") || has("not_found") || has("product_id") || has("invalid product") {
        (Verdict::NotFound, "symbol_unknown")
    } else if has("granularity too small") || has("aggregations requested exceeds") || has("too old") {
        (Verdict::BadRequest, "range")
    } else if has("granularity") {
        (Verdict::BadRequest, "interval_unknown")
    } else if answer.is_success() && (has("unauthorized") || has("api key") || has("forbidden")) {
        (Verdict::Unauthorized, "key")
    } else if answer.is_success() && has("internal") {
        (Verdict::UpstreamError, "provider")
    } else if answer.is_success() {
        (Verdict::BadRequest, "argument")
    } else {
        (judgement.verdict, judgement.reason)
    };
    Some(Judgement { verdict, reason, ..judgement })
}

const TRADES_MAX: u32 = 1_000;
const CANDLES_MAX: u32 = 300;
const SECOND: Duration = Duration::from_secs(1);

static PREREQUISITES: &[Prerequisite] = &[Prerequisite {
    name: "instruments",
    ttl: Duration::from_secs(86_400),
    // Names are translated by rule; the list only serves those who want to see it.
    needed: |_, _| false,
    invalidated_by: &[],
}];

static SPEC: Spec = Spec {
    id: SourceId("coinbase"),
    title: "Coinbase Exchange",
    bases: &[Base { name: "api", url: "https://api.exchange.coinbase.com" }],
    kinds: &[
        KindSpec { kind: Kind::Ticker, every: Duration::from_secs(2), ..KIND },
        KindSpec { kind: Kind::Trade, past: Past::ranged(TRADES_MAX).ids(Ids::Backward), ..KIND },
        KindSpec {
            kind: Kind::Bar,
            intervals: INTERVALS,
            past: Past::ranged(CANDLES_MAX),
            every: Duration::from_secs(10),
            ..KIND
        },
        KindSpec { kind: Kind::Book, every: Duration::from_secs(10), ..KIND },
    ],
    credentials: &[],
    tiers: &[Tier {
        name: "free",
        windows: &[WindowSpec { bucket: "", limit: 10, per: SECOND, shape: WindowShape::Rolling }],
    }],
    scope: QuotaScope::Ip,
    samples: samples! { "coinbase", "book.json", "candles.json", "products.json", "ticker.json", "trades.json" },
    routes: include_str!("samples/coinbase/routes.toml"),
    evidence: Evidence::Mixed,
    quota_docs: "10 public requests per second and IP, bursts of 15 (Exchange REST rate limits; 2026-07-21)",
};

const KIND: KindSpec = KindSpec {
    kind: Kind::Ticker,
    key: KeyUse::None,
    batching: Batching::One,
    whole_market: false,
    intervals: &[],
    past: Past::NONE,
    every: Duration::from_secs(5),
    examples: &["BTC-USD", "ETH-USD"],
};

const INTERVALS: &[Interval] = intervals![1 Minute, 5 Minute, 15 Minute, 1 Hour, 6 Hour, 1 Day];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Query;
    use crate::source::testing;

    fn btc(kind: Kind) -> Query {
        Query::new(kind).symbol("BTC-USD")
    }

    #[test]
    fn tickers_of_all_forms() {
        testing::check(
            &Coinbase,
            &btc(Kind::Ticker),
            "ticker.json",
            json!([{
                "source": "coinbase", "kind": "ticker", "symbol": "BTC-USD", "native": "BTC-USD", "ts_event": 1_767_225_600_123_456_000_i64,
                "data": {"last": "87648.22", "last_size": "0.00113", "volume": "9876.54321098", "bid": "87648.21", "ask": "87648.22"}
            }]),
        );
        testing::check_bad_bodies(&Coinbase, &btc(Kind::Ticker), "ticker.json");
        let check = |body: &str, expected: serde_json::Value| {
            let found = testing::decode(&Coinbase, &Query::new(Kind::Ticker), 200, body).unwrap();
            assert_eq!(serde_json::Value::Array(found), expected, "{body}");
        };
        check(
            r#"{"open":"1.0","high":"3","low":"0.5","last":"2.00","volume":"7","volume_30day":"99"}"#,
            json!([{"source": "coinbase", "kind": "ticker", "data": {"last": "2.00", "open": "1.0", "high": "3", "low": "0.5", "volume": "7"}}]),
        );
        check(
            r#"{"products":[{"product_id":"BTC-USD","price":"5.10","price_percentage_change_24h":"-0.2","volume_24h":"3",
                "approximate_quote_24h_volume":"15","best_bid_price":"","mid_market_price":""},{"product_id":"BTC-PERP-INTX","price":"6"},
                {"product_id":"NEW-USD","price":""}]}"#,
            json!([
                {"source": "coinbase", "kind": "ticker", "symbol": "BTC-USD", "native": "BTC-USD",
                 "data": {"last": "5.10", "change_pct": "-0.2", "volume": "3", "quote_volume": "15"}},
                {"source": "coinbase", "kind": "ticker", "native": "BTC-PERP-INTX", "data": {"last": "6"}}
            ]),
        );
        check(
            r#"{"trades":[{"trade_id":"9","product_id":"ETH-EUR","price":"4.2","size":"0.1","time":"2026-01-01T00:00:00Z","side":"SELL"}],
                "best_bid":"4.1","best_ask":"4.2"}"#,
            json!([{"source": "coinbase", "kind": "ticker", "symbol": "ETH-EUR", "native": "ETH-EUR", "ts_event": 1_767_225_600_000_000_000_i64,
                    "data": {"last": "4.2", "last_size": "0.1", "bid": "4.1", "ask": "4.2"}}]),
        );
    }

    #[test]
    fn the_aggressor_is_the_other_side() {
        let trade = |event: i64, data| json!({"source": "coinbase", "kind": "trade", "symbol": "BTC-USD", "native": "BTC-USD", "ts_event": event, "data": data});
        testing::check(
            &Coinbase,
            &btc(Kind::Trade),
            "trades.json",
            json!([
                trade(
                    1_767_225_600_123_456_000,
                    json!({"id": "912345678", "price": "87648.22000000", "size": "0.00113000", "side": "buy"})
                ),
                trade(
                    1_767_225_599_900_000_000,
                    json!({"id": "912345677", "price": "87648.21000000", "size": "0.25000000", "side": "sell"})
                ),
            ]),
        );
        testing::check_bad_bodies(&Coinbase, &btc(Kind::Trade), "trades.json");
    }

    #[test]
    fn candles_are_low_before_high() {
        let minute = 60_000_000_000_i64;
        let start = 1_767_225_480_000_000_000_i64;
        let bar = |start: i64, data: serde_json::Value| {
            let mut all = json!({"interval": "1m", "start": start, "end": start + minute});
            all.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
            all["closed"] = json!(true);
            json!({"source": "coinbase", "kind": "bar", "symbol": "BTC-USD", "native": "BTC-USD", "ts_event": start + minute, "data": all})
        };
        testing::check(
            &Coinbase,
            &btc(Kind::Bar).interval(Interval::MINUTE),
            "candles.json",
            json!([
                bar(
                    start + minute,
                    json!({"open": "87640", "high": "87655.5", "low": "87630", "close": "87648.22", "volume": "15.386600000000001"})
                ),
                bar(
                    start,
                    json!({"open": "87600", "high": "87660", "low": "87590.1", "close": "87640", "volume": "2.16327"})
                ),
            ]),
        );
        testing::check_bad_bodies(&Coinbase, &btc(Kind::Bar), "candles.json");
        let named =
            r#"{"candles":[{"start":"1712192400","low":"1","high":"4","open":"2","close":"3","volume":"5.50"}]}"#;
        let found = testing::decode(&Coinbase, &Query::new(Kind::Bar), 200, named).unwrap();
        assert_eq!(
            found,
            vec![json!({"source": "coinbase", "kind": "bar", "ts_event": 1_712_192_400_000_000_000_i64,
                "data": {"start": 1_712_192_400_000_000_000_i64, "open": "2", "high": "4", "low": "1", "close": "3", "volume": "5.50"}})]
        );
    }

    #[test]
    fn books_of_both_forms() {
        testing::check(
            &Coinbase,
            &btc(Kind::Book),
            "book.json",
            json!([{"source": "coinbase", "kind": "book", "symbol": "BTC-USD", "native": "BTC-USD", "ts_event": 1_767_225_600_234_500_000_i64,
                "data": {"bids": [["87648.21", "4.21"], ["87648", "0.5"]], "asks": [["87648.22", "1.305"], ["87650.01", "0.75"]],
                         "sequence": 118230145678_u64}}]),
        );
        testing::check_bad_bodies(&Coinbase, &btc(Kind::Book), "book.json");
        let named = r#"{"pricebook":{"product_id":"ETH-USD","bids":[{"price":"3.0","size":"2"}],"asks":[],"time":"2026-01-01T00:00:00Z"},"last":"3"}"#;
        let found = testing::decode(&Coinbase, &Query::new(Kind::Book), 200, named).unwrap();
        assert_eq!(
            found,
            vec![json!({"source": "coinbase", "kind": "book", "symbol": "ETH-USD", "native": "ETH-USD",
                "ts_event": 1_767_225_600_000_000_000_i64, "data": {"bids": [["3.0", "2"]], "asks": []}})]
        );
        let found =
            testing::decode(&Coinbase, &btc(Kind::Book).limit(1), 200, SPEC.sample("book.json").unwrap()).unwrap();
        assert_eq!(found[0]["data"]["bids"], json!([["87648.21", "4.21"]]));
        let half = r#"{"pricebook":{"bids":[{"price":"3.0"}],"asks":[]}}"#;
        testing::check_verdict(&Coinbase, &btc(Kind::Book), 200, half, (Verdict::Malformed, "shape"));
    }

    #[test]
    fn requests_page_within_the_limits() {
        let at = |secs| UnixNanos::from_secs(secs).unwrap();
        let target = |query: &Query| testing::request(&Coinbase, query).unwrap().target().to_owned();
        assert_eq!(target(&btc(Kind::Ticker)), "/products/BTC-USD/ticker");
        assert_eq!(target(&btc(Kind::Book)), "/products/BTC-USD/book?level=2");
        assert_eq!(target(&btc(Kind::Trade).limit(5_000).cursor("7")), "/products/BTC-USD/trades?limit=1000&after=7");
        let span = btc(Kind::Bar).interval(Interval::MINUTE).range(at(1_767_200_400), at(1_767_225_600));
        assert_eq!(
            target(&span),
            "/products/BTC-USD/candles?granularity=60&start=2025-12-31T17:00:00Z&end=2025-12-31T21:59:00Z"
        );
        let next = |query: &Query, sample| {
            let (state, credentials) = (State::default(), testing::credentials(&Coinbase));
            let cx = Context::new(&Coinbase, query, &state, &credentials, "", testing::NOW).unwrap();
            let answer = Answer::new(200, SPEC.sample(sample).unwrap());
            Coinbase.decode(&cx, &answer, &mut Batch::new(SPEC.id, UnixNanos::EPOCH)).unwrap()
        };
        let cursor = next(&span, "candles.json").unwrap();
        assert_eq!(cursor, "1767218341");
        let last = span.cursor(cursor);
        assert_eq!(
            target(&last),
            "/products/BTC-USD/candles?granularity=60&start=2025-12-31T21:59:01Z&end=2025-12-31T23:59:59Z"
        );
        assert_eq!(next(&last, "candles.json"), None);
        let trades = btc(Kind::Trade).range(at(1_767_225_000), at(1_767_225_600)).limit(2);
        assert_eq!(next(&trades, "trades.json").as_deref(), Some("912345677"));
        assert_eq!(next(&btc(Kind::Trade).limit(2), "trades.json"), None);
        let odd = btc(Kind::Bar).interval(Interval::WEEK);
        assert_eq!(testing::request(&Coinbase, &odd).unwrap_err().reason, "interval_unknown");
        assert_eq!(
            testing::request(&Coinbase, &Query::new(Kind::Book).symbol("AAPL")).unwrap_err().reason,
            "symbol_form"
        );
        assert_eq!(testing::request(&Coinbase, &Query::new(Kind::Book)).unwrap_err().reason, "symbol_count");
    }

    #[test]
    fn the_product_list_is_read() {
        let mut state = State::default();
        let answer = Answer::new(200, SPEC.sample("products.json").unwrap());
        Coinbase.prerequisite_decode("instruments", &answer, &mut state).unwrap();
        assert_eq!(state.instruments.symbol_of("ETH-USD"), Some(&Symbol::new("ETH-USD")));
        assert!(Coinbase.prerequisite_decode("instruments", &Answer::new(200, "{}"), &mut state).is_err());
    }

    #[test]
    fn messages_are_told_apart() {
        let check =
            |status, body, expected| testing::check_verdict(&Coinbase, &btc(Kind::Ticker), status, body, expected);
        check(404, r#"{"message":"NotFound"}"#, (Verdict::NotFound, "symbol_unknown"));
        check(200, r#"{"message":"NotFound"}"#, (Verdict::NotFound, "symbol_unknown"));
        check(429, r#"{"message":"Public rate limit exceeded"}"#, (Verdict::RateLimited, "rate_limit"));
        check(
            429,
            r#"{"errors":[{"id":"rate_limit_exceeded","message":"Too many requests"}]}"#,
            (Verdict::RateLimited, "rate_limit"),
        );
        check(400, r#"{"message":"End is too old"}"#, (Verdict::BadRequest, "range"));
        check(400, r#"{"message":"Unsupported granularity"}"#, (Verdict::BadRequest, "interval_unknown"));
        check(400, r#"{"message":"start must be before end"}"#, (Verdict::BadRequest, "http_4xx"));
        check(
            400,
            r#"{"error":"INVALID_ARGUMENT","error_details":"valid product_id is required","message":"valid product_id is required"}"#,
            (Verdict::NotFound, "symbol_unknown"),
        );
        check(401, r#"{"message":"invalid signature"}"#, (Verdict::Unauthorized, "http_401"));
        check(500, r#"{"message":"Internal server error"}"#, (Verdict::UpstreamError, "http_5xx"));
        check(200, r#"{"open":"1","high":"2"}"#, (Verdict::Malformed, "shape"));
    }
}
