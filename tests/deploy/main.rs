//! What lies in `tuning/` is held against the program and the tools of its own world, as far as that goes without a
//! systemd, a Docker daemon or a cluster. A tool that is missing skips its part and says so; `.ci/run` installs them.

mod docker;
mod host;
mod kubernetes;
mod systemd;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate");

#[test]
fn variables_that_are_named_are_settings() {
    let known: Vec<String> =
        tidegate::config::SETTINGS.iter().map(|setting| tidegate::config::variable(setting.key)).collect();
    let mut found = 0;
    for path in files("tuning") {
        let text = read(path.to_str().unwrap());
        for (at, _) in text.match_indices("INGESTION_") {
            let name: String =
                text[at..].chars().take_while(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_').collect();
            assert!(known.contains(&name), "{}: {name} is no setting", path.display());
            found += 1;
        }
    }
    assert!(found > 0, "no variable is named under tuning/");
}

/// A file of the repository.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The top of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder of the repository, in order.
pub fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap().flatten() {
            let path = folder.join(entry.file_name());
            if root().join(&path).is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// What a tool says: one of `target/tools`, where `.ci/run` puts those that no distribution has, or of the path. `None`,
/// with a line that says so, when it is not installed.
pub fn tool(name: &str, arguments: &[&str]) -> Option<Output> {
    let own = root().join("target/tools/bin").join(name);
    let command = if own.exists() { own.into_os_string() } else { name.into() };
    match Command::new(command).args(arguments).current_dir(root()).output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("skipped: {name}: {error}");
            None
        }
    }
}

/// Both outputs.
pub fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A folder of its own to run in.
pub struct Folder(pub PathBuf);

impl Folder {
    /// An empty one.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-deploy-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// Runs the program in it.
    pub fn run(&self, arguments: &[&str]) -> Output {
        Command::new(PROGRAM).args(arguments).current_dir(&self.0).output().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The documents of a YAML file, read by the Python that the tools bring; `None` where there is none.
pub fn yaml(path: &str) -> Option<Vec<Value>> {
    let script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let name = if root().join("target/tools/bin/python").exists() { "python" } else { "python3" };
    let output = tool(name, &["-c", script, path])?;
    if told(&output).contains("No module named 'yaml'") {
        eprintln!("skipped: {name} has no module for YAML");
        return None;
    }
    assert!(output.status.success(), "{path}: {}", told(&output));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}
