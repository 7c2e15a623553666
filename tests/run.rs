//! The program as a user runs it: the embedded default from start to summary, stopped by a signal, and killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

#[test]
fn the_embedded_default_delivers_from_every_source() {
    let folder = Folder::new("default");
    for _ in 0..2 {
        let ended = folder.run(&["--for", "5s", "--summary", "s.json", "--data", "data"]);
        assert!(ended.status.success(), "{ended:?}");
        let summary = folder.json("s.json");
        assert!(summary["success_rate"].as_f64().unwrap() >= 0.99, "{summary}");
        check_balance(&summary);
        for source in tidegate::source::SOURCES {
            let part = &summary["sources"][source.spec().id.as_str()];
            assert!(part["records"]["published"].as_u64().unwrap() > 0, "{}: {part}", source.spec().id);
        }
    }
    let lines = folder.run(&["cat", "--data", "data"]).stdout;
    let seqs: Vec<u64> = std::str::from_utf8(&lines).unwrap().lines().map(seq).collect();
    assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "the numbers have gaps or repeats");
    assert!(folder.run(&["verify", "--data", "data"]).status.success());
}

#[test]
fn a_signal_ends_the_run_in_order() {
    let folder = Folder::new("signal");
    let child = folder.start(&["--for", "60s", "--summary", "s.json", "--data", "data"]);
    folder.wait_for_records("data");
    signal(&child, "TERM");
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let summary = folder.json("s.json");
    check_balance(&summary);
    let lines = folder.run(&["cat", "--data", "data"]).stdout;
    let count = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
    assert_eq!(Some(count), summary["records"]["delivered"].as_u64());
}

#[test]
fn a_killed_engine_leaves_a_sound_journal_and_no_obstacle() {
    let folder = Folder::new("killed");
    for round in 0..4 {
        let child = folder.start(&["--for", "60s", "--data", "data"]);
        folder.wait_for_records("data");
        if round == 0 {
            let second = folder.run(&["--for", "1s", "--data", "data"]);
            assert_eq!(second.status.code(), Some(1));
            assert!(String::from_utf8_lossy(&second.stderr).contains("in use by process"), "{second:?}");
        }
        signal(&child, "KILL");
        let _ = child.wait_with_output().unwrap();
        let verified = folder.run(&["verify", "--data", "data"]);
        assert!(verified.status.success(), "round {round}: {verified:?}");
    }
}

#[test]
fn what_cannot_work_is_told_in_one_line() {
    let folder = Folder::new("refused");
    let check = |arguments: &[&str], status: i32, part: &str| {
        let ended = folder.run(arguments);
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(status), "{arguments:?}: {told}");
        assert!(told.contains(part) && !told.contains("panicked"), "{arguments:?}: {told}");
    };
    check(&["run", "--config", "none.toml"], 2, "none.toml");
    check(&["--for", "soon"], 2, "duration");
    check(&["--summary", "no/such/folder.json", "--for", "1s"], 1, "no/such/folder.json");
    check(&["fetch", "binance", "ticker"], 2, "expected a symbol such as BTC-USDT");
    check(&["fetch", "binanc", "ticker", "BTC-USDT"], 2, "did you mean binance?");
}

fn check_balance(summary: &Value) {
    let count = |name: &str| summary["records"][name].as_u64().unwrap();
    assert_eq!(count("queued"), 0);
    assert_eq!(count("published"), count("delivered") + count("dropped"), "{summary}");
}

fn seq(line: &str) -> u64 {
    serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap()
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// A fresh folder to run the program in.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("run-{name}"));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments).current_dir(&self.0).stdin(Stdio::null());
        // Other tests run engines beside this one.
        command.env("INGESTION_ADMIN__LISTEN", "127.0.0.1:0");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.0.join(name)).unwrap()).unwrap()
    }

    /// Waits until the running engine has put more records into its journal than there were.
    fn wait_for_records(&self, data: &str) {
        let size = || -> u64 {
            let files = std::fs::read_dir(self.0.join(data).join("journal")).into_iter().flatten().flatten();
            files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
        };
        let (before, deadline) = (size(), Instant::now() + Duration::from_secs(30));
        while size() < before + 10_000 {
            assert!(Instant::now() < deadline, "no records within 30 s");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
