//! The CPUs of shards and sink core: that they exist, and that nothing else takes their time.

use std::collections::BTreeSet;

use crate::config::{CpuChoice, CpuList};
use crate::doctor::finding::{Check, Finding, Target};
use crate::doctor::{Host, Need, Tree};

/// Whether the CPUs that are named can be used.
pub(super) fn exist(host: &Host, need: &Need) -> Finding {
    let check = Check::required("cpus", "each shard is pinned to its own");
    let cores = &need.settings.cores;
    let named = [("cores.shards", &cores.shards), ("cores.sink", &cores.sink)];
    let expected = match named.iter().any(|(_, choice)| matches!(choice, CpuChoice::List(_))) {
        true => "those of cores.shards and cores.sink, allowed to this process",
        false => "at least one that this process may use",
    };
    let mut refusals = Vec::new();
    for (key, choice) in named {
        if let CpuChoice::List(list) = choice {
            refusals.extend(host.cpus.refuse(list).into_iter().map(|refusal| format!("{key}: {refusal}")));
        }
    }
    let placement = &host.placement;
    let shards = CpuList::new(placement.shards.iter().copied());
    let allowed = &host.cpus.allowed;
    if refusals.is_empty() {
        return check.ok(format!("shards on {shards}, sink core on {}, of {allowed}", placement.sink), expected);
    }
    check
        .failed(
            refusals.join("; "),
            expected,
            format!("choose from {allowed}, or `auto`; or allow more to the process"),
        )
        .fragment(Target::Systemd, format!("[Service]\nCPUAffinity={}", CpuList::new(host.chosen())))
        .fragment(Target::Docker, format!("--cpuset-cpus={}", CpuList::new(host.chosen())))
        .fragment(Target::Kubernetes, pod_cpus(host.chosen().len()))
}

/// Whether shard and sink core have a CPU each.
pub(super) fn count(host: &Host) -> Finding {
    let check = Check::advised("cpu_count", "on one CPU the sink core and the shards take turns");
    let expected = "at least 2 CPUs: one for a shard, one for the sink core";
    let allowed = &host.cpus.allowed;
    if allowed.len() >= 2 {
        return check.ok(format!("{} allowed ({allowed})", allowed.len()), expected);
    }
    let online = &host.cpus.online;
    check
        .failed(format!("one CPU allowed ({allowed}) of {online}"), expected, "allow the process a second CPU")
        .fragment(Target::Shell, format!("taskset -c {online} tidegate run"))
        .fragment(Target::Docker, format!("--cpuset-cpus={online}"))
        .fragment(Target::Systemd, format!("[Service]\nCPUAffinity={online}"))
        .fragment(Target::Kubernetes, pod_cpus(2))
}

/// The frequency governor of the chosen CPUs.
pub(super) fn governor(tree: &Tree, host: &Host) -> Finding {
    let check = Check::advised("cpu_governor", "a CPU that has clocked down while it waited answers late");
    let expected = "performance";
    let of = |cpu: &usize| tree.text(&format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"));
    let found: Vec<(usize, String)> = host.chosen().iter().filter_map(|cpu| Some((*cpu, of(cpu)?))).collect();
    let others: BTreeSet<&str> =
        found.iter().map(|(_, governor)| governor.as_str()).filter(|governor| *governor != expected).collect();
    if found.is_empty() {
        return check.unknown(expected);
    }
    if others.is_empty() {
        return check.ok(expected, expected);
    }
    let slow = CpuList::new(found.iter().filter(|(_, governor)| governor != expected).map(|(cpu, _)| *cpu));
    let others = others.into_iter().collect::<Vec<_>>().join(", ");
    check
        .failed(format!("{others} on {slow}"), expected, "`tuning/apply.sh --yes` sets it")
        .fragment(Target::Shell, format!("cpupower -c {slow} frequency-set -g performance"))
}

/// Whether the scheduler keeps other tasks off the shards' CPUs.
pub(super) fn isolated(tree: &Tree, host: &Host) -> Finding {
    let check = Check::advised("isolated_cpus", "any other task on a shard's CPU delays all its requests");
    let count = host.cpus.online.len();
    if count < ISOLATE_FROM {
        let expected = format!("nothing on a host of fewer than {ISOLATE_FROM} CPUs");
        return check.ok(format!("{count} CPUs on line"), expected);
    }
    let shards = CpuList::new(host.placement.shards.iter().copied());
    let expected = format!("the shards' CPUs ({shards}) isolated");
    let Some(text) = tree.text("sys/devices/system/cpu/isolated") else { return check.unknown(expected) };
    let isolated: CpuList = text.parse().unwrap_or_default();
    let open = CpuList::new(shards.iter().filter(|cpu| !isolated.contains(*cpu)));
    let current = if isolated.is_empty() { "none".to_owned() } else { isolated.to_string() };
    if open.is_empty() {
        return check.ok(current, expected);
    }
    let arguments = format!("isolcpus={shards} nohz_full={shards} rcu_nocbs={shards}");
    check
        .failed(
            current,
            expected,
            format!("give the kernel the arguments `{arguments}`, name the CPUs in cores.shards, and allow them to the process"),
        )
        .fragment(Target::Systemd, format!("[Service]\nCPUAffinity={}", CpuList::new(host.chosen())))
}

/// Whether chosen CPUs share a core while others stand idle.
pub(super) fn smt_siblings(tree: &Tree, host: &Host) -> Finding {
    let check = Check::advised(
        "smt_siblings",
        "two threads of one core share its execution units: each is slower by a third or more",
    );
    let expected = "at most one chosen CPU of each core, while there are cores left";
    let siblings = |cpu: usize| -> Option<CpuList> {
        tree.text(&format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"))?.parse().ok()
    };
    let mut cores: Vec<CpuList> = Vec::new();
    for cpu in host.cpus.allowed.iter() {
        let Some(core) = siblings(cpu) else { return check.unknown(expected) };
        if !cores.contains(&core) {
            cores.push(core);
        }
    }
    let chosen = host.chosen();
    let on = |core: &CpuList| chosen.iter().filter(|cpu| core.contains(**cpu)).count();
    let shared: Vec<String> = cores.iter().filter(|core| on(core) > 1).map(CpuList::to_string).collect();
    let idle = cores.iter().filter(|core| on(core) == 0).count();
    if shared.is_empty() {
        return check.ok(format!("{} chosen CPUs on as many cores", chosen.len()), expected);
    }
    let current = format!("both of {}", shared.join(" and of "));
    if idle == 0 {
        return check.ok(format!("{current}; no core is left"), expected);
    }
    let first = |core: &CpuList| core.iter().find(|cpu| host.cpus.allowed.contains(*cpu));
    let mut singles: Vec<usize> = cores.iter().filter_map(first).collect();
    singles.sort_unstable();
    let sink = singles.pop().unwrap_or_default();
    let shards = CpuList::new(singles);
    check.failed(
        current,
        expected,
        format!("set cores.shards = \"{shards}\" and cores.sink = {sink}, or fewer of them"),
    )
}

/// Whether the chosen CPUs have one memory.
pub(super) fn numa_node(tree: &Tree, host: &Host) -> Finding {
    let check =
        Check::advised("numa_node", "shards and sink core pass records through memory: another node's is twice as far");
    let expected = "all chosen CPUs on one node";
    let folder = "sys/devices/system/node";
    let is_node = |name: &String| name.strip_prefix("node").is_some_and(|rest| rest.parse::<u32>().is_ok());
    let list = |node: String| {
        let cpus: CpuList = tree.text(&format!("{folder}/{node}/cpulist"))?.parse().ok()?;
        Some((node, cpus))
    };
    let nodes: Vec<(String, CpuList)> = tree.names(folder).into_iter().filter(is_node).filter_map(list).collect();
    if nodes.is_empty() {
        return check.unknown(expected);
    }
    let chosen = host.chosen();
    let used: Vec<&(String, CpuList)> =
        nodes.iter().filter(|(_, cpus)| chosen.iter().any(|cpu| cpus.contains(*cpu))).collect();
    let current = used.iter().map(|(node, cpus)| format!("{node} ({cpus})")).collect::<Vec<_>>().join(", ");
    if used.len() <= 1 {
        return check.ok(current, expected);
    }
    let most = used.iter().max_by_key(|(_, cpus)| chosen.iter().filter(|cpu| cpus.contains(**cpu)).count());
    let (node, cpus) = most.map_or((String::new(), CpuList::default()), |(node, cpus)| (node.clone(), cpus.clone()));
    let only = CpuList::new(cpus.iter().filter(|cpu| host.cpus.allowed.contains(*cpu)));
    check
        .failed(
            current,
            expected,
            format!("choose cores.shards and cores.sink from {only} ({node}); run an instance for each node"),
        )
        .fragment(
            Target::Systemd,
            format!("[Service]\nCPUAffinity={only}\nNUMAPolicy=bind\nNUMAMask={}", &node[4.min(node.len())..]),
        )
        .fragment(Target::Docker, format!("--cpuset-cpus={only} --cpuset-mems={}", &node[4.min(node.len())..]))
        .fragment(
            Target::Kubernetes,
            "# in the kubelet's configuration on the node\ncpuManagerPolicy: static\ntopologyManagerPolicy: single-numa-node",
        )
}

/// Whether the network card interrupts the shards.
pub(super) fn irq_affinity(tree: &Tree, host: &Host) -> Finding {
    let check = Check::advised("irq_affinity", "interrupts of the network card stop the shard on whose CPU they come");
    let shards = CpuList::new(host.placement.shards.iter().copied());
    let others = CpuList::new(host.cpus.online.iter().filter(|cpu| !shards.contains(*cpu)));
    let expected = format!("interrupts of the network card on other CPUs than the shards' ({shards})");
    let irqs = network_irqs(tree);
    if irqs.is_empty() {
        return check.unknown(expected);
    }
    // Where it may come, and where it comes of these. One that has been moved comes to the old place until it comes again.
    let comes = |irq: u32, name: &str| -> bool {
        let cpus = tree.text(&format!("proc/irq/{irq}/{name}")).and_then(|text| text.parse::<CpuList>().ok());
        cpus.is_none_or(|cpus| cpus.iter().any(|cpu| shards.contains(cpu)))
    };
    let known = |irq: u32| tree.has(&format!("proc/irq/{irq}/smp_affinity_list"));
    let bad: Vec<u32> = irqs
        .iter()
        .copied()
        .filter(|irq| known(*irq) && comes(*irq, "smp_affinity_list") && comes(*irq, "effective_affinity_list"))
        .collect();
    let shown = |irqs: &[u32]| {
        let numbers = irqs.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        format!("IRQ{} {numbers}", if irqs.len() == 1 { "" } else { "s" })
    };
    if bad.is_empty() {
        return check.ok(format!("{} on none of them", shown(&irqs)), expected);
    }
    let current = format!("{} on CPUs of shards", shown(&bad));
    if others.is_empty() {
        return check.ok(format!("{current}; no other CPU is left"), expected);
    }
    let lines: Vec<String> =
        bad.iter().map(|irq| format!("echo {others} > /proc/irq/{irq}/smp_affinity_list")).collect();
    check
        .failed(current, expected, "`tuning/apply.sh --yes` moves them; stop irqbalance, which moves them back")
        .fragment(Target::Shell, lines.join("\n"))
}

/// The interrupts of network cards: those of the device, or of the one it sits on, and those named after it.
fn network_irqs(tree: &Tree) -> Vec<u32> {
    let interrupts = tree.text("proc/interrupts").unwrap_or_default();
    let mut irqs = BTreeSet::new();
    for card in tree.names("sys/class/net") {
        let device = format!("sys/class/net/{card}/device");
        if !tree.has(&device) {
            continue;
        }
        let own = tree.names(&format!("{device}/msi_irqs"));
        // A virtio card sits on a PCI device, which has the interrupts.
        let own = if own.is_empty() { tree.names(&format!("{device}/../msi_irqs")) } else { own };
        irqs.extend(own.iter().filter_map(|name| name.parse::<u32>().ok()));
        for line in interrupts.lines() {
            let (Some((irq, rest)), true) = (line.split_once(':'), line.contains(&card)) else { continue };
            let named = rest.split_whitespace().next_back().is_some_and(|name| name.starts_with(&card));
            irqs.extend(irq.trim().parse::<u32>().ok().filter(|_| named));
        }
    }
    irqs.into_iter().collect()
}

/// Whether the control group lets the chosen CPUs be used in full.
pub(super) fn cgroup_quota(tree: &Tree, host: &Host) -> Finding {
    let check =
        Check::advised("cgroup_cpu_quota", "a group that has spent its time stands still until the next 100 ms begin");
    let cores = host.chosen().len() as f64;
    let expected = format!("none, or at least {cores} CPUs");
    let least = quotas(tree).into_iter().min_by(|(a, _), (b, _)| a.total_cmp(b));
    match least {
        Some((cpus, path)) if cpus < cores => check
            .failed(format!("{cpus} CPUs in {path}"), expected, "lift the quota, or name fewer CPUs in cores.shards")
            .fragment(Target::Systemd, "[Service]\nCPUQuota=")
            .fragment(Target::Docker, format!("--cpus={cores} --cpuset-cpus={}", CpuList::new(host.chosen())))
            .fragment(Target::Kubernetes, pod_cpus(host.chosen().len())),
        Some((cpus, path)) => check.ok(format!("{cpus} CPUs in {path}"), expected),
        None => check.ok("none", expected),
    }
}

/// The quotas of this process's group and those above it, in CPUs, each with its file.
fn quotas(tree: &Tree) -> Vec<(f64, String)> {
    let mut found = Vec::new();
    for line in tree.text("proc/self/cgroup").unwrap_or_default().lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let second = controllers.is_empty();
        if !second && !controllers.split(',').any(|name| name == "cpu") {
            continue;
        }
        let mut group = path.trim_matches('/').to_owned();
        loop {
            for base in if second {
                &["sys/fs/cgroup", "sys/fs/cgroup/unified"][..]
            } else {
                &["sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"]
            } {
                let folder = if group.is_empty() { (*base).to_owned() } else { format!("{base}/{group}") };
                let read = if second { quota_2(tree, &folder) } else { quota_1(tree, &folder) };
                found.extend(read.map(|cpus| (cpus, format!("/{folder}"))));
            }
            if group.is_empty() {
                break;
            }
            group = group.rsplit_once('/').map_or(String::new(), |(above, _)| above.to_owned());
        }
    }
    found
}

fn quota_2(tree: &Tree, folder: &str) -> Option<f64> {
    // `max 100000` fails to be two numbers: no quota.
    match tree.numbers(&format!("{folder}/cpu.max"))?.as_slice() {
        [quota, period] if *period > 0 => Some(*quota as f64 / *period as f64),
        _ => None,
    }
}

fn quota_1(tree: &Tree, folder: &str) -> Option<f64> {
    // -1 fails to be a number without a sign: no quota.
    let quota = tree.number(&format!("{folder}/cpu.cfs_quota_us"))?;
    let period = tree.number(&format!("{folder}/cpu.cfs_period_us")).filter(|period| *period > 0)?;
    Some(quota as f64 / period as f64)
}

/// Whether the control group's CPUs are the chosen ones.
pub(super) fn cgroup_cpuset(tree: &Tree, host: &Host) -> Finding {
    let check = Check::advised("cgroup_cpuset", "a CPU that is taken out of the set moves its shard onto another's");
    let chosen = CpuList::new(host.chosen());
    let expected = format!("the chosen CPUs ({chosen}) in the group's set");
    let text = tree.text("proc/self/cgroup").unwrap_or_default();
    let set = text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_matches('/'));
        let files: &[&str] = match controllers {
            "" => &["sys/fs/cgroup/{}/cpuset.cpus.effective"],
            _ if controllers.split(',').any(|name| name == "cpuset") => {
                &["sys/fs/cgroup/cpuset/{}/cpuset.effective_cpus", "sys/fs/cgroup/cpuset/{}/cpuset.cpus"]
            }
            _ => return None,
        };
        files.iter().find_map(|file| tree.text(&file.replace("{}", path))?.parse::<CpuList>().ok())
    });
    let Some(set) = set else { return check.unknown(expected) };
    let outside = CpuList::new(chosen.iter().filter(|cpu| !set.contains(*cpu)));
    if outside.is_empty() {
        return check.ok(set.to_string(), expected);
    }
    check
        .failed(
            format!("{set}, without {outside}"),
            expected,
            "give the group the CPUs for itself, or choose from its set",
        )
        .fragment(Target::Systemd, format!("[Service]\nAllowedCPUs={chosen}"))
        .fragment(Target::Docker, format!("--cpuset-cpus={chosen}"))
        .fragment(Target::Kubernetes, pod_cpus(host.chosen().len()))
}

/// Whole CPUs of its own for a pod.
fn pod_cpus(count: usize) -> String {
    format!(
        "# with --cpu-manager-policy=static on the node; requests equal to limits\nresources:\n  requests: {{cpu: \"{count}\", memory: 1Gi}}\n  limits: {{cpu: \"{count}\", memory: 1Gi}}"
    )
}

/// On fewer the kernel and everything else would have too little.
const ISOLATE_FROM: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;
    use crate::doctor::tests::{Fixture, check, need};

    /// A check of a host of eight CPUs, or of what the files say instead.
    fn of(test: impl Fn(&Tree, &Host) -> Finding, files: &[(&str, &str)], toml: &str) -> Finding {
        let fixture = Fixture::eight(files);
        test(fixture.tree(), &Host::read(fixture.tree(), &need(toml)))
    }

    const ONE: (&str, &str) = ("proc/self/status", "Cpus_allowed_list:\t0");
    const NAMED: &str = "[cores]\nshards = \"0-1\"\nsink = 2";

    #[test]
    fn named_cpus_exist_and_are_allowed() {
        let test = |files: &[(&str, &str)], toml: &str| {
            let fixture = Fixture::eight(files);
            exist(&Host::read(fixture.tree(), &need(toml)), &need(toml))
        };
        check(&test(&[], ""), Status::Ok, &["shards on 0-5, sink core on 6, of 0-7"]);
        check(&test(&[ONE], ""), Status::Ok, &["shards on 0, sink core on 0"]);
        check(&test(&[], NAMED), Status::Ok, &["shards on 0-1, sink core on 2"]);
        let denied = test(&[ONE], NAMED);
        check(&denied, Status::Failed, &["found 1, which is not allowed", "--cpuset-cpus=0-2", "cpu: \\\"3\\\""]);
        assert!(denied.refuses());
        check(&test(&[], "[cores]\nshards = 9"), Status::Failed, &["9, which does not exist", "CPUAffinity="]);
    }

    #[test]
    fn one_cpu_is_told() {
        let test = |files: &[(&str, &str)]| of(|_, host| count(host), files, "");
        check(&test(&[]), Status::Ok, &["8 allowed"]);
        let one = test(&[ONE]);
        check(&one, Status::Failed, &["one CPU allowed (0) of 0-7", "taskset -c 0-7"]);
        assert!(!one.refuses());
    }

    #[test]
    fn governors_are_read_for_the_chosen_cpus() {
        let path = |cpu: u32| format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
        let paths = [path(0), path(1), path(2), path(3)];
        let test = |names: [&str; 4]| {
            let files: Vec<(&str, &str)> = paths.iter().map(String::as_str).zip(names).collect();
            of(governor, &files, NAMED)
        };
        check(&test(["performance"; 4]), Status::Ok, &[]);
        check(&test(["performance", "performance", "performance", "powersave"]), Status::Ok, &[]);
        check(&test(["powersave", "performance", "schedutil", "x"]), Status::Failed, &["on 0,2", "cpupower -c 0,2"]);
        check(&of(governor, &[], NAMED), Status::Unknown, &[]);
    }

    #[test]
    fn shards_are_isolated_where_there_is_room() {
        let isolated_list = "sys/devices/system/cpu/isolated";
        check(&of(isolated, &[(isolated_list, "0-1,5")], NAMED), Status::Ok, &["0-1,5"]);
        check(&of(isolated, &[(isolated_list, "")], NAMED), Status::Failed, &["found none", "isolcpus=0-1"]);
        check(&of(isolated, &[(isolated_list, "1")], NAMED), Status::Failed, &["nohz_full=0-1"]);
        check(&of(isolated, &[], NAMED), Status::Unknown, &[]);
        check(&of(isolated, &[("sys/devices/system/cpu/online", "0-2")], NAMED), Status::Ok, &["3 CPUs"]);
    }

    #[test]
    fn siblings_are_not_chosen_while_cores_are_idle() {
        let path = |cpu: u32| format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        let paths: Vec<String> = (0..8).map(path).collect();
        let test = |lists: [&str; 8], toml: &str| {
            let files: Vec<(&str, &str)> = paths.iter().map(String::as_str).zip(lists).collect();
            of(smt_siblings, &files, toml)
        };
        let pairs = ["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"];
        check(&test(pairs, NAMED), Status::Ok, &["3 chosen CPUs"]);
        let bad = test(pairs, "[cores]\nshards = \"0,4\"\nsink = 1");
        check(&bad, Status::Failed, &["both of 0,4", "cores.shards = \"0-2\" and cores.sink = 3"]);
        check(&test(pairs, ""), Status::Ok, &["no core is left"]);
        check(&test(["0", "1", "2", "3", "4", "5", "6", "7"], ""), Status::Ok, &[]);
        check(&of(smt_siblings, &[], NAMED), Status::Unknown, &[]);
    }

    #[test]
    fn one_node_serves_all() {
        let nodes =
            [("sys/devices/system/node/node0/cpulist", "0-3"), ("sys/devices/system/node/node1/cpulist", "4-7")];
        check(&of(numa_node, &nodes, NAMED), Status::Ok, &["node0 (0-3)"]);
        let both = of(numa_node, &nodes, "[cores]\nshards = \"4-6\"\nsink = 3");
        check(
            &both,
            Status::Failed,
            &["node0 (0-3), node1 (4-7)", "from 4-7 (node1)", "NUMAMask=1", "single-numa-node"],
        );
        check(&of(numa_node, &[], NAMED), Status::Unknown, &[]);
    }

    #[test]
    fn interrupts_come_to_other_cpus() {
        let card = |first: &'static str, second: &'static str| {
            vec![
                ("sys/class/net/lo/mtu", "65536"),
                ("sys/class/net/eth0/device/msi_irqs/41", "msix"),
                ("proc/irq/41/smp_affinity_list", "0-7"),
                ("proc/irq/41/effective_affinity_list", first),
                ("proc/interrupts", " 41: 5 6 PCI-MSI eth0-rx-0\n 52: 1 2 PCI-MSI eth0-tx-0\n 60: 0 0 PCI-MSI nvme0q1"),
                ("proc/irq/52/smp_affinity_list", second),
                ("proc/irq/60/smp_affinity_list", "0"),
            ]
        };
        check(&of(irq_affinity, &card("3", "4-7"), NAMED), Status::Ok, &["IRQs 41, 52"]);
        check(&of(irq_affinity, &card("1", "4-7"), NAMED), Status::Failed, &["IRQ 41 on", "echo 2-7 > /proc/irq/41/"]);
        check(&of(irq_affinity, &card("3", "0-7"), NAMED), Status::Failed, &["IRQ 52 on"]);
        // It has been moved, and has not come since.
        let moved = [&card("1", "4-7")[..], &[("proc/irq/41/smp_affinity_list", "2-7")]].concat();
        check(&of(irq_affinity, &moved, NAMED), Status::Ok, &[]);
        let all = "[cores]\nshards = \"0-7\"\nsink = 0";
        check(&of(irq_affinity, &card("3", "0-7"), all), Status::Ok, &["no other CPU is left"]);
        // A virtio card's interrupts are those of the PCI device below it.
        let below = [
            ("sys/class/net/eth0/device/vendor", "0x1af4"),
            ("sys/class/net/eth0/msi_irqs/7", "msix"),
            ("proc/irq/7/smp_affinity_list", "0"),
        ];
        check(&of(irq_affinity, &below, NAMED), Status::Failed, &["IRQ 7 on"]);
        check(&of(irq_affinity, &[], NAMED), Status::Unknown, &[]);
    }

    #[test]
    fn quotas_of_every_level_count() {
        let of = |files: &[(&str, &str)]| of(cgroup_quota, files, NAMED);
        let second = ("proc/self/cgroup", "0::/kube/pod1");
        check(&of(&[second, ("sys/fs/cgroup/kube/pod1/cpu.max", "max 100000")]), Status::Ok, &["none"]);
        check(&of(&[second, ("sys/fs/cgroup/kube/pod1/cpu.max", "300000 100000")]), Status::Ok, &["3 CPUs in"]);
        check(
            &of(&[
                second,
                ("sys/fs/cgroup/kube/pod1/cpu.max", "max 100000"),
                ("sys/fs/cgroup/kube/cpu.max", "150000 100000"),
            ]),
            Status::Failed,
            &["1.5 CPUs in /sys/fs/cgroup/kube", "CPUQuota=", "--cpus=3"],
        );
        let first = ("proc/self/cgroup", "4:cpu,cpuacct:/docker/a\n0::/");
        let period = ("sys/fs/cgroup/cpu/docker/a/cpu.cfs_period_us", "100000");
        check(&of(&[first, period, ("sys/fs/cgroup/cpu/docker/a/cpu.cfs_quota_us", "-1")]), Status::Ok, &[]);
        check(
            &of(&[first, period, ("sys/fs/cgroup/cpu/docker/a/cpu.cfs_quota_us", "200000")]),
            Status::Failed,
            &["2 CPUs"],
        );
        check(&of(&[]), Status::Ok, &["none"]);
    }

    #[test]
    fn the_groups_set_has_the_chosen_cpus() {
        let of = |files: &[(&str, &str)]| of(cgroup_cpuset, files, NAMED);
        let second = ("proc/self/cgroup", "0::/pod");
        check(&of(&[second, ("sys/fs/cgroup/pod/cpuset.cpus.effective", "0-7")]), Status::Ok, &["0-7"]);
        check(&of(&[second, ("sys/fs/cgroup/pod/cpuset.cpus.effective", "1-7")]), Status::Failed, &["without 0"]);
        let first = ("proc/self/cgroup", "3:cpuset:/docker");
        check(&of(&[first, ("sys/fs/cgroup/cpuset/docker/cpuset.cpus", "4-7")]), Status::Failed, &["AllowedCPUs=0-2"]);
        check(&of(&[]), Status::Unknown, &[]);
    }
}
