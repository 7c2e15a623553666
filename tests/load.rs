//! `tidegate load` against the embedded simulator: each request passes every station of the path.

use std::process::Command;

use serde_json::Value;
use tidegate::runtime::{Placement, preflight};
use tidegate::sim::{Sim, SimSettings};

#[test]
fn every_request_of_a_load_run_passes_quota_breaker_and_decoder() {
    check("closed", Wire::Plain, &["--connections", "8"]);
    check("open", Wire::Plain, &["--connections", "8", "--rate", "200"]);
    check("http1", Wire::Plain, &["--connections", "3", "--http", "1"]);
    let report = check("tls", Wire::Tls, &["--connections", "3", "--http", "1"]);
    assert_eq!(opened(&report), 3, "{report}");
}

#[test]
fn streams_are_spread_over_the_http2_connections() {
    let report = check("http2", Wire::Tls, &["--connections", "12", "--h2-connections", "3", "--http", "2"]);
    assert_eq!(opened(&report), 3, "{report}");
}

#[test]
fn every_shard_of_a_load_run_takes_its_share() {
    let shards = match tidegate::runtime::allowed_cpus().as_slice() {
        [first, second, ..] => format!("{first},{second}"),
        _ => {
            eprintln!("skipped: expected two CPUs, found one");
            return;
        }
    };
    let report = check("shards", Wire::Tls, &["--connections", "8", "--shards", &shards]);
    let used = report["load"]["shard_cpu_us_per_request"].as_array().unwrap();
    assert_eq!(used.len(), 2, "{report}");
    assert!(used.iter().all(|micros| micros.as_f64().unwrap() > 0.0), "{report}");
}

/// How many connections the source opened.
fn opened(report: &Value) -> u64 {
    report["load"]["connections"].as_u64().unwrap_or_else(|| panic!("connections in {report}"))
}

/// What the server speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wire {
    Plain,
    Tls,
}

fn check(name: &str, wire: Wire, flags: &[&str]) -> Value {
    preflight().unwrap();
    let listen = ([127, 0, 0, 1], 0).into();
    let plain = wire == Wire::Plain;
    let sim = Sim::start(SimSettings { listen, placement: Placement::Unpinned, plain, recordings: None }).unwrap();
    let urls = sim.base_urls();
    let url = &urls.iter().find(|(source, _, _)| *source == "binance").unwrap().2;
    let folder = std::env::temp_dir().join(format!("tidegate-load-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.current_dir(&folder).env_clear().args(["load", "--source", "binance", "--kind", "ticker"]);
    command.args(["--symbol", "BTC-USDT", "--for", "500ms", "--base-url", url, "--json"]).arg(&file).args(flags);
    let authority = sim.ca_pem().map(|pem| (folder.join("ca.pem"), pem));
    if let Some((file, pem)) = &authority {
        std::fs::write(file, pem).unwrap();
        command.arg("--ca-file").arg(file);
    }
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{name}: {}", String::from_utf8_lossy(&ran.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let load = &report["load"];
    let of = |key: &str| load[key].as_u64().unwrap_or_else(|| panic!("{name}: {key} in {report}"));
    let attempts = of("attempts");
    assert!(attempts > 0, "{name}: {report}");
    for key in ["quota_acquisitions", "breaker_permits", "succeeded"] {
        assert_eq!(of(key), attempts, "{name}: {key}");
    }
    assert_eq!(report["requests"], load["attempts"], "{name}");
    assert_eq!(of("failed"), 0, "{name}");
    // A ticker of this simulator has several hundred bytes.
    assert!(of("decoded_bytes") > 100 * attempts, "{name}: {report}");
    let records = |key: &str| report["records"][key].as_u64().unwrap();
    assert_eq!(records("published"), attempts, "{name}");
    assert_eq!(records("delivered") + records("dropped"), attempts, "{name}");
    assert!(of("resident_bytes") > 0 && of("resident_bytes_max") >= of("resident_bytes"), "{name}: {report}");
    let micros = |what: &str, key: &str| load[what][key].as_f64().unwrap();
    assert!(micros("latency", "p50_us") > 0.0 && micros("added_latency", "p50_us") <= micros("latency", "max_us"));
    assert!(load["shard_cpu_us_per_request"][0].as_f64().unwrap() > 0.0, "{name}: {report}");
    if flags.contains(&"--rate") {
        // Half a second at 200 a second; what found nothing free to take it is told and not made up for.
        assert_eq!(attempts + of("missed_starts"), 100, "{name}: {report}");
    }
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let written: Vec<_> = left.iter().filter(|file| *file != "ca.pem").collect();
    assert_eq!(written, ["report.json"], "{name}: nothing else is written without --data");
    sim.stop().unwrap();
    let _ = std::fs::remove_dir_all(&folder);
    report
}

#[test]
fn every_source_of_a_configuration_takes_its_share_of_the_rate() {
    preflight().unwrap();
    let listen = ([127, 0, 0, 1], 0).into();
    let sim =
        Sim::start(SimSettings { listen, placement: Placement::Unpinned, plain: true, recordings: None }).unwrap();
    let folder = std::env::temp_dir().join(format!("tidegate-load-{}-all", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("sim.toml"), sim.toml(None, None).unwrap()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.current_dir(&folder).env_clear();
    command
        .args(["load", "--config", "sim.toml", "--rate", "240", "--for", "1s", "--data", "kept", "--json", "r.json"]);
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(folder.join("r.json")).unwrap()).unwrap();
    let of = |key: &str| report["load"][key].as_u64().unwrap();
    assert_eq!(of("succeeded") + of("failed") + of("missed_starts"), 240, "{report}");
    assert_eq!(of("failed"), 0, "{report}");
    let sources = report["sources"].as_object().unwrap();
    assert_eq!(sources.len(), 24, "{report}");
    for (source, row) in sources {
        // Ten starts each; some sources fetch prerequisites besides.
        assert!(row["requests"].as_u64().is_some_and(|requests| requests > 0), "{source}: {row}");
    }
    assert!(folder.join("kept/journal").is_dir(), "the journal is written where --data says");
    sim.stop().unwrap();
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn a_provider_is_never_put_under_load() {
    let folder = std::env::temp_dir().join(format!("tidegate-load-{}-provider", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(
        folder.join("live.toml"),
        "[sources.binance]\n[[sources.binance.polls]]\nkind = \"ticker\"\nsymbols = [\"BTC-USDT\"]\n",
    )
    .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.current_dir(&folder).env_clear().args(["load", "--config", "live.toml", "--for", "1s"]);
    let ran = command.output().unwrap();
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(
        !ran.status.success() && told.contains("sources.binance") && told.contains("found the provider's"),
        "{told}"
    );
    let _ = std::fs::remove_dir_all(&folder);
}
