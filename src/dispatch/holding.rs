//! Keeps occurrences back by the state of their stacks ([`super::stack_state`]): `stack_state:
//! hold` and `skip`.

use std::time::Duration;

use super::admission::Came;
use super::stack_state::{ANSWERED_WITHIN, BELIEVED, EVERY, StackVerdict, Subject};
use super::{Dispatch, Effect, Id, InFlight, PendingPlace, Planned, Request, RequestId, log};
use crate::clock::{Mono, Now};
use crate::cloud66::{Looked, Obstacle, Reply};
use crate::log::event::{OccurrenceWaiting, StackUnasked};
use crate::quota::{Purpose, Refusal};
use crate::schedule::{AccountName, StackState};
use crate::timetable::excluded;

/// Number of requests that must be left before a look is sent: the last one is kept for run_now.
const LEAVES_ONE: u32 = 2;

/// Where nothing is known to be left, one request goes to find out. With a quota of fewer requests
/// it may be all that there is, and is for the job.
const FINDS_OUT: u32 = 20;

/// The decision on an occurrence whose turn has come.
pub(super) enum Turn {
    /// It may be sent.
    Goes,
    /// It waits, or has ended.
    Stays,
    /// It may be sent, and nobody can look at these: there is no quota for it.
    GoesUnseen(Vec<Subject>, String),
}

/// The result of asking for a look.
enum Asking {
    /// The answer is awaited, or will be as soon as a request has ended.
    UnderWay,
    /// It cannot be asked for, as this says.
    Refused(String),
}

impl Dispatch {
    /// Looks at what is soon needed, and at what keeps something back.
    pub(super) fn look_around(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.looks.tidy(now.mono, |subject| self.occurrences.is_needed(subject));
        while let Some(id) = self.occurrences.next_look(now.wall) {
            let Some(pending) = self.occurrences.get(id) else {
                continue;
            };
            let Planned { entry, scheduled_at, due_at, .. } = &**pending;
            if self.is_paused(entry, *due_at) || excluded(entry, *scheduled_at).is_some() {
                continue;
            }
            let due_at = now.mono + now.until(pending.due_at);
            if let StackVerdict::Unknown(missing) = self.verdict(&pending.subjects(), due_at) {
                for subject in missing {
                    // Without quota it is tried again when the occurrence is due.
                    let _ = self.look_at(&subject, now, effects);
                }
            }
        }
        while let Some(subject) = self.looks.next_timer(now.mono) {
            self.times_out(&subject, now, effects);
        }
    }

    /// Returns whether an occurrence whose turn has come may be sent, as far as its stack and its
    /// job are known.
    pub(super) fn takes_its_turn(&mut self, id: Id, now: Now, effects: &mut Vec<Effect>) -> Turn {
        let Some(subjects) = self.occurrences.get(id).map(|pending| pending.subjects()) else {
            return Turn::Goes;
        };
        let missing = match self.verdict(&subjects, now.mono) {
            StackVerdict::Clear => return Turn::Goes,
            StackVerdict::Obstacle(obstacle) => {
                self.meets(id, obstacle, now, effects);
                for subject in &subjects {
                    self.look_again(subject, EVERY, now);
                }
                return Turn::Stays;
            }
            StackVerdict::Unknown(missing) => missing,
        };
        let mut refused = None;
        for subject in &missing {
            if let Asking::Refused(error) = self.look_at(subject, now, effects) {
                refused = Some(error);
            }
        }
        match refused {
            // Another answer that is awaited may still keep it.
            Some(error) if !missing.iter().any(|subject| self.looks.is_under_way(subject)) => {
                Turn::GoesUnseen(missing, error)
            }
            _ => {
                self.occurrences.move_to(id, PendingPlace::Stack);
                Turn::Stays
            }
        }
    }

    /// Notes that an occurrence is sent although these could not be looked at.
    pub(super) fn goes_unseen(
        &mut self,
        subjects: Vec<Subject>,
        error: &str,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        for subject in subjects {
            let is_needed = self.occurrences.is_needed(&subject);
            let told = self.looks.failed(&subject, error.to_owned(), is_needed, now.mono);
            effects.extend(told.map(|error| log(StackUnasked { stack: subject.stack, error })));
        }
    }

    /// The reply to a look.
    pub fn looked(&mut self, id: RequestId, reply: Reply<Looked>, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(InFlight::Look(admitted, subject)) = self.requests.remove(&id) else {
            return effects;
        };
        let is_seen = matches!(reply.outcome, Looked::Seen(_));
        let came = if is_seen { Came::AsAsked } else { Came::Otherwise };
        self.settle(&subject.account, admitted, reply.quota, came, now, &mut effects);
        let is_needed = self.occurrences.is_needed(&subject);
        let told = self.looks.answered(&subject, reply.outcome, is_needed, now.mono);
        effects.extend(told.map(|error| log(StackUnasked { stack: subject.stack.clone(), error })));
        self.reconsider(&subject, now, &mut effects);
        effects
    }

    /// Asks for what could not be asked for while other requests were in flight.
    pub(super) fn look_postponed(&mut self, account: &AccountName, now: Now, effects: &mut Vec<Effect>) {
        for subject in self.looks.postponed(account) {
            if let Asking::Refused(_) = self.look_at(&subject, now, effects) {
                self.looks.drop_postponed(&subject);
                self.send_on(&subject);
            }
        }
    }

    /// An occurrence meets with an obstacle: its policy decides.
    fn meets(&mut self, id: Id, obstacle: Obstacle, now: Now, effects: &mut Vec<Effect>) {
        let Some(pending) = self.occurrences.get_mut(id) else {
            return;
        };
        if pending.entry.stack_state == StackState::Skip {
            return self.skip(id, obstacle.into(), now, effects);
        }
        pending.history.goes_on = true;
        if pending.history.obstacle.replace(obstacle) != Some(obstacle) {
            effects.push(log(OccurrenceWaiting {
                entry: pending.entry.name.clone(),
                scheduled_at: pending.scheduled_at,
                pass: pending.pass.into(),
                reason: obstacle.into(),
                until: None,
            }));
            effects.extend(pending.record_waiting(obstacle.into()));
        }
        if pending.place() != PendingPlace::Stack {
            self.occurrences.move_to(id, PendingPlace::Stack);
        }
    }

    /// Something is known of a stack or a job, or will not be: what waits for it is looked at
    /// again.
    fn reconsider(&mut self, subject: &Subject, now: Now, effects: &mut Vec<Effect>) {
        for id in self.occurrences.kept(subject) {
            let Some(subjects) = self.occurrences.get(id).map(|pending| pending.subjects()) else {
                continue;
            };
            match self.verdict(&subjects, now.mono) {
                StackVerdict::Obstacle(obstacle) => self.meets(id, obstacle, now, effects),
                StackVerdict::Unknown(missing)
                    if missing.iter().any(|other| self.looks.is_under_way(other)) => {}
                StackVerdict::Unknown(_) | StackVerdict::Clear => {
                    self.occurrences.move_to(id, PendingPlace::Ready)
                }
            }
        }
        let interval = self.interval(&subject.account);
        self.look_again(subject, interval, now);
    }

    fn verdict(&self, subjects: &[Subject], at: Mono) -> StackVerdict {
        self.looks.verdict(subjects, at, |subject| self.occurrences.is_needed(subject))
    }

    /// Has an obstacle looked at again that keeps something back.
    fn look_again(&mut self, subject: &Subject, interval: Duration, now: Now) {
        if self.occurrences.is_needed(subject) {
            self.looks.look_again(subject, interval, now.mono);
        }
    }

    /// Gives the occurrences that wait for a subject their turn again.
    fn send_on(&mut self, subject: &Subject) {
        for id in self.occurrences.kept(subject) {
            self.occurrences.move_to(id, PendingPlace::Ready);
        }
    }

    /// From one look to the next at what keeps something back: all of them together use no more
    /// than the quota has for questions.
    fn interval(&self, account: &AccountName) -> Duration {
        let Some(access) = self.accounts.get(account) else {
            return BELIEVED;
        };
        let obstacles = self.occurrences.needed(account).filter(|subject| self.looks.shows_obstacle(subject));
        let obstacles = u32::try_from(obstacles.count()).unwrap_or(u32::MAX);
        let fair = access.account().quota.window.saturating_mul(obstacles)
            / self.quotas.quota(access.admission.quota).background_share().max(1);
        fair.clamp(EVERY, BELIEVED)
    }

    /// Its time has come: to be asked for again, or to be awaited no longer.
    fn times_out(&mut self, subject: &Subject, now: Now, effects: &mut Vec<Effect>) {
        if self.looks.is_in_flight(subject) || self.looks.drop_postponed(subject) {
            let is_needed = self.occurrences.is_needed(subject);
            let told = self.looks.failed(subject, unanswered(), is_needed, now.mono);
            effects.extend(told.map(|error| log(StackUnasked { stack: subject.stack.clone(), error })));
            return self.reconsider(subject, now, effects);
        }
        if !self.occurrences.is_needed(subject) {
            return;
        }
        if let Asking::Refused(_) = self.look_at(subject, now, effects) {
            match self.verdict(std::slice::from_ref(subject), now.mono) {
                StackVerdict::Obstacle(_) => {
                    let interval = self.interval(&subject.account);
                    self.looks.look_later(subject, now.mono + interval);
                }
                StackVerdict::Clear | StackVerdict::Unknown(_) => self.send_on(subject),
            }
        }
    }

    /// Asks for a stack or a job, unless its answer is awaited.
    fn look_at(&mut self, subject: &Subject, now: Now, effects: &mut Vec<Effect>) -> Asking {
        if self.looks.is_in_flight(subject) {
            return match self.looks.is_under_way(subject) {
                true => Asking::UnderWay,
                false => Asking::Refused(unanswered()),
            };
        }
        let id = RequestId(self.number());
        let Some(access) = self.accounts.get_mut(&subject.account) else {
            return Asking::Refused("the account is no longer in the schedule".to_owned());
        };
        let quota = self.quotas.quota(access.admission.quota);
        let left = quota.available(now);
        let finds_out = left == 0 && quota.limit().saturating_sub(quota.reserve()) >= FINDS_OUT;
        if left < LEAVES_ONE && !finds_out {
            return Asking::Refused("the last request that the quota has left is for the job".to_owned());
        }
        match access.admission.admit(&mut self.quotas, Purpose::Check, now) {
            Ok(admitted) => {
                self.looks.asked(subject, now.mono);
                let Subject { account, stack, job } = subject.clone();
                effects.push(Effect::Send(id, Request::Look { account, stack, job }));
                self.requests.insert(id, InFlight::Look(admitted, subject.clone()));
                Asking::UnderWay
            }
            Err(Refusal::InFlight) => {
                self.looks.postpone(subject.clone(), now.mono);
                Asking::UnderWay
            }
            Err(Refusal::Until(until)) => {
                Asking::Refused(format!("no quota is left to ask with until {:.0}", until.wall))
            }
        }
    }
}

fn unanswered() -> String {
    format!("no answer has come within {} s", ANSWERED_WITHIN.as_secs())
}
