//! What the simulator answers: rendered samples, or recorded answers at the paths they were recorded at.

use std::hash::{DefaultHasher, Hasher as _};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue};

use crate::error::{Error, ErrorKind, Result};
use crate::sim::recordings::Recordings;
use crate::sim::render;
use crate::sim::routes::{Asked, Routes};
use crate::source::SOURCES;
use crate::time::UnixNanos;
use crate::wire::{Answer, Headers, Method, Request};

/// Everything the simulator can answer with.
#[derive(Debug)]
pub struct Answers {
    routes: Vec<Routes>,
    recordings: Option<Recordings>,
}

impl Answers {
    /// Reads the route files, and the recordings where a folder is given.
    ///
    /// # Errors
    /// When the folder holds no recordings.
    pub fn load(recordings: Option<&Path>) -> Result<Answers> {
        let routes = SOURCES.iter().map(|source| Routes::of(source.spec())).collect::<std::result::Result<_, _>>();
        let routes = routes.map_err(|why| Error::new(ErrorKind::Misuse, why))?;
        Ok(Answers { routes, recordings: recordings.map(Recordings::load).transpose()? })
    }

    /// Whether a request carries the key its source wants. Recorded answers are served to anybody.
    pub fn is_authorized<B>(&self, source: usize, base: usize, target: &str, request: &hyper::Request<B>) -> bool {
        let Some(auth) = &self.routes[source].auth else { return true };
        let asked = asked(source, base, request.method().as_str(), target);
        self.recordings.is_some() || auth.passes(&asked, |name| request.headers().contains_key(name))
    }

    /// The answer to a request.
    pub fn answer(
        &self,
        source: usize,
        base: usize,
        method: &str,
        target: &str,
        authorized: bool,
        now: UnixNanos,
    ) -> Response<Bytes> {
        let spec = SOURCES[source].spec();
        let asked = asked(source, base, method, target);
        if let Some(recordings) = &self.recordings {
            return match recordings.find(spec.id.as_str(), &asked) {
                Some(recorded) => response(recorded.status, recorded.content_type(), recorded.body.clone()),
                None => refusal(404, "no recording of this"),
            };
        }
        let routes = &self.routes[source];
        if let (false, Some(auth)) = (authorized, &routes.auth) {
            return match auth.sample.as_deref().and_then(|name| spec.sample(name)) {
                Some(body) => response(auth.status, json_or_text(body), Bytes::from_static(body.as_bytes())),
                None => refusal(auth.status, "a key is missing"),
            };
        }
        let Some((route, captures)) = routes.find(spec, &asked) else { return refusal(404, "no such path") };
        let sample = spec.sample(&route.sample).unwrap_or_default();
        let holds = route.holds.and_then(|interval| interval.duration());
        let at = holds.map_or(now, |holds| floor(now, holds));
        match render::render(route, sample, &asked, &captures, at) {
            Ok(body) => {
                let mut found = response(route.status, json_or_text(sample), Bytes::from(body));
                if holds.is_some() {
                    let tag = format!("W/\"{:x}\"", hash_of(found.body()));
                    found.headers_mut().extend(HeaderValue::try_from(tag).ok().map(|tag| (ETAG, tag)));
                }
                for (name, value) in &route.headers {
                    if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
                        found.headers_mut().append(name, value);
                    }
                }
                found
            }
            Err(why) => {
                tracing::error!(source = spec.id.as_str(), %why, "a sample cannot be served");
                refusal(500, "a sample cannot be served")
            }
        }
    }

    /// The answer to a source's own request, as the source would receive it.
    pub fn to_request(&self, source: usize, request: &Request, now: UnixNanos) -> Answer {
        let method = if request.method == Method::Get { "GET" } else { "POST" };
        let response = self.answer(source, request.base, method, request.target(), true, now);
        let (head, body) = response.into_parts();
        Answer { status: head.status.as_u16(), headers: Headers::from(&head.headers), body, ts_recv: now }
    }
}

/// A request as routes, limits and faults see it.
pub fn asked<'a>(source: usize, base: usize, method: &'a str, target: &'a str) -> Asked<'a> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let decode =
        |text: &str| percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let params = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    });
    Asked { base: SOURCES[source].spec().bases[base].name, method, path, params: params.collect() }
}

/// The last whole multiple of `step` up to `now`.
fn floor(now: UnixNanos, step: Duration) -> UnixNanos {
    let step = (step.as_nanos() as i64).max(1);
    UnixNanos::from_nanos(now.as_nanos().div_euclid(step) * step)
}

/// The same for the same bytes in every run.
fn hash_of(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    hasher.finish()
}

fn json_or_text(body: &str) -> &'static str {
    match body.trim_start().as_bytes().first() {
        Some(b'{' | b'[') => "application/json",
        Some(b'<') => "text/html",
        _ => "text/plain",
    }
}

fn response(status: u16, content_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn refusal(status: u16, message: &str) -> Response<Bytes> {
    response(status, "application/json", Bytes::from(format!("{{\"error\":\"simulator: {message}\"}}")))
}
