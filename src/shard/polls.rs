//! Polls: the timetable's side of a lane. A poll that is still running when the next is due is skipped and counted.

use std::rc::Rc;
use std::time::Duration;

use crate::handoff::{Publisher, Stop};
use crate::model::{Interval, Judgement, Kind, Query, Symbol, Verdict};
use crate::runtime;
use crate::shard::fetch::{self, Fetched};
use crate::shard::follow::{self, Follow};
use crate::shard::lane::Lane;
use crate::shard::timetable::Timetable;
use crate::source::planner;
use crate::time::{Deadline, Mono, UnixNanos};

/// One poll: a question and its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollSpec {
    /// What to ask for.
    pub kind: Kind,
    /// About which instruments.
    pub symbols: Vec<Symbol>,
    /// Asks for the whole market in one request.
    pub whole_market: bool,
    /// Bars: their length.
    pub interval: Option<Interval>,
    /// Rows at most.
    pub limit: Option<u32>,
    /// How often.
    pub every: Duration,
    /// After each multiple of `every` on the wall clock.
    pub offset: Duration,
}

impl PollSpec {
    /// The question, about all its symbols at once.
    pub fn query(&self) -> Query {
        Query {
            symbols: self.symbols.clone(),
            whole_market: self.whole_market,
            interval: self.interval,
            limit: self.limit,
            ..Query::new(self.kind)
        }
    }
}

/// Polls until stopped. Returns once the round in hand is over.
pub async fn run(lane: Rc<Lane>, poll: PollSpec, publisher: Rc<Publisher>, stop: Stop) {
    let table = Timetable::new(poll.every, poll.offset);
    // The first round comes soon, but not with everybody else's; later ones are aligned.
    let first = poll.every.min(FIRST_WITHIN).mul_f64(fastrand::f64());
    let mut due = UnixNanos::now().saturating_add(first);
    loop {
        let wait = due.since(UnixNanos::now());
        if futures_lite::future::or(
            async {
                runtime::sleep(wait).await;
                false
            },
            async {
                stop.stopped().await;
                true
            },
        )
        .await
        {
            return;
        }
        slow_down(&lane, &publisher, &stop).await;
        if stop.is_stopped() {
            return;
        }
        lane.meter.polled();
        let started = UnixNanos::now();
        round(&lane, &poll, &publisher).await;
        let now = UnixNanos::now();
        lane.meter.polls_skipped(table.between(started, now));
        due = table.next(now).saturating_add(table.jitter(fastrand::f64()));
    }
}

/// Waits while the buffer is so full that what is polled now would wait for room: quota is not spent on that.
async fn slow_down(lane: &Lane, publisher: &Publisher, stop: &Stop) {
    if !publisher.is_above_high_water() {
        lane.slowed.set(false);
        return;
    }
    if !lane.slowed.replace(true) {
        tracing::warn!(
            source = lane.source.spec().id.as_str(),
            "the buffer is above its high-water mark: polling waits"
        );
    }
    let room = async {
        let _ = publisher.below_high_water().await;
    };
    futures_lite::future::or(room, stop.stopped()).await;
}

/// One round: the cheapest set of requests for all symbols, side by side.
async fn round(lane: &Rc<Lane>, poll: &PollSpec, publisher: &Rc<Publisher>) {
    let mut asked = poll.query();
    asked.symbols.retain(|symbol| !lane.is_excluded(poll.kind, symbol));
    if asked.symbols.is_empty() && !poll.symbols.is_empty() {
        return;
    }
    let weigh =
        |query: &Query| lane.with_context(query, |cx| lane.source.request(cx)).ok().map(|request| request.weight);
    let mut queries = if asked.whole_market { vec![asked] } else { planner::plan(lane.source, &asked, weigh) };
    if queries.len() == 1 {
        let query = queries.remove(0);
        one(lane, query, publisher).await;
        return;
    }
    let tasks: Vec<_> = queries
        .into_iter()
        .map(|query| {
            let (lane, publisher) = (lane.clone(), publisher.clone());
            runtime::spawn(async move { one(&lane, query, &publisher).await })
        })
        .collect();
    for task in tasks {
        task.join().await;
    }
}

/// Asks one query, splits it where one bad symbol failed it, and publishes what came.
async fn one(lane: &Rc<Lane>, query: Query, publisher: &Publisher) {
    let mut open = vec![query];
    while let Some(query) = open.pop() {
        let deadline = Deadline::after(Mono::now(), lane.deadline);
        match fetch::poll(lane, &query, deadline).await {
            Ok(fetched) => {
                lane.meter.succeeded(lane.source.spec().id.as_str());
                let Some(follow) = &lane.follow else {
                    publish(lane, query.kind, fetched, publisher).await;
                    continue;
                };
                follow::attend(lane, follow, query.kind, &fetched.records, publisher).await;
                let heads = Follow::heads_of(lane, &fetched.records);
                publish(lane, query.kind, fetched, publisher).await;
                follow.advance(heads);
            }
            Err(judgement) => match planner::split(&query) {
                Some(halves) if is_about_a_symbol(&judgement) => open.extend(halves),
                _ => {
                    if let ([symbol], true) = (query.symbols.as_slice(), is_unknown(&judgement)) {
                        lane.exclude(query.kind, symbol, &judgement);
                    }
                    lane.meter.failed(lane.source.spec().id.as_str(), &judgement);
                }
            },
        }
    }
}

async fn publish(lane: &Lane, kind: Kind, mut fetched: Fetched, publisher: &Publisher) {
    let started = Mono::now();
    match publisher.publish(&mut fetched.records).await {
        // Where a record may be dropped, the next answer has to bring it again.
        Ok(()) if publisher.keeps(kind) => fetched.noted.into_iter().for_each(|noted| lane.validators.remember(*noted)),
        Ok(()) => {}
        Err(_) => tracing::error!(source = lane.source.spec().id.as_str(), "the buffer has no reader any more"),
    }
    lane.meter.published(Mono::now().since(started));
}

/// Whether the provider says of a symbol that it does not know it. A bare status does not: a gateway that has lost its
/// routes finds nothing, and does again an hour later.
fn is_unknown(judgement: &Judgement) -> bool {
    judgement.verdict == Verdict::NotFound && !judgement.reason.starts_with("http_")
}

/// Whether a batch may have failed for one of its symbols, so that its halves are worth asking.
fn is_about_a_symbol(judgement: &Judgement) -> bool {
    judgement.verdict == Verdict::NotFound || judgement.reason == "symbol_form"
}

/// First rounds are spread over this time.
const FIRST_WITHIN: Duration = Duration::from_secs(1);
