//! A run under a service manager and a health check: what it tells over the notification socket, and when; what
//! `tidegate health` says of it. A shard is held still through ptrace, as a hang would.
#![allow(unsafe_code)]

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate");
/// What anything here may take on a host that has other work.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_run_tells_its_start_its_life_and_its_end() {
    let mut run = Run::start("life", &[("WATCHDOG_USEC", "1500000")]);
    assert_eq!(run.next("READY=1"), "READY=1", "something else came first");
    // Three signs of life, each with a line for people.
    for _ in 0..3 {
        assert_eq!(run.next("WATCHDOG=1"), "WATCHDOG=1");
    }
    assert!(run.statuses.iter().any(|line| line.contains("requests/s")), "{:?}", run.statuses);
    let live = run.health(&[]);
    assert_eq!((live.status.code(), text(&live.stdout)), (Some(0), "live\n".to_owned()), "{live:?}");
    let ready = run.until_health(&["--ready"], 0);
    assert_eq!(text(&ready.stdout), "ready\n");
    run.signal(libc::SIGTERM);
    assert_eq!(run.next("STOPPING=1"), "STOPPING=1");
    assert!(run.process.wait().unwrap().success());
    let gone = run.health(&[]);
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    let told = text(&gone.stderr);
    assert!(
        told.contains("no answer from the admin server at 127.0.0.1:") && told.contains("does the engine run?"),
        "{told}"
    );
}

#[test]
fn without_a_watchdog_no_sign_of_life_is_sent() {
    let mut run = Run::start("plain", &[]);
    assert_eq!(run.next("READY=1"), "READY=1");
    run.signal(libc::SIGTERM);
    assert_eq!(run.next("STOPPING=1"), "STOPPING=1", "a sign of life that nobody asked for");
}

#[test]
fn a_shard_that_hangs_gives_no_sign_of_life() {
    let mut run = Run::start("hang", &[("WATCHDOG_USEC", "1500000")]);
    assert_eq!(run.next("READY=1"), "READY=1");
    let Some(held) = Held::threads(run.process.id(), "shard-0") else { return };
    let dead = run.until_health(&[], 1);
    assert!(text(&dead.stdout).starts_with("not live: shard-0: no sign of life for "), "{dead:?}");
    run.drain();
    // Notices go on to be sent, and none of them is a sign of life.
    let before = run.statuses.len();
    while run.statuses.len() < before + 4 {
        assert!(!run.notice().contains("WATCHDOG=1"), "a sign of life of a run whose shard hangs");
    }
    assert!(run.statuses.last().unwrap().contains("shard-0: no sign of life"), "{:?}", run.statuses.last());
    drop(held);
    assert_eq!(run.next("WATCHDOG=1"), "WATCHDOG=1");
    run.until_health(&[], 0);
}

#[test]
fn a_health_check_says_what_it_needs() {
    let check = |arguments: &[&str], variables: &[(&str, &str)], status: i32, part: &str| {
        let output = Command::new(PROGRAM)
            .arg("health")
            .args(arguments)
            .envs(variables.iter().copied())
            .current_dir(std::env::temp_dir())
            .output()
            .unwrap();
        let told = text(&output.stderr);
        assert!(output.status.code() == Some(status) && told.contains(part), "{arguments:?}: {output:?}");
    };
    check(&[], &[("INGESTION_ADMIN__ENABLED", "false")], 2, "expected admin.enabled = true");
    check(&[], &[("INGESTION_ADMIN__LISTEN", "127.0.0.1:0")], 2, "expected the port in --address");
    check(&["--address", "nowhere"], &[], 2, "invalid");
    // Somebody else's server, and one that never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    check(&["--address", &address, "--timeout", "300ms"], &[], 1, "none within 300ms");
    let other = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1_024]).unwrap();
            stream.write_all(b"220 mail.example.com ESMTP\r\n").unwrap();
        }
    });
    check(&["--address", &address], &[], 1, "expected an HTTP/1.1 answer");
    other.join().unwrap();
}

/// The program, started as a service manager does.
struct Run {
    process: Child,
    manager: UnixDatagram,
    folder: PathBuf,
    admin: String,
    /// The lines for people so far.
    statuses: Vec<String>,
}

impl Run {
    fn start(name: &str, variables: &[(&str, &str)]) -> Run {
        let folder = std::env::temp_dir().join(format!("tidegate-service-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let socket = folder.join("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        manager.set_read_timeout(Some(LIMIT)).unwrap();
        let mut process = Command::new(PROGRAM)
            .args(["run", "--for", "120s"])
            .env("INGESTION_ADMIN__LISTEN", "127.0.0.1:0")
            .env("NOTIFY_SOCKET", &socket)
            .envs(variables.iter().copied())
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut admin = String::new();
        let mut line = String::new();
        while admin.is_empty() && log.read_line(&mut line).unwrap() > 0 {
            if let Some((_, rest)) = line.split_once("the admin server listens address=") {
                admin = rest.trim().to_owned();
            }
            line.clear();
        }
        assert!(!admin.is_empty(), "the run ended before it listened");
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Run { process, manager, folder, admin, statuses: Vec::new() }
    }

    /// The next notice; its line for people is kept.
    fn notice(&mut self) -> String {
        let mut buffer = [0; 4_096];
        let len = self.manager.recv(&mut buffer).expect("no notice came");
        let notice = text(&buffer[..len]);
        self.statuses.extend(notice.lines().filter_map(|line| line.strip_prefix("STATUS=")).map(str::to_owned));
        notice
    }

    /// The next field that is no line for people: `wanted`, or what came instead.
    fn next(&mut self, wanted: &str) -> String {
        // Signs of life come at any time, also before the end is told.
        let until = Instant::now() + LIMIT;
        loop {
            let notice = self.notice();
            let fields = notice.lines().filter(|line| !line.starts_with("STATUS="));
            for field in fields {
                if field == wanted || field != "WATCHDOG=1" || wanted == "READY=1" {
                    return field.to_owned();
                }
            }
            assert!(Instant::now() < until, "{wanted} did not come");
        }
    }

    /// Forgets the notices that have come.
    fn drain(&mut self) {
        self.manager.set_nonblocking(true).unwrap();
        let mut buffer = [0; 4_096];
        while self.manager.recv(&mut buffer).is_ok() {}
        self.manager.set_nonblocking(false).unwrap();
    }

    fn health(&self, arguments: &[&str]) -> Output {
        let command = &mut Command::new(PROGRAM);
        command.args(["health", "--timeout", "20s", "--address", &self.admin]).args(arguments);
        command.current_dir(&self.folder).output().unwrap()
    }

    /// Asks until the exit status is this one.
    fn until_health(&self, arguments: &[&str], status: i32) -> Output {
        let until = Instant::now() + LIMIT;
        loop {
            let output = self.health(arguments);
            if output.status.code() == Some(status) {
                return output;
            }
            assert!(Instant::now() < until, "{output:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn signal(&self, signal: i32) {
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(self.process.id() as i32, signal) };
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Threads of a child that are held still until this is dropped, on the thread that made it.
struct Held(Vec<i32>);

impl Held {
    /// All that have this name: a core and its helper, which has the name from it.
    fn threads(process: u32, name: &str) -> Option<Held> {
        let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
        let named = threads.filter(|thread| {
            std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        });
        let ids: Vec<i32> = named.map(|thread| thread.file_name().to_str().unwrap().parse().unwrap()).collect();
        assert!(!ids.is_empty(), "no thread is called {name}");
        let mut held = Held(Vec::new());
        for id in ids {
            let null = std::ptr::null_mut::<libc::c_void>();
            // SAFETY: ptrace of a child; seizing does not stop it, the interruption does.
            if unsafe { libc::ptrace(libc::PTRACE_SEIZE, id, null, null) } != 0 {
                eprintln!("skipped: ptrace is refused here: {}", std::io::Error::last_os_error());
                return None;
            }
            held.0.push(id);
            // SAFETY: the thread has been seized.
            assert_eq!(unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, id, null, null) }, 0);
            let mut status = 0;
            // SAFETY: waits for the stop just asked for; `status` outlives the call.
            assert_eq!(unsafe { libc::waitpid(id, &raw mut status, libc::__WALL) }, id);
            assert!(libc::WIFSTOPPED(status));
        }
        Some(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for id in &self.0 {
            let null = std::ptr::null_mut::<libc::c_void>();
            // SAFETY: ends what `threads` began.
            unsafe { libc::ptrace(libc::PTRACE_DETACH, *id, null, null) };
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
