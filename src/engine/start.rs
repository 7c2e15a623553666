//! Starting and ending an engine: host checks, the data directory, the sink core, the shards, housekeeping.

use std::net::IpAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crate::collector::{
    AuditSettings, AuditSummary, BufferCounters, Collector, CollectorSettings, DataLock, Recovery, Summary,
};
use crate::config::{Cpus, Environment, Loaded, Settings};
use crate::engine::audit::{self, AuditParts};
use crate::engine::check::{self, Checked};
use crate::engine::handle::{Engine, Inner};
use crate::engine::observe::{Observer, Planned};
use crate::engine::plan::{self, PlanOptions};
use crate::engine::watch::{Control, ControlPlan, Housekeeping};
use crate::engine::{host, keep, sinks};
use crate::error::{Error, ErrorKind, Result};
use crate::handoff::{self, AuditDrain, AuditHandle, BufferSpec, BufferView, Stop, StopSource, Tap};
use crate::http::{ClientSettings, DnsSettings, ResolverHandle, TlsContext};
use crate::metrics::{CoreCells, MetricsReader, RecordCounts, ShardCells, SharedCells, SharedSink, SinkCells};
use crate::model::{Head, SourceId, Stream};
use crate::runtime::{self, CoreHandle, Placement};
use crate::shard::{self, Decoders, ShardSpec};
use crate::time::{Deadline, Mono, Now};

/// Puts an engine together.
#[derive(Debug)]
pub struct EngineBuilder {
    settings: Settings,
    environment: Environment,
    options: PlanOptions,
    trust_pem: Option<String>,
    drain_by_caller: bool,
    journal: bool,
    data: bool,
    one_shard: bool,
    backfill: Option<Stream>,
    control: bool,
    h2_streams_max: Option<usize>,
    resolve: Option<Resolve>,
}

/// A way from names to addresses.
struct Resolve(Box<dyn Fn(&str) -> Addresses + Send + Sync>);

type Addresses = std::io::Result<Vec<IpAddr>>;

impl std::fmt::Debug for Resolve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolve")
    }
}

impl Engine {
    /// Begins with settings; [`EngineBuilder::start`] starts the engine.
    pub fn builder(settings: Settings) -> EngineBuilder {
        EngineBuilder {
            settings,
            environment: Environment::default(),
            options: PlanOptions::default(),
            trust_pem: None,
            drain_by_caller: false,
            journal: true,
            data: true,
            one_shard: false,
            backfill: None,
            control: false,
            h2_streams_max: None,
            resolve: None,
        }
    }
}

impl EngineBuilder {
    /// Looks for secrets here; without it, none are known.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// Starts no sink core: the caller reads the buffer by [`Engine::drain`]. No journal is written.
    pub fn drain_by_caller(mut self) -> Self {
        self.drain_by_caller = true;
        self
    }

    /// Trusts the authority in `ca_pem` alone: a simulator's.
    pub fn trust(mut self, ca_pem: Option<&str>) -> Self {
        self.trust_pem = ca_pem.map(str::to_owned);
        self
    }

    /// Neither reads nor writes state, and takes no lock on the data directory.
    pub fn stateless(mut self) -> Self {
        self.options.stateless = true;
        self.data = false;
        self
    }

    /// Takes no lock on the data directory and writes no journal, but keeps quota state: for one-off fetches beside a
    /// running engine.
    pub fn unlocked(mut self) -> Self {
        self.data = false;
        self
    }

    /// Has the sink core count records instead of writing a journal.
    pub fn without_journal(mut self) -> Self {
        self.journal = false;
        self
    }

    /// Leaves the configured polls out.
    pub fn without_polls(mut self) -> Self {
        self.options.no_polls = true;
        self
    }

    /// Runs one shard, wherever the configuration would put more: for one-off commands.
    pub fn one_shard(mut self) -> Self {
        self.one_shard = true;
        self
    }

    /// Starts the control core: the admin server, if the settings have one, and what else watches a run. Without it a
    /// program that embeds the engine has [`Engine::metrics`] alone, and listens nowhere.
    pub fn with_control(mut self) -> Self {
        self.control = true;
        self
    }

    /// Turns names into addresses by `resolve` instead of the system's resolver. It may block: threads of its own call it.
    pub fn resolve_by(mut self, resolve: impl Fn(&str) -> Addresses + Send + Sync + 'static) -> Self {
        self.resolve = Some(Resolve(Box::new(resolve)));
        self
    }

    /// Divides the times of all quota windows: for tests against a simulator whose windows are as much shorter.
    #[doc(hidden)]
    pub fn scale_quota(mut self, scale: u32) -> Self {
        self.options.quota_scale = scale;
        self
    }

    /// Polls nothing and fills a part of one stream: records of it that the journal has are dropped, however old, and
    /// those it has not move no cursor that they do not join.
    pub(crate) fn backfill(mut self, stream: Stream) -> Self {
        self.options.no_polls = true;
        self.backfill = Some(stream);
        self
    }

    /// Bounds the streams of one HTTP/2 connection: for load runs over a given number of connections.
    pub(crate) fn h2_streams_max(mut self, streams: usize) -> Self {
        self.h2_streams_max = Some(streams);
        self
    }

    /// Sets the limits of every quota out of reach. Only for load runs against one's own servers.
    pub(crate) fn unlimited(mut self) -> Self {
        self.options.unlimited = true;
        self
    }

    /// Starts the engine; returns when every core runs.
    ///
    /// # Errors
    /// All problems of the settings; what the host refuses and how to allow it; a data directory that another engine
    /// holds or that cannot be written.
    pub fn start(mut self) -> Result<Engine> {
        let loaded = Loaded::of(self.settings.clone());
        let mut checked = check::check(loaded, &self.environment, &Cpus::read()).map_err(Error::from)?;
        if self.one_shard {
            checked.placement.shards.truncate(1);
        }
        // Without a control core a program asks by itself, and no poll is no mistake.
        let idle = if self.control && !self.options.no_polls { checked.idle() } else { None };
        for warning in checked.warnings.iter().chain(&idle) {
            tracing::warn!("{warning}");
        }
        let data = &checked.settings.data_dir;
        host::ready(&checked.settings, self.data)?;
        let control = if self.control { Some(ControlPlan::new(&checked.settings)?) } else { None };
        let lock = if self.data { Some(DataLock::acquire(data)?) } else { None };

        let ids: Vec<SourceId> = checked.sources.iter().map(|source| source.source.spec().id).collect();
        let mut plan = plan::plan(&checked, &self.options)?;
        let (publisher, drain) = handoff::buffer(buffer_spec(&checked, ids.clone()));
        let view = drain.view();
        let (stop, listener) = handoff::stop();
        let mut drain = Some(drain);
        let run = sinks::run_id();
        // Written by the sink core into the data directory: without either there is none.
        let mut audit = if self.drain_by_caller || !self.data || !self.journal {
            AuditParts::default()
        } else {
            AuditParts::new(&checked, plan.shards.len(), sinks::audit_settings(&checked, &run))
        };
        let sink = (!self.drain_by_caller).then(|| {
            let core = CoreCells::new("sink", Some(checked.placement.sink));
            SinkCells::new(core, &ids, checked.settings.metrics.symbols_max)
        });
        let tap = Tap::new();
        let collector = if let Some(cells) = sink.clone() {
            let drain = drain.take().ok_or_else(|| Error::new(ErrorKind::Misuse, "the buffer has one reader"))?;
            let settings = sinks::collector_settings(&checked, &run, self.journal && self.data, self.backfill.take());
            let is_followed = settings.journal.is_some() && settings.cursors.is_some();
            let (core, heads) = start_collector(
                checked.placement.sink,
                (settings, audit.writer.take()),
                drain,
                (cells, tap.clone()),
                listener.clone(),
            )?;
            if is_followed {
                keep::follow(&mut plan.shards, &heads, &checked.settings);
            }
            Some(core)
        } else {
            None
        };

        let tls = match (&self.trust_pem, &checked.settings.tls_ca_file) {
            (Some(pem), _) => TlsContext::trusting(pem.as_bytes())?,
            (None, file) => TlsContext::new(file.as_deref())?,
        };
        let resolver = match self.resolve.take() {
            Some(Resolve(resolve)) => ResolverHandle::from_fn(resolve)?,
            None => ResolverHandle::system()?,
        };
        let shard_cpus = &checked.placement.shards;
        let beside: Vec<usize> = runtime::allowed_cpus().into_iter().filter(|cpu| !shard_cpus.contains(cpu)).collect();
        let decoders = Decoders::start(&beside).map_err(|error| {
            Error::new(ErrorKind::Host, format!("cannot start the threads that read big bodies: {error}"))
        })?;
        let mut audit_seeds = audit.seeds.into_iter();
        let mut mailboxes = Vec::new();
        let mut shards = Vec::new();
        let mut cells: Vec<SharedCells> = Vec::new();
        let count = checked.placement.shards.len().max(1);
        for (index, (lanes, cpu)) in plan.shards.into_iter().zip(&checked.placement.shards).enumerate() {
            let (sender, mailbox) = handoff::mailbox(MAILBOX_MAX);
            let owned: Vec<SourceId> = lanes.iter().map(|lane| lane.source.spec().id).collect();
            cells.push(ShardCells::new(CoreCells::new(format!("shard-{index}"), Some(*cpu)), &owned));
            let spec = ShardSpec {
                index,
                client: self.client_settings(&checked),
                tls: tls.clone(),
                resolver: resolver.clone(),
                lanes,
                publisher: publisher.clone(),
                mailbox,
                stop: listener.clone(),
                cells: cells[index].clone(),
                in_flight_max: (checked.settings.in_flight_max / count).max(1),
                decoders: decoders.clone(),
                audit: audit_seeds.next(),
                audit_body_bytes_max: audit.body_bytes_max,
            };
            shards.push(runtime::launch(&format!("shard-{index}"), Placement::Cpu(*cpu), move || shard::run(spec))?);
            mailboxes.push(sender);
        }
        // The shards have their own: the buffer closes when the last of them ends.
        drop(publisher);
        log_start(&checked);
        if let Some(handle) = &audit.handle {
            audit::started(handle, &checked, &run);
        }
        let others = control.iter().map(|control| control.cells.clone()).collect();
        let observer = Arc::new(Observer {
            mailboxes,
            owners: plan.owners,
            elsewhere: checked.elsewhere.clone(),
            cluster: checked.settings.cluster,
            reader: Mutex::new(MetricsReader::new(cells, sink, others, Now::read())),
            view,
            quotas: plan.quotas,
            audit: audit.handle.clone(),
            tap,
            stop: listener,
            run,
            admin: control.as_ref().and_then(|control| control.address),
            alerts: Mutex::default(),
            plan: Planned::new(&checked, !self.options.no_polls),
        });
        let post = (resolver, tls);
        let control = control.map(|control| control.start(&checked.settings, observer.clone(), post)).transpose()?;
        let housekeeping = Housekeeping::start(plan.kept, observer.clone(), beside)?;
        let running = Running { stop, shards, collector, control, housekeeping, audit: audit.handle, _lock: lock };
        Ok(Engine(Arc::new(Inner {
            observer,
            next: AtomicUsize::new(0),
            drain: Mutex::new(drain),
            running: Mutex::new(Some(running)),
        })))
    }

    fn client_settings(&self, checked: &Checked) -> ClientSettings {
        let http = &checked.settings.http;
        let defaults = ClientSettings::default();
        let shards = checked.placement.shards.len().max(1);
        ClientSettings {
            connections_max: (http.connections_max / shards).max(1),
            connections_per_host_max: http.connections_per_host_max,
            idle_max: http.keepalive,
            age_max: http.connection_age_max,
            uses_max: u32::try_from(http.connection_uses_max).unwrap_or(u32::MAX),
            dns: DnsSettings {
                ttl: checked.settings.dns_ttl,
                // A name that failed is tried again by the breaker's next probe.
                failure_ttl: defaults.dns.failure_ttl.min(checked.settings.breaker.open_for),
                ..defaults.dns
            },
            h2_streams_max: self.h2_streams_max.unwrap_or(defaults.h2_streams_max),
            ..defaults
        }
    }
}

/// What ends with an engine.
pub(super) struct Running {
    stop: StopSource,
    shards: Vec<CoreHandle<Result<()>>>,
    collector: Option<SinkCore>,
    audit: Option<AuditHandle>,
    control: Option<Control>,
    housekeeping: Housekeeping,
    _lock: Option<DataLock>,
}

/// How an engine ended.
#[derive(Clone, Debug)]
pub struct Finish {
    /// The records' counters, after everything was drained.
    pub counts: RecordCounts,
    /// What the sink core wrote; `None` when there was none.
    pub journal: Option<Summary>,
    /// What became of the audit log; `None` when it was off.
    pub audit: Option<AuditSummary>,
}

impl Running {
    pub(super) fn finish(self, grace: Duration, view: &BufferView) -> Result<Finish> {
        if let Some(handle) = &self.audit {
            handle.act(audit::action("stop").with("grace_ms", grace.as_millis()));
        }
        self.stop.stop_within(grace);
        let mut failed = None;
        for shard in self.shards {
            failed = failed.or(shard.join().and_then(|ended| ended).err());
        }
        let (journal, audit) = match self.collector.map(CoreHandle::join) {
            Some(Ok((summary, audit))) => (Some(summary), audit),
            Some(Err(error)) => {
                failed = failed.or(Some(error));
                (None, None)
            }
            None => (None, None),
        };
        self.housekeeping.finish();
        if let Some(Err(error)) = self.control.map(Control::finish) {
            failed = failed.or(Some(error));
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(Finish { counts: view.counts(), journal, audit }),
        }
    }
}

/// The last handle is gone: nobody can stop the engine any more, so it stops, without waiting for it.
impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(running) = self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            if let Some(handle) = &running.audit {
                handle.act(audit::action("stop").with("reason", "the last handle was dropped"));
            }
            running.stop.stop();
        }
    }
}

/// The running sink core.
type SinkCore = CoreHandle<(Summary, Option<AuditSummary>)>;
/// How far each stream has come.
type Heads = Vec<(Stream, Head)>;

fn start_collector(
    cpu: usize,
    (settings, audit): (CollectorSettings, Option<(AuditSettings, AuditDrain)>),
    drain: handoff::Drain,
    (cells, tap): (SharedSink, Tap),
    stop: Stop,
) -> Result<(SinkCore, Heads)> {
    let (ready, opened) = mpsc::sync_channel::<Result<(Recovery, Heads)>>(1);
    let core = runtime::launch("sink", Placement::Cpu(cpu), move || async move {
        let opened = Collector::open(settings).and_then(|opened| Ok((opened, audit::open(audit)?)));
        let (collector, audit) = match opened {
            Ok(((collector, recovery), audit)) => {
                let _ = ready.send(Ok((recovery, collector.heads())));
                (collector, audit)
            }
            Err(error) => {
                let _ = ready.send(Err(error));
                return (Summary::default(), None);
            }
        };
        let beats = runtime::spawn(runtime::heartbeat(cells.core().clone(), || {}));
        let counters = BufferCounters::new(drain.tally(), cells, tap);
        let auditing = audit.map(|(log, drain)| runtime::spawn(log.run(drain, stopping(stop.clone()))));
        let summary = collector.run(drain, counters, stopping(stop)).await;
        let audit = match auditing {
            Some(auditing) => auditing.join().await,
            None => None,
        };
        beats.cancel().await;
        (summary, audit)
    })?;
    // Waited for, so that what is wrong with the data directory is told before anything is polled.
    match opened.recv() {
        Ok(Ok((recovery, heads))) => {
            if recovery.last_seq > 0 {
                tracing::info!(last_seq = recovery.last_seq, "the journal goes on");
            }
            Ok((core, heads))
        }
        Ok(Err(error)) => Err(error),
        Err(_) => {
            Err(core.join().err().unwrap_or_else(|| Error::new(ErrorKind::Stopped, "the sink core ended at start")))
        }
    }
}

/// When the sink core has to be over even if the disk refuses. What is in flight still arrives, and buffer and log close
/// when the last shard has ended.
async fn stopping(stop: Stop) -> Deadline {
    stop.stopped().await;
    runtime::sleep(stop.grace() + DISK_GRACE).await;
    Deadline::after(Mono::now(), DISK_GRACE)
}

fn buffer_spec(checked: &Checked, sources: Vec<SourceId>) -> BufferSpec {
    let buffer = &checked.settings.buffer;
    BufferSpec {
        capacity: buffer.capacity,
        when_full: buffer.when_full,
        high_water_pct: (buffer.high_water * 100.0).clamp(1.0, 100.0) as u8,
        sources,
    }
}

fn log_start(checked: &Checked) {
    let rings = runtime::ring_report();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        shards = ?checked.placement.shards,
        sink = checked.placement.sink,
        sources = checked.sources.len(),
        instance = checked.settings.cluster.instance,
        of = checked.settings.cluster.of,
        rings = rings.rings,
        rings_flagged = rings.flagged,
        "engine started"
    );
    if !checked.settings.cluster.is_alone() {
        let own: Vec<&str> = checked.sources.iter().map(|source| source.source.spec().id.as_str()).collect();
        tracing::info!(own = own.join(","), elsewhere = checked.elsewhere.len(), "the sources are divided");
    }
    if rings.flagged == 0 {
        tracing::warn!(
            "the io_uring flags are not in force: the kernel refuses them, or the program does not link them"
        );
    }
}

const MAILBOX_MAX: usize = 10_000;
/// How long a disk that refuses is tried after everything else has ended.
const DISK_GRACE: Duration = Duration::from_secs(2);
