//! What happens to a record that finds the normalization buffer full. Named per record kind; each drop is counted.

use serde::{Deserialize, Serialize};

/// What happens to a record that finds the normalization buffer full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The record is dropped.
    DropNewest,
    /// The oldest record in the buffer makes way, as long as no record of a kind that pauses is in it; otherwise the
    /// record itself is dropped.
    DropOldest,
    /// The publisher waits for room; nothing is lost.
    #[default]
    Pause,
}

impl WhenFull {
    /// The word in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            WhenFull::DropNewest => "drop_newest",
            WhenFull::DropOldest => "drop_oldest",
            WhenFull::Pause => "pause",
        }
    }
}
