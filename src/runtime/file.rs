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
    /// Opens a file for reading and writing; makes it when there is none.
    ///
    /// # Errors
    /// The system's refusal.
    pub async fn open(path: &Path) -> io::Result<File> {
        let inner = glommio::io::OpenOptions::new().read(true).write(true).create(true).buffered_open(path).await;
        Ok(File { inner: inner.map_err(io::Error::from)?, path: path.to_owned() })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of `bytes` at `position`; gives the buffer's content up. A short write goes on with the rest.
    ///
    /// # Errors
    /// The system's refusal; how much of the bytes stands in the file is then unknown.
    pub async fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let written = self.inner.write_at(bytes[done..].to_vec(), position + done as u64).await;
            match written.map_err(io::Error::from)? {
                0 => return Err(io::Error::from(io::ErrorKind::WriteZero)),
                count => done += count,
            }
        }
        Ok(())
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// The system's refusal: what was written since the last success may be lost.
    pub async fn sync_data(&self) -> io::Result<()> {
        self.inner.fdatasync().await.map_err(io::Error::from)
    }

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// The system's refusal.
    pub async fn truncate(&self, len: u64) -> io::Result<()> {
        self.inner.truncate(len).await.map_err(io::Error::from)
    }

    /// The file's length.
    ///
    /// # Errors
    /// The system's refusal.
    pub async fn len(&self) -> io::Result<u64> {
        self.inner.file_size().await.map_err(io::Error::from)
    }

    /// Closes the file.
    ///
    /// # Errors
    /// The system's refusal.
    pub async fn close(self) -> io::Result<()> {
        self.inner.close().await.map_err(io::Error::from)
    }
}

/// Makes the entries of a directory durable: what a rename or a new file needs besides the file's own sync.
///
/// # Errors
/// The system's refusal.
pub async fn sync_dir(path: &Path) -> io::Result<()> {
    let directory = glommio::io::Directory::open(path).await.map_err(io::Error::from)?;
    let synced = directory.sync().await.map_err(io::Error::from);
    directory.close().await.map_err(io::Error::from)?;
    synced
}
