//! The way of the audit log's entries to the sink core: one bounded queue of batches per shard, which come back empty to
//! be filled again, and a short list of actions from any thread. Owns neither what an entry says nor the file.
//! Invariants: an entry is taken by the sink core or counted as dropped; entries of one shard keep their order; what a
//! shard holds beyond the queue is bounded by the attempts it had under way when the queue was found full.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::doorbell::Doorbell;
use super::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering, Queue, lock};
use crate::metrics::AuditCounts;
use crate::model::{AuditAction, AuditBatch, AuditEntry, AuditSource};
use crate::policy::WhenFull;

/// What the way is made from.
#[derive(Clone, Debug)]
pub struct AuditSpec {
    /// Shards that will send.
    pub shards: usize,
    /// Entries that wait per shard at most.
    pub queue_len: usize,
    /// Whether a full queue holds the shard's attempts up (`Pause`) or drops entries.
    pub when_full: WhenFull,
    /// The sources, by whose places entries name them.
    pub sources: Vec<AuditSource>,
}

/// Makes the way: one seed for each shard, the handle for actions, and the side of the sink core.
pub fn audit(spec: AuditSpec) -> (Vec<AuditSeed>, AuditHandle, AuditDrain) {
    let batches = (spec.queue_len / BATCH_LEN).max(1);
    let shared = Arc::new(Shared {
        lines: (0..spec.shards)
            .map(|_| Line { queue: Queue::new(batches), spare: Queue::new(batches), room: Doorbell::new() })
            .collect(),
        waits: spec.when_full == WhenFull::Pause,
        sources: spec.sources,
        actions: Mutex::new(VecDeque::new()),
        filled: Doorbell::new(),
        senders: AtomicUsize::new(spec.shards),
        closed: AtomicBool::new(false),
        sent: AtomicU64::new(0),
        dropped: AtomicU64::new(0),
        written: AtomicU64::new(0),
        actions_dropped: AtomicU64::new(0),
    });
    let seeds = (0..spec.shards)
        .map(|shard| AuditSeed { shared: shared.clone(), shard, has_ended: Cell::new(false) })
        .collect();
    (seeds, AuditHandle { shared: shared.clone() }, AuditDrain { shared, next: 0 })
}

/// A shard's right to send, before it is tied to a core.
pub struct AuditSeed {
    shared: Arc<Shared>,
    shard: usize,
    has_ended: Cell<bool>,
}

impl AuditSeed {
    /// Ties it to the calling thread.
    pub fn connect(self) -> AuditSeat {
        let batch = AuditBatch::new(self.shard as u16, BATCH_LEN);
        AuditSeat {
            seed: self,
            batch: RefCell::new(batch),
            beginning: Cell::new(None),
            waited: Cell::new(0),
            _local: PhantomData,
        }
    }

    fn end(&self) {
        if !self.has_ended.replace(true) && self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.filled.ring();
        }
    }
}

impl Drop for AuditSeed {
    fn drop(&mut self) {
        self.end();
    }
}

/// A shard's side.
pub struct AuditSeat {
    seed: AuditSeed,
    batch: RefCell<AuditBatch>,
    /// Who waits for the first entry of a batch.
    beginning: Cell<Option<Waker>>,
    waited: Cell<u64>,
    /// Not `Send`: it belongs to the core it was connected on.
    _local: PhantomData<Rc<()>>,
}

impl AuditSeat {
    /// The place of a source in the log's table.
    pub fn place_of(&self, source: crate::model::SourceId) -> Option<u16> {
        self.shared().sources.iter().position(|known| known.id == source).and_then(|at| u16::try_from(at).ok())
    }

    /// Adds an action of this shard itself, as [`AuditHandle::act`].
    pub fn act(&self, action: AuditAction) {
        self.shared().act(action);
    }

    /// Adds the entry that `write` makes; its texts go into the batch it is given.
    pub fn push(&self, write: impl FnOnce(&mut AuditBatch) -> AuditEntry) {
        let (is_first, is_whole) = {
            let mut batch = self.batch.borrow_mut();
            let entry = write(&mut batch);
            batch.entries.push(entry);
            let len = batch.entries.len();
            (len == 1, len >= BATCH_LEN || batch.text_bytes() >= BATCH_TEXT_BYTES)
        };
        if is_first && let Some(waker) = self.beginning.take() {
            waker.wake();
        }
        if is_whole {
            self.flush();
        }
    }

    /// Sends what there is; keeps it, or drops it with a count, when the queue is full.
    pub fn flush(&self) {
        let shared = self.shared();
        let line = &shared.lines[self.seed.shard];
        let mut batch = self.batch.borrow_mut();
        let count = batch.entries.len() as u64;
        let is_closed = shared.closed.load(Ordering::Acquire) || self.seed.has_ended.get();
        if count == 0 {
            return;
        }
        // Nobody else puts anything in: what is not full stays so.
        if is_closed || line.queue.is_full() {
            if is_closed || !shared.waits {
                shared.dropped.fetch_add(count, Ordering::Relaxed);
                batch.clear();
            }
            return;
        }
        let spare = line.spare.pop();
        let empty = spare.unwrap_or_else(|| AuditBatch::new(self.seed.shard as u16, BATCH_LEN));
        let whole = std::mem::replace(&mut *batch, empty);
        drop(batch);
        shared.sent.fetch_add(count, Ordering::Relaxed);
        if line.queue.push(whole).is_err() {
            debug_assert!(false, "a queue with one sender filled up by itself");
            shared.dropped.fetch_add(count, Ordering::Relaxed);
        }
        shared.filled.ring();
    }

    /// Waits until there is an entry to send; one task at a time.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn begun(&self) {
        poll_fn(|cx| {
            if !self.batch.borrow().entries.is_empty() {
                return Poll::Ready(());
            }
            self.beginning.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Whether an attempt may be made now: its entry will find room, or be dropped by rule.
    pub fn has_room(&self) -> bool {
        if self.batch.borrow().entries.len() < BATCH_LEN {
            return true;
        }
        self.flush();
        self.batch.borrow().entries.len() < BATCH_LEN
    }

    /// Waits until an attempt may be made.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn room(&self) {
        if self.has_room() {
            return;
        }
        self.waited.set(self.waited.get() + 1);
        let line = &self.shared().lines[self.seed.shard];
        line.room.wait(|| self.has_room().then_some(())).await;
    }

    /// Sends everything, waiting for room where it has to, and says that no more will come; what comes all the same is
    /// dropped with a count. A task that never ends may hold the seat: dropping it is not enough.
    ///
    /// # Cancel safety
    /// Dropping the future leaves what has not been sent with the seat, which stays open.
    pub async fn finish(&self) {
        let line = &self.shared().lines[self.seed.shard];
        line.room
            .wait(|| {
                self.flush();
                self.batch.borrow().entries.is_empty().then_some(())
            })
            .await;
        self.seed.end();
    }

    /// How often attempts have had to wait.
    pub fn waited(&self) -> u64 {
        self.waited.get()
    }

    fn shared(&self) -> &Shared {
        &self.seed.shared
    }
}

impl Drop for AuditSeat {
    fn drop(&mut self) {
        self.flush();
        let left = self.batch.borrow().entries.len() as u64;
        self.shared().dropped.fetch_add(left, Ordering::Relaxed);
    }
}

/// Tells the log of actions, and reads its counters; from any thread. Holds nothing open.
#[derive(Clone)]
pub struct AuditHandle {
    shared: Arc<Shared>,
}

impl AuditHandle {
    /// Adds an action; drops it with a count when very many wait.
    pub fn act(&self, action: AuditAction) {
        self.shared.act(action);
    }

    /// The counters now.
    pub fn counts(&self) -> AuditCounts {
        self.shared.counts()
    }
}

/// The sink core's side. There is only one.
pub struct AuditDrain {
    shared: Arc<Shared>,
    next: usize,
}

impl AuditDrain {
    /// The table that entries name their sources by.
    pub fn sources(&self) -> &[AuditSource] {
        &self.shared.sources
    }

    /// Takes a batch, of each shard in turn; it is to be given back by [`AuditDrain::give_back`].
    pub fn pop(&mut self) -> Option<AuditBatch> {
        let count = self.shared.lines.len();
        for step in 0..count {
            let at = (self.next + step) % count;
            if let Some(batch) = self.shared.lines[at].queue.pop() {
                self.next = at + 1;
                self.shared.lines[at].room.ring();
                return Some(batch);
            }
        }
        None
    }

    /// Gives a batch back, empty, to be filled again.
    pub fn give_back(&self, mut batch: AuditBatch) {
        batch.clear();
        if let Some(line) = self.shared.lines.get(usize::from(batch.shard)) {
            // As many wait as can be used: this one is let go.
            let _ = line.spare.push(batch);
        }
    }

    /// Takes the next action.
    pub fn pop_action(&mut self) -> Option<AuditAction> {
        lock(&self.shared.actions).pop_front()
    }

    /// Counts entries as written.
    pub fn written(&self, count: u64) {
        self.shared.written.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts entries as dropped, that were taken and could not be written.
    pub fn dropped(&self, count: u64) {
        self.shared.dropped.fetch_add(count, Ordering::Relaxed);
        self.shared.sent.fetch_sub(count, Ordering::Relaxed);
    }

    /// The counters now.
    pub fn counts(&self) -> AuditCounts {
        self.shared.counts()
    }

    /// Waits until there is something to take (`true`) or no shard is left (`false`).
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn wait(&self) -> bool {
        let shared = &*self.shared;
        shared
            .filled
            .wait(|| {
                // Read before the queues: the last shard's batches are in them by then.
                let alone = shared.senders.load(Ordering::Acquire) == 0;
                let some = shared.lines.iter().any(|line| !line.queue.is_empty()) || !lock(&shared.actions).is_empty();
                if some { Some(true) } else { alone.then_some(false) }
            })
            .await
    }
}

impl Drop for AuditDrain {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        // What is left has no reader any more.
        for line in &self.shared.lines {
            while let Some(batch) = line.queue.pop() {
                self.dropped(batch.entries.len() as u64);
            }
            line.room.ring();
        }
    }
}

impl fmt::Debug for AuditHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditHandle").field("counts", &self.counts()).finish()
    }
}

struct Shared {
    lines: Vec<Line>,
    waits: bool,
    sources: Vec<AuditSource>,
    actions: Mutex<VecDeque<AuditAction>>,
    /// Rung when a batch or an action has been put in.
    filled: Doorbell,
    senders: AtomicUsize,
    /// Whether the sink core's side is gone.
    closed: AtomicBool,
    /// Entries put into a queue, less those dropped after that.
    sent: AtomicU64,
    dropped: AtomicU64,
    written: AtomicU64,
    actions_dropped: AtomicU64,
}

/// One shard's queue.
struct Line {
    queue: Queue<AuditBatch>,
    /// Empty batches on their way back.
    spare: Queue<AuditBatch>,
    /// Rung when a batch has been taken.
    room: Doorbell,
}

impl Shared {
    fn act(&self, action: AuditAction) {
        {
            let mut actions = lock(&self.actions);
            if actions.len() >= ACTIONS_MAX || self.closed.load(Ordering::Acquire) {
                self.actions_dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            actions.push_back(action);
        }
        self.filled.ring();
    }

    fn counts(&self) -> AuditCounts {
        let written = self.written.load(Ordering::Relaxed);
        let dropped = self.dropped.load(Ordering::Relaxed);
        AuditCounts {
            written,
            dropped,
            queued: self.sent.load(Ordering::Relaxed).saturating_sub(written),
            actions_dropped: self.actions_dropped.load(Ordering::Relaxed),
        }
    }
}

/// Entries that cross together: enough that ringing and the queue cost nothing against writing them.
pub const BATCH_LEN: usize = 256;
/// A batch with this much text crosses at once: at level `bodies` a few attempts fill one.
const BATCH_TEXT_BYTES: usize = 256 << 10;
/// An operator acts by hand or by script; more than this at once is a mistake.
const ACTIONS_MAX: usize = 1_024;

#[cfg(all(test, not(tidegate_loom)))]
mod tests {
    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::model::{Connection, SourceId, Span, Stages};
    use crate::time::UnixNanos;

    fn spec(queue_len: usize, when_full: WhenFull) -> AuditSpec {
        let sources = vec![AuditSource { id: SourceId("binance"), bases: Vec::new() }];
        AuditSpec { shards: 2, queue_len, when_full, sources }
    }

    fn entry(attempt: u64, batch: &mut AuditBatch) -> AuditEntry {
        AuditEntry {
            attempt,
            ts: UnixNanos::EPOCH,
            source: 0,
            base: 0,
            method: "GET",
            target: batch.put(|text| text.push('/')),
            weight: 1,
            connection: Connection::None,
            http: "",
            status: 0,
            bytes_out: 0,
            bytes_in: 0,
            stages: Stages::default(),
            elapsed_us: 0,
            verdict: None,
            reason: "",
            request_body: Span::default(),
            answer_body: Span::default(),
        }
    }

    fn take(drain: &mut AuditDrain) -> Vec<u64> {
        let mut attempts = Vec::new();
        while let Some(batch) = drain.pop() {
            attempts.extend(batch.entries.iter().map(|entry| entry.attempt));
            drain.written(batch.entries.len() as u64);
            drain.give_back(batch);
        }
        attempts
    }

    #[test]
    fn entries_cross_in_order_and_batches_come_back() {
        let (seeds, handle, mut drain) = audit(spec(4 * BATCH_LEN, WhenFull::Pause));
        let seats: Vec<AuditSeat> = seeds.into_iter().map(AuditSeed::connect).collect();
        for round in 0..3 {
            let first = round * 1_000;
            for attempt in first..first + 300 {
                seats[0].push(|batch| entry(attempt, batch));
            }
            seats[0].flush();
            assert!(block_on(drain.wait()));
            assert_eq!(take(&mut drain), (first..first + 300).collect::<Vec<_>>());
        }
        assert_eq!(seats[0].place_of(SourceId("binance")), Some(0));
        drop(seats);
        assert!(!block_on(drain.wait()));
        assert_eq!(handle.counts(), AuditCounts { written: 900, ..AuditCounts::default() });
    }

    #[test]
    fn a_full_queue_holds_attempts_up_and_loses_nothing() {
        block_on(async {
            let (seeds, handle, mut drain) = audit(spec(2 * BATCH_LEN, WhenFull::Pause));
            let seat = seeds.into_iter().next().unwrap().connect();
            let mut sent = 0;
            while seat.has_room() {
                seat.push(|batch| entry(sent, batch));
                sent += 1;
            }
            assert_eq!(sent, 3 * BATCH_LEN as u64, "two batches in the queue and one in hand");
            let mut waiting = Box::pin(seat.room());
            assert!(poll_once(&mut waiting).await.is_none());
            // What was under way when it became full still has a place.
            seat.push(|batch| entry(sent, batch));
            let first = drain.pop().unwrap();
            assert!(poll_once(&mut waiting).await.is_some());
            drain.written(first.entries.len() as u64);
            take(&mut drain);
            seat.finish().await;
            take(&mut drain);
            seat.push(|batch| entry(sent, batch));
            seat.flush();
            assert_eq!(handle.counts(), AuditCounts { written: sent + 1, dropped: 1, ..AuditCounts::default() });
            assert_eq!(seat.waited(), 1);
        });
    }

    #[test]
    fn a_begun_batch_is_told_of() {
        block_on(async {
            let (seeds, _handle, mut drain) = audit(spec(BATCH_LEN, WhenFull::Pause));
            let seat = seeds.into_iter().next().unwrap().connect();
            let mut begun = Box::pin(seat.begun());
            assert!(poll_once(&mut begun).await.is_none());
            seat.push(|batch| entry(0, batch));
            assert!(poll_once(&mut begun).await.is_some());
            seat.flush();
            take(&mut drain);
            assert!(poll_once(seat.begun()).await.is_none(), "what has been sent needs no sending");
        });
    }

    #[test]
    fn a_full_queue_drops_with_a_count_where_that_is_the_rule() {
        let (seeds, handle, mut drain) = audit(spec(BATCH_LEN, WhenFull::DropNewest));
        let seat = seeds.into_iter().next().unwrap().connect();
        for attempt in 0..10 * BATCH_LEN as u64 {
            assert!(seat.has_room());
            seat.push(|batch| entry(attempt, batch));
        }
        let queued = BATCH_LEN as u64;
        assert_eq!(handle.counts(), AuditCounts { dropped: 9 * queued, queued, ..AuditCounts::default() });
        assert_eq!(take(&mut drain), (0..queued).collect::<Vec<_>>());
    }

    #[test]
    fn without_a_reader_nothing_waits_and_everything_is_counted() {
        let (seeds, handle, drain) = audit(spec(BATCH_LEN, WhenFull::Pause));
        let seat = seeds.into_iter().next().unwrap().connect();
        for attempt in 0..2 * BATCH_LEN as u64 {
            seat.push(|batch| entry(attempt, batch));
        }
        drop(drain);
        block_on(seat.room());
        handle.act(AuditAction::new("stop", UnixNanos::EPOCH));
        let dropped = 2 * BATCH_LEN as u64;
        assert_eq!(handle.counts(), AuditCounts { dropped, actions_dropped: 1, ..AuditCounts::default() });
    }

    #[test]
    fn actions_are_bounded() {
        let (_seeds, handle, mut drain) = audit(spec(BATCH_LEN, WhenFull::Pause));
        for _ in 0..ACTIONS_MAX + 3 {
            handle.act(AuditAction::new("stop", UnixNanos::EPOCH));
        }
        assert!(block_on(drain.wait()));
        assert_eq!(std::iter::from_fn(|| drain.pop_action()).count(), ACTIONS_MAX);
        assert_eq!(handle.counts().actions_dropped, 3);
    }
}
