//! The host as an engine needs it. At a start: raises the open files as far as an engine may, then refuses what is
//! required and missing, before any core is made. For `tidegate doctor`: gathers the facts and raises nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Settings;
use crate::doctor::{self, Finding, HostFacts, Need, Tree};
use crate::engine::{check, plan};
use crate::error::{Error, Result};
use crate::http::{self, Endpoint, TlsContext};
use crate::runtime::{self, Placement};

/// Every finding about `tree` and this process, for an engine with these settings.
///
/// # Errors
/// Settings of sources that name none, and a tls.ca_file that is none.
pub fn examine(tree: &Tree, settings: &Settings) -> Result<Vec<Finding>> {
    let mut facts = runtime::host_facts();
    facts.data = Some(runtime::probe_data(&settings.data_dir, SYNCS));
    facts.hosts = hosts(settings)?;
    // A core may be made only where nothing refuses it: its library ends the process otherwise.
    if !doctor::rings(&Tree::host(), &facts).iter().any(Finding::refuses) {
        facts.rings.flagged = flagged();
    }
    let need = Need { settings: settings.clone(), extra_cores: 0 };
    Ok(doctor::examine(tree, &facts, &need))
}

/// Rings of an executor, and how many of them took the flags.
fn flagged() -> Option<(u32, u32)> {
    runtime::launch("doctor", Placement::Unpinned, || async {}).and_then(runtime::CoreHandle::join).ok()?;
    let report = runtime::ring_report();
    Some((report.rings, report.flagged))
}

/// What becomes of reaching each host of the sources, all at once.
fn hosts(settings: &Settings) -> Result<Vec<HostFacts>> {
    let trust = TlsContext::new(settings.tls_ca_file.as_deref())?;
    let mut targets: BTreeMap<(String, String), Endpoint> = BTreeMap::new();
    for source in &settings.sources {
        let found = check::source(&source.id).map_err(Error::config)?;
        for url in check::bases(found, source) {
            let endpoint = plan::endpoint(source, &url)?;
            let authority = format!("{}:{}", endpoint.host(), endpoint.port());
            targets.insert((source.id.clone(), authority), endpoint);
        }
    }
    Ok(std::thread::scope(|scope| {
        let trust = &trust;
        let tries: Vec<_> = targets
            .iter()
            .map(|(named, endpoint)| (named, scope.spawn(move || http::reach(endpoint, trust, REACH_LIMIT))))
            .collect();
        let facts = tries.into_iter().map(|((source, authority), thread)| {
            let (addresses, tls) = match thread.join() {
                Ok(reach) => (reach.addresses, reach.tls),
                Err(_) => (Err("the check ended by a panic".to_owned()), None),
            };
            HostFacts { source: source.clone(), authority: authority.clone(), addresses, tls }
        });
        facts.collect()
    }))
}

/// Checks that an engine with these settings can run here; `data` tells whether it uses its data directory.
///
/// # Errors
/// A line for each thing that is missing: what was expected and found, and how to mend it.
pub(super) fn ready(settings: &Settings, data: bool) -> Result<()> {
    raise_open_files(doctor::open_files_need(settings));
    let mut facts = runtime::host_facts();
    facts.data = data.then(|| runtime::probe_data(&settings.data_dir, 0));
    let need = Need { settings: settings.clone(), extra_cores: 0 };
    runtime::refuse(&doctor::required(&Tree::host(), &facts, &need))
}

/// Raises the limit within the hard one; a refusal is found by the check that follows.
fn raise_open_files(need: u64) {
    let limits = runtime::limits();
    let Some(from) = limits.open_files.filter(|from| *from < need) else { return };
    if limits.open_files_hard.is_none_or(|hard| hard >= need) && runtime::raise_open_files(need).is_ok() {
        tracing::info!(from, to = need, "the limit on open files was raised");
    }
}

/// Enough for a distribution, within a second on most disks.
const SYNCS: usize = 40;
/// A host that takes longer would time out on requests, too.
const REACH_LIMIT: Duration = Duration::from_secs(5);
