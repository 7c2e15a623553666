//! Reading the journal from a `seq` on, across segments, and following it while it is written. Owns no offset.
//! Invariant: batches come in the order of `seq`, each record once; what is missing between two is told as a gap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::format::{segment_first, segment_path};
use super::segment::{Batch, BatchSpan, Segment, Step};

/// A place between two frames, to go on from without reading what is before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// The first `seq` of the segment.
    pub segment: u64,
    /// Byte in the segment at which a frame begins.
    pub position: u64,
}

/// What the journal has next.
#[derive(Debug)]
pub enum Reading<'a> {
    /// A batch of records.
    Batch(Batch<'a>),
    /// Records that cannot be read: deleted, or damaged as told.
    Gap(RangeInclusive<u64>, String),
    /// Nothing for now.
    Waiting,
}

/// A place in a journal.
pub struct JournalReader {
    dir: PathBuf,
    segment: Option<(u64, Segment)>,
    next_seq: u64,
    /// Why the frames before the next sound one could not be read.
    damage: Option<String>,
}

impl JournalReader {
    /// Begins with the record `from_seq`, or the oldest when that is gone. A folder without segments is no error.
    pub fn open(dir: &Path, from_seq: u64) -> Self {
        JournalReader { dir: dir.to_owned(), segment: None, next_seq: from_seq, damage: None }
    }

    /// The same with a hint from where an earlier reader stopped; a hint that does not fit is not used.
    pub fn open_at(dir: &Path, from_seq: u64, place: Place) -> Self {
        let mut reader = JournalReader::open(dir, from_seq);
        if let Ok(mut segment) = Segment::open(&segment_path(dir, place.segment)) {
            segment.seek(place.position);
            let fits = match segment.step() {
                Ok(Step::Batch(span)) => span.first_seq <= from_seq,
                Ok(Step::End) => place.segment < from_seq,
                _ => false,
            };
            if fits {
                segment.seek(place.position);
                reader.segment = Some((place.segment, segment));
            }
        }
        reader
    }

    /// Begins with the record `from_seq`, but no further back than the newest `segments`.
    pub fn open_newest(dir: &Path, from_seq: u64, segments: usize) -> Self {
        let mut newest: BinaryHeap<Reverse<u64>> = BinaryHeap::with_capacity(segments + 1);
        for first in list(dir).unwrap_or_default() {
            newest.push(Reverse(first));
            if newest.len() > segments {
                newest.pop();
            }
        }
        let oldest = newest.peek().map_or(0, |first| first.0);
        JournalReader::open(dir, from_seq.max(oldest))
    }

    /// Reads on.
    ///
    /// # Errors
    /// The system's refusal to read.
    pub fn read(&mut self) -> io::Result<Reading<'_>> {
        let span = loop {
            let Some((first, segment)) = &mut self.segment else {
                if !self.enter_first()? {
                    return Ok(Reading::Waiting);
                }
                continue;
            };
            let first = *first;
            let why = match segment.step()? {
                Step::Batch(span) if span.first_seq + span.count <= self.next_seq => continue,
                Step::Batch(span) => break span,
                Step::End => None,
                Step::Torn { .. } => Some(None),
                Step::Damaged(why) => Some(Some(why)),
            };
            if let Some(why) = why {
                let at = segment.position();
                let is_torn = why.is_none();
                let why = why.unwrap_or_else(|| "a frame that is not whole".to_owned());
                let why = format!("{}: at {at}: {why}", segment.path().display());
                let is_sound_behind = segment.resync()?;
                // The beginning of a frame at the very end may be one that is being written.
                self.damage = (is_sound_behind || !is_torn).then_some(why);
                if is_sound_behind {
                    continue;
                }
            }
            if !self.leave(first)? {
                return Ok(Reading::Waiting);
            }
        };
        Ok(self.hand_over(span))
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The `seq` of the next record.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The damage at the current place, when nothing readable stands behind it.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// The place behind the last batch; `None` before the first.
    pub fn place(&self) -> Option<Place> {
        self.segment.as_ref().map(|(first, segment)| Place { segment: *first, position: segment.position() })
    }

    /// Bytes in the journal in `dir` behind a place; all of them without one.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn bytes_behind(dir: &Path, place: Option<Place>) -> io::Result<u64> {
        let place = place.unwrap_or_default();
        let entries = match std::fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            other => other?,
        };
        let mut bytes = 0;
        for entry in entries {
            let entry = entry?;
            let Some(first) = segment_first(&entry.file_name()).filter(|first| *first >= place.segment) else {
                continue;
            };
            let len = entry.metadata().map_or(0, |meta| meta.len());
            bytes += if first == place.segment { len.saturating_sub(place.position) } else { len };
        }
        Ok(bytes)
    }

    /// Hands a batch over that begins at `next_seq` or before, or tells the gap in front of it.
    fn hand_over(&mut self, span: BatchSpan) -> Reading<'_> {
        let Some((_, segment)) = &mut self.segment else { return Reading::Waiting };
        if span.first_seq > self.next_seq {
            let gap = self.next_seq..=span.first_seq - 1;
            self.next_seq = span.first_seq;
            // Read again: the gap is told first.
            segment.seek(segment.position() - span.frame_bytes);
            return Reading::Gap(gap, self.damage.take().unwrap_or_else(|| "deleted".to_owned()));
        }
        self.damage = None;
        let mut batch = segment.batch(span);
        let seen = self.next_seq.saturating_sub(span.first_seq);
        if seen > 0 {
            let from = memchr::memchr_iter(b'\n', batch.lines).nth(seen as usize - 1).map_or(0, |end| end + 1);
            batch = Batch { first_seq: span.first_seq + seen, count: span.count - seen, lines: &batch.lines[from..] };
        }
        self.next_seq = span.first_seq + span.count;
        Reading::Batch(batch)
    }

    /// Opens the segment with `next_seq`, or the oldest; tells whether there is any.
    fn enter_first(&mut self) -> io::Result<bool> {
        let (mut oldest, mut holding) = (None::<u64>, None::<u64>);
        for first in list(&self.dir)? {
            oldest = Some(oldest.map_or(first, |oldest| oldest.min(first)));
            if first <= self.next_seq {
                holding = holding.max(Some(first));
            }
        }
        let Some(first) = holding.or(oldest) else { return Ok(false) };
        if self.next_seq == 0 {
            // From the oldest on: what is missing at its beginning is missing.
            self.next_seq = first;
        }
        self.enter(first)
    }

    /// Goes to the segment behind the one that ends here; tells whether there is one.
    fn leave(&mut self, first: u64) -> io::Result<bool> {
        // The next segment is named by the next seq, unless something is missing.
        let expected = segment_path(&self.dir, self.next_seq);
        if self.next_seq > first && expected.exists() {
            return self.enter(self.next_seq);
        }
        let Some(next) = list(&self.dir)?.into_iter().filter(|other| *other > first).min() else { return Ok(false) };
        // The writer may have added to this segment before it opened the other.
        if let Some((_, segment)) = &mut self.segment {
            let at = segment.position();
            if matches!(segment.step()?, Step::Batch(_)) {
                segment.seek(at);
                return Ok(true);
            }
        }
        self.enter(next)
    }

    fn enter(&mut self, first: u64) -> io::Result<bool> {
        match Segment::open(&segment_path(&self.dir, first)) {
            Ok(segment) => self.segment = Some((first, segment)),
            // Retention was faster: the list is read again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.segment = None,
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

/// The first `seq` of every segment in `dir`, in no order; none when there is no such folder.
fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut firsts = Vec::new();
    for entry in entries {
        firsts.extend(segment_first(&entry?.file_name()));
    }
    Ok(firsts)
}
