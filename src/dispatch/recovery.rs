//! From one process to the next: what the journal has, and what a stop leaves for it.

use std::collections::HashMap;
use std::sync::Arc;

use super::by_hand::as_asked;
use super::follow::Following;
use super::{Dispatch, Effect, History, Place, Planned, log, ms};
use crate::clock::Now;
use crate::journal::{Followed, Move, Open, Reached, Recovered};
use crate::log::event::{ActionUnfinished, OccurrenceSkipped, OccurrenceUnknown};
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
        Arc::make_mut(&mut self.paused).extend(recovered.paused);
        let ending = if recovered.stopped_at.is_some() { Ending::InOrder } else { Ending::Killed };
        for (account, saved) in recovered.quotas {
            if let Some(lane) = self.lanes.get_mut(&account) {
                lane.restore(saved, ending, now);
            }
        }
        for Followed { claim, action, sent_at, .. } in recovered.following {
            let Some(&entry) = entries.get(claim.key.entry()) else {
                let reason = "its entry is no longer in the schedule";
                effects.push(log(ActionUnfinished {
                    entry: claim.key.entry().clone(),
                    stack: claim.stack,
                    job: claim.job,
                    scheduled_at: claim.key.scheduled_at(),
                    action_id: action,
                    reason: reason.to_owned(),
                }));
                effects.push(Effect::Record(claim.key, Move::Unfollowed { reason: reason.into() }));
                continue;
            };
            if let Some(lane) = self.lanes.get_mut(&entry.account.name) {
                let activity = self.activity.entry(entry.name.clone()).or_default();
                activity.unfinished.insert(action);
                let scheduled_at = claim.key.scheduled_at();
                lane.follow_later(Following::new(Arc::clone(entry), scheduled_at, action, sent_at, now), now);
            }
        }
        let unsent_after = recovered.stopped_at.into_iter().chain(recovered.sent_up_to).min();
        for Open { claim, reached } in recovered.open {
            let (attempts, unsent, waits) = match reached {
                Reached::Due => {
                    // Without either, the former process may have come to anything that is due by now.
                    (0, claim.due_at > unsent_after.unwrap_or(now.wall), false)
                }
                Reached::Waiting { attempts, .. } => (attempts, true, true),
                Reached::Sending { attempts, .. } => (attempts, false, false),
            };
            let (name, scheduled_at) = (claim.key.entry().clone(), claim.key.scheduled_at());
            let lost = || "the daemon ended before its answer was written".to_owned();
            match entries.get(&name) {
                Some(&entry) if unsent || entry.idempotent => {
                    let planned = Planned {
                        entry: as_asked(entry, &claim.origin),
                        scheduled_at,
                        due_at: claim.due_at,
                        deadline: claim.deadline,
                        origin: claim.origin,
                    };
                    let history = History { attempts, written: waits, doubt: (!unsent).then(lost) };
                    self.enter(planned, history, now, &mut effects);
                }
                None if unsent => {
                    let lateness_ms = ms(now.wall.duration_since(claim.due_at));
                    let (entry, reason) = (name, "removed");
                    effects.push(Effect::Record(claim.key, Move::Skipped { reason: reason.into() }));
                    effects.push(log(OccurrenceSkipped { entry, scheduled_at, reason, lateness_ms }));
                }
                _ => {
                    effects.push(Effect::Record(claim.key, Move::Unknown { error: lost() }));
                    effects.push(log(OccurrenceUnknown { entry: name, scheduled_at, error: lost() }));
                }
            }
        }
        effects
    }

    /// Writes down what waits, so that the next process knows that it was not sent.
    pub fn park(&mut self) -> Vec<Effect> {
        let waiting = self.pending.values_mut().filter(|pending| {
            !pending.history.written && matches!(pending.place, Place::Ready | Place::Retry(_) | Place::Held)
        });
        waiting.map(|pending| pending.record_waiting("down")).collect()
    }

    /// What is known of each account's quota, for the next process.
    pub fn quotas(&self) -> impl Iterator<Item = (AccountName, quota::Saved)> {
        self.lanes.iter().map(|(account, lane)| (account.clone(), lane.quota.save()))
    }
}
