//! The tap: a copy of every record that is written, for readers who come and go. The sink core offers, readers on other
//! executors take; each has a bounded queue of lines and a filter.
//! Invariants: without a reader an offer is one load; a reader that is slow loses records, which are counted, and never
//! holds the sink core up; records reach a reader in their order.

use bytes::Bytes;

use super::doorbell::Doorbell;
use super::sync::{Arc, AtomicU64, AtomicUsize, Mutex, Ordering, Queue, lock};
use crate::metrics::TapSnapshot;
use crate::model::{Kind, Record, SourceId, Symbol};

/// Where records are tapped; clones share it.
#[derive(Clone)]
pub struct Tap {
    shared: Arc<Shared>,
}

struct Shared {
    /// How many seats there are; read without the lock.
    readers: AtomicUsize,
    seats: Mutex<Vec<Arc<Seat>>>,
    lost: AtomicU64,
}

struct Seat {
    filter: TapFilter,
    lines: Queue<Bytes>,
    /// Records lost that the reader has not been told of.
    lost: AtomicU64,
    filled: Doorbell,
}

/// Which records a reader wants; an empty list wants all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TapFilter {
    /// Of these sources.
    pub sources: Vec<SourceId>,
    /// Of these kinds.
    pub kinds: Vec<Kind>,
    /// Of these instruments.
    pub symbols: Vec<Symbol>,
}

impl TapFilter {
    fn wants(&self, record: &Record) -> bool {
        (self.sources.is_empty() || self.sources.contains(&record.source))
            && (self.kinds.is_empty() || self.kinds.contains(&record.kind()))
            && (self.symbols.is_empty() || record.symbol.as_ref().is_some_and(|symbol| self.symbols.contains(symbol)))
    }
}

/// What comes out of the tap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tapped {
    /// A record as its line in the journal, without the line's end.
    Record(Bytes),
    /// So many records were lost here.
    Lost(u64),
}

impl Tap {
    /// A tap without readers.
    pub fn new() -> Tap {
        let shared = Shared { readers: AtomicUsize::new(0), seats: Mutex::new(Vec::new()), lost: AtomicU64::new(0) };
        Tap { shared: Arc::new(shared) }
    }

    /// Offers records that were written, numbered from `first_seq` on; 0 when they have no numbers.
    pub fn offer(&self, records: &[Record], first_seq: u64) {
        let shared = &*self.shared;
        if shared.readers.load(Ordering::Relaxed) == 0 {
            return;
        }
        let seats = lock(&shared.seats);
        let mut line = Vec::new();
        for (index, record) in records.iter().enumerate() {
            let mut shown: Option<Bytes> = None;
            for seat in seats.iter().filter(|seat| seat.filter.wants(record)) {
                let shown = shown.get_or_insert_with(|| {
                    line.clear();
                    let seq = if first_seq == 0 { 0 } else { first_seq + index as u64 };
                    record.encode_line_as(seq, &mut line);
                    Bytes::copy_from_slice(line.trim_ascii_end())
                });
                if seat.lines.push(shown.clone()).is_err() {
                    seat.lost.fetch_add(1, Ordering::Relaxed);
                    shared.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        seats.iter().for_each(|seat| seat.filled.ring());
    }

    /// Takes a seat for up to `queue_len` records that wait; `None` when `readers_max` seats are taken.
    pub fn join(&self, filter: TapFilter, queue_len: usize, readers_max: usize) -> Option<TapReader> {
        let mut seats = lock(&self.shared.seats);
        if seats.len() >= readers_max {
            return None;
        }
        let seat = Arc::new(Seat {
            filter,
            lines: Queue::new(queue_len.max(1)),
            lost: AtomicU64::new(0),
            filled: Doorbell::new(),
        });
        seats.push(seat.clone());
        self.shared.readers.store(seats.len(), Ordering::Relaxed);
        Some(TapReader { tap: self.clone(), seat })
    }

    /// How many readers there are, and what they have lost.
    pub fn snapshot(&self) -> TapSnapshot {
        TapSnapshot {
            readers: self.shared.readers.load(Ordering::Relaxed) as u64,
            lost: self.shared.lost.load(Ordering::Relaxed),
        }
    }
}

impl Default for Tap {
    fn default() -> Self {
        Tap::new()
    }
}

/// A reader's seat; dropping it leaves.
pub struct TapReader {
    tap: Tap,
    seat: Arc<Seat>,
}

impl TapReader {
    /// Waits for what comes next.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&self) -> Tapped {
        self.seat.filled.wait(|| self.take()).await
    }

    /// What is there already.
    pub fn take(&self) -> Option<Tapped> {
        // Losses came after what still waits, but a reader that keeps losing would not hear of them then.
        match self.seat.lost.swap(0, Ordering::Relaxed) {
            0 => self.seat.lines.pop().map(Tapped::Record),
            lost => Some(Tapped::Lost(lost)),
        }
    }
}

impl Drop for TapReader {
    fn drop(&mut self) {
        let mut seats = lock(&self.tap.shared.seats);
        seats.retain(|seat| !Arc::ptr_eq(seat, &self.seat));
        self.tap.shared.readers.store(seats.len(), Ordering::Relaxed);
    }
}

#[cfg(all(test, not(tidegate_loom)))]
mod tests {
    use futures_lite::future::block_on;

    use super::*;
    use crate::model::{Data, Quote};
    use crate::time::UnixNanos;

    fn quote(source: &'static str, symbol: &str) -> Record {
        Record {
            seq: 0,
            attempt: 0,
            source: SourceId(source),
            symbol: Some(Symbol::new(symbol)),
            native: None,
            ts_event: None,
            ts_recv: UnixNanos::EPOCH,
            ts_publish: UnixNanos::EPOCH,
            data: Data::Quote(Quote::default()),
        }
    }

    fn line(reader: &TapReader) -> String {
        match reader.take() {
            Some(Tapped::Record(line)) => String::from_utf8(line.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn readers_get_what_they_want_in_order() {
        let tap = Tap::new();
        tap.offer(&[quote("a", "X")], 1);
        let all = tap.join(TapFilter::default(), 10, 2).unwrap();
        let filter = TapFilter { symbols: vec![Symbol::new("Y")], kinds: vec![Kind::Quote], ..TapFilter::default() };
        let some = tap.join(filter, 10, 2).unwrap();
        assert!(tap.join(TapFilter::default(), 10, 2).is_none(), "there are two seats");
        tap.offer(&[quote("a", "X"), quote("b", "Y")], 7);
        assert!(line(&all).starts_with("{\"seq\":7,\"source\":\"a\"") && line(&all).starts_with("{\"seq\":8,"));
        let only = line(&some);
        assert!(only.starts_with("{\"seq\":8,\"source\":\"b\"") && only.ends_with('}'), "{only}");
        assert_eq!((all.take(), some.take()), (None, None));
        drop(some);
        assert_eq!(tap.snapshot(), TapSnapshot { readers: 1, lost: 0 });
    }

    #[test]
    fn a_slow_reader_loses_with_a_count() {
        let tap = Tap::new();
        let slow = tap.join(TapFilter::default(), 2, 1).unwrap();
        tap.offer(&[quote("a", "1"), quote("a", "2"), quote("a", "3"), quote("a", "4")], 0);
        assert_eq!(slow.take(), Some(Tapped::Lost(2)));
        assert!(line(&slow).contains("\"1\"") && line(&slow).contains("\"2\""));
        assert_eq!(tap.snapshot().lost, 2);
    }

    #[test]
    fn a_reader_is_woken_from_another_thread() {
        let tap = Tap::new();
        let reader = tap.join(TapFilter::default(), 2, 1).unwrap();
        let other = tap.clone();
        let writer = std::thread::spawn(move || other.offer(&[quote("a", "X")], 1));
        assert!(matches!(block_on(reader.next()), Tapped::Record(_)));
        writer.join().unwrap();
    }
}
