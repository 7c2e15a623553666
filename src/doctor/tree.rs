//! Files of the kernel and of the system under a root: `/`, another host's tree, or a fixture. Invariant: a file that
//! is missing or cannot be read is `None`, never an error.

use std::path::{Path, PathBuf};

/// A tree with its own `proc`, `sys` and `etc`.
#[derive(Clone, Debug)]
pub struct Tree(PathBuf);

impl Tree {
    /// The tree at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Tree {
        Tree(root.into())
    }

    /// This host's own.
    pub fn host() -> Tree {
        Tree::new("/")
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The text of a file, without white space around it. Paths have no leading slash.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let text = std::fs::read(self.0.join(path)).ok()?;
        Some(String::from_utf8_lossy(&text).trim().to_owned())
    }

    /// A file that holds one number.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// A file that holds numbers.
    pub(super) fn numbers(&self, path: &str) -> Option<Vec<u64>> {
        self.text(path)?.split_whitespace().map(|number| number.parse().ok()).collect()
    }

    /// The value of `name` in a file of lines `name: value`.
    pub(super) fn field(&self, path: &str, name: &str) -> Option<String> {
        let text = self.text(path)?;
        text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    }

    /// The names in a folder, in order.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Whether there is such a file or folder.
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.join(path).exists()
    }
}
