//! Typed settings, every default in one place, from layers: defaults < file < environment < flags. The only reader of
//! the environment, and the only place where secrets are found. Knows no source: what only a source can judge is
//! checked by `engine::check`. Invariants: what is wrong is reported with its key and place, all of it together; no
//! error and no `Debug` shows a secret; nothing here changes the process.

mod cluster;
mod cpus;
mod cursors;
mod defaults;
mod environment;
mod example;
mod form;
mod layers;
mod problem;
mod proxies;
mod read;
mod secret;
mod service;
mod settings;
mod sinks;
mod watch;

pub use cluster::Cluster;
pub use cpus::{CpuChoice, CpuList, Cpus, Placement};
pub use cursors::Cursors;
pub use defaults::{
    ALIASES, Alias, POLL_SETTINGS, PREFIX, SETTINGS, SINK_SETTINGS, SOURCE_SETTINGS, Setting, variable,
};
pub use environment::{Environment, Found};
pub use example::{SecretNote, env_example};
use form::show_kind;
pub use form::{Form, Proxy, parse_bytes, parse_duration};
pub use layers::Loader;
pub use problem::{Problem, Problems, did_you_mean, nearest};
pub use proxies::Proxies;
pub use secret::{Credentials, Secret};
pub use service::ServiceManager;
pub use settings::{
    Audit, AuditLevel, Breaker, Buffer, Cores, Http, HttpVersion, Journal, Loaded, Log, LogFormat, PollSettings, Retry,
    Settings, SourceSettings, Targets,
};
pub use sinks::{Compression, HeaderText as SinkHeaderText, HttpTarget, SinkHeader, SinkSettings, SinkTarget};
pub use watch::{Admin, Alerts, Metrics};
