//! The HTTP client of one account. Each call is one request, and nothing below ever repeats it.
//!
//! What could, as their source has it (the versions in Cargo.lock), and `tests/no_repeat.rs` as a server sees it:
//!
//! - hyper-util 0.1.21, `client/legacy/client.rs`: `send_request` loops over `TrySendError::Retryable`, which
//!   `try_send_request` makes only of a request that the connection gave back (`take_message`), and repeats it only when
//!   the connection had been used before. hyper 1.12.0 gives back only what no connection has taken up: in
//!   `client/dispatch.rs` when the queue is dropped, in `proto/h1/dispatch.rs` when the connection ends with the request
//!   still queued ("never even started"). Once a byte of it may be written `message` is `None`, there and in
//!   `proto/h2/client.rs`. So this repetition is that of a request of which nothing has left.
//! - reqwest 0.13.5, `retry.rs`: `is_retryable_error` repeats on a GOAWAY with NO_ERROR, whatever stream it names as the
//!   last one that was processed, and on REFUSED_STREAM. The first may have been processed. `retry::never()` turns both
//!   off.
//! - reqwest 0.13.5, `redirect.rs`: a 307 or 308 sends method and body again, to wherever it points. `Policy::none()`
//!   makes of it an answer like any other.
//! - Proxies: through one, a request for `http:` is written to the proxy, and what fails after that is in doubt; for
//!   `https:` the proxy is asked for a tunnel first (`CONNECT`, without our headers), and what fails until TLS stands is
//!   an error of the connection (`is_connect`): not sent.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, Url};

use super::action::ActionId;
use super::answer::Outcome;
use super::call::Call;
use super::reply::{ActionsListed, BodyError, FollowUp, Head, LONGEST_BODY, Reply};
use super::token::Token;
use super::warm::Warm;
use crate::schedule::{Account, JobUid, StackUid};

/// Speaks to the API for one account.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    /// Opens connections for `http`, and never sends anything.
    opener: reqwest::Client,
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
    #[error("HTTP cannot be set up: {0}; are the system's root certificates installed (ca-certificates)?")]
    Http(#[source] reqwest::Error),
}

/// A connection is given up when it does not stand after this time, or after the account's timeout if that is less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An idle connection is closed after this time. Servers and balancers close theirs after a minute or more:
/// whoever closes first never loses a request to the race.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

impl Client {
    /// Makes the client of an account.
    ///
    /// It never follows a redirect, which would carry the token elsewhere. It never sends a request a second
    /// time: reqwest's own retries, which repeat a request on HTTP/2 GOAWAY or REFUSED_STREAM, are off.
    pub fn new(account: &Account, token: &Token) -> Result<Client, ClientError> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, token.header()?);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let (opening, sending) = Warm::pair();
        let opener = transport(account).pool_max_idle_per_host(0).connector_layer(opening);
        let http = transport(account).default_headers(headers).connector_layer(sending);
        Ok(Client {
            http: http.build().map_err(ClientError::Http)?,
            opener: opener.build().map_err(ClientError::Http)?,
            base: account.url.clone(),
            timeout: account.timeout,
        })
    }

    /// Opens a connection that the next request will find ready. Sends nothing, and costs no quota.
    pub async fn warm(&self) {
        // Ends with an error, always: the connection is kept and the request given up. One that cannot be
        // opened now is told when a request needs it.
        let _ = self.opener.get(self.base.clone()).send().await;
    }

    /// Runs a job now. `args` is sent exactly as written.
    ///
    /// The API has no key that would make a repetition harmless: each request that arrives starts a run.
    pub async fn run_now(&self, stack: &StackUid, job: &JobUid, args: Option<&str>) -> Reply<Outcome> {
        match self.send(Call::run_now(&self.base, stack, job, args)).await {
            Ok((head, body)) => head.of_run_now(body, args),
            Err(error) => Reply::unanswered(failed(error)),
        }
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
        Call { method, url }: Call,
    ) -> Result<(Head, Result<Vec<u8>, BodyError>), reqwest::Error> {
        // A POST without a length is refused by some proxies, and no library here gives it one.
        let posts = method == Method::POST;
        let request = self.http.request(method, url).header(REQUEST_ID, request_id()).timeout(self.timeout);
        let request = if posts { request.header(CONTENT_LENGTH, 0) } else { request };
        let response = request.send().await?;
        let head = Head::read(response.status().as_u16(), response.headers(), Timestamp::now());
        let reason = response.extensions().get::<hyper::ext::ReasonPhrase>();
        let head = head.with_reason(reason.map(|reason| reason.as_bytes()));
        Ok((head, body(response).await))
    }
}

/// A client that sends a request once, and to its own host alone: it repeats nothing and follows no redirect.
pub(crate) fn once_and_there() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("stackcron/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
}

/// What both clients of an account have in common.
fn transport(account: &Account) -> reqwest::ClientBuilder {
    let http = once_and_there()
        .connect_timeout(CONNECT_TIMEOUT.min(account.timeout))
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tcp_nodelay(true);
    if is_loopback(&account.url) { http.no_proxy() } else { http }
}

/// Whether the host is this machine: no proxy is asked for it.
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

/// A request that brought no answer: never sent when the connection never stood, in doubt otherwise.
pub(super) fn failed(error: reqwest::Error) -> Outcome {
    let not_sent = error.is_connect() || error.is_builder();
    let error = describe(error);
    if not_sent { Outcome::NotSent { error } } else { Outcome::InDoubt { status: None, error } }
}

/// The error with its causes, and without the URL: its query holds the arguments.
pub(crate) fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = if error.is_timeout() { "timed out".to_owned() } else { error.to_string() };
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text += ": ";
            text += &said;
        }
        cause = error.source();
    }
    text
}

async fn body(mut response: Response) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| BodyError::Broken(describe(error)))? {
        if body.len() + chunk.len() > LONGEST_BODY {
            return Err(BodyError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A random UUID, by which the vendor's support finds a request.
fn request_id() -> String {
    let [a, b] = [fastrand::u64(..), fastrand::u64(..)];
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        (b >> 48) & 0x3fff | 0x8000,
        b & 0xffff_ffff_ffff
    )
}
