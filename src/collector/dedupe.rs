//! Duplicates: what polls that overlap bring twice. Per stream (source, kind, symbol) a bounded window of the records
//! seen last, told apart by what the provider numbers them by. Owns no counter.
//! Invariant: memory is bounded by streams times window; a record without a number of its own is never a duplicate.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::model::{Bar, Data, Record};

/// Bounds of the windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DedupeSettings {
    /// Records remembered per stream; zero switches the whole off.
    pub window: usize,
    /// Streams remembered; the one that was quiet longest makes way.
    pub streams_max: usize,
}

impl Default for DedupeSettings {
    fn default() -> Self {
        // Four pages of the longest that providers serve, and more streams than one host polls.
        DedupeSettings { window: 4_096, streams_max: 16_384 }
    }
}

/// The windows of all streams.
#[derive(Debug)]
pub struct Dedupe {
    settings: DedupeSettings,
    streams: HashMap<u64, Window>,
    /// Counts records, to tell which stream was quiet longest.
    clock: u64,
}

#[derive(Debug, Default)]
struct Window {
    seen: HashSet<u64>,
    order: VecDeque<u64>,
    touched: u64,
}

impl Dedupe {
    /// Empty windows.
    pub fn new(settings: DedupeSettings) -> Self {
        Dedupe { settings, streams: HashMap::new(), clock: 0 }
    }

    /// Whether `record` was seen before; remembers it.
    pub fn is_duplicate(&mut self, record: &Record) -> bool {
        if self.settings.window == 0 {
            return false;
        }
        let Some(key) = key(record) else { return false };
        let mut hasher = DefaultHasher::new();
        (record.source, record.kind(), &record.symbol, &record.native).hash(&mut hasher);
        let stream = hasher.finish();
        self.clock += 1;
        if self.streams.len() >= self.settings.streams_max && !self.streams.contains_key(&stream) {
            self.forget_quietest();
        }
        let window = self.streams.entry(stream).or_default();
        window.touched = self.clock;
        if !window.seen.insert(key) {
            return true;
        }
        window.order.push_back(key);
        if window.order.len() > self.settings.window
            && let Some(oldest) = window.order.pop_front()
        {
            window.seen.remove(&oldest);
        }
        false
    }

    /// A tenth of the streams at a time, so that the scan is rare.
    fn forget_quietest(&mut self) {
        let mut touched: Vec<u64> = self.streams.values().map(|window| window.touched).collect();
        let nth = touched.len() / 10;
        let (_, limit, _) = touched.select_nth_unstable(nth);
        let limit = *limit;
        self.streams.retain(|_, window| window.touched > limit);
    }
}

/// What tells a record apart within its stream, as a hash; `None` when nothing does. With 4,096 in a window, two
/// different records share one in 10^15 pairs.
fn key(record: &Record) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    match &record.data {
        Data::Trade(trade) => trade.id.as_ref()?.hash(&mut hasher),
        Data::News(news) => match (&news.id, &news.url) {
            (Some(id), _) => id.hash(&mut hasher),
            (None, Some(url)) => url.hash(&mut hasher),
            (None, None) => return None,
        },
        Data::Filing(filing) if !filing.accession.is_empty() => filing.accession.hash(&mut hasher),
        Data::Bar(bar) => bar_key(bar, &mut hasher),
        _ => return None,
    }
    Some(hasher.finish())
}

/// A closed bar is told by its start. A running one also by what it says: the same bar with a later close is no
/// duplicate but news.
fn bar_key(bar: &Bar, hasher: &mut DefaultHasher) {
    (bar.interval, bar.start, bar.closed).hash(hasher);
    if bar.closed != Some(true) {
        (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trades).hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Filing, Interval, News, Quote, SourceId, Symbol, Trade};
    use crate::time::UnixNanos;

    fn record(symbol: &str, data: Data) -> Record {
        Record {
            seq: 0,
            source: SourceId("binance"),
            symbol: Some(Symbol::new(symbol)),
            native: None,
            ts_event: None,
            ts_recv: UnixNanos::EPOCH,
            ts_publish: UnixNanos::EPOCH,
            attempt: 0,
            data,
        }
    }

    fn trade(symbol: &str, id: Option<u64>) -> Record {
        let id = id.map(|id| id.to_string().into());
        let data = Trade { id, price: 1_u64.into(), size: 1_u64.into(), side: None, volume_unit: None };
        record(symbol, Data::Trade(data))
    }

    fn bar(close: u64, closed: Option<bool>) -> Record {
        let one = 1_u64.into();
        let close = close.into();
        record(
            "A",
            Data::Bar(Box::new(Bar {
                interval: Some(Interval::MINUTE),
                start: UnixNanos::EPOCH,
                end: None,
                open: one,
                high: close,
                low: one,
                close,
                volume: None,
                quote_volume: None,
                trades: None,
                closed,
                volume_unit: None,
            })),
        )
    }

    fn check(records: &[Record], expected: &[bool]) {
        let mut dedupe = Dedupe::new(DedupeSettings { window: 2, streams_max: 16 });
        let found: Vec<bool> = records.iter().map(|record| dedupe.is_duplicate(record)).collect();
        assert_eq!(found, expected, "{records:?}");
    }

    #[test]
    fn each_kind_is_told_apart_by_its_own_number() {
        check(&[trade("A", Some(1)), trade("B", Some(1)), trade("A", Some(1))], &[false, false, true]);
        check(&[trade("A", None), trade("A", None)], &[false, false]);
        let quote = || record("A", Data::Quote(Quote::default()));
        check(&[quote(), quote()], &[false, false]);
        let news = |id: Option<&str>, url: &str| {
            let news = News { id: id.map(Into::into), url: Some(url.to_owned()), ..News::default() };
            record("A", Data::News(Box::new(news)))
        };
        check(&[news(Some("1"), "u"), news(Some("1"), "v"), news(Some("2"), "u")], &[false, true, false]);
        check(&[news(None, "u"), news(None, "v"), news(None, "u")], &[false, false, true]);
        let filing = |accession: &str| {
            record("A", Data::Filing(Box::new(Filing { accession: accession.into(), ..Filing::default() })))
        };
        check(&[filing("1"), filing("1"), filing("")], &[false, true, false]);
    }

    #[test]
    fn a_running_bar_that_moved_is_no_duplicate() {
        check(
            &[bar(1, Some(false)), bar(1, Some(false)), bar(2, Some(false)), bar(2, Some(true)), bar(2, Some(true))],
            &[false, true, false, false, true],
        );
    }

    #[test]
    fn windows_are_bounded() {
        check(
            &[trade("A", Some(1)), trade("A", Some(2)), trade("A", Some(1)), trade("A", Some(3)), trade("A", Some(1))],
            &[false, false, true, false, false],
        );
        let mut dedupe = Dedupe::new(DedupeSettings { window: 2, streams_max: 16 });
        for symbol in 0..1_000 {
            assert!(!dedupe.is_duplicate(&trade(&symbol.to_string(), Some(1))));
            assert!(dedupe.streams.len() <= 16);
        }
        assert!(dedupe.is_duplicate(&trade("999", Some(1))));
    }
}
