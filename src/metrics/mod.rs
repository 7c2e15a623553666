//! Metrics: what happened, how often, and how long it took. Shards write their own cells, one writer each, without
//! locks or read-modify-write operations; any thread reads them. Owns no exposition format and no clock.
//! Invariants: recording never waits and never allocates; label sets are closed; a snapshot is plain data.

mod cells;
mod histogram;
mod names;
mod reader;
mod snapshot;

pub use cells::{Attempt, Counter, Gauge, Recorder, ShardCells};
pub use histogram::{Counts, Histogram};
pub use names::{BREAKER_STATES, Refusal, Stage, breaker_state};
pub use reader::MetricsReader;
pub use snapshot::{Latency, QuotaUse, Recent, RecordCounts, Snapshot, SourceSnapshot};
