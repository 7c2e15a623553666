//! The scripts that prepare a host, and the presets of CPUs: on trees of hosts that are not this one, held against what
//! the doctor says of them.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tidegate::CpuList;

use crate::{Folder, PROGRAM, files, read, root, told, tool};

#[test]
fn the_scripts_are_clean() {
    let scripts = ["tuning/apply.sh", "tuning/revert.sh"];
    for script in scripts {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(root().join(script)).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script} cannot be started");
    }
    let Some(checked) = tool("shellcheck", &scripts) else { return };
    assert!(checked.status.success(), "{}", told(&checked));
}

/// A host of eight CPUs on which nothing is as it should be.
fn bad_host(folder: &Folder) {
    let governor = |cpu: u32| (format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"), "powersave");
    let mut all: Vec<(String, &str)> = (0..8).map(governor).collect();
    all.extend(
        [
            ("proc/sys/kernel/osrelease", "6.8.0-45-generic"),
            ("proc/sys/kernel/io_uring_disabled", "2"),
            ("proc/sys/kernel/numa_balancing", "1"),
            ("proc/sys/net/ipv4/ip_local_port_range", "60000\t60999"),
            ("proc/sys/net/core/somaxconn", "128"),
            ("proc/sys/net/ipv4/tcp_rmem", "4096\t87380\t212992"),
            ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t65536"),
            ("proc/self/status", "Cpus_allowed_list:\t0-7"),
            ("proc/interrupts", " 41: 5 6 PCI-MSI eth0-rx-0\n 52: 1 2 PCI-MSI eth0-tx-0\n 60: 0 0 PCI-MSI nvme0q1"),
            ("proc/irq/41/smp_affinity_list", "0-7"),
            ("proc/irq/52/smp_affinity_list", "3"),
            ("proc/irq/60/smp_affinity_list", "3"),
            ("sys/class/net/eth0/device/vendor", "0x8086"),
            ("sys/devices/system/cpu/online", "0-7"),
            ("sys/devices/system/node/node0/cpulist", "0-3"),
            ("sys/devices/system/node/node1/cpulist", "4-7"),
            ("sys/kernel/mm/transparent_hugepage/enabled", "always"),
            ("etc/sysctl.d/60-tidegate.conf", "# somebody's own"),
        ]
        .map(|(path, text)| (path.to_owned(), text)),
    );
    for (path, text) in all {
        write(&folder.0.join("host").join(path), text);
    }
    write(&folder.0.join("c.toml"), "[cores]\nshards = \"1-6\"\nsink = 7\n");
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, format!("{text}\n")).unwrap();
}

/// Every file of a tree with its text.
fn texts(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap())),
            }
        }
    }
    found.sort();
    // Numbers are the kernel's to separate.
    found.into_iter().map(|(path, text)| (path, text.replace('\t', " "))).collect()
}

/// What the doctor says of the checks that the scripts can mend.
fn doctor(folder: &Folder) -> Vec<(String, String)> {
    let output = folder.run(&["doctor", "--json", "--root", "host", "--config", "c.toml"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mended = [
        "io_uring",
        "ephemeral_ports",
        "somaxconn",
        "socket_buffers",
        "cpu_governor",
        "irq_affinity",
        "transparent_huge_pages",
    ];
    let of = |id: &&str| report["checks"].as_array().unwrap().iter().find(|check| check["id"] == **id).unwrap().clone();
    mended.iter().map(|id| ((*id).to_owned(), of(id)["status"].as_str().unwrap().to_owned())).collect()
}

fn script(folder: &Folder, name: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(root().join("tuning").join(name));
    command.args(["--root", "host"]).args(arguments).current_dir(&folder.0).output().unwrap()
}

#[test]
fn what_is_applied_satisfies_the_doctor_and_what_is_reverted_is_as_it_was() {
    let folder = Folder::new("apply");
    bad_host(&folder);
    let host = folder.0.join("host");
    let before = texts(&host);
    let all = |status: &str| doctor(&folder).into_iter().filter(|(_, found)| found != status).collect::<Vec<_>>();
    assert!(all("failed").is_empty(), "as it should be before anything was done: {:?}", all("failed"));
    let cpus = ["--shards", "1-6", "--sink", "7", "--user", "tidegate"];

    // A run without --yes tells and does nothing.
    let dry = script(&folder, "apply.sh", &cpus);
    let told_dry = told(&dry);
    assert!(dry.status.success() && told_dry.contains("nothing was done: --yes does it"), "{told_dry}");
    assert_eq!(texts(&host), before);
    let changes = told_dry.lines().filter(|line| line.starts_with("change ")).count();
    for word in ["why", "undo"] {
        let count = told_dry.lines().filter(|line| line.trim_start().starts_with(&format!("{word} "))).count();
        assert_eq!(count, changes, "{word}: {told_dry}");
    }

    let done = script(&folder, "apply.sh", &[&["--yes"], &cpus[..]].concat());
    assert!(done.status.success(), "{}", told(&done));
    assert!(told(&done).contains(&format!("{changes} changed, of which the kernel refused 0")), "{}", told(&done));
    assert!(all("ok").is_empty(), "{:?}", all("ok"));
    let text = |path: &str| std::fs::read_to_string(host.join(path)).unwrap();
    assert_eq!(text("proc/irq/41/smp_affinity_list"), "0,7\n");
    assert_eq!(text("proc/irq/60/smp_affinity_list"), "3\n", "a disk's interrupt was moved");
    assert_eq!(text("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"), "powersave\n");
    assert_eq!(text("proc/sys/kernel/numa_balancing"), "0\n");
    assert!(text("etc/security/limits.d/60-tidegate.conf").contains("tidegate hard memlock 65536"));
    assert!(text("etc/sysctl.d/60-tidegate.conf").contains("\nnet.ipv4.tcp_rmem = 4096 87380 6291456\n"));

    // Again: nothing to do, and what was recorded stays.
    let again = script(&folder, "apply.sh", &[&["--yes"], &cpus[..]].concat());
    assert!(told(&again).contains("0 changed"), "{}", told(&again));

    let dry = script(&folder, "revert.sh", &[]);
    assert!(told(&dry).contains(&format!("{changes} to put back, and nothing was done")), "{}", told(&dry));
    assert!(all("ok").is_empty());
    let reverted = script(&folder, "revert.sh", &["--yes"]);
    assert!(reverted.status.success(), "{}", told(&reverted));
    assert_eq!(texts(&host), before);
    let nothing = script(&folder, "revert.sh", &["--yes"]);
    assert!(nothing.status.success() && told(&nothing).contains("nothing is recorded"), "{}", told(&nothing));
}

#[test]
fn a_change_between_two_runs_is_not_taken_for_what_was_before() {
    let folder = Folder::new("between");
    bad_host(&folder);
    let backlog = folder.0.join("host/proc/sys/net/core/somaxconn");
    let yes = ["--yes"];
    assert!(script(&folder, "apply.sh", &yes).status.success());
    std::fs::write(&backlog, "512\n").unwrap();
    assert!(script(&folder, "apply.sh", &yes).status.success());
    assert_eq!(std::fs::read_to_string(&backlog).unwrap(), "4096\n");
    // Without --shards and --sink nothing is done to CPUs and interrupts.
    let irq = std::fs::read_to_string(folder.0.join("host/proc/irq/41/smp_affinity_list")).unwrap();
    assert_eq!(irq, "0-7\n");
    assert!(script(&folder, "revert.sh", &yes).status.success());
    assert_eq!(std::fs::read_to_string(&backlog).unwrap(), "128\n");
}

#[test]
fn wrong_usage_is_told() {
    let folder = Folder::new("usage");
    bad_host(&folder);
    let before = texts(&folder.0.join("host"));
    for (name, arguments) in [
        ("apply.sh", &["--yes", "--shards", "one"][..]),
        ("apply.sh", &["--yes", "--shards", "1-"]),
        ("apply.sh", &["--yes", "--force"]),
        ("apply.sh", &["--yes", "--user"]),
        ("revert.sh", &["--yes", "now"]),
    ] {
        let output = script(&folder, name, arguments);
        assert!(!output.status.success() && !output.stderr.is_empty(), "{name} {arguments:?}: {}", told(&output));
    }
    assert_eq!(texts(&folder.0.join("host")), before);
}

#[test]
fn presets_fit_the_hosts_they_are_for() {
    /// A host: its CPUs, the distance of a sibling, and the CPUs of each memory node.
    type Host = (&'static str, Option<usize>, &'static [&'static str]);
    let laptop: Host = ("0-3", None, &["0-3"]);
    let eight: Host = ("0-7", None, &["0-7"]);
    let sixteen: Host = ("0-31", Some(16), &["0-31"]);
    let two: Host = ("0-63", Some(32), &["0-15,32-47", "16-31,48-63"]);
    let presets = [
        ("eight-core", eight),
        ("laptop", laptop),
        ("sixteen-core-smt", sixteen),
        ("two-socket-node0", two),
        ("two-socket-node1", two),
    ];
    let names: Vec<String> = files("tuning/cpu").iter().map(|path| path.display().to_string()).collect();
    assert_eq!(names, presets.map(|(name, _)| format!("tuning/cpu/{name}.toml")));
    for (name, host) in presets {
        check_preset(name, host);
    }
}

fn check_preset(name: &str, (online, distance, nodes): (&str, Option<usize>, &[&str])) {
    let folder = Folder::new(name);
    let path = root().join("tuning/cpu").join(format!("{name}.toml"));
    let text = read(&format!("tuning/cpu/{name}.toml"));
    let comment = |key: &str| -> Option<CpuList> {
        let line = text.lines().find_map(|line| line.strip_prefix('#')?.split_once(key))?;
        line.1.split_whitespace().next()?.parse().ok()
    };
    let cpus: CpuList = online.parse().unwrap();
    let tree = folder.0.join("host");
    write(&tree.join("proc/self/status"), &format!("Cpus_allowed_list:\t{online}"));
    write(&tree.join("sys/devices/system/cpu/online"), online);
    let isolated = comment("isolcpus=");
    write(
        &tree.join("sys/devices/system/cpu/isolated"),
        &isolated.as_ref().map(CpuList::to_string).unwrap_or_default(),
    );
    for cpu in cpus.iter() {
        let core = distance.map_or(cpu, |distance| cpu % distance);
        let siblings = CpuList::new([Some(core), distance.map(|distance| core + distance)].into_iter().flatten());
        let file = format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        write(&tree.join(file), &siblings.to_string());
    }
    for (index, node) in nodes.iter().enumerate() {
        write(&tree.join(format!("sys/devices/system/node/node{index}/cpulist")), node);
    }
    // The configuration is one that such a host takes.
    let environment = tidegate::Environment::default();
    let loaded = tidegate::Loader::new(&environment).file(&path).load();
    let there = tidegate::config::Cpus::read_from(&tree);
    let checked =
        tidegate::engine::check::check(loaded, &environment, &there).unwrap_or_else(|found| panic!("{name}: {found}"));
    assert!(checked.warnings.is_empty(), "{name}: {:?}", checked.warnings);
    let shards = CpuList::new(checked.placement.shards.iter().copied());
    let chosen = CpuList::new(shards.iter().chain([checked.placement.sink]));
    assert!(!shards.contains(checked.placement.sink), "{name}: sink core and shard on one CPU");
    assert!(chosen.iter().count() < cpus.iter().count(), "{name}: nothing is left for the host");
    // What its comments say of other places is the same.
    assert_eq!(comment("CPUAffinity=").unwrap(), chosen, "{name}");
    if let Some(isolated) = isolated {
        assert!(shards.iter().all(|cpu| isolated.contains(cpu)), "{name}: a shard's CPU is not isolated");
        assert!(!isolated.contains(0), "{name}: nothing is left for the host");
    }
    if let Some(applied) = comment("--shards ") {
        assert!(shards.iter().all(|cpu| applied.contains(cpu)), "{name}: apply.sh has other CPUs");
    }
    let output = Command::new(PROGRAM)
        .args(["doctor", "--json", "--root", "host", "--config"])
        .arg(&path)
        .current_dir(&folder.0)
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)));
    // A laptop is not given up to one program.
    let ids = ["cpus", "cpu_count", "smt_siblings", "numa_node", "isolated_cpus"];
    for id in ids.iter().filter(|id| name != "laptop" || **id != "isolated_cpus") {
        let check = report["checks"].as_array().unwrap().iter().find(|check| check["id"] == **id).unwrap();
        assert_eq!(check["status"], "ok", "{name}: {check}");
    }
}
