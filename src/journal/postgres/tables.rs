//! The tables of the database, in memory: for daemons in virtual time. Each call leaves what the
//! statement of the same name leaves.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;

use super::super::memory::Memory;
use super::super::progress::Progress;
use super::super::store::{Write, Written};
use super::super::{
    Claim, ClockOf, Cursor, EndedTerm, Identity, Key, Recovered, TermNumber, Transition, whole_micros,
};
pub(crate) use super::election_state::{Beat, ElectionState, ElectionStep, Found, grown, sends_until};
pub(crate) use super::group::WriteGroup;
pub(crate) use super::identity::RunId;
pub(crate) use super::lease::{BEAT, KnownBeat, LOOK, Seen};
pub(crate) use super::open::OpenedPostgres;
use super::term::Term;

/// All tables of a schedule whose accounts name no shard.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    pub(crate) memory: Memory,
    lease: Found,
    identity: Identity,
    /// The database is an older copy of itself: what is due up to then may have been sent.
    lost_until: Option<Timestamp>,
    /// The term in which each occurrence was claimed or last written.
    numbers: BTreeMap<Key, i64>,
    /// Terms that are over, by the word of their leaders, and how far they have sent.
    ended: BTreeMap<TermNumber, Timestamp>,
}

/// The writer: a leader, by its term and its last beat that is known to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TermWriter {
    pub(crate) number: TermNumber,
    pub(crate) holder: RunId,
    pub(crate) known_beat: i64,
}

impl TermWriter {
    fn of(term: &Term) -> TermWriter {
        TermWriter { number: term.number, holder: term.holder, known_beat: term.known_beat.get() }
    }
}

impl Tables {
    pub(crate) fn new() -> Tables {
        let seen = Seen { number: 0, beat: 0, released: true };
        let lease = Found { seen, holder: None, name: None, sends_until: None };
        let identity = Identity::parse("00000000-0000-4000-8000-000000000001").expect("a UUID");
        let (memory, numbers, ended) = (Memory::default(), BTreeMap::new(), BTreeMap::new());
        Tables { memory, lease, identity, lost_until: None, numbers, ended }
    }

    /// An empty journal that is another one.
    pub(crate) fn of_stranger() -> Tables {
        let identity = Identity::parse("00000000-0000-4000-8000-000000000002").expect("a UUID");
        Tables { identity, ..Tables::new() }
    }

    /// Claims what an older copy has forgotten, before anything else. Returns what was known
    /// before. `None` when the term is over.
    pub(crate) fn claim_forgotten(
        &mut self,
        term: &Term,
        open: &mut OpenedPostgres,
        (cursor, claims, attempts): (Cursor, &[Claim], &[(Key, Transition)]),
    ) -> Option<Vec<Key>> {
        let writes = [Write::Steps(attempts), Write::Claim(Some(cursor), claims)];
        let settled = self.settled(open.moved_otherwise(&writes).into_iter());
        let (group, mut written) = open.group(&writes, &settled);
        let new = self.write(TermWriter::of(term), &group)?;
        open.is_written(group, new, &writes, &mut written);
        match written.pop() {
            Some(Written::Claimed(claimed)) => Some(claimed.known),
            _ => None,
        }
    }

    /// The journal's identity.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The lease's row.
    pub(crate) fn look(&self) -> Found {
        self.lease.clone()
    }

    /// Takes the lease, if it is as it was seen.
    pub(crate) fn take(
        &mut self,
        seen: Seen,
        holder: RunId,
        until: Timestamp,
        lost_until: Option<Timestamp>,
    ) -> Option<TermNumber> {
        if self.lease.seen != seen {
            return None;
        }
        // The database takes the time as the number where that is greater, so that no number is
        // used twice.
        let number = (seen.number + 1).max(until.as_microsecond());
        let beat = seen.beat + 1;
        self.lost_until = self.lost_until.max(lost_until);
        self.lease = Found {
            seen: Seen { number, beat, released: false },
            holder: Some(holder),
            sends_until: grown(self.lease.sends_until, until),
            ..self.lease.clone()
        };
        Some(TermNumber::new(number))
    }

    /// A beat. Returns the terms that it keeps, and those that are over.
    pub(crate) fn keep(&mut self, beat: Beat, holder: RunId, until: Timestamp) -> (Vec<i64>, Vec<EndedTerm>) {
        let Beat { number, known, next } = beat;
        if !self.holds(number, holder)
            || self.lease.seen.released
            || !(known..next).contains(&self.lease.seen.beat)
        {
            return (Vec::new(), Vec::new());
        }
        self.lease.seen.beat = next;
        self.lease.sends_until = grown(self.lease.sends_until, until);
        (vec![number.get()], self.ended())
    }

    /// Former leaders tell how far they have sent.
    pub(crate) fn report(&mut self, ended: &[EndedTerm]) {
        for EndedTerm { number, sent_up_to } in ended {
            let known = self.ended.entry(*number).or_insert(*sent_up_to);
            *known = whole_micros(*sent_up_to).max(*known);
        }
    }

    fn ended(&self) -> Vec<EndedTerm> {
        let ended = self.ended.iter();
        ended.map(|(&number, &sent_up_to)| EndedTerm { number, sent_up_to }).collect()
    }

    /// Hands the lease over.
    pub(crate) fn release(&mut self, number: TermNumber, holder: RunId) {
        if self.holds(number, holder) && !self.lease.seen.released {
            self.lease.seen = Seen { beat: self.lease.seen.beat + 1, released: true, ..self.lease.seen };
        }
    }

    /// Begins a term. `None` when it is over.
    pub(crate) fn begin(&mut self, term: &Term) -> Option<(Recovered, OpenedPostgres)> {
        (self.holds(term.number(), term.holder) && self.has(term.known_beat.get())).then_some(())?;
        let open: HashMap<Key, Progress> = self.memory.open().collect();
        let (older_until, clock) = (self.lost_until, ClockOf::AnyMember);
        let sent_up_to = term.sends_until;
        let mut recovered = Recovered { sent_up_to, older_until, clock, ..self.memory.recover() };
        recovered.may_have_been_sent(self.lost_until);
        if recovered.forgotten_until.is_some() {
            recovered.sent_up_to = recovered.forgotten_until;
        }
        let number = |key: &Key| TermNumber::new(self.numbers[key]);
        let taken_over = term.sorts_out(&mut recovered, &self.ended(), number);
        self.numbers.extend(taken_over.into_iter().map(|key| (key, term.number.get())));
        let is_needed = |number: &TermNumber| open.keys().any(|key| self.numbers[key] == number.get());
        self.ended.retain(|number, _| is_needed(number));
        Some((recovered, OpenedPostgres::found(open)))
    }

    /// Writes a group. Returns the claims that were not known; `None` when the term is over.
    pub(crate) fn write(&mut self, writer: TermWriter, group: &WriteGroup) -> Option<HashSet<Key>> {
        let TermWriter { number, holder, known_beat } = writer;
        (self.holds(number, holder) && self.has(known_beat)).then_some(())?;
        // The database refuses a text with a NUL, and with it the whole transaction.
        let has_nul = |progress: &Progress| progress.reason.as_ref().is_some_and(|text| text.contains('\0'));
        if group.steps.values().chain(group.later.values()).any(has_nul) {
            return None;
        }
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
        group.resent.values().for_each(|resent| self.memory.resent(resent));
        for (account, saved) in &group.quotas {
            self.memory.save_quota(account.clone(), serde_json::from_str(saved).expect("as it was written"));
        }
        for (entry, pause) in &group.pauses {
            match pause {
                Some(pause) => self.memory.pause(entry.clone(), pause.clone()),
                None => self.memory.resume(entry),
            }
        }
        group.stopped.into_iter().for_each(|at| self.memory.stopped(at));
        let mut new = HashSet::new();
        let claims: Vec<_> = group.claims.values().cloned().collect();
        let known: HashSet<Key> = self.memory.claim(group.cursor, &claims).known.into_iter().collect();
        for key in group.claims.keys() {
            let own = self.numbers.get(key) == Some(&number.get());
            if !known.contains(key) {
                self.numbers.insert(key.clone(), number.get());
                new.insert(key.clone());
            } else if own && self.memory.is_untouched(key) {
                new.insert(key.clone());
            }
        }
        for (key, standing) in &group.later {
            if self.memory.overwrite(key, standing) {
                self.numbers.insert(key.clone(), number.get());
            }
        }
        Some(new)
    }

    /// Returns the state of settled occurrences.
    pub(crate) fn settled<'k>(&self, keys: impl Iterator<Item = &'k Key>) -> HashMap<Key, Progress> {
        keys.filter_map(|key| Some((key.clone(), self.memory.settled(key)?))).collect()
    }

    /// Returns true when the beat that is known to be written is in the lease: the database is no
    /// older copy.
    fn has(&self, known_beat: i64) -> bool {
        self.lease.seen.beat >= known_beat
    }

    fn holds(&self, number: TermNumber, holder: RunId) -> bool {
        self.lease.seen.number == number.get() && self.lease.holder == Some(holder)
    }
}
