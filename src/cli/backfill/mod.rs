//! `tidegate backfill`: a span of the past of one stream, page by page into the journal, within the quota. It goes on where
//! it was stopped, and writes nothing that the journal has. Owns the order of pages; the request path is the engine's.

mod plan;
mod progress;

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;

use crate::cli::backfill::plan::{Plan, Position};
use crate::cli::backfill::progress::Progress;
use crate::cli::cat::parse_time;
use crate::cli::upstream::{OneOff, Upstream};
use crate::cli::{Done, Failure, log, run, usage};
use crate::engine::{Engine, check};
use crate::error::{Error, ErrorKind};
use crate::model::{Judgement, Kind, Verdict};
use crate::policy::WhenFull;
use crate::shard::Page;
use crate::time::UnixNanos;

/// Fetch a span of the past into the journal, page by page and within the quota.
///
/// It goes on where it was stopped, and writes no record that the journal has already. It writes the journal itself, so
/// that no engine may run on the same data directory meanwhile.
#[derive(Args, Debug)]
pub struct Backfill {
    /// Source to ask.
    source: String,
    /// Kind of record.
    kind: String,
    /// Canonical symbol; none for general news.
    symbol: Option<String>,
    /// First moment: 2024-11-01, 2024-11-01T12:00:00Z, nanoseconds since the epoch, or 15m for that long ago.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: UnixNanos,
    /// First moment after; the present without.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<UnixNanos>,
    /// Length of the bars; a minute without.
    #[arg(long)]
    interval: Option<String>,
    /// Folder with the journal; `data` when nothing sets it.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Asks again for what an earlier run has brought, say because retention has deleted it since.
    #[arg(long)]
    again: bool,
    #[command(flatten)]
    upstream: Upstream,
}

impl Backfill {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        // Before any thread starts: what asks it to stop.
        let signals = run::signals()?;
        let source = check::source(&self.source).map_err(usage)?;
        let kind = check::kind(source, &self.kind).map_err(usage)?;
        let interval = check::interval(kind, self.interval.as_deref()).map_err(usage)?;
        let mut plan =
            Plan::new((source, kind), (self.symbol.as_deref(), interval), (self.from, self.to), UnixNanos::now())
                .map_err(usage)?;
        let (mut settings, upstream) = self.upstream.prepare(&self.source, self.data.as_deref())?;
        if !settings.journal.enabled {
            return Err(usage("journal.enabled: expected a journal to write to, found it switched off"));
        }
        // What is in the journal is durable then, so that the position never runs ahead of it.
        settings.journal.fsync_interval = Duration::ZERO;
        // What would be dropped for want of room is waited for: nothing else is polled.
        settings.buffer.when_full = [WhenFull::Pause; Kind::ALL.len()];
        let _log = log::start(&settings.log, true)?;
        let file = plan.file(&settings.data_dir);
        let stored = if self.again { None } else { plan::load(&file)? };
        let start = plan.resume(stored);
        if start.done {
            eprintln!("{plan}: already there, {} records in {} pages; --again asks anew", start.records, start.pages);
            return Ok(Done::Fine);
        }
        let one_off = upstream.start(settings, |builder| builder.backfill(plan.stream.clone()))?;
        let mut job = Job { plan: &plan, file, position: start, source: &self.source, signals: &signals };
        let ended = job.run(&one_off.engine);
        let finish = job.finish(one_off, &ended)?;
        ended.map(|()| finish)
    }
}

/// A backfill under way.
struct Job<'a> {
    plan: &'a Plan,
    file: PathBuf,
    position: Position,
    source: &'a str,
    signals: &'a mpsc::Receiver<&'static str>,
}

impl Job<'_> {
    /// Pages until the span is whole.
    fn run(&mut self, engine: &Engine) -> Result<(), Failure> {
        let mut progress = Progress::new(self.plan, &self.position);
        let mut failures = 0_u32;
        while !self.position.done {
            self.stopped(Duration::ZERO)?;
            let query = self.plan.query(&self.position);
            match engine.page(self.source, query, PAGE_DEADLINE).wait()? {
                Ok(page) => {
                    failures = 0;
                    self.wait_for_journal(engine)?;
                    self.commit(&page)?;
                    progress.show(&self.position);
                }
                Err(judgement) => {
                    let pause = pause_after(&judgement, failures);
                    let Some(pause) = pause else { return Err(self.refused(&judgement)) };
                    if judgement.verdict != Verdict::RateLimited {
                        failures += 1;
                    }
                    progress.wait(&judgement, pause);
                    self.stopped(pause)?;
                }
            }
        }
        Ok(())
    }

    /// Notes that a page is in the journal. Not before: what is noted is not asked for again.
    fn commit(&mut self, page: &Page) -> Result<(), Failure> {
        self.position.turn(self.plan, page);
        plan::store(&self.file, self.plan, &self.position)?;
        Ok(())
    }

    /// Waits until everything that was published is in the journal, durably: it is synced after every batch.
    fn wait_for_journal(&self, engine: &Engine) -> Result<(), Failure> {
        while engine.counts().queued > 0 || !engine.counts().is_balanced() {
            // A disk that refuses can last; so can the wish to stop.
            self.stopped(JOURNAL_STEP)?;
        }
        Ok(())
    }

    /// Waits, and fails when it is told to stop meanwhile.
    fn stopped(&self, pause: Duration) -> Result<(), Failure> {
        match self.signals.recv_timeout(pause) {
            Ok(_) => {
                let why =
                    format!("{}: stopped after {} records; the same command goes on", self.plan, self.position.records);
                Err(Error::new(ErrorKind::Stopped, why).into())
            }
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(()),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                std::thread::sleep(pause);
                Ok(())
            }
        }
    }

    fn refused(&self, judgement: &Judgement) -> Failure {
        let (plan, records) = (self.plan, self.position.records);
        let (verdict, message) = (judgement.verdict.as_str(), &judgement.message);
        let why = format!("{plan}: {verdict}: {message}; {records} records are there, and the same command goes on");
        Error::new(ErrorKind::Stopped, why).into()
    }

    /// Ends the engine, and says what was done when it went well.
    fn finish(&self, one_off: OneOff, ended: &Result<(), Failure>) -> Result<Done, Failure> {
        let finish = one_off.end()?;
        let journal = finish.journal.unwrap_or_default();
        if let Some(why) = journal.gave_up {
            return Err(Error::new(ErrorKind::Io, why).into());
        }
        if ended.is_ok() {
            let (plan, pages) = (self.plan, self.position.pages);
            let (written, there) = (journal.delivered, journal.duplicates);
            eprintln!("{plan}: {written} records written, {there} were there, {pages} pages in all");
        }
        Ok(Done::Fine)
    }
}

/// How long to wait before a page is asked for again; `None` when that is of no use.
fn pause_after(judgement: &Judgement, failures: u32) -> Option<Duration> {
    match judgement.verdict {
        Verdict::RateLimited | Verdict::Banned => {
            Some(judgement.retry_after.unwrap_or(QUOTA_PAUSE).clamp(PAUSE_MIN, PAUSE_MAX))
        }
        Verdict::Malformed | Verdict::UpstreamError if failures < FAILURES_MAX => {
            let doubled = PAUSE_MIN.saturating_mul(1 << failures.min(10)).min(FAILURE_PAUSE_MAX);
            Some(judgement.retry_after.unwrap_or(doubled).clamp(PAUSE_MIN, PAUSE_MAX))
        }
        _ => None,
    }
}

/// Time of one page, waiting for the quota included; a longer wait is shown.
const PAGE_DEADLINE: Duration = Duration::from_secs(60);
const JOURNAL_STEP: Duration = Duration::from_millis(1);
const QUOTA_PAUSE: Duration = Duration::from_secs(10);
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(3_600);
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Failures in a row: with their pauses about six minutes.
const FAILURES_MAX: u32 = 10;
