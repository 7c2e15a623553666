//! `tidegate doctor` as its users meet it, on this host in its normal state and in broken ones; and an engine that
//! refuses what the doctor refuses. A state that this sandbox cannot be put into is skipped with its reason.
#![allow(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate");

#[test]
fn this_host_is_judged_whole() {
    let folder = Folder::new("normal");
    let ran = folder.doctor(&[], &[]);
    let checks = ran.json["checks"].as_array().unwrap();
    let required: Vec<&str> = checks
        .iter()
        .filter(|check| check["severity"] == "required")
        .map(|check| check["id"].as_str().unwrap())
        .collect();
    assert_eq!(required, ["kernel", "io_uring", "memlock", "open_files", "cpus", "data_directory"]);
    for id in [
        "ring_flags",
        "memlock_of_all_cores",
        "ephemeral_ports",
        "somaxconn",
        "socket_buffers",
        "cpu_count",
        "cpu_governor",
        "isolated_cpus",
        "smt_siblings",
        "numa_node",
        "irq_affinity",
        "cgroup_cpu_quota",
        "cgroup_cpuset",
        "transparent_huge_pages",
        "clock_source",
        "time_synchronization",
        "disk_space",
        "fsync_latency",
    ] {
        let check = ran.check(id);
        assert_eq!(check["severity"], "advised", "{check}");
        for part in ["title", "status", "current", "expected", "why"] {
            assert!(check[part].as_str().is_some_and(|text| !text.is_empty()), "{part} of {check}");
        }
        assert_eq!(check["status"] == "failed", check.get("fix").is_some(), "{check}");
    }
    // Without a configuration nobody is asked.
    assert!(checks.iter().all(|check| check["id"] != "name" && check["id"] != "tls"));
    let failed = required.iter().any(|id| ran.check(id)["status"] == "failed");
    assert_eq!((ran.status, ran.json["ok"].as_bool()), if failed { (1, Some(false)) } else { (0, Some(true)) });
    assert_eq!(ran.check("ring_flags")["status"], "ok", "the rings of this program run without the flags");
    // Nothing is left behind, and no folder is made.
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0);
}

#[test]
fn low_memlock_is_refused() {
    let folder = Folder::new("memlock");
    let wrap = &["prlimit", "--memlock=65536:65536"][..];
    let Some(_) = folder.can(wrap) else { return };
    let ran = folder.doctor(wrap, &[]);
    ran.refuses("memlock", &["64 KiB", "at least 512 KiB", "LimitMEMLOCK=64M", "--ulimit memlock="]);
    folder.engine_refuses(wrap, "memlock: expected at least 512 KiB, found 64 KiB");
    // At the least that is required it is content, and an engine starts.
    let enough = &["prlimit", "--memlock=524288:"][..];
    assert_eq!(folder.doctor(enough, &[]).check("memlock")["status"], "ok");
}

#[test]
fn few_open_files_are_refused() {
    let folder = Folder::new("files");
    let wrap = &["prlimit", "--nofile=256:256"][..];
    let Some(_) = folder.can(wrap) else { return };
    folder.doctor(wrap, &[]).refuses("open_files", &["256", "at least 5256", "LimitNOFILE=", "--ulimit nofile="]);
    folder.engine_refuses(wrap, "open files: expected at least 5256");
    // The limit is judged as inherited, though an engine would raise it.
    let soft = folder.doctor(&["prlimit", "--nofile=256:"], &[]);
    soft.refuses("open_files", &["256, which an engine raises by itself"]);
    // And an engine that may raise it does, and says so.
    if soft.check("open_files")["current"].as_str().is_some_and(|current| current.contains("raises by itself")) {
        let wrap = &["prlimit", "--nofile=1024:"][..];
        let output = folder.command(wrap, &["run", "--for", "100ms", "--data", "d"]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        let line = told.lines().find(|line| line.contains("the limit on open files was raised"));
        let line = line.unwrap_or_else(|| panic!("expected a line about the limit in {told}"));
        assert!(line.contains("from=1024") && line.contains("to=5256"), "{line}");
    }
    let fewer = folder.doctor(wrap, &[("INGESTION_HTTP__CONNECTIONS_MAX", "0")]);
    assert_eq!(fewer.status, 2, "no connections at all is no configuration");
}

#[test]
fn a_seccomp_filter_is_named() {
    let folder = Folder::new("seccomp");
    let mut command = folder.command(&[], &["doctor", "--json"]);
    refuse_io_uring(&mut command);
    let Some(output) = folder.spawned(&mut command) else { return };
    let ran = Ran::of(output);
    ran.refuses("io_uring", &["seccomp", "tuning/docker/seccomp.json", "localhostProfile", "io_uring_setup"]);
    // No executor was tried: its library would have ended the process.
    assert_ne!(ran.check("ring_flags")["status"], "failed");
    let mut command = folder.command(&[], &["run", "--for", "1s", "--data", "d"]);
    refuse_io_uring(&mut command);
    let output = folder.spawned(&mut command).unwrap();
    check_refusal(&output, "io_uring: expected io_uring_setup allowed");
}

#[test]
fn a_sysctl_is_named() {
    let folder = Folder::new("sysctl");
    let of = |value: &str| {
        let tree = folder.0.join("tree");
        std::fs::create_dir_all(tree.join("proc/sys/kernel")).unwrap();
        std::fs::write(tree.join("proc/sys/kernel/io_uring_disabled"), format!("{value}\n")).unwrap();
        Ran::of(folder.command(&[], &["doctor", "--json", "--root", "tree"]).output().unwrap())
    };
    of("2").refuses("io_uring", &["kernel.io_uring_disabled = 2", "sysctl -w kernel.io_uring_disabled=0"]);
    assert_eq!(of("0").check("io_uring")["status"], "ok");
}

#[test]
fn one_cpu_is_enough_and_told() {
    let folder = Folder::new("cpu");
    let first = tidegate::runtime::allowed_cpus()[0].to_string();
    let wrap = &["taskset", "-c", &first][..];
    let Some(_) = folder.can(wrap) else { return };
    let ran = folder.doctor(wrap, &[]);
    assert_eq!(ran.check("cpus")["status"], "ok", "{}", ran.json);
    let check = ran.check("cpu_count");
    assert_eq!(check["status"], "failed");
    assert!(check.to_string().contains("one CPU allowed"), "{check}");
    assert_eq!(ran.status, 0, "{}", ran.json);
    // A CPU that is named and not allowed is refused.
    std::fs::write(folder.0.join("c.toml"), "[cores]\nshards = 8191\nsink = 0\n").unwrap();
    let named = Ran::of(folder.command(wrap, &["doctor", "--json", "--config", "c.toml"]).output().unwrap());
    named.refuses("cpus", &["8191, which does not exist", "--cpuset-cpus="]);
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let folder = Folder::new("read-only");
    let script = "mount --bind ro ro && mount -o remount,ro,bind ro && exec \"$0\" \"$@\"";
    let wrap = &["unshare", "--mount", "sh", "-c", script][..];
    std::fs::create_dir(folder.0.join("ro")).unwrap();
    let Some(_) = folder.can(wrap) else { return };
    let ran = Ran::of(folder.command(wrap, &[PROGRAM, "doctor", "--json", "--data", "ro/data"]).output().unwrap());
    ran.refuses("data_directory", &["Read-only file system", "ro/data writable", "StateDirectory="]);
    let output = folder.run_on(wrap, "ro/data");
    check_refusal(&output, "data directory: expected ro/data writable");
}

#[test]
fn a_folder_of_somebody_else_is_refused() {
    let folder = Folder::new("foreign");
    let wrap = &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"][..];
    let Some(_) = folder.can(wrap) else { return };
    // The program has to be reachable for nobody; where the build folder is not, this says nothing.
    let tried = folder.command(wrap, &["--version"]).output().unwrap();
    if !tried.status.success() {
        eprintln!("skipped: user 65534 cannot run {PROGRAM}");
        return;
    }
    let ran = Ran::of(folder.command(wrap, &["doctor", "--json", "--data", "/"]).output().unwrap());
    ran.refuses("data_directory", &["Permission denied"]);
}

#[test]
fn a_full_disk_is_refused() {
    let folder = Folder::new("full");
    std::fs::create_dir(folder.0.join("disk")).unwrap();
    for (size, found) in [("64k", "No space left"), ("8m", "is full")] {
        let fill = if size == "64k" { "head -c 65536 /dev/zero > disk/all" } else { "true" };
        let script = format!("mount -t tmpfs -o size={size} none disk && {fill}; exec \"$0\" \"$@\"");
        let wrap = &["unshare", "--mount", "sh", "-c", &script][..];
        let Some(_) = folder.can(wrap) else { return };
        let ran = Ran::of(folder.command(wrap, &[PROGRAM, "doctor", "--json", "--data", "disk"]).output().unwrap());
        ran.refuses("data_directory", &[found, "16 MiB free"]);
        check_refusal(&folder.run_on(wrap, "disk"), "data directory: expected disk writable, with 16 MiB free");
    }
}

#[test]
fn names_and_sessions_of_sources_are_tried() {
    let folder = Folder::new("reach");
    let listen = ([127, 0, 0, 1], 0).into();
    let settings =
        tidegate::SimSettings { listen, placement: tidegate::Placement::Unpinned, plain: false, recordings: None };
    let sim = tidegate::Sim::start(settings).unwrap();
    std::fs::write(folder.0.join("ca.pem"), sim.ca_pem().unwrap()).unwrap();
    let url = |source: &str| {
        let (_, _, url) = sim.base_urls().into_iter().find(|(id, _, _)| *id == source).unwrap();
        format!("[sources.{source}]\nbase_url = {url:?}\n")
    };
    // One that is served, one that nobody is home at, one that has no name.
    let nobody = "[sources.bitstamp]\nbase_url = \"https://127.0.0.1:1\"\n";
    let nameless = "[sources.gemini]\nbase_url = \"https://gemini.invalid\"\n";
    let text = format!("{}{nobody}{nameless}", url("kraken"));
    let of = |head: &str| {
        std::fs::write(folder.0.join("c.toml"), format!("{head}{text}")).unwrap();
        Ran::of(folder.command(&[], &["doctor", "--json", "--config", "c.toml"]).output().unwrap())
    };
    let status = |ran: &Ran, id: &str, source: &str| -> String {
        let checks = ran.json["checks"].as_array().unwrap();
        let about = |check: &&Value| check["id"] == id && check["expected"].as_str().unwrap().contains(source);
        checks
            .iter()
            .find(about)
            .map_or_else(|| "none".to_owned(), |check| format!("{} {}", check["status"], check["current"]))
    };
    let trusting = of("[tls]\nca_file = \"ca.pem\"\n");
    assert!(status(&trusting, "name", "(kraken)").starts_with("\"ok\""), "{}", trusting.json);
    assert!(status(&trusting, "tls", "(kraken)").contains("TLS 1.3, h2"), "{}", status(&trusting, "tls", "(kraken)"));
    assert!(status(&trusting, "tls", "(bitstamp)").contains("cannot connect"));
    assert!(status(&trusting, "name", "(gemini)").starts_with("\"failed\""));
    assert_eq!(status(&trusting, "tls", "(gemini)"), "none");
    // Advice alone: the engine can run.
    assert_eq!(trusting.status, 0, "{}", trusting.json);
    let distrusting = of("");
    assert!(status(&distrusting, "tls", "(kraken)").starts_with("\"failed\""), "{}", distrusting.json);
    sim.stop().unwrap();
    let unknown = folder.command(&[], &["doctor", "--config", "none.toml"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

/// Has the kernel refuse io_uring to the command: the filter of a container.
fn refuse_io_uring(command: &mut Command) {
    // Load the number of the call; refuse 425 to 427 (io_uring) with EPERM; let all others pass.
    let filter = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let program = [
        filter(0x20, 0, 0, 0),
        filter(0x35, 0, 2, 425),
        filter(0x25, 1, 0, 427),
        filter(0x06, 0, 0, 0x0005_0000 | libc::EPERM as u32),
        filter(0x06, 0, 0, 0x7fff_0000),
    ];
    // SAFETY: between fork and exec only prctl is called, with a filter that lives in the closure.
    unsafe {
        command.pre_exec(move || {
            let head = libc::sock_fprog { len: 5, filter: program.as_ptr().cast_mut() };
            if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &head, 0, 0) != 0
            {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// An engine that was refused: one line that says so, and no panic.
fn check_refusal(output: &Output, part: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(part) && !told.contains("panicked"), "{told}");
}

struct Ran {
    status: i32,
    json: Value,
}

impl Ran {
    fn of(output: Output) -> Ran {
        let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        Ran { status: output.status.code().unwrap_or(-1), json }
    }

    fn check(&self, id: &str) -> &Value {
        let checks = self.json["checks"].as_array().unwrap_or_else(|| panic!("no findings: {}", self.json));
        checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no check {id}"))
    }

    /// The required check failed, says these things, and is the status of the process.
    fn refuses(&self, id: &str, parts: &[&str]) {
        let check = self.check(id);
        assert_eq!(
            (check["status"].as_str(), check["severity"].as_str()),
            (Some("failed"), Some("required")),
            "{check}"
        );
        assert_eq!((self.status, self.json["ok"].as_bool()), (1, Some(false)));
        for part in parts {
            assert!(check.to_string().contains(part), "{part:?} in {check}");
        }
    }
}

/// A folder of its own to run in.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-doctor-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// The program behind `wrap`, which may name the program itself.
    fn command(&self, wrap: &[&str], arguments: &[&str]) -> Command {
        let mut command = match wrap {
            [] => Command::new(PROGRAM),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest);
                if !wrap.contains(&"sh") {
                    command.arg(PROGRAM);
                }
                command
            }
        };
        // Other tests run engines beside this one.
        command.env("INGESTION_ADMIN__LISTEN", "127.0.0.1:0");
        command.args(arguments).current_dir(&self.0).stdin(Stdio::null());
        command
    }

    fn doctor(&self, wrap: &[&str], variables: &[(&str, &str)]) -> Ran {
        Ran::of(self.command(wrap, &["doctor", "--json"]).envs(variables.iter().copied()).output().unwrap())
    }

    /// Whether the sandbox lets `wrap` run anything; says why not.
    fn can(&self, wrap: &[&str]) -> Option<()> {
        let output = match wrap.contains(&"sh") {
            true => self.command(wrap, &["true"]).output(),
            false => Command::new(wrap[0]).args(&wrap[1..]).arg("true").current_dir(&self.0).output(),
        };
        match output {
            Ok(output) if output.status.success() => Some(()),
            Ok(output) => {
                eprintln!("skipped: {}: {}", wrap[0], String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                eprintln!("skipped: {}: {error}", wrap[0]);
                None
            }
        }
    }

    fn spawned(&self, command: &mut Command) -> Option<Output> {
        match command.output() {
            Ok(output) => Some(output),
            Err(error) => {
                eprintln!("skipped: no seccomp filter here: {error}");
                None
            }
        }
    }

    fn engine_refuses(&self, wrap: &[&str], part: &str) {
        check_refusal(&self.command(wrap, &["run", "--for", "1s", "--data", "d"]).output().unwrap(), part);
    }

    /// An engine without sources on this data folder.
    fn run_on(&self, wrap: &[&str], data: &str) -> Output {
        std::fs::write(self.0.join("empty.toml"), "").unwrap();
        let arguments = [PROGRAM, "run", "--config", "empty.toml", "--for", "1s", "--data", data];
        self.command(wrap, &arguments).output().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_tree_that_is_none_is_refused() {
    let folder = Folder::new("tree");
    let output = folder.command(&[], &["doctor", "--root", "none"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
