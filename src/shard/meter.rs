//! What the request path tells the metrics of a source, in the request path's own words.

use std::cell::Cell;
use std::time::Duration;

use crate::http::Timings;
use crate::metrics::{Attempt, GapState, Recorder, Refusal, Stage};
use crate::model::{Judgement, Verdict};
use crate::policy::BreakerState;

/// How often a lane's requests have passed the stations of the path, each counted at its own station.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passed {
    /// Exchanges begun.
    pub attempts: u64,
    /// Quota acquired.
    pub quota_acquisitions: u64,
    /// Permits taken from a breaker.
    pub breaker_permits: u64,
}

/// The metrics of one lane.
pub(super) struct Meter {
    recorder: Recorder,
    in_flight: Cell<u64>,
    waiting: Cell<u64>,
    passed: Cell<Passed>,
    last_reason: Cell<&'static str>,
}

impl Meter {
    /// Writes through this recorder.
    pub(super) fn new(recorder: Recorder) -> Self {
        Meter {
            recorder,
            in_flight: Cell::new(0),
            waiting: Cell::new(0),
            passed: Cell::default(),
            last_reason: Cell::new(""),
        }
    }

    /// A poll was due and begun.
    pub(super) fn polled(&self) {
        self.recorder.polled();
    }

    /// An answer said that nothing has changed.
    pub(super) fn unchanged(&self) {
        self.recorder.unchanged();
    }

    /// Polls were due while the one before still ran.
    pub(super) fn polls_skipped(&self, count: u64) {
        (0..count).for_each(|_| self.recorder.poll_skipped());
    }

    /// Records that a poll had missed have come.
    pub(super) fn refilled(&self, count: u64) {
        self.recorder.refilled(count);
    }

    /// A gap was recorded.
    pub(super) fn gap(&self, state: GapState) {
        self.recorder.gap(state);
    }

    /// A fetch was refused before anything was sent.
    pub(super) fn refused(&self, judgement: &Judgement) {
        self.recorder.refused(match judgement.reason {
            "breaker_open" => Refusal::Breaker,
            "deadline" => Refusal::Deadline,
            "quota" => Refusal::Quota,
            "quota_banned" => Refusal::Banned,
            // Nobody refused anything: the engine stops.
            "stopping" => return,
            _ => Refusal::Unservable,
        });
    }

    /// A request begins to wait for its admission; it has ended when the guard is dropped.
    pub(super) fn wait(&self) -> Waiting<'_> {
        self.waiting.set(self.waiting.get() + 1);
        self.recorder.waiting(self.waiting.get());
        Waiting(self)
    }

    /// The attempt waited so long for its slot and its quota.
    pub(super) fn admitted(&self, waited: Duration) {
        self.recorder.stage(Stage::Admission, waited);
    }

    /// The quota let a request pass.
    pub(super) fn acquired(&self) {
        let passed = self.passed.get();
        self.passed.set(Passed { quota_acquisitions: passed.quota_acquisitions + 1, ..passed });
    }

    /// A breaker gave a permit.
    pub(super) fn permitted(&self) {
        let passed = self.passed.get();
        self.passed.set(Passed { breaker_permits: passed.breaker_permits + 1, ..passed });
    }

    /// What has passed so far.
    pub(super) fn passed(&self) -> Passed {
        self.passed.get()
    }

    /// An exchange begins; it is over when the guard is dropped.
    pub(super) fn begin(&self) -> InFlight<'_> {
        let passed = self.passed.get();
        self.passed.set(Passed { attempts: passed.attempts + 1, ..passed });
        self.in_flight.set(self.in_flight.get() + 1);
        self.recorder.in_flight(self.in_flight.get());
        InFlight(self)
    }

    /// How long a share of all attempts took at most; `None` while there were fewer than `volume_min`.
    pub(super) fn latency_at(&self, share: f64, volume_min: u64) -> Option<Duration> {
        let counts = self.recorder.latency();
        (counts.count() >= volume_min).then(|| Duration::from_nanos(counts.quantile(share)))
    }

    /// A second attempt is sent beside one that is slow.
    pub(super) fn hedged(&self) {
        self.recorder.hedged();
    }

    /// Records an attempt by itself.
    #[cfg(test)]
    pub(super) fn record(&self, attempt: Attempt) {
        self.recorder.attempt(attempt);
    }

    /// An attempt is over and judged.
    pub(super) fn settled(&self, verdict: Verdict, elapsed: Duration, timings: &Timings) {
        self.recorder.attempt(Attempt { verdict, elapsed, bytes_in: timings.bytes_in, bytes_out: timings.bytes_out });
        if !timings.reused && !timings.connect.is_zero() {
            self.recorder.connected();
            self.recorder.stage(Stage::Dns, timings.dns);
            self.recorder.stage(Stage::Connect, timings.connect);
            if !timings.tls.is_zero() {
                self.recorder.stage(Stage::Tls, timings.tls);
            }
        }
        self.recorder.stage(Stage::PoolWait, timings.pool);
        self.recorder.stage(Stage::FirstByte, timings.first_byte);
        self.recorder.stage(Stage::Body, timings.body);
    }

    /// An attempt was given up before its answer was there.
    pub(super) fn cancelled(&self) {
        self.recorder.cancelled();
    }

    /// An answer was read into so many records.
    pub(super) fn decoded(&self, elapsed: Duration, records: usize) {
        self.recorder.stage(Stage::Decode, elapsed);
        self.recorder.records(records as u64);
    }

    /// Records entered the buffer.
    pub(super) fn published(&self, elapsed: Duration) {
        self.recorder.stage(Stage::Publish, elapsed);
    }

    /// An attempt is repeated.
    pub(super) fn retried(&self) {
        self.recorder.retried();
    }

    /// The budget allowed no repetition.
    pub(super) fn retry_refused(&self) {
        self.recorder.refused(Refusal::RetryBudget);
    }

    /// A fetch ended without records. What the provider did is kept; that a breaker is open says nothing of why.
    pub(super) fn failed(&self, source: &str, judgement: &Judgement) {
        if judgement.local {
            return;
        }
        self.recorder.failed(judgement.to_string(), judgement.excerpt.clone());
        // Told when it is another than the last, so that an outage is one line and not thousands.
        if self.last_reason.replace(judgement.reason) != judgement.reason {
            let (verdict, reason) = (judgement.verdict.as_str(), judgement.reason);
            tracing::warn!(source, verdict, reason, why = %judgement.message, "a fetch failed");
        }
    }

    /// A fetch ended well.
    pub(super) fn succeeded(&self, source: &str) {
        if !self.last_reason.replace("").is_empty() {
            tracing::info!(source, "fetches succeed again");
        }
    }

    /// What the breakers do.
    pub(super) fn breaker(&self, state: BreakerState, opened: u64) {
        self.recorder.breaker(state.code(), opened);
    }

    /// A breaker went into another state.
    pub(super) fn breaker_changed(&self, to: BreakerState) {
        self.recorder.breaker_changed(to.code());
    }
}

/// A request that waits for its admission.
pub(super) struct Waiting<'a>(&'a Meter);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
        self.0.recorder.waiting(self.0.waiting.get());
    }
}

/// An exchange under way.
pub(super) struct InFlight<'a>(&'a Meter);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
        self.0.recorder.in_flight(self.0.in_flight.get());
    }
}
