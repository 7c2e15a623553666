//! The command line: what can be asked, and how each command ends. Data goes to standard output, everything else to
//! standard error. Exit statuses: 0 = done, 1 = failed, 2 = wrong usage or configuration, 3 = another verdict than
//! `ok`. Invariant: a reader that closes the pipe early ends a command quietly.

mod admin;
mod audit;
mod backfill;
mod cat;
mod check;
mod decode;
mod doctor;
mod export;
mod fetch;
mod health;
mod lines;
mod load;
mod log;
mod run;
mod schema;
mod service;
mod sim;
mod sources;
mod status;
mod summary;
mod symbols;
mod top;
mod upstream;
mod verify;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::config::parse_duration;
use crate::error::{Error, ErrorKind};

/// Collects market data, economic series, filings and news from many providers into one exact, durable stream.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to do; without a command, `run`.
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    run: run::Run,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the audit log: a line for each attempt that was sent.
    Audit(audit::AuditArgs),
    /// Fetch a span of the past into the journal.
    Backfill(backfill::Backfill),
    /// Print records of the journal as NDJSON.
    Cat(cat::CatArgs),
    /// Validate a configuration without starting anything, and sum it up.
    Check(check::Check),
    /// Read one stored answer of a source and print its records, or the verdict.
    Decode(decode::Decode),
    /// Check what the host needs: what is required, what is advised, and how to mend it.
    Doctor(doctor::Doctor),
    /// Write the journal's records as Parquet files.
    Export(export::ExportArgs),
    /// Ask a provider once and print the records, or the verdict.
    Fetch(fetch::Fetch),
    /// Ask a running engine whether it lives, or delivers.
    Health(health::AskHealth),
    /// Drive the whole request path against a server of your own, and measure it.
    Load(load::Load),
    /// Run the engine: the default without a command.
    Run(run::Run),
    /// Print the JSON Schema of a record.
    Schema(schema::PrintSchema),
    /// Run the provider simulator alone and print the configuration that asks it.
    Sim(sim::Simulate),
    /// List the sources: kinds, quotas, and whether the keys are set.
    Sources(sources::ListSources),
    /// List the instruments of a source: canonical names and the provider's own.
    Symbols(symbols::ListSymbols),
    /// Watch a running engine in the terminal.
    Top(top::Top),
    /// Check the journal: every frame and the chain of numbers.
    Verify(verify::VerifyArgs),
}

/// How a command ended that did what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It failed, and the command has told why.
    Failed,
    /// All is well.
    Fine,
    /// The answer has another verdict than `ok`.
    Verdict,
}

/// Parses the process's arguments, runs the command, and says how it ended.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are data; a closed pipe is no failure of theirs.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    match dispatch(&arguments.command.unwrap_or(Command::Run(arguments.run))) {
        Ok(Done::Failed) => ExitCode::from(FAILED),
        Ok(Done::Fine) => ExitCode::SUCCESS,
        Ok(Done::Verdict) => ExitCode::from(VERDICT),
        Err(Failure::ClosedPipe) => ExitCode::SUCCESS,
        Err(Failure::Failed(error)) => {
            for line in error.to_string().lines() {
                eprintln!("error: {line}");
            }
            ExitCode::from(if matches!(error.kind(), ErrorKind::Config | ErrorKind::Misuse) { USAGE } else { FAILED })
        }
    }
}

fn dispatch(command: &Command) -> Result<Done, Failure> {
    match command {
        Command::Audit(args) => Ok(told(audit::run(args))),
        Command::Backfill(command) => command.run(),
        Command::Cat(args) => Ok(told(cat::run(args))),
        Command::Check(command) => command.run(),
        Command::Decode(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Export(args) => Ok(told(export::run(args))),
        Command::Fetch(command) => command.run(),
        Command::Health(command) => command.run(),
        Command::Load(command) => command.run(),
        Command::Run(command) => command.run(),
        Command::Schema(command) => command.run(),
        Command::Sim(command) => command.run(),
        Command::Sources(command) => command.run(),
        Command::Symbols(command) => command.run(),
        Command::Top(command) => command.run(),
        Command::Verify(args) => Ok(told(verify::run(args))),
    }
}

/// The end of a command that tells its own errors.
fn told(status: u8) -> Done {
    if status == 0 { Done::Fine } else { Done::Failed }
}

/// Why a command ended early.
#[derive(Debug)]
enum Failure {
    /// Nobody reads the output any more.
    ClosedPipe,
    /// What to tell the user.
    Failed(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Failed(error)
    }
}

/// Of writing to standard output: nothing else in a command fails with this type.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::Failed(Error::new(ErrorKind::Io, format!("cannot write to standard output: {error}"))),
        }
    }
}

/// Writes warnings to standard error, one line each.
fn warn_all(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

/// Reads a duration of a flag: 10s, 500ms.
fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("expected a duration such as 500ms, 10s or 5m, found {text:?}"))
}

/// An error of usage: exit status 2.
fn usage(message: impl Into<String>) -> Failure {
    Failure::Failed(Error::new(ErrorKind::Misuse, message))
}

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const VERDICT: u8 = 3;
