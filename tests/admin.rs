//! The admin server of the program: what it answers, whom it refuses, and that nothing a client does hurts it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

#[test]
fn a_run_tells_of_itself() {
    let engine = Engine::start("tells", &[]);
    assert!(engine.started_within < Duration::from_secs(30), "{:?}", engine.started_within);
    assert_eq!(engine.get("/livez").status, 200);
    let ready = engine.until("/readyz", |answer| answer.status == 200);
    assert_eq!((&ready.json()["ready"], &ready.json()["reasons"]), (&Value::Bool(true), &Value::Array(Vec::new())));
    let status = engine.until("/status", |answer| answer.json()["records"]["delivered"].as_u64() > Some(50)).json();
    assert_eq!(status["admin"].as_str().unwrap(), engine.address.to_string());
    assert_eq!(status["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(status["sources"].as_object().unwrap().len(), tidegate::source::SOURCES.len());
    let names: Vec<&str> =
        status["cores"].as_array().unwrap().iter().map(|core| core["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"shard-0") && names.contains(&"sink") && names.contains(&"control"), "{names:?}");
    engine.until("/status", |answer| answer.json()["journal"]["written_seq"].as_u64() > Some(0));
    assert!(status["data"].as_array().unwrap().iter().any(|age| age["record_age_ms"].is_u64()));
    let parsed: tidegate::Snapshot = serde_json::from_value(status).expect("the status is a snapshot");
    assert!(parsed.total.stages.contains_key("buffer_wait") && parsed.total.stages.contains_key("sink_write"));
}

#[test]
fn metrics_are_clean_in_both_formats() {
    let engine = Engine::start("metrics", &[]);
    engine.until("/status", |answer| answer.json()["records"]["delivered"].as_u64() > Some(50));
    let plain = engine.get("/metrics");
    assert_eq!((plain.status, plain.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    let open = engine.ask("GET", "/metrics", &[("Accept", "application/openmetrics-text;version=1.0.0")], "");
    assert!(open.header("content-type").starts_with("application/openmetrics-text") && open.body.ends_with("# EOF\n"));
    let Ok(mut promtool) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        eprintln!("skipped: promtool is not installed (Debian's prometheus)");
        return;
    };
    promtool.stdin.take().unwrap().write_all(plain.body.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    assert!(checked.status.success() && checked.stdout.is_empty() && checked.stderr.is_empty(), "{checked:?}");
}

#[test]
fn a_breaker_is_forced_and_let_go() {
    let engine = Engine::start("breakers", &[]);
    let breaker = |state: &str| {
        engine.until("/status", |answer| answer.json()["sources"]["kraken"]["breaker"] == state);
    };
    for body in ["forced_open", "state=disabled", "{\"state\":\"closed\"}", "forced_open"] {
        let forced = engine.ask("POST", "/breakers/kraken", &[], body);
        assert_eq!(forced.status, 200, "{forced:?}");
        breaker(forced.json()["state"].as_str().unwrap());
    }
    assert_eq!(engine.ask("POST", "/breakers/kraken", &[], "auto").status, 200);
    breaker("closed");
    let check = |method: &str, path: &str, body: &str, status: u16, part: &str| {
        let answer = engine.ask(method, path, &[], body);
        assert!(answer.status == status && answer.body.contains(part), "{answer:?}");
    };
    check("POST", "/breakers/kraken", "open", 400, "expected forced_open");
    check("POST", "/breakers/nobody", "auto", 404, "expected a configured source");
    check("POST", "/breakers/kraken", &"x".repeat(2_000), 413, "at most");
    check("GET", "/breakers/kraken", "", 405, "POST");
    check("POST", "/status", "", 405, "GET");
    check("GET", "/nothing", "", 404, "/status");
}

#[test]
fn records_stream_to_whom_asks() {
    let engine = Engine::start("records", &[("INGESTION_ADMIN__TAP_READERS_MAX", "2")]);
    let mut all = engine.events("");
    let mut some = engine.events("?source=kraken,okx&kind=ticker");
    let record = all.next_record();
    assert!(
        record["seq"].as_u64() > Some(0) && record["ts_publish"].is_u64() && record["data"].is_object(),
        "{record}"
    );
    for _ in 0..2 {
        let record = some.next_record();
        assert!(
            ["kraken", "okx"].contains(&record["source"].as_str().unwrap()) && record["kind"] == "ticker",
            "{record}"
        );
    }
    let third = engine.get("/records");
    assert!(third.status == 503 && third.body.contains("at most 2 readers"), "{third:?}");
    assert_eq!(engine.get("/records?kind=tickr").status, 400);
    assert_eq!(engine.get("/status").json()["tap"]["readers"], 2);
    drop((all, some));
    engine.until("/status", |answer| answer.json()["tap"]["readers"] == 0);
}

#[test]
fn a_slow_reader_is_told_what_it_lost() {
    let engine = Engine::start("slow", &[("INGESTION_ADMIN__TAP_QUEUE_LEN", "1")]);
    let mut events = engine.events("");
    // An answer of several records comes at once, and there is room for one.
    while events.next_line() != "event: lost" {}
    let told: Value = serde_json::from_str(events.next_line().strip_prefix("data: ").unwrap()).unwrap();
    assert!(told["lost"].as_u64() > Some(0));
    assert!(engine.get("/status").json()["tap"]["lost"].as_u64() >= told["lost"].as_u64());
}

#[test]
fn alerts_fire_are_told_and_cease() {
    let hook = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?key=hunter2", hook.local_addr().unwrap());
    let variables = [
        ("INGESTION_ALERTS__FOR", "500ms"),
        ("INGESTION_ALERTS__WEBHOOK", url.as_str()),
        // A machine that is busy with other things is slow, and that is not looked at here.
        ("INGESTION_ALERTS__OFF", "latency_p95,latency_p99,data_stale,core_stalled,buffer_full"),
    ];
    let engine = Engine::start("alerts", &variables);
    engine.until("/readyz", |answer| answer.status == 200);
    engine.ask("POST", "/breakers/kraken", &[], "forced_open");
    let is = |state: &'static str| {
        move |answer: &Answer| {
            let status = answer.json();
            let mut alerts = status["alerts"].as_array().unwrap().iter();
            alerts
                .any(|alert| alert["rule"] == "breaker_open" && alert["subject"] == "kraken" && alert["state"] == state)
        }
    };
    engine.until("/status", is("firing"));
    // The first post fails and is made again.
    drop(hook.accept().unwrap().0);
    let posted = take_post(&hook);
    assert!(posted.0.starts_with("POST /hook?key=hunter2 HTTP/1.1"), "{posted:?}");
    assert_eq!((&posted.1["rule"], &posted.1["state"]), (&Value::from("breaker_open"), &Value::from("firing")));
    engine.until("/metrics", |answer| answer.body.contains("tidegate_alerts_firing{rule=\"breaker_open\"} 1"));
    engine.ask("POST", "/breakers/kraken", &[], "auto");
    engine.until("/status", is("resolved"));
    assert_eq!(take_post(&hook).1["state"], "resolved");
    let counted = "tidegate_alerts_fired_total{rule=\"breaker_open\"} 1";
    assert!(engine.get("/metrics").body.contains(counted));
    assert!(!engine.get("/status").body.contains("hunter2"));
    let folder = Folder::new("off");
    let refused = folder.command(&["--for", "1s"]).env("INGESTION_ALERTS__OFF", "breaker_opn").output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && told.contains("did you mean breaker_open?"), "{told}");
}

#[test]
fn the_embedded_default_raises_no_alert() {
    // Without a hold whatever is over a limit for a moment would fire. Latency depends on who else uses this machine.
    let engine = Engine::start(
        "quiet",
        &[("INGESTION_ALERTS__FOR", "0s"), ("INGESTION_ALERTS__OFF", "latency_p95,latency_p99,core_stalled")],
    );
    let status = engine.until("/status", |answer| answer.json()["uptime_ms"].as_u64() > Some(15_000)).json();
    assert_eq!(status["alerts"], Value::Array(Vec::new()));
    assert!(status["alerts_fired"].as_object().unwrap().values().all(|count| count == 0), "{status}");
    // What the plan asks for has come, so that none of it becomes stale later.
    let is_whole = |answer: &Answer| {
        let status = answer.json();
        let mut rows = status["data"].as_array().unwrap().iter();
        rows.all(|age| age["every_ms"].as_u64() > Some(10_000) || age["records"].as_u64() > Some(0))
    };
    engine.until("/status", is_whole);
}

#[test]
fn strangers_are_refused_before_anything_else() {
    let engine = Engine::start("strangers", &[]);
    let check = |method: &str, path: &str, headers: &[(&str, &str)], status: u16| {
        let answer = engine.ask(method, path, headers, "");
        assert_eq!(answer.status, status, "{method} {path} {headers:?}: {answer:?}");
    };
    for path in ["/status", "/metrics", "/livez", "/readyz", "/nothing", "/breakers/kraken"] {
        check("GET", path, &[("Host", "evil.example.com")], 403);
    }
    check("POST", "/breakers/kraken", &[("Host", "evil.example.com"), ("Content-Length", "999999")], 403);
    check("POST", "/breakers/kraken", &[("Origin", "http://evil.example.com"), ("Content-Length", "999999")], 403);
    check("POST", "/breakers/kraken", &[("Origin", "null")], 403);
    check("GET", "/status", &[("Origin", "http://evil.example.com")], 200);
    check("HEAD", "/status", &[], 200);
    assert!(engine.ask("HEAD", "/status", &[], "").body.is_empty());
}

#[test]
fn a_token_is_wanted_where_one_is_set() {
    let engine = Engine::start("token", &[("INGESTION_ADMIN__TOKEN", "0123456789abcdef")]);
    assert_eq!(engine.get("/livez").status, 200);
    // A probe learns whether, and with the token why.
    let probed = engine.get("/readyz");
    assert!(matches!(probed.status, 200 | 503) && probed.body.contains("\"reasons\":[]"), "{probed:?}");
    assert_eq!(engine.get("/status").status, 401);
    assert_eq!(engine.ask("GET", "/status", &[("Authorization", "Bearer 0123456789abcdeX")], "").status, 401);
    assert_eq!(engine.ask("GET", "/status", &[("Authorization", "Bearer 0123456789abcdef")], "").status, 200);
    let folder = Folder::new("open");
    let refused = folder.command(&["--for", "1s"]).env("INGESTION_ADMIN__LISTEN", "0.0.0.0:0").output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && told.contains("admin.token: expected a token"), "{told}");
}

#[test]
fn a_taken_port_is_one_clear_error() {
    let engine = Engine::start("holds", &[]);
    let folder = Folder::new("wants");
    let listen = engine.address.to_string();
    let refused = folder.command(&["--for", "1s"]).env("INGESTION_ADMIN__LISTEN", &listen).output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    let errors: Vec<&str> = told.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(matches!(errors[..], [error] if error.contains(&listen) && error.contains("admin.listen")), "{told}");
    let off = folder.command(&["--for", "1s"]);
    let ended = { off }.env("INGESTION_ADMIN__LISTEN", &listen).env("INGESTION_ADMIN__ENABLED", "false").output();
    assert!(ended.unwrap().status.success(), "without an admin server nobody wants the port");
}

#[test]
fn clients_that_misbehave_are_told_and_bounded() {
    let engine = Engine::start(
        "misbehave",
        &[("INGESTION_ADMIN__REQUEST_TIMEOUT", "500ms"), ("INGESTION_ADMIN__CONNECTIONS_MAX", "16")],
    );
    let raw = |bytes: &[u8]| {
        let mut stream = engine.connect();
        let _ = stream.write_all(bytes);
        Answer::read(stream)
    };
    let check = |bytes: &[u8], status: u16| {
        let answer = raw(bytes);
        assert_eq!(answer.status, status, "{:?}: {answer:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(80)]));
    };
    check(b"nonsense\r\n\r\n", 400);
    check(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400);
    check(b"GET /status HTTP/1.1\r\n\r\n", 403);
    check(b"GET /status HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 403);
    check(format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(100_000)).as_bytes(), 431);
    check(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(200)).as_bytes(), 431);
    check(format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(100_000)).as_bytes(), 431);
    // Half a request, and none at all.
    check(b"GET /status HTTP/1.1\r\nHost: local", 408);
    check(b"", 408);
    // A body that never comes.
    check(b"POST /breakers/kraken HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nauto", 408);
    // Far more connections than there is room for: whoever has waited longest gives way, and who asks is answered.
    let idle: Vec<TcpStream> = (0..1_000).map(|_| engine.connect()).collect();
    assert_eq!(engine.get("/livez").status, 200);
    let mut answers: Vec<u16> = idle.into_iter().map(|stream| Answer::read(stream).status).collect();
    answers.sort_unstable();
    answers.dedup();
    assert!(answers.iter().all(|status| [0, 408, 503].contains(status)), "{answers:?}");
    assert_eq!(engine.get("/status").status, 200);
}

/// A running program with its admin server on a port of its own.
struct Engine {
    child: Child,
    address: SocketAddr,
    started_within: Duration,
    _folder: Folder,
}

impl Engine {
    fn start(name: &str, variables: &[(&str, &str)]) -> Engine {
        let folder = Folder::new(name);
        let started = Instant::now();
        let mut command = folder.command(&["--for", "120s"]);
        command.env("INGESTION_ADMIN__LISTEN", "127.0.0.1:0").envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut address = None;
        let mut told = String::new();
        while address.is_none() {
            let before = told.len();
            assert!(log.read_line(&mut told).unwrap() > 0, "it ended without an admin server: {told}");
            address = told[before..].split_once("the admin server listens").map(|(_, rest)| {
                let rest = rest.split_once("address=").unwrap().1;
                rest.split_whitespace().next().unwrap().parse().unwrap()
            });
        }
        // What else it says must go somewhere.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Engine { child, address: address.unwrap(), started_within: started.elapsed(), _folder: folder }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = self.connect();
        let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        let has = |name: &str| headers.iter().any(|(known, _)| *known == name);
        if !has("Host") {
            text += &format!("Host: {}\r\n", self.address);
        }
        if !has("Content-Length") && !body.is_empty() {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
        text += "\r\n";
        text += body;
        stream.write_all(text.as_bytes()).unwrap();
        Answer::read(stream)
    }

    fn events(&self, query: &str) -> Events {
        let mut stream = self.connect();
        write!(stream, "GET /records{query} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address).unwrap();
        let mut events = Events(BufReader::new(stream));
        assert_eq!(events.next_line(), "HTTP/1.1 200 OK");
        while !events.next_line().is_empty() {}
        events
    }

    /// Asks until the answer is the one that is waited for.
    fn until(&self, path: &str, is_met: impl Fn(&Answer) -> bool) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path);
            if is_met(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{path}: {answer:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes one request of a webhook and answers it: its head and its body.
fn take_post(hook: &std::net::TcpListener) -> (String, Value) {
    let (stream, _) = hook.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let before = head.len();
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        let line = head[before..].trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    reader.get_mut().write_all(answer).unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

/// An open stream of events. Its lines come in chunks, whose lengths stand on lines of their own.
struct Events(BufReader<TcpStream>);

impl Events {
    fn next_line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream has ended");
        line.trim_end().to_owned()
    }

    fn next_record(&mut self) -> Value {
        loop {
            if let Some(line) = self.next_line().strip_prefix("data: ") {
                return serde_json::from_str(line).unwrap();
            }
        }
    }
}

/// What came back; status 0 when nothing did.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn read(mut stream: TcpStream) -> Answer {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> &str {
        let prefix = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A fresh folder to run the program in.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("admin-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments).current_dir(&self.0).env_clear().stdin(Stdio::null());
        command
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Far longer than anything here takes, for machines that are busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);
