//! The open occurrences in the database: all of them were written by this leader, or found by it at
//! its start. Nobody else writes it.

use std::collections::{HashMap, HashSet};

use super::super::progress::Progress;
use super::super::store::{Write, Written};
use super::super::{Claimed, Key, Origin, Successor};
use super::group::WriteGroup;

/// The open occurrences and their progress, as far as they are known to be written.
#[derive(Debug, Default)]
pub(crate) struct OpenedPostgres {
    rows: HashMap<Key, Progress>,
    /// Requests of people that may be claimed: the answer was lost, and the people were told that
    /// nothing is claimed.
    lost: HashSet<Key>,
}

impl OpenedPostgres {
    /// Returns the open occurrences that a leader finds at the start of its term.
    pub(super) fn found(rows: HashMap<Key, Progress>) -> OpenedPostgres {
        OpenedPostgres { rows, lost: HashSet::new() }
    }

    /// Returns the keys of moves whose occurrences are not open: they are settled, or were never
    /// claimed.
    pub(crate) fn moved_otherwise<'w>(&self, writes: &[Write<'w>]) -> Vec<&'w Key> {
        let moved = writes.iter().flat_map(|write| match *write {
            Write::Steps(steps) => steps.iter().map(|(key, _)| key).collect(),
            Write::End(handover) => {
                let next = handover.next.iter().map(|successor| &successor.claim.key);
                next.chain([&handover.key]).collect()
            }
            _ => Vec::new(),
        });
        moved.filter(|key| !self.rows.contains_key(key)).collect()
    }

    /// Returns the group that the writes make, and the outcome of each write. The outcome of a
    /// claim is known from the database alone.
    pub(crate) fn group(
        &self,
        writes: &[Write<'_>],
        settled: &HashMap<Key, Progress>,
    ) -> (WriteGroup, Vec<Written>) {
        let mut group = WriteGroup { withdrawn: self.lost.clone(), ..WriteGroup::default() };
        let written = writes.iter().map(|write| group.take(write, &self.rows, settled)).collect();
        (group, written)
    }

    /// The group may be in the database, or not. What is scheduled is claimed anew. What a person
    /// asked for is not: it is taken away before anything else is written.
    pub(crate) fn is_lost(&mut self, writes: &[Write<'_>]) {
        for write in writes {
            if let Write::Claim(_, claims) = write {
                let by_person = claims.iter().filter(|claim| matches!(claim.origin, Origin::Person { .. }));
                // After a clock that was set back, the instant may have a claim of an earlier pass.
                // That claim stays.
                let new = by_person.filter(|claim| !self.rows.contains_key(&claim.key));
                self.lost.extend(new.map(|claim| claim.key.clone()));
            }
        }
    }

    /// The group is in the database, with these claims that were not there before.
    pub(crate) fn is_written(
        &mut self,
        group: WriteGroup,
        mut new: HashSet<Key>,
        writes: &[Write<'_>],
        written: &mut [Written],
    ) {
        self.lost.clear();
        let handed_over = writes.iter().flat_map(|write| match *write {
            Write::End(handover) => &handover.next[..],
            _ => &[],
        });
        for Successor { claim, .. } in handed_over {
            new.remove(&claim.key);
            self.rows.entry(claim.key.clone()).or_insert_with(Progress::due);
        }
        for (key, standing) in group.steps.into_iter().chain(group.later) {
            if standing.is_settled() {
                self.rows.remove(&key);
            } else {
                self.rows.insert(key, standing);
            }
        }
        for (write, written) in writes.iter().zip(written) {
            let Write::Claim(_, claims) = write else {
                continue;
            };
            let known = claims.iter().map(|claim| &claim.key).filter(|key| {
                // Of two claims of one occurrence the first counts.
                let is_new = !self.rows.contains_key(key) && new.remove(*key);
                if is_new {
                    self.rows.insert((*key).clone(), Progress::due());
                }
                !is_new
            });
            *written = Written::Claimed(Claimed { known: known.cloned().collect() });
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::super::super::{Claim, Repetition};
    use super::*;
    use crate::schedule::{AccountName, EntryName, JobUid, StackUid};

    fn claim(origin: Origin, second: i64) -> Claim {
        let at = Timestamp::from_second(second).expect("an instant");
        Claim {
            key: Key::new(EntryName::new("a").expect("a name"), at),
            account: AccountName::new("main").expect("a name"),
            stack: StackUid::new("s").expect("a uid"),
            job: JobUid::new("j").expect("a uid"),
            due_at: at,
            deadline: at + SignedDuration::from_secs(60),
            origin,
            repetition: Repetition::default(),
        }
    }

    #[test]
    fn of_lost_claims_only_what_a_person_asked_for_and_nobody_has_is_taken_away() {
        let person = || Origin::Person { args: None };
        let there = claim(person(), 1);
        let lost = [there.clone(), claim(person(), 2), claim(Origin::Schedule, 3)];
        let mut open = OpenedPostgres::found(HashMap::from([(there.key, Progress::due())]));
        let writes = [Write::Claim(Some(Timestamp::UNIX_EPOCH.into()), &lost)];
        open.is_lost(&writes);
        let (group, mut written) = open.group(&[], &HashMap::new());
        assert_eq!(group.withdrawn, HashSet::from([lost[1].key.clone()]));
        open.is_written(group, HashSet::new(), &[], &mut written);
        assert!(open.group(&[], &HashMap::new()).0.withdrawn.is_empty(), "it is taken away once");
    }
}
