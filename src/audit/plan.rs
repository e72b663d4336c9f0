//! The instants that were due, by the schedule that was in force at each of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::journal::InForce;
use crate::schedule::{Entry, EntryName, Schedule};
use crate::timetable::{Occurrence, Timetable};

/// The instants of every definition that an entry had, each within the time in which the definition
/// was in force.
pub struct Plan {
    timetable: Timetable,
    /// By the address of a definition's entry, which lives in the timetable. None of an entry that
    /// counts at all times.
    spans: HashMap<usize, (Timestamp, Option<Timestamp>)>,
    /// Entries of which the journal knows when they were in the schedule.
    known: HashSet<EntryName>,
    pruned_until: Option<Timestamp>,
}

impl Plan {
    /// The plan from an instant on. An entry of the schedule of which the journal knows nothing
    /// counts as it is now. Entries that are no longer in the schedule count where `removed` asks
    /// for them.
    pub fn new(schedule: &Schedule, in_force: &InForce, removed: bool, from: Timestamp) -> Plan {
        let present: HashSet<&EntryName> = schedule.entries.iter().map(|entry| &entry.name).collect();
        let (mut entries, mut spans, mut known) = (Vec::new(), HashMap::new(), HashSet::new());
        for span in in_force.spans.iter().filter(|span| removed || present.contains(&span.entry)) {
            // An entry whose former definition cannot be read is judged by its present one.
            let Some(entry) = span.definition.entry(&span.entry) else { continue };
            known.insert(span.entry.clone());
            if span.until.is_none_or(|until| until > from) {
                spans.insert(address(&entry), (span.since, span.until));
                entries.push(entry);
            }
        }
        entries.extend(schedule.entries.iter().filter(|entry| !known.contains(&entry.name)).cloned());
        let timetable = Timetable::new(&Schedule { accounts: Vec::new(), entries }, from);
        Plan { timetable, spans, known, pruned_until: in_force.pruned_until }
    }

    /// Returns the occurrences that are due before `until` and that no former step has returned.
    pub(super) fn step(&mut self, until: Timestamp) -> Vec<Occurrence> {
        let mut due = self.timetable.step(until);
        due.retain(|it| match self.spans.get(&address(&it.entry)) {
            None => true,
            Some(&(since, until)) => {
                since <= it.scheduled_at && until.is_none_or(|until| it.scheduled_at < until)
            }
        });
        due
    }

    /// Returns true when the journal knows of the entry at this instant, whatever rows it has.
    pub(super) fn knows(&self, entry: &EntryName, at: Timestamp) -> bool {
        self.known.contains(entry) && self.pruned_until.is_none_or(|until| until <= at)
    }
}

fn address(entry: &Arc<Entry>) -> usize {
    Arc::as_ptr(entry) as usize
}
