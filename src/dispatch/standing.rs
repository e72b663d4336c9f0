//! The standing of accounts and occurrences, for people who ask: what waits and why, and what comes
//! next.

use std::sync::Arc;

use jiff::Timestamp;

use super::Dispatch;
use super::access::AccountAccess;
use super::trouble::Trouble;
use crate::clock::Now;
use crate::cloud66::Obstacle;
use crate::quota::Purpose;
use crate::schedule::{Account, AccountName, Entry, EntryName, Priority};

/// An account's figures, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gauges {
    /// The limit in force.
    pub(crate) limit: u32,
    /// As newest told by the API.
    pub(crate) remaining: Option<u32>,
    /// The part of the quota that is left to people and CI.
    pub(crate) reserve: u32,
    /// Nothing is left but that.
    pub(crate) exhausted: bool,
    /// The number of occurrences that are due and wait for quota or for another try, by priority.
    pub(crate) waiting: [(Priority, usize); 3],
    /// Since the account is served.
    pub(crate) sent: Sent,
}

/// Requests that left, since the account is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// run_now.
    pub(crate) fires: u64,
    /// Questions for actions.
    pub(crate) follow_ups: u64,
    /// Questions whether stacks, jobs and the token are in order, and what became of attempts in
    /// doubt.
    pub(crate) checks: u64,
    /// Those of them that the API refused for want of quota.
    pub(crate) throttled: u64,
}

/// An account's standing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AccountStanding {
    /// The account's settings.
    pub(crate) account: Arc<Account>,
    pub(crate) gauges: Gauges,
    /// Nothing is left beyond the reserve, until then.
    pub(crate) exhausted_until: Option<Timestamp>,
    /// Requests that wait for their answer.
    pub(crate) in_flight: usize,
    /// Actions that have not finished and are asked for.
    pub(crate) following: usize,
    /// Occurrences that their own policies hold: `overlap: queue` and `stack_state`.
    pub(crate) held: usize,
    pub(crate) refused: Option<FinalRefusal>,
    pub(crate) trouble: Trouble,
}

/// A final refusal by the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FinalRefusal {
    pub(crate) entry: EntryName,
    pub(crate) at: Timestamp,
    pub(crate) status: u16,
    /// The API's words.
    pub(crate) error: String,
}

/// An occurrence that is due and not sent.
#[derive(Clone, Debug)]
pub(crate) struct WaitingOccurrence {
    pub(crate) entry: Arc<Entry>,
    pub(crate) scheduled_at: Timestamp,
    /// The pass of the wall clock through that instant.
    pub(crate) pass: u32,
    /// It is missed then.
    pub(crate) deadline: Timestamp,
    pub(crate) attempts: u32,
    /// The failure of the last attempt.
    pub(crate) error: Option<String>,
    /// A person asked for it.
    pub(crate) by_hand: bool,
    pub(crate) waits: Waits,
}

/// The reason why an occurrence waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// For quota, which should come back then.
    Quota { until: Option<Timestamp> },
    /// For the answers to requests before it.
    Turn,
    /// For the next attempt.
    Retry { until: Option<Timestamp> },
    /// For the entry's last action to finish.
    Overlap,
    /// For an obstacle at its stack or job to be over. `None`: for the answer to a look.
    Stack(Option<Obstacle>),
}

/// Returns the standing of accounts of which only the schedule is known: those of a daemon that
/// stands by.
pub(crate) fn unknown_standings(accounts: &[Arc<Account>], now: Now) -> Vec<(AccountName, AccountStanding)> {
    let dispatch = Dispatch::new(accounts, 0, now);
    dispatch.standings().map(|(name, standing)| (name.clone(), standing)).collect()
}

impl Dispatch {
    /// Returns each account's standing. The cost grows with the number of accounts, not with
    /// the number of occurrences that wait.
    pub(crate) fn standings(&self) -> impl Iterator<Item = (&AccountName, AccountStanding)> {
        self.accounts
            .iter()
            .map(|(name, access)| (name, access.standing(&self.quotas, self.occurrences.queue(name))))
    }

    /// Returns some of the waiting occurrences with the reason of each: of each account a fair
    /// share and at least one.
    pub(crate) fn waiting(&self, most: usize, now: Now) -> Vec<WaitingOccurrence> {
        let waits = |(name, access): (&AccountName, &AccountAccess)| {
            let queue = self.occurrences.queue(name)?;
            let closed_until = self.quotas.closed_until(access.admission.quota, Purpose::Fire);
            let mut waits = queue.waits(closed_until, now).peekable();
            waits.peek().is_some().then_some(waits)
        };
        let busy: Vec<_> = self.accounts.iter().filter_map(waits).collect();
        let share = most.div_ceil(busy.len().max(1));
        let each = busy.into_iter().flat_map(|waits| waits.take(share));
        let waiting = each.filter_map(|(id, waits)| {
            let pending = self.occurrences.get(id)?;
            Some(WaitingOccurrence {
                entry: Arc::clone(&pending.entry),
                scheduled_at: pending.scheduled_at,
                pass: pending.pass,
                deadline: pending.deadline,
                attempts: pending.history.attempts,
                error: pending.history.error.clone(),
                by_hand: pending.is_by_hand(),
                waits: match waits {
                    Waits::Stack(_) => Waits::Stack(pending.history.obstacle),
                    other => other,
                },
            })
        });
        waiting.collect()
    }

    /// Returns the occurrences that are planned and not due yet, the soonest first.
    pub(crate) fn planned(&self) -> impl Iterator<Item = (&Arc<Entry>, Timestamp)> {
        self.occurrences.future().map(|pending| (&pending.entry, pending.scheduled_at))
    }
}
