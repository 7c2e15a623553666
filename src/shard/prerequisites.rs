//! What has to be known before a query can be asked: fetched under the same admission as everything else, once for all
//! queries that need it, kept for its lifetime, made void by the verdicts that say so.

use crate::model::{Judgement, Query, Verdict};
use crate::shard::decode::decode_prerequisite;
use crate::shard::fetch;
use crate::shard::lane::Lane;
use crate::source::Prerequisite;
use crate::time::{Deadline, Mono, Now};

/// Fetches what `query` needs and is not known or too old.
///
/// # Errors
/// The judgement on the prerequisite that could not be had.
pub async fn ensure(lane: &Lane, query: &Query, deadline: Deadline) -> Result<(), Judgement> {
    if !lane.source.prerequisites().iter().any(|prerequisite| is_due(lane, prerequisite, query)) {
        return Ok(());
    }
    let _turn = lane.preparing.acquire().await;
    for prerequisite in lane.source.prerequisites() {
        // Another query may have fetched it while this one waited.
        if is_due(lane, prerequisite, query) {
            // Boxed, as it is rare and large: every fetch would carry its room.
            Box::pin(fetch_one(lane, prerequisite, query, deadline)).await?;
        }
    }
    Ok(())
}

/// Fetches a prerequisite by name, whether it is due or not: what `tidegate symbols` needs.
///
/// # Errors
/// As [`ensure`].
pub async fn fetch_named(lane: &Lane, name: &str, query: &Query, deadline: Deadline) -> Result<(), Judgement> {
    let Some(prerequisite) = lane.source.prerequisites().iter().find(|prerequisite| prerequisite.name == name) else {
        let id = lane.source.spec().id;
        return Err(Judgement::unservable("prerequisite_unknown", format!("{id} has no list of {name}")));
    };
    fetch_one(lane, prerequisite, query, deadline).await
}

/// Makes void what a verdict says is no longer true.
pub fn invalidate(lane: &Lane, verdict: Verdict) {
    for prerequisite in lane.source.prerequisites() {
        if prerequisite.invalidated_by.contains(&verdict) {
            lane.forget(prerequisite.name);
            lane.state.borrow_mut().values.remove(prerequisite.name);
        }
    }
}

async fn fetch_one(
    lane: &Lane,
    prerequisite: &Prerequisite,
    query: &Query,
    deadline: Deadline,
) -> Result<(), Judgement> {
    // A prerequisite is not about the query's symbols, and they may not be expressible before it is known.
    let bare = Query { symbols: Vec::new(), ..query.clone() };
    let request = lane.with_context(&bare, |cx| lane.source.prerequisite_request(prerequisite.name, cx))?;
    let sent = fetch::send(lane, &request, deadline, Now::read()).await?;
    let judged = match &sent.answer {
        Ok(answer) => decode_prerequisite(lane, prerequisite.name, answer).await,
        Err(failure) => Err(fetch::no_answer(failure)),
    };
    let judged = judged.map_err(|judgement| Judgement { message: request.redact(&judgement.message), ..judgement });
    sent.settle(lane, judged.as_ref().err(), Now::read());
    judged?;
    lane.note_fetched(prerequisite.name, Mono::now()).await;
    Ok(())
}

fn is_due(lane: &Lane, prerequisite: &Prerequisite, query: &Query) -> bool {
    let needed = (prerequisite.needed)(query, &lane.state.borrow());
    // What is needed only while it is unknown says so itself; what has a lifetime is fetched again when it is over.
    let fresh = lane.fetched_at(prerequisite.name).is_some_and(|at| Mono::now().since(at) < prerequisite.ttl);
    needed && !fresh
}
