//! Connections opened ahead of need: `warm` of a source, as the provider meets it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tidegate::{Engine, Environment, Kind, Loader, Query};

const WARM: usize = 3;

#[test]
fn connections_are_open_before_the_first_request() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let text = format!("[admin]\nenabled = false\n[sources.binance]\nbase_url = \"{url}\"\nwarm = {WARM}\n");
    let settings = Loader::new(&Environment::default()).text("warm.toml", text).load().into_result().unwrap();
    let engine = Engine::builder(settings).stateless().without_polls().drain_by_caller().start().unwrap();
    let mut open: Vec<TcpStream> = Vec::new();
    let until = Instant::now() + DEADLINE;
    while open.len() < WARM {
        assert!(Instant::now() < until, "{} of {WARM} connections", open.len());
        match listener.accept() {
            Ok((stream, _)) => open.push(stream),
            Err(_) => std::thread::yield_now(),
        }
    }
    // None of them has been asked for anything.
    for stream in &mut open {
        stream.set_nonblocking(true).unwrap();
        let error = stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
    let asked = engine.fetch("binance", Query::new(Kind::Ticker).symbol("BTC-USDT"));
    let answered = std::thread::spawn(move || answer(&mut open));
    assert_eq!(asked.wait().unwrap().expect("a ticker").len(), 1);
    answered.join().unwrap();
    assert!(listener.accept().is_err(), "the request opened a connection of its own");
    engine.shutdown(Duration::from_secs(1)).wait().unwrap().unwrap();
}

/// Answers the one request that comes over any of the connections.
fn answer(open: &mut [TcpStream]) {
    let until = Instant::now() + DEADLINE;
    let mut bytes = [0; 4096];
    while Instant::now() < until {
        for stream in &mut *open {
            if stream.read(&mut bytes).is_ok_and(|count| count > 0) {
                let body = include_str!("../src/source/samples/binance/ticker_24hr.json");
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
                return;
            }
        }
        std::thread::yield_now();
    }
    panic!("no request came over the connections that were open");
}

const DEADLINE: Duration = Duration::from_secs(20);
