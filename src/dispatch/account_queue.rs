//! One account's way to the API: its quota, and who is next.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::follow::{Follow, Following, Room};
use super::standing::{Gauges, Refused, Sent, Standing, Waits};
use super::trouble::Trouble;
use super::{Effect, Id, Place, log};
use crate::clock::{Mono, Now};
use crate::log::event::{QuotaChanged, QuotaExhausted, QuotaRestored};
use crate::quota::{self, Change, Ending, Purpose, Quota, Refusal, Ticket, Verdict};
use crate::schedule::{Account, Priority, TokenSource};

/// Requests of one account that may be in flight at once. Enough to keep the API busy at any
/// latency that it has; each may need a connection, and a process has some thousand.
const MOST_IN_FLIGHT: usize = 256;

/// Connections that are opened ahead at most. Beyond them the first answers free one soon.
pub(super) const MOST_WARM: usize = 64;

/// The order of sending: priority, then the scheduled instant, then the order of planning.
pub(super) type Rank = (Reverse<Priority>, Timestamp, Id);

pub(super) struct AccountQueue {
    account: Arc<Account>,
    /// The schedule has it. One that it has no more is kept for what is in flight.
    pub(super) in_force: bool,
    pub(super) quota: Quota,
    ready: BTreeSet<Rank>,
    /// Between two attempts, by the instant of the next one.
    retries: BTreeSet<(Mono, Rank)>,
    /// Kept back by `overlap: queue`.
    held: BTreeSet<Rank>,
    /// Kept back by `stack_state`.
    by_stack: BTreeSet<Rank>,
    /// Became ready since the operator was last told who waits.
    pub(super) untold: Vec<Id>,
    pub(super) follow: Follow,
    pub(super) in_flight: usize,
    /// When the quota is worth asking again.
    closed_until: Option<Mono>,
    /// The same for follow-up, which may use a share only.
    share_closed_until: Option<Mono>,
    /// How many are ready or between two attempts, by priority.
    waiting: [usize; 3],
    sent: Sent,
    /// What the API last refused for good.
    pub(super) refused: Option<Refused>,
    pub(super) trouble: Trouble,
    /// Times that the account's settings were replaced: each may bring another token.
    pub(super) reloads: u32,
    /// Whose actions the token starts, as an answer told.
    pub(super) user: Option<String>,
}

impl AccountQueue {
    pub(super) fn new(account: &Arc<Account>, now: Now) -> AccountQueue {
        AccountQueue {
            account: Arc::clone(account),
            in_force: true,
            quota: Quota::new(account.quota, now),
            ready: BTreeSet::new(),
            retries: BTreeSet::new(),
            held: BTreeSet::new(),
            by_stack: BTreeSet::new(),
            untold: Vec::new(),
            follow: Follow::default(),
            in_flight: 0,
            closed_until: None,
            share_closed_until: None,
            waiting: [0; 3],
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
    pub(super) fn gauges(&self) -> Gauges {
        Gauges {
            limit: self.quota.limit(),
            remaining: self.quota.remaining(),
            reserve: self.quota.reserve(),
            exhausted: self.quota.exhausted_until().is_some(),
            waiting: [Priority::High, Priority::Normal, Priority::Low]
                .map(|priority| (priority, self.waiting[priority as usize])),
            sent: self.sent,
        }
    }

    /// How the account stands, for people. No queue is walked through.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            account: Arc::clone(&self.account),
            gauges: self.gauges(),
            exhausted_until: self.quota.exhausted_until(),
            in_flight: self.in_flight,
            following: self.follow.len(),
            held: self.held.len() + self.by_stack.len(),
            refused: self.refused.clone(),
            trouble: self.trouble.clone(),
        }
    }

    /// The first of what waits, and why: what is ready in the order of sending, then what is tried
    /// again, then what is held.
    pub(super) fn waits(&self, now: Now) -> impl Iterator<Item = (Id, Waits)> {
        let until = move |at: Mono| now.wall.checked_add(at.saturating_sub(now.mono)).ok();
        let closed = self.closed_until.filter(|&at| at > now.mono);
        let ready = match closed {
            Some(at) => Waits::Quota { until: until(at) },
            None => Waits::Turn,
        };
        let ready = self.ready.iter().map(move |&(.., id)| (id, ready));
        let retries = self.retries.iter().map(move |&(at, (.., id))| (id, Waits::Retry { until: until(at) }));
        let held = self.held.iter().map(|&(.., id)| (id, Waits::Overlap));
        let by_stack = self.by_stack.iter().map(|&(.., id)| (id, Waits::Stack(None)));
        ready.chain(retries).chain(held).chain(by_stack)
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

    pub(super) fn put_in(&mut self, place: Place, rank: Rank) {
        match place {
            Place::Ready => {
                self.waiting[rank.0.0 as usize] += usize::from(self.ready.insert(rank));
                self.untold.push(rank.2);
            }
            Place::Retry(at) => {
                self.waiting[rank.0.0 as usize] += usize::from(self.retries.insert((at, rank)));
            }
            Place::Held => {
                self.held.insert(rank);
            }
            Place::Stack => {
                self.by_stack.insert(rank);
            }
            Place::Future | Place::Sending | Place::Doubt => {}
        }
    }

    pub(super) fn take_out(&mut self, place: Place, rank: Rank) {
        match place {
            Place::Ready => {
                self.waiting[rank.0.0 as usize] -= usize::from(self.ready.remove(&rank));
            }
            Place::Retry(at) => {
                self.waiting[rank.0.0 as usize] -= usize::from(self.retries.remove(&(at, rank)));
            }
            Place::Held => {
                self.held.remove(&rank);
            }
            Place::Stack => {
                self.by_stack.remove(&rank);
            }
            Place::Future | Place::Sending | Place::Doubt => {}
        }
    }

    /// What would be sent next, were there quota.
    pub(super) fn first_ready(&mut self) -> Option<Id> {
        let first = self.ready.first().map(|&(.., id)| id);
        if first.is_none() {
            self.untold.clear();
        }
        first
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

    /// Moves on to `now`: the quota's window may turn. Returns what is to be tried again.
    pub(super) fn pass_time(&mut self, now: Now, effects: &mut Vec<Effect>) -> Vec<Rank> {
        let changes = self.quota.tick(now);
        self.emit(changes, now, effects);
        let mut again = Vec::new();
        while let Some(&(at, rank)) = self.retries.first()
            && at <= now.mono
        {
            self.retries.pop_first();
            self.waiting[rank.0.0 as usize] -= 1;
            again.push(rank);
        }
        again
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

    /// When the lane has something to do at the latest. At `asks` something is to be asked besides.
    pub(super) fn wakes_at(&self, asks: Option<Mono>, now: Now) -> Option<Mono> {
        let opens = |closed: Option<Mono>| move |at: Mono| at.max(closed.unwrap_or(at));
        let follows = self.follow.next_at().map(opens(self.share_closed_until));
        let waiting = match self.ready.is_empty() {
            true => [follows, asks.map(opens(self.closed_until))].into_iter().flatten().min(),
            false => Some(now.mono).map(opens(self.closed_until)),
        };
        // What was refused for being in flight is woken by a reply, and asks for no wake.
        let waiting = waiting.filter(|&at| at > now.mono);
        let retry = self.retries.first().map(|&(at, _)| at);
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
