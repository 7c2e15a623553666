//! The handle: what callers on any thread and any executor do with a running engine.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::control::Plane as _;
use crate::engine::observe::Observer;
use crate::engine::start::{Finish, Running};
use crate::error::{Error, ErrorKind, Result};
use crate::handoff::{Drain, Rejected, reply};
use crate::metrics::{RecordCounts, Snapshot};
use crate::model::{Judgement, Query, Record, Verdict};
use crate::policy::Force;
use crate::runtime;
use crate::shard::{Command, FetchOrder, Fetched, LoadOrder, LoadReport, Page, PageOrder};
use crate::source::State;

/// A running engine. Clones are handles to the same one; it ends by [`Engine::shutdown`], or when the last handle is
/// dropped.
#[derive(Clone)]
pub struct Engine(pub(super) Arc<Inner>);

/// What the handles share.
pub(super) struct Inner {
    pub observer: Arc<Observer>,
    pub next: AtomicUsize,
    pub drain: Mutex<Option<Drain>>,
    pub running: Mutex<Option<Running>>,
}

/// One question of [`Engine::fetch_batch`].
#[derive(Clone, Debug)]
pub struct Ask {
    /// Id of the source.
    pub source: String,
    /// The question.
    pub query: Query,
    /// Time over all attempts; the source's own when `None`.
    pub deadline: Option<Duration>,
    /// Attempts at most; the source's own when `None`.
    pub attempts_max: Option<u32>,
}

impl Ask {
    /// A question with the source's own deadline and attempts.
    pub fn new(source: impl Into<String>, query: Query) -> Self {
        Ask { source: source.into(), query, deadline: None, attempts_max: None }
    }
}

/// The answer to one question: its records, or why there are none.
pub type Answered = std::result::Result<Vec<Record>, Judgement>;

impl Engine {
    /// Asks a source once, under its quota, breakers and retries. The records go to the caller, not into the buffer.
    ///
    /// # Cancel safety
    /// Dropping the future frees the request's slots at once.
    pub fn fetch(&self, source: &str, query: Query) -> Pending<Answered> {
        let reply = self.order(Ask::new(source, query));
        Pending::new(async move { reply.await.map(|fetched| fetched.records) })
    }

    /// Asks several questions side by side; one result each, in the order of the questions.
    pub fn fetch_batch(&self, asks: Vec<Ask>) -> Pending<Vec<Answered>> {
        let replies: Vec<_> = asks.into_iter().map(|ask| self.order(ask)).collect();
        Pending::new(async move {
            let mut results = Vec::with_capacity(replies.len());
            for reply in replies {
                results.push(reply.await.map(|fetched| fetched.records));
            }
            results
        })
    }

    /// Takes up to `max` records out of the normalization buffer, oldest first: for an engine built with
    /// `drain_by_caller`, instead of a sink core.
    ///
    /// # Errors
    /// When the engine has a sink core, which then reads the buffer alone.
    pub fn drain(&self, max: usize) -> Result<Vec<Record>> {
        let mut drain = self.0.drain.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(drain) = drain.as_mut() else {
            let why = "drain: the sink core reads the buffer; build the engine with drain_by_caller()";
            return Err(Error::new(ErrorKind::Misuse, why));
        };
        let mut records = Vec::new();
        let count = drain.pop_batch(max, &mut records);
        self.0.observer.tap.offer(&records, 0);
        let tally = drain.tally();
        for record in &records {
            tally.delivered(record);
        }
        tally.put_down(count);
        Ok(records)
    }

    /// Everything measured so far, as plain data.
    pub fn metrics(&self) -> Snapshot {
        self.0.observer.snapshot()
    }

    /// Where the admin server listens; `None` without one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.0.observer.admin
    }

    /// Overrules the breakers of a source.
    ///
    /// # Errors
    /// When there is no such source in this engine, or a shard does not take commands.
    pub fn force_breaker(&self, source: &str, force: Force) -> Result<()> {
        self.0.observer.force_breaker(source, force)
    }

    /// The instruments of a source, fetched now.
    pub fn instruments(&self, source: &str, within: Duration) -> Pending<std::result::Result<State, Judgement>> {
        let (answer, reply) = reply();
        let sent = self.0.observer.owners(source).map(|(id, owners)| {
            let _ = self.0.observer.mailboxes[owners[0]].send(Command::Instruments(id, within, answer));
        });
        Pending::new(async move {
            sent?;
            reply.await.unwrap_or_else(|| Err(stopped()))
        })
    }

    /// Asks a source for one page of the past, which goes into the buffer.
    pub(crate) fn page(
        &self,
        source: &str,
        query: Query,
        deadline: Duration,
    ) -> Pending<std::result::Result<Page, Judgement>> {
        let (answer, reply) = reply();
        let sent = self.0.observer.owners(source).and_then(|(id, owners)| {
            let order = PageOrder { source: id, query, deadline, reply: answer };
            self.0.observer.mailboxes[owners[0]].send(Command::Page(order)).map_err(|_| stopped())
        });
        Pending::new(async move {
            sent?;
            reply.await.unwrap_or_else(|| Err(stopped()))
        })
    }

    /// The records' counters at this moment.
    pub(crate) fn counts(&self) -> RecordCounts {
        self.0.observer.view.counts()
    }

    /// How many shards there are; their threads are named `shard-0` and on.
    pub(crate) fn shard_count(&self) -> usize {
        self.0.observer.mailboxes.len()
    }

    /// Drives load on every shard that owns the source; one report per shard, with its number.
    pub(crate) fn load(
        &self,
        source: &str,
        order: impl Fn(usize, usize) -> LoadPart,
    ) -> Pending<Vec<(usize, LoadReport)>> {
        let mut replies = Vec::new();
        if let Ok((id, owners)) = self.0.observer.owners(source) {
            for (index, shard) in owners.iter().enumerate() {
                let (answer, reply) = reply();
                let part = order(index, owners.len());
                let load = LoadOrder {
                    source: id,
                    query: part.query,
                    in_flight: part.in_flight,
                    interval: part.interval,
                    phase: part.phase,
                    run_for: part.run_for,
                    warm_up: part.warm_up,
                    reply: answer,
                };
                let _ = self.0.observer.mailboxes[*shard].send(Command::Load(load));
                replies.push((*shard, reply));
            }
        }
        Pending::new(async move {
            let mut reports = Vec::new();
            for (shard, reply) in replies {
                reports.extend(reply.await.map(|report| (shard, report)));
            }
            reports
        })
    }

    /// Ends the engine in order: polling stops, what is in flight ends within `grace` or is cancelled, the buffer is
    /// drained, the journal flushed and made durable. Later calls give the same counts at once.
    pub fn shutdown(&self, grace: Duration) -> Pending<Result<Finish>> {
        let running = self.0.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let (answer, reply) = reply();
        let inner = self.0.clone();
        // Joining blocks, and the caller's executor must not.
        let joiner = std::thread::Builder::new().name("tidegate-join".to_owned()).spawn(move || {
            let finished = match running {
                Some(running) => running.finish(grace, &inner.observer.view),
                None => Ok(Finish { counts: inner.observer.view.counts(), journal: None, audit: None }),
            };
            let _ = answer.send(finished);
        });
        Pending::new(async move {
            joiner.map_err(|error| Error::new(ErrorKind::Host, format!("cannot start a thread to stop: {error}")))?;
            reply.await.unwrap_or_else(|| Err(Error::new(ErrorKind::Stopped, "the engine's stop was cut short")))
        })
    }

    fn order(&self, ask: Ask) -> Pending<std::result::Result<Fetched, Judgement>> {
        let (answer, reply) = reply();
        let sent = self.0.observer.owners(&ask.source).and_then(|(id, owners)| {
            let shard = owners[self.0.next.fetch_add(1, Ordering::Relaxed) % owners.len()];
            let order = FetchOrder {
                source: id,
                query: ask.query,
                deadline: ask.deadline,
                attempts_max: ask.attempts_max,
                reply: answer,
            };
            self.0.observer.mailboxes[shard].send(Command::Fetch(order)).map_err(|rejected| match rejected {
                Rejected::Full(_) => {
                    let why = format!("shard {shard} has as many commands waiting as it takes");
                    Judgement::new(Verdict::RateLimited, "mailbox_full", why).local()
                }
                Rejected::Closed(_) => stopped(),
            })
        });
        Pending::new(async move {
            sent?;
            reply.await.unwrap_or_else(|| Err(stopped()))
        })
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("shards", &self.0.observer.mailboxes.len()).finish_non_exhaustive()
    }
}

/// One shard's part of a load run.
pub(crate) struct LoadPart {
    pub query: Query,
    pub in_flight: usize,
    pub interval: Option<Duration>,
    pub phase: Duration,
    pub run_for: Duration,
    pub warm_up: Duration,
}

/// A result that is on its way. A future for any executor; [`Pending::wait`] for plain threads. The work has begun
/// whether it is polled or not.
pub struct Pending<T>(Pin<Box<dyn Future<Output = T> + Send>>);

impl<T> Pending<T> {
    fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Pending(Box::pin(future))
    }

    /// Blocks the calling thread until the result is there.
    ///
    /// # Errors
    /// On a thread of the engine itself, which would wait for its own work for ever.
    pub fn wait(self) -> Result<T> {
        if runtime::is_core_thread() {
            let why = "wait: called on a core of the engine, which it would block; await the future instead";
            return Err(Error::new(ErrorKind::Misuse, why));
        }
        Ok(futures_lite::future::block_on(self.0))
    }
}

impl<T> Future for Pending<T> {
    type Output = T;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.0.as_mut().poll(cx)
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}

fn stopped() -> Judgement {
    Judgement::new(Verdict::UpstreamError, "engine_stopped", "the engine has stopped").local()
}
