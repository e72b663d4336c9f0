//! What the database holds, in memory: for daemons in virtual time. Each call leaves what the statement of the same name leaves.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;

use super::super::memory::Memory;
use super::super::progress::Progress;
use super::super::{ClockOf, Key, Recovered};
pub(crate) use super::election_state::{ElectionState, Found, Next, sends_until};
pub(crate) use super::group::Group;
pub(crate) use super::identity::Id;
pub(crate) use super::lease::{BEAT, LOOK, Number, Seen};
use super::member::Term;
pub(crate) use super::open::Open;

/// All tables of a schedule whose accounts name no shard.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) memory: Memory,
    lease: Found,
    /// In which term each occurrence was claimed or last written.
    numbers: BTreeMap<Key, i64>,
}

impl Tables {
    pub(crate) fn new() -> Tables {
        let seen = Seen { number: 0, beat: 0, released: true };
        let lease = Found { seen, holder: None, name: None, sends_until: None };
        Tables { memory: Memory::default(), lease, numbers: BTreeMap::new() }
    }

    /// The lease's row.
    pub(crate) fn look(&self) -> Found {
        self.lease.clone()
    }

    /// Takes the lease, if it is as it was seen.
    pub(crate) fn take(&mut self, seen: Seen, holder: Id, until: Timestamp) -> Option<Number> {
        if self.lease.seen != seen {
            return None;
        }
        let (number, beat) = (seen.number + 1, seen.beat + 1);
        self.lease = Found {
            seen: Seen { number, beat, released: false },
            holder: Some(holder),
            sends_until: self.lease.sends_until.max(Some(until)),
            ..self.lease.clone()
        };
        Some(Number::new(number))
    }

    /// A beat. Returns the terms that it keeps.
    pub(crate) fn keep(&mut self, number: Number, until: Timestamp) -> Vec<i64> {
        if self.lease.seen.number != number.get() || self.lease.seen.released {
            return Vec::new();
        }
        self.lease.seen.beat += 1;
        self.lease.sends_until = self.lease.sends_until.max(Some(until));
        vec![number.get()]
    }

    /// Hands the lease over.
    pub(crate) fn release(&mut self, number: Number) {
        if self.lease.seen.number == number.get() && !self.lease.seen.released {
            self.lease.seen = Seen { beat: self.lease.seen.beat + 1, released: true, ..self.lease.seen };
        }
    }

    /// Begins a term. `None` when it is over.
    pub(crate) fn begin(&mut self, term: &Term) -> Option<(Recovered, Open)> {
        self.holds(term.number()).then_some(())?;
        let open: HashMap<Key, Progress> = self.memory.open().collect();
        let sent_up_to = term.sent_up_to(open.keys().map(|key| self.numbers[key]));
        let recovered = Recovered { sent_up_to, clock: ClockOf::AnyMember, ..self.memory.recover() };
        Some((recovered, Open::found(open)))
    }

    /// Writes a group. Returns the claims that were not known; `None` when the term is over.
    pub(crate) fn write(&mut self, number: Number, group: &Group) -> Option<HashSet<Key>> {
        self.holds(number).then_some(())?;
        for key in &group.withdrawn {
            if self.numbers.get(key) == Some(&number.get()) && self.memory.is_untouched(key) {
                self.memory.withdraw(key);
            }
        }
        group.amended.values().for_each(|claim| self.memory.amend(claim));
        for (key, standing) in &group.steps {
            if self.memory.overwrite(key, standing) {
                self.numbers.insert(key.clone(), number.get());
            }
        }
        for (account, saved) in &group.quotas {
            self.memory.save_quota(account.clone(), serde_json::from_str(saved).expect("as it was written"));
        }
        for (entry, &paused) in &group.pauses {
            match paused {
                true => self.memory.pause(entry.clone()),
                false => self.memory.resume(entry),
            }
        }
        group.stopped.into_iter().for_each(|at| self.memory.stopped(at));
        let mut new = HashSet::new();
        if let Some(cursor) = group.cursor {
            let claims: Vec<_> = group.claims.values().cloned().collect();
            let known: HashSet<Key> = self.memory.claim(cursor, &claims).known.into_iter().collect();
            for key in group.claims.keys() {
                let own = self.numbers.get(key) == Some(&number.get());
                if !known.contains(key) {
                    self.numbers.insert(key.clone(), number.get());
                    new.insert(key.clone());
                } else if own && self.memory.is_untouched(key) {
                    new.insert(key.clone());
                }
            }
        }
        Some(new)
    }

    /// How settled occurrences stand.
    pub(crate) fn settled<'k>(&self, keys: impl Iterator<Item = &'k Key>) -> HashMap<Key, Progress> {
        keys.filter_map(|key| Some((key.clone(), self.memory.settled(key)?))).collect()
    }

    fn holds(&self, number: Number) -> bool {
        self.lease.seen.number == number.get()
    }
}
