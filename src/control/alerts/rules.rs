//! The rules: what of a snapshot is over its limit, and what is well within it. Between the two lies a gap, in which an
//! alert that fires goes on and one that does not stays quiet.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::config::Alerts;
use crate::metrics::{Snapshot, SourceSnapshot};
use crate::time::Mono;

/// What one rule found of one subject.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) rule: &'static str,
    /// A source, a sink, a core; empty = the whole.
    pub(super) subject: String,
    pub(super) is_critical: bool,
    /// Beyond the limit: an alert may fire.
    pub(super) is_over: bool,
    /// Well within it: an alert may cease.
    pub(super) is_well: bool,
    pub(super) value: f64,
    pub(super) limit: f64,
    /// How long it must hold, where that is shorter than for most.
    pub(super) hold: Option<Duration>,
    pub(super) message: String,
}

impl Finding {
    /// The same, ceased.
    pub(super) fn ceased(&self) -> Finding {
        Finding { is_over: false, is_well: true, ..self.clone() }
    }
}

/// Every rule, for `alerts.off` and as the label of a metric.
pub const RULES: &[&str] = &[
    "breaker_open",
    "buffer_full",
    "core_stalled",
    "data_stale",
    "journal_unwritable",
    "latency_p95",
    "latency_p99",
    "quota_exhausted",
    "records_dropped",
    "sink_lag",
    "success_low",
    "throughput_low",
];

/// Counters as they were: what has grown in the last minute.
#[derive(Debug, Default)]
pub(super) struct Memory {
    dropped: Grown,
    refused: BTreeMap<String, Grown>,
}

/// A counter's values over the last minute.
#[derive(Debug, Default)]
struct Grown(VecDeque<(Mono, u64)>);

impl Grown {
    /// Takes a value; returns by how much the counter has grown within the span.
    fn note(&mut self, value: u64, now: Mono) -> u64 {
        while self.0.len() > 1 && self.0.get(1).is_some_and(|(at, _)| now.since(*at) >= SPAN) {
            self.0.pop_front();
        }
        let before = self.0.front().map_or(0, |(_, before)| *before);
        self.0.push_back((now, value));
        value.saturating_sub(before)
    }
}

/// Looks at everything.
pub(super) fn look(snapshot: &Snapshot, settings: &Alerts, memory: &mut Memory, now: Mono) -> Vec<Finding> {
    let mut found = Vec::new();
    requests(snapshot, &mut found);
    for (source, row) in &snapshot.sources {
        let refused = row.refused.get("quota").copied().unwrap_or(0) + row.refused.get("banned").copied().unwrap_or(0);
        let refused = memory.refused.entry(source.clone()).or_default().note(refused, now);
        breaker(source, row, &mut found);
        quota(source, row, refused, &mut found);
    }
    let dropped = snapshot.records.dropped_full_newest + snapshot.records.dropped_full_oldest;
    records(snapshot, settings, memory.dropped.note(dropped, now), &mut found);
    ages(snapshot, settings, &mut found);
    sinks(snapshot, settings, &mut found);
    cores(snapshot, settings, &mut found);
    found
}

fn requests(snapshot: &Snapshot, found: &mut Vec<Finding>) {
    let (targets, recent) = (&snapshot.targets, &snapshot.total.last_10s);
    let enough = recent.latency.count >= COUNT_MIN;
    for (rule, share, value, limit) in [
        ("latency_p95", "95", recent.latency.p95_ms, targets.p95_ms),
        ("latency_p99", "99", recent.latency.p99_ms, targets.p99_ms),
    ] {
        let message = format!("{share} % of requests take up to {value:.0} ms, the target is {limit:.0} ms");
        let finding = whole(rule, value, limit, message);
        found.push(Finding { is_over: enough && value > limit, is_well: value <= limit * EASED, ..finding });
    }
    let (minute, limit) = (&snapshot.total.last_60s, targets.success_rate);
    let rate = if minute.requests == 0 { 1.0 } else { minute.success as f64 / minute.requests as f64 };
    let message = format!("{:.1} % of requests succeed, the target is {:.1} %", rate * 100.0, limit * 100.0);
    found.push(Finding {
        is_over: minute.requests >= COUNT_MIN && rate < limit,
        is_well: 1.0 - rate <= (1.0 - limit) * EASED,
        ..whole("success_low", rate, limit, message)
    });
    let (value, limit, demand) = (recent.requests_per_second, targets.requests_per_second, snapshot.demand_per_second);
    let message = format!("{value:.0} requests/s, the target is {limit:.0}/s and the polls ask for {demand:.0}/s");
    found.push(Finding {
        is_over: demand > limit && value < limit * EASED,
        is_well: demand <= limit || value >= limit * (1.0 + EASED) / 2.0,
        ..whole("throughput_low", value, limit, message)
    });
}

fn breaker(source: &str, row: &SourceSnapshot, found: &mut Vec<Finding>) {
    let shut = matches!(row.breaker.as_str(), "open" | "forced_open");
    let why = row.last_error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
    found.push(Finding {
        is_over: shut,
        is_well: row.breakers_open == 0,
        ..about("breaker_open", source, row.breakers_open as f64, 0.0, format!("the breaker is {}{why}", row.breaker))
    });
}

fn quota(source: &str, row: &SourceSnapshot, refused: u64, found: &mut Vec<Finding>) {
    // Short windows are used up all the time: that is how they pace requests.
    let lasting = |per_ms: u64, shape: &str| per_ms >= SPAN.as_millis() as u64 && shape != "concurrency";
    let windows = row.quota.iter().filter(|window| lasting(window.per_ms, &window.shape));
    let used_up = row.waiting > 0 && windows.clone().any(|window| window.used >= window.limit);
    let banned = row.banned_until.is_some();
    let share = windows.map(|window| window.used as f64 / window.limit.max(1) as f64).fold(0.0, f64::max);
    let message = match (banned, refused) {
        (true, _) => "the provider has shut the source out".to_owned(),
        (false, 0) => format!("{} requests wait for a quota window that is used up", row.waiting),
        (false, count) => format!("{count} requests were refused within a minute, for the quota is used up"),
    };
    found.push(Finding {
        is_critical: banned,
        is_over: banned || used_up || refused >= REFUSED_MIN,
        is_well: !banned && !used_up && refused == 0,
        ..about("quota_exhausted", source, share, 1.0, message)
    });
}

fn records(snapshot: &Snapshot, settings: &Alerts, dropped: u64, found: &mut Vec<Finding>) {
    let fill = snapshot.buffer.len as f64 / snapshot.buffer.capacity.max(1) as f64;
    let limit = settings.buffer_max;
    let message = format!("the buffer is filled to {:.0} %", fill * 100.0);
    found.push(Finding {
        is_over: fill > limit,
        is_well: fill <= limit * EASED,
        ..whole("buffer_full", fill, limit, message)
    });
    let message = format!("{dropped} records were dropped within a minute, for the buffer was full");
    found.push(Finding {
        is_over: dropped > 0,
        is_well: dropped == 0,
        hold: Some(Duration::ZERO),
        ..whole("records_dropped", dropped as f64, 0.0, message)
    });
}

fn ages(snapshot: &Snapshot, settings: &Alerts, found: &mut Vec<Finding>) {
    for age in &snapshot.data {
        // News and filings come when there are some.
        let Some(every) = age.every_ms.filter(|_| !matches!(age.kind.as_str(), "news" | "filing")) else { continue };
        let limit = every.saturating_mul(settings.stale_intervals).max(STALE_MIN.as_millis() as u64);
        let value = age.record_age_ms.unwrap_or(snapshot.uptime_ms);
        let symbol = age.symbol.as_deref().map(|symbol| format!(" {symbol}")).unwrap_or_default();
        let subject = format!("{} {}{symbol}", age.source, age.kind);
        let message = match age.record_age_ms {
            Some(age) => {
                format!("the last record came {} s ago and is polled every {} s", age / 1_000, every as f64 / 1e3)
            }
            None => format!("no record has come, and one is polled for every {} s", every as f64 / 1e3),
        };
        let finding = about("data_stale", &subject, value as f64 / 1e3, limit as f64 / 1e3, message);
        found.push(Finding { is_over: value > limit, is_well: value as f64 <= limit as f64 * EASED, ..finding });
    }
}

fn sinks(snapshot: &Snapshot, settings: &Alerts, found: &mut Vec<Finding>) {
    for sink in &snapshot.sinks {
        let (value, limit) = (sink.lag_ms as f64 / 1e3, settings.sink_lag_max.as_secs_f64());
        let why = sink.failing.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        let message = format!("it lags by {value:.0} s and {} records{why}", sink.lag_records);
        let finding = about("sink_lag", &sink.name, value, limit, message);
        found.push(Finding { is_over: value > limit, is_well: value <= limit / 2.0, ..finding });
    }
}

fn cores(snapshot: &Snapshot, settings: &Alerts, found: &mut Vec<Finding>) {
    for core in snapshot.cores.iter().filter(|core| core.name != "control") {
        let (value, limit) = (core.heartbeat_age_ms as f64 / 1e3, settings.stall_max.as_secs_f64());
        let finding = about("core_stalled", &core.name, value, limit, format!("no sign of life for {value:.0} s"));
        let over = value > limit;
        found.push(Finding { is_critical: true, is_over: over, is_well: !over, hold: Some(Duration::ZERO), ..finding });
    }
    if let Some(journal) = &snapshot.journal {
        let why = journal.failing.as_deref();
        let message = format!("it cannot be written: {}", why.unwrap_or_default());
        found.push(Finding {
            is_critical: true,
            is_over: why.is_some(),
            is_well: why.is_none(),
            hold: Some(JOURNAL_HOLD),
            ..whole("journal_unwritable", f64::from(u8::from(why.is_some())), 0.0, message)
        });
    }
}

fn whole(rule: &'static str, value: f64, limit: f64, message: String) -> Finding {
    about(rule, "", value, limit, message)
}

fn about(rule: &'static str, subject: &str, value: f64, limit: f64, message: String) -> Finding {
    let subject = subject.to_owned();
    Finding { rule, subject, is_critical: false, is_over: false, is_well: true, value, limit, hold: None, message }
}

/// Over which counters are compared with themselves.
const SPAN: Duration = Duration::from_secs(60);
/// Fewer requests say nothing about shares.
const COUNT_MIN: u64 = 20;
/// An alert ceases at this share of its limit.
const EASED: f64 = 0.9;
/// A single request that is refused by a quota is everyday life.
const REFUSED_MIN: u64 = 3;
/// Polls many times a second may pause for a moment.
const STALE_MIN: Duration = Duration::from_secs(60);
/// A disk may refuse once.
const JOURNAL_HOLD: Duration = Duration::from_secs(5);
