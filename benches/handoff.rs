//! What crossing cores and recording cost: publish and drain of the normalization buffer, a quota grant, a mailbox
//! round trip, one recorded attempt, one value in a latency histogram. One thread, no contention: the floor, not the load figure.

mod common;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures_lite::future::block_on;

use tidegate as _;
use tidegate::handoff::{BufferSpec, QuotaCell, QuotaSettings, buffer, mailbox};
use tidegate::metrics::{Attempt, CoreCells, Histogram, ShardCells, Stage};
use tidegate::model::Verdict;
use tidegate::policy::{WindowShape, WindowSpec};
use tidegate::source::SOURCES;
use tidegate::time::Now;

use crate::common::quote;

fn publish_and_drain(c: &mut Criterion) {
    let mut group = c.benchmark_group("buffer");
    for batch in [1_usize, 100] {
        let sources = SOURCES.iter().map(|source| source.spec().id).collect();
        let (seed, mut drain) = buffer(BufferSpec { sources, ..BufferSpec::default() });
        let publisher = seed.connect();
        let tally = drain.tally();
        let mut out = Vec::with_capacity(batch);
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(format!("publish_and_drain/{batch}"), |b| {
            b.iter_batched_ref(
                || vec![quote(); batch],
                |records| {
                    let _ = block_on(publisher.publish(records));
                    let count = drain.pop_batch(batch, &mut out);
                    out.drain(..).for_each(|record| tally.delivered(black_box(&record)));
                    tally.put_down(count);
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn quota(c: &mut Criterion) {
    let mut group = c.benchmark_group("quota");
    // By fixed window, by rate, and by count.
    let windows = [
        ("fixed", WindowShape::Fixed, 60),
        ("rolling_short", WindowShape::Rolling, 1),
        ("rolling_long", WindowShape::Rolling, 60),
    ];
    for (name, shape, seconds) in windows {
        let window = WindowSpec { bucket: "", limit: 10_000_000, per: Duration::from_secs(seconds), shape };
        let cell = QuotaCell::new(vec![window], QuotaSettings::default());
        let mut now = Now::read();
        group.bench_function(format!("acquire/{name}"), |b| {
            b.iter(|| {
                // Steps at which the window never runs out, so that the granting path is measured.
                now = now.after(Duration::from_micros(10));
                black_box(cell.try_acquire(now, "", 1).is_ok())
            });
        });
    }
    group.finish();
}

fn mailboxes(c: &mut Criterion) {
    let (sender, mut mailbox) = mailbox::<u64>(64);
    c.bench_function("mailbox/send_and_receive", |b| {
        b.iter(|| {
            let _ = sender.send(black_box(1));
            black_box(block_on(mailbox.recv()))
        });
    });
}

fn record(c: &mut Criterion) {
    let source = SOURCES[0].spec().id;
    let cells = ShardCells::new(CoreCells::new("shard-0", None), &[source]);
    let Some(recorder) = cells.recorder(source) else { return };
    let mut nanos = 1_u64;
    c.bench_function("metrics/attempt_and_three_stages", |b| {
        b.iter(|| {
            nanos = nanos.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let elapsed = Duration::from_nanos(nanos >> 36);
            recorder.attempt(Attempt { verdict: Verdict::Ok, elapsed, bytes_in: 512, bytes_out: 200 });
            recorder.stage(Stage::FirstByte, elapsed);
            recorder.stage(Stage::Body, elapsed);
            recorder.stage(Stage::Decode, elapsed);
        });
    });
}

fn histogram(c: &mut Criterion) {
    let histogram = Histogram::new();
    let mut nanos = 1_u64;
    c.bench_function("metrics/histogram_record", |b| {
        b.iter(|| {
            // From a microsecond to a quarter of a second, in no order: most buckets are hit in turn.
            nanos = nanos.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            histogram.record(black_box(Duration::from_nanos(1_000 + (nanos >> 36))));
        });
    });
}

criterion_group!(benches, publish_and_drain, quota, mailboxes, record, histogram);
criterion_main!(benches);
