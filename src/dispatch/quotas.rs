//! The quotas that accounts draw on. A quota belongs to the token by which the API counts requests,
//! and an account is only the name by which the schedule has that token.
//!
//! **Problem.** A reload may give an account another name, or another token, while requests are in
//! flight, actions are followed and attempts are in doubt. All of that ends under the account's
//! former name: the requests that are still sent for it, and their answers, concern the quota that
//! the new name draws on. An answer to a request by the former token concerns another quota than
//! the account's present one.
//!
//! **Mechanism.** Quotas are kept by number. An account has the number of the quota that it draws
//! on, and several names may have one number. An admitted request has the number of the quota that
//! admitted it, and its end is told to that quota. A reload gives a new account, or one with
//! another token, the quota of its token, where that is known and no other account in force draws
//! on it. No quota is forgotten, so that a token that comes back finds what was known of it.
//!
//! **Example.** The limit is 6.
//!
//! | time  | event                                              | quotas                        |
//! |-------|----------------------------------------------------|-------------------------------|
//! | 10:00 | a run_now of account `main` comes into doubt       | 0: the newest answer left 1   |
//! | 10:01 | a reload renames `main` to `shop`, by one token    | `main` and `shop` draw on 0   |
//! | 10:02 | `main` asks for the actions of the attempt's stack | 0: none is left for `shop`    |
//! | 10:02 | the answer: none is left                           | 0: `shop` waits               |
//! | 10:05 | a reload gives `shop` another user's token         | `main` draws on 0, `shop` on 1|

use std::collections::BTreeSet;

use super::admission::Came;
use super::{Dispatch, Effect, log};
use crate::clock::{Mono, Now};
use crate::log::event::{QuotaChanged, QuotaExhausted, QuotaRestored};
use crate::quota::{
    Ending, Purpose, Quota, QuotaAnswer, QuotaChange, QuotaVerdict, Refusal, SavedQuota, Ticket,
};
use crate::schedule::{AccountName, QuotaSettings};

/// Number of a quota among [`Quotas`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QuotaNumber(usize);

/// All quotas that an account draws on or has drawn on.
#[derive(Debug, Default)]
pub(super) struct Quotas(Vec<TokenQuota>);

/// The quota of one token.
#[derive(Debug)]
struct TokenQuota {
    /// The API and the token, as the settings name them.
    user: String,
    quota: Quota,
    /// When the quota is worth asking again. `None`: it has not refused.
    closed_until: Option<Mono>,
    /// When the quota is worth asking again for follow-up and checks, which may use a share only.
    share_closed_until: Option<Mono>,
}

/// A request that a quota has admitted. Hand it back to [`Dispatch::settle`] when it has ended.
#[derive(Debug)]
#[must_use = "a request that is not handed back counts as in flight for ever"]
pub(super) struct Admitted {
    quota: QuotaNumber,
    ticket: Ticket,
}

impl Admitted {
    /// The quota that admitted the request.
    pub(super) fn quota(&self) -> QuotaNumber {
        self.quota
    }
}

impl Quotas {
    /// Adds a quota of which nothing is known but its settings.
    pub(super) fn add(&mut self, user: String, settings: QuotaSettings, now: Now) -> QuotaNumber {
        let quota = Quota::new(settings, now);
        self.0.push(TokenQuota { user, quota, closed_until: None, share_closed_until: None });
        QuotaNumber(self.0.len() - 1)
    }

    /// Finds the quota of a token that is none of `drawn`.
    fn find(&self, user: &str, drawn: &BTreeSet<QuotaNumber>) -> Option<QuotaNumber> {
        let mut numbers = (0..self.0.len()).map(QuotaNumber);
        numbers.find(|number| !drawn.contains(number) && self.0[number.0].user == user)
    }

    /// Returns the quota of a token that is none of `drawn`, with these settings from now on.
    pub(super) fn take(
        &mut self,
        user: String,
        settings: QuotaSettings,
        drawn: &BTreeSet<QuotaNumber>,
        now: Now,
    ) -> QuotaNumber {
        match self.find(&user, drawn) {
            Some(number) => {
                self.resettle(number, settings, now);
                number
            }
            None => self.add(user, settings, now),
        }
    }

    /// Gives a quota the settings that an account has for it now. A request that was refused may be
    /// admitted from then on.
    pub(super) fn resettle(&mut self, number: QuotaNumber, settings: QuotaSettings, now: Now) {
        let drawn_on = &mut self.0[number.0];
        drawn_on.quota.resettle(settings, now);
        (drawn_on.closed_until, drawn_on.share_closed_until) = (None, None);
    }

    /// Goes on with what a former process knew of a quota.
    pub(super) fn restore(
        &mut self,
        number: QuotaNumber,
        settings: QuotaSettings,
        saved: SavedQuota,
        ending: Ending,
        now: Now,
    ) {
        self.0[number.0].quota = Quota::restore(settings, saved, ending, now);
    }

    /// Returns the state of a quota, for the next process.
    pub(super) fn save(&self, number: QuotaNumber) -> SavedQuota {
        let TokenQuota { user, quota, .. } = &self.0[number.0];
        SavedQuota { user: Some(user.clone()), ..quota.save() }
    }

    pub(super) fn quota(&self, number: QuotaNumber) -> &Quota {
        &self.0[number.0].quota
    }

    /// Asks a quota for one request, which leaves if it is admitted.
    pub(super) fn admit(
        &mut self,
        number: QuotaNumber,
        purpose: Purpose,
        now: Now,
    ) -> Result<Admitted, Refusal> {
        let drawn_on = &mut self.0[number.0];
        let answer = drawn_on.quota.admit(purpose, now);
        let closed_until = match purpose {
            Purpose::Fire | Purpose::Reconcile => &mut drawn_on.closed_until,
            Purpose::FollowUp | Purpose::Check => &mut drawn_on.share_closed_until,
        };
        *closed_until = match &answer {
            Err(Refusal::Until(until)) => Some(until.at),
            Ok(_) | Err(Refusal::InFlight) => None,
        };
        answer.map(|ticket| Admitted { quota: number, ticket })
    }

    /// Judges the answer to a request for a refusal for want of quota. `None`: it is no refusal.
    pub(super) fn judge(&self, admitted: &Admitted, answer: Option<&QuotaAnswer>) -> Option<QuotaVerdict> {
        self.quota(admitted.quota).judge(answer?)
    }

    /// Tells the quota that admitted a request how the request ended.
    fn settle(
        &mut self,
        Admitted { quota, ticket }: Admitted,
        answer: Option<QuotaAnswer>,
        came: Came,
        now: Now,
    ) -> Vec<QuotaChange> {
        let quota = &mut self.0[quota.0].quota;
        match answer {
            Some(answer) => quota.answered(ticket, answer, now),
            None if came == Came::NeverSent => quota.unsent(ticket, now),
            None => quota.lost(ticket, now),
        }
    }

    /// When a quota is worth asking again. `None`: it has not refused.
    pub(super) fn closed_until(&self, number: QuotaNumber, purpose: Purpose) -> Option<Mono> {
        match purpose {
            Purpose::Fire | Purpose::Reconcile => self.0[number.0].closed_until,
            Purpose::FollowUp | Purpose::Check => self.0[number.0].share_closed_until,
        }
    }

    /// When a request that is due at an instant is worth asking for.
    pub(super) fn opens(&self, number: QuotaNumber, purpose: Purpose, at: Mono) -> Mono {
        at.max(self.closed_until(number, purpose).unwrap_or(at))
    }
}

impl Dispatch {
    /// Takes in the end of a request that an account has sent, with what the answer said of the
    /// quota.
    pub(super) fn settle(
        &mut self,
        account: &AccountName,
        admitted: Admitted,
        answer: Option<QuotaAnswer>,
        came: Came,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(access) = self.accounts.get_mut(account) {
            access.ended(answer.as_ref(), came);
        }
        if let Some(date) = answer.and_then(|answer| answer.date) {
            self.clocks.answered(date, now);
        }
        let number = admitted.quota;
        let changes = self.quotas.settle(admitted, answer, came, now);
        self.tell_quota(number, changes, now, effects);
    }

    /// Moves an account's quota on to `now`: its window may turn.
    pub(super) fn pass_time(&mut self, account: &AccountName, now: Now, effects: &mut Vec<Effect>) {
        let Some(number) = self.accounts.get(account).map(|access| access.admission.quota) else {
            return;
        };
        let changes = self.quotas.0[number.0].quota.tick(now);
        self.tell_quota(number, changes, now, effects);
    }

    /// Tells of changes of a quota, by the name of the account in force that draws on it, or else
    /// of the one that the schedule had last. Nobody is told of a quota that no account draws on.
    fn tell_quota(
        &mut self,
        number: QuotaNumber,
        changes: Vec<QuotaChange>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let drawing = self.accounts.values_mut().filter(|access| access.admission.quota == number);
        let Some(access) = drawing.max_by_key(|access| access.in_force).filter(|_| !changes.is_empty())
        else {
            return;
        };
        if changes.iter().any(|change| matches!(change, QuotaChange::Exhausted { .. })) {
            access.trouble.exhausted_since = Some(now.wall);
        }
        let account = || access.account().name.clone();
        effects.extend(changes.into_iter().map(|change| match change {
            QuotaChange::Limit { limit, was } => log(QuotaChanged { account: account(), limit, was }),
            QuotaChange::Exhausted { limit, remaining, until } => {
                log(QuotaExhausted { account: account(), limit, remaining, until })
            }
            QuotaChange::Restored { limit, remaining } => {
                log(QuotaRestored { account: account(), limit, remaining })
            }
        }));
    }
}
