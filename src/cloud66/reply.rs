//! The outcome of a request: from an answer's status, headers and body to the values on which the
//! daemon decides.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{DATE, HeaderMap, HeaderName};
use serde_json::Value;

use super::action::Action;
use super::answer::{Outcome, classify};
use super::envelope::Envelope;
use super::masking::masked_and_cut;
use crate::quota;

/// The outcome of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply<T> {
    /// The answer's word on the quota. `None`: there was no answer.
    pub quota: Option<quota::QuotaAnswer>,
    /// The text of `X-Cloud66-Warning`.
    pub warning: Option<String>,
    /// Departure of a run_now. `None`: the request is a question, or no byte of the run_now was
    /// written.
    pub left: Option<Departure>,
    /// The outcome of the request.
    pub outcome: T,
}

/// The departure of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The instant at which its first byte was written.
    pub at: Timestamp,
    /// The time for which the request waited for a connection. Zero: one was ready.
    pub connect: Duration,
}

/// The outcome of asking for an action.
#[derive(Clone, Debug, PartialEq)]
pub enum FollowUp {
    /// The action as it is now.
    Action(Box<Action>),
    /// The API does not know the action. Asking again would bring the same.
    Gone {
        /// The API's own words.
        error: String,
    },
    /// No answer to build on; ask again later.
    Unanswered,
}

/// The outcome of asking for a page of a stack's actions.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionsListed {
    /// The page.
    Page(ActionsPage),
    /// No page that can be read; ask again later.
    Unanswered {
        /// The error.
        error: String,
    },
}

/// A page of the actions of a stack. The API does not say in which order they come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActionsPage {
    /// The actions in the order of the answer.
    pub actions: Vec<Action>,
    /// The number of the next page. `None` on the last one.
    pub next: Option<u32>,
    /// Number of pages. `None`: the answer does not tell.
    pub pages: Option<u32>,
    /// The API's clock at the time of the answer, in whole seconds.
    pub date: Option<Timestamp>,
}

/// An answer's body is read up to this many bytes. An action has some hundred.
pub(crate) const LONGEST_BODY: usize = 1 << 20;

/// Why an answer's body could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the answer is longer than {most} bytes")]
    TooLong { most: usize },
    #[error("the answer broke off: {0}")]
    Broken(String),
}

/// Status and headers of an answer, as far as they matter.
#[derive(Debug)]
pub(crate) struct Head {
    pub(super) envelope: Envelope,
    pub(super) quota: quota::Headers,
    pub(super) warning: Option<String>,
    date: Option<Timestamp>,
}

/// The longest warning that is repeated in the log, in characters.
pub(crate) const LONGEST_WARNING: usize = 1000;

const WARNING: HeaderName = HeaderName::from_static("x-cloud66-warning");

impl<T> Reply<T> {
    /// Returns the reply of a request that had no answer.
    pub(crate) fn unanswered(outcome: T) -> Reply<T> {
        Reply { quota: None, warning: None, left: None, outcome }
    }
}

impl Head {
    /// Reads the headers. `came` turns a `Retry-After` that is a date into a duration.
    pub(crate) fn read(status: u16, headers: &HeaderMap, came: Timestamp) -> Head {
        let warning = headers.get(WARNING).map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned());
        let date = headers.get(DATE).and_then(|date| rfc2822::parse(date.to_str().ok()?.trim()).ok());
        let date = date.map(|date| date.timestamp());
        Head {
            envelope: Envelope::read(status, headers),
            quota: quota::headers(headers, came),
            warning,
            date,
        }
    }

    /// Takes the reason phrase in.
    pub(crate) fn with_reason(self, reason: Option<&[u8]>) -> Head {
        Head { envelope: self.envelope.with_reason(reason), ..self }
    }

    /// The reply to run_now with these arguments.
    pub(crate) fn of_run_now(self, body: Result<Vec<u8>, BodyError>, args: Option<&str>) -> Reply<Outcome> {
        let outcome = match body {
            Ok(body) => classify(&self.envelope, &body, args),
            Err(error) => self.unread(&error),
        };
        let warning = self.warning.as_deref().map(|text| masked_and_cut(args, text, LONGEST_WARNING));
        Reply { quota: Some(self.answer(throttled(&outcome))), warning, left: None, outcome }
    }

    /// The reply to a question for an action.
    pub(crate) fn of_action(self, body: Result<Vec<u8>, BodyError>) -> Reply<FollowUp> {
        // The classes of an answer are those of run_now, and so is the shape of an action.
        let class = match body {
            Ok(body) => classify(&self.envelope, &body, None),
            Err(error) => self.unread(&error),
        };
        let quota = Some(self.answer(throttled(&class)));
        let outcome = match class {
            Outcome::Started(action) => FollowUp::Action(action),
            Outcome::Rejected { status: 404, error, .. } => FollowUp::Gone { error },
            // A token that is not accepted may be mended.
            _ => FollowUp::Unanswered,
        };
        Reply { quota, warning: self.warning, left: None, outcome }
    }

    /// The reply to a question for a page of actions.
    pub(crate) fn of_actions(self, body: Result<Vec<u8>, BodyError>) -> Reply<ActionsListed> {
        let is_good = (200..300).contains(&self.envelope.status);
        let page = body.as_ref().ok().filter(|_| is_good).and_then(|body| page(body));
        let (throttled, outcome) = match page {
            Some(page) => (None, ActionsListed::Page(ActionsPage { date: self.date, ..page })),
            None => {
                let class = match &body {
                    Ok(body) => classify(&self.envelope, body, None),
                    Err(error) => self.unread(error),
                };
                (throttled(&class), ActionsListed::Unanswered { error: no_page(class) })
            }
        };
        let quota = Some(self.answer(throttled));
        let warning = self.warning.map(|text| masked_and_cut(None, &text, LONGEST_WARNING));
        Reply { quota, warning, left: None, outcome }
    }

    pub(super) fn unread(&self, error: &BodyError) -> Outcome {
        Outcome::InDoubt { status: Some(self.envelope.status), error: error.to_string() }
    }

    /// Returns the answer's word on the quota. `throttled` tells what the body says where it
    /// refuses for want of quota.
    pub(super) fn answer(&self, throttled: Option<quota::ThrottleWords>) -> quota::QuotaAnswer {
        let refused = throttled.map(|words| quota::Throttle { retry_after: self.quota.retry_after, words });
        quota::QuotaAnswer {
            limit: self.quota.limit,
            remaining: self.quota.remaining,
            refused,
            date: self.date,
        }
    }
}

pub(super) fn throttled(class: &Outcome) -> Option<quota::ThrottleWords> {
    match class {
        Outcome::Throttled { words, .. } => Some(*words),
        _ => None,
    }
}

/// Says why an answer has no page of actions.
fn no_page(class: Outcome) -> String {
    match class {
        Outcome::Rejected { status, error, .. } | Outcome::NotFromApi { status, error } => {
            format!("{status}: {error}")
        }
        Outcome::InDoubt { error, .. } | Outcome::NotSent { error } | Outcome::Unsendable { error } => error,
        Outcome::Throttled { .. } => "the quota is spent".to_owned(),
        Outcome::Started(_) => "the answer has no list of actions".to_owned(),
    }
}

/// Reads a page. `None` when it is none, or when anything in it is no action: what cannot be read
/// could be the one that is looked for.
fn page(body: &[u8]) -> Option<ActionsPage> {
    let mut body: Value = serde_json::from_slice(body).ok()?;
    let Value::Array(items) = body.get_mut("response")?.take() else {
        return None;
    };
    let actions = items.into_iter().map(Action::from_json).collect::<Option<Vec<_>>>()?;
    let told =
        |key| body.get("pagination").and_then(|pagination| pagination.get(key)).filter(|v| !v.is_null());
    let next = match told("next") {
        // A next page whose number cannot be read is not the end of the list.
        Some(next) => Some(number(next)?),
        None => None,
    };
    Some(ActionsPage { actions, next, pages: told("pages").and_then(number), date: None })
}

fn number(value: &Value) -> Option<u32> {
    match value {
        Value::Number(number) => u32::try_from(number.as_u64()?).ok(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_with_its_neighbours() {
        let read =
            page(br#"{"response":[{"id":7},{"id":"8"}],"pagination":{"next":2,"pages":3}}"#).expect("a page");
        let ids: Vec<_> = read.actions.iter().map(|action| action.id).collect();
        assert_eq!((ids, read.next, read.pages), (vec![Some(7), Some(8)], Some(2), Some(3)));
        let last = page(br#"{"response":[],"pagination":{"next":null,"pages":1}}"#).expect("a page");
        assert_eq!((last.actions.len(), last.next), (0, None));
        assert_eq!(page(br#"{"response":[]}"#).expect("a list without pages").next, None);
    }

    #[test]
    fn what_may_hide_an_action_is_no_page() {
        for body in [
            "",
            "<html>",
            "{}",
            r#"{"response":{}}"#,
            r#"{"response":[7]}"#,
            r#"{"response":[],"pagination":{"next":"soon"}}"#,
        ] {
            assert_eq!(page(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn an_error_is_no_page() {
        for status in [401, 404, 500, 503] {
            let head = Head::read(status, &HeaderMap::new(), Timestamp::UNIX_EPOCH);
            let reply = head.of_actions(Ok(br#"{"response":[]}"#.to_vec()));
            assert!(matches!(reply.outcome, ActionsListed::Unanswered { .. }), "{status}: {reply:?}");
        }
    }
}
