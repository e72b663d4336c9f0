//! The timestamps of each entry: its last success, its last end, its next due instant, and how far
//! apart its occurrences are.
//!
//! Each entry is a few series, and whoever keeps them pays for each, so that only the first entries
//! of the file have them (`--metrics-entries`). Ends are known from two sides: from the events of
//! this process as they happen, and from the journal for what happened before it began or while
//! another member led. The journal is read at the first scrape, and again while this member stands
//! by and once after that; a later end replaces an earlier one, whichever side tells it.
//!
//! Example: a daemon that is started at 09:00 reads in the journal that `nightly` succeeded at
//! 01:31, and tells it at the first scrape. At 10:00 it loses the lease; the run of 11:00 that the
//! new leader started is told here by 11:01, as it was read in the journal.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::journal::LastEnds;
use crate::schedule::{Entry, EntryName, Schedule};
use crate::timetable::{excluded, occurrences, previous};

/// Entries that have series unless `--metrics-entries` says how many: some thousand series are
/// little for a Prometheus server, and a hundred thousand are much.
pub const DEFAULT_ENTRIES: usize = 1_000;

/// Gaps between occurrences that are looked at for the interval: with five working days a week the
/// weekend is one of them.
const GAPS: usize = 8;

/// Occurrences that are looked at for one that falls on no calendar. More of them in a row are
/// skipped only by a calendar that excludes nearly all.
const MOST_SKIPPED: usize = 500;

/// While another member leads, the journal is read no sooner after this time, and no sooner than
/// this many times as long as the last read took.
const READ_EVERY: Duration = Duration::from_secs(30);
const READ_TIMES: u32 = 20;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EntryCounters {
    entry: String,
}

/// The series of the entries.
#[derive(Debug)]
pub(super) struct Entries {
    most: usize,
    state: Mutex<EntryMetrics>,
    /// Another member led, or leads, since the last read of the journal began.
    others_led: AtomicBool,
    last_success: Family<EntryCounters, Gauge>,
    last_end: Family<EntryCounters, Gauge>,
    next_due: Family<EntryCounters, Gauge>,
    interval: Family<EntryCounters, Gauge>,
}

#[derive(Debug, Default)]
struct EntryMetrics {
    /// The last ends of all entries, those without series too: which ones have them may change.
    ends: BTreeMap<EntryName, LastEnds>,
    /// The entries that have series.
    shown: BTreeMap<EntryName, Shown>,
    /// When the journal was last read, and how long that took.
    read: Option<(Instant, Duration)>,
}

/// An entry that has series.
#[derive(Debug)]
struct Shown {
    entry: Arc<Entry>,
    /// The next due instant as it was last worked out. `None`: not yet, or there is none.
    next: Option<Timestamp>,
}

impl Entries {
    /// No series yet, and for this many entries at most.
    pub(super) fn new(most: usize) -> Entries {
        Entries {
            most,
            state: Mutex::default(),
            others_led: AtomicBool::new(false),
            last_success: Family::default(),
            last_end: Family::default(),
            next_due: Family::default(),
            interval: Family::default(),
        }
    }

    /// The table of names.
    pub(super) fn register(&self, r: &mut Registry) {
        let mut add = |name, help, family: &Family<EntryCounters, Gauge>| {
            r.register_with_unit(name, help, Unit::Seconds, family.clone());
        };
        add(
            "entry_last_success_timestamp",
            "When an action of the entry last ended with success, since the epoch",
            &self.last_success,
        );
        add(
            "entry_last_end_timestamp",
            "When an action of the entry last ended, since the epoch",
            &self.last_end,
        );
        add("entry_next_due_timestamp", "When the entry is due next, since the epoch", &self.next_due);
        add(
            "entry_interval",
            "The longest time between two occurrences of the entry, of the last eight and the next one",
            &self.interval,
        );
    }

    /// Takes in that an action of an entry has ended.
    pub(super) fn ended(&self, name: &EntryName, at: Timestamp, success: bool) {
        let ends = LastEnds { end: Some(at), success: success.then_some(at) };
        self.state().ends.entry(name.clone()).or_default().merge(ends);
    }

    /// Another member leads some of the entries: their ends are in the journal alone.
    pub(super) fn others_lead(&self) {
        self.others_led.store(true, Ordering::Relaxed);
    }

    /// Returns true when the journal has ends that are not known here. Who asks reads it then.
    pub(super) fn begins_reading(&self, now: Instant) -> bool {
        if self.most == 0 {
            return false;
        }
        let mut state = self.state();
        let is_due = match state.read {
            None => true,
            Some((at, took)) => {
                self.others_led.load(Ordering::Relaxed)
                    && now.duration_since(at) >= READ_EVERY.max(took * READ_TIMES)
            }
        };
        if is_due {
            // Set again by whoever stands by, at its next turn.
            self.others_led.store(false, Ordering::Relaxed);
            state.read = Some((now, Duration::ZERO));
        }
        is_due
    }

    /// Takes in what the journal has. `None`: it could not be read, and is read again later.
    pub(super) fn read(&self, ends: Option<Vec<(EntryName, LastEnds)>>, began: Instant) {
        let mut state = self.state();
        state.read = Some((began, began.elapsed()));
        match ends {
            None => self.others_lead(),
            Some(ends) => {
                for (name, ends) in ends {
                    state.ends.entry(name).or_default().merge(ends);
                }
            }
        }
    }

    /// Brings the series up to date with the schedule in force, and with what a person has paused.
    pub(super) fn refresh(&self, schedule: &Schedule, paused: &BTreeSet<EntryName>, now: Timestamp) {
        let mut state = self.state();
        let EntryMetrics { ends, shown, .. } = &mut *state;
        let mut before = std::mem::take(shown);
        for entry in schedule.entries.iter().take(self.most) {
            // A reload keeps the pointer of an entry that has not changed.
            let next = before
                .remove(&entry.name)
                .and_then(|was| was.next.filter(|_| Arc::ptr_eq(&was.entry, entry)));
            shown.insert(entry.name.clone(), Shown { entry: Arc::clone(entry), next });
        }
        for gone in before.into_keys() {
            let labels = EntryCounters { entry: gone.to_string() };
            for family in [&self.last_success, &self.last_end, &self.next_due, &self.interval] {
                family.remove(&labels);
            }
        }
        if ends.len() > schedule.entries.len() {
            let names: HashSet<&EntryName> = schedule.entries.iter().map(|entry| &entry.name).collect();
            ends.retain(|name, _| names.contains(name));
        }
        for (name, Shown { entry, next }) in shown {
            let labels = EntryCounters { entry: name.to_string() };
            let set = |family: &Family<EntryCounters, Gauge>, value: Option<i64>| match value {
                Some(value) => {
                    family.get_or_create(&labels).set(value);
                }
                None => {
                    family.remove(&labels);
                }
            };
            let LastEnds { end, success } = ends.get(name).copied().unwrap_or_default();
            set(&self.last_success, success.map(Timestamp::as_second));
            set(&self.last_end, end.map(Timestamp::as_second));
            // The occurrences of an entry that is paused are skipped.
            if entry.paused || paused.contains(name) {
                *next = None;
                set(&self.next_due, None);
                set(&self.interval, None);
                continue;
            }
            if next.is_some_and(|next| next > now) {
                continue;
            }
            *next = next_run(entry, now);
            set(&self.next_due, next.map(Timestamp::as_second));
            // An entry that comes after another one is due as often as that one.
            let root = schedule.root(entry);
            let root_next = if entry.after.is_some() { next_run(root, now) } else { *next };
            set(&self.interval, root_next.and_then(|next| interval(root, next)));
        }
    }

    fn state(&self) -> MutexGuard<'_, EntryMetrics> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first due instant after `now` that falls on no calendar.
fn next_run(entry: &Entry, now: Timestamp) -> Option<Timestamp> {
    let mut upcoming = occurrences(entry, now, Timestamp::MAX).take(MOST_SKIPPED);
    let scheduled_at = upcoming.find(|at| *at > now && excluded(entry, *at).is_none())?;
    scheduled_at.checked_add(entry.delay()).ok()
}

/// The longest gap between the last few occurrences and the next one, in seconds.
fn interval(entry: &Entry, next: Timestamp) -> Option<i64> {
    let (mut longest, mut gaps, mut later, mut at) = (0, 0, next, next);
    for _ in 0..MOST_SKIPPED {
        let Some(earlier) = previous(entry, at) else { break };
        at = earlier;
        if excluded(entry, at).is_some() {
            continue;
        }
        longest = longest.max(later.as_second() - at.as_second());
        (later, gaps) = (at, gaps + 1);
        if gaps > GAPS {
            break;
        }
    }
    (longest > 0).then_some(longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timetable::tests::at;

    fn schedule(jobs: &str) -> Schedule {
        let file = format!(
            "accounts: {{ main: {{ token: {{ env: T }} }} }}\n\
             calendars: {{ eve: {{ dates: [2026-12-24, 2026-12-25] }} }}\njobs:\n{jobs}"
        );
        crate::schedule::parse("test.yaml", &file).expect("a valid file").schedule
    }

    /// The value of a series, where there is one.
    fn value(family: &Family<EntryCounters, Gauge>, name: &str) -> Option<i64> {
        family.get(&EntryCounters { entry: name.to_owned() }).map(|gauge| gauge.get())
    }

    fn name(name: &str) -> EntryName {
        EntryName::new(name).expect("a name")
    }

    #[test]
    fn the_interval_is_the_longest_gap_that_is_to_be_expected() {
        let schedule = schedule(
            "  work: { stack: s, job: a, cron: '0 9 * * MON-FRI' }\n\
             \x20 feast: { stack: s, job: b, cron: '0 9 * * *', not_on: eve }\n\
             \x20 then: { stack: s, job: c, after: work }\n",
        );
        let entries = Entries::new(2);
        entries.refresh(&schedule, &BTreeSet::new(), at("2026-12-23T12:00:00Z"));
        let next =
            |name| value(&entries.next_due, name).map(|next| Timestamp::from_second(next).expect("it"));
        assert_eq!(next("work"), Some(at("2026-12-24T09:00:00Z")));
        assert_eq!(next("feast"), Some(at("2026-12-26T09:00:00Z")));
        assert_eq!(value(&entries.interval, "work"), Some(3 * 86_400));
        assert_eq!(value(&entries.interval, "feast"), Some(3 * 86_400));
        assert_eq!(value(&entries.interval, "then"), None, "only the first two entries have series");
        let entries = Entries::new(3);
        entries.refresh(&schedule, &BTreeSet::from([name("feast")]), at("2026-12-23T12:00:00Z"));
        assert_eq!(value(&entries.interval, "then"), Some(3 * 86_400));
        assert_eq!(value(&entries.interval, "feast"), None, "it is paused");
    }

    #[test]
    fn the_later_end_counts_whoever_tells_it() {
        let schedule = schedule("  a: { stack: s, job: a, cron: '@hourly' }\n");
        let entries = Entries::new(10);
        let (nine, ten) = (at("2026-11-30T09:00:00Z"), at("2026-11-30T10:00:00Z"));
        entries.ended(&name("a"), ten, false);
        let began = Instant::now();
        assert!(entries.begins_reading(began), "at first");
        entries.read(Some(vec![(name("a"), LastEnds { end: Some(nine), success: Some(nine) })]), began);
        entries.refresh(&schedule, &BTreeSet::new(), ten);
        let told = || (value(&entries.last_success, "a"), value(&entries.last_end, "a"));
        assert_eq!(told(), (Some(nine.as_second()), Some(ten.as_second())));
        assert!(!entries.begins_reading(began + Duration::from_secs(3600)), "the events tell the rest");
        entries.others_lead();
        assert!(!entries.begins_reading(began), "it was read a moment ago");
        assert!(entries.begins_reading(began + READ_EVERY * 2), "another member led");
        assert!(!entries.begins_reading(began + READ_EVERY * 4), "it has been read since");
    }

    #[test]
    fn an_entry_that_is_gone_has_no_series() {
        let entries = Entries::new(10);
        let now = at("2026-11-30T10:00:00Z");
        entries.refresh(&schedule("  a: { stack: s, job: a, cron: '@hourly' }\n"), &BTreeSet::new(), now);
        assert!(value(&entries.next_due, "a").is_some(), "it is due");
        entries.refresh(&schedule("  b: { stack: s, job: a, cron: '@hourly' }\n"), &BTreeSet::new(), now);
        assert_eq!((value(&entries.next_due, "a"), value(&entries.interval, "a")), (None, None));
    }
}
