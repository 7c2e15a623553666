//! The executor of a core: tasks, timers, sockets, files and blocking work, behind names that nothing else ties to
//! glommio. Only this folder and `http/io.rs` name it, so that it can be replaced here.
//! Invariant: a task that panics ends itself, never its core; a core cancels every task it still has before it ends.

mod file;
mod heartbeat;
mod host;
mod launch;
mod log;
mod probe;
mod pulse;
mod ring;
mod tasks;
mod timer;
mod workers;

pub use file::{File, sync_dir};
pub use glommio::net::{TcpListener, TcpStream};
pub use heartbeat::heartbeat;
pub use host::{
    allowed_cpus, limits, named_cpu_time, raise_open_files, resident_bytes, stay_on, thread_cpu_time, yield_priority,
};
pub use launch::{CoreHandle, Placement, is_core_thread, launch, preflight, refuse};
pub use log::{LogGuard, LogWriter, RepeatFilter, log_writer};
pub use probe::{host_facts, probe_data};
pub use ring::{RingReport, ring_report, warm_timers};
pub use tasks::{Task, Tasks, blocking, spawn, yield_if_needed, yield_now};
pub use timer::{sleep, sleep_until, timeout};
pub use workers::Workers;
