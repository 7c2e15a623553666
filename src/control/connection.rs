//! One connection of the admin server: HTTP/1.1 by hyper, under the times that a client may take. Which request is
//! answered how is not known here. Invariant: a connection that does not move on ends, with an answer that says why
//! where one can still be given.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, Shutdown};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_channel::oneshot;
use futures_lite::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, FutureExt as _};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::{Request, Response, StatusCode};

use crate::control::reply::{self, Content};
use crate::runtime::{self, TcpStream};
use crate::time::Mono;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waits for a request.
    Idle,
    /// Some of a request's head has come.
    Reading,
    /// The request is being answered.
    Answering,
    /// The answer has been made; what is left of it is being sent.
    Sending,
    /// The answer is a stream, which ends when its reader leaves.
    Streaming,
}

/// How a connection stands, for its own tasks and for the server.
pub(super) struct Link {
    phase: Cell<Phase>,
    since: Cell<Mono>,
    served: Cell<bool>,
    /// Since when the client has not taken what is to be sent.
    blocked: Cell<Option<Mono>>,
    evict: RefCell<Option<oneshot::Sender<bool>>>,
    /// The address that the connection came in at.
    pub(super) local: Option<IpAddr>,
}

/// Why a connection is ended from this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Another connection needs its place, and there is time to say so.
    Evicted,
    /// Another connection needs its place, and there is none.
    Expelled,
    /// Its time is over.
    Late,
}

impl Link {
    /// A connection that has just come, and what says that another needs its place.
    pub(super) fn new(local: Option<IpAddr>) -> (Rc<Link>, oneshot::Receiver<bool>) {
        let (evict, evicted) = oneshot::channel();
        let link = Link {
            phase: Cell::new(Phase::Idle),
            since: Cell::new(Mono::now()),
            served: Cell::new(false),
            blocked: Cell::new(None),
            evict: RefCell::new(Some(evict)),
            local,
        };
        (Rc::new(link), evicted)
    }

    /// The connection is in another phase.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(Mono::now());
    }

    /// The answer has been made and handed over.
    pub(super) fn answered(&self) {
        self.served.set(true);
        self.enter(Phase::Sending);
    }

    /// Since when it has waited for a request or for the rest of one; `None` while it is being served.
    pub(super) fn waiting_since(&self) -> Option<Mono> {
        matches!(self.phase.get(), Phase::Idle | Phase::Reading).then(|| self.since.get())
    }

    /// Ends the connection, so that another can have its place; `politely` is whether it may be told in peace.
    pub(super) fn evict(&self, politely: bool) {
        if let Some(evict) = self.evict.borrow_mut().take() {
            let _ = evict.send(politely);
        }
    }

    /// When it has to have moved on; `None` while nothing presses.
    fn due(&self, allowed: Duration) -> Option<Mono> {
        match self.phase.get() {
            Phase::Idle if self.served.get() => Some(self.since.get() + allowed.max(KEPT_IDLE)),
            Phase::Streaming => self.blocked.get().map(|since| since + allowed.max(BLOCKED_MAX)),
            // The body has its own time; this is for an answer that is not taken.
            Phase::Answering => Some(self.since.get() + allowed.saturating_mul(2)),
            _ => Some(self.since.get() + allowed),
        }
    }
}

/// Serves one connection until either side ends it. `allowed` is the time for a request and for its answer.
pub(super) async fn serve<S, F>(
    stream: TcpStream,
    link: Rc<Link>,
    evicted: oneshot::Receiver<bool>,
    allowed: Duration,
    answer: S,
) where
    S: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Content>>,
{
    let service = hyper::service::service_fn(|request| {
        let answering = answer(request);
        // hyper wants to move it.
        Box::pin(async move { Ok::<_, Infallible>(answering.await) })
    });
    let mut http = http1::Builder::new();
    http.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let mut connection = http.serve_connection(Io { stream, link: link.clone() }, service);
    let serving = async {
        let _ = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
        None
    };
    let ended = serving.or(watch(&link, allowed, evicted)).await;
    let mut stream = connection.into_parts().io.stream;
    let phase = link.phase.get();
    let unanswered = phase == Phase::Reading || (phase == Phase::Idle && !link.served.get());
    let told = match ended {
        Some(End::Late) if unanswered => Some((StatusCode::REQUEST_TIMEOUT, LATE)),
        Some(End::Evicted) if unanswered => Some((StatusCode::SERVICE_UNAVAILABLE, EVICTED)),
        _ => None,
    };
    if let Some((status, why)) = told {
        let _ = runtime::timeout(PARTING, stream.write_all(reply::raw(status, why).as_bytes())).await;
    }
    // A client that has sent nothing more is not waited for: the close takes nothing from it.
    if ended != Some(End::Expelled) && phase != Phase::Idle {
        let _ = runtime::timeout(PARTING, part(&mut stream)).await;
    }
}

/// Refuses a connection that there is no room for.
pub(super) async fn turn_away(mut stream: TcpStream) {
    let told = reply::raw(StatusCode::SERVICE_UNAVAILABLE, FULL);
    let telling = async {
        let _ = stream.write_all(told.as_bytes()).await;
        part(&mut stream).await;
    };
    let _ = runtime::timeout(PARTING, telling).await;
}

/// Waits until the connection is late or has to give way.
async fn watch(link: &Link, allowed: Duration, evicted: oneshot::Receiver<bool>) -> Option<End> {
    let late = async {
        loop {
            let now = Mono::now();
            match link.due(allowed) {
                Some(due) if due <= now => return Some(End::Late),
                due => runtime::sleep(due.map_or(STEP, |due| due.since(now).min(STEP))).await,
            }
        }
    };
    let evicted = async {
        match evicted.await {
            Ok(true) => Some(End::Evicted),
            Ok(false) => Some(End::Expelled),
            Err(_) => std::future::pending().await,
        }
    };
    late.or(evicted).await
}

/// Ends this side. What the client still sends is read for a moment: to close over it would reset the connection, and
/// the client would not see what it was told.
async fn part(stream: &mut TcpStream) {
    let _ = stream.shutdown(Shutdown::Write).await;
    let mut rest = [0; 4096];
    let mut read = 0;
    while let Ok(count) = stream.read(&mut rest).await {
        read += count;
        if count == 0 || read > REST_BYTES_MAX {
            return;
        }
    }
}

/// A socket for hyper, which notes how its connection moves on.
struct Io {
    stream: TcpStream,
    link: Rc<Link>,
}

impl hyper::rt::Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut bytes = [0_u8; 4096];
        let room = cursor.remaining().min(bytes.len());
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut bytes[..room]);
        read.map_ok(|count| {
            cursor.put_slice(&bytes[..count]);
            if count > 0 && self.link.phase.get() == Phase::Idle {
                self.link.enter(Phase::Reading);
            }
        })
    }
}

impl hyper::rt::Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        let blocked = if written.is_pending() { self.link.blocked.get().or_else(|| Some(Mono::now())) } else { None };
        self.link.blocked.set(blocked);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        // hyper flushes once everything it had has been written.
        if flushed.is_ready() && self.link.phase.get() == Phase::Sending {
            self.link.enter(Phase::Idle);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

const LATE: &str = "expected a whole request in time, found none";
const EVICTED: &str = "too many connections, and this one waited longest";
const FULL: &str = "too many connections, and all are being served";
/// A request's line and headers; more are answered with 431.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// A client that polls keeps its connection for at least so long.
const KEPT_IDLE: Duration = Duration::from_secs(30);
/// A reader of a stream that takes nothing for so long has left without a word.
const BLOCKED_MAX: Duration = Duration::from_secs(60);
/// How late a connection's lateness may be noticed.
const STEP: Duration = Duration::from_secs(1);
const PARTING: Duration = Duration::from_secs(1);
const REST_BYTES_MAX: usize = 1 << 20;
