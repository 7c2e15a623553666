//! HTTP/2 frames as bytes (RFC 9113 sections 4 and 6): reading one that has come whole, and writing those that a client
//! sends. Knows no streams and no state. Invariant: sizes, flags and stream numbers are checked here and nowhere else.

/// What every frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) length: usize,
    kind: u8,
    flags: u8,
    pub(super) stream: u32,
}

/// A frame that a server may send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Continuation {
        stream: u32,
        ends_head: bool,
        block: &'a [u8],
    },
    /// `flow` is what the frame takes of the windows: its padding counts (section 6.1).
    Data {
        stream: u32,
        ends_stream: bool,
        data: &'a [u8],
        flow: usize,
    },
    GoAway {
        last: u32,
        code: u32,
    },
    Headers {
        stream: u32,
        ends_stream: bool,
        ends_head: bool,
        block: &'a [u8],
    },
    Ping {
        is_answer: bool,
        opaque: [u8; 8],
    },
    /// Brings nothing: a priority, or a type that this version does not know (section 4.1).
    Other,
    Reset {
        stream: u32,
        code: u32,
    },
    Settings {
        is_answer: bool,
        pairs: &'a [u8],
    },
    WindowUpdate {
        stream: u32,
        increment: u32,
    },
}

/// A breach after which nothing of the connection can be trusted (section 5.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// What the peer is told.
    pub(super) code: u32,
    /// What was expected.
    pub(super) what: &'static str,
}

impl Broken {
    pub(super) const fn protocol(what: &'static str) -> Broken {
        Broken { code: PROTOCOL_ERROR, what }
    }

    pub(super) const fn flow(what: &'static str) -> Broken {
        Broken { code: FLOW_CONTROL_ERROR, what }
    }

    const fn size(what: &'static str) -> Broken {
        Broken { code: FRAME_SIZE_ERROR, what }
    }
}

impl FrameHead {
    /// Reads the head of the next frame; `None` when it has not come whole.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<FrameHead>, Broken> {
        let Some(bytes) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(Broken::size("a frame of at most 16,384 bytes"));
        }
        let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]) & ID_MAX;
        Ok(Some(FrameHead { length, kind: bytes[3], flags: bytes[4], stream }))
    }

    /// Whether it is a frame of plain body bytes, which need not be waited for as a whole; and whether they end the stream.
    pub(super) fn is_plain_data(&self) -> Option<bool> {
        let is_plain = self.kind == DATA && self.flags & PADDED == 0 && self.stream != 0;
        is_plain.then_some(self.flags & END_STREAM != 0)
    }

    /// Whether it begins or goes on with a block of header fields.
    pub(super) fn is_block(&self) -> bool {
        matches!(self.kind, HEADERS | CONTINUATION)
    }

    /// Reads the frame, of which `payload` is all that follows the head.
    pub(super) fn frame<'a>(&self, payload: &'a [u8]) -> Result<Frame<'a>, Broken> {
        let stream = self.stream;
        let has = |flag: u8| self.flags & flag != 0;
        match self.kind {
            DATA | HEADERS | RESET | CONTINUATION if stream == 0 => {
                Err(Broken::protocol("a stream number with a frame of a stream"))
            }
            SETTINGS | PING | GOAWAY if stream != 0 => {
                Err(Broken::protocol("no stream number with a frame of the connection"))
            }
            DATA => {
                let data = self.unpadded(payload)?;
                Ok(Frame::Data { stream, ends_stream: has(END_STREAM), data, flow: payload.len() })
            }
            HEADERS => {
                let mut block = self.unpadded(payload)?;
                if has(PRIORITY_FLAG) {
                    block = block.get(5..).ok_or(Broken::size("five bytes of priority"))?;
                }
                Ok(Frame::Headers { stream, ends_stream: has(END_STREAM), ends_head: has(END_HEADERS), block })
            }
            CONTINUATION => Ok(Frame::Continuation { stream, ends_head: has(END_HEADERS), block: payload }),
            RESET => Ok(Frame::Reset { stream, code: number(payload, "four bytes of a reset")? }),
            SETTINGS if has(ACK) && !payload.is_empty() => Err(Broken::size("an empty acknowledgement of settings")),
            SETTINGS if !payload.len().is_multiple_of(6) => Err(Broken::size("settings of six bytes each")),
            SETTINGS => Ok(Frame::Settings { is_answer: has(ACK), pairs: payload }),
            // Section 8.4: it was said that none are wanted.
            PUSH_PROMISE => Err(Broken::protocol("no pushed stream")),
            PING => {
                let opaque = payload.try_into().map_err(|_| Broken::size("eight bytes of a ping"))?;
                Ok(Frame::Ping { is_answer: has(ACK), opaque })
            }
            GOAWAY => {
                let short = Broken::size("eight bytes of a goaway");
                let (last, rest) = payload.split_first_chunk::<4>().ok_or(short)?;
                let code = rest.first_chunk::<4>().ok_or(short)?;
                Ok(Frame::GoAway { last: u32::from_be_bytes(*last) & ID_MAX, code: u32::from_be_bytes(*code) })
            }
            WINDOW_UPDATE => {
                let increment = number(payload, "four bytes of a window update")? & ID_MAX;
                Ok(Frame::WindowUpdate { stream, increment })
            }
            _ => Ok(Frame::Other),
        }
    }

    fn unpadded<'a>(&self, payload: &'a [u8]) -> Result<&'a [u8], Broken> {
        if self.flags & PADDED == 0 {
            return Ok(payload);
        }
        let wrong = Broken::protocol("padding that fits into its frame");
        let (padding, rest) = payload.split_first().ok_or(Broken::size("the length of the padding"))?;
        let end = rest.len().checked_sub(usize::from(*padding)).ok_or(wrong)?;
        Ok(&rest[..end])
    }
}

fn number(payload: &[u8], what: &'static str) -> Result<u32, Broken> {
    payload.try_into().map(u32::from_be_bytes).map_err(|_| Broken::size(what))
}

/// The settings of a frame: identifiers and values.
pub(super) fn settings(pairs: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    let (pairs, _) = pairs.as_chunks::<6>();
    pairs.iter().map(|[a, b, c, d, e, f]| (u16::from_be_bytes([*a, *b]), u32::from_be_bytes([*c, *d, *e, *f])))
}

fn put_head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

/// Writes settings.
pub(super) fn put_settings(out: &mut Vec<u8>, pairs: &[(u16, u32)]) {
    put_head(out, pairs.len() * 6, SETTINGS, 0, 0);
    for (id, value) in pairs {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub(super) fn put_settings_answer(out: &mut Vec<u8>) {
    put_head(out, 0, SETTINGS, ACK, 0);
}

pub(super) fn put_ping(out: &mut Vec<u8>, is_answer: bool, opaque: [u8; 8]) {
    put_head(out, 8, PING, if is_answer { ACK } else { 0 }, 0);
    out.extend_from_slice(&opaque);
}

pub(super) fn put_reset(out: &mut Vec<u8>, stream: u32, code: u32) {
    put_head(out, 4, RESET, 0, stream);
    out.extend_from_slice(&code.to_be_bytes());
}

pub(super) fn put_goaway(out: &mut Vec<u8>, code: u32) {
    put_head(out, 8, GOAWAY, 0, 0);
    // The last stream of the server's that was looked at: a client lets it open none.
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&code.to_be_bytes());
}

pub(super) fn put_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    put_head(out, 4, WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}

pub(super) fn put_data(out: &mut Vec<u8>, stream: u32, ends_stream: bool, data: &[u8]) {
    put_head(out, data.len(), DATA, if ends_stream { END_STREAM } else { 0 }, stream);
    out.extend_from_slice(data);
}

/// Writes a block of header fields, which `write` appends, as one frame or, beyond the peer's frame size, as several.
pub(super) fn put_block(
    out: &mut Vec<u8>,
    stream: u32,
    ends_stream: bool,
    frame_bytes_max: usize,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let at = out.len();
    let end = if ends_stream { END_STREAM } else { 0 };
    put_head(out, 0, HEADERS, end | END_HEADERS, stream);
    write(out);
    let length = out.len() - at - HEAD_BYTES;
    if length <= frame_bytes_max {
        out[at..at + 3].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
        return;
    }
    let block = out.split_off(at + HEAD_BYTES);
    out.truncate(at);
    let mut pieces = block.chunks(frame_bytes_max).peekable();
    let (mut kind, mut flags) = (HEADERS, end);
    while let Some(piece) = pieces.next() {
        let last = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        put_head(out, piece.len(), kind, flags | last, stream);
        out.extend_from_slice(piece);
        (kind, flags) = (CONTINUATION, 0);
    }
}

pub(super) const HEAD_BYTES: usize = 9;
/// What is allowed without a setting (section 4.2): bodies gain nothing by more.
pub(super) const FRAME_BYTES_MAX: usize = 16 << 10;
/// The greatest stream number, and the greatest window.
pub(super) const ID_MAX: u32 = (1 << 31) - 1;
/// What a client opens a connection with (section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY_FLAG: u8 = 0x20;

// Error codes (section 7).
pub(super) const NO_ERROR: u32 = 0;
pub(super) const PROTOCOL_ERROR: u32 = 1;
pub(super) const FLOW_CONTROL_ERROR: u32 = 3;
pub(super) const FRAME_SIZE_ERROR: u32 = 6;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const CANCEL: u32 = 8;
pub(super) const COMPRESSION_ERROR: u32 = 9;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

// Settings (section 6.5.2).
pub(super) const HEADER_TABLE_SIZE: u16 = 1;
pub(super) const ENABLE_PUSH: u16 = 2;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const MAX_FRAME_SIZE: u16 = 5;
pub(super) const MAX_HEADER_LIST_SIZE: u16 = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_head(&mut bytes, payload.len(), kind, flags, stream);
        bytes.extend_from_slice(payload);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Frame<'_>, Broken> {
        let head = FrameHead::read(bytes)?.expect("a whole head");
        assert_eq!(head.length + HEAD_BYTES, bytes.len());
        head.frame(&bytes[HEAD_BYTES..])
    }

    #[test]
    fn frames_are_read_or_refused() {
        let check = |kind: u8, flags: u8, stream: u32, payload: &[u8], expected: Result<Frame<'_>, u32>| {
            let bytes = raw(kind, flags, stream, payload);
            assert_eq!(read(&bytes).map_err(|broken| broken.code), expected, "{kind} {flags} {stream} {payload:?}");
        };
        let data = |data, ends_stream, flow| Ok(Frame::Data { stream: 1, ends_stream, data, flow });
        check(DATA, 0, 1, b"abc", data(b"abc", false, 3));
        check(DATA, END_STREAM, 1, b"", data(b"", true, 0));
        check(DATA, PADDED | END_STREAM, 1, b"\x02abc..", data(b"abc", true, 6));
        check(DATA, PADDED, 1, b"\x02..", data(b"", false, 3));
        check(DATA, PADDED, 1, b"\x03..", Err(PROTOCOL_ERROR));
        check(DATA, PADDED, 1, b"", Err(FRAME_SIZE_ERROR));
        check(DATA, 0, 0, b"abc", Err(PROTOCOL_ERROR));
        let headers = |block, ends_stream, ends_head| Ok(Frame::Headers { stream: 3, ends_stream, ends_head, block });
        check(HEADERS, END_HEADERS, 3, b"x", headers(b"x", false, true));
        check(HEADERS, END_STREAM, 3, b"x", headers(b"x", true, false));
        check(HEADERS, PADDED | PRIORITY_FLAG, 3, b"\x0112345x.", headers(b"x", false, false));
        check(HEADERS, PRIORITY_FLAG, 3, b"1234", Err(FRAME_SIZE_ERROR));
        check(HEADERS, 0, 0, b"x", Err(PROTOCOL_ERROR));
        check(CONTINUATION, END_HEADERS, 3, b"x", Ok(Frame::Continuation { stream: 3, ends_head: true, block: b"x" }));
        check(CONTINUATION, 0, 0, b"x", Err(PROTOCOL_ERROR));
        check(2, 0, 3, b"12345", Ok(Frame::Other));
        check(77, 0xff, 3, b"unknown", Ok(Frame::Other));
        check(RESET, 0, 3, &[0, 0, 0, 8], Ok(Frame::Reset { stream: 3, code: CANCEL }));
        check(RESET, 0, 3, &[0, 0, 8], Err(FRAME_SIZE_ERROR));
        check(RESET, 0, 0, &[0, 0, 0, 8], Err(PROTOCOL_ERROR));
        check(SETTINGS, ACK, 0, b"", Ok(Frame::Settings { is_answer: true, pairs: b"" }));
        check(SETTINGS, ACK, 0, &[0; 6], Err(FRAME_SIZE_ERROR));
        check(SETTINGS, 0, 0, &[0; 7], Err(FRAME_SIZE_ERROR));
        check(SETTINGS, 0, 1, &[0; 6], Err(PROTOCOL_ERROR));
        check(PUSH_PROMISE, 0, 1, &[0; 6], Err(PROTOCOL_ERROR));
        check(PING, ACK, 0, b"12345678", Ok(Frame::Ping { is_answer: true, opaque: *b"12345678" }));
        check(PING, 0, 0, b"1234567", Err(FRAME_SIZE_ERROR));
        check(PING, 0, 1, b"12345678", Err(PROTOCOL_ERROR));
        check(GOAWAY, 0, 0, &[0x80, 0, 0, 5, 0, 0, 0, 2, b'x'], Ok(Frame::GoAway { last: 5, code: 2 }));
        check(GOAWAY, 0, 0, &[0; 7], Err(FRAME_SIZE_ERROR));
        check(GOAWAY, 0, 1, &[0; 8], Err(PROTOCOL_ERROR));
        check(WINDOW_UPDATE, 0, 7, &[0x80, 0, 0, 9], Ok(Frame::WindowUpdate { stream: 7, increment: 9 }));
        check(WINDOW_UPDATE, 0, 7, &[0; 5], Err(FRAME_SIZE_ERROR));
        let long = [0x00, 0x40, 0x01, 0, 0, 0, 0, 0, 1];
        assert_eq!(FrameHead::read(&long).unwrap_err().code, FRAME_SIZE_ERROR);
        assert_eq!(FrameHead::read(&long[..8]), Ok(None));
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut out = Vec::new();
        put_settings(&mut out, &[(MAX_FRAME_SIZE, 16_384), (ENABLE_PUSH, 0)]);
        let Frame::Settings { is_answer: false, pairs } = read(&out).unwrap() else { panic!("no settings") };
        assert_eq!(settings(pairs).collect::<Vec<_>>(), [(MAX_FRAME_SIZE, 16_384), (ENABLE_PUSH, 0)]);
        let check = |put: &dyn Fn(&mut Vec<u8>), expected: Frame<'_>| {
            let mut out = Vec::new();
            put(&mut out);
            assert_eq!(read(&out).unwrap(), expected);
        };
        check(&put_settings_answer, Frame::Settings { is_answer: true, pairs: b"" });
        check(&|out| put_ping(out, true, [7; 8]), Frame::Ping { is_answer: true, opaque: [7; 8] });
        check(&|out| put_reset(out, 9, CANCEL), Frame::Reset { stream: 9, code: CANCEL });
        check(&|out| put_goaway(out, ENHANCE_YOUR_CALM), Frame::GoAway { last: 0, code: ENHANCE_YOUR_CALM });
        check(&|out| put_window_update(out, 0, 5), Frame::WindowUpdate { stream: 0, increment: 5 });
        let data = Frame::Data { stream: 3, ends_stream: true, data: b"abc", flow: 3 };
        check(&|out| put_data(out, 3, true, b"abc"), data);
        let block = Frame::Headers { stream: 3, ends_stream: true, ends_head: true, block: b"abc" };
        check(&|out| put_block(out, 3, true, 3, |out| out.extend_from_slice(b"abc")), block);
    }

    #[test]
    fn long_blocks_are_continued() {
        let mut out = vec![b'-'];
        put_block(&mut out, 5, true, 4, |out| out.extend_from_slice(b"0123456789"));
        let mut bytes = &out[1..];
        let mut found = Vec::new();
        while let Some(head) = FrameHead::read(bytes).unwrap() {
            found.push(head.frame(&bytes[HEAD_BYTES..HEAD_BYTES + head.length]).unwrap());
            bytes = &bytes[HEAD_BYTES + head.length..];
        }
        let expected = [
            Frame::Headers { stream: 5, ends_stream: true, ends_head: false, block: b"0123" },
            Frame::Continuation { stream: 5, ends_head: false, block: b"4567" },
            Frame::Continuation { stream: 5, ends_head: true, block: b"89" },
        ];
        assert_eq!(found, expected);
    }

    proptest! {
        /// Any bytes: a frame, more to come, or an error; never a panic, and no more data than flow.
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), kind in 0u8..12) {
            let mut bytes = bytes;
            if let [_, _, _, at, ..] = bytes.as_mut_slice() {
                *at = kind;
            }
            if let Ok(Some(head)) = FrameHead::read(&bytes) {
                let payload = &bytes[HEAD_BYTES..];
                if let Ok(Frame::Data { data, flow, .. }) = head.frame(payload) {
                    prop_assert!(data.len() <= flow && flow == payload.len());
                }
            }
        }
    }
}
