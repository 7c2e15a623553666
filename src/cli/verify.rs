//! `tidegate verify`: checks the journal, or the audit log, without changing it; works beside a running engine and on what a kill left.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use crate::collector::journal::{Report, verify};

/// Checks every frame of the journal and the chain of seq.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// The data directory.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// Checks the audit log instead of the journal.
    #[arg(long)]
    pub audit: bool,
    /// Prints the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command; gives the exit status: 0 when sound, 1 when damaged or not readable.
pub fn run(args: &VerifyArgs) -> u8 {
    let folder = if args.audit { "audit" } else { "journal" };
    let report = match verify(&args.data.join(folder), DAMAGE_LINES_MAX) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("error: {error}");
            return 1;
        }
    };
    let mut out = io::stdout().lock();
    let written = if args.json {
        serde_json::to_writer(&mut out, &report).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        show(&report, &mut out)
    };
    // Whoever read it has had enough; the status still tells.
    let _ = written.and_then(|()| out.flush());
    u8::from(!report.is_sound())
}

fn show(report: &Report, out: &mut impl Write) -> io::Result<()> {
    for line in &report.damage {
        writeln!(out, "damaged: {line}")?;
    }
    if let Some(tail) = &report.torn_tail {
        writeln!(out, "torn tail: {tail}; the next start cuts it off")?;
    }
    writeln!(
        out,
        "{}: {} segments, {} frames, {} records, seq {} to {}, {} bytes",
        if report.is_sound() { "sound" } else { "damaged" },
        report.segments,
        report.frames,
        report.records,
        report.first_seq,
        report.last_seq,
        report.bytes,
    )
}

/// Enough to see what happened; a journal that is damaged throughout would print for hours.
const DAMAGE_LINES_MAX: usize = 1_000;
