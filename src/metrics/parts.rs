//! The parts of a snapshot that are not of one source: cores, buffer, journal, sinks, ages of data, alerts. Plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::snapshot::Latency;
use crate::time::UnixNanos;

/// How one core stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CoreSnapshot {
    /// Its name: `shard-0`, `sink`, `control`.
    pub name: String,
    /// The CPU it is pinned to; `None` = wherever the scheduler puts it.
    pub cpu: Option<usize>,
    /// Time since it last said that it is alive, in milliseconds.
    pub heartbeat_age_ms: u64,
    /// CPU time of its thread, user and system, in milliseconds.
    pub cpu_ms: u64,
    /// Share of the last ten seconds that its thread was on a CPU, 0 to 1.
    pub busy_share: f64,
    /// How often it was held up for 100 ms or longer.
    pub stalls: u64,
    /// The longest time it was held up, in milliseconds.
    pub stall_max_ms: u64,
}

/// How one shard stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardSnapshot {
    /// Connections open or being opened.
    pub connections_open: u64,
    /// Connections that serve no exchange.
    pub connections_idle: u64,
    /// Exchanges that wait for a connection.
    pub connection_waiters: u64,
    /// Its part of each source.
    pub sources: BTreeMap<String, ShardSource>,
}

/// One shard's part of one source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardSource {
    /// Attempts sent.
    pub requests: u64,
    /// Attempts with the verdict `ok`.
    pub success: u64,
    /// Records decoded.
    pub records: u64,
    /// Requests under way.
    pub in_flight: u64,
    /// The breaker's state.
    pub breaker: String,
    /// How long attempts took, over the run.
    pub latency: Latency,
    /// How long each stage took, over the run; stages never passed are left out.
    pub stages: BTreeMap<String, Latency>,
}

/// The normalization buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BufferSnapshot {
    /// The most records it holds.
    pub capacity: u64,
    /// Records in it.
    pub len: u64,
    /// Records at which polling slows down.
    pub high_water: u64,
}

/// What became of the audit log's entries, one for each attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditCounts {
    /// Written to the log.
    pub written: u64,
    /// Dropped.
    pub dropped: u64,
    /// Sent by their shard and not yet written.
    pub queued: u64,
    /// Actions of an operator that found no place.
    pub actions_dropped: u64,
}

/// What the deployment wants to reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TargetsSnapshot {
    /// Latency that 95 % of requests should stay under, in milliseconds.
    pub p95_ms: f64,
    /// Latency that 99 % of requests should stay under, in milliseconds.
    pub p99_ms: f64,
    /// Share of requests that should succeed, 0 to 1.
    pub success_rate: f64,
    /// Requests per second to be able to sustain.
    pub requests_per_second: f64,
}

/// Which of several instances this one is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSnapshot {
    /// This one, from 0.
    pub instance: usize,
    /// How many there are.
    pub of: usize,
    /// Configured sources that belong to the others.
    pub sources_elsewhere: usize,
}

/// The io_uring rings of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingsSnapshot {
    /// Rings made.
    pub made: u32,
    /// Those that the kernel took with the flags that make them fast.
    pub flagged: u32,
    /// Whether the flags are in force.
    pub flags_on: bool,
}

/// How the journal does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalStatus {
    /// The last `seq` written.
    pub written_seq: u64,
    /// The last `seq` that is durable.
    pub durable_seq: u64,
    /// Bytes written by this run.
    pub bytes_written: u64,
    /// Segments opened by this run.
    pub segments: u64,
    /// Writes and syncs of this run that took the disk longer than a second.
    #[serde(default)]
    pub slow_operations: u64,
    /// What the disk said, while it refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
    /// Since when it refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<UnixNanos>,
}

/// How a sink does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// The sink's name.
    pub name: String,
    /// The last `seq` that is safe at the sink.
    pub committed_seq: u64,
    /// Records delivered by this run.
    pub delivered: u64,
    /// Records put aside as refused for good.
    pub dead: u64,
    /// Records the journal no longer had, or that were damaged.
    pub missing: u64,
    /// Records in the journal that are not safe at the sink.
    pub lag_records: u64,
    /// Bytes of the journal behind what is safe at the sink.
    pub lag_bytes: u64,
    /// Age of the oldest record that is not safe at the sink, in milliseconds.
    pub lag_ms: u64,
    /// What the sink said, while it takes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
    /// `ts_publish` of the oldest record given to the sink that is not safe there; the epoch when there is none.
    #[serde(skip)]
    pub pending_since: UnixNanos,
}

/// How the collector does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectorStatus {
    /// The journal; `None` without one.
    pub journal: Option<JournalStatus>,
    /// Each sink.
    pub sinks: Vec<SinkStatus>,
}

/// How old the data of one instrument is; duplicates count, for they show that the source still tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataAge {
    /// The source.
    pub source: String,
    /// The kind.
    pub kind: String,
    /// The symbol; `None` where records have none, `*` for all beyond `metrics.symbols_max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Records taken so far.
    pub records: u64,
    /// Time since the newest `ts_event`, in milliseconds; `None` when the source gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_age_ms: Option<u64>,
    /// Time since the last record, in milliseconds; `None` while there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_age_ms: Option<u64>,
    /// The time between polls of it, in milliseconds; `None` when it is not polled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u64>,
}

/// Whether the engine lives and whether it delivers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether every shard has said within five seconds that it is alive.
    pub live: bool,
    /// Whether everything is up and at least one source delivers.
    pub ready: bool,
    /// What keeps it from being ready.
    pub reasons: Vec<Reason>,
}

/// One thing that keeps an engine from being ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What is concerned: `shard-0`, `sink`, `journal`, `sources`, `engine`.
    pub what: String,
    /// Why, in words.
    pub why: String,
}

/// One alert: a rule and what it holds of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The rule's name: `latency_p95`, `breaker_open`.
    pub rule: String,
    /// What it concerns: a source, a sink, a core; empty = the whole.
    pub subject: String,
    /// `warning` or `critical`.
    pub severity: String,
    /// `pending` while its condition has not held for long enough, `firing`, or `resolved`.
    pub state: String,
    /// Since when it has been in this state.
    pub since: UnixNanos,
    /// What was measured.
    pub value: f64,
    /// What the rule allows.
    pub limit: f64,
    /// In words.
    pub message: String,
}

/// The readers of the live records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapSnapshot {
    /// Readers now.
    pub readers: u64,
    /// Records that slow readers have lost.
    pub lost: u64,
}
