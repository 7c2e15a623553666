//! The arithmetic of quota windows, each on one 64-bit word, so that a lock-free cell can hold it; long rolling windows
//! are in `sliding.rs`.
//! Owns no state and no atomics: every function takes a word and returns the next one. Times in words are monotonic;
//! wall time enters only where a fixed window is opened, so a clock step can neither refill nor stall a window.
//! Invariants: a fixed window grants at most its limit before its end, and its ends are at least 7/8 of its length
//! apart; a rolling window grants at most its limit in any span of its length.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sliding::Sliding;
use crate::time::{Mono, Now, UnixNanos};

/// One limit of a provider: so much weight per so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    /// The bucket it counts; `""` counts every request to the provider.
    pub bucket: &'static str,
    /// Weight at most.
    pub limit: u32,
    /// Per this time; ignored for [`WindowShape::Concurrency`].
    pub per: Duration,
    /// How the time runs.
    pub shape: WindowShape,
}

/// How a window's time runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowShape {
    /// Requests in flight at once, whatever the time.
    Concurrency,
    /// Starts anew at each multiple of its length on the provider's clock.
    Fixed,
    /// Slides with the time.
    Rolling,
}

impl WindowShape {
    /// The shape's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            WindowShape::Concurrency => "concurrency",
            WindowShape::Fixed => "fixed",
            WindowShape::Rolling => "rolling",
        }
    }
}

/// Why a request has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The provider has shut us out.
    Banned,
    /// As many requests are in flight as are allowed.
    Concurrency,
    /// The provider asked for a pause.
    RetryAfter,
    /// The request weighs more than the window ever holds.
    TooHeavy,
    /// A window is used up.
    Window,
}

impl Cause {
    /// The cause's word in metrics and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::Banned => "banned",
            Cause::Concurrency => "concurrency",
            Cause::RetryAfter => "retry_after",
            Cause::TooHeavy => "too_heavy",
            Cause::Window => "window",
        }
    }
}

/// A refusal that says when to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The moment from which asking again can help; `None` when time does not help: at a concurrency limit one waits
    /// for a release, and a request that is too heavy never passes.
    pub until: Option<Mono>,
    /// Why.
    pub cause: Cause,
}

impl Wait {
    /// How long to wait from `now`; `None` when time does not help.
    pub fn after(&self, now: Now) -> Option<Duration> {
        self.until.map(|until| until.since(now.mono))
    }
}

/// A window's state as it is kept between runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedWindow {
    /// The bucket it counts.
    pub bucket: String,
    /// How its time runs.
    pub shape: WindowShape,
    /// Its length.
    pub per_ms: u64,
    /// Weight it allows, after the margin.
    pub limit: u32,
    /// Weight used.
    pub used: u32,
    /// The end of the fixed window, or the moment a rolling one is empty again.
    pub until: UnixNanos,
    /// Of a long rolling window: what was taken when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<(UnixNanos, u32)>,
}

/// A window with its constants worked out.
#[derive(Clone, Debug)]
pub struct Window {
    spec: WindowSpec,
    limit: u32,
    per: u64,
    /// Rolling: nanoseconds that one unit of weight takes to flow off.
    interval: u64,
    /// Rolling: weight that may come at once.
    burst: u32,
    /// Fixed: no grants so shortly before the end.
    guard: u64,
    /// Rolling: how it counts when it is long.
    sliding: Option<Sliding>,
}

impl Window {
    /// Works out a window of which the share `margin` (0 to 1) is used; at least a weight of 1.
    pub fn new(spec: WindowSpec, margin: f64) -> Self {
        let share = (f64::from(spec.limit) * margin.clamp(0.0, 1.0)).floor() as u32;
        let limit = share.clamp(1, USED_MAX);
        let per = u64::try_from(spec.per.as_nanos()).unwrap_or(u64::MAX).clamp(MILLI, PER_MAX);
        // Within any span of `per` a rate limiter passes its burst and what flows off meanwhile: together the limit.
        let burst = (limit / BURST_SHARE).max(1);
        let interval = per.div_ceil(u64::from(limit - burst + 1)).max(1);
        let guard = (per / GUARD_SHARE).clamp(MILLI, GUARD_MAX);
        let counted = spec.shape == WindowShape::Rolling && per >= SLIDING_MIN;
        let sliding = counted.then(|| Sliding::new(limit, per));
        Window { spec, limit, per, interval, burst, guard, sliding }
    }

    /// The limit it was made from.
    pub fn spec(&self) -> &WindowSpec {
        &self.spec
    }

    /// Weight it allows, after the margin.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// How it counts when it is a long rolling window: more than a word can hold, and by its own functions.
    pub fn sliding(&self) -> Option<&Sliding> {
        self.sliding.as_ref()
    }

    /// Whether a request of `bucket` is counted here.
    pub fn applies(&self, bucket: &str) -> bool {
        self.spec.bucket.is_empty() || self.spec.bucket == bucket
    }

    /// The word after `weight` has been taken.
    ///
    /// # Errors
    /// When it does not fit; says from when it does.
    pub fn take(&self, word: u64, weight: u32, now: Now) -> Result<u64, Wait> {
        if weight == 0 && self.spec.shape != WindowShape::Concurrency {
            return Ok(word);
        }
        if weight > self.limit && self.spec.shape != WindowShape::Concurrency {
            return Err(Wait { until: None, cause: Cause::TooHeavy });
        }
        match self.spec.shape {
            WindowShape::Concurrency if word < u64::from(self.limit) => Ok(word + 1),
            WindowShape::Concurrency => Err(Wait { until: None, cause: Cause::Concurrency }),
            WindowShape::Fixed => self.take_fixed(word, weight, now),
            WindowShape::Rolling => self.take_rolling(word, weight, now),
        }
    }

    /// The word after a grant that turned `before` into `after` has been undone; `word` itself where that cannot be
    /// told apart from what others took meanwhile, which errs on the safe side.
    pub fn undo(&self, word: u64, before: u64, after: u64) -> u64 {
        match self.spec.shape {
            WindowShape::Concurrency => word.saturating_sub(1),
            WindowShape::Fixed => {
                let (end, used) = unpack(word);
                let (end_after, used_after) = unpack(after);
                let (end_before, used_before) = unpack(before);
                let taken = used_after - if end_before == end_after { used_before } else { 0 };
                if end == end_after { pack(end, used.saturating_sub(taken)) } else { word }
            }
            WindowShape::Rolling if word == after => before,
            WindowShape::Rolling => word,
        }
    }

    /// The word after the provider has told its own count, on an answer to a request sent at `sent`: never less than
    /// ours, and without effect when the count was taken before the window began.
    pub fn raise(&self, word: u64, used: u32, sent: Mono, now: Now) -> u64 {
        match self.spec.shape {
            WindowShape::Concurrency => word,
            WindowShape::Fixed => {
                let (end, ours) = self.current(word, now);
                let began = (end * MILLI).saturating_sub(self.per);
                // The provider's count includes what went out before the window by our clock.
                if sent.as_nanos() < began { word } else { pack(end, ours.max(used.min(USED_MAX))) }
            }
            WindowShape::Rolling => {
                let told = u64::from(used.min(self.limit)).saturating_mul(self.interval);
                word.max(now.mono.as_nanos().saturating_add(told))
            }
        }
    }

    /// The word after everything has been taken: the provider said it is used up.
    pub fn exhaust(&self, word: u64, now: Now) -> u64 {
        match self.spec.shape {
            WindowShape::Concurrency => word,
            WindowShape::Fixed => {
                let (end, _) = self.current(word, now);
                pack(end, self.limit)
            }
            WindowShape::Rolling => word.max(now.mono.as_nanos().saturating_add(self.per)),
        }
    }

    /// Weight used in the window at `now`.
    pub fn used(&self, word: u64, now: Now) -> u32 {
        let used = match self.spec.shape {
            WindowShape::Concurrency => word,
            WindowShape::Fixed => {
                let (end, used) = unpack(word);
                if now.mono.as_nanos() < end * MILLI { u64::from(used) } else { 0 }
            }
            WindowShape::Rolling => word.saturating_sub(now.mono.as_nanos()).div_ceil(self.interval),
        };
        u32::try_from(used).unwrap_or(u32::MAX)
    }

    /// The window's state to keep between runs.
    pub fn save(&self, word: u64, now: Now) -> SavedWindow {
        let until = match self.spec.shape {
            WindowShape::Concurrency => 0,
            WindowShape::Fixed => unpack(word).0 * MILLI,
            WindowShape::Rolling => word,
        };
        SavedWindow {
            bucket: self.spec.bucket.to_owned(),
            shape: self.spec.shape,
            per_ms: self.per / MILLI,
            limit: self.limit,
            used: self.used(word, now),
            until: now.wall.saturating_add(Mono::from_nanos(until).since(now.mono)),
            taken: Vec::new(),
        }
    }

    /// Whether a saved state is of this window.
    pub fn is_of(&self, saved: &SavedWindow) -> bool {
        saved.bucket == self.spec.bucket && saved.shape == self.spec.shape && saved.per_ms == self.per / MILLI
    }

    /// The word of a saved state. What it says of a time more than one length ahead is cut to that.
    pub fn restore(&self, saved: &SavedWindow, now: Now) -> u64 {
        let left = (saved.until.since(now.wall).as_nanos() as u64).min(self.per);
        if left == 0 {
            return 0;
        }
        let until = now.mono.as_nanos().saturating_add(left);
        match self.spec.shape {
            WindowShape::Concurrency => 0,
            WindowShape::Fixed => pack(until.div_ceil(MILLI), saved.used.min(USED_MAX)),
            WindowShape::Rolling => until,
        }
    }

    fn take_fixed(&self, word: u64, weight: u32, now: Now) -> Result<u64, Wait> {
        let (end, used) = self.current(word, now);
        let over = Wait { until: Some(Mono::from_nanos(end * MILLI)), cause: Cause::Window };
        // The end is rounded up to a millisecond and the request still has to travel: what is granted at the very end
        // may be counted in the next window by the provider.
        if end * MILLI - now.mono.as_nanos() <= self.guard {
            return Err(over);
        }
        let used = used.saturating_add(weight);
        if used > self.limit { Err(over) } else { Ok(pack(end, used)) }
    }

    /// End in milliseconds and use of the window that holds `now`, opened when the one in `word` is over.
    fn current(&self, word: u64, now: Now) -> (u64, u32) {
        let (end, used) = unpack(word);
        let mono = now.mono.as_nanos();
        if mono < end * MILLI {
            return (end, used);
        }
        let wall = u64::try_from(now.wall.as_nanos()).unwrap_or(0);
        let left = self.per - wall % self.per;
        let mut next = mono.saturating_add(left);
        // Only a step of the wall clock brings two ends closer than the length.
        if end > 0 && next < (end * MILLI).saturating_add(self.per - self.per / 8) {
            next = next.saturating_add(self.per);
        }
        (next.div_ceil(MILLI).min(END_MAX), 0)
    }

    /// GCRA: the word is the moment at which all that was taken has flowed off.
    fn take_rolling(&self, word: u64, weight: u32, now: Now) -> Result<u64, Wait> {
        let mono = now.mono.as_nanos();
        let cost = self.interval.saturating_mul(u64::from(weight));
        let depth = self.interval.saturating_mul(u64::from(self.burst));
        // What is heavier than a burst passes only when as much time beyond it has gone by unused.
        let ready = if cost > depth { word.saturating_add(cost - depth) } else { word.saturating_sub(depth - cost) };
        if word > 0 && ready > mono {
            return Err(Wait { until: Some(Mono::from_nanos(ready)), cause: Cause::Window });
        }
        Ok(word.max(mono).saturating_add(cost))
    }
}

fn pack(end_ms: u64, used: u32) -> u64 {
    (end_ms << USED_BITS) | u64::from(used.min(USED_MAX))
}

fn unpack(word: u64) -> (u64, u32) {
    (word >> USED_BITS, (word & u64::from(USED_MAX)) as u32)
}

/// Low bits of a fixed window's word that count; the others hold its end in milliseconds, enough for 34 years.
const USED_BITS: u32 = 24;
const USED_MAX: u32 = (1 << USED_BITS) - 1;
const END_MAX: u64 = (1 << (64 - USED_BITS)) - 1;
const MILLI: u64 = 1_000_000;
/// Longer windows are none: a year.
const PER_MAX: u64 = 366 * 86_400 * 1_000 * MILLI;
/// Rolling windows from ten seconds on are counted; shorter ones are limited by rate, which paces them evenly.
const SLIDING_MIN: u64 = 10_000 * MILLI;
/// A rolling window passes a twentieth of its limit at once, which leaves 95 % of it as the lasting rate.
const BURST_SHARE: u32 = 20;
/// A thousandth of a fixed window is left out at its end, at most 50 ms.
const GUARD_SHARE: u64 = 1_000;
const GUARD_MAX: u64 = 50 * MILLI;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn window(limit: u32, per: Duration, shape: WindowShape) -> Window {
        Window::new(WindowSpec { bucket: "", limit, per, shape }, 1.0)
    }

    fn at(mono_ms: u64, wall_ms: i64) -> Now {
        Now { mono: Mono::from_nanos(mono_ms * MILLI), wall: UnixNanos::from_millis(wall_ms).unwrap() }
    }

    /// Takes as much as fits, one by one.
    fn drain(window: &Window, word: &mut u64, now: Now) -> u32 {
        let mut taken = 0;
        while let Ok(next) = window.take(*word, 1, now) {
            *word = next;
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_fixed_window_ends_with_the_wall_clock() {
        let window = window(100, MINUTE, WindowShape::Fixed);
        let mut word = 0;
        assert_eq!(drain(&window, &mut word, at(5_000, 30_000)), 100);
        let wait = window.take(word, 1, at(5_000, 30_000)).unwrap_err();
        assert_eq!((wait.until, wait.cause), (Some(Mono::from_nanos(35_000 * MILLI)), Cause::Window));
        assert_eq!(drain(&window, &mut word, at(34_999, 59_999)), 0);
        assert_eq!(window.used(word, at(35_000, 60_000)), 0);
        assert_eq!(drain(&window, &mut word, at(35_000, 60_000)), 100);
        assert_eq!(window.take(0, 101, at(0, 0)).unwrap_err(), Wait { until: None, cause: Cause::TooHeavy });
        assert!(window.take(0, 100, at(0, 0)).is_ok());
    }

    #[test]
    fn nothing_is_granted_at_the_very_end_of_a_fixed_window() {
        let window = window(100, MINUTE, WindowShape::Fixed);
        assert!(window.take(0, 1, at(0, 59_949)).is_ok());
        assert!(window.take(0, 1, at(0, 59_950)).is_err());
        assert!(window.take(0, 1, at(0, 60_000)).is_ok());
    }

    #[test]
    fn a_step_of_the_wall_clock_refills_nothing() {
        let window = window(100, MINUTE, WindowShape::Fixed);
        let mut word = 0;
        assert_eq!(drain(&window, &mut word, at(0, 1_000)), 100);
        for wall in [-3_600_000, 0, 61_000, 3_600_000] {
            assert_eq!(drain(&window, &mut word, at(10_000, wall)), 0, "{wall}");
        }
        // The window ends at 59 s; by the stepped clock the next would end a second later.
        assert_eq!(drain(&window, &mut word, at(59_000, 179_000)), 100);
        assert_eq!(drain(&window, &mut word, at(119_000, 239_000)), 0);
        assert_eq!(drain(&window, &mut word, at(120_000, 240_000)), 100);
    }

    #[test]
    fn a_rolling_window_flows() {
        let window = window(20, Duration::from_secs(1), WindowShape::Rolling);
        let mut word = 0;
        assert_eq!(drain(&window, &mut word, at(1_000, 0)), 1);
        assert_eq!(window.take(word, 1, at(1_049, 0)).unwrap_err().until, Some(Mono::from_nanos(1_050 * MILLI)));
        assert_eq!(drain(&window, &mut word, at(1_050, 0)), 1);
        let window = self::window(1_200, MINUTE, WindowShape::Rolling);
        let mut word = 0;
        assert_eq!(drain(&window, &mut word, at(1, 0)), 60);
        assert!(window.take(0, 1_200, at(1, 0)).is_ok(), "what is heavier than a burst passes when nothing was used");
    }

    #[test]
    fn the_providers_count_only_raises() {
        let window = window(100, MINUTE, WindowShape::Fixed);
        let now = at(100_000, 30_000);
        let word = window.take(0, 10, now).unwrap();
        let sent = now.mono;
        assert_eq!(window.raise(word, 5, sent, now), word);
        assert_eq!(window.used(window.raise(word, 60, sent, now), now), 60);
        let before = Mono::from_nanos(69_999 * MILLI);
        assert_eq!(window.raise(word, 60, before, now), word, "a count of the window before");
        assert!(window.take(window.exhaust(word, now), 1, now).is_err());
        let rolling = self::window(100, MINUTE, WindowShape::Rolling);
        let word = rolling.take(0, 1, now).unwrap();
        assert_eq!(rolling.used(rolling.raise(word, 60, sent, now), now), 60);
        assert_eq!(rolling.raise(word, 1, sent, now), word);
    }

    #[test]
    fn a_saved_window_goes_on() {
        for shape in [WindowShape::Fixed, WindowShape::Rolling] {
            let window = window(100, MINUTE, shape);
            let mut word = 0;
            drain(&window, &mut word, at(500_000, 30_000));
            let saved = window.save(word, at(500_000, 30_000));
            assert!(window.is_of(&saved));
            // A process started three seconds later.
            let now = at(0, 33_000);
            let restored = window.restore(&saved, now);
            match shape {
                WindowShape::Fixed => assert_eq!(window.used(restored, now), 100),
                _ => assert!(window.used(restored, now) <= window.used(word, at(500_000, 30_000))),
            }
            assert_eq!(window.restore(&saved, at(0, 10_000_000)), 0, "what is long over is forgotten");
            let text = serde_json::to_string(&saved).unwrap();
            assert_eq!(serde_json::from_str::<SavedWindow>(&text).unwrap(), saved);
        }
    }

    #[test]
    fn the_margin_is_kept_back() {
        let spec = WindowSpec { bucket: "", limit: 1_000, per: MINUTE, shape: WindowShape::Fixed };
        let mut word = 0;
        assert_eq!(drain(&Window::new(spec, 0.9), &mut word, at(0, 0)), 900);
        assert_eq!(Window::new(spec, 0.0).limit(), 1);
    }

    proptest! {
        #[test]
        fn no_rolling_span_is_over_its_limit(
            limit in 1u32..200, per_ms in 1u64..5_000,
            steps in proptest::collection::vec((0u64..400, 1u32..12), 1..300),
        ) {
            let window = window(limit, Duration::from_millis(per_ms), WindowShape::Rolling);
            let mut word = 0;
            let mut mono = 1;
            let mut granted: Vec<(u64, u32)> = vec![];
            for (wait_ms, weight) in steps {
                mono += wait_ms * MILLI / 4;
                let now = Now { mono: Mono::from_nanos(mono), wall: UnixNanos::EPOCH };
                match window.take(word, weight, now) {
                    Ok(next) => {
                        word = next;
                        granted.push((mono, weight));
                    }
                    Err(Wait { until: None, .. }) => prop_assert!(weight > limit),
                    Err(Wait { until: Some(until), .. }) => {
                        // Asking at the moment named is granted, and not before.
                        let then = Now { mono: until, ..now };
                        prop_assert!(window.take(word, weight, then).is_ok());
                        let before = Now { mono: until - Duration::from_nanos(1), ..now };
                        prop_assert!(window.take(word, weight, before).is_err());
                    }
                }
                let from = granted.iter().filter(|(at, _)| at + per_ms * MILLI > mono);
                let used: u32 = from.map(|(_, weight)| weight).sum();
                prop_assert!(used <= limit, "{used} of {limit}");
            }
        }

        /// Without clock steps: no window of the provider's clock is over its limit.
        #[test]
        fn no_fixed_window_is_over_its_limit(
            limit in 1u32..50, per_ms in 5u64..5_000, offset in 0u64..10_000_000_000,
            steps in proptest::collection::vec((0u64..400_000_000, 1u32..12), 1..300),
        ) {
            let window = window(limit, Duration::from_millis(per_ms), WindowShape::Fixed);
            let mut word = 0;
            let mut mono = 0;
            let mut used: BTreeMap<u64, u32> = BTreeMap::new();
            for (wait, weight) in steps {
                mono += wait;
                let wall = mono + offset;
                let now = Now { mono: Mono::from_nanos(mono), wall: UnixNanos::from_nanos(wall as i64) };
                if let Ok(next) = window.take(word, weight, now) {
                    word = next;
                    *used.entry(wall / (per_ms * MILLI)).or_default() += weight;
                }
                prop_assert!(used.values().all(|used| *used <= limit));
            }
        }

        /// With any clock steps: what is granted between two ends stays within the limit, and ends keep their distance.
        #[test]
        fn clock_steps_earn_nothing(
            limit in 1u32..20,
            steps in proptest::collection::vec((0u64..2_000, -100_000i64..100_000), 1..300),
        ) {
            let window = window(limit, Duration::from_secs(1), WindowShape::Fixed);
            let mut word = 0;
            let (mut mono, mut granted) = (0, vec![]);
            for (wait, wall) in steps {
                mono += wait;
                let now = at(mono, 1_000_000 + wall);
                while let Ok(next) = window.take(word, 1, now) {
                    word = next;
                    granted.push(mono);
                }
            }
            // Whole ends are at least 7/8 s apart, so no span of 1.75 s holds more than three windows.
            for from in &granted {
                let within = granted.iter().filter(|at| **at >= *from && **at < from + 875).count();
                prop_assert!(within <= 2 * limit as usize, "{within} of {limit}");
            }
        }

        #[test]
        fn undoing_never_leaves_less_than_was_taken(limit in 2u32..50, first in 1u32..10, second in 1u32..10) {
            for shape in [WindowShape::Fixed, WindowShape::Rolling, WindowShape::Concurrency] {
                let window = window(limit, Duration::from_secs(1), shape);
                let now = at(1_000, 100);
                let Ok(one) = window.take(0, first, now) else { continue };
                prop_assert_eq!(window.used(window.undo(one, 0, one), now), 0);
                let Ok(two) = window.take(one, second, now) else { continue };
                let left = window.used(window.undo(two, 0, one), now);
                let least = if shape == WindowShape::Concurrency { 1 } else { second };
                prop_assert!(left >= least);
            }
        }
    }
}
