//! One HTTP/1.1 connection. It has no task: whoever uses it moves it on, and while idle it costs nothing but its memory.
//! Invariant: a connection whose exchange was dropped midway is dropped with it, never given back.

use std::cell::Cell;
use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hyper::client::conn::http1::{Builder, Connection, SendRequest};

use crate::http::failure::{self, Failure, Phase};
use crate::http::io::{Io, Traffic};
use crate::http::limits::Timings;
use crate::http::pool::Slot;
use crate::http::receive::{Bounds, Drive, Fault, Payload, Raw, receive};
use crate::time::Mono;

/// A connection, idle or in use.
pub(super) struct H1 {
    sender: SendRequest<Payload>,
    /// `None` once it is over.
    connection: Option<Connection<Io, Payload>>,
    traffic: Rc<Cell<Traffic>>,
    pub(super) slot: Slot,
    pub(super) born: Mono,
    pub(super) uses: u32,
}

impl H1 {
    pub(super) async fn new(io: Io, slot: Slot, now: Mono) -> Result<Box<H1>, Failure> {
        let traffic = io.traffic();
        let (sender, connection) = Builder::new()
            // Reserved, not touched: reads put only what came into it. A head must fit in.
            .read_buf_exact_size(Some(HEAD_BYTES_MAX))
            .max_headers(HEADERS_MAX)
            .writev(false)
            .handshake(io)
            .await
            .map_err(|error| Failure::before(Phase::Connect, failure::CONNECT_FAILED, error.to_string()))?;
        Ok(Box::new(H1 { sender, connection: Some(connection), traffic, slot, born: now, uses: 0 }))
    }

    /// Sends a request and reads the answer.
    pub(super) async fn exchange(
        &mut self,
        request: hyper::Request<Payload>,
        bounds: &Bounds<'_>,
        timings: &mut Timings,
    ) -> Result<Raw, Fault> {
        self.uses += 1;
        let before = self.traffic.get();
        let response = self.sender.try_send_request(request);
        let raw = receive(self, response, bounds, timings).await;
        if raw.is_ok() && !self.is_reusable() {
            // The end of a chunked body leaves one step to do.
            std::future::poll_fn(|cx| {
                self.drive(cx);
                Poll::Ready(())
            })
            .await;
        }
        let after = self.traffic.get();
        timings.bytes_in = after.read - before.read;
        timings.bytes_out = after.written - before.written;
        raw
    }

    /// Closes it and keeps its place in the pool for another.
    pub(super) fn into_slot(self: Box<Self>) -> Slot {
        let H1 { slot, .. } = *self;
        slot.reopen()
    }

    /// Whether another exchange can follow.
    pub(super) fn is_reusable(&self) -> bool {
        self.connection.is_some() && self.sender.is_ready()
    }

    /// Looks whether the peer has closed an idle connection.
    pub(super) fn is_alive(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.is_reusable()
    }
}

impl Drive for H1 {
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(cx).is_ready()
        {
            self.connection = None;
        }
    }

    const WAKES: bool = false;
}

/// Some providers send cookies and policies of 8 KiB and more in one header.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Beyond any known provider; a flood of headers ends here.
const HEADERS_MAX: usize = 200;
