//! The connections of one account for run_now: opened ahead, lent for one request, and taken back.
//!
//! A request takes an idle connection that is looked at and found alive. Where there is none, one
//! is opened for the request, and the request takes the first that is opened or comes back. How
//! many requests want a connection at once is for the workers to decide (`workers.rs`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use super::connection::Connection;
use super::failure;
use super::route::Route;

/// Connections that are opened ahead at most: one for each worker that starts at once.
pub(super) const MOST_AHEAD: usize = 64;

/// Connections that wait for requests at most: for what is due in one second, and in the next.
const MOST_IDLE: usize = 2 * MOST_AHEAD;

/// Connections that were idle too long are closed at this interval.
const TIDY: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Pool {
    route: Route,
    /// A connection is given up when it does not stand after this time.
    connect_timeout: Duration,
    state: Mutex<PoolState>,
}

#[derive(Default)]
struct PoolState {
    idle: Vec<Connection>,
    waiting: VecDeque<oneshot::Sender<Result<Connection, String>>>,
    /// Connections that are being made.
    opening: usize,
    /// A task closes what stays idle.
    tidied: bool,
}

impl Pool {
    pub(super) fn new(route: Route, connect_timeout: Duration) -> Arc<Pool> {
        Arc::new(Pool { route, connect_timeout, state: Mutex::default() })
    }

    pub(super) fn route(&self) -> &Route {
        &self.route
    }

    /// Opens connections for what is due soon.
    pub(super) fn open_ahead(self: &Arc<Self>, connections: usize) {
        let mut state = self.state();
        for _ in 0..connections.min(MOST_AHEAD) {
            if state.idle.len() + state.opening < MOST_IDLE {
                self.open(&mut state);
            }
        }
    }

    /// Takes a connection that is alive, at once if there is one.
    pub(super) fn take_idle(&self) -> Option<Connection> {
        loop {
            let mut connection = self.state().idle.pop()?;
            if connection.is_usable() {
                return Some(connection);
            }
        }
    }

    /// Takes the first connection that is opened or comes back.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Connection, String> {
        let coming = {
            let mut state = self.state();
            state.waiting.retain(|waiter| !waiter.is_closed());
            let (waiter, coming) = oneshot::channel();
            state.waiting.push_back(waiter);
            if state.opening < state.waiting.len() {
                self.open(&mut state);
            }
            coming
        };
        coming.await.unwrap_or_else(|_| Err("no connection was made".to_owned()))
    }

    fn open(self: &Arc<Self>, state: &mut PoolState) {
        state.opening += 1;
        let pool = Arc::clone(self);
        tokio::spawn(async move {
            let opened = tokio::time::timeout(pool.connect_timeout, pool.connect()).await;
            let opened = opened.unwrap_or_else(|_| {
                let within = pool.connect_timeout.as_secs_f32();
                Err(format!("timed out: no connection to {} within {within} s", pool.route.goal()))
            });
            let mut state = pool.state();
            state.opening -= 1;
            match opened {
                Ok(connection) => pool.keep(&mut state, connection),
                Err(error) => {
                    state.waiting.retain(|waiter| !waiter.is_closed());
                    // Others that are being opened may yet stand.
                    if state.opening < state.waiting.len()
                        && let Some(waiter) = state.waiting.pop_front()
                    {
                        let _ = waiter.send(Err(error));
                    }
                }
            }
        });
    }

    async fn connect(&self) -> Result<Connection, String> {
        let opened = self.route.open().await.map_err(|error| error.to_string())?;
        Connection::new(opened).await.map_err(|error| failure::causes(&error))
    }

    /// Takes a connection back on which an answer was read to its end.
    pub(super) fn give_back(self: &Arc<Self>, connection: Connection) {
        if !connection.is_stale() {
            self.keep(&mut self.state(), connection);
        }
    }

    /// Gives a connection to who waits, or keeps it.
    fn keep(self: &Arc<Self>, state: &mut PoolState, mut connection: Connection) {
        while let Some(waiter) = state.waiting.pop_front() {
            match waiter.send(Ok(connection)) {
                // The waiting request has given up, so the connection goes on to the next one.
                Err(Ok(unwanted)) => connection = unwanted,
                Ok(()) | Err(Err(_)) => return,
            }
        }
        if state.idle.len() < MOST_IDLE {
            state.idle.push(connection);
            self.tidy(state);
        }
    }

    /// Has connections closed whose time is over.
    fn tidy(self: &Arc<Self>, state: &mut PoolState) {
        if std::mem::replace(&mut state.tidied, true) {
            return;
        }
        let pool: Weak<Pool> = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TIDY).await;
                let Some(pool) = pool.upgrade() else { return };
                let mut state = pool.state();
                state.idle.retain(|connection| !connection.is_stale());
                if state.idle.is_empty() {
                    state.tidied = false;
                    return;
                }
            }
        });
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
