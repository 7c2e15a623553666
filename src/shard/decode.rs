//! Reading answers into records: at once on the core where that takes little time, and beside the core where the body is
//! big. A decoder is one piece of work that cannot yield, so that a body of many megabytes would hold every other source
//! of the shard up; on a thread of lower priority the kernel takes turns between the two.
//! Owns no body and no queue of the path. Invariants: of one source on one shard one big body is read at a time; a panic
//! of a decoder is a malformed answer, told and contained.

use std::panic::AssertUnwindSafe;

use compact_str::CompactString;
use futures_channel::oneshot;

use crate::model::{Judgement, Native, Query, Verdict};
use crate::runtime::Workers;
use crate::shard::lane::Lane;
use crate::source::{Batch, Context, Source, State, judge};
use crate::wire::Answer;

/// The threads beside the cores, shared by all shards.
#[derive(Clone, Debug)]
pub struct Decoders(Workers<Job>);

type Job = Box<dyn FnOnce() + Send>;

impl Decoders {
    /// Starts the threads, with a priority below that of the cores, on the CPUs of `cpus` if there are any: a shard that
    /// is taken off its CPU answers late.
    ///
    /// # Errors
    /// The system's refusal to start one.
    pub fn start(cpus: &[usize]) -> std::io::Result<Decoders> {
        Workers::start_low("decode", THREADS, cpus, |job: Job| job()).map(Decoders)
    }

    /// Runs `work` on one of the threads; `None` when it panicked. Runs it here when very many jobs wait.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Whoever asked may have gone.
            let _ = done.send(work());
        });
        if let Err(job) = self.0.submit(job) {
            let _ = std::panic::catch_unwind(AssertUnwindSafe(job));
        }
        result.await.ok()
    }
}

/// Reads an answer into `batch`.
///
/// # Errors
/// The judgement on an answer that is none.
pub(super) async fn decode(
    lane: &Lane,
    query: &Query,
    natives: &mut Vec<Native>,
    answer: &Answer,
    batch: &mut Batch,
) -> Result<Option<CompactString>, Judgement> {
    let source = lane.source;
    if answer.body.len() < BESIDE_BYTES {
        return contained(source, query, || {
            lane.with_natives(query, natives, answer.ts_recv, |cx| judge(source, cx, answer, batch))
        });
    }
    let _turn = lane.decoding.acquire().await;
    let (query, natives, answer) = (query.clone(), std::mem::take(natives), answer.clone());
    let (state, credentials, contact) = lane.knowledge();
    let mut own = Batch::new(source.spec().id, answer.ts_recv).attempt(batch.attempt_id());
    let work = move || {
        let read = contained(source, &query, || {
            let (query, state, credentials, contact) = (&query, &state, &credentials, contact.as_str());
            let cx = Context { query, natives, state, credentials, contact, now: answer.ts_recv };
            judge(source, &cx, &answer, &mut own)
        });
        // The room of records that did not become any is given back here: of many megabytes that takes milliseconds.
        read.map(|next| (next, own))
    };
    let (next, own) = lane.decoders.run(work).await.unwrap_or_else(|| Err(failed()))?;
    *batch = own;
    Ok(next)
}

/// Reads the answer to a prerequisite into the lane's state.
///
/// # Errors
/// The judgement on an answer that is none.
pub(super) async fn decode_prerequisite(lane: &Lane, name: &'static str, answer: &Answer) -> Result<(), Judgement> {
    let source = lane.source;
    if answer.body.len() < BESIDE_BYTES {
        return source.prerequisite_decode(name, answer, &mut lane.state.borrow_mut());
    }
    let _turn = lane.decoding.acquire().await;
    let (answer, mut state) = (answer.clone(), lane.state.borrow().clone());
    let work = move || source.prerequisite_decode(name, &answer, &mut state).map(|()| state);
    let read: Option<Result<State, Judgement>> = lane.decoders.run(work).await;
    *lane.state.borrow_mut() = read.unwrap_or_else(|| Err(failed()))?;
    Ok(())
}

/// Decodes; a panic is a malformed answer.
fn contained<T>(
    source: &dyn Source,
    query: &Query,
    work: impl FnOnce() -> Result<T, Judgement>,
) -> Result<T, Judgement> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let (source, kind) = (source.spec().id.as_str(), query.kind.as_str());
        tracing::error!(source, kind, "a decoder panicked; the answer counts as malformed");
        Err(failed())
    })
}

fn failed() -> Judgement {
    Judgement::new(Verdict::Malformed, "decoder_panic", "the decoder failed on this answer")
}

/// Smaller bodies take a core less time than the way to another thread and back takes from the request: 128 KiB decode in
/// about half a millisecond.
const BESIDE_BYTES: usize = 128 << 10;
/// Two, so that the longest body of one source does not hold up another's.
const THREADS: usize = 2;

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use super::*;

    #[test]
    fn work_beside_the_core_comes_back_or_is_told_to_have_panicked() {
        let decoders = Decoders::start(&[]).unwrap();
        let here = std::thread::current().id();
        let there = block_on(decoders.run(|| std::thread::current().id())).unwrap();
        assert_ne!(here, there);
        assert_eq!(block_on(decoders.run(|| -> u8 { panic!("on purpose") })), None);
        // The threads outlive a panic of each.
        for _ in 0..2 * THREADS {
            block_on(decoders.run(|| -> u8 { panic!("on purpose") }));
        }
        assert_eq!(block_on(decoders.run(|| 7)), Some(7));
    }
}
