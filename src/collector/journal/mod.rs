//! The journal: segments of checksummed zstd frames, each a batch of lines, written in the order of `seq`.
//! Owns the open segment, its rotation, its durability and its repair after a failed operation; not when to sync or
//! what to do while the disk refuses. Readers need nothing of it but the files.
//! Invariants: `seq` has no gap and no repeat; a batch is in the file whole or is refused and can be given again; what
//! has not been made durable is kept in memory, since a failed sync may lose it in the file.

mod disk;
mod format;
mod reader;
mod recover;
mod retention;
mod segment;
#[cfg(test)]
mod tests;
mod verify;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::runtime::File;
use crate::time::{Mono, UnixNanos};

use disk::Disk;
use format::{SegmentHeader, segment_path};

pub use disk::{Fault, FaultHook, Operation};
pub use format::{SegmentHeader as JournalHeader, line_seq};
pub use reader::{JournalReader, Place, Reading};
pub use recover::{Cut, Recovery};
pub use segment::Batch;
pub use verify::{Report, verify};

/// How the journal is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// A segment is closed at this size.
    pub segment_bytes: u64,
    /// A segment is closed at this age.
    pub segment_age: Duration,
    /// Time between syncs; zero syncs after every batch.
    pub fsync_interval: Duration,
    /// Size of all segments at most; older ones go.
    pub retention_bytes: u64,
    /// Age of a segment at most.
    pub retention_age: Duration,
    /// Lets retention delete what a sink has not read.
    pub delete_unread: bool,
}

impl Default for JournalSettings {
    fn default() -> Self {
        JournalSettings {
            segment_bytes: 64 << 20,
            segment_age: Duration::from_secs(3_600),
            fsync_interval: Duration::from_millis(100),
            retention_bytes: 20 << 30,
            retention_age: Duration::from_secs(30 * 86_400),
            delete_unread: false,
        }
    }
}

/// The writer of a journal.
pub struct Journal {
    dir: PathBuf,
    settings: JournalSettings,
    run: String,
    disk: Disk,
    compressor: zstd::bulk::Compressor<'static>,
    open: Option<OpenSegment>,
    next_seq: u64,
    durable_seq: u64,
    /// What stands in the open segment behind `synced_len`.
    unsynced: Vec<u8>,
    /// Whether the bytes in `unsynced` must be written again before they can be made durable.
    must_rewrite: bool,
    bytes_written: u64,
    segment_count: u64,
}

struct OpenSegment {
    file: File,
    /// Whole frames, and nothing else, end here.
    len: u64,
    synced_len: u64,
    opened_at: Mono,
    is_dir_synced: bool,
    /// Whether parts of a refused batch may stand behind `len`.
    is_tail_dirty: bool,
}

impl Journal {
    /// Opens the journal in `dir`, makes the folder when there is none, and repairs what a kill left.
    ///
    /// # Errors
    /// When the folder cannot be made, read or repaired.
    pub fn open(dir: &Path, settings: JournalSettings, run: &str) -> Result<(Journal, Recovery)> {
        Journal::open_with_faults(dir, settings, run, None)
    }

    /// The same with a hook that can refuse file operations.
    ///
    /// # Errors
    /// When the folder cannot be made, read or repaired.
    pub fn open_with_faults(
        dir: &Path,
        settings: JournalSettings,
        run: &str,
        hook: Option<FaultHook>,
    ) -> Result<(Journal, Recovery)> {
        std::fs::create_dir_all(dir).map_err(|error| Error::io("make the folder", dir, &error))?;
        let recovery = recover::recover(dir)?;
        let compressor = compressor().map_err(|error| Error::io("prepare compression for", dir, &error))?;
        let journal = Journal {
            dir: dir.to_owned(),
            settings,
            run: run.to_owned(),
            disk: Disk::new(hook),
            compressor,
            open: None,
            next_seq: recovery.last_seq + 1,
            durable_seq: recovery.last_seq,
            unsynced: Vec::new(),
            must_rewrite: false,
            bytes_written: 0,
            segment_count: 0,
        };
        Ok((journal, recovery))
    }

    /// Goes on behind `seq` when the journal ends before it: numbers that readers have seen are not given again.
    pub fn skip_to(&mut self, seq: u64) {
        if seq >= self.next_seq && self.open.is_none() {
            self.next_seq = seq + 1;
            self.durable_seq = seq;
        }
    }

    /// Writes a batch of `count` lines, the first of which has `first_seq`. On an error the batch is not in the journal:
    /// the same call can be made again.
    ///
    /// # Errors
    /// The disk's refusal.
    pub async fn append(&mut self, lines: &[u8], count: u64, first_seq: u64) -> Result<()> {
        debug_assert_eq!(format::check_lines(lines), Ok((first_seq, count)), "a batch that does not number itself");
        if first_seq != self.next_seq || count == 0 {
            let expected = self.next_seq;
            return Err(Error::new(
                ErrorKind::Misuse,
                format!("journal: expected a batch from seq {expected}, found {count} lines from {first_seq}"),
            ));
        }
        if self.must_rewrite || self.unsynced.len() > UNSYNCED_BYTES_MAX {
            self.sync().await?;
        }
        if self.open.as_ref().is_some_and(|open| self.is_full(open)) {
            self.close_segment().await?;
        }
        let is_fresh = match &self.open {
            Some(open) => open.len == 0,
            None => {
                self.open_segment().await?;
                true
            }
        };
        let mut frame = Vec::new();
        if is_fresh {
            frame = SegmentHeader::new(&self.run, first_seq).to_frame();
        }
        self.pack(lines, &mut frame)?;
        self.write(frame).await?;
        self.next_seq += count;
        Ok(())
    }

    /// Makes everything written durable. After an error nothing is lost: the next call, or the next append, writes
    /// again what may not have reached the disk.
    ///
    /// # Errors
    /// The disk's refusal.
    pub async fn sync(&mut self) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if self.unsynced.is_empty() {
            return Ok(());
        }
        if self.must_rewrite {
            let written = write_all(&self.disk, &open.file, &self.unsynced, open.synced_len).await;
            written.map_err(|error| Error::io("write", open.file.path(), &error))?;
            self.must_rewrite = false;
        }
        if open.is_tail_dirty {
            let cut = self.disk.truncate(&open.file, open.len).await;
            cut.map_err(|error| Error::io("cut", open.file.path(), &error))?;
            open.is_tail_dirty = false;
        }
        if let Err(error) = self.disk.sync_data(&open.file).await {
            // The kernel may have dropped the pages that it could not write.
            self.must_rewrite = true;
            return Err(Error::io("sync", open.file.path(), &error));
        }
        if !open.is_dir_synced {
            self.disk.sync_dir(&self.dir).await.map_err(|error| Error::io("sync the folder", &self.dir, &error))?;
            open.is_dir_synced = true;
        }
        open.synced_len = open.len;
        self.durable_seq = self.next_seq - 1;
        self.unsynced.clear();
        Ok(())
    }

    /// Makes everything durable and closes the open segment.
    ///
    /// # Errors
    /// The disk's refusal; the journal is as before.
    pub async fn close(&mut self) -> Result<()> {
        self.close_segment().await
    }

    /// Deletes the oldest segments as far as the settings ask and every sink has read them, `read_seq` being the last
    /// `seq` that all have. Tells how many went.
    ///
    /// # Errors
    /// The system's refusal.
    pub async fn retain(&self, read_seq: u64) -> Result<u64> {
        let read_seq = if self.settings.delete_unread { u64::MAX } else { read_seq };
        let limits = retention::Limits {
            bytes: self.settings.retention_bytes,
            age: self.settings.retention_age,
            read_seq,
            now: UnixNanos::now(),
        };
        let dir = self.dir.clone();
        // Thousands of files are looked at: not on the thread that writes.
        let applied = crate::runtime::blocking(move || retention::apply(&dir, &limits)).await;
        match applied {
            Some(Ok(count)) => Ok(count),
            Some(Err(error)) => Err(Error::io("apply retention in", &self.dir, &error)),
            None => Err(Error::new(ErrorKind::Io, "journal: retention panicked")),
        }
    }

    /// The `seq` of the next record.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Every record up to here is durable.
    pub fn durable_seq(&self) -> u64 {
        self.durable_seq
    }

    /// Whether something written is not durable.
    pub fn needs_sync(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// Bytes written by this run.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// Segments opened by this run.
    pub fn segment_count(&self) -> u64 {
        self.segment_count
    }

    /// How it is kept.
    pub fn settings(&self) -> &JournalSettings {
        &self.settings
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn is_full(&self, open: &OpenSegment) -> bool {
        open.len >= self.settings.segment_bytes
            || (open.len > 0 && Mono::now().since(open.opened_at) >= self.settings.segment_age)
    }

    async fn open_segment(&mut self) -> Result<()> {
        let path = segment_path(&self.dir, self.next_seq);
        let file = self.disk.create(&path).await.map_err(|error| Error::io("make", &path, &error))?;
        self.open = Some(OpenSegment {
            file,
            len: 0,
            synced_len: 0,
            opened_at: Mono::now(),
            is_dir_synced: false,
            is_tail_dirty: false,
        });
        self.segment_count += 1;
        Ok(())
    }

    async fn close_segment(&mut self) -> Result<()> {
        self.sync().await?;
        let Some(open) = self.open.take() else { return Ok(()) };
        let path = open.file.path().to_owned();
        // Everything in it is durable: a refusal to close loses nothing.
        if let Err(error) = open.file.close().await {
            tracing::warn!(path = %path.display(), %error, "a segment could not be closed");
        }
        if open.len == 0 {
            let _ = std::fs::remove_file(&path);
        }
        Ok(())
    }

    /// Appends `lines` as one frame to `frame`.
    fn pack(&mut self, lines: &[u8], frame: &mut Vec<u8>) -> Result<()> {
        let mut packed = Vec::with_capacity(zstd::zstd_safe::compress_bound(lines.len()));
        self.compressor
            .compress_to_buffer(lines, &mut packed)
            .map_err(|error| Error::new(ErrorKind::Io, format!("journal: a batch could not be packed: {error}")))?;
        if frame.is_empty() {
            *frame = packed;
        } else {
            frame.extend_from_slice(&packed);
        }
        Ok(())
    }

    async fn write(&mut self, frame: Vec<u8>) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let (kept, len) = (self.unsynced.len(), frame.len());
        // The only copy: about 4 µs for a frame of 36 KB, against 270 µs to pack it.
        self.unsynced.extend_from_slice(&frame);
        let written = match self.disk.write(&open.file, frame, open.len).await {
            Ok(count) if count < len => {
                let rest = &self.unsynced[kept + count..];
                write_all(&self.disk, &open.file, rest, open.len + count as u64).await
            }
            other => other.map(|_| ()),
        };
        if let Err(error) = written {
            self.unsynced.truncate(kept);
            open.is_tail_dirty = self.disk.truncate(&open.file, open.len).await.is_err();
            return Err(Error::io("write", open.file.path(), &error));
        }
        open.len += len as u64;
        self.bytes_written += len as u64;
        Ok(())
    }
}

async fn write_all(disk: &Disk, file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match disk.write(file, bytes[done..].to_vec(), position + done as u64).await? {
            0 => return Err(io::Error::from(io::ErrorKind::WriteZero)),
            count => done += count,
        }
    }
    Ok(())
}

fn compressor() -> io::Result<zstd::bulk::Compressor<'static>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    compressor.include_contentsize(true)?;
    Ok(compressor)
}

/// Level 1 packs lines sixfold at 270 µs per 1,000; level 3 takes twice that for a tenth less.
const LEVEL: i32 = 1;
/// Beyond this a sync comes before the next batch, whatever the interval: it bounds what is kept in memory.
const UNSYNCED_BYTES_MAX: usize = 16 << 20;
