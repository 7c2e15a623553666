//! Starting a core: a thread of its own, pinned, with an executor on it; and finding out first whether the host lets us.

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use glommio::LocalExecutorBuilder;

use crate::doctor::{self, Facts, Finding, Tree};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::host;
use crate::runtime::pulse::Pulses;
use crate::runtime::ring;

/// Where a core's thread runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Pinned to this CPU.
    Cpu(usize),
    /// Wherever the scheduler puts it: the control plane.
    Unpinned,
}

/// A running core.
#[derive(Debug)]
pub struct CoreHandle<T> {
    name: String,
    thread: JoinHandle<Option<T>>,
}

impl<T> CoreHandle<T> {
    /// Waits for the core's main future to end.
    ///
    /// # Errors
    /// When the main future panicked; its message is in the error.
    pub fn join(self) -> Result<T> {
        let ended = |why: &str| Error::new(ErrorKind::Stopped, format!("{} ended {why}", self.name));
        match self.thread.join() {
            Ok(done) => done.ok_or_else(|| ended("before it began")),
            Err(panic) => Err(ended(&format!("by a panic: {}", panic_text(panic.as_ref())))),
        }
    }

    /// Whether the core has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Starts a core and returns once it runs. `main` is called on the new thread.
///
/// A core whose thread is taken off the CPU for longer than the preemption timer before its first task has run sleeps
/// with that task ready, and no pulse has been set yet that would wake it. It is left behind then, to end if it ever
/// wakes, and another is made: `main` is whichever's that comes to run it first.
///
/// # Errors
/// When the host refuses the thread, the CPU or the executor's rings; says what to mend.
pub fn launch<T, F, M>(name: &str, placement: Placement, main: M) -> Result<CoreHandle<T>>
where
    T: Send + 'static,
    F: Future<Output = T>,
    M: FnOnce() -> F + Send + 'static,
{
    let main = Arc::new(Mutex::new(Some(main)));
    let (ready, started) = mpsc::channel();
    let mut threads = Vec::new();
    for attempt in 0..ATTEMPTS_MAX {
        let (main, ready, thread_name) = (main.clone(), ready.clone(), name.to_owned());
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let executor = match make(&thread_name, placement) {
                Ok(executor) => executor,
                Err(why) => {
                    let _ = ready.send((attempt, Err(why)));
                    return None;
                }
            };
            IS_CORE.set(true);
            executor.run(async move {
                let main = main.lock().unwrap_or_else(PoisonError::into_inner).take()?;
                let _ = ready.send((attempt, Ok(())));
                let pulses = Pulses::start();
                // The first timer of an executor is late; spend that on nothing.
                glommio::timer::sleep(Duration::from_micros(1)).await;
                let done = main().await;
                pulses.end().await;
                Some(done)
            })
        });
        let refused = |error| Error::new(ErrorKind::Host, format!("cannot start the thread of {name}: {error}"));
        threads.push(thread.map_err(refused)?);
        match started.recv_timeout(ATTEMPT) {
            Ok((index, Ok(()))) => return Ok(CoreHandle { name: name.to_owned(), thread: threads.swap_remove(index) }),
            Ok((_, Err(why))) => {
                return Err(Error::new(
                    ErrorKind::Host,
                    format!("cannot start {name}: {why} (lockable memory: {}; see `ulimit -l`)", shown_lockable()),
                ));
            }
            // A thread that has not even begun by then is waited for in the same way.
            Err(_) => tracing::debug!(core = name, attempt, "a core does not begin: another is made"),
        }
    }
    Err(Error::new(ErrorKind::Host, format!("cannot start {name}: of {ATTEMPTS_MAX} threads none came to run")))
}

/// Makes the executor of the calling thread.
fn make(name: &str, placement: Placement) -> std::result::Result<glommio::LocalExecutor, String> {
    let placed = match placement {
        Placement::Cpu(cpu) => glommio::Placement::Fixed(cpu),
        Placement::Unpinned => glommio::Placement::Unbound,
    };
    // `make` panics where it cannot map a refusal; the panic is told like an error.
    let made = std::panic::catch_unwind(AssertUnwindSafe(|| {
        LocalExecutorBuilder::new(placed)
            .name(name)
            .preempt_timer(PREEMPT_TIMER)
            .io_memory(IO_MEMORY_BYTES)
            .ring_depth(RING_DEPTH)
            .make()
    }));
    match made {
        Ok(made) => made.map_err(|error| error.to_string()),
        Err(panic) => Err(panic_text(panic.as_ref())),
    }
}

/// Whether the calling thread is a core, which must not block.
pub fn is_core_thread() -> bool {
    IS_CORE.get()
}

/// Checks that the host lets executors run, before any is made: glommio panics or exits where it is refused.
///
/// # Errors
/// A line for each refusal: what is refused, by what, and how to allow it.
pub fn preflight() -> Result<()> {
    let facts = Facts { limits: host::limits(), rings: ring::probe(), ..Facts::default() };
    refuse(&doctor::rings(&Tree::host(), &facts))
}

/// The error of those findings without which nothing starts, one line each.
///
/// # Errors
/// When there are any.
pub fn refuse(findings: &[Finding]) -> Result<()> {
    let lines: Vec<String> = findings.iter().filter(|finding| finding.refuses()).map(Finding::to_string).collect();
    if lines.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Host, lines.join("\n"))) }
}

fn shown_lockable() -> String {
    host::limits().memlock.map_or_else(|| "unlimited".to_owned(), |bytes| format!("{} KiB", bytes / 1024))
}

/// The text of a panic.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "no message".to_owned(),
    }
}

thread_local! {
    static IS_CORE: Cell<bool> = const { Cell::new(false) };
}

/// glommio polls timers and I/O once per this time while tasks are runnable; its default of 100 ms makes them that late.
const PREEMPT_TIMER: Duration = Duration::from_millis(1);
/// How long a core may take to begin before another is made in its place; a busy host takes some milliseconds.
const ATTEMPT: Duration = Duration::from_millis(500);
const ATTEMPTS_MAX: usize = 20;
/// Registered memory, unused for sockets; the default of 10 MiB would be resident per core.
const IO_MEMORY_BYTES: usize = 64 << 10;
const RING_DEPTH: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_run_with_the_flags() {
        preflight().unwrap();
        let core = launch("probe", Placement::Unpinned, || async { 7 }).unwrap();
        assert_eq!(core.join().unwrap(), 7);
        let report = ring::ring_report();
        assert!(report.rings >= 3, "{report:?}");
        assert!(report.flagged >= 2, "the kernel of this host refuses the ring flags: {report:?}");
    }

    #[test]
    fn a_panic_in_main_is_told_at_join() {
        let core = launch("probe", Placement::Unpinned, || async { panic!("on purpose") }).unwrap();
        let error: Error = core.join().unwrap_err();
        assert!(error.to_string().contains("on purpose"), "{error}");
    }

    #[test]
    fn a_missing_cpu_is_an_error() {
        let error = launch("probe", Placement::Cpu(4_095), || async {}).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Host);
    }
}
