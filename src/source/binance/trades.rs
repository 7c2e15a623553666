//! Trades of Binance: the newest, a page from an id on, and where a span of time begins. Reads bodies; builds no request.

use compact_str::{CompactString, format_compact};
use serde::Deserialize;

use super::ROWS_MAX;
use crate::model::{Data, Dec, Judgement, Query, Side, Trade};
use crate::source::{Batch, Context};
use crate::wire::{json, times};

/// A row of `trades` and `historicalTrades`, or of `aggTrades` with its one-letter names.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TradeRow {
    #[serde(alias = "a")]
    id: u64,
    #[serde(alias = "p")]
    price: Dec,
    #[serde(alias = "q")]
    qty: Dec,
    /// Milliseconds.
    #[serde(alias = "T")]
    time: i64,
    /// The buyer was passive, so the aggressor sold.
    #[serde(alias = "m")]
    is_buyer_maker: bool,
}

/// Whether what is asked for is where a span of trades begins, and not yet a page of it.
pub(super) fn is_search(query: &Query) -> bool {
    query.range.is_some() && query.cursor.is_none()
}

/// The first trade of a row of `aggTrades`.
#[derive(Deserialize)]
struct FirstTrade {
    f: u64,
    /// Milliseconds.
    #[serde(rename = "T")]
    time: i64,
}

/// Where the first page of a span begins.
pub(super) fn first(cx: &Context<'_>, body: &[u8]) -> Result<Option<CompactString>, Judgement> {
    let rows: Vec<FirstTrade> = json::plain(body).read()?;
    let to = cx.query.range.map_or(i64::MAX, |range| range.to.as_millis());
    Ok(rows.first().filter(|row| row.time < to).map(|row| format_compact!("{}", row.f)))
}

pub(super) fn decode(cx: &Context<'_>, body: &[u8], out: &mut Batch) -> Result<Option<CompactString>, Judgement> {
    let rows: Vec<TradeRow> = json::plain(body).read()?;
    // An aggregated trade can begin before the span.
    let is_outside =
        |ms: i64| cx.query.range.is_some_and(|range| ms < range.from.as_millis() || ms >= range.to.as_millis());
    for row in rows.iter().filter(|row| !is_outside(row.time)) {
        let side = if row.is_buyer_maker { Side::Sell } else { Side::Buy };
        let trade = Trade {
            id: Some(format_compact!("{}", row.id)),
            price: row.price,
            size: row.qty,
            side: Some(side),
            volume_unit: None,
        };
        let (symbol, native) = cx.names(None);
        out.push(symbol, native, Some(times::millis("time", row.time)?), Data::Trade(trade));
    }
    // Recent trades have no next page: only reading on from an id, or through a span of time, goes forward.
    let asked = cx.query.limit.unwrap_or(if cx.query.range.is_some() { ROWS_MAX } else { 500 });
    let full = rows.len() as u32 >= asked.clamp(1, ROWS_MAX);
    let goes_on = |row: &&TradeRow| match cx.query.range {
        Some(range) => row.time < range.to.as_millis(),
        None => cx.query.cursor.is_some(),
    };
    Ok(rows.last().filter(|_| full).filter(goes_on).map(|row| format_compact!("{}", row.id.saturating_add(1))))
}
