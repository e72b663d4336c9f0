//! The statistics of an entry's occurrences over many records: runs, success, run times and
//! lateness.
//!
//! A run is an occurrence whose action has ended. The run time is from `sent_at` to `finished_at`,
//! so the time of `run_now` itself is part of it. A share and a percentile of nothing is `None`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{Record, State};
use crate::schedule::EntryName;

/// The records of all entries, summed up as they come.
#[derive(Debug, Default)]
pub struct Statistics(BTreeMap<EntryName, Sums>);

#[derive(Debug, Default)]
struct Sums {
    runs: u64,
    successes: u64,
    /// Milliseconds.
    run_times: Vec<i64>,
    /// Milliseconds, jitter not counted.
    lateness: Vec<i64>,
    last_success: Option<Timestamp>,
}

/// The statistics of one entry. The keys are an interface.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EntryStatistics {
    /// The entry.
    pub entry: EntryName,
    /// Occurrences whose action has ended.
    pub runs: u64,
    /// Of these, those that ended with success.
    #[serde(skip)]
    pub successes: u64,
    /// The share of the runs that ended with success, from 0 to 1.
    pub success: Option<f64>,
    /// Median run time, in milliseconds.
    pub run_ms_median: Option<i64>,
    /// 95th percentile of the run time, in milliseconds.
    pub run_ms_p95: Option<i64>,
    /// Median lateness of what was sent, in milliseconds.
    pub lateness_ms_median: Option<i64>,
    /// 95th percentile of the lateness, in milliseconds.
    pub lateness_ms_p95: Option<i64>,
    /// The instant at which an action last ended with success.
    pub last_success: Option<Timestamp>,
}

impl Statistics {
    /// Counts a record in. Records may come in any order.
    pub fn add(&mut self, record: &Record) {
        let sums = self.0.entry(record.key.entry().clone()).or_default();
        sums.lateness.extend(record.lateness_ms);
        if !matches!(record.state, State::Finished | State::Failed) {
            return;
        }
        sums.runs += 1;
        let took = record.sent_at.zip(record.finished_at).and_then(|(sent, finished)| {
            // The API cuts its instants to whole seconds: a short run may seem to end before it was
            // sent.
            i64::try_from(finished.duration_since(sent).as_millis()).ok().map(|ms| ms.max(0))
        });
        sums.run_times.extend(took);
        if record.state == State::Finished {
            sums.successes += 1;
            sums.last_success = sums.last_success.max(record.finished_at);
        }
    }

    /// Returns the statistics of each entry, in the order of the names.
    pub fn finish(self) -> impl Iterator<Item = EntryStatistics> {
        self.0.into_iter().map(|(entry, mut sums)| {
            sums.run_times.sort_unstable();
            sums.lateness.sort_unstable();
            #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
            let success = (sums.runs > 0).then(|| sums.successes as f64 / sums.runs as f64);
            EntryStatistics {
                entry,
                runs: sums.runs,
                successes: sums.successes,
                success,
                run_ms_median: percentile(&sums.run_times, 50),
                run_ms_p95: percentile(&sums.run_times, 95),
                lateness_ms_median: percentile(&sums.lateness, 50),
                lateness_ms_p95: percentile(&sums.lateness, 95),
                last_success: sums.last_success,
            }
        })
    }
}

/// The smallest value that at least `percent` of a hundred values do not exceed (nearest rank).
pub(super) fn percentile(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Key;

    fn record(second: i64, state: State, took: Option<i64>) -> Record {
        let at = |second| Timestamp::from_second(second).expect("an instant");
        Record {
            state,
            sent_at: Some(at(second)),
            lateness_ms: Some(second),
            attempts: 1,
            finished_at: took.map(|took| at(second + took)),
            ..Record::due(Key::new(EntryName::new("nightly").expect("a name"), at(second)))
        }
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[7], 95), Some(7));
        assert_eq!(percentile(&[1, 2, 3, 4], 50), Some(2));
        assert_eq!(percentile(&(1..=100).collect::<Vec<_>>(), 95), Some(95));
    }

    #[test]
    fn what_has_not_ended_is_no_run_but_was_late() {
        let mut statistics = Statistics::default();
        statistics.add(&record(1, State::Finished, Some(10)));
        statistics.add(&record(2, State::Failed, Some(30)));
        statistics.add(&record(3, State::Started, None));
        let all: Vec<EntryStatistics> = statistics.finish().collect();
        let [nightly] = &all[..] else { panic!("one entry: {all:?}") };
        assert_eq!((nightly.runs, nightly.success), (2, Some(0.5)));
        assert_eq!((nightly.run_ms_median, nightly.run_ms_p95), (Some(10_000), Some(30_000)));
        assert_eq!((nightly.lateness_ms_median, nightly.lateness_ms_p95), (Some(2), Some(3)));
        assert_eq!(nightly.last_success.map(Timestamp::as_second), Some(11));
    }
}
