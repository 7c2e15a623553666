//! `tidegate export`: converts the journal into Parquet files. Reads files only: works beside a running engine.

use std::path::PathBuf;

use clap::Args;

use crate::collector::journal::{JournalReader, Reading};
use crate::sink::{Parquet, Sink, SinkBatch};

/// Converts the journal.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// The data directory.
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// Writes Parquet files into this folder, partitioned by kind, source and day.
    #[arg(long, value_name = "DIR")]
    pub parquet: PathBuf,
    /// Only from this record on.
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub from_seq: u64,
}

/// Runs the command; gives the exit status: 0, or 1 when records could not be read or written.
pub fn run(args: &ExportArgs) -> u8 {
    let dir = args.data.join("journal");
    if !dir.is_dir() {
        eprintln!("error: {}: expected a folder `journal` in it, found none", args.data.display());
        return 1;
    }
    let mut sink = Parquet::new(&args.parquet);
    let mut reader = JournalReader::open(&dir, args.from_seq);
    let (mut records, mut is_whole) = (0, true);
    loop {
        let done = match reader.read() {
            Ok(Reading::Batch(batch)) => {
                records += batch.count;
                sink.deliver(&SinkBatch { first_seq: batch.first_seq, count: batch.count, lines: batch.lines })
            }
            Ok(Reading::Gap(seqs, why)) => {
                eprintln!("error: seq {} to {} cannot be read: {why}", seqs.start(), seqs.end());
                is_whole = false;
                Ok(())
            }
            Ok(Reading::Waiting) => break,
            Err(error) => {
                eprintln!("error: {}: {error}", dir.display());
                return 1;
            }
        };
        if let Err(refusal) = done {
            eprintln!("error: {}", refusal.into_why());
            return 1;
        }
    }
    if let Err(refusal) = sink.settle(true) {
        eprintln!("error: {}", refusal.into_why());
        return 1;
    }
    if let Some(why) = reader.damage() {
        eprintln!("error: {why}");
        is_whole = false;
    }
    println!("{records} records exported to {}", args.parquet.display());
    u8::from(!is_whole)
}
