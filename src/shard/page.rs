//! One page of a backfill: asked for by the path of every fetch, ordered, and published like what is polled. Knows of no
//! other page. Invariant: nothing outside of the span that is asked for is published, and no bar that is still running.

use std::rc::Rc;
use std::time::Duration;

use compact_str::CompactString;

use crate::handoff::{Publisher, ReplyTo};
use crate::model::{Data, Judgement, Query, Record, SourceId, TimeRange, Verdict, number_of};
use crate::shard::fetch;
use crate::shard::lane::Lane;
use crate::time::{Deadline, Mono, UnixNanos};

/// A page for the buffer.
pub struct PageOrder {
    /// Whom to ask.
    pub source: SourceId,
    /// What to ask.
    pub query: Query,
    /// Time over all attempts, waiting for the quota included.
    pub deadline: Duration,
    /// Where the summary goes, when everything is in the buffer.
    pub reply: ReplyTo<Result<Page, Judgement>>,
}

/// What a page brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Records published.
    pub records: u64,
    /// Where the next page starts.
    pub next: Option<CompactString>,
    /// Between which times the records lie: the first, and the last.
    pub times: Option<(UnixNanos, UnixNanos)>,
}

pub(super) async fn serve(lane: Rc<Lane>, order: PageOrder, publisher: Rc<Publisher>) {
    let page = page(&lane, &order.query, order.deadline, &publisher).await;
    // Whoever asked may have gone; the records are published all the same.
    let _ = order.reply.send(page);
}

async fn page(lane: &Lane, query: &Query, within: Duration, publisher: &Publisher) -> Result<Page, Judgement> {
    let deadline = Deadline::after(Mono::now(), within);
    let fetched = fetch::fetch(lane, query, deadline, lane.attempts_max).await?;
    let mut records = fetched.records;
    records.retain(|record| is_wanted(record, query.range));
    records.sort_by_cached_key(|record| (place(record), number_of(record, true)));
    let times = records.first().and_then(place).zip(records.last().and_then(place));
    let count = records.len() as u64;
    publisher.publish(&mut records).await.map_err(|_| {
        Judgement::new(Verdict::UpstreamError, "stopping", "the engine stops before the page was published").local()
    })?;
    Ok(Page { records: count, next: fetched.next, times })
}

fn is_wanted(record: &Record, range: Option<TimeRange>) -> bool {
    let is_over = match &record.data {
        Data::Bar(bar) => bar.closed != Some(false),
        _ => true,
    };
    is_over && range.zip(place(record)).is_none_or(|(range, at)| range.from <= at && at < range.to)
}

/// When a record is of: of a bar its start.
fn place(record: &Record) -> Option<UnixNanos> {
    match &record.data {
        Data::Bar(bar) => Some(bar.start),
        _ => record.ts_event,
    }
}
