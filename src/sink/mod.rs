//! Sinks: where records go from the journal. Each gets batches of lines in the order of `seq`, on a thread of its own,
//! and says when they are safe. Owns no offset and reads no journal.
//! Adding one: `mod x;`, a target in [`SinkTarget`], its line in [`build`].

mod columns;
mod file;
mod http;
mod null;
mod parquet;
mod stdout;
#[cfg(test)]
pub mod testing;

pub use parquet::Parquet;

use std::path::PathBuf;
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
    /// What was delivered since the last success of [`Sink::settle`] may be lost: it is delivered again.
    Lost(String),
    /// It can be tried again, after so long when the target says.
    Retry(String, Option<Duration>),
}

impl Refusal {
    /// What the target said.
    pub fn into_why(self) -> String {
        match self {
            Refusal::Dead(why) | Refusal::Lost(why) | Refusal::Retry(why, _) => why,
        }
    }
}

/// Records that a target refused for good, out of batches that a sink has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// `seq` of the first line.
    pub first_seq: u64,
    /// Number of lines.
    pub count: u64,
    /// The lines, each with its newline.
    pub lines: Vec<u8>,
    /// What the target said.
    pub why: String,
}

/// A target of records. All calls come from one thread.
pub trait Sink: Send {
    /// Delivers a batch, which may have been delivered before, or takes it to deliver it with others. Blocks as long as
    /// the target takes.
    ///
    /// # Errors
    /// When the batch was not taken: [`Refusal::Retry`], and the same call comes again; [`Refusal::Dead`], and it does
    /// not.
    fn deliver(&mut self, batch: &SinkBatch<'_>) -> Result<(), Refusal>;

    /// Tells whether everything delivered is safe, so that the offset can move on; `force` asks to make it so now.
    /// Called after batches and when [`Sink::due_in`] says so, and with `force` at the end.
    ///
    /// # Errors
    /// [`Refusal::Retry`] when what is held can be tried again; [`Refusal::Lost`] when it has to be delivered again.
    fn settle(&mut self, force: bool) -> Result<bool, Refusal>;

    /// How long what is held may wait for [`Sink::settle`]; `None` when nothing is held.
    fn due_in(&self) -> Option<Duration> {
        None
    }

    /// What was refused for good since the last call. It is put aside before the offset moves on.
    fn take_dead(&mut self) -> Vec<Dead> {
        Vec::new()
    }
}

/// What sinks need of the host, whatever their settings.
#[derive(Clone, Debug, Default)]
pub struct SinkHost {
    /// PEM file of certificate authorities to trust besides Mozilla's.
    pub ca_file: Option<PathBuf>,
}

/// Makes a sink. Asks nobody: a target that is away is tried when there is something to deliver.
///
/// # Errors
/// When the settings cannot work, or the host refuses a thread.
pub fn build(settings: &SinkSettings, host: &SinkHost) -> Result<Box<dyn Sink>> {
    Ok(match &settings.target {
        SinkTarget::File { path } => Box::new(file::File::new(path)),
        SinkTarget::Http(target) => Box::new(http::Http::new(&settings.name, target, host)?),
        SinkTarget::Null => Box::new(null::Null),
        SinkTarget::Parquet { dir } => Box::new(Parquet::new(dir)),
        SinkTarget::Stdout => Box::new(stdout::Stdout),
    })
}
