//! The sink core: takes records from the normalization buffer, drops duplicates, numbers, writes the journal, and has
//! the sinks deliver from it.
//! Owns `seq`, the journal and each sink's offset; not the buffer, and nothing of how records come to be.
//! Invariants: a record counts as delivered once it is in the journal; until then it is in hand and is tried again; the
//! order of records is that of the buffer.

mod audit;
mod buffer;
mod cover;
mod cursors;
mod dead;
mod dedupe;
mod delivery;
mod driver;
pub mod journal;
mod lock;
mod offset;
mod run;
#[cfg(test)]
mod tests;

pub use audit::{ACTIONS_DIR, AuditLog, AuditSettings, AuditSummary};
pub use buffer::BufferCounters;
pub use cursors::{CursorSettings, Scope};
pub use dedupe::{Dedupe, DedupeSettings};
pub use delivery::DeliverySettings;
pub use journal::{Journal, JournalReader, JournalSettings, Reading, Recovery};
pub use lock::DataLock;
pub use offset::{Offset, OffsetFile};
pub use run::{BatchSettings, Collector, CollectorSettings, Counters, Inlet, Summary, Woken, run};
