//! One source at its worst beside others on the same shard: the others' latencies, from the intended start of each
//! question to its answer at the caller, quiet and while the bad source stalls, floods with bodies of many megabytes, or
//! sends as many that do not decode.
//!
//! The shard has CPU 0; servers, callers and the threads that read big bodies have the others: those of the bad source with
//! the lowest priority, the good caller and its server with a real-time one where that is allowed (by `chrt`), so that what
//! is measured is the shard and not the way to it. The bad source's breaker is set out of reach: it would end the trouble.
//! Prints the p99 of each case beside the quiet one and ends with `isolation: within 2 x` or by how much not.
//!
//! - `ISOLATION_SECONDS=3` of each case, `ISOLATION_ROUNDS=5` of all.

mod common;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::{Answered, Ask, Engine, Environment, Kind, Loader, Pending, Query};

use crate::common::number;

/// The program's own: giving back big bodies is part of what is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CASES: [Case; 4] = [Case::Quiet, Case::Stall, Case::Flood, Case::Garbage];
/// Times the quiet p99 that a p99 may have.
const FACTOR_MAX: f64 = 2.0;
/// Below this a p99 is the machine's noise and no difference.
const NOISE: Duration = Duration::from_micros(500);
const BODY_BYTES: usize = 16 << 20;
/// Questions to the bad source at once.
const BAD_AT_ONCE: usize = 8;
/// Between two questions to a good source: below what its quota allows.
const EVERY: Duration = Duration::from_millis(10);

const PIECE_BYTES: usize = 16 << 10;
const LOWEST: i32 = 19;
const CPUS_MAX: usize = 1_024;

/// How the bad source behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    Flood,
    Garbage,
    Quiet,
    Stall,
}

fn main() -> ExitCode {
    // `cargo test --benches` and `cargo bench` say who calls; only the latter is a measurement.
    if !std::env::args().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(worst) if worst <= FACTOR_MAX => {
            println!("isolation: within 2 x");
            ExitCode::SUCCESS
        }
        Ok(worst) => {
            println!("isolation: a p99 rose {worst:.1} times, 2 times expected at most");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("isolation: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The greatest factor over the cases, of the medians of the rounds.
fn measure() -> io::Result<f64> {
    let seconds = number("ISOLATION_SECONDS", 3)?;
    let rounds = number("ISOLATION_ROUNDS", 5)?;
    let good = serve(Case::Quiet)?;
    let mut runs: [Vec<Row>; 4] = Default::default();
    for _ in 0..rounds {
        for (case, rows) in CASES.into_iter().zip(&mut runs) {
            rows.push(run(case, good, Duration::from_secs(seconds))?);
        }
    }
    println!("{rounds} x {seconds} s a case; medians of the rounds (least to greatest)");
    println!(
        "{:>8} {:>9} {:>7} {:>24} {:>8} {:>8} {:>9}",
        "case", "questions", "p50 us", "p99 us", "max us", "p99 is", "bad MiB/s"
    );
    let quiet = median(&runs[0], |row| row.p99).max(NOISE);
    let mut worst: f64 = 0.0;
    for (case, rows) in CASES.into_iter().zip(&runs) {
        let p99 = median(rows, |row| row.p99);
        let factor = p99.as_secs_f64() / quiet.as_secs_f64();
        if case != Case::Quiet {
            worst = worst.max(factor);
        }
        println!(
            "{:>8} {:>9} {:>7} {:>6} ({:>6} to {:>6}) {:>8} {factor:>6.2} x {:>9.1}",
            format!("{case:?}").to_lowercase(),
            median(rows, |row| row.count),
            median(rows, |row| row.p50).as_micros(),
            p99.as_micros(),
            rows.iter().map(|row| row.p99).min().unwrap_or_default().as_micros(),
            rows.iter().map(|row| row.p99).max().unwrap_or_default().as_micros(),
            median(rows, |row| row.max).as_micros(),
            median(rows, |row| row.bad_bytes) as f64 / f64::from(1 << 20) / seconds as f64,
        );
    }
    Ok(worst)
}

/// What one run of a case measured.
struct Row {
    count: usize,
    p50: Duration,
    p99: Duration,
    max: Duration,
    bad_bytes: u64,
}

fn run(case: Case, good: SocketAddr, length: Duration) -> io::Result<Row> {
    let bad = serve(case)?;
    let text = format!(
        "[cores]\nshards = \"0\"\n[breaker]\nfailures = 1000000\nvolume_min = 1000000000\n\
         [sources.kucoin]\nbase_url = \"http://{bad}\"\n[sources.binance]\nbase_url = \"http://{good}\"\n"
    );
    let environment = Environment::default();
    let settings = Loader::new(&environment).text("isolation.toml", text).load().into_result().map_err(told)?;
    let engine = Engine::builder(settings).stateless().without_polls().one_shard().drain_by_caller().start();
    let engine = engine.map_err(told)?;
    let stop = Instant::now() + length;
    let trouble = (case != Case::Quiet).then(|| {
        let engine = engine.clone();
        std::thread::spawn(move || {
            beside(Some(LOWEST));
            let mut asks: Vec<Pending<Vec<Answered>>> = Vec::new();
            while Instant::now() < stop {
                while asks.len() < BAD_AT_ONCE {
                    asks.push(ask_bad(&engine, stop));
                }
                let _ = asks.remove(0).wait();
            }
            asks.into_iter().for_each(|ask| {
                let _ = ask.wait();
            });
        })
    });
    let asker = engine.clone();
    // A thread of its own: what the main thread starts would have its priority.
    let asked = std::thread::spawn(move || {
        beside(None);
        ahead();
        ask_good(&asker, stop)
    });
    let took = asked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    if let Some(trouble) = trouble {
        let _ = trouble.join();
    }
    let bad_bytes = engine.metrics().sources["kucoin"].bytes_in;
    engine.shutdown(Duration::from_secs(5)).wait().map_err(told)?.map_err(told)?;
    let mut took = took?;
    took.sort();
    let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or_default();
    Ok(Row { count: took.len(), p50: at(50), p99: at(99), max: took.last().copied().unwrap_or_default(), bad_bytes })
}

/// Moves the calling thread off the shard's CPU, where there is another. Threads that it starts stay there.
fn beside(nice: Option<i32>) {
    if let Some(nice) = nice {
        let _ = rustix::process::nice(nice);
    }
    let mut set = rustix::thread::CpuSet::new();
    (1..CPUS_MAX.min(rustix::thread::CpuSet::MAX_CPU)).for_each(|cpu| set.set(cpu));
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// Has the calling thread run before all others on its CPU, where that is allowed. Without, it may wait a slice of some
/// milliseconds for one of the lowest priority, although what it waits for has been done.
fn ahead() {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let mut command = Command::new("chrt");
    let _ = command.args(["--fifo", "--pid", "1", &thread]).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Asks the good source until `stop`; how long each answer took from its intended start.
fn ask_good(engine: &Engine, stop: Instant) -> io::Result<Vec<Duration>> {
    let mut took = Vec::new();
    let mut next = Instant::now() + Duration::from_millis(200);
    while next < stop {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let answer = engine.fetch("binance", Query::new(Kind::Ticker).symbol("BTC-USDT")).wait().map_err(told)?;
        if let Err(judgement) = answer {
            return Err(io::Error::other(format!("a good source was refused: {judgement}")));
        }
        took.push(next.elapsed());
        // What came late is asked late: one question at a time, so that a stall counts for each it delayed.
        next += EVERY;
    }
    Ok(took)
}

fn ask_bad(engine: &Engine, stop: Instant) -> Pending<Vec<Answered>> {
    let deadline = stop.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let query = Query::new(Kind::Trade).symbol("BTC-USDT");
    engine.fetch_batch(vec![Ask { deadline: Some(deadline), attempts_max: Some(1), ..Ask::new("kucoin", query) }])
}

/// A server, one thread a connection: quiet, it is the good one.
fn serve(case: Case) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let body = Arc::new(if case == Case::Quiet {
        include_bytes!("../src/source/samples/binance/ticker_24hr.json").to_vec()
    } else {
        trades(case)?
    });
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let body = body.clone();
            std::thread::spawn(move || {
                beside((case != Case::Quiet).then_some(LOWEST));
                if case == Case::Quiet {
                    ahead();
                }
                let _ = answer(case, stream, &body);
            });
        }
    });
    Ok(address)
}

/// Many megabytes of trades as KuCoin writes them; what does not decode is found out at the very end.
fn trades(case: Case) -> io::Result<Vec<u8>> {
    let mut body = b"{\"code\":\"200000\",\"data\":[".to_vec();
    let mut id = 10_976_028_003_549_185_u64;
    while body.len() < BODY_BYTES {
        let comma = if body.ends_with(b"[") { "" } else { "," };
        write!(
            body,
            "{comma}{{\"sequence\":\"{id}\",\"price\":\"87648.1\",\"size\":\"0.02924\",\"side\":\"sell\",\"time\":{}}}",
            1_767_225_598_120_567_174_u64 + id % 1_000_000
        )?;
        id += 1;
    }
    body.extend_from_slice(if case == Case::Garbage { b"}}" } else { b"]}" });
    Ok(body)
}

fn answer(case: Case, mut stream: TcpStream, body: &[u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    let whole = [head.as_bytes(), body].concat();
    let (mut read, mut step) = (Vec::new(), [0; 4_096]);
    loop {
        let count = stream.read(&mut step)?;
        if count == 0 {
            return Ok(());
        }
        read.extend_from_slice(&step[..count]);
        if read.ends_with(b"\r\n\r\n") && case != Case::Stall {
            read.clear();
            // In pieces: in a system call of many megabytes the kernel lets no other thread have the CPU.
            for piece in whole.chunks(PIECE_BYTES) {
                stream.write_all(piece)?;
            }
        }
    }
}

fn median<T: Ord + Copy>(rows: &[Row], of: impl Fn(&Row) -> T) -> T {
    let mut values: Vec<T> = rows.iter().map(of).collect();
    values.sort();
    values[values.len() / 2]
}

fn told(error: tidegate::Error) -> io::Error {
    io::Error::other(error.to_string())
}
