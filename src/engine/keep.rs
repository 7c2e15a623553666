//! What outlives a run besides the journal: the state of sources and of quotas, in small files replaced whole, and how
//! far streams have come.

use std::path::Path;

use crate::config::Settings;
use crate::handoff::{QuotaCell, QuotaSnapshot};
use crate::model::{Head, Stream};
use crate::shard::state::write_atomically;
use crate::shard::{FollowSpec, Gap, LaneSpec, open_gaps};
use crate::source::State;
use crate::time::Now;

/// Takes over a quota's saved state. A file that is none is reported and left out: the quota then starts full, which the
/// provider's own count corrects with the first answer.
pub fn restore(quota: &QuotaCell, path: &Path) {
    let Ok(text) = std::fs::read(path) else { return };
    match serde_json::from_slice::<QuotaSnapshot>(&text) {
        Ok(saved) => quota.restore(&saved, Now::read()),
        Err(error) => tracing::warn!(path = %path.display(), %error, "a quota's saved state cannot be read"),
    }
}

/// Saves a quota's state.
pub fn save(quota: &QuotaCell, path: &Path) {
    let Ok(text) = serde_json::to_vec(&quota.snapshot(Now::read())) else { return };
    if let Err(error) = write_atomically(path, &text) {
        tracing::warn!(path = %path.display(), %error, "a quota's state could not be saved");
    }
}

/// Loads what a source knew; nothing when there is no file or it is none.
pub fn load_state(path: &Path) -> State {
    let Ok(text) = std::fs::read(path) else { return State::default() };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "a source's saved state cannot be read");
        State::default()
    })
}

/// Has lanes follow their streams: from where the journal ends, with the gaps that stand open in streams they poll.
pub fn follow(shards: &mut [Vec<LaneSpec>], heads: &[(Stream, Head)], settings: &Settings) {
    let file = settings.data_dir.join("gaps.ndjson");
    let open = open_gaps(&file);
    for lane in shards.iter_mut().flatten() {
        let source = lane.source.spec().id.as_str();
        let polls = &lane.polls;
        let is_polled = |gap: &&Gap| {
            let stream = &gap.stream;
            let names = |symbols: &[crate::model::Symbol]| symbols.iter().any(|symbol| symbol.as_str() == stream.name);
            stream.source == source
                && polls.iter().any(|poll| {
                    poll.kind == stream.kind
                        && (names(&poll.symbols) || poll.symbols.is_empty() && stream.name.is_empty())
                })
        };
        lane.follow = Some(FollowSpec {
            open: open.iter().filter(is_polled).cloned().collect(),
            heads: heads.iter().filter(|(stream, _)| stream.source == source).cloned().collect(),
            file: file.clone(),
            rows_max: settings.cursors.refill_rows_max,
        });
    }
}
