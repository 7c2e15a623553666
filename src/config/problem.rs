//! What is wrong with a configuration: each problem names the key, where it stands, what was expected and what was
//! found. All problems of a configuration are reported together.

use std::fmt;

use crate::error::Error;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key: `http.keepalive`, `sources.binance.polls[0].kind`.
    pub key: String,
    /// Where it stands: a file and line, an environment variable, or a flag.
    pub place: String,
    /// What was expected, what was found, and the nearest valid name.
    pub message: String,
}

impl Problem {
    /// A problem with `key` at `place`.
    pub fn new(key: impl Into<String>, place: impl Into<String>, message: impl Into<String>) -> Self {
        Problem { key: key.into(), place: place.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with a configuration, in the order it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    /// Gives each problem without a place the place that is known of its key.
    pub(super) fn fill_places<'a>(&mut self, place: impl Fn(&str) -> &'a str) {
        for problem in self.0.iter_mut().filter(|problem| problem.place.is_empty()) {
            problem.place = place(&problem.key).to_owned();
        }
    }

    /// All of them.
    pub fn list(&self) -> &[Problem] {
        &self.0
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One line each.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Error {
        Error::config(problems.to_string())
    }
}

/// The name among `names` that `found` most likely stands for; `None` when none is close.
pub fn nearest<'a>(found: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let best = names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(found, name), name))
        .min_by_key(|(distance, _)| *distance)?;
    let closest = best.0 <= 2 || best.0 * 3 <= found.len();
    closest.then_some(best.1)
}

/// `; did you mean NAME?`, or nothing when no name is close.
pub fn did_you_mean<'a>(found: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(found, names).map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names_are_close_ones() {
        let names = ["http.keepalive", "http.connections_max", "dns.ttl"];
        assert_eq!(nearest("http.keep_alive", names), Some("http.keepalive"));
        assert_eq!(nearest("http.max_connections", names), None);
        assert_eq!(nearest("dns.tll", names), Some("dns.ttl"));
        assert_eq!(did_you_mean("zebra", names), "");
    }

    #[test]
    fn one_line_for_each_problem() {
        let mut problems = Problems::default();
        problems.push(Problem::new("a", "t.toml line 1", "expected x, found y"));
        problems.push(Problem::new("a", "t.toml line 1", "expected x, found y"));
        problems.push(Problem::new("", "", "expected z"));
        assert_eq!(problems.to_string(), "t.toml line 1: a: expected x, found y\nexpected z");
    }
}
