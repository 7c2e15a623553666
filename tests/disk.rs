//! Disks that refuse, under the whole program: full, read-only, forbidden. The engine says so once, keeps what it has
//! and its status, polls no more than its buffer holds, and goes on by itself when the disk takes records again.
//!
//! A full and a read-only disk need a mount of their own, in a user and mount namespace of the engine; where the host
//! refuses those, that is reported and the test ends. The same faults, and slow disks, are tested through the seam in
//! the journal's file operations everywhere.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Engine, Folder, seq_of, simulator};
use serde_json::Value;

/// A buffer that is full soon and segments that change soon.
const SETTINGS: &str = "[buffer]\ncapacity = 100\n[journal]\nsegment_bytes = \"64KiB\"\n[audit]\nlevel = \"off\"\n\
    [[sinks]]\ntype = \"file\"\nname = \"lines\"\npath = \"lines.ndjson\"\n";

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// Runs the program with its data on a file system of its own, which `script` may prepare.
fn unshared(folder: &Folder, script: &str) -> Option<Command> {
    let may = Command::new("unshare").args(["-Urm", "true"]).stderr(Stdio::null()).status();
    if !may.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this host refuses user and mount namespaces (unshare -Urm)");
        return None;
    }
    let program = env!("CARGO_BIN_EXE_tidegate");
    let template = folder.command(&[]);
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c"]).current_dir(&folder.0).stdin(Stdio::null());
    command.arg(format!("{script} && exec {program} run --config t.toml --data data --for 300s"));
    for (name, value) in template.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    Some(command)
}

/// Inside the engine's mount namespace.
fn inside(engine: &Engine, folder: &Folder, script: &str) {
    let pid = engine.id().to_string();
    let script = format!("cd {} && {script}", folder.0.display());
    let enter = ["-t", &pid, "-U", "-m", "--preserve-credentials", "sh", "-c", &script];
    let done = Command::new("nsenter").args(enter).output().unwrap();
    assert!(done.status.success(), "{script}: {done:?}");
}

fn there(engine: &Engine, path: &Path) -> PathBuf {
    Path::new("/proc").join(engine.id().to_string()).join("root").join(path.strip_prefix("/").unwrap())
}

/// Waits until the engine has come to a stop because of `part`, and holds it to that.
fn expect_pause(engine: &Engine, part: &str) -> u64 {
    let status = engine.until(part, |status| {
        status["journal"]["failing"].as_str().is_some_and(|why| why.contains(part))
            && number(&status["buffer"]["len"]) >= number(&status["buffer"]["high_water"])
    });
    assert_eq!((&status["health"]["live"], &status["health"]["ready"]), (&true.into(), &false.into()), "{status:#}");
    let durable = number(&status["journal"]["durable_seq"]);
    assert_eq!(engine.metric("tidegate_journal_writable"), 0.0);
    // Between two looks nothing is lost, nothing is taken for delivered, and hardly anything is published.
    let published = number(&status["records"]["published"]);
    let later = engine.until("a later status", |later| number(&later["at"]) > number(&status["at"]));
    assert_eq!(number(&later["journal"]["durable_seq"]), durable);
    for reason in ["dropped_full_newest", "dropped_full_oldest"] {
        assert_eq!(number(&later["records"][reason]), 0);
    }
    let capacity = number(&later["buffer"]["capacity"]);
    assert!(number(&later["records"]["published"]) <= published + capacity, "{later:#}");
    durable
}

/// Waits until the engine has gone on by itself, ends it, and finds everything.
fn expect_recovery(engine: Engine, durable: u64, folder: &Folder, journal: &Path) {
    engine.until("recovery", |status| {
        status["journal"]["failing"].is_null() && number(&status["journal"]["durable_seq"]) > durable + 150
    });
    assert_eq!(engine.metric("tidegate_journal_writable"), 1.0);
    let status = engine.until("the sink", |status| number(&status["sinks"][0]["committed_seq"]) > durable + 100);
    assert!(status["sinks"][0]["failing"].is_null(), "{status:#}");
    // Read while the engine runs: its file system may end with it.
    let committed = number(&status["sinks"][0]["committed_seq"]);
    let text = zstd_text(journal);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.iter().map(|line| seq_of(line)).eq((1..=lines.len() as u64).map(Some)), "a gap or a repeat");
    let had = std::fs::read_to_string(folder.path("lines.ndjson")).unwrap();
    let mut count = 0;
    for line in had.lines() {
        let seq = seq_of(line).unwrap();
        if let Some(there) = lines.get(seq as usize - 1) {
            assert_eq!(*there, line);
            count += 1;
        }
    }
    assert!(count >= committed, "the sink has committed {committed} and has {count}");
    let (status, log) = engine.stop();
    assert!(status.success(), "{log}");
    assert_eq!(log.matches("the journal cannot be written").count(), 1, "{log}");
    assert_eq!(log.matches("the journal can be written again").count(), 1, "{log}");
}

/// Everything in the whole frames of a journal that is being written.
fn zstd_text(journal: &Path) -> String {
    let mut reader = tidegate::collector::JournalReader::open(journal, 1);
    let mut text = String::new();
    while let tidegate::collector::Reading::Batch(batch) = reader.read().unwrap() {
        text.push_str(std::str::from_utf8(batch.lines).unwrap());
    }
    text
}

#[test]
fn a_disk_that_fills_up_pauses_the_engine_until_there_is_room() {
    let sim = simulator();
    let folder = Folder::new("disk-full");
    folder.write("t.toml", &(sim.toml(None, None).unwrap() + SETTINGS));
    std::fs::create_dir(folder.path("data")).unwrap();
    let Some(command) = unshared(&folder, "mount -t tmpfs -o size=24m tmpfs data") else { return };
    let engine = Engine::start(command);
    let data = there(&engine, &folder.path("data"));
    engine.until("a first record", |status| number(&status["journal"]["durable_seq"]) > 0);
    // A ballast takes what is left.
    let ballast = data.join("ballast");
    let refused = std::fs::write(&ballast, vec![0; 64 << 20]).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
    let durable = expect_pause(&engine, "No space left");
    std::fs::remove_file(ballast).unwrap();
    expect_recovery(engine, durable, &folder, &data.join("journal"));
    sim.stop().unwrap();
}

#[test]
fn a_disk_that_turns_read_only_pauses_the_engine_until_it_is_writable() {
    let sim = simulator();
    let folder = Folder::new("disk-read-only");
    folder.write("t.toml", &(sim.toml(None, None).unwrap() + SETTINGS));
    std::fs::create_dir(folder.path("data")).unwrap();
    let Some(command) = unshared(&folder, "mount -t tmpfs -o size=24m tmpfs data") else { return };
    let engine = Engine::start(command);
    let data = there(&engine, &folder.path("data"));
    engine.until("a first record", |status| number(&status["journal"]["durable_seq"]) > 0);
    // What is open can still be written, the next segment cannot be made.
    inside(&engine, &folder, "mount --bind data/journal data/journal && mount -o remount,bind,ro data/journal");
    let durable = expect_pause(&engine, "Read-only file system");
    inside(&engine, &folder, "mount -o remount,bind,rw data/journal");
    expect_recovery(engine, durable, &folder, &data.join("journal"));
    sim.stop().unwrap();
}

#[test]
fn a_folder_that_becomes_forbidden_pauses_the_engine_until_it_is_allowed() {
    let sim = simulator();
    let folder = Folder::new("disk-forbidden");
    folder.write("t.toml", &(sim.toml(None, None).unwrap() + SETTINGS));
    let plain = folder.command(&["run", "--config", "t.toml", "--data", "data", "--for", "300s"]);
    let Some(command) = without_override(plain) else { return };
    let engine = Engine::start(command);
    let journal = folder.path("data/journal");
    engine.until("a first record", |status| number(&status["journal"]["durable_seq"]) > 0);
    let mode = |mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&journal, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o555);
    let durable = expect_pause(&engine, "Permission denied");
    mode(0o755);
    expect_recovery(engine, durable, &folder, &journal);
    folder.check_journal();
    sim.stop().unwrap();
}

#[test]
fn a_data_directory_that_cannot_be_used_is_one_clear_line_at_the_start() {
    let folder = Folder::new("disk-start");
    std::fs::create_dir(folder.path("data")).unwrap();
    let check = |mut command: Command, part: &str| {
        let ended = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{told}");
        let errors: Vec<&str> = told.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(errors.len() == 1 && errors[0].contains(part) && !told.contains("panicked"), "{told}");
    };
    folder.write("t.toml", "");
    if let Some(command) = unshared(&folder, "mount -t tmpfs -o size=1m tmpfs data") {
        check(command, "free");
        check(unshared(&folder, "mount -t tmpfs -o ro tmpfs data").unwrap(), "Read-only file system");
    }
    std::fs::write(folder.path("file"), "").unwrap();
    check(folder.command(&["run", "--data", "file", "--for", "1s"]), "file");
    if let Some(command) = without_override(folder.command(&["run", "--data", "shut/data", "--for", "1s"])) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::create_dir(folder.path("shut")).unwrap();
        std::fs::set_permissions(folder.path("shut"), std::fs::Permissions::from_mode(0o555)).unwrap();
        check(command, "Permission denied");
    }
}

/// The same command with the permissions of files in force, which root overrides.
fn without_override(command: Command) -> Option<Command> {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|told| told.stdout == b"0\n");
    if !is_root {
        return Some(command);
    }
    let set = "-dac_override,-dac_read_search";
    if !Command::new("setpriv").args(["--bounding-set", set, "true"]).status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: root without setpriv overrides permissions");
        return None;
    }
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--bounding-set", set]).arg(command.get_program()).args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        wrapped.env(name, value.unwrap_or_default());
    }
    wrapped.current_dir(command.get_current_dir().unwrap()).stdin(Stdio::null());
    Some(wrapped)
}
