//! From a request to its answer: which source is asked, what the profile has in store for it, and the answer rendered or
//! taken from what was rendered a moment ago.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE, ETAG, HOST, HeaderValue, IF_NONE_MATCH, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};

use crate::runtime;
use crate::sim::actor::{Actor, Counts, Decision};
use crate::sim::answers::{Answers, asked};
use crate::sim::body::{self, Body};
use crate::sim::connection::{End, Link};
use crate::sim::fault::Fault;
use crate::sim::limits;
use crate::sim::profile::Profile;
use crate::sim::server::host_name;
use crate::source::SOURCES;
use crate::time::{Mono, Now, UnixNanos};

type Incoming = Request<hyper::body::Incoming>;

/// Answers by source, base, method, key and target, with the moment they were rendered for.
type Rendered = HashMap<Vec<u8>, (i64, Response<Bytes>)>;

/// Answers requests; keeps what it rendered for a moment, so that the rate of requests is not bound by rendering.
pub struct Service {
    answers: Answers,
    hosts: HashMap<String, (usize, usize)>,
    rendered: RefCell<Rendered>,
    swept: Cell<i64>,
    actors: RefCell<Vec<Actor>>,
    /// Whether any source has a fault of TLS.
    breaks_handshakes: Cell<bool>,
    links: RefCell<BTreeMap<u64, Weak<Link>>>,
    opened: Cell<u64>,
    /// The last bomb and its size.
    bomb: RefCell<Option<(usize, Bytes)>>,
}

/// A connection in the service's list of them; dropping it takes it out.
pub struct Registered<'a>(&'a Service, u64);

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.0.links.borrow_mut().remove(&self.1);
    }
}

/// Whom a request asks.
struct Placed<'a> {
    source: usize,
    base: usize,
    target: &'a str,
}

impl Service {
    /// A service under a profile.
    pub fn new(answers: Answers, profile: &Profile) -> Self {
        let service = Service {
            answers,
            hosts: hosts(),
            rendered: RefCell::default(),
            swept: Cell::default(),
            actors: RefCell::new(SOURCES.iter().map(|_| Actor::default()).collect()),
            breaks_handshakes: Cell::default(),
            links: RefCell::default(),
            opened: Cell::default(),
            bomb: RefCell::default(),
        };
        service.follow(profile);
        service
    }

    /// Puts a profile into force from now on. Connections end in order, so that faults of connections begin and end
    /// with it.
    pub fn follow(&self, profile: &Profile) {
        let now = Mono::now();
        let mut actors = self.actors.borrow_mut();
        for (actor, source) in actors.iter_mut().zip(SOURCES) {
            actor.follow(profile, source.spec().id.as_str(), now);
        }
        self.breaks_handshakes.set(actors.iter().any(Actor::breaks_handshakes));
        for link in self.links.borrow().values().filter_map(Weak::upgrade) {
            link.end(End::Orderly);
        }
    }

    /// What every source has done.
    pub fn counts(&self) -> BTreeMap<String, Counts> {
        let actors = self.actors.borrow();
        let counted = SOURCES.iter().zip(actors.iter());
        counted.map(|(source, actor)| (source.spec().id.as_str().to_owned(), actor.counts())).collect()
    }

    /// Puts a connection into the list of those that end when the profile changes.
    pub fn register(&self, link: &Rc<Link>) -> Registered<'_> {
        let id = self.opened.get() + 1;
        self.opened.set(id);
        self.links.borrow_mut().insert(id, Rc::downgrade(link));
        Registered(self, id)
    }

    /// Whether handshakes have to be looked at one by one.
    pub fn breaks_handshakes(&self) -> bool {
        self.breaks_handshakes.get()
    }

    /// What goes wrong with a handshake for this host name.
    pub fn handshake(&self, name: &str) -> Option<Fault> {
        let (source, _) = self.hosts.get(name)?;
        self.actors.borrow_mut()[*source].handshake(Mono::now())
    }

    /// Answers a request.
    pub async fn answer(self: Rc<Self>, request: Incoming, link: Rc<Link>) -> Result<Response<Body>, Infallible> {
        let Some(placed) = self.place(&request) else {
            return Ok(text(404, "expected the host name of a source, or /<source>/ before the path\n"));
        };
        if self.actors.borrow()[placed.source].is_plain() {
            return Ok(self.rendered(&request, &placed).map(Body::Whole));
        }
        let asked = asked(placed.source, placed.base, request.method().as_str(), placed.target);
        let decision = self.actors.borrow_mut()[placed.source].decide(&asked, Now::read());
        drop(asked);
        self.act(&request, &placed, decision, &link).await
    }

    /// Does what was decided.
    async fn act(
        &self,
        request: &Incoming,
        placed: &Placed<'_>,
        decision: Decision,
        link: &Rc<Link>,
    ) -> Result<Response<Body>, Infallible> {
        if !decision.delay.is_zero() {
            runtime::sleep(decision.delay).await;
        }
        if decision.once {
            link.end(End::Orderly);
        }
        let headers = match decision.admitted {
            Ok(headers) => headers,
            Err(refusal) => {
                let mut response = text(refusal.status, refusal.body);
                add(&mut response, &refusal.headers);
                return Ok(response);
            }
        };
        let mut response = match decision.fault {
            Some(fault) => self.spoiled(request, placed, fault, decision.clock, link).await,
            None => self.rendered(request, placed).map(Body::Whole),
        };
        add(&mut response, &headers);
        Ok(response)
    }

    /// The answer that a fault makes of the right one.
    async fn spoiled(
        &self,
        request: &Incoming,
        placed: &Placed<'_>,
        fault: Fault,
        clock: UnixNanos,
        link: &Rc<Link>,
    ) -> Response<Body> {
        if let Some((status, content_type, body)) = fault.replaces() {
            let mut response = text(status, body);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            if let Fault::Http503 { retry_after } = fault {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after.as_secs()));
            }
            return response;
        }
        match &fault {
            Fault::LimitNotice => return text(200, limits::notice(SOURCES[placed.source].spec().id.as_str()).body),
            Fault::Stall { lasting } => {
                runtime::sleep(*lasting).await;
                return never(link).await;
            }
            Fault::Reset => return never(link).await,
            Fault::IdleClose { after } => {
                let (link, after) = (Rc::downgrade(link), *after);
                runtime::spawn(async move {
                    runtime::sleep(after).await;
                    if let Some(link) = link.upgrade() {
                        link.end(End::Silent);
                    }
                })
                .detach();
            }
            _ => {}
        }
        let authorized = self.answers.is_authorized(placed.source, placed.base, placed.target, request);
        let method = request.method().as_str();
        let right = self.answers.answer(placed.source, placed.base, method, placed.target, authorized, clock);
        let (mut head, right) = right.into_parts();
        let body = match &fault {
            Fault::Bomb { bytes } => {
                head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                Body::Whole(self.bomb(*bytes))
            }
            Fault::ClockSkew { .. } => {
                let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + clock.since(UnixNanos::EPOCH));
                head.headers.extend(HeaderValue::try_from(date).ok().map(|date| (DATE, date)));
                Body::Whole(right)
            }
            Fault::OversizedBody { bytes } => Body::flood(*bytes),
            Fault::ResetBody => Body::cut(&right, link.clone()),
            Fault::SlowDrip { every } => Body::dripped(right, *every),
            Fault::WrongContentType => {
                head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
                Body::Whole(right)
            }
            Fault::WrongEncoding => {
                head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                Body::Whole(right)
            }
            fault => Body::Whole(fault.spoil(&right).unwrap_or(right)),
        };
        Response::from_parts(head, body)
    }

    fn bomb(&self, bytes: usize) -> Bytes {
        let mut kept = self.bomb.borrow_mut();
        if let Some((_, bomb)) = kept.as_ref().filter(|(size, _)| *size == bytes) {
            return bomb.clone();
        }
        let bomb = body::bomb(bytes).unwrap_or_default();
        *kept = Some((bytes, bomb.clone()));
        bomb
    }

    /// Which source a request is for, by host name or path prefix.
    fn place<'a>(&self, request: &'a Incoming) -> Option<Placed<'a>> {
        let host = request.uri().host().or_else(|| {
            let host = request.headers().get(HOST)?.to_str().ok()?;
            Some(host.rsplit_once(':').map_or(host, |(name, _)| name))
        });
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let placed = host.and_then(|host| self.hosts.get(host).copied());
        let placed = placed.map(|place| (place, target)).or_else(|| by_prefix(target));
        placed.map(|((source, base), target)| Placed { source, base, target })
    }

    /// The right answer, or "not changed" where the request names its ETag.
    fn rendered(&self, request: &Incoming, placed: &Placed<'_>) -> Response<Bytes> {
        let mut response = self.whole(request, placed);
        let is_known =
            response.headers().get(ETAG).is_some_and(|tag| request.headers().get(IF_NONE_MATCH) == Some(tag));
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Bytes::new();
            response.headers_mut().remove(CONTENT_TYPE);
        }
        response
    }

    /// The right answer, rendered at most a moment ago.
    fn whole(&self, request: &Incoming, placed: &Placed<'_>) -> Response<Bytes> {
        let Placed { source, base, target } = *placed;
        let now = UnixNanos::now();
        let bucket = now.as_millis() / RENDERED_MILLIS;
        let mut key = Vec::with_capacity(target.len() + 8);
        key.extend_from_slice(&[source as u8, base as u8, request.method().as_str().as_bytes()[0]]);
        key.push(u8::from(self.answers.is_authorized(source, base, target, request)));
        key.extend_from_slice(target.as_bytes());
        if let Some((at, response)) = self.rendered.borrow().get(&key)
            && *at == bucket
        {
            return response.clone();
        }
        let authorized = key[3] == 1;
        let response = self.answers.answer(source, base, request.method().as_str(), target, authorized, now);
        let mut rendered = self.rendered.borrow_mut();
        if rendered.len() >= RENDERED_MAX || self.swept.get() + 1_000 / RENDERED_MILLIS < bucket {
            rendered.retain(|_, (at, _)| *at == bucket);
            self.swept.set(bucket);
        }
        if rendered.len() < RENDERED_MAX {
            rendered.insert(key, (bucket, response.clone()));
        }
        response
    }
}

/// Resets the connection instead of an answer.
async fn never(link: &Link) -> Response<Body> {
    link.end(End::Reset);
    std::future::pending().await
}

fn add(response: &mut Response<Body>, headers: &[(&'static str, String)]) {
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(*name, value);
        }
    }
}

/// An answer of JSON or plain text.
fn text(status: u16, text: impl Into<Bytes>) -> Response<Body> {
    let body: Bytes = text.into();
    let content_type = if body.starts_with(b"{") { "application/json" } else { "text/plain" };
    let mut response = Response::new(Body::Whole(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn hosts() -> HashMap<String, (usize, usize)> {
    let mut hosts = HashMap::new();
    for (source, entry) in SOURCES.iter().enumerate() {
        let spec = entry.spec();
        for (base, entry) in spec.bases.iter().enumerate() {
            hosts.insert(host_name(spec.id.as_str(), entry.name, base), (source, base));
        }
    }
    hosts
}

fn by_prefix(target: &str) -> Option<((usize, usize), &str)> {
    let rest = target.strip_prefix('/')?;
    let (prefix, _) = rest.split_once('/')?;
    let (source, base) = prefix.split_once('.').map_or((prefix, None), |(source, base)| (source, Some(base)));
    let index = SOURCES.iter().position(|known| known.spec().id.as_str() == source)?;
    let base = match base {
        None => 0,
        Some(name) => SOURCES[index].spec().bases.iter().position(|known| known.name == name)?,
    };
    Some(((index, base), &rest[prefix.len()..]))
}

/// How long a rendered answer is served: short against every poll, long against 10,000 requests a second.
const RENDERED_MILLIS: i64 = 50;
const RENDERED_MAX: usize = 4_096;
