//! The control plane: the admin server with metrics, status and health, on a core of its own that no shard waits for.
//! Sees an engine through [`Plane`] alone: snapshots and orders, never a shard.
//! Invariants: everything a client can send is bounded in size, time and number; Host and Origin are checked before a
//! body is read; a token is compared in constant time; the data plane is never waited for.

mod breakers;
mod connection;
mod exposition;
mod guard;
mod health;
mod reply;
mod routes;
mod server;
mod tap;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

pub use exposition::{Format, expose};
pub use health::{LIVE_WITHIN, judge};

use crate::config::Admin;
use crate::error::{Error, ErrorKind, Result};
use crate::handoff::{Stop, Tap};
use crate::metrics::{SharedCore, Snapshot};
use crate::policy::Force;
use crate::runtime;

/// What the control plane sees of an engine, and may order.
pub trait Plane: Send + Sync {
    /// Everything measured so far.
    fn snapshot(&self) -> Snapshot;

    /// Where its records can be read as they are written.
    fn tap(&self) -> &Tap;

    /// Overrules the breakers of a source.
    ///
    /// # Errors
    /// When there is no such source ([`ErrorKind::Misuse`]), or a shard takes no orders.
    fn force_breaker(&self, source: &str, force: Force) -> Result<()>;
}

/// What a control core is made from.
pub struct ControlSpec {
    /// The engine.
    pub plane: Arc<dyn Plane>,
    /// Where the admin server listens; `None` without one.
    pub listener: Option<TcpListener>,
    /// Its settings.
    pub admin: Admin,
    /// The core's own metrics.
    pub cells: SharedCore,
    /// Says when to stop.
    pub stop: Stop,
}

/// Takes the admin server's address, before anything else is started.
///
/// # Errors
/// When it is taken or is none of this host's; says what to do.
pub fn bind(admin: &Admin) -> Result<(TcpListener, SocketAddr)> {
    // The standard library sets SO_REUSEADDR and not SO_REUSEPORT: a restart need not wait, and two engines cannot share.
    let bound = TcpListener::bind(admin.listen).and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = bound.map_err(|error| {
        let listen = admin.listen;
        let mend = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another process listens there; set admin.listen to another port (0 is any), or admin.enabled to false"
            }
            std::io::ErrorKind::AddrNotAvailable => "expected an address of this host in admin.listen",
            _ => "set admin.listen to another address",
        };
        Error::new(ErrorKind::Io, format!("admin server: cannot listen on {listen}: {error}; {mend}"))
    })?;
    Ok((listener, address))
}

/// Runs the control plane on the calling core until it is told to stop.
pub async fn run(spec: ControlSpec) {
    // What serves people gives way to what serves the data.
    runtime::yield_priority();
    let beats = runtime::spawn(runtime::heartbeat(spec.cells, || {}));
    match spec.listener {
        Some(listener) => server::serve(listener, spec.admin, spec.plane, spec.stop).await,
        None => spec.stop.stopped().await,
    }
    beats.cancel().await;
}
