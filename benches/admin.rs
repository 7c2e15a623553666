//! Whether clients of the admin server can slow the engine: `tidegate load` as fast as one core goes, with the server left
//! alone, with clients that behave (a scrape and a page a second, one reader of the live records), and with clients that
//! do not, in turn, so that what disturbs the machine disturbs all.
//!
//! Those that do not behave: 1,000 connections that say nothing, 100 that send a request byte by byte, malformed requests
//! and oversized headers without pause, `/status` without pause, and a reader of the live records that reads nothing. They
//! run in a process of their own, on the CPU of the simulator and below its priority, so that what they themselves use of the
//! machine is not taken for what the engine does. The simulator and the sink core have CPU 1, the shard CPU 0.
//! Prints medians with least and greatest, and ends with `admin: within 5 %` or by how much not.
//!
//! - `ADMIN_ROUNDS=5` rounds of `ADMIN_SECONDS=3` each.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate::Placement;
use tidegate::sim::{Sim, SimSettings};

const CLIENTS: [&str; 3] = ["none", "behaving", "hostile"];
/// Throughput that any clients may cost.
const COST_MAX: f64 = 0.05;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if let (Some("--clients"), Some(kind), Some(address)) =
        (arguments.next().as_deref(), arguments.next(), arguments.next())
    {
        match address.parse() {
            Ok(address) if kind == "hostile" => hostile(address),
            Ok(address) => behave(address),
            Err(_) => return ExitCode::FAILURE,
        }
        return ExitCode::SUCCESS;
    }
    // `cargo test --benches` and `cargo bench` say who calls; only the latter is a measurement.
    if !std::env::args().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(cost) if cost <= COST_MAX => {
            println!("admin: within 5 %");
            ExitCode::SUCCESS
        }
        Ok(cost) => {
            println!("admin: clients cost {:.1} %, 5 % expected at most", cost * 100.0);
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("admin: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> io::Result<f64> {
    let (rounds, seconds): (usize, u64) = (setting("ADMIN_ROUNDS", 5)?, setting("ADMIN_SECONDS", 3)?);
    let told = |error: tidegate::Error| io::Error::other(error.to_string());
    let listen = ([127, 0, 0, 1], 0).into();
    let sim = Sim::start(SimSettings { listen, placement: Placement::Cpu(1), plain: true, recordings: None });
    let sim = sim.map_err(told)?;
    let urls = sim.base_urls();
    let url = urls.iter().find(|(source, _, _)| *source == "binance").map(|(_, _, url)| url.clone());
    let url = url.ok_or_else(|| io::Error::other("expected binance among the simulator's sources, found it not"))?;
    println!("shard on CPU 0, simulator and sink core on CPU 1, 64 connections, {rounds} x {seconds} s");
    println!(
        "{:>9} {:>9} {:>26} {:>9} {:>9} {:>9} {:>7}",
        "clients", "asked/s", "requests/s", "shard us", "p99 us", "answers", "cost"
    );
    let mut runs: [Vec<Run>; 3] = Default::default();
    // Alternating in both directions: a drift of the machine favours none.
    for round in 0..rounds {
        let order: Vec<usize> = if round % 2 == 0 { vec![0, 1, 2] } else { vec![2, 1, 0] };
        for index in order {
            runs[index].push(Run::execute(&url, CLIENTS[index], seconds)?);
        }
    }
    sim.stop().map_err(told)?;
    let base = median(&runs[0], |run| run.shard_us);
    let mut worst = f64::MIN;
    for (clients, runs) in CLIENTS.iter().zip(&runs) {
        let rates = || runs.iter().map(|run| run.rate);
        // By CPU time per request: the rate also falls by what the clients take of the machine.
        let cost = median(runs, |run| run.shard_us) / base - 1.0;
        worst = worst.max(cost);
        println!(
            "{clients:>9} {:>9.0} {:>8.0} ({:>6.0} to {:>6.0}) {:>9.2} {:>9.0} {:>9.0} {:>6.1}%",
            median(runs, |run| run.asked),
            median(runs, |run| run.rate),
            rates().fold(f64::MAX, f64::min),
            rates().fold(f64::MIN, f64::max),
            median(runs, |run| run.shard_us),
            median(runs, |run| run.p99_us),
            median(runs, |run| run.answers),
            cost * 100.0,
        );
    }
    Ok(worst)
}

/// What one run did.
struct Run {
    rate: f64,
    shard_us: f64,
    p99_us: f64,
    /// Whole answers of `/status` that a client without ill will got meanwhile.
    answers: f64,
    /// Connections and requests a second that the clients made.
    asked: f64,
}

impl Run {
    fn execute(url: &str, clients: &str, seconds: u64) -> io::Result<Run> {
        let report = std::env::temp_dir().join(format!("tidegate-admin-bench-{}.json", std::process::id()));
        // Free a moment ago; that somebody takes it meanwhile ends the bench with an error.
        let admin = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["load", "--source", "binance", "--kind", "ticker", "--symbol", "BTC-USDT", "--base-url", url]);
        command.args(["--shards", "0", "--sink", "1", "--http", "1", "--connections", "64"]);
        command.args(["--for", &format!("{seconds}s"), "--admin", &admin.to_string(), "--json"]).arg(&report);
        let mut engine = command.env("INGESTION_LOG__FILTER", "error").stdout(Stdio::null()).spawn()?;
        let mut others = if clients == "none" { None } else { Some(start_clients(clients, admin)?) };
        let mut answers = 0;
        while engine.try_wait()?.is_none() {
            std::thread::sleep(Duration::from_millis(250));
            answers +=
                u32::from(clients != "none" && ask(admin, "/status").is_some_and(|body| body.contains("uptime_ms")));
        }
        let mut asked = 0.0;
        if let Some(mut others) = others.take() {
            others.kill()?;
            let told = others.wait_with_output()?.stdout;
            let last = String::from_utf8_lossy(&told).lines().last().and_then(|line| line.parse().ok());
            asked = last.ok_or_else(|| io::Error::other("the clients asked for nothing"))?;
        }
        let text = std::fs::read(&report)?;
        std::fs::remove_file(&report)?;
        let report: Value = serde_json::from_slice(&text).map_err(io::Error::other)?;
        let number = |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
        Ok(Run {
            rate: number("/requests_per_second"),
            shard_us: number("/load/shard_cpu_us_per_request/0"),
            p99_us: number("/load/latency/p99_us"),
            answers: f64::from(answers),
            asked: asked / seconds as f64,
        })
    }
}

/// Starts this program anew as clients, on the simulator's CPU and below its priority.
fn start_clients(kind: &str, address: SocketAddr) -> io::Result<Child> {
    let mut command = Command::new("nice");
    command.args(["-n", "5", "taskset", "-c", "1"]).arg(std::env::current_exe()?);
    command.args(["--clients", kind, &address.to_string()]).stdout(Stdio::piped()).spawn()
}

fn behave(address: SocketAddr) {
    std::thread::spawn(move || {
        loop {
            if let Some(mut stream) = send(address, b"GET /records HTTP/1.1\r\nHost: localhost\r\n\r\n") {
                let _ = io::copy(&mut stream, &mut io::sink());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    for round in 0.. {
        ask(address, "/metrics");
        ask(address, "/status");
        println!("{}", 2 * (round + 1));
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn hostile(address: SocketAddr) {
    let mut idle = Vec::new();
    let mut slow: Vec<TcpStream> = Vec::new();
    let mut deaf = send(address, b"GET /records HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    let mut asked = 0_u64;
    loop {
        let round = Instant::now();
        // Those that were ended come again.
        idle.retain(|stream: &TcpStream| !has_ended(stream));
        slow.retain_mut(|stream| stream.write_all(b"G").is_ok());
        while idle.len() < 1_000 && round.elapsed() < Duration::from_millis(100) {
            asked += 1;
            idle.extend(TcpStream::connect(address).ok());
        }
        while slow.len() < 100 && round.elapsed() < Duration::from_millis(150) {
            asked += 1;
            slow.extend(send(address, b"GET /status HTTP/1.1\r\nX: "));
        }
        if deaf.as_ref().is_none_or(has_ended) {
            deaf = send(address, b"GET /records HTTP/1.1\r\nHost: localhost\r\n\r\n");
        }
        while round.elapsed() < Duration::from_millis(250) {
            drop(send(address, b"\x16\x03\x01 nonsense\r\n\r\n"));
            drop(send(address, long.as_bytes()));
            ask(address, "/status");
            asked += 3;
        }
        println!("{asked}");
    }
}

fn send(address: SocketAddr, bytes: &[u8]) -> Option<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.set_write_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(bytes).ok()?;
    Some(stream)
}

fn ask(address: SocketAddr, path: &str) -> Option<String> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut text = String::new();
    send(address, head.as_bytes())?.read_to_string(&mut text).ok()?;
    Some(text)
}

fn has_ended(stream: &TcpStream) -> bool {
    let _ = stream.set_nonblocking(true);
    let read = (&mut &*stream).read(&mut [0; 4096]);
    !matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
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
