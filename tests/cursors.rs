//! Streams are followed from poll to poll and over kills: what was missed meanwhile is refilled, nothing comes twice, and
//! what cannot be refilled is recorded. The simulator's clock is set back and brought forward, so that much is missed in
//! no time.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use common::{Engine, Folder, PATIENCE, simulator};
use serde_json::Value;
use tidegate::sim::{Behavior, Fault, FaultRule, Profile, Sim};

#[test]
fn a_restart_after_a_kill_neither_skips_nor_repeats() {
    let sim = simulator();
    let folder = Folder::new("cursors-kill");
    let polls = |kind: &str, symbol: &str, every: &str| {
        let interval = if kind == "bar" { "interval = \"1m\"\n" } else { "" };
        format!("kind = \"{kind}\"\nsymbols = [\"{symbol}\"]\nevery = \"{every}\"\n{interval}")
    };
    let mut text = String::new();
    for (source, symbol, every) in
        [("binance", "BTC-USDT", "300ms"), ("coinbase", "BTC-USD", "500ms"), ("kraken", "BTC-USD", "4s")]
    {
        text.push_str(&table(&sim, source));
        for kind in ["trade", "bar"] {
            text.push_str(&format!("[[sources.{source}.polls]]\n{}", polls(kind, symbol, every)));
        }
    }
    folder.write("t.toml", &text);
    // The provider lives in the past, a quarter of an hour later after each kill.
    for (round, minutes) in [45, 30, 15, 0].into_iter().enumerate() {
        skew(&sim, -minutes, &[]);
        let before = streams(&folder);
        let engine = Engine::start(folder.command(&["run", "--config", "t.toml", "--data", "data"]));
        until("every stream goes on", || {
            let now = streams(&folder);
            let is_further = |(stream, numbers): (&String, &Vec<u64>)| {
                numbers.iter().max() > before.get(stream).and_then(|numbers| numbers.iter().max())
            };
            now.len() == 6 && now.iter().all(is_further)
        });
        if round == 3 {
            let (status, log) = engine.stop();
            assert!(status.success(), "{log}");
        } else {
            engine.signal("KILL");
            drop(engine);
        }
        folder.check_journal();
        assert!(!folder.path("data/gaps.ndjson").exists(), "{}", gaps(&folder).join("\n"));
    }
    for (stream, numbers) in streams(&folder) {
        let (first, last) = (*numbers.iter().min().unwrap(), *numbers.iter().max().unwrap());
        let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
        assert_eq!(distinct.len(), numbers.len(), "{stream}: a record came twice");
        assert_eq!(last - first + 1, numbers.len() as u64, "{stream}: a record is missing");
        // Three quarters of an hour of it, at one trade in five seconds or one bar a minute.
        assert!(numbers.len() >= if stream.contains("bar") { 45 } else { 500 }, "{stream}: {}", numbers.len());
    }
    sim.stop().unwrap();
}

#[test]
fn a_gap_that_cannot_be_refilled_is_recorded_until_it_can() {
    let sim = simulator();
    let folder = Folder::new("cursors-open");
    trades_of_binance(&sim, &folder, "");
    let before = first_run(&sim, &folder);
    // What is newest is served, and nothing from before.
    skew(&sim, 0, &[FaultRule { path: "/api/v3/historicalTrades".to_owned(), ..FaultRule::always(Fault::Http500) }]);
    let engine = Engine::start(folder.command(&["run", "--config", "t.toml", "--data", "data"]));
    until("the gap is recorded and the newest trades come", || {
        !gaps(&folder).is_empty() && trades(&folder).last().is_some_and(|last| *last > before + 100)
    });
    let line: Value = serde_json::from_str(&gaps(&folder)[0]).unwrap();
    assert_eq!((&line["stream"], &line["state"]), (&"binance trade BTC-USDT".into(), &"open".into()), "{line}");
    assert_eq!(line["from"].as_u64(), Some(before + 1), "{line}");
    let first_after = trades(&folder).into_iter().find(|id| *id > before).unwrap();
    assert_eq!(line["to"].as_u64(), Some(first_after - 1), "{line}");
    assert!(line["reason"].as_str().unwrap().contains("upstream_error"), "{line}");
    // A kill does not make it forgotten.
    engine.signal("KILL");
    drop(engine);
    skew(&sim, 0, &[]);
    let engine = Engine::start(folder.command(&["run", "--config", "t.toml", "--data", "data"]));
    until("the gap is refilled", || gaps(&folder).iter().any(|line| line.contains("\"refilled\"")));
    let (status, log) = engine.stop();
    assert!(status.success(), "{log}");
    assert_whole(&trades(&folder));
    sim.stop().unwrap();
}

#[test]
fn a_gap_beyond_the_bound_is_left_to_a_backfill() {
    let sim = simulator();
    let folder = Folder::new("cursors-lost");
    trades_of_binance(&sim, &folder, "[cursors]\nrefill_rows_max = 100\n");
    let before = first_run(&sim, &folder);
    skew(&sim, 0, &[]);
    let engine = Engine::start(folder.command(&["run", "--config", "t.toml", "--data", "data"]));
    until("the gap is recorded and the newest trades come", || {
        !gaps(&folder).is_empty() && trades(&folder).last().is_some_and(|last| *last > before + 100)
    });
    let (status, log) = engine.stop();
    assert!(status.success(), "{log}");
    let line: Value = serde_json::from_str(&gaps(&folder)[0]).unwrap();
    assert_eq!(line["state"], "lost", "{line}");
    assert!(line["reason"].as_str().unwrap().contains("cursors.refill_rows_max"), "{line}");
    // The backfill of that time brings what is missing and nothing else.
    let (from, to) = (line["after"].to_string(), line["before"].to_string());
    let arguments = [
        "backfill", "binance", "trade", "BTC-USDT", "--from", &from, "--to", &to, "--config", "t.toml", "--data",
        "data",
    ];
    let filled = folder.run(&arguments);
    assert!(filled.status.success(), "{filled:?}");
    assert_whole(&trades(&folder));
    // And the next run finds no gap, nor asks for anything that is there.
    let lines = gaps(&folder).len();
    let last = *trades(&folder).iter().max().unwrap();
    let engine = Engine::start(folder.command(&["run", "--config", "t.toml", "--data", "data"]));
    until("trades go on", || trades(&folder).iter().max() > Some(&last));
    let (status, log) = engine.stop();
    assert!(status.success(), "{log}");
    assert_eq!(gaps(&folder).len(), lines, "{:?}", gaps(&folder));
    assert_whole(&trades(&folder));
    sim.stop().unwrap();
}

/// A run at a time a quarter of an hour ago, to its end; gives the last trade's id.
fn first_run(sim: &Sim, folder: &Folder) -> u64 {
    skew(sim, -15, &[]);
    let engine = Engine::start(folder.command(&["run", "--config", "t.toml", "--data", "data"]));
    until("a trade comes", || !trades(folder).is_empty());
    let (status, log) = engine.stop();
    assert!(status.success(), "{log}");
    *trades(folder).iter().max().unwrap()
}

fn trades_of_binance(sim: &Sim, folder: &Folder, more: &str) {
    let polls = "[[sources.binance.polls]]\nkind = \"trade\"\nsymbols = [\"BTC-USDT\"]\nevery = \"300ms\"\n";
    // What fails is tried again soon.
    let quick = "[retry]\nattempts_max = 1\n[breaker]\nopen_for = \"500ms\"\n";
    folder.write("t.toml", &format!("{more}{quick}{}{polls}", table(sim, "binance")));
}

/// A source's settings, up to its polls.
fn table(sim: &Sim, source: &str) -> String {
    let urls = sim.base_urls().into_iter().filter(|(id, _, _)| *id == source);
    let urls: Vec<String> = urls.map(|(_, base, url)| format!("{base} = \"{url}\"")).collect();
    format!("[sources.{source}]\nsimulated_keys = true\nbase_urls = {{ {} }}\n", urls.join(", "))
}

/// Sets the simulator's clock, and has these faults befall requests, too.
fn skew(sim: &Sim, minutes: i64, faults: &[FaultRule]) {
    let mut rules = faults.to_vec();
    if minutes != 0 {
        rules.push(FaultRule::always(Fault::ClockSkew { by_millis: minutes * 60_000 }));
    }
    let default = Behavior { faults: Some(rules), ..Behavior::default() };
    sim.follow(Profile { default, ..Profile::default() }).unwrap();
}

fn until(what: &str, mut is_met: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_met() {
        assert!(Instant::now() < deadline, "{what}: never");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn gaps(folder: &Folder) -> Vec<String> {
    let text = std::fs::read_to_string(folder.path("data/gaps.ndjson")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The numbers of each stream in the order of the journal: ids of trades, and minutes at which closed bars begin.
fn streams(folder: &Folder) -> BTreeMap<String, Vec<u64>> {
    let mut streams: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    if !folder.path("data/journal").is_dir() {
        return streams;
    }
    let printed = folder.run(&["cat", "--data", "data"]);
    for line in std::str::from_utf8(&printed.stdout).unwrap().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let data = &record["data"];
        let number = match record["kind"].as_str().unwrap() {
            "trade" => data["id"].as_str().unwrap().parse().unwrap(),
            "bar" if data["closed"] == true => data["start"].as_u64().unwrap() / 60_000_000_000,
            _ => continue,
        };
        let stream = format!("{} {}", record["source"].as_str().unwrap(), record["kind"].as_str().unwrap());
        streams.entry(stream).or_default().push(number);
    }
    streams
}

fn trades(folder: &Folder) -> Vec<u64> {
    streams(folder).remove("binance trade").unwrap_or_default()
}

/// Every number from the first to the last, each once.
fn assert_whole(numbers: &[u64]) {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    for pair in sorted.windows(2) {
        assert_eq!(pair[1], pair[0] + 1, "missing or twice");
    }
}
