//! KuCoin spot. Facts: its REST documentation; bodies of its first API (2018), which had number tokens, other field
//! names and sometimes no envelope, are read too. Every answer is `{"code","data"}`; a refusal may come under 200.

use std::time::Duration;

use compact_str::{CompactString, format_compact};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::model::{
    Book, Data, Dec, Interval, IntervalUnit, Judgement, Kind, Level, Native, Query, Side, SourceId, Symbol, Ticker,
    Trade, Verdict,
};
use crate::source::bars::{self, Candle};
use crate::source::spec::samples;
use crate::source::{
    Base, Batch, Batching, Context, Evidence, Instrument, KeyUse, KindSpec, Past, Prerequisite, QuotaReport,
    QuotaScope, Source, Spec, State, Tier, WindowShape, WindowSpec, by_status,
};
use crate::time::UnixNanos;
use crate::wire::fields::{self, Id, Int, OneOrMany};
use crate::wire::{Answer, Request, json, times};

/// The source.
pub struct Kucoin;

impl Source for Kucoin {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn native(&self, _kind: Kind, symbol: &Symbol, state: &State) -> Result<Native, Judgement> {
        if let Some(native) = state.instruments.native_of(symbol) {
            return Ok(native.clone());
        }
        let (base, quote) = symbol.pair().ok_or_else(|| {
            let message = format!("kucoin: expected a spot pair such as BTC-USDT, found {symbol}");
            Judgement::unservable("symbol_form", message)
        })?;
        Ok(Native::new(format_compact!("{base}-{quote}").to_uppercase()))
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let query = cx.query;
        match query.kind {
            Kind::Ticker if query.whole_market => Ok(Request::get("/api/v1/market/allTickers").weight(15)),
            Kind::Ticker => Ok(Request::get("/api/v1/market/stats").param("symbol", cx.only_native()?).weight(15)),
            Kind::Trade => Ok(Request::get("/api/v1/market/histories").param("symbol", cx.only_native()?).weight(3)),
            Kind::Bar => bars_request(cx),
            Kind::Book => {
                let (path, weight) = match query.limit {
                    Some(..=20) => ("/api/v1/market/orderbook/level2_20", 4),
                    _ => ("/api/v1/market/orderbook/level2_100", 8),
                };
                Ok(Request::get(path).param("symbol", cx.only_native()?).weight(weight))
            }
            kind => Err(Judgement::unservable("kind_unknown", format!("kucoin: has no {kind}"))),
        }
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        match cx.query.kind {
            Kind::Ticker => decode_tickers(cx, answer, out).map(|()| None),
            Kind::Trade => decode_trades(cx, answer, out).map(|()| None),
            Kind::Bar => decode_bars(cx, answer, out),
            Kind::Book => decode_book(cx, answer, out).map(|()| None),
            kind => Err(Judgement::unservable("kind_unknown", format!("kucoin: has no {kind}"))),
        }
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        let reset = answer.header("gw-ratelimit-reset").and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
        if let Ok(error) = json::read_owned::<ErrorBody>(json::plain(&answer.body)) {
            let judgement = error.judge(answer);
            let reset = reset.filter(|_| judgement.verdict == Verdict::RateLimited);
            return judgement.retry_after(reset);
        }
        let judgement = by_status(answer, None);
        // The content network in front shuts out by pace with a page that names its error 1015.
        let paced = answer.status == 403
            && ["1015", "Too Many", "rate limit"].iter().any(|word| judgement.message.contains(word));
        let (verdict, reason) =
            if paced { (Verdict::RateLimited, "cdn") } else { (judgement.verdict, judgement.reason) };
        Judgement { verdict, reason, ..judgement }
    }

    fn prerequisites(&self) -> &'static [Prerequisite] {
        PREREQUISITES
    }

    fn prerequisite_request(&self, _name: &str, _cx: &Context<'_>) -> Result<Request, Judgement> {
        Ok(Request::get("/api/v2/symbols").weight(4))
    }

    fn prerequisite_decode(&self, _name: &str, answer: &Answer, state: &mut State) -> Result<(), Judgement> {
        if !answer.is_success() {
            return Err(by_status(answer, None));
        }
        let rows: Vec<ListedSymbol> = read(answer)?;
        let listed: Vec<Instrument> = rows
            .iter()
            .map(|row| Instrument {
                symbol: Symbol::from_pair(&row.base_currency, &row.quote_currency),
                native: Native::new(&row.symbol),
                aliases: Vec::new(),
            })
            .collect();
        state.instruments = listed.into();
        Ok(())
    }

    fn quota_used(&self, answer: &Answer) -> Option<QuotaReport> {
        let number = |name| answer.header(name).and_then(|text| text.parse::<u32>().ok());
        let used = number("gw-ratelimit-limit")?.checked_sub(number("gw-ratelimit-remaining")?)?;
        Some(QuotaReport { bucket: "", window: WINDOW, used })
    }
}

fn bars_request(cx: &Context<'_>) -> Result<Request, Judgement> {
    let query = cx.query;
    let interval = query.interval.unwrap_or(Interval::MINUTE);
    let kind = bars::word("kucoin", TYPES, interval)?;
    let (start, end) = match (query.range, query.limit) {
        (Some(range), _) => (Some(range.from.as_secs()), Some(range.to.as_secs())),
        // The provider takes no count: so many bars back from now.
        (None, Some(rows)) => {
            let length = interval.duration().unwrap_or(Duration::from_secs(31 * 86_400));
            (Some(cx.now.saturating_sub(length * rows.clamp(1, ROWS_MAX as u32)).as_secs()), None)
        }
        (None, None) => (None, None),
    };
    let end = match &query.cursor {
        Some(cursor) => Some(cursor.clone()),
        None => end.map(|secs| format_compact!("{secs}")),
    };
    Ok(Request::get("/api/v1/market/candles")
        .param("symbol", cx.only_native()?)
        .param("type", kind)
        .param_opt("startAt", start)
        .param_opt("endAt", end)
        .weight(3))
}

/// Reads the data of an answer, with or without the envelope.
fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, Judgement> {
    if !fields::has_key(&answer.body, "code") {
        return fields::read_mixed(&answer.body);
    }
    let envelope = match fields::read_mixed::<Envelope<T>>(&answer.body) {
        Ok(envelope) => envelope,
        // A refusal may carry data of another shape.
        Err(judgement) => {
            return Err(match json::read_owned::<ErrorBody>(json::exact(&answer.body)) {
                Ok(error) if !error.is_success() => error.judge(answer),
                _ => judgement,
            });
        }
    };
    let head = ErrorBody { code: envelope.code, msg: envelope.msg };
    if !head.is_success() {
        return Err(head.judge(answer));
    }
    // The first page of an unknown symbol is a success without data.
    envelope.data.ok_or_else(|| Judgement::not_found("data: expected an object or a list, found null"))
}

#[derive(Deserialize)]
struct Envelope<T> {
    code: Id,
    msg: Option<CompactString>,
    data: Option<T>,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: Id,
    msg: Option<CompactString>,
}

impl ErrorBody {
    fn is_success(&self) -> bool {
        matches!(self.code.0.as_str(), "200000" | "200" | "OK")
    }

    fn judge(&self, answer: &Answer) -> Judgement {
        let message = self.msg.as_deref().unwrap_or(self.code.0.as_str());
        let text = message.to_ascii_lowercase();
        let unknown = text.contains("symbol") || text.contains("trading pair");
        let (verdict, reason) = match self.code.0.as_str() {
            "429000" => (Verdict::RateLimited, "rate_limit"),
            "900001" => (Verdict::NotFound, "symbol_unknown"),
            "400100" if unknown => (Verdict::NotFound, "symbol_unknown"),
            "400100" => (Verdict::BadRequest, "parameter"),
            "400001" | "400002" | "400003" | "400004" | "400005" | "400006" | "400007" | "411100" => {
                (Verdict::Unauthorized, "key")
            }
            code if code.starts_with('5') => (Verdict::UpstreamError, "provider"),
            _ if answer.is_success() => (Verdict::BadRequest, "provider"),
            _ => {
                let judgement = by_status(answer, Some(message));
                (judgement.verdict, judgement.reason)
            }
        };
        Judgement { verdict, reason, ..by_status(answer, Some(message)) }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedSymbol {
    /// The name to ask with; an instrument keeps it when its base is renamed.
    symbol: CompactString,
    base_currency: CompactString,
    quote_currency: CompactString,
}

/// A row of `stats`, `allTickers` or `level1`, today's or of 2018; or the object around the rows of `allTickers`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TickerRow {
    symbol: Option<CompactString>,
    /// Null in a market without trades.
    #[serde(alias = "lastDealPrice", alias = "price", default, deserialize_with = "fields::present")]
    last: Option<Option<Dec>>,
    /// Of the last trade; `level1` only.
    size: Option<Dec>,
    #[serde(alias = "bestBid")]
    buy: Option<Dec>,
    best_bid_size: Option<Dec>,
    #[serde(alias = "bestAsk")]
    sell: Option<Dec>,
    best_ask_size: Option<Dec>,
    #[serde(alias = "change")]
    change_price: Option<Dec>,
    /// A fraction.
    change_rate: Option<Dec>,
    high: Option<Dec>,
    low: Option<Dec>,
    vol: Option<Dec>,
    vol_value: Option<Dec>,
    /// Milliseconds.
    #[serde(alias = "datetime")]
    time: Option<Int>,
    ticker: Option<Vec<TickerRow>>,
}

fn decode_tickers(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let mut data: OneOrMany<TickerRow> = read(answer)?;
    let mut time = None;
    if let [row] = data.rows.as_mut_slice()
        && let Some(rows) = row.ticker.take()
    {
        time = row.time;
        data = OneOrMany { rows, list: true };
    }
    out.expect(data.rows.len());
    for row in &data.rows {
        if row.symbol.as_ref().is_some_and(|native| !cx.wants(native)) {
            continue;
        }
        let last = match row.last {
            Some(Some(last)) => last,
            Some(None) => continue,
            // The first API left the field out of a market that had never traded.
            None if data.list && row.symbol.is_some() => continue,
            None => return Err(Judgement::malformed("last: expected a decimal, found nothing")),
        };
        let ts_event = row.time.or(time).map(|ms| times::millis("time", ms.0)).transpose()?;
        let change_pct = row
            .change_rate
            .map(|rate| rate.shift(2))
            .transpose()
            .map_err(|error| Judgement::malformed(format!("changeRate: expected {error}, found more")))?;
        let ticker = Ticker {
            last,
            last_size: row.size,
            high: row.high,
            low: row.low,
            change: row.change_price,
            change_pct,
            volume: row.vol,
            quote_volume: row.vol_value,
            bid: row.buy,
            bid_size: row.best_bid_size,
            ask: row.sell,
            ask_size: row.best_ask_size,
            ..Ticker::default()
        };
        let (symbol, native) = names(cx, row.symbol.as_deref());
        out.push(symbol, native, ts_event, Data::Ticker(Box::new(ticker)));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TradeRow {
    trade_id: Option<Id>,
    /// Grows by trade; the only id in most answers.
    sequence: Option<Id>,
    price: Dec,
    size: Dec,
    side: Option<Side>,
    /// Nanoseconds.
    time: Option<Int>,
}

fn decode_trades(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let trades: OneOrMany<TradeRow> = read(answer)?;
    out.expect(trades.rows.len());
    for row in trades.rows {
        let id = row.trade_id.or(row.sequence).map(|id| id.0);
        let trade = Trade { id, price: row.price, size: row.size, side: row.side, volume_unit: None };
        let (symbol, native) = cx.names(None);
        out.push(symbol, native, row.time.map(|ns| UnixNanos::from_nanos(ns.0)), Data::Trade(trade));
    }
    Ok(())
}

json::row! {
    /// A candle: the close comes second, before the high and the low.
    struct CandleRow {
        /// Seconds: the start.
        time: Int,
        open: Dec,
        close: Dec,
        high: Dec,
        low: Dec;
        volume: Option<Dec>,
        turnover: Option<Dec>,
    }
}

fn decode_bars(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
    let alone = fields::is_row(&answer.body);
    let rows: Vec<CandleRow> = if alone { vec![fields::read_mixed(&answer.body)?] } else { read(answer)? };
    out.expect(rows.len());
    for row in &rows {
        let candle = Candle {
            start: times::secs("[0]", row.time.0)?,
            open: row.open,
            high: row.high,
            low: row.low,
            close: row.close,
            volume: row.volume,
            quote_volume: row.turnover,
        };
        candle.push(out, cx.names(None), cx.query.interval, answer.ts_recv);
    }
    // Newest first: the next page ends where this one starts.
    let oldest = rows.last().map(|row| row.time.0);
    let more = rows.len() >= ROWS_MAX;
    let from = cx.query.range.map(|range| range.from.as_secs());
    Ok(oldest.zip(from).filter(|(oldest, from)| more && oldest > from).map(|(oldest, _)| format_compact!("{oldest}")))
}

#[derive(Deserialize)]
struct BookData {
    /// Milliseconds.
    time: Option<Int>,
    sequence: Option<Int>,
    #[serde(deserialize_with = "fields::levels")]
    bids: Vec<Level>,
    #[serde(deserialize_with = "fields::levels")]
    asks: Vec<Level>,
}

fn decode_book(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let data: BookData = read(answer)?;
    let ts_event = data.time.map(|ms| times::millis("time", ms.0)).transpose()?;
    let sequence = data
        .sequence
        .map(|sequence| u64::try_from(sequence.0))
        .transpose()
        .map_err(|_| Judgement::malformed("sequence: expected a natural number, found a negative one"))?;
    let (symbol, native) = cx.names(None);
    let book = Book { bids: data.bids, asks: data.asks, sequence, volume_unit: None };
    out.push(symbol, native, ts_event, Data::Book(Box::new(book)));
    Ok(())
}

/// The names of a row about `native`, or about the query's instrument when the row names none.
fn names(cx: &Context<'_>, native: Option<&str>) -> (Option<Symbol>, Option<Native>) {
    let Some(native) = native else { return cx.names(None) };
    // The list first: a renamed base stands in the name still.
    let symbol = cx.symbol_of(native).or_else(|| {
        let (base, quote) = native.split_once('-')?;
        Some(Symbol::from_pair(base, quote)).filter(|symbol| symbol.pair().is_some())
    });
    (symbol, Some(Native::new(native)))
}

const ROWS_MAX: usize = 1_500;
const WINDOW: Duration = Duration::from_secs(30);
const PAIRS: &[&str] = &["BTC-USDT", "ETH-USDT", "SOL-USDT"];

static PREREQUISITES: &[Prerequisite] = &[Prerequisite {
    name: "instruments",
    ttl: Duration::from_secs(86_400),
    needed: |_: &Query, _| false,
    invalidated_by: &[],
}];

static SPEC: Spec = Spec {
    id: SourceId("kucoin"),
    title: "KuCoin",
    bases: &[Base { name: "api", url: "https://api.kucoin.com" }],
    kinds: &[
        KindSpec { whole_market: true, every: Duration::from_secs(2), ..KIND },
        KindSpec { kind: Kind::Trade, ..KIND },
        KindSpec {
            kind: Kind::Bar,
            intervals: INTERVALS,
            past: Past::ranged(ROWS_MAX as u32),
            every: Duration::from_secs(10),
            ..KIND
        },
        KindSpec { kind: Kind::Book, ..KIND },
    ],
    credentials: &[],
    tiers: &[Tier {
        name: "free",
        windows: &[WindowSpec { bucket: "", limit: 2_000, per: WINDOW, shape: WindowShape::Fixed }],
    }],
    scope: QuotaScope::Ip,
    samples: samples!(
        "kucoin",
        "all_tickers.json",
        "candles.json",
        "histories.json",
        "level1.json",
        "level2.json",
        "stats.json",
        "symbols.json",
    ),
    routes: include_str!("samples/kucoin/routes.toml"),
    evidence: Evidence::Mixed,
    quota_docs: "public pool of 2,000 weight per 30 seconds and IP (www.kucoin.com/docs-new, Rate Limit; unverified)",
};

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

/// Intervals and the provider's words for them.
const TYPES: &[(Interval, &str)] = &[
    (Interval::MINUTE, "1min"),
    (Interval::new(3, IntervalUnit::Minute), "3min"),
    (Interval::new(5, IntervalUnit::Minute), "5min"),
    (Interval::new(15, IntervalUnit::Minute), "15min"),
    (Interval::new(30, IntervalUnit::Minute), "30min"),
    (Interval::HOUR, "1hour"),
    (Interval::new(2, IntervalUnit::Hour), "2hour"),
    (Interval::new(4, IntervalUnit::Hour), "4hour"),
    (Interval::new(6, IntervalUnit::Hour), "6hour"),
    (Interval::new(8, IntervalUnit::Hour), "8hour"),
    (Interval::new(12, IntervalUnit::Hour), "12hour"),
    (Interval::DAY, "1day"),
    (Interval::WEEK, "1week"),
    (Interval::MONTH, "1month"),
];
const INTERVALS: &[Interval] = &bars::intervals::<_, { TYPES.len() }>(TYPES);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::testing;

    fn btc(kind: Kind) -> Query {
        Query::new(kind).symbol("BTC-USDT")
    }

    #[test]
    fn tickers_of_one_and_of_all() {
        testing::check(
            &Kucoin,
            &btc(Kind::Ticker),
            "stats.json",
            json!([{
                "source": "kucoin", "kind": "ticker", "symbol": "BTC-USDT", "native": "BTC-USDT", "ts_event": 1_767_225_599_812_000_000_i64,
                "data": {"last": "87648.2", "high": "89000", "low": "87120.5", "change": "-841.7", "change_pct": "-0.95",
                         "volume": "2282.70993217", "quote_volume": "200984946.157790431", "bid": "87648.1", "ask": "87648.2"}
            }]),
        );
        testing::check_bad_bodies(&Kucoin, &btc(Kind::Ticker), "stats.json");
        testing::check_bad_bodies(&Kucoin, &btc(Kind::Ticker), "all_tickers.json");
        let all = testing::decode(&Kucoin, &Query::new(Kind::Ticker), 200, SPEC.sample("all_tickers.json").unwrap());
        let all = all.unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!(all[2]["symbol"], "SOL-USDT");
        assert_eq!(all[2]["ts_event"], 1_767_225_599_812_000_000_i64);
        assert_eq!(all[2]["data"]["ask_size"], "33.1");
        let market = Query { whole_market: true, ..btc(Kind::Ticker) };
        let one = testing::decode(&Kucoin, &market, 200, SPEC.sample("all_tickers.json").unwrap()).unwrap();
        assert_eq!(one.len(), 1);
    }

    #[test]
    fn the_best_prices_name_no_symbol() {
        testing::check(
            &Kucoin,
            &btc(Kind::Ticker),
            "level1.json",
            json!([{
                "source": "kucoin", "kind": "ticker", "symbol": "BTC-USDT", "native": "BTC-USDT", "ts_event": 1_767_225_599_812_000_000_i64,
                "data": {"last": "87648.2", "last_size": "0.00001234", "bid": "87648.1", "bid_size": "1.50210114",
                         "ask": "87648.2", "ask_size": "0.75"}
            }]),
        );
    }

    #[test]
    fn the_first_api_sent_number_tokens() {
        let body = r#"{"symbol":"XRB-BTC","lastDealPrice":0.0015725,"change":4.1663E-4,"changeRate":0.3604,"datetime":1517010896000}"#;
        let found = testing::decode(&Kucoin, &Query::new(Kind::Ticker), 200, body).unwrap();
        assert_eq!(
            found,
            vec![
                json!({"source": "kucoin", "kind": "ticker", "symbol": "XRB-BTC", "native": "XRB-BTC", "ts_event": 1_517_010_896_000_000_000_i64,
                        "data": {"last": "0.0015725", "change": "0.00041663", "change_pct": "36.04"}})
            ]
        );
        let untraded = format!(r#"{{"code":"OK","data":[{{"symbol":"A-B","buy":1.5}},{body}]}}"#);
        assert_eq!(testing::decode(&Kucoin, &Query::new(Kind::Ticker), 200, &untraded).unwrap(), found);
        let halted = r#"{"code":"200000","data":{"symbol":"A-B","last":null}}"#;
        assert!(testing::decode(&Kucoin, &Query::new(Kind::Ticker), 200, halted).unwrap().is_empty());
    }

    #[test]
    fn trades_are_stamped_to_the_nanosecond() {
        let trade = |id: &str, ns: i64, price: &str, size: &str, side: &str| {
            json!({"source": "kucoin", "kind": "trade", "symbol": "BTC-USDT", "native": "BTC-USDT", "ts_event": ns,
                   "data": {"id": id, "price": price, "size": size, "side": side}})
        };
        testing::check(
            &Kucoin,
            &btc(Kind::Trade),
            "histories.json",
            json!([
                trade("10976028003549185", 1_767_225_598_120_567_174, "87648.1", "0.02924", "sell"),
                trade("10976028003549188", 1_767_225_599_001_203_441, "87648.2", "0.00082", "buy")
            ]),
        );
        testing::check_bad_bodies(&Kucoin, &btc(Kind::Trade), "histories.json");
    }

    #[test]
    fn candles_have_the_close_second() {
        let query = btc(Kind::Bar).interval(Interval::MINUTE);
        let found = testing::decode(&Kucoin, &query, 200, SPEC.sample("candles.json").unwrap()).unwrap();
        assert_eq!(
            found[0],
            json!({"source": "kucoin", "kind": "bar", "symbol": "BTC-USDT", "native": "BTC-USDT", "ts_event": 1_767_225_600_000_000_000_i64,
                   "data": {"interval": "1m", "start": 1_767_225_540_000_000_000_i64, "end": 1_767_225_600_000_000_000_i64,
                            "open": "87640", "high": "87655.5", "low": "87630", "close": "87648.2", "volume": "15.3866",
                            "quote_volume": "1348500.44683130", "closed": true}})
        );
        assert_eq!(found.len(), 2);
        testing::check_bad_bodies(&Kucoin, &query, "candles.json");
        let row = r#" [ "1545904980", "0.058", "0.049", "0.058", "0.049", "0.018" ]"#;
        let found = testing::decode(&Kucoin, &Query::new(Kind::Bar), 200, row).unwrap();
        assert_eq!(
            found[0]["data"],
            json!({"start": 1_545_904_980_000_000_000_i64, "open": "0.058", "high": "0.058", "low": "0.049",
                   "close": "0.049", "volume": "0.018"})
        );
    }

    #[test]
    fn books_carry_their_sequence() {
        testing::check(
            &Kucoin,
            &btc(Kind::Book),
            "level2.json",
            json!([{"source": "kucoin", "kind": "book", "symbol": "BTC-USDT", "native": "BTC-USDT", "ts_event": 1_767_225_599_812_000_000_i64,
                    "data": {"bids": [["87648.1", "1.50210114"], ["87648", "0.5"]], "asks": [["87648.2", "0.75"], ["87650", "1.01"]],
                             "sequence": 14_610_502_970_u64}}]),
        );
        testing::check_bad_bodies(&Kucoin, &btc(Kind::Book), "level2.json");
    }

    #[test]
    fn refusals_are_told_apart() {
        let check =
            |status, body: &str, expected| testing::check_verdict(&Kucoin, &btc(Kind::Ticker), status, body, expected);
        check(429, r#"{"code":"429000","msg":"Too Many Requests"}"#, (Verdict::RateLimited, "rate_limit"));
        check(403, r#"{"code":"429000","msg":"Too Many Requests"}"#, (Verdict::RateLimited, "rate_limit"));
        check(403, "<html>error code: 1015</html>", (Verdict::RateLimited, "cdn"));
        check(200, r#"{"code":"900001","msg":"The symbol does not exist"}"#, (Verdict::NotFound, "symbol_unknown"));
        check(200, r#"{"code":"200000","data":null}"#, (Verdict::NotFound, "symbol_unknown"));
        check(400, r#"{"code":"400100","msg":"type is invalid"}"#, (Verdict::BadRequest, "parameter"));
        check(401, r#"{"code":"400003","msg":"KC-API-KEY not exists"}"#, (Verdict::Unauthorized, "key"));
        check(200, r#"{"code":"500000","msg":"Internal Server Error"}"#, (Verdict::UpstreamError, "provider"));
        check(200, r#"{"code":"200000","data":{"symbol":"BTC-USDT"}}"#, (Verdict::Malformed, "shape"));
        check(200, r#"{"code":"200000","data":{"last":true}}"#, (Verdict::Malformed, "shape"));
        let mut answer = Answer::new(429, r#"{"code":"429000","msg":"Too Many Requests"}"#);
        answer.headers.push("gw-ratelimit-limit", b"2000");
        answer.headers.push("gw-ratelimit-remaining", b"15");
        answer.headers.push("gw-ratelimit-reset", b"8500");
        assert_eq!(Kucoin.quota_used(&answer).unwrap().used, 1_985);
        let judgement = testing::decode_with(&Kucoin, &btc(Kind::Ticker), &State::default(), answer).unwrap_err();
        assert_eq!(judgement.retry_after, Some(Duration::from_millis(8_500)));
    }

    #[test]
    fn requests_carry_the_symbol() {
        let check = |query: Query, expected: &str, weight| {
            let request = testing::request(&Kucoin, &query).unwrap();
            assert_eq!((request.target(), request.weight), (expected, weight));
        };
        let ago = |secs| testing::NOW.saturating_sub(Duration::from_secs(secs));
        check(btc(Kind::Ticker), "/api/v1/market/stats?symbol=BTC-USDT", 15);
        check(Query { whole_market: true, ..btc(Kind::Ticker) }, "/api/v1/market/allTickers", 15);
        check(btc(Kind::Trade), "/api/v1/market/histories?symbol=BTC-USDT", 3);
        check(btc(Kind::Bar), "/api/v1/market/candles?symbol=BTC-USDT&type=1min", 3);
        check(
            btc(Kind::Bar).interval(Interval::HOUR).range(ago(7_245), ago(45)),
            "/api/v1/market/candles?symbol=BTC-USDT&type=1hour&startAt=1767315800&endAt=1767323000",
            3,
        );
        check(btc(Kind::Book), "/api/v1/market/orderbook/level2_100?symbol=BTC-USDT", 8);
        check(btc(Kind::Book).limit(5), "/api/v1/market/orderbook/level2_20?symbol=BTC-USDT", 4);
        assert!(testing::request(&Kucoin, &Query::new(Kind::Ticker).symbol("BTC-USDT.PERP")).is_err());
    }

    #[test]
    fn a_renamed_base_is_known_from_the_list() {
        let mut state = State::default();
        let answer = Answer::new(200, SPEC.sample("symbols.json").unwrap());
        Kucoin.prerequisite_decode("instruments", &answer, &mut state).unwrap();
        assert_eq!(Kucoin.native(Kind::Book, &"BSV-USDT".into(), &state).unwrap().as_str(), "BCHSV-USDT");
        let body = Answer::new(200, r#"{"symbol":"BCHSV-USDT","last":"20"}"#);
        let found = testing::decode_with(&Kucoin, &Query::new(Kind::Ticker), &state, body).unwrap();
        assert_eq!(found[0]["symbol"], "BSV-USDT");
    }
}
