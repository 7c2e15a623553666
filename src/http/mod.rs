//! The HTTP client under every request: names, TLS, connections, HTTP/1.1 and HTTP/2, limits, and the pool of one shard.
//! Owns everything between a [`wire::Request`](crate::wire::Request) and a whole [`wire::Answer`](crate::wire::Answer);
//! knows nothing of sources, quotas or retries. Invariant: an answer is whole or it is a [`Failure`].

mod alarm;
mod body;
mod bounds;
mod client;
mod connect;
mod endpoint;
mod failure;
mod frame;
mod framing;
mod h1;
mod h2;
mod hpack;
mod huffman;
mod io;
mod limits;
mod mux;
mod pool;
mod reach;
mod render;
mod resolver;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

pub use client::{Client, ClientSettings, PoolStats};
pub use endpoint::{Endpoint, PoolKey};
pub use failure::{Failure, Phase, REASONS};
pub use io::{adopt_listener, close_by_reset};
pub use limits::{Limits, Protocol, Timings};
pub use reach::{Reach, reach};
pub use resolver::{DnsSettings, ResolverHandle};
pub use tls::TlsContext;
