//! `tidegate backfill`: a span comes whole and once, whichever way the provider's pages go; a killed one goes on; what the
//! journal has is not written again; and the provider's limits are kept.

mod common;

use std::collections::BTreeSet;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use common::{Engine, Folder, PATIENCE, simulator};
use serde_json::Value;
use tidegate::sim::{Behavior, Delay, Profile, Quota, Sim};

const FROM: &str = "2025-11-01T00:00:00Z";

#[test]
fn a_span_comes_whole_in_order_and_once() {
    let sim = simulator();
    let folder = Folder::new("backfill-whole");
    configure(&sim, &folder, "");
    let span = |source: &str, kind: &str, symbol: &str, to: &str| {
        let filled = backfill(&folder, &[source, kind, symbol, "--from", FROM, "--to", to]);
        assert!(filled.status.success() && filled.stdout.is_empty(), "{filled:?}");
        told(&filled)
    };
    // Two days of minutes in three pages, two hours of trades by id, the same backwards, and by time.
    let bars = span("binance", "bar", "BTC-USDT", "2025-11-03");
    assert!(bars.contains("2880 records written, 0 were there, 3 pages"), "{bars}");
    let trades = span("binance", "trade", "BTC-USDT", "2025-11-01T02:00:00Z");
    assert!(trades.contains("2400 records written, 0 were there, 4 pages"), "{trades}");
    span("coinbase", "bar", "BTC-USD", "2025-11-01T12:00:00Z");
    span("newsapi", "news", "AAPL", "2025-11-01T04:00:00Z");
    let years = backfill(&folder, &["fred", "observation", "DGS10", "--from", "2020-01-01", "--to", "2025-01-01"]);
    assert!(told(&years).contains("1827 records written"), "{years:?}");
    let records = records(&folder);
    let of = |source: &str, kind: &str| -> Vec<&Value> {
        records.iter().filter(|record| record["source"] == source && record["kind"] == kind).collect()
    };
    for (source, minutes) in [("binance", 2_880), ("coinbase", 720)] {
        let starts: Vec<i64> = of(source, "bar").iter().map(|bar| bar["data"]["start"].as_i64().unwrap()).collect();
        assert_eq!(starts.len(), minutes, "{source}");
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] == 60_000_000_000), "{source}: in order and whole");
    }
    let ids = ids(&records);
    assert_eq!(ids.len(), 2_400);
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "in order and whole");
    let urls: BTreeSet<&str> = of("newsapi", "news").iter().filter_map(|news| news["data"]["url"].as_str()).collect();
    assert_eq!((of("newsapi", "news").len(), urls.len()), (240, 240));
    let last = folder.check_journal();
    // Once more: nothing is asked; and with --again, everything, and nothing is written.
    let again = span("binance", "bar", "BTC-USDT", "2025-11-03");
    assert!(again.contains("already there, 2880 records in 3 pages"), "{again}");
    for (source, kind, symbol, to, there) in [
        ("binance", "bar", "BTC-USDT", "2025-11-03", 2_880),
        ("fred", "observation", "DGS10", "2020-02-01", 31),
        ("newsapi", "news", "AAPL", "2025-11-01T04:00:00Z", 240),
    ] {
        let from = if source == "fred" { "2020-01-01" } else { FROM };
        let again = backfill(&folder, &[source, kind, symbol, "--from", from, "--to", to, "--again"]);
        assert!(told(&again).contains(&format!("0 records written, {there} were there")), "{again:?}");
    }
    // A longer span brings what is missing of it, on both sides.
    let longer = ["binance", "trade", "BTC-USDT", "--from", "2025-10-31T23:00:00Z", "--to", "2025-11-01T03:00:00Z"];
    let filled = backfill(&folder, &longer);
    assert!(told(&filled).contains("2400 records written, 2400 were there"), "{filled:?}");
    let more = self::ids(&self::records(&folder)).into_iter().collect::<BTreeSet<u64>>();
    assert_eq!((more.len(), folder.check_journal()), (4_800, last + 2_400));
    sim.stop().unwrap();
}

#[test]
fn pages_that_go_back_or_by_time_are_whole_within_the_quota() {
    let sim = simulator();
    let folder = Folder::new("backfill-back");
    configure(&sim, &folder, "");
    // As the provider would: more than that is refused, and counted.
    let mut profile = Profile::default();
    let quota = Some(Quota::Provider { scale: 1 });
    for source in ["kraken", "coinbase"] {
        profile.sources.insert(source.to_owned(), Behavior { quota, ..Behavior::default() });
    }
    sim.follow(profile).unwrap();
    let from = tidegate::time::UnixNanos::now().saturating_sub(Duration::from_secs(3 * 3_600)).as_nanos().to_string();
    for (source, step) in [("coinbase", 3), ("kraken", 5)] {
        let filled = backfill(&folder, &[source, "trade", "BTC-USD", "--from", &from]);
        assert!(filled.status.success(), "{filled:?}");
        let records = records(&folder);
        let mut ids = ids(&records.into_iter().filter(|record| record["source"] == source).collect::<Vec<_>>());
        ids.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "{source}: missing or twice");
        assert!(ids.len() >= 3 * 3_600 / step - 2, "{source}: {}", ids.len());
    }
    let counts = sim.counts().unwrap();
    for source in ["kraken", "coinbase"] {
        let limits = &counts[source].limits;
        assert_eq!((limits.limited, limits.banned), (0, 0), "{source}: {limits:?}");
    }
    sim.stop().unwrap();
}

#[test]
fn a_killed_one_goes_on_and_writes_nothing_twice() {
    let sim = simulator();
    let folder = Folder::new("backfill-killed");
    configure(&sim, &folder, "");
    let default = Behavior { latency: Some(Delay::Constant(Duration::from_millis(150))), ..Behavior::default() };
    sim.follow(Profile { default, ..Profile::default() }).unwrap();
    let arguments = ["binance", "trade", "BTC-USDT", "--from", FROM, "--to", "2025-11-01T10:00:00Z"];
    let file = "data/state/backfill/binance_trade_BTC-USDT_1761955200000000000_1761991200000000000.json";
    for pages in [2, 5, 8] {
        let mut command = folder.command(&[&["backfill"], &arguments[..], &COMMON].concat());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let came = || {
            let text = std::fs::read(folder.path(file)).unwrap_or_default();
            let kept: Value = serde_json::from_slice(&text).unwrap_or_default();
            kept["position"]["pages"].as_u64().unwrap_or(0)
        };
        while came() < pages {
            assert!(Instant::now() < deadline, "{pages} pages never came");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        folder.check_journal();
    }
    let ended = backfill(&folder, &arguments);
    assert!(told(&ended).contains("goes on behind page") && told(&ended).contains("14 pages in all"), "{ended:?}");
    let ids = ids(&records(&folder));
    assert_eq!(ids.len(), 12_000);
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "in order, whole, and once");
    folder.check_journal();
    sim.stop().unwrap();
}

#[test]
fn what_cannot_be_done_is_told() {
    let sim = simulator();
    let folder = Folder::new("backfill-refused");
    let polls = "[[sources.binance.polls]]\nkind = \"ticker\"\nsymbols = [\"BTC-USDT\"]\nevery = \"1s\"\n";
    configure(&sim, &folder, polls);
    let check = |arguments: &[&str], status: i32, part: &str| {
        let ended = backfill(&folder, arguments);
        assert_eq!(ended.status.code(), Some(status), "{arguments:?}: {ended:?}");
        assert!(told(&ended).contains(part), "{arguments:?}: {ended:?}");
    };
    check(&["binance", "ticker", "BTC-USDT", "--from", "1d"], 2, "whose past can be asked for (trade, bar)");
    check(&["binance", "trade", "--from", "1d"], 2, "such as BTC-USDT");
    check(&["binance", "trade", "BTC-USDT", "--from", "2025-11-02", "--to", "2025-11-01"], 2, "expected a time before");
    check(&["kraken", "bar", "BTC-USD", "--from", "2020-01-01"], 2, "no further back than");
    let engine = Engine::start(folder.command(&["run", "--config", "t.toml", "--data", "data"]));
    check(&["binance", "trade", "BTC-USDT", "--from", "1d"], 1, &format!("data is in use by process {}", engine.id()));
    let (status, log) = engine.stop();
    assert!(status.success(), "{log}");
    sim.stop().unwrap();
}

const COMMON: [&str; 4] = ["--config", "t.toml", "--data", "data"];

fn backfill(folder: &Folder, arguments: &[&str]) -> Output {
    folder.run(&[&["backfill"], arguments, &COMMON].concat())
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The sources that tests ask; `more` belongs to the last, binance.
fn configure(sim: &Sim, folder: &Folder, more: &str) {
    let mut text = String::new();
    for source in ["coinbase", "fred", "kraken", "newsapi", "binance"] {
        let urls = sim.base_urls().into_iter().filter(|(id, _, _)| *id == source);
        let urls: Vec<String> = urls.map(|(_, base, url)| format!("{base} = \"{url}\"")).collect();
        let urls = urls.join(", ");
        text.push_str(&format!("[sources.{source}]\nsimulated_keys = true\nbase_urls = {{ {urls} }}\n"));
    }
    folder.write("t.toml", &format!("{text}{more}"));
}

fn records(folder: &Folder) -> Vec<Value> {
    let printed = folder.run(&["cat", "--data", "data"]);
    assert!(printed.status.success(), "{printed:?}");
    let text = std::str::from_utf8(&printed.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The ids of trades, in the order of the journal.
fn ids(records: &[Value]) -> Vec<u64> {
    records.iter().filter_map(|record| record["data"]["id"].as_str()?.parse().ok()).collect()
}
