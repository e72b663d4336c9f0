//! Asks for actions until they have finished, and takes in what the answers say.

use std::sync::Arc;
use std::time::Duration;

use super::admission::Came;
use super::follow::{FollowQuestion, Following, FoundAction};
use super::linked_key::LinkedKey;
use super::replies::warned;
use super::{Dispatch, Effect, InFlight, Request, RequestId, log, ms};
use crate::clock::Now;
use crate::cloud66::masking;
use crate::cloud66::reply::LONGEST_WARNING;
use crate::cloud66::{Action, ActionsListed, FollowUp, Reply};
use crate::journal::Transition;
use crate::log::event::{ActionFinished, ActionQuick, ActionSlow, ActionUnfinished, Seldom};
use crate::quota::Purpose;
use crate::schedule::{AccountName, StackUid};

/// Why a page of actions was asked for.
enum Asked {
    /// Actions of this stack may be of attempts in doubt.
    InDoubt(StackUid),
    /// These should be on this page.
    Sought(u32, Vec<Following>),
}

impl Dispatch {
    /// Asks for the actions that are due, as far as the quota admits it.
    pub(super) fn follow_up(&mut self, account: &AccountName, now: Now, effects: &mut Vec<Effect>) {
        loop {
            let request = RequestId(self.number());
            let Some(access) = self.accounts.get_mut(account).filter(|access| access.follow.due(now)) else {
                return;
            };
            let Ok(admitted) = access.admission.admit(&mut self.quotas, Purpose::FollowUp, now) else {
                return;
            };
            let Some(question) = access.follow.take(now) else {
                return;
            };
            let account = account.clone();
            let (question, in_flight) = match question {
                FollowQuestion::One(following) => {
                    let stack = following.entry.stack.clone();
                    let question = Request::Action(account, stack, following.action);
                    (question, InFlight::Follow(admitted, following))
                }
                FollowQuestion::Page(stack, page, sought) => {
                    let in_flight = InFlight::FollowPage(admitted, account.clone(), page, sought);
                    (Request::Actions { account, stack, page, purpose: Purpose::FollowUp }, in_flight)
                }
            };
            effects.push(Effect::Send(request, question));
            self.requests.insert(request, in_flight);
        }
    }

    /// The reply to a question for an action.
    pub fn followed(&mut self, id: RequestId, reply: Reply<FollowUp>, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(InFlight::Follow(admitted, following)) = self.requests.remove(&id) else {
            return effects;
        };
        let entry = Arc::clone(&following.entry);
        let is_answer = matches!(reply.outcome, FollowUp::Action(_));
        let came = if is_answer { Came::AsAsked } else { Came::Otherwise };
        self.settle(&entry.account.name, admitted, reply.quota, came, now, &mut effects);
        if let Some(warning) = reply.warning {
            let warning = masking::masked_and_cut(entry.args.as_deref(), &warning, LONGEST_WARNING);
            effects.push(warned(&entry, warning));
        }
        self.answered(following, reply.outcome, now, &mut effects);
        effects
    }

    /// The reply to a question for a page of actions.
    pub fn listed(&mut self, id: RequestId, reply: Reply<ActionsListed>, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let request = self.requests.remove(&id);
        let (admitted, account, asked) = match request {
            Some(InFlight::FollowPage(admitted, account, page, sought)) => {
                (admitted, account, Asked::Sought(page, sought))
            }
            Some(InFlight::ActionLookup(admitted, account, stack)) => {
                (admitted, account, Asked::InDoubt(stack))
            }
            _ => return effects,
        };
        let is_page = matches!(reply.outcome, ActionsListed::Page(_));
        let came = if is_page { Came::AsAsked } else { Came::Otherwise };
        self.settle(&account, admitted, reply.quota, came, now, &mut effects);
        match asked {
            Asked::InDoubt(stack) => self.read(account, stack, reply.outcome, now, &mut effects),
            Asked::Sought(page, sought) => {
                self.sought(&account, page, sought, reply.outcome, now, &mut effects)
            }
        }
        effects
    }

    /// A page was asked for, on which these should be.
    fn sought(
        &mut self,
        account: &AccountName,
        number: u32,
        sought: Vec<Following>,
        listed: ActionsListed,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(access) = self.accounts.get_mut(account) else {
            return;
        };
        let ActionsListed::Page(page) = listed else {
            for following in sought {
                self.answered(following.alone_once(), FollowUp::Unanswered, now, effects);
            }
            return;
        };
        for found in access.follow.find(number, page, sought) {
            match found {
                FoundAction::There(following, action) => {
                    self.answered(following, FollowUp::Action(action), now, effects);
                }
                FoundAction::Elsewhere(following) => {
                    if let Some(access) = self.accounts.get_mut(account) {
                        access.follow.at_once(following, now);
                    }
                }
            }
        }
    }

    fn answered(&mut self, mut following: Following, outcome: FollowUp, now: Now, effects: &mut Vec<Effect>) {
        let entry = Arc::clone(&following.entry);
        let ended = match outcome {
            FollowUp::Action(action) if action.finished() => {
                self.learns_from(&entry, &action, now, effects);
                self.finished(&following, *action, now, effects);
                true
            }
            FollowUp::Gone { error } => {
                let error = masking::masked(entry.args.as_deref(), &error);
                self.unfinished(&following, format!("the API does not know it: {error}"), now, effects);
                true
            }
            FollowUp::Action(_) | FollowUp::Unanswered if following.given_up(now) => {
                self.unfinished(&following, "it did not finish within a day".to_owned(), now, effects);
                true
            }
            FollowUp::Action(_) => {
                effects.extend(slow(&mut following, None, now));
                false
            }
            FollowUp::Unanswered => false,
        };
        if ended {
            self.occurrences.activity_mut(&entry.name).unfinished.remove(&following.action);
            self.release(&entry.name);
        } else if let Some(access) = self.accounts.get_mut(&entry.account.name) {
            access.follow_later(following, &self.quotas, now);
        }
    }

    /// An action came to its end.
    pub(super) fn finished(
        &mut self,
        following: &Following,
        action: Action,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let action = masking::action(following.entry.args.as_deref(), action);
        let watched = ms(now.wall.duration_since(following.sent_at));
        let end = Transition::Finished {
            success: action.finished_success,
            finished_at: action.finished_at.as_deref().and_then(|at| at.parse().ok()).unwrap_or(now.wall),
            message: action.finished_message.clone(),
        };
        let duration_ms = action.duration_ms().unwrap_or(watched);
        // A daemon that was down meanwhile has not told while the action ran.
        let told = slow(&mut following.clone(), Some(duration_ms), now);
        effects.extend(told.into_iter().filter(|effect| matches!(effect, Effect::Log(_))));
        let LinkedKey { key, origin } = following.ending.clone();
        let (retry_of, retry) = origin.retry_fields();
        let (scheduled_at, pass) = (key.scheduled_at(), key.pass().into());
        let retry_at = Seldom(self.ends(LinkedKey { key, origin }, end, now, effects));
        effects.push(log(ActionFinished {
            entry: following.entry.name.clone(),
            stack: following.entry.stack.clone(),
            job: following.entry.job.clone(),
            scheduled_at,
            pass,
            retry_of,
            retry,
            retry_at,
            duration_ms: Some(duration_ms),
            action,
        }));
        effects.extend(quick(following, duration_ms));
    }

    /// An action that is not asked for any more, though it has not finished.
    fn unfinished(&mut self, following: &Following, reason: String, now: Now, effects: &mut Vec<Effect>) {
        let key = &following.ending.key;
        effects.push(log(ActionUnfinished {
            entry: following.entry.name.clone(),
            stack: following.entry.stack.clone(),
            job: following.entry.job.clone(),
            scheduled_at: key.scheduled_at(),
            pass: key.pass().into(),
            action_id: following.action,
            reason: reason.clone(),
        }));
        let end = Transition::Unfollowed { reason: reason.into() };
        self.ends(following.ending.clone(), end, now, effects);
    }
}

/// Tells, once, that an action runs longer than its entry expects. `ran` is how long it ran, once
/// it has ended.
fn slow(following: &mut Following, ran: Option<i64>, now: Now) -> Vec<Effect> {
    let Some((within, watched)) = following.runs_over(now) else {
        return Vec::new();
    };
    let (after_ms, expected_ms) = (ran.unwrap_or(ms(watched)), whole_ms(within));
    if after_ms < expected_ms {
        return Vec::new();
    }
    following.told_slow = true;
    let told = log(ActionSlow {
        entry: following.entry.name.clone(),
        stack: following.entry.stack.clone(),
        job: following.entry.job.clone(),
        scheduled_at: following.ending.key.scheduled_at(),
        pass: following.ending.key.pass().into(),
        action_id: following.action,
        after_ms,
        expected_ms,
    });
    vec![told, Effect::Record(following.ending.key.clone(), Transition::Slow)]
}

/// Tells that an action ended sooner than its entry expects.
fn quick(following: &Following, after_ms: i64) -> Option<Effect> {
    let expected_ms = whole_ms(following.entry.expect.as_ref()?.at_least?);
    (after_ms < expected_ms).then(|| {
        log(ActionQuick {
            entry: following.entry.name.clone(),
            stack: following.entry.stack.clone(),
            job: following.entry.job.clone(),
            scheduled_at: following.ending.key.scheduled_at(),
            pass: following.ending.key.pass().into(),
            action_id: following.action,
            after_ms,
            expected_ms,
        })
    })
}

fn whole_ms(duration: Duration) -> i64 {
    duration.as_millis().try_into().unwrap_or(i64::MAX)
}
