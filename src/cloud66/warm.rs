//! Connections that are opened ahead of a due instant, so that a send need not wait for DNS, TCP and TLS.
//!
//! reqwest opens a connection only for a request. Two clients share a stock: the opening one connects, puts
//! the connection into the stock, and gives the request up before a byte of it is written; the sending one
//! looks into the stock before it connects.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tower_layer::Layer;
use tower_service::Service;

/// A connection waits at most this long for its request: longer than the sweep plans ahead, and shorter than
/// servers leave one open on which nothing comes.
const FRESH: Duration = Duration::from_secs(8);

/// What a layer does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Opens them and puts them into the stock.
    Open,
    /// Takes them out of the stock, and opens one when it is empty.
    Use,
}

/// Puts the stock between a client and its connector. `C` is the connector's connection.
pub(super) struct Warm<C> {
    role: Role,
    stock: Stock<C>,
}

type Stock<C> = Arc<Mutex<Vec<(Instant, C)>>>;

impl<C> Warm<C> {
    /// Two layers with one stock: of the opening client, and of the sending one.
    pub(super) fn pair() -> (Warm<C>, Warm<C>) {
        let stock = Stock::default();
        (Warm { role: Role::Open, stock: Arc::clone(&stock) }, Warm { role: Role::Use, stock })
    }
}

impl<C> Clone for Warm<C> {
    fn clone(&self) -> Self {
        Warm { role: self.role, stock: Arc::clone(&self.stock) }
    }
}

impl<S, C> Layer<S> for Warm<C> {
    type Service = WarmConnector<S, C>;

    fn layer(&self, connector: S) -> Self::Service {
        WarmConnector { connector, warm: self.clone() }
    }
}

/// The connector behind its stock.
pub(super) struct WarmConnector<S, C> {
    connector: S,
    warm: Warm<C>,
}

impl<S: Clone, C> Clone for WarmConnector<S, C> {
    fn clone(&self) -> Self {
        WarmConnector { connector: self.connector.clone(), warm: self.warm.clone() }
    }
}

/// How the opening client's requests end: its connection is in the stock, and nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("the connection is kept for later")]
struct Kept;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<S, C, R> Service<R> for WarmConnector<S, C>
where
    S: Service<R, Response = C, Error = BoxError>,
    S::Future: Send + 'static,
    C: Send + 'static,
{
    type Response = C;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, target: R) -> Self::Future {
        if self.warm.role == Role::Use
            && let Some(connection) = fresh(&self.warm.stock)
        {
            return Box::pin(std::future::ready(Ok(connection)));
        }
        let connecting = self.connector.call(target);
        let Warm { role, stock } = self.warm.clone();
        Box::pin(async move {
            let connection = connecting.await?;
            match role {
                Role::Use => Ok(connection),
                Role::Open => {
                    let mut stock = stock.lock().unwrap_or_else(PoisonError::into_inner);
                    stock.push((Instant::now(), connection));
                    Err(Kept.into())
                }
            }
        })
    }
}

/// Takes the newest connection out; those that have waited for too long are closed.
fn fresh<C>(stock: &Mutex<Vec<(Instant, C)>>) -> Option<C> {
    let mut stock = stock.lock().unwrap_or_else(PoisonError::into_inner);
    stock.retain(|(opened, _)| opened.elapsed() < FRESH);
    stock.pop().map(|(_, connection)| connection)
}
