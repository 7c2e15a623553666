//! The proxies that the environment names, as other programs read it: `HTTPS_PROXY`, `http_proxy`, `ALL_PROXY`, `NO_PROXY`.
//! They count where a source has no `proxy` of its own.
//! Invariants: the loopback is never asked through a proxy; a proxy that cannot be used is an error for whoever would have
//! to go through it, never a way around it; no password is shown.

use std::net::IpAddr;

use crate::config::environment::Environment;
use crate::config::form::{Proxy, parse_proxy};
use crate::config::secret::Secret;
use crate::error::{Error, Result};

/// What the environment says of proxies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proxies {
    http: Option<Named>,
    https: Option<Named>,
    /// Hosts, suffixes and addresses that are asked directly.
    except: Vec<String>,
}

/// A proxy's address as it stands in a variable; it may hold a password.
#[derive(Clone, Debug, PartialEq)]
struct Named {
    variable: &'static str,
    text: Secret,
}

impl Proxies {
    /// Reads the variables. Lower case counts before upper case, and `HTTP_PROXY` not at all, since the header `Proxy` of a
    /// request sets it in a CGI program: all as curl does.
    pub(super) fn of(environment: &Environment) -> Self {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|name| {
                environment.variable(name).map(|text| Named { variable: name, text: Secret::new(text) })
            })
        };
        let except = environment.variable("no_proxy").or_else(|| environment.variable("NO_PROXY")).unwrap_or_default();
        Proxies {
            http: first(&["http_proxy", "all_proxy", "ALL_PROXY"]),
            https: first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            except: except
                .split([',', ' '])
                .map(|part| part.trim().to_ascii_lowercase())
                .filter(|part| !part.is_empty())
                .collect(),
        }
    }

    /// The proxy for a host, by the scheme of its address.
    ///
    /// # Errors
    /// When the variable names no proxy that can be asked to CONNECT; its text is not shown.
    pub fn find(&self, is_tls: bool, host: &str, port: u16) -> Result<Option<Proxy>> {
        let named = if is_tls { &self.https } else { &self.http };
        let Some(Named { variable, text }) = named.as_ref().filter(|_| !self.is_direct(host, port)) else {
            return Ok(None);
        };
        let text = text.expose();
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        parse_proxy(&whole).map(Some).ok_or_else(|| {
            Error::config(format!(
                "{variable}: expected a proxy such as http://user:password@host:3128 for {host}, found another form; name \
                 the host in NO_PROXY, or give the source a proxy of its own"
            ))
        })
    }

    fn is_direct(&self, host: &str, port: u16) -> bool {
        let is_loopback = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if is_loopback || host == "localhost" || host.ends_with(".localhost") {
            return true;
        }
        self.except.iter().any(|part| {
            let (part, only) = match part.rsplit_once(':') {
                Some((name, digits)) if !name.contains(':') => (name, digits.parse::<u16>().ok()),
                _ => (part.as_str(), None),
            };
            let name = part.trim_start_matches("*.").trim_start_matches('.').trim_matches(['[', ']']);
            let is_below = host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            (part == "*" || (!name.is_empty() && is_below)) && only.is_none_or(|only| only == port)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)], is_tls: bool, host: &str, port: u16) -> Option<String> {
        let proxies = Proxies::of(&Environment::of(variables.iter().copied()));
        proxies.find(is_tls, host, port).unwrap().map(|proxy| format!("{}:{}", proxy.host, proxy.port))
    }

    #[test]
    fn variables_count_as_elsewhere() {
        let all = [
            ("HTTPS_PROXY", "http://p:1"),
            ("https_proxy", "q:2"),
            ("HTTP_PROXY", "http://no:3"),
            ("ALL_PROXY", "http://a:4/"),
        ];
        assert_eq!(found(&all, true, "api.example.com", 443).as_deref(), Some("q:2"));
        assert_eq!(found(&all[..1], true, "api.example.com", 443).as_deref(), Some("p:1"));
        assert_eq!(found(&all, false, "api.example.com", 80).as_deref(), Some("a:4"));
        assert_eq!(found(&all[..3], false, "api.example.com", 80), None);
        assert_eq!(found(&[("https_proxy", " ")], true, "api.example.com", 443), None);
    }

    #[test]
    fn some_hosts_are_asked_directly() {
        let check = |except: &str, host: &str, port: u16, direct: bool| {
            let variables = [("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", except)];
            assert_eq!(found(&variables, true, host, port).is_none(), direct, "{except} {host}:{port}");
        };
        for own in ["localhost", "binance.localhost", "127.0.0.1", "127.9.9.9", "::1"] {
            check("", own, 443, true);
        }
        check("", "api.example.com", 443, false);
        check("*", "api.example.com", 443, true);
        check("example.com", "api.example.com", 443, true);
        check(".example.com, other", "api.example.com", 443, true);
        check("*.example.com", "api.example.com", 443, true);
        check("example.com", "badexample.com", 443, false);
        check("api.example.com:8443", "api.example.com", 443, false);
        check("api.example.com:8443", "api.example.com", 8443, true);
        check("10.0.0.7", "10.0.0.7", 443, true);
    }

    #[test]
    fn what_is_no_proxy_is_no_way_around_it() {
        let environment = Environment::of([("HTTPS_PROXY", "socks5://me:hunter2@p:1")]);
        let proxies = Proxies::of(&environment);
        let error = proxies.find(true, "api.example.com", 443).unwrap_err().to_string();
        assert!(error.contains("HTTPS_PROXY") && !error.contains("hunter2"), "{error}");
        assert!(!format!("{proxies:?}").contains("hunter2"));
        assert_eq!(proxies.find(true, "localhost", 443).unwrap(), None);
    }
}
