//! The facts about a journal that decide whether it may be left or entered.

use jiff::Timestamp;

use super::uuid::Identity;

/// The facts about a journal that decide whether it may be left or entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JournalSummary {
    pub(super) identity: Identity,
    /// Occurrences and actions that have not come to their end, and paused entries.
    pub(super) open: u64,
    /// Everything scheduled before this instant is claimed. `None`: nothing was planned yet.
    pub(super) cursor: Option<Timestamp>,
    /// The place to which the journal was moved. `None`: it was not moved.
    pub(super) moved_to: Option<String>,
}
