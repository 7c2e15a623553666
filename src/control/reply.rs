//! What goes back to a client: JSON, text, and refusals in words, whole or as a stream.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::control::connection::{Link, Phase};
use crate::control::tap::Events;

/// The body of an answer.
pub(super) struct Content {
    whole: Option<Bytes>,
    events: Option<Events>,
    /// Told when the answer is over.
    link: Option<Rc<Link>>,
}

impl Content {
    /// Has the connection told when the answer has been handed over whole.
    pub(super) fn tell(&mut self, link: Rc<Link>) {
        if self.events.is_some() {
            link.enter(Phase::Streaming);
        }
        self.link = Some(link);
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        if let Some(link) = &self.link {
            link.answered();
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.events {
            Some(events) => events.poll_next(cx).map(|bytes| Some(Ok(Frame::data(bytes)))),
            None => Poll::Ready(self.whole.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.whole.is_none() && self.events.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.events {
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(self.whole.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}

/// An answer of any type.
pub(super) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Content> {
    let body = body.into();
    let whole = (!body.is_empty()).then_some(body);
    let mut response = Response::new(Content { whole, events: None, link: None });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

/// An answer that goes on until its reader leaves.
pub(super) fn stream(events: Events) -> Response<Content> {
    let mut response = answer(StatusCode::OK, "text/event-stream", Bytes::new());
    response.body_mut().events = Some(events);
    response
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Content> {
    let mut body = serde_json::to_vec(value).unwrap_or_default();
    body.push(b'\n');
    answer(status, JSON, body)
}

/// A refusal, with what was expected and found.
pub(super) fn refuse(status: StatusCode, why: impl Into<String>) -> Response<Content> {
    #[derive(Serialize)]
    struct Refusal {
        error: String,
    }
    json(status, &Refusal { error: why.into() })
}

/// A refusal as it is written where there is no request to answer: the connection closes behind it.
pub(super) fn raw(status: StatusCode, why: &str) -> String {
    let body = format!("{{\"error\":\"{why}\"}}\n");
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {JSON}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// The content type of the page.
pub(super) const HTML: &str = "text/html; charset=utf-8";
/// The content type of JSON.
pub(super) const JSON: &str = "application/json";
