//! What the host grants this process: CPUs, lockable memory, open files; and how much CPU a thread has used.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::doctor::Limits;

/// The CPUs that this process may run on, ascending.
pub fn allowed_cpus() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect(),
        // Refused only by a sandbox that hides the call; the count of CPUs is then the best guess.
        Err(_) => (0..std::thread::available_parallelism().map_or(1, usize::from)).collect(),
    }
}

/// The limits of this process as they hold.
pub fn limits() -> Limits {
    let files = getrlimit(Resource::Nofile);
    Limits { memlock: getrlimit(Resource::Memlock).current, open_files: files.current, open_files_hard: files.maximum }
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

/// Keeps the calling thread on these CPUs if there are any: off those of the shards. A refusal costs latency, nothing else.
pub fn stay_on(cpus: &[usize]) {
    if !cpus.is_empty() {
        let mut set = CpuSet::new();
        cpus.iter().for_each(|cpu| set.set(*cpu));
        let _ = sched_setaffinity(None, &set);
    }
}

/// Has the calling thread give way to the others of this process where they want the same CPU. What refuses that changes
/// nothing else.
pub fn yield_priority() {
    let _ = rustix::process::nice(NICE);
}

/// CPU time, user and system, that the calling thread has used.
pub fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// CPU time, user and system, that the threads of this process called `name` have used; `None` where the kernel does
/// not tell.
pub fn named_cpu_time(name: &str) -> Option<Duration> {
    let mut total = None;
    for thread in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let Ok(comm) = std::fs::read_to_string(thread.path().join("comm")) else { continue };
        if comm.trim_end() != name {
            continue;
        }
        // proc_pid_schedstat: nanoseconds on a CPU, nanoseconds waiting for one, time slices.
        let stat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanos = stat.split(' ').next()?.parse().ok()?;
        total = Some(total.unwrap_or_default() + Duration::from_nanos(nanos));
    }
    total
}

/// Memory of this process in bytes: resident now, and the most it was; `None` where the kernel does not tell.
pub fn resident_bytes() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib << 10)
    };
    Some((of("VmRSS:")?, of("VmHWM:")?))
}

/// A tenth of the weight of a thread that has not been moved.
const NICE: i32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_found_by_its_name_and_memory_is_told() {
        let named = std::thread::Builder::new().name("host-named".to_owned());
        let (asked, told) = std::sync::mpsc::channel::<()>();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = named
            .spawn(move || {
                let mut sum = 0_u64;
                while thread_cpu_time() < Duration::from_millis(2) {
                    sum = std::hint::black_box(sum + 1);
                }
                ready.send(thread_cpu_time()).unwrap();
                let _ = told.recv();
            })
            .unwrap();
        let used = is_ready.recv().unwrap();
        // The kernel's own count is brought up to date when the thread goes to sleep.
        let found = named_cpu_time("host-named").unwrap();
        assert!(found + Duration::from_millis(20) > used, "{found:?} of {used:?}");
        drop(asked);
        thread.join().unwrap();
        assert_eq!(named_cpu_time("no such thread"), None);
        let (now, most) = resident_bytes().unwrap();
        assert!(now > 1 << 20 && most >= now, "{now} of {most}");
    }
}
