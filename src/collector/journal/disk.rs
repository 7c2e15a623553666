//! The file operations of the journal's writer, with a seam: a hook that can refuse or delay any of them, so that full,
//! failing, read-only and slow disks can be had in tests. Owns no state of the journal.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::runtime::{File, sleep, sync_dir};

/// A file operation about to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Makes a segment.
    Create,
    /// Makes what was written durable.
    SyncData,
    /// Makes the directory's entries durable.
    SyncDir,
    /// Cuts a file.
    Truncate,
    /// Writes bytes.
    Write,
}

/// How an operation goes wrong.
#[derive(Debug)]
pub enum Fault {
    /// It fails and does nothing.
    Fail(io::Error),
    /// So many bytes are written before it fails.
    FailAfter(usize, io::Error),
    /// So many bytes are written, and that is said.
    Short(usize),
    /// It takes so long and succeeds.
    Slow(Duration),
}

/// Decides for each operation whether it goes wrong.
pub type FaultHook = Rc<dyn Fn(Operation) -> Option<Fault>>;

/// The file operations.
#[derive(Clone, Default)]
pub(super) struct Disk {
    hook: Option<FaultHook>,
}

impl Disk {
    pub(super) fn new(hook: Option<FaultHook>) -> Self {
        Disk { hook }
    }

    pub(super) async fn create(&self, path: &Path) -> io::Result<File> {
        self.check(Operation::Create).await?;
        File::create_new(path).await
    }

    /// Writes some of `bytes`; the count can be smaller than asked.
    pub(super) async fn write(&self, file: &File, mut bytes: Vec<u8>, position: u64) -> io::Result<usize> {
        match self.hook.as_ref().and_then(|hook| hook(Operation::Write)) {
            None => file.write_at(bytes, position).await,
            Some(Fault::Fail(error)) => Err(error),
            Some(Fault::FailAfter(count, error)) => {
                bytes.truncate(count);
                file.write_at(bytes, position).await?;
                Err(error)
            }
            Some(Fault::Short(count)) => {
                bytes.truncate(count.max(1));
                file.write_at(bytes, position).await
            }
            Some(Fault::Slow(time)) => {
                sleep(time).await;
                file.write_at(bytes, position).await
            }
        }
    }

    pub(super) async fn sync_data(&self, file: &File) -> io::Result<()> {
        self.check(Operation::SyncData).await?;
        file.sync_data().await
    }

    pub(super) async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::SyncDir).await?;
        sync_dir(path).await
    }

    pub(super) async fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        self.check(Operation::Truncate).await?;
        file.truncate(len).await
    }

    async fn check(&self, operation: Operation) -> io::Result<()> {
        match self.hook.as_ref().and_then(|hook| hook(operation)) {
            Some(Fault::Fail(error) | Fault::FailAfter(_, error)) => Err(error),
            Some(Fault::Slow(time)) => {
                sleep(time).await;
                Ok(())
            }
            Some(Fault::Short(_)) | None => Ok(()),
        }
    }
}
