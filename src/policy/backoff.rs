//! How long to wait before the next attempt: exponential with full jitter, or what the provider asked for.
//! Owns no randomness: the caller passes a uniformly distributed number.

use std::time::Duration;

/// Exponential backoff with full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The span of the first delay.
    pub base: Duration,
    /// No span grows beyond this. A provider's Retry-After may.
    pub cap: Duration,
}

impl Backoff {
    /// The delay before attempt number `retry` (1 for the first retry), or `None` when it would not end before the
    /// deadline, of which `left` remains.
    ///
    /// Without a Retry-After the delay is uniform between zero and `base · 2^(retry-1)`, at most `cap`. With one it is
    /// that long plus up to `base`, whatever the cap: the provider knows better, and callers told the same moment
    /// should not all return at it.
    pub fn delay(&self, retry: u32, retry_after: Option<Duration>, left: Duration, random: u64) -> Option<Duration> {
        let delay = match retry_after {
            Some(after) => after.saturating_add(scale(self.base, random)),
            None => scale(self.span(retry), random),
        };
        (delay < left).then_some(delay)
    }

    /// The longest delay before attempt number `retry`.
    pub fn span(&self, retry: u32) -> Duration {
        let doublings = retry.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { base: Duration::from_millis(200), cap: Duration::from_secs(20) }
    }
}

/// `random` as a share of `span`.
fn scale(span: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(((u128::from(nanos) * u128::from(random)) >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_double_up_to_the_cap() {
        let backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1) };
        let spans: Vec<u128> = (0..7).map(|retry| backoff.span(retry).as_millis()).collect();
        assert_eq!(spans, [100, 100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(backoff.span(u32::MAX), backoff.cap);
    }

    #[test]
    fn jitter_covers_the_whole_span() {
        let backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1) };
        let at = |random| backoff.delay(2, None, Duration::from_secs(9), random).unwrap();
        assert_eq!(at(0), Duration::ZERO);
        assert_eq!(at(1 << 63), Duration::from_millis(100));
        assert!(at(u64::MAX) > Duration::from_micros(199_999) && at(u64::MAX) < Duration::from_millis(200));
    }

    #[test]
    fn a_retry_after_beyond_the_cap_is_honoured_only_within_the_deadline() {
        let backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1) };
        let after = Some(Duration::from_secs(30));
        assert_eq!(backoff.delay(1, after, Duration::from_secs(31), 0), after);
        assert_eq!(backoff.delay(1, after, Duration::from_secs(30), 0), None);
        assert_eq!(backoff.delay(1, Some(Duration::MAX), Duration::MAX, u64::MAX), None);
    }

    proptest! {
        #[test]
        fn delays_stay_in_bounds(
            base in 0u64..10_000_000_000, cap in 0u64..100_000_000_000, retry: u32, random: u64,
            after in proptest::option::of(0u64..1_000_000_000_000), left in 0u64..1_000_000_000_000,
        ) {
            let backoff = Backoff { base: Duration::from_nanos(base), cap: Duration::from_nanos(cap) };
            let left = Duration::from_nanos(left);
            if let Some(delay) = backoff.delay(retry, after.map(Duration::from_nanos), left, random) {
                prop_assert!(delay < left);
                match after {
                    Some(after) => {
                        prop_assert!(delay >= Duration::from_nanos(after));
                        prop_assert!(delay <= Duration::from_nanos(after + base));
                    }
                    None => prop_assert!(delay <= backoff.cap && delay <= backoff.span(retry)),
                }
            }
        }
    }
}
