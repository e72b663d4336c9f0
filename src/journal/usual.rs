//! The usual run time of entries' actions, and the share that ends without success, by the newest
//! runs that the journal has.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Filter, JournalError, Location, Statistics};
use crate::schedule::{Entry, EntryName, Schedule};

/// The newest so many records of all entries are read: some tenths of a second.
const NEWEST: u32 = 20_000;

/// The newest so many records of one entry tell how long its action takes.
const NEWEST_OF_ENTRY: u32 = 20;

/// The runs of an entry as a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usual {
    /// The median run time. `None`: no run has ended.
    pub run: Option<Duration>,
    /// Of a thousand runs so many end without success.
    pub failures_of_1000: u64,
}

/// The runs of entries as a rule. An entry that has not run is not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsualRuns(HashMap<EntryName, Usual>);

/// For each entry that comes after others, the median run times of those others together. An entry
/// is left out where one of the others has not run yet.
pub type UntilDue = HashMap<EntryName, SignedDuration>;

impl UsualRuns {
    /// Reads the newest records of all entries. Blocks.
    ///
    /// # Errors
    /// When there is no journal, or it cannot be read.
    pub fn of_all(journal: &Location) -> Result<UsualRuns, JournalError> {
        let mut statistics = Statistics::default();
        read(journal, &Filter { newest: Some(NEWEST), ..Filter::default() }, &mut statistics)?;
        Ok(UsualRuns::from(statistics))
    }

    /// Reads the newest records of each of these entries. Blocks.
    ///
    /// # Errors
    /// When there is no journal, or it cannot be read.
    pub fn of<'e>(
        journal: &Location,
        entries: impl IntoIterator<Item = &'e EntryName>,
    ) -> Result<UsualRuns, JournalError> {
        let mut statistics = Statistics::default();
        for entry in entries {
            let filter =
                Filter { entry: Some(entry.clone()), newest: Some(NEWEST_OF_ENTRY), ..Filter::default() };
            read(journal, &filter, &mut statistics)?;
        }
        Ok(UsualRuns::from(statistics))
    }

    /// Returns how the runs of an entry are as a rule. `None`: no run is known.
    pub fn get(&self, entry: &EntryName) -> Option<Usual> {
        self.0.get(entry).copied()
    }

    /// Returns the number of entries whose run time is known.
    pub fn timed(&self) -> usize {
        self.0.values().filter(|usual| usual.run.is_some()).count()
    }

    /// Leaves the run times out, for who supposes others.
    #[must_use]
    pub fn without_times(mut self) -> UsualRuns {
        self.0.values_mut().for_each(|usual| usual.run = None);
        self
    }

    /// Returns how long these entries take one after another. `None`: one of them has not run yet.
    pub fn together<'e>(&self, entries: impl IntoIterator<Item = &'e EntryName>) -> Option<SignedDuration> {
        let run = |entry| SignedDuration::try_from(self.get(entry)?.run?).ok();
        entries.into_iter().map(run).sum()
    }

    /// Returns for each entry that comes after others how long those take together.
    pub fn until_due(&self, schedule: &Schedule) -> UntilDue {
        // A schedule may have 100,000 entries: no search for each.
        let by_name: HashMap<&EntryName, &Entry> =
            schedule.entries.iter().map(|entry| (&entry.name, &**entry)).collect();
        let before = |entry: &Entry| by_name.get(&entry.after.as_ref()?.entry).copied();
        let chains = schedule.entries.iter().filter(|entry| entry.after.is_some());
        let times = chains.filter_map(|entry| {
            let upstream = std::iter::successors(before(entry), |entry| before(entry));
            let took = self.together(upstream.take(by_name.len()).map(|entry| &entry.name))?;
            Some((entry.name.clone(), took))
        });
        times.collect()
    }
}

/// Returns the instant at which an entry that comes after others should be due. `None`: the entry
/// is due by the clock, or one of the others has not run yet.
pub fn expected(until_due: &UntilDue, entry: &Entry, scheduled_at: Timestamp) -> Option<Timestamp> {
    scheduled_at.checked_add(*until_due.get(&entry.name)?).ok()
}

fn read(journal: &Location, filter: &Filter, statistics: &mut Statistics) -> Result<(), JournalError> {
    journal.read_history(filter, |record| {
        statistics.add(&record);
        ControlFlow::Continue(())
    })
}

impl From<Statistics> for UsualRuns {
    fn from(statistics: Statistics) -> UsualRuns {
        let ran = statistics.finish().filter(|summary| summary.runs > 0);
        let usual = ran.map(|summary| {
            let run = summary.run_ms_median.and_then(|ms| ms.try_into().ok()).map(Duration::from_millis);
            let failures = summary.runs - summary.successes;
            (summary.entry, Usual { run, failures_of_1000: failures * 1000 / summary.runs })
        });
        UsualRuns(usual.collect())
    }
}

#[cfg(test)]
impl UsualRuns {
    /// Supposes run times in seconds, and failures among a thousand runs.
    pub(crate) fn suppose(entries: &[(&str, u64, u64)]) -> UsualRuns {
        let usual = entries.iter().map(|&(entry, seconds, failures_of_1000)| {
            let run = Some(Duration::from_secs(seconds));
            (EntryName::new(entry).expect("a name"), Usual { run, failures_of_1000 })
        });
        UsualRuns(usual.collect())
    }
}
