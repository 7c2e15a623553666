//! `tidegate decode`: one stored answer in, its records or its verdict out. Sends nothing, keeps nothing.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use clap::Args;
use hyper::header::{HeaderName, HeaderValue};

use crate::cli::{Done, Failure, usage};
use crate::engine::check;
use crate::error::Error;
use crate::model::{Interval, Query, Symbol};
use crate::source::{State, judge_offline};
use crate::wire::Answer;

/// Read one stored answer of a source and print its records as NDJSON.
///
/// Anything but `ok` is printed as one line with the verdict, and ends with status 3.
#[derive(Args, Debug)]
pub struct Decode {
    /// Source that gave the answer.
    source: String,
    /// Kind of record that was asked for.
    kind: String,
    /// File with the body; standard input without, or for `-`.
    file: Option<PathBuf>,
    /// Canonical symbol that was asked for, where the body does not tell; may be repeated.
    #[arg(long, value_name = "SYMBOL")]
    symbol: Vec<String>,
    /// Length of the bars that were asked for.
    #[arg(long)]
    interval: Option<Interval>,
    /// HTTP status of the answer.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(100..=599))]
    status: u16,
    /// Header of the answer; may be repeated.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Decode {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        let source = check::source(&self.source).map_err(usage)?;
        let kind = check::kind(source, &self.kind).map_err(usage)?;
        let mut query = Query::new(kind.kind).symbols(self.symbol.iter().map(Symbol::new));
        query.interval = self.interval;
        let mut answer = Answer::new(self.status, self.body()?);
        for (name, value) in &self.headers {
            answer.headers.push(name.as_str(), value.as_bytes());
        }

        let mut out = io::BufWriter::new(io::stdout().lock());
        match judge_offline(source, &query, &State::default(), answer) {
            Ok(batch) => {
                let mut lines = Vec::new();
                for record in batch.records() {
                    record.encode_line(&mut lines);
                }
                out.write_all(&lines)?;
                out.flush()?;
                Ok(Done::Fine)
            }
            Err(judgement) => {
                serde_json::to_writer(&mut out, &judgement).map_err(io::Error::from)?;
                out.write_all(b"\n")?;
                out.flush()?;
                Ok(Done::Verdict)
            }
        }
    }

    fn body(&self) -> Result<Vec<u8>, Error> {
        let Some(path) = self.file.as_ref().filter(|path| path.as_os_str() != "-") else {
            let mut body = Vec::new();
            let read = io::stdin().lock().read_to_end(&mut body);
            return read.map(|_| body).map_err(|error| Error::io("read", "standard input".as_ref(), &error));
        };
        std::fs::read(path).map_err(|error| Error::io("read", path, &error))
    }
}

/// Reads `Name: value`.
fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = || "expected a header such as 'Retry-After: 30'".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = name.trim().parse().map_err(|_| wrong())?;
    let value = value.trim().parse().map_err(|_| wrong())?;
    Ok((name, value))
}
