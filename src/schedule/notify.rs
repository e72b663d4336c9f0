//! Whom the end of an occurrence is told: receivers, their addresses, and what they are told of.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use schemars::JsonSchema;

use super::words::Word;
use super::{ReceiverName, TokenSource};

/// The notification settings of an entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notify {
    /// The receivers. Each is told of the ends that it asks for.
    pub receivers: Vec<Arc<Receiver>>,
    /// Asked when the entry's job starts, succeeds or fails.
    pub ping: Option<Address>,
}

/// A receiver of notifications, by a webhook.
#[derive(Clone, Debug, PartialEq)]
pub struct Receiver {
    /// The receiver's key under `notify:`.
    pub name: ReceiverName,
    /// The address that messages are posted to.
    pub webhook: Address,
    /// The format of the messages.
    pub format: Format,
    /// The triggers that the receiver asks for. They are never [`Trigger::Recovered`] alone.
    pub on: Vec<Trigger>,
    /// Lateness from which on an occurrence is reported as [`Trigger::Late`].
    pub late_after: Duration,
}

/// The place of an address. Whoever knows the address can post to it, so it is kept as a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The address stands in the file itself.
    Written(SecretUrl),
    /// The address is kept where a token could be kept.
    Kept(TokenSource),
}

/// An address that no debug output prints but for its host.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

/// The text is no address that can be posted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must begin with `https://` or `http://`, and name a host")]
pub struct AddressError;

impl SecretUrl {
    /// Checks an address. The error does not repeat it.
    pub fn new(text: &str) -> Result<SecretUrl, AddressError> {
        let url = Url::parse(text).map_err(|_| AddressError)?;
        let sound =
            matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty());
        if sound { Ok(SecretUrl(url)) } else { Err(AddressError) }
    }

    /// The address, for whoever asks it.
    pub fn expose(&self) -> &Url {
        &self.0
    }

    /// Returns the host, which is the only part that may be printed.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretUrl").field(&self.host()).finish()
    }
}

/// The format of messages to a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "lowercase", transform = super::shape::words)]
pub enum Format {
    /// One JSON object: a text, counts, and each occurrence with the fields of its log event.
    #[default]
    Json,
    /// `{"text": …}`, as Slack, Mattermost and Rocket.Chat read it.
    Slack,
}

impl Word for Format {
    const ALL: &'static [(&'static str, Self)] = &[("json", Format::Json), ("slack", Format::Slack)];
}

/// A kind of happening that a receiver can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(rename_all = "lowercase", transform = super::shape::words)]
pub enum Trigger {
    /// An action finished without success.
    Failed,
    /// An occurrence was not sent in time.
    Missed,
    /// The API refused an occurrence for good.
    Rejected,
    /// An occurrence may have started, and nothing can tell.
    Unknown,
    /// An action runs longer than its entry expects.
    Slow,
    /// An action ended sooner than its entry expects.
    Quick,
    /// An occurrence started late.
    Late,
    /// An action finished without success, and is run again. Told only to whom names it.
    Retried,
    /// The first good end after a bad one that the receiver was told of.
    Recovered,
}

impl Word for Trigger {
    const ALL: &'static [(&'static str, Self)] = &[
        ("failed", Trigger::Failed),
        ("missed", Trigger::Missed),
        ("rejected", Trigger::Rejected),
        ("unknown", Trigger::Unknown),
        ("slow", Trigger::Slow),
        ("quick", Trigger::Quick),
        ("late", Trigger::Late),
        ("retried", Trigger::Retried),
        ("recovered", Trigger::Recovered),
    ];
}

impl Trigger {
    /// The triggers of a receiver that names none, in the order in which they are listed.
    pub const DEFAULT: [Trigger; 8] = [
        Trigger::Failed,
        Trigger::Missed,
        Trigger::Rejected,
        Trigger::Unknown,
        Trigger::Slow,
        Trigger::Quick,
        Trigger::Late,
        Trigger::Recovered,
    ];

    /// Returns the trigger's word in the file.
    pub fn word(self) -> &'static str {
        Word::word(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_never_shown_but_for_its_host() {
        let url = SecretUrl::new("https://me:pw@hooks.example.com/s3cret?key=s3cret").expect("an address");
        assert_eq!(format!("{url:?}"), "SecretUrl(\"hooks.example.com\")");
        for bad in ["hooks.example.com/s3cret", "ftp://example.com/s3cret", "file:///s3cret", ""] {
            let error = SecretUrl::new(bad).expect_err("no address").to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
