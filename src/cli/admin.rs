//! Asking the admin server of a running engine: which address and token it has by configuration, environment and flags,
//! and one request with one answer. Owns no command.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::{Failure, usage, warn_all};
use crate::config::{Environment, Loader, Secret};
use crate::error::{Error, ErrorKind};
use crate::time::{Deadline, Mono};

/// Which engine is asked.
#[derive(Args, Debug)]
pub(super) struct Target {
    /// TOML file of the engine.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of the admin server, instead of admin.listen.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<SocketAddr>,
}

/// An admin server.
pub(super) struct AdminServer {
    pub(super) address: SocketAddr,
    token: Option<Secret>,
}

impl Target {
    /// The admin server that is meant.
    ///
    /// # Errors
    /// A configuration that is wrong, or has no admin server, or takes any port.
    pub(super) fn find(&self) -> Result<AdminServer, Failure> {
        let environment = Environment::process()?;
        let mut loader = Loader::new(&environment);
        if let Some(path) = &self.config {
            loader = loader.file(path);
        }
        let loaded = loader.load();
        warn_all(&loaded.warnings);
        let admin = loaded.into_result()?.admin;
        if self.address.is_none() && !admin.enabled {
            return Err(usage("expected admin.enabled = true: without an admin server nothing can be asked"));
        }
        let address = reachable(self.address.unwrap_or(admin.listen));
        if address.port() == 0 {
            return Err(usage(
                "expected the port in --address: admin.listen takes any, and the engine's log says which",
            ));
        }
        Ok(AdminServer { address, token: admin.token })
    }
}

impl AdminServer {
    /// Status and body of one request, within `limit`.
    ///
    /// # Errors
    /// When nothing answers, or not in time.
    pub(super) fn ask(&self, path: &str, limit: Duration) -> Result<(u16, Vec<u8>), Failure> {
        ask(self.address, path, self.token.as_ref(), limit).map_err(|error| {
            let why = format!("no answer from the admin server at {}: {error}; does the engine run?", self.address);
            Error::new(ErrorKind::Io, why).into()
        })
    }
}

/// The address to ask for one that is listened on: everywhere includes the loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, listen.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, listen.port()).into(),
        _ => listen,
    }
}

/// Status and body of one request, within `limit`.
fn ask(address: SocketAddr, path: &str, token: Option<&Secret>, limit: Duration) -> io::Result<(u16, Vec<u8>)> {
    let deadline = Deadline::after(Mono::now(), limit);
    let left = || {
        let left = deadline.left(Mono::now());
        if left.is_zero() {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("none within {limit:?}")))
        } else {
            Ok(left)
        }
    };
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    let authorization = token.map_or(String::new(), |token| format!("Authorization: Bearer {}\r\n", token.expose()));
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{authorization}\r\n");
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut part = [0; 4_096];
    while answer.len() < ANSWER_MAX {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(len) => answer.extend_from_slice(&part[..len]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {} // the limit has passed
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "expected an HTTP/1.1 answer, found none"))
}

/// Status and body of an answer that ends with its connection.
fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, answer[end + 4..].to_vec()))
}

/// Far more than the status of an engine with all sources has.
const ANSWER_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_everywhere_is_asked_on_the_loopback() {
        let check = |listen: &str, expected: &str| {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), expected);
        };
        check("0.0.0.0:9464", "127.0.0.1:9464");
        check("[::]:9464", "[::1]:9464");
        check("192.0.2.7:1", "192.0.2.7:1");
        check("127.0.0.1:9464", "127.0.0.1:9464");
    }

    #[test]
    fn answers_are_read_as_far_as_they_are_answers() {
        let check = |text: &str, expected: Option<(u16, &str)>| {
            let found = parse(text.as_bytes());
            assert_eq!(found, expected.map(|(status, body)| (status, body.as_bytes().to_vec())), "{text:?}");
        };
        check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", Some((200, "{}")));
        check("HTTP/1.1 503 x\r\n\r\n", Some((503, "")));
        for bad in ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 2\r\n\r\n", "HTTP/1.1 é00\r\n\r\n"] {
            check(bad, None);
        }
    }
}
