//! Deribit: perpetuals, futures, options and spot, by instrument name. Facts: its JSON-RPC documentation (v2). Prices and
//! amounts are number tokens, so every body is read with [`json::exact`].
//! Names follow rules: `BTC-PERPETUAL`, `BTC-27DEC24`, `BTC-27DEC24-60000-C`, `SOL_USDC-PERPETUAL`, `ETH_USDC`; one without
//! an underscore is quoted in dollars. Invariant: amounts of inverse futures are dollars and are marked as quote units.

use std::time::Duration;

use compact_str::{CompactString, format_compact};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::model::{
    Book, Data, Dec, Interval, IntervalUnit, Judgement, Kind, Level, Native, Side, SourceId, Symbol, Ticker, Trade,
    Verdict, VolumeUnit,
};
use crate::source::bars::{self, Candle};
use crate::source::spec::samples;
use crate::source::{
    Base, Batch, Batching, Context, Evidence, Instrument, KeyUse, KindSpec, Past, Prerequisite, QuotaScope, Source,
    Spec, State, Tier, WindowShape, WindowSpec, by_status,
};
use crate::wire::fields::{self, Id, Int, OneOrMany};
use crate::wire::{Answer, Request, json, times};

/// The source.
pub struct Deribit;

impl Source for Deribit {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn native(&self, _kind: Kind, symbol: &Symbol, _state: &State) -> Result<Native, Judgement> {
        native_of(symbol.as_str()).ok_or_else(|| {
            let message = format!(
                "deribit: expected a symbol such as BTC-USD.PERP, BTC-USD.20241227, BTC-USD.20241227.60000.C or \
                 ETH-USDC, found {symbol}"
            );
            Judgement::unservable("symbol_form", message)
        })
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let query = cx.query;
        let method = |name: &str| -> Result<Request, Judgement> {
            let path = format!("/api/v2/public/{name}");
            Ok(Request::get(path).weight(CREDITS).param("instrument_name", cx.only_native()?))
        };
        match query.kind {
            Kind::Ticker => method("ticker"),
            Kind::Trade => match query.range {
                None => Ok(method("get_last_trades_by_instrument")?.param("count", trades_max(cx))),
                Some(range) => {
                    let start = match &query.cursor {
                        Some(cursor) => cursor.clone(),
                        None => format_compact!("{}", range.from.as_millis()),
                    };
                    // The provider's end is inclusive, ours is not.
                    Ok(method("get_last_trades_by_instrument_and_time")?
                        .param("start_timestamp", start)
                        .param("end_timestamp", range.to.as_millis() - 1)
                        .param("count", trades_max(cx))
                        .param("sorting", "asc"))
                }
            },
            Kind::Bar => {
                let interval = query.interval.unwrap_or(Interval::MINUTE);
                let resolution = bars::word("deribit", RESOLUTIONS, interval)?;
                let (start, end) = match query.range {
                    Some(range) => (range.from.as_millis(), range.to.as_millis() - 1),
                    None => {
                        let length = interval.duration().unwrap_or_default();
                        let rows = query.limit.unwrap_or(100).clamp(1, BARS.rows);
                        (cx.now.saturating_sub(length * rows).as_millis(), cx.now.as_millis())
                    }
                };
                Ok(method("get_tradingview_chart_data")?
                    .param("start_timestamp", start)
                    .param("end_timestamp", end)
                    .param("resolution", resolution))
            }
            Kind::Book => Ok(method("get_order_book")?.param("depth", query.limit.unwrap_or(100).clamp(1, 10_000))),
            kind => Err(Judgement::unservable("kind_unknown", format!("deribit: has no {kind}"))),
        }
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        match cx.query.kind {
            Kind::Ticker => decode_tickers(cx, answer, out).map(|()| None),
            Kind::Trade => decode_trades(cx, answer, out),
            Kind::Bar => decode_bars(cx, answer, out).map(|()| None),
            Kind::Book => decode_book(cx, answer, out).map(|()| None),
            kind => Err(Judgement::unservable("kind_unknown", format!("deribit: has no {kind}"))),
        }
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        match json::read_owned::<Refusal>(json::plain(&answer.body)) {
            Ok(refusal) => refusal.error.judge(answer),
            Err(_) => by_status(answer, None),
        }
    }

    fn prerequisites(&self) -> &'static [Prerequisite] {
        PREREQUISITES
    }

    fn prerequisite_request(&self, _name: &str, _cx: &Context<'_>) -> Result<Request, Judgement> {
        // One request a second: twenty times the cost of others.
        Ok(Request::get("/api/v2/public/get_instruments").param("currency", "any").weight(20 * CREDITS))
    }

    fn prerequisite_decode(&self, _name: &str, answer: &Answer, state: &mut State) -> Result<(), Judgement> {
        if !answer.is_success() {
            return Err(by_status(answer, None));
        }
        let rows: OneOrMany<ListedInstrument> = read(answer)?;
        let listed: Vec<Instrument> = rows
            .rows
            .iter()
            .filter_map(|row| {
                let symbol = symbol_of(&row.instrument_name)?;
                Some(Instrument { symbol, native: Native::new(&row.instrument_name), aliases: Vec::new() })
            })
            .collect();
        state.instruments = listed.into();
        Ok(())
    }
}

/// Reads the result of an answer, with or without the envelope.
fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, Judgement> {
    if !["result", "error"].iter().any(|key| fields::has_key(&answer.body, key)) {
        return json::read_owned(json::exact(&answer.body));
    }
    match json::read_owned::<Reply<T>>(json::exact(&answer.body)) {
        Ok(Reply { error: Some(error), .. }) => Err(error.judge(answer)),
        Ok(Reply { result: Some(result), .. }) => Ok(result),
        Ok(_) => Err(Judgement::malformed("result: expected an object or a list, found nothing")),
        Err(judgement) => Err(judgement),
    }
}

#[derive(Deserialize)]
struct Reply<T> {
    result: Option<T>,
    error: Option<RpcError>,
}

#[derive(Deserialize)]
struct Refusal {
    error: RpcError,
}

#[derive(Deserialize)]
struct RpcError {
    code: Int,
    message: CompactString,
    /// What the error is about: an object, in some answers a text or null.
    data: Option<serde_json::Value>,
}

impl RpcError {
    fn judge(&self, answer: &Answer) -> Judgement {
        let told = |name: &str| self.data.as_ref()?.get(name)?.as_str();
        let (reason, param) = (told("reason"), told("param"));
        let message = match (param, reason) {
            (Some(param), Some(reason)) => format!("{}: {param}: {reason}", self.message),
            (None, Some(told)) | (Some(told), None) => format!("{}: {told}", self.message),
            (None, None) => self.message.to_string(),
        };
        let judgement = by_status(answer, Some(&message));
        let (verdict, reason) = match self.code.0 {
            10_028 | 10_066 => (Verdict::RateLimited, "rate_limit"),
            -32_602 if param == Some("instrument_name") => (Verdict::NotFound, "symbol_unknown"),
            13_020 | 10_020 => (Verdict::NotFound, "symbol_unknown"),
            10_000 | 13_004 | 13_009 | 13_021 => (Verdict::Unauthorized, "key"),
            10_040 | 10_041 | 10_047 | 11_051 | 11_094 | 13_028 => (Verdict::UpstreamError, "provider"),
            -32_700..=-32_000 | 11_029 | 11_050 => (Verdict::BadRequest, "parameter"),
            _ if answer.is_success() => (Verdict::BadRequest, "provider"),
            _ => (judgement.verdict, judgement.reason),
        };
        Judgement { verdict, reason, ..judgement }
    }
}

#[derive(Deserialize)]
struct ListedInstrument {
    instrument_name: CompactString,
}

/// A ticker, the head of an order book, or a row of a book summary, which has its statistics in itself.
#[derive(Deserialize)]
struct TickerRow {
    instrument_name: Option<CompactString>,
    /// Milliseconds.
    #[serde(alias = "creation_timestamp")]
    timestamp: Option<Int>,
    /// Null until the first trade.
    #[serde(alias = "last", deserialize_with = "fields::nullable")]
    last_price: Option<Dec>,
    #[serde(alias = "bid_price")]
    best_bid_price: Option<Dec>,
    best_bid_amount: Option<Dec>,
    #[serde(alias = "ask_price")]
    best_ask_price: Option<Dec>,
    best_ask_amount: Option<Dec>,
    stats: Option<Stats>,
    high: Option<Dec>,
    low: Option<Dec>,
    price_change: Option<Dec>,
    volume: Option<Dec>,
    volume_usd: Option<Dec>,
    volume_notional: Option<Dec>,
}

#[derive(Deserialize)]
struct Stats {
    high: Option<Dec>,
    low: Option<Dec>,
    /// In percent.
    price_change: Option<Dec>,
    /// In base units.
    volume: Option<Dec>,
    volume_usd: Option<Dec>,
    /// In quote units.
    volume_notional: Option<Dec>,
}

fn decode_tickers(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let tickers: OneOrMany<TickerRow> = read(answer)?;
    out.expect(tickers.rows.len());
    for row in tickers.rows {
        if row.instrument_name.as_ref().is_some_and(|native| !cx.wants(native)) {
            continue;
        }
        // An instrument that has never traded has no ticker yet.
        let Some(last) = row.last_price else { continue };
        let (symbol, native) = names(cx, row.instrument_name.as_deref());
        let inverse = native.as_ref().is_some_and(|native| is_inverse(native.as_str()));
        let ts_event = row.timestamp.map(|ms| times::millis("timestamp", ms.0)).transpose()?;
        let stats = row.stats.unwrap_or(Stats {
            high: row.high,
            low: row.low,
            price_change: row.price_change,
            volume: row.volume,
            volume_usd: row.volume_usd,
            volume_notional: row.volume_notional,
        });
        // An empty side is sent as price zero.
        let present = |price: Option<Dec>| price.filter(|price| !price.is_zero());
        let (bid, ask) = (present(row.best_bid_price), present(row.best_ask_price));
        // Of inverse futures the volume is in base units but amounts are dollars: one record cannot say both, and the
        // book carries the amounts.
        // The same of an instrument that is not known.
        let in_base = native.as_ref().is_some_and(|native| is_in_base(native.as_str()));
        let size = |price: Option<Dec>, amount: Option<Dec>| price.and(amount).filter(|_| in_base);
        let ticker = Ticker {
            last,
            high: stats.high,
            low: stats.low,
            change_pct: stats.price_change,
            volume: stats.volume,
            quote_volume: stats.volume_notional.or(stats.volume_usd.filter(|_| inverse)),
            bid,
            bid_size: size(bid, row.best_bid_amount),
            ask,
            ask_size: size(ask, row.best_ask_amount),
            ..Ticker::default()
        };
        out.push(symbol, native, ts_event, Data::Ticker(Box::new(ticker)));
    }
    Ok(())
}

#[derive(Deserialize)]
struct Trades {
    trades: Vec<TradeRow>,
    has_more: Option<bool>,
}

#[derive(Deserialize)]
struct TradeRow {
    instrument_name: Option<CompactString>,
    trade_id: Option<Id>,
    price: Dec,
    amount: Dec,
    direction: Option<Side>,
    /// Milliseconds.
    timestamp: Option<Int>,
}

fn decode_trades(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
    let enveloped = ["result", "error", "trades"].iter().any(|key| fields::has_key(&answer.body, key));
    let Trades { trades, has_more } = if enveloped {
        read(answer)?
    } else {
        let OneOrMany { rows, .. } = read(answer)?;
        Trades { trades: rows, has_more: None }
    };
    let newest = trades.iter().filter_map(|row| row.timestamp).map(|ms| ms.0).max();
    out.expect(trades.len());
    for row in trades {
        let (symbol, native) = names(cx, row.instrument_name.as_deref());
        let volume_unit = native.as_ref().and_then(|native| unit(native.as_str()));
        let ts_event = row.timestamp.map(|ms| times::millis("timestamp", ms.0)).transpose()?;
        let trade = Trade {
            id: row.trade_id.map(|id| id.0),
            price: row.price,
            size: row.amount,
            side: row.direction,
            volume_unit,
        };
        out.push(symbol, native, ts_event, Data::Trade(trade));
    }
    let Some(range) = cx.query.range.filter(|_| has_more == Some(true)) else { return Ok(None) };
    // The millisecond may have more trades: it is asked for again, unless it filled the whole page.
    let start = match &cx.query.cursor {
        Some(cursor) => cursor.parse().ok(),
        None => Some(range.from.as_millis()),
    };
    let next = newest.map(|ms| if Some(ms) == start { ms.saturating_add(1) } else { ms });
    Ok(next.filter(|ms| *ms < range.to.as_millis()).map(|ms| format_compact!("{ms}")))
}

/// A chart: one array per column, all of one length.
#[derive(Deserialize)]
struct Chart {
    /// `ok` or `no_data`.
    status: CompactString,
    /// Milliseconds: the starts.
    #[serde(default)]
    ticks: Vec<Int>,
    #[serde(default)]
    open: Vec<Option<Dec>>,
    #[serde(default)]
    high: Vec<Option<Dec>>,
    #[serde(default)]
    low: Vec<Option<Dec>>,
    #[serde(default)]
    close: Vec<Option<Dec>>,
    /// In base units.
    volume: Option<Vec<Option<Dec>>>,
    /// In quote units.
    cost: Option<Vec<Option<Dec>>>,
}

fn decode_bars(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let chart: Chart = read(answer)?;
    if chart.status == "no_data" {
        return Ok(());
    }
    if chart.ticks.is_empty() {
        return Err(Judgement::malformed("result.ticks: expected times, found none"));
    }
    let lengths = [
        ("open", chart.open.len()),
        ("high", chart.high.len()),
        ("low", chart.low.len()),
        ("close", chart.close.len()),
        ("volume", chart.volume.as_ref().map_or(chart.ticks.len(), Vec::len)),
        ("cost", chart.cost.as_ref().map_or(chart.ticks.len(), Vec::len)),
    ];
    if let Some((column, length)) = lengths.into_iter().find(|(_, length)| *length != chart.ticks.len()) {
        let rows = chart.ticks.len();
        return Err(Judgement::malformed(format!("result.{column}: expected {rows} values, found {length}")));
    }
    let at = |column: &Option<Vec<Option<Dec>>>, row: usize| column.as_ref().and_then(|values| values[row]);
    for (row, tick) in chart.ticks.iter().enumerate() {
        // A row with nulls is one without trades.
        let (Some(open), Some(high), Some(low), Some(close)) =
            (chart.open[row], chart.high[row], chart.low[row], chart.close[row])
        else {
            continue;
        };
        let candle = Candle {
            start: times::millis("ticks", tick.0)?,
            open,
            high,
            low,
            close,
            volume: at(&chart.volume, row),
            quote_volume: at(&chart.cost, row),
        };
        candle.push(out, cx.names(None), cx.query.interval, answer.ts_recv);
    }
    Ok(())
}

#[derive(Deserialize)]
struct BookBody {
    instrument_name: Option<CompactString>,
    /// Milliseconds.
    timestamp: Option<Int>,
    change_id: Option<Int>,
    #[serde(deserialize_with = "fields::levels")]
    bids: Vec<Level>,
    #[serde(deserialize_with = "fields::levels")]
    asks: Vec<Level>,
}

fn decode_book(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let book: BookBody = read(answer)?;
    let (symbol, native) = names(cx, book.instrument_name.as_deref());
    let volume_unit = native.as_ref().and_then(|native| unit(native.as_str()));
    let ts_event = book.timestamp.map(|ms| times::millis("timestamp", ms.0)).transpose()?;
    let sequence = book.change_id.map(|id| u64::try_from(id.0)).transpose();
    let sequence =
        sequence.map_err(|_| Judgement::malformed("change_id: expected a natural number, found a negative one"))?;
    let book = Book { bids: book.bids, asks: book.asks, sequence, volume_unit };
    out.push(symbol, native, ts_event, Data::Book(Box::new(book)));
    Ok(())
}

/// The names of a row about `native`, or about the query's instrument when the row names none.
fn names(cx: &Context<'_>, native: Option<&str>) -> (Option<Symbol>, Option<Native>) {
    match native {
        Some(native) => (cx.symbol_of(native).or_else(|| symbol_of(native)), Some(Native::new(native))),
        None => cx.names(None),
    }
}

/// The unit of an instrument's amounts, where it is not the base asset.
fn unit(native: &str) -> Option<VolumeUnit> {
    is_inverse(native).then_some(VolumeUnit::Quote)
}

/// Perpetuals and futures settled in the coin itself: their names have no underscore, and they are no options.
fn is_inverse(native: &str) -> bool {
    let mut parts = native.split('-');
    let plain = parts.next().is_some_and(|underlying| !underlying.contains('_'));
    plain && parts.next().is_some() && parts.next().is_none()
}

/// Spot, linear perpetuals and futures (their names have an underscore), and options: amounts in the base asset.
fn is_in_base(native: &str) -> bool {
    let underlying = native.split('-').next().unwrap_or_default();
    underlying.contains('_') || native.split('-').count() == 4
}

/// The canonical name of `native`; `None` for combinations and whatever else has no canonical form.
fn symbol_of(native: &str) -> Option<Symbol> {
    let parts: Vec<&str> = native.split('-').collect();
    let (&underlying, rest) = parts.split_first()?;
    let pair = match underlying.split_once('_') {
        Some((base, quote)) => Symbol::from_pair(base, quote),
        None if !rest.is_empty() => Symbol::from_pair(underlying, "USD"),
        None => return None,
    };
    pair.pair()?;
    match rest {
        [] => Some(pair),
        ["PERPETUAL"] => Some(Symbol::new(format_compact!("{pair}.PERP"))),
        [expiry] => Some(Symbol::new(format_compact!("{pair}.{}", canonical_date(expiry)?))),
        [expiry, strike, right @ ("C" | "P")] => {
            let strike = strike.replace('d', ".");
            Dec::parse(strike.as_bytes()).ok()?;
            Some(Symbol::new(format_compact!("{pair}.{}.{strike}.{right}", canonical_date(expiry)?)))
        }
        _ => None,
    }
}

/// The provider's name of a canonical symbol.
fn native_of(symbol: &str) -> Option<Native> {
    let (pair, rest) = match symbol.split_once('.') {
        Some((pair, rest)) => (pair, Some(rest)),
        None => (symbol, None),
    };
    let pair = Symbol::new(pair.to_uppercase());
    let (base, quote) = pair.pair()?;
    let underlying = match (quote, rest) {
        ("USD", Some(_)) => CompactString::new(base),
        _ => format_compact!("{base}_{quote}"),
    };
    let Some(rest) = rest else { return Some(Native::new(underlying)) };
    if rest == "PERP" {
        return Some(Native::new(format_compact!("{underlying}-PERPETUAL")));
    }
    let Some((date, option)) = rest.split_once('.') else {
        return Some(Native::new(format_compact!("{underlying}-{}", native_date(rest)?)));
    };
    let (strike, right) = option.rsplit_once('.')?;
    Dec::parse(strike.as_bytes()).ok().filter(|_| matches!(right, "C" | "P"))?;
    let strike = strike.replace('.', "d");
    Some(Native::new(format_compact!("{underlying}-{}-{strike}-{right}", native_date(date)?)))
}

/// `27DEC24` as `20241227`.
fn canonical_date(expiry: &str) -> Option<String> {
    let digits = expiry.bytes().take_while(u8::is_ascii_digit).count();
    let (day, rest) = expiry.split_at(digits);
    let (month, year) = rest.split_at_checked(3)?;
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let (day, year): (u8, u8) = (day.parse().ok()?, year.parse().ok()?);
    ((1..=31).contains(&day) && year < 100).then(|| format!("20{year:02}{month:02}{day:02}"))
}

/// `20241227` as `27DEC24`; days have no leading zero.
fn native_date(date: &str) -> Option<String> {
    if date.len() != 8 || !date.starts_with("20") || !date.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let month: usize = date[4..6].parse().ok()?;
    let month = MONTHS.get(month.checked_sub(1)?)?;
    let day: u8 = date[6..].parse().ok().filter(|day| (1..=31).contains(day))?;
    Some(format!("{day}{month}{}", &date[2..4]))
}

fn trades_max(cx: &Context<'_>) -> u32 {
    cx.query.limit.unwrap_or(if cx.query.range.is_some() { 1_000 } else { 100 }).clamp(1, 1_000)
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
/// Credits of a call that is not a matching-engine request.
const CREDITS: u32 = 500;
const BARS: Past = Past::ranged(5_000);

static PREREQUISITES: &[Prerequisite] = &[Prerequisite {
    name: "instruments",
    ttl: Duration::from_secs(86_400),
    needed: |_, _| false,
    invalidated_by: &[],
}];

static SPEC: Spec = Spec {
    id: SourceId("deribit"),
    title: "Deribit",
    bases: &[Base { name: "api", url: "https://www.deribit.com" }],
    kinds: &[
        KindSpec { every: Duration::from_secs(2), ..KIND },
        KindSpec { kind: Kind::Trade, past: Past::ranged(1_000), ..KIND },
        KindSpec { kind: Kind::Bar, intervals: INTERVALS, past: BARS, every: Duration::from_secs(10), ..KIND },
        KindSpec { kind: Kind::Book, ..KIND },
    ],
    credentials: &[],
    tiers: &[Tier {
        name: "free",
        windows: &[WindowSpec { bucket: "", limit: 10_000, per: Duration::from_secs(1), shape: WindowShape::Rolling }],
    }],
    scope: QuotaScope::Ip,
    samples: samples!(
        "deribit",
        "chart_data.json",
        "instruments.json",
        "last_trades.json",
        "order_book.json",
        "ticker.json",
    ),
    routes: include_str!("samples/deribit/routes.toml"),
    evidence: Evidence::Mixed,
    quota_docs: "500 credits a call, 10,000 credits per second and IP (docs.deribit.com, Rate Limits; unverified)",
};

const KIND: KindSpec = KindSpec {
    kind: Kind::Ticker,
    key: KeyUse::None,
    batching: Batching::One,
    whole_market: false,
    intervals: &[],
    past: Past::NONE,
    every: Duration::from_secs(5),
    examples: &["BTC-USD.PERP", "ETH-USD.PERP"],
};

/// Intervals and the provider's words for them.
const RESOLUTIONS: &[(Interval, &str)] = &[
    (Interval::MINUTE, "1"),
    (Interval::new(3, IntervalUnit::Minute), "3"),
    (Interval::new(5, IntervalUnit::Minute), "5"),
    (Interval::new(10, IntervalUnit::Minute), "10"),
    (Interval::new(15, IntervalUnit::Minute), "15"),
    (Interval::new(30, IntervalUnit::Minute), "30"),
    (Interval::HOUR, "60"),
    (Interval::new(2, IntervalUnit::Hour), "120"),
    (Interval::new(3, IntervalUnit::Hour), "180"),
    (Interval::new(6, IntervalUnit::Hour), "360"),
    (Interval::new(12, IntervalUnit::Hour), "720"),
    (Interval::DAY, "1D"),
];
const INTERVALS: &[Interval] = &bars::intervals::<_, { RESOLUTIONS.len() }>(RESOLUTIONS);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Query;
    use crate::source::testing;

    fn btc(kind: Kind) -> Query {
        Query::new(kind).symbol("BTC-USD.PERP")
    }

    #[test]
    fn names_follow_rules_in_both_directions() {
        let check = |symbol: &str, native: &str| {
            assert_eq!(native_of(symbol), Some(Native::new(native)), "{symbol}");
            assert_eq!(symbol_of(native), Some(Symbol::new(symbol)), "{native}");
        };
        check("BTC-USD.PERP", "BTC-PERPETUAL");
        check("SOL-USDC.PERP", "SOL_USDC-PERPETUAL");
        check("ETH-USDC", "ETH_USDC");
        check("BTC-USD.20241227", "BTC-27DEC24");
        check("BTC-USD.20240105", "BTC-5JAN24");
        check("BTC-USD.20241227.60000.C", "BTC-27DEC24-60000-C");
        check("XRP-USDC.20230630.0.525.P", "XRP_USDC-30JUN23-0d525-P");
        for other in ["BTC-FS-27DEC24_PERP", "BTC", "BTC-27XXX24", "BTC-é", "", "BTC-27DEC24-60000-X", "-PERPETUAL"] {
            assert_eq!(symbol_of(other), None, "{other}");
        }
        for other in ["AAPL", "BTC-USD.PERP.X", "BTC-USD.20241327", "BTC-USD.2024", "BTC-USD.20241227.x.C"] {
            assert_eq!(native_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_ticker_keeps_one_unit() {
        let expected = |native: &str| {
            json!([{
                "source": "deribit", "kind": "ticker", "symbol": "BTC-USD.PERP", "native": native, "ts_event": 1_767_225_599_812_000_000_i64,
                "data": {"last": "87648.5", "high": "89000.0", "low": "87120.5", "change_pct": "-0.9512", "volume": "5052.9374427",
                         "quote_volume": "442197230.0", "bid": "87648.0", "ask": "87648.5"}
            }])
        };
        testing::check(&Deribit, &btc(Kind::Ticker), "ticker.json", expected("BTC-PERPETUAL"));
        testing::check(&Deribit, &btc(Kind::Ticker), "order_book.json", expected("BTC-PERPETUAL"));
        testing::check_bad_bodies(&Deribit, &btc(Kind::Ticker), "ticker.json");
        let linear = r#"{"result":[{"instrument_name":"SOL_USDC-PERPETUAL","last":124.5,"bid_price":0.0,"ask_price":124.6,
            "volume":10.0,"volume_usd":1245.1},{"instrument_name":"SOL_USDC-27DEC24-150-C","last":null}]}"#;
        let found = testing::decode(&Deribit, &Query::new(Kind::Ticker), 200, linear).unwrap();
        assert_eq!(
            found,
            vec![
                json!({"source": "deribit", "kind": "ticker", "symbol": "SOL-USDC.PERP", "native": "SOL_USDC-PERPETUAL",
                        "data": {"last": "124.5", "volume": "10.0", "ask": "124.6"}})
            ]
        );
    }

    #[test]
    fn sizes_of_inverse_futures_are_dollars() {
        let trade = |id: &str, ms: i64, price: &str, size: &str, side: &str| {
            json!({"source": "deribit", "kind": "trade", "symbol": "BTC-USD.PERP", "native": "BTC-PERPETUAL", "ts_event": ms * 1_000_000,
                   "data": {"id": id, "price": price, "size": size, "side": side, "volume_unit": "quote"}})
        };
        testing::check(
            &Deribit,
            &btc(Kind::Trade),
            "last_trades.json",
            json!([
                trade("403691824", 1_767_225_598_120, "87648.0", "1000.0", "sell"),
                trade("403691825", 1_767_225_599_001, "87648.5", "250.0", "buy")
            ]),
        );
        testing::check_bad_bodies(&Deribit, &btc(Kind::Trade), "last_trades.json");
        let option = r#"{"result":{"trades":[{"instrument_name":"BTC-27DEC24-60000-C","price":0.05,"amount":1e-1}]}}"#;
        let found = testing::decode(&Deribit, &Query::new(Kind::Trade), 200, option).unwrap();
        assert_eq!(found[0]["data"], json!({"price": "0.05", "size": "0.1"}));
        assert_eq!(found[0]["symbol"], "BTC-USD.20241227.60000.C");
        let alone = r#"{"instrument_name":"ETH_USDC","price":1,"amount":2}"#;
        assert_eq!(testing::decode(&Deribit, &Query::new(Kind::Trade), 200, alone).unwrap()[0]["symbol"], "ETH-USDC");
    }

    #[test]
    fn charts_are_columns() {
        let query = btc(Kind::Bar).interval(Interval::MINUTE);
        let found = testing::decode(&Deribit, &query, 200, SPEC.sample("chart_data.json").unwrap()).unwrap();
        assert_eq!(
            found[1],
            json!({"source": "deribit", "kind": "bar", "symbol": "BTC-USD.PERP", "native": "BTC-PERPETUAL", "ts_event": 1_767_225_600_000_000_000_i64,
                   "data": {"interval": "1m", "start": 1_767_225_540_000_000_000_i64, "end": 1_767_225_600_000_000_000_i64,
                            "open": "87640.0", "high": "87655.5", "low": "87630.0", "close": "87648.5",
                            "volume": "1.53899041", "quote_volume": "134890.0", "closed": true}})
        );
        assert_eq!(found.len(), 2);
        testing::check_bad_bodies(&Deribit, &query, "chart_data.json");
        let none = r#"{"result":{"status":"no_data","ticks":[],"open":[],"high":[],"low":[],"close":[]}}"#;
        assert!(testing::decode(&Deribit, &query, 200, none).unwrap().is_empty());
        let gap = r#"{"result":{"status":"ok","ticks":[1,2],"open":[null,1],"high":[null,1],"low":[null,1],"close":[null,1]}}"#;
        assert_eq!(testing::decode(&Deribit, &query, 200, gap).unwrap().len(), 1);
        let short = r#"{"result":{"status":"ok","ticks":[1,2],"open":[1],"high":[1,1],"low":[1,1],"close":[1,1]}}"#;
        testing::check_verdict(&Deribit, &query, 200, short, (Verdict::Malformed, "shape"));
    }

    #[test]
    fn books_carry_their_change_id() {
        testing::check(
            &Deribit,
            &btc(Kind::Book),
            "order_book.json",
            json!([{"source": "deribit", "kind": "book", "symbol": "BTC-USD.PERP", "native": "BTC-PERPETUAL", "ts_event": 1_767_225_599_812_000_000_i64,
                    "data": {"bids": [["87648.0", "117660.0"], ["87647.5", "6540.0"]], "asks": [["87648.5", "186520.0"], ["87650.0", "10000.0"]],
                             "sequence": 133_112_427_566_u64, "volume_unit": "quote"}}]),
        );
        testing::check_bad_bodies(&Deribit, &btc(Kind::Book), "order_book.json");
    }

    #[test]
    fn refusals_are_told_apart() {
        let check =
            |status, body: &str, expected| testing::check_verdict(&Deribit, &btc(Kind::Ticker), status, body, expected);
        let error = |code: i64, data: &str| {
            format!(r#"{{"jsonrpc":"2.0","error":{{"code":{code},"message":"told","data":{data}}}}}"#)
        };
        check(400, &error(10_028, "null"), (Verdict::RateLimited, "rate_limit"));
        check(200, &error(10_028, "null"), (Verdict::RateLimited, "rate_limit"));
        check(429, &error(10_028, "null"), (Verdict::RateLimited, "rate_limit"));
        let about = |param: &str| format!(r#"{{"reason":"wrong format","param":"{param}"}}"#);
        check(400, &error(-32_602, &about("instrument_name")), (Verdict::NotFound, "symbol_unknown"));
        check(400, &error(-32_602, &about("resolution")), (Verdict::BadRequest, "parameter"));
        check(400, &error(13_020, "\"text\""), (Verdict::NotFound, "symbol_unknown"));
        check(400, &error(13_009, "{}"), (Verdict::Unauthorized, "key"));
        check(400, &error(11_051, "null"), (Verdict::UpstreamError, "provider"));
        check(502, "<html></html>", (Verdict::UpstreamError, "http_5xx"));
        check(200, r#"{"result":{"instrument_name":"BTC-PERPETUAL"}}"#, (Verdict::Malformed, "shape"));
        check(200, r#"{"result":{"last_price":"x"}}"#, (Verdict::Malformed, "shape"));
        let body = error(-32_602, &about("resolution"));
        let judgement = testing::decode(&Deribit, &btc(Kind::Bar), 400, &body).unwrap_err();
        assert_eq!(judgement.message, "told: resolution: wrong format");
    }

    #[test]
    fn requests_name_the_instrument() {
        let check = |query: Query, expected: &str| {
            let request = testing::request(&Deribit, &query).unwrap();
            assert_eq!((request.target(), request.weight), (expected, 500));
        };
        let ago = |secs| testing::NOW.saturating_sub(Duration::from_secs(secs));
        check(btc(Kind::Ticker), "/api/v2/public/ticker?instrument_name=BTC-PERPETUAL");
        check(btc(Kind::Trade), "/api/v2/public/get_last_trades_by_instrument?instrument_name=BTC-PERPETUAL&count=100");
        check(
            btc(Kind::Trade).range(ago(60), ago(0)),
            "/api/v2/public/get_last_trades_by_instrument_and_time?instrument_name=BTC-PERPETUAL\
             &start_timestamp=1767322985000&end_timestamp=1767323044999&count=1000&sorting=asc",
        );
        check(
            btc(Kind::Bar).interval(Interval::HOUR).limit(2),
            "/api/v2/public/get_tradingview_chart_data?instrument_name=BTC-PERPETUAL&start_timestamp=1767315845000\
             &end_timestamp=1767323045000&resolution=60",
        );
        check(btc(Kind::Book).limit(20), "/api/v2/public/get_order_book?instrument_name=BTC-PERPETUAL&depth=20");
        assert!(testing::request(&Deribit, &btc(Kind::Bar).interval(Interval::WEEK)).is_err());
    }

    #[test]
    fn pages_of_trades_follow_their_times() {
        let page = |query: &Query| {
            let credentials = testing::credentials(&Deribit);
            let state = State::default();
            let cx = Context::new(&Deribit, query, &state, &credentials, "", testing::NOW).unwrap();
            let mut out = Batch::new(SPEC.id, testing::NOW);
            let body = SPEC.sample("last_trades.json").unwrap().replace("\"has_more\":false", "\"has_more\":true");
            let answer = Answer::new(200, body);
            Deribit.decode(&cx, &answer, &mut out).unwrap()
        };
        let from = testing::NOW.saturating_sub(Duration::from_secs(200_000));
        let query = btc(Kind::Trade).range(from, testing::NOW);
        assert_eq!(page(&query).as_deref(), Some("1767225599001"));
        assert_eq!(page(&query.cursor("1767225599001")).as_deref(), Some("1767225599002"));
        assert_eq!(page(&btc(Kind::Trade)), None);
    }

    #[test]
    fn the_list_of_instruments_is_learned() {
        let mut state = State::default();
        let answer = Answer::new(200, SPEC.sample("instruments.json").unwrap());
        Deribit.prerequisite_decode("instruments", &answer, &mut state).unwrap();
        assert_eq!(state.instruments.symbol_of("ETH-PERPETUAL"), Some(&Symbol::new("ETH-USD.PERP")));
    }
}
