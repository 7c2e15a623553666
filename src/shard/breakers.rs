//! The breakers of one source on one shard, one for each of its bases, and what they owe the other shards when the source
//! is spread: more than half of them open open all, and then one shard probes for all.
//! Owns the order in which breaker and quorum are asked; not the counting of either. Pure: the time is an argument.
//! Invariants: what an operator has forced is not overruled by other shards; a probe's end gives its right back.

use std::cell::RefCell;
use std::time::Duration;

use crate::handoff::{Advice, QuorumSeat};
use crate::policy::{Breaker, BreakerSpec, BreakerState, Force, Outcome, Permit, Refused, Transition};
use crate::time::Now;

/// The breakers of a source on one shard.
pub(super) struct Breakers {
    own: RefCell<Vec<Breaker>>,
    /// One for each base; empty when the source is on this shard alone.
    seats: Vec<QuorumSeat>,
    /// How long a right to probe holds: as long as a lost probe keeps a breaker half open.
    lease: Duration,
}

impl Breakers {
    /// Closed breakers for so many bases.
    pub(super) fn new(spec: BreakerSpec, bases: usize, seats: Vec<QuorumSeat>) -> Self {
        let own = (0..bases).map(|_| Breaker::new(spec)).collect();
        Breakers { own: RefCell::new(own), seats, lease: spec.open_for }
    }

    /// Does what the other shards have brought about; returns the change of state.
    pub(super) fn heed(&self, base: usize, now: Now) -> Option<Transition> {
        let seat = self.seats.get(base)?;
        let breaker = &mut self.own.borrow_mut()[base];
        match seat.advise() {
            Advice::Close => breaker.untrip(),
            Advice::Decide => None,
            // One that is half open probes for all.
            Advice::Open if breaker.state(now) == BreakerState::Closed => breaker.trip(now),
            Advice::Open => None,
        }
    }

    /// Whether an attempt would be admitted; takes nothing.
    ///
    /// # Errors
    /// When the breaker does not admit it, or another shard probes for this one.
    pub(super) fn check(&self, base: usize, now: Now) -> Result<(), Refused> {
        let breaker = &self.own.borrow()[base];
        breaker.check(now)?;
        match self.seats.get(base) {
            Some(seat) if breaker.state(now) == BreakerState::HalfOpen && seat.is_probed_elsewhere(now) => {
                Err(PROBED_ELSEWHERE)
            }
            _ => Ok(()),
        }
    }

    /// Takes the right to make one attempt.
    ///
    /// # Errors
    /// As [`Breakers::check`].
    pub(super) fn acquire(&self, base: usize, now: Now) -> Result<Permit, Refused> {
        self.check(base, now)?;
        let breaker = &mut self.own.borrow_mut()[base];
        if let Some(seat) = self.seats.get(base)
            && breaker.state(now) == BreakerState::HalfOpen
            && !seat.may_probe(now, self.lease)
        {
            return Err(PROBED_ELSEWHERE);
        }
        breaker.acquire(now)
    }

    /// Gives a permit back with how the attempt ended; returns the change of state it caused.
    pub(super) fn release(&self, base: usize, permit: Permit, outcome: Outcome, now: Now) -> Option<Transition> {
        let was_probe = permit.is_probe();
        let changed = self.own.borrow_mut()[base].release(permit, outcome, now);
        if let Some(seat) = self.seats.get(base) {
            match changed.map(|changed| changed.to) {
                Some(BreakerState::Closed) => seat.closed(),
                Some(BreakerState::Open) => seat.opened(),
                _ => {}
            }
            // A probe that was one of several keeps the right for those that follow.
            if was_probe && changed.is_some() {
                seat.probe_over();
            }
        }
        changed
    }

    /// Gives a permit back without an outcome.
    pub(super) fn cancel(&self, base: usize, permit: Permit) {
        let was_probe = permit.is_probe();
        self.own.borrow_mut()[base].cancel(permit);
        if let (true, Some(seat)) = (was_probe, self.seats.get(base)) {
            seat.probe_over();
        }
    }

    /// Does what an operator says; returns the changes of state.
    pub(super) fn force(&self, force: Force) -> Vec<Transition> {
        let mut changes = Vec::new();
        for (base, breaker) in self.own.borrow_mut().iter_mut().enumerate() {
            changes.extend(breaker.force(force));
            if let Some(seat) = self.seats.get(base) {
                // What an operator decides says nothing of the provider.
                seat.closed();
            }
        }
        changes
    }

    /// The state of each.
    pub(super) fn states(&self, now: Now) -> Vec<BreakerState> {
        self.own.borrow().iter().map(|breaker| breaker.state(now)).collect()
    }

    /// How often they have opened.
    pub(super) fn opened_count(&self) -> u64 {
        self.own.borrow().iter().map(Breaker::opened_count).sum()
    }
}

const PROBED_ELSEWHERE: Refused =
    Refused { state: BreakerState::HalfOpen, retry_after: Some(Duration::from_millis(250)) };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::quorum;
    use crate::model::Verdict;

    const OK: Outcome = Outcome { verdict: Verdict::Ok, elapsed: Duration::from_millis(5), retry_after: None };
    const BAD: Outcome = Outcome { verdict: Verdict::UpstreamError, ..OK };

    fn shards(count: usize) -> Vec<Breakers> {
        let spec = BreakerSpec { failures: 2, open_for: Duration::from_secs(60), ..BreakerSpec::default() };
        quorum(count).into_iter().map(|seat| Breakers::new(spec, 1, vec![seat])).collect()
    }

    fn at(secs: u64) -> Now {
        Now::default().after(Duration::from_secs(secs))
    }

    /// One attempt as the request path makes it.
    fn attempt(breakers: &Breakers, outcome: Outcome, now: Now) -> Result<Option<Transition>, Refused> {
        breakers.heed(0, now);
        breakers.check(0, now)?;
        let permit = breakers.acquire(0, now)?;
        Ok(breakers.release(0, permit, outcome, now))
    }

    fn fail(breakers: &Breakers, now: Now) {
        for _ in 0..2 {
            attempt(breakers, BAD, now).unwrap();
        }
    }

    fn states(shards: &[Breakers], now: Now) -> Vec<BreakerState> {
        shards.iter().for_each(|shard| {
            shard.heed(0, now);
        });
        shards.iter().map(|shard| shard.states(now)[0]).collect()
    }

    #[test]
    fn a_quorum_opens_all_and_one_probe_closes_all() {
        use BreakerState::{Closed, HalfOpen, Open};
        let shards = shards(3);
        fail(&shards[0], at(0));
        assert_eq!(states(&shards, at(1)), [Open, Closed, Closed], "one of three is no quorum");
        fail(&shards[1], at(1));
        assert_eq!(states(&shards, at(2)), [Open, Open, Open]);
        assert!(attempt(&shards[2], OK, at(2)).is_err(), "the third has not failed itself");

        // Their time is over; the first to come probes for all.
        assert_eq!(states(&shards, at(63)), [HalfOpen; 3]);
        let probe = shards[1].acquire(0, at(63)).unwrap();
        for other in [&shards[0], &shards[2]] {
            assert_eq!(other.check(0, at(63)), Err(PROBED_ELSEWHERE));
            assert_eq!(other.acquire(0, at(63)).unwrap_err(), PROBED_ELSEWHERE);
        }
        assert!(shards[1].release(0, probe, OK, at(64)).is_some());
        assert_eq!(states(&shards, at(64)), [Closed; 3]);
        shards.iter().for_each(|shard| assert!(attempt(shard, OK, at(64)).is_ok()));
    }

    #[test]
    fn a_probe_that_fails_or_is_cancelled_leaves_the_next_to_another() {
        let shards = shards(2);
        shards.iter().for_each(|shard| fail(shard, at(0)));
        let probe = shards[0].acquire(0, at(61)).unwrap();
        assert!(shards[1].check(0, at(61)).is_err());
        shards[0].cancel(0, probe);
        let probe = shards[1].acquire(0, at(61)).unwrap();
        assert!(shards[0].acquire(0, at(61)).is_err());
        shards[1].release(0, probe, BAD, at(62));
        assert_eq!(shards[1].states(at(62))[0], BreakerState::Open);
        assert!(shards[0].acquire(0, at(62)).is_ok(), "its own time is over and nobody else probes");
    }

    #[test]
    fn what_an_operator_forces_outlasts_the_quorum() {
        let shards = shards(3);
        shards[2].force(Force::Disable);
        fail(&shards[0], at(0));
        fail(&shards[1], at(0));
        assert_eq!(states(&shards, at(1))[2], BreakerState::Disabled);
        assert!(attempt(&shards[2], BAD, at(1)).is_ok());
        shards[2].force(Force::Open);
        let probe = shards[0].acquire(0, at(61)).unwrap();
        shards[0].release(0, probe, OK, at(61));
        assert_eq!(states(&shards, at(61)), [BreakerState::Closed, BreakerState::Closed, BreakerState::ForcedOpen]);
    }

    #[test]
    fn a_source_on_one_shard_decides_alone() {
        let spec = BreakerSpec { failures: 2, ..BreakerSpec::default() };
        let alone = Breakers::new(spec, 2, Vec::new());
        fail(&alone, at(0));
        assert_eq!(alone.states(at(0)), [BreakerState::Open, BreakerState::Closed]);
        assert_eq!(alone.opened_count(), 1);
        assert!(attempt(&alone, OK, at(60)).is_ok());
    }
}
