//! Field types for what providers send in more than one form: integers and ids as numbers or strings, one object or a
//! list of them, book levels with more than price and size. Knows no provider.
//! Invariant: a value of another type is refused with the path of its field, never replaced by a default.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use compact_str::{CompactString, format_compact};
use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{self, DeserializeOwned, IntoDeserializer, Unexpected};
use serde::{Deserialize, Deserializer};

use crate::model::{Dec, Judgement, Level};
use crate::wire::json;

/// An integer sent as a number or as a string of digits: bodies read by [`json::exact`], and providers that quote all
/// values. `12.0` is one too: some providers write every number with a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Int<T = i64>(pub T);

impl<'de, T: TryFrom<i64> + TryFrom<u64> + FromStr> Deserialize<'de> for Int<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<'de, T: TryFrom<i64> + TryFrom<u64> + FromStr> de::Visitor<'de> for Visitor<T> {
            type Value = Int<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Int<T>, E> {
                parse_integer(text).map(Int).ok_or_else(|| {
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

fn parse_integer<T: TryFrom<i64> + FromStr>(text: &str) -> Option<T> {
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    let value: Dec = text.parse().ok()?;
    let unit = 10_i128.checked_pow(value.places())?;
    let whole = (value.mantissa() % unit == 0).then(|| i64::try_from(value.mantissa() / unit).ok()).flatten()?;
    T::try_from(whole).ok()
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

/// An id, sent as a number or as a string; kept as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Id(pub CompactString);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Id;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an integer")
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Id, E> {
                Ok(Id(format_compact!("{value}")))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Id, E> {
                Ok(Id(format_compact!("{value}")))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
                Ok(Id(text.into()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// One object, or a list of them; nulls in the list are left out.
#[derive(Debug)]
pub struct OneOrMany<T> {
    /// The objects.
    pub rows: Vec<T>,
    /// Whether they came as a list.
    pub list: bool,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = OneOrMany<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or a list")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let one = T::deserialize(MapAccessDeserializer::new(map))?;
                Ok(OneOrMany { rows: vec![one], list: false })
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut rows = Vec::new();
                while let Some(row) = seq.next_element::<Option<T>>()? {
                    rows.extend(row);
                }
                Ok(OneOrMany { rows, list: true })
            }
        }
        deserializer.deserialize_any(Visitor(PhantomData))
    }
}

/// An object with keys that are data, as pairs in the order they were sent.
#[derive(Debug)]
pub struct Pairs<V>(pub Vec<(CompactString, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> de::Visitor<'de> for Visitor<V> {
            type Value = Pairs<V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Visitor(PhantomData))
    }
}

json::row! {
    struct LevelRow { price: Dec, size: Dec }
}

/// One side of a book whose levels are arrays of price, size and possibly more.
///
/// # Errors
/// When a level is no array or lacks one of the two.
pub fn levels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Level>, D::Error> {
    let rows = Vec::<LevelRow>::deserialize(deserializer)?;
    Ok(rows.into_iter().map(|row| Level(row.price, row.size)).collect())
}

/// For `deserialize_with`: a field that has to be there, though it may be null. A derived `Option` may be missing too.
///
/// # Errors
/// As `T`'s own reading.
pub fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// A decimal that may be null, told apart from one that is missing (`None`, by `#[serde(default)]`).
///
/// # Errors
/// When it is anything else.
pub fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Dec>>, D::Error> {
    Option::<Dec>::deserialize(deserializer).map(Some)
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

/// Whether the body is one row of values instead of a list of rows.
pub fn is_row(body: &[u8]) -> bool {
    let mut heads = body.iter().filter(|byte| !byte.is_ascii_whitespace());
    heads.next() == Some(&b'[') && heads.next().is_some_and(|byte| matches!(byte, b'"' | b'-' | b'0'..=b'9'))
}

/// Reads a body whose decimals are strings in one form of it and number tokens in another.
///
/// # Errors
/// As [`json::Doc::read`].
pub fn read_mixed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Judgement> {
    json::plain(body).read().or_else(|_| json::exact(body).read())
}

/// Whether the body is an object with this key, without reading its values: how forms with and without an envelope
/// are told apart.
pub fn has_key(body: &[u8], key: &str) -> bool {
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return false;
    }
    let (mut at, mut depth, mut at_key) = (0, 0_usize, false);
    let mark = |byte: &u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b',');
    while let Some(found) = body.get(at..).and_then(|rest| rest.iter().position(mark)) {
        at += found;
        match body[at] {
            b'"' => {
                let end = json::string_end(body, at + 1);
                if depth == 1 && at_key && body[at + 1..end].strip_suffix(b"\"") == Some(key.as_bytes()) {
                    return true;
                }
                at_key = false;
                at = end;
                continue;
            }
            b'{' => {
                depth += 1;
                at_key = depth == 1;
            }
            b'[' => depth += 1,
            b',' => at_key = depth == 1,
            _ => depth = depth.saturating_sub(1),
        }
        at += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Row {
        id: Id,
        at: Int,
        #[serde(default, deserialize_with = "levels")]
        bids: Vec<Level>,
    }

    #[test]
    fn both_forms_are_read() {
        let check = |body: &str, list: bool| {
            let read: OneOrMany<Row> = read_mixed(body.as_bytes()).unwrap();
            assert_eq!((read.list, read.rows[0].id.0.as_str(), read.rows[0].at.0), (list, "7", -5), "{body}");
        };
        check(r#"{"id":"7","at":"-5"}"#, false);
        check(r#"[{"id":7,"at":-5,"bids":[["1","2","3"]]}]"#, true);
        let read: OneOrMany<Row> = read_mixed(br#"{"id":1,"at":1,"bids":[[1.50,2,1767225600],["3","4"]]}"#).unwrap();
        assert_eq!(read.rows[0].bids[0], Level("1.50".parse().unwrap(), "2".parse().unwrap()));
        assert_eq!(read.rows[0].bids.len(), 2);
    }

    #[test]
    fn other_types_are_refused_with_their_path() {
        let check = |body: &str, expected: &str| {
            let error = read_mixed::<OneOrMany<Row>>(body.as_bytes()).unwrap_err();
            assert!(error.message.contains(expected), "{body}: {}", error.message);
        };
        check(r#"[{"id":7,"at":true}]"#, "[0].at");
        check(r#"{"id":7,"at":"1.5"}"#, "at: invalid value");
        check(r#"{"id":7,"at":99999999999999999999}"#, "at");
        check(r#"{"id":7,"at":1,"bids":[["1"]]}"#, "bids[0]: expected size");
        check("17", "an object or a list");
    }

    #[test]
    fn a_row_starts_with_a_value() {
        let check = |body: &str, expected: bool| assert_eq!(is_row(body.as_bytes()), expected, "{body}");
        check("[ 1,2]", true);
        check("[\"1\"]", true);
        check("[[1,2]]", false);
        check("[]", false);
        check("{\"a\":[1]}", false);
    }

    #[test]
    fn keys_that_are_data_keep_their_order() {
        let pairs: Pairs<Int> = read_mixed(br#"{"b":1,"a":"2"}"#).unwrap();
        assert_eq!(pairs.0, [("b".into(), Int(1)), ("a".into(), Int(2))]);
        assert!(read_mixed::<Pairs<Int>>(b"[1]").is_err());
    }

    #[test]
    fn keys_are_found_at_the_top_only() {
        let check = |body: &str, expected: bool| assert_eq!(has_key(body.as_bytes(), "data"), expected, "{body}");
        check(r#"{"code":"200000","data":[1]}"#, true);
        check(r#" {"a":{"data":1},"b":["data"],"c":"data"}"#, false);
        check(r#"{"a":"\"data\":","data":1}"#, true);
        check(r#"["data",{"data":1}]"#, false);
        check(r#"{"da"#, false);
        check(r#"{"data"#, false);
        check("", false);
    }

    #[test]
    fn integers_come_as_tokens_and_as_text() {
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(json::exact(text.as_bytes()).read::<Int>().ok().map(|int| int.0), expected, "{text}");
        };
        check("1761202800", Some(1_761_202_800));
        check("\"-7\"", Some(-7));
        check("12.0", Some(12));
        check("1.5E1", Some(15));
        check("12.5", None);
        check("99999999999999999999", None);
        check("\"x\"", None);
        check("null", None);
        assert_eq!(json::plain(b"3").read::<Int>().unwrap(), Int(3));
    }

    #[test]
    fn integers_and_keyed_objects() {
        let read = |body: &str| json::exact(body.as_bytes()).read::<Pairs<Int>>();
        assert_eq!(read(r#"{"b":2,"a":"-1"}"#).unwrap().0, [("b".into(), Int(2)), ("a".into(), Int(-1))]);
        assert_eq!(json::plain(br#"{"b":2}"#).read::<Pairs<Int>>().unwrap().0, [("b".into(), Int(2))]);
        for bad in [r#"{"b":2.5}"#, r#"{"b":"x"}"#, r#"{"b":null}"#, "[1]"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_object_or_a_list() {
        let count =
            |body: &str| json::exact(body.as_bytes()).read::<OneOrMany<Pairs<Int>>>().map(|several| several.rows.len());
        assert_eq!(count(r#"{"a":1}"#).unwrap(), 1);
        assert_eq!(count(r#"[{"a":1},null,{"b":2}]"#).unwrap(), 2);
        assert!(count("[1]").is_err() && count("7").is_err() && count("null").is_err());
    }

    #[test]
    fn integers_are_read_from_both_forms_and_blanks_are_none() {
        #[derive(Debug, Deserialize)]
        struct Mixed {
            #[serde(default)]
            price: Blank<Dec>,
            #[serde(default)]
            id: Blank<Int<u64>>,
            time: Int<i64>,
        }
        let read = |body: &str| json::plain(body.as_bytes()).read::<Mixed>();
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
