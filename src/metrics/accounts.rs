//! The metrics of each account: its quota, the occurrences that wait for it, and the requests that
//! were sent.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::dispatch::Gauges;
use crate::schedule::{AccountName, Priority};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AccountCounters {
    account: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WaitingGauges {
    account: String,
    priority: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestCounters {
    account: String,
    purpose: &'static str,
}

/// A count that is known in whole: it is stored, not added to.
type Total = Counter<u64, AtomicU64>;

/// The series of the accounts that are served.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    waiting: Family<WaitingGauges, Gauge>,
    limit: Family<AccountCounters, Gauge>,
    remaining: Family<AccountCounters, Gauge>,
    reserve: Family<AccountCounters, Gauge>,
    exhausted: Family<AccountCounters, Gauge>,
    requests: Family<RequestCounters, Total>,
    throttled: Family<AccountCounters, Total>,
}

impl Accounts {
    /// The table of names.
    pub(super) fn register(&self, r: &mut Registry) {
        r.register(
            "waiting",
            "Occurrences that are due and wait for quota or for another try",
            self.waiting.clone(),
        );
        r.register("quota_limit", "Requests that the API allows in a window", self.limit.clone());
        r.register(
            "quota_remaining",
            "Requests that are left in the window, as newest told by the API",
            self.remaining.clone(),
        );
        r.register("quota_reserve", "Requests that are left to people and CI", self.reserve.clone());
        r.register(
            "quota_exhausted",
            "Whether nothing is left of the quota but the reserve",
            self.exhausted.clone(),
        );
        r.register("requests", "Requests that were admitted, by purpose", self.requests.clone());
        r.register("throttled", "Requests that the API refused for want of quota", self.throttled.clone());
    }

    /// Replaces the accounts that are shown with those that are served now. An account that is no
    /// longer served is removed: its figures would stand still for ever.
    pub(super) fn stand<'a>(
        &self,
        served: &Mutex<Vec<AccountName>>,
        accounts: impl Iterator<Item = (&'a AccountName, Gauges)>,
    ) {
        let mut served = served.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = std::mem::take(&mut *served);
        for (account, gauges) in accounts {
            self.stands(account, &gauges);
            gone.retain(|other| other != account);
            served.push(account.clone());
        }
        gone.iter().for_each(|account| self.forget(account));
    }

    fn stands(&self, account: &AccountName, gauges: &Gauges) {
        let labels = AccountCounters { account: account.to_string() };
        self.limit.get_or_create(&labels).set(gauges.limit.into());
        self.reserve.get_or_create(&labels).set(gauges.reserve.into());
        self.exhausted.get_or_create(&labels).set(gauges.exhausted.into());
        // Before the API has told it there is no series: zero would be an alarm.
        if let Some(remaining) = gauges.remaining {
            self.remaining.get_or_create(&labels).set(remaining.into());
        }
        for (priority, count) in gauges.waiting {
            let labels = WaitingGauges { account: labels.account.clone(), priority: word(priority) };
            self.waiting.get_or_create(&labels).set(count.try_into().unwrap_or(i64::MAX));
        }
        let sent = gauges.sent;
        for (purpose, count) in [("fire", sent.fires), ("follow_up", sent.follow_ups), ("check", sent.checks)]
        {
            let labels = RequestCounters { account: labels.account.clone(), purpose };
            self.requests.get_or_create(&labels).inner().store(count, Relaxed);
        }
        self.throttled.get_or_create(&labels).inner().store(sent.throttled, Relaxed);
    }

    fn forget(&self, account: &AccountName) {
        let labels = AccountCounters { account: account.to_string() };
        for family in [&self.limit, &self.remaining, &self.reserve, &self.exhausted] {
            family.remove(&labels);
        }
        self.throttled.remove(&labels);
        for priority in [Priority::High, Priority::Normal, Priority::Low] {
            self.waiting.remove(&WaitingGauges { account: labels.account.clone(), priority: word(priority) });
        }
        for purpose in ["fire", "follow_up", "check"] {
            self.requests.remove(&RequestCounters { account: labels.account.clone(), purpose });
        }
    }
}

fn word(priority: Priority) -> &'static str {
    match priority {
        Priority::High => "high",
        Priority::Normal => "normal",
        Priority::Low => "low",
    }
}
