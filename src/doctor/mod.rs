//! What the host needs, as checks: a tree of `/proc`, `/sys` and `/etc`, and facts that no file tells, go in; findings
//! come out. Reads nothing outside the tree, changes nothing, and judges the limits as they were inherited. Who asks:
//! `tidegate doctor` about everything, and the engine at its start about what is required.
//! Invariant: each check gives exactly one finding, whatever the tree lacks.

mod cpus;
mod disk;
mod finding;
mod kernel;
mod limits;
mod network;
#[cfg(test)]
mod tests;
mod tree;

pub use finding::{Finding, Fragment, Severity, Status, Target};
pub use tree::Tree;

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Cpus, Placement, Settings};

/// What is asked of the host.
#[derive(Clone, Debug)]
pub struct Need {
    /// The settings: CPUs, connections, data directory.
    pub settings: Settings,
    /// Executors beside those of shards and sink core: a simulator's.
    pub extra_cores: usize,
}

/// What no file of the tree tells.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The limits of this process, for a tree without `proc/self/limits`.
    pub limits: Limits,
    /// What became of a small ring.
    pub rings: RingFacts,
    /// Whether the kernel takes its clock for synchronized; `None` where it does not tell.
    pub clock_synchronized: Option<bool>,
    /// The data directory; `None` when none is used.
    pub data: Option<DataFacts>,
    /// The hosts of the configured sources.
    pub hosts: Vec<HostFacts>,
}

/// Limits; `None` is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Bytes that may be locked.
    pub memlock: Option<u64>,
    /// Files that may be open, as it holds.
    pub open_files: Option<u64>,
    /// Files that may be open, as far as the process may raise it.
    pub open_files_hard: Option<u64>,
}

/// What became of a small ring.
#[derive(Clone, Debug, Default)]
pub struct RingFacts {
    /// The kernel's refusal, as `errno`.
    pub refused: Option<i32>,
    /// Operations that the executors use and the kernel lacks.
    pub missing: Vec<&'static str>,
    /// Rings of an executor, and how many of them took the flags; `None` when none was made.
    pub flagged: Option<(u32, u32)>,
}

/// The data directory as it was found by writing to it.
#[derive(Clone, Debug, Default)]
pub struct DataFacts {
    /// The folder.
    pub path: PathBuf,
    /// The folder that was written to: the same, or the nearest above that exists.
    pub probed: PathBuf,
    /// Why nothing can be written.
    pub refused: Option<String>,
    /// Free space for this user.
    pub free_bytes: u64,
    /// Files that can still be made, where the file system counts them.
    pub free_files: Option<u64>,
    /// What the journal takes already.
    pub journal_bytes: u64,
    /// How long writing 4 KiB durably took, ascending; empty when that was not measured.
    pub syncs: Vec<Duration>,
}

/// A host of a configured source.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// The source, by id.
    pub source: String,
    /// Host and port.
    pub authority: String,
    /// How many addresses the name has, or why none.
    pub addresses: Result<usize, String>,
    /// The TLS version and protocol agreed on, or why none; `None` for plain HTTP and behind a proxy.
    pub tls: Option<Result<String, String>>,
}

/// All findings, those about what is required first.
pub fn examine(tree: &Tree, facts: &Facts, need: &Need) -> Vec<Finding> {
    let mut findings = required(tree, facts, need);
    let host = Host::read(tree, need);
    findings.extend([
        kernel::ring_flags(tree, facts),
        limits::memlock_cores(tree, facts, &host),
        network::ephemeral_ports(tree, need),
        network::somaxconn(tree),
        network::socket_buffers(tree),
        cpus::count(&host),
        cpus::governor(tree, &host),
        cpus::isolated(tree, &host),
        cpus::smt_siblings(tree, &host),
        cpus::numa_node(tree, &host),
        cpus::irq_affinity(tree, &host),
        cpus::cgroup_quota(tree, &host),
        cpus::cgroup_cpuset(tree, &host),
        kernel::huge_pages(tree),
        kernel::clock_source(tree),
        kernel::time_sync(tree, facts),
    ]);
    if let Some(data) = &facts.data {
        findings.extend([disk::space(data, need), disk::sync_latency(data)]);
    }
    for host in &facts.hosts {
        findings.push(network::name(host));
        findings.extend(network::tls(host));
    }
    findings
}

/// The findings without which nothing starts. Of those on the data directory there is none when none is used.
pub fn required(tree: &Tree, facts: &Facts, need: &Need) -> Vec<Finding> {
    let mut findings = rings(tree, facts);
    findings.push(limits::open_files(tree, facts, need));
    findings.push(cpus::exist(&Host::read(tree, need), need));
    findings.extend(facts.data.as_ref().map(|data| disk::writable(data, need)));
    findings
}

/// The findings without which no executor runs.
pub fn rings(tree: &Tree, facts: &Facts) -> Vec<Finding> {
    vec![kernel::version(tree), kernel::io_uring(tree, facts), limits::memlock(tree, facts)]
}

/// Open files that an engine needs: its connections, and what it has besides.
pub fn open_files_need(settings: &Settings) -> u64 {
    settings.http.connections_max as u64 + FILES_BESIDES
}

/// The CPUs there are and those that are chosen of them.
struct Host {
    cpus: Cpus,
    placement: Placement,
    /// Executors in all.
    cores: usize,
}

impl Host {
    fn read(tree: &Tree, need: &Need) -> Host {
        let cpus = Cpus::read_from(tree.root());
        let placement = Placement::choose(&need.settings.cores.shards, &need.settings.cores.sink, &cpus.allowed);
        let cores = placement.shards.len() + 1 + need.extra_cores;
        Host { cpus, placement, cores }
    }

    /// The CPUs of shards and sink core, ascending, each once.
    fn chosen(&self) -> Vec<usize> {
        let mut chosen = self.placement.shards.clone();
        chosen.push(self.placement.sink);
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }
}

/// Journal, sinks, logs, rings, eventfds, the admin server's connections.
const FILES_BESIDES: u64 = 256;
