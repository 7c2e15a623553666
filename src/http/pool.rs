//! The pool of one shard: who may open a connection, who gets which one, and who waits.
//! Opens nothing itself. Invariants: open connections never exceed the caps; a waiter is served in order of arrival; a
//! waiter that goes away gives back what it was given; nothing is dropped while a host's state is borrowed.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::config::HttpVersion;
use crate::http::alarm::Alarm;
use crate::http::client::PoolStats;
use crate::http::endpoint::{Endpoint, PoolKey};
use crate::http::h1::H1;
use crate::http::h2::{H2, Place};
use crate::http::limits::Protocol;
use crate::http::render::Lines;
use crate::time::Mono;

/// The caps and lifetimes of a pool.
#[derive(Clone, Copy)]
pub(super) struct Caps {
    pub(super) total: usize,
    pub(super) per_host: usize,
    pub(super) idle: Duration,
    pub(super) age: Duration,
    pub(super) uses: u32,
}

pub(super) struct Pool {
    caps: Caps,
    hosts: RefCell<HashMap<u64, Vec<Rc<Host>>>>,
    open: Cell<usize>,
    waiting: Cell<usize>,
    next_ticket: Cell<u64>,
    opened: Cell<u64>,
    closed: Cell<u64>,
    pub(super) replaced: Cell<u64>,
    pub(super) is_closed: Cell<bool>,
    /// Guards against serving from within serving.
    serving: Cell<bool>,
}

/// Everything that one key shares.
pub(super) struct Host {
    pub(super) key: PoolKey,
    pool: Weak<Pool>,
    /// What every request to the host has in common, built once.
    pub(super) lines: Lines,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// Last in, first out.
    idle: Vec<Idle>,
    shared: Vec<Rc<H2>>,
    open: usize,
    opening: usize,
    protocol: Protocol,
    waiters: VecDeque<Rc<Waiter>>,
}

struct Idle {
    connection: Box<H1>,
    since: Mono,
}

struct Waiter {
    ticket: u64,
    grant: RefCell<Option<Grant>>,
    waker: RefCell<Option<Waker>>,
}

/// What an exchange gets from the pool.
pub(super) enum Grant {
    /// An idle connection.
    One(Box<H1>),
    /// The right to open one.
    Open(Slot),
    /// A place on a shared one.
    Two(Place),
}

/// A grant, and whether it had to be waited for.
pub(super) struct Taken {
    pub(super) grant: Grant,
    pub(super) waited: bool,
}

/// The right to one open connection; given back when dropped.
pub(super) struct Slot {
    host: Weak<Host>,
    opening: Cell<bool>,
}

/// Why an exchange got nothing.
pub(super) enum Refused {
    Closed,
    TimeIsUp,
}

impl Pool {
    pub(super) fn new(caps: Caps) -> Rc<Pool> {
        Rc::new(Pool {
            caps,
            hosts: RefCell::default(),
            open: Cell::new(0),
            waiting: Cell::new(0),
            next_ticket: Cell::new(0),
            opened: Cell::new(0),
            closed: Cell::new(0),
            replaced: Cell::new(0),
            is_closed: Cell::new(false),
            serving: Cell::new(false),
        })
    }

    /// The host of an endpoint; `lines` builds what its requests have in common when it is met first.
    pub(super) fn host(self: &Rc<Self>, endpoint: &Endpoint, lines: impl FnOnce(&Endpoint) -> Lines) -> Rc<Host> {
        let mut hosts = self.hosts.borrow_mut();
        let same = hosts.entry(endpoint.hash).or_default();
        if let Some(host) = same.iter().find(|host| host.key == endpoint.key) {
            return host.clone();
        }
        let host = Rc::new(Host {
            key: endpoint.key.clone(),
            pool: Rc::downgrade(self),
            lines: lines(endpoint),
            state: RefCell::default(),
        });
        same.push(host.clone());
        host
    }

    pub(super) fn open(&self) -> usize {
        self.open.get()
    }

    pub(super) fn stats(&self) -> PoolStats {
        let mut stats = PoolStats {
            open: self.open.get(),
            waiting: self.waiting.get(),
            opened: self.opened.get(),
            closed: self.closed.get(),
            replaced: self.replaced.get(),
            ..PoolStats::default()
        };
        for host in self.hosts.borrow().values().flatten() {
            let state = host.state.borrow();
            stats.idle += state.idle.len() + state.shared.iter().filter(|h2| h2.active.get() == 0).count();
            stats.streams += state.shared.iter().map(|h2| h2.active.get()).sum::<usize>();
        }
        stats
    }

    /// Closes what has been idle or open for too long, and what the peer has closed; forgets hosts without connections.
    pub(super) fn sweep(&self, now: Mono) {
        for host in self.all_hosts() {
            host.sweep(now, &self.caps);
        }
        self.hosts.borrow_mut().retain(|_, same| {
            same.retain(|host| Rc::strong_count(host) > 1 || !host.state.borrow().is_unused());
            !same.is_empty()
        });
    }

    /// Refuses everyone from now on and closes what is idle; returns the shared connections, to be ended.
    pub(super) fn close(&self) -> Vec<Rc<H2>> {
        self.is_closed.set(true);
        let mut shared = Vec::new();
        for host in self.all_hosts() {
            let (idle, waiters) = {
                let mut state = host.state.borrow_mut();
                shared.append(&mut state.shared);
                (std::mem::take(&mut state.idle), std::mem::take(&mut state.waiters))
            };
            self.waiting.set(self.waiting.get() - waiters.len());
            for waiter in waiters {
                wake(&waiter);
            }
            drop(idle);
        }
        shared
    }

    fn all_hosts(&self) -> Vec<Rc<Host>> {
        self.hosts.borrow().values().flatten().cloned().collect()
    }

    /// Gives what has become free to those who wait, in order of arrival.
    fn serve(self: &Rc<Self>) {
        if self.waiting.get() == 0 || self.serving.replace(true) {
            return;
        }
        loop {
            let mut waiting: Vec<(u64, Rc<Host>)> =
                self.all_hosts().into_iter().filter_map(Host::first_ticket).collect();
            waiting.sort_unstable_by_key(|(ticket, _)| *ticket);
            if !waiting.iter().any(|(_, host)| host.serve_one(self)) {
                break;
            }
        }
        self.serving.set(false);
    }

    /// Closes the connection that has been idle longest, whatever its host; false when none is.
    fn evict(&self) -> bool {
        let oldest = |host: &Rc<Host>| {
            let state = host.state.borrow();
            let one = state.idle.first().map(|idle| idle.since);
            let two = state.shared.iter().filter(|h2| h2.active.get() == 0).map(|h2| h2.idle_since.get()).min();
            one.into_iter().chain(two).min()
        };
        let hosts = self.all_hosts();
        let Some((_, host)) = hosts.iter().filter_map(|host| Some((oldest(host)?, host))).min_by_key(|(at, _)| *at)
        else {
            return false;
        };
        let victim = {
            let mut state = host.state.borrow_mut();
            if state.idle.is_empty() {
                let at = state.shared.iter().position(|h2| h2.active.get() == 0);
                (None, at.map(|at| state.shared.remove(at)))
            } else {
                (Some(state.idle.remove(0)), None)
            }
        };
        drop(victim);
        true
    }
}

impl Host {
    /// Takes a connection, a place or the right to open; waits in line until `alarm` goes off.
    pub(super) async fn take(self: &Rc<Self>, now: Mono, alarm: &Alarm) -> Result<Taken, Refused> {
        let pool = self.pool.upgrade().filter(|pool| !pool.is_closed.get()).ok_or(Refused::Closed)?;
        if self.state.borrow().waiters.is_empty()
            && let Some(grant) = self.try_take(&pool, now)
        {
            return Ok(Taken { grant, waited: false });
        }
        let ticket = pool.next_ticket.get();
        pool.next_ticket.set(ticket + 1);
        let waiter = Rc::new(Waiter { ticket, grant: RefCell::default(), waker: RefCell::default() });
        self.state.borrow_mut().waiters.push_back(waiter.clone());
        pool.waiting.set(pool.waiting.get() + 1);
        let place = InLine { host: self, pool: &pool, waiter };
        poll_fn(|cx| {
            if let Some(grant) = place.waiter.grant.borrow_mut().take() {
                return Poll::Ready(Ok(Taken { grant, waited: true }));
            }
            if pool.is_closed.get() {
                return Poll::Ready(Err(Refused::Closed));
            }
            *place.waiter.waker.borrow_mut() = Some(cx.waker().clone());
            alarm.poll(cx).map(|()| Err(Refused::TimeIsUp))
        })
        .await
    }

    /// The right to open a connection, if there is room for one more without waiting; for opening ahead of need.
    pub(super) fn take_slot(self: &Rc<Self>) -> Option<Slot> {
        let pool = self.pool.upgrade().filter(|pool| !pool.is_closed.get())?;
        let may_open = self.state.borrow().may_open(self, pool.caps.per_host) && pool.open.get() < pool.caps.total;
        may_open.then(|| Slot::new(self, &pool))
    }

    /// Connections open or being opened.
    pub(super) fn open(&self) -> usize {
        self.state.borrow().open
    }

    /// Notes what protocol the host turned out to speak, so that the next ones need not open one by one.
    pub(super) fn speaks(&self, protocol: Protocol) {
        self.state.borrow_mut().protocol = protocol;
    }

    /// Shares a connection.
    pub(super) fn share(&self, h2: Rc<H2>) {
        self.state.borrow_mut().shared.push(h2);
    }

    /// Gives a connection back: to the first in line, or to the idle ones, or closes it.
    pub(super) fn give_back(self: &Rc<Self>, connection: Box<H1>, now: Mono) {
        let Some(pool) = self.pool.upgrade() else { return };
        let caps = &pool.caps;
        let spent = connection.uses >= caps.uses || now >= connection.born + caps.age;
        if pool.is_closed.get() || spent || !connection.is_reusable() {
            return;
        }
        connection.slot.opened();
        let first = self.state.borrow_mut().waiters.pop_front();
        if let Some(waiter) = first {
            pool.waiting.set(pool.waiting.get() - 1);
            hand(&waiter, Grant::One(connection));
            return;
        }
        self.state.borrow_mut().idle.push(Idle { connection, since: now });
        // Those of other hosts may wait for the total cap: an idle connection can make way.
        pool.serve();
    }

    /// A place on a shared connection has become free.
    pub(super) fn released(&self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.serve();
        }
    }

    /// Forgets a shared connection that takes no more streams.
    pub(super) fn retire(&self, h2: &Rc<H2>) {
        let gone = {
            let mut state = self.state.borrow_mut();
            let at = state.shared.iter().position(|other| Rc::ptr_eq(other, h2));
            at.map(|at| state.shared.swap_remove(at))
        };
        drop(gone);
    }

    fn first_ticket(host: Rc<Host>) -> Option<(u64, Rc<Host>)> {
        let ticket = host.state.borrow().waiters.front()?.ticket;
        Some((ticket, host))
    }

    /// Serves the first in line; false when there is nothing for it.
    fn serve_one(self: &Rc<Self>, pool: &Rc<Pool>) -> bool {
        if self.state.borrow().waiters.is_empty() {
            return false;
        }
        let Some(grant) = self.try_take(pool, Mono::now()) else { return false };
        // Taking may have closed connections, which may have changed the line.
        let first = self.state.borrow_mut().waiters.pop_front();
        let Some(waiter) = first else { return false };
        pool.waiting.set(pool.waiting.get() - 1);
        hand(&waiter, grant);
        true
    }

    fn try_take(self: &Rc<Self>, pool: &Rc<Pool>, now: Mono) -> Option<Grant> {
        let mut stale = None;
        let found = {
            let mut state = self.state.borrow_mut();
            if let Some(h2) = state.shared.iter().find(|h2| h2.has_room()) {
                return Some(Grant::Two(h2.place()));
            }
            match state.idle.pop() {
                Some(idle) if now < idle.since + pool.caps.idle => Some(Grant::One(idle.connection)),
                // Most recently used first: when the last one is too old, all are.
                Some(idle) => {
                    let mut all = std::mem::take(&mut state.idle);
                    all.push(idle);
                    stale = Some(all);
                    None
                }
                None => None,
            }
        };
        drop(stale);
        if found.is_some() {
            return found;
        }
        if !self.state.borrow().may_open(self, pool.caps.per_host) {
            return None;
        }
        if pool.open.get() >= pool.caps.total && !pool.evict() {
            return None;
        }
        // Closing one may have served another.
        let may_open = pool.open.get() < pool.caps.total && self.state.borrow().may_open(self, pool.caps.per_host);
        may_open.then(|| Grant::Open(Slot::new(self, pool)))
    }

    fn sweep(&self, now: Mono, caps: &Caps) {
        let (gone, over) = {
            let mut state = self.state.borrow_mut();
            let is_over = |idle: &mut Idle| {
                let connection = &mut idle.connection;
                now >= idle.since + caps.idle || now >= connection.born + caps.age || !connection.is_alive()
            };
            let gone: Vec<Idle> = state.idle.extract_if(.., is_over).collect();
            let is_over = |h2: &&Rc<H2>| {
                let idle = h2.active.get() == 0 && now >= h2.idle_since.get() + caps.idle;
                idle || now >= h2.born + caps.age || h2.is_over()
            };
            (gone, state.shared.iter().filter(is_over).cloned().collect::<Vec<_>>())
        };
        drop(gone);
        for h2 in over {
            h2.drain();
        }
    }
}

impl State {
    fn may_open(&self, host: &Host, per_host: usize) -> bool {
        let may_share = match host.key.version {
            HttpVersion::One => false,
            HttpVersion::Two => true,
            HttpVersion::Auto => host.key.tls && self.protocol != Protocol::One,
        };
        // One at a time where the first may serve them all.
        self.open < per_host && !(may_share && self.opening > 0)
    }

    fn is_unused(&self) -> bool {
        self.open == 0 && self.waiters.is_empty()
    }
}

impl Slot {
    fn new(host: &Rc<Host>, pool: &Pool) -> Slot {
        let mut state = host.state.borrow_mut();
        state.open += 1;
        state.opening += 1;
        pool.open.set(pool.open.get() + 1);
        pool.opened.set(pool.opened.get() + 1);
        Slot { host: Rc::downgrade(host), opening: Cell::new(true) }
    }

    /// The connection stands, and what it can serve is known.
    pub(super) fn opened(&self) {
        if self.opening.replace(false)
            && let Some(host) = self.host.upgrade()
        {
            host.state.borrow_mut().opening -= 1;
            host.released();
        }
    }

    /// The same right for another connection in place of a dead one.
    pub(super) fn reopen(self) -> Slot {
        if !self.opening.replace(true)
            && let Some(host) = self.host.upgrade()
        {
            host.state.borrow_mut().opening += 1;
            if let Some(pool) = host.pool.upgrade() {
                pool.opened.set(pool.opened.get() + 1);
                pool.closed.set(pool.closed.get() + 1);
            }
        }
        self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(host) = self.host.upgrade() else { return };
        {
            let mut state = host.state.borrow_mut();
            state.open -= 1;
            state.opening -= usize::from(self.opening.get());
        }
        let Some(pool) = host.pool.upgrade() else { return };
        pool.open.set(pool.open.get() - 1);
        pool.closed.set(pool.closed.get() + 1);
        pool.serve();
    }
}

/// A place in the line.
struct InLine<'a> {
    host: &'a Rc<Host>,
    pool: &'a Rc<Pool>,
    waiter: Rc<Waiter>,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let was_waiting = {
            let mut state = self.host.state.borrow_mut();
            let at = state.waiters.iter().position(|other| Rc::ptr_eq(other, &self.waiter));
            at.and_then(|at| state.waiters.remove(at)).is_some()
        };
        if was_waiting {
            self.pool.waiting.set(self.pool.waiting.get() - 1);
        }
        let unused = self.waiter.grant.borrow_mut().take();
        match unused {
            Some(Grant::One(connection)) => self.host.give_back(connection, Mono::now()),
            Some(Grant::Open(slot)) => drop(slot),
            Some(Grant::Two(place)) => drop(place),
            None => {}
        }
    }
}

fn hand(waiter: &Waiter, grant: Grant) {
    *waiter.grant.borrow_mut() = Some(grant);
    wake(waiter);
}

fn wake(waiter: &Waiter) {
    let waker = waiter.waker.borrow_mut().take();
    if let Some(waker) = waker {
        waker.wake();
    }
}
