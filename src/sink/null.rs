//! The sink that takes everything and keeps nothing: for measurements, and for engines whose journal is the product.

use crate::sink::{Refusal, Sink, SinkBatch};

/// Nowhere.
#[derive(Debug)]
pub struct Null;

impl Sink for Null {
    fn deliver(&mut self, _batch: &SinkBatch<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn settle(&mut self, _force: bool) -> Result<bool, Refusal> {
        Ok(true)
    }
}
