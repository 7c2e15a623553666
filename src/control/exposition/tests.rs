//! The exposition against both formats' rules: by hand here, by `promtool` in `tests/admin.rs`.

use std::collections::BTreeSet;

use super::*;
use crate::metrics::{JournalStatus, ShardSnapshot, ShardSource};

fn snapshot() -> Snapshot {
    let latency = Latency { count: 4, mean_ms: 250.0, p50_ms: 200.0, max_ms: 400.0, ..Latency::default() };
    let mut row = SourceSnapshot { requests: 4, breaker: "open".to_owned(), latency, ..SourceSnapshot::default() };
    row.verdicts.insert("ok".to_owned(), 4);
    row.stages.insert("tls".to_owned(), latency);
    row.quota.push(QuotaUse { per_ms: 60_000, limit: 100, used: 7, ..QuotaUse::default() });
    let age = DataAge { symbol: Some("a\"b\\c\nd".to_owned()), event_age_ms: Some(1_500), ..DataAge::default() };
    let shard = ShardSnapshot { sources: [("kraken".to_owned(), ShardSource::default())].into(), ..Default::default() };
    Snapshot {
        version: "1.2.3".to_owned(),
        sources: [("kraken".to_owned(), row)].into(),
        shards: vec![shard],
        cores: vec![CoreSnapshot { name: "shard-0".to_owned(), cpu_ms: 1_250, ..CoreSnapshot::default() }],
        journal: Some(JournalStatus::default()),
        sinks: vec![SinkStatus { name: "file".to_owned(), ..SinkStatus::default() }],
        data: vec![age],
        alerts_fired: [("breaker_open".to_owned(), 2)].into(),
        ..Snapshot::default()
    }
}

#[test]
fn values_come_in_base_units_with_escaped_labels() {
    let text = expose(&snapshot(), Format::Prometheus);
    for line in [
        "# TYPE tidegate_requests_total counter",
        "tidegate_build_info{version=\"1.2.3\"} 1",
        "tidegate_requests_total{source=\"kraken\",verdict=\"ok\"} 4",
        "tidegate_request_duration_seconds{source=\"kraken\",quantile=\"0.5\"} NaN",
        "tidegate_request_duration_seconds_sum{source=\"kraken\"} 1",
        "tidegate_request_duration_seconds_count{source=\"kraken\"} 4",
        "tidegate_request_duration_max_seconds{source=\"kraken\"} 0.4",
        "tidegate_breaker_state{source=\"kraken\",state=\"open\"} 1",
        "tidegate_breaker_state{source=\"kraken\",state=\"closed\"} 0",
        "tidegate_quota_used_weight{source=\"kraken\",bucket=\"\",shape=\"\",per=\"60s\"} 7",
        "tidegate_data_event_age_seconds{source=\"\",kind=\"\",symbol=\"a\\\"b\\\\c\\nd\"} 1.5",
        "tidegate_core_cpu_seconds_total{core=\"shard-0\"} 1.25",
        "tidegate_alerts_firing{rule=\"breaker_open\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
}

#[test]
fn open_metrics_differs_in_names_of_counters_and_its_end() {
    let text = expose(&snapshot(), Format::OpenMetrics);
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# TYPE tidegate_requests counter\ntidegate_requests_total{"), "{text}");
    assert!(!expose(&snapshot(), Format::Prometheus).contains("EOF"));
}

#[test]
fn each_family_stands_once_and_each_sample_belongs_to_it() {
    let text = expose(&snapshot(), Format::Prometheus);
    let (mut families, mut samples, mut family) = (BTreeSet::new(), BTreeSet::new(), "");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap();
            assert!(families.insert(family), "{family} stands twice");
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(series.starts_with(family) && samples.insert(series), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    assert!(families.len() > 40);
}

#[test]
fn the_format_is_what_the_client_prefers() {
    let check = |accept: &[&str], expected: Format| {
        assert_eq!(Format::negotiate(accept.iter().copied()), expected, "{accept:?}");
    };
    check(&[], Format::Prometheus);
    check(&["*/*"], Format::Prometheus);
    check(&["text/html,application/xhtml+xml,*/*;q=0.8"], Format::Prometheus);
    check(&["application/openmetrics-text"], Format::OpenMetrics);
    check(
        &["application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"],
        Format::OpenMetrics,
    );
    check(&["application/openmetrics-text;q=0.3", "text/plain"], Format::Prometheus);
    check(&["application/openmetrics-text;q=0"], Format::Prometheus);
}
