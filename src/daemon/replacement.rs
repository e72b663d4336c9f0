//! Another schedule for a running daemon, and how it differs from the one before.
//!
//! It is read, validated and prepared on a thread that yields to sends. The loop takes over a
//! timetable that is built and entries that share what is unchanged, so that its pause does not
//! grow with the file.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::cloud66::Client;
use crate::dispatch::Links;
use crate::notify::Audience;
use crate::schedule::{AccountName, ByName, NamedCalendar, Pairs, Schedule, Shard};
use crate::timetable::Timetable;

/// Another schedule, with all that can be made of it before it takes over.
pub struct Replacement {
    /// The file, for the log.
    pub(super) path: String,
    /// Fingerprint of the file, by which the members of a journal compare their schedules.
    pub(super) fingerprint: String,
    pub(super) audience: Audience,
    pub(super) difference: DifferenceCounts,
    /// The whole schedule.
    pub(super) schedule: Arc<Schedule>,
    /// The part of each loop.
    pub(super) parts: BTreeMap<Shard, ShardPart>,
}

/// The part of a new schedule that one loop takes over.
pub(super) struct ShardPart {
    pub(super) clients: Clients,
    /// The schedule of all loops.
    pub(super) whole: Arc<Schedule>,
    pub(super) prepared: Prepared,
    /// Told once the loop has taken its part over.
    pub(super) done: Option<oneshot::Sender<()>>,
}

/// A client for each account.
pub(super) type Clients = BTreeMap<AccountName, Client>;

/// Division of a schedule among loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loops {
    /// One loop for the whole schedule: nobody shares the journal.
    One,
    /// One loop for each shard: several daemons share the journal.
    OfShards,
}

impl ShardPart {
    /// Returns the part of a schedule that belongs to one shard. A schedule of one shard is not
    /// copied.
    pub(super) fn schedule(schedule: &Arc<Schedule>, shard: &Shard) -> Arc<Schedule> {
        match schedule.accounts.iter().all(|account| account.shard == *shard) {
            true => Arc::clone(schedule),
            false => Arc::new(schedule.of_shard(shard)),
        }
    }

    /// The clients of each shard.
    pub(super) fn clients(schedule: &Schedule, clients: Clients, loops: Loops) -> BTreeMap<Shard, Clients> {
        if loops == Loops::One {
            return BTreeMap::from([(Shard::Common, clients)]);
        }
        let mut parts: BTreeMap<Shard, Clients> =
            schedule.shards().into_iter().map(|shard| (shard, Clients::new())).collect();
        let shards: HashMap<&AccountName, &Shard> =
            schedule.accounts.iter().map(|account| (&account.name, &account.shard)).collect();
        for (name, client) in clients {
            if let Some(part) = shards.get(&name).and_then(|shard| parts.get_mut(shard)) {
                part.insert(name, client);
            }
        }
        parts
    }

    /// Returns the empty part for a shard that the new schedule no longer has.
    pub(super) fn empty(whole: &Arc<Schedule>) -> ShardPart {
        let prepared = Prepared::new(Arc::default(), Timestamp::now());
        ShardPart { clients: Clients::new(), whole: Arc::clone(whole), prepared, done: None }
    }
}

/// A schedule in the forms that take long to make of it.
pub(crate) struct Prepared {
    pub(super) schedule: Arc<Schedule>,
    pub(super) entries: Arc<ByName>,
    pub(super) timetable: Timetable,
    pub(super) links: Links,
    /// The calendars that its entries name.
    pub(super) calendars: Vec<Arc<NamedCalendar>>,
}

impl Replacement {
    /// Prepares a schedule to take over from the one before, some time after `now`. Takes long for
    /// a large one: it is no work for the loop. `clients` has one for each account.
    pub fn prepare(
        path: String,
        mut schedule: Schedule,
        clients: BTreeMap<AccountName, Client>,
        audience: Audience,
        before: &Schedule,
        loops: Loops,
        now: Timestamp,
    ) -> Replacement {
        let difference = DifferenceCounts::share(before, &mut schedule);
        let schedule = Arc::new(schedule);
        let parts = ShardPart::clients(&schedule, clients, loops).into_iter().map(|(shard, clients)| {
            let own = match loops {
                Loops::One => Arc::clone(&schedule),
                Loops::OfShards => ShardPart::schedule(&schedule, &shard),
            };
            let part = ShardPart {
                clients,
                whole: Arc::clone(&schedule),
                prepared: Prepared::new(own, now),
                done: None,
            };
            (shard, part)
        });
        Replacement {
            path,
            fingerprint: String::new(),
            audience,
            difference,
            parts: parts.collect(),
            schedule,
        }
    }

    /// The same, of a file with this fingerprint.
    pub fn known_by(self, fingerprint: String) -> Replacement {
        Replacement { fingerprint, ..self }
    }

    /// The schedule that takes over.
    pub fn schedule(&self) -> &Arc<Schedule> {
        &self.schedule
    }
}

impl Prepared {
    /// Its timetable begins at `now`.
    pub(crate) fn new(schedule: Arc<Schedule>, now: Timestamp) -> Prepared {
        let timetable = Timetable::new(&schedule, now);
        let links = Links::from(&*schedule);
        let calendars = schedule.calendars().into_values().cloned().collect();
        Prepared { entries: Arc::new(schedule.by_name()), timetable, links, calendars, schedule }
    }
}

/// Numbers of entries that differ between two schedules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DifferenceCounts {
    pub(super) added: usize,
    pub(super) removed: usize,
    pub(super) changed: usize,
}

impl DifferenceCounts {
    /// Compares by name: an entry with another name is another entry. An entry that is unchanged is
    /// shared from then on, so that nobody has to compare it again.
    fn share(old: &Schedule, new: &mut Schedule) -> DifferenceCounts {
        let pairs = Pairs::of(&old.entries, &new.entries);
        let mut difference = DifferenceCounts { removed: pairs.gone.len(), ..DifferenceCounts::default() };
        for (entry, before) in new.entries.iter_mut().zip(pairs.before) {
            match before {
                None => difference.added += 1,
                Some(before) if before != entry => difference.changed += 1,
                Some(before) => *entry = Arc::clone(before),
            }
        }
        difference
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Entry;

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
        let difference = DifferenceCounts { added: 1, removed: 1, changed: 1 };
        assert_eq!(DifferenceCounts::share(&old, &mut new), difference);
        let mut again = old.clone();
        again.entries = again.entries.iter().map(|entry| Arc::new(Entry::clone(entry))).collect();
        assert_eq!(DifferenceCounts::share(&old, &mut again), DifferenceCounts::default());
        assert!(Arc::ptr_eq(&old.entries[0], &again.entries[0]), "what is unchanged is shared");
    }
}
