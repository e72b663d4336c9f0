//! Moves an occurrence on once there is a verdict on its attempt.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::InDoubtAttempt;
use super::reconcile::AttemptVerdict;
use super::span::BLIND;
use super::verdicts::REMEMBERED;
use crate::clock::Now;
use crate::cloud66::{Action, ActionId};
use crate::dispatch::{Dispatch, Doubtful, Effect, Id, Pending, PendingPlace, log};
use crate::log::event::OccurrenceReconciled;
use crate::occurrence::{Reason, Resolution};
use crate::schedule::{CatchUp, Entry};

/// Has the log tell how a doubt ended.
pub(super) fn reconciled(pending: &Pending, verdict: Resolution, action_id: Option<ActionId>) -> Effect {
    log(OccurrenceReconciled {
        entry: pending.entry.name.clone(),
        scheduled_at: pending.scheduled_at,
        pass: pending.pass.into(),
        verdict,
        action_id,
    })
}

impl Dispatch {
    /// Gives up those for which nothing could be found out in time.
    pub(in crate::dispatch) fn lose_patience(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while let Some(&(at, id)) = self.doubts.patience.first()
            && at <= now.mono
        {
            self.carry_out(vec![(id, AttemptVerdict::Unknown)], now, effects);
            self.doubts.patience.remove(&(at, id));
        }
    }

    pub(super) fn carry_out(
        &mut self,
        verdicts: Vec<(Id, AttemptVerdict)>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let mut entries = BTreeSet::new();
        for (id, verdict) in verdicts {
            let Some(doubt) =
                (verdict != AttemptVerdict::Later).then(|| self.doubts.open.remove(&id)).flatten()
            else {
                continue;
            };
            self.doubts.patience.remove(&(doubt.given_up_at, id));
            let Some(pending) = self.occurrences.get(id) else {
                continue;
            };
            let (entry, key) = (Arc::clone(&pending.entry), pending.key());
            let (resolution, action_id) = match &verdict {
                AttemptVerdict::Started(action) => {
                    (Resolution::Started, action.as_ref().and_then(|action| action.id))
                }
                AttemptVerdict::NotStarted => (Resolution::NotStarted, None),
                AttemptVerdict::Unknown | AttemptVerdict::Later => (Resolution::Unknown, None),
            };
            effects.push(reconciled(pending, resolution, action_id));
            match verdict {
                AttemptVerdict::Started(action) => {
                    self.adopt(id, action.map(|a| *a).unwrap_or_default(), &doubt, now, effects);
                    if action_id.is_none() && !self.doubts.shared_out.occurrences.contains_key(&key) {
                        self.forget_past(now);
                        self.doubts.unnamed.push((key, doubt));
                    }
                }
                AttemptVerdict::NotStarted => self.goes_again(id, &doubt, now, effects),
                AttemptVerdict::Unknown | AttemptVerdict::Later => {
                    let (error, status, sent_at) = (doubt.error.clone(), doubt.status, doubt.sent_at);
                    self.forget_past(now);
                    if entry.idempotent {
                        self.is_sent_again(id, &doubt, doubt.sent_at, effects);
                    }
                    self.doubts.unnamed.push((key, doubt));
                    self.stays_unknown(id, &entry, Doubtful { error, sent_at }, status, now, effects);
                }
            }
            entries.insert(entry.name.clone());
        }
        for entry in entries {
            self.release(&entry);
        }
    }

    fn adopt(&mut self, id: Id, action: Action, doubt: &InDoubtAttempt, now: Now, effects: &mut Vec<Effect>) {
        let Some(access) = self.accounts.get(&doubt.account) else {
            return;
        };
        let quota = self.quotas.quota(access.admission.quota);
        let (limit, remaining) = (quota.limit(), quota.remaining());
        let began = action.started().filter(|&at| doubt.vague && at > doubt.sent_at);
        if let Some(pending) = self.occurrences.get_mut(id) {
            pending.history.attempts = pending.history.attempts.max(1);
        }
        self.started(id, action, (began.unwrap_or(doubt.sent_at), None), limit, remaining, now, effects);
    }

    /// It had no effect: `catch_up` and `start_deadline` decide, as of anything that has waited.
    fn goes_again(&mut self, id: Id, doubt: &InDoubtAttempt, now: Now, effects: &mut Vec<Effect>) {
        if !self.waits_again(id, now, effects) {
            return;
        }
        let Some(pending) = self.occurrences.get_mut(id) else {
            return;
        };
        pending.history.waited = true;
        effects.extend(pending.record_waiting(Reason::Retry));
        let gives_way = pending.entry.catch_up == CatchUp::Latest && !pending.is_by_hand();
        let (entry, first) = (pending.entry.name.clone(), pending.first());
        let newest = self.occurrences.activity(&entry).and_then(|activity| activity.newest_sent);
        if let Some(newer) = newest.filter(|&newest| gives_way && newest > first) {
            return self.superseded(id, newer, now, effects);
        }
        // The list was read later than that, and shows none.
        let from = now.wall_at(doubt.over_at).min(now.wall);
        self.is_sent_again(id, doubt, from, effects);
        self.comes_due(id, now, effects);
    }

    fn stays_unknown(
        &mut self,
        id: Id,
        entry: &Entry,
        doubt: Doubtful,
        status: Option<u16>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if !entry.idempotent {
            return self.unknown(id, doubt.error, now, effects);
        }
        let Some(pending) = self.occurrences.get_mut(id) else {
            return;
        };
        let error = doubt.error.clone();
        pending.history.doubt.get_or_insert(doubt);
        // The claim may still be a former leader's in the journal.
        pending.history.amended = true;
        if pending.due_at <= now.wall {
            return self.retry(id, error, status, now, effects);
        }
        // The clock was set back: it is not sent before it is due.
        self.occurrences.move_to(id, PendingPlace::Future);
    }

    /// Forgets those whose actions no list that is yet to be read can hold.
    fn forget_past(&mut self, now: Now) {
        let kept = REMEMBERED.unsigned_abs() + BLIND.unsigned_abs() * 2;
        let oldest = self.doubts.open.values().map(|doubt| doubt.seen.mono).min().unwrap_or(now.mono);
        self.doubts.unnamed.retain(|(_, doubt)| doubt.over_at + kept > oldest);
    }
}
