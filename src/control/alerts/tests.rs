//! Alerts under a clock of their own.

use proptest::prelude::*;

use super::*;
use crate::config::Settings;
use crate::metrics::{
    BufferSnapshot, CoreSnapshot, DataAge, JournalStatus, QuotaUse, SinkStatus, SourceSnapshot, TargetsSnapshot,
};

fn settings() -> Alerts {
    Settings::default().alerts
}

fn healthy() -> Snapshot {
    let mut snapshot = Snapshot {
        targets: TargetsSnapshot { p95_ms: 100.0, p99_ms: 200.0, success_rate: 0.99, requests_per_second: 1_000.0 },
        buffer: BufferSnapshot { capacity: 100, ..BufferSnapshot::default() },
        uptime_ms: 3_600_000,
        journal: Some(JournalStatus::default()),
        sinks: vec![SinkStatus { name: "file".to_owned(), ..SinkStatus::default() }],
        cores: vec![CoreSnapshot { name: "shard-0".to_owned(), ..CoreSnapshot::default() }],
        data: vec![DataAge {
            source: "a".to_owned(),
            kind: "bar".to_owned(),
            record_age_ms: Some(100),
            every_ms: Some(10_000),
            ..DataAge::default()
        }],
        ..Snapshot::default()
    };
    let row = SourceSnapshot { breaker: "closed".to_owned(), ..SourceSnapshot::default() };
    snapshot.sources.insert("a".to_owned(), row);
    (snapshot.total.last_10s.latency.count, snapshot.total.last_10s.requests_per_second) = (100, 500.0);
    (snapshot.total.last_60s.requests, snapshot.total.last_60s.success) = (600, 600);
    snapshot
}

/// Runs a snapshot for so many seconds; what fired or was resolved, with the second.
fn run(alerts: &mut AlertEngine, clock: &mut Now, snapshot: &Snapshot, seconds: u64) -> Vec<(u64, String, String)> {
    let mut told = Vec::new();
    for second in 1..=seconds {
        *clock = clock.after(Duration::from_secs(1));
        for alert in alerts.look(snapshot, *clock) {
            told.push((second, format!("{} {}", alert.rule, alert.subject).trim_end().to_owned(), alert.state));
        }
    }
    told
}

#[test]
fn each_rule_fires_on_its_condition_alone() {
    let check = |expected: &str, change: fn(&mut Snapshot)| {
        let (mut alerts, mut clock) = (AlertEngine::new(settings()), Now::default());
        assert_eq!(run(&mut alerts, &mut clock, &healthy(), 100), [], "{expected}");
        let mut sick = healthy();
        change(&mut sick);
        let told = run(&mut alerts, &mut clock, &sick, 60);
        assert_eq!(told.len(), 1, "{expected}: {told:?}");
        assert_eq!((told[0].1.as_str(), told[0].2.as_str()), (expected, "firing"));
        let rule = expected.split(' ').next().unwrap();
        assert!(RULES.contains(&rule) && alerts.fired()[rule] == 1);
        let told = run(&mut alerts, &mut clock, &healthy(), 120);
        assert_eq!(told.len(), 1, "{expected}: {told:?}");
        assert_eq!((told[0].1.as_str(), told[0].2.as_str()), (expected, "resolved"));
    };
    fn source(snapshot: &mut Snapshot) -> &mut SourceSnapshot {
        snapshot.sources.get_mut("a").unwrap()
    }
    check("latency_p95", |snapshot| snapshot.total.last_10s.latency.p95_ms = 101.0);
    check("latency_p99", |snapshot| snapshot.total.last_10s.latency.p99_ms = 201.0);
    check("success_low", |snapshot| snapshot.total.last_60s.success = 590);
    check("throughput_low", |snapshot| snapshot.demand_per_second = 2_000.0);
    check("breaker_open a", |snapshot| {
        (source(snapshot).breaker, source(snapshot).breakers_open) = ("open".to_owned(), 1);
    });
    check("quota_exhausted a", |snapshot| source(snapshot).banned_until = Some(UnixNanos::EPOCH));
    check("quota_exhausted a", |snapshot| {
        source(snapshot).quota = vec![QuotaUse { per_ms: 60_000, limit: 10, used: 10, ..QuotaUse::default() }];
        source(snapshot).waiting = 1;
    });
    check("quota_exhausted a", |snapshot| {
        source(snapshot).refused.insert("quota".to_owned(), 3);
    });
    check("buffer_full", |snapshot| snapshot.buffer.len = 81);
    check("records_dropped", |snapshot| snapshot.records.dropped_full_oldest = 1);
    check("sink_lag file", |snapshot| snapshot.sinks[0].lag_ms = 60_001);
    check("data_stale a bar", |snapshot| snapshot.data[0].record_age_ms = Some(100_001));
    check("data_stale a bar", |snapshot| snapshot.data[0].record_age_ms = None);
    check("core_stalled shard-0", |snapshot| snapshot.cores[0].heartbeat_age_ms = 5_001);
    check("journal_unwritable", |snapshot| {
        snapshot.journal = Some(JournalStatus { failing: Some("full".to_owned()), ..JournalStatus::default() });
    });
}

#[test]
fn what_is_at_its_limit_or_everyday_fires_nothing() {
    let check = |change: fn(&mut Snapshot)| {
        let (mut alerts, mut clock) = (AlertEngine::new(settings()), Now::default());
        let mut snapshot = healthy();
        change(&mut snapshot);
        assert_eq!(run(&mut alerts, &mut clock, &snapshot, 600), []);
    };
    check(|snapshot| snapshot.total.last_10s.latency.p95_ms = 100.0);
    check(|snapshot| (snapshot.total.last_10s.latency.p95_ms, snapshot.total.last_10s.latency.count) = (900.0, 19));
    check(|snapshot| snapshot.total.last_60s.success = 594);
    check(|snapshot| (snapshot.total.last_60s.requests, snapshot.total.last_60s.success) = (19, 0));
    check(|snapshot| snapshot.demand_per_second = 1_000.0);
    check(|snapshot| snapshot.buffer.len = 80);
    check(|snapshot| snapshot.records.dropped_duplicate = 1_000);
    check(|snapshot| snapshot.data[0].record_age_ms = Some(100_000));
    check(|snapshot| (snapshot.data[0].record_age_ms, snapshot.data[0].every_ms) = (Some(50_000), Some(1_000)));
    check(|snapshot| (snapshot.data[0].record_age_ms, snapshot.data[0].kind) = (None, "news".to_owned()));
    check(|snapshot| snapshot.data[0] = DataAge { record_age_ms: Some(u64::MAX), ..DataAge::default() });
    check(|snapshot| {
        // A window of a second is used up all the time.
        let row = snapshot.sources.get_mut("a").unwrap();
        row.quota = vec![QuotaUse { per_ms: 1_000, limit: 1, used: 1, ..QuotaUse::default() }];
        row.waiting = 3;
    });
    check(|snapshot| snapshot.sources.get_mut("a").unwrap().breaker = "half_open".to_owned());
}

#[test]
fn an_alert_holds_before_it_fires_and_before_it_ceases_and_rests_after() {
    let (mut alerts, mut clock) = (AlertEngine::new(settings()), Now::default());
    let slow = |p95_ms: f64| {
        let mut snapshot = healthy();
        snapshot.total.last_10s.latency.p95_ms = p95_ms;
        snapshot
    };
    let told = |second: u64, state: &str| vec![(second, "latency_p95".to_owned(), state.to_owned())];
    assert_eq!(run(&mut alerts, &mut clock, &slow(150.0), 30), [], "it has held for 29 s");
    assert_eq!(alerts.alerts(clock.mono)[0].state, "pending");
    assert_eq!(run(&mut alerts, &mut clock, &slow(50.0), 1), [], "a break begins anew");
    assert!(alerts.alerts(clock.mono).is_empty());
    assert_eq!(run(&mut alerts, &mut clock, &slow(150.0), 40), told(31, "firing"));
    assert_eq!(run(&mut alerts, &mut clock, &slow(95.0), 100), [], "within the limit, not well within");
    assert_eq!(run(&mut alerts, &mut clock, &slow(80.0), 20), []);
    assert_eq!(run(&mut alerts, &mut clock, &slow(95.0), 1), []);
    assert_eq!(run(&mut alerts, &mut clock, &slow(80.0), 40), told(31, "resolved"));
    let shown = alerts.alerts(clock.mono);
    assert_eq!((shown[0].state.as_str(), shown[0].limit), ("resolved", 100.0));
    // Nine seconds of the cooldown of 300 have passed.
    assert_eq!(run(&mut alerts, &mut clock, &slow(150.0), 400), told(291, "firing"));
    assert_eq!(alerts.fired()["latency_p95"], 2);
}

#[test]
fn rules_can_be_switched_off() {
    let off = Alerts { off: vec!["buffer_full".to_owned()], ..settings() };
    let (mut alerts, mut clock) = (AlertEngine::new(off), Now::default());
    let mut snapshot = healthy();
    snapshot.buffer.len = 100;
    assert_eq!(run(&mut alerts, &mut clock, &snapshot, 100), []);
}

#[test]
fn counters_are_compared_with_themselves() {
    let (mut alerts, mut clock) = (AlertEngine::new(settings()), Now::default());
    let mut snapshot = healthy();
    snapshot.records.dropped_full_newest = 5;
    assert_eq!(run(&mut alerts, &mut clock, &snapshot, 1).len(), 1);
    let told = run(&mut alerts, &mut clock, &snapshot, 70);
    assert_eq!(told.len(), 1, "a minute after the last drop it is over: {told:?}");
    assert_eq!(told[0].2, "resolved");
}

proptest! {
    /// Whatever comes: firing and resolved take turns, firing takes its time, and two firings lie a cooldown apart.
    #[test]
    fn the_law_of_alerts_holds(values in proptest::collection::vec((0.0_f64..200.0, 1_u64..60), 1..60)) {
        let (mut alerts, mut clock) = (AlertEngine::new(settings()), Now::default());
        let (mut over_since, mut resolved, mut firing): (Option<Mono>, Option<Mono>, bool) = (None, None, false);
        for (p95_ms, seconds) in values {
            let mut snapshot = healthy();
            snapshot.total.last_10s.latency.p95_ms = p95_ms;
            for _ in 0..seconds {
                clock = clock.after(Duration::from_secs(1));
                over_since = if p95_ms > 100.0 { over_since.or(Some(clock.mono)) } else { None };
                for alert in alerts.look(&snapshot, clock) {
                    if alert.state == "firing" {
                        prop_assert!(!firing);
                        prop_assert!(over_since.is_some_and(|since| clock.mono.since(since).as_secs() >= 30));
                        prop_assert!(resolved.is_none_or(|at| clock.mono.since(at).as_secs() >= 300));
                        firing = true;
                    } else {
                        prop_assert!(firing && p95_ms <= 90.0);
                        (firing, resolved) = (false, Some(clock.mono));
                    }
                }
                prop_assert_eq!(alerts.alerts(clock.mono).iter().any(|alert| alert.state == "firing"), firing);
            }
        }
    }
}
