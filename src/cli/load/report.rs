//! The report of a load run: the keys of a run's summary, and what only a load run measures.

use std::io::Write;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::cli::summary::Summary;
use crate::shard::LoadReport;

/// What a load run did: the keys of a run's summary, and its own.
#[derive(Debug, Serialize)]
pub(super) struct Report {
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
    sink_cpu_share: f64,
    latency: Spread,
    /// The same by third of the time, so that a drift can be seen.
    latency_by_third: Vec<Spread>,
    added_latency: Spread,
    /// Connections opened over the run.
    connections: u64,
    resident_bytes: u64,
    resident_bytes_max: u64,
}

/// A distribution in microseconds.
#[derive(Debug, Serialize)]
struct Spread {
    mean_us: f64,
    p50_us: f64,
    p90_us: f64,
    p95_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

impl Report {
    /// Puts a report together from those of every source and shard, with the number of the shard, and the CPU time of
    /// each shard core and last of the sink core.
    pub(super) fn of(
        summary: Summary,
        reports: &[(usize, LoadReport)],
        cpu: &[Duration],
        connections: u64,
        (resident, most): (u64, u64),
    ) -> Report {
        let sum = |of: fn(&LoadReport) -> u64| reports.iter().map(|(_, report)| of(report)).sum::<u64>();
        let per = |cpu: Duration, attempts: u64| micros(cpu.as_nanos() as f64 / attempts.max(1) as f64);
        let attempts = sum(|report| report.attempts);
        let attempts_of = |shard: usize| {
            reports.iter().filter(|(index, _)| *index == shard).map(|(_, report)| report.attempts).sum::<u64>()
        };
        let elapsed = reports.iter().map(|(_, report)| report.elapsed).max().unwrap_or_default();
        let share = |cpu: &Duration| cpu.as_secs_f64() / elapsed.as_secs_f64().max(1e-9);
        let (sink, shards) = cpu.split_last().map_or((Duration::ZERO, &[][..]), |(sink, shards)| (*sink, shards));
        let load = LoadTotals {
            attempts,
            succeeded: sum(|report| report.succeeded),
            failed: sum(|report| report.failed),
            missed_starts: sum(|report| report.missed),
            quota_acquisitions: sum(|report| report.quota_acquisitions),
            breaker_permits: sum(|report| report.breaker_permits),
            decoded_bytes: sum(|report| report.body_bytes),
            shard_cpu_us_per_request: {
                shards.iter().enumerate().map(|(index, cpu)| per(*cpu, attempts_of(index))).collect()
            },
            shard_cpu_share: shards.iter().map(share).collect(),
            sink_cpu_us_per_request: per(sink, attempts),
            sink_cpu_share: share(&sink),
            latency: Spread::of(reports.iter().flat_map(|(_, report)| report.latencies.iter().flatten())),
            latency_by_third: (0..3)
                .map(|third| Spread::of(reports.iter().filter_map(|(_, report)| report.latencies[third].as_ref())))
                .collect(),
            added_latency: Spread::of(reports.iter().filter_map(|(_, report)| report.added.as_ref())),
            connections,
            resident_bytes: resident,
            resident_bytes_max: most,
        };
        Report { summary, load }
    }

    /// Whether any fetch brought records.
    pub(super) fn has_success(&self) -> bool {
        self.load.succeeded > 0
    }

    /// Prints it for a reader.
    pub(super) fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
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
                "{name}         mean {:.0}  p50 {:.0}  p90 {:.0}  p95 {:.0}  p99 {:.0}  p99.9 {:.0}  max {:.0}",
                spread.mean_us,
                spread.p50_us,
                spread.p90_us,
                spread.p95_us,
                spread.p99_us,
                spread.p999_us,
                spread.max_us
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
            p95_us: at(0.95),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: micros(whole.as_ref().map_or(0, Histogram::max) as f64),
        }
    }
}

fn micros(nanos: f64) -> f64 {
    nanos / 1e3
}
