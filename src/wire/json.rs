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
    let mut out = Vec::with_capacity(body.len() + body.len() / 2 + 8);
    let mut at = 0;
    while at < body.len() {
        match body[at] {
            b'"' => {
                let end = string_end(body, at + 1);
                out.extend_from_slice(&body[at..end]);
                at = end;
            }
            b'-' | b'0'..=b'9' => {
                let rest = &body[at..];
                let is_part = |b: &u8| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let length = rest.iter().position(|b| !is_part(b)).unwrap_or(rest.len());
                let is_key = rest[length..].iter().find(|b| !b.is_ascii_whitespace()) == Some(&b':');
                let quote: &[u8] = if is_number(&rest[..length]) && !is_key { b"\"" } else { b"" };
                out.extend_from_slice(quote);
                out.extend_from_slice(&rest[..length]);
                out.extend_from_slice(quote);
                at += length;
            }
            _ => {
                let rest = &body[at..];
                let length = rest.iter().position(|b| matches!(b, b'"' | b'-' | b'0'..=b'9')).unwrap_or(rest.len());
                out.extend_from_slice(&rest[..length]);
                at += length;
            }
        }
    }
    out
}

/// Whether `token` is a number of JSON (RFC 8259 section 6).
fn is_number(token: &[u8]) -> bool {
    fn digits(text: &[u8]) -> usize {
        text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len())
    }
    let rest = token.strip_prefix(b"-").unwrap_or(token);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest[0] == b'0') {
        return false;
    }
    let mut rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let places = digits(fraction);
        if places == 0 {
            return false;
        }
        rest = &fraction[places..];
    }
    let [b'e' | b'E', exponent @ ..] = rest else { return rest.is_empty() };
    let exponent = exponent.strip_prefix(b"-").or(exponent.strip_prefix(b"+")).unwrap_or(exponent);
    !exponent.is_empty() && digits(exponent) == exponent.len()
}

/// The index after the closing quote of the string whose first byte is at `start`.
pub(super) fn string_end(body: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &body[at..]) {
        at += found;
        if body[at] == b'"' {
            return at + 1;
        }
        at += 2;
        if at > body.len() {
            break;
        }
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
