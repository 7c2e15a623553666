//! Conditional polls as the provider meets them: what has not changed is not sent again, and what has changed is.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tidegate::{Ask, Engine, Environment, Kind, Loader, Query, Snapshot};

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn what_has_not_changed_is_not_sent_again() {
    let server = Server::start();
    let engine = start(server.address, "");
    wait_for(&engine, |now| now.sources["frankfurter"].unchanged >= 2);
    let seen = engine.metrics();
    let source = &seen.sources["frankfurter"];
    assert_eq!((source.records, server.whole.load(Ordering::SeqCst)), (1, 1), "{source:?}");
    assert_eq!((source.success_rate, source.breaker.as_str()), (1.0, "closed"));
    // A change comes at once, and is then what nothing is newer than.
    server.version.store(2, Ordering::SeqCst);
    wait_for(&engine, |now| now.sources["frankfurter"].unchanged >= source.unchanged + 2);
    assert_eq!((engine.metrics().sources["frankfurter"].records, server.whole.load(Ordering::SeqCst)), (2, 2));
    // A caller wants the records, known or not.
    let asked = engine.fetch_batch(vec![Ask::new("frankfurter", Query::new(Kind::Rate).symbol("EUR-USD"))]);
    assert_eq!(asked.wait().unwrap()[0].as_ref().map(Vec::len), Ok(1));
    end(engine);
}

#[test]
fn where_records_may_be_dropped_every_answer_brings_them_again() {
    let server = Server::start();
    let engine = start(server.address, "[buffer]\nwhen_full = { rate = \"drop_oldest\" }\n");
    wait_for(&engine, |now| now.sources["frankfurter"].records >= 3);
    let seen = engine.metrics();
    assert_eq!((seen.sources["frankfurter"].unchanged, seen.sources["frankfurter"].records >= 3), (0, true));
    end(engine);
}

fn start(server: SocketAddr, extra: &str) -> Engine {
    let text = format!(
        "{extra}[admin]\nenabled = false\n[sources.frankfurter]\nbase_url = \"http://{server}\"\n\
         [[sources.frankfurter.polls]]\nkind = \"rate\"\nsymbols = [\"EUR-USD\"]\nevery = \"100ms\"\n"
    );
    let settings = Loader::new(&Environment::default()).text("conditional.toml", text).load().into_result().unwrap();
    Engine::builder(settings).stateless().start().unwrap()
}

fn wait_for(engine: &Engine, is_so: impl Fn(&Snapshot) -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so(&engine.metrics()) {
        assert!(Instant::now() < until, "{:?}", engine.metrics().sources["frankfurter"]);
        std::thread::yield_now();
    }
}

fn end(engine: Engine) {
    engine.shutdown(Duration::from_secs(5)).wait().unwrap().unwrap();
}

/// A provider of one rate that heeds `if-none-match`.
struct Server {
    address: SocketAddr,
    version: Arc<AtomicUsize>,
    /// Whole answers to requests that named a version, or the first of all.
    whole: Arc<AtomicUsize>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (version, whole) = (Arc::new(AtomicUsize::new(1)), Arc::new(AtomicUsize::new(0)));
        let server = Server { address, version: version.clone(), whole: whole.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (version, whole) = (version.clone(), whole.clone());
                std::thread::spawn(move || serve(stream, &version, &whole));
            }
        });
        server
    }
}

fn serve(mut stream: TcpStream, version: &AtomicUsize, whole: &AtomicUsize) {
    let mut head = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(count @ 1..) = stream.read(&mut bytes) else { return };
            head.extend_from_slice(&bytes[..count]);
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let version = version.load(Ordering::SeqCst);
        let tag = format!("W/\"{version}\"");
        let answer = if head.contains(&format!("if-none-match: {}\r\n", tag.to_lowercase())) {
            format!("HTTP/1.1 304 Not Modified\r\netag: {tag}\r\n\r\n")
        } else {
            whole.fetch_add(1, Ordering::SeqCst);
            let body = format!(r#"{{"date":"2026-01-0{version}","base":"EUR","quote":"USD","rate":1.1{version}}}"#);
            format!(
                "HTTP/1.1 200 OK\r\netag: {tag}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
