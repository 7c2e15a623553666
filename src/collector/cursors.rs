//! Cursors between runs: what is known of each source's streams, in one small file for each under `state/cursors/`, and a
//! mark that says up to which record of the journal they are right. A start reads the files and then the journal from the
//! mark on, so that files need be neither recent nor of one moment. Knows no shard and asks nobody.
//! Invariant: what a file says of a record, the journal had before, durably. Files that are ahead of the journal are void.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::dedupe::{Advance, Dedupe, StreamState};
use super::journal::{Journal, JournalReader, Reading};
use super::offset::replace;
use crate::error::{Error, Result};
use crate::model::{Record, Stream};
use crate::runtime::{Task, blocking, spawn};
use crate::time::Mono;

/// How cursors are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorSettings {
    /// The folder.
    pub dir: PathBuf,
    /// Time between two writes. A start after a kill reads as much of the journal.
    pub interval: Duration,
}

impl CursorSettings {
    /// In the data directory, at the usual pace.
    pub fn under(data_dir: &Path) -> Self {
        CursorSettings { dir: data_dir.join("state/cursors"), interval: INTERVAL }
    }
}

/// The part of a stream that a backfill fills: the whole journal is read for what it has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The stream.
    pub stream: Stream,
}

/// The files of all cursors.
pub(super) struct Cursors {
    settings: CursorSettings,
    is_backfill: bool,
    due: Mono,
    marked_seq: u64,
    state: Rc<Cell<State>>,
    writing: Option<Task<()>>,
    is_failing: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    Failed,
    #[default]
    Idle,
    Writing,
}

/// Up to where the files are right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// The last record that they know of.
    seq: u64,
    /// Whether what follows it was written by a backfill.
    backfill: bool,
}

/// The file of one source.
#[derive(Debug, Default, Serialize, Deserialize)]
struct SourceFile {
    streams: Vec<StreamState>,
}

impl Cursors {
    /// Has `dedupe` know what earlier runs have journaled; without settings, what stands at the end of the journal.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub(super) fn open(
        settings: Option<CursorSettings>,
        scope: Option<&Scope>,
        journal: &Journal,
        dedupe: &mut Dedupe,
    ) -> Result<Option<Cursors>> {
        let last_seq = journal.next_seq() - 1;
        let mark = match &settings {
            Some(settings) => {
                fs::create_dir_all(&settings.dir)
                    .map_err(|error| Error::io("make the folder", &settings.dir, &error))?;
                restore(&settings.dir, last_seq, dedupe)
            }
            None => None,
        };
        match mark {
            Some(mark) => {
                dedupe.set_advance(if mark.backfill { Advance::Joined } else { Advance::Always });
                let from = (mark.seq + 1).max(last_seq.saturating_sub(REPLAY_RECORDS_MAX));
                replay(JournalReader::open(journal.dir(), from), last_seq, dedupe, |_| true);
            }
            None => {
                let from = last_seq.saturating_sub(SEED_RECORDS);
                replay(JournalReader::open_newest(journal.dir(), from, SEED_SEGMENTS), last_seq, dedupe, |_| true);
            }
        }
        dedupe.set_advance(if scope.is_some() { Advance::Joined } else { Advance::Always });
        if let Some(Scope { stream }) = scope {
            let begin = format!("\"source\":\"{}\",\"kind\":\"{}\"", stream.source, stream.kind);
            let finder = memchr::memmem::Finder::new(&begin);
            replay(JournalReader::open(journal.dir(), 0), last_seq, dedupe, |line| finder.find(line).is_some());
        }
        let Some(settings) = settings else { return Ok(None) };
        let mark = Mark { seq: last_seq, backfill: scope.is_some() };
        store(&settings.dir, &dedupe.changes(), mark)
            .map_err(|error| Error::io("write cursors to", &settings.dir, &error))?;
        Ok(Some(Cursors {
            due: Mono::now() + settings.interval,
            settings,
            is_backfill: scope.is_some(),
            marked_seq: last_seq,
            state: Rc::default(),
            writing: None,
            is_failing: false,
        }))
    }

    /// Writes what has changed, beside the core and not too often. Only when all that `dedupe` knows of is durable.
    pub(super) fn attend(&mut self, dedupe: &mut Dedupe, journal: &Journal) {
        if Mono::now() < self.due || journal.needs_sync() || self.state.get() == State::Writing {
            return;
        }
        self.due = Mono::now() + self.settings.interval;
        self.tell();
        if self.state.get() == State::Failed {
            dedupe.change_all();
        }
        let (changes, mark) = (dedupe.changes(), Mark { seq: journal.durable_seq(), backfill: self.is_backfill });
        if changes.is_empty() && mark.seq == self.marked_seq {
            return;
        }
        self.marked_seq = mark.seq;
        self.state.set(State::Writing);
        let (dir, state) = (self.settings.dir.clone(), self.state.clone());
        self.writing = Some(spawn(async move {
            let written = blocking(move || store(&dir, &changes, mark)).await;
            state.set(if matches!(written, Some(Ok(()))) { State::Idle } else { State::Failed });
        }));
    }

    /// Writes what is left at the end of a run. From here on the journal's records are those of another run, whatever
    /// this one was.
    pub(super) async fn finish(mut self, dedupe: &mut Dedupe, journal: &Journal) {
        if let Some(writing) = self.writing.take() {
            writing.join().await;
        }
        if self.state.get() == State::Failed {
            dedupe.change_all();
        }
        let (changes, mark) = (dedupe.changes(), Mark { seq: journal.durable_seq(), backfill: false });
        let dir = self.settings.dir.clone();
        let written = blocking(move || store(&dir, &changes, mark)).await;
        if !matches!(written, Some(Ok(()))) {
            self.state.set(State::Failed);
        }
        self.tell();
    }

    /// Says once that cursors cannot be written, and once that they can.
    fn tell(&mut self) {
        let is_failing = self.state.get() == State::Failed;
        if is_failing && !self.is_failing {
            let dir = self.settings.dir.display();
            tracing::warn!(%dir, "cursors cannot be written; a restart reads more of the journal instead");
        } else if !is_failing && self.is_failing {
            tracing::info!("cursors are written again");
        }
        self.is_failing = is_failing;
    }
}

/// Reads the files; the mark, unless there is none, or one that the journal does not reach.
fn restore(dir: &Path, last_seq: u64, dedupe: &mut Dedupe) -> Option<Mark> {
    let mark: Mark = read(&dir.join(MARK))?;
    if mark.seq > last_seq {
        let (of, ends) = (mark.seq, last_seq);
        tracing::warn!(of, ends, "the journal ends before the cursors: they are void, and streams are followed anew");
        return None;
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_file_of_source = path.extension().is_some_and(|extension| extension == "json")
            && path.file_name().is_some_and(|name| name != MARK);
        if !is_file_of_source {
            continue;
        }
        let file: SourceFile = read(&path).unwrap_or_default();
        file.streams.into_iter().filter(|state| state.seen.is_sound()).for_each(|state| dedupe.restore(state));
    }
    Some(mark)
}

/// What a file says; `None` when there is none, or none that can be read, which is told.
fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        other => other,
    };
    let parsed = text.map_err(|error| error.to_string()).and_then(|text| {
        serde_json::from_slice(&text).map_err(|error| format!("expected cursors, found something else: {error}"))
    });
    parsed
        .inspect_err(|why| tracing::warn!(path = %path.display(), %why, "cursors cannot be read and are left out"))
        .ok()
}

/// Has `dedupe` see the records of a journal that `wanted` picks by their lines.
fn replay(mut reader: JournalReader, last_seq: u64, dedupe: &mut Dedupe, wanted: impl Fn(&[u8]) -> bool) {
    while reader.next_seq() <= last_seq {
        let batch = match reader.read() {
            Ok(Reading::Batch(batch)) => batch,
            Ok(Reading::Gap(..)) => continue,
            Ok(Reading::Waiting) => return,
            Err(error) => {
                tracing::warn!(%error, "the journal cannot be read for what was seen");
                return;
            }
        };
        for line in batch.lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && wanted(line)) {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            if let Ok(record) = Record::from_line(line, |id| crate::source::find(id).map(|source| source.spec().id)) {
                dedupe.is_duplicate(&record);
            }
        }
    }
}

/// Replaces the files of sources that have changed, and then the mark.
fn store(dir: &Path, changes: &BTreeMap<CompactString, Vec<StreamState>>, mark: Mark) -> io::Result<()> {
    for (source, streams) in changes {
        #[derive(Serialize)]
        struct File<'a> {
            streams: &'a [StreamState],
        }
        replace(&dir.join(format!("{source}.json")), &serde_json::to_vec(&File { streams })?)?;
    }
    replace(&dir.join(MARK), &serde_json::to_vec(&mark)?)
}

const MARK: &str = "mark.json";
/// Ten seconds of journal are read in well under one at a start, and a file of a thousand streams is rarely written.
const INTERVAL: Duration = Duration::from_secs(10);
/// How far back a start reads when files could not be written for long.
const REPLAY_RECORDS_MAX: u64 = 2_000_000;
/// How far back a start without cursors looks for what it has seen, in records and in segments.
const SEED_RECORDS: u64 = 20_000;
const SEED_SEGMENTS: usize = 8;
