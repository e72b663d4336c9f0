//! When a stack is asked for its actions, and the journal for those that it knows.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use jiff::SignedDuration;

use super::reconcile::{AttemptVerdict, CUT_OFF};
use super::span::moved;
use super::verdicts::{Flying, StackFacts};
use super::{Doubts, SurplusWatch};
use crate::clock::{Mono, Now};
use crate::cloud66::{ActionsListed, JobRecord, Reply};
use crate::dispatch::admission::Came;
use crate::dispatch::listing::{ListReading, ListingStep};
use crate::dispatch::{Dispatch, Effect, Id, InFlight, Request, RequestId};
use crate::journal::KnownActions;
use crate::quota::Purpose;
use crate::schedule::{AccountName, JobUid, StackUid};

/// The stack is asked this long after an attempt came into doubt: most effects can be seen by then.
const FIRST: Duration = Duration::from_secs(1);

/// A lookup goes behind the fires of its account, but not for longer than this: where no answer
/// tells of a quota, one request follows another, and fires of every second would leave no room for
/// it.
const OVERDUE: Duration = Duration::from_secs(5);

/// Records that are asked for at most after one list: an outage may bring thousands of attempts
/// into doubt, and without a record the list alone decides.
const MOST_RECORDS: usize = 30;

#[derive(Debug)]
pub(super) struct ActionLookup {
    /// When it is to be asked.
    at: Mono,
    failures: u32,
    stage: LookupStage,
}

#[derive(Debug)]
enum LookupStage {
    Waits,
    /// The list is read since then. The number is of the page that is to be asked for, or was asked
    /// for then.
    Lists {
        reading: ListReading,
        since: Mono,
        page: u32,
        asked: Option<Mono>,
    },
    /// The journal is asked. The attempts were in flight when it was.
    Recalls {
        reading: ListReading,
        since: Mono,
        in_flight: Vec<Flying>,
    },
    /// The records of jobs are asked for by these requests.
    Records {
        found: StackFacts,
        left: HashSet<RequestId>,
    },
}

impl Doubts {
    /// A stack is asked soon, since an attempt on it has come into doubt.
    pub(super) fn ask_soon(&mut self, account: &AccountName, stack: &StackUid, now: Now) {
        let first = now.mono + FIRST;
        let lookup = self.inquiries.entry((account.clone(), stack.clone()));
        let lookup = lookup.or_insert(ActionLookup { at: first, failures: 0, stage: LookupStage::Waits });
        if matches!(lookup.stage, LookupStage::Waits) {
            lookup.at = lookup.at.min(first);
        }
    }

    /// A stack is asked at an instant, or before.
    pub(super) fn ask_at(&mut self, account: &AccountName, stack: &StackUid, at: Mono) {
        let lookup = self.inquiries.entry((account.clone(), stack.clone()));
        let lookup = lookup.or_insert(ActionLookup { at, failures: 0, stage: LookupStage::Waits });
        if matches!(lookup.stage, LookupStage::Waits) {
            lookup.at = lookup.at.min(at);
        }
    }

    /// When the stack's list is to be read once more for an occurrence that was sent again.
    fn reads_again_at(&self, account: &AccountName, stack: &StackUid) -> Option<Mono> {
        self.resent.values().filter(|watched| watched.is_of(account, stack)).map(SurplusWatch::at).min()
    }

    /// When an account has something to ask.
    pub(in crate::dispatch) fn next_at(&self, account: &AccountName) -> Option<Mono> {
        let ready =
            self.inquiries.iter().filter(|((asked, _), inquiry)| asked == account && inquiry.waits_for_us());
        ready.map(|(_, inquiry)| inquiry.at).min()
    }

    /// The occurrences for which a list that is read as it is at `since` is read once more.
    fn to_be_read(
        &self,
        (account, stack): &(AccountName, StackUid),
        since: Mono,
    ) -> impl Iterator<Item = &SurplusWatch> {
        let (account, stack) = (account.clone(), stack.clone());
        let is_due = move |one: &&SurplusWatch| one.is_of(&account, &stack) && one.at() <= since;
        self.resent.values().filter(is_due)
    }

    /// Returns true when an account has something to ask.
    pub(in crate::dispatch) fn asks_by(&self, account: &AccountName) -> bool {
        self.inquiries.keys().any(|(asked, _)| asked == account)
    }

    /// Returns true when a lookup of an account has waited behind fires for [`OVERDUE`].
    pub(in crate::dispatch) fn is_overdue(&self, account: &AccountName, now: Now) -> bool {
        let mut lookups = self.inquiries.iter().filter(|((asked, _), _)| asked == account);
        lookups.any(|(_, lookup)| lookup.waits_for_us() && lookup.at + OVERDUE <= now.mono)
    }

    fn due(&self, account: &AccountName, now: Now) -> Option<StackUid> {
        let mut of_account = self.inquiries.iter().filter(|((asked, _), _)| asked == account);
        of_account
            .find(|(_, inquiry)| inquiry.waits_for_us() && inquiry.at <= now.mono)
            .map(|((_, stack), _)| stack.clone())
    }
}

impl ActionLookup {
    /// Nothing of it is with the API or the journal.
    fn waits_for_us(&self) -> bool {
        matches!(self.stage, LookupStage::Waits | LookupStage::Lists { asked: None, .. })
    }
}

impl Dispatch {
    /// Asks what is to be asked by an account.
    pub(in crate::dispatch) fn inquire(
        &mut self,
        account: &AccountName,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        while let Some(stack) = self.doubts.due(account, now) {
            if self.doubts.of_stack(account, &stack).next().is_none() {
                let key = (account.clone(), stack.clone());
                match self.doubts.reads_again_at(account, &stack) {
                    None => {
                        self.doubts.inquiries.remove(&key);
                        continue;
                    }
                    Some(at) if at > now.mono => {
                        self.doubts.inquiries.entry(key).and_modify(|lookup| lookup.at = at);
                        continue;
                    }
                    Some(_) => {}
                }
            }
            let request = RequestId(self.number());
            let Some(access) = self.accounts.get_mut(account) else {
                return;
            };
            let Ok(admitted) = access.admission.admit(&mut self.quotas, Purpose::Reconcile, now) else {
                return;
            };
            let Some(inquiry) = self.doubts.inquiries.get_mut(&(account.clone(), stack.clone())) else {
                return;
            };
            if matches!(inquiry.stage, LookupStage::Waits) {
                let reading = ListReading::new();
                inquiry.stage = LookupStage::Lists { reading, since: now.mono, page: 1, asked: None };
            }
            if let LookupStage::Lists { page, asked, .. } = &mut inquiry.stage {
                *asked = Some(now.mono);
                let (account, stack, page) = (account.clone(), stack.clone(), *page);
                effects.push(Effect::Send(
                    request,
                    Request::Actions { account, stack, page, purpose: Purpose::Reconcile },
                ));
            }
            self.requests.insert(request, InFlight::ActionLookup(admitted, account.clone(), stack));
        }
    }

    /// A page of a stack's actions was asked for, or could not be read.
    pub(in crate::dispatch) fn read(
        &mut self,
        account: AccountName,
        stack: StackUid,
        listed: ActionsListed,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let key = (account, stack);
        let Some(inquiry) = self.doubts.inquiries.get_mut(&key) else {
            return;
        };
        let LookupStage::Lists { mut reading, since, page, asked } =
            std::mem::replace(&mut inquiry.stage, LookupStage::Waits)
        else {
            return;
        };
        let next = match listed {
            ActionsListed::Page(listed) => {
                reading.read_clock(&listed, asked.unwrap_or(now.mono), now);
                let ahead = reading.ahead(now);
                let from = self.doubts.of_stack(&key.0, &key.1).map(|(_, doubt)| doubt.span(now, ahead).0);
                let again = self.doubts.to_be_read(&key, since).map(|watched| watched.from(ahead));
                let from = from.chain(again);
                // An action's instant is a whole second, cut off.
                let back_to = moved(from.min().unwrap_or(now.wall), -CUT_OFF);
                reading.take(page, listed, back_to)
            }
            ActionsListed::Unanswered { .. } => {
                self.ask_again(&key, now);
                self.gives_up_reading(now, effects);
                return;
            }
        };
        match next {
            ListingStep::Page(page) => {
                if let Some(inquiry) = self.doubts.inquiries.get_mut(&key) {
                    inquiry.at = now.mono;
                    inquiry.stage = LookupStage::Lists { reading, since, page, asked: None };
                }
            }
            ListingStep::Complete => {
                let stack = key.1.clone();
                let since_when = self.doubts.of_stack(&key.0, &stack).map(|(_, doubt)| doubt.sent_at);
                let again = self.doubts.to_be_read(&key, since).map(|watched| watched.from(None));
                let since_when = since_when.chain(again).min().unwrap_or(now.wall);
                let in_flight = self.in_flight_on(&stack);
                let back = SignedDuration::try_from(self.longest_wait).unwrap_or(SignedDuration::MAX);
                // However old an action in the list is: who started it without the journal's
                // knowing shares the user.
                let listed = reading.actions.iter().filter_map(|action| action.id).collect();
                if let Some(inquiry) = self.doubts.inquiries.get_mut(&key) {
                    inquiry.stage = LookupStage::Recalls { reading, since, in_flight };
                }
                effects.push(Effect::Recall(key.0, stack, moved(since_when, -back), listed));
            }
            ListingStep::TooLong => {
                let verdicts: Vec<(Id, AttemptVerdict)> = (self.doubts.of_stack(&key.0, &key.1))
                    .filter(|(_, doubt)| doubt.over_at <= since)
                    .map(|(id, _)| (id, AttemptVerdict::Unknown))
                    .collect();
                self.carry_out(verdicts, now, effects);
                self.was_read(&key, since, effects);
                self.ask_later(&key, now);
            }
        }
    }

    /// The actions of a stack that the journal knows. `None` when it cannot be read.
    pub fn recalled(
        &mut self,
        account: AccountName,
        stack: StackUid,
        known: Option<KnownActions>,
        now: Now,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let key = (account, stack);
        let Some(inquiry) = self.doubts.inquiries.get_mut(&key) else {
            return effects;
        };
        let LookupStage::Recalls { reading, since, in_flight } =
            std::mem::replace(&mut inquiry.stage, LookupStage::Waits)
        else {
            return effects;
        };
        let Some(known) = known else {
            self.ask_again(&key, now);
            return effects;
        };
        inquiry.failures = 0;
        let found = StackFacts { reading, since, in_flight, known, records: HashMap::new() };
        let by_list = self.verdicts(&key, &found, now).verdicts;
        let comes_to_one = by_list.into_iter().filter(|(_, verdict)| *verdict != AttemptVerdict::Later);
        let jobs: BTreeSet<JobUid> = comes_to_one
            .filter_map(|(id, _)| Some(self.occurrences.get(id)?.entry.job.clone()))
            .take(MOST_RECORDS)
            .collect();
        let asked = jobs
            .into_iter()
            .filter_map(|job| self.ask_record(&key.0, key.1.clone(), job, None, now, &mut effects));
        let left: HashSet<RequestId> = asked.collect();
        match self.doubts.inquiries.get_mut(&key).filter(|_| !left.is_empty()) {
            Some(lookup) => lookup.stage = LookupStage::Records { found, left },
            None => self.concludes(&key, &found, now, &mut effects),
        }
        effects
    }

    /// The reply to a question for a job's record.
    pub fn recorded(&mut self, id: RequestId, reply: Reply<Option<JobRecord>>, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(InFlight::JobRecord(admitted, account, stack, job, lesson)) = self.requests.remove(&id)
        else {
            return effects;
        };
        self.settle(&account, admitted, reply.quota, Came::Otherwise, now, &mut effects);
        if let Some(lesson) = lesson {
            self.learns(lesson, reply.outcome);
            return effects;
        }
        let key = (account, stack);
        let Some(lookup) = self.doubts.inquiries.get_mut(&key) else {
            return effects;
        };
        match std::mem::replace(&mut lookup.stage, LookupStage::Waits) {
            LookupStage::Records { mut found, mut left } => {
                left.remove(&id);
                found.records.extend(reply.outcome.map(|record| (job, record)));
                match left.is_empty() {
                    true => self.concludes(&key, &found, now, &mut effects),
                    false => lookup.stage = LookupStage::Records { found, left },
                }
            }
            other => lookup.stage = other,
        }
        effects
    }

    /// All is known that is to be known this time.
    fn concludes(
        &mut self,
        key: &(AccountName, StackUid),
        found: &StackFacts,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let judged = self.verdicts(key, found, now);
        self.takes_in(key, &judged, now);
        self.carry_out(judged.verdicts, now, effects);
        self.tell_surplus(judged.surplus, effects);
        self.was_read(key, found.since, effects);
        self.ask_later(key, now);
    }

    /// The list or the journal could not be read.
    fn ask_again(&mut self, key: &(AccountName, StackUid), now: Now) {
        if let Some(inquiry) = self.doubts.inquiries.get_mut(key) {
            inquiry.failures += 1;
            inquiry.stage = LookupStage::Waits;
            inquiry.at = now.mono + self.backoff.after(inquiry.failures + 1);
        }
    }

    /// Some of it is still to come: an effect that is not shown yet, or an answer.
    fn ask_later(&mut self, key: &(AccountName, StackUid), now: Now) {
        let next = self.doubts.of_stack(&key.0, &key.1).map(|(_, doubt)| doubt.asked_next(now.mono));
        let at =
            next.map(|at| at.max(now.mono + FIRST)).chain(self.doubts.reads_again_at(&key.0, &key.1)).min();
        let Some(at) = at else {
            self.doubts.inquiries.remove(key);
            return;
        };
        if let Some(inquiry) = self.doubts.inquiries.get_mut(key) {
            inquiry.stage = LookupStage::Waits;
            inquiry.at = at;
        }
    }
}
