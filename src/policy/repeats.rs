//! How often the same thing may be said: at most so many times an interval, and how often it was held back is told
//! afterwards. Pure: the time is an argument, what was said is a key. Owns no output.
//! Invariants: what is said is said at least once; each saying is let pass or counted; memory is bounded, and beyond the
//! bound everything passes.

use std::collections::HashMap;
use std::time::Duration;

use crate::time::Mono;

/// Counts repeats by key. `T` describes what was said, for the line about those held back.
#[derive(Debug)]
pub struct Repeats<T> {
    max: u32,
    interval: Duration,
    said: HashMap<u64, Said<T>>,
}

#[derive(Debug)]
struct Said<T> {
    since: Mono,
    passed: u32,
    held: u64,
    what: T,
}

impl<T> Repeats<T> {
    /// At most `max` times per `interval`; zero is no limit.
    pub fn new(max: u32, interval: Duration) -> Self {
        Repeats { max, interval, said: HashMap::new() }
    }

    /// Whether it may be said now. An interval begins with the first saying; the next one begins after the count of those
    /// held back has been taken by [`Repeats::over`].
    pub fn admit(&mut self, key: u64, now: Mono, what: impl FnOnce() -> T) -> bool {
        if self.max == 0 {
            return true;
        }
        if let Some(said) = self.said.get_mut(&key) {
            if said.held == 0 && now.since(said.since) >= self.interval {
                (said.since, said.passed) = (now, 0);
            }
            let may = said.passed < self.max;
            said.passed += u32::from(may);
            said.held += u64::from(!may);
            return may;
        }
        if self.said.len() >= KEYS_MAX {
            let interval = self.interval;
            self.said.retain(|_, said| said.held > 0 || now.since(said.since) < interval);
        }
        if self.said.len() < KEYS_MAX {
            self.said.insert(key, Said { since: now, passed: 1, held: 0, what: what() });
        }
        true
    }

    /// What was held back in intervals that are over, with how often.
    pub fn over(&mut self, now: Mono) -> Vec<(T, u64)> {
        let interval = self.interval;
        self.take(|said| now.since(said.since) >= interval)
    }

    /// What has been held back so far, with how often: for the end.
    pub fn rest(&mut self) -> Vec<(T, u64)> {
        self.take(|_| true)
    }

    fn take(&mut self, is_over: impl Fn(&Said<T>) -> bool) -> Vec<(T, u64)> {
        let keys: Vec<u64> =
            self.said.iter().filter(|(_, said)| said.held > 0 && is_over(said)).map(|(key, _)| *key).collect();
        keys.into_iter().filter_map(|key| self.said.remove(&key)).map(|said| (said.what, said.held)).collect()
    }
}

/// Different things said within one interval: far more than a healthy engine says.
const KEYS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Mono {
        Mono::from_nanos(secs * 1_000_000_000)
    }

    #[test]
    fn repeats_are_held_back_and_counted() {
        let mut repeats = Repeats::new(2, Duration::from_secs(10));
        let said: Vec<bool> = (0..5).map(|second| repeats.admit(1, at(second), || "a")).collect();
        assert_eq!(said, [true, true, false, false, false]);
        assert!(repeats.admit(2, at(5), || "b"), "another thing has its own count");
        assert!(repeats.over(at(9)).is_empty());
        assert_eq!(repeats.over(at(10)), [("a", 3)]);
        assert!(repeats.over(at(30)).is_empty());
        assert!(repeats.admit(1, at(30), || "a"), "a new interval has begun");
    }

    #[test]
    fn what_is_said_rarely_always_passes() {
        let mut repeats = Repeats::new(1, Duration::from_secs(10));
        assert!((0..5).all(|round| repeats.admit(1, at(round * 10), || ())));
        assert!(repeats.rest().is_empty());
    }

    #[test]
    fn the_rest_is_told_at_the_end() {
        let mut repeats = Repeats::new(1, Duration::from_secs(10));
        (0..3).for_each(|_| {
            repeats.admit(1, at(0), || "a");
        });
        assert_eq!(repeats.rest(), [("a", 2)]);
    }

    #[test]
    fn memory_is_bounded_and_then_everything_passes() {
        let mut repeats = Repeats::new(1, Duration::from_secs(10));
        for key in 0..2 * KEYS_MAX as u64 {
            assert!(repeats.admit(key, at(0), || ()));
        }
        assert_eq!(repeats.said.len(), KEYS_MAX);
        assert!(repeats.admit(u64::MAX, at(0), || ()) && repeats.admit(u64::MAX, at(0), || ()));
        assert!(repeats.admit(u64::MAX, at(20), || ()) && !repeats.admit(u64::MAX, at(20), || ()));
    }

    #[test]
    fn zero_is_no_limit() {
        let mut repeats = Repeats::new(0, Duration::from_secs(10));
        assert!((0..100).all(|_| repeats.admit(1, at(0), || ())));
    }
}
