//! The forms that a setting's value can have, and how each is read. A value comes as text (environment, flags,
//! defaults) or typed (a file); both are read by the same rules. Invariant: what a form refuses names what it expects.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use config::{Value, ValueKind};

use crate::config::Secret;
use crate::config::cpus::CpuChoice;

/// How a setting's value is written, and between which bounds it may lie.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// An address and a port to listen on: `127.0.0.1:9464`, `[::1]:9464`.
    Address,
    /// A size: `32MiB`, `500KB`, or a plain number of bytes.
    Bytes(u64, u64),
    /// A whole number.
    Count(u64, u64),
    /// A CPU list such as `0-5,8`, or `auto`.
    Cpus,
    /// `100ms`, `30s`, `5m`, `12h`, `30d`; bounds in milliseconds.
    Duration(u64, u64),
    /// `true` or `false`.
    Flag,
    /// A number from 0, or `auto`.
    Instance,
    /// Texts; in a variable separated by commas.
    List,
    /// A path.
    Path,
    /// `http://[user:password@]host:port`; never shown.
    Proxy,
    /// A number from 0 to 1.
    Ratio,
    /// A token; never shown.
    Secret,
    /// The same as [`Form::Url`], perhaps with a query; spaces and the like are percent-encoded.
    Target,
    /// Any text.
    Text,
    /// `http://` or `https://`, a host, perhaps a port and a path.
    Url,
    /// An address to post to, perhaps with a query; never shown, for it often holds a key.
    Webhook,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Parsed {
    /// Of [`Form::Address`].
    Address(SocketAddr),
    /// Of [`Form::Bytes`] and [`Form::Count`].
    Count(u64),
    /// Of [`Form::Cpus`].
    Cpus(CpuChoice),
    /// Of [`Form::Duration`].
    Duration(Duration),
    /// Of [`Form::Flag`].
    Flag(bool),
    /// Of [`Form::List`].
    List(Vec<String>),
    /// Of [`Form::Path`].
    Path(PathBuf),
    /// Of [`Form::Proxy`].
    Proxy(Proxy),
    /// Of [`Form::Ratio`].
    Ratio(f64),
    /// Of [`Form::Secret`] and [`Form::Webhook`].
    Secret(Secret),
    /// Of [`Form::Instance`], [`Form::Target`], [`Form::Text`], [`Form::Url`] and [`Form::Word`].
    Text(String),
}

/// An HTTP proxy that is asked to CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its host: a name or a literal address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// `user:password`, when it demands them.
    pub credentials: Option<Secret>,
}

impl Proxy {
    /// The URL with its password: for the client alone.
    pub fn url(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let user = self.credentials.as_ref().map(|secret| format!("{}@", secret.expose())).unwrap_or_default();
        format!("http://{user}{host}:{}", self.port)
    }
}

impl Form {
    /// Reads a value.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(self, value: &Value) -> Result<Parsed, String> {
        let text = match &value.kind {
            ValueKind::String(text) => text.trim().to_owned(),
            ValueKind::Boolean(_) if matches!(self, Form::Flag) => value.to_string(),
            // A bare zero needs no unit; any other bare number would hide its own.
            ValueKind::I64(0) if matches!(self, Form::Duration(..)) => "0s".to_owned(),
            ValueKind::I64(_) | ValueKind::U64(_)
                if matches!(
                    self,
                    Form::Bytes(..) | Form::Count(..) | Form::Ratio | Form::Cpus | Form::Instance | Form::Word(_)
                ) =>
            {
                value.to_string()
            }
            ValueKind::Float(_) if matches!(self, Form::Ratio) => value.to_string(),
            ValueKind::Array(items) if matches!(self, Form::List) => {
                return items
                    .iter()
                    .map(|item| match &item.kind {
                        ValueKind::String(text) => Ok(text.clone()),
                        _ => Err(self.expected()),
                    })
                    .collect::<Result<_, _>>()
                    .map(Parsed::List);
            }
            _ => return Err(self.expected()),
        };
        self.parse_text(&text)
    }

    /// Reads a value written as text.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse_text(self, text: &str) -> Result<Parsed, String> {
        let wrong = || self.expected();
        match self {
            Form::Address => text.parse().map(Parsed::Address).map_err(|_| wrong()),
            Form::Bytes(min, max) => {
                parse_bytes(text).filter(|bytes| (min..=max).contains(bytes)).map(Parsed::Count).ok_or_else(wrong)
            }
            Form::Count(min, max) => {
                let count = text.replace('_', "").parse().map_err(|_| wrong())?;
                if (min..=max).contains(&count) { Ok(Parsed::Count(count)) } else { Err(wrong()) }
            }
            Form::Cpus => text.parse().map(Parsed::Cpus).map_err(|error| format!("{}: {error}", wrong())),
            Form::Duration(min, max) => parse_duration(text)
                .filter(|time| (Duration::from_millis(min)..=Duration::from_millis(max)).contains(time))
                .map(Parsed::Duration)
                .ok_or_else(wrong),
            Form::Flag => match text {
                "true" | "1" | "yes" | "on" => Ok(Parsed::Flag(true)),
                "false" | "0" | "no" | "off" => Ok(Parsed::Flag(false)),
                _ => Err(wrong()),
            },
            Form::Instance if text == "auto" || text.parse::<u16>().is_ok() => Ok(Parsed::Text(text.to_owned())),
            Form::Instance => Err(wrong()),
            Form::List => Ok(Parsed::List(
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
            )),
            Form::Path if text.is_empty() => Err(wrong()),
            Form::Path => Ok(Parsed::Path(text.into())),
            Form::Proxy => parse_proxy(text).map(Parsed::Proxy).ok_or_else(wrong),
            Form::Ratio => match text.parse::<f64>() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(Parsed::Ratio(ratio)),
                _ => Err(wrong()),
            },
            Form::Secret if text.len() >= TOKEN_LEN_MIN && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(Parsed::Secret(Secret::new(text)))
            }
            Form::Secret => Err(wrong()),
            Form::Target => parse_target(text).map(Parsed::Text).ok_or_else(wrong),
            Form::Text => Ok(Parsed::Text(text.to_owned())),
            Form::Url if is_url(text) => Ok(Parsed::Text(text.trim_end_matches('/').to_owned())),
            Form::Url => Err(wrong()),
            Form::Webhook => {
                let (address, query) = text.split_once('?').unwrap_or((text, ""));
                let plain = is_url(address) && !query.contains(['#', '?']) && !query.contains(char::is_whitespace);
                if plain { Ok(Parsed::Secret(Secret::new(text))) } else { Err(wrong()) }
            }
            Form::Word(words) if words.contains(&text) => Ok(Parsed::Text(text.to_owned())),
            Form::Word(_) => Err(wrong()),
        }
    }

    /// What a value of this form looks like.
    pub fn expected(self) -> String {
        match self {
            Form::Address => "expected an address and a port such as 127.0.0.1:9464 or [::1]:0".to_owned(),
            Form::Bytes(min, max) => {
                format!("expected a size such as 32MiB from {} to {}", show_bytes(min), show_bytes(max))
            }
            Form::Count(min, max) => format!("expected a whole number from {min} to {max}"),
            Form::Cpus => "expected a CPU list such as 0-5,8, or auto".to_owned(),
            Form::Duration(min, max) => {
                format!("expected a duration such as 100ms, 10s, 5m or 30d from {} to {}", show_ms(min), show_ms(max))
            }
            Form::Flag => "expected true or false".to_owned(),
            Form::Instance => "expected a number from 0, or auto".to_owned(),
            Form::List => "expected a list of texts".to_owned(),
            Form::Path => "expected a path".to_owned(),
            Form::Proxy => "expected a proxy such as http://user:password@host:3128".to_owned(),
            Form::Ratio => "expected a number from 0 to 1".to_owned(),
            Form::Secret => format!("expected a token of {TOKEN_LEN_MIN} visible characters or more"),
            Form::Target => "expected an address such as https://host:8443/path?query=x, without user and fragment; \
                             keys belong into headers"
                .to_owned(),
            Form::Text => "expected a text".to_owned(),
            Form::Url => "expected an address such as https://host or http://host:8080/path, without user, query and \
                          fragment"
                .to_owned(),
            Form::Webhook => "expected an address to post to such as https://host/path?key=value".to_owned(),
            Form::Word(words) => format!("expected one of {}", words.join(", ")),
        }
    }

    /// The unit or form, in a few words, for lists of settings.
    pub fn unit(self) -> String {
        match self {
            Form::Address => "address:port".to_owned(),
            Form::Bytes(..) => "size: B, KiB, MiB, GiB".to_owned(),
            Form::Count(min, max) => format!("whole number, {min} to {max}"),
            Form::Cpus => "CPU list, or auto".to_owned(),
            Form::Duration(..) => "duration: ms, s, m, h, d".to_owned(),
            Form::Flag => "true or false".to_owned(),
            Form::Instance => "number from 0, or auto".to_owned(),
            Form::List => "texts, separated by commas".to_owned(),
            Form::Path => "path".to_owned(),
            Form::Proxy => "address of an HTTP proxy".to_owned(),
            Form::Ratio => "share, 0 to 1".to_owned(),
            Form::Secret => "token".to_owned(),
            Form::Target => "address, http or https, with path and query".to_owned(),
            Form::Text => "text".to_owned(),
            Form::Url | Form::Webhook => "address, http or https".to_owned(),
            Form::Word(words) => words.join(", "),
        }
    }

    /// A value as it may stand in an error: proxies carry passwords and are not shown, and neither are secrets.
    pub fn show(self, value: &Value) -> String {
        match &value.kind {
            _ if matches!(self, Form::Proxy | Form::Secret | Form::Webhook) => "another form".to_owned(),
            // A wrong address may carry a password before its host.
            ValueKind::String(text) if matches!(self, Form::Target | Form::Url) && text.contains('@') => {
                "one with a user".to_owned()
            }
            // A query may carry a key.
            ValueKind::String(text) if matches!(self, Form::Target) => {
                format!("{:?}", text.split('?').next().unwrap_or_default())
            }
            kind => show_kind(kind),
        }
    }
}

/// A value as text for an error: texts in quotes, containers by name.
pub(super) fn show_kind(kind: &ValueKind) -> String {
    match kind {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Table(_) => "a table".to_owned(),
        ValueKind::Array(_) => "an array".to_owned(),
        ValueKind::Nil => "nothing".to_owned(),
        other => other.to_string(),
    }
}

/// Reads `100ms`, `1h30m`, `0`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut nanos: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit: u64 = match &rest[..end] {
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            _ => return None,
        };
        nanos = nanos.checked_add(count.checked_mul(unit)?)?;
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(Duration::from_nanos(nanos))
}

/// Reads `32MiB`, `500 KB`, `4096`.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let count: u64 = text[..digits].replace('_', "").parse().ok()?;
    let unit = match text[digits..].trim() {
        "" | "B" => 1,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    count.checked_mul(unit)
}

/// The shortest form of a duration.
pub(super) fn show_ms(ms: u64) -> String {
    match ms {
        0 => "0s".to_owned(),
        _ if ms.is_multiple_of(86_400_000) => format!("{}d", ms / 86_400_000),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

fn show_bytes(bytes: u64) -> String {
    match bytes {
        _ if bytes.is_multiple_of(1 << 40) => format!("{}TiB", bytes >> 40),
        _ if bytes.is_multiple_of(1 << 30) => format!("{}GiB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => format!("{bytes}B"),
    }
}

pub(super) fn parse_proxy(text: &str) -> Option<Proxy> {
    let rest = text.strip_prefix("http://")?.trim_end_matches('/');
    let (credentials, authority) = match rest.rsplit_once('@') {
        Some((credentials, authority)) => (Some(Secret::new(credentials)), authority),
        None => (None, rest),
    };
    let (host, port) = authority.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let plain = !host.is_empty() && !host.contains(['/', '?', '#', ' ']);
    plain.then_some(Proxy { host: host.to_owned(), port: port.parse().ok()?, credentials })
}

fn is_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return false };
    if rest.contains(['?', '#', '@']) || rest.contains(char::is_whitespace) {
        return false;
    }
    let authority = rest.split('/').next().unwrap_or_default();
    let bracketed = authority.strip_prefix('[').and_then(|inner| inner.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, port)) => (host, port.strip_prefix(':').or(port.is_empty().then_some("443"))),
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("443")),
        },
    };
    let plain = !host.is_empty() && (bracketed.is_some() || !host.contains(['[', ']', ':']));
    plain && port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Reads an address with a path and a query: what may not stand in a query as it is, is percent-encoded.
fn parse_target(text: &str) -> Option<String> {
    let (base, query) = text.split_once('?').map_or((text, None), |(base, query)| (base, Some(query)));
    if !is_url(base) || text.contains('#') {
        return None;
    }
    Some(match query {
        None => base.to_owned(),
        Some(query) => format!("{base}?{}", percent_encoding::utf8_percent_encode(query, QUERY)),
    })
}

/// What RFC 3986, section 3.4, does not allow in a query. The percent sign stays: it may be an encoding already.
const QUERY: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A shorter token could be guessed over a network in time.
const TOKEN_LEN_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_sinks() {
        let check = |text: &str, expected: Option<&str>| {
            let found = Form::Target.parse_text(text).ok();
            assert_eq!(found, expected.map(|text| Parsed::Text(text.to_owned())), "{text:?}");
        };
        check("https://h:8443/a/b", Some("https://h:8443/a/b"));
        check("http://h", Some("http://h"));
        check("http://h/?query=INSERT INTO t FORMAT X", Some("http://h/?query=INSERT%20INTO%20t%20FORMAT%20X"));
        check("http://h?q=a%20b", Some("http://h?q=a%20b"));
        for bad in ["h/x", "http://u:p@h/", "http://h/a b", "http://h/#x", "http://h/?a#b", ""] {
            check(bad, None);
        }
        let shown = Form::Target.show(&Value::new(None, "ftp://h/?password=hunter2"));
        assert_eq!(shown, "\"ftp://h/\"");
    }

    #[test]
    fn durations() {
        let check = |text: &str, ms: Option<u64>| {
            assert_eq!(parse_duration(text), ms.map(Duration::from_millis), "{text:?}");
        };
        check("100ms", Some(100));
        check("10s", Some(10_000));
        check("5m", Some(300_000));
        check("30d", Some(2_592_000_000));
        check("1h30m", Some(5_400_000));
        check("0", Some(0));
        check("0s", Some(0));
        for bad in
            ["", "10", "s", "10 s", "1.5s", "-1s", "10parsecs", "99999999999999999999s", "9999999999d", "5M", "é"]
        {
            check(bad, None);
        }
    }

    #[test]
    fn sizes() {
        let check = |text: &str, bytes: Option<u64>| assert_eq!(parse_bytes(text), bytes, "{text:?}");
        check("32MiB", Some(32 << 20));
        check("20 GiB", Some(20 << 30));
        check("500KB", Some(500_000));
        check("4096", Some(4_096));
        check("1_000B", Some(1_000));
        for bad in ["", "MiB", "-1", "1.5GiB", "32mib", "99999999999TiB", "1 2"] {
            check(bad, None);
        }
    }

    #[test]
    fn bounds_hold_at_below_and_above() {
        let check = |form: Form, text: &str, fits: bool| assert_eq!(form.parse_text(text).is_ok(), fits, "{text}");
        let count = Form::Count(1, 100);
        for (text, fits) in [("0", false), ("1", true), ("100", true), ("101", false), ("x", false), ("-1", false)] {
            check(count, text, fits);
        }
        let time = Form::Duration(100, 60_000);
        for (text, fits) in [("99ms", false), ("100ms", true), ("1m", true), ("61s", false)] {
            check(time, text, fits);
        }
        let bytes = Form::Bytes(1_024, 2_048);
        for (text, fits) in [("1023", false), ("1KiB", true), ("2KiB", true), ("2049", false)] {
            check(bytes, text, fits);
        }
        for (text, fits) in [("0", true), ("1", true), ("1.01", false), ("-0.1", false), ("nan", false)] {
            check(Form::Ratio, text, fits);
        }
    }

    #[test]
    fn addresses_of_servers() {
        for good in ["https://host", "http://host:8080/path", "https://[::1]:1/x", "http://127.0.0.1:1"] {
            assert!(Form::Url.parse_text(good).is_ok(), "{good}");
        }
        let bad = ["host", "ftp://host", "https://", "https://host:0", "https://host:99999", "https://u:p@host"];
        for bad in bad.into_iter().chain(["https://host?x=1", "https://ho st", "https://[::1"]) {
            assert!(Form::Url.parse_text(bad).is_err(), "{bad}");
        }
        assert_eq!(Form::Url.parse_text("https://host/").unwrap(), Parsed::Text("https://host".to_owned()));
    }

    #[test]
    fn secrets_are_read_and_never_shown() {
        for (text, fits) in [("0123456789abcdef", true), ("0123456789abcde", false), ("0123456789 abcdef", false)] {
            assert_eq!(Form::Secret.parse_text(text).is_ok(), fits, "{text}");
        }
        for good in ["https://hooks.example.com/T0/hunter2", "http://127.0.0.1:9/x?key=hunter2"] {
            let parsed = Form::Webhook.parse_text(good).unwrap();
            assert!(matches!(&parsed, Parsed::Secret(secret) if secret.expose() == good));
            assert!(!format!("{parsed:?}").contains("hunter2"));
        }
        for bad in ["hooks.example.com", "https://u:p@host/x", "https://host/x?a?b", "https://host/#x", "ftp://host"] {
            assert!(Form::Webhook.parse_text(bad).is_err(), "{bad}");
        }
        for form in [Form::Secret, Form::Webhook] {
            assert_eq!(form.show(&Value::from("hunter2")), "another form");
        }
    }

    #[test]
    fn addresses_to_listen_on() {
        for (text, fits) in [("127.0.0.1:0", true), ("[::1]:9464", true), ("0.0.0.0:9464", true)] {
            assert_eq!(Form::Address.parse_text(text).is_ok(), fits, "{text}");
        }
        for bad in ["9464", ":9464", "localhost:9464", "127.0.0.1", "127.0.0.1:99999", ""] {
            assert!(Form::Address.parse_text(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn proxies_hide_their_password() {
        let Parsed::Proxy(proxy) = Form::Proxy.parse_text("http://me:hunter2@[::1]:3128/").unwrap() else { panic!() };
        assert_eq!((proxy.host.as_str(), proxy.port), ("::1", 3128));
        assert_eq!(proxy.credentials.as_ref().map(Secret::expose), Some("me:hunter2"));
        assert!(!format!("{proxy:?}").contains("hunter2"));
        let wrong = Value::from("socks5://me:hunter2@host");
        assert!(!Form::Proxy.show(&wrong).contains("hunter2"));
        assert!(!Form::Url.show(&wrong).contains("hunter2"));
        for bad in ["host:3128", "http://host", "https://host:1", "http://:1", "http://host:x"] {
            assert!(Form::Proxy.parse_text(bad).is_err(), "{bad}");
        }
    }
}
