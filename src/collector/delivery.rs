//! Delivery: each sink reads the journal on a thread of its own, from its own committed offset, up to what is durable.
//! A sink that is slow, blocked or down lags alone. Owns the offsets, the retries and what a sink refuses for good.
//! Invariant: an offset moves only behind what its sink says is safe; so every record reaches every sink at least once.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dedupe::Dedupe;
use super::journal::{Batch, Journal, JournalReader, Place, Reading};
use crate::config::{SinkSettings, SinkTarget};
use crate::error::{Error, Result};
use crate::metrics::SinkStatus;
use crate::model::Record;
use crate::runtime::sleep;
use crate::sink::{self, Refusal, Sink, SinkBatch};
use crate::time::{Deadline, Mono, UnixNanos};

/// How sinks are driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverySettings {
    /// The first pause after a batch that was not taken; it doubles from there.
    pub retry_base: Duration,
    /// The longest pause.
    pub retry_cap: Duration,
    /// Time between two commits of an offset.
    pub commit_interval: Duration,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        DeliverySettings {
            retry_base: Duration::from_millis(200),
            retry_cap: Duration::from_secs(30),
            commit_interval: Duration::from_secs(1),
        }
    }
}

/// A sink's committed offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offset {
    /// The last `seq` that is safe.
    pub seq: u64,
    /// Where the next frame begins, to be found without a search.
    #[serde(default)]
    pub place: Place,
}

/// The file of a sink's offset, replaced as a whole.
#[derive(Clone, Debug)]
pub struct OffsetFile {
    path: PathBuf,
}

impl OffsetFile {
    /// The offset of the sink `name` under `data_dir`.
    pub fn new(data_dir: &Path, name: &str) -> Self {
        OffsetFile { path: data_dir.join("state/offsets").join(format!("{name}.json")) }
    }

    /// Reads it; `None` when the sink has none yet.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn load(&self) -> Result<Option<Offset>> {
        let text = match fs::read(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| Error::io("read", &self.path, &error))?,
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            let path = self.path.display();
            Error::new(
                crate::error::ErrorKind::Corrupt,
                format!("{path} is no offset: {error}; delete it to have the sink start from the oldest record"),
            )
        })
    }

    /// Replaces it.
    ///
    /// # Errors
    /// The system's refusal; the old one stands.
    pub fn store(&self, offset: &Offset) -> std::io::Result<()> {
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent)?;
        }
        let aside = self.path.with_extension("tmp");
        let mut file = fs::File::create(&aside)?;
        file.write_all(&serde_json::to_vec(offset)?)?;
        file.sync_data()?;
        fs::rename(&aside, &self.path)
    }
}

/// The collector's side of all sinks.
pub(super) struct Delivery {
    sinks: Vec<Running>,
    /// Names of sinks that take everything without reading it.
    nulls: Vec<String>,
    durable_seq: u64,
}

struct Running {
    bell: Option<SyncSender<u64>>,
    is_unsent: bool,
    progress: Receiver<SinkStatus>,
    thread: Option<JoinHandle<()>>,
    status: SinkStatus,
}

impl Delivery {
    /// Starts the thread of each sink.
    pub(super) fn start(
        data_dir: &Path,
        sinks: &[SinkSettings],
        settings: DeliverySettings,
        mut journal: Option<&mut Journal>,
    ) -> Result<Delivery> {
        let mut delivery = Delivery { sinks: Vec::new(), nulls: Vec::new(), durable_seq: 0 };
        for (index, sink) in sinks.iter().enumerate() {
            let name = &sink.name;
            if name.is_empty() || name.starts_with('.') || name.contains('/') {
                return Err(Error::config(format!("sink {name:?}: expected a name that can be a file's")));
            }
            if sinks[..index].iter().any(|other| other.name == *name) {
                return Err(Error::config(format!("sink {name}: expected a name of its own, found it twice")));
            }
            let Some(journal) = journal.as_deref_mut() else {
                delivery.nulls.push(name.clone());
                continue;
            };
            if sink.target == SinkTarget::Null {
                delivery.nulls.push(name.clone());
                continue;
            }
            let file = OffsetFile::new(data_dir, name);
            let offset = file.load()?;
            if let Some(offset) = offset
                && offset.seq >= journal.next_seq()
            {
                let (ends, seq) = (journal.next_seq() - 1, offset.seq);
                tracing::error!(sink = %name, seq, ends, "the journal ends before what the sink has: it goes on behind that");
                journal.skip_to(seq);
            }
            delivery.sinks.push(spawn(data_dir, sink, settings, file, offset, journal.dir())?);
        }
        delivery.announce(journal.map_or(0, |journal| journal.durable_seq()));
        Ok(delivery)
    }

    /// Tells all sinks that the journal is durable up to `seq`.
    pub(super) fn announce(&mut self, seq: u64) {
        self.durable_seq = seq;
        self.sinks.iter_mut().for_each(|sink| sink.ring(seq));
    }

    /// Tells again those that had not heard the last time.
    pub(super) fn resend(&mut self) {
        let seq = self.durable_seq;
        self.sinks.iter_mut().filter(|sink| sink.is_unsent).for_each(|sink| sink.ring(seq));
    }

    /// Whether a sink has not heard of everything yet.
    pub(super) fn has_unsent(&self) -> bool {
        self.sinks.iter().any(|sink| sink.is_unsent)
    }

    /// The last `seq` that is safe at every sink.
    pub(super) fn read_seq(&mut self) -> u64 {
        self.collect();
        self.sinks.iter().map(|sink| sink.status.committed_seq).min().unwrap_or(u64::MAX)
    }

    /// Takes in what the sinks have reported.
    pub(super) fn collect(&mut self) {
        for sink in &mut self.sinks {
            while let Ok(status) = sink.progress.try_recv() {
                sink.status = status;
            }
            if sink.bell.is_some() && sink.thread.as_ref().is_some_and(JoinHandle::is_finished) {
                sink.status.failing = Some("its thread ended by a panic; restart to have it go on".to_owned());
            }
        }
    }

    /// How each sink does, the journal being written up to `written_seq`.
    pub(super) fn statuses(&self, written_seq: u64) -> Vec<SinkStatus> {
        let mut statuses: Vec<SinkStatus> = Vec::with_capacity(self.sinks.len() + self.nulls.len());
        for sink in &self.sinks {
            let mut status = sink.status.clone();
            status.lag_records = written_seq.saturating_sub(status.committed_seq);
            if status.lag_records > 0 && status.last_publish != UnixNanos::EPOCH {
                status.lag_ms = UnixNanos::now().since(status.last_publish).as_millis() as u64;
            }
            statuses.push(status);
        }
        for name in &self.nulls {
            statuses.push(SinkStatus { name: name.clone(), committed_seq: written_seq, ..SinkStatus::default() });
        }
        statuses
    }

    /// Lets the sinks catch up and ends them; one that has not by `deadline` is left to go on from its offset next time.
    pub(super) async fn finish(&mut self, deadline: Deadline) {
        while self.has_unsent() && !deadline.passed(Mono::now()) {
            sleep(FINISH_PAUSE).await;
            self.resend();
        }
        self.sinks.iter_mut().for_each(|sink| sink.bell = None);
        loop {
            self.collect();
            let is_done = self.sinks.iter().all(|sink| sink.thread.as_ref().is_none_or(JoinHandle::is_finished));
            if is_done || deadline.passed(Mono::now()) {
                break;
            }
            sleep(FINISH_PAUSE).await;
        }
        self.collect();
        for sink in &mut self.sinks {
            let Some(thread) = sink.thread.take() else { continue };
            let name = &sink.status.name;
            if !thread.is_finished() {
                tracing::warn!(sink = %name, "a sink has not caught up; the next start goes on");
            } else if thread.join().is_err() {
                tracing::error!(sink = %name, "the thread of a sink ended by a panic");
            }
        }
        self.collect();
    }
}

impl Running {
    fn ring(&mut self, seq: u64) {
        if let Some(bell) = &self.bell {
            self.is_unsent = matches!(bell.try_send(seq), Err(TrySendError::Full(_)));
        }
    }
}

fn spawn(
    data_dir: &Path,
    settings: &SinkSettings,
    delivery: DeliverySettings,
    file: OffsetFile,
    offset: Option<Offset>,
    journal_dir: &Path,
) -> Result<Running> {
    let (bell, bells) = sync_channel(1);
    let (tell, progress) = sync_channel(PROGRESS_KEPT);
    let committed_seq = offset.map_or(0, |offset| offset.seq);
    let status = SinkStatus { name: settings.name.clone(), committed_seq, ..SinkStatus::default() };
    let link = Link {
        sink: sink::build(settings)?,
        settings: delivery,
        bells,
        durable_seq: 0,
        is_ending: false,
        tell,
        told_at: Mono::default(),
        status: status.clone(),
        dead_dir: data_dir.join("dead"),
    };
    let reader = match offset {
        Some(offset) => JournalReader::open_at(journal_dir, offset.seq + 1, offset.place),
        None => JournalReader::open(journal_dir, 0),
    };
    let driver = Driver { link, reader, file, is_dirty: false, committed_at: Mono::default() };
    let thread = std::thread::Builder::new().name(format!("sink-{}", settings.name)).spawn(move || driver.run());
    let thread = thread.map_err(|error| {
        Error::new(crate::error::ErrorKind::Host, format!("cannot start the thread of sink {}: {error}", settings.name))
    })?;
    Ok(Running { bell: Some(bell), is_unsent: false, progress, thread: Some(thread), status })
}

/// One sink's thread.
struct Driver {
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
    dead_dir: PathBuf,
}

impl Driver {
    fn run(mut self) {
        loop {
            if !self.catch_up() {
                break;
            }
            let is_end = self.link.is_ending && self.reader.next_seq() > self.link.durable_seq;
            self.settle(is_end);
            self.report(is_end);
            if self.link.is_ending {
                return;
            }
            self.link.listen(IDLE_PAUSE);
        }
        // Stopped while the sink took nothing: what is safe is still committed.
        self.settle(true);
        self.report(true);
    }

    /// Delivers everything durable; `false` when the end came while the sink took nothing.
    fn catch_up(&mut self) -> bool {
        self.link.hear();
        while self.reader.next_seq() <= self.link.durable_seq {
            match self.reader.read() {
                Ok(Reading::Batch(batch)) => {
                    if !self.link.deliver(&batch) {
                        return false;
                    }
                    self.is_dirty = true;
                }
                Ok(Reading::Gap(seqs, why)) => {
                    let (from, to) = (*seqs.start(), *seqs.end());
                    self.link.status.missing += to - from + 1;
                    tracing::error!(sink = %self.link.status.name, from, to, %why, "records are missing in the journal");
                }
                Ok(Reading::Waiting) => return true,
                Err(error) => {
                    self.link.refused(format!("cannot read the journal: {error}"));
                    return true;
                }
            }
            self.settle(false);
            self.report(false);
            self.link.hear();
        }
        true
    }

    /// Commits the offset when the sink says that everything is safe, but not too often.
    fn settle(&mut self, force: bool) {
        let now = Mono::now();
        if !self.is_dirty || (!force && now.since(self.committed_at) < self.link.settings.commit_interval) {
            return;
        }
        match self.link.sink.settle(force) {
            Ok(false) => return,
            Ok(true) => {}
            Err(Refusal::Dead(why) | Refusal::Retry(why, _)) => {
                self.link.refused(why);
                // What was delivered may be lost: it is delivered again.
                let from = self.link.status.committed_seq;
                let dir = self.reader.dir().to_owned();
                self.reader = JournalReader::open(&dir, if from == 0 { 0 } else { from + 1 });
                return;
            }
        }
        let Some(place) = self.reader.place() else { return };
        let offset = Offset { seq: self.reader.next_seq().saturating_sub(1), place };
        match self.file.store(&offset) {
            Ok(()) => {
                self.link.status.committed_seq = offset.seq;
                self.is_dirty = false;
                self.committed_at = now;
            }
            Err(error) => self.link.refused(format!("cannot write the offset: {error}")),
        }
    }

    fn report(&mut self, force: bool) {
        let now = Mono::now();
        if !force && now.since(self.link.told_at) < REPORT_INTERVAL {
            return;
        }
        self.link.told_at = now;
        self.link.status.lag_bytes = self.reader.bytes_behind().unwrap_or(0);
        self.link.tell();
    }
}

impl Link {
    /// Delivers one batch, trying until it is taken or put aside; `false` when the end came before.
    fn deliver(&mut self, batch: &Batch<'_>) -> bool {
        let sent = SinkBatch { first_seq: batch.first_seq, count: batch.count, lines: batch.lines };
        let mut pause = self.settings.retry_base;
        loop {
            let refusal = match self.sink.deliver(&sent) {
                Ok(()) => {
                    self.taken(batch);
                    return true;
                }
                Err(refusal) => refusal,
            };
            let after = match refusal {
                Refusal::Retry(why, after) => {
                    self.refused(why);
                    after
                }
                Refusal::Dead(why) => match self.bury(&sent, &why) {
                    Ok(()) => {
                        tracing::error!(sink = %self.status.name, from = sent.first_seq, count = sent.count, %why, "a batch was refused for good and put aside");
                        self.status.dead += batch.count;
                        return true;
                    }
                    Err(error) => {
                        self.refused(format!("{why}; and it cannot be put aside: {error}"));
                        None
                    }
                },
            };
            if self.is_ending {
                return false;
            }
            let jittered = pause.mul_f64(0.5 + 0.5 * fastrand::f64());
            self.pause(after.unwrap_or(jittered).min(self.settings.retry_cap));
            pause = (pause * 2).min(self.settings.retry_cap);
        }
    }

    fn taken(&mut self, batch: &Batch<'_>) {
        self.status.delivered += batch.count;
        if let Some(at) = last_publish(batch.lines) {
            self.status.last_publish = at;
        }
        if self.status.failing.take().is_some() {
            tracing::info!(sink = %self.status.name, "the sink takes records again");
            self.tell();
        }
    }

    fn refused(&mut self, why: String) {
        if self.status.failing.is_none() {
            tracing::warn!(sink = %self.status.name, %why, "the sink takes nothing; it is tried again and lags alone");
            self.status.failing = Some(why);
            self.tell();
        }
    }

    /// Puts a batch aside: one line that says why, then the records.
    fn bury(&self, batch: &SinkBatch<'_>, why: &str) -> std::io::Result<()> {
        fs::create_dir_all(&self.dead_dir)?;
        let name = format!("{}-{:020}.ndjson", self.status.name, batch.first_seq);
        let (path, aside) = (self.dead_dir.join(&name), self.dead_dir.join(format!(".{name}.tmp")));
        let head = serde_json::json!({
            "sink": self.status.name, "first_seq": batch.first_seq, "count": batch.count, "reason": why,
            "at": UnixNanos::now(),
        });
        let mut file = fs::File::create(&aside)?;
        writeln!(file, "{head}")?;
        file.write_all(batch.lines)?;
        file.sync_data()?;
        fs::rename(aside, path)
    }

    /// Waits until `pause` is over or the end comes.
    fn pause(&mut self, pause: Duration) {
        let until = Mono::now() + pause;
        while !self.is_ending {
            let left = until.since(Mono::now());
            if left.is_zero() {
                return;
            }
            self.listen(left);
        }
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

/// `ts_publish` of the last line.
fn last_publish(lines: &[u8]) -> Option<UnixNanos> {
    let body = lines.strip_suffix(b"\n")?;
    let start = memchr::memrchr(b'\n', body).map_or(0, |at| at + 1);
    let line = &body[start..];
    let at = memchr::memmem::find(line, b"\"ts_publish\":")? + b"\"ts_publish\":".len();
    let digits = line[at..].iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&line[at..at + digits]).ok()?.parse().ok().map(UnixNanos::from_nanos)
}

/// Fills the windows of `dedupe` with the newest records of the journal, so that a restart repeats nothing that was
/// polled again.
pub(super) fn seed(journal: &Journal, dedupe: &mut Dedupe) {
    let last_seq = journal.next_seq() - 1;
    let mut reader = JournalReader::open_newest(journal.dir(), last_seq.saturating_sub(SEED_RECORDS), SEED_SEGMENTS);
    while let Ok(reading) = reader.read() {
        let batch = match reading {
            Reading::Batch(batch) => batch,
            Reading::Gap(..) => continue,
            Reading::Waiting => return,
        };
        for line in batch.lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            if let Ok(record) = Record::from_line(line, |id| crate::source::find(id).map(|source| source.spec().id)) {
                dedupe.is_duplicate(&record);
            }
        }
    }
}

/// Statuses that may wait for the collector.
const PROGRESS_KEPT: usize = 16;
const REPORT_INTERVAL: Duration = Duration::from_millis(500);
/// How long a sink's thread sleeps when nothing is said.
const IDLE_PAUSE: Duration = Duration::from_secs(1);
const FINISH_PAUSE: Duration = Duration::from_millis(2);
/// How far back a start looks for what it has seen, in records and in segments.
const SEED_RECORDS: u64 = 20_000;
const SEED_SEGMENTS: usize = 8;
