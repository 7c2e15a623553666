//! `tidegate doctor`: what the host needs, held against what it has. Changes nothing. Exit status 1 when something
//! required is missing.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::{Done, Failure, usage, warn_all};
use crate::config::{Environment, Loader};
use crate::doctor::{Finding, Severity, Status, Target, Tree};
use crate::engine::host;

/// Check what the host needs: what is required, what is advised, and how to mend it.
///
/// Judges the limits as they were inherited and raises nothing. With --config, the names and certificates of its sources
/// are checked, too; no request is sent.
#[derive(Args, Debug)]
pub struct Doctor {
    /// TOML file whose CPUs, connections, data folder and sources are to be served; without one, the defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for everything that is written; `data` when nothing sets it.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Reads /proc, /sys and /etc from this tree.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Prints the findings as JSON.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        if !self.root.is_dir() {
            return Err(usage(format!("expected a folder for --root, found {}", self.root.display())));
        }
        let environment = Environment::process()?;
        let mut loader = Loader::new(&environment);
        if let Some(path) = &self.config {
            loader = loader.file(path);
        }
        if let Some(folder) = &self.data {
            loader = loader.flag("--data", "data_dir", folder.display().to_string());
        }
        let loaded = loader.load();
        warn_all(&loaded.warnings);
        let settings = loaded.into_result()?;
        let report = Report::of(host::examine(&Tree::new(&self.root), &settings)?);
        let mut out = io::BufWriter::new(io::stdout().lock());
        if self.json {
            serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        } else {
            report.write(&mut out)?;
        }
        out.flush()?;
        Ok(if report.ok { Done::Fine } else { Done::Failed })
    }
}

#[derive(Serialize)]
struct Report {
    /// Whether an engine can run here.
    ok: bool,
    required_failed: usize,
    advised_failed: usize,
    checks: Vec<Finding>,
}

impl Report {
    fn of(checks: Vec<Finding>) -> Report {
        let failed = |severity| {
            let of = |finding: &&Finding| finding.severity == severity && finding.status == Status::Failed;
            checks.iter().filter(of).count()
        };
        let (required_failed, advised_failed) = (failed(Severity::Required), failed(Severity::Advised));
        Report { ok: required_failed == 0, required_failed, advised_failed, checks }
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for (severity, head) in [(Severity::Required, "required"), (Severity::Advised, "advised")] {
            writeln!(out, "{head}")?;
            for finding in self.checks.iter().filter(|finding| finding.severity == severity) {
                write_finding(out, finding)?;
            }
        }
        let all = |severity| self.checks.iter().filter(|finding| finding.severity == severity).count();
        writeln!(
            out,
            "{}: {} of {} required checks failed, {} of {} advised ones",
            if self.ok { "ok" } else { "not ok" },
            self.required_failed,
            all(Severity::Required),
            self.advised_failed,
            all(Severity::Advised),
        )
    }
}

fn write_finding(out: &mut impl Write, finding: &Finding) -> io::Result<()> {
    let Finding { title, status, current, expected, why, fix, fragments, .. } = finding;
    let word = match (status, finding.severity) {
        (Status::Failed, Severity::Required) => "FAILED",
        (Status::Failed, Severity::Advised) => "advice",
        (Status::Ok, _) => "ok",
        (Status::Unknown, _) => "-",
    };
    writeln!(out, "  {word:<7} {title:<24} {current}")?;
    if *status != Status::Failed {
        return Ok(());
    }
    writeln!(out, "          expected  {expected}")?;
    writeln!(out, "          why       {why}")?;
    writeln!(out, "          fix       {fix}")?;
    for fragment in fragments {
        let target = match fragment.target {
            Target::Docker => "docker run",
            Target::Kubernetes => "kubernetes",
            Target::Shell => "shell",
            Target::Systemd => "systemd",
        };
        for (index, line) in fragment.text.lines().enumerate() {
            writeln!(out, "          {:<10}  {line}", if index == 0 { target } else { "" })?;
        }
    }
    Ok(())
}
