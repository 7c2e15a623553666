//! The configuration that makes an engine ask the simulator: every base URL, made-up keys, and polls of every kind that
//! the simulator can serve. The embedded default is this text; `tidegate sim` prints it.

use std::fmt::Write as _;
use std::path::Path;

use crate::config::{Credentials, Secret};
use crate::error::Result;
use crate::model::{Query, Symbol};
use crate::sim::answers::Answers;
use crate::sim::server::Sim;
use crate::source::{Batching, Context, KindSpec, SOURCES, Source, State};
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
            for kind in spec.kinds.iter().filter(|kind| is_served(index, *source, kind, &answers)) {
                let symbols: Vec<String> = kind.examples.iter().map(|symbol| quoted(symbol)).collect();
                let _ = write!(text, "\n[[sources.{id}.polls]]\nkind = \"{}\"\n", kind.kind);
                if !symbols.is_empty() {
                    let _ = writeln!(text, "symbols = [{}]", symbols.join(", "));
                }
                let _ = writeln!(text, "every = \"{}ms\"", kind.every.as_millis());
            }
        }
        Ok(text)
    }
}

/// Whether the simulator answers the first request of a kind with success. What needs a prerequisite first cannot be
/// tried by one request and counts as served.
fn is_served(index: usize, source: &dyn Source, kind: &KindSpec, answers: &Answers) -> bool {
    let mut credentials = Credentials::default();
    for credential in source.spec().credentials {
        credentials.insert(credential.variable, Secret::new(credential.simulated));
    }
    let mut query = Query::new(kind.kind);
    query.interval = kind.intervals.contains(&crate::model::Interval::MINUTE).then_some(crate::model::Interval::MINUTE);
    query.interval = query.interval.or_else(|| kind.intervals.iter().min().copied());
    if kind.batching != Batching::None {
        query = query.symbols(kind.examples.iter().take(1).map(Symbol::new));
    }
    let state = State::default();
    if source.prerequisites().iter().any(|step| (step.needed)(&query, &state)) {
        return true;
    }
    let request = Context::new(source, &query, &state, &credentials, "simulator@localhost", UnixNanos::now())
        .and_then(|cx| source.request(&cx));
    match request {
        Ok(request) => answers.serves(index, request.base, request.target()),
        Err(_) => false,
    }
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
