//! The settings of sinks: an array of tables, read by the type of each. Opens nothing.
//! Invariant: what a header says is shown nowhere; where it names a variable, the variable's value is put in by
//! `engine::check`, which has the environment.

use std::path::PathBuf;
use std::time::Duration;

use config::{Map, Value, ValueKind};

use crate::config::defaults::{SINK_SETTINGS, Setting};
use crate::config::problem::{Problem, Problems, did_you_mean};
use crate::config::read::{Scope, Values, place_of};
use crate::config::settings::{as_table, items};
use crate::config::{Environment, Secret, show_kind};

/// One sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSettings {
    /// Its key, for errors: `sinks[0]`.
    pub key: String,
    /// The name of its offset.
    pub name: String,
    /// Where records go.
    pub target: SinkTarget,
}

/// The types of sinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkTarget {
    /// Lines appended to a file.
    File {
        /// The file.
        path: PathBuf,
    },
    /// Lines in the body of POST requests.
    Http(Box<HttpTarget>),
    /// Nowhere.
    Null,
    /// Parquet files in partitions.
    Parquet {
        /// Their folder.
        dir: PathBuf,
    },
    /// Lines on standard output.
    Stdout,
}

/// Where and how the http sink sends.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpTarget {
    /// The address, with path and query; a query may hold a key.
    pub url: String,
    /// Headers of every request.
    pub headers: Vec<SinkHeader>,
    /// Records of one request at most.
    pub batch_records: usize,
    /// Bytes of lines in one request at most.
    pub batch_bytes: usize,
    /// How long a request waits for more records.
    pub batch_age: Duration,
    /// Time for one request and its answer.
    pub timeout: Duration,
    /// How the body is packed.
    pub compression: Compression,
}

/// How the body of a request is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// `Content-Encoding: gzip`.
    Gzip,
    /// As it is.
    #[default]
    None,
    /// `Content-Encoding: zstd`.
    Zstd,
}

/// A header of the http sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkHeader {
    /// Its name.
    pub name: String,
    /// What it says.
    pub text: HeaderText,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderText {
    /// As written, or with the variable's value put in.
    Known(Secret),
    /// `before`, and then the value of a variable of the environment: written `Bearer env:NAME`.
    Variable {
        /// What stands before it: `Bearer `.
        before: String,
        /// Its name.
        variable: String,
    },
}

impl HttpTarget {
    /// The address without its query: what may be shown.
    pub fn shown(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }

    /// Puts the values of variables into the headers that name them.
    ///
    /// # Errors
    /// Which header's variable is not set or cannot be read, and why.
    pub fn resolve(&mut self, environment: &Environment) -> Result<(), Vec<(String, String)>> {
        let mut missing = Vec::new();
        for header in &mut self.headers {
            let HeaderText::Variable { before, variable } = &header.text else { continue };
            match environment.secret(variable) {
                Ok(Some(found)) => {
                    header.text = HeaderText::Known(Secret::new(format!("{before}{}", found.secret.expose())));
                }
                Ok(None) => {
                    let message = format!("expected a value in {variable}, found none; set it, or {variable}_FILE");
                    missing.push((header.name.clone(), message));
                }
                Err(problem) => missing.push((header.name.clone(), problem.to_string())),
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(missing) }
    }
}

impl std::fmt::Debug for HttpTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|header| header.name.as_str()).collect();
        f.debug_struct("HttpTarget").field("url", &self.shown()).field("headers", &names).finish_non_exhaustive()
    }
}

impl SinkTarget {
    /// The type's word in configuration.
    pub const fn as_str(&self) -> &'static str {
        match self {
            SinkTarget::File { .. } => "file",
            SinkTarget::Http(_) => "http",
            SinkTarget::Null => "null",
            SinkTarget::Parquet { .. } => "parquet",
            SinkTarget::Stdout => "stdout",
        }
    }

    /// Whether it reads the journal.
    pub const fn needs_journal(&self) -> bool {
        !matches!(self, SinkTarget::Null)
    }
}

/// Reads the array of sinks.
pub(super) fn sinks(value: Option<&Value>, problems: &mut Problems) -> Vec<SinkSettings> {
    let items = items("sinks", value, problems);
    items.into_iter().filter_map(|(key, value)| sink(key, value, problems)).collect()
}

fn sink(key: String, value: &Value, problems: &mut Problems) -> Option<SinkSettings> {
    let table = as_table(&key, value, problems)?;
    let (name, settings) = type_of(&key, table, value, problems)?;
    let prefix = format!("{key}.");
    let others: &[&str] = if name == "http" { &["headers"] } else { &[] };
    let values = Values::read(table, &Scope { prefix: &prefix, settings, others }, problems);
    let needed =
        settings.iter().filter(|setting| setting.default.is_empty() && !["type", "name"].contains(&setting.key));
    for setting in needed.filter(|setting| !table.contains_key(setting.key)) {
        let message = format!("expected a value, found nothing: a sink of type {name} needs it");
        problems.push(Problem::new(format!("{key}.{}", setting.key), place_of(value), message));
    }
    let target = match name {
        "file" => SinkTarget::File { path: values.path("path")? },
        "http" => SinkTarget::Http(Box::new(HttpTarget {
            url: values.text("url")?,
            headers: headers(&key, table.get("headers"), problems),
            batch_records: values.size("batch_records"),
            batch_bytes: values.size("batch_bytes"),
            batch_age: values.duration("batch_age"),
            timeout: values.duration("timeout"),
            compression: match values.text("compression").as_deref() {
                Some("gzip") => Compression::Gzip,
                Some("zstd") => Compression::Zstd,
                _ => Compression::None,
            },
        })),
        "parquet" => SinkTarget::Parquet { dir: values.path("dir")? },
        "stdout" => SinkTarget::Stdout,
        _ => SinkTarget::Null,
    };
    Some(SinkSettings { key, name: values.text("name").unwrap_or_else(|| name.to_owned()), target })
}

/// The type of a sink, with its settings.
fn type_of(
    key: &str,
    table: &Map<String, Value>,
    value: &Value,
    problems: &mut Problems,
) -> Option<(&'static str, &'static [Setting])> {
    let types = || SINK_SETTINGS.iter().map(|(name, _)| *name);
    let written = table.get("type");
    let found = match written.map(|written| &written.kind) {
        Some(ValueKind::String(text)) => SINK_SETTINGS.iter().find(|(name, _)| name == text),
        _ => None,
    };
    if found.is_none() {
        let shown = written.map_or("nothing".to_owned(), |written| show_kind(&written.kind));
        let near = did_you_mean(shown.trim_matches('"'), types());
        let all: Vec<&str> = types().collect();
        problems.push(Problem::new(
            format!("{key}.type"),
            place_of(written.unwrap_or(value)),
            format!("expected one of {}, found {shown}{near}", all.join(", ")),
        ));
    }
    found.copied()
}

fn headers(sink: &str, value: Option<&Value>, problems: &mut Problems) -> Vec<SinkHeader> {
    let key = format!("{sink}.headers");
    let Some(table) = value.and_then(|value| as_table(&key, value, problems)) else { return Vec::new() };
    let mut headers = Vec::new();
    for (name, value) in table {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let mut refuse = |message: String| {
            problems.push(Problem::new(format!("{key}.{name}"), place_of(value), message));
        };
        if name.is_empty() || !name.bytes().all(is_token) {
            refuse("expected the name of a header, found other characters".to_owned());
            continue;
        }
        if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            refuse("expected another header, found one that the sink sets itself".to_owned());
            continue;
        }
        match &value.kind {
            ValueKind::String(text) if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => {
                headers.push(SinkHeader { name: name.clone(), text: header_text(text) });
            }
            // What it says may be a key: it is not shown.
            _ => refuse("expected a text of visible ASCII, or env:NAME for the value of a variable".to_owned()),
        }
    }
    headers.sort_by(|a, b| a.name.cmp(&b.name));
    headers
}

/// `env:NAME` as the last word stands for a variable.
fn header_text(text: &str) -> HeaderText {
    let (before, last) = text.rsplit_once(' ').map_or(("", text), |(before, last)| (before, last));
    match last.strip_prefix("env:") {
        Some(variable) => {
            let before = if before.is_empty() { String::new() } else { format!("{before} ") };
            HeaderText::Variable { before, variable: variable.to_owned() }
        }
        None => HeaderText::Known(Secret::new(text)),
    }
}

/// They follow from the body.
const OWN_HEADERS: &[&str] = &["content-encoding", "content-length", "host", "transfer-encoding"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Loader;

    fn http(text: &str) -> Result<HttpTarget, Vec<String>> {
        let environment = Environment::default();
        let loaded = Loader::new(&environment).text("t.toml", format!("[[sinks]]\ntype = \"http\"\n{text}")).load();
        if !loaded.problems.is_empty() {
            return Err(loaded.problems.list().iter().map(Problem::to_string).collect());
        }
        match loaded.settings.sinks.into_iter().next().map(|sink| sink.target) {
            Some(SinkTarget::Http(target)) => Ok(*target),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_http_sink_is_read_and_shows_no_secret() {
        let text = "url = \"https://h:8443/?query=INSERT INTO t FORMAT JSONEachRow&password=hunter2\"\n\
                    headers = { Authorization = \"Bearer env:A_TOKEN\", X-Plain = \"hunter3\", x-key = \"env:A_KEY\" }\n\
                    batch_records = 500\ncompression = \"zstd\"\ntimeout = \"5s\"";
        let mut target = http(text).unwrap();
        assert_eq!((target.batch_records, target.compression), (500, Compression::Zstd));
        assert_eq!((target.batch_bytes, target.batch_age), (4 << 20, Duration::from_secs(1)));
        assert_eq!(target.shown(), "https://h:8443/");
        let missing = target.resolve(&Environment::of([("A_KEY", "hunter4")])).unwrap_err();
        assert_eq!(missing.len(), 1);
        assert!(missing[0].0 == "Authorization" && missing[0].1.contains("A_TOKEN"), "{missing:?}");
        target.resolve(&Environment::of([("A_TOKEN", "hunter5")])).unwrap();
        let said: Vec<&str> = target
            .headers
            .iter()
            .map(|header| match &header.text {
                HeaderText::Known(secret) => secret.expose(),
                HeaderText::Variable { .. } => "",
            })
            .collect();
        assert_eq!(said, ["Bearer hunter5", "hunter3", "hunter4"]);
        assert!(!format!("{target:?} {:?}", target.headers).contains("hunter"), "{target:?}");
    }

    #[test]
    fn what_cannot_work_is_refused_without_showing_it() {
        let check = |text: &str, part: &str| {
            let found = http(text).unwrap_err();
            assert!(found.len() == 1 && found[0].contains(part) && !found[0].contains("hunter"), "{found:?}");
        };
        check("", "sinks[0].url: expected a value, found nothing: a sink of type http needs it");
        check("url = \"http://u:hunter2@h/\"", "expected an address such as");
        check("url = \"http://h/\"\nheaders = { X-A = 5 }", "sinks[0].headers.X-A: expected a text of visible ASCII");
        check("url = \"http://h/\"\nheaders = { X-A = \"hunter\\n2\" }", "expected a text of visible ASCII");
        check("url = \"http://h/\"\nheaders = { \"X A\" = \"hunter2\" }", "expected the name of a header");
        check("url = \"http://h/\"\nheaders = { Host = \"a\" }", "one that the sink sets itself");
        check("url = \"http://h/\"\nheader = { A = \"a\" }", "did you mean headers?");
        check("url = \"http://h/\"\ncompression = \"brotli\"", "expected one of none, gzip, zstd");
    }
}
