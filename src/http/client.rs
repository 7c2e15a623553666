//! The client of one shard: one call from a request to a whole answer.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::config::Secret;
use crate::error::Result;
use crate::http::alarm::{Alarm, Alarms};
use crate::http::body::decoded;
use crate::http::bounds::{Bounds, Fault};
use crate::http::connect::Connector;
use crate::http::endpoint::Endpoint;
use crate::http::failure::{self, Failure, Phase};
use crate::http::h1::H1;
use crate::http::h2::{H2, Place};
use crate::http::io::{Io, Scratch};
use crate::http::limits::{Limits, Protocol, Timings};
use crate::http::pool::{Caps, Grant, Host, Pool, Refused, Slot};
use crate::http::render::Common;
use crate::http::resolver::{DnsSettings, Names, ResolverHandle};
use crate::http::tls::TlsContext;
use crate::runtime::{Tasks, sleep};
use crate::time::{Deadline, Mono};
use crate::wire::{Answer, Method, Request};

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
    /// Headers of every request besides, never shown.
    pub headers: Vec<(String, Secret)>,
    /// Names.
    pub dns: DnsSettings,
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
            headers: Vec::new(),
            dns: DnsSettings::default(),
        }
    }
}

impl ClientSettings {
    /// Checks what a client would refuse.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn check(&self) -> Result<()> {
        Common::new(self).map(|_| ())
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
pub struct Client(pub(super) Rc<Inner>);

pub(super) struct Inner {
    settings: ClientSettings,
    connector: Connector,
    pub(super) pool: Rc<Pool>,
    alarms: Alarms,
    scratch: Scratch,
    tasks: Tasks,
    common: Common,
    /// Memory for the next request's bytes.
    spare: Cell<Vec<u8>>,
    sweeping: Cell<bool>,
}

impl Client {
    /// A client with an empty pool; call it on the core that will use it.
    ///
    /// # Errors
    /// When the user agent or another header of every request is no header text.
    pub fn new(settings: ClientSettings, tls: &TlsContext, resolver: ResolverHandle) -> Result<Self> {
        let common = Common::new(&settings)?;
        let tasks = Tasks::default();
        let alarms = Alarms::new(tasks.clone());
        let names = Names::new(settings.dns, resolver, tasks.clone());
        let caps = Caps {
            total: settings.connections_max.max(1),
            per_host: settings.connections_per_host_max.max(1),
            idle: settings.idle_max,
            age: settings.age_max,
            uses: settings.uses_max.max(1),
        };
        Ok(Client(Rc::new(Inner {
            connector: Connector::new(names, tls.for_shard(), alarms.clone()),
            pool: Pool::new(caps),
            alarms,
            scratch: Scratch::new(),
            tasks,
            common,
            spare: Cell::default(),
            sweeping: Cell::new(false),
            settings,
        })))
    }

    /// Sends a request and reads the whole answer. A connection that died idle is replaced once, at once.
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
        self.0.exchange(endpoint, request, limits, deadline, timings).await
    }

    /// Opens connections ahead of need until the host has `count`, within the caps; returns how many it has. One is enough
    /// where HTTP/2 is spoken, and then no more are opened.
    ///
    /// # Errors
    /// Why a connection could not be opened.
    pub async fn warm(&self, endpoint: &Endpoint, count: usize, limits: &Limits) -> Result<usize, Failure> {
        let host = self.0.host(endpoint);
        let deadline = Deadline::after(Mono::now(), limits.connect + limits.connect + limits.tls);
        let alarm = self.0.alarms.set(deadline.at());
        while host.open() < count {
            let Some(slot) = host.take_slot() else { break };
            let mut timings = Timings::default();
            match self.0.open(&host, slot, limits, deadline, &alarm, &mut timings).await? {
                Opened::One(connection) => host.give_back(connection, Mono::now()),
                Opened::Two(place) => {
                    drop(place);
                    break;
                }
            }
        }
        Ok(host.open())
    }

    /// What the pool holds and has done.
    pub fn stats(&self) -> PoolStats {
        self.0.pool.stats()
    }

    /// Ends every task and closes every connection. Exchanges that run fail, and so do those that come later.
    pub async fn close(&self) {
        let shared = self.0.pool.close();
        self.0.alarms.go_off();
        for h2 in shared {
            h2.close().await;
        }
        self.0.tasks.cancel_all().await;
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({:?})", self.stats())
    }
}

/// A connection that has just been opened.
enum Opened {
    One(Box<H1>),
    Two(Place),
}

impl Inner {
    async fn exchange(
        self: &Rc<Self>,
        endpoint: &Endpoint,
        request: &Request,
        limits: &Limits,
        deadline: Deadline,
        timings: &mut Timings,
    ) -> Result<Answer, Failure> {
        *timings = Timings::default();
        let host = self.host(endpoint);
        let start = Mono::now();
        if deadline.passed(start) {
            let message = format!("{}: the deadline had passed before the request began", endpoint.host());
            return Err(Failure::before(Phase::Deadline, failure::DEADLINE, message));
        }
        let alarm = self.alarms.set((start + limits.pool_wait).min(deadline.at()));
        let taken = host.take(start, &alarm).await;
        // The clock is read again only where time can have passed.
        let at_once = taken.as_ref().is_ok_and(|taken| !taken.waited);
        let mut ready = if at_once { start } else { Mono::now() };
        timings.pool = ready.since(start);
        let taken = taken.map_err(|why| refused(endpoint, limits, deadline, &why))?;
        let mut grant = taken.grant;
        let raw = loop {
            let (opened, sent) = match grant {
                Grant::One(connection) => (Opened::One(connection), ready),
                Grant::Two(place) => (Opened::Two(place), ready),
                Grant::Open(slot) => {
                    // Boxed, as it is rare and large: every exchange would carry its room.
                    let opening = Box::pin(self.open(&host, slot, limits, deadline, &alarm, timings));
                    (opening.await?, Mono::now())
                }
            };
            let mut bounds = Bounds { limits, deadline, alarm: &alarm, host: endpoint.host(), sent, reused: false };
            let (fault, slot) = match opened {
                Opened::One(mut connection) => {
                    bounds.reused = connection.uses > 0;
                    timings.reused = bounds.reused;
                    timings.protocol = Protocol::One;
                    let mut bytes = self.spare.take();
                    self.common.one(&host.lines, endpoint, request, &mut bytes)?;
                    match connection.exchange(bytes, &self.spare, &self.scratch, &bounds, timings).await {
                        Ok(raw) => {
                            let now = sent + timings.first_byte + timings.body;
                            host.give_back(connection, now);
                            break raw;
                        }
                        Err(fault) => (fault, Some(connection)),
                    }
                }
                Opened::Two(place) => {
                    bounds.reused = place.is_reused();
                    timings.reused = bounds.reused;
                    timings.protocol = Protocol::Two;
                    let mut bytes = self.spare.take();
                    let built = self.common.two(&host.lines, endpoint, request, &mut bytes)?;
                    timings.bytes_out = built.body.len() as u64;
                    let sent = place.send(&built, &bounds);
                    self.spare.set(bytes);
                    let got = match sent {
                        Ok(sent) => sent.receive(&bounds, timings).await,
                        Err(fault) => Err(fault),
                    };
                    match got {
                        Ok(raw) => break raw,
                        Err(fault) => (fault, None),
                    }
                }
            };
            if !may_replace(&fault, request.method, timings.replaced) {
                return Err(fault.failure);
            }
            timings.replaced += 1;
            self.pool.replaced.set(self.pool.replaced.get() + 1);
            grant = match slot {
                Some(connection) => Grant::Open(connection.into_slot()),
                None => {
                    let again = Mono::now();
                    alarm.reset((again + limits.pool_wait).min(deadline.at()));
                    let taken = host.take(again, &alarm).await;
                    let taken = taken.map_err(|why| refused(endpoint, limits, deadline, &why))?;
                    ready = Mono::now();
                    timings.pool += ready.since(again);
                    taken.grant
                }
            };
        };
        drop(alarm);
        let mut body = raw.body;
        if raw.headers.contains("content-encoding") {
            let decoding = Box::pin(decoded(&raw.headers, body, limits.body_bytes_max, endpoint.host()));
            let wrong = |failure| Failure { reused: timings.reused, ..failure };
            body = decoding.await.map_err(wrong)?;
            timings.ended = Mono::now();
            timings.body = timings
                .ended
                .since(start + timings.pool + timings.dns + timings.connect + timings.tls + timings.first_byte);
        }
        Ok(Answer { status: raw.status, headers: raw.headers, body: Bytes::from(body), ts_recv: raw.ts_recv })
    }

    fn host(&self, endpoint: &Endpoint) -> Rc<Host> {
        self.pool.host(endpoint, |endpoint| self.common.lines(endpoint))
    }

    /// Opens a connection into a slot and makes it known to its host.
    async fn open(
        self: &Rc<Self>,
        host: &Rc<Host>,
        slot: Slot,
        limits: &Limits,
        deadline: Deadline,
        alarm: &Alarm,
        timings: &mut Timings,
    ) -> Result<Opened, Failure> {
        let (stream, protocol) = self.connector.open(&host.key, limits, deadline, alarm, timings).await?;
        self.sweep();
        let io = Io::new(stream, self.scratch.clone());
        let now = Mono::now();
        host.speaks(protocol);
        if protocol == Protocol::Two {
            Ok(Opened::Two(H2::share(io, self.scratch.clone(), slot, host, &self.settings, now)))
        } else {
            let connection = H1::new(io, slot, now);
            connection.slot.opened();
            Ok(Opened::One(connection))
        }
    }

    /// Starts the sweeper, which ends when there is nothing left to sweep.
    fn sweep(self: &Rc<Self>) {
        if self.sweeping.replace(true) {
            return;
        }
        let inner = Rc::downgrade(self);
        self.tasks.spawn(async move {
            loop {
                sleep(SWEEP_EVERY).await;
                let Some(inner) = inner.upgrade() else { return };
                inner.pool.sweep(Mono::now());
                if inner.pool.open() == 0 {
                    inner.sweeping.set(false);
                    return;
                }
            }
        });
    }
}

/// Whether an exchange that failed may have another connection at once.
///
/// RFC 9112 section 9.3.1 and RFC 9110 section 9.2.2: what was not written may be sent again; what was written only when
/// the method is idempotent, and then once. RFC 9113 section 6.8: what a GOAWAY left out may be sent again too, which
/// happens to every stream beyond a server's limit of requests, fresh connection or not.
fn may_replace(fault: &Fault, method: Method, replaced: u32) -> bool {
    let failure = &fault.failure;
    if !fault.stale || !(failure.reused || failure.reason == failure::GOAWAY) {
        return false;
    }
    let times = if failure.retry_safe { UNSENT_MAX } else { 1 };
    replaced < times && (failure.retry_safe || method == Method::Get)
}

fn refused(endpoint: &Endpoint, limits: &Limits, deadline: Deadline, why: &Refused) -> Failure {
    let host = endpoint.host();
    match why {
        Refused::Closed => Failure::before(Phase::Wait, failure::POOL_CLOSED, format!("{host}: the client is closed")),
        Refused::TimeIsUp if deadline.passed(Mono::now()) => Failure::before(
            Phase::Deadline,
            failure::DEADLINE,
            format!("{host}: no connection was free by the deadline"),
        ),
        Refused::TimeIsUp => {
            let message = format!("{host}: no connection was free within {:?}", limits.pool_wait);
            Failure::before(Phase::Wait, failure::POOL_TIMEOUT, message)
        }
    }
}

/// A server that sends every connection away is given up on.
const UNSENT_MAX: u32 = 4;
/// Often enough that a connection closed by the peer does not hold its descriptor for long.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
