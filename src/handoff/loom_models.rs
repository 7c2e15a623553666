//! Model checks of the cross-core types on loom's atomics: every interleaving up to two or three preemptions.
//! Run by `RUSTFLAGS="--cfg tidegate_loom" cargo test --lib loom`.

use std::time::Duration;

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use super::*;
use crate::model::{Data, Kind, Quote, Record, SourceId};
use crate::policy::{Cause, WhenFull, WindowShape, WindowSpec};
use crate::time::{Mono, Now, UnixNanos};

fn model(check: impl Fn() + Send + Sync + 'static) {
    bounded(3, check);
}

/// Models of three threads take minutes beyond two preemptions.
fn bounded(preemptions: usize, check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(check);
}

/// The condition is a relaxed flag, so that nothing but the doorbell's own fences orders the two sides.
#[test]
fn doorbell_loses_no_wake_up() {
    model(|| {
        let shared = Arc::new((Doorbell::new(), AtomicBool::new(false)));
        let ringer = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.1.store(true, Ordering::Relaxed);
                shared.0.ring();
            })
        };
        block_on(shared.0.wait(|| shared.1.load(Ordering::Relaxed).then_some(())));
        ringer.join().unwrap();
    });
}

#[test]
fn doorbell_wakes_every_waiter() {
    bounded(2, || {
        let shared = Arc::new((Doorbell::new(), AtomicBool::new(false)));
        let other = {
            let shared = shared.clone();
            thread::spawn(move || block_on(shared.0.wait(|| shared.1.load(Ordering::Relaxed).then_some(()))))
        };
        let ringer = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.1.store(true, Ordering::Relaxed);
                shared.0.ring();
            })
        };
        block_on(shared.0.wait(|| shared.1.load(Ordering::Relaxed).then_some(())));
        ringer.join().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn stop_reaches_whoever_waits() {
    model(|| {
        let (source, stop) = stop();
        let waiter = thread::spawn(move || block_on(stop.stopped()));
        source.stop();
        waiter.join().unwrap();
    });
}

#[test]
fn mailbox_delivers_from_two_senders_and_ends() {
    bounded(2, || {
        let (sender, mut mailbox) = mailbox::<u32>(2);
        let second = sender.clone();
        let first = thread::spawn(move || sender.send(1).unwrap());
        let second = thread::spawn(move || second.send(2).unwrap());
        let mut seen = 0;
        while let Some(command) = block_on(mailbox.recv()) {
            seen += command;
        }
        assert_eq!(seen, 3);
        first.join().unwrap();
        second.join().unwrap();
    });
}

/// Says when it is dropped, as the reply end of a command does.
struct Token(Arc<AtomicBool>);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn no_command_stays_in_a_closed_mailbox() {
    model(|| {
        let (sender, mailbox) = mailbox::<Token>(2);
        let gone = Arc::new(AtomicBool::new(false));
        let token = Token(gone.clone());
        let closer = thread::spawn(move || drop(mailbox));
        drop(sender.send(token));
        closer.join().unwrap();
        // The sender lives on: nobody but the closing can have dropped the command.
        assert!(gone.load(Ordering::Acquire));
        drop(sender);
    });
}

fn now() -> Now {
    Now { mono: Mono::from_nanos(1_000_000_000), wall: UnixNanos::EPOCH }
}

fn window(limit: u32, shape: WindowShape) -> WindowSpec {
    WindowSpec { bucket: "", limit, per: Duration::from_secs(60), shape }
}

/// Each window has room for one of two.
#[test]
fn quota_is_never_over_its_limit() {
    let check = |spec: WindowSpec, weight: u32| {
        model(move || {
            let cell = QuotaCell::new(vec![spec.clone()], QuotaSettings::default());
            let other = {
                let cell = cell.clone();
                thread::spawn(move || cell.try_acquire(now(), "", weight).is_ok())
            };
            let ours = cell.try_acquire(now(), "", weight).is_ok();
            assert!(ours ^ other.join().unwrap(), "one of them is granted");
        });
    };
    check(window(3, WindowShape::Fixed), 2);
    check(WindowSpec { per: Duration::from_secs(1), ..window(3, WindowShape::Rolling) }, 1);
    check(window(3, WindowShape::Rolling), 2);
}

/// A long rolling window used by two threads whose clocks stand in different parts of it: what either took still
/// counts for whoever asks a whole length after the earlier one.
#[test]
fn quota_counts_across_parts_of_a_long_window() {
    bounded(2, || {
        let cell = QuotaCell::new(vec![window(2, WindowShape::Rolling)], QuotaSettings::default());
        let later = now().after(Duration::from_secs(4));
        let other = {
            let cell = cell.clone();
            thread::spawn(move || cell.try_acquire(later, "", 1).is_ok())
        };
        assert!(cell.try_acquire(now(), "", 1).is_ok());
        assert!(other.join().unwrap());
        let probe = now().after(Duration::from_secs(60));
        assert!(cell.try_acquire(probe, "", 2).is_err(), "the later one is not yet a minute old");
    });
}

#[test]
fn quota_takes_from_all_windows_or_none() {
    model(|| {
        let windows = vec![window(2, WindowShape::Fixed), window(1, WindowShape::Concurrency)];
        let cell = QuotaCell::new(windows, QuotaSettings::default());
        let other = {
            let cell = cell.clone();
            thread::spawn(move || cell.try_acquire(now(), "", 1).ok())
        };
        let ours = cell.try_acquire(now(), "", 1).ok();
        let theirs = other.join().unwrap();
        assert_eq!(usize::from(ours.is_some()) + usize::from(theirs.is_some()), 1);
        let used: Vec<u32> = cell.snapshot(now()).windows.iter().map(|window| window.used).collect();
        assert_eq!(used, [1, 1], "what the refused one had taken is back");
    });
}

#[test]
fn quota_release_wakes_who_waits_for_room() {
    model(|| {
        let cell = QuotaCell::new(vec![window(1, WindowShape::Concurrency)], QuotaSettings::default());
        let grant = cell.try_acquire(now(), "", 1).unwrap();
        let waiter = {
            let cell = cell.clone();
            thread::spawn(move || {
                block_on(cell.released(""));
                cell.try_acquire(now(), "", 1).map(drop)
            })
        };
        drop(grant);
        assert_eq!(waiter.join().unwrap(), Ok(()));
    });
}

#[test]
fn quota_bans_told_twice_are_one() {
    model(|| {
        let cell = QuotaCell::new(vec![], QuotaSettings::default());
        let other = {
            let cell = cell.clone();
            thread::spawn(move || cell.ban(now(), None))
        };
        cell.ban(now(), None);
        other.join().unwrap();
        let wait = cell.try_acquire(now(), "", 1).unwrap_err();
        assert_eq!((wait.cause, wait.after(now())), (Cause::Banned, Some(Duration::from_secs(120))));
        assert_eq!(cell.snapshot(now()).ban_level, 0);
    });
}

#[test]
fn quorum_lets_one_shard_probe_and_its_success_closes_all() {
    model(|| {
        let mut seats = quorum(2);
        seats.iter().for_each(QuorumSeat::opened);
        let second = seats.pop().unwrap();
        let other = thread::spawn(move || {
            let probes = second.may_probe(now(), Duration::from_secs(60));
            if probes {
                second.closed();
            }
            (probes, second)
        });
        let first = seats.pop().unwrap();
        let ours = first.may_probe(now(), Duration::from_secs(60));
        if ours {
            first.closed();
        }
        let (theirs, second) = other.join().unwrap();
        assert!(ours || theirs);
        // Whoever did not close learns of it; who probed alone after the round had ended closed only itself.
        let closes = [&first, &second].iter().filter(|seat| seat.advise() == Advice::Close).count();
        assert_eq!(closes, 1);
    });
}

fn quote() -> Record {
    Record {
        seq: 0,
        source: SourceId("a"),
        symbol: None,
        native: None,
        ts_event: None,
        ts_recv: UnixNanos::EPOCH,
        ts_publish: UnixNanos::EPOCH,
        attempt: 0,
        data: Data::Quote(Quote::default()),
    }
}

fn small(when_full: WhenFull) -> (PublisherSeed, Drain) {
    let when_full = [when_full; Kind::ALL.len()];
    buffer(BufferSpec { capacity: 1, when_full, ..BufferSpec::default() })
}

/// Publishes through a buffer of one slot, so that both sides have to wait for the other.
#[test]
fn buffer_wakes_both_sides() {
    model(|| {
        let (seed, mut drain) = small(WhenFull::Pause);
        let shard = thread::spawn(move || {
            let publisher = seed.connect();
            block_on(publisher.publish(&mut vec![quote(), quote()])).unwrap();
        });
        let tally = drain.tally();
        let mut batch = Vec::new();
        while block_on(drain.wait()) == Woken::Records {
            let count = drain.pop_batch(2, &mut batch);
            batch.drain(..).for_each(|record| tally.delivered(&record));
            tally.put_down(count);
        }
        shard.join().unwrap();
        let counts = drain.counts();
        assert_eq!((counts.published, counts.delivered, counts.queued), (2, 2, 0));
    });
}

#[test]
fn buffer_closes_on_a_paused_publish() {
    model(|| {
        let (seed, drain) = small(WhenFull::Pause);
        let shard = thread::spawn(move || {
            let mut records = vec![quote(), quote()];
            let closed = block_on(seed.connect().publish(&mut records));
            assert_eq!(closed, Err(BufferClosed));
            assert!(!records.is_empty());
        });
        drop(drain);
        shard.join().unwrap();
    });
}

#[test]
fn buffer_counts_every_record_that_makes_way() {
    bounded(2, || {
        let (seed, mut drain) = small(WhenFull::DropOldest);
        let second = seed.clone();
        let shards = [seed, second]
            .map(|seed| thread::spawn(move || block_on(seed.connect().publish(&mut vec![quote()])).unwrap()));
        let mut batch = Vec::new();
        let taken = drain.pop_batch(1, &mut batch) as u64;
        shards.into_iter().for_each(|shard| shard.join().unwrap());
        let counts = drain.counts();
        assert_eq!(counts.published, 2);
        assert_eq!(counts.queued, taken + drain.len() as u64);
        assert!(counts.is_balanced(), "{counts:?}");
    });
}

/// Guards the others against settings under which a model would run once and prove nothing.
#[test]
fn models_explore_more_than_one_interleaving() {
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = runs.clone();
    model(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let shared = Arc::new(AtomicUsize::new(0));
        let other = {
            let shared = shared.clone();
            thread::spawn(move || shared.fetch_add(1, Ordering::Relaxed))
        };
        shared.fetch_add(1, Ordering::Relaxed);
        other.join().unwrap();
    });
    assert!(runs.load(std::sync::atomic::Ordering::Relaxed) > 1);
}
