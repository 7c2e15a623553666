//! What a lane tells the audit log: one entry for each attempt that was sent, whatever became of it, the ids of attempts,
//! and what its breakers do by themselves. Owns neither the way to the sink core nor the file.
//! Invariants: an attempt that was begun has exactly one entry, also when it is dropped half-way; an entry holds no
//! secret of the request, of the source's credentials or of its session.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::handoff::AuditSeat;
use crate::http::{Failure, Protocol, Timings};
use crate::model::{
    AuditAction, AuditBatch, AuditEntry, Connection, Judgement, SourceId, Span, Stages, Verdict, audit_micros,
};
use crate::policy::Transition;
use crate::runtime;
use crate::shard::lane::Lane;
use crate::time::{Deadline, Now, UnixNanos};
use crate::wire::{Answer, Request};

/// Gives attempts their ids: unique over shards and over runs, and growing with time on each shard.
///
/// The high bits count on from the microsecond at which the shard began, the low ten are the shard's number. No shard
/// makes a million attempts a second, so that a later run begins above all ids of the earlier, as long as the host's
/// clock is not set back in between.
pub(super) struct Ids {
    shard: u64,
    next: Cell<u64>,
}

impl Ids {
    /// Ids of a shard that begins now.
    pub(super) fn new(shard: usize, now: UnixNanos) -> Self {
        let micros = u64::try_from(now.as_nanos() / 1_000).unwrap_or(0);
        Ids { shard: shard as u64 & SHARD_MASK, next: Cell::new(micros) }
    }

    fn next(&self) -> u64 {
        let count = self.next.get();
        self.next.set(count + 1);
        count << SHARD_BITS | self.shard
    }
}

/// The log as all lanes of a shard share it.
#[derive(Clone)]
pub(super) struct Log {
    /// The ids.
    pub ids: Rc<Ids>,
    /// The way to the sink core; `None` while the log is off.
    pub seat: Option<Rc<AuditSeat>>,
    /// Bytes of each body that are kept; `None` keeps none.
    pub body_bytes_max: Option<usize>,
}

/// The log as one lane writes it.
pub(super) struct Audit {
    log: Log,
    place: u16,
}

impl Audit {
    /// The log of a lane of `source`.
    pub(super) fn new(log: Log, source: SourceId) -> Self {
        let place = log.seat.as_ref().and_then(|seat| seat.place_of(source)).unwrap_or(u16::MAX);
        Audit { log, place }
    }

    /// Waits while the log is full, at most until the deadline, and moves `now` on; `None` when that has passed.
    pub(super) async fn room(&self, deadline: Deadline, now: &mut Now) -> Option<()> {
        let Some(seat) = self.log.seat.as_ref().filter(|seat| !seat.has_room()) else { return Some(()) };
        let found = runtime::timeout(deadline.left(now.mono), seat.room()).await;
        *now = Now::read();
        found
    }

    /// Writes that the breaker of a host has changed its state by itself.
    pub(super) fn breaker(&self, source: SourceId, host: &str, changed: Transition) {
        let Some(seat) = &self.log.seat else { return };
        let action = AuditAction::new("breaker", UnixNanos::now())
            .with("source", source)
            .with("host", host)
            .with("shard", self.log.ids.shard)
            .with("from", changed.from.as_str())
            .with("to", changed.to.as_str())
            .with("reason", changed.reason);
        seat.act(action);
    }

    /// An attempt begins.
    pub(super) fn begin<'a>(lane: &'a Lane, request: &'a Request, asked: Now, at: Now) -> Trail<'a> {
        let attempt = lane.audit.log.ids.next();
        Trail { lane, request, attempt, ts: at.wall, admission: at.mono.since(asked.mono), is_told: false }
    }
}

/// What became of an attempt.
pub(super) struct Told<'a> {
    /// The answer, or why there is none.
    pub answer: &'a Result<Answer, Failure>,
    /// What the exchange took.
    pub timings: &'a Timings,
    /// From its admission to the last byte.
    pub elapsed: Duration,
    /// From the last byte to the verdict.
    pub decode: Duration,
    /// The verdict; `None` is `ok`.
    pub judgement: Option<&'a Judgement>,
}

/// An attempt under way: its entry is written when it is settled, or when it is dropped.
pub(super) struct Trail<'a> {
    lane: &'a Lane,
    request: &'a Request,
    attempt: u64,
    ts: UnixNanos,
    admission: Duration,
    is_told: bool,
}

impl Trail<'_> {
    /// The attempt's id.
    pub(super) fn attempt(&self) -> u64 {
        self.attempt
    }

    /// Writes the entry of an attempt that has a verdict.
    pub(super) fn settle(mut self, told: &Told<'_>) {
        self.is_told = true;
        let log = &self.lane.audit.log;
        let Some(seat) = &log.seat else { return };
        let timings = told.timings;
        seat.push(|batch| {
            let mut entry = self.entry(batch);
            entry.connection = match (timings.reused, timings.protocol) {
                (true, _) => Connection::Reused,
                (false, Protocol::Unknown) => Connection::None,
                (false, _) => Connection::New,
            };
            entry.http = match timings.protocol {
                Protocol::Unknown => "",
                Protocol::One => "1.1",
                Protocol::Two => "2",
            };
            entry.status = told.answer.as_ref().map_or(0, |answer| answer.status);
            entry.bytes_out = u32::try_from(timings.bytes_out).unwrap_or(u32::MAX);
            entry.bytes_in = u32::try_from(timings.bytes_in).unwrap_or(u32::MAX);
            entry.stages = Stages {
                pool: audit_micros(timings.pool),
                dns: audit_micros(timings.dns),
                connect: audit_micros(timings.connect),
                tls: audit_micros(timings.tls),
                first_byte: audit_micros(timings.first_byte),
                body: audit_micros(timings.body),
                decode: audit_micros(told.decode),
                ..entry.stages
            };
            entry.elapsed_us = audit_micros(told.elapsed);
            entry.verdict = Some(told.judgement.map_or(Verdict::Ok, |judgement| judgement.verdict));
            entry.reason = told.judgement.map_or("", |judgement| judgement.reason);
            if let Some(max) = log.body_bytes_max {
                entry.request_body = self.body(batch, self.request.body.as_deref(), max);
                let answer = told.answer.as_ref().ok().map(|answer| &*answer.body);
                entry.answer_body = self.body(batch, answer, max);
            }
            entry
        });
    }

    /// What is known of it before it has ended.
    fn entry(&self, batch: &mut AuditBatch) -> AuditEntry {
        AuditEntry {
            attempt: self.attempt,
            ts: self.ts,
            source: self.lane.audit.place,
            base: u8::try_from(self.request.base).unwrap_or(u8::MAX),
            method: self.request.method.as_str(),
            target: batch.put(|text| self.request.push_target_redacted(text)),
            weight: self.request.weight,
            connection: Connection::None,
            http: "",
            status: 0,
            bytes_out: 0,
            bytes_in: 0,
            stages: Stages { admission: audit_micros(self.admission), ..Stages::default() },
            elapsed_us: 0,
            verdict: None,
            reason: "",
            request_body: Span::default(),
            answer_body: Span::default(),
        }
    }

    /// Puts the beginning of a body into the batch, without secrets.
    fn body(&self, batch: &mut AuditBatch, body: Option<&[u8]>, max: usize) -> Span {
        let Some(body) = body else { return Span::default() };
        // Secrets are looked for beyond the cut, so that none is left half.
        let head = &body[..body.len().min(max.saturating_add(BEYOND_BYTES))];
        let shown = self.lane.redact(self.request, &String::from_utf8_lossy(head));
        let end = (0..=max.min(shown.len())).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or(0);
        batch.put(|text| text.push_str(&shown[..end]))
    }
}

impl Drop for Trail<'_> {
    fn drop(&mut self) {
        if self.is_told {
            return;
        }
        self.lane.meter.cancelled();
        if let Some(seat) = &self.lane.audit.log.seat {
            seat.push(|batch| self.entry(batch));
        }
    }
}

const SHARD_BITS: u32 = 10;
const SHARD_MASK: u64 = (1 << SHARD_BITS) - 1;
/// Longer than any key, token or cookie that the sources use.
const BEYOND_BYTES: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_between_shards_and_runs() {
        let start = UnixNanos::from_secs(1_730_000_000).unwrap();
        let later = start.saturating_add(Duration::from_millis(1));
        let ids: Vec<u64> = [Ids::new(0, start), Ids::new(1, start), Ids::new(0, later)]
            .iter()
            .flat_map(|ids| (0..900).map(|_| ids.next()).collect::<Vec<_>>())
            .collect();
        let distinct: std::collections::BTreeSet<u64> = ids.iter().copied().collect();
        assert_eq!(distinct.len(), ids.len());
        assert!(ids[..900].is_sorted() && ids.iter().all(|id| i64::try_from(*id).is_ok()));
    }
}
