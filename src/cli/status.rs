//! The live status line of a run on a terminal: once a second, in place.

use indicatif::{ProgressBar, ProgressStyle};

use crate::metrics::Snapshot;

/// A line at the foot of the terminal; nothing where the output is no terminal.
pub(super) struct StatusLine(Option<ProgressBar>);

impl StatusLine {
    /// A line, if `live`.
    pub(super) fn new(live: bool) -> Self {
        StatusLine(live.then(|| {
            let bar = ProgressBar::new_spinner();
            // The template is a constant and parses.
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            bar
        }))
    }

    /// Shows this moment.
    pub(super) fn show(&self, snapshot: &Snapshot) {
        if let Some(bar) = &self.0 {
            bar.set_message(text(snapshot));
            bar.tick();
        }
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

fn text(snapshot: &Snapshot) -> String {
    let (total, recent) = (&snapshot.total, &snapshot.total.last_10s);
    format!(
        "{:.0} req/s | {:.0} rec/s | p95 {:.1} ms | ok {:.2} % | breakers open {} | buffer {} / {}",
        recent.requests_per_second,
        recent.records_per_second,
        recent.latency.p95_ms,
        total.success_rate * 100.0,
        total.breakers_open,
        snapshot.records.queued,
        snapshot.buffer.capacity,
    )
}
