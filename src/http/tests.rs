//! The client against small servers that misbehave in one way each: std threads that speak bytes, so that nothing of the
//! client's own HTTP stands on the other side.

use std::cell::RefCell;
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::{Barrier, mpsc};
use std::time::Duration;

use crate::config::HttpVersion;
use crate::http::*;
use crate::runtime::{Placement, launch, sleep, spawn};
use crate::time::{Deadline, Mono};
use crate::wire::{Answer, Method, Request};

/// A server: `script` runs on a thread of its own for every connection, with its index.
fn serve(script: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    // For the life of the test program: every connection has a thread that needs it.
    let script: &'static _ = Box::leak(Box::new(script));
    std::thread::spawn(move || {
        for (index, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || script(stream, index));
        }
    });
    address
}

/// The head of the next request; `None` when the client closed.
fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Answers every request of every connection with the same bytes, then closes if told so.
fn answers(bytes: impl Into<Vec<u8>>, close: bool) -> SocketAddr {
    let bytes = bytes.into();
    serve(move |mut stream, _| {
        while read_head(&mut stream).is_some() {
            if stream.write_all(&bytes).is_err() || close {
                return;
            }
        }
    })
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::parse(&format!("http://{address}")).unwrap()
}

fn on_core<T: Send + 'static, F: Future<Output = T>>(
    settings: ClientSettings,
    test: impl FnOnce(Client) -> F + Send + 'static,
) -> T {
    let core = launch("http-test", Placement::Unpinned, move || async move {
        let resolver = ResolverHandle::system().unwrap();
        let client = Client::new(settings, &TlsContext::new(None).unwrap(), resolver).unwrap();
        let result = test(client.clone()).await;
        client.close().await;
        let stats = client.stats();
        assert_eq!((stats.open, stats.waiting, stats.streams), (0, 0, 0), "{stats:?}");
        result
    });
    core.unwrap().join().unwrap()
}

async fn fetch(client: &Client, endpoint: &Endpoint, limits: &Limits) -> (Result<Answer, Failure>, Timings) {
    let mut timings = Timings::default();
    let deadline = Deadline::after(Mono::now(), Duration::from_secs(20));
    let request = Request::get("/t").param("symbol", "BTCUSDT");
    (client.exchange(endpoint, &request, limits, deadline, &mut timings).await, timings)
}

/// One exchange with a server that answers with these bytes and closes: the body, or the reason.
fn check(bytes: impl Into<Vec<u8>>, expected: Result<&str, &str>) {
    let bytes = bytes.into();
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    let address = answers(bytes, true);
    let limits = Limits { body_bytes_max: 100_000, ..Limits::default() };
    let (found, _) =
        on_core(
            ClientSettings::default(),
            move |client| async move { fetch(&client, &endpoint(address), &limits).await },
        );
    match (found, expected) {
        (Ok(answer), Ok(body)) => assert_eq!(answer.body, body.as_bytes(), "{shown}"),
        (Err(failure), Err(reason)) => {
            assert_eq!(failure.reason, reason, "{shown}: {failure}");
            assert!(REASONS.contains(&failure.reason));
        }
        (found, expected) => panic!("{shown}: expected {expected:?}, found {found:?}"),
    }
}

#[test]
fn answers_are_whole_or_failures() {
    check("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", Ok("hello"));
    check("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Ok(""));
    check("HTTP/1.1 204 No Content\r\n\r\n", Ok(""));
    check("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", Ok(""));
    check("HTTP/1.0 200 OK\r\n\r\nto the end", Ok("to the end"));
    check("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nto the end", Ok("to the end"));
    check(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        Ok("ok"),
    );
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    check(format!("{chunked}3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"), Ok("hello"));
    check(format!("{chunked}5\r\nhello\r\n0\r\nx-trailer: 1\r\n\r\n"), Ok("hello"));
    check(format!("{chunked}5\r\nhello\r\n"), Err("closed_early"));
    check(format!("{chunked}5\r\nhel"), Err("closed_early"));
    check(format!("{chunked}zz\r\nhello\r\n0\r\n\r\n"), Err("bad_framing"));
    check(format!("{chunked}5\r\nhelloX\r\n0\r\n\r\n"), Err("bad_framing"));
    check("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", Err("closed_early"));
    check("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", Err("bad_framing"));
    check("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", Err("bad_framing"));
    check("HTTP/1.1 200 OK\r\ncontent-len", Err("closed_early"));
    check("", Err("closed_early"));
    check("SSH-2.0-OpenSSH_9.2\r\n\r\n", Err("bad_framing"));
    check("HTTP/1.1 2x0 OK\r\n\r\n", Err("bad_framing"));
    check("HTTP/1.1 200 OK\r\nb ad: x\r\n\r\n", Err("bad_framing"));
    check("HTTP/1.1 200 OK\r\ncontent-length: 100001\r\n\r\n", Err("body_too_large"));
    check("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n", Err("bad_framing"));
    check(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(100_001)), Err("body_too_large"));
    check(format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 2\r\n\r\nok", "y".repeat(60_000)), Ok("ok"));
    check(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(70_000)), Err("head_too_large"));
    check(format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(300)), Err("head_too_large"));
}

#[test]
fn large_bodies_arrive_whole_and_connections_are_reused() {
    let big = "0123456789abcdef".repeat(200_000);
    let expected = big.len();
    let address = answers(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{big}", big.len()), false);
    on_core(ClientSettings::default(), move |client| async move {
        for round in 0..3 {
            let (answer, timings) = fetch(&client, &endpoint(address), &Limits::default()).await;
            let answer = answer.unwrap();
            assert_eq!(answer.body.len(), expected);
            assert_eq!(answer.body[expected - 16..], *b"0123456789abcdef");
            assert!(timings.bytes_in > expected as u64 && timings.bytes_out > 50);
            assert_eq!(timings.reused, round > 0);
        }
        assert_eq!(client.stats().opened, 1);
    });
}

#[test]
fn encodings_are_undone_within_the_cap() {
    let coded = |name: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {name}\r\ncontent-length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let gzip = |plain: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    };
    let zlib = |plain: &[u8]| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    };
    let raw = |plain: &[u8]| {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |plain: &[u8]| zstd::bulk::compress(plain, 1).unwrap();
    // "hello, hello" by the reference encoder: this crate only decodes the format.
    let brotli: &[u8] = &[0x0b, 0x02, 0x80, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x03];
    check(coded("br", brotli), Ok("hello"));
    check(coded("br", &brotli[..6]), Err("bad_encoding"));
    type Encode<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let encoders: [(&str, Encode<'_>); 4] = [("gzip", &gzip), ("deflate", &zlib), ("deflate", &raw), ("zstd", &zstd)];
    for (name, encode) in encoders {
        let plain = "hello ".repeat(1_000);
        let body = encode(plain.as_bytes());
        check(coded(name, &body), Ok(&plain));
        check(coded(&name.to_uppercase(), &body), Ok(&plain));
        check(coded(name, &body[..body.len() - 5]), Err("bad_encoding"));
        check(coded(name, b"plain text"), Err("bad_encoding"));
        check(coded(name, &encode(&[b'x'; 100_000])), Ok(&"x".repeat(100_000)));
        check(coded(name, &encode(&vec![b'x'; 100_001])), Err("bomb"));
        check(coded(name, &encode(&vec![b'x'; 10_000_000])), Err("bomb"));
    }
    check(coded("identity", b"hello"), Ok("hello"));
    check(coded("gzip, zstd", &zstd(&gzip(b"hello"))), Ok("hello"));
    check(coded("compress", b"hello"), Err("bad_encoding"));
    check(coded("gzip,gzip,gzip,gzip", b"hello"), Err("bad_encoding"));
    check(coded("gzip", b""), Ok(""));
}

#[test]
fn requests_carry_their_headers() {
    let (tell, heard) = mpsc::channel();
    let address = serve(move |mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            tell.send(head).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        }
    });
    on_core(ClientSettings::default(), move |client| async move {
        let base = Endpoint::parse(&format!("http://{address}/base")).unwrap();
        let deadline = Deadline::after(Mono::now(), Duration::from_secs(20));
        let mut timings = Timings::default();
        let own = Request::get("/a?x=1").header("User-Agent", "me").header_secret("x-key", "k");
        let posted = Request::post("/p", "{}");
        for request in [Request::get("/a"), own, posted] {
            client.exchange(&base, &request, &Limits::default(), deadline, &mut timings).await.unwrap();
        }
        let bad = Request::get("/a").header("x-bad", "a\r\nb");
        let failure = client.exchange(&base, &bad, &Limits::default(), deadline, &mut timings).await.unwrap_err();
        assert_eq!(failure.reason, "bad_request");
        assert!(!failure.message.contains("a\r\nb"));
    });
    let heads: Vec<String> = heard.iter().take(3).collect();
    let version = env!("CARGO_PKG_VERSION");
    let common =
        format!("host: {address}\r\nuser-agent: tidegate/{version}\r\naccept-encoding: gzip, deflate, br, zstd\r\n");
    assert_eq!(heads[0], format!("GET /base/a HTTP/1.1\r\n{common}\r\n"));
    assert!(
        heads[1].starts_with("GET /base/a?x=1 HTTP/1.1\r\n") && heads[1].contains("User-Agent: me\r\n"),
        "{}",
        heads[1]
    );
    assert!(heads[1].contains("x-key: k\r\n") && !heads[1].contains("tidegate"), "{}", heads[1]);
    assert!(
        heads[2].starts_with("POST /base/p HTTP/1.1\r\n") && heads[2].contains("content-length: 2\r\n"),
        "{}",
        heads[2]
    );
}

#[test]
fn each_phase_has_its_limit() {
    let short = Duration::from_millis(80);
    let check = |limits: Limits, deadline: Duration, bytes: &'static str, drip: bool, phase: Phase, reason: &str| {
        let address = serve(move |mut stream, _| {
            read_head(&mut stream);
            let _ = stream.write_all(bytes.as_bytes());
            while drip && stream.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
            read_head(&mut stream);
        });
        let failure = on_core(ClientSettings::default(), move |client| async move {
            let deadline = Deadline::after(Mono::now(), deadline);
            let mut timings = Timings::default();
            client.exchange(&endpoint(address), &Request::get("/"), &limits, deadline, &mut timings).await.unwrap_err()
        });
        assert_eq!((failure.phase, failure.reason), (phase, reason), "{failure}");
        assert!(!failure.retry_safe);
    };
    let long = Duration::from_secs(20);
    let plain = Limits::default();
    let head = "HTTP/1.1 200 OK\r\n\r\n";
    check(Limits { first_byte: short, ..plain }, long, "", false, Phase::FirstByte, "first_byte_timeout");
    check(Limits { first_byte: short, ..plain }, long, "HTTP/1.1 200", false, Phase::FirstByte, "first_byte_timeout");
    check(plain, short, "", false, Phase::Deadline, "deadline");
    check(plain, short, head, true, Phase::Deadline, "deadline");
    check(Limits { body: short, ..plain }, long, head, false, Phase::Body, "body_timeout");
    check(Limits { body: short, ..plain }, long, head, true, Phase::Body, "body_timeout");
    let slow = Limits { throughput_span: short, throughput_bytes_min: 1_000, ..plain };
    check(slow, long, head, true, Phase::Body, "body_too_slow");
    // 100 bytes a second are enough for 20.
    let fair = Limits { throughput_bytes_min: 20, throughput_span: short, body: short * 3, ..plain };
    check(fair, long, head, true, Phase::Body, "body_timeout");
}

#[test]
fn refused_and_unresolved_hosts_are_told_apart() {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let core = launch("http-test", Placement::Unpinned, move || async move {
        let resolver = ResolverHandle::from_fn(|host| match host {
            "none.test" => Ok(vec![]),
            "slow.test" => {
                std::thread::sleep(Duration::from_millis(300));
                Ok(vec![])
            }
            _ => Err(std::io::Error::other("no such host")),
        });
        let client =
            Client::new(ClientSettings::default(), &TlsContext::new(None).unwrap(), resolver.unwrap()).unwrap();
        let limits = Limits { connect: Duration::from_millis(100), ..Limits::default() };
        for (url, phase, reason) in [
            (format!("http://{closed}"), Phase::Connect, "connect_refused"),
            ("http://none.test".to_owned(), Phase::Name, "name_failed"),
            ("http://missing.test".to_owned(), Phase::Name, "name_failed"),
            ("http://slow.test".to_owned(), Phase::Name, "name_timeout"),
        ] {
            let failure = fetch(&client, &Endpoint::parse(&url).unwrap(), &limits).await.0.unwrap_err();
            assert_eq!((failure.phase, failure.reason, failure.retry_safe), (phase, reason, true), "{failure}");
        }
        client.close().await;
        let failure = fetch(&client, &endpoint(closed), &limits).await.0.unwrap_err();
        assert_eq!(failure.reason, "pool_closed");
        assert_eq!(client.stats().open, 0);
    });
    core.unwrap().join().unwrap();
}

#[test]
fn addresses_are_raced_and_bad_ones_remembered() {
    let good = answers("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok", true);
    let bad = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 9).into(), good.port());
    // A listener with a full queue of one: connects to it hang.
    let stuck = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    stuck.bind(&SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0).into()).unwrap();
    stuck.listen(0).unwrap();
    let stuck_at = stuck.local_addr().unwrap().as_socket().unwrap();
    let _fillers: Vec<_> =
        (0..4).filter_map(|_| TcpStream::connect_timeout(&stuck_at, Duration::from_millis(50)).ok()).collect();
    on_core(ClientSettings::default(), move |client| async move {
        let refusing = endpoint(good).connect_to(vec![bad, good]);
        assert_eq!(fetch(&client, &refusing, &Limits::default()).await.0.unwrap().body, "ok");
        let hanging = endpoint(good).connect_to(vec![stuck_at, good]);
        let (answer, timings) = fetch(&client, &hanging, &Limits::default()).await;
        assert_eq!(answer.unwrap().body, "ok");
        assert!(timings.connect >= Duration::from_millis(250), "{timings:?}");
        let alone = endpoint(good).connect_to(vec![stuck_at]);
        let limits = Limits { connect: Duration::from_millis(100), ..Limits::default() };
        let failure = fetch(&client, &alone, &limits).await.0.unwrap_err();
        assert_eq!(failure.reason, "connect_timeout");
    });
}

#[test]
fn connections_closed_while_idle_are_replaced_once() {
    // Every connection serves one request well and is closed without a word at the second one.
    let (tell, asked) = mpsc::channel();
    let address = serve(move |mut stream, _| {
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        read_head(&mut stream);
        tell.send(()).unwrap();
    });
    on_core(ClientSettings::default(), move |client| async move {
        for round in 0..4 {
            let (answer, timings) = fetch(&client, &endpoint(address), &Limits::default()).await;
            assert_eq!(answer.unwrap().body, "ok");
            assert_eq!(timings.replaced, u32::from(round > 0), "{timings:?}");
        }
        let stats = client.stats();
        assert_eq!((stats.opened, stats.replaced, stats.open), (4, 3, 1), "{stats:?}");
        // A POST that was written is not sent twice.
        let mut timings = Timings::default();
        let mut posted = Request::get("/p");
        posted.method = Method::Post;
        let deadline = Deadline::after(Mono::now(), Duration::from_secs(20));
        let failed = client.exchange(&endpoint(address), &posted, &Limits::default(), deadline, &mut timings).await;
        let failure = failed.unwrap_err();
        assert_eq!((failure.reason, failure.reused, failure.retry_safe), ("closed_early", true, false), "{failure}");
    });
    assert_eq!(asked.try_iter().count(), 4);
}

#[test]
fn a_fresh_connection_that_dies_is_no_idle_death() {
    let address = serve(|mut stream, _| {
        read_head(&mut stream);
    });
    on_core(ClientSettings::default(), move |client| async move {
        let failure = fetch(&client, &endpoint(address), &Limits::default()).await.0.unwrap_err();
        assert_eq!((failure.reason, failure.reused), ("closed_early", false));
        assert_eq!(client.stats().opened, 1);
    });
}

#[test]
fn waiters_are_served_in_order_and_cancelled_ones_cost_nothing() {
    let address = serve(|mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            if head.contains("slow") {
                std::thread::sleep(Duration::from_millis(100));
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let settings = ClientSettings { connections_per_host_max: 1, ..ClientSettings::default() };
    on_core(settings, move |client| async move {
        let order = Rc::new(RefCell::new(Vec::new()));
        let at = endpoint(address);
        let mut tasks = Vec::new();
        for index in 0..8 {
            let (client, at, order) = (client.clone(), at.clone(), order.clone());
            tasks.push(spawn(async move {
                let target = if index == 0 { "/slow" } else { "/fast" };
                let mut timings = Timings::default();
                let deadline = Deadline::after(Mono::now(), Duration::from_secs(20));
                let limits = Limits {
                    pool_wait: Duration::from_millis(if index == 5 { 20 } else { 5_000 }),
                    ..Limits::default()
                };
                let got = client.exchange(&at, &Request::get(target), &limits, deadline, &mut timings).await;
                assert!(index == 0 || timings.pool > timings.first_byte, "{timings:?}");
                order.borrow_mut().push((index, got.map(|_| "ok").unwrap_or_else(|failure| failure.reason)));
            }));
        }
        while client.stats().waiting < 7 {
            sleep(Duration::from_millis(1)).await;
        }
        // The third and the last give up while they wait.
        tasks.remove(7).cancel().await;
        tasks.remove(3).cancel().await;
        assert_eq!(client.stats().waiting, 5);
        for task in tasks {
            task.join().await.unwrap();
        }
        let expected = [(5, "pool_timeout"), (0, "ok"), (1, "ok"), (2, "ok"), (4, "ok"), (6, "ok")];
        assert_eq!(*order.borrow(), expected);
        let stats = client.stats();
        assert_eq!((stats.open, stats.idle, stats.waiting, stats.opened), (1, 1, 0, 1), "{stats:?}");
    });
}

#[test]
fn a_dropped_exchange_discards_its_connection_and_returns_its_place() {
    let address = serve(|mut stream, index| {
        while read_head(&mut stream).is_some() {
            if index == 0 {
                continue;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let settings = ClientSettings { connections_per_host_max: 1, ..ClientSettings::default() };
    on_core(settings, move |client| async move {
        let at = endpoint(address);
        let (first, first_at) = (client.clone(), at.clone());
        let hung = spawn(async move { fetch(&first, &first_at, &Limits::default()).await.1 });
        while client.stats().open == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        let (second, second_at) = (client.clone(), at.clone());
        let waiting = spawn(async move { fetch(&second, &second_at, &Limits::default()).await });
        while client.stats().waiting == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        hung.cancel().await;
        let (answer, timings) = waiting.join().await.unwrap();
        assert_eq!(answer.unwrap().body, "ok");
        assert!(!timings.reused);
        let stats = client.stats();
        assert_eq!((stats.open, stats.idle, stats.opened, stats.closed), (1, 1, 2, 1), "{stats:?}");
    });
}

#[test]
fn the_total_cap_holds_over_hosts_and_idle_connections_make_way() {
    let addresses: Vec<_> = (0..3).map(|_| answers("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false)).collect();
    let settings = ClientSettings { connections_max: 2, ..ClientSettings::default() };
    on_core(settings, move |client| async move {
        for round in 0..6 {
            let at = endpoint(addresses[round % 3]);
            assert_eq!(fetch(&client, &at, &Limits::default()).await.0.unwrap().body, "ok");
            assert!(client.stats().open <= 2);
        }
        let tasks: Vec<_> = (0..30)
            .map(|index| {
                let (client, at) = (client.clone(), endpoint(addresses[index % 3]));
                spawn(async move { fetch(&client, &at, &Limits::default()).await.0.unwrap().body })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.join().await.unwrap(), "ok");
            assert!(client.stats().open <= 2);
        }
    });
}

#[test]
fn idle_and_spent_connections_are_closed() {
    let address = answers("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false);
    let settings = ClientSettings { uses_max: 2, idle_max: Duration::from_millis(200), ..ClientSettings::default() };
    on_core(settings, move |client| async move {
        for _ in 0..4 {
            fetch(&client, &endpoint(address), &Limits::default()).await.0.unwrap();
        }
        assert_eq!(client.stats().opened, 2);
        assert_eq!(client.warm(&endpoint(address), 3, &Limits::default()).await.unwrap(), 3);
        assert_eq!(client.stats().idle, 3);
        let patience = Mono::now() + Duration::from_secs(5);
        while client.stats().open > 0 {
            assert!(Mono::now() < patience, "{:?}", client.stats());
            sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn a_tunnel_is_opened_with_the_proxy_credentials() {
    let target = answers("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false);
    let (tell, heard) = mpsc::channel();
    let proxy = serve(move |mut stream, index| {
        let head = read_head(&mut stream).unwrap();
        tell.send(head).unwrap();
        if index > 0 {
            let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
            return;
        }
        stream.write_all(b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n").unwrap();
        let mut onward = TcpStream::connect(target).unwrap();
        let (mut back_from, mut back_to) = (onward.try_clone().unwrap(), stream.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut back_from, &mut back_to));
        let _ = std::io::copy(&mut stream, &mut onward);
    });
    on_core(ClientSettings::default(), move |client| async move {
        let base = Endpoint::parse("http://upstream.test:8080").unwrap();
        let through = base.proxy(&format!("http://user:secret@{proxy}")).unwrap();
        assert_eq!(fetch(&client, &through, &Limits::default()).await.0.unwrap().body, "ok");
        let other =
            Endpoint::parse("http://other.test").unwrap().proxy(&format!("http://user:secret@{proxy}")).unwrap();
        let failure = fetch(&client, &other, &Limits::default()).await.0.unwrap_err();
        assert_eq!(failure.reason, "proxy_refused");
        assert!(failure.message.contains("status 407") && !failure.message.contains("secret"), "{failure}");
    });
    let head = heard.recv().unwrap();
    assert!(head.starts_with("CONNECT upstream.test:8080 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("proxy-authorization: Basic dXNlcjpzZWNyZXQ=\r\n"), "{head}");
}

#[test]
fn local_addresses_take_turns() {
    let (tell, heard) = mpsc::channel();
    let address = serve(move |mut stream, _| {
        tell.send(stream.peer_addr().unwrap().ip().to_string()).unwrap();
        while read_head(&mut stream).is_some() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        }
    });
    on_core(ClientSettings::default(), move |client| async move {
        let locals = vec!["127.0.0.2".parse().unwrap(), "127.0.0.3".parse().unwrap(), "::1".parse().unwrap()];
        let at = endpoint(address).local_addresses(locals);
        for _ in 0..4 {
            assert_eq!(fetch(&client, &at, &Limits::default()).await.0.unwrap().body, "ok");
        }
    });
    let peers: Vec<String> = heard.iter().take(4).collect();
    assert_eq!(peers, ["127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3"]);
}

#[test]
fn conditional_requests_pass_not_modified_through() {
    let address = serve(|mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            let known = head.contains("if-none-match: \"v1\"\r\n");
            let answer: &[u8] = if known {
                b"HTTP/1.1 304 Not Modified\r\netag: \"v1\"\r\n\r\n"
            } else {
                b"HTTP/1.1 200 OK\r\netag: \"v1\"\r\ncontent-length: 2\r\n\r\nok"
            };
            stream.write_all(answer).unwrap();
        }
    });
    on_core(ClientSettings::default(), move |client| async move {
        let (at, request, limits) = (endpoint(address), Request::get("/feed"), Limits::default());
        let deadline = Deadline::after(Mono::now(), Duration::from_secs(20));
        let mut timings = Timings::default();
        let answer = client.exchange(&at, &request, &limits, deadline, &mut timings).await.unwrap();
        assert_eq!(answer.status, 200);
        let conditional = request.header("if-none-match", "\"v1\"");
        let answer = client.exchange(&at, &conditional, &limits, deadline, &mut timings).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (304, 0));
    });
}

#[test]
fn closing_ends_exchanges_that_run() {
    let address = serve(|mut stream, _| {
        read_head(&mut stream);
        read_head(&mut stream);
    });
    on_core(ClientSettings::default(), move |client| async move {
        let (other, at) = (client.clone(), endpoint(address));
        let hung = spawn(async move { fetch(&other, &at, &Limits::default()).await.0 });
        while client.stats().opened == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_millis(20)).await;
        client.close().await;
        let failure = hung.join().await.unwrap().unwrap_err();
        assert_eq!(failure.reason, "pool_closed", "{failure}");
    });
}

/// A certificate authority, and a way to have it sign.
struct Authority {
    pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: rcgen::Issuer::new(params, key) }
    }

    /// Serves TLS for `name`, valid until `year`, one HTTP/1.1 answer for each request.
    fn serve(&self, name: &str, year: i32, protocols: &[&[u8]]) -> SocketAddr {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let chain = vec![params.signed_by(&key, &self.issuer).unwrap().der().clone()];
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let builder =
            rustls::ServerConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions();
        let mut config = builder.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        serve(move |stream, index| {
            let session = rustls::ServerConnection::new(config.clone().into()).unwrap();
            let mut stream = rustls::StreamOwned::new(session, stream);
            let mut head = Vec::new();
            let mut byte = [0];
            while let Ok(1) = stream.read(&mut byte) {
                head.push(byte[0]);
                if !head.ends_with(b"\r\n\r\n") {
                    continue;
                }
                head.clear();
                if index == 1 {
                    // Close-delimited, and cut without TLS's own end.
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\ncut off he");
                    return;
                }
                let resumed = stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
                let body = if resumed { "again" } else { "fresh" };
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
                return;
            }
        })
    }
}

fn on_tls_core<T: Send + 'static, F: Future<Output = T>>(
    pem: &str,
    test: impl FnOnce(Client) -> F + Send + 'static,
) -> T {
    let tls = TlsContext::trusting(pem.as_bytes()).unwrap();
    let core = launch("http-test", Placement::Unpinned, move || async move {
        let client = Client::new(ClientSettings::default(), &tls, ResolverHandle::system().unwrap()).unwrap();
        let result = test(client.clone()).await;
        client.close().await;
        assert_eq!(client.stats().open, 0);
        result
    });
    core.unwrap().join().unwrap()
}

fn tls_endpoint(name: &str, address: SocketAddr) -> Endpoint {
    Endpoint::parse(&format!("https://{name}:{}", address.port())).unwrap().connect_to(vec![address])
}

#[test]
fn certificates_are_verified_and_told_apart() {
    let (ours, other) = (Authority::new(), Authority::new());
    let good = ours.serve("api.test", 2099, &[]);
    let expired = ours.serve("api.test", 2021, &[]);
    let foreign = other.serve("api.test", 2099, &[]);
    let plain = answers("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true);
    on_tls_core(&ours.pem, move |client| async move {
        let limits = Limits { tls: Duration::from_millis(500), ..Limits::default() };
        let (answer, timings) = fetch(&client, &tls_endpoint("api.test", good), &limits).await;
        assert_eq!(answer.unwrap().body, "fresh");
        assert!(timings.tls > Duration::ZERO && timings.protocol == Protocol::One);
        // A body that ends with the connection, without TLS's own end, may have been cut by anyone.
        let failure = fetch(&client, &tls_endpoint("api.test", good), &limits).await.0.unwrap_err();
        assert_eq!(failure.reason, "closed_early", "{failure}");
        assert_eq!(fetch(&client, &tls_endpoint("api.test", good), &limits).await.0.unwrap().body, "again");
        for (endpoint, reason) in [
            (tls_endpoint("wrong.test", good), "tls_wrong_name"),
            (tls_endpoint("api.test", expired), "tls_expired"),
            (tls_endpoint("api.test", foreign), "tls_unknown_issuer"),
            (tls_endpoint("api.test", plain), "tls_timeout"),
            (tls_endpoint("api.test", good).http_version(HttpVersion::Two), "tls_failed"),
        ] {
            let failure = fetch(&client, &endpoint, &limits).await.0.unwrap_err();
            assert_eq!((failure.phase, failure.reason), (Phase::Tls, reason), "{failure}");
        }
    });
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The next frame's kind, flags and stream.
fn read_frame(stream: &mut TcpStream) -> Option<(u8, u8, u32)> {
    let mut head = [0_u8; 9];
    stream.read_exact(&mut head).ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).ok()?;
    Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]])))
}

/// Speaks HTTP/2 by prior knowledge; `answer` writes what follows the head of a request.
fn serve_two(
    settings: &'static [u8],
    answer: impl Fn(&mut TcpStream, u32, usize) + Send + Sync + 'static,
) -> SocketAddr {
    serve(move |mut stream, index| {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).unwrap();
        assert!(preface.starts_with(b"PRI * HTTP/2.0"));
        stream.write_all(&frame(4, 0, 0, settings)).unwrap();
        while let Some((kind, flags, id)) = read_frame(&mut stream) {
            match kind {
                HEADERS => answer(&mut stream, id, index),
                4 if flags & 1 == 0 => drop(stream.write_all(&frame(4, 1, 0, &[]))),
                _ => {}
            }
        }
    })
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200` of the static table.
const OK: &[u8] = &[0x88];

#[test]
fn streams_are_whole_or_failures() {
    type Script = fn(&mut TcpStream, u32);
    let check = |script: Script, expected: Result<&str, (&str, bool)>| {
        let address = serve_two(&[], move |stream, id, _| script(stream, id));
        let limits = Limits { first_byte: Duration::from_secs(2), ..Limits::default() };
        let (found, timings) = on_core(ClientSettings::default(), move |client| async move {
            let at = endpoint(address).http_version(HttpVersion::Two);
            fetch(&client, &at, &limits).await
        });
        assert_eq!(timings.protocol, Protocol::Two);
        match (found, expected) {
            (Ok(answer), Ok(body)) => assert_eq!(answer.body, body.as_bytes()),
            (Err(failure), Err((reason, safe))) => {
                assert_eq!((failure.reason, failure.retry_safe), (reason, safe), "{failure}");
            }
            (found, expected) => panic!("expected {expected:?}, found {found:?}"),
        }
    };
    fn write(stream: &mut TcpStream, frames: &[Vec<u8>]) {
        let _ = stream.write_all(&frames.concat());
    }
    let whole: Script = |to, id| {
        write(to, &[frame(HEADERS, END_HEADERS, id, OK), frame(DATA, 0, id, b"o"), frame(DATA, END_STREAM, id, b"k")]);
    };
    check(whole, Ok("ok"));
    check(|to, id| write(to, &[frame(HEADERS, END_HEADERS | END_STREAM, id, OK)]), Ok(""));
    // What a proxy does whose own upstream died; some take the second one for an end.
    check(
        |to, id| {
            write(
                to,
                &[frame(HEADERS, END_HEADERS, id, OK), frame(DATA, 0, id, b"o"), frame(RESET, 0, id, &[0, 0, 0, 8])],
            )
        },
        Err(("reset", false)),
    );
    check(
        |to, id| {
            write(
                to,
                &[frame(HEADERS, END_HEADERS, id, OK), frame(DATA, 0, id, b"o"), frame(RESET, 0, id, &[0, 0, 0, 0])],
            )
        },
        Err(("closed_early", false)),
    );
    check(
        |to, id| write(to, &[frame(HEADERS, END_HEADERS, id, OK), frame(RESET, 0, id, &[0, 0, 0, 2])]),
        Err(("reset", false)),
    );
    check(|to, id| write(to, &[frame(RESET, 0, id, &[0, 0, 0, 7])]), Err(("stream_refused", true)));
    check(
        |to, id| {
            write(to, &[frame(HEADERS, END_HEADERS, id, OK), frame(DATA, 0, id, b"o")]);
            let _ = to.shutdown(std::net::Shutdown::Both);
        },
        Err(("closed_early", false)),
    );
    // `content-length: 5` as a literal, and two bytes.
    let short: Script = |to, id| {
        let mut head = OK.to_vec();
        head.extend([0x0f, 0x0d, 0x01, b'5']);
        write(to, &[frame(HEADERS, END_HEADERS, id, &head), frame(DATA, END_STREAM, id, b"ok")]);
    };
    check(short, Err(("bad_framing", false)));
    check(|to, id| write(to, &[frame(DATA, END_STREAM, id, b"no head")]), Err(("bad_framing", false)));
}

#[test]
fn a_graceful_goaway_is_followed_to_another_connection() {
    // The first connections send every request away, the third one answers.
    let address = serve_two(&[], |stream, id, index| {
        let frames = if index < 2 {
            frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0])
        } else {
            [frame(HEADERS, END_HEADERS, id, OK), frame(DATA, END_STREAM, id, b"ok")].concat()
        };
        let _ = stream.write_all(&frames);
    });
    on_core(ClientSettings::default(), move |client| async move {
        let at = endpoint(address).http_version(HttpVersion::Two);
        let (answer, timings) = fetch(&client, &at, &Limits::default()).await;
        assert_eq!(answer.unwrap().body, "ok");
        assert_eq!(timings.replaced, 2);
        assert_eq!(client.stats().open, 1);
    });
}

#[test]
fn streams_share_one_connection_up_to_the_peers_limit() {
    // SETTINGS_MAX_CONCURRENT_STREAMS (3) of 4; every answer takes its time.
    let address = serve_two(&[0, 3, 0, 0, 0, 4], |stream, id, _| {
        std::thread::sleep(Duration::from_millis(5));
        let _ = stream.write_all(&[frame(HEADERS, END_HEADERS, id, OK), frame(DATA, END_STREAM, id, b"ok")].concat());
    });
    let settings = ClientSettings { connections_per_host_max: 2, ..ClientSettings::default() };
    on_core(settings, move |client| async move {
        let at = endpoint(address).http_version(HttpVersion::Two);
        for (count, connections) in [(1, 1), (4, 1), (30, 2)] {
            let tasks: Vec<_> = (0..count)
                .map(|_| {
                    let (client, at) = (client.clone(), at.clone());
                    spawn(async move { fetch(&client, &at, &Limits::default()).await.0.unwrap().body })
                })
                .collect();
            for task in tasks {
                assert_eq!(task.join().await.unwrap(), "ok");
                assert!(client.stats().streams <= 8);
            }
            let stats = client.stats();
            assert_eq!((stats.open, stats.streams), (connections, 0), "{count}: {stats:?}");
        }
    });
}

/// Speaks HTTP/2 by prior knowledge: `act` gets every frame of the client's, kind, flags, stream and payload, until it
/// says that it is done.
fn serve_frames(
    settings: &'static [u8],
    act: impl Fn(&mut TcpStream, u8, u8, u32, &[u8], usize) -> bool + Send + Sync + 'static,
) -> SocketAddr {
    serve(move |mut stream, index| {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).unwrap();
        stream.write_all(&frame(4, 0, 0, settings)).unwrap();
        let mut head = [0_u8; 9];
        while stream.read_exact(&mut head).is_ok() {
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            stream.read_exact(&mut payload).unwrap();
            let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if head[3] == 4 && head[4] & 1 == 0 {
                let _ = stream.write_all(&frame(4, 1, 0, &[]));
            }
            if act(&mut stream, head[3], head[4], id, &payload, index) {
                // A socket closed with bytes unread would reset, and take from the client what it has not read either.
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
                return;
            }
        }
    })
}

/// Many requests at once: what each of them gave, in their order.
async fn fetch_all(client: &Client, at: &Endpoint, count: usize) -> Vec<(Result<Answer, Failure>, Timings)> {
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let (client, at) = (client.clone(), at.clone());
            spawn(async move { fetch(&client, &at, &Limits::default()).await })
        })
        .collect();
    let mut found = Vec::new();
    for task in tasks {
        found.push(task.join().await.unwrap());
    }
    found
}

#[test]
fn a_stream_that_fails_leaves_the_others_alone() {
    // The second, third and fourth request fail on their own; the others are answered on the same connection.
    let address = serve_two(&[], |stream, id, _| {
        let ok = frame(HEADERS, END_HEADERS, id, OK);
        let frames = match id {
            3 => vec![ok, frame(DATA, 0, id, b"o"), frame(RESET, 0, id, &[0, 0, 0, 2])],
            // A capital in a name, and a head beyond any bound.
            5 => vec![frame(HEADERS, END_HEADERS | END_STREAM, id, &[OK, b"\x00\x01X\x01y"].concat())],
            7 => {
                let field = [&b"\x00\x01x\x7f\x81\x7c"[..], &[b'y'; 16_000]].concat();
                let mut frames = vec![frame(HEADERS, 0, id, OK)];
                frames.extend((0..4).map(|_| frame(9, 0, id, &field)));
                let last = [&b"\x00\x01x\x7f\xdd\x0a"[..], &[b'y'; 1_500]].concat();
                frames.push(frame(9, END_HEADERS, id, &last));
                frames
            }
            _ => vec![ok, frame(DATA, END_STREAM, id, b"ok")],
        };
        let _ = stream.write_all(&frames.concat());
    });
    on_core(ClientSettings::default(), move |client| async move {
        let at = endpoint(address).http_version(HttpVersion::Two);
        for expected in [Ok("ok"), Err("reset"), Err("bad_framing"), Err("head_too_large"), Ok("ok"), Ok("ok")] {
            let found = fetch(&client, &at, &Limits::default()).await.0;
            let found = found.as_ref().map(|answer| std::str::from_utf8(&answer.body).unwrap());
            assert_eq!(found.map_err(|failure| failure.reason), expected);
        }
        assert_eq!((client.stats().opened, client.stats().open), (1, 1));
    });
}

#[test]
fn streams_in_flight_at_a_goaway_end_well() {
    // Five streams; the server looks at the first three, says so, answers them late and closes.
    let address = serve_frames(&[], |stream, kind, _, id, _, index| {
        let answer = |id| [frame(HEADERS, END_HEADERS, id, OK), frame(DATA, END_STREAM, id, b"ok")].concat();
        if kind != HEADERS {
            return false;
        }
        if index > 0 || id == 1 {
            stream.write_all(&answer(id)).unwrap();
        } else if id == 11 {
            let goaway = frame(GOAWAY, 0, 0, &[0, 0, 0, 7, 0, 0, 0, 0]);
            stream.write_all(&[goaway, answer(3), answer(5), answer(7)].concat()).unwrap();
            return true;
        }
        false
    });
    on_core(ClientSettings::default(), move |client| async move {
        let at = endpoint(address).http_version(HttpVersion::Two);
        assert_eq!(fetch(&client, &at, &Limits::default()).await.0.unwrap().body, "ok");
        let found = fetch_all(&client, &at, 5).await;
        let moved: Vec<_> = found.iter().map(|(_, timings)| timings.replaced).collect();
        assert_eq!(moved, [0, 0, 0, 1, 1]);
        assert!(found.into_iter().all(|(answer, _)| answer.unwrap().body == "ok"));
        assert_eq!((client.stats().opened, client.stats().open), (2, 1));
    });
}

#[test]
fn a_server_that_dies_in_error_is_told_by_its_code() {
    let address = serve_frames(&[], |stream, kind, _, _, _, _| {
        kind == HEADERS && stream.write_all(&frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 2])).is_ok()
    });
    on_core(ClientSettings::default(), move |client| async move {
        let at = endpoint(address).http_version(HttpVersion::Two);
        let failure = fetch(&client, &at, &Limits::default()).await.0.unwrap_err();
        assert_eq!((failure.reason, failure.retry_safe), ("goaway", false), "{failure}");
    });
}

#[test]
fn a_dropped_stream_is_reset_and_its_place_is_free() {
    static RESETS: std::sync::Mutex<Vec<(u32, Vec<u8>)>> = std::sync::Mutex::new(Vec::new());
    // One stream at a time; the second one hangs.
    let address = serve_frames(&[0, 3, 0, 0, 0, 1], |stream, kind, _, id, payload, _| {
        if kind == RESET {
            RESETS.lock().unwrap().push((id, payload.to_vec()));
        }
        if kind == HEADERS && id != 3 {
            let answer = [frame(HEADERS, END_HEADERS, id, OK), frame(DATA, END_STREAM, id, b"ok")].concat();
            stream.write_all(&answer).unwrap();
        }
        false
    });
    let settings = ClientSettings { connections_per_host_max: 1, ..ClientSettings::default() };
    on_core(settings, move |client| async move {
        let at = endpoint(address).http_version(HttpVersion::Two);
        assert_eq!(fetch(&client, &at, &Limits::default()).await.0.unwrap().body, "ok");
        let (first, first_at) = (client.clone(), at.clone());
        let hung = spawn(async move { fetch(&first, &first_at, &Limits::default()).await.1 });
        let (second, second_at) = (client.clone(), at.clone());
        let waiting = spawn(async move { fetch(&second, &second_at, &Limits::default()).await.0 });
        while client.stats().waiting == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(client.stats().streams, 1);
        hung.cancel().await;
        assert_eq!(waiting.join().await.unwrap().unwrap().body, "ok");
        let stats = client.stats();
        assert_eq!((stats.open, stats.opened, stats.streams), (1, 1, 0), "{stats:?}");
    });
    assert_eq!(*RESETS.lock().unwrap(), [(3, vec![0, 0, 0, 8])]);
}

#[test]
fn big_bodies_share_a_connection_within_its_windows() {
    const BODY: usize = 3 << 20;
    // Pieces of all streams in turn, some of them padded, as far as the client gave room: what a sender must keep count of.
    let address = serve(|mut stream, _| {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).unwrap();
        stream.write_all(&frame(4, 0, 0, &[])).unwrap();
        let (mut room, mut initial) = (65_535_i64, 65_535_i64);
        let mut streams: Vec<(u32, i64, usize)> = Vec::new();
        let mut head = [0_u8; 9];
        loop {
            let ready = streams.iter_mut().filter(|(_, window, sent)| *window > 16_000 && *sent < BODY);
            if let Some((id, window, sent)) = ready.min_by_key(|(_, _, sent)| *sent).filter(|_| room > 16_000) {
                let count = (BODY - *sent).min(15_000);
                let body: Vec<u8> = (*sent..*sent + count).map(|at| (at % 251) as u8).collect();
                let end = if *sent + count == BODY { END_STREAM } else { 0 };
                let data = if *sent % 2 == 0 {
                    frame(DATA, end, *id, &body)
                } else {
                    frame(DATA, end | 8, *id, &[&[9][..], &body, &[0; 9]].concat())
                };
                *sent += count;
                *window -= data.len() as i64 - 9;
                room -= data.len() as i64 - 9;
                stream.write_all(&data).unwrap();
                continue;
            }
            if stream.read_exact(&mut head).is_err() {
                return;
            }
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            stream.read_exact(&mut payload).unwrap();
            let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match head[3] {
                HEADERS => {
                    streams.push((id, initial, 0));
                    stream.write_all(&frame(HEADERS, END_HEADERS, id, OK)).unwrap();
                }
                4 if head[4] & 1 == 0 => {
                    let window = payload.chunks(6).find(|pair| pair[..2] == [0, 4]).unwrap();
                    initial = i64::from(u32::from_be_bytes(window[2..6].try_into().unwrap()));
                }
                8 => {
                    let more = i64::from(u32::from_be_bytes(payload[..4].try_into().unwrap()));
                    match streams.iter_mut().find(|(known, ..)| *known == id) {
                        Some((_, window, _)) => *window += more,
                        None => room += more,
                    }
                }
                _ => {}
            }
        }
    });
    on_core(ClientSettings::default(), move |client| async move {
        let at = endpoint(address).http_version(HttpVersion::Two);
        for (answer, timings) in fetch_all(&client, &at, 6).await {
            let body = answer.unwrap().body;
            assert!(body.len() == BODY && body.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8));
            assert_eq!(timings.bytes_in, BODY as u64);
        }
        assert_eq!(client.stats().opened, 1);
    });
}

#[test]
fn a_big_request_waits_for_the_servers_windows() {
    // The server gives room of 10,000 bytes at a time once its settings have come, and answers with what it got.
    let address = serve_frames(&[0, 4, 0, 0, 0x27, 0x10], |stream, kind, flags, id, payload, _| {
        static GOT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let order = std::sync::atomic::Ordering::SeqCst;
        if kind != DATA {
            return false;
        }
        assert!(payload.iter().all(|byte| *byte == b'x'));
        let got = GOT.fetch_add(payload.len(), order) + payload.len();
        let more = (payload.len() as u32).to_be_bytes();
        let mut frames = vec![frame(8, 0, 0, &more)];
        if flags & END_STREAM != 0 {
            frames.push(frame(HEADERS, END_HEADERS, id, OK));
            frames.push(frame(DATA, END_STREAM, id, got.to_string().as_bytes()));
        } else {
            frames.push(frame(8, 0, id, &more));
        }
        stream.write_all(&frames.concat()).unwrap();
        false
    });
    on_core(ClientSettings::default(), move |client| async move {
        let at = endpoint(address).http_version(HttpVersion::Two);
        assert_eq!(fetch_post(&client, &at, 1_000_000).await.unwrap().body, "1000000");
    });
}

async fn fetch_post(client: &Client, endpoint: &Endpoint, bytes: usize) -> Result<Answer, Failure> {
    let mut timings = Timings::default();
    let deadline = Deadline::after(Mono::now(), Duration::from_secs(20));
    let request = Request::post("/t", vec![b'x'; bytes]);
    let answer = client.exchange(endpoint, &request, &Limits::default(), deadline, &mut timings).await;
    assert_eq!(timings.bytes_out, bytes as u64);
    answer
}

#[test]
fn each_phase_of_a_stream_has_its_limit() {
    let short = Duration::from_millis(80);
    let check = |limits: Limits, deadline: Duration, body: &'static [u8], phase: Phase, reason: &str| {
        let address = serve_two(&[], move |stream, id, _| {
            if !body.is_empty() {
                let _ = stream.write_all(&[frame(HEADERS, END_HEADERS, id, OK), frame(DATA, 0, id, body)].concat());
            }
        });
        let failure = on_core(ClientSettings::default(), move |client| async move {
            let at = endpoint(address).http_version(HttpVersion::Two);
            let deadline = Deadline::after(Mono::now(), deadline);
            let mut timings = Timings::default();
            let got = client.exchange(&at, &Request::get("/"), &limits, deadline, &mut timings).await;
            assert_eq!((client.stats().open, client.stats().streams), (1, 0), "the stream alone was given up");
            got.unwrap_err()
        });
        assert_eq!((failure.phase, failure.reason, failure.retry_safe), (phase, reason, false), "{failure}");
    };
    let (long, plain) = (Duration::from_secs(20), Limits::default());
    check(Limits { first_byte: short, ..plain }, long, b"", Phase::FirstByte, "first_byte_timeout");
    check(plain, short, b"", Phase::Deadline, "deadline");
    check(plain, short, b"x", Phase::Deadline, "deadline");
    check(Limits { body: short, ..plain }, long, b"x", Phase::Body, "body_timeout");
    let slow = Limits { throughput_span: short, throughput_bytes_min: 1_000, ..plain };
    check(slow, long, b"x", Phase::Body, "body_too_slow");
    check(Limits { body_bytes_max: 3, ..plain }, long, b"four", Phase::Body, "body_too_large");
}

#[test]
fn a_silent_shared_connection_is_given_up_after_a_ping() {
    let address = serve(|mut stream, _| {
        // Greets, and then reads without ever answering.
        let _ = stream.write_all(&frame(4, 0, 0, &[]));
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let settings = ClientSettings {
        h2_ping_interval: Duration::from_millis(50),
        h2_ping_timeout: Duration::from_millis(50),
        ..ClientSettings::default()
    };
    on_core(settings, move |client| async move {
        let at = endpoint(address).http_version(HttpVersion::Two);
        let start = Mono::now();
        let failure = fetch(&client, &at, &Limits::default()).await.0.unwrap_err();
        assert!(!failure.retry_safe && Mono::now().since(start) < Duration::from_secs(10), "{failure}");
        assert_eq!(client.stats().open, 0);
    });
}

#[test]
fn a_sleeping_connection_wakes_and_notices_its_end() {
    static END: Barrier = Barrier::new(2);
    let address = serve(move |mut stream, index| {
        for _ in 0..2 {
            read_head(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
        if index == 0 {
            END.wait();
        }
    });
    on_core(ClientSettings::default(), move |client| async move {
        let at = endpoint(address);
        for _ in 0..2 {
            assert_eq!(fetch(&client, &at, &Limits::default()).await.0.unwrap().body, "ok");
            client.0.pool.sweep(Mono::now() + Duration::from_secs(1));
        }
        assert_eq!((client.stats().opened, client.stats().idle), (1, 1));
        END.wait();
        let patience = Mono::now() + Duration::from_secs(5);
        while client.stats().open > 0 {
            assert!(Mono::now() < patience, "{:?}", client.stats());
            sleep(Duration::from_millis(20)).await;
        }
    });
}
