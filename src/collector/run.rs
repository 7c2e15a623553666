//! The loop of the sink core, top to bottom: take, drop duplicates, encode, append, count, sync, wake the sinks.
//! Parks when there is nothing to do. A disk that refuses is told once and tried again with the batch kept.

use std::cell::Cell;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use futures_lite::FutureExt as _;
use serde::Serialize;

use super::cursors::{CursorSettings, Cursors, Scope};
use super::dedupe::{Dedupe, DedupeSettings};
use super::delivery::{Delivery, DeliverySettings};
use super::journal::{FaultHook, Journal, JournalSettings, Recovery};
use crate::config::SinkSettings;
use crate::error::{Error, Result};
use crate::metrics::{CollectorStatus, JournalStatus};
use crate::model::{Head, Record, Stream};
use crate::runtime::sleep;
use crate::sink::SinkHost;
use crate::time::{Deadline, Mono, UnixNanos};

/// Where records come from: the draining side of the normalization buffer.
pub trait Inlet {
    /// Moves up to `max` records to the end of `out`, oldest first; returns how many.
    fn pop_batch(&mut self, max: usize, out: &mut Vec<Record>) -> usize;

    /// Waits until there is a record or nobody is left to publish one. The future can be dropped at any time.
    fn wait(&self) -> impl Future<Output = Woken>;
}

/// What ended a wait for records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Nobody can publish any more, and there are no records.
    Closed,
    /// There are records.
    Records,
}

/// What is told of the records taken.
pub trait Counters {
    /// These records were taken from the inlet, duplicates included.
    fn taken(&self, _records: &[Record], _now: UnixNanos) {}
    /// The journal has these records, numbered from `first_seq` on, which had been taken at `taken`; without a journal
    /// nothing more will be done with them, and `first_seq` is 0.
    fn written(&self, _records: &[Record], _first_seq: u64, _taken: UnixNanos) {}
    /// The journal has the record; without a journal: it was taken.
    fn delivered(&self, record: &Record);
    /// The record was dropped as a duplicate.
    fn duplicate(&self, record: &Record);
    /// So many records are out of hand, delivered or dropped.
    fn put_down(&self, count: usize);
    /// How the collector does; once a second, and when the journal begins or ceases to fail.
    fn status(&self, status: &CollectorStatus);
}

/// Limits of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSettings {
    /// Records at most.
    pub records: usize,
    /// Bytes of lines at which a batch ends.
    pub bytes: usize,
    /// Time between the starts of two small batches: the first after a pause is written at once.
    pub linger: Duration,
    /// A batch of so many records is not small. Of a small buffer: a quarter.
    pub linger_records: usize,
}

impl Default for BatchSettings {
    fn default() -> Self {
        BatchSettings { records: 2_000, bytes: 1 << 20, linger: Duration::from_millis(5), linger_records: 1_000 }
    }
}

/// What a collector is made from.
#[derive(Clone, Debug)]
pub struct CollectorSettings {
    /// The data directory: `journal/`, `state/offsets/` and `dead/` are in it.
    pub data_dir: PathBuf,
    /// The id of this run.
    pub run: String,
    /// The journal; `None` counts records as delivered once they are taken.
    pub journal: Option<JournalSettings>,
    /// Limits of a batch.
    pub batch: BatchSettings,
    /// What is remembered of records seen.
    pub dedupe: DedupeSettings,
    /// How that is kept between runs; `None` keeps nothing beside the journal.
    pub cursors: Option<CursorSettings>,
    /// What a backfill fills; `None` for a run that polls.
    pub scope: Option<Scope>,
    /// The sinks.
    pub sinks: Vec<SinkSettings>,
    /// How sinks are driven.
    pub delivery: DeliverySettings,
    /// What sinks need of the host.
    pub host: SinkHost,
}

/// What a collector did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Records delivered.
    pub delivered: u64,
    /// Records dropped as duplicates.
    pub duplicates: u64,
    /// Batches written.
    pub batches: u64,
    /// How things stood at the end.
    pub status: CollectorStatus,
    /// Why it ended before everything was written; `None` when it did not.
    pub gave_up: Option<String>,
}

/// Opens a collector and runs it to its end.
///
/// # Errors
/// As [`Collector::open`].
pub async fn run<I: Inlet, C: Counters>(
    settings: CollectorSettings,
    inlet: I,
    counters: C,
    stop: impl Future<Output = Deadline>,
) -> Result<Summary> {
    let (collector, _) = Collector::open(settings)?;
    Ok(collector.run(inlet, counters, stop).await)
}

/// A collector that is ready to run.
pub struct Collector {
    batch: BatchSettings,
    journal: Option<Journal>,
    dedupe: Dedupe,
    cursors: Option<Cursors>,
    delivery: Delivery,
    summary: Summary,
    lines: Vec<u8>,
    /// When what is written has to be made durable.
    sync_at: Option<Mono>,
    last_batch_at: Mono,
    status_at: Mono,
    failing: Option<(String, UnixNanos)>,
    segments_seen: u64,
    pace: Pace,
}

impl Collector {
    /// Opens the journal, repairs and reports what a kill left, and starts the sinks.
    ///
    /// # Errors
    /// When the data directory cannot be used, or a sink needs a journal and there is none.
    pub fn open(settings: CollectorSettings) -> Result<(Collector, Recovery)> {
        Collector::open_with_faults(settings, None)
    }

    /// The same with a hook that can refuse the journal's file operations.
    ///
    /// # Errors
    /// As [`Collector::open`].
    pub fn open_with_faults(settings: CollectorSettings, hook: Option<FaultHook>) -> Result<(Collector, Recovery)> {
        let mut recovery = Recovery::default();
        let mut journal = None;
        if let Some(kept) = settings.journal {
            let (opened, found) =
                Journal::open_with_faults(&settings.data_dir.join("journal"), kept, &settings.run, hook)?;
            found.cuts.iter().for_each(|cut| tracing::warn!(%cut, "the journal's end was repaired"));
            found.damage.iter().for_each(|what| tracing::error!(%what, "the journal is damaged"));
            (journal, recovery) = (Some(opened), found);
        } else if let Some(sink) = settings.sinks.iter().find(|sink| sink.target.needs_journal()) {
            let name = &sink.name;
            return Err(Error::config(format!(
                "sink {name}: expected a journal to read from, found it switched off; switch it on or use only null sinks"
            )));
        }
        let mut dedupe = Dedupe::new(settings.dedupe);
        let mut cursors = None;
        if let Some(journal) = &journal {
            cursors = Cursors::open(settings.cursors, settings.scope.as_ref(), journal, &mut dedupe)?;
        }
        let delivery =
            Delivery::start(&settings.data_dir, &settings.sinks, settings.delivery, &settings.host, journal.as_mut())?;
        let collector = Collector {
            batch: settings.batch,
            journal,
            dedupe,
            cursors,
            delivery,
            summary: Summary::default(),
            lines: Vec::with_capacity(settings.batch.bytes.min(4 << 20)),
            sync_at: None,
            last_batch_at: Mono::default(),
            status_at: Mono::default(),
            failing: None,
            segments_seen: 0,
            pace: Pace::default(),
        };
        Ok((collector, recovery))
    }

    /// How far each stream has come, where that is kept between runs.
    pub fn heads(&self) -> Vec<(Stream, Head)> {
        self.cursors.as_ref().map(|_| self.dedupe.heads()).unwrap_or_default()
    }

    /// Runs until `stop` and the inlet is empty, or until the inlet is closed. `stop` gives the time by which it must be
    /// over even when the disk or a sink refuses.
    pub async fn run<I: Inlet, C: Counters>(
        mut self,
        mut inlet: I,
        counters: C,
        stop: impl Future<Output = Deadline>,
    ) -> Summary {
        let mut stop = Stop { signal: std::pin::pin!(stop), deadline: None };
        let mut hand = Vec::with_capacity(self.batch.records);
        loop {
            inlet.pop_batch(self.batch.records, &mut hand);
            if hand.is_empty() {
                if stop.deadline.is_some() {
                    break;
                }
                match self.park(&inlet, &mut stop).await {
                    Event::Closed => break,
                    Event::Due => self.attend(&counters).await,
                    Event::Records | Event::Stop => {}
                }
                continue;
            }
            self.linger(&mut inlet, &mut hand).await;
            self.last_batch_at = Mono::now();
            if !self.write(&mut hand, &counters, &mut stop).await {
                break;
            }
            if self.sync_at.is_some_and(|at| Mono::now() >= at) || Mono::now() >= self.status_at {
                self.attend(&counters).await;
            }
        }
        self.finish(&counters, &mut stop).await
    }

    /// Waits for records, for the stop, or until something is due.
    async fn park<F: Future<Output = Deadline>>(&self, inlet: &impl Inlet, stop: &mut Stop<'_, F>) -> Event {
        let now = Mono::now();
        let due = self.sync_at.unwrap_or(self.status_at).min(self.status_at);
        let mut wait = due.since(now);
        if self.delivery.has_unsent() {
            wait = wait.min(UNSENT_PAUSE);
        }
        let records = async {
            match inlet.wait().await {
                Woken::Closed => Event::Closed,
                Woken::Records => Event::Records,
            }
        };
        let timer = async {
            sleep(wait).await;
            Event::Due
        };
        records.or(stop.said()).or(timer).await
    }

    /// Lets a small batch grow when another was written just before.
    async fn linger(&mut self, inlet: &mut impl Inlet, hand: &mut Vec<Record>) {
        if hand.len() >= self.batch.linger_records.min(self.batch.records) {
            return;
        }
        let left = self.batch.linger.saturating_sub(Mono::now().since(self.last_batch_at));
        if !left.is_zero() {
            sleep(left).await;
            inlet.pop_batch(self.batch.records - hand.len(), hand);
        }
    }

    /// Writes all records in hand; `false` when it had to give up.
    async fn write<F: Future<Output = Deadline>>(
        &mut self,
        hand: &mut Vec<Record>,
        counters: &impl Counters,
        stop: &mut Stop<'_, F>,
    ) -> bool {
        let (taken, taken_at) = (hand.len(), UnixNanos::now());
        counters.taken(hand, taken_at);
        hand.retain(|record| {
            let is_duplicate = self.dedupe.is_duplicate(record);
            if is_duplicate {
                counters.duplicate(record);
            }
            !is_duplicate
        });
        self.summary.duplicates += (taken - hand.len()) as u64;
        counters.put_down(taken - hand.len());
        let mut from = 0;
        while from < hand.len() {
            let (count, first_seq) = match &self.journal {
                Some(journal) => {
                    let first_seq = journal.next_seq();
                    let count = encode(&hand[from..], first_seq, self.batch.bytes, &mut self.lines);
                    if !self.append(count as u64, counters, stop).await {
                        return false;
                    }
                    (count, first_seq)
                }
                None => (hand.len() - from, 0),
            };
            counters.written(&hand[from..from + count], first_seq, taken_at);
            hand[from..from + count].iter().for_each(|record| counters.delivered(record));
            counters.put_down(count);
            self.summary.delivered += count as u64;
            self.summary.batches += 1;
            from += count;
        }
        hand.clear();
        true
    }

    /// Appends the encoded lines, trying until the disk takes them; `false` when the time for that is over.
    async fn append<F: Future<Output = Deadline>>(
        &mut self,
        count: u64,
        counters: &impl Counters,
        stop: &mut Stop<'_, F>,
    ) -> bool {
        let Some(journal) = &mut self.journal else { return true };
        let (first_seq, is_strict) = (journal.next_seq(), journal.settings().fsync_interval.is_zero());
        let mut is_written = false;
        loop {
            let Some(journal) = &mut self.journal else { return true };
            let mut result = Ok(());
            if !is_written {
                result = self.pace.watch(journal.append(&self.lines, count, first_seq)).await;
                is_written = result.is_ok();
            }
            if is_strict && is_written {
                result = self.pace.watch(journal.sync()).await;
            }
            match result {
                Ok(()) => break,
                Err(error) => self.failed(&error, counters),
            }
            if stop.is_over() {
                self.summary.gave_up = self.failing.as_ref().map(|(why, _)| why.clone());
                return false;
            }
            let pause = async {
                sleep(RETRY_PAUSE).await;
                Event::Due
            };
            stop.said().or(pause).await;
        }
        self.recovered(counters);
        let Some(journal) = &mut self.journal else { return true };
        if is_strict {
            self.delivery.announce(journal.durable_seq());
        } else if self.sync_at.is_none() {
            self.sync_at = Some(Mono::now() + journal.settings().fsync_interval);
        }
        true
    }

    /// Does what is due: sync, retention after a rotation, status.
    async fn attend(&mut self, counters: &impl Counters) {
        if self.sync_at.is_some_and(|at| Mono::now() >= at) {
            self.sync(counters).await;
        }
        self.delivery.resend();
        if let (Some(cursors), Some(journal)) = (&mut self.cursors, &self.journal) {
            cursors.attend(&mut self.dedupe, journal);
        }
        if let Some(journal) = &self.journal
            && journal.segment_count() != self.segments_seen
        {
            self.segments_seen = journal.segment_count();
            match journal.retain(self.delivery.read_seq()).await {
                Ok(0) => {}
                Ok(segments) => tracing::info!(segments, "old journal segments were deleted"),
                Err(error) => tracing::warn!(%error, "retention failed"),
            }
        }
        if Mono::now() >= self.status_at {
            self.tell(counters);
        }
    }

    async fn sync(&mut self, counters: &impl Counters) {
        let Some(journal) = &mut self.journal else { return };
        match self.pace.watch(journal.sync()).await {
            Ok(()) => {
                self.sync_at = None;
                self.delivery.announce(journal.durable_seq());
                self.recovered(counters);
            }
            Err(error) => {
                self.sync_at = Some(Mono::now() + RETRY_PAUSE);
                self.failed(&error, counters);
            }
        }
    }

    /// Ends in order: what is written becomes durable, the segment is closed, the sinks catch up as far as they can.
    async fn finish<F: Future<Output = Deadline>>(
        mut self,
        counters: &impl Counters,
        stop: &mut Stop<'_, F>,
    ) -> Summary {
        while let Some(journal) = &mut self.journal {
            let Err(error) = self.pace.watch(journal.close()).await else { break };
            self.failed(&error, counters);
            if stop.is_over() {
                self.summary.gave_up = Some(error.to_string());
                break;
            }
            let pause = async {
                sleep(RETRY_PAUSE).await;
                Event::Due
            };
            stop.said().or(pause).await;
        }
        if let Some(journal) = &self.journal {
            self.delivery.announce(journal.durable_seq());
            // A record that was given up on has been seen, and is not in the journal.
            if let Some(cursors) = self.cursors.take().filter(|_| self.summary.gave_up.is_none()) {
                cursors.finish(&mut self.dedupe, journal).await;
            }
        }
        // Without a stop there is no deadline: a closed inlet is an orderly end of its own.
        let deadline = stop.deadline.unwrap_or_else(|| Deadline::after(Mono::now(), CLOSE_DEADLINE));
        self.delivery.finish(deadline).await;
        self.tell(counters);
        self.summary.status = self.status();
        self.summary
    }

    fn failed(&mut self, error: &Error, counters: &impl Counters) {
        if self.failing.is_none() {
            tracing::error!(%error, "the journal cannot be written; records wait until it can");
            self.failing = Some((error.to_string(), UnixNanos::now()));
            self.tell(counters);
        }
    }

    fn recovered(&mut self, counters: &impl Counters) {
        if let Some((_, since)) = self.failing.take() {
            let secs = UnixNanos::now().since(since).as_secs();
            tracing::info!(secs, "the journal can be written again");
            self.tell(counters);
        }
    }

    fn tell(&mut self, counters: &impl Counters) {
        self.status_at = Mono::now() + STATUS_INTERVAL;
        self.delivery.collect();
        counters.status(&self.status());
    }

    fn status(&self) -> CollectorStatus {
        let journal = self.journal.as_ref().map(|journal| JournalStatus {
            written_seq: journal.next_seq() - 1,
            durable_seq: journal.durable_seq(),
            bytes_written: journal.bytes_written(),
            segments: journal.segment_count(),
            slow_operations: self.pace.slow.get(),
            failing: self.failing.as_ref().map(|(why, _)| why.clone()),
            failing_since: self.failing.as_ref().map(|(_, since)| *since),
        });
        let written = journal.as_ref().map_or(0, |journal| journal.written_seq);
        CollectorStatus { sinks: self.delivery.statuses(written), journal }
    }
}

/// Watches how long the disk takes, and tells once when it begins to be slow and once when it no longer is.
#[derive(Debug, Default)]
struct Pace {
    is_slow: Cell<bool>,
    slow: Cell<u64>,
}

impl Pace {
    async fn watch<T>(&self, operation: impl Future<Output = T>) -> T {
        let is_late = Cell::new(false);
        let told = async {
            sleep(SLOW).await;
            is_late.set(true);
            self.slow.set(self.slow.get() + 1);
            if !self.is_slow.replace(true) {
                tracing::warn!("the disk of the journal is slow; records wait meanwhile");
            }
            std::future::pending().await
        };
        let done = operation.or(told).await;
        if !is_late.get() && self.is_slow.replace(false) {
            tracing::info!("the disk of the journal is as fast as it should be");
        }
        done
    }
}

/// Encodes records from the first on until `bytes_max` is reached; returns how many.
fn encode(records: &[Record], first_seq: u64, bytes_max: usize, lines: &mut Vec<u8>) -> usize {
    lines.clear();
    for (index, record) in records.iter().enumerate() {
        record.encode_line_as(first_seq + index as u64, lines);
        if lines.len() >= bytes_max {
            return index + 1;
        }
    }
    records.len()
}

pub(super) enum Event {
    Closed,
    Due,
    Records,
    Stop,
}

/// The stop signal and, once it has been said, the time by which everything has to be over.
pub(super) struct Stop<'a, F> {
    pub(super) signal: Pin<&'a mut F>,
    pub(super) deadline: Option<Deadline>,
}

impl<F: Future<Output = Deadline>> Stop<'_, F> {
    /// Waits for the signal; for ever once it has been heard.
    pub(super) async fn said(&mut self) -> Event {
        if self.deadline.is_some() {
            return std::future::pending().await;
        }
        self.deadline = Some(self.signal.as_mut().await);
        Event::Stop
    }

    pub(super) fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline.passed(Mono::now()))
    }
}

/// Between two tries on a disk that refuses.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// A write or a sync that takes longer is slow.
const SLOW: Duration = Duration::from_secs(1);
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// Between two tries to wake a sink that has not taken the last waking.
const UNSENT_PAUSE: Duration = Duration::from_millis(50);
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);
