//! Reads Yahoo's news: of the search, and of the stream of latest news. Times and ids are whole numbers and texts.

use compact_str::CompactString;
use serde::Deserialize;

use super::symbol_by_rule;
use crate::model::{Data, Judgement, News};
use crate::source::listing::{filled, names};
use crate::source::{Batch, Context};
use crate::time::UnixNanos;
use crate::wire::{json, times};

#[derive(Deserialize)]
struct NewsBody {
    /// Of the search.
    news: Option<Vec<Article>>,
    /// Of the stream of latest news.
    data: Option<StreamData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Article {
    uuid: Option<CompactString>,
    title: Option<String>,
    publisher: Option<String>,
    link: Option<String>,
    /// Seconds.
    provider_publish_time: Option<i64>,
    related_tickers: Option<Vec<CompactString>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StreamData {
    ticker_stream: Stream,
}

#[derive(Deserialize)]
struct Stream {
    stream: Vec<Item>,
}

/// Advertisements stand among the stories without content.
#[derive(Deserialize)]
struct Item {
    content: Option<Story>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Story {
    id: Option<CompactString>,
    title: Option<String>,
    summary: Option<String>,
    description: Option<String>,
    pub_date: Option<CompactString>,
    provider: Option<Publisher>,
    canonical_url: Option<Link>,
    click_through_url: Option<Link>,
    finance: Option<Finance>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Publisher {
    display_name: Option<String>,
}

#[derive(Deserialize)]
struct Link {
    url: Option<String>,
    lang: Option<CompactString>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Finance {
    stock_tickers: Option<Vec<Named>>,
}

#[derive(Deserialize)]
struct Named {
    symbol: CompactString,
}

pub(super) fn decode(cx: &Context<'_>, body: &[u8], out: &mut Batch) -> Result<(), Judgement> {
    let body: NewsBody = json::plain(body).read()?;
    if body.news.is_none() && body.data.is_none() {
        return Err(Judgement::malformed("news: expected a list of articles, found nothing"));
    }
    for article in body.news.into_iter().flatten() {
        let ts_event = article.provider_publish_time.map(|at| times::secs("providerPublishTime", at)).transpose()?;
        let news = News {
            id: article.uuid,
            headline: filled(article.title),
            url: filled(article.link),
            publisher: filled(article.publisher),
            symbols: canonical(article.related_tickers.into_iter().flatten()),
            ..News::default()
        };
        push_news(cx, "news[].title", ts_event, news, out)?;
    }
    for story in body.data.into_iter().flat_map(|data| data.ticker_stream.stream).filter_map(|item| item.content) {
        let ts_event = story.pub_date.map(|text| times::rfc3339("pubDate", &text)).transpose()?;
        let language =
            story.canonical_url.as_ref().or(story.click_through_url.as_ref()).and_then(|link| link.lang.clone());
        let url = story.canonical_url.and_then(|link| filled(link.url));
        let tickers = story.finance.and_then(|finance| finance.stock_tickers).into_iter().flatten();
        let news = News {
            id: story.id,
            headline: filled(story.title),
            summary: filled(story.summary).or(filled(story.description)),
            url: url.or_else(|| story.click_through_url.and_then(|link| filled(link.url))),
            publisher: story.provider.and_then(|provider| filled(provider.display_name)),
            authors: Vec::new(),
            symbols: canonical(tickers.map(|named| named.symbol)),
            language,
        };
        push_news(cx, "data.tickerStream.stream[].content.title", ts_event, news, out)?;
    }
    Ok(())
}

fn push_news(
    cx: &Context<'_>,
    path: &str,
    ts_event: Option<UnixNanos>,
    news: News,
    out: &mut Batch,
) -> Result<(), Judgement> {
    if news.headline.is_none() && news.url.is_none() {
        return Err(Judgement::malformed(format!("{path}: expected a headline or an address, found neither")));
    }
    let (symbol, native) = names(cx, None, |_| None);
    out.push(symbol, native, ts_event, Data::News(Box::new(news)));
    Ok(())
}

/// Canonical names of the instruments an article is about; those without a rule are left out.
fn canonical(natives: impl Iterator<Item = CompactString>) -> Vec<CompactString> {
    natives.filter_map(|native| symbol_by_rule(&native, None)).map(|symbol| symbol.as_str().into()).collect()
}
