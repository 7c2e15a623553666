//! The thread of one sink: reads the journal from the sink's own committed offset, up to what is durable, and delivers.
//! Owns the offset, the pauses between tries, and what the sink refused for good.
//! Invariants: an offset moves only behind what the sink says is safe or what stands in `dead/`; so every record reaches
//! the sink at least once, or its dead letters. A sink that takes nothing holds up itself alone.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::time::Duration;

use super::dead;
use super::delivery::DeliverySettings;
use super::journal::{Batch, JournalReader, Place, Reading};
use super::offset::{Offset, OffsetFile};
use crate::metrics::SinkStatus;
use crate::sink::{Dead, Refusal, Sink, SinkBatch};
use crate::time::{Mono, UnixNanos};

/// One sink's thread.
pub(super) struct Driver {
    link: Link,
    reader: JournalReader,
    file: OffsetFile,
    /// Whether something was delivered since the last commit.
    is_dirty: bool,
    committed_at: Mono,
}

/// What a batch needs on its way, apart from the reader that holds it.
struct Link {
    sink: Box<dyn Sink>,
    settings: DeliverySettings,
    bells: Receiver<u64>,
    durable_seq: u64,
    is_ending: bool,
    tell: SyncSender<SinkStatus>,
    told_at: Mono,
    status: SinkStatus,
    /// The pause after the next refusal.
    pause: Duration,
    /// Why the offset could not be written the last time.
    offset_why: Option<String>,
    /// Tries left once the end has come.
    end_tries: u32,
    /// Where what is not safe begins in the journal; `None` = at its beginning.
    committed: Option<Place>,
    journal_dir: PathBuf,
    dead_dir: PathBuf,
    /// Refused for good and not in `dead/` yet.
    dead: Vec<Dead>,
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The end came while the sink took nothing, however often it was tried.
    End,
    GoOn,
}

impl Driver {
    /// A driver from where the offset says; `dirs` are the data directory and the journal's.
    pub(super) fn new(
        sink: Box<dyn Sink>,
        settings: DeliverySettings,
        (data_dir, journal_dir): (&Path, &Path),
        (file, offset): (OffsetFile, Option<Offset>),
        bells: Receiver<u64>,
        tell: SyncSender<SinkStatus>,
        status: SinkStatus,
    ) -> Self {
        let reader = match offset {
            Some(offset) => JournalReader::open_at(journal_dir, offset.seq + 1, offset.place),
            None => JournalReader::open(journal_dir, 0),
        };
        let link = Link {
            sink,
            settings,
            bells,
            durable_seq: 0,
            is_ending: false,
            tell,
            told_at: Mono::default(),
            status,
            pause: settings.retry_base,
            offset_why: None,
            end_tries: END_TRIES,
            committed: offset.map(|offset| offset.place),
            journal_dir: journal_dir.to_owned(),
            dead_dir: data_dir.join("dead"),
            dead: Vec::new(),
        };
        Driver { link, reader, file, is_dirty: false, committed_at: Mono::default() }
    }

    /// Delivers until the collector has ended and there is nothing left, or the sink takes nothing at that time.
    pub(super) fn run(mut self) {
        loop {
            if self.catch_up() == Next::End {
                break;
            }
            // Asked before settling, which may take long enough for the end to come: then there is more to read.
            let is_end = self.link.is_ending;
            if self.settle(is_end) == Next::End {
                break;
            }
            self.link.report(is_end);
            if is_end {
                // Whatever is behind now cannot be read.
                return;
            }
            let wait = self.link.sink.due_in().map_or(IDLE_PAUSE, |due| due.min(IDLE_PAUSE));
            self.link.listen(wait);
        }
        self.link.report(true);
    }

    /// Delivers everything durable.
    fn catch_up(&mut self) -> Next {
        self.link.hear();
        while self.reader.next_seq() <= self.link.durable_seq {
            match self.reader.read() {
                Ok(Reading::Batch(batch)) => {
                    self.is_dirty = true;
                    if self.link.deliver(&batch) == Next::End {
                        return Next::End;
                    }
                }
                Ok(Reading::Gap(seqs, why)) => {
                    let (from, to) = (*seqs.start(), *seqs.end());
                    self.link.status.missing += to - from + 1;
                    tracing::error!(sink = %self.link.status.name, from, to, %why, "records are missing in the journal");
                }
                Ok(Reading::Waiting) => return Next::GoOn,
                Err(error) => {
                    self.link.refused(format!("cannot read the journal: {error}"));
                    return Next::GoOn;
                }
            }
            if self.settle(false) == Next::End {
                return Next::End;
            }
            self.link.report(false);
            self.link.hear();
        }
        Next::GoOn
    }

    /// Commits the offset when the sink says that everything is safe, but not too often.
    fn settle(&mut self, force: bool) -> Next {
        let now = Mono::now();
        let is_due = now.since(self.committed_at) >= self.link.settings.commit_interval
            || self.link.sink.due_in().is_some_and(|due| due.is_zero());
        if !self.is_dirty || !(force || is_due) {
            return Next::GoOn;
        }
        loop {
            let settled = self.link.sink.settle(force);
            self.link.dead.extend(self.link.sink.take_dead());
            match settled {
                Ok(false) => return Next::GoOn,
                Ok(true) => break,
                Err(Refusal::Retry(why, after)) => {
                    self.link.refused(why);
                    if self.link.back_off(after) == Next::End {
                        return Next::End;
                    }
                }
                Err(Refusal::Dead(why) | Refusal::Lost(why)) => {
                    self.link.refused(why);
                    self.rewind();
                    return self.link.back_off(None);
                }
            }
        }
        self.link.recovered();
        if self.link.bury_all() == Next::End {
            return Next::End;
        }
        self.commit(now);
        Next::GoOn
    }

    /// Goes back to what is safe: all behind it is delivered again.
    fn rewind(&mut self) {
        let committed = self.link.status.committed_seq;
        let from = if committed == 0 { 0 } else { committed + 1 };
        self.reader = JournalReader::open(&self.link.journal_dir, from);
    }

    fn commit(&mut self, now: Mono) {
        let Some(place) = self.reader.place() else { return };
        let offset = Offset { seq: self.reader.next_seq().saturating_sub(1), place };
        match self.file.store(&offset) {
            Ok(()) => {
                self.link.status.committed_seq = offset.seq;
                self.link.status.pending_since = UnixNanos::EPOCH;
                self.link.committed = Some(place);
                self.is_dirty = false;
                self.committed_at = now;
                self.link.offset_stored();
            }
            Err(error) => self.link.offset_refused(format!("cannot write the offset: {error}")),
        }
    }
}

impl Link {
    /// Delivers one batch, trying until it is taken or put aside.
    fn deliver(&mut self, batch: &Batch<'_>) -> Next {
        let sent = SinkBatch { first_seq: batch.first_seq, count: batch.count, lines: batch.lines };
        if self.status.pending_since == UnixNanos::EPOCH {
            self.status.pending_since = first_publish(batch.lines).unwrap_or_default();
        }
        loop {
            let delivered = self.sink.deliver(&sent);
            self.dead.extend(self.sink.take_dead());
            let after = match delivered {
                Ok(()) => {
                    self.status.delivered += batch.count;
                    // One that only collects says when it settles whether it takes anything.
                    if self.sink.due_in().is_none() {
                        self.recovered();
                    }
                    return self.bury_all();
                }
                Err(Refusal::Retry(why, after)) => {
                    self.refused(why);
                    after
                }
                Err(Refusal::Dead(why) | Refusal::Lost(why)) => {
                    let (first_seq, count, lines) = (batch.first_seq, batch.count, batch.lines.to_vec());
                    self.dead.push(Dead { first_seq, count, lines, why });
                    self.status.delivered += batch.count;
                    return self.bury_all();
                }
            };
            if self.back_off(after) == Next::End {
                return Next::End;
            }
        }
    }

    /// Puts what was refused for good into `dead/`, trying until the disk takes it.
    fn bury_all(&mut self) -> Next {
        while !self.dead.is_empty() {
            match dead::bury(&self.dead_dir, &self.status.name, &self.dead) {
                Ok(()) => {
                    let count: u64 = self.dead.iter().map(|part| part.count).sum();
                    self.status.dead += count;
                    self.status.delivered = self.status.delivered.saturating_sub(count);
                    let (from, why) = self.dead.first().map_or((0, ""), |part| (part.first_seq, part.why.as_str()));
                    tracing::error!(sink = %self.status.name, from, count, why, "records were refused for good and put into dead/");
                    self.dead.clear();
                }
                Err(error) => {
                    self.refused(format!("cannot write to {}: {error}", self.dead_dir.display()));
                    if self.back_off(None) == Next::End {
                        return Next::End;
                    }
                }
            }
        }
        Next::GoOn
    }

    fn recovered(&mut self) {
        self.pause = self.settings.retry_base;
        self.end_tries = END_TRIES;
        if self.status.failing != self.offset_why {
            self.status.failing.clone_from(&self.offset_why);
            tracing::info!(sink = %self.status.name, "the sink takes records again");
            self.tell();
        }
    }

    fn refused(&mut self, why: String) {
        if self.status.failing == self.offset_why {
            tracing::warn!(sink = %self.status.name, %why, "the sink takes nothing; it is tried again and lags alone");
        }
        if self.status.failing.as_ref() != Some(&why) {
            self.status.failing = Some(why);
            self.tell();
        }
    }

    fn offset_stored(&mut self) {
        if let Some(why) = self.offset_why.take() {
            tracing::info!(sink = %self.status.name, "the sink's offset is written again");
            if self.status.failing == Some(why) {
                self.status.failing = None;
            }
            self.tell();
        }
    }

    /// The sink goes on; its lag is what it would be given again after a kill.
    fn offset_refused(&mut self, why: String) {
        if self.offset_why.is_none() {
            tracing::warn!(sink = %self.status.name, %why, "the sink's offset stays behind until it can be written");
        }
        if self.status.failing == self.offset_why {
            self.status.failing = Some(why.clone());
        }
        self.offset_why = Some(why);
        self.tell();
    }

    /// Waits before the next try: as long as the target asked for, or twice as long as the last time; at the end a little,
    /// and not for ever.
    fn back_off(&mut self, after: Option<Duration>) -> Next {
        let jittered = self.pause.mul_f64(0.5 + 0.5 * fastrand::f64());
        self.pause = (self.pause * 2).min(self.settings.retry_cap);
        let until = Mono::now() + after.map_or(jittered, |after| after.min(RETRY_AFTER_MAX));
        while !self.is_ending {
            let left = until.since(Mono::now());
            if left.is_zero() {
                return Next::GoOn;
            }
            self.listen(left.min(REPORT_INTERVAL));
            self.report(false);
        }
        // One request that failed in passing shall not leave the rest to the next run.
        if self.end_tries == 0 {
            return Next::End;
        }
        self.end_tries -= 1;
        std::thread::sleep(END_PAUSE);
        Next::GoOn
    }

    fn report(&mut self, force: bool) {
        let now = Mono::now();
        if !force && now.since(self.told_at) < REPORT_INTERVAL {
            return;
        }
        self.told_at = now;
        self.status.lag_bytes = JournalReader::bytes_behind(&self.journal_dir, self.committed).unwrap_or(0);
        self.tell();
    }

    /// Takes what the collector has said.
    fn hear(&mut self) {
        loop {
            match self.bells.try_recv() {
                Ok(seq) => self.durable_seq = self.durable_seq.max(seq),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.is_ending = true;
                    return;
                }
            }
        }
    }

    /// Waits for the collector to say something.
    fn listen(&mut self, pause: Duration) {
        match self.bells.recv_timeout(pause) {
            Ok(seq) => self.durable_seq = self.durable_seq.max(seq),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.is_ending = true,
        }
    }

    /// Nobody waits for a report: when there is no room, a later one says more.
    fn tell(&self) {
        let _ = self.tell.try_send(self.status.clone());
    }
}

/// `ts_publish` of the first line.
fn first_publish(lines: &[u8]) -> Option<UnixNanos> {
    let line = &lines[..memchr::memchr(b'\n', lines)?];
    let at = memchr::memmem::find(line, b"\"ts_publish\":")? + b"\"ts_publish\":".len();
    let digits = line[at..].iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&line[at..at + digits]).ok()?.parse().ok().map(UnixNanos::from_nanos)
}

const REPORT_INTERVAL: Duration = Duration::from_millis(500);
const END_TRIES: u32 = 3;
const END_PAUSE: Duration = Duration::from_millis(50);
/// How long a sink's thread sleeps when nothing is said.
const IDLE_PAUSE: Duration = Duration::from_secs(1);
/// A target that asks for a longer pause is asked all the same.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
