//! The summary of a run: what `--summary` writes as JSON, and the table at the end.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::config::Targets;
use crate::engine::Finish;
use crate::error::Error;
use crate::metrics::{AuditCounts, RecordCounts, Snapshot, SourceSnapshot};

/// What a run did.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// Attempts sent.
    pub requests: u64,
    /// Attempts with the verdict `ok`.
    pub success: u64,
    /// Share of them.
    pub success_rate: f64,
    /// Attempts per second of the run.
    pub requests_per_second: f64,
    /// Latency of attempts.
    pub p50_ms: f64,
    /// Latency of attempts.
    pub p95_ms: f64,
    /// Latency of attempts.
    pub p99_ms: f64,
    /// Latency of attempts.
    pub max_ms: f64,
    /// Refusals before sending: breaker, quota, deadline.
    pub refused: u64,
    /// Attempts given up before they had a verdict; not among the requests.
    pub cancelled: u64,
    /// How long the run took.
    pub elapsed_ms: u64,
    /// What 95 % of attempts should stay under, by configuration.
    pub p95_target_ms: f64,
    /// The most attempts in one second.
    pub requests_per_second_peak: f64,
    /// What the deployment is to sustain, by configuration.
    pub requests_per_second_target: u64,
    /// The records' counters.
    pub records: Records,
    /// The audit log's counters; absent while it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditCounts>,
    /// The same by source.
    pub sources: BTreeMap<String, SourceSummary>,
}

/// The records' counters.
#[derive(Debug, Serialize)]
pub(super) struct Records {
    published: u64,
    delivered: u64,
    dropped: u64,
    queued: u64,
}

/// One source's part.
#[derive(Debug, Serialize)]
pub(super) struct SourceSummary {
    requests: u64,
    success: u64,
    success_rate: f64,
    refused: u64,
    cancelled: u64,
    retries: u64,
    hedges: u64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    records: Records,
    polls_skipped: u64,
    breaker: String,
    verdicts: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
}

impl Summary {
    /// Sums a run up.
    pub(super) fn of(snapshot: &Snapshot, finish: &Finish, targets: &Targets, elapsed: Duration) -> Summary {
        let refused = |source: &SourceSnapshot| source.refused.values().sum();
        let total = &snapshot.total;
        let sources = snapshot.sources.iter().map(|(id, source)| {
            let summary = SourceSummary {
                requests: source.requests,
                success: source.success,
                success_rate: source.success_rate,
                refused: refused(source),
                cancelled: source.cancelled,
                retries: source.retries,
                hedges: source.hedges,
                p50_ms: source.latency.p50_ms,
                p95_ms: source.latency.p95_ms,
                p99_ms: source.latency.p99_ms,
                max_ms: source.latency.max_ms,
                records: source.counts.into(),
                polls_skipped: source.polls_skipped,
                breaker: source.breaker.clone(),
                verdicts: source.verdicts.clone(),
                last_error: source.last_error.clone(),
            };
            (id.clone(), summary)
        });
        let requests_per_second = total.requests as f64 / elapsed.as_secs_f64().max(1e-9);
        Summary {
            requests: total.requests,
            success: total.success,
            success_rate: total.success_rate,
            requests_per_second,
            p50_ms: total.latency.p50_ms,
            p95_ms: total.latency.p95_ms,
            p99_ms: total.latency.p99_ms,
            max_ms: total.latency.max_ms,
            refused: refused(total),
            cancelled: total.cancelled,
            elapsed_ms: elapsed.as_millis() as u64,
            p95_target_ms: targets.p95.as_secs_f64() * 1e3,
            requests_per_second_peak: total.requests_per_second_peak,
            requests_per_second_target: targets.requests_per_second,
            records: finish.counts.into(),
            audit: finish.audit.as_ref().map(|audit| audit.counts),
            sources: sources.collect(),
        }
    }

    /// Writes the table for people.
    pub(super) fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{:<16} {:>9} {:>8} {:>8} {:>9} {:>9} {:>10} {:>10} {:>8}",
            "SOURCE", "REQUESTS", "OK %", "REFUSED", "P50 MS", "P95 MS", "PUBLISHED", "DELIVERED", "DROPPED"
        )?;
        for (id, source) in &self.sources {
            let numbers = (source.requests, source.success_rate, source.refused, source.p50_ms, source.p95_ms);
            row(out, id, numbers, &source.records)?;
        }
        row(out, "total", (self.requests, self.success_rate, self.refused, self.p50_ms, self.p95_ms), &self.records)?;
        writeln!(
            out,
            "{:.0} requests/s over {:.1} s, peak {:.0}; p95 target {:.0} ms {}; p99 {:.1} ms, max {:.1} ms; {} records queued at the end",
            self.requests_per_second,
            self.elapsed_ms as f64 / 1000.0,
            self.requests_per_second_peak,
            self.p95_target_ms,
            if self.p95_ms <= self.p95_target_ms { "met" } else { "missed" },
            self.p99_ms,
            self.max_ms,
            self.records.queued
        )
    }
}

fn row(
    out: &mut impl Write,
    name: &str,
    (requests, rate, refused, p50, p95): (u64, f64, u64, f64, f64),
    records: &Records,
) -> io::Result<()> {
    writeln!(
        out,
        "{name:<16} {requests:>9} {:>8.2} {refused:>8} {p50:>9.1} {p95:>9.1} {:>10} {:>10} {:>8}",
        rate * 100.0,
        records.published,
        records.delivered,
        records.dropped
    )
}

impl From<RecordCounts> for Records {
    fn from(counts: RecordCounts) -> Self {
        Records {
            published: counts.published,
            delivered: counts.delivered,
            dropped: counts.dropped,
            queued: counts.queued,
        }
    }
}

/// Opens the file of a summary before the run, so that a bad path is told before the work and not after it.
pub(super) fn create(path: &Path) -> Result<(PathBuf, File), Error> {
    let file = File::create(path).map_err(|error| Error::io("create", path, &error))?;
    Ok((path.to_owned(), file))
}
