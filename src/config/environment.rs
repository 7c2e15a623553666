//! The environment: the process's variables and `.env`, and the secrets they lead to. The only reader of variables;
//! nothing here, or anywhere, sets one. Tests pass plain maps.
//!
//! A secret `X` is looked for in this order, and the first that is not empty counts:
//! 1. the variable `X`
//! 2. the file that the variable `X_FILE` names
//! 3. a systemd credential: the file `X`, or `x` in lower case, in `$CREDENTIALS_DIRECTORY`
//! 4. `X` in `.env`
//! 5. the file that `X_FILE` in `.env` names
//!
//! Line ends at a secret's end are trimmed. Invariant: no error shows a value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::problem::Problem;
use crate::config::{Credentials, Problems, Secret};
use crate::error::{Error, Result};

/// Variables by name: those of the process, and below them those of `.env`.
#[derive(Clone, Default)]
pub struct Environment {
    process: BTreeMap<String, String>,
    dotenv: BTreeMap<String, String>,
}

/// Where a secret was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The secret.
    pub secret: Secret,
    /// Where it stands, in words: `BINANCE_API_KEY`, `the file of BINANCE_API_KEY_FILE`, `.env`.
    pub place: String,
}

impl Environment {
    /// The process's variables, and those of `.env` in the working directory when there is one.
    ///
    /// # Errors
    /// A `.env` that cannot be read, or a line of it that is no assignment.
    pub fn process() -> Result<Self> {
        let lossless = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        };
        let process = std::env::vars_os().filter_map(lossless).collect();
        Environment { process, dotenv: BTreeMap::new() }.dotenv(Path::new(DOTENV))
    }

    /// These variables and no others: for tests and for engines inside other programs.
    pub fn of<N: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (N, V)>) -> Self {
        let process = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Environment { process, dotenv: BTreeMap::new() }
    }

    /// The same with the variables of the file at `path` below; a missing file is none.
    ///
    /// # Errors
    /// A file that cannot be read, or a line of it that is no assignment.
    pub fn dotenv(mut self, path: &Path) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(self),
            Err(error) => return Err(Error::io("read", path, &error)),
        };
        for pair in dotenvy::from_read_iter(text.as_bytes()) {
            let (name, value) = pair.map_err(|_| dotenv_error(path, &text))?;
            self.dotenv.insert(name, value);
        }
        Ok(self)
    }

    /// A variable of the process that is no secret; `None` when it is not set.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.process.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// All variables whose name starts with `prefix`, with the place each stands at; the process's own come before
    /// those of `.env`, and empty ones are left out.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str, &'static str)> {
        let own = self.process.iter().map(|(name, value)| (name, value, ""));
        let below = self.dotenv.iter().filter(|(name, _)| !is_set(&self.process, name));
        own.chain(below.map(|(name, value)| (name, value, " in .env")))
            .filter(move |(name, value, _)| name.starts_with(prefix) && !value.trim().is_empty())
            .map(|(name, value, place)| (name.as_str(), value.as_str(), place))
    }

    /// The secret that `variable` leads to, when it is set.
    ///
    /// # Errors
    /// A file named for it that cannot be read.
    pub fn secret(&self, variable: &str) -> Result<Option<Found>, Problem> {
        if let Some(found) = secret_of(&self.process, variable, "")? {
            return Ok(Some(found));
        }
        if let Some(directory) = self.process.get("CREDENTIALS_DIRECTORY").filter(|path| !path.is_empty()) {
            for name in [variable.to_owned(), variable.to_lowercase()] {
                let path = PathBuf::from(directory).join(&name);
                if path.is_file() {
                    let secret = read_secret(variable, "$CREDENTIALS_DIRECTORY", &path)?;
                    if let Some(secret) = secret {
                        return Ok(Some(Found { secret, place: format!("the systemd credential {name}") }));
                    }
                }
            }
        }
        secret_of(&self.dotenv, variable, " in .env")
    }

    /// The secrets of `variables` that are set; adds to `problems` what cannot be read.
    pub fn credentials(&self, variables: &[&'static str], problems: &mut Problems) -> Credentials {
        let mut credentials = Credentials::default();
        for variable in variables {
            match self.secret(variable) {
                Ok(Some(found)) => credentials.insert(variable, found.secret),
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
        }
        credentials
    }
}

/// Shows names, never values: any of them may be a secret.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.process.keys().chain(self.dotenv.keys())).finish()
    }
}

/// Where secrets and settings of a working directory stand.
const DOTENV: &str = ".env";

fn is_set(variables: &BTreeMap<String, String>, name: &str) -> bool {
    variables.get(name).is_some_and(|value| !value.trim().is_empty())
}

/// The variable itself, else the file that its `_FILE` variant names.
fn secret_of(variables: &BTreeMap<String, String>, name: &str, place: &str) -> Result<Option<Found>, Problem> {
    if let Some(secret) = variables.get(name).and_then(|value| trim_secret(value)) {
        return Ok(Some(Found { secret, place: format!("{name}{place}") }));
    }
    let file = format!("{name}_FILE");
    let Some(path) = variables.get(&file).map(|path| path.trim()).filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let secret = read_secret(name, &format!("{file}{place}"), Path::new(path))?;
    Ok(secret.map(|secret| Found { secret, place: format!("the file of {file}{place}") }))
}

fn read_secret(name: &str, place: &str, path: &Path) -> Result<Option<Secret>, Problem> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(trim_secret(&text)),
        Err(error) => Err(Problem::new(
            name,
            place,
            format!("expected a file that holds the secret, found {}: {error}", path.display()),
        )),
    }
}

fn trim_secret(text: &str) -> Option<Secret> {
    let text = text.trim_end_matches(['\r', '\n']);
    (!text.trim().is_empty()).then(|| Secret::new(text))
}

/// Names the line, never what stands in it. The reader does not tell the line: it is the one after the longest head of
/// the file that reads well.
fn dotenv_error(path: &Path, text: &str) -> Error {
    let lines: Vec<&str> = text.lines().collect();
    let reads = |count: &usize| dotenvy::from_read_iter(lines[..*count].join("\n").as_bytes()).all(|pair| pair.is_ok());
    let line = (0..lines.len()).rev().find(reads).unwrap_or(0) + 1;
    let expected = "expected NAME=value, with quotes around a value that has spaces";
    Error::config(format!("{} line {line}: {expected}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("tidegate-environment-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn secrets_are_found_in_the_stated_order() {
        let folder = folder("order");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.join(name), text).unwrap();
            folder.join(name).display().to_string()
        };
        let (file, below) = (write("file", "from-file\n"), write("below", "from-dotenv-file\r\n"));
        write("a_key", "from-systemd\n");
        let dotenv = folder.join(".env");
        let directory = folder.display().to_string();

        let check = |variables: &[(&str, &str)], text: &str, expected: Option<(&str, &str)>| {
            std::fs::write(&dotenv, text).unwrap();
            let environment = Environment::of(variables.iter().copied()).dotenv(&dotenv).unwrap();
            let found = environment.secret("A_KEY").unwrap();
            let found = found.as_ref().map(|found| (found.secret.expose(), found.place.as_str()));
            assert_eq!(found, expected);
        };
        let all = [("A_KEY", "plain\n"), ("A_KEY_FILE", &file), ("CREDENTIALS_DIRECTORY", &directory)];
        check(&all, "A_KEY=from-dotenv", Some(("plain", "A_KEY")));
        check(&all[1..], "A_KEY=from-dotenv", Some(("from-file", "the file of A_KEY_FILE")));
        check(&all[2..], "A_KEY=from-dotenv", Some(("from-systemd", "the systemd credential a_key")));
        check(&[], "A_KEY=from-dotenv", Some(("from-dotenv", "A_KEY in .env")));
        check(
            &[("A_KEY", "")],
            &format!("A_KEY_FILE={below}"),
            Some(("from-dotenv-file", "the file of A_KEY_FILE in .env")),
        );
        check(&[("A_KEY", " \n")], "", None);
        check(&[], "", None);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let problem = Environment::of([("A_KEY_FILE", "/nowhere/key")]).secret("A_KEY").unwrap_err();
        let shown = problem.to_string();
        assert!(shown.starts_with("A_KEY_FILE: A_KEY: expected a file"), "{shown}");
        assert!(shown.contains("/nowhere/key"), "{shown}");
    }

    #[test]
    fn a_bad_line_is_named_and_not_shown() {
        let folder = folder("bad");
        let path = folder.join(".env");
        std::fs::write(&path, "# keys\nA_KEY=ok\nB_KEY=hunter2 hunter3\n").unwrap();
        let shown = Environment::default().dotenv(&path).unwrap_err().to_string();
        assert!(shown.contains(".env line 3: expected NAME=value"), "{shown}");
        assert!(!shown.contains("hunter"), "{shown}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn debug_shows_no_value() {
        let shown = format!("{:?}", Environment::of([("A_KEY", "hunter2")]));
        assert!(shown.contains("A_KEY") && !shown.contains("hunter2"), "{shown}");
    }
}
