//! From one process to the next: what the journal has, and what a stop leaves for it.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::follow::Following;
use super::in_doubt::{FormerClaim, InDoubtReport, TokenOwner};
use super::linked_key::LinkedKey;
use super::occurrences::as_sent;
use super::policies::removed;
use super::reload::as_claimed;
use super::{Dispatch, Effect, History, Id, PendingPlace, Planned, Reloaded, log};
use crate::clock::Now;
use crate::cloud66::Obstacle;
use crate::journal::{Claim, Followed, Open, Reached, Recovered, TermNumber, Transition};
use crate::log::event::{ActionUnfinished, OccurrenceUnknown};
use crate::occurrence::Reason;
use crate::quota::{Ending, SavedQuota};
use crate::schedule::{Account, AccountName, Entry, EntryName, Schedule};

/// The account by which a claimed stack is asked: the one that the claim names, or, where that is
/// gone or renamed, the one that the entry has for this stack now. `None` when the schedule has no
/// account that sees the stack.
fn asked_by<'a>(claim: &Claim, entry: &'a Entry, schedule: &'a Schedule) -> Option<&'a Arc<Account>> {
    let named = schedule.accounts.iter().find(|account| account.name == claim.account);
    named.or_else(|| (entry.stack == claim.stack).then_some(&entry.account))
}

impl Dispatch {
    /// Takes over what a former process left: each open occurrence still ends in a final state.
    ///
    /// A claim that was due after an orderly stop or after the mark was not sent (where neither is
    /// known, one that is not due yet), nor one that the journal has waiting or as unsent. Any
    /// other may have been sent: it is in doubt, and the stack's actions tell, or the leader of the
    /// term in which it was claimed ([`Dispatch::terms_ended`]). Of an entry that is no longer in
    /// the schedule, or whose account is not, nobody asks.
    pub fn recover(&mut self, recovered: Recovered, schedule: &Schedule, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let entries: HashMap<&EntryName, &Arc<Entry>> =
            schedule.entries.iter().map(|entry| (&entry.name, entry)).collect();
        Arc::make_mut(&mut self.paused).extend(recovered.paused);
        self.first_pause_ends = self.paused.values().filter_map(|pause| pause.until).min();
        self.doubts.former = recovered.clock;
        self.older_until = recovered.older_until;
        self.clocks.restore(recovered.quotas.iter().flat_map(|(_, saved)| &saved.clocks));
        self.doubts.clocks = self.clocks.ahead().collect();
        let ending = if recovered.stopped_at.is_some() { Ending::InOrder } else { Ending::Killed };
        for (account, access) in &self.accounts {
            // An account that was renamed while no daemon ran draws on a quota that was saved under
            // its former name. Of several states the one with the newest answer counts.
            let saved = recovered.quotas.iter().filter(|(name, saved)| access.draws_on(name, saved));
            let newest =
                saved.max_by_key(|(name, saved)| (saved.told.map(|told| told.came), name == account));
            if let Some((_, saved)) = newest {
                let (number, settings) = (access.admission.quota, access.account().quota);
                self.quotas.restore(number, settings, saved.clone(), ending, now);
            }
        }
        for Followed { claim, action, sent_at, told_slow, .. } in recovered.following {
            let Some(&entry) = entries.get(claim.key.entry()) else {
                let reason = "its entry is no longer in the schedule";
                effects.push(log(ActionUnfinished {
                    entry: claim.key.entry().clone(),
                    stack: claim.stack,
                    job: claim.job,
                    scheduled_at: claim.key.scheduled_at(),
                    pass: claim.key.pass().into(),
                    action_id: action,
                    reason: reason.to_owned(),
                }));
                effects.push(Effect::Record(claim.key, Transition::Unfollowed { reason: reason.into() }));
                continue;
            };
            // It was started by what the entry was then.
            let account = schedule.accounts.iter().find(|account| account.name == claim.account);
            let entry = Arc::new(Entry {
                account: Arc::clone(account.unwrap_or(&entry.account)),
                stack: claim.stack,
                job: claim.job,
                ..Entry::clone(entry)
            });
            if let Some(access) = self.accounts.get_mut(&entry.account.name) {
                let activity = self.occurrences.activity_mut(&entry.name);
                activity.unfinished.insert(action);
                if !claim.origin.is_by_hand() {
                    let first = claim.origin.first(claim.key.scheduled_at());
                    activity.newest_sent = activity.newest_sent.max(Some(first));
                }
                let entry = as_sent(&entry, &claim.origin, claim.key.scheduled_at());
                let ended = LinkedKey { key: claim.key, origin: claim.origin };
                let mut following = Following::new(entry, ended, action, sent_at, now);
                following.told_slow = told_slow;
                access.follow_later(following, &self.quotas, now);
            }
        }
        let unsent_after = match recovered.stopped_at.into_iter().chain(recovered.sent_up_to).min() {
            Some(at) => at,
            // The former process may have come to anything that is due by now, or, where the clock
            // is behind what it has shown, to anything.
            None if recovered.cursor.is_some_and(|cursor| cursor > now.wall) => Timestamp::MAX,
            None => now.wall,
        };
        for Open { claim, reached, may_have_been_sent_in } in recovered.open {
            let obstacle = match &reached {
                Reached::Waiting { reason, .. } => reason.reason.parse().ok().and_then(Obstacle::of),
                Reached::Due | Reached::Unsent | Reached::Sending { .. } => None,
            };
            let mut error = None;
            let (attempts, sent_at, unsent, waits, goes_on_late) = match reached {
                // A linked occurrence is written as being sent before its request leaves. An older
                // copy of the journal may have forgotten that.
                Reached::Due => {
                    let is_known = self.older_until.is_none_or(|until| claim.due_at > until);
                    let unsent = claim.origin.is_linked() && is_known || claim.due_at > unsent_after;
                    (0, None, unsent, false, false)
                }
                Reached::Unsent => (0, None, true, false, false),
                // An occurrence that waited neither for the quota nor for the daemon waited for the
                // API or by its own policies.
                Reached::Waiting { attempts, reason } => {
                    error = reason.error;
                    (
                        attempts,
                        None,
                        true,
                        true,
                        !matches!(reason.reason.parse(), Ok(Reason::Quota | Reason::Down)),
                    )
                }
                Reached::Sending { attempts, sent_at } => (attempts, Some(sent_at), false, false, false),
            };
            let (name, scheduled_at) = (claim.key.entry().clone(), claim.key.scheduled_at());
            let pass = claim.key.pass().into();
            let lost = || "the daemon ended before its answer was written".to_owned();
            let entry = entries.get(&name).copied();
            let goes_on = entry.filter(|_| unsent).and_then(|entry| {
                as_claimed(entry, &claim.account, (&claim.stack, &claim.job), &self.accounts)
            });
            match (goes_on, entry) {
                (Some(entry), _) => {
                    // Of a schedule that changed while no daemon ran, as by a reload.
                    let at = (scheduled_at, claim.key.pass());
                    let planned = Planned::new(&entry, claim.origin.clone(), at, claim.due_at);
                    let history = History {
                        attempts,
                        written: waits,
                        goes_on: goes_on_late,
                        obstacle,
                        error,
                        ..History::default()
                    };
                    let id = self.enter(planned, history, now, &mut effects);
                    let pending = id.and_then(|id| self.occurrences.find_mut(id));
                    effects.extend(pending.and_then(|pending| pending.amend(&claim)));
                }
                (None, Some(entry)) if !unsent && asked_by(&claim, entry, schedule).is_some() => {
                    // A process that comes after this one must not take it for unsent.
                    self.sent_up_to = self.sent_up_to.max(claim.due_at);
                    let sent = (attempts, sent_at, may_have_been_sent_in);
                    self.recover_in_doubt(claim, sent, entry, schedule, lost(), now, &mut effects);
                }
                _ if unsent => {
                    effects.extend(removed(claim, now));
                }
                _ => {
                    let (key, origin) = (claim.key, claim.origin);
                    let (retry_of, retry) = origin.retry_fields();
                    let (entry, error) = (name, lost());
                    effects.push(log(OccurrenceUnknown {
                        entry,
                        scheduled_at,
                        pass,
                        retry_of,
                        retry,
                        error,
                    }));
                    let end = Transition::Unknown { error: lost() };
                    self.ends(LinkedKey { key, origin }, end, now, &mut effects);
                }
            }
        }
        self.recover_resent(recovered.resent, now, &mut effects);
        effects
    }

    /// An attempt of a former process that may have taken effect.
    #[expect(clippy::too_many_arguments, reason = "each is another part of what is known of the attempt")]
    fn recover_in_doubt(
        &mut self,
        claim: Claim,
        (attempts, sent_at, in_term): (u32, Option<Timestamp>, Option<TermNumber>),
        entry: &Arc<Entry>,
        schedule: &Schedule,
        error: String,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(account) = asked_by(&claim, entry, schedule) else {
            return;
        };
        let as_now =
            (&entry.account.name, &entry.stack, &entry.job) == (&account.name, &claim.stack, &claim.job);
        // It is looked for where it was sent, and goes on where its entry is now.
        let was =
            Entry { account: Arc::clone(account), stack: claim.stack, job: claim.job, ..Entry::clone(entry) };
        let sent = if as_now { Arc::clone(entry) } else { Arc::new(was) };
        let at = (claim.key.scheduled_at(), claim.key.pass());
        let claimed = in_term.map(|term| FormerClaim { term, due_at: claim.due_at });
        let planned = Planned::new(&sent, claim.origin, at, claim.due_at);
        let history = History { attempts, waited: true, ..History::default() };
        let id = Id(self.number());
        if !self.occurrences.enter(id, planned, history, PendingPlace::Doubt) {
            return;
        }
        if let Some(pending) = self.occurrences.get_mut(id).filter(|_| !as_now) {
            pending.reloaded = Some(Reloaded::Changed(Arc::clone(entry)));
        }
        let came = InDoubtReport {
            sent_at: sent_at.unwrap_or(claim.due_at),
            left: None,
            vague: sent_at.is_none(),
            token: TokenOwner::Former,
            claimed,
            error,
            status: None,
        };
        self.comes_into_doubt(id, came, now, effects);
    }

    /// Writes down what waits, so that the next process knows that it was not sent, and what is in
    /// doubt of a former process and was never written: by the clock of that one it may not have
    /// been due when this one ends.
    pub fn park(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for id in self.occurrences.ids() {
            let Some(pending) = self.occurrences.get_mut(id) else { continue };
            match pending.place() {
                PendingPlace::Ready | PendingPlace::Retry(_) | PendingPlace::Held | PendingPlace::Stack
                    if !pending.history.written =>
                {
                    effects.extend(pending.record_waiting(Reason::Down));
                }
                PendingPlace::Doubt if pending.history.attempts == 0 => {
                    let Some(sent_at) = self.doubts.sent_at(id) else { continue };
                    pending.history.attempts = 1;
                    effects.push(Effect::Record(pending.key(), Transition::Sending { attempts: 1, sent_at }));
                }
                _ => {}
            }
        }
        effects
    }

    /// Somebody has set our clock, or the machine slept.
    pub fn clock_is_set(&mut self, now: Now) {
        self.clocks.is_set(now);
    }

    /// Returns true when somebody has set our clock since this was last asked.
    pub fn clock_was_set(&mut self) -> bool {
        self.clocks.was_set()
    }

    /// Returns the state of each account's quota, for the next process.
    pub fn quotas(&self) -> impl Iterator<Item = (AccountName, SavedQuota)> {
        self.accounts.iter().map(|(name, access)| {
            let clocks = self.clocks.save();
            (name.clone(), SavedQuota { clocks, ..self.quotas.save(access.admission.quota) })
        })
    }
}
