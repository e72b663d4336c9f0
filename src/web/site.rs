//! The sources of the page's answers: the loop, the schedule in force, the journal, the metrics.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::answer::WebRefusal;
use super::cache::Cache;
use super::samples::Samples;
use crate::background::Background;
use crate::control::{ControlHandle, ControlRequest, StatusReader};
use crate::journal::{Location, UsualRuns};
use crate::log::RecentLines;
use crate::metrics::Metrics;
use crate::schedule::Schedule;

/// The journal is read in some tenths of a second, and a long stretch of it in some seconds. When
/// it has not been within this time, the disk hangs.
const JOURNAL_WITHIN: Duration = Duration::from_secs(10);

/// Forecasts that are made or wait to be made. Each takes a minute at most; more people than that
/// look at the same one.
const MOST_FORECASTS: usize = 4;

/// A scrape waits no longer for the journal: Prometheus gives up after ten seconds. What is read
/// later is told by the next scrape.
const SCRAPE_WAITS: Duration = Duration::from_secs(3);

/// How long entries' runs take changes slowly: the journal is not read more often than this for it.
const USUAL_FOR: Duration = Duration::from_secs(60);

/// The sources of the answers of one daemon's page.
pub struct Site {
    pub(super) metrics: Arc<Metrics>,
    pub(super) control: ControlHandle,
    pub(super) status: Arc<StatusReader>,
    pub(super) cache: Cache,
    pub(super) samples: Samples,
    pub(super) recent: RecentLines,
    journal: Location,
    /// Reads the journal: when the disk hangs, this hangs with it and nothing else does.
    reader: Background,
    /// Walks through the schedule.
    walker: Background,
    /// Rehearses for forecasts, which take the longest.
    forecaster: Background,
    forecasts: Semaphore,
    /// Reads days of the journal.
    auditor: Background,
    /// How the runs of entries are as a rule, and when that was read.
    usual: Mutex<Option<(Instant, Arc<UsualRuns>)>>,
    /// The schedule that was last seen in force, and how many were before it.
    generation: Mutex<(Weak<Schedule>, u64)>,
}

impl Site {
    /// What is known through these.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn new(
        metrics: Arc<Metrics>,
        control: ControlHandle,
        status: Arc<StatusReader>,
        journal: Location,
        recent: RecentLines,
    ) -> io::Result<Site> {
        Ok(Site {
            metrics,
            control,
            status,
            cache: Cache::default(),
            samples: Samples::default(),
            recent,
            journal,
            reader: Background::start("web-journal")?,
            walker: Background::start("web-schedule")?,
            forecaster: Background::start("web-forecast")?,
            auditor: Background::start("web-audit")?,
            forecasts: Semaphore::new(MOST_FORECASTS),
            usual: Mutex::default(),
            generation: Mutex::default(),
        })
    }

    /// The schedule in force.
    pub(super) fn schedule(&self) -> Arc<Schedule> {
        Arc::clone(&self.control.schedule.borrow())
    }

    /// The number of the schedule in force. A reload makes it another: what was made from the one
    /// before is not given to anybody any more.
    pub(super) fn generation(&self) -> u64 {
        let schedule = Arc::downgrade(&self.control.schedule.borrow());
        let mut seen = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.0.ptr_eq(&schedule) {
            *seen = (schedule, seen.1 + 1);
        }
        seen.1
    }

    /// Brings the series of the entries up to date for a scrape, within a bounded time.
    pub(super) async fn refresh_entries(&self) {
        if self.metrics.begins_reading_ends() {
            let metrics = Arc::clone(&self.metrics);
            let reading = self.read(move |journal| {
                let began = Instant::now();
                metrics.has_read_ends(journal.last_ends().ok(), began);
            });
            if timeout(SCRAPE_WAITS, reading).await.is_err() {
                // A reading that nobody waits for any more may never have begun.
                self.metrics.has_read_ends(None, Instant::now());
            }
        }
        let snapshot = self.control.ask(|answer| ControlRequest::Snapshot { most: 0, answer });
        // A loop that hangs is told by `healthy`.
        let Ok(Ok(snapshot)) = timeout(SCRAPE_WAITS, snapshot).await else { return };
        let metrics = Arc::clone(&self.metrics);
        let refreshing = self.walk(move |schedule| {
            let paused = snapshot.paused.keys().cloned().collect();
            metrics.refresh_entries(schedule, &paused, snapshot.now);
        });
        let _ = timeout(SCRAPE_WAITS, refreshing).await;
    }

    /// Does something with the journal, within a bounded time.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Location) -> T + Send + 'static,
    ) -> Result<T, WebRefusal> {
        let journal = self.journal.clone();
        let reading = timeout(JOURNAL_WITHIN, self.reader.run(move || read(&journal)));
        reading.await.map_err(|_| WebRefusal::Hangs(JOURNAL_WITHIN.as_secs()))?.ok_or(WebRefusal::Failed)
    }

    /// How the runs of entries are as a rule, from the last reading while that is good. None is
    /// known where the journal cannot be read.
    pub(super) async fn usual(&self) -> Arc<UsualRuns> {
        let known = self.usual.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, usual)) = known.filter(|(read_at, _)| read_at.elapsed() < USUAL_FOR) {
            return usual;
        }
        let read = self.audit(UsualRuns::of_all).await;
        let usual = Arc::new(read.ok().and_then(Result::ok).unwrap_or_default());
        let known = Some((Instant::now(), Arc::clone(&usual)));
        *self.usual.lock().unwrap_or_else(PoisonError::into_inner) = known;
        usual
    }

    /// Holds the journal against the schedule, on a thread of its own: nothing else waits for it.
    pub(super) async fn audit<T: Send + 'static>(
        &self,
        audit: impl FnOnce(&Location) -> T + Send + 'static,
    ) -> Result<T, WebRefusal> {
        let journal = self.journal.clone();
        self.auditor.run(move || audit(&journal)).await.ok_or(WebRefusal::Failed)
    }

    /// Does something with the schedule in force.
    pub(super) async fn walk<T: Send + 'static>(
        &self,
        walk: impl FnOnce(&Schedule) -> T + Send + 'static,
    ) -> Result<T, WebRefusal> {
        let schedule = self.schedule();
        self.walker.run(move || walk(&schedule)).await.ok_or(WebRefusal::Failed)
    }

    /// Rehearses the schedule in force. `Refusal::Busy`: too much is rehearsed already.
    pub(super) async fn rehearse<T: Send + 'static>(
        &self,
        rehearse: impl FnOnce(&Schedule) -> T + Send + 'static,
    ) -> Result<T, WebRefusal> {
        let _turn = self.forecasts.try_acquire().map_err(|_| WebRefusal::Busy)?;
        let schedule = self.schedule();
        self.forecaster.run(move || rehearse(&schedule)).await.ok_or(WebRefusal::Failed)
    }
}
