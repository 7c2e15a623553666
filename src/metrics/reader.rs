//! Reads the cells of all shards into snapshots, and remembers enough of the past for the recent windows.
//! Owned by one thread of the control plane; recent windows and the peak are as fine as the calls of
//! [`MetricsReader::sample`], which is meant to be called once a second.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::cells::{Reading, ShardCells};
use super::histogram::Counts;
use super::names::{Refusal, Stage, breaker_state};
use super::snapshot::{Latency, Recent, RecordCounts, Snapshot, SourceSnapshot};
use crate::model::{SourceId, Verdict};
use crate::time::{Mono, Now};

/// Reads all shards' cells.
#[derive(Debug)]
pub struct MetricsReader {
    shards: Vec<Arc<ShardCells>>,
    started: Mono,
    sources: BTreeMap<SourceId, Past>,
    total: Past,
}

impl MetricsReader {
    /// A reader of these shards' cells, in a run that began at `started`.
    pub fn new(shards: Vec<Arc<ShardCells>>, started: Now) -> Self {
        let mut sources = BTreeMap::new();
        for row in shards.iter().flat_map(|shard| shard.rows()) {
            sources.entry(row.source).or_insert_with(|| Past::new(started.mono));
        }
        MetricsReader { shards, started: started.mono, sources, total: Past::new(started.mono) }
    }

    /// Notes the present for the recent windows and the peak.
    pub fn sample(&mut self, now: Now) {
        let mut total = Reading::default();
        for (source, reading) in self.read() {
            total.add(&reading);
            if let Some(past) = self.sources.get_mut(&source) {
                past.note(&reading, now.mono);
            }
        }
        self.total.note(&total, now.mono);
    }

    /// Everything at this moment. Record counters, buffer and quota are left for the engine to fill.
    pub fn snapshot(&self, now: Now) -> Snapshot {
        let uptime = now.mono.since(self.started);
        let mut total = Reading::default();
        let mut sources = BTreeMap::new();
        for (source, reading) in self.read() {
            total.add(&reading);
            if let Some(past) = self.sources.get(&source) {
                sources.insert(source.as_str().to_owned(), describe(&reading, past, uptime, now.mono));
            }
        }
        Snapshot {
            at: now.wall,
            uptime_ms: uptime.as_millis() as u64,
            total: describe(&total, &self.total, uptime, now.mono),
            sources,
            shards: self.shards.iter().map(|shard| shard.health(now.mono)).collect(),
            ..Snapshot::default()
        }
    }

    fn read(&self) -> BTreeMap<SourceId, Reading> {
        let mut readings: BTreeMap<SourceId, Reading> = BTreeMap::new();
        for row in self.shards.iter().flat_map(|shard| shard.rows()) {
            row.read(readings.entry(row.source).or_default());
        }
        readings
    }
}

/// Earlier readings: ten of a second each, six of ten seconds each.
#[derive(Debug)]
struct Past {
    fine: VecDeque<Point>,
    coarse: VecDeque<Point>,
    peak: f64,
}

#[derive(Clone, Debug)]
struct Point {
    at: Mono,
    attempts: u64,
    success: u64,
    records: u64,
    latency: Counts,
}

impl Past {
    fn new(started: Mono) -> Self {
        let origin = Point { at: started, attempts: 0, success: 0, records: 0, latency: Counts::new() };
        Past { fine: VecDeque::from([origin.clone()]), coarse: VecDeque::from([origin]), peak: 0.0 }
    }

    fn note(&mut self, reading: &Reading, now: Mono) {
        let point = Point {
            at: now,
            attempts: reading.attempts,
            success: reading.success(),
            records: reading.records,
            latency: reading.latency.clone(),
        };
        if let Some(last) = self.fine.back() {
            let span = now.since(last.at);
            // Shorter spans would make a burst of two look like a rate.
            if span >= PEAK_SPAN_MIN {
                self.peak = self.peak.max(rate(point.attempts - last.attempts, span));
            }
        }
        if self.coarse.back().is_none_or(|last| now.since(last.at) >= COARSE) {
            keep(&mut self.coarse, point.clone(), COARSE_KEPT);
        }
        keep(&mut self.fine, point, FINE_KEPT);
    }

    fn recent(&self, points: &VecDeque<Point>, reading: &Reading, now: Mono, span_max: Duration) -> Recent {
        let within = points.iter().find(|point| now.since(point.at) <= span_max);
        let Some(then) = within.or(points.back()) else { return Recent::default() };
        let span = now.since(then.at);
        let requests = reading.attempts - then.attempts;
        Recent {
            span_ms: span.as_millis() as u64,
            requests,
            success: reading.success() - then.success,
            requests_per_second: rate(requests, span),
            records_per_second: rate(reading.records - then.records, span),
            latency: Latency::from(&reading.latency.since(&then.latency)),
        }
    }
}

fn describe(reading: &Reading, past: &Past, uptime: Duration, now: Mono) -> SourceSnapshot {
    let success = reading.success();
    let named = |words: Vec<&'static str>, counts: &[u64]| {
        let named = words.into_iter().zip(counts).filter(|(_, count)| **count > 0);
        named.map(|(word, count)| (word.to_owned(), *count)).collect::<BTreeMap<_, _>>()
    };
    let stages = Stage::ALL.iter().zip(&reading.stages).filter(|(_, counts)| counts.count() > 0);
    // From the state that admits most to the one that admits least; what is unknown never happens.
    let rank = |word: &&str| ["disabled", "closed", "half_open", "open", "forced_open"].iter().position(|w| w == word);
    let breakers: Vec<&str> = reading.breakers.iter().map(|code| breaker_state(*code)).collect();
    let open = breakers.iter().filter(|word| matches!(**word, "open" | "forced_open" | "half_open")).count();
    SourceSnapshot {
        requests: reading.attempts,
        success,
        success_rate: if reading.attempts == 0 { 1.0 } else { success as f64 / reading.attempts as f64 },
        requests_per_second: rate(reading.attempts, uptime),
        requests_per_second_peak: past.peak,
        verdicts: named(Verdict::ALL.map(Verdict::as_str).to_vec(), &reading.verdicts),
        refused: named(Refusal::ALL.map(Refusal::as_str).to_vec(), &reading.refusals),
        retries: reading.retries,
        cancelled: reading.cancelled,
        records: reading.records,
        bytes_in: reading.bytes_in,
        bytes_out: reading.bytes_out,
        polls: reading.polls,
        polls_skipped: reading.polls_skipped,
        connections: reading.connections,
        in_flight: reading.in_flight,
        latency: Latency::from(&reading.latency),
        stages: stages.map(|(stage, counts)| (stage.as_str().to_owned(), Latency::from(counts))).collect(),
        last_10s: past.recent(&past.fine, reading, now, FINE_SPAN),
        last_60s: past.recent(&past.coarse, reading, now, COARSE_SPAN),
        breaker: breakers.iter().max_by_key(|word| rank(word)).copied().unwrap_or("closed").to_owned(),
        breakers_open: open as u64,
        breaker_opened: reading.breaker_opened,
        last_error: reading.last_error.clone(),
        counts: RecordCounts::default(),
        quota: Vec::new(),
        banned_until: None,
    }
}

fn keep(points: &mut VecDeque<Point>, point: Point, kept: usize) {
    while points.len() >= kept {
        points.pop_front();
    }
    points.push_back(point);
}

fn rate(count: u64, span: Duration) -> f64 {
    if span.is_zero() { 0.0 } else { count as f64 / span.as_secs_f64() }
}

const FINE_KEPT: usize = 11;
const FINE_SPAN: Duration = Duration::from_millis(10_500);
const COARSE: Duration = Duration::from_secs(10);
const COARSE_KEPT: usize = 7;
const COARSE_SPAN: Duration = Duration::from_millis(60_500);
const PEAK_SPAN_MIN: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Attempt;

    const A: SourceId = SourceId("a");
    const B: SourceId = SourceId("b");

    fn attempt(verdict: Verdict, millis: u64) -> Attempt {
        Attempt { verdict, elapsed: Duration::from_millis(millis), bytes_in: 100, bytes_out: 10 }
    }

    #[test]
    fn a_snapshot_adds_up_the_shards() {
        let shards = vec![ShardCells::new(&[A, B]), ShardCells::new(&[A])];
        let start = Now::default();
        let reader = MetricsReader::new(shards.clone(), start);
        let (first, second) = (shards[0].recorder(A).unwrap(), shards[1].recorder(A).unwrap());
        assert!(shards[0].recorder(A).is_none(), "a row has one writer");
        assert!(shards[1].recorder(B).is_none());
        first.attempt(attempt(Verdict::Ok, 10));
        second.attempt(attempt(Verdict::UpstreamError, 30));
        second.refused(Refusal::Breaker);
        second.breaker(4, 1);
        first.stage(Stage::Tls, Duration::from_millis(3));
        first.records(7);
        let snapshot = reader.snapshot(start.after(Duration::from_secs(2)));
        let a = &snapshot.sources["a"];
        assert_eq!((a.requests, a.success, a.records, a.bytes_in, a.bytes_out), (2, 1, 7, 200, 20));
        assert_eq!((a.success_rate, a.requests_per_second), (0.5, 1.0));
        assert_eq!((a.verdicts["ok"], a.verdicts["upstream_error"], a.verdicts.len()), (1, 1, 2));
        assert_eq!((a.refused["breaker"], a.breaker.as_str(), a.breakers_open), (1, "open", 1));
        assert_eq!((a.latency.max_ms, a.latency.mean_ms, a.stages["tls"].count), (30.0, 20.0, 1));
        assert_eq!(snapshot.sources["b"].breaker, "closed");
        assert_eq!((snapshot.total.requests, snapshot.total.success_rate), (2, 0.5));
        let text = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(serde_json::from_str::<Snapshot>(&text).unwrap(), snapshot);
        drop(first);
        assert!(shards[0].recorder(A).is_some(), "a writer that is gone frees its row");
    }

    #[test]
    fn recent_windows_forget() {
        let shards = vec![ShardCells::new(&[A])];
        let mut now = Now::default();
        let mut reader = MetricsReader::new(shards.clone(), now);
        let recorder = shards[0].recorder(A).unwrap();
        for second in 0..100 {
            let count = if second == 50 { 40 } else { 2 };
            for _ in 0..count {
                recorder.attempt(attempt(Verdict::Ok, if second < 70 { 500 } else { 5 }));
            }
            now = now.after(Duration::from_secs(1));
            reader.sample(now);
        }
        let a = &reader.snapshot(now).sources["a"];
        assert_eq!(a.requests, 99 * 2 + 40);
        assert_eq!((a.requests_per_second_peak, a.last_10s.span_ms, a.last_10s.requests), (40.0, 10_000, 20));
        assert!(a.last_10s.latency.max_ms < 5.2 && a.last_10s.latency.p50_ms > 4.9);
        assert_eq!((a.last_60s.span_ms, a.last_60s.requests), (60_000, 59 * 2 + 40));
        assert!(a.last_60s.latency.max_ms >= 500.0);
        assert_eq!(a.latency.count, a.requests);
    }
}
