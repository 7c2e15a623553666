//! What a start does with the last segment: finds where sound frames end, cuts what a kill left half written, reports
//! everything. Invariant: a sound frame is never removed; the next `seq` is one more than the last in a sound frame.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use super::format::{segment_first, segment_path};
use super::segment::{Segment, Step};
use crate::error::{Error, Result};

/// What a start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The last `seq` in the journal; zero when it is empty.
    pub last_seq: u64,
    /// What was cut off the end.
    pub cuts: Vec<Cut>,
    /// Damage that was left as it is, since sound frames stand behind it.
    pub damage: Vec<String>,
}

/// Bytes that were cut off the end of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub path: PathBuf,
    /// Where it was cut; zero when the whole segment held no record and was removed.
    pub at: u64,
    /// Bytes that went.
    pub bytes: u64,
    /// Why they were no frame.
    pub why: String,
    /// Where they were put, when they were more than the beginning of a frame.
    pub kept: Option<PathBuf>,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: cut {} bytes at {}: {}", self.path.display(), self.bytes, self.at, self.why)?;
        match &self.kept {
            Some(kept) => write!(f, "; kept as {}", kept.display()),
            None => Ok(()),
        }
    }
}

/// Repairs the end of the journal in `dir`.
pub(super) fn recover(dir: &Path) -> Result<Recovery> {
    let mut recovery = Recovery::default();
    while let Some(first) = newest(dir).map_err(|error| Error::io("list", dir, &error))? {
        let path = segment_path(dir, first);
        match recover_segment(&path, first, &mut recovery).map_err(|error| Error::io("repair", &path, &error))? {
            Some(last_seq) => {
                recovery.last_seq = last_seq;
                break;
            }
            // It held no record, so the one before it ended with the seq before its name.
            None => recovery.last_seq = first.saturating_sub(1),
        }
    }
    Ok(recovery)
}

/// Repairs one segment; `None` when it held no record and was removed.
fn recover_segment(path: &Path, first: u64, recovery: &mut Recovery) -> io::Result<Option<u64>> {
    let mut segment = Segment::open(path)?;
    let mut last_seq = None;
    loop {
        let step = segment.step()?;
        let at = segment.position();
        let why = match step {
            Step::Batch(span) => {
                last_seq = Some(span.first_seq + span.count - 1);
                continue;
            }
            Step::End => break,
            Step::Torn { .. } => None,
            Step::Damaged(why) => Some(why),
        };
        if segment.resync()? {
            let why = why.unwrap_or_else(|| "a frame that is not whole".to_owned());
            recovery.damage.push(format!("{}: at {at}: {why}", path.display()));
            continue;
        }
        let at = if last_seq.is_none() { 0 } else { at };
        recovery.cuts.push(cut(path, at, segment.len()? - at, why)?);
        break;
    }
    if last_seq.is_none() {
        std::fs::remove_file(path)?;
    }
    debug_assert!(last_seq.is_none_or(|last| last >= first || !recovery.damage.is_empty()));
    Ok(last_seq)
}

fn cut(path: &Path, at: u64, bytes: u64, why: Option<String>) -> io::Result<Cut> {
    // The beginning of a frame is of no use to anybody; what looks like a whole one may be worth a look.
    let kept = match &why {
        None => None,
        Some(_) => {
            let kept = path.with_extension(format!("cut-at-{at}"));
            let file = std::fs::File::open(path)?;
            let mut tail = vec![0; usize::try_from(bytes.min(KEPT_BYTES_MAX)).unwrap_or(0)];
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut tail, at)?;
            std::fs::write(&kept, tail)?;
            Some(kept)
        }
    };
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(at)?;
    file.sync_all()?;
    Ok(Cut {
        path: path.to_owned(),
        at,
        bytes,
        why: why.unwrap_or_else(|| "the last frame is not whole".to_owned()),
        kept,
    })
}

/// The newest segment. Looks at every name and keeps one.
fn newest(dir: &Path) -> io::Result<Option<u64>> {
    let mut newest = None;
    for entry in std::fs::read_dir(dir)? {
        newest = newest.max(segment_first(&entry?.file_name()));
    }
    Ok(newest)
}

/// Bounds what is put aside of a damaged end.
const KEPT_BYTES_MAX: u64 = 64 << 20;
