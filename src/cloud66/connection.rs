//! One connection to the API for run_now, over HTTP/1.1: what is known of it, and one request on
//! it.
//!
//! Nobody drives an idle connection: what the API closes stays unread in its socket, and is found
//! by looking right before the next request.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName};
use tokio::net::TcpStream;

use super::encoding::unzipped;
use super::failure;
use super::reply::{BodyError, Head};
use super::route::OpenedConnection;
use super::wire::{FirstByte, Unread, WatchedStream, unread};

pub(super) type HttpRequest = hyper::Request<Full<Bytes>>;

/// A connection on which nothing was sent yet is used for this long: for a little longer than it is
/// opened ahead. Fronts close one that stays silent after 5 s or more.
const FRESH: Duration = Duration::from_secs(4);

/// A connection is used again up to this time after its last request. Fronts close idle connections
/// after whole seconds, and cron fires at whole seconds: a second's gap would meet the close on its
/// way. Half a second leaves the other half to the way there and back.
const REUSE: Duration = Duration::from_millis(500);

/// An answer to run_now is read up to this many bytes, on each of some hundred connections at once.
/// An action has some hundred bytes, an error page some ten thousand.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// Size of the read buffer and longest head of an answer, in bytes.
const READ_AHEAD: usize = 64 * 1024;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// A connection, and how long it may be used.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once the connection has ended.
    driver: Option<Driver>,
    socket: Arc<TcpStream>,
    encrypted: bool,
    pub(super) first_byte: Arc<FirstByte>,
    usable_until: Instant,
}

type Driver = http1::Connection<TokioIo<WatchedStream>, Full<Bytes>>;

/// The answer to a request.
pub(super) struct HttpAnswer {
    pub(super) head: Head,
    pub(super) body: Result<Vec<u8>, BodyError>,
}

impl Connection {
    /// Prepares a new connection for its first request.
    pub(super) async fn new(opened: OpenedConnection) -> Result<Connection, hyper::Error> {
        let first_byte = Arc::<FirstByte>::default();
        let io = TokioIo::new(WatchedStream { stream: opened.stream, first_byte: Arc::clone(&first_byte) });
        let (sender, driver) = http1::Builder::new().max_buf_size(READ_AHEAD).handshake(io).await?;
        Ok(Connection {
            sender,
            driver: Some(driver),
            socket: opened.socket,
            encrypted: opened.encrypted,
            first_byte,
            usable_until: Instant::now() + FRESH,
        })
    }

    /// Returns true when the connection was idle too long to be used again, judged without looking
    /// at the socket.
    pub(super) fn is_stale(&self) -> bool {
        self.driver.is_none() || self.usable_until <= Instant::now()
    }

    /// Looks whether a request may be sent on it: its time is not over, and nothing unread has
    /// come, neither an end nor an answer that nobody asked for.
    pub(super) fn is_usable(&mut self) -> bool {
        if self.is_stale() {
            return false;
        }
        match unread(&self.socket) {
            Unread::End => false,
            Unread::Nothing => true,
            // TLS sends tickets of its own accord. They are read; anything else ends the connection
            // or stays.
            Unread::Bytes => self.encrypted && self.goes_on() && unread(&self.socket) == Unread::Nothing,
        }
    }

    /// Drives the connection as far as it goes at once. `false` when it has ended.
    fn goes_on(&mut self) -> bool {
        let Some(driver) = &mut self.driver else { return false };
        let ended = Pin::new(driver).poll(&mut Context::from_waker(Waker::noop())).is_ready();
        if ended {
            self.driver = None;
        }
        !ended
    }

    /// Sends a request and reads its answer. What the answer says of the connection is heeded.
    pub(super) async fn exchange(&mut self, request: HttpRequest) -> Result<HttpAnswer, String> {
        let Connection { sender, driver, .. } = self;
        let answer = driven(driver, async {
            sender.ready().await?;
            let response = sender.send_request(request).await?;
            let (parts, mut incoming) = response.into_parts();
            let head = Head::read(parts.status.as_u16(), &parts.headers, Timestamp::now());
            let reason = parts.extensions.get::<ReasonPhrase>();
            let head = head.with_reason(reason.map(|reason| reason.as_bytes()));
            let mut body = Ok(Vec::new());
            while let Ok(read) = &mut body
                && let Some(frame) = incoming.frame().await
            {
                match frame {
                    Ok(frame) => {
                        let data = frame.into_data().unwrap_or_default();
                        if read.len() + data.len() > LONGEST_ANSWER {
                            body = Err(BodyError::TooLong { most: LONGEST_ANSWER });
                        } else {
                            read.extend_from_slice(&data);
                        }
                    }
                    Err(error) => body = Err(BodyError::Broken(failure::causes(&error))),
                }
            }
            Ok::<_, hyper::Error>((HttpAnswer { head, body }, keep_alive(&parts.headers)))
        })
        .await;
        let (answer, kept) = answer.map_err(|error| failure::causes(&error))?;
        self.usable_until = Instant::now() + kept.map_or(REUSE, |kept| REUSE.min(kept / 2));
        // The end of the answer makes the connection ready for the next request, or closes it.
        if answer.body.is_err() || !self.goes_on() || !self.sender.is_ready() {
            self.driver = None;
        }
        let body = answer.body.and_then(|body| unzipped(body, LONGEST_ANSWER));
        Ok(HttpAnswer { body, ..answer })
    }
}

/// Does the work, and drives the connection meanwhile.
async fn driven<T>(driver: &mut Option<Driver>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| {
        loop {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(done);
            }
            match driver.as_mut().map(|driver| Pin::new(driver).poll(context)) {
                // The request's future receives the connection's error as well.
                Some(Poll::Ready(_)) => *driver = None,
                Some(Poll::Pending) | None => return Poll::Pending,
            }
        }
    })
    .await
}

/// Returns the time for which the server keeps an idle connection: `Keep-Alive: timeout=5,
/// max=100`. `None`: the server does not tell.
fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let said = headers.get(KEEP_ALIVE)?.to_str().ok()?;
    let seconds = said.split(',').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().parse().ok())?
    })?;
    Some(Duration::from_secs(seconds))
}
