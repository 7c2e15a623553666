//! NewsAPI. Facts: newsapi.org/docs (everything, top-headlines, errors), and recorded answers. It knows no instruments: a
//! symbol is searched for by its text, and news without one are the top headlines. Invariant: a body is data only when it
//! says `ok`, whatever the status.

use std::time::Duration;

use compact_str::{CompactString, format_compact};
use serde::Deserialize;

use crate::model::{Data, Judgement, Kind, Native, News, SourceId, Symbol, Verdict};
use crate::source::listing::{self, filled};
use crate::source::spec::samples;
use crate::source::{
    Base, Batch, Batching, Context, Credential, Evidence, KeyUse, KindSpec, Past, QuotaScope, Source, Spec, State,
    Tier, WindowShape, WindowSpec, by_status,
};
use crate::wire::{Answer, Request, json, times};

/// The source.
pub struct NewsApi;

impl Source for NewsApi {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn native(&self, _kind: Kind, symbol: &Symbol, _state: &State) -> Result<Native, Judgement> {
        let name = symbol.as_str();
        if name.is_empty() || name.len() > QUERY_BYTES_MAX {
            return Err(Judgement::unservable(
                "symbol_form",
                format!(
                    "newsapi: expected a text to search for such as AAPL, of 1 to {QUERY_BYTES_MAX} bytes, found {name:?}"
                ),
            ));
        }
        Ok(Native::new(name))
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        if cx.query.kind != Kind::News {
            return Err(Judgement::unservable("kind_unknown", format!("newsapi: has no {}", cx.query.kind)));
        }
        let key = cx.secret(KEY)?;
        let request = match cx.natives.as_slice() {
            [] => Request::get("/v2/top-headlines").param("category", "business").param("country", "us"),
            _ => {
                let span = cx.query.range;
                Request::get("/v2/everything")
                    .param("q", format_args!("\"{}\"", cx.only_native()?.replace('"', "")))
                    .param_opt("from", span.map(|span| iso(span.from)))
                    .param_opt("to", span.map(|span| iso(span.to)))
                    .param("sortBy", "publishedAt")
            }
        };
        Ok(request
            .param("pageSize", page_size(cx))
            .param_opt("page", cx.query.cursor.as_ref())
            .header_secret("x-api-key", key.expose()))
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        if cx.query.kind != Kind::News {
            return Err(Judgement::unservable("kind_unknown", format!("newsapi: has no {}", cx.query.kind)));
        }
        let body: Body = json::plain(&answer.body).read()?;
        match body.status.as_str() {
            "ok" => {}
            "error" => return Err(refusal(answer, &body)),
            other => return Err(Judgement::malformed(format!("status: expected ok or error, found {other:?}"))),
        }
        let articles = body
            .articles
            .ok_or_else(|| Judgement::malformed("articles: expected a list of articles, found nothing"))?;
        let rows = articles.len() as u64;
        for (at, article) in articles.into_iter().enumerate() {
            push(cx, at, article, out)?;
        }
        let size = u64::from(page_size(cx));
        let page = cx.query.cursor.as_deref().and_then(|page| page.parse().ok()).unwrap_or(1_u64);
        let more = rows >= size && body.total_results.is_some_and(|total| page.saturating_mul(size) < total);
        Ok(more.then(|| format_compact!("{}", page + 1)))
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        match json::plain(&answer.body).read::<Body>() {
            Ok(body) if body.code.is_some() => refusal(answer, &body),
            _ => {
                let judgement = by_status(answer, None);
                let wait = (judgement.verdict == Verdict::RateLimited).then_some(COOL_DOWN);
                Judgement { retry_after: judgement.retry_after.or(wait), ..judgement }
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    status: CompactString,
    total_results: Option<u64>,
    articles: Option<Vec<Article>>,
    code: Option<CompactString>,
    message: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Article {
    source: Option<Publisher>,
    author: Option<String>,
    title: Option<String>,
    description: Option<String>,
    url: Option<String>,
    published_at: Option<CompactString>,
}

#[derive(Deserialize)]
struct Publisher {
    name: Option<String>,
}

fn push(cx: &Context<'_>, at: usize, article: Article, out: &mut Batch) -> Result<(), Judgement> {
    if article.title.as_deref() == Some(REMOVED) {
        return Ok(());
    }
    let news = News {
        headline: filled(article.title),
        summary: filled(article.description),
        url: filled(article.url),
        publisher: article.source.and_then(|source| filled(source.name)),
        authors: filled(article.author).into_iter().collect(),
        ..News::default()
    };
    if news.headline.is_none() && news.url.is_none() {
        return Err(Judgement::malformed(format!(
            "articles[{at}].title: expected a headline or an address, found neither"
        )));
    }
    let ts_event = article.published_at.map(|text| times::rfc3339("publishedAt", &text)).transpose()?;
    let (symbol, native) = cx.only().unzip();
    out.push(symbol.cloned(), native.cloned(), ts_event, Data::News(Box::new(news)));
    Ok(())
}

fn page_size(cx: &Context<'_>) -> u32 {
    cx.query.limit.unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX)
}

fn iso(at: crate::time::UnixNanos) -> String {
    jiff::Timestamp::from_second(at.as_secs()).unwrap_or_default().to_string()
}

/// Judges by the envelope's code, which may come under HTTP 200.
fn refusal(answer: &Answer, body: &Body) -> Judgement {
    let code = body.code.as_deref().unwrap_or_default();
    let judgement = by_status(answer, Some(&listing::mask_keys(body.message.as_deref().unwrap_or(code))));
    let (verdict, reason) = match code {
        "apiKeyMissing" | "apiKeyInvalid" | "apiKeyDisabled" => (Verdict::Unauthorized, "key"),
        "apiKeyExhausted" | "rateLimited" => (Verdict::RateLimited, "requests"),
        "maximumResultsReached" | "corsNotAllowed" => (Verdict::Unauthorized, "plan"),
        // Under 426 the parameter is right and the plan does not reach that far.
        _ if answer.status == 426 => (Verdict::Unauthorized, "plan"),
        "parameterInvalid" | "parametersMissing" | "parametersIncompatible" | "sourcesTooMany" => {
            (Verdict::BadRequest, "argument")
        }
        "sourceDoesNotExist" => (Verdict::NotFound, "publisher_unknown"),
        "unexpectedError" => (Verdict::UpstreamError, "provider"),
        _ if answer.is_success() => (Verdict::Malformed, "error_unknown"),
        _ => (judgement.verdict, judgement.reason),
    };
    let wait = (verdict == Verdict::RateLimited).then_some(COOL_DOWN);
    Judgement { verdict, reason, retry_after: judgement.retry_after.or(wait), ..judgement }
}

const KEY: &str = "NEWSAPI_API_KEY";
/// The headline of a story that its publisher has withdrawn.
const REMOVED: &str = "[Removed]";
const ROWS_MAX: u32 = 100;
const QUERY_BYTES_MAX: usize = 400;
/// Requests come back hours later, not seconds.
const COOL_DOWN: Duration = Duration::from_secs(3_600);
const HALF_DAY: Duration = Duration::from_secs(43_200);

static SPEC: Spec = Spec {
    id: SourceId("newsapi"),
    title: "NewsAPI",
    bases: &[Base { name: "api", url: "https://newsapi.org" }],
    kinds: &[KindSpec {
        kind: Kind::News,
        key: KeyUse::Required,
        batching: Batching::Optional,
        whole_market: false,
        intervals: &[],
        past: Past::ranged(ROWS_MAX),
        every: Duration::from_secs(22),
        examples: &["AAPL", "MSFT"],
    }],
    credentials: &[Credential { variable: KEY, about: "API key", simulated: "simulated-newsapi-key" }],
    tiers: &[
        Tier {
            name: "free",
            windows: &[
                WindowSpec { bucket: "", limit: 50, per: HALF_DAY, shape: WindowShape::Rolling },
                WindowSpec { bucket: "", limit: 100, per: HALF_DAY.saturating_mul(2), shape: WindowShape::Rolling },
            ],
        },
        Tier {
            name: "business",
            windows: &[WindowSpec {
                bucket: "",
                limit: 250_000,
                per: Duration::from_secs(30 * 86_400),
                shape: WindowShape::Rolling,
            }],
        },
    ],
    scope: QuotaScope::Key,
    samples: samples!("newsapi", "error_key.json", "everything.json"),
    routes: include_str!("samples/newsapi/routes.toml"),
    evidence: Evidence::Recorded,
    quota_docs: "100 requests over 24 hours, 50 over 12 (the text of its rateLimited error, 2026-11-25); business from 250,000 a month",
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Query;
    use crate::source::testing;
    use crate::time::UnixNanos;

    fn apple() -> Query {
        Query::new(Kind::News).symbol("AAPL")
    }

    #[test]
    fn articles_carry_the_symbol_searched_for() {
        testing::check(
            &NewsApi,
            &apple(),
            "everything.json",
            json!([
                {"source": "newsapi", "kind": "news", "symbol": "AAPL", "native": "AAPL", "ts_event": 1_767_224_280_000_000_000_i64,
                 "data": {"headline": "Phone makers \u{2013} a look ahead", "summary": "What to expect of the year.",
                          "url": "https://www.example.com/2025/12/31/phones.html", "publisher": "Example News", "authors": ["Jane Roe, John Doe"]}},
                {"source": "newsapi", "kind": "news", "symbol": "AAPL", "native": "AAPL", "ts_event": 1_767_220_620_000_000_000_i64,
                 "data": {"headline": "Stocks end the year higher", "url": "https://news.example.org/stocks", "publisher": "Example Wire"}}
            ]),
        );
        testing::check_bad_bodies(&NewsApi, &apple(), "everything.json");
        let general =
            testing::decode(&NewsApi, &Query::new(Kind::News), 200, NewsApi.spec().sample("everything.json").unwrap());
        assert!(general.unwrap()[0].get("symbol").is_none());
    }

    #[test]
    fn removed_stories_are_dropped_and_bare_ones_refused() {
        let body = |title: &str| format!(r#"{{"status":"ok","totalResults":1,"articles":[{{"title":{title}}}]}}"#);
        let decode = |title| testing::decode(&NewsApi, &apple(), 200, &body(title));
        assert_eq!(decode("\"[Removed]\"").unwrap().len(), 0);
        assert_eq!(decode("\"A\"").unwrap().len(), 1);
        assert!(decode("null").unwrap_err().message.starts_with("articles[0].title"));
        assert!(decode("17").unwrap_err().message.starts_with("articles[0].title"));
        assert!(
            testing::decode(&NewsApi, &apple(), 200, r#"{"status":"ok","totalResults":0,"articles":[]}"#)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_full_page_names_the_next() {
        let credentials = testing::credentials(&NewsApi);
        let check = |total: u32, cursor: Option<&str>, expected: Option<&str>| {
            let mut query = apple().limit(1);
            query.cursor = cursor.map(CompactString::from);
            let state = State::default();
            let cx = Context::new(&NewsApi, &query, &state, &credentials, "", testing::NOW).unwrap();
            let body = format!(r#"{{"status":"ok","totalResults":{total},"articles":[{{"title":"A"}}]}}"#);
            let next = NewsApi.decode(&cx, &Answer::new(200, body), &mut Batch::new(SPEC.id, testing::NOW)).unwrap();
            assert_eq!(next.as_deref(), expected, "{total}");
        };
        check(2, None, Some("2"));
        check(1, None, None);
        check(3, Some("2"), Some("3"));
        check(2, Some("2"), None);
    }

    #[test]
    fn requests_carry_the_key_in_a_header() {
        let target = |query: &Query| testing::request(&NewsApi, query).unwrap().target().to_owned();
        assert_eq!(target(&Query::new(Kind::News)), "/v2/top-headlines?category=business&country=us&pageSize=100");
        assert_eq!(target(&apple().limit(5)), "/v2/everything?q=%22AAPL%22&sortBy=publishedAt&pageSize=5");
        let at = |secs| UnixNanos::from_secs(secs).unwrap();
        assert_eq!(
            target(&apple().range(at(1_767_225_600), at(1_767_229_200)).cursor("2")),
            "/v2/everything?q=%22AAPL%22&from=2026-01-01T00:00:00Z&to=2026-01-01T01:00:00Z&sortBy=publishedAt&pageSize=100&page=2"
        );
        let request = testing::request(&NewsApi, &apple()).unwrap();
        assert_eq!((request.headers[0].0, request.headers[0].1.as_str()), ("x-api-key", "simulated-newsapi-key"));
        assert!(testing::request(&NewsApi, &Query::new(Kind::News).symbol("")).is_err());
    }

    #[test]
    fn refusals_are_told_apart() {
        let check = |status, code: &str, expected| {
            let body = json!({"status": "error", "code": code, "message": "As the provider says."}).to_string();
            testing::check_verdict(&NewsApi, &apple(), status, &body, expected);
        };
        for status in [200, 401] {
            check(status, "apiKeyInvalid", (Verdict::Unauthorized, "key"));
            check(status, "rateLimited", (Verdict::RateLimited, "requests"));
        }
        check(426, "parameterInvalid", (Verdict::Unauthorized, "plan"));
        check(426, "maximumResultsReached", (Verdict::Unauthorized, "plan"));
        check(400, "parameterInvalid", (Verdict::BadRequest, "argument"));
        check(400, "sourceDoesNotExist", (Verdict::NotFound, "publisher_unknown"));
        check(500, "unexpectedError", (Verdict::UpstreamError, "provider"));
        check(200, "somethingElse", (Verdict::Malformed, "error_unknown"));
        testing::check_verdict(&NewsApi, &apple(), 502, "<html>", (Verdict::UpstreamError, "http_5xx"));
        let limited = testing::decode(&NewsApi, &apple(), 429, "").unwrap_err();
        assert_eq!((limited.verdict, limited.retry_after), (Verdict::RateLimited, Some(COOL_DOWN)));
    }
}
