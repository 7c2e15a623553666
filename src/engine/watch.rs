//! What watches a running engine: the control core with the admin server, and the housekeeping thread, which saves
//! quotas and moves the metrics' windows on. Owns their start and their end.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::config::Settings;
use crate::control::{self, ControlSpec};
use crate::engine::keep;
use crate::engine::observe::Observer;
use crate::error::{Error, ErrorKind, Result};
use crate::handoff::{self, QuotaCell, StopSource};
use crate::http::{ResolverHandle, TlsContext};
use crate::metrics::{CoreCells, SharedCore};
use crate::runtime::{self, CoreHandle, Placement};

/// A control core that is yet to be started; its address is taken already.
pub(super) struct ControlPlan {
    pub(super) cells: SharedCore,
    listener: Option<TcpListener>,
    pub(super) address: Option<SocketAddr>,
}

/// A running control core.
pub(super) struct Control {
    stop: StopSource,
    core: CoreHandle<()>,
}

impl ControlPlan {
    /// Takes the admin server's address.
    ///
    /// # Errors
    /// When it is taken already.
    pub(super) fn new(settings: &Settings) -> Result<ControlPlan> {
        let bound = if settings.admin.enabled { Some(control::bind(&settings.admin)?) } else { None };
        let (listener, address) = bound.map_or((None, None), |(listener, address)| (Some(listener), Some(address)));
        Ok(ControlPlan { cells: CoreCells::new("control", None), listener, address })
    }

    /// Starts the core.
    ///
    /// # Errors
    /// When the host refuses another core.
    pub(super) fn start(
        self,
        settings: &Settings,
        observer: Arc<Observer>,
        post: (ResolverHandle, TlsContext),
    ) -> Result<Control> {
        let (stop, listener) = handoff::stop();
        let spec = ControlSpec {
            plane: observer,
            listener: self.listener,
            admin: settings.admin.clone(),
            alerts: settings.alerts.clone(),
            post,
            cells: self.cells,
            stop: listener,
        };
        let core = runtime::launch("control", Placement::Unpinned, move || control::run(spec))?;
        if let Some(address) = self.address {
            tracing::info!(%address, "the admin server listens");
        }
        Ok(Control { stop, core })
    }
}

impl Control {
    /// Ends it: last of all, so that it tells of the end of the others.
    pub(super) fn finish(self) -> Result<()> {
        self.stop.stop();
        self.core.join()
    }
}

/// Saves quotas and moves the metrics' windows on; needs no core.
pub(super) struct Housekeeping {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Housekeeping {
    /// Starts the thread, on the CPUs of `cpus` if there are any: what it gives back to the allocator can take it some
    /// milliseconds, for which a shard on its CPU would wait.
    ///
    /// # Errors
    /// When the host refuses it.
    pub(super) fn start(
        kept: Vec<(QuotaCell, PathBuf)>,
        observer: Arc<Observer>,
        cpus: Vec<usize>,
    ) -> Result<Housekeeping> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name("housekeeping".to_owned()).spawn(move || {
            runtime::stay_on(&cpus);
            let mut ticks = 0_u32;
            while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(TICK) {
                observer.sample();
                ticks += 1;
                if ticks.is_multiple_of(SAVE_TICKS) {
                    kept.iter().for_each(|(quota, file)| keep::save(quota, file));
                }
            }
            kept.iter().for_each(|(quota, file)| keep::save(quota, file));
        });
        let refused = |error| Error::new(ErrorKind::Host, format!("cannot start the housekeeping thread: {error}"));
        Ok(Housekeeping { stop, thread: thread.map_err(refused)? })
    }

    /// Ends it, when everything is saved.
    pub(super) fn finish(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

const TICK: Duration = Duration::from_secs(1);
const SAVE_TICKS: u32 = 2;
