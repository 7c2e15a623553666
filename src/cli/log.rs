//! The program's log: to standard error, as text or JSON, by level and target, written by a thread of its own.

use std::io::{self, IsTerminal};

use tracing::Dispatch;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::config::{Log, LogFormat};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{LogGuard, RepeatFilter, log_writer};

/// Starts the log; what was logged is written when the guard is dropped. While a status line is shown, what is below
/// `warn` is left out: it would tear the line.
///
/// # Errors
/// When the host refuses a thread.
pub(super) fn start(settings: &Log, live: bool) -> Result<LogGuard> {
    let filter = if live { EnvFilter::try_new("warn") } else { EnvFilter::try_new(&settings.filter) };
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let repeats = RepeatFilter::new(settings.repeats_max, settings.repeats_interval);
    let (writer, guard) = log_writer(io::stderr(), settings.queue_len, repeats.clone())
        .map_err(|error| Error::new(ErrorKind::Host, format!("cannot start the log's thread: {error}")))?;
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let registry = tracing_subscriber::registry().with(filter);
    let dispatch = match settings.format {
        LogFormat::Json => Dispatch::new(registry.with(layer.json().flatten_event(true).with_filter(repeats))),
        LogFormat::Text => {
            let layer = layer.with_ansi(io::stderr().is_terminal()).with_target(false);
            Dispatch::new(registry.with(layer.with_filter(repeats)))
        }
    };
    guard.speak_through(dispatch.clone());
    // A second start in one process, as tests do, keeps the first.
    let _ = tracing::dispatcher::set_global_default(dispatch);
    Ok(guard)
}
