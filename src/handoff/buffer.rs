//! The normalization buffer: shards publish records into one lock-free queue, one sink core drains it.
//! Owns neither duplicates nor the journal. What a full buffer does is named per kind ([`WhenFull`]).
//! Invariants: a full buffer gives a record back, counts it as dropped, or makes its publisher wait, and never spins; a
//! record of a kind that pauses is never dropped; records of one publisher keep their order.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use super::doorbell::Doorbell;
use super::ledger::{DropReason, Ledger, Tally};
use super::sync::{Arc, AtomicBool, AtomicUsize, Ordering, Queue};
use crate::metrics::RecordCounts;
use crate::model::{Kind, Record, SourceId};
use crate::policy::WhenFull;
use crate::time::UnixNanos;

/// What a buffer is made from.
#[derive(Clone, Debug)]
pub struct BufferSpec {
    /// Records it holds at most; at least 1.
    pub capacity: usize,
    /// What happens when it is full, by [`Kind::index`].
    pub when_full: [WhenFull; Kind::ALL.len()],
    /// Share of the capacity, in percent, from which polling should slow down.
    pub high_water_pct: u8,
    /// The sources that will publish, so that each has its counters.
    pub sources: Vec<SourceId>,
}

impl Default for BufferSpec {
    /// 10,000 records, pausing, with the mark at 80 %.
    fn default() -> Self {
        BufferSpec {
            capacity: 10_000,
            when_full: [WhenFull::Pause; Kind::ALL.len()],
            high_water_pct: 80,
            sources: Vec::new(),
        }
    }
}

/// Makes a buffer: the side to publish from, which is cloned for each shard, and the side to drain.
pub fn buffer(spec: BufferSpec) -> (PublisherSeed, Drain) {
    let capacity = spec.capacity.max(1);
    let percent = usize::from(spec.high_water_pct.min(100));
    let shared = Arc::new(Shared {
        queue: Queue::new(capacity),
        when_full: spec.when_full,
        displaces: spec.when_full.contains(&WhenFull::DropOldest),
        pausing: AtomicUsize::new(0),
        high_water: (capacity.saturating_mul(percent) / 100).max(1),
        publishers: AtomicUsize::new(1),
        closed: AtomicBool::new(false),
        ledger: Ledger::new(spec.sources),
        filled: Doorbell::new(),
        room: Doorbell::new(),
    });
    (PublisherSeed { shared: shared.clone() }, Drain { shared })
}

/// The right to publish, before it is tied to a core.
pub struct PublisherSeed {
    shared: Arc<Shared>,
}

impl PublisherSeed {
    /// Ties it to the calling thread.
    pub fn connect(self) -> Publisher {
        Publisher { seed: self, paused_count: Cell::new(0), _local: PhantomData }
    }

    /// The buffer's counters.
    pub fn ledger(&self) -> Ledger {
        self.shared.ledger.clone()
    }

    /// The counts now.
    pub fn counts(&self) -> RecordCounts {
        self.shared.counts()
    }

    /// Records in the buffer.
    pub fn len(&self) -> usize {
        self.shared.queue.len()
    }

    /// Whether the buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }

    /// Records the buffer holds at most.
    pub fn capacity(&self) -> usize {
        self.shared.queue.capacity()
    }
}

impl Clone for PublisherSeed {
    fn clone(&self) -> Self {
        self.shared.publishers.fetch_add(1, Ordering::Relaxed);
        PublisherSeed { shared: self.shared.clone() }
    }
}

impl Drop for PublisherSeed {
    fn drop(&mut self) {
        if self.shared.publishers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.filled.ring();
        }
    }
}

/// A shard's side of the buffer.
pub struct Publisher {
    seed: PublisherSeed,
    paused_count: Cell<u64>,
    /// Not `Send`: it belongs to the core it was connected on.
    _local: PhantomData<Rc<()>>,
}

impl Publisher {
    /// Puts records into the buffer in their order, stamping `ts_publish` on each as it enters, and leaves `records`
    /// empty. Waits for room where a record's kind says so.
    ///
    /// # Errors
    /// When the drain is gone. What has not entered is in `records`, in its order.
    ///
    /// # Cancel safety
    /// Records that have not entered when the future is dropped are back in `records`, in their order.
    pub async fn publish(&self, records: &mut Vec<Record>) -> Result<(), BufferClosed> {
        let shared = &*self.seed.shared;
        if shared.closed.load(Ordering::Acquire) {
            return Err(BufferClosed);
        }
        let mut rest = Rest { next: None, iter: std::mem::take(records).into_iter(), home: records };
        let mut now = UnixNanos::now();
        let mut counted = Counted { ledger: &shared.ledger, of: None, count: 0 };
        while let Some(mut record) = rest.take() {
            record.ts_publish = now;
            let (source, kind) = (record.source, record.kind());
            match shared.offer(record) {
                Ok(()) => counted.one(source, kind),
                Err(record) => {
                    rest.next = Some(record);
                    counted.flush();
                    // What has entered must be seen by the drain, or nobody would ever make room.
                    shared.filled.ring();
                    self.paused_count.set(self.paused_count.get() + 1);
                    shared.has_room().await?;
                    now = UnixNanos::now();
                }
            }
        }
        counted.flush();
        shared.filled.ring();
        Ok(())
    }

    /// Whether a record of this kind, once published, is never dropped to make room.
    pub fn keeps(&self, kind: Kind) -> bool {
        self.seed.shared.when_full[kind.index()] == WhenFull::Pause
    }

    /// Whether the buffer is so full that polling should slow down.
    pub fn is_above_high_water(&self) -> bool {
        self.seed.shared.queue.len() >= self.seed.shared.high_water
    }

    /// Waits until the buffer is below its high-water mark, or its drain is gone.
    pub async fn below_high_water(&self) {
        let shared = &*self.seed.shared;
        let below = || shared.queue.len() < shared.high_water || shared.closed.load(Ordering::Acquire);
        shared.room.wait(|| below().then_some(())).await;
    }

    /// How often a publish has had to wait for room.
    pub fn paused_count(&self) -> u64 {
        self.paused_count.get()
    }

    /// Another right to publish.
    pub fn seed(&self) -> PublisherSeed {
        self.seed.clone()
    }
}

/// The sink core's side of the buffer. It can move to another thread, but there is only one.
pub struct Drain {
    shared: Arc<Shared>,
}

impl Drain {
    /// Moves up to `max` records to the end of `out`, oldest first; returns how many. They count as in the sink core's
    /// hands until [`Tally::put_down`].
    pub fn pop_batch(&mut self, max: usize, out: &mut Vec<Record>) -> usize {
        let shared = &*self.shared;
        let before = out.len();
        let mut pausing = 0;
        while out.len() - before < max {
            let Some(record) = shared.queue.pop() else { break };
            pausing += usize::from(shared.when_full[record.kind().index()] == WhenFull::Pause);
            out.push(record);
        }
        let count = out.len() - before;
        if count > 0 {
            if shared.displaces {
                shared.pausing.fetch_sub(pausing, Ordering::Relaxed);
            }
            shared.ledger.take_in_hand(count);
            shared.room.ring();
        }
        count
    }

    /// Waits until there is a record, or no publisher is left.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn wait(&self) -> Woken {
        let shared = &*self.shared;
        shared
            .filled
            .wait(|| {
                // Read before the queue: the last publisher's records are in it by then.
                let alone = shared.publishers.load(Ordering::Acquire) == 0;
                if !shared.queue.is_empty() {
                    return Some(Woken::Records);
                }
                alone.then_some(Woken::Closed)
            })
            .await
    }

    /// A reader of the counters.
    pub fn view(&self) -> BufferView {
        BufferView { shared: self.shared.clone() }
    }

    /// The handle that says what became of the records.
    pub fn tally(&self) -> Tally {
        Tally::new(self.shared.ledger.clone())
    }

    /// The buffer's counters.
    pub fn ledger(&self) -> Ledger {
        self.shared.ledger.clone()
    }

    /// The counts now.
    pub fn counts(&self) -> RecordCounts {
        self.shared.counts()
    }

    /// Records in the buffer.
    pub fn len(&self) -> usize {
        self.shared.queue.len()
    }

    /// Whether the buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }
}

/// Reads a buffer's counters from any thread, also after both of its sides are gone. Holds no right to publish.
#[derive(Clone)]
pub struct BufferView {
    shared: Arc<Shared>,
}

impl BufferView {
    /// The counts now.
    pub fn counts(&self) -> RecordCounts {
        self.shared.counts()
    }

    /// The counts of one source; `queued` is not known per source and zero.
    pub fn counts_of(&self, source: SourceId) -> RecordCounts {
        self.shared.ledger.of_source(source)
    }

    /// Records the buffer holds at most.
    pub fn capacity(&self) -> usize {
        self.shared.queue.capacity()
    }

    /// Records in the buffer.
    pub fn len(&self) -> usize {
        self.shared.queue.len()
    }

    /// Whether the buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }

    /// Records from which on polling slows down.
    pub fn high_water(&self) -> usize {
        self.shared.high_water
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.room.ring();
    }
}

/// The buffer's drain is gone: nothing that is published would be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferClosed;

impl fmt::Display for BufferClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the normalization buffer is closed: the sink core has ended")
    }
}

impl std::error::Error for BufferClosed {}

/// What ended a wait for records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// No publisher is left and the buffer is empty.
    Closed,
    /// There are records.
    Records,
}

impl fmt::Debug for BufferView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferView").field("counts", &self.counts()).finish()
    }
}

impl fmt::Debug for PublisherSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublisherSeed").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("len", &self.seed.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("len", &self.len()).finish_non_exhaustive()
    }
}

struct Shared {
    queue: Queue<Record>,
    when_full: [WhenFull; Kind::ALL.len()],
    /// Whether any kind displaces the oldest record; only then is `pausing` kept.
    displaces: bool,
    /// At least the number of records in the queue that must not be dropped.
    pausing: AtomicUsize,
    high_water: usize,
    publishers: AtomicUsize,
    /// Whether the drain is gone.
    closed: AtomicBool,
    ledger: Ledger,
    /// Rung when records have entered.
    filled: Doorbell,
    /// Rung when records have left.
    room: Doorbell,
}

// A refused record comes back by value, as from the queue itself: boxing it would allocate on the hot path.
#[allow(clippy::result_large_err)]
impl Shared {
    fn counts(&self) -> RecordCounts {
        self.ledger.total(self.queue.len())
    }

    /// Waits for room.
    async fn has_room(&self) -> Result<(), BufferClosed> {
        self.room
            .wait(|| {
                if self.closed.load(Ordering::Acquire) {
                    return Some(Err(BufferClosed));
                }
                (!self.queue.is_full()).then_some(Ok(()))
            })
            .await
    }

    /// Puts a record in or drops one, by its kind; gives it back when its publisher has to wait.
    fn offer(&self, record: Record) -> Result<(), Record> {
        match self.when_full[record.kind().index()] {
            WhenFull::Pause => self.enter(record),
            WhenFull::DropNewest => {
                if let Err(record) = self.queue.push(record) {
                    self.ledger.dropped(&record, DropReason::FullNewest);
                }
                Ok(())
            }
            WhenFull::DropOldest => {
                let Err(record) = self.queue.push(record) else { return Ok(()) };
                // The oldest record may be one that must not be dropped, and cannot be put back at the front.
                if self.pausing.load(Ordering::Relaxed) > 0 {
                    self.ledger.dropped(&record, DropReason::FullNewest);
                    return Ok(());
                }
                match self.queue.force_push(record) {
                    Some(oldest) => self.displaced(oldest),
                    None => Ok(()),
                }
            }
        }
    }

    /// Puts a record in that must not be dropped, or gives it back.
    fn enter(&self, record: Record) -> Result<(), Record> {
        if !self.displaces {
            return self.queue.push(record);
        }
        // Counted before it enters, so that the count is never less than what is inside.
        self.pausing.fetch_add(1, Ordering::Relaxed);
        self.queue.push(record).inspect_err(|_| {
            self.pausing.fetch_sub(1, Ordering::Relaxed);
        })
    }

    /// Counts a record that made way. One that must not be dropped can come here only when the whole buffer has been
    /// exchanged between two instructions of this thread; its place is taken by the publisher's, and it waits instead.
    fn displaced(&self, oldest: Record) -> Result<(), Record> {
        if self.when_full[oldest.kind().index()] == WhenFull::Pause {
            self.pausing.fetch_sub(1, Ordering::Relaxed);
            return Err(oldest);
        }
        self.ledger.dropped(&oldest, DropReason::FullOldest);
        Ok(())
    }
}

/// The records still to be published; puts them back when it is dropped.
struct Rest<'a> {
    next: Option<Record>,
    iter: std::vec::IntoIter<Record>,
    home: &'a mut Vec<Record>,
}

impl Rest<'_> {
    fn take(&mut self) -> Option<Record> {
        self.next.take().or_else(|| self.iter.next())
    }
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.home.extend(self.next.take());
        self.home.extend(self.iter.by_ref());
    }
}

/// Counts published records by runs of the same source and kind.
struct Counted<'a> {
    ledger: &'a Ledger,
    of: Option<(SourceId, Kind)>,
    count: u64,
}

impl Counted<'_> {
    fn one(&mut self, source: SourceId, kind: Kind) {
        if self.of != Some((source, kind)) {
            self.flush();
            self.of = Some((source, kind));
        }
        self.count += 1;
    }

    fn flush(&mut self) {
        if let Some((source, kind)) = self.of.take() {
            self.ledger.published(source, kind, std::mem::take(&mut self.count));
        }
    }
}

#[cfg(all(test, not(tidegate_loom)))]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize as StdUsize;
    use std::task::{Context, Poll, Wake, Waker};

    use futures_lite::future::block_on;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Data, Dec, Quote, Trade};

    const SOURCE: SourceId = SourceId("a");

    fn trade(id: u64) -> Record {
        let trade = Trade {
            id: Some(compact_str::format_compact!("{id}")),
            price: Dec::default(),
            size: Dec::default(),
            side: None,
            volume_unit: None,
        };
        record(Data::Trade(trade))
    }

    fn quote() -> Record {
        record(Data::Quote(Quote::default()))
    }

    fn record(data: Data) -> Record {
        Record {
            seq: 0,
            source: SOURCE,
            symbol: None,
            native: None,
            ts_event: None,
            ts_recv: UnixNanos::EPOCH,
            ts_publish: UnixNanos::EPOCH,
            attempt: 0,
            data,
        }
    }

    fn id(record: &Record) -> u64 {
        match &record.data {
            Data::Trade(trade) => trade.id.as_ref().unwrap().parse().unwrap(),
            _ => 0,
        }
    }

    fn small(capacity: usize, quotes: WhenFull, trades: WhenFull) -> (Publisher, Drain) {
        let mut spec = BufferSpec { capacity, sources: vec![SOURCE], ..BufferSpec::default() };
        spec.when_full[Kind::Quote.index()] = quotes;
        spec.when_full[Kind::Trade.index()] = trades;
        let (seed, drain) = buffer(spec);
        (seed.connect(), drain)
    }

    /// Settles a batch as the sink core does.
    fn settle(tally: &Tally, batch: &mut Vec<Record>) {
        batch.iter().for_each(|record| tally.delivered(record));
        tally.put_down(batch.len());
        batch.clear();
    }

    struct Rings(StdUsize);

    impl Wake for Rings {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }

    #[test]
    fn records_pass_in_order_and_are_stamped() {
        let (publisher, mut drain) = small(8, WhenFull::Pause, WhenFull::Pause);
        let mut records: Vec<_> = (1..=5).map(trade).collect();
        block_on(publisher.publish(&mut records)).unwrap();
        assert!(records.is_empty());
        assert_eq!(block_on(drain.wait()), Woken::Records);
        let mut batch = vec![];
        assert_eq!((drain.pop_batch(3, &mut batch), drain.pop_batch(9, &mut batch)), (3, 2));
        assert_eq!(batch.iter().map(id).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert!(batch.iter().all(|record| record.ts_publish > UnixNanos::EPOCH));
        let counts = drain.counts();
        assert_eq!((counts.published, counts.queued, counts.delivered), (5, 5, 0));
        let tally = drain.tally();
        tally.dropped(&batch[0], DropReason::Duplicate);
        batch[1..].iter().for_each(|record| tally.delivered(record));
        assert_eq!(drain.counts().queued, 5, "in the sink core's hands until it puts them down");
        tally.put_down(5);
        let counts = drain.counts();
        assert_eq!((counts.delivered, counts.dropped_duplicate, counts.queued), (4, 1, 0));
        assert!(counts.is_balanced());
        assert_eq!(drain.ledger().of(SOURCE, Kind::Trade).published, 5);
        assert_eq!(drain.ledger().of_source(SourceId("b")), RecordCounts::default());
        drop(publisher);
        assert_eq!(block_on(drain.wait()), Woken::Closed);
    }

    #[test]
    fn a_paused_publish_waits_for_a_ring_and_gives_back_what_is_left_when_dropped() {
        let (publisher, mut drain) = small(2, WhenFull::Pause, WhenFull::Pause);
        let mut records: Vec<_> = (1..=5).map(trade).collect();
        let rings = std::sync::Arc::new(Rings(StdUsize::new(0)));
        let waker = Waker::from(rings.clone());
        let mut cx = Context::from_waker(&waker);
        let mut batch = vec![];
        {
            let mut publish = pin!(publisher.publish(&mut records));
            assert_eq!(publish.as_mut().poll(&mut cx), Poll::Pending);
            assert_eq!(rings.0.load(std::sync::atomic::Ordering::SeqCst), 0, "nothing has happened, nothing is woken");
            assert_eq!(drain.pop_batch(1, &mut batch), 1);
            assert_eq!(rings.0.load(std::sync::atomic::Ordering::SeqCst), 1);
            assert_eq!(publish.as_mut().poll(&mut cx), Poll::Pending);
        }
        assert_eq!(records.iter().map(id).collect::<Vec<_>>(), [4, 5]);
        let counts = drain.counts();
        assert_eq!((counts.published, counts.queued), (3, 3));
        assert!(counts.is_balanced());
        assert_eq!(publisher.paused_count(), 2);
        drain.pop_batch(9, &mut batch);
        block_on(publisher.publish(&mut records)).unwrap();
        drain.pop_batch(9, &mut batch);
        assert_eq!(batch.iter().map(id).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_full_buffer_drops_what_its_kind_allows() {
        let (publisher, mut drain) = small(2, WhenFull::DropNewest, WhenFull::DropOldest);
        let mut batch = vec![];
        block_on(publisher.publish(&mut vec![trade(1), trade(2), trade(3), quote()])).unwrap();
        drain.pop_batch(9, &mut batch);
        assert_eq!(batch.iter().map(id).collect::<Vec<_>>(), [2, 3]);
        settle(&drain.tally(), &mut batch);
        let counts = drain.counts();
        assert_eq!((counts.published, counts.dropped_full_oldest, counts.dropped_full_newest), (4, 1, 1));
        assert!(counts.is_balanced());
    }

    #[test]
    fn a_record_that_pauses_never_makes_way() {
        let (publisher, mut drain) = small(2, WhenFull::DropOldest, WhenFull::Pause);
        let mut batch = vec![];
        block_on(publisher.publish(&mut vec![trade(1), quote(), quote(), quote()])).unwrap();
        drain.pop_batch(1, &mut batch);
        assert_eq!(id(&batch[0]), 1);
        assert_eq!(drain.counts().dropped_full_newest, 2);
        block_on(publisher.publish(&mut vec![quote(), quote()])).unwrap();
        assert_eq!(drain.counts().dropped_full_oldest, 1, "once it has left, the oldest makes way again");
    }

    #[test]
    fn a_drain_that_is_gone_ends_a_paused_publish() {
        let (publisher, drain) = small(1, WhenFull::Pause, WhenFull::Pause);
        let sink = std::thread::spawn(move || drop(drain));
        let mut records: Vec<_> = (1..=3).map(trade).collect();
        assert_eq!(block_on(publisher.publish(&mut records)), Err(BufferClosed));
        assert!(records.iter().map(id).is_sorted() && records.len() >= 2);
        assert_eq!(publisher.seed().counts().published + records.len() as u64, 3);
        sink.join().unwrap();
        block_on(publisher.below_high_water());
    }

    #[test]
    fn polling_slows_down_at_the_high_water_mark() {
        let (publisher, mut drain) = small(10, WhenFull::Pause, WhenFull::Pause);
        let mut records: Vec<_> = (0..7).map(trade).collect();
        block_on(publisher.publish(&mut records)).unwrap();
        assert!(!publisher.is_above_high_water());
        block_on(publisher.publish(&mut vec![trade(8)])).unwrap();
        assert!(publisher.is_above_high_water());
        let mut batch = vec![];
        drain.pop_batch(1, &mut batch);
        block_on(publisher.below_high_water());
        assert!(!publisher.is_above_high_water());
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let mut spec = BufferSpec { capacity: 16, sources: vec![SOURCE], ..BufferSpec::default() };
        spec.when_full[Kind::Quote.index()] = WhenFull::DropOldest;
        let (seed, mut drain) = buffer(spec);
        let shards: Vec<_> = (0..3_u64)
            .map(|shard| {
                let seed = seed.clone();
                std::thread::spawn(move || {
                    let publisher = seed.connect();
                    for batch in 0..200 {
                        let first = batch * 5;
                        let mut records: Vec<_> =
                            (first..first + 5).flat_map(|n| [trade(shard * 1_000_000 + n), quote()]).collect();
                        block_on(publisher.publish(&mut records)).unwrap();
                    }
                })
            })
            .collect();
        drop(seed);
        let tally = drain.tally();
        let (mut batch, mut trades) = (vec![], vec![]);
        while block_on(drain.wait()) == Woken::Records {
            drain.pop_batch(7, &mut batch);
            trades.extend(batch.iter().filter(|record| record.kind() == Kind::Trade).map(id));
            settle(&tally, &mut batch);
        }
        shards.into_iter().for_each(|shard| shard.join().unwrap());
        let counts = drain.counts();
        assert_eq!((counts.published, counts.queued, trades.len()), (6_000, 0, 3_000));
        assert!(counts.is_balanced(), "{counts:?}");
        for shard in 0..3 {
            let own: Vec<_> = trades.iter().filter(|n| **n / 1_000_000 == shard).map(|n| n % 1_000_000).collect();
            assert_eq!(own, (0..1_000).collect::<Vec<_>>());
        }
    }

    proptest! {
        /// Any mix of kinds, policies and drains: the law holds at every step, and what pauses arrives whole, in order.
        #[test]
        fn the_law_holds(
            capacity in 1usize..6, quotes in 0usize..3, trades in 0usize..3,
            steps in proptest::collection::vec((any::<bool>(), 0usize..5), 1..80),
        ) {
            let policies = [WhenFull::Pause, WhenFull::DropNewest, WhenFull::DropOldest];
            let (publisher, mut drain) = small(capacity, policies[quotes], policies[trades]);
            let tally = drain.tally();
            let waker = Waker::noop();
            let (mut waiting, mut batch, mut got, mut next): (Vec<Record>, Vec<Record>, Vec<u64>, u64) = (vec![], vec![], vec![], 0);
            for (publish, count) in steps {
                if publish {
                    for _ in 0..count {
                        next += 1;
                        waiting.push(if next % 3 == 0 { quote() } else { trade(next) });
                    }
                    let _ = pin!(publisher.publish(&mut waiting)).poll(&mut Context::from_waker(waker));
                } else {
                    drain.pop_batch(count, &mut batch);
                    got.extend(batch.iter().filter(|record| record.kind() == Kind::Trade).map(id));
                    settle(&tally, &mut batch);
                }
                let counts = drain.counts();
                prop_assert!(counts.is_balanced(), "{counts:?}");
                prop_assert_eq!(counts.published + waiting.len() as u64, next);
            }
            prop_assert!(got.is_sorted());
            if policies[trades] == WhenFull::Pause {
                let last = got.last().copied().unwrap_or(0);
                prop_assert_eq!(got, (1..=last).filter(|n| n % 3 != 0).collect::<Vec<_>>());
            }
        }
    }
}
