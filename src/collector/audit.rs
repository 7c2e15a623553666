//! The audit log's side of the sink core: takes the shards' batches, writes them as lines into segments of the journal's
//! form, and actions into segments of their own beside them. Owns both logs; not what is in an entry.
//! Invariants: an entry counts as written once its line is in the log, and until then its batch is in hand and is tried
//! again, or dropped with a count where that is the rule; there is one line for each entry and no other.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use futures_lite::FutureExt as _;
use serde::Serialize;

use super::journal::{FaultHook, Journal, JournalSettings};
use super::run::{Event, RETRY_PAUSE, Stop};
use crate::error::{Error, Result};
use crate::handoff::AuditDrain;
use crate::metrics::AuditCounts;
use crate::model::{AuditAction, AuditBatch};
use crate::policy::WhenFull;
use crate::runtime::{sleep, yield_now};
use crate::time::{Deadline, Mono, UnixNanos};

/// How the audit log is kept.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// The folder: `audit/` in the data directory.
    pub dir: PathBuf,
    /// The id of this run.
    pub run: String,
    /// Segments and retention.
    pub journal: JournalSettings,
    /// What becomes of entries while the disk refuses: they wait (`Pause`), or are dropped.
    pub when_full: WhenFull,
}

/// What became of the audit log in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuditSummary {
    /// The entries' counters.
    pub counts: AuditCounts,
    /// Why it ended before everything was written; `None` when it did not.
    pub gave_up: Option<String>,
}

/// The writer of the audit log.
pub struct AuditLog {
    settings: AuditSettings,
    attempts: Journal,
    actions: Journal,
    lines: Vec<u8>,
    sync_at: Option<Mono>,
    written_at: Mono,
    segments_seen: u64,
    failing: Option<(String, UnixNanos)>,
}

impl AuditLog {
    /// Opens the log, and repairs and reports what a kill left.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(settings: AuditSettings) -> Result<AuditLog> {
        AuditLog::open_with_faults(settings, None)
    }

    /// The same with a hook that can refuse file operations.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open_with_faults(settings: AuditSettings, hook: Option<FaultHook>) -> Result<AuditLog> {
        let open = |dir: PathBuf| {
            let kept = settings.journal.clone();
            let (log, found) = Journal::open_with_faults(&dir, kept, &settings.run, hook.clone())?;
            found.cuts.iter().for_each(|cut| tracing::warn!(%cut, "the audit log's end was repaired"));
            found.damage.iter().for_each(|what| tracing::error!(%what, "the audit log is damaged"));
            Ok::<_, Error>(log)
        };
        let attempts = open(settings.dir.clone())?;
        let actions = open(settings.dir.join(ACTIONS_DIR))?;
        Ok(AuditLog {
            attempts,
            actions,
            lines: Vec::with_capacity(2 * LINES_BYTES),
            sync_at: None,
            written_at: Mono::default(),
            segments_seen: 0,
            failing: None,
            settings,
        })
    }

    /// Writes until every shard has ended, or `stop` has come and its deadline has passed.
    pub async fn run(mut self, mut drain: AuditDrain, stop: impl Future<Output = Deadline>) -> AuditSummary {
        let mut stop = Stop { signal: std::pin::pin!(stop), deadline: None };
        let mut hand = Vec::new();
        let mut gave_up = None;
        loop {
            if !self.write_actions(&mut drain, &mut stop).await || !self.write(&mut drain, &mut hand, &mut stop).await {
                gave_up = self.failing.as_ref().map(|(why, _)| why.clone());
                break;
            }
            if self.sync_at.is_some_and(|at| Mono::now() >= at) {
                self.attend().await;
            }
            match self.park(&drain, &mut stop).await {
                Event::Closed => break,
                Event::Due | Event::Records | Event::Stop => {}
            }
        }
        hand.drain(..).for_each(|batch: AuditBatch| drain.dropped(batch.entries.len() as u64));
        let counts = drain.counts();
        let last = AuditAction::new("stopped", UnixNanos::now())
            .with("attempts_written", counts.written)
            .with("attempts_dropped", counts.dropped);
        if gave_up.is_none() {
            gave_up = self.finish(&last, &mut stop).await.err().map(|error| error.to_string());
        }
        AuditSummary { counts: drain.counts(), gave_up }
    }

    /// Waits for batches, for the stop, or until something is due; at least so long that the next write is worth it.
    async fn park<F: Future<Output = Deadline>>(&self, drain: &AuditDrain, stop: &mut Stop<'_, F>) -> Event {
        let linger = LINGER.saturating_sub(Mono::now().since(self.written_at));
        if stop.deadline.is_none() && !linger.is_zero() {
            // Nobody rings for a sink core that is not parked, and larger frames pack better.
            let linger = async {
                sleep(linger).await;
                Event::Due
            };
            stop.said().or(linger).await;
        }
        let due = self.sync_at.unwrap_or_else(|| Mono::now() + IDLE);
        let batches = async { if drain.wait().await { Event::Records } else { Event::Closed } };
        let timer = async {
            sleep(due.since(Mono::now())).await;
            Event::Due
        };
        batches.or(stop.said()).or(timer).await
    }

    /// Writes every batch that waits; `false` when it had to give up.
    async fn write<F: Future<Output = Deadline>>(
        &mut self,
        drain: &mut AuditDrain,
        hand: &mut Vec<AuditBatch>,
        stop: &mut Stop<'_, F>,
    ) -> bool {
        loop {
            self.lines.clear();
            let mut count = 0;
            while self.lines.len() < LINES_BYTES
                && let Some(batch) = drain.pop()
            {
                batch.encode_lines(self.attempts.next_seq() + count, drain.sources(), &mut self.lines);
                count += batch.entries.len() as u64;
                hand.push(batch);
            }
            if hand.is_empty() {
                return true;
            }
            loop {
                let first = self.attempts.next_seq();
                let Err(error) = self.attempts.append(&self.lines, count, first).await else { break };
                self.failed(&error);
                if self.settings.when_full != WhenFull::Pause {
                    hand.drain(..).for_each(|batch| give_up(drain, batch));
                    break;
                }
                if stop.is_over() {
                    return false;
                }
                pause(stop).await;
            }
            if !hand.is_empty() {
                self.recovered();
                drain.written(count);
                hand.drain(..).for_each(|batch| drain.give_back(batch));
            }
            self.wrote();
            // The journal's turn.
            yield_now().await;
        }
    }

    /// Writes the actions, which never are dropped by rule: they are few.
    async fn write_actions<F: Future<Output = Deadline>>(
        &mut self,
        drain: &mut AuditDrain,
        stop: &mut Stop<'_, F>,
    ) -> bool {
        while let Some(action) = drain.pop_action() {
            while let Err(error) = self.act(&action).await {
                self.failed(&error);
                if stop.is_over() {
                    return false;
                }
                pause(stop).await;
            }
            self.recovered();
        }
        true
    }

    /// Writes one action and makes it durable.
    async fn act(&mut self, action: &AuditAction) -> Result<()> {
        self.lines.clear();
        let seq = self.actions.next_seq();
        action.encode_line(seq, &mut self.lines);
        self.actions.append(&self.lines, 1, seq).await?;
        self.actions.sync().await
    }

    /// Makes what was written durable, and applies retention after a rotation.
    async fn attend(&mut self) {
        match self.attempts.sync().await {
            Ok(()) => {
                self.sync_at = None;
                self.recovered();
            }
            Err(error) => {
                self.sync_at = Some(Mono::now() + RETRY_PAUSE);
                self.failed(&error);
            }
        }
        if self.attempts.segment_count() != self.segments_seen {
            self.segments_seen = self.attempts.segment_count();
            for log in [&self.attempts, &self.actions] {
                match log.retain(u64::MAX).await {
                    Ok(0) => {}
                    Ok(segments) => tracing::info!(segments, "old segments of the audit log were deleted"),
                    Err(error) => tracing::warn!(%error, "retention of the audit log failed"),
                }
            }
        }
    }

    /// Ends in order: the last action, then both logs durable and closed.
    async fn finish<F: Future<Output = Deadline>>(&mut self, last: &AuditAction, stop: &mut Stop<'_, F>) -> Result<()> {
        let deadline = stop.deadline.unwrap_or_else(|| Deadline::after(Mono::now(), CLOSE_DEADLINE));
        let mut is_told = false;
        loop {
            let mut result = if is_told { Ok(()) } else { self.act(last).await };
            is_told |= result.is_ok();
            if result.is_ok() {
                result = self.attempts.close().await;
            }
            if result.is_ok() {
                result = self.actions.close().await;
            }
            let Err(error) = result else { return Ok(()) };
            self.failed(&error);
            if deadline.passed(Mono::now()) {
                return Err(error);
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    fn wrote(&mut self) {
        self.written_at = Mono::now();
        if self.sync_at.is_none() && self.attempts.needs_sync() {
            self.sync_at = Some(self.written_at + self.settings.journal.fsync_interval);
        }
    }

    fn failed(&mut self, error: &Error) {
        if self.failing.is_none() {
            let held =
                if self.settings.when_full == WhenFull::Pause { "attempts wait" } else { "attempts are left out" };
            tracing::error!(%error, "the audit log cannot be written; {held} until it can");
            self.failing = Some((error.to_string(), UnixNanos::now()));
        }
    }

    fn recovered(&mut self) {
        if let Some((_, since)) = self.failing.take() {
            let secs = UnixNanos::now().since(since).as_secs();
            tracing::info!(secs, "the audit log can be written again");
        }
    }
}

/// Drops a batch that could not be written.
fn give_up(drain: &AuditDrain, batch: AuditBatch) {
    drain.dropped(batch.entries.len() as u64);
    drain.give_back(batch);
}

async fn pause<F: Future<Output = Deadline>>(stop: &mut Stop<'_, F>) {
    let pause = async {
        sleep(RETRY_PAUSE).await;
        Event::Due
    };
    stop.said().or(pause).await;
}

/// The folder of the actions within the log's.
pub const ACTIONS_DIR: &str = "actions";
/// Lines of one frame, about; the journal's turn comes between two.
const LINES_BYTES: usize = 256 << 10;
/// Between two writes: half of what the default queue holds at 80,000 attempts a second.
const LINGER: Duration = Duration::from_millis(100);
/// How long it sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(3_600);
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io;
    use std::rc::Rc;

    use super::*;
    use crate::collector::journal::{Fault, JournalReader, Operation, Reading};
    use crate::handoff::{AuditSeat, AuditSpec, audit};
    use crate::model::{AuditEntry, AuditSource, Connection, SourceId, Span, Stages};
    use crate::runtime::{Placement, launch, spawn};

    fn entry(attempt: u64, batch: &mut AuditBatch) -> AuditEntry {
        AuditEntry {
            attempt,
            ts: UnixNanos::from_nanos(1),
            source: 0,
            base: 0,
            method: "GET",
            target: batch.put(|text| text.push_str("/x")),
            weight: 1,
            connection: Connection::New,
            http: "1.1",
            status: 200,
            bytes_out: 0,
            bytes_in: 0,
            stages: Stages::default(),
            elapsed_us: 0,
            verdict: None,
            reason: "",
            request_body: Span::default(),
            answer_body: Span::default(),
        }
    }

    fn settings(name: &str, when_full: WhenFull) -> AuditSettings {
        let dir = std::env::temp_dir().join(format!("tidegate-audit-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        AuditSettings { dir, run: "r1".into(), journal: JournalSettings::default(), when_full }
    }

    /// Ids of all lines.
    fn attempts(dir: &std::path::Path) -> Vec<u64> {
        let mut reader = JournalReader::open(dir, 0);
        let mut found = Vec::new();
        while let Reading::Batch(batch) = reader.read().unwrap() {
            for line in batch.lines.split_inclusive(|byte| *byte == b'\n') {
                found.push(serde_json::from_slice::<serde_json::Value>(line).unwrap()["attempt"].as_u64().unwrap());
            }
        }
        found
    }

    /// Runs a log whose disk is full for its first `refusals` writes beside one seat that makes `count` attempts as fast
    /// as it may; gives the summary and how often the seat waited.
    fn check(name: &str, when_full: WhenFull, refusals: u32, count: u64) -> (AuditSummary, u64, Vec<u64>) {
        let settings = settings(name, when_full);
        let dir = settings.dir.clone();
        let core = launch("audit", Placement::Unpinned, move || async move {
            let left = Rc::new(Cell::new(refusals));
            let hook: FaultHook = Rc::new(move |operation| {
                let is_refused = operation == Operation::Write && left.get() > 0;
                left.set(left.get() - u32::from(is_refused));
                is_refused.then(|| Fault::Fail(io::Error::from_raw_os_error(libc::ENOSPC)))
            });
            let sources = vec![AuditSource { id: SourceId("binance"), bases: vec!["http://a".into()] }];
            let (seeds, handle, drain) = audit(AuditSpec { shards: 1, queue_len: 512, when_full, sources });
            let seat: AuditSeat = seeds.into_iter().next().unwrap().connect();
            let log = AuditLog::open_with_faults(settings, Some(hook)).unwrap();
            let writer = spawn(log.run(drain, std::future::pending()));
            for attempt in 1..=count {
                seat.room().await;
                seat.push(|batch| entry(attempt, batch));
            }
            seat.finish().await;
            handle.act(AuditAction::new("stop", UnixNanos::from_nanos(1)));
            (writer.join().await.unwrap(), seat.waited())
        });
        let (summary, waited) = core.unwrap().join().unwrap();
        let found = attempts(&dir);
        std::fs::remove_dir_all(&dir).unwrap();
        (summary, waited, found)
    }

    #[test]
    fn every_entry_is_one_line_in_order() {
        let (summary, _, found) = check("order", WhenFull::Pause, 0, 5_000);
        assert_eq!(found, (1..=5_000).collect::<Vec<_>>());
        assert_eq!((summary.counts.written, summary.counts.dropped, summary.gave_up), (5_000, 0, None));
    }

    #[test]
    fn a_full_disk_holds_attempts_up_and_loses_none() {
        let (summary, waited, found) = check("wait", WhenFull::Pause, 3, 5_000);
        assert_eq!(found, (1..=5_000).collect::<Vec<_>>());
        assert!(waited > 0 && summary.counts.dropped == 0, "{waited} {summary:?}");
    }

    #[test]
    fn a_full_disk_drops_with_a_count_where_that_is_the_rule() {
        let (summary, waited, found) = check("drop", WhenFull::DropNewest, 2, 5_000);
        let counts = summary.counts;
        assert_eq!((counts.written + counts.dropped, counts.queued, waited), (5_000, 0, 0));
        assert!(counts.dropped > 0 && found.len() as u64 == counts.written, "{counts:?}");
        assert!(found.is_sorted());
    }
}
