//! The data directory: whether it can be written, its space, and how fast it makes writes durable.

use std::time::Duration;

use crate::doctor::finding::{Check, Finding, Target, size};
use crate::doctor::{DataFacts, Need};

/// Whether the journal can begin.
pub(super) fn writable(data: &DataFacts, need: &Need) -> Finding {
    let check = Check::required("data_directory", "the journal and the state stand in it");
    let segment = need.settings.journal.segment_bytes.min(SEGMENT_MAX);
    let path = data.path.display();
    let expected = format!("{path} writable, with {} free", size(segment));
    if let Some(why) = &data.refused {
        let probed = data.probed.display();
        return check
            .failed(
                format!("cannot write {probed}: {why}"),
                expected,
                "give this user the folder and the disk room, or choose a folder that can be written with --data",
            )
            .fragment(Target::Systemd, "[Service]\nStateDirectory=tidegate\nWorkingDirectory=%S/tidegate")
            .fragment(Target::Docker, "--mount type=volume,source=tidegate-data,target=/var/lib/tidegate")
            .fragment(
                Target::Kubernetes,
                "securityContext:\n  fsGroup: 10001\nvolumeMounts:\n  - name: data\n    mountPath: /var/lib/tidegate",
            );
    }
    if data.free_files == Some(0) {
        let fix = "delete files, or choose a folder on another disk with --data";
        return check.failed(format!("no further file fits on the disk of {path}"), expected, fix);
    }
    let free = format!("{} free", size(data.free_bytes));
    if data.free_bytes < segment {
        let fix = "make room, or choose a folder on another disk with --data";
        return check.failed(format!("the disk of {path} is full: {free}"), expected, fix);
    }
    check.ok(format!("writable, {free}"), expected)
}

/// Whether the journal can grow as far as it may.
pub(super) fn space(data: &DataFacts, need: &Need) -> Finding {
    let check = Check::advised("disk_space", "the journal deletes old segments by its own limit, not by the disk's");
    let most = need.settings.journal.retention_bytes;
    let expected = format!("room for journal.retention_bytes = {}", size(most));
    let room = data.free_bytes.saturating_add(data.journal_bytes);
    let current = format!("{}, of which the journal has {}", size(room), size(data.journal_bytes));
    if room >= most {
        return check.ok(current, expected);
    }
    check.failed(current, expected, format!("make room, or set journal.retention_bytes to at most {}", room / 10 * 9))
}

/// How long a durable write takes.
pub(super) fn sync_latency(data: &DataFacts) -> Finding {
    let check = Check::advised(
        "fsync_latency",
        "a record counts as delivered when it is durable, and a sink core waits for it",
    );
    let expected = format!("4 KiB durable within {SYNC_MAX:?} nineteen times in twenty");
    let Some(last) = data.syncs.len().checked_sub(1) else { return check.unknown(expected) };
    let (middle, high, most) = (data.syncs[last / 2], data.syncs[last * 19 / 20], data.syncs[last]);
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1_000.0);
    let current = format!("p50 {}, p95 {}, max {}", ms(middle), ms(high), ms(most));
    if high <= SYNC_MAX {
        return check.ok(current, expected);
    }
    check.failed(current, expected, "choose a local SSD for the data directory, or a longer journal.fsync_interval")
}

/// More than a burst writes before somebody looks; a segment may be larger than that.
const SEGMENT_MAX: u64 = 16 << 20;
/// A fifth of the default journal.fsync_interval.
const SYNC_MAX: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;
    use crate::doctor::tests::{check, need};

    fn data(free_bytes: u64) -> DataFacts {
        DataFacts { path: "data".into(), probed: ".".into(), free_bytes, ..DataFacts::default() }
    }

    #[test]
    fn a_folder_has_to_be_writable_and_have_room() {
        let of = |data: &DataFacts| writable(data, &need(""));
        check(&of(&data(1 << 30)), Status::Ok, &["1 GiB free"]);
        check(&of(&data(16 << 20)), Status::Ok, &[]);
        check(&of(&data((16 << 20) - 1)), Status::Failed, &["is full", "--data"]);
        check(&of(&data(0)), Status::Failed, &["0 bytes free"]);
        let full = DataFacts { free_files: Some(0), ..data(1 << 30) };
        check(&of(&full), Status::Failed, &["no further file"]);
        let refused = DataFacts { refused: Some("Read-only file system".to_owned()), ..data(1 << 30) };
        let refused = of(&refused);
        check(&refused, Status::Failed, &["cannot write .: Read-only file system", "StateDirectory=", "fsGroup"]);
        assert!(refused.refuses());
        let small = need("[journal]\nsegment_bytes = \"64KiB\"");
        check(&writable(&data(64 << 10), &small), Status::Ok, &["64 KiB free"]);
    }

    #[test]
    fn the_journal_should_fit() {
        let of = |data: &DataFacts| space(data, &need(""));
        check(&of(&data(20 << 30)), Status::Ok, &["20 GiB"]);
        check(&of(&DataFacts { journal_bytes: 15 << 30, ..data(5 << 30) }), Status::Ok, &["has 15 GiB"]);
        check(&of(&data(5 << 30)), Status::Failed, &["retention_bytes"]);
    }

    #[test]
    fn slow_disks_are_told() {
        let of = |ms: &[u64]| {
            let syncs = ms.iter().copied().map(Duration::from_millis).collect();
            sync_latency(&DataFacts { syncs, ..data(1 << 30) })
        };
        check(&of(&[1; 20]), Status::Ok, &["p50 1.0 ms, p95 1.0 ms, max 1.0 ms"]);
        check(&of(&[&[1; 19][..], &[900]].concat()), Status::Ok, &["max 900.0 ms"]);
        check(&of(&[30; 20]), Status::Failed, &["local SSD"]);
        check(&of(&[]), Status::Unknown, &[]);
    }
}
