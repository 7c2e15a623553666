//! The simulator's server: TLS, HTTP/1.1 and HTTP/2 on one core, each provider under a host name of its own.
//! A source's first base URL is `<source>.localhost`, its others `<base>.<source>.localhost`; where a client cannot
//! use names, the path prefixes `/<source>/` and `/<source>.<base>/` lead to the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;
use futures_lite::StreamExt as _;

use crate::error::{Error, ErrorKind, Result};
use crate::handoff::{self, Mailbox, MailboxSender};
use crate::runtime::{self, CoreHandle, Placement, Tasks, TcpListener};
use crate::sim::actor::Counts;
use crate::sim::answers::Answers;
use crate::sim::connection;
use crate::sim::profile::Profile;
use crate::sim::service::Service;
use crate::sim::tls::{self, SimTls};
use crate::source::SOURCES;

/// How a simulator runs.
#[derive(Clone, Debug)]
pub struct SimSettings {
    /// Where it listens; port 0 is any.
    pub listen: SocketAddr,
    /// Where its thread runs.
    pub placement: Placement,
    /// Serves plain HTTP instead of HTTPS.
    pub plain: bool,
    /// A folder of recorded answers to serve instead of the samples.
    pub recordings: Option<std::path::PathBuf>,
}

/// A running simulator. Dropping it leaves it running; [`Sim::stop`] ends it.
pub struct Sim {
    address: SocketAddr,
    ca_pem: Option<String>,
    orders: MailboxSender<Order>,
    stop: oneshot::Sender<()>,
    core: CoreHandle<()>,
}

/// What the handle asks of the simulator's core.
enum Order {
    Counts(oneshot::Sender<BTreeMap<String, Counts>>),
    Follow(Box<Profile>, oneshot::Sender<()>),
}

impl Sim {
    /// Starts a simulator on a core of its own and returns once it listens.
    ///
    /// # Errors
    /// When the address is taken, or the host refuses another core.
    pub fn start(settings: SimSettings) -> Result<Sim> {
        Sim::start_with(settings, Profile::default())
    }

    /// The same, misbehaving as a profile says.
    ///
    /// # Errors
    /// As [`Sim::start`].
    pub fn start_with(settings: SimSettings, profile: Profile) -> Result<Sim> {
        let answers = Answers::load(settings.recordings.as_deref())?;
        let tls = if settings.plain { None } else { Some(tls::make(host_names())?) };
        let ca_pem = tls.as_ref().map(|tls| tls.ca_pem.clone());
        let (stop, stopped) = oneshot::channel();
        let (orders, mailbox) = handoff::mailbox(ORDERS_MAX);
        let (bound, listening) = std::sync::mpsc::sync_channel(1);
        let core = runtime::launch("sim", settings.placement, move || async move {
            match TcpListener::bind(settings.listen).and_then(|listener| Ok((listener.local_addr()?, listener))) {
                Ok((address, listener)) => {
                    let _ = bound.send(Ok(address));
                    let service = Rc::new(Service::new(answers, &profile));
                    serve(listener, tls, service, mailbox, stopped).await;
                }
                Err(error) => {
                    let _ = bound.send(Err(error.to_string()));
                }
            }
        })?;
        match listening.recv() {
            Ok(Ok(address)) => Ok(Sim { address, ca_pem, orders, stop, core }),
            Ok(Err(why)) => {
                Err(Error::new(ErrorKind::Io, format!("simulator: cannot listen on {}: {why}", settings.listen)))
            }
            Err(_) => Err(Error::new(ErrorKind::Stopped, "simulator: its core ended at start")),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The authority to trust; `None` when it serves plain HTTP.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// The base URLs of every source: source id, base name, URL.
    pub fn base_urls(&self) -> Vec<(&'static str, &'static str, String)> {
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        let port = self.address.port();
        let mut urls = Vec::new();
        for source in SOURCES {
            let spec = source.spec();
            for (index, base) in spec.bases.iter().enumerate() {
                let host = host_name(spec.id.as_str(), base.name, index);
                urls.push((spec.id.as_str(), base.name, format!("{scheme}://{host}:{port}")));
            }
        }
        urls
    }

    /// Puts another profile into force, from its beginning; returns once that is so. Connections end in order.
    ///
    /// # Errors
    /// When the simulator has ended.
    pub fn follow(&self, profile: Profile) -> Result<()> {
        self.ask(|reply| Order::Follow(Box::new(profile), reply))
    }

    /// What every source has done so far.
    ///
    /// # Errors
    /// When the simulator has ended.
    pub fn counts(&self) -> Result<BTreeMap<String, Counts>> {
        self.ask(Order::Counts)
    }

    fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T> {
        let ended = || Error::new(ErrorKind::Stopped, "simulator: it has ended, or is too busy to take orders");
        let (reply, replied) = oneshot::channel();
        self.orders.send(order(reply)).map_err(|_| ended())?;
        futures_lite::future::block_on(replied).map_err(|_| ended())
    }

    /// Stops listening, ends every connection, and waits for the core.
    ///
    /// # Errors
    /// When the simulator panicked.
    pub fn stop(self) -> Result<()> {
        let _ = self.stop.send(());
        self.core.join()
    }
}

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sim").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The host name of a base URL of a source. RFC 6761 keeps every name under `localhost` on the loopback.
pub fn host_name(source: &str, base: &str, index: usize) -> String {
    // Underscores are no letters of host names.
    let source = source.replace('_', "-");
    if index == 0 { format!("{source}.localhost") } else { format!("{base}.{source}.localhost") }
}

fn host_names() -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    for source in SOURCES {
        let spec = source.spec();
        names.extend(spec.bases.iter().enumerate().map(|(index, base)| host_name(spec.id.as_str(), base.name, index)));
    }
    names
}

async fn serve(
    listener: TcpListener,
    tls: Option<SimTls>,
    service: Rc<Service>,
    orders: Mailbox<Order>,
    stopped: oneshot::Receiver<()>,
) {
    let tasks = Tasks::default();
    let accepting = async {
        let mut incoming = listener.incoming();
        while let Some(accepted) = incoming.next().await {
            match accepted {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    tasks.spawn(connection::serve(stream, tls.clone(), service.clone()));
                }
                // Out of descriptors, most likely: give connections time to end.
                Err(_) => runtime::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tasks.spawn(obey(orders, service.clone()));
    futures_lite::future::or(accepting, async {
        let _ = stopped.await;
    })
    .await;
    tasks.cancel_all().await;
}

/// Does what the handle asks for.
async fn obey(mut orders: Mailbox<Order>, service: Rc<Service>) {
    while let Some(order) = orders.recv().await {
        // Whoever asked may have given up.
        match order {
            Order::Counts(reply) => {
                let _ = reply.send(service.counts());
            }
            Order::Follow(profile, reply) => {
                service.follow(&profile);
                let _ = reply.send(());
            }
        }
    }
}

const ORDERS_MAX: usize = 64;
