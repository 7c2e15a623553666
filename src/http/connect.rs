//! Opening a connection: the name, the race of its addresses, a proxy's tunnel, TLS, and which protocol came of it.
//! Keeps the failure memory of addresses. Owns no pool: every call makes one connection or tells why not.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures_lite::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};

use crate::config::HttpVersion;
use crate::http::alarm::{Alarm, Alarms};
use crate::http::endpoint::{PoolKey, Proxy};
use crate::http::failure::{self, Failure, Phase};
use crate::http::io::{Stream, adopt};
use crate::http::limits::{Limits, Protocol, Timings};
use crate::http::resolver::Names;
use crate::http::tls::{self, TlsContext};
use crate::runtime::TcpStream;
use crate::time::{Deadline, Mono};

/// What opening a connection needs; one per shard.
pub(super) struct Connector {
    pub(super) names: Names,
    pub(super) tls: TlsContext,
    pub(super) alarms: Alarms,
    bad: RefCell<HashMap<IpAddr, Mono>>,
    next_local: Cell<usize>,
}

/// A limit of one stage, cut short by the caller's deadline.
struct Stage {
    at: Mono,
    is_deadline: bool,
}

impl Connector {
    pub(super) fn new(names: Names, tls: TlsContext, alarms: Alarms) -> Self {
        Connector { names, tls, alarms, bad: RefCell::default(), next_local: Cell::new(0) }
    }

    /// Opens one connection.
    pub(super) async fn open(
        &self,
        key: &PoolKey,
        limits: &Limits,
        deadline: Deadline,
        alarm: &Alarm,
        timings: &mut Timings,
    ) -> Result<(Stream, Protocol), Failure> {
        let start = Mono::now();
        // A second connection of the same exchange is timed anew.
        timings.dns = Duration::ZERO;
        let (host, port) = key.proxy.as_ref().map_or((&key.host, key.port), |proxy| (&proxy.host, proxy.port));
        let addresses = if key.proxy.is_none() && !key.connect_to.is_empty() {
            key.connect_to.clone()
        } else {
            let stage = Stage::of(start, limits.connect, deadline);
            let found = alarm.limit(stage.at, self.names.resolve(host)).await;
            timings.dns = Mono::now().since(start);
            let found = found.ok_or_else(|| {
                stage.over(Phase::Name, failure::NAME_TIMEOUT, format!("the resolver did not answer for {host}"))
            })?;
            let found = found.map_err(|error| Failure::before(Phase::Name, failure::NAME_FAILED, error.to_string()))?;
            found.iter().map(|address| SocketAddr::new(*address, port)).collect()
        };
        let resolved = start + timings.dns;

        let stage = Stage::of(resolved, limits.connect, deadline);
        let opened = alarm.limit(stage.at, self.open_tcp(key, host, port, addresses)).await;
        let connected = Mono::now();
        timings.connect = connected.since(resolved);
        let tcp = opened.unwrap_or_else(|| {
            let message = format!("no connection to {host}:{port} within {:?}", stage.at.since(resolved));
            Err(stage.over(Phase::Connect, failure::CONNECT_TIMEOUT, message))
        })?;
        if !key.tls {
            let protocol = if key.version == HttpVersion::Two { Protocol::Two } else { Protocol::One };
            return Ok((Stream::Plain(tcp), protocol));
        }

        let stage = Stage::of(connected, limits.tls, deadline);
        let opened = self.open_tls(key, tcp, alarm, &stage).await;
        timings.tls = Mono::now().since(connected);
        opened
    }

    /// TCP to the host, or to the proxy and through it.
    async fn open_tcp(
        &self,
        key: &PoolKey,
        host: &str,
        port: u16,
        addresses: Vec<SocketAddr>,
    ) -> Result<TcpStream, Failure> {
        let ordered = self.without_bad(addresses, Mono::now());
        let raced = race(&ordered, |address| self.attempt(key, address), &self.alarms).await;
        let mut tcp = raced.map_err(|error| {
            let reason = match error.kind() {
                io::ErrorKind::ConnectionRefused => failure::CONNECT_REFUSED,
                io::ErrorKind::TimedOut => failure::CONNECT_TIMEOUT,
                _ => failure::CONNECT_FAILED,
            };
            let message = format!("cannot connect to {host}:{port} ({} addresses): {error}", ordered.len());
            Failure::before(Phase::Connect, reason, message)
        })?;
        if let Some(proxy) = &key.proxy {
            tunnel(&mut tcp, proxy, &key.host, key.port).await?;
        }
        Ok(tcp)
    }

    async fn open_tls(
        &self,
        key: &PoolKey,
        tcp: TcpStream,
        alarm: &Alarm,
        stage: &Stage,
    ) -> Result<(Stream, Protocol), Failure> {
        let name = tls::server_name(&key.host)?;
        let handshake = self.tls.connector(key.version).connect(name, tcp);
        let Some(made) = alarm.limit(stage.at, handshake).await else {
            let message = format!("no TLS session with {} in time", key.host);
            return Err(stage.over(Phase::Tls, failure::TLS_TIMEOUT, message));
        };
        let stream = made.map_err(|error| tls::handshake_failure(&key.host, &error))?;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Two,
            // Servers without the extension speak HTTP/1.1.
            _ if key.version != HttpVersion::Two => Protocol::One,
            _ => {
                let message = format!("expected {} to speak HTTP/2, found that it does not", key.host);
                return Err(Failure::before(Phase::Tls, failure::TLS_FAILED, message));
            }
        };
        Ok((Stream::Tls(Box::new(stream)), protocol))
    }

    /// One attempt at one address.
    async fn attempt(&self, key: &PoolKey, address: SocketAddr) -> io::Result<TcpStream> {
        let local = self.local_for(key, address);
        let opened = connect(address, local).await;
        let mut bad = self.bad.borrow_mut();
        match &opened {
            Ok(_) => {
                bad.remove(&address.ip());
            }
            Err(_) if bad.len() < BAD_MAX || bad.contains_key(&address.ip()) => {
                bad.insert(address.ip(), Mono::now() + BAD_FOR);
            }
            Err(_) => bad.clear(),
        }
        opened
    }

    /// The next of the configured local addresses in the family of `address`, in turn.
    fn local_for(&self, key: &PoolKey, address: SocketAddr) -> Option<IpAddr> {
        let fitting = || key.local_addresses.iter().filter(|local| local.is_ipv4() == address.is_ipv4());
        let count = fitting().count();
        if count == 0 {
            return None;
        }
        let turn = self.next_local.get();
        self.next_local.set(turn.wrapping_add(1));
        fitting().nth(turn % count).copied()
    }

    /// The addresses, those that failed lately last.
    fn without_bad(&self, mut addresses: Vec<SocketAddr>, now: Mono) -> Vec<SocketAddr> {
        let mut bad = self.bad.borrow_mut();
        if !bad.is_empty() {
            bad.retain(|_, until| now < *until);
            addresses.sort_by_key(|address| bad.contains_key(&address.ip()));
        }
        addresses
    }
}

impl Stage {
    fn of(start: Mono, limit: Duration, deadline: Deadline) -> Self {
        let at = start + limit;
        Stage { at: at.min(deadline.at()), is_deadline: deadline.at() < at }
    }

    fn over(&self, phase: Phase, reason: &'static str, message: String) -> Failure {
        if self.is_deadline {
            Failure::before(Phase::Deadline, failure::DEADLINE, message)
        } else {
            Failure::before(phase, reason, message)
        }
    }
}

/// Connects to one address, from `local` if given.
///
/// The executor's own connect cannot bind. A connect begun without blocking is over when the socket can be written to:
/// a send of no bytes waits for exactly that, and reports the refusal.
async fn connect(address: SocketAddr, local: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(SocketProtocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(local) = local {
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    let mut stream = adopt(socket);
    poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, &[])).await?;
    Ok(stream)
}

/// Tries the addresses in order, the next one when an attempt fails or has been pending for a while (RFC 8305 section 5);
/// the first to connect wins and the others are dropped.
async fn race<T, F: Future<Output = io::Result<T>>>(
    addresses: &[SocketAddr],
    attempt: impl Fn(SocketAddr) -> F,
    alarms: &Alarms,
) -> io::Result<T> {
    let mut waiting = addresses.iter();
    let mut running: Vec<Pin<Box<F>>> = Vec::new();
    let mut error = io::Error::new(io::ErrorKind::NotFound, "there is no address");
    let next_attempt = alarms.set(Mono::now());
    let mut start_one = true;
    poll_fn(move |cx| {
        loop {
            if start_one && let Some(address) = waiting.next() {
                running.push(Box::pin(attempt(*address)));
                next_attempt.reset(Mono::now() + ATTEMPT_DELAY);
            }
            start_one = false;
            let mut index = 0;
            while index < running.len() {
                match running[index].as_mut().poll(cx) {
                    Poll::Ready(Ok(won)) => return Poll::Ready(Ok(won)),
                    Poll::Ready(Err(lost)) => {
                        error = lost;
                        drop(running.swap_remove(index));
                        start_one = true;
                    }
                    Poll::Pending => index += 1,
                }
            }
            if running.is_empty() && waiting.len() == 0 {
                let last = std::mem::replace(&mut error, io::ErrorKind::NotFound.into());
                return Poll::Ready(Err(last));
            }
            if start_one {
                continue;
            }
            if waiting.len() == 0 || next_attempt.poll(cx).is_pending() {
                return Poll::Pending;
            }
            start_one = true;
        }
    })
    .await
}

/// Opens a tunnel through a proxy (RFC 9110 section 9.3.6).
async fn tunnel(tcp: &mut TcpStream, proxy: &Proxy, host: &str, port: u16) -> Result<(), Failure> {
    let at = format!("{}:{}", proxy.host, proxy.port);
    let failed = |what: String| {
        let message = format!("expected the proxy {at} to open a tunnel to {host}:{port}, found: {what}");
        Failure::before(Phase::Connect, failure::PROXY_REFUSED, message)
    };
    let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut head = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n");
    if let Some(secret) = &proxy.authorization {
        head.push_str("proxy-authorization: ");
        head.push_str(secret.0.expose());
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    tcp.write_all(head.as_bytes()).await.map_err(|error| failed(error.to_string()))?;
    let mut answer = Vec::with_capacity(256);
    let mut byte = [0_u8; 1];
    // Byte by byte, so that nothing of the tunnel's content is taken.
    while !answer.ends_with(b"\r\n\r\n") {
        match tcp.read(&mut byte).await {
            Ok(0) => return Err(failed("it closed the connection".to_owned())),
            Ok(_) if answer.len() >= PROXY_HEAD_BYTES_MAX => return Err(failed("an endless answer".to_owned())),
            Ok(_) => answer.push(byte[0]),
            Err(error) => return Err(failed(error.to_string())),
        }
    }
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    match (words.next(), words.next().and_then(|status| status.parse::<u16>().ok())) {
        (Some(version), Some(200..=299)) if version.starts_with("HTTP/1.") => Ok(()),
        (_, Some(status)) => Err(failed(format!("status {status}"))),
        _ => Err(failed("no HTTP".to_owned())),
    }
}

/// RFC 8305 recommends 250 ms.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// How long an address that failed is tried after the others.
const BAD_FOR: Duration = Duration::from_secs(60);
const BAD_MAX: usize = 1_024;
const PROXY_HEAD_BYTES_MAX: usize = 8 << 10;
