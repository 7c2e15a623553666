//! What callers on other threads ask of a shard: fetches with a reply, breaker control, load runs.

use std::rc::Rc;
use std::time::Duration;

use crate::handoff::{Mailbox, Publisher, ReplyTo};
use crate::model::{Judgement, Query, SourceId};
use crate::policy::Force;
use crate::runtime::Tasks;
use crate::shard::fetch::{Fetched, fetch};
use crate::shard::lane::Lane;
use crate::shard::load::{LoadOrder, LoadReport, load};
use crate::shard::page::{self, PageOrder};
use crate::shard::prerequisites;
use crate::source::State;
use crate::time::{Deadline, Mono};

/// A command to a shard.
pub enum Command {
    /// Fetch and reply.
    Fetch(FetchOrder),
    /// Overrule the breakers of a source.
    Force(SourceId, Force),
    /// Drive load and reply with what it did.
    Load(LoadOrder),
    /// Fetch a page of the past, publish it, and reply with what came.
    Page(PageOrder),
    /// Fetch a source's instrument list and reply with what it knows.
    Instruments(SourceId, Duration, ReplyTo<Result<State, Judgement>>),
}

/// One fetch for a caller.
pub struct FetchOrder {
    /// Whom to ask.
    pub source: SourceId,
    /// What to ask.
    pub query: Query,
    /// Time over all attempts; `None` = the source's own.
    pub deadline: Option<Duration>,
    /// Attempts at most; `None` = the source's own.
    pub attempts_max: Option<u32>,
    /// Where the answer goes. When nobody waits for it any more, the fetch is dropped.
    pub reply: ReplyTo<Result<Fetched, Judgement>>,
}

/// Serves commands until the senders are gone.
pub async fn serve(lanes: Rc<Vec<Rc<Lane>>>, mut mailbox: Mailbox<Command>, publisher: Rc<Publisher>, tasks: Tasks) {
    let find = |source: SourceId| lanes.iter().find(|lane| lane.source.spec().id == source).cloned();
    let unknown = |source: SourceId| Judgement::unservable("source_unknown", format!("{source} is not on this shard"));
    while let Some(command) = mailbox.recv().await {
        match command {
            Command::Fetch(order) => match find(order.source) {
                Some(lane) => tasks.spawn(answer(lane, order)),
                None => {
                    let _ = order.reply.send(Err(unknown(order.source)));
                }
            },
            Command::Force(source, force) => {
                if let Some(lane) = find(source) {
                    lane.force(force);
                }
            }
            Command::Load(order) => match find(order.source) {
                Some(lane) => tasks.spawn(load(lane, order, publisher.clone())),
                None => {
                    let _ = order.reply.send(LoadReport::default());
                }
            },
            Command::Page(order) => match find(order.source) {
                Some(lane) => tasks.spawn(page::serve(lane, order, publisher.clone())),
                None => {
                    let _ = order.reply.send(Err(unknown(order.source)));
                }
            },
            Command::Instruments(source, within, reply) => match find(source) {
                Some(lane) => tasks.spawn(async move {
                    let query = Query { whole_market: true, ..Query::new(lane.source.spec().kinds[0].kind) };
                    let deadline = Deadline::after(Mono::now(), within);
                    let fetched = prerequisites::fetch_named(&lane, "instruments", &query, deadline).await;
                    let _ = reply.send(fetched.map(|()| lane.state.borrow().clone()));
                }),
                None => {
                    let _ = reply.send(Err(unknown(source)));
                }
            },
        }
    }
}

async fn answer(lane: Rc<Lane>, mut order: FetchOrder) {
    let deadline = Deadline::after(Mono::now(), order.deadline.unwrap_or(lane.deadline));
    let attempts = order.attempts_max.unwrap_or(lane.attempts_max);
    let fetched = async { Some(fetch_span(&lane, &order.query, deadline, attempts).await) };
    // A caller that went away frees the request's slots at once.
    let abandoned = async {
        order.reply.abandoned().await;
        None
    };
    let fetched = futures_lite::future::or(fetched, abandoned).await;
    if let Some(fetched) = fetched {
        let _ = order.reply.send(fetched);
    }
}

/// Asks once more where the first answer tells no more than where a span begins.
async fn fetch_span(lane: &Lane, query: &Query, deadline: Deadline, attempts: u32) -> Result<Fetched, Judgement> {
    let fetched = fetch(lane, query, deadline, attempts).await?;
    match &fetched.next {
        Some(next) if fetched.records.is_empty() && query.range.is_some() && query.cursor.is_none() => {
            fetch(lane, &query.clone().cursor(next.clone()), deadline, attempts).await
        }
        _ => Ok(fetched),
    }
}
