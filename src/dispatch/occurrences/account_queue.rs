//! The occurrences that wait on one account, in the order of sending.

use std::collections::BTreeSet;

use super::pending::{Id, PendingPlace, Rank};
use crate::clock::{Mono, Now};
use crate::dispatch::standing::Waits;
use crate::schedule::Priority;

#[derive(Debug, Default, PartialEq)]
pub(in crate::dispatch) struct AccountQueue {
    ready: BTreeSet<Rank>,
    /// Between two attempts, by the instant of the next one.
    retries: BTreeSet<(Mono, Rank)>,
    /// Kept back by `overlap: queue`.
    held: BTreeSet<Rank>,
    /// Kept back by `stack_state`.
    by_stack: BTreeSet<Rank>,
    /// The number of occurrences that are ready or between two attempts, by priority.
    waiting: [usize; 3],
    /// Became ready since the operator was last told who waits.
    pub(super) untold: Vec<Id>,
}

impl AccountQueue {
    pub(super) fn put_in(&mut self, place: PendingPlace, rank: Rank) {
        match place {
            PendingPlace::Ready => {
                self.waiting[rank.0.0 as usize] += usize::from(self.ready.insert(rank));
                self.untold.push(rank.2);
            }
            PendingPlace::Retry(at) => {
                self.waiting[rank.0.0 as usize] += usize::from(self.retries.insert((at, rank)));
            }
            PendingPlace::Held => drop(self.held.insert(rank)),
            PendingPlace::Stack => drop(self.by_stack.insert(rank)),
            PendingPlace::Future | PendingPlace::Sending | PendingPlace::Doubt => {}
        }
    }

    pub(super) fn take_out(&mut self, place: PendingPlace, rank: Rank) {
        match place {
            PendingPlace::Ready => self.waiting[rank.0.0 as usize] -= usize::from(self.ready.remove(&rank)),
            PendingPlace::Retry(at) => {
                self.waiting[rank.0.0 as usize] -= usize::from(self.retries.remove(&(at, rank)));
            }
            PendingPlace::Held => drop(self.held.remove(&rank)),
            PendingPlace::Stack => drop(self.by_stack.remove(&rank)),
            PendingPlace::Future | PendingPlace::Sending | PendingPlace::Doubt => {}
        }
    }

    /// Returns the occurrence that would be sent next, were there quota.
    pub(super) fn first_ready(&mut self) -> Option<Id> {
        let first = self.ready.first().map(|&(.., id)| id);
        if first.is_none() {
            self.untold.clear();
        }
        first
    }

    pub(in crate::dispatch) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The first of what is tried again, and when.
    pub(in crate::dispatch) fn first_retry(&self) -> Option<(Mono, Id)> {
        self.retries.first().map(|&(at, (.., id))| (at, id))
    }

    /// Returns the number of occurrences that are ready or between two attempts.
    pub(in crate::dispatch) fn waiting(&self) -> [(Priority, usize); 3] {
        [Priority::High, Priority::Normal, Priority::Low]
            .map(|priority| (priority, self.waiting[priority as usize]))
    }

    /// Returns the number of occurrences that their own policies keep back.
    pub(in crate::dispatch) fn held(&self) -> usize {
        self.held.len() + self.by_stack.len()
    }

    /// The first of what waits, and why: what is ready in the order of sending, then what is tried
    /// again, then what is held. `closed_until`: when the quota opens, if it is closed.
    pub(in crate::dispatch) fn waits(
        &self,
        closed_until: Option<Mono>,
        now: Now,
    ) -> impl Iterator<Item = (Id, Waits)> {
        let until = move |at: Mono| now.wall.checked_add(at.saturating_sub(now.mono)).ok();
        let ready = match closed_until.filter(|&at| at > now.mono) {
            Some(at) => Waits::Quota { until: until(at) },
            None => Waits::Turn,
        };
        let ready = self.ready.iter().map(move |&(.., id)| (id, ready));
        let retries = self.retries.iter().map(move |&(at, (.., id))| (id, Waits::Retry { until: until(at) }));
        let held = self.held.iter().map(|&(.., id)| (id, Waits::Overlap));
        let by_stack = self.by_stack.iter().map(|&(.., id)| (id, Waits::Stack(None)));
        ready.chain(retries).chain(held).chain(by_stack)
    }
}
