//! The server of `--listen`: connections of a bounded number, length and head.
//!
//! Whoever can reach the port may try what they like. A connection serves one request after the
//! other, so that a page that polls needs one, and ends a minute after it began: the page opens
//! another. When one more connection comes than there may be, the one goes that has asked nothing
//! for the longest time: idle connections keep nobody out.
//!
//! Two hundred pages ask a hundred times a second. All of them are served on one thread, which has
//! a lower priority than those that fire: on a machine that is busy the pages wait, and no
//! occurrence does.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::address::{Listener, SocketFile, WebAddress};
use super::guard::{CameBy, HostName};
use super::site::Site;
use super::{quota, routes};
use crate::background::yield_to_sends;

/// Connections at once: some two hundred people with a page each, and who watches the daemon.
const MOST_CONNECTIONS: usize = 256;

/// A request's head has to be there within this time. A connection that asks nothing is closed as
/// soon: a page that is seen asks every two seconds.
const HEAD_WITHIN: Duration = Duration::from_secs(5);

/// A connection takes no further request after this time.
const LASTS: Duration = Duration::from_secs(60);

/// After that, an answer has to be made and read within this time. An answer is made within 20 s,
/// or refused.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// The greatest head that is read, in bytes. A browser's has some 2,000.
const MOST_HEAD: usize = 8 << 10;

/// Before accepting again when the machine has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A place that is listened at, and not served yet.
#[derive(Debug)]
pub struct WebServer {
    listener: Listener,
    address: WebAddress,
}

impl WebServer {
    /// Listens. Port 0 is any free one.
    ///
    /// # Errors
    /// When the address cannot be listened on: it is in use, or not one of this machine's.
    pub fn bind(address: &WebAddress) -> io::Result<WebServer> {
        let (listener, address) = Listener::bind(address)?;
        Ok(WebServer { listener, address })
    }

    /// The address on which the server listens.
    pub fn address(&self) -> &WebAddress {
        &self.address
    }

    /// Serves on a thread of its own, which yields to those that fire, until the returned value is
    /// dropped. `names`: by what the page is called besides its address.
    ///
    /// # Errors
    /// When the system has no thread left, or the runtime cannot watch the socket.
    pub fn serve(self, site: Arc<Site>, names: Vec<HostName>) -> io::Result<WebServing> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (began, begun) = mpsc::channel();
        let thread = thread::Builder::new().name("web".to_owned()).spawn(move || {
            yield_to_sends();
            let (runtime, watched) = match watched(self.listener) {
                Ok(watched) => watched,
                Err(error) => return drop(began.send(Err(error))),
            };
            drop(began.send(Ok(())));
            runtime.block_on(async move {
                let watching = quota::watch(Arc::clone(&site));
                let accept = Accept { site, names: names.into(), connections: Connections::default() };
                let accepting = async {
                    match watched {
                        WatchedSocket::Tcp(listener) => accept.tcp(listener).await,
                        WatchedSocket::Unix(listener, file) => accept.unix(listener, file).await,
                    }
                };
                tokio::select! {
                    ((), ()) = async { tokio::join!(accepting, watching) } => {}
                    _ = stopped => {}
                }
            });
        })?;
        begun.recv().unwrap_or_else(|error| Err(io::Error::other(error)))?;
        Ok(WebServing { stop: Some(stop), thread: Some(thread) })
    }
}

/// A runtime for this thread, and the socket, which it watches.
fn watched(listener: Listener) -> io::Result<(Runtime, WatchedSocket)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let inside = runtime.enter();
    let watched = match listener {
        Listener::Tcp(listener) => WatchedSocket::Tcp(tokio::net::TcpListener::from_std(listener)?),
        Listener::Unix(listener, file) => {
            WatchedSocket::Unix(tokio::net::UnixListener::from_std(listener)?, file)
        }
    };
    drop(inside);
    Ok((runtime, watched))
}

/// A socket that the runtime watches.
enum WatchedSocket {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener, SocketFile),
}

/// A server at work. It ends, with its connections and its socket's file, when this is dropped.
#[derive(Debug)]
pub struct WebServing {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for WebServing {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Accepts for ever. Each connection is a task that ends with this one.
struct Accept {
    site: Arc<Site>,
    names: Arc<[HostName]>,
    connections: Connections,
}

impl Accept {
    async fn tcp(mut self, listener: tokio::net::TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let came = stream.local_addr().map_or(CameBy::Nowhere, |local| CameBy::At(local.ip()));
                    self.connection(stream, came);
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    async fn unix(mut self, listener: tokio::net::UnixListener, _file: SocketFile) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.connection(stream, CameBy::BySocket),
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn connection(&mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, came: CameBy) {
        let routes = routes::of(Arc::clone(&self.site), Arc::clone(&self.names), came);
        self.connections.add(|requests| async move {
            let count = Arc::clone(&requests);
            let routes = TowerToHyperService::new(routes);
            let service = service_fn(move |request: Request<Incoming>| {
                count.asked();
                routes.call(request)
            });
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .max_header_size(MOST_HEAD)
                .max_buf_size(2 * MOST_HEAD)
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(serving);
            // An error here is the client's doing, and needs no report.
            tokio::select! {
                _ = serving.as_mut() => return,
                () = sleep(LASTS) => serving.as_mut().graceful_shutdown(),
            }
            drop(timeout(ENDS_WITHIN, serving).await);
        });
    }
}

/// The last request of a connection, as a number that grows with each request to the server.
#[derive(Debug)]
struct RequestNumber {
    clock: Arc<AtomicU64>,
    last: AtomicU64,
}

impl RequestNumber {
    fn asked(&self) {
        self.last.store(self.clock.fetch_add(1, Relaxed), Relaxed);
    }
}

/// The connections that are open.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    open: Vec<(AbortHandle, Arc<RequestNumber>)>,
    clock: Arc<AtomicU64>,
}

impl Connections {
    /// Opens one more. When there are too many, the one goes that has asked nothing for the longest
    /// time.
    fn add<F: Future<Output = ()> + Send + 'static>(&mut self, serve: impl FnOnce(Arc<RequestNumber>) -> F) {
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|(task, _)| !task.is_finished());
        if self.open.len() >= MOST_CONNECTIONS {
            let idlest =
                (self.open.iter().enumerate()).min_by_key(|(_, (_, asked))| asked.last.load(Relaxed));
            if let Some(place) = idlest.map(|(place, _)| place) {
                self.open.swap_remove(place).0.abort();
            }
        }
        let requests = Arc::new(RequestNumber { clock: Arc::clone(&self.clock), last: AtomicU64::new(0) });
        requests.asked();
        self.open.push((self.tasks.spawn(serve(Arc::clone(&requests))), requests));
    }
}
