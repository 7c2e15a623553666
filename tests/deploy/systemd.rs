//! The unit of systemd.

use crate::{Folder, PROGRAM, read, told, tool};

/// The unit's lines `key=value`, in order.
fn unit() -> Vec<(String, String)> {
    let lines = read("tuning/systemd/tidegate.service");
    let pairs = lines.lines().filter(|line| !line.starts_with(['#', '['])).filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[test]
fn the_unit_is_one_that_systemd_takes() {
    let folder = Folder::new("unit");
    let verify = |name: &str, text: &str| {
        let path = folder.0.join(name);
        std::fs::write(&path, text.replace("/usr/local/bin/tidegate", PROGRAM)).unwrap();
        tool("systemd-analyze", &["verify", "--man=no", path.to_str().unwrap()])
    };
    let text = read("tuning/systemd/tidegate.service");
    let Some(verified) = verify("tidegate.service", &text) else { return };
    assert!(verified.status.success() && verified.stderr.is_empty(), "{}", told(&verified));
    // The check finds what is wrong.
    let wrong = verify("wrong.service", &text.replace("WatchdogSec=", "WatchdogSecs=")).unwrap();
    assert!(told(&wrong).contains("WatchdogSecs"), "{}", told(&wrong));
    let path = folder.0.join("tidegate.service");
    let arguments = ["security", "--offline=true", "--threshold=20", "--no-pager", path.to_str().unwrap()];
    let security = tool("systemd-analyze", &arguments).unwrap();
    // Releases before 250 judge loaded units alone.
    if told(&security).contains("unrecognized option") {
        eprintln!("skipped: this systemd-analyze judges no files");
        return;
    }
    assert!(security.status.success(), "exposure above 2.0: {}", told(&security));
}

#[test]
fn the_unit_fits_the_program() {
    let unit = unit();
    let all =
        |key: &str| -> Vec<&str> { unit.iter().filter(|(name, _)| name == key).map(|(_, value)| &**value).collect() };
    let only = |key: &str| match all(key)[..] {
        [value] => value,
        ref other => panic!("{key}: expected one line, found {other:?}"),
    };
    assert_eq!((only("Type"), only("KillSignal"), only("NotifyAccess")), ("notify", "SIGTERM", "main"));
    // What the doctor asks for.
    assert_eq!(only("LimitMEMLOCK"), "64M");
    assert!(only("LimitNOFILE").parse::<u64>().unwrap() >= 5_256);
    only("CPUAffinity").parse::<tidegate::CpuList>().unwrap();
    // A wrong configuration ends the program with the status that is not tried again.
    assert_eq!(only("RestartPreventExitStatus"), "2");
    let folder = Folder::new("start");
    let start = only("ExecStart").strip_prefix("/usr/local/bin/tidegate ").unwrap();
    let config = folder.0.join("tidegate.toml");
    std::fs::write(&config, "no_such_setting = 1\n").unwrap();
    let start = start.replace("/etc/tidegate/tidegate.toml", config.to_str().unwrap());
    let output = folder.run(&start.split(' ').collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(told(&output).contains("no_such_setting"), "{}", told(&output));
    // The program stops sooner than it is killed, and gives three signs of life in the watchdog's time.
    assert!(only("TimeoutStopSec").parse::<u64>().unwrap() >= 30 && only("WatchdogSec").parse::<u64>().unwrap() >= 15);
    assert_eq!(all("Environment"), ["INGESTION_DATA_DIR=%S/tidegate"]);
    assert_eq!(only("WorkingDirectory"), "%S/tidegate");
    assert_eq!(only("StateDirectory"), "tidegate");
}

#[test]
fn the_units_calls_include_those_of_io_uring() {
    let Some(sets) = tool("systemd-analyze", &["syscall-filter", "--no-pager"]) else { return };
    let sets = String::from_utf8(sets.stdout).unwrap();
    let unit = unit();
    let filters: Vec<&str> =
        unit.iter().filter(|(key, _)| key == "SystemCallFilter").map(|(_, value)| &**value).collect();
    assert_eq!(filters, ["@system-service", "~@privileged"]);
    let (mut allowed, denied) = (calls(&sets, "@system-service"), calls(&sets, "@privileged"));
    allowed.retain(|call| !denied.contains(call));
    for call in
        ["io_uring_setup", "io_uring_enter", "io_uring_register", "sched_setaffinity", "setpriority", "membarrier"]
    {
        assert!(allowed.iter().any(|allowed| allowed == call), "{call} is not in the unit's filter");
    }
    for call in ["mount", "ptrace", "reboot", "init_module", "clock_settime"] {
        assert!(!allowed.iter().any(|allowed| allowed == call), "{call} is in the unit's filter");
    }
}

/// The calls of a set of systemd's, with those of the sets in it.
fn calls(sets: &str, name: &str) -> Vec<String> {
    let body = sets.lines().skip_while(|line| *line != name).skip(1).take_while(|line| line.starts_with(' '));
    let mut found = Vec::new();
    for line in body.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.starts_with('@') {
            true => found.extend(calls(sets, line)),
            false => found.push(line.to_owned()),
        }
    }
    found
}
