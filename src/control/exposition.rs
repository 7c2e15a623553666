//! A snapshot as the text that Prometheus scrapes, in its own format or in OpenMetrics. Pure. Base units; label values
//! come from closed sets, but for symbols, whose number `metrics.symbols_max` bounds.

mod text;

use crate::metrics::{BREAKER_STATES, CoreSnapshot, DataAge, Latency, QuotaUse, SinkStatus, Snapshot, SourceSnapshot};
use text::{Text, Type};

/// The two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus's text format 0.0.4.
    Prometheus,
}

impl Format {
    /// The format that the values of Accept prefer; Prometheus's own where they do not say.
    pub fn negotiate<'a>(accept: impl Iterator<Item = &'a str>) -> Format {
        let (mut open, mut plain) = (0.0_f64, 0.0_f64);
        for range in accept.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.filter_map(|part| part.strip_prefix("q=")?.parse().ok()).next().unwrap_or(1.0);
            match media.as_str() {
                "application/openmetrics-text" => open = open.max(weight),
                "text/plain" | "text/*" | "*/*" => plain = plain.max(weight),
                _ => {}
            }
        }
        if open > 0.0 && open >= plain { Format::OpenMetrics } else { Format::Prometheus }
    }

    /// The Content-Type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes a snapshot in a format.
pub fn expose(snapshot: &Snapshot, format: Format) -> String {
    let mut text = Text::new(format);
    run(&mut text, snapshot);
    requests(&mut text, snapshot);
    durations(&mut text, snapshot);
    breakers(&mut text, snapshot);
    quotas(&mut text, snapshot);
    records(&mut text, snapshot);
    cores(&mut text, snapshot);
    journal(&mut text, snapshot);
    audit(&mut text, snapshot);
    sinks(&mut text, snapshot);
    alerts(&mut text, snapshot);
    text.end()
}

fn run(text: &mut Text, snapshot: &Snapshot) {
    text.family("tidegate_build_info", Type::Gauge, "The version; always 1.");
    text.sample("", &[("version", &snapshot.version)], 1.0);
    text.single(
        "tidegate_start_time_seconds",
        Type::Gauge,
        "When the run began, in seconds since the epoch.",
        snapshot.started_at.as_millis() as f64 / 1e3,
    );
    text.single("tidegate_live", Type::Gauge, "Whether every shard lives.", flag(snapshot.health.live));
    text.single("tidegate_ready", Type::Gauge, "Whether all is up and delivers.", flag(snapshot.health.ready));
    text.single(
        "tidegate_io_uring_flags_on",
        Type::Gauge,
        "Whether the rings run with the flags that make them fast.",
        flag(snapshot.rings.flags_on),
    );
}

/// A family of what `T` tells: its name, type and help, and how its value is read.
type Family<T> = (&'static str, Type, &'static str, fn(&T) -> f64);

const OF_SOURCE: &[Family<SourceSnapshot>] = &[
    ("tidegate_retries_total", Type::Counter, "Attempts that repeated an earlier one.", |row| row.retries as f64),
    ("tidegate_hedges_total", Type::Counter, "Second attempts beside one that was slow.", |row| row.hedges as f64),
    ("tidegate_decoded_records_total", Type::Counter, "Records decoded.", |row| row.records as f64),
    ("tidegate_received_bytes_total", Type::Counter, "Body bytes received.", |row| row.bytes_in as f64),
    ("tidegate_sent_bytes_total", Type::Counter, "Bytes sent.", |row| row.bytes_out as f64),
    ("tidegate_polls_total", Type::Counter, "Polls begun.", |row| row.polls as f64),
    ("tidegate_polls_skipped_total", Type::Counter, "Polls skipped: the one before still ran.", |row| {
        row.polls_skipped as f64
    }),
    ("tidegate_unchanged_answers_total", Type::Counter, "Answers that said that nothing has changed (304).", |row| {
        row.unchanged as f64
    }),
    ("tidegate_refilled_records_total", Type::Counter, "Records that polls had missed and that have come.", |row| {
        row.refilled as f64
    }),
    ("tidegate_connections_opened_total", Type::Counter, "Connections opened.", |row| row.connections as f64),
    ("tidegate_requests_in_flight", Type::Gauge, "Requests under way.", |row| row.in_flight as f64),
    ("tidegate_requests_waiting", Type::Gauge, "Requests that wait to be admitted.", |row| row.waiting as f64),
    ("tidegate_requests_per_second", Type::Gauge, "Attempts a second, now.", |row| row.requests_per_second_now),
    ("tidegate_requests_per_second_peak", Type::Gauge, "The most attempts in one second.", |row| {
        row.requests_per_second_peak
    }),
    ("tidegate_success_ratio", Type::Gauge, "Share of attempts with the verdict ok, over the run.", |row| {
        row.success_rate
    }),
];

fn requests(text: &mut Text, snapshot: &Snapshot) {
    text.family("tidegate_requests_total", Type::Counter, "Attempts sent, by verdict.");
    for (source, row) in &snapshot.sources {
        for (verdict, count) in &row.verdicts {
            text.sample("", &[("source", source), ("verdict", verdict)], *count as f64);
        }
    }
    text.family("tidegate_refused_total", Type::Counter, "Requests refused here before they were sent, by reason.");
    for (source, row) in &snapshot.sources {
        for (reason, count) in &row.refused {
            text.sample("", &[("source", source), ("reason", reason)], *count as f64);
        }
    }
    text.family("tidegate_gaps_total", Type::Counter, "Gaps between polls that were recorded, by what became of them.");
    for (source, row) in &snapshot.sources {
        for (state, count) in &row.gaps {
            text.sample("", &[("source", source), ("state", state)], *count as f64);
        }
    }
    for (name, kind, help, read) in OF_SOURCE {
        text.family(name, *kind, help);
        for (source, row) in &snapshot.sources {
            text.sample("", &[("source", source)], read(row));
        }
    }
    text.family("tidegate_shard_requests_total", Type::Counter, "Attempts sent, by shard.");
    for (shard, row) in snapshot.shards.iter().enumerate() {
        for (source, part) in &row.sources {
            text.sample("", &[("shard", &shard.to_string()), ("source", source)], part.requests as f64);
        }
    }
    text.family("tidegate_shard_connections", Type::Gauge, "Connections of a shard's pool, by state.");
    for (shard, row) in snapshot.shards.iter().enumerate() {
        let busy = row.connections_open.saturating_sub(row.connections_idle);
        for (state, count) in [("busy", busy), ("idle", row.connections_idle)] {
            text.sample("", &[("shard", &shard.to_string()), ("state", state)], count as f64);
        }
    }
    text.family("tidegate_shard_connection_waiters", Type::Gauge, "Exchanges that wait for a connection.");
    for (shard, row) in snapshot.shards.iter().enumerate() {
        text.sample("", &[("shard", &shard.to_string())], row.connection_waiters as f64);
    }
}

fn durations(text: &mut Text, snapshot: &Snapshot) {
    text.family(
        "tidegate_request_duration_seconds",
        Type::Summary,
        "How long attempts took: quantiles of the last minute, sum and count of the run.",
    );
    for (source, row) in &snapshot.sources {
        text.summary(&[("source", source)], &row.last_60s.latency, &row.latency);
    }
    text.family("tidegate_request_duration_max_seconds", Type::Gauge, "The longest attempt of the run.");
    for (source, row) in &snapshot.sources {
        text.sample("", &[("source", source)], row.latency.max_ms / 1e3);
    }
    text.family(
        "tidegate_stage_duration_seconds",
        Type::Summary,
        "How long each stage took: quantiles of the last minute, sum and count of the run.",
    );
    for (source, row) in &snapshot.sources {
        for (stage, taken) in &row.stages {
            let recent = row.last_60s.stages.get(stage).copied().unwrap_or_default();
            text.summary(&[("source", source), ("stage", stage)], &recent, taken);
        }
    }
    text.family(
        "tidegate_shard_request_duration_seconds",
        Type::Summary,
        "How long the attempts of a shard took, over the run.",
    );
    for (shard, row) in snapshot.shards.iter().enumerate() {
        for (source, part) in &row.sources {
            text.summary(&[("shard", &shard.to_string()), ("source", source)], &part.latency, &part.latency);
        }
    }
}

fn breakers(text: &mut Text, snapshot: &Snapshot) {
    text.family("tidegate_breaker_state", Type::Gauge, "1 for the state that the source's breaker is in.");
    for (source, row) in &snapshot.sources {
        for state in BREAKER_STATES {
            text.sample("", &[("source", source), ("state", state)], flag(row.breaker == state));
        }
    }
    text.family("tidegate_breaker_transitions_total", Type::Counter, "Changes of breakers, by the state entered.");
    for (source, row) in &snapshot.sources {
        for (state, count) in &row.breaker_transitions {
            text.sample("", &[("source", source), ("state", state)], *count as f64);
        }
    }
}

fn quotas(text: &mut Text, snapshot: &Snapshot) {
    let windows =
        || snapshot.sources.iter().flat_map(|(source, row)| row.quota.iter().map(move |window| (source, window)));
    let families: [Family<QuotaUse>; 2] = [
        ("tidegate_quota_limit_weight", Type::Gauge, "Weight that a quota window allows.", |window| {
            window.limit as f64
        }),
        ("tidegate_quota_used_weight", Type::Gauge, "Weight used of a quota window.", |window| window.used as f64),
    ];
    for (name, kind, help, read) in families {
        text.family(name, kind, help);
        for (source, window) in windows() {
            let per = format!("{}s", window.per_ms as f64 / 1e3);
            let labels =
                [("source", source.as_str()), ("bucket", &window.bucket), ("shape", &window.shape), ("per", &per)];
            text.sample("", &labels, read(window));
        }
    }
    text.family("tidegate_banned", Type::Gauge, "Whether the provider has shut the source out.");
    for (source, row) in &snapshot.sources {
        text.sample("", &[("source", source)], flag(row.banned_until.is_some()));
    }
}

fn records(text: &mut Text, snapshot: &Snapshot) {
    text.family("tidegate_published_records_total", Type::Counter, "Records that entered the buffer.");
    for (source, row) in &snapshot.sources {
        text.sample("", &[("source", source)], row.counts.published as f64);
    }
    text.family("tidegate_delivered_records_total", Type::Counter, "Records written to the journal.");
    for (source, row) in &snapshot.sources {
        text.sample("", &[("source", source)], row.counts.delivered as f64);
    }
    text.family("tidegate_dropped_records_total", Type::Counter, "Records dropped, by reason.");
    for (source, row) in &snapshot.sources {
        let counts = &row.counts;
        for (reason, count) in [
            ("duplicate", counts.dropped_duplicate),
            ("full_newest", counts.dropped_full_newest),
            ("full_oldest", counts.dropped_full_oldest),
        ] {
            text.sample("", &[("source", source), ("reason", reason)], count as f64);
        }
    }
    let buffer = &snapshot.buffer;
    text.single("tidegate_buffer_records", Type::Gauge, "Records in the buffer.", buffer.len as f64);
    text.single(
        "tidegate_buffer_capacity_records",
        Type::Gauge,
        "The most records the buffer holds.",
        buffer.capacity as f64,
    );
    text.single(
        "tidegate_queued_records",
        Type::Gauge,
        "Records in the buffer and in the sink core's hands.",
        snapshot.records.queued as f64,
    );
    let event = |age: &DataAge| age.event_age_ms;
    ages(text, snapshot, "tidegate_data_event_age_seconds", "Time since the newest event of the provider.", event);
    let record = |age: &DataAge| age.record_age_ms;
    ages(text, snapshot, "tidegate_data_record_age_seconds", "Time since the last record.", record);
}

fn ages(
    text: &mut Text,
    snapshot: &Snapshot,
    name: &'static str,
    help: &str,
    millis: impl Fn(&DataAge) -> Option<u64>,
) {
    text.family(name, Type::Gauge, help);
    for age in &snapshot.data {
        let symbol = age.symbol.as_deref().unwrap_or_default();
        if let Some(millis) = millis(age) {
            let labels = [("source", age.source.as_str()), ("kind", &age.kind), ("symbol", symbol)];
            text.sample("", &labels, millis as f64 / 1e3);
        }
    }
}

fn cores(text: &mut Text, snapshot: &Snapshot) {
    let families: [Family<CoreSnapshot>; 5] = [
        ("tidegate_core_busy_ratio", Type::Gauge, "Share of the last ten seconds that a core was busy.", |core| {
            core.busy_share
        }),
        ("tidegate_core_cpu_seconds_total", Type::Counter, "CPU time of a core's thread.", |core| {
            core.cpu_ms as f64 / 1e3
        }),
        ("tidegate_core_heartbeat_age_seconds", Type::Gauge, "Time since a core's last sign of life.", |core| {
            core.heartbeat_age_ms as f64 / 1e3
        }),
        ("tidegate_core_stalls_total", Type::Counter, "How often a core was held up for 100 ms or longer.", |core| {
            core.stalls as f64
        }),
        ("tidegate_core_stall_max_seconds", Type::Gauge, "The longest time a core was held up.", |core| {
            core.stall_max_ms as f64 / 1e3
        }),
    ];
    for (name, kind, help, read) in families {
        text.family(name, kind, help);
        for core in &snapshot.cores {
            text.sample("", &[("core", &core.name)], read(core));
        }
    }
}

fn audit(text: &mut Text, snapshot: &Snapshot) {
    let Some(audit) = &snapshot.audit else { return };
    text.family("tidegate_audit_entries_total", Type::Counter, "Attempts written to the audit log, or dropped.");
    text.sample("", &[("state", "written")], audit.written as f64);
    text.sample("", &[("state", "dropped")], audit.dropped as f64);
    text.single(
        "tidegate_audit_queue_entries",
        Type::Gauge,
        "Attempts told to the audit log and not yet written.",
        audit.queued as f64,
    );
}

fn journal(text: &mut Text, snapshot: &Snapshot) {
    let Some(journal) = &snapshot.journal else { return };
    text.single(
        "tidegate_journal_writable",
        Type::Gauge,
        "Whether the disk takes it.",
        flag(journal.failing.is_none()),
    );
    text.family("tidegate_journal_seq", Type::Gauge, "The last number written, and the last that is durable.");
    text.sample("", &[("state", "written")], journal.written_seq as f64);
    text.sample("", &[("state", "durable")], journal.durable_seq as f64);
    text.single(
        "tidegate_journal_written_bytes_total",
        Type::Counter,
        "Bytes written by this run.",
        journal.bytes_written as f64,
    );
    text.single(
        "tidegate_journal_segments_total",
        Type::Counter,
        "Segments opened by this run.",
        journal.segments as f64,
    );
    text.single(
        "tidegate_journal_slow_operations_total",
        Type::Counter,
        "Writes and syncs that took the disk longer than a second.",
        journal.slow_operations as f64,
    );
}

fn sinks(text: &mut Text, snapshot: &Snapshot) {
    let families: [Family<SinkStatus>; 7] = [
        ("tidegate_sink_lag_records", Type::Gauge, "Records that are not safe at a sink.", |sink| {
            sink.lag_records as f64
        }),
        ("tidegate_sink_lag_bytes", Type::Gauge, "Bytes of the journal behind a sink's place.", |sink| {
            sink.lag_bytes as f64
        }),
        ("tidegate_sink_lag_seconds", Type::Gauge, "Age of the last record delivered, while a sink lags.", |sink| {
            sink.lag_ms as f64 / 1e3
        }),
        ("tidegate_sink_up", Type::Gauge, "Whether a sink takes records.", |sink| flag(sink.failing.is_none())),
        ("tidegate_sink_delivered_records_total", Type::Counter, "Records delivered to a sink.", |sink| {
            sink.delivered as f64
        }),
        ("tidegate_sink_dead_records_total", Type::Counter, "Records a sink refused for good.", |sink| {
            sink.dead as f64
        }),
        ("tidegate_sink_missing_records_total", Type::Counter, "Records the journal no longer had.", |sink| {
            sink.missing as f64
        }),
    ];
    for (name, kind, help, read) in families {
        text.family(name, kind, help);
        for sink in &snapshot.sinks {
            text.sample("", &[("sink", &sink.name)], read(sink));
        }
    }
}

fn alerts(text: &mut Text, snapshot: &Snapshot) {
    text.family("tidegate_alerts_fired_total", Type::Counter, "How often an alert has fired, by rule.");
    for (rule, count) in &snapshot.alerts_fired {
        text.sample("", &[("rule", rule)], *count as f64);
    }
    text.family("tidegate_alerts_firing", Type::Gauge, "Alerts that fire now, by rule.");
    for rule in snapshot.alerts_fired.keys() {
        let firing = snapshot.alerts.iter().filter(|alert| alert.rule == *rule && alert.state == "firing").count();
        text.sample("", &[("rule", rule)], firing as f64);
    }
    text.single("tidegate_tap_readers", Type::Gauge, "Readers of the live records.", snapshot.tap.readers as f64);
    text.single(
        "tidegate_tap_lost_records_total",
        Type::Counter,
        "Records that slow readers of the live records have lost.",
        snapshot.tap.lost as f64,
    );
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

/// The quantiles of a summary.
fn quantiles(latency: &Latency) -> [(&'static str, f64); 4] {
    [("0.5", latency.p50_ms), ("0.95", latency.p95_ms), ("0.99", latency.p99_ms), ("0.999", latency.p999_ms)]
}

#[cfg(test)]
mod tests;
