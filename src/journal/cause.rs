//! Why an occurrence waits, was missed or was skipped: a word, the occurrence that took its place,
//! and the last error.
//!
//! A journal keeps them as one text, so that a history from before a restart tells them too:
//! `deadline`, `retry: connection refused`, `superseded by 2026-11-30T03:05:00Z: connection
//! refused`.

use std::fmt;

use jiff::Timestamp;

use super::{ReasonText, Record, State};
use crate::occurrence::Reason;

/// Why an occurrence was not sent, or not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The word that the log gives.
    pub reason: ReasonText,
    /// The scheduled_at of the newer occurrence that goes in its place.
    pub replaced_by: Option<Timestamp>,
    /// The error of the last attempt. `None`: no attempt failed, or the error is unknown.
    pub error: Option<String>,
}

impl From<Reason> for Cause {
    fn from(reason: Reason) -> Cause {
        reason.as_str().into()
    }
}

impl From<&'static str> for Cause {
    fn from(reason: &'static str) -> Cause {
        Cause { reason: reason.into(), replaced_by: None, error: None }
    }
}

/// The form in which a journal keeps the cause.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        if let Some(by) = self.replaced_by {
            write!(f, " by {by}")?;
        }
        self.error.as_ref().map_or(Ok(()), |error| write!(f, ": {error}"))
    }
}

impl Cause {
    /// Reads what a journal keeps.
    pub(super) fn read(text: &str) -> Cause {
        let (head, error) = match text.split_once(": ") {
            Some((head, error)) => (head, Some(error.to_owned())),
            None => (text, None),
        };
        let replaced = head.split_once(" by ").and_then(|(word, by)| Some((word, by.parse().ok()?)));
        match replaced {
            Some((word, by)) => Cause { reason: word.to_owned().into(), replaced_by: Some(by), error },
            None => Cause { reason: head.to_owned().into(), replaced_by: None, error },
        }
    }
}

impl Record {
    /// Takes the text of the journal apart where it is a cause.
    pub(super) fn with_cause(mut self) -> Record {
        if matches!(self.state, State::Waiting | State::Missed | State::Skipped)
            && let Some(text) = self.reason.take()
        {
            let cause = Cause::read(&text);
            (self.replaced_by, self.error) = (cause.replaced_by, cause.error);
            self.reason = Some(cause.reason.into_owned());
        }
        self
    }

    /// Why the occurrence is in its state, in words for people.
    pub fn in_words(&self) -> Option<String> {
        let why = Why {
            state: self.state,
            reason: self.reason.as_deref()?,
            replaced_by: self.replaced_by,
            error: self.error.as_deref(),
            attempts: self.attempts,
        };
        Some(why.to_string())
    }
}

/// Why an occurrence is in its state. It prints as words for people.
#[derive(Clone, Copy, Debug)]
pub struct Why<'a> {
    /// The state that the reason is of.
    pub state: State,
    /// The word of the log, or words of the API.
    pub reason: &'a str,
    /// The scheduled_at of the newer occurrence that went in its place.
    pub replaced_by: Option<Timestamp>,
    /// The error of the last attempt.
    pub error: Option<&'a str>,
    /// Number of attempts.
    pub attempts: u32,
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempt = |f: &mut fmt::Formatter<'_>| match (self.error, self.attempts) {
            (Some(error), 0) => write!(f, "{error}"),
            (Some(error), attempts) => write!(f, "{error}, attempt {attempts}"),
            (None, _) => Ok(()),
        };
        let words = match (self.state, self.reason.parse()) {
            (State::Waiting, Ok(Reason::Retry)) if self.error.is_some() => return attempt(f),
            (State::Waiting, Ok(Reason::Retry)) => "it is tried again",
            (State::Waiting, Ok(Reason::Quota)) => "no quota is left",
            (State::Waiting, Ok(Reason::Overlap)) => {
                "the entry's last action has not finished (overlap: queue)"
            }
            (State::Waiting, Ok(Reason::Down)) => "the daemon stopped before its turn came",
            (State::Waiting, Ok(Reason::Deploying)) => "its stack is being deployed (stack_state: hold)",
            (State::Waiting, Ok(Reason::Maintenance)) => "its stack is in maintenance (stack_state: hold)",
            (State::Waiting, Ok(Reason::PausedRemotely)) => {
                "its job is paused in Cloud 66 (stack_state: hold)"
            }
            (State::Missed, Ok(Reason::Deploying)) => {
                "its stack was being deployed until its start_deadline (stack_state: hold)"
            }
            (State::Missed, Ok(Reason::Maintenance)) => {
                "its stack was in maintenance until its start_deadline (stack_state: hold)"
            }
            (State::Missed, Ok(Reason::PausedRemotely)) => {
                "its job was paused in Cloud 66 until its start_deadline (stack_state: hold)"
            }
            (State::Skipped, Ok(Reason::Deploying)) => "its stack was being deployed (stack_state: skip)",
            (State::Skipped, Ok(Reason::Maintenance)) => "its stack was in maintenance (stack_state: skip)",
            (State::Skipped, Ok(Reason::PausedRemotely)) => {
                "its job was paused in Cloud 66 (stack_state: skip)"
            }
            (State::Missed, Ok(Reason::Superseded)) => "a newer run took its place (catch_up: latest)",
            (State::Missed, Ok(Reason::Deadline)) => "it could not be sent before its start_deadline",
            (State::Missed, Ok(Reason::Down)) => "nobody looked when it was due (catch_up: none)",
            (State::Missed, Ok(Reason::Quota)) => "no quota was left when it was due (catch_up: none)",
            (State::Missed, Ok(Reason::Clock)) => "the clock was set forward over its instant",
            (State::Skipped, Ok(Reason::Overlap)) => "the entry's last action had not finished (overlap)",
            (State::Skipped, Ok(Reason::Paused)) => "the entry was paused",
            (State::Skipped, Ok(Reason::Removed)) => "the schedule does not have it any more",
            _ => self.reason,
        };
        f.write_str(words)?;
        if let Some(by) = self.replaced_by {
            write!(f, ": that of {by}")?;
        }
        if self.error.is_some() {
            f.write_str("; ")?;
            attempt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by() -> Timestamp {
        Timestamp::from_second(1_795_000_000).expect("an instant")
    }

    proptest! {
        #[test]
        fn what_is_kept_is_read_as_it_was(
            word in "[a-z_]{1,12}", replaced in any::<bool>(), error in proptest::option::of("\\PC{0,40}")
        ) {
            let cause = Cause { reason: word.into(), replaced_by: replaced.then(by), error };
            prop_assert_eq!(Cause::read(&cause.to_string()), cause);
        }
    }

    #[test]
    fn people_read_why_in_words() {
        let why = |state, reason, replaced_by, error| {
            Why { state, reason, replaced_by, error, attempts: 5 }.to_string()
        };
        let refused = Some("connection refused");
        assert_eq!(why(State::Waiting, "retry", None, refused), "connection refused, attempt 5");
        assert_eq!(
            why(State::Missed, "superseded", Some(by()), refused),
            "a newer run took its place (catch_up: latest): that of 2026-11-18T11:06:40Z; connection refused, attempt 5"
        );
        assert_eq!(
            why(State::Missed, "deadline", None, None),
            "it could not be sent before its start_deadline"
        );
        assert_eq!(why(State::Failed, "exit status 1", None, None), "exit status 1");
    }
}
