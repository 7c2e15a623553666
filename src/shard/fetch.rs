//! The one request path: from a question to records, with everything that may refuse, delay or repeat it, in order.

use std::time::Duration;

use compact_str::CompactString;

use crate::handoff::Grant;
use crate::http::{Failure, Timings};
use crate::model::{Judgement, Native, Query, Record, Verdict};
use crate::policy::{Cause, Outcome};
use crate::runtime;
use crate::shard::audit::{Audit, Told, Trail};
use crate::shard::decode::decode;
use crate::shard::hedge;
use crate::shard::lane::{Lane, PermitGuard};
use crate::shard::semaphore::{Semaphore, Slot};
use crate::shard::stillness;
use crate::shard::validators::Noted;
use crate::source::Batch;
use crate::time::{Deadline, Mono, Now, UnixNanos};
use crate::wire::{Answer, Method, Request};

/// What one fetch brought.
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    /// The records.
    pub records: Vec<Record>,
    /// Where the next page starts.
    pub next: Option<CompactString>,
    /// Bytes of the body after decompression.
    pub body_bytes: usize,
    /// When it had been read.
    pub at: Mono,
    /// How long the answered attempt waited at its socket for the first byte.
    pub first_byte: Duration,
    /// What makes the next poll conditional, once the records are safe.
    pub(super) noted: Option<Box<Noted>>,
}

/// Asks `query` until it is answered, refused for good, or out of time.
///
/// # Errors
/// The judgement on the last attempt, or the local refusal that kept one from being sent.
///
/// # Cancel safety
/// Dropping the future gives its permit and its slots back and discards its HTTP/1.1 connection.
pub async fn fetch(lane: &Lane, query: &Query, deadline: Deadline, attempts_max: u32) -> Result<Fetched, Judgement> {
    ask(lane, query, deadline, attempts_max, Asker::Caller).await
}

/// The same for a poll, which the provider may answer by "not changed"; an answer whose time has stood still for too many
/// polls fails, too.
///
/// # Errors
/// As [`fetch`].
///
/// # Cancel safety
/// As [`fetch`].
pub(super) async fn poll(lane: &Lane, query: &Query, deadline: Deadline) -> Result<Fetched, Judgement> {
    ask(lane, query, deadline, lane.attempts_max, Asker::Poll).await
}

/// Who wants to know.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asker {
    Caller,
    Poll,
}

async fn ask(
    lane: &Lane,
    query: &Query,
    deadline: Deadline,
    attempts_max: u32,
    asker: Asker,
) -> Result<Fetched, Judgement> {
    super::prerequisites::ensure(lane, query, deadline).await?;
    let mut attempt = 1;
    loop {
        // The clocks are read again only where time can have passed: at the end of the exchange and of the decoding.
        let asked = Now::read();
        let (mut natives, mut request) =
            build(lane, query, asked.wall).inspect_err(|refusal| lane.meter.refused(refusal))?;
        if asker == Asker::Poll {
            lane.validators.apply(query, &mut request);
        }
        let sent = hedge::send(lane, &request, deadline, asked).await?;
        let mut body_bytes = 0;
        let mut batch = Batch::new(lane.source.spec().id, UnixNanos::EPOCH);
        let judged = match &sent.answer {
            Ok(answer) => {
                body_bytes = answer.body.len();
                batch = Batch::new(lane.source.spec().id, answer.ts_recv).attempt(sent.trail.attempt());
                decode(lane, query, &mut natives, answer, &mut batch).await
            }
            Err(failure) => Err(no_answer(failure)),
        };
        let judged = match (judged, asker) {
            // "Not changed" holds no times, and is no sign of a cache behind which something has died.
            (Ok(next), Asker::Poll) if sent.answer.as_ref().is_ok_and(|answer| answer.status == 304) => {
                lane.meter.unchanged();
                Ok(next)
            }
            // What is refused is not counted as read.
            (Ok(next), Asker::Poll) => {
                lane.check_moves(query, &batch).map(|()| next).inspect_err(|_| batch.truncate(0))
            }
            (judged, _) => judged,
        };
        let now = Now::read();
        lane.meter.decoded(now.mono.since(sent.done), batch.records().len());
        let judged = judged.map_err(|judgement| told(judgement, &request, sent.answer.as_ref().ok()));
        let first_byte = sent.timings.first_byte;
        let safe =
            request.method == Method::Get || sent.answer.as_ref().err().is_some_and(|failure| failure.retry_safe);
        let noted = match (&judged, &sent.answer, asker) {
            (Ok(_), Ok(answer), Asker::Poll) => lane.validators.note(query, &request, answer),
            _ => None,
        };
        sent.settle(lane, judged.as_ref().err(), now);
        let judgement = match judged {
            Ok(next) => {
                let records = batch.into_records();
                return Ok(Fetched { records, next, body_bytes, at: now.mono, first_byte, noted });
            }
            Err(judgement) => judgement,
        };
        super::prerequisites::invalidate(lane, judgement.verdict);
        // What stands still stands still a moment later, too.
        let again =
            attempt < attempts_max && safe && judgement.verdict.is_retryable() && judgement.reason != stillness::FROZEN;
        let delay = again
            .then(|| lane.backoff.delay(attempt, judgement.retry_after, deadline.left(now.mono), fastrand::u64(..)));
        let Some(Some(delay)) = delay else { return Err(judgement) };
        if !lane.spend_retry(now) {
            lane.meter.retry_refused();
            return Err(judgement);
        }
        lane.meter.retried();
        if pause(lane, delay).await.is_err() {
            return Err(judgement);
        }
        attempt += 1;
    }
}

/// An attempt that was sent, and what came of it.
pub(super) struct Sent<'a> {
    /// The answer, or why there is no whole one.
    pub answer: Result<Answer, Failure>,
    permit: PermitGuard<'a>,
    // Held while the answer is read: bodies in memory are bounded by the requests in flight.
    _slot: [Slot; 2],
    trail: Trail<'a>,
    // Held until the attempt is settled: it counts against limits on concurrency.
    _grant: Grant,
    at: Now,
    /// When the exchange was over.
    done: Mono,
    timings: Timings,
}

/// Admits and sends one attempt: breaker, in-flight slot, quota, permit, exchange.
///
/// # Errors
/// The local refusal: nothing was sent.
pub(super) async fn send<'a>(
    lane: &'a Lane,
    request: &'a Request,
    deadline: Deadline,
    asked: Now,
) -> Result<Sent<'a>, Judgement> {
    let pass = admit(lane, request, deadline, asked).await?;
    Ok(exchange(lane, request, deadline, pass).await)
}

/// Leave to send one attempt; dropping it gives its slots and its permit back.
pub(super) struct Pass<'a> {
    slot: [Slot; 2],
    grant: Grant,
    permit: PermitGuard<'a>,
    /// When it was asked for.
    asked: Now,
    /// When it was given.
    at: Now,
}

/// Admits one attempt: breaker, in-flight slot, quota, permit.
///
/// # Errors
/// The local refusal.
pub(super) async fn admit<'a>(
    lane: &'a Lane,
    request: &Request,
    deadline: Deadline,
    asked: Now,
) -> Result<Pass<'a>, Judgement> {
    let waiting = lane.meter.wait();
    let waited = wait(lane, request, deadline, asked).await.inspect_err(|refusal| lane.meter.refused(refusal));
    drop(waiting);
    let (slot, grant, at) = waited?;
    lane.meter.admitted(at.mono.since(asked.mono));
    let permit = lane.permit(request.base, at).inspect_err(|refusal| lane.meter.refused(refusal))?;
    Ok(Pass { slot, grant, permit, asked, at })
}

/// Sends one attempt that has been admitted.
pub(super) async fn exchange<'a>(lane: &'a Lane, request: &'a Request, deadline: Deadline, pass: Pass<'a>) -> Sent<'a> {
    let Pass { slot, grant, permit, asked, at } = pass;
    let trail = Audit::begin(lane, request, asked, at);
    let mut timings = Timings::default();
    let flight = lane.meter.begin();
    let endpoint = &lane.endpoints[request.base];
    let answer = lane.client.exchange(endpoint, request, &lane.limits, deadline, &mut timings).await;
    drop(flight);
    let done = if answer.is_ok() { timings.ended } else { Mono::now() };
    Sent { answer, permit, _slot: slot, trail, _grant: grant, at, done, timings }
}

impl Sent<'_> {
    /// Feeds breaker, quota, retry budget, metrics and audit log with the judgement on the attempt; `None` is `ok`.
    pub(super) fn settle(self, lane: &Lane, judgement: Option<&Judgement>, now: Now) {
        let elapsed = self.done.since(self.at.mono);
        let verdict = judgement.map_or(Verdict::Ok, |judgement| judgement.verdict);
        let retry_after = judgement.and_then(|judgement| judgement.retry_after);
        self.permit.settle(Outcome { verdict, elapsed, retry_after }, now);
        if let Some(report) = self.answer.as_ref().ok().and_then(|answer| lane.source.quota_used(answer)) {
            lane.quota.report_used(report.bucket, report.window, report.used, self.at, now);
        }
        match verdict {
            Verdict::Ok => lane.earn_retry(),
            Verdict::RateLimited => lane.quota.exhaust(now, retry_after),
            Verdict::Banned => {
                let until = judgement.and_then(|judgement| judgement.banned_until);
                lane.quota.ban(now, until.or_else(|| retry_after.map(|after| now.wall.saturating_add(after))));
            }
            _ => {}
        }
        lane.meter.settled(verdict, elapsed, &self.timings);
        let decode = now.mono.since(self.done);
        self.trail.settle(&Told { answer: &self.answer, timings: &self.timings, elapsed, decode, judgement });
    }
}

/// Waits for room in the audit log, a slot and quota, in the order of arrival, at most until the deadline. Tells when it
/// was through.
async fn wait(
    lane: &Lane,
    request: &Request,
    deadline: Deadline,
    mut now: Now,
) -> Result<([Slot; 2], Grant, Now), Judgement> {
    lane.check_breaker(request.base, now)?;
    let late = || {
        Judgement::new(Verdict::UpstreamError, "deadline", "the deadline passed before the request could be sent")
            .local()
    };
    lane.audit.room(deadline, &mut now).await.ok_or_else(late)?;
    // The lane's own slot first: a source that is full holds none of the shard's.
    let own = within(deadline, &lane.in_flight, &mut now).await.ok_or_else(late)?;
    let shared = within(deadline, &lane.shared, &mut now).await.ok_or_else(late)?;
    let _turn = within(deadline, &lane.turn(request.bucket), &mut now).await.ok_or_else(late)?;
    loop {
        let wait = match lane.quota.try_acquire(now, request.bucket, request.weight) {
            Ok(grant) => {
                lane.meter.acquired();
                return Ok(([own, shared], grant, now));
            }
            Err(wait) => wait,
        };
        let left = deadline.left(now.mono);
        if wait.cause == Cause::Concurrency {
            runtime::timeout(left, lane.quota.released(request.bucket)).await.ok_or_else(late)?;
            now = Now::read();
            continue;
        }
        match wait.after(now) {
            Some(after) if after < left => pause(lane, after).await?,
            after => {
                let reason = if wait.cause == Cause::Banned { "quota_banned" } else { "quota" };
                let message = format!("the quota allows no such request before the deadline ({})", wait.cause.as_str());
                return Err(Judgement::new(Verdict::RateLimited, reason, message).retry_after(after).local());
            }
        }
        now = Now::read();
        // A breaker may have opened meanwhile.
        lane.check_breaker(request.base, now)?;
    }
}

/// Waits before something is sent.
///
/// # Errors
/// When the shard stops meanwhile.
async fn pause(lane: &Lane, delay: Duration) -> Result<(), Judgement> {
    let stopped = async {
        lane.stop.stopped().await;
        Err(Judgement::new(Verdict::UpstreamError, "stopping", "the engine stops before the request was sent").local())
    };
    let waited = async {
        runtime::sleep(delay).await;
        Ok(())
    };
    futures_lite::future::or(waited, stopped).await
}

/// Waits for a slot and moves `now` on; most are free, and then neither timer nor clock is needed. `None` when the
/// deadline has passed.
async fn within(deadline: Deadline, semaphore: &Semaphore, now: &mut Now) -> Option<Slot> {
    if let Some(slot) = semaphore.try_acquire() {
        return Some(slot);
    }
    let slot = runtime::timeout(deadline.left(now.mono), semaphore.acquire()).await;
    *now = Now::read();
    slot
}

/// Builds the request that answers `query`, with the provider's names of its symbols.
fn build(lane: &Lane, query: &Query, now: UnixNanos) -> Result<(Vec<Native>, Request), Judgement> {
    let mut natives = lane.natives(query)?;
    let request = lane.with_natives(query, &mut natives, now, |cx| lane.source.request(cx))?;
    Ok((natives, request))
}

/// A judgement without the request's secrets, with the beginning of the body that earned it.
fn told(judgement: Judgement, request: &Request, answer: Option<&Answer>) -> Judgement {
    let message = request.redact(&judgement.message);
    let excerpt = answer.map_or_else(String::new, |answer| request.redact(&answer.excerpt(EXCERPT_BYTES_MAX)));
    Judgement { message, excerpt, ..judgement }
}

/// No whole answer is a failure of the provider or of the way to it.
pub(super) fn no_answer(failure: &Failure) -> Judgement {
    Judgement::new(Verdict::UpstreamError, failure.reason, failure.message.clone())
}

/// Enough of an offending body to see what it is.
const EXCERPT_BYTES_MAX: usize = 200;
