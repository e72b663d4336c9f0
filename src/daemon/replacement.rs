//! Another schedule for a running daemon, and how it differs from the one before.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::cloud66::Client;
use crate::schedule::{AccountName, Entry, EntryName, Schedule};

/// What a daemon fires, and by what: a client for each of the schedule's accounts.
pub struct Replacement {
    /// The file, for the log.
    pub path: String,
    /// The schedule.
    pub schedule: Arc<Schedule>,
    /// A client for each account.
    pub clients: BTreeMap<AccountName, Client>,
}

/// How many entries differ between two schedules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) added: usize,
    pub(super) removed: usize,
    pub(super) changed: usize,
}

impl Difference {
    /// Compares by name: an entry with another name is another entry.
    pub(super) fn between(old: &[Arc<Entry>], new: &[Arc<Entry>]) -> Difference {
        let mut left: HashMap<&EntryName, &Arc<Entry>> =
            old.iter().map(|entry| (&entry.name, entry)).collect();
        let mut difference = Difference::default();
        for entry in new {
            match left.remove(&entry.name) {
                None => difference.added += 1,
                Some(before) if before != entry => difference.changed += 1,
                Some(_) => {}
            }
        }
        difference.removed = left.len();
        difference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(jobs: &str) -> Vec<Arc<Entry>> {
        let file = format!("accounts: {{ main: {{ token: {{ env: T }} }} }}\njobs:\n{jobs}");
        crate::schedule::parse("test.yaml", &file).expect("a valid file").schedule.entries
    }

    #[test]
    fn entries_are_compared_by_name() {
        let old =
            entries("  a: { stack: s, job: a, cron: '@daily' }\n  b: { stack: s, job: b, cron: '@daily' }\n");
        let new = entries(
            "  b: { stack: s, job: b, cron: '@hourly' }\n  c: { stack: s, job: a, cron: '@daily' }\n",
        );
        assert_eq!(Difference::between(&old, &old), Difference::default());
        assert_eq!(Difference::between(&old, &new), Difference { added: 1, removed: 1, changed: 1 });
    }
}
