//! JSON bodies into typed values, exactly. Two ways, chosen per body:
//! [`plain`] for bodies whose prices are strings: integers stay integers, fractions would lose digits and are refused
//! by [`crate::model::Dec`]; [`exact`] for bodies with prices or fractional times as number tokens: a pre-pass puts
//! every number token in quotes, so that each arrives with all its digits.
//! Errors name the path of the field. Nesting beyond [`DEPTH_MAX`] is refused before any recursion.

use std::cell::RefCell;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::model::Judgement;

/// A body prepared for typed reading; the values read may borrow from it.
pub struct Doc<'b> {
    body: &'b [u8],
    numbers: Numbers,
    // The one copy that the parser works in.
    text: Vec<u8>,
    // What the slower reading that names the path of an error reads, where that is not the body itself.
    quoted: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Numbers {
    AsTokens,
    Quoted,
}

/// Prepares a body whose decimals are strings.
pub fn plain(body: &[u8]) -> Doc<'_> {
    Doc { body, numbers: Numbers::AsTokens, text: Vec::new(), quoted: Vec::new() }
}

/// Prepares a body whose decimals are number tokens: every number is read as a string.
pub fn exact(body: &[u8]) -> Doc<'_> {
    Doc { body, numbers: Numbers::Quoted, text: Vec::new(), quoted: Vec::new() }
}

impl Doc<'_> {
    /// Reads the body as a `T`, which may borrow strings from it.
    ///
    /// # Errors
    /// A `malformed` judgement that names the path of the field, what was expected and what was found.
    pub fn read<'a, T: Deserialize<'a>>(&'a mut self) -> Result<T, Judgement> {
        let Doc { body, numbers, text, quoted } = self;
        *text = match numbers {
            Numbers::AsTokens => body.to_vec(),
            Numbers::Quoted => quote_numbers(body),
        };
        let read = BUFFERS.with_borrow_mut(|buffers| simd_json::serde::from_slice_with_buffers(text, buffers));
        read.map_err(|error: simd_json::Error| {
            let pristine = match numbers {
                Numbers::AsTokens => *body,
                Numbers::Quoted => {
                    *quoted = quote_numbers(body);
                    &*quoted
                }
            };
            explain::<T>(pristine).unwrap_or_else(|| Judgement::malformed(format!("expected JSON: {error}")))
        })
    }
}

/// Reads a body as a `T` in one go, where nothing is borrowed.
///
/// # Errors
/// As [`Doc::read`].
pub fn read_owned<T: DeserializeOwned>(mut doc: Doc<'_>) -> Result<T, Judgement> {
    doc.read()
}

/// Whether the body's first value is an array: how forms that differ in that alone are told apart.
pub fn is_array(body: &[u8]) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

/// A row sent as an array: named fields by position, then those that may be missing, then anything. Providers lengthen
/// and shorten their rows, and a derived tuple takes neither.
///
/// ```text
/// json::row! { struct Kline { open_ms: i64, open: Dec; volume: Option<Dec> } }
/// ```
macro_rules! row {
    ($(#[$meta:meta])* struct $name:ident { $($(#[$doc:meta])* $field:ident: $ty:ty),+ $(; $($(#[$odoc:meta])* $ofield:ident: $oty:ty),+)? $(,)? }) => {
        $(#[$meta])*
        struct $name { $($(#[$doc])* $field: $ty,)+ $($($(#[$odoc])* $ofield: $oty,)+)? }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl<'de> serde::de::Visitor<'de> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an array")
                    }
                    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<$name, A::Error> {
                        $(let Some($field) = seq.next_element::<$ty>()? else {
                            return Err(serde::de::Error::custom(concat!("expected ", stringify!($field), ", found the end of the row")));
                        };)+
                        $($(let $ofield = seq.next_element::<$oty>()?.unwrap_or_default();)+)?
                        while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                        Ok($name { $($field,)+ $($($ofield,)+)? })
                    }
                }
                deserializer.deserialize_seq(Visitor)
            }
        }
    };
}
pub(crate) use row;

/// Puts every number token outside strings in quotes. What only resembles one (`01`, `1.`, `-`) or stands for a key
/// stays as it is, for the parser to refuse.
fn quote_numbers(body: &[u8]) -> Vec<u8> {
    // A row of digits and commas becomes twice as long, and nothing more than that.
    let mut out = Quoted { text: vec![0; body.len() * 2 + STEP], length: 0 };
    let (mut at, mut copied) = (0, 0);
    while let Some(&byte) = body.get(at) {
        match CLASSES[usize::from(byte)] {
            Class::Other => at += 1,
            Class::Quote => at = string_end(body, at + 1),
            Class::Number => {
                let (end, is_number) = number_end(body, at);
                if is_number && !is_key(&body[end..]) {
                    out.copy(body, copied, at);
                    out.quote();
                    out.copy(body, at, end);
                    out.quote();
                    copied = end;
                }
                at = end;
            }
        }
    }
    out.copy(body, copied, body.len());
    out.text.truncate(out.length);
    out.text
}

/// A text that grows within room that is there.
struct Quoted {
    text: Vec<u8>,
    length: usize,
}

impl Quoted {
    fn quote(&mut self) {
        self.text[self.length] = b'"';
        self.length += 1;
    }

    /// Appends `body[from..to]`. Most pieces are a few bytes: a whole step is copied then, and what is beyond the piece is
    /// written over by the next.
    fn copy(&mut self, body: &[u8], from: usize, to: usize) {
        let length = to - from;
        if length <= STEP
            && let Some(step) = body.get(from..from + STEP)
        {
            self.text[self.length..self.length + STEP].copy_from_slice(step);
        } else {
            self.text[self.length..self.length + length].copy_from_slice(&body[from..to]);
        }
        self.length += length;
    }
}

/// What a byte outside strings begins.
#[derive(Clone, Copy)]
enum Class {
    Number,
    Other,
    Quote,
}

/// By byte: a table costs one load where comparisons cost several branches.
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut digit = b'0';
    while digit <= b'9' {
        classes[digit as usize] = Class::Number;
        digit += 1;
    }
    classes[b'-' as usize] = Class::Number;
    classes[b'"' as usize] = Class::Quote;
    classes
};

/// The end of what looks like a number and begins at `at`, and whether it is one (RFC 8259 section 6).
fn number_end(body: &[u8], at: usize) -> (usize, bool) {
    let is = |at: usize, test: fn(&u8) -> bool| body.get(at).is_some_and(test);
    let digits = |mut at: usize| {
        while is(at, u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let start = at + usize::from(body[at] == b'-');
    let mut end = digits(start);
    let mut is_number = end > start && (end == start + 1 || body[start] != b'0');
    if is(end, |byte| *byte == b'.') {
        let fraction = end + 1;
        end = digits(fraction);
        is_number &= end > fraction;
    }
    if is(end, |byte| matches!(byte, b'e' | b'E')) {
        let exponent = end + 1 + usize::from(is(end + 1, |byte| matches!(byte, b'+' | b'-')));
        end = digits(exponent);
        is_number &= end > exponent;
    }
    let whole = end;
    while is(end, |byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) {
        end += 1;
    }
    (end, is_number && end == whole)
}

/// Whether a key has just ended.
fn is_key(rest: &[u8]) -> bool {
    rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// The index after the closing quote of the string whose first byte is at `start`.
pub(super) fn string_end(body: &[u8], start: usize) -> usize {
    let mut at = start;
    // Most strings are prices and names of a few bytes, for which a search by vectors costs more than it saves.
    let short = body.len().min(start + SHORT_STRING);
    while at < short {
        match body[at] {
            b'"' => return at + 1,
            b'\\' => break,
            _ => at += 1,
        }
    }
    while let Some(found) = body.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if body[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    body.len()
}

/// Reads again with a reader that tracks the path.
fn explain<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Option<Judgement> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let error = serde_path_to_error::deserialize::<_, T>(&mut reader).err()?;
    let path = error.path().to_string();
    let inner = error.into_inner().to_string();
    Some(Judgement::malformed(if path == "." { inner } else { format!("{path}: {inner}") }))
}

/// Bytes that are copied as one.
const STEP: usize = 16;
/// Bytes of a string that are looked at one by one.
const SHORT_STRING: usize = 16;

/// Deeper than any provider's answer, shallow enough for the smallest stack.
pub const DEPTH_MAX: usize = 64;

thread_local! {
    static BUFFERS: RefCell<simd_json::Buffers> = RefCell::new(simd_json::Buffers::with_max_depth(4096, DEPTH_MAX));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Dec;

    #[derive(Debug, Deserialize)]
    struct Row<'a> {
        name: &'a str,
        price: Dec,
        #[serde(default)]
        size: Option<Dec>,
    }

    #[test]
    fn number_tokens_keep_their_digits() {
        let body = br#"{"name":"a \"1\" b","price":19.110000610351562,"size":1E-8,"more":[1,-2.50,null,true]}"#;
        let mut doc = exact(body);
        let row: Row<'_> = doc.read().unwrap();
        assert_eq!(row.name, "a \"1\" b");
        assert_eq!(row.price.to_string(), "19.110000610351562");
        assert_eq!(row.size.unwrap().to_string(), "0.00000001");
    }

    #[test]
    fn fractions_are_refused_where_they_would_lose_digits() {
        let error = plain(br#"{"name":"a","price":19.11}"#).read::<Row<'_>>().unwrap_err();
        assert_eq!(error.verdict, crate::model::Verdict::Malformed);
    }

    #[test]
    fn errors_name_the_path() {
        let check = |body: &str, expected: &str| {
            let error = exact(body.as_bytes()).read::<Vec<Row<'_>>>().unwrap_err();
            assert!(error.message.contains(expected), "{body}: {}", error.message);
        };
        check(r#"[{"name":"a","price":1},{"name":"a","price":"x"}]"#, "[1].price: expected a decimal, found \"x\"");
        check(r#"[{"name":"a"}]"#, "[0]: missing field `price`");
        check("", "EOF");
        check("<html>", "expected value");
        check(r#"[{"name":"#, "EOF");
        check(&"[".repeat(100_000), "");
    }
}
