//! The normalization buffer as the collector's inlet, and its tally as the counters.

use std::cell::RefCell;

use super::run::{Counters, Inlet, Woken};
use crate::handoff::{self, Drain, DropReason, Tally, Tap};
use crate::metrics::{CollectorStatus, SharedSink, SinkRecorder};
use crate::model::Record;
use crate::time::UnixNanos;

impl Inlet for Drain {
    fn pop_batch(&mut self, max: usize, out: &mut Vec<Record>) -> usize {
        Drain::pop_batch(self, max, out)
    }

    async fn wait(&self) -> Woken {
        match Drain::wait(self).await {
            handoff::Woken::Closed => Woken::Closed,
            handoff::Woken::Records => Woken::Records,
        }
    }
}

/// Moves the buffer's counters and the sink core's metrics.
pub struct BufferCounters {
    tally: Tally,
    cells: SharedSink,
    recorder: RefCell<SinkRecorder>,
    tap: Tap,
}

impl BufferCounters {
    /// The counters of a buffer, the cells of the sink core that reads it, and who else wants its records.
    pub fn new(tally: Tally, cells: SharedSink, tap: Tap) -> Self {
        let recorder = RefCell::new(cells.recorder());
        BufferCounters { tally, cells, recorder, tap }
    }
}

impl Counters for BufferCounters {
    fn taken(&self, records: &[Record], now: UnixNanos) {
        self.recorder.borrow_mut().taken(records, now);
    }

    fn written(&self, records: &[Record], first_seq: u64, taken: UnixNanos) {
        self.tap.offer(records, first_seq);
        self.recorder.borrow().written(records, taken, UnixNanos::now());
    }

    fn delivered(&self, record: &Record) {
        self.tally.delivered(record);
    }

    fn duplicate(&self, record: &Record) {
        self.tally.dropped(record, DropReason::Duplicate);
    }

    fn put_down(&self, count: usize) {
        self.tally.put_down(count);
    }

    fn status(&self, status: &CollectorStatus) {
        self.cells.tell(status);
    }
}
