//! Compares two schedules over a span of time: occurrences that come and go, and the fullest window
//! of each account's quota before and after.
//!
//! An entry is looked at where something that it says has changed, or something that an entry says
//! which it comes after. Those that have not changed have the same occurrences in both schedules.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::load::{self, Busiest, MOST_COUNTED};
use crate::schedule::{AccountName, Entry, EntryName, Followers, Schedule};
use crate::timetable::excluded;

/// Span over which a change is looked at.
const AHEAD: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The effect of a change of the schedule on the week from an instant on.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Beginning of the week.
    pub from: Timestamp,
    /// End of the week, itself excluded.
    pub until: Timestamp,
    /// The entries that differ, in the order of their names.
    pub entries: Vec<EntryDifference>,
    /// Every account of either schedule: first those of the new one, in its order.
    pub accounts: Vec<AccountDifference>,
    /// The entries that differ have over a million occurrences: the first million were compared.
    pub cut: bool,
}

/// The difference of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryDifference {
    /// Its name.
    pub entry: EntryName,
    /// The kind of change.
    pub change: Change,
    /// The keys of the schedule file whose values differ. Empty where the entry is in one schedule
    /// alone, or where only an entry differs that it comes after.
    pub keys: Vec<&'static str>,
    /// Instants at which it is due under the new schedule alone.
    pub come: Vec<Timestamp>,
    /// Instants at which it was due under the old schedule alone.
    pub go: Vec<Timestamp>,
    /// Number of instants that are in both schedules.
    pub stay: usize,
}

/// The kind of change of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The old schedule does not have it.
    Added,
    /// The new schedule does not have it.
    Removed,
    /// Both have it.
    Changed,
}

impl Change {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Changed => "changed",
        }
    }
}

/// An account's quota, and the window of it in which most comes due, before and after.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountDifference {
    /// Its name.
    pub account: AccountName,
    /// Under the old schedule. `None`: it had no such account.
    pub before: Option<Load>,
    /// Under the new schedule. `None`: it has no such account.
    pub after: Option<Load>,
}

/// The load on an account's quota.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Requests in a window beyond the reserve.
    pub usable: u32,
    /// The fullest window. `None`: nothing is due.
    pub peak: Option<Busiest>,
}

impl Difference {
    /// Computes the effect of the change from the old schedule to the new one on the week from
    /// `from` on.
    pub fn new(old: &Schedule, new: &Schedule, from: Timestamp) -> Difference {
        let until = from.checked_add(AHEAD).unwrap_or(Timestamp::MAX);
        let (before, after) = (old.by_name(), new.by_name());
        let mut differing: BTreeMap<&EntryName, (Change, Vec<&'static str>)> = BTreeMap::new();
        for (name, entry) in &after {
            match before.get(name) {
                None => {
                    differing.insert(name, (Change::Added, Vec::new()));
                }
                Some(was) => {
                    let keys = keys(was, entry);
                    if !keys.is_empty() {
                        differing.insert(name, (Change::Changed, keys));
                    }
                }
            }
        }
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            differing.insert(name, (Change::Removed, Vec::new()));
        }
        let names: HashSet<&EntryName> = differing.keys().copied().collect();
        let (was, was_cut) = instants(old, &names, from, until);
        let (is, is_cut) = instants(new, &names, from, until);
        let none = Vec::new();
        // Those that come after an entry that differs may differ with it.
        let mut all: Vec<&EntryName> = was.keys().chain(is.keys()).chain(differing.keys().copied()).collect();
        all.sort_unstable();
        all.dedup();
        let entries = all.into_iter().filter_map(|name| {
            let (was, is) = (was.get(name).unwrap_or(&none), is.get(name).unwrap_or(&none));
            let (come, go, stay) = compared(was, is);
            let known = differing.get(name).cloned();
            if known.is_none() && come.is_empty() && go.is_empty() {
                return None;
            }
            let (change, keys) = known.unwrap_or((Change::Changed, Vec::new()));
            Some(EntryDifference { entry: name.clone(), change, keys, come, go, stay })
        });
        Difference {
            from,
            until,
            entries: entries.collect(),
            accounts: accounts(old, new, from, until),
            cut: was_cut || is_cut,
        }
    }
}

/// The instants of the named entries and of all in a chain with them, each list in order; and
/// whether there were more than are counted.
fn instants(
    schedule: &Schedule,
    names: &HashSet<&EntryName>,
    from: Timestamp,
    until: Timestamp,
) -> (BTreeMap<EntryName, Vec<Timestamp>>, bool) {
    let followers = Followers::of(&schedule.entries);
    let by_the_clock = schedule.entries.iter().filter(|entry| entry.after.is_none());
    let is_asked =
        |entry: &&Arc<Entry>| followers.chain(entry).iter().any(|entry| names.contains(&entry.name));
    let part = Schedule {
        accounts: schedule.accounts.clone(),
        entries: by_the_clock.filter(is_asked).cloned().collect(),
    };
    let mut instants: BTreeMap<EntryName, Vec<Timestamp>> = BTreeMap::new();
    let mut counted = 0;
    // The first entry of a chain that is skipped has nothing that comes after it.
    for (occurrence, _) in load::due(&part, from, until) {
        let at = occurrence.scheduled_at;
        for entry in followers.chain(&occurrence.entry) {
            if entry.paused || excluded(&entry, at).is_some() {
                continue;
            }
            instants.entry(entry.name.clone()).or_default().push(at);
            counted += 1;
        }
        if counted >= MOST_COUNTED {
            return (instants, true);
        }
    }
    (instants, false)
}

/// Returns the instants that come, those that go, and the number of those that stay, of two sorted
/// lists.
fn compared(was: &[Timestamp], is: &[Timestamp]) -> (Vec<Timestamp>, Vec<Timestamp>, usize) {
    let (mut come, mut go, mut stay) = (Vec::new(), Vec::new(), 0);
    let (mut was, mut is) = (was.iter().peekable(), is.iter().peekable());
    loop {
        match (was.peek(), is.peek()) {
            (Some(old), Some(new)) if old == new => {
                stay += 1;
                was.next();
                is.next();
            }
            (Some(old), Some(new)) if old < new => go.extend(was.next()),
            (_, Some(_)) => come.extend(is.next()),
            (Some(_), None) => go.extend(was.next()),
            (None, None) => return (come, go, stay),
        }
    }
}

fn accounts(old: &Schedule, new: &Schedule, from: Timestamp, until: Timestamp) -> Vec<AccountDifference> {
    let loads = |schedule: &Schedule| -> HashMap<AccountName, Load> {
        let due = load::due(schedule, from, until).take(MOST_COUNTED);
        let fullest = load::by_window(schedule, due, |_| 1).into_iter().map(|(account, windows, counts)| {
            let usable = account.quota.limit - account.quota.reserve.of(account.quota.limit);
            let (name, peak) = (account.name.clone(), load::fullest(account, windows, counts));
            (name, Load { usable, peak })
        });
        fullest.collect()
    };
    let (mut before, mut after) = (loads(old), loads(new));
    let of_new = new.accounts.iter().map(|account| &account.name);
    let is_gone = |name: &&AccountName| new.accounts.iter().all(|account| account.name != **name);
    let of_old = old.accounts.iter().map(|account| &account.name).filter(is_gone);
    let all = of_new.chain(of_old).map(|name| AccountDifference {
        account: name.clone(),
        before: before.remove(name),
        after: after.remove(name),
    });
    all.collect()
}

/// The keys of an entry whose values differ. The account's own settings are the account's: it is
/// compared by its name.
fn keys(old: &Entry, new: &Entry) -> Vec<&'static str> {
    // All fields are named, so that the compiler tells of a new one.
    let Entry {
        name: _,
        account,
        stack,
        job,
        cron,
        after,
        timezone,
        args,
        args_template,
        overlap,
        catch_up,
        start_deadline,
        jitter,
        priority,
        idempotent,
        follow,
        paused,
        retry,
        stack_state,
        notify,
        not_on,
        expect,
    } = old;
    let differs = [
        ("stack", *stack != new.stack),
        ("job", *job != new.job),
        ("cron", *cron != new.cron),
        ("after", *after != new.after),
        ("timezone", *timezone != new.timezone),
        ("args", *args != new.args),
        ("args_template", *args_template != new.args_template),
        ("account", account.name != new.account.name),
        ("overlap", *overlap != new.overlap),
        ("catch_up", *catch_up != new.catch_up),
        ("start_deadline", *start_deadline != new.start_deadline),
        ("jitter", *jitter != new.jitter),
        ("priority", *priority != new.priority),
        ("idempotent", *idempotent != new.idempotent),
        ("follow", *follow != new.follow),
        ("paused", *paused != new.paused),
        ("retry", *retry != new.retry),
        ("stack_state", *stack_state != new.stack_state),
        ("notify", *notify != new.notify),
        ("not_on", *not_on != new.not_on),
        ("expect", *expect != new.expect),
    ];
    differs.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(limit: u32, jobs: &str) -> Schedule {
        let file = format!(
            "accounts: {{ main: {{ token: {{ env: T }}, quota: {{ limit: {limit}, reserve: 0 }} }} }}\n\
             calendars: {{ day: {{ dates: 2026-12-01 }} }}\njobs:\n{jobs}"
        );
        crate::schedule::parse("test.yaml", &file).expect("a valid file").schedule
    }

    fn told(old: &Schedule, new: &Schedule) -> String {
        let monday = "2026-11-30T00:00:00Z".parse().expect("an instant");
        let difference = Difference::new(old, new, monday);
        let entries = difference.entries.iter().map(|entry| {
            let EntryDifference { entry, change, keys, come, go, stay } = entry;
            let (come, go) = (come.len(), go.len());
            format!("{entry} {} {keys:?} +{come} -{go} ={stay}", change.as_str())
        });
        let load = |load: &Option<Load>| {
            load.as_ref().map(|load| (load.peak.as_ref().map_or(0, |peak| peak.due), load.usable))
        };
        let accounts = difference.accounts.iter().map(|account| {
            format!("{} {:?} {:?}", account.account, load(&account.before), load(&account.after))
        });
        entries.chain(accounts).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_comes_goes_and_stays_is_told_of_each_entry_that_differs() {
        let old = schedule(
            100,
            "  same: { stack: s, job: a, cron: '0 * * * *' }\n\
             \x20 gone: { stack: s, job: b, cron: '0 9 * * *' }\n\
             \x20 moved: { stack: s, job: c, cron: '0 9,12 * * *' }\n\
             \x20 after: { stack: s, job: d, after: moved }\n\
             \x20 free: { stack: s, job: e, cron: '0 9 * * *' }\n\
             \x20 other: { stack: s, job: f, cron: '0 9 * * *' }\n",
        );
        let new = schedule(
            50,
            "  same: { stack: s, job: a, cron: '0 * * * *' }\n\
             \x20 moved: { stack: s, job: c, cron: '0 9,15 * * *' }\n\
             \x20 after: { stack: s, job: d, after: moved }\n\
             \x20 free: { stack: s, job: e, cron: '0 9 * * *', not_on: day }\n\
             \x20 other: { stack: s, job: f, cron: '0 9 * * *', overlap: skip, args: x }\n\
             \x20 fresh: { stack: s, job: g, cron: '*/10 9 * * *' }\n",
        );
        assert_eq!(
            told(&old, &new),
            "after changed [] +7 -7 =7\n\
             free changed [\"not_on\"] +0 -1 =6\n\
             fresh added [] +42 -0 =0\n\
             gone removed [] +0 -7 =0\n\
             moved changed [\"cron\"] +7 -7 =7\n\
             other changed [\"args\", \"overlap\"] +0 -0 =7\n\
             main Some((5, 100)) Some((10, 50))"
        );
        assert_eq!(told(&old, &old), "main Some((5, 100)) Some((5, 100))");
    }

    #[test]
    fn an_account_that_comes_or_goes_is_told() {
        let other = crate::schedule::parse(
            "test.yaml",
            "accounts: { other: { token: { env: T } } }\njobs:\n  a: { stack: s, job: a, cron: '@daily' }\n",
        )
        .expect("a valid file")
        .schedule;
        let main = schedule(100, "  a: { stack: s, job: a, cron: '@daily' }\n");
        assert_eq!(
            told(&main, &other),
            "a changed [\"account\"] +0 -0 =7\nother None Some((1, 3420))\nmain Some((1, 100)) None"
        );
    }
}
