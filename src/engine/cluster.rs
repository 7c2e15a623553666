//! Several instances with one configuration: which of them owns a source, and what part of a quota is its own. Pure.
//!
//! The owner of a source is chosen by rendezvous hashing: each instance gets a score for the source, and the highest
//! wins. No instance has to ask another, and when one is added, the only sources that move are those that it wins:
//! about one of n. The hash is written out below and never changes: a different one would move every source.
//!
//! One instance alone polls a source and answers fetches about it. So a quota that is counted by key has one user and
//! stays whole. One that is counted by address is divided by the number of instances as long as they go out by the same
//! address: with a gateway in between the provider cannot tell them apart, and while the number of instances changes, a
//! source may have an old and a new owner for a time. `cluster.shared_address = false` leaves it whole.
//! Invariants: every source has exactly one owner; the parts of all instances together are no more than the quota.

use std::time::Duration;

use crate::config::Cluster;
use crate::policy::{WindowShape, WindowSpec};
use crate::source::QuotaScope;

/// The instance that owns a source, of `of`.
pub fn owner(source: &str, of: usize) -> usize {
    // The first of equal scores, which differ in practice.
    (0..of.max(1)).rev().max_by_key(|instance| score(source, *instance)).unwrap_or(0)
}

/// The part of a window that an instance may use.
pub fn part(window: WindowSpec, scope: QuotaScope, cluster: &Cluster) -> WindowSpec {
    if scope == QuotaScope::Key || !cluster.shared_address || cluster.is_alone() {
        return window;
    }
    let of = u32::try_from(cluster.of).unwrap_or(u32::MAX);
    if window.limit >= of || window.shape == WindowShape::Concurrency {
        return WindowSpec { limit: (window.limit / of).max(1), ..window };
    }
    // Less than one each: one in a longer time.
    let times = of.div_ceil(window.limit.max(1));
    WindowSpec { limit: 1, per: window.per.checked_mul(times).unwrap_or(Duration::MAX), ..window }
}

/// FNV-1a (64 bits) over the source's id and the instance's number in eight little-endian bytes, then the finalizer of
/// SplitMix64, without which scores of neighboring instances would differ in few bits.
fn score(source: &str, instance: usize) -> u64 {
    let bytes = source.bytes().chain((instance as u64).to_le_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SOURCES;

    fn ids() -> Vec<&'static str> {
        SOURCES.iter().map(|source| source.spec().id.as_str()).collect()
    }

    #[test]
    fn three_instances_cover_every_source_exactly_once() {
        let mut counts = [0; 3];
        for id in ids() {
            let owners: Vec<usize> = (0..3).filter(|instance| owner(id, 3) == *instance).collect();
            assert_eq!(owners.len(), 1, "{id}");
            counts[owners[0]] += 1;
        }
        assert_eq!(counts.iter().sum::<usize>(), SOURCES.len());
        assert!(counts.iter().all(|count| *count >= 4), "{counts:?}");
        assert!(ids().iter().all(|id| owner(id, 1) == 0));
    }

    #[test]
    fn the_owners_never_change() {
        let owners: Vec<(&str, usize)> =
            ["binance", "kraken", "fred", "sec_edgar"].map(|id| (id, owner(id, 3))).to_vec();
        assert_eq!(owners, OWNERS);
    }

    #[test]
    fn what_moves_goes_to_the_instance_that_was_added() {
        let names: Vec<String> = (0..10_000).map(|index| format!("source-{index}")).collect();
        for of in 1..16 {
            let moved: Vec<&String> = names.iter().filter(|name| owner(name, of) != owner(name, of + 1)).collect();
            assert!(moved.iter().all(|name| owner(name, of + 1) == of), "one moved between old instances");
            let share = moved.len() as f64 / names.len() as f64 * (of + 1) as f64;
            assert!((0.9..1.1).contains(&share), "{} of {} moved from {of}", moved.len(), names.len());
        }
        // With the sources there are, from three to four.
        let moved = ids().into_iter().filter(|id| owner(id, 3) != owner(id, 4)).count();
        assert!((1..=10).contains(&moved), "{moved} of {} moved", SOURCES.len());
    }

    #[test]
    fn parts_together_are_no_more_than_the_whole() {
        let window = |limit, shape| WindowSpec { bucket: "", limit, per: Duration::from_secs(5), shape };
        for limit in [1, 2, 3, 7, 100, 6_000] {
            for of in 1..12 {
                let cluster = Cluster { instance: 0, of, shared_address: true };
                let own = part(window(limit, WindowShape::Fixed), QuotaScope::Ip, &cluster);
                let rate = |window: WindowSpec| f64::from(window.limit) / window.per.as_secs_f64();
                assert!(rate(own) * of as f64 <= rate(window(limit, WindowShape::Fixed)) + 1e-9, "{limit} by {of}");
                assert!(own.limit >= 1);
                for (scope, shared_address) in [(QuotaScope::Key, true), (QuotaScope::Ip, false)] {
                    let cluster = Cluster { shared_address, ..cluster };
                    let whole = part(window(limit, WindowShape::Fixed), scope, &cluster);
                    assert_eq!((whole.limit, whole.per), (limit, Duration::from_secs(5)));
                }
            }
        }
        let own = part(
            window(10, WindowShape::Concurrency),
            QuotaScope::Ip,
            &Cluster { instance: 0, of: 3, shared_address: true },
        );
        assert_eq!((own.limit, own.per), (3, Duration::from_secs(5)));
    }

    const OWNERS: [(&str, usize); 4] = [("binance", 1), ("kraken", 2), ("fred", 2), ("sec_edgar", 1)];
}
