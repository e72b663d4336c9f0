//! Requests of people: fire an entry now, pause an entry, resume an entry.
//!
//! A person may also have an occurrence of the past made up for (`backfill`). It goes at low
//! priority, has nothing to do with the deadline of its instant, and waits for a day.
//!
//! What a person fires goes through the account's quota, by the entry's priority, deadline and
//! overlap policy: they protect the API and the job. It has no jitter, neither supersedes nor is
//! superseded, and a pause does not keep it back: that a person asks for it is reason enough.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::occurrences::{Activity, Haste};
use super::policies::removed;
use super::{Dispatch, Effect, History, Id, Pending, Planned, log};
use crate::clock::Now;
use crate::journal::{Claim, Pause};
use crate::log::event::PauseEnded;
use crate::occurrence::Reason;
use crate::schedule::{Entry, EntryName, Overlap};

/// Why an occurrence of the past cannot be made up for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hindrance {
    /// A person has paused the entry, or the schedule file has (`None`).
    Paused(Option<Pause>),
    /// The entry's `overlap` is not `allow`, and something of the entry is under way.
    Busy,
    /// The journal is an older copy of itself: what was scheduled before this instant may have run.
    Forgotten(Timestamp),
}

impl Dispatch {
    /// Returns the reason why the occurrence of an instant cannot be made up for. `None`: nothing
    /// does.
    pub(crate) fn hinders_backfill(&self, entry: &Entry, at: Timestamp, now: Now) -> Option<Hindrance> {
        if entry.paused {
            return Some(Hindrance::Paused(None));
        }
        if let Some(pause) = self.paused.get(&entry.name).filter(|pause| pause.keeps_back(now.wall)) {
            return Some(Hindrance::Paused(Some(pause.clone())));
        }
        if let Some(until) = self.older_until.filter(|until| at < *until) {
            return Some(Hindrance::Forgotten(until));
        }
        let is_busy = self.occurrences.activity(&entry.name).is_some_and(Activity::busy);
        (is_busy && entry.overlap != Overlap::Allow).then_some(Hindrance::Busy)
    }

    /// Takes over what a person asked for, once it is claimed. `entry` is what the schedule has
    /// under its name by now.
    pub fn fire(&mut self, claim: Claim, entry: Option<&Arc<Entry>>, haste: Haste, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        match entry {
            Some(entry) => {
                let at = (claim.key.scheduled_at(), claim.key.pass());
                let planned = Planned::new(entry, claim.origin, at, claim.due_at);
                let planned = Planned { deadline: claim.deadline, haste, ..planned };
                self.enter(planned, History::default(), now, &mut effects);
            }
            None => {
                effects.extend(removed(claim, now));
            }
        }
        effects
    }

    /// From now on the entry's scheduled occurrences are skipped, those that wait among them.
    pub fn pause(&mut self, entry: &EntryName, pause: Pause, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        Arc::make_mut(&mut self.paused).insert(entry.clone(), pause);
        self.first_pause_ends = self.paused.values().filter_map(|pause| pause.until).min();
        let activity = self.occurrences.activity(entry);
        let waiting: Vec<Id> = activity.map(|activity| activity.due().copied().collect()).unwrap_or_default();
        for id in waiting {
            if self.is_paused_by_hand(id) {
                self.skip(id, Reason::Paused, now, &mut effects);
            }
        }
        effects
    }

    /// The entry's occurrences are sent again, from the next one on.
    pub fn resume(&mut self, entry: &EntryName) {
        Arc::make_mut(&mut self.paused).remove(entry);
        self.first_pause_ends = self.paused.values().filter_map(|pause| pause.until).min();
    }

    /// Takes away the pauses whose end has come. To be called when all that came due before is
    /// planned: it is still skipped.
    pub(crate) fn end_pauses(&mut self, now: Now) -> Vec<Effect> {
        if self.first_pause_ends.is_none_or(|ends| ends > now.wall) {
            return Vec::new();
        }
        let over = self.paused.iter().filter(|(_, pause)| pause.until.is_some_and(|until| until <= now.wall));
        let over: Vec<EntryName> = over.map(|(entry, _)| entry.clone()).collect();
        let mut effects = Vec::new();
        for entry in over {
            self.resume(&entry);
            effects.push(log(PauseEnded { entry: entry.clone() }));
            effects.push(Effect::PauseEnds(entry));
        }
        effects
    }

    /// The entries that somebody paused, besides those that the schedule has paused.
    pub fn paused(&self) -> &Arc<BTreeMap<EntryName, Pause>> {
        &self.paused
    }

    /// Returns true when an occurrence is kept back because somebody paused its entry.
    pub(super) fn is_paused_by_hand(&self, id: Id) -> bool {
        let pending = self.occurrences.get(id).filter(|pending| !pending.is_by_hand());
        let kept_back = |pending: &Pending| {
            self.paused.get(&pending.entry.name).is_some_and(|pause| pause.keeps_back(pending.due_at))
        };
        pending.is_some_and(kept_back)
    }
}
