//! What tests of the whole program share: a fresh folder, a running engine with its admin server, and an endpoint that
//! takes POST requests and misbehaves as told. Everything is on loopback and on ports that the system chooses.

// Each test program uses its own part of this.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate::sim::{Sim, SimSettings};

/// How long a condition may take on a machine that others use, too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A fresh folder to run the program in.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// The program, in this folder and without the environment of the test.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments).current_dir(&self.0).env_clear().stdin(Stdio::null());
        command.env("INGESTION_ADMIN__LISTEN", "127.0.0.1:0");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.0.join(name)).unwrap()).unwrap()
    }

    /// The numbers of all records in the journal, as the program prints them.
    pub fn seqs(&self) -> Vec<u64> {
        let printed = self.run(&["cat", "--data", "data"]);
        assert!(printed.status.success(), "{printed:?}");
        std::str::from_utf8(&printed.stdout).unwrap().lines().filter_map(seq_of).collect()
    }

    /// Holds the journal sound and its numbers without gap or repeat; gives the last.
    pub fn check_journal(&self) -> u64 {
        let verified = self.run(&["verify", "--data", "data"]);
        assert!(verified.status.success(), "{verified:?}");
        let seqs = self.seqs();
        assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "the numbers have gaps or repeats");
        seqs.len() as u64
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// A simulator of all providers in this process.
pub fn simulator() -> Sim {
    tidegate::runtime::preflight().unwrap();
    let listen = ([127, 0, 0, 1], 0).into();
    let placement = tidegate::runtime::Placement::Unpinned;
    Sim::start(SimSettings { listen, placement, plain: true, recordings: None }).unwrap()
}

/// A running engine with its admin server.
pub struct Engine {
    child: Child,
    pub address: SocketAddr,
    log: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Engine {
    pub fn start(mut command: Command) -> Engine {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stream = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let (tell, told) = channel();
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|count| count > 0) {
                if let Some((_, rest)) = line.split_once("the admin server listens address=") {
                    let _ = tell.send(rest.split_whitespace().next().unwrap_or_default().to_owned());
                }
                kept.lock().unwrap_or_else(PoisonError::into_inner).push_str(&line);
                line.clear();
            }
        });
        let Ok(address) = told.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("no admin server: {}", log.lock().unwrap());
        };
        Engine { child, address: address.parse().unwrap(), log, reader: Some(reader) }
    }

    /// Everything on standard error so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }

    pub fn status(&self) -> Value {
        let text = self.get("/status");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Asks for the status until it is the one that is waited for.
    pub fn until(&self, what: &str, is_met: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if is_met(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{what} never came: {status:#}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// The value of one line of `/metrics`.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Ends it in order; gives its log.
    pub fn stop(mut self) -> (ExitStatus, String) {
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        (status, self.log())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What an endpoint does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Says nothing until the peer gives up.
    Hang,
    /// Resets the connection.
    Reset,
    /// Answers with this status and this body.
    Say(u16, &'static str),
}

/// Takes the batch.
pub const FINE: Reply = Reply::Say(200, "");

/// An endpoint on loopback. Bound and not listening it is down: connections are refused, and the port is nobody else's.
pub struct Endpoint {
    pub address: SocketAddr,
    socket: socket2::Socket,
}

impl Endpoint {
    pub fn down() -> Endpoint {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Endpoint { address, socket }
    }

    /// Begins to answer; the bodies that were answered with a 2xx come out of the receiver.
    pub fn up(self, reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Receiver<String> {
        self.socket.listen(128).unwrap();
        let listener = TcpListener::from(self.socket);
        let (tell, taken) = channel();
        let reply = Arc::new(reply);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tell, reply) = (tell.clone(), Arc::clone(&reply));
                std::thread::spawn(move || connection(stream, &tell, &*reply));
            }
        });
        taken
    }
}

/// A peer that goes away in the middle ends its connection alone.
fn connection(mut stream: TcpStream, tell: &Sender<String>, reply: &dyn Fn(&str) -> Reply) -> Option<()> {
    let mut input = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if input.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        head.make_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        input.read_exact(&mut body).ok()?;
        let body = String::from_utf8_lossy(&body).into_owned();
        match reply(&body) {
            Reply::Hang => return input.read_to_end(&mut Vec::new()).ok().map(|_| ()),
            Reply::Reset => return socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).ok(),
            Reply::Say(status, said) => {
                if status < 300 {
                    let _ = tell.send(body);
                }
                write!(stream, "HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{said}", said.len()).ok()?;
            }
        }
    }
}

/// The number of a record's line.
pub fn seq_of(line: &str) -> Option<u64> {
    line.strip_prefix("{\"seq\":")?.split(',').next()?.parse().ok()
}
