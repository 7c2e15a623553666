//! From a sample to an answer of this moment: the instruments asked for, prices that walk, times that are now.
//! Invariant: keys and JSON types of the sample stay as they are; ids and times only grow, over restarts too, since
//! both derive from the wall clock.

use std::collections::BTreeMap;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde_json::{Map, Number, Value};

use crate::model::{Dec, Interval};
use crate::sim::routes::{Asked, End, Route, Times};
use crate::sim::series;
use crate::time::UnixNanos;

/// Renders the answer of a route.
///
/// # Errors
/// Says which pointer of the route does not fit its sample.
pub fn render(
    route: &Route,
    sample: &str,
    asked: &Asked<'_>,
    captures: &BTreeMap<String, String>,
    now: UnixNanos,
) -> Result<Vec<u8>, String> {
    if route_is_static(route) {
        return Ok(sample.as_bytes().to_vec());
    }
    let mut body: Value = serde_json::from_str(sample).map_err(|error| format!("{}: {error}", route.sample))?;
    let (names, bare) = instruments(route, asked, captures);
    if let Some(series) = &route.series {
        series::fill(route, series, &mut body, names.first().map(String::as_str), asked, now)?;
        return serialise(&body);
    }
    let Some(each) = &route.each else {
        animate(route, &mut body, names.first().map(String::as_str), asked, now)?;
        return serialise(&body);
    };
    if each.is_empty() && !body.is_array() && !body.is_object() {
        return Err(format!("{}: `each` needs an array or an object", route.sample));
    }
    // A sample of one bare object with `each = ""`: a list is made of it where a list was asked for.
    if each.is_empty() && body.is_object() && route.single {
        let rows = per_instrument(route, &body, &names, asked, now)?;
        return serialise(&if bare { rows.into_iter().next().unwrap_or(body) } else { Value::Array(rows) });
    }
    let holder = body.pointer_mut(each).ok_or_else(|| format!("{}: nothing at {each:?}", route.sample))?;
    match holder {
        Value::Array(rows) => {
            let Some(pattern) = rows.first().cloned() else {
                return Err(format!("{}: {each:?} is empty", route.sample));
            };
            if names.is_empty() {
                for row in rows.iter_mut() {
                    let own = name_of(route, row);
                    animate(route, row, own.as_deref(), asked, now)?;
                }
            } else {
                *rows = per_instrument(route, &pattern, &names, asked, now)?;
            }
            if route.single && bare && rows.len() == 1 && each.is_empty() {
                let only = rows.remove(0);
                return serialise(&only);
            }
        }
        Value::Object(rows) => {
            let Some((first, pattern)) = rows.iter().next().map(|(key, value)| (key.clone(), value.clone())) else {
                return Err(format!("{}: {each:?} is empty", route.sample));
            };
            let names = if names.is_empty() { vec![first] } else { names };
            let mut keyed = Map::new();
            for name in names {
                let mut row = pattern.clone();
                animate(route, &mut row, Some(&name), asked, now)?;
                keyed.insert(name, row);
            }
            *rows = keyed;
        }
        _ => return Err(format!("{}: {each:?} is neither an array nor an object", route.sample)),
    }
    shift_times(route, &route.outer_time, &mut body, asked, now)?;
    serialise(&body)
}

fn route_is_static(route: &Route) -> bool {
    let pointers = [&route.name, &route.price, &route.count, &route.unique];
    route.each.is_none()
        && route.rows.is_empty()
        && pointers.iter().all(|list| list.is_empty())
        && route.time.formats.is_empty()
        && route.time.keys.is_empty()
}

fn per_instrument(
    route: &Route,
    pattern: &Value,
    names: &[String],
    asked: &Asked<'_>,
    now: UnixNanos,
) -> Result<Vec<Value>, String> {
    if names.is_empty() {
        let mut row = pattern.clone();
        let own = name_of(route, &row);
        animate(route, &mut row, own.as_deref(), asked, now)?;
        return Ok(vec![row]);
    }
    names
        .iter()
        .map(|name| {
            let mut row = pattern.clone();
            animate(route, &mut row, Some(name), asked, now)?;
            Ok(row)
        })
        .collect()
}

fn name_of(route: &Route, row: &Value) -> Option<String> {
    let text = row.pointer(route.name.first()?)?;
    text.as_str().map(str::to_owned)
}

/// The instruments asked for, and whether by a form that takes one bare name.
fn instruments(route: &Route, asked: &Asked<'_>, captures: &BTreeMap<String, String>) -> (Vec<String>, bool) {
    for place in &route.symbols {
        let Some((form, name)) = place.split_once(':') else { continue };
        let found = match form {
            "path" => captures.get(name).map(String::as_str),
            "path-comma" => captures.get(name).map(String::as_str),
            _ => asked.param(name),
        };
        let Some(text) = found else { continue };
        return match form {
            "query-comma" | "path-comma" => (text.split(',').map(str::to_owned).collect(), false),
            "query-json" => (serde_json::from_str(text).unwrap_or_default(), false),
            _ => (vec![text.to_owned()], true),
        };
    }
    (Vec::new(), false)
}

/// Replaces names, prices, counts, unique texts and times in one element.
fn animate(
    route: &Route,
    row: &mut Value,
    name: Option<&str>,
    asked: &Asked<'_>,
    now: UnixNanos,
) -> Result<(), String> {
    let wrong = |pointer: &str, why: &str| format!("{}: {pointer}: {why}", route.sample);
    if let Some(name) = name {
        for pointer in &route.name {
            visit(row, pointer, &mut |value| {
                *value = Value::String(name.to_owned());
                Ok(())
            })?;
        }
    }
    let walk = walk_ppm(name.unwrap_or(""), now);
    for pointer in &route.price {
        visit(row, pointer, &mut |value| walked(value, walk).map_err(|why| wrong(pointer, why)))?;
    }
    let ticks = (now.as_secs() - COUNT_EPOCH_SECS).max(0);
    for pointer in &route.count {
        let mut rows = 0_i64;
        visit(row, pointer, &mut |_| {
            rows += 1;
            Ok(())
        })?;
        visit(row, pointer, &mut |value| {
            map_decimal(value, |dec| Ok(Dec::from_parts(dec.mantissa() + i128::from(ticks * rows), 0).unwrap_or(dec)))
                .map_err(|why| wrong(pointer, why))
        })?;
    }
    let mut index = 0_u64;
    for pointer in &route.unique {
        visit(row, pointer, &mut |value| {
            if let Value::String(text) = value {
                index += 1;
                *text = numbered(text, (now.as_secs() as u64).wrapping_mul(16) + index % 16);
            }
            Ok(())
        })?;
    }
    shift_times(route, &route.time, row, asked, now)?;
    trim(route, row, asked)
}

/// Keeps as many rows as are asked for.
fn trim(route: &Route, row: &mut Value, asked: &Asked<'_>) -> Result<(), String> {
    let asked = route.limit.as_deref().and_then(|place| asked.param(place.strip_prefix("query:").unwrap_or(place)));
    let Some(limit) = asked.and_then(|limit| limit.parse::<usize>().ok()) else { return Ok(()) };
    for (pointer, end) in &route.rows {
        visit(row, pointer, &mut |value| {
            if let Value::Array(rows) = value
                && rows.len() > limit
            {
                match end {
                    End::First => rows.truncate(limit),
                    End::Last => drop(rows.drain(..rows.len() - limit)),
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn shift_times(route: &Route, time: &Times, row: &mut Value, asked: &Asked<'_>, now: UnixNanos) -> Result<(), String> {
    let zone = zone(route, time)?;
    let mut newest: Option<i64> = None;
    for (format, pointers) in &time.formats {
        for pointer in pointers {
            visit(row, pointer, &mut |value| {
                if let Some(nanos) = read_time(format, value, &zone) {
                    newest = Some(newest.map_or(nanos, |seen| seen.max(nanos)));
                }
                Ok(())
            })?;
        }
    }
    for (pointer, format) in &time.keys {
        if let Some(Value::Object(map)) = row.pointer(pointer) {
            for key in map.keys() {
                if let Some(nanos) = read_time(format, &Value::String(key.clone()), &zone) {
                    newest = Some(newest.map_or(nanos, |seen| seen.max(nanos)));
                }
            }
        }
    }
    let Some(newest) = newest else { return Ok(()) };
    let step = step_nanos(route.step.as_deref(), asked);
    let bar = route.bar.as_deref().map_or(step, |bar| step_nanos(Some(bar), asked));
    // Bars of another length stand as many lengths apart, each time as near to a boundary as it was.
    let bars = |nanos: i64| (nanos + bar / 2).div_euclid(bar);
    let off = newest - bars(newest) * bar;
    let shift = (now.as_nanos() - newest).div_euclid(step) * step;
    let moved = |nanos: i64| match bar == step {
        true => nanos.saturating_add(shift),
        false => {
            let last = (now.as_nanos() - off).div_euclid(step);
            (last - (bars(newest) - bars(nanos))) * step + nanos - bars(nanos) * bar
        }
    };
    for (format, pointers) in &time.formats {
        for pointer in pointers {
            visit(row, pointer, &mut |value| {
                if let Some(nanos) = read_time(format, value, &zone) {
                    write_time(format, value, moved(nanos), &zone);
                }
                Ok(())
            })?;
        }
    }
    for (pointer, format) in &time.keys {
        if let Some(Value::Object(map)) = row.pointer_mut(pointer) {
            let entries = std::mem::take(map).into_iter().map(|(key, value)| {
                let mut key = Value::String(key);
                if let Some(nanos) = read_time(format, &key, &zone) {
                    write_time(format, &mut key, moved(nanos), &zone);
                }
                (key.as_str().unwrap_or_default().to_owned(), value)
            });
            *map = entries.collect();
        }
    }
    Ok(())
}

/// The zone of a route's wall times.
pub(super) fn zone(route: &Route, time: &Times) -> Result<TimeZone, String> {
    match &time.zone {
        Some(name) => TimeZone::get(name).map_err(|error| format!("{}: {error}", route.sample)),
        None => Ok(TimeZone::UTC),
    }
}

/// A text whose last characters are the digits of `number`.
pub(super) fn numbered(text: &str, number: u64) -> String {
    let digits = format!("{number:012}");
    let keep = text.chars().count().saturating_sub(digits.len());
    text.chars().take(keep).chain(digits.chars()).collect()
}

/// Multiplies a price by so many millionths.
pub(super) fn walked(value: &mut Value, walk: i64) -> Result<(), &'static str> {
    map_decimal(value, |dec| {
        let moved = dec.mantissa().checked_mul(i128::from(walk)).ok_or("too many digits")? / 1_000_000;
        Dec::from_parts(moved, dec.places()).map_err(|_| "out of range")
    })
}

pub(super) fn step_nanos(step: Option<&str>, asked: &Asked<'_>) -> i64 {
    let text = match step {
        None => return 1_000_000,
        Some(step) if step.starts_with("query-seconds:") => {
            let secs = asked.param(&step["query-seconds:".len()..]).and_then(|secs| secs.parse::<i64>().ok());
            return secs.filter(|secs| (1..=31_536_000).contains(secs)).unwrap_or(60) * 1_000_000_000;
        }
        Some(step) => match step.strip_prefix("query:") {
            Some(name) => asked.param(name).unwrap_or("1m"),
            None => step,
        },
    };
    // OKX writes hours and days in capitals, and says whose day it is.
    let text = text.trim_end_matches("utc").replace('H', "h").replace('D', "d").replace('W', "w");
    let text = if text.starts_with(|c: char| c.is_ascii_digit()) { text } else { format!("1{text}") };
    // Some providers write a day as `1day` or a minute as `1min`, some as a bare count of minutes.
    let short =
        text.replace("month", "M").replace("min", "m").replace("hour", "h").replace("day", "d").replace("week", "w");
    let interval = short.parse::<Interval>().or_else(|_| format!("{short}m").parse::<Interval>());
    let length =
        interval.ok().map(|interval| interval.duration().unwrap_or(std::time::Duration::from_secs(30 * 86_400)));
    length.map_or(60_000_000_000, |length| length.as_nanos() as i64)
}

pub(super) fn read_time(format: &str, value: &Value, zone: &TimeZone) -> Option<i64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    if let Some(places) = unit_places(format) {
        return Dec::parse(text.as_bytes()).ok()?.shift(-places).ok()?.secs_to_nanos().ok();
    }
    let nanos = match format {
        "rfc3339" => text.parse::<jiff::Timestamp>().ok()?.as_nanosecond(),
        "date" => zone
            .to_timestamp(text.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight()))
            .ok()?
            .as_nanosecond(),
        pattern => match DateTime::strptime(pattern, &text) {
            Ok(wall) => zone.to_timestamp(wall).ok()?.as_nanosecond(),
            Err(_) => {
                let date = Date::strptime(pattern, &text).ok()?;
                zone.to_timestamp(date.to_datetime(jiff::civil::Time::midnight())).ok()?.as_nanosecond()
            }
        },
    };
    i64::try_from(nanos).ok()
}

pub(super) fn write_time(format: &str, value: &mut Value, nanos: i64, zone: &TimeZone) {
    if let Some(places) = unit_places(format) {
        let _ = map_decimal(value, |dec| {
            let unit_nanos = i128::from(10_i64.pow((9 - places) as u32));
            let scale = 10_i128.pow(dec.places());
            Dec::from_parts(i128::from(nanos) * scale / unit_nanos, dec.places()).map_err(|_| "out of range")
        });
        return;
    }
    let Value::String(text) = value else { return };
    let Ok(timestamp) = jiff::Timestamp::from_nanosecond(i128::from(nanos)) else { return };
    let wall = timestamp.to_zoned_datetime(zone.clone()).datetime();
    *text = match format {
        "rfc3339" => rewrite_rfc3339(text, nanos),
        "date" => wall.date().to_string(),
        pattern => wall.strftime(pattern).to_string(),
    };
}

/// Keeps separator, fractional digits and offset of the old text.
fn rewrite_rfc3339(old: &str, nanos: i64) -> String {
    let tail = old.get(19..).unwrap_or("Z");
    let digits = tail.strip_prefix('.').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let suffix = if digits > 0 { &tail[digits + 1..] } else { tail };
    let offset_secs = match (suffix.get(..1), suffix.get(1..3), suffix.get(suffix.len().saturating_sub(2)..)) {
        (Some(sign @ ("+" | "-")), Some(hours), Some(minutes)) => {
            let secs = hours.parse().unwrap_or(0) * 3_600 + minutes.parse().unwrap_or(0) * 60;
            if sign == "-" { -secs } else { secs }
        }
        _ => 0,
    };
    let local = nanos.saturating_add(offset_secs * 1_000_000_000);
    let Ok(timestamp) = jiff::Timestamp::from_nanosecond(i128::from(local)) else { return old.to_owned() };
    let wall = timestamp.to_zoned_datetime(TimeZone::UTC).datetime();
    let separator = old.get(10..11).unwrap_or("T");
    let fraction = format!("{:09}", local.rem_euclid(1_000_000_000));
    let fraction = if digits > 0 { format!(".{}", &fraction[..digits.min(9)]) } else { String::new() };
    format!("{}{separator}{}{fraction}{suffix}", wall.date(), wall.strftime("%H:%M:%S"))
}

/// How many places a unit of time moves the point of seconds.
fn unit_places(format: &str) -> Option<i32> {
    Some(match format {
        "s" => 0,
        "ms" => 3,
        "us" => 6,
        "ns" => 9,
        _ => return None,
    })
}

/// Applies `map` to a decimal, number or string, keeping its JSON type. A null stays a null.
pub(super) fn map_decimal(
    value: &mut Value,
    map: impl FnOnce(Dec) -> Result<Dec, &'static str>,
) -> Result<(), &'static str> {
    match value {
        Value::Null => Ok(()),
        Value::String(text) => {
            *text = map(text.parse::<Dec>().map_err(|_| "expected a decimal")?)?.to_string();
            Ok(())
        }
        Value::Number(number) => {
            let dec = map(number.to_string().parse::<Dec>().map_err(|_| "expected a decimal")?)?;
            *number = serde_json::from_str::<Number>(&dec.to_string()).map_err(|_| "expected a number")?;
            Ok(())
        }
        _ => Err("expected a decimal"),
    }
}

/// Calls `act` on every value a pointer names; `*` stands for every index or key. A pointer that names nothing is an
/// error only when it has no `*`: samples may have empty lists.
pub(super) fn visit(
    value: &mut Value,
    pointer: &str,
    act: &mut dyn FnMut(&mut Value) -> Result<(), String>,
) -> Result<(), String> {
    let Some(rest) = pointer.strip_prefix('/') else {
        return if pointer.is_empty() { act(value) } else { Err(format!("{pointer}: a pointer begins with a slash")) };
    };
    let (segment, rest) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    if segment == "*" {
        match value {
            Value::Array(rows) => rows.iter_mut().try_for_each(|row| visit(row, rest, act)),
            Value::Object(map) => map.iter_mut().try_for_each(|(_, row)| visit(row, rest, act)),
            _ => Ok(()),
        }
    } else {
        let key = segment.replace("~1", "/").replace("~0", "~");
        let next = match value {
            Value::Array(rows) => key.parse::<usize>().ok().and_then(|index| rows.get_mut(index)),
            Value::Object(map) => map.get_mut(&key),
            _ => None,
        };
        next.map_or(Ok(()), |next| visit(next, rest, act))
    }
}

/// A smooth, deterministic walk around one, in millionths: within 1 %, another for each instrument.
pub(super) fn walk_ppm(name: &str, now: UnixNanos) -> i64 {
    let seed = name.bytes().fold(17_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let phase = (seed % 628) as f64 / 100.0;
    let secs = (now.as_nanos() / 1_000_000) as f64 / 1_000.0;
    let wave = (secs / 37.0 + phase).sin() * 0.007 + (secs / 3.1 + phase * 2.0).sin() * 0.003;
    ((1.0 + wave) * 1_000_000.0) as i64
}

fn serialise(body: &Value) -> Result<Vec<u8>, String> {
    serde_json::to_vec(body).map_err(|error| error.to_string())
}

/// 2024-01-01T00:00:00Z.
pub(super) const COUNT_EPOCH_SECS: i64 = 1_704_067_200;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(route: &str, sample: &str, query: &[(&str, &str)], expected: &str) {
        let route: Route = toml::from_str(&format!("path = \"/x\"\nsample = \"s\"\n{route}")).unwrap();
        let params = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let asked = Asked { base: "api", method: "GET", path: "/x", params };
        let now = UnixNanos::from_secs(COUNT_EPOCH_SECS + 100).unwrap();
        let found = render(&route, sample, &asked, &BTreeMap::new(), now).unwrap();
        assert_eq!(String::from_utf8(found).unwrap(), expected);
    }

    #[test]
    fn one_name_gives_an_object_and_several_a_list() {
        let route = "symbols = [\"query-json:symbols\", \"query:symbol\"]\neach = \"\"\nsingle = true\nname = [\"/s\"]";
        check(route, r#"{"s":"A"}"#, &[("symbol", "B")], r#"{"s":"B"}"#);
        check(route, r#"{"s":"A"}"#, &[("symbols", r#"["B","C"]"#)], r#"[{"s":"B"},{"s":"C"}]"#);
        check(route, r#"[{"s":"A"}]"#, &[("symbols", r#"["B","C"]"#)], r#"[{"s":"B"},{"s":"C"}]"#);
        let keyed = "symbols = [\"query-comma:ids\"]\neach = \"/r\"";
        check(keyed, r#"{"r":{"A":{"p":1}}}"#, &[("ids", "B,C")], r#"{"r":{"B":{"p":1},"C":{"p":1}}}"#);
    }

    #[test]
    fn times_move_together_by_whole_steps() {
        let newest = COUNT_EPOCH_SECS - 60;
        let sample = format!(r#"[["{}000",{}.25],["{newest}000",{newest}.25]]"#, newest - 60, newest - 60);
        let route = "step = \"1m\"\n[time]\nms = [\"/*/0\"]\ns = [\"/*/1\"]";
        let moved = COUNT_EPOCH_SECS + 60;
        let expected = format!(r#"[["{}000",{}.25],["{moved}000",{moved}.25]]"#, moved - 60, moved - 60);
        check(route, &sample, &[], &expected);
    }

    #[test]
    fn bars_are_as_long_as_asked_for_and_as_many() {
        let newest = COUNT_EPOCH_SECS - 60;
        let sample = format!("[[{},{}],[{},{}]]", newest - 120, newest - 61, newest - 60, newest - 1);
        let route = "step = \"query:interval\"\nbar = \"1m\"\nlimit = \"query:limit\"\nrows = { \"\" = \"last\" }\n[time]\ns = [\"/*/0\", \"/*/1\"]";
        // Now is 100 s into the hour: the last bar that is over ended with it.
        let hour =
            |back: i64| format!("[{},{}]", COUNT_EPOCH_SECS - 3_600 * back, COUNT_EPOCH_SECS - 3_600 * (back - 1) - 1);
        check(route, &sample, &[("interval", "1h")], &format!("[{},{}]", hour(2), hour(1)));
        check(route, &sample, &[("interval", "1H"), ("limit", "1")], &format!("[{}]", hour(1)));
        check(route, &sample, &[("interval", "60"), ("limit", "9")], &format!("[{},{}]", hour(2), hour(1)));
        let seconds = route.replace("query:interval", "query-seconds:interval");
        check(&seconds, &sample, &[("interval", "3600"), ("limit", "1")], &format!("[{}]", hour(1)));
    }

    #[test]
    fn texts_keep_their_form() {
        check(
            "[time]\nrfc3339 = [\"/t\"]",
            r#"{"t":"2020-01-01T00:00:00.000Z"}"#,
            &[],
            r#"{"t":"2024-01-01T00:01:40.000Z"}"#,
        );
        check(
            "[time]\nrfc3339 = [\"/t\"]",
            r#"{"t":"2020-01-01 00:00:00-05:00"}"#,
            &[],
            r#"{"t":"2023-12-31 19:01:40-05:00"}"#,
        );
        let keys = "step = \"1d\"\n[time]\nkeys = { \"/d\" = \"%Y-%m-%d\" }";
        check(keys, r#"{"d":{"2020-01-02":1,"2020-01-01":2}}"#, &[], r#"{"d":{"2024-01-01":1,"2023-12-31":2}}"#);
        let outer = "symbols = [\"query-comma:s\"]\neach = \"/r\"\nstep = \"1d\"\n[outer_time]\ndate = [\"/d\"]";
        check(outer, r#"{"d":"2020-01-02","r":{"A":1}}"#, &[("s", "B")], r#"{"d":"2024-01-01","r":{"B":1}}"#);
        check("count = [\"/*/i\"]", r#"[{"i":"5"},{"i":6}]"#, &[], r#"[{"i":"205"},{"i":206}]"#);
    }
}
