//! Printing what segments hold, line by line: filtered, and followed while they grow. Reads files only: works beside a
//! running engine and without one. Owns no filter.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use crate::collector::journal::{JournalReader, Reading, line_seq};

/// What is printed.
pub(super) struct Lines<'a> {
    /// The folder of the segments.
    pub dir: &'a Path,
    /// The first `seq`; zero = the oldest there is.
    pub from_seq: u64,
    /// Goes on as lines come.
    pub follow: bool,
    /// Every line passes, so that none need be read.
    pub is_plain: bool,
    /// What a line is: for errors.
    pub what: &'static str,
}

impl Lines<'_> {
    /// Prints the lines that `wanted` lets pass (`None`: the line is not what it should be) to standard output. Gives the
    /// exit status: 0, or 1 when lines could not be read.
    pub(super) fn print(&self, wanted: impl Fn(&[u8]) -> Option<bool>) -> u8 {
        let mut out = BufWriter::with_capacity(256 << 10, io::stdout().lock());
        let done = self.write(&mut out, wanted).and_then(|is_whole| out.flush().map(|()| is_whole));
        match done {
            Ok(true) => 0,
            Ok(false) => 1,
            // Whoever read it has had enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Err(error) => {
                eprintln!("error: {}: {error}", self.dir.display());
                1
            }
        }
    }

    /// Prints; tells whether everything could be read.
    fn write(&self, out: &mut impl Write, wanted: impl Fn(&[u8]) -> Option<bool>) -> io::Result<bool> {
        if !self.dir.is_dir() && !self.follow {
            return Err(io::Error::new(io::ErrorKind::NotFound, "expected a folder with segments, found none"));
        }
        let mut reader = JournalReader::open(self.dir, self.from_seq);
        let mut is_whole = true;
        loop {
            match reader.read()? {
                Reading::Batch(batch) if self.is_plain => out.write_all(batch.lines)?,
                Reading::Batch(batch) => {
                    for line in batch.lines.split_inclusive(|byte| *byte == b'\n') {
                        match wanted(line) {
                            Some(true) => out.write_all(line)?,
                            Some(false) => {}
                            None => {
                                is_whole = false;
                                eprintln!("error: seq {}: not {}", line_seq(line).unwrap_or(0), self.what);
                            }
                        }
                    }
                }
                Reading::Gap(seqs, why) => {
                    is_whole = false;
                    eprintln!("error: seq {} to {} cannot be read: {why}", seqs.start(), seqs.end());
                }
                Reading::Waiting if self.follow => {
                    out.flush()?;
                    std::thread::sleep(FOLLOW_PAUSE);
                }
                Reading::Waiting => break,
            }
        }
        if let Some(why) = reader.damage() {
            is_whole = false;
            eprintln!("error: {why}");
        }
        Ok(is_whole)
    }
}

/// How long a line may wait to be shown by `--follow`.
const FOLLOW_PAUSE: Duration = Duration::from_millis(50);
