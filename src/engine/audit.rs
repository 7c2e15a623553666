//! The audit log's part in starting and ending an engine: the way from the shards to the sink core, its writer there, and
//! the actions of whoever runs the engine. Owns no file and no entry.

use crate::collector::{AuditLog, AuditSettings};
use crate::config::AuditLevel;
use crate::engine::check::Checked;
use crate::handoff::{self, AuditDrain, AuditHandle, AuditSeed, AuditSpec};
use crate::model::{AuditAction, AuditSource};
use crate::time::UnixNanos;

/// The way of the audit log, before the cores run.
#[derive(Default)]
pub(super) struct AuditParts {
    /// One for each shard; empty while the log is off.
    pub(super) seeds: Vec<AuditSeed>,
    /// For actions and counters.
    pub(super) handle: Option<AuditHandle>,
    /// What the sink core gets.
    pub(super) writer: Option<(AuditSettings, AuditDrain)>,
    /// Bytes of each body that are kept.
    pub(super) body_bytes_max: Option<usize>,
}

impl AuditParts {
    /// The way for a plan of so many shards; none when the log is off.
    pub(super) fn new(checked: &Checked, shards: usize, settings: AuditSettings) -> AuditParts {
        let kept = &checked.settings.audit;
        if kept.level == AuditLevel::Off {
            return AuditParts::default();
        }
        let trimmed = |url: &String| url.trim_end_matches('/').to_owned();
        let sources = checked
            .sources
            .iter()
            .map(|entry| AuditSource { id: entry.source.spec().id, bases: entry.bases.iter().map(trimmed).collect() });
        let spec =
            AuditSpec { shards, queue_len: kept.queue_len, when_full: kept.when_full, sources: sources.collect() };
        let (seeds, handle, drain) = handoff::audit(spec);
        AuditParts {
            seeds,
            handle: Some(handle),
            writer: Some((settings, drain)),
            body_bytes_max: (kept.level == AuditLevel::Bodies).then_some(kept.body_bytes_max),
        }
    }
}

/// Opens the log where there is one.
///
/// # Errors
/// When its folder cannot be used.
pub(super) fn open(
    writer: Option<(AuditSettings, AuditDrain)>,
) -> crate::error::Result<Option<(AuditLog, AuditDrain)>> {
    writer.map(|(settings, drain)| AuditLog::open(settings).map(|log| (log, drain))).transpose()
}

/// Says that the engine starts, and with what.
pub(super) fn started(handle: &AuditHandle, checked: &Checked, run: &str) {
    let now = UnixNanos::now();
    let settings = &checked.settings;
    let names = checked.sources.iter().map(|entry| entry.source.spec().id.as_str()).collect::<Vec<_>>();
    let sinks = settings.sinks.iter().map(|sink| sink.name.as_str()).collect::<Vec<_>>();
    handle.act(
        AuditAction::new("configuration", now)
            .with("sources", names.join(","))
            .with("sinks", sinks.join(","))
            .with("polls", checked.sources.iter().map(|entry| entry.polls.len()).sum::<usize>())
            .with("from", settings.origins().into_iter().collect::<Vec<_>>().join(",")),
    );
    handle.act(
        AuditAction::new("start", now)
            .with("run", run)
            .with("version", env!("CARGO_PKG_VERSION"))
            .with("process", std::process::id())
            .with("shards", checked.placement.shards.len()),
    );
}

/// An action at this moment.
pub(super) fn action(event: &'static str) -> AuditAction {
    AuditAction::new(event, UnixNanos::now())
}
