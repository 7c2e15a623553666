//! The audit log as a user meets it: one line for each attempt, whatever ended the run; ids that join it to the records;
//! no secrets.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate::{Behavior, Engine, Environment, Fault, FaultRule, Force, Loader, Placement, Profile, Sim, SimSettings};

#[test]
fn a_run_has_one_line_for_each_attempt() {
    let folder = Folder::new("whole");
    for round in 1..=2 {
        let ended = folder.run(&["--for", "4s", "--summary", "s.json", "--data", "data"], &[]);
        assert!(ended.status.success(), "{ended:?}");
        let summary = folder.json("s.json");
        let lines = folder.lines(&["audit", "--data", "data"]);
        let requests = summary["requests"].as_u64().unwrap();
        assert_eq!(summary["audit"]["written"], requests, "{summary}");
        assert_eq!((summary["audit"]["dropped"].as_u64(), summary["cancelled"].as_u64()), (Some(0), Some(0)));
        if round == 1 {
            assert_eq!(lines.len() as u64, requests);
            check_join(&folder, &lines);
            check_filters(&folder, &lines, &summary);
        } else {
            let ids: BTreeSet<u64> = lines.iter().map(|line| line["attempt"].as_u64().unwrap()).collect();
            assert_eq!(ids.len(), lines.len(), "an id was given twice");
        }
        // Prerequisites are attempts like any other.
        assert!(lines.iter().any(|line| line["url"].as_str().unwrap().contains("company_tickers")), "no prerequisite");
    }
    let actions = folder.lines(&["audit", "--data", "data", "--actions"]);
    let events: Vec<&str> = actions.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["configuration", "start", "stop", "stopped"].repeat(2));
    assert!(folder.run(&["verify", "--data", "data", "--audit"], &[]).status.success());
}

/// Every record names an attempt of the log that brought records of its source.
fn check_join(folder: &Folder, lines: &[Value]) {
    let attempts: BTreeSet<(u64, String)> = lines
        .iter()
        .filter(|line| line["verdict"] == "ok")
        .map(|line| (line["attempt"].as_u64().unwrap(), line["source"].as_str().unwrap().to_owned()))
        .collect();
    let records = folder.lines(&["cat", "--data", "data"]);
    assert!(records.len() > 50);
    for record in records {
        let attempt = (record["attempt"].as_u64().unwrap(), record["source"].as_str().unwrap().to_owned());
        assert!(attempts.contains(&attempt), "{record}");
    }
}

fn check_filters(folder: &Folder, lines: &[Value], summary: &Value) {
    let count = |arguments: &[&str]| {
        let mut all = vec!["audit", "--data", "data"];
        all.extend(arguments);
        folder.lines(&all).len() as u64
    };
    let of = |source: &str| summary["sources"][source]["requests"].as_u64().unwrap();
    assert_eq!(count(&["--source", "kraken,binance"]), of("kraken") + of("binance"));
    assert_eq!(count(&["--verdict", "ok"]), summary["success"].as_u64().unwrap());
    assert_eq!(count(&["--since", "1h"]), lines.len() as u64);
    assert_eq!(count(&["--until", "1h"]), 0);
    assert_eq!(count(&["--attempt", &lines[0]["attempt"].to_string()]), 1);
    let wrong = folder.run(&["audit", "--verdict", "fine"], &[]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn a_signal_loses_no_line() {
    let folder = Folder::new("signal");
    let child = folder.start(&["--for", "60s", "--summary", "s.json", "--data", "data"]);
    folder.wait_for_audit();
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let summary = folder.json("s.json");
    let attempts = summary["requests"].as_u64().unwrap() + summary["cancelled"].as_u64().unwrap();
    assert_eq!(folder.lines(&["audit", "--data", "data"]).len() as u64, attempts);
}

#[test]
fn a_kill_leaves_whole_lines_and_is_repaired() {
    let folder = Folder::new("killed");
    let child = folder.start(&["--for", "60s", "--data", "data"]);
    folder.wait_for_audit();
    assert!(Command::new("kill").args(["-KILL", &child.id().to_string()]).status().unwrap().success());
    let _ = child.wait_with_output().unwrap();
    let before = folder.lines(&["audit", "--data", "data"]).len() as u64;
    // What a kill can leave at worst: the beginning of a frame.
    let mut segments = folder.segments();
    let last = segments.pop().unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    let frame = bytes.windows(4).position(|four| four == [0x28, 0xb5, 0x2f, 0xfd]).unwrap();
    bytes.extend_from_within(frame..frame + 40);
    std::fs::write(&last, &bytes).unwrap();
    assert_eq!(folder.lines(&["audit", "--data", "data"]).len() as u64, before);
    let ended = folder.run(&["--for", "1s", "--summary", "s.json", "--data", "data"], &[]);
    assert!(String::from_utf8_lossy(&ended.stderr).contains("the audit log's end was repaired"), "{ended:?}");
    let requests = folder.json("s.json")["requests"].as_u64().unwrap();
    assert_eq!(folder.lines(&["audit", "--data", "data"]).len() as u64, before + requests);
    assert!(folder.run(&["verify", "--data", "data", "--audit"], &[]).status.success());
}

#[test]
fn bodies_are_kept_on_request_without_secrets() {
    let folder = Folder::new("bodies");
    let level = [("INGESTION_AUDIT__LEVEL", "bodies"), ("INGESTION_AUDIT__BODY_BYTES_MAX", "300B")];
    let mut command = folder.command(&["--for", "60s", "--data", "data"]);
    let mut child = command.envs(level).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Yahoo lets one request pass a second, and its polls come in no fixed order.
    let is_crumb = |line: &Value| line["url"].as_str().unwrap().contains("getcrumb");
    folder.wait_until(|| {
        !folder.segments().is_empty() && folder.lines(&["audit", "--data", "data"]).iter().any(is_crumb)
    });
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    let lines = folder.lines(&["audit", "--data", "data"]);
    let bodies: Vec<&str> = lines.iter().filter_map(|line| line["answer_body"].as_str()).collect();
    assert!(bodies.len() > 20 && bodies.iter().all(|body| body.len() <= 300));
    let text = String::from_utf8(folder.run(&["audit", "--data", "data"], &[]).stdout).unwrap();
    for source in tidegate::source::SOURCES {
        for credential in source.spec().credentials {
            let secret = credential.simulated;
            assert!(secret.len() < 4 || !text.contains(secret), "{} stands in the log", credential.variable);
        }
    }
    // The answer of this prerequisite is nothing but a secret.
    let crumb = lines.iter().find(|line| is_crumb(line)).unwrap();
    assert_eq!(crumb["answer_body"], "***");
}

#[test]
fn what_a_breaker_does_by_itself_is_an_action() {
    let folder = Folder::new("breaker");
    let listen = ([127, 0, 0, 1], 0).into();
    let sim =
        Sim::start(SimSettings { listen, placement: Placement::Unpinned, plain: true, recordings: None }).unwrap();
    let url = sim.base_urls().into_iter().find(|(id, ..)| *id == "binance").unwrap().2;
    let faults = Some(vec![FaultRule::always(Fault::named("http_500").unwrap())]);
    let default = Behavior { faults, ..Behavior::default() };
    sim.follow(Profile { default, ..Profile::default() }).unwrap();
    let text = format!(
        "data_dir = {:?}\n[breaker]\nfailures = 2\nopen_for = \"1s\"\n[sources.binance]\nbase_url = \"{url}\"\n\
         [[sources.binance.polls]]\nkind = \"ticker\"\nsymbols = [\"BTC-USDT\"]\nevery = \"100ms\"\n",
        folder.0.join("data")
    );
    let environment = Environment::default();
    let settings = Loader::new(&environment).text("breaker.toml", text).load().into_result().unwrap();
    let engine = Engine::builder(settings).one_shard().start().unwrap();
    let entered = |state: &str| {
        let snapshot = engine.metrics();
        snapshot.sources["binance"].breaker_transitions.get(state).copied().unwrap_or_default()
    };
    folder.wait_until(|| entered("open") >= 2);
    sim.follow(Profile::default()).unwrap();
    folder.wait_until(|| entered("closed") >= 1);
    engine.force_breaker("binance", Force::Disable).unwrap();
    folder.wait_until(|| entered("disabled") >= 1);
    engine.shutdown(Duration::from_secs(5)).wait().unwrap().unwrap();
    sim.stop().unwrap();

    let actions = folder.lines(&["audit", "--data", "data", "--actions"]);
    let told = |line: &Value| {
        let word = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            (word("source"), word("host"), word("shard")),
            ("binance".into(), "binance.localhost".into(), "0".into())
        );
        assert!(line["ts"].as_i64().unwrap() > 0, "{line}");
        [word("from"), word("to"), word("reason")]
    };
    let changes: Vec<_> = actions.iter().filter(|line| line["event"] == "breaker").map(told).collect();
    assert_eq!(changes[0], ["closed", "open", "consecutive_failures"]);
    assert_eq!(changes[1], ["open", "half_open", "open_for_is_over"]);
    assert_eq!(changes[2], ["half_open", "open", "probe_failed"]);
    assert_eq!(changes.last().unwrap()[..2], ["half_open", "closed"]);
    assert!(changes.windows(2).all(|pair| pair[0][1] == pair[1][0]), "a step is missing: {changes:?}");
    // The operator's act is told once, as what it is.
    let forced: Vec<_> = actions.iter().filter(|line| line["event"] == "breaker_forced").collect();
    assert_eq!(forced.len(), 1, "{actions:?}");
    assert_eq!(forced[0]["force"], "disabled");
}

#[test]
fn off_is_off() {
    let folder = Folder::new("off");
    let off = [("INGESTION_AUDIT__LEVEL", "off")];
    assert!(folder.run(&["--for", "1s", "--summary", "s.json", "--data", "data"], &off).status.success());
    assert!(folder.json("s.json").get("audit").is_none());
    assert!(!folder.0.join("data/audit").exists());
    let told = folder.run(&["audit", "--data", "data"], &[]);
    assert_eq!(told.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&told.stderr).contains("data/audit"), "{told:?}");
}

/// A fresh folder to run the program in.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("audit-{name}"));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments).current_dir(&self.0).env_clear().stdin(Stdio::null());
        // Other tests run engines beside this one.
        command.env("INGESTION_ADMIN__LISTEN", "127.0.0.1:0");
        command
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        self.command(arguments).envs(variables.iter().copied()).output().unwrap()
    }

    fn start(&self, arguments: &[&str]) -> std::process::Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.0.join(name)).unwrap()).unwrap()
    }

    fn lines(&self, arguments: &[&str]) -> Vec<Value> {
        let ended = self.run(arguments, &[]);
        assert!(ended.status.success(), "{ended:?}");
        let text = String::from_utf8(ended.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn segments(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.0.join("data/audit")).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
        paths.sort();
        paths
    }

    /// Waits until the running engine has written some lines.
    fn wait_for_audit(&self) {
        let size =
            || self.segments().iter().filter_map(|path| path.metadata().ok()).map(|meta| meta.len()).sum::<u64>();
        self.wait_until(|| size() > 4_000);
    }

    fn wait_until(&self, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(45);
        while !is_so() {
            assert!(Instant::now() < deadline, "not in the audit log within 45 s");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
