//! What a core does, what several do, and what the structures they share cost: the figures from which the limit beyond
//! this machine follows.
//!
//! First the engine by `tidegate load`: a closed loop over HTTPS on 1 to n shards, one a CPU from CPU 0 up, journal on,
//! audit log off; the simulator in a process of its own and the sink core are on the last CPU, which on a small machine
//! is a shard's, too. So a rate is not what a core could do; requests per second of a core's CPU time are, and so stand
//! beside it. Then the quota cell and the normalization buffer under 1, 2, 4, 8 and 16 threads, spread over all CPUs but
//! that the buffer's drain is on the last: CPU time per operation, and the distribution of chunks of operations. More
//! threads than CPUs show what preemption costs, not what more cores would.
//! Last what all this predicts for 16 and 64 cores.
//!
//! - `SCALING_SECONDS=3` of each load run, `SCALING_ROUNDS=3` of them; `SCALING_MILLIS=500` of each run of a structure.

mod common;

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use hdrhistogram::Histogram;
use serde_json::Value;
use tidegate::handoff::{BufferSpec, Drain, QuotaCell, QuotaSettings, Woken, buffer};
use tidegate::model::Record;
use tidegate::policy::{WindowShape, WindowSpec};
use tidegate::runtime::{stay_on, thread_cpu_time};
use tidegate::source::SOURCES;
use tidegate::time::Now;

use crate::common::{Folder, number, quote, simulator};

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const THREADS: [usize; 5] = [1, 2, 4, 8, 16];
/// Operations between two looks at the clock.
const CHUNK: usize = 256;
/// Records of one publish: a single answer's, and many at once.
const BATCHES: [usize; 2] = [1, 100];
/// Records that the sink core takes at once.
const DRAIN_MAX: usize = 1_024;
/// Cores that are predicted for.
const CORES: [usize; 2] = [16, 64];
/// Windows that never run out: more than these threads can take while they are as long as this.
const WINDOWS: [(&str, WindowShape, u32, Duration); 3] = [
    ("fixed", WindowShape::Fixed, 16_000_000, Duration::from_millis(100)),
    ("rolling, paced", WindowShape::Rolling, 1_000_000_000, Duration::from_secs(1)),
    ("rolling, counted", WindowShape::Rolling, 4_000_000_000, Duration::from_secs(60)),
];

fn main() -> ExitCode {
    // `cargo test --benches` and `cargo bench` say who calls; only the latter is a measurement.
    if !std::env::args().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scaling: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> io::Result<()> {
    let cpus = tidegate::runtime::allowed_cpus();
    let last = *cpus.last().ok_or_else(|| io::Error::other("expected a CPU, found none"))?;
    let length = Duration::from_millis(number("SCALING_MILLIS", 500)?);
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu_info = text("/proc/cpuinfo");
    let model = cpu_info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    println!(
        "{} CPUs ({}), kernel {}, load average {} at the start",
        cpus.len(),
        model.map_or("unknown", |(_, model)| model),
        text("/proc/sys/kernel/osrelease").trim(),
        text("/proc/loadavg").split(' ').next().unwrap_or_default(),
    );
    let core = shards(&cpus, last)?;
    quotas(&cpus, length);
    let queue = buffers(&cpus, last, length);
    predict(&core, queue);
    Ok(())
}

/// What one core costs, by the runs with one shard.
struct Core {
    /// Requests in a second of a shard core's time.
    requests: f64,
    /// Records in a second of the sink core's time.
    sink_records: f64,
    /// Records that a request brings.
    records: f64,
}

/// One load run.
struct Run {
    rate: f64,
    /// Of all shard cores, by request.
    shard_us: f64,
    shard_share: f64,
    sink_us: f64,
    sink_share: f64,
    p50_us: f64,
    p99_us: f64,
    records: f64,
    delivered: f64,
}

fn shards(cpus: &[usize], last: usize) -> io::Result<Core> {
    let (seconds, rounds) = (number("SCALING_SECONDS", 3)?, number("SCALING_ROUNDS", 3)?);
    let folder = Folder::new("scaling")?;
    let simulator = simulator(&folder.0, last, &[])?;
    println!(
        "\nengine: closed loop, {} sources over HTTPS, {rounds} x {seconds} s; medians (least to greatest)",
        SOURCES.len()
    );
    println!(
        "{:>6} {:>9} {:>10} {:>28} {:>8} {:>9} {:>9} {:>8} {:>8} {:>8}",
        "shards",
        "requests/s",
        "shard us",
        "requests/s of one core",
        "shards %",
        "sink us",
        "sink %",
        "p50 us",
        "p99 us",
        "records"
    );
    let mut first = None;
    for count in 1..=cpus.len() {
        let list = cpus[..count].iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let runs = (0..rounds).map(|_| run(&folder.0, &list, last, seconds)).collect::<io::Result<Vec<_>>>()?;
        let per_core = spread(&runs, |run| 1e6 / run.shard_us);
        println!(
            "{count:>6} {:>10.0} {:>10.2} {:>8.0} ({:>7.0} to {:>7.0}) {:>8.0} {:>9.2} {:>9.0} {:>8.0} {:>8.0} {:>8.2}",
            spread(&runs, |run| run.rate).1,
            spread(&runs, |run| run.shard_us).1,
            per_core.1,
            per_core.0,
            per_core.2,
            spread(&runs, |run| run.shard_share).1 * 100.0,
            spread(&runs, |run| run.sink_us).1,
            spread(&runs, |run| run.sink_share).1 * 100.0,
            spread(&runs, |run| run.p50_us).1,
            spread(&runs, |run| run.p99_us).1,
            spread(&runs, |run| run.records).1,
        );
        first.get_or_insert_with(|| {
            let records = spread(&runs, |run| run.records).1;
            println!(
                "       of the records {:.1} % are delivered, the others dropped as duplicates",
                spread(&runs, |run| run.delivered).1 * 100.0
            );
            Core { requests: per_core.1, sink_records: 1e6 * records / spread(&runs, |run| run.sink_us).1, records }
        });
    }
    drop(simulator);
    first.ok_or_else(|| io::Error::other("expected a run, found none"))
}

fn run(folder: &Path, shards: &str, sink: usize, seconds: u64) -> io::Result<Run> {
    let (data, report) = (folder.join("data"), folder.join("report.json"));
    let _ = fs::remove_dir_all(&data);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["load", "--config", "sim.toml", "--shards", shards, "--sink", &sink.to_string(), "--http", "1"]);
    command.args(["--for", &format!("{}s", seconds + 1), "--warm-up", "1s", "--data", "data", "--json", "report.json"]);
    command.env("INGESTION_AUDIT__LEVEL", "off").env("INGESTION_LOG__FILTER", "error");
    let told = command.current_dir(folder).stdout(Stdio::null()).output()?;
    if !told.status.success() {
        return Err(io::Error::other(format!("the load run failed: {}", String::from_utf8_lossy(&told.stderr))));
    }
    let report: Value = serde_json::from_slice(&fs::read(&report)?).map_err(io::Error::other)?;
    let number = |path: &str| {
        let found = report.pointer(path).and_then(Value::as_f64);
        found.ok_or_else(|| io::Error::other(format!("expected a number at {path} of the report, found none")))
    };
    let sum = |path: &str| {
        let values = report.pointer(path).and_then(Value::as_array).into_iter().flatten();
        values.filter_map(Value::as_f64).sum::<f64>()
    };
    let (attempts, elapsed) = (number("/load/attempts")?, number("/elapsed_ms")? / 1e3);
    let shard_share = sum("/load/shard_cpu_share");
    Ok(Run {
        rate: attempts / elapsed,
        shard_us: shard_share * elapsed * 1e6 / attempts,
        shard_share,
        sink_us: number("/load/sink_cpu_us_per_request")?,
        sink_share: number("/load/sink_cpu_share")?,
        p50_us: number("/load/latency/p50_us")?,
        p99_us: number("/load/latency/p99_us")?,
        records: number("/records/published")? / attempts,
        delivered: number("/records/delivered")? / number("/records/published")?,
    })
}

fn quotas(cpus: &[usize], length: Duration) {
    println!("\nquota cell, one for all threads: grants a second, CPU ns a grant, and ns a grant by chunks of {CHUNK}");
    heading("window");
    for (name, shape, limit, per) in WINDOWS {
        for threads in THREADS {
            let window = WindowSpec { bucket: "", limit, per, shape };
            let cell = QuotaCell::new(vec![window], QuotaSettings::default());
            let start = Arc::new(Barrier::new(threads));
            let workers = (0..threads).map(|index| {
                let (cell, start) = (cell.clone(), start.clone());
                on_cpu(cpus[index % cpus.len()], move || {
                    start.wait();
                    timed(length, || {
                        let now = Now::read();
                        // A thread that was taken off its CPU asks with a time long past, and may be refused.
                        (0..CHUNK).filter(|_| cell.try_acquire(now, "", 1).is_ok()).count()
                    })
                })
            });
            let done = Done::of(workers.collect());
            done.print(name, threads, "");
        }
    }
}

/// The least rate at which it passes single records.
fn buffers(cpus: &[usize], last: usize, length: Duration) -> f64 {
    println!("\nbuffer, default capacity, drained by a thread on CPU {last}: records a second, CPU ns a record of the");
    println!("publishers, ns a record by chunks; last the drain's CPU ns a record, and waits of publishers for room");
    heading("records at once");
    let mut queue = f64::MAX;
    for batch in BATCHES {
        for threads in THREADS {
            let sources = SOURCES.iter().map(|source| source.spec().id).collect();
            let (seed, drain) = buffer(BufferSpec { sources, ..BufferSpec::default() });
            let start = Arc::new(Barrier::new(threads + 1));
            let begin = start.clone();
            let sink = on_cpu(last, move || {
                begin.wait();
                drained(drain)
            });
            let workers: Vec<_> = (0..threads)
                .map(|index| {
                    let (seed, start) = (seed.clone(), start.clone());
                    on_cpu(cpus[index % cpus.len()], move || {
                        let publisher = seed.connect();
                        start.wait();
                        let done = published(&publisher, batch, length);
                        (done, publisher.paused_count())
                    })
                })
                .collect();
            drop(seed);
            let mut paused = 0;
            let parts = workers.into_iter().map(|worker| {
                let (part, waits) = joined(worker);
                paused += waits;
                part
            });
            let done = Done::sum(parts.collect());
            let (count, cpu) = joined(sink);
            assert_eq!(count, done.count, "what was published was not drained");
            let drain_ns = cpu.as_nanos() as f64 / count.max(1) as f64;
            done.print(&batch.to_string(), threads, &format!("{drain_ns:>9.0} {paused:>9}"));
            if batch == 1 {
                queue = done.rate(threads).min(queue);
            }
        }
    }
    queue
}

/// Publishes until the time is over; making the records is not counted.
fn published(publisher: &tidegate::handoff::Publisher, batch: usize, length: Duration) -> Part {
    let mut part = Part::new();
    let until = Instant::now() + length;
    let mut records = Vec::with_capacity(CHUNK * batch);
    let mut answers: Vec<Vec<Record>> = Vec::new();
    while Instant::now() < until {
        // One clock reading for several publishes: it costs as much as a record.
        answers.resize_with((CHUNK / batch).max(1), || vec![quote(); batch]);
        let (at, cpu) = (Instant::now(), thread_cpu_time());
        let count = answers.iter().map(Vec::len).sum::<usize>();
        for mut answer in answers.drain(..) {
            if block_on(publisher.publish(&mut answer)).is_err() {
                return part;
            }
            records.append(&mut answer);
        }
        part.add(count, at.elapsed(), thread_cpu_time().saturating_sub(cpu));
        records.clear();
    }
    part
}

/// Drains until no publisher is left, as the sink core does; gives the records and the CPU time.
fn drained(mut drain: Drain) -> (u64, Duration) {
    let tally = drain.tally();
    let mut out = Vec::with_capacity(DRAIN_MAX);
    let (mut count, cpu) = (0, thread_cpu_time());
    loop {
        let taken = drain.pop_batch(DRAIN_MAX, &mut out);
        out.drain(..).for_each(|record| tally.delivered(&record));
        tally.put_down(taken);
        count += taken as u64;
        if taken == 0 && block_on(drain.wait()) == Woken::Closed {
            return (count, thread_cpu_time().saturating_sub(cpu));
        }
    }
}

/// What the figures come to on larger machines: one sink core, all others shards.
fn predict(core: &Core, queue: f64) {
    println!("\nprediction, each limit alone; one core is the sink core, the others are shards:");
    println!(
        "a shard core makes {:.0} requests/s of {:.2} records, the sink core takes {:.0} records/s, the buffer passes {queue:.0} \
         single records/s",
        core.requests, core.records, core.sink_records
    );
    for cores in CORES {
        let shards = (cores - 1) as f64 * core.requests;
        let (sink, queue) = (core.sink_records / core.records, queue / core.records);
        let least = shards.min(sink).min(queue);
        let limit = if least == shards {
            "the shards"
        } else if least == sink {
            "the sink core"
        } else {
            "the buffer"
        };
        println!(
            "{cores:>3} cores: shards {shards:.0} requests/s, sink core {sink:.0}, buffer {queue:.0}: {limit} at {least:.0}, with {:.0} \
             of {} shards in use",
            (least / core.requests).ceil(),
            cores - 1
        );
    }
}

/// What one thread did.
struct Part {
    count: u64,
    /// Within the operations.
    took: Duration,
    cpu: Duration,
    /// Picoseconds an operation, by chunk.
    chunks: Histogram<u64>,
}

impl Part {
    fn new() -> Self {
        // Three digits, resized as it has to.
        let chunks = Histogram::new(3).unwrap_or_else(|error| panic!("three digits are allowed: {error}"));
        Part { count: 0, took: Duration::ZERO, cpu: Duration::ZERO, chunks }
    }

    fn add(&mut self, count: usize, took: Duration, cpu: Duration) {
        self.count += count as u64;
        self.took += took;
        self.cpu += cpu;
        let each = took.as_nanos() as u64 * 1_000 / count.max(1) as u64;
        // It grows as it has to.
        let _ = self.chunks.record(each);
    }
}

/// What all threads did.
struct Done {
    count: u64,
    took: Duration,
    cpu: Duration,
    chunks: Histogram<u64>,
}

impl Done {
    fn of(workers: Vec<JoinHandle<Part>>) -> Done {
        Done::sum(workers.into_iter().map(joined).collect())
    }

    fn sum(parts: Vec<Part>) -> Done {
        let Part { count, took, cpu, chunks } = Part::new();
        let mut done = Done { count, took, cpu, chunks };
        for part in parts {
            done.count += part.count;
            done.took += part.took;
            done.cpu += part.cpu;
            let _ = done.chunks.add(&part.chunks);
        }
        done
    }

    /// Operations a second of all threads together.
    fn rate(&self, threads: usize) -> f64 {
        (self.count * threads as u64) as f64 / self.took.as_secs_f64()
    }

    fn print(&self, name: &str, threads: usize, more: &str) {
        let at = |quantile: f64| self.chunks.value_at_quantile(quantile) as f64 / 1e3;
        println!(
            "{name:>16} {threads:>7} {:>12.0} {:>8.0} {:>8.0} {:>8.0} {:>8.0} {:>10.0} {more}",
            self.rate(threads),
            self.cpu.as_nanos() as f64 / self.count.max(1) as f64,
            at(0.5),
            at(0.9),
            at(0.99),
            self.chunks.max() as f64 / 1e3,
        );
    }
}

fn heading(what: &str) {
    println!(
        "{what:>16} {:>7} {:>12} {:>8} {:>8} {:>8} {:>8} {:>10}",
        "threads", "a second", "CPU ns", "p50 ns", "p90 ns", "p99 ns", "max ns"
    );
}

/// Does chunks of operations until the time is over.
fn timed(length: Duration, mut chunk: impl FnMut() -> usize) -> Part {
    let mut part = Part::new();
    let (until, cpu) = (Instant::now() + length, thread_cpu_time());
    let mut at = Instant::now();
    while at < until {
        let count = chunk();
        let end = Instant::now();
        part.add(count, end - at, Duration::ZERO);
        at = end;
    }
    part.cpu = thread_cpu_time().saturating_sub(cpu);
    part
}

fn on_cpu<T: Send + 'static>(cpu: usize, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::spawn(move || {
        stay_on(&[cpu]);
        work()
    })
}

fn joined<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Least, median and greatest.
fn spread(runs: &[Run], of: impl Fn(&Run) -> f64) -> (f64, f64, f64) {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2], values[values.len() - 1])
}
