//! The webhook: alerts as JSON, posted to an address of the operator's, tried again until they are taken or too old.
//! Invariants: the queue is bounded, the oldest give way; the address is shown nowhere but for its host.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::FutureExt as _;
use serde::Serialize;

use crate::config::Secret;
use crate::error::Result;
use crate::handoff::Stop;
use crate::http::{Client, Endpoint, Limits, Timings};
use crate::metrics::{Alert, Snapshot};
use crate::policy::Backoff;
use crate::runtime;
use crate::time::{Deadline, Mono};
use crate::wire::Request;

/// Posts alerts.
pub(super) struct Webhook {
    client: Client,
    endpoint: Endpoint,
    target: String,
    outbox: Outbox,
    tries: u32,
    next: Mono,
}

/// Where alerts wait to be posted; clones share it.
#[derive(Clone, Default)]
pub(super) struct Outbox(Rc<RefCell<VecDeque<Post>>>);

#[derive(Clone)]
struct Post {
    body: Rc<str>,
    made: Mono,
}

/// What is posted.
#[derive(Serialize)]
struct Message<'a> {
    version: &'a str,
    run: &'a str,
    #[serde(flatten)]
    alert: &'a Alert,
}

impl Webhook {
    /// Posts to `url` by `client`.
    ///
    /// # Errors
    /// When the address is none.
    pub(super) fn new(client: Client, url: &Secret) -> Result<Webhook> {
        let url = url.expose();
        let path = url.find("://").and_then(|at| Some(at + 3 + url[at + 3..].find('/')?));
        let (base, target) = path.map_or((url, "/"), |at| url.split_at(at));
        let (base, query) = base.split_once('?').unwrap_or((base, ""));
        let target = if query.is_empty() { target.to_owned() } else { format!("/?{query}") };
        let endpoint = Endpoint::parse(base)?;
        Ok(Webhook { client, endpoint, target, outbox: Outbox::default(), tries: 0, next: Mono::default() })
    }

    /// Where alerts for it wait.
    pub(super) fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Posts until told to stop, and once more then.
    pub(super) async fn run(mut self, stop: Stop) {
        while !stop.is_stopped() {
            self.send().await;
            runtime::sleep(STEP).or(stop.stopped()).await;
        }
        self.next = Mono::default();
        let _ = runtime::timeout(FINISH, self.send()).await;
        self.client.close().await;
    }

    /// Posts what waits, one after the other, until one is not taken; returns at once while it is not time yet.
    async fn send(&mut self) {
        while let Some(post) = self.outbox.front() {
            let now = Mono::now();
            if now < self.next {
                return;
            }
            if now.since(post.made) > AGE_MAX {
                self.outbox.taken();
                tracing::warn!(host = self.endpoint.host(), "an alert was never posted: it is too old");
                continue;
            }
            match self.post(&post).await {
                Ok(()) => {
                    self.outbox.taken();
                    self.tries = 0;
                }
                Err(why) => {
                    self.tries += 1;
                    self.next = Mono::now() + BACKOFF.span(self.tries);
                    if self.tries == 1 {
                        let host = self.endpoint.host();
                        tracing::warn!(host, why, "an alert could not be posted; it is tried again");
                    }
                }
            }
        }
    }

    async fn post(&self, post: &Post) -> std::result::Result<(), String> {
        let request =
            Request::post(self.target.as_str(), post.body.to_string()).header("content-type", "application/json");
        let limits = Limits { body_bytes_max: 64 << 10, ..Limits::default() };
        let deadline = Deadline::after(Mono::now(), POST_MAX);
        let answer = self.client.exchange(&self.endpoint, &request, &limits, deadline, &mut Timings::default()).await;
        match answer {
            Ok(answer) if answer.is_success() => Ok(()),
            Ok(answer) => Err(format!("it answers {}", answer.status)),
            // Its message may tell more of the address than the log should know.
            Err(failure) => Err(failure.reason.to_owned()),
        }
    }
}

impl Outbox {
    /// Queues an alert.
    pub(super) fn push(&self, alert: &Alert, snapshot: &Snapshot) {
        let message = Message { version: &snapshot.version, run: &snapshot.run, alert };
        let Ok(body) = serde_json::to_string(&message) else { return };
        let mut waiting = self.0.borrow_mut();
        if waiting.len() >= WAITING_MAX {
            waiting.pop_front();
            tracing::warn!("an alert was never posted: too many wait");
        }
        waiting.push_back(Post { body: body.into(), made: Mono::now() });
    }

    fn front(&self) -> Option<Post> {
        self.0.borrow().front().cloned()
    }

    fn taken(&self) {
        self.0.borrow_mut().pop_front();
    }
}

const STEP: Duration = Duration::from_millis(250);
const WAITING_MAX: usize = 100;
const AGE_MAX: Duration = Duration::from_secs(3_600);
const POST_MAX: Duration = Duration::from_secs(10);
const FINISH: Duration = Duration::from_secs(2);
const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60) };
