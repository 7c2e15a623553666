//! JSON bodies into typed values, exactly. Two ways, chosen per body:
//! [`plain`] for bodies whose prices are strings: integers stay integers, fractions would lose digits and are refused
//! by [`crate::model::Dec`]; [`exact`] for bodies with prices or fractional times as number tokens: a pre-pass puts
//! every number token in quotes, so that each arrives with all its digits.
//! Errors name the path of the field. Nesting beyond [`DEPTH_MAX`] is refused before any recursion.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{self, DeserializeOwned, IntoDeserializer, Unexpected};
use serde::{Deserialize, Deserializer};

use crate::model::{Dec, Judgement};

/// A body prepared for typed reading; the values read may borrow from it.
pub struct Doc {
    text: Vec<u8>,
    // The pristine text, for the second, slower reading that names the path of an error.
    pristine: Vec<u8>,
}

/// Prepares a body whose decimals are strings.
pub fn plain(body: &[u8]) -> Doc {
    Doc { text: body.to_vec(), pristine: Vec::new() }
}

/// Prepares a body whose decimals are number tokens: every number is read as a string.
pub fn exact(body: &[u8]) -> Doc {
    Doc { text: quote_numbers(body), pristine: Vec::new() }
}

impl Doc {
    /// Reads the body as a `T`, which may borrow strings from it.
    ///
    /// # Errors
    /// A `malformed` judgement that names the path of the field, what was expected and what was found.
    pub fn read<'a, T: Deserialize<'a>>(&'a mut self) -> Result<T, Judgement> {
        self.pristine.clear();
        self.pristine.extend_from_slice(&self.text);
        let Doc { text, pristine } = self;
        let read = BUFFERS.with_borrow_mut(|buffers| simd_json::serde::from_slice_with_buffers(text, buffers));
        read.map_err(|error: simd_json::Error| {
            explain::<T>(pristine).unwrap_or_else(|| Judgement::malformed(format!("expected JSON: {error}")))
        })
    }
}

/// Reads a body as a `T` in one go, where nothing is borrowed.
///
/// # Errors
/// As [`Doc::read`].
pub fn read_owned<T: DeserializeOwned>(mut doc: Doc) -> Result<T, Judgement> {
    doc.read()
}

/// An integer given as a token or as text, which [`exact`] makes of every token. `12.0` is an integer too: some providers
/// write every number with a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Int(pub i64);

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Int;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an integer")
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Int, E> {
                Ok(Int(value))
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Int, E> {
                i64::try_from(value).map(Int).map_err(|_| E::custom("expected an integer of 63 bits"))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Int, E> {
                integer(text).map(Int).ok_or_else(|| {
                    let shown: String = text.chars().take(40).collect();
                    E::custom(format_args!("expected an integer, found {shown:?}"))
                })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn integer(text: &str) -> Option<i64> {
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    let value: Dec = text.parse().ok()?;
    let unit = 10_i128.checked_pow(value.places())?;
    (value.mantissa() % unit == 0).then(|| i64::try_from(value.mantissa() / unit).ok()).flatten()
}

/// For `deserialize_with`: a field that has to be there, though it may be null. A derived `Option` may be missing too.
///
/// # Errors
/// As `T`'s own reading.
pub fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// One of several parallel columns: `rows` when it has `len` values.
///
/// # Errors
/// A `malformed` judgement that names `path` when it is missing or of another length.
pub fn column<'a, T>(path: &str, rows: Option<&'a [T]>, len: usize) -> Result<&'a [T], Judgement> {
    match rows {
        Some(rows) if rows.len() == len => Ok(rows),
        rows => {
            let found = rows.map_or(0, <[T]>::len);
            Err(Judgement::malformed(format!("{path}: expected {len} values, found {found}")))
        }
    }
}

/// Whether the body's first value is an array: how forms that differ in that alone are told apart.
pub fn is_array(body: &[u8]) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

/// An integer sent as a number or as a string of digits: bodies read by [`exact`], and providers that quote all values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Int<T>(pub T);

impl<'de, T: TryFrom<i64> + TryFrom<u64> + FromStr> Deserialize<'de> for Int<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<'de, T: TryFrom<i64> + TryFrom<u64> + FromStr> de::Visitor<'de> for Visitor<T> {
            type Value = Int<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Int<T>, E> {
                text.parse().map(Int).map_err(|_| {
                    let shown: String = text.chars().take(40).collect();
                    E::custom(format_args!("expected an integer, found {shown:?}"))
                })
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Int<T>, E> {
                T::try_from(value).map(Int).map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Int<T>, E> {
                T::try_from(value).map(Int).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
            }
            // The form in which serde_json hands over a number token with its digits.
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Int<T>, A::Error> {
                match map.next_entry::<Cow<'_, str>, Cow<'_, str>>()? {
                    Some((key, digits)) if key == "$serde_json::private::Number" => self.visit_str(&digits),
                    _ => Err(de::Error::invalid_type(Unexpected::Map, &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor(PhantomData))
    }
}

/// A value that the provider sends as an empty string, or as null, when it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blank<T>(pub Option<T>);

impl<T> Default for Blank<T> {
    fn default() -> Self {
        Blank(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Blank<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = Blank<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value or an empty string")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Blank<T>, E> {
                match text {
                    "" => Ok(Blank(None)),
                    text => T::deserialize(BorrowedStrDeserializer::new(text)).map(|value| Blank(Some(value))),
                }
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Blank<T>, E> {
                match text {
                    "" => Ok(Blank(None)),
                    text => T::deserialize(text.into_deserializer()).map(|value| Blank(Some(value))),
                }
            }
            fn visit_unit<E: de::Error>(self) -> Result<Blank<T>, E> {
                Ok(Blank(None))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Blank<T>, E> {
                T::deserialize(value.into_deserializer()).map(|value| Blank(Some(value)))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Blank<T>, E> {
                T::deserialize(value.into_deserializer()).map(|value| Blank(Some(value)))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Blank<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|value| Blank(Some(value)))
            }
        }
        deserializer.deserialize_any(Visitor(PhantomData))
    }
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

/// Puts every number token outside strings in quotes.
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
                let length = body[at..]
                    .iter()
                    .position(|b| !matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
                    .unwrap_or(body.len() - at);
                out.push(b'"');
                out.extend_from_slice(&body[at..at + length]);
                out.push(b'"');
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
    fn integers_come_as_tokens_and_as_text() {
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(exact(text.as_bytes()).read::<Int>().ok().map(|int| int.0), expected, "{text}");
        };
        check("1761202800", Some(1_761_202_800));
        check("\"-7\"", Some(-7));
        check("12.0", Some(12));
        check("1.5E1", Some(15));
        check("12.5", None);
        check("99999999999999999999", None);
        check("\"x\"", None);
        check("null", None);
        assert_eq!(plain(b"3").read::<Int>().unwrap(), Int(3));
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

    #[test]
    fn integers_are_read_from_both_forms_and_blanks_are_none() {
        #[derive(Debug, Deserialize)]
        struct Row {
            #[serde(default)]
            price: Blank<Dec>,
            #[serde(default)]
            id: Blank<Int<u64>>,
            time: Int<i64>,
        }
        let read = |body: &str| plain(body.as_bytes()).read::<Row>();
        let check = |body: &str, price: Option<&str>, id: Option<u64>, time: i64| {
            let row = read(body).unwrap();
            let found = (row.price.0.map(|price| price.to_string()), row.id.0.map(|id| id.0), row.time.0);
            assert_eq!(found, (price.map(str::to_owned), id, time), "{body}");
        };
        check(r#"{"price":"","id":"","time":"-5"}"#, None, None, -5);
        check(r#"{"price":null,"time":5}"#, None, None, 5);
        check(r#"{"price":"1.50","id":"18446744073709551615","time":1}"#, Some("1.50"), Some(u64::MAX), 1);
        check(r#"{"price":7,"id":18446744073709551615,"time":1}"#, Some("7"), Some(u64::MAX), 1);
        let refused = |body: &str, expected: &str| {
            let message = read(body).unwrap_err().message;
            assert!(message.contains(expected), "{body}: {message}");
        };
        refused(r#"{"id":-1,"time":1}"#, "id: ");
        refused(r#"{"id":3,"time":"x"}"#, "time: expected an integer, found \"x\"");
        refused(r#"{"price":"x","id":3,"time":1}"#, "price: expected a decimal, found \"x\"");
        refused(r#"{"price":[],"id":3,"time":1}"#, "price: ");
        refused(r#"{"id":3,"time":""}"#, "time: ");
        refused(r#"{"id":3,"time":1.5}"#, "time: ");
    }
}
