//! Following streams from poll to poll: finds what was missed between two of them, over a restart too, asks for it by the
//! same path as everything else, and has recorded what nobody brought. Owns each stream's newest place; the durable one is
//! the sink core's.
//! Invariants: what is missing is published before what it is missed behind, or recorded before that is published; refills
//! are bounded in rows for each gap and in pages for each poll, so that they cannot use up what polls need.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::handoff::Publisher;
use crate::metrics::GapState;
use crate::model::{Head, Judgement, Kind, Record, Stream, Verdict};
use crate::runtime;
use crate::shard::fetch;
use crate::shard::gaps::{self, Gap};
use crate::shard::lane::Lane;
use crate::source::Past;
use crate::time::{Deadline, Mono, UnixNanos};

/// What a lane needs to follow its streams: plain data that crosses to the shard's thread.
#[derive(Clone, Debug)]
pub struct FollowSpec {
    /// How far each stream has come.
    pub heads: Vec<(Stream, Head)>,
    /// Gaps that earlier runs have left open.
    pub open: Vec<Gap>,
    /// Where gaps are recorded.
    pub file: PathBuf,
    /// Rows of a gap that is refilled at most; a larger one is left to a backfill.
    pub rows_max: u64,
}

/// What a lane follows.
pub(super) struct Follow {
    heads: RefCell<HashMap<Stream, Head>>,
    /// Never more than [`OPEN_MAX`]; the file has them all.
    open: RefCell<Vec<Open>>,
    file: PathBuf,
    rows_max: u64,
}

/// A gap that is asked for again.
struct Open {
    /// What is left of it.
    gap: Gap,
    /// As it stands in the file.
    recorded: Gap,
    tries: u32,
    due: Mono,
}

/// What is left of a gap, and why.
struct Left {
    gap: Gap,
    state: GapState,
    reason: String,
}

impl Follow {
    pub(super) fn new(spec: FollowSpec) -> Follow {
        let open = spec.open.into_iter().take(OPEN_MAX);
        let open = open.map(|gap| Open { recorded: gap.clone(), gap, tries: 0, due: Mono::default() });
        Follow {
            heads: RefCell::new(spec.heads.into_iter().collect()),
            open: RefCell::new(open.collect()),
            file: spec.file,
            rows_max: spec.rows_max,
        }
    }

    /// How far the records take their streams: noted when they have been published.
    pub(super) fn heads_of(lane: &Lane, records: &[Record]) -> Vec<(Stream, Head)> {
        let mut heads: Vec<(Stream, Head)> = Vec::new();
        for record in records {
            let Some(past) = past_of(lane, record.kind()) else { continue };
            let Some(head) = gaps::head_of(record, past) else { continue };
            match heads.iter_mut().rev().find(|(stream, _)| stream.holds(record)) {
                Some((_, known)) => known.advance(head),
                None => heads.push((Stream::of(record), head)),
            }
        }
        heads
    }

    /// Moves streams on.
    pub(super) fn advance(&self, heads: Vec<(Stream, Head)>) {
        let mut known = self.heads.borrow_mut();
        for (stream, head) in heads {
            known.entry(stream).and_modify(|known| known.advance(head)).or_insert(head);
        }
    }

    /// What is missing before the records of an answer, of each stream that was followed before.
    fn gaps(&self, lane: &Lane, records: &[Record]) -> Vec<Gap> {
        let mut streams: Vec<(Stream, Vec<&Record>)> = Vec::new();
        for record in records {
            match streams.iter_mut().rev().find(|(stream, _)| stream.holds(record)) {
                Some((_, own)) => own.push(record),
                None => streams.push((Stream::of(record), vec![record])),
            }
        }
        let heads = self.heads.borrow();
        let gap = |(stream, own): &(Stream, Vec<&Record>)| {
            Gap::find(stream, *heads.get(stream)?, own, past_of(lane, stream.kind)?)
        };
        streams.iter().filter_map(gap).collect()
    }

    /// The gap whose turn it is; it is no longer open until it is put back.
    fn take_due(&self, kind: Kind) -> Option<Open> {
        let mut open = self.open.borrow_mut();
        let now = Mono::now();
        let at = open.iter().position(|open| open.gap.stream.kind == kind && open.due <= now)?;
        Some(open.remove(at))
    }

    fn put_back(&self, gap: Gap, recorded: Gap, tries: u32) {
        let pause = TRY_AFTER.saturating_mul(1 << tries.min(16)).min(TRY_AFTER_MAX);
        let mut open = self.open.borrow_mut();
        if open.len() < OPEN_MAX {
            open.push(Open { gap, recorded, tries: tries + 1, due: Mono::now() + pause });
        }
    }

    async fn record(&self, lane: &Lane, gap: &Gap, state: GapState, reason: &str) {
        lane.meter.gap(state);
        let (stream, (from, to)) = (&gap.stream, gap.ends());
        match state {
            GapState::Lost => tracing::warn!(%stream, from, to, reason, "records are missing for good"),
            GapState::Open => {
                tracing::warn!(%stream, from, to, reason, "records are missing; they are asked for again")
            }
            GapState::Refilled => tracing::info!(%stream, from, to, "records that were missing have come"),
        }
        let (path, gap, reason) = (self.file.clone(), gap.clone(), reason.to_owned());
        let now = UnixNanos::now();
        let written = runtime::blocking(move || gaps::record(&path, &gap, state, &reason, now)).await;
        if !matches!(written, Some(Ok(()))) {
            tracing::error!(path = %self.file.display(), "a gap could not be recorded");
        }
    }
}

/// Brings what is missing before the records of a poll's answer, as far as it can be brought, and one gap from before.
pub(super) async fn attend(lane: &Lane, follow: &Follow, kind: Kind, records: &[Record], publisher: &Publisher) {
    if past_of(lane, kind).is_none() {
        return;
    }
    for gap in follow.gaps(lane, records) {
        let Some(past) = past_of(lane, gap.stream.kind) else { continue };
        let (lost, gap) = gap.split(past.reach, UnixNanos::now());
        if let Some(lost) = lost {
            follow.record(lane, &lost, GapState::Lost, "the provider no longer serves it").await;
        }
        let Some(gap) = gap else { continue };
        if let Err(left) = refill(lane, follow, gap, past, publisher).await {
            follow.record(lane, &left.gap, left.state, &left.reason).await;
            if left.state == GapState::Open {
                follow.put_back(left.gap.clone(), left.gap, 0);
            }
        }
    }
    if let Some(Open { gap, recorded, tries, .. }) = follow.take_due(kind)
        && let Some(past) = past_of(lane, kind)
    {
        match refill(lane, follow, gap, past, publisher).await {
            Ok(()) => follow.record(lane, &recorded, GapState::Refilled, "").await,
            Err(left) if left.state == GapState::Open => follow.put_back(left.gap, recorded, tries),
            Err(left) => follow.record(lane, &recorded, GapState::Lost, &left.reason).await,
        }
    }
}

/// Asks for a gap page by page and publishes what comes.
async fn refill(lane: &Lane, follow: &Follow, gap: Gap, past: Past, publisher: &Publisher) -> Result<(), Left> {
    let lost = |gap: &Gap, reason: String| Left { gap: gap.clone(), state: GapState::Lost, reason };
    let Some(mut query) = gap.query(past) else {
        return Err(lost(&gap, "the provider serves only what is newest".to_owned()));
    };
    let too_many =
        |rows: u64| format!("{rows} records or more, beyond cursors.refill_rows_max; a backfill brings them");
    let least = gap.rows().unwrap_or(1);
    if least > follow.rows_max {
        return Err(lost(&gap, too_many(least)));
    }
    let (mut left, mut rows) = (gap, 0_u64);
    for _ in 0..PAGES_PER_POLL {
        if lane.stop.is_stopped() {
            return Err(Left { gap: left, state: GapState::Open, reason: "the engine stops".to_owned() });
        }
        let deadline = Deadline::after(Mono::now(), lane.deadline);
        let fetched = match fetch::fetch(lane, &query, deadline, lane.attempts_max).await {
            Ok(fetched) => fetched,
            Err(judgement) => return Err(refused(left, &judgement)),
        };
        let rest = left.after_page(&fetched.records, past);
        let mut records = fetched.records;
        let is_elsewhere = records.iter().any(|record| left.is_far_from(record));
        records.retain(|record| left.holds(record));
        if is_elsewhere && records.is_empty() {
            return Err(lost(&left, "the provider answers with another time".to_owned()));
        }
        records.sort_by_key(|record| (record.ts_event, gaps::head_of(record, past).and_then(|head| head.number)));
        let count = records.len() as u64;
        rows += count;
        if publisher.publish(&mut records).await.is_err() {
            return Err(Left { gap: left, state: GapState::Open, reason: "the engine stops".to_owned() });
        }
        lane.meter.refilled(count);
        left = rest;
        match fetched.next {
            Some(next) if !left.is_empty() => query.cursor = Some(next),
            // What the provider does not list, it has not.
            _ => {
                if rows > 0 {
                    tracing::info!(stream = %left.stream, rows, "what was missed between two polls has been refilled");
                }
                return Ok(());
            }
        }
        if rows > follow.rows_max {
            return Err(lost(&left, too_many(rows)));
        }
    }
    Err(Left { gap: left, state: GapState::Open, reason: "it goes on with the next poll".to_owned() })
}

/// A gap that was refused: for good only where asking again would be the same.
fn refused(gap: Gap, judgement: &Judgement) -> Left {
    let state = match judgement.verdict {
        Verdict::BadRequest | Verdict::NotFound | Verdict::Unauthorized => GapState::Lost,
        _ => GapState::Open,
    };
    Left { gap, state, reason: format!("{}: {}", judgement.verdict.as_str(), judgement.message) }
}

fn past_of(lane: &Lane, kind: Kind) -> Option<Past> {
    let is_followed = matches!(kind, Kind::Bar | Kind::Filing | Kind::News | Kind::Trade);
    lane.source.spec().kind(kind).filter(|_| is_followed).map(|kind| kind.past)
}

/// A poll waits for so many pages at most; what is left waits for the next.
const PAGES_PER_POLL: usize = 20;
/// Gaps that one lane asks for again; more stand in the file alone, until the next start.
const OPEN_MAX: usize = 64;
/// How long a gap rests after a try that failed; it doubles from there.
const TRY_AFTER: Duration = Duration::from_secs(5);
const TRY_AFTER_MAX: Duration = Duration::from_secs(600);
