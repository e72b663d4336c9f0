//! Sends what is ready, as far as an account's quota admits it.

use std::sync::Arc;

use super::follow::Following;
use super::holding::Turn;
use super::in_doubt::Lesson;
use super::quotas::Admitted;
use super::stack_state::Subject;
use super::{Dispatch, Effect, Id, PendingPlace, Request, RequestId};
use crate::clock::Now;
use crate::journal::Transition;
use crate::quota::{Purpose, Refusal};
use crate::schedule::{AccountName, JobUid, StackUid};

/// A request whose answer is awaited.
pub(super) enum InFlight {
    /// And when it left.
    Fire(Admitted, Id, Now),
    Follow(Admitted, Following),
    /// A question for a page of a stack's actions, where these should be.
    FollowPage(Admitted, AccountName, u32, Vec<Following>),
    /// A question for the actions of a stack.
    ActionLookup(Admitted, AccountName, StackUid),
    /// A look at a stack or a job.
    Look(Admitted, Subject),
    /// A question for a job's record: about attempts in doubt, or to learn from a run.
    JobRecord(Admitted, AccountName, StackUid, JobUid, Option<Lesson>),
}

impl Dispatch {
    /// Sends what an account's quota admits: fires first, in the order of the queue, then
    /// follow-up.
    pub(super) fn serve(&mut self, account: &AccountName, now: Now, effects: &mut Vec<Effect>) {
        self.pass_time(account, now, effects);
        while let Some(id) = self.occurrences.next_retry(account, now.mono) {
            self.occurrences.move_to(id, PendingPlace::Ready);
        }
        if self.doubts.is_overdue(account, now) {
            self.inquire(account, now, effects);
        }
        self.look_postponed(account, now, effects);
        let refusal = loop {
            let Some(id) = self.occurrences.first_ready(account) else {
                break None;
            };
            if self.held_back(id, now, effects) {
                continue;
            }
            let unseen = match self.takes_its_turn(id, now, effects) {
                Turn::Goes => None,
                Turn::Stays => continue,
                Turn::GoesUnseen(subjects, error) => Some((subjects, error)),
            };
            let access = self.accounts.get_mut(account);
            match access.map(|access| access.admission.admit(&mut self.quotas, Purpose::Fire, now)) {
                Some(Ok(admitted)) => {
                    if let Some((subjects, error)) = unseen {
                        self.goes_unseen(subjects, &error, now, effects);
                    }
                    self.send(id, admitted, now, effects);
                }
                Some(Err(refusal)) => break Some(refusal),
                None => return,
            }
        };
        match refusal {
            Some(Refusal::Until(until)) => self.tell_waiting(account, until.wall, now, effects),
            Some(Refusal::InFlight) => {}
            None => {
                self.inquire(account, now, effects);
                self.follow_up(account, now, effects);
            }
        }
    }

    fn send(&mut self, id: Id, admitted: Admitted, now: Now, effects: &mut Vec<Effect>) {
        let request = RequestId(self.number());
        let Some(pending) = self.occurrences.get_mut(id) else {
            return;
        };
        pending.history.attempts += 1;
        pending.history.obstacle = None;
        if let Some(access) = self.accounts.get_mut(&pending.entry.account.name) {
            pending.history.token = Some(access.token.reloads);
        }
        let run_now = Request::RunNow(Arc::clone(&pending.entry));
        // After a crash it is looked for from the first attempt on that may have taken effect.
        let sent_at = pending.history.doubt.as_ref().map_or(now.wall, |doubt| doubt.sent_at);
        let sending = Transition::Sending { attempts: pending.history.attempts, sent_at };
        if pending.history.written || pending.history.amended || pending.origin.is_linked() {
            effects.push(Effect::SendAfter(Box::new((pending.key(), sending)), request, run_now));
        } else {
            // A claim that is due may have been sent, with or without this.
            effects.push(Effect::Send(request, run_now));
            effects.push(Effect::Record(pending.key(), sending));
        }
        self.sent_up_to = self.sent_up_to.max(pending.due_at);
        let newest = (!pending.is_by_hand()).then(|| (pending.entry.name.clone(), pending.first()));
        self.occurrences.move_to(id, PendingPlace::Sending);
        if let Some((entry, first)) = newest {
            let activity = self.occurrences.activity_mut(&entry);
            activity.newest_sent = activity.newest_sent.max(Some(first));
        }
        self.requests.insert(request, InFlight::Fire(admitted, id, now));
    }
}
