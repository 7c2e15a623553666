//! OKX: spot, perpetuals, dated futures and options. Public market data only. Facts: OKX's API v5 guide, state of
//! 2026-07-21. All values are strings, times in milliseconds, an empty string is a null. Sizes of derivatives are in
//! contracts and are handed on so, marked. The envelope's `code` tells failures, mostly under status 200.

use std::time::Duration;

use compact_str::{CompactString, format_compact};
use serde::Deserialize;

use crate::model::{
    Bar, Book, Data, Dec, Interval, IntervalUnit, Judgement, Kind, Level, Native, Side, SourceId, Symbol, Ticker,
    Trade, Verdict, VolumeUnit,
};
use crate::source::contract::{self, Contract};
use crate::source::spec::{intervals, samples};
use crate::source::{
    Base, Batch, Batching, Context, Evidence, Instrument, KeyUse, KindSpec, Past, Prerequisite, QuotaScope, Source,
    Spec, State, Tier, WindowShape, WindowSpec, by_status,
};
use crate::wire::fields::{Blank, Int};
use crate::wire::json::Doc;
use crate::wire::{Answer, Request, json, times};

/// The source.
pub struct Okx;

impl Source for Okx {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn native(&self, _kind: Kind, symbol: &Symbol, _state: &State) -> Result<Native, Judgement> {
        let (base, quote, contract) = Contract::split(symbol).ok_or_else(|| {
            Judgement::unservable(
                "symbol_form",
                format!("okx: expected a name such as BTC-USDT, BTC-USDT.PERP or BTC-USD.20240628, found {symbol}"),
            )
        })?;
        let pair = Symbol::from_pair(base, quote);
        Ok(Native::new(match contract {
            Contract::Spot => format_compact!("{pair}"),
            Contract::Perpetual => format_compact!("{pair}-SWAP"),
            Contract::Dated(date) => format_compact!("{pair}-{}", contract::to_six_digits(date)),
            Contract::Option { date, strike, call } => {
                let side = if call { 'C' } else { 'P' };
                format_compact!("{pair}-{}-{strike}-{side}", contract::to_six_digits(date))
            }
        }))
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let query = cx.query;
        match query.kind {
            Kind::Ticker if query.whole_market => {
                let kind = market(&query.symbols)?;
                Ok(Request::get("/api/v5/market/tickers").param("instType", kind).bucket("tickers"))
            }
            Kind::Ticker => {
                Ok(Request::get("/api/v5/market/ticker").param("instId", cx.only_native()?).bucket("ticker"))
            }
            Kind::Trade => trades_request(cx),
            Kind::Bar => bars_request(cx),
            Kind::Book => Ok(Request::get("/api/v5/market/books")
                .param("instId", cx.only_native()?)
                .param("sz", query.limit.unwrap_or(LEVELS_DEFAULT).clamp(1, LEVELS_MAX))
                .bucket("books")),
            kind => Err(Judgement::unservable("kind_unknown", format!("okx: has no {kind}"))),
        }
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        let decoded = match cx.query.kind {
            Kind::Ticker => decode_tickers(cx, answer, out).map(|()| None),
            Kind::Trade => decode_trades(cx, answer, out),
            Kind::Bar => decode_bars(cx, answer, out),
            Kind::Book => decode_books(cx, answer, out).map(|()| None),
            kind => Err(Judgement::unservable("kind_unknown", format!("okx: has no {kind}"))),
        };
        decoded.map_err(|judgement| by_code(answer).unwrap_or(judgement))
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        by_code(answer).unwrap_or_else(|| by_status(answer, None))
    }

    fn prerequisites(&self) -> &'static [Prerequisite] {
        PREREQUISITES
    }

    fn prerequisite_request(&self, name: &str, _cx: &Context<'_>) -> Result<Request, Judgement> {
        let kind = match name {
            "instruments_futures" => "FUTURES",
            "instruments_swap" => "SWAP",
            _ => "SPOT",
        };
        Ok(Request::get("/api/v5/public/instruments").param("instType", kind).bucket("instruments"))
    }

    /// Replaces what the list of one market told before and keeps the other markets'.
    fn prerequisite_decode(&self, _name: &str, answer: &Answer, state: &mut State) -> Result<(), Judgement> {
        if !answer.is_success() {
            return Err(by_code(answer).unwrap_or_else(|| by_status(answer, None)));
        }
        let mut doc = json::plain(&answer.body);
        let rows = read::<ListedInstrument<'_>>(&mut doc, answer).map_err(|error| by_code(answer).unwrap_or(error))?;
        let listed = rows.iter().filter_map(|row| {
            Some(Instrument { symbol: canonical(row.inst_id)?, native: Native::new(row.inst_id), aliases: Vec::new() })
        });
        let fresh: Vec<Instrument> = listed.collect();
        let Some(kind) = fresh.first().and_then(|first| market_of(&first.symbol)) else { return Ok(()) };
        let others = state.instruments.list().iter().filter(|known| market_of(&known.symbol) != Some(kind)).cloned();
        state.instruments = others.chain(fresh.iter().cloned()).collect::<Vec<_>>().into();
        Ok(())
    }
}

#[derive(Deserialize)]
struct Envelope<T> {
    code: Option<Int<i64>>,
    data: Option<Vec<T>>,
}

/// Reads the rows of an answer: out of its envelope, a bare list, or a single bare row.
fn read<'a, T: Deserialize<'a>>(doc: &'a mut Doc<'_>, answer: &Answer) -> Result<Vec<T>, Judgement> {
    if json::is_array(&answer.body) {
        return doc.read();
    }
    if memchr::memmem::find(&answer.body, b"\"data\"").is_none() {
        return Ok(vec![doc.read()?]);
    }
    let envelope = doc.read::<Envelope<T>>()?;
    if envelope.code.is_some_and(|code| code.0 != 0) {
        return Err(by_code(answer).unwrap_or_else(|| Judgement::malformed("code: expected 0, found another")));
    }
    envelope.data.ok_or_else(|| Judgement::malformed("data: expected an array, found nothing"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedInstrument<'a> {
    inst_id: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct TickerRow<'a> {
    inst_id: &'a str,
    #[serde(default)]
    last: Blank<Dec>,
    #[serde(default)]
    last_sz: Blank<Dec>,
    #[serde(default)]
    ask_px: Blank<Dec>,
    #[serde(default)]
    ask_sz: Blank<Dec>,
    #[serde(default)]
    bid_px: Blank<Dec>,
    #[serde(default)]
    bid_sz: Blank<Dec>,
    #[serde(default)]
    open24h: Blank<Dec>,
    #[serde(default)]
    high24h: Blank<Dec>,
    #[serde(default)]
    low24h: Blank<Dec>,
    /// Base units of spot, contracts of derivatives.
    #[serde(default)]
    vol24h: Blank<Dec>,
    /// Quote units of spot, base units of derivatives.
    #[serde(default)]
    vol_ccy24h: Blank<Dec>,
    /// Milliseconds.
    #[serde(default)]
    ts: Blank<Int<i64>>,
}

fn decode_tickers(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let mut doc = json::plain(&answer.body);
    let rows = read::<TickerRow<'_>>(&mut doc, answer)?;
    for row in rows.iter().filter(|row| cx.wants(row.inst_id)) {
        let Some(last) = row.last.0 else {
            // In the list of a market, what has never traded is left out.
            if rows.len() > 1 {
                continue;
            }
            return Err(Judgement::malformed("last: expected a decimal, found nothing"));
        };
        let unit = unit_of(row.inst_id);
        let ticker = Ticker {
            last,
            last_size: row.last_sz.0,
            open: row.open24h.0,
            high: row.high24h.0,
            low: row.low24h.0,
            volume: row.vol24h.0,
            quote_volume: row.vol_ccy24h.0.filter(|_| unit.is_none()),
            bid: row.bid_px.0,
            bid_size: row.bid_sz.0,
            ask: row.ask_px.0,
            ask_size: row.ask_sz.0,
            volume_unit: unit,
            ..Ticker::default()
        };
        let ts_event = row.ts.0.map(|ms| times::millis("ts", ms.0)).transpose()?;
        let (symbol, native) = names(cx, Some(row.inst_id));
        out.push(symbol, native, ts_event, Data::Ticker(Box::new(ticker)));
    }
    Ok(())
}

/// A span is read back from its end: the first page by time, the next ones by the id before which they start.
fn trades_request(cx: &Context<'_>) -> Result<Request, Judgement> {
    let native = cx.only_native()?;
    let limit = cx.query.limit;
    let history = || Request::get("/api/v5/market/history-trades").param("instId", native).bucket("history-trades");
    let rows = limit.unwrap_or(HISTORY_ROWS_MAX).clamp(1, HISTORY_ROWS_MAX);
    Ok(match (&cx.query.cursor, cx.query.range) {
        (Some(id), _) => history().param("type", 1).param("after", id).param("limit", rows),
        (None, Some(range)) => history().param("type", 2).param("after", range.to.as_millis()).param("limit", rows),
        (None, None) => Request::get("/api/v5/market/trades")
            .param("instId", native)
            .param_opt("limit", limit.map(|rows| rows.clamp(1, TRADES_MAX)))
            .bucket("trades"),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TradeRow<'a> {
    inst_id: Option<&'a str>,
    #[serde(default)]
    trade_id: Option<&'a str>,
    px: Dec,
    sz: Dec,
    /// The taker's.
    side: Option<Side>,
    /// Milliseconds.
    #[serde(default)]
    ts: Blank<Int<i64>>,
}

fn decode_trades(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
    let mut doc = json::plain(&answer.body);
    let rows = read::<TradeRow<'_>>(&mut doc, answer)?;
    let mut oldest = None;
    out.expect(rows.len());
    for row in &rows {
        let ts_event = row.ts.0.map(|ms| times::millis("ts", ms.0)).transpose()?;
        oldest = ts_event.or(oldest);
        let outside = |range: crate::model::TimeRange| ts_event.is_some_and(|ts| ts < range.from || ts >= range.to);
        if cx.query.range.is_some_and(outside) {
            continue;
        }
        let (symbol, native) = names(cx, row.inst_id);
        let trade = Trade {
            id: row.trade_id.map(CompactString::new),
            price: row.px,
            size: row.sz,
            side: row.side,
            volume_unit: native.as_ref().and_then(|native| unit_of(native.as_str())),
        };
        out.push(symbol, native, ts_event, Data::Trade(trade));
    }
    let full = rows.len() as u32 >= cx.query.limit.unwrap_or(HISTORY_ROWS_MAX).clamp(1, HISTORY_ROWS_MAX);
    let goes_on = match cx.query.range {
        Some(range) => oldest.is_some_and(|oldest| oldest >= range.from),
        None => cx.query.cursor.is_some(),
    };
    Ok(rows.last().and_then(|row| row.trade_id).filter(|_| full && goes_on).map(CompactString::new))
}

/// Recent bars come from one endpoint, bars of a span that began earlier from another; both newest first.
fn bars_request(cx: &Context<'_>) -> Result<Request, Judgement> {
    let query = cx.query;
    let interval = SPEC.interval(query)?;
    let reach = interval.duration().unwrap_or(MONTH).saturating_mul(RECENT_BARS);
    let recent = query.range.is_none_or(|range| range.from >= cx.now.saturating_sub(reach));
    let (path, bucket, rows_max) = if recent {
        ("/api/v5/market/candles", "candles", BARS_MAX)
    } else {
        ("/api/v5/market/history-candles", "history-candles", HISTORY_ROWS_MAX)
    };
    // `after` is what is older than a time, `before` what is newer: the reverse of what the words suggest.
    let to = query.range.map(|range| format_compact!("{}", range.to.as_millis()));
    let rows = query.limit.or(query.range.map(|_| rows_max));
    Ok(Request::get(path)
        .param("instId", cx.only_native()?)
        .param("bar", bar_name(interval))
        .param_opt("after", query.cursor.clone().or(to))
        .param_opt("before", query.range.map(|range| range.from.as_millis() - 1))
        .param_opt("limit", rows.map(|rows| rows.clamp(1, rows_max)))
        .bucket(bucket))
}

/// OKX writes hours and longer in capitals; from six hours on, only the `utc` forms start at midnight UTC.
fn bar_name(interval: Interval) -> String {
    let name = interval.to_string();
    match (interval.unit(), interval.count()) {
        (IntervalUnit::Hour, ..=4) => name.to_uppercase(),
        (IntervalUnit::Hour | IntervalUnit::Day | IntervalUnit::Week | IntervalUnit::Month, _) => {
            format!("{}utc", name.to_uppercase())
        }
        _ => name,
    }
}

json::row! {
    struct Candle {
        /// Milliseconds.
        ts: Int<i64>,
        open: Dec,
        high: Dec,
        low: Dec,
        close: Dec;
        /// Base units of spot, contracts of derivatives.
        volume: Blank<Dec>,
        /// Quote units of spot, base units of derivatives.
        volume_currency: Blank<Dec>,
        volume_quote: Blank<Dec>,
        /// 1 when the bar is over.
        confirm: Blank<Int<u8>>,
    }
}

fn decode_bars(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
    let mut doc = json::plain(&answer.body);
    let rows = read::<Candle>(&mut doc, answer)?;
    let (symbol, native) = names(cx, None);
    let measure = match &native {
        Some(native) => Some(unit_of(native.as_str())),
        None => measure_of(&rows),
    };
    out.expect(rows.len());
    for row in &rows {
        let start = times::millis("[0]", row.ts.0)?;
        if cx.query.range.is_some_and(|range| start < range.from || start >= range.to) {
            continue;
        }
        let told = row.confirm.0.map(|confirm| confirm.0 == 1);
        let span = times::bar_span(start, cx.query.interval, told, answer.ts_recv);
        let spot_quote = row.volume_currency.0.filter(|_| measure == Some(None));
        let volume = row.volume.0.filter(|_| measure.is_some());
        let bar = Bar {
            interval: cx.query.interval,
            start,
            end: span.end,
            open: row.open,
            high: row.high,
            low: row.low,
            close: row.close,
            volume,
            quote_volume: row.volume_quote.0.or(spot_quote),
            trades: None,
            closed: span.closed,
            volume_unit: volume.and(measure.flatten()),
        };
        out.push(symbol.clone(), native.clone(), Some(span.ts_event), Data::Bar(Box::new(bar)));
    }
    let oldest = rows.last().map(|row| row.ts.0);
    let goes_on = cx.query.range.is_some_and(|range| oldest.is_some_and(|ms| ms > range.from.as_millis()));
    Ok(oldest.filter(|_| goes_on).map(|ms| format_compact!("{ms}")))
}

/// What the volumes of candles without a name are in: of spot, the second and third volume are both in quote units and
/// therefore equal; of derivatives the second is in base units. `None` when the rows are too short to tell.
fn measure_of(rows: &[Candle]) -> Option<Option<VolumeUnit>> {
    let both: Vec<_> = rows.iter().filter_map(|row| row.volume_currency.0.zip(row.volume_quote.0)).collect();
    if both.is_empty() {
        return None;
    }
    let contracts = both.iter().any(|(currency, quote)| currency != quote);
    Some(contracts.then_some(VolumeUnit::Contracts))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Depth {
    bids: Vec<Level>,
    asks: Vec<Level>,
    /// Milliseconds.
    #[serde(default)]
    ts: Blank<Int<i64>>,
    seq_id: Option<u64>,
}

fn decode_books(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let mut doc = json::plain(&answer.body);
    for depth in read::<Depth>(&mut doc, answer)? {
        let (symbol, native) = names(cx, None);
        let book = Book {
            bids: depth.bids,
            asks: depth.asks,
            sequence: depth.seq_id,
            volume_unit: native.as_ref().and_then(|native| unit_of(native.as_str())),
        };
        let ts_event = depth.ts.0.map(|ms| times::millis("ts", ms.0)).transpose()?;
        out.push(symbol, native, ts_event, Data::Book(Box::new(book)));
    }
    Ok(())
}

/// The names of a record; OKX's have separators and translate by rule.
fn names(cx: &Context<'_>, told: Option<&str>) -> (Option<Symbol>, Option<Native>) {
    let (symbol, native) = cx.names(told);
    (symbol.or_else(|| canonical(told?)), native)
}

fn canonical(native: &str) -> Option<Symbol> {
    let parts: Vec<&str> = native.split('-').collect();
    match parts.as_slice() {
        [base, quote] => Some(Contract::Spot.symbol(base, quote)),
        [base, quote, "SWAP"] => Some(Contract::Perpetual.symbol(base, quote)),
        [base, quote, date] => Some(Contract::Dated(&contract::from_six_digits(date)?).symbol(base, quote)),
        [base, quote, date, strike, side @ ("C" | "P")] => {
            let date = contract::from_six_digits(date)?;
            Some(Contract::Option { date: &date, strike, call: *side == "C" }.symbol(base, quote))
        }
        _ => None,
    }
}

/// Whatever has more than a base and a quote in its name is a derivative, counted in contracts.
fn unit_of(native: &str) -> Option<VolumeUnit> {
    (native.matches('-').count() > 1).then_some(VolumeUnit::Contracts)
}

fn market_of(symbol: &Symbol) -> Option<&'static str> {
    Contract::split(symbol).map(|(_, _, contract)| match contract {
        Contract::Dated(_) => "FUTURES",
        Contract::Option { .. } => "OPTION",
        Contract::Perpetual => "SWAP",
        Contract::Spot => "SPOT",
    })
}

/// The market that a request for all of it is about: that of the symbols, which must agree; spot without any.
fn market(symbols: &[Symbol]) -> Result<&'static str, Judgement> {
    let mut markets = symbols.iter().filter_map(market_of);
    let first = markets.next().unwrap_or("SPOT");
    if first == "OPTION" || markets.any(|other| other != first) {
        let expected =
            "okx: expected symbols of one market (spot, perpetuals or dated futures) for a whole-market request";
        return Err(Judgement::unservable("market_mixed", format!("{expected}, found {}", symbols.len())));
    }
    Ok(first)
}

#[derive(Deserialize)]
struct ErrorBody<'a> {
    code: Int<i64>,
    msg: Option<&'a str>,
}

/// What the envelope's code says ("Error Code"); `None` when it tells of success or the body is no envelope.
fn by_code(answer: &Answer) -> Option<Judgement> {
    let mut doc = json::plain(&answer.body);
    let error = doc.read::<ErrorBody<'_>>().ok()?;
    let message = error.msg.unwrap_or("");
    let judgement = by_status(answer, Some(message).filter(|text| !text.is_empty()));
    let mut implied = None;
    let (verdict, reason) = match error.code.0 {
        0 => return None,
        50_011 | 50_040 | 50_061 => {
            // All limits are per two seconds.
            implied = answer.retry_after().is_none().then_some(WINDOW);
            (Verdict::RateLimited, "rate_limit")
        }
        51_001 => (Verdict::NotFound, "symbol_unknown"),
        51_000 if message.contains("bar") => (Verdict::BadRequest, "interval_unknown"),
        50_102 => (Verdict::BadRequest, "clock_skew"),
        50_113 => (Verdict::Unauthorized, "signature"),
        50_100..=50_121 => (Verdict::Unauthorized, "key"),
        50_001 | 50_004 | 50_005 | 50_013 | 50_026 => (Verdict::UpstreamError, "provider"),
        50_000..=50_099 | 51_000..=51_999 => (Verdict::BadRequest, "argument"),
        _ if answer.is_success() => (Verdict::BadRequest, "argument"),
        _ => (judgement.verdict, judgement.reason),
    };
    Some(Judgement { verdict, reason, ..judgement }.retry_after(implied))
}

const TRADES_MAX: u32 = 500;
const HISTORY_ROWS_MAX: u32 = 100;
const BARS_MAX: u32 = 300;
const RECENT_BARS: u32 = 1_440;
const LEVELS_MAX: u32 = 400;
const LEVELS_DEFAULT: u32 = 100;
const MONTH: Duration = Duration::from_secs(31 * 86_400);
const WINDOW: Duration = Duration::from_secs(2);

static PREREQUISITES: &[Prerequisite] =
    &[listed("instruments"), listed("instruments_futures"), listed("instruments_swap")];

/// Names are translated by rule; the lists only serve those who want to see them.
const fn listed(name: &'static str) -> Prerequisite {
    Prerequisite { name, ttl: Duration::from_secs(86_400), needed: |_, _| false, invalidated_by: &[] }
}

const fn window(bucket: &'static str, limit: u32) -> WindowSpec {
    WindowSpec { bucket, limit, per: WINDOW, shape: WindowShape::Rolling }
}

static SPEC: Spec = Spec {
    id: SourceId("okx"),
    title: "OKX",
    bases: &[Base { name: "api", url: "https://www.okx.com" }],
    kinds: &[
        KindSpec { kind: Kind::Ticker, whole_market: true, every: Duration::from_secs(2), ..KIND },
        KindSpec { kind: Kind::Trade, past: Past::ranged(HISTORY_ROWS_MAX), ..KIND },
        KindSpec {
            kind: Kind::Bar,
            intervals: INTERVALS,
            past: Past::ranged(HISTORY_ROWS_MAX),
            every: Duration::from_secs(10),
            ..KIND
        },
        KindSpec { kind: Kind::Book, ..KIND },
    ],
    credentials: &[],
    tiers: &[Tier {
        name: "free",
        windows: &[
            window("books", 40),
            window("candles", 40),
            window("history-candles", 20),
            window("history-trades", 20),
            window("instruments", 20),
            window("ticker", 20),
            window("tickers", 20),
            window("trades", 100),
        ],
    }],
    scope: QuotaScope::Ip,
    samples: samples! {
        "okx", "books.json", "candles.json", "instruments_spot.json", "instruments_swap.json", "ticker.json", "tickers.json", "trades.json"
    },
    routes: include_str!("samples/okx/routes.toml"),
    evidence: Evidence::Mixed,
    quota_docs: "20 to 100 requests per 2 seconds, IP and endpoint (API v5 guide; 2026-07-21)",
};

const KIND: KindSpec = KindSpec {
    kind: Kind::Ticker,
    key: KeyUse::None,
    batching: Batching::One,
    whole_market: false,
    intervals: &[],
    past: Past::NONE,
    every: Duration::from_secs(5),
    examples: &["BTC-USDT", "ETH-USDT"],
};

const INTERVALS: &[Interval] = intervals![
    1 Minute, 3 Minute, 5 Minute, 15 Minute, 30 Minute, 1 Hour, 2 Hour, 4 Hour, 6 Hour, 12 Hour, 1 Day, 1 Week, 1 Month
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::Query;
    use crate::source::testing;
    use crate::time::UnixNanos;

    fn btc(kind: Kind) -> Query {
        Query::new(kind).symbol("BTC-USDT")
    }

    fn record(kind: &str, event: i64, data: Value) -> Value {
        json!({"source": "okx", "kind": kind, "symbol": "BTC-USDT", "native": "BTC-USDT", "ts_event": event, "data": data})
    }

    #[test]
    fn tickers_of_spot_and_derivatives() {
        testing::check(
            &Okx,
            &btc(Kind::Ticker),
            "ticker.json",
            json!([record(
                "ticker",
                1_767_225_599_999_000_000,
                json!({
                "last": "87648.2", "last_size": "0.00113", "open": "88490", "high": "89000", "low": "87120.5", "volume": "6172.8394506",
                "quote_volume": "543287561.7283945", "bid": "87648.1", "bid_size": "4.21", "ask": "87648.2", "ask_size": "1.305"})
            )]),
        );
        testing::check_bad_bodies(&Okx, &btc(Kind::Ticker), "ticker.json");
        let check = |body: &str, expected: Value| {
            let found = testing::decode(&Okx, &Query::new(Kind::Ticker), 200, body).unwrap();
            assert_eq!(Value::Array(found), expected, "{body}");
        };
        check(
            r#"{"code":"0","msg":"","data":[{"instId":"BTC-USD-SWAP","last":"5","lastSz":"3","vol24h":"70","volCcy24h":"1.4","askPx":"","ts":"1000"},
                {"instId":"NEW-USDT","last":""}]}"#,
            json!([{"source": "okx", "kind": "ticker", "symbol": "BTC-USD.PERP", "native": "BTC-USD-SWAP", "ts_event": 1_000_000_000,
                    "data": {"last": "5", "last_size": "3", "volume": "70", "volume_unit": "contracts"}}]),
        );
        check(
            r#"{"instId":"BTC-USD-240628-60000-C","last":"0.0120"}"#,
            json!([{"source": "okx", "kind": "ticker", "symbol": "BTC-USD.20240628.60000.C", "native": "BTC-USD-240628-60000-C",
                    "data": {"last": "0.0120", "volume_unit": "contracts"}}]),
        );
        check(r#"{"code":"0","msg":"","data":[]}"#, json!([]));
        let all = testing::decode(&Okx, &Query::new(Kind::Ticker), 200, SPEC.sample("tickers.json").unwrap()).unwrap();
        let names: Vec<_> = all.iter().map(|record| record["symbol"].as_str()).collect();
        assert_eq!(names, [Some("BTC-USDT"), Some("ETH-USDT")]);
    }

    #[test]
    fn names_translate_both_ways() {
        let check = |symbol: &str, native: &str| {
            assert_eq!(Okx.native(Kind::Book, &Symbol::new(symbol), &State::default()).unwrap().as_str(), native);
            assert_eq!(canonical(native), Some(Symbol::new(symbol)));
        };
        check("BTC-USDT", "BTC-USDT");
        check("BTC-USDT.PERP", "BTC-USDT-SWAP");
        check("BTC-USD.20240628", "BTC-USD-240628");
        check("BTC-USD.20240628.60000.C", "BTC-USD-240628-60000-C");
        for other in ["BTC", "BTC-USD-2406", "BTC-USD-240628-60000", "BTC-USD-240628-60000-X", "A-B-C-D-E-F"] {
            assert_eq!(canonical(other), None, "{other}");
        }
        assert!(Okx.native(Kind::Book, &Symbol::new("AAPL"), &State::default()).is_err());
    }

    #[test]
    fn trades_and_books() {
        testing::check(
            &Okx,
            &btc(Kind::Trade),
            "trades.json",
            json!([
                record(
                    "trade",
                    1_767_225_599_001_000_000,
                    json!({"id": "834864334", "price": "87648.1", "size": "0.00082", "side": "sell"})
                ),
                record(
                    "trade",
                    1_767_225_598_120_000_000,
                    json!({"id": "834864333", "price": "87648.2", "size": "0.02924", "side": "buy"})
                ),
            ]),
        );
        testing::check(
            &Okx,
            &btc(Kind::Book),
            "books.json",
            json!([record(
                "book",
                1_767_225_599_990_000_000,
                json!({
                "bids": [["87648.1", "4.21"], ["87648", "0.5"]], "asks": [["87648.2", "1.305"], ["87650", "0.75"]]})
            )]),
        );
        testing::check_bad_bodies(&Okx, &btc(Kind::Trade), "trades.json");
        testing::check_bad_bodies(&Okx, &btc(Kind::Book), "books.json");
        let body = r#"{"code":"0","msg":"","data":[{"bids":[["1","2","0","1"]],"asks":[],"ts":"5","seqId":77}]}"#;
        let found = testing::decode(&Okx, &Query::new(Kind::Book).symbol("BTC-USDT.PERP"), 200, body).unwrap();
        assert_eq!(
            found[0]["data"],
            json!({"bids": [["1", "2"]], "asks": [], "sequence": 77, "volume_unit": "contracts"})
        );
    }

    #[test]
    fn bars_say_what_their_volumes_are_in() {
        let minute = 60_000_000_000_i64;
        let start = 1_767_225_480_000_000_000_i64;
        testing::check(
            &Okx,
            &btc(Kind::Bar).interval(Interval::MINUTE),
            "candles.json",
            json!([
                record(
                    "bar",
                    start + 2 * minute,
                    json!({"interval": "1m", "start": start + 2 * minute, "end": start + 3 * minute,
                    "open": "87648.2", "high": "87650", "low": "87648.1", "close": "87649.9", "volume": "1.25", "quote_volume": "109562.1", "closed": false})
                ),
                record(
                    "bar",
                    start + 2 * minute,
                    json!({"interval": "1m", "start": start + minute, "end": start + 2 * minute, "open": "87640",
                    "high": "87655.5", "low": "87630", "close": "87648.2", "volume": "15.3866", "quote_volume": "1348500.44683", "closed": true})
                ),
                record(
                    "bar",
                    start + minute,
                    json!({"interval": "1m", "start": start, "end": start + minute, "open": "87600",
                    "high": "87660", "low": "87590.1", "close": "87640", "volume": "21.63272", "quote_volume": "1896012.0134041", "closed": true})
                ),
            ]),
        );
        testing::check_bad_bodies(&Okx, &btc(Kind::Bar), "candles.json");
        let check = |query: &Query, row: &str, expected: Value| {
            let body = format!(r#"{{"code":"0","msg":"","data":[["60000","1","4","0.5","2",{row}]]}}"#);
            let data = testing::decode(&Okx, query, 200, &body).unwrap()[0]["data"].clone();
            let found =
                json!([data.get("volume"), data.get("quote_volume"), data.get("volume_unit"), data.get("closed")]);
            assert_eq!(found, expected, "{row}");
        };
        let none = Query::new(Kind::Bar);
        let swap = Query::new(Kind::Bar).symbol("BTC-USDT.PERP");
        check(&swap, r#""10","0.1","900","1""#, json!(["10", "900", "contracts", true]));
        check(&swap, r#""10","0.1""#, json!(["10", null, "contracts", null]));
        check(&btc(Kind::Bar), r#""10","900""#, json!(["10", "900", null, null]));
        check(&none, r#""10","0.1","900","0""#, json!(["10", "900", "contracts", false]));
        check(&none, r#""10","900","900","1""#, json!(["10", "900", null, true]));
        check(&none, r#""10","900""#, json!([null, null, null, null]));
    }

    #[test]
    fn requests_take_the_endpoint_that_reaches() {
        let at = |secs| UnixNanos::from_secs(secs).unwrap();
        let request = |query: &Query| testing::request(&Okx, query).unwrap();
        let target = |query: &Query| request(query).target().to_owned();
        assert_eq!(target(&btc(Kind::Ticker)), "/api/v5/market/ticker?instId=BTC-USDT");
        let whole = |symbol: &str| Query { whole_market: true, ..Query::new(Kind::Ticker).symbol(symbol) };
        assert_eq!(target(&whole("BTC-USDT.PERP")), "/api/v5/market/tickers?instType=SWAP");
        assert_eq!(
            testing::request(&Okx, &whole("BTC-USDT").symbol("BTC-USDT.PERP")).unwrap_err().reason,
            "market_mixed"
        );
        assert_eq!(target(&btc(Kind::Book).limit(5_000)), "/api/v5/market/books?instId=BTC-USDT&sz=400");
        assert_eq!(target(&btc(Kind::Bar)), "/api/v5/market/candles?instId=BTC-USDT&bar=1m");
        assert_eq!(target(&btc(Kind::Bar).interval(Interval::DAY)), "/api/v5/market/candles?instId=BTC-USDT&bar=1Dutc");
        let hours = btc(Kind::Bar).interval(Interval::HOUR);
        assert_eq!(
            target(&hours.clone().range(at(1_767_222_000), at(1_767_229_200))),
            "/api/v5/market/candles?instId=BTC-USDT&bar=1H&after=1767229200000&before=1767221999999&limit=300"
        );
        assert_eq!(
            target(&hours.range(at(1_700_000_000), at(1_700_007_200)).cursor("1700003600000")),
            "/api/v5/market/history-candles?instId=BTC-USDT&bar=1H&after=1700003600000&before=1699999999999&limit=100"
        );
        let trades = btc(Kind::Trade).range(at(1_767_225_000), at(1_767_225_600));
        assert_eq!(
            target(&trades),
            "/api/v5/market/history-trades?instId=BTC-USDT&type=2&after=1767225600000&limit=100"
        );
        assert_eq!(
            target(&trades.cursor("9")),
            "/api/v5/market/history-trades?instId=BTC-USDT&type=1&after=9&limit=100"
        );
        assert_eq!(request(&btc(Kind::Trade)).bucket, "trades");
        let odd = btc(Kind::Bar).interval(Interval::new(7, IntervalUnit::Minute));
        assert_eq!(testing::request(&Okx, &odd).unwrap_err().reason, "interval_unknown");
    }

    #[test]
    fn pages_go_back_to_the_start_of_the_span() {
        let at = |secs| UnixNanos::from_secs(secs).unwrap();
        let next = |query: &Query, sample| {
            let (state, credentials) = (State::default(), testing::credentials(&Okx));
            let cx = Context::new(&Okx, query, &state, &credentials, "", testing::NOW).unwrap();
            let answer = Answer::new(200, SPEC.sample(sample).unwrap());
            Okx.decode(&cx, &answer, &mut Batch::new(SPEC.id, UnixNanos::EPOCH)).unwrap()
        };
        let trades = btc(Kind::Trade).limit(2);
        assert_eq!(
            next(&trades.clone().range(at(1_767_225_000), at(1_767_225_600)), "trades.json").as_deref(),
            Some("834864333")
        );
        assert_eq!(next(&trades.clone().range(at(1_767_225_599), at(1_767_225_600)), "trades.json"), None);
        assert_eq!(next(&trades, "trades.json"), None);
        let bars = btc(Kind::Bar);
        assert_eq!(
            next(&bars.clone().range(at(1_767_225_000), at(1_767_225_700)), "candles.json").as_deref(),
            Some("1767225480000")
        );
        assert_eq!(next(&bars.range(at(1_767_225_480), at(1_767_225_700)), "candles.json"), None);
    }

    #[test]
    fn the_lists_of_markets_add_up() {
        let mut state = State::default();
        for sample in ["instruments_spot.json", "instruments_swap.json", "instruments_spot.json"] {
            let answer = Answer::new(200, SPEC.sample(sample).unwrap());
            Okx.prerequisite_decode("instruments", &answer, &mut state).unwrap();
        }
        assert_eq!(state.instruments.list().len(), 4);
        assert_eq!(state.instruments.native_of(&Symbol::new("ETH-USDT.PERP")), Some(&Native::new("ETH-USDT-SWAP")));
    }

    #[test]
    fn codes_are_told_apart() {
        let check = |status, body, expected| testing::check_verdict(&Okx, &btc(Kind::Ticker), status, body, expected);
        check(429, r#"{"code":"50011","data":[],"msg":"Too Many Requests"}"#, (Verdict::RateLimited, "rate_limit"));
        check(200, r#"{"code":"50011","msg":"Too Many Requests"}"#, (Verdict::RateLimited, "rate_limit"));
        check(
            200,
            r#"{"code":"51001","data":[],"msg":"Instrument ID doesn't exist."}"#,
            (Verdict::NotFound, "symbol_unknown"),
        );
        check(
            400,
            r#"{"code":"50014","data":[],"msg":"Parameter instId can not be empty."}"#,
            (Verdict::BadRequest, "argument"),
        );
        check(
            400,
            r#"{"code":"51000","data":[],"msg":"Parameter bar error"}"#,
            (Verdict::BadRequest, "interval_unknown"),
        );
        check(401, r#"{"code":"50111","msg":"Invalid OK-ACCESS-KEY"}"#, (Verdict::Unauthorized, "key"));
        check(
            503,
            r#"{"code":"50001","msg":"Service temporarily unavailable."}"#,
            (Verdict::UpstreamError, "provider"),
        );
        check(200, r#"{"code":"0","msg":"","data":[{"instId":"BTC-USDT","last":""}]}"#, (Verdict::Malformed, "shape"));
        check(
            200,
            r#"{"code":"0","msg":"","data":[{"instId":"BTC-USDT","markPx":"5"}]}"#,
            (Verdict::Malformed, "shape"),
        );
        check(200, r#"{"code":"0","msg":"","data":null}"#, (Verdict::Malformed, "shape"));
        let body = r#"{"code":"50011","data":[],"msg":"Too Many Requests"}"#;
        let judgement = testing::decode(&Okx, &btc(Kind::Ticker), 429, body).unwrap_err();
        assert_eq!(judgement.retry_after, Some(WINDOW));
    }
}
