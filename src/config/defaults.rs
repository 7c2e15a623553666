//! Every setting with its default, its bounds and its reason, in one place. The loader reads these tables, and
//! `.env.example` is written from them: a setting that is not here does not exist.

use crate::config::form::Form;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its key in a file, with dots for tables.
    pub key: &'static str,
    /// How its value is written.
    pub form: Form,
    /// Its default, as text; empty = not set.
    pub default: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// A name of the earlier engine that is still understood.
#[derive(Clone, Copy, Debug)]
pub struct Alias {
    /// The variable.
    pub variable: &'static str,
    /// The key it stands for.
    pub key: &'static str,
    /// The unit of a bare number in it.
    pub unit: &'static str,
}

const fn setting(key: &'static str, form: Form, default: &'static str, about: &'static str) -> Setting {
    Setting { key, form, default, about }
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// What a full buffer does with a record.
pub(super) const WHEN_FULL: &[&str] = &["pause", "drop_oldest", "drop_newest"];

/// What the audit log keeps.
pub(super) const AUDIT_LEVELS: &[&str] = &["off", "requests", "bodies"];

/// What attempts do while the audit log takes nothing.
pub(super) const AUDIT_WHEN_FULL: &[&str] = &["wait", "drop"];

/// The global settings, by table.
pub const SETTINGS: &[Setting] = &[
    setting("data_dir", Form::Path, "data", "Folder of the journal and the state; one engine at a time uses it."),
    setting("contact", Form::Text, "", "Contact address sent to providers that demand one, such as the SEC."),
    setting("in_flight_max", Form::Count(1, 1_000_000), "5000", "Requests in flight at most, over all sources."),
    setting("cores.shards", Form::Cpus, "auto", "CPUs of the shards, one shard on each."),
    setting("cores.sink", Form::Cpus, "auto", "CPU of the sink core; may be one of the shards' CPUs."),
    setting(
        "cluster.instance",
        Form::Instance,
        "0",
        "This instance, of several with one configuration; auto = by the end of POD_NAME or HOSTNAME.",
    ),
    setting("cluster.of", Form::Count(1, 1_024), "1", "How many instances divide the sources."),
    setting(
        "cluster.shared_address",
        Form::Flag,
        "true",
        "Whether the instances go out by one address; each then has its part of what is counted by address.",
    ),
    setting("targets.p95", Form::Duration(1, HOUR), "100ms", "Latency that 95 % of requests should stay under."),
    setting("targets.p99", Form::Duration(1, HOUR), "200ms", "Latency that 99 % of requests should stay under."),
    setting("targets.success_rate", Form::Ratio, "0.99", "Share of requests that should succeed."),
    setting("targets.requests_per_second", Form::Count(1, 100_000_000), "10000", "Throughput to be able to sustain."),
    setting("http.connections_max", Form::Count(1, 1_000_000), "5000", "Connections at most, over all shards."),
    setting("http.connections_per_host_max", Form::Count(1, 1_000_000), "100", "Connections to one host at most."),
    setting("http.keepalive", Form::Duration(0, DAY), "30s", "How long an idle connection is kept; 0 = not at all."),
    setting("http.connection_age_max", Form::Duration(SECOND, DAY), "10m", "A connection is retired at this age."),
    setting(
        "http.connection_uses_max",
        Form::Count(1, 1_000_000_000),
        "100000",
        "A connection is retired after this many requests.",
    ),
    setting("http.connect_timeout", Form::Duration(1, HOUR), "5s", "Time to connect, without TLS."),
    setting("http.tls_timeout", Form::Duration(1, HOUR), "5s", "Time for the TLS handshake."),
    setting("http.first_byte_timeout", Form::Duration(1, HOUR), "10s", "Time from the request to the first byte."),
    setting("http.body_timeout", Form::Duration(1, HOUR), "15s", "Time from the first byte to the end of the body."),
    setting("http.deadline", Form::Duration(1, HOUR), "30s", "Time for one fetch over all its attempts and waits."),
    setting(
        "http.body_bytes_max",
        Form::Bytes(KIB, GIB),
        "32MiB",
        "Size of a body at most, before and after decompression.",
    ),
    setting("dns.ttl", Form::Duration(SECOND, DAY), "300s", "How long addresses are kept; the system gives no TTL."),
    setting("tls.ca_file", Form::Path, "", "PEM file of certificate authorities to trust besides Mozilla's."),
    setting("buffer.capacity", Form::Count(2, 16_777_216), "10000", "Records that the normalization buffer holds."),
    setting("buffer.high_water", Form::Ratio, "0.8", "Share of the buffer at which polling slows down."),
    setting("buffer.when_full.ticker", Form::Word(WHEN_FULL), "pause", "What a full buffer does with a ticker."),
    setting("buffer.when_full.quote", Form::Word(WHEN_FULL), "pause", "What a full buffer does with a quote."),
    setting("buffer.when_full.trade", Form::Word(WHEN_FULL), "pause", "What a full buffer does with a trade."),
    setting("buffer.when_full.bar", Form::Word(WHEN_FULL), "pause", "What a full buffer does with a bar."),
    setting("buffer.when_full.book", Form::Word(WHEN_FULL), "pause", "What a full buffer does with a book."),
    setting("buffer.when_full.news", Form::Word(WHEN_FULL), "pause", "What a full buffer does with news."),
    setting("buffer.when_full.filing", Form::Word(WHEN_FULL), "pause", "What a full buffer does with a filing."),
    setting(
        "buffer.when_full.observation",
        Form::Word(WHEN_FULL),
        "pause",
        "What a full buffer does with an observation.",
    ),
    setting("buffer.when_full.rate", Form::Word(WHEN_FULL), "pause", "What a full buffer does with a rate."),
    setting("buffer.when_full.balance", Form::Word(WHEN_FULL), "pause", "What a full buffer does with a balance."),
    setting("journal.enabled", Form::Flag, "true", "Whether records are journaled; without, only null sinks may be."),
    setting("journal.segment_bytes", Form::Bytes(64 * KIB, TIB), "64MiB", "A segment is closed at this size."),
    setting("journal.segment_age", Form::Duration(SECOND, 365 * DAY), "1h", "A segment is closed at this age."),
    setting("journal.fsync_interval", Form::Duration(0, HOUR), "100ms", "Time between fsyncs; 0 = after every batch."),
    setting("journal.retention_bytes", Form::Bytes(MIB, 1_024 * TIB), "20GiB", "Size of the journal at most."),
    setting("journal.retention_age", Form::Duration(MINUTE, 3_650 * DAY), "30d", "Age of a segment at most."),
    setting(
        "journal.delete_unread",
        Form::Flag,
        "false",
        "Lets retention delete what a sink has not taken: a dead sink then costs records, not disk.",
    ),
    setting(
        "cursors.enabled",
        Form::Flag,
        "true",
        "Whether streams are followed over restarts: gaps are refilled, or recorded in gaps.ndjson.",
    ),
    setting(
        "cursors.refill_rows_max",
        Form::Count(0, 1_000_000_000),
        "50000",
        "Records of one gap that polls refill at most: fifty pages; larger ones are left to `tidegate backfill`.",
    ),
    setting(
        "audit.level",
        Form::Word(AUDIT_LEVELS),
        "requests",
        "What the audit log keeps: a line per attempt, its bodies too, or nothing.",
    ),
    setting("audit.body_bytes_max", Form::Bytes(1, MIB), "4KiB", "Bytes of each body that level bodies keeps."),
    setting(
        "audit.queue_len",
        Form::Count(256, 16_777_216),
        "16384",
        "Attempts whose lines wait for the sink core, per shard; a fifth of a second at 80,000 a second.",
    ),
    setting(
        "audit.when_full",
        Form::Word(AUDIT_WHEN_FULL),
        "wait",
        "Whether attempts wait while the audit log takes nothing, or go on and are left out of it, counted.",
    ),
    setting("audit.segment_bytes", Form::Bytes(64 * KIB, TIB), "64MiB", "A segment is closed at this size."),
    setting("audit.segment_age", Form::Duration(SECOND, 365 * DAY), "1h", "A segment is closed at this age."),
    setting("audit.fsync_interval", Form::Duration(1, HOUR), "1s", "Time between fsyncs."),
    setting("audit.retention_bytes", Form::Bytes(MIB, 1_024 * TIB), "2GiB", "Size of the audit log at most."),
    setting("audit.retention_age", Form::Duration(MINUTE, 3_650 * DAY), "7d", "Age of a segment at most."),
    setting("breaker.failures", Form::Count(1, 1_000_000), "5", "Failures in a row that open a breaker."),
    setting("breaker.open_for", Form::Duration(1, DAY), "60s", "How long a breaker stays open."),
    setting("breaker.failure_ratio", Form::Ratio, "0.5", "Share of failures in the window that opens a breaker."),
    setting("breaker.window", Form::Duration(10, DAY), "30s", "Window of the two shares, in ten buckets."),
    setting("breaker.volume_min", Form::Count(1, 1_000_000_000), "20", "Requests in the window before a share counts."),
    setting("breaker.slow_call", Form::Duration(1, HOUR), "10s", "A request that takes this long is slow."),
    setting("breaker.slow_ratio", Form::Ratio, "0.9", "Share of slow requests in the window that opens a breaker."),
    setting("breaker.probes", Form::Count(1, 1_000), "1", "Requests that a half-open breaker admits at once."),
    setting("retry.attempts_max", Form::Count(1, 100), "4", "Attempts of one fetch at most, the first included."),
    setting("retry.base", Form::Duration(1, HOUR), "200ms", "Backoff before the first retry at most; then doubled."),
    setting("retry.cap", Form::Duration(1, HOUR), "10s", "Backoff at most."),
    setting("retry.budget", Form::Ratio, "0.3", "Retries as a share of successful requests."),
    setting("retry.budget_floor", Form::Count(0, 1_000_000), "10", "Retries that are always allowed, a minute."),
    setting(
        "retry.hedge",
        Form::Flag,
        "false",
        "Whether an attempt slower than 95 % of its source's gets a second one beside it, within the budget.",
    ),
    setting("log.format", Form::Word(&["text", "json"]), "text", "Format of the log on standard error."),
    setting("log.filter", Form::Text, "info", "Level, or levels by target: info,tidegate::http=debug."),
    setting(
        "log.repeats_max",
        Form::Count(0, 1_000_000),
        "5",
        "Times that the same is logged in an interval; then how often it came again. 0 = always.",
    ),
    setting("log.repeats_interval", Form::Duration(SECOND, DAY), "10s", "That interval."),
    setting(
        "log.queue_len",
        Form::Count(1, 1_048_576),
        "8192",
        "Lines that wait for a slow output; beyond that they are lost and counted, and nothing waits.",
    ),
    setting("admin.enabled", Form::Flag, "true", "Whether a run has an admin server: metrics, status, health."),
    setting("admin.listen", Form::Address, "127.0.0.1:9464", "Address of the admin server; port 0 is any."),
    setting(
        "admin.token",
        Form::Secret,
        "",
        "Bearer token that requests must present; needed off loopback, 16 characters or more.",
    ),
    setting("admin.hosts", Form::List, "", "Host names to answer to, besides loopback's and the listen address."),
    setting("admin.connections_max", Form::Count(4, 100_000), "128", "Connections of the admin server at most."),
    setting(
        "admin.request_timeout",
        Form::Duration(100, HOUR),
        "10s",
        "Time for a request to arrive, and for its answer to be taken.",
    ),
    setting("admin.tap_readers_max", Form::Count(0, 1_000), "16", "Readers of the live records at most."),
    setting(
        "admin.tap_queue_len",
        Form::Count(1, 1_000_000),
        "1000",
        "Records that wait for one reader at most; more are lost to it, and counted.",
    ),
    setting(
        "metrics.symbols_max",
        Form::Count(0, 100_000),
        "100",
        "Symbols of one source and kind with a data age of their own.",
    ),
    setting("alerts.enabled", Form::Flag, "true", "Whether alerts are raised."),
    setting("alerts.webhook", Form::Webhook, "", "Address that each alert is posted to as JSON."),
    setting("alerts.for", Form::Duration(0, DAY), "30s", "How long a condition must hold before its alert fires."),
    setting("alerts.cooldown", Form::Duration(0, DAY), "5m", "How long a resolved alert does not fire again."),
    setting("alerts.buffer_max", Form::Ratio, "0.8", "Share of the buffer that may be filled."),
    setting("alerts.sink_lag_max", Form::Duration(1, DAY), "60s", "How far a sink may lag."),
    setting("alerts.stale_intervals", Form::Count(1, 1_000_000), "10", "Poll intervals that data may be old."),
    setting("alerts.stall_max", Form::Duration(1, HOUR), "5s", "How long a core may show no sign of life."),
    setting("alerts.off", Form::List, "", "Rules that are not looked at: latency_p95, quota_exhausted, ..."),
];

/// The settings of one source, under `sources.<id>`.
pub const SOURCE_SETTINGS: &[Setting] = &[
    setting("base_url", Form::Url, "", "Address to ask instead of all the provider's own."),
    setting("simulated_keys", Form::Flag, "false", "Use the simulator's keys; for base URLs of `tidegate sim` alone."),
    setting("tier", Form::Text, "", "Plan at the provider, which fixes the quota; the free one when not set."),
    setting("shards", Form::Count(1, 1_024), "1", "Shards that the source is spread over."),
    setting("in_flight_max", Form::Count(1, 1_000_000), "100", "Requests of this source in flight at most."),
    setting("http_version", Form::Word(&["auto", "1", "2"]), "auto", "HTTP version; auto = by ALPN."),
    setting("warm", Form::Count(0, 100_000), "0", "Connections to each of its hosts that are opened at the start."),
    setting("proxy", Form::Proxy, "", "HTTP proxy that is asked to CONNECT."),
    setting("local_addresses", Form::List, "", "Addresses of this host to spread the requests over."),
    setting("deadline", Form::Duration(1, HOUR), "", "Time for one fetch over all its attempts; else http.deadline."),
    setting("hedge", Form::Flag, "", "Whether slow attempts get a second one beside them; else retry.hedge."),
    setting("quota_margin", Form::Ratio, "0.02", "Share of the quota that is left unused."),
    setting(
        "frozen_polls",
        Form::Count(0, 1_000_000),
        "",
        "Polls with one and the same time that count as frozen; 0 = never.",
    ),
];

/// The settings of one poll, an element of `sources.<id>.polls`.
pub const POLL_SETTINGS: &[Setting] = &[
    setting("kind", Form::Text, "", "Kind of record to ask for."),
    setting("symbols", Form::List, "", "Canonical symbols; split over as many requests as the provider needs."),
    setting("whole_market", Form::Flag, "false", "Ask for all instruments in one request; keep symbols, or all."),
    setting("interval", Form::Text, "", "Length of bars; 1m, or the shortest the provider has."),
    setting("every", Form::Duration(100, 366 * DAY), "", "Time between polls; the source's own default when not set."),
    setting("limit", Form::Count(1, 1_000_000), "", "Rows of an answer at most."),
    setting("offset", Form::Duration(0, 366 * DAY), "", "Shift against the wall clock; chosen by source when not set."),
];

/// The settings of one sink, an element of `sinks`, by type; each has `type` and `name` besides.
pub const SINK_SETTINGS: &[(&str, &[Setting])] = &[
    ("stdout", &[SINK_TYPE, SINK_NAME]),
    ("file", &[SINK_TYPE, SINK_NAME, setting("path", Form::Path, "", "File that lines are appended to.")]),
    ("parquet", &[SINK_TYPE, SINK_NAME, setting("dir", Form::Path, "", "Folder of the partitions.")]),
    (
        "http",
        &[
            SINK_TYPE,
            SINK_NAME,
            setting("url", Form::Target, "", "Address that lines are POSTed to, with path and query."),
            setting("batch_records", Form::Count(1, 1_000_000), "10000", "Records of one request at most."),
            setting("batch_bytes", Form::Bytes(KIB, GIB), "4MiB", "Size of one request at most, before compression."),
            setting("batch_age", Form::Duration(0, HOUR), "1s", "How long a request waits for more records."),
            setting("timeout", Form::Duration(1, HOUR), "30s", "Time for one request and its answer."),
            setting("compression", Form::Word(&["none", "gzip", "zstd"]), "none", "How the lines are packed."),
        ],
    ),
    ("null", &[SINK_TYPE, SINK_NAME]),
];

const SINK_TYPE: Setting = setting("type", Form::Text, "", "Type of the sink.");
const SINK_NAME: Setting = setting("name", Form::Text, "", "Name of the sink's offset; its type when not set.");

/// Names of the earlier engine.
pub const ALIASES: &[Alias] = &[
    Alias { variable: "INGESTION_MAX_WORKERS", key: "in_flight_max", unit: "" },
    Alias { variable: "INGESTION_GLOBAL_CONNECTION_LIMIT", key: "http.connections_max", unit: "" },
    Alias { variable: "INGESTION_P95_LATENCY_TARGET_MS", key: "targets.p95", unit: "ms" },
    Alias { variable: "INGESTION_THROUGHPUT_TARGET", key: "targets.requests_per_second", unit: "" },
    Alias { variable: "INGESTION_KEEPALIVE_TIMEOUT", key: "http.keepalive", unit: "s" },
    Alias { variable: "INGESTION_BUFFER_SIZE", key: "buffer.capacity", unit: "" },
];

/// What every variable of a setting starts with.
pub const PREFIX: &str = "INGESTION_";

/// The variable of a key: `http.keepalive` is `INGESTION_HTTP__KEEPALIVE`.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}
