//! The settings of cursors: whether streams are followed over restarts, and how much of what was missed is refilled.

use crate::config::read::Values;

/// The cursors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursors {
    /// Whether streams are followed: cursors are kept, gaps are found, refilled or recorded.
    pub enabled: bool,
    /// Records of one gap that polls refill at most; a larger one is recorded and left to a backfill.
    pub refill_rows_max: u64,
}

impl Cursors {
    pub(super) fn read(values: &Values) -> Cursors {
        Cursors { enabled: values.flag("cursors.enabled"), refill_rows_max: values.count("cursors.refill_rows_max") }
    }
}
