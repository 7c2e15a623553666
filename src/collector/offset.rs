//! How far a sink has come: a small file for each, replaced as a whole. Owns no sink.
//! Invariant: the file holds the old offset or the next one, never half of one.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::journal::Place;
use crate::error::{Error, ErrorKind, Result};

/// A sink's committed offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offset {
    /// The last `seq` that is safe.
    pub seq: u64,
    /// Where the next frame begins, to be found without a search.
    #[serde(default)]
    pub place: Place,
}

/// The file of a sink's offset, replaced as a whole.
#[derive(Clone, Debug)]
pub struct OffsetFile {
    path: PathBuf,
}

impl OffsetFile {
    /// The offset of the sink `name` under `data_dir`.
    pub fn new(data_dir: &Path, name: &str) -> Self {
        OffsetFile { path: data_dir.join("state/offsets").join(format!("{name}.json")) }
    }

    /// Reads it; `None` when the sink has none yet.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn load(&self) -> Result<Option<Offset>> {
        let text = match fs::read(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| Error::io("read", &self.path, &error))?,
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            let path = self.path.display();
            Error::new(
                ErrorKind::Corrupt,
                format!("{path} is no offset: {error}; delete it to have the sink start from the oldest record"),
            )
        })
    }

    /// Replaces it.
    ///
    /// # Errors
    /// The system's refusal; the old one stands.
    pub fn store(&self, offset: &Offset) -> std::io::Result<()> {
        replace(&self.path, &serde_json::to_vec(offset)?)
    }
}

/// Replaces a small file as a whole: a reader finds the old text or the next.
///
/// # Errors
/// The system's refusal; the old one stands.
pub(super) fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let aside = path.with_extension("tmp");
    let mut file = fs::File::create(&aside)?;
    file.write_all(text)?;
    file.sync_data()?;
    fs::rename(&aside, path)
}
