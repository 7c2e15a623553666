//! Who may ask: the Host that a request names, the Origin that a browser adds, and the token. Pure; looked at before a
//! body is read. A page of another site that a browser was lured to reaches a server on loopback by a name of its own,
//! or posts to it from its own origin: both are refused.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};

use crate::config::Secret;

/// Whom the server answers to.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    listen: SocketAddr,
    hosts: Vec<String>,
    /// SHA-256 of the token: comparing digests tells nothing of the token's length.
    token: Option<[u8; 32]>,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The Host is none of the server's.
    Host,
    /// The Origin is another one.
    Origin,
    /// The token is missing or wrong.
    Token,
}

impl Guard {
    /// A server's guard: it listens on `listen`, answers to `hosts` besides, and wants `token`.
    pub(super) fn new(listen: SocketAddr, hosts: &[String], token: Option<&Secret>) -> Guard {
        let hosts = hosts.iter().map(|host| host.trim().to_ascii_lowercase()).collect();
        Guard { listen, hosts, token: token.map(|token| digest(token.expose().as_bytes())) }
    }

    /// Checks Host and Origin; `local` is the address that the connection came in at.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn admit(&self, head: &Parts, local: Option<IpAddr>) -> Result<(), Refused> {
        let host = single(&head.headers, HOST.as_str()).ok_or(Refused::Host)?;
        let authorities = head.uri.authority().map(|authority| authority.as_str()).into_iter().chain([host]);
        for authority in authorities {
            if !self.knows(authority, local) {
                return Err(Refused::Host);
            }
        }
        let safe = matches!(head.method, Method::GET | Method::HEAD);
        if !safe && head.headers.contains_key(ORIGIN) {
            let origin = single(&head.headers, ORIGIN.as_str()).ok_or(Refused::Origin)?;
            let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if !own.is_some_and(|authority| authority.eq_ignore_ascii_case(host)) {
                return Err(Refused::Origin);
            }
        }
        Ok(())
    }

    /// Checks the token, in a time that does not depend on it.
    ///
    /// # Errors
    /// When it is missing or another.
    pub(super) fn authorize(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let Some(token) = &self.token else { return Ok(()) };
        let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let (scheme, given) = given.split_at_checked(BEARER.len()).unwrap_or_default();
        let is_bearer = scheme.eq_ignore_ascii_case(BEARER);
        let equal = aws_lc_rs::constant_time::verify_slices_are_equal(&digest(given.trim_ascii()), token).is_ok();
        if is_bearer && equal { Ok(()) } else { Err(Refused::Token) }
    }

    /// Whether the server goes by this name. The port does not count: a tunnel has another.
    fn knows(&self, authority: &str, local: Option<IpAddr>) -> bool {
        let Some(name) = host_of(authority) else { return false };
        if let Ok(address) = name.parse::<IpAddr>() {
            let own = if self.listen.ip().is_unspecified() { local } else { Some(self.listen.ip()) };
            if address.is_loopback() || own == Some(address) {
                return true;
            }
        }
        name.eq_ignore_ascii_case("localhost") || self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
    }
}

/// The one value of a header; `None` when it is missing, there twice, or no text.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// The host of `host:port`, without brackets; `None` when it has no such form.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.find(':').map_or((authority, ""), |at| authority.split_at(at)),
    };
    let numbered = port.strip_prefix(':').map_or(port.is_empty(), |port| port.parse::<u16>().is_ok());
    (numbered && !host.is_empty()).then_some(host.strip_suffix('.').unwrap_or(host))
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    out
}

const BEARER: &[u8] = b"Bearer ";

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn admit(guard: &Guard, method: Method, uri: &str, headers: &[(&str, &str)]) -> Result<(), Refused> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        guard.admit(&request.body(()).unwrap().into_parts().0, Some([192, 0, 2, 7].into()))
    }

    #[test]
    fn hosts_are_those_of_this_server() {
        let hosts = ["Metrics.Example.com".to_owned()];
        let loopback = Guard::new(([127, 0, 0, 1], 9464).into(), &hosts, None);
        let everywhere = Guard::new(([0, 0, 0, 0], 9464).into(), &[], None);
        let check = |guard: &Guard, host: &str, fits: bool| {
            let admitted = admit(guard, Method::GET, "/status", &[("host", host)]);
            assert_eq!(admitted, if fits { Ok(()) } else { Err(Refused::Host) }, "{host}");
        };
        for good in [
            "localhost",
            "LOCALHOST:9464",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:9464",
            "localhost.",
            "metrics.example.com:80",
        ] {
            check(&loopback, good, true);
        }
        for bad in [
            "evil.example.com",
            "localhost.evil.com",
            "192.0.2.7",
            "127.0.0.1.evil.com",
            "",
            ":9464",
            "[::1",
            "localhost:x",
            "a@localhost",
            "localhost:80:90",
        ] {
            check(&loopback, bad, false);
        }
        check(&everywhere, "192.0.2.7:9464", true);
        check(&everywhere, "192.0.2.8:9464", false);
        check(&everywhere, "metrics.example.com", false);
    }

    #[test]
    fn every_name_in_a_request_counts() {
        let guard = Guard::new(([127, 0, 0, 1], 9464).into(), &[], None);
        let host = ("host", "localhost");
        assert_eq!(admit(&guard, Method::GET, "http://localhost/status", &[host]), Ok(()));
        assert_eq!(admit(&guard, Method::GET, "http://evil.example.com/status", &[host]), Err(Refused::Host));
        assert_eq!(admit(&guard, Method::GET, "/status", &[]), Err(Refused::Host));
        assert_eq!(admit(&guard, Method::GET, "/status", &[host, ("host", "localhost")]), Err(Refused::Host));
    }

    #[test]
    fn only_the_own_origin_may_change_something() {
        let guard = Guard::new(([127, 0, 0, 1], 9464).into(), &[], None);
        let check = |method: Method, origin: Option<&str>, expected: Result<(), Refused>| {
            let mut headers = vec![("host", "localhost:9464")];
            headers.extend(origin.map(|origin| ("origin", origin)));
            assert_eq!(admit(&guard, method, "/breakers/kraken", &headers), expected, "{origin:?}");
        };
        check(Method::POST, None, Ok(()));
        check(Method::POST, Some("http://localhost:9464"), Ok(()));
        check(Method::POST, Some("https://LOCALHOST:9464"), Ok(()));
        for other in
            ["http://localhost:3000", "http://127.0.0.1:9464", "http://evil.example.com", "null", "", "localhost:9464"]
        {
            check(Method::POST, Some(other), Err(Refused::Origin));
        }
        check(Method::DELETE, Some("null"), Err(Refused::Origin));
        check(Method::GET, Some("http://evil.example.com"), Ok(()));
    }

    #[test]
    fn a_token_is_asked_for_where_there_is_one() {
        let token = Secret::new("0123456789abcdef");
        let guard = Guard::new(([0, 0, 0, 0], 0).into(), &[], Some(&token));
        let check = |value: Option<&str>, fits: bool| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(AUTHORIZATION, value.parse().unwrap());
            }
            assert_eq!(guard.authorize(&headers), if fits { Ok(()) } else { Err(Refused::Token) }, "{value:?}");
        };
        check(Some("Bearer 0123456789abcdef"), true);
        check(Some("bearer  0123456789abcdef"), true);
        for bad in
            ["Bearer 0123456789abcdeg", "Bearer 0123456789abcde", "Basic 0123456789abcdef", "Bearer", "Bearer ", ""]
        {
            check(Some(bad), false);
        }
        check(None, false);
        assert_eq!(Guard::new(([0, 0, 0, 0], 0).into(), &[], None).authorize(&HeaderMap::new()), Ok(()));
        assert!(!format!("{guard:?}").contains("0123456789abcdef"));
    }
}
