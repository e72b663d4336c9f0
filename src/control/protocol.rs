//! The protocol of the socket: one line of JSON with a question, then lines of JSON with the
//! answers.
//!
//! A question names the version of this protocol:
//! `{"version":1,"command":"pause","entry":"nightly"}`. Every answer has an `answer`; one of them
//! is `error`, and is the last. Who closes the connection asks no more, and what was asked is done.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::status::Status;
use crate::journal::State;
use crate::log::Event;
use crate::occurrence::Reason;

/// The version of what is said here. Another one is refused.
pub const VERSION: u64 = 1;

/// The longest question, in bytes: the longest `args` that a body carries (64 KiB), and room for
/// the rest.
pub const LONGEST_QUESTION: usize = 128 << 10;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Question {
    /// Run an entry now. Answered with `claimed`, then, if wanted, with what is told until it has
    /// started or ended.
    Fire {
        /// Its name.
        entry: String,
        /// Arguments in place of the entry's own. `None`: the entry's own.
        #[serde(default)]
        args: Option<String>,
        /// When true, further answers report the occurrence until it has started or will not.
        #[serde(default)]
        wait: bool,
        /// The instant that the occurrence is claimed as, which whoever repeats a question without
        /// an answer says again: a claim of the entry that has this instant is the question's own.
        /// None: the daemon takes its own.
        #[serde(default)]
        at: Option<Timestamp>,
        /// Send it whatever its stack does.
        #[serde(default)]
        now: bool,
    },
    /// Make up for an occurrence of the past that did not start. Answered with `claimed`, then, if
    /// wanted, with what is told until it has started or ended.
    Backfill {
        /// The name of its entry.
        entry: String,
        /// The instant at which the occurrence was scheduled.
        at: Timestamp,
        /// A time through that instant of which the journal has no row: 0 where it has none at
        /// all.
        pass: u32,
        /// When true, further answers report what becomes of the occurrence.
        #[serde(default)]
        wait: bool,
    },
    /// Skip the occurrences of entries. Answered with `steered` for each, in this order.
    Pause {
        /// Their names: a list, or one text.
        #[serde(alias = "entry", deserialize_with = "one_or_many")]
        entries: Vec<String>,
        /// End of the pause: occurrences that are due from then on are sent. None: the pause lasts
        /// until a resume.
        #[serde(default)]
        until: Option<Timestamp>,
        /// Why.
        #[serde(default)]
        note: Option<String>,
    },
    /// Send the occurrences of entries again. Answered with `steered` for each, in this order.
    Resume {
        /// Their names: a list, or one text.
        #[serde(alias = "entry", deserialize_with = "one_or_many")]
        entries: Vec<String>,
    },
    /// Asks which entries the patterns and the stack select. Answered with `chosen`.
    Choose {
        /// Names, with `*` for any characters and `?` for one. None: all entries.
        #[serde(default)]
        patterns: Vec<String>,
        /// Only entries of this stack.
        #[serde(default)]
        stack: Option<String>,
        /// Only entries that a person has paused. Entries that the schedule no longer has are
        /// included.
        #[serde(default)]
        paused: bool,
    },
    /// The state of the daemon.
    Status {
        /// Tell of these entries. None: of those that are due next.
        #[serde(default)]
        entries: Vec<String>,
        /// List so many of each kind at most.
        most: usize,
    },
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Names {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Names::deserialize(deserializer)? {
        Names::One(name) => vec![name],
        Names::Many(names) => names,
    })
}

/// An answer to a question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum ControlAnswer {
    /// The request is claimed in the journal as this occurrence. From now on the daemon sends it or
    /// records why not.
    Claimed {
        /// The entry.
        entry: String,
        /// The instant that names the occurrence.
        scheduled_at: Timestamp,
    },
    /// Something became of what was fired.
    FireProgress(FireProgress),
    /// The entry is as it was asked to be.
    Steered {
        /// The entry.
        entry: String,
        /// True while the entry is paused by a person.
        paused: bool,
        /// True when the request changed something.
        changed: bool,
        /// The schedule file has it paused, whatever is asked here.
        paused_in_schedule: bool,
    },
    /// The entries that the patterns and the stack select.
    Chosen {
        /// Their names, in order.
        entries: Vec<String>,
    },
    /// The state of the daemon.
    Status(Box<Status>),
    /// The request was refused, or no further answer can be given.
    Error {
        /// The fault and its remedy.
        message: String,
        /// Tells who made the mistake.
        #[serde(default)]
        kind: ErrorKind,
    },
}

/// The kind of fault of a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The daemon cannot do it, or not now.
    #[default]
    Refused,
    /// The question names an entry that the schedule does not have.
    UnknownEntry,
    /// The occurrence has started, may have, or is under way: it is not claimed again.
    Known,
    /// Refused while the entry's action is unfinished. Asking again later may succeed.
    Busy,
}

/// The state of an occurrence that a person fired. The keys are an interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FireProgress {
    /// The entry.
    pub entry: String,
    /// The instant that names the occurrence.
    pub scheduled_at: Timestamp,
    /// The word of the history.
    pub state: String,
    /// The instant at which the request left. `None`: it has not left.
    pub sent_at: Option<Timestamp>,
    /// Lateness of the request in milliseconds.
    pub lateness_ms: Option<i64>,
    /// The attempts so far.
    pub attempts: Option<u32>,
    /// The action it started.
    pub action_id: Option<u64>,
    /// The reason why the occurrence waits or was not sent.
    pub reason: Option<String>,
    /// The instant at which the wait should end.
    pub until: Option<Timestamp>,
    /// HTTP status of a refusal.
    pub status: Option<u16>,
    /// The error and its remedy.
    pub error: Option<String>,
    /// One sentence for people.
    pub message: String,
}

impl FireProgress {
    /// Returns true when it is decided whether the occurrence starts.
    pub fn is_final(&self) -> bool {
        !matches!(State::of_word(&self.state), Some(State::Due | State::Waiting))
    }

    /// Returns true when the occurrence has started an action.
    pub fn is_started(&self) -> bool {
        self.state == State::Started.as_str()
    }

    /// Returns the state that an event reports of an occurrence. `None`: the event is not of the
    /// kind that is reported.
    pub(super) fn of(event: &Event) -> Option<FireProgress> {
        let (entry, scheduled_at) = event.occurrence()?;
        let told = FireProgress {
            entry: entry.to_string(),
            scheduled_at,
            message: event.message(),
            ..FireProgress::default()
        };
        let state = |state: State| state.as_str().to_owned();
        Some(match event {
            Event::OccurrenceWaiting(e) => FireProgress {
                state: state(State::Waiting),
                reason: Some(e.reason.to_string()),
                until: e.until,
                ..told
            },
            Event::OccurrenceRetrying(e) => FireProgress {
                state: state(State::Waiting),
                reason: Some(Reason::Retry.to_string()),
                attempts: Some(e.attempts),
                status: e.status,
                error: Some(e.error.clone()),
                ..told
            },
            Event::ActionStarted(e) => FireProgress {
                state: state(State::Started),
                sent_at: Some(e.sent_at),
                lateness_ms: Some(e.lateness_ms),
                attempts: Some(e.attempts),
                action_id: e.action.id,
                ..told
            },
            Event::OccurrenceMissed(e) => {
                FireProgress { state: state(State::Missed), reason: Some(e.reason.to_string()), ..told }
            }
            Event::OccurrenceSkipped(e) => {
                FireProgress { state: state(State::Skipped), reason: Some(e.reason.to_string()), ..told }
            }
            Event::OccurrenceRejected(e) => FireProgress {
                state: state(State::Rejected),
                status: e.status,
                error: Some(e.error.clone()),
                reason: Some(e.hint.clone()).filter(|hint| !hint.is_empty()),
                ..told
            },
            Event::OccurrenceUnknown(e) => {
                FireProgress { state: state(State::Unknown), error: Some(e.error.clone()), ..told }
            }
            _ => return None,
        })
    }
}

impl ControlAnswer {
    /// The line that says it.
    pub(super) fn line(&self) -> Vec<u8> {
        // Neither a Vec nor these values can fail.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// A line that is no question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// The line is no JSON, or no question of this protocol.
    #[error("that is no question this daemon knows ({0}); ask with `stackcron` of version {version}", version = env!("CARGO_PKG_VERSION"))]
    Malformed(String),
    /// Somebody speaks another version.
    #[error(
        "the daemon is stackcron {daemon} and speaks version {VERSION} of the control protocol, not {0}; restart it after an \
         upgrade, or ask with the stackcron that it is",
        daemon = env!("CARGO_PKG_VERSION")
    )]
    Version(u64),
}

impl Question {
    /// The line that asks it.
    pub fn line(&self) -> serde_json::Result<String> {
        let mut question = serde_json::to_value(self)?;
        question["version"] = VERSION.into();
        Ok(format!("{question}\n"))
    }

    /// The question that a line asks.
    ///
    /// # Errors
    /// When it asks none, or another version's.
    pub fn parse(line: &[u8]) -> Result<Question, QuestionError> {
        let malformed = |error: serde_json::Error| QuestionError::Malformed(error.to_string());
        let question: Value = serde_json::from_slice(line).map_err(malformed)?;
        match question.get("version").and_then(Value::as_u64) {
            Some(VERSION) => serde_json::from_value(question).map_err(malformed),
            Some(other) => Err(QuestionError::Version(other)),
            None => Err(QuestionError::Malformed("it names no `version`".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_question_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Question::parse(&bytes);
        }
    }

    #[test]
    fn a_question_is_read_as_it_was_asked() {
        let questions = [
            Question::Fire {
                entry: "a".into(),
                args: Some("--full '2 days'\n\u{0}é".into()),
                wait: true,
                at: None,
                now: true,
            },
            Question::Pause {
                entries: vec!["a".into(), "b".into()],
                until: None,
                note: Some("a move".into()),
            },
            Question::Resume { entries: vec!["a".into()] },
            Question::Backfill { entry: "a".into(), at: Timestamp::UNIX_EPOCH, pass: 1, wait: true },
            Question::Choose { patterns: vec!["nightly-*".into()], stack: None, paused: true },
            Question::Status { entries: vec!["a".into()], most: 5 },
        ];
        for question in questions {
            let line = question.line().expect("JSON");
            assert_eq!(line.matches('\n').count(), 1, "one line: {line}");
            assert_eq!(Question::parse(line.as_bytes()), Ok(question));
        }
        let one = br#"{"version":1,"command":"resume","entry":"a"}"#;
        assert_eq!(Question::parse(one), Ok(Question::Resume { entries: vec!["a".into()] }));
    }

    #[test]
    fn what_is_no_question_is_refused_with_what_to_do() {
        for line in ["", "{", "null", "[]", "7", r#"{"command":"pause","entry":"a"}"#, "\u{0}\u{1}"] {
            let refused = Question::parse(line.as_bytes()).expect_err(line);
            assert!(matches!(refused, QuestionError::Malformed(_)), "{line}: {refused}");
        }
        for line in [
            r#"{"version":1}"#,
            r#"{"version":1,"command":"stop"}"#,
            r#"{"version":1,"command":"fire"}"#,
            r#"{"version":1,"command":"fire","entry":7}"#,
            r#"{"version":1,"command":"status","most":-1}"#,
        ] {
            let refused = Question::parse(line.as_bytes()).expect_err(line);
            assert!(matches!(refused, QuestionError::Malformed(_)), "{line}: {refused}");
        }
        let refused = Question::parse(br#"{"version":2,"command":"dance"}"#).expect_err("another version");
        assert_eq!(refused, QuestionError::Version(2));
        assert!(refused.to_string().contains("restart"), "{refused}");
    }
}
