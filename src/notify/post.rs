//! Posts one message over HTTP, and decides by the answer whether another try may help.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{RequestBuilder, StatusCode, Url};
use serde_json::Value;

use super::content::{Message, Ping};
use crate::cloud66::ClientError;
use crate::cloud66::client::{describe, is_loopback, once_and_there};
use crate::schedule::SecretUrl;

/// A receiver has this long to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    /// The host of the address. The rest may hold a secret and is never printed.
    pub(super) host: String,
    pub(super) error: String,
    pub(super) again: Again,
}

/// Tells whether another try may do better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    /// Another try may do better, after this long where the receiver has asked for a pause.
    Perhaps(Option<Duration>),
}

/// The HTTP clients: one asks the proxy that the environment names, the other is for this machine.
#[derive(Clone, Debug)]
pub(super) struct Poster {
    proxied: reqwest::Client,
    direct: reqwest::Client,
}

impl Poster {
    pub(super) fn new() -> Result<Poster, ClientError> {
        // An address is a secret.
        let http = || once_and_there().connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT);
        Ok(Poster {
            proxied: http().build().map_err(ClientError::Http)?,
            direct: http().no_proxy().build().map_err(ClientError::Http)?,
        })
    }

    fn to(&self, url: &Url) -> &reqwest::Client {
        if is_loopback(url) { &self.direct } else { &self.proxied }
    }
}

/// Posts a message to an address, by a poster. `None`: the address could not be read.
pub(super) async fn deliver(found: Option<(SecretUrl, Poster)>, message: Message) -> Result<(), Failure> {
    let Some((url, poster)) = found else {
        let error = "its address is not known".to_owned();
        return Err(Failure { host: String::new(), error, again: Again::Never });
    };
    let request = match message {
        Message::Digest(format, digest) => {
            let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            poster.to(url.expose()).post(url.expose().clone()).json::<Value>(&digest.body(format, &host))
        }
        Message::Ping(ping) => pinging(&poster, &url, ping),
    };
    let failure = |error, again| Failure { host: url.host().to_owned(), error, again };
    match request.send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => {
            let status = answer.status();
            let after = answer.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
            Err(failure(format!("it answers {status}"), again(status, after)))
        }
        Err(error) => Err(failure(describe(error), Again::Perhaps(None))),
    }
}

/// `URL/start`, `URL` and `URL/fail`, a query kept where it is.
fn pinging(poster: &Poster, url: &SecretUrl, ping: Ping) -> RequestBuilder {
    let (suffix, body) = match ping {
        Ping::Started => (Some("start"), None),
        Ping::Succeeded => (None, None),
        Ping::Failed(message) => (Some("fail"), Some(message)),
    };
    let mut url = url.expose().clone();
    if let Some(suffix) = suffix
        && let Ok(mut path) = url.path_segments_mut()
    {
        path.pop_if_empty().push(suffix);
    }
    match body {
        Some(body) => poster.to(&url).post(url.clone()).body(body),
        None => poster.to(&url).get(url.clone()),
    }
}

fn again(status: StatusCode, after: Option<u64>) -> Again {
    match status.as_u16() {
        408 | 425 | 429 | 500.. => Again::Perhaps(after.map(Duration::from_secs)),
        _ => Again::Never,
    }
}
