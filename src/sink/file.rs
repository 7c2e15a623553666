//! The sink of lines appended to a plain file, for `tail -f`. Follows the path, not the file: one that was moved away
//! or deleted is made again, so that it can be rotated from outside.
//! Invariant: the file holds whole lines; half a line that a kill left is cut before the next is written.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sink::{Refusal, Sink, SinkBatch};
use crate::time::Mono;

/// A file of lines.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    open: Option<std::fs::File>,
    synced_at: Mono,
    needs_sync: bool,
}

impl File {
    /// A sink to `path`.
    pub fn new(path: &Path) -> Self {
        File { path: path.to_owned(), open: None, synced_at: Mono::default(), needs_sync: false }
    }

    fn file(&mut self) -> io::Result<&mut std::fs::File> {
        let is_same = match (&self.open, std::fs::metadata(&self.path)) {
            (Some(open), Ok(there)) => {
                let held = open.metadata()?;
                (held.dev(), held.ino()) == (there.dev(), there.ino())
            }
            _ => false,
        };
        if !is_same {
            if let Some(old) = self.open.take() {
                old.sync_data()?;
            }
            if let Some(parent) = self.path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let file = OpenOptions::new().read(true).append(true).create(true).open(&self.path)?;
            cut_half_line(&file)?;
            return Ok(self.open.insert(file));
        }
        // Just found to be open.
        self.open.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

impl Sink for File {
    fn deliver(&mut self, batch: &SinkBatch<'_>) -> Result<(), Refusal> {
        let written = self.file().and_then(|file| file.write_all(batch.lines));
        self.needs_sync = true;
        written.map_err(|error| {
            // Opened again next time, which cuts what was written of a line.
            self.open = None;
            Refusal::Retry(format!("cannot write {}: {error}", self.path.display()), None)
        })
    }

    fn settle(&mut self, force: bool) -> Result<bool, Refusal> {
        if !self.needs_sync {
            return Ok(true);
        }
        if !force && Mono::now().since(self.synced_at) < SYNC_INTERVAL {
            return Ok(false);
        }
        if let Some(file) = &self.open {
            let synced = file.sync_data();
            synced.map_err(|error| Refusal::Lost(format!("cannot sync {}: {error}", self.path.display())))?;
        }
        self.synced_at = Mono::now();
        self.needs_sync = false;
        Ok(true)
    }
}

/// Cuts what stands behind the last newline.
fn cut_half_line(file: &std::fs::File) -> io::Result<()> {
    let len = file.metadata()?.len();
    let mut end = len;
    let mut bytes = vec![0; CHUNK_BYTES];
    while end > 0 {
        let start = end.saturating_sub(CHUNK_BYTES as u64);
        let chunk = &mut bytes[..(end - start) as usize];
        file.read_exact_at(chunk, start)?;
        if let Some(at) = memchr::memrchr(b'\n', chunk) {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end < len { file.set_len(end) } else { Ok(()) }
}

/// What a power cut can cost this sink in records delivered twice.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
const CHUNK_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_line_goes_and_a_moved_file_is_made_again() {
        let dir = std::env::temp_dir().join(format!("tidegate-file-sink-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("out.ndjson");
        std::fs::write(&path, "{\"seq\":1}\n{\"se").unwrap();
        let mut sink = File::new(&path);
        let lines = |lines: &'static str| SinkBatch { first_seq: 2, count: 1, lines: lines.as_bytes() };
        sink.deliver(&lines("{\"seq\":2}\n")).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"seq\":1}\n{\"seq\":2}\n");
        std::fs::rename(&path, dir.join("out.1")).unwrap();
        sink.deliver(&lines("{\"seq\":3}\n")).unwrap();
        assert!(sink.settle(true).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"seq\":3}\n");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_target_that_is_away_is_tried_again() {
        let mut sink = File::new(Path::new("/proc/tidegate/out"));
        let refused = sink.deliver(&SinkBatch { first_seq: 1, count: 1, lines: b"{}\n" });
        assert!(matches!(refused, Err(Refusal::Retry(..))), "{refused:?}");
    }
}
