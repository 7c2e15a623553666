//! A shard: what one core owns. Its client with pool and connections, its lanes with breakers, budgets and polls, and
//! its inbox. Shared-nothing: `Rc` and `RefCell`; what crosses cores comes in by handles of `handoff/`.

mod audit;
mod breakers;
mod decode;
mod fetch;
mod follow;
mod gaps;
mod hedge;
mod inbox;
mod lane;
mod load;
mod meter;
mod page;
mod polls;
mod prerequisites;
mod semaphore;
pub mod state;
mod stillness;
mod timetable;
mod validators;

pub use decode::Decoders;
pub use fetch::Fetched;
pub use follow::FollowSpec;
pub use gaps::{Gap, open_in as open_gaps};
pub use inbox::{Command, FetchOrder};
pub use lane::LaneSpec;
pub use load::{LoadOrder, LoadReport};
pub use page::{Page, PageOrder};
pub use polls::PollSpec;
pub use timetable::Timetable;

use std::rc::Rc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::handoff::{AuditSeat, AuditSeed, Mailbox, PublisherSeed, Stop};
use crate::http::{Client, ClientSettings, ResolverHandle, TlsContext};
use crate::metrics::SharedCells;
use crate::runtime::{self, Tasks};
use crate::shard::lane::Lane;
use crate::shard::semaphore::Semaphore;
use crate::time::{Deadline, Mono, UnixNanos};

/// What a shard is made from: plain data that crosses to its thread.
pub struct ShardSpec {
    /// Its number.
    pub index: usize,
    /// Its client's settings: this shard's share of the connections.
    pub client: ClientSettings,
    /// Trust.
    pub tls: TlsContext,
    /// The resolver that all shards share.
    pub resolver: ResolverHandle,
    /// Its sources.
    pub lanes: Vec<LaneSpec>,
    /// Its side of the normalization buffer.
    pub publisher: PublisherSeed,
    /// Its commands.
    pub mailbox: Mailbox<Command>,
    /// Says when to stop.
    pub stop: Stop,
    /// Exchanges of this shard in flight at most, over all its sources.
    pub in_flight_max: usize,
    /// Its metrics.
    pub cells: SharedCells,
    /// The threads that read big bodies.
    pub decoders: Decoders,
    /// Its side of the audit log; `None` while that is off.
    pub audit: Option<AuditSeed>,
    /// Bytes of each body that the audit log keeps; `None` keeps none.
    pub audit_body_bytes_max: Option<usize>,
}

/// Runs a shard on the calling core until it is told to stop and what was in flight has ended.
///
/// # Errors
/// When the client's settings are refused.
pub async fn run(spec: ShardSpec) -> Result<()> {
    let client = Client::new(spec.client, &spec.tls, spec.resolver)?;
    let publisher = Rc::new(spec.publisher.connect());
    let polling = Tasks::default();
    let in_flight = Semaphore::new(spec.in_flight_max);
    let seat = spec.audit.map(|seed| Rc::new(seed.connect()));
    let log = audit::Log {
        ids: Rc::new(audit::Ids::new(spec.index, UnixNanos::now())),
        seat: seat.clone(),
        body_bytes_max: spec.audit_body_bytes_max,
    };
    let serving = Tasks::default();
    let mut lanes = Vec::new();
    for mut lane_spec in spec.lanes {
        let polls = std::mem::take(&mut lane_spec.polls);
        let warm = lane_spec.warm;
        let id = lane_spec.source.spec().id;
        let recorder = spec.cells.recorder(id).ok_or_else(|| {
            Error::new(ErrorKind::Misuse, format!("shard {}: {id} has no metrics of its own", spec.index))
        })?;
        let lane = Rc::new(Lane::new(
            lane_spec,
            client.clone(),
            in_flight.clone(),
            spec.stop.clone(),
            meter::Meter::new(recorder),
            log.clone(),
            spec.decoders.clone(),
        ));
        if warm > 0 {
            serving.spawn(warm_up(lane.clone(), warm));
        }
        for poll in polls {
            polling.spawn(polls::run(lane.clone(), poll, publisher.clone(), spec.stop.clone()));
        }
        lanes.push(lane);
    }
    let lanes = Rc::new(lanes);
    serving.spawn(inbox::serve(lanes.clone(), spec.mailbox, publisher.clone(), serving.clone()));
    if let Some(seat) = &seat {
        serving.spawn(send_on(seat.clone()));
    }
    let (cells, shown, pool) = (spec.cells.clone(), lanes.clone(), client.clone());
    serving.spawn(runtime::heartbeat(spec.cells.core().clone(), move || {
        let stats = pool.stats();
        cells.connections(stats.open, stats.idle, stats.waiting);
        shown.iter().for_each(|lane| lane.show_breaker());
    }));
    spec.stop.stopped().await;
    let deadline = Deadline::after(Mono::now(), spec.stop.grace());
    while !polling.is_empty() && !deadline.passed(Mono::now()) {
        runtime::sleep(DRAIN_STEP).await;
    }
    if !polling.is_empty() {
        tracing::warn!(
            shard = spec.index,
            polls = polling.len(),
            "polls still in flight at the deadline are cancelled"
        );
    }
    polling.cancel_all().await;
    serving.cancel_all().await;
    client.close().await;
    if let Some(seat) = seat {
        // What was cancelled has its entry by now. A log that takes nothing is waited for as long as its writer is.
        seat.finish().await;
    }
    Ok(())
}

/// Opens `count` connections to each endpoint of a lane, one after the other, so that no host meets a burst of
/// handshakes. They are under the pool's rules from then on: one that stays idle for too long is closed, and none is
/// opened again ahead of need. A host that cannot be reached is left to the requests, which judge it.
async fn warm_up(lane: Rc<Lane>, count: usize) {
    let source = lane.source.spec().id;
    for endpoint in &lane.endpoints {
        let host = endpoint.host();
        match lane.client.warm(endpoint, count, &lane.limits).await {
            Ok(open) => tracing::debug!(%source, host, open, "connections are open ahead of need"),
            Err(failure) => tracing::debug!(%source, host, why = %failure.message, "no connection ahead of need"),
        }
    }
}

/// Sends the audit log's entries on before their batch is full.
async fn send_on(seat: Rc<AuditSeat>) {
    loop {
        seat.begun().await;
        runtime::sleep(AUDIT_LINGER).await;
        seat.flush();
    }
}

/// How long an entry of the audit log may wait for others.
const AUDIT_LINGER: Duration = Duration::from_millis(25);
const DRAIN_STEP: Duration = Duration::from_millis(5);
