//! The record counters: published, delivered, dropped by reason, each moved where it happens, and the records in the
//! sink core's hands. None is computed from the others.
//! Law: published = delivered + dropped + queued whenever nothing is being moved; `queued` is the buffer's length plus
//! the sink core's batch.

use super::sync::{Arc, AtomicU64, Ordering};
use crate::metrics::RecordCounts;
use crate::model::{Kind, Record, SourceId};

/// Why a record was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The sink core had seen it before.
    Duplicate,
    /// The buffer was full and the record's kind says to drop the newest.
    FullNewest,
    /// The buffer was full and it made way for a newer one.
    FullOldest,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [DropReason; 3] = [DropReason::Duplicate, DropReason::FullNewest, DropReason::FullOldest];

    /// The reason's word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            DropReason::Duplicate => "duplicate",
            DropReason::FullNewest => "full_newest",
            DropReason::FullOldest => "full_oldest",
        }
    }
}

/// The counters of one buffer, per source and kind; read from any thread. Clones share them.
#[derive(Clone, Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    sources: Vec<SourceId>,
    /// Source by source, kind by kind; the last row takes records of sources that were not announced.
    cells: Vec<Cell>,
    /// Records the sink core has taken and not yet settled.
    in_hand: AtomicU64,
}

#[derive(Debug)]
struct Cell {
    published: AtomicU64,
    delivered: AtomicU64,
    dropped: [AtomicU64; 3],
}

impl Cell {
    fn add_to(&self, counts: &mut RecordCounts) {
        let dropped = self.dropped.each_ref().map(|count| count.load(Ordering::Relaxed));
        counts.published += self.published.load(Ordering::Relaxed);
        counts.delivered += self.delivered.load(Ordering::Relaxed);
        counts.dropped += dropped.iter().sum::<u64>();
        counts.dropped_duplicate += dropped[DropReason::Duplicate as usize];
        counts.dropped_full_newest += dropped[DropReason::FullNewest as usize];
        counts.dropped_full_oldest += dropped[DropReason::FullOldest as usize];
    }
}

impl Ledger {
    pub(super) fn new(sources: Vec<SourceId>) -> Self {
        let rows = sources.len() + 1;
        let cell = || Cell {
            published: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            dropped: [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)],
        };
        let cells = (0..rows * Kind::ALL.len()).map(|_| cell()).collect();
        Ledger { shared: Arc::new(Shared { sources, cells, in_hand: AtomicU64::new(0) }) }
    }

    /// The sources it has a row for.
    pub fn sources(&self) -> &[SourceId] {
        &self.shared.sources
    }

    /// Counts of one source by its id, over all kinds; `queued` is not known per source and zero.
    pub fn of_source(&self, source: SourceId) -> RecordCounts {
        let mut counts = RecordCounts::default();
        let row = self.row(source) * Kind::ALL.len();
        self.shared.cells[row..row + Kind::ALL.len()].iter().for_each(|cell| cell.add_to(&mut counts));
        counts
    }

    /// Counts of one source and kind; `queued` is zero.
    pub fn of(&self, source: SourceId, kind: Kind) -> RecordCounts {
        let mut counts = RecordCounts::default();
        self.shared.cells[self.index(source, kind)].add_to(&mut counts);
        counts
    }

    pub(super) fn total(&self, queue_len: usize) -> RecordCounts {
        let mut counts = RecordCounts {
            queued: queue_len as u64 + self.shared.in_hand.load(Ordering::Relaxed),
            ..Default::default()
        };
        self.shared.cells.iter().for_each(|cell| cell.add_to(&mut counts));
        counts
    }

    pub(super) fn published(&self, source: SourceId, kind: Kind, count: u64) {
        self.shared.cells[self.index(source, kind)].published.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, record: &Record, reason: DropReason) {
        self.shared.cells[self.index(record.source, record.kind())].dropped[reason as usize]
            .fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn take_in_hand(&self, count: usize) {
        self.shared.in_hand.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn row(&self, source: SourceId) -> usize {
        self.shared.sources.iter().position(|known| *known == source).unwrap_or(self.shared.sources.len())
    }

    fn index(&self, source: SourceId, kind: Kind) -> usize {
        self.row(source) * Kind::ALL.len() + kind.index()
    }
}

/// The sink core's side of the counters: says what became of the records it took.
#[derive(Debug)]
pub struct Tally {
    ledger: Ledger,
}

impl Tally {
    pub(super) fn new(ledger: Ledger) -> Self {
        Tally { ledger }
    }

    /// Counts a record as delivered: the journal has it.
    pub fn delivered(&self, record: &Record) {
        let cell = &self.ledger.shared.cells[self.ledger.index(record.source, record.kind())];
        cell.delivered.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a record as dropped.
    pub fn dropped(&self, record: &Record, reason: DropReason) {
        self.ledger.dropped(record, reason);
    }

    /// Says that `count` records have left the sink core's hands, delivered or dropped.
    pub fn put_down(&self, count: usize) {
        let in_hand = self.ledger.shared.in_hand.load(Ordering::Relaxed);
        // The sink core alone moves it down; the difference cannot go below zero unless a batch is put down twice.
        debug_assert!(in_hand >= count as u64, "{count} records put down, {in_hand} in hand");
        self.ledger.shared.in_hand.fetch_sub((count as u64).min(in_hand), Ordering::Relaxed);
    }
}
