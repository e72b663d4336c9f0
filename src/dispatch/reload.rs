//! Another schedule takes over: nothing due is lost, nothing is sent twice.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::lane::Lane;
use super::{Dispatch, Effect, Id, Place, Reloaded};
use crate::clock::Now;
use crate::schedule::{Entry, EntryName, Schedule};

impl Dispatch {
    /// Goes on with another schedule. Returns from when on its timetable has to be planned.
    ///
    /// What is due and waits goes on under its entry's new definition, or is skipped when the entry is gone.
    /// What is not due yet is dropped: the new timetable brings it again, if it still comes.
    pub fn replace(&mut self, schedule: &Schedule, now: Now) -> (Vec<Effect>, Timestamp) {
        let mut effects = self.advance(now);
        let entries: HashMap<&EntryName, &Arc<Entry>> =
            schedule.entries.iter().map(|entry| (&entry.name, entry)).collect();
        for account in &schedule.accounts {
            match self.lanes.get_mut(&account.name) {
                Some(lane) => lane.replace(account, now),
                None => {
                    self.lanes.insert(account.name.clone(), Lane::new(account, now));
                }
            }
        }
        let mut ids: Vec<Id> = self.pending.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let Some(pending) = self.pending.get_mut(&id) else {
                continue;
            };
            let reloaded = match entries.get(&pending.entry.name) {
                Some(&entry) => Reloaded::Changed(Arc::clone(entry)),
                None => Reloaded::Removed,
            };
            match pending.place {
                Place::Future if pending.scheduled_at > self.reached => self.forget(id),
                // Its answer is told under the definition that it was sent by.
                Place::Sending => pending.reloaded = Some(reloaded),
                _ => {
                    self.redefine(id, reloaded, now, &mut effects);
                }
            }
        }
        let from = self.reached.checked_add(SignedDuration::from_nanos(1)).unwrap_or(Timestamp::MAX);
        (effects, from)
    }

    /// Gives a waiting occurrence its entry's new definition. False when that ends it.
    fn redefine(&mut self, id: Id, reloaded: Reloaded, now: Now, effects: &mut Vec<Effect>) -> bool {
        let Some(pending) = self.pending.get_mut(&id) else {
            return false;
        };
        let Reloaded::Changed(entry) = reloaded else {
            self.skip(id, "removed", now, effects);
            return false;
        };
        if let Some(lane) = self.lanes.get_mut(&pending.entry.account.name) {
            lane.take_out(pending.place, pending.rank(id));
        }
        pending.entry = entry;
        if let Some(lane) = self.lanes.get_mut(&pending.entry.account.name) {
            lane.put_in(pending.place, pending.rank(id));
        }
        true
    }

    /// An occurrence that was in flight waits again. False when a reload has removed its entry meanwhile.
    pub(super) fn waits_again(&mut self, id: Id, now: Now, effects: &mut Vec<Effect>) -> bool {
        match self.pending.get_mut(&id).and_then(|pending| pending.reloaded.take()) {
            Some(reloaded) => self.redefine(id, reloaded, now, effects),
            None => true,
        }
    }
}
