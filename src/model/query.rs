//! What can be asked of a source: a kind, symbols, and what narrows the answer.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::model::{Interval, Kind, Symbol};
use crate::time::UnixNanos;

/// A span of time: from `from` (inclusive) to `to` (exclusive).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeRange {
    /// First moment.
    pub from: UnixNanos,
    /// First moment after.
    pub to: UnixNanos,
}

/// One question to a source, answered by one request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// What to ask for.
    pub kind: Kind,
    /// Which instruments, canonical; empty for general news and for a whole market.
    pub symbols: Vec<Symbol>,
    /// Asks for the whole market in one request and keeps only `symbols` (all, when empty).
    pub whole_market: bool,
    /// Bars: their length.
    pub interval: Option<Interval>,
    /// Rows at most: levels of a book, trades, bars, articles.
    pub limit: Option<u32>,
    /// The time span of interest, where the provider can serve one.
    pub range: Option<TimeRange>,
    /// Where the next page starts, as the page before said.
    pub cursor: Option<CompactString>,
}

impl Query {
    /// A question about one kind without symbols.
    pub fn new(kind: Kind) -> Self {
        Query { kind, symbols: Vec::new(), whole_market: false, interval: None, limit: None, range: None, cursor: None }
    }

    /// The same question about one more symbol.
    pub fn symbol(mut self, symbol: impl Into<Symbol>) -> Self {
        self.symbols.push(symbol.into());
        self
    }

    /// The same question about all of `symbols`.
    pub fn symbols(mut self, symbols: impl IntoIterator<Item = Symbol>) -> Self {
        self.symbols.extend(symbols);
        self
    }

    /// The same question for bars of this length.
    pub fn interval(mut self, interval: Interval) -> Self {
        self.interval = Some(interval);
        self
    }

    /// The same question with at most `rows` rows.
    pub fn limit(mut self, rows: u32) -> Self {
        self.limit = Some(rows);
        self
    }

    /// The same question over a span of time.
    pub fn range(mut self, from: UnixNanos, to: UnixNanos) -> Self {
        self.range = Some(TimeRange { from, to });
        self
    }

    /// The same question from where a page ended.
    pub fn cursor(mut self, cursor: impl Into<CompactString>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    /// The one symbol asked about; `None` when there are none or several.
    pub fn only_symbol(&self) -> Option<&Symbol> {
        match self.symbols.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }
}
