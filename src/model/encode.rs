//! Records as NDJSON lines: the encoder of the journal's hot path. Same bytes as serde_json, without its allocations.

use crate::model::Record;

impl Record {
    /// Appends the record as one JSON object and a newline.
    pub fn encode_line(&self, out: &mut Vec<u8>) {
        // Serialising to memory fails only on map keys that are no strings, and a record has none.
        let _ = serde_json::to_writer(&mut *out, self);
        out.push(b'\n');
    }
}
