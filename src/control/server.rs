//! The admin server: accepts connections, bounds how many there are, and keeps what it last rendered for a moment, so
//! that many askers cost no more than one.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::{FutureExt as _, StreamExt as _};

use crate::config::Admin;
use crate::control::Plane;
use crate::control::connection::{self, Link};
use crate::control::guard::Guard;
use crate::control::routes::Routes;
use crate::handoff::Stop;
use crate::http::adopt_listener;
use crate::runtime::{self, Tasks, TcpStream};

/// Serves until told to stop.
pub(super) async fn serve(listener: std::net::TcpListener, admin: Admin, plane: Arc<dyn Plane>, stop: Stop) {
    let listen = listener.local_addr().unwrap_or(admin.listen);
    let guard = Guard::new(listen, &admin.hosts, admin.token.as_ref());
    let server = Server {
        connections_max: admin.connections_max,
        allowed: admin.request_timeout,
        routes: Rc::new(Routes::new(plane, guard, admin)),
        links: Rc::default(),
        tasks: Tasks::default(),
    };
    let listener = adopt_listener(listener);
    let accepting = async {
        let mut incoming = listener.incoming();
        while let Some(accepted) = incoming.next().await {
            match accepted {
                Ok(stream) => server.take(stream),
                // Out of descriptors, most likely: give connections time to end.
                Err(_) => runtime::sleep(REFUSED_PAUSE).await,
            }
        }
    };
    accepting.or(stop.stopped()).await;
    server.tasks.cancel_all().await;
}

struct Server {
    routes: Rc<Routes>,
    links: Rc<RefCell<Vec<Rc<Link>>>>,
    connections_max: usize,
    allowed: Duration,
    tasks: Tasks,
}

impl Server {
    /// Serves a connection; when there are too many, in the place of the one that has waited longest for its client.
    fn take(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        // Besides those that are served, as many may be told to leave; more leave without a word.
        let politely = self.tasks.len() < self.connections_max.saturating_mul(2);
        if self.links.borrow().len() >= self.connections_max && !self.make_room(politely) {
            if politely {
                self.tasks.spawn(connection::turn_away(stream));
            }
            return;
        }
        let (link, evicted) = Link::new(stream.local_addr().ok().map(|address| address.ip()));
        self.links.borrow_mut().push(link.clone());
        let (routes, links, allowed) = (self.routes.clone(), self.links.clone(), self.allowed);
        self.tasks.spawn(async move {
            // Leaves the list however the task ends.
            let _listed = Listed { link: link.clone(), links };
            let answer = |request| routes.answer(request, link.clone());
            connection::serve(stream, link.clone(), evicted, allowed, answer).await;
        });
    }

    /// Ends the connection that has waited longest; `false` when all are being served.
    fn make_room(&self, politely: bool) -> bool {
        let mut links = self.links.borrow_mut();
        let waiting = links.iter().enumerate().filter_map(|(index, link)| Some((link.waiting_since()?, index)));
        let Some((_, index)) = waiting.min() else { return false };
        links.swap_remove(index).evict(politely);
        true
    }
}

struct Listed {
    link: Rc<Link>,
    links: Rc<RefCell<Vec<Rc<Link>>>>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.links.borrow_mut().retain(|link| !Rc::ptr_eq(link, &self.link));
    }
}

const REFUSED_PAUSE: Duration = Duration::from_millis(20);
