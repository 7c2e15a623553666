//! Alpaca's market data: United States equities and crypto pairs, which lie at different paths.
//! Facts: docs.alpaca.markets, "Market Data API". Numbers are tokens, times RFC 3339 down to nanoseconds. Rows are keyed by
//! symbol, as lists in a span and alone in the latest forms; unknown symbols are just not there. Crypto pairs have a
//! slash, but none in news. Pages are filled symbol by symbol. Sizes of equities' quotes are as the provider counts.

mod body;

use std::time::Duration;

use compact_str::CompactString;
use serde::Deserialize;

use crate::model::{Data, Interval, IntervalUnit, Judgement, Kind, Native, News, SourceId, Symbol, Ticker, Verdict};
use crate::source::alpaca::body::{BarRow, ErrorBody, NewsPage, Page, QuoteRow, Snapshot, SnapshotForm, TradeRow, at};
use crate::source::spec::samples;
use crate::source::{
    Base, Batch, Batching, Context, Credential, Evidence, KeyUse, KindSpec, Past, QuotaReport, QuotaScope, Source,
    Spec, State, Tier, WindowShape, WindowSpec, by_status, tickers,
};
use crate::time::UnixNanos;
use crate::wire::fields::Pairs;
use crate::wire::{Answer, Request, json};

/// The source.
pub struct Alpaca;

impl Source for Alpaca {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn native(&self, kind: Kind, symbol: &Symbol, _state: &State) -> Result<Native, Judgement> {
        match symbol.pair() {
            Some((base, quote)) if kind == Kind::News => Ok(Native::new(format!("{base}{quote}"))),
            _ => tickers::slashed("alpaca", symbol).map(Native::new),
        }
    }

    /// Equities and crypto pairs have their own paths.
    fn batch_key(&self, _kind: Kind, symbol: &Symbol) -> CompactString {
        if symbol.pair().is_some() { CRYPTO.into() } else { STOCKS.into() }
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let query = cx.query;
        if query.kind == Kind::News {
            let request = Request::get("/v1beta1/news")
                .param_opt("symbols", if cx.natives.is_empty() { None } else { Some(cx.only_native()?) })
                .param("sort", "desc")
                .param_opt("limit", query.limit.map(|rows| rows.clamp(1, 50)));
            return signed(cx, spanned(cx, request), true);
        }
        let root = root(cx)?;
        let latest = |what: &str| match root {
            CRYPTO => format!("{root}/latest/{what}"),
            _ => format!("{root}/{what}/latest"),
        };
        let rows = query.limit.unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX);
        let request = match query.kind {
            Kind::Ticker => symbols(cx, format!("{root}/snapshots")),
            Kind::Quote if query.range.is_none() => symbols(cx, latest("quotes")),
            Kind::Quote => spanned(cx, symbols(cx, format!("{root}/quotes"))).param("limit", rows),
            Kind::Trade => {
                let request = symbols(cx, format!("{root}/trades"));
                match query.range {
                    Some(_) => spanned(cx, request).param("limit", rows),
                    None => spanned(cx, request)
                        .param("sort", "desc")
                        .param("limit", query.limit.unwrap_or(ROWS_DEFAULT).min(ROWS_MAX)),
                }
            }
            Kind::Bar => {
                let interval = tickers::interval(cx, "alpaca", Interval::MINUTE, INTERVALS)?;
                match (query.range, query.limit) {
                    (None, None) if interval == Interval::MINUTE => symbols(cx, latest("bars")),
                    _ => bars(cx, root, interval),
                }
            }
            kind => return Err(Judgement::unservable("kind_unknown", format!("alpaca: has no {kind}"))),
        };
        if root == CRYPTO {
            return signed(cx, request, false);
        }
        // The free plan has no recent data of the consolidated feed.
        let feed = cx.credentials.find(FEED).map_or("iex", |feed| feed.expose());
        signed(cx, request.param("feed", feed), true)
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        match cx.query.kind {
            Kind::Ticker => decode_snapshots(cx, answer, out),
            Kind::Quote => decode_rows(cx, answer, out, |row: QuoteRow| row.record()),
            Kind::Trade => decode_rows(cx, answer, out, |row: TradeRow| row.record()),
            Kind::Bar => decode_rows(cx, answer, out, |row: BarRow| row.record(cx.query.interval, answer.ts_recv)),
            Kind::News => decode_news(cx, answer, out),
            kind => Err(Judgement::unservable("kind_unknown", format!("alpaca: has no {kind}"))),
        }
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        match json::plain(&answer.body).read::<ErrorBody>() {
            Ok(error) => refusal(answer, Some(&error.message)),
            Err(_) => refusal(answer, None),
        }
    }

    fn quota_used(&self, answer: &Answer) -> Option<QuotaReport> {
        let limit: u32 = answer.header("x-ratelimit-limit")?.parse().ok()?;
        let remaining: u32 = answer.header("x-ratelimit-remaining")?.parse().ok()?;
        Some(QuotaReport { bucket: "", window: MINUTE, used: limit.saturating_sub(remaining) })
    }
}

fn decode_rows<T: for<'de> Deserialize<'de>>(
    cx: &Context<'_>,
    answer: &Answer,
    out: &mut Batch,
    record: impl Fn(T) -> Result<(Option<UnixNanos>, Data), Judgement>,
) -> Result<Option<CompactString>, Judgement> {
    let page: Page<T> = json::exact(&answer.body).read()?;
    let rows = match (page.rows, page.row) {
        (Some(rows), _) => rows.0,
        (None, Some(row)) => vec![(None, row)],
        // A page of a symbol without rows has a null for them.
        (None, None) if page.next_page_token.is_some() => Vec::new(),
        (None, None) => return Err(shapeless(answer, page.message.as_deref())),
    };
    if rows.is_empty() && page.next_page_token.is_none() {
        return Err(nothing_latest());
    }
    for (name, row) in rows {
        let (symbol, native) = names(cx, name.as_deref().or(page.symbol.as_deref()));
        let (ts_event, data) = record(row)?;
        out.push(symbol, native, ts_event, data);
    }
    Ok(page.next_page_token.flatten())
}

fn decode_snapshots(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
    let form: SnapshotForm = json::exact(&answer.body).read()?;
    let is_single = form.latest_trade.is_some() || form.latest_quote.is_some() || form.daily_bar.is_some();
    let listed = match form.snapshots {
        Some(snapshots) => snapshots.0,
        None if is_single => {
            let snapshot: Snapshot = json::exact(&answer.body).read()?;
            let (symbol, native) = names(cx, snapshot.symbol.as_deref());
            let (ts_event, data) = ticker("snapshot", snapshot)?;
            out.push(symbol, native, ts_event, data);
            return Ok(None);
        }
        None if form.message.is_some() => return Err(shapeless(answer, form.message.as_deref())),
        None => json::exact(&answer.body).read::<Pairs<Option<Snapshot>>>()?.0,
    };
    let before = out.records().len();
    for (name, snapshot) in listed {
        let Some(snapshot) = snapshot else { continue };
        let (symbol, native) = names(cx, Some(&name));
        let (ts_event, data) = ticker(&name, snapshot)?;
        out.push(symbol, native, ts_event, data);
    }
    if out.records().len() == before { Err(nothing_latest()) } else { Ok(None) }
}

fn ticker(path: &str, snapshot: Snapshot) -> Result<(Option<UnixNanos>, Data), Judgement> {
    let (trade, day) = (snapshot.latest_trade.as_ref(), snapshot.daily_bar.as_ref());
    let bar = snapshot.minute_bar.as_ref().or(day);
    // Without a trade on the feed the newest bar has the last price.
    let last = trade.map(|trade| trade.p).or(bar.map(|bar| bar.c));
    let last =
        last.ok_or_else(|| Judgement::malformed(format!("{path}.latestTrade: expected a trade, found nothing")))?;
    let quote = snapshot.latest_quote.as_ref();
    let sides = quote.map(QuoteRow::quote).unwrap_or_default();
    let time = trade.and_then(|trade| trade.t.as_deref()).or(quote.and_then(|quote| quote.t.as_deref()));
    let ticker = Ticker {
        last,
        last_size: trade.map(|trade| trade.s),
        open: day.map(|day| day.o),
        high: day.map(|day| day.h),
        low: day.map(|day| day.l),
        prev_close: snapshot.prev_daily_bar.as_ref().map(|day| day.c),
        vwap: day.and_then(|day| day.vw),
        volume: day.and_then(|day| day.v),
        bid: sides.bid,
        bid_size: sides.bid_size,
        ask: sides.ask,
        ask_size: sides.ask_size,
        trades: day.map(BarRow::trades).transpose()?.flatten(),
        ..Ticker::default()
    };
    Ok((at(time)?, Data::Ticker(Box::new(ticker))))
}

fn decode_news(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
    let page: NewsPage = json::plain(&answer.body).read()?;
    let Some(articles) = page.news else { return Err(shapeless(answer, page.message.as_deref())) };
    for (index, row) in articles.into_iter().flatten().enumerate() {
        let text = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let about: Vec<String> = row.symbols.unwrap_or_default().into_iter().flatten().collect();
        let only = cx.only().filter(|(_, native)| about.is_empty() || about.iter().any(|name| name == native.as_str()));
        let news = News {
            id: row.id.map(|id| id.0.to_string().into()),
            headline: text(row.headline),
            summary: text(row.summary),
            url: text(row.url),
            publisher: text(row.source),
            authors: text(row.author).into_iter().collect(),
            symbols: about.iter().filter_map(|name| symbol_of(cx, name)).map(|symbol| symbol.as_str().into()).collect(),
            language: None,
        };
        if news.headline.is_none() && news.url.is_none() {
            return Err(Judgement::malformed(format!(
                "news[{index}].headline: expected a headline or url, found neither"
            )));
        }
        let (symbol, native) = (only.map(|(symbol, _)| symbol.clone()), only.map(|(_, native)| native.clone()));
        out.push(symbol, native, at(row.created_at.as_deref())?, Data::News(Box::new(news)));
    }
    Ok(page.next_page_token)
}

fn root(cx: &Context<'_>) -> Result<&'static str, Judgement> {
    let pairs = cx.query.symbols.iter().filter(|symbol| symbol.pair().is_some()).count();
    match (pairs, cx.query.symbols.len()) {
        (_, 0) => Err(Judgement::unservable("symbol_count", "alpaca: expected a symbol such as AAPL, found none")),
        (0, _) => Ok(STOCKS),
        (pairs, all) if pairs == all => Ok(CRYPTO),
        _ => Err(Judgement::unservable(
            "batch_mix",
            "alpaca: expected equities or crypto pairs, found both; ask for them apart",
        )),
    }
}

fn bars(cx: &Context<'_>, root: &str, interval: Interval) -> Request {
    let query = cx.query;
    let unit = match interval.unit() {
        IntervalUnit::Second | IntervalUnit::Minute => "Min",
        IntervalUnit::Hour => "Hour",
        IntervalUnit::Day => "Day",
        IntervalUnit::Week => "Week",
        IntervalUnit::Month => "Month",
    };
    let request = symbols(cx, format!("{root}/bars")).param("timeframe", format!("{}{unit}", interval.count()));
    // The limit is over all symbols, and pages are filled symbol by symbol.
    let rows = if cx.natives.len() == 1 { query.limit.unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX) } else { ROWS_MAX };
    if query.range.is_some() {
        return spanned(cx, request).param("limit", rows);
    }
    let length = interval.duration().unwrap_or(31 * DAY);
    // Sessions are short and weekends long: three times the rows' length, a long weekend at least.
    let back = (length * query.limit.unwrap_or(1).min(ROWS_MAX) * 3).max(5 * DAY);
    spanned(cx, request.param("start", cx.now.saturating_sub(back).max(UnixNanos::EPOCH)))
        .param("sort", "desc")
        .param("limit", rows)
}

fn symbols(cx: &Context<'_>, path: String) -> Request {
    let names: Vec<&str> = cx.natives.iter().map(Native::as_str).collect();
    Request::get(path).param("symbols", names.join(","))
}

/// Adds the span and the page; the provider's end is inclusive.
fn spanned(cx: &Context<'_>, request: Request) -> Request {
    let range = cx.query.range;
    request
        .param_opt("start", range.map(|range| range.from))
        .param_opt("end", range.map(|range| range.to.saturating_sub(Duration::from_nanos(1))))
        .param_opt("page_token", cx.query.cursor.as_ref())
}

/// Crypto works without keys.
fn signed(cx: &Context<'_>, request: Request, is_needed: bool) -> Result<Request, Judgement> {
    if !is_needed && (cx.credentials.find(KEY).is_none() || cx.credentials.find(SECRET).is_none()) {
        return Ok(request);
    }
    Ok(request
        .header_secret("apca-api-key-id", cx.secret(KEY)?.expose())
        .header_secret("apca-api-secret-key", cx.secret(SECRET)?.expose()))
}

fn names(cx: &Context<'_>, named: Option<&str>) -> (Option<Symbol>, Option<Native>) {
    match named {
        Some(name) => (symbol_of(cx, name), Some(Native::new(name))),
        None => (cx.only().map(|(symbol, _)| symbol.clone()), cx.only().map(|(_, native)| native.clone())),
    }
}

/// A name of more than five letters without a separator is an option or, in news, a crypto pair: no rule splits it.
fn symbol_of(cx: &Context<'_>, name: &str) -> Option<Symbol> {
    let stem = name.split(['.', '/']).next().unwrap_or(name);
    cx.symbol_of(name).or_else(|| tickers::canonical(name).filter(|_| stem.len() <= 5 || name.contains('/')))
}

/// The latest forms always have something to say of a symbol that exists.
fn nothing_latest() -> Judgement {
    Judgement::not_found("expected the latest data of a symbol, found none")
}

fn shapeless(answer: &Answer, message: Option<&str>) -> Judgement {
    match message {
        Some(message) => refusal(&Answer { status: 400, ..answer.clone() }, Some(message)),
        None => Judgement::malformed("expected bars, quotes, trades or news, found none"),
    }
}

fn refusal(answer: &Answer, message: Option<&str>) -> Judgement {
    let judgement = by_status(answer, message);
    let text = message.unwrap_or_default().to_lowercase();
    let (verdict, reason) = match answer.status {
        _ if text.contains("too many requests") || text.contains("rate limit") => (Verdict::RateLimited, "http_429"),
        403 | 422 if text.contains("subscription") => (Verdict::Unauthorized, "plan"),
        401 | 403 => (Verdict::Unauthorized, "key"),
        _ if text.contains("forbidden") || text.contains("unauthorized") => (Verdict::Unauthorized, "key"),
        400 | 422 if text.contains("symbol") => (Verdict::NotFound, "symbol_unknown"),
        400 | 422 => (Verdict::BadRequest, "argument"),
        _ => (judgement.verdict, judgement.reason),
    };
    let reset = answer.header("x-ratelimit-reset").and_then(|text| text.parse().ok()).and_then(UnixNanos::from_secs);
    let after =
        judgement.retry_after.or(reset.filter(|_| verdict == Verdict::RateLimited).map(|at| at.since(answer.ts_recv)));
    Judgement { verdict, reason, ..judgement }.retry_after(after)
}

const KEY: &str = "APCA_API_KEY_ID";
const SECRET: &str = "APCA_API_SECRET_KEY";
const FEED: &str = "APCA_DATA_FEED";
const STOCKS: &str = "/v2/stocks";
const CRYPTO: &str = "/v1beta3/crypto/us";
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
const ROWS_MAX: u32 = 10_000;
const ROWS_DEFAULT: u32 = 100;

static SPEC: Spec = Spec {
    id: SourceId("alpaca"),
    title: "Alpaca",
    bases: &[Base { name: "api", url: "https://data.alpaca.markets" }],
    kinds: &[
        KindSpec { kind: Kind::Ticker, batching: Batching::Many(100), ..KIND },
        KindSpec { kind: Kind::Quote, batching: Batching::Many(100), every: Duration::from_secs(2), ..KIND },
        KindSpec { kind: Kind::Trade, past: Past::ranged(ROWS_MAX), ..KIND },
        KindSpec {
            kind: Kind::Bar,
            batching: Batching::Many(100),
            intervals: INTERVALS,
            past: Past::ranged(ROWS_MAX),
            every: Duration::from_secs(10),
            ..KIND
        },
        KindSpec {
            kind: Kind::News,
            batching: Batching::Optional,
            past: Past::ranged(50),
            every: Duration::from_secs(10),
            examples: &[],
            ..KIND
        },
    ],
    credentials: &[
        Credential { variable: KEY, about: "API key id", simulated: "simulated-alpaca-key" },
        Credential { variable: SECRET, about: "API secret key", simulated: "simulated-alpaca-secret" },
        Credential {
            variable: FEED,
            about: "feed of equities: iex (free, the default), sip, otc or delayed_sip",
            simulated: "iex",
        },
    ],
    tiers: &[
        Tier {
            name: "free",
            windows: &[WindowSpec { bucket: "", limit: 200, per: MINUTE, shape: WindowShape::Rolling }],
        },
        Tier {
            name: "plus",
            windows: &[WindowSpec { bucket: "", limit: 10_000, per: MINUTE, shape: WindowShape::Rolling }],
        },
    ],
    scope: QuotaScope::Key,
    samples: samples!(
        "alpaca",
        "bars.json",
        "bars_latest.json",
        "crypto_bars.json",
        "crypto_bars_latest.json",
        "crypto_quotes_latest.json",
        "crypto_snapshots.json",
        "crypto_trades.json",
        "error_forbidden.json",
        "news.json",
        "news_last.json",
        "quotes.json",
        "quotes_last.json",
        "quotes_latest.json",
        "snapshots.json",
        "trades.json",
        "trades_last.json",
    ),
    routes: include_str!("samples/alpaca/routes.toml"),
    evidence: Evidence::Mixed,
    quota_docs: "200 requests per minute and account on the free plan, 10,000 on Algo Trader Plus (docs.alpaca.markets, \"About Market Data API\"; 2026-07-01)",
};

const KIND: KindSpec = KindSpec {
    kind: Kind::Ticker,
    key: KeyUse::Required,
    batching: Batching::One,
    whole_market: false,
    intervals: &[],
    past: Past::NONE,
    every: Duration::from_secs(5),
    examples: &["AAPL", "MSFT"],
};

const INTERVALS: &[Interval] = &[
    Interval::MINUTE,
    Interval::new(5, IntervalUnit::Minute),
    Interval::new(15, IntervalUnit::Minute),
    Interval::new(30, IntervalUnit::Minute),
    Interval::HOUR,
    Interval::new(2, IntervalUnit::Hour),
    Interval::new(4, IntervalUnit::Hour),
    Interval::DAY,
    Interval::WEEK,
    Interval::MONTH,
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::Query;
    use crate::source::testing;

    const TRADED: i64 = 1_767_214_799_951_979_432;
    const QUOTED: i64 = 1_767_214_799_940_583_000;

    fn apple(kind: Kind) -> Query {
        Query::new(kind).symbol("AAPL")
    }

    fn bitcoin(kind: Kind) -> Query {
        Query::new(kind).symbol("BTC-USD")
    }

    fn record(kind: &str, (symbol, native): (&str, &str), ts_event: i64, data: Value) -> Value {
        json!({"source": "alpaca", "kind": kind, "symbol": symbol, "native": native, "ts_event": ts_event, "data": data})
    }

    const APPLE: (&str, &str) = ("AAPL", "AAPL");
    const BITCOIN: (&str, &str) = ("BTC-USD", "BTC/USD");

    #[test]
    fn snapshots_are_tickers() {
        let apple_data = json!({"last": "271.86", "last_size": "100", "open": "273.06", "high": "273.68", "low": "271.75",
            "prev_close": "273.08", "vwap": "272.4021", "volume": "27293600", "bid": "271.85", "bid_size": "4",
            "ask": "271.87", "ask_size": "3", "trades": 412_345});
        let expected = record("ticker", APPLE, TRADED, apple_data);
        testing::check(&Alpaca, &apple(Kind::Ticker), "snapshots.json", json!([expected]));
        let keyed = SPEC.sample("snapshots.json").unwrap().trim();
        let single = keyed.replacen("{\"AAPL\":{", "{\"symbol\":\"AAPL\",", 1);
        let found = testing::decode(&Alpaca, &Query::new(Kind::Ticker), 200, &single[..single.len() - 1]).unwrap();
        assert_eq!(found, [expected]);
        testing::check(
            &Alpaca,
            &bitcoin(Kind::Ticker),
            "crypto_snapshots.json",
            json!([record(
                "ticker",
                BITCOIN,
                1_767_225_600_951_979_432,
                json!({"last": "87648.2", "last_size": "0.00315",
                "open": "88430.1", "high": "89200.5", "low": "87120.4", "prev_close": "88430.1", "vwap": "88001.61",
                "volume": "312.51", "bid": "87640.25", "bid_size": "4.0178", "ask": "87660.1", "ask_size": "1.5516",
                "trades": 8_123})
            )]),
        );
        testing::check_bad_bodies(&Alpaca, &apple(Kind::Ticker), "snapshots.json");
        testing::check_bad_bodies(&Alpaca, &apple(Kind::Ticker), "crypto_snapshots.json");
    }

    #[test]
    fn quotes_may_have_an_empty_side() {
        let data = json!({"bid": "271.85", "bid_size": "4", "ask": "271.87", "ask_size": "3"});
        let full = record("quote", APPLE, QUOTED, data);
        let half = record("quote", APPLE, 1_767_214_799_810_021_000, json!({"bid": "271.85", "bid_size": "2"}));
        testing::check(&Alpaca, &apple(Kind::Quote), "quotes_latest.json", json!([full]));
        testing::check(&Alpaca, &Query::new(Kind::Quote), "quotes.json", json!([full, half]));
        let data = json!({"bid": "87640.25", "bid_size": "4.0178", "ask": "87660.1", "ask_size": "1.5516"});
        let crypto = record("quote", BITCOIN, 1_767_225_600_940_583_000, data);
        testing::check(&Alpaca, &bitcoin(Kind::Quote), "crypto_quotes_latest.json", json!([crypto]));
        testing::check_bad_bodies(&Alpaca, &apple(Kind::Quote), "quotes.json");
        testing::check_bad_bodies(&Alpaca, &apple(Kind::Quote), "quotes_latest.json");
    }

    #[test]
    fn trades_of_crypto_name_the_aggressor() {
        let trade = |names, at, id: &str, price: &str, size: &str, side: Option<&str>| {
            let mut data = json!({"id": id, "price": price, "size": size});
            if let Some(side) = side {
                data["side"] = side.into();
            }
            record("trade", names, at, data)
        };
        let first = trade(APPLE, TRADED, "39884", "271.86", "100", None);
        let second = trade(APPLE, 1_767_214_799_461_000_000, "39883", "271.85", "10", None);
        testing::check(&Alpaca, &apple(Kind::Trade), "trades.json", json!([first, second]));
        let buy = trade(BITCOIN, 1_767_225_600_951_979_432, "293648598", "87648.2", "0.00315427", Some("buy"));
        let sell = trade(BITCOIN, 1_767_225_599_228_546_000, "293648597", "87640", "0.001", Some("sell"));
        testing::check(&Alpaca, &Query::new(Kind::Trade), "crypto_trades.json", json!([buy, sell]));
        let single = r#"{"symbol":"AAPL","trade":{"t":"2025-12-31T20:59:59.461Z","p":271.85,"s":10,"i":39883}}"#;
        assert_eq!(testing::decode(&Alpaca, &Query::new(Kind::Trade), 200, single).unwrap(), [second]);
        testing::check_bad_bodies(&Alpaca, &apple(Kind::Trade), "trades.json");
    }

    #[test]
    fn bars_know_their_end_from_the_question() {
        let (start, minute) = (1_767_214_740_000_000_000_i64, 60_000_000_000_i64);
        let mut data = json!({"interval": "1m", "start": start, "end": start + minute, "open": "271.95", "high": "272.01",
            "low": "271.8", "close": "271.86", "volume": "1046521", "trades": 12_345, "closed": true});
        let asked = apple(Kind::Bar).interval(Interval::MINUTE);
        testing::check(
            &Alpaca,
            &asked,
            "bars_latest.json",
            json!([record("bar", APPLE, start + minute, data.clone())]),
        );
        for field in ["interval", "end", "closed"] {
            data.as_object_mut().unwrap().remove(field);
        }
        let older = json!({"start": start - minute, "open": "271.9", "high": "271.98", "low": "271.85", "close": "271.95",
            "volume": "310442", "trades": 4_021});
        let rows = [record("bar", APPLE, start, data), record("bar", APPLE, start - minute, older)];
        testing::check(&Alpaca, &Query::new(Kind::Bar), "bars.json", json!(rows));
        let listed =
            SPEC.sample("bars.json").unwrap().replace("{\"AAPL\":[", "[").replace("]},", "],\"symbol\":\"AAPL\",");
        assert_eq!(testing::decode(&Alpaca, &Query::new(Kind::Bar), 200, &listed).unwrap(), rows);
        let body = SPEC.sample("crypto_bars.json").unwrap();
        let crypto = testing::decode(&Alpaca, &Query::new(Kind::Bar), 200, body).unwrap();
        assert_eq!((&crypto[0]["symbol"], &crypto[0]["data"]["volume"]), (&json!("BTC-USD"), &json!("0.52")));
        testing::check_bad_bodies(&Alpaca, &asked, "bars.json");
        testing::check_bad_bodies(&Alpaca, &asked, "bars_latest.json");
    }

    #[test]
    fn articles_are_news() {
        let at = 1_767_215_681_000_000_000_i64;
        let mut data = json!({"id": "49600001", "headline": "Apple closes the year near its high",
            "url": "https://www.example.com/news/apple-closes-the-year", "publisher": "example",
            "authors": ["Example Newsdesk"], "symbols": ["AAPL", "BRK.B"]});
        testing::check(&Alpaca, &apple(Kind::News), "news.json", json!([record("news", APPLE, at, data.clone())]));
        data["symbols"] = json!(["AAPL", "BRK.B", "BTC-USD"]);
        let crypto = record("news", ("BTC-USD", "BTCUSD"), at, data);
        testing::check(&Alpaca, &bitcoin(Kind::News), "news.json", json!([crypto]));
        testing::check_bad_bodies(&Alpaca, &apple(Kind::News), "news.json");
    }

    #[test]
    fn an_empty_answer_is_an_unknown_symbol_only_in_the_latest_forms() {
        let nothing = (Verdict::NotFound, "symbol_unknown");
        testing::check_verdict(&Alpaca, &apple(Kind::Trade), 200, r#"{"trades":{}}"#, nothing);
        testing::check_verdict(&Alpaca, &apple(Kind::Ticker), 200, "{}", nothing);
        testing::check_verdict(&Alpaca, &apple(Kind::Ticker), 200, r#"{"AAPL":null}"#, nothing);
        for body in [r#"{"bars":{},"next_page_token":null}"#, r#"{"bars":null,"next_page_token":null,"symbol":"AAPL"}"#]
        {
            assert!(testing::decode(&Alpaca, &apple(Kind::Bar), 200, body).unwrap().is_empty(), "{body}");
        }
    }

    #[test]
    fn requests_and_pages() {
        let target = |query: &Query| testing::request(&Alpaca, query).map(|request| request.target().to_owned());
        let check = |query: Query, expected: &str| assert_eq!(target(&query).unwrap(), expected);
        let at = |secs| UnixNanos::from_secs(secs).unwrap();
        let spanned = |kind| apple(kind).range(at(1_767_139_200), at(1_767_225_600));
        check(apple(Kind::Ticker).symbol("BRK.B"), "/v2/stocks/snapshots?symbols=AAPL,BRK.B&feed=iex");
        check(bitcoin(Kind::Ticker), "/v1beta3/crypto/us/snapshots?symbols=BTC%2FUSD");
        check(apple(Kind::Quote), "/v2/stocks/quotes/latest?symbols=AAPL&feed=iex");
        check(bitcoin(Kind::Quote), "/v1beta3/crypto/us/latest/quotes?symbols=BTC%2FUSD");
        check(apple(Kind::Bar), "/v2/stocks/bars/latest?symbols=AAPL&feed=iex");
        check(apple(Kind::Trade), "/v2/stocks/trades?symbols=AAPL&sort=desc&limit=100&feed=iex");
        check(
            spanned(Kind::Bar).interval(Interval::HOUR).cursor("QUFQTA=="),
            "/v2/stocks/bars?symbols=AAPL&timeframe=1Hour&start=2025-12-31T00:00:00Z&end=2025-12-31T23:59:59.999999999Z\
             &page_token=QUFQTA%3D%3D&limit=10000&feed=iex",
        );
        check(
            apple(Kind::Bar).interval(Interval::DAY).limit(2),
            "/v2/stocks/bars?symbols=AAPL&timeframe=1Day&start=2025-12-27T03:04:05Z&sort=desc&limit=2&feed=iex",
        );
        check(Query::new(Kind::News).limit(99), "/v1beta1/news?sort=desc&limit=50");
        check(bitcoin(Kind::News), "/v1beta1/news?symbols=BTCUSD&sort=desc");
        assert_eq!(target(&apple(Kind::Ticker).symbol("BTC-USD")).unwrap_err().reason, "batch_mix");
        assert_eq!(
            target(&apple(Kind::Bar).interval(Interval::new(7, IntervalUnit::Minute))).unwrap_err().reason,
            "interval_unknown"
        );
        let request = testing::request(&Alpaca, &apple(Kind::Ticker)).unwrap();
        let headers: Vec<(&str, &str)> = request.headers.iter().map(|(name, text)| (*name, text.as_str())).collect();
        assert_eq!(
            headers,
            [("apca-api-key-id", "simulated-alpaca-key"), ("apca-api-secret-key", "simulated-alpaca-secret")]
        );
        let (state, none) = (State::default(), crate::config::Credentials::default());
        let refused = |query: &Query| {
            Alpaca.request(&Context::new(&Alpaca, query, &state, &none, "", testing::NOW).unwrap()).is_err()
        };
        assert!(refused(&apple(Kind::Ticker)) && !refused(&bitcoin(Kind::Ticker)));
    }

    #[test]
    fn refusals_are_told_apart() {
        let check =
            |status, body, expected| testing::check_verdict(&Alpaca, &apple(Kind::Trade), status, body, expected);
        check(403, SPEC.sample("error_forbidden.json").unwrap(), (Verdict::Unauthorized, "key"));
        let plan = r#"{"code":42210000,"message":"subscription does not permit querying recent SIP data"}"#;
        check(403, plan, (Verdict::Unauthorized, "plan"));
        check(429, r#"{"message":"too many requests."}"#, (Verdict::RateLimited, "http_429"));
        check(400, r#"{"message":"invalid symbol: NOPE!"}"#, (Verdict::NotFound, "symbol_unknown"));
        check(422, r#"{"message":"start must be before end"}"#, (Verdict::BadRequest, "argument"));
        check(504, "<html>gateway</html>", (Verdict::UpstreamError, "http_5xx"));
        check(200, r#"{"trades":{"AAPL":[{"t":"2025-12-31T20:59:59Z","p":1}]}}"#, (Verdict::Malformed, "shape"));
        check(200, r#"{"trades":{"AAPL":[{"t":"soon","p":1,"s":1}]}}"#, (Verdict::Malformed, "shape"));
        let mut answer = Answer::new(429, r#"{"message":"rate limit exceeded"}"#);
        answer.headers.push("x-ratelimit-reset", b"30");
        assert_eq!(refusal(&answer, Some("rate limit exceeded")).retry_after, Some(Duration::from_secs(30)));
    }
}
