//! Decoding: each source's largest sample and grown answers of the exchanges, beside bare parses of the same bytes by
//! simd-json (`tape`: scanned only; `dom`: a borrowed tree), and each kind of Binance beside the same types read by
//! serde_json and sonic-rs. Throughput is in records and bytes; a table of typed against `dom` stands at the end. Run it on
//! an idle machine: `cargo bench --bench decode`, or with a name such as `binance` for a part.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, measurement::WallTime};
use serde::Deserialize;
use tidegate::config::Credentials;
use tidegate::model::{Dec, Kind, Query, Symbol};
use tidegate::source::{Batch, Context, Source, State, find, judge_offline};
use tidegate::time::UnixNanos;
use tidegate::wire::Answer;

/// The program's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Each source's largest sample that reads as a record: fixed costs show here.
fn samples(criterion: &mut Criterion) {
    for source in tidegate::source::SOURCES {
        let spec = source.spec();
        let mut bodies: Vec<_> = spec.samples.iter().collect();
        bodies.sort_by_key(|sample| std::cmp::Reverse(sample.body.len()));
        let read = bodies.iter().find_map(|sample| {
            let queries = spec.kinds.iter().map(|kind| {
                let names = kind.examples.iter().take(1).map(|name| Symbol::new(*name));
                let query = Query::new(kind.kind).symbols(names);
                match kind.intervals.first() {
                    Some(interval) => query.interval(*interval),
                    None => query,
                }
            });
            let answer = || Answer::new(200, sample.body);
            let mut fitting = queries.filter(|query| {
                judge_offline(*source, query, &State::default(), answer())
                    .is_ok_and(|batch| !batch.records().is_empty())
            });
            fitting.next().map(|query| (sample, query))
        });
        let Some((sample, query)) = read else {
            eprintln!("{}: no sample reads as a record", spec.id);
            continue;
        };
        let mut group = criterion.benchmark_group(format!("sample/{}/{}", spec.id, sample.name));
        measure(&mut group, *source, &query, sample.body.as_bytes());
        group.finish();
    }
}

/// Answers of the length that exchanges send: a thousand rows, books of 5,000 levels a side.
fn exchanges(criterion: &mut Criterion) {
    let btc = |kind| Query::new(kind).symbol("BTC-USDT");
    let usd = |kind| Query::new(kind).symbol("BTC-USD");
    let mut cases: Vec<(&str, &str, Query, String)> = vec![
        ("binance", "ticker", btc(Kind::Ticker), rows("[", &sample("binance", "ticker_24hr.json"), "]", ROWS)),
        ("binance", "quote", btc(Kind::Quote), rows("[", &sample("binance", "book_ticker.json"), "]", ROWS)),
        ("binance", "book", btc(Kind::Book), book(LEVELS)),
    ];
    // A list in a sample, repeated.
    let lists = [
        ("binance", "trade", btc(Kind::Trade), "trades.json", ""),
        ("binance", "bar", btc(Kind::Bar), "klines.json", ""),
        ("bitstamp", "ticker", usd(Kind::Ticker), "tickers.json", ""),
        ("bitstamp", "trade", usd(Kind::Trade), "transactions.json", ""),
        ("bitstamp", "bar", usd(Kind::Bar), "ohlc.json", "/data/ohlc"),
        ("bybit", "ticker", btc(Kind::Ticker), "tickers_all.json", "/result/list"),
        ("bybit", "trade", btc(Kind::Trade), "trades.json", "/result/list"),
        ("bybit", "bar", btc(Kind::Bar), "kline.json", "/result/list"),
        ("coinbase", "trade", usd(Kind::Trade), "trades.json", ""),
        ("coinbase", "bar", usd(Kind::Bar), "candles.json", ""),
        ("coinbase", "book", usd(Kind::Book), "book.json", "/bids"),
        ("deribit", "trade", Query::new(Kind::Trade).symbol("BTC-USD.PERP"), "last_trades.json", "/result/trades"),
        ("deribit", "book", Query::new(Kind::Book).symbol("BTC-USD.PERP"), "order_book.json", "/result/bids"),
        ("gemini", "trade", usd(Kind::Trade), "trades.json", ""),
        ("gemini", "bar", usd(Kind::Bar), "candles.json", ""),
        ("kraken", "trade", usd(Kind::Trade), "trades.json", "/result/XXBTZUSD"),
        ("kraken", "bar", usd(Kind::Bar), "ohlc.json", "/result/XXBTZUSD"),
        ("kraken", "book", usd(Kind::Book), "depth.json", "/result/XXBTZUSD/bids"),
        ("kucoin", "ticker", btc(Kind::Ticker), "all_tickers.json", "/data/ticker"),
        ("kucoin", "trade", btc(Kind::Trade), "histories.json", "/data"),
        ("kucoin", "bar", btc(Kind::Bar), "candles.json", "/data"),
        ("kucoin", "book", btc(Kind::Book), "level2.json", "/data/bids"),
        ("okx", "ticker", btc(Kind::Ticker), "ticker.json", "/data"),
        ("okx", "trade", btc(Kind::Trade), "trades.json", "/data"),
        ("okx", "bar", btc(Kind::Bar), "candles.json", "/data"),
        ("okx", "book", btc(Kind::Book), "books.json", "/data/0/bids"),
    ];
    cases.extend(lists.map(|(id, kind, query, name, pointer)| (id, kind, query, elements(id, name, pointer, ROWS))));
    for (id, kind, query, body) in cases {
        let Some(source) = find(id) else { continue };
        let mut group = criterion.benchmark_group(format!("{id}/{kind}"));
        measure(&mut group, source, &query, body.as_bytes());
        if id == "binance" {
            beside_serde(&mut group, query.kind, body.as_bytes());
        }
        group.finish();
    }
}

fn measure(group: &mut BenchmarkGroup<'_, WallTime>, source: &dyn Source, query: &Query, body: &[u8]) {
    let (state, credentials) = (State::default(), Credentials::default());
    let now = UnixNanos::now();
    let Ok(cx) = Context::new(source, query, &state, &credentials, "", now) else { return };
    let mut answer = Answer::new(200, body.to_vec());
    answer.ts_recv = now;
    let decode = || {
        let mut batch = Batch::new(source.spec().id, now);
        let outcome = source.decode(&cx, black_box(&answer), &mut batch);
        (outcome.is_ok(), batch)
    };
    let (is_read, batch) = decode();
    assert!(is_read, "{}: the body of the bench is refused", source.spec().id);
    group.throughput(Throughput::ElementsAndBytes { elements: batch.records().len() as u64, bytes: body.len() as u64 });
    group.bench_function("typed", |bencher| bencher.iter(decode));
    let mut copy = Vec::with_capacity(body.len());
    let mut buffers = simd_json::Buffers::new(body.len());
    group.bench_function("tape", |bencher| {
        bencher.iter(|| {
            copy.clear();
            copy.extend_from_slice(black_box(body));
            let mut tape = simd_json::Tape::null();
            simd_json::fill_tape(&mut copy, &mut buffers, &mut tape).is_ok()
        });
    });
    group.bench_function("dom", |bencher| {
        bencher.iter(|| {
            copy.clear();
            copy.extend_from_slice(black_box(body));
            black_box(simd_json::to_borrowed_value(&mut copy)).is_ok()
        });
    });
}

/// The same fields read by what serde is mostly read with.
fn beside_serde(group: &mut BenchmarkGroup<'_, WallTime>, kind: Kind, body: &[u8]) {
    fn read<'a, T: Deserialize<'a>>(group: &mut BenchmarkGroup<'_, WallTime>, body: &'a [u8]) {
        assert!(serde_json::from_slice::<T>(body).is_ok(), "the types of the bench do not fit");
        group.bench_function("serde_json", |bencher| {
            bencher.iter(|| black_box(serde_json::from_slice::<T>(black_box(body))).is_ok());
        });
        assert!(sonic_rs::from_slice::<T>(body).is_ok(), "the types of the bench do not fit");
        group.bench_function("sonic_rs", |bencher| {
            bencher.iter(|| black_box(sonic_rs::from_slice::<T>(black_box(body))).is_ok());
        });
    }
    match kind {
        Kind::Ticker | Kind::Quote => read::<Vec<Summary<'_>>>(group, body),
        Kind::Trade => read::<Vec<TradeRow>>(group, body),
        Kind::Bar => {
            type Row<'a> = (i64, Dec, Dec, Dec, Dec, Dec, i64, Dec, u64, Dec, Dec, &'a str);
            read::<Vec<Row<'_>>>(group, body);
        }
        _ => read::<Depth>(group, body),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "read, never used")]
struct Summary<'a> {
    symbol: &'a str,
    last_price: Option<Dec>,
    last_qty: Option<Dec>,
    open_price: Option<Dec>,
    high_price: Option<Dec>,
    low_price: Option<Dec>,
    prev_close_price: Option<Dec>,
    price_change: Option<Dec>,
    price_change_percent: Option<Dec>,
    weighted_avg_price: Option<Dec>,
    volume: Option<Dec>,
    quote_volume: Option<Dec>,
    bid_price: Option<Dec>,
    bid_qty: Option<Dec>,
    ask_price: Option<Dec>,
    ask_qty: Option<Dec>,
    close_time: Option<i64>,
    count: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "read, never used")]
struct TradeRow {
    id: u64,
    price: Dec,
    qty: Dec,
    time: i64,
    is_buyer_maker: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "read, never used")]
struct Depth {
    last_update_id: u64,
    bids: Vec<(Dec, Dec)>,
    asks: Vec<(Dec, Dec)>,
}

fn sample(source: &str, name: &str) -> String {
    let body = find(source).and_then(|source| source.spec().sample(name));
    body.unwrap_or_else(|| panic!("{source}: no sample {name}")).trim().to_owned()
}

/// `row` that many times between `open` and `close`; of a list, its elements.
fn rows(open: &str, row: &str, close: &str, count: usize) -> String {
    let row = row.strip_prefix('[').and_then(|row| row.strip_suffix(']')).unwrap_or(row);
    format!("{open}{}{close}", vec![row; count].join(","))
}

/// A sample whose list at `pointer` is repeated until it has `count` elements.
fn elements(source: &str, name: &str, pointer: &str, count: usize) -> String {
    let mut body: serde_json::Value = serde_json::from_str(&sample(source, name)).unwrap_or_default();
    let list = body.pointer_mut(pointer).and_then(serde_json::Value::as_array_mut);
    let list = list.unwrap_or_else(|| panic!("{source}/{name}: no list at {pointer:?}"));
    *list = list.iter().cycle().take(count).cloned().collect();
    body.to_string()
}

fn book(levels: usize) -> String {
    let side = |from: i64, step: i64| {
        let level = |at: i64| {
            let price = Dec::from_parts(i128::from(from + at * step), 2).unwrap_or(Dec::ZERO);
            let size = Dec::from_parts(i128::from(at * 7_919 % 1_000_000 + 1), 5).unwrap_or(Dec::ZERO);
            format!("[\"{price}000000\",\"{size}000\"]")
        };
        (0..levels as i64).map(level).collect::<Vec<_>>().join(",")
    };
    format!("{{\"lastUpdateId\":84527958487,\"bids\":[{}],\"asks\":[{}]}}", side(8_764_821, -1), side(8_764_822, 1))
}

/// Rows of a grown answer: what the exchanges send at most.
const ROWS: usize = 1_000;
/// Levels of a side of the big book.
const LEVELS: usize = 5_000;

/// What typed decoding costs against the bare parse into a tree, of the groups that were measured last.
fn ratios() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("criterion");
    let median = |group: &std::path::Path, function: &str| {
        let text = std::fs::read(group.join(function).join("new/estimates.json")).ok()?;
        serde_json::from_slice::<serde_json::Value>(&text).ok()?["median"]["point_estimate"].as_f64()
    };
    let mut found: Vec<(String, f64, f64)> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|group| {
            let name = group.file_name().to_string_lossy().into_owned();
            let path = group.path();
            (!name.starts_with("sample")).then_some((name, median(&path, "typed")?, median(&path, "dom")?))
        })
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    println!("\n{:<20} {:>12} {:>12} {:>8}", "answer", "typed us", "dom us", "ratio");
    for (name, typed, dom) in found {
        println!("{name:<20} {:>12.1} {:>12.1} {:>8.2}", typed / 1e3, dom / 1e3, typed / dom);
    }
}

criterion_group!(benches, exchanges, samples);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    ratios();
}
