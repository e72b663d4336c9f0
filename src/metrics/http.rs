//! The server of `--listen`: three pages, for reading only.
//!
//! Whoever can reach the port may try what they like: a connection is good for one request, in a bounded time, with
//! a bounded head, and there is a bounded number of them. When one more comes, the oldest goes: idle connections
//! keep nobody out.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::Metrics;
use super::vitals::Ailment;

/// Connections at once. Who watches needs one or two.
const MOST_CONNECTIONS: usize = 64;

/// A request's head has to be there within this time.
const HEAD_WITHIN: Duration = Duration::from_secs(5);

/// A connection ends within this time, whether or not its client reads.
const ALL_WITHIN: Duration = Duration::from_secs(10);

/// The greatest head that is read, in bytes. A browser's has some 2,000.
const MOST_HEAD: usize = 8 << 10;

/// Before accepting again when the machine has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What `/metrics` is written in.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A port that is listened on, and not served yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Listens. Port 0 is any free one.
    ///
    /// # Errors
    /// When the address cannot be listened on: it is in use, or not one of this machine's.
    pub fn bind(address: SocketAddr) -> io::Result<Server> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Server { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves on the runtime that this is called in, until the task is aborted.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub fn serve(self, metrics: Arc<Metrics>) -> io::Result<JoinHandle<()>> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        Ok(tokio::spawn(accept(listener, routes(metrics))))
    }
}

/// Accepts for ever; every connection is a task that ends with this one.
async fn accept(listener: tokio::net::TcpListener, routes: Router) {
    let mut connections = JoinSet::new();
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        open.retain(|connection| !connection.is_finished());
        if open.len() >= MOST_CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let service = TowerToHyperService::new(routes.clone());
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(false)
            .header_read_timeout(HEAD_WITHIN)
            .max_header_size(MOST_HEAD)
            .max_buf_size(2 * MOST_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        // How a connection ends is the client's affair.
        open.push_back(connections.spawn(async move { drop(timeout(ALL_WITHIN, serving).await) }));
    }
}

fn routes(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state(metrics)
}

async fn healthz(State(metrics): State<Arc<Metrics>>) -> Response {
    told(metrics.alive())
}

async fn readyz(State(metrics): State<Arc<Metrics>>) -> Response {
    told(metrics.ready())
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics.scrape()).into_response()
}

fn told(state: Result<(), Ailment>) -> Response {
    match state {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(ailment) => (StatusCode::SERVICE_UNAVAILABLE, format!("{ailment}\n")).into_response(),
    }
}
