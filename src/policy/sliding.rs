//! Long rolling windows, by counting: a running total, and marks of what it was when each sixteenth of the window began.
//! The whole limit may come at once, and 16/17 of it lasts; a rate limiter would have to spread a day's hundred
//! requests over the day. Pure: total and marks are arguments, so that a lock-free cell can hold them.
//! Invariant: no span of the window's length holds more than its limit, because a mark is never more than the total
//! was when its part began, and parts that are half gone count whole.

use super::quota::{Cause, Wait};
use crate::time::{Mono, Now, UnixNanos};

/// The constants of a counted rolling window.
#[derive(Clone, Debug)]
pub struct Sliding {
    limit: u32,
    grain: u64,
}

/// The marks of one window: number of the part above, low half of the total below. Zero for none.
pub type Marks = [u64; MARKS];

impl Sliding {
    /// A window of this limit and length.
    pub fn new(limit: u32, per_nanos: u64) -> Self {
        Sliding { limit, grain: per_nanos.div_ceil(PARTS).max(1) }
    }

    /// The mark that has to stand before anything is taken at `now`: where, what stands there, and the word to put. `None`
    /// when it stands. `marks` must have been read after `total`.
    pub fn mark(&self, total: u64, marks: &Marks, now: Now) -> Option<(usize, u64, u64)> {
        let part = self.part(marks, now);
        let index = (part % MARKS as u64) as usize;
        (part_of(marks[index]) != part).then(|| (index, marks[index], pack(part, total)))
    }

    /// The total after `weight` has been taken.
    ///
    /// # Errors
    /// When it does not fit; says from when it does.
    pub fn take(&self, total: u64, marks: &Marks, weight: u32, now: Now) -> Result<u64, Wait> {
        if weight > self.limit {
            return Err(Wait { until: None, cause: Cause::TooHeavy });
        }
        if weight == 0 || self.used(total, marks, now) <= self.limit - weight {
            return Ok(total + u64::from(weight));
        }
        let first = self.part(marks, now) - PARTS;
        let in_the_way = marks.iter().filter(|mark| part_of(**mark) >= first);
        let in_the_way = in_the_way.filter(|mark| since(total, **mark) > self.limit - weight);
        // There is one, or it would have fitted.
        let last = in_the_way.map(|mark| part_of(*mark)).max().unwrap_or(first);
        let until = (last + 1 + PARTS - ORIGIN).saturating_mul(self.grain);
        Err(Wait { until: Some(Mono::from_nanos(until)), cause: Cause::Window })
    }

    /// Weight used in the span that ends at `now`.
    pub fn used(&self, total: u64, marks: &Marks, now: Now) -> u32 {
        let first = self.part(marks, now) - PARTS;
        let oldest = marks.iter().filter(|mark| part_of(**mark) >= first).min_by_key(|mark| part_of(**mark));
        oldest.map_or(0, |mark| since(total, *mark))
    }

    /// The total at which `used` would be at least this.
    pub fn raise(&self, total: u64, marks: &Marks, used: u32, now: Now) -> u64 {
        total + u64::from(used.min(self.limit).saturating_sub(self.used(total, marks, now)))
    }

    /// What was taken when, oldest first, to keep between runs.
    pub fn save(&self, total: u64, marks: &Marks, now: Now) -> Vec<(UnixNanos, u32)> {
        let first = self.part(marks, now) - PARTS;
        let mut marks: Vec<u64> = marks.iter().copied().filter(|mark| part_of(*mark) >= first).collect();
        marks.sort_unstable();
        let mut spans = Vec::new();
        for (index, mark) in marks.iter().enumerate() {
            let next = marks.get(index + 1).map_or(total, |next| total - u64::from(since(total, *next)));
            let taken = since(next, *mark);
            let began = Mono::from_nanos((part_of(*mark).saturating_sub(ORIGIN)).saturating_mul(self.grain));
            if taken > 0 {
                spans.push((now.wall.saturating_sub(now.mono.since(began)), taken));
            }
        }
        spans
    }

    /// Total and marks of what was saved, for a window in which nothing has been taken.
    pub fn restore(&self, spans: &[(UnixNanos, u32)], now: Now) -> (u64, Marks) {
        let (mut total, mut marks) = (0_u64, [0; MARKS]);
        let present = self.part(&marks, now);
        for (at, taken) in spans {
            let age = now.wall.since(*at).as_nanos() as u64 / self.grain;
            if age > PARTS {
                continue;
            }
            let part = present - age;
            let mark = &mut marks[(part % MARKS as u64) as usize];
            if part_of(*mark) != part {
                *mark = pack(part, total);
            }
            total += u64::from((*taken).min(self.limit));
        }
        (total, marks)
    }

    /// The part that `now` is in; never before one that has a mark, so that a thread that was held up counts with the
    /// others.
    fn part(&self, marks: &Marks, now: Now) -> u64 {
        let latest = marks.iter().map(|mark| part_of(*mark)).max().unwrap_or(0);
        (now.mono.as_nanos() / self.grain + ORIGIN).max(latest)
    }
}

fn pack(part: u64, total: u64) -> u64 {
    (part << 32) | (total & u64::from(u32::MAX))
}

fn part_of(mark: u64) -> u64 {
    mark >> 32
}

/// What was taken since a mark; nothing when the mark is of a later total, whose taker has the word anyway.
fn since(total: u64, mark: u64) -> u32 {
    let taken = (total as u32).wrapping_sub(mark as u32);
    if taken > u32::MAX / 2 { 0 } else { taken }
}

/// Marks kept: one for each part of the span, for the one it begins in, and for the one that may just be beginning.
pub const MARKS: usize = PARTS as usize + 2;
/// Parts of a window.
const PARTS: u64 = 16;
/// Number of the part in which the clock starts; earlier ones come from a restored state.
const ORIGIN: u64 = MARKS as u64;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    struct Held {
        window: Sliding,
        total: u64,
        marks: Marks,
    }

    impl Held {
        fn new(limit: u32, per: Duration) -> Self {
            Held { window: Sliding::new(limit, per.as_nanos() as u64), total: 0, marks: [0; MARKS] }
        }

        fn take(&mut self, weight: u32, now: Now) -> Result<(), Wait> {
            if let Some((index, _, word)) = self.window.mark(self.total, &self.marks, now) {
                self.marks[index] = word;
            }
            self.total = self.window.take(self.total, &self.marks, weight, now)?;
            Ok(())
        }
    }

    #[test]
    fn a_days_requests_may_come_at_once() {
        let day = Duration::from_secs(86_400);
        let mut held = Held::new(100, day);
        let start = Now::default();
        assert!((0..100).all(|_| held.take(1, start).is_ok()));
        let wait = held.take(1, start).unwrap_err().after(start).unwrap();
        assert!(wait >= day && wait <= day + day / 16, "{wait:?}");
        assert!(held.take(1, start.after(wait - Duration::from_nanos(1))).is_err());
        assert!(held.take(100, start.after(wait)).is_ok());
        assert_eq!(held.take(101, start.after(wait * 3)).unwrap_err().cause, Cause::TooHeavy);
    }

    #[test]
    fn a_saved_window_goes_on() {
        let hour = Duration::from_secs(3_600);
        let mut held = Held::new(100, hour);
        let start = Now::default();
        let later = start.after(hour / 2);
        assert!(held.take(60, start).is_ok() && held.take(40, later).is_ok());
        let spans = held.window.save(held.total, &held.marks, later);
        assert_eq!(spans.iter().map(|(_, taken)| *taken).collect::<Vec<_>>(), [60, 40]);
        // The next process has a clock of its own.
        let restarted = Now { mono: Mono::from_nanos(7), wall: later.wall };
        let mut next = Held::new(100, hour);
        (next.total, next.marks) = next.window.restore(&spans, restarted);
        assert!(next.take(1, restarted).is_err());
        assert!(next.take(61, restarted.after(hour * 5 / 8)).is_err());
        assert!(next.take(60, restarted.after(hour * 5 / 8)).is_ok());
        assert_eq!(next.window.raise(next.total, &next.marks, 100, restarted.after(hour * 5 / 8)), next.total);
    }

    proptest! {
        #[test]
        fn no_span_is_over_its_limit_and_waits_are_exact(
            limit in 1u32..60, per_ms in 1u64..5_000,
            steps in proptest::collection::vec((0u64..1_500, 1u32..12), 1..400),
        ) {
            let mut held = Held::new(limit, Duration::from_millis(per_ms));
            let mut now = Now::default();
            let mut granted: Vec<(u64, u32)> = vec![];
            for (wait_ms, weight) in steps {
                now = now.after(Duration::from_micros(wait_ms * 100));
                match held.take(weight, now) {
                    Ok(()) => granted.push((now.mono.as_nanos(), weight)),
                    Err(Wait { until: None, .. }) => prop_assert!(weight > limit),
                    Err(Wait { until: Some(until), .. }) => {
                        prop_assert!(until > now.mono);
                        let then = now.after(until.since(now.mono));
                        prop_assert!(held.window.take(held.total, &held.marks, weight, then).is_ok());
                        let before = now.after(until.since(now.mono) - Duration::from_nanos(1));
                        prop_assert!(held.window.take(held.total, &held.marks, weight, before).is_err());
                    }
                }
                let from = granted.iter().filter(|(at, _)| at + per_ms * 1_000_000 > now.mono.as_nanos());
                let used: u32 = from.map(|(_, weight)| weight).sum();
                prop_assert!(used <= limit, "{used} of {limit}");
                prop_assert!(used <= held.window.used(held.total, &held.marks, now));
            }
        }
    }
}
