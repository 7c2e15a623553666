//! CoinGecko: prices averaged over many venues. Facts: its API reference (demo and pro). Coins are named by ids
//! (`bitcoin`) and priced in a currency that some bodies do not name. Prices are number tokens, tiny ones with exponents.
//! Invariant: volumes are in the currency of the price, except on venue tickers, whose volume is in base units.

use std::time::Duration;

use compact_str::CompactString;
use serde::Deserialize;

use crate::model::{Data, Dec, Interval, IntervalUnit, Judgement, Kind, Native, SourceId, Symbol, Ticker, Verdict};
use crate::source::bars::{self, Candle};
use crate::source::coins::{self, Coins};
use crate::source::spec::samples;
use crate::source::{
    Base, Batch, Batching, Context, Credential, Evidence, Instrument, KeyUse, KindSpec, Past, Prerequisite, QuotaScope,
    Source, Spec, State, Tier, by_status,
};
use crate::wire::fields::{self, Int, Pairs};
use crate::wire::{Answer, Request, json, times};

/// The source.
pub struct CoinGecko;

impl Source for CoinGecko {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn native(&self, _kind: Kind, symbol: &Symbol, state: &State) -> Result<Native, Judgement> {
        Coins { known: KNOWN, state }.native("coingecko", symbol)
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let request = match cx.query.kind {
            Kind::Ticker if cx.natives.is_empty() => {
                return Err(Judgement::unservable("symbol_count", "coingecko: expected a symbol, found none"));
            }
            Kind::Ticker => match coins::quotes(cx).as_slice() {
                // The fuller answer takes one currency.
                [quote] => Request::get("/api/v3/coins/markets")
                    .param("vs_currency", quote.to_lowercase())
                    .param("ids", coins::ids(cx))
                    .param("per_page", COINS_MAX)
                    .param("precision", "full"),
                quotes => Request::get("/api/v3/simple/price")
                    .param("ids", coins::ids(cx))
                    .param("vs_currencies", quotes.join(",").to_lowercase())
                    .param("include_24hr_vol", true)
                    .param("include_24hr_change", true)
                    .param("include_last_updated_at", true)
                    .param("precision", "full"),
            },
            Kind::Bar => {
                let id = cx.only_native()?;
                let quote = coins::quotes(cx).first().map(|quote| quote.to_lowercase()).unwrap_or_default();
                Request::get(format!("/api/v3/coins/{}/ohlc", crate::wire::request::encode(id)))
                    .param("vs_currency", quote)
                    .param("days", days(cx)?)
                    .param("precision", "full")
            }
            kind => return Err(Judgement::unservable("kind_unknown", format!("coingecko: has no {kind}"))),
        };
        Ok(keyed(cx, request))
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        if let Some(error) = ErrorBody::read(answer) {
            return Err(error.judge(answer));
        }
        match cx.query.kind {
            Kind::Ticker if json::is_array(&answer.body) => decode_markets(cx, answer, out)?,
            Kind::Ticker if fields::has_key(&answer.body, "tickers") => decode_venues(answer, out)?,
            Kind::Ticker => decode_prices(cx, answer, out)?,
            Kind::Bar => decode_bars(cx, answer, out)?,
            kind => return Err(Judgement::unservable("kind_unknown", format!("coingecko: has no {kind}"))),
        }
        Ok(None)
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        match ErrorBody::read(answer) {
            Some(error) => error.judge(answer),
            // A page under 403 is the edge's bot check, which looks at the pace.
            None if answer.status == 403 && !answer.looks_like_json() => {
                Judgement { verdict: Verdict::RateLimited, reason: "bot_check", ..by_status(answer, None) }
            }
            None => by_status(answer, None),
        }
    }

    fn prerequisites(&self) -> &'static [Prerequisite] {
        PREREQUISITES
    }

    fn prerequisite_request(&self, _name: &str, cx: &Context<'_>) -> Result<Request, Judgement> {
        // By rank, since of several coins with one ticker the best known is meant.
        let request = Request::get("/api/v3/coins/markets")
            .param("vs_currency", "usd")
            .param("order", "market_cap_desc")
            .param("per_page", COINS_MAX);
        Ok(keyed(cx, request))
    }

    fn prerequisite_decode(&self, _name: &str, answer: &Answer, state: &mut State) -> Result<(), Judgement> {
        if let Some(error) = ErrorBody::read(answer) {
            return Err(error.judge(answer));
        }
        if !answer.is_success() {
            return Err(by_status(answer, None));
        }
        let rows: Vec<Listed> = json::read_owned(json::exact(&answer.body))?;
        let listed: Vec<Instrument> = rows
            .iter()
            .map(|row| Instrument {
                symbol: Symbol::new(row.symbol.to_uppercase()),
                native: Native::new(&row.id),
                aliases: Vec::new(),
            })
            .collect();
        state.instruments = listed.into();
        Ok(())
    }
}

/// Each kind of key has its host and its header; without one the free host answers, more slowly.
fn keyed(cx: &Context<'_>, request: Request) -> Request {
    let find = |variable| cx.credentials.find(variable).filter(|secret| !secret.expose().is_empty());
    match (find(PRO_KEY), find(KEY)) {
        (Some(key), _) => request.base(PRO).header_secret("x-cg-pro-api-key", key.expose()),
        (None, Some(key)) => request.header_secret("x-cg-demo-api-key", key.expose()),
        (None, None) => request,
    }
}

/// `{"error":"…"}` or `{"status":{"error_code":…,"error_message":"…"}}`.
struct ErrorBody {
    code: i64,
    message: String,
}

impl ErrorBody {
    fn read(answer: &Answer) -> Option<Self> {
        // A coin is called `status` too: only the error's own fields tell.
        if !["error", "status"].iter().any(|key| fields::has_key(&answer.body, key)) {
            return None;
        }
        let value: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
        let (error, status) = (&value["error"], &value["status"]);
        let nested = [status, &error["status"]].into_iter().find(|status| status.get("error_code").is_some());
        if let Some(status) = nested {
            let code = status["error_code"].as_i64().unwrap_or_default();
            let message = status["error_message"].as_str().unwrap_or_default();
            return Some(ErrorBody { code, message: message.trim().to_owned() });
        }
        error.as_str().map(|message| ErrorBody { code: 0, message: message.trim().to_owned() })
    }

    fn judge(&self, answer: &Answer) -> Judgement {
        let text = self.message.to_ascii_lowercase();
        let judgement = by_status(answer, Some(&self.message));
        let (verdict, reason) = match self.code {
            429 => (Verdict::RateLimited, "rate_limit"),
            10_005 | 10_012 => (Verdict::Unauthorized, "plan"),
            10_000..=10_011 => (Verdict::Unauthorized, "key"),
            500..=599 => (Verdict::UpstreamError, "provider"),
            _ if text.contains("coin not found") || text.contains("could not find coin") => {
                (Verdict::NotFound, "symbol_unknown")
            }
            _ if text.contains("rate limit") => (Verdict::RateLimited, "rate_limit"),
            _ if answer.is_success() => (Verdict::BadRequest, "provider"),
            _ => (judgement.verdict, judgement.reason),
        };
        Judgement { verdict, reason, ..judgement }
    }
}

#[derive(Deserialize)]
struct Listed {
    id: CompactString,
    symbol: CompactString,
}

#[derive(Deserialize)]
struct Market {
    id: CompactString,
    symbol: Option<CompactString>,
    /// Null for coins without a market.
    #[serde(deserialize_with = "fields::nullable")]
    current_price: Option<Dec>,
    high_24h: Option<Dec>,
    low_24h: Option<Dec>,
    price_change_24h: Option<Dec>,
    /// In percent.
    price_change_percentage_24h: Option<Dec>,
    /// In the currency of the price.
    total_volume: Option<Dec>,
    last_updated: Option<CompactString>,
}

fn decode_markets(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let rows: Vec<Market> = json::read_owned(json::exact(&answer.body))?;
    if rows.is_empty() {
        return Err(Judgement::not_found("expected a coin, found an empty list"));
    }
    let known = Coins { known: KNOWN, state: cx.state };
    // The body does not name the currency.
    let quotes = coins::quotes(cx);
    for row in &rows {
        let Some(last) = row.current_price else { continue };
        let ts_event = row.last_updated.as_deref().map(|text| times::rfc3339("last_updated", text)).transpose()?;
        let symbol = match quotes.as_slice() {
            [quote] => known.symbol(cx, &row.id, row.symbol.as_deref(), quote),
            _ => None,
        };
        let ticker = Ticker {
            last,
            high: row.high_24h,
            low: row.low_24h,
            change: row.price_change_24h,
            change_pct: row.price_change_percentage_24h,
            quote_volume: row.total_volume,
            ..Ticker::default()
        };
        out.push(symbol, Some(Native::new(&row.id)), ts_event, Data::Ticker(Box::new(ticker)));
    }
    Ok(())
}

/// Prices by coin and currency: `usd`, with `usd_24h_vol` and `usd_24h_change` beside it.
fn decode_prices(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let Pairs(prices) = json::read_owned::<Pairs<Pairs<Option<Dec>>>>(json::exact(&answer.body))?;
    if prices.is_empty() {
        return Err(Judgement::not_found("expected a coin, found an empty object"));
    }
    let known = Coins { known: KNOWN, state: cx.state };
    for (id, Pairs(values)) in &prices {
        let value = |name: &str| values.iter().find(|(key, _)| key == name).and_then(|(_, value)| *value);
        let ts_event = value("last_updated_at").map(|secs| times::decimal_secs("last_updated_at", secs)).transpose()?;
        // Names of currencies have no underscore; everything else has.
        for (quote, last) in values.iter().filter(|(key, _)| !key.contains('_')) {
            let Some(last) = *last else { continue };
            if coins::came_along(cx, id, quote) {
                continue;
            }
            let ticker = Ticker {
                last,
                change_pct: value(&format!("{quote}_24h_change")),
                quote_volume: value(&format!("{quote}_24h_vol")),
                ..Ticker::default()
            };
            let symbol = known.symbol(cx, id, None, quote);
            out.push(symbol, Some(Native::new(id)), ts_event, Data::Ticker(Box::new(ticker)));
        }
        if !values.iter().any(|(key, _)| !key.contains('_')) {
            return Err(Judgement::malformed(format!("{id}: expected a price, found none")));
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Venues {
    tickers: Vec<Venue>,
}

/// What one venue trades a coin at.
#[derive(Deserialize)]
struct Venue {
    /// A ticker, or the address of a contract.
    base: CompactString,
    target: CompactString,
    last: Dec,
    /// In base units.
    volume: Option<Dec>,
    timestamp: Option<CompactString>,
    last_traded_at: Option<CompactString>,
    coin_id: Option<CompactString>,
}

fn decode_venues(answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let Venues { tickers } = json::read_owned(json::exact(&answer.body))?;
    for row in &tickers {
        let time = row.timestamp.as_deref().or(row.last_traded_at.as_deref());
        let ts_event = time.map(|text| times::rfc3339("timestamp", text)).transpose()?;
        let address = |name: &str| name.len() > TICKER_BYTES_MAX || name.starts_with("0X");
        let symbol = Symbol::from_pair(&row.base, &row.target);
        let symbol = (symbol.pair().is_some() && !address(&row.base) && !address(&row.target)).then_some(symbol);
        let ticker = Ticker { last: row.last, volume: row.volume, ..Ticker::default() };
        out.push(symbol, row.coin_id.as_ref().map(Native::new), ts_event, Data::Ticker(Box::new(ticker)));
    }
    Ok(())
}

json::row! {
    struct OhlcRow {
        /// Milliseconds: the END of the bar.
        time: Int,
        open: Dec,
        high: Dec,
        low: Dec,
        close: Dec,
    }
}

fn decode_bars(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let doc = json::exact(&answer.body);
    let rows: Vec<OhlcRow> =
        if fields::is_row(&answer.body) { vec![json::read_owned(doc)?] } else { json::read_owned(doc)? };
    let Some(interval) = spacing(&rows).or(cx.query.interval) else {
        // A start cannot be told from an end alone.
        return if rows.is_empty() {
            Ok(())
        } else {
            Err(Judgement::malformed("[0]: expected rows 30 minutes, 4 hours or 4 days apart, found a single one"))
        };
    };
    let length = interval.duration().unwrap_or_default();
    for row in &rows {
        let start = times::millis("[0]", row.time.0)?.saturating_sub(length);
        if cx.query.range.is_some_and(|range| start < range.from || start >= range.to) {
            continue;
        }
        let candle = Candle {
            start,
            open: row.open,
            high: row.high,
            low: row.low,
            close: row.close,
            volume: None,
            quote_volume: None,
        };
        candle.push(out, cx.names(None), Some(interval), answer.ts_recv);
    }
    Ok(())
}

/// The interval that the rows themselves tell: the least distance between two, when it is one the provider has.
fn spacing(rows: &[OhlcRow]) -> Option<Interval> {
    let least = rows.windows(2).map(|pair| pair[1].time.0.abs_diff(pair[0].time.0)).filter(|ms| *ms > 0).min()?;
    DAYS.iter()
        .map(|(interval, _)| *interval)
        .find(|interval| interval.duration().is_some_and(|length| length.as_millis() == u128::from(least)))
}

/// How many days back to ask for: the provider derives the interval from it.
fn days(cx: &Context<'_>) -> Result<u32, Judgement> {
    let query = cx.query;
    let interval = query.interval.unwrap_or(DAYS[0].0);
    let choices = bars::word("coingecko", DAYS, interval)?;
    let length = interval.duration().unwrap_or_default().as_secs().max(1);
    let secs = match (query.range, query.limit) {
        (Some(range), _) => cx.now.since(range.from).as_secs(),
        (None, Some(rows)) => length.saturating_mul(u64::from(rows)),
        (None, None) => 0,
    };
    let wanted = choices.iter().copied().find(|days| u64::from(*days) * 86_400 >= secs);
    match wanted.or(choices.last().copied().filter(|_| query.range.is_none())) {
        Some(days) => Ok(days),
        None => {
            let most = choices.last().copied().unwrap_or_default();
            let message = format!("coingecko: expected {interval} bars of the last {most} days, found an older range");
            Err(Judgement::unservable("range_too_old", message))
        }
    }
}

const KEY: &str = "COINGECKO_API_KEY";
const PRO_KEY: &str = "COINGECKO_PRO_API_KEY";
const PRO: usize = 1;
const COINS_MAX: usize = 250;
/// Longer names of a venue's base are addresses of contracts.
const TICKER_BYTES_MAX: usize = 20;

/// Tickers and ids of the best-known coins (API reference, "Coins List").
const KNOWN: &[(&str, &str)] = &[
    ("BTC", "bitcoin"),
    ("ETH", "ethereum"),
    ("USDT", "tether"),
    ("XRP", "ripple"),
    ("BNB", "binancecoin"),
    ("SOL", "solana"),
    ("USDC", "usd-coin"),
    ("DOGE", "dogecoin"),
    ("TRX", "tron"),
    ("ADA", "cardano"),
    ("LINK", "chainlink"),
    ("XLM", "stellar"),
    ("BCH", "bitcoin-cash"),
    ("LTC", "litecoin"),
    ("DOT", "polkadot"),
    ("AVAX", "avalanche-2"),
];

/// Intervals and the numbers of days that give them.
const DAYS: &[(Interval, &[u32])] = &[
    (Interval::new(30, IntervalUnit::Minute), &[1]),
    (Interval::new(4, IntervalUnit::Hour), &[7, 14, 30]),
    (Interval::new(4, IntervalUnit::Day), &[90, 180, 365]),
];
const INTERVALS: &[Interval] = &bars::intervals::<_, { DAYS.len() }>(DAYS);

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
    id: SourceId("coingecko"),
    title: "CoinGecko",
    bases: &[
        Base { name: "api", url: "https://api.coingecko.com" },
        Base { name: "pro", url: "https://pro-api.coingecko.com" },
    ],
    kinds: &[
        KindSpec { batching: Batching::Many(COINS_MAX), every: Duration::from_secs(5), ..KIND },
        KindSpec {
            kind: Kind::Bar,
            intervals: INTERVALS,
            past: Past::ranged(180),
            every: Duration::from_secs(10),
            ..KIND
        },
    ],
    credentials: &[
        Credential {
            variable: KEY,
            about: "demo API key; works without, more slowly",
            simulated: "simulated-coingecko-key",
        },
        Credential {
            variable: PRO_KEY,
            about: "API key of a paid plan; takes the place of the demo key",
            simulated: "simulated-coingecko-pro-key",
        },
    ],
    tiers: &[
        Tier { name: "free", windows: &coins::plan(30, 10_000) },
        Tier { name: "analyst", windows: &coins::plan(500, 500_000) },
        Tier { name: "lite", windows: &coins::plan(500, 2_000_000) },
        Tier { name: "pro", windows: &coins::plan(1_000, 5_000_000) },
    ],
    scope: QuotaScope::Key,
    samples: samples!("coingecko", "coin_tickers.json", "markets.json", "ohlc.json", "simple_price.json"),
    routes: include_str!("samples/coingecko/routes.toml"),
    evidence: Evidence::Documented,
    quota_docs: "demo: 30 calls per minute, 10,000 per month (www.coingecko.com/en/api/pricing; unverified)",
};

const KIND: KindSpec = KindSpec {
    kind: Kind::Ticker,
    key: KeyUse::Optional,
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

    #[test]
    fn markets_take_the_currency_from_the_query() {
        testing::check(
            &CoinGecko,
            &btc(Kind::Ticker),
            "markets.json",
            json!([{
                "source": "coingecko", "kind": "ticker", "symbol": "BTC-USD", "native": "bitcoin", "ts_event": 1_767_225_591_599_000_000_i64,
                "data": {"last": "87648.22", "high": "89000", "low": "87120.5", "change": "-841.7903602817",
                         "change_pct": "-0.95128", "quote_volume": "33235034316"}
            }]),
        );
        testing::check_bad_bodies(&CoinGecko, &btc(Kind::Ticker), "markets.json");
        let unnamed = SPEC.sample("markets.json").unwrap();
        let found = testing::decode(&CoinGecko, &Query::new(Kind::Ticker), 200, unnamed).unwrap();
        assert!(found[0].get("symbol").is_none());
        let copy = r#"[{"id":"batcat","symbol":"btc","current_price":1.2e-7},{"id":"x","symbol":"newcoin","current_price":1},
            {"id":"y","symbol":"dead","current_price":null}]"#;
        let found = testing::decode(&CoinGecko, &btc(Kind::Ticker), 200, copy).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0],
            json!({"source": "coingecko", "kind": "ticker", "native": "batcat", "data": {"last": "0.00000012"}})
        );
        assert_eq!(found[1]["symbol"], "NEWCOIN-USD");
    }

    #[test]
    fn prices_of_several_currencies() {
        testing::check(
            &CoinGecko,
            &btc(Kind::Ticker),
            "simple_price.json",
            json!([{
                "source": "coingecko", "kind": "ticker", "symbol": "BTC-USD", "native": "bitcoin", "ts_event": 1_767_225_591_000_000_000_i64,
                "data": {"last": "87648.22", "change_pct": "-0.9512816474377419", "quote_volume": "33235034316.89408"}
            }]),
        );
        testing::check_bad_bodies(&CoinGecko, &btc(Kind::Ticker), "simple_price.json");
        let both = btc(Kind::Ticker).symbol("ETH-EUR");
        let body = r#"{"bitcoin":{"usd":1,"eur":2},"ethereum":{"usd":3,"eur":4},"status":{"usd":0.02}}"#;
        let found = testing::decode(&CoinGecko, &both, 200, body).unwrap();
        let pairs: Vec<_> =
            found.iter().map(|record| (record["symbol"].as_str(), record["data"]["last"].as_str().unwrap())).collect();
        assert_eq!(pairs, [(Some("BTC-USD"), "1"), (Some("ETH-EUR"), "4"), (None, "0.02")]);
    }

    #[test]
    fn venues_trade_in_base_units() {
        testing::check(
            &CoinGecko,
            &Query::new(Kind::Ticker),
            "coin_tickers.json",
            json!([{
                "source": "coingecko", "kind": "ticker", "symbol": "BTC-USDT", "native": "bitcoin", "ts_event": 1_767_225_509_000_000_000_i64,
                "data": {"last": "87648.22", "volume": "12345.6789"}
            }]),
        );
    }

    #[test]
    fn bars_are_stamped_at_their_end() {
        let bar = |end: i64, open: &str, high: &str, low: &str, close: &str| {
            json!({"source": "coingecko", "kind": "bar", "symbol": "BTC-USD", "native": "bitcoin", "ts_event": end * 1_000_000,
                   "data": {"interval": "30m", "start": (end - 1_800_000) * 1_000_000, "end": end * 1_000_000, "open": open,
                            "high": high, "low": low, "close": close, "closed": true}})
        };
        testing::check(
            &CoinGecko,
            &btc(Kind::Bar),
            "ohlc.json",
            json!([
                bar(1_767_222_000_000, "87600.0", "87660.0", "87590.5", "87640.0"),
                bar(1_767_223_800_000, "87640.0", "87655.0", "87630.0", "87648.22")
            ]),
        );
        testing::check_bad_bodies(&CoinGecko, &btc(Kind::Bar), "ohlc.json");
        let alone = "[[1767222000000,1,2,0.5,1.5]]";
        testing::check_verdict(&CoinGecko, &btc(Kind::Bar), 200, alone, (Verdict::Malformed, "shape"));
        let query = btc(Kind::Bar).interval(Interval::new(4, IntervalUnit::Hour));
        let found = testing::decode(&CoinGecko, &query, 200, alone).unwrap();
        assert_eq!(found[0]["data"]["interval"], "4h");
        assert!(testing::decode(&CoinGecko, &query, 200, "[]").unwrap().is_empty());
    }

    #[test]
    fn refusals_are_told_apart() {
        let check = |status, body: &str, expected| {
            testing::check_verdict(&CoinGecko, &btc(Kind::Ticker), status, body, expected);
        };
        let error = |code: i64| format!(r#"{{"status":{{"error_code":{code},"error_message":"told"}}}}"#);
        check(429, &error(429), (Verdict::RateLimited, "rate_limit"));
        check(200, &error(429), (Verdict::RateLimited, "rate_limit"));
        check(401, &error(10_002), (Verdict::Unauthorized, "key"));
        check(400, &error(10_011), (Verdict::Unauthorized, "key"));
        check(401, &error(10_012), (Verdict::Unauthorized, "plan"));
        check(404, r#"{"error":"coin not found"}"#, (Verdict::NotFound, "symbol_unknown"));
        check(400, r#"{"error":"invalid vs_currency"}"#, (Verdict::BadRequest, "http_4xx"));
        check(403, "<html>checking your browser</html>", (Verdict::RateLimited, "bot_check"));
        check(200, "{}", (Verdict::NotFound, "symbol_unknown"));
        check(200, "[]", (Verdict::NotFound, "symbol_unknown"));
        check(200, r#"{"bitcoin":{}}"#, (Verdict::Malformed, "shape"));
        check(200, r#"[{"id":"bitcoin"}]"#, (Verdict::Malformed, "shape"));
        check(500, "oops", (Verdict::UpstreamError, "http_5xx"));
    }

    #[test]
    fn each_key_goes_to_its_host() {
        let request = testing::request(&CoinGecko, &btc(Kind::Ticker).symbol("ETH-USD")).unwrap();
        assert_eq!(
            (request.target(), request.base),
            ("/api/v3/coins/markets?vs_currency=usd&ids=bitcoin,ethereum&per_page=250&precision=full", PRO)
        );
        assert_eq!(request.headers[0].0, "x-cg-pro-api-key");
        let query = btc(Kind::Ticker);
        let (state, mut credentials) = (State::default(), crate::config::Credentials::default());
        let build = |credentials: &crate::config::Credentials| {
            let cx = Context::new(&CoinGecko, &query, &state, credentials, "", testing::NOW).unwrap();
            CoinGecko.request(&cx).unwrap()
        };
        assert!(build(&credentials).headers.is_empty());
        credentials.insert(KEY, crate::config::Secret::new("demo"));
        let request = build(&credentials);
        assert_eq!((request.base, request.headers[0].0), (0, "x-cg-demo-api-key"));
    }

    #[test]
    fn requests_of_prices_and_bars() {
        let check = |query: Query, expected: &str| {
            assert_eq!(testing::request(&CoinGecko, &query).unwrap().target(), expected);
        };
        check(
            btc(Kind::Ticker).symbol("ETH-EUR"),
            "/api/v3/simple/price?ids=bitcoin,ethereum&vs_currencies=usd,eur&include_24hr_vol=true\
             &include_24hr_change=true&include_last_updated_at=true&precision=full",
        );
        let four = Interval::new(4, IntervalUnit::Hour);
        let ohlc = |days: u32| format!("/api/v3/coins/bitcoin/ohlc?vs_currency=usd&days={days}&precision=full");
        check(btc(Kind::Bar), &ohlc(1));
        check(btc(Kind::Bar).interval(four), &ohlc(7));
        check(btc(Kind::Bar).interval(four).limit(43), &ohlc(14));
        check(btc(Kind::Bar).interval(four).limit(9_000), &ohlc(30));
        let old = testing::NOW.saturating_sub(Duration::from_secs(31 * 86_400));
        let refused = |query: Query, reason| {
            assert_eq!(testing::request(&CoinGecko, &query).unwrap_err().reason, reason);
        };
        refused(btc(Kind::Bar).interval(four).range(old, testing::NOW), "range_too_old");
        refused(btc(Kind::Bar).interval(Interval::MINUTE), "interval_unknown");
        refused(Query::new(Kind::Ticker).symbol("NOSUCH-USD"), "symbol_unlisted");
        refused(Query::new(Kind::Ticker), "symbol_count");
    }

    #[test]
    fn the_list_of_coins_is_learned_by_rank() {
        let query = Query::new(Kind::Ticker).symbol("PEPE-USD");
        let mut state = State::default();
        assert!((PREREQUISITES[0].needed)(&query, &state));
        let body =
            r#"[{"id":"pepe","symbol":"pepe","current_price":1},{"id":"pepe-2","symbol":"pepe","current_price":2}]"#;
        CoinGecko.prerequisite_decode("instruments", &Answer::new(200, body), &mut state).unwrap();
        assert!(!(PREREQUISITES[0].needed)(&query, &state));
        assert_eq!(CoinGecko.native(Kind::Ticker, &"PEPE-USD".into(), &state).unwrap().as_str(), "pepe");
    }
}
