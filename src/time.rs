//! Times and clocks: wall time as integer nanoseconds, monotonic time for intervals, deadlines.
//! Owns the only reads of the clock outside tests; policies take [`Now`] as an argument instead of asking.
//! Invariant: no value here passes through floating point.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::LazyLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A point in time: nanoseconds since 1970-01-01T00:00:00Z. Covers the years 1677 to 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixNanos(i64);

impl UnixNanos {
    /// The start of 1970.
    pub const EPOCH: UnixNanos = UnixNanos(0);

    /// Wraps nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        UnixNanos(nanos)
    }

    /// Converts microseconds since the epoch; `None` beyond the range.
    pub const fn from_micros(micros: i64) -> Option<Self> {
        match micros.checked_mul(1_000) {
            Some(nanos) => Some(UnixNanos(nanos)),
            None => None,
        }
    }

    /// Converts milliseconds since the epoch; `None` beyond the range.
    pub const fn from_millis(millis: i64) -> Option<Self> {
        match millis.checked_mul(1_000_000) {
            Some(nanos) => Some(UnixNanos(nanos)),
            None => None,
        }
    }

    /// Converts seconds since the epoch; `None` beyond the range.
    pub const fn from_secs(secs: i64) -> Option<Self> {
        match secs.checked_mul(1_000_000_000) {
            Some(nanos) => Some(UnixNanos(nanos)),
            None => None,
        }
    }

    /// Reads the system's wall clock.
    pub fn now() -> Self {
        UnixNanos(nanos(ClockId::Realtime))
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the epoch, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    pub const fn since(self, earlier: UnixNanos) -> Duration {
        let nanos = self.0.saturating_sub(earlier.0);
        Duration::from_nanos(if nanos < 0 { 0 } else { nanos as u64 })
    }

    /// Adds a duration, stopping at the end of the range.
    pub fn saturating_add(self, duration: Duration) -> Self {
        UnixNanos(self.0.saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Subtracts a duration, stopping at the start of the range.
    pub fn saturating_sub(self, duration: Duration) -> Self {
        UnixNanos(self.0.saturating_sub(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for UnixNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "{}ns", self.0),
        }
    }
}

/// A point on the monotonic clock: nanoseconds since the process first asked. Never steps back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(u64);

impl Mono {
    /// Wraps nanoseconds since the process's reference point.
    pub const fn from_nanos(nanos: u64) -> Self {
        Mono(nanos)
    }

    /// Reads the monotonic clock.
    pub fn now() -> Self {
        // Before the clock is read, or the first moment would lie before it.
        let reference = *REFERENCE;
        Mono(nanos(ClockId::Monotonic).wrapping_sub(reference) as u64)
    }

    /// Nanoseconds since the process's reference point.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    pub const fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, duration: Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Mono {
    type Output = Mono;
    fn sub(self, duration: Duration) -> Mono {
        Mono(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Both clocks, read together: what every policy takes as its first argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Wall time, for windows that providers align to their clock.
    pub wall: UnixNanos,
    /// Monotonic time, for intervals.
    pub mono: Mono,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Self {
        Now { wall: UnixNanos::now(), mono: Mono::now() }
    }

    /// Both clocks moved forward alike, for tests and for looking ahead.
    pub fn after(self, duration: Duration) -> Self {
        Now { wall: self.wall.saturating_add(duration), mono: self.mono + duration }
    }
}

/// The moment by which something has to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Mono);

impl Deadline {
    /// A deadline `after` from `now`.
    pub fn after(now: Mono, after: Duration) -> Self {
        Deadline(now + after)
    }

    /// The moment itself.
    pub const fn at(self) -> Mono {
        self.0
    }

    /// What is left; zero when it has passed.
    pub const fn left(self, now: Mono) -> Duration {
        self.0.since(now)
    }

    /// Whether the moment has come.
    pub fn passed(self, now: Mono) -> bool {
        now >= self.0
    }
}

/// The standard library's clocks say the same in seconds and nanoseconds apart, at the price of another clock read.
fn nanos(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec.wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec)
}

static REFERENCE: LazyLock<i64> = LazyLock::new(|| nanos(ClockId::Monotonic));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_refuse_what_does_not_fit() {
        assert_eq!(UnixNanos::from_millis(1_700_000_000_123), Some(UnixNanos(1_700_000_000_123_000_000)));
        assert_eq!(UnixNanos::from_secs(i64::MAX), None);
        assert_eq!(UnixNanos::from_millis(i64::MIN), None);
        assert_eq!(UnixNanos(-1).as_millis(), -1);
    }

    #[test]
    fn deadlines_count_down_to_zero() {
        let start = Mono(1_000);
        let deadline = Deadline::after(start, Duration::from_nanos(10));
        assert_eq!(deadline.left(Mono(1_004)), Duration::from_nanos(6));
        assert_eq!(deadline.left(Mono(2_000)), Duration::ZERO);
        assert!(!deadline.passed(Mono(1_009)));
        assert!(deadline.passed(Mono(1_010)));
    }
}
