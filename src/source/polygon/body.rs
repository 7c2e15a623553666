//! The bodies of Polygon's answers in their three generations, and what a refusal means. Owns no request and builds no
//! record but for the fields of one: which of several spellings a value has is decided here.

use std::time::Duration;

use compact_str::CompactString;
use serde::Deserialize;

use crate::model::{Dec, Judgement, Quote, Ticker, Verdict, VolumeUnit};
use crate::source::by_status;
use crate::time::UnixNanos;
use crate::wire::Answer;
use crate::wire::fields::{Int, OneOrMany};

/// What all answers have around their rows: `T` is a row, `N` what stands under `ticker`.
#[derive(Deserialize)]
pub(super) struct Page<T, N = serde::de::IgnoredAny> {
    /// `OK`, `DELAYED` on delayed plans, or a refusal.
    pub(super) status: Option<String>,
    pub(super) error: Option<String>,
    pub(super) message: Option<String>,
    pub(super) next_url: Option<String>,
    pub(super) ticker: Option<N>,
    pub(super) tickers: Option<Vec<Option<T>>>,
    pub(super) results: Option<OneOrMany<T>>,
    pub(super) count: Option<Int>,
    #[serde(rename = "resultsCount")]
    pub(super) results_count: Option<Int>,
    /// The day of a daily summary, which has no rows.
    pub(super) from: Option<serde::de::IgnoredAny>,
}

impl<T, N> Page<T, N> {
    /// Reads a 2xx answer's envelope.
    pub(super) fn accept(self, answer: &Answer) -> Result<Self, Judgement> {
        match self.status.as_deref() {
            None | Some("OK" | "DELAYED") => {}
            Some(_) => return Err(self.refusal(answer)),
        }
        let has_rows = self.results.is_some() || self.tickers.is_some() || self.ticker.is_some() || self.from.is_some();
        if has_rows || self.is_empty() {
            return Ok(self);
        }
        Err(Judgement::malformed("results: expected a list, found nothing"))
    }

    /// Whether it says that there are no rows: then it may lack the list, too.
    pub(super) fn is_empty(&self) -> bool {
        [self.count, self.results_count].into_iter().flatten().any(|count| count.0 == 0)
    }

    pub(super) fn refusal(&self, answer: &Answer) -> Judgement {
        refusal(answer, self.status.as_deref().unwrap_or_default(), self.error.as_deref().or(self.message.as_deref()))
    }

    /// The cursor: path and query of the next page, without the host.
    pub(super) fn next(&self) -> Option<CompactString> {
        let (_, rest) = self.next_url.as_deref()?.split_once("://")?;
        let path = &rest[rest.find('/')?..];
        is_page(path).then(|| path.into())
    }
}

/// A ticker's summary: of v2 under `day` and `lastTrade`, of v3 under `session` and `last_trade`.
#[derive(Deserialize)]
pub(super) struct Snapshot {
    pub(super) ticker: Option<String>,
    pub(super) error: Option<String>,
    pub(super) message: Option<String>,
    /// v3: `stocks`, `options`, `fx`, `crypto`, `indices`.
    #[serde(rename = "type")]
    pub(super) market: Option<String>,
    #[serde(alias = "session")]
    pub(super) day: Option<Session>,
    #[serde(rename = "prevDay")]
    pub(super) prev_day: Option<Session>,
    pub(super) min: Option<Session>,
    #[serde(rename = "lastTrade", alias = "last_trade")]
    pub(super) last_trade: Option<Tick>,
    #[serde(rename = "lastQuote", alias = "last_quote")]
    pub(super) last_quote: Option<Tick>,
    /// v3, of indices.
    pub(super) value: Option<Dec>,
    #[serde(rename = "todaysChange")]
    pub(super) change: Option<Dec>,
    /// In percent.
    #[serde(rename = "todaysChangePerc")]
    pub(super) change_pct: Option<Dec>,
    /// Nanoseconds.
    #[serde(alias = "last_updated")]
    pub(super) updated: Option<Int>,
}

#[derive(Default, Deserialize)]
pub(super) struct Session {
    #[serde(alias = "o")]
    pub(super) open: Option<Dec>,
    #[serde(alias = "h")]
    pub(super) high: Option<Dec>,
    #[serde(alias = "l")]
    pub(super) low: Option<Dec>,
    #[serde(alias = "c")]
    pub(super) close: Option<Dec>,
    #[serde(alias = "v")]
    pub(super) volume: Option<Dec>,
    #[serde(alias = "vw")]
    pub(super) vwap: Option<Dec>,
    pub(super) previous_close: Option<Dec>,
    pub(super) change: Option<Dec>,
    /// In percent.
    pub(super) change_percent: Option<Dec>,
}

/// A trade or a quote in any of its spellings. Zero prices stand for an empty side.
#[derive(Deserialize)]
pub(super) struct Tick {
    #[serde(rename = "T")]
    pub(super) name: Option<String>,
    #[serde(alias = "i")]
    pub(super) id: Option<CompactString>,
    pub(super) price: Option<Dec>,
    pub(super) size: Option<Dec>,
    /// The price of a trade, the bid of a quote.
    pub(super) p: Option<Dec>,
    pub(super) s: Option<Dec>,
    #[serde(rename = "P")]
    pub(super) ask_short: Option<Dec>,
    #[serde(rename = "S")]
    pub(super) ask_size_short: Option<Dec>,
    #[serde(alias = "bid_price", alias = "b")]
    pub(super) bid: Option<Dec>,
    pub(super) bid_size: Option<Dec>,
    #[serde(alias = "ask_price", alias = "a")]
    pub(super) ask: Option<Dec>,
    pub(super) ask_size: Option<Dec>,
    /// Nanoseconds; so are the next two.
    #[serde(alias = "t")]
    pub(super) sip_timestamp: Option<Int>,
    #[serde(alias = "y")]
    pub(super) participant_timestamp: Option<Int>,
    pub(super) last_updated: Option<Int>,
    // Of a snapshot that is read for its quote.
    pub(super) ticker: Option<String>,
    pub(super) error: Option<String>,
    pub(super) message: Option<String>,
    #[serde(rename = "lastQuote", alias = "last_quote")]
    pub(super) last_quote: Option<Box<Tick>>,
}

impl Tick {
    pub(super) fn at(&self) -> Option<UnixNanos> {
        let at = self.sip_timestamp.or(self.participant_timestamp).or(self.last_updated)?;
        (at.0 != 0).then(|| UnixNanos::from_nanos(at.0))
    }

    pub(super) fn quote(&self) -> Quote {
        let bid = present(self.bid.or(self.p));
        let ask = present(self.ask.or(self.ask_short));
        Quote {
            bid,
            bid_size: bid.and(self.bid_size.or(self.s)),
            ask,
            ask_size: ask.and(self.ask_size.or(self.ask_size_short)),
            volume_unit: None,
        }
    }
}

impl Snapshot {
    pub(super) fn summary(&self, path: &str) -> Result<Ticker, Judgement> {
        let none = Session::default();
        let (day, prev_day) = (self.day.as_ref().unwrap_or(&none), self.prev_day.as_ref().unwrap_or(&none));
        let trade = self.last_trade.as_ref();
        // Plans without trades and markets without any have the last price in their bars.
        let last = present(trade.and_then(|trade| trade.price.or(trade.p)))
            .or(self.value)
            .or(present(day.close))
            .or(present(self.min.as_ref().and_then(|min| min.close)))
            .ok_or_else(|| Judgement::malformed(format!("{path}.last_trade.price: expected a price, found nothing")))?;
        let quote = self.last_quote.as_ref().map(Tick::quote).unwrap_or_default();
        // Before its first trade a day is sent as zeros.
        let is_open = present(day.open.or(day.close)).is_some();
        let of_day = |value: Option<Dec>| value.filter(|_| is_open);
        Ok(Ticker {
            last,
            last_size: trade.and_then(|trade| trade.size.or(trade.s)),
            open: of_day(day.open),
            high: of_day(day.high),
            low: of_day(day.low),
            prev_close: present(day.previous_close.or(prev_day.close)),
            change: self.change.or(day.change),
            change_pct: self.change_pct.or(day.change_percent),
            vwap: of_day(day.vwap),
            volume: of_day(day.volume),
            bid: quote.bid,
            bid_size: quote.bid_size,
            ask: quote.ask,
            ask_size: quote.ask_size,
            volume_unit: self.market.as_deref().filter(|market| *market == "options").map(|_| VolumeUnit::Contracts),
            ..Ticker::default()
        })
    }

    /// Whether anything was traded in its day: a list of the whole market has rows of zeros.
    pub(super) fn is_blank(&self) -> bool {
        self.last_trade.is_none()
            && self.value.is_none()
            && self.day.as_ref().is_some_and(|day| day.close.is_some_and(Dec::is_zero))
    }

    pub(super) fn at(&self) -> Option<UnixNanos> {
        let updated = self.updated.filter(|at| at.0 != 0).map(|at| UnixNanos::from_nanos(at.0));
        let tick = |tick: &Option<Tick>| tick.as_ref().and_then(Tick::at);
        updated.or_else(|| tick(&self.last_trade)).or_else(|| tick(&self.last_quote))
    }
}

#[derive(Deserialize)]
pub(super) struct Agg {
    /// In answers about several tickers, and about the day before.
    #[serde(rename = "T")]
    pub(super) ticker: Option<String>,
    /// Milliseconds; the start.
    pub(super) t: Int,
    pub(super) o: Dec,
    pub(super) h: Dec,
    pub(super) l: Dec,
    pub(super) c: Dec,
    pub(super) v: Option<Dec>,
    pub(super) n: Option<Int>,
}

/// v1: the summary of one day, which has no rows.
#[derive(Deserialize)]
pub(super) struct DaySummary {
    pub(super) symbol: Option<String>,
    pub(super) from: String,
    pub(super) open: Dec,
    pub(super) high: Dec,
    pub(super) low: Dec,
    pub(super) close: Dec,
    pub(super) volume: Option<Dec>,
}

#[derive(Deserialize)]
pub(super) struct Article {
    pub(super) id: Option<CompactString>,
    pub(super) publisher: Option<Publisher>,
    pub(super) title: Option<String>,
    pub(super) author: Option<String>,
    pub(super) published_utc: Option<String>,
    pub(super) article_url: Option<String>,
    pub(super) tickers: Option<Vec<Option<String>>>,
    pub(super) description: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Publisher {
    pub(super) name: Option<String>,
}

pub(super) fn present(price: Option<Dec>) -> Option<Dec> {
    price.filter(|price| !price.is_zero())
}

pub(super) fn is_page(path: &str) -> bool {
    path.starts_with("/v") && path.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(super) fn refusal(answer: &Answer, status: &str, message: Option<&str>) -> Judgement {
    let judgement = by_status(answer, message);
    let text = message.unwrap_or_default();
    let (verdict, reason) = match answer.status {
        429 => (Verdict::RateLimited, "requests_minute"),
        _ if text.contains("exceeded the maximum requests") => (Verdict::RateLimited, "requests_minute"),
        403 => (Verdict::Unauthorized, "plan"),
        _ if status == "NOT_AUTHORIZED" => (Verdict::Unauthorized, "plan"),
        401 => (Verdict::Unauthorized, "key"),
        _ if text.contains("API Key") => (Verdict::Unauthorized, "key"),
        404 => (Verdict::NotFound, "symbol_unknown"),
        _ if status == "NOT_FOUND" => (Verdict::NotFound, "symbol_unknown"),
        400 => (Verdict::BadRequest, "argument"),
        200..=299 => (Verdict::UpstreamError, "provider"),
        _ => (judgement.verdict, judgement.reason),
    };
    let after = judgement.retry_after.or((verdict == Verdict::RateLimited).then_some(RECOVERY));
    Judgement { verdict, reason, ..judgement }.retry_after(after)
}

/// After a burst it took two and a half to three minutes, by a user's measurement; no header tells.
const RECOVERY: Duration = Duration::from_secs(180);
