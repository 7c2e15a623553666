//! What one exchange may take and what it took: limits per phase, and the time and bytes of each stage.
//! No policy: whoever calls chooses the limits.

use std::time::Duration;

use crate::time::Mono;

/// The limits of one exchange. Each holds by itself; the caller's deadline holds over all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Waiting for a connection of the pool.
    pub pool_wait: Duration,
    /// Resolving the name, and then opening the TCP connection over all addresses that are raced.
    pub connect: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// From sending the request to the head of the answer.
    pub first_byte: Duration,
    /// From the head of the answer to its last byte.
    pub body: Duration,
    /// Cap of the body on the wire, and again after decompression.
    pub body_bytes_max: usize,
    /// Least body bytes per second, judged over each span of [`Limits::throughput_span`]; zero switches it off.
    pub throughput_bytes_min: u64,
    /// Over how long the least throughput is judged: a pause shorter than this is no failure.
    pub throughput_span: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            pool_wait: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            tls: Duration::from_secs(10),
            first_byte: Duration::from_secs(30),
            body: Duration::from_secs(60),
            // The largest answers known (company facts, full symbol lists) are under 20 MiB.
            body_bytes_max: 32 << 20,
            throughput_bytes_min: 1 << 10,
            throughput_span: Duration::from_secs(10),
        }
    }
}

/// The HTTP version that an exchange used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub enum Protocol {
    /// None yet.
    #[default]
    #[serde(rename = "")]
    Unknown,
    /// HTTP/1.1.
    #[serde(rename = "1.1")]
    One,
    /// HTTP/2.
    #[serde(rename = "2")]
    Two,
}

/// What an exchange took. Stages that did not happen (a reused connection has no connect) are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Waiting for a connection or a place in the pool.
    pub pool: Duration,
    /// Resolving the name.
    pub dns: Duration,
    /// Opening the TCP connection, a proxy's tunnel included.
    pub connect: Duration,
    /// The TLS handshake.
    pub tls: Duration,
    /// From sending the request to the head of the answer.
    pub first_byte: Duration,
    /// From the head to the last byte of the body, decompression included.
    pub body: Duration,
    /// Whether the connection had served an earlier exchange.
    pub reused: bool,
    /// The protocol spoken.
    pub protocol: Protocol,
    /// Bytes written: with HTTP/2, which shares its connection, those of the request's body alone.
    pub bytes_out: u64,
    /// Bytes read: with HTTP/2, which shares its connection, those of the answer's body alone.
    pub bytes_in: u64,
    /// When it was over; the start of time for an exchange that failed.
    pub ended: Mono,
    /// How many connections were replaced within the exchange: one that died idle, and those that a graceful GOAWAY closed
    /// before they took the request.
    pub replaced: u32,
}
