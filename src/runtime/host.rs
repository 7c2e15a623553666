//! What the host grants this process: CPUs, lockable memory, open files; and how much CPU a thread has used.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};
use rustix::time::{ClockId, clock_gettime};

/// The CPUs that this process may run on, ascending.
pub fn allowed_cpus() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect(),
        // Refused only by a sandbox that hides the call; the count of CPUs is then the best guess.
        Err(_) => (0..std::thread::available_parallelism().map_or(1, usize::from)).collect(),
    }
}

/// How many bytes this user may lock, across processes; `None` without a limit.
pub fn lockable_bytes() -> Option<u64> {
    getrlimit(Resource::Memlock).current
}

/// The limit on open files: what holds now and how far it can be raised; `None` without a limit.
pub fn open_files() -> (Option<u64>, Option<u64>) {
    let limit = getrlimit(Resource::Nofile);
    (limit.current, limit.maximum)
}

/// Raises the limit on open files to `need`, within the hard limit.
///
/// # Errors
/// The system's refusal.
pub fn raise_open_files(need: u64) -> std::io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(need), maximum: limit.maximum })?;
    Ok(())
}

/// CPU time, user and system, that the calling thread has used.
pub fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
