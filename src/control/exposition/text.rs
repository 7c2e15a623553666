//! The lines of an exposition: families with their help and type, samples with escaped labels, and the few points in
//! which the two formats differ.

use std::fmt::Write;

use super::{Format, quantiles};
use crate::metrics::Latency;

/// The types of metric families that are exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Quantiles, a sum and a count.
    Summary,
}

/// A text under way.
pub(super) struct Text {
    out: String,
    format: Format,
    name: &'static str,
}

impl Text {
    pub(super) fn new(format: Format) -> Self {
        Text { out: String::with_capacity(64 << 10), format, name: "" }
    }

    /// Begins a family; its samples follow.
    pub(super) fn family(&mut self, name: &'static str, kind: Type, help: &str) {
        self.name = name;
        // OpenMetrics names a family of counters without the suffix that its samples have.
        let family = match (self.format, kind) {
            (Format::OpenMetrics, Type::Counter) => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        let word = match kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Summary => "summary",
        };
        let _ = writeln!(self.out, "# HELP {family} {help}\n# TYPE {family} {word}");
    }

    /// Writes one sample of the family; `suffix` is that of a summary's sum and count.
    pub(super) fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        self.labelled(suffix, labels, None, value);
    }

    /// A family of one sample without labels.
    pub(super) fn single(&mut self, name: &'static str, kind: Type, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample("", &[], value);
    }

    /// The samples of a summary: quantiles of `recent`, sum and count of `whole`.
    pub(super) fn summary(&mut self, labels: &[(&str, &str)], recent: &Latency, whole: &Latency) {
        for (quantile, millis) in quantiles(recent) {
            let value = if recent.count == 0 { f64::NAN } else { millis / 1e3 };
            self.labelled("", labels, Some(quantile), value);
        }
        self.sample("_sum", labels, whole.mean_ms * whole.count as f64 / 1e3);
        self.sample("_count", labels, whole.count as f64);
    }

    /// The whole text.
    pub(super) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    fn labelled(&mut self, suffix: &str, labels: &[(&str, &str)], quantile: Option<&str>, value: f64) {
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        let all = labels.iter().copied().chain(quantile.map(|quantile| ("quantile", quantile)));
        for (index, (name, value)) in all.enumerate() {
            let _ = write!(self.out, "{}{name}=\"", if index == 0 { '{' } else { ',' });
            escape(value, &mut self.out);
            self.out.push('"');
        }
        if !labels.is_empty() || quantile.is_some() {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }
}

/// A label's value between its quotes.
fn escape(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}
