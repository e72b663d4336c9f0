//! The HTTP client of one account. Each call is one request, and nothing below ever repeats it.

use std::time::Duration;

use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, Url};

use super::action::{Action, ActionId};
use super::answer::{Outcome, classify};
use super::token::Token;
use super::warm::Warm;
use crate::quota;
use crate::schedule::{Account, JobUid, StackUid};

/// Speaks to the API for one account.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    /// Opens connections for `http`, and never sends anything.
    opener: reqwest::Client,
    base: Url,
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

/// What one request brought.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply<T> {
    /// What the answer said of the quota. `None` when there was no answer.
    pub quota: Option<quota::Answer>,
    /// The text of `X-Cloud66-Warning`.
    pub warning: Option<String>,
    /// What became of the request.
    pub outcome: T,
}

/// What asking for an action brought.
#[derive(Clone, Debug, PartialEq)]
pub enum FollowUp {
    /// The action as it is now.
    Action(Box<Action>),
    /// The API does not know the action, or not for this token. Asking again would bring the same.
    Gone {
        /// What the API said.
        error: String,
    },
    /// No answer to build on; ask again later.
    Unanswered,
}

/// An answer's body is read up to this many bytes. An action has some hundred.
const LONGEST_BODY: usize = 1 << 20;

/// A connection is given up when it does not stand after this time, or after the account's timeout if that is less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An idle connection is closed after this time. Servers and balancers close theirs after a minute or more:
/// whoever closes first never loses a request to the race.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

const WARNING: HeaderName = HeaderName::from_static("x-cloud66-warning");
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
        let mut url = self.url(&["stacks", stack.as_str(), "jobs", job.as_str(), "run_now"]);
        if let Some(args) = args {
            url.set_query(Some(&format!("job_args={}", utf8_percent_encode(args, NON_ALPHANUMERIC))));
        }
        let response = match self.send(Method::POST, url).await {
            Ok(response) => response,
            Err(error) => {
                return Reply { quota: None, warning: None, outcome: failed(error) };
            }
        };
        let status = response.status().as_u16();
        let quota = quota_of(&response);
        let warning = warning_of(&response);
        let outcome = match body(response).await {
            Ok(body) => without(args, classify(status, &body)),
            Err(error) => Outcome::InDoubt { status: Some(status), error: error.to_string() },
        };
        Reply { quota: Some(answer(quota, &outcome)), warning, outcome }
    }

    /// Asks for an action.
    pub async fn action(&self, stack: &StackUid, id: ActionId) -> Reply<FollowUp> {
        let url = self.url(&["stacks", stack.as_str(), "actions", &id.to_string()]);
        let Ok(response) = self.send(Method::GET, url).await else {
            return Reply { quota: None, warning: None, outcome: FollowUp::Unanswered };
        };
        let status = response.status().as_u16();
        let quota = quota_of(&response);
        let warning = warning_of(&response);
        let Ok(body) = body(response).await else {
            return Reply {
                quota: Some(answer(quota, &Outcome::InDoubt { status: Some(status), error: String::new() })),
                warning,
                outcome: FollowUp::Unanswered,
            };
        };
        // The classes of an answer are those of run_now, and so is the shape of an action.
        let class = classify(status, &body);
        let quota = answer(quota, &class);
        let outcome = match class {
            Outcome::Started(action) => FollowUp::Action(action),
            Outcome::Rejected { error, .. } => FollowUp::Gone { error },
            _ => FollowUp::Unanswered,
        };
        Reply { quota: Some(quota), warning, outcome }
    }

    async fn send(&self, method: Method, url: Url) -> Result<Response, reqwest::Error> {
        self.http.request(method, url).header(REQUEST_ID, request_id()).timeout(self.timeout).send().await
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        // Fails only for a URL without a host, and the schedule has none.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

/// What both clients of an account have in common.
fn transport(account: &Account) -> reqwest::ClientBuilder {
    let http = reqwest::Client::builder()
        .user_agent(concat!("stackcron/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT.min(account.timeout))
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tcp_nodelay(true);
    if is_loopback(&account.url) { http.no_proxy() } else { http }
}

/// Whether the host is this machine: no proxy is asked for it.
fn is_loopback(url: &Url) -> bool {
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
fn failed(error: reqwest::Error) -> Outcome {
    let not_sent = error.is_connect() || error.is_builder();
    let error = describe(error);
    if not_sent { Outcome::NotSent { error } } else { Outcome::InDoubt { status: None, error } }
}

/// The error with its causes, and without the URL: its query holds the arguments.
fn describe(error: reqwest::Error) -> String {
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

/// Why an answer's body could not be read.
#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("the answer is longer than {LONGEST_BODY} bytes")]
    TooLong,
    #[error("the answer broke off: {0}")]
    Broken(String),
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

fn quota_of(response: &Response) -> quota::Headers {
    quota::headers(response.headers(), Timestamp::now())
}

/// What an answer tells of the quota: its headers, and whether it refused for want of quota, which its body tells.
fn answer(headers: quota::Headers, outcome: &Outcome) -> quota::Answer {
    let refused = matches!(outcome, Outcome::Throttled { .. })
        .then_some(quota::Throttle { retry_after: headers.retry_after });
    quota::Answer { limit: headers.limit, remaining: headers.remaining, refused }
}

fn warning_of(response: &Response) -> Option<String> {
    let text = response.headers().get(WARNING)?;
    Some(String::from_utf8_lossy(text.as_bytes()).into_owned())
}

/// The outcome with the arguments taken out of what the API said: a log's message never holds them.
fn without(args: Option<&str>, outcome: Outcome) -> Outcome {
    let clean = |error: String| match args {
        Some(args) if !args.trim().is_empty() => error.replace(args, "[args]"),
        _ => error,
    };
    match outcome {
        Outcome::Rejected { status, error, hint } => Outcome::Rejected { status, error: clean(error), hint },
        Outcome::InDoubt { status, error } => Outcome::InDoubt { status, error: clean(error) },
        other => other,
    }
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
