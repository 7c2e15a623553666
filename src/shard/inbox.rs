//! What callers on other threads ask of a shard: fetches with a reply, breaker control, load runs.

use std::rc::Rc;
use std::time::Duration;

use crate::handoff::{Mailbox, Publisher, ReplyTo};
use crate::model::{Judgement, Query, SourceId};
use crate::policy::Force;
use crate::runtime::{self, Tasks};
use crate::shard::fetch::{Fetched, fetch};
use crate::shard::lane::Lane;
use crate::shard::prerequisites;
use crate::source::State;
use crate::time::{Deadline, Mono};

/// A command to a shard.
pub enum Command {
    /// Fetch and reply.
    Fetch(FetchOrder),
    /// Overrule the breakers of a source.
    Force(SourceId, Force),
    /// Drive load and reply with what it did.
    Load(LoadOrder),
    /// Fetch a source's instrument list and reply with what it knows.
    Instruments(SourceId, Duration, ReplyTo<Result<State, Judgement>>),
}

/// One fetch for a caller.
pub struct FetchOrder {
    /// Whom to ask.
    pub source: SourceId,
    /// What to ask.
    pub query: Query,
    /// Time over all attempts; `None` = the source's own.
    pub deadline: Option<Duration>,
    /// Attempts at most; `None` = the source's own.
    pub attempts_max: Option<u32>,
    /// Where the answer goes. When nobody waits for it any more, the fetch is dropped.
    pub reply: ReplyTo<Result<Fetched, Judgement>>,
}

/// One shard's part of a load run.
pub struct LoadOrder {
    /// Whom to ask.
    pub source: SourceId,
    /// What to ask, over and over.
    pub query: Query,
    /// Requests in flight of this shard: a closed loop of so many.
    pub in_flight: usize,
    /// Time between two intended starts of this shard: an open loop; latency counts from the intended start.
    pub interval: Option<Duration>,
    /// How long.
    pub run_for: Duration,
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
    /// Bytes of bodies that were decoded.
    pub body_bytes: u64,
    /// CPU time of the shard's thread over the run.
    pub cpu: Duration,
    /// How long the run took.
    pub elapsed: Duration,
    /// Latencies of all fetches, in nanoseconds.
    pub latencies: Vec<u64>,
}

/// Serves commands until the senders are gone.
pub async fn serve(lanes: Rc<Vec<Rc<Lane>>>, mut mailbox: Mailbox<Command>, publisher: Rc<Publisher>, tasks: Tasks) {
    let find = |source: SourceId| lanes.iter().find(|lane| lane.source.spec().id == source).cloned();
    let unknown = |source: SourceId| Judgement::unservable("source_unknown", format!("{source} is not on this shard"));
    while let Some(command) = mailbox.recv().await {
        match command {
            Command::Fetch(order) => match find(order.source) {
                Some(lane) => tasks.spawn(answer(lane, order)),
                None => {
                    let _ = order.reply.send(Err(unknown(order.source)));
                }
            },
            Command::Force(source, force) => {
                if let Some(lane) = find(source) {
                    lane.force(force);
                }
            }
            Command::Load(order) => match find(order.source) {
                Some(lane) => tasks.spawn(load(lane, order, publisher.clone())),
                None => {
                    let _ = order.reply.send(LoadReport::default());
                }
            },
            Command::Instruments(source, within, reply) => match find(source) {
                Some(lane) => tasks.spawn(async move {
                    let query = Query { whole_market: true, ..Query::new(lane.source.spec().kinds[0].kind) };
                    let deadline = Deadline::after(Mono::now(), within);
                    let fetched = prerequisites::fetch_named(&lane, "instruments", &query, deadline).await;
                    let _ = reply.send(fetched.map(|()| lane.state.borrow().clone()));
                }),
                None => {
                    let _ = reply.send(Err(unknown(source)));
                }
            },
        }
    }
}

async fn answer(lane: Rc<Lane>, mut order: FetchOrder) {
    let deadline = Deadline::after(Mono::now(), order.deadline.unwrap_or(lane.deadline));
    let attempts = order.attempts_max.unwrap_or(lane.attempts_max);
    let fetched = async { Some(fetch(&lane, &order.query, deadline, attempts).await) };
    // A caller that went away frees the request's slots at once.
    let abandoned = async {
        order.reply.abandoned().await;
        None
    };
    let fetched = futures_lite::future::or(fetched, abandoned).await;
    if let Some(fetched) = fetched {
        let _ = order.reply.send(fetched);
    }
}

/// Drives the whole request path in a closed or open loop. The records are published like any other.
async fn load(lane: Rc<Lane>, order: LoadOrder, publisher: Rc<Publisher>) {
    let start = Mono::now();
    let end = start + order.run_for;
    let cpu = runtime::thread_cpu_time();
    let starts = Rc::new(std::cell::Cell::new(0_u64));
    let loops: Vec<_> = (0..order.in_flight.max(1))
        .map(|_| {
            let (lane, publisher, query, starts) =
                (lane.clone(), publisher.clone(), order.query.clone(), starts.clone());
            runtime::spawn(one_loop(lane, publisher, query, starts, start, end, order.interval))
        })
        .collect();
    let mut report = LoadReport::default();
    for one in loops {
        let Some(part) = one.join().await else { continue };
        report.succeeded += part.succeeded;
        report.failed += part.failed;
        report.body_bytes += part.body_bytes;
        report.latencies.extend(part.latencies);
    }
    report.cpu = runtime::thread_cpu_time().saturating_sub(cpu);
    report.elapsed = Mono::now().since(start);
    let _ = order.reply.send(report);
}

async fn one_loop(
    lane: Rc<Lane>,
    publisher: Rc<Publisher>,
    query: Query,
    starts: Rc<std::cell::Cell<u64>>,
    start: Mono,
    end: Mono,
    interval: Option<Duration>,
) -> LoadReport {
    let mut report = LoadReport::default();
    loop {
        let mut intended = Mono::now();
        if let Some(interval) = interval {
            let index = starts.get();
            starts.set(index + 1);
            intended = start + Duration::from_nanos((interval.as_nanos() as u64).saturating_mul(index));
            if intended < end {
                runtime::sleep_until(intended).await;
            }
        }
        if intended >= end {
            return report;
        }
        match fetch(&lane, &query, Deadline::after(Mono::now(), lane.deadline), 1).await {
            Ok(mut fetched) => {
                report.succeeded += 1;
                report.body_bytes += fetched.body_bytes as u64;
                let started = Mono::now();
                if publisher.publish(&mut fetched.records).await.is_err() {
                    return report;
                }
                lane.meter.published(Mono::now().since(started));
            }
            Err(judgement) => {
                report.failed += 1;
                lane.meter.failed(lane.source.spec().id.as_str(), &judgement);
            }
        }
        report.latencies.push(Mono::now().since(intended).as_nanos() as u64);
    }
}
