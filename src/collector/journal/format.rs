//! The bytes of the journal: names of segments, their opening frame, the shape of frames and the lines in them.
//! Owns no file. Invariant: bytes that were changed are never taken for a batch: each frame carries a checksum, the
//! opening frame another, and the lines must number themselves without a gap.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What a segment says of itself in its first, skippable frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentHeader {
    /// The format's number.
    pub format: u32,
    /// Version of the engine that wrote it.
    pub engine: String,
    /// The run that wrote it.
    pub run: String,
    /// The first `seq` in it, as in its name.
    pub first_seq: u64,
}

impl SegmentHeader {
    /// The header of a segment that this engine writes.
    pub fn new(run: &str, first_seq: u64) -> Self {
        SegmentHeader { format: FORMAT, engine: env!("CARGO_PKG_VERSION").to_owned(), run: run.to_owned(), first_seq }
    }

    /// The skippable frame: its head, one line of JSON, and the CRC-32 of that line in hex.
    pub fn to_frame(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec(self).unwrap_or_default();
        text.push(b'\n');
        let sum = crc32(&text);
        text.extend_from_slice(format!("{sum:08x}\n").as_bytes());
        let mut frame = SKIPPABLE_MAGIC.to_le_bytes().to_vec();
        frame.extend_from_slice(&(text.len() as u32).to_le_bytes());
        frame.extend_from_slice(&text);
        frame
    }

    /// Reads a whole skippable frame.
    ///
    /// # Errors
    /// What does not fit.
    pub fn from_frame(frame: &[u8]) -> Result<Self, String> {
        let text = frame.get(8..).unwrap_or_default();
        let line = text.len().saturating_sub(SUM_BYTES);
        let (line, sum) = text.split_at(line);
        if sum != format!("{:08x}\n", crc32(line)).as_bytes() {
            return Err("the opening frame does not match its checksum".to_owned());
        }
        let header: SegmentHeader =
            serde_json::from_slice(line).map_err(|error| format!("the opening frame is not understood: {error}"))?;
        if header.format != FORMAT {
            return Err(format!(
                "expected format {FORMAT}, found {}: written by tidegate {}",
                header.format, header.engine
            ));
        }
        Ok(header)
    }
}

/// What stands at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// No frame can begin like this.
    Broken(&'static str),
    /// A whole frame of `len` bytes that unpacks to `content` bytes.
    Frame {
        /// Its length.
        len: usize,
        /// Length of what it unpacks to.
        content: usize,
    },
    /// The beginning of a frame; more bytes are needed.
    Incomplete,
    /// A whole skippable frame.
    Skippable {
        /// Its length.
        len: usize,
    },
}

/// Tells the shape of what `bytes` begin with (RFC 8878, section 3.1). Only frames as the journal writes them are
/// taken: with a checksum and a content size.
pub fn shape(bytes: &[u8]) -> Shape {
    let Some(magic) = bytes.first_chunk::<4>().map(|four| u32::from_le_bytes(*four)) else {
        let begins = |magic: u32| magic.to_le_bytes().starts_with(bytes);
        let begun = begins(FRAME_MAGIC) || begins(SKIPPABLE_MAGIC);
        return if begun { Shape::Incomplete } else { Shape::Broken("no frame begins here") };
    };
    if magic == SKIPPABLE_MAGIC {
        let Some(len) = bytes[4..].first_chunk::<4>().map(|four| u32::from_le_bytes(*four) as usize) else {
            return Shape::Incomplete;
        };
        return match len {
            len if len > HEADER_BYTES_MAX => Shape::Broken("a skippable frame that is too long"),
            len if bytes.len() < len + 8 => Shape::Incomplete,
            len => Shape::Skippable { len: len + 8 },
        };
    }
    if magic != FRAME_MAGIC {
        return Shape::Broken("no frame begins here");
    }
    let Some(&descriptor) = bytes.get(4) else { return Shape::Incomplete };
    let single_segment = descriptor & 0x20 != 0;
    let size_bytes = match (descriptor >> 6, single_segment) {
        (0, true) => 1,
        (0, false) => return Shape::Broken("a frame without a content size"),
        (flag, _) => 1_usize << flag,
    };
    if descriptor & 0x04 == 0 || descriptor & 0x0b != 0 {
        return Shape::Broken("a frame without a checksum, or with a dictionary");
    }
    let size_at = if single_segment { 5 } else { 6 };
    let Some(size) = bytes.get(size_at..size_at + size_bytes) else { return Shape::Incomplete };
    let size = size.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let content = size + if size_bytes == 2 { 256 } else { 0 };
    if content > CONTENT_BYTES_MAX as u64 {
        return Shape::Broken("a frame that unpacks to too much");
    }
    let mut at = size_at + size_bytes;
    loop {
        let Some(head) = bytes.get(at..at + 3) else { return Shape::Incomplete };
        let head = u32::from(head[0]) | u32::from(head[1]) << 8 | u32::from(head[2]) << 16;
        let size = (head >> 3) as usize;
        at += 3;
        match head >> 1 & 3 {
            0 | 2 if size > BLOCK_BYTES_MAX => return Shape::Broken("a block that is too long"),
            0 | 2 => at += size,
            1 => at += 1,
            _ => return Shape::Broken("a block of a reserved type"),
        }
        if at > FRAME_BYTES_MAX {
            return Shape::Broken("a frame that is too long");
        }
        if head & 1 == 1 {
            break;
        }
    }
    let len = at + CHECKSUM_BYTES;
    if bytes.len() < len { Shape::Incomplete } else { Shape::Frame { len, content: content as usize } }
}

/// Where the next frame could begin in `bytes`.
pub fn next_magic(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, &FRAME_MAGIC.to_le_bytes())
}

/// The `seq` a line begins with.
pub fn line_seq(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"{\"seq\":")?;
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    if rest[digits] != b',' || digits == 0 || digits > 20 {
        return None;
    }
    rest[..digits].iter().try_fold(0_u64, |seq, digit| seq.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

/// Checks that `content` is whole lines that number themselves; gives the first number and how many.
///
/// # Errors
/// What does not fit.
pub fn check_lines(content: &[u8]) -> Result<(u64, u64), String> {
    let first = line_seq(content).ok_or("a line without a seq")?;
    if content.last() != Some(&b'\n') {
        return Err("the last line has no end".to_owned());
    }
    let (mut at, mut count) = (0, 0);
    for end in memchr::memchr_iter(b'\n', content) {
        let found = line_seq(&content[at..=end]);
        if found != first.checked_add(count) {
            let found = found.map_or("none".to_owned(), |seq| seq.to_string());
            return Err(format!("expected seq {} in a batch, found {found}", first.saturating_add(count)));
        }
        at = end + 1;
        count += 1;
    }
    Ok((first, count))
}

/// The file of the segment that begins with `first_seq`.
pub fn segment_path(dir: &Path, first_seq: u64) -> PathBuf {
    dir.join(format!("{first_seq:020}.zst"))
}

/// The first `seq` a segment's file name tells; `None` for other files.
pub fn segment_first(name: &std::ffi::OsStr) -> Option<u64> {
    let digits = name.to_str()?.strip_suffix(".zst")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// The number of this format.
pub const FORMAT: u32 = 1;
/// A frame longer than this is taken for damage; batches are bounded far below.
pub const FRAME_BYTES_MAX: usize = 64 << 20;
/// What a frame unpacks to at most.
pub const CONTENT_BYTES_MAX: usize = 256 << 20;
const FRAME_MAGIC: u32 = 0xFD2F_B528;
const SKIPPABLE_MAGIC: u32 = 0x184D_2A54;
const HEADER_BYTES_MAX: usize = 4 << 10;
const BLOCK_BYTES_MAX: usize = 128 << 10;
const CHECKSUM_BYTES: usize = 4;
/// Eight hex digits and a newline.
const SUM_BYTES: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(content: &[u8]) -> Vec<u8> {
        let mut compressor = zstd::bulk::Compressor::new(1).unwrap();
        compressor.include_checksum(true).unwrap();
        compressor.compress(content).unwrap()
    }

    #[test]
    fn shapes_agree_with_zstd_at_every_length() {
        for size in [1, 200, 300, 70_000, 400_000] {
            let content: Vec<u8> = (0..size).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8 & 15).collect();
            let mut bytes = frame(&content);
            let len = bytes.len();
            bytes.extend_from_slice(&frame(b"x"));
            assert_eq!(shape(&bytes), Shape::Frame { len, content: content.len() });
            for cut in (0..len.min(600)).chain((600..len).step_by(997)) {
                assert_eq!(shape(&bytes[..cut]), Shape::Incomplete, "{size} cut at {cut}");
            }
        }
    }

    #[test]
    fn headers_read_back_and_a_changed_bit_is_noticed() {
        let header = SegmentHeader::new("r1", 41);
        let frame = header.to_frame();
        assert_eq!(shape(&frame), Shape::Skippable { len: frame.len() });
        assert_eq!(SegmentHeader::from_frame(&frame), Ok(header));
        for bit in 64..frame.len() * 8 {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::from_frame(&changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn lines_number_themselves() {
        let check = |text: &str| check_lines(text.as_bytes());
        assert_eq!(check("{\"seq\":9,\"a\":1}\n{\"seq\":10,}\n"), Ok((9, 2)));
        for bad in [
            "",
            "{}\n",
            "{\"seq\":1,}",
            "{\"seq\":1,}\n{\"seq\":3,}\n",
            "{\"seq\":1,}\n\n",
            "{\"seq\":99999999999999999999,}\n",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_sort_and_read_back() {
        let path = segment_path(Path::new("j"), 41);
        assert_eq!(path.to_str(), Some("j/00000000000000000041.zst"));
        assert_eq!(segment_first(path.file_name().unwrap()), Some(41));
        for other in ["41.zst", "00000000000000000041.tmp", "x", "0000000000000000004x.zst"] {
            assert_eq!(segment_first(other.as_ref()), None, "{other}");
        }
    }
}
