//! The dead letters: what a sink refused for good, one file for each refusal under `data/dead/`, one JSON object a line:
//! `{"sink":…,"seq":…,"at":…,"reason":…,"record":{…}}`. Owns no decision about what is dead.
//! Invariant: a file that has its name is whole and durable.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::value::RawValue;

use super::journal::line_seq;
use crate::sink::Dead;
use crate::time::UnixNanos;

/// One line.
#[derive(Serialize)]
struct Letter<'a> {
    sink: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    at: UnixNanos,
    reason: &'a str,
    /// The record as it stands in the journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a RawValue>,
    /// The line instead, when it is no JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<String>,
}

/// Writes what `sink` refused into one file in `dir`.
pub(super) fn bury(dir: &Path, sink: &str, dead: &[Dead]) -> io::Result<()> {
    let Some(first) = dead.first() else { return Ok(()) };
    fs::create_dir_all(dir)?;
    let name = format!("{sink}-{:020}.ndjson", first.first_seq);
    let (path, aside) = (dir.join(&name), dir.join(format!(".{name}.tmp")));
    let mut out = BufWriter::new(fs::File::create(&aside)?);
    let at = UnixNanos::now();
    for part in dead {
        for line in part.lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let record: Option<&RawValue> = serde_json::from_slice(line).ok();
            let text = record.is_none().then(|| String::from_utf8_lossy(line).into_owned());
            let letter = Letter { sink, seq: line_seq(line), at, reason: &part.why, record, line: text };
            serde_json::to_writer(&mut out, &letter)?;
            out.write_all(b"\n")?;
        }
    }
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_data()?;
    fs::rename(aside, path)?;
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_lines_of_json_with_seq_reason_and_record() {
        let dir = std::env::temp_dir().join(format!("tidegate-dead-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let dead = |first_seq, lines: &str, why: &str| Dead {
            first_seq,
            count: 1,
            lines: lines.as_bytes().to_vec(),
            why: why.to_owned(),
        };
        let parts =
            [dead(7, "{\"seq\":7,\"data\":{\"p\":\"1.50\"}}\n", "400: no \"p\""), dead(9, "{\"seq\":9,\n", "422")];
        bury(&dir, "db", &parts).unwrap();
        let text = fs::read_to_string(dir.join("db-00000000000000000007.ndjson")).unwrap();
        let letters: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(letters.len(), 2);
        assert_eq!((&letters[0]["seq"], &letters[0]["sink"]), (&7.into(), &"db".into()));
        assert_eq!(
            (&letters[0]["reason"], &letters[0]["record"]["data"]["p"]),
            (&"400: no \"p\"".into(), &"1.50".into())
        );
        assert_eq!((&letters[1]["line"], letters[1].get("record")), (&"{\"seq\":9,".into(), None));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }
}
