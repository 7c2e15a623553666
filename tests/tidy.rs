//! The rules of the code as a test: imports go down only, cross-core types and unsafe code stay in their folders, the
//! clock and the environment are read in one place, files open with what they own and stay small.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The layers: a folder may import what has a lower number, and itself. Folders that share a number may import each
/// other only where [`PEERS`] says so.
const LAYERS: &[(&str, u8)] = &[
    ("time", 0),
    ("error", 0),
    ("model", 0),
    ("metrics", 1),
    ("policy", 1),
    ("config", 1),
    ("wire", 1),
    ("handoff", 2),
    ("doctor", 2),
    ("runtime", 3),
    ("http", 4),
    ("source", 5),
    ("sink", 5),
    ("sim", 6),
    ("shard", 6),
    ("collector", 6),
    ("control", 7),
    ("engine", 8),
    ("cli", 9),
];

/// Imports between folders of one layer.
const PEERS: &[(&str, &str)] =
    &[("error", "time"), ("model", "time"), ("wire", "config"), ("config", "policy"), ("metrics", "policy")];

/// Imports that the layers would allow and the design forbids.
const FORBIDDEN: &[(&str, &str)] = &[
    ("source", "http"),
    ("source", "runtime"),
    ("source", "handoff"),
    ("control", "shard"),
    ("shard", "sink"),
    ("sim", "shard"),
    ("sim", "engine"),
];

/// Where cross-core types may be named.
const CROSS_CORE: &[&str] =
    &["handoff/", "metrics/", "engine/", "runtime/", "control/", "http/tls.rs", "sim/tls.rs", "sink/parquet.rs"];

#[test]
fn imports_go_down_only() {
    let rank: BTreeMap<&str, u8> = LAYERS.iter().copied().collect();
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let own = path.split(['/', '.']).next().unwrap_or_default();
        let Some(own_rank) = rank.get(own) else { continue };
        for (number, line) in code(&text) {
            for other in line.split("crate::").skip(1) {
                let other = other.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                let Some(other_rank) = rank.get(other) else { continue };
                let allowed = other == own || other_rank < own_rank || PEERS.contains(&(own, other));
                if !allowed || FORBIDDEN.contains(&(own, other)) {
                    broken.push(format!("{path}:{number}: {own} imports {other}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn names_stay_in_their_folders() {
    let rules: &[(&[&str], &[&str])] = &[
        (&["glommio"], &["runtime/", "http/io.rs"]),
        (&["Arc<", "Arc::", "Atomic", "Mutex", "RwLock", "ArrayQueue"], CROSS_CORE),
        (&["std::env::", "env::var"], &["config/", "main.rs"]),
        (&["SystemTime::now", "Instant::now", "Timestamp::now"], &["time.rs"]),
        (&["allow(unsafe_code)", "unsafe {", "unsafe fn", "unsafe impl"], &["runtime/ring.rs", "http/io.rs"]),
    ];
    let mut broken = Vec::new();
    for (path, text) in sources() {
        for (number, line) in code(&text) {
            for (names, places) in rules {
                let found = names.iter().find(|name| line.contains(**name));
                if let Some(name) = found
                    && !places.iter().any(|place| path.starts_with(place))
                {
                    broken.push(format!("{path}:{number}: {name} belongs into {}", places.join(", ")));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn files_say_what_they_own_and_stay_small() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//!") {
            broken.push(format!("{path}: the first line is no //! comment"));
        }
        let lines = code(&text).count();
        if lines > LINES_MAX {
            broken.push(format!("{path}: {lines} lines of code, {LINES_MAX} at most"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn dependencies_have_their_reasons() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let mut section = "";
    let mut before = "";
    let mut broken = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.contains("dependencies") && line.contains('=') && !before.starts_with('#') {
            broken.push(line.to_owned());
        }
        before = line;
    }
    assert!(broken.is_empty(), "dependencies without a reason above them:\n{}", broken.join("\n"));
}

/// Lines of code with their numbers: no comments, no blank lines, nothing from the tests at the foot on.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let body = text
        .lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]") && !line.starts_with("#[cfg(all(test"));
    body.map(|(index, line)| (index + 1, line.trim())).filter(|(_, line)| !line.is_empty() && !line.starts_with("//"))
}

/// Every source file: path under `src/` and text.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                // Tests too many for the foot of a file stand in one of their own.
                if name.ends_with("/tests.rs") {
                    continue;
                }
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(files.len() > 10, "the sources were not found");
    files.sort();
    files
}

const LINES_MAX: usize = 500;
