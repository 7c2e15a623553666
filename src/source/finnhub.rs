//! Finnhub. Facts: finnhub.io/docs/api (quote, stock/candle, company-news, news, rate limit), and recorded answers.
//! Prices are number tokens and keep their digits; times are integer seconds. A quote and a candle name no instrument, so
//! names come from the query. Invariant: the quote of zeros that stands for an unknown symbol never becomes a price.

use std::time::Duration;

use compact_str::{CompactString, format_compact};
use serde::Deserialize;

use crate::model::{
    Data, Dec, Interval, IntervalUnit, Judgement, Kind, Native, News, SourceId, Symbol, Ticker, TimeRange, Verdict,
};
use crate::source::bars::Candle;
use crate::source::listing::{self, filled, names};
use crate::source::spec::samples;
use crate::source::{
    Base, Batch, Batching, Context, Credential, Evidence, KeyUse, KindSpec, Past, QuotaReport, QuotaScope, Source,
    Spec, State, Tier, WindowShape, WindowSpec, by_status,
};
use crate::wire::fields::Int;
use crate::wire::{Answer, Request, fields, json, times};

/// The source.
pub struct Finnhub;

impl Source for Finnhub {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn native(&self, _kind: Kind, symbol: &Symbol, _state: &State) -> Result<Native, Judgement> {
        let name = symbol.as_str();
        match symbol.pair() {
            Some((base, quote)) if listing::is_currency(base) && listing::is_currency(quote) => {
                Ok(Native::new(format_compact!("OANDA:{base}_{quote}")))
            }
            Some((base, quote)) => Ok(Native::new(format_compact!("BINANCE:{base}{quote}"))),
            None if name.is_empty() || name.contains(['-', '/', ' ', ',']) => Err(Judgement::unservable(
                "symbol_form",
                format!("finnhub: expected a symbol such as AAPL, BRK.B, EUR-USD or BTC-USDT, found {name:?}"),
            )),
            None => Ok(Native::new(name)),
        }
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let key = cx.secret(KEY)?;
        let request = match cx.query.kind {
            Kind::Ticker => Request::get("/api/v1/quote").param("symbol", cx.only_native()?),
            Kind::Bar => candles(cx)?,
            Kind::News if cx.natives.is_empty() => {
                Request::get("/api/v1/news").param("category", "general").param_opt("minId", cx.query.cursor.as_ref())
            }
            Kind::News => {
                let span = cx.query.range.unwrap_or(TimeRange { from: cx.now.saturating_sub(NEWS_SPAN), to: cx.now });
                Request::get("/api/v1/company-news")
                    .param("symbol", cx.only_native()?)
                    .param("from", times::date(span.from))
                    .param("to", times::date(span.to))
            }
            kind => return Err(Judgement::unservable("kind_unknown", format!("finnhub: has no {kind}"))),
        };
        Ok(request.header_secret("x-finnhub-token", key.expose()))
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        if !answer.looks_like_json() {
            // A path that is not routed answers with the web site.
            let found = answer.excerpt(80);
            return Err(Judgement::new(Verdict::Malformed, "no_json", format!("expected JSON, found {found:?}")));
        }
        if let Some(message) = error_of(answer) {
            return Err(refusal(answer, &message));
        }
        match cx.query.kind {
            Kind::Ticker => decode_quote(cx, &answer.body, out)?,
            Kind::Bar => decode_candles(cx, answer, out)?,
            Kind::News => decode_news(cx, &answer.body, out)?,
            kind => return Err(Judgement::unservable("kind_unknown", format!("finnhub: has no {kind}"))),
        }
        Ok(None)
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        match error_of(answer) {
            Some(message) => refusal(answer, &message),
            None => refusal(answer, &answer.excerpt(200)),
        }
    }

    fn quota_used(&self, answer: &Answer) -> Option<QuotaReport> {
        let number = |name: &str| answer.header(name)?.parse::<u32>().ok();
        let used = number("x-ratelimit-limit")?.checked_sub(number("x-ratelimit-remaining")?)?;
        Some(QuotaReport { bucket: "", window: MINUTE, used })
    }
}

fn candles(cx: &Context<'_>) -> Result<Request, Judgement> {
    let interval = cx.query.interval.unwrap_or(Interval::DAY);
    let Some((_, resolution)) = RESOLUTIONS.iter().find(|(known, _)| *known == interval) else {
        let valid: Vec<String> = RESOLUTIONS.iter().map(|(known, _)| known.to_string()).collect();
        return Err(Judgement::unservable(
            "interval_unknown",
            format!("finnhub: expected an interval of {}, found {interval}", valid.join(", ")),
        ));
    };
    let native = cx.only_native()?;
    let path = match native.split_once(':') {
        Some(("OANDA", _)) => "/api/v1/forex/candle",
        Some(_) => "/api/v1/crypto/candle",
        None => "/api/v1/stock/candle",
    };
    let length = interval.duration().unwrap_or(MONTH);
    let rows = cx.query.limit.unwrap_or(ROWS).clamp(1, ROWS_MAX);
    let span =
        cx.query.range.unwrap_or(TimeRange { from: cx.now.saturating_sub(length.saturating_mul(rows)), to: cx.now });
    Ok(Request::get(path)
        .param("symbol", native)
        .param("resolution", resolution)
        .param("from", span.from.as_secs())
        .param("to", span.to.as_secs()))
}

#[derive(Deserialize)]
struct Quote {
    /// Last price.
    c: Dec,
    d: Option<Dec>,
    /// In percent.
    dp: Option<Dec>,
    h: Option<Dec>,
    l: Option<Dec>,
    o: Option<Dec>,
    /// Previous close.
    pc: Option<Dec>,
    /// Seconds; zero for an unknown symbol.
    t: Option<Int>,
}

fn decode_quote(cx: &Context<'_>, body: &[u8], out: &mut Batch) -> Result<(), Judgement> {
    let quote: Quote = json::exact(body).read()?;
    let all = [Some(quote.c), quote.h, quote.l, quote.o, quote.pc];
    if all.into_iter().flatten().all(Dec::is_zero) {
        return Err(Judgement::not_found("expected a quote, found one of zeros, which stands for an unknown symbol"));
    }
    let ticker = Ticker {
        last: quote.c,
        open: quote.o,
        high: quote.h,
        low: quote.l,
        prev_close: quote.pc,
        change: quote.d,
        change_pct: quote.dp,
        ..Ticker::default()
    };
    let ts_event = quote.t.filter(|at| at.0 != 0).map(|at| times::secs("t", at.0)).transpose()?;
    let (symbol, native) = names(cx, None, symbol_by_rule);
    out.push(symbol, native, ts_event, Data::Ticker(Box::new(ticker)));
    Ok(())
}

/// Parallel columns; `s` is `ok` or `no_data`.
#[derive(Deserialize)]
struct Candles {
    s: CompactString,
    /// Seconds.
    t: Option<Vec<Int>>,
    o: Option<Vec<Option<Dec>>>,
    h: Option<Vec<Option<Dec>>>,
    l: Option<Vec<Option<Dec>>>,
    c: Option<Vec<Option<Dec>>>,
    v: Option<Vec<Option<Dec>>>,
}

fn decode_candles(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    let candles: Candles = json::exact(&answer.body).read()?;
    match candles.s.as_str() {
        "ok" => {}
        "no_data" => return Err(Judgement::not_found("no_data")),
        other => return Err(Judgement::malformed(format!("s: expected ok or no_data, found {other:?}"))),
    }
    let starts =
        candles.t.as_deref().ok_or_else(|| Judgement::malformed("t: expected a list of times, found nothing"))?;
    let open = fields::column("o", candles.o.as_deref(), starts.len())?;
    let high = fields::column("h", candles.h.as_deref(), starts.len())?;
    let low = fields::column("l", candles.l.as_deref(), starts.len())?;
    let close = fields::column("c", candles.c.as_deref(), starts.len())?;
    let volume = candles.v.as_deref().map(|rows| fields::column("v", Some(rows), starts.len())).transpose()?;
    let (symbol, native) = names(cx, None, symbol_by_rule);
    for (at, start) in starts.iter().enumerate() {
        let (Some(open), Some(high), Some(low), Some(close)) = (open[at], high[at], low[at], close[at]) else {
            continue;
        };
        let start = times::secs("t", start.0)?;
        let volume = volume.and_then(|rows| rows[at]);
        let candle = Candle { start, open, high, low, close, volume, quote_volume: None };
        candle.push(out, (symbol.clone(), native.clone()), cx.query.interval, answer.ts_recv);
    }
    Ok(())
}

#[derive(Deserialize)]
struct Article {
    id: Option<i64>,
    /// Seconds.
    datetime: Option<i64>,
    headline: Option<String>,
    /// The instrument the article was found for; several are separated by commas, general news have none.
    related: Option<CompactString>,
    source: Option<String>,
    summary: Option<String>,
    url: Option<String>,
}

fn decode_news(cx: &Context<'_>, body: &[u8], out: &mut Batch) -> Result<(), Judgement> {
    let articles: Vec<Article> = json::plain(body).read()?;
    for (at, article) in articles.into_iter().enumerate() {
        let related: Vec<&str> = article
            .related
            .as_deref()
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .collect();
        let news = News {
            id: article.id.map(|id| format_compact!("{id}")),
            headline: filled(article.headline),
            summary: filled(article.summary),
            url: filled(article.url),
            publisher: filled(article.source),
            symbols: related.iter().filter_map(|name| symbol_by_rule(name)).map(|name| name.as_str().into()).collect(),
            ..News::default()
        };
        if news.headline.is_none() && news.url.is_none() {
            return Err(Judgement::malformed(format!(
                "[{at}].headline: expected a headline or an address, found neither"
            )));
        }
        let ts_event = article.datetime.filter(|at| *at != 0).map(|at| times::secs("datetime", at)).transpose()?;
        let only = if let [one] = related.as_slice() { Some(*one) } else { None };
        let (symbol, native) = names(cx, only, symbol_by_rule);
        out.push(symbol, native, ts_event, Data::News(Box::new(news)));
    }
    Ok(())
}

/// Names with a venue are split only where they carry a separator: `OANDA:EUR_USD`.
fn symbol_by_rule(native: &str) -> Option<Symbol> {
    match native.split_once(':') {
        Some((_, pair)) => pair.split_once('_').map(|(base, quote)| Symbol::from_pair(base, quote)),
        None => (!native.is_empty()).then(|| Symbol::new(native)),
    }
}

/// The text of an error envelope, under whatever status.
fn error_of(answer: &Answer) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    json::plain(&answer.body).read::<Refusal>().ok().map(|body| body.error)
}

/// Judges by status, and by the words where the status is 2xx.
fn refusal(answer: &Answer, message: &str) -> Judgement {
    let judgement = by_status(answer, Some(&listing::mask_keys(message)));
    let words = message.to_ascii_lowercase();
    let (verdict, reason) = match answer.status {
        429 => (Verdict::RateLimited, "calls"),
        _ if words.contains("api limit reached") => (Verdict::RateLimited, "calls"),
        401 => (Verdict::Unauthorized, "key"),
        403 => (Verdict::Unauthorized, "plan"),
        422 => (Verdict::BadRequest, "argument"),
        _ if words.contains("invalid api key") || words.contains("use an api key") => (Verdict::Unauthorized, "key"),
        _ if words.contains("don't have access") => (Verdict::Unauthorized, "plan"),
        _ if words.contains("symbol not supported") => (Verdict::NotFound, "symbol_unknown"),
        200..=299 => (Verdict::Malformed, "error_unknown"),
        _ => (judgement.verdict, judgement.reason),
    };
    let wait = (verdict == Verdict::RateLimited).then(|| until_reset(answer));
    Judgement { verdict, reason, retry_after: judgement.retry_after.or(wait), ..judgement }
}

/// The time until the window ends, which a header names in seconds since the epoch; a whole window without it.
fn until_reset(answer: &Answer) -> Duration {
    let reset: Option<i64> = answer.header("x-ratelimit-reset").and_then(|text| text.parse().ok());
    let left = reset.map(|at| at.saturating_sub(answer.ts_recv.as_secs()));
    left.and_then(|secs| u64::try_from(secs).ok())
        .map(Duration::from_secs)
        .filter(|left| *left <= MINUTE)
        .unwrap_or(MINUTE)
}

const KEY: &str = "FINNHUB_API_KEY";
const MINUTE: Duration = Duration::from_secs(60);
const MONTH: Duration = Duration::from_secs(31 * 86_400);
const NEWS_SPAN: Duration = Duration::from_secs(7 * 86_400);
/// Rows asked for when the query names no number and no time.
const ROWS: u32 = 100;
const ROWS_MAX: u32 = 5_000;

const RESOLUTIONS: &[(Interval, &str)] = &[
    (Interval::MINUTE, "1"),
    (Interval::new(5, IntervalUnit::Minute), "5"),
    (Interval::new(15, IntervalUnit::Minute), "15"),
    (Interval::new(30, IntervalUnit::Minute), "30"),
    (Interval::HOUR, "60"),
    (Interval::DAY, "D"),
    (Interval::WEEK, "W"),
    (Interval::MONTH, "M"),
];

const BURST: WindowSpec = WindowSpec { bucket: "", limit: 30, per: Duration::from_secs(1), shape: WindowShape::Fixed };

static SPEC: Spec = Spec {
    id: SourceId("finnhub"),
    title: "Finnhub",
    bases: &[Base { name: "api", url: "https://finnhub.io" }],
    kinds: &[
        KIND,
        KindSpec {
            kind: Kind::Bar,
            intervals: &[
                RESOLUTIONS[0].0,
                RESOLUTIONS[1].0,
                RESOLUTIONS[2].0,
                RESOLUTIONS[3].0,
                RESOLUTIONS[4].0,
                RESOLUTIONS[5].0,
                RESOLUTIONS[6].0,
                RESOLUTIONS[7].0,
            ],
            past: Past::ranged(ROWS_MAX),
            every: Duration::from_secs(10),
            examples: &["AAPL", "BTC-USDT"],
            ..KIND
        },
        KindSpec {
            kind: Kind::News,
            batching: Batching::Optional,
            past: Past::ranged(1_000),
            every: Duration::from_secs(10),
            examples: &["AAPL"],
            ..KIND
        },
    ],
    credentials: &[Credential { variable: KEY, about: "API key", simulated: "simulated-finnhub-key" }],
    tiers: &[
        Tier {
            name: "free",
            windows: &[WindowSpec { bucket: "", limit: 60, per: MINUTE, shape: WindowShape::Fixed }, BURST],
        },
        Tier {
            name: "paid",
            windows: &[WindowSpec { bucket: "", limit: 300, per: MINUTE, shape: WindowShape::Fixed }, BURST],
        },
    ],
    scope: QuotaScope::Key,
    samples: samples!("finnhub", "company_news.json", "error_401.json", "quote.json", "stock_candle.json"),
    routes: include_str!("samples/finnhub/routes.toml"),
    evidence: Evidence::Recorded,
    quota_docs: "60 calls a minute on the free plan, 30 a second on every plan (finnhub.io/docs/api/rate-limit, as quoted by clients, 2026-11-25); 300 a minute of paid plans is unverified",
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Query;
    use crate::source::testing;

    fn apple(kind: Kind) -> Query {
        Query::new(kind).symbol("AAPL")
    }

    #[test]
    fn a_quote_keeps_every_digit() {
        testing::check(
            &Finnhub,
            &apple(Kind::Ticker),
            "quote.json",
            json!([{"source": "finnhub", "kind": "ticker", "symbol": "AAPL", "native": "AAPL", "ts_event": 1_767_214_800_000_000_000_i64,
                    "data": {"last": "271.86", "open": "273.06", "high": "273.68", "low": "271.75", "prev_close": "273.08",
                             "change": "-1.22", "change_pct": "-0.4468"}}]),
        );
        testing::check_bad_bodies(&Finnhub, &apple(Kind::Ticker), "quote.json");
    }

    #[test]
    fn candles_are_columns() {
        let bar = |start: i64, ohlc: [&str; 4], volume: &str| {
            let (start, end) = (start * 1_000_000_000, (start + 86_400) * 1_000_000_000);
            json!({"source": "finnhub", "kind": "bar", "symbol": "AAPL", "native": "AAPL", "ts_event": end,
                   "data": {"interval": "1d", "start": start, "end": end, "open": ohlc[0], "high": ohlc[1], "low": ohlc[2],
                            "close": ohlc[3], "volume": volume, "closed": true}})
        };
        let query = apple(Kind::Bar).interval(Interval::DAY);
        testing::check(
            &Finnhub,
            &query,
            "stock_candle.json",
            json!([
                bar(
                    1_767_052_800,
                    ["272.80999755859", "274.07998657227", "272.27999877930", "273.07998657227"],
                    "22139600"
                ),
                bar(1_767_139_200, ["273.05999755859", "273.67999267578", "271.75", "271.85998535156"], "27293639"),
            ]),
        );
        testing::check_bad_bodies(&Finnhub, &query, "stock_candle.json");
        let found = testing::decode(
            &Finnhub,
            &Query::new(Kind::Bar),
            200,
            r#"{"s":"ok","t":[60],"o":[1],"h":[2],"l":[1],"c":[2]}"#,
        );
        assert_eq!(
            found.unwrap(),
            vec![json!({"source": "finnhub", "kind": "bar", "ts_event": 60_000_000_000_i64,
                        "data": {"start": 60_000_000_000_i64, "open": "1", "high": "2", "low": "1", "close": "2"}})]
        );
        let short = testing::decode(&Finnhub, &query, 200, r#"{"s":"ok","t":[1,2],"o":[1,2],"h":[1]}"#).unwrap_err();
        assert_eq!(short.message, "h: expected 2 values, found 1");
    }

    #[test]
    fn news_carry_the_related_instrument() {
        testing::check(
            &Finnhub,
            &Query::new(Kind::News),
            "company_news.json",
            json!([
                {"source": "finnhub", "kind": "news", "symbol": "AAPL", "native": "AAPL", "ts_event": 1_767_225_300_000_000_000_i64,
                 "data": {"id": "137900412", "headline": "Apple suppliers plan for a busy spring", "summary": "Orders for the first quarter are up.",
                          "url": "https://www.example.com/tech/apple-suppliers", "publisher": "https://www.example.com", "symbols": ["AAPL"]}},
                {"source": "finnhub", "kind": "news", "ts_event": 1_767_221_100_000_000_000_i64,
                 "data": {"id": "137900398", "headline": "Markets close the year higher", "url": "https://news.example.org/markets/year-end",
                          "publisher": "https://news.example.org"}}
            ]),
        );
        // Bodies cut inside the list's only value are refused; an empty list is a quiet day.
        testing::check_bad_bodies(&Finnhub, &apple(Kind::News), "company_news.json");
        assert!(testing::decode(&Finnhub, &apple(Kind::News), 200, "[]").unwrap().is_empty());
    }

    #[test]
    fn requests_carry_the_key_in_a_header() {
        let target = |query: &Query| testing::request(&Finnhub, query).unwrap().target().to_owned();
        assert_eq!(target(&Query::new(Kind::Ticker).symbol("BRK.B")), "/api/v1/quote?symbol=BRK.B");
        assert_eq!(
            target(&Query::new(Kind::Bar).symbol("EUR-USD").interval(Interval::MINUTE).limit(2)),
            "/api/v1/forex/candle?symbol=OANDA:EUR_USD&resolution=1&from=1767322925&to=1767323045"
        );
        assert_eq!(
            target(&Query::new(Kind::Bar).symbol("BTC-USDT").limit(1)),
            "/api/v1/crypto/candle?symbol=BINANCE:BTCUSDT&resolution=D&from=1767236645&to=1767323045"
        );
        assert_eq!(target(&apple(Kind::News)), "/api/v1/company-news?symbol=AAPL&from=2025-12-26&to=2026-01-02");
        assert_eq!(target(&Query::new(Kind::News).cursor("7")), "/api/v1/news?category=general&minId=7");
        let request = testing::request(&Finnhub, &apple(Kind::Ticker)).unwrap();
        assert_eq!((request.headers[0].0, request.headers[0].1.as_str()), ("x-finnhub-token", "simulated-finnhub-key"));
        let refused = testing::request(&Finnhub, &apple(Kind::Bar).interval(Interval::new(4, IntervalUnit::Hour)));
        assert_eq!(refused.unwrap_err().reason, "interval_unknown");
        assert_eq!(symbol_by_rule("OANDA:EUR_USD"), Some("EUR-USD".into()));
        assert_eq!(symbol_by_rule("BINANCE:BTCUSDT"), None);
    }

    #[test]
    fn refusals_are_told_apart() {
        let check =
            |kind, status, body, expected| testing::check_verdict(&Finnhub, &apple(kind), status, body, expected);
        let zeros = r#"{"c":0,"d":null,"dp":null,"h":0,"l":0,"o":0,"pc":0,"t":0}"#;
        check(Kind::Ticker, 200, zeros, (Verdict::NotFound, "symbol_unknown"));
        check(Kind::Bar, 200, r#"{"s":"no_data"}"#, (Verdict::NotFound, "symbol_unknown"));
        check(Kind::Ticker, 401, r#"{"error":"Invalid API key"}"#, (Verdict::Unauthorized, "key"));
        check(
            Kind::Bar,
            403,
            r#"{"error":"You don't have access to this resource."}"#,
            (Verdict::Unauthorized, "plan"),
        );
        check(Kind::Bar, 422, r#"{"error":"Wrong resolution"}"#, (Verdict::BadRequest, "argument"));
        check(
            Kind::Ticker,
            200,
            r#"{"error":"API limit reached. Please try again later."}"#,
            (Verdict::RateLimited, "calls"),
        );
        check(Kind::Ticker, 502, "<html>", (Verdict::UpstreamError, "http_5xx"));
        check(Kind::Ticker, 200, "<!doctype html>", (Verdict::Malformed, "no_json"));
        let mut answer = Answer::new(429, r#"{"error":"API limit reached. Remaining Limit: 0"}"#);
        let judge =
            |answer: &Answer| testing::decode_with(&Finnhub, &apple(Kind::Ticker), &State::default(), answer.clone());
        assert_eq!(judge(&answer).unwrap_err().retry_after, Some(MINUTE));
        answer.headers.push("x-ratelimit-reset", (testing::NOW.as_secs() + 17).to_string().as_bytes());
        assert_eq!(judge(&answer).unwrap_err().retry_after, Some(Duration::from_secs(17)));
        let echoed = testing::decode(
            &Finnhub,
            &apple(Kind::Ticker),
            401,
            r#"{"error":"Invalid API key: c0ffee1234567890abcd"}"#,
        );
        assert_eq!(echoed.unwrap_err().message, "Invalid API key: ***");
    }

    #[test]
    fn the_headers_tell_the_quota() {
        let mut answer = Answer::new(200, "{}");
        assert_eq!(Finnhub.quota_used(&answer), None);
        answer.headers.push("x-ratelimit-limit", b"60");
        answer.headers.push("x-ratelimit-remaining", b"41");
        assert_eq!(Finnhub.quota_used(&answer), Some(QuotaReport { bucket: "", window: MINUTE, used: 19 }));
    }
}
