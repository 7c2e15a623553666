//! The pulses that keep a core from sleeping with tasks ready to run.
//!
//! An executor of glommio goes to sleep with tasks ready to run when its thread is taken off the CPU for longer than
//! the preemption timer just before it would run them: it takes the fired timer for having had its turn. Nothing but a
//! later event wakes it. Invariant: there is always one, and several, since those due at that moment are spent with it.
//! A core that has hardly anything to do has hardly a moment to be caught in, so its pulses come further apart.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::runtime::tasks::{Task, spawn};
use crate::runtime::timer::sleep;
use crate::time::Mono;

/// The pulses of the calling core.
pub(super) struct Pulses(Vec<Task<()>>);

impl Pulses {
    pub(super) fn start() -> Self {
        let pace = Rc::new(Pace { is_quiet: Cell::new(false), runs: Cell::new(0) });
        let mut tasks: Vec<_> = (0..COUNT).map(|index| spawn(pulse(pace.clone(), index))).collect();
        tasks.push(spawn(judge(pace)));
        Pulses(tasks)
    }

    pub(super) async fn end(self) {
        for task in self.0 {
            task.cancel().await;
        }
    }
}

struct Pace {
    is_quiet: Cell<bool>,
    /// Turns of these very tasks since the last judgement.
    runs: Cell<u64>,
}

/// Wakes its core at every period of the pace, the pulses evenly apart.
async fn pulse(pace: Rc<Pace>, index: u32) {
    loop {
        pace.runs.set(pace.runs.get() + 1);
        let period = if pace.is_quiet.get() { QUIET } else { BUSY };
        sleep(until_next(Mono::now().as_nanos(), period, period / COUNT * index)).await;
    }
}

/// Judges from the tasks that ran whether the core is quiet.
async fn judge(pace: Rc<Pace>) {
    loop {
        sleep(JUDGED).await;
        // Of the time since they were last read, which nobody else does.
        let executed = glommio::executor().executor_stats().tasks_executed();
        let others = executed.saturating_sub(pace.runs.replace(0) + 1);
        pace.is_quiet.set(others <= QUIET_TASKS_MAX);
    }
}

/// The time from `now` to the next multiple of the period, shifted by `phase`.
fn until_next(now: u64, period: Duration, phase: Duration) -> Duration {
    let period = period.as_nanos() as u64;
    let into = (now + period - phase.as_nanos() as u64) % period;
    Duration::from_nanos(period - into)
}

/// Three pulses, 8 ms apart: about 130 wakings a second.
const COUNT: u32 = 3;
const BUSY: Duration = Duration::from_millis(24);
/// 80 ms apart: what was 0.3 % of an idle core is 0.05 %.
const QUIET: Duration = Duration::from_millis(240);
const JUDGED: Duration = Duration::from_millis(250);
/// Turns in one judgement up to which a core is quiet: its heartbeat and a waking or two.
const QUIET_TASKS_MAX: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulses_are_evenly_apart() {
        let at = |now: u64, index| until_next(now * 1_000_000, BUSY, BUSY / COUNT * index).as_millis();
        assert_eq!([at(48, 0), at(48, 1), at(48, 2)], [24, 8, 16]);
        assert_eq!([at(60, 0), at(60, 1), at(60, 2)], [12, 20, 4]);
    }

    #[test]
    fn a_quiet_core_is_told_from_a_busy_one() {
        use crate::runtime::yield_now;

        // Not by `launch`, whose pulses are judged by the same readings.
        let executor = glommio::LocalExecutorBuilder::default().preempt_timer(Duration::from_millis(1));
        let found = executor.make().unwrap().run(async {
            let pace = Rc::new(Pace { is_quiet: Cell::new(false), runs: Cell::new(0) });
            let judging = spawn(judge(pace.clone()));
            let give_up = Mono::now().as_nanos() + 10_000_000_000;
            // A sleep of a judgement's length leaves the core a few turns; yielding takes thousands.
            while !pace.is_quiet.get() && Mono::now().as_nanos() < give_up {
                sleep(JUDGED).await;
            }
            let was_quiet = pace.is_quiet.get();
            while pace.is_quiet.get() && Mono::now().as_nanos() < give_up {
                yield_now().await;
            }
            let is_quiet = pace.is_quiet.get();
            judging.cancel().await;
            (was_quiet, is_quiet)
        });
        assert_eq!(found, (true, false));
    }
}
