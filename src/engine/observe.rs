//! What an engine shows of itself and lets itself be told: the snapshot put together from every counter, and orders to
//! breakers. Holds nothing that keeps the engine running.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use crate::config::Cluster;
use crate::control::{Plane, judge};
use crate::engine::audit;
use crate::engine::check::{Checked, CheckedPoll};
use crate::error::{Error, ErrorKind, Result};
use crate::handoff::{AuditHandle, BufferView, MailboxSender, QuotaCell, Stop, Tap};
use crate::metrics::{
    Alert, BufferSnapshot, ClusterSnapshot, DataAge, MetricsReader, RingsSnapshot, Snapshot, TargetsSnapshot,
};
use crate::model::{Judgement, SourceId};
use crate::policy::Force;
use crate::runtime;
use crate::shard::Command;
use crate::source;
use crate::time::Now;

/// An engine as it is seen from outside its cores.
pub(super) struct Observer {
    pub mailboxes: Vec<MailboxSender<Command>>,
    pub owners: BTreeMap<SourceId, Vec<usize>>,
    /// Sources of other instances, each with its owner.
    pub elsewhere: Vec<(SourceId, usize)>,
    /// Which of the instances it is.
    pub cluster: Cluster,
    pub reader: Mutex<MetricsReader>,
    pub view: BufferView,
    pub quotas: Vec<(SourceId, QuotaCell)>,
    pub audit: Option<AuditHandle>,
    pub tap: Tap,
    pub stop: Stop,
    pub run: String,
    pub admin: Option<SocketAddr>,
    pub alerts: Mutex<(Vec<Alert>, BTreeMap<String, u64>)>,
    pub plan: Planned,
}

/// What of the plan stands in every snapshot.
pub(super) struct Planned {
    targets: TargetsSnapshot,
    demand_per_second: f64,
    polls: BTreeMap<(&'static str, &'static str), Polled>,
    symbols_max: usize,
}

/// What is polled of one source and kind, and the longest time between polls of it in milliseconds.
#[derive(Default)]
struct Polled {
    symbols: BTreeMap<String, u64>,
    /// Of polls without symbols, and of those for a whole market.
    whole: Option<u64>,
}

impl Planned {
    /// What is planned for `checked`; `polls` is whether it is polled at all.
    pub(super) fn new(checked: &Checked, polls: bool) -> Planned {
        let targets = &checked.settings.targets;
        let mut planned: BTreeMap<_, Polled> = BTreeMap::new();
        let mut per_minute = 0.0;
        for source in checked.sources.iter().filter(|_| polls) {
            per_minute += source.polls.iter().map(CheckedPoll::requests_per_minute).sum::<f64>();
            for poll in &source.polls {
                let every = poll.every.as_millis() as u64;
                let of = planned.entry((source.source.spec().id.as_str(), poll.kind.kind.as_str())).or_default();
                if poll.query.whole_market || poll.query.symbols.is_empty() {
                    of.whole = of.whole.max(Some(every));
                    continue;
                }
                for symbol in &poll.query.symbols {
                    let longest = of.symbols.entry(symbol.as_str().to_owned()).or_default();
                    *longest = every.max(*longest);
                }
            }
        }
        Planned {
            targets: TargetsSnapshot {
                p95_ms: targets.p95.as_secs_f64() * 1e3,
                p99_ms: targets.p99.as_secs_f64() * 1e3,
                success_rate: targets.success_rate,
                requests_per_second: targets.requests_per_second as f64,
            },
            demand_per_second: per_minute / 60.0,
            polls: planned,
            symbols_max: checked.settings.metrics.symbols_max,
        }
    }

    /// Says of each row how often it is polled, and adds rows for what is polled and has not come.
    fn mark(&self, data: &mut Vec<DataAge>) {
        let mut missing = Vec::new();
        for ((source, kind), polled) in &self.polls {
            let is_own = |age: &DataAge| age.source == *source && age.kind == *kind;
            let add = |symbol: Option<&String>, every: u64| DataAge {
                source: (*source).to_owned(),
                kind: (*kind).to_owned(),
                symbol: symbol.cloned(),
                every_ms: Some(every),
                ..DataAge::default()
            };
            let mut known = BTreeSet::new();
            for age in data.iter_mut().filter(|age| is_own(age)) {
                let symbol = age.symbol.clone().unwrap_or_default();
                age.every_ms = polled.symbols.get(&symbol).copied();
                known.insert(symbol);
            }
            // Beyond the bound of symbols nobody knows which have come.
            if !known.contains("*") {
                let absent = polled.symbols.iter().filter(|(symbol, _)| !known.contains(*symbol));
                missing.extend(absent.take(self.symbols_max).map(|(symbol, every)| add(Some(symbol), *every)));
            }
            let Some(every) = polled.whole else { continue };
            // A market's instruments come and go: what counts is that there are any.
            let rows = data.iter_mut().filter(|age| is_own(age) && age.every_ms.is_none());
            match rows.min_by_key(|age| age.record_age_ms.unwrap_or(u64::MAX)) {
                Some(youngest) => youngest.every_ms = Some(every),
                None => missing.push(add(None, every)),
            }
        }
        data.extend(missing);
        data.sort_by(|a, b| (&a.source, &a.kind, &a.symbol).cmp(&(&b.source, &b.kind, &b.symbol)));
    }
}

impl Observer {
    /// Moves the recent windows on.
    pub(super) fn sample(&self) {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).sample(Now::read());
    }

    /// The id of a source of this engine, and the shards that own it.
    ///
    /// # Errors
    /// Says which there are.
    pub(super) fn owners(&self, source: &str) -> std::result::Result<(SourceId, &[usize]), Judgement> {
        let found = source::find(source).map(|source| source.spec().id);
        match found.and_then(|id| self.owners.get(&id).map(|owners| (id, owners.as_slice()))) {
            Some(found) => Ok(found),
            None => {
                if let Some((id, owner)) = self.elsewhere.iter().find(|(id, _)| id.as_str() == source) {
                    let of = self.cluster.of;
                    let why = format!("{id} belongs to instance {owner} of {of}: ask that one");
                    return Err(Judgement::unservable("source_elsewhere", why));
                }
                let known: Vec<&str> = self.owners.keys().map(|id| id.as_str()).collect();
                let why = format!("expected a configured source ({}), found {source:?}", known.join(", "));
                Err(Judgement::unservable("source_unknown", why))
            }
        }
    }

    fn fill(&self, snapshot: &mut Snapshot, now: Now) {
        snapshot.version = env!("CARGO_PKG_VERSION").to_owned();
        snapshot.run.clone_from(&self.run);
        snapshot.admin = self.admin.map(|address| address.to_string());
        snapshot.cluster = (!self.cluster.is_alone()).then_some(ClusterSnapshot {
            instance: self.cluster.instance,
            of: self.cluster.of,
            sources_elsewhere: self.elsewhere.len(),
        });
        snapshot.targets = self.plan.targets;
        snapshot.demand_per_second = self.plan.demand_per_second;
        snapshot.records = self.view.counts();
        snapshot.buffer = BufferSnapshot {
            capacity: self.view.capacity() as u64,
            len: self.view.len() as u64,
            high_water: self.view.high_water() as u64,
        };
        snapshot.audit = self.audit.as_ref().map(AuditHandle::counts);
        snapshot.tap = self.tap.snapshot();
        let rings = runtime::ring_report();
        snapshot.rings = RingsSnapshot { made: rings.rings, flagged: rings.flagged, flags_on: rings.flagged > 0 };
        self.plan.mark(&mut snapshot.data);
        let alerts = self.alerts.lock().unwrap_or_else(PoisonError::into_inner);
        (snapshot.alerts, snapshot.alerts_fired) = alerts.clone();
        drop(alerts);
        for (source, cell) in &self.quotas {
            let Some(row) = snapshot.sources.get_mut(source.as_str()) else { continue };
            let quota = cell.snapshot(now);
            row.counts = self.view.counts_of(*source);
            row.banned_until = quota.banned_until;
            row.quota = quota.uses();
        }
    }
}

impl Plane for Observer {
    fn snapshot(&self) -> Snapshot {
        let now = Now::read();
        let mut snapshot = self.reader.lock().unwrap_or_else(PoisonError::into_inner).snapshot(now);
        self.fill(&mut snapshot, now);
        snapshot.health = judge(&snapshot, self.stop.is_stopped());
        snapshot
    }

    fn show_alerts(&self, alerts: Vec<Alert>, fired: &BTreeMap<String, u64>) {
        *self.alerts.lock().unwrap_or_else(PoisonError::into_inner) = (alerts, fired.clone());
    }

    fn tap(&self) -> &Tap {
        &self.tap
    }

    fn force_breaker(&self, source: &str, force: Force) -> Result<()> {
        let (id, owners) = self.owners(source).map_err(|judgement| Error::new(ErrorKind::Misuse, judgement.message))?;
        if let Some(log) = &self.audit {
            log.act(audit::action("breaker_forced").with("source", id).with("force", force.as_str()));
        }
        for shard in owners {
            self.mailboxes[*shard]
                .send(Command::Force(id, force))
                .map_err(|_| Error::new(ErrorKind::Stopped, format!("shard {shard} takes no commands")))?;
        }
        Ok(())
    }
}
