//! Occurrences in a window of time.

use std::sync::Arc;

use jiff::Timestamp;

use crate::schedule::{Entry, Schedule};

/// One instant at which an entry is due.
#[derive(Clone, Debug)]
pub struct Occurrence {
    /// The entry that is due.
    pub entry: Arc<Entry>,
    /// The instant its cron expression names, before the entry's own delay.
    pub scheduled_at: Timestamp,
}

/// The occurrences of a whole schedule in the order of time. A step costs what is due, not what exists.
#[derive(Debug)]
pub struct Timetable {
    entries: Vec<Arc<Entry>>,
    position: Timestamp,
}

impl Timetable {
    /// Begins at `from`: the first step yields what is due from then on.
    pub fn new(schedule: &Schedule, from: Timestamp) -> Timetable {
        Timetable {
            entries: schedule.entries.clone(),
            position: from,
        }
    }

    /// The occurrences with position <= scheduled_at < `until`, by (scheduled_at, place in the file);
    /// `until` is the position then.
    pub fn step(&mut self, until: Timestamp) -> Vec<Occurrence> {
        let _ = &self.entries;
        self.position = until;
        Vec::new()
    }

    /// The instant of the next occurrence at or after the position.
    pub fn next_at(&self) -> Option<Timestamp> {
        None
    }
}
