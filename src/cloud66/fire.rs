//! Sends run_now: once, on a connection that is known to live, and notes when its first byte was written.
//!
//! A run_now cannot be taken back and must not be repeated, so everything turns on one question: was a byte of it
//! written? Until then it is not sent, and takes the next connection. From then on only an answer tells what became of
//! it. reqwest's pool cannot say, so run_now goes over HTTP/1.1 on connections of our own:
//!
//! - HTTP/2 carries many requests on one connection. Its server may announce the end (GOAWAY) of those that are on their
//!   way, or refuse a stream (REFUSED_STREAM) whose effect has happened, as haproxy 2.6 does. With HTTP/1.1 a
//!   connection carries one request at a time, and its end takes one with it at most.
//! - Fronts close idle connections at whole seconds, which are cron's. A connection is opened for what is due, or was
//!   used less than half a second ago (`connection.rs`), and its socket is looked at for an unread end right before
//!   it is used.
//!
//! ```text
//! 11:59:58.5  a connection is opened for what is due at 12:00:00
//! 12:00:00.0  its socket holds nothing unread: the request is written; sent_at is that instant, connect_ms is 0
//! 12:00:00.2  the answer is read, and the connection is idle
//! 12:00:00.7  it is not used any more, and closed soon
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use reqwest::Url;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT,
};
use tokio::time::timeout_at;

use super::answer::Outcome;
use super::call::Call;
use super::client::{REQUEST_ID, USER, request_id};
use super::connection::{Answer, Request};
use super::pool::Pool;
use super::reply::{Departure, Reply};
use super::route::Route;

/// A request meets this many connections at most that end before a byte of it is written.
const TRIES: usize = 3;

/// Sends the run_now of one account.
#[derive(Clone)]
pub(super) struct Fires {
    pool: Arc<Pool>,
    headers: HeaderMap,
    /// The requests are written to a proxy, with the whole address.
    whole_address: bool,
    timeout: Duration,
}

impl Fires {
    pub(super) fn new(
        route: Route,
        base: &Url,
        token: HeaderValue,
        connect: Duration,
        timeout: Duration,
    ) -> Fires {
        let mut headers = HeaderMap::new();
        let port = base.port().map_or(String::new(), |port| format!(":{port}"));
        let host = format!("{}{port}", base.host_str().unwrap_or_default());
        if let Ok(host) = HeaderValue::from_str(&host) {
            headers.insert(HOST, host);
        }
        headers.insert(USER_AGENT, HeaderValue::from_static(USER));
        headers.insert(AUTHORIZATION, token);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        // A POST without a length is refused by some proxies.
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let whole_address = match route.forwards() {
            Some(password) => {
                let password = password.cloned();
                headers.extend(password.map(|password| (PROXY_AUTHORIZATION, password)));
                true
            }
            None => false,
        };
        Fires { pool: Pool::new(route, connect), headers, whole_address, timeout }
    }

    /// Opens connections for what is due soon. Sends nothing, and costs no quota.
    pub(super) fn open_ahead(&self, connections: usize) {
        self.pool.open_ahead(connections);
    }

    /// Sends a call, if `may_leave` still says so when a connection is there.
    pub(super) async fn send<E: ToString>(
        &self,
        call: &Call,
        args: Option<&str>,
        may_leave: impl Fn() -> Result<(), E>,
    ) -> Reply<Outcome> {
        let began = Instant::now();
        let end = (began + self.timeout).into();
        let not_sent = |error: String| Reply::unanswered(Outcome::NotSent { error });
        let mut tries = 0;
        loop {
            tries += 1;
            let mut connect = Duration::ZERO;
            let mut lent = match self.pool.take_idle() {
                Some(lent) => lent,
                None => match timeout_at(end, self.pool.take()).await {
                    Ok(Ok(lent)) => {
                        connect = began.elapsed();
                        lent
                    }
                    Ok(Err(error)) => return not_sent(error),
                    Err(_) => {
                        return not_sent(format!("timed out: no connection to {}", self.pool.route().goal()));
                    }
                },
            };
            if let Err(error) = may_leave() {
                lent.give_back();
                return not_sent(error.to_string());
            }
            let request = match self.request(call) {
                Ok(request) => request,
                Err(error) => return not_sent(format!("the request cannot be written: {error}")),
            };
            let connection = &mut lent.connection;
            connection.first_byte.forget();
            let answered = timeout_at(end, connection.exchange(request)).await;
            let left = connection.first_byte.at().map(|at| Departure { at, connect });
            let error = match answered {
                Ok(Ok(Answer { head, body })) => {
                    lent.give_back();
                    return Reply { left, ..head.of_run_now(body, args) };
                }
                Ok(Err(error)) => error,
                Err(_) => "timed out".to_owned(),
            };
            if left.is_some() {
                return Reply { left, ..Reply::unanswered(Outcome::InDoubt { status: None, error }) };
            }
            if tries == TRIES || Instant::now() >= began + self.timeout {
                return not_sent(error);
            }
        }
    }

    fn request(&self, call: &Call) -> Result<Request, hyper::http::Error> {
        let path = call.url.path();
        let address = match (self.whole_address, call.url.query()) {
            (true, _) => call.url.to_string(),
            (false, Some(query)) => format!("{path}?{query}"),
            (false, None) => path.to_owned(),
        };
        let mut request =
            hyper::Request::builder().method(call.method.clone()).uri(address).body(Empty::<Bytes>::new())?;
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(REQUEST_ID, request_id());
        Ok(request)
    }
}
