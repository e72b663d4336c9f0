//! The daemon's end of the socket.
//!
//! Whoever may use the socket may still try what they like: a connection is good for one question,
//! of a bounded length, in a bounded time, and there is a bounded number of them. When one more
//! comes that has asked nothing yet, the oldest such goes. The loop is asked over a channel, one
//! question at a turn, and never waits for a client.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::peer::Peer;
use super::protocol::{LONGEST_QUESTION, Question};
use super::request::{ControlHandle, Uid};
use super::request_handler::RequestHandler;
use super::socket::Socket;
use super::status_reader::StatusReader;

/// Connections at once that have asked nothing yet.
const MOST_SILENT: usize = 64;

/// Questions at once that are being answered.
const MOST_ANSWERED: usize = 64;

/// A question has to be there within this time.
const ASKED_WITHIN: Duration = Duration::from_secs(5);

/// Before accepting again when the machine has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Time for answers to reach their clients when the daemon stops.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A socket that is listened on, and not served yet.
#[derive(Debug)]
pub struct Server(Socket);

/// A server that runs.
#[derive(Debug)]
pub struct Serving {
    accepting: JoinHandle<()>,
    _socket: Socket,
    stop: oneshot::Sender<()>,
}

impl Server {
    /// Listens at a path, for a daemon that has its journal in `state`.
    ///
    /// # Errors
    /// When a living daemon listens there, or its directory cannot be written.
    pub fn bind(path: &Path, state: &Path) -> io::Result<Server> {
        Socket::bind(path, state).map(Server)
    }

    /// Serves on the runtime that this is called in.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub fn serve(self, asking: ControlHandle, status: Arc<StatusReader>) -> io::Result<Serving> {
        let Server(socket) = self;
        let listener = tokio::net::UnixListener::from_std(socket.listener.try_clone()?)?;
        let clerk = Arc::new(RequestHandler::new(asking, status));
        let (stop, stopped) = oneshot::channel();
        Ok(Serving { accepting: tokio::spawn(accept(listener, clerk, stopped)), _socket: socket, stop })
    }
}

impl Serving {
    /// Ends, once what is known is told to those who wait.
    pub async fn stop(self) {
        drop(self.stop);
        let accepting = self.accepting;
        let abort = accepting.abort_handle();
        if timeout(LAST_WORDS, accepting).await.is_err() {
            abort.abort();
        }
    }
}

/// Accepts until it is told to stop; every connection is a task that ends with this one.
async fn accept(
    listener: tokio::net::UnixListener,
    clerk: Arc<RequestHandler>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut silent = JoinSet::new();
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    let mut answering = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    open.retain(|connection| !connection.is_finished());
                    if open.len() >= MOST_SILENT
                        && let Some(oldest) = open.pop_front()
                    {
                        oldest.abort();
                    }
                    open.push_back(silent.spawn(asked(stream)));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(asked) = silent.join_next() => {
                while answering.try_join_next().is_some() {}
                if let Ok(Some((client, question))) = asked {
                    match answering.len() < MOST_ANSWERED {
                        true => answering.spawn(Arc::clone(&clerk).answer(client, question)),
                        false => silent.spawn(refuse(client, "too many questions are being answered; try again in a moment")),
                    };
                }
            }
        }
    }
    drop(silent);
    while answering.join_next().await.is_some() {}
}

/// Reads one question. What is none is answered here.
async fn asked(stream: UnixStream) -> Option<(Peer, Question)> {
    let by = Uid(stream.peer_cred().ok()?.uid());
    let mut client = Peer::new(stream, by);
    match timeout(ASKED_WITHIN, client.read_line()).await {
        Ok(Ok(Some(line))) => match Question::parse(&line) {
            Ok(question) => return Some((client, question)),
            Err(error) => client.fail(error.to_string()).await,
        },
        Ok(Ok(None)) => {
            client.fail(format!("a question has at most {LONGEST_QUESTION} bytes, on one line")).await
        }
        Ok(Err(_)) => {}
        Err(_) => client.fail(format!("no question came within {} s", ASKED_WITHIN.as_secs())).await,
    }
    None
}

async fn refuse(mut client: Peer, why: &'static str) -> Option<(Peer, Question)> {
    client.fail(why.to_owned()).await;
    None
}
