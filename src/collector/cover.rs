//! Which numbers of a stream have been seen, as spans without holes. Exact and small where numbers are consecutive.
//! Invariant: the spans are in order, do not touch, and are bounded in number; of too many the lowest is forgotten.

use serde::{Deserialize, Serialize};

/// A set of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cover(Vec<(u64, u64)>);

impl Cover {
    /// Adds a number; `false` when it was there. Keeps `spans_max` spans.
    pub fn insert(&mut self, number: u64, spans_max: usize) -> bool {
        // Most numbers go on from the last.
        let at = match self.0.last() {
            Some((_, last)) if number <= *last => self.0.partition_point(|(_, last)| *last < number),
            _ => self.0.len(),
        };
        if self.0.get(at).is_some_and(|(first, _)| *first <= number) {
            return false;
        }
        let joins_left = at > 0 && self.0[at - 1].1 + 1 == number;
        let joins_right = self.0.get(at).is_some_and(|(first, _)| *first - 1 == number);
        match (joins_left, joins_right) {
            (true, true) => self.0[at - 1].1 = self.0.remove(at).1,
            (true, false) => self.0[at - 1].1 = number,
            (false, true) => self.0[at].0 = number,
            (false, false) => self.0.insert(at, (number, number)),
        }
        self.trim(spans_max);
        true
    }

    /// Forgets the lowest spans beyond `spans_max`.
    pub fn trim(&mut self, spans_max: usize) {
        self.0.drain(..self.0.len().saturating_sub(spans_max.max(1)));
    }

    /// The end of the span that holds a number.
    pub fn end_of(&self, number: u64) -> Option<u64> {
        let at = self.0.partition_point(|(_, last)| *last < number);
        self.0.get(at).filter(|(first, _)| *first <= number).map(|(_, last)| *last)
    }

    /// Whether the spans are what they should be: for what was read from a file.
    pub fn is_sound(&self) -> bool {
        self.0.iter().all(|(first, last)| first <= last)
            && self.0.windows(2).all(|pair| pair[0].1.checked_add(1).is_some_and(|next| next < pair[1].0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_grow_join_and_are_bounded() {
        let mut cover = Cover::default();
        let mut check = |number, is_fresh, expected: &[(u64, u64)]| {
            assert_eq!(cover.insert(number, 2), is_fresh, "{number}");
            assert_eq!(cover.0, expected);
        };
        check(5, true, &[(5, 5)]);
        check(5, false, &[(5, 5)]);
        check(6, true, &[(5, 6)]);
        check(8, true, &[(5, 6), (8, 8)]);
        check(7, true, &[(5, 8)]);
        check(4, true, &[(4, 8)]);
        check(20, true, &[(4, 8), (20, 20)]);
        check(u64::MAX, true, &[(20, 20), (u64::MAX, u64::MAX)]);
        check(0, true, &[(20, 20), (u64::MAX, u64::MAX)]);
        assert_eq!((cover.end_of(20), cover.end_of(21)), (Some(20), None));
    }

    proptest! {
        #[test]
        fn it_is_a_set(numbers in proptest::collection::vec(0_u64..60, 0..200)) {
            let (mut cover, mut set) = (Cover::default(), BTreeSet::new());
            for number in numbers {
                prop_assert_eq!(cover.insert(number, 1_000), set.insert(number));
                prop_assert!(cover.is_sound());
            }
            for number in 0..60 {
                prop_assert_eq!(cover.end_of(number).is_some(), set.contains(&number));
            }
        }
    }
}
