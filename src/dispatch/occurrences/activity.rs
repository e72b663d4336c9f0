//! The occurrences of one entry that are due, under way or unfinished.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::pending::{Id, PendingPlace};
use crate::cloud66::ActionId;

#[derive(Debug, Default, PartialEq)]
pub(in crate::dispatch) struct Activity {
    /// Ready or between two attempts.
    waiting: BTreeSet<Id>,
    /// Held by `overlap: queue` until the last action has finished.
    held: Option<Id>,
    /// Kept back by `stack_state`.
    by_stack: BTreeSet<Id>,
    sending: u32,
    in_doubt: u32,
    /// The newest scheduled occurrence that was sent since something of the entry is under way.
    pub(in crate::dispatch) newest_sent: Option<Timestamp>,
    /// Actions that have not finished, as far as is known.
    pub(in crate::dispatch) unfinished: BTreeSet<ActionId>,
}

impl Activity {
    /// Returns true when `overlap` has to mind an occurrence that is under way.
    pub(in crate::dispatch) fn busy(&self) -> bool {
        self.sending > 0 || self.in_doubt > 0 || !self.unfinished.is_empty()
    }

    /// Returns true when no occurrence of the entry is due, under way or unfinished.
    pub(super) fn over(&self) -> bool {
        !self.busy() && self.due().next().is_none()
    }

    /// The occurrences that are ready or between two attempts, in the order of planning.
    pub(in crate::dispatch) fn waiting(&self) -> &BTreeSet<Id> {
        &self.waiting
    }

    pub(in crate::dispatch) fn held(&self) -> Option<Id> {
        self.held
    }

    /// Everything that is due and not sent.
    pub(in crate::dispatch) fn due(&self) -> impl Iterator<Item = &Id> {
        self.waiting.iter().chain(&self.held).chain(&self.by_stack)
    }

    pub(super) fn put_in(&mut self, place: PendingPlace, id: Id) {
        match place {
            PendingPlace::Ready | PendingPlace::Retry(_) => drop(self.waiting.insert(id)),
            PendingPlace::Held => {
                debug_assert_eq!(self.held, None, "overlap: queue holds one");
                self.held = Some(id);
            }
            PendingPlace::Stack => drop(self.by_stack.insert(id)),
            PendingPlace::Sending => self.sending += 1,
            PendingPlace::Doubt => self.in_doubt += 1,
            PendingPlace::Future => {}
        }
    }

    pub(super) fn take_out(&mut self, place: PendingPlace, id: Id) {
        match place {
            PendingPlace::Ready | PendingPlace::Retry(_) => drop(self.waiting.remove(&id)),
            PendingPlace::Held => self.held = None,
            PendingPlace::Stack => drop(self.by_stack.remove(&id)),
            PendingPlace::Sending => self.sending -= 1,
            PendingPlace::Doubt => self.in_doubt -= 1,
            PendingPlace::Future => {}
        }
    }

    /// Takes over from `other` what goes by no occurrence.
    #[cfg(test)]
    pub(super) fn take_facts_of(&mut self, other: &Activity) {
        self.newest_sent = other.newest_sent;
        self.unfinished.clone_from(&other.unfinished);
    }
}
