//! Gaps: records that were missed between two polls. Which they are, the question that brings them, and the file in which
//! those stand that no question brought, `gaps.ndjson`: one line when a gap stays open or is lost, one when it is refilled.
//! Asks nobody. Invariant: the line of a gap is durable before anything behind the gap is published.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use compact_str::{CompactString, format_compact};
use serde::{Deserialize, Serialize};

use crate::metrics::GapState;
use crate::model::{Data, Head, Kind, Query, Record, Stream, Symbol, TimeRange, number_of};
use crate::source::{Ids, Past, Reach};
use crate::time::UnixNanos;

/// Records of one stream that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Whose.
    pub stream: Stream,
    /// The first and the last id, where trades are numbered.
    pub ids: Option<(u64, u64)>,
    /// Between which times.
    pub range: TimeRange,
}

/// A line of the file. `from` and `to` are ids, both included, or nanoseconds, the second excluded.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    at: UnixNanos,
    stream: Stream,
    by: By,
    from: u64,
    to: u64,
    /// Of a gap by ids, the times around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<UnixNanos>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<UnixNanos>,
    state: GapState,
    reason: CompactString,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    Id,
    Time,
}

impl Gap {
    /// What is missing between `head` and the oldest of a stream's newest records.
    pub fn find(stream: &Stream, head: Head, records: &[&Record], past: Past) -> Option<Gap> {
        let oldest =
            records.iter().filter_map(|record| place(record, past)).min_by_key(|place| (place.number, place.ts))?;
        let (ids, range) = match (stream.kind, oldest.number, head.number) {
            (Kind::Trade, Some(number), Some(last)) => {
                let (from, to) = (last.checked_add(1)?, number.checked_sub(1)?);
                if from > to {
                    return None;
                }
                let before = oldest.ts.saturating_add(Duration::from_nanos(1));
                (Some((from, to)), TimeRange { from: head.ts.min(oldest.ts), to: before })
            }
            (Kind::Trade, ..) => return None,
            _ if oldest.ts > head.ts => (None, TimeRange { from: head.ts, to: oldest.ts }),
            _ => return None,
        };
        Some(Gap { stream: stream.clone(), ids, range })
    }

    /// Whether a record is one of the missing.
    pub fn holds(&self, record: &Record) -> bool {
        let is_inside = |at: UnixNanos| self.range.from <= at && at < self.range.to;
        self.stream.holds(record)
            && match (&record.data, self.ids) {
                (_, Some((from, to))) => number_of(record, true).is_some_and(|number| from <= number && number <= to),
                (Data::Bar(bar), None) => is_inside(bar.start),
                (_, None) => record.ts_event.is_some_and(is_inside),
            }
    }

    /// Whether a record lies so far outside that a provider that knows spans of time would not have sent it: some know
    /// them by the day.
    pub fn is_far_from(&self, record: &Record) -> bool {
        let at = match &record.data {
            Data::Bar(bar) => Some(bar.start),
            _ => record.ts_event,
        };
        let range = self.range;
        self.ids.is_none()
            && at.is_some_and(|at| at < range.from.saturating_sub(DAY) || at > range.to.saturating_add(DAY))
    }

    /// How many records are missing, where that can be told.
    pub fn rows(&self) -> Option<u64> {
        if let Some((from, to)) = self.ids {
            return Some(to - from + 1);
        }
        let length = self.stream.interval?.duration()?;
        Some((self.range.to.since(self.range.from).as_nanos() / length.as_nanos().max(1)) as u64)
    }

    /// The first question that brings it; `None` when the provider takes none.
    pub fn query(&self, past: Past) -> Option<Query> {
        let rows = u64::from(past.rows).min(PAGE_ROWS_MAX);
        let rows = self.rows().unwrap_or(rows).clamp(1, rows.max(1));
        let mut query = Query { interval: self.stream.interval, ..Query::new(self.stream.kind) };
        query.limit = u32::try_from(rows).ok();
        if !self.stream.name.is_empty() {
            query.symbols.push(Symbol::new(&self.stream.name));
        }
        match (self.ids, past.ids) {
            (Some((from, _)), Ids::Forward) => query.cursor = Some(format_compact!("{from}")),
            (Some((_, to)), Ids::Backward) => query.cursor = Some(format_compact!("{}", to.checked_add(1)?)),
            _ if past.ranges => query.range = Some(self.range),
            _ => return None,
        }
        Some(query)
    }

    /// What is left of it after a page.
    pub fn after_page(&self, records: &[Record], past: Past) -> Gap {
        let numbers = records.iter().filter_map(|record| number_of(record, true));
        let ids = self.ids.map(|(from, to)| match past.ids {
            Ids::Forward => (numbers.max().map_or(from, |last| last.saturating_add(1).max(from)), to),
            Ids::Backward => (from, numbers.min().map_or(to, |first| first.saturating_sub(1).min(to))),
            _ => (from, to),
        });
        Gap { ids, ..self.clone() }
    }

    /// Whether nothing of it is left.
    pub fn is_empty(&self) -> bool {
        self.ids.is_some_and(|(from, to)| from > to)
    }

    /// Splits it where the provider no longer serves: what it does not, and what it does.
    pub fn split(self, reach: Reach, now: UnixNanos) -> (Option<Gap>, Option<Gap>) {
        let reach = match reach {
            Reach::All => return (None, Some(self)),
            Reach::Rows(rows) => self.stream.interval.and_then(|length| length.duration()).map(|length| length * rows),
            Reach::Time(time) => Some(time),
        };
        let Some(limit) = reach.map(|reach| now.saturating_sub(reach)) else { return (None, Some(self)) };
        if self.range.from >= limit {
            return (None, Some(self));
        }
        if self.range.to <= limit || self.ids.is_some() {
            return (Some(self), None);
        }
        let lost = Gap { range: TimeRange { to: limit, ..self.range }, ..self.clone() };
        (Some(lost), Some(Gap { range: TimeRange { from: limit, ..self.range }, ..self }))
    }

    /// Its two ends, as they are recorded.
    pub fn ends(&self) -> (u64, u64) {
        let nanos = |at: UnixNanos| u64::try_from(at.as_nanos()).unwrap_or(0);
        self.ids.unwrap_or((nanos(self.range.from), nanos(self.range.to)))
    }
}

/// Where a record stands in its stream: of a bar its start.
fn place(record: &Record, past: Past) -> Option<Head> {
    Some(match &record.data {
        Data::Bar(bar) => Head { number: None, ts: bar.start },
        Data::Trade(_) => Head { number: Some(number_of(record, past.ids != Ids::Loose)?), ts: record.ts_event? },
        Data::Filing(_) | Data::News(_) => Head { number: None, ts: record.ts_event? },
        _ => return None,
    })
}

/// How far a record takes its stream; `None` when it is none to be followed, or a bar that is still running.
pub fn head_of(record: &Record, past: Past) -> Option<Head> {
    match &record.data {
        Data::Bar(bar) => (bar.closed == Some(true)).then_some(Head { number: None, ts: bar.end? }),
        _ => place(record, past),
    }
}

/// Adds a line to the file and makes it durable. Blocks. A file that has grown too big makes way first, and the one
/// before it is dropped.
///
/// # Errors
/// The system's refusal.
pub fn record(path: &Path, gap: &Gap, state: GapState, reason: &str, at: UnixNanos) -> io::Result<()> {
    let (from, to) = gap.ends();
    let times = gap.ids.map(|_| gap.range);
    let line = Line {
        at,
        stream: gap.stream.clone(),
        by: if gap.ids.is_some() { By::Id } else { By::Time },
        from,
        to,
        after: times.map(|range| range.from),
        before: times.map(|range| range.to),
        state,
        reason: reason.into(),
    };
    let mut text = serde_json::to_vec(&line)?;
    text.push(b'\n');
    if fs::metadata(path).is_ok_and(|meta| meta.len() > FILE_BYTES_MAX) {
        fs::rename(path, path.with_extension("1.ndjson"))?;
    }
    // One write: other shards add to the same file.
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(&text)?;
    file.sync_data()
}

/// The gaps that stand open in the file, oldest first; a line that cannot be read is left out.
pub fn open_in(path: &Path) -> Vec<Gap> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut last: BTreeMap<(Stream, u64, u64), Line> = BTreeMap::new();
    for line in text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
        last.insert((line.stream.clone(), line.from, line.to), line);
    }
    let mut open: Vec<Line> = last.into_values().filter(|line| line.state == GapState::Open).collect();
    open.sort_by_key(|line| line.at);
    let gap = |line: Line| {
        let nanos = |at: u64| UnixNanos::from_nanos(i64::try_from(at).unwrap_or(i64::MAX));
        let (ids, range) = match line.by {
            By::Id => (Some((line.from, line.to)), TimeRange { from: line.after?, to: line.before? }),
            By::Time => (None, TimeRange { from: nanos(line.from), to: nanos(line.to) }),
        };
        Some(Gap { stream: line.stream, ids, range })
    };
    open.into_iter().filter_map(gap).collect()
}

const DAY: Duration = Duration::from_secs(86_400);
/// Enough for a hundred thousand gaps.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Rows of one page at most, where a provider would serve more: what a page brings waits in memory.
const PAGE_ROWS_MAX: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Interval, SourceId, Trade};

    const FORWARD: Past = Past::ranged(1_000).ids(Ids::Forward);

    fn at(secs: i64) -> UnixNanos {
        UnixNanos::from_secs(secs).unwrap()
    }

    fn trade(id: u64, secs: i64) -> Record {
        let id = Some(id.to_string().into());
        let data = Data::Trade(Trade { id, price: 1_u64.into(), size: 1_u64.into(), side: None, volume_unit: None });
        Record {
            seq: 0,
            source: SourceId("binance"),
            symbol: Some(Symbol::new("BTC-USDT")),
            native: None,
            ts_event: Some(at(secs)),
            ts_recv: UnixNanos::EPOCH,
            ts_publish: UnixNanos::EPOCH,
            attempt: 0,
            data,
        }
    }

    fn gap(ids: Option<(u64, u64)>, from: i64, to: i64, stream: &str) -> Gap {
        Gap { stream: stream.parse().unwrap(), ids, range: TimeRange { from: at(from), to: at(to) } }
    }

    #[test]
    fn a_missing_number_is_a_gap_and_none_else() {
        let check = |head: u64, ids: &[u64], expected: Option<(u64, u64)>| {
            let records: Vec<Record> = ids.iter().map(|id| trade(*id, 100)).collect();
            let records: Vec<&Record> = records.iter().collect();
            let head = Head { number: Some(head), ts: at(50) };
            let found = Gap::find(&Stream::of(records[0]), head, &records, FORWARD);
            assert_eq!(found.and_then(|gap| gap.ids), expected, "{ids:?}");
        };
        check(10, &[11, 12], None);
        check(10, &[9, 10, 11], None);
        check(10, &[5, 6], None);
        check(10, &[12, 13], Some((11, 11)));
        check(10, &[700, 20], Some((11, 19)));
        let one = trade(99, 100);
        let head = Head { number: Some(10), ts: at(50) };
        assert_eq!(
            Gap::find(&Stream::of(&one), head, &[&one], Past::ranged(1_000)),
            None,
            "ids with holes tell nothing"
        );
    }

    #[test]
    fn each_way_of_asking_has_its_question() {
        let ids = gap(Some((11, 19)), 50, 100, "binance trade BTC-USDT");
        let query = ids.query(FORWARD).unwrap();
        assert_eq!((query.cursor.as_deref(), query.range, query.limit), (Some("11"), None, Some(9)));
        let query = ids.query(Past::ranged(100).ids(Ids::Backward)).unwrap();
        assert_eq!((query.cursor.as_deref(), query.limit), (Some("20"), Some(9)));
        let query = ids.query(Past::ranged(5).ids(Ids::ByTime)).unwrap();
        assert_eq!((query.cursor, query.range, query.limit), (None, Some(ids.range), Some(5)));
        assert_eq!(ids.query(Past::NONE), None);
        let bars = gap(None, 600, 1_200, "kraken bar BTC-USD 1m");
        let query = bars.query(Past::ranged(720)).unwrap();
        assert_eq!((query.interval, query.limit, bars.rows()), (Some(Interval::MINUTE), Some(10), Some(10)));
        assert_eq!(gap(None, 0, 9, "newsapi news").query(Past::ranged(9)).unwrap().symbols, []);
    }

    #[test]
    fn pages_take_from_the_end_they_come_from() {
        let whole = gap(Some((11, 19)), 50, 100, "binance trade BTC-USDT");
        let page: Vec<Record> = (11..=14).map(|id| trade(id, 60)).collect();
        assert_eq!(whole.after_page(&page, FORWARD).ids, Some((15, 19)));
        assert_eq!(whole.after_page(&[], FORWARD), whole);
        let back = Past::ranged(9).ids(Ids::Backward);
        let page: Vec<Record> = (5..=19).map(|id| trade(id, 60)).collect();
        assert!(whole.after_page(&page, back).is_empty() && !whole.is_empty());
        assert!(whole.holds(&page[6]) && !whole.holds(&page[5]));
    }

    #[test]
    fn what_a_provider_no_longer_serves_is_cut_off() {
        let bars = || gap(None, 0, 60_000, "kraken bar BTC-USD 1m");
        let check = |now: i64, lost: Option<(i64, i64)>, left: Option<(i64, i64)>| {
            let ends = |gap: Option<Gap>| gap.map(|gap| (gap.range.from.as_secs(), gap.range.to.as_secs()));
            let (found_lost, found_left) = bars().split(Reach::Rows(720), at(now));
            assert_eq!((ends(found_lost), ends(found_left)), (lost, left), "{now}");
        };
        check(43_200, None, Some((0, 60_000)));
        check(43_260, Some((0, 60)), Some((60, 60_000)));
        check(200_000, Some((0, 60_000)), None);
        assert_eq!(bars().split(Reach::All, at(9_999_999)).0, None);
    }

    #[test]
    fn the_file_tells_which_gaps_are_open() {
        let path = std::env::temp_dir().join(format!("tidegate-gaps-{}.ndjson", std::process::id()));
        let _ = fs::remove_file(&path);
        assert_eq!(open_in(&path), []);
        let ids = gap(Some((11, 19)), 50, 100, "binance trade BTC-USDT");
        let bars = gap(None, 600, 1_200, "kraken bar BTC-USD 1m");
        record(&path, &ids, GapState::Open, "rate_limited: quota", at(1)).unwrap();
        record(&path, &bars, GapState::Open, "\"x\"", at(2)).unwrap();
        assert_eq!(open_in(&path), [ids.clone(), bars.clone()]);
        record(&path, &ids, GapState::Refilled, "", at(3)).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"half\":").unwrap();
        assert_eq!(open_in(&path), [bars]);
        fs::remove_file(&path).unwrap();
    }
}
