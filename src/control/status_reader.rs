//! Reads how a daemon stands, for those who ask over the socket and for those who look at the page:
//! the same records.

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::journal_reading::JournalReading;
use super::request::{ControlHandle, ControlRequest, LoopError};
use super::status::{Around, Status};
use super::unusual_reader::{UnusualReader, unusual};
use crate::background::Background;
use crate::journal::postgres::Member;
use crate::journal::{Filter, Key, Lately, Location, Record, State, UsualRuns};
use crate::schedule::{Entry, EntryName, Followers, Schedule, entries};
use crate::timetable;

/// The journal is read in some tenths of a second. When it has not been within this time, the disk
/// hangs.
const JOURNAL_WITHIN: Duration = Duration::from_secs(3);

/// The span that `lately` covers.
const LATELY: SignedDuration = SignedDuration::from_hours(24);

/// A reading of the journal is reused for at least this long, and for this many times as long as it
/// took, so that watching does not keep the machine busy.
const GOOD_FOR: Duration = Duration::from_millis(900);
const GOOD_TIMES: u32 = 20;

/// Each list of the status has at most this many records, whatever the client asks for.
const MOST_LISTED: usize = 1000;

/// At most this many notable occurrences of the last day are listed.
const MOST_NOTABLE: usize = 10;

/// After an occurrence that did not end well, at most this many newer ones of its entry are looked
/// at for one that did.
const MOST_LATER: u32 = 100;

/// Puts a status together of what the loop, the schedule and the journal say.
pub struct StatusReader {
    asking: ControlHandle,
    /// The place of the journal.
    journal: Location,
    /// Walks through large schedules, and writes long answers.
    walker: Background,
    /// Reads the journal: when the disk hangs, this hangs with it and nothing else does.
    reader: Background,
    /// Bounds the number of readings at a time.
    reading: Arc<Semaphore>,
    lately: std::sync::Mutex<Option<JournalReading>>,
    runs: UnusualReader,
}

/// A question for the journal.
struct JournalQuestion {
    keys: Vec<Key>,
    /// For each entry that comes after others, the chain of those others.
    chains: Vec<Vec<EntryName>>,
}

/// The journal's answer.
#[derive(Default)]
struct JournalAnswer {
    records: Vec<Option<Record>>,
    /// Run time of each chain as a whole. `None`: one of its entries has not run yet.
    took: Vec<Option<SignedDuration>>,
    lately: Option<JournalReading>,
    members: Vec<Member>,
}

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    /// The schedule in force does not have an entry that was asked for.
    #[error(transparent)]
    UnknownEntry(#[from] entries::UnknownEntry),
    /// The loop gave no answer.
    #[error(transparent)]
    Ask(#[from] LoopError),
}

impl StatusReader {
    /// Asks the loop over `asking`, and reads the journal.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn new(asking: ControlHandle, journal: Location) -> io::Result<StatusReader> {
        Ok(StatusReader {
            asking,
            runs: UnusualReader::new(journal.clone())?,
            journal,
            walker: Background::start("status")?,
            reader: Background::start("status-journal")?,
            reading: Arc::new(Semaphore::new(1)),
            lately: std::sync::Mutex::new(None),
        })
    }

    /// Returns the status of the daemon with the entries of these names, or else those that are due
    /// next. Each list has at most `most` records.
    pub(crate) async fn status(&self, names: Vec<String>, most: usize) -> Result<Status, StatusError> {
        let most = most.min(MOST_LISTED);
        let snapshot = self.asking.ask(|answer| ControlRequest::Snapshot { most, answer }).await?;
        let now = snapshot.now;
        let walk = move || {
            let upcoming = match names.is_empty() {
                true => {
                    // Each one with those that come after it.
                    let followers = Followers::of(&snapshot.schedule.entries);
                    let chains = snapshot.upcoming.iter().flat_map(|(entry, at)| {
                        followers.chain(entry).into_iter().map(|entry| (entry, Some(*at)))
                    });
                    chains.take(most).collect()
                }
                false => named(&snapshot.schedule, &names, most, now)?,
            };
            let around = upcoming.into_iter().map(|(entry, next)| {
                // An entry that comes after another is scheduled at the instant of the first one of
                // the chain.
                let upstream = snapshot.schedule.upstream(&entry).cloned().collect::<Vec<_>>();
                let last = timetable::previous(upstream.last().unwrap_or(&entry), now);
                Around { entry, upstream, next, last, record: None, expected: None }
            });
            let around: Vec<Around> = around.collect();
            Ok::<_, entries::UnknownEntry>((around, snapshot))
        };
        // The walk is lost only by a panic, or when the daemon stops.
        let (mut around, snapshot) = self.walker.run(walk).await.ok_or(LoopError::Stopping)??;
        let last = |around: &Around| Some(Key::new(around.entry.name.clone(), around.last?));
        let schedule = Arc::clone(&snapshot.schedule);
        let chains = around.iter().filter(|listed| listed.is_expected()).map(|listed| {
            let names: Vec<EntryName> = listed.upstream.iter().map(|entry| entry.name.clone()).collect();
            names
        });
        let wanted =
            JournalQuestion { keys: around.iter().filter_map(last).collect(), chains: chains.collect() };
        let JournalAnswer { records, took, lately, members } = self.read(wanted, schedule, now).await;
        let mut records = records.into_iter();
        for listed in around.iter_mut().filter(|listed| listed.last.is_some()) {
            listed.record = records.next().flatten();
        }
        for (listed, took) in around.iter_mut().filter(|listed| listed.is_expected()).zip(took) {
            listed.expected = listed.next.zip(took).and_then(|(next, took)| next.checked_add(took).ok());
        }
        let surveyed = self.runs.survey().await;
        let put_together = move || {
            let unusual = unusual(&surveyed, &snapshot.schedule, now);
            Status::of(&snapshot, around, lately, unusual, members, most)
        };
        Ok(self.walker.run(put_together).await.ok_or(LoopError::Stopping)?)
    }

    /// Does what takes a while off the threads that fire.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LoopError> {
        self.walker.run(write).await.ok_or(LoopError::Stopping)
    }

    /// Reads the journal: what it has of these, what happened lately, and who shares it. Where that
    /// takes too long, it is done without.
    async fn read(&self, wanted: JournalQuestion, schedule: Arc<Schedule>, now: Timestamp) -> JournalAnswer {
        let known = self.lately.lock().ok().and_then(|lately| lately.clone());
        let journal = self.journal.clone();
        let reading = async {
            let permit = Arc::clone(&self.reading).acquire_owned().await.ok()?;
            let read = move || {
                let records = journal.read_records(&wanted.keys).unwrap_or_default();
                let took = |chain: &Vec<EntryName>| UsualRuns::of(&journal, chain).ok()?.together(chain);
                let took = wanted.chains.iter().map(took).collect();
                let lately = lately(&journal, known, &schedule, now);
                let members = journal.members().unwrap_or_default();
                drop(permit);
                JournalAnswer { records, took, lately, members }
            };
            self.reader.run(read).await
        };
        let found = timeout(JOURNAL_WITHIN, reading).await.ok().flatten().unwrap_or_default();
        if let (Ok(mut lately), Some(read)) = (self.lately.lock(), &found.lately) {
            *lately = Some(read.clone());
        }
        found
    }
}

/// Returns the notable occurrences that are still the newest of their entry: no later success has
/// mended them.
fn unresolved(journal: &Location, lately: &Lately, schedule: &Schedule, now: Timestamp) -> Vec<Record> {
    let bad = |record: &&Record| {
        matches!(record.state, State::Failed | State::Rejected | State::Missed | State::Unknown)
    };
    let mut newest: Vec<&Record> = Vec::new();
    for record in lately.notable.iter().filter(bad) {
        if newest.iter().all(|seen| seen.key.entry() != record.key.entry()) {
            newest.push(record);
        }
    }
    let since_is_well = |record: &Record| {
        let filter = Filter {
            entry: Some(record.key.entry().clone()),
            since: record.key.scheduled_at().checked_add(SignedDuration::from_micros(1)).ok(),
            until: Some(now),
            newest: Some(MOST_LATER),
        };
        let mut well = false;
        let read = journal.read_history(&filter, |later| {
            well |= matches!(later.state, State::Finished | State::Started);
            if well { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        read.is_ok() && well
    };
    let in_schedule =
        |record: &&Record| schedule.entries.iter().any(|entry| entry.name == *record.key.entry());
    newest.into_iter().filter(in_schedule).filter(|record| !since_is_well(record)).cloned().collect()
}

/// An entry, and when it is due next, if ever.
type StatusUpcoming = (Arc<Entry>, Option<Timestamp>);

/// The entries of these names, in this order.
fn named(
    schedule: &Schedule,
    names: &[String],
    most: usize,
    now: Timestamp,
) -> Result<Vec<StatusUpcoming>, entries::UnknownEntry> {
    let known: HashMap<&str, &Arc<Entry>> =
        schedule.entries.iter().map(|entry| (entry.name.as_str(), entry)).collect();
    let found = names.iter().take(most).map(|name| {
        let entry =
            known.get(name.as_str()).map_or_else(|| entries::find(schedule, name), |entry| Ok(entry))?;
        Ok((Arc::clone(entry), timetable::next(schedule.root(entry), now)))
    });
    found.collect()
}

/// Returns the outcomes of the last day, from the last reading while that is good.
fn lately(
    journal: &Location,
    known: Option<JournalReading>,
    schedule: &Schedule,
    now: Timestamp,
) -> Option<JournalReading> {
    let began = Instant::now();
    if let Some(known) = known.filter(|known| began < known.good_until) {
        return Some(known);
    }
    let since = now.checked_sub(LATELY).unwrap_or(Timestamp::MIN);
    let lately = journal.read_lately(since, now, MOST_NOTABLE).ok()?;
    let unresolved = unresolved(journal, &lately, schedule, now);
    let good_until = Instant::now() + GOOD_FOR.max(began.elapsed() * GOOD_TIMES);
    Some(JournalReading { since, lately, unresolved, good_until })
}
