//! The look-alike on a socket: connections in, answers out.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Extension;
use axum::body::Body;
use axum::extract;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Duration, sleep};

use super::control;
use super::fault::Fault;
use super::http::{BASE, SandboxDelivery, SandboxReply, SandboxRequest};
use super::ledger::{Ledger, LedgerRecord};
use super::settings::Settings;
use super::state::{SandboxAnswer, SandboxState};
use super::wire::{SandboxWire, Script, ScriptSlot, WireEnd};
use super::world::{ActionRecord, Occupation};

/// Connections that may wait to be accepted: ten thousand occurrences may come due at one instant.
const BACKLOG: u32 = 4096;
/// The greatest body that is read.
const BODY_LIMIT: usize = 1 << 20;
/// Before accepting again when the machine has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A look-alike that listens. Dropped, it closes every connection.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    shared: Arc<SandboxShared>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

/// State that all connections share.
#[derive(Debug)]
pub(super) struct SandboxShared {
    state: Mutex<SandboxState>,
    /// Told after every change of the state.
    changed: watch::Sender<()>,
    /// Receives a copy of every record as its request is answered.
    watcher: Option<mpsc::UnboundedSender<LedgerRecord>>,
    /// Effects that are still to come, whether or not their client waits for them.
    postponed: Mutex<JoinSet<()>>,
}

impl SandboxShared {
    pub(super) fn state(&self) -> MutexGuard<'_, SandboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and wakes who waits for it to change.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut SandboxState) -> T) -> T {
        let (result, answered) = {
            let mut state = self.state();
            (change(&mut state), state.take_answered())
        };
        if let Some(watcher) = &self.watcher {
            // Nobody reads any more: that is theirs to decide.
            answered.into_iter().for_each(|record| drop(watcher.send(record)));
        }
        self.changed.send_replace(());
        result
    }

    /// Waits until the state is as wished, and returns the ledger as it was then.
    pub(super) async fn wait_for(&self, mut condition: impl FnMut(&SandboxState) -> bool) -> Ledger {
        let mut changes = self.changed.subscribe();
        loop {
            {
                let state = self.state();
                if condition(&state) {
                    return state.ledger().clone();
                }
            }
            // The sender lives in `self`.
            let _ = changes.changed().await;
        }
    }
}

impl Sandbox {
    /// Listens and serves, on the runtime that this is called in.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(settings: Settings) -> io::Result<Sandbox> {
        Sandbox::start_watched(settings, None).await
    }

    /// As [`Sandbox::start`]. `watcher` is told of every request when it is answered.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start_watched(
        settings: Settings,
        watcher: Option<mpsc::UnboundedSender<LedgerRecord>>,
    ) -> io::Result<Sandbox> {
        let socket = match settings.listen {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(settings.listen)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(SandboxShared {
            state: Mutex::new(SandboxState::new(&settings, Timestamp::now())),
            changed: watch::Sender::new(()),
            watcher,
            postponed: Mutex::new(JoinSet::new()),
        });
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, Arc::clone(&shared), stopped));
        Ok(Sandbox { address, shared, stop, serving })
    }

    /// The address on which the sandbox listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The value for an account's `url` that points it at this sandbox.
    pub fn url(&self) -> String {
        format!("http://{}{BASE}", self.address)
    }

    /// Every request until now.
    pub fn ledger(&self) -> Ledger {
        self.shared.state().ledger().clone()
    }

    /// Waits until the ledger is as wished, and returns it as it was then.
    pub async fn wait_for(&self, mut condition: impl FnMut(&Ledger) -> bool) -> Ledger {
        self.shared.wait_for(|state| condition(state.ledger())).await
    }

    /// Waits until this many actions were started, however many those are, and returns the ledger
    /// as it was then.
    pub async fn wait_for_started(&self, actions: usize) -> Ledger {
        self.shared.wait_for(|state| state.started() >= actions).await
    }

    /// Every action until now, the oldest first.
    pub fn actions(&self) -> Vec<ActionRecord> {
        self.shared.state().actions().collect()
    }

    /// Requests of others with the same user's tokens. Says how many still fitted; none for an
    /// unknown user.
    pub fn use_quota(&self, user: &str, requests: u32) -> Option<u32> {
        self.shared.change(|state| state.use_quota(user, requests, Timestamp::now()))
    }

    /// A new limit for a user, from now on. None for an unknown user.
    pub fn set_limit(&self, user: &str, limit: u32) -> Option<()> {
        self.shared.change(|state| state.set_limit(user, limit))
    }

    /// Deploys a stack from now on for so long, or puts it into maintenance. None for an unknown
    /// stack.
    pub fn occupy(&self, stack: &str, with: Occupation, lasts: Duration) -> Option<()> {
        let until = Timestamp::now().checked_add(lasts).unwrap_or(Timestamp::MAX);
        self.shared.change(|state| state.occupy(stack, with, until))
    }

    /// Replaces all faults, their counts begin anew.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.shared.change(|state| state.set_faults(faults));
    }

    /// Stops listening and cuts the connections that are open.
    pub async fn stop(self) {
        // The other end is gone only when serving is over already.
        let _ = self.stop.send(());
        let _ = self.serving.await;
    }
}

/// Accepts until `stopped`; every connection is a task that ends with this one.
async fn serve(listener: TcpListener, shared: Arc<SandboxShared>, mut stopped: oneshot::Receiver<()>) {
    let router = control::routes().fallback(api).with_state(Arc::clone(&shared));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // A failure means that the connection is gone; serving it then ends at once.
                    let _ = stream.set_nodelay(true);
                    let line = ScriptSlot::default();
                    let service = TowerToHyperService::new(router.clone().layer(Extension(line.clone())));
                    let io = TokioIo::new(SandboxWire::new(stream, line));
                    connections.spawn(async move {
                        // An error here is the client's doing or a fault's, and needs no report.
                        let _ = hyper::server::conn::http1::Builder::new()
                            .title_case_headers(true)
                            .serve_connection(io, service)
                            .await;
                    });
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
            _ = &mut stopped => break,
        }
    }
    connections.shutdown().await;
    let mut postponed = std::mem::take(&mut *shared.postponed.lock().unwrap_or_else(PoisonError::into_inner));
    postponed.shutdown().await;
}

async fn api(
    extract::State(shared): extract::State<Arc<SandboxShared>>,
    Extension(line): Extension<ScriptSlot>,
    request: extract::Request,
) -> Response {
    let arrived = Timestamp::now();
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY_LIMIT).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let request = SandboxRequest {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        token: bearer(&head.headers),
        content_type: text_of(&head.headers, header::CONTENT_TYPE),
        body,
    };
    let reply = match shared.change(|state| state.handle(request, arrived)) {
        SandboxAnswer::Reply(reply) => reply,
        SandboxAnswer::Postponed(after, ticket) => {
            let (tell, told) = oneshot::channel();
            let effect = Arc::clone(&shared);
            let task = async move {
                sleep(after).await;
                let reply = effect.change(|state| state.resume(ticket, Timestamp::now()));
                // The client may have gone; the effect has happened all the same.
                let _ = tell.send(reply);
            };
            {
                let mut postponed = shared.postponed.lock().unwrap_or_else(PoisonError::into_inner);
                while postponed.try_join_next().is_some() {}
                postponed.spawn(task);
            }
            match told.await {
                Ok(reply) => reply,
                Err(_) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
            }
        }
    };
    if !reply.delay.is_zero() {
        sleep(reply.delay).await;
    }
    answer(reply, &line)
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = text_of(headers, header::AUTHORIZATION)?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

fn text_of(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// The answer as the server writes it, or a script in its place.
fn answer(reply: SandboxReply, line: &ScriptSlot) -> Response {
    let (bytes, pause, end) = match reply.delivery {
        SandboxDelivery::Whole => match whole(&reply) {
            Some(response) => return response,
            None => (in_full(&reply), Duration::ZERO, WireEnd::Close),
        },
        SandboxDelivery::Dripped(pause) => (in_full(&reply), pause, WireEnd::Close),
        SandboxDelivery::Nothing => (Vec::new(), Duration::ZERO, WireEnd::Close),
        SandboxDelivery::Half => {
            let mut bytes = in_full(&reply);
            bytes.truncate(bytes.len() - reply.body.len().div_ceil(2));
            (bytes, Duration::ZERO, WireEnd::Reset)
        }
        SandboxDelivery::Endless => {
            let mut bytes = head(&reply, "Transfer-Encoding: chunked");
            let first = bytes.len();
            bytes.extend(format!("400\r\n{}\r\n", " ".repeat(0x400)).bytes());
            (bytes, Duration::ZERO, WireEnd::Repeat(first))
        }
    };
    line.play(Script { bytes, pause, end });
    // Never seen: writing it starts the script.
    StatusCode::OK.into_response()
}

/// The answer for hyper to write; none where hyper would change the case of a header.
fn whole(reply: &SandboxReply) -> Option<Response> {
    let mut response = Response::new(Body::from(reply.body.clone()));
    *response.status_mut() = StatusCode::from_u16(reply.status).ok()?;
    for (key, value) in &reply.headers {
        if key.starts_with(|c: char| c.is_ascii_lowercase()) {
            return None;
        }
        let name = HeaderName::from_bytes(key.as_bytes()).ok()?;
        response.headers_mut().append(name, HeaderValue::from_str(value).ok()?);
    }
    Some(response)
}

fn in_full(reply: &SandboxReply) -> Vec<u8> {
    let mut bytes = head(reply, &format!("Content-Length: {}", reply.body.len()));
    bytes.extend(&reply.body);
    bytes
}

fn head(reply: &SandboxReply, framing: &str) -> Vec<u8> {
    let reason = StatusCode::from_u16(reply.status).ok().and_then(|status| status.canonical_reason());
    let mut head = format!("HTTP/1.1 {} {}\r\n", reply.status, reason.unwrap_or(""));
    for (key, value) in &reply.headers {
        head.push_str(&format!("{key}: {value}\r\n"));
    }
    head.push_str(framing);
    head.push_str("\r\nConnection: close\r\n\r\n");
    head.into_bytes()
}
