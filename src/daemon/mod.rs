//! The loop of a shard: it stands by until this daemon leads the shard, and fires it while it does.

mod asked;
mod control_state;
mod clockwatch;
mod core;
mod fleet;
mod forgotten;
mod leader;
mod node;
mod notifier;
mod quota_saving;
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
use tokio::task::JoinError;
use tokio::time::timeout;

use crate::clock::Now;
use crate::cloud66::Client;
use crate::control::{ControlReceiver, ControlRequest, OnDisk};
use crate::journal::outage::Outage;
use crate::journal::postgres::ShardHandle;
use crate::journal::{Health, JournalError};
use crate::log;
use crate::log::event::{CalendarEnding, Event, JournalFailed, JournalRestored, LeaseReleased};
use crate::metrics::{LoopMetrics, Metrics};
use crate::notify::Notices;
use crate::schedule::{AccountName, EntryName, ListEnding, NamedCalendar, Schedule, Shard, ending};

use control_state::ControlState;
use fleet::Shared;
pub use fleet::run;
use leader::{Halt, Leader};
pub(crate) use node::{Answer, Input, Node, Output};
pub use notifier::Notifier;
use replacement::{Clients, ShardPart};
pub use replacement::{Loops, Replacement};
use requests::ClientsInUse;
use standby::HANDED_OVER;
pub use standby::Keeping;
use sweep::Ticks;

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The scheduler that drives the sweep did not start.
    #[error("the sweep cannot be scheduled: {0}")]
    Ticks(#[from] tokio_cron_scheduler::JobSchedulerError),
    /// The state directory cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A loop has ended before it was told to, by a mistake of its own.
    #[error("a loop that fires the schedule has ended{}; start the daemon anew", .0.as_ref().map_or(String::new(), |error| format!(": {error}")))]
    Ended(Option<JoinError>),
}

/// Why the daemon was asked to stop, in a word: a signal's name.
pub type StopReason = &'static str;

/// Time for requests in flight to be answered when the daemon is told to stop. Service managers
/// kill after ten seconds or more.
const GRACE: Duration = Duration::from_secs(9);

/// Notices that are left have this long to be sent, if what was in flight has left as much.
const FLUSH: Duration = Duration::from_secs(2);

/// Replies that are taken in before the loop looks at the clock again.
const REPLIES_AT_ONCE: usize = 256;

/// Everything that a daemon needs to begin.
pub struct Setup {
    /// The schedule's file, for who asks.
    pub path: String,
    /// The schedule to be fired.
    pub schedule: Arc<Schedule>,
    /// A client for each of the schedule's accounts.
    pub clients: BTreeMap<AccountName, Client>,
    /// The journal, or the way to one that several daemons share.
    pub journal: Keeping,
    /// Place of the journal, for the log.
    pub journal_name: String,
    /// Time for which the journal keeps settled occurrences.
    pub keep: Duration,
    /// The metrics. `None`: the daemon does not listen for HTTP.
    pub metrics: Option<Arc<Metrics>>,
    /// Receiver of requests from the control socket, and of reloads.
    pub asked: ControlReceiver,
    /// Sender of notices about how occurrences end. `None`: the schedule names no receiver.
    pub notices: Option<Notices>,
    /// The service manager that started the daemon.
    pub notifier: Notifier,
    /// Progress of the thread that writes the log.
    pub log: log::LogProgress,
    /// Tells whether the schedule file on disk is the schedule that is fired.
    pub on_disk: OnDisk,
}

/// The loop of one shard.
struct Daemon {
    shard: Shard,
    shared: Arc<Shared>,
    /// The schedule of all loops.
    whole: Arc<Schedule>,
    /// The part of it that this loop fires.
    schedule: Arc<Schedule>,
    /// The calendars that the entries of this part name.
    calendars: Vec<Arc<NamedCalendar>>,
    clients: ClientsInUse,
    /// The shard's lease. `None`: nobody shares the journal.
    shard_handle: Option<ShardHandle>,
    /// The journal cannot be written since then.
    ill_since: Option<Timestamp>,
    /// Decides when the log tells of the journal's outage.
    outage: Outage,
    metrics: Option<LoopMetrics>,
    desk: ControlState,
}

impl Daemon {
    fn new(
        shared: &Arc<Shared>,
        whole: Arc<Schedule>,
        schedule: Arc<Schedule>,
        clients: Clients,
        (shard, shard_handle): (Shard, Option<ShardHandle>),
        path: &Arc<str>,
    ) -> Daemon {
        Daemon {
            shard,
            shared: Arc::clone(shared),
            whole,
            calendars: schedule.calendars().into_values().cloned().collect(),
            schedule,
            clients: ClientsInUse::new(clients),
            shard_handle,
            ill_since: None,
            outage: Outage::default(),
            metrics: shared.metrics.as_ref().map(Metrics::watch),
            desk: ControlState::new(Timestamp::now(), path, &shared.journal),
        }
    }

    /// Fires what is the shard's while it leads, until it is told to stop. `leader` has a journal
    /// that nobody shares. Returns how much may have started unseen.
    async fn run(
        mut self,
        mut leader: Option<Leader>,
        mut stop: watch::Receiver<Option<StopReason>>,
        mut ticks: Ticks,
        mut parts: mpsc::Receiver<ShardPart>,
        mut asks: mpsc::UnboundedReceiver<ControlRequest>,
        stopping: mpsc::UnboundedSender<usize>,
    ) -> usize {
        let stopped = async {
            // Its other end lives as long as the daemon.
            let _ = stop.wait_for(Option::is_some).await;
        };
        tokio::pin!(stopped);
        let mut renewed = None;
        let led = loop {
            let mut leads = match leader.take() {
                Some(leader) => leader,
                None => {
                    match self.stand_by(renewed.take(), &mut stopped, &mut ticks, &mut parts, &mut asks).await
                    {
                        Some(leader) => leader,
                        None => break None,
                    }
                }
            };
            match leads.fire_until(&mut self, &mut stopped, &mut ticks, &mut parts, &mut asks).await {
                Halt::Stopped => break Some(leads),
                Halt::Deposed => leads.step_down(&mut self),
                Halt::Replaced => leads.ends_term(&mut self),
                Halt::HandsOver => leads.hand_over(&mut self).await,
                Halt::Renews => renewed = leads.renew(&mut self).await,
            }
        };
        let left = self.finish(led, &stopping).await;
        ticks.stop().await;
        left
    }

    /// Ends in order, and gives up its part in the shard. Returns how much may have started unseen.
    async fn finish(&mut self, led: Option<Leader>, stopping: &mpsc::UnboundedSender<usize>) -> usize {
        let leads = led.is_some();
        let left = match led {
            Some(leader) => leader.finish(self, stopping, GRACE).await,
            None => {
                let _ = stopping.send(0);
                0
            }
        };
        if let Some(shard_handle) = self.shard_handle.take() {
            let member = shard_handle.member().to_owned();
            let handed_over = timeout(HANDED_OVER, shard_handle.leave()).await;
            if leads && handed_over == Ok(true) {
                self.emit(LeaseReleased { member, shard: self.shard_name() }.into());
            }
        }
        left
    }

    /// The shard's name, for the log. `None`: the accounts that name no shard.
    fn shard_name(&self) -> Option<String> {
        self.shard.name().map(ToString::to_string)
    }

    /// The entries of other shards.
    fn entries_of_others(&self) -> impl Iterator<Item = &EntryName> {
        let others = self.whole.entries.iter().filter(|entry| entry.account.shard != self.shard);
        others.map(|entry| &entry.name)
    }

    /// Tells of calendars whose list ends: when it begins to fire, and once a day. One loop tells
    /// for all.
    fn tell_endings(&self) {
        if self.shard != Shard::Common {
            return;
        }
        let now = Now::read().wall;
        for ending in self.whole.calendars().into_values().filter_map(|calendar| ending(calendar, now)) {
            let message = ending.to_string();
            let ListEnding { calendar, until, days, .. } = ending;
            self.emit(CalendarEnding { calendar, until: until.to_string(), days, warning: message }.into());
        }
    }

    /// Says that the journal cannot be written, once for each cause, and once that it can be again.
    fn tell_health(&mut self, health: &Health) {
        let is_ill = *health != Health::Well;
        if is_ill != self.ill_since.is_some()
            && let Some(metrics) = &self.metrics
        {
            metrics.journal_is_ill(is_ill);
        }
        match health {
            Health::Ill { since, error } => {
                self.ill_since = Some(*since);
                if self.outage.fails(error, Now::read().mono) {
                    self.emit(JournalFailed { since: *since, error: error.to_string() }.into());
                }
            }
            Health::Well => {
                let failed_since = self.ill_since.take();
                if self.outage.ends()
                    && let Some(failed_since) = failed_since
                {
                    self.emit(JournalRestored { failed_since }.into());
                }
            }
        }
    }

    /// Counted first: who has read of an event finds it counted.
    fn emit(&self, event: Event) {
        // The clock is one for all loops, and each sees it jump.
        if matches!(event, Event::ClockJumped(_)) && self.shard != Shard::Common {
            return;
        }
        if let Some(metrics) = &self.metrics {
            metrics.observe(&event);
        }
        self.desk.on_event(&event);
        self.shared.emit(event);
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
