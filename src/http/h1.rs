//! One HTTP/1.1 connection. It has no task: whoever uses it moves it on, and while idle it costs nothing but its memory.
//! Invariant: a connection whose exchange was dropped midway is dropped with it, never given back.

use std::cell::Cell;
use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};

use crate::http::failure::{self, Failure, Phase};
use crate::http::io::{Io, Traffic};
use crate::http::limits::Timings;
use crate::http::pool::Slot;
use crate::http::receive::{Bounds, Drive, Fault, Payload, Raw, receive};
use crate::time::Mono;

/// A connection, idle or in use.
pub(super) struct H1 {
    link: Link,
    traffic: Rc<Cell<Traffic>>,
    pub(super) slot: Slot,
    pub(super) born: Mono,
    pub(super) uses: u32,
}

enum Link {
    /// The socket alone: hyper's buffers and queues, some 25 KiB, are given back.
    Asleep(Io),
    Awake(Box<Awake>),
    Over,
}

struct Awake {
    sender: SendRequest<Payload>,
    connection: Connection<Io, Payload>,
}

impl H1 {
    pub(super) fn new(io: Io, slot: Slot, now: Mono) -> Box<H1> {
        Box::new(H1 { traffic: io.traffic(), link: Link::Asleep(io), slot, born: now, uses: 0 })
    }

    /// Sends a request and reads the answer.
    pub(super) async fn exchange(
        &mut self,
        request: hyper::Request<Payload>,
        bounds: &Bounds<'_>,
        timings: &mut Timings,
    ) -> Result<Raw, Fault> {
        self.uses += 1;
        self.wake().await;
        let before = self.traffic.get();
        let Link::Awake(awake) = &mut self.link else {
            let message = format!("{}: the connection is over", bounds.host);
            let failure =
                Failure { reused: bounds.reused, ..Failure::before(Phase::Send, failure::CLOSED_EARLY, message) };
            return Err(Fault { failure, stale: true });
        };
        let response = awake.sender.try_send_request(request);
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
    pub(super) fn into_slot(self) -> Slot {
        self.slot.reopen()
    }

    /// Whether another exchange can follow.
    pub(super) fn is_reusable(&self) -> bool {
        match &self.link {
            Link::Asleep(_) => true,
            Link::Awake(awake) => awake.sender.is_ready(),
            Link::Over => false,
        }
    }

    /// Looks whether the peer has closed an idle connection.
    pub(super) fn is_alive(&mut self) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        if let Link::Asleep(io) = &mut self.link {
            // The end, an error, and bytes that nobody asked for all mean that it is over.
            return io.poll_quiet(cx);
        }
        self.drive(cx);
        self.is_reusable()
    }

    /// Gives the buffers of an idle connection back, if it has any; the next exchange gets fresh ones.
    pub(super) fn sleep(&mut self) -> bool {
        let is_awake = matches!(self.link, Link::Awake(_));
        match std::mem::replace(&mut self.link, Link::Over) {
            Link::Awake(awake) => {
                let parts = awake.connection.into_parts();
                if parts.read_buf.is_empty() {
                    self.link = Link::Asleep(parts.io);
                }
            }
            other => self.link = other,
        }
        is_awake
    }

    async fn wake(&mut self) {
        if !matches!(self.link, Link::Asleep(_)) {
            return;
        }
        let Link::Asleep(io) = std::mem::replace(&mut self.link, Link::Over) else { return };
        let made = Builder::new()
            // A buffer of 8 KiB that grows to this for a long head alone; an exact size would be reserved as a whole.
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .writev(false)
            .handshake(io)
            .await;
        if let Ok((sender, connection)) = made {
            self.link = Link::Awake(Box::new(Awake { sender, connection }));
        }
    }
}

impl Drive for H1 {
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Link::Awake(awake) = &mut self.link
            && Pin::new(&mut awake.connection).poll(cx).is_ready()
        {
            self.link = Link::Over;
        }
    }

    const WAKES: bool = false;

    /// hyper gives an error for every body that ends before its framing says so.
    fn is_whole(&self, _: &Incoming) -> bool {
        true
    }
}

/// Some providers send cookies and policies of 8 KiB and more in one header.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Beyond any known provider; a flood of headers ends here.
const HEADERS_MAX: usize = 200;
