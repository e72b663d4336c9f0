//! Runs that take three times as long as their entry's median, whether they have ended or not.
//!
//! The median is that of the entry's runs that ended with success, of a sample of the newest
//! records. An entry with few of them has no median: the second run of a new entry is no surprise.
//!
//! Example: `import` takes 10 to 14 minutes a night. A run that began at 01:30 is told of from
//! 02:06 on, while it runs, and for a day after it has ended.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::statistics::percentile;
use super::{Key, Record, State};
use crate::schedule::EntryName;

/// A run that takes this many times the median is out of the ordinary.
const TIMES: i64 = 3;

/// A run is at least this much longer than the median: the API cuts its instants to whole seconds,
/// so that a run of a tenth of a second may show as one of a second.
const LEAST_MS: i64 = 2_000;

/// Runs that ended with success from which on there is a median.
const LEAST_RUNS: usize = 3;

/// A run that is told of as lately: it has not ended, or was scheduled after this time before now.
const LATELY: SignedDuration = SignedDuration::from_hours(24);

/// An action that has not ended is asked for no longer than this. After it nobody knows of the run,
/// and the journal has it as started for good.
const FOLLOWED: SignedDuration = SignedDuration::from_hours(24);

/// A run out of the ordinary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusual {
    /// The occurrence.
    pub key: Key,
    /// The instant at which `run_now` left.
    pub sent_at: Timestamp,
    /// The action, where it is known.
    pub action_id: Option<u64>,
    /// Run time, or the time that the action has run so far, in milliseconds.
    pub run_ms: i64,
    /// The median of its entry, in milliseconds.
    pub median_ms: i64,
    /// True while the action is unfinished.
    pub running: bool,
}

/// A sample of records, as it is read.
#[derive(Debug, Default)]
pub struct Sample {
    /// Run times of actions that ended with success, in milliseconds, by entry.
    run_times: HashMap<EntryName, Vec<i64>>,
    lately: Vec<Unusual>,
}

/// The runs of a sample that are out of the ordinary, or will be if they run on.
#[derive(Debug, Default)]
pub struct Surveyed(Vec<Unusual>);

impl Sample {
    /// Counts a record in. Records may come in any order.
    pub fn add(&mut self, record: &Record, now: Timestamp) {
        let Some(sent_at) = record.sent_at else { return };
        let (end, running) = match (record.state, record.finished_at) {
            (State::Finished | State::Failed, Some(finished)) => (finished, false),
            (State::Started, _) => (now, true),
            _ => return,
        };
        let run_ms = between(sent_at, end);
        if record.state == State::Finished {
            self.run_times.entry(record.key.entry().clone()).or_default().push(run_ms);
        }
        let is_long = run_ms >= LEAST_MS && now.duration_since(record.key.scheduled_at()) <= LATELY;
        if running || is_long {
            let (key, action_id) = (record.key.clone(), record.action_id);
            self.lately.push(Unusual { key, sent_at, action_id, run_ms, median_ms: 0, running });
        }
    }

    /// Returns the runs of entries that have a median.
    pub fn finish(mut self) -> Surveyed {
        let medians: HashMap<EntryName, i64> = (self.run_times.drain())
            .filter(|(_, run_times)| run_times.len() >= LEAST_RUNS)
            .filter_map(|(entry, mut run_times)| {
                run_times.sort_unstable();
                Some((entry, percentile(&run_times, 50)?))
            })
            .collect();
        let runs = (self.lately.into_iter())
            .filter_map(|run| Some(Unusual { median_ms: *medians.get(run.key.entry())?, ..run }))
            .filter(|run| run.running || run.is_unusual());
        Surveyed(runs.collect())
    }
}

impl Surveyed {
    /// Returns the runs that are out of the ordinary now: those that run on first, then the newest
    /// first.
    pub fn unusual(&self, now: Timestamp) -> Vec<Unusual> {
        let until_now = |run: &Unusual| match run.running {
            true => Unusual { run_ms: between(run.sent_at, now), ..run.clone() },
            false => run.clone(),
        };
        let followed = self.0.iter().filter(|run| run.is_followed(now));
        let mut unusual: Vec<Unusual> = followed.map(until_now).filter(Unusual::is_unusual).collect();
        unusual.sort_by(|one, other| {
            other.running.cmp(&one.running).then_with(|| other.sent_at.cmp(&one.sent_at))
        });
        unusual
    }
}

impl Unusual {
    fn is_followed(&self, now: Timestamp) -> bool {
        !self.running || now.duration_since(self.sent_at) <= FOLLOWED
    }

    fn is_unusual(&self) -> bool {
        self.run_ms >= TIMES * self.median_ms && self.run_ms >= self.median_ms + LEAST_MS
    }
}

/// Milliseconds between two instants. The API's clock may be behind: a short run may seem to end
/// before it was sent.
fn between(from: Timestamp, until: Timestamp) -> i64 {
    i64::try_from(until.duration_since(from).as_millis().max(0)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("an instant")
    }

    fn record(entry: &str, sent: i64, state: State, took: Option<i64>) -> Record {
        Record {
            state,
            sent_at: Some(at(sent)),
            lateness_ms: Some(0),
            attempts: 1,
            action_id: Some(7),
            finished_at: took.map(|took| at(sent + took)),
            ..Record::due(Key::new(EntryName::new(entry).expect("a name"), at(sent)))
        }
    }

    fn told(records: &[Record]) -> Vec<(String, i64, i64, bool)> {
        let mut sample = Sample::default();
        records.iter().for_each(|record| sample.add(record, at(NOW)));
        let unusual = sample.finish().unusual(at(NOW)).into_iter();
        unusual
            .map(|run| (run.key.entry().to_string(), run.run_ms / 1000, run.median_ms / 1000, run.running))
            .collect()
    }

    #[test]
    fn a_run_three_times_as_long_as_the_median_is_told_while_it_runs_and_for_a_day() {
        let mut records: Vec<Record> = (1..=5)
            .map(|night| record("import", NOW - night * 86_400 - 7_200, State::Finished, Some(600)))
            .collect();
        assert_eq!(told(&records), []);
        records.push(record("import", NOW - 1_799, State::Started, None));
        assert_eq!(told(&records), [], "a second is missing");
        records.push(record("import", NOW - 1_800, State::Started, None));
        records.push(record("import", NOW - 80_000, State::Failed, Some(2_000)));
        records.push(record("import", NOW - 90_000, State::Finished, Some(9_000)));
        // Nobody has asked for it since yesterday.
        records.push(record("import", NOW - 90_000, State::Started, None));
        let import = "import".to_owned();
        assert_eq!(told(&records), [(import.clone(), 1_800, 600, true), (import, 2_000, 600, false)]);
    }

    #[test]
    fn a_new_entry_and_a_short_run_are_no_surprise() {
        let two = [100, 200].map(|ago| record("new", NOW - ago, State::Finished, Some(1)));
        assert_eq!(told(&[&two[..], &[record("new", NOW - 90, State::Started, None)]].concat()), []);
        let short = [100, 200, 300].map(|ago| record("short", NOW - ago, State::Finished, Some(0)));
        assert_eq!(told(&[&short[..], &[record("short", NOW - 90, State::Finished, Some(1))]].concat()), []);
    }
}
