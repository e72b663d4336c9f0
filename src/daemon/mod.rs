//! The daemon's loop: it reads the clocks, lets the pure parts decide, and does what they say.

mod replacement;
mod requests;
mod sweep;

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::clock::{Mono, Now};
use crate::dispatch::{Dispatch, Effect};
use crate::log::event::{DaemonStarted, DaemonStopped, DaemonStopping, Event, ScheduleReloaded};
use crate::schedule::Schedule;
use crate::timetable::tz;

use replacement::Difference;
pub use replacement::Replacement;
use requests::{Done, Requests};
pub(crate) use sweep::Sweep;
use sweep::Ticks;

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The scheduler that drives the sweep did not start.
    #[error("the sweep cannot be scheduled: {0}")]
    Ticks(#[from] tokio_cron_scheduler::JobSchedulerError),
}

/// Why the daemon was asked to stop, in a word: a signal's name.
pub type StopReason = &'static str;

/// What is in flight when the daemon is told to stop has this long to be answered. Service managers kill
/// after ten seconds and more.
const GRACE: Duration = Duration::from_secs(9);

/// Replies that are taken in before the loop looks at the clock again.
const REPLIES_AT_ONCE: usize = 64;

/// The runtime's timer is this coarse. What is nearer is waited for by yielding.
const TIMER_GRAIN: Duration = Duration::from_millis(1);

/// Fires the schedule until `stop` resolves, then waits for what is in flight.
///
/// Occurrences from the start on are fired, none before it. What arrives on `replacements` takes over at once.
pub async fn run(
    Replacement { schedule, clients, .. }: Replacement,
    mut replacements: mpsc::Receiver<Replacement>,
    stop: impl Future<Output = StopReason>,
) -> Result<(), DaemonError> {
    let now = Now::read();
    let mut ticks = Ticks::start().await?;
    let started = DaemonStarted {
        version: env!("CARGO_PKG_VERSION"),
        entries: schedule.entries.len(),
        accounts: schedule.accounts.len(),
        journal: "none".to_owned(),
        pid: std::process::id(),
        tz_database: tz::database().to_string(),
    };
    Event::from(started).emit();
    let mut daemon = Daemon {
        dispatch: Dispatch::new(&schedule.accounts, fastrand::u64(..), now),
        sweep: Sweep::new(&schedule, now.wall),
        requests: Requests::new(clients),
        schedule,
    };
    let reason = daemon.fire_until(stop, &mut ticks, &mut replacements).await;
    let in_flight = daemon.finish(reason).await;
    ticks.stop().await;
    Event::from(DaemonStopped { reason: reason.to_owned(), in_flight }).emit();
    Ok(())
}

struct Daemon {
    schedule: Schedule,
    dispatch: Dispatch,
    sweep: Sweep,
    requests: Requests,
}

impl Daemon {
    async fn fire_until(
        &mut self,
        stop: impl Future<Output = StopReason>,
        ticks: &mut Ticks,
        replacements: &mut mpsc::Receiver<Replacement>,
    ) -> StopReason {
        tokio::pin!(stop);
        let mut done = Vec::with_capacity(REPLIES_AT_ONCE);
        loop {
            let now = Now::read();
            if self.sweep.runs_low(now) {
                self.plan(now);
            }
            let effects = self.dispatch.advance(now);
            self.perform(effects);
            let wake = self.wakes_at(now);
            tokio::select! {
                biased;
                reason = &mut stop => return reason,
                _ = self.requests.replies.recv_many(&mut done, REPLIES_AT_ONCE) => {
                    done.drain(..).for_each(|done| self.take_in(done));
                }
                () = ticks.next() => self.plan(Now::read()),
                Some(replacement) = replacements.recv() => self.replace(replacement),
                () = sleep(wake.saturating_sub(now.mono)) => {}
            }
        }
    }

    /// Goes on with another schedule. What is due is settled under the old one first.
    fn replace(&mut self, replacement: Replacement) {
        let now = Now::read();
        self.plan(now);
        let Difference { added, removed, changed } =
            Difference::between(&self.schedule.entries, &replacement.schedule.entries);
        self.requests.replace(replacement.clients);
        let (effects, from) = self.dispatch.replace(&replacement.schedule, now);
        self.perform(effects);
        self.schedule = replacement.schedule;
        self.sweep = Sweep::new(&self.schedule, from);
        let entries = self.schedule.entries.len();
        Event::from(ScheduleReloaded { path: replacement.path, entries, added, removed, changed }).emit();
        self.plan(now);
    }

    /// Waits for the answers to what was sent. Returns how many did not come in time.
    async fn finish(&mut self, reason: StopReason) -> usize {
        self.dispatch.stop();
        let in_flight = self.dispatch.fires_in_flight();
        Event::from(DaemonStopping { reason: reason.to_owned(), in_flight }).emit();
        let end = Instant::now() + GRACE;
        while self.dispatch.fires_in_flight() > 0 {
            tokio::select! {
                Some(done) = self.requests.replies.recv() => self.take_in(done),
                () = sleep_until(end) => break,
            }
        }
        let left = self.dispatch.fires_in_flight();
        let effects = self.dispatch.abandon();
        self.perform(effects);
        left
    }

    /// Plans what is due in the next seconds.
    fn plan(&mut self, now: Now) {
        while let Some(occurrences) = self.sweep.step(now) {
            let effects = self.dispatch.plan(occurrences, now);
            self.perform(effects);
            let effects = self.dispatch.advance(Now::read());
            self.perform(effects);
        }
    }

    fn take_in(&mut self, done: Done) {
        let now = Now::read();
        let effects = match done {
            Done::Fired { id, sent_at, reply } => self.dispatch.fired(id, sent_at, reply, now),
            Done::Followed { id, reply } => self.dispatch.followed(id, reply, now),
        };
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Warm(account, connections) => self.requests.warm(&account, connections),
                Effect::Log(event) => event.emit(),
                Effect::Send(id, request) => self.requests.send(id, request),
            }
        }
    }

    fn wakes_at(&self, now: Now) -> Mono {
        let sweep = now.mono + self.sweep.low_in(now);
        self.dispatch.wakes_at(now).map_or(sweep, |at| at.min(sweep))
    }
}

/// Waits for a span, to some ten microseconds.
async fn sleep(span: Duration) {
    match span.checked_sub(TIMER_GRAIN) {
        Some(most) if !most.is_zero() => sleep_until(Instant::now() + most).await,
        _ => tokio::task::yield_now().await,
    }
}
