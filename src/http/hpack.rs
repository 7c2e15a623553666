//! HPACK, the header fields of HTTP/2 (RFC 7541): reading blocks with the peer's dynamic table, and writing those of
//! requests. Judges no names and no values. Invariants: the tables never exceed their size; a field that is secret is
//! written so that nobody on the way keeps it.

use std::collections::VecDeque;
use std::ops::Range;

use crate::http::huffman;

/// Reads the blocks of one connection, in the order in which they come.
pub(super) struct Decoder {
    table: Table,
    /// What the peer may set the table's size to.
    size_max: usize,
    /// Texts that were in Huffman's code.
    name: Vec<u8>,
    value: Vec<u8>,
}

/// The dynamic table: texts one after another, the oldest first.
struct Table {
    bytes: Vec<u8>,
    rows: VecDeque<Row>,
    /// How many bytes there were before those in `bytes`.
    gone: usize,
    size: usize,
    size_max: usize,
}

struct Row {
    start: usize,
    name: usize,
    value: usize,
}

/// Where a text of a block is.
enum Text<'a> {
    Block(&'a [u8]),
    Decoded,
}

impl Decoder {
    pub(super) fn new(size_max: usize) -> Self {
        let table = Table { bytes: Vec::new(), rows: VecDeque::new(), gone: 0, size: 0, size_max };
        Decoder { table, size_max, name: Vec::new(), value: Vec::new() }
    }

    /// Reads a whole block and gives each field to `emit`; an error leaves the table in doubt, and with it the connection.
    pub(super) fn decode(&mut self, block: &[u8], mut emit: impl FnMut(&[u8], &[u8])) -> Result<(), &'static str> {
        let mut rest = block;
        let mut may_resize = true;
        while let Some(first) = rest.first() {
            let (is_resize, keeps, bits) = match *first {
                0x80.. => {
                    let index = number(&mut rest, 7)?;
                    self.indexed(index, &mut emit)?;
                    may_resize = false;
                    continue;
                }
                0x40.. => (false, true, 6),
                0x20.. => (true, false, 5),
                _ => (false, false, 4),
            };
            let index = number(&mut rest, bits)?;
            if is_resize {
                // Section 4.2: at the beginning of a block.
                if !may_resize || index > self.size_max {
                    return Err("a size of the table within what was allowed");
                }
                self.table.resize(index);
                continue;
            }
            may_resize = false;
            self.literal(index, keeps, &mut rest, &mut emit)?;
        }
        for decoded in [&mut self.name, &mut self.value] {
            if decoded.capacity() > SPARE_BYTES_MAX {
                *decoded = Vec::new();
            }
        }
        Ok(())
    }

    fn indexed(&mut self, index: usize, emit: &mut impl FnMut(&[u8], &[u8])) -> Result<(), &'static str> {
        if let Some((name, value)) = index.checked_sub(1).and_then(|at| STATIC.get(at)) {
            emit(name.as_bytes(), value.as_bytes());
            return Ok(());
        }
        let (name, value) = self.table.row(index).ok_or(NO_SUCH_FIELD)?;
        emit(&self.table.bytes[name], &self.table.bytes[value]);
        Ok(())
    }

    fn literal(
        &mut self,
        index: usize,
        keeps: bool,
        rest: &mut &[u8],
        emit: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<(), &'static str> {
        let known = if index > STATIC.len() { Some(self.table.row(index).ok_or(NO_SUCH_FIELD)?.0) } else { None };
        let new = if index == 0 { Some(text(rest, &mut self.name)?) } else { None };
        let value = match text(rest, &mut self.value)? {
            Text::Block(text) => text,
            Text::Decoded => &self.value,
        };
        match (known, new) {
            (Some(name), _) => {
                emit(&self.table.bytes[name.clone()], value);
                if keeps {
                    self.table.insert_named(name, value);
                }
            }
            (None, new) => {
                let name = match &new {
                    Some(Text::Block(text)) => text,
                    Some(Text::Decoded) => &self.name[..],
                    // Zero is a name of its own.
                    None => STATIC[index - 1].0.as_bytes(),
                };
                emit(name, value);
                if keeps {
                    self.table.insert(name, value);
                }
            }
        }
        Ok(())
    }
}

impl Table {
    /// Name and value of a field by its index, which counts on from the static table's, the latest first.
    fn row(&self, index: usize) -> Option<(Range<usize>, Range<usize>)> {
        let back = index.checked_sub(STATIC.len() + 1)?;
        let row = &self.rows[self.rows.len().checked_sub(back + 1)?];
        let start = row.start - self.gone;
        let end = start + row.name;
        Some((start..end, end..end + row.value))
    }

    fn insert(&mut self, name: &[u8], value: &[u8]) {
        if self.make_room(name.len() + value.len() + ROW_BYTES) {
            let start = self.gone + self.bytes.len();
            self.bytes.extend_from_slice(name);
            self.bytes.extend_from_slice(value);
            self.rows.push_back(Row { start, name: name.len(), value: value.len() });
        }
    }

    /// The same with the name of a field that is there, and may go to make room.
    fn insert_named(&mut self, name: Range<usize>, value: &[u8]) {
        let name = self.bytes[name].to_vec();
        self.insert(&name, value);
    }

    /// Evicts the oldest fields until there is room for so much more, which is counted in; `false` when it does not fit at all, and
    /// then the table is empty (section 4.4).
    fn make_room(&mut self, bytes: usize) -> bool {
        while self.size + bytes > self.size_max {
            let Some(row) = self.rows.pop_front() else { break };
            self.size -= row.name + row.value + ROW_BYTES;
        }
        if self.rows.is_empty() {
            self.gone += self.bytes.len();
            self.bytes.clear();
        }
        let dead = self.rows.front().map_or(0, |row| row.start - self.gone);
        if dead > self.size_max {
            self.bytes.drain(..dead);
            self.gone += dead;
        }
        let fits = bytes <= self.size_max;
        if fits {
            self.size += bytes;
        }
        fits
    }

    fn resize(&mut self, size_max: usize) {
        self.size_max = size_max;
        self.make_room(0);
    }
}

/// Reads an integer behind a prefix of so many bits (section 5.1).
fn number(rest: &mut &[u8], bits: u32) -> Result<usize, &'static str> {
    let mask = (1_usize << bits) - 1;
    let (first, mut bytes) = rest.split_first().ok_or(CUT)?;
    let mut value = usize::from(*first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (byte, others) = bytes.split_first().ok_or(CUT)?;
            bytes = others;
            // Four bytes are more than any table, name or value here has.
            if shift > 21 {
                return Err("an integer of 28 bits");
            }
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = bytes;
    Ok(value)
}

/// Reads a text (section 5.2); one in Huffman's code goes to `decoded`.
fn text<'a>(rest: &mut &'a [u8], decoded: &mut Vec<u8>) -> Result<Text<'a>, &'static str> {
    let is_coded = rest.first().ok_or(CUT)? & 0x80 != 0;
    let length = number(rest, 7)?;
    let (text, others) = rest.split_at_checked(length).ok_or(CUT)?;
    *rest = others;
    if !is_coded {
        return Ok(Text::Block(text));
    }
    decoded.clear();
    if huffman::decode(text, decoded) { Ok(Text::Decoded) } else { Err("a text in Huffman's code") }
}

/// How a field is written (section 6.2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The peer keeps it in its table.
    Kept,
    /// Nobody on the way may keep it: a secret.
    NeverKept,
    Plain,
}

impl Form {
    fn prefix(self) -> (u8, u32) {
        match self {
            Form::Kept => (0x40, 6),
            Form::NeverKept => (0x10, 4),
            Form::Plain => (0, 4),
        }
    }
}

/// Writes a field with its name in small letters; texts go as they are, since Huffman's code would cost both sides more than
/// the bytes it saves.
pub(super) fn put(out: &mut Vec<u8>, name: &str, value: &[u8], form: Form) {
    let (prefix, bits) = form.prefix();
    match STATIC.iter().position(|(known, _)| *known == name) {
        Some(at) => put_number(out, prefix, bits, at + 1),
        None => {
            out.push(prefix);
            put_number(out, 0, 7, name.len());
            out.extend(name.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
    }
    put_text(out, value);
}

/// Writes a path (index 4 of the static table).
pub(super) fn put_path(out: &mut Vec<u8>, parts: [&str; 2]) {
    out.push(4);
    put_number(out, 0, 7, parts[0].len() + parts[1].len());
    out.extend_from_slice(parts[0].as_bytes());
    out.extend_from_slice(parts[1].as_bytes());
}

/// Writes a field that is in a table as a whole.
pub(super) fn put_indexed(out: &mut Vec<u8>, index: usize) {
    put_number(out, 0x80, 7, index);
}

/// Tells the peer that its table is not used.
pub(super) fn put_no_table(out: &mut Vec<u8>) {
    put_number(out, 0x20, 5, 0);
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_number(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

fn put_number(out: &mut Vec<u8>, prefix: u8, bits: u32, value: usize) {
    let mask = (1_usize << bits) - 1;
    if value < mask {
        out.push(prefix | value as u8);
        return;
    }
    out.push(prefix | mask as u8);
    let mut left = value - mask;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// What a field takes of a table's size beyond its texts (section 4.1).
pub(super) const ROW_BYTES: usize = 32;
/// The size that a table has without a setting (RFC 9113 section 6.5.2).
pub(super) const TABLE_BYTES: usize = 4_096;
/// A longer text is a rare one, and its memory is given back.
const SPARE_BYTES_MAX: usize = 1_024;
/// The first index of the dynamic table.
pub(super) const DYNAMIC: usize = STATIC.len() + 1;

// Indices of the static table.
pub(super) const METHOD_GET: usize = 2;
pub(super) const METHOD_POST: usize = 3;
pub(super) const SCHEME_HTTP: usize = 6;
pub(super) const SCHEME_HTTPS: usize = 7;

const CUT: &str = "a whole block of header fields";
const NO_SUCH_FIELD: &str = "an index within the tables";

/// RFC 7541 appendix A; the first one has the index 1.
#[rustfmt::skip]
static STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""),
    ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""),
    ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""),
    ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""),
    ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""),
    ("set-cookie", ""), ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""),
    ("via", ""), ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, &'static str> {
        let mut fields = Vec::new();
        decoder.decode(block, |name, value| {
            fields.push(format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
        })?;
        Ok(fields)
    }

    fn kept(decoder: &Decoder) -> Vec<String> {
        let index = |at| decoder.table.row(DYNAMIC + at);
        let text = |range: Range<usize>| String::from_utf8_lossy(&decoder.table.bytes[range]).into_owned();
        (0..).map_while(index).map(|(name, value)| format!("{}={}", text(name), text(value))).collect()
    }

    #[test]
    fn integers_of_the_specification() {
        let check = |value: usize, bits: u32, expected: &[u8]| {
            let mut out = Vec::new();
            put_number(&mut out, 0, bits, value);
            assert_eq!(out, expected);
            let mut rest = &out[..];
            assert_eq!((number(&mut rest, bits), rest.len()), (Ok(value), 0));
        };
        check(10, 5, &[0x0a]);
        check(1_337, 5, &[0x1f, 0x9a, 0x0a]);
        check(42, 8, &[0x2a]);
        check(31, 5, &[0x1f, 0]);
        check((1 << 28) - 1, 7, &[0x7f, 0x80, 0xff, 0xff, 0x7f]);
        assert!(number(&mut &[0x1f, 0x80, 0x80, 0x80, 0x80, 0x00][..], 5).is_err());
        assert!(number(&mut &[0x1f, 0x80][..], 5).is_err());
    }

    /// Appendix C.2 to C.6.
    #[test]
    fn blocks_of_the_specification() {
        let check = |decoder: &mut Decoder, block: &str, fields: &[&str], table: &[&str], size: usize| {
            assert_eq!(read(decoder, &bytes(block)).unwrap(), fields);
            assert_eq!(
                (kept(decoder), decoder.table.size),
                (table.iter().map(|row| (*row).to_owned()).collect(), size)
            );
        };
        let new = || Decoder::new(TABLE_BYTES);
        let custom = ["custom-key=custom-header"];
        check(&mut new(), "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", &custom, &custom, 55);
        check(&mut new(), "040c 2f73 616d 706c 652f 7061 7468", &[":path=/sample/path"], &[], 0);
        check(&mut new(), "1008 7061 7373 776f 7264 0673 6563 7265 74", &["password=secret"], &[], 0);
        check(&mut new(), "82", &[":method=GET"], &[], 0);

        let requests = [
            [
                "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                "8286 84be 5808 6e6f 2d63 6163 6865",
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
            ],
            [
                "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
                "8286 84be 5886 a8eb 1064 9cbf",
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
            ],
        ];
        for [first, second, third] in requests {
            let decoder = &mut new();
            let get = [":method=GET", ":scheme=http", ":path=/", ":authority=www.example.com"];
            check(decoder, first, &get, &[":authority=www.example.com"], 57);
            let fields = [&get[..], &["cache-control=no-cache"]].concat();
            check(decoder, second, &fields, &["cache-control=no-cache", ":authority=www.example.com"], 110);
            let fields = [
                ":method=GET",
                ":scheme=https",
                ":path=/index.html",
                ":authority=www.example.com",
                "custom-key=custom-value",
            ];
            let table = ["custom-key=custom-value", "cache-control=no-cache", ":authority=www.example.com"];
            check(decoder, third, &fields, &table, 164);
        }

        let answers = [
            [
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                "4803 3330 37c1 c0bf",
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
            ],
            [
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                "4883 640e ffc1 c0bf",
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
            ],
        ];
        let dates = ["date=Mon, 21 Oct 2013 20:13:21 GMT", "date=Mon, 21 Oct 2013 20:13:22 GMT"];
        let location = "location=https://www.example.com";
        let cookie = "set-cookie=foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
        for blocks in answers {
            let decoder = &mut Decoder::new(256);
            let fields = [":status=302", "cache-control=private", dates[0], location];
            let mut table = fields;
            table.reverse();
            check(decoder, blocks[0], &fields, &table, 222);
            let fields = [":status=307", "cache-control=private", dates[0], location];
            check(decoder, blocks[1], &fields, &[":status=307", location, dates[0], "cache-control=private"], 222);
            let fields = [":status=200", "cache-control=private", dates[1], location, "content-encoding=gzip", cookie];
            check(decoder, blocks[2], &fields, &[cookie, "content-encoding=gzip", dates[1]], 215);
        }
    }

    #[test]
    fn wrong_blocks_are_refused() {
        let check = |block: &str| {
            assert!(read(&mut Decoder::new(TABLE_BYTES), &bytes(block)).is_err(), "{block}");
        };
        check("80");
        check("be");
        check("7f00 0161");
        check("00");
        check("0001");
        check("0001 61");
        check("0001 6105 61");
        check("0081 ff00");
        check("82 3f e1 1f");
        check("3f e2 1f");
    }

    #[test]
    fn the_table_stays_within_its_size() {
        let decoder = &mut Decoder::new(100);
        for round in 0..1_000 {
            let mut block = Vec::new();
            put(&mut block, "x-key", format!("value {round}").as_bytes(), Form::Kept);
            read(decoder, &block).unwrap();
            assert!(decoder.table.size <= 100 && decoder.table.bytes.len() <= 400);
        }
        assert_eq!(kept(decoder), ["x-key=value 999", "x-key=value 998"]);
        // A name of the table for a field that evicts it.
        let mut block = vec![0x7f, 0x00];
        put_text(&mut block, &[b'y'; 40]);
        assert_eq!(read(decoder, &block).unwrap(), [format!("x-key={}", "y".repeat(40))]);
        assert_eq!(kept(decoder), [format!("x-key={}", "y".repeat(40))]);
        // What does not fit empties it; so does a size of zero.
        let mut block = Vec::new();
        put(&mut block, "x", &[b'z'; 100], Form::Kept);
        read(decoder, &block).unwrap();
        assert_eq!((kept(decoder).len(), decoder.table.size), (0, 0));
        let mut block = Vec::new();
        put(&mut block, "a", b"b", Form::Kept);
        read(decoder, &block).unwrap();
        put_no_table(&mut block);
        assert!(read(decoder, &block).is_err(), "not at the beginning");
        read(decoder, &[0x20]).unwrap();
        assert_eq!((kept(decoder).len(), decoder.table.size), (0, 0));
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut block = Vec::new();
        put_no_table(&mut block);
        put_indexed(&mut block, METHOD_GET);
        put_path(&mut block, ["/v1", "/ticker?symbol=BTC"]);
        put(&mut block, "user-agent", b"me", Form::Plain);
        put(&mut block, "X-Key", "k".repeat(300).as_bytes(), Form::NeverKept);
        let fields = read(&mut Decoder::new(TABLE_BYTES), &block).unwrap();
        let key = format!("x-key={}", "k".repeat(300));
        assert_eq!(fields, [":method=GET", ":path=/v1/ticker?symbol=BTC", "user-agent=me", &key]);
    }

    proptest! {
        /// Any bytes: fields or an error; never a panic, and never a table beyond its size.
        #[test]
        fn no_bytes_panic(blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..6)) {
            let mut decoder = Decoder::new(200);
            for block in blocks {
                let _ = decoder.decode(&block, |_, _| {});
                prop_assert!(decoder.table.size <= 200);
            }
        }

        /// Any fields, kept or not, come back in order.
        #[test]
        fn any_fields_come_back(
            fields in proptest::collection::vec(("[a-z-]{1,20}", proptest::collection::vec(any::<u8>(), 0..50), 0..3_u8), 0..30)
        ) {
            let mut decoder = Decoder::new(300);
            for _ in 0..3 {
                let mut block = Vec::new();
                for (name, value, form) in &fields {
                    put(&mut block, name, value, [Form::Kept, Form::NeverKept, Form::Plain][usize::from(*form)]);
                }
                let mut found = Vec::new();
                decoder.decode(&block, |name, value| found.push((name.to_vec(), value.to_vec()))).unwrap();
                prop_assert_eq!(found.len(), fields.len());
                for ((name, value, _), found) in fields.iter().zip(&found) {
                    prop_assert_eq!((name.as_bytes(), value), (&found.0[..], &found.1));
                }
            }
        }
    }
}
