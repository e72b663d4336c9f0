//! A pause that a person asked for: since when, by whom, until when and why.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The terms of a pause. A journal keeps them as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The instant at which the person asked for the pause.
    pub since: Timestamp,
    /// Name of the user who asked, at the other end of the socket.
    pub by: String,
    /// End of the pause: occurrences that are due from then on are sent. `None`: until a person
    /// resumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Pause {
    /// Returns true when the pause holds back what is due at an instant.
    pub fn keeps_back(&self, due_at: Timestamp) -> bool {
        self.until.is_none_or(|until| due_at < until)
    }

    /// Returns true when two pauses ask for the same thing.
    pub(crate) fn asks_for_the_same_as(&self, other: &Pause) -> bool {
        (self.until, &self.note) == (other.until, &other.note)
    }

    /// Returns the form in which a journal keeps the pause.
    pub(super) fn stored(&self) -> String {
        // Neither a String nor these values can fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads what a journal keeps. Terms of another version's are a pause without an end: nothing
    /// is sent by mistake.
    pub(super) fn read(text: &str) -> Pause {
        serde_json::from_str(text).unwrap_or_else(|_| Pause {
            since: Timestamp::UNIX_EPOCH,
            by: "an unknown user".to_owned(),
            until: None,
            note: None,
        })
    }
}
