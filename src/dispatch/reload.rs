//! Another schedule takes over: nothing due is lost, nothing is sent twice.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::access::{AccountAccess, whose};
use super::quotas::QuotaNumber;
use super::{Dispatch, Effect, Id, PendingPlace, Reloaded, log, ms};
use crate::clock::Now;
use crate::journal::{Key, Origin, Repetition, Transition};
use crate::log::event::{OccurrenceSkipped, Seldom};
use crate::occurrence::Reason;
use crate::schedule::{Account, AccountName, ByName, Entry, JobUid, StackUid};
use crate::timetable::{self, Occurrence};

impl Dispatch {
    /// Goes on with another schedule.
    ///
    /// What is planned goes on under its entry's new definition, or is skipped when that does not
    /// come then or is gone. What the timetable brings again is known.
    pub fn replace(&mut self, accounts: &[Arc<Account>], entries: &ByName, now: Now) -> Vec<Effect> {
        self.reached = self.reached.max(now.wall);
        let in_force: HashSet<&AccountName> = accounts.iter().map(|account| &account.name).collect();
        self.accounts.iter_mut().for_each(|(name, access)| access.in_force = in_force.contains(name));
        // An account that keeps its token keeps its quota, whatever other account has that token.
        let kept = |account: &Arc<Account>| {
            let access = self.accounts.get(&account.name)?;
            access.is_of_user_of(account).then_some(access.admission.quota)
        };
        let kept: Vec<Option<QuotaNumber>> = accounts.iter().map(kept).collect();
        for (account, kept) in accounts.iter().zip(&kept) {
            if kept.is_none() {
                self.doubts.forget_user(&account.name);
            }
        }
        let mut drawn: BTreeSet<QuotaNumber> = kept.iter().flatten().copied().collect();
        for (account, kept) in accounts.iter().zip(kept) {
            let number = match kept {
                Some(number) => {
                    self.quotas.resettle(number, account.quota, now);
                    number
                }
                None => self.quotas.take(whose(account), account.quota, &drawn, now),
            };
            drawn.insert(number);
            match self.accounts.get_mut(&account.name) {
                Some(access) => access.replace(account, number),
                None => drop(self.accounts.insert(account.name.clone(), AccountAccess::new(account, number))),
            }
        }
        self.redefine_all(entries, now)
    }

    /// Returns true while an account has a request, an unfinished action or an attempt in doubt.
    /// Each of them ends by the account's name and client that it began with, whatever a reload
    /// makes of the account.
    pub(crate) fn needs(&self, account: &AccountName) -> bool {
        let busy = |access: &AccountAccess| access.admission.in_flight() > 0 || access.follow.len() > 0;
        self.accounts.get(account).is_some_and(busy) || self.doubts.asks_by(account)
    }

    /// The latest the wall clock has ever shown.
    pub(crate) fn reached(&self) -> Timestamp {
        self.reached
    }

    /// Gives every occurrence its entry's new definition. What its entry shares with the one before
    /// is unchanged.
    pub(crate) fn redefine_all(&mut self, entries: &ByName, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        for id in self.occurrences.ids() {
            let Some(pending) = self.occurrences.get_mut(id) else {
                continue;
            };
            let reloaded = match entries.get(&pending.entry.name) {
                Some(entry) if Arc::ptr_eq(entry, &pending.entry) => {
                    pending.reloaded = None;
                    continue;
                }
                Some(entry) => Reloaded::Changed(Arc::clone(entry)),
                None => Reloaded::Removed,
            };
            match pending.place() {
                PendingPlace::Future if !reloaded.comes(&pending.origin, pending.scheduled_at) => {
                    self.skip(id, Reason::Removed, now, &mut effects);
                }
                // Its answer is told under the definition that it was sent by.
                PendingPlace::Sending | PendingPlace::Doubt => pending.reloaded = Some(reloaded),
                _ => {
                    self.redefine(id, reloaded, now, &mut effects);
                }
            }
        }
        effects
    }

    /// Gives up what was claimed ahead and a reload has removed since.
    pub(crate) fn withdraw(&mut self, occurrences: Vec<Occurrence>, now: Now) -> Vec<Effect> {
        let removed = occurrences.into_iter().flat_map(|Occurrence { entry, scheduled_at, pass }| {
            let reason = Reason::Removed;
            let (due_at, _) = entry.times(scheduled_at);
            let lateness_ms = ms(now.wall.duration_since(due_at));
            let (key, entry) = (Key::new(entry.name.clone(), scheduled_at).in_pass(pass), entry.name.clone());
            [
                Effect::Record(key, Transition::Skipped { reason: reason.into() }),
                log(OccurrenceSkipped {
                    entry,
                    scheduled_at,
                    pass: pass.into(),
                    retry_of: Seldom(None),
                    retry: Seldom(None),
                    reason,
                    calendar: None,
                    lateness_ms,
                }),
            ]
        });
        removed.collect()
    }

    /// Gives a waiting occurrence its entry's new definition: one that is due keeps its due
    /// instant, and is given up where the entry is paused now. False when that ends it.
    fn redefine(&mut self, id: Id, reloaded: Reloaded, now: Now, effects: &mut Vec<Effect>) -> bool {
        let Some(pending) = self.occurrences.get(id) else {
            return false;
        };
        let changed = match reloaded {
            Reloaded::Changed(entry) => {
                let was = &pending.entry;
                as_claimed(&entry, &was.account.name, (&was.stack, &was.job), &self.accounts)
            }
            Reloaded::Removed => None,
        };
        let Some(entry) = changed else {
            self.skip(id, Reason::Removed, now, effects);
            return false;
        };
        if pending.place() != PendingPlace::Future && entry.paused && !pending.is_by_hand() {
            self.skip(id, Reason::Paused, now, effects);
            return false;
        }
        let claimed = pending.claim(Repetition::default());
        self.longest_wait = self.longest_wait.max(entry.start_deadline.saturating_add(entry.jitter));
        self.occurrences.redefine(id, &entry);
        effects.extend(self.occurrences.get_mut(id).and_then(|pending| pending.amend(&claimed)));
        true
    }

    /// An occurrence that was in flight waits again. False when a reload has removed its entry
    /// meanwhile, or somebody has paused it, in the schedule or by hand.
    pub(super) fn waits_again(&mut self, id: Id, now: Now, effects: &mut Vec<Effect>) -> bool {
        let scheduled = self.occurrences.get(id).filter(|pending| !pending.is_by_hand());
        let paused = scheduled.is_some_and(|pending| match &pending.reloaded {
            Some(Reloaded::Changed(entry)) => self.is_paused(entry, pending.due_at),
            Some(Reloaded::Removed) => false,
            None => self.is_paused(&pending.entry, pending.due_at),
        });
        if paused {
            self.skip(id, Reason::Paused, now, effects);
            return false;
        }
        match self.occurrences.get_mut(id).and_then(|pending| pending.reloaded.take()) {
            Some(reloaded) => self.redefine(id, reloaded, now, effects),
            None => true,
        }
    }
}

/// The entry as it is now, for an occurrence that was claimed when it named this account, stack and
/// job. It stays on the stack that the journal has it for: after a crash it is looked for there.
/// `None` when the account for that is gone.
pub(super) fn as_claimed(
    entry: &Arc<Entry>,
    account: &AccountName,
    (stack, job): (&StackUid, &JobUid),
    accounts: &BTreeMap<AccountName, AccountAccess>,
) -> Option<Arc<Entry>> {
    if entry.stack == *stack {
        return Some(Arc::clone(entry));
    }
    let account = Arc::clone(accounts.get(account).filter(|access| access.in_force)?.account());
    Some(Arc::new(Entry { account, stack: stack.clone(), job: job.clone(), ..Entry::clone(entry) }))
}

impl Reloaded {
    /// Returns true when the schedule, or the occurrence before, still asks for an occurrence of
    /// the entry at an instant.
    fn comes(&self, origin: &Origin, scheduled_at: Timestamp) -> bool {
        match self {
            Reloaded::Changed(entry) => match origin {
                Origin::Schedule => timetable::next(entry, scheduled_at) == Some(scheduled_at),
                Origin::Upstream => entry.after.is_some(),
                Origin::Retry(_) | Origin::Person { .. } | Origin::Backfill => true,
            },
            Reloaded::Removed => false,
        }
    }
}
