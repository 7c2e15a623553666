//! GDELT: news of the whole world, from the DOC 2.0 API.
//! Facts: blog.gdeltproject.org, "GDELT DOC 2.0 API Debuts!", and replies of 2026. An article's time is when GDELT saw
//! it, on a grid of 15 minutes; it is found by words, and no instrument is named in it. Refusals come as plain text
//! under 200 as well as under 429. Titles may hold characters that JSON forbids; they are repaired before the reading.

use std::time::Duration;

use compact_str::CompactString;
use serde::Deserialize;

use crate::model::{Data, Judgement, Kind, Native, News, SourceId, Symbol, Verdict};
use crate::source::spec::samples;
use crate::source::{
    Base, Batch, Batching, Context, Evidence, KeyUse, KindSpec, Past, QuotaScope, Source, Spec, State, Tier,
    WindowShape, WindowSpec, by_status,
};
use crate::time::UnixNanos;
use crate::wire::{Answer, Request, json, times};

/// The source.
pub struct Gdelt;

impl Source for Gdelt {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    /// The words to search for: the symbol itself.
    fn native(&self, _kind: Kind, symbol: &Symbol, _state: &State) -> Result<Native, Judgement> {
        let words = symbol.as_str().trim();
        // Shorter keywords are refused, quotes and brackets are operators.
        if words.chars().count() >= 3 && !words.contains(['"', '(', ')']) {
            return Ok(Native::new(words));
        }
        Err(Judgement::unservable(
            "symbol_form",
            format!("gdelt: expected words of at least three letters to search for, such as bitcoin, found {symbol:?}"),
        ))
    }

    fn request(&self, cx: &Context<'_>) -> Result<Request, Judgement> {
        let query = cx.query;
        let words = match cx.natives.as_slice() {
            [] => GENERAL.to_owned(),
            [one] => format!("\"{one}\""),
            _ => cx.only_native()?.to_owned(),
        };
        let mut request = Request::get("/api/v2/doc/doc")
            .param("query", words)
            .param("mode", "ArtList")
            .param("format", "json")
            .param("sort", "DateDesc")
            .param("maxrecords", rows_max(cx));
        if let Some(range) = query.range {
            let end = times::stamp(range.to.saturating_sub(Duration::from_nanos(1)), STAMP);
            request = request
                .param("startdatetime", times::stamp(range.from, STAMP))
                .param("enddatetime", query.cursor.as_deref().unwrap_or(&end));
        }
        Ok(request)
    }

    fn decode(&self, cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
        if let Some(judgement) = notice(answer) {
            return Err(judgement);
        }
        let page: Page = match json::plain(&answer.body).read() {
            Ok(page) => page,
            Err(first) => json::plain(&repaired(&answer.body)).read().map_err(|_| first)?,
        };
        let Some(articles) = page.articles else {
            // Nothing found is an object without fields.
            return match page.fields {
                0 => Ok(None),
                _ => Err(Judgement::malformed("articles: expected a list, found nothing")),
            };
        };
        let rows = articles.len() as u32;
        let mut oldest: Option<UnixNanos> = None;
        for (index, article) in articles.into_iter().flatten().enumerate() {
            let text = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
            let seen = article.seendate.map(|text| times::pattern("articles.seendate", &text, SEEN)).transpose()?;
            oldest = [oldest, seen].into_iter().flatten().min();
            let news = News {
                headline: text(article.title),
                url: text(article.url),
                publisher: text(article.domain),
                language: article.language.filter(|name| !name.is_empty()),
                ..News::default()
            };
            if news.headline.is_none() && news.url.is_none() {
                return Err(Judgement::malformed(format!("articles[{index}]: expected a title or url, found neither")));
            }
            let only = cx.only();
            let (symbol, native) = (only.map(|(symbol, _)| symbol.clone()), only.map(|(_, native)| native.clone()));
            out.push(symbol, native, seen, Data::News(Box::new(news)));
        }
        Ok(oldest.filter(|_| rows >= rows_max(cx)).and_then(|oldest| older(cx, oldest)))
    }

    fn classify(&self, _cx: &Context<'_>, answer: &Answer) -> Judgement {
        notice(answer).unwrap_or_else(|| match answer.status {
            429 => by_status(answer, None).retry_after(Some(answer.retry_after().unwrap_or(PENALTY))),
            _ => by_status(answer, None),
        })
    }
}

/// The list of articles. Counts its fields, to tell an empty answer from one of another shape.
struct Page {
    articles: Option<Vec<Option<Article>>>,
    fields: usize,
}

impl<'de> Deserialize<'de> for Page {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Page;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Page, A::Error> {
                let mut page = Page { articles: None, fields: 0 };
                while let Some(key) = map.next_key::<String>()? {
                    page.fields += 1;
                    if key == "articles" {
                        page.articles = Some(map.next_value()?);
                    } else {
                        map.next_value::<serde::de::IgnoredAny>()?;
                    }
                }
                Ok(page)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[derive(Deserialize)]
struct Article {
    url: Option<String>,
    title: Option<String>,
    /// `20240615T170000Z`
    seendate: Option<String>,
    domain: Option<String>,
    language: Option<CompactString>,
}

/// What a body of plain text says; `None` for JSON and for pages.
fn notice(answer: &Answer) -> Option<Judgement> {
    if answer.looks_like_json()
        && answer.body.first().is_some_and(|byte| matches!(byte, b'{' | b'[' | b' ' | b'\n' | b'\r'))
    {
        return None;
    }
    let text = answer.excerpt(300);
    let lower = text.to_lowercase();
    if lower.contains("limit requests to one every") {
        let after = answer.retry_after().unwrap_or(PENALTY);
        return Some(Judgement::new(Verdict::RateLimited, "notice", text).retry_after(Some(after)));
    }
    let is_refusal = ["keywords were too short", "your query was too", "invalid", "unsupported"]
        .iter()
        .any(|phrase| lower.contains(phrase));
    let is_client_side = answer.is_success() || answer.status == 400;
    (is_refusal && is_client_side && !lower.starts_with('<'))
        .then(|| Judgement::new(Verdict::BadRequest, "query", text))
}

/// The end of the next page: there are no pages but spans of time, whose end is inclusive.
fn older(cx: &Context<'_>, oldest: UnixNanos) -> Option<CompactString> {
    let range = cx.query.range?;
    let next: CompactString = times::stamp(oldest, STAMP).into();
    // A grid point with more articles than a page holds is left behind, so that the pages come to an end.
    if cx.query.cursor.as_ref() != Some(&next) {
        return Some(next);
    }
    let before = oldest.saturating_sub(Duration::from_secs(1));
    (before >= range.from).then(|| times::stamp(before, STAMP).into())
}

fn rows_max(cx: &Context<'_>) -> u32 {
    cx.query.limit.unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX)
}

/// Inside strings: backslashes that begin no escape are doubled, control characters become spaces.
fn repaired(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 16);
    let mut is_text = false;
    let mut bytes = body.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => is_text = !is_text,
            b'\\' if is_text => match bytes.peek().copied() {
                Some(next @ (b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' | b'u')) => {
                    out.extend_from_slice(&[b'\\', next]);
                    bytes.next();
                    continue;
                }
                _ => out.push(b'\\'),
            },
            0..=0x1F if is_text => {
                out.push(b' ');
                continue;
            }
            _ => {}
        }
        out.push(byte);
    }
    out
}

const SEEN: &str = "%Y%m%dT%H%M%SZ";
const STAMP: &str = "%Y%m%d%H%M%S";
/// A hard cap of the provider.
const ROWS_MAX: u32 = 250;
/// Probes before a minute has passed prolong the penalty, by several reports.
const PENALTY: Duration = Duration::from_secs(60);
/// General news: the provider takes no query without a term.
const GENERAL: &str = "theme:ECON_STOCKMARKET sourcelang:english";

static SPEC: Spec = Spec {
    id: SourceId("gdelt"),
    title: "GDELT",
    bases: &[Base { name: "api", url: "https://api.gdeltproject.org" }],
    kinds: &[KindSpec {
        kind: Kind::News,
        key: KeyUse::None,
        batching: Batching::Optional,
        whole_market: false,
        intervals: &[],
        past: Past::ranged(ROWS_MAX),
        every: Duration::from_secs(6),
        examples: &["bitcoin"],
    }],
    credentials: &[],
    tiers: &[Tier {
        name: "free",
        windows: &[WindowSpec { bucket: "", limit: 1, per: Duration::from_secs(5), shape: WindowShape::Rolling }],
    }],
    scope: QuotaScope::Ip,
    samples: samples!("gdelt", "artlist.json"),
    routes: include_str!("samples/gdelt/routes.toml"),
    evidence: Evidence::Recorded,
    quota_docs: "one request every 5 seconds and IP (the provider's own notice; 2026-08-01)",
};

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Query;
    use crate::source::testing;

    fn query() -> Query {
        Query::new(Kind::News).symbol("bitcoin")
    }

    #[test]
    fn articles_are_news() {
        testing::check(
            &Gdelt,
            &query(),
            "artlist.json",
            json!([
                {"source": "gdelt", "kind": "news", "symbol": "bitcoin", "native": "bitcoin", "ts_event": 1_767_226_500_000_000_000_i64,
                 "data": {"headline": "Bitcoin opens the year above 87 , 000 dollars",
                          "url": "https://www.example.com/markets/bitcoin-opens-the-year-2026-000000000001",
                          "publisher": "example.com", "language": "English"}},
                {"source": "gdelt", "kind": "news", "symbol": "bitcoin", "native": "bitcoin", "ts_event": 1_767_225_600_000_000_000_i64,
                 "data": {"headline": "Bitcoin zum Jahreswechsel",
                          "url": "https://www.example.org/wirtschaft/bitcoin-zum-jahreswechsel-000000000002",
                          "publisher": "example.org", "language": "German"}}
            ]),
        );
        testing::check_bad_bodies(&Gdelt, &query(), "artlist.json");
        assert_eq!(testing::decode(&Gdelt, &query(), 200, "{}\n").unwrap(), Vec::<serde_json::Value>::new());
    }

    #[test]
    fn broken_titles_are_repaired() {
        let body = "{\"articles\":[{\"url\":\"https://a.example\",\"title\":\"a\\d \u{1}b\\\\ \\\"c\\\" \\u00e9\"}]}";
        let found = testing::decode(&Gdelt, &Query::new(Kind::News), 200, body).unwrap();
        assert_eq!(found[0]["data"]["headline"], "a\\d  b\\ \"c\" é");
        assert!(testing::decode(&Gdelt, &query(), 200, "{\"articles\":[{\"title\":\"a\\").is_err());
    }

    #[test]
    fn a_full_page_narrows_the_span() {
        let at = |secs| UnixNanos::from_secs(secs).unwrap();
        let spanned = query().range(at(1_767_139_200), at(1_767_227_400)).limit(2);
        let target = |query: &Query| testing::request(&Gdelt, query).unwrap().target().to_owned();
        assert_eq!(
            target(&spanned),
            "/api/v2/doc/doc?query=%22bitcoin%22&mode=ArtList&format=json&sort=DateDesc&maxrecords=2\
             &startdatetime=20251231000000&enddatetime=20260101002959"
        );
        let cursor = |query: &Query| {
            let (state, credentials) = (State::default(), testing::credentials(&Gdelt));
            let cx = Context::new(&Gdelt, query, &state, &credentials, "", testing::NOW).unwrap();
            let answer = Answer::new(200, SPEC.sample("artlist.json").unwrap());
            Gdelt.decode(&cx, &answer, &mut Batch::new(SPEC.id, testing::NOW)).unwrap()
        };
        assert_eq!(cursor(&spanned).as_deref(), Some("20260101000000"));
        let next = spanned.clone().cursor("20260101000000");
        assert!(target(&next).ends_with("enddatetime=20260101000000"));
        assert_eq!(cursor(&next).as_deref(), Some("20251231235959"));
        assert_eq!(cursor(&spanned.limit(3)), None);
        assert!(target(&Query::new(Kind::News)).contains("query=theme:ECON_STOCKMARKET%20sourcelang:english&"));
    }

    #[test]
    fn refusals_are_told_apart() {
        let check = |status, body, expected| testing::check_verdict(&Gdelt, &query(), status, body, expected);
        let pace = "Please limit requests to one every 5 seconds or contact x@example.org for larger queries.";
        check(429, pace, (Verdict::RateLimited, "notice"));
        check(200, pace, (Verdict::RateLimited, "notice"));
        check(429, "<html>slow down</html>", (Verdict::RateLimited, "http_429"));
        check(
            200,
            "One or more of your keywords were too short, too long or too common: (a)",
            (Verdict::BadRequest, "query"),
        );
        check(200, "Your query was too short or too long.", (Verdict::BadRequest, "query"));
        check(200, "Invalid/Unsupported Country.", (Verdict::BadRequest, "query"));
        check(200, "<html>invalid</html>", (Verdict::Malformed, "html_page"));
        check(200, r#"{"articles":[{"domain":"a.example"}]}"#, (Verdict::Malformed, "shape"));
        check(200, r#"{"articles":[{"title":"a","seendate":"soon"}]}"#, (Verdict::Malformed, "shape"));
        check(404, "<html>not here</html>", (Verdict::NotFound, "http_404"));
        check(503, "busy", (Verdict::UpstreamError, "http_5xx"));
        let short = Query::new(Kind::News).symbol("ab");
        assert_eq!(testing::request(&Gdelt, &short).unwrap_err().reason, "symbol_form");
    }
}
