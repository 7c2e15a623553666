//! What the breakers of one source tell each other when it is spread over several shards: more than half of them open
//! open all, and then one shard probes for all. Owns no breaker: a shard follows the advice with its own.
//! Invariants: at most one shard holds the right to probe at a time; the right lapses, so a probe that is lost cannot
//! keep the others out.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use super::sync::{Arc, AtomicU64, Ordering};
use crate::time::Now;

/// Makes one seat for each of `shards` shards (1 to 32) that share a source.
pub fn quorum(shards: usize) -> Vec<QuorumSeat> {
    assert!(
        (1..=QUORUM_SHARDS_MAX).contains(&shards),
        "expected 1 to {QUORUM_SHARDS_MAX} shards of a source, found {shards}"
    );
    let shared = Arc::new(Shared { shards: shards as u32, state: AtomicU64::new(0), probe: AtomicU64::new(0) });
    (0..shards as u32).map(|shard| QuorumSeat { shared: shared.clone(), shard, round: Cell::new(0) }).collect()
}

/// What a shard should do with its breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Close it: the shard that probed for all has succeeded. Given once.
    Close,
    /// Decide alone.
    Decide,
    /// Open it, if it is not open already: `Breaker::trip`.
    Open,
}

/// One shard's place among the breakers of a source.
pub struct QuorumSeat {
    shared: Arc<Shared>,
    shard: u32,
    /// The last round whose end this shard has acted on.
    round: Cell<u64>,
}

impl QuorumSeat {
    /// What to do, asked before each admission.
    pub fn advise(&self) -> Advice {
        let state = self.shared.state.load(Ordering::Acquire);
        if self.round.replace(state >> 32) != state >> 32 {
            return Advice::Close;
        }
        if self.shared.is_reached(state) { Advice::Open } else { Advice::Decide }
    }

    /// Says that this shard's breaker has opened by its own counts.
    pub fn opened(&self) {
        self.shared.state.fetch_or(1 << self.shard, Ordering::AcqRel);
    }

    /// Says that this shard's breaker has closed. After a quorum this closes all and begins a round anew.
    pub fn closed(&self) {
        let mut state = self.shared.state.load(Ordering::Acquire);
        loop {
            let reached = self.shared.is_reached(state);
            let next = if reached { ((state >> 32) + 1) << 32 } else { state & !(1 << self.shard) };
            match self.shared.state.compare_exchange(state, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    if reached {
                        self.round.set(next >> 32);
                    }
                    return self.probe_over();
                }
                Err(found) => state = found,
            }
        }
    }

    /// Takes the right to probe for all, or keeps it, for `lease`; `false` while another shard has it. A shard whose
    /// breaker opened without a quorum probes for itself and always may.
    pub fn may_probe(&self, now: Now, lease: Duration) -> bool {
        if !self.shared.is_reached(self.shared.state.load(Ordering::Acquire)) {
            return true;
        }
        let held = self.shared.probe.load(Ordering::Acquire);
        let (until, holder) = (held & !SHARD_BITS, held & SHARD_BITS);
        if until > now.mono.as_nanos() && holder != u64::from(self.shard) {
            return false;
        }
        let wanted = ((now.mono + lease).as_nanos() & !SHARD_BITS) | u64::from(self.shard);
        self.shared.probe.compare_exchange(held, wanted, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Whether another shard has the right to probe now.
    pub fn is_probed_elsewhere(&self, now: Now) -> bool {
        if !self.shared.is_reached(self.shared.state.load(Ordering::Acquire)) {
            return false;
        }
        let held = self.shared.probe.load(Ordering::Acquire);
        held & !SHARD_BITS > now.mono.as_nanos() && held & SHARD_BITS != u64::from(self.shard)
    }

    /// Gives the right to probe back, if this shard has it.
    pub fn probe_over(&self) {
        let held = self.shared.probe.load(Ordering::Acquire);
        if held & SHARD_BITS == u64::from(self.shard) {
            // A failure means that the lease has lapsed and another shard has taken it.
            let _ = self.shared.probe.compare_exchange(held, 0, Ordering::AcqRel, Ordering::Acquire);
        }
    }
}

impl fmt::Debug for QuorumSeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuorumSeat").field("shard", &self.shard).finish_non_exhaustive()
    }
}

struct Shared {
    shards: u32,
    /// Number of the round above; below, one bit for each shard whose breaker is open.
    state: AtomicU64,
    /// When the right to probe lapses, in nanoseconds, with the shard that holds it in the low bits.
    probe: AtomicU64,
}

impl Shared {
    fn is_reached(&self, state: u64) -> bool {
        self.shards > 1 && (state as u32).count_ones() * 2 > self.shards
    }
}

/// As many as the mask has bits for.
pub const QUORUM_SHARDS_MAX: usize = 32;
const SHARD_BITS: u64 = 31;

#[cfg(all(test, not(tidegate_loom)))]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    #[test]
    fn more_than_half_open_all_and_one_closes_all() {
        let seats = quorum(4);
        seats[0].opened();
        seats[1].opened();
        assert_eq!(seats[3].advise(), Advice::Decide);
        assert!(seats[0].may_probe(Now::default(), LEASE) && seats[1].may_probe(Now::default(), LEASE));
        seats[1].closed();
        seats[1].opened();
        seats[2].opened();
        assert_eq!(seats[3].advise(), Advice::Open);
        assert!(seats[1].may_probe(Now::default(), LEASE));
        assert!(!seats[0].may_probe(Now::default(), LEASE));
        seats[1].closed();
        assert_eq!(seats[1].advise(), Advice::Decide);
        for seat in [&seats[0], &seats[2], &seats[3]] {
            assert_eq!((seat.advise(), seat.advise()), (Advice::Close, Advice::Decide));
        }
    }

    #[test]
    fn a_lost_probe_lapses() {
        let seats = quorum(2);
        seats.iter().for_each(QuorumSeat::opened);
        let now = Now::default();
        assert!(seats[0].may_probe(now, LEASE));
        assert!(!seats[1].may_probe(now.after(LEASE / 2), LEASE));
        assert!(seats[1].may_probe(now.after(LEASE), LEASE));
        seats[0].probe_over();
        assert!(!seats[0].may_probe(now.after(LEASE), LEASE), "what has lapsed is not given back by its old holder");
        seats[1].probe_over();
        assert!(seats[0].may_probe(now.after(LEASE), LEASE));
    }

    #[test]
    fn a_source_on_one_shard_decides_alone() {
        let seats = quorum(1);
        seats[0].opened();
        assert_eq!(seats[0].advise(), Advice::Decide);
        assert!(seats[0].may_probe(Now::default(), LEASE));
        seats[0].closed();
        assert_eq!(seats[0].advise(), Advice::Decide);
    }
}
