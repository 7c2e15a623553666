//! Facts about the host that no file tells: what becomes of a ring, and of a write to the data directory. Leaves
//! nothing behind.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::doctor::{DataFacts, Facts};
use crate::runtime::{host, ring};
use crate::time::Mono;

/// Limits, rings and clock of this process.
pub fn host_facts() -> Facts {
    Facts {
        limits: host::limits(),
        rings: ring::probe(),
        clock_synchronized: ring::clock_synchronized(),
        ..Facts::default()
    }
}

/// Writes durably to the data directory, or to the nearest folder above it that exists, and measures `syncs` times how
/// long that takes. The file has no name any more while it is written, so that it is gone whatever happens.
pub fn probe_data(path: &Path, syncs: usize) -> DataFacts {
    let probed = nearest(path);
    let mut facts = DataFacts { path: path.to_owned(), probed, ..DataFacts::default() };
    if let Ok(space) = rustix::fs::statvfs(&facts.probed) {
        facts.free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
        // Some file systems make room for files as they go, and count none.
        facts.free_files = (space.f_files > 0).then_some(space.f_favail);
    }
    facts.journal_bytes = folder_bytes(&path.join("journal"));
    match write(&facts.probed, syncs) {
        Ok(times) => facts.syncs = times,
        Err(error) => facts.refused = Some(error.to_string()),
    }
    facts
}

fn nearest(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = whole.ancestors().find(|folder| folder.exists());
    found.map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

fn write(folder: &Path, syncs: usize) -> io::Result<Vec<Duration>> {
    let path = folder.join(format!(".tidegate-probe-{}-{:08x}", std::process::id(), fastrand::u32(..)));
    let mut file = File::create_new(&path)?;
    std::fs::remove_file(&path)?;
    file.write_all(&BLOCK)?;
    let mut times = Vec::new();
    for _ in 0..syncs {
        let started = Mono::now();
        file.write_all(&BLOCK)?;
        file.sync_data()?;
        times.push(Mono::now().since(started));
    }
    times.sort_unstable();
    Ok(times)
}

fn folder_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).filter(std::fs::Metadata::is_file).map(|file| file.len()).sum()
}

const BLOCK: [u8; 4_096] = [0x5a; 4_096];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_is_judged_by_the_one_above() {
        let above = std::env::temp_dir().join(format!("tidegate-probe-{}", std::process::id()));
        std::fs::create_dir_all(&above).unwrap();
        let facts = probe_data(&above.join("a/b"), 3);
        assert_eq!((facts.probed.as_path(), facts.refused, facts.syncs.len()), (above.as_path(), None, 3));
        assert!(facts.free_bytes > 0 && facts.syncs.is_sorted());
        assert_eq!(std::fs::read_dir(&above).unwrap().count(), 0, "something was left behind");
        std::fs::create_dir_all(above.join("journal")).unwrap();
        std::fs::write(above.join("journal/1.zst"), [0; 700]).unwrap();
        assert_eq!(probe_data(&above, 0).journal_bytes, 700);
        std::fs::remove_dir_all(&above).unwrap();
        assert!(probe_data(Path::new("/proc/data"), 1).refused.is_some());
        assert!(probe_data(Path::new("/etc/passwd/data"), 1).refused.is_some());
    }

    #[test]
    fn rings_of_this_host_have_the_operations() {
        let facts = host_facts();
        assert_eq!((facts.rings.refused, facts.rings.missing.len()), (None, 0), "{:?}", facts.rings);
    }
}
