//! Which request gets which answer.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCEPT, ALLOW, CONNECTION, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use crate::config::Admin;
use crate::control::connection::{Link, Phase};
use crate::control::exposition::{Format, expose};
use crate::control::guard::{Guard, Refused};
use crate::control::reply::{self, Content, answer, json, refuse};
use crate::control::tap::Events;
use crate::control::{Plane, breakers, page, tap};
use crate::error::ErrorKind;
use crate::metrics::{Health, Snapshot};
use crate::runtime;
use crate::time::Mono;

/// The routes and what they answer from.
pub(super) struct Routes {
    plane: Arc<dyn Plane>,
    guard: Guard,
    admin: Admin,
    rendered: RefCell<Option<Rendered>>,
}

/// A snapshot and what was made of it.
struct Rendered {
    at: Mono,
    snapshot: Rc<Snapshot>,
    texts: [Option<Bytes>; 3],
}

/// What can be asked for by its path alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Page {
    Html,
    Livez,
    Metrics,
    Readyz,
    Records,
    Status,
}

impl Routes {
    /// Routes that answer from `plane` to whom `guard` admits.
    pub(super) fn new(plane: Arc<dyn Plane>, guard: Guard, admin: Admin) -> Self {
        Routes { plane, guard, admin, rendered: RefCell::default() }
    }

    /// Answers one request.
    pub(super) async fn answer(self: &Rc<Self>, request: Request<Incoming>, link: Rc<Link>) -> Response<Content> {
        link.enter(Phase::Answering);
        let (head, body) = request.into_parts();
        let mut response = match self.admit(&head, &link) {
            Ok(()) => self.route(&head, body).await,
            Err(refusal) => *refusal,
        };
        response.body_mut().tell(link);
        response
    }

    fn admit(&self, head: &Parts, link: &Link) -> Result<(), Box<Response<Content>>> {
        let public = matches!(head.uri.path(), "/" | "/livez" | "/readyz");
        let checked = self.guard.admit(head, link.local).and_then(|()| match public {
            true => Ok(()),
            false => self.guard.authorize(&head.headers),
        });
        let Err(refused) = checked else { return Ok(()) };
        let mut response = match refused {
            Refused::Host => refuse(
                StatusCode::FORBIDDEN,
                "expected one Host that names this server: localhost, its address, or one of admin.hosts",
            ),
            Refused::Origin => refuse(StatusCode::FORBIDDEN, "expected no Origin, or this server's own"),
            Refused::Token => {
                let mut response =
                    refuse(StatusCode::UNAUTHORIZED, "expected `Authorization: Bearer` with admin.token");
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                response
            }
        };
        // Nothing more is read of such a client, not even the body it may have announced.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        Err(Box::new(response))
    }

    async fn route(&self, head: &Parts, body: Incoming) -> Response<Content> {
        let path = head.uri.path();
        if let Some(source) = path.strip_prefix("/breakers/").filter(|source| !source.is_empty()) {
            return match head.method {
                Method::POST => self.force(source, body).await,
                _ => not_allowed("POST"),
            };
        }
        let page = match path {
            "/" => Page::Html,
            "/livez" => Page::Livez,
            "/metrics" => Page::Metrics,
            "/readyz" => Page::Readyz,
            "/records" => Page::Records,
            "/status" => Page::Status,
            _ => return refuse(StatusCode::NOT_FOUND, format!("expected one of {PATHS}")),
        };
        match head.method {
            Method::GET | Method::HEAD => self.page(page, head),
            _ => not_allowed("GET, HEAD"),
        }
    }

    fn page(&self, page: Page, head: &Parts) -> Response<Content> {
        match page {
            Page::Html => html(),
            Page::Records => self.records(head.uri.query().unwrap_or_default()),
            Page::Status => answer(StatusCode::OK, reply::JSON, self.text(0, status)),
            Page::Metrics => {
                let format =
                    Format::negotiate(head.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()));
                let text = match format {
                    Format::OpenMetrics => self.text(1, |snapshot| expose(snapshot, Format::OpenMetrics)),
                    Format::Prometheus => self.text(2, |snapshot| expose(snapshot, Format::Prometheus)),
                };
                answer(StatusCode::OK, format.content_type(), text)
            }
            Page::Livez => {
                let health = &self.snapshot().health;
                let dead = health.reasons.iter().filter(|reason| reason.what.starts_with("shard-")).cloned();
                let reasons = dead.collect();
                healthy(health.live, &Health { live: health.live, ready: health.ready, reasons })
            }
            Page::Readyz => {
                let health = &self.snapshot().health;
                // A probe needs the status alone and has no token; the reasons name sources and files.
                let stranger = self.guard.authorize(&head.headers).is_err();
                let reasons = if stranger { Vec::new() } else { health.reasons.clone() };
                healthy(health.ready, &Health { live: health.live, ready: health.ready, reasons })
            }
        }
    }

    fn records(&self, query: &str) -> Response<Content> {
        let filter = match tap::filter(query) {
            Ok(filter) => filter,
            Err(why) => return refuse(StatusCode::BAD_REQUEST, why),
        };
        match self.plane.tap().join(filter, self.admin.tap_queue_len, self.admin.tap_readers_max) {
            Some(reader) => reply::stream(Events::new(reader)),
            None => {
                let most = self.admin.tap_readers_max;
                refuse(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("expected at most {most} readers (admin.tap_readers_max)"),
                )
            }
        }
    }

    async fn force(&self, source: &str, body: Incoming) -> Response<Content> {
        let too_long = || refuse(StatusCode::PAYLOAD_TOO_LARGE, format!("expected at most {BODY_BYTES_MAX} bytes"));
        if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
            return too_long();
        }
        let body =
            match runtime::timeout(self.admin.request_timeout, Limited::new(body, BODY_BYTES_MAX).collect()).await {
                None => return refuse(StatusCode::REQUEST_TIMEOUT, "expected a whole body in time, found none"),
                Some(Ok(body)) => body.to_bytes(),
                Some(Err(error)) if error.is::<http_body_util::LengthLimitError>() => return too_long(),
                Some(Err(_)) => return refuse(StatusCode::BAD_REQUEST, "expected a whole body, found a broken one"),
            };
        let force = match breakers::order(&body) {
            Ok(force) => force,
            Err(why) => return refuse(StatusCode::BAD_REQUEST, why),
        };
        match self.plane.force_breaker(source, force) {
            Ok(()) => {
                *self.rendered.borrow_mut() = None;
                let word = breakers::WORDS.iter().find(|(_, known)| *known == force).map_or("", |(word, _)| word);
                json(StatusCode::OK, &Forced { source, state: word })
            }
            Err(error) if error.kind() == ErrorKind::Misuse => refuse(StatusCode::NOT_FOUND, error.to_string()),
            Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        }
    }

    /// A snapshot that is at most [`KEPT`] old.
    fn snapshot(&self) -> Rc<Snapshot> {
        let now = Mono::now();
        let mut rendered = self.rendered.borrow_mut();
        match &*rendered {
            Some(known) if now.since(known.at) < KEPT => known.snapshot.clone(),
            _ => {
                let snapshot = Rc::new(self.plane.snapshot());
                *rendered = Some(Rendered { at: now, snapshot: snapshot.clone(), texts: [const { None }; 3] });
                snapshot
            }
        }
    }

    /// A text of that snapshot, made once.
    fn text(&self, index: usize, make: impl FnOnce(&Snapshot) -> String) -> Bytes {
        let snapshot = self.snapshot();
        let known = self.rendered.borrow().as_ref().and_then(|rendered| rendered.texts[index].clone());
        known.unwrap_or_else(|| {
            let text = Bytes::from(make(&snapshot));
            if let Some(rendered) = self.rendered.borrow_mut().as_mut() {
                rendered.texts[index] = Some(text.clone());
            }
            text
        })
    }
}

#[derive(Serialize)]
struct Forced<'a> {
    source: &'a str,
    state: &'a str,
}

fn status(snapshot: &Snapshot) -> String {
    let mut text = serde_json::to_string(snapshot).unwrap_or_default();
    text.push('\n');
    text
}

fn healthy(well: bool, health: &Health) -> Response<Content> {
    json(if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, health)
}

fn html() -> Response<Content> {
    let mut response = answer(StatusCode::OK, reply::HTML, page::HTML.as_str());
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&page::POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn not_allowed(allowed: &'static str) -> Response<Content> {
    let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, format!("expected {allowed}"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

const PATHS: &str = "/, /status, /metrics, /records, /livez, /readyz, /breakers/{source}";
const BODY_BYTES_MAX: usize = 1 << 10;
/// How long a snapshot is served: short against every eye, long against a client that asks without pause.
const KEPT: Duration = Duration::from_millis(200);
