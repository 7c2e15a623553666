//! What a check says: what was found, what is expected, why, and how to mend it, with the lines to paste.

use std::fmt;

use serde::Serialize;

/// The outcome of one check.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The check.
    pub id: &'static str,
    /// The check in words.
    pub title: String,
    /// Whether nothing runs without it.
    pub severity: Severity,
    /// How it ended.
    pub status: Status,
    /// What was found.
    pub current: String,
    /// What is required or advised.
    pub expected: String,
    /// Why.
    pub why: &'static str,
    /// How to mend it; empty when there is nothing to mend.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fix: String,
    /// The lines that mend it, for each place where they can stand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fragments: Vec<Fragment>,
}

/// Whether nothing runs without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It runs, worse.
    Advised,
    /// Nothing runs without it.
    Required,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not as it should be.
    Failed,
    /// As it should be.
    Ok,
    /// The host does not tell.
    Unknown,
}

/// Lines to paste.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fragment {
    /// Where they go.
    pub target: Target,
    /// The lines.
    pub text: String,
}

/// Where a fragment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The command line of `docker run`.
    Docker,
    /// The manifest of a pod, or a file on its node.
    Kubernetes,
    /// A shell with the rights it takes.
    Shell,
    /// A unit file, or a drop-in of one.
    Systemd,
}

impl Finding {
    /// Whether nothing starts because of it.
    pub fn refuses(&self) -> bool {
        self.severity == Severity::Required && self.status == Status::Failed
    }

    /// The same with lines to paste; none are kept when there is nothing to mend.
    pub(super) fn fragment(mut self, target: Target, text: impl Into<String>) -> Finding {
        if self.status == Status::Failed {
            self.fragments.push(Fragment { target, text: text.into() });
        }
        self
    }
}

/// The finding as an error: one line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { title, expected, current, why, fix, .. } = self;
        write!(f, "{title}: expected {expected}, found {current} ({why})")?;
        if fix.is_empty() { Ok(()) } else { write!(f, "; {fix}") }
    }
}

/// One check, before it is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    pub(super) id: &'static str,
    pub(super) severity: Severity,
    pub(super) why: &'static str,
}

impl Check {
    /// One without which nothing runs.
    pub(super) const fn required(id: &'static str, why: &'static str) -> Check {
        Check { id, severity: Severity::Required, why }
    }

    /// One without which it runs worse.
    pub(super) const fn advised(id: &'static str, why: &'static str) -> Check {
        Check { id, severity: Severity::Advised, why }
    }

    /// It is as it should be.
    pub(super) fn ok(self, current: impl Into<String>, expected: impl Into<String>) -> Finding {
        self.end(Status::Ok, current.into(), expected.into(), String::new())
    }

    /// It is not, and this mends it.
    pub(super) fn failed(
        self,
        current: impl Into<String>,
        expected: impl Into<String>,
        fix: impl Into<String>,
    ) -> Finding {
        self.end(Status::Failed, current.into(), expected.into(), fix.into())
    }

    /// The host does not tell.
    pub(super) fn unknown(self, expected: impl Into<String>) -> Finding {
        self.end(Status::Unknown, "not told by this host".to_owned(), expected.into(), String::new())
    }

    fn end(self, status: Status, current: String, expected: String, fix: String) -> Finding {
        let Check { id, severity, why } = self;
        Finding { id, title: words(id), severity, status, current, expected, why, fix, fragments: Vec::new() }
    }
}

/// `open_files` in words; abbreviations stand as they are usually written.
fn words(id: &str) -> String {
    let word = |word: &str| match word {
        "cpu" => "CPU".to_owned(),
        "cpus" => "CPUs".to_owned(),
        "io" => "io".to_owned(),
        "irq" => "IRQ".to_owned(),
        "numa" => "NUMA".to_owned(),
        "smt" => "SMT".to_owned(),
        "tls" => "TLS".to_owned(),
        other => other.to_owned(),
    };
    if id == "io_uring" {
        return id.to_owned();
    }
    id.split('_').map(word).collect::<Vec<_>>().join(" ")
}

/// A size in the largest binary unit that keeps it whole, or nearly: `512 KiB`, `1.5 GiB`.
pub(super) fn size(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.iter().find(|(_, shift)| bytes >> shift > 0) {
        None => format!("{bytes} bytes"),
        Some((unit, shift)) if bytes.trailing_zeros() >= *shift => format!("{} {unit}", bytes >> shift),
        Some((unit, shift)) => format!("{:.1} {unit}", bytes as f64 / (1_u64 << shift) as f64),
    }
}
