//! Tasks of one core. A panic in a task is caught, logged and ends that task alone.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use futures_lite::FutureExt as _;

use crate::runtime::launch::panic_text;

/// A task of this core. Dropping it cancels the task; [`Task::detach`] lets it go on by itself.
#[derive(Debug)]
#[must_use = "a task is cancelled when its handle is dropped"]
pub struct Task<T>(glommio::Task<Option<T>>);

impl<T> Task<T> {
    /// Lets the task go on without a handle. Only for tasks that end by themselves: a core does not wait for them.
    pub fn detach(self) {
        self.0.detach();
    }

    /// Cancels the task and waits until it is gone.
    pub async fn cancel(self) {
        self.0.cancel().await;
    }

    /// Waits for the task; `None` when it panicked.
    pub async fn join(self) -> Option<T> {
        self.0.await
    }
}

/// Starts a task on this core.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    Task(glommio::spawn_local(async move {
        match AssertUnwindSafe(future).catch_unwind().await {
            Ok(value) => Some(value),
            Err(panic) => {
                tracing::error!(panic = %panic_text(panic.as_ref()), "a task panicked and was ended");
                None
            }
        }
    }))
}

/// Tasks that end together: what a core cancels before it ends. glommio does not drop what waits for a timer or socket.
#[derive(Clone, Debug, Default)]
pub struct Tasks(Rc<Group>);

#[derive(Debug, Default)]
struct Group {
    tasks: RefCell<Vec<(u64, glommio::Task<()>)>>,
    finished: RefCell<Vec<u64>>,
    next: Cell<u64>,
}

impl Tasks {
    /// Starts a task of this group.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.reap();
        let id = self.0.next.get();
        self.0.next.set(id + 1);
        let group = self.0.clone();
        let task = glommio::spawn_local(async move {
            if let Err(panic) = AssertUnwindSafe(future).catch_unwind().await {
                tracing::error!(panic = %panic_text(panic.as_ref()), "a task panicked and was ended");
            }
            group.finished.borrow_mut().push(id);
        });
        self.0.tasks.borrow_mut().push((id, task));
    }

    /// How many tasks have not ended.
    pub fn len(&self) -> usize {
        self.reap();
        self.0.tasks.borrow().len()
    }

    /// Whether all have ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cancels all tasks and waits until they are gone.
    pub async fn cancel_all(&self) {
        loop {
            let Some((_, task)) = self.0.tasks.borrow_mut().pop() else { break };
            task.cancel().await;
        }
        self.0.finished.borrow_mut().clear();
    }

    fn reap(&self) {
        let mut finished = self.0.finished.borrow_mut();
        // Reaping scans the list: do it when a good part has ended.
        if finished.len() * 2 >= self.0.tasks.borrow().len() {
            finished.sort_unstable();
            let mut tasks = std::mem::take(&mut *self.0.tasks.borrow_mut());
            tasks.retain(|(id, _)| finished.binary_search(id).is_err());
            finished.clear();
            self.0.tasks.borrow_mut().append(&mut tasks);
        }
    }
}

/// Runs blocking work on the core's helper thread; `None` when it panicked. Not for work without a bound: a core has one
/// such thread.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    // A panic on that thread would leave the caller waiting for ever.
    glommio::executor().spawn_blocking(move || std::panic::catch_unwind(AssertUnwindSafe(work)).ok()).await
}

/// Lets other tasks run.
pub async fn yield_now() {
    glommio::executor().yield_now().await;
}

/// Lets other tasks run when this one has used up its time slice.
pub async fn yield_if_needed() {
    glommio::yield_if_needed().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Placement, launch};

    #[test]
    fn a_panicking_task_ends_alone() {
        let core = launch("tasks", Placement::Unpinned, || async {
            let bad: Task<()> = spawn(async { panic!("on purpose") });
            let good = spawn(async { 3 });
            (bad.join().await, good.join().await, blocking(|| -> u8 { panic!("on purpose") }).await)
        });
        assert_eq!(core.unwrap().join().unwrap(), (None, Some(3), None));
    }

    #[test]
    fn a_group_is_reaped_and_cancelled() {
        let core = launch("tasks", Placement::Unpinned, || async {
            let tasks = Tasks::default();
            for _ in 0..100 {
                tasks.spawn(async {});
            }
            tasks.spawn(std::future::pending());
            while tasks.len() > 1 {
                yield_now().await;
            }
            tasks.cancel_all().await;
            tasks.is_empty()
        });
        assert!(core.unwrap().join().unwrap());
    }
}
