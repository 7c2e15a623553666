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

/// The right to make one attempt. Goes back by [`Breaker::release`] or [`Breaker::cancel`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit goes back by release or cancel"]
pub struct Permit {
    generation: u64,
    probe: bool,
}

impl Permit {
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
        if let Phase::Open { .. } = self.phase {
            self.enter(Phase::HalfOpen { in_flight: 0, succeeded: 0, admitted: now.mono });
        }
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
        Ok(Permit { generation: self.generation, probe })
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
