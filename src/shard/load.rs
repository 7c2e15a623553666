//! Load runs: the request path of a lane driven over and over, in a closed or an open loop, and what it did. The path
//! and the publishing are those of every poll; only the pace and the report are its own.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::handoff::{Publisher, ReplyTo};
use crate::model::{Query, SourceId};
use crate::runtime;
use crate::shard::fetch::fetch;
use crate::shard::lane::Lane;
use crate::time::{Deadline, Mono};

/// One shard's part of a load run.
pub struct LoadOrder {
    /// Whom to ask.
    pub source: SourceId,
    /// What to ask, over and over.
    pub query: Query,
    /// Requests in flight of this shard: a closed loop of so many.
    pub in_flight: usize,
    /// Time between two intended starts of this part: an open loop; latency counts from the intended start.
    pub interval: Option<Duration>,
    /// How long after the begin the first of them is, so that the parts of a run do not start in step.
    pub phase: Duration,
    /// How long.
    pub run_for: Duration,
    /// Fetches that start so early count, but their latency does not: connections are being opened.
    pub warm_up: Duration,
    /// Where the report goes.
    pub reply: ReplyTo<LoadReport>,
}

/// What one shard's part of a load run did.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// Fetches that ended with records.
    pub succeeded: u64,
    /// Fetches that did not.
    pub failed: u64,
    /// Attempts sent.
    pub attempts: u64,
    /// Times the quota let a request pass.
    pub quota_acquisitions: u64,
    /// Permits that a breaker gave.
    pub breaker_permits: u64,
    /// Bytes of bodies that were decoded.
    pub body_bytes: u64,
    /// Starts that were due before the end and found nothing in flight free to take them.
    pub missed: u64,
    /// How long the run took.
    pub elapsed: Duration,
    /// Latencies of all fetches after the warm-up, in nanoseconds, by third of that time, so that a drift can be seen;
    /// `None` when the run did not begin.
    pub latencies: [Option<Histogram<u64>>; 3],
    /// Latencies of the fetches that succeeded without their waits for the first byte, in nanoseconds.
    pub added: Option<Histogram<u64>>,
}

/// Drives the whole request path in a closed or open loop. The records are published like any other.
pub(super) async fn load(lane: Rc<Lane>, order: LoadOrder, publisher: Rc<Publisher>) {
    let start = Mono::now();
    let before = lane.meter.passed();
    let in_flight = order.in_flight.max(1);
    let run = Rc::new(Run {
        lane: lane.clone(),
        publisher,
        query: order.query,
        start: start + order.phase,
        counted: start + order.warm_up.min(order.run_for),
        end: start + order.run_for,
        interval: order.interval,
        starts: Cell::new(0),
        report: RefCell::new(LoadReport {
            latencies: std::array::from_fn(|_| histogram()),
            added: histogram(),
            ..LoadReport::default()
        }),
    });
    let loops: Vec<_> = (0..in_flight).map(|_| runtime::spawn(one_loop(run.clone()))).collect();
    for one in loops {
        one.join().await;
    }
    let after = lane.meter.passed();
    let mut report = run.report.take();
    report.attempts = after.attempts - before.attempts;
    report.quota_acquisitions = after.quota_acquisitions - before.quota_acquisitions;
    report.breaker_permits = after.breaker_permits - before.breaker_permits;
    report.elapsed = Mono::now().since(start);
    report.missed = run.missed();
    let _ = order.reply.send(report);
}

/// What the loops of a run share.
struct Run {
    lane: Rc<Lane>,
    publisher: Rc<Publisher>,
    query: Query,
    start: Mono,
    /// From when on latencies count.
    counted: Mono,
    end: Mono,
    interval: Option<Duration>,
    /// Starts that an open loop has given out.
    starts: Cell<u64>,
    report: RefCell<LoadReport>,
}

impl Run {
    /// When the next fetch is to start; `None` at the end of the run.
    async fn next_start(&self) -> Option<Mono> {
        let now = Mono::now();
        let Some(interval) = self.interval else { return Some(now).filter(|now| *now < self.end) };
        // What has not been sent by the end stays unsent: else a stalled upstream would never let a run end.
        if now >= self.end {
            return None;
        }
        let index = self.starts.get();
        let intended = self.start + nanos(interval.as_nanos() as u64, index);
        if intended >= self.end {
            return None;
        }
        self.starts.set(index + 1);
        if intended > now {
            runtime::sleep_until(intended).await;
        }
        Some(intended)
    }

    /// Counts a fetch's latency, from its intended start on, unless it belongs to the warm-up.
    fn record(&self, intended: Mono, whole: Duration, waited: Option<Duration>) {
        if intended < self.counted {
            return;
        }
        let third = self.end.since(self.counted).as_nanos().div_ceil(3).max(1);
        let index = usize::try_from(intended.since(self.counted).as_nanos() / third).unwrap_or(2).min(2);
        let mut report = self.report.borrow_mut();
        record(&mut report.latencies[index], whole);
        if let Some(waited) = waited {
            record(&mut report.added, whole.saturating_sub(waited));
        }
    }

    /// How many starts of an open loop were due and never given out.
    fn missed(&self) -> u64 {
        let Some(interval) = self.interval else { return 0 };
        let due = self.end.since(self.start).as_nanos().div_ceil(interval.as_nanos().max(1));
        u64::try_from(due).unwrap_or(u64::MAX).saturating_sub(self.starts.get())
    }
}

async fn one_loop(run: Rc<Run>) {
    let lane = &run.lane;
    while let Some(intended) = run.next_start().await {
        // Of a fetch that waited for its start, the deadline counts from the moment it may begin.
        let begun = if run.interval.is_some() { Mono::now() } else { intended };
        let fetched = fetch(lane, &run.query, Deadline::after(begun, lane.deadline), 1).await;
        let done = fetched.as_ref().map_or_else(|_| Mono::now(), |fetched| fetched.at);
        let whole = done.since(intended);
        match fetched {
            Ok(mut fetched) => {
                {
                    let mut report = run.report.borrow_mut();
                    report.succeeded += 1;
                    report.body_bytes += fetched.body_bytes as u64;
                }
                run.record(intended, whole, Some(fetched.first_byte));
                lane.meter.succeeded(lane.source.spec().id.as_str());
                if run.publisher.publish(&mut fetched.records).await.is_err() {
                    return;
                }
                lane.meter.published(Mono::now().since(done));
            }
            Err(judgement) => {
                run.report.borrow_mut().failed += 1;
                run.record(intended, whole, None);
                lane.meter.failed(lane.source.spec().id.as_str(), &judgement);
                if judgement.local {
                    // A refusal that costs no time would spin the core until the run's end.
                    runtime::sleep(REFUSED_PAUSE).await;
                }
            }
        }
    }
}

fn nanos(each: u64, count: u64) -> Duration {
    Duration::from_nanos(each.saturating_mul(count))
}

/// From a microsecond to ten minutes, within a thousandth.
fn histogram() -> Option<Histogram<u64>> {
    Histogram::new_with_bounds(1_000, 600_000_000_000, 3).ok()
}

fn record(into: &mut Option<Histogram<u64>>, elapsed: Duration) {
    if let Some(histogram) = into {
        histogram.saturating_record(elapsed.as_nanos() as u64);
    }
}

/// How long a loop rests after a local refusal.
const REFUSED_PAUSE: Duration = Duration::from_millis(1);
