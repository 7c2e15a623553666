//! Tiingo. Facts: api.tiingo.com/documentation (end-of-day, iex, crypto, forex, news), and recorded answers. Prices are number
//! tokens, at times very long, and keep their digits. Requests are built and refusals judged here; `read` reads bodies.
//! Currencies have no last price here, so they have bars and no ticker.

use std::time::Duration;

use compact_str::{CompactString, format_compact};
use serde::Deserialize;

use crate::model::{Interval, IntervalUnit, Judgement, Kind, Native, SourceId, Symbol, TimeRange, Verdict};
use crate::source::listing;
use crate::source::spec::samples;
use crate::source::{
    Base, Batch, Batching, Context, Credential, Evidence, KeyUse, KindSpec, Past, QuotaScope, Source, Spec, State,
    Tier, WindowShape, WindowSpec, by_status,
};
use crate::wire::{Answer, Request, json, request, times};

mod read;

/// The source.
pub struct Tiingo;

impl Source for Tiingo {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn native(&self, _kind: Kind, symbol: &Symbol, _state: &State) -> Result<Native, Judgement> {
        let name = symbol.as_str();
        match symbol.pair() {
            Some((base, quote)) => Ok(Native::new(format_compact!("{base}{quote}").to_lowercase())),
            None if name.is_empty() || name.contains(['-', '/', ' ', ',']) => Err(Judgement::unservable(
                "symbol_form",
                format!("tiingo: expected a symbol such as AAPL, BRK.B, BTC-USD or EUR-USD, found {name:?}"),
            )),
            None => Ok(Native::new(listing::dashed(name, ""))),
        }
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let key = cx.secret(KEY)?;
        let request = match cx.query.kind {
            Kind::Ticker => tickers(cx)?,
            Kind::Bar => bars(cx)?,
            Kind::News => {
                let one = if cx.natives.is_empty() { None } else { Some(cx.only_native()?.to_lowercase()) };
                let span = cx.query.range;
                Request::get("/tiingo/news")
                    .param_opt("tickers", one)
                    .param_opt("startDate", span.map(|span| times::date(span.from)))
                    .param_opt("endDate", span.map(|span| times::date(span.to)))
                    .param("limit", news_limit(cx))
                    .param_opt("offset", cx.query.cursor.as_ref())
                    .param("sortBy", "publishedDate")
            }
            kind => return Err(unserved(kind)),
        };
        Ok(request.header_secret("authorization", format!("Token {}", key.expose())))
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        if !json::is_array(&answer.body) {
            return Err(refusal(answer));
        }
        match cx.query.kind {
            Kind::Ticker => read::tickers(cx, &answer.body, out).map(|()| None),
            Kind::Bar => read::bars(cx, answer, out).map(|()| None),
            Kind::News => {
                let rows = read::news(cx, &answer.body, out)?;
                let offset = cx.query.cursor.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0_usize);
                let full = rows >= news_limit(cx) as usize;
                Ok(full.then(|| format_compact!("{}", offset.saturating_add(rows))))
            }
            kind => Err(unserved(kind)),
        }
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        refusal(answer)
    }
}

/// What an instrument is: each class has its own paths.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Crypto,
    Currency,
    Equity,
}

fn class_of(symbol: &Symbol) -> Class {
    match symbol.pair() {
        Some((base, quote)) if listing::is_currency(base) && listing::is_currency(quote) => Class::Currency,
        Some(_) => Class::Crypto,
        None => Class::Equity,
    }
}

fn tickers(cx: &Context<'_>) -> Result<Request, Judgement> {
    let mut classes = cx.query.symbols.iter().map(class_of);
    let class = classes
        .next()
        .ok_or_else(|| Judgement::unservable("symbol_count", "ticker: expected at least one symbol, found none"))?;
    if classes.any(|other| other != class) {
        return Err(Judgement::unservable(
            "symbol_mix",
            "tiingo: expected tickers of equities alone or of crypto pairs alone, found both; ask for them apart",
        ));
    }
    let path = match class {
        Class::Equity => "/iex/",
        Class::Crypto => "/tiingo/crypto/top",
        Class::Currency => {
            return Err(Judgement::unservable(
                "symbol_form",
                "tiingo: expected an equity such as AAPL or a crypto pair such as BTC-USD, found a pair of currencies, which has no last price",
            ));
        }
    };
    let names: Vec<&str> = cx.natives.iter().map(Native::as_str).collect();
    Ok(Request::get(path).param("tickers", names.join(",")))
}

fn bars(cx: &Context<'_>) -> Result<Request, Judgement> {
    let interval = cx.query.interval.unwrap_or(Interval::DAY);
    let native = request::encode(cx.only_native()?);
    let class = cx.query.only_symbol().map_or(Class::Equity, class_of);
    let offered = INTERVALS.iter().filter(|(_, _, word)| class == Class::Equity || !word.is_empty());
    let Some((_, daily, word)) = offered.clone().find(|(known, _, _)| *known == interval) else {
        let valid: Vec<String> = offered.map(|(known, _, _)| known.to_string()).collect();
        return Err(Judgement::unservable(
            "interval_unknown",
            format!("tiingo: expected an interval of {}, found {interval}", valid.join(", ")),
        ));
    };
    let request = match class {
        Class::Equity if !is_intraday(interval) => {
            Request::get(format!("/tiingo/daily/{native}/prices")).param("resampleFreq", daily)
        }
        Class::Equity => Request::get(format!("/iex/{native}/prices"))
            .param("resampleFreq", word)
            .param("columns", "open,high,low,close,volume"),
        Class::Crypto => Request::get("/tiingo/crypto/prices").param("tickers", native).param("resampleFreq", word),
        Class::Currency => Request::get(format!("/tiingo/fx/{native}/prices")).param("resampleFreq", word),
    };
    let length = interval.duration().unwrap_or(MONTH);
    let rows = cx.query.limit.unwrap_or(ROWS).clamp(1, ROWS_MAX);
    let span =
        cx.query.range.unwrap_or(TimeRange { from: cx.now.saturating_sub(length.saturating_mul(rows)), to: cx.now });
    Ok(request.param("startDate", times::date(span.from)).param("endDate", times::date(span.to)))
}

fn is_intraday(interval: Interval) -> bool {
    matches!(interval.unit(), IntervalUnit::Second | IntervalUnit::Minute | IntervalUnit::Hour)
}

fn news_limit(cx: &Context<'_>) -> u32 {
    cx.query.limit.unwrap_or(NEWS_ROWS).clamp(1, NEWS_ROWS_MAX)
}

fn unserved(kind: Kind) -> Judgement {
    Judgement::unservable("kind_unknown", format!("tiingo: has no {kind}"))
}

/// Judges an answer that is no list: an object with `detail`, or a plain text beginning with `Error:`.
fn refusal(answer: &Answer) -> Judgement {
    #[derive(Deserialize)]
    struct Refusal {
        detail: String,
    }
    let detail = json::plain(&answer.body).read::<Refusal>().ok().map(|body| body.detail);
    let message = detail.clone().unwrap_or_else(|| answer.excerpt(300));
    let judgement = by_status(answer, Some(&listing::mask_keys(&message)));
    let words = message.to_ascii_lowercase();
    let told = detail.is_some() || words.starts_with("error");
    let (verdict, reason) = match answer.status {
        _ if told && words.contains("you have run over") => (Verdict::RateLimited, "requests"),
        429 => (Verdict::RateLimited, "requests"),
        401 => (Verdict::Unauthorized, "key"),
        _ if told && (words.contains("invalid token") || words.contains("supply a token")) => {
            (Verdict::Unauthorized, "key")
        }
        403 => (Verdict::Unauthorized, "plan"),
        _ if told && words.contains("do not have permission") => (Verdict::Unauthorized, "plan"),
        404 => (Verdict::NotFound, "symbol_unknown"),
        _ if told && words.contains("not found") => (Verdict::NotFound, "symbol_unknown"),
        400 => (Verdict::BadRequest, "argument"),
        200..=299 if told => (Verdict::BadRequest, "argument"),
        200..=299 => return Judgement::malformed(format!("expected a list, found {:?}", answer.excerpt(80))),
        _ => (judgement.verdict, judgement.reason),
    };
    let wait = match verdict {
        Verdict::RateLimited if words.contains("daily") => Some(DAY),
        Verdict::RateLimited => Some(HOUR),
        _ => None,
    };
    Judgement { verdict, reason, retry_after: judgement.retry_after.or(wait), ..judgement }
}

const KEY: &str = "TIINGO_API_KEY";
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(31 * 86_400);
/// Rows asked for when the query names no number and no time.
const ROWS: u32 = 60;
const ROWS_MAX: u32 = 10_000;
const NEWS_ROWS: u32 = 100;
const NEWS_ROWS_MAX: u32 = 1_000;

/// Each interval with the word for end-of-day prices and the word for the other paths; empty where they have none.
const INTERVALS: &[(Interval, &str, &str)] = &[
    (Interval::MINUTE, "", "1min"),
    (Interval::new(5, IntervalUnit::Minute), "", "5min"),
    (Interval::new(15, IntervalUnit::Minute), "", "15min"),
    (Interval::new(30, IntervalUnit::Minute), "", "30min"),
    (Interval::HOUR, "", "1hour"),
    (Interval::new(4, IntervalUnit::Hour), "", "4hour"),
    (Interval::DAY, "daily", "1day"),
    (Interval::WEEK, "weekly", ""),
    (Interval::MONTH, "monthly", ""),
];

static SPEC: Spec = Spec {
    id: SourceId("tiingo"),
    title: "Tiingo",
    bases: &[Base { name: "api", url: "https://api.tiingo.com" }],
    kinds: &[
        KindSpec { kind: Kind::Ticker, batching: Batching::Many(100), ..KIND },
        KindSpec {
            kind: Kind::Bar,
            intervals: &[
                INTERVALS[0].0,
                INTERVALS[1].0,
                INTERVALS[2].0,
                INTERVALS[3].0,
                INTERVALS[4].0,
                INTERVALS[5].0,
                INTERVALS[6].0,
                INTERVALS[7].0,
                INTERVALS[8].0,
            ],
            past: Past::ranged(ROWS_MAX),
            every: Duration::from_secs(10),
            examples: &["AAPL", "BTC-USD"],
            ..KIND
        },
        KindSpec {
            kind: Kind::News,
            batching: Batching::Optional,
            past: Past::ranged(NEWS_ROWS_MAX),
            every: Duration::from_secs(10),
            examples: &["AAPL"],
            ..KIND
        },
    ],
    credentials: &[Credential { variable: KEY, about: "API token", simulated: "simulated-tiingo-key" }],
    tiers: &[
        Tier {
            name: "free",
            windows: &[
                WindowSpec { bucket: "", limit: 50, per: HOUR, shape: WindowShape::Fixed },
                WindowSpec { bucket: "", limit: 1_000, per: DAY, shape: WindowShape::Fixed },
            ],
        },
        Tier {
            name: "power",
            windows: &[
                WindowSpec { bucket: "", limit: 10_000, per: HOUR, shape: WindowShape::Fixed },
                WindowSpec { bucket: "", limit: 100_000, per: DAY, shape: WindowShape::Fixed },
            ],
        },
    ],
    scope: QuotaScope::Key,
    samples: samples!(
        "tiingo",
        "crypto_prices.json",
        "crypto_top.json",
        "daily_prices.json",
        "error_401.json",
        "fx_prices.json",
        "iex_prices.json",
        "iex_top.json",
        "news.json",
    ),
    routes: include_str!("samples/tiingo/routes.toml"),
    evidence: Evidence::Mixed,
    quota_docs: "50 requests an hour, 1,000 a day; Power 10,000 and 100,000 (tiingo.com/about/pricing, as reported, 2026-11-25)",
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
    fn tickers_of_equities_share_an_answer() {
        let query = apple(Kind::Ticker).symbol("BRK.B");
        testing::check(
            &Tiingo,
            &query,
            "iex_top.json",
            json!([
                {"source": "tiingo", "kind": "ticker", "symbol": "AAPL", "native": "AAPL", "ts_event": 1_767_214_799_998_765_432_i64,
                 "data": {"last": "271.86", "last_size": "100", "open": "273.06", "high": "273.68", "low": "271.75", "prev_close": "273.08",
                          "volume": "27293639", "bid": "271.8", "bid_size": "200", "ask": "271.91", "ask_size": "300"}},
                // Without the exchange's agreement the provider's own last price stands in.
                {"source": "tiingo", "kind": "ticker", "symbol": "BRK.B", "native": "BRK-B", "ts_event": 1_767_214_800_000_000_000_i64,
                 "data": {"last": "502.65", "open": "501.1", "high": "504.01", "low": "500.2", "prev_close": "500.87", "volume": "3120044"}}
            ]),
        );
        testing::check_bad_bodies(&Tiingo, &query, "iex_top.json");
    }

    #[test]
    fn tickers_of_crypto_pairs_name_both_sides() {
        testing::check(
            &Tiingo,
            &Query::new(Kind::Ticker),
            "crypto_top.json",
            json!([{"source": "tiingo", "kind": "ticker", "symbol": "BTC-USD", "native": "btcusd", "ts_event": 1_767_225_598_712_000_000_i64,
                    "data": {"last": "87648.22", "last_size": "0.001338", "bid": "87648.21", "bid_size": "2.88067305",
                             "ask": "87651.02", "ask_size": "0.00000004"}}]),
        );
        testing::check_bad_bodies(&Tiingo, &Query::new(Kind::Ticker).symbol("BTC-USD"), "crypto_top.json");
    }

    #[test]
    fn the_last_day_serves_as_a_ticker() {
        let found =
            testing::decode(&Tiingo, &apple(Kind::Ticker), 200, SPEC.sample("daily_prices.json").unwrap()).unwrap();
        assert_eq!(
            found,
            vec![
                json!({"source": "tiingo", "kind": "ticker", "symbol": "AAPL", "native": "AAPL", "ts_event": 1_767_139_200_000_000_000_i64,
                        "data": {"last": "271.86", "open": "273.06", "high": "273.68", "low": "271.75", "volume": "27293639"}})
            ]
        );
    }

    fn bar(names: (&str, &str), interval: &str, span: (i64, i64), fields: serde_json::Value) -> serde_json::Value {
        let (start, end) = (span.0 * 1_000_000_000, (span.0 + span.1) * 1_000_000_000);
        let mut data = json!({"interval": interval, "start": start, "end": end, "closed": true});
        data.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"source": "tiingo", "kind": "bar", "symbol": names.0, "native": names.1, "ts_event": end, "data": data})
    }

    #[test]
    fn bars_of_every_class() {
        let equity = ("AAPL", "AAPL");
        let daily = apple(Kind::Bar).interval(Interval::DAY);
        testing::check(
            &Tiingo,
            &daily,
            "daily_prices.json",
            json!([
                bar(
                    equity,
                    "1d",
                    (1_767_052_800, 86_400),
                    json!({"open": "272.81", "high": "274.08", "low": "272.28", "close": "273.0", "volume": "22139600"})
                ),
                bar(
                    equity,
                    "1d",
                    (1_767_139_200, 86_400),
                    json!({"open": "273.06", "high": "273.68", "low": "271.75", "close": "271.86", "volume": "27293639"})
                ),
            ]),
        );
        let half_hour = Interval::new(30, IntervalUnit::Minute);
        testing::check(
            &Tiingo,
            &apple(Kind::Bar).interval(half_hour),
            "iex_prices.json",
            json!([
                bar(
                    equity,
                    "30m",
                    (1_767_211_200, 1_800),
                    json!({"open": "272.5", "high": "272.845", "low": "272.2", "close": "272.31", "volume": "20114"})
                ),
                bar(
                    equity,
                    "30m",
                    (1_767_213_000, 1_800),
                    json!({"open": "272.31", "high": "272.4", "low": "271.75", "close": "271.86", "volume": "31862"})
                ),
            ]),
        );
        testing::check(
            &Tiingo,
            &Query::new(Kind::Bar).symbol("BTC-USD").interval(Interval::DAY),
            "crypto_prices.json",
            json!([bar(
                ("BTC-USD", "btcusd"),
                "1d",
                (1_767_139_200, 86_400),
                json!({
                "open": "88430.12", "high": "89210.0084545", "low": "87130.55", "close": "87648.2227369997", "volume": "5210.441226739997",
                "quote_volume": "458212034.75066727", "trades": 214_889})
            )]),
        );
        testing::check(
            &Tiingo,
            &Query::new(Kind::Bar).symbol("EUR-USD").interval(Interval::DAY),
            "fx_prices.json",
            json!([bar(
                ("EUR-USD", "eurusd"),
                "1d",
                (1_767_139_200, 86_400),
                json!({
                "open": "1.1747", "high": "1.1759", "low": "1.173", "close": "1.17464"})
            )]),
        );
        for sample in ["daily_prices.json", "iex_prices.json", "crypto_prices.json", "fx_prices.json"] {
            testing::check_bad_bodies(&Tiingo, &daily, sample);
        }
    }

    #[test]
    fn what_only_the_query_knows_is_left_out() {
        let body = r#"[{"date":"2025-12-31T00:00:00.000Z","open":1,"high":2,"low":1,"close":2},{"date":"2026-01-01","open":null,"high":2,"low":1,"close":2}]"#;
        let found = testing::decode(&Tiingo, &Query::new(Kind::Bar), 200, body).unwrap();
        let start = 1_767_139_200_000_000_000_i64;
        assert_eq!(
            found,
            vec![json!({"source": "tiingo", "kind": "bar", "ts_event": start,
                        "data": {"start": start, "open": "1", "high": "2", "low": "1", "close": "2"}})]
        );
        let missing = testing::decode(
            &Tiingo,
            &Query::new(Kind::Bar),
            200,
            r#"[{"date":"2026-01-01","high":2,"low":1,"close":2}]"#,
        );
        assert!(missing.unwrap_err().message.starts_with("[0]: missing field `open`"));
        // A week is named by its Friday.
        let week = apple(Kind::Bar).interval(Interval::WEEK);
        let found = testing::decode(
            &Tiingo,
            &week,
            200,
            r#"[{"date":"2025-12-26T00:00:00+00:00","open":1,"high":1,"low":1,"close":1}]"#,
        );
        assert_eq!(found.unwrap()[0]["data"]["start"], 1_766_361_600_000_000_000_i64);
    }

    #[test]
    fn news_name_their_instruments() {
        testing::check(
            &Tiingo,
            &Query::new(Kind::News),
            "news.json",
            json!([{"source": "tiingo", "kind": "news", "ts_event": 1_767_222_780_000_000_000_i64,
                    "data": {"id": "71200345", "headline": "Conglomerates at year's end", "summary": "What the big ones hold.",
                             "url": "https://www.example.com/2025/12/31/conglomerates.html", "publisher": "example.com", "symbols": ["BRK.B", "AAPL"]}}]),
        );
        testing::check_bad_bodies(&Tiingo, &apple(Kind::News), "news.json");
        let found = testing::decode(&Tiingo, &apple(Kind::News), 200, SPEC.sample("news.json").unwrap()).unwrap();
        assert_eq!((&found[0]["symbol"], &found[0]["native"]), (&json!("AAPL"), &json!("AAPL")));
        assert!(testing::decode(&Tiingo, &apple(Kind::News), 200, "[]").unwrap().is_empty());
    }

    #[test]
    fn requests_carry_the_token_in_a_header() {
        let target = |query: &Query| testing::request(&Tiingo, query).unwrap().target().to_owned();
        assert_eq!(target(&apple(Kind::Ticker).symbol("BRK.B")), "/iex/?tickers=AAPL,BRK-B");
        assert_eq!(target(&Query::new(Kind::Ticker).symbol("BTC-USD")), "/tiingo/crypto/top?tickers=btcusd");
        assert_eq!(
            target(&apple(Kind::Bar).limit(2)),
            "/tiingo/daily/AAPL/prices?resampleFreq=daily&startDate=2025-12-31&endDate=2026-01-02"
        );
        assert_eq!(
            target(&apple(Kind::Bar).interval(Interval::MINUTE)),
            "/iex/AAPL/prices?resampleFreq=1min&columns=open,high,low,close,volume&startDate=2026-01-02&endDate=2026-01-02"
        );
        assert_eq!(
            target(&Query::new(Kind::Bar).symbol("BTC-USD").interval(Interval::HOUR).limit(1)),
            "/tiingo/crypto/prices?tickers=btcusd&resampleFreq=1hour&startDate=2026-01-02&endDate=2026-01-02"
        );
        assert_eq!(
            target(&Query::new(Kind::Bar).symbol("EUR-USD").limit(1)),
            "/tiingo/fx/eurusd/prices?resampleFreq=1day&startDate=2026-01-01&endDate=2026-01-02"
        );
        assert_eq!(
            target(&apple(Kind::News).limit(5).cursor("5")),
            "/tiingo/news?tickers=aapl&limit=5&offset=5&sortBy=publishedDate"
        );
        let request = testing::request(&Tiingo, &apple(Kind::Ticker)).unwrap();
        assert_eq!(
            (request.headers[0].0, request.headers[0].1.as_str()),
            ("authorization", "Token simulated-tiingo-key")
        );
        assert_eq!(request.redact("bad token simulated-tiingo-key"), "bad token ***");
        let refused = |query: Query| testing::request(&Tiingo, &query).unwrap_err().reason;
        assert_eq!(refused(apple(Kind::Ticker).symbol("BTC-USD")), "symbol_mix");
        assert_eq!(refused(Query::new(Kind::Ticker).symbol("EUR-USD")), "symbol_form");
        assert_eq!(refused(Query::new(Kind::Bar).symbol("BTC-USD").interval(Interval::WEEK)), "interval_unknown");
        assert_eq!(refused(apple(Kind::Bar).interval(Interval::new(7, IntervalUnit::Minute))), "interval_unknown");
    }

    #[test]
    fn refusals_are_told_apart() {
        let check =
            |status, body, expected| testing::check_verdict(&Tiingo, &apple(Kind::Ticker), status, body, expected);
        check(401, r#"{"detail":"Invalid token."}"#, (Verdict::Unauthorized, "key"));
        check(
            403,
            r#"{"detail":"You do not have permission to access the News API"}"#,
            (Verdict::Unauthorized, "plan"),
        );
        check(404, r#"{"detail":"Not found."}"#, (Verdict::NotFound, "symbol_unknown"));
        check(200, r#"{"detail":"Not found."}"#, (Verdict::NotFound, "symbol_unknown"));
        check(200, "[]", (Verdict::NotFound, "symbol_unknown"));
        check(400, "Error: resampleFreq must be in min", (Verdict::BadRequest, "argument"));
        check(429, "", (Verdict::RateLimited, "requests"));
        check(503, "<html>", (Verdict::UpstreamError, "http_5xx"));
        check(200, "<html>", (Verdict::Malformed, "html_page"));
        let wait = |text: &str| testing::decode(&Tiingo, &apple(Kind::Ticker), 200, text).unwrap_err().retry_after;
        assert_eq!(wait("Error: You have run over your hourly request allocation."), Some(HOUR));
        assert_eq!(wait("Error: You have run over your daily request allocation."), Some(DAY));
    }
}
