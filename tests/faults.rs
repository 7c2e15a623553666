//! Every fault of the simulator against the real engine, over HTTPS: what it is judged as, what the breaker does, that
//! the source recovers by itself in time, and that no record is lost and nothing panics. The README's table "faults
//! survived" is made of what is found here.
//! Each fault strikes a source of its own, so that many are tried in one run and their isolation is tried along.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use tidegate::collector::{
    BatchSettings, Collector, CollectorSettings, Counters, DedupeSettings, DeliverySettings, Inlet, JournalSettings,
    Woken,
};
use tidegate::handoff::{BufferSpec, Drain, Tally, buffer};
use tidegate::runtime;
use tidegate::sink::SinkHost;
use tidegate::{
    Behavior, CollectorStatus, Data, Engine, EngineBuilder, Environment, Fault, FaultRule, Finish, Loader, Placement,
    Profile, Quote, Record, RecordCounts, Sim, SimQuota, SimSettings, Snapshot, SourceId, SourceSnapshot, UnixNanos,
    WhenFull,
};

const OPEN_FOR: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_millis(100);
/// Failures in a row that open the breaker.
const FAILURES: u64 = 3;
/// What the host may take besides: other tests run on the same CPUs, and what was under way at the end of a fault still
/// runs into its timeout.
const SLACK: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(60);

/// What a fault is expected to bring about when it strikes every request.
struct Case {
    fault: &'static str,
    /// The source that it strikes, and whether in the first round or the second.
    source: &'static str,
    round: usize,
    /// Verdict and reason; `None` where the records come all the same.
    verdict: Option<(&'static str, &'static str)>,
}

const fn case(
    fault: &'static str,
    source: &'static str,
    round: usize,
    verdict: Option<(&'static str, &'static str)>,
) -> Case {
    Case { fault, source, round, verdict }
}

/// In the order of the README's table.
const CASES: &[Case] = &[
    case("reset", "binance", 0, Some(("upstream_error", "reset"))),
    case("reset_body", "bitstamp", 0, Some(("upstream_error", "reset"))),
    case("stall", "bybit", 0, Some(("upstream_error", "first_byte_timeout"))),
    case("slow_drip", "coinbase", 0, Some(("upstream_error", "body_timeout"))),
    case("idle_close", "gemini", 0, None),
    case("tls_failure", "deribit", 0, Some(("upstream_error", "tls_failed"))),
    case("tls_expired", "kraken", 0, Some(("upstream_error", "tls_expired"))),
    case("http_401", "kucoin", 0, Some(("unauthorized", "http_401"))),
    case("http_404", "okx", 0, Some(("not_found", "http_404"))),
    case("http_500", "finnhub", 0, Some(("upstream_error", "http_5xx"))),
    case("http_502", "tiingo", 0, Some(("upstream_error", "http_5xx"))),
    case("http_503", "twelve_data", 0, Some(("upstream_error", "http_5xx"))),
    case("limit_notice", "alpha_vantage", 0, Some(("rate_limited", "burst"))),
    case("html_page", "binance", 1, Some(("malformed", "html_page"))),
    case("block_page", "bitstamp", 1, Some(("malformed", "block_page"))),
    case("empty_body", "bybit", 1, Some(("malformed", "empty_body"))),
    case("malformed_json", "coinbase", 1, Some(("malformed", "shape"))),
    case("truncated_json", "gemini", 1, Some(("malformed", "shape"))),
    case("wrong_content_type", "deribit", 1, None),
    case("wrong_encoding", "kraken", 1, Some(("upstream_error", "bad_encoding"))),
    case("oversized_body", "kucoin", 1, Some(("upstream_error", "body_too_large"))),
    case("bomb", "okx", 1, Some(("upstream_error", "bomb"))),
    case("field_renamed", "finnhub", 1, Some(("malformed", "shape"))),
    case("type_changed", "tiingo", 1, Some(("malformed", "shape"))),
    case("frozen", "coingecko", 1, Some(("malformed", "frozen"))),
    case("clock_skew", "twelve_data", 1, None),
];

/// Source, symbol, HTTP version.
const SOURCES: &[(&str, &str, &str)] = &[
    ("alpha_vantage", "IBM", "auto"),
    ("binance", "BTC-USDT", "auto"),
    ("bitstamp", "BTC-USD", "1"),
    ("bybit", "BTC-USDT", "auto"),
    ("coinbase", "BTC-USD", "1"),
    ("coingecko", "BTC-USD", "auto"),
    ("deribit", "BTC-USD.PERP", "auto"),
    ("finnhub", "AAPL", "1"),
    ("gemini", "BTC-USD", "1"),
    ("kraken", "BTC-USD", "1"),
    ("kucoin", "BTC-USDT", "auto"),
    ("okx", "BTC-USDT", "1"),
    ("tiingo", "AAPL", "auto"),
    ("twelve_data", "AAPL", "1"),
];

const SETTINGS: &str = r#"
contact = "simulator@localhost"
[http]
first_byte_timeout = "700ms"
body_timeout = "700ms"
body_bytes_max = "4MiB"
deadline = "5s"
[breaker]
failures = 3
open_for = "1s"
[retry]
attempts_max = 3
base = "5ms"
cap = "20ms"
budget = 1.0
budget_floor = 1000000
"#;

#[test]
fn every_fault_is_survived() {
    let _one = one_at_a_time();
    let folder = Folder::new("survived");
    let sim = sim();
    let engine = configured(&sim, &format!("data_dir = {:?}\n{SETTINGS}", folder.0));
    let engine = engine.scale_quota(60).one_shard().start().unwrap();
    let all: Vec<&str> = SOURCES.iter().map(|(source, ..)| *source).collect();
    let start = engine.metrics();
    wait_for(&engine, &all, "the first records", |now, source| {
        part(now, source).success >= part(&start, source).success + 2
    });
    let resident = resident_bytes();
    for round in [0, 1] {
        let cases: Vec<&Case> = CASES.iter().filter(|case| case.round == round).collect();
        strike(&sim, &engine, &cases, 1.0, check_always);
        recover(&sim, &engine, &cases);
        strike(&sim, &engine, &cases, 0.2, check_sometimes);
        recover(&sim, &engine, &cases);
    }
    let grown = resident_bytes().saturating_sub(resident);
    assert!(grown < MEMORY_MAX, "{grown} bytes more than before the faults");
    let finish = end(&engine);
    sim.stop().unwrap();
    let snapshot = engine.metrics();
    check_law(&finish.counts).unwrap();
    assert_eq!(finish.journal.as_ref().map(|journal| journal.delivered), Some(finish.counts.delivered));
    for source in &all {
        assert_eq!(lost(part(&snapshot, source)), 0, "{source}");
    }
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "something panicked");
    // Names cannot fail in the simulator: a test of its own, whose row stands here.
    check_readme();
}

#[test]
fn a_name_that_fails_is_asked_again() {
    let _one = one_at_a_time();
    let sim = sim();
    let works = Arc::new(AtomicBool::new(false));
    let resolve = {
        let works = works.clone();
        move |_: &str| match works.load(Ordering::SeqCst) {
            true => Ok(vec![[127, 0, 0, 1].into()]),
            false => Err(std::io::Error::other("no such name")),
        }
    };
    // One source alone, with the default timeouts: breakers that opened together probe together, and on a busy host the
    // handshakes of them all do not fit into what SETTINGS gives one answer. A probe that fails adds `open_for` each time.
    let settings = "[breaker]\nfailures = 3\nopen_for = \"1s\"\n[retry]\nbase = \"5ms\"\ncap = \"20ms\"\n";
    let binance = SOURCES.iter().filter(|(source, ..)| *source == "binance");
    let engine = configured_with(&sim, settings, binance).stateless().drain_by_caller().one_shard();
    let engine = engine.resolve_by(resolve).start().unwrap();
    let wanted = ("upstream_error", "name_failed");
    wait_for(&engine, &["binance"], "a name that fails", |now, source| {
        let part = part(now, source);
        is_told(part, wanted) && entered(part, "open") > 0
    });
    let ended = engine.metrics();
    works.store(true, Ordering::SeqCst);
    let since = Instant::now();
    wait_for(&engine, &["binance"], "recovery", |now, source| part(now, source).success > part(&ended, source).success);
    assert!(since.elapsed() <= OPEN_FOR + EVERY + SLACK, "{:?}", since.elapsed());
    wait_for(&engine, &["binance"], "a closed breaker", |now, source| part(now, source).breaker == "closed");
    let finish = end_drained(&engine);
    check_law(&finish.counts).unwrap();
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
    sim.stop().unwrap();
}

/// A fifth of all requests fail in ways that pass; of the polls hardly any does.
#[test]
fn passing_faults_hardly_touch_the_polls() {
    let _one = one_at_a_time();
    let sim = sim();
    // The timeouts are long and the stalls too: only the drawn faults count, whatever else this host does.
    let settings = r#"
contact = "simulator@localhost"
[breaker]
open_for = "1s"
[retry]
base = "5ms"
cap = "50ms"
"#;
    let engine = configured(&sim, settings).stateless().drain_by_caller().one_shard().scale_quota(60).start().unwrap();
    let all: Vec<&str> = SOURCES.iter().map(|(source, ..)| *source).collect();
    let start = engine.metrics();
    // The retry budget is a share of the successes: some have to be there.
    wait_for(&engine, &all, "the first records", |now, source| {
        part(now, source).success >= part(&start, source).success + 20
    });
    let faults = ["http_500", "malformed_json", "reset", "reset_body", "truncated_json"];
    let rules = faults.iter().map(|name| FaultRule { rate: 0.2 / faults.len() as f64, ..rule(name) }).collect();
    let default = Behavior { faults: Some(rules), ..Behavior::default() };
    sim.follow(Profile { seed: 3, default, ..Profile::default() }).unwrap();
    let before = engine.metrics();
    wait_for(&engine, &all, "polls", |now, source| part(now, source).polls >= part(&before, source).polls + 100);
    let after = engine.metrics();
    let counts = sim.counts().unwrap();
    let (requests, faults) = counts.values().fold((0, 0), |sum, of| (sum.0 + of.requests, sum.1 + of.faults));
    let share = faults as f64 / requests as f64;
    assert!((0.15..0.25).contains(&share), "{faults} of {requests} requests failed");
    let polls = after.total.polls - before.total.polls;
    let success = after.total.success - before.total.success;
    // What is under way at either end counts on one side alone.
    let under_way = all.len() as u64;
    println!("{faults} of {requests} requests failed, {success} of {polls} polls succeeded");
    assert!((success + under_way) as f64 >= 0.99 * polls as f64, "{success} of {polls} polls succeeded");
    assert!(after.total.retries > before.total.retries, "nothing was retried");
    let finish = end_drained(&engine);
    check_law(&finish.counts).unwrap();
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
    sim.stop().unwrap();
}

/// Ten minutes of Binance's limits, sixty times as fast on both sides: the whole allowance is used and never exceeded.
#[test]
fn a_good_citizen_uses_its_quota_and_never_exceeds_it() {
    let _one = one_at_a_time();
    let sim = sim();
    let mut profile = Profile::default();
    let quota = Some(SimQuota::Provider { scale: SCALE });
    profile.sources.insert("binance".to_owned(), Behavior { quota, ..Behavior::default() });
    sim.follow(profile).unwrap();
    // More than the limit allows: 250 for each book of 5,000 levels, 25 for each list of trades, 2 for each ticker.
    let url = url(&sim, "binance");
    let mut text = format!("[sources.binance]\nsimulated_keys = true\nin_flight_max = 8\nbase_urls = {{ {url} }}\n");
    for (kind, limit) in [("book", "limit = 5000\n"), ("trade", ""), ("ticker", "")] {
        text.push_str(&format!(
            "[[sources.binance.polls]]\nkind = \"{kind}\"\nsymbols = [\"BTC-USDT\", \"ETH-USDT\", \"SOL-USDT\"]\nevery = \"100ms\"\n{limit}"
        ));
    }
    let environment = Environment::default();
    let settings = Loader::new(&environment).text("citizen.toml", text).load().into_result().unwrap();
    let engine = Engine::builder(settings).trust(sim.ca_pem()).stateless().drain_by_caller().one_shard();
    let engine = engine.scale_quota(SCALE).start().unwrap();
    let deadline = Instant::now() + PATIENCE;
    // The first window began before the engine did.
    let seen = loop {
        engine.drain(usize::MAX).unwrap();
        let seen = sim.counts().unwrap()["binance"].limits.clone();
        if seen.windows.len() > MINUTES {
            break seen;
        }
        assert!(Instant::now() < deadline, "{seen:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!((seen.limited, seen.banned), (0, 0), "{seen:?}");
    assert_eq!(seen.limit, 6_000);
    let steady = &seen.windows[1..=MINUTES];
    let used: u32 = steady.iter().sum();
    println!("{used} of {} used in {MINUTES} minutes, {} limited", seen.limit * MINUTES as u32, seen.limited);
    assert!(used as f64 >= 0.95 * f64::from(seen.limit) * MINUTES as f64, "{steady:?}");
    assert!(steady.iter().all(|used| *used <= seen.limit), "{steady:?}");
    assert!(!engine.metrics().sources["binance"].verdicts.contains_key("rate_limited"));
    check_law(&end_drained(&engine).counts).unwrap();
    sim.stop().unwrap();
}

/// The real sink core with a journal, and beside it two builds of it that lose one record of a hundred, on its way in and
/// on its way out: the law finds both.
#[test]
fn one_lost_record_breaks_the_law() {
    let _one = one_at_a_time();
    assert_eq!(collect("sound", None), Ok(()));
    for loss in [Loss::OnTheWayIn, Loss::OnTheWayOut] {
        let found = collect("mutant", Some(loss));
        assert!(found.is_err(), "{loss:?} was not found");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    OnTheWayIn,
    OnTheWayOut,
}

/// Publishes a hundred records and has the collector deliver them, but for one where a loss is wanted.
fn collect(name: &str, loss: Option<Loss>) -> Result<(), String> {
    let folder = Folder::new(name);
    let data_dir = folder.0.clone();
    let settings = CollectorSettings {
        data_dir,
        run: name.to_owned(),
        journal: Some(JournalSettings::default()),
        batch: BatchSettings::default(),
        dedupe: DedupeSettings::default(),
        cursors: None,
        scope: None,
        sinks: Vec::new(),
        delivery: DeliverySettings::default(),
        host: SinkHost::default(),
    };
    let source = tidegate::source::find("binance").unwrap().spec().id;
    let spec = BufferSpec {
        capacity: 1_000,
        when_full: [WhenFull::Pause; tidegate::Kind::ALL.len()],
        high_water_pct: 80,
        sources: vec![source],
    };
    let (seed, drain) = buffer(spec);
    let view = drain.view();
    let core = runtime::launch("sink", Placement::Unpinned, move || async move {
        let mut records: Vec<Record> = (0..100).map(|at| record(source, at)).collect();
        let publisher = seed.connect();
        publisher.publish(&mut records).await.unwrap();
        drop(publisher);
        let counters = Lossy { inner: drain.tally(), loses: Cell::new(loss == Some(Loss::OnTheWayOut)) };
        let inlet = Lossy { inner: drain, loses: Cell::new(loss == Some(Loss::OnTheWayIn)) };
        let (collector, _) = Collector::open(settings).unwrap();
        collector.run(inlet, counters, std::future::pending()).await
    });
    let summary = core.unwrap().join().unwrap();
    assert_eq!(summary.gave_up, None);
    check_law(&view.counts())
}

/// An inlet or counters that may lose one record.
struct Lossy<T> {
    inner: T,
    loses: Cell<bool>,
}

impl Inlet for Lossy<Drain> {
    fn pop_batch(&mut self, max: usize, out: &mut Vec<Record>) -> usize {
        let count = self.inner.pop_batch(max, out);
        if count > 0 && self.loses.replace(false) {
            out.pop();
            return count - 1;
        }
        count
    }

    async fn wait(&self) -> Woken {
        Inlet::wait(&self.inner).await
    }
}

impl Counters for Lossy<Tally> {
    fn delivered(&self, record: &Record) {
        if !self.loses.replace(false) {
            self.inner.delivered(record);
        }
    }

    fn duplicate(&self, _record: &Record) {
        panic!("the records differ");
    }

    fn put_down(&self, count: usize) {
        self.inner.put_down(count);
    }

    fn status(&self, _status: &CollectorStatus) {}
}

fn record(source: SourceId, at: i64) -> Record {
    Record {
        seq: 0,
        source,
        symbol: None,
        native: None,
        ts_event: UnixNanos::from_secs(at),
        ts_recv: UnixNanos::EPOCH,
        ts_publish: UnixNanos::EPOCH,
        attempt: 0,
        data: Data::Quote(Quote::default()),
    }
}

/// Published = delivered + dropped + queued, and at the end nothing is queued.
fn check_law(counts: &RecordCounts) -> Result<(), String> {
    if counts.is_balanced() && counts.queued == 0 && counts.published > 0 { Ok(()) } else { Err(format!("{counts:?}")) }
}

/// Records of a source that were decoded and are neither delivered nor dropped.
fn lost(source: &SourceSnapshot) -> u64 {
    source.records.abs_diff(source.counts.published)
        + source.counts.published.abs_diff(source.counts.delivered + source.counts.dropped)
}

/// Has every case's fault strike at this rate, and waits until each has shown what it does.
fn strike(sim: &Sim, engine: &Engine, cases: &[&Case], rate: f64, has_shown: fn(&Seen<'_>) -> bool) {
    let mut profile = Profile { seed: 5, ..Profile::default() };
    for case in cases {
        let faults = Some(vec![FaultRule { rate, ..rule(case.fault) }]);
        profile.sources.insert(case.source.to_owned(), Behavior { faults, ..Behavior::default() });
    }
    let (before, counts) = (engine.metrics(), sim.counts().unwrap());
    sim.follow(profile).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (now, counted) = (engine.metrics(), sim.counts().unwrap());
        let waiting: Vec<_> = cases
            .iter()
            .filter(|case| {
                let (before, now) = (part(&before, case.source), part(&now, case.source));
                let struck = counted[case.source].faults - counts[case.source].faults;
                !has_shown(&Seen { case, before, now, struck })
            })
            .map(|case| {
                (case.fault, part(&now, case.source).last_error.clone(), part(&now, case.source).verdicts.clone())
            })
            .collect();
        if waiting.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "at {rate} these did not show as expected: {waiting:#?}");
        std::thread::sleep(STEP);
    }
    if rate < 1.0 {
        return;
    }
    // While a breaker is open only its probes go out.
    let (now, counted) = (engine.metrics(), sim.counts().unwrap());
    for case in cases.iter().filter(|case| case.opens()) {
        let (before, now) = (part(&before, case.source), part(&now, case.source));
        let requests = counted[case.source].requests - counts[case.source].requests;
        let probes = entered(now, "half_open") - entered(before, "half_open");
        // One poll was under way when the fault began, and one probe may be. Frozen answers fit at first.
        let fitting = if case.fault == "frozen" { FROZEN_POLLS } else { 0 };
        assert!(
            requests <= fitting + FAILURES + probes + 2,
            "{}: {requests} requests with {probes} probes",
            case.fault
        );
    }
}

/// What there is to see of a case.
struct Seen<'a> {
    case: &'a Case,
    before: &'a SourceSnapshot,
    now: &'a SourceSnapshot,
    /// How often the fault has struck.
    struck: u64,
}

impl Case {
    /// Whether the breaker opens.
    fn opens(&self) -> bool {
        self.verdict.is_some_and(|(verdict, _)| matches!(verdict, "upstream_error" | "malformed"))
    }

    /// What the README says of the recovery.
    fn recovery(&self) -> &'static str {
        match self.verdict {
            None => "nothing to recover from",
            Some(("rate_limited", _)) => "the pause + one poll",
            Some(_) if !self.opens() => "one poll",
            Some(_) if self.fault == "http_503" => "`Retry-After` + one poll",
            Some(_) => "`open_for` + one poll",
        }
    }
}

/// At 100 %: the verdict and its reason, and the breaker's first steps; without a verdict, records as ever.
fn check_always(seen: &Seen<'_>) -> bool {
    let Seen { case, before, now, struck } = seen;
    let Some(wanted) = case.verdict else {
        return *struck >= 5 && now.success >= before.success + 5 && now.breaker_opened == before.breaker_opened;
    };
    let told = *struck > 0 && is_told(now, wanted) && count(now, wanted.0) > count(before, wanted.0);
    let opened = entered(now, "open") > entered(before, "open");
    if !case.opens() {
        assert!(!opened, "{}: the breaker opened for what is no failure", case.fault);
        return told;
    }
    // Open, half open, and open again, as the probe fails, too.
    told && entered(now, "open") >= entered(before, "open") + 2
        && entered(now, "half_open") > entered(before, "half_open")
}

/// At 20 %: it has struck some times, and records come all the same.
fn check_sometimes(seen: &Seen<'_>) -> bool {
    let Seen { case, before, now, struck } = seen;
    // What passes once it has moved is never frozen; a limit notice stops the source for its pause.
    let (strikes, successes) = if case.fault == "limit_notice" { (1, 1) } else { (3, 5) };
    *struck >= strikes && now.success >= before.success + successes
}

/// Ends every fault, and holds each source's recovery against the time it may take.
fn recover(sim: &Sim, engine: &Engine, cases: &[&Case]) {
    let before = engine.metrics();
    sim.follow(Profile::default()).unwrap();
    let since = Instant::now();
    let mut recovered: BTreeMap<&str, Duration> = BTreeMap::new();
    while recovered.len() < cases.len() {
        let now = engine.metrics();
        for case in cases {
            let (before, now) = (part(&before, case.source), part(&now, case.source));
            if now.success > before.success && now.breaker == "closed" {
                recovered.entry(case.fault).or_insert(since.elapsed());
            }
        }
        let waiting: Vec<_> = cases.iter().filter(|case| !recovered.contains_key(case.fault)).collect();
        let told = || waiting.iter().map(|case| (case.fault, part(&now, case.source).clone())).collect::<Vec<_>>();
        assert!(since.elapsed() < PATIENCE, "not recovered: {:#?}", told());
        std::thread::sleep(STEP);
    }
    for case in cases {
        let held = match case.fault {
            "http_503" => RETRY_AFTER,
            "limit_notice" => PAUSE_MAX,
            _ => OPEN_FOR,
        };
        let took = recovered[case.fault];
        assert!(took <= held + EVERY + SLACK, "{} took {took:?} to recover", case.fault);
    }
}

/// Compares the README's table with the one that these tests stand for, or writes it.
fn check_readme() {
    let mut table = String::from(
        "| fault | verdict | reason | breaker | requests meanwhile | recovered after at most | records lost |\n|---|---|---|---|---|---|---|\n",
    );
    let name = Case { fault: "name_failure", source: "", round: 0, verdict: Some(("upstream_error", "name_failed")) };
    for case in std::iter::once(&name).chain(CASES) {
        let (verdict, reason) = case.verdict.unwrap_or(("ok", "")).to_owned();
        let reason = if reason.is_empty() { String::new() } else { format!("`{reason}`") };
        let (breaker, requests) = match case.opens() {
            true => ("opens", "`failures`, then probes"),
            false if verdict == "rate_limited" => ("stays closed", "none in the pause"),
            false => ("stays closed", "as polled"),
        };
        let recovery = case.recovery();
        table.push_str(&format!(
            "| `{}` | `{verdict}` | {reason} | {breaker} | {requests} | {recovery} | 0 |\n",
            case.fault
        ));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = readme.split_once(BEGIN).expect("the README has the table's first marker");
    let (_, tail) = rest.split_once(END).expect("the README has the table's last marker");
    let wanted = format!("{head}{BEGIN}\n{table}{END}{tail}");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, wanted).unwrap();
    } else {
        assert!(
            readme == wanted,
            "README.md differs from what was found; UPDATE_EXPECT=1 cargo test --test faults writes it"
        );
    }
}

fn rule(name: &str) -> FaultRule {
    let mut fault = Fault::named(name).unwrap();
    match &mut fault {
        Fault::Bomb { bytes } | Fault::OversizedBody { bytes } => *bytes = 8 << 20,
        Fault::Http503 { retry_after } => *retry_after = RETRY_AFTER,
        _ => {}
    }
    FaultRule::always(fault)
}

/// Whether the last failure was this.
fn is_told(source: &SourceSnapshot, (verdict, reason): (&str, &str)) -> bool {
    source.last_error.as_deref().is_some_and(|error| error.starts_with(&format!("{verdict} ({reason}): ")))
}

fn count(source: &SourceSnapshot, verdict: &str) -> u64 {
    source.verdicts.get(verdict).copied().unwrap_or_default()
}

fn entered(source: &SourceSnapshot, state: &str) -> u64 {
    source.breaker_transitions.get(state).copied().unwrap_or_default()
}

fn part<'a>(snapshot: &'a Snapshot, source: &str) -> &'a SourceSnapshot {
    &snapshot.sources[source]
}

/// Waits until every source shows it; takes out of the buffer what an engine without a sink core has put in.
fn wait_for(engine: &Engine, sources: &[&str], what: &str, shows: impl Fn(&Snapshot, &str) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Refused where there is a sink core.
        let _ = engine.drain(usize::MAX);
        let now = engine.metrics();
        let Some(source) = sources.iter().find(|source| !shows(&now, source)) else { return };
        assert!(Instant::now() < deadline, "{source} did not show {what}: {:#?}", part(&now, source));
        std::thread::sleep(STEP);
    }
}

fn end(engine: &Engine) -> Finish {
    engine.shutdown(Duration::from_secs(5)).wait().unwrap().unwrap()
}

/// Ends an engine without a sink core; the counts are those after the last records have been taken.
fn end_drained(engine: &Engine) -> Finish {
    let finish = end(engine);
    engine.drain(usize::MAX).unwrap();
    Finish { counts: engine.metrics().records, ..finish }
}

fn sim() -> Sim {
    let listen = ([127, 0, 0, 1], 0).into();
    Sim::start(SimSettings { listen, placement: Placement::Unpinned, plain: false, recordings: None }).unwrap()
}

/// An engine that polls a ticker of each source.
fn configured(sim: &Sim, first: &str) -> EngineBuilder {
    configured_with(sim, first, SOURCES.iter())
}

/// An engine that polls a ticker of each of these sources.
fn configured_with<'a>(
    sim: &Sim,
    first: &str,
    sources: impl Iterator<Item = &'a (&'a str, &'a str, &'a str)>,
) -> EngineBuilder {
    let mut text = first.to_owned();
    for (source, symbol, version) in sources {
        let tier = tidegate::source::find(source).unwrap().spec().tiers.last().unwrap().name;
        text.push_str(&format!(
            "[sources.{source}]\nsimulated_keys = true\ntier = \"{tier}\"\nhttp_version = \"{version}\"\nbase_urls = {{ {} }}\n",
            url(sim, source)
        ));
        if *source == "coingecko" {
            text.push_str(&format!("frozen_polls = {FROZEN_POLLS}\n"));
        }
        text.push_str(&format!(
            "[[sources.{source}.polls]]\nkind = \"ticker\"\nsymbols = [\"{symbol}\"]\nevery = \"100ms\"\n"
        ));
    }
    let environment = Environment::default();
    let settings = Loader::new(&environment).text("faults.toml", text).load().into_result().unwrap();
    Engine::builder(settings).trust(sim.ca_pem())
}

fn url(sim: &Sim, source: &str) -> String {
    let urls = sim.base_urls().into_iter().filter(|(id, ..)| *id == source);
    urls.map(|(_, base, url)| format!("{base} = \"{url}\"")).collect::<Vec<_>>().join(", ")
}

fn resident_bytes() -> u64 {
    runtime::resident_bytes().unwrap().0
}

/// One engine at a time: memory that can be locked is scarce. Counts panics from here on.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    static HOOK: Once = Once::new();
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    HOOK.call_once(|| {
        let show = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            show(panic);
        }));
    });
    PANICS.store(0, Ordering::Relaxed);
    guard
}

/// A folder of its own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

static PANICS: AtomicUsize = AtomicUsize::new(0);
const STEP: Duration = Duration::from_millis(10);
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// A limit notice that recurs doubles the pause; the rounds end before it is longer.
const PAUSE_MAX: Duration = Duration::from_secs(16);
/// Polls with one and the same time before they count as frozen.
const FROZEN_POLLS: u64 = 3;
const MEMORY_MAX: u64 = 256 << 20;
/// Simulated minutes of a second each.
const SCALE: u32 = 60;
const MINUTES: usize = 10;
const BEGIN: &str = "<!-- faults survived: written by tests/faults.rs -->";
const END: &str = "<!-- end -->";
