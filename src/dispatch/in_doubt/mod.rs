//! Attempts in doubt: the stack's actions are asked before anything else happens to their
//! occurrences.
//!
//! **Problem.** An attempt that brought no answer, half of one, or a 5xx that tells nothing may
//! have started an action, and so may what a former process has sent ([`super::recovery`]). The API
//! knows no idempotency key: to send again may run the job twice, and not to send may leave the job
//! out.
//!
//! **Mechanism.** The stack's list of actions is read, within the quota (`lookup.rs`): soon after
//! the attempt came into doubt, again after pauses that double, and at last when it is too late for
//! the attempt to take effect, two minutes after it left. Then the journal tells which of the
//! actions belong to other occurrences (`verdicts.rs`). What both say of all attempts on the stack
//! is judged by one pure function (`reconcile.rs`). Where that comes to a verdict, the record of
//! the attempt's job is read as a second witness (`evidence.rs`, `lesson.rs`), and the occurrence
//! goes on by what both witnesses say (`outcome.rs`). An occurrence that is sent again is looked
//! after for a second action (`surplus.rs`). The entry's other occurrences go on time with
//! `overlap: allow`; with `skip` and `queue` the attempt counts as a running action. A list or a
//! journal that cannot be read is asked again, until the occurrence's deadline or for
//! [`LEAST_PATIENCE`], whichever is later.
//!
//! **Example.** Sent at 02:00:00 and in doubt at once: the list is read at 02:00:01, :04, :08, :16,
//! :32, 02:01:04 and 02:02:00. The first list that shows the action says `started`; the last one,
//! where none shows it, `not_started`.
//!
//! Of an attempt that a former leader may have made, that leader knows best: its word that it had
//! not come to the occurrence ends the doubt at once (`ended_terms.rs`).
//!
//! Nothing of a doubt is written down: the journal has the claim as one that may have been sent, so
//! that a crash or a stop leaves the doubt to the next start.
//!
//! An action that cannot be told from those of other attempts has no `action_id` in the log and in
//! the journal: nobody follows it, and an overlap with it is not seen. That action may be in a
//! later list, as may the action of an attempt that was given up. The journal tells which
//! occurrences these are ([`crate::journal::Unnamed`]).

mod attempt;
mod ended_terms;
mod evidence;
mod lesson;
mod lookup;
mod outcome;
mod reconcile;
mod span;
mod surplus;
mod verdicts;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Dispatch, Effect, Id, PendingPlace, log};
use crate::clock::{Mono, Now};
use crate::cloud66::ActionId;
use crate::journal::{ClockOf, Key};
use crate::log::event::OccurrenceInDoubt;
use crate::schedule::{AccountName, JobUid, StackUid};
pub(super) use attempt::{FormerClaim, InDoubtAttempt, InDoubtReport, TokenOwner};
pub(super) use lesson::Lesson;
use lookup::ActionLookup;
use span::{BLIND, LONGEST_EFFECT, TOLERANCE};
use surplus::SurplusWatch;
use verdicts::SharedOut;

/// An attempt may take effect for so long after it left, whatever the account's timeout: a request
/// may wait in a proxy or in a queue of the API when nobody waits for its answer any more. Effects
/// were seen 70 s late.
const SETTLES: Duration = Duration::from_secs(120);

/// Where the account's timeout is short, an attempt is given at least so long after its end.
const SETTLES_AFTER_END: Duration = Duration::from_secs(10);

/// Asked for at least so long, also where the occurrence could not be sent again any more.
const LEAST_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Somebody who was seen to start jobs of a stack with our user is taken to go on for so long: the
/// next list may not go back to when that was seen. Somebody's job of each night is remembered
/// until the next night.
const SHARED_FOR: Duration = Duration::from_secs(25 * 60 * 60);

/// An action that the journal is asked for was scheduled at most so long before it started, or an
/// entry's `start_deadline` if that is more.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything in doubt, and what may own an action that nobody is known to own.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    open: BTreeMap<Id, InDoubtAttempt>,
    /// Nothing could tell whether they started an action, or which one. It may still be in the
    /// lists.
    unnamed: Vec<(Key, InDoubtAttempt)>,
    /// Attempts that have started although nothing tells which action is whose, and the actions
    /// that they own together. Neither competes with other attempts any more. Kept for
    /// [`verdicts::REMEMBERED`].
    shared_out: SharedOut,
    inquiries: BTreeMap<(AccountName, StackUid), ActionLookup>,
    /// Occurrences that were sent again: the stack's list is read once more.
    resent: BTreeMap<Key, SurplusWatch>,
    /// The run with which a job's record was last seen to move.
    moved_with: HashMap<(StackUid, JobUid), ActionId>,
    /// Stacks on which somebody else was seen to start jobs with our user, and when last.
    shared_users: HashMap<StackUid, (Mono, AccountName)>,
    /// The clock by which former processes noted their sends.
    pub(super) former: ClockOf,
    /// How far the API's clock was ahead of that of former processes, as they have seen.
    pub(super) clocks: Arc<[SignedDuration]>,
    patience: BTreeSet<(Mono, Id)>,
}

impl Doubts {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// When an attempt in doubt left, or the earliest that it can have left.
    pub(super) fn sent_at(&self, id: Id) -> Option<Timestamp> {
        self.open.get(&id).map(|doubt| doubt.sent_at)
    }

    /// Panics unless each of these occurrences is in doubt, and no other is.
    #[cfg(test)]
    pub(super) fn check_invariants(&self, in_doubt: &BTreeSet<Id>) {
        assert!(self.open.keys().eq(in_doubt), "{:?} are in doubt, and {in_doubt:?}", self.open.keys());
        let patience: BTreeSet<_> = self.open.iter().map(|(&id, doubt)| (doubt.given_up_at, id)).collect();
        assert_eq!(self.patience, patience, "each doubt is given up at its instant");
    }

    /// When the patience with one of them ends.
    pub(super) fn patience_ends(&self) -> Option<Mono> {
        self.patience.first().map(|&(at, _)| at)
    }

    /// Returns true when somebody else starts jobs of a stack with our user, as was seen within
    /// [`SHARED_FOR`].
    fn is_user_shared(&self, stack: &StackUid, now: Now) -> bool {
        self.shared_users.get(stack).is_some_and(|(seen, _)| *seen + SHARED_FOR > now.mono)
    }

    /// An account has another token: what was seen of the former token's user says nothing of the
    /// new one's.
    pub(super) fn forget_user(&mut self, account: &AccountName) {
        self.shared_users.retain(|_, (_, by)| by != account);
    }

    fn of_stack(
        &self,
        account: &AccountName,
        stack: &StackUid,
    ) -> impl Iterator<Item = (Id, &InDoubtAttempt)> {
        let of_stack = move |doubt: &InDoubtAttempt| doubt.account == *account && doubt.stack == *stack;
        self.open.iter().filter(move |(_, doubt)| of_stack(doubt)).map(|(&id, doubt)| (id, doubt))
    }
}

impl Dispatch {
    /// An attempt may have taken effect: the occurrence waits until that is known. Other
    /// occurrences do not.
    pub(super) fn comes_into_doubt(
        &mut self,
        id: Id,
        came: InDoubtReport,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.occurrences.move_to(id, PendingPlace::Doubt);
        let Some(pending) = self.occurrences.get_mut(id) else {
            return;
        };
        let entry = Arc::clone(&pending.entry);
        let (scheduled_at, attempts) = (pending.scheduled_at, pending.history.attempts);
        let InDoubtReport { sent_at, left, vague, token, claimed, error, status } = came;
        pending.history.error = Some(error.clone());
        let clock = if left.is_none() { self.doubts.former } else { ClockOf::ThisMachine };
        // The clock was set back since a former process sent it: by how much, nothing tells, and so
        // no list does.
        let apart = match clock {
            ClockOf::ThisMachine => TOLERANCE,
            ClockOf::AnyMember => BLIND,
        };
        let set_back = left.is_none() && sent_at.duration_since(now.wall) > apart;
        let patience = match set_back {
            true => Duration::ZERO,
            false => now.until(pending.deadline).max(LEAST_PATIENCE),
        };
        effects.push(log(OccurrenceInDoubt {
            entry: entry.name.clone(),
            scheduled_at,
            pass: pending.pass.into(),
            attempts,
            error: error.clone(),
            status,
        }));
        let longest_wait = entry.account.timeout.saturating_add(SETTLES_AFTER_END);
        let doubt = InDoubtAttempt {
            account: entry.account.name.clone(),
            stack: entry.stack.clone(),
            sent_at,
            left_at: match left {
                Some(left) => now.wall_at(left),
                None if set_back => Timestamp::MIN,
                None => sent_at.min(now.wall),
            },
            vague,
            soon: SignedDuration::try_from(longest_wait)
                .map_or(SignedDuration::MAX, |wait| wait.max(LONGEST_EFFECT)),
            seen: now,
            over_at: (left.unwrap_or(now.mono) + SETTLES)
                .max(now.mono + entry.account.timeout.max(SETTLES_AFTER_END)),
            given_up_at: now.mono + patience,
            error,
            status,
            token,
            former: (token == TokenOwner::Former).then_some(clock),
            clocks: if left.is_none() { Arc::clone(&self.doubts.clocks) } else { Arc::default() },
            claimed,
        };
        self.doubts.ask_soon(&doubt.account, &doubt.stack, now);
        self.doubts.patience.insert((doubt.given_up_at, id));
        self.doubts.open.insert(id, doubt);
    }

    /// Returns the number of attempts in doubt: a stop leaves them to the next process.
    pub fn in_doubt(&self) -> usize {
        self.doubts.len()
    }
}
