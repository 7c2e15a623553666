//! Reads the cells of all cores into snapshots, and remembers enough of the past for the recent windows.
//! Owned by one thread of the control plane; recent windows and the peak are as fine as the calls of
//! [`MetricsReader::sample`], which is meant to be called once a second.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::cells::{Reading, ShardCells};
use super::core::{Beat, CoreCells};
use super::histogram::Counts;
use super::names::{BREAKER_STATES, GapState, Refusal, Stage, breaker_state};
use super::parts::{CoreSnapshot, DataAge, ShardSnapshot, ShardSource};
use super::sink::SinkCells;
use super::snapshot::{Latency, Recent, RecordCounts, Snapshot, SourceSnapshot};
use super::window::Window;
use crate::model::{SourceId, Verdict};
use crate::time::{Mono, Now};

/// Reads all cores' cells.
#[derive(Debug)]
pub struct MetricsReader {
    shards: Vec<Arc<ShardCells>>,
    sink: Option<Arc<SinkCells>>,
    cores: Vec<Core>,
    started: Now,
    sources: BTreeMap<SourceId, Past>,
    total: Past,
}

impl MetricsReader {
    /// A reader of the cells of these shards, of the sink core if there is one, and of `others`, in a run that began at
    /// `started`.
    pub fn new(
        shards: Vec<Arc<ShardCells>>,
        sink: Option<Arc<SinkCells>>,
        others: Vec<Arc<CoreCells>>,
        started: Now,
    ) -> Self {
        let mut sources = BTreeMap::new();
        for row in shards.iter().flat_map(|shard| shard.rows()) {
            sources.entry(row.source).or_insert_with(|| Past::new(started.mono));
        }
        let cores = shards.iter().map(|shard| shard.core().clone());
        let cores = cores.chain(sink.iter().map(|sink| sink.core().clone())).chain(others);
        let cores = cores.map(|cells| Core { cells, beats: VecDeque::new() }).collect();
        MetricsReader { shards, sink, cores, started, sources, total: Past::new(started.mono) }
    }

    /// Notes the present for the recent windows and the peak.
    pub fn sample(&mut self, now: Now) {
        let (sources, total) = self.read(|_, _, _| {});
        for (source, reading) in &sources {
            if let Some(past) = self.sources.get_mut(source) {
                past.note(reading, now.mono);
            }
        }
        self.total.note(&total, now.mono);
        self.cores.iter_mut().for_each(Core::note);
    }

    /// Everything at this moment that the cells tell. The rest is left for the engine to fill.
    pub fn snapshot(&self, now: Now) -> Snapshot {
        let uptime = now.mono.since(self.started.mono);
        let mut shards: Vec<ShardSnapshot> = self.shards.iter().map(|shard| pool(shard)).collect();
        let (readings, total) = self.read(|index, source, reading| {
            shards[index].sources.insert(source.as_str().to_owned(), part(reading));
        });
        let data = self.sink.as_ref().map(|sink| sink.ages(now.wall)).unwrap_or_default();
        let mut sources = BTreeMap::new();
        for (source, reading) in &readings {
            if let Some(past) = self.sources.get(source) {
                let mut row = describe(reading, past, uptime, now.mono);
                (row.record_age_ms, row.event_age_ms) = youngest(&data, source.as_str());
                sources.insert(source.as_str().to_owned(), row);
            }
        }
        let status = self.sink.as_ref().map(|sink| sink.status()).unwrap_or_default();
        Snapshot {
            at: now.wall,
            started_at: self.started.wall,
            uptime_ms: uptime.as_millis() as u64,
            total: describe(&total, &self.total, uptime, now.mono),
            sources,
            cores: self.cores.iter().map(|core| core.describe(self.started.mono, now.mono)).collect(),
            shards,
            journal: status.journal,
            sinks: status.sinks,
            data,
            ..Snapshot::default()
        }
    }

    /// Reads every cell: what each source has over all shards, and all of them together. `each` is shown each shard's
    /// part.
    fn read(&self, mut each: impl FnMut(usize, SourceId, &Reading)) -> (BTreeMap<SourceId, Reading>, Reading) {
        let mut sources: BTreeMap<SourceId, Reading> = BTreeMap::new();
        for (index, shard) in self.shards.iter().enumerate() {
            for row in shard.rows() {
                let mut reading = Reading::default();
                row.read(&mut reading);
                each(index, row.source, &reading);
                match sources.entry(row.source) {
                    std::collections::btree_map::Entry::Occupied(mut known) => known.get_mut().add(&reading),
                    std::collections::btree_map::Entry::Vacant(free) => {
                        free.insert(reading);
                    }
                }
            }
        }
        let mut total = Reading::default();
        for (source, reading) in &mut sources {
            if let Some(sink) = &self.sink {
                let [.., wait, write] = &mut reading.stages;
                sink.read(*source, wait, write);
            }
            total.add(reading);
        }
        (sources, total)
    }
}

/// One core's recent past.
#[derive(Debug)]
struct Core {
    cells: Arc<CoreCells>,
    beats: VecDeque<Beat>,
}

impl Core {
    fn note(&mut self) {
        let beat = self.cells.read();
        if self.beats.back().is_none_or(|last| last.at != beat.at) {
            keep(&mut self.beats, beat, BEATS_KEPT);
        }
    }

    fn describe(&self, started: Mono, now: Mono) -> CoreSnapshot {
        let beat = self.cells.read();
        let then = self.beats.front().copied().unwrap_or_default();
        let span = beat.at.since(then.at);
        let used = beat.used.saturating_sub(then.used);
        let busy = if span.is_zero() { 0.0 } else { used.as_secs_f64() / span.as_secs_f64() };
        CoreSnapshot {
            name: self.cells.name().to_owned(),
            cpu: self.cells.cpu(),
            // A core that has not beaten yet has had no longer for it than since the start.
            heartbeat_age_ms: now.since(beat.at.max(started)).as_millis() as u64,
            cpu_ms: beat.used.as_millis() as u64,
            // A beat is two cells: a reader between them may see a little more than there was.
            busy_share: busy.min(1.0),
            stalls: beat.stalls,
            stall_max_ms: beat.stall_max.as_millis() as u64,
        }
    }
}

/// A source's recent past, or that of all together.
#[derive(Debug)]
struct Past {
    points: VecDeque<Point>,
    latency: Window,
    stages: [Window; Stage::ALL.len()],
    peak: f64,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at: Mono,
    attempts: u64,
    success: u64,
    records: u64,
}

impl Past {
    fn new(started: Mono) -> Self {
        let origin = Point { at: started, attempts: 0, success: 0, records: 0 };
        Past { points: VecDeque::from([origin]), latency: Window::default(), stages: Default::default(), peak: 0.0 }
    }

    fn note(&mut self, reading: &Reading, now: Mono) {
        let point = Point { at: now, attempts: reading.attempts, success: reading.success(), records: reading.records };
        if let Some(last) = self.points.back() {
            let span = now.since(last.at);
            // Shorter spans would make a burst of two look like a rate.
            if span >= PEAK_SPAN_MIN {
                self.peak = self.peak.max(rate(point.attempts - last.attempts, span));
            }
        }
        self.latency.note(&reading.latency, now, LONG);
        for (window, counts) in self.stages.iter_mut().zip(&reading.stages) {
            window.note(counts, now, LONG);
        }
        keep(&mut self.points, point, POINTS_KEPT);
    }

    /// The first point within `span`; the last one when all are older.
    fn point(&self, now: Mono, span: Duration) -> Option<&Point> {
        self.points.iter().find(|point| now.since(point.at) <= span).or(self.points.back())
    }

    fn recent(&self, reading: &Reading, now: Mono, span_max: Duration) -> Recent {
        let Some(then) = self.point(now, span_max) else { return Recent::default() };
        let span = now.since(then.at);
        let requests = reading.attempts - then.attempts;
        let stages = self.stages.iter().zip(&reading.stages).map(|(window, counts)| window.since(then.at, counts));
        Recent {
            span_ms: span.as_millis() as u64,
            requests,
            success: reading.success() - then.success,
            requests_per_second: rate(requests, span),
            records_per_second: rate(reading.records - then.records, span),
            latency: Latency::from(&self.latency.since(then.at, &reading.latency)),
            stages: by_stage(stages),
        }
    }

    fn rate_now(&self, reading: &Reading, now: Mono) -> f64 {
        let then = self.point(now, NOW);
        then.map_or(0.0, |then| rate(reading.attempts - then.attempts, now.since(then.at)))
    }
}

fn describe(reading: &Reading, past: &Past, uptime: Duration, now: Mono) -> SourceSnapshot {
    let success = reading.success();
    let breakers: Vec<&str> = reading.breakers.iter().map(|code| breaker_state(*code)).collect();
    let open = breakers.iter().filter(|word| matches!(**word, "open" | "forced_open" | "half_open")).count();
    SourceSnapshot {
        requests: reading.attempts,
        success,
        success_rate: if reading.attempts == 0 { 1.0 } else { success as f64 / reading.attempts as f64 },
        requests_per_second: rate(reading.attempts, uptime),
        requests_per_second_now: past.rate_now(reading, now),
        requests_per_second_peak: past.peak,
        verdicts: named(&Verdict::ALL.map(Verdict::as_str), &reading.verdicts),
        refused: named(&Refusal::ALL.map(Refusal::as_str), &reading.refusals),
        retries: reading.retries,
        cancelled: reading.cancelled,
        hedges: reading.hedges,
        records: reading.records,
        bytes_in: reading.bytes_in,
        bytes_out: reading.bytes_out,
        polls: reading.polls,
        polls_skipped: reading.polls_skipped,
        refilled: reading.refilled,
        gaps: named(&GapState::ALL.map(GapState::as_str), &reading.gaps),
        unchanged: reading.unchanged,
        connections: reading.connections,
        in_flight: reading.in_flight,
        waiting: reading.waiting,
        latency: Latency::from(&reading.latency),
        stages: by_stage(reading.stages.iter()),
        last_10s: past.recent(reading, now, SHORT),
        last_60s: past.recent(reading, now, LONG),
        breaker: worst_breaker(&breakers).to_owned(),
        breakers_open: open as u64,
        breaker_opened: reading.breaker_opened,
        breaker_transitions: named(&BREAKER_STATES, &reading.breaker_changes),
        last_error: reading.last_error.as_ref().map(|(message, _)| message.clone()),
        last_excerpt: reading.last_error.as_ref().map(|(_, excerpt)| excerpt.clone()).filter(|text| !text.is_empty()),
        counts: RecordCounts::default(),
        quota: Vec::new(),
        banned_until: None,
        record_age_ms: None,
        event_age_ms: None,
    }
}

fn part(reading: &Reading) -> ShardSource {
    let breakers: Vec<&str> = reading.breakers.iter().map(|code| breaker_state(*code)).collect();
    ShardSource {
        requests: reading.attempts,
        success: reading.success(),
        records: reading.records,
        in_flight: reading.in_flight,
        breaker: worst_breaker(&breakers).to_owned(),
        latency: Latency::from(&reading.latency),
        stages: by_stage(reading.stages.iter()),
    }
}

fn pool(shard: &ShardCells) -> ShardSnapshot {
    let [connections_open, connections_idle, connection_waiters] = shard.pool();
    ShardSnapshot { connections_open, connections_idle, connection_waiters, sources: BTreeMap::new() }
}

/// The state that admits least; what is unknown never happens.
fn worst_breaker<'a>(breakers: &[&'a str]) -> &'a str {
    let rank = |word: &&str| ["disabled", "closed", "half_open", "open", "forced_open"].iter().position(|w| w == word);
    breakers.iter().max_by_key(|word| rank(word)).copied().unwrap_or("closed")
}

/// Counts by their words; zeros are left out.
fn named(words: &[&'static str], counts: &[u64]) -> BTreeMap<String, u64> {
    let named = words.iter().zip(counts).filter(|(_, count)| **count > 0);
    named.map(|(word, count)| ((*word).to_owned(), *count)).collect()
}

fn by_stage(counts: impl Iterator<Item = impl std::borrow::Borrow<Counts>>) -> BTreeMap<String, Latency> {
    let passed = Stage::ALL.iter().zip(counts).map(|(stage, counts)| (stage, Latency::from(counts.borrow())));
    passed.filter(|(_, taken)| taken.count > 0).map(|(stage, taken)| (stage.as_str().to_owned(), taken)).collect()
}

/// The ages of a source's newest record and newest event.
fn youngest(data: &[DataAge], source: &str) -> (Option<u64>, Option<u64>) {
    let own = || data.iter().filter(|age| age.source == source);
    (own().filter_map(|age| age.record_age_ms).min(), own().filter_map(|age| age.event_age_ms).min())
}

fn keep<T>(kept: &mut VecDeque<T>, newest: T, kept_max: usize) {
    while kept.len() >= kept_max {
        kept.pop_front();
    }
    kept.push_back(newest);
}

fn rate(count: u64, span: Duration) -> f64 {
    if span.is_zero() { 0.0 } else { count as f64 / span.as_secs_f64() }
}

/// A sample comes once a second, give or take: half a second more keeps the one that is meant.
const NOW: Duration = Duration::from_millis(1_500);
const SHORT: Duration = Duration::from_millis(10_500);
const LONG: Duration = Duration::from_millis(60_500);
const POINTS_KEPT: usize = 62;
const BEATS_KEPT: usize = 11;
const PEAK_SPAN_MIN: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Attempt;

    const A: SourceId = SourceId("a");
    const B: SourceId = SourceId("b");

    fn cells(shard: usize, sources: &[SourceId]) -> Arc<ShardCells> {
        ShardCells::new(CoreCells::new(format!("shard-{shard}"), Some(shard)), sources)
    }

    fn attempt(verdict: Verdict, millis: u64) -> Attempt {
        Attempt { verdict, elapsed: Duration::from_millis(millis), bytes_in: 100, bytes_out: 10 }
    }

    #[test]
    fn a_snapshot_adds_up_the_shards() {
        let shards = vec![cells(0, &[A, B]), cells(1, &[A])];
        let start = Now::default();
        let reader = MetricsReader::new(shards.clone(), None, Vec::new(), start);
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
        let shards = vec![cells(0, &[A])];
        let mut now = Now::default();
        let mut reader = MetricsReader::new(shards.clone(), None, Vec::new(), now);
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
