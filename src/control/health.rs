//! Whether an engine lives and whether it delivers, judged from a snapshot.

use std::time::Duration;

use crate::metrics::{Health, Reason, Snapshot};

/// Judges a snapshot; `stopping` is whether the engine has been told to end.
pub fn judge(snapshot: &Snapshot, stopping: bool) -> Health {
    let mut reasons = Vec::new();
    let mut refuse = |what: &str, why: String| reasons.push(Reason { what: what.to_owned(), why });
    if stopping {
        refuse("engine", "the engine has been told to stop".to_owned());
    }
    let mut live = true;
    // The control core answers this very question, so it is up.
    for core in snapshot.cores.iter().filter(|core| core.name != "control") {
        if core.heartbeat_age_ms > LIVE_WITHIN.as_millis() as u64 {
            live &= !core.name.starts_with("shard-");
            refuse(&core.name, format!("no sign of life for {} ms", core.heartbeat_age_ms));
        }
    }
    if let Some(why) = snapshot.journal.as_ref().and_then(|journal| journal.failing.as_ref()) {
        refuse("journal", format!("it cannot be written: {why}"));
    }
    let delivers = |source: &&crate::metrics::SourceSnapshot| {
        source.records > 0 && !matches!(source.breaker.as_str(), "open" | "forced_open")
    };
    // Of several instances one may have no sources: it waits for no record that could come.
    let spare = snapshot.sources.is_empty() && snapshot.cluster.is_some_and(|cluster| cluster.sources_elsewhere > 0);
    if !spare && !snapshot.sources.values().any(|source| delivers(&source)) {
        let began = snapshot.sources.values().any(|source| source.records > 0);
        let why = match (snapshot.sources.is_empty(), began) {
            (true, _) => "there are no sources",
            (false, false) => "no source has delivered a record yet",
            (false, true) => "the breakers of all sources that delivered are open",
        };
        refuse("sources", why.to_owned());
    }
    Health { live, ready: live && reasons.is_empty(), reasons }
}

/// A shard that has said nothing for longer than this counts as dead.
pub const LIVE_WITHIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{ClusterSnapshot, CoreSnapshot, JournalStatus, SourceSnapshot};

    fn healthy() -> Snapshot {
        let core = |name: &str| CoreSnapshot { name: name.to_owned(), heartbeat_age_ms: 400, ..Default::default() };
        let source = SourceSnapshot { records: 3, breaker: "closed".to_owned(), ..Default::default() };
        Snapshot {
            cores: ["shard-0", "shard-1", "sink", "control"].map(core).into(),
            journal: Some(JournalStatus::default()),
            sources: [("binance".to_owned(), source)].into(),
            ..Snapshot::default()
        }
    }

    fn check(change: impl FnOnce(&mut Snapshot), live: bool, reasons: &[(&str, &str)]) {
        let mut snapshot = healthy();
        change(&mut snapshot);
        let health = judge(&snapshot, false);
        assert_eq!((health.live, health.ready), (live, reasons.is_empty()), "{health:?}");
        assert_eq!(health.reasons.len(), reasons.len(), "{health:?}");
        for (reason, (what, part)) in health.reasons.iter().zip(reasons) {
            assert!(reason.what == *what && reason.why.contains(part), "{health:?}");
        }
    }

    #[test]
    fn what_is_up_lives_and_delivers() {
        check(|_| {}, true, &[]);
        check(|snapshot| snapshot.cores[1].heartbeat_age_ms = 5_000, true, &[]);
        check(|snapshot| snapshot.cores[3].heartbeat_age_ms = 60_000, true, &[]);
        assert!(judge(&healthy(), true).live && !judge(&healthy(), true).ready);
    }

    #[test]
    fn each_reason_is_named() {
        check(|snapshot| snapshot.cores[1].heartbeat_age_ms = 5_001, false, &[("shard-1", "5001 ms")]);
        check(|snapshot| snapshot.cores[2].heartbeat_age_ms = 9_000, true, &[("sink", "9000 ms")]);
        let failing = JournalStatus { failing: Some("no space left".to_owned()), ..JournalStatus::default() };
        check(|snapshot| snapshot.journal = Some(failing), true, &[("journal", "no space left")]);
        check(|snapshot| snapshot.sources.clear(), true, &[("sources", "no sources")]);
        let cluster = |sources_elsewhere| Some(ClusterSnapshot { instance: 2, of: 3, sources_elsewhere });
        check(|snapshot| (snapshot.sources.clear(), snapshot.cluster = cluster(2)).1, true, &[]);
        check(
            |snapshot| (snapshot.sources.clear(), snapshot.cluster = cluster(0)).1,
            true,
            &[("sources", "no sources")],
        );
        let source = |snapshot: &mut Snapshot, records, breaker: &str| {
            let row = snapshot.sources.get_mut("binance").unwrap();
            (row.records, row.breaker) = (records, breaker.to_owned());
        };
        check(|snapshot| source(snapshot, 0, "closed"), true, &[("sources", "no source has delivered")]);
        check(|snapshot| source(snapshot, 9, "open"), true, &[("sources", "breakers")]);
        check(|snapshot| source(snapshot, 9, "half_open"), true, &[]);
    }
}
