//! The sink of lines on standard output. A reader that is slow blocks this sink's thread and nothing else.

use std::io::{self, Write};

use crate::sink::{Refusal, Sink, SinkBatch};

/// Standard output.
#[derive(Debug)]
pub struct Stdout;

impl Sink for Stdout {
    fn deliver(&mut self, batch: &SinkBatch<'_>) -> Result<(), Refusal> {
        let mut out = io::stdout().lock();
        out.write_all(batch.lines)
            .and_then(|()| out.flush())
            .map_err(|error| Refusal::Retry(format!("cannot write to standard output: {error}"), None))
    }

    fn settle(&mut self, _force: bool) -> Result<bool, Refusal> {
        Ok(true)
    }
}
