//! What a request brought: from an answer's status, headers and body to what the daemon decides on.

use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName};

use super::action::Action;
use super::answer::{Outcome, classify};
use crate::quota;

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
    /// The API does not know the action. Asking again would bring the same.
    Gone {
        /// What the API said.
        error: String,
    },
    /// No answer to build on; ask again later.
    Unanswered,
}

/// An answer's body is read up to this many bytes. An action has some hundred.
pub(crate) const LONGEST_BODY: usize = 1 << 20;

/// Why an answer's body could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the answer is longer than {LONGEST_BODY} bytes")]
    TooLong,
    #[error("the answer broke off: {0}")]
    Broken(String),
}

/// What an answer tells before its body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(super) status: u16,
    pub(super) quota: quota::Headers,
    pub(super) warning: Option<String>,
}

const WARNING: HeaderName = HeaderName::from_static("x-cloud66-warning");

impl<T> Reply<T> {
    /// There was no answer.
    pub(crate) fn unanswered(outcome: T) -> Reply<T> {
        Reply { quota: None, warning: None, outcome }
    }
}

impl Head {
    /// Reads the headers. `came` turns a `Retry-After` that is a date into a duration.
    pub(crate) fn read(status: u16, headers: &HeaderMap, came: Timestamp) -> Head {
        let warning = headers.get(WARNING).map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned());
        Head { status, quota: quota::headers(headers, came), warning }
    }

    /// The reply to run_now with these arguments.
    pub(crate) fn of_run_now(self, body: Result<Vec<u8>, BodyError>, args: Option<&str>) -> Reply<Outcome> {
        let outcome = match body {
            Ok(body) => without(args, classify(self.status, &body)),
            Err(error) => self.unread(&error),
        };
        Reply { quota: Some(self.answer(&outcome)), warning: self.warning, outcome }
    }

    /// The reply to a question for an action.
    pub(crate) fn of_action(self, body: Result<Vec<u8>, BodyError>) -> Reply<FollowUp> {
        // The classes of an answer are those of run_now, and so is the shape of an action.
        let class = match body {
            Ok(body) => classify(self.status, &body),
            Err(error) => self.unread(&error),
        };
        let quota = Some(self.answer(&class));
        let outcome = match class {
            Outcome::Started(action) => FollowUp::Action(action),
            Outcome::Rejected { status: 404, error, .. } => FollowUp::Gone { error },
            // A token that is not accepted may be mended.
            _ => FollowUp::Unanswered,
        };
        Reply { quota, warning: self.warning, outcome }
    }

    fn unread(&self, error: &BodyError) -> Outcome {
        Outcome::InDoubt { status: Some(self.status), error: error.to_string() }
    }

    /// What is told of the quota: by the headers, and by the body whether it refused for want of quota.
    fn answer(&self, class: &Outcome) -> quota::Answer {
        let refused = matches!(class, Outcome::Throttled { .. })
            .then_some(quota::Throttle { retry_after: self.quota.retry_after });
        quota::Answer { limit: self.quota.limit, remaining: self.quota.remaining, refused }
    }
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
