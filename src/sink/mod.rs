//! Sinks: where records go from the journal. Each gets batches of lines in the order of `seq`, on a thread of its own,
//! and says when they are safe. Owns no offset and reads no journal.
//! Adding one: `mod x;`, a target in [`SinkTarget`], its line in [`build`].

mod columns;
mod file;
mod null;
mod parquet;
mod stdout;

pub use parquet::Parquet;

use std::time::Duration;

use crate::config::{SinkSettings, SinkTarget};
use crate::error::Result;

/// Records to deliver: whole lines, numbered from `first_seq` on.
#[derive(Clone, Copy, Debug)]
pub struct SinkBatch<'a> {
    /// `seq` of the first line.
    pub first_seq: u64,
    /// Number of lines.
    pub count: u64,
    /// The lines, each with its newline.
    pub lines: &'a [u8],
}

/// Why a batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It will never be taken as it is: it goes aside, and the rest goes on.
    Dead(String),
    /// It can be tried again, after so long when the target says.
    Retry(String, Option<Duration>),
}

/// A target of records. All calls come from one thread.
pub trait Sink: Send {
    /// Delivers a batch, which may have been delivered before. Blocks as long as the target takes.
    ///
    /// # Errors
    /// When the target did not take it.
    fn deliver(&mut self, batch: &SinkBatch<'_>) -> Result<(), Refusal>;

    /// Tells whether everything delivered is safe, so that the offset can move on; `force` asks to make it so now.
    /// Called after each batch, once a second when there is none, and with `force` at the end.
    ///
    /// # Errors
    /// When that failed; everything since the last success is then delivered again.
    fn settle(&mut self, force: bool) -> Result<bool, Refusal>;
}

/// Makes a sink. Opens nothing: a target that is away is tried when there is something to deliver.
///
/// # Errors
/// When the settings cannot work.
pub fn build(settings: &SinkSettings) -> Result<Box<dyn Sink>> {
    Ok(match &settings.target {
        SinkTarget::File { path } => Box::new(file::File::new(path)),
        SinkTarget::Null => Box::new(null::Null),
        SinkTarget::Parquet { dir } => Box::new(Parquet::new(dir)),
        SinkTarget::Stdout => Box::new(stdout::Stdout),
    })
}
