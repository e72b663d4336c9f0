//! Of what a list and the journal say together: the verdict on each attempt of a stack.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::TokenOwner;
use super::evidence::{JobFacts, KnownRun, testify, weigh};
use super::reconcile::{Attempt, AttemptVerdict, Judgement, StillPossible, candidates, judge};
use super::span::{LONGEST_EFFECT, back_to, moved, spread};
use super::surplus::surplus;
use crate::clock::{Mono, Now};
use crate::cloud66::{Action, ActionId, JobRecord};
use crate::dispatch::listing::{Ahead, ListReading};
use crate::dispatch::{Dispatch, Id, InFlight};
use crate::journal::{ClockOf, Key, KnownActions};
use crate::schedule::{AccountName, JobUid, StackUid};

/// An attempt that was given up is remembered for so long: its action may be on a page of a list
/// that is yet to be read.
pub(super) const REMEMBERED: SignedDuration = SignedDuration::from_mins(10);

/// Groups of attempts that own as many actions together.
#[derive(Debug, Default)]
pub(super) struct SharedOut {
    pub(super) occurrences: HashMap<Key, Mono>,
    actions: HashMap<(StackUid, ActionId), Mono>,
}

/// The facts about a stack at the time when its attempts are judged.
#[derive(Debug)]
pub(super) struct StackFacts {
    pub(super) reading: ListReading,
    /// The list is as it was then, or newer.
    pub(super) since: Mono,
    /// The requests that were in flight then.
    pub(super) in_flight: Vec<Flying>,
    pub(super) known: KnownActions,
    /// The records of jobs that were asked for and answered.
    pub(super) records: HashMap<JobUid, JobRecord>,
}

/// A run_now that waits for its answer.
#[derive(Debug)]
pub(super) struct Flying {
    left: Now,
    job: JobUid,
}

/// The verdicts on the attempts of a stack.
pub(super) struct Verdicts {
    pub(super) verdicts: Vec<(Id, AttemptVerdict)>,
    /// Second actions of occurrences that were sent again.
    pub(super) surplus: Vec<(Key, ActionId)>,
    keys: Vec<Key>,
    judgement: Judgement,
    /// All attempts were judged, and no record says otherwise than the list.
    is_certain: bool,
}

impl SharedOut {
    fn forget_past(&mut self, now: Now) {
        let kept = |since: &mut Mono| *since + REMEMBERED.unsigned_abs() > now.mono;
        self.occurrences.retain(|_, since| kept(since));
        self.actions.retain(|_, since| kept(since));
    }
}

impl Dispatch {
    /// Judges the attempts of a stack by a list that was read from `since` on, by what the journal
    /// knows, and by records of jobs, as far as they were asked for.
    pub(super) fn verdicts(
        &self,
        (account, stack): &(AccountName, StackUid),
        found: &StackFacts,
        now: Now,
    ) -> Verdicts {
        let StackFacts { reading, since, in_flight, known, records } = found;
        let since = *since;
        let ahead = reading.ahead(now);
        let mut started: HashSet<ActionId> = known.actions.iter().copied().collect();
        let users = |token| self.user_of(account, token, &reading.actions, &started);
        let mut ids = Vec::new();
        let mut keys = Vec::new();
        let mut attempts = Vec::new();
        // Whoever sent them: what is known of the user holds for this account alone.
        for (&id, doubt) in self.doubts.open.iter().filter(|(_, doubt)| doubt.stack == *stack) {
            let standing = if doubt.over_at <= since { StillPossible::Over } else { StillPossible::Open };
            let user = if doubt.account == *account { users(doubt.token) } else { None };
            ids.push((id, doubt.account == *account));
            keys.extend(self.occurrences.get(id).map(|pending| pending.key()));
            attempts.push(doubt.attempt(now, ahead, user, standing));
        }
        let judged = attempts.len();
        let mut jobs: Vec<Option<&JobUid>> =
            (ids.iter()).map(|(id, _)| self.occurrences.get(*id).map(|pending| &pending.entry.job)).collect();
        // A further action of an occurrence that was sent again belongs to that occurrence.
        let mut rivals = attempts.clone();
        for (key, doubt) in self.doubts.unnamed.iter().filter(|(_, doubt)| doubt.stack == *stack) {
            keys.push(key.clone());
            let user = if doubt.account == *account { users(doubt.token) } else { None };
            attempts.push(doubt.attempt(now, ahead, user, StillPossible::GivenUp));
            if !self.doubts.resent.contains_key(key) {
                rivals.extend(attempts.last().cloned());
            }
        }
        let of_this_life = |key: &Key| {
            self.doubts.unnamed.iter().any(|(ours, _)| ours == key)
                || self.doubts.shared_out.occurrences.contains_key(key)
        };
        for former in known.unnamed.iter().filter(|unnamed| !of_this_life(&unnamed.key)) {
            let until = moved(former.sent_at, LONGEST_EFFECT);
            let near = if ahead.is_some() && self.doubts.former == ClockOf::ThisMachine {
                // As far from the API's time as we are, or right: the clock may have been set
                // since.
                vec![spread(former.sent_at, until, Some(Ahead::NONE)), spread(former.sent_at, until, ahead)]
            } else {
                vec![spread(former.sent_at, until, None)]
            };
            keys.push(former.key.clone());
            let mut attempt = Attempt::given_up_near(near, None);
            let by_their_clocks = self.doubts.clocks.iter().map(|&ahead| back_to(former.sent_at, ahead));
            attempt.from = by_their_clocks.min().map_or(attempt.from, |from| from.min(attempt.from));
            attempts.push(attempt);
            if !self.doubts.resent.contains_key(&former.key) {
                rivals.extend(attempts.last().cloned());
            }
        }
        jobs.resize(attempts.len(), None);
        for Flying { left, job } in in_flight {
            jobs.push(Some(job));
            let (from, _) = spread(moved(left.wall, now.set_since(*left)), now.wall, ahead);
            let standing = StillPossible::InFlight;
            let until = Timestamp::MAX;
            attempts.push(Attempt { from, until, near: Vec::new(), user: None, standing });
            rivals.extend(attempts.last().cloned());
        }
        let shared_out = self.doubts.shared_out.actions.keys().filter(|(on, _)| on == stack);
        started.extend(shared_out.map(|(_, action)| *action));
        let user_now = self.accounts.get(account).and_then(|access| access.token.user.as_ref());
        let watched: Vec<(&Key, Attempt)> = (self.doubts.resent.iter())
            .filter(|(_, watched)| watched.is_of(account, stack))
            .filter_map(|(key, one)| Some((key, one.attempt(now, ahead, &reading.actions, user_now)?)))
            .collect();
        let candidates = candidates(reading.actions.clone(), &started);
        let (watched_keys, spans): (Vec<&Key>, Vec<Attempt>) = watched.into_iter().unzip();
        let is_new = |key: &Key, id| self.doubts.resent.get(key).is_some_and(|one| !one.has_told(id));
        let surplus: Vec<(Key, ActionId)> = surplus(&spans, &rivals, &candidates)
            .into_iter()
            .filter(|&(one, id)| is_new(watched_keys[one], id))
            .map(|(one, id)| (watched_keys[one].clone(), id))
            .collect();
        let judgement = judge(&attempts, &candidates, self.doubts.is_user_shared(stack, now));
        let mut is_contradicted = false;
        let mut verdicts: Vec<(Id, AttemptVerdict)> = Vec::new();
        for (place, (id, ours)) in ids.iter().enumerate().take(judged) {
            let Some(by_list) = judgement.verdicts.get(place).filter(|_| *ours).cloned() else { continue };
            let attempt = &attempts[place];
            let verdict = match jobs[place].and_then(|job| Some((job, records.get(job)?))) {
                None => by_list,
                Some((job, record)) => {
                    let may_be_of_job =
                        |other: usize| other != place && jobs[other].is_none_or(|its| its == job);
                    let of_job = known.jobs.iter().filter(|(_, its)| *its == job);
                    let background = JobFacts {
                        runs: of_job.map(|(&action, _)| KnownRun::of(action, &reading.actions)).collect(),
                        others: (0..attempts.len()).any(may_be_of_job),
                        moved_with: self.doubts.moved_with.get(&(stack.clone(), job.clone())).copied(),
                    };
                    let testimony = testify(record, attempt, &background);
                    let fitting: Vec<&Action> =
                        candidates.iter().filter(|action| attempt.is_shown_by(action)).collect();
                    let is_over = attempt.standing == StillPossible::Over;
                    let weighed = weigh(by_list.clone(), testimony, is_over, record, &fitting);
                    is_contradicted |= weighed != by_list;
                    weighed
                }
            };
            verdicts.push((*id, verdict));
        }
        // An attempt by another account is judged when that account asks, by the same actions.
        let is_whole = ids.iter().all(|(_, ours)| *ours) && keys.len() + in_flight.len() == attempts.len();
        Verdicts { verdicts, surplus, keys, judgement, is_certain: is_whole && !is_contradicted }
    }

    /// Takes in what a judgement says besides its verdicts.
    pub(super) fn takes_in(
        &mut self,
        (account, stack): &(AccountName, StackUid),
        verdicts: &Verdicts,
        now: Now,
    ) {
        if verdicts.judgement.is_user_shared {
            self.doubts.shared_users.insert(stack.clone(), (now.mono, account.clone()));
        }
        if verdicts.is_certain {
            self.share_out(stack, &verdicts.keys, &verdicts.judgement, now);
        }
    }

    /// Remembers which attempts own which actions together, so that neither competes with others
    /// from now on.
    fn share_out(&mut self, stack: &StackUid, keys: &[Key], judgement: &Judgement, now: Now) {
        self.doubts.shared_out.forget_past(now);
        let mut own: HashSet<ActionId> = HashSet::new();
        for (key, verdict) in keys.iter().zip(&judgement.verdicts) {
            // An action of an occurrence that is sent again is told as surplus once another action
            // of it is known.
            if let AttemptVerdict::Started(action) = verdict
                && (self.doubts.resent.contains_key(key)
                    || self.occurrences.id_of(key).is_some() && !self.is_open(key))
            {
                own.extend(action.as_ref().and_then(|action| action.id));
            } else if matches!(verdict, AttemptVerdict::Started(_)) {
                self.doubts.unnamed.retain(|(unnamed, _)| unnamed != key);
                self.doubts.shared_out.occurrences.insert(key.clone(), now.mono);
            }
        }
        let owned = judgement
            .owned
            .iter()
            .filter(|action| !own.contains(action))
            .map(|action| ((stack.clone(), *action), now.mono));
        self.doubts.shared_out.actions.extend(owned);
    }

    /// Returns true when an attempt of an occurrence is in doubt.
    fn is_open(&self, key: &Key) -> bool {
        self.occurrences.id_of(key).is_some_and(|id| self.doubts.open.contains_key(&id))
    }

    /// Returns the user whose actions a token starts, unless an action in the list that is known to
    /// be ours says otherwise.
    fn user_of(
        &self,
        account: &AccountName,
        token: TokenOwner,
        actions: &[Action],
        known: &HashSet<ActionId>,
    ) -> Option<String> {
        let access = self.accounts.get(account)?;
        let user =
            access.token.user.clone().filter(|_| token == TokenOwner::OfReload(access.token.reloads))?;
        let ours = actions.iter().filter(|action| action.id.is_some_and(|id| known.contains(&id)));
        let agree = ours.filter_map(|action| action.user.as_ref()).all(|other| *other == user);
        agree.then_some(user)
    }

    pub(super) fn in_flight_on(&self, stack: &StackUid) -> Vec<Flying> {
        let fires = self.requests.values().filter_map(|request| match request {
            InFlight::Fire(_, id, left) => Some((self.occurrences.get(*id)?, *left)),
            _ => None,
        });
        let on_stack = fires.filter(|(pending, _)| pending.entry.stack == *stack);
        on_stack.map(|(pending, left)| Flying { left, job: pending.entry.job.clone() }).collect()
    }
}
