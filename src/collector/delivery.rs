//! Delivery as the sink core sees it: starts the thread of each sink, tells them what is durable, hears how they do,
//! ends them. What a thread does is in `driver.rs`. Invariant: no sink ever makes the sink core wait.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::driver::Driver;
use super::journal::Journal;
use super::offset::{Offset, OffsetFile};
use crate::config::{SinkSettings, SinkTarget};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::SinkStatus;
use crate::runtime::sleep;
use crate::sink::{self, SinkHost};
use crate::time::{Deadline, Mono, UnixNanos};

/// How sinks are driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverySettings {
    /// The first pause after a batch that was not taken; it doubles from there.
    pub retry_base: Duration,
    /// The longest pause.
    pub retry_cap: Duration,
    /// Time between two commits of an offset.
    pub commit_interval: Duration,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        DeliverySettings {
            retry_base: Duration::from_millis(200),
            retry_cap: Duration::from_secs(30),
            commit_interval: Duration::from_secs(1),
        }
    }
}

/// The collector's side of all sinks.
pub(super) struct Delivery {
    sinks: Vec<Running>,
    /// Names of sinks that take everything without reading it.
    nulls: Vec<String>,
    durable_seq: u64,
}

struct Running {
    bell: Option<SyncSender<u64>>,
    is_unsent: bool,
    progress: Receiver<SinkStatus>,
    thread: Option<JoinHandle<()>>,
    status: SinkStatus,
}

impl Delivery {
    /// Starts the thread of each sink.
    pub(super) fn start(
        data_dir: &Path,
        sinks: &[SinkSettings],
        settings: DeliverySettings,
        host: &SinkHost,
        mut journal: Option<&mut Journal>,
    ) -> Result<Delivery> {
        let mut delivery = Delivery { sinks: Vec::new(), nulls: Vec::new(), durable_seq: 0 };
        for (index, sink) in sinks.iter().enumerate() {
            let name = &sink.name;
            if name.is_empty() || name.starts_with('.') || name.contains('/') {
                return Err(Error::config(format!("sink {name:?}: expected a name that can be a file's")));
            }
            if sinks[..index].iter().any(|other| other.name == *name) {
                return Err(Error::config(format!("sink {name}: expected a name of its own, found it twice")));
            }
            let Some(journal) = journal.as_deref_mut() else {
                delivery.nulls.push(name.clone());
                continue;
            };
            if sink.target == SinkTarget::Null {
                delivery.nulls.push(name.clone());
                continue;
            }
            let file = OffsetFile::new(data_dir, name);
            let offset = file.load()?;
            if let Some(offset) = offset
                && offset.seq >= journal.next_seq()
            {
                let (ends, seq) = (journal.next_seq() - 1, offset.seq);
                tracing::error!(sink = %name, seq, ends, "the journal ends before what the sink has: it goes on behind that");
                journal.skip_to(seq);
            }
            let target = sink::build(sink, host)?;
            delivery.sinks.push(Running::start(
                |bells, tell, status| {
                    let dirs = (data_dir, journal.dir());
                    Driver::new(target, settings, dirs, (file, offset), bells, tell, status)
                },
                name,
                offset,
            )?);
        }
        delivery.announce(journal.map_or(0, |journal| journal.durable_seq()));
        Ok(delivery)
    }

    /// Tells all sinks that the journal is durable up to `seq`.
    pub(super) fn announce(&mut self, seq: u64) {
        self.durable_seq = seq;
        self.sinks.iter_mut().for_each(|sink| sink.ring(seq));
    }

    /// Tells again those that had not heard the last time.
    pub(super) fn resend(&mut self) {
        let seq = self.durable_seq;
        self.sinks.iter_mut().filter(|sink| sink.is_unsent).for_each(|sink| sink.ring(seq));
    }

    /// Whether a sink has not heard of everything yet.
    pub(super) fn has_unsent(&self) -> bool {
        self.sinks.iter().any(|sink| sink.is_unsent)
    }

    /// The last `seq` that is safe at every sink.
    pub(super) fn read_seq(&mut self) -> u64 {
        self.collect();
        self.sinks.iter().map(|sink| sink.status.committed_seq).min().unwrap_or(u64::MAX)
    }

    /// Takes in what the sinks have reported.
    pub(super) fn collect(&mut self) {
        for sink in &mut self.sinks {
            while let Ok(status) = sink.progress.try_recv() {
                sink.status = status;
            }
            if sink.bell.is_some() && sink.thread.as_ref().is_some_and(JoinHandle::is_finished) {
                sink.status.failing = Some("its thread ended by a panic; restart to have it go on".to_owned());
            }
        }
    }

    /// How each sink does, the journal being written up to `written_seq`.
    pub(super) fn statuses(&self, written_seq: u64) -> Vec<SinkStatus> {
        let mut statuses: Vec<SinkStatus> = Vec::with_capacity(self.sinks.len() + self.nulls.len());
        for sink in &self.sinks {
            let mut status = sink.status.clone();
            status.lag_records = written_seq.saturating_sub(status.committed_seq);
            if status.lag_records > 0 && status.pending_since != UnixNanos::EPOCH {
                status.lag_ms = UnixNanos::now().since(status.pending_since).as_millis() as u64;
            }
            statuses.push(status);
        }
        for name in &self.nulls {
            statuses.push(SinkStatus { name: name.clone(), committed_seq: written_seq, ..SinkStatus::default() });
        }
        statuses
    }

    /// Lets the sinks catch up and ends them; one that has not by `deadline` is left to go on from its offset next time.
    pub(super) async fn finish(&mut self, deadline: Deadline) {
        while self.has_unsent() && !deadline.passed(Mono::now()) {
            sleep(FINISH_PAUSE).await;
            self.resend();
        }
        self.sinks.iter_mut().for_each(|sink| sink.bell = None);
        loop {
            self.collect();
            let is_done = self.sinks.iter().all(|sink| sink.thread.as_ref().is_none_or(JoinHandle::is_finished));
            if is_done || deadline.passed(Mono::now()) {
                break;
            }
            sleep(FINISH_PAUSE).await;
        }
        self.collect();
        for sink in &mut self.sinks {
            let Some(thread) = sink.thread.take() else { continue };
            let name = &sink.status.name;
            if !thread.is_finished() {
                tracing::warn!(sink = %name, "a sink has not caught up; the next start goes on");
            } else if thread.join().is_err() {
                tracing::error!(sink = %name, "the thread of a sink ended by a panic");
            }
        }
        self.collect();
    }
}

impl Running {
    fn start(
        driver: impl FnOnce(Receiver<u64>, SyncSender<SinkStatus>, SinkStatus) -> Driver,
        name: &str,
        offset: Option<Offset>,
    ) -> Result<Running> {
        let (bell, bells) = sync_channel(1);
        let (tell, progress) = sync_channel(PROGRESS_KEPT);
        let committed_seq = offset.map_or(0, |offset| offset.seq);
        let status = SinkStatus { name: name.to_owned(), committed_seq, ..SinkStatus::default() };
        let driver = driver(bells, tell, status.clone());
        let thread = std::thread::Builder::new().name(format!("sink-{name}")).spawn(move || driver.run());
        let thread = thread
            .map_err(|error| Error::new(ErrorKind::Host, format!("cannot start the thread of sink {name}: {error}")))?;
        Ok(Running { bell: Some(bell), is_unsent: false, progress, thread: Some(thread), status })
    }

    fn ring(&mut self, seq: u64) {
        if let Some(bell) = &self.bell {
            self.is_unsent = matches!(bell.try_send(seq), Err(TrySendError::Full(_)));
        }
    }
}

/// Statuses that may wait for the collector.
const PROGRESS_KEPT: usize = 16;
const FINISH_PAUSE: Duration = Duration::from_millis(2);
