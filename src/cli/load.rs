//! `tidegate load`: the whole pipeline of one source driven against an upstream of one's own, and what it cost. Every
//! request passes admission, the client, the decoder, the buffer and the sink core; only the quota's limits are set out
//! of reach.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::cli::summary::{self, Summary};
use crate::cli::{Done, Failure, duration, log, usage, warn_all};
use crate::config::{CpuList, Environment, Loader, Settings};
use crate::engine::{Engine, LoadPart, check};
use crate::error::{Error, ErrorKind};
use crate::model::{Query, Symbol};
use crate::runtime;
use crate::shard::LoadReport;
use crate::source::{Batching, KindSpec};

/// Drive the whole request path against a server of your own, and measure it.
///
/// Each request asks for one symbol. A closed loop keeps a number of requests in flight; an open loop (--rate) starts
/// them at given times and counts latency from there, so that a stall is not hidden. Never point it at a provider.
#[derive(Args, Debug)]
pub struct Load {
    /// Source to play.
    #[arg(long, value_name = "SOURCE")]
    source: String,
    /// Kind of record.
    #[arg(long, value_name = "KIND")]
    kind: String,
    /// Canonical symbol; the source's first example without.
    #[arg(long, value_name = "SYMBOL")]
    symbol: Option<String>,
    /// Server to ask instead of the provider.
    #[arg(long, value_name = "URL")]
    base_url: String,
    /// Requests in flight: connections on HTTP/1.1, streams on HTTP/2.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// HTTP/2 connections that the streams are spread over.
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    h2_connections: Option<u32>,
    /// Requests a second of an open loop; without it the loop is closed.
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    rate: Option<u32>,
    /// How long: 10s, 5m.
    #[arg(long = "for", value_name = "TIME", value_parser = duration, default_value = "10s")]
    run_for: Duration,
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
}

impl Load {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        let source = check::source(&self.source).map_err(usage)?;
        let kind = check::kind(source, &self.kind).map_err(usage)?;
        let query = self.query(kind)?;
        if self.http.as_deref() == Some("1") && self.h2_connections.is_some() {
            return Err(usage("--h2-connections: expected no --http 1 beside it"));
        }
        let environment = Environment::process()?;
        let loaded = self.loader(&environment).load();
        warn_all(&loaded.warnings);
        let settings = loaded.into_result()?;
        log::start(&settings.log, true);
        let json = self.json.as_ref().map(|path| summary::create(path)).transpose()?;
        let targets = settings.targets.clone();
        let engine = self.start(settings, environment)?;

        let sink_before = runtime::named_cpu_time(SINK).unwrap_or_default();
        let reports = engine.load(&self.source, |part, parts| self.part(&query, part, parts)).wait()?;
        let sink = runtime::named_cpu_time(SINK).unwrap_or_default().saturating_sub(sink_before);
        let memory = runtime::resident_bytes().unwrap_or_default();
        let finish = engine.shutdown(GRACE).wait()??;
        let elapsed = reports.iter().map(|report| report.elapsed).max().unwrap_or_default();
        let summary = Summary::of(&engine.metrics(), &finish, &targets, elapsed);
        let report = Report::of(summary, &reports, sink, memory);
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
        Ok(if report.load.succeeded == 0 { Done::Failed } else { Done::Fine })
    }

    fn query(&self, kind: &'static KindSpec) -> Result<Query, Failure> {
        let mut query = Query::new(kind.kind);
        query.interval = check::interval(kind, None).map_err(usage)?;
        let symbol = self.symbol.as_deref().or_else(|| kind.examples.first().copied());
        if let (Some(symbol), true) = (symbol, kind.batching != Batching::None || self.symbol.is_some()) {
            query = query.symbol(Symbol::new(symbol));
        }
        check::symbol_count(kind, &query).map_err(usage)?;
        Ok(query)
    }

    fn loader<'a>(&self, environment: &'a Environment) -> Loader<'a> {
        let shards = self.shards.as_ref().map_or(1, CpuList::len).max(1);
        // Every shard has its own share of all connections, and a cap of its own on those to the one host.
        let total = (self.connections as usize).next_multiple_of(shards);
        let per_host = self.h2_connections.map_or(total, |count| (count as usize).div_ceil(shards));
        let mut table = format!(
            "[sources.{}]\nbase_url = {}\nin_flight_max = {total}\nshards = {shards}\n",
            self.source,
            toml::Value::from(self.base_url.as_str())
        );
        if let Some(version) = &self.http {
            table.push_str(&format!("http_version = \"{version}\"\n"));
        }
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let flags = [
            ("--connections", "in_flight_max", Some(total.to_string())),
            ("--connections", "http.connections_max", Some(total.to_string())),
            ("--connections", "http.connections_per_host_max", Some(per_host.to_string())),
            ("--shards", "cores.shards", self.shards.as_ref().map(ToString::to_string)),
            ("--sink", "cores.sink", self.sink.as_ref().map(ToString::to_string)),
            ("--ca-file", "tls.ca_file", path(&self.ca_file)),
            ("--data", "data_dir", path(&self.data)),
        ];
        let loader = Loader::new(environment).text("the command line", table);
        flags.into_iter().fold(loader, |loader, (flag, key, value)| match value {
            Some(value) => loader.flag(flag, key, value),
            None => loader,
        })
    }

    fn start(&self, settings: Settings, environment: Environment) -> Result<Engine, Failure> {
        let mut builder = Engine::builder(settings).environment(environment).without_polls().unlimited();
        if self.shards.is_none() {
            builder = builder.one_shard();
        }
        if self.data.is_none() {
            builder = builder.stateless().without_journal();
        }
        if let Some(connections) = self.h2_connections {
            builder = builder.h2_streams_max(self.connections.div_ceil(connections) as usize);
        }
        Ok(builder.start()?)
    }

    /// One shard's part: its share of what is in flight, and of the rate.
    fn part(&self, query: &Query, part: usize, parts: usize) -> LoadPart {
        let all = self.connections as usize;
        let in_flight = (all / parts + usize::from(part < all % parts)).max(1);
        let interval = self.rate.map(|rate| Duration::from_secs_f64(parts as f64 / f64::from(rate)));
        LoadPart { query: query.clone(), in_flight, interval, run_for: self.run_for }
    }
}

/// What a load run did: the keys of a run's summary, and its own.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    summary: Summary,
    load: LoadTotals,
}

/// What only a load run measures.
#[derive(Debug, Serialize)]
struct LoadTotals {
    attempts: u64,
    succeeded: u64,
    failed: u64,
    missed_starts: u64,
    quota_acquisitions: u64,
    breaker_permits: u64,
    decoded_bytes: u64,
    /// On each shard core.
    shard_cpu_us_per_request: Vec<f64>,
    /// How much of its core each shard used.
    shard_cpu_share: Vec<f64>,
    sink_cpu_us_per_request: f64,
    latency: Spread,
    added_latency: Spread,
    resident_bytes: u64,
    resident_bytes_max: u64,
}

/// A distribution in microseconds.
#[derive(Debug, Serialize)]
struct Spread {
    mean_us: f64,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

impl Report {
    fn of(summary: Summary, reports: &[LoadReport], sink: Duration, (resident, most): (u64, u64)) -> Report {
        let sum = |of: fn(&LoadReport) -> u64| reports.iter().map(of).sum::<u64>();
        let per = |cpu: Duration, attempts: u64| micros(cpu.as_nanos() as f64 / attempts.max(1) as f64);
        let attempts = sum(|report| report.attempts);
        let share = |report: &LoadReport| report.cpu.as_secs_f64() / report.elapsed.as_secs_f64().max(1e-9);
        let load = LoadTotals {
            attempts,
            succeeded: sum(|report| report.succeeded),
            failed: sum(|report| report.failed),
            missed_starts: sum(|report| report.missed),
            quota_acquisitions: sum(|report| report.quota_acquisitions),
            breaker_permits: sum(|report| report.breaker_permits),
            decoded_bytes: sum(|report| report.body_bytes),
            shard_cpu_us_per_request: reports.iter().map(|report| per(report.cpu, report.attempts)).collect(),
            shard_cpu_share: reports.iter().map(share).collect(),
            sink_cpu_us_per_request: per(sink, attempts),
            latency: Spread::of(reports.iter().filter_map(|report| report.latencies.as_ref())),
            added_latency: Spread::of(reports.iter().filter_map(|report| report.added.as_ref())),
            resident_bytes: resident,
            resident_bytes_max: most,
        };
        Report { summary, load }
    }

    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let (summary, load) = (&self.summary, &self.load);
        summary.write_table(out)?;
        writeln!(out, "requests/s           {:.0}", summary.requests_per_second)?;
        writeln!(out, "succeeded, failed    {}, {}", load.succeeded, load.failed)?;
        writeln!(out, "starts missed        {}", load.missed_starts)?;
        writeln!(
            out,
            "attempts             {} ({} quota acquisitions, {} breaker permits, {} bytes decoded)",
            load.attempts, load.quota_acquisitions, load.breaker_permits, load.decoded_bytes
        )?;
        for (index, (cpu, share)) in load.shard_cpu_us_per_request.iter().zip(&load.shard_cpu_share).enumerate() {
            writeln!(out, "CPU of shard {index}       {cpu:.2} us a request, {:.0} % of its core", share * 100.0)?;
        }
        writeln!(out, "CPU of the sink      {:.2} us a request", load.sink_cpu_us_per_request)?;
        for (name, spread) in [("latency us  ", &load.latency), ("added us    ", &load.added_latency)] {
            writeln!(
                out,
                "{name}         mean {:.0}  p50 {:.0}  p90 {:.0}  p99 {:.0}  p99.9 {:.0}  max {:.0}",
                spread.mean_us, spread.p50_us, spread.p90_us, spread.p99_us, spread.p999_us, spread.max_us
            )?;
        }
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        writeln!(
            out,
            "memory               {:.1} MiB, at most {:.1} MiB",
            mib(load.resident_bytes),
            mib(load.resident_bytes_max)
        )
    }
}

impl Spread {
    fn of<'a>(parts: impl Iterator<Item = &'a Histogram<u64>>) -> Spread {
        let mut whole: Option<Histogram<u64>> = None;
        for part in parts {
            match &mut whole {
                // Parts have the same bounds, so that every value fits.
                Some(whole) => {
                    let _ = whole.add(part);
                }
                None => whole = Some(part.clone()),
            }
        }
        let at = |quantile: f64| micros(whole.as_ref().map_or(0, |whole| whole.value_at_quantile(quantile)) as f64);
        Spread {
            mean_us: micros(whole.as_ref().map_or(0.0, Histogram::mean)),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: micros(whole.as_ref().map_or(0, Histogram::max) as f64),
        }
    }
}

fn micros(nanos: f64) -> f64 {
    nanos / 1e3
}

/// The name of the sink core's thread.
const SINK: &str = "sink";
const GRACE: Duration = Duration::from_secs(5);
