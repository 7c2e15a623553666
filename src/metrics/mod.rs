//! Metrics: what happened, how often, and how long it took. Shards write their own cells, one writer each, without
//! locks or read-modify-write operations; any thread reads them. Owns no exposition format and no clock.
//! Invariants: recording never waits and never allocates; label sets are closed; a snapshot is plain data.

mod cells;
mod core;
mod histogram;
mod names;
mod parts;
mod reader;
mod sink;
mod snapshot;
mod window;

pub use self::core::CoreCells;
pub use cells::{Attempt, Counter, Gauge, Recorder, ShardCells};
pub use histogram::{Counts, Histogram};
pub use names::{BREAKER_STATES, GapState, Refusal, Stage, breaker_state};
pub use parts::{
    Alert, AuditCounts, BufferSnapshot, ClusterSnapshot, CollectorStatus, CoreSnapshot, DataAge, Health, JournalStatus,
    Reason, RingsSnapshot, ShardSnapshot, ShardSource, SinkStatus, TapSnapshot, TargetsSnapshot,
};
pub use reader::MetricsReader;
pub use sink::{SinkCells, SinkRecorder};
pub use snapshot::{Latency, QuotaUse, Recent, RecordCounts, Snapshot, SourceSnapshot};

/// One shard's cells, as they cross to its thread.
pub type SharedCells = std::sync::Arc<ShardCells>;
/// One core's cells, as they cross to its thread.
pub type SharedCore = std::sync::Arc<CoreCells>;
/// The sink core's cells, as they cross to its thread.
pub type SharedSink = std::sync::Arc<SinkCells>;
