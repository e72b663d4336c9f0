//! Knows which runs are out of the ordinary, without letting a status wait for it.
//!
//! The medians need a month of the journal, which takes seconds to read where the journal is long.
//! A thread of its own reads it when a status is asked for and the last reading is old; the status
//! takes what is known by then.
//!
//! Example: a journal of 200,000 records takes 0.4 s. The first status after a start waits for 0.3
//! s and knows of no run yet; the next one knows. The journal is read again after 20 s.

use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::background::Background;
use crate::journal::{Filter, Location, Sample, Surveyed, Unusual};
use crate::schedule::Schedule;

/// The newest records, of this long at most, that a reading looks at: each entry that is due a few
/// times a day is among them even where hundreds are due in a minute.
const MOST_RECORDS: u32 = 200_000;
const SURVEYED: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A reading is reused for at least this long, and for this many times as long as it took.
const GOOD_FOR: Duration = Duration::from_secs(5);
const GOOD_TIMES: u32 = 50;

/// A status waits no longer for a reading.
const WAITS: Duration = Duration::from_millis(300);

/// Reads the journal for runs that take far longer than their entry's do.
pub(super) struct UnusualReader {
    journal: Location,
    /// A thread of its own: when the disk hangs, only this thread hangs with it.
    reader: Arc<Background>,
    /// Bounds the number of readings at a time to one.
    reading: Arc<Semaphore>,
    last: Arc<Mutex<Option<UnusualReading>>>,
}

struct UnusualReading {
    surveyed: Arc<Surveyed>,
    good_until: Instant,
}

impl UnusualReader {
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn new(journal: Location) -> io::Result<UnusualReader> {
        Ok(UnusualReader {
            journal,
            reader: Arc::new(Background::start("status-runs")?),
            reading: Arc::new(Semaphore::new(1)),
            last: Arc::default(),
        })
    }

    /// Returns the runs out of the ordinary as far as they are known now.
    pub(super) async fn survey(&self) -> Arc<Surveyed> {
        let is_good = {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.as_ref().is_some_and(|last| Instant::now() < last.good_until)
        };
        if !is_good && let Ok(permit) = Arc::clone(&self.reading).try_acquire_owned() {
            let (reader, journal, last) =
                (Arc::clone(&self.reader), self.journal.clone(), Arc::clone(&self.last));
            // It goes on when the status does not wait for its end.
            let reading = tokio::spawn(async move {
                let read = move || {
                    let began = Instant::now();
                    let surveyed = Arc::new(read(&journal));
                    let good_until = Instant::now() + GOOD_FOR.max(began.elapsed() * GOOD_TIMES);
                    *last.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some(UnusualReading { surveyed, good_until });
                };
                reader.run(read).await;
                drop(permit);
            });
            let _ = timeout(WAITS, reading).await;
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map(|last| Arc::clone(&last.surveyed)).unwrap_or_default()
    }
}

/// Surveys the journal. One that cannot be read tells of no run.
fn read(journal: &Location) -> Surveyed {
    let now = Timestamp::now();
    let since = now.checked_sub(SURVEYED).ok();
    let filter = Filter { since, until: Some(now), newest: Some(MOST_RECORDS), ..Filter::default() };
    let mut sample = Sample::default();
    let read = journal.read_history(&filter, |record| {
        sample.add(&record, now);
        ControlFlow::Continue(())
    });
    read.map(|()| sample.finish()).unwrap_or_default()
}

/// Returns the surveyed runs of the schedule's entries that are out of the ordinary and not within
/// the entry's `expect`.
pub(super) fn unusual(surveyed: &Surveyed, schedule: &Schedule, now: Timestamp) -> Vec<Unusual> {
    let mut unusual = surveyed.unusual(now);
    unusual.retain(|run| {
        let entry = schedule.entries.iter().find(|entry| entry.name == *run.key.entry());
        // Nobody knows whether an action that is not followed is unfinished.
        let entry = entry.filter(|entry| entry.follow || !run.running);
        let within = entry.map(|entry| entry.expect.as_ref().and_then(|expect| expect.within));
        within.is_some_and(|within| within.is_none_or(|within| run.run_ms > ms(within)))
    });
    unusual
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
