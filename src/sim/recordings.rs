//! Recorded answers, served at the paths they were recorded at. Which instrument was asked for decides between several
//! recordings of one path, but none is refused for it: the point is genuine bodies.

use std::path::Path;

use bytes::Bytes;
use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};
use crate::sim::routes::Asked;

/// The recordings of a folder.
#[derive(Debug)]
pub struct Recordings(Vec<Recorded>);

/// Query parameters by name.
type Params = Vec<(String, String)>;

/// One recorded answer.
#[derive(Debug)]
pub struct Recorded {
    source: String,
    path: Vec<String>,
    params: Params,
    error: bool,
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// A row of the folder's `manifest.json`.
#[derive(Deserialize)]
struct Row {
    file: String,
    source: String,
    kind: String,
    endpoint: String,
    http_status: Option<serde_json::Value>,
}

impl Recordings {
    /// Reads a folder by its `manifest.json`.
    ///
    /// # Errors
    /// When the manifest is missing or is none.
    pub fn load(folder: &Path) -> Result<Recordings> {
        let manifest = folder.join("manifest.json");
        let text = std::fs::read(&manifest).map_err(|error| Error::io("read", &manifest, &error))?;
        let rows: Vec<Row> = serde_json::from_slice(&text).map_err(|error| {
            Error::new(ErrorKind::Corrupt, format!("{}: expected a list of recordings: {error}", manifest.display()))
        })?;
        let mut recordings = Vec::new();
        for row in rows {
            let status = row.http_status.as_ref().map(|value| value.to_string().trim_matches('"').to_owned());
            let Some(status) = status.and_then(|text| text.parse().ok()) else { continue };
            let Some((path, params)) = endpoint(&row.endpoint) else { continue };
            let file = folder.join(&row.file);
            let body = std::fs::read(&file).map_err(|error| Error::io("read", &file, &error))?;
            let source = if row.source == "yahoo" { "yahoo_finance".to_owned() } else { row.source };
            recordings.push(Recorded {
                source,
                path,
                params,
                error: row.kind == "error",
                status,
                body: Bytes::from(body),
            });
        }
        Ok(Recordings(recordings))
    }

    /// The recording that fits best: the same path, then the most equal parameters, answers before errors.
    pub fn find(&self, source: &str, asked: &Asked<'_>) -> Option<&Recorded> {
        let path: Vec<&str> = asked.path.split('/').filter(|segment| !segment.is_empty()).collect();
        self.0
            .iter()
            .filter(|recorded| recorded.source == source)
            .filter_map(|recorded| recorded.score(&path, asked).map(|score| (score, recorded)))
            .max_by_key(|(score, _)| *score)
            .map(|(_, recorded)| recorded)
    }
}

impl Recorded {
    /// The type its first byte suggests.
    pub fn content_type(&self) -> &'static str {
        match self.body.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{' | b'[') => "application/json",
            Some(b'<') => "text/html",
            _ => "text/plain",
        }
    }

    fn score(&self, path: &[&str], asked: &Asked<'_>) -> Option<(bool, usize)> {
        // Base URLs may carry the first segments of a path, and endpoints may leave them out.
        let (short, long) =
            if self.path.len() <= path.len() { (self.path.len(), path.len()) } else { (path.len(), self.path.len()) };
        if short == 0 || long - short > 2 {
            return None;
        }
        let mut points = 0;
        for (wanted, found) in self.path.iter().rev().zip(path.iter().rev()) {
            if wanted == found {
                points += 4;
            } else if !wanted.contains('{') && !is_name(wanted) {
                return None;
            }
        }
        if points == 0 {
            return None;
        }
        for (name, value) in &self.params {
            match asked.param(name) {
                Some(found) if found == value => points += 2,
                // What selects an operation must agree; which instrument or interval it is need not.
                Some(_) if name == "function" => return None,
                _ => {}
            }
        }
        Some((!self.error, points))
    }
}

/// Whether a segment is an instrument's name rather than a word of the path.
fn is_name(segment: &str) -> bool {
    segment.chars().any(|c| c.is_ascii_uppercase() || c.is_ascii_digit()) || segment.contains(['-', '%', '_'])
}

/// Path segments and parameters of `GET https://host/path?name=value` or `GET /path`.
fn endpoint(text: &str) -> Option<(Vec<String>, Params)> {
    let target = text.strip_prefix("GET ")?.split_whitespace().next()?;
    let target = match target.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => target,
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let segments = path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect();
    let params = query.split('&').filter_map(|pair| pair.split_once('='));
    Some((segments, params.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_in_both_forms() {
        let (path, params) = endpoint("GET https://h.example/v2/a/{symbol}?x=1&y={z}").unwrap();
        assert_eq!(path, ["v2", "a", "{symbol}"]);
        assert_eq!(params, [("x".to_owned(), "1".to_owned()), ("y".to_owned(), "{z}".to_owned())]);
        assert_eq!(endpoint("GET /api/v3/time").unwrap().0, ["api", "v3", "time"]);
        assert!(endpoint("wss://x").is_none());
    }
}
