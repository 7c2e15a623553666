//! The Huffman code of HPACK (RFC 7541 appendix B), as far as a client needs it: reading.
//! The code is canonical, so that its tables follow from the lengths alone. Invariant: padding is checked.

/// Appends the text that `bytes` hold; `false` when they are no such text.
pub(super) fn decode(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    out.reserve(bytes.len() * 8 / 5);
    // The next bits, from the top on, and how many of them are counted as taken from `rest`.
    let (mut bits, mut count) = (0_u64, 0_u32);
    let mut rest = bytes;
    // Eight bytes at a look: five symbols of the table need no look between them.
    while let Some(next) = rest.first_chunk() {
        bits |= u64::from_be_bytes(*next) >> count;
        let taken = (63 - count) / 8;
        rest = &rest[taken as usize..];
        count += taken * 8;
        let mut symbols = [0; 5];
        let mut found = 0;
        for place in &mut symbols {
            let (symbol, length) = SHORT[(bits >> (64 - SHORT_BITS)) as usize];
            if length == 0 {
                break;
            }
            *place = symbol;
            bits <<= length;
            count -= u32::from(length);
            found += 1;
        }
        out.extend_from_slice(&symbols[..found]);
        if found == symbols.len() {
            continue;
        }
        match long(bits) {
            Some((symbol, length)) if length <= count => {
                out.push(symbol);
                bits <<= length;
                count -= length;
            }
            None if count >= LENGTH_MAX => return false,
            // After another look.
            _ => {}
        }
    }
    // Fewer than eight bytes are left: bits that are not counted come again.
    bits &= !(u64::MAX >> count);
    finish(rest, bits, count, out)
}

/// The end of a text, byte by byte.
fn finish(rest: &[u8], mut bits: u64, mut count: u32, out: &mut Vec<u8>) -> bool {
    let mut rest = rest.iter();
    loop {
        while count <= 56 {
            let Some(byte) = rest.next() else { break };
            bits |= u64::from(*byte) << (56 - count);
            count += 8;
        }
        let (symbol, length) = match SHORT[(bits >> (64 - SHORT_BITS)) as usize] {
            (_, 0) => match long(bits) {
                Some(found) => found,
                None => return false,
            },
            (symbol, length) => (symbol, u32::from(length)),
        };
        if length > count {
            // Section 5.2: what is left are fewer than eight bits, all set.
            return count < 8 && bits == !(u64::MAX >> count);
        }
        out.push(symbol);
        bits <<= length;
        count -= length;
    }
}

/// A symbol with a code that the table is too short for.
fn long(bits: u64) -> Option<(u8, u32)> {
    (SHORT_BITS + 1..=LENGTH_MAX).find_map(|length| {
        let code = (bits >> (64 - length)) as u32;
        let at = code.checked_sub(FIRST.codes[length as usize])? as usize;
        // The code after the last one is the end of a text, which no text holds.
        (at < FIRST.counts[length as usize]).then(|| (SORTED[FIRST.at[length as usize] + at], length))
    })
}

/// By length: the first code, where its symbol stands among the sorted ones, and how many have this length.
struct First {
    codes: [u32; LENGTH_MAX as usize + 1],
    at: [usize; LENGTH_MAX as usize + 1],
    counts: [usize; LENGTH_MAX as usize + 1],
}

const FIRST: First = {
    let mut first = First {
        codes: [0; LENGTH_MAX as usize + 1],
        at: [0; LENGTH_MAX as usize + 1],
        counts: [0; LENGTH_MAX as usize + 1],
    };
    let mut symbol = 0;
    while symbol < 256 {
        first.counts[LENGTHS[symbol] as usize] += 1;
        symbol += 1;
    }
    let mut length = 1;
    while length <= LENGTH_MAX as usize {
        first.codes[length] = (first.codes[length - 1] + first.counts[length - 1] as u32) << 1;
        first.at[length] = first.at[length - 1] + first.counts[length - 1];
        length += 1;
    }
    first
};

/// The symbols in the order of their codes.
static SORTED: [u8; 256] = {
    let mut sorted = [0; 256];
    let mut next = FIRST.at;
    let mut symbol = 0;
    while symbol < 256 {
        let length = LENGTHS[symbol] as usize;
        sorted[next[length]] = symbol as u8;
        next[length] += 1;
        symbol += 1;
    }
    sorted
};

/// Symbol and length of the code that the next ten bits begin with; length 0 for a longer one.
static SHORT: [(u8, u8); 1 << SHORT_BITS] = {
    let mut table = [(0, 0); 1 << SHORT_BITS];
    let mut next = FIRST.codes;
    let mut symbol = 0;
    while symbol < 256 {
        let length = LENGTHS[symbol] as u32;
        let code = next[length as usize];
        next[length as usize] += 1;
        if length <= SHORT_BITS {
            let first = (code as usize) << (SHORT_BITS - length);
            let mut at = first;
            while at < first + (1 << (SHORT_BITS - length)) {
                table[at] = (symbol as u8, length as u8);
                at += 1;
            }
        }
        symbol += 1;
    }
    table
};

/// Two KiB of table: letters, digits and what headers mostly hold have eight bits at most.
const SHORT_BITS: u32 = 10;
const LENGTH_MAX: u32 = 30;

/// The length of each symbol's code.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The other direction, bit by bit.
    pub(crate) fn encode(text: &[u8]) -> Vec<u8> {
        let (mut out, mut bits, mut count) = (Vec::new(), 0_u64, 0);
        for symbol in text {
            let length = u32::from(LENGTHS[usize::from(*symbol)]);
            let place = SORTED[FIRST.at[length as usize]..].iter().position(|other| other == symbol).unwrap();
            bits = bits << length | u64::from(FIRST.codes[length as usize] + place as u32);
            count += length;
            while count >= 8 {
                count -= 8;
                out.push((bits >> count) as u8);
            }
        }
        if count > 0 {
            out.push((bits << (8 - count)) as u8 | (0xff_u8 >> count));
        }
        out
    }

    #[test]
    fn texts_of_the_specification_are_read() {
        let check = |bytes: &[u8], expected: Option<&str>| {
            let mut out = Vec::new();
            let found = decode(bytes, &mut out).then_some(out);
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{bytes:x?}");
        };
        check(&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff], Some("www.example.com"));
        check(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], Some("no-cache"));
        check(&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf], Some("custom-value"));
        check(&[0x64, 0x02], Some("302"));
        check(&[], Some(""));
        // Eight bits of padding, padding that is not set, the end of a text, and a code cut off.
        check(&[0x64, 0x02, 0xff], None);
        check(&[0x64, 0x00, 0x00], None);
        check(&[0xff, 0xff, 0xff, 0xff], None);
        check(&[0xff, 0xff, 0xfa], None);
        check(&[0xff], None);
    }

    #[test]
    fn the_code_is_complete() {
        // The last code of all is the end of a text: 30 bits, all set.
        let longest = LENGTH_MAX as usize;
        assert_eq!(FIRST.codes[longest] as usize + FIRST.counts[longest], (1 << LENGTH_MAX) - 1);
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in proptest::collection::vec(prop_oneof![any::<u8>(), 32..127_u8], 0..80)) {
            let mut out = Vec::new();
            prop_assert!(decode(&encode(&text), &mut out));
            prop_assert_eq!(out, text);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut out = Vec::new();
            decode(&bytes, &mut out);
            prop_assert!(out.len() <= bytes.len() * 8 / 5);
        }
    }
}
