//! One engine per data directory: an advisory lock that ends with the process that holds it, however that ends.
//! Owns the lock file; its content only tells who holds it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, ErrorKind, Result};

/// The lock on a data directory. Held until dropped.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

impl DataLock {
    /// Takes the lock on `data_dir`, which is made when it is not there.
    ///
    /// # Errors
    /// When another process holds it, named by its id, or when the folder cannot be written.
    pub fn acquire(data_dir: &Path) -> Result<DataLock> {
        std::fs::create_dir_all(data_dir).map_err(|error| Error::io("make the folder", data_dir, &error))?;
        let path = data_dir.join("lock");
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(|error| Error::io("open", &path, &error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another process".to_owned(),
                    pid => format!("process {pid}"),
                };
                return Err(Error::new(
                    ErrorKind::Host,
                    format!(
                        "{} is in use by {holder}: stop it, or choose another folder with --data",
                        data_dir.display()
                    ),
                ));
            }
            Err(error) => return Err(Error::io("lock", &path, &error.into())),
        }
        // Who holds it is a courtesy: a full disk is no reason to refuse.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(DataLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_free_again_after() {
        let dir = std::env::temp_dir().join(format!("tidegate-lock-{}", std::process::id()));
        let held = DataLock::acquire(&dir).unwrap();
        let refused = DataLock::acquire(&dir).unwrap_err();
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        drop(held);
        DataLock::acquire(&dir).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let refused = DataLock::acquire(Path::new("/proc/tidegate")).unwrap_err();
        assert!(refused.to_string().contains("/proc/tidegate"), "{refused}");
    }
}
