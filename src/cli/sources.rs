//! `tidegate sources`: what each source serves, what it allows, and whether its keys are set. Shows no key.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::cli::{Done, Failure};
use crate::config::{Environment, Problems};
use crate::error::Error;
use crate::model::{Interval, Kind};
use crate::source::{Evidence, KeyUse, QuotaScope, SOURCES, Source, Tier, WindowShape, WindowSpec};

/// List the sources: kinds, quotas, and whether the keys are set.
#[derive(Args, Debug)]
pub struct ListSources {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl ListSources {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        let environment = Environment::process()?;
        let mut problems = Problems::default();
        let rows: Vec<Row> = SOURCES.iter().map(|source| row(*source, &environment, &mut problems)).collect();
        let mut out = io::BufWriter::new(io::stdout().lock());
        if self.json {
            serde_json::to_writer_pretty(&mut out, &rows).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        } else {
            write_table(&mut out, &rows)?;
        }
        out.flush()?;
        if problems.is_empty() { Ok(Done::Fine) } else { Err(Error::from(problems).into()) }
    }
}

#[derive(Serialize)]
struct Row {
    id: &'static str,
    title: &'static str,
    kinds: Vec<KindRow>,
    quota: QuotaRow,
    keys: Vec<KeyRow>,
    evidence: &'static str,
}

#[derive(Serialize)]
struct KindRow {
    kind: Kind,
    key: &'static str,
    symbols_max: usize,
    whole_market: bool,
    #[serde(skip_serializing_if = "<[Interval]>::is_empty")]
    intervals: &'static [Interval],
}

#[derive(Serialize)]
struct QuotaRow {
    scope: &'static str,
    docs: &'static str,
    tiers: Vec<TierRow>,
}

#[derive(Serialize)]
struct TierRow {
    name: &'static str,
    windows: Vec<WindowRow>,
}

#[derive(Serialize)]
struct WindowRow {
    #[serde(skip_serializing_if = "str::is_empty")]
    bucket: &'static str,
    limit: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_ms: Option<u64>,
    shape: &'static str,
}

#[derive(Serialize)]
struct KeyRow {
    variable: &'static str,
    about: &'static str,
    set: bool,
}

fn row(source: &'static dyn Source, environment: &Environment, problems: &mut Problems) -> Row {
    let spec = source.spec();
    let variables: Vec<&'static str> = spec.credentials.iter().map(|credential| credential.variable).collect();
    let credentials = environment.credentials(&variables, problems);
    let kinds = spec.kinds.iter().map(|kind| KindRow {
        kind: kind.kind,
        key: match kind.key {
            KeyUse::None => "none",
            KeyUse::Optional => "optional",
            KeyUse::Required => "required",
        },
        symbols_max: kind.batching.symbols_max(),
        whole_market: kind.whole_market,
        intervals: kind.intervals,
    });
    let keys = spec.credentials.iter().map(|credential| KeyRow {
        variable: credential.variable,
        about: credential.about,
        set: credentials.find(credential.variable).is_some(),
    });
    let scope = match spec.scope {
        QuotaScope::Ip => "ip",
        QuotaScope::Key => "key",
    };
    let evidence = match spec.evidence {
        Evidence::Documented => "documented",
        Evidence::Mixed => "mixed",
        Evidence::Recorded => "recorded",
    };
    Row {
        id: spec.id.as_str(),
        title: spec.title,
        kinds: kinds.collect(),
        quota: QuotaRow { scope, docs: spec.quota_docs, tiers: spec.tiers.iter().map(tier_row).collect() },
        keys: keys.collect(),
        evidence,
    }
}

fn tier_row(tier: &Tier) -> TierRow {
    let window = |window: &WindowSpec| WindowRow {
        bucket: window.bucket,
        limit: window.limit,
        per_ms: (window.shape != WindowShape::Concurrency).then_some(window.per.as_millis() as u64),
        shape: match window.shape {
            WindowShape::Concurrency => "concurrency",
            WindowShape::Fixed => "fixed",
            WindowShape::Rolling => "rolling",
        },
    };
    TierRow { name: tier.name, windows: tier.windows.iter().map(window).collect() }
}

/// One line a source, in columns as wide as their widest cell.
fn write_table(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let head = ["SOURCE", "KINDS", "QUOTA (FREE)", "KEYS"].map(str::to_owned);
    let lines: Vec<[String; 4]> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    for [source, kinds, quota, keys] in &lines {
        writeln!(out, "{source:0$}  {kinds:1$}  {quota:2$}  {keys}", widths[0], widths[1], widths[2])?;
    }
    Ok(())
}

fn cells(row: &Row) -> [String; 4] {
    // A star marks what needs a key.
    let star = |kind: &KindRow| if kind.key == "required" { "*" } else { "" };
    let kinds: Vec<String> = row.kinds.iter().map(|kind| format!("{}{}", kind.kind, star(kind))).collect();
    let windows = row.quota.tiers.first().map(|tier| tier.windows.iter().map(window_text).collect::<Vec<_>>());
    let keys: Vec<String> =
        row.keys.iter().map(|key| format!("{} ({})", key.variable, if key.set { "set" } else { "not set" })).collect();
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    [
        row.id.to_owned(),
        kinds.join(" "),
        or_dash(windows.map(|windows| format!("{} by {}", windows.join(" + "), row.quota.scope)).unwrap_or_default()),
        or_dash(keys.join(", ")),
    ]
}

fn window_text(window: &WindowRow) -> String {
    let bucket = if window.bucket.is_empty() { String::new() } else { format!("{} ", window.bucket) };
    match window.per_ms {
        Some(ms) => {
            let per = Duration::from_millis(ms);
            let whole = (per.subsec_nanos() == 0).then(|| Interval::from_secs(per.as_secs())).flatten();
            let per = whole.map_or(format!("{ms}ms"), |interval| interval.to_string());
            format!("{bucket}{}/{}", window.limit, per.strip_prefix('1').filter(|unit| unit.len() == 1).unwrap_or(&per))
        }
        None => format!("{bucket}{} at once", window.limit),
    }
}
