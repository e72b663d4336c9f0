//! The daemon's loop: it reads the clocks, lets the pure parts decide, and does what they say.

mod asked;
mod clockwatch;
mod core;
mod notifier;
mod replacement;
mod requests;
mod standby;
mod supervision;
mod sweep;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::clock::{Mono, Now};
use crate::cloud66::Client;
use crate::control::{Ask, Asked};
use crate::dispatch::Effect;
use crate::journal::postgres::{Membership, Notice};
use crate::journal::{Health, Journal, Mark, Permit, Recovered, Refused};
use crate::log::Scribe;
use crate::log::event::{
    DaemonStarted, DaemonStopped, DaemonStopping, Event, JournalFailed, JournalRefused, JournalRestored,
    ScheduleReloaded,
};
use crate::memory;
use crate::metrics::Metrics;
use crate::notify::Notices;
use crate::schedule::{AccountName, Schedule};
use crate::timetable::tz;

pub(crate) use self::core::Core;
use asked::Desk;
pub use notifier::Notifier;
use replacement::Difference;
pub use replacement::Replacement;
use requests::{Done, Requests};
pub use standby::Keeping;
use standby::{Halt, PERMIT_AGAIN, learn};
use supervision::Supervision;
use sweep::{Tick, Ticks};

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

/// The journal has this long to write its last words. What it lacks then counts as in doubt at the next start.
const CLOSE: Duration = Duration::from_millis(800);

/// What is learnt of a quota is saved this often at most.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Notices that are left have this long to be sent, if what was in flight has left as much.
const FLUSH: Duration = Duration::from_secs(2);

/// Replies that are taken in before the loop looks at the clock again.
const REPLIES_AT_ONCE: usize = 64;

/// The runtime's timer is this coarse. What is nearer is waited for by yielding.
const TIMER_GRAIN: Duration = Duration::from_millis(1);

/// What a daemon begins with.
pub struct Setup {
    /// The schedule's file, for who asks.
    pub path: String,
    /// What it fires.
    pub schedule: Arc<Schedule>,
    /// A client for each of the schedule's accounts.
    pub clients: BTreeMap<AccountName, Client>,
    /// What survives it.
    pub journal: Keeping,
    /// Where the journal is, for the log.
    pub journal_name: String,
    /// How long settled occurrences are kept in it.
    pub keep: Duration,
    /// What counts, where somebody listens.
    pub metrics: Option<Arc<Metrics>>,
    /// What people ask, and where they learn of another schedule.
    pub asked: Asked,
    /// Who tells people how occurrences end.
    pub notices: Option<Notices>,
    /// Who started the daemon, and is told how it is.
    pub notifier: Notifier,
    /// Who writes the log.
    pub scribe: Scribe,
}

/// Fires the schedule until `stop` resolves, then waits for what is in flight.
///
/// It goes on where the journal ends; with an empty one, occurrences from now on are fired. What arrives on
/// `replacements` takes over at once.
pub async fn run(
    setup: Setup,
    mut replacements: mpsc::Receiver<Replacement>,
    stop: impl Future<Output = StopReason>,
) -> Result<(), DaemonError> {
    let Setup { path, schedule, clients, journal, journal_name, keep, metrics, asked, notices, .. } = setup;
    let now = Now::read();
    let Asked { mut asks, schedule: in_force } = asked;
    let desk = Desk::new(now.wall, &path, &journal_name);
    let mut ticks = Ticks::start().await?;
    let started = DaemonStarted {
        version: env!("CARGO_PKG_VERSION"),
        entries: schedule.entries.len(),
        accounts: schedule.accounts.len(),
        journal: journal_name,
        pid: std::process::id(),
        tz_database: tz::database().to_string(),
    };
    let (opened, membership) = match journal {
        Keeping::Own(opened) => (Some(opened), None),
        Keeping::Shared(membership) => (None, Some(membership)),
    };
    let (core, _) = Core::new(&schedule, Recovered::default(), 0, now);
    let mut daemon = Daemon {
        core,
        schedule,
        requests: Requests::new(clients, Journal::of_another(), Permit::none_yet()),
        keep,
        quotas_changed: false,
        quotas_saved: None,
        refused: mpsc::unbounded_channel().1,
        mark: None,
        membership,
        ill_since: None,
        metrics,
        scribe: setup.scribe,
        desk,
        in_force,
        notices,
        supervision: Supervision::new(setup.notifier),
    };
    daemon.tell(started.into());
    if let Some(opened) = opened {
        daemon.take_over(*opened);
    }
    tokio::pin!(stop);
    let reason = loop {
        if !daemon.leads() {
            let stopped = daemon.stand_by(&mut stop, &mut ticks, &mut replacements, &mut asks).await;
            if let Some(reason) = stopped {
                break reason;
            }
        }
        match daemon.fire_until(&mut stop, &mut ticks, &mut replacements, &mut asks).await {
            Halt::Stopped(reason) => break reason,
            Halt::Deposed => daemon.step_down(),
        }
    };
    // Who asks from now on is told at once that nobody answers.
    drop(asks);
    let in_flight = daemon.finish(reason).await;
    ticks.stop().await;
    daemon.tell(DaemonStopped { reason: reason.to_owned(), in_flight }.into());
    Ok(())
}

struct Daemon {
    schedule: Arc<Schedule>,
    core: Core,
    requests: Requests,
    keep: Duration,
    /// Something was learnt of a quota since it was last saved.
    quotas_changed: bool,
    /// When quotas were last saved.
    quotas_saved: Option<Mono>,
    /// How far it has sent, for a process that comes after a crash. `None` while it stands by.
    mark: Option<Mark>,
    /// Where the journal is shared.
    membership: Option<Box<Membership>>,
    /// Moves that the journal did not apply.
    refused: mpsc::UnboundedReceiver<Refused>,
    /// The journal cannot be written since then.
    ill_since: Option<Timestamp>,
    metrics: Option<Arc<Metrics>>,
    scribe: Scribe,
    desk: Desk,
    /// The schedule, for those who ask.
    in_force: watch::Sender<Arc<Schedule>>,
    notices: Option<Notices>,
    supervision: Supervision,
}

impl Daemon {
    async fn fire_until(
        &mut self,
        stop: &mut (impl Future<Output = StopReason> + Unpin),
        ticks: &mut Ticks,
        replacements: &mut mpsc::Receiver<Replacement>,
        asks: &mut mpsc::Receiver<Ask>,
    ) -> Halt {
        let mut done = Vec::with_capacity(REPLIES_AT_ONCE);
        let mut health = self.requests.journal.health();
        loop {
            let now = Now::read();
            // Without it another may lead: nothing is decided that could be wrong by now.
            let permitted = self.is_permitted(now);
            if permitted {
                if self.core.runs_low(now) {
                    self.beat(now);
                }
                let effects = self.core.turn(now);
                self.perform(effects);
            }
            if let Some(metrics) = &self.metrics {
                metrics.turned(permitted && self.core.is_current(now));
            }
            self.supervision.turned(now, &self.core, self.ill_since.is_some());
            let wake = if permitted { self.core.wakes_at(now) } else { now.mono + PERMIT_AGAIN };
            tokio::select! {
                biased;
                reason = &mut *stop => return Halt::Stopped(reason),
                notice = learn(&mut self.membership) => match notice {
                    Notice::Deposed => return Halt::Deposed,
                    notice => drop(self.heed(notice)),
                },
                _ = self.requests.replies.recv_many(&mut done, REPLIES_AT_ONCE) => self.take_in(&mut done),
                tick = ticks.next() => match tick {
                    Tick::Beat => self.beat(Now::read()),
                    Tick::Prune => self.requests.prune(Now::read(), self.keep),
                },
                Ok(()) = health.changed() => self.tell_health(&health.borrow_and_update()),
                Some(refused) = self.refused.recv() => {
                    let (entry, scheduled_at) = (refused.key.entry().clone(), refused.key.scheduled_at());
                    self.tell(JournalRefused { entry, scheduled_at, error: refused.to_string() }.into());
                }
                Some(replacement) = replacements.recv() => self.replace(replacement),
                Some(ask) = asks.recv() => self.asked(ask),
                () = sleep(wake.saturating_sub(now.mono)) => {}
            }
        }
    }

    /// Plans and claims what is due in the next seconds.
    fn beat(&mut self, now: Now) {
        if !self.leads() {
            return;
        }
        if let Some(claims) = self.core.beat(now) {
            if let Some(metrics) = &self.metrics {
                metrics.claims();
            }
            self.desk.claiming_since = Some(now.mono);
            self.requests.claim(claims);
        }
        self.desk.swept_at = Some(now.wall);
        if let Some(metrics) = &self.metrics {
            metrics.swept(self.core.paused().len(), self.core.gauges());
        }
        if self.quotas_changed {
            self.save_quotas(now);
        }
    }

    fn save_quotas(&mut self, now: Now) {
        self.quotas_changed = false;
        self.quotas_saved = Some(now.mono);
        self.core.quotas().for_each(|(account, saved)| self.requests.journal.save_quota(account, saved));
    }

    /// Goes on with another schedule.
    fn replace(&mut self, replacement: Replacement) {
        let now = Now::read();
        let Replacement { path, fingerprint, clients, audience, difference, prepared } = replacement;
        let Difference { added, removed, changed } = difference;
        self.requests.replace(clients);
        let schedule = Arc::clone(&prepared.schedule);
        let entries = schedule.entries.len();
        let (effects, leftover) = self.core.replace(prepared, now);
        self.perform(effects);
        self.schedule = schedule;
        self.desk.path = path.as_str().into();
        if let Some(membership) = &self.membership {
            membership.describe(fingerprint, entries);
        }
        self.in_force.send_replace(Arc::clone(&self.schedule));
        // What is settled under the old schedule is told to those whom it names.
        if let Some(notices) = &mut self.notices {
            notices.replace(audience);
        }
        self.tell(ScheduleReloaded { path, entries, added, removed, changed }.into());
        self.supervision.reloaded();
        self.beat(now);
        tokio::task::spawn_blocking(move || {
            drop(leftover);
            memory::give_back();
        });
    }

    /// Waits for the answers to what was sent. Returns how much may have started unseen: what was not answered in time,
    /// and what is in doubt. The journal has it as being sent, so that the next start finds out.
    async fn finish(&mut self, reason: StopReason) -> usize {
        let effects = self.core.stop();
        let stopped_at = Timestamp::now();
        self.perform(effects);
        let in_flight = self.core.fires_in_flight();
        self.tell(DaemonStopping { reason: reason.to_owned(), in_flight }.into());
        self.supervision.stopping(reason, in_flight);
        let end = Instant::now() + GRACE;
        let mut done = Vec::new();
        while self.core.fires_in_flight() > 0 || self.core.is_claiming() {
            tokio::select! {
                _ = self.requests.replies.recv_many(&mut done, REPLIES_AT_ONCE) => self.take_in(&mut done),
                () = sleep_until(end) => break,
            }
        }
        let left = self.core.fires_in_flight() + self.core.in_doubt();
        // What was being claimed waits by now, and was not sent.
        let effects = self.core.stop();
        self.perform(effects);
        self.core.quotas().for_each(|(account, saved)| self.requests.journal.save_quota(account, saved));
        let notices = self.notices.take();
        let flushed = async {
            if let Some(notices) = notices {
                notices.close(FLUSH.min(end + CLOSE - Instant::now())).await;
            }
        };
        // A journal that cannot be written has been told of, and what is in it says enough.
        let _ = tokio::join!(timeout(CLOSE, self.requests.journal.close(stopped_at)), flushed);
        self.hand_over().await;
        left
    }

    fn take_in(&mut self, replies: &mut Vec<Done>) {
        let now = Now::read();
        let mut effects = Vec::new();
        for done in replies.drain(..) {
            if let Done::Claimed { .. } = &done {
                self.desk.claiming_since = None;
                if let Some(metrics) = &self.metrics {
                    metrics.claimed();
                }
            }
            self.quotas_changed |=
                matches!(done, Done::Fired { .. } | Done::Followed { .. } | Done::Listed { .. });
            effects.extend(match done {
                Done::ByHand(by_hand) => {
                    self.perform(std::mem::take(&mut effects));
                    self.answered_by_hand(by_hand);
                    continue;
                }
                Done::Fired { id, sent_at, reply } => self.core.fired(id, sent_at, reply, now),
                Done::Followed { id, reply } => self.core.followed(id, reply, now),
                Done::Listed { id, reply } => self.core.listed(id, reply, now),
                Done::Recalled { account, stack, known } => self.core.recalled(account, stack, known, now),
                Done::Claimed { cursor, known: Ok(claimed) } => {
                    self.core.claimed(cursor, &claimed.known, now)
                }
                Done::Claimed { known: Err(_), .. } => {
                    self.core.unclaimed(now);
                    Vec::new()
                }
            });
        }
        let spent = effects.iter().any(
            |effect| matches!(effect, Effect::Log(event) if matches!(**event, Event::QuotaExhausted(_))),
        );
        self.perform(effects);
        // The first answer is worth the most, and the last one: a daemon that is killed again and again must not
        // ask each time.
        let saved_lately = self.quotas_saved.is_some_and(|saved| now.mono.saturating_sub(saved) < SAVE_EVERY);
        if self.quotas_changed && (spent || !saved_lately) {
            self.save_quotas(now);
        }
        if spent {
            self.requests.write_now();
        }
    }

    /// Says once that the journal cannot be written, and once that it can again.
    fn tell_health(&mut self, health: &Health) {
        match (health, self.ill_since) {
            (Health::Ill { since, error }, None) => {
                self.ill_since = Some(*since);
                self.tell(JournalFailed { since: *since, error: error.to_string() }.into());
            }
            (Health::Well, Some(failed_since)) => {
                self.ill_since = None;
                self.tell(JournalRestored { failed_since }.into());
            }
            (Health::Ill { .. }, Some(_)) | (Health::Well, None) => {}
        }
    }

    /// Counted first: who has read of an event finds it counted.
    fn tell(&self, event: Event) {
        if let Some(metrics) = &self.metrics {
            metrics.observe(&event);
        }
        self.desk.hear(&event);
        if let Some(notices) = &self.notices {
            notices.observe(&event);
        }
        self.scribe.tell(event);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        let sends = effects.iter().any(|effect| matches!(effect, Effect::Send(..) | Effect::SendAfter(..)));
        let mark = match &mut self.mark {
            Some(mark) if sends => mark.raise(self.core.sent_up_to()),
            _ => Ok(()),
        };
        // An end is told before it is written: a crash between the two has it told again, and not concealed.
        let (told, others): (Vec<_>, Vec<_>) =
            effects.into_iter().partition(|effect| matches!(effect, Effect::Log(_)));
        for effect in told.into_iter().chain(others) {
            match effect {
                Effect::Warm(account, connections) => self.requests.warm(&account, connections),
                Effect::Log(event) => self.tell(*event),
                Effect::Recall(account, stack, since) => self.requests.recall(account, stack, since),
                Effect::Record(key, mv) => self.requests.journal.record(key, mv),
                Effect::Send(id, request) => match &mark {
                    Ok(()) => self.requests.send(id, request),
                    Err(error) => self.requests.hold_back(id, &request, error),
                },
                Effect::SendAfter(written, id, request) => match &mark {
                    Ok(()) => self.requests.send_after(*written, id, request),
                    Err(error) => self.requests.hold_back(id, &request, error),
                },
            }
        }
    }
}

/// Waits for a span, to some ten microseconds.
async fn sleep(span: Duration) {
    match span.checked_sub(TIMER_GRAIN) {
        Some(most) if !most.is_zero() => sleep_until(Instant::now() + most).await,
        _ => tokio::task::yield_now().await,
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
