//! `tidegate check`: a configuration held against sources, keys and host, and summed up. Starts nothing.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use crate::cli::{Done, Failure, warn_all};
use crate::config::{Cluster, CpuList, Cpus, Environment, Loader};
use crate::engine::check::{self, Checked, CheckedPoll};
use crate::error::Error;

/// Validate a configuration without starting anything, and sum it up.
#[derive(Args, Debug)]
pub struct Check {
    /// The TOML file; without one, defaults and environment are checked.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Check {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        let environment = Environment::process()?;
        let mut loader = Loader::new(&environment);
        if let Some(path) = &self.config {
            loader = loader.file(path);
        }
        let loaded = loader.load();
        let known = loaded.warnings.len();
        warn_all(&loaded.warnings);
        let checked = check::check(loaded, &environment, &Cpus::read()).map_err(Error::from)?;
        warn_all(&checked.warnings[known..]);
        if self.config.is_some() {
            warn_all(checked.idle().as_slice());
        }
        let mut out = io::BufWriter::new(io::stdout().lock());
        write_summary(&mut out, &checked)?;
        out.flush()?;
        Ok(Done::Fine)
    }
}

fn write_summary(out: &mut impl Write, checked: &Checked) -> io::Result<()> {
    let Checked { settings, placement, sources, .. } = checked;
    let shards = CpuList::new(placement.shards.iter().copied());
    writeln!(out, "cores: shards on {shards}, sink core on {}", placement.sink)?;
    writeln!(out, "data: {}", settings.data_dir.display())?;
    write_instance(out, checked)?;
    let mut all = 0.0;
    for source in sources {
        let polls = &source.polls;
        // The sum of no numbers would be minus zero.
        let rate = polls.iter().map(CheckedPoll::requests_per_minute).fold(0.0, |sum, rate| sum + rate);
        all += rate;
        writeln!(
            out,
            "source {}: tier {}, {}, {} requests/min",
            source.settings.id,
            source.tier.name,
            count(polls.len(), "poll"),
            number(rate)
        )?;
        for poll in polls {
            let symbols: usize = poll.queries.iter().map(|query| query.symbols.len()).sum();
            let interval = poll.queries.first().and_then(|query| query.interval);
            let interval = interval.map(|interval| format!(" {interval}")).unwrap_or_default();
            writeln!(
                out,
                "  {}{interval}: {} in {} every {:?}, {} requests/min",
                poll.kind.kind,
                count(symbols, "symbol"),
                count(poll.queries.len(), "request"),
                poll.every,
                number(poll.requests_per_minute())
            )?;
        }
        for demand in source.demand.iter().filter(|demand| demand.need > 0.0) {
            let bucket = if demand.window.bucket.is_empty() { "all requests" } else { demand.window.bucket };
            let (need, limit) = (number(demand.need), number(demand.limit));
            writeln!(out, "  quota of {bucket}: weight {need} of {limit} per {}", demand.per())?;
        }
    }
    for sink in &settings.sinks {
        writeln!(out, "sink {}: {}", sink.name, sink.target.as_str())?;
    }
    writeln!(
        out,
        "ok: {}, {}, {} requests/min",
        count(sources.len(), "source"),
        count(settings.sinks.len(), "sink"),
        number(all)
    )
}

/// Which sources are this instance's, and what it may use of their quotas.
fn write_instance(out: &mut impl Write, checked: &Checked) -> io::Result<()> {
    let cluster = checked.settings.cluster;
    if cluster.is_alone() {
        return Ok(());
    }
    let Cluster { instance, of, .. } = cluster;
    let quotas = match cluster.shared_address {
        true => format!("quotas by address divided by {of}"),
        false => "quotas whole, each instance by an address of its own".to_owned(),
    };
    let sources = count(checked.sources.len(), "source");
    writeln!(
        out,
        "instance {instance} of {of}: {sources} of {}, {quotas}",
        checked.sources.len() + checked.elsewhere.len()
    )?;
    for (source, owner) in &checked.elsewhere {
        writeln!(out, "  {source}: instance {owner}")?;
    }
    Ok(())
}

fn count(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Whole where it is, else with one decimal; small rates with three.
fn number(value: f64) -> String {
    match value {
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        _ if value < 1.0 => format!("{value:.3}"),
        _ => format!("{value:.1}"),
    }
}
