//! What the audit log costs: `tidegate load` as fast as one core goes, with the log off, at `requests` and at `bodies`,
//! in turn, so that what disturbs the machine disturbs all. The journal is written in each.
//!
//! The simulator has CPU 1 and the shard CPU 0; the sink core shares CPU 0 with the shard in the first table, so that
//! every instruction of the log is taken from the shard, and has CPU 1 in the second, as a host with more CPUs would.
//! Prints the medians of the rounds with their least and greatest, and ends with `audit: within 5 %` or by how much not.
//!
//! - `AUDIT_ROUNDS=5` rounds of `AUDIT_SECONDS=3` each.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde_json::Value;
use tidegate::Placement;
use tidegate::sim::{Sim, SimSettings};

const LEVELS: [&str; 3] = ["off", "requests", "bodies"];
/// Throughput that level `requests` may cost.
const COST_MAX: f64 = 0.05;
const CONNECTIONS: &str = "64";

fn main() -> ExitCode {
    // `cargo test --benches` and `cargo bench` say who calls; only the latter is a measurement.
    if !std::env::args().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(cost) if cost <= COST_MAX => {
            println!("audit: within 5 %");
            ExitCode::SUCCESS
        }
        Ok(cost) => {
            println!("audit: level requests costs {:.1} %, 5 % expected at most", cost * 100.0);
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("audit: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The greatest cost of level `requests` over both tables.
fn measure() -> io::Result<f64> {
    let rounds: usize = setting("AUDIT_ROUNDS", 5)?;
    let seconds: u64 = setting("AUDIT_SECONDS", 3)?;
    let told = |error: tidegate::Error| io::Error::other(error.to_string());
    let listen = ([127, 0, 0, 1], 0).into();
    let sim = Sim::start(SimSettings { listen, placement: Placement::Cpu(1), plain: true, recordings: None });
    let sim = sim.map_err(told)?;
    let urls = sim.base_urls();
    let url = urls.iter().find(|(source, _, _)| *source == "binance").map(|(_, _, url)| url.clone());
    let url = url.ok_or_else(|| io::Error::other("expected binance among the simulator's sources, found it not"))?;
    let folder = Folder::new()?;
    let mut worst = f64::MIN;
    for sink in ["0", "1"] {
        println!(
            "\nshard on CPU 0, sink core on CPU {sink}, {CONNECTIONS} connections, HTTP/1.1, {rounds} x {seconds} s"
        );
        println!(
            "{:>9} {:>26} {:>9} {:>9} {:>7} {:>10}",
            "level", "requests/s", "shard us", "sink us", "cost", "bytes/line"
        );
        let mut runs: [Vec<Run>; 3] = Default::default();
        // Alternating in both directions: a drift of the machine favours none.
        for round in 0..rounds {
            let order: Vec<usize> = if round % 2 == 0 { vec![0, 1, 2] } else { vec![2, 1, 0] };
            for index in order {
                runs[index].push(Run::execute(&folder.0, &url, LEVELS[index], sink, seconds)?);
            }
        }
        let base = median(&runs[0], |run| run.rate);
        for (level, runs) in LEVELS.iter().zip(&runs) {
            let rates = || runs.iter().map(|run| run.rate);
            let rate = median(runs, |run| run.rate);
            let cost = 1.0 - rate / base;
            if *level == "requests" {
                worst = worst.max(cost);
            }
            println!(
                "{level:>9} {:>8.0} ({:>6.0} to {:>6.0}) {:>9.2} {:>9.2} {:>6.1}% {:>10.1}",
                rate,
                rates().fold(f64::MAX, f64::min),
                rates().fold(f64::MIN, f64::max),
                median(runs, |run| run.shard_us),
                median(runs, |run| run.sink_us),
                cost * 100.0,
                median(runs, |run| run.bytes_per_line),
            );
        }
    }
    sim.stop().map_err(told)?;
    Ok(worst)
}

/// What one run did.
struct Run {
    rate: f64,
    shard_us: f64,
    sink_us: f64,
    bytes_per_line: f64,
}

impl Run {
    fn execute(folder: &Path, url: &str, level: &str, sink: &str, seconds: u64) -> io::Result<Run> {
        let data = folder.join("data");
        let _ = std::fs::remove_dir_all(&data);
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["load", "--source", "binance", "--kind", "ticker", "--symbol", "BTC-USDT", "--base-url", url]);
        command.args(["--shards", "0", "--sink", sink, "--http", "1", "--connections", CONNECTIONS]);
        command.args(["--for", &format!("{seconds}s"), "--data", "data", "--json", "report.json"]);
        command.env("INGESTION_AUDIT__LEVEL", level).env("INGESTION_LOG__FILTER", "error");
        let status = command.current_dir(folder).stdout(Stdio::null()).status()?;
        if !status.success() {
            return Err(io::Error::other(format!("tidegate load ended with {status}")));
        }
        let text = std::fs::read(folder.join("report.json"))?;
        let report: Value = serde_json::from_slice(&text).map_err(io::Error::other)?;
        let number = |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let written = number("/audit/written");
        if level != "off" && written != number("/requests") {
            return Err(io::Error::other(format!("{written} lines of {} requests", number("/requests"))));
        }
        let files = std::fs::read_dir(data.join("audit")).into_iter().flatten().flatten();
        let bytes: u64 =
            files.filter_map(|file| file.metadata().ok()).filter(|meta| meta.is_file()).map(|meta| meta.len()).sum();
        Ok(Run {
            rate: number("/requests_per_second"),
            shard_us: number("/load/shard_cpu_us_per_request/0"),
            sink_us: number("/load/sink_cpu_us_per_request"),
            bytes_per_line: if level == "off" { 0.0 } else { bytes as f64 / written },
        })
    }
}

fn median(runs: &[Run], of: impl Fn(&Run) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> io::Result<T> {
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|_| io::Error::other(format!("{name}: expected a number, found {text:?}"))),
        Err(_) => Ok(default),
    }
}

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("tidegate-audit-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
