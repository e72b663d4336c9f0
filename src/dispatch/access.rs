//! One account's access to the API: what it may send, what it follows, and what its answers tell.

use std::sync::Arc;

use super::admission::{Admission, Came};
use super::follow::{Follow, Following, Room};
use super::occurrences::AccountQueue;
use super::quotas::{QuotaNumber, Quotas};
use super::standing::{AccountStanding, FinalRefusal, Gauges};
use super::trouble::Trouble;
use crate::clock::{Mono, Now};
use crate::quota::{Purpose, QuotaAnswer, SavedQuota};
use crate::schedule::{Account, AccountName, TokenSource};

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
    pub(super) fn new(account: &Arc<Account>, quota: QuotaNumber) -> AccountAccess {
        AccountAccess {
            account: Arc::clone(account),
            in_force: true,
            admission: Admission::new(quota),
            follow: Follow::default(),
            token: TokenInUse::default(),
            refused: None,
            trouble: Trouble::default(),
        }
    }

    /// The account's settings.
    pub(super) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Returns the account's figures for metrics. No queue is walked through.
    pub(super) fn gauges(&self, quotas: &Quotas, queue: Option<&AccountQueue>) -> Gauges {
        let quota = quotas.quota(self.admission.quota);
        Gauges {
            limit: quota.limit(),
            remaining: quota.remaining(),
            reserve: quota.reserve(),
            exhausted: quota.exhausted_until().is_some(),
            waiting: queue.unwrap_or(&AccountQueue::default()).waiting(),
            sent: self.admission.sent(),
        }
    }

    /// Returns the account's standing, for people. No queue is walked through.
    pub(super) fn standing(&self, quotas: &Quotas, queue: Option<&AccountQueue>) -> AccountStanding {
        AccountStanding {
            account: Arc::clone(&self.account),
            gauges: self.gauges(quotas, queue),
            exhausted_until: quotas.quota(self.admission.quota).exhausted_until(),
            in_flight: self.admission.in_flight(),
            following: self.follow.len(),
            held: queue.map_or(0, AccountQueue::held),
            refused: self.refused.clone(),
            trouble: self.trouble.clone(),
        }
    }

    /// Takes over the account's new settings, and the quota that it draws on from now on.
    pub(super) fn replace(&mut self, account: &Arc<Account>, quota: QuotaNumber) {
        // A reload may have mended the address or the token: the next request tells. It hands over
        // no credential.
        let denied = self.trouble.denied.take();
        let denied = denied
            .filter(|_| matches!(account.token, TokenSource::Credential(_)) && self.is_of_user_of(account));
        self.admission.quota = quota;
        self.account = Arc::clone(account);
        self.trouble = Trouble { exhausted_since: self.trouble.exhausted_since, denied, unreachable: None };
        self.token = TokenInUse { reloads: self.token.reloads + 1, user: None };
    }

    /// Returns true when the other settings have the user whose quota the account draws on.
    pub(super) fn is_of_user_of(&self, account: &Account) -> bool {
        whose(&self.account) == whose(account)
    }

    /// Returns true when the state of a quota that was saved under an account's name is of the
    /// quota that this account draws on.
    pub(super) fn draws_on(&self, name: &AccountName, saved: &SavedQuota) -> bool {
        match &saved.user {
            Some(user) => *user == whose(&self.account),
            None => *name == self.account.name,
        }
    }

    /// Asks for an action later.
    pub(super) fn follow_later(&mut self, following: Following, quotas: &Quotas, now: Now) {
        let questions = quotas.quota(self.admission.quota).background_share();
        let room = Room { window: self.account.quota.window, questions };
        self.follow.again(following, room, now);
    }

    /// Takes in the end of one of the account's requests.
    pub(super) fn ended(&mut self, answer: Option<&QuotaAnswer>, came: Came) {
        if came == Came::AsAsked {
            self.trouble.answered();
        }
        self.admission.ended(answer);
    }

    /// When the account has something to do at the latest. At `asks` something is to be asked
    /// besides.
    pub(super) fn wakes_at(
        &self,
        quotas: &Quotas,
        queue: Option<&AccountQueue>,
        asks: Option<Mono>,
        now: Now,
    ) -> Option<Mono> {
        let number = self.admission.quota;
        let opens = |purpose| move |at: Mono| quotas.opens(number, purpose, at);
        let waiting = match queue.is_some_and(AccountQueue::has_ready) {
            false => {
                let follows = self.follow.next_at().map(opens(Purpose::FollowUp));
                follows.into_iter().chain(asks.map(opens(Purpose::Reconcile))).min()
            }
            true => Some(quotas.opens(number, Purpose::Fire, now.mono)),
        };
        // A request that was refused because others are in flight is woken by a reply, and asks for
        // no wake.
        let waiting = waiting.filter(|&at| at > now.mono);
        let retry = queue.and_then(AccountQueue::first_retry).map(|(at, _)| at);
        let turn = quotas.quota(number).wakes_at().filter(|&at| at > now.mono);
        waiting.into_iter().chain(retry).chain(turn).min()
    }
}

/// Returns the user whose quota an account draws on, as far as the settings tell: another API or
/// another token is another user's. A token that is renewed at its place is not.
pub(super) fn whose(account: &Account) -> String {
    format!("{} by {:?}", account.url, account.token)
}
