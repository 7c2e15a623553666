//! The program as its users meet it: output, exit statuses, and what it says when something is wrong. No network.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A folder of its own to run in, without anyone's `.env`.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-cli-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments).current_dir(&self.0).env_clear();
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).stdin(Stdio::null()).output().unwrap())
    }

    fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        Ran::of(self.command(arguments).envs(variables.iter().copied()).stdin(Stdio::null()).output().unwrap())
    }

    fn run_on(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Ran::of(child.wait_with_output().unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[derive(Debug)]
struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { status: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{self:?}"))).collect()
    }
}

fn sample(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/source/samples/binance").join(name);
    std::fs::read_to_string(path).unwrap()
}

const TICKER: &str = r#"{"symbol":"BTCUSDT","lastPrice":"70123.4500","closeTime":1730000000123}"#;

#[test]
fn decode_prints_records_and_nothing_else() {
    let folder = Folder::new("records");
    folder.write("ticker.json", TICKER);
    let expected = |symbol: &str| {
        format!(
            "{{\"source\":\"binance\",\"kind\":\"ticker\",{symbol}\"native\":\"BTCUSDT\",\
             \"ts_event\":1730000000123000000,\"data\":{{\"last\":\"70123.4500\"}}}}\n"
        )
    };
    let by_file = folder.run(&["decode", "binance", "ticker", "ticker.json"]);
    assert_eq!((by_file.status, by_file.out.as_str(), by_file.err.as_str()), (0, expected("").as_str(), ""));
    let by_pipe = folder.run_on(&["decode", "binance", "ticker", "--symbol", "BTC-USDT"], TICKER);
    assert_eq!((by_pipe.status, by_pipe.out.as_str()), (0, expected("\"symbol\":\"BTC-USDT\",").as_str()));
}

#[test]
fn decode_knows_only_what_body_and_flags_tell() {
    let folder = Folder::new("flags");
    let bare = folder.run_on(&["decode", "binance", "trade"], &sample("trades.json"));
    assert_eq!(bare.status, 0, "{bare:?}");
    assert!(!bare.json().is_empty() && bare.json().iter().all(|record| record.get("symbol").is_none()));
    let told = folder.run_on(&["decode", "binance", "trade", "--symbol", "ETH-USDT"], &sample("trades.json"));
    assert!(told.json().iter().all(|record| record["symbol"] == "ETH-USDT" && record["native"] == "ETHUSDT"));
    // The body tells the length by its times, whatever the flag says.
    let bars = folder.run_on(&["decode", "binance", "bar", "--interval", "1h"], &sample("klines.json"));
    assert!(!bars.json().is_empty() && bars.json().iter().all(|record| record["data"]["interval"] == "1m"));
    // Another instrument in the answer than in the flag is no error.
    let other = folder.run_on(&["decode", "binance", "ticker", "--symbol", "ETH-USDT"], TICKER);
    assert_eq!((other.status, other.json()[0]["native"].as_str()), (0, Some("BTCUSDT")));
}

#[test]
fn decode_prints_the_verdict_line() {
    let folder = Folder::new("verdicts");
    let check = |flags: &[&str], body: &str, expected: &str| {
        let mut arguments = vec!["decode", "binance", "ticker"];
        arguments.extend(flags);
        let ran = folder.run_on(&arguments, body);
        assert_eq!((ran.status, ran.out.as_str(), ran.err.as_str()), (3, format!("{expected}\n").as_str(), ""));
    };
    check(
        &["--status", "429", "--header", "Retry-After: 7"],
        r#"{"code":-1003,"msg":"Too much request weight used."}"#,
        r#"{"verdict":"rate_limited","retry_after_ms":7000,"message":"Too much request weight used.","reason":"weight_used_up"}"#,
    );
    check(
        &["--status", "400"],
        r#"{"code":-1121,"msg":"Invalid symbol."}"#,
        r#"{"verdict":"not_found","message":"Invalid symbol.","reason":"symbol_unknown"}"#,
    );
    check(
        &["--status", "418"],
        r#"{"code":-1003,"msg":"Way too much request weight used; IP banned until 1787546698129."}"#,
        concat!(
            r#"{"verdict":"banned","banned_until":1787546698129000000,"#,
            r#""message":"Way too much request weight used; IP banned until 1787546698129.","reason":"http_418"}"#
        ),
    );
    check(&[], "", r#"{"verdict":"malformed","message":"expected a body, found none","reason":"empty_body"}"#);
    let cut = folder.run_on(&["decode", "binance", "ticker"], &TICKER[..TICKER.len() - 5]);
    assert_eq!((cut.status, cut.json()[0]["verdict"].as_str()), (3, Some("malformed")));
}

#[test]
fn wrong_usage_ends_with_status_2() {
    let folder = Folder::new("usage");
    let check = |arguments: &[&str], part: &str| {
        let ran = folder.run(arguments);
        assert!(ran.status == 2 && ran.out.is_empty() && ran.err.contains(part), "{arguments:?}: {ran:?}");
    };
    check(&["decode", "binanse", "ticker"], "did you mean binance?");
    check(&["decode", "binance", "tikcer"], "did you mean ticker?");
    check(&["decode", "binance", "news"], "expected a kind that binance serves");
    check(&["decode", "binance", "bar", "--interval", "7x"], "expected an interval");
    check(&["decode", "binance", "bar", "--status", "99"], "99");
    check(&["decode", "binance", "bar", "--header", "nothing"], "expected a header");
    check(&["decode"], "Usage");
    check(&["dekode"], "decode");
    check(&["check", "--config", "missing.toml"], "missing.toml: expected a configuration file");
    let missing = folder.run(&["decode", "binance", "bar", "missing.json"]);
    assert!(missing.status == 1 && missing.err.contains("cannot read missing.json"), "{missing:?}");
    for arguments in [["--help"], ["--version"]] {
        let ran = folder.run(&arguments);
        assert!(ran.status == 0 && !ran.out.is_empty() && ran.err.is_empty(), "{ran:?}");
    }
}

#[test]
fn sources_tell_of_keys_and_never_show_them() {
    let folder = Folder::new("sources");
    folder.write("secret", "hunter3\n");
    let variables = [("BINANCE_API_KEY", "hunter2"), ("BINANCE_API_SECRET_FILE", "secret")];
    let table = folder.run_with(&["sources"], &variables);
    assert!(table.out.contains("BINANCE_API_KEY (set), BINANCE_API_SECRET (set)"), "{table:?}");
    assert!(!table.out.contains("hunter") && !table.err.contains("hunter"), "{table:?}");
    let list: Value = serde_json::from_str(&folder.run_with(&["sources", "--json"], &variables[..1]).out).unwrap();
    let row = list.as_array().unwrap().iter().find(|row| row["id"] == "binance").unwrap();
    assert_eq!(row["keys"][0]["variable"], "BINANCE_API_KEY");
    assert_eq!((&row["keys"][0]["set"], &row["keys"][1]["set"]), (&Value::Bool(true), &Value::Bool(false)));
    assert_eq!(row["quota"]["tiers"][0]["windows"][0]["limit"], 6_000);
    assert!(row["kinds"].as_array().unwrap().iter().any(|kind| kind["kind"] == "balance" && kind["key"] == "required"));
    let missing = folder.run_with(&["sources"], &[("BINANCE_API_KEY_FILE", "nowhere")]);
    assert!(missing.status == 2 && missing.err.contains("BINANCE_API_KEY_FILE"), "{missing:?}");
}

#[test]
fn secrets_come_from_dotenv_too() {
    let folder = Folder::new("dotenv");
    folder.write(".env", "# keys\nBINANCE_API_KEY='hunter2'\nINGESTION_BUFFER__CAPACITY=0\n");
    assert!(folder.run(&["sources"]).out.contains("BINANCE_API_KEY (set)"));
    let checked = folder.run(&["check"]);
    assert!(
        checked.status == 2 && checked.err.contains("INGESTION_BUFFER__CAPACITY in .env: buffer.capacity"),
        "{checked:?}"
    );
    // The process's variables come before all of `.env`, whatever their names.
    let over = folder.run_with(&["check"], &[("INGESTION_BUFFER_SIZE", "20000")]);
    assert_eq!(over.status, 0, "{over:?}");
    folder.write(".env", "BINANCE_API_KEY=hunter2 hunter3\n");
    let broken = folder.run(&["sources"]);
    assert!(broken.status == 2 && broken.err.contains(".env line 1") && !broken.err.contains("hunter"), "{broken:?}");
}

#[test]
fn check_reports_all_problems_or_sums_up() {
    let folder = Folder::new("check");
    folder.write(
        "bad.toml",
        "[http]\nkeepalive = \"30 parsecs\"\nconections_max = 1\n[sources.binance]\npolls = [{ kind = \"tikcer\" }]\n\
         [cores]\nshards = \"8000\"\n",
    );
    let bad = folder.run(&["check", "--config", "bad.toml"]);
    assert_eq!((bad.status, bad.out.as_str()), (2, ""), "{bad:?}");
    let expected = [
        "error: bad.toml line 3: http.conections_max: expected the name of a setting, found an unknown one; did you mean \
         http.connections_max?",
        "error: bad.toml line 2: http.keepalive: expected a duration",
        "error: bad.toml line 7: cores.shards: expected CPUs of this host",
        "error: bad.toml line 5: sources.binance.polls[0].kind: expected a kind that binance serves",
    ];
    let lines: Vec<&str> = bad.err.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{}", bad.err);
    for (line, start) in lines.iter().zip(expected) {
        assert!(line.starts_with(start), "{line}");
    }

    folder.write(
        "good.toml",
        "[sources.binance]\npolls = [{ kind = \"trade\", symbols = [\"BTC-USDT\", \"ETH-USDT\"], every = \"5s\" }]\n\
         [[sinks]]\ntype = \"stdout\"\n",
    );
    let good = folder.run_with(&["check", "--config", "good.toml"], &[("INGESTION_BUFER_SIZE", "1")]);
    assert_eq!(good.status, 0, "{good:?}");
    assert!(good.out.contains("source binance: tier free, 1 poll, 24 requests/min"), "{}", good.out);
    assert!(good.out.contains("trade: 2 symbols in 2 requests every 5s, 24 requests/min"), "{}", good.out);
    assert!(good.out.ends_with("ok: 1 source, 1 sink, 24 requests/min\n"), "{}", good.out);
    assert!(good.err.starts_with("warning: INGESTION_BUFER_SIZE: ") && good.err.lines().count() == 1, "{}", good.err);
}

#[test]
fn a_configuration_without_polls_is_told_of_once() {
    let folder = Folder::new("idle");
    let expected = "nothing is polled: expected polls such as [[sources.kraken.polls]] with kind = \"ticker\", found kraken without any";
    folder.write(
        "idle.toml",
        "[sources.kraken]\nbase_url = \"https://127.0.0.1:1\"\n[admin]\nenabled = false\n[log]\nfilter = \"warn\"\n",
    );
    let checked = folder.run(&["check", "--config", "idle.toml"]);
    assert_eq!((checked.status, checked.err), (0, format!("warning: {expected}\n")));
    let ran = folder.run(&["--config", "idle.toml", "--for", "10ms"]);
    assert_eq!((ran.status, ran.err.matches(expected).count()), (0, 1), "{}", ran.err);
    // Whoever only asks needs no polls.
    let asked = folder.run(&["fetch", "kraken", "ticker", "BTC-USD", "--config", "idle.toml", "--deadline", "1ms"]);
    assert!(!asked.err.contains("nothing is polled"), "{}", asked.err);
    assert!(!folder.run(&["check"]).err.contains("nothing is polled"));
}

#[test]
fn schema_is_json() {
    let ran = Folder::new("schema").run(&["schema"]);
    let schema: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.status, schema["title"].as_str()), (0, Some("tidegate record")));
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let folder = Folder::new("pipe");
    // More than a pipe holds, so that writing meets the closed end.
    let rows: Vec<&str> = std::iter::repeat_n(TICKER, 5_000).collect();
    folder.write("many.json", &format!("[{}]", rows.join(",")));
    let mut command = folder.command(&["decode", "binance", "ticker", "many.json"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 10];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    drop(child.stdout.take());
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
}

#[test]
fn a_bad_profile_is_told_in_one_line() {
    let folder = Folder::new("profile");
    folder.write("profile.toml", "[default]\nlatncy = \"20ms\"\n");
    let ran = folder.run(&["sim", "--listen", "127.0.0.1:0", "--profile", "profile.toml"]);
    let expected = "error: profile.toml: default.latncy: expected one of latency, quota, faults, found \"latncy\"; did you mean latency?\n";
    assert_eq!((ran.status, ran.out.as_str(), ran.err.as_str()), (2, "", expected));
    let missing = folder.run(&["sim", "--listen", "127.0.0.1:0", "--profile", "none.toml"]);
    assert!(missing.status == 1 && missing.err.starts_with("error: cannot read none.toml: "), "{missing:?}");
}

#[test]
fn three_instances_divide_sources_and_quotas() {
    let folder = Folder::new("cluster");
    let tables: Vec<String> =
        tidegate::source::SOURCES.iter().map(|source| format!("[sources.{}]\n", source.spec().id)).collect();
    let polls = "[[sources.binance.polls]]\nkind = \"book\"\nsymbols = [\"BTC-USDT\"]\nlimit = 100\nevery = \"10s\"\n";
    folder.write("c.toml", &format!("contact = \"a@b.c\"\n{}{polls}[cluster]\nof = 3\n", tables.concat()));
    let mut owned = Vec::new();
    for instance in ["0", "1", "2"] {
        let ran = folder.run_with(&["check", "--config", "c.toml"], &[("INGESTION_CLUSTER__INSTANCE", instance)]);
        assert_eq!(ran.status, 0, "{ran:?}");
        assert!(ran.out.contains(&format!("instance {instance} of 3: ")), "{ran:?}");
        let own: Vec<String> =
            ran.out.lines().filter_map(|line| line.strip_prefix("source ")).map(str::to_owned).collect();
        // What 98 % of 6,000 a minute leave to one of three.
        let has_binance = own.iter().any(|line| line.starts_with("binance:"));
        assert_eq!(has_binance, ran.out.contains("of 1960 per 1m"), "{ran:?}");
        assert_ne!(has_binance, ran.out.contains("  binance: instance "), "{ran:?}");
        owned.extend(own.iter().map(|line| line.split(':').next().unwrap_or_default().to_owned()));
    }
    owned.sort();
    let mut all: Vec<String> = tidegate::source::SOURCES.iter().map(|source| source.spec().id.to_string()).collect();
    all.sort();
    assert_eq!(owned, all);
    let pod = [("INGESTION_CLUSTER__INSTANCE", "auto"), ("HOSTNAME", "tidegate-2")];
    assert!(folder.run_with(&["check", "--config", "c.toml"], &pod).out.contains("instance 2 of 3"));
    let none = folder.run_with(&["check", "--config", "c.toml"], &[("INGESTION_CLUSTER__INSTANCE", "3")]);
    assert_eq!((none.status, none.err.contains("expected less than cluster.of (3), found 3")), (2, true), "{none:?}");
}

#[test]
fn a_source_of_another_instance_is_told() {
    let folder = Folder::new("elsewhere");
    folder.write("c.toml", "[cluster]\nof = 1024\n[sources.binance]\nbase_url = \"https://127.0.0.1:1\"\n");
    let ran = folder.run(&["fetch", "binance", "ticker", "BTC-USDT", "--config", "c.toml"]);
    assert_eq!(ran.status, 3, "{ran:?}");
    assert!(ran.out.contains("binance belongs to instance ") && ran.out.contains(" of 1024"), "{ran:?}");
}
