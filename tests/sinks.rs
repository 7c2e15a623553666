//! Sinks of the whole program: an endpoint that fails, hangs, resets, refuses for good or is down for a whole run holds
//! up nobody, is told in `/status` and `/metrics`, and has every record in the end.

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

use common::{Endpoint, Engine, FINE, Folder, Reply, seq_of, simulator};
use serde_json::Value;

/// Settings of an http sink `db` beside a file sink `lines`.
fn sinks(address: SocketAddr) -> String {
    format!(
        "[[sinks]]\ntype = \"http\"\nname = \"db\"\nurl = \"http://{address}/in\"\nbatch_age = \"50ms\"\n\
         timeout = \"400ms\"\n[[sinks]]\ntype = \"file\"\nname = \"lines\"\npath = \"lines.ndjson\"\n"
    )
}

fn numbers<'a>(texts: impl IntoIterator<Item = &'a str>) -> BTreeSet<u64> {
    texts.into_iter().flat_map(str::lines).filter_map(seq_of).collect()
}

fn taken(came: &Receiver<String>) -> BTreeSet<u64> {
    came.try_iter().flat_map(|body| body.lines().filter_map(seq_of).collect::<Vec<_>>()).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

#[test]
fn an_endpoint_that_fails_hangs_or_resets_lags_alone_and_has_everything_in_the_end() {
    let sim = simulator();
    let folder = Folder::new("sinks-fails");
    let endpoint = Endpoint::down();
    folder.write("t.toml", &(sim.toml(None, None).unwrap() + &sinks(endpoint.address)));
    let mode = Arc::new(Mutex::new(FINE));
    let told = Arc::clone(&mode);
    let came = endpoint.up(move |_| *told.lock().unwrap());
    let engine = Engine::start(folder.command(&["run", "--config", "t.toml", "--data", "data", "--for", "200s"]));
    engine.until("a first batch", |status| number(&status["sinks"][0]["committed_seq"]) > 0);
    for (reply, part) in [
        (Reply::Say(500, "out of memory"), "found 500: out of memory"),
        (Reply::Hang, "deadline: "),
        (Reply::Reset, "reset"),
        (Reply::Say(401, "who are you"), "found 401"),
    ] {
        *mode.lock().unwrap() = reply;
        let before = number(&engine.status()["sinks"][1]["committed_seq"]);
        let status = engine.until(part, |status| {
            let [db, lines] = [&status["sinks"][0], &status["sinks"][1]];
            db["failing"].as_str().is_some_and(|why| why.contains(part))
                && number(&db["lag_records"]) > 0
                && number(&db["lag_bytes"]) > 0
                && number(&db["lag_ms"]) > 0
                && number(&lines["committed_seq"]) > before
        });
        assert_eq!(status["sinks"][1]["failing"], Value::Null);
        for (name, is_so) in [("lag_records", true), ("lag_bytes", true), ("lag_seconds", true), ("up", false)] {
            let value = engine.metric(&format!("tidegate_sink_{name}{{sink=\"db\"}}"));
            assert_eq!(value > 0.0, is_so, "{reply:?}: {name} is {value}");
        }
    }
    *mode.lock().unwrap() = FINE;
    let back = engine.until("recovery", |status| {
        status["sinks"][0]["failing"].is_null()
            && number(&status["sinks"][0]["committed_seq"]) + 50 > number(&status["journal"]["written_seq"])
    });
    assert_eq!((number(&back["sinks"][0]["dead"]), number(&back["sinks"][0]["missing"])), (0, 0));
    assert!(engine.metric("tidegate_sink_up{sink=\"db\"}") > 0.0);
    let (status, log) = engine.stop();
    assert!(status.success(), "{log}");
    // Said once when it begins and once when it is over, however often it is tried.
    assert_eq!(log.matches("the sink takes nothing").count(), 1, "{log}");
    assert_eq!(log.matches("the sink takes records again").count(), 1, "{log}");
    let all: BTreeSet<u64> = (1..=folder.check_journal()).collect();
    assert_eq!(taken(&came), all);
    assert_eq!(numbers([&*std::fs::read_to_string(folder.path("lines.ndjson")).unwrap()]), all);
    sim.stop().unwrap();
}

#[test]
fn what_is_refused_for_good_lies_in_dead_with_the_reason_and_the_rest_goes_on() {
    let sim = simulator();
    let folder = Folder::new("sinks-dead");
    let endpoint = Endpoint::down();
    folder.write("t.toml", &(sim.toml(None, None).unwrap() + &sinks(endpoint.address)));
    let came = endpoint
        .up(|body| if body.contains("\"source\":\"kraken\"") { Reply::Say(422, "no column for kraken") } else { FINE });
    let engine = Engine::start(folder.command(&["run", "--config", "t.toml", "--data", "data", "--for", "200s"]));
    engine.until("dead records", |status| {
        number(&status["sinks"][0]["dead"]) > 3 && number(&status["sinks"][0]["committed_seq"]) > 100
    });
    assert!(engine.metric("tidegate_sink_dead_records_total{sink=\"db\"}") > 3.0);
    let (status, log) = engine.stop();
    assert!(status.success(), "{log}");
    let mut dead = BTreeSet::new();
    for entry in std::fs::read_dir(folder.path("data/dead")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for line in text.lines() {
            let letter: Value = serde_json::from_str(line).unwrap();
            assert_eq!((&letter["sink"], &letter["record"]["source"]), (&"db".into(), &"kraken".into()));
            assert!(letter["reason"].as_str().unwrap().contains("found 422: no column for kraken"), "{letter}");
            assert_eq!(letter["seq"], letter["record"]["seq"]);
            dead.insert(number(&letter["seq"]));
        }
    }
    let taken = taken(&came);
    assert!(taken.is_disjoint(&dead));
    let all: BTreeSet<u64> = (1..=folder.check_journal()).collect();
    assert_eq!(&taken | &dead, all);
    sim.stop().unwrap();
}

#[test]
fn an_endpoint_that_is_down_for_a_whole_run_has_everything_after_the_next() {
    let sim = simulator();
    let folder = Folder::new("sinks-down");
    let endpoint = Endpoint::down();
    folder.write("t.toml", &(sim.toml(None, None).unwrap() + &sinks(endpoint.address)));
    let arguments = ["run", "--config", "t.toml", "--data", "data", "--for", "200s"];
    let engine = Engine::start(folder.command(&arguments));
    engine.until("a lag", |status| {
        status["sinks"][0]["failing"].as_str().is_some_and(|why| why.contains("connect_refused"))
            && number(&status["sinks"][0]["lag_records"]) > 100
            && number(&status["sinks"][1]["committed_seq"]) > 100
    });
    let (status, log) = engine.stop();
    assert!(status.success(), "{log}");
    let first_run = folder.check_journal();
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let came = endpoint.up(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        FINE
    });
    let engine = Engine::start(folder.command(&arguments));
    engine.until("what it had missed", |status| number(&status["sinks"][0]["committed_seq"]) > first_run);
    let (status, log) = engine.stop();
    assert!(status.success(), "{log}");
    assert!(requests.load(Ordering::Relaxed) > 0);
    let all: BTreeSet<u64> = (1..=folder.check_journal()).collect();
    assert!(all.len() as u64 > first_run);
    assert_eq!(taken(&came), all);
    sim.stop().unwrap();
}
