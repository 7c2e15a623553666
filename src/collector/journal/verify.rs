//! Checking a whole journal without changing it: every frame, every line, the chain of `seq` across segments.
//! Works beside a running engine and on what a kill left. Memory is bounded by one frame and the list of segments.

use std::io;
use std::path::Path;

use super::format::{segment_first, segment_path};
use super::segment::{Segment, Step};
use crate::error::{Error, Result};

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Segments looked at.
    pub segments: u64,
    /// Sound frames.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of the segments.
    pub bytes: u64,
    /// The first `seq`; zero when there is none.
    pub first_seq: u64,
    /// The last `seq`.
    pub last_seq: u64,
    /// The beginning of a frame at the end of the last segment: what a kill leaves and the next start cuts off, or a
    /// frame being written right now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub torn_tail: Option<String>,
    /// Everything that is not as it should be, one line each.
    pub damage: Vec<String>,
}

impl Report {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}

/// Checks the journal in `dir`. Lines about damage are at most `damage_max`; the check goes on behind each.
///
/// # Errors
/// When the folder or a segment cannot be read.
pub fn verify(dir: &Path, damage_max: usize) -> Result<Report> {
    let mut firsts = Vec::new();
    let listed = std::fs::read_dir(dir).map_err(|error| Error::io("list", dir, &error))?;
    for entry in listed {
        let entry = entry.map_err(|error| Error::io("list", dir, &error))?;
        firsts.extend(segment_first(&entry.file_name()));
    }
    firsts.sort_unstable();
    let mut check = Check { report: Report::default(), next_seq: 0, damage_max };
    for (index, first) in firsts.iter().enumerate() {
        let path = segment_path(dir, *first);
        let done = check.segment(&path, *first, index + 1 == firsts.len());
        match done {
            // Retention deletes the oldest while we read.
            Err(error) if error.kind() == io::ErrorKind::NotFound && check.report.segments == 0 => {}
            other => other.map_err(|error| Error::io("read", &path, &error))?,
        }
    }
    Ok(check.report)
}

struct Check {
    report: Report,
    /// Zero before the first record.
    next_seq: u64,
    damage_max: usize,
}

impl Check {
    fn segment(&mut self, path: &Path, first: u64, is_last: bool) -> io::Result<()> {
        let mut segment = Segment::open(path)?;
        self.report.segments += 1;
        let mut is_first_batch = true;
        loop {
            let step = segment.step()?;
            let mut at = segment.position();
            let torn = match step {
                Step::Batch(span) => {
                    at -= span.frame_bytes;
                    if std::mem::take(&mut is_first_batch) {
                        self.opening(path, first, span.first_seq, &segment);
                    }
                    self.batch(path, at, segment.batch(span));
                    continue;
                }
                Step::End => break,
                Step::Torn { bytes } => bytes,
                Step::Damaged(why) => {
                    self.damage(format!("{}: at {at}: {why}", path.display()));
                    if segment.resync()? {
                        continue;
                    }
                    break;
                }
            };
            if segment.resync()? {
                self.damage(format!(
                    "{}: at {at}: a frame that is not whole, with sound ones behind it",
                    path.display()
                ));
                continue;
            }
            let tail = format!("{}: at {at}: {torn} bytes of a frame that is not whole", path.display());
            if is_last {
                self.report.torn_tail = Some(tail);
            } else {
                self.damage(tail);
            }
            break;
        }
        self.report.bytes += segment.len()?;
        if is_first_batch && !is_last {
            self.damage(format!("{}: a segment without records", path.display()));
        }
        Ok(())
    }

    fn opening(&mut self, path: &Path, first: u64, found: u64, segment: &Segment) {
        if let Some(header) = segment.header()
            && header.first_seq != first
        {
            let said = header.first_seq;
            self.damage(format!("{}: the opening frame says the first seq is {said}", path.display()));
        }
        if found != first && self.next_seq != found {
            self.damage(format!("{}: expected seq {first} as the name says, found {found}", path.display()));
        }
    }

    fn batch(&mut self, path: &Path, at: u64, batch: super::Batch<'_>) {
        let (first, last) = (batch.first_seq, batch.last_seq());
        if self.next_seq == 0 {
            self.report.first_seq = first;
        } else if first != self.next_seq {
            let expected = self.next_seq;
            self.damage(format!("{}: at {at}: expected seq {expected}, found {first}", path.display()));
        }
        for line in batch.lines.split_inclusive(|byte| *byte == b'\n') {
            if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(line) {
                self.damage(format!("{}: at {at}: a line that is no JSON: {error}", path.display()));
            }
        }
        self.report.frames += 1;
        self.report.records += batch.count;
        self.report.last_seq = last;
        self.next_seq = last + 1;
    }

    fn damage(&mut self, what: String) {
        if self.report.damage.len() < self.damage_max {
            self.report.damage.push(what);
        }
    }
}
