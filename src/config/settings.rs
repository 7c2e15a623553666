//! The typed settings. Times are durations, sizes bytes, shares numbers from 0 to 1; defaults stand in `defaults.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use config::{Map, Value, ValueKind};

use crate::config::cpus::CpuChoice;
use crate::config::defaults::{POLL_SETTINGS, SETTINGS, SOURCE_SETTINGS};
use crate::config::form::{Form, Parsed, Proxy, show_kind};
use crate::config::problem::{Problem, Problems};
use crate::config::proxies::Proxies;
use crate::config::read::{Scope, Values, place_of};
use crate::config::sinks::{self, SinkSettings};
use crate::config::watch::{Admin, Alerts, Metrics};
use crate::config::{Cluster, Cursors, Environment, Loader};
use crate::error::Result;
use crate::model::Kind;
use crate::policy::WhenFull;

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder of the journal and the state.
    pub data_dir: PathBuf,
    /// Contact address for providers that demand one; empty when none is set.
    pub contact: String,
    /// Requests in flight at most, over all sources.
    pub in_flight_max: usize,
    /// Which CPUs run what.
    pub cores: Cores,
    /// This instance among several.
    pub cluster: Cluster,
    /// What the deployment wants to reach.
    pub targets: Targets,
    /// The client.
    pub http: Http,
    /// How long addresses are kept.
    pub dns_ttl: Duration,
    /// PEM file of certificate authorities to trust besides Mozilla's.
    pub tls_ca_file: Option<PathBuf>,
    /// The normalization buffer.
    pub buffer: Buffer,
    /// The journal.
    pub journal: Journal,
    /// The cursors.
    pub cursors: Cursors,
    /// The audit log.
    pub audit: Audit,
    /// The breakers.
    pub breaker: Breaker,
    /// The retries.
    pub retry: Retry,
    /// The log.
    pub log: Log,
    /// The admin server.
    pub admin: Admin,
    /// The metrics.
    pub metrics: Metrics,
    /// The alerts.
    pub alerts: Alerts,
    /// The sources, by id.
    pub sources: Vec<SourceSettings>,
    /// The sinks, in the file's order.
    pub sinks: Vec<SinkSettings>,
    /// Where each key that was set stands.
    places: BTreeMap<String, String>,
}

/// CPUs of the shards and of the sink core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cores {
    /// One shard on each.
    pub shards: CpuChoice,
    /// The sink core's: one.
    pub sink: CpuChoice,
}

/// What alerts and summaries measure against.
#[derive(Clone, Debug, PartialEq)]
pub struct Targets {
    /// Latency that 95 % of requests should stay under.
    pub p95: Duration,
    /// Latency that 99 % of requests should stay under.
    pub p99: Duration,
    /// Share of requests that should succeed.
    pub success_rate: f64,
    /// Requests per second to be able to sustain.
    pub requests_per_second: u64,
}

/// Limits of the client.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Connections at most, over all shards.
    pub connections_max: usize,
    /// Connections to one host at most.
    pub connections_per_host_max: usize,
    /// How long an idle connection is kept.
    pub keepalive: Duration,
    /// Age at which a connection is retired.
    pub connection_age_max: Duration,
    /// Requests after which a connection is retired.
    pub connection_uses_max: u64,
    /// Time to connect, without TLS.
    pub connect_timeout: Duration,
    /// Time for the TLS handshake.
    pub tls_timeout: Duration,
    /// Time from the request to the first byte of the answer.
    pub first_byte_timeout: Duration,
    /// Time from the first byte to the end of the body.
    pub body_timeout: Duration,
    /// Time for one fetch over all its attempts and waits.
    pub deadline: Duration,
    /// Size of a body at most, before and after decompression.
    pub body_bytes_max: usize,
}

/// The normalization buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Records that it holds.
    pub capacity: usize,
    /// Share of it at which polling slows down.
    pub high_water: f64,
    /// What it does when full, by [`Kind::index`].
    pub when_full: [WhenFull; Kind::ALL.len()],
}

/// The journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Journal {
    /// Whether records are journaled.
    pub enabled: bool,
    /// Size at which a segment is closed.
    pub segment_bytes: u64,
    /// Age at which a segment is closed.
    pub segment_age: Duration,
    /// Time between fsyncs; zero = after every batch.
    pub fsync_interval: Duration,
    /// Size of the journal at most.
    pub retention_bytes: u64,
    /// Age of a segment at most.
    pub retention_age: Duration,
    /// Whether retention deletes what a sink has not taken.
    pub delete_unread: bool,
}

/// The audit log.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    /// What it keeps.
    pub level: AuditLevel,
    /// Bytes of each body that level `bodies` keeps.
    pub body_bytes_max: usize,
    /// Attempts whose lines wait for the sink core, per shard.
    pub queue_len: usize,
    /// Whether attempts wait while it takes nothing (`Pause`), or are left out of it (`DropNewest`).
    pub when_full: WhenFull,
    /// Size at which a segment is closed.
    pub segment_bytes: u64,
    /// Age at which a segment is closed.
    pub segment_age: Duration,
    /// Time between fsyncs.
    pub fsync_interval: Duration,
    /// Size of the log at most.
    pub retention_bytes: u64,
    /// Age of a segment at most.
    pub retention_age: Duration,
}

/// What the audit log keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditLevel {
    /// A line per attempt with the beginning of its bodies.
    Bodies,
    /// Nothing.
    Off,
    /// A line per attempt.
    Requests,
}

/// The breakers.
#[derive(Clone, Debug, PartialEq)]
pub struct Breaker {
    /// Failures in a row that open one.
    pub failures: u32,
    /// How long it stays open.
    pub open_for: Duration,
    /// Share of failures in the window that opens it.
    pub failure_ratio: f64,
    /// The window of both shares.
    pub window: Duration,
    /// Requests in the window before a share counts.
    pub volume_min: u32,
    /// A request that takes this long is slow.
    pub slow_call: Duration,
    /// Share of slow requests in the window that opens it.
    pub slow_ratio: f64,
    /// Requests that it admits at once while half open.
    pub probes: u32,
}

/// The retries.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Attempts of one fetch at most, the first included.
    pub attempts_max: u32,
    /// Backoff before the first retry at most; doubled for each further one.
    pub base: Duration,
    /// Backoff at most.
    pub cap: Duration,
    /// Retries as a share of successful requests.
    pub budget: f64,
    /// Retries that are always allowed, a minute.
    pub budget_floor: u32,
    /// Whether a slow attempt gets a second one beside it.
    pub hedge: bool,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its format.
    pub format: LogFormat,
    /// Level, or levels by target.
    pub filter: String,
    /// Times that the same may be logged in an interval; zero = any.
    pub repeats_max: u32,
    /// That interval.
    pub repeats_interval: Duration,
    /// Lines that wait for a slow output.
    pub queue_len: usize,
}

/// Formats of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Which HTTP versions a server may be spoken to with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/2 where TLS negotiates it, HTTP/1.1 otherwise.
    #[default]
    Auto,
    /// HTTP/1.1 alone.
    One,
    /// HTTP/2 alone; over plain TCP by prior knowledge.
    Two,
}

/// One source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceSettings {
    /// Its id, as written.
    pub id: String,
    /// Address to ask instead of all the provider's own that `base_urls` does not name.
    pub base_url: Option<String>,
    /// Addresses to ask instead of the provider's own, by their names.
    pub base_urls: BTreeMap<String, String>,
    /// Use the simulator's keys instead of the environment's.
    pub simulated_keys: bool,
    /// Plan at the provider.
    pub tier: Option<String>,
    /// Shards that it is spread over.
    pub shards: usize,
    /// Its requests in flight at most.
    pub in_flight_max: usize,
    /// HTTP version.
    pub http_version: HttpVersion,
    /// Connections to each of its hosts that are opened at the start, within the caps.
    pub warm: usize,
    /// HTTP proxy.
    pub proxy: Option<Proxy>,
    /// The proxies of the environment, for where there is no `proxy`.
    pub proxies: Proxies,
    /// Addresses of this host to spread the requests over.
    pub local_addresses: Vec<IpAddr>,
    /// Time for one fetch; `None` = [`Http::deadline`].
    pub deadline: Option<Duration>,
    /// Whether a slow attempt gets a second one beside it; `None` = [`Retry::hedge`].
    pub hedge: Option<bool>,
    /// Share of the quota that is left unused.
    pub quota_margin: f64,
    /// Polls whose answers' time stands still before they count as frozen; 0 = never; `None` = by what the provider's
    /// time is.
    pub frozen_polls: Option<u32>,
    /// What to ask and when.
    pub polls: Vec<PollSettings>,
}

/// One poll: names are as written; `engine::check` holds them against the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PollSettings {
    /// Its key, for errors: `sources.binance.polls[0]`.
    pub key: String,
    /// Kind of record.
    pub kind: String,
    /// Canonical symbols.
    pub symbols: Vec<String>,
    /// Ask for all instruments in one request.
    pub whole_market: bool,
    /// Length of bars.
    pub interval: Option<String>,
    /// Time between polls; `None` = the source's default for the kind.
    pub every: Option<Duration>,
    /// Rows at most.
    pub limit: Option<u32>,
    /// Shift against the wall clock; `None` = by source.
    pub offset: Option<Duration>,
}

/// What a loader found: settings, what to warn of, and what is wrong.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings, with defaults in the place of what is wrong.
    pub settings: Settings,
    /// Unknown names in the environment, one line each.
    pub warnings: Vec<String>,
    /// What is wrong.
    pub problems: Problems,
}

impl Loaded {
    /// Settings that were made in code: nothing is wrong with them yet.
    pub fn of(settings: Settings) -> Self {
        Loaded { settings, warnings: Vec::new(), problems: Problems::default() }
    }

    /// The settings, when nothing is wrong.
    ///
    /// # Errors
    /// All problems, one line each.
    pub fn into_result(self) -> Result<Settings> {
        if self.problems.is_empty() { Ok(self.settings) } else { Err(self.problems.into()) }
    }
}

impl Default for Settings {
    /// Defaults alone: no file, no environment, no sources, no sinks.
    fn default() -> Self {
        Loader::new(&Environment::default()).load().settings
    }
}

impl Settings {
    /// Where `key` stands: a file and line, a variable, a flag; empty when it was not set.
    pub fn place(&self, key: &str) -> &str {
        self.places.get(key).map_or("", String::as_str)
    }

    /// Where the keys that were set stand: files without their lines, variables, flags; each once, in order.
    pub fn origins(&self) -> BTreeSet<&str> {
        self.places.values().map(|place| place.split(" line ").next().unwrap_or(place)).collect()
    }

    /// Builds the settings from merged layers.
    pub(super) fn read(
        table: &Map<String, Value>,
        places: BTreeMap<String, String>,
        environment: &Environment,
        problems: &mut Problems,
    ) -> Settings {
        let scope = Scope { prefix: "", settings: SETTINGS, others: &["sources", "sinks"] };
        let values = Values::read(table, &scope, problems);
        let when_full = |kind: Kind| match values.text(&format!("buffer.when_full.{kind}")).as_deref() {
            Some("drop_oldest") => WhenFull::DropOldest,
            Some("drop_newest") => WhenFull::DropNewest,
            _ => WhenFull::Pause,
        };
        let count = |key: &str| u32::try_from(values.count(key)).unwrap_or(u32::MAX);
        Settings {
            data_dir: values.path("data_dir").unwrap_or_default(),
            contact: values.text("contact").unwrap_or_default(),
            in_flight_max: values.size("in_flight_max"),
            cores: Cores { shards: values.cpus("cores.shards"), sink: values.cpus("cores.sink") },
            cluster: Cluster::read(
                &values.text("cluster.instance").unwrap_or_default(),
                values.size("cluster.of"),
                values.flag("cluster.shared_address"),
                environment,
                problems,
                places.get("cluster.instance").map_or("", String::as_str),
            ),
            targets: Targets {
                p95: values.duration("targets.p95"),
                p99: values.duration("targets.p99"),
                success_rate: values.ratio("targets.success_rate"),
                requests_per_second: values.count("targets.requests_per_second"),
            },
            http: Http {
                connections_max: values.size("http.connections_max"),
                connections_per_host_max: values.size("http.connections_per_host_max"),
                keepalive: values.duration("http.keepalive"),
                connection_age_max: values.duration("http.connection_age_max"),
                connection_uses_max: values.count("http.connection_uses_max"),
                connect_timeout: values.duration("http.connect_timeout"),
                tls_timeout: values.duration("http.tls_timeout"),
                first_byte_timeout: values.duration("http.first_byte_timeout"),
                body_timeout: values.duration("http.body_timeout"),
                deadline: values.duration("http.deadline"),
                body_bytes_max: values.size("http.body_bytes_max"),
            },
            dns_ttl: values.duration("dns.ttl"),
            tls_ca_file: values.path("tls.ca_file"),
            buffer: Buffer {
                capacity: values.size("buffer.capacity"),
                high_water: values.ratio("buffer.high_water"),
                when_full: Kind::ALL.map(when_full),
            },
            journal: Journal {
                enabled: values.flag("journal.enabled"),
                segment_bytes: values.count("journal.segment_bytes"),
                segment_age: values.duration("journal.segment_age"),
                fsync_interval: values.duration("journal.fsync_interval"),
                retention_bytes: values.count("journal.retention_bytes"),
                retention_age: values.duration("journal.retention_age"),
                delete_unread: values.flag("journal.delete_unread"),
            },
            cursors: Cursors::read(&values),
            audit: Audit {
                level: match values.text("audit.level").as_deref() {
                    Some("off") => AuditLevel::Off,
                    Some("bodies") => AuditLevel::Bodies,
                    _ => AuditLevel::Requests,
                },
                body_bytes_max: values.size("audit.body_bytes_max"),
                queue_len: values.size("audit.queue_len"),
                when_full: match values.text("audit.when_full").as_deref() {
                    Some("drop") => WhenFull::DropNewest,
                    _ => WhenFull::Pause,
                },
                segment_bytes: values.count("audit.segment_bytes"),
                segment_age: values.duration("audit.segment_age"),
                fsync_interval: values.duration("audit.fsync_interval"),
                retention_bytes: values.count("audit.retention_bytes"),
                retention_age: values.duration("audit.retention_age"),
            },
            breaker: Breaker {
                failures: count("breaker.failures"),
                open_for: values.duration("breaker.open_for"),
                failure_ratio: values.ratio("breaker.failure_ratio"),
                window: values.duration("breaker.window"),
                volume_min: count("breaker.volume_min"),
                slow_call: values.duration("breaker.slow_call"),
                slow_ratio: values.ratio("breaker.slow_ratio"),
                probes: count("breaker.probes"),
            },
            retry: Retry {
                attempts_max: count("retry.attempts_max"),
                base: values.duration("retry.base"),
                cap: values.duration("retry.cap"),
                budget: values.ratio("retry.budget"),
                budget_floor: count("retry.budget_floor"),
                hedge: values.flag("retry.hedge"),
            },
            log: Log {
                format: match values.text("log.format").as_deref() {
                    Some("json") => LogFormat::Json,
                    _ => LogFormat::Text,
                },
                filter: values.text("log.filter").unwrap_or_default(),
                repeats_max: count("log.repeats_max"),
                repeats_interval: values.duration("log.repeats_interval"),
                queue_len: values.size("log.queue_len"),
            },
            admin: Admin::read(&values),
            metrics: Metrics::read(&values),
            alerts: Alerts::read(&values),
            sources: sources(table.get("sources"), &Proxies::of(environment), problems),
            sinks: sinks::sinks(table.get("sinks"), problems),
            places,
        }
    }
}

fn sources(value: Option<&Value>, proxies: &Proxies, problems: &mut Problems) -> Vec<SourceSettings> {
    let Some(value) = value else { return Vec::new() };
    let Some(table) = as_table("sources", value, problems) else { return Vec::new() };
    let mut ids: Vec<&String> = table.keys().collect();
    ids.sort();
    ids.into_iter().filter_map(|id| source(id, &table[id], proxies, problems)).collect()
}

fn source(id: &str, value: &Value, proxies: &Proxies, problems: &mut Problems) -> Option<SourceSettings> {
    let key = format!("sources.{id}");
    let table = as_table(&key, value, problems)?;
    let prefix = format!("{key}.");
    let scope = Scope { prefix: &prefix, settings: SOURCE_SETTINGS, others: &["base_urls", "polls"] };
    let values = Values::read(table, &scope, problems);
    let mut local_addresses = Vec::new();
    for text in values.list("local_addresses") {
        match text.parse() {
            Ok(address) => local_addresses.push(address),
            Err(_) => problems.push(Problem::new(
                format!("{key}.local_addresses"),
                table.get("local_addresses").map(place_of).unwrap_or_default(),
                format!("expected IP addresses of this host, found {text:?}"),
            )),
        }
    }
    Some(SourceSettings {
        id: id.to_owned(),
        base_url: values.text("base_url"),
        base_urls: base_urls(&key, table.get("base_urls"), problems),
        tier: values.text("tier"),
        shards: values.size("shards"),
        in_flight_max: values.size("in_flight_max"),
        http_version: match values.text("http_version").as_deref() {
            Some("1") => HttpVersion::One,
            Some("2") => HttpVersion::Two,
            _ => HttpVersion::Auto,
        },
        warm: values.size("warm"),
        proxy: values.proxy("proxy"),
        proxies: proxies.clone(),
        local_addresses,
        deadline: values.duration_opt("deadline"),
        hedge: values.flag_opt("hedge"),
        quota_margin: values.ratio("quota_margin"),
        frozen_polls: values.count_opt("frozen_polls").and_then(|polls| u32::try_from(polls).ok()),
        simulated_keys: values.flag("simulated_keys"),
        polls: items(&format!("{key}.polls"), table.get("polls"), problems)
            .into_iter()
            .filter_map(|(key, value)| poll(key, value, problems))
            .collect(),
    })
}

fn base_urls(source: &str, value: Option<&Value>, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut urls = BTreeMap::new();
    let key = format!("{source}.base_urls");
    let Some(table) = value.and_then(|value| as_table(&key, value, problems)) else { return urls };
    for (name, value) in table {
        match Form::Url.parse(value) {
            Ok(Parsed::Text(url)) => {
                urls.insert(name.clone(), url);
            }
            Ok(_) => {}
            Err(expected) => problems.push(Problem::new(
                format!("{key}.{name}"),
                place_of(value),
                format!("{expected}, found {}", Form::Url.show(value)),
            )),
        }
    }
    urls
}

fn poll(key: String, value: &Value, problems: &mut Problems) -> Option<PollSettings> {
    let table = as_table(&key, value, problems)?;
    let prefix = format!("{key}.");
    let values = Values::read(table, &Scope { prefix: &prefix, settings: POLL_SETTINGS, others: &[] }, problems);
    let Some(kind) = values.text("kind") else {
        if !table.contains_key("kind") {
            problems.push(Problem::new(prefix + "kind", place_of(value), "expected a kind, found nothing"));
        }
        return None;
    };
    Some(PollSettings {
        key,
        kind,
        symbols: values.list("symbols"),
        whole_market: values.flag("whole_market"),
        interval: values.text("interval"),
        every: values.duration_opt("every"),
        limit: values.count_opt("limit").and_then(|rows| u32::try_from(rows).ok()),
        offset: values.duration_opt("offset"),
    })
}

/// The elements of an array of tables, each with its key.
pub(super) fn items<'a>(key: &str, value: Option<&'a Value>, problems: &mut Problems) -> Vec<(String, &'a Value)> {
    match value.map(|value| (&value.kind, value)) {
        None => Vec::new(),
        Some((ValueKind::Array(items), _)) => {
            items.iter().enumerate().map(|(index, item)| (format!("{key}[{index}]"), item)).collect()
        }
        Some((other, value)) => {
            let message = format!("expected an array of tables, written [[{key}]], found {}", show_kind(other));
            problems.push(Problem::new(key, place_of(value), message));
            Vec::new()
        }
    }
}

pub(super) fn as_table<'a>(key: &str, value: &'a Value, problems: &mut Problems) -> Option<&'a Map<String, Value>> {
    match &value.kind {
        ValueKind::Table(table) => Some(table),
        other => {
            let message = format!("expected a table, found {}", show_kind(other));
            problems.push(Problem::new(key, place_of(value), message));
            None
        }
    }
}
