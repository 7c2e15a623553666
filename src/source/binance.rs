//! Binance spot. Public market data comes from the data-only host; balances are signed requests to the main one.
//! Facts: Binance's REST documentation (rest-api.md, errors.md), state of 2026-07-21. Prices and sizes are decimal
//! strings, times are integer milliseconds. Instrument names have no separator and are never split by guessing.

mod trades;

use std::time::Duration;

use compact_str::{CompactString, format_compact};
use serde::Deserialize;

use crate::model::{
    Balance, Bar, Book, Data, Dec, Interval, Judgement, Kind, Level, Native, Query, Quote, SourceId, Symbol, Ticker,
    TimeRange, Verdict,
};
use crate::source::spec::{intervals, samples};
use crate::source::{
    Base, Batch, Batching, Context, Credential, Evidence, Ids, Instrument, KeyUse, KindSpec, Past, Prerequisite,
    QuotaReport, QuotaScope, Source, Spec, State, Tier, WindowShape, WindowSpec, by_status,
};
use crate::time::UnixNanos;
use crate::wire::{Answer, Request, json, sign, times};

/// The source.
pub struct Binance;

impl Source for Binance {
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
                format!("binance: expected a spot pair such as BTC-USDT, found {symbol}"),
            )
        })?;
        Ok(Native::new(format_compact!("{base}{quote}").to_uppercase()))
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let query = cx.query;
        let range_ms = |at: fn(&TimeRange) -> UnixNanos| query.range.as_ref().map(|range| at(range).as_millis());
        match query.kind {
            Kind::Ticker => Ok(with_symbols(Request::get("/api/v3/ticker/24hr"), cx).weight(ticker_weight(cx))),
            Kind::Quote => Ok(with_symbols(Request::get("/api/v3/ticker/bookTicker"), cx).weight(quote_weight(cx))),
            // Trades are found by their ids alone. Which id a span begins with tell the aggregated ones, found by time.
            Kind::Trade if trades::is_search(query) => Ok(Request::get("/api/v3/aggTrades")
                .param("symbol", cx.only_native()?)
                .param_opt("startTime", range_ms(|range| range.from))
                .param("limit", 1)
                .weight(4)),
            Kind::Trade => {
                let rows = query.limit.or(query.range.map(|_| ROWS_MAX)).map(|rows| rows.clamp(1, ROWS_MAX));
                let request = match &query.cursor {
                    // Not among what the data-only host serves; it asked for a key for years.
                    Some(id) => {
                        let old = Request::get("/api/v3/historicalTrades").base(ACCOUNT);
                        let old = match cx.credentials.find(KEY) {
                            Some(key) => old.header_secret("x-mbx-apikey", key.expose()),
                            None => old,
                        };
                        old.param("symbol", cx.only_native()?).param("fromId", id)
                    }
                    None => Request::get("/api/v3/trades").param("symbol", cx.only_native()?),
                };
                Ok(request.param_opt("limit", rows).weight(25))
            }
            Kind::Bar => {
                let interval = SPEC.interval(query)?;
                let start = match &query.cursor {
                    Some(cursor) => Some(cursor.clone()),
                    None => range_ms(|range| range.from).map(|ms| format_compact!("{ms}")),
                };
                Ok(Request::get("/api/v3/klines")
                    .param("symbol", cx.only_native()?)
                    .param("interval", interval)
                    .param_opt("startTime", start)
                    // The provider's end is inclusive, ours is not.
                    .param_opt("endTime", range_ms(|range| range.to).map(|ms| ms - 1))
                    .param_opt("limit", query.limit.map(|rows| rows.clamp(1, ROWS_MAX)))
                    .weight(2))
            }
            Kind::Book => {
                let levels = query.limit.unwrap_or(100).clamp(1, 5_000);
                let weight = match levels {
                    ..=100 => 5,
                    101..=500 => 25,
                    501..=1_000 => 50,
                    _ => 250,
                };
                Ok(Request::get("/api/v3/depth")
                    .param("symbol", cx.only_native()?)
                    .param("limit", levels)
                    .weight(weight))
            }
            Kind::Balance => {
                signed(cx, Request::get("/api/v3/account").base(ACCOUNT).param("omitZeroBalances", true).weight(20))
            }
            kind => Err(Judgement::unservable("kind_unknown", format!("binance: has no {kind}"))),
        }
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        let decoded = match cx.query.kind {
            Kind::Ticker => decode_summaries(cx, &answer.body, |row| row.ticker(), out).map(|()| None),
            Kind::Quote => decode_summaries(cx, &answer.body, |row| row.quote(), out).map(|()| None),
            Kind::Trade if trades::is_search(cx.query) => trades::first(cx, &answer.body),
            Kind::Trade => trades::decode(cx, &answer.body, out),
            Kind::Bar => decode_bars(cx, answer, out),
            Kind::Book => decode_book(cx, &answer.body, out).map(|()| None),
            Kind::Balance => decode_balances(&answer.body, out).map(|()| None),
            kind => Err(Judgement::unservable("kind_unknown", format!("binance: has no {kind}"))),
        };
        decoded.map_err(|judgement| by_code(answer).unwrap_or(judgement))
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        let judgement = by_code(answer).unwrap_or_else(|| by_status(answer, None));
        // 403 without the envelope is the web application firewall, which shuts out by pace (rest-api.md, "HTTP Return Codes").
        if answer.status == 403 && judgement.reason == "http_403" {
            return Judgement { verdict: Verdict::RateLimited, reason: "waf", ..judgement };
        }
        judgement
    }

    fn prerequisites(&self) -> &'static [Prerequisite] {
        PREREQUISITES
    }

    fn prerequisite_request(&self, name: &str, _cx: &Context<'_>) -> Result<Request, Judgement> {
        match name {
            CLOCK => Ok(Request::get("/api/v3/time").base(ACCOUNT).weight(1)),
            _ => Ok(Request::get("/api/v3/exchangeInfo").weight(20)),
        }
    }

    fn prerequisite_decode(&self, name: &str, answer: &Answer, state: &mut State) -> Result<(), Judgement> {
        if !answer.is_success() {
            return Err(by_status(answer, None));
        }
        let mut doc = json::plain(&answer.body);
        if name == CLOCK {
            let server = times::millis("serverTime", doc.read::<ServerTime>()?.server_time)?;
            let offset = server.as_millis() - answer.ts_recv.as_millis();
            state.values.insert(CLOCK.into(), offset.to_string());
            return Ok(());
        }
        let info: ExchangeInfo<'_> = doc.read()?;
        state.instruments = info
            .symbols
            .iter()
            .map(|row| Instrument {
                symbol: Symbol::from_pair(row.base_asset, row.quote_asset),
                native: Native::new(row.symbol),
                aliases: Vec::new(),
            })
            .collect::<Vec<_>>()
            .into();
        Ok(())
    }

    fn quota_used(&self, answer: &Answer) -> Option<QuotaReport> {
        let used = answer.header("x-mbx-used-weight-1m")?.parse().ok()?;
        Some(QuotaReport { bucket: "", window: Duration::from_secs(60), used })
    }
}

#[derive(Deserialize)]
struct ErrorBody<'a> {
    code: i64,
    msg: &'a str,
}

/// What the error envelope says (errors.md); `None` when the body is none.
fn by_code(answer: &Answer) -> Option<Judgement> {
    let mut doc = json::plain(&answer.body);
    let error = doc.read::<ErrorBody<'_>>().ok()?;
    let judgement = by_status(answer, Some(error.msg));
    let (verdict, reason) = match (answer.status, error.code) {
        (418, _) => (Verdict::Banned, "http_418"),
        (429, _) | (_, -1003 | -1015) => (Verdict::RateLimited, "weight_used_up"),
        (_, -1121) => (Verdict::NotFound, "symbol_unknown"),
        (_, -1021) => (Verdict::BadRequest, "clock_skew"),
        (_, -1022) => (Verdict::Unauthorized, "signature"),
        (_, -1002 | -2014 | -2015) => (Verdict::Unauthorized, "key"),
        (_, -1120) => (Verdict::BadRequest, "interval_unknown"),
        (_, -1000 | -1001 | -1006 | -1007 | -1008 | -1016) => (Verdict::UpstreamError, "provider"),
        (_, -1999..=-1100) => (Verdict::BadRequest, "argument"),
        (200..=299, _) => (Verdict::UpstreamError, "provider"),
        _ => (judgement.verdict, judgement.reason),
    };
    Some(Judgement { verdict, reason, ..judgement }.banned_until(banned_until(error.msg)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServerTime {
    server_time: i64,
}

#[derive(Deserialize)]
struct ExchangeInfo<'a> {
    #[serde(borrow)]
    symbols: Vec<ListedSymbol<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedSymbol<'a> {
    symbol: &'a str,
    base_asset: &'a str,
    quote_asset: &'a str,
}

/// A row of `ticker/24hr`, `ticker/price` or `ticker/bookTicker`: the three differ in which fields they have.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    symbol: &'a str,
    #[serde(alias = "price")]
    last_price: Option<Dec>,
    last_qty: Option<Dec>,
    open_price: Option<Dec>,
    high_price: Option<Dec>,
    low_price: Option<Dec>,
    prev_close_price: Option<Dec>,
    price_change: Option<Dec>,
    /// In percent.
    price_change_percent: Option<Dec>,
    weighted_avg_price: Option<Dec>,
    volume: Option<Dec>,
    quote_volume: Option<Dec>,
    bid_price: Option<Dec>,
    bid_qty: Option<Dec>,
    ask_price: Option<Dec>,
    ask_qty: Option<Dec>,
    /// Milliseconds; the end of the window, so the time of the summary.
    close_time: Option<i64>,
    count: Option<u64>,
}

impl Summary<'_> {
    fn ticker(&self) -> Result<Data, Judgement> {
        let last =
            self.last_price.ok_or_else(|| Judgement::malformed("lastPrice: expected a decimal, found nothing"))?;
        Ok(Data::Ticker(Box::new(Ticker {
            last,
            last_size: self.last_qty,
            open: self.open_price,
            high: self.high_price,
            low: self.low_price,
            prev_close: self.prev_close_price,
            change: self.price_change,
            change_pct: self.price_change_percent,
            vwap: self.weighted_avg_price,
            volume: self.volume,
            quote_volume: self.quote_volume,
            bid: self.bid_price,
            bid_size: self.bid_qty,
            ask: self.ask_price,
            ask_size: self.ask_qty,
            trades: self.count,
            volume_unit: None,
        })))
    }

    fn quote(&self) -> Result<Data, Judgement> {
        if self.bid_price.is_none() && self.ask_price.is_none() {
            return Err(Judgement::malformed("bidPrice: expected a decimal, found nothing"));
        }
        // An empty side is sent as price zero.
        let present = |price: Option<Dec>| price.filter(|price| !price.is_zero());
        let (bid, ask) = (present(self.bid_price), present(self.ask_price));
        Ok(Data::Quote(Quote {
            bid,
            bid_size: bid.and(self.bid_qty),
            ask,
            ask_size: ask.and(self.ask_qty),
            volume_unit: None,
        }))
    }
}

fn decode_summaries(
    cx: &Context<'_>,
    body: &[u8],
    data: impl Fn(&Summary<'_>) -> Result<Data, Judgement>,
    out: &mut Batch,
) -> Result<(), Judgement> {
    let mut doc = json::plain(body);
    let rows: Vec<Summary<'_>> = if json::is_array(body) { doc.read()? } else { vec![doc.read()?] };
    for row in rows.iter().filter(|row| cx.wants(row.symbol)) {
        let ts_event = row.close_time.map(|ms| times::millis("closeTime", ms)).transpose()?;
        out.push(cx.symbol_of(row.symbol), Some(Native::new(row.symbol)), ts_event, data(row)?);
    }
    Ok(())
}

json::row! {
    /// A kline: an array of twelve, of which the first nine are of use.
    struct Kline {
        /// Milliseconds.
        open_ms: i64,
        open: Dec,
        high: Dec,
        low: Dec,
        close: Dec,
        volume: Dec,
        /// Milliseconds: the last one of the bar.
        close_ms: i64;
        quote_volume: Option<Dec>,
        trades: Option<u64>,
    }
}

fn decode_bars(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
    let rows: Vec<Kline> = json::plain(&answer.body).read()?;
    for row in &rows {
        let start = times::millis("[0]", row.open_ms)?;
        let end = times::millis("[6]", row.close_ms.saturating_add(1))?;
        let closed = end <= answer.ts_recv;
        let bar = Bar {
            interval: times::interval_between(start, end).or(cx.query.interval),
            start,
            end: Some(end),
            open: row.open,
            high: row.high,
            low: row.low,
            close: row.close,
            volume: Some(row.volume),
            quote_volume: row.quote_volume,
            trades: row.trades,
            closed: Some(closed),
            volume_unit: None,
        };
        let (symbol, native) = cx.names(None);
        out.push(symbol, native, Some(if closed { end } else { start }), Data::Bar(Box::new(bar)));
    }
    let next = rows.last().map(|row| row.close_ms.saturating_add(1));
    let wanted_more = cx.query.range.is_some_and(|range| next.is_some_and(|ms| ms < range.to.as_millis()));
    Ok(next.filter(|_| wanted_more).map(|ms| format_compact!("{ms}")))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Depth {
    last_update_id: u64,
    bids: Vec<Level>,
    asks: Vec<Level>,
    /// Milliseconds; futures only.
    #[serde(rename = "T")]
    time: Option<i64>,
}

fn decode_book(cx: &Context<'_>, body: &[u8], out: &mut Batch) -> Result<(), Judgement> {
    let depth: Depth = json::plain(body).read()?;
    let (symbol, native) = cx.names(None);
    let ts_event = depth.time.map(|ms| times::millis("T", ms)).transpose()?;
    let book = Book { bids: depth.bids, asks: depth.asks, sequence: Some(depth.last_update_id), volume_unit: None };
    out.push(symbol, native, ts_event, Data::Book(Box::new(book)));
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account<'a> {
    /// Milliseconds.
    update_time: Option<i64>,
    #[serde(borrow)]
    balances: Vec<Holding<'a>>,
}

#[derive(Deserialize)]
struct Holding<'a> {
    asset: &'a str,
    free: Dec,
    locked: Option<Dec>,
}

fn decode_balances(body: &[u8], out: &mut Batch) -> Result<(), Judgement> {
    let mut doc = json::plain(body);
    let account: Account<'_> = doc.read()?;
    let ts_event = account.update_time.map(|ms| times::millis("updateTime", ms)).transpose()?;
    for holding in &account.balances {
        let balance = Balance { asset: holding.asset.into(), free: holding.free, locked: holding.locked };
        out.push(None, None, ts_event, Data::Balance(balance));
    }
    Ok(())
}

fn with_symbols(request: Request, cx: &Context<'_>) -> Request {
    match cx.natives.as_slice() {
        _ if cx.query.whole_market => request,
        [one] => request.param("symbol", one),
        several => {
            let list: Vec<String> = several.iter().map(|native| format!("\"{native}\"")).collect();
            request.param("symbols", format!("[{}]", list.join(",")))
        }
    }
}

/// rest-api.md, "24hr ticker price change statistics": 2 for one, 2 to 20 symbols, 40 to 100, 80 beyond and for all.
fn ticker_weight(cx: &Context<'_>) -> u32 {
    match cx.natives.len() {
        _ if cx.query.whole_market => 80,
        ..=20 => 2,
        21..=100 => 40,
        _ => 80,
    }
}

fn quote_weight(cx: &Context<'_>) -> u32 {
    if cx.only().is_some() && !cx.query.whole_market { 2 } else { 4 }
}

/// Adds time, key and signature (rest-api.md, "SIGNED Endpoint Examples"): the signature is over the exact query sent.
fn signed(cx: &Context<'_>, request: Request) -> Result<Request, Judgement> {
    let key = cx.secret(KEY)?;
    let secret = cx.secret(SECRET)?;
    let offset: i64 = cx.state.values.get(CLOCK).and_then(|text| text.parse().ok()).unwrap_or(0);
    let request = request.param("recvWindow", 5_000).param("timestamp", cx.now.as_millis() + offset);
    let signature = if sign::is_pem(secret) {
        sign::ed25519_base64(secret, request.query()).map_err(|error| Judgement {
            verdict: Verdict::Unauthorized,
            ..Judgement::unservable("key_form", format!("{SECRET}: {error}"))
        })?
    } else {
        sign::hmac_sha256_hex(secret, request.query())
    };
    Ok(request
        .param_secret("signature", &crate::config::Secret::new(signature))
        .header_secret("x-mbx-apikey", key.expose()))
}

/// The end of a ban, which the message names in Unix milliseconds: `IP banned until 1787546698129.`
fn banned_until(message: &str) -> Option<UnixNanos> {
    let rest = message.split_once("banned until ")?.1;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    UnixNanos::from_millis(digits.parse().ok()?)
}

const KEY: &str = "BINANCE_API_KEY";
const SECRET: &str = "BINANCE_API_SECRET";
const CLOCK: &str = "clock_offset_ms";
const ACCOUNT: usize = 1;
const ROWS_MAX: u32 = 1_000;

const PAIRS: &[&str] = &["BTC-USDT", "ETH-USDT", "SOL-USDT"];

static PREREQUISITES: &[Prerequisite] = &[
    Prerequisite {
        name: CLOCK,
        ttl: Duration::from_secs(600),
        needed: |query, _| query.kind == Kind::Balance,
        invalidated_by: &[Verdict::BadRequest],
    },
    Prerequisite {
        name: "instruments",
        ttl: Duration::from_secs(86_400),
        needed: |query: &Query, _| query.whole_market && query.symbols.is_empty(),
        invalidated_by: &[],
    },
];

static SPEC: Spec = Spec {
    id: SourceId("binance"),
    title: "Binance",
    bases: &[
        Base { name: "api", url: "https://data-api.binance.vision" },
        Base { name: "account", url: "https://api.binance.com" },
    ],
    kinds: &[
        KindSpec { kind: Kind::Ticker, ..SUMMARIES },
        KindSpec { kind: Kind::Quote, ..SUMMARIES },
        KindSpec {
            kind: Kind::Trade,
            past: Past::ranged(ROWS_MAX).ids(Ids::Forward),
            every: Duration::from_secs(5),
            ..KIND
        },
        KindSpec {
            kind: Kind::Bar,
            intervals: INTERVALS,
            past: Past::ranged(ROWS_MAX),
            every: Duration::from_secs(10),
            ..KIND
        },
        KindSpec { kind: Kind::Book, every: Duration::from_secs(5), ..KIND },
        KindSpec {
            kind: Kind::Balance,
            key: KeyUse::Required,
            batching: Batching::None,
            every: Duration::from_secs(10),
            examples: &[],
            ..KIND
        },
    ],
    credentials: &[
        Credential { variable: KEY, about: "API key, for balances", simulated: "simulated-binance-key" },
        Credential {
            variable: SECRET,
            about: "API secret: the HMAC secret, or an Ed25519 private key in PEM",
            simulated: "simulated-binance-secret",
        },
    ],
    tiers: &[Tier {
        name: "free",
        windows: &[WindowSpec { bucket: "", limit: 6_000, per: Duration::from_secs(60), shape: WindowShape::Fixed }],
    }],
    scope: QuotaScope::Ip,
    samples: samples! {
        "binance", "account.json", "agg_trades.json", "book_ticker.json", "depth.json", "exchange_info.json",
        "klines.json", "ticker_24hr.json", "time.json", "trades.json"
    },
    routes: include_str!("samples/binance/routes.toml"),
    evidence: Evidence::Recorded,
    quota_docs: "6,000 request weight per minute and IP (rest-api.md, LIMITS; 2026-07-21)",
};

const SUMMARIES: KindSpec =
    KindSpec { batching: Batching::Many(100), whole_market: true, every: Duration::from_secs(2), ..KIND };

const KIND: KindSpec = KindSpec {
    kind: Kind::Ticker,
    key: KeyUse::None,
    batching: Batching::One,
    whole_market: false,
    intervals: &[],
    past: Past::NONE,
    every: Duration::from_secs(5),
    examples: PAIRS,
};

const INTERVALS: &[Interval] = intervals![
    1 Second, 1 Minute, 3 Minute, 5 Minute, 15 Minute, 30 Minute, 1 Hour, 2 Hour, 4 Hour, 6 Hour, 8 Hour, 12 Hour, 1 Day,
    3 Day, 1 Week, 1 Month
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{Credentials, Secret};
    use crate::source::testing;

    fn btc(kind: Kind) -> Query {
        Query::new(kind).symbol("BTC-USDT")
    }

    #[test]
    fn a_ticker_keeps_every_digit() {
        testing::check(
            &Binance,
            &btc(Kind::Ticker),
            "ticker_24hr.json",
            json!([{
                "source": "binance", "kind": "ticker", "symbol": "BTC-USDT", "native": "BTCUSDT", "ts_event": 1_767_225_599_999_000_000_i64,
                "data": {
                    "last": "87648.22000000", "last_size": "0.00113000", "open": "88490.01000000", "high": "89000.00000000",
                    "low": "87120.50000000", "prev_close": "88490.01000000", "change": "-841.79000000", "change_pct": "-0.951",
                    "vwap": "88012.34567890", "volume": "12345.67890000", "quote_volume": "1086575123.45678900",
                    "bid": "87648.21000000", "bid_size": "4.21000000", "ask": "87648.22000000", "ask_size": "1.30500000",
                    "trades": 2145678
                }
            }]),
        );
        testing::check_bad_bodies(&Binance, &btc(Kind::Ticker), "ticker_24hr.json");
    }

    #[test]
    fn an_unknown_name_has_no_symbol() {
        let found =
            testing::decode(&Binance, &btc(Kind::Ticker), 200, r#"{"symbol":"BNBBTC","price":"0.01"}"#).unwrap();
        assert_eq!(
            found,
            vec![json!({"source": "binance", "kind": "ticker", "native": "BNBBTC", "data": {"last": "0.01"}})]
        );
    }

    #[test]
    fn trades_name_the_aggressor() {
        testing::check(
            &Binance,
            &btc(Kind::Trade),
            "trades.json",
            json!([
                {"source": "binance", "kind": "trade", "symbol": "BTC-USDT", "native": "BTCUSDT", "ts_event": 1_767_225_598_120_000_000_i64,
                 "data": {"id": "5711468873", "price": "87648.21000000", "size": "0.02924000", "side": "sell"}},
                {"source": "binance", "kind": "trade", "symbol": "BTC-USDT", "native": "BTCUSDT", "ts_event": 1_767_225_599_001_000_000_i64,
                 "data": {"id": "5711468874", "price": "87648.22000000", "size": "0.00082000", "side": "buy"}}
            ]),
        );
        testing::check(
            &Binance,
            &btc(Kind::Trade),
            "agg_trades.json",
            json!([
                {"source": "binance", "kind": "trade", "symbol": "BTC-USDT", "native": "BTCUSDT", "ts_event": 1_767_225_598_120_000_000_i64,
                 "data": {"id": "966492862", "price": "87648.21000000", "size": "0.02924000", "side": "sell"}}
            ]),
        );
        testing::check_bad_bodies(&Binance, &btc(Kind::Trade), "trades.json");
    }

    #[test]
    fn a_running_bar_is_not_closed() {
        let check = |open_ms: i64, closed: bool| {
            let body = format!(r#"[[{open_ms},"1","2","0.5","1.5","10",{},"15",3,"5","7","0"]]"#, open_ms + 59_999);
            let found = testing::decode(&Binance, &btc(Kind::Bar), 200, &body).unwrap();
            let start = open_ms * 1_000_000;
            let end = start + 60_000_000_000;
            assert_eq!(
                found,
                vec![json!({
                    "source": "binance", "kind": "bar", "symbol": "BTC-USDT", "native": "BTCUSDT", "ts_event": if closed { end } else { start },
                    "data": {"interval": "1m", "start": start, "end": end, "open": "1", "high": "2", "low": "0.5", "close": "1.5",
                             "volume": "10", "quote_volume": "15", "trades": 3, "closed": closed}
                })]
            );
        };
        check(testing::NOW.as_millis() - 60_000, true);
        check(testing::NOW.as_millis() - 59_999, false);
        testing::check_bad_bodies(&Binance, &btc(Kind::Bar), "klines.json");
    }

    #[test]
    fn levels_may_be_longer() {
        let body = r#"{"lastUpdateId":1,"bids":[["4.0","431.0",[]]],"asks":[["4.1","12.0",[]]]}"#;
        let found = testing::decode(&Binance, &btc(Kind::Book), 200, body).unwrap();
        assert_eq!(found[0]["data"], json!({"bids": [["4.0", "431.0"]], "asks": [["4.1", "12.0"]], "sequence": 1}));
        let short = r#"{"lastUpdateId":1,"bids":[["4.0"]],"asks":[]}"#;
        testing::check_verdict(&Binance, &btc(Kind::Book), 200, short, (Verdict::Malformed, "shape"));
    }

    #[test]
    fn books_and_quotes() {
        testing::check(
            &Binance,
            &btc(Kind::Book),
            "depth.json",
            json!([{
                "source": "binance", "kind": "book", "symbol": "BTC-USDT", "native": "BTCUSDT",
                "data": {"bids": [["87648.21000000", "4.21000000"], ["87648.00000000", "0.50000000"]],
                         "asks": [["87648.22000000", "1.30500000"], ["87650.01000000", "0.75000000"]], "sequence": 84527958487_u64}
            }]),
        );
        testing::check(
            &Binance,
            &btc(Kind::Quote),
            "book_ticker.json",
            json!([{
                "source": "binance", "kind": "quote", "symbol": "BTC-USDT", "native": "BTCUSDT",
                "data": {"bid": "87648.21000000", "bid_size": "4.21000000", "ask": "87648.22000000", "ask_size": "1.30500000"}
            }]),
        );
        testing::check_bad_bodies(&Binance, &btc(Kind::Book), "depth.json");
        testing::check_bad_bodies(&Binance, &btc(Kind::Quote), "book_ticker.json");
    }

    #[test]
    fn balances_are_signed_over_the_exact_query() {
        let request = testing::request(&Binance, &Query::new(Kind::Balance)).unwrap();
        assert_eq!(
            request.target_redacted(),
            "/api/v3/account?omitZeroBalances=true&recvWindow=5000&timestamp=1767323045000&signature=***"
        );
        testing::check(
            &Binance,
            &Query::new(Kind::Balance),
            "account.json",
            json!([
                {"source": "binance", "kind": "balance", "ts_event": 1_767_225_500_000_000_000_i64,
                 "data": {"asset": "BTC", "free": "4.72384689", "locked": "0.00000000"}},
                {"source": "binance", "kind": "balance", "ts_event": 1_767_225_500_000_000_000_i64,
                 "data": {"asset": "USDT", "free": "1000.50000000", "locked": "25.00000000"}}
            ]),
        );
    }

    #[test]
    fn refusals_are_told_apart() {
        let check =
            |status, body, expected| testing::check_verdict(&Binance, &btc(Kind::Ticker), status, body, expected);
        check(429, r#"{"code":-1003,"msg":"Too much request weight used."}"#, (Verdict::RateLimited, "weight_used_up"));
        check(418, r#"{"code":-1003,"msg":"IP banned until 1787546698129."}"#, (Verdict::Banned, "http_418"));
        check(400, r#"{"code":-1121,"msg":"Invalid symbol."}"#, (Verdict::NotFound, "symbol_unknown"));
        check(
            401,
            r#"{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}"#,
            (Verdict::Unauthorized, "key"),
        );
        check(403, "<html>blocked</html>", (Verdict::RateLimited, "waf"));
        check(502, "<html>bad gateway</html>", (Verdict::UpstreamError, "http_5xx"));
        check(301, "", (Verdict::BadRequest, "redirect"));
        let until = banned_until("Way too much request weight used; IP banned until 1787546698129. Please");
        assert_eq!(until, UnixNanos::from_millis(1_787_546_698_129));
    }

    #[test]
    fn many_symbols_share_a_request() {
        let query = Query::new(Kind::Ticker).symbol("BTC-USDT").symbol("ETH-USDT");
        let request = testing::request(&Binance, &query).unwrap();
        assert_eq!(request.target(), "/api/v3/ticker/24hr?symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D");
        assert_eq!(request.weight, 2);
        assert!(testing::request(&Binance, &Query::new(Kind::Ticker).symbol("BTC-USDT.PERP")).is_err());
    }

    #[test]
    fn envelopes_are_known_whatever_the_status() {
        let check = |body, expected| testing::check_verdict(&Binance, &btc(Kind::Ticker), 200, body, expected);
        check(r#"{"code":-1121,"msg":"Invalid symbol."}"#, (Verdict::NotFound, "symbol_unknown"));
        check(r#"{"code":-1008,"msg":"Server is currently overloaded."}"#, (Verdict::UpstreamError, "provider"));
        check(
            r#"{"code":-1100,"msg":"Illegal characters found in parameter 'symbol'."}"#,
            (Verdict::BadRequest, "argument"),
        );
        check(r#"{"symbol":"BTCUSDT"}"#, (Verdict::Malformed, "shape"));
        check(r#"{"symbol":"BTCUSDT","lastPrice":"1","volume":true}"#, (Verdict::Malformed, "shape"));
    }

    #[test]
    fn trades_of_a_span_are_read_on_by_id() {
        let at = |ms| UnixNanos::from_millis(ms).unwrap();
        let span = btc(Kind::Trade).range(at(1_767_225_598_000), at(1_767_225_600_000)).limit(1);
        let target = |query: &Query| testing::request(&Binance, query).unwrap().target().to_owned();
        assert_eq!(target(&span), "/api/v3/aggTrades?symbol=BTCUSDT&startTime=1767225598000&limit=1");
        let page = span.clone().cursor("5711468873");
        assert_eq!(target(&page), "/api/v3/historicalTrades?symbol=BTCUSDT&fromId=5711468873&limit=1");
        let next = |query: &Query, sample| {
            let (state, credentials) = (State::default(), testing::credentials(&Binance));
            let cx = Context::new(&Binance, query, &state, &credentials, "", testing::NOW).unwrap();
            let answer = Answer::new(200, SPEC.sample(sample).unwrap());
            Binance.decode(&cx, &answer, &mut Batch::new(SPEC.id, UnixNanos::EPOCH)).unwrap()
        };
        assert_eq!(next(&span, "agg_trades.json").as_deref(), Some("5711468873"), "where the first page begins");
        let before = btc(Kind::Trade).range(at(1_767_225_597_000), at(1_767_225_598_000));
        assert_eq!(next(&before, "agg_trades.json"), None, "the first trade is behind the span");
        assert_eq!(next(&page.clone().limit(2), "trades.json").as_deref(), Some("5711468875"));
        assert_eq!(next(&page.clone().limit(3), "trades.json"), None, "a page that is not full is the last");
        let early = btc(Kind::Trade).range(at(1_767_225_598_000), at(1_767_225_599_000)).cursor("5711468873");
        assert_eq!(next(&early.clone().limit(2), "trades.json"), None);
        let found = testing::decode(&Binance, &early, 200, SPEC.sample("trades.json").unwrap()).unwrap();
        assert_eq!(found.len(), 1, "the second trade is behind the span");
        assert_eq!(next(&btc(Kind::Trade).limit(2).cursor("1"), "trades.json").as_deref(), Some("5711468875"));
    }

    #[test]
    fn prerequisites_fill_the_state() {
        let mut state = State::default();
        let mut answer = Answer::new(200, SPEC.sample("time.json").unwrap());
        answer.ts_recv = UnixNanos::from_millis(1_767_225_600_250).unwrap();
        Binance.prerequisite_decode(CLOCK, &answer, &mut state).unwrap();
        assert_eq!(state.values[CLOCK], "-250");
        let answer = Answer::new(200, SPEC.sample("exchange_info.json").unwrap());
        Binance.prerequisite_decode("instruments", &answer, &mut state).unwrap();
        assert_eq!(state.instruments.symbol_of("SOLUSDT"), Some(&Symbol::new("SOL-USDT")));
        let answer = Answer::new(503, "");
        let judgement = Binance.prerequisite_decode("instruments", &answer, &mut state).unwrap_err();
        assert_eq!(judgement.verdict, Verdict::UpstreamError);
    }

    #[test]
    fn the_documented_signatures_come_out() {
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/recordings/binance/signing_vectors.json");
        let Ok(text) = std::fs::read_to_string(&path) else {
            eprintln!("skipped: no signing vectors at {}", path.display());
            return;
        };
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        let secret = Secret::new(file["secretKey"].as_str().unwrap());
        let vectors = file["vectors"].as_array().unwrap();
        assert!(!vectors.is_empty());
        for vector in vectors {
            let payload = vector["payload"].as_str().unwrap();
            assert_eq!(
                sign::hmac_sha256_hex(&secret, payload),
                vector["hmac_sha256_hex"].as_str().unwrap(),
                "{payload}"
            );
        }
    }

    /// RFC 8032 section 7.1, test 1: the key in PKCS#8, the signature of the empty message, the public key.
    #[test]
    fn a_pem_key_signs_by_ed25519() {
        use base64::Engine as _;
        let pem = Secret::new(
            "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n",
        );
        let expected = "5VZDAMNgrHKQhuLMgG6CioSHfx645dl02HPgZSJJAVVfuIIVkKM7rMYeOXAc+bRr0lv18FlbviRlUUFDjnoQCw==";
        assert_eq!(sign::ed25519_base64(&pem, "").unwrap(), expected);

        let mut credentials = Credentials::default();
        credentials.insert(KEY, Secret::new("simulated-binance-key"));
        credentials.insert(SECRET, pem);
        let (query, state) = (Query::new(Kind::Balance), State::default());
        let cx = Context::new(&Binance, &query, &state, &credentials, "", testing::NOW).unwrap();
        let request = Binance.request(&cx).unwrap();
        let (payload, signature) = request.query().rsplit_once("&signature=").unwrap();
        let signature = percent_encoding::percent_decode_str(signature).decode_utf8().unwrap();
        let signature = base64::engine::general_purpose::STANDARD.decode(&*signature).unwrap();
        let public: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&PUBLIC[2 * at..2 * at + 2], 16).unwrap()).collect();
        aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, public)
            .verify(payload.as_bytes(), &signature)
            .unwrap();

        credentials.insert(SECRET, Secret::new("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"));
        let cx = Context::new(&Binance, &query, &state, &credentials, "", testing::NOW).unwrap();
        let judgement = Binance.request(&cx).unwrap_err();
        assert_eq!((judgement.verdict, judgement.reason, judgement.local), (Verdict::Unauthorized, "key_form", true));
    }

    const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
}
