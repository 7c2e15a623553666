//! The library as a program uses it, against the embedded simulator: questions from any thread and any executor, the
//! buffer read by its caller, and an end in order.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tidegate::{
    Answered, Ask, Engine, EngineBuilder, Environment, ErrorKind, Kind, Loader, Pending, Placement, Query, Record, Sim,
    SimSettings, Verdict,
};

/// Handles and answers go to any thread.
const fn is_shareable<T: Send + Sync + Clone>() {}
const fn is_sendable<T: Send>() {}
const _: () = {
    is_shareable::<Engine>();
    is_sendable::<Pending<Answered>>();
    is_sendable::<Record>();
};

#[test]
fn a_question_gives_records_and_measures() {
    let sim = sim();
    let engine = start(asking(&sim));
    let records = engine.fetch("binance", tickers("BTC-USDT")).wait().unwrap().unwrap();
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((record.source.as_str(), record.kind()), ("binance", Kind::Ticker));
    assert_eq!(record.symbol.as_ref().map(|symbol| symbol.as_str()), Some("BTC-USDT"));
    assert!(record.ts_recv.as_nanos() > 0);
    let snapshot = engine.metrics();
    assert_eq!((snapshot.total.requests, snapshot.total.success), (1, 1));
    assert_eq!(snapshot.sources["binance"].requests, 1);
    assert_eq!(snapshot.sources["kraken"].requests, 0);
    end(engine, sim);
}

#[test]
fn questions_are_answered_in_their_order() {
    let sim = sim();
    let engine = start(asking(&sim));
    let asks = vec![
        Ask::new("okx", tickers("BTC-USDT")),
        Ask::new("binance", tickers("not a symbol")),
        Ask::new("frankfurter", Query::new(Kind::Rate).symbol("EUR-USD")),
        Ask::new("nobody", tickers("BTC-USDT")),
        Ask::new("binance", tickers("ETH-USDT")),
    ];
    let answers = engine.fetch_batch(asks).wait().unwrap();
    let seen: Vec<_> = answers
        .iter()
        .map(|answer| match answer {
            Ok(records) => Ok((records[0].source.as_str(), records[0].kind())),
            Err(judgement) => Err((judgement.verdict, judgement.reason)),
        })
        .collect();
    let expected = [
        Ok(("okx", Kind::Ticker)),
        Err((Verdict::BadRequest, "symbol_form")),
        Ok(("frankfurter", Kind::Rate)),
        Err((Verdict::BadRequest, "source_unknown")),
        Ok(("binance", Kind::Ticker)),
    ];
    assert_eq!(seen, expected);
    end(engine, sim);
}

#[test]
fn a_caller_drains_what_the_timetable_polls() {
    let sim = sim();
    let engine = start(builder(&sim).stateless().drain_by_caller());
    let until = Instant::now() + PATIENCE;
    let mut records = Vec::new();
    while records.len() < 20 && Instant::now() < until {
        records.extend(engine.drain(7).unwrap());
        std::thread::yield_now();
    }
    assert!(records.len() >= 20, "{} records came", records.len());
    assert!(records.iter().all(|record| record.ts_publish >= record.ts_recv), "published before it was received");
    let finish = engine.shutdown(GRACE).wait().unwrap().unwrap();
    assert!(finish.counts.is_balanced(), "{:?}", finish.counts);
    assert!(finish.journal.is_none());
    // What was published before the end can still be taken after it.
    let late = engine.drain(usize::MAX).unwrap();
    let counts = engine.metrics().records;
    assert_eq!(counts.published, (records.len() + late.len()) as u64);
    assert_eq!((counts.delivered, counts.dropped, counts.queued), (counts.published, 0, 0));
    sim.stop().unwrap();
}

#[test]
fn a_sink_core_reads_the_buffer_alone_and_the_counts_balance() {
    let (sim, folder) = (sim(), Folder::new("balance"));
    let engine = start(with_data(&sim, &folder));
    assert_eq!(engine.drain(1).unwrap_err().kind(), ErrorKind::Misuse);
    let until = Instant::now() + PATIENCE;
    while engine.metrics().records.delivered == 0 && Instant::now() < until {
        std::thread::yield_now();
    }
    let finish = engine.shutdown(GRACE).wait().unwrap().unwrap();
    let counts = finish.counts;
    assert!(counts.delivered > 0 && counts.is_balanced(), "{counts:?}");
    assert_eq!(counts.queued, 0);
    assert_eq!(finish.journal.map(|journal| journal.delivered), Some(counts.delivered));
    // Later calls give the same counts, and questions are refused.
    assert_eq!(engine.clone().shutdown(GRACE).wait().unwrap().unwrap().counts, counts);
    let refused = engine.fetch("binance", tickers("BTC-USDT")).wait().unwrap().unwrap_err();
    assert_eq!((refused.verdict, refused.reason), (Verdict::UpstreamError, "engine_stopped"));
    sim.stop().unwrap();
}

#[test]
fn a_core_may_await_but_not_block() {
    let sim = sim();
    let engine = start(asking(&sim));
    let asker = engine.clone();
    let core = tidegate::runtime::launch("asker", Placement::Unpinned, move || async move {
        let refused = asker.fetch("binance", tickers("BTC-USDT")).wait().map(|_| ()).map_err(|error| error.kind());
        (refused, asker.fetch("binance", tickers("BTC-USDT")).await)
    });
    let (refused, awaited) = core.unwrap().join().unwrap();
    assert_eq!(refused, Err(ErrorKind::Misuse));
    assert_eq!(awaited.unwrap().len(), 1);
    end(engine, sim);
}

#[test]
fn futures_run_on_any_executor() {
    let sim = sim();
    let engine = start(asking(&sim));
    let rate = || engine.fetch("frankfurter", Query::new(Kind::Rate).symbol("EUR-USD"));
    assert_eq!(futures_lite::future::block_on(rate()).unwrap().len(), 1);
    let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let answers = tokio.block_on(async {
        let spawned = tokio::spawn(rate());
        let both = engine.fetch_batch(vec![Ask::new("binance", tickers("BTC-USDT")); 2]).await;
        (spawned.await.unwrap(), both)
    });
    assert_eq!(answers.0.unwrap().len(), 1);
    assert!(answers.1.iter().all(Result::is_ok), "{:?}", answers.1);
    // From many plain threads at once, over one handle.
    std::thread::scope(|scope| {
        for symbol in ["BTC-USDT", "ETH-USDT", "BTC-USDT", "ETH-USDT"] {
            let engine = engine.clone();
            scope.spawn(move || assert!(engine.fetch("okx", tickers(symbol)).wait().unwrap().is_ok(), "{symbol}"));
        }
    });
    end(engine, sim);
}

#[test]
fn one_data_directory_has_one_engine() {
    let (sim, folder) = (sim(), Folder::new("lock"));
    let first = start(with_data(&sim, &folder).without_polls());
    let refused = with_data(&sim, &folder).without_polls().start().unwrap_err();
    assert!(refused.to_string().contains(&folder.0.display().to_string()), "{refused}");
    first.shutdown(GRACE).wait().unwrap().unwrap();
    // It is free when the first has ended, though a handle is left.
    end(start(with_data(&sim, &folder).without_polls()), sim);
    drop(first);
}

#[test]
fn what_is_wrong_with_the_settings_is_told_at_start() {
    let environment = Environment::default();
    let text =
        "[sources.binance]\ntier = \"gold\"\n[[sources.finnhub.polls]]\nkind = \"ticker\"\nsymbols = [\"AAPL\"]\n";
    let settings = Loader::new(&environment).text("my.toml", text).load().into_result().unwrap();
    let error = Engine::builder(settings).stateless().start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let told = error.to_string();
    for part in ["my.toml line 2", "sources.binance.tier", "FINNHUB_API_KEY"] {
        assert!(told.contains(part), "{told}");
    }
}

fn tickers(symbol: &str) -> Query {
    Query::new(Kind::Ticker).symbol(symbol)
}

fn sim() -> Sim {
    let listen = ([127, 0, 0, 1], 0).into();
    Sim::start(SimSettings { listen, placement: Placement::Unpinned, plain: false, recordings: None }).unwrap()
}

/// An engine of every source, all asking the simulator.
fn builder(sim: &Sim) -> EngineBuilder {
    configured(sim, "")
}

/// One that polls nothing.
fn asking(sim: &Sim) -> EngineBuilder {
    builder(sim).stateless().without_polls().drain_by_caller()
}

fn with_data(sim: &Sim, folder: &Folder) -> EngineBuilder {
    configured(sim, &format!("data_dir = {:?}\n", folder.0))
}

fn configured(sim: &Sim, first: &str) -> EngineBuilder {
    let environment = Environment::default();
    let text = format!("{first}{}", sim.toml(None, None).unwrap());
    let settings = Loader::new(&environment).text("sim.toml", text).load().into_result().unwrap();
    Engine::builder(settings).trust(sim.ca_pem())
}

fn start(builder: EngineBuilder) -> Engine {
    builder.start().unwrap()
}

fn end(engine: Engine, sim: Sim) {
    engine.shutdown(GRACE).wait().unwrap().unwrap();
    sim.stop().unwrap();
}

/// A folder of a test's own, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-library-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const GRACE: Duration = Duration::from_secs(2);
/// Long enough for a loaded machine; nothing waits for it on a sound one.
const PATIENCE: Duration = Duration::from_secs(20);
