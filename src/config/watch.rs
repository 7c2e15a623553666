//! The settings of what watches a run: the admin server, the metrics, the alerts.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Secret;
use crate::config::read::Values;

/// The admin server.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Whether it runs.
    pub enabled: bool,
    /// Where it listens; port 0 is any.
    pub listen: SocketAddr,
    /// What requests must present; `None` = nothing, which only a loopback address allows.
    pub token: Option<Secret>,
    /// Host names to answer to, besides the loopback's and the listen address.
    pub hosts: Vec<String>,
    /// Connections at most.
    pub connections_max: usize,
    /// Time that a request may take, from its first byte to the last of its answer.
    pub request_timeout: Duration,
    /// Readers of the live records at most.
    pub tap_readers_max: usize,
    /// Records that wait for one of them at most; more are lost to it, and counted.
    pub tap_queue_len: usize,
}

/// The metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Symbols of one source and kind whose data age is known apart.
    pub symbols_max: usize,
}

/// The alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct Alerts {
    /// Whether rules are looked at.
    pub enabled: bool,
    /// Where each alert that fires or is resolved is posted to; an address often holds a key, so it is a secret.
    pub webhook: Option<Secret>,
    /// How long a condition must hold before its alert fires.
    pub hold: Duration,
    /// How long an alert that was resolved does not fire again.
    pub cooldown: Duration,
    /// Share of the buffer that may be filled.
    pub buffer_max: f64,
    /// How far a sink may lag.
    pub sink_lag_max: Duration,
    /// Intervals of its poll that data may be old.
    pub stale_intervals: u64,
    /// How long a core may say nothing.
    pub stall_max: Duration,
    /// Rules that are not looked at, by name.
    pub off: Vec<String>,
}

impl Admin {
    pub(super) fn read(values: &Values) -> Admin {
        Admin {
            enabled: values.flag("admin.enabled"),
            listen: values.address("admin.listen"),
            token: values.secret("admin.token"),
            hosts: values.list("admin.hosts"),
            connections_max: values.size("admin.connections_max"),
            request_timeout: values.duration("admin.request_timeout"),
            tap_readers_max: values.size("admin.tap_readers_max"),
            tap_queue_len: values.size("admin.tap_queue_len"),
        }
    }
}

impl Metrics {
    pub(super) fn read(values: &Values) -> Metrics {
        Metrics { symbols_max: values.size("metrics.symbols_max") }
    }
}

impl Alerts {
    pub(super) fn read(values: &Values) -> Alerts {
        Alerts {
            enabled: values.flag("alerts.enabled"),
            webhook: values.secret("alerts.webhook"),
            hold: values.duration("alerts.for"),
            cooldown: values.duration("alerts.cooldown"),
            buffer_max: values.ratio("alerts.buffer_max"),
            sink_lag_max: values.duration("alerts.sink_lag_max"),
            stale_intervals: values.count("alerts.stale_intervals"),
            stall_max: values.duration("alerts.stall_max"),
            off: values.list("alerts.off"),
        }
    }
}
