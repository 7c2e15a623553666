//! Reads Yahoo's charts and quotes. Prices are number tokens and keep their digits; pence stay pence.
//! Invariant: a row with a null among its prices is no bar.

use compact_str::CompactString;
use serde::Deserialize;

use super::{INTERVALS, symbol_by_rule};
use crate::model::{Bar, Data, Dec, Interval, Judgement, Ticker, VolumeUnit};
use crate::source::listing::names;
use crate::source::{Batch, Context};
use crate::time::UnixNanos;
use crate::wire::fields::Int;
use crate::wire::{Answer, fields, times};

/// What the market data endpoints send: each under its own name, an error under it or under `finance`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body {
    chart: Option<Envelope<Chart>>,
    quote_response: Option<Envelope<Quote>>,
    finance: Option<Envelope<serde::de::IgnoredAny>>,
    quote_summary: Option<Envelope<serde::de::IgnoredAny>>,
}

impl Body {
    pub(super) fn error(&self) -> Option<&Refusal> {
        let chart = self.chart.as_ref().and_then(|chart| chart.error.as_ref());
        let quote = self.quote_response.as_ref().and_then(|quote| quote.error.as_ref());
        let finance = self.finance.as_ref().and_then(|finance| finance.error.as_ref());
        let summary = self.quote_summary.as_ref().and_then(|summary| summary.error.as_ref());
        chart.or(quote).or(finance).or(summary)
    }
}

#[derive(Deserialize)]
struct Envelope<T> {
    result: Option<Vec<T>>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
pub(super) struct Refusal {
    pub(super) code: Option<CompactString>,
    pub(super) description: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Quote {
    symbol: CompactString,
    quote_type: Option<CompactString>,
    regular_market_price: Dec,
    regular_market_open: Option<Dec>,
    regular_market_day_high: Option<Dec>,
    regular_market_day_low: Option<Dec>,
    regular_market_previous_close: Option<Dec>,
    regular_market_change: Option<Dec>,
    /// In percent.
    regular_market_change_percent: Option<Dec>,
    regular_market_volume: Option<Dec>,
    /// Seconds.
    regular_market_time: Option<Int>,
    /// Zero while the market is closed, as is the other side.
    bid: Option<Dec>,
    bid_size: Option<Dec>,
    ask: Option<Dec>,
    ask_size: Option<Dec>,
}

#[derive(Deserialize)]
struct Chart {
    meta: Meta,
    /// Seconds; missing when there is no data.
    timestamp: Option<Vec<Int>>,
    indicators: Option<Indicators>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    symbol: Option<CompactString>,
    instrument_type: Option<CompactString>,
    regular_market_price: Option<Dec>,
    regular_market_day_high: Option<Dec>,
    regular_market_day_low: Option<Dec>,
    regular_market_volume: Option<Dec>,
    /// Seconds.
    regular_market_time: Option<Int>,
    /// Sent with charts of a day.
    previous_close: Option<Dec>,
    /// The close before the chart's first bar: the previous day's only where the chart is of one day.
    chart_previous_close: Option<Dec>,
    range: Option<CompactString>,
    data_granularity: Option<CompactString>,
    current_trading_period: Option<Periods>,
}

#[derive(Deserialize)]
struct Periods {
    regular: Option<Period>,
}

/// Seconds.
#[derive(Deserialize)]
struct Period {
    start: Int,
    end: Int,
}

#[derive(Deserialize)]
struct Indicators {
    quote: Option<Vec<Columns>>,
}

/// Parallel to the timestamps; null where nothing was traded.
#[derive(Deserialize)]
struct Columns {
    open: Option<Vec<Option<Dec>>>,
    high: Option<Vec<Option<Dec>>>,
    low: Option<Vec<Option<Dec>>>,
    close: Option<Vec<Option<Dec>>>,
    volume: Option<Vec<Option<Dec>>>,
}

pub(super) fn decode_tickers(cx: &Context<'_>, body: &Body, out: &mut Batch) -> Result<(), Judgement> {
    if let Some(quotes) = &body.quote_response {
        let rows = quotes.result.as_deref().unwrap_or_default();
        if rows.is_empty() {
            return Err(Judgement::not_found("quoteResponse.result: expected a quote, found none"));
        }
        for row in rows {
            push_quote(cx, row, out)?;
        }
        return Ok(());
    }
    let chart = only_chart(body)?;
    let meta = &chart.meta;
    let last = meta.regular_market_price.ok_or_else(|| {
        Judgement::malformed("chart.result[0].meta.regularMarketPrice: expected a decimal, found nothing")
    })?;
    let day = meta.range.as_deref() == Some("1d");
    let ticker = Ticker {
        last,
        high: meta.regular_market_day_high,
        low: meta.regular_market_day_low,
        prev_close: meta.previous_close.or(meta.chart_previous_close.filter(|_| day)),
        volume: meta.regular_market_volume,
        volume_unit: volume_unit(meta.instrument_type.as_deref(), meta.regular_market_volume),
        ..Ticker::default()
    };
    let ts_event = meta.regular_market_time.map(|at| times::secs("regularMarketTime", at.0)).transpose()?;
    let (symbol, native) =
        names(cx, meta.symbol.as_deref(), |native| symbol_by_rule(native, meta.instrument_type.as_deref()));
    out.push(symbol, native, ts_event, Data::Ticker(Box::new(ticker)));
    Ok(())
}

fn push_quote(cx: &Context<'_>, row: &Quote, out: &mut Batch) -> Result<(), Judgement> {
    let present = |price: Option<Dec>| price.filter(|price| !price.is_zero());
    let (bid, ask) = (present(row.bid), present(row.ask));
    let ticker = Ticker {
        last: row.regular_market_price,
        open: row.regular_market_open,
        high: row.regular_market_day_high,
        low: row.regular_market_day_low,
        prev_close: row.regular_market_previous_close,
        change: row.regular_market_change,
        change_pct: row.regular_market_change_percent,
        volume: row.regular_market_volume,
        bid,
        bid_size: bid.and(row.bid_size),
        ask,
        ask_size: ask.and(row.ask_size),
        volume_unit: volume_unit(row.quote_type.as_deref(), row.regular_market_volume),
        ..Ticker::default()
    };
    let ts_event = row.regular_market_time.map(|at| times::secs("regularMarketTime", at.0)).transpose()?;
    let (symbol, native) = names(cx, Some(&row.symbol), |native| symbol_by_rule(native, row.quote_type.as_deref()));
    out.push(symbol, native, ts_event, Data::Ticker(Box::new(ticker)));
    Ok(())
}

pub(super) fn decode_bars(cx: &Context<'_>, answer: &Answer, body: &Body, out: &mut Batch) -> Result<(), Judgement> {
    let chart = only_chart(body)?;
    let stamps = chart.timestamp.as_deref().unwrap_or_default();
    if stamps.is_empty() {
        return Ok(());
    }
    let columns = chart.indicators.as_ref().and_then(|indicators| indicators.quote.as_deref()?.first());
    let columns = columns.ok_or_else(|| {
        Judgement::malformed("chart.result[0].indicators.quote: expected columns of prices, found none")
    })?;
    let column =
        |name: &str, rows, len| fields::column(&format!("chart.result[0].indicators.quote[0].{name}"), rows, len);
    let open = column("open", columns.open.as_deref(), stamps.len())?;
    let high = column("high", columns.high.as_deref(), stamps.len())?;
    let low = column("low", columns.low.as_deref(), stamps.len())?;
    let close = column("close", columns.close.as_deref(), stamps.len())?;
    let volume = columns.volume.as_deref().map(|rows| column("volume", Some(rows), stamps.len())).transpose()?;
    let interval = chart.meta.data_granularity.as_deref().and_then(granularity).or(cx.query.interval);
    let (symbol, native) =
        names(cx, chart.meta.symbol.as_deref(), |native| symbol_by_rule(native, chart.meta.instrument_type.as_deref()));
    for (at, stamp) in stamps.iter().enumerate() {
        let (Some(open), Some(high), Some(low), Some(close)) = (open[at], high[at], low[at], close[at]) else {
            continue;
        };
        let start = times::secs("timestamp", stamp.0)?;
        let end = interval.and_then(|interval| times::bar_end(start, interval));
        let running = at + 1 == stamps.len() && end.is_some_and(|end| chart.meta.is_trading_within(start, end));
        let closed = end.map(|end| !running && end <= answer.ts_recv);
        let volume = volume.and_then(|rows| rows[at]);
        let bar = Bar {
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
            volume_unit: volume_unit(chart.meta.instrument_type.as_deref(), volume),
        };
        let ts_event = if closed == Some(true) { end } else { Some(start) };
        out.push(symbol.clone(), native.clone(), ts_event, Data::Bar(Box::new(bar)));
    }
    Ok(())
}

impl Meta {
    /// Whether the last trade lies in the bar and in a session that has not ended: the bar was running when the answer
    /// was made, however long ago that is.
    fn is_trading_within(&self, start: UnixNanos, end: UnixNanos) -> bool {
        let session = self.current_trading_period.as_ref().and_then(|periods| periods.regular.as_ref());
        let (Some(last), Some(session)) = (self.regular_market_time, session) else { return false };
        let in_bar = start.as_secs() <= last.0 && last.0 < end.as_secs();
        in_bar && session.start <= last && last < session.end
    }
}

fn only_chart(body: &Body) -> Result<&Chart, Judgement> {
    let chart = body
        .chart
        .as_ref()
        .ok_or_else(|| Judgement::malformed("expected a chart or a quoteResponse, found neither"))?;
    let rows = chart.result.as_deref().unwrap_or_default();
    rows.first().ok_or_else(|| Judgement::not_found("chart.result: expected a chart, found none"))
}

/// Volumes of crypto pairs are in the quote currency.
fn volume_unit(class: Option<&str>, volume: Option<Dec>) -> Option<VolumeUnit> {
    (class == Some("CRYPTOCURRENCY") && volume.is_some()).then_some(VolumeUnit::Quote)
}

fn granularity(word: &str) -> Option<Interval> {
    match word {
        "60m" => Some(Interval::HOUR),
        _ => INTERVALS.iter().find(|(_, known, _)| *known == word).map(|(interval, _, _)| *interval),
    }
}
