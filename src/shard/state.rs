//! Small files of state, replaced whole: a reader sees the old text or the new one, never a part.

use std::io::{self, Write};
use std::path::Path;

/// Writes `text` beside `path`, makes it durable, and renames it over `path`. Blocks.
///
/// # Errors
/// The system's refusal; `path` is then as it was.
pub fn write_atomically(path: &Path, text: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let beside = folder.join(name);
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(text)?;
    file.sync_data()?;
    std::fs::rename(&beside, path)?;
    std::fs::File::open(folder)?.sync_all()
}
