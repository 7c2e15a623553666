//! The retry budget: an outage must not multiply load, so retries are paid from a share of what succeeds, plus a floor
//! that keeps a quiet source able to retry at all.
//! Invariant: retries ever granted ≤ `reserve` + `share_pct` % of successes + `per_minute` × minutes.

use std::time::Duration;

use crate::time::{Mono, Now};

/// The budget's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetSpec {
    /// Retries earned by a hundred successes.
    pub share_pct: u32,
    /// Retries earned by a minute going by.
    pub per_minute: u32,
    /// Retries that can be saved up, and what a fresh budget holds.
    pub reserve: u32,
}

impl Default for BudgetSpec {
    /// A fifth of the successes, ten a minute, ten saved up.
    fn default() -> Self {
        BudgetSpec { share_pct: 20, per_minute: 10, reserve: 10 }
    }
}

/// A source's retry budget.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    spec: BudgetSpec,
    /// In units of [`UNIT`] per retry, so that both incomes are whole numbers.
    balance: u64,
    /// Up to when the floor has been paid in.
    paid: Option<Mono>,
}

impl RetryBudget {
    /// A budget with its reserve full.
    pub fn new(spec: BudgetSpec) -> Self {
        RetryBudget { spec, balance: u64::from(spec.reserve) * UNIT, paid: None }
    }

    /// Pays in for a success.
    pub fn succeed(&mut self) {
        self.pay_in(u64::from(self.spec.share_pct) * (UNIT / 100));
    }

    /// Takes one retry; `false` when there is none to take.
    pub fn spend(&mut self, now: Now) -> bool {
        self.pay_floor(now.mono);
        let Some(left) = self.balance.checked_sub(UNIT) else { return false };
        self.balance = left;
        true
    }

    /// Whole retries left.
    pub fn left(&self) -> u32 {
        (self.balance / UNIT) as u32
    }

    fn pay_floor(&mut self, now: Mono) {
        let elapsed = now.since(self.paid.unwrap_or(now));
        self.paid = Some(self.paid.map_or(now, |paid| paid.max(now)));
        let nanos = elapsed.min(ELAPSED_MAX).as_nanos() as u64;
        // UNIT is a minute in nanoseconds, so a nanosecond earns `per_minute` units.
        self.pay_in(nanos.saturating_mul(u64::from(self.spec.per_minute)));
    }

    fn pay_in(&mut self, units: u64) {
        let full = u64::from(self.spec.reserve) * UNIT;
        self.balance = self.balance.saturating_add(units).min(full);
    }
}

/// One retry: the nanoseconds of a minute.
const UNIT: u64 = 60_000_000_000;
/// More than fills any reserve that a configuration can name.
const ELAPSED_MAX: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn successes_and_time_pay_in() {
        let mut budget = RetryBudget::new(BudgetSpec { share_pct: 20, per_minute: 2, reserve: 3 });
        let start = Now::default();
        assert!((0..3).all(|_| budget.spend(start)));
        assert!(!budget.spend(start));
        (0..4).for_each(|_| budget.succeed());
        assert!(!budget.spend(start), "four successes are four fifths of a retry");
        budget.succeed();
        assert!(budget.spend(start));
        assert!(!budget.spend(start.after(Duration::from_millis(29_999))));
        assert!(budget.spend(start.after(Duration::from_secs(30))));
        let later = start.after(Duration::from_secs(3_600));
        assert!((0..3).all(|_| budget.spend(later)), "no more than the reserve is saved up");
        assert!(!budget.spend(later));
    }

    proptest! {
        #[test]
        fn the_budget_is_never_exceeded(
            share in 0u32..=100, per_minute in 0u32..=30, reserve in 0u32..=20,
            steps in proptest::collection::vec((0u64..20_000, any::<bool>()), 0..400),
        ) {
            let mut budget = RetryBudget::new(BudgetSpec { share_pct: share, per_minute, reserve });
            let mut now = Now::default();
            let (mut spent, mut successes, mut elapsed_ms) = (0u64, 0u64, 0u64);
            for (ms, success) in steps {
                now = now.after(Duration::from_millis(ms));
                elapsed_ms += ms;
                if success {
                    successes += 1;
                    budget.succeed();
                } else if budget.spend(now) {
                    spent += 1;
                }
                let earned = u64::from(reserve) * 6_000_000
                    + successes * u64::from(share) * 60_000
                    + elapsed_ms * u64::from(per_minute) * 100;
                prop_assert!(spent * 6_000_000 <= earned, "{spent} spent");
                prop_assert!(budget.left() <= reserve);
            }
        }
    }
}
