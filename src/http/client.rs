//! The client of one shard: one call from a request to a whole answer.

use std::rc::Rc;
use std::time::Duration;

use crate::http::endpoint::Endpoint;
use crate::http::failure::{self, Failure, Phase};
use crate::http::limits::{Limits, Timings};
use crate::http::resolver::{DnsSettings, ResolverHandle};
use crate::http::tls::TlsContext;
use crate::time::Deadline;
use crate::wire::{Answer, Request};

/// Settings of a client.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Connections of this shard at most, over all hosts.
    pub connections_max: usize,
    /// Connections per host at most.
    pub connections_per_host_max: usize,
    /// How long an idle connection is kept.
    pub idle_max: Duration,
    /// How old a connection may get before it is replaced.
    pub age_max: Duration,
    /// How many exchanges a connection may serve before it is replaced.
    pub uses_max: u32,
    /// Streams per HTTP/2 connection at most, below what the peer allows.
    pub h2_streams_max: usize,
    /// How long an HTTP/2 connection with open streams may be silent before it is asked by a ping.
    pub h2_ping_interval: Duration,
    /// How long the answer to a ping may take before the connection counts as dead.
    pub h2_ping_timeout: Duration,
    /// The user agent of requests that name none.
    pub user_agent: String,
    /// Names.
    pub dns: DnsSettings,
    /// Targets whose ETag and Last-Modified are remembered at most.
    pub validators_max: usize,
}

impl Default for ClientSettings {
    fn default() -> Self {
        ClientSettings {
            connections_max: 5_000,
            connections_per_host_max: 100,
            idle_max: Duration::from_secs(30),
            // Load balancers move addresses; an hour bounds how long a connection ignores that.
            age_max: Duration::from_secs(3_600),
            uses_max: 1_000_000,
            h2_streams_max: 100,
            h2_ping_interval: Duration::from_secs(20),
            h2_ping_timeout: Duration::from_secs(10),
            user_agent: concat!("tidegate/", env!("CARGO_PKG_VERSION")).to_owned(),
            dns: DnsSettings::default(),
            validators_max: 1_000,
        }
    }
}

/// What the pool holds at this moment and what it has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PoolStats {
    /// Connections open or being opened.
    pub open: usize,
    /// HTTP/1.1 connections that serve no exchange, and HTTP/2 connections without a stream.
    pub idle: usize,
    /// Exchanges that wait for a connection.
    pub waiting: usize,
    /// HTTP/2 streams in use.
    pub streams: usize,
    /// Connections opened so far.
    pub opened: u64,
    /// Connections closed so far.
    pub closed: u64,
    /// Connections found dead when taken from the pool and replaced so far.
    pub replaced: u64,
}

/// The client of one shard. Clones share one pool.
#[derive(Clone)]
pub struct Client(Rc<()>);

impl Client {
    /// A client with an empty pool; call it on the core that will use it.
    pub fn new(settings: ClientSettings, tls: TlsContext, resolver: ResolverHandle) -> Self {
        let _ = (settings, tls, resolver);
        Client(Rc::default())
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// A [`Failure`] for anything but a whole answer within limits and deadline.
    ///
    /// # Cancel safety
    /// Dropping the future discards its HTTP/1.1 connection or resets its HTTP/2 stream, and gives its place back.
    pub async fn exchange(
        &self,
        endpoint: &Endpoint,
        request: &Request,
        limits: &Limits,
        deadline: Deadline,
        timings: &mut Timings,
    ) -> Result<Answer, Failure> {
        let _ = (endpoint, request, limits, deadline, timings);
        Err(Failure::before(Phase::Wait, failure::POOL_CLOSED, "no pool"))
    }

    /// The same, asking the provider to answer 304 when nothing has changed since the answer given to
    /// [`Client::remember`].
    ///
    /// # Errors
    /// As [`Client::exchange`].
    pub async fn exchange_if_changed(
        &self,
        endpoint: &Endpoint,
        request: &Request,
        limits: &Limits,
        deadline: Deadline,
        timings: &mut Timings,
    ) -> Result<Answer, Failure> {
        self.exchange(endpoint, request, limits, deadline, timings).await
    }

    /// Remembers the ETag and Last-Modified of an answer; call it once its records are safe.
    pub fn remember(&self, endpoint: &Endpoint, request: &Request, answer: &Answer) {
        let _ = (endpoint, request, answer);
    }

    /// Opens connections ahead of need, up to `count` within the caps; returns how many stand.
    pub async fn warm(&self, endpoint: &Endpoint, count: usize, limits: &Limits) -> usize {
        let _ = (endpoint, count, limits);
        0
    }

    /// What the pool holds and has done.
    pub fn stats(&self) -> PoolStats {
        PoolStats::default()
    }

    /// Ends every task and closes every connection; exchanges after this fail.
    pub async fn close(&self) {}
}
