//! A connected socket, plain or TLS, read through one buffer that all connections of a shard share: it is initialized
//! once, so that no read zero-fills memory or hands uninitialized memory out, and an idle connection has no buffer.
#![allow(unsafe_code)]

use std::cell::{RefCell, RefMut};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

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

/// A stream, and the buffer that it is read through.
pub(super) struct Io {
    stream: Stream,
    scratch: Scratch,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Scratch(Rc::new(RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice())))
    }

    /// The buffer, until the caller next waits.
    pub(super) fn borrow_mut(&self) -> RefMut<'_, [u8]> {
        RefMut::map(self.0.borrow_mut(), |buffer| &mut buffer[..])
    }
}

impl Io {
    pub(super) fn new(stream: Stream, scratch: Scratch) -> Self {
        Io { stream, scratch }
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            // A socket has nothing to flush.
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Whether there is nothing to read, not even an end.
    pub(super) fn poll_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        let scratch = self.scratch.clone();
        let mut buffer = scratch.borrow_mut();
        self.poll_read(cx, &mut buffer).is_pending()
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

/// One record of TLS; larger reads of a plain socket gain nothing that shows in a profile.
const SCRATCH_BYTES: usize = 16 << 10;
