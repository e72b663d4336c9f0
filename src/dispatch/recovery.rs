//! From one process to the next: what the journal has, and what a stop leaves for it.

use std::collections::HashMap;
use std::sync::Arc;

use super::follow::Following;
use super::{Dispatch, Effect, Place, log};
use crate::clock::Now;
use crate::journal::{Followed, Move, Open, Reached, Recovered};
use crate::log::event::OccurrenceUnknown;
use crate::quota::{self, Ending};
use crate::schedule::{AccountName, Entry, EntryName, Schedule};

impl Dispatch {
    /// Takes over what a former process left: each open occurrence still ends in a final state.
    ///
    /// A claim that was not due yet when that process ended was not sent, nor one that the journal has waiting.
    /// Any other may have been sent: it is in doubt.
    pub fn recover(&mut self, recovered: Recovered, schedule: &Schedule, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let entries: HashMap<&EntryName, &Arc<Entry>> =
            schedule.entries.iter().map(|entry| (&entry.name, entry)).collect();
        self.paused.extend(recovered.paused);
        let ending = if recovered.stopped_at.is_some() { Ending::InOrder } else { Ending::Killed };
        for (account, saved) in recovered.quotas {
            if let Some(lane) = self.lanes.get_mut(&account) {
                lane.restore(saved, ending, now);
            }
        }
        for Followed { claim, action, sent_at, .. } in recovered.following {
            let Some(&entry) = entries.get(claim.key.entry()) else {
                let reason = "its entry is no longer in the schedule".into();
                effects.push(Effect::Record(claim.key, Move::Unfollowed { reason }));
                continue;
            };
            if let Some(lane) = self.lanes.get_mut(&entry.account.name) {
                let activity = self.activity.entry(entry.name.clone()).or_default();
                activity.unfinished.insert(action);
                let scheduled_at = claim.key.scheduled_at();
                lane.follow_later(Following::new(Arc::clone(entry), scheduled_at, action, sent_at, now), now);
            }
        }
        let unsent_after = recovered.stopped_at;
        for Open { claim, reached } in recovered.open {
            let (attempts, unsent, waits) = match reached {
                Reached::Due => {
                    let unsent = claim.due_at > now.wall || unsent_after.is_some_and(|at| claim.due_at > at);
                    (0, unsent, false)
                }
                Reached::Waiting { attempts, .. } => (attempts, true, true),
                Reached::Sending { attempts, .. } => (attempts, false, false),
            };
            let Some(&entry) = entries.get(claim.key.entry()) else {
                effects.push(Effect::Record(claim.key, Move::Skipped { reason: "removed".into() }));
                continue;
            };
            let (scheduled_at, times) = (claim.key.scheduled_at(), (claim.due_at, claim.deadline));
            if !unsent && !entry.idempotent {
                let error = "the daemon ended before its answer was written".to_owned();
                effects.push(Effect::Record(claim.key, Move::Unknown { error: error.clone() }));
                effects.push(log(OccurrenceUnknown { entry: entry.name.clone(), scheduled_at, error }));
                continue;
            }
            let id = self.enter(Arc::clone(entry), scheduled_at, times, now, &mut effects);
            if let Some(pending) = id.and_then(|id| self.pending.get_mut(&id)) {
                pending.attempts = attempts;
                pending.written = waits;
            }
        }
        effects
    }

    /// Writes down what waits, so that the next process knows that it was not sent.
    pub fn park(&mut self) -> Vec<Effect> {
        let waiting = self.pending.values_mut().filter(|pending| {
            !pending.written && matches!(pending.place, Place::Ready | Place::Retry(_) | Place::Held)
        });
        waiting.map(|pending| pending.record_waiting("down")).collect()
    }

    /// What is known of each account's quota, for the next process.
    pub fn quotas(&self) -> impl Iterator<Item = (AccountName, quota::Saved)> {
        self.lanes.iter().map(|(account, lane)| (account.clone(), lane.quota.save()))
    }
}
