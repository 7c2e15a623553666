//! The limits of this process: memory that may be locked, files that may be open. Judged as inherited.

use crate::config::Settings;
use crate::doctor::finding::{Check, Finding, Target, size};
use crate::doctor::{Facts, Host, Need, Tree, open_files_need};

/// What one executor locks.
pub(super) fn memlock(tree: &Tree, facts: &Facts) -> Finding {
    let check = Check::required("memlock", "an executor locks the memory of its io_uring rings");
    let expected = format!("at least {}", size(MEMLOCK_MIN));
    match limit(tree, "Max locked memory").map_or(facts.limits.memlock, |(soft, _)| soft) {
        Some(bytes) if bytes < MEMLOCK_MIN => memlock_fragments(check.failed(
            size(bytes),
            expected,
            format!("raise it with `ulimit -l {}` as root, `LimitMEMLOCK=` in a systemd unit, or `--ulimit memlock=` in Docker", MEMLOCK_GOOD >> 10),
        )),
        limit => check.ok(shown(limit), expected),
    }
}

/// What all executors lock.
pub(super) fn memlock_cores(tree: &Tree, facts: &Facts, host: &Host) -> Finding {
    let check =
        Check::advised("memlock_of_all_cores", "a user's processes share one limit, and each core takes its part");
    let cores = host.cores as u64;
    let need = (MEMLOCK_PER_CORE * cores).max(MEMLOCK_MIN);
    let expected = format!("at least {} for {cores} cores", size(need));
    match limit(tree, "Max locked memory").map_or(facts.limits.memlock, |(soft, _)| soft) {
        Some(bytes) if bytes < need => {
            memlock_fragments(check.failed(size(bytes), expected, "raise it, or run fewer shards"))
        }
        limit => check.ok(shown(limit), expected),
    }
}

fn memlock_fragments(finding: Finding) -> Finding {
    let unit = "[Service]\nLimitMEMLOCK=64M";
    finding
        .fragment(Target::Systemd, unit)
        .fragment(Target::Docker, format!("--ulimit memlock={MEMLOCK_GOOD}:{MEMLOCK_GOOD}"))
        .fragment(
            Target::Kubernetes,
            format!("# pods inherit it: /etc/systemd/system/containerd.service.d/memlock.conf on the node\n{unit}"),
        )
        .fragment(Target::Shell, format!("prlimit --memlock={MEMLOCK_GOOD}:{MEMLOCK_GOOD} tidegate run"))
}

/// Files that may be open.
pub(super) fn open_files(tree: &Tree, facts: &Facts, need: &Need) -> Finding {
    let check = Check::required("open_files", "each connection is an open file, besides the journal's and the rings'");
    let Settings { http, .. } = &need.settings;
    let count = open_files_need(&need.settings);
    let expected = format!("at least {count} for http.connections_max = {}", http.connections_max);
    let inherited = (facts.limits.open_files, facts.limits.open_files_hard);
    let (soft, hard) = limit(tree, "Max open files").unwrap_or(inherited);
    let Some(files) = soft.filter(|files| *files < count) else {
        return check.ok(soft.map_or("unlimited".to_owned(), |files| files.to_string()), expected);
    };
    let by_itself = match hard {
        Some(hard) if hard < count => format!("{files} (hard limit {hard})"),
        _ => format!("{files}, which an engine raises by itself within the hard limit"),
    };
    check
        .failed(
            by_itself,
            expected,
            format!("raise it with `ulimit -n {count}` or `LimitNOFILE=`, or lower http.connections_max"),
        )
        .fragment(Target::Systemd, format!("[Service]\nLimitNOFILE={}", count.max(FILES_GOOD)))
        .fragment(Target::Docker, format!("--ulimit nofile={0}:{0}", count.max(FILES_GOOD)))
        .fragment(
            Target::Kubernetes,
            format!(
                "# pods inherit it: /etc/systemd/system/containerd.service.d/nofile.conf on the node\n[Service]\nLimitNOFILE={}",
                count.max(FILES_GOOD)
            ),
        )
        .fragment(Target::Shell, format!("ulimit -n {count}"))
}

/// Soft and hard limit of a row of `/proc/self/limits`; the outer `None` when the tree has no such row.
fn limit(tree: &Tree, name: &str) -> Option<(Option<u64>, Option<u64>)> {
    let text = tree.text("proc/self/limits")?;
    let row = text.lines().find_map(|line| line.strip_prefix(name))?;
    let mut numbers = row.split_whitespace().map(|word| match word {
        "unlimited" => Some(None),
        word => word.parse().ok().map(Some),
    });
    Some((numbers.next()??, numbers.next()??))
}

fn shown(limit: Option<u64>) -> String {
    limit.map_or("unlimited".to_owned(), size)
}

/// What one executor insists on.
const MEMLOCK_MIN: u64 = 512 << 10;
/// Three rings of 128 entries and 64 KiB of registered memory: 34 executors fit into 8 MiB.
const MEMLOCK_PER_CORE: u64 = 256 << 10;
/// Enough for every core there is, and little enough that a mistake does no harm.
const MEMLOCK_GOOD: u64 = 64 << 20;
const FILES_GOOD: u64 = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::tests::{Fixture, check, need};
    use crate::doctor::{Limits, Status};

    fn tree(files: &str, memory: &str) -> Fixture {
        let text = format!(
            "Limit                     Soft Limit           Hard Limit           Units\n\
             Max open files            {files} files\nMax locked memory         {memory} bytes"
        );
        Fixture::eight(&[("proc/self/limits", &text)])
    }

    #[test]
    fn memlock_has_to_hold_one_executor() {
        let of = |memory: &str| memlock(tree("1 1", memory).tree(), &Facts::default());
        check(&of("8388608 8388608"), Status::Ok, &["8 MiB"]);
        check(&of("524288 524288"), Status::Ok, &["512 KiB"]);
        check(&of("unlimited unlimited"), Status::Ok, &["unlimited"]);
        let refused = of("65536 65536");
        check(&refused, Status::Failed, &["memlock: expected at least 512 KiB, found 64 KiB", "LimitMEMLOCK=64M"]);
        assert!(refused.refuses());
        check(&of("524287 unlimited"), Status::Failed, &["512.0 KiB"]);
        // Without the file the process's own limit counts.
        let facts = Facts { limits: Limits { memlock: Some(0), ..Limits::default() }, ..Facts::default() };
        check(&memlock(Fixture::new(&[]).tree(), &facts), Status::Failed, &["0 bytes"]);
    }

    #[test]
    fn memlock_should_hold_all_executors() {
        let of = |memory: &str| {
            let fixture = tree("1 1", memory);
            memlock_cores(fixture.tree(), &Facts::default(), &Host::read(fixture.tree(), &need("")))
        };
        check(&of("8388608 8388608"), Status::Ok, &["8 MiB"]);
        check(&of("1048576 1048576"), Status::Failed, &["1.8 MiB for 7 cores", "--ulimit memlock=67108864:67108864"]);
    }

    #[test]
    fn open_files_are_judged_as_inherited() {
        let of = |files: &str, toml: &str| open_files(tree(files, "1 1").tree(), &Facts::default(), &need(toml));
        check(&of("20000 20000", ""), Status::Ok, &["20000"]);
        check(&of("unlimited unlimited", ""), Status::Ok, &[]);
        check(&of("5256 5256", ""), Status::Ok, &[]);
        let few = of("256 256", "");
        check(&few, Status::Failed, &["open files: expected at least 5256", "found 256", "LimitNOFILE=65536"]);
        check(&of("1024 524288", ""), Status::Failed, &["found 1024, which an engine raises by itself"]);
        check(&of("512 512", "[http]\nconnections_max = 100"), Status::Ok, &["512"]);
        check(&of("512 512", "[http]\nconnections_max = 300"), Status::Failed, &["at least 556"]);
    }
}
