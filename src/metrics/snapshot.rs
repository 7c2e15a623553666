//! Snapshots: everything the metrics know at one moment, as plain data to print, serve or compare.
//! Milliseconds and rates are for reading and are the only floating-point numbers; counts are exact.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::histogram::Counts;
use super::parts::{
    Alert, AuditCounts, BufferSnapshot, ClusterSnapshot, CoreSnapshot, DataAge, Health, JournalStatus, RingsSnapshot,
    ShardSnapshot, SinkStatus, TapSnapshot, TargetsSnapshot,
};
use crate::time::UnixNanos;

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The engine's version.
    pub version: String,
    /// The id of the run, which the journal's segments carry too.
    pub run: String,
    /// When it was taken.
    pub at: UnixNanos,
    /// When the run began.
    pub started_at: UnixNanos,
    /// Since the start, in milliseconds.
    pub uptime_ms: u64,
    /// Where the admin server listens; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    /// Which of several instances it is; `None` when it is alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterSnapshot>,
    /// Whether it lives and delivers.
    pub health: Health,
    /// What the deployment wants to reach.
    pub targets: TargetsSnapshot,
    /// Requests a second that the configured polls ask for, on average.
    pub demand_per_second: f64,
    /// All sources together.
    pub total: SourceSnapshot,
    /// The record counters.
    pub records: RecordCounts,
    /// The normalization buffer.
    pub buffer: BufferSnapshot,
    /// Source by source.
    pub sources: BTreeMap<String, SourceSnapshot>,
    /// Core by core: the shards, the sink core, the control core.
    pub cores: Vec<CoreSnapshot>,
    /// Shard by shard.
    pub shards: Vec<ShardSnapshot>,
    /// The io_uring rings.
    pub rings: RingsSnapshot,
    /// The journal; `None` without one.
    pub journal: Option<JournalStatus>,
    /// The audit log; `None` while it is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditCounts>,
    /// Sink by sink.
    pub sinks: Vec<SinkStatus>,
    /// How old the data of each instrument is.
    pub data: Vec<DataAge>,
    /// Alerts that are pending or firing, and those that were resolved in the last minutes.
    pub alerts: Vec<Alert>,
    /// How often each rule has fired.
    pub alerts_fired: BTreeMap<String, u64>,
    /// The readers of the live records.
    pub tap: TapSnapshot,
}

/// What is known of one source, or of all together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceSnapshot {
    /// Attempts sent.
    pub requests: u64,
    /// Attempts with the verdict `ok`.
    pub success: u64,
    /// Their share; 1 while nothing has been sent.
    pub success_rate: f64,
    /// Attempts a second over the run.
    pub requests_per_second: f64,
    /// Attempts a second now: over the last second or so.
    pub requests_per_second_now: f64,
    /// The most attempts in one second.
    pub requests_per_second_peak: f64,
    /// Attempts by verdict; verdicts that never came are left out.
    pub verdicts: BTreeMap<String, u64>,
    /// Refusals before sending, by reason; reasons that never came are left out.
    pub refused: BTreeMap<String, u64>,
    /// Attempts that repeated an earlier one.
    pub retries: u64,
    /// Attempts given up before they had a verdict; not among the requests.
    pub cancelled: u64,
    /// Attempts sent beside a slow one.
    pub hedges: u64,
    /// Records decoded.
    pub records: u64,
    /// Body bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Polls begun.
    pub polls: u64,
    /// Polls skipped.
    pub polls_skipped: u64,
    /// Records that were missed between two polls and have come.
    #[serde(default)]
    pub refilled: u64,
    /// Gaps recorded, by what became of them; none of a kind are left out.
    #[serde(default)]
    pub gaps: BTreeMap<String, u64>,
    /// Answers that said that nothing has changed (304).
    pub unchanged: u64,
    /// Connections opened.
    pub connections: u64,
    /// Requests under way.
    pub in_flight: u64,
    /// Requests that wait to be admitted: for a slot, for their turn, or for quota.
    pub waiting: u64,
    /// How long attempts took, over the run.
    pub latency: Latency,
    /// How long each stage took; stages never passed are left out.
    pub stages: BTreeMap<String, Latency>,
    /// The last ten seconds.
    pub last_10s: Recent,
    /// The last minute.
    pub last_60s: Recent,
    /// The breaker's state; where shards differ, the one that admits least.
    pub breaker: String,
    /// Breakers open now; more than one only for sources on several shards and for the total.
    pub breakers_open: u64,
    /// How often breakers have opened.
    pub breaker_opened: u64,
    /// How often breakers have changed, by the state they went into; states never entered are left out.
    pub breaker_transitions: BTreeMap<String, u64>,
    /// Time since its last record of any kind, in milliseconds; `None` while there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_age_ms: Option<u64>,
    /// Time since its newest `ts_event` of any kind, in milliseconds; `None` while there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_age_ms: Option<u64>,
    /// What the last failed fetch ended with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// How the body began that the last failed fetch got, at most 200 bytes without secrets; none without a whole answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_excerpt: Option<String>,
    /// The record counters; filled by the engine. `queued` is not known per source.
    #[serde(default)]
    pub counts: RecordCounts,
    /// The quota windows; filled by the engine.
    pub quota: Vec<QuotaUse>,
    /// When the ban ends, if there is one; filled by the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub banned_until: Option<UnixNanos>,
}

/// A distribution of durations, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Values counted.
    pub count: u64,
    /// Mean.
    pub mean_ms: f64,
    /// Median.
    pub p50_ms: f64,
    /// 95 % took no longer.
    pub p95_ms: f64,
    /// 99 % took no longer.
    pub p99_ms: f64,
    /// 99.9 % took no longer.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl From<&Counts> for Latency {
    fn from(counts: &Counts) -> Self {
        let (count, max) = (counts.count(), counts.max_nanos());
        if count == 0 {
            return Latency::default();
        }
        let at = |share| millis(counts.quantile(share));
        Latency {
            count,
            mean_ms: millis(counts.sum_nanos()) / count as f64,
            p50_ms: at(0.5),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: millis(max),
        }
    }
}

/// The recent past.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recent {
    /// The span it covers, in milliseconds: shorter than its name at the start of a run.
    pub span_ms: u64,
    /// Attempts sent.
    pub requests: u64,
    /// Attempts with the verdict `ok`.
    pub success: u64,
    /// Attempts a second.
    pub requests_per_second: f64,
    /// Records decoded a second.
    pub records_per_second: f64,
    /// How long attempts took.
    pub latency: Latency,
    /// How long each stage took; stages not passed are left out.
    pub stages: BTreeMap<String, Latency>,
}

/// The use of one quota window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaUse {
    /// The bucket; empty for the provider-wide one.
    pub bucket: String,
    /// How its time runs.
    pub shape: String,
    /// Its length.
    pub per_ms: u64,
    /// Weight it allows.
    pub limit: u64,
    /// Weight used.
    pub used: u64,
}

/// Counts of records at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordCounts {
    /// Entered the buffer, or were dropped at its door.
    pub published: u64,
    /// Written to the journal; without one, taken by the sink core.
    pub delivered: u64,
    /// Dropped, for all reasons.
    pub dropped: u64,
    /// Dropped as duplicates.
    pub dropped_duplicate: u64,
    /// Dropped because the buffer was full, as the newest.
    pub dropped_full_newest: u64,
    /// Dropped because the buffer was full, as the oldest.
    pub dropped_full_oldest: u64,
    /// In the buffer and in the sink core's hands.
    pub queued: u64,
}

impl RecordCounts {
    /// Whether published = delivered + dropped + queued.
    pub fn is_balanced(&self) -> bool {
        self.published == self.delivered + self.dropped + self.queued
    }
}

fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}
