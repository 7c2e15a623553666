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

/// The RFC 3339 form in UTC, whole seconds: `2024-11-01T06:01:36Z`.
pub fn iso(at: UnixNanos) -> String {
    jiff::Timestamp::from_second(at.as_secs()).unwrap_or_default().to_string()
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

/// Where a bar ends, whether it is over, and which time its record bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarSpan {
    /// First moment after the bar, when its length is known.
    pub end: Option<UnixNanos>,
    /// Whether it is over, when anything tells.
    pub closed: Option<bool>,
    /// Its end when closed, else its start.
    pub ts_event: UnixNanos,
}

/// The span of a bar that starts at `start`. `told` is what the provider says of its being over; without it the time of
/// receipt decides, where the length is known.
pub fn bar_span(
    start: UnixNanos,
    interval: Option<crate::model::Interval>,
    told: Option<bool>,
    ts_recv: UnixNanos,
) -> BarSpan {
    let end = interval.and_then(|interval| bar_end(start, interval));
    let closed = told.or_else(|| end.map(|end| end <= ts_recv));
    let ts_event = end.filter(|_| closed == Some(true)).unwrap_or(start);
    BarSpan { end, closed, ts_event }
}

/// The first moment of the week (from Monday) or calendar month in `zone` that `at` lies in, for providers that name such
/// bars by their last day; `at` itself for other intervals.
///
/// # Errors
/// `malformed`, naming `field`, when there is no such moment.
pub fn period_start(
    field: &str,
    at: UnixNanos,
    interval: Option<crate::model::Interval>,
    zone: &TimeZone,
) -> Result<UnixNanos, Judgement> {
    use crate::model::Interval;
    let wall = jiff::Timestamp::from_nanosecond(i128::from(at.as_nanos()))
        .map_err(|_| out_of_range(field, at.as_nanos()))?
        .to_zoned_datetime(zone.clone())
        .date();
    let first = match interval {
        Some(Interval::WEEK) => {
            let days = i64::from(wall.weekday().to_monday_zero_offset());
            wall.checked_sub(jiff::Span::new().days(days)).map_err(|_| out_of_range(field, wall))?
        }
        Some(Interval::MONTH) => wall.first_of_month(),
        _ => return Ok(at),
    };
    let start =
        zone.to_timestamp(first.to_datetime(jiff::civil::Time::midnight())).map_err(|_| out_of_range(field, wall))?;
    timestamp_nanos(field, start)
}

/// The time from `at` to the next midnight in `zone`: when daily quotas start again. A whole day beyond the calendar.
pub fn until_midnight(at: UnixNanos, zone: &TimeZone) -> std::time::Duration {
    let day = std::time::Duration::from_secs(86_400);
    let Ok(timestamp) = jiff::Timestamp::from_nanosecond(i128::from(at.as_nanos())) else { return day };
    let Ok(tomorrow) = timestamp.to_zoned_datetime(zone.clone()).date().tomorrow() else { return day };
    let Ok(midnight) = zone.to_timestamp(tomorrow.to_datetime(jiff::civil::Time::midnight())) else { return day };
    let left = midnight.as_nanosecond() - i128::from(at.as_nanos());
    u64::try_from(left).map_or(day, std::time::Duration::from_nanos)
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
    fn weeks_and_months_have_a_first_day() {
        use crate::model::Interval;
        let check = |interval, expected: &str| {
            let at = local("t", "2026-01-07", &TimeZone::UTC).unwrap();
            assert_eq!(date(period_start("t", at, interval, &TimeZone::UTC).unwrap()), expected);
        };
        check(Some(Interval::WEEK), "2026-01-05");
        check(Some(Interval::MONTH), "2026-01-01");
        check(Some(Interval::DAY), "2026-01-07");
        check(None, "2026-01-07");
    }

    #[test]
    fn midnight_is_the_zones() {
        let new_york = zone("tz", "America/New_York").unwrap();
        let at = rfc3339("t", "2026-01-02T03:04:05Z").unwrap();
        assert_eq!(until_midnight(at, &new_york).as_secs(), 6_955);
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
        assert_eq!(iso(UnixNanos::from_millis(1_704_164_645_900).unwrap()), "2024-01-02T03:04:05Z");
        assert!(rfc3339("t", "9999-01-01T00:00:00Z").is_err());
    }

    #[test]
    fn a_bar_bears_its_end_once_it_is_over() {
        let at = |secs| UnixNanos::from_secs(secs).unwrap();
        let minute = Some(crate::model::Interval::MINUTE);
        let check = |interval, told, recv, end: Option<i64>, closed, event| {
            let expected = BarSpan { end: end.map(at), closed, ts_event: at(event) };
            assert_eq!(bar_span(at(0), interval, told, at(recv)), expected);
        };
        check(minute, None, 60, Some(60), Some(true), 60);
        check(minute, None, 59, Some(60), Some(false), 0);
        check(minute, Some(false), 99, Some(60), Some(false), 0);
        check(None, None, 99, None, None, 0);
        check(None, Some(true), 99, None, Some(true), 0);
    }
}
