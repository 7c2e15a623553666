//! Where requests go: a parsed base URL with everything that decides which connections can serve it.
//! Plain data that may cross threads; opens nothing. Invariant: a proxy's password is shown nowhere.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;

use crate::config::{HttpVersion, Secret};
use crate::error::{Error, Result};

/// What makes two connections interchangeable: this list is closed. Two endpoints with equal keys share connections.
/// Trust (roots, own certificate authority) is not in it, because one client has one trust.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// TLS or plain.
    pub(super) tls: bool,
    /// Host, lowercase: also the name in SNI and the one that the certificate must be for.
    pub(super) host: String,
    /// Port.
    pub(super) port: u16,
    /// HTTP versions allowed.
    pub(super) version: HttpVersion,
    /// The proxy in between.
    pub(super) proxy: Option<Proxy>,
    /// The host's own addresses that connections are spread over.
    pub(super) local_addresses: Vec<IpAddr>,
    /// Addresses that stand in for resolving the name.
    pub(super) connect_to: Vec<SocketAddr>,
}

/// An HTTP proxy that opens tunnels (CONNECT).
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// The value of `Proxy-Authorization`.
    pub(super) authorization: Option<ProxySecret>,
}

/// A secret as part of a key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ProxySecret(pub(super) Secret);

impl Hash for ProxySecret {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.expose().hash(state);
    }
}

/// A base URL, parsed, with what belongs to reaching it.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) key: PoolKey,
    /// Hash of the key, so that a request hashes nothing.
    pub(super) hash: u64,
    /// Host and port as requests name them: without the scheme's own port.
    pub(super) authority: String,
    /// Path before every target, without a closing slash; mostly empty.
    prefix: String,
}

impl Endpoint {
    /// Parses a base URL: `http` or `https`, a host, and maybe a port and a path.
    ///
    /// # Errors
    /// Says what is wrong with the URL; a URL with user information is refused, since it would be shown.
    pub fn parse(url: &str) -> Result<Endpoint> {
        let wrong = |what: &str| Error::config(format!("base URL {}: {what}", shown(url)));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("expected http:// or https://"))?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(wrong("expected the scheme http or https")),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err(wrong("expected no user name or password: give keys as the source's own settings"));
        }
        if path.contains(['?', '#']) || authority.contains(['?', '#']) {
            return Err(wrong("expected no query and no fragment"));
        }
        let (host, port) = split_authority(authority).ok_or_else(|| wrong("expected a host and maybe a port"))?;
        let host = host.to_ascii_lowercase();
        let default_port = if tls { 443 } else { 80 };
        let port = port.unwrap_or(default_port);
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let authority = if port == default_port { bracketed } else { format!("{bracketed}:{port}") };
        let prefix = path.trim_end_matches('/').to_owned();
        if !prefix.is_empty() && !is_target(&prefix) {
            return Err(wrong("expected a percent-encoded path"));
        }
        let key = PoolKey {
            tls,
            host,
            port,
            version: HttpVersion::Auto,
            proxy: None,
            local_addresses: Vec::new(),
            connect_to: Vec::new(),
        };
        let mut endpoint = Endpoint { hash: 0, authority, prefix, key };
        endpoint.rehash();
        Ok(endpoint)
    }

    /// The same endpoint with these HTTP versions.
    pub fn http_version(mut self, version: HttpVersion) -> Self {
        self.key.version = version;
        self.rehash();
        self
    }

    /// The same endpoint through a proxy, `http://[user:password@]host[:port]`.
    ///
    /// # Errors
    /// Says what is wrong with the proxy's URL, without its password.
    pub fn proxy(mut self, url: &str) -> Result<Self> {
        self.key.proxy = Some(Proxy::parse(url)?);
        self.rehash();
        Ok(self)
    }

    /// The same endpoint with its connections spread in turn over these addresses of this host.
    pub fn local_addresses(mut self, addresses: Vec<IpAddr>) -> Self {
        self.key.local_addresses = addresses;
        self.rehash();
        self
    }

    /// The same endpoint with its connections made to these addresses; name, SNI, host header and the certificate's name
    /// stay. For tests, the simulator, and hosts pinned by configuration.
    pub fn connect_to(mut self, addresses: Vec<SocketAddr>) -> Self {
        self.key.connect_to = addresses;
        self.rehash();
        self
    }

    /// The host, lowercase.
    pub fn host(&self) -> &str {
        &self.key.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.key.port
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.key.tls
    }

    /// Path before every target.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    fn rehash(&mut self) {
        let mut hasher = DefaultHasher::new();
        self.key.hash(&mut hasher);
        self.hash = hasher.finish();
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self}, {:?})", self.key.version)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.key.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.prefix)
    }
}

impl fmt::Debug for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PoolKey({}:{}, tls {}, {:?})", self.host, self.port, self.tls, self.version)
    }
}

impl Proxy {
    fn parse(url: &str) -> Result<Proxy> {
        let wrong = |what: &str| Error::config(format!("proxy {}: {what}", shown(url)));
        let rest = match url.split_once("://") {
            Some(("http" | "HTTP", rest)) => rest,
            Some(_) => return Err(wrong("expected the scheme http: a tunnel is opened by CONNECT over plain TCP")),
            None => url,
        };
        let rest = rest.trim_end_matches('/');
        let (user, authority) = match rest.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, rest),
        };
        let (host, port) = split_authority(authority).ok_or_else(|| wrong("expected a host and maybe a port"))?;
        if !host.bytes().all(is_host_byte) {
            return Err(wrong("expected a host name"));
        }
        let authorization = user.map(|user| {
            let plain: Vec<u8> = percent_encoding::percent_decode_str(user).collect();
            let encoded = base64::engine::general_purpose::STANDARD.encode(plain);
            ProxySecret(Secret::new(format!("Basic {encoded}")))
        });
        Ok(Proxy { host: host.to_ascii_lowercase(), port: port.unwrap_or(80), authorization })
    }
}

/// Whether a path, and maybe a query, can be sent as it is: percent-encoded, with a slash in front.
pub(super) fn is_target(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'#')
}

/// Host (without brackets) and port.
fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let port = match port {
        Some(port) => Some(port.parse().ok().filter(|port| *port != 0)?),
        None => None,
    };
    (!host.is_empty() && host.bytes().all(is_host_byte)).then_some((host, port))
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':')
}

/// The URL without user information.
fn shown(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://***@{rest}"),
        (None, Some((_, rest))) => format!("***@{rest}"),
        (_, None) => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_parsed_or_refused() {
        let check = |url: &str, shown: &str, authority: &str, prefix: &str| {
            let endpoint = Endpoint::parse(url).unwrap();
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!((endpoint.authority.as_str(), endpoint.prefix()), (authority, prefix));
        };
        check("https://API.Binance.com", "https://api.binance.com", "api.binance.com", "");
        check("https://api.binance.com:443/", "https://api.binance.com", "api.binance.com", "");
        check("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080/v1", "127.0.0.1:8080", "/v1");
        check("http://[::1]:8080", "http://[::1]:8080", "[::1]:8080", "");
        for url in [
            "api.binance.com",
            "ftp://a",
            "https://",
            "https://a:b",
            "https://a:0",
            "https://a b",
            "https://u:p@a",
            "https://a/?x",
            "https://[zz]",
            "https://a/\u{7f}",
            "https://a/b c",
        ] {
            let error = Endpoint::parse(url).unwrap_err().to_string();
            assert!(!error.contains("u:p"), "{error}");
        }
        assert!(is_target("/a?b=c,d:e%20f~"));
        for target in ["no-slash", "", "/sp ace", "/a#b", "/\r\n"] {
            assert!(!is_target(target), "{target}");
        }
    }

    #[test]
    fn a_proxy_password_is_shown_nowhere() {
        let endpoint = Endpoint::parse("https://a").unwrap().proxy("http://user:s%40cret@proxy:3128").unwrap();
        let proxy = endpoint.key.proxy.as_ref().unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy", 3128));
        assert_eq!(proxy.authorization.as_ref().unwrap().0.expose(), "Basic dXNlcjpzQGNyZXQ=");
        assert!(!format!("{endpoint:?} {:?}", endpoint.key).contains("cret"));
        let error = Endpoint::parse("https://a").unwrap().proxy("socks5://user:secret@proxy").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn keys_differ_by_what_they_list() {
        let plain = Endpoint::parse("https://a/x").unwrap();
        assert_eq!(plain.hash, Endpoint::parse("https://a/y").unwrap().hash);
        let others = [
            Endpoint::parse("http://a").unwrap(),
            Endpoint::parse("https://b").unwrap(),
            Endpoint::parse("https://a:444").unwrap(),
            plain.clone().http_version(HttpVersion::One),
            plain.clone().proxy("p").unwrap(),
            plain.clone().local_addresses(vec!["127.0.0.2".parse().unwrap()]),
            plain.clone().connect_to(vec!["127.0.0.1:1".parse().unwrap()]),
        ];
        for other in others {
            assert!(other.key != plain.key && other.hash != plain.hash, "{other:?}");
        }
    }
}
