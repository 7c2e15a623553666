//! One source at its worst beside others on the same shard: what is in flight stays bounded, big bodies are read beside
//! the core, and nobody else waits for either.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tidegate::{
    Answered, Ask, Engine, Environment, Kind, Loader, Pending, Placement, Query, Sim, SimSettings, Verdict,
};

/// Requests of the bad source in flight at most, by configuration.
const IN_FLIGHT: usize = 4;
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_source_that_stalls_holds_no_more_than_its_own_slots() {
    let server = Server::start(trades(1));
    let (engine, sim) = start(server.address);
    let asks = ask(&engine, 10 * IN_FLIGHT);
    server.wait_for(IN_FLIGHT);
    // Every slot of the bad source is taken, and the others are answered all the same.
    for _ in 0..20 {
        let records = engine.fetch("kucoin", ticker()).wait().unwrap();
        assert_eq!(records.map(|records| records.len()), Ok(1));
    }
    assert_eq!(engine.metrics().sources["binance"].in_flight, IN_FLIGHT as u64);
    assert_eq!(server.seen(), IN_FLIGHT, "more requests than slots");
    server.open();
    assert!(asks.wait().unwrap().iter().all(Result::is_ok));
    assert_eq!(server.most_at_once(), IN_FLIGHT);
    end(engine, sim);
}

#[test]
fn a_big_body_is_read_beside_the_core_and_whole() {
    let rows = 20_000;
    let server = Server::start(trades(rows));
    server.open();
    let (engine, sim) = start(server.address);
    for answer in ask(&engine, 2 * IN_FLIGHT).wait().unwrap() {
        let records = answer.unwrap();
        assert_eq!(records.len(), rows);
        assert!(records[0].attempt > 0 && records.iter().all(|record| record.attempt == records[0].attempt));
    }
    end(engine, sim);
}

#[test]
fn a_big_body_that_is_none_is_malformed_and_hurts_nobody() {
    let mut body = trades(20_000);
    body.truncate(body.len() - 9);
    let server = Server::start(body);
    server.open();
    let (engine, sim) = start(server.address);
    let answers = ask(&engine, 1).wait().unwrap();
    assert_eq!(answers[0].as_ref().unwrap_err().verdict, Verdict::Malformed, "{answers:?}");
    assert!(engine.fetch("kucoin", ticker()).wait().unwrap().is_ok());
    end(engine, sim);
}

/// Asks the bad source so many times at once.
fn ask(engine: &Engine, count: usize) -> Pending<Vec<Answered>> {
    let query = Query::new(Kind::Trade).symbol("BTC-USDT");
    let one = Ask { deadline: Some(PATIENCE), attempts_max: Some(1), ..Ask::new("binance", query) };
    engine.fetch_batch(vec![one; count])
}

fn ticker() -> Query {
    Query::new(Kind::Ticker).symbol("BTC-USDT")
}

/// One shard with the bad source, and a good one that the simulator answers.
fn start(bad: SocketAddr) -> (Engine, Sim) {
    let listen = ([127, 0, 0, 1], 0).into();
    let sim =
        Sim::start(SimSettings { listen, placement: Placement::Unpinned, plain: true, recordings: None }).unwrap();
    let urls = sim.base_urls();
    let good = &urls.iter().find(|(source, _, _)| *source == "kucoin").unwrap().2;
    let text = format!(
        "[http]\nfirst_byte_timeout = \"1m\"\n[sources.binance]\nbase_url = \"http://{bad}\"\nin_flight_max = {IN_FLIGHT}\n\
         [sources.kucoin]\nbase_url = \"{good}\"\n"
    );
    let environment = Environment::default();
    let settings = Loader::new(&environment).text("isolation.toml", text).load().into_result().unwrap();
    let engine = Engine::builder(settings).stateless().without_polls().one_shard().drain_by_caller().start().unwrap();
    (engine, sim)
}

fn end(engine: Engine, sim: Sim) {
    engine.shutdown(Duration::from_secs(5)).wait().unwrap().unwrap();
    sim.stop().unwrap();
}

/// So many trades as Binance writes them.
fn trades(rows: usize) -> Vec<u8> {
    let rows: Vec<String> = (1..=rows)
        .map(|id| {
            format!(
                "{{\"id\":{id},\"price\":\"87648.21\",\"qty\":\"0.029\",\"quoteQty\":\"2562.8\",\"time\":1767225598120,\
                 \"isBuyerMaker\":true,\"isBestMatch\":true}}"
            )
        })
        .collect();
    format!("[{}]", rows.join(",")).into_bytes()
}

/// A server that answers every request with one body, once it has been opened.
struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_open: bool,
    seen: usize,
    now: usize,
    most: usize,
}

impl Server {
    fn start(body: Vec<u8>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (serving, body) = (shared.clone(), Arc::new(body));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, body) = (serving.clone(), body.clone());
                std::thread::spawn(move || shared.serve(stream, &body));
            }
        });
        Server { address, shared }
    }

    /// Lets it answer.
    fn open(&self) {
        self.shared.state.lock().unwrap().is_open = true;
        self.shared.changed.notify_all();
    }

    /// Waits until so many requests have come.
    fn wait_for(&self, count: usize) {
        let state = self.shared.state.lock().unwrap();
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, |state| state.seen < count).unwrap();
        assert!(!waited.1.timed_out(), "{} of {count} requests came", waited.0.seen);
    }

    fn seen(&self) -> usize {
        self.shared.state.lock().unwrap().seen
    }

    fn most_at_once(&self) -> usize {
        self.shared.state.lock().unwrap().most
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream, body: &[u8]) {
        stream.set_nodelay(true).unwrap();
        let mut read = Vec::new();
        let mut step = [0; 4_096];
        while let Ok(count @ 1..) = stream.read(&mut step) {
            read.extend_from_slice(&step[..count]);
            // No request has a body.
            if !read.ends_with(b"\r\n\r\n") {
                continue;
            }
            read.clear();
            let mut state = self.state.lock().unwrap();
            state.seen += 1;
            state.now += 1;
            state.most = state.most.max(state.now);
            self.changed.notify_all();
            let mut state = self.changed.wait_while(state, |state| !state.is_open).unwrap();
            state.now -= 1;
            drop(state);
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
            if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).is_err() {
                return;
            }
        }
    }
}
