//! The breaker: stops asking a host that fails, tries it again by probes, and lets operators overrule it.
//! Not shared between cores: a shard owns its breakers. It counts what the provider did, not what the request earned:
//! see [`Verdict::is_failure`]. Invariants: half-open admits at most `probes` at a time; a permit that never comes back
//! cannot keep it half-open, because probes not settled within `open_for` are taken for lost.

use std::time::Duration;

use crate::model::Verdict;
use crate::time::{Mono, Now};

/// The breaker's settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerSpec {
    /// Failures in a row that open it; 0 switches this rule off.
    pub failures: u32,
    /// The time over which ratios are taken.
    pub window: Duration,
    /// Attempts in the window below which ratios do not count.
    pub volume_min: u32,
    /// Share of failures in the window that opens it; above 1 switches this rule off.
    pub failure_ratio: f32,
    /// An attempt that takes longer is slow.
    pub slow_after: Duration,
    /// Share of slow attempts in the window that opens it; above 1 switches this rule off.
    pub slow_ratio: f32,
    /// How long it stays open, unless a Retry-After says longer.
    pub open_for: Duration,
    /// No Retry-After keeps it open for longer than this.
    pub open_max: Duration,
    /// Probes admitted at a time while half-open, and successes needed to close.
    pub probes: u32,
}

impl Default for BreakerSpec {
    fn default() -> Self {
        BreakerSpec {
            failures: 5,
            window: Duration::from_secs(60),
            volume_min: 20,
            failure_ratio: 0.5,
            slow_after: Duration::from_secs(10),
            slow_ratio: 0.8,
            open_for: Duration::from_secs(60),
            open_max: Duration::from_secs(3_600),
            probes: 1,
        }
    }
}

/// What a breaker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Admits everything and counts.
    Closed,
    /// Admits everything and counts nothing, because an operator said so.
    Disabled,
    /// Refuses everything, because an operator said so.
    ForcedOpen,
    /// Admits probes.
    HalfOpen,
    /// Refuses everything for a time.
    Open,
}

impl BreakerState {
    /// The state's word in snapshots, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Disabled => "disabled",
            BreakerState::ForcedOpen => "forced_open",
            BreakerState::HalfOpen => "half_open",
            BreakerState::Open => "open",
        }
    }

    /// The state's number in metric cells.
    pub const fn code(self) -> u64 {
        self as u64
    }
}

/// What an operator can tell a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Judge for itself again, starting closed.
    Auto,
    /// Close now and judge for itself.
    Close,
    /// Admit everything, whatever happens.
    Disable,
    /// Refuse everything until told otherwise.
    Open,
}

impl Force {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Force::Auto => "auto",
            Force::Close => "closed",
            Force::Disable => "disabled",
            Force::Open => "forced_open",
        }
    }
}

/// The right to make one attempt. Goes back by [`Breaker::release`] or [`Breaker::cancel`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit goes back by release or cancel"]
pub struct Permit {
    generation: u64,
    probe: bool,
    began: Option<Transition>,
}

impl Permit {
    /// The change of state that taking it brought about: the first probe makes an open breaker half open.
    pub fn transition(&self) -> Option<Transition> {
        self.began
    }

    /// Whether the attempt is a half-open probe.
    pub fn is_probe(&self) -> bool {
        self.probe
    }
}

/// The breaker's refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The state that refuses.
    pub state: BreakerState,
    /// When asking again can help, from now on; `None` while it is forced open.
    pub retry_after: Option<Duration>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The verdict on it.
    pub verdict: Verdict,
    /// How long it took.
    pub elapsed: Duration,
    /// What the provider asked for.
    pub retry_after: Option<Duration>,
}

/// A change of state, for logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state left.
    pub from: BreakerState,
    /// The state entered.
    pub to: BreakerState,
    /// Why, from a closed set of words.
    pub reason: &'static str,
}

/// A breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    spec: BreakerSpec,
    phase: Phase,
    /// Counts the phases, so that a permit of an earlier phase does not move a later one.
    generation: u64,
    consecutive: u32,
    buckets: [Bucket; BUCKETS],
    /// Number of the bucket that was last written.
    slot: u64,
    opened_count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Disabled,
    ForcedOpen,
    HalfOpen { in_flight: u32, succeeded: u32, admitted: Mono },
    Open { until: Mono },
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    total: u32,
    failed: u32,
    slow: u32,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(spec: BreakerSpec) -> Self {
        Breaker {
            spec,
            phase: Phase::Closed,
            generation: 0,
            consecutive: 0,
            buckets: [Bucket::default(); BUCKETS],
            slot: 0,
            opened_count: 0,
        }
    }

    /// Takes the right to make one attempt. An open breaker whose time is over becomes half-open here.
    ///
    /// # Errors
    /// When it is open, forced open, or half-open with all its probes out.
    pub fn acquire(&mut self, now: Now) -> Result<Permit, Refused> {
        self.check(now)?;
        let began = match self.phase {
            Phase::Open { .. } => {
                let half_open = Phase::HalfOpen { in_flight: 0, succeeded: 0, admitted: now.mono };
                Some(self.transition(half_open, "open_for_is_over"))
            }
            _ => None,
        };
        let probe = match &mut self.phase {
            Phase::HalfOpen { in_flight, admitted, .. } => {
                let lost = now.mono.since(*admitted) >= self.spec.open_for;
                *in_flight = if lost { 1 } else { *in_flight + 1 };
                *admitted = now.mono;
                if lost {
                    self.generation += 1;
                }
                true
            }
            _ => false,
        };
        Ok(Permit { generation: self.generation, probe, began })
    }

    /// Gives a permit back with how the attempt ended; returns the change of state it caused.
    pub fn release(&mut self, permit: Permit, outcome: Outcome, now: Now) -> Option<Transition> {
        if permit.generation != self.generation {
            return None;
        }
        match self.phase {
            Phase::Closed => self.release_closed(outcome, now),
            Phase::HalfOpen { in_flight, succeeded, admitted } => {
                if outcome.verdict.is_failure() {
                    return Some(self.open("probe_failed", outcome.retry_after, now));
                }
                let succeeded = succeeded + 1;
                if succeeded >= self.spec.probes.max(1) {
                    return Some(self.transition(Phase::Closed, "probes_succeeded"));
                }
                self.phase = Phase::HalfOpen { in_flight: in_flight.saturating_sub(1), succeeded, admitted };
                None
            }
            Phase::Disabled | Phase::ForcedOpen | Phase::Open { .. } => None,
        }
    }

    /// Gives a permit back without an outcome: the attempt was dropped before it ended.
    pub fn cancel(&mut self, permit: Permit) {
        if permit.generation != self.generation {
            return;
        }
        if let Phase::HalfOpen { in_flight, .. } = &mut self.phase {
            *in_flight = in_flight.saturating_sub(1);
        }
    }

    /// Does what an operator says; returns the change of state.
    pub fn force(&mut self, force: Force) -> Option<Transition> {
        let from = self.state_at_rest();
        let phase = match force {
            Force::Auto if !matches!(from, BreakerState::Disabled | BreakerState::ForcedOpen) => return None,
            Force::Auto | Force::Close => Phase::Closed,
            Force::Disable => Phase::Disabled,
            Force::Open => Phase::ForcedOpen,
        };
        let transition = self.transition(phase, "forced");
        (transition.from != transition.to).then_some(transition)
    }

    /// Opens it because others have seen the host fail: a quorum of shards, or a health check.
    pub fn trip(&mut self, now: Now) -> Option<Transition> {
        match self.phase {
            Phase::Closed | Phase::HalfOpen { .. } => Some(self.open("quorum", None, now)),
            Phase::Disabled | Phase::ForcedOpen | Phase::Open { .. } => None,
        }
    }

    /// Closes it because others have seen the host recover; what an operator has forced stays.
    pub fn untrip(&mut self) -> Option<Transition> {
        match self.phase {
            Phase::HalfOpen { .. } | Phase::Open { .. } => Some(self.transition(Phase::Closed, "quorum")),
            Phase::Closed | Phase::Disabled | Phase::ForcedOpen => None,
        }
    }

    /// Whether an attempt would be admitted; cheap, and takes nothing. Asked before waiting for quota.
    ///
    /// # Errors
    /// As [`Breaker::acquire`].
    pub fn check(&self, now: Now) -> Result<(), Refused> {
        let refuse = |state, retry_after| Err(Refused { state, retry_after });
        match self.phase {
            Phase::Closed | Phase::Disabled => Ok(()),
            Phase::ForcedOpen => refuse(BreakerState::ForcedOpen, None),
            Phase::Open { until } if now.mono < until => refuse(BreakerState::Open, Some(until.since(now.mono))),
            Phase::Open { .. } => Ok(()),
            Phase::HalfOpen { in_flight, admitted, .. } => {
                let since = now.mono.since(admitted);
                if in_flight < self.spec.probes.max(1) || since >= self.spec.open_for {
                    return Ok(());
                }
                refuse(BreakerState::HalfOpen, Some(PROBE_WAIT.min(self.spec.open_for - since)))
            }
        }
    }

    /// The state now: an open breaker whose time is over counts as half-open.
    pub fn state(&self, now: Now) -> BreakerState {
        match self.phase {
            Phase::Open { until } if now.mono >= until => BreakerState::HalfOpen,
            _ => self.state_at_rest(),
        }
    }

    /// How often it has opened.
    pub fn opened_count(&self) -> u64 {
        self.opened_count
    }

    fn state_at_rest(&self) -> BreakerState {
        match self.phase {
            Phase::Closed => BreakerState::Closed,
            Phase::Disabled => BreakerState::Disabled,
            Phase::ForcedOpen => BreakerState::ForcedOpen,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
            Phase::Open { .. } => BreakerState::Open,
        }
    }

    fn release_closed(&mut self, outcome: Outcome, now: Now) -> Option<Transition> {
        // A limit notice says nothing of the provider's health, neither good nor bad.
        if matches!(outcome.verdict, Verdict::RateLimited | Verdict::Banned) {
            return None;
        }
        let failed = outcome.verdict.is_failure();
        self.consecutive = if failed { self.consecutive.saturating_add(1) } else { 0 };
        let bucket = self.bucket(now.mono);
        bucket.total += 1;
        bucket.failed += u32::from(failed);
        let slow = outcome.elapsed > self.spec.slow_after;
        self.bucket(now.mono).slow += u32::from(slow);
        let reason = self.tripped()?;
        Some(self.open(reason, outcome.retry_after.filter(|_| failed), now))
    }

    fn tripped(&self) -> Option<&'static str> {
        if self.spec.failures > 0 && self.consecutive >= self.spec.failures {
            return Some("consecutive_failures");
        }
        let mut sum = Bucket::default();
        for bucket in &self.buckets {
            sum.total += bucket.total;
            sum.failed += bucket.failed;
            sum.slow += bucket.slow;
        }
        if sum.total < self.spec.volume_min.max(1) {
            return None;
        }
        let share = |part: u32| part as f32 / sum.total as f32;
        if share(sum.failed) >= self.spec.failure_ratio && sum.failed > 0 {
            return Some("failure_ratio");
        }
        (share(sum.slow) >= self.spec.slow_ratio && sum.slow > 0).then_some("slow_ratio")
    }

    /// The bucket of this moment; empties those whose time has gone by.
    fn bucket(&mut self, now: Mono) -> &mut Bucket {
        let width = (self.spec.window.as_nanos() as u64 / BUCKETS as u64).max(1);
        let slot = (now.as_nanos() / width).max(self.slot);
        let stale = (slot - self.slot).min(BUCKETS as u64);
        for passed in 0..stale {
            self.buckets[((slot - passed) % BUCKETS as u64) as usize] = Bucket::default();
        }
        self.slot = slot;
        &mut self.buckets[(slot % BUCKETS as u64) as usize]
    }

    fn open(&mut self, reason: &'static str, retry_after: Option<Duration>, now: Now) -> Transition {
        let wait = self.spec.open_for.max(retry_after.unwrap_or_default().min(self.spec.open_max));
        self.opened_count += 1;
        self.transition(Phase::Open { until: now.mono + wait }, reason)
    }

    fn transition(&mut self, phase: Phase, reason: &'static str) -> Transition {
        let from = self.state_at_rest();
        self.enter(phase);
        Transition { from, to: self.state_at_rest(), reason }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation += 1;
        self.consecutive = 0;
        self.buckets = [Bucket::default(); BUCKETS];
    }
}

/// Ratios are taken over that many parts of the window.
const BUCKETS: usize = 10;
/// When to look again while all probes are out: they settle at the pace of answers.
const PROBE_WAIT: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OK: Outcome = Outcome { verdict: Verdict::Ok, elapsed: Duration::from_millis(5), retry_after: None };
    const BAD: Outcome = Outcome { verdict: Verdict::UpstreamError, ..OK };

    fn after(seconds: u64) -> Now {
        Now::default().after(Duration::from_secs(seconds))
    }

    fn attempt(breaker: &mut Breaker, outcome: Outcome, now: Now) -> Option<Transition> {
        let permit = breaker.acquire(now).unwrap();
        breaker.release(permit, outcome, now)
    }

    fn opened(spec: BreakerSpec) -> Breaker {
        let mut breaker = Breaker::new(BreakerSpec { failures: 1, ..spec });
        attempt(&mut breaker, BAD, after(0)).unwrap();
        breaker
    }

    #[test]
    fn opens_at_the_fifth_failure_in_a_row() {
        let mut breaker = Breaker::new(BreakerSpec::default());
        for _ in 0..4 {
            assert_eq!(attempt(&mut breaker, BAD, after(0)), None);
        }
        assert_eq!(attempt(&mut breaker, OK, after(0)), None);
        for _ in 0..4 {
            assert_eq!(attempt(&mut breaker, BAD, after(1)), None);
        }
        let limited = Outcome { verdict: Verdict::RateLimited, ..OK };
        assert_eq!(attempt(&mut breaker, limited, after(1)), None, "a limit notice is neither good nor bad");
        let transition = attempt(&mut breaker, BAD, after(1)).unwrap();
        assert_eq!((transition.from, transition.to), (BreakerState::Closed, BreakerState::Open));
        assert_eq!(transition.reason, "consecutive_failures");
        let refused = breaker.acquire(after(31)).unwrap_err();
        assert_eq!(refused, Refused { state: BreakerState::Open, retry_after: Some(Duration::from_secs(30)) });
        assert_eq!(breaker.check(after(60)), breaker.acquire(after(60)).map(drop));
        assert!(breaker.check(after(61)).is_ok());
        assert_eq!(breaker.opened_count(), 1);
    }

    #[test]
    fn verdicts_that_the_request_earned_do_not_open_it() {
        let mut breaker = Breaker::new(BreakerSpec { failures: 1, volume_min: 1, ..BreakerSpec::default() });
        for verdict in Verdict::ALL.into_iter().filter(|verdict| !verdict.is_failure()) {
            assert_eq!(attempt(&mut breaker, Outcome { verdict, ..OK }, after(0)), None, "{verdict}");
        }
        for verdict in [Verdict::UpstreamError, Verdict::Malformed] {
            assert!(attempt(&mut breaker, Outcome { verdict, ..OK }, after(0)).is_some(), "{verdict}");
            let _ = breaker.force(Force::Close);
        }
    }

    #[test]
    fn a_ratio_needs_volume_and_forgets() {
        let spec = BreakerSpec { failures: 0, volume_min: 10, failure_ratio: 0.5, ..BreakerSpec::default() };
        let mut breaker = Breaker::new(spec);
        for second in 0..9 {
            assert_eq!(attempt(&mut breaker, if second % 2 == 0 { BAD } else { OK }, after(second)), None);
        }
        assert_eq!(attempt(&mut breaker, OK, after(9)).map(|change| change.reason), Some("failure_ratio"));
        let mut breaker = Breaker::new(spec);
        for second in 0..9 {
            assert_eq!(attempt(&mut breaker, BAD, after(second)), None);
        }
        for second in 70..90 {
            assert_eq!(attempt(&mut breaker, OK, after(second)), None, "failures of a minute ago do not count");
        }
    }

    #[test]
    fn slow_answers_open_it() {
        let spec = BreakerSpec { volume_min: 4, slow_after: Duration::from_secs(1), ..BreakerSpec::default() };
        let mut breaker = Breaker::new(spec);
        let slow = Outcome { elapsed: Duration::from_millis(1_001), ..OK };
        let changes: Vec<_> = (0..4).filter_map(|_| attempt(&mut breaker, slow, after(0))).collect();
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].reason, "slow_ratio");
    }

    #[test]
    fn a_retry_after_keeps_it_open_for_longer_within_reason() {
        let check = |retry_after: u64, expected: u64| {
            let mut breaker = Breaker::new(BreakerSpec { failures: 1, ..BreakerSpec::default() });
            attempt(&mut breaker, Outcome { retry_after: Some(Duration::from_secs(retry_after)), ..BAD }, after(0));
            assert_eq!(breaker.check(after(0)).unwrap_err().retry_after, Some(Duration::from_secs(expected)));
        };
        check(1, 60);
        check(300, 300);
        check(1_000_000, 3_600);
    }

    #[test]
    fn half_open_admits_its_probes_and_closes_when_they_succeed() {
        let mut breaker = opened(BreakerSpec { probes: 2, ..BreakerSpec::default() });
        let first = breaker.acquire(after(60)).unwrap();
        let second = breaker.acquire(after(60)).unwrap();
        assert!(first.is_probe() && second.is_probe());
        let began = first.transition().unwrap();
        assert_eq!((began.from, began.to), (BreakerState::Open, BreakerState::HalfOpen));
        assert_eq!(second.transition(), None);
        assert_eq!(breaker.check(after(60)).unwrap_err().state, BreakerState::HalfOpen);
        assert_eq!(breaker.release(first, OK, after(61)), None);
        let transition = breaker.release(second, OK, after(61)).unwrap();
        assert_eq!((transition.from, transition.to), (BreakerState::HalfOpen, BreakerState::Closed));
    }

    #[test]
    fn half_open_opens_again_on_a_failed_probe() {
        let mut breaker = opened(BreakerSpec::default());
        assert_eq!(attempt(&mut breaker, BAD, after(60)).map(|change| change.reason), Some("probe_failed"));
        assert!(breaker.check(after(119)).is_err() && breaker.check(after(120)).is_ok());
    }

    #[test]
    fn a_cancelled_or_lost_probe_cannot_stick() {
        let mut breaker = opened(BreakerSpec::default());
        let probe = breaker.acquire(after(60)).unwrap();
        breaker.cancel(probe);
        let lost = breaker.acquire(after(60)).unwrap();
        assert!(breaker.check(after(119)).is_err());
        let next = breaker.acquire(after(120)).unwrap();
        assert_eq!(breaker.release(lost, BAD, after(121)), None, "a lost probe that returns moves nothing");
        assert!(breaker.release(next, OK, after(121)).is_some());
        assert_eq!(breaker.state(after(121)), BreakerState::Closed);
    }

    #[test]
    fn an_answer_to_an_earlier_phase_moves_nothing() {
        let mut breaker = Breaker::new(BreakerSpec { failures: 1, ..BreakerSpec::default() });
        let early = breaker.acquire(after(0)).unwrap();
        attempt(&mut breaker, BAD, after(0));
        let probe = breaker.acquire(after(60)).unwrap();
        assert_eq!(breaker.release(early, BAD, after(61)), None);
        assert!(breaker.release(probe, OK, after(61)).is_some());
    }

    #[test]
    fn operators_overrule_it() {
        let mut breaker = Breaker::new(BreakerSpec { failures: 1, ..BreakerSpec::default() });
        assert!(breaker.force(Force::Open).is_some());
        assert_eq!(breaker.acquire(after(9_999)).unwrap_err().retry_after, None);
        assert!(breaker.force(Force::Disable).is_some());
        assert_eq!(attempt(&mut breaker, BAD, after(0)), None);
        assert_eq!(breaker.state(after(0)), BreakerState::Disabled);
        assert_eq!(breaker.trip(after(0)), None);
        assert!(breaker.force(Force::Auto).is_some());
        assert_eq!(breaker.force(Force::Auto), None);
        assert!(breaker.trip(after(0)).is_some());
        assert_eq!(breaker.force(Force::Close).map(|change| change.to), Some(BreakerState::Closed));
    }

    /// A plain model: lists instead of counters, no generations.
    struct Model {
        state: BreakerState,
        row: u32,
        until: u64,
        probes_out: Vec<usize>,
        probes_good: u32,
    }

    proptest! {
        /// Against the model, with the ratio rules off: same refusals, same states, never more probes than allowed.
        #[test]
        fn moves_as_the_model_does(
            failures in 1u32..4, probes in 1u32..3,
            steps in proptest::collection::vec((0u8..4, 0u64..20, 0usize..4), 1..300),
        ) {
            let spec = BreakerSpec { failures, probes, volume_min: u32::MAX, ..BreakerSpec::default() };
            let mut breaker = Breaker::new(spec);
            let mut model =
                Model { state: BreakerState::Closed, row: 0, until: 0, probes_out: vec![], probes_good: 0 };
            // Permits out, each with the model's phase it was given in.
            let mut out: Vec<(usize, u64, Permit)> = vec![];
            let (mut seconds, mut phase, mut next) = (0, 0u64, 0);
            let mut last_probe = 0;
            for (step, wait, pick) in steps {
                seconds += wait;
                let now = after(seconds);
                if step == 0 || out.is_empty() {
                    let lost = model.state == BreakerState::HalfOpen && seconds - last_probe >= 60;
                    let admitted = match model.state {
                        BreakerState::Open => seconds >= model.until,
                        BreakerState::HalfOpen => (model.probes_out.len() as u32) < probes || lost,
                        _ => true,
                    };
                    prop_assert_eq!(breaker.check(now).is_ok(), admitted);
                    let permit = breaker.acquire(now);
                    prop_assert_eq!(permit.is_ok(), admitted);
                    let Ok(permit) = permit else { continue };
                    if model.state == BreakerState::Open {
                        phase += 1;
                        model.state = BreakerState::HalfOpen;
                        model.probes_out.clear();
                        model.probes_good = 0;
                    } else if lost {
                        phase += 1;
                        model.probes_out.clear();
                    }
                    if model.state == BreakerState::HalfOpen {
                        model.probes_out.push(next);
                        last_probe = seconds;
                        prop_assert!(model.probes_out.len() as u32 <= probes);
                    }
                    out.push((next, phase, permit));
                    next += 1;
                    continue;
                }
                let (id, given, permit) = out.swap_remove(pick % out.len());
                let current = given == phase;
                if step == 1 {
                    breaker.cancel(permit);
                    if current {
                        model.probes_out.retain(|probe| *probe != id);
                    }
                } else {
                    let good = step == 2;
                    breaker.release(permit, if good { OK } else { BAD }, now);
                    if current {
                        model.probes_out.retain(|probe| *probe != id);
                        match (model.state, good) {
                            (BreakerState::Closed, true) => model.row = 0,
                            (BreakerState::Closed, false) => model.row += 1,
                            (_, true) => model.probes_good += 1,
                            (_, false) => model.row = failures,
                        }
                        if model.row >= failures {
                            (model.state, model.until, model.row) = (BreakerState::Open, seconds + 60, 0);
                            phase += 1;
                        } else if model.state == BreakerState::HalfOpen && model.probes_good >= probes {
                            (model.state, model.row) = (BreakerState::Closed, 0);
                            phase += 1;
                        }
                    }
                }
                let expected =
                    if model.state == BreakerState::Open && seconds >= model.until { BreakerState::HalfOpen } else { model.state };
                prop_assert_eq!(breaker.state(now), expected);
            }
            // Whatever was cancelled or lost, it can always be used again.
            let later = after(seconds + 3_600);
            prop_assert!(breaker.acquire(later).is_ok());
        }

        #[test]
        fn a_ratio_is_that_of_the_window(
            steps in proptest::collection::vec((0u64..4_000, any::<bool>()), 1..200),
        ) {
            let spec = BreakerSpec { failures: 0, volume_min: 10, ..BreakerSpec::default() };
            let mut breaker = Breaker::new(spec);
            let mut seen: Vec<(u64, bool)> = vec![];
            let mut ms = 0;
            for (wait, bad) in steps {
                ms += wait;
                let now = Now::default().after(Duration::from_millis(ms));
                seen.push((ms / 6_000, bad));
                let inside = seen.iter().filter(|(slot, _)| slot + 10 > ms / 6_000);
                let (total, failed) = inside.fold((0, 0), |(total, failed), (_, bad)| (total + 1, failed + u32::from(*bad)));
                let opens = total >= 10 && failed * 2 >= total;
                prop_assert_eq!(attempt(&mut breaker, if bad { BAD } else { OK }, now).is_some(), opens);
                if opens {
                    break;
                }
            }
        }
    }
}
