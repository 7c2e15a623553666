//! The simulator's server: TLS, HTTP/1.1 and HTTP/2 on one core, each provider under a host name of its own.
//! A source's first base URL is `<source>.localhost`, its others `<base>.<source>.localhost`; where a client cannot
//! use names, the path prefixes `/<source>/` and `/<source>.<base>/` lead to the same.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_lite::{AsyncRead, AsyncWrite, StreamExt as _};
use futures_rustls::TlsAcceptor;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Response};

use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{self, CoreHandle, Placement, Tasks, TcpListener};
use crate::sim::answers::Answers;
use crate::sim::tls::{self, SimTls};
use crate::source::SOURCES;
use crate::time::UnixNanos;

/// How a simulator runs.
#[derive(Clone, Debug)]
pub struct SimSettings {
    /// Where it listens; port 0 is any.
    pub listen: SocketAddr,
    /// Where its thread runs.
    pub placement: Placement,
    /// Serves plain HTTP instead of HTTPS.
    pub plain: bool,
    /// A folder of recorded answers to serve instead of the samples.
    pub recordings: Option<std::path::PathBuf>,
}

/// A running simulator. Dropping it leaves it running; [`Sim::stop`] ends it.
#[derive(Debug)]
pub struct Sim {
    address: SocketAddr,
    ca_pem: Option<String>,
    stop: futures_channel::oneshot::Sender<()>,
    core: CoreHandle<()>,
}

impl Sim {
    /// Starts a simulator on a core of its own and returns once it listens.
    ///
    /// # Errors
    /// When the address is taken, or the host refuses another core.
    pub fn start(settings: SimSettings) -> Result<Sim> {
        let answers = Answers::load(settings.recordings.as_deref())?;
        let tls = if settings.plain { None } else { Some(tls::make(host_names())?) };
        let ca_pem = tls.as_ref().map(|tls| tls.ca_pem.clone());
        let (stop, stopped) = futures_channel::oneshot::channel();
        let (bound, listening) = std::sync::mpsc::sync_channel(1);
        let core = runtime::launch("sim", settings.placement, move || async move {
            match TcpListener::bind(settings.listen).and_then(|listener| Ok((listener.local_addr()?, listener))) {
                Ok((address, listener)) => {
                    let _ = bound.send(Ok(address));
                    serve(listener, tls, answers, stopped).await;
                }
                Err(error) => {
                    let _ = bound.send(Err(error.to_string()));
                }
            }
        })?;
        match listening.recv() {
            Ok(Ok(address)) => Ok(Sim { address, ca_pem, stop, core }),
            Ok(Err(why)) => {
                Err(Error::new(ErrorKind::Io, format!("simulator: cannot listen on {}: {why}", settings.listen)))
            }
            Err(_) => Err(Error::new(ErrorKind::Stopped, "simulator: its core ended at start")),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The authority to trust; `None` when it serves plain HTTP.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// The base URLs of every source: source id, base name, URL.
    pub fn base_urls(&self) -> Vec<(&'static str, &'static str, String)> {
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        let port = self.address.port();
        let mut urls = Vec::new();
        for source in SOURCES {
            let spec = source.spec();
            for (index, base) in spec.bases.iter().enumerate() {
                let host = host_name(spec.id.as_str(), base.name, index);
                urls.push((spec.id.as_str(), base.name, format!("{scheme}://{host}:{port}")));
            }
        }
        urls
    }

    /// Stops listening, ends every connection, and waits for the core.
    ///
    /// # Errors
    /// When the simulator panicked.
    pub fn stop(self) -> Result<()> {
        let _ = self.stop.send(());
        self.core.join()
    }
}

/// The host name of a base URL of a source. RFC 6761 keeps every name under `localhost` on the loopback.
pub fn host_name(source: &str, base: &str, index: usize) -> String {
    // Underscores are no letters of host names.
    let source = source.replace('_', "-");
    if index == 0 { format!("{source}.localhost") } else { format!("{base}.{source}.localhost") }
}

fn host_names() -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    for source in SOURCES {
        let spec = source.spec();
        names.extend(spec.bases.iter().enumerate().map(|(index, base)| host_name(spec.id.as_str(), base.name, index)));
    }
    names
}

async fn serve(
    listener: TcpListener,
    tls: Option<SimTls>,
    answers: Answers,
    stopped: futures_channel::oneshot::Receiver<()>,
) {
    let tasks = Tasks::default();
    let service = Rc::new(Service { answers, hosts: hosts(), rendered: RefCell::default(), swept: Cell::default() });
    let acceptor = tls.map(|tls| TlsAcceptor::from(tls.server));
    let accepting = async {
        let mut incoming = listener.incoming();
        while let Some(accepted) = incoming.next().await {
            match accepted {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    tasks.spawn(connection(stream, acceptor.clone(), service.clone()));
                }
                // Out of descriptors, most likely: give connections time to end.
                Err(_) => runtime::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    futures_lite::future::or(accepting, async {
        let _ = stopped.await;
    })
    .await;
    tasks.cancel_all().await;
}

async fn connection(stream: runtime::TcpStream, acceptor: Option<TlsAcceptor>, service: Rc<Service>) {
    let answer = move |request: Request<hyper::body::Incoming>| {
        let response = service.answer(&request);
        async move { Ok::<_, Infallible>(response) }
    };
    let handler = hyper::service::service_fn(answer);
    let Some(acceptor) = acceptor else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(Io(stream), handler).await;
        return;
    };
    let Some(Ok(stream)) = runtime::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await else { return };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let streams = hyper::server::conn::http2::Builder::new(LocalExecutor).serve_connection(Io(stream), handler);
        let _ = streams.await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(Io(stream), handler).await;
    }
}

/// Answers by source, base, method, key and target, with the moment they were rendered for.
type Rendered = HashMap<Vec<u8>, (i64, Response<Bytes>)>;

/// Answers requests; keeps what it rendered for a moment, so that the rate of requests is not bound by rendering.
struct Service {
    answers: Answers,
    hosts: HashMap<String, (usize, usize)>,
    rendered: RefCell<Rendered>,
    swept: Cell<i64>,
}

impl Service {
    fn answer(&self, request: &Request<hyper::body::Incoming>) -> Response<Full<Bytes>> {
        let host = request.uri().host().or_else(|| {
            let host = request.headers().get(HOST)?.to_str().ok()?;
            Some(host.rsplit_once(':').map_or(host, |(name, _)| name))
        });
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let placed = host
            .and_then(|host| self.hosts.get(host).copied())
            .map(|place| (place, target))
            .or_else(|| by_prefix(target));
        let Some(((source, base), target)) = placed else {
            return plain(404, "expected the host name of a source, or /<source>/ before the path\n");
        };
        let now = UnixNanos::now();
        let bucket = now.as_millis() / RENDERED_MILLIS;
        let mut key = Vec::with_capacity(target.len() + 8);
        key.extend_from_slice(&[source as u8, base as u8, request.method().as_str().as_bytes()[0]]);
        key.push(u8::from(self.answers.is_authorized(source, base, target, request)));
        key.extend_from_slice(target.as_bytes());
        if let Some((at, response)) = self.rendered.borrow().get(&key)
            && *at == bucket
        {
            return response.clone().map(Full::new);
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
        response.map(Full::new)
    }
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

/// A response of plain text.
pub fn plain(status: u16, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/plain"));
    response
}

/// hyper's spawner on this core.
#[derive(Clone, Debug)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        runtime::spawn(future).detach();
    }
}

/// A stream for hyper, by way of a copy: the simulator needs no unsafe code for the last percent.
struct Io<S>(S);

impl<S: AsyncRead + Unpin> hyper::rt::Read for Io<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut bytes = [0_u8; 4096];
        let len = cursor.remaining().min(bytes.len());
        Pin::new(&mut self.0).poll_read(cx, &mut bytes[..len]).map_ok(|read| cursor.put_slice(&bytes[..read]))
    }
}

impl<S: AsyncWrite + Unpin> hyper::rt::Write for Io<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long a rendered answer is served: short against every poll, long against 10,000 requests a second.
const RENDERED_MILLIS: i64 = 50;
const RENDERED_MAX: usize = 4_096;
