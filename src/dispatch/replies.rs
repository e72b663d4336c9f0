//! The next state of an occurrence by the reply to its run_now.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::admission::Came;
use super::follow::Following;
use super::in_doubt::{InDoubtReport, TokenOwner};
use super::{Dispatch, Effect, FinalRefusal, Id, InFlight, PendingPlace, RequestId, log, ms};
use crate::clock::Now;
use crate::cloud66::masking;
use crate::cloud66::{Action, Outcome, Reply};
use crate::journal::{Started, Transition};
use crate::log::event::{
    ActionStarted, ApiWarning, OccurrenceRejected, OccurrenceRetrying, OccurrenceUnknown,
};
use crate::occurrence::Reason;
use crate::quota::QuotaVerdict;
use crate::schedule::{Entry, Overlap};

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
        let Some(InFlight::Fire(admitted, id, left)) = self.requests.remove(&id) else {
            return effects;
        };
        let Some(entry) = self.occurrences.get(id).map(|pending| Arc::clone(&pending.entry)) else {
            return effects;
        };
        let account = &entry.account.name;
        let verdict = self.quotas.judge(&admitted, reply.quota.as_ref());
        if let Some(access) = self.accounts.get_mut(account) {
            access.trouble.fired(&entry.name, &reply.outcome, now.wall);
        }
        let came = match reply.outcome {
            Outcome::NotSent { .. } | Outcome::Unsendable { .. } => Came::NeverSent,
            _ => Came::Otherwise,
        };
        let number = admitted.quota();
        self.settle(account, admitted, reply.quota, came, now, &mut effects);
        let limit = self.quotas.quota(number).limit();
        let remaining = reply.quota.and_then(|answer| answer.remaining);
        let (Some(pending), Some(access)) = (self.occurrences.get(id), self.accounts.get_mut(account)) else {
            return effects;
        };
        if let Some(warning) = reply.warning {
            effects.push(warned(&entry, warning));
        }
        match reply.outcome {
            Outcome::Started(action) => {
                if pending.history.token == Some(access.token.reloads) && action.user.is_some() {
                    access.token.user.clone_from(&action.user);
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
                access.refused = Some(FinalRefusal {
                    entry: entry.name.clone(),
                    at: now.wall,
                    status,
                    error: error.clone(),
                });
                self.rejected(id, Some(status), error, hint, now, &mut effects);
            }
            Outcome::Unsendable { error } => {
                let hint = "correct the entry: its request cannot be sent as it is".to_owned();
                self.rejected(id, None, error, hint, now, &mut effects);
            }
            Outcome::Throttled { status, .. } if verdict == Some(QuotaVerdict::Burst) => {
                let error =
                    "refused by a limit on bursts of requests: the API does not say that the quota is spent";
                self.retry(id, error.to_owned(), Some(status), now, &mut effects);
            }
            Outcome::NotFromApi { status, error } => self.retry(id, error, Some(status), now, &mut effects),
            Outcome::Throttled { .. } => {
                if self.waits_again(id, now, &mut effects) {
                    let pending = self.occurrences.get_mut(id);
                    effects.extend(pending.and_then(|pending| pending.record_waiting(Reason::Quota)));
                    self.occurrences.move_to(id, PendingPlace::Ready);
                }
            }
            Outcome::NotSent { error } => self.retry(id, error, None, now, &mut effects),
            Outcome::InDoubt { status, error } => {
                let token = pending.history.token.map_or(TokenOwner::Former, TokenOwner::OfReload);
                let came = InDoubtReport {
                    sent_at,
                    left: Some(left.mono),
                    vague: false,
                    token,
                    claimed: None,
                    error,
                    status,
                };
                self.comes_into_doubt(id, came, now, &mut effects);
            }
        }
        self.release(&entry.name);
        effects
    }

    /// The API refused it for good, or it cannot be sent (`None`).
    fn rejected(
        &mut self,
        id: Id,
        status: Option<u16>,
        error: String,
        hint: String,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(pending) = self.occurrences.get(id) {
            let (retry_of, retry) = pending.origin.retry_fields();
            let ending = pending.linked_key();
            effects.push(log(OccurrenceRejected {
                entry: pending.entry.name.clone(),
                scheduled_at: pending.scheduled_at,
                pass: pending.pass.into(),
                retry_of,
                retry,
                status,
                error: error.clone(),
                hint,
            }));
            self.ends(ending, Transition::Rejected { status, error }, now, effects);
        }
        self.occurrences.leave(id);
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
        } else if let Some(access) = self.accounts.get_mut(&entry.account.name) {
            self.occurrences.activity_mut(&entry.name).unfinished.insert(action_id);
            access.follow_later(following, &self.quotas, now);
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
        self.occurrences.move_to(id, PendingPlace::Retry(now.mono + delay));
    }
}

pub(super) fn warned(entry: &Entry, warning: String) -> Effect {
    log(ApiWarning {
        entry: entry.name.clone(),
        account: entry.account.name.clone(),
        stack: entry.stack.clone(),
        warning,
    })
}
