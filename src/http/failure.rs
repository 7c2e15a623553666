//! Why an exchange gave no whole answer: in which phase, for which reason of a closed list, and whether the request can
//! be sent again without the risk that the provider acts on it twice.
//! Invariant: a message holds no secret: it names hosts and addresses, never targets, headers or bodies.

use std::fmt;

/// The stage of an exchange in which it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Reading the body.
    Body,
    /// Opening the TCP connection, or the tunnel of a proxy.
    Connect,
    /// The caller's deadline came, whatever the stage.
    Deadline,
    /// Waiting for the first byte of the answer.
    FirstByte,
    /// Resolving the host's name.
    Name,
    /// Sending the request.
    Send,
    /// The TLS handshake.
    Tls,
    /// Waiting for a connection of the pool.
    Wait,
}

/// Why an exchange gave no whole answer.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The stage.
    pub phase: Phase,
    /// One of [`REASONS`].
    pub reason: &'static str,
    /// What was expected and what was found, for people.
    pub message: String,
    /// Whether the connection had served an earlier exchange.
    pub reused: bool,
    /// Whether the provider has certainly not acted on the request, so that any method may be sent again.
    pub retry_safe: bool,
}

/// The closed list of reasons.
pub const REASONS: &[&str] = &[
    BAD_ENCODING,
    BAD_FRAMING,
    BAD_REQUEST,
    BODY_TIMEOUT,
    BODY_TOO_LARGE,
    BODY_TOO_SLOW,
    BOMB,
    CLOSED_EARLY,
    CONNECT_FAILED,
    CONNECT_REFUSED,
    CONNECT_TIMEOUT,
    DEADLINE,
    FIRST_BYTE_TIMEOUT,
    GOAWAY,
    HEAD_TOO_LARGE,
    NAME_FAILED,
    NAME_TIMEOUT,
    POOL_CLOSED,
    POOL_TIMEOUT,
    PROXY_REFUSED,
    RESET,
    STREAM_REFUSED,
    TLS_EXPIRED,
    TLS_FAILED,
    TLS_TIMEOUT,
    TLS_UNKNOWN_ISSUER,
    TLS_WRONG_NAME,
];

/// The body's content encoding is unknown, or the body does not decode.
pub const BAD_ENCODING: &str = "bad_encoding";
/// The answer breaks the rules of HTTP.
pub const BAD_FRAMING: &str = "bad_framing";
/// The request cannot be written: a header or target with bytes that HTTP does not allow.
pub const BAD_REQUEST: &str = "bad_request";
/// The body took longer than its limit.
pub const BODY_TIMEOUT: &str = "body_timeout";
/// The body on the wire exceeds the cap.
pub const BODY_TOO_LARGE: &str = "body_too_large";
/// The body came more slowly than the minimum.
pub const BODY_TOO_SLOW: &str = "body_too_slow";
/// The decompressed body exceeds the cap.
pub const BOMB: &str = "bomb";
/// The peer closed before the answer was whole.
pub const CLOSED_EARLY: &str = "closed_early";
/// The connection could not be opened for another cause than the ones named here.
pub const CONNECT_FAILED: &str = "connect_failed";
/// The peer refused the connection.
pub const CONNECT_REFUSED: &str = "connect_refused";
/// The connection was not open in time.
pub const CONNECT_TIMEOUT: &str = "connect_timeout";
/// The caller's deadline passed.
pub const DEADLINE: &str = "deadline";
/// No first byte in time.
pub const FIRST_BYTE_TIMEOUT: &str = "first_byte_timeout";
/// The peer is shutting the connection down and did not take the request.
pub const GOAWAY: &str = "goaway";
/// The head of the answer exceeds its cap.
pub const HEAD_TOO_LARGE: &str = "head_too_large";
/// The name has no address.
pub const NAME_FAILED: &str = "name_failed";
/// The resolver did not answer in time.
pub const NAME_TIMEOUT: &str = "name_timeout";
/// The client is closing.
pub const POOL_CLOSED: &str = "pool_closed";
/// No connection became free in time.
pub const POOL_TIMEOUT: &str = "pool_timeout";
/// The proxy did not open the tunnel.
pub const PROXY_REFUSED: &str = "proxy_refused";
/// The connection was reset.
pub const RESET: &str = "reset";
/// The peer refused the stream before it looked at the request.
pub const STREAM_REFUSED: &str = "stream_refused";
/// The certificate has expired, or is not valid yet.
pub const TLS_EXPIRED: &str = "tls_expired";
/// The handshake failed for another cause than the ones named here.
pub const TLS_FAILED: &str = "tls_failed";
/// The handshake was not over in time.
pub const TLS_TIMEOUT: &str = "tls_timeout";
/// The certificate's issuer is not trusted.
pub const TLS_UNKNOWN_ISSUER: &str = "tls_unknown_issuer";
/// The certificate is for another name.
pub const TLS_WRONG_NAME: &str = "tls_wrong_name";

impl Failure {
    /// A failure before the request could reach the provider: safe to send again.
    pub(super) fn before(phase: Phase, reason: &'static str, message: impl Into<String>) -> Self {
        Failure { phase, reason, message: message.into(), reused: false, retry_safe: true }
    }

    /// A failure after which the provider may have acted on the request.
    pub(super) fn after(phase: Phase, reason: &'static str, message: impl Into<String>, reused: bool) -> Self {
        Failure { phase, reason, message: message.into(), reused, retry_safe: false }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_sorted_and_distinct() {
        assert!(REASONS.is_sorted_by(|a, b| a < b));
    }
}
