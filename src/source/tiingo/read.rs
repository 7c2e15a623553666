//! Reads Tiingo's bodies: top of book of equities and crypto pairs, prices over time, news. Each is a list; which one is
//! told by the fields of its elements. Invariant: a row with a null among its prices is no bar.

use compact_str::{CompactString, format_compact};
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::model::{Bar, Data, Dec, Judgement, Native, News, Symbol, Ticker};
use crate::source::listing::{self, filled, names};
use crate::source::{Batch, Context};
use crate::time::UnixNanos;
use crate::wire::fields::Int;
use crate::wire::{Answer, fields, json, times};

/// An equity on IEX, a crypto pair with its `topOfBookData`, or a day of an equity.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Top {
    ticker: Option<CompactString>,
    base_currency: Option<CompactString>,
    quote_currency: Option<CompactString>,
    top_of_book_data: Option<Vec<Best>>,
    timestamp: Option<CompactString>,
    date: Option<CompactString>,
    last: Option<Dec>,
    last_size: Option<Dec>,
    /// The last price or the middle of the book, as the provider judges; the only one without the exchange's agreement.
    tngo_last: Option<Dec>,
    close: Option<Dec>,
    prev_close: Option<Dec>,
    open: Option<Dec>,
    high: Option<Dec>,
    low: Option<Dec>,
    volume: Option<Dec>,
    bid_price: Option<Dec>,
    bid_size: Option<Dec>,
    ask_price: Option<Dec>,
    ask_size: Option<Dec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Best {
    last_price: Dec,
    last_size: Option<Dec>,
    last_sale_timestamp: Option<CompactString>,
    quote_timestamp: Option<CompactString>,
    bid_price: Option<Dec>,
    bid_size: Option<Dec>,
    ask_price: Option<Dec>,
    ask_size: Option<Dec>,
}

pub(super) fn tickers(cx: &Context<'_>, body: &[u8], out: &mut Batch) -> Result<(), Judgement> {
    let rows: Vec<Top> = json::exact(body).read()?;
    if rows.is_empty() {
        return Err(Judgement::not_found("expected a ticker, found an empty list"));
    }
    let last_day = rows.iter().rposition(|row| row.date.is_some());
    for (at, row) in rows.iter().enumerate() {
        if row.date.is_none() && last_day.is_some() {
            return Err(Judgement::malformed(format!("[{at}].date: expected a date, found nothing")));
        }
        // Of several days only the last is the present one.
        if row.date.is_some() && Some(at) != last_day {
            continue;
        }
        let (symbol, native) = names(cx, row.ticker.as_deref(), |native| {
            pair(&row.base_currency, &row.quote_currency).or_else(|| equity(native).map(Symbol::new))
        });
        for best in row.top_of_book_data.iter().flatten() {
            let at = best.last_sale_timestamp.as_ref().or(best.quote_timestamp.as_ref());
            let ticker = Ticker {
                last: best.last_price,
                last_size: best.last_size,
                bid: best.bid_price,
                bid_size: best.bid_size,
                ask: best.ask_price,
                ask_size: best.ask_size,
                ..Ticker::default()
            };
            let ts_event = at.map(|text| times::rfc3339("lastSaleTimestamp", text)).transpose()?;
            out.push(symbol.clone(), native.clone(), ts_event, Data::Ticker(Box::new(ticker)));
        }
        if row.top_of_book_data.is_some() {
            continue;
        }
        let last = row
            .last
            .or(row.tngo_last)
            .or(row.close)
            .ok_or_else(|| Judgement::malformed(format!("[{at}].last: expected a decimal, found nothing")))?;
        let ticker = Ticker {
            last,
            last_size: row.last_size,
            open: row.open,
            high: row.high,
            low: row.low,
            prev_close: row.prev_close,
            volume: row.volume,
            bid: row.bid_price,
            bid_size: row.bid_size,
            ask: row.ask_price,
            ask_size: row.ask_size,
            ..Ticker::default()
        };
        let ts_event = match (&row.timestamp, &row.date) {
            (Some(text), _) => Some(times::rfc3339("timestamp", text)?),
            (None, Some(text)) => Some(date(text)?),
            (None, None) => None,
        };
        out.push(symbol, native, ts_event, Data::Ticker(Box::new(ticker)));
    }
    Ok(())
}

/// Prices are null where there was no trade, and have to be there all the same.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PriceRow {
    date: CompactString,
    /// Of currencies alone.
    ticker: Option<CompactString>,
    #[serde(deserialize_with = "fields::nullable")]
    open: Option<Dec>,
    #[serde(deserialize_with = "fields::nullable")]
    high: Option<Dec>,
    #[serde(deserialize_with = "fields::nullable")]
    low: Option<Dec>,
    #[serde(deserialize_with = "fields::nullable")]
    close: Option<Dec>,
    volume: Option<Dec>,
    volume_notional: Option<Dec>,
    trades_done: Option<Int>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PairPrices {
    ticker: Option<CompactString>,
    base_currency: Option<CompactString>,
    quote_currency: Option<CompactString>,
    price_data: Vec<PriceRow>,
}

pub(super) fn bars(cx: &Context<'_>, answer: &Answer, out: &mut Batch) -> Result<(), Judgement> {
    if memchr::memmem::find(&answer.body, b"\"priceData\"").is_some() {
        let pairs: Vec<PairPrices> = json::exact(&answer.body).read()?;
        for prices in &pairs {
            let (symbol, native) =
                names(cx, prices.ticker.as_deref(), |_| pair(&prices.base_currency, &prices.quote_currency));
            for row in &prices.price_data {
                push_bar(cx, row, (symbol.clone(), native.clone()), answer.ts_recv, out)?;
            }
        }
        return Ok(());
    }
    let rows: Vec<PriceRow> = json::exact(&answer.body).read()?;
    for row in &rows {
        // Currencies are named without a separator: only the query or the instrument list knows them.
        let names = names(cx, row.ticker.as_deref(), |_| None);
        push_bar(cx, row, names, answer.ts_recv, out)?;
    }
    Ok(())
}

fn push_bar(
    cx: &Context<'_>,
    row: &PriceRow,
    (symbol, native): (Option<Symbol>, Option<Native>),
    now: UnixNanos,
    out: &mut Batch,
) -> Result<(), Judgement> {
    let (Some(open), Some(high), Some(low), Some(close)) = (row.open, row.high, row.low, row.close) else {
        return Ok(());
    };
    let interval = cx.query.interval;
    // Weeks and months are named by their last day of trading.
    let start = times::period_start("date", date(&row.date)?, interval, &TimeZone::UTC)?;
    let end = interval.and_then(|interval| times::bar_end(start, interval));
    let closed = end.map(|end| end <= now);
    let trades = row.trades_done.map(|trades| u64::try_from(trades.0)).transpose();
    let bar = Bar {
        interval,
        start,
        end,
        open,
        high,
        low,
        close,
        volume: row.volume,
        quote_volume: row.volume_notional,
        trades: trades.map_err(|_| Judgement::malformed("tradesDone: expected a count, found a negative number"))?,
        closed,
        volume_unit: None,
    };
    let ts_event = if closed == Some(true) { end } else { Some(start) };
    out.push(symbol, native, ts_event, Data::Bar(Box::new(bar)));
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Article {
    id: Option<i64>,
    title: Option<String>,
    description: Option<String>,
    url: Option<String>,
    source: Option<String>,
    published_date: Option<CompactString>,
    /// In lower case.
    tickers: Option<Vec<CompactString>>,
}

/// Reads articles; returns how many there were.
pub(super) fn news(cx: &Context<'_>, body: &[u8], out: &mut Batch) -> Result<usize, Judgement> {
    let articles: Vec<Article> = json::plain(body).read()?;
    let rows = articles.len();
    for (at, article) in articles.into_iter().enumerate() {
        let tickers = article.tickers.unwrap_or_default();
        let news = News {
            id: article.id.map(|id| format_compact!("{id}")),
            headline: filled(article.title),
            summary: filled(article.description),
            url: filled(article.url),
            publisher: filled(article.source),
            symbols: tickers.iter().filter_map(|name| equity(name)).map(CompactString::from).collect(),
            ..News::default()
        };
        if news.headline.is_none() && news.url.is_none() {
            return Err(Judgement::malformed(format!(
                "[{at}].title: expected a headline or an address, found neither"
            )));
        }
        let ts_event = article.published_date.map(|text| times::rfc3339("publishedDate", &text)).transpose()?;
        let (symbol, native) = cx.only().unzip();
        out.push(symbol.cloned(), native.cloned(), ts_event, Data::News(Box::new(news)));
    }
    Ok(rows)
}

fn pair(base: &Option<CompactString>, quote: &Option<CompactString>) -> Option<Symbol> {
    Some(Symbol::from_pair(base.as_deref()?, quote.as_deref()?))
}

/// The canonical name of an equity. Longer names without a dash may be pairs, which have no separator here.
fn equity(native: &str) -> Option<String> {
    let fits = !native.is_empty() && (native.len() <= TICKER_BYTES_MAX || native.contains(['-', '.']));
    fits.then(|| listing::dotted(native)).flatten()
}

/// A time with its offset, or a date, which is its midnight in UTC.
fn date(text: &str) -> Result<UnixNanos, Judgement> {
    if text.len() == 10 { times::local("date", text, &TimeZone::UTC) } else { times::rfc3339("date", text) }
}

/// Tickers of American exchanges have at most five letters.
const TICKER_BYTES_MAX: usize = 5;
