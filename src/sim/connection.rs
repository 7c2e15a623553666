//! One connection of the simulator: the handshake with its faults, HTTP/1.1 or HTTP/2 over it, and its end, which may be
//! orderly, silent or a reset.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};
use futures_rustls::{LazyConfigAcceptor, TlsAcceptor, server::TlsStream};
use hyper::server::conn::{http1, http2};

use crate::http::close_by_reset;
use crate::runtime::{self, TcpStream};
use crate::sim::fault::Fault;
use crate::sim::service::Service;
use crate::sim::tls::SimTls;

/// What ends a connection from within an answer.
#[derive(Default)]
pub struct Link {
    end: Rc<Cell<End>>,
    waker: RefCell<Option<Waker>>,
}

/// How a connection is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// It goes on.
    #[default]
    Open,
    /// Once what is under way has been answered, with notice to the peer.
    Orderly,
    /// At once, without a word.
    Silent,
    /// At once, by a reset.
    Reset,
}

impl Link {
    /// Ends the connection; a rougher end than one already asked for counts.
    pub fn end(&self, end: End) {
        self.end.set(self.end.get().max(end));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Serves one connection until it ends.
pub async fn serve(stream: TcpStream, tls: Option<SimTls>, service: Rc<Service>) {
    let link = Rc::new(Link::default());
    let _registered = service.register(&link);
    let Some(tls) = tls else {
        return http_one(Io { stream, end: link.end.clone() }, &service, &link).await;
    };
    let Some(Some(stream)) = runtime::timeout(HANDSHAKE_MAX, handshake(stream, tls, &service)).await else { return };
    let is_two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = Io { stream, end: link.end.clone() };
    if !is_two {
        return http_one(io, &service, &link).await;
    }
    let handler = hyper::service::service_fn(|request| service.clone().answer(request, link.clone()));
    let mut streams = pin!(http2::Builder::new(LocalExecutor).serve_connection(io, handler));
    let mut closing = false;
    poll_fn(|cx| {
        if link.is_over(cx, &mut closing, || streams.as_mut().graceful_shutdown()) {
            return Poll::Ready(());
        }
        streams.as_mut().poll(cx).map(drop)
    })
    .await;
}

async fn http_one<S: Socket>(io: Io<S>, service: &Rc<Service>, link: &Rc<Link>) {
    let handler = hyper::service::service_fn(|request| service.clone().answer(request, link.clone()));
    let mut exchanges = pin!(http1::Builder::new().serve_connection(io, handler));
    let mut closing = false;
    poll_fn(|cx| {
        if link.is_over(cx, &mut closing, || exchanges.as_mut().graceful_shutdown()) {
            return Poll::Ready(());
        }
        exchanges.as_mut().poll(cx).map(drop)
    })
    .await;
}

impl Link {
    /// Whether the connection is to be dropped now; begins an orderly end once.
    fn is_over(&self, cx: &mut Context<'_>, closing: &mut bool, shut_down: impl FnOnce()) -> bool {
        match self.end.get() {
            End::Silent | End::Reset => return true,
            End::Orderly if !*closing => {
                *closing = true;
                shut_down();
            }
            End::Open | End::Orderly => {}
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        false
    }
}

/// The handshake, or none where the profile breaks it.
async fn handshake(stream: TcpStream, tls: SimTls, service: &Service) -> Option<TlsStream<TcpStream>> {
    if !service.breaks_handshakes() {
        return TlsAcceptor::from(tls.server).accept(stream).await.ok();
    }
    // The name that the client asks for says which source's faults apply.
    let start = LazyConfigAcceptor::new(Default::default(), stream).await.ok()?;
    let fault = start.client_hello().server_name().and_then(|name| service.handshake(name));
    let config = match fault {
        Some(Fault::TlsExpired) => tls.expired,
        Some(_) => tls.refusing,
        None => tls.server,
    };
    start.into_stream(config).await.ok()
}

/// hyper's spawner on this core.
#[derive(Clone, Debug)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        runtime::spawn(future).detach();
    }
}

/// A byte stream over a socket.
trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// The socket.
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// A stream for hyper, by way of a copy: the simulator needs no unsafe code for the last percent.
struct Io<S: Socket> {
    stream: S,
    end: Rc<Cell<End>>,
}

impl<S: Socket> Drop for Io<S> {
    fn drop(&mut self) {
        if self.end.get() == End::Reset {
            // A socket that is gone already cannot be reset any more, which comes to the same.
            let _ = close_by_reset(self.stream.tcp());
        }
    }
}

impl<S: Socket> hyper::rt::Read for Io<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut bytes = [0_u8; 4096];
        let len = cursor.remaining().min(bytes.len());
        Pin::new(&mut self.stream).poll_read(cx, &mut bytes[..len]).map_ok(|read| cursor.put_slice(&bytes[..read]))
    }
}

impl<S: Socket> hyper::rt::Write for Io<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
