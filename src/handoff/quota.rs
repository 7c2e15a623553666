//! The quota cell: what a provider scope (an address, a key) has left, shared by all shards that use it. Lock-free: each
//! window is one atomic word, whose arithmetic is in `policy/quota.rs`.
//! Owns no waiting: it says when to ask again. Invariants: a request takes from all windows that apply to it or from
//! none; no interleaving takes a window over its limit; a ban is never shortened.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::doorbell::Doorbell;
use super::sync::{Arc, AtomicU64, Ordering};
use crate::metrics::QuotaUse;
use crate::policy::{Cause, MARKS, Marks, SavedWindow, Sliding, Wait, Window, WindowShape, WindowSpec};
use crate::time::{Mono, Now, UnixNanos};

/// Settings of a quota cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuotaSettings {
    /// Share of each limit that is used at most, 0 to 1.
    pub margin: f64,
    /// A ban's length when the provider does not name it.
    pub ban: Duration,
    /// No ban of our own making is longer. The provider's word is always taken.
    pub ban_max: Duration,
    /// A ban within this time of the last one's end has recurred.
    pub ban_memory: Duration,
    /// Divides all times of windows: 1, but for tests against a provider whose time runs as much faster.
    pub scale: u32,
}

impl Default for QuotaSettings {
    /// The whole limit; Binance's ladder of 2 minutes to 3 days, remembered for a day.
    fn default() -> Self {
        QuotaSettings {
            margin: 1.0,
            ban: Duration::from_secs(120),
            ban_max: Duration::from_secs(3 * 86_400),
            ban_memory: Duration::from_secs(86_400),
            scale: 1,
        }
    }
}

/// The quota of one provider scope; clones share it.
#[derive(Clone)]
pub struct QuotaCell {
    shared: Arc<Shared>,
}

impl QuotaCell {
    /// A cell with these windows, none of it used. At most 64 windows; later ones are ignored by no provider known.
    pub fn new(windows: Vec<WindowSpec>, settings: QuotaSettings) -> Self {
        assert!(windows.len() <= WINDOWS_MAX, "expected at most {WINDOWS_MAX} windows, found {}", windows.len());
        let scaled = |spec: WindowSpec| WindowSpec { per: spec.per / settings.scale.max(1), ..spec };
        let slots = windows.into_iter().map(|spec| Slot::new(Window::new(scaled(spec), settings.margin))).collect();
        let shared = Shared { slots, settings, ban: Penalty::new(), pause: Penalty::new(), released: Doorbell::new() };
        QuotaCell { shared: Arc::new(shared) }
    }

    /// Takes `weight` from every window that applies to `bucket`, or nothing.
    ///
    /// # Errors
    /// When one of them has not enough left, or the scope is paused or banned; says from when to ask again.
    pub fn try_acquire(&self, now: Now, bucket: &str, weight: u32) -> Result<Grant, Wait> {
        self.check(now, bucket, weight)?;
        let shared = &*self.shared;
        let mut held = 0_u64;
        let mut taken = [(0_u64, 0_u64); WINDOWS_MAX];
        for (index, slot) in shared.slots.iter().enumerate() {
            if !slot.window.applies(bucket) {
                continue;
            }
            match slot.take(weight, now) {
                Ok(words) => {
                    taken[index] = words;
                    held |= 1 << index;
                }
                Err(wait) => {
                    shared.undo(held, &taken);
                    return Err(wait);
                }
            }
        }
        let held = held & shared.concurrency();
        Ok(Grant { cell: (held != 0).then(|| self.clone()), held })
    }

    /// Whether `weight` could be taken; takes nothing.
    ///
    /// # Errors
    /// As [`QuotaCell::try_acquire`], with the latest moment of all that stand in the way.
    pub fn check(&self, now: Now, bucket: &str, weight: u32) -> Result<(), Wait> {
        let shared = &*self.shared;
        if let Some(until) = shared.ban.until(now) {
            return Err(Wait { until: Some(until), cause: Cause::Banned });
        }
        if let Some(until) = shared.pause.until(now) {
            return Err(Wait { until: Some(until), cause: Cause::RetryAfter });
        }
        let mut worst: Option<Wait> = None;
        for slot in shared.slots.iter().filter(|slot| slot.window.applies(bucket)) {
            let Err(wait) = slot.peek(weight, now) else { continue };
            let later = match (&worst, wait.cause) {
                (None, _) | (_, Cause::TooHeavy) => true,
                (Some(known), _) if known.cause == Cause::TooHeavy => false,
                (Some(known), _) => wait.until > known.until,
            };
            if later {
                worst = Some(wait);
            }
        }
        worst.map_or(Ok(()), Err)
    }

    /// Takes the provider's word for what has been used in the window of `bucket` that is `per` long, if it is more
    /// than counted here. `sent` is when the request went out whose answer told: a count from before the window began
    /// says nothing about it.
    pub fn report_used(&self, bucket: &str, per: Duration, used: u32, sent: Now, now: Now) {
        let per = per / self.shared.settings.scale.max(1);
        let window = self.shared.slots.iter().filter(|slot| {
            let spec = slot.window.spec();
            spec.bucket == bucket && spec.per == per
        });
        for slot in window {
            slot.raise(used, sent, now);
        }
    }

    /// Stops the scope for as long as the provider asks. When it does not say, the shortest window counts as used up;
    /// a refusal soon after that one has passed doubles the time.
    pub fn exhaust(&self, now: Now, retry_after: Option<Duration>) {
        let shared = &*self.shared;
        if let Some(after) = retry_after {
            shared.pause.extend(now.mono + after);
            return;
        }
        let timed = shared.slots.iter().filter(|slot| slot.window.spec().shape != WindowShape::Concurrency);
        let Some(slot) = timed.min_by_key(|slot| slot.window.spec().per) else {
            shared.pause.strike(now, PAUSE, PAUSE_MAX, PAUSE);
            return;
        };
        let per = slot.window.spec().per;
        slot.exhaust(now);
        let full = slot.peek(1, now).err().and_then(|wait| wait.after(now));
        // A provider that refuses again once the window is over counts otherwise than this cell does.
        shared.pause.strike(now, full.unwrap_or(per), PAUSE_MAX.max(per), per.saturating_mul(2));
    }

    /// Stops the scope until the moment the provider names (a Retry-After counts from `now.wall`), or for
    /// [`QuotaSettings::ban`] when it names none; a ban that recurs lasts twice as long each time, whatever it names.
    pub fn ban(&self, now: Now, until: Option<UnixNanos>) {
        let shared = &*self.shared;
        let settings = &shared.settings;
        let named = until.map(|until| until.since(now.wall)).filter(|length| !length.is_zero());
        shared.ban.strike(now, named.unwrap_or(settings.ban), settings.ban_max, settings.ban_memory);
        if let Some(length) = named {
            shared.ban.extend(now.mono + length);
        }
    }

    /// Until when the scope is banned, if it is.
    pub fn banned_until(&self, now: Now) -> Option<Mono> {
        self.shared.ban.until(now)
    }

    /// Gives back what a grant held of concurrency limits. Dropping it does the same.
    pub fn release(&self, grant: Grant) {
        drop(grant);
    }

    /// Waits until a concurrency limit of `bucket` may have room: what to do on [`Cause::Concurrency`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn released(&self, bucket: &str) {
        let shared = &*self.shared;
        let has_room = |slot: &Slot| {
            slot.window.spec().shape != WindowShape::Concurrency
                || !slot.window.applies(bucket)
                || slot.word.load(Ordering::Acquire) < u64::from(slot.window.limit())
        };
        shared.released.wait(|| shared.slots.iter().all(has_room).then_some(())).await;
    }

    /// The state as plain data, to show and to keep between runs.
    pub fn snapshot(&self, now: Now) -> QuotaSnapshot {
        let shared = &*self.shared;
        let wall = |until: Mono| now.wall.saturating_add(until.since(now.mono));
        QuotaSnapshot {
            windows: shared.slots.iter().map(|slot| slot.save(now)).collect(),
            banned_until: shared.ban.until(now).map(wall),
            ban_level: shared.ban.level.load(Ordering::Relaxed),
            ban_ended: shared.ban.ended(now).map(|ago| now.wall.saturating_sub(ago)),
            paused_until: shared.pause.until(now).map(wall),
        }
    }

    /// Takes over a state saved by an earlier run: the larger of what it says and what is counted already. Windows that
    /// do not exist any more are left out.
    pub fn restore(&self, saved: &QuotaSnapshot, now: Now) {
        let shared = &*self.shared;
        for window in &saved.windows {
            for slot in shared.slots.iter().filter(|slot| slot.window.is_of(window)) {
                slot.restore(window, now);
            }
        }
        shared.ban.restore(saved.banned_until, saved.ban_ended, saved.ban_level, now);
        shared.pause.restore(saved.paused_until, None, 0, now);
    }
}

impl fmt::Debug for QuotaCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaCell").field("windows", &self.shared.slots.len()).finish_non_exhaustive()
    }
}

/// What a request has been granted. Dropping it gives back what it held of concurrency limits; weight in windows of
/// time is spent.
#[derive(Debug)]
#[must_use = "dropping a grant ends its hold on concurrency limits"]
pub struct Grant {
    cell: Option<QuotaCell>,
    /// The concurrency windows it counts in, one bit each.
    held: u64,
}

impl Drop for Grant {
    fn drop(&mut self) {
        let Some(cell) = self.cell.take() else { return };
        cell.shared.undo(self.held, &[(0, 0); WINDOWS_MAX]);
    }
}

/// The state of a quota cell as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaSnapshot {
    /// Its windows.
    pub windows: Vec<SavedWindow>,
    /// When the ban ends; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub banned_until: Option<UnixNanos>,
    /// How many bans in a row have recurred.
    #[serde(default)]
    pub ban_level: u64,
    /// When the last ban ended; `None` while one holds and when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ban_ended: Option<UnixNanos>,
    /// When the pause ends that the provider asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<UnixNanos>,
}

impl QuotaSnapshot {
    /// The use of its windows, for the metrics' snapshot.
    pub fn uses(&self) -> Vec<QuotaUse> {
        let describe = |window: &SavedWindow| QuotaUse {
            bucket: window.bucket.clone(),
            shape: window.shape.as_str().to_owned(),
            per_ms: window.per_ms,
            limit: u64::from(window.limit),
            used: u64::from(window.used),
        };
        self.windows.iter().map(describe).collect()
    }
}

struct Shared {
    slots: Vec<Slot>,
    settings: QuotaSettings,
    ban: Penalty,
    pause: Penalty,
    /// Rung when a concurrency limit has room again.
    released: Doorbell,
}

impl Shared {
    fn concurrency(&self) -> u64 {
        let bits =
            self.slots.iter().enumerate().filter(|(_, slot)| slot.window.spec().shape == WindowShape::Concurrency);
        bits.fold(0, |mask, (index, _)| mask | 1 << index)
    }

    /// Undoes what was taken from the windows in `held`.
    fn undo(&self, held: u64, taken: &[(u64, u64); WINDOWS_MAX]) {
        for (index, slot) in self.slots.iter().enumerate().filter(|(index, _)| held & (1 << index) != 0) {
            let (before, after) = taken[index];
            slot.undo(before, after);
        }
        if held & self.concurrency() != 0 {
            self.released.ring();
        }
    }
}

/// A window and its state.
struct Slot {
    window: Window,
    /// The window's word; of a long rolling window its running total.
    word: AtomicU64,
    /// The marks of a long rolling window; none for others.
    marks: Vec<AtomicU64>,
}

impl Slot {
    fn new(window: Window) -> Self {
        let marks = if window.sliding().is_some() { MARKS } else { 0 };
        Slot { window, word: AtomicU64::new(0), marks: (0..marks).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Takes; returns the word before and after.
    fn take(&self, weight: u32, now: Now) -> Result<(u64, u64), Wait> {
        if let Some(sliding) = self.window.sliding() {
            self.mark(sliding, now);
        }
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let next = self.next(word, weight, now)?;
            match self.word.compare_exchange(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok((word, next)),
                Err(found) => word = found,
            }
        }
    }

    /// Whether it could be taken.
    fn peek(&self, weight: u32, now: Now) -> Result<(), Wait> {
        self.next(self.word.load(Ordering::Acquire), weight, now).map(drop)
    }

    /// The word after taking; `word` must have been read with acquire ordering, so that the marks of whatever it counts
    /// are seen.
    fn next(&self, word: u64, weight: u32, now: Now) -> Result<u64, Wait> {
        match self.window.sliding() {
            Some(sliding) => sliding.take(word, &self.marks(), weight, now),
            None => self.window.take(word, weight, now),
        }
    }

    /// Puts the mark of the present part of a long rolling window, unless it stands. Who puts it first has read the
    /// total before anything was taken in this part, because everyone puts or finds the mark before taking.
    fn mark(&self, sliding: &Sliding, now: Now) {
        let total = self.word.load(Ordering::Acquire);
        if let Some((index, stands, word)) = sliding.mark(total, &self.marks(), now) {
            let _ = self.marks[index].compare_exchange(stands, word, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    fn marks(&self) -> Marks {
        let mut marks = [0; MARKS];
        marks.iter_mut().zip(&self.marks).for_each(|(mark, cell)| *mark = cell.load(Ordering::Acquire));
        marks
    }

    fn raise(&self, used: u32, sent: Now, now: Now) {
        let Some(sliding) = self.window.sliding() else {
            return self.update(|word| self.window.raise(word, used, sent.mono, now));
        };
        self.mark(sliding, now);
        self.update(|total| sliding.raise(total, &self.marks(), used, now));
    }

    fn exhaust(&self, now: Now) {
        match self.window.sliding() {
            Some(_) => self.raise(self.window.limit(), now, now),
            None => self.update(|word| self.window.exhaust(word, now)),
        }
    }

    /// Undoes a take. What a long rolling window has counted stays counted: others may have put marks meanwhile.
    fn undo(&self, before: u64, after: u64) {
        if self.window.sliding().is_none() {
            self.update(|word| self.window.undo(word, before, after));
        }
    }

    fn save(&self, now: Now) -> SavedWindow {
        let word = self.word.load(Ordering::Acquire);
        let Some(sliding) = self.window.sliding() else { return self.window.save(word, now) };
        let marks = self.marks();
        let used = sliding.used(word, &marks, now);
        let until = now.wall.saturating_add(self.window.spec().per);
        SavedWindow { used, until, taken: sliding.save(word, &marks, now), ..self.window.save(0, now) }
    }

    /// Takes a saved state over; in a window that is in use already, as if all of it had been taken now.
    fn restore(&self, saved: &SavedWindow, now: Now) {
        let Some(sliding) = self.window.sliding() else {
            let restored = self.window.restore(saved, now);
            return self.update(|word| word.max(restored));
        };
        let (total, marks) = sliding.restore(&saved.taken, now);
        if self.marks().iter().any(|mark| *mark != 0) {
            return self.raise(total.min(u64::from(u32::MAX)) as u32, now, now);
        }
        // Marks first: a total without its marks would count for nothing.
        self.marks.iter().zip(marks).for_each(|(cell, mark)| cell.store(mark, Ordering::Release));
        self.update(|word| word + total);
    }

    fn update(&self, next: impl Fn(u64) -> u64) {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let wanted = next(word);
            if wanted == word {
                return;
            }
            match self.word.compare_exchange(word, wanted, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(found) => word = found,
            }
        }
    }
}

/// A stop of the whole scope that grows when it recurs.
struct Penalty {
    /// Its end on the monotonic clock, in nanoseconds; zero when there was none.
    until: AtomicU64,
    /// How often in a row it has recurred.
    level: AtomicU64,
}

impl Penalty {
    fn new() -> Self {
        Penalty { until: AtomicU64::new(0), level: AtomicU64::new(0) }
    }

    fn until(&self, now: Now) -> Option<Mono> {
        let until = Mono::from_nanos(self.until.load(Ordering::Relaxed));
        (until > now.mono).then_some(until)
    }

    /// How long ago it ended; `None` while it holds and when there was none.
    fn ended(&self, now: Now) -> Option<Duration> {
        let until = self.until.load(Ordering::Relaxed);
        (until != 0 && until <= now.mono.as_nanos()).then(|| now.mono.since(Mono::from_nanos(until)))
    }

    fn extend(&self, until: Mono) {
        self.until.fetch_max(until.as_nanos(), Ordering::AcqRel);
    }

    /// Begins one of length `first`, doubled for each one that came within `memory` of the end of the one before, up
    /// to `max`. While one holds nothing is added: answers to requests already under way tell of the same one.
    fn strike(&self, now: Now, first: Duration, max: Duration, memory: Duration) {
        let last = self.until.load(Ordering::Relaxed);
        if last > now.mono.as_nanos() {
            return;
        }
        let level = self.level.load(Ordering::Relaxed);
        let recurs = last != 0 && now.mono.since(Mono::from_nanos(last)) <= memory;
        let level = if recurs { (level + 1).min(LEVEL_MAX) } else { 0 };
        let length = first.saturating_mul(1 << level).min(max.max(first));
        let until = (now.mono + length).as_nanos();
        // Only one of several that strike at once counts.
        if self.until.compare_exchange(last, until, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.level.store(level, Ordering::Relaxed);
        }
    }

    fn restore(&self, until: Option<UnixNanos>, ended: Option<UnixNanos>, level: u64, now: Now) {
        let mono = match (until, ended) {
            (Some(until), _) => now.mono + until.since(now.wall),
            // A process younger than the end of the ban cannot express it; its own start is later and errs safely.
            (None, Some(ended)) => (now.mono - now.wall.since(ended)).max(Mono::from_nanos(1)),
            (None, None) => return,
        };
        self.extend(mono);
        self.level.fetch_max(level.min(LEVEL_MAX), Ordering::Relaxed);
    }
}

/// A grant remembers its windows in the bits of one word.
const WINDOWS_MAX: usize = 64;
/// Doublings beyond any limit on their result.
const LEVEL_MAX: u64 = 16;
/// Pauses of our own making: the first where a provider has no window, and the longest.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

#[cfg(all(test, not(tidegate_loom)))]
mod tests {
    use futures_lite::future::block_on;
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn spec(bucket: &'static str, limit: u32, per: Duration, shape: WindowShape) -> WindowSpec {
        WindowSpec { bucket, limit, per, shape }
    }

    fn cell(windows: &[WindowSpec]) -> QuotaCell {
        QuotaCell::new(windows.to_vec(), QuotaSettings::default())
    }

    fn start() -> Now {
        Now { mono: Mono::from_nanos(1_000_000_000), wall: UnixNanos::from_secs(1_800_000_000).unwrap() }
    }

    fn used(cell: &QuotaCell, now: Now) -> Vec<u32> {
        cell.snapshot(now).windows.iter().map(|window| window.used).collect()
    }

    #[test]
    fn a_request_takes_from_all_windows_that_apply_or_from_none() {
        let cell = cell(&[
            spec("", 10, MINUTE, WindowShape::Fixed),
            spec("orders", 3, MINUTE, WindowShape::Fixed),
            spec("", 2, Duration::ZERO, WindowShape::Concurrency),
        ]);
        let now = start();
        let first = cell.try_acquire(now, "orders", 2).unwrap();
        assert_eq!(used(&cell, now), [2, 2, 1]);
        assert_eq!(cell.snapshot(now).uses()[1].bucket, "orders");
        assert_eq!(cell.try_acquire(now, "orders", 2).unwrap_err().cause, Cause::Window);
        assert_eq!(used(&cell, now), [2, 2, 1]);
        let second = cell.try_acquire(now, "", 2).unwrap();
        assert_eq!(used(&cell, now), [4, 2, 2]);
        let wait = cell.try_acquire(now, "", 1).unwrap_err();
        assert_eq!((wait.cause, wait.after(now)), (Cause::Concurrency, None));
        drop(first);
        block_on(cell.released(""));
        let third = cell.try_acquire(now, "", 1).unwrap();
        cell.release(second);
        drop(third);
        assert_eq!(used(&cell, now), [5, 2, 0]);
        assert_eq!(cell.try_acquire(now, "", 11).unwrap_err().cause, Cause::TooHeavy);
    }

    #[test]
    fn a_limit_notice_pauses_the_scope() {
        let now = start();
        let told = cell(&[spec("", 10, MINUTE, WindowShape::Fixed)]);
        told.exhaust(now, Some(Duration::from_secs(90)));
        let wait = told.check(now, "", 1).unwrap_err();
        assert_eq!((wait.cause, wait.after(now)), (Cause::RetryAfter, Some(Duration::from_secs(90))));
        assert!(told.check(now.after(Duration::from_secs(90)), "", 1).is_ok());

        let untold = cell(&[
            spec("", 10, MINUTE, WindowShape::Fixed),
            spec("", 500, Duration::from_secs(86_400), WindowShape::Fixed),
        ]);
        untold.exhaust(now, None);
        // Answers that were under way tell of the same limit.
        untold.exhaust(now.after(Duration::from_millis(30)), None);
        assert_eq!(used(&untold, now), [10, 0], "the shortest window is used up, the day is not");
        let first = untold.check(now, "", 1).unwrap_err().after(now).unwrap();
        assert!(first <= MINUTE, "{first:?}");
        let later = now.after(first);
        assert!(untold.check(later, "", 1).is_ok());
        untold.exhaust(later, None);
        assert_eq!(untold.check(later, "", 1).unwrap_err().after(later), Some(2 * MINUTE));
    }

    #[test]
    fn bans_escalate_when_they_recur_and_outlive_a_restart() {
        let now = start();
        let cell = cell(&[]);
        let minutes = |n: u64| Some(Duration::from_secs(60 * n));
        let left = |cell: &QuotaCell, now: Now| cell.check(now, "", 1).err().and_then(|wait| wait.after(now));
        cell.ban(now, None);
        cell.ban(now, None);
        assert_eq!(left(&cell, now), minutes(2), "two answers to one ban are one ban");
        let second = now.after(Duration::from_secs(120));
        assert_eq!(left(&cell, second), None);
        cell.ban(second, None);
        assert_eq!(left(&cell, second), minutes(4));
        cell.ban(second, Some(second.wall.saturating_add(Duration::from_secs(3_600))));
        assert_eq!(left(&cell, second), minutes(60));

        let saved = cell.snapshot(second);
        let text = serde_json::to_string(&saved).unwrap();
        let saved: QuotaSnapshot = serde_json::from_str(&text).unwrap();
        let fresh = self::cell(&[]);
        let restarted = Now { mono: Mono::from_nanos(5), wall: second.wall.saturating_add(Duration::from_secs(600)) };
        fresh.restore(&saved, restarted);
        assert_eq!(left(&fresh, restarted), minutes(50));
        let ended = restarted.after(Duration::from_secs(3_000));
        assert_eq!(left(&fresh, ended), None);
        fresh.ban(ended, None);
        assert_eq!(left(&fresh, ended), minutes(8), "the third in a row");
        let forgotten = ended.after(Duration::from_secs(480 + 86_401));
        fresh.ban(forgotten, None);
        assert_eq!(left(&fresh, forgotten), minutes(2));
        let named = self::cell(&[]);
        named.ban(now, Some(now.wall.saturating_add(Duration::from_secs(30))));
        assert_eq!(left(&named, now), Some(Duration::from_secs(30)), "the provider's word, when it gives it");
        let again = now.after(Duration::from_secs(31));
        named.ban(again, Some(again.wall.saturating_add(Duration::from_secs(30))));
        assert_eq!(left(&named, again), minutes(1));
    }

    #[test]
    fn a_restart_does_not_refill_windows() {
        let windows = [spec("", 10, MINUTE, WindowShape::Fixed), spec("", 100, MINUTE, WindowShape::Rolling)];
        let before = cell(&windows);
        let now = start();
        before.report_used("", MINUTE, 9, now, now);
        let saved = before.snapshot(now);
        let after = cell(&windows);
        let restarted = Now { mono: Mono::from_nanos(0), wall: now.wall.saturating_add(Duration::from_secs(1)) };
        after.restore(&saved, restarted);
        assert_eq!(after.snapshot(restarted).windows[0].used, 9);
        assert_eq!(after.try_acquire(restarted, "", 2).unwrap_err().cause, Cause::Window);
        let other = cell(&[spec("", 10, Duration::from_secs(1), WindowShape::Fixed)]);
        other.restore(&saved, restarted);
        assert_eq!(used(&other, restarted), [0]);
    }

    #[test]
    fn threads_never_take_more_than_the_limit() {
        let cell = cell(&[spec("", 1_000, MINUTE, WindowShape::Fixed), spec("b", 100, MINUTE, WindowShape::Fixed)]);
        let now = start();
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let cell = cell.clone();
                let bucket = if n % 2 == 0 { "b" } else { "" };
                let granted = move || (0..1_000).filter(|_| cell.try_acquire(now, bucket, 1).is_ok()).count();
                (bucket, std::thread::spawn(granted))
            })
            .collect();
        let granted: Vec<_> = threads.into_iter().map(|(bucket, thread)| (bucket, thread.join().unwrap())).collect();
        let all: usize = granted.iter().map(|(_, count)| count).sum();
        let bucket: usize = granted.iter().filter(|(bucket, _)| *bucket == "b").map(|(_, count)| count).sum();
        assert_eq!(all, 1_000);
        // How many of them fell to the bucket is the scheduler's choice, up to the bucket's own limit.
        assert!(bucket <= 100, "{bucket}");
        assert_eq!(used(&cell, now), [1_000, bucket as u32]);
    }

    proptest! {
        /// Grants, releases and time in any order: concurrency never exceeded, never leaked.
        #[test]
        fn grants_never_leak(limit in 1u32..5, steps in proptest::collection::vec((any::<bool>(), 0usize..5), 1..100)) {
            let cell = cell(&[
                spec("", limit, Duration::ZERO, WindowShape::Concurrency),
                spec("", 20, Duration::from_secs(1), WindowShape::Rolling),
            ]);
            let mut now = start();
            let mut grants = vec![];
            for (take, n) in steps {
                now = now.after(Duration::from_millis(20 * n as u64));
                if take {
                    grants.extend(cell.try_acquire(now, "", 1).ok());
                } else if !grants.is_empty() {
                    drop(grants.swap_remove(n % grants.len()));
                }
                prop_assert!(grants.len() <= limit as usize);
                prop_assert_eq!(used(&cell, now)[0] as usize, grants.len());
            }
            grants.clear();
            prop_assert_eq!(used(&cell, now)[0], 0);
        }
    }
}
