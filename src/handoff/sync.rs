//! The one import of atomics, locks and the queue: std's and crossbeam's, or loom's when the cross-core types are
//! model-checked (`--cfg tidegate_loom`).

#[cfg(not(tidegate_loom))]
pub(super) use self::real::*;

#[cfg(tidegate_loom)]
pub(super) use self::modelled::*;

#[cfg(not(tidegate_loom))]
mod real {
    pub use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
    pub use std::sync::{Arc, Mutex, MutexGuard};

    pub use crossbeam_queue::ArrayQueue as Queue;
}

#[cfg(tidegate_loom)]
mod modelled {
    use std::collections::VecDeque;

    pub use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
    pub use loom::sync::{Arc, Mutex, MutexGuard};

    /// Stands for the lock-free queue: the same calls, each as one step.
    pub struct Queue<T> {
        items: Mutex<VecDeque<T>>,
        capacity: usize,
    }

    impl<T> Queue<T> {
        pub fn new(capacity: usize) -> Self {
            Queue { items: Mutex::new(VecDeque::new()), capacity }
        }

        pub fn push(&self, item: T) -> Result<(), T> {
            let mut items = lock(&self.items);
            if items.len() == self.capacity {
                return Err(item);
            }
            items.push_back(item);
            Ok(())
        }

        pub fn force_push(&self, item: T) -> Option<T> {
            let mut items = lock(&self.items);
            let displaced = if items.len() == self.capacity { items.pop_front() } else { None };
            items.push_back(item);
            displaced
        }

        pub fn pop(&self) -> Option<T> {
            lock(&self.items).pop_front()
        }

        pub fn len(&self) -> usize {
            lock(&self.items).len()
        }

        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }

        pub fn is_full(&self) -> bool {
            self.len() == self.capacity
        }

        pub fn capacity(&self) -> usize {
            self.capacity
        }
    }

    use super::lock;
}

/// Takes a lock whether or not a thread has panicked while holding it: what is guarded here is whole between any two
/// statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
