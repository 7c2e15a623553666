//! Providers' times into nanoseconds: integers in several units, decimals in seconds, ISO texts, zone-local wall times.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::model::{Dec, Judgement};
use crate::time::UnixNanos;

/// Milliseconds since the epoch.
///
/// # Errors
/// `malformed`, naming `field`, beyond the range.
pub fn millis(field: &str, value: i64) -> Result<UnixNanos, Judgement> {
    UnixNanos::from_millis(value).ok_or_else(|| out_of_range(field, value))
}

/// Whole seconds since the epoch.
///
/// # Errors
/// `malformed`, naming `field`, beyond the range.
pub fn secs(field: &str, value: i64) -> Result<UnixNanos, Judgement> {
    UnixNanos::from_secs(value).ok_or_else(|| out_of_range(field, value))
}

/// Seconds since the epoch as a decimal: `1385579841.7774` becomes exactly that many nanoseconds.
///
/// # Errors
/// `malformed`, naming `field`, when it does not fit nanoseconds exactly.
pub fn decimal_secs(field: &str, value: Dec) -> Result<UnixNanos, Judgement> {
    value.secs_to_nanos().map(UnixNanos::from_nanos).map_err(|_| out_of_range(field, value))
}

/// An RFC 3339 time with its offset: `2024-11-01T06:01:36.000Z`, `2021-03-04T05:06:07+01:00`.
///
/// # Errors
/// `malformed`, naming `field`.
pub fn rfc3339(field: &str, text: &str) -> Result<UnixNanos, Judgement> {
    let timestamp: jiff::Timestamp = text.parse().map_err(|_| unreadable(field, "a time with its offset", text))?;
    timestamp_nanos(field, timestamp)
}

/// A wall time in `zone` without an offset: `2024-11-01 15:59:00` or with a `T`; a date alone is its midnight. A wall
/// time that occurs twice (end of summer time) is the earlier one; one that does not exist is moved forward.
///
/// # Errors
/// `malformed`, naming `field`.
pub fn local(field: &str, text: &str, zone: &TimeZone) -> Result<UnixNanos, Judgement> {
    let expected = "a date or a wall time";
    let wall = match text.parse::<DateTime>() {
        Ok(wall) => wall,
        Err(_) => text
            .parse::<Date>()
            .map_err(|_| unreadable(field, expected, text))?
            .to_datetime(jiff::civil::Time::midnight()),
    };
    let timestamp = zone.to_timestamp(wall).map_err(|_| unreadable(field, expected, text))?;
    timestamp_nanos(field, timestamp)
}

/// A wall time in UTC by a `strptime` pattern: `%Y%m%dT%H%M%SZ`.
///
/// # Errors
/// `malformed`, naming `field`.
pub fn pattern(field: &str, text: &str, pattern: &str) -> Result<UnixNanos, Judgement> {
    let wall = DateTime::strptime(pattern, text).map_err(|_| unreadable(field, pattern, text))?;
    let timestamp = TimeZone::UTC.to_timestamp(wall).map_err(|_| unreadable(field, pattern, text))?;
    timestamp_nanos(field, timestamp)
}

/// The zone of an IANA name from the bundled database, such as `America/New_York`.
///
/// # Errors
/// `malformed`, naming `field`, when there is no such zone.
pub fn zone(field: &str, name: &str) -> Result<TimeZone, Judgement> {
    // Asia/Calcutta and the like are kept as links; `US/Eastern` is one of them.
    TimeZone::get(name).map_err(|_| unreadable(field, "the name of a time zone", name))
}

/// The calendar date of `at` in UTC: `2024-11-01`.
pub fn date(at: UnixNanos) -> String {
    let timestamp = jiff::Timestamp::from_nanosecond(i128::from(at.as_nanos())).unwrap_or_default();
    timestamp.to_zoned_datetime(TimeZone::UTC).date().to_string()
}

/// `at` in UTC by a `strftime` pattern: `%Y%m%d%H%M%S`.
pub fn stamp(at: UnixNanos, pattern: &str) -> String {
    let timestamp = jiff::Timestamp::from_nanosecond(i128::from(at.as_nanos())).unwrap_or_default();
    timestamp.strftime(pattern).to_string()
}

/// The end of a bar that starts at `start`: the start plus the interval's length; a month later for months.
pub fn bar_end(start: UnixNanos, interval: crate::model::Interval) -> Option<UnixNanos> {
    if let Some(length) = interval.duration() {
        return Some(start.saturating_add(length));
    }
    let timestamp = jiff::Timestamp::from_nanosecond(i128::from(start.as_nanos())).ok()?;
    let months = jiff::Span::new().try_months(i64::from(interval.count())).ok()?;
    let end = timestamp.to_zoned_datetime(TimeZone::UTC).checked_add(months).ok()?.timestamp();
    i64::try_from(end.as_nanosecond()).ok().map(UnixNanos::from_nanos)
}

/// The interval of a bar from `start` to `end`, where its length names one; a span of 28 to 31 days is a month.
pub fn interval_between(start: UnixNanos, end: UnixNanos) -> Option<crate::model::Interval> {
    let secs = end.since(start).as_secs();
    if (28 * 86_400..=31 * 86_400).contains(&secs) && secs.is_multiple_of(86_400) {
        return Some(crate::model::Interval::MONTH);
    }
    crate::model::Interval::from_secs(secs)
}

fn timestamp_nanos(field: &str, timestamp: jiff::Timestamp) -> Result<UnixNanos, Judgement> {
    let nanos = timestamp.as_nanosecond();
    i64::try_from(nanos).map(UnixNanos::from_nanos).map_err(|_| out_of_range(field, nanos))
}

fn out_of_range(field: &str, value: impl std::fmt::Display) -> Judgement {
    Judgement::malformed(format!("{field}: expected a time between 1677 and 2262 in whole nanoseconds, found {value}"))
}

fn unreadable(field: &str, expected: &str, found: &str) -> Judgement {
    let shown: String = found.chars().take(40).collect();
    Judgement::malformed(format!("{field}: expected {expected}, found {shown:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_times_are_read_in_their_zone() {
        let new_york = zone("tz", "America/New_York").unwrap();
        let check = |text: &str, secs| assert_eq!(local("t", text, &new_york).unwrap().as_secs(), secs, "{text}");
        check("2020-02-14 16:00:00", 1_581_714_000);
        check("2020-07-14", 1_594_699_200);
        assert!(local("t", "yesterday", &new_york).unwrap_err().message.starts_with("t: expected"));
        assert!(zone("tz", "Mars/Olympus").is_err());
        assert!(zone("tz", "US/Eastern").is_ok());
    }

    #[test]
    fn stamps_are_in_utc() {
        let at = UnixNanos::from_secs(1_704_164_645).unwrap();
        assert_eq!(stamp(at, "%Y%m%d%H%M%S"), "20240102030405");
        assert_eq!(date(at), "2024-01-02");
    }

    #[test]
    fn patterns_and_offsets() {
        assert_eq!(pattern("t", "20240102T030405Z", "%Y%m%dT%H%M%SZ").unwrap().as_secs(), 1_704_164_645);
        assert_eq!(rfc3339("t", "1970-01-01T01:00:00.5+01:00").unwrap().as_millis(), 500);
        assert!(rfc3339("t", "9999-01-01T00:00:00Z").is_err());
    }
}
