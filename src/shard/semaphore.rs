//! A counting semaphore for tasks of one core: first come, first served, and a waiter that gives up loses no slot.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use futures_channel::oneshot;

/// A semaphore. Clones share it.
#[derive(Clone, Debug)]
pub struct Semaphore(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    free: Cell<usize>,
    waiters: RefCell<VecDeque<oneshot::Sender<Slot>>>,
}

/// A slot; dropping it gives it back.
#[derive(Debug)]
#[must_use = "a slot is given back when it is dropped"]
pub struct Slot(Option<Rc<Inner>>);

impl Semaphore {
    /// A semaphore with so many slots, at least one.
    pub fn new(slots: usize) -> Self {
        Semaphore(Rc::new(Inner { free: Cell::new(slots.max(1)), waiters: RefCell::default() }))
    }

    /// Takes a slot, or waits for one in the order of arrival.
    ///
    /// # Cancel safety
    /// A slot that was handed over as the future was dropped goes to the next waiter.
    pub async fn acquire(&self) -> Slot {
        if let Some(slot) = self.try_acquire() {
            return slot;
        }
        let (hand, take) = oneshot::channel();
        self.0.waiters.borrow_mut().push_back(hand);
        match take.await {
            Ok(slot) => slot,
            // The sender is only dropped together with the semaphore, which this future borrows.
            Err(oneshot::Canceled) => Slot(None),
        }
    }

    /// Takes a slot if one is free; those who wait are served first, as a slot that they can have is never free.
    pub fn try_acquire(&self) -> Option<Slot> {
        let free = self.0.free.get().checked_sub(1)?;
        self.0.free.set(free);
        Some(Slot(Some(self.0.clone())))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(inner) = self.0.take() else { return };
        loop {
            let next = inner.waiters.borrow_mut().pop_front();
            let Some(hand) = next else { break };
            match hand.send(Slot(Some(inner.clone()))) {
                Ok(()) => return,
                // That waiter has gone: take the slot back without handing it on from inside its own drop.
                Err(mut slot) => slot.0 = None,
            }
        }
        inner.free.set(inner.free.get() + 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn slots_go_to_waiters_in_order_and_past_those_that_left() {
        block_on(async {
            let semaphore = Semaphore::new(1);
            let slot = semaphore.acquire().await;
            let mut gone = Box::pin(semaphore.acquire());
            let mut second = Box::pin(semaphore.acquire());
            assert!(poll_once(&mut gone).await.is_none() && poll_once(&mut second).await.is_none());
            drop(gone);
            drop(slot);
            let slot = poll_once(&mut second).await.expect("the slot skips the waiter that left");
            drop(slot);
            let _slot = poll_once(semaphore.acquire()).await.expect("the slot is free again");
            assert!(poll_once(semaphore.acquire()).await.is_none());
        });
    }

    #[test]
    fn a_slot_handed_to_a_dropped_waiter_comes_back() {
        block_on(async {
            let semaphore = Semaphore::new(1);
            let slot = semaphore.acquire().await;
            let mut waiter = Box::pin(semaphore.acquire());
            assert!(poll_once(&mut waiter).await.is_none());
            drop(slot);
            drop(waiter);
            assert!(poll_once(semaphore.acquire()).await.is_some());
        });
    }
}
