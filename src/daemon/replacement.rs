//! Another schedule for a running daemon, and how it differs from the one before.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use crate::cloud66::Client;
use crate::notify::Audience;
use crate::schedule::{AccountName, ByName, Entry, EntryName, Schedule};
use crate::timetable::Timetable;

/// Another schedule, with all that can be made of it before it takes over.
pub struct Replacement {
    /// The file, for the log.
    pub(super) path: String,
    /// What the file is known by among those who share a journal.
    pub(super) fingerprint: String,
    pub(super) clients: BTreeMap<AccountName, Client>,
    pub(super) audience: Audience,
    pub(super) difference: Difference,
    pub(super) prepared: Prepared,
}

/// A schedule in the forms that take long to make of it.
pub(crate) struct Prepared {
    pub(super) schedule: Arc<Schedule>,
    pub(super) entries: Arc<ByName>,
    pub(super) timetable: Timetable,
}

impl Replacement {
    /// Prepares a schedule to take over from the one before, some time after `now`. Takes long for a large one: it
    /// is no work for the loop. `clients` has one for each account.
    pub fn prepare(
        path: String,
        mut schedule: Schedule,
        clients: BTreeMap<AccountName, Client>,
        audience: Audience,
        before: &Schedule,
        now: Timestamp,
    ) -> Replacement {
        let difference = Difference::share(before, &mut schedule);
        Replacement {
            path,
            fingerprint: String::new(),
            clients,
            audience,
            difference,
            prepared: Prepared::new(Arc::new(schedule), now),
        }
    }

    /// The same, of a file with this fingerprint.
    pub fn known_by(self, fingerprint: String) -> Replacement {
        Replacement { fingerprint, ..self }
    }

    /// The schedule that takes over.
    pub fn schedule(&self) -> &Arc<Schedule> {
        &self.prepared.schedule
    }
}

impl Prepared {
    /// Its timetable begins at `now`.
    pub(crate) fn new(schedule: Arc<Schedule>, now: Timestamp) -> Prepared {
        let timetable = Timetable::new(&schedule, now);
        Prepared { entries: Arc::new(schedule.by_name()), timetable, schedule }
    }
}

/// How many entries differ between two schedules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) added: usize,
    pub(super) removed: usize,
    pub(super) changed: usize,
}

impl Difference {
    /// Compares by name: an entry with another name is another entry. An entry that is unchanged is shared from then
    /// on, so that nobody has to compare it again.
    fn share(old: &Schedule, new: &mut Schedule) -> Difference {
        let mut left: HashMap<&EntryName, &Arc<Entry>> =
            old.entries.iter().map(|entry| (&entry.name, entry)).collect();
        let mut difference = Difference::default();
        for entry in &mut new.entries {
            match left.remove(&entry.name) {
                None => difference.added += 1,
                Some(before) if before != entry => difference.changed += 1,
                Some(before) => *entry = Arc::clone(before),
            }
        }
        difference.removed = left.len();
        difference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(jobs: &str) -> Schedule {
        let file = format!("accounts: {{ main: {{ token: {{ env: T }} }} }}\njobs:\n{jobs}");
        crate::schedule::parse("test.yaml", &file).expect("a valid file").schedule
    }

    #[test]
    fn entries_are_compared_by_name() {
        let old = schedule(
            "  a: { stack: s, job: a, cron: '@daily' }\n  b: { stack: s, job: b, cron: '@daily' }\n",
        );
        let mut new = schedule(
            "  b: { stack: s, job: b, cron: '@hourly' }\n  c: { stack: s, job: a, cron: '@daily' }\n",
        );
        let difference = Difference { added: 1, removed: 1, changed: 1 };
        assert_eq!(Difference::share(&old, &mut new), difference);
        let mut again = old.clone();
        again.entries = again.entries.iter().map(|entry| Arc::new(Entry::clone(entry))).collect();
        assert_eq!(Difference::share(&old, &mut again), Difference::default());
        assert!(Arc::ptr_eq(&old.entries[0], &again.entries[0]), "what is unchanged is shared");
    }
}
