//! What a reply makes of an occurrence or of an action that is followed.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::admission::Came;
use super::follow::{Following, Found};
use super::in_doubt::{InDoubtReport, Token};
use super::linked_key::LinkedKey;
use super::{Dispatch, Effect, Id, InFlight, Place, Refused, RequestId, log, ms};
use crate::clock::Now;
use crate::cloud66::masking;
use crate::cloud66::reply::LONGEST_WARNING;
use crate::cloud66::{Action, ActionsListed, FollowUp, Outcome, Reply};
use crate::journal::{Started, Transition};
use crate::log::event::{
    ActionFinished, ActionQuick, ActionSlow, ActionStarted, ActionUnfinished, ApiWarning, OccurrenceRejected,
    OccurrenceRetrying, OccurrenceUnknown, Seldom,
};
use crate::occurrence::Reason;
use crate::quota::Verdict;
use crate::schedule::{AccountName, Entry, Overlap, StackUid};

/// Why a page of actions was asked for.
enum Asked {
    /// Actions of this stack may be of attempts in doubt.
    InDoubt(StackUid),
    /// These should be on this page.
    Sought(u32, Vec<Following>),
}

impl Dispatch {
    /// The reply to a request that `advance` sent. `sent_at` is when it left.
    pub fn fired(
        &mut self,
        id: RequestId,
        sent_at: Timestamp,
        reply: Reply<Outcome>,
        now: Now,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(InFlight::Fire(ticket, id, left)) = self.requests.remove(&id) else {
            return effects;
        };
        let Some(pending) = self.occurrences.get(id) else {
            return effects;
        };
        let entry = Arc::clone(&pending.entry);
        let Some(lane) = self.lanes.get_mut(&entry.account.name) else {
            return effects;
        };
        let verdict = lane.judge(reply.quota.as_ref());
        lane.trouble.fired(&entry.name, &reply.outcome, now.wall);
        let came = match reply.outcome {
            Outcome::NotSent { .. } | Outcome::Unsendable { .. } => Came::NeverSent,
            _ => Came::Otherwise,
        };
        lane.settle(ticket, reply.quota, came, now, &mut effects);
        let (limit, remaining) =
            (lane.admission.quota.limit(), reply.quota.and_then(|answer| answer.remaining));
        if let Some(warning) = reply.warning {
            effects.push(warned(&entry, warning));
        }
        match reply.outcome {
            Outcome::Started(action) => {
                if pending.history.token == Some(lane.token.reloads) && action.user.is_some() {
                    lane.token.user.clone_from(&action.user);
                }
                let connect = reply.left.map(|left| left.connect);
                self.started(id, *action, (sent_at, connect), limit, remaining, now, &mut effects);
            }
            Outcome::Rejected { status, error, .. } if pending.history.doubt.is_some() => {
                let doubt = pending.history.doubt.as_ref().map_or("", |doubt| &doubt.error);
                let error = format!("{doubt}; then it was refused with {status}: {error}");
                self.unknown(id, error, now, &mut effects);
            }
            Outcome::Rejected { status, error, hint } => {
                let (scheduled_at, pass) = (pending.scheduled_at, pending.pass.into());
                let (ending, (retry_of, retry)) = (pending.linked_key(), pending.origin.retry_fields());
                lane.refused =
                    Some(Refused { entry: entry.name.clone(), at: now.wall, status, error: error.clone() });
                let end = Transition::Rejected { status: Some(status), error: error.clone() };
                effects.push(log(OccurrenceRejected {
                    entry: entry.name.clone(),
                    scheduled_at,
                    pass,
                    retry_of,
                    retry,
                    status: Some(status),
                    error,
                    hint,
                }));
                self.ends(ending, end, now, &mut effects);
                self.occurrences.leave(id);
            }
            Outcome::Unsendable { error } => {
                let (scheduled_at, pass) = (pending.scheduled_at, pending.pass.into());
                let (ending, (retry_of, retry)) = (pending.linked_key(), pending.origin.retry_fields());
                let end = Transition::Rejected { status: None, error: error.clone() };
                effects.push(log(OccurrenceRejected {
                    entry: entry.name.clone(),
                    scheduled_at,
                    pass,
                    retry_of,
                    retry,
                    status: None,
                    error,
                    hint: "correct the entry: its request cannot be sent as it is".to_owned(),
                }));
                self.ends(ending, end, now, &mut effects);
                self.occurrences.leave(id);
            }
            Outcome::Throttled { status, .. } if verdict == Some(Verdict::Burst) => {
                let error =
                    "refused by a limit on bursts of requests: the API does not say that the quota is spent";
                self.retry(id, error.to_owned(), Some(status), now, &mut effects);
            }
            Outcome::NotFromApi { status, error } => self.retry(id, error, Some(status), now, &mut effects),
            Outcome::Throttled { .. } => {
                if self.waits_again(id, now, &mut effects) {
                    let pending = self.occurrences.get_mut(id);
                    effects.extend(pending.and_then(|pending| pending.record_waiting(Reason::Quota)));
                    self.occurrences.move_to(id, Place::Ready);
                }
            }
            Outcome::NotSent { error } => self.retry(id, error, None, now, &mut effects),
            Outcome::InDoubt { status, error } => {
                let token = pending.history.token.map_or(Token::Former, Token::OfReload);
                let came =
                    InDoubtReport { sent_at, left: Some(left.mono), vague: false, token, error, status };
                self.comes_into_doubt(id, came, now, &mut effects);
            }
        }
        self.release(&entry.name);
        effects
    }

    /// The reply to a question for an action.
    pub fn followed(&mut self, id: RequestId, reply: Reply<FollowUp>, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(InFlight::Follow(ticket, following)) = self.requests.remove(&id) else {
            return effects;
        };
        let entry = Arc::clone(&following.entry);
        let Some(lane) = self.lanes.get_mut(&entry.account.name) else {
            return effects;
        };
        let is_answer = matches!(reply.outcome, FollowUp::Action(_));
        let came = if is_answer { Came::AsAsked } else { Came::Otherwise };
        lane.settle(ticket, reply.quota, came, now, &mut effects);
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
        let (ticket, account, asked) = match request {
            Some(InFlight::FollowPage(ticket, account, page, sought)) => {
                (ticket, account, Asked::Sought(page, sought))
            }
            Some(InFlight::ActionLookup(ticket, account, stack)) => (ticket, account, Asked::InDoubt(stack)),
            _ => return effects,
        };
        if let Some(lane) = self.lanes.get_mut(&account) {
            let is_page = matches!(reply.outcome, ActionsListed::Page(_));
            let came = if is_page { Came::AsAsked } else { Came::Otherwise };
            lane.settle(ticket, reply.quota, came, now, &mut effects);
        }
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
        let Some(lane) = self.lanes.get_mut(account) else {
            return;
        };
        let ActionsListed::Page(page) = listed else {
            for following in sought {
                self.answered(following.alone_once(), FollowUp::Unanswered, now, effects);
            }
            return;
        };
        for found in lane.follow.find(number, page, sought) {
            match found {
                Found::There(following, action) => {
                    self.answered(following, FollowUp::Action(action), now, effects);
                }
                Found::Elsewhere(following) => {
                    if let Some(lane) = self.lanes.get_mut(account) {
                        lane.follow.at_once(following, now);
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
        } else if let Some(lane) = self.lanes.get_mut(&entry.account.name) {
            lane.follow_later(following, now);
        }
    }

    /// It may have taken effect, and nothing can tell.
    pub(super) fn unknown(&mut self, id: Id, error: String, now: Now, effects: &mut Vec<Effect>) {
        if let Some(pending) = self.occurrences.get(id) {
            let (retry_of, retry) = pending.origin.retry_fields();
            let ending = pending.linked_key();
            effects.push(log(OccurrenceUnknown {
                entry: pending.entry.name.clone(),
                scheduled_at: pending.scheduled_at,
                pass: pending.pass.into(),
                retry_of,
                retry,
                error: error.clone(),
            }));
            self.ends(ending, Transition::Unknown { error }, now, effects);
        }
        self.occurrences.leave(id);
    }

    #[expect(clippy::too_many_arguments, reason = "each is one field of the event")]
    pub(super) fn started(
        &mut self,
        id: Id,
        action: Action,
        (sent_at, connect): (Timestamp, Option<Duration>),
        quota_limit: u32,
        quota_remaining: Option<u32>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(pending) = self.occurrences.get(id) else {
            return;
        };
        let entry = Arc::clone(&pending.entry);
        let action = masking::action(entry.args.as_deref(), action);
        let ending = pending.linked_key();
        let (retry_of, retry) = ending.origin.retry_fields();
        effects.push(log(ActionStarted {
            entry: entry.name.clone(),
            account: entry.account.name.clone(),
            stack: entry.stack.clone(),
            job: entry.job.clone(),
            scheduled_at: pending.scheduled_at,
            pass: pending.pass.into(),
            retry_of,
            retry,
            sent_at,
            lateness_ms: ms(sent_at.duration_since(pending.due_at)),
            connect_ms: connect.map(|connect| u64::try_from(connect.as_millis()).unwrap_or(u64::MAX)),
            attempts: pending.history.attempts,
            quota_limit,
            quota_remaining,
            action: action.clone(),
        }));
        let follows = entry.follow || entry.overlap != Overlap::Allow;
        let known = match action.id {
            Some(id) if follows => Started::Followed(id),
            id => Started::Alone(id),
        };
        let attempts = pending.history.attempts;
        let start = Transition::Started { attempts, sent_at, action: known };
        if let Started::Followed(_) = known {
            effects.push(Effect::Record(ending.key.clone(), start));
        } else {
            self.ends(ending.clone(), start, now, effects);
        }
        if let Some(first_action) = action.id {
            self.watches_for_surplus(id, first_action, now, effects);
        }
        let Started::Followed(action_id) = known else {
            return self.occurrences.leave(id);
        };
        let following = Following::new(Arc::clone(&entry), ending, action_id, sent_at, now);
        if action.finished() {
            self.finished(&following, action, now, effects);
        } else if let Some(lane) = self.lanes.get_mut(&entry.account.name) {
            self.occurrences.activity_mut(&entry.name).unfinished.insert(action_id);
            lane.follow_later(following, now);
        }
        self.occurrences.leave(id);
    }

    pub(super) fn retry(
        &mut self,
        id: Id,
        error: String,
        status: Option<u16>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if !self.waits_again(id, now, effects) {
            return;
        }
        let Some(pending) = self.occurrences.get_mut(id) else {
            return;
        };
        let delay = self.backoff.after(pending.history.attempts);
        pending.history.error = Some(error.clone());
        (pending.history.waited, pending.history.goes_on) = (true, true);
        effects.extend(pending.record_waiting(Reason::Retry));
        effects.push(log(OccurrenceRetrying {
            entry: pending.entry.name.clone(),
            scheduled_at: pending.scheduled_at,
            pass: pending.pass.into(),
            attempts: pending.history.attempts,
            error,
            status,
            retry_in_ms: delay.as_millis().try_into().unwrap_or(u64::MAX),
        }));
        self.occurrences.move_to(id, Place::Retry(now.mono + delay));
    }
}

fn warned(entry: &Entry, warning: String) -> Effect {
    log(ApiWarning {
        entry: entry.name.clone(),
        account: entry.account.name.clone(),
        stack: entry.stack.clone(),
        warning,
    })
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

impl Dispatch {
    /// An action came to its end.
    fn finished(&mut self, following: &Following, action: Action, now: Now, effects: &mut Vec<Effect>) {
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
