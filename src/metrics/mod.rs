//! The daemon's metrics. `web/` serves them.
//!
//! Names and labels are an interface: alerts are written on them. Only the series of `entries` have
//! a label that names an entry, and their number is bounded; no label names a stack or a job.

mod accounts;
mod entries;
mod vitals;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::dispatch::Gauges;
use crate::journal::{LastEnds, State};
use crate::log;
use crate::log::event::Event;
use crate::occurrence::Reason;
use crate::schedule::{AccountName, EntryName, Schedule};

use accounts::Accounts;
pub use entries::DEFAULT_ENTRIES;
use entries::Entries;
pub(crate) use vitals::Ailment;
pub(crate) use vitals::DISK_HANGS;
use vitals::Vitals;

/// Buckets of the lateness histogram in seconds: from a lateness that nobody notices to an hour.
const LATENESS: [f64; 18] = [
    0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0,
    3600.0,
];

/// Buckets of the claim histogram in seconds: from a fast disk's fsync to a disk that hangs.
const CLAIM: [f64; 13] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Final states and their reasons. Each is there from the start: a rate needs a zero to begin with.
const ENDS: [(State, Option<Reason>); 12] = [
    (State::Started, None),
    (State::Rejected, None),
    (State::Unknown, None),
    (State::Missed, Some(Reason::Deadline)),
    (State::Missed, Some(Reason::Superseded)),
    (State::Missed, Some(Reason::Down)),
    (State::Missed, Some(Reason::Quota)),
    (State::Missed, Some(Reason::Clock)),
    (State::Skipped, Some(Reason::Overlap)),
    (State::Skipped, Some(Reason::Paused)),
    (State::Skipped, Some(Reason::Calendar)),
    (State::Skipped, Some(Reason::Removed)),
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionEnd {
    state: &'static str,
    /// Empty where the state says it all.
    reason: &'static str,
}

impl ActionEnd {
    fn new(state: State, reason: Option<Reason>) -> ActionEnd {
        ActionEnd { state: state.as_str(), reason: reason.map_or("", Reason::as_str) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfAction {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReload {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// One of the daemon's loops. There is one for each shard.
#[derive(Clone, Debug)]
pub(crate) struct LoopMetrics {
    metrics: Arc<Metrics>,
    vitals: Arc<Vitals>,
    /// The accounts that it serves.
    served: Arc<Mutex<Vec<AccountName>>>,
}

impl LoopMetrics {
    /// Counts an event that is logged.
    pub(crate) fn observe(&self, event: &Event) {
        self.metrics.observe(event);
    }

    /// Records whether the journal can be written. The log does not report each failure of a
    /// connection that comes and goes.
    pub(crate) fn journal_is_ill(&self, ill: bool) {
        self.vitals.journal(ill);
        let ill = self.metrics.loops().iter().any(|vitals| vitals.is_journal_ill());
        self.metrics.journal.set(i64::from(!ill));
    }

    /// The loop turns. `current`: nothing is due that is not claimed.
    pub(crate) fn turned(&self, current: bool, waits_for_clock: Option<Timestamp>) {
        self.vitals.turned(Instant::now());
        self.vitals.waits_for_clock(waits_for_clock);
        if current {
            self.vitals.fires();
        }
    }

    /// Another member fires, or this one does from now on.
    pub(crate) fn stands_by(&self, stands_by: bool) {
        self.vitals.stands_by(stands_by);
        if stands_by {
            self.metrics.accounts.stand(&self.served, std::iter::empty());
            self.metrics.of_entries.others_lead();
        }
    }

    /// The schedule was swept. How many entries are paused, and how each account stands now.
    pub(crate) fn swept<'a>(&self, paused: usize, accounts: impl Iterator<Item = (&'a AccountName, Gauges)>) {
        self.metrics.sweeps.inc();
        self.vitals.paused(paused);
        let paused: usize = self.metrics.loops().iter().map(|vitals| vitals.number_paused()).sum();
        self.metrics.paused.set(paused.try_into().unwrap_or(i64::MAX));
        self.metrics.accounts.stand(&self.served, accounts);
    }

    /// A claim is given to the journal.
    pub(crate) fn claims(&self) {
        self.vitals.claims(Instant::now());
    }

    /// The journal has answered a claim.
    pub(crate) fn claimed(&self) {
        if let Some(took) = self.vitals.claimed(Instant::now()) {
            self.metrics.claim_took(took);
        }
    }
}

/// All metrics. The loops count, and the HTTP server reads.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// The vital signs of each loop.
    loops: RwLock<Vec<Arc<Vitals>>>,
    healthy: Gauge,
    ready: Gauge,
    stands_by: Gauge,
    started_at: Gauge,
    lateness: Histogram,
    occurrences: Family<ActionEnd, Counter>,
    actions: Family<OfAction, Counter>,
    retries: Counter,
    surplus: Counter,
    slow: Counter,
    quick: Counter,
    accounts: Accounts,
    of_entries: Entries,
    sweeps: Counter,
    claims: Histogram,
    journal: Gauge,
    entries: Gauge,
    paused: Gauge,
    reloads: Family<OfReload, Counter>,
    reloaded: Gauge,
    notify_failures: Counter,
    clock_jumps: Counter,
    lines_dropped: Counter,
    /// Counts the lines that are dropped. Empty until [`Metrics::follow`].
    log: OnceLock<log::LogProgress>,
}

impl Metrics {
    /// Creates metrics with every count at zero, of a daemon that does not fire yet. `started_at`
    /// is the start of its process; `entries` is how many entries have series of their own.
    pub fn new(started_at: Timestamp, entries: usize) -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("stackcron"),
            loops: RwLock::default(),
            healthy: Gauge::default(),
            ready: Gauge::default(),
            stands_by: Gauge::default(),
            started_at: Gauge::default(),
            lateness: Histogram::new(LATENESS),
            occurrences: Family::default(),
            actions: Family::default(),
            retries: Counter::default(),
            surplus: Counter::default(),
            slow: Counter::default(),
            quick: Counter::default(),
            accounts: Accounts::default(),
            of_entries: Entries::new(entries),
            sweeps: Counter::default(),
            claims: Histogram::new(CLAIM),
            journal: Gauge::default(),
            entries: Gauge::default(),
            paused: Gauge::default(),
            reloads: Family::default(),
            reloaded: Gauge::default(),
            notify_failures: Counter::default(),
            clock_jumps: Counter::default(),
            lines_dropped: Counter::default(),
            log: OnceLock::new(),
        };
        metrics.register();
        metrics.started_at.set(started_at.as_second());
        metrics.journal.set(1);
        metrics.reloaded.set(1);
        for (state, reason) in ENDS {
            metrics.occurrences.get_or_create(&ActionEnd::new(state, reason)).inc_by(0);
        }
        for outcome in ["succeeded", "failed", "unfinished"] {
            metrics.actions.get_or_create(&OfAction { outcome }).inc_by(0);
        }
        for result in ["success", "failure"] {
            metrics.reloads.get_or_create(&OfReload { result }).inc_by(0);
        }
        metrics
    }

    /// The table of names. What ends in `_total` has that from the format: it is not written here.
    fn register(&mut self) {
        let build = Family::<Build, Gauge>::default();
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        let r = &mut self.registry;
        r.register("build_info", "The program's version", build);
        r.register_with_unit(
            "start_time",
            "When the process began, since the epoch",
            Unit::Seconds,
            self.started_at.clone(),
        );
        r.register("healthy", "Whether the loop turns, as /healthz has it", self.healthy.clone());
        r.register("ready", "Whether what comes due is sent, as /readyz has it", self.ready.clone());
        r.register("stands_by", "Whether another member of a shared journal fires", self.stands_by.clone());
        r.register_with_unit(
            "lateness",
            "From the due instant to the send, of what was started",
            Unit::Seconds,
            self.lateness.clone(),
        );
        r.register(
            "occurrences",
            "Occurrences by final state, and why it came to that",
            self.occurrences.clone(),
        );
        r.register("actions", "Followed actions by how they ended", self.actions.clone());
        r.register("retries", "Attempts that are made again", self.retries.clone());
        r.register(
            "surplus_actions",
            "Second actions of occurrences that were sent again",
            self.surplus.clone(),
        );
        r.register("slow_actions", "Actions that ran longer than their entry expects", self.slow.clone());
        r.register("quick_actions", "Actions that ended sooner than their entry expects", self.quick.clone());
        self.accounts.register(r);
        self.of_entries.register(r);
        r.register("sweeps", "Times that the schedule was swept for what is due", self.sweeps.clone());
        r.register_with_unit(
            "journal_claim",
            "How long the journal took to answer a claim",
            Unit::Seconds,
            self.claims.clone(),
        );
        r.register(
            "journal_healthy",
            "Whether the journal is within reach and can be written",
            self.journal.clone(),
        );
        r.register("schedule_entries", "Entries of the schedule", self.entries.clone());
        r.register(
            "paused_entries",
            "Entries that somebody paused, besides those of the schedule",
            self.paused.clone(),
        );
        r.register("schedule_reloads", "Times that the schedule was read again", self.reloads.clone());
        r.register(
            "schedule_reload_successful",
            "Whether the schedule file was taken over when it was last read",
            self.reloaded.clone(),
        );
        r.register("notify_failures", "Messages and pings that were given up", self.notify_failures.clone());
        r.register("clock_jumps", "Times that the wall clock was set", self.clock_jumps.clone());
        r.register(
            "log_lines_dropped",
            "Lines of the log that were dropped because its reader hung",
            self.lines_dropped.clone(),
        );
    }

    /// Counts an event that is logged.
    pub(crate) fn observe(&self, event: &Event) {
        match event {
            Event::ActionStarted(started) => {
                #[expect(clippy::cast_precision_loss, reason = "exact up to 285,000 years")]
                self.lateness.observe(started.lateness_ms.max(0) as f64 / 1000.0);
                self.ended(State::Started, None);
            }
            Event::OccurrenceRejected(_) => self.ended(State::Rejected, None),
            Event::OccurrenceUnknown(_) => self.ended(State::Unknown, None),
            Event::OccurrenceMissed(missed) => self.ended(State::Missed, missed.reason),
            Event::OccurrenceSkipped(skipped) => self.ended(State::Skipped, skipped.reason),
            Event::OccurrenceRetrying(_) => {
                self.retries.inc();
            }
            Event::OccurrenceSurplus(_) => {
                self.surplus.inc();
            }
            Event::ActionSlow(_) => {
                self.slow.inc();
            }
            Event::ActionQuick(_) => {
                self.quick.inc();
            }
            Event::ActionFinished(finished) => {
                let outcome = if finished.action.succeeded() { "succeeded" } else { "failed" };
                self.actions.get_or_create(&OfAction { outcome }).inc();
                let at = finished.action.ended_at().unwrap_or_else(Timestamp::now);
                self.of_entries.ended(&finished.entry, at, finished.action.succeeded());
            }
            Event::ActionUnfinished(_) => {
                self.actions.get_or_create(&OfAction { outcome: "unfinished" }).inc();
            }
            Event::ScheduleReloaded(reloaded) => {
                self.has_entries(reloaded.entries);
                self.reloads.get_or_create(&OfReload { result: "success" }).inc();
                self.reloaded.set(1);
            }
            Event::DaemonStarted(started) => self.has_entries(started.entries),
            Event::DaemonStopping(_) => {
                // From now on the loop waits for answers, for less time than after which a loop
                // counts as hanging.
                for vitals in &*self.loops() {
                    vitals.turned(Instant::now());
                    vitals.stops();
                }
            }
            Event::LeaseUnreachable(_) => {
                self.journal.set(0);
            }
            Event::LeaseReachable(_) | Event::LeaseAcquired(_) => {
                self.journal.set(1);
            }
            Event::NotifyFailed(_) => {
                self.notify_failures.inc();
            }
            Event::ClockJumped(_) => {
                self.clock_jumps.inc();
            }
            _ => {}
        }
    }

    /// The schedule file was read again and is not used, or is not there any more.
    pub(crate) fn reload_failed(&self) {
        self.reloads.get_or_create(&OfReload { result: "failure" }).inc();
        self.reloaded.set(0);
    }

    /// Counts what the log drops. Its first caller counts.
    pub(crate) fn follow(&self, log: log::LogProgress) {
        let _ = self.log.set(log);
    }

    /// Watches another loop.
    pub(crate) fn watch(self: &Arc<Metrics>) -> LoopMetrics {
        let vitals = Arc::new(Vitals::new(Instant::now()));
        self.loops.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&vitals));
        LoopMetrics { metrics: Arc::clone(self), vitals, served: Arc::default() }
    }

    fn loops(&self) -> RwLockReadGuard<'_, Vec<Arc<Vitals>>> {
        self.loops.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the reason why a loop does not turn, if one does not.
    pub(crate) fn alive(&self) -> Result<(), Ailment> {
        let now = Instant::now();
        self.loops().iter().try_for_each(|vitals| vitals.alive(now))
    }

    /// Returns the reason why this member does not send what comes due on the shards that it leads,
    /// if it does not.
    pub(crate) fn ready(&self) -> Result<(), Ailment> {
        self.alive()?;
        let now = Instant::now();
        let all: Vec<_> = self.loops().iter().map(|vitals| vitals.ready(now)).collect();
        let mut leads = all.into_iter().filter(|ready| *ready != Err(Ailment::StandsBy)).peekable();
        match (leads.peek(), self.loops().is_empty()) {
            (_, true) => Err(Ailment::Starting),
            (None, _) => Err(Ailment::StandsBy),
            _ => leads.collect(),
        }
    }

    fn claim_took(&self, took: Duration) {
        self.claims.observe(took.as_secs_f64());
    }

    fn ended(&self, state: State, reason: impl Into<Option<Reason>>) {
        self.occurrences.get_or_create(&ActionEnd::new(state, reason.into())).inc();
    }

    fn has_entries(&self, entries: usize) {
        self.entries.set(entries.try_into().unwrap_or(i64::MAX));
    }

    /// Returns true when the journal has to be read for the last ends of entries.
    pub(crate) fn begins_reading_ends(&self) -> bool {
        self.of_entries.begins_reading(Instant::now())
    }

    /// The last ends of entries as the journal has them. `None`: it could not be read.
    pub(crate) fn has_read_ends(&self, ends: Option<Vec<(EntryName, LastEnds)>>, began: Instant) {
        self.of_entries.read(ends, began);
    }

    /// Brings the series of the entries up to date.
    pub(crate) fn refresh_entries(&self, schedule: &Schedule, paused: &BTreeSet<EntryName>, now: Timestamp) {
        self.of_entries.refresh(schedule, paused, now);
    }

    /// Everything in OpenMetrics text.
    pub(crate) fn scrape(&self) -> String {
        let ready = self.ready();
        self.healthy.set(self.alive().is_ok().into());
        self.ready.set(ready.is_ok().into());
        self.stands_by.set((ready == Err(Ailment::StandsBy)).into());
        if let Some(log) = self.log.get() {
            self.lines_dropped.inner().store(log.dropped(), Relaxed);
        }
        let mut text = String::with_capacity(8 << 10);
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests;
