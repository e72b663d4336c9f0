//! The looks at the accounts' quotas: half an hour as it was seen, a day by the minute.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use crate::control::Snapshot;
use crate::dispatch::AccountStanding;
use crate::schedule::AccountName;

/// Looks that are kept: half an hour.
const FINE: usize = 360;

/// One of this many samples is kept for a day: one a minute.
const THINNED: u64 = 12;

/// Looks of these that are kept: a day.
const COARSE: usize = 1440;

/// Accounts that are looked at: their looks take 200 kB each.
const MOST_ACCOUNTS: usize = 100;

/// The state of an account's quota at one instant. The keys are an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct QuotaSample {
    account: AccountName,
    at: Timestamp,
    limit: u32,
    /// `None`: the API has not told yet.
    remaining: Option<u32>,
    reserve: u32,
    /// Requests since the daemon serves the account.
    fires: u64,
    follow_ups: u64,
    checks: u64,
    /// Number of requests that the API refused for want of quota.
    throttled: u64,
}

/// The looks at one account.
#[derive(Debug, Default)]
struct AccountSamples {
    fine: VecDeque<QuotaSample>,
    coarse: VecDeque<QuotaSample>,
}

/// The looks at all accounts.
#[derive(Debug, Default)]
pub(super) struct Samples(Mutex<(u64, BTreeMap<AccountName, AccountSamples>)>);

impl Samples {
    /// Takes in a look.
    pub(super) fn take(&self, snapshot: &Snapshot) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (looks, accounts) = &mut *samples;
        let thinned = looks.is_multiple_of(THINNED);
        *looks += 1;
        accounts.retain(|known, _| snapshot.accounts.iter().any(|(name, _)| name == known));
        for (name, standing) in snapshot.accounts.iter().take(MOST_ACCOUNTS) {
            let sample = QuotaSample::of(name.clone(), snapshot.now, standing);
            let of_account = accounts.entry(name.clone()).or_default();
            if thinned {
                push(&mut of_account.coarse, sample.clone(), COARSE);
            }
            push(&mut of_account.fine, sample, FINE);
        }
    }

    /// Returns the samples by account, and by time within an account: all, or those of an instant
    /// and later.
    pub(super) fn all(&self, account: Option<&str>, since: Option<Timestamp>) -> Vec<QuotaSample> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted =
            samples.1.iter().filter(|(name, _)| account.is_none_or(|account| account == name.as_str()));
        let of_account = |looks: &AccountSamples| {
            let first = looks.fine.front().map(|sample| sample.at);
            let before = looks.coarse.iter().filter(|sample| Some(sample.at) < first);
            let wanted = |sample: &&QuotaSample| since.is_none_or(|since| since <= sample.at);
            before.chain(&looks.fine).filter(wanted).cloned().collect::<Vec<_>>()
        };
        wanted.flat_map(|(_, looks)| of_account(looks)).collect()
    }
}

impl QuotaSample {
    fn of(account: AccountName, at: Timestamp, standing: &AccountStanding) -> QuotaSample {
        let gauges = standing.gauges;
        QuotaSample {
            account,
            at,
            limit: gauges.limit,
            remaining: gauges.remaining,
            reserve: gauges.reserve,
            fires: gauges.sent.fires,
            follow_ups: gauges.sent.follow_ups,
            checks: gauges.sent.checks,
            throttled: gauges.sent.throttled,
        }
    }
}

fn push(samples: &mut VecDeque<QuotaSample>, sample: QuotaSample, most: usize) {
    if samples.len() == most {
        samples.pop_front();
    }
    samples.push_back(sample);
}
