//! Bybit: spot, linear and inverse derivatives, options. Public market data only. Facts: Bybit's API v5 documentation,
//! state of 2026-07-24. Prices, sizes and most times are strings, an empty string is a null. One name can mean a spot
//! pair and a perpetual: only with its category it names an instrument. The envelope's `retCode` tells failures under
//! status 200.

use std::collections::HashMap;
use std::time::Duration;

use compact_str::{CompactString, format_compact};
use serde::Deserialize;

use crate::model::{
    Bar, Book, Data, Dec, Interval, IntervalUnit, Judgement, Kind, Level, Native, Query, Side, SourceId, Symbol,
    Ticker, Trade, Verdict, VolumeUnit,
};
use crate::source::contract::{self, Contract};
use crate::source::spec::{intervals, samples};
use crate::source::{
    Base, Batch, Batching, Context, Evidence, Instrument, KeyUse, KindSpec, Past, Prerequisite, QuotaScope, Source,
    Spec, State, Tier, WindowShape, WindowSpec, by_status,
};
use crate::time::UnixNanos;
use crate::wire::fields::{Blank, Int};
use crate::wire::json::Doc;
use crate::wire::{Answer, Request, json, times};

/// The source.
pub struct Bybit;

impl Source for Bybit {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn native(&self, _kind: Kind, symbol: &Symbol, state: &State) -> Result<Native, Judgement> {
        if let Some(native) = state.instruments.native_of(symbol) {
            return Ok(native.clone());
        }
        native_by_rule(symbol).map(Native::new).ok_or_else(|| {
            Judgement::unservable(
                "symbol_form",
                format!("bybit: expected a name such as BTC-USDT, BTC-USDT.PERP or BTC-USDT.20261225, found {symbol}"),
            )
        })
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let query = cx.query;
        let category = category(&query.symbols)?;
        let one = |path: &str| -> Result<Request, Judgement> {
            Ok(Request::get(path).param("category", category).param("symbol", cx.only_native()?))
        };
        match query.kind {
            Kind::Ticker if query.whole_market && category == OPTION => Err(Judgement::unservable(
                "market_mixed",
                "bybit: options are asked for one by one, found a whole market",
            )),
            Kind::Ticker if query.whole_market => Ok(Request::get("/v5/market/tickers").param("category", category)),
            Kind::Ticker => one("/v5/market/tickers"),
            Kind::Trade => {
                let rows_max = if category == SPOT { 60 } else { 1_000 };
                Ok(one("/v5/market/recent-trade")?.param_opt("limit", query.limit.map(|rows| rows.clamp(1, rows_max))))
            }
            Kind::Bar => {
                let interval = SPEC.interval(query)?;
                // Both ends are inclusive, and rows come from the end backwards.
                let end = query.range.map(|range| format_compact!("{}", range.to.as_millis() - 1));
                Ok(one("/v5/market/kline")?
                    .param("interval", interval_name(interval))
                    .param_opt("start", query.range.map(|range| range.from.as_millis()))
                    .param_opt("end", query.cursor.clone().or(end))
                    .param_opt("limit", bars_limit(query)))
            }
            Kind::Book => {
                let levels_max = if category == OPTION { 25 } else { 1_000 };
                Ok(one("/v5/market/orderbook")?.param("limit", query.limit.unwrap_or(50).clamp(1, levels_max)))
            }
            kind => Err(Judgement::unservable("kind_unknown", format!("bybit: has no {kind}"))),
        }
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        let decoded = match cx.query.kind {
            Kind::Ticker => decode_tickers(cx, answer, out).map(|()| None),
            Kind::Trade => decode_trades(cx, answer, out).map(|()| None),
            Kind::Bar => decode_bars(cx, answer, out),
            Kind::Book => decode_book(cx, answer, out).map(|()| None),
            kind => Err(Judgement::unservable("kind_unknown", format!("bybit: has no {kind}"))),
        };
        decoded.map_err(|judgement| by_code(answer).unwrap_or(judgement))
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        if let Some(judgement) = by_code(answer) {
            return judgement;
        }
        let judgement = by_status(answer, None);
        let text = judgement.message.to_lowercase();
        if answer.status == 403 && text.contains("too frequent") {
            // The address is shut out until it has been quiet for ten minutes ("Rate Limit", IP limit).
            let wait = judgement.retry_after.or(Some(BAN));
            return Judgement { verdict: Verdict::Banned, reason: "too_frequent", ..judgement }.retry_after(wait);
        }
        if answer.status == 403 && text.contains("country") {
            return Judgement { reason: "region", ..judgement };
        }
        judgement
    }

    fn prerequisites(&self) -> &'static [Prerequisite] {
        PREREQUISITES
    }

    fn prerequisite_request(&self, name: &str, _cx: &Context<'_>) -> Result<Request, Judgement> {
        let request = Request::get("/v5/market/instruments-info");
        Ok(match name {
            "instruments_inverse" => request.param("category", INVERSE).param("limit", 1_000),
            "instruments_linear" => request.param("category", LINEAR).param("limit", 1_000),
            _ => request.param("category", SPOT),
        })
    }

    /// Replaces what the list of one category told before and keeps the others'.
    fn prerequisite_decode(&self, _name: &str, answer: &Answer, state: &mut State) -> Result<(), Judgement> {
        if !answer.is_success() {
            return Err(by_code(answer).unwrap_or_else(|| by_status(answer, None)));
        }
        let mut doc = json::plain(&answer.body);
        let listed = read::<Listed<ListedInstrument<'_>>>(&mut doc, answer)?.0.list;
        let fresh: Vec<Instrument> = listed
            .iter()
            .filter_map(|row| {
                Some(Instrument { symbol: row.canonical()?, native: Native::new(row.symbol), aliases: Vec::new() })
            })
            .collect();
        let Some(kind) = fresh.first().and_then(|first| category_of(&first.symbol)) else { return Ok(()) };
        let known = state.instruments.list().iter();
        let others = known.filter(|known| category_of(&known.symbol) != Some(kind)).cloned();
        state.instruments = others.chain(fresh.iter().cloned()).collect::<Vec<_>>().into();
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<T> {
    ret_code: i64,
    result: Option<T>,
    /// Milliseconds; when the server answered.
    time: Option<i64>,
}

/// Reads the result out of its envelope, with the server's time.
fn read<'a, T: Deserialize<'a>>(doc: &'a mut Doc<'_>, answer: &Answer) -> Result<(T, Option<UnixNanos>), Judgement> {
    let envelope = doc.read::<Envelope<T>>().map_err(|judgement| by_code(answer).unwrap_or(judgement))?;
    if envelope.ret_code != 0 {
        return Err(by_code(answer).unwrap_or_else(|| Judgement::malformed("retCode: expected 0, found another")));
    }
    let result = envelope.result.ok_or_else(|| Judgement::malformed("result: expected an object, found nothing"))?;
    Ok((result, envelope.time.map(|ms| times::millis("time", ms)).transpose()?))
}

/// A result that is a list, of one category and perhaps one name.
#[derive(Deserialize)]
struct Listed<T> {
    category: Option<CompactString>,
    symbol: Option<CompactString>,
    list: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct ListedInstrument<'a> {
    symbol: &'a str,
    base_coin: &'a str,
    quote_coin: &'a str,
    contract_type: Option<&'a str>,
    /// Milliseconds; 0 for what does not end.
    #[serde(default)]
    delivery_time: Blank<Int<i64>>,
}

impl ListedInstrument<'_> {
    fn canonical(&self) -> Option<Symbol> {
        let date = || {
            let at = UnixNanos::from_millis(self.delivery_time.0?.0)?;
            Some(times::date(at).replace('-', ""))
        };
        let contract = match self.contract_type {
            None => Contract::Spot,
            Some(kind) if kind.ends_with("Perpetual") => Contract::Perpetual,
            Some(_) => return Some(Contract::Dated(&date()?).symbol(self.base_coin, self.quote_coin)),
        };
        Some(contract.symbol(self.base_coin, self.quote_coin))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct TickerRow<'a> {
    symbol: &'a str,
    #[serde(default)]
    last_price: Blank<Dec>,
    #[serde(default)]
    prev_price24h: Blank<Dec>,
    #[serde(default)]
    high_price24h: Blank<Dec>,
    #[serde(default)]
    low_price24h: Blank<Dec>,
    /// A fraction.
    #[serde(default, rename = "price24hPcnt")]
    change_fraction: Blank<Dec>,
    /// In price units; options only.
    #[serde(default)]
    change24h: Blank<Dec>,
    /// Base units, of inverse contracts their number.
    #[serde(default)]
    volume24h: Blank<Dec>,
    /// Quote units, of inverse contracts base units.
    #[serde(default)]
    turnover24h: Blank<Dec>,
    #[serde(default)]
    bid1_price: Blank<Dec>,
    #[serde(default)]
    bid1_size: Blank<Dec>,
    #[serde(default)]
    ask1_price: Blank<Dec>,
    #[serde(default)]
    ask1_size: Blank<Dec>,
}

fn decode_tickers(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let mut doc = json::plain(&answer.body);
    let (listed, ts_event) = read::<Listed<TickerRow<'_>>>(&mut doc, answer)?;
    let names = Names::new(cx, listed.category.as_deref());
    for row in listed.list.iter().filter(|row| cx.wants(row.symbol)) {
        let Some(last) = row.last_price.0 else {
            // In the list of a category, what has never traded is left out.
            if listed.list.len() > 1 {
                continue;
            }
            return Err(Judgement::malformed("lastPrice: expected a decimal, found nothing"));
        };
        let change_pct = row.change_fraction.0.map(|fraction| fraction.shift(2)).transpose();
        let ticker = Ticker {
            last,
            open: row.prev_price24h.0,
            high: row.high_price24h.0,
            low: row.low_price24h.0,
            change: row.change24h.0,
            change_pct: change_pct.map_err(|error| Judgement::malformed(format!("price24hPcnt: expected {error}")))?,
            volume: row.volume24h.0,
            quote_volume: row.turnover24h.0.filter(|_| names.unit.is_none()),
            bid: row.bid1_price.0,
            bid_size: row.bid1_size.0,
            ask: row.ask1_price.0,
            ask_size: row.ask1_size.0,
            volume_unit: names.unit,
            ..Ticker::default()
        };
        let (symbol, native) = names.of(Some(row.symbol));
        out.push(symbol, native, ts_event, Data::Ticker(Box::new(ticker)));
    }
    Ok(())
}

#[derive(Clone, Copy, Deserialize)]
enum Taker {
    Buy,
    Sell,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct TradeRow<'a> {
    symbol: Option<&'a str>,
    exec_id: Option<&'a str>,
    price: Dec,
    size: Dec,
    side: Option<Taker>,
    /// Milliseconds.
    #[serde(default)]
    time: Blank<Int<i64>>,
}

fn decode_trades(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let mut doc = json::plain(&answer.body);
    let (listed, _) = read::<Listed<TradeRow<'_>>>(&mut doc, answer)?;
    let names = Names::new(cx, listed.category.as_deref());
    out.expect(listed.list.len());
    for row in &listed.list {
        let side = row.side.map(|taker| match taker {
            Taker::Buy => Side::Buy,
            Taker::Sell => Side::Sell,
        });
        let trade = Trade {
            id: row.exec_id.map(CompactString::new),
            price: row.price,
            size: row.size,
            side,
            volume_unit: names.unit,
        };
        let ts_event = row.time.0.map(|ms| times::millis("time", ms.0)).transpose()?;
        let (symbol, native) = names.of(row.symbol);
        out.push(symbol, native, ts_event, Data::Trade(trade));
    }
    Ok(())
}

json::row! {
    /// A candle; those of index and mark prices have no volumes.
    struct Candle {
        /// Milliseconds.
        start: Int<i64>,
        open: Dec,
        high: Dec,
        low: Dec,
        close: Dec;
        volume: Blank<Dec>,
        turnover: Blank<Dec>,
    }
}

fn decode_bars(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
    let mut doc = json::plain(&answer.body);
    let (listed, _) = read::<Listed<Candle>>(&mut doc, answer)?;
    let names = Names::new(cx, listed.category.as_deref());
    let (symbol, native) = names.of(listed.symbol.as_deref());
    out.expect(listed.list.len());
    for row in &listed.list {
        let start = times::millis("[0]", row.start.0)?;
        let span = times::bar_span(start, cx.query.interval, None, answer.ts_recv);
        let bar = Bar {
            interval: cx.query.interval,
            start,
            end: span.end,
            open: row.open,
            high: row.high,
            low: row.low,
            close: row.close,
            volume: row.volume.0,
            quote_volume: row.turnover.0.filter(|_| names.unit.is_none()),
            trades: None,
            closed: span.closed,
            volume_unit: row.volume.0.and(names.unit),
        };
        out.push(symbol.clone(), native.clone(), Some(span.ts_event), Data::Bar(Box::new(bar)));
    }
    let full = bars_limit(cx.query).is_some_and(|rows| listed.list.len() as u32 >= rows);
    let oldest = listed.list.last().map(|row| row.start.0);
    let goes_on = |ms: &i64| full && cx.query.range.is_some_and(|range| *ms > range.from.as_millis());
    Ok(oldest.filter(goes_on).map(|ms| format_compact!("{}", ms - 1)))
}

#[derive(Deserialize)]
struct Depth {
    s: Option<CompactString>,
    b: Vec<Level>,
    a: Vec<Level>,
    /// Milliseconds.
    ts: Option<i64>,
    seq: Option<u64>,
}

fn decode_book(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let mut doc = json::plain(&answer.body);
    let (depth, _) = read::<Depth>(&mut doc, answer)?;
    let names = Names::new(cx, None);
    let ts_event = depth.ts.map(|ms| times::millis("ts", ms)).transpose()?;
    let book = Book { bids: depth.b, asks: depth.a, sequence: depth.seq, volume_unit: names.unit };
    let (symbol, native) = names.of(depth.s.as_deref());
    out.push(symbol, native, ts_event, Data::Book(Box::new(book)));
    Ok(())
}

/// The canonical names within one category, and the unit of its sizes.
struct Names<'a> {
    cx: &'a Context<'a>,
    /// What the body says; else what was asked for.
    category: Option<&'a str>,
    listed: HashMap<&'a str, &'a Symbol>,
    unit: Option<VolumeUnit>,
}

impl<'a> Names<'a> {
    fn new(cx: &'a Context<'a>, told: Option<&'a str>) -> Self {
        let category = told.or_else(|| category_of(cx.query.symbols.first()?));
        let instruments = cx.state.instruments.list().iter();
        let same = instruments.filter(|known| category.is_some() && category_of(&known.symbol) == category);
        let listed = same.map(|known| (known.native.as_str(), &known.symbol)).collect();
        Names { cx, category, listed, unit: (category == Some(INVERSE)).then_some(VolumeUnit::Contracts) }
    }

    fn of(&self, told: Option<&str>) -> (Option<Symbol>, Option<Native>) {
        let Some(native) = told else { return self.cx.names(None) };
        let asked = self.cx.natives.iter().position(|known| known.as_str() == native);
        let asked = asked.map(|at| &self.cx.query.symbols[at]);
        let symbol = asked.filter(|symbol| category_of(symbol) == self.category);
        let symbol = symbol.or_else(|| self.listed.get(native).copied()).cloned();
        (symbol.or_else(|| option_by_rule(native)), Some(Native::new(native)))
    }
}

fn native_by_rule(symbol: &Symbol) -> Option<String> {
    let (base, quote, contract) = Contract::split(symbol)?;
    let (base, quote) = (base.to_uppercase(), quote.to_uppercase());
    Some(match contract {
        Contract::Spot => format!("{base}{quote}"),
        Contract::Perpetual if quote == "USDC" => format!("{base}PERP"),
        Contract::Perpetual => format!("{base}{quote}"),
        // Inverse futures end quarterly: a letter for the month, two digits of the year.
        Contract::Dated(date) if quote == "USD" => {
            let month = match &date[4..6] {
                "03" => 'H',
                "06" => 'M',
                "09" => 'U',
                "12" => 'Z',
                _ => return None,
            };
            format!("{base}{quote}{month}{}", &date[2..4])
        }
        Contract::Dated(date) => {
            let pair = if quote == "USDC" { base } else { format!("{base}{quote}") };
            format!("{pair}-{}", contract::to_day_month_year(date)?)
        }
        Contract::Option { date, strike, call } => {
            let side = if call { 'C' } else { 'P' };
            let suffix = if quote == "USDT" { "-USDT" } else { "" };
            format!("{base}-{}-{strike}-{side}{suffix}", contract::to_day_month_year(date)?)
        }
    })
}

/// Options in USDT name all their parts; the others leave their quote out and are not guessed.
fn option_by_rule(native: &str) -> Option<Symbol> {
    let parts: Vec<&str> = native.split('-').collect();
    let [base, date, strike, side @ ("C" | "P"), quote] = parts.as_slice() else { return None };
    let date = contract::from_day_month_year(date)?;
    Some(Contract::Option { date: &date, strike, call: *side == "C" }.symbol(base, quote))
}

fn category_of(symbol: &Symbol) -> Option<&'static str> {
    Contract::split(symbol).map(|(_, quote, contract)| match contract {
        Contract::Option { .. } => OPTION,
        Contract::Spot => SPOT,
        _ if quote == "USD" => INVERSE,
        _ => LINEAR,
    })
}

/// The category that a request is about: that of its symbols, which must agree; spot without any.
fn category(symbols: &[Symbol]) -> Result<&'static str, Judgement> {
    let mut categories = symbols.iter().filter_map(category_of);
    let first = categories.next().unwrap_or(SPOT);
    match categories.find(|other| *other != first) {
        None => Ok(first),
        Some(other) => {
            let message = format!("bybit: expected symbols of one category, found {first} and {other}");
            Err(Judgement::unservable("market_mixed", message))
        }
    }
}

/// Bybit writes minutes bare and longer units as a letter.
fn interval_name(interval: Interval) -> String {
    match (interval.unit(), interval.duration()) {
        (IntervalUnit::Minute | IntervalUnit::Hour, Some(length)) => (length.as_secs() / 60).to_string(),
        (IntervalUnit::Day, _) => "D".to_owned(),
        (IntervalUnit::Week, _) => "W".to_owned(),
        _ => "M".to_owned(),
    }
}

/// A span is asked for in pages as large as they get.
fn bars_limit(query: &Query) -> Option<u32> {
    query.limit.or(query.range.map(|_| BARS_MAX)).map(|rows| rows.clamp(1, BARS_MAX))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    ret_code: i64,
    ret_msg: Option<&'a str>,
}

/// What the envelope's code says ("Error Codes"); `None` when it tells of success or the body is no envelope.
fn by_code(answer: &Answer) -> Option<Judgement> {
    let mut doc = json::plain(&answer.body);
    let error = doc.read::<ErrorBody<'_>>().ok()?;
    let message = error.ret_msg.unwrap_or("");
    let lower = message.to_lowercase();
    let judgement = by_status(answer, Some(message).filter(|text| !text.is_empty()));
    let (verdict, reason) = match error.ret_code {
        0 => return None,
        10_001 if lower.contains("symbol") => (Verdict::NotFound, "symbol_unknown"),
        10_001 if lower.contains("interval") || lower.contains("period") => (Verdict::BadRequest, "interval_unknown"),
        10_002 => (Verdict::BadRequest, "clock_skew"),
        10_003 => (Verdict::Unauthorized, "key"),
        10_004 => (Verdict::Unauthorized, "signature"),
        10_005 | 10_010 => (Verdict::Unauthorized, "permission"),
        10_006 | 10_018 | 10_429 => (Verdict::RateLimited, "rate_limit"),
        10_009 => (Verdict::Banned, "address"),
        10_000 | 10_016 => (Verdict::UpstreamError, "provider"),
        _ if answer.is_success() => (Verdict::BadRequest, "argument"),
        _ => (judgement.verdict, judgement.reason),
    };
    // Milliseconds; the header is documented for the limits of keys.
    let reset =
        answer.header("x-bapi-limit-reset-timestamp").and_then(|text| UnixNanos::from_millis(text.parse().ok()?));
    let wait = reset.filter(|_| verdict == Verdict::RateLimited).map(|reset| reset.since(answer.ts_recv));
    Some(Judgement { verdict, reason, ..judgement }.retry_after(wait))
}

const INVERSE: &str = "inverse";
const LINEAR: &str = "linear";
const OPTION: &str = "option";
const SPOT: &str = "spot";
const BARS_MAX: u32 = 1_000;
const BARS: Past = Past::ranged(BARS_MAX);
const BAN: Duration = Duration::from_secs(600);

static PREREQUISITES: &[Prerequisite] = &[
    Prerequisite { needed: |query, _| query.whole_market && query.symbols.is_empty(), ..listed("instruments") },
    listed("instruments_inverse"),
    listed("instruments_linear"),
];

const fn listed(name: &'static str) -> Prerequisite {
    Prerequisite { name, ttl: Duration::from_secs(86_400), needed: |_, _| false, invalidated_by: &[] }
}

static SPEC: Spec = Spec {
    id: SourceId("bybit"),
    title: "Bybit",
    bases: &[Base { name: "api", url: "https://api.bybit.com" }],
    kinds: &[
        KindSpec { kind: Kind::Ticker, whole_market: true, every: Duration::from_secs(2), ..KIND },
        KindSpec { kind: Kind::Trade, ..KIND },
        KindSpec { kind: Kind::Bar, intervals: INTERVALS, past: BARS, every: Duration::from_secs(10), ..KIND },
        KindSpec { kind: Kind::Book, ..KIND },
    ],
    credentials: &[],
    tiers: &[Tier {
        name: "free",
        windows: &[WindowSpec { bucket: "", limit: 600, per: Duration::from_secs(5), shape: WindowShape::Rolling }],
    }],
    scope: QuotaScope::Ip,
    samples: samples! {
        "bybit", "instruments_linear.json", "instruments_spot.json", "kline.json", "orderbook.json", "tickers.json", "tickers_all.json",
        "trades.json"
    },
    routes: include_str!("samples/bybit/routes.toml"),
    evidence: Evidence::Documented,
    quota_docs: "600 requests per 5 seconds and IP (API v5, Rate Limit; 2026-07-24)",
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
    use crate::source::testing;

    fn btc(kind: Kind) -> Query {
        Query::new(kind).symbol("BTC-USDT")
    }

    fn record(kind: &str, event: i64, data: Value) -> Value {
        json!({"source": "bybit", "kind": kind, "symbol": "BTC-USDT", "native": "BTCUSDT", "ts_event": event, "data": data})
    }

    #[test]
    fn a_ticker_turns_the_fraction_into_percent() {
        testing::check(
            &Bybit,
            &btc(Kind::Ticker),
            "tickers.json",
            json!([record(
                "ticker",
                1_767_225_599_990_000_000,
                json!({
                "last": "87648.2", "open": "88490", "high": "89000", "low": "87120.5", "change_pct": "-0.95", "volume": "6172.83945",
                "quote_volume": "543287561.72839455", "bid": "87648.1", "bid_size": "4.21", "ask": "87648.2", "ask_size": "1.305"})
            )]),
        );
        testing::check_bad_bodies(&Bybit, &btc(Kind::Ticker), "tickers.json");
    }

    #[test]
    fn a_name_means_an_instrument_only_within_its_category() {
        let body = |category: &str| {
            format!(
                r#"{{"retCode":0,"retMsg":"OK","result":{{"category":"{category}","list":[{{"symbol":"BTCUSDT","lastPrice":"5","turnover24h":"9"}}]}}}}"#
            )
        };
        let found = |symbol: &str, category: &str| {
            let query = Query::new(Kind::Ticker).symbol(symbol);
            testing::decode(&Bybit, &query, 200, &body(category)).unwrap()[0].get("symbol").cloned()
        };
        assert_eq!(found("BTC-USDT", "spot"), Some(json!("BTC-USDT")));
        assert_eq!(found("BTC-USDT.PERP", "linear"), Some(json!("BTC-USDT.PERP")));
        assert_eq!(found("BTC-USDT", "linear"), None);
        let mut state = State::default();
        for sample in ["instruments_spot.json", "instruments_linear.json"] {
            let answer = Answer::new(200, SPEC.sample(sample).unwrap());
            Bybit.prerequisite_decode("instruments", &answer, &mut state).unwrap();
        }
        assert_eq!(state.instruments.list().len(), 4);
        assert_eq!(
            state.instruments.native_of(&Symbol::new("BTC-USDT.20260626")),
            Some(&Native::new("BTCUSDT-26JUN26"))
        );
        let query = Query { whole_market: true, ..Query::new(Kind::Ticker) };
        let all = testing::decode(&Bybit, &query, 200, SPEC.sample("tickers_all.json").unwrap()).unwrap();
        let names: Vec<_> = all.iter().map(|record| record["native"].as_str()).collect();
        assert_eq!(names, [Some("BTCUSDT"), Some("ETHUSDT")]);
        for (category, symbol) in [("spot", "BTC-USDT"), ("linear", "BTC-USDT.PERP")] {
            let records = testing::decode_with(&Bybit, &query, &state, Answer::new(200, body(category))).unwrap();
            assert_eq!(records[0]["symbol"], json!(symbol));
        }
        let inverse = testing::decode(&Bybit, &Query::new(Kind::Ticker), 200, &body("inverse")).unwrap();
        assert_eq!(inverse[0]["data"], json!({"last": "5", "volume_unit": "contracts"}));
    }

    #[test]
    fn names_by_rule() {
        let check = |symbol: &str, native: Option<&str>, category: Option<&str>| {
            let symbol = Symbol::new(symbol);
            assert_eq!(native_by_rule(&symbol).as_deref(), native, "{symbol}");
            assert_eq!(category_of(&symbol), category, "{symbol}");
        };
        check("BTC-USDT", Some("BTCUSDT"), Some(SPOT));
        check("BTC-USDT.PERP", Some("BTCUSDT"), Some(LINEAR));
        check("BTC-USDC.PERP", Some("BTCPERP"), Some(LINEAR));
        check("BTC-USD.PERP", Some("BTCUSD"), Some(INVERSE));
        check("BTC-USDT.20241227", Some("BTCUSDT-27DEC24"), Some(LINEAR));
        check("BTC-USD.20221230", Some("BTCUSDZ22"), Some(INVERSE));
        check("BTC-USD.20221130", None, Some(INVERSE));
        check("BTC-USDT.20260327.70000.P", Some("BTC-27MAR26-70000-P-USDT"), Some(OPTION));
        check("BTC-USDC.20221230.18000.C", Some("BTC-30DEC22-18000-C"), Some(OPTION));
        check("AAPL", None, None);
        assert_eq!(option_by_rule("BTC-27MAR26-70000-P-USDT"), Some(Symbol::new("BTC-USDT.20260327.70000.P")));
        assert_eq!(option_by_rule("BTC-30DEC22-18000-C"), None);
    }

    #[test]
    fn bars_trades_and_books() {
        let minute = 60_000_000_000_i64;
        let start = 1_767_225_480_000_000_000_i64;
        testing::check(
            &Bybit,
            &btc(Kind::Bar).interval(Interval::MINUTE),
            "kline.json",
            json!([
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
        testing::check(
            &Bybit,
            &btc(Kind::Trade),
            "trades.json",
            json!([
                record(
                    "trade",
                    1_767_225_599_001_000_000,
                    json!({"id": "2290000000097764264", "price": "87648.1", "size": "0.00082", "side": "sell"})
                ),
                record(
                    "trade",
                    1_767_225_598_120_000_000,
                    json!({"id": "2290000000097764263", "price": "87648.2", "size": "0.02924", "side": "buy"})
                ),
            ]),
        );
        testing::check(
            &Bybit,
            &btc(Kind::Book),
            "orderbook.json",
            json!([record(
                "book",
                1_767_225_599_970_000_000,
                json!({"bids": [["87648.1", "4.21"], ["87648", "0.5"]],
                "asks": [["87648.2", "1.305"], ["87650", "0.75"]], "sequence": 91432604333_u64})
            )]),
        );
        testing::check_bad_bodies(&Bybit, &btc(Kind::Bar), "kline.json");
        testing::check_bad_bodies(&Bybit, &btc(Kind::Trade), "trades.json");
        testing::check_bad_bodies(&Bybit, &btc(Kind::Book), "orderbook.json");
    }

    #[test]
    fn requests_name_the_category() {
        let at = |secs| UnixNanos::from_secs(secs).unwrap();
        let target = |query: &Query| testing::request(&Bybit, query).unwrap().target().to_owned();
        assert_eq!(target(&btc(Kind::Ticker)), "/v5/market/tickers?category=spot&symbol=BTCUSDT");
        let perpetual = Query::new(Kind::Trade).symbol("BTC-USDT.PERP").limit(5_000);
        assert_eq!(target(&perpetual), "/v5/market/recent-trade?category=linear&symbol=BTCUSDT&limit=1000");
        assert_eq!(
            target(&btc(Kind::Trade).limit(5_000)),
            "/v5/market/recent-trade?category=spot&symbol=BTCUSDT&limit=60"
        );
        assert_eq!(target(&btc(Kind::Book)), "/v5/market/orderbook?category=spot&symbol=BTCUSDT&limit=50");
        let bars = btc(Kind::Bar).interval(Interval::HOUR);
        assert_eq!(target(&bars), "/v5/market/kline?category=spot&symbol=BTCUSDT&interval=60");
        let span = bars.range(at(1_767_222_000), at(1_767_225_600)).limit(2);
        assert_eq!(
            target(&span),
            "/v5/market/kline?category=spot&symbol=BTCUSDT&interval=60&start=1767222000000&end=1767225599999&limit=2"
        );
        let (state, credentials) = (State::default(), testing::credentials(&Bybit));
        let cx = Context::new(&Bybit, &span, &state, &credentials, "", testing::NOW).unwrap();
        let answer = Answer::new(200, SPEC.sample("kline.json").unwrap());
        let next = Bybit.decode(&cx, &answer, &mut Batch::new(SPEC.id, UnixNanos::EPOCH)).unwrap().unwrap();
        assert_eq!(next, "1767225479999");
        assert!(target(&span.clone().cursor(next)).contains("&end=1767225479999&"));
        let whole = Query { whole_market: true, ..Query::new(Kind::Ticker).symbol("BTC-USD.PERP") };
        assert_eq!(target(&whole), "/v5/market/tickers?category=inverse");
        assert_eq!(testing::request(&Bybit, &whole.symbol("BTC-USDT")).unwrap_err().reason, "market_mixed");
        let odd = btc(Kind::Bar).interval(Interval::new(2, IntervalUnit::Day));
        assert_eq!(testing::request(&Bybit, &odd).unwrap_err().reason, "interval_unknown");
    }

    #[test]
    fn codes_and_shut_doors() {
        let check = |status, body, expected| testing::check_verdict(&Bybit, &btc(Kind::Ticker), status, body, expected);
        check(
            200,
            r#"{"retCode":10001,"retMsg":"Not supported symbols","result":{}}"#,
            (Verdict::NotFound, "symbol_unknown"),
        );
        check(
            200,
            r#"{"retCode":10001,"retMsg":"Invalid period!","result":{}}"#,
            (Verdict::BadRequest, "interval_unknown"),
        );
        check(200, r#"{"retCode":10001,"retMsg":"params error"}"#, (Verdict::BadRequest, "argument"));
        check(
            200,
            r#"{"retCode":10006,"retMsg":"Too many visits!","result":{}}"#,
            (Verdict::RateLimited, "rate_limit"),
        );
        check(200, r#"{"retCode":10003,"retMsg":"API key is invalid."}"#, (Verdict::Unauthorized, "key"));
        check(200, r#"{"retCode":10016,"retMsg":"Server error"}"#, (Verdict::UpstreamError, "provider"));
        check(403, "<html>configured to block access from your country</html>", (Verdict::Unauthorized, "region"));
        check(404, "", (Verdict::NotFound, "http_404"));
        check(200, r#"{"retCode":0,"retMsg":"OK","result":{}}"#, (Verdict::Malformed, "shape"));
        let judgement = testing::decode(&Bybit, &btc(Kind::Ticker), 403, "403, access too frequent").unwrap_err();
        assert_eq!((judgement.verdict, judgement.retry_after), (Verdict::Banned, Some(BAN)));
        let mut answer = Answer::new(200, r#"{"retCode":10006,"retMsg":"Too many visits!"}"#);
        let reset = testing::NOW.as_millis() + 1_500;
        answer.headers.push("x-bapi-limit-reset-timestamp", reset.to_string().as_bytes());
        let judgement = testing::decode_with(&Bybit, &btc(Kind::Ticker), &State::default(), answer).unwrap_err();
        assert_eq!(judgement.retry_after, Some(Duration::from_millis(1_500)));
    }
}
