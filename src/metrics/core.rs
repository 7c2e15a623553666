//! What every core says of itself: that it is alive, how much CPU it has used, and when it was held up.
//! Invariant: one writer, the core itself; a core that says nothing is seen by the age of its last beat.

use std::sync::Arc;
use std::time::Duration;

use super::cells::{Counter, Gauge};
use crate::time::Mono;

/// The cells of one core.
#[derive(Debug)]
pub struct CoreCells {
    name: String,
    cpu: Option<usize>,
    heartbeat: Gauge,
    cpu_nanos: Gauge,
    stalls: Counter,
    stall_max: Gauge,
}

impl CoreCells {
    /// Cells of the core `name`, which is pinned to `cpu` or to none.
    pub fn new(name: impl Into<String>, cpu: Option<usize>) -> Arc<Self> {
        Arc::new(CoreCells {
            name: name.into(),
            cpu,
            heartbeat: Gauge::default(),
            cpu_nanos: Gauge::default(),
            stalls: Counter::default(),
            stall_max: Gauge::default(),
        })
    }

    /// Says that the core is alive, what its thread has used, and how much later than meant it came to say so. Only the
    /// core calls it.
    pub fn beat(&self, now: Mono, used: Duration, late: Duration) {
        self.heartbeat.set(now.as_nanos());
        self.cpu_nanos.set(used.as_nanos() as u64);
        if late >= STALL {
            self.stalls.add(1);
            self.stall_max.set(self.stall_max.read().max(late.as_nanos() as u64));
        }
    }

    /// The core's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn read(&self) -> Beat {
        Beat {
            at: Mono::from_nanos(self.heartbeat.read()),
            used: Duration::from_nanos(self.cpu_nanos.read()),
            stalls: self.stalls.read(),
            stall_max: Duration::from_nanos(self.stall_max.read()),
        }
    }

    pub(super) fn cpu(&self) -> Option<usize> {
        self.cpu
    }
}

/// What a core last said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Beat {
    pub(super) at: Mono,
    pub(super) used: Duration,
    pub(super) stalls: u64,
    pub(super) stall_max: Duration,
}

/// A core that comes so much later than it meant to was held up: by a task that did not yield, or by other threads.
const STALL: Duration = Duration::from_millis(100);
