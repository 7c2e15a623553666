//! A lane: one source on one shard, with everything the request path of that source needs. Shard-local: `Rc` and
//! `RefCell`, no borrow held across an await. What it shares with other shards is the quota cell alone.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Credentials;
use crate::handoff::{QuorumSeat, QuotaCell, Stop};
use crate::http::{Client, Endpoint, Limits};
use crate::model::{Judgement, Kind, Native, Query, Symbol};
use crate::policy::{Backoff, BreakerSpec, BudgetSpec, Force, Outcome, Permit, RetryBudget, Transition};
use crate::shard::audit::{self, Audit};
use crate::shard::breakers::Breakers;
use crate::shard::decode::Decoders;
use crate::shard::follow::{Follow, FollowSpec};
use crate::shard::hedge::Hedge;
use crate::shard::meter::Meter;
use crate::shard::semaphore::Semaphore;
use crate::shard::stillness::Stillness;
use crate::shard::validators::Validators;
use crate::source::{Batch, Context, Source, State, is_clocked};
use crate::time::{Mono, Now, UnixNanos};
use crate::wire::Request;

/// What a lane is made from: plain data that crosses to the shard's thread.
pub struct LaneSpec {
    /// The source.
    pub source: &'static dyn Source,
    /// Where its requests go, by the index of `Spec::bases`.
    pub endpoints: Vec<Endpoint>,
    /// Its secrets.
    pub credentials: Credentials,
    /// A contact address for providers that demand one.
    pub contact: String,
    /// Its quota, shared with other shards.
    pub quota: QuotaCell,
    /// Its breakers' settings.
    pub breaker: BreakerSpec,
    /// Its seats among the breakers of other shards, one for each base; empty when it is on one shard.
    pub quorum: Vec<QuorumSeat>,
    /// Its retry budget.
    pub budget: BudgetSpec,
    /// Its delays between attempts.
    pub backoff: Backoff,
    /// Attempts per fetch at most.
    pub attempts_max: u32,
    /// Whether a slow attempt gets a second one beside it.
    pub hedge: bool,
    /// Limits of one exchange.
    pub limits: Limits,
    /// Time of one fetch over all attempts.
    pub deadline: Duration,
    /// Exchanges in flight at most.
    pub in_flight_max: usize,
    /// Connections to each endpoint that are opened at the start.
    pub warm: usize,
    /// What it knows from earlier runs.
    pub state: State,
    /// Where that is kept; `None` for simulated upstreams and one-off fetches.
    pub state_file: Option<PathBuf>,
    /// Polls whose answers' time stands still before they count as frozen; 0 = never.
    pub frozen_polls: Option<u32>,
    /// How its streams are followed from poll to poll; `None` where nothing of it is kept.
    pub follow: Option<FollowSpec>,
    /// Its polls.
    pub polls: Vec<crate::shard::polls::PollSpec>,
}

/// One source on one shard.
pub struct Lane {
    /// The source.
    pub source: &'static dyn Source,
    /// The shard's client.
    pub client: Client,
    /// See [`LaneSpec`].
    pub endpoints: Vec<Endpoint>,
    /// See [`LaneSpec`].
    pub quota: QuotaCell,
    /// See [`LaneSpec`].
    pub backoff: Backoff,
    /// See [`LaneSpec`].
    pub attempts_max: u32,
    /// See [`LaneSpec`].
    pub limits: Limits,
    /// See [`LaneSpec`].
    pub deadline: Duration,
    /// Its metrics.
    pub(super) meter: Meter,
    /// Its part of the audit log.
    pub(super) audit: Audit,
    /// The threads that read big bodies.
    pub(super) decoders: Decoders,
    /// When a second attempt is sent.
    pub(super) hedge: Hedge,
    /// One big body at a time.
    pub(super) decoding: Semaphore,
    /// Exchanges of this lane in flight.
    pub in_flight: Semaphore,
    /// Exchanges of the whole shard in flight.
    pub(super) shared: Semaphore,
    /// What waits to be sent gives up when the shard stops; what has been sent is waited for.
    pub(super) stop: Stop,
    /// What the source knows.
    pub state: RefCell<State>,
    credentials: Credentials,
    contact: String,
    state_file: Option<PathBuf>,
    breakers: Breakers,
    budget: RefCell<RetryBudget>,
    // A source has a handful of buckets.
    turns: RefCell<Vec<(&'static str, Semaphore)>>,
    fetched: RefCell<BTreeMap<&'static str, Mono>>,
    /// One task at a time fetches prerequisites: what many queries need is asked once.
    pub(super) preparing: Semaphore,
    excluded: RefCell<BTreeMap<(Kind, Symbol), Mono>>,
    /// What makes polls conditional.
    pub(super) validators: Validators,
    /// Whether what is polled still moves.
    pub(super) stillness: RefCell<Stillness>,
    /// What is followed from poll to poll.
    pub(super) follow: Option<Follow>,
    /// Whether the last round was slowed by the buffer's high-water mark, so that it is said once.
    pub(super) slowed: Cell<bool>,
}

impl Lane {
    /// Ties a lane to the shard that `client` belongs to.
    pub(super) fn new(
        spec: LaneSpec,
        client: Client,
        shared: Semaphore,
        stop: Stop,
        meter: Meter,
        log: audit::Log,
        decoders: Decoders,
    ) -> Lane {
        let breakers = Breakers::new(spec.breaker, spec.endpoints.len(), spec.quorum);
        Lane {
            source: spec.source,
            client,
            endpoints: spec.endpoints,
            quota: spec.quota,
            backoff: spec.backoff,
            attempts_max: spec.attempts_max.max(1),
            limits: spec.limits,
            deadline: spec.deadline,
            meter,
            decoders,
            hedge: Hedge::new(spec.hedge),
            decoding: Semaphore::new(1),
            audit: Audit::new(log, spec.source.spec().id),
            in_flight: Semaphore::new(spec.in_flight_max),
            shared,
            stop,
            state: RefCell::new(spec.state),
            credentials: spec.credentials,
            contact: spec.contact,
            state_file: spec.state_file,
            breakers,
            budget: RefCell::new(RetryBudget::new(spec.budget)),
            turns: RefCell::default(),
            fetched: RefCell::default(),
            preparing: Semaphore::new(1),
            excluded: RefCell::default(),
            validators: Validators::default(),
            stillness: RefCell::new(Stillness::new(spec.frozen_polls)),
            follow: spec.follow.map(Follow::new),
            slowed: Cell::new(false),
        }
    }

    /// Calls `act` with a context for `query`.
    ///
    /// # Errors
    /// When the source cannot express one of its symbols, or what `act` returns.
    pub fn with_context<T>(
        &self,
        query: &Query,
        act: impl FnOnce(&Context<'_>) -> Result<T, Judgement>,
    ) -> Result<T, Judgement> {
        let state = self.state.borrow();
        let cx = Context::new(self.source, query, &state, &self.credentials, &self.contact, UnixNanos::now())?;
        act(&cx)
    }

    /// The provider's name of each symbol in `query`.
    ///
    /// # Errors
    /// When the source cannot express one of them.
    pub(super) fn natives(&self, query: &Query) -> Result<Vec<Native>, Judgement> {
        let state = self.state.borrow();
        query.symbols.iter().map(|symbol| self.source.native(query.kind, symbol, &state)).collect()
    }

    /// Calls `act` with a context for `query` whose symbols have been translated: an answer is read by the names that
    /// were asked for.
    pub(super) fn with_natives<T>(
        &self,
        query: &Query,
        natives: &mut Vec<Native>,
        now: UnixNanos,
        act: impl FnOnce(&Context<'_>) -> T,
    ) -> T {
        let state = self.state.borrow();
        let (credentials, contact) = (&self.credentials, self.contact.as_str());
        let cx = Context { query, natives: std::mem::take(natives), state: &state, credentials, contact, now };
        let done = act(&cx);
        *natives = cx.natives;
        done
    }

    /// Copies of what an answer is read with, for another thread.
    pub(super) fn knowledge(&self) -> (State, Credentials, String) {
        (self.state.borrow().clone(), self.credentials.clone(), self.contact.clone())
    }

    /// `text` without the secrets of the request, of the source's credentials and of its session.
    pub(super) fn redact(&self, request: &Request, text: &str) -> String {
        let mut shown = request.redact(text);
        let state = self.state.borrow();
        let session = state.values.values().map(String::as_str);
        for secret in self.credentials.exposed().chain(session).filter(|secret| secret.len() >= SECRET_BYTES_MIN) {
            if shown.contains(secret) {
                shown = shown.replace(secret, "***");
            }
        }
        shown
    }

    /// Where waiters for a bucket's quota queue, so that none overtakes another.
    pub(super) fn turn(&self, bucket: &'static str) -> Semaphore {
        let mut turns = self.turns.borrow_mut();
        // Mostly the very same text: no byte of it has to be looked at.
        let is_same = |known: &'static str| std::ptr::eq(known, bucket) || known == bucket;
        if let Some((_, turn)) = turns.iter().find(|(known, _)| is_same(known)) {
            return turn.clone();
        }
        let turn = Semaphore::new(1);
        turns.push((bucket, turn.clone()));
        turn
    }

    /// Refuses when the breaker of a base is open.
    pub(super) fn check_breaker(&self, base: usize, now: Now) -> Result<(), Judgement> {
        self.tell(base, self.breakers.heed(base, now));
        self.breakers.check(base, now).map_err(refused_by_breaker)
    }

    /// Takes a permit from the breaker of a base; it goes back when the guard is dropped.
    pub(super) fn permit(&self, base: usize, now: Now) -> Result<PermitGuard<'_>, Judgement> {
        let permit = self.breakers.acquire(base, now).map_err(refused_by_breaker)?;
        self.tell(base, permit.transition());
        self.meter.permitted();
        Ok(PermitGuard { lane: self, base, permit: Some(permit) })
    }

    /// Overrules the breakers of this lane.
    pub fn force(&self, force: Force) {
        // The log has the operator's act itself.
        self.breakers.force(force).into_iter().for_each(|changed| self.show_change(changed));
        self.show_breaker();
    }

    /// Takes one retry from the budget.
    pub(super) fn spend_retry(&self, now: Now) -> bool {
        self.budget.borrow_mut().spend(now)
    }

    /// Pays a success into the budget.
    pub(super) fn earn_retry(&self) {
        self.budget.borrow_mut().succeed();
    }

    /// Shows the worst state of the lane's breakers in its metrics.
    pub fn show_breaker(&self) {
        let now = Now::read();
        // Also what other shards have brought about while this one asked nothing.
        (0..self.endpoints.len()).for_each(|base| self.tell(base, self.breakers.heed(base, now)));
        if let Some(state) = self.breakers.states(now).into_iter().max_by_key(|state| severity(*state)) {
            self.meter.breaker(state, self.breakers.opened_count());
        }
    }

    /// When a prerequisite was fetched by this lane.
    pub(super) fn fetched_at(&self, name: &'static str) -> Option<Mono> {
        self.fetched.borrow().get(name).copied()
    }

    /// Notes that a prerequisite was fetched, and keeps what the source knows for the next run.
    pub(super) async fn note_fetched(&self, name: &'static str, now: Mono) {
        self.fetched.borrow_mut().insert(name, now);
        if name == "instruments" {
            self.excluded.borrow_mut().clear();
        }
        let Some(path) = self.state_file.clone() else { return };
        let Ok(text) = serde_json::to_vec(&*self.state.borrow()) else { return };
        let shown = path.display().to_string();
        let written = crate::runtime::blocking(move || crate::shard::state::write_atomically(&path, &text)).await;
        if let Some(Err(error)) = written {
            tracing::warn!(source = self.source.spec().id.as_str(), path = %shown, %error, "the state could not be kept");
        }
    }

    /// Makes a prerequisite void.
    pub(super) fn forget(&self, name: &'static str) {
        self.fetched.borrow_mut().remove(name);
    }

    /// Leaves a symbol out of batches, until the instruments are fetched anew or a day has passed; says so once.
    pub(super) fn exclude(&self, kind: Kind, symbol: &Symbol, why: &Judgement) {
        let known = self.excluded.borrow_mut().insert((kind, symbol.clone()), Mono::now());
        if known.is_none() {
            tracing::warn!(
                source = self.source.spec().id.as_str(), kind = kind.as_str(), %symbol, verdict = why.verdict.as_str(), why = %why.message,
                "the provider does not know the symbol: it is left out for a day"
            );
        }
    }

    /// Notes the time of a poll's records.
    ///
    /// # Errors
    /// When it has stood still for too many polls.
    pub(super) fn check_moves(&self, query: &Query, batch: &Batch) -> Result<(), Judgement> {
        self.stillness.borrow_mut().check(query, batch.records(), is_clocked(self.source, query.kind))
    }

    /// Whether a symbol is left out.
    pub(super) fn is_excluded(&self, kind: Kind, symbol: &Symbol) -> bool {
        let mut excluded = self.excluded.borrow_mut();
        let key = (kind, symbol.clone());
        match excluded.get(&key) {
            Some(since) if Mono::now().since(*since) < EXCLUDED_FOR => true,
            Some(_) => {
                excluded.remove(&key);
                false
            }
            None => false,
        }
    }

    /// Tells of what a breaker has done by itself.
    fn tell(&self, base: usize, changed: Option<Transition>) {
        let Some(changed) = changed else { return };
        self.show_change(changed);
        self.audit.breaker(self.source.spec().id, self.endpoints[base].host(), changed);
    }

    fn show_change(&self, changed: Transition) {
        self.meter.breaker_changed(changed.to);
        tracing::info!(
            source = self.source.spec().id.as_str(),
            from = changed.from.as_str(),
            to = changed.to.as_str(),
            reason = changed.reason,
            "breaker"
        );
    }
}

/// A breaker's permit; given back as cancelled unless it is settled.
#[must_use = "a permit is cancelled when its guard is dropped"]
pub(super) struct PermitGuard<'a> {
    lane: &'a Lane,
    base: usize,
    permit: Option<Permit>,
}

impl PermitGuard<'_> {
    /// Tells the breaker how the attempt ended.
    pub(super) fn settle(mut self, outcome: Outcome, now: Now) {
        let Some(permit) = self.permit.take() else { return };
        let changed = self.lane.breakers.release(self.base, permit, outcome, now);
        if changed.is_some() {
            self.lane.tell(self.base, changed);
            self.lane.show_breaker();
        }
    }
}

impl Drop for PermitGuard<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.lane.breakers.cancel(self.base, permit);
        }
    }
}

fn refused_by_breaker(refused: crate::policy::Refused) -> Judgement {
    let state = refused.state.as_str();
    Judgement::new(crate::model::Verdict::UpstreamError, "breaker_open", format!("the breaker is {state}"))
        .retry_after(refused.retry_after)
        .local()
}

fn severity(state: crate::policy::BreakerState) -> u8 {
    use crate::policy::BreakerState::{Closed, Disabled, ForcedOpen, HalfOpen, Open};
    match state {
        Closed => 0,
        Disabled => 1,
        HalfOpen => 2,
        Open => 3,
        ForcedOpen => 4,
    }
}

/// Shorter values are no keys, and replacing them would riddle a body.
const SECRET_BYTES_MIN: usize = 8;
/// How long an unknown symbol is left out when the provider has no instrument list to be fetched anew.
const EXCLUDED_FOR: Duration = Duration::from_secs(86_400);
