//! `tidegate health`: whether a running engine lives, or delivers, as its admin server says. For health checks of
//! containers, which have no other client. Exit status 0 = yes, 1 = no or no answer.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::{Done, Failure, duration, usage, warn_all};
use crate::config::{Environment, Loader, Secret};
use crate::error::{Error, ErrorKind};
use crate::metrics::Health;
use crate::time::{Deadline, Mono};

/// Ask a running engine on this host whether it lives; exit status 1 when it does not, or does not answer.
///
/// Asks the admin server at admin.listen of the configuration and the environment.
#[derive(Args, Debug)]
pub struct AskHealth {
    /// TOML file of the engine.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of the admin server, instead of admin.listen.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<SocketAddr>,
    /// Asks whether it delivers, not only whether it lives.
    #[arg(long)]
    ready: bool,
    /// Time for the answer.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2s")]
    timeout: Duration,
}

impl AskHealth {
    pub(super) fn run(&self) -> Result<Done, Failure> {
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
        let (path, word) = if self.ready { ("/readyz", "ready") } else { ("/livez", "live") };
        let (status, body) = ask(address, path, admin.token.as_ref(), self.timeout).map_err(|error| {
            let why = format!("no answer from the admin server at {address}: {error}; does the engine run?");
            Error::new(ErrorKind::Io, why)
        })?;
        let mut out = io::stdout().lock();
        match status {
            200 => writeln!(out, "{word}")?,
            503 => writeln!(out, "not {word}{}", reasons(&body))?,
            other => {
                let why = format!(
                    "expected status 200 or 503 for {path} of {address}, found {other}; is that an admin server?"
                );
                return Err(Error::new(ErrorKind::Io, why).into());
            }
        }
        Ok(if status == 200 { Done::Fine } else { Done::Failed })
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

/// Why not, as far as it is told.
fn reasons(body: &[u8]) -> String {
    let health: Health = serde_json::from_slice(body).unwrap_or_default();
    let reasons: Vec<String> = health.reasons.iter().map(|reason| format!("{}: {}", reason.what, reason.why)).collect();
    if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) }
}

/// Far more than a health page has.
const ANSWER_MAX: usize = 64 << 10;

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
        let body =
            br#"{"live":true,"ready":false,"reasons":[{"what":"sink","why":"late"},{"what":"journal","why":"full"}]}"#;
        assert_eq!(reasons(body), ": sink: late; journal: full");
        assert_eq!(reasons(b"<html>"), "");
    }
}
