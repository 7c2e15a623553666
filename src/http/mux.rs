//! The state of one HTTP/2 connection (RFC 9113) without its socket: bytes that came go in, bytes to be sent come out, and
//! streams are filled in between. What comes is consumed at once, so that a peer never waits for a window that is full of
//! bytes nobody has read; the bodies' caps bound the memory.
//! Invariants: a frame that is not whole changes nothing, plain body bytes apart; each stream ends once; what the peer can make
//! this side remember or send is bounded.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use bytes::Bytes;

use crate::http::frame::{self, Broken, FRAME_BYTES_MAX, Frame, FrameHead, HEAD_BYTES, ID_MAX};
use crate::http::framing::HEAD_BYTES_MAX;
use crate::http::hpack::{Decoder, TABLE_BYTES};
use crate::http::render::{Kept, Outgoing};
use crate::http::stream::{End, Fields, Lost, Stream};

pub(super) struct Mux {
    streams: HashMap<u32, Rc<Stream>, BuildHasherDefault<ById>>,
    next_id: u32,
    is_lost: bool,
    /// The last stream that a peer which shuts down looks at, and its reason.
    goaway: Option<(u32, u32)>,
    // What goes out.
    out: Vec<u8>,
    /// How much of `out` is written, and how much was before it.
    written: usize,
    before: u64,
    table: Kept,
    window: i64,
    stream_window: i64,
    /// How many streams the peer allows; `None` until its settings come.
    streams_max: Option<usize>,
    /// Streams with bodies to send, in turn.
    uploads: VecDeque<u32>,
    // What comes in.
    decoder: Decoder,
    /// The beginning of a frame that has not come whole.
    begun: Vec<u8>,
    data: Option<Data>,
    block: Option<Block>,
    /// Bytes that came since the peer was last given more room.
    used: usize,
    /// Frames that brought nothing, since the last that did.
    chatter: u32,
}

/// A frame of plain body bytes that is coming in.
struct Data {
    /// `None` when nobody waits for it.
    stream: Option<Rc<Stream>>,
    left: usize,
    ends_stream: bool,
}

/// A block of header fields that is coming in in pieces.
struct Block {
    stream: u32,
    ends_stream: bool,
    bytes: Vec<u8>,
    pieces: u32,
}

impl Mux {
    pub(super) fn new() -> Mux {
        let mut out = frame::PREFACE.to_vec();
        let settings = [
            (frame::HEADER_TABLE_SIZE, TABLE_BYTES as u32),
            (frame::ENABLE_PUSH, 0),
            (frame::INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES as u32),
            (frame::MAX_HEADER_LIST_SIZE, HEAD_BYTES_MAX as u32),
        ];
        frame::put_settings(&mut out, &settings);
        frame::put_window_update(&mut out, 0, (WINDOW_BYTES - DEFAULT_WINDOW_BYTES) as u32);
        Mux {
            streams: HashMap::default(),
            next_id: 1,
            is_lost: false,
            goaway: None,
            out,
            written: 0,
            before: 0,
            table: Kept::Unknown,
            window: DEFAULT_WINDOW_BYTES as i64,
            stream_window: DEFAULT_WINDOW_BYTES as i64,
            streams_max: None,
            uploads: VecDeque::new(),
            decoder: Decoder::new(TABLE_BYTES),
            begun: Vec::new(),
            data: None,
            block: None,
            used: 0,
            chatter: 0,
        }
    }

    /// Writes a request; `None` when the connection takes no more.
    pub(super) fn open(&mut self, request: &Outgoing<'_>, body_bytes_max: usize) -> Option<Rc<Stream>> {
        if !self.takes_streams() {
            return None;
        }
        let id = self.next_id;
        self.next_id += 2;
        let at = self.before + self.out.len() as u64;
        let ends_stream = request.body.is_empty();
        let table = &mut self.table;
        frame::put_block(&mut self.out, id, ends_stream, FRAME_BYTES_MAX, |out| request.put(table, out));
        if !ends_stream {
            self.uploads.push_back(id);
        }
        let stream = Stream::new(id, at, request.body.clone(), self.stream_window, body_bytes_max);
        self.streams.insert(id, stream.clone());
        Some(stream)
    }

    /// The exchange of a stream is over; the peer is told if it does not know.
    pub(super) fn forget(&mut self, stream: &Stream) {
        if self.streams.remove(&stream.id).is_some() && !self.is_lost {
            frame::put_reset(&mut self.out, stream.id, frame::CANCEL);
        }
    }

    /// Ends every stream with the connection.
    pub(super) fn lose(&mut self, lost: Lost) {
        self.is_lost = true;
        let lost = Rc::new(lost);
        let sent = self.before + self.written as u64;
        for stream in std::mem::take(&mut self.streams).into_values() {
            let is_unsent = stream.at >= sent;
            let end = if is_unsent { End::LostUnsent(lost.clone()) } else { End::Lost(lost.clone()) };
            stream.state.borrow_mut().end(end);
        }
    }

    /// Whether another stream may follow.
    pub(super) fn takes_streams(&self) -> bool {
        !self.is_lost && self.goaway.is_none() && self.next_id <= ID_MAX
    }

    /// How many streams the peer allows; `None` until its settings come.
    pub(super) fn streams_max(&self) -> Option<usize> {
        self.streams_max
    }

    /// The code of a peer that shuts down in error.
    pub(super) fn goaway_code(&self) -> Option<u32> {
        self.goaway.map(|(_, code)| code).filter(|code| *code != frame::NO_ERROR)
    }

    /// What is to be written.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// So much was written.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written == self.out.len() {
            self.before += self.written as u64;
            self.written = 0;
            self.out.clear();
        }
    }

    /// Gives memory back that an idle connection has no use for.
    pub(super) fn rest(&mut self) {
        if self.streams.is_empty() && self.out.is_empty() {
            if self.out.capacity() > IDLE_BYTES_MAX {
                self.out = Vec::new();
            }
            if self.begun.is_empty() && self.begun.capacity() > IDLE_BYTES_MAX {
                self.begun = Vec::new();
            }
            self.streams.shrink_to(IDLE_STREAMS);
            self.uploads.shrink_to(IDLE_STREAMS);
        }
    }

    pub(super) fn ping(&mut self) {
        frame::put_ping(&mut self.out, false, *b"tidegate");
    }

    pub(super) fn say_goodbye(&mut self, code: u32) {
        frame::put_goaway(&mut self.out, code);
    }

    /// Forgives what came without need: called now and then, since a peer may send such for as long as it lives.
    pub(super) fn calm(&mut self) {
        self.chatter = 0;
    }

    /// Writes of the bodies to be sent as much as the peer has room for.
    pub(super) fn pump(&mut self) {
        let mut stuck = 0;
        while stuck < self.uploads.len() && self.window > 0 && self.unsent().len() < UNSENT_BYTES_MAX {
            let Some(id) = self.uploads.pop_front() else { return };
            let Some(stream) = self.streams.get(&id) else { continue };
            let mut state = stream.state.borrow_mut();
            let room = self.window.min(state.window).clamp(0, FRAME_BYTES_MAX as i64);
            let count = state.upload.len().min(room as usize);
            if count == 0 {
                stuck += 1;
                self.uploads.push_back(id);
                continue;
            }
            stuck = 0;
            self.chatter = 0;
            let piece = state.upload.split_to(count);
            let is_last = state.upload.is_empty();
            frame::put_data(&mut self.out, id, is_last, &piece);
            state.window -= count as i64;
            self.window -= count as i64;
            if is_last {
                state.upload = Bytes::new();
            } else {
                self.uploads.push_back(id);
            }
        }
    }

    /// Takes what has come.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        loop {
            if self.data.is_some() {
                bytes = self.feed(bytes);
                if self.data.is_some() {
                    return Ok(());
                }
            }
            if self.begun.is_empty() {
                let Some(head) = FrameHead::read(bytes)? else { break };
                self.may_come(&head)?;
                let rest = &bytes[HEAD_BYTES..];
                if let Some(ends_stream) = head.is_plain_data() {
                    self.begin_data(&head, ends_stream)?;
                    bytes = rest;
                    continue;
                }
                let Some((payload, others)) = rest.split_at_checked(head.length) else { break };
                self.take_frame(head.frame(payload)?)?;
                bytes = others;
                continue;
            }
            // A frame was begun: its head first, then the rest of it.
            if self.begun.len() < HEAD_BYTES {
                bytes = self.fill(bytes, HEAD_BYTES);
            }
            let Some(head) = FrameHead::read(&self.begun)? else { return Ok(()) };
            if self.begun.len() == HEAD_BYTES {
                self.may_come(&head)?;
                if let Some(ends_stream) = head.is_plain_data() {
                    self.begun.clear();
                    self.begin_data(&head, ends_stream)?;
                    continue;
                }
            }
            bytes = self.fill(bytes, HEAD_BYTES + head.length);
            if self.begun.len() < HEAD_BYTES + head.length {
                return Ok(());
            }
            let mut begun = std::mem::take(&mut self.begun);
            self.take_frame(head.frame(&begun[HEAD_BYTES..])?)?;
            begun.clear();
            self.begun = begun;
        }
        self.begun.extend_from_slice(bytes);
        Ok(())
    }

    /// Adds to a frame that was begun, until it has so many bytes.
    fn fill<'a>(&mut self, bytes: &'a [u8], until: usize) -> &'a [u8] {
        let (own, others) = bytes.split_at(bytes.len().min(until - self.begun.len()));
        self.begun.extend_from_slice(own);
        others
    }

    /// What may come depends on what came before.
    fn may_come(&mut self, head: &FrameHead) -> Result<(), Broken> {
        if self.block.is_some() && !head.is_block() {
            return Err(Broken::protocol("the rest of a block of header fields"));
        }
        self.chatter += 1;
        if self.chatter > CHATTER_MAX {
            let what = "frames that bring something";
            return Err(Broken { code: frame::ENHANCE_YOUR_CALM, what });
        }
        Ok(())
    }

    fn begin_data(&mut self, head: &FrameHead, ends_stream: bool) -> Result<(), Broken> {
        self.settled()?;
        let stream = self.flow(head.stream, head.length)?;
        if head.length > 0 {
            self.chatter = 0;
        }
        self.data = Some(Data { stream, left: head.length, ends_stream });
        Ok(())
    }

    /// Counts a frame of a body against the windows and finds its stream.
    fn flow(&mut self, id: u32, bytes: usize) -> Result<Option<Rc<Stream>>, Broken> {
        self.opened(id)?;
        self.used += bytes;
        if self.used >= WINDOW_BYTES / 2 {
            frame::put_window_update(&mut self.out, 0, self.used as u32);
            self.used = 0;
        }
        let stream = self.streams.get(&id).cloned();
        if let Some(stream) = &stream {
            stream.state.borrow_mut().used += bytes;
        }
        Ok(stream)
    }

    /// Passes bytes of a body on; returns those behind the frame.
    fn feed<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(data) = &mut self.data else { return bytes };
        let (own, others) = bytes.split_at(bytes.len().min(data.left));
        data.left -= own.len();
        let is_over = data.left == 0;
        let ends_stream = data.ends_stream && is_over;
        let stream = if is_over { data.stream.take() } else { data.stream.clone() };
        if is_over {
            self.data = None;
        }
        if let Some(stream) = stream
            && !self.take_data(&stream, own, ends_stream)
            && let Some(data) = &mut self.data
        {
            data.stream = None;
        }
        others
    }

    /// Whether the stream goes on.
    fn take_data(&mut self, stream: &Rc<Stream>, data: &[u8], ends_stream: bool) -> bool {
        // It may have ended while its frame came in.
        if !self.streams.contains_key(&stream.id) {
            return false;
        }
        let mut state = stream.state.borrow_mut();
        let mut taken = state.take_data(data);
        if taken.is_ok() && ends_stream {
            taken = state.take_end();
        }
        if taken.is_ok() && !ends_stream && state.used >= STREAM_WINDOW_BYTES / 2 {
            frame::put_window_update(&mut self.out, stream.id, state.used as u32);
            state.used = 0;
        }
        drop(state);
        match taken {
            Ok(()) if ends_stream => self.end(stream, End::Whole),
            Ok(()) => return true,
            Err(end) => self.give_up(stream, end),
        }
        false
    }

    fn take_frame(&mut self, frame: Frame<'_>) -> Result<(), Broken> {
        if !matches!(frame, Frame::Settings { is_answer: false, .. }) {
            self.settled()?;
        }
        match frame {
            Frame::Continuation { stream, ends_head, block } => return self.go_on(stream, ends_head, block),
            Frame::Headers { .. } if self.block.is_some() => {
                return Err(Broken::protocol("the rest of a block of header fields"));
            }
            Frame::Headers { stream, ends_stream, ends_head: true, block } => {
                return self.take_block(stream, ends_stream, block);
            }
            Frame::Headers { stream, ends_stream, ends_head: false, block } => {
                self.opened(stream)?;
                self.block = Some(Block { stream, ends_stream, bytes: block.to_vec(), pieces: 1 });
            }
            Frame::Data { stream, ends_stream, data, flow } => {
                if let Some(stream) = self.flow(stream, flow)? {
                    self.take_data(&stream, data, ends_stream);
                }
            }
            Frame::GoAway { last, code } => self.go_away(last, code),
            Frame::Ping { is_answer: true, .. } | Frame::Settings { is_answer: true, .. } | Frame::Other => {}
            Frame::Ping { is_answer: false, opaque } => {
                self.may_ask()?;
                frame::put_ping(&mut self.out, true, opaque);
            }
            Frame::Reset { stream, code } => {
                self.opened(stream)?;
                if let Some(stream) = self.streams.get(&stream).cloned() {
                    self.end(&stream, End::Reset(code));
                }
            }
            Frame::Settings { is_answer: false, pairs } => self.take_settings(pairs)?,
            Frame::WindowUpdate { stream, increment } => self.widen(stream, increment)?,
        }
        Ok(())
    }

    fn go_on(&mut self, stream: u32, ends_head: bool, piece: &[u8]) -> Result<(), Broken> {
        let Some(block) = self.block.as_mut().filter(|block| block.stream == stream) else {
            return Err(Broken::protocol("a block of header fields before it goes on"));
        };
        block.pieces += 1;
        if block.bytes.len() + piece.len() > HEAD_BYTES_MAX || block.pieces > PIECES_MAX {
            // It cannot be left out: the tables of both sides would differ from there on.
            let what = "a block of header fields of at most 65,536 bytes in few pieces";
            return Err(Broken { code: frame::ENHANCE_YOUR_CALM, what });
        }
        block.bytes.extend_from_slice(piece);
        match self.block.take_if(|_| ends_head) {
            Some(block) => self.take_block(block.stream, block.ends_stream, &block.bytes),
            None => Ok(()),
        }
    }

    fn take_block(&mut self, id: u32, ends_stream: bool, block: &[u8]) -> Result<(), Broken> {
        self.opened(id)?;
        let broken = |what| Broken { code: frame::COMPRESSION_ERROR, what };
        let Some(stream) = self.streams.get(&id).cloned() else {
            // The table must follow all the same.
            return self.decoder.decode(block, |_, _| {}).map_err(broken);
        };
        self.chatter = 0;
        let mut fields = Fields::new();
        self.decoder.decode(block, |name, value| fields.push(name, value)).map_err(broken)?;
        let mut state = stream.state.borrow_mut();
        let mut taken = state.take_fields(fields, ends_stream);
        if taken.is_ok() && ends_stream {
            taken = state.take_end();
        }
        if taken.is_ok() && !ends_stream && state.status != 0 {
            // The body's limits begin, unless all of it has come before the exchange looks.
            state.wake();
        }
        drop(state);
        match taken {
            Ok(()) if ends_stream => self.end(&stream, End::Whole),
            Ok(()) => {}
            Err(end) => self.give_up(&stream, end),
        }
        Ok(())
    }

    fn go_away(&mut self, last: u32, code: u32) {
        let last = self.goaway.map_or(last, |(before, _)| before.min(last));
        self.goaway = Some((last, code));
        let beyond: Vec<_> = self.streams.values().filter(|stream| stream.id > last).cloned().collect();
        for stream in beyond {
            self.streams.remove(&stream.id);
            stream.state.borrow_mut().end(End::GoneAway);
        }
    }

    fn take_settings(&mut self, pairs: &[u8]) -> Result<(), Broken> {
        let mut table_bytes = TABLE_BYTES;
        for (id, value) in frame::settings(pairs) {
            match id {
                frame::HEADER_TABLE_SIZE => table_bytes = value as usize,
                frame::ENABLE_PUSH if value != 0 => return Err(Broken::protocol("a server that is not pushed to")),
                frame::MAX_CONCURRENT_STREAMS => self.streams_max = Some(value as usize),
                frame::INITIAL_WINDOW_SIZE => {
                    if value > ID_MAX {
                        return Err(Broken::flow("a window of 31 bits"));
                    }
                    let change = i64::from(value) - self.stream_window;
                    self.stream_window = i64::from(value);
                    for stream in self.streams.values() {
                        let mut state = stream.state.borrow_mut();
                        state.window += change;
                        if state.window > i64::from(ID_MAX) {
                            return Err(Broken::flow("a window of 31 bits"));
                        }
                    }
                }
                frame::MAX_FRAME_SIZE if !(FRAME_BYTES_MAX as u32..1 << 24).contains(&value) => {
                    return Err(Broken::protocol("a frame size of 16,384 bytes to 24 bits"));
                }
                _ => {}
            }
        }
        // Without a word about them, any number is allowed.
        self.streams_max.get_or_insert(usize::MAX);
        if table_bytes < TABLE_BYTES {
            self.table = Kept::Refused { is_told: false };
        } else if self.table == Kept::Unknown {
            self.table = Kept::No;
        }
        self.may_ask()?;
        frame::put_settings_answer(&mut self.out);
        Ok(())
    }

    /// A peer that asks without reading the answers does not make this side keep them all.
    fn may_ask(&self) -> Result<(), Broken> {
        let what = "a peer that reads what it asks for";
        let is_too_much = self.unsent().len() > ANSWERS_BYTES_MAX;
        if is_too_much { Err(Broken { code: frame::ENHANCE_YOUR_CALM, what }) } else { Ok(()) }
    }

    fn widen(&mut self, id: u32, increment: u32) -> Result<(), Broken> {
        if id == 0 {
            if increment == 0 {
                return Err(Broken::protocol("a window that grows"));
            }
            self.window += i64::from(increment);
            let fits = self.window <= i64::from(ID_MAX);
            return if fits { Ok(()) } else { Err(Broken::flow("a window of 31 bits")) };
        }
        self.opened(id)?;
        let Some(stream) = self.streams.get(&id).cloned() else { return Ok(()) };
        let window = stream.state.borrow().window + i64::from(increment);
        stream.state.borrow_mut().window = window;
        if increment == 0 || window > i64::from(ID_MAX) {
            self.give_up(&stream, End::Malformed("a window that grows within 31 bits".to_owned()));
        }
        Ok(())
    }

    /// The peer has ended a stream, one way or the other.
    fn end(&mut self, stream: &Rc<Stream>, end: End) {
        self.streams.remove(&stream.id);
        let mut state = stream.state.borrow_mut();
        if matches!(end, End::Whole) && !state.upload.is_empty() {
            // Nobody asks for the rest of the request any more.
            frame::put_reset(&mut self.out, stream.id, frame::CANCEL);
        }
        state.end(end);
    }

    /// This side ends a stream.
    fn give_up(&mut self, stream: &Rc<Stream>, end: End) {
        let is_malformed = matches!(end, End::Malformed(_));
        let code = if is_malformed { frame::PROTOCOL_ERROR } else { frame::CANCEL };
        frame::put_reset(&mut self.out, stream.id, code);
        self.streams.remove(&stream.id);
        stream.state.borrow_mut().end(end);
    }

    /// Section 3.4: settings come first.
    fn settled(&self) -> Result<(), Broken> {
        if self.streams_max.is_some() { Ok(()) } else { Err(Broken::protocol("settings before anything else")) }
    }

    /// Section 5.1: the peer speaks of streams that were opened, and opens none.
    fn opened(&self, id: u32) -> Result<(), Broken> {
        if id % 2 == 1 && id < self.next_id { Ok(()) } else { Err(Broken::protocol("a stream that was opened")) }
    }
}

/// Stream numbers are handed out in turn: spreading them costs one multiplication.
#[derive(Default)]
struct ById(u64);

impl Hasher for ById {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

const DEFAULT_WINDOW_BYTES: usize = (64 << 10) - 1;
/// Half of it is in flight before the peer hears of more room: at 16 MB/s and 30 ms of way it does not wait.
const STREAM_WINDOW_BYTES: usize = 1 << 20;
const WINDOW_BYTES: usize = 8 << 20;
/// Bodies are not copied out faster than the socket takes them.
const UNSENT_BYTES_MAX: usize = 64 << 10;
/// More than all requests that a connection may have in flight.
const ANSWERS_BYTES_MAX: usize = 4 << 20;
/// What an idle connection keeps for its next request.
const IDLE_BYTES_MAX: usize = 1 << 10;
const IDLE_STREAMS: usize = 8;
/// Pings, settings, empty frames and the like between two that bring something: no peer in good faith comes near.
const CHATTER_MAX: u32 = 10_000;
/// A block of 64 KiB has four pieces of the usual frame size.
const PIECES_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Secret;
    use crate::http::client::ClientSettings;
    use crate::http::endpoint::Endpoint;
    use crate::http::failure;
    use crate::http::hpack::{self, Form};
    use crate::http::render::{Common, Lines};
    use crate::wire::Request;

    fn raw(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn lines() -> (Common, Lines, Endpoint) {
        let headers = vec![("x-key".to_owned(), Secret::new("k3y"))];
        let settings = ClientSettings { headers, ..ClientSettings::default() };
        let common = Common::new(&settings).unwrap();
        let endpoint = Endpoint::parse("https://a.test").unwrap();
        let lines = common.lines(&endpoint);
        (common, lines, endpoint)
    }

    fn open(mux: &mut Mux, request: &Request) -> Option<Rc<Stream>> {
        let (common, lines, endpoint) = lines();
        let mut bytes = Vec::new();
        let outgoing = common.two(&lines, &endpoint, request, &mut bytes).unwrap();
        mux.open(&outgoing, 1 << 20)
    }

    /// A connection whose peer has sent these settings, and nothing to be written.
    fn settled(pairs: &[u8]) -> Mux {
        let mut mux = Mux::new();
        mux.take(&raw(4, 0, 0, pairs)).unwrap();
        written(&mut mux);
        mux
    }

    /// Takes what is to be written, frame by frame: kind, stream and payload.
    fn written(mux: &mut Mux) -> Vec<(u8, u32, Vec<u8>)> {
        let bytes = mux.unsent().to_vec();
        mux.sent(bytes.len());
        let mut rest = bytes.strip_prefix(frame::PREFACE).unwrap_or(&bytes);
        let mut frames = Vec::new();
        while let Some(head) = FrameHead::read(rest).unwrap() {
            let payload = rest[HEAD_BYTES..HEAD_BYTES + head.length].to_vec();
            frames.push((rest[3], head.stream, payload));
            rest = &rest[HEAD_BYTES + head.length..];
        }
        assert!(rest.is_empty());
        frames
    }

    fn ending(stream: &Stream) -> String {
        format!("{:?}", stream.state.borrow().ending())
    }

    fn body(stream: &Stream) -> String {
        String::from_utf8(stream.state.borrow().body.clone()).unwrap()
    }

    const OK: &[u8] = &[0x88];

    #[test]
    fn a_breach_ends_the_connection() {
        let check = |frames: &[Vec<u8>], code: u32| {
            let mut mux = settled(&[]);
            open(&mut mux, &Request::get("/")).unwrap();
            let found = mux.take(&frames.concat()).map_err(|broken| broken.code);
            assert_eq!(found, if code == frame::NO_ERROR { Ok(()) } else { Err(code) }, "{frames:?}");
        };
        let increment = |bytes: u32| bytes.to_be_bytes();
        check(&[raw(1, 4, 1, OK)], frame::NO_ERROR);
        check(&[raw(1, 4, 2, OK)], frame::PROTOCOL_ERROR);
        check(&[raw(1, 4, 3, OK)], frame::PROTOCOL_ERROR);
        check(&[raw(0, 0, 3, b"x")], frame::PROTOCOL_ERROR);
        check(&[raw(3, 0, 3, &[0; 4])], frame::PROTOCOL_ERROR);
        check(&[raw(8, 0, 3, &[0, 0, 0, 1])], frame::PROTOCOL_ERROR);
        check(&[raw(5, 4, 1, &[0, 0, 0, 2, 0x82])], frame::PROTOCOL_ERROR);
        check(&[raw(9, 4, 1, OK)], frame::PROTOCOL_ERROR);
        check(&[raw(1, 0, 1, OK), raw(9, 4, 1, &[])], frame::NO_ERROR);
        check(&[raw(1, 0, 1, OK), raw(0, 0, 1, b"x")], frame::PROTOCOL_ERROR);
        check(&[raw(1, 0, 1, OK), raw(6, 0, 0, &[0; 8])], frame::PROTOCOL_ERROR);
        check(&[raw(1, 0, 1, OK), raw(1, 4, 1, OK)], frame::PROTOCOL_ERROR);
        check(&[raw(1, 4, 1, &[0xff, 0xff])], frame::COMPRESSION_ERROR);
        check(&[raw(8, 0, 0, &increment(0))], frame::PROTOCOL_ERROR);
        check(&[raw(8, 0, 0, &increment(ID_MAX - 65_535))], frame::NO_ERROR);
        check(&[raw(8, 0, 0, &increment(ID_MAX - 65_534))], frame::FLOW_CONTROL_ERROR);
        // One stream's window is its own matter.
        check(&[raw(8, 0, 1, &increment(0))], frame::NO_ERROR);
        check(&[raw(8, 0, 1, &increment(ID_MAX))], frame::NO_ERROR);
        check(&[raw(4, 0, 0, &[0, 2, 0, 0, 0, 1])], frame::PROTOCOL_ERROR);
        check(&[raw(4, 0, 0, &[0, 4, 0x80, 0, 0, 0])], frame::FLOW_CONTROL_ERROR);
        check(&[raw(4, 0, 0, &[0, 5, 0, 0, 0, 1])], frame::PROTOCOL_ERROR);
        check(&[raw(4, 0, 0, &[0, 5, 0, 0xff, 0xff, 0xff])], frame::NO_ERROR);
        check(&[raw(4, 0, 0, &[0, 99, 0, 0, 0, 1])], frame::NO_ERROR);
        let mut mux = Mux::new();
        assert_eq!(mux.take(&raw(6, 0, 0, &[0; 8])).unwrap_err().code, frame::PROTOCOL_ERROR);
    }

    #[test]
    fn floods_end_the_connection() {
        for flood in [raw(6, 0, 0, &[0; 8]), raw(4, 0, 0, &[]), raw(0, 0, 1, &[]), raw(2, 0, 1, &[0; 5])] {
            let mut mux = settled(&[]);
            open(&mut mux, &Request::get("/")).unwrap();
            mux.take(&raw(1, 4, 1, OK)).unwrap();
            for round in 0..3 {
                for _ in 1..CHATTER_MAX {
                    mux.take(&flood).unwrap();
                }
                // What brings something, and time, forgive.
                if round == 0 {
                    mux.take(&raw(0, 0, 1, b"x")).unwrap()
                } else {
                    mux.calm()
                }
                written(&mut mux);
            }
            let flooded = (0..=CHATTER_MAX).find_map(|_| mux.take(&flood).err());
            assert_eq!(flooded.unwrap().code, frame::ENHANCE_YOUR_CALM);
        }
        // A peer that never reads what it asks for.
        let mut mux = settled(&[]);
        let asks = 2 * ANSWERS_BYTES_MAX / 17;
        let flooded = (0..asks).find(|_| {
            mux.calm();
            mux.take(&raw(6, 0, 0, &[0; 8])).is_err()
        });
        assert!(flooded.is_some() && mux.unsent().len() <= ANSWERS_BYTES_MAX + 17);
        let mut mux = settled(&[]);
        open(&mut mux, &Request::get("/")).unwrap();
        mux.take(&raw(1, 0, 1, OK)).unwrap();
        let endless = (0..=PIECES_MAX).find_map(|_| mux.take(&raw(9, 0, 1, &[])).err());
        assert_eq!(endless.unwrap().code, frame::ENHANCE_YOUR_CALM);
        let mut mux = settled(&[]);
        open(&mut mux, &Request::get("/")).unwrap();
        mux.take(&raw(1, 0, 1, OK)).unwrap();
        let endless = (0..10).find_map(|_| mux.take(&raw(9, 0, 1, &[0; 16_000])).err());
        assert_eq!(endless.unwrap().code, frame::ENHANCE_YOUR_CALM);
    }

    #[test]
    fn streams_end_one_by_one() {
        let mut mux = settled(&[]);
        let streams: Vec<_> = (0..7).map(|_| open(&mut mux, &Request::get("/")).unwrap()).collect();
        written(&mut mux);
        let long = [&[0x88, 0x0f, 0x0d, 0x01][..], b"9"].concat();
        let frames = [
            raw(1, 4, 1, OK),
            raw(1, 4, 3, &long),
            raw(0, 0, 1, b"he"),
            raw(3, 0, 5, &[0, 0, 0, 7]),
            raw(0, 1, 3, b"short"),
            raw(0, 1, 1, b"llo"),
            raw(3, 0, 7, &[0, 0, 0, 2]),
            raw(7, 0, 0, &[0, 0, 0, 11, 0, 0, 0, 0]),
            raw(1, 4, 9, OK),
        ];
        mux.take(&frames.concat()).unwrap();
        let ends: Vec<_> = streams.iter().map(|stream| ending(stream)).collect();
        assert!(ends[1].contains("Malformed"), "{ends:?}");
        assert_eq!(ends[0], "Some(Whole)");
        assert_eq!(ends[2..], ["Some(Reset(7))", "Some(Reset(2))", "None", "None", "Some(GoneAway)"]);
        assert_eq!(body(&streams[0]), "hello");
        assert_eq!(written(&mut mux), [(3, 3, frame::PROTOCOL_ERROR.to_be_bytes().to_vec())]);
        assert!(open(&mut mux, &Request::get("/")).is_none(), "the peer shuts down");
        // Of the two that are left one was given up, and what still comes for it is passed over.
        mux.forget(&streams[4]);
        mux.forget(&streams[0]);
        assert_eq!(written(&mut mux), [(3, 9, frame::CANCEL.to_be_bytes().to_vec())]);
        mux.take(&[raw(0, 0, 9, b"late"), raw(1, 5, 9, OK), raw(3, 0, 9, &[0; 4])].concat()).unwrap();
        mux.lose(Lost { reason: failure::RESET, what: "gone".to_owned() });
        assert!(ending(&streams[5]).contains("Lost(") && ending(&streams[4]) == "None");
    }

    #[test]
    fn what_was_not_written_is_known() {
        let mut mux = settled(&[]);
        let first = open(&mut mux, &Request::get("/")).unwrap();
        let whole = mux.unsent().len();
        let second = open(&mut mux, &Request::get("/")).unwrap();
        mux.sent(whole - 1);
        let third = open(&mut mux, &Request::get("/")).unwrap();
        mux.lose(Lost { reason: failure::RESET, what: "gone".to_owned() });
        let ends = [first, second, third].map(|stream| ending(&stream).split('(').nth(1).unwrap().to_owned());
        assert_eq!(ends, ["Lost", "LostUnsent", "LostUnsent"]);
    }

    #[test]
    fn bodies_go_out_as_the_peer_has_room() {
        // An initial window of 10 bytes.
        let mut mux = settled(&[0, 4, 0, 0, 0, 10]);
        let sizes = |mux: &mut Mux| {
            mux.pump();
            let data = written(mux).into_iter().filter(|(kind, ..)| *kind == 0);
            data.map(|(_, stream, payload)| (stream, payload.len())).collect::<Vec<_>>()
        };
        let stream = open(&mut mux, &Request::post("/", vec![b'x'; 40_000])).unwrap();
        open(&mut mux, &Request::post("/", b"small".to_vec())).unwrap();
        open(&mut mux, &Request::post("/", Vec::new())).unwrap();
        assert_eq!(sizes(&mut mux), [(1, 10), (3, 5)]);
        assert_eq!(sizes(&mut mux), []);
        // Five more for the stream; then a smaller initial window takes them back, and more.
        mux.take(&[raw(8, 0, 1, &[0, 0, 0, 5]), raw(4, 0, 0, &[0, 4, 0, 0, 0, 3])].concat()).unwrap();
        assert_eq!(sizes(&mut mux), []);
        mux.take(&raw(8, 0, 1, &[0, 0, 0, 4])).unwrap();
        assert_eq!(sizes(&mut mux), [(1, 2)]);
        mux.take(&raw(8, 0, 1, &[0, 1, 0, 0])).unwrap();
        assert_eq!(sizes(&mut mux), [(1, 16_384), (1, 16_384), (1, 7_220)]);
        assert_eq!(stream.state.borrow().upload.len(), 0);
        // The connection's window is shared: 40,005 of 65,535 bytes are used.
        open(&mut mux, &Request::post("/", vec![b'x'; 40_000])).unwrap();
        mux.take(&raw(8, 0, 7, &[0, 1, 0, 0])).unwrap();
        assert_eq!(sizes(&mut mux), [(7, 16_384), (7, 9_146)]);
        mux.take(&raw(8, 0, 0, &[0, 1, 0, 0])).unwrap();
        assert_eq!(sizes(&mut mux), [(7, 14_470)]);
        // An answer before the end of the request: the rest of it is not sent.
        let stream = open(&mut mux, &Request::post("/", vec![b'x'; 40])).unwrap();
        assert_eq!(sizes(&mut mux), [(9, 3)]);
        mux.take(&raw(1, 5, 9, OK)).unwrap();
        assert_eq!((ending(&stream), mux.unsent()[3]), ("Some(Whole)".to_owned(), 3));
        assert_eq!(sizes(&mut mux), []);
    }

    #[test]
    fn the_peer_gets_room_as_it_uses_it() {
        let mut mux = settled(&[]);
        for id in [1, 3, 5, 7, 9] {
            open(&mut mux, &Request::get("/")).unwrap();
            mux.take(&raw(1, 4, id, OK)).unwrap();
        }
        written(&mut mux);
        let padded = [&[100][..], &[b'x'; 16_000 - 101], &[0; 100]].concat();
        let (mut of_stream, mut of_connection) = (0, 0);
        for round in 0..300 {
            let id = 1 + 2 * (round % 5);
            mux.take(&if round % 2 == 0 { raw(0, 0, id, &[b'x'; 16_000]) } else { raw(0, 8, id, &padded) }).unwrap();
            for (kind, stream, payload) in written(&mut mux) {
                let increment = u32::from_be_bytes(payload.try_into().unwrap()) as usize;
                assert_eq!(kind, 8);
                let total = if stream == 0 { &mut of_connection } else { &mut of_stream };
                *total += increment;
            }
        }
        // All that came but what is too little to tell.
        assert!((300 * 16_000 - 5 * STREAM_WINDOW_BYTES / 2..=300 * 16_000).contains(&of_stream), "{of_stream}");
        assert!((300 * 16_000 - WINDOW_BYTES / 2..=300 * 16_000).contains(&of_connection), "{of_connection}");
    }

    /// Requests as a server reads them.
    fn heads(frames: Vec<(u8, u32, Vec<u8>)>, decoder: &mut Decoder) -> Vec<(usize, String)> {
        let blocks = frames.into_iter().filter(|(kind, ..)| *kind == 1);
        let read = blocks.map(|(_, _, block)| {
            let mut text = String::new();
            let field = |name: &[u8], value: &[u8]| {
                text += &format!("{}={} ", String::from_utf8_lossy(name), String::from_utf8_lossy(value));
            };
            decoder.decode(&block, field).unwrap();
            (block.len(), text)
        });
        read.collect()
    }

    #[test]
    fn common_lines_are_kept_by_the_peer() {
        let agent = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
        let common = format!(
            ":scheme=https :authority=a.test user-agent={agent} accept-encoding=gzip, deflate, br, zstd x-key=k3y "
        );
        let mut mux = Mux::new();
        let decoder = &mut Decoder::new(TABLE_BYTES);
        let get = Request::get("/t?a=b");
        open(&mut mux, &get).unwrap();
        mux.take(&raw(4, 0, 0, &[])).unwrap();
        for _ in 0..3 {
            open(&mut mux, &get).unwrap();
        }
        let own = Request::post("/p", "{}").header("User-Agent", "me").header_secret("x-own", "secret");
        open(&mut mux, &own).unwrap();
        open(&mut mux, &get).unwrap();
        let found = heads(written(&mut mux), decoder);
        for at in [0, 1, 2, 3, 5] {
            assert_eq!(found[at].1, format!(":method=GET :path=/t?a=b {common}"), "{at}");
        }
        let expected = ":method=POST :path=/p :scheme=https :authority=a.test accept-encoding=gzip, deflate, br, zstd \
            x-key=k3y User-Agent=me x-own=secret content-length=2 ";
        assert_eq!(found[4].1.to_lowercase(), expected.to_lowercase());
        assert!(found[2].0 * 2 < found[0].0 && found[2].0 == found[5].0, "{found:?}");
        // A secret is no part of what is kept.
        let mut block = Vec::new();
        hpack::put(&mut block, "x-key", b"k3y", Form::NeverKept);
        open(&mut mux, &get).unwrap();
        let last = written(&mut mux).pop().unwrap().2;
        assert!(last.windows(block.len()).any(|part| part == block));
    }

    #[test]
    fn a_peer_without_a_table_is_asked_to_keep_nothing() {
        for (before, pairs) in [(0, &[0, 1, 0, 0, 0, 0]), (2, &[0, 1, 0, 0, 0, 100])] {
            let mut mux = if before == 0 { Mux::new() } else { settled(&[]) };
            let decoder = &mut Decoder::new(TABLE_BYTES);
            for _ in 0..before {
                open(&mut mux, &Request::get("/")).unwrap();
            }
            heads(written(&mut mux), decoder);
            mux.take(&raw(4, 0, 0, pairs)).unwrap();
            for _ in 0..3 {
                open(&mut mux, &Request::get("/")).unwrap();
            }
            let found = heads(written(&mut mux), decoder);
            assert!(found.iter().all(|(_, text)| text == &found[0].1 && text.contains("user-agent=")), "{found:?}");
            assert_eq!(found[0].0, found[1].0 + 1, "told once, in one byte");
            assert_eq!(found[1].0, found[2].0);
        }
    }

    proptest! {
        /// Frames of several streams give the same however the bytes are cut.
        #[test]
        fn pieces_make_no_difference(step in 1usize..80, padding in 0u8..20) {
            let mut mux = settled(&[]);
            let streams: Vec<_> = (0..3).map(|_| open(&mut mux, &Request::get("/")).unwrap()).collect();
            let padded = [&[padding][..], b"second", &vec![0; usize::from(padding)]].concat();
            let mut frames = vec![
                raw(1, 0, 1, &OK[..0]),
                raw(9, 0, 1, OK),
                raw(9, 4, 1, b"\x0f\x0d\x0211"),
                raw(1, 4, 3, OK),
                raw(1, 4 | 0x20 | 8, 5, &[&[2, 0, 0, 0, 0, 9][..], OK, b".."].concat()),
            ];
            for (id, data) in [(1, &b"first"[..]), (3, b"third"), (5, b"fifth"), (1, b"second")] {
                frames.push(raw(0, 0, id, data));
                frames.push(raw(6, 0, 0, b"12345678"));
            }
            frames.extend([raw(0, 9, 5, &padded), raw(0, 1, 1, b""), raw(1, 5, 3, b"\x00\x01t\x01v")]);
            let bytes = frames.concat();
            for piece in bytes.chunks(step) {
                mux.take(piece).unwrap();
            }
            let found: Vec<_> = streams.iter().map(|stream| (ending(stream), body(stream))).collect();
            let whole = |text: &str| ("Some(Whole)".to_owned(), text.to_owned());
            prop_assert_eq!(found, [whole("firstsecond"), whole("third"), whole("fifthsecond")]);
            prop_assert!(mux.begun.is_empty() && mux.data.is_none());
        }

        /// Any bytes: taken or refused, never a panic; a stream is not whole without its end.
        #[test]
        fn no_bytes_panic(
            frames in proptest::collection::vec(
                (0u8..11, any::<u8>(), 0u32..6, proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
            step in 1usize..50
        ) {
            let mut mux = settled(&[]);
            let stream = open(&mut mux, &Request::post("/", b"body".to_vec())).unwrap();
            open(&mut mux, &Request::get("/")).unwrap();
            let bytes = frames.iter().map(|(kind, flags, id, payload)| raw(*kind, *flags, *id, payload));
            for piece in bytes.collect::<Vec<_>>().concat().chunks(step) {
                mux.pump();
                if mux.take(piece).is_err() {
                    break;
                }
            }
            mux.lose(Lost { reason: failure::RESET, what: String::new() });
            prop_assert!(ending(&stream) != "None");
        }
    }
}
