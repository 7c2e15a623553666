//! The configuration that makes an engine ask the simulator: every base URL, made-up keys, and polls of every kind that
//! the simulator can serve. The embedded default is this text; `tidegate sim` prints it.

use std::fmt::Write as _;
use std::path::Path;

use crate::config::{Credentials, Secret};
use crate::error::Result;
use crate::model::{Interval, Query};
use crate::sim::answers::Answers;
use crate::sim::server::Sim;
use crate::source::{Batch, Batching, Context, KindSpec, SOURCES, Source, State, judge};
use crate::time::UnixNanos;

impl Sim {
    /// The configuration as TOML. `ca_file` is where the authority's certificate stands.
    ///
    /// # Errors
    /// When the folder of recordings, if any, cannot be read.
    pub fn toml(&self, ca_file: Option<&Path>, recordings: Option<&Path>) -> Result<String> {
        let answers = Answers::load(recordings)?;
        let urls = self.base_urls();
        let mut text = String::from("contact = \"simulator@localhost\"\n");
        if let Some(path) = ca_file {
            let _ = write!(text, "\n[tls]\nca_file = {}\n", quoted(&path.display().to_string()));
        }
        for (index, source) in SOURCES.iter().enumerate() {
            let spec = source.spec();
            let id = spec.id.as_str();
            let _ = write!(text, "\n[sources.{id}]\n");
            let plan = spec.tiers.last().map_or("free", |tier| tier.name);
            let _ = write!(text, "simulated_keys = true\ntier = {}\n", quoted(plan));
            let own: Vec<_> = urls.iter().filter(|(source, _, _)| *source == id).collect();
            let pairs: Vec<String> = own.iter().map(|(_, base, url)| format!("{base} = {}", quoted(url))).collect();
            let _ = writeln!(text, "base_urls = {{ {} }}", pairs.join(", "));
            for kind in spec.kinds {
                let Some(symbols) = served(index, *source, kind, &answers) else { continue };
                let _ = write!(text, "\n[[sources.{id}.polls]]\nkind = \"{}\"\n", kind.kind);
                if !symbols.is_empty() {
                    let symbols: Vec<String> = symbols.iter().map(|symbol| quoted(symbol)).collect();
                    let _ = writeln!(text, "symbols = [{}]", symbols.join(", "));
                }
                let _ = writeln!(text, "every = \"{}ms\"", kind.every.as_millis());
            }
        }
        Ok(text)
    }
}

/// Which of a kind's examples the simulator has an answer for that the source can read; `None` when there is none.
fn served(index: usize, source: &dyn Source, kind: &KindSpec, answers: &Answers) -> Option<Vec<&'static str>> {
    let mut base = Query::new(kind.kind);
    let minute = kind.intervals.iter().find(|interval| **interval == Interval::MINUTE);
    base.interval = minute.or(kind.intervals.iter().min()).copied();
    if kind.batching == Batching::None || kind.examples.is_empty() {
        return is_served(index, source, &base, answers).then(Vec::new);
    }
    let symbols = kind.examples.iter().copied();
    let symbols: Vec<&str> =
        symbols.filter(|symbol| is_served(index, source, &base.clone().symbol(*symbol), answers)).collect();
    (!symbols.is_empty()).then_some(symbols)
}

/// Asks the simulator as a shard would, prerequisites first, and judges what it answers.
fn is_served(index: usize, source: &dyn Source, query: &Query, answers: &Answers) -> bool {
    let mut credentials = Credentials::default();
    for credential in source.spec().credentials {
        credentials.insert(credential.variable, Secret::new(credential.simulated));
    }
    let now = UnixNanos::now();
    let contact = "simulator@localhost";
    let mut state = State::default();
    let bare = Query { symbols: Vec::new(), ..query.clone() };
    for step in source.prerequisites() {
        if !(step.needed)(query, &state) {
            continue;
        }
        let request = Context::new(source, &bare, &state, &credentials, contact, now)
            .and_then(|cx| source.prerequisite_request(step.name, &cx));
        let Ok(request) = request else { return false };
        let answer = answers.to_request(index, &request, now);
        if source.prerequisite_decode(step.name, &answer, &mut state).is_err() {
            return false;
        }
    }
    let Ok(cx) = Context::new(source, query, &state, &credentials, contact, now) else { return false };
    let Ok(request) = source.request(&cx) else { return false };
    let mut batch = Batch::new(source.spec().id, now);
    judge(source, &cx, &answers.to_request(index, &request, now), &mut batch).is_ok()
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
