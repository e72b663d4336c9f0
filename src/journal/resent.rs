//! An occurrence that was sent again, since its first attempt was taken to have had no effect.
//!
//! Such a row outlives the claim: the stack's list is read again after the second attempt has
//! started an action, also by the process that comes after a crash. Once nobody reads on, a row
//! stays only where it names a surplus action.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Key;
use crate::cloud66::ActionId;
use crate::schedule::{AccountName, StackUid};

/// The journal's row of an occurrence that was sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resent {
    /// The occurrence.
    pub key: Key,
    /// The stack of the job.
    pub stack: StackUid,
    /// A second action that the occurrence turned out to have.
    pub surplus: Option<ActionId>,
    /// The search for a second action in the stack's list. `None`: the search is over.
    pub watch: Option<ResentWatch>,
}

/// The search for a second action in a stack's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResentWatch {
    /// The account whose token reads the list.
    pub account: AccountName,
    /// A second action began then at the earliest, by the daemon's clock.
    pub from: Timestamp,
    /// The action of the attempt that is known to have started one. `None`: there is none yet.
    pub first_action: Option<ActionId>,
    /// The instant at which the list is read for the last time. `None`: no action is known yet.
    pub until: Option<Timestamp>,
}

/// A watch as text in a column. Instants are microseconds since 1970.
#[derive(Serialize, Deserialize)]
struct Saved {
    account: String,
    from: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_action: Option<ActionId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
}

impl ResentWatch {
    /// Returns the text for the journal.
    pub(super) fn saved(&self) -> String {
        let saved = Saved {
            account: self.account.to_string(),
            from: self.from.as_microsecond(),
            first_action: self.first_action,
            until: self.until.map(Timestamp::as_microsecond),
        };
        // Text and numbers always have a form in JSON.
        serde_json::to_string(&saved).unwrap_or_default()
    }

    /// Reads the journal's text. `None`: another version wrote it, and nobody reads on.
    pub(super) fn of_saved(text: &str) -> Option<ResentWatch> {
        let saved: Saved = serde_json::from_str(text).ok()?;
        let instant = |micros| Timestamp::from_microsecond(micros).ok();
        Some(ResentWatch {
            account: AccountName::new(&saved.account).ok()?,
            from: instant(saved.from)?,
            first_action: saved.first_action,
            until: saved.until.and_then(instant),
        })
    }
}
