//! One account's access to the API: its quota, what is in flight, and what its answers tell.

use std::sync::Arc;

use super::follow::{Follow, Following, Room};
use super::occurrences::AccountQueue;
use super::standing::{Gauges, Refused, Sent, Standing};
use super::trouble::Trouble;
use super::{Effect, log};
use crate::clock::{Mono, Now};
use crate::log::event::{QuotaChanged, QuotaExhausted, QuotaRestored};
use crate::quota::{self, Change, Ending, Purpose, Quota, Refusal, Ticket, Verdict};
use crate::schedule::{Account, TokenSource};

/// Requests of one account that may be in flight at once. Enough to keep the API busy at any
/// latency that it has; each may need a connection, and a process has some thousand.
const MOST_IN_FLIGHT: usize = 256;

/// Connections that are opened ahead at most. Beyond them the first answers free one soon.
pub(super) const MOST_WARM: usize = 64;

pub(super) struct AccountAccess {
    account: Arc<Account>,
    /// The schedule has it. One that it has no more is kept for what is in flight.
    pub(super) in_force: bool,
    pub(super) quota: Quota,
    pub(super) follow: Follow,
    pub(super) in_flight: usize,
    /// When the quota is worth asking again.
    closed_until: Option<Mono>,
    /// The same for follow-up, which may use a share only.
    share_closed_until: Option<Mono>,
    sent: Sent,
    /// What the API last refused for good.
    pub(super) refused: Option<Refused>,
    pub(super) trouble: Trouble,
    /// Times that the account's settings were replaced: each may bring another token.
    pub(super) reloads: u32,
    /// Whose actions the token starts, as an answer told.
    pub(super) user: Option<String>,
}

impl AccountAccess {
    pub(super) fn new(account: &Arc<Account>, now: Now) -> AccountAccess {
        AccountAccess {
            account: Arc::clone(account),
            in_force: true,
            quota: Quota::new(account.quota, now),
            follow: Follow::default(),
            in_flight: 0,
            closed_until: None,
            share_closed_until: None,
            sent: Sent::default(),
            refused: None,
            trouble: Trouble::default(),
            reloads: 0,
            user: None,
        }
    }

    /// The account's settings.
    pub(super) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// How the account stands, whatever waits: no queue is walked through.
    pub(super) fn gauges(&self, queue: Option<&AccountQueue>) -> Gauges {
        Gauges {
            limit: self.quota.limit(),
            remaining: self.quota.remaining(),
            reserve: self.quota.reserve(),
            exhausted: self.quota.exhausted_until().is_some(),
            waiting: queue.unwrap_or(&AccountQueue::default()).waiting(),
            sent: self.sent,
        }
    }

    /// How the account stands, for people. No queue is walked through.
    pub(super) fn standing(&self, queue: Option<&AccountQueue>) -> Standing {
        Standing {
            account: Arc::clone(&self.account),
            gauges: self.gauges(queue),
            exhausted_until: self.quota.exhausted_until(),
            in_flight: self.in_flight,
            following: self.follow.len(),
            held: queue.map_or(0, AccountQueue::held),
            refused: self.refused.clone(),
            trouble: self.trouble.clone(),
        }
    }

    /// When the quota is worth asking again. `None`: it has not refused.
    pub(super) fn closed_until(&self) -> Option<Mono> {
        self.closed_until
    }

    /// Takes over the account's new settings. What is known of its quota stays, unless it is
    /// another one.
    pub(super) fn replace(&mut self, account: &Arc<Account>, now: Now) {
        if whose(&self.account) != whose(account) {
            self.quota = self.quota.successor(account.quota, now);
            (self.closed_until, self.share_closed_until) = (None, None);
        } else if self.account.quota != account.quota {
            self.quota.resettle(account.quota, now);
            (self.closed_until, self.share_closed_until) = (None, None);
        }
        self.account = Arc::clone(account);
        // A reload may have mended the address or the token: the next request tells. It hands over
        // no credential.
        let denied = self.trouble.denied.take();
        let denied = denied.filter(|_| {
            matches!(account.token, TokenSource::Credential(_)) && whose(&self.account) == whose(account)
        });
        self.trouble = Trouble { exhausted_since: self.trouble.exhausted_since, denied, unreachable: None };
        self.reloads += 1;
        self.user = None;
    }

    /// Whether what is saved is for sure of the quota that this account draws on.
    pub(super) fn draws_on(&self, saved: &quota::Saved) -> bool {
        saved.user.as_ref().is_some_and(|user| *user == whose(&self.account))
    }

    /// Goes on with what a former process knew of the quota, if it is the same one.
    pub(super) fn restore(&mut self, saved: quota::Saved, ending: Ending, now: Now) {
        if saved.user.as_ref().is_none_or(|user| *user == whose(&self.account)) {
            self.quota = Quota::restore(self.account.quota, saved, ending, now);
        }
    }

    /// What is known of the quota, for the next process.
    pub(super) fn save(&self) -> quota::Saved {
        quota::Saved { user: Some(whose(&self.account)), ..self.quota.save() }
    }

    /// Asks for an action later.
    pub(super) fn follow_later(&mut self, following: Following, now: Now) {
        let room = Room { window: self.account.quota.window, questions: self.quota.background_share() };
        self.follow.again(following, room, now);
    }

    /// A request leaves.
    pub(super) fn leaves(&mut self) {
        self.in_flight += 1;
    }

    /// Asks the quota for one request.
    pub(super) fn admit(&mut self, purpose: Purpose, now: Now) -> Result<Ticket, Refusal> {
        if self.in_flight >= MOST_IN_FLIGHT {
            return Err(Refusal::InFlight);
        }
        let admitted = self.quota.admit(purpose, now);
        let closed_until = match purpose {
            Purpose::Fire | Purpose::Reconcile => &mut self.closed_until,
            Purpose::FollowUp | Purpose::Check => &mut self.share_closed_until,
        };
        *closed_until = match &admitted {
            Err(Refusal::Until(until)) => Some(until.at),
            _ => None,
        };
        if admitted.is_ok() {
            *match purpose {
                Purpose::Fire => &mut self.sent.fires,
                Purpose::FollowUp => &mut self.sent.follow_ups,
                Purpose::Check | Purpose::Reconcile => &mut self.sent.checks,
            } += 1;
        }
        admitted
    }

    /// Moves on to `now`: the quota's window may turn.
    pub(super) fn pass_time(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let changes = self.quota.tick(now);
        self.emit(changes, now, effects);
    }

    /// Judges a refusal for want of quota. `None`: the reply is no refusal.
    pub(super) fn judge(&self, answer: Option<&quota::Answer>) -> Option<Verdict> {
        self.quota.judge(answer?)
    }

    /// Gives a request's ticket back, with what its answer said.
    pub(super) fn settle(
        &mut self,
        ticket: Ticket,
        answer: Option<quota::Answer>,
        never_sent: bool,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.sent.throttled += u64::from(answer.is_some_and(|answer| answer.refused.is_some()));
        let changes = match answer {
            Some(answer) => self.quota.answered(ticket, answer, now),
            None if never_sent => self.quota.unsent(ticket, now),
            None => self.quota.lost(ticket, now),
        };
        self.emit(changes, now, effects);
    }

    /// When the account has something to do at the latest. At `asks` something is to be asked
    /// besides.
    pub(super) fn wakes_at(
        &self,
        queue: Option<&AccountQueue>,
        asks: Option<Mono>,
        now: Now,
    ) -> Option<Mono> {
        let opens = |closed: Option<Mono>| move |at: Mono| at.max(closed.unwrap_or(at));
        let follows = self.follow.next_at().map(opens(self.share_closed_until));
        let waiting = match queue.is_some_and(AccountQueue::has_ready) {
            false => [follows, asks.map(opens(self.closed_until))].into_iter().flatten().min(),
            true => Some(now.mono).map(opens(self.closed_until)),
        };
        // What was refused for being in flight is woken by a reply, and asks for no wake.
        let waiting = waiting.filter(|&at| at > now.mono);
        let retry = queue.and_then(AccountQueue::first_retry).map(|(at, _)| at);
        let turn = self.quota.wakes_at().filter(|&at| at > now.mono);
        waiting.into_iter().chain(retry).chain(turn).min()
    }

    fn emit(&mut self, changes: Vec<Change>, now: Now, effects: &mut Vec<Effect>) {
        if changes.iter().any(|change| matches!(change, Change::Exhausted { .. })) {
            self.trouble.exhausted_since = Some(now.wall);
        }
        let account = || self.account.name.clone();
        effects.extend(changes.into_iter().map(|change| match change {
            Change::Limit { limit, was } => log(QuotaChanged { account: account(), limit, was }),
            Change::Exhausted { limit, remaining, until } => {
                log(QuotaExhausted { account: account(), limit, remaining, until })
            }
            Change::Restored { limit, remaining } => {
                log(QuotaRestored { account: account(), limit, remaining })
            }
        }));
    }
}
/// Whose quota an account draws on, as far as its settings tell: another API or another token is
/// another user's. A token that is renewed at its place is not.
fn whose(account: &Account) -> String {
    format!("{} by {:?}", account.url, account.token)
}
