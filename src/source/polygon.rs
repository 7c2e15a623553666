//! Polygon, renamed Massive: United States equities, currencies and crypto.
//! Facts: massive.com/docs/rest. Prices are number tokens, times integers in milliseconds (bars) or nanoseconds (trades
//! and quotes). Currency pairs are named `C:EURUSD`, crypto pairs `X:BTCUSD`; only the former split by rule, into codes
//! of three letters. Pages are continued by the path of `next_url`. An answer about nothing is a 200 without `results`.
//! Answers come in the shapes of three generations (v1, v2, v3); all are read.

mod body;

use std::time::Duration;

use compact_str::{CompactString, format_compact};
use jiff::tz::TimeZone;

use crate::model::{Bar, Data, Interval, IntervalUnit, Judgement, Kind, Native, News, SourceId, Symbol, Trade};
use crate::source::polygon::body::{Agg, Article, DaySummary, Page, Snapshot, Tick, is_page, refusal};
use crate::source::spec::samples;
use crate::source::{
    Base, Batch, Batching, Context, Credential, Evidence, KeyUse, KindSpec, Past, QuotaScope, Source, Spec, State,
    Tier, WindowShape, WindowSpec, tickers,
};
use crate::time::UnixNanos;
use crate::wire::request::encode;
use crate::wire::{Answer, Request, json, times};

/// The source.
pub struct Polygon;

impl Source for Polygon {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn native(&self, _kind: Kind, symbol: &Symbol, _state: &State) -> Result<Native, Judgement> {
        let Some((base, quote)) = symbol.pair() else {
            return tickers::ticker("polygon", symbol).map(Native::new);
        };
        let is_currency = |side: &str| CURRENCIES.contains(&side);
        let market = if is_currency(base) && is_currency(quote) { "C" } else { "X" };
        Ok(Native::new(format_compact!("{market}:{base}{quote}")))
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let key = cx.secret(KEY)?.expose();
        let request = match &cx.query.cursor {
            Some(cursor) if is_page(cursor) => Request::get(cursor.as_str()),
            Some(cursor) => {
                let message = format!("polygon: expected the path of a next page, found {cursor:?}");
                return Err(Judgement::unservable("cursor", message));
            }
            None => first_page(cx)?,
        };
        Ok(request.header_secret("authorization", format!("Bearer {key}")))
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        match cx.query.kind {
            Kind::Ticker => decode_snapshots(cx, answer, out),
            Kind::Quote => decode_quotes(cx, answer, out),
            Kind::Trade => decode_trades(cx, answer, out),
            Kind::Bar => decode_bars(cx, answer, out),
            Kind::News => decode_news(cx, answer, out),
            kind => Err(Judgement::unservable("kind_unknown", format!("polygon: has no {kind}"))),
        }
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        match json::exact(&answer.body).read::<Page<serde::de::IgnoredAny>>() {
            Ok(page) => page.refusal(answer),
            Err(_) => refusal(answer, "", None),
        }
    }
}

fn first_page(cx: &Context<'_>) -> Result<Request, Judgement> {
    let query = cx.query;
    let nanos = |at: fn(&crate::model::TimeRange) -> UnixNanos| query.range.as_ref().map(|range| at(range).as_nanos());
    let ticks = |path: &str| {
        Ok(Request::get(format!("{path}{}", encode(cx.only_native()?)))
            .param_opt("timestamp.gte", nanos(|range| range.from))
            .param_opt("timestamp.lt", nanos(|range| range.to))
            // In a span the order of time; without one the newest.
            .param("order", if query.range.is_some() { "asc" } else { "desc" })
            .param(
                "limit",
                query.limit.unwrap_or(if query.range.is_some() { ROWS_MAX } else { ROWS_DEFAULT }).clamp(1, ROWS_MAX),
            ))
    };
    match query.kind {
        Kind::Ticker if query.whole_market => Ok(Request::get("/v2/snapshot/locale/us/markets/stocks/tickers")),
        Kind::Quote if query.range.is_some() => ticks("/v3/quotes/"),
        Kind::Ticker | Kind::Quote => {
            let names: Vec<&str> = cx.natives.iter().map(Native::as_str).collect();
            if names.is_empty() {
                return Err(Judgement::unservable(
                    "symbol_count",
                    "polygon: expected a symbol such as AAPL, found none",
                ));
            }
            // Without a limit only ten of the tickers are answered.
            Ok(Request::get("/v3/snapshot").param("ticker.any_of", names.join(",")).param("limit", SNAPSHOTS_MAX))
        }
        Kind::Trade => ticks("/v3/trades/"),
        Kind::Bar => bars(cx),
        Kind::News => Ok(Request::get("/v2/reference/news")
            .param_opt("ticker", if cx.natives.is_empty() { None } else { Some(cx.only_native()?) })
            .param_opt("published_utc.gte", query.range.map(|range| range.from))
            .param_opt("published_utc.lt", query.range.map(|range| range.to))
            .param("order", "desc")
            .param("sort", "published_utc")
            .param_opt("limit", query.limit.map(|rows| rows.clamp(1, 1_000)))),
        kind => Err(Judgement::unservable("kind_unknown", format!("polygon: has no {kind}"))),
    }
}

fn bars(cx: &Context<'_>) -> Result<Request, Judgement> {
    let interval = tickers::interval(cx, "polygon", Interval::MINUTE, INTERVALS)?;
    let (timespan, bases) = match interval.unit() {
        IntervalUnit::Second => ("second", 1),
        IntervalUnit::Minute => ("minute", 1),
        IntervalUnit::Hour => ("hour", 60),
        IntervalUnit::Day => ("day", 1),
        IntervalUnit::Week => ("week", 7),
        IntervalUnit::Month => ("month", 31),
    };
    let rows = cx.query.limit.unwrap_or(ROWS_DEFAULT).min(ROWS_MAX);
    let (from, to, order) = match cx.query.range {
        // The end is inclusive.
        Some(range) => (range.from.as_millis(), range.to.as_millis() - 1, "asc"),
        None => {
            let length = interval.duration().unwrap_or(31 * DAY);
            // Sessions are short and weekends long: three times the rows' length, a long weekend at least.
            let back = (length * rows * 3).max(5 * DAY);
            (cx.now.saturating_sub(back).max(UnixNanos::EPOCH).as_millis(), cx.now.as_millis(), "desc")
        }
    };
    // The limit counts the minutes or days that bars are made of.
    let limit = match (cx.query.range, cx.query.limit) {
        (Some(_), None) => ROWS_MAX,
        _ => rows.saturating_mul(bases * u32::from(interval.count())).clamp(1, ROWS_MAX),
    };
    let ticker = encode(cx.only_native()?);
    Ok(Request::get(format!("/v2/aggs/ticker/{ticker}/range/{}/{timespan}/{from}/{to}", interval.count()))
        .param("adjusted", true)
        .param("sort", order)
        .param("limit", limit))
}

fn decode_snapshots(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
    let page = json::exact(&answer.body).read::<Page<Snapshot, Snapshot>>()?.accept(answer)?;
    let next = page.next();
    let (is_list, mut missing) = (page.tickers.is_some(), None);
    let listed = page.results.map(|several| several.rows).unwrap_or_default();
    let rows = page.ticker.into_iter().chain(page.tickers.into_iter().flatten().flatten()).chain(listed);
    let before = out.records().len();
    for row in rows {
        let name = row.ticker.as_deref();
        if let Some(error) = &row.error {
            missing.get_or_insert(unknown(name, row.message.as_deref().unwrap_or(error)));
            continue;
        }
        if !name.is_none_or(|name| cx.wants(name)) || (is_list && row.is_blank()) {
            continue;
        }
        let (symbol, native) = names(cx, name);
        let summary = row.summary(name.unwrap_or("ticker"))?;
        out.push(symbol, native, row.at(), Data::Ticker(Box::new(summary)));
    }
    none_left(out, before, missing, next)
}

fn decode_quotes(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
    let page = json::exact(&answer.body).read::<Page<Tick, Tick>>()?.accept(answer)?;
    let next = page.next();
    let listed = page.results.map(|several| several.rows).unwrap_or_default();
    let rows = page.ticker.into_iter().chain(page.tickers.into_iter().flatten().flatten()).chain(listed);
    let (before, mut missing) = (out.records().len(), None);
    for (index, row) in rows.enumerate() {
        let name = row.name.as_deref().or(row.ticker.as_deref());
        if let Some(error) = &row.error {
            missing.get_or_insert(unknown(name, row.message.as_deref().unwrap_or(error)));
            continue;
        }
        let tick = row.last_quote.as_deref().unwrap_or(&row);
        let is_quote = tick.bid.is_some() || tick.p.is_some() || tick.ask.is_some() || tick.ask_short.is_some();
        if !is_quote {
            return Err(Judgement::malformed(format!("results[{index}].bid_price: expected a price, found nothing")));
        }
        let (symbol, native) = names(cx, name);
        out.push(symbol, native, tick.at(), Data::Quote(tick.quote()));
    }
    none_left(out, before, missing, next)
}

fn decode_trades(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
    let page = json::exact(&answer.body).read::<Page<Tick>>()?.accept(answer)?;
    let next = page.next();
    for (index, row) in page.results.map(|several| several.rows).unwrap_or_default().into_iter().enumerate() {
        let missing =
            |field: &str| Judgement::malformed(format!("results[{index}].{field}: expected a decimal, found nothing"));
        let (symbol, native) = names(cx, row.name.as_deref());
        let trade = Trade {
            price: row.price.or(row.p).ok_or_else(|| missing("price"))?,
            size: row.size.or(row.s).ok_or_else(|| missing("size"))?,
            id: row.id.clone(),
            side: None,
            volume_unit: None,
        };
        out.push(symbol, native, row.at(), Data::Trade(trade));
    }
    Ok(next)
}

fn decode_bars(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
    let page = json::exact(&answer.body).read::<Page<Agg, String>>()?.accept(answer)?;
    let next = page.next();
    let bar = |interval: Option<Interval>, start, open, high, low, close, volume| {
        let end = interval.and_then(|interval| times::bar_end(start, interval));
        let closed = end.map(|end| end <= answer.ts_recv);
        Bar {
            interval,
            start,
            end,
            open,
            high,
            low,
            close,
            volume,
            quote_volume: None,
            trades: None,
            closed,
            volume_unit: None,
        }
    };
    let mut push = |name: Option<&str>, bar: Bar| {
        let (symbol, native) = names(cx, name);
        let ts_event = bar.end.filter(|_| bar.closed == Some(true)).unwrap_or(bar.start);
        out.push(symbol, native, Some(ts_event), Data::Bar(Box::new(bar)));
    };
    let Some(rows) = page.results else {
        if page.from.is_some() {
            let day: DaySummary = json::exact(&answer.body).read()?;
            let start = times::local("from", &day.from, &TimeZone::UTC)?;
            let interval = Some(cx.query.interval.unwrap_or(Interval::DAY));
            push(day.symbol.as_deref(), bar(interval, start, day.open, day.high, day.low, day.close, day.volume));
            return Ok(None);
        }
        if !page.is_empty() {
            return Err(Judgement::malformed("results: expected a list, found nothing"));
        }
        // No bars at all in a week are those of an unknown ticker; in a span asked for there may be none.
        return match cx.query.range {
            Some(_) => Ok(None),
            None => Err(unknown(page.ticker.as_deref(), "no bars")),
        };
    };
    for row in rows.rows {
        let trades = row.n.map(|count| u64::try_from(count.0)).transpose();
        let trades =
            trades.map_err(|_| Judgement::malformed("results.n: expected a count, found a negative number"))?;
        let start = times::millis("results.t", row.t.0)?;
        let bar = Bar { trades, ..bar(cx.query.interval, start, row.o, row.h, row.l, row.c, row.v) };
        push(row.ticker.as_deref().or(page.ticker.as_deref()), bar);
    }
    Ok(next)
}

fn decode_news(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
    let page = json::plain(&answer.body).read::<Page<Article>>()?.accept(answer)?;
    let next = page.next();
    for (index, row) in page.results.map(|several| several.rows).unwrap_or_default().into_iter().enumerate() {
        let text = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let about: Vec<String> = row.tickers.unwrap_or_default().into_iter().flatten().collect();
        let only = cx.only().filter(|(_, native)| about.is_empty() || about.iter().any(|name| name == native.as_str()));
        let news = News {
            id: row.id,
            headline: text(row.title),
            summary: text(row.description),
            url: text(row.article_url),
            publisher: row.publisher.and_then(|publisher| text(publisher.name)),
            authors: text(row.author).into_iter().collect(),
            symbols: about.iter().filter_map(|name| symbol_of(cx, name)).map(|symbol| symbol.as_str().into()).collect(),
            language: None,
        };
        if news.headline.is_none() && news.url.is_none() {
            return Err(Judgement::malformed(format!(
                "results[{index}].title: expected a title or article_url, found neither"
            )));
        }
        let ts_event = row.published_utc.map(|text| times::rfc3339("results.published_utc", &text)).transpose()?;
        let (symbol, native) = (only.map(|(symbol, _)| symbol.clone()), only.map(|(_, native)| native.clone()));
        out.push(symbol, native, ts_event, Data::News(Box::new(news)));
    }
    Ok(next)
}

/// An answer that only says what is unknown is a refusal.
fn none_left(
    out: &Batch,
    before: usize,
    missing: Option<Judgement>,
    next: Option<CompactString>,
) -> Result<Option<CompactString>, Judgement> {
    match missing {
        Some(judgement) if out.records().len() == before => Err(judgement),
        _ => Ok(next),
    }
}

fn unknown(name: Option<&str>, message: &str) -> Judgement {
    Judgement::not_found(format!("{}: {message}", name.unwrap_or("results")))
}

fn names(cx: &Context<'_>, named: Option<&str>) -> (Option<Symbol>, Option<Native>) {
    match named {
        Some(name) => (symbol_of(cx, name), Some(Native::new(name))),
        None => (cx.only().map(|(symbol, _)| symbol.clone()), cx.only().map(|(_, native)| native.clone())),
    }
}

fn symbol_of(cx: &Context<'_>, name: &str) -> Option<Symbol> {
    let by_rule = || match name.split_once(':') {
        Some(("C", pair)) if pair.len() == 6 && pair.is_ascii() => Some(Symbol::from_pair(&pair[..3], &pair[3..])),
        Some(_) => None,
        None => tickers::canonical(name),
    };
    cx.symbol_of(name).or_else(by_rule)
}

const KEY: &str = "POLYGON_API_KEY";
const DAY: Duration = Duration::from_secs(86_400);
const ROWS_MAX: u32 = 50_000;
const ROWS_DEFAULT: u32 = 100;
const SNAPSHOTS_MAX: usize = 250;

/// The currencies of the provider's forex market that are often asked for (ISO 4217); all other pairs are crypto.
const CURRENCIES: &[&str] = &[
    "AED", "ARS", "AUD", "BRL", "CAD", "CHF", "CLP", "CNH", "CNY", "COP", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF",
    "IDR", "ILS", "INR", "ISK", "JPY", "KRW", "KWD", "MXN", "MYR", "NOK", "NZD", "PEN", "PHP", "PLN", "RON", "SAR",
    "SEK", "SGD", "THB", "TRY", "TWD", "USD", "VND", "ZAR",
];

/// Paid plans have no limit; the provider asks to stay below 100 requests a second.
const PAID: &[WindowSpec] =
    &[WindowSpec { bucket: "", limit: 100, per: Duration::from_secs(1), shape: WindowShape::Rolling }];

static SPEC: Spec = Spec {
    id: SourceId("polygon"),
    title: "Polygon (Massive)",
    bases: &[Base { name: "api", url: "https://api.massive.com" }],
    kinds: &[
        KindSpec { kind: Kind::Ticker, batching: Batching::Many(SNAPSHOTS_MAX), whole_market: true, ..KIND },
        KindSpec { kind: Kind::Quote, batching: Batching::Many(SNAPSHOTS_MAX), ..KIND },
        KindSpec { kind: Kind::Trade, past: Past::ranged(ROWS_MAX), ..KIND },
        KindSpec {
            kind: Kind::Bar,
            intervals: INTERVALS,
            past: Past::ranged(ROWS_MAX),
            every: Duration::from_secs(10),
            ..KIND
        },
        KindSpec {
            kind: Kind::News,
            batching: Batching::Optional,
            past: Past::ranged(1_000),
            every: Duration::from_secs(10),
            examples: &[],
            ..KIND
        },
    ],
    credentials: &[Credential { variable: KEY, about: "API key", simulated: "simulated-polygon-key" }],
    tiers: &[
        Tier {
            name: "free",
            windows: &[WindowSpec { bucket: "", limit: 5, per: Duration::from_secs(60), shape: WindowShape::Rolling }],
        },
        Tier { name: "starter", windows: PAID },
        Tier { name: "developer", windows: PAID },
        Tier { name: "advanced", windows: PAID },
    ],
    scope: QuotaScope::Key,
    samples: samples!(
        "polygon",
        "aggs.json",
        "aggs_grouped.json",
        "aggs_prev.json",
        "error_key.json",
        "last_nbbo.json",
        "last_trade.json",
        "news.json",
        "open_close.json",
        "quotes.json",
        "quotes_last.json",
        "snapshot.json",
        "snapshot_all.json",
        "snapshot_v2.json",
        "trades.json",
    ),
    routes: include_str!("samples/polygon/routes.toml"),
    evidence: Evidence::Documented,
    quota_docs: "5 requests per minute on the free plan, no limit but 100 per second on others (massive.com, knowledge base; 2026-08-01)",
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
    use crate::model::{Query, Verdict};
    use crate::source::testing;

    const TRADED: i64 = 1_767_214_799_951_979_400;
    const QUOTED: i64 = 1_767_214_799_940_583_000;

    fn apple(kind: Kind) -> Query {
        Query::new(kind).symbol("AAPL")
    }

    fn record(kind: &str, ts_event: i64, data: Value) -> Value {
        json!({"source": "polygon", "kind": kind, "symbol": "AAPL", "native": "AAPL", "ts_event": ts_event, "data": data})
    }

    #[test]
    fn snapshots_of_all_generations_are_tickers() {
        let mut data = json!({"last": "271.86", "last_size": "100", "open": "273.06", "high": "273.68", "low": "271.75",
            "prev_close": "273.08", "change": "-1.22", "change_pct": "-0.447", "volume": "27293600",
            "bid": "271.85", "bid_size": "4", "ask": "271.87", "ask_size": "3"});
        testing::check(
            &Polygon,
            &apple(Kind::Ticker),
            "snapshot.json",
            json!([record("ticker", TRADED, data.clone())]),
        );
        data["vwap"] = "272.4021".into();
        testing::check(
            &Polygon,
            &apple(Kind::Ticker),
            "snapshot_v2.json",
            json!([record("ticker", TRADED, data.clone())]),
        );
        testing::check(
            &Polygon,
            &Query::new(Kind::Ticker),
            "snapshot_all.json",
            json!([record("ticker", TRADED, data)]),
        );
        for sample in ["snapshot.json", "snapshot_v2.json", "snapshot_all.json"] {
            testing::check_bad_bodies(&Polygon, &apple(Kind::Ticker), sample);
        }
    }

    #[test]
    fn what_is_unknown_is_left_out_until_nothing_is_left() {
        let unknown = r#"{"error":"NOT_FOUND","message":"Ticker not found.","ticker":"NOPE"}"#;
        let known =
            r#"{"ticker":"O:X221014C00005000","type":"options","last_trade":{"price":1.50},"session":{"volume":67}}"#;
        let body = |rows: &str| format!(r#"{{"status":"OK","results":[{rows}]}}"#);
        let found =
            testing::decode(&Polygon, &Query::new(Kind::Ticker), 200, &body(&format!("{known},{unknown}"))).unwrap();
        assert_eq!(
            found,
            [json!({"source": "polygon", "kind": "ticker", "native": "O:X221014C00005000",
                    "data": {"last": "1.50", "volume_unit": "contracts"}})]
        );
        let nothing = (Verdict::NotFound, "symbol_unknown");
        testing::check_verdict(&Polygon, &Query::new(Kind::Ticker), 200, &body(unknown), nothing);
        testing::check_verdict(&Polygon, &Query::new(Kind::Quote), 200, &body(unknown), nothing);
        let empty = r#"{"ticker":"NOPE","queryCount":0,"resultsCount":0,"adjusted":true,"status":"OK","count":0}"#;
        testing::check_verdict(&Polygon, &apple(Kind::Bar), 200, empty, nothing);
        let spanned = apple(Kind::Bar).range(UnixNanos::EPOCH, testing::NOW);
        assert!(testing::decode(&Polygon, &spanned, 200, empty).unwrap().is_empty());
    }

    #[test]
    fn quotes_and_trades_of_all_generations() {
        let quote =
            record("quote", QUOTED, json!({"bid": "271.85", "bid_size": "4", "ask": "271.87", "ask_size": "3"}));
        for sample in ["quotes.json", "last_nbbo.json", "snapshot.json", "snapshot_v2.json"] {
            testing::check(&Polygon, &apple(Kind::Quote), sample, json!([quote]));
            testing::check_bad_bodies(&Polygon, &apple(Kind::Quote), sample);
        }
        let trade = record("trade", TRADED, json!({"id": "183277", "price": "271.86", "size": "100"}));
        let older =
            record("trade", 1_767_214_799_461_979_400, json!({"id": "183276", "price": "271.85", "size": "10"}));
        testing::check(&Polygon, &apple(Kind::Trade), "trades.json", json!([trade, older]));
        testing::check(&Polygon, &Query::new(Kind::Trade), "last_trade.json", json!([trade]));
        testing::check_bad_bodies(&Polygon, &apple(Kind::Trade), "trades.json");
        testing::check_bad_bodies(&Polygon, &apple(Kind::Trade), "last_trade.json");
        let half = r#"{"status":"OK","results":{"T":"AAPL","p":0,"s":0,"P":1.5,"S":2,"t":1}}"#;
        let found = testing::decode(&Polygon, &apple(Kind::Quote), 200, half).unwrap();
        assert_eq!(found[0]["data"], json!({"ask": "1.5", "ask_size": "2"}));
    }

    #[test]
    fn bars_of_all_forms() {
        let minute = 60_000_000_000_i64;
        let start = 1_767_214_740_000_000_000_i64;
        let bar = |start: i64, prices: [&str; 5], trades: u64| {
            let [open, high, low, close, volume] = prices;
            record(
                "bar",
                start + minute,
                json!({"interval": "1m", "start": start, "end": start + minute, "open": open, "high": high,
                "low": low, "close": close, "volume": volume, "trades": trades, "closed": true}),
            )
        };
        testing::check(
            &Polygon,
            &apple(Kind::Bar).interval(Interval::MINUTE),
            "aggs.json",
            json!([
                bar(start, ["271.95", "272.01", "271.8", "271.86", "1046521.0"], 12_345),
                bar(start - minute, ["271.9", "271.98", "271.85", "271.95", "310442.0"], 4_021)
            ]),
        );
        let close = 1_767_214_800_000_000_000_i64;
        let mut day = record(
            "bar",
            close,
            json!({"start": close, "open": "273.06", "high": "273.68", "low": "271.75",
            "close": "271.86", "volume": "27293600.0", "trades": 412_345}),
        );
        testing::check(&Polygon, &Query::new(Kind::Bar), "aggs_prev.json", json!([day]));
        day["data"]["volume"] = "27293600".into();
        let berkshire = json!({"source": "polygon", "kind": "bar", "symbol": "BRK.B", "native": "BRK.B", "ts_event": close,
            "data": {"start": close, "open": "503.1", "high": "504.02", "low": "501.2", "close": "502.65", "volume": "3100000",
                     "trades": 52_345}});
        testing::check(&Polygon, &Query::new(Kind::Bar), "aggs_grouped.json", json!([day, berkshire]));
        let (first, last) = (1_767_139_200_000_000_000_i64, 1_767_225_600_000_000_000_i64);
        testing::check(
            &Polygon,
            &apple(Kind::Bar),
            "open_close.json",
            json!([record(
                "bar",
                last,
                json!({"interval": "1d", "start": first, "end": last, "open": "273.06", "high": "273.68",
                "low": "271.75", "close": "271.86", "volume": "27293600", "closed": true})
            )]),
        );
        for sample in ["aggs.json", "aggs_prev.json", "aggs_grouped.json", "open_close.json"] {
            testing::check_bad_bodies(&Polygon, &apple(Kind::Bar), sample);
        }
    }

    #[test]
    fn articles_are_news() {
        let data = json!({"id": "a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8a9b0c1d2e3f4a5b6c7d8000001",
            "headline": "Apple closes the year near its high", "summary": "Shares ended the session at 271.86 dollars.",
            "url": "https://www.example.com/apple-closes-the-year", "publisher": "Example Wire", "authors": ["Jane Doe"],
            "symbols": ["AAPL", "BRK.B"]});
        let at = 1_767_215_700_000_000_000_i64;
        testing::check(&Polygon, &apple(Kind::News), "news.json", json!([record("news", at, data.clone())]));
        let general = json!({"source": "polygon", "kind": "news", "ts_event": at, "data": data});
        testing::check(&Polygon, &Query::new(Kind::News), "news.json", json!([general]));
        testing::check_bad_bodies(&Polygon, &apple(Kind::News), "news.json");
    }

    #[test]
    fn requests_and_pages() {
        let target = |query: &Query| testing::request(&Polygon, query).map(|request| request.target().to_owned());
        let at = |secs| UnixNanos::from_secs(secs).unwrap();
        let spanned = |kind| apple(kind).range(at(1_767_139_200), at(1_767_225_600));
        let check = |query: Query, expected: &str| assert_eq!(target(&query).unwrap(), expected);
        check(apple(Kind::Ticker).symbol("BTC-USD"), "/v3/snapshot?ticker.any_of=AAPL,X:BTCUSD&limit=250");
        check(Query::new(Kind::Quote).symbol("EUR-USD"), "/v3/snapshot?ticker.any_of=C:EURUSD&limit=250");
        check(apple(Kind::Trade), "/v3/trades/AAPL?order=desc&limit=100");
        check(
            spanned(Kind::Trade),
            "/v3/trades/AAPL?timestamp.gte=1767139200000000000&timestamp.lt=1767225600000000000&order=asc&limit=50000",
        );
        check(
            spanned(Kind::Bar).interval(Interval::HOUR),
            "/v2/aggs/ticker/AAPL/range/1/hour/1767139200000/1767225599999?adjusted=true&sort=asc&limit=50000",
        );
        check(
            apple(Kind::Bar).limit(10).interval(Interval::new(5, IntervalUnit::Minute)),
            "/v2/aggs/ticker/AAPL/range/5/minute/1766891045000/1767323045000?adjusted=true&sort=desc&limit=50",
        );
        check(Query::new(Kind::News), "/v2/reference/news?order=desc&sort=published_utc");
        check(
            spanned(Kind::News),
            "/v2/reference/news?ticker=AAPL&published_utc.gte=2025-12-31T00:00:00Z&published_utc.lt=2026-01-01T00:00:00Z\
             &order=desc&sort=published_utc",
        );
        let (state, credentials) = (State::default(), testing::credentials(&Polygon));
        let asked = apple(Kind::Quote);
        let cx = Context::new(&Polygon, &asked, &state, &credentials, "", testing::NOW).unwrap();
        let answer = Answer::new(200, SPEC.sample("quotes.json").unwrap());
        let next = Polygon.decode(&cx, &answer, &mut Batch::new(SPEC.id, testing::NOW)).unwrap().unwrap();
        check(apple(Kind::Quote).cursor(next), "/v3/quotes/AAPL?cursor=YXA9MSZzb3J0PXRpbWVzdGFtcA");
        for bad in ["https://elsewhere.example/v3", "/v3/a b", "@elsewhere.example"] {
            assert_eq!(target(&apple(Kind::Trade).cursor(bad)).unwrap_err().reason, "cursor");
        }
        let odd = apple(Kind::Bar).interval(Interval::new(7, IntervalUnit::Minute));
        assert_eq!(target(&odd).unwrap_err().reason, "interval_unknown");
        assert_eq!(target(&Query::new(Kind::Bar).symbol("BTC-USDT.PERP")).unwrap_err().reason, "symbol_form");
    }

    #[test]
    fn refusals_are_told_apart() {
        let check =
            |status, body, expected| testing::check_verdict(&Polygon, &apple(Kind::Bar), status, body, expected);
        let pace = r#"{"status":"ERROR","request_id":"0","error":"You've exceeded the maximum requests per minute, please wait."}"#;
        check(429, pace, (Verdict::RateLimited, "requests_minute"));
        check(200, pace, (Verdict::RateLimited, "requests_minute"));
        check(401, SPEC.sample("error_key.json").unwrap(), (Verdict::Unauthorized, "key"));
        check(200, SPEC.sample("error_key.json").unwrap(), (Verdict::Unauthorized, "key"));
        let plan = r#"{"status":"NOT_AUTHORIZED","request_id":"0","message":"You are not entitled to this data."}"#;
        check(403, plan, (Verdict::Unauthorized, "plan"));
        check(200, plan, (Verdict::Unauthorized, "plan"));
        check(
            404,
            r#"{"status":"NOT_FOUND","request_id":"0","message":"Data not found."}"#,
            (Verdict::NotFound, "symbol_unknown"),
        );
        check(400, r#"{"status":"ERROR","request_id":"0","error":"bad timespan"}"#, (Verdict::BadRequest, "argument"));
        check(200, r#"{"status":"ERROR","request_id":"0","error":"oops"}"#, (Verdict::UpstreamError, "provider"));
        check(504, "<html>gateway</html>", (Verdict::UpstreamError, "http_5xx"));
        check(200, r#"{"status":"OK","ticker":"AAPL","resultsCount":2}"#, (Verdict::Malformed, "shape"));
        check(200, r#"{"status":"OK"}"#, (Verdict::Malformed, "shape"));
        check(200, r#"{"status":"OK","results":[{"t":1,"o":1,"h":1,"l":1}]}"#, (Verdict::Malformed, "shape"));
        check(200, r#"{"status":"OK","results":[{"t":1,"o":1,"h":1,"l":1,"c":true}]}"#, (Verdict::Malformed, "shape"));
    }
}
