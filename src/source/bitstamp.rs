//! Bitstamp. Facts: its HTTP API v2 documentation. Prices, amounts and times are strings in today's answers; ids of
//! trades have been numbers. Requests take lower-case names without a separator (`btcusd`); answers that name the
//! instrument write it with one (`BTC/USD`), and only that form is ever split.

use std::time::Duration;

use compact_str::{CompactString, format_compact};
use serde::Deserialize;

use crate::model::{
    Book, Data, Dec, Interval, IntervalUnit, Judgement, Kind, Level, Native, Query, Side, SourceId, Symbol, Ticker,
    Trade, Verdict,
};
use crate::source::bars::{self, Candle};
use crate::source::spec::samples;
use crate::source::{
    Base, Batch, Batching, Context, Evidence, Instrument, KeyUse, KindSpec, Past, Prerequisite, QuotaScope, Reach,
    Source, Spec, State, Tier, WindowShape, WindowSpec, by_status,
};
use crate::time::UnixNanos;
use crate::wire::fields::{self, Id, Int, OneOrMany};
use crate::wire::{Answer, Request, json, times};

/// The source.
pub struct Bitstamp;

impl Source for Bitstamp {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn native(&self, _kind: Kind, symbol: &Symbol, state: &State) -> Result<Native, Judgement> {
        if let Some(native) = state.instruments.native_of(symbol) {
            return Ok(native.clone());
        }
        let (pair, suffix) = match symbol.as_str().strip_suffix(".PERP") {
            Some(pair) => (Symbol::new(pair), "-perp"),
            None => (symbol.clone(), ""),
        };
        let (base, quote) = pair.pair().ok_or_else(|| {
            let message = format!("bitstamp: expected a pair such as BTC-USD or BTC-USD.PERP, found {symbol}");
            Judgement::unservable("symbol_form", message)
        })?;
        Ok(Native::new(format_compact!("{base}{quote}{suffix}").to_lowercase()))
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let query = cx.query;
        match query.kind {
            Kind::Ticker if query.whole_market => Ok(Request::get("/api/v2/ticker/")),
            Kind::Ticker => Ok(Request::get(format!("/api/v2/ticker/{}/", cx.only_native()?))),
            Kind::Trade => Ok(Request::get(format!("/api/v2/transactions/{}/", cx.only_native()?))
                .param("time", trade_window(query, cx.now)?)),
            Kind::Bar => {
                let step = bars::word("bitstamp", STEPS, query.interval.unwrap_or(Interval::MINUTE))?;
                let start = match &query.cursor {
                    Some(cursor) => Some(cursor.clone()),
                    None => query.range.map(|range| format_compact!("{}", range.from.as_secs())),
                };
                // The provider's end is inclusive, ours is not.
                let end = query.range.map(|range| range.to.as_secs() - 1);
                Ok(Request::get(format!("/api/v2/ohlc/{}/", cx.only_native()?))
                    .param("step", step)
                    .param("limit", rows_max(query))
                    .param_opt("start", start)
                    .param_opt("end", end))
            }
            Kind::Book => Ok(Request::get(format!("/api/v2/order_book/{}/", cx.only_native()?)).param("group", 1)),
            kind => Err(Judgement::unservable("kind_unknown", format!("bitstamp: has no {kind}"))),
        }
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        let decoded = match cx.query.kind {
            Kind::Ticker => decode_tickers(cx, &answer.body, out).map(|()| None),
            Kind::Trade => decode_trades(cx, &answer.body, out).map(|()| None),
            Kind::Bar => decode_bars(cx, answer, out),
            Kind::Book => decode_book(cx, &answer.body, out).map(|()| None),
            kind => Err(Judgement::unservable("kind_unknown", format!("bitstamp: has no {kind}"))),
        };
        // An error envelope under 200 is looked for only once the answer has turned out not to fit.
        decoded.map_err(|judgement| match ErrorBody::read(&answer.body) {
            Some(error) => error.judge(Judgement::new(Verdict::BadRequest, "provider", "")),
            None => judgement,
        })
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        let judgement = by_status(answer, None);
        match ErrorBody::read(&answer.body) {
            Some(error) => error.judge(judgement),
            // An unknown pair gives the web site's page for missing pages.
            None if answer.status == 404 => Judgement::not_found("HTTP 404"),
            None => judgement,
        }
    }

    fn prerequisites(&self) -> &'static [Prerequisite] {
        PREREQUISITES
    }

    fn prerequisite_request(&self, _name: &str, _cx: &Context<'_>) -> Result<Request, Judgement> {
        Ok(Request::get("/api/v2/trading-pairs-info/"))
    }

    fn prerequisite_decode(&self, _name: &str, answer: &Answer, state: &mut State) -> Result<(), Judgement> {
        if !answer.is_success() {
            return Err(by_status(answer, None));
        }
        let mut doc = json::plain(&answer.body);
        let rows: Vec<ListedPair<'_>> = doc.read()?;
        let listed: Vec<Instrument> = rows
            .iter()
            .filter_map(|row| {
                let symbol = split(row.name)?;
                Some(Instrument { symbol, native: Native::new(row.url_symbol), aliases: vec![Native::new(row.name)] })
            })
            .collect();
        state.instruments = listed.into();
        Ok(())
    }
}

/// The forms of a refusal: `{"error": text or lists by field}`, `{"status":"error","reason","code"}`, and
/// `{"code","message" or "errors":[{"message"}]}`.
struct ErrorBody {
    code: String,
    message: String,
}

impl ErrorBody {
    fn read(body: &[u8]) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_slice(body).ok()?;
        let refused = value.get("error").is_some() || value.get("errors").is_some() || value.get("code").is_some();
        if !refused && value["status"] != "error" {
            return None;
        }
        let told = ["error", "reason", "message", "errors"].iter().find_map(|key| value.get(*key))?;
        let mut message = String::new();
        collect_texts(told, &mut message);
        let code = value["code"].as_str().unwrap_or_default().to_owned();
        Some(ErrorBody { code, message })
    }

    fn judge(self, judgement: Judgement) -> Judgement {
        let text = self.message.to_ascii_lowercase();
        let (verdict, reason) = match self.code.as_str() {
            _ if text.contains("rate limit") || text.contains("too many requests") => {
                (Verdict::RateLimited, "rate_limit")
            }
            _ if text.contains("currency pair") || text.contains("market not found") => {
                (Verdict::NotFound, "symbol_unknown")
            }
            // API0001 to API0017 all speak of the key, its address, its permissions or its signature.
            code if code.starts_with("API00") => (Verdict::Unauthorized, "key"),
            _ => (judgement.verdict, judgement.reason),
        };
        Judgement { message: self.message, verdict, reason, ..judgement }
    }
}

/// The texts in an error value, whatever lists and objects they are wrapped in.
fn collect_texts(value: &serde_json::Value, out: &mut String) {
    match value {
        serde_json::Value::String(text) => {
            if !out.is_empty() {
                out.push_str("; ");
            }
            out.push_str(text.trim());
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| collect_texts(value, out)),
        serde_json::Value::Object(fields) => match fields.get("message") {
            Some(message) => collect_texts(message, out),
            None => fields.values().for_each(|value| collect_texts(value, out)),
        },
        _ => {}
    }
}

#[derive(Deserialize)]
struct ListedPair<'a> {
    /// `BTC/USD`.
    name: &'a str,
    /// `btcusd`.
    #[serde(alias = "market_symbol")]
    url_symbol: &'a str,
}

/// One ticker. Answers of earlier years lack `open` and everything after it.
#[derive(Deserialize)]
struct TickerRow {
    last: Dec,
    /// Seconds.
    timestamp: Option<Int>,
    high: Option<Dec>,
    low: Option<Dec>,
    bid: Option<Dec>,
    ask: Option<Dec>,
    /// Over 24 hours.
    vwap: Option<Dec>,
    volume: Option<Dec>,
    /// First price of the day.
    open: Option<Dec>,
    /// In percent; null for young markets.
    percent_change_24: Option<Dec>,
    /// `BTC/USD`.
    pair: Option<CompactString>,
}

fn decode_tickers(cx: &Context<'_>, body: &[u8], out: &mut Batch) -> Result<(), Judgement> {
    let tickers: OneOrMany<TickerRow> = fields::read_mixed(body)?;
    out.expect(tickers.rows.len());
    for row in &tickers.rows {
        if let Some(pair) = &row.pair
            && !cx.wants(&url_name(pair))
        {
            continue;
        }
        let (symbol, native) = names(cx, row.pair.as_deref());
        let ts_event = row.timestamp.map(|secs| times::secs("timestamp", secs.0)).transpose()?;
        let ticker = Ticker {
            last: row.last,
            open: row.open,
            high: row.high,
            low: row.low,
            change_pct: row.percent_change_24,
            vwap: row.vwap,
            volume: row.volume,
            bid: row.bid,
            ask: row.ask,
            ..Ticker::default()
        };
        out.push(symbol, native, ts_event, Data::Ticker(Box::new(ticker)));
    }
    Ok(())
}

#[derive(Deserialize)]
struct TradeRow {
    /// Seconds.
    date: Option<Int>,
    tid: Option<Id>,
    price: Dec,
    amount: Dec,
    /// 0 when the taker bought, 1 when it sold; absent in answers of earlier years.
    #[serde(rename = "type")]
    side: Option<Int>,
}

fn decode_trades(cx: &Context<'_>, body: &[u8], out: &mut Batch) -> Result<(), Judgement> {
    let trades: OneOrMany<TradeRow> = fields::read_mixed(body)?;
    out.expect(trades.rows.len());
    for row in trades.rows {
        let side = match row.side {
            Some(Int(0)) => Some(Side::Buy),
            Some(Int(1)) => Some(Side::Sell),
            Some(Int(other)) => {
                return Err(Judgement::malformed(format!("type: expected 0 or 1, found {other}")));
            }
            None => None,
        };
        let ts_event = row.date.map(|secs| times::secs("date", secs.0)).transpose()?;
        // The provider's windows all end now and are longer than asked for.
        if cx.query.range.zip(ts_event).is_some_and(|(range, at)| at < range.from || at >= range.to) {
            continue;
        }
        let (symbol, native) = cx.names(None);
        let trade = Trade { id: row.tid.map(|id| id.0), price: row.price, size: row.amount, side, volume_unit: None };
        out.push(symbol, native, ts_event, Data::Trade(trade));
    }
    Ok(())
}

#[derive(Deserialize)]
struct Ohlc {
    data: OhlcData,
}

#[derive(Deserialize)]
struct OhlcData {
    /// `BTC/USD`.
    pair: Option<CompactString>,
    ohlc: Vec<OhlcRow>,
}

#[derive(Deserialize)]
struct OhlcRow {
    /// Seconds: the start.
    timestamp: Int,
    open: Dec,
    high: Dec,
    low: Dec,
    close: Dec,
    volume: Option<Dec>,
}

fn decode_bars(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
    let data = if fields::has_key(&answer.body, "data") {
        fields::read_mixed::<Ohlc>(&answer.body)?.data
    } else {
        let OneOrMany { rows, .. } = fields::read_mixed(&answer.body)?;
        OhlcData { pair: None, ohlc: rows }
    };
    let interval = cx.query.interval;
    out.expect(data.ohlc.len());
    for row in &data.ohlc {
        let candle = Candle {
            start: times::secs("timestamp", row.timestamp.0)?,
            open: row.open,
            high: row.high,
            low: row.low,
            close: row.close,
            volume: row.volume,
            quote_volume: None,
        };
        candle.push(out, names(cx, data.pair.as_deref()), interval, answer.ts_recv);
    }
    let Some((range, last)) = cx.query.range.zip(data.ohlc.last()) else { return Ok(None) };
    let step = interval.unwrap_or(Interval::MINUTE).duration().map_or(0, |length| length.as_secs() as i64);
    let next = last.timestamp.0.saturating_add(step);
    let more = data.ohlc.len() as u32 >= rows_max(cx.query) && next < range.to.as_secs();
    Ok(more.then(|| format_compact!("{next}")))
}

#[derive(Deserialize)]
struct OrderBook {
    /// Seconds.
    timestamp: Option<Int>,
    /// Microseconds.
    microtimestamp: Option<Int>,
    #[serde(deserialize_with = "fields::levels")]
    bids: Vec<Level>,
    #[serde(deserialize_with = "fields::levels")]
    asks: Vec<Level>,
}

fn decode_book(cx: &Context<'_>, body: &[u8], out: &mut Batch) -> Result<(), Judgement> {
    let book: OrderBook = fields::read_mixed(body)?;
    let ts_event = match (book.microtimestamp, book.timestamp) {
        (Some(Int(micros)), _) => Some(UnixNanos::from_micros(micros).ok_or_else(|| {
            Judgement::malformed(format!("microtimestamp: expected a time before 2262, found {micros}"))
        })?),
        (None, Some(Int(secs))) => Some(times::secs("timestamp", secs)?),
        (None, None) => None,
    };
    let (symbol, native) = cx.names(None);
    let book = Book { bids: book.bids, asks: book.asks, sequence: None, volume_unit: None };
    out.push(symbol, native, ts_event, Data::Book(Box::new(book)));
    Ok(())
}

/// The names of an answer about `pair`, or about the query's instrument when the body names none.
fn names(cx: &Context<'_>, pair: Option<&str>) -> (Option<Symbol>, Option<Native>) {
    let Some(pair) = pair else { return cx.names(None) };
    let symbol = cx.symbol_of(&url_name(pair)).or_else(|| split(pair));
    (symbol, Some(Native::new(pair)))
}

/// `BTC/USD` as requests write it: `btcusd`.
fn url_name(pair: &str) -> String {
    pair.replace('/', "").to_lowercase()
}

/// The canonical form of `BTC/USD` and `BTC/USD-PERP`.
fn split(pair: &str) -> Option<Symbol> {
    let (base, quote) = pair.split_once('/')?;
    match quote.strip_suffix("-PERP") {
        Some(quote) => Some(Symbol::new(format_compact!("{}.PERP", Symbol::from_pair(base, quote)))),
        None => Some(Symbol::from_pair(base, quote)),
    }
}

/// The shortest of the provider's windows, which all end now, that covers the query.
fn trade_window(query: &Query, now: UnixNanos) -> Result<&'static str, Judgement> {
    match query.range.map(|range| now.since(range.from).as_secs()) {
        None | Some(60..3_600) => Ok("hour"),
        Some(..60) => Ok("minute"),
        Some(..86_400) => Ok("day"),
        Some(_) => Err(Judgement::unservable(
            "range_too_old",
            "bitstamp: expected a range of trades within the last day, found an older one",
        )),
    }
}

fn rows_max(query: &Query) -> u32 {
    query.limit.unwrap_or(if query.range.is_some() { ROWS_MAX } else { 100 }).clamp(1, ROWS_MAX)
}

const ROWS_MAX: u32 = 1_000;
/// Older trades are not served.
const DAY: Duration = Duration::from_secs(86_400);
const PAIRS: &[&str] = &["BTC-USD", "ETH-USD", "XRP-USD"];

static PREREQUISITES: &[Prerequisite] = &[Prerequisite {
    name: "instruments",
    ttl: Duration::from_secs(86_400),
    needed: |_, _| false,
    invalidated_by: &[],
}];

static SPEC: Spec = Spec {
    id: SourceId("bitstamp"),
    title: "Bitstamp",
    bases: &[Base { name: "api", url: "https://www.bitstamp.net" }],
    kinds: &[
        KindSpec { whole_market: true, every: Duration::from_secs(2), ..KIND },
        KindSpec { kind: Kind::Trade, past: Past::ranged(ROWS_MAX).reach(Reach::Time(DAY)), ..KIND },
        KindSpec {
            kind: Kind::Bar,
            intervals: INTERVALS,
            past: Past::ranged(ROWS_MAX),
            every: Duration::from_secs(10),
            ..KIND
        },
        KindSpec { kind: Kind::Book, ..KIND },
    ],
    credentials: &[],
    tiers: &[Tier {
        name: "free",
        windows: &[
            WindowSpec { bucket: "", limit: 400, per: Duration::from_secs(1), shape: WindowShape::Rolling },
            WindowSpec { bucket: "", limit: 10_000, per: Duration::from_secs(600), shape: WindowShape::Rolling },
        ],
    }],
    scope: QuotaScope::Ip,
    samples: samples!(
        "bitstamp",
        "ohlc.json",
        "order_book.json",
        "ticker.json",
        "tickers.json",
        "trading_pairs_info.json",
        "transactions.json",
    ),
    routes: include_str!("samples/bitstamp/routes.toml"),
    evidence: Evidence::Mixed,
    quota_docs: "400 requests per second and 10,000 per 10 minutes (www.bitstamp.net/api, Rate limits; unverified)",
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

/// Intervals and the provider's words for them: seconds.
const STEPS: &[(Interval, u32)] = &[
    (Interval::MINUTE, 60),
    (Interval::new(3, IntervalUnit::Minute), 180),
    (Interval::new(5, IntervalUnit::Minute), 300),
    (Interval::new(15, IntervalUnit::Minute), 900),
    (Interval::new(30, IntervalUnit::Minute), 1_800),
    (Interval::HOUR, 3_600),
    (Interval::new(2, IntervalUnit::Hour), 7_200),
    (Interval::new(4, IntervalUnit::Hour), 14_400),
    (Interval::new(6, IntervalUnit::Hour), 21_600),
    (Interval::new(12, IntervalUnit::Hour), 43_200),
    (Interval::DAY, 86_400),
    (Interval::new(3, IntervalUnit::Day), 259_200),
];
const INTERVALS: &[Interval] = &bars::intervals::<_, { STEPS.len() }>(STEPS);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::testing;

    fn btc(kind: Kind) -> Query {
        Query::new(kind).symbol("BTC-USD")
    }

    #[test]
    fn tickers_of_one_and_of_all() {
        let expected = json!({
            "source": "bitstamp", "kind": "ticker", "symbol": "BTC-USD", "native": "BTC/USD", "ts_event": 1_767_225_599_000_000_000_i64,
            "data": {"last": "87648", "open": "88490", "high": "89000", "low": "87120", "change_pct": "-0.95", "vwap": "88012",
                     "volume": "1543.81762534", "bid": "87640", "ask": "87652"}
        });
        testing::check(&Bitstamp, &btc(Kind::Ticker), "ticker.json", json!([expected]));
        testing::check_bad_bodies(&Bitstamp, &btc(Kind::Ticker), "ticker.json");
        let market = Query { whole_market: true, ..btc(Kind::Ticker) };
        testing::check(&Bitstamp, &market, "tickers.json", json!([expected]));
        let all = testing::decode(&Bitstamp, &Query::new(Kind::Ticker), 200, SPEC.sample("tickers.json").unwrap());
        let symbols: Vec<_> = all.unwrap().iter().map(|record| record["symbol"].clone()).collect();
        assert_eq!(symbols, ["BTC-USD", "ETH-USD", "XRP-USD"]);
    }

    #[test]
    fn a_perpetual_is_no_spot_pair() {
        let body = r#"{"last":"1","pair":"BTC/USD-PERP"}"#;
        let found = testing::decode(&Bitstamp, &btc(Kind::Ticker), 200, body).unwrap();
        assert_eq!(found[0]["symbol"], "BTC-USD.PERP");
        let target = testing::request(&Bitstamp, &Query::new(Kind::Ticker).symbol("BTC-USD.PERP")).unwrap();
        assert_eq!(target.target(), "/api/v2/ticker/btcusd-perp/");
    }

    #[test]
    fn trades_name_the_aggressor() {
        testing::check(
            &Bitstamp,
            &btc(Kind::Trade),
            "transactions.json",
            json!([
                {"source": "bitstamp", "kind": "trade", "symbol": "BTC-USD", "native": "btcusd", "ts_event": 1_767_225_598_000_000_000_i64,
                 "data": {"id": "477013452", "price": "87648", "size": "0.02924000", "side": "sell"}},
                {"source": "bitstamp", "kind": "trade", "symbol": "BTC-USD", "native": "btcusd", "ts_event": 1_767_225_596_000_000_000_i64,
                 "data": {"id": "477013451", "price": "87652", "size": "0.00500000", "side": "buy"}}
            ]),
        );
        testing::check_bad_bodies(&Bitstamp, &btc(Kind::Trade), "transactions.json");
        let moment = |secs| UnixNanos::from_secs(secs).unwrap();
        let range = btc(Kind::Trade).range(moment(1_767_225_597), moment(1_767_225_599));
        let found = testing::decode(&Bitstamp, &range, 200, SPEC.sample("transactions.json").unwrap()).unwrap();
        assert_eq!(found.len(), 1);
        assert!(testing::decode(&Bitstamp, &btc(Kind::Trade), 200, "[]").unwrap().is_empty());
    }

    #[test]
    fn bars_end_an_interval_after_their_start() {
        let bar = |start: i64, open: &str, high: &str, low: &str, close: &str, volume: &str| {
            json!({"source": "bitstamp", "kind": "bar", "symbol": "BTC-USD", "native": "BTC/USD", "ts_event": (start + 60) * 1_000_000_000,
                   "data": {"interval": "1m", "start": start * 1_000_000_000, "end": (start + 60) * 1_000_000_000, "open": open,
                            "high": high, "low": low, "close": close, "volume": volume, "closed": true}})
        };
        testing::check(
            &Bitstamp,
            &btc(Kind::Bar).interval(Interval::MINUTE),
            "ohlc.json",
            json!([
                bar(1_767_225_480, "87600", "87660", "87590", "87640", "2.16327200"),
                bar(1_767_225_540, "87640", "87655", "87630", "87648", "1.53866000")
            ]),
        );
        testing::check_bad_bodies(&Bitstamp, &btc(Kind::Bar), "ohlc.json");
        let alone = r#"{"timestamp":"1593961440","open":"1","high":"2","low":"0.5","close":"1.50"}"#;
        let found = testing::decode(&Bitstamp, &Query::new(Kind::Bar), 200, alone).unwrap();
        assert_eq!(found[0]["data"]["close"], "1.50");
        let found = testing::decode(&Bitstamp, &Query::new(Kind::Bar), 200, SPEC.sample("ohlc.json").unwrap()).unwrap();
        assert_eq!(found[0]["ts_event"], found[0]["data"]["start"]);
        assert!(found[0]["data"].get("end").is_none() && found[0]["data"].get("closed").is_none());
    }

    #[test]
    fn books_are_stamped_to_the_microsecond() {
        testing::check(
            &Bitstamp,
            &btc(Kind::Book),
            "order_book.json",
            json!([{"source": "bitstamp", "kind": "book", "symbol": "BTC-USD", "native": "btcusd", "ts_event": 1_767_225_599_681_418_000_i64,
                    "data": {"bids": [["87640", "0.60000000"], ["87638", "3.23948640"]],
                             "asks": [["87652", "1.30500000"], ["87655", "0.75000000"]]}}]),
        );
        testing::check_bad_bodies(&Bitstamp, &btc(Kind::Book), "order_book.json");
    }

    #[test]
    fn refusals_are_told_apart() {
        let check = |status, body: &str, expected| {
            testing::check_verdict(&Bitstamp, &btc(Kind::Ticker), status, body, expected)
        };
        check(404, "<!DOCTYPE html><html>not found</html>", (Verdict::NotFound, "symbol_unknown"));
        check(400, r#"{"error":{"__all__":["Minimum order size is $1"]}}"#, (Verdict::BadRequest, "http_4xx"));
        check(
            403,
            r#"{"status":"error","reason":"Invalid signature","code":"API0005"}"#,
            (Verdict::Unauthorized, "key"),
        );
        check(
            200,
            r#"{"status":"error","reason":"Invalid signature","code":"API0005"}"#,
            (Verdict::Unauthorized, "key"),
        );
        check(200, r#"{"error":"Bad step"}"#, (Verdict::BadRequest, "provider"));
        check(400, r#"{"error":"Rate limit exceeded"}"#, (Verdict::RateLimited, "rate_limit"));
        check(429, "slow down", (Verdict::RateLimited, "http_429"));
        check(503, "<html></html>", (Verdict::UpstreamError, "http_5xx"));
        check(200, "<html></html>", (Verdict::Malformed, "html_page"));
        check(200, r#"{"last":null}"#, (Verdict::Malformed, "shape"));
        check(200, r#"{"last":"1","bid":true}"#, (Verdict::Malformed, "shape"));
        let error = testing::decode(&Bitstamp, &btc(Kind::Ticker), 400, r#"{"error":{"__all__":["No","Way"]}}"#);
        assert_eq!(error.unwrap_err().message, "No; Way");
    }

    #[test]
    fn requests_name_the_pair_in_the_path() {
        let check = |query: Query, expected: &str| {
            assert_eq!(testing::request(&Bitstamp, &query).unwrap().target(), expected);
        };
        let now = testing::NOW;
        let ago = |secs| now.saturating_sub(Duration::from_secs(secs));
        check(btc(Kind::Ticker), "/api/v2/ticker/btcusd/");
        check(Query { whole_market: true, ..btc(Kind::Ticker) }, "/api/v2/ticker/");
        check(btc(Kind::Trade), "/api/v2/transactions/btcusd/?time=hour");
        check(btc(Kind::Trade).range(ago(59), now), "/api/v2/transactions/btcusd/?time=minute");
        check(btc(Kind::Trade).range(ago(7_200), now), "/api/v2/transactions/btcusd/?time=day");
        check(btc(Kind::Bar).limit(5_000), "/api/v2/ohlc/btcusd/?step=60&limit=1000");
        check(
            btc(Kind::Bar).interval(Interval::HOUR).range(ago(3_645), ago(45)),
            "/api/v2/ohlc/btcusd/?step=3600&limit=1000&start=1767319400&end=1767322999",
        );
        check(btc(Kind::Book), "/api/v2/order_book/btcusd/?group=1");
        let refused = |query: Query, reason| {
            assert_eq!(testing::request(&Bitstamp, &query).unwrap_err().reason, reason);
        };
        refused(btc(Kind::Trade).range(ago(90_000), now), "range_too_old");
        refused(btc(Kind::Bar).interval(Interval::WEEK), "interval_unknown");
        refused(Query::new(Kind::Ticker).symbol("AAPL"), "symbol_form");
    }

    #[test]
    fn the_list_of_pairs_is_learned() {
        let mut state = State::default();
        let answer = Answer::new(200, SPEC.sample("trading_pairs_info.json").unwrap());
        Bitstamp.prerequisite_decode("instruments", &answer, &mut state).unwrap();
        assert_eq!(state.instruments.symbol_of("ethusd"), Some(&Symbol::new("ETH-USD")));
        assert_eq!(state.instruments.symbol_of("BTC/USD"), Some(&Symbol::new("BTC-USD")));
        assert_eq!(state.instruments.native_of(&Symbol::new("XRP-USD")), Some(&Native::new("xrpusd")));
    }
}
