//! Hedging: when an attempt takes longer than most of its source's did, a second one is sent for the same question, and
//! the first whole answer counts. Off unless the source is set to it. Owns neither admission nor exchange: the second
//! attempt passes both like any other, and is paid from the retry budget.
//! Invariants: only what is idempotent is hedged, and once; the loser is dropped, which frees its slots and discards its
//! connection, while the quota it took stays spent.

use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use futures_lite::FutureExt as _;

use crate::model::Judgement;
use crate::runtime;
use crate::shard::fetch::{self, Sent};
use crate::shard::lane::Lane;
use crate::shard::meter::Meter;
use crate::time::{Deadline, Mono, Now};
use crate::wire::{Method, Request};

/// When a source hedges.
pub(super) struct Hedge {
    is_on: bool,
    /// How long an attempt is waited for, and when that was read.
    after: Cell<(Mono, Option<Duration>)>,
}

impl Hedge {
    /// For a source that hedges, or does not.
    pub(super) fn new(is_on: bool) -> Self {
        Hedge { is_on, after: Cell::new((Mono::default(), None)) }
    }

    /// How long an attempt is waited for before a second one is sent; `None` while too little is known, or when the
    /// source does not hedge.
    fn after(&self, meter: &Meter, now: Mono) -> Option<Duration> {
        if !self.is_on {
            return None;
        }
        let (read, after) = self.after.get();
        if after.is_some() && now.since(read) < READ_EVERY {
            return after;
        }
        let after = meter.latency_at(QUANTILE, VOLUME_MIN);
        self.after.set((now, after));
        after
    }
}

/// Admits and sends an attempt, and perhaps a second one.
///
/// # Errors
/// The local refusal of the first: nothing was sent.
///
/// # Cancel safety
/// As that of [`fetch::fetch`].
pub(super) async fn send<'a>(
    lane: &'a Lane,
    request: &'a Request,
    deadline: Deadline,
    asked: Now,
) -> Result<Sent<'a>, Judgement> {
    let pass = fetch::admit(lane, request, deadline, asked).await?;
    let after = lane.hedge.after(&lane.meter, asked.mono).filter(|_| request.method == Method::Get);
    let first = fetch::exchange(lane, request, deadline, pass);
    let Some(after) = after else { return Ok(first.await) };
    // Boxed, as it is rare and large: every fetch would carry its room.
    let raced = Box::pin(async move {
        let mut first = pin!(first);
        if let Some(sent) = runtime::timeout(after, first.as_mut()).await {
            return sent;
        }
        let now = Now::read();
        if !lane.spend_retry(now) {
            return first.await;
        }
        lane.meter.hedged();
        let second = async {
            let pass = fetch::admit(lane, request, deadline, now).await.ok()?;
            Some(fetch::exchange(lane, request, deadline, pass).await)
        };
        let mut second = pin!(second);
        let one = async { Ended::First(first.as_mut().await) };
        let other = async { Ended::Second(second.as_mut().await) };
        match one.or(other).await {
            Ended::First(sent) | Ended::Second(Some(sent)) if sent.answer.is_ok() => sent,
            Ended::First(failed) => match second.await {
                Some(sent) => instead(lane, failed, sent),
                None => failed,
            },
            Ended::Second(Some(failed)) => instead(lane, failed, first.await),
            Ended::Second(None) => first.await,
        }
    });
    Ok(raced.await)
}

/// Settles the attempt that failed before the other had ended, and goes on with that.
fn instead<'a>(lane: &Lane, failed: Sent<'a>, other: Sent<'a>) -> Sent<'a> {
    if let Err(failure) = &failed.answer {
        let judgement = fetch::no_answer(failure);
        failed.settle(lane, Some(&judgement), Now::read());
    }
    other
}

/// Which attempt has ended.
enum Ended<'a> {
    First(Sent<'a>),
    /// `None` when it was refused before it was sent.
    Second(Option<Sent<'a>>),
}

/// Most attempts are answered by then, so that one in twenty is hedged.
const QUANTILE: f64 = 0.95;
/// Attempts before the quantile says anything.
const VOLUME_MIN: u64 = 100;
/// Reading a distribution takes microseconds: not for each attempt.
const READ_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Attempt, CoreCells, ShardCells};
    use crate::model::{SourceId, Verdict};

    #[test]
    fn what_is_waited_for_is_known_after_some_attempts_and_read_now_and_then() {
        let source = SourceId("binance");
        let recorder = || ShardCells::new(CoreCells::new("shard-0", None), &[source]).recorder(source).unwrap();
        let record = |meter: &Meter, count: u64, millis: u64| {
            for _ in 0..count {
                let elapsed = Duration::from_millis(millis);
                meter.record(Attempt { verdict: Verdict::Ok, elapsed, bytes_in: 0, bytes_out: 0 });
            }
        };
        let at = |secs: u64| Mono::from_nanos(secs * 1_000_000_000);
        let meter = Meter::new(recorder());
        let hedge = Hedge::new(true);
        record(&meter, VOLUME_MIN - 1, 10);
        assert_eq!(hedge.after(&meter, at(1)), None);
        record(&meter, 1, 10);
        let found = hedge.after(&meter, at(1)).unwrap();
        assert!((9_800..=10_200).contains(&found.as_micros()), "{found:?}");
        record(&meter, 50, 100);
        assert_eq!(hedge.after(&meter, at(1)), Some(found), "not read anew so soon");
        assert!(hedge.after(&meter, at(3)).unwrap() > Duration::from_millis(90));
        assert_eq!(Hedge::new(false).after(&meter, at(5)), None);
    }
}
