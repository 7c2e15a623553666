//! The cells that shards write: counters, gauges and distributions per source.
//! Invariant: each cell has one writer, its [`Recorder`], so writing needs no locked instruction.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::core::CoreCells;
use super::histogram::{Counts, Histogram, bump};
use super::names::{BREAKER_STATES, GapState, Refusal, Stage};
use crate::model::{SourceId, Verdict};

/// A number that only grows, with a single writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only one thread may.
    pub fn add(&self, by: u64) {
        bump(&self.0, by);
    }

    /// The number so far.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One attempt as it is recorded.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// The verdict on it.
    pub verdict: Verdict,
    /// From its admission to the last byte of the answer.
    pub elapsed: Duration,
    /// Bytes of the answer's body as they came over the wire.
    pub bytes_in: u64,
    /// Bytes of the request.
    pub bytes_out: u64,
}

/// The cells of one shard, one row for each source, in the order of the plan.
#[derive(Debug)]
pub struct ShardCells {
    core: Arc<CoreCells>,
    rows: Vec<Row>,
    connections_open: Gauge,
    connections_idle: Gauge,
    connection_waiters: Gauge,
}

impl ShardCells {
    /// Cells of a shard's core and for these sources, all zero.
    pub fn new(core: Arc<CoreCells>, sources: &[SourceId]) -> Arc<Self> {
        Arc::new(ShardCells {
            core,
            rows: sources.iter().map(|source| Row::new(*source)).collect(),
            connections_open: Gauge::default(),
            connections_idle: Gauge::default(),
            connection_waiters: Gauge::default(),
        })
    }

    /// The cells of its core.
    pub fn core(&self) -> &Arc<CoreCells> {
        &self.core
    }

    /// Says how the shard's pool stands. Only the shard calls it.
    pub fn connections(&self, open: usize, idle: usize, waiting: usize) {
        self.connections_open.set(open as u64);
        self.connections_idle.set(idle as u64);
        self.connection_waiters.set(waiting as u64);
    }

    /// Connections open, idle, and exchanges that wait for one.
    pub(super) fn pool(&self) -> [u64; 3] {
        [&self.connections_open, &self.connections_idle, &self.connection_waiters].map(Gauge::read)
    }

    /// The writer of a source's row; `None` when the shard has no such row or its writer is taken.
    pub fn recorder(self: &Arc<Self>, source: SourceId) -> Option<Recorder> {
        let index = self.rows.iter().position(|row| row.source == source)?;
        let taken = self.rows[index].taken.swap(true, Ordering::AcqRel);
        (!taken).then(|| Recorder { cells: self.clone(), index, _local: PhantomData })
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }
}

/// Writes one row of one shard's cells. Not `Send`: it belongs to the core that took it.
#[derive(Debug)]
pub struct Recorder {
    cells: Arc<ShardCells>,
    index: usize,
    _local: PhantomData<Rc<()>>,
}

impl Recorder {
    /// Records an attempt that was sent, whatever became of it.
    pub fn attempt(&self, attempt: Attempt) {
        let row = self.row();
        row.attempts.add(1);
        row.verdicts[attempt.verdict.index()].add(1);
        row.bytes_in.add(attempt.bytes_in);
        row.bytes_out.add(attempt.bytes_out);
        row.latency.record(attempt.elapsed);
    }

    /// Records how long a stage of a shard took.
    pub fn stage(&self, stage: Stage, elapsed: Duration) {
        if let Some(histogram) = self.row().stages.get(stage as usize) {
            histogram.record(elapsed);
        }
    }

    /// Keeps what a failed fetch ended with and how the offending body begins, free of secrets, for the status.
    pub fn failed(&self, message: String, excerpt: String) {
        // Taken on failures alone, so that readers never hold up the hot path.
        if let Ok(mut last) = self.row().last_error.lock() {
            *last = Some((message, excerpt));
        }
    }

    /// Counts a refusal made here.
    pub fn refused(&self, reason: Refusal) {
        self.row().refusals[reason as usize].add(1);
    }

    /// Counts an attempt that repeats an earlier one.
    pub fn retried(&self) {
        self.row().retries.add(1);
    }

    /// Counts an attempt that was sent beside a slow one.
    pub fn hedged(&self) {
        self.row().hedges.add(1);
    }

    /// How long attempts took so far.
    pub fn latency(&self) -> Counts {
        let mut counts = Counts::new();
        self.row().latency.read(&mut counts);
        counts
    }

    /// Counts an attempt that was given up before it had a verdict.
    pub fn cancelled(&self) {
        self.row().cancelled.add(1);
    }

    /// Counts decoded records.
    pub fn records(&self, count: u64) {
        self.row().records.add(count);
    }

    /// Counts a poll that was due and begun.
    pub fn polled(&self) {
        self.row().polls.add(1);
    }

    /// Counts an answer that said that nothing has changed.
    pub fn unchanged(&self) {
        self.row().unchanged.add(1);
    }

    /// Counts a poll that was due while the one before still ran, or while the buffer was too full.
    pub fn poll_skipped(&self) {
        self.row().polls_skipped.add(1);
    }

    /// Counts records that were missed between two polls and have come.
    pub fn refilled(&self, count: u64) {
        self.row().refilled.add(count);
    }

    /// Counts a gap that was recorded.
    pub fn gap(&self, state: GapState) {
        self.row().gaps[state as usize].add(1);
    }

    /// Counts a connection that was opened.
    pub fn connected(&self) {
        self.row().connections.add(1);
    }

    /// Says how many requests are under way.
    pub fn in_flight(&self, count: u64) {
        self.row().in_flight.set(count);
    }

    /// Says what the breaker does (`BreakerState::code`), and how often it has opened.
    pub fn breaker(&self, code: u64, opened_count: u64) {
        self.row().breaker.set(code);
        self.row().breaker_opened.set(opened_count);
    }

    /// Counts a change of a breaker into the state with this code.
    pub fn breaker_changed(&self, code: u64) {
        if let Some(count) = usize::try_from(code).ok().and_then(|code| self.row().breaker_changes.get(code)) {
            count.add(1);
        }
    }

    /// Says how many requests wait to be admitted: for a slot, for their turn, or for quota.
    pub fn waiting(&self, count: u64) {
        self.row().waiting.set(count);
    }

    fn row(&self) -> &Row {
        &self.cells.rows[self.index]
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.row().taken.store(false, Ordering::Release);
    }
}

/// The cells of one source on one shard.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) source: SourceId,
    taken: AtomicBool,
    attempts: Counter,
    verdicts: [Counter; Verdict::ALL.len()],
    refusals: [Counter; Refusal::ALL.len()],
    retries: Counter,
    cancelled: Counter,
    hedges: Counter,
    records: Counter,
    bytes_in: Counter,
    bytes_out: Counter,
    polls: Counter,
    polls_skipped: Counter,
    refilled: Counter,
    gaps: [Counter; GapState::ALL.len()],
    unchanged: Counter,
    connections: Counter,
    in_flight: Gauge,
    breaker: Gauge,
    breaker_opened: Gauge,
    breaker_changes: [Counter; BREAKER_STATES.len()],
    waiting: Gauge,
    latency: Histogram,
    stages: [Histogram; Stage::OF_SHARD],
    /// The message, and the beginning of the body.
    last_error: Mutex<Option<(String, String)>>,
}

impl Row {
    fn new(source: SourceId) -> Self {
        Row {
            source,
            taken: AtomicBool::new(false),
            attempts: Counter::default(),
            verdicts: Default::default(),
            refusals: Default::default(),
            retries: Counter::default(),
            cancelled: Counter::default(),
            hedges: Counter::default(),
            records: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            polls: Counter::default(),
            polls_skipped: Counter::default(),
            refilled: Counter::default(),
            gaps: Default::default(),
            unchanged: Counter::default(),
            connections: Counter::default(),
            in_flight: Gauge::default(),
            breaker: Gauge::default(),
            breaker_opened: Gauge::default(),
            breaker_changes: Default::default(),
            waiting: Gauge::default(),
            latency: Histogram::new(),
            stages: Default::default(),
            last_error: Mutex::default(),
        }
    }

    pub(super) fn read(&self, into: &mut Reading) {
        let sum = |into: &mut [u64], cells: &[Counter]| {
            into.iter_mut().zip(cells).for_each(|(sum, cell)| *sum += cell.read());
        };
        into.attempts += self.attempts.read();
        sum(&mut into.verdicts, &self.verdicts);
        sum(&mut into.refusals, &self.refusals);
        into.retries += self.retries.read();
        into.cancelled += self.cancelled.read();
        into.hedges += self.hedges.read();
        into.records += self.records.read();
        into.bytes_in += self.bytes_in.read();
        into.bytes_out += self.bytes_out.read();
        into.polls += self.polls.read();
        into.polls_skipped += self.polls_skipped.read();
        into.refilled += self.refilled.read();
        sum(&mut into.gaps, &self.gaps);
        into.unchanged += self.unchanged.read();
        into.connections += self.connections.read();
        into.in_flight += self.in_flight.read();
        into.breakers.push(self.breaker.read());
        into.breaker_opened += self.breaker_opened.read();
        sum(&mut into.breaker_changes, &self.breaker_changes);
        into.waiting += self.waiting.read();
        self.latency.read(&mut into.latency);
        if let Ok(last) = self.last_error.lock() {
            into.last_error = last.clone().or(into.last_error.take());
        }
        for (counts, histogram) in into.stages.iter_mut().zip(&self.stages) {
            histogram.read(counts);
        }
    }
}

/// What has been read of one source over all shards.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    pub(super) attempts: u64,
    pub(super) verdicts: [u64; Verdict::ALL.len()],
    pub(super) refusals: [u64; Refusal::ALL.len()],
    pub(super) retries: u64,
    pub(super) cancelled: u64,
    pub(super) hedges: u64,
    pub(super) records: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) polls: u64,
    pub(super) polls_skipped: u64,
    pub(super) refilled: u64,
    pub(super) gaps: [u64; GapState::ALL.len()],
    pub(super) unchanged: u64,
    pub(super) connections: u64,
    pub(super) in_flight: u64,
    /// One code per shard.
    pub(super) breakers: Vec<u64>,
    pub(super) breaker_opened: u64,
    /// By the code of the state entered.
    pub(super) breaker_changes: [u64; BREAKER_STATES.len()],
    pub(super) waiting: u64,
    pub(super) latency: Counts,
    pub(super) stages: [Counts; Stage::ALL.len()],
    pub(super) last_error: Option<(String, String)>,
}

impl Reading {
    pub(super) fn success(&self) -> u64 {
        self.verdicts[Verdict::Ok.index()]
    }

    pub(super) fn add(&mut self, other: &Reading) {
        let sum = |into: &mut [u64], from: &[u64]| into.iter_mut().zip(from).for_each(|(sum, count)| *sum += count);
        self.attempts += other.attempts;
        sum(&mut self.verdicts, &other.verdicts);
        sum(&mut self.refusals, &other.refusals);
        self.retries += other.retries;
        self.cancelled += other.cancelled;
        self.hedges += other.hedges;
        self.records += other.records;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.polls += other.polls;
        self.polls_skipped += other.polls_skipped;
        self.refilled += other.refilled;
        sum(&mut self.gaps, &other.gaps);
        self.unchanged += other.unchanged;
        self.connections += other.connections;
        self.in_flight += other.in_flight;
        self.breakers.extend_from_slice(&other.breakers);
        self.breaker_opened += other.breaker_opened;
        sum(&mut self.breaker_changes, &other.breaker_changes);
        self.waiting += other.waiting;
        self.latency.add(&other.latency);
        self.stages.iter_mut().zip(&other.stages).for_each(|(sum, counts)| sum.add(counts));
    }
}
