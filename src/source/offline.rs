//! Judging a stored answer without an engine: what `tidegate decode` and the tests over recordings call.

use crate::config::Credentials;
use crate::model::{Judgement, Query};
use crate::source::{Batch, Context, Source, State, judge};
use crate::time::UnixNanos;
use crate::wire::Answer;

/// Judges `answer` as one to `query`; the records carry neither sequence nor times of receipt.
///
/// # Errors
/// The judgement when the verdict is not `ok`.
pub fn judge_offline(
    source: &dyn Source,
    query: &Query,
    state: &State,
    mut answer: Answer,
) -> Result<Batch, Judgement> {
    let credentials = Credentials::default();
    answer.ts_recv = UnixNanos::now();
    let cx = Context::new(source, query, state, &credentials, "", answer.ts_recv)?;
    let mut batch = Batch::new(source.spec().id, UnixNanos::EPOCH);
    judge(source, &cx, &answer, &mut batch)?;
    Ok(batch)
}
