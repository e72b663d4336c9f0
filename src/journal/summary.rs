//! What counts when a journal is left or entered.

use jiff::Timestamp;

use super::identity::Identity;

/// What counts when a journal is left or entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) identity: Identity,
    /// Occurrences and actions that have not come to their end, and paused entries.
    pub(super) open: u64,
    /// Everything scheduled before is claimed. `None`: nothing was planned yet.
    pub(super) cursor: Option<Timestamp>,
    /// Where the journal goes on, once it has been moved.
    pub(super) moved_to: Option<String>,
}
