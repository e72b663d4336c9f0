//! Counts the occurrences that come due in each window of an account's quota: the timetable alone,
//! nothing rehearsed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::schedule::{Account, AccountName, EntryName, Schedule};
use crate::timetable::{Occurrence, Timetable, excluded};

/// The busiest window is looked for up to this time ahead.
const AHEAD: SignedDuration = SignedDuration::from_hours(7 * 24);

/// At most this many occurrences are counted. A schedule with more of them in a week shows its
/// peaks sooner.
pub(super) const MOST_COUNTED: usize = 1_000_000;

/// Windows of one length, the n-th beginning at n times its length since the epoch: an hourly one
/// on the clock hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Windows {
    millis: i64,
}

impl Windows {
    pub(super) fn of(length: Duration) -> Windows {
        Windows { millis: i64::try_from(length.as_millis()).unwrap_or(i64::MAX).max(1) }
    }

    /// The window that an instant is in.
    pub(super) fn index(self, at: Timestamp) -> i64 {
        // A fraction of a millisecond before the epoch is cut towards it, which no schedule will
        // notice.
        at.as_millisecond().div_euclid(self.millis)
    }

    /// Returns the beginning of a window.
    pub(super) fn start(self, index: i64) -> Timestamp {
        Timestamp::from_millisecond(index.saturating_mul(self.millis)).unwrap_or(Timestamp::MAX)
    }
}

/// The occurrences from `from` on that will ask for quota, with the instant at which each comes
/// due.
///
/// Those of paused entries are left out, and those that fall on a calendar: they are skipped.
pub(super) fn due(
    schedule: &Schedule,
    from: Timestamp,
    until: Timestamp,
) -> impl Iterator<Item = (Occurrence, Timestamp)> {
    let mut timetable = Timetable::new(schedule, from);
    let instants = std::iter::from_fn(move || {
        let next = timetable.next_at().filter(|&at| at < until)?;
        let after = next.checked_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX);
        Some(timetable.step(after.min(until)))
    });
    let asks = |occurrence: &Occurrence| {
        !occurrence.entry.paused && excluded(&occurrence.entry, occurrence.scheduled_at).is_none()
    };
    instants.flatten().filter(asks).map(|occurrence| {
        let due_at = occurrence.scheduled_at.checked_add(occurrence.entry.delay()).unwrap_or(Timestamp::MAX);
        (occurrence, due_at)
    })
}

/// Returns the number of occurrences that come due in each window of each account, in the
/// schedule's order of accounts. An occurrence counts as many times as `weight` says.
pub(super) fn by_window(
    schedule: &Schedule,
    due: impl Iterator<Item = (Occurrence, Timestamp)>,
    weight: impl Fn(&EntryName) -> u64,
) -> Vec<(Arc<Account>, Windows, BTreeMap<i64, u64>)> {
    let mut accounts: Vec<_> = (schedule.accounts.iter())
        .map(|account| (Arc::clone(account), Windows::of(account.quota.window), BTreeMap::new()))
        .collect();
    let places: HashMap<AccountName, usize> =
        accounts.iter().enumerate().map(|(place, (account, ..))| (account.name.clone(), place)).collect();
    for (occurrence, due_at) in due {
        if let Some(&place) = places.get(&occurrence.entry.account.name) {
            let (_, windows, counts) = &mut accounts[place];
            *counts.entry(windows.index(due_at)).or_insert(0) += weight(&occurrence.entry.name);
        }
    }
    accounts
}

/// The window of an account's quota in which most comes due.
#[derive(Clone, Debug, PartialEq)]
pub struct Busiest {
    /// The account whose quota it is.
    pub account: Arc<Account>,
    /// Beginning of the window.
    pub window_start: Timestamp,
    /// Number of occurrences that come due in the window.
    pub due: u64,
    /// Number of requests that the window has beyond the reserve.
    pub usable: u32,
}

impl Busiest {
    /// Returns the occurrences that come due, as a percentage of the usable requests.
    pub fn percent(&self) -> u64 {
        (self.due * 100).checked_div(self.usable.into()).unwrap_or(u64::MAX)
    }
}

/// Leaves of the entries that are always due together, on one account, the first alone. Returns as
/// well for how many entries each of those stands: 100,000 entries mostly have some thousand
/// expressions.
fn without_alike(schedule: &Schedule) -> (Schedule, HashMap<EntryName, u64>) {
    let mut firsts: HashMap<_, EntryName> = HashMap::new();
    let mut alike: HashMap<EntryName, u64> = HashMap::new();
    let mut entries = Vec::new();
    for entry in &schedule.entries {
        let is_plain = !entry.paused && entry.jitter.is_zero() && entry.not_on.is_empty();
        let zone = entry.timezone.iana_name().filter(|_| is_plain && !entry.cron.is_empty());
        let Some(zone) = zone else {
            entries.push(Arc::clone(entry));
            continue;
        };
        // Entries that have an expression in common hold it once.
        let first = firsts.entry((entry.cron.as_ptr(), zone, &entry.account.name)).or_insert_with(|| {
            entries.push(Arc::clone(entry));
            entry.name.clone()
        });
        *alike.entry(first.clone()).or_insert(0) += 1;
    }
    (Schedule { accounts: schedule.accounts.clone(), entries }, alike)
}

/// Returns the fullest window of an account. `None`: nothing is due.
pub(super) fn fullest(
    account: Arc<Account>,
    windows: Windows,
    counts: BTreeMap<i64, u64>,
) -> Option<Busiest> {
    // The first of several windows that are equally full.
    let (index, due) = counts.into_iter().rev().max_by_key(|&(_, due)| due)?;
    let usable = account.quota.limit - account.quota.reserve.of(account.quota.limit);
    Some(Busiest { account, window_start: windows.start(index), due, usable })
}

/// Of all accounts the window that is fullest, within the week from `from` on. `None` when nothing
/// is due.
///
/// Windows are taken to begin on the clock. Where a week has over a million occurrences the first
/// million are looked at; entries that are always due together are looked at as one.
pub fn busiest(schedule: &Schedule, from: Timestamp) -> Option<Busiest> {
    let until = from.checked_add(AHEAD).unwrap_or(Timestamp::MAX);
    let (schedule, alike) = without_alike(schedule);
    let weight = |entry: &EntryName| alike.get(entry).copied().unwrap_or(1);
    let accounts = by_window(&schedule, due(&schedule, from, until).take(MOST_COUNTED), weight);
    let fullest =
        accounts.into_iter().filter_map(|(account, windows, counts)| fullest(account, windows, counts));
    fullest.reduce(|fullest, next| if next.percent() > fullest.percent() { next } else { fullest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_are_always_due_together_count_each() {
        let text = "accounts: { main: { token: { env: T } }, other: { token: { env: T } } }\n\
                    defaults: { account: main }\n\
                    jobs:\n  \
                      a: { stack: s, job: a, cron: '0 1 * * *' }\n  \
                      b: { stack: s, job: b, cron: '0 1 * * *' }\n  \
                      later: { stack: s, job: c, cron: '0 1 * * *', jitter: 10m }\n  \
                      zone: { stack: s, job: d, cron: '0 1 * * *', timezone: Asia/Tokyo }\n  \
                      paused: { stack: s, job: e, cron: '0 1 * * *', paused: true }\n  \
                      of-other: { stack: s, job: f, cron: '0 1 * * *', account: other }\n";
        let schedule = crate::schedule::parse("test.yaml", text).expect("a valid file").schedule;
        let from = "2026-05-01T00:00:00Z".parse().expect("an instant");
        let busiest = busiest(&schedule, from).expect("something is due");
        assert_eq!((busiest.account.name.as_str(), busiest.due), ("main", 3), "a, b and later");
        assert_eq!(busiest.window_start, "2026-05-01T01:00:00Z".parse().expect("an instant"));
        let (first_ones, _) = without_alike(&schedule);
        let names: Vec<&str> = first_ones.entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["a", "later", "zone", "paused", "of-other"]);
    }
}
