//! The image, its seccomp profile and the compose file.
#![allow(unsafe_code)]

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Folder, PROGRAM, read, root, told, tool, yaml};

/// What follows an instruction of the Dockerfile, for each time it is there.
pub fn instruction(name: &str) -> Vec<String> {
    let text = read("tuning/docker/Dockerfile").replace("\\\n", " ");
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    lines.map(|rest| rest.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_dockerfile_is_clean() {
    let Some(checked) = tool("hadolint", &["--no-color", "tuning/docker/Dockerfile"]) else { return };
    assert!(checked.status.success() && checked.stdout.is_empty(), "{}", told(&checked));
    let folder = Folder::new("dockerfile");
    let wrong = folder.0.join("Dockerfile");
    std::fs::write(&wrong, read("tuning/docker/Dockerfile").replace(":nonroot", ":latest")).unwrap();
    let refused = tool("hadolint", &["--no-color", wrong.to_str().unwrap()]).unwrap();
    assert!(told(&refused).contains("DL3007"), "{}", told(&refused));
}

#[test]
fn the_image_fits_the_program() {
    let manifest = read("Cargo.toml");
    let rust = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    let stages = instruction("FROM");
    assert_eq!(stages.len(), 2);
    assert!(stages[0].starts_with(&format!("rust:{rust}-")), "{} builds with another Rust than {rust}", stages[0]);
    let build = instruction("RUN").concat();
    for package in ["gcc", "git", "libc6-dev"] {
        assert!(build.contains(package), "{package} is not installed for the build");
    }
    assert!(build.contains("--locked"), "the build takes other versions than Cargo.lock");
    assert_eq!(instruction("USER"), ["10001:10001"]);
    assert_eq!(instruction("WORKDIR").last().unwrap(), "/var/lib/tidegate");
    assert_eq!(instruction("ENV"), ["INGESTION_DATA_DIR=/var/lib/tidegate"]);
    // Every file that the build stage needs is let into the context.
    let ignored = read("tuning/docker/Dockerfile.dockerignore");
    let allowed: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for needed in ["Cargo.lock", "Cargo.toml", "README.md", "benches", "build.rs", "src"] {
        assert!(allowed.contains(&needed) && root().join(needed).exists(), "{needed} is missing in the context");
    }
    assert!(ignored.lines().any(|line| line == "*"));
    // What it starts, and what it asks for its health, are commands of the program.
    let folder = Folder::new("image");
    let arguments = |instruction: &str| -> Vec<String> { serde_json::from_str(instruction).unwrap() };
    let entry = arguments(&instruction("ENTRYPOINT")[0]);
    let health = instruction("HEALTHCHECK").remove(0);
    let health = arguments(health.split_once("CMD ").unwrap().1);
    assert_eq!(entry[0], health[0]);
    for command in [&arguments(&instruction("CMD")[0])[..], &health[1..]] {
        let mut command: Vec<&str> = command.iter().map(String::as_str).collect();
        command.push("--help");
        let output = folder.run(&command);
        assert!(output.status.success(), "{}", told(&output));
    }
    let port = tidegate::config::SETTINGS.iter().find(|setting| setting.key == "admin.listen").unwrap().default;
    assert_eq!(instruction("EXPOSE"), [port.rsplit(':').next().unwrap()]);
}

#[test]
fn the_container_has_what_the_doctor_asks_for() {
    let Some(documents) = yaml("tuning/docker/compose.yaml") else { return };
    let service = &documents[0]["services"]["tidegate"];
    assert_eq!((&service["read_only"], &service["cap_drop"][0]), (&Value::Bool(true), &Value::from("ALL")));
    assert!(service["ulimits"]["memlock"].as_u64().unwrap() >= 512 << 10);
    assert!(service["ulimits"]["nofile"].as_u64().unwrap() >= 5_256);
    service["cpuset"].as_str().unwrap().parse::<tidegate::CpuList>().unwrap();
    assert!(service.get("cpus").is_none(), "a quota stops the engine when it is spent");
    let options: Vec<&str> = service["security_opt"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(options.contains(&"no-new-privileges:true") && options.contains(&"seccomp=seccomp.json"), "{options:?}");
    let build = root().join("tuning/docker").join(service["build"]["context"].as_str().unwrap());
    assert!(build.join(service["build"]["dockerfile"].as_str().unwrap()).exists());
    let volume = service["volumes"][0].as_str().unwrap();
    assert_eq!(volume.split_once(':').unwrap().1, instruction("VOLUME")[0]);
    assert_eq!(service["ports"][0], "127.0.0.1:9464:9464", "the port is open to more than this host");
    // The same token that the program asks for when it listens off loopback.
    let listen = service["environment"]["INGESTION_ADMIN__LISTEN"].as_str().unwrap();
    let folder = Folder::new("compose");
    let run = |token: &str| {
        let mut command = Command::new(PROGRAM);
        command.arg("check").current_dir(&folder.0).env("INGESTION_ADMIN__LISTEN", listen);
        command.env("INGESTION_ADMIN__TOKEN", token).output().unwrap().status.code()
    };
    assert_eq!((run(""), run("0123456789abcdef")), (Some(2), Some(0)));
}

#[test]
fn the_program_runs_as_the_user_and_on_the_root_of_the_image() {
    let folder = Folder::new("root");
    let data = folder.0.join("data");
    std::fs::create_dir(&data).unwrap();
    let script = "mount --make-rprivate / && mount --bind data data && mount -o remount,ro,bind / && chown 10001:10001 data && \
        cd data && exec setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs --bounding-set=-all \"$0\" \"$@\"";
    let run = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).args(arguments).current_dir(&folder.0);
        command.env("INGESTION_DATA_DIR", &data).env("INGESTION_ADMIN__LISTEN", "127.0.0.1:0").output()
    };
    match run(&[PROGRAM, "--version"]) {
        Ok(output) if output.status.success() => {}
        other => {
            eprintln!("skipped: this host lets nobody be another user on a root that is read only: {other:?}");
            return;
        }
    }
    let ran = run(&[PROGRAM, "run", "--for", "2s"]).unwrap();
    assert!(ran.status.success(), "{}", told(&ran));
    let verified = folder.run(&["verify", "--data", "data"]);
    assert!(verified.status.success() && told(&verified).starts_with("sound: 1 segments"), "{}", told(&verified));
}

#[test]
fn the_profile_denies_by_default_and_allows_three_calls_more() {
    let profile = profile();
    assert_eq!(
        (&profile["defaultAction"], &profile["defaultErrnoRet"]),
        (&Value::from("SCMP_ACT_ERRNO"), &Value::from(1))
    );
    let rules = profile["syscalls"].as_array().unwrap();
    let allowed: Vec<&str> = rules
        .iter()
        .filter(|rule| rule["action"] == "SCMP_ACT_ALLOW" && rule.get("args").is_none())
        .flat_map(|rule| rule["names"].as_array().unwrap().iter().filter_map(Value::as_str))
        .collect();
    for call in ["io_uring_setup", "io_uring_enter", "io_uring_register"] {
        assert!(allowed.contains(&call), "{call} is not allowed");
    }
    for call in ["bpf", "clone", "clone3", "keyctl", "mount", "perf_event_open", "ptrace", "setns", "socket", "unshare"]
    {
        assert!(!allowed.contains(&call), "{call} is allowed without a condition");
    }
}

#[test]
fn the_program_runs_under_the_profile() {
    let profile = profile();
    let Some(numbers) = numbers() else { return };
    let filter = filter(&profile, &numbers, "");
    let folder = Folder::new("seccomp");
    let run = |filter: &[libc::sock_filter], arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(&folder.0).stdin(Stdio::null());
        under(command.env("INGESTION_ADMIN__LISTEN", "127.0.0.1:0"), filter.to_vec()).output()
    };
    for arguments in [
        &["run", "--for", "2s"][..],
        &["verify"],
        &["fetch", "kraken", "ticker", "BTC-USD", "--sim"],
        &["export", "--parquet", "pq"],
        &["doctor"],
    ] {
        match run(&filter, arguments) {
            Ok(output) => assert!(output.status.success(), "{arguments:?}: {}", told(&output)),
            Err(error) => return eprintln!("skipped: no seccomp filter here: {error}"),
        }
    }
    // Without one of the three it is refused, and told as what it is: the profile is what lets it run.
    let without = run(&self::filter(&profile, &numbers, "io_uring_setup"), &["doctor"]).unwrap();
    assert_eq!(without.status.code(), Some(1));
    assert!(told(&without).contains("refused by a seccomp filter"), "{}", told(&without));
}

fn profile() -> Value {
    serde_json::from_str(&read("tuning/docker/seccomp.json")).unwrap()
}

/// The numbers of this architecture's calls, from the C library's headers.
fn numbers() -> Option<std::collections::BTreeMap<String, u32>> {
    let header = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";
    match std::fs::read_to_string(header) {
        Ok(text) if cfg!(target_arch = "x86_64") => {
            let numbers = text.lines().filter_map(|line| line.strip_prefix("#define __NR_")?.split_once(' '));
            Some(numbers.filter_map(|(name, number)| Some((name.to_owned(), number.trim().parse().ok()?))).collect())
        }
        _ => {
            eprintln!("skipped: {header} is not there");
            None
        }
    }
}

/// The profile as the program that a container runtime makes of it, without the rule for `left_out`; a call that it does
/// not allow ends the process, so that none is missed.
fn filter(
    profile: &Value,
    numbers: &std::collections::BTreeMap<String, u32>,
    left_out: &str,
) -> Vec<libc::sock_filter> {
    let line = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let errno = |rule: &Value| 0x0005_0000 | rule["errnoRet"].as_u64().unwrap_or(1) as u32;
    // Only calls of this architecture (AUDIT_ARCH_X86_64); then the number is loaded.
    let mut program =
        vec![line(LOAD, 0, 0, 4), line(IF_EQUAL, 1, 0, 0xc000_003e), line(RETURN, 0, 0, KILL), line(LOAD, 0, 0, 0)];
    for rule in profile["syscalls"].as_array().unwrap() {
        let action = match rule["action"].as_str().unwrap() {
            "SCMP_ACT_ALLOW" => ALLOW,
            "SCMP_ACT_ERRNO" => errno(rule),
            other => panic!("expected a known action, found {other}"),
        };
        for name in rule["names"].as_array().unwrap().iter().filter_map(Value::as_str) {
            let number = *numbers.get(name).unwrap_or_else(|| panic!("{name} is no call"));
            let (condition, value) = match rule["args"].get(0) {
                None => (Vec::new(), 0),
                Some(condition) => {
                    let part = |key: &str| condition[key].as_u64().unwrap_or(0) as u32;
                    let argument = line(LOAD, 0, 0, 16 + 8 * part("index"));
                    match condition["op"].as_str().unwrap() {
                        "SCMP_CMP_EQ" => (vec![argument], part("value")),
                        "SCMP_CMP_MASKED_EQ" => (vec![argument, line(AND, 0, 0, part("value"))], part("valueTwo")),
                        other => panic!("expected a known comparison, found {other}"),
                    }
                }
            };
            let action = if name == left_out { errno(&Value::Null) } else { action };
            if condition.is_empty() {
                program.extend([line(IF_EQUAL, 0, 1, number), line(RETURN, 0, 0, action)]);
                continue;
            }
            let skipped = condition.len() as u8 + 3;
            program.push(line(IF_EQUAL, 0, skipped, number));
            program.extend(condition);
            program.extend([line(IF_EQUAL, 0, 1, value), line(RETURN, 0, 0, action), line(LOAD, 0, 0, 0)]);
        }
    }
    program.push(line(RETURN, 0, 0, KILL));
    program
}

/// Has the command run under a filter.
fn under(command: &mut Command, program: Vec<libc::sock_filter>) -> &mut Command {
    // SAFETY: between fork and exec only prctl is called, with a filter that lives in the closure.
    unsafe {
        command.pre_exec(move || {
            let head = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
            if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &head, 0, 0) != 0
            {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        })
    }
}

// Words of classic BPF, and what a filter can return (seccomp(2)).
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
