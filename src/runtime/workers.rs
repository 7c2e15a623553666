//! Threads for blocking work that must not hold a core up: a bounded queue of jobs and a few threads that take from it.
//! Invariant: the threads end when the last handle is gone and the queue is empty; a panic in a job ends that job alone.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use crate::runtime::host::stay_on;

/// A handle to the threads; cheap to clone, usable from any thread.
pub struct Workers<J> {
    jobs: mpsc::SyncSender<J>,
}

impl<J: Send + 'static> Workers<J> {
    /// Starts `threads` threads that run `work` on every job.
    ///
    /// # Errors
    /// The system's refusal to start a thread.
    pub fn start(name: &str, threads: usize, work: impl Fn(J) + Send + Sync + 'static) -> std::io::Result<Self> {
        Workers::start_with(name, threads, || {}, work)
    }

    /// The same with a priority below that of the cores, on these CPUs if there are any: where the threads share a CPU
    /// with others they get what those leave, and a small share of it when they leave nothing.
    ///
    /// # Errors
    /// The system's refusal to start a thread.
    pub fn start_low(
        name: &str,
        threads: usize,
        cpus: &[usize],
        work: impl Fn(J) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let cpus = cpus.to_vec();
        let prepare = move || {
            // On Linux of the calling thread alone. A refusal costs latency, nothing else.
            let _ = rustix::process::nice(LOW_NICE);
            stay_on(&cpus);
        };
        Workers::start_with(name, threads, prepare, work)
    }

    fn start_with(
        name: &str,
        threads: usize,
        prepare: impl Fn() + Clone + Send + 'static,
        work: impl Fn(J) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::sync_channel::<J>(QUEUE_LEN);
        let shared = Arc::new((Mutex::new(queue), work));
        for index in 0..threads.max(1) {
            let (shared, prepare) = (shared.clone(), prepare.clone());
            std::thread::Builder::new().name(format!("{name}-{index}")).spawn(move || {
                prepare();
                let (queue, work) = &*shared;
                loop {
                    // The lock is held while waiting: the others wait for the lock instead of the queue.
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { return };
                    if std::panic::catch_unwind(AssertUnwindSafe(|| work(job))).is_err() {
                        tracing::error!("a job of a helper thread panicked and was ended");
                    }
                }
            })?;
        }
        Ok(Workers { jobs })
    }

    /// Queues a job; hands it back when the queue is full.
    ///
    /// # Errors
    /// The job, when there is no room for it.
    pub fn submit(&self, job: J) -> Result<(), J> {
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::TrySendError::Full(job) | mpsc::TrySendError::Disconnected(job) => job,
        })
    }
}

impl<J> Clone for Workers<J> {
    fn clone(&self) -> Self {
        Workers { jobs: self.jobs.clone() }
    }
}

impl<J> std::fmt::Debug for Workers<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Workers")
    }
}

/// A tenth of the weight of an ordinary thread (sched(7)).
const LOW_NICE: i32 = 10;
/// Far more than there are hosts: a queue this long means that no thread gets an answer.
const QUEUE_LEN: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panicking_job_ends_alone() {
        let (told, heard) = mpsc::channel();
        let workers = Workers::start("test", 1, move |job: u32| {
            assert!(job != 1, "on purpose");
            told.send(job).unwrap();
        })
        .unwrap();
        for job in 0..3 {
            workers.submit(job).unwrap();
        }
        drop(workers);
        assert_eq!(heard.iter().collect::<Vec<_>>(), [0, 2]);
    }
}
