//! When the state of the quotas is saved: often enough that a process that is killed again and
//! again does not ask each time for quota that is spent, and seldom enough that the journal is not
//! busy with it.

use std::time::Duration;

use crate::clock::{Mono, Now};

/// Quotas are saved once in this time at most, unless one is spent.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Within [`SAVE_EVERY`], quotas are saved at most this often because requests leave that take the
/// last of a quota. Two are needed at a start: one for the request that goes alone, one for the
/// rest.
const MOST_SAVED_AHEAD: u32 = 4;

/// Remembers what was saved.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct QuotaSaving {
    /// Quotas are never saved.
    is_off: bool,
    /// An answer has told of a quota since quotas were last saved.
    changed: bool,
    /// `None`: not yet saved by this process.
    saved_at: Option<Mono>,
    /// Number of saves since `saved_at` that came ahead of an answer.
    saved_ahead: u32,
}

impl QuotaSaving {
    /// Never saves anything.
    pub(super) fn off() -> QuotaSaving {
        QuotaSaving { is_off: true, ..QuotaSaving::default() }
    }

    /// An answer has told of a quota.
    pub(super) fn changes(&mut self) {
        self.changed = !self.is_off;
    }

    /// Returns true when quotas are to be saved with the next claim.
    pub(super) fn is_due(&self) -> bool {
        self.changed
    }

    /// Returns true when quotas are to be saved after answers. The first answer tells the most, and
    /// so does the one by which a quota is spent.
    pub(super) fn is_due_after_answers(&self, spent: bool, now: Now) -> bool {
        let saved_lately = self.saved_at.is_some_and(|saved| now.mono.saturating_sub(saved) < SAVE_EVERY);
        self.changed && (spent || !saved_lately)
    }

    /// Returns true when quotas are to be saved before requests leave that take the last of a
    /// quota. If the daemon is killed before the answers, the next one knows that the quota is
    /// spent.
    pub(super) fn is_due_ahead(&mut self, now: Now) -> bool {
        if self.saved_at.is_none_or(|saved| now.mono.saturating_sub(saved) >= SAVE_EVERY) {
            self.saved_ahead = 0;
        }
        let is_due = !self.is_off && self.saved_ahead < MOST_SAVED_AHEAD;
        self.saved_ahead += u32::from(is_due);
        is_due
    }

    /// Quotas are saved now.
    pub(super) fn saves(&mut self, now: Now) {
        *self = QuotaSaving { changed: false, saved_at: Some(now.mono), saved_ahead: 0, ..*self };
    }
}
