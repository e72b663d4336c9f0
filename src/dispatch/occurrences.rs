//! The occurrences on their way, and every index on them.
//!
//! **Problem.** Each occurrence is at one place, and is found by its instant, account, entry, stack
//! and key. An index that is forgotten at one move loses an occurrence, or sends it twice.
//!
//! **Mechanism.** [`Occurrences::enter`], [`Occurrences::leave`] and the one function that changes
//! an occurrence take it out of the indexes as it was and put it in as it is. Nobody else can:
//! others read an occurrence, and write its history.
//!
//! ```text
//!          plan, recover
//!                │
//!              Future ───────▶ Ready ◀──────▶ Held, Stack
//!                ▲   due       ▲   │           (overlap: queue, stack_state)
//!                │             │   ▼ sent
//!     the clock  │   Retry ────┘ Sending ───▶ Doubt
//!   was set back │     ▲           │            │ │
//!                └─────┼───────────┼────────────┘ │
//!                      └───────────┴──────────────┘ tried again
//! ```
//!
//! From each place an occurrence leaves when it ends.

mod account_queue;
mod activity;
mod pending;

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::stack_state::{Subject, look_at};
use crate::clock::Mono;
#[cfg(test)]
use crate::cloud66::ActionId;
use crate::journal::{Key, Origin};
use crate::schedule::{AccountName, Entry, EntryName, StackState};
pub(super) use account_queue::AccountQueue;
pub(super) use activity::Activity;
pub use pending::Haste;
pub(crate) use pending::as_sent;
pub(super) use pending::{Doubtful, History, Id, Pending, PendingPlace, Planned, Reloaded, WAITED};

/// Occurrences that are planned and not settled.
#[derive(Default)]
pub(super) struct Occurrences {
    all: HashMap<Id, Pending>,
    indexes: Indexes,
    /// Something has entered, changed or left since the last check.
    #[cfg(test)]
    pub(super) is_unchecked: std::cell::Cell<bool>,
}

#[derive(Default)]
struct Indexes {
    /// An occurrence that is planned again is the same one.
    by_key: HashMap<Key, Id>,
    /// Those that repeat a run.
    repetitions: HashMap<EntryName, BTreeSet<Id>>,
    /// Not due yet, by the instant of sending.
    future: BTreeSet<(Timestamp, Id)>,
    /// Those of them whose stack is yet to be looked at, by the instant for that.
    looks: BTreeSet<(Timestamp, Id)>,
    /// Due and not sent, by the instant at which each is missed.
    deadlines: BTreeSet<(Timestamp, Id)>,
    /// Those of them that the quota has kept waiting and that are still on time, by the instant
    /// from which each has waited.
    on_time_until: BTreeSet<(Timestamp, Id)>,
    /// Kept back by the state of these.
    by_subject: BTreeMap<Subject, BTreeSet<Id>>,
    by_account: BTreeMap<AccountName, AccountQueue>,
    /// The entries of which something is due, under way or unfinished.
    by_entry: HashMap<EntryName, Activity>,
}

impl Occurrences {
    /// Takes an occurrence in. False for one that is known already.
    pub(super) fn enter(&mut self, id: Id, planned: Planned, history: History, place: PendingPlace) -> bool {
        let Slot::Vacant(free) = self.indexes.by_key.entry(planned.key()) else {
            return false;
        };
        free.insert(id);
        #[cfg(test)]
        self.is_unchecked.set(true);
        let pending = Pending { planned, place, history, reloaded: None };
        if matches!(pending.origin, Origin::Retry(_)) {
            self.indexes.repetitions.entry(pending.entry.name.clone()).or_default().insert(id);
        }
        self.indexes.put_in(id, &pending);
        self.indexes.counts(&pending.entry.name, id, PendingPlace::Future, place);
        self.all.insert(id, pending);
        true
    }

    pub(super) fn move_to(&mut self, id: Id, place: PendingPlace) {
        self.change(id, |_, its_place| *its_place = place);
    }

    /// Gives an occurrence its entry's new definition. One that is due keeps its due instant. What
    /// holds one that is kept back by the state of another stack is found out in its turn.
    pub(super) fn redefine(&mut self, id: Id, entry: &Arc<Entry>) {
        self.change(id, |planned, place| {
            if *place == PendingPlace::Future && planned.origin == Origin::Schedule {
                (planned.due_at, _) = entry.times(planned.scheduled_at);
            }
            planned.entry = as_sent(entry, &planned.origin, planned.scheduled_at);
            planned.deadline = planned.entry.deadline(planned.due_at);
            if *place == PendingPlace::Stack {
                *place = PendingPlace::Ready;
            }
        });
    }

    fn change(&mut self, id: Id, change: impl FnOnce(&mut Planned, &mut PendingPlace)) {
        let Some(pending) = self.all.get_mut(&id) else {
            debug_assert!(false, "{id:?} has ended");
            return;
        };
        #[cfg(test)]
        self.is_unchecked.set(true);
        let was = pending.place;
        self.indexes.take_out(id, pending);
        let late_from = pending.place.waits().then(|| pending.waits_from());
        change(&mut pending.planned, &mut pending.place);
        if let Some(late_from) = late_from.filter(|_| !pending.place.waits()) {
            self.indexes.on_time_until.remove(&(late_from, id));
        }
        self.indexes.put_in(id, pending);
        self.indexes.counts(&pending.entry.name, id, was, pending.place);
    }

    /// Lets an occurrence go that has reached a final state.
    pub(super) fn leave(&mut self, id: Id) {
        let Some(pending) = self.all.remove(&id) else {
            debug_assert!(false, "{id:?} has ended before");
            return;
        };
        #[cfg(test)]
        self.is_unchecked.set(true);
        self.indexes.take_out(id, &pending);
        self.indexes.counts(&pending.entry.name, id, pending.place, PendingPlace::Future);
        self.indexes.on_time_until.remove(&(pending.waits_from(), id));
        self.indexes.by_key.remove(&pending.key());
        let name = &pending.entry.name;
        if let Some(repetitions) = self.indexes.repetitions.get_mut(name) {
            repetitions.remove(&id);
            if repetitions.is_empty() {
                self.indexes.repetitions.remove(name);
            }
        }
        self.tidy(name);
    }

    /// Forgets an entry of which nothing is due, under way or unfinished.
    pub(super) fn tidy(&mut self, entry: &EntryName) {
        if self.indexes.by_entry.get(entry).is_some_and(Activity::over) {
            self.indexes.by_entry.remove(entry);
        }
    }

    /// `None`, which nobody expects, for an occurrence that has ended.
    pub(super) fn get(&self, id: Id) -> Option<&Pending> {
        let pending = self.all.get(&id);
        debug_assert!(pending.is_some(), "{id:?} has ended");
        pending
    }

    /// `None`, which nobody expects, for an occurrence that has ended.
    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Pending> {
        let pending = self.all.get_mut(&id);
        debug_assert!(pending.is_some(), "{id:?} has ended");
        pending
    }

    /// An occurrence that may have ended.
    pub(super) fn find_mut(&mut self, id: Id) -> Option<&mut Pending> {
        self.all.get_mut(&id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Returns true when nothing is planned, under way or unfinished.
    #[cfg(test)]
    pub(super) fn has_nothing(&self) -> bool {
        self.all.is_empty() && self.indexes.by_entry.is_empty()
    }

    /// The actions that have not finished, as far as is known.
    #[cfg(test)]
    pub(super) fn unfinished(&self) -> impl Iterator<Item = (&EntryName, ActionId)> {
        let entries = self.indexes.by_entry.iter();
        entries.flat_map(|(name, activity)| activity.unfinished.iter().map(move |&action| (name, action)))
    }

    /// Panics where an index and the occurrences differ, or an entry is kept for nothing. Returns
    /// what is in flight and what is in doubt.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) -> (BTreeSet<Id>, BTreeSet<Id>) {
        let found = &self.indexes;
        let all: BTreeMap<Id, &Pending> = self.all.iter().map(|(&id, pending)| (id, pending)).collect();
        let by_key: BTreeMap<Id, &Key> = found.by_key.iter().map(|(key, &id)| (id, key)).collect();
        assert_eq!(found.by_key.len(), all.len(), "each occurrence has one key");
        let mut expected = Indexes::default();
        for (&id, pending) in &all {
            assert!(by_key.get(&id).is_some_and(|key| **key == pending.key()), "{id:?} is found by its key");
            expected.put_in(id, pending);
            expected.counts(&pending.entry.name, id, PendingPlace::Future, pending.place);
            if matches!(pending.origin, Origin::Retry(_)) {
                expected.repetitions.entry(pending.entry.name.clone()).or_default().insert(id);
            }
        }
        assert_eq!(found.repetitions, expected.repetitions, "what repeats a run");
        assert_eq!(found.future, expected.future, "what is not due yet");
        assert_eq!(found.deadlines, expected.deadlines, "what waits");
        assert_eq!(found.by_subject, expected.by_subject, "what is kept back by its stack");
        // Time takes from these two.
        assert!(found.looks.is_subset(&expected.looks), "{:?}, of {:?}", found.looks, expected.looks);
        for &(at, id) in &found.on_time_until {
            let pending = all.get(&id).filter(|pending| pending.place.waits());
            assert_eq!(pending.map(|pending| pending.waits_from()), Some(at), "{id:?} waits on time");
        }
        for (account, queue) in &found.by_account {
            let expected = expected.by_account.entry(account.clone()).or_default();
            expected.untold.clone_from(&queue.untold);
        }
        assert_eq!(found.by_account, expected.by_account, "what waits on each account");
        for (entry, activity) in &found.by_entry {
            assert!(!activity.over(), "entry {entry} is kept although nothing is under way");
            expected.by_entry.entry(entry.clone()).or_default().take_facts_of(activity);
        }
        assert_eq!(found.by_entry, expected.by_entry, "what is under way of each entry");
        let at = |place| -> BTreeSet<Id> {
            all.iter().filter(|(_, pending)| pending.place == place).map(|(&id, _)| id).collect()
        };
        (at(PendingPlace::Sending), at(PendingPlace::Doubt))
    }

    pub(super) fn id_of(&self, key: &Key) -> Option<Id> {
        self.indexes.by_key.get(key).copied()
    }

    /// All of them, in the order of planning.
    pub(super) fn ids(&self) -> Vec<Id> {
        let mut ids: Vec<Id> = self.all.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Those that repeat a run of an entry.
    pub(super) fn repetitions(&self, entry: &EntryName) -> impl Iterator<Item = (Id, &Pending)> {
        let ids = self.indexes.repetitions.get(entry).into_iter().flatten();
        ids.filter_map(|&id| Some((id, self.get(id)?)))
    }

    /// Those that are not due yet, the soonest first.
    pub(super) fn future(&self) -> impl Iterator<Item = &Pending> {
        self.indexes.future.iter().filter_map(|&(_, id)| self.get(id))
    }

    /// One that is due by now, and at no other place yet.
    pub(super) fn next_due(&self, now: Timestamp) -> Option<Id> {
        by(self.indexes.future.first(), now)
    }

    /// One whose deadline has come.
    pub(super) fn next_missed(&self, now: Timestamp) -> Option<Id> {
        by(self.indexes.deadlines.first(), now)
    }

    /// Notes that the quota keeps an occurrence waiting that is still on time.
    pub(super) fn waits_on_time(&mut self, id: Id, waits_from: Timestamp) {
        self.indexes.on_time_until.insert((waits_from, id));
    }

    /// Takes one that is no longer on time.
    pub(super) fn next_late(&mut self, now: Timestamp) -> Option<Id> {
        let next = by(self.indexes.on_time_until.first(), now)?;
        self.indexes.on_time_until.pop_first();
        Some(next)
    }

    /// Takes one whose stack is to be looked at by now.
    pub(super) fn next_look(&mut self, now: Timestamp) -> Option<Id> {
        let next = by(self.indexes.looks.first(), now)?;
        self.indexes.looks.pop_first();
        Some(next)
    }

    /// When one of these four has something, at the latest.
    pub(super) fn wakes_at(&self) -> Option<Timestamp> {
        let Indexes { future, looks, deadlines, on_time_until, .. } = &self.indexes;
        [future, looks, deadlines, on_time_until].iter().filter_map(|index| Some(index.first()?.0)).min()
    }

    /// Returns the number of occurrences that are due and not sent.
    pub(super) fn number_waiting(&self) -> usize {
        self.indexes.deadlines.len()
    }

    /// Returns true when the state of a stack or a job keeps an occurrence back.
    pub(super) fn is_needed(&self, subject: &Subject) -> bool {
        self.indexes.by_subject.contains_key(subject)
    }

    /// The stacks and jobs of an account that keep something back.
    pub(super) fn needed(&self, account: &AccountName) -> impl Iterator<Item = &Subject> {
        self.indexes.by_subject.keys().filter(move |subject| subject.account == *account)
    }

    /// Those that are kept back by the state of a stack or a job, in the order of planning.
    pub(super) fn kept(&self, subject: &Subject) -> Vec<Id> {
        self.indexes.by_subject.get(subject).into_iter().flatten().copied().collect()
    }

    /// Returns the occurrences that wait on an account. `None`: nothing has.
    pub(super) fn queue(&self, account: &AccountName) -> Option<&AccountQueue> {
        self.indexes.by_account.get(account)
    }

    /// Returns the occurrence that an account would send next, were there quota.
    pub(super) fn first_ready(&mut self, account: &AccountName) -> Option<Id> {
        self.indexes.by_account.get_mut(account)?.first_ready()
    }

    /// One of an account that is to be tried again by now.
    pub(super) fn next_retry(&self, account: &AccountName, now: Mono) -> Option<Id> {
        self.queue(account)?.first_retry().filter(|&(at, _)| at <= now).map(|(_, id)| id)
    }

    /// Takes those of an account that became ready since this was last asked for, and are.
    pub(super) fn take_untold(&mut self, account: &AccountName) -> Vec<Id> {
        let queue = self.indexes.by_account.get_mut(account);
        let mut untold = queue.map(|queue| std::mem::take(&mut queue.untold)).unwrap_or_default();
        untold.retain(|id| self.all.get(id).is_some_and(|pending| pending.place == PendingPlace::Ready));
        untold
    }

    /// Returns the occurrences of an entry that are due, under way or unfinished. `None`: nothing
    /// is.
    pub(super) fn activity(&self, entry: &EntryName) -> Option<&Activity> {
        self.indexes.by_entry.get(entry)
    }

    /// The same, to note what was sent and which actions have not finished.
    pub(super) fn activity_mut(&mut self, entry: &EntryName) -> &mut Activity {
        self.indexes.activity_mut(entry)
    }

    /// An earlier occurrence that comes is the newer: the clock was set back.
    pub(super) fn forget_newest_sent(&mut self) {
        self.indexes.by_entry.values_mut().for_each(|activity| activity.newest_sent = None);
    }
}

impl Indexes {
    fn activity_mut(&mut self, entry: &EntryName) -> &mut Activity {
        self.by_entry.entry(entry.clone()).or_default()
    }

    /// Counts an occurrence to its entry at one place instead of another. Nothing is counted that is
    /// not due yet.
    fn counts(&mut self, entry: &EntryName, id: Id, was: PendingPlace, is: PendingPlace) {
        if (was, is) != (PendingPlace::Future, PendingPlace::Future) {
            let activity = self.activity_mut(entry);
            activity.take_out(was, id);
            activity.put_in(is, id);
        }
    }

    fn put_in(&mut self, id: Id, pending: &Pending) {
        let (place, entry) = (pending.place, &pending.entry);
        if place == PendingPlace::Future {
            self.future.insert((pending.due_at, id));
            if entry.stack_state != StackState::Ignore {
                self.looks.insert((look_at(pending.due_at), id));
            }
            return;
        }
        if place.waits() {
            self.deadlines.insert((pending.deadline, id));
            match self.by_account.get_mut(&entry.account.name) {
                Some(queue) => queue.put_in(place, pending.rank(id)),
                None => {
                    let queue = self.by_account.entry(entry.account.name.clone()).or_default();
                    queue.put_in(place, pending.rank(id));
                }
            }
        }
        if place == PendingPlace::Stack {
            for subject in pending.subjects() {
                self.by_subject.entry(subject).or_default().insert(id);
            }
        }
    }

    fn take_out(&mut self, id: Id, pending: &Pending) {
        let (place, entry) = (pending.place, &pending.entry);
        if place == PendingPlace::Future {
            self.future.remove(&(pending.due_at, id));
            self.looks.remove(&(look_at(pending.due_at), id));
            return;
        }
        if place.waits() {
            self.deadlines.remove(&(pending.deadline, id));
            if let Some(queue) = self.by_account.get_mut(&entry.account.name) {
                queue.take_out(place, pending.rank(id));
            }
        }
        if place == PendingPlace::Stack {
            for subject in pending.subjects() {
                if let Some(kept) = self.by_subject.get_mut(&subject) {
                    kept.remove(&id);
                    if kept.is_empty() {
                        self.by_subject.remove(&subject);
                    }
                }
            }
        }
    }
}

/// The first of an index, if its instant has come.
fn by(first: Option<&(Timestamp, Id)>, now: Timestamp) -> Option<Id> {
    first.filter(|&&(at, _)| at <= now).map(|&(_, id)| id)
}
