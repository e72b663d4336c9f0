//! What people do by hand: fire an entry now, pause it, resume it.
//!
//! What a person fires goes through the account's quota, by the entry's priority, deadline and
//! overlap policy: they protect the API and the job. It has no jitter, neither supersedes nor is
//! superseded, and a pause does not keep it back: that a person asks for it is reason enough.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::policies::removed;
use super::{Dispatch, Effect, History, Id, Pending, Planned, log};
use crate::clock::Now;
use crate::journal::{Claim, Origin, Pause, Retry};
use crate::log::event::PauseEnded;
use crate::occurrence::Reason;
use crate::schedule::{Entry, EntryName, Priority};

/// Whether an occurrence heeds the state of its stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Haste {
    /// As its entry says.
    #[default]
    Usual,
    /// A person has it sent now, whatever its stack does.
    Now,
}

impl Dispatch {
    /// Takes over what a person asked for, once it is claimed. `entry` is what the schedule has
    /// under its name by now.
    pub fn fire(&mut self, claim: Claim, entry: Option<&Arc<Entry>>, haste: Haste, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        match entry {
            Some(entry) => {
                let planned = Planned {
                    entry: as_sent(entry, &claim.origin, claim.key.scheduled_at()),
                    scheduled_at: claim.key.scheduled_at(),
                    pass: claim.key.pass(),
                    due_at: claim.due_at,
                    deadline: claim.deadline,
                    origin: claim.origin,
                    haste,
                };
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
        let waiting = self
            .activity
            .get(entry)
            .map(|activity| activity.waiting.iter().chain(&activity.held).chain(&activity.by_stack));
        let waiting: Vec<Id> = waiting.into_iter().flatten().copied().collect();
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

    /// Whether an occurrence is kept back because somebody paused its entry.
    pub(super) fn is_paused_by_hand(&self, id: Id) -> bool {
        let pending = self.pending.get(&id).filter(|pending| !pending.is_by_hand());
        let kept_back = |pending: &Pending| {
            self.paused.get(&pending.entry.name).is_some_and(|pause| pause.keeps_back(pending.due_at))
        };
        pending.is_some_and(kept_back)
    }
}

/// The entry as its occurrence at an instant sends it: with the arguments that a person gave, or
/// with its template filled. A repetition fills the template with the instant of the first run.
pub(super) fn as_sent(entry: &Arc<Entry>, origin: &Origin, scheduled_at: Timestamp) -> Arc<Entry> {
    let given = match origin {
        Origin::Person { args } | Origin::Retry(Retry { args, .. }) => args.clone(),
        Origin::Schedule | Origin::Upstream | Origin::Backfill => None,
    };
    let filled = || Some(entry.args_template.as_ref()?.render(entry, origin.first(scheduled_at)));
    let args = given.or_else(filled);
    let priority = if *origin == Origin::Backfill { Priority::Low } else { entry.priority };
    if args.is_none() && priority == entry.priority {
        return Arc::clone(entry);
    }
    Arc::new(Entry { args: args.or_else(|| entry.args.clone()), priority, ..Entry::clone(entry) })
}
