//! The cells of the sink core: how long records waited for it and took to be written, how old the newest record of each
//! instrument is, and how the journal and the sinks do.
//! Invariants: one writer, the sink core; readers hold it up at most while it notes an instrument it has not seen before
//! or tells of the journal, which is once a second.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::cells::Counter;
use super::core::CoreCells;
use super::histogram::{Counts, Histogram};
use super::parts::{CollectorStatus, DataAge};
use crate::model::{Kind, Record, SourceId, Symbol};
use crate::time::UnixNanos;

/// The cells of the sink core.
#[derive(Debug)]
pub struct SinkCells {
    core: Arc<CoreCells>,
    rows: Vec<Row>,
    ages: Mutex<Vec<Arc<Age>>>,
    symbols_max: usize,
    status: Mutex<CollectorStatus>,
}

#[derive(Debug)]
struct Row {
    source: SourceId,
    buffer_wait: Histogram,
    sink_write: Histogram,
}

/// What is known of the records of one instrument, or of all instruments of a kind beyond the bound.
#[derive(Debug)]
struct Age {
    source: SourceId,
    kind: Kind,
    symbol: Option<Symbol>,
    /// Stands for all symbols that have no row of their own.
    is_rest: bool,
    records: Counter,
    /// The newest `ts_event`; zero while none has been given.
    event: AtomicI64,
    /// When the last record entered the buffer.
    published: AtomicI64,
}

impl SinkCells {
    /// Cells for these sources. Up to `symbols_max` symbols of one source and kind are known apart.
    pub fn new(core: Arc<CoreCells>, sources: &[SourceId], symbols_max: usize) -> Arc<Self> {
        let row =
            |source: &SourceId| Row { source: *source, buffer_wait: Histogram::new(), sink_write: Histogram::new() };
        Arc::new(SinkCells {
            core,
            rows: sources.iter().map(row).collect(),
            ages: Mutex::default(),
            symbols_max,
            status: Mutex::default(),
        })
    }

    /// The cells of its core.
    pub fn core(&self) -> &Arc<CoreCells> {
        &self.core
    }

    /// The writer, which the sink core takes.
    pub fn recorder(self: &Arc<Self>) -> SinkRecorder {
        SinkRecorder { cells: self.clone(), known: HashMap::new(), kinds: HashMap::new(), last: None }
    }

    /// Tells how the journal and the sinks do.
    pub fn tell(&self, status: &CollectorStatus) {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone_from(status);
    }

    /// How the journal and the sinks do.
    pub fn status(&self) -> CollectorStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How old the newest record of each instrument is, by source, kind and symbol.
    pub fn ages(&self, now: UnixNanos) -> Vec<DataAge> {
        let mut ages: Vec<DataAge> =
            self.ages.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|age| age.read(now)).collect();
        ages.sort_by(|a, b| (&a.source, &a.kind, &a.symbol).cmp(&(&b.source, &b.kind, &b.symbol)));
        ages
    }

    fn add(&self, age: Arc<Age>) -> Arc<Age> {
        self.ages.lock().unwrap_or_else(PoisonError::into_inner).push(age.clone());
        age
    }

    /// Adds what a source's records waited for the sink core and what writing them took.
    pub(super) fn read(&self, source: SourceId, buffer_wait: &mut Counts, sink_write: &mut Counts) {
        if let Some(row) = self.rows.iter().find(|row| row.source == source) {
            row.buffer_wait.read(buffer_wait);
            row.sink_write.read(sink_write);
        }
    }
}

impl Age {
    fn new(source: SourceId, kind: Kind, symbol: Option<Symbol>, is_rest: bool) -> Arc<Age> {
        let (records, event, published) = (Counter::default(), AtomicI64::new(0), AtomicI64::new(0));
        Arc::new(Age { source, kind, symbol, is_rest, records, event, published })
    }

    fn note(&self, record: &Record) {
        self.records.add(1);
        if let Some(event) = record.ts_event
            && event.as_nanos() > self.event.load(Ordering::Relaxed)
        {
            self.event.store(event.as_nanos(), Ordering::Relaxed);
        }
        self.published.store(record.ts_publish.as_nanos(), Ordering::Relaxed);
    }

    fn read(&self, now: UnixNanos) -> DataAge {
        let age = |at: &AtomicI64| {
            let at = at.load(Ordering::Relaxed);
            (at != 0).then(|| now.since(UnixNanos::from_nanos(at)).as_millis() as u64)
        };
        let rest = self.is_rest.then(|| REST.to_owned());
        DataAge {
            source: self.source.as_str().to_owned(),
            kind: self.kind.as_str().to_owned(),
            symbol: self.symbol.as_ref().map(|symbol| symbol.as_str().to_owned()).or(rest),
            records: self.records.read(),
            event_age_ms: age(&self.event),
            record_age_ms: age(&self.published),
            every_ms: None,
        }
    }
}

/// The symbols of one source and kind: how many are known apart, and what stands for the rest.
#[derive(Debug, Default)]
struct Apart {
    count: usize,
    rest: Option<Arc<Age>>,
}

/// Writes the sink core's cells. It belongs to the thread that took it.
#[derive(Debug)]
pub struct SinkRecorder {
    cells: Arc<SinkCells>,
    known: HashMap<(SourceId, Kind, Option<Symbol>), Arc<Age>>,
    kinds: HashMap<(SourceId, Kind), Apart>,
    /// Whose record came last: an answer's records are mostly of one instrument.
    last: Option<Arc<Age>>,
}

impl SinkRecorder {
    /// Records what was taken from the buffer, duplicates included.
    pub fn taken(&mut self, records: &[Record], now: UnixNanos) {
        let mut row = 0;
        for record in records {
            if let Some(row) = self.row(&mut row, record.source) {
                row.buffer_wait.record(now.since(record.ts_publish));
            }
            let same = self.last.as_ref().filter(|age| {
                age.kind == record.kind() && age.source == record.source && !age.is_rest && age.symbol == record.symbol
            });
            match same {
                Some(age) => age.note(record),
                None => {
                    let age = self.age(record);
                    age.note(record);
                    self.last = Some(age);
                }
            }
        }
    }

    /// Records that what was taken at `taken` has been written.
    pub fn written(&self, records: &[Record], taken: UnixNanos, now: UnixNanos) {
        let mut row = 0;
        for record in records {
            if let Some(row) = self.row(&mut row, record.source) {
                row.sink_write.record(now.since(taken));
            }
        }
    }

    /// The row of a source: at `hint`, where the last one was, or searched for.
    fn row(&self, hint: &mut usize, source: SourceId) -> Option<&Row> {
        let rows = &self.cells.rows;
        if rows.get(*hint).is_none_or(|row| row.source != source) {
            *hint = rows.iter().position(|row| row.source == source)?;
        }
        rows.get(*hint)
    }

    fn age(&mut self, record: &Record) -> Arc<Age> {
        let (source, kind) = (record.source, record.kind());
        let key = (source, kind, record.symbol.clone());
        if let Some(age) = self.known.get(&key) {
            return age.clone();
        }
        let apart = self.kinds.entry((source, kind)).or_default();
        if apart.count >= self.cells.symbols_max {
            let add = || self.cells.add(Age::new(source, kind, None, true));
            return apart.rest.get_or_insert_with(add).clone();
        }
        apart.count += 1;
        let age = self.cells.add(Age::new(source, kind, record.symbol.clone(), false));
        self.known.insert(key, age.clone());
        age
    }
}

/// Stands for all symbols without a row of their own.
const REST: &str = "*";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Data, Quote};

    const A: SourceId = SourceId("a");

    fn quote(symbol: &str, event_ms: i64, published_ms: i64) -> Record {
        Record {
            seq: 0,
            attempt: 0,
            source: A,
            symbol: Some(Symbol::new(symbol)),
            native: None,
            ts_event: UnixNanos::from_millis(event_ms),
            ts_recv: UnixNanos::EPOCH,
            ts_publish: UnixNanos::from_millis(published_ms).unwrap(),
            data: Data::Quote(Quote::default()),
        }
    }

    #[test]
    fn each_instrument_has_its_age_up_to_the_bound() {
        let cells = SinkCells::new(CoreCells::new("sink", None), &[A], 2);
        let mut recorder = cells.recorder();
        let at = |ms| UnixNanos::from_millis(ms).unwrap();
        recorder.taken(&[quote("X", 100, 1_000), quote("Y", 200, 1_000), quote("X", 50, 1_500)], at(1_600));
        recorder.taken(&[quote("Z", 900, 2_000), quote("Q", 800, 2_100)], at(2_100));
        recorder.written(&[quote("Z", 900, 2_000)], at(2_100), at(2_103));
        let ages = cells.ages(at(3_000));
        let seen: Vec<_> = ages
            .iter()
            .map(|age| {
                (age.symbol.as_deref().unwrap(), age.records, age.event_age_ms.unwrap(), age.record_age_ms.unwrap())
            })
            .collect();
        assert_eq!(seen, [("*", 2, 2_100, 900), ("X", 2, 2_900, 1_500), ("Y", 1, 2_800, 2_000)]);
        let (mut wait, mut write) = (Counts::new(), Counts::new());
        cells.read(A, &mut wait, &mut write);
        assert_eq!((wait.count(), wait.max_nanos(), write.max_nanos()), (5, 600_000_000, 3_000_000));
    }
}
