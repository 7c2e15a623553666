//! tidegate collects market data, economic series, filings and news from many providers at once, turns every answer
//! into one typed, exact record, and hands the records on without losing or inventing any. It is a Linux daemon (the
//! program `tidegate`; its commands are in the README) and a library. This page is the architecture of both.
//!
//! # The library in one page
//!
//! An [`Engine`] is made from [`Settings`], which a [`Loader`] reads in layers: defaults, TOML, environment. Any thread
//! asks it by [`Engine::fetch`] and [`Engine::fetch_batch`]; what it polls by its own timetable goes to the journal, or,
//! with [`EngineBuilder::drain_by_caller`], to whoever calls [`Engine::drain`]. The embedded simulator [`Sim`] serves
//! every provider on loopback, so that this needs neither a network nor a key:
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use tidegate::{Ask, Engine, Kind, Loader, Environment, Placement, Query, Sim, SimSettings};
//!
//! # fn main() -> Result<(), tidegate::Error> {
//! // A provider simulator on a free port, and the configuration that asks it.
//! let listen = ([127, 0, 0, 1], 0).into();
//! let sim = Sim::start(SimSettings { listen, placement: Placement::Unpinned, plain: false, recordings: None })?;
//! let environment = Environment::default();
//! let settings = Loader::new(&environment).text("sim.toml", sim.toml(None, None)?).load().into_result()?;
//!
//! let engine = Engine::builder(settings).trust(sim.ca_pem()).stateless().drain_by_caller().start()?;
//!
//! // One question; the records go to the caller alone.
//! let records = engine.fetch("binance", Query::new(Kind::Ticker).symbol("BTC-USDT")).wait()?;
//! for record in records.expect("an answer with the verdict ok") {
//!     println!("{}", serde_json::to_string(&record).unwrap());
//! }
//!
//! // Several at once: one result each, in the order of the questions.
//! let asks = ["BTC-USD", "ETH-USD"].map(|symbol| Ask::new("kraken", Query::new(Kind::Book).symbol(symbol)));
//! let books = engine.fetch_batch(asks.to_vec()).wait()?;
//! assert_eq!(books.len(), 2);
//!
//! // What the timetable polls stands in the normalization buffer.
//! let until = Instant::now() + Duration::from_secs(10);
//! let mut polled = Vec::new();
//! while polled.is_empty() && Instant::now() < until {
//!     polled = engine.drain(1_000)?;
//!     std::thread::yield_now();
//! }
//! assert!(!polled.is_empty());
//!
//! let metrics = engine.metrics();
//! println!("{} requests, p95 {:.1} ms", metrics.total.requests, metrics.total.latency.p95_ms);
//!
//! let finish = engine.shutdown(Duration::from_secs(1)).wait()??;
//! engine.drain(usize::MAX)?;
//! assert!(finish.counts.is_balanced());
//! sim.stop()
//! # }
//! ```
//!
//! Every answer that takes time is a [`Pending`]: a future that any executor can await, whose work has begun before it
//! is first polled, and which a plain thread can [wait](Pending::wait) for. Inside a tokio program:
//!
//! ```
//! use std::time::Duration;
//!
//! use tidegate::{Engine, Environment, Kind, Loader, Placement, Query, Sim, SimSettings};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), tidegate::Error> {
//!     let listen = ([127, 0, 0, 1], 0).into();
//!     let sim = Sim::start(SimSettings { listen, placement: Placement::Unpinned, plain: false, recordings: None })?;
//!     let environment = Environment::default();
//!     let settings = Loader::new(&environment).text("sim.toml", sim.toml(None, None)?).load().into_result()?;
//!     let builder = Engine::builder(settings).trust(sim.ca_pem()).stateless();
//!     let engine = builder.without_polls().drain_by_caller().start()?;
//!
//!     // The shards work on their own threads: this task awaits both and blocks nothing.
//!     let rates = engine.fetch("frankfurter", Query::new(Kind::Rate).symbol("EUR-USD"));
//!     let bars = tokio::spawn(engine.fetch("okx", Query::new(Kind::Bar).symbol("BTC-USDT").limit(10)));
//!     assert_eq!(rates.await.expect("a rate").len(), 1);
//!     assert!(!bars.await.expect("the task ended").expect("bars").is_empty());
//!
//!     engine.shutdown(Duration::from_secs(1)).await?;
//!     sim.stop()
//! }
//! ```
//!
//! ## What a program that links this crate needs
//!
//! The kernel serves the rings of an executor much better with the flags `IORING_SETUP_COOP_TASKRUN` and
//! `IORING_SETUP_SINGLE_ISSUER`; glommio has no option for them. This crate's build script tells the linker to send the
//! ring set-up of glommio's bundled liburing through this crate, which adds the flags and falls back to none where the
//! kernel refuses them. The linker argument of a build script reaches the crate's own programs and tests only. So a
//! program that depends on the library repeats it in a `build.rs` of its own
//!
//! ```text
//! fn main() {
//!     println!("cargo:rustc-link-arg=-Wl,--wrap=__sys_io_uring_setup");
//! }
//! ```
//!
//! and, where a target of it names nothing else of this crate, adds `use tidegate as _;` so that the function the linker
//! looks for is there. Without the argument everything works, with fewer requests per second from a core. The start-up
//! log line `engine started` says how many rings there are and how many have the flags (`rings`, `rings_flagged`), and
//! [`ring_report`] tells a program. The first sleep of a process may come some milliseconds late; [`warm_timers`] at the
//! top of `main` prevents that.
//!
//! # The shape
//!
//! ```text
//!  .env, file, environment ── config ── engine::plan ─┬─ shard 0 (pinned)                                    ┐
//!                                                     │    per source: timetable → request → admission       │
//!                                                     │    (deadline, breaker, quota, permit) → pool →       │ shared-nothing:
//!                                                     │    exchange → classify → retry → decode → Publisher ─┤ Rc, RefCell
//!                                                     ├─ shard n (pinned) ── the same ───────────────────────┘
//!                                                     │                                   │
//!                                                     │                 ArrayQueue normalization buffer (10,000)
//!                                                     │                                   │ doorbell
//!                                                     ├─ sink core (pinned): drain → dedupe → sequence → batch → journal → sinks
//!                                                     ├─ control core (unpinned): admin server, alerts; sees snapshots alone
//!                                                     └─ housekeeping thread: quota state, metric windows
//!  callers on any thread or runtime ── Engine handle ── mailbox of a shard ── one-shot reply
//! ```
//!
//! - A **source** is one provider. It is assigned to a **shard**, which owns its connection pool, breakers, retry budget,
//!   timetable and cursors; a source too hot for one core is spread over `shards = k`. There each shard has its own breakers; more than half of them open open all, and then
//!   one shard probes for all.
//! - A shard is one thread with one executor on one CPU. Inside it nothing is locked: state is `Rc` and `RefCell`.
//! - A stream (source, kind, symbol) is followed from poll to poll: its **cursor** says what has been seen. The sink core
//!   keeps it, never ahead of the journal; a start hands each shard how far its streams have come. What was missed the
//!   shard asks for by its one request path, publishes in order, or records as a gap first.
//! - One source cannot slow another on its shard: its requests in flight are bounded (`in_flight_max`), what comes of
//!   HTTP/1.1 bodies beyond 64 KiB comes in turns of 16 KiB, one body's at a time and at most half of the time, and a body
//!   of more than 128 KiB is decoded on a thread of lower priority beside the core, one of a source at a time. That thread
//!   and housekeeping keep to CPUs without a shard where there are any.
//! - Shards publish into one lock-free queue, the **normalization buffer**; one **sink core** reads it. When it is full,
//!   a publish waits (`pause`) or drops, as the kind's setting says; each drop is counted.
//! - Each attempt leaves one line in the **audit log**, which the sink core writes beside the journal in segments of the
//!   same form: shards send their entries in batches through a bounded queue each. A record names its attempt by an id
//!   that is unique over shards and runs (`attempt` in its line, [`Record::attempt`]).
//! - What crosses cores is plain data: records, audit entries, commands, replies, snapshots and quota cells. The code that carries it is
//!   in one folder, `handoff/`.
//!
//! # The layers
//!
//! A module imports from layers above it in this table, never from below; `tests/tidy.rs` checks that.
//!
//! | layer | modules | what they are |
//! |---|---|---|
//! | 0 | `time`, `error`, `model` | the vocabulary |
//! | 1 | `metrics`, `policy`, `wire`, `config` | pure mechanism: `now` and randomness are arguments, no sockets |
//! | 2 | `handoff`, `doctor` | all code that crosses cores; what the host needs, judged |
//! | 3 | `runtime` | all code that names glommio; ring flags, preflight |
//! | 4 | `http` | names, TLS, connections, pool, client |
//! | 5 | `source`, `sink` | one file per provider, one per target |
//! | 6 | `shard`, `collector` | what a shard owns; what the sink core owns |
//! | 6 | `sim` | the simulator, which never imports shard or engine |
//! | 7 | `control` | admin server, exposition, alerts; sees snapshots, never a shard |
//! | 8 | `engine` | the handle and the plan |
//! | 9 | `cli` | the program |
//!
//! Absent on purpose: `source` knows no `http`, `runtime` or `handoff`; `shard` knows no `sink`; the environment is read
//! in `config` alone and the clock in `time` alone.
//!
//! # Decisions
//!
//! | decision | reason |
//! |---|---|
//! | one pinned executor per core, over io_uring (glommio) | no work stealing, no locks, one system call for many operations |
//! | HTTP/1.1 and HTTP/2 as a client of our own, under a pool of our own | hard limits, per host and over all; one read and one write a turn for all streams of a connection |
//! | rustls with ALPN `h2, http/1.1` | real providers are HTTPS, and multiplexing is the cheapest way to many requests |
//! | a source is pure: spec, request, decode, classify, prerequisites | one file per provider, tested from captured bytes |
//! | policies take the time and randomness as arguments | property tests, and none that sleeps |
//! | decimals of 96 bits, times in integer nanoseconds | money is no binary fraction; what does not fit is `malformed`, not rounded |
//! | one atomic cell per quota scope, shared by its shards | two limiters of one cap double the rate |
//! | the journal is the delivery log; each sink has its own offset in it | a dead sink stalls no other, and a restart resumes: at least once |
//! | a journal segment is checksummed zstd frames of NDJSON | every tool reads it, and a torn tail is told frame by frame |
//! | a cursor is what the journal has: spans of consecutive numbers, else a window of keys | a restart neither skips nor repeats, however long ago the record came |
//! | published = delivered + dropped + queued, counted at four places | a law that a run checks at its end |
//! | sources and sinks stand in constant tables | greppable and ordered |
//! | `unsafe` in two files | reviewable |
//!
//! # One request
//!
//! 1. The deadline covers all attempts. 2. An open breaker refuses. 3. The quota lets the request's weight pass, makes it
//!    wait, or refuses it. 4. The breaker gives its permit, late, so that waiting holds no probe of a half-open one.
//!    5. The pool gives a connection. 6. The exchange runs under a timeout for each phase: connect, TLS, first byte, body.
//!    7. Status, headers and body are judged; a 200 can carry a refusal. 8. Quota, breaker, retry budget, metrics and audit
//!    log learn the verdict. 9. It is retried after a random wait under a doubled cap, the provider's `Retry-After` and the retry
//!    budget, or decoded. 10. The records are published or go back to the caller.
//!
//! A source that hedges (off by default) sends a second attempt beside one that takes longer than 95 % of its own did, paid
//! from the retry budget and admitted like any other; the first whole answer counts and the loser is dropped.
//!
//! A connection that died while idle is replaced once, at once, and charged to nobody. Redirects are never followed.
//!
//! # Verdicts
//!
//! A closed list, [`Verdict`]; what is finer stands in [`Judgement::reason`].
//!
//! | verdict | meaning |
//! |---|---|
//! | `ok` | the answer was read into records |
//! | `rate_limited` | the provider asks for a pause, or the quota here is used up (`"origin":"local"`) |
//! | `banned` | the provider has shut this address or key out for a time |
//! | `unauthorized` | a key is missing, wrong, or its plan does not cover the question |
//! | `not_found` | there is no such instrument |
//! | `bad_request` | the question cannot be asked in this form |
//! | `upstream_error` | no whole answer, or the provider failed; with `"origin":"local"` an open breaker |
//! | `malformed` | a whole 2xx answer that does not fit the form it should have |
//!
//! # Words
//!
//! source, sink, shard, sink core, record, kind, symbol (canonical) and native (the provider's), poll, timetable, quota
//! (scope, window, weight), breaker (closed, open, half-open), backoff, deadline, retry budget, pool, checkout, publisher,
//! drain, doorbell, mailbox, journal, segment, offset, verdict, snapshot, preflight.
#![deny(unsafe_op_in_unsafe_fn)]

// The public interface is what follows; no type of the runtime, the HTTP stack, TLS or the queue is in it.

// The engine and what is asked of it.
pub use crate::collector::{AuditSummary, Summary as JournalSummary};
pub use crate::engine::{Answered, Ask, Engine, EngineBuilder, Finish, Pending};
pub use crate::error::{Error, ErrorKind, Origin, Result};
pub use crate::policy::{Force, WhenFull};
pub use crate::source::{Instrument, Instruments, State};

// Settings.
pub use crate::config::{
    Admin, Alerts, Audit, AuditLevel, Breaker, Buffer, Cluster, Compression, Cores, CpuChoice, CpuList, Credentials,
    Cursors, Environment, Http, HttpTarget, HttpVersion, Journal, Loaded, Loader, Log, LogFormat, Metrics,
    PollSettings, Problem, Problems, Proxy, Retry, Secret, Settings, SinkHeader, SinkHeaderText, SinkSettings,
    SinkTarget, SourceSettings, Targets,
};

// Records and questions.
pub use crate::model::{
    Balance, Bar, Book, Data, Dec, DecimalError, Filing, Interval, IntervalUnit, Judgement, Kind, Level, Native, News,
    Observation, Query, Quote, Rate, Record, Side, SourceId, Symbol, Ticker, TimeRange, Trade, Verdict, VolumeUnit,
};
pub use crate::time::UnixNanos;

// Measurements.
pub use crate::metrics::{
    Alert, AuditCounts, BufferSnapshot, ClusterSnapshot, CollectorStatus, CoreSnapshot, DataAge, Health, JournalStatus,
    Latency, QuotaUse, Reason, Recent, RecordCounts, RingsSnapshot, ShardSnapshot, ShardSource, SinkStatus, Snapshot,
    SourceSnapshot, TapSnapshot, TargetsSnapshot,
};

// The simulator.
pub use crate::runtime::Placement;
pub use crate::sim::{
    Behavior, Counts as SimCounts, Delay, Fault, FaultRule, LimitCounts as SimLimitCounts, Profile, Quota as SimQuota,
    Sim, SimSettings,
};

// The host.
pub use crate::runtime::{RingReport, ring_report, warm_timers};

// Not part of the interface: reachable for the program, the tests and the benches of this package alone.
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod collector;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod control;
#[doc(hidden)]
pub mod doctor;
#[doc(hidden)]
pub mod engine;
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod handoff;
#[doc(hidden)]
pub mod http;
#[doc(hidden)]
pub mod metrics;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod policy;
#[doc(hidden)]
pub mod runtime;
#[doc(hidden)]
pub mod shard;
#[doc(hidden)]
pub mod sim;
#[doc(hidden)]
pub mod sink;
#[doc(hidden)]
pub mod source;
#[doc(hidden)]
pub mod time;
#[doc(hidden)]
pub mod wire;
