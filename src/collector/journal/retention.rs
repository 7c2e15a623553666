//! Which segments go: the oldest, while the journal is too large or they are too old, and only what every sink has
//! read. The newest segment stays. Memory is bounded: the oldest names are looked at some hundreds at a time.

use std::collections::BinaryHeap;
use std::io;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::format::{segment_first, segment_path};
use crate::time::UnixNanos;

/// What may stay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Size of all segments at most.
    pub(super) bytes: u64,
    /// Time since the last write of a segment at most.
    pub(super) age: Duration,
    /// The last `seq` that every sink has read.
    pub(super) read_seq: u64,
    /// The time now.
    pub(super) now: UnixNanos,
}

/// Deletes segments; tells how many.
pub(super) fn apply(dir: &Path, limits: &Limits) -> io::Result<u64> {
    let mut deleted = 0;
    loop {
        let (mut total, oldest) = survey(dir)?;
        let before = deleted;
        // The last of the names is only there to tell where the one before it ends.
        for pair in oldest.windows(2) {
            let path = segment_path(dir, pair[0]);
            let meta = match std::fs::metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let written = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let written = UnixNanos::EPOCH.saturating_add(written);
            let is_due = total > limits.bytes || limits.now.since(written) > limits.age;
            if !is_due || pair[1] - 1 > limits.read_seq {
                return Ok(deleted);
            }
            std::fs::remove_file(&path)?;
            total = total.saturating_sub(meta.len());
            deleted += 1;
        }
        if deleted == before || oldest.len() < SURVEYED {
            return Ok(deleted);
        }
    }
}

/// The size of all segments, and the first `seq` of the oldest ones, ascending.
fn survey(dir: &Path) -> io::Result<(u64, Vec<u64>)> {
    let mut total = 0;
    let mut oldest = BinaryHeap::with_capacity(SURVEYED + 1);
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let Some(first) = segment_first(&entry.file_name()) else { continue };
        total += entry.metadata().map_or(0, |meta| meta.len());
        oldest.push(first);
        if oldest.len() > SURVEYED {
            oldest.pop();
        }
    }
    Ok((total, oldest.into_sorted_vec()))
}

const SURVEYED: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, limits: Limits, expected: &[u64]) {
        let dir = std::env::temp_dir().join(format!("tidegate-retention-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for first in [1, 101, 201, 301] {
            std::fs::write(segment_path(&dir, first), [0; 100]).unwrap();
        }
        apply(&dir, &limits).unwrap();
        let left = survey(&dir).unwrap().1;
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(left, expected, "{name}");
    }

    #[test]
    fn only_what_is_due_and_read_goes() {
        let now = UnixNanos::now();
        let long = Duration::from_secs(86_400);
        let limits = Limits { bytes: 250, age: long, read_seq: u64::MAX, now };
        check("by-size", limits, &[201, 301]);
        check("room", Limits { bytes: 400, ..limits }, &[1, 101, 201, 301]);
        check("unread", Limits { read_seq: 199, ..limits }, &[101, 201, 301]);
        check("read-to-the-end", Limits { read_seq: 200, ..limits }, &[201, 301]);
        check("nothing-read", Limits { read_seq: 0, ..limits }, &[1, 101, 201, 301]);
        check("newest-stays", Limits { bytes: 0, ..limits }, &[301]);
        let later = now.saturating_add(2 * long);
        check("by-age", Limits { bytes: 1_000, now: later, ..limits }, &[301]);
    }
}
