//! What the sink core is made from: the journal, the batches and the sinks of the settings.

use crate::collector::{
    AuditSettings, BatchSettings, CollectorSettings, CursorSettings, DedupeSettings, DeliverySettings, JournalSettings,
    Scope,
};
use crate::engine::check::Checked;
use crate::model::Stream;
use crate::sink::SinkHost;
use crate::time::UnixNanos;

/// How the audit log is kept.
pub(super) fn audit_settings(checked: &Checked, run: &str) -> AuditSettings {
    let kept = &checked.settings.audit;
    AuditSettings {
        dir: checked.settings.data_dir.join("audit"),
        run: run.to_owned(),
        journal: JournalSettings {
            segment_bytes: kept.segment_bytes,
            segment_age: kept.segment_age,
            fsync_interval: kept.fsync_interval,
            retention_bytes: kept.retention_bytes,
            retention_age: kept.retention_age,
            delete_unread: true,
        },
        when_full: kept.when_full,
    }
}

/// The sink core's settings; without `journal` it counts records and writes nothing.
pub(super) fn collector_settings(
    checked: &Checked,
    run: &str,
    journal: bool,
    backfill: Option<Stream>,
) -> CollectorSettings {
    let settings = &checked.settings;
    let kept = &settings.journal;
    let batch = BatchSettings::default();
    CollectorSettings {
        data_dir: settings.data_dir.clone(),
        run: run.to_owned(),
        journal: (journal && kept.enabled).then_some(JournalSettings {
            segment_bytes: kept.segment_bytes,
            segment_age: kept.segment_age,
            fsync_interval: kept.fsync_interval,
            retention_bytes: kept.retention_bytes,
            retention_age: kept.retention_age,
            delete_unread: kept.delete_unread,
        }),
        // A batch that waits for more than a small buffer holds would only hold its publishers up.
        batch: BatchSettings { linger_records: batch.linger_records.min(settings.buffer.capacity / 4).max(1), ..batch },
        dedupe: match &backfill {
            Some(_) => DedupeSettings {
                window: BACKFILL_WINDOW,
                spans_max: BACKFILL_SPANS_MAX,
                by_content: true,
                ..DedupeSettings::default()
            },
            None => DedupeSettings::default(),
        },
        cursors: settings.cursors.enabled.then(|| CursorSettings::under(&settings.data_dir)),
        scope: backfill.map(|stream| Scope { stream }),
        sinks: if journal { settings.sinks.clone() } else { Vec::new() },
        delivery: DeliverySettings::default(),
        host: SinkHost { ca_file: settings.tls_ca_file.clone() },
    }
}

/// The id of a run: when it began, and which process it is.
pub(super) fn run_id() -> String {
    format!("{}-{}", UnixNanos::now().as_millis(), std::process::id())
}

/// Records without consecutive numbers that a backfill knows of in its stream: 20 bytes each.
const BACKFILL_WINDOW: usize = 20_000_000;
/// Spans of numbers that it knows of: 16 bytes each.
const BACKFILL_SPANS_MAX: usize = 1_000_000;
