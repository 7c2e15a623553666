//! Duplicates: what polls that overlap bring twice. Per stream the numbers that were seen, where records are numbered
//! without holes, and for all others a bounded window of what the provider tells them apart by. It also knows how far each
//! stream has come, which is the stream's cursor. Owns no counter and no file.
//! Invariant: memory is bounded by streams times window and spans; a record without a number of its own is never a
//! duplicate.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::cover::Cover;
use crate::model::{Bar, Data, Head, Kind, Record, Stream, number_of};
use crate::source::{self, Ids};

/// Bounds of what is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DedupeSettings {
    /// Records without a consecutive number remembered per stream; zero switches the whole off.
    pub window: usize,
    /// Streams remembered; the one that was quiet longest makes way.
    pub streams_max: usize,
    /// Spans of consecutive numbers remembered per stream; of too many the lowest are forgotten.
    pub spans_max: usize,
    /// Whether values of series and rates, and trades without an id, are told apart by what they say: for a backfill, which
    /// asks for everything once. A poll brings the same value again because it still holds.
    pub by_content: bool,
}

impl Default for DedupeSettings {
    fn default() -> Self {
        // Four pages of the longest that providers serve, and more streams than one host polls. A stream that is followed
        // has one span, and one more for each hole.
        DedupeSettings { window: 4_096, streams_max: 16_384, spans_max: 256, by_content: false }
    }
}

/// What a record does to the cursor of its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Advance {
    /// The newest record is the cursor: polls ask for what is newest, and fill what is missing before it.
    #[default]
    Always,
    /// The cursor moves only over records that go on from it: a backfill fills any part of the past.
    Joined,
}

/// What is known of all streams.
#[derive(Debug)]
pub struct Dedupe {
    settings: DedupeSettings,
    advance: Advance,
    streams: HashMap<u64, Seen>,
    /// Counts records, to tell which stream was quiet longest.
    clock: u64,
}

#[derive(Debug)]
struct Seen {
    stream: Stream,
    is_numbered: bool,
    head: Option<Head>,
    cover: Cover,
    keys: HashSet<u64>,
    order: VecDeque<u64>,
    touched: u64,
    is_changed: bool,
}

/// A stream as it stands in the file of its source's cursors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    /// Which one.
    pub stream: Stream,
    /// How far it has come; nothing when only a backfill has touched it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// Numbers seen.
    #[serde(default)]
    pub seen: Cover,
    /// What the newest records without a number are told apart by, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<u64>,
}

impl Dedupe {
    /// Knows nothing yet.
    pub fn new(settings: DedupeSettings) -> Self {
        Dedupe { settings, advance: Advance::default(), streams: HashMap::new(), clock: 0 }
    }

    /// From here on, records do this to cursors.
    pub fn set_advance(&mut self, advance: Advance) {
        self.advance = advance;
    }

    /// Takes over what an earlier run knew of a stream.
    pub fn restore(&mut self, state: StreamState) {
        let hash = hash_of(state.stream.source.as_str(), state.stream.kind, &state.stream.name, state.stream.interval);
        self.clock += 1;
        let mut seen = Seen::new(state.stream);
        (seen.head, seen.cover, seen.touched) = (state.head, state.seen, self.clock);
        for key in state.keys {
            seen.remember(key, self.settings.window);
        }
        self.streams.insert(hash, seen);
    }

    /// Whether `record` was seen before; remembers it.
    pub fn is_duplicate(&mut self, record: &Record) -> bool {
        if self.settings.window == 0 || !(is_followed(record.kind()) || self.settings.by_content) {
            return false;
        }
        let symbol = record.symbol.as_ref().map(|symbol| symbol.as_str());
        let name = symbol.or(record.native.as_ref().map(|native| native.as_str())).unwrap_or_default();
        let interval = match &record.data {
            Data::Bar(bar) => bar.interval,
            _ => None,
        };
        let hash = hash_of(record.source.as_str(), record.kind(), name, interval);
        self.clock += 1;
        if self.streams.len() >= self.settings.streams_max && !self.streams.contains_key(&hash) {
            self.forget_quietest();
        }
        let seen = self.streams.entry(hash).or_insert_with(|| Seen::new(Stream::of(record)));
        seen.touched = self.clock;
        let is_fresh = match number_of(record, seen.is_numbered) {
            Some(number) => seen.count(number, record, self.settings.spans_max, self.advance),
            None => match key(record, self.settings.by_content) {
                Some(key) => {
                    let is_fresh = seen.remember(key, self.settings.window);
                    if self.advance == Advance::Always && record.kind() != Kind::Bar {
                        seen.move_head(Head { number: None, ts: record.ts_event.unwrap_or_default() });
                    }
                    is_fresh
                }
                None => return false,
            },
        };
        seen.is_changed |= is_fresh;
        !is_fresh
    }

    /// The state of every source that has changed since the last call.
    pub fn changes(&mut self) -> BTreeMap<CompactString, Vec<StreamState>> {
        let mut changes: BTreeMap<CompactString, Vec<StreamState>> = BTreeMap::new();
        for seen in self.streams.values_mut() {
            if std::mem::take(&mut seen.is_changed) {
                changes.entry(seen.stream.source.clone()).or_default();
            }
        }
        for seen in self.streams.values() {
            if let Some(states) = changes.get_mut(&seen.stream.source) {
                states.push(seen.state());
            }
        }
        changes.values_mut().for_each(|states| states.sort_by(|a, b| a.stream.cmp(&b.stream)));
        changes
    }

    /// Has all streams count as changed: what was taken as changes has come to nothing.
    pub fn change_all(&mut self) {
        self.streams.values_mut().for_each(|seen| seen.is_changed = true);
    }

    /// How far each stream has come.
    pub fn heads(&self) -> Vec<(Stream, Head)> {
        self.streams.values().filter_map(|seen| Some((seen.stream.clone(), seen.head?))).collect()
    }

    /// A tenth of the streams at a time, so that the scan is rare.
    fn forget_quietest(&mut self) {
        let mut touched: Vec<u64> = self.streams.values().map(|seen| seen.touched).collect();
        let nth = touched.len() / 10;
        let (_, limit, _) = touched.select_nth_unstable(nth);
        let limit = *limit;
        self.streams.retain(|_, seen| seen.touched > limit);
    }
}

impl Seen {
    fn new(stream: Stream) -> Self {
        let past =
            source::find(&stream.source).and_then(|source| source.spec().kind(stream.kind)).map(|kind| kind.past);
        Seen {
            is_numbered: past.is_some_and(|past| past.ids != Ids::Loose),
            stream,
            head: None,
            cover: Cover::default(),
            keys: HashSet::new(),
            order: VecDeque::new(),
            touched: 0,
            is_changed: false,
        }
    }

    /// Notes a number; `false` when it was there.
    fn count(&mut self, number: u64, record: &Record, spans_max: usize, advance: Advance) -> bool {
        let at = Head { number: Some(number), ts: record.ts_event.unwrap_or_default() };
        if record.kind() == Kind::Trade && self.head.is_some_and(|head| head.restarts_with(at)) {
            tracing::warn!(stream = %self.stream, number, "the provider numbers trades anew: what was seen before no longer counts");
            (self.head, self.cover) = (None, Cover::default());
        }
        if !self.cover.insert(number, spans_max) {
            return false;
        }
        match advance {
            Advance::Always => self.move_head(at),
            Advance::Joined => {
                // What filled the hole behind the cursor may have joined it to more.
                if let Some(head) = &mut self.head
                    && let Some(end) = head.number.and_then(|number| self.cover.end_of(number))
                    && head.number.is_some_and(|number| number < end)
                {
                    *head = Head { number: Some(end), ts: head.ts.max(at.ts) };
                }
            }
        }
        true
    }

    fn move_head(&mut self, to: Head) {
        match &mut self.head {
            Some(head) => {
                let before = *head;
                head.advance(to);
                self.is_changed |= *head != before;
            }
            None => (self.head, self.is_changed) = (Some(to), true),
        }
    }

    /// Notes a key; `false` when it was there.
    fn remember(&mut self, key: u64, window: usize) -> bool {
        if !self.keys.insert(key) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > window
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
        true
    }

    fn state(&self) -> StreamState {
        let kept = match self.stream.kind {
            // Polls bring the same articles and filings for days.
            Kind::News | Kind::Filing => self.order.len(),
            Kind::Trade => KEPT_TRADES,
            Kind::Bar => KEPT_RUNNING_BARS,
            _ => 0,
        };
        let keys = self.order.iter().skip(self.order.len().saturating_sub(kept)).copied().collect();
        let mut seen = self.cover.clone();
        seen.trim(KEPT_SPANS);
        StreamState { stream: self.stream.clone(), head: self.head, seen, keys }
    }
}

/// Whether records of a kind have what tells them apart for good.
fn is_followed(kind: Kind) -> bool {
    matches!(kind, Kind::Bar | Kind::Filing | Kind::News | Kind::Trade)
}

fn hash_of(source: &str, kind: Kind, name: &str, interval: Option<crate::model::Interval>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (source, kind, name, interval).hash(&mut hasher);
    hasher.finish()
}

/// What tells a record apart within its stream, as a hash; `None` when nothing does. With 4,096 in a window, two
/// different records share one in 10^12 streams.
fn key(record: &Record, by_content: bool) -> Option<u64> {
    let mut hasher = Stable::default();
    match &record.data {
        Data::Trade(trade) => match &trade.id {
            Some(id) => id.hash(&mut hasher),
            None if by_content => (record.ts_event, trade.price, trade.size).hash(&mut hasher),
            None => return None,
        },
        Data::News(news) => match (&news.id, &news.url) {
            (Some(id), _) => id.hash(&mut hasher),
            (None, Some(url)) => url.hash(&mut hasher),
            (None, None) => return None,
        },
        Data::Filing(filing) if !filing.accession.is_empty() => filing.accession.hash(&mut hasher),
        Data::Bar(bar) => bar_key(bar, &mut hasher),
        // A value that was revised is another.
        Data::Observation(one) if by_content => (&one.series, &one.period, one.value).hash(&mut hasher),
        Data::Rate(rate) if by_content => (&rate.base, &rate.quote, &rate.date, rate.value).hash(&mut hasher),
        _ => return None,
    }
    Some(hasher.finish())
}

/// A closed bar is told by its start. A running one also by what it says: the same bar with a later close is no
/// duplicate but news.
fn bar_key(bar: &Bar, hasher: &mut Stable) {
    (bar.interval, bar.start, bar.closed).hash(hasher);
    if bar.closed != Some(true) {
        (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trades).hash(hasher);
    }
}

/// FNV-1a of 64 bits, mixed at the end: keys are kept between runs, and the standard library's hasher may become another
/// with any release of it.
struct Stable(u64);

impl Default for Stable {
    fn default() -> Self {
        Stable(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Stable {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    }
}

/// Keys kept between runs: of trades as many as the longest page without consecutive ids, of bars the running ones.
const KEPT_TRADES: usize = 1_000;
const KEPT_RUNNING_BARS: usize = 8;
/// Spans kept between runs.
const KEPT_SPANS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Filing, Interval, News, Quote, SourceId, Symbol, Trade};
    use crate::time::UnixNanos;

    fn record(symbol: &str, data: Data) -> Record {
        Record {
            seq: 0,
            source: SourceId("bybit"),
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
        let mut dedupe = Dedupe::new(DedupeSettings { window: 2, streams_max: 16, ..DedupeSettings::default() });
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
        let mut dedupe = Dedupe::new(DedupeSettings { window: 2, streams_max: 16, ..DedupeSettings::default() });
        for symbol in 0..1_000 {
            assert!(!dedupe.is_duplicate(&trade(&symbol.to_string(), Some(1))));
            assert!(dedupe.streams.len() <= 16);
        }
        assert!(dedupe.is_duplicate(&trade("999", Some(1))));
    }

    /// A trade of a source whose ids are consecutive.
    fn numbered(id: u64, secs: i64) -> Record {
        Record { source: SourceId("binance"), ts_event: UnixNanos::from_secs(secs), ..trade("A", Some(id)) }
    }

    fn head(dedupe: &Dedupe) -> Option<u64> {
        dedupe.heads().first().and_then(|(_, head)| head.number)
    }

    #[test]
    fn consecutive_numbers_are_remembered_for_ever() {
        let mut dedupe = Dedupe::new(DedupeSettings { window: 2, ..DedupeSettings::default() });
        for id in 1..=1_000 {
            assert!(!dedupe.is_duplicate(&numbered(id, 100)));
        }
        assert!((1..=1_000).all(|id| dedupe.is_duplicate(&numbered(id, 100))));
        assert!(!dedupe.is_duplicate(&numbered(1_005, 100)) && !dedupe.is_duplicate(&numbered(1_002, 100)));
        assert!(dedupe.is_duplicate(&numbered(1_002, 100)) && !dedupe.is_duplicate(&numbered(1_003, 100)));
        assert_eq!(head(&dedupe), Some(1_005));
    }

    #[test]
    fn a_backfill_moves_a_cursor_only_where_it_joins() {
        let mut dedupe = Dedupe::new(DedupeSettings::default());
        dedupe.is_duplicate(&numbered(10, 100));
        dedupe.set_advance(Advance::Joined);
        assert!(!dedupe.is_duplicate(&numbered(13, 101)) && !dedupe.is_duplicate(&numbered(5, 99)));
        assert_eq!(head(&dedupe), Some(10));
        assert!(!dedupe.is_duplicate(&numbered(11, 100)));
        assert_eq!(head(&dedupe), Some(11));
        assert!(!dedupe.is_duplicate(&numbered(12, 101)), "it closes the hole");
        assert_eq!(head(&dedupe), Some(13));
    }

    #[test]
    fn ids_that_begin_anew_are_not_taken_for_old_ones() {
        let mut dedupe = Dedupe::new(DedupeSettings::default());
        assert!(!dedupe.is_duplicate(&numbered(1_000, 100)) && !dedupe.is_duplicate(&numbered(1, 90)));
        assert!(dedupe.is_duplicate(&numbered(1, 160)));
        assert!(!dedupe.is_duplicate(&numbered(1, 161)) && dedupe.is_duplicate(&numbered(1, 161)));
        assert_eq!(head(&dedupe), Some(1));
    }

    #[test]
    fn what_was_seen_outlives_a_run() {
        let settings = DedupeSettings::default();
        let (mut before, mut after) = (Dedupe::new(settings), Dedupe::new(settings));
        let news =
            |id: u64| record("A", Data::News(Box::new(News { id: Some(id.to_string().into()), ..News::default() })));
        let all = || (1..=9).flat_map(|id| [numbered(id, 100), news(id), bar(id, Some(true)), trade("B", Some(id))]);
        all().for_each(|record| {
            before.is_duplicate(&record);
        });
        let changes = before.changes();
        assert_eq!(changes.keys().map(CompactString::as_str).collect::<Vec<_>>(), ["binance", "bybit"]);
        for state in changes.into_values().flatten() {
            let text = serde_json::to_vec(&state).unwrap();
            after.restore(serde_json::from_slice(&text).unwrap());
        }
        assert!(before.changes().is_empty() && after.changes().is_empty());
        assert!(all().all(|record| after.is_duplicate(&record)));
        assert!(!after.is_duplicate(&numbered(10, 100)) && !after.is_duplicate(&news(10)));
    }

    #[test]
    fn values_are_told_apart_by_content_where_that_is_asked_for() {
        let value = |value: u64| {
            let data = crate::model::Observation { value: Some(value.into()), ..Default::default() };
            record("A", Data::Observation(data))
        };
        let mut plain = Dedupe::new(DedupeSettings::default());
        assert!(!plain.is_duplicate(&value(1)) && !plain.is_duplicate(&value(1)));
        let mut exact = Dedupe::new(DedupeSettings { by_content: true, ..DedupeSettings::default() });
        assert!(!exact.is_duplicate(&value(1)) && exact.is_duplicate(&value(1)) && !exact.is_duplicate(&value(2)));
    }
}
