//! Reading one segment, frame by frame, with plain file reads; used beside a running engine and on what a kill left.
//! Owns neither the order of segments nor what to do about damage. Memory is bounded by the largest frame.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::format::{CONTENT_BYTES_MAX, SegmentHeader, Shape, check_lines, next_magic, shape};

/// An open segment and a place in it.
pub struct Segment {
    file: File,
    path: PathBuf,
    header: Option<SegmentHeader>,
    /// Place in the file of `bytes[used]`.
    position: u64,
    bytes: Vec<u8>,
    /// Bytes that are done with, dropped at the next read.
    used: usize,
    content: Vec<u8>,
    unpacker: zstd::bulk::Decompressor<'static>,
}

/// A batch of records as it stands in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    /// `seq` of the first line.
    pub first_seq: u64,
    /// Number of lines.
    pub count: u64,
    /// The lines, each with its newline.
    pub lines: &'a [u8],
}

impl Batch<'_> {
    /// `seq` of the last line.
    pub fn last_seq(&self) -> u64 {
        self.first_seq + self.count - 1
    }
}

/// What stands at the current place.
#[derive(Debug)]
pub enum Step {
    /// A whole batch, to be had from [`Segment::batch`]; the place is behind it.
    Batch(BatchSpan),
    /// Bytes that are no frame; the place stays.
    Damaged(String),
    /// The end of the file.
    End,
    /// The beginning of a frame that goes on behind the end of the file; the place stays.
    Torn {
        /// Bytes of it that are there.
        bytes: u64,
    },
}

/// Numbers of a batch just read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSpan {
    /// `seq` of the first line.
    pub first_seq: u64,
    /// Number of lines.
    pub count: u64,
    /// Bytes of the frame.
    pub frame_bytes: u64,
}

impl Segment {
    /// Opens a segment at its beginning.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn open(path: &Path) -> io::Result<Segment> {
        Ok(Segment {
            file: File::open(path)?,
            path: path.to_owned(),
            header: None,
            position: 0,
            bytes: Vec::new(),
            used: 0,
            content: Vec::new(),
            unpacker: zstd::bulk::Decompressor::new()?,
        })
    }

    /// Goes on at another place, which must be the start of a frame.
    pub fn seek(&mut self, position: u64) {
        self.position = position;
        self.forget();
    }

    /// The batch of the last [`Step::Batch`].
    pub fn batch(&self, span: BatchSpan) -> Batch<'_> {
        Batch { first_seq: span.first_seq, count: span.count, lines: &self.content }
    }

    /// Reads the next batch.
    ///
    /// # Errors
    /// The system's refusal to read.
    pub fn step(&mut self) -> io::Result<Step> {
        loop {
            match shape(self.held()) {
                Shape::Incomplete if self.fill()? > 0 => {}
                Shape::Incomplete if self.held().is_empty() => return Ok(Step::End),
                Shape::Incomplete => {
                    let bytes = self.held().len() as u64;
                    // Read again next time: the writer may have cut and written other bytes by then.
                    self.forget();
                    return Ok(Step::Torn { bytes });
                }
                Shape::Broken(why) => return Ok(self.damaged(why.to_owned())),
                Shape::Skippable { len } => match self.take_header(len) {
                    Ok(()) => self.advance(len),
                    Err(why) => return Ok(self.damaged(why)),
                },
                Shape::Frame { .. } if self.header.is_none() && self.position == 0 => {
                    return Ok(self.damaged("the segment has no opening frame".to_owned()));
                }
                Shape::Frame { len, content } => {
                    return Ok(match self.unpack(len, content) {
                        Ok((first_seq, count)) => {
                            self.advance(len);
                            Step::Batch(BatchSpan { first_seq, count, frame_bytes: len as u64 })
                        }
                        Err(why) => self.damaged(why),
                    });
                }
            }
        }
    }

    /// Looks for the next sound frame behind the current place and goes there; tells whether there is one.
    ///
    /// # Errors
    /// The system's refusal to read.
    pub fn resync(&mut self) -> io::Result<bool> {
        let start = self.position;
        if self.held().is_empty() && self.fill()? == 0 {
            return Ok(false);
        }
        self.advance(1);
        loop {
            let Some(at) = next_magic(self.held()) else {
                // Keeps what could be the beginning of a magic number.
                self.advance(self.held().len().saturating_sub(3));
                if self.fill()? == 0 {
                    self.seek(start);
                    return Ok(false);
                }
                continue;
            };
            self.advance(at);
            let is_sound = loop {
                match shape(self.held()) {
                    Shape::Incomplete if self.fill()? > 0 => {}
                    Shape::Frame { len, content } => break self.unpack(len, content).is_ok(),
                    _ => break false,
                }
            };
            if is_sound {
                return Ok(true);
            }
            self.advance(1);
        }
    }

    /// Where the next frame begins.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The opening frame, once it has been read.
    pub fn header(&self) -> Option<&SegmentHeader> {
        self.header.as_ref()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's length.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn take_header(&mut self, len: usize) -> Result<(), String> {
        if self.position != 0 {
            return Err("an opening frame inside a segment".to_owned());
        }
        self.header = Some(SegmentHeader::from_frame(&self.held()[..len])?);
        Ok(())
    }

    /// Unpacks the whole frame at the current place and checks its lines.
    fn unpack(&mut self, len: usize, size: usize) -> Result<(u64, u64), String> {
        debug_assert!(size <= CONTENT_BYTES_MAX);
        let frame = &self.bytes[self.used..self.used + len];
        self.content.clear();
        // A claimed size beyond what level 1 could ever have packed is not believed.
        self.content.reserve(size.min(len.saturating_mul(65_536)));
        self.unpacker
            .decompress_to_buffer(frame, &mut self.content)
            .map_err(|error| format!("a frame that does not unpack: {error}"))?;
        check_lines(&self.content)
    }

    fn damaged(&mut self, why: String) -> Step {
        self.forget();
        Step::Damaged(why)
    }

    fn held(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    fn forget(&mut self) {
        self.bytes.clear();
        self.used = 0;
    }

    fn advance(&mut self, len: usize) {
        self.used += len;
        self.position += len as u64;
    }

    fn fill(&mut self) -> io::Result<usize> {
        self.bytes.drain(..self.used);
        self.used = 0;
        let held = self.bytes.len();
        // Doubles while one frame is being collected, so that long frames cost no quadratic scan.
        self.bytes.resize(held + READ_BYTES.max(held), 0);
        let count = loop {
            match self.file.read_at(&mut self.bytes[held..], self.position + held as u64) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.bytes.truncate(held + count.as_ref().map_or(0, |count| *count));
        count
    }
}

const READ_BYTES: usize = 128 << 10;
