//! When a poll is due: aligned to the wall clock, offset per poll so that polls of one length do not burst together.
//! Pure: the clock and randomness are arguments.

use std::time::Duration;

use crate::time::UnixNanos;

/// The times of one poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timetable {
    every_nanos: i64,
    offset_nanos: i64,
}

impl Timetable {
    /// Due every `every`, `offset` after each multiple of it on the wall clock.
    pub fn new(every: Duration, offset: Duration) -> Self {
        let every_nanos = i64::try_from(every.as_nanos()).unwrap_or(i64::MAX).max(1);
        let offset_nanos = i64::try_from(offset.as_nanos()).unwrap_or(0) % every_nanos;
        Timetable { every_nanos, offset_nanos }
    }

    /// An offset within `every` that differs from poll to poll and stays over restarts: by the poll's name.
    pub fn spread(every: Duration, name: &str) -> Duration {
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let nanos = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos((hash >> 11) % nanos)
    }

    /// The first due time after `now`.
    pub fn next(&self, now: UnixNanos) -> UnixNanos {
        let since = now.as_nanos().saturating_sub(self.offset_nanos);
        let passed = since.div_euclid(self.every_nanos);
        let next = passed.saturating_add(1).saturating_mul(self.every_nanos).saturating_add(self.offset_nanos);
        UnixNanos::from_nanos(next)
    }

    /// How many due times lie after `from` and not after `to`: polls to be counted as skipped.
    pub fn between(&self, from: UnixNanos, to: UnixNanos) -> u64 {
        let index = |at: UnixNanos| at.as_nanos().saturating_sub(self.offset_nanos).div_euclid(self.every_nanos);
        u64::try_from(index(to) - index(from)).unwrap_or(0)
    }

    /// A delay within a twentieth of the interval and 250 ms, by which each poll is moved: `random` is in 0..1.
    pub fn jitter(&self, random: f64) -> Duration {
        let most = (self.every_nanos as f64 / 20.0).min(250e6);
        Duration::from_nanos((most * random.clamp(0.0, 1.0)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_are_aligned_and_strictly_later() {
        let table = Timetable::new(Duration::from_secs(10), Duration::from_secs(3));
        let check = |now: i64, next: i64| {
            let found = table.next(UnixNanos::from_secs(now).unwrap());
            assert_eq!(found.as_secs(), next, "after {now}");
        };
        check(0, 3);
        check(3, 13);
        check(12, 13);
        check(13, 23);
        check(-20, -17);
    }

    #[test]
    fn skipped_polls_are_counted() {
        let table = Timetable::new(Duration::from_secs(10), Duration::from_secs(3));
        let at = |secs| UnixNanos::from_secs(secs).unwrap();
        assert_eq!(table.between(at(3), at(12)), 0);
        assert_eq!(table.between(at(3), at(13)), 1);
        assert_eq!(table.between(at(3), at(44)), 4);
        assert_eq!(table.between(at(44), at(3)), 0);
    }

    #[test]
    fn offsets_spread_within_the_interval() {
        let every = Duration::from_secs(60);
        let (a, b) = (Timetable::spread(every, "binance ticker"), Timetable::spread(every, "kraken ticker"));
        assert!(a < every && b < every && a != b);
        assert_eq!(a, Timetable::spread(every, "binance ticker"));
        let table = Timetable::new(every, a);
        assert_eq!(table.jitter(1.0), Duration::from_millis(250));
        assert_eq!(Timetable::new(Duration::from_secs(1), a).jitter(1.0), Duration::from_millis(50));
    }
}
