//! Keeps occurrences back by the state of their stacks ([`super::stack_state`]): `stack_state:
//! hold` and `skip`.

use std::time::Duration;

use super::stack_state::{ANSWERED_WITHIN, BELIEVED, EVERY, Subject, Verdict};
use super::{Dispatch, Effect, Haste, Id, InFlight, Pending, Place, Request, RequestId, log};
use crate::clock::Now;
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

impl Pending {
    /// Returns the stack, and where needed the job, that are looked at before the occurrence is
    /// sent.
    pub(super) fn subjects(&self) -> Vec<Subject> {
        match self.haste {
            Haste::Usual => Subject::of(&self.entry),
            Haste::Now => Vec::new(),
        }
    }
}

impl Dispatch {
    /// An occurrence is planned: its stack will be looked at ahead of its instant.
    pub(super) fn plans_look(&mut self, id: Id) {
        let Some(pending) = self.pending.get(&id) else {
            return;
        };
        if pending.place == Place::Future && pending.entry.stack_state != StackState::Ignore {
            self.looks.plan(pending.due_at, id);
        }
    }

    /// Looks at what is soon needed, and at what keeps something back.
    pub(super) fn look_around(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.looks.tidy(now.mono);
        while let Some(id) = self.looks.next_ahead(now.wall) {
            // An occurrence that is due by now looks when its turn comes.
            let Some(pending) = self.pending.get(&id).filter(|pending| pending.place == Place::Future) else {
                continue;
            };
            let Pending { entry, scheduled_at, due_at, .. } = pending;
            if self.is_paused(entry, *due_at) || excluded(entry, *scheduled_at).is_some() {
                continue;
            }
            let due_at = now.mono + now.until(pending.due_at);
            if let Verdict::Unknown(missing) = self.looks.verdict(&pending.subjects(), due_at) {
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

    /// Whether an occurrence whose turn has come may be sent, as far as its stack and its job are
    /// known.
    pub(super) fn takes_its_turn(&mut self, id: Id, now: Now, effects: &mut Vec<Effect>) -> Turn {
        let Some(pending) = self.pending.get(&id) else {
            return Turn::Goes;
        };
        let subjects = pending.subjects();
        let missing = match self.looks.verdict(&subjects, now.mono) {
            Verdict::Clear => return Turn::Goes,
            Verdict::Obstacle(obstacle) => {
                self.meets(id, obstacle, now, effects);
                for subject in &subjects {
                    self.looks.look_again(subject, EVERY, now.mono);
                }
                return Turn::Stays;
            }
            Verdict::Unknown(missing) => missing,
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
                self.keep_back(id);
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
            let told = self.looks.failed(&subject, error.to_owned(), now.mono);
            effects.extend(told.map(|error| log(StackUnasked { stack: subject.stack, error })));
        }
    }

    /// The reply to a look.
    pub fn looked(&mut self, id: RequestId, reply: Reply<Looked>, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(InFlight::Look(ticket, subject)) = self.requests.remove(&id) else {
            return effects;
        };
        if let Some(lane) = self.lanes.get_mut(&subject.account) {
            lane.in_flight -= 1;
            if matches!(reply.outcome, Looked::Seen(_)) {
                lane.trouble.answered();
            }
            lane.settle(ticket, reply.quota, false, now, &mut effects);
        }
        let told = self.looks.answered(&subject, reply.outcome, now.mono);
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

    /// An occurrence stays until its stack is known, or an obstacle is over.
    fn keep_back(&mut self, id: Id) {
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        let was = std::mem::replace(&mut pending.place, Place::Stack);
        let subjects = pending.subjects();
        if let Some(lane) = self.lanes.get_mut(&pending.entry.account.name) {
            lane.take_out(was, pending.rank(id));
            lane.put_in(Place::Stack, pending.rank(id));
        }
        let activity = self.activity.entry(pending.entry.name.clone()).or_default();
        activity.waiting.remove(&id);
        activity.by_stack.insert(id);
        self.looks.keep(id, &subjects);
    }

    /// An occurrence meets with an obstacle: its policy decides.
    fn meets(&mut self, id: Id, obstacle: Obstacle, now: Now, effects: &mut Vec<Effect>) {
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        if pending.entry.stack_state == StackState::Skip {
            return self.skip(id, obstacle.into(), now, effects);
        }
        pending.goes_on = true;
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
        if pending.place != Place::Stack {
            self.keep_back(id);
        }
    }

    /// Something is known of a stack or a job, or will not be: what waits for it is looked at
    /// again.
    fn reconsider(&mut self, subject: &Subject, now: Now, effects: &mut Vec<Effect>) {
        for id in self.looks.kept(subject) {
            let Some(pending) = self.pending.get(&id) else {
                continue;
            };
            match self.looks.verdict(&pending.subjects(), now.mono) {
                Verdict::Obstacle(obstacle) => self.meets(id, obstacle, now, effects),
                Verdict::Unknown(missing) if missing.iter().any(|other| self.looks.is_under_way(other)) => {}
                Verdict::Unknown(_) | Verdict::Clear => self.make_ready(id),
            }
        }
        let interval = self.interval(&subject.account);
        self.looks.look_again(subject, interval, now.mono);
    }

    /// Gives the occurrences that wait for a subject their turn again.
    fn send_on(&mut self, subject: &Subject) {
        for id in self.looks.kept(subject) {
            self.make_ready(id);
        }
    }

    /// From one look to the next at what keeps something back: all of them together use no more
    /// than the quota has for questions.
    fn interval(&self, account: &AccountName) -> Duration {
        let Some(lane) = self.lanes.get(account) else {
            return BELIEVED;
        };
        let fair = lane.account().quota.window.saturating_mul(self.looks.obstacles(account))
            / lane.quota.background_share().max(1);
        fair.clamp(EVERY, BELIEVED)
    }

    /// Its time has come: to be asked for again, or to be awaited no longer.
    fn times_out(&mut self, subject: &Subject, now: Now, effects: &mut Vec<Effect>) {
        if self.looks.is_in_flight(subject) || self.looks.drop_postponed(subject) {
            let told = self.looks.failed(subject, unanswered(), now.mono);
            effects.extend(told.map(|error| log(StackUnasked { stack: subject.stack.clone(), error })));
            return self.reconsider(subject, now, effects);
        }
        if self.looks.kept(subject).is_empty() {
            return;
        }
        if let Asking::Refused(_) = self.look_at(subject, now, effects) {
            match self.looks.verdict(std::slice::from_ref(subject), now.mono) {
                Verdict::Obstacle(_) => {
                    let interval = self.interval(&subject.account);
                    self.looks.look_later(subject, now.mono + interval);
                }
                Verdict::Clear | Verdict::Unknown(_) => self.send_on(subject),
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
        let Some(lane) = self.lanes.get_mut(&subject.account) else {
            return Asking::Refused("the account is no longer in the schedule".to_owned());
        };
        let left = lane.quota.available(now);
        let finds_out = left == 0 && lane.quota.limit().saturating_sub(lane.quota.reserve()) >= FINDS_OUT;
        if left < LEAVES_ONE && !finds_out {
            return Asking::Refused("the last request that the quota has left is for the job".to_owned());
        }
        match lane.admit(Purpose::Check, now) {
            Ok(ticket) => {
                lane.leaves();
                self.looks.asked(subject, now.mono);
                let Subject { account, stack, job } = subject.clone();
                effects.push(Effect::Send(id, Request::Look { account, stack, job }));
                self.requests.insert(id, InFlight::Look(ticket, subject.clone()));
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
