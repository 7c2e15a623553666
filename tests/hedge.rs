//! Hedging as a caller meets it: a slow answer is not waited for, the budget bounds what that costs, and everything that
//! was sent is counted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate::{Answered, Ask, Engine, Environment, Kind, Loader, Query, Snapshot, Verdict};

/// Answered questions before a source hedges.
const WARM: usize = 100;
/// Retries that a budget holds at first.
const RESERVE: usize = 10;
/// The weight of a ticker of one symbol.
const WEIGHT: u64 = 2;

#[test]
fn a_stalled_answer_is_not_waited_for() {
    let server = Server::start(|index| index != WARM);
    let engine = start(server, "hedge = true");
    warm(&engine);
    let before = used(&engine.metrics());
    let answers = ask(&engine, 1, Duration::from_secs(60));
    assert_eq!(answers[0].as_ref().map(Vec::len), Ok(1));
    let snapshot = engine.metrics();
    let source = &snapshot.sources["binance"];
    assert_eq!((source.hedges, source.cancelled, source.requests), (1, 1, WARM as u64 + 1));
    // The loser's quota stays spent; the window may have begun anew meanwhile.
    let (used, both) = (used(&snapshot), 2 * WEIGHT);
    assert!(used == before + both || used <= both, "{used} after {before}");
    end(engine);
}

#[test]
fn off_by_default_a_stalled_answer_runs_into_its_deadline() {
    let server = Server::start(|index| index != WARM);
    let engine = start(server, "");
    warm(&engine);
    let answers = ask(&engine, 1, Duration::from_millis(500));
    assert_eq!(answers[0].as_ref().unwrap_err().verdict, Verdict::UpstreamError);
    assert_eq!(engine.metrics().sources["binance"].hedges, 0);
    end(engine);
}

#[test]
fn an_outage_is_hedged_within_the_budget() {
    let server = Server::start(|index| index < WARM);
    let engine = start(server, "hedge = true");
    warm(&engine);
    let answers = ask(&engine, 2 * RESERVE, Duration::from_secs(2));
    assert!(answers.iter().all(Result::is_err));
    assert_eq!(engine.metrics().sources["binance"].hedges, RESERVE as u64);
    end(engine);
}

/// Makes the source's own latencies known.
fn warm(engine: &Engine) {
    for _ in 0..WARM {
        let answers = ask(engine, 1, Duration::from_secs(60));
        assert!(answers[0].is_ok(), "{answers:?}");
    }
}

fn ask(engine: &Engine, count: usize, deadline: Duration) -> Vec<Answered> {
    let query = Query::new(Kind::Ticker).symbol("BTC-USDT");
    let one = Ask { deadline: Some(deadline), attempts_max: Some(1), ..Ask::new("binance", query) };
    engine.fetch_batch(vec![one; count]).wait().unwrap()
}

fn used(snapshot: &Snapshot) -> u64 {
    snapshot.sources["binance"].quota.iter().map(|quota| quota.used).max().unwrap()
}

fn start(server: SocketAddr, hedge: &str) -> Engine {
    let text = format!(
        "[retry]\nbudget = 0.0\nbudget_floor = 0\n[breaker]\nfailures = 1000\n\
         [sources.binance]\nbase_url = \"http://{server}\"\n{hedge}\n"
    );
    let environment = Environment::default();
    let settings = Loader::new(&environment).text("hedge.toml", text).load().into_result().unwrap();
    Engine::builder(settings).stateless().without_polls().one_shard().drain_by_caller().start().unwrap()
}

fn end(engine: Engine) {
    engine.shutdown(Duration::from_secs(1)).wait().unwrap().unwrap();
}

/// A server that answers the requests by their number, or holds them for ever.
struct Server;

impl Server {
    fn start(answers: impl Fn(usize) -> bool + Send + Sync + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new((AtomicUsize::new(0), answers));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || {
                    let _ = serve(stream, &shared.0, &shared.1);
                });
            }
        });
        address
    }
}

fn serve(mut stream: TcpStream, count: &AtomicUsize, answers: &impl Fn(usize) -> bool) -> std::io::Result<()> {
    let body = include_str!("../src/source/samples/binance/ticker_24hr.json");
    let (mut read, mut step) = (Vec::new(), [0; 4_096]);
    loop {
        let bytes = stream.read(&mut step)?;
        if bytes == 0 {
            return Ok(());
        }
        read.extend_from_slice(&step[..bytes]);
        if read.ends_with(b"\r\n\r\n") {
            read.clear();
            if answers(count.fetch_add(1, Ordering::SeqCst)) {
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes())?;
            }
        }
    }
}
