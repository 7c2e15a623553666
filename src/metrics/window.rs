//! What was counted in the last minute, second by second: few buckets of a distribution change in a second, so only
//! those are kept. As fine as it is told.

use std::collections::VecDeque;
use std::time::Duration;

use super::histogram::{Counts, Growth};
use crate::time::Mono;

/// The recent growth of one distribution.
#[derive(Debug, Default)]
pub(super) struct Window {
    seen: Counts,
    steps: VecDeque<(Mono, Growth)>,
}

impl Window {
    /// Takes in what has been counted by `now`, and forgets what is older than `kept`.
    pub(super) fn note(&mut self, counts: &Counts, now: Mono, kept: Duration) {
        while self.steps.front().is_some_and(|(at, _)| now.since(*at) > kept) {
            self.steps.pop_front();
        }
        // The sum grows with every value but a zero, and zeros come later with others.
        if counts.sum_nanos() != self.seen.sum_nanos() {
            self.steps.push_back((now, counts.growth(&self.seen)));
            self.seen.clone_from(counts);
        }
    }

    /// What has been counted since `then`, what is not yet noted included.
    pub(super) fn since(&self, then: Mono, counts: &Counts) -> Counts {
        let mut recent = Counts::new();
        for (_, growth) in self.steps.iter().filter(|(at, _)| *at > then) {
            recent.grow(growth, counts.max_nanos());
        }
        recent.grow(&counts.growth(&self.seen), counts.max_nanos());
        recent
    }
}
