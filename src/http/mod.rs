//! The HTTP client under every request: names, TLS, connections, HTTP/1.1 and HTTP/2, limits, and the pool of one shard.
//! Owns everything between a [`wire::Request`](crate::wire::Request) and a whole [`wire::Answer`](crate::wire::Answer);
//! knows nothing of sources, quotas or retries. Invariant: an answer is whole or it is a [`Failure`].

mod client;
mod endpoint;
mod failure;
mod io;
mod limits;
mod resolver;
mod tls;

pub use client::{Client, ClientSettings, PoolStats};
pub use endpoint::{Endpoint, HttpVersion, PoolKey};
pub use failure::{Failure, Phase, REASONS};
pub use limits::{Limits, Protocol, Timings};
pub use resolver::{DnsSettings, ResolverHandle};
pub use tls::TlsContext;
