//! The kernel: its version, io_uring and the flags of its rings, clocks, huge pages.

use crate::doctor::finding::{Check, Finding, Target};
use crate::doctor::{Facts, Tree};

/// The version.
pub(super) fn version(tree: &Tree) -> Finding {
    let check = Check::required("kernel", "executors use io_uring operations up to that of Linux 5.10");
    let expected = "Linux 5.10 or newer, 6.0 for the ring flags";
    let Some(release) = release(tree) else { return check.unknown(expected) };
    match parse(&release) {
        None => check.unknown(expected),
        Some(version) if version >= KERNEL_MIN => check.ok(release, expected),
        Some(_) => check.failed(release, expected, "install a newer kernel and restart the host"),
    }
}

/// Whether this process may make rings.
pub(super) fn io_uring(tree: &Tree, facts: &Facts) -> Finding {
    let check = Check::required("io_uring", "every executor runs on it");
    let expected = "io_uring_setup allowed, with the operations of Linux 5.10";
    let sysctl = tree.number("proc/sys/kernel/io_uring_disabled");
    if sysctl == Some(2) || (sysctl == Some(1) && !in_group(tree)) {
        let current = match sysctl {
            Some(2) => "switched off on this host: kernel.io_uring_disabled = 2",
            _ => "allowed to one group only: kernel.io_uring_disabled = 1",
        };
        let fix =
            "`sysctl -w kernel.io_uring_disabled=0` on the host, or with 1 join the group of `kernel.io_uring_group`";
        let line =
            "sysctl -w kernel.io_uring_disabled=0\necho kernel.io_uring_disabled=0 > /etc/sysctl.d/60-tidegate.conf";
        return check.failed(current, expected, fix).fragment(Target::Shell, line);
    }
    match facts.rings.refused {
        None if facts.rings.missing.is_empty() => {
            check.ok(sysctl.map_or("allowed".to_owned(), |_| "allowed, not switched off".to_owned()), expected)
        }
        None => check.failed(
            format!("operations missing: {}", facts.rings.missing.join(", ")),
            expected,
            "install a newer kernel, or leave the sandbox that hides them",
        ),
        Some(libc::EPERM | libc::EACCES) => refused(check, tree, expected),
        Some(libc::ENOSYS) => check.failed(
            "no io_uring in this kernel",
            expected,
            "run a kernel built with CONFIG_IO_URING; sandboxes such as gVisor hide it, too",
        ),
        Some(libc::ENOMEM) => check.failed(
            "no memory for a ring: the memlock limit of this user is used up by its other processes",
            expected,
            "raise it with `ulimit -l` or `LimitMEMLOCK=`",
        ),
        Some(libc::EMFILE | libc::ENFILE) => {
            check.failed("no free file descriptor for a ring", expected, "raise the open files limit: `ulimit -n`")
        }
        Some(other) => {
            let error = std::io::Error::from_raw_os_error(other);
            check.failed(format!("refused: {error}"), expected, "allow io_uring_setup")
        }
    }
}

/// A refusal that no sysctl explains.
fn refused(check: Check, tree: &Tree, expected: &str) -> Finding {
    let calls = "allow io_uring_setup, io_uring_enter and io_uring_register";
    if tree.field("proc/self/status", "Seccomp").as_deref() != Some("2") {
        return check.failed(
            "refused by a security policy of this host",
            expected,
            format!("{calls} in its rules (SELinux, AppArmor)"),
        );
    }
    let current = "refused by a seccomp filter: the default profiles of Docker and Kubernetes forbid it";
    check
        .failed(current, expected, format!("use a profile of its own: {calls}"))
        .fragment(Target::Docker, "--security-opt seccomp=tuning/docker/seccomp.json")
        .fragment(
            Target::Kubernetes,
            "# tuning/docker/seccomp.json as /var/lib/kubelet/seccomp/tidegate.json on the node\nsecurityContext:\n  \
             seccompProfile:\n    type: Localhost\n    localhostProfile: tidegate.json",
        )
        .fragment(Target::Systemd, "[Service]\nSystemCallFilter=@system-service")
}

/// Whether rings are served without interrupting the running task.
pub(super) fn ring_flags(tree: &Tree, facts: &Facts) -> Finding {
    let check = Check::advised("ring_flags", "without COOP_TASKRUN a core serves 40 % fewer requests per second");
    let expected = "COOP_TASKRUN and SINGLE_ISSUER in force, which takes Linux 6.0";
    match facts.rings.flagged {
        Some((rings, flagged)) if flagged > 0 => check.ok(format!("on {flagged} of {rings} rings"), expected),
        Some((0, _)) => check.failed(
            "not linked",
            expected,
            "give the program the linker argument that the crate documentation names",
        ),
        Some((rings, _)) => check.failed(format!("on none of {rings} rings"), expected, "run Linux 6.0 or newer"),
        None => match release(tree).as_deref().and_then(parse) {
            Some(version) if version < KERNEL_FLAGS => {
                check.failed("a kernel that refuses them", expected, "run Linux 6.0 or newer")
            }
            _ => check.unknown(expected),
        },
    }
}

/// Transparent huge pages.
pub(super) fn huge_pages(tree: &Tree) -> Finding {
    let check = Check::advised(
        "transparent_huge_pages",
        "with `always` memory that few bytes are used of grows to 2 MiB pages",
    );
    let expected = "madvise or never";
    let path = "sys/kernel/mm/transparent_hugepage/enabled";
    let Some(text) = tree.text(path) else { return check.unknown(expected) };
    let chosen = text.split('[').nth(1).and_then(|rest| rest.split(']').next()).unwrap_or(&text).to_owned();
    if chosen != "always" {
        return check.ok(chosen, expected);
    }
    check
        .failed(chosen, expected, "choose madvise; `tuning/apply.sh --yes` does")
        .fragment(Target::Shell, format!("echo madvise > /{path}"))
}

/// The clock that the kernel reads.
pub(super) fn clock_source(tree: &Tree) -> Finding {
    let check = Check::advised("clock_source", "each request reads the clock several times; others need a system call");
    let expected = FAST_CLOCKS.join(", ");
    let folder = "sys/devices/system/clocksource/clocksource0";
    let Some(current) = tree.text(&format!("{folder}/current_clocksource")) else { return check.unknown(expected) };
    if FAST_CLOCKS.contains(&current.as_str()) {
        return check.ok(current, expected);
    }
    let available = tree.text(&format!("{folder}/available_clocksource")).unwrap_or_default();
    let better = FAST_CLOCKS.iter().find(|clock| available.split_whitespace().any(|name| name == **clock));
    match better {
        Some(clock) => check
            .failed(current, expected, format!("choose {clock}, and for good by the kernel's argument clocksource={clock}"))
            .fragment(Target::Shell, format!("echo {clock} > /{folder}/current_clocksource")),
        None => check.failed(
            current,
            expected,
            format!("the kernel offers only {available}: it has found the CPU's clock unstable; look at `dmesg | grep -i tsc`"),
        ),
    }
}

/// Whether something keeps the clock right.
pub(super) fn time_sync(tree: &Tree, facts: &Facts) -> Finding {
    let check = Check::advised("time_synchronization", "signed requests and ts_recv are by this clock");
    let expected = "a clock that chrony, systemd-timesyncd, ntpd or PTP keeps";
    let comm = |pid: &String| tree.text(&format!("proc/{pid}/comm"));
    let numeric = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit());
    let running = tree.names("proc").into_iter().filter(numeric).filter_map(|pid| comm(&pid));
    // The kernel keeps fifteen bytes of a name.
    let daemon = running.into_iter().find(|name| TIME_DAEMONS.contains(&name.as_str()));
    match (facts.clock_synchronized, daemon) {
        (Some(true), Some(daemon)) => check.ok(format!("synchronized by {daemon}"), expected),
        (Some(true), None) => check.ok("synchronized", expected),
        (None, Some(daemon)) => check.ok(format!("{daemon} runs"), expected),
        (None, None) => check.unknown(expected),
        (Some(false), Some(daemon)) => check.failed(
            format!("{daemon} runs, the clock is not synchronized yet"),
            expected,
            "wait, or look at what it says: `chronyc tracking`, `timedatectl timesync-status`",
        ),
        (Some(false), None) => check
            .failed("not synchronized", expected, "run a time daemon on the host")
            .fragment(Target::Shell, "apt-get install chrony"),
    }
}

/// `io_uring_disabled` = 1 leaves io_uring to CAP_SYS_ADMIN and to one group.
fn in_group(tree: &Tree) -> bool {
    let status = |name| tree.field("proc/self/status", name).unwrap_or_default();
    let capabilities = u64::from_str_radix(&status("CapEff"), 16).unwrap_or_default();
    let group = tree.text("proc/sys/kernel/io_uring_group").unwrap_or_default();
    let mine = [status("Groups"), status("Gid")].join(" ");
    capabilities & CAP_SYS_ADMIN != 0 || mine.split_whitespace().any(|mine| mine == group)
}

fn release(tree: &Tree) -> Option<String> {
    let version = || Some(tree.text("proc/version")?.split_whitespace().nth(2)?.to_owned());
    tree.text("proc/sys/kernel/osrelease").or_else(version)
}

/// Major and minor number of a release such as `6.8.0-45-generic`.
fn parse(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

const KERNEL_MIN: (u32, u32) = (5, 10);
const KERNEL_FLAGS: (u32, u32) = (6, 0);
/// Clocks that are read without a system call.
const FAST_CLOCKS: &[&str] =
    &["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "riscv_clocksource"];
const TIME_DAEMONS: &[&str] = &["chronyd", "systemd-timesyn", "ntpd", "ntpd-rs", "openntpd", "ptp4l", "phc2sys"];
const CAP_SYS_ADMIN: u64 = 1 << 21;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::tests::{Fixture, check};
    use crate::doctor::{RingFacts, Status};

    #[test]
    fn old_kernels_are_refused() {
        let of = |release: &str| version(Fixture::new(&[("proc/sys/kernel/osrelease", release)]).tree());
        check(&of("6.8.0-45-generic"), Status::Ok, &["6.8.0-45-generic"]);
        check(&of("5.10"), Status::Ok, &[]);
        check(&of("5.4.0"), Status::Failed, &["Linux 5.10", "found 5.4.0"]);
        check(&of("4.18.0-553.el8"), Status::Failed, &[]);
        check(&of("unknown"), Status::Unknown, &[]);
        let text = Fixture::new(&[("proc/version", "Linux version 5.9.1 (gcc) #1 SMP")]);
        check(&version(text.tree()), Status::Failed, &["5.9.1"]);
    }

    #[test]
    fn what_refuses_io_uring_is_named() {
        let of = |files: &[(&str, &str)], refused: Option<i32>| {
            let facts = Facts { rings: RingFacts { refused, ..RingFacts::default() }, ..Facts::default() };
            io_uring(Fixture::new(files).tree(), &facts)
        };
        let disabled = "proc/sys/kernel/io_uring_disabled";
        let group = ("proc/sys/kernel/io_uring_group", "995");
        let status = "proc/self/status";
        check(&of(&[(disabled, "0")], None), Status::Ok, &[]);
        check(&of(&[], None), Status::Ok, &[]);
        check(&of(&[(disabled, "2")], None), Status::Failed, &["io_uring_disabled = 2", "sysctl -w"]);
        check(&of(&[(disabled, "1"), group], None), Status::Failed, &["one group only"]);
        check(&of(&[(disabled, "1"), group, (status, "Groups:\t4 995")], None), Status::Ok, &[]);
        check(&of(&[(disabled, "1"), group, (status, "CapEff:\t000001ffffffffff")], None), Status::Ok, &[]);
        let seccomp = of(&[(disabled, "0"), (status, "Seccomp:\t2")], Some(libc::EPERM));
        check(&seccomp, Status::Failed, &["seccomp filter", "--security-opt", "localhostProfile", "SystemCallFilter"]);
        check(&of(&[(status, "Seccomp:\t0")], Some(libc::EPERM)), Status::Failed, &["security policy"]);
        check(&of(&[], Some(libc::ENOSYS)), Status::Failed, &["CONFIG_IO_URING"]);
        check(&of(&[], Some(libc::ENOMEM)), Status::Failed, &["memlock"]);
        check(&of(&[], Some(libc::EMFILE)), Status::Failed, &["open files"]);
        check(&of(&[], Some(libc::EIO)), Status::Failed, &["refused:"]);
        let missing = RingFacts { missing: vec!["CONNECT"], ..RingFacts::default() };
        let facts = Facts { rings: missing, ..Facts::default() };
        check(&io_uring(Fixture::new(&[]).tree(), &facts), Status::Failed, &["missing: CONNECT"]);
    }

    #[test]
    fn flags_are_told_by_an_executor_or_the_version() {
        let of = |flagged, release: &str| {
            let facts = Facts { rings: RingFacts { flagged, ..RingFacts::default() }, ..Facts::default() };
            ring_flags(Fixture::new(&[("proc/sys/kernel/osrelease", release)]).tree(), &facts)
        };
        check(&of(Some((4, 3)), "6.1.0"), Status::Ok, &["3 of 4"]);
        check(&of(Some((0, 0)), "6.1.0"), Status::Failed, &["not linked"]);
        check(&of(Some((4, 0)), "5.15.0"), Status::Failed, &["none of 4", "6.0"]);
        check(&of(None, "5.15.0"), Status::Failed, &["6.0"]);
        check(&of(None, "6.1.0"), Status::Unknown, &[]);
    }

    #[test]
    fn huge_pages_are_by_request() {
        let of = |text: &str| huge_pages(Fixture::new(&[("sys/kernel/mm/transparent_hugepage/enabled", text)]).tree());
        check(&of("always [madvise] never"), Status::Ok, &["madvise"]);
        check(&of("always madvise [never]"), Status::Ok, &["never"]);
        check(&of("[always] madvise never"), Status::Failed, &["echo madvise"]);
        check(&huge_pages(Fixture::new(&[]).tree()), Status::Unknown, &[]);
    }

    #[test]
    fn slow_clocks_are_told() {
        let folder = "sys/devices/system/clocksource/clocksource0";
        let (current, available) = (format!("{folder}/current_clocksource"), format!("{folder}/available_clocksource"));
        let of = |now: &str, all: &str| clock_source(Fixture::new(&[(&current, now), (&available, all)]).tree());
        check(&of("tsc", "tsc hpet"), Status::Ok, &["tsc"]);
        check(&of("kvm-clock", "kvm-clock"), Status::Ok, &[]);
        check(&of("hpet", "tsc hpet acpi_pm"), Status::Failed, &["echo tsc >"]);
        check(&of("acpi_pm", "hpet acpi_pm"), Status::Failed, &["unstable"]);
        check(&clock_source(Fixture::new(&[]).tree()), Status::Unknown, &[]);
    }

    #[test]
    fn a_clock_is_kept_by_somebody() {
        let of = |files: &[(&str, &str)], clock_synchronized| {
            time_sync(Fixture::new(files).tree(), &Facts { clock_synchronized, ..Facts::default() })
        };
        let chrony = [("proc/1/comm", "init"), ("proc/412/comm", "chronyd")];
        check(&of(&chrony, Some(true)), Status::Ok, &["chronyd"]);
        check(&of(&[], Some(true)), Status::Ok, &[]);
        check(&of(&chrony, None), Status::Ok, &[]);
        check(&of(&[("proc/412/comm", "systemd-timesyn")], None), Status::Ok, &[]);
        check(&of(&chrony, Some(false)), Status::Failed, &["not synchronized yet"]);
        check(&of(&[("proc/1/comm", "init")], Some(false)), Status::Failed, &["apt-get install chrony"]);
        check(&of(&[], None), Status::Unknown, &[]);
    }
}
