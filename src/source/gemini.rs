//! Gemini. Facts: its REST documentation; the bodies of its early years are read too. Names have no separator
//! (`btcusd`, in answers `BTCUSD`) and are never split: the list of symbols says what they are made of.

use std::time::Duration;

use compact_str::{CompactString, format_compact};
use serde::{Deserialize, Deserializer, de};

use crate::model::{
    Book, Data, Dec, Interval, IntervalUnit, Judgement, Kind, Level, Native, Side, SourceId, Symbol, Ticker, Trade,
    Verdict,
};
use crate::source::bars::{self, Candle};
use crate::source::spec::samples;
use crate::source::{
    Base, Batch, Batching, Context, Evidence, Instrument, KeyUse, KindSpec, Past, Prerequisite, QuotaScope, Source,
    Spec, State, Tier, WindowShape, WindowSpec, by_status,
};
use crate::time::UnixNanos;
use crate::wire::fields::{self, Id, Int, OneOrMany};
use crate::wire::{Answer, Request, json, times};

/// The source.
pub struct Gemini;

impl Source for Gemini {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn native(&self, _kind: Kind, symbol: &Symbol, state: &State) -> Result<Native, Judgement> {
        if let Some(native) = state.instruments.native_of(symbol) {
            return Ok(native.clone());
        }
        let (pair, suffix) = match symbol.as_str().strip_suffix(".PERP") {
            Some(pair) => (Symbol::new(pair), "perp"),
            None => (symbol.clone(), ""),
        };
        let (base, quote) = pair.pair().ok_or_else(|| {
            let message = format!("gemini: expected a pair such as BTC-USD or BTC-GUSD.PERP, found {symbol}");
            Judgement::unservable("symbol_form", message)
        })?;
        Ok(Native::new(format_compact!("{base}{quote}{suffix}").to_lowercase()))
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let query = cx.query;
        match query.kind {
            Kind::Ticker => Ok(Request::get(format!("/v1/pubticker/{}", cx.only_native()?))),
            Kind::Trade => {
                let since = query.range.filter(|_| query.cursor.is_none()).map(|range| range.from.as_millis());
                Ok(Request::get(format!("/v1/trades/{}", cx.only_native()?))
                    .param("limit_trades", trades_max(cx))
                    .param_opt("timestamp", since)
                    .param_opt("since_tid", query.cursor.as_deref()))
            }
            Kind::Bar => {
                let frame = bars::word("gemini", FRAMES, query.interval.unwrap_or(Interval::MINUTE))?;
                Ok(Request::get(format!("/v2/candles/{}/{frame}", cx.only_native()?)))
            }
            Kind::Book => {
                let levels = query.limit.unwrap_or(50);
                Ok(Request::get(format!("/v1/book/{}", cx.only_native()?))
                    .param("limit_bids", levels)
                    .param("limit_asks", levels))
            }
            kind => Err(Judgement::unservable("kind_unknown", format!("gemini: has no {kind}"))),
        }
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        let decoded = match cx.query.kind {
            Kind::Ticker => decode_tickers(cx, &answer.body, out).map(|()| None),
            Kind::Trade => decode_trades(cx, &answer.body, out),
            Kind::Bar => decode_bars(cx, answer, out).map(|()| None),
            Kind::Book => decode_book(cx, &answer.body, out).map(|()| None),
            kind => Err(Judgement::unservable("kind_unknown", format!("gemini: has no {kind}"))),
        };
        // An error envelope under 200 is looked for only once the answer has turned out not to fit.
        decoded.map_err(|judgement| match json::read_owned::<ErrorBody>(json::plain(&answer.body)) {
            Ok(error) => error.judge(Judgement::new(Verdict::BadRequest, "provider", "")),
            Err(_) => judgement,
        })
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        let judgement = by_status(answer, None);
        match json::read_owned::<ErrorBody>(json::plain(&answer.body)) {
            Ok(error) => error.judge(judgement),
            Err(_) => judgement,
        }
    }

    fn prerequisites(&self) -> &'static [Prerequisite] {
        PREREQUISITES
    }

    fn prerequisite_request(&self, _name: &str, _cx: &Context<'_>) -> Result<Request, Judgement> {
        Ok(Request::get("/v1/symbols/details/all"))
    }

    fn prerequisite_decode(&self, _name: &str, answer: &Answer, state: &mut State) -> Result<(), Judgement> {
        if !answer.is_success() {
            return Err(by_status(answer, None));
        }
        let details: OneOrMany<SymbolDetails> = json::read_owned(json::exact(&answer.body))?;
        let listed: Vec<Instrument> = details
            .rows
            .iter()
            .map(|row| {
                let pair = Symbol::from_pair(&row.base_currency, &row.quote_currency);
                let symbol = match row.product_type.as_deref() {
                    Some("swap") => Symbol::new(format_compact!("{pair}.PERP")),
                    _ => pair,
                };
                Instrument { symbol, native: Native::new(row.symbol.to_lowercase()), aliases: Vec::new() }
            })
            .collect();
        state.instruments = listed.into();
        Ok(())
    }
}

/// `{"result":"error","reason":"InvalidSymbol","message":"…"}`.
#[derive(Deserialize)]
struct ErrorBody {
    reason: CompactString,
    message: Option<CompactString>,
}

impl ErrorBody {
    fn judge(self, judgement: Judgement) -> Judgement {
        let message = self.message.unwrap_or_else(|| self.reason.clone());
        let (verdict, reason) = match self.reason.as_str() {
            "InvalidSymbol" => (Verdict::NotFound, "symbol_unknown"),
            _ if message.contains("not a valid symbol") => (Verdict::NotFound, "symbol_unknown"),
            "RateLimit" | "RateLimited" | "RateLimitExceeded" => (Verdict::RateLimited, "rate_limit"),
            "InvalidApiKey" | "InvalidSignature" | "InvalidNonce" | "MissingApikeyHeader" | "MissingRole" => {
                (Verdict::Unauthorized, "key")
            }
            "Maintenance" | "System" => (Verdict::UpstreamError, "provider"),
            "EndpointNotFound" => (Verdict::BadRequest, "path"),
            _ => (judgement.verdict, judgement.reason),
        };
        Judgement { verdict, reason, message: message.trim().to_owned(), ..judgement }
    }
}

#[derive(Deserialize)]
struct SymbolDetails {
    symbol: CompactString,
    base_currency: CompactString,
    quote_currency: CompactString,
    /// `spot` or `swap`; absent in answers of earlier years, which had no swaps.
    product_type: Option<CompactString>,
}

/// The body of `v1/pubticker`, today's or of the early years, or of `v2/ticker`, whose close is the last price.
#[derive(Deserialize)]
struct TickerRow {
    #[serde(alias = "pair")]
    symbol: Option<CompactString>,
    #[serde(alias = "last_price", alias = "close", alias = "price")]
    last: Dec,
    open: Option<Dec>,
    high: Option<Dec>,
    low: Option<Dec>,
    bid: Option<Dec>,
    ask: Option<Dec>,
    volume: Option<Volume>,
    /// Seconds, with a fraction.
    timestamp: Option<Dec>,
}

/// A volume in base units, or volumes by currency with their time in milliseconds.
enum Volume {
    Base(Dec),
    ByCurrency(Vec<(CompactString, Dec)>),
}

impl<'de> Deserialize<'de> for Volume {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Volume;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a decimal or an object of decimals")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Volume, E> {
                Dec::parse(text.as_bytes()).map(Volume::Base).map_err(|error| {
                    let shown: String = text.chars().take(40).collect();
                    E::custom(format_args!("expected {error}, found {shown:?}"))
                })
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Volume, E> {
                Ok(Volume::Base(Dec::from(value)))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Volume, E> {
                Ok(Volume::Base(Dec::from(value)))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Volume, A::Error> {
                let mut volumes = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    volumes.push(entry);
                }
                Ok(Volume::ByCurrency(volumes))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Volume {
    fn of(&self, currency: &str) -> Option<Dec> {
        match self {
            Volume::Base(_) => None,
            Volume::ByCurrency(list) => list.iter().find(|(name, _)| name == currency).map(|(_, volume)| *volume),
        }
    }
}

fn decode_tickers(cx: &Context<'_>, body: &[u8], out: &mut Batch) -> Result<(), Judgement> {
    let tickers: OneOrMany<TickerRow> = fields::read_mixed(body)?;
    out.expect(tickers.rows.len());
    for row in &tickers.rows {
        let (symbol, native) = match &row.symbol {
            Some(name) => (cx.symbol_of(&name.to_lowercase()), Some(Native::new(name))),
            None => cx.names(None),
        };
        // Which of the two currencies is the base, only the symbol tells.
        let sides = symbol.as_ref().map(|symbol| Symbol::new(symbol.as_str().trim_end_matches(".PERP")));
        let (base, quote) = sides.as_ref().and_then(Symbol::pair).unzip();
        let told = |currency: Option<&str>| row.volume.as_ref().zip(currency).and_then(|(list, name)| list.of(name));
        let volume = match row.volume {
            Some(Volume::Base(volume)) => Some(volume),
            _ => told(base),
        };
        let time = row.volume.as_ref().and_then(|volumes| volumes.of("timestamp"));
        let ts_event = match (time, row.timestamp) {
            (Some(ms), _) => Some(decimal_millis(ms)?),
            (None, Some(secs)) => Some(times::decimal_secs("timestamp", secs)?),
            (None, None) => None,
        };
        let ticker = Ticker {
            last: row.last,
            open: row.open,
            high: row.high,
            low: row.low,
            volume,
            quote_volume: told(quote),
            bid: row.bid,
            ask: row.ask,
            ..Ticker::default()
        };
        out.push(symbol, native, ts_event, Data::Ticker(Box::new(ticker)));
    }
    Ok(())
}

/// The time among the volumes: milliseconds.
fn decimal_millis(ms: Dec) -> Result<UnixNanos, Judgement> {
    let secs = ms.shift(-3).map_err(|error| {
        Judgement::malformed(format!("volume.timestamp: expected {error}, found {ms} milliseconds"))
    })?;
    times::decimal_secs("volume.timestamp", secs)
}

#[derive(Deserialize)]
struct TradeRow {
    tid: Option<Id>,
    price: Dec,
    amount: Dec,
    /// Seconds.
    timestamp: Option<Int>,
    /// Milliseconds; absent in answers of the early years, like the type.
    timestampms: Option<Int>,
    /// `buy` or `sell`: the taker's side; others for auctions and block trades, which have no taker.
    #[serde(rename = "type")]
    side: Option<CompactString>,
}

fn decode_trades(cx: &Context<'_>, body: &[u8], out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
    let trades: OneOrMany<TradeRow> = fields::read_mixed(body)?;
    let full = trades.rows.len() as u32 >= trades_max(cx);
    // Newest first; the next page is what came after the newest.
    let newest = trades.rows.first().and_then(|row| row.tid.clone());
    out.expect(trades.rows.len());
    for row in trades.rows {
        let ts_event = match (row.timestampms, row.timestamp) {
            (Some(ms), _) => Some(times::millis("timestampms", ms.0)?),
            (None, Some(secs)) => Some(times::secs("timestamp", secs.0)?),
            (None, None) => None,
        };
        let side = match row.side.as_deref() {
            Some("buy") => Some(Side::Buy),
            Some("sell") => Some(Side::Sell),
            _ => None,
        };
        let (symbol, native) = cx.names(None);
        let trade = Trade { id: row.tid.map(|id| id.0), price: row.price, size: row.amount, side, volume_unit: None };
        out.push(symbol, native, ts_event, Data::Trade(trade));
    }
    let paging = cx.query.cursor.is_some() || cx.query.range.is_some();
    Ok(newest.filter(|_| full && paging).map(|id| id.0))
}

json::row! {
    struct CandleRow {
        /// Milliseconds: the start.
        time: Int,
        open: Dec,
        high: Dec,
        low: Dec,
        close: Dec;
        volume: Option<Dec>,
    }
}

fn decode_bars(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let doc = json::exact(&answer.body);
    let rows: Vec<CandleRow> =
        if fields::is_row(&answer.body) { vec![json::read_owned(doc)?] } else { json::read_owned(doc)? };
    out.expect(rows.len());
    for row in &rows {
        let candle = Candle {
            start: times::millis("[0]", row.time.0)?,
            open: row.open,
            high: row.high,
            low: row.low,
            close: row.close,
            volume: row.volume,
            quote_volume: None,
        };
        candle.push(out, cx.names(None), cx.query.interval, answer.ts_recv);
    }
    Ok(())
}

/// The levels' times are not read: the documentation calls them a dummy value kept for compatibility.
#[derive(Deserialize)]
struct LevelRow {
    price: Dec,
    amount: Dec,
}

#[derive(Deserialize)]
struct BookBody {
    bids: Vec<LevelRow>,
    asks: Vec<LevelRow>,
}

fn decode_book(cx: &Context<'_>, body: &[u8], out: &mut Batch) -> Result<(), Judgement> {
    let book: BookBody = fields::read_mixed(body)?;
    let side = |rows: Vec<LevelRow>| rows.into_iter().map(|row| Level(row.price, row.amount)).collect();
    let (symbol, native) = cx.names(None);
    let book = Book { bids: side(book.bids), asks: side(book.asks), sequence: None, volume_unit: None };
    out.push(symbol, native, None, Data::Book(Box::new(book)));
    Ok(())
}

fn trades_max(cx: &Context<'_>) -> u32 {
    cx.query.limit.unwrap_or(if cx.query.range.is_some() { ROWS_MAX } else { 50 }).clamp(1, ROWS_MAX)
}

const ROWS_MAX: u32 = 500;
const PAIRS: &[&str] = &["BTC-USD", "ETH-USD", "SOL-USD"];

static PREREQUISITES: &[Prerequisite] = &[Prerequisite {
    name: "instruments",
    ttl: Duration::from_secs(86_400),
    needed: |_, _| false,
    invalidated_by: &[],
}];

static SPEC: Spec = Spec {
    id: SourceId("gemini"),
    title: "Gemini",
    bases: &[Base { name: "api", url: "https://api.gemini.com" }],
    kinds: &[
        KindSpec { ..KIND },
        KindSpec { kind: Kind::Trade, past: Past::ranged(ROWS_MAX), ..KIND },
        KindSpec { kind: Kind::Bar, intervals: INTERVALS, ..KIND },
        KindSpec { kind: Kind::Book, ..KIND },
    ],
    credentials: &[],
    tiers: &[Tier {
        name: "free",
        windows: &[
            WindowSpec { bucket: "", limit: 120, per: Duration::from_secs(60), shape: WindowShape::Rolling },
            // More than five waiting requests are refused.
            WindowSpec { bucket: "", limit: 5, per: Duration::from_secs(1), shape: WindowShape::Rolling },
        ],
    }],
    scope: QuotaScope::Ip,
    samples: samples!(
        "gemini",
        "book.json",
        "candles.json",
        "pubticker.json",
        "symbol_details.json",
        "ticker_v2.json",
        "trades.json",
    ),
    routes: include_str!("samples/gemini/routes.toml"),
    evidence: Evidence::Mixed,
    quota_docs: "120 public requests per minute and IP (docs.gemini.com/rate-limit; 2026)",
};

const KIND: KindSpec = KindSpec {
    kind: Kind::Ticker,
    key: KeyUse::None,
    batching: Batching::One,
    whole_market: false,
    intervals: &[],
    past: Past::NONE,
    every: Duration::from_secs(10),
    examples: PAIRS,
};

/// Intervals and the provider's words for them.
const FRAMES: &[(Interval, &str)] = &[
    (Interval::MINUTE, "1m"),
    (Interval::new(5, IntervalUnit::Minute), "5m"),
    (Interval::new(15, IntervalUnit::Minute), "15m"),
    (Interval::new(30, IntervalUnit::Minute), "30m"),
    (Interval::HOUR, "1hr"),
    (Interval::new(6, IntervalUnit::Hour), "6hr"),
    (Interval::DAY, "1day"),
];
const INTERVALS: &[Interval] = &bars::intervals::<_, { FRAMES.len() }>(FRAMES);

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
    fn tickers_of_both_versions() {
        testing::check(
            &Gemini,
            &btc(Kind::Ticker),
            "pubticker.json",
            json!([{
                "source": "gemini", "kind": "ticker", "symbol": "BTC-USD", "native": "btcusd", "ts_event": 1_767_225_599_812_000_000_i64,
                "data": {"last": "87648.22", "volume": "1210.505328803", "quote_volume": "106124477.463379586263",
                         "bid": "87640.10", "ask": "87652.00"}
            }]),
        );
        testing::check(
            &Gemini,
            &btc(Kind::Ticker),
            "ticker_v2.json",
            json!([{
                "source": "gemini", "kind": "ticker", "symbol": "BTC-USD", "native": "BTCUSD",
                "data": {"last": "87648.22", "open": "88490.01", "high": "89000.00", "low": "87120.50",
                         "bid": "87640.10", "ask": "87652.00"}
            }]),
        );
        testing::check_bad_bodies(&Gemini, &btc(Kind::Ticker), "pubticker.json");
        testing::check_bad_bodies(&Gemini, &btc(Kind::Ticker), "ticker_v2.json");
    }

    #[test]
    fn the_early_ticker_has_a_fractional_time() {
        let body =
            r#"{"mid":"522.935","last_price":"523.67","volume":"6533.86438038","timestamp":"1400949917.858329958"}"#;
        let found = testing::decode(&Gemini, &Query::new(Kind::Ticker), 200, body).unwrap();
        assert_eq!(
            found,
            vec![json!({"source": "gemini", "kind": "ticker", "ts_event": 1_400_949_917_858_329_958_i64,
                        "data": {"last": "523.67", "volume": "6533.86438038"}})]
        );
    }

    #[test]
    fn volumes_by_currency_need_the_symbol() {
        let found =
            testing::decode(&Gemini, &Query::new(Kind::Ticker), 200, SPEC.sample("pubticker.json").unwrap()).unwrap();
        assert!(found[0]["data"].get("volume").is_none() && found[0].get("symbol").is_none());
        assert_eq!(found[0]["ts_event"], 1_767_225_599_812_000_000_i64);
    }

    #[test]
    fn trades_name_the_taker() {
        let trade = |id: &str, ms: i64, price: &str, size: &str, side: &str| {
            json!({"source": "gemini", "kind": "trade", "symbol": "BTC-USD", "native": "btcusd", "ts_event": ms * 1_000_000,
                   "data": {"id": id, "price": price, "size": size, "side": side}})
        };
        testing::check(
            &Gemini,
            &btc(Kind::Trade),
            "trades.json",
            json!([
                trade("2840141012", 1_767_225_599_001, "87648.22", "0.00082", "buy"),
                trade("2840141010", 1_767_225_598_120, "87648.10", "0.02924", "sell")
            ]),
        );
        testing::check_bad_bodies(&Gemini, &btc(Kind::Trade), "trades.json");
        let block = r#"[{"timestamp":1,"price":"1","amount":"2","type":"block"}]"#;
        let found = testing::decode(&Gemini, &btc(Kind::Trade), 200, block).unwrap();
        assert!(found[0]["data"].get("side").is_none());
        assert_eq!(found[0]["ts_event"], 1_000_000_000);
    }

    #[test]
    fn candles_keep_their_digits() {
        let query = btc(Kind::Bar).interval(Interval::MINUTE);
        let found = testing::decode(&Gemini, &query, 200, SPEC.sample("candles.json").unwrap()).unwrap();
        assert_eq!(
            found[0],
            json!({"source": "gemini", "kind": "bar", "symbol": "BTC-USD", "native": "btcusd", "ts_event": 1_767_225_600_000_000_000_i64,
                   "data": {"interval": "1m", "start": 1_767_225_540_000_000_000_i64, "end": 1_767_225_600_000_000_000_i64,
                            "open": "87640.0", "high": "87655.5", "low": "87630.0", "close": "87648.22",
                            "volume": "1.5386634", "closed": true}})
        );
        assert_eq!(found.len(), 2);
        testing::check_bad_bodies(&Gemini, &query, "candles.json");
    }

    #[test]
    fn books_have_no_time() {
        testing::check(
            &Gemini,
            &btc(Kind::Book),
            "book.json",
            json!([{"source": "gemini", "kind": "book", "symbol": "BTC-USD", "native": "btcusd",
                    "data": {"bids": [["87640.10", "0.60000000"], ["87638.00", "3.2394864"]],
                             "asks": [["87652.00", "1.305"], ["87655.01", "0.75"]]}}]),
        );
        testing::check_bad_bodies(&Gemini, &btc(Kind::Book), "book.json");
    }

    #[test]
    fn refusals_are_told_apart() {
        let check =
            |status, body: &str, expected| testing::check_verdict(&Gemini, &btc(Kind::Ticker), status, body, expected);
        let body = |reason: &str| format!(r#"{{"result":"error","reason":"{reason}","message":"no"}}"#);
        check(400, &body("InvalidSymbol"), (Verdict::NotFound, "symbol_unknown"));
        check(200, &body("InvalidSymbol"), (Verdict::NotFound, "symbol_unknown"));
        check(429, &body("RateLimit"), (Verdict::RateLimited, "rate_limit"));
        check(400, &body("InvalidSignature"), (Verdict::Unauthorized, "key"));
        check(400, &body("Other"), (Verdict::BadRequest, "http_4xx"));
        check(404, &body("EndpointNotFound"), (Verdict::BadRequest, "path"));
        check(503, &body("Maintenance"), (Verdict::UpstreamError, "provider"));
        check(
            400,
            r#"{"result":"error","reason":"Bad Request","message":"Supplied value 'nope' is not a valid symbol"}"#,
            (Verdict::NotFound, "symbol_unknown"),
        );
        check(429, "", (Verdict::RateLimited, "http_429"));
        check(200, r#"{"last":null}"#, (Verdict::Malformed, "shape"));
        check(200, r#"{"last":"1","volume":true}"#, (Verdict::Malformed, "shape"));
        check(200, r#"{"last":"1","volume":{"timestamp":1e25}}"#, (Verdict::Malformed, "shape"));
    }

    #[test]
    fn requests_name_the_symbol_in_the_path() {
        let check = |query: Query, expected: &str| {
            assert_eq!(testing::request(&Gemini, &query).unwrap().target(), expected);
        };
        let ago = |secs| testing::NOW.saturating_sub(Duration::from_secs(secs));
        check(btc(Kind::Ticker), "/v1/pubticker/btcusd");
        check(Query::new(Kind::Ticker).symbol("BTC-GUSD.PERP"), "/v1/pubticker/btcgusdperp");
        check(btc(Kind::Trade), "/v1/trades/btcusd?limit_trades=50");
        check(btc(Kind::Trade).range(ago(60), ago(0)), "/v1/trades/btcusd?limit_trades=500&timestamp=1767322985000");
        check(btc(Kind::Trade).limit(9_000).cursor("77"), "/v1/trades/btcusd?limit_trades=500&since_tid=77");
        check(btc(Kind::Bar).interval(Interval::HOUR), "/v2/candles/btcusd/1hr");
        check(btc(Kind::Book).limit(5), "/v1/book/btcusd?limit_bids=5&limit_asks=5");
        let refused = testing::request(&Gemini, &btc(Kind::Bar).interval(Interval::WEEK)).unwrap_err();
        assert_eq!(refused.reason, "interval_unknown");
    }

    #[test]
    fn the_list_of_symbols_tells_what_names_are_made_of() {
        let mut state = State::default();
        let answer = Answer::new(200, SPEC.sample("symbol_details.json").unwrap());
        Gemini.prerequisite_decode("instruments", &answer, &mut state).unwrap();
        assert_eq!(state.instruments.symbol_of("btcgusdperp"), Some(&Symbol::new("BTC-GUSD.PERP")));
        let body = Answer::new(200, r#"{"symbol":"ETHUSD","close":"2968.1"}"#);
        let found = testing::decode_with(&Gemini, &Query::new(Kind::Ticker), &state, body).unwrap();
        assert_eq!((&found[0]["symbol"], &found[0]["native"]), (&json!("ETH-USD"), &json!("ETHUSD")));
    }
}
