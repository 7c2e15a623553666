//! The doorbell: lets tasks sleep until another core has changed something. Carries no data.
//! Ringing costs a fence and a load while nobody is parked, so producers ring once per batch and need not know.
//! Invariant: a change made before a ring is seen by whoever waits, or wakes it; there is no lost wake-up, because both
//! sides put a sequentially consistent fence between their own write (the change; the parked count) and their read of
//! the other's.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::sync::{AtomicUsize, Mutex, Ordering, fence, lock};

/// Wakes every task that waits on it. Waiters may be on any executor and any thread.
#[derive(Debug)]
pub struct Doorbell {
    /// Tasks registered below; read without the lock.
    parked: AtomicUsize,
    waiters: Mutex<Waiters>,
}

#[derive(Debug)]
struct Waiters {
    next: u64,
    /// One entry per waiting task; bounded by the tasks there are.
    wakers: Vec<(u64, Waker)>,
}

impl Doorbell {
    /// A doorbell that nobody waits on.
    pub fn new() -> Self {
        Doorbell { parked: AtomicUsize::new(0), waiters: Mutex::new(Waiters { next: 0, wakers: Vec::new() }) }
    }

    /// Wakes all who wait. Call it after the change that they wait for.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) == 0 {
            return;
        }
        let woken = {
            let mut waiters = lock(&self.waiters);
            self.parked.store(0, Ordering::Relaxed);
            std::mem::take(&mut waiters.wakers)
        };
        // Outside the lock: a waker may run the task at once.
        for (_, waker) in woken {
            waker.wake();
        }
    }

    /// Waits until `ready` gives a value. It is asked at once and after every ring.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub fn wait<T, F: FnMut() -> Option<T> + Unpin>(&self, ready: F) -> Wait<'_, F> {
        Wait { bell: self, ready, ticket: None }
    }

    /// Whether anyone waits.
    pub fn has_waiters(&self) -> bool {
        self.parked.load(Ordering::Relaxed) != 0
    }

    fn register(&self, ticket: Option<u64>, waker: &Waker) -> u64 {
        let mut waiters = lock(&self.waiters);
        let ticket = match ticket {
            Some(ticket) => ticket,
            None => {
                waiters.next += 1;
                waiters.next
            }
        };
        match waiters.wakers.iter_mut().find(|(known, _)| *known == ticket) {
            Some((_, registered)) => registered.clone_from(waker),
            None => waiters.wakers.push((ticket, waker.clone())),
        }
        self.parked.store(waiters.wakers.len(), Ordering::Relaxed);
        ticket
    }

    fn withdraw(&self, ticket: u64) {
        let mut waiters = lock(&self.waiters);
        waiters.wakers.retain(|(known, _)| *known != ticket);
        self.parked.store(waiters.wakers.len(), Ordering::Relaxed);
    }
}

impl Default for Doorbell {
    fn default() -> Self {
        Doorbell::new()
    }
}

/// Waits for a condition that another core brings about. Made by [`Doorbell::wait`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Wait<'a, F> {
    bell: &'a Doorbell,
    ready: F,
    ticket: Option<u64>,
}

impl<T, F: FnMut() -> Option<T> + Unpin> Future for Wait<'_, F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        if let Some(value) = (self.ready)() {
            return Poll::Ready(value);
        }
        self.ticket = Some(self.bell.register(self.ticket, cx.waker()));
        fence(Ordering::SeqCst);
        match (self.ready)() {
            Some(value) => Poll::Ready(value),
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Wait<'_, F> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.bell.withdraw(ticket);
        }
    }
}

#[cfg(all(test, not(tidegate_loom)))]
mod tests {
    use std::sync::atomic::{AtomicUsize as StdUsize, Ordering::SeqCst};
    use std::sync::{Arc, Barrier};

    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn a_dropped_wait_leaves_nothing_behind() {
        let bell = Doorbell::new();
        block_on(async {
            let mut wait = Box::pin(bell.wait(|| None::<()>));
            assert!(poll_once(&mut wait).await.is_none());
            assert!(poll_once(&mut wait).await.is_none());
            assert!(bell.has_waiters());
            drop(wait);
        });
        assert!(!bell.has_waiters());
    }

    #[test]
    fn a_ring_wakes_everyone() {
        let bell = Arc::new(Doorbell::new());
        let value = Arc::new(StdUsize::new(0));
        let gate = Arc::new(Barrier::new(4));
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let (bell, value, gate) = (bell.clone(), value.clone(), gate.clone());
                std::thread::spawn(move || {
                    gate.wait();
                    (1..=1_000).for_each(|round| {
                        block_on(bell.wait(|| (value.load(SeqCst) >= round).then_some(())));
                    });
                })
            })
            .collect();
        gate.wait();
        for round in 1..=1_000 {
            value.store(round, SeqCst);
            bell.ring();
        }
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    }
}
