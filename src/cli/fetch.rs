//! `tidegate fetch`: one live question, its records or its verdict.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;

use crate::cli::upstream::Upstream;
use crate::cli::{Done, Failure, duration, usage};
use crate::engine::{Answered, Ask, check};
use crate::model::{Query, Symbol};
use crate::source::Batching;

/// Ask a provider once and print the records as NDJSON.
///
/// Anything but `ok` is printed as one line with the verdict, and ends with status 3.
#[derive(Args, Debug)]
pub struct Fetch {
    /// Source to ask.
    source: String,
    /// Kind of record.
    kind: String,
    /// Canonical symbols.
    symbols: Vec<String>,
    /// Length of the bars.
    #[arg(long)]
    interval: Option<String>,
    /// Rows to ask the provider for at most.
    #[arg(long)]
    limit: Option<u32>,
    /// Time over all attempts.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    deadline: Duration,
    /// Attempts at most.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    attempts: u32,
    #[command(flatten)]
    upstream: Upstream,
}

impl Fetch {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        let source = check::source(&self.source).map_err(usage)?;
        let kind = check::kind(source, &self.kind).map_err(usage)?;
        let interval = check::interval(kind, self.interval.as_deref()).map_err(usage)?;
        if self.symbols.is_empty() && matches!(kind.batching, Batching::One | Batching::Many(_)) {
            let example = kind.examples.first().map(|symbol| format!(" such as {symbol}")).unwrap_or_default();
            return Err(usage(format!("expected a symbol{example} for {}, found none", self.kind)));
        }
        let one_off = self.upstream.engine(&self.source)?;
        let base = Query { interval, limit: self.limit, ..Query::new(kind.kind) };
        let queries = match self.symbols.as_slice() {
            [] => vec![base],
            symbols => symbols.iter().map(|symbol| base.clone().symbol(Symbol::new(symbol))).collect(),
        };
        let asks = queries.into_iter().map(|query| Ask {
            deadline: Some(self.deadline),
            attempts_max: Some(self.attempts),
            ..Ask::new(self.source.as_str(), query)
        });
        let answers = one_off.engine.fetch_batch(asks.collect()).wait()?;
        one_off.end()?;
        print(&answers)
    }
}

/// Prints records, or verdict lines in their places.
fn print(answers: &[Answered]) -> Result<Done, Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut done = Done::Fine;
    let mut lines = Vec::new();
    for answer in answers {
        match answer {
            Ok(records) => records.iter().for_each(|record| record.encode_line(&mut lines)),
            Err(judgement) => {
                done = Done::Verdict;
                serde_json::to_writer(&mut lines, judgement).map_err(io::Error::from)?;
                lines.push(b'\n');
            }
        }
    }
    out.write_all(&lines)?;
    out.flush()?;
    Ok(done)
}
