//! The socket as hyper sees it: plain or TLS, read through one scratch buffer that all connections of a shard share.
//! The scratch is initialized once, so no read zero-fills memory and none hands uninitialized memory out; a connection
//! keeps only the bytes that came.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_lite::{AsyncRead as _, AsyncWrite as _};
use futures_rustls::client::TlsStream;

use crate::runtime::{TcpListener, TcpStream};

/// A connected byte stream.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The buffer that reads of a shard go through.
#[derive(Clone)]
pub(super) struct Scratch(Rc<RefCell<Box<[u8]>>>);

/// Bytes that went over one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) read: u64,
    pub(super) written: u64,
}

/// A stream for hyper.
pub(super) struct Io {
    stream: Stream,
    scratch: Scratch,
    traffic: Rc<Cell<Traffic>>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Scratch(Rc::new(RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice())))
    }
}

impl Io {
    pub(super) fn new(stream: Stream, scratch: Scratch) -> Self {
        Io { stream, scratch, traffic: Rc::default() }
    }

    /// Whether there is nothing to read, not even an end.
    pub(super) fn poll_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        let mut scratch = self.scratch.0.borrow_mut();
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, &mut scratch).is_pending(),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, &mut scratch).is_pending(),
        }
    }

    pub(super) fn traffic(&self) -> Rc<Cell<Traffic>> {
        self.traffic.clone()
    }
}

impl hyper::rt::Read for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut scratch = this.scratch.0.borrow_mut();
        let room = cursor.remaining().min(scratch.len());
        let spare = &mut scratch[..room];
        let read = match &mut this.stream {
            Stream::Plain(stream) => ready!(Pin::new(stream).poll_read(cx, spare)),
            Stream::Tls(stream) => ready!(Pin::new(stream).poll_read(cx, spare)),
        }?;
        cursor.put_slice(&spare[..read]);
        let traffic = this.traffic.get();
        this.traffic.set(Traffic { read: traffic.read + read as u64, ..traffic });
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.stream {
            Stream::Plain(stream) => ready!(Pin::new(stream).poll_write(cx, bytes)),
            Stream::Tls(stream) => ready!(Pin::new(stream).poll_write(cx, bytes)),
        }?;
        let traffic = this.traffic.get();
        this.traffic.set(Traffic { written: traffic.written + written as u64, ..traffic });
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_close(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_close(cx),
        }
    }
}

/// Takes a socket into this core's executor.
pub(super) fn adopt(socket: socket2::Socket) -> TcpStream {
    debug_assert!(socket.as_raw_fd() >= 0);
    // SAFETY: `into_raw_fd` gives the descriptor's ownership up, and the stream made here is its one owner from now on.
    unsafe { TcpStream::from_raw_fd(socket.into_raw_fd()) }
}

/// Takes a listening socket into this core's executor, whose own way of binding would let two processes share a port.
pub fn adopt_listener(listener: std::net::TcpListener) -> TcpListener {
    // SAFETY: `into_raw_fd` gives the descriptor's ownership up, and the listener made here is its one owner from now on.
    unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) }
}

/// Has the close of a socket reset the connection: what is still to be sent is lost, and the peer sees an error instead
/// of an end. For servers that play a broken one.
///
/// # Errors
/// What the system says.
pub fn close_by_reset(stream: &TcpStream) -> io::Result<()> {
    // SAFETY: the descriptor is the stream's own, which is borrowed for longer than this function runs.
    let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(stream.as_raw_fd()) };
    socket2::SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO))
}

/// Has the allocator hand pages without a live byte back to the system: it does so by itself only while it is busy, and
/// what many connections give back at once is given back when nothing is going on. A program with another allocator than
/// mimalloc has nothing here to hand back.
pub(super) fn return_free_memory() {
    unsafe extern "C" {
        fn mi_collect(force: bool);
    }
    // Links the library that holds the function even where it is not the program's allocator.
    let _ = mimalloc::MiMalloc;
    // SAFETY: a function of mimalloc's public interface, to be called from any thread; it touches that thread's heap alone
    // and moves nothing that is live.
    unsafe { mi_collect(false) }
}

/// One byte less than hyper's smallest read buffer, which therefore never counts as filled and never grows: an idle
/// connection keeps 8 KiB of it. Larger reads gain nothing that shows in a profile.
const SCRATCH_BYTES: usize = (8 << 10) - 1;
