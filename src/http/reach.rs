//! Whether a host can be reached at all: its name, and a TLS session with it. Blocks, sends no request, and is for
//! checks before a start, never for a core.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::time::Duration;

use crate::http::endpoint::Endpoint;
use crate::http::resolver;
use crate::http::tls::{self, TlsContext};
use crate::time::Mono;

/// What became of reaching a host.
#[derive(Clone, Debug)]
pub struct Reach {
    /// How many addresses the name has, or why none.
    pub addresses: Result<usize, String>,
    /// TLS version and protocol, or why there is no session; `None` for plain HTTP and behind a proxy.
    pub tls: Option<Result<String, String>>,
}

/// Tries to reach `endpoint` within `limit`: of a proxied one, the proxy's name alone.
pub fn reach(endpoint: &Endpoint, trust: &TlsContext, limit: Duration) -> Reach {
    let key = &endpoint.key;
    let (host, port) = key.proxy.as_ref().map_or((&key.host, key.port), |proxy| (&proxy.host, proxy.port));
    let started = Mono::now();
    let addresses = match resolve(host.clone(), port, limit) {
        Ok(addresses) => addresses,
        Err(why) => return Reach { addresses: Err(why), tls: None },
    };
    let left = limit.saturating_sub(Mono::now().since(started)).max(Duration::from_millis(1));
    let wanted = key.tls && key.proxy.is_none();
    let tls = wanted.then(|| session(endpoint, &addresses, trust, left));
    Reach { addresses: Ok(addresses.len()), tls }
}

/// The system's resolver has no limit of its own, so it is left behind on its thread when it takes too long.
fn resolve(host: String, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, String> {
    if let Some(addresses) = resolver::loopback(&host) {
        return Ok(addresses.map(|address| SocketAddr::new(address, port)).to_vec());
    }
    let (reply, answer) = mpsc::channel();
    let name = host.clone();
    let thread = std::thread::Builder::new().name("doctor-name".to_owned()).spawn(move || {
        let _ = reply.send((name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>));
    });
    thread.map_err(|error| error.to_string())?;
    match answer.recv_timeout(limit) {
        Ok(Ok(addresses)) if addresses.is_empty() => Err(format!("no address for {host}")),
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(format!("{host}: {error}")),
        Err(_) => Err(format!("no answer about {host} within {limit:?}")),
    }
}

fn session(
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
    trust: &TlsContext,
    limit: Duration,
) -> Result<String, String> {
    let host = endpoint.host();
    let name = tls::server_name(host).map_err(|failure| failure.message)?;
    // Each address gets its share: the first may be one that this host has no way to.
    let share = limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut tcp = Err(format!("no address for {host}"));
    for address in addresses {
        tcp = TcpStream::connect_timeout(address, share.max(Duration::from_millis(1)))
            .map_err(|error| format!("cannot connect to {address}: {error}"));
        if tcp.is_ok() {
            break;
        }
    }
    let mut tcp = tcp?;
    let refused = |error: std::io::Error| tls::handshake_failure(host, &error).message;
    tcp.set_read_timeout(Some(limit)).and_then(|()| tcp.set_write_timeout(Some(limit))).map_err(refused)?;
    let mut session = trust.session(endpoint.key.version, name)?;
    while session.is_handshaking() {
        session.complete_io(&mut tcp).map_err(refused)?;
    }
    let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
    let protocol = session.alpn_protocol().map_or("no ALPN".into(), String::from_utf8_lossy);
    Ok(format!("{}, {protocol}", version.replace("TLSv1_", "TLS 1.")))
}
