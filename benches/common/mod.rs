//! What several benches need: the simulator in a process of its own, a folder, a record, and settings from the environment.
#![allow(dead_code, reason = "each bench uses a part")]

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tidegate::model::{Data, Dec, Native, Quote, Record, Symbol};
use tidegate::source::SOURCES;
use tidegate::time::UnixNanos;

/// A process that does not outlive the bench.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the simulator on a CPU, over HTTPS; the configuration that asks it is then in `sim.toml`.
pub fn simulator(folder: &Path, cpu: usize, flags: &[&str]) -> io::Result<Ended> {
    let (config, told) = (folder.join("sim.toml"), folder.join("sim.log"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["sim", "--listen", "127.0.0.1:0", "--cpu", &cpu.to_string(), "--data", "sim"]).args(flags);
    command.current_dir(folder).stdout(File::create(&config)?).stderr(File::create(&told)?);
    let mut simulator = Ended(command.spawn()?);
    let until = Instant::now() + Duration::from_secs(30);
    // The line comes after the whole configuration has been written.
    while !fs::read_to_string(&told)?.contains("listens on") {
        if simulator.0.try_wait()?.is_some() || Instant::now() > until {
            return Err(io::Error::other(format!("the simulator did not start: {}", fs::read_to_string(&told)?)));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(simulator)
}

/// A folder of its own, removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(bench: &str) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("tidegate-{bench}-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A small record.
pub fn quote() -> Record {
    let price = Some(Dec::default());
    Record {
        seq: 0,
        source: SOURCES[0].spec().id,
        symbol: Some(Symbol::new("BTC-USDT")),
        native: Some(Native::new("BTCUSDT")),
        ts_event: None,
        ts_recv: UnixNanos::from_nanos(1),
        ts_publish: UnixNanos::EPOCH,
        attempt: 0,
        data: Data::Quote(Quote { bid: price, ask: price, ..Quote::default() }),
    }
}

/// A number from 1 on from the environment.
pub fn number(name: &str, default: u64) -> io::Result<u64> {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .ok()
            .filter(|count| *count > 0)
            .ok_or_else(|| io::Error::other(format!("{name}: expected a number from 1, found {text:?}"))),
        Err(_) => Ok(default),
    }
}
