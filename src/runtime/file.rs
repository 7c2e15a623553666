//! Files written through io_uring: whole writes at positions, and syncs. No cursor, no buffering.

use std::io;
use std::path::{Path, PathBuf};

/// An open file.
#[derive(Debug)]
pub struct File {
    inner: glommio::io::BufferedFile,
    path: PathBuf,
}

impl File {
    /// Makes a file for reading and writing; refuses when it is there.
    ///
    /// # Errors
    /// The system's refusal.
    pub async fn create_new(path: &Path) -> io::Result<File> {
        let mut options = glommio::io::OpenOptions::new();
        let inner = options.read(true).write(true).create_new(true).mode(FILE_MODE).buffered_open(path).await;
        Ok(File { inner: inner.map_err(plain)?, path: path.to_owned() })
    }

    /// Opens a file for reading and writing; makes it when there is none.
    ///
    /// # Errors
    /// The system's refusal.
    pub async fn open(path: &Path) -> io::Result<File> {
        let mut options = glommio::io::OpenOptions::new();
        let inner = options.read(true).write(true).create(true).mode(FILE_MODE).buffered_open(path).await;
        Ok(File { inner: inner.map_err(plain)?, path: path.to_owned() })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `bytes` at `position` and gives them up to the kernel; returns how many were written, which can be fewer.
    /// Nothing is copied: a caller that may have to write again keeps the bytes itself.
    ///
    /// # Errors
    /// The system's refusal; how much of the bytes stands in the file is then unknown.
    pub async fn write_at(&self, bytes: Vec<u8>, position: u64) -> io::Result<usize> {
        self.inner.write_at(bytes, position).await.map_err(plain)
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// The system's refusal: what was written since the last success may be lost.
    pub async fn sync_data(&self) -> io::Result<()> {
        self.inner.fdatasync().await.map_err(plain)
    }

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// The system's refusal.
    pub async fn truncate(&self, len: u64) -> io::Result<()> {
        self.inner.truncate(len).await.map_err(plain)
    }

    /// The file's length.
    ///
    /// # Errors
    /// The system's refusal.
    pub async fn len(&self) -> io::Result<u64> {
        self.inner.file_size().await.map_err(plain)
    }

    /// Closes the file.
    ///
    /// # Errors
    /// The system's refusal.
    pub async fn close(self) -> io::Result<()> {
        self.inner.close().await.map_err(plain)
    }
}

/// Makes the entries of a directory durable: what a rename or a new file needs besides the file's own sync.
///
/// # Errors
/// The system's refusal.
pub async fn sync_dir(path: &Path) -> io::Result<()> {
    // On the helper thread: the runtime's own directory handle is opened for paths alone, which the kernel does not
    // sync on every file system.
    let path = path.to_owned();
    let synced = crate::runtime::blocking(move || std::fs::File::open(path)?.sync_all()).await;
    synced.unwrap_or_else(|| Err(io::Error::other("the sync was ended by a panic")))
}

/// The system's own error, with its code, out of glommio's: its conversion turns the code into text.
fn plain(error: glommio::GlommioError<()>) -> io::Error {
    match error {
        glommio::GlommioError::EnhancedIoError { source, .. } | glommio::GlommioError::IoError(source) => source,
        other => io::Error::from(other),
    }
}

/// The umask takes from this what it wants.
const FILE_MODE: u32 = 0o644;
