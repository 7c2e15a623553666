//! The control plane: the admin server with metrics, status and health, and the alerts, on a core of its own that no
//! shard waits for.
//! Sees an engine through [`Plane`] alone: snapshots and orders, never a shard.
//! Invariants: everything a client can send is bounded in size, time and number; Host and Origin are checked before a
//! body is read; a token is compared in constant time; the data plane is never waited for.

mod alerts;
mod breakers;
mod connection;
mod exposition;
mod guard;
mod health;
mod page;
mod reply;
mod routes;
mod server;
mod tap;
mod webhook;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

pub use alerts::{AlertEngine, RULES};
pub use exposition::{Format, expose};
pub use health::{LIVE_WITHIN, judge};

use crate::config::{Admin, Alerts, Secret};
use crate::control::webhook::{Outbox, Webhook};
use crate::error::{Error, ErrorKind, Result};
use crate::handoff::{Stop, Tap};
use crate::http::{Client, ClientSettings, ResolverHandle, TlsContext};
use crate::metrics::{Alert, SharedCore, Snapshot};
use crate::policy::Force;
use crate::runtime::{self, Tasks};
use crate::time::Now;

/// What the control plane sees of an engine, and may order.
pub trait Plane: Send + Sync {
    /// Everything measured so far.
    fn snapshot(&self) -> Snapshot;

    /// Shows the alerts of this moment in later snapshots, and how often each rule has fired.
    fn show_alerts(&self, alerts: Vec<Alert>, fired: &BTreeMap<String, u64>);

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
    /// The alerts' settings.
    pub alerts: Alerts,
    /// What the webhook is posted to with: names and trust.
    pub post: (ResolverHandle, TlsContext),
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
    let tasks = Tasks::default();
    let mut posting = None;
    if spec.alerts.enabled {
        let webhook = spec.alerts.webhook.as_ref().and_then(|url| webhook(url, spec.post));
        let outbox = webhook.as_ref().map(Webhook::outbox);
        posting = webhook.map(|webhook| runtime::spawn(webhook.run(spec.stop.clone())));
        tasks.spawn(watch(spec.plane.clone(), AlertEngine::new(spec.alerts), outbox));
    }
    match spec.listener {
        Some(listener) => server::serve(listener, spec.admin, spec.plane, spec.stop).await,
        None => spec.stop.stopped().await,
    }
    tasks.cancel_all().await;
    if let Some(posting) = posting {
        posting.join().await;
    }
    beats.cancel().await;
}

/// Looks at the alerts' rules once a second.
async fn watch(plane: Arc<dyn Plane>, mut engine: AlertEngine, outbox: Option<Outbox>) {
    loop {
        let (snapshot, now) = (plane.snapshot(), Now::read());
        for alert in engine.look(&snapshot, now) {
            tell(&alert);
            if let Some(outbox) = &outbox {
                outbox.push(&alert, &snapshot);
            }
        }
        plane.show_alerts(engine.alerts(now.mono), engine.fired());
        runtime::sleep(LOOK_EVERY).await;
    }
}

fn tell(alert: &Alert) {
    let Alert { rule, subject, message, state, .. } = alert;
    if state == "resolved" {
        tracing::info!(rule, subject, "an alert is resolved");
    } else if alert.severity == "critical" {
        tracing::error!(rule, subject, message, "an alert fires");
    } else {
        tracing::warn!(rule, subject, message, "an alert fires");
    }
}

/// The webhook; what is wrong with it is told, and alerts go without.
fn webhook(url: &Secret, (resolver, tls): (ResolverHandle, TlsContext)) -> Option<Webhook> {
    let settings = ClientSettings { connections_max: 2, connections_per_host_max: 1, ..ClientSettings::default() };
    let made = Client::new(settings, &tls, resolver).and_then(|client| Webhook::new(client, url));
    made.inspect_err(|_| tracing::error!("alerts.webhook is no address that can be posted to")).ok()
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
