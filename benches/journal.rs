//! The sink core's path: each stage alone (duplicates, encode, pack, write through io_uring with group commit), in ns per
//! record and bytes per record on disk; how long the whole collector takes for a full buffer of 10,000 records; and what
//! share of its core it needs at 100,000 records/s. Run it on an idle machine: `cargo bench --bench journal`;
//! `-- collector` leaves the stages out.
#![allow(missing_docs)]

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group};
use futures_lite::future::block_on;
use tidegate::collector::{BatchSettings, BufferCounters, Collector, CollectorSettings, Counters, Dedupe};
use tidegate::collector::{DedupeSettings, DeliverySettings, Journal, JournalSettings, Summary};
use tidegate::error::Result;
use tidegate::handoff::{BufferSpec, Drain, PublisherSeed, Tap, buffer};
use tidegate::metrics::{CollectorStatus, CoreCells, SinkCells};
use tidegate::model::{Data, Dec, Quote, Record, Symbol, Ticker, Trade};
use tidegate::runtime::{Placement, launch, thread_cpu_time};
use tidegate::sink::SinkHost;
use tidegate::time::{Mono, UnixNanos};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A mix as polls bring it: a third each of trades, quotes and tickers over a hundred symbols.
fn records(from: u64, count: usize) -> Vec<Record> {
    let source = tidegate::source::SOURCES[0].spec().id;
    let dec = |value: u64, places| Dec::from_parts(i128::from(value), places).unwrap_or(Dec::ZERO);
    (from..from + count as u64)
        .map(|index| {
            let price = 6_000_000 + index * 7_919 % 10_000;
            let base = 1_700_000_000_000_000_000 + index as i64 * 1_234_567;
            let data = match index % 3 {
                0 => Data::Trade(Trade {
                    id: Some((3_000_000_000 + index).to_string().into()),
                    price: dec(price, 2),
                    size: dec(index * 104_729 % 1_000_000, 5),
                    side: Some(tidegate::model::Side::Buy),
                    volume_unit: None,
                }),
                1 => Data::Quote(Quote {
                    bid: Some(dec(price, 2)),
                    bid_size: Some(dec(index * 31 % 100_000, 5)),
                    ask: Some(dec(price + 1, 2)),
                    ask_size: Some(dec(index * 37 % 100_000, 5)),
                    volume_unit: None,
                }),
                _ => Data::Ticker(Box::new(Ticker {
                    last: dec(price, 2),
                    open: Some(dec(price - 900, 2)),
                    high: Some(dec(price + 1_200, 2)),
                    low: Some(dec(price - 1_900, 2)),
                    change_pct: Some(dec(index % 500, 3)),
                    volume: Some(dec(12_345_678_901 + index, 5)),
                    bid: Some(dec(price, 2)),
                    ask: Some(dec(price + 1, 2)),
                    trades: Some(1_000_000 + index),
                    ..Ticker::default()
                })),
            };
            Record {
                seq: 0,
                source,
                symbol: Some(Symbol::new(format!("C{:02}-USDT", index % 100))),
                native: Some(format!("C{:02}USDT", index % 100).as_str().into()),
                ts_event: Some(UnixNanos::from_nanos(base)),
                ts_recv: UnixNanos::from_nanos(base + 40_000_000),
                ts_publish: UnixNanos::from_nanos(base + 40_050_000),
                attempt: 0,
                data,
            }
        })
        .collect()
}

fn encode(records: &[Record], first_seq: u64, lines: &mut Vec<u8>) {
    lines.clear();
    for (record, seq) in records.iter().zip(first_seq..) {
        record.encode_line_as(seq, lines);
    }
}

fn stages(criterion: &mut Criterion) {
    let records = records(0, RECORDS);
    let mut lines = Vec::new();
    encode(&records, 1, &mut lines);
    let mut group = criterion.benchmark_group("journal");
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("encode", |bencher| {
        let mut lines = Vec::with_capacity(1 << 20);
        bencher.iter(|| encode(black_box(&records), 1_000_000, &mut lines));
    });
    group.bench_function("encode_by_serde_json", |bencher| {
        let mut lines = Vec::with_capacity(1 << 20);
        bencher.iter(|| {
            lines.clear();
            for record in black_box(&records) {
                // Writing to memory does not fail.
                let _ = serde_json::to_writer(&mut lines, record);
                lines.push(b'\n');
            }
        });
    });
    group.bench_function("duplicates", |bencher| {
        let mut dedupe = Dedupe::new(DedupeSettings::default());
        let mut from = 0;
        bencher.iter_batched_ref(
            || {
                from += RECORDS as u64;
                self::records(from, RECORDS)
            },
            |records| records.iter().filter(|record| dedupe.is_duplicate(record)).count(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("pack", |bencher| {
        let Ok(mut packer) = zstd::bulk::Compressor::new(1) else { return };
        let _ = packer.include_checksum(true);
        let mut packed = Vec::with_capacity(zstd::zstd_safe::compress_bound(lines.len()));
        bencher.iter(|| packer.compress_to_buffer(black_box(&lines), &mut packed).map(|_| packed.len()));
    });
    group.sample_size(20).measurement_time(Duration::from_secs(4));
    let is_told = std::cell::Cell::new(false);
    group.bench_function("encode_pack_write", |bencher| {
        bencher.iter_custom(|rounds| {
            let records = records.clone();
            let dir = std::env::temp_dir().join(format!("tidegate-bench-journal-{}", std::process::id()));
            let target = dir.clone();
            let core =
                launch("bench", Placement::Unpinned, move || async move { write(&target, &records, rounds).await });
            let outcome = core.and_then(|core| core.join());
            let _ = std::fs::remove_dir_all(&dir);
            match outcome {
                Ok((took, bytes)) => {
                    let records = rounds * RECORDS as u64;
                    if rounds > 100 && !is_told.replace(true) {
                        eprintln!("  {:.1} bytes per record on disk", bytes as f64 / records as f64);
                    }
                    took
                }
                Err(error) => {
                    eprintln!("  not measured: {error}");
                    Duration::from_secs(1)
                }
            }
        });
    });
    group.finish();
}

/// Writes `rounds` batches with a sync every ten; gives the time and the bytes.
async fn write(dir: &Path, records: &[Record], rounds: u64) -> (Duration, u64) {
    let Ok((mut journal, _)) = Journal::open(dir, JournalSettings::default(), "bench") else {
        return (Duration::from_secs(1), 0);
    };
    let mut lines = Vec::with_capacity(1 << 20);
    let start = tidegate::time::Mono::now();
    for round in 0..rounds {
        let first_seq = journal.next_seq();
        encode(records, first_seq, &mut lines);
        let appended = journal.append(&lines, RECORDS as u64, first_seq).await;
        let synced = if round % 10 == 9 { journal.sync().await } else { Ok(()) };
        if appended.is_err() || synced.is_err() {
            break;
        }
    }
    let _ = journal.sync().await;
    (tidegate::time::Mono::now().since(start), journal.bytes_written())
}

/// Counts as a run does, and remembers when the journal had so many.
struct Watched {
    counters: BufferCounters,
    count: std::cell::Cell<usize>,
    done: std::rc::Rc<std::cell::Cell<Option<Mono>>>,
}

impl Counters for Watched {
    fn taken(&self, records: &[Record], now: UnixNanos) {
        self.counters.taken(records, now);
    }

    fn written(&self, records: &[Record], first_seq: u64, taken: UnixNanos) {
        self.counters.written(records, first_seq, taken);
        self.count.set(self.count.get() + records.len());
        if self.count.get() >= BUFFERED && self.done.get().is_none() {
            self.done.set(Some(Mono::now()));
        }
    }

    fn delivered(&self, record: &Record) {
        self.counters.delivered(record);
    }

    fn duplicate(&self, record: &Record) {
        self.counters.duplicate(record);
    }

    fn put_down(&self, count: usize) {
        self.counters.put_down(count);
    }

    fn status(&self, status: &CollectorStatus) {
        self.counters.status(status);
    }
}

fn buffered() -> (PublisherSeed, Drain) {
    let sources = tidegate::source::SOURCES.iter().map(|source| source.spec().id).collect();
    buffer(BufferSpec { capacity: BUFFERED, sources, ..BufferSpec::default() })
}

/// What a run of the collector came to.
struct Ran {
    summary: Summary,
    /// Until the journal had the first 10,000 records.
    first: Duration,
    /// Until everything was durable.
    took: Duration,
    cpu: Duration,
}

/// Runs the collector on a core of its own until nobody can publish.
fn collect(drain: Drain, placement: Placement) -> Result<Ran> {
    let dir = std::env::temp_dir().join(format!("tidegate-bench-collector-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let settings = CollectorSettings {
        data_dir: dir.clone(),
        run: "bench".to_owned(),
        journal: Some(JournalSettings::default()),
        batch: BatchSettings::default(),
        dedupe: DedupeSettings::default(),
        cursors: None,
        scope: None,
        sinks: Vec::new(),
        delivery: DeliverySettings::default(),
        host: SinkHost::default(),
    };
    let core = launch("sink", placement, move || async move {
        let ids: Vec<_> = tidegate::source::SOURCES.iter().map(|source| source.spec().id).collect();
        let cells = SinkCells::new(CoreCells::new("sink", None), &ids, 1_000);
        let counters = BufferCounters::new(drain.tally(), cells, Tap::new());
        let done = std::rc::Rc::new(std::cell::Cell::new(None));
        let counters = Watched { counters, count: std::cell::Cell::default(), done: done.clone() };
        let (collector, _) = Collector::open(settings)?;
        let (start, cpu) = (Mono::now(), thread_cpu_time());
        let summary = collector.run(drain, counters, std::future::pending()).await;
        let end = Mono::now();
        let first = done.get().unwrap_or(end).since(start);
        Ok(Ran { summary, first, took: end.since(start), cpu: thread_cpu_time().saturating_sub(cpu) })
    });
    let ran = core.and_then(|core| core.join())?;
    let _ = std::fs::remove_dir_all(&dir);
    ran
}

/// A full buffer, drained into the journal.
fn drain_full_buffer() -> Result<()> {
    let (mut firsts, mut tooks) = (Vec::new(), Vec::new());
    for _ in 0..DRAINS {
        let (seed, drain) = buffered();
        let publisher = seed.connect();
        let mut batch = records(0, BUFFERED);
        let _ = block_on(publisher.publish(&mut batch));
        drop(publisher);
        assert_eq!(drain.len(), BUFFERED, "the buffer holds them all");
        let ran = collect(drain, Placement::Unpinned)?;
        assert_eq!(ran.summary.delivered, BUFFERED as u64, "{:?}", ran.summary);
        firsts.push(ran.first);
        tooks.push(ran.took);
    }
    for (what, mut times) in [("in the journal", firsts), ("durable, segment closed", tooks)] {
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3;
        println!("  {what}: p50 {:.1} ms, p90 {:.1} ms, max {:.1} ms", at(50), at(90), at(100));
    }
    Ok(())
}

/// 100,000 records a second for some seconds, a hundred every millisecond, from another core.
fn share_of_the_core() -> Result<()> {
    let (seed, drain) = buffered();
    let publishing = std::thread::spawn(move || {
        let publisher = seed.connect();
        let start = std::time::Instant::now();
        for tick in 0..SECONDS * 1_000 {
            let mut batch = records(tick * 100, 100);
            if let Some(wait) = Duration::from_millis(tick).checked_sub(start.elapsed()) {
                std::thread::sleep(wait);
            }
            let _ = block_on(publisher.publish(&mut batch));
        }
        start.elapsed()
    });
    let cpu = std::thread::available_parallelism().map_or(0, |count| count.get() - 1);
    let ran = collect(drain, Placement::Cpu(cpu))?;
    let published_in = publishing.join().unwrap_or_default().as_secs_f64();
    let count = (ran.summary.delivered + ran.summary.duplicates) as f64;
    let bytes = ran.summary.status.journal.as_ref().map_or(0, |journal| journal.bytes_written) as f64;
    println!(
        "  {:.0} records/s over {published_in:.1} s: {:.0} % of the core, {:.0} ns per record; {:.1} bytes per record on disk, \
         {:.0} records per batch, {} duplicates",
        count / published_in,
        ran.cpu.as_secs_f64() / ran.took.as_secs_f64() * 100.0,
        ran.cpu.as_nanos() as f64 / count,
        bytes / ran.summary.delivered as f64,
        count / ran.summary.batches as f64,
        ran.summary.duplicates,
    );
    Ok(())
}

criterion_group!(benches, stages);

fn main() {
    let only = |name: &str| std::env::args().any(|argument| argument == name);
    if !only("collector") {
        println!("stages: times of {RECORDS} records, so that µs read as ns per record");
        benches();
        Criterion::default().configure_from_args().final_summary();
    }
    println!("collector: a full buffer of {BUFFERED} records, {DRAINS} times (target: 50 ms)");
    let drained = drain_full_buffer();
    println!("collector: 100,000 records/s (target: 60 % of the sink core)");
    if let Err(error) = drained.and_then(|()| share_of_the_core()) {
        eprintln!("  not measured: {error}");
        std::process::exit(1);
    }
}

/// Records of one batch.
const RECORDS: usize = 1_000;
/// Records in a full buffer.
const BUFFERED: usize = 10_000;
const DRAINS: usize = 30;
const SECONDS: u64 = 4;
