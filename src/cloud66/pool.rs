//! The connections of one account for run_now: opened ahead, lent for one request, and taken back.
//!
//! A request takes an idle connection that is looked at and found alive. Where there is none it waits for the first
//! that is opened or comes back. New ones are opened for it at once while there are few, and later only when none has come
//! back after 20 ms: in a burst whose answers are quick, 64 connections carry everything, and no handshake gets in
//! its way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use super::connection::Connection;
use super::failure;
use super::route::Route;

/// With this many connections open, a request waits for one of them first.
const ENOUGH: usize = 64;

/// That long.
const PATIENCE: Duration = Duration::from_millis(20);

/// Connections that wait for requests at most: for what is due in one second, and in the next.
const MOST_IDLE: usize = 2 * ENOUGH;

/// How often connections whose time is over are looked for, and closed.
const TIDY: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Pool {
    route: Route,
    /// A connection is given up when it does not stand after this time.
    connect_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: Vec<Connection>,
    waiting: VecDeque<oneshot::Sender<Result<Lent, String>>>,
    /// Connections that are being made.
    opening: usize,
    /// Connections that carry a request.
    lent: usize,
    /// A task closes what stays idle.
    tidied: bool,
}

/// A connection for one request.
pub(super) struct Lent {
    pub(super) connection: Connection,
    loan: Loan,
}

/// Counts a connection that carries a request, until it is dropped. `None` when it was never handed over.
struct Loan(Option<Arc<Pool>>);

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
        for _ in 0..connections.min(ENOUGH) {
            if state.idle.len() + state.opening < MOST_IDLE {
                self.open(&mut state);
            }
        }
    }

    /// Takes a connection that is alive, at once if there is one.
    pub(super) fn take_idle(self: &Arc<Self>) -> Option<Lent> {
        let mut state = self.state();
        while let Some(mut connection) = state.idle.pop() {
            if connection.is_usable() {
                return Some(self.lend(&mut state, connection));
            }
        }
        None
    }

    /// Takes the first connection that is opened or comes back.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Lent, String> {
        let mut coming = {
            let mut state = self.state();
            let (waiter, coming) = oneshot::channel();
            state.waiting.push_back(waiter);
            let open = state.idle.len() + state.lent + state.opening;
            if state.opening < state.waiting.len() && open < ENOUGH {
                self.open(&mut state);
            }
            coming
        };
        let taken = match tokio::time::timeout(PATIENCE, &mut coming).await {
            Ok(taken) => taken,
            Err(_) => {
                {
                    let mut state = self.state();
                    state.waiting.retain(|waiter| !waiter.is_closed());
                    if state.opening < state.waiting.len() {
                        self.open(&mut state);
                    }
                }
                coming.await
            }
        };
        taken.unwrap_or_else(|_| Err("no connection was made".to_owned()))
    }

    fn open(self: &Arc<Self>, state: &mut State) {
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
                Ok(connection) => pool.hand_on(&mut state, connection),
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

    fn lend(self: &Arc<Self>, state: &mut State, connection: Connection) -> Lent {
        state.lent += 1;
        Lent { connection, loan: Loan(Some(Arc::clone(self))) }
    }

    /// Gives a connection to who waits, or keeps it.
    fn hand_on(self: &Arc<Self>, state: &mut State, mut connection: Connection) {
        while let Some(waiter) = state.waiting.pop_front() {
            match waiter.send(Ok(self.lend(state, connection))) {
                Ok(()) => return,
                // Who waited has given up.
                Err(Ok(mut lent)) => {
                    // The state is locked, which the end of a loan would wait for.
                    lent.loan.0 = None;
                    state.lent -= 1;
                    connection = lent.connection;
                }
                Err(Err(_)) => return,
            }
        }
        if state.idle.len() < MOST_IDLE {
            state.idle.push(connection);
            self.tidy(state);
        }
    }

    /// Has connections closed whose time is over.
    fn tidy(self: &Arc<Self>, state: &mut State) {
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent {
    /// The answer was read: the connection may carry another request.
    pub(super) fn give_back(self) {
        let Lent { connection, loan } = self;
        let Some(pool) = loan.0.clone() else { return };
        drop(loan);
        if !connection.is_stale() {
            pool.hand_on(&mut pool.state(), connection);
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(pool) = &self.0 {
            pool.state().lent -= 1;
        }
    }
}
