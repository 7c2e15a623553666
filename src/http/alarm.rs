//! Time limits of exchanges: a table of moments that one task looks through every few milliseconds while there are any.
//! A timer of its own per exchange would cost more than the rest of its bookkeeping; limits of seconds need no better
//! resolution. Invariant: with no alarm set for a while the task ends, so an idle core has no timer.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::runtime::{Tasks, sleep};
use crate::time::Mono;

/// The table of a shard.
#[derive(Clone)]
pub(super) struct Alarms(Rc<Table>);

struct Table {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
    set: Cell<usize>,
    ticking: Cell<bool>,
    tasks: Tasks,
}

#[derive(Default)]
struct Slot {
    /// When to wake; `None` when off or gone off.
    at: Option<Mono>,
    waker: Option<Waker>,
}

/// One place in the table; given back when dropped.
pub(super) struct Alarm {
    table: Rc<Table>,
    index: usize,
}

impl Alarms {
    pub(super) fn new(tasks: Tasks) -> Self {
        Alarms(Rc::new(Table {
            slots: RefCell::default(),
            free: RefCell::default(),
            set: Cell::new(0),
            ticking: Cell::new(false),
            tasks,
        }))
    }

    /// A place in the table, set to `at`.
    pub(super) fn set(&self, at: Mono) -> Alarm {
        let table = &self.0;
        let mut slots = table.slots.borrow_mut();
        let index = table.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(Slot::default());
            slots.len() - 1
        });
        slots[index].at = Some(at);
        drop(slots);
        table.set.set(table.set.get() + 1);
        if !table.ticking.replace(true) {
            let ticked = self.clone();
            table.tasks.spawn(async move { ticked.tick().await });
        }
        Alarm { table: table.clone(), index }
    }

    /// Lets every alarm go off at once: the client is closing.
    pub(super) fn go_off(&self) {
        for slot in self.0.slots.borrow_mut().iter_mut() {
            slot.at = None;
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
    }

    async fn tick(&self) {
        let mut quiet = 0;
        while quiet < QUIET_TICKS_MAX {
            sleep(TICK).await;
            if self.0.set.get() == 0 {
                quiet += 1;
                continue;
            }
            quiet = 0;
            let now = Mono::now();
            for slot in self.0.slots.borrow_mut().iter_mut() {
                if slot.at.is_some_and(|at| at <= now) {
                    slot.at = None;
                    if let Some(waker) = slot.waker.take() {
                        waker.wake();
                    }
                }
            }
        }
        self.0.ticking.set(false);
    }
}

impl Alarm {
    /// Sets it to another moment, gone off or not.
    pub(super) fn reset(&self, at: Mono) {
        self.table.slots.borrow_mut()[self.index].at = Some(at);
    }

    /// Whether it has gone off; if not, the task is woken when it does.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let slot = &mut self.table.slots.borrow_mut()[self.index];
        if slot.at.is_none() {
            return Poll::Ready(());
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Runs `future` until `at`; `None` when that comes first, and then `future` is dropped.
    pub(super) async fn limit<T>(&self, at: Mono, future: impl Future<Output = T>) -> Option<T> {
        self.reset(at);
        let mut future = std::pin::pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => self.poll(cx).map(|()| None),
        })
        .await
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.table.slots.borrow_mut()[self.index] = Slot::default();
        self.table.free.borrow_mut().push(self.index);
        self.table.set.set(self.table.set.get() - 1);
    }
}

/// How late a limit may strike: nothing against limits of seconds.
const TICK: Duration = Duration::from_millis(10);
/// After one second without an alarm the task ends.
const QUIET_TICKS_MAX: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Placement, launch};

    #[test]
    fn alarms_go_off_once_and_places_are_reused() {
        let core = launch("alarms", Placement::Unpinned, || async {
            let tasks = Tasks::default();
            let alarms = Alarms::new(tasks.clone());
            let start = Mono::now();
            let near = alarms.set(start + Duration::from_secs(60));
            let far = alarms.set(start + Duration::from_secs(60));
            let late = near.limit(start + Duration::from_millis(30), std::future::pending::<()>()).await;
            assert!(late.is_none() && Mono::now().since(start) >= Duration::from_millis(30));
            let ready = near.limit(start + Duration::from_secs(60), async { 7 }).await;
            assert_eq!(ready, Some(7));
            drop((near, far));
            let again = alarms.set(start);
            assert_eq!(alarms.0.slots.borrow().len(), 2);
            drop(again);
            tasks.cancel_all().await;
        });
        core.unwrap().join().unwrap();
    }
}
