//! The journal's path, stage by stage: encode, pack, and write through io_uring with group commit.
//! Prints ns per record of each stage and the bytes per record on disk. Run it on an idle machine:
//! `cargo bench --bench journal`.
#![allow(missing_docs)]

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidegate::collector::{Journal, JournalSettings};
use tidegate::model::{Data, Dec, Quote, Record, Symbol, Ticker, Trade};
use tidegate::runtime::{Placement, launch};
use tidegate::time::UnixNanos;

/// A mix as polls bring it: a third each of trades, quotes and tickers over a hundred symbols.
fn records() -> Vec<Record> {
    let source = tidegate::source::SOURCES[0].spec().id;
    let dec = |value: u64, places| Dec::from_parts(i128::from(value), places).unwrap_or(Dec::ZERO);
    (0..RECORDS as u64)
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
    let records = records();
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
    group.bench_function("pack", |bencher| {
        let Ok(mut packer) = zstd::bulk::Compressor::new(1) else { return };
        let _ = packer.include_checksum(true);
        let mut packed = Vec::with_capacity(zstd::zstd_safe::compress_bound(lines.len()));
        bencher.iter(|| packer.compress_to_buffer(black_box(&lines), &mut packed).map(|_| packed.len()));
    });
    group.sample_size(20).measurement_time(Duration::from_secs(4));
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
                    if rounds > 100 {
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

/// Records of one batch.
const RECORDS: usize = 1_000;

criterion_group!(benches, stages);
criterion_main!(benches);
