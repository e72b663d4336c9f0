//! The store of a journal: rows that are written in transactions.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{
    Claim, Claimed, Cursor, Handover, JournalError, Key, KnownActions, Pause, Refused, Resent, Transition,
};
use crate::cloud66::ActionId;
use crate::quota;
use crate::schedule::{AccountName, EntryName, Schedule, StackUid};

/// A place for the rows. One thread owns it; each call blocks.
pub(super) trait Store: Send + 'static {
    /// Performs writes in their order, and says of each what came of it. All of them are durable
    /// when it returns, and none of them when it fails; or perhaps all, where the failure hides it.
    /// To perform the same again is right in each case, except after [`JournalError::Unstorable`]:
    /// one of the writes can never be performed.
    fn write(&mut self, writes: &[Write<'_>]) -> Result<Vec<Written>, JournalError>;

    /// The actions that occurrences of a stack have started, of those scheduled since then; and
    /// which of the listed actions are of occurrences that were scheduled before.
    fn actions(
        &mut self,
        stack: &StackUid,
        since: Timestamp,
        listed: &[ActionId],
    ) -> Result<KnownActions, JournalError>;

    /// Takes away some of what was scheduled before an instant and is settled, the oldest first.
    /// Returns how many rows, fewer than asked for when these were the last.
    fn prune(&mut self, before: Timestamp, rows: u32) -> Result<u64, JournalError>;

    /// Does the work that can wait until nobody waits for a write.
    fn tidy(&mut self);

    /// Returns the idle time after which [`Store::keep_alive`] is due. `None`: never.
    fn idles_for(&self) -> Option<Duration>;

    /// Sees to it that the next write finds a way to the rows.
    fn keep_alive(&mut self);
}

/// One write.
#[derive(Clone, Copy)]
pub(crate) enum Write<'a> {
    /// Moves of occurrences, in their order.
    Steps(&'a [(Key, Transition)]),
    /// The state of an account's quota.
    Quota(&'a AccountName, &'a quota::SavedQuota),
    /// Occurrences, and the cursor. `None`: the cursor stands, as for what a person asks for.
    Claim(Option<Cursor>, &'a [Claim]),
    /// The end of an occurrence, with what is claimed by it.
    End(&'a Handover),
    /// Changes an open claim: its due instant, its deadline, its target. A settled occurrence stays
    /// as it is.
    Amend(&'a Claim),
    /// Replaces the search for a second action of an occurrence that was sent again.
    Resent(&'a Resent),
    /// Writes that exactly the entries of this schedule are planned from this instant on, in this
    /// shard where there are several.
    InForce(Timestamp, &'a Arc<Schedule>),
    /// An entry is paused, on these terms from now on.
    Pause(&'a EntryName, &'a Pause),
    /// An entry is not paused any more.
    Resume(&'a EntryName),
    /// An orderly end: nothing was sent after this instant.
    Stopped(Timestamp),
}

/// The outcome of one write.
pub(crate) enum Written {
    /// The write is done.
    Done,
    /// Steps are written, but for these.
    Steps(Vec<Refused>),
    /// The occurrences of a claim that were claimed before.
    Claimed(Claimed),
}
