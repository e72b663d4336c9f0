//! The HTTP client of one account. Each call is one request, and nothing below ever repeats it.
//!
//! run_now goes over connections of our own (`fire.rs`, `workers.rs`). Questions go through
//! reqwest, where they may be answered over HTTP/2. Questions change nothing, and still count
//! against the quota, so that they are not repeated either:
//!
//! - hyper-util 0.1.21, `client/legacy/client.rs`: `send_request` loops over
//!   `TrySendError::Retryable`, which `try_send_request` makes only of a request that the
//!   connection gave back (`take_message`), and repeats it only when the connection had been used
//!   before. hyper 1.12.0 gives back only what no connection has taken up: in `client/dispatch.rs`
//!   when the queue is dropped, in `proto/h1/dispatch.rs` when the connection ends with the request
//!   still queued ("never even started"). So this repetition is that of a request of which nothing
//!   has left.
//! - reqwest 0.13.5, `retry.rs`: `is_retryable_error` repeats on a GOAWAY with NO_ERROR, whatever
//!   stream it names as the last one that was processed, and on REFUSED_STREAM. `retry::never()`
//!   turns both off.
//! - reqwest 0.13.5, `redirect.rs`: a redirect sends the request again, with its token, to wherever
//!   it points. `Policy::none()` makes of it an answer like any other.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, Url};

use super::action::ActionId;
use super::answer::Outcome;
use super::call::Call;
use super::dial::Addresses;
use super::encoding::unzipped;
use super::failure;
use super::fire::{Fire, Sender};
use super::headers::{REQUEST_ID, USER, request_id};
use super::reply::{ActionsListed, BodyError, FollowUp, Head, LONGEST_BODY, Reply};
use super::route::Route;
use super::token::Token;
use super::workers::Workers;
use crate::schedule::{Account, JobUid, StackUid};

/// Speaks to the API for one account.
#[derive(Clone)]
pub struct Client {
    /// Asks questions.
    http: reqwest::Client,
    /// Runs jobs.
    workers: Workers,
    pub(super) base: Url,
    timeout: Duration,
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The token cannot stand in a header.
    #[error("the token cannot be sent in a header")]
    Token(#[from] reqwest::header::InvalidHeaderValue),
    /// TLS cannot be set up: most likely the system's root certificates are missing.
    #[error(
        "HTTP cannot be set up: {0}; install the system's root certificates (ca-certificates), or see where SSL_CERT_FILE and SSL_CERT_DIR lead"
    )]
    Http(#[source] reqwest::Error),
    /// TLS cannot be set up, for the same reason.
    #[error(
        "TLS cannot be set up: {0}; install the system's root certificates (ca-certificates), or see where SSL_CERT_FILE and SSL_CERT_DIR lead"
    )]
    Tls(#[source] rustls::Error),
}

/// A connection is given up when it does not stand after this time, or after the account's timeout
/// if that is less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An idle connection is closed after this time. Servers and balancers close theirs after a minute
/// or more: whoever closes first never loses a request to the race.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// An HTTP/2 connection is asked whether it lives after this time without a word from it, and given
/// up when no answer comes within `PING_TIMEOUT`: a NAT that has forgotten the connection drops
/// everything in silence.
const PING_EVERY: Duration = Duration::from_secs(10);

/// See `PING_EVERY`.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Picks the organisation where the token's user belongs to several.
const ORGANIZATION: HeaderName = HeaderName::from_static("x-account");

impl Client {
    /// Makes the client of an account.
    ///
    /// It never follows a redirect, which would carry the token elsewhere. It never sends a request
    /// a second time: reqwest's own retries, which repeat a request on HTTP/2 GOAWAY or
    /// REFUSED_STREAM, are off.
    pub fn new(account: &Account, token: &Token) -> Result<Client, ClientError> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, token.header()?);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(number) = account.organization {
            headers.insert(ORGANIZATION, number.into());
        }
        let connect = CONNECT_TIMEOUT.min(account.timeout);
        let local = is_loopback(&account.url);
        let addresses = Addresses::default();
        let http = once_and_there()
            .connect_timeout(connect)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .dns_resolver(addresses.clone())
            .default_headers(headers.clone());
        let http = if local { http.no_proxy() } else { http };
        let route = Route::new(&account.url, local, addresses).map_err(ClientError::Tls)?;
        Ok(Client {
            http: http.build().map_err(ClientError::Http)?,
            workers: Workers::new(Sender::new(route, account, headers, connect)),
            base: account.url.clone(),
            timeout: account.timeout,
        })
    }

    /// Opens connections for the next run_now. Sends nothing, and costs no quota.
    ///
    /// A connection that cannot be opened now is told of when a request needs one.
    pub fn open_ahead(&self, connections: usize) {
        self.workers.sender().open_ahead(connections);
    }

    /// Runs a job now, if `may_leave` still allows it once a connection is there. `args` is sent
    /// exactly as written.
    ///
    /// The API has no key that would make a repetition harmless: each request that arrives starts a
    /// run.
    pub async fn run_now<E: ToString>(
        &self,
        stack: &StackUid,
        job: &JobUid,
        args: Option<&str>,
        may_leave: impl Fn() -> Result<(), E> + Send + Sync + 'static,
    ) -> Reply<Outcome> {
        let (reply, replied) = tokio::sync::oneshot::channel();
        self.hand_over(stack, job, args, may_leave, move |became| {
            // The caller may have given up waiting.
            let _ = reply.send(became);
        });
        replied.await.unwrap_or_else(|_| {
            let error = "the request was given up".to_owned();
            Reply::unanswered(Outcome::InDoubt { status: None, error })
        })
    }

    /// Has a job run in its turn, as [`run_now`](Client::run_now) does, and tells `done` what
    /// became of it.
    pub(crate) fn hand_over<E: ToString>(
        &self,
        stack: &StackUid,
        job: &JobUid,
        args: Option<&str>,
        may_leave: impl Fn() -> Result<(), E> + Send + Sync + 'static,
        done: impl FnOnce(Reply<Outcome>) + Send + Sync + 'static,
    ) {
        self.workers.hand_over(Fire {
            written: self.workers.sender().write(stack, job, args),
            args: args.map(str::to_owned),
            handed_over: Instant::now(),
            may_leave: Box::new(move || may_leave().map_err(|error| error.to_string())),
            done: Box::new(done),
        });
    }

    /// Asks for an action.
    pub async fn action(&self, stack: &StackUid, id: ActionId) -> Reply<FollowUp> {
        match self.send(Call::action(&self.base, stack, id)).await {
            Ok((head, body)) => head.of_action(body),
            Err(_) => Reply::unanswered(FollowUp::Unanswered),
        }
    }

    /// Asks for a page, from 1, of the actions of a stack.
    pub async fn actions(&self, stack: &StackUid, page: u32) -> Reply<ActionsListed> {
        match self.send(Call::actions(&self.base, stack, page)).await {
            Ok((head, body)) => head.of_actions(body),
            Err(error) => Reply::unanswered(ActionsListed::Unanswered { error: describe(error) }),
        }
    }

    pub(super) async fn send(
        &self,
        Call { method, url, body: sent }: Call,
    ) -> Result<(Head, Result<Vec<u8>, BodyError>), reqwest::Error> {
        let mut request =
            self.http.request(method, url).header(REQUEST_ID, request_id()).timeout(self.timeout);
        if let Some(sent) = sent {
            request = request.header(CONTENT_TYPE, "application/json").body(sent);
        }
        let response = request.send().await?;
        let head = Head::read(response.status().as_u16(), response.headers(), Timestamp::now());
        let reason = response.extensions().get::<hyper::ext::ReasonPhrase>();
        let head = head.with_reason(reason.map(|reason| reason.as_bytes()));
        Ok((head, body(response).await))
    }
}

/// A client that sends a request once, and to its own host alone: it repeats nothing and follows no
/// redirect.
pub(crate) fn once_and_there() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(USER)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
}

/// Returns true when the host is this machine, which is reached without a proxy.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    }
}

/// A request that brought no answer: never sent when the connection never stood, in doubt
/// otherwise.
pub(super) fn failed(error: reqwest::Error) -> Outcome {
    let not_sent = error.is_connect() || error.is_builder();
    let error = describe(error);
    if not_sent { Outcome::NotSent { error } } else { Outcome::InDoubt { status: None, error } }
}

/// The error with its causes, and without the URL: its query holds the arguments.
pub(crate) fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    if !error.is_timeout() {
        return failure::causes(&error);
    }
    match std::error::Error::source(&error) {
        Some(cause) => format!("timed out: {}", failure::causes(cause)),
        None => "timed out".to_owned(),
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| BodyError::Broken(describe(error)))? {
        if body.len() + chunk.len() > LONGEST_BODY {
            return Err(BodyError::TooLong { most: LONGEST_BODY });
        }
        body.extend_from_slice(&chunk);
    }
    unzipped(body, LONGEST_BODY)
}
