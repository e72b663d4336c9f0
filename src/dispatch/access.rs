//! One account's access to the API: what it may send, what it follows, and what its answers tell.

use std::sync::Arc;

use super::admission::{Admission, Came};
use super::follow::{Follow, Following, Room};
use super::occurrences::AccountQueue;
use super::standing::{AccountStanding, FinalRefusal, Gauges};
use super::trouble::Trouble;
use super::{Effect, log};
use crate::clock::{Mono, Now};
use crate::log::event::{QuotaChanged, QuotaExhausted, QuotaRestored};
use crate::quota::{self, Ending, Purpose, Quota, QuotaChange, QuotaVerdict, Ticket};
use crate::schedule::{Account, TokenSource};

/// Connections that are opened ahead at most. Beyond them the first answers free one soon.
pub(super) const MOST_WARM: usize = 64;

/// One account, as long as something of it is under way.
pub(super) struct AccountAccess {
    account: Arc<Account>,
    /// The schedule has it. One that it has no more is kept for what is in flight.
    pub(super) in_force: bool,
    pub(super) admission: Admission,
    pub(super) follow: Follow,
    pub(super) token: TokenInUse,
    /// The API's last final refusal.
    pub(super) refused: Option<FinalRefusal>,
    pub(super) trouble: Trouble,
}

/// The token by which an account's requests go.
#[derive(Default)]
pub(super) struct TokenInUse {
    /// Times that the account's settings were replaced: each may bring another token.
    pub(super) reloads: u32,
    /// The user whose actions the token starts, as an answer told.
    pub(super) user: Option<String>,
}

impl AccountAccess {
    pub(super) fn new(account: &Arc<Account>, now: Now) -> AccountAccess {
        AccountAccess {
            account: Arc::clone(account),
            in_force: true,
            admission: Admission::new(account.quota, now),
            follow: Follow::default(),
            token: TokenInUse::default(),
            refused: None,
            trouble: Trouble::default(),
        }
    }

    fn quota(&self) -> &Quota {
        &self.admission.quota
    }

    /// The account's settings.
    pub(super) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Returns the account's figures for metrics. No queue is walked through.
    pub(super) fn gauges(&self, queue: Option<&AccountQueue>) -> Gauges {
        Gauges {
            limit: self.quota().limit(),
            remaining: self.quota().remaining(),
            reserve: self.quota().reserve(),
            exhausted: self.quota().exhausted_until().is_some(),
            waiting: queue.unwrap_or(&AccountQueue::default()).waiting(),
            sent: self.admission.sent(),
        }
    }

    /// Returns the account's standing, for people. No queue is walked through.
    pub(super) fn standing(&self, queue: Option<&AccountQueue>) -> AccountStanding {
        AccountStanding {
            account: Arc::clone(&self.account),
            gauges: self.gauges(queue),
            exhausted_until: self.quota().exhausted_until(),
            in_flight: self.admission.in_flight(),
            following: self.follow.len(),
            held: queue.map_or(0, AccountQueue::held),
            refused: self.refused.clone(),
            trouble: self.trouble.clone(),
        }
    }

    /// Takes over the account's new settings. What is known of its quota stays, unless it is
    /// another one.
    pub(super) fn replace(&mut self, account: &Arc<Account>, now: Now) {
        if whose(&self.account) != whose(account) {
            self.admission.quota = self.quota().successor(account.quota, now);
            self.admission.reopen();
        } else if self.account.quota != account.quota {
            self.admission.quota.resettle(account.quota, now);
            self.admission.reopen();
        }
        self.account = Arc::clone(account);
        // A reload may have mended the address or the token: the next request tells. It hands over
        // no credential.
        let denied = self.trouble.denied.take();
        let denied = denied.filter(|_| {
            matches!(account.token, TokenSource::Credential(_)) && whose(&self.account) == whose(account)
        });
        self.trouble = Trouble { exhausted_since: self.trouble.exhausted_since, denied, unreachable: None };
        self.token = TokenInUse { reloads: self.token.reloads + 1, user: None };
    }

    /// Returns true when the saved state is surely of the quota that this account draws on.
    pub(super) fn draws_on(&self, saved: &quota::SavedQuota) -> bool {
        saved.user.as_ref().is_some_and(|user| *user == whose(&self.account))
    }

    /// Goes on with what a former process knew of the quota, if it is the same one.
    pub(super) fn restore(&mut self, saved: quota::SavedQuota, ending: Ending, now: Now) {
        if saved.user.as_ref().is_none_or(|user| *user == whose(&self.account)) {
            self.admission.quota = Quota::restore(self.account.quota, saved, ending, now);
        }
    }

    /// Returns the state of the quota, for the next process.
    pub(super) fn save(&self) -> quota::SavedQuota {
        quota::SavedQuota { user: Some(whose(&self.account)), ..self.quota().save() }
    }

    /// Asks for an action later.
    pub(super) fn follow_later(&mut self, following: Following, now: Now) {
        let room = Room { window: self.account.quota.window, questions: self.quota().background_share() };
        self.follow.again(following, room, now);
    }

    /// Moves on to `now`: the quota's window may turn.
    pub(super) fn pass_time(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let changes = self.admission.quota.tick(now);
        self.emit(changes, now, effects);
    }

    /// Judges a refusal for want of quota. `None`: the reply is no refusal.
    pub(super) fn judge(&self, answer: Option<&quota::QuotaAnswer>) -> Option<QuotaVerdict> {
        self.quota().judge(answer?)
    }

    /// Takes in the end of a request, with what its answer said of the quota.
    pub(super) fn settle(
        &mut self,
        ticket: Ticket,
        answer: Option<quota::QuotaAnswer>,
        came: Came,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if came == Came::AsAsked {
            self.trouble.answered();
        }
        let changes = self.admission.settle(ticket, answer, came, now);
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
        let opens = |purpose| move |at: Mono| self.admission.opens(purpose, at);
        let waiting = match queue.is_some_and(AccountQueue::has_ready) {
            false => {
                let follows = self.follow.next_at().map(opens(Purpose::FollowUp));
                follows.into_iter().chain(asks.map(opens(Purpose::Reconcile))).min()
            }
            true => Some(self.admission.opens(Purpose::Fire, now.mono)),
        };
        // A request that was refused because others are in flight is woken by a reply, and asks for
        // no wake.
        let waiting = waiting.filter(|&at| at > now.mono);
        let retry = queue.and_then(AccountQueue::first_retry).map(|(at, _)| at);
        let turn = self.quota().wakes_at().filter(|&at| at > now.mono);
        waiting.into_iter().chain(retry).chain(turn).min()
    }

    fn emit(&mut self, changes: Vec<QuotaChange>, now: Now, effects: &mut Vec<Effect>) {
        if changes.iter().any(|change| matches!(change, QuotaChange::Exhausted { .. })) {
            self.trouble.exhausted_since = Some(now.wall);
        }
        let account = || self.account.name.clone();
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
/// Returns the user whose quota an account draws on, as far as the settings tell: another API or
/// another token is another user's. A token that is renewed at its place is not.
fn whose(account: &Account) -> String {
    format!("{} by {:?}", account.url, account.token)
}
