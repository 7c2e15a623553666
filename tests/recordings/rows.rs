//! Building expected records by hand: what the plain readers of several providers share. Knows nothing of the decoders.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

/// A record in the form that `decode` prints; absent names and times are left out.
pub fn record(names: [&str; 4], ts_event: Option<i64>, data: Map<String, Value>) -> Value {
    let mut record = Map::new();
    for (field, name) in ["source", "kind", "symbol", "native"].into_iter().zip(names) {
        if !name.is_empty() {
            record.insert(field.to_owned(), name.into());
        }
    }
    if let Some(at) = ts_event {
        record.insert("ts_event".to_owned(), at.into());
    }
    record.insert("data".to_owned(), data.into());
    record.into()
}

/// The data made of `row`: each field is paired with the key it is read from; missing ones and nulls are left out.
pub fn decimals(row: &Value, fields: &[(&str, &str)]) -> Map<String, Value> {
    let mut data = Map::new();
    for (field, key) in fields {
        match row.get(key) {
            None | Some(Value::Null) => {}
            Some(value) => drop(data.insert((*field).to_owned(), super::text(value).into())),
        }
    }
    data
}

/// As [`decimals`], for texts; empty ones are left out.
pub fn texts(row: &Value, fields: &[(&str, &str)]) -> Map<String, Value> {
    let mut data = decimals(row, fields);
    data.retain(|_, value| value != "");
    data
}

/// Adds the times of a bar: with a length its interval, its end and that it is closed. Gives its time.
pub fn bar_times(data: &mut Map<String, Value>, interval: &str, start: i64, length: i64) -> i64 {
    data.insert("start".to_owned(), start.into());
    if interval.is_empty() {
        return start;
    }
    data.insert("interval".to_owned(), interval.into());
    data.insert("end".to_owned(), (start + length).into());
    data.insert("closed".to_owned(), true.into());
    start + length
}

/// Whole seconds as nanoseconds.
pub fn secs(value: &Value) -> i64 {
    value.as_i64().expect("whole seconds") * 1_000_000_000
}

/// A wall time such as `2020-01-02T03:04:05`, or a date, in a zone; as nanoseconds.
pub fn wall(text: &str, zone: &str) -> i64 {
    let text = if text.len() == 10 { format!("{text}T00:00:00") } else { text.replace(' ', "T") };
    let wall: DateTime = text.parse().expect("a wall time");
    let at = TimeZone::get(zone).expect("a zone").to_timestamp(wall).expect("a moment");
    at.as_nanosecond().try_into().expect("a moment of our time")
}

/// A time with its offset as nanoseconds.
pub fn instant(text: &str) -> i64 {
    let at: jiff::Timestamp = text.parse().expect("a time with its offset");
    at.as_nanosecond().try_into().expect("a moment of our time")
}

/// Nanoseconds of a day.
pub const DAY: i64 = 86_400_000_000_000;
