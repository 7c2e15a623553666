//! The faults of a simulated provider: their names, what each can be told, and what they do to a body.
//! When one strikes is the profile's affair, and how it reaches the wire the server's.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::sim::render::visit;

/// What can go wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// `block_page`: 200 with a page that says that access is blocked.
    BlockPage,
    /// `bomb`: a small gzip body that unpacks to `bytes`.
    Bomb {
        /// Size after decompression.
        bytes: usize,
    },
    /// `clock_skew`: the provider's clock is off `by` so much, in the body and in `Date`.
    ClockSkew {
        /// In milliseconds; negative when it is late.
        by_millis: i64,
    },
    /// `empty_body`: 200 without a body.
    EmptyBody,
    /// `field_renamed`: `field`, or every number, stands under another key; where there are no keys, a column more.
    FieldRenamed {
        /// JSON pointer, `*` for every index or key; empty for every number.
        field: String,
    },
    /// `frozen`: every answer is that of the moment the fault began.
    Frozen,
    /// `html_page`: 200 with a consent page where JSON was due.
    HtmlPage,
    /// `http_401`: the key is refused.
    Http401,
    /// `http_404`: nothing is found.
    Http404,
    /// `http_500`: a failure told in JSON.
    Http500,
    /// `http_502`: a gateway's failure told in HTML.
    Http502,
    /// `http_503`: overload, with `retry_after`.
    Http503 {
        /// Sent in whole seconds.
        retry_after: Duration,
    },
    /// `idle_close`: the connection is closed without notice, `after` it has given an answer.
    IdleClose {
        /// How long after.
        after: Duration,
    },
    /// `limit_notice`: 200 with the provider's words for too many requests.
    LimitNotice,
    /// `malformed_json`: a body that is no JSON.
    MalformedJson,
    /// `oversized_body`: a body of `bytes`.
    OversizedBody {
        /// Its size.
        bytes: usize,
    },
    /// `reset`: the connection is reset before the head of the answer.
    Reset,
    /// `reset_body`: the connection is reset in the middle of the body.
    ResetBody,
    /// `slow_drip`: the body comes byte by byte, one `every` so long.
    SlowDrip {
        /// Between two bytes.
        every: Duration,
    },
    /// `stall`: nothing comes `lasting` so long; then the connection is reset.
    Stall {
        /// How long.
        lasting: Duration,
    },
    /// `tls_expired`: the certificate has expired. While it is in force a connection gives one answer.
    TlsExpired,
    /// `tls_failure`: the handshake is refused by an alert. While it is in force a connection gives one answer.
    TlsFailure,
    /// `truncated_json`: half the body, whole by its framing.
    TruncatedJson,
    /// `type_changed`: `field`, or every number, is an object.
    TypeChanged {
        /// JSON pointer, `*` for every index or key; empty for every number.
        field: String,
    },
    /// `wrong_content_type`: the right body under `text/html`.
    WrongContentType,
    /// `wrong_encoding`: a body said to be gzip that is none.
    WrongEncoding,
}

/// What a fault can be told besides, and where it is kept.
#[derive(Debug)]
pub enum Setting<'a> {
    /// A number of bytes.
    Bytes(&'a mut usize),
    /// A duration.
    Duration(&'a mut Duration),
    /// A JSON pointer.
    Pointer(&'a mut String),
    /// Milliseconds of a duration with a sign.
    Skew(&'a mut i64),
}

impl Fault {
    /// Every fault as it is when it is told nothing, with its name.
    pub fn all() -> Vec<(&'static str, Fault)> {
        vec![
            ("block_page", Fault::BlockPage),
            ("bomb", Fault::Bomb { bytes: 256 << 20 }),
            ("clock_skew", Fault::ClockSkew { by_millis: 5 * 60 * 1_000 }),
            ("empty_body", Fault::EmptyBody),
            ("field_renamed", Fault::FieldRenamed { field: String::new() }),
            ("frozen", Fault::Frozen),
            ("html_page", Fault::HtmlPage),
            ("http_401", Fault::Http401),
            ("http_404", Fault::Http404),
            ("http_500", Fault::Http500),
            ("http_502", Fault::Http502),
            ("http_503", Fault::Http503 { retry_after: Duration::from_secs(2) }),
            ("idle_close", Fault::IdleClose { after: Duration::from_millis(20) }),
            ("limit_notice", Fault::LimitNotice),
            ("malformed_json", Fault::MalformedJson),
            ("oversized_body", Fault::OversizedBody { bytes: 64 << 20 }),
            ("reset", Fault::Reset),
            ("reset_body", Fault::ResetBody),
            ("slow_drip", Fault::SlowDrip { every: Duration::from_millis(200) }),
            ("stall", Fault::Stall { lasting: Duration::from_secs(3_600) }),
            ("tls_expired", Fault::TlsExpired),
            ("tls_failure", Fault::TlsFailure),
            ("truncated_json", Fault::TruncatedJson),
            ("type_changed", Fault::TypeChanged { field: String::new() }),
            ("wrong_content_type", Fault::WrongContentType),
            ("wrong_encoding", Fault::WrongEncoding),
        ]
    }

    /// The names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Fault::all().into_iter().map(|(name, _)| name)
    }

    /// The fault of this name, told nothing.
    pub fn named(name: &str) -> Option<Fault> {
        Fault::all().into_iter().find(|(known, _)| *known == name).map(|(_, fault)| fault)
    }

    /// What it can be told, by name.
    pub fn settings(&mut self) -> Vec<(&'static str, Setting<'_>)> {
        match self {
            Fault::Bomb { bytes } | Fault::OversizedBody { bytes } => vec![("bytes", Setting::Bytes(bytes))],
            Fault::ClockSkew { by_millis } => vec![("by", Setting::Skew(by_millis))],
            Fault::FieldRenamed { field } | Fault::TypeChanged { field } => vec![("field", Setting::Pointer(field))],
            Fault::Http503 { retry_after } => vec![("retry_after", Setting::Duration(retry_after))],
            Fault::IdleClose { after } => vec![("after", Setting::Duration(after))],
            Fault::SlowDrip { every } => vec![("every", Setting::Duration(every))],
            Fault::Stall { lasting } => vec![("lasting", Setting::Duration(lasting))],
            _ => Vec::new(),
        }
    }

    /// Whether it befalls connections rather than requests.
    pub fn is_of_tls(&self) -> bool {
        matches!(self, Fault::TlsExpired | Fault::TlsFailure)
    }

    /// The answer that takes the place of the right one: status, content type, body.
    pub fn replaces(&self) -> Option<(u16, &'static str, &'static str)> {
        Some(match self {
            Fault::BlockPage => (200, "text/html; charset=utf-8", BLOCK_PAGE),
            Fault::EmptyBody => (200, "application/json", ""),
            Fault::HtmlPage => (200, "text/html; charset=utf-8", CONSENT_PAGE),
            Fault::Http401 => (401, "application/json", r#"{"error":"simulator: the key is not valid"}"#),
            Fault::Http404 => (404, "application/json", r#"{"error":"simulator: not found"}"#),
            Fault::Http500 => (500, "application/json", r#"{"error":"simulator: an internal error"}"#),
            Fault::Http502 => (502, "text/html", "<html><body><h1>502 Bad Gateway</h1></body></html>"),
            Fault::Http503 { .. } => (503, "application/json", r#"{"error":"simulator: overloaded"}"#),
            _ => return None,
        })
    }

    /// The body that takes the place of the right one.
    pub fn spoil(&self, body: &Bytes) -> Option<Bytes> {
        Some(match self {
            Fault::FieldRenamed { field } => changed(body, |value| rename(value, field)),
            Fault::TypeChanged { field } => changed(body, |value| retype(value, field)),
            Fault::MalformedJson => {
                let (head, tail) = body.split_at(body.len() / 2);
                [head, b"\x01,}{", tail].concat().into()
            }
            Fault::TruncatedJson => body.slice(..body.len() / 2),
            _ => return None,
        })
    }
}

/// A body changed as JSON; as it is when it is none.
fn changed(body: &Bytes, change: impl FnOnce(&mut Value)) -> Bytes {
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else { return body.clone() };
    change(&mut value);
    serde_json::to_vec(&value).map_or_else(|_| body.clone(), Bytes::from)
}

/// Renames the key that `field` names, or every key of a number; where no number has a key, puts a column in front of
/// each row.
fn rename(value: &mut Value, field: &str) {
    if let Some((holder, key)) = field.rsplit_once('/') {
        let _ = visit(value, holder, &mut |holder| {
            if let Value::Object(map) = holder {
                *map = renamed(std::mem::take(map), &mut |name, _| name == key);
            }
            Ok(())
        });
        return;
    }
    let mut count = 0;
    walk(value, &mut |value| {
        if let Value::Object(map) = value {
            *map = renamed(std::mem::take(map), &mut |_, value| {
                count += usize::from(is_number(value));
                is_number(value)
            });
        }
    });
    if count == 0 {
        walk(value, &mut |value| {
            if let Value::Array(row) = value
                && row.iter().any(is_number)
            {
                row.insert(0, Value::Null);
            }
        });
    }
}

/// Makes an object of what `field` names, or of every number.
fn retype(value: &mut Value, field: &str) {
    let wrap = |value: &mut Value| *value = json!({ "value": value.take() });
    if field.is_empty() {
        walk(value, &mut |value| match value {
            Value::Array(values) => values.iter_mut().filter(|value| is_number(value)).for_each(wrap),
            Value::Object(map) => map.values_mut().filter(|value| is_number(value)).for_each(wrap),
            _ => {}
        });
    } else {
        let _ = visit(value, field, &mut |value| {
            wrap(value);
            Ok(())
        });
    }
}

/// Calls `act` on every array and object, the innermost first.
fn walk(value: &mut Value, act: &mut dyn FnMut(&mut Value)) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| walk(value, act)),
        Value::Object(map) => map.values_mut().for_each(|value| walk(value, act)),
        _ => return,
    }
    act(value);
}

fn renamed(map: Map<String, Value>, wanted: &mut dyn FnMut(&str, &Value) -> bool) -> Map<String, Value> {
    let rename = |(name, value): (String, Value)| {
        if wanted(&name, &value) { (format!("{name}_v2"), value) } else { (name, value) }
    };
    map.into_iter().map(rename).collect()
}

/// A number, or a text that is one.
fn is_number(value: &Value) -> bool {
    match value {
        Value::Number(_) => true,
        Value::String(text) => text.parse::<f64>().is_ok(),
        _ => false,
    }
}

const CONSENT_PAGE: &str = "<!DOCTYPE html><html><head><title>Before you continue</title></head><body><form method=\"post\" action=\"/consent\"><p>We and our partners use cookies.</p><button>Accept all</button></form></body></html>";
const BLOCK_PAGE: &str = "<!DOCTYPE html><html><head><title>Access denied</title></head><body><h1>Sorry, you have been blocked</h1><p>You are unable to access this site.</p></body></html>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_lead_to_their_faults() {
        assert!(Fault::names().is_sorted_by(|a, b| a < b));
        for (name, fault) in Fault::all() {
            assert_eq!(Fault::named(name), Some(fault), "{name}");
        }
        assert_eq!(Fault::named("flood"), None);
    }

    #[test]
    fn bodies_are_spoiled_as_named() {
        let check = |fault: Fault, body: &'static str, expected: &str| {
            let found = fault.spoil(&Bytes::from_static(body.as_bytes())).unwrap();
            assert_eq!(String::from_utf8_lossy(&found), expected, "{fault:?}");
        };
        let renamed = |field: &str| Fault::FieldRenamed { field: field.to_owned() };
        check(renamed(""), r#"{"s":"A","p":"1.5","n":[{"q":2}]}"#, r#"{"s":"A","p_v2":"1.5","n":[{"q_v2":2}]}"#);
        check(renamed("/n/*/q"), r#"{"p":"1.5","n":[{"q":2}]}"#, r#"{"p":"1.5","n":[{"q_v2":2}]}"#);
        check(renamed(""), r#"[[1,"2"],[3,"4"]]"#, r#"[[null,1,"2"],[null,3,"4"]]"#);
        let retyped = |field: &str| Fault::TypeChanged { field: field.to_owned() };
        check(retyped(""), r#"{"s":"A","p":"1.5"}"#, r#"{"s":"A","p":{"value":"1.5"}}"#);
        check(retyped("/*/0"), "[[1,2]]", r#"[[{"value":1},2]]"#);
        check(Fault::TruncatedJson, r#"{"p":1}"#, r#"{"p"#);
        check(Fault::MalformedJson, r#"{"p":1}"#, "{\"p\u{1},}{\":1}");
        check(renamed(""), "<html>", "<html>");
        assert_eq!(Fault::Reset.spoil(&Bytes::new()), None);
    }
}
