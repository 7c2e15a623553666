//! `tidegate symbols`: the instruments of a source, canonical beside the provider's own names.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;

use crate::cli::upstream::Upstream;
use crate::cli::{Done, Failure, duration, usage};
use crate::engine::check;

/// List the instruments of a source: canonical name, the provider's own, and its aliases.
#[derive(Args, Debug)]
pub struct ListSymbols {
    /// Source to ask.
    source: String,
    /// Only names that contain this, in any case.
    #[arg(long = "match", value_name = "TEXT")]
    pattern: Option<String>,
    /// Time over all attempts.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    deadline: Duration,
    #[command(flatten)]
    upstream: Upstream,
}

impl ListSymbols {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        let source = check::source(&self.source).map_err(usage)?;
        let id = source.spec().id;
        if !source.prerequisites().iter().any(|step| step.name == "instruments") {
            return Err(usage(format!("{id} has no list of instruments: its names follow from the symbols by rule")));
        }
        let one_off = self.upstream.engine(&self.source)?;
        let state = one_off.engine.instruments(&self.source, self.deadline).wait()?;
        one_off.end()?;
        let mut out = io::BufWriter::new(io::stdout().lock());
        let state = match state {
            Ok(state) => state,
            Err(judgement) => {
                serde_json::to_writer(&mut out, &judgement).map_err(io::Error::from)?;
                out.write_all(b"\n")?;
                out.flush()?;
                return Ok(Done::Verdict);
            }
        };
        let wanted = self.pattern.as_deref().unwrap_or_default().to_lowercase();
        for instrument in state.instruments.list() {
            let names = std::iter::once(&instrument.native).chain(&instrument.aliases).map(|name| name.as_str());
            let names: Vec<&str> = names.collect();
            let hit = |name: &str| name.to_lowercase().contains(&wanted);
            if hit(instrument.symbol.as_str()) || names.iter().any(|name| hit(name)) {
                writeln!(out, "{}\t{}", instrument.symbol, names.join("\t"))?;
            }
        }
        out.flush()?;
        Ok(Done::Fine)
    }
}
