//! `tidegate load`: the whole pipeline driven against an upstream of one's own, and what it cost. Every request passes
//! admission, the client, the decoder, the buffer and the sink core; only the quota's limits are set out of reach.

mod report;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::load::report::Report;
use crate::cli::summary::{self, Summary};
use crate::cli::{Done, Failure, duration, log, usage, warn_all};
use crate::config::{CpuList, Environment, HttpVersion, Loader, Settings, SourceSettings};
use crate::engine::{Engine, LoadPart, check};
use crate::error::{Error, ErrorKind};
use crate::model::{Query, Symbol};
use crate::runtime;
use crate::source::{Batching, KindSpec};

/// Drive the whole request path against a server of your own, and measure it.
///
/// Each request asks for one symbol. A closed loop keeps a number of requests in flight; an open loop (--rate) starts
/// them at given times and counts latency from there, so that a stall is not hidden. Never point it at a provider.
///
/// Either one source is played (--source, --kind, --base-url), or all sources of a configuration at once (--config, for
/// which `tidegate sim` prints one), each by its first poll, with an equal share of the rate and the configuration's own
/// caps.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("who").required(true).args(["source", "config"]))]
pub struct Load {
    /// Source to play.
    #[arg(long, value_name = "SOURCE", requires_all = ["kind", "base_url"])]
    source: Option<String>,
    /// Kind of record.
    #[arg(long, value_name = "KIND", requires = "source")]
    kind: Option<String>,
    /// Canonical symbol; the source's first example without.
    #[arg(long, value_name = "SYMBOL", requires = "source")]
    symbol: Option<String>,
    /// Server to ask instead of the provider.
    #[arg(long, value_name = "URL", requires = "source")]
    base_url: Option<String>,
    /// TOML file whose sources are all played; it has to name a base URL for each.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Requests in flight: connections on HTTP/1.1, streams on HTTP/2. 64 without.
    #[arg(long, value_name = "N", requires = "source", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: Option<u32>,
    /// HTTP/2 connections that the streams are spread over.
    #[arg(long, value_name = "M", requires = "source", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    h2_connections: Option<u32>,
    /// Requests a second of an open loop; without it the loop is closed.
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    rate: Option<u32>,
    /// How long: 10s, 5m.
    #[arg(long = "for", value_name = "TIME", value_parser = duration, default_value = "10s")]
    run_for: Duration,
    /// Time at the start whose latencies do not count, while connections are opened.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s")]
    warm_up: Duration,
    /// CPUs of the shards.
    #[arg(long, value_name = "CPUS")]
    shards: Option<CpuList>,
    /// CPU of the sink core.
    #[arg(long, value_name = "CPU")]
    sink: Option<CpuList>,
    /// HTTP version; by ALPN without.
    #[arg(long, value_name = "VERSION", value_parser = ["1", "2"])]
    http: Option<String>,
    /// PEM file of an authority to trust besides Mozilla's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Writes the report as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the journal into this folder; without it nothing is written.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Serves status and metrics at this address while it runs; without it nothing listens.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

/// One source and what it is asked, over and over.
struct Target {
    source: String,
    query: Query,
    in_flight: usize,
}

impl Load {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        if self.http.as_deref() == Some("1") && self.h2_connections.is_some() {
            return Err(usage("--h2-connections: expected no --http 1 beside it"));
        }
        if self.warm_up >= self.run_for {
            return Err(usage("--warm-up: expected less time than --for, found no time left to measure"));
        }
        let environment = Environment::process()?;
        let loaded = self.loader(&environment).load();
        warn_all(&loaded.warnings);
        let mut settings = loaded.into_result()?;
        let version = match self.http.as_deref() {
            Some("1") => Some(HttpVersion::One),
            Some(_) => Some(HttpVersion::Two),
            None => None,
        };
        for source in &mut settings.sources {
            source.http_version = version.unwrap_or(source.http_version);
        }
        let targets = settings.sources.iter().map(|source| self.target(source)).collect::<Result<Vec<_>, _>>()?;
        let _log = log::start(&settings.log, true)?;
        let json = self.json.as_ref().map(|path| summary::create(path)).transpose()?;
        let aims = settings.targets.clone();
        let engine = self.start(settings, environment)?;

        let before = cpu_times(engine.shard_count());
        let runs: Vec<_> = targets
            .iter()
            .enumerate()
            .map(|(index, target)| {
                engine.load(&target.source, |part, parts| self.part(target, (index, targets.len()), (part, parts)))
            })
            .collect();
        let mut reports = Vec::new();
        for run in runs {
            reports.extend(run.wait()?);
        }
        let after = cpu_times(engine.shard_count());
        let cpu: Vec<_> = after.iter().zip(&before).map(|(after, before)| after.saturating_sub(*before)).collect();
        let memory = runtime::resident_bytes().unwrap_or_default();
        let finish = engine.shutdown(GRACE).wait()??;
        let elapsed = reports.iter().map(|(_, report)| report.elapsed).max().unwrap_or_default();
        let snapshot = engine.metrics();
        let summary = Summary::of(&snapshot, &finish, &aims, elapsed);
        let report = Report::of(summary, &reports, &cpu, snapshot.total.connections, memory);
        if let Some((path, mut file)) = json {
            let text = serde_json::to_vec_pretty(&report).unwrap_or_default();
            let written = file.write_all(&text).and_then(|()| file.write_all(b"\n"));
            written.map_err(|error| Error::io("write", &path, &error))?;
        }
        report.print(&mut std::io::stdout().lock())?;
        if !finish.counts.is_balanced() || finish.counts.queued != 0 {
            let counts = finish.counts;
            return Err(Error::new(ErrorKind::Corrupt, format!("records were lost: {counts:?}")).into());
        }
        // A run in which nothing succeeded has measured failures, and a script should not take it for a figure.
        Ok(if report.has_success() { Done::Fine } else { Done::Failed })
    }

    /// What a source is asked: the command line's question, or its first poll.
    fn target(&self, settings: &SourceSettings) -> Result<Target, Failure> {
        let source = check::source(&settings.id).map_err(usage)?;
        let (kind, interval, symbol) = match (&self.kind, settings.polls.first()) {
            (Some(kind), _) => (kind, None, self.symbol.as_ref()),
            (None, Some(poll)) => (&poll.kind, poll.interval.as_deref(), poll.symbols.first()),
            (None, None) => {
                return Err(usage(format!("sources.{}: expected a poll, whose question is asked", settings.id)));
            }
        };
        let kind = check::kind(source, kind).map_err(usage)?;
        let query = query(kind, interval, symbol)?;
        Ok(Target { source: settings.id.clone(), query, in_flight: settings.in_flight_max })
    }

    fn loader<'a>(&self, environment: &'a Environment) -> Loader<'a> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let mut flags = vec![
            ("--shards", "cores.shards", self.shards.as_ref().map(ToString::to_string)),
            ("--sink", "cores.sink", self.sink.as_ref().map(ToString::to_string)),
            ("--ca-file", "tls.ca_file", path(&self.ca_file)),
            ("--data", "data_dir", path(&self.data)),
            ("--admin", "admin.listen", self.admin.map(|address| address.to_string())),
        ];
        let mut loader = Loader::new(environment);
        if let Some(path) = &self.config {
            loader = loader.file(path);
        }
        if let (Some(source), Some(url)) = (&self.source, &self.base_url) {
            let shards = self.shards.as_ref().map_or(1, CpuList::len).max(1);
            // Every shard has its own share of all connections, and a cap of its own on those to the one host.
            let total = (self.connections.unwrap_or(CONNECTIONS) as usize).next_multiple_of(shards);
            let per_host = self.h2_connections.map_or(total, |count| (count as usize).div_ceil(shards));
            let url = toml::Value::from(url.as_str());
            let table = format!("[sources.{source}]\nbase_url = {url}\nin_flight_max = {total}\nshards = {shards}\n");
            loader = loader.text("the command line", table);
            flags.extend([
                ("--connections", "in_flight_max", Some(total.to_string())),
                ("--connections", "http.connections_max", Some(total.to_string())),
                ("--connections", "http.connections_per_host_max", Some(per_host.to_string())),
            ]);
        }
        flags.into_iter().fold(loader, |loader, (flag, key, value)| match value {
            Some(value) => loader.flag(flag, key, value),
            None => loader,
        })
    }

    fn start(&self, settings: Settings, environment: Environment) -> Result<Engine, Failure> {
        for source in &settings.sources {
            asks_no_provider(source).map_err(usage)?;
        }
        let mut builder = Engine::builder(settings).environment(environment).without_polls().unlimited();
        if self.shards.is_none() {
            builder = builder.one_shard();
        }
        if self.admin.is_some() {
            builder = builder.with_control();
        }
        if self.data.is_none() {
            builder = builder.stateless().without_journal();
        }
        if let Some(connections) = self.h2_connections {
            builder = builder.h2_streams_max(self.connections.unwrap_or(CONNECTIONS).div_ceil(connections) as usize);
        }
        Ok(builder.start()?)
    }

    /// One shard's part of one target: its share of what is in flight, and of the rate.
    fn part(&self, target: &Target, (index, targets): (usize, usize), (part, parts): (usize, usize)) -> LoadPart {
        let all = target.in_flight;
        let in_flight = (all / parts + usize::from(part < all % parts)).max(1);
        let (nth, of) = (index * parts + part, targets * parts);
        let interval = self.rate.map(|rate| Duration::from_secs_f64(of as f64 / f64::from(rate)));
        // Parts start one after the other within an interval, as the requests of one whole would.
        let phase = interval.map(|interval| interval.mul_f64(nth as f64 / of as f64)).unwrap_or_default();
        LoadPart {
            query: target.query.clone(),
            in_flight,
            interval,
            phase,
            run_for: self.run_for,
            warm_up: self.warm_up,
        }
    }
}

fn query(kind: &'static KindSpec, interval: Option<&str>, symbol: Option<&String>) -> Result<Query, Failure> {
    let mut query = Query::new(kind.kind);
    query.interval = check::interval(kind, interval).map_err(usage)?;
    let asked = symbol.is_some();
    let symbol = symbol.map(String::as_str).or_else(|| kind.examples.first().copied());
    if let (Some(symbol), true) = (symbol, kind.batching != Batching::None || asked) {
        query = query.symbol(Symbol::new(symbol));
    }
    check::symbol_count(kind, &query).map_err(usage)?;
    Ok(query)
}

/// Load is for one's own servers: every base URL has to be another than the provider's.
fn asks_no_provider(settings: &SourceSettings) -> Result<(), String> {
    let source = check::source(&settings.id)?;
    let own =
        source.spec().bases.iter().zip(check::bases(source, settings)).find(|(base, url)| base.url == url.as_str());
    match own {
        None => Ok(()),
        Some((base, _)) => Err(format!(
            "sources.{}: expected the address of a server of one's own as base_url, found the provider's, {}",
            settings.id, base.url
        )),
    }
}

/// CPU time of each shard's thread, and last of the sink core's.
fn cpu_times(shards: usize) -> Vec<Duration> {
    let names = (0..shards).map(|index| format!("shard-{index}")).chain(["sink".to_owned()]);
    names.map(|name| runtime::named_cpu_time(&name).unwrap_or_default()).collect()
}

/// Requests in flight when nothing is said.
const CONNECTIONS: u32 = 64;
const GRACE: Duration = Duration::from_secs(5);
