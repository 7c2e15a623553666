//! The code that crosses cores: the normalization buffer, mailboxes, quota cells, breaker quorums, the stop signal and the doorbell they
//! wake each other with. Everything that passes is plain data; ordinary wakers wake whatever executor waits.
//! Owns no policy: what a full buffer does or how a window counts is decided in `policy`.
//! Invariant: nothing here spins, and nothing that was handed over is lost without a counter moving.

mod audit;
mod buffer;
mod doorbell;
mod ledger;
#[cfg(all(test, tidegate_loom))]
mod loom_models;
mod mailbox;
mod quorum;
mod quota;
mod stop;
mod sync;
mod tap;

pub use audit::{AuditDrain, AuditHandle, AuditSeat, AuditSeed, AuditSpec, audit};
pub use buffer::{BufferClosed, BufferSpec, BufferView, Drain, Publisher, PublisherSeed, Woken, buffer};
pub use doorbell::{Doorbell, Wait};
pub use ledger::{DropReason, Ledger, Tally};
pub use mailbox::{Mailbox, MailboxSender, Rejected, Reply, ReplyTo, mailbox, reply};
pub use quorum::{Advice, QUORUM_SHARDS_MAX, QuorumSeat, quorum};
pub use quota::{Grant, QuotaCell, QuotaSettings, QuotaSnapshot};
pub use stop::{Stop, StopSource, stop};
pub use tap::{Tap, TapFilter, TapReader, Tapped};
