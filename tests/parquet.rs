//! Parquet files of the sink and of `tidegate export`, read back by readers that know nothing of the program (pyarrow
//! and DuckDB) and held against the journal, value by value. `.ci/run` puts the readers into `target/readers`; a Python
//! that has them is taken, too; without either the tests report that they were skipped.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Engine, Folder, simulator};
use tidegate::collector::{Journal, JournalSettings};
use tidegate::runtime::{Placement, launch};

/// Kinds of record, all of which the simulator has.
const KINDS: usize = 10;

/// A Python with the readers.
fn python() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/readers/bin/python");
    for python in [own, PathBuf::from("python3")] {
        let has = Command::new(&python).args(["-c", "import duckdb, pyarrow"]).output();
        if has.is_ok_and(|has| has.status.success()) {
            return Some(python);
        }
    }
    eprintln!("skipped: no Python with duckdb and pyarrow; .ci/run makes one in target/readers");
    None
}

/// Holds the files in `parquet` against the folder's journal; gives what the readers said.
fn compare(python: &Path, folder: &Folder, parquet: &str) -> (bool, String) {
    let printed = folder.run(&["cat", "--data", "data"]);
    assert!(printed.status.success(), "{printed:?}");
    std::fs::write(folder.path("lines.ndjson"), &printed.stdout).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet_readers.py");
    let compared =
        Command::new(python).arg(script).args(["lines.ndjson", parquet]).current_dir(&folder.0).output().unwrap();
    let said = String::from_utf8_lossy(&[compared.stdout, compared.stderr].concat()).into_owned();
    (compared.status.success(), said)
}

fn export(folder: &Folder) {
    let exported = folder.run(&["export", "--data", "data", "--parquet", "exported"]);
    assert!(exported.status.success(), "{exported:?}");
}

#[test]
fn what_the_sink_and_export_write_equals_the_journal() {
    let Some(python) = python() else { return };
    let sim = simulator();
    let folder = Folder::new("parquet-run");
    let sink = "[[sinks]]\ntype = \"parquet\"\ndir = \"pq\"\n";
    folder.write("t.toml", &(sim.toml(None, None).unwrap() + sink));
    let engine = Engine::start(folder.command(&["run", "--config", "t.toml", "--data", "data", "--for", "200s"]));
    let all_kinds = |status: &serde_json::Value| {
        let data = status["data"].as_array().unwrap().iter().filter(|age| age["records"].as_u64() > Some(0));
        data.map(|age| age["kind"].as_str().unwrap()).collect::<BTreeSet<_>>().len() == KINDS
    };
    engine.until("records of every kind", all_kinds);
    let (status, log) = engine.stop();
    assert!(status.success(), "{log}");
    export(&folder);
    for parquet in ["pq", "exported"] {
        let (is_equal, said) = compare(&python, &folder, parquet);
        assert!(is_equal, "{parquet}: {said}");
        eprintln!("{parquet}: {}", said.trim().replace('\n', "; "));
    }
    // Every kind was there.
    let found = std::fs::read_dir(folder.path("exported")).unwrap().count();
    assert_eq!(found, KINDS);
    sim.stop().unwrap();
}

#[test]
fn extremes_are_exact_and_a_changed_journal_is_noticed() {
    let Some(python) = python() else { return };
    let folder = Folder::new("parquet-extremes");
    write_journal(&folder, LINES);
    export(&folder);
    let (is_equal, said) = compare(&python, &folder, "exported");
    assert!(is_equal, "{said}");
    assert!(said.contains(&format!("pyarrow: {} rows", LINES.len())), "{said}");
    // The comparison is one that can fail: one digit, one nanosecond, one record.
    let changes: [(&str, &str); 3] = [
        ("\"0.000000000000000001\"", "\"0.000000000000000002\""),
        ("1795602522267778469", "1795602522267778468"),
        ("\"Ünïcode, \\\"quoted\\\"\"", "\"Unicode\""),
    ];
    for (from, to) in changes {
        let changed: Vec<String> = LINES.iter().map(|line| line.replace(from, to)).collect();
        assert!(changed.iter().zip(LINES).any(|(changed, line)| changed != line), "{from} is nowhere");
        std::fs::remove_dir_all(folder.path("data")).unwrap();
        write_journal(&folder, &changed.iter().map(String::as_str).collect::<Vec<_>>());
        let (is_equal, said) = compare(&python, &folder, "exported");
        assert!(!is_equal && said.contains("found"), "{from}: {said}");
    }
    std::fs::remove_dir_all(folder.path("data")).unwrap();
    write_journal(&folder, &LINES[..LINES.len() - 1]);
    assert!(!compare(&python, &folder, "exported").0);
}

/// Writes a journal of lines without their numbers.
fn write_journal(folder: &Folder, lines: &[&str]) {
    let text: String = lines.iter().zip(1..).map(|(line, seq)| format!("{{\"seq\":{seq},{line}}}\n")).collect();
    let (dir, count) = (folder.path("data/journal"), lines.len() as u64);
    let core = launch("journal", Placement::Unpinned, move || async move {
        let (mut journal, _) = Journal::open(&dir, JournalSettings::default(), "extremes").unwrap();
        journal.append(text.as_bytes(), count, 1).await.unwrap();
        journal.close().await.unwrap();
    });
    core.unwrap().join().unwrap();
}

/// What is hard on columns: the smallest and the largest decimals, what fits none, times before the epoch and odd
/// nanoseconds, empty and absent lists, fields of a later version.
const LINES: &[&str] = &[
    r#""source":"kraken","kind":"trade","symbol":"BTC-USD","native":"XXBTZUSD","ts_event":1795602522267778469,"ts_recv":1795602522267778470,"ts_publish":1795602522267778471,"attempt":1838696982624128001,"data":{"id":"1","price":"0.000000000000000001","size":"99999999999999999999","side":"buy"}"#,
    r#""source":"kraken","kind":"trade","symbol":"BTC-USD","ts_event":1,"ts_recv":2,"data":{"price":"-1.50","size":"-0.000000000000000001","side":"sell","volume_unit":"contracts"}"#,
    r#""source":"kraken","kind":"trade","ts_recv":1795602522999999999,"data":{"id":"3","price":"79228162514264337593543950335","size":"0.0000000000000000000000000001"}"#,
    r#""source":"kraken","kind":"trade","ts_recv":1795602522000000001,"data":{"id":"4","price":"0","size":"0.0000","later":{"a":[1,2]}}"#,
    r#""source":"fred","kind":"observation","symbol":"GDP","ts_event":-757382400000000000,"ts_recv":1795602522000000001,"data":{"series":"GDP","period":"1946-01-01"}"#,
    r#""source":"fred","kind":"observation","symbol":"GDP","ts_event":-1,"ts_recv":1795602522000000001,"data":{"series":"GDP","period":"1969-12-31","value":"243.16400000","unit":"Billions"}"#,
    r#""source":"frankfurter","kind":"rate","symbol":"EUR-USD","ts_event":1767139200000000000,"ts_recv":1795602522000000001,"data":{"base":"EUR","quote":"USD","value":"1.17660","date":"2025-12-30"}"#,
    r#""source":"binance","kind":"bar","symbol":"BTC-USDT","ts_event":1795602540000000000,"ts_recv":1795602522000000001,"data":{"interval":"1m","start":1795602480000000001,"end":1795602540000000002,"open":"1.0","high":"12345678901234567890.123456789012345678","low":"0.1","close":"1","volume":"0","trades":18446744073709551615,"closed":false}"#,
    r#""source":"binance","kind":"book","symbol":"BTC-USDT","ts_recv":1795602522000000003,"data":{"bids":[["1.5","2"],["1.25","0.000000000000000001"]],"asks":[],"sequence":9223372036854775808}"#,
    r#""source":"binance","kind":"book","symbol":"ETH-USDT","ts_recv":1795602522000000004,"data":{"bids":[["1.5","2"]],"asks":[["79228162514264337593543950335","1"]]}"#,
    r#""source":"newsapi","kind":"news","ts_event":1795602522000000005,"ts_recv":1795602522000000006,"data":{"id":"n","headline":"Ünïcode, \"quoted\"","url":"https://example.com/?a=1&b=2","authors":["A","B, C"],"symbols":[],"language":"en"}"#,
    r#""source":"newsapi","kind":"news","ts_recv":1795602522000000007,"data":{"headline":""}"#,
    r#""source":"sec_edgar","kind":"filing","symbol":"AAPL","ts_event":1795602522000000008,"ts_recv":1795602522000000009,"data":{"accession":"0000320193-25-000001","form":"10-K","company":"Apple Inc.","cik":"0000320193","filed":"2025-11-01"}"#,
];
