//! The client against servers that nobody here wrote: nginx, haproxy and nghttpd. Each test starts its own on loopback and
//! is reported as skipped on a machine that lacks the program.
//! What they check together: no answer is ever a success with a truncated body, and what a server does in its ordinary
//! life (limits, reloads, idle closes) is no failure of a request.

use std::fmt::Write as _;
use std::fs;
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tidegate::config::HttpVersion;
use tidegate::http::{
    Client, ClientSettings, Endpoint, Failure, Limits, Protocol, ResolverHandle, Timings, TlsContext,
};
use tidegate::runtime::{Placement, launch, sleep, spawn};
use tidegate::time::{Deadline, Mono};
use tidegate::wire::{Answer, Request};

/// A server process and its folder; both end with it.
struct Server {
    child: Child,
    dir: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal("TERM");
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Server {
    /// Starts `program` and waits until it listens on every port.
    fn start(program: &str, args: &[&str], dir: PathBuf, ports: &[u16]) -> Server {
        let log = fs::File::create(dir.join("log")).unwrap();
        let mut command = Command::new(program);
        command.args(args).current_dir(&dir).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut server = Server { child, dir };
        for port in ports {
            server.await_port(*port);
        }
        server
    }

    fn await_port(&mut self, port: u16) {
        let patience = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let log = || fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(self.child.try_wait().unwrap().is_none(), "the server ended: {}", log());
            assert!(Instant::now() < patience, "the server does not listen: {}", log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, name: &str) {
        let _ = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
    }
}

/// The path of a program, or a note that the test is skipped.
fn program(name: &str) -> Option<String> {
    let found =
        ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"].iter().map(|dir| Path::new(dir).join(name));
    let path = found.into_iter().find(|path| path.exists());
    if path.is_none() {
        println!("skipped: {name} is not installed");
    }
    path.map(|path| path.to_string_lossy().into_owned())
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A folder with a certificate for `api.test` in it, and the authority that signed it.
fn folder(test: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("tidegate-servers-{}-{test}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let tls = tls();
    fs::write(dir.join("cert.pem"), &tls.certificate).unwrap();
    fs::write(dir.join("key.pem"), &tls.key).unwrap();
    fs::write(dir.join("both.pem"), format!("{}{}", tls.certificate, tls.key)).unwrap();
    // Two sizes that no read buffer holds, and one that any does.
    fs::write(dir.join("big.json"), json(1 << 20)).unwrap();
    fs::write(dir.join("small.json"), json(500)).unwrap();
    dir
}

/// A JSON array of about this many bytes, which ends in a way that only the whole has.
fn json(bytes: usize) -> String {
    let mut text = String::from("[");
    while text.len() < bytes {
        let _ = write!(text, "\"{}\",", text.len());
    }
    text.push_str("\"end\"]");
    text
}

struct Tls {
    authority: String,
    certificate: String,
    key: String,
}

fn tls() -> &'static Tls {
    static TLS: OnceLock<Tls> = OnceLock::new();
    TLS.get_or_init(|| {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).unwrap().pem();
        let issuer = rcgen::Issuer::new(params, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["api.test".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        Tls { authority, certificate, key: key.serialize_pem() }
    })
}

fn plain(port: u16) -> Endpoint {
    Endpoint::parse(&format!("http://127.0.0.1:{port}")).unwrap()
}

fn secure(port: u16) -> Endpoint {
    let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    Endpoint::parse(&format!("https://api.test:{port}")).unwrap().connect_to(vec![address])
}

fn on_core<T: Send + 'static, F: Future<Output = T>>(
    settings: ClientSettings,
    test: impl FnOnce(Client) -> F + Send + 'static,
) -> T {
    let trust = TlsContext::trusting(tls().authority.as_bytes()).unwrap();
    let core = launch("servers", Placement::Unpinned, move || async move {
        let client = Client::new(settings, &trust, ResolverHandle::system().unwrap()).unwrap();
        let result = test(client.clone()).await;
        client.close().await;
        assert_eq!(client.stats().open, 0);
        result
    });
    core.unwrap().join().unwrap()
}

async fn fetch(client: &Client, endpoint: &Endpoint, target: &str) -> (Result<Answer, Failure>, Timings) {
    let limits = Limits { body_bytes_max: 8 << 20, ..Limits::default() };
    let mut timings = Timings::default();
    let deadline = Deadline::after(Mono::now(), Duration::from_secs(30));
    (client.exchange(endpoint, &Request::get(target), &limits, deadline, &mut timings).await, timings)
}

/// The body of a success; anything else ends the test.
async fn body(client: &Client, endpoint: &Endpoint, target: &str) -> String {
    let answer = fetch(client, endpoint, target).await.0.unwrap_or_else(|failure| panic!("{target}: {failure}"));
    assert_eq!(answer.status, 200, "{target}");
    String::from_utf8(answer.body.to_vec()).unwrap()
}

/// Many requests, so many at a time: the reasons of those that failed. A success must be the whole file.
async fn load(
    client: &Client,
    endpoint: &Endpoint,
    target: &'static str,
    whole: &str,
    tasks: usize,
    each: usize,
) -> Vec<&'static str> {
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let (client, endpoint, whole) = (client.clone(), endpoint.clone(), whole.to_owned());
            spawn(async move {
                let mut failed = Vec::new();
                for _ in 0..each {
                    match fetch(&client, &endpoint, target).await.0 {
                        Ok(answer) => {
                            assert!(answer.status != 200 || answer.body == whole.as_bytes(), "a body was cut");
                            if answer.status != 200 {
                                failed.push("status");
                            }
                        }
                        Err(failure) => {
                            println!("{failure:?}");
                            failed.push(failure.reason);
                        }
                    }
                }
                failed
            })
        })
        .collect();
    let mut failed = Vec::new();
    for task in tasks {
        failed.extend(task.join().await.expect("no panic in a task"));
    }
    failed
}

/// nginx with this server block besides the ports and files that all tests share.
fn nginx(test: &str, server: &str, http: &str) -> Option<(Server, u16, u16)> {
    let program = program("nginx")?;
    let (dir, port, tls_port) = (folder(test), free_port(), free_port());
    let echo = "/usr/lib/nginx/modules/ngx_http_echo_module.so";
    let load = if Path::new(echo).exists() { format!("load_module {echo};") } else { String::new() };
    let at = dir.display();
    let config = format!(
        "{load} daemon off; worker_processes 1; pid {at}/pid; error_log {at}/error.log; events {{ worker_connections 4096; }}
        http {{ access_log off; default_type application/json; client_body_temp_path {at}/b; proxy_temp_path {at}/p;
        fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s; {http}
        server {{ listen 127.0.0.1:{port}; listen 127.0.0.1:{tls_port} ssl http2; root {at};
        ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem; {server} }} }}"
    );
    fs::write(dir.join("nginx.conf"), config).unwrap();
    let file = dir.join("nginx.conf").display().to_string();
    let error_log = dir.join("error.log").display().to_string();
    let server = Server::start(&program, &["-e", &error_log, "-c", &file], dir, &[port, tls_port]);
    Some((server, port, tls_port))
}

#[test]
fn nginx_bodies_of_every_framing_are_whole() {
    let mut flood = String::new();
    for index in 0..20 {
        let _ = write!(flood, "add_header x-{index} {}; ", "y".repeat(4_000));
    }
    let server = format!(
        "location = /empty {{ return 200 ''; }} location = /none {{ return 204; }} location = /closed {{ return 444; }}
        location = /flood {{ {flood} return 200 'ok'; }}
        location = /zipped {{ gzip on; gzip_types *; gzip_min_length 1; try_files /big.json =404; }}
        location = /moved {{ return 302 /small.json; }}
        location = /chunked {{ ssi on; ssi_types *; try_files /big.json =404; }}
        location = /to-the-end {{ ssi on; ssi_types *; chunked_transfer_encoding off; try_files /big.json =404; }}"
    );
    let Some((_server, port, tls_port)) = nginx("framing", &server, "") else { return };
    on_core(ClientSettings::default(), move |client| async move {
        let (big, small) = (json(1 << 20), json(500));
        let endpoints = [
            plain(port),
            secure(tls_port).http_version(HttpVersion::One),
            secure(tls_port),
            secure(tls_port).http_version(HttpVersion::Two),
        ];
        for (index, endpoint) in endpoints.iter().enumerate() {
            for _ in 0..2 {
                assert!(body(&client, endpoint, "/big.json").await == big);
                assert!(body(&client, endpoint, "/small.json").await == small);
                assert!(body(&client, endpoint, "/chunked").await == big);
                assert!(body(&client, endpoint, "/to-the-end").await == big);
                assert!(body(&client, endpoint, "/zipped").await == big);
                assert_eq!(body(&client, endpoint, "/empty").await, "");
                for (target, status) in [("/none", 204), ("/missing", 404), ("/moved", 302)] {
                    assert_eq!(fetch(&client, endpoint, target).await.0.unwrap().status, status);
                }
            }
            let (answer, timings) = fetch(&client, endpoint, "/small.json").await;
            assert_eq!(timings.protocol, if index < 2 { Protocol::One } else { Protocol::Two });
            assert!(answer.is_ok() && timings.reused);
            let failure = fetch(&client, endpoint, "/flood").await.0.unwrap_err();
            assert!(["head_too_large", "bad_framing", "reset"].contains(&failure.reason), "{failure}");
            let failure = fetch(&client, endpoint, "/closed").await.0.unwrap_err();
            assert!(["closed_early", "reset", "bad_framing"].contains(&failure.reason), "{failure}");
            assert!(!failure.retry_safe, "{failure}");
        }
    });
}

#[test]
fn nginx_keepalive_limits_are_no_failures() {
    let http = "keepalive_requests 30; keepalive_timeout 1s;";
    let Some((_server, port, tls_port)) = nginx("keepalive", "http2_max_concurrent_streams 8;", http) else { return };
    on_core(ClientSettings::default(), move |client| async move {
        let small = json(500);
        for endpoint in [plain(port), secure(tls_port).http_version(HttpVersion::One), secure(tls_port)] {
            let failed = load(&client, &endpoint, "/small.json", &small, 20, 20).await;
            assert!(failed.is_empty(), "{endpoint}: {failed:?}");
        }
        // Idle for just as long as the server keeps a connection: it closes while the next request is on its way.
        for endpoint in [plain(port), secure(tls_port).http_version(HttpVersion::One), secure(tls_port)] {
            for pause in [990, 1_000, 1_010] {
                let failed = load(&client, &endpoint, "/small.json", &small, 8, 1).await;
                assert!(failed.is_empty(), "{endpoint}: {failed:?}");
                sleep(Duration::from_millis(pause)).await;
            }
        }
    });
}

#[test]
fn nginx_stream_limits_are_kept() {
    let server = "http2_max_concurrent_streams 8; location = /slow { limit_rate 20k; try_files /small.json =404; }";
    let Some((_server, _, tls_port)) = nginx("streams", server, "") else { return };
    let settings = ClientSettings { connections_per_host_max: 3, ..ClientSettings::default() };
    on_core(settings, move |client| async move {
        let (small, endpoint) = (json(500), secure(tls_port));
        // Eight fit on one connection; the next ones need a second and a third, and the rest waits in line.
        for (tasks, connections) in [(1, 1), (8, 1), (9, 2), (60, 3)] {
            let failed = load(&client, &endpoint, "/slow", &small, tasks, 5).await;
            assert!(failed.is_empty(), "{failed:?}");
            let stats = client.stats();
            assert_eq!((stats.open, stats.streams), (connections, 0), "{tasks} tasks: {stats:?}");
        }
    });
}

#[test]
fn nginx_reloads_are_no_failures() {
    let Some((server, port, tls_port)) = nginx("reload", "", "") else { return };
    let reloads = std::thread::spawn(move || {
        for _ in 0..6 {
            std::thread::sleep(Duration::from_millis(150));
            server.signal("HUP");
        }
        server
    });
    on_core(ClientSettings::default(), move |client| async move {
        let big = json(1 << 20);
        let patience = Mono::now() + Duration::from_millis(1_200);
        while Mono::now() < patience {
            for endpoint in [plain(port), secure(tls_port).http_version(HttpVersion::One), secure(tls_port)] {
                let failed = load(&client, &endpoint, "/big.json", &big, 6, 3).await;
                assert!(failed.is_empty(), "{endpoint}: {failed:?}");
            }
        }
    });
    reloads.join().unwrap();
}

#[test]
fn nginx_killed_in_mid_load_cuts_no_body_and_is_found_again() {
    let server = "location = /slow { limit_rate 2m; try_files /big.json =404; }";
    let Some((mut server, port, tls_port)) = nginx("restart", server, "") else { return };
    let file = server.dir.join("nginx.conf").display().to_string();
    let log = server.dir.join("error.log").display().to_string();
    let program = program("nginx").unwrap();
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let restarts = std::thread::spawn(move || {
        while told.recv().is_ok() {
            std::thread::sleep(Duration::from_millis(200));
            // The worker has the connections, and the master would start another one.
            let workers = Command::new("pgrep").args(["-P", &server.child.id().to_string()]).output().unwrap();
            server.signal("KILL");
            server.child.wait().unwrap();
            for worker in String::from_utf8(workers.stdout).unwrap().split_whitespace() {
                let _ = Command::new("kill").args(["-KILL", worker]).status();
            }
            server.child = Command::new(&program).args(["-e", &log, "-c", &file]).spawn().unwrap();
            server.await_port(port);
        }
        server
    });
    on_core(ClientSettings::default(), move |client| async move {
        let (big, small) = (json(1 << 20), json(500));
        for endpoint in [plain(port), secure(tls_port).http_version(HttpVersion::One), secure(tls_port)] {
            tell.send(()).unwrap();
            let failed = load(&client, &endpoint, "/slow", &big, 8, 1).await;
            assert!(!failed.is_empty(), "{endpoint}: the server was killed under its answers");
            let patience = Mono::now() + Duration::from_secs(10);
            while fetch(&client, &endpoint, "/small.json").await.0.is_err() {
                assert!(Mono::now() < patience, "{endpoint}: not found again");
                sleep(Duration::from_millis(10)).await;
            }
            let failed = load(&client, &endpoint, "/small.json", &small, 8, 5).await;
            assert!(failed.is_empty(), "{endpoint}: {failed:?}");
        }
    });
    restarts.join().unwrap();
}

/// haproxy before a backend of raw bytes: `answer` is what the backend says to every request before it closes.
fn haproxy(test: &str, answer: &'static str) -> Option<(Server, u16, u16)> {
    let program = program("haproxy")?;
    let backend = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let backend_port = backend.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in backend.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                    head.push(byte[0]);
                }
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    let (dir, port, tls_port) = (folder(test), free_port(), free_port());
    let at = dir.display();
    let config = format!(
        "global\n  maxconn 4000\n  stats socket {at}/stats\ndefaults\n  mode http\n  timeout connect 2s\n  timeout client 10s\n  timeout server 10s\n  timeout http-keep-alive 100ms\nfrontend f\n  bind 127.0.0.1:{port}\n  bind 127.0.0.1:{tls_port} ssl crt {at}/both.pem alpn h2,http/1.1\n  http-request return status 200 content-type application/json file {at}/small.json if {{ path /small.json }}\n  http-request deny deny_status 429 if {{ path /limited }}\n  default_backend b\nbackend b\n  server s 127.0.0.1:{backend_port}\n"
    );
    fs::write(dir.join("haproxy.cfg"), config).unwrap();
    let file = dir.join("haproxy.cfg").display().to_string();
    Some((Server::start(&program, &["-db", "-f", &file], dir, &[port, tls_port]), port, tls_port))
}

#[test]
fn haproxy_passes_on_what_backends_do() {
    let check = |test: &'static str,
                 answer: &'static str,
                 expected: Result<(u16, &'static str), &'static [&'static str]>| {
        let Some((_server, port, tls_port)) = haproxy(test, answer) else { return };
        on_core(ClientSettings::default(), move |client| async move {
            let mut endpoints = vec![plain(port), secure(tls_port).http_version(HttpVersion::One), secure(tls_port)];
            // haproxy 2.6 ends the stream of such an answer as if it were whole: nothing on the wire tells.
            endpoints.truncate(if test == "unended" { 2 } else { 3 });
            for endpoint in endpoints {
                match (fetch(&client, &endpoint, "/backend").await.0, expected) {
                    (Ok(found), Ok((status, body))) => {
                        assert_eq!(found.status, status, "{endpoint} {answer}");
                        assert!(status != 200 || found.body == body.as_bytes(), "{endpoint} {answer}");
                    }
                    // Towards HTTP/2 it says that it passed nothing on, where it can.
                    (Err(failure), Ok((502, _))) => assert_eq!(failure.reason, "stream_refused"),
                    (Err(failure), Err(reasons)) => {
                        assert!(reasons.contains(&failure.reason), "{endpoint} {answer}: {failure}");
                    }
                    (found, expected) => panic!("{endpoint} {answer}: expected {expected:?}, found {found:?}"),
                }
            }
        });
    };
    check(
        "hints",
        "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        Ok((200, "ok")),
    );
    check(
        "trailers",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n",
        Ok((200, "ok")),
    );
    check("closing", "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nto the end", Ok((200, "to the end")));
    check("lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok", Ok((502, "")));
    check("nothing", "", Ok((502, "")));
    check("short", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", Err(&["closed_early", "reset", "bad_framing"]));
    check(
        "unended",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        Err(&["closed_early", "reset", "bad_framing"]),
    );
}

#[test]
fn haproxy_idle_closes_and_limits_are_no_failures() {
    let Some((_server, port, tls_port)) = haproxy("idle", "") else { return };
    on_core(ClientSettings::default(), move |client| async move {
        let small = json(500);
        for endpoint in [plain(port), secure(tls_port).http_version(HttpVersion::One), secure(tls_port)] {
            for pause in [90, 100, 101, 110] {
                let failed = load(&client, &endpoint, "/small.json", &small, 8, 3).await;
                assert!(failed.is_empty(), "{endpoint}: {failed:?}");
                sleep(Duration::from_millis(pause)).await;
            }
            assert_eq!(fetch(&client, &endpoint, "/limited").await.0.unwrap().status, 429);
        }
    });
}

#[test]
fn nghttpd_streams_and_trailers() {
    let Some(program) = program("nghttpd") else { return };
    let (dir, tls_port, port) = (folder("nghttpd"), free_port(), free_port());
    let other = folder("nghttpd-plain");
    let (tls_text, text) = (tls_port.to_string(), port.to_string());
    let common = ["-m", "4", "--trailer", "x-sum: 1"];
    let args = [&common[..], &[tls_text.as_str(), "key.pem", "cert.pem"]].concat();
    let _secure = Server::start(&program, &args, dir, &[tls_port]);
    let args = [&common[..], &["--no-tls", text.as_str()]].concat();
    let _plain = Server::start(&program, &args, other, &[port]);
    let settings = ClientSettings { connections_per_host_max: 2, ..ClientSettings::default() };
    on_core(settings, move |client| async move {
        let (big, small) = (json(1 << 20), json(500));
        for endpoint in [secure(tls_port), plain(port).http_version(HttpVersion::Two)] {
            let before = client.stats().opened;
            let failed = load(&client, &endpoint, "/small.json", &small, 1, 30).await;
            assert!(failed.is_empty(), "{endpoint}: {failed:?}");
            assert_eq!(client.stats().opened, before + 1);
            let failed = load(&client, &endpoint, "/big.json", &big, 20, 3).await;
            assert!(failed.is_empty(), "{endpoint}: {failed:?}");
            assert_eq!(client.stats().opened, before + 2);
            assert_eq!(fetch(&client, &endpoint, "/missing").await.0.unwrap().status, 404);
        }
    });
}
