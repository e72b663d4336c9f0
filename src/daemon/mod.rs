//! The daemon's loop: it reads the clocks, lets the pure parts decide, and does what they say.

mod control_state;
mod clockwatch;
mod core;
mod fleet;
mod forgotten;
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
use tokio::task::JoinError;
use tokio::time::{Instant, sleep_until, timeout};

use crate::clock::{Mono, Now};
use crate::cloud66::Client;
use crate::control::{ControlReceiver, ControlRequest, OnDisk};
use crate::dispatch::{Effect, Request, RequestId};
use crate::journal::outage::Outage;
use crate::journal::postgres::{LeadershipChange, ShardHandle, Term};
use crate::journal::{
    Definition, Health, Journal, JournalError, Recovered, Refused, SendPermit, SendWatermark,
};
use crate::log::LogWriter;
use crate::log::event::{
    CalendarEnding, Event, JournalFailed, JournalRefused, JournalRestored, LeaseReleased,
};
use crate::memory;
use crate::metrics::{Metrics, Watched};
use crate::notify::Notices;
use crate::schedule::{AccountName, Ending, Schedule, Shard, ending};

pub(crate) use self::core::Core;
use control_state::ControlState;
use fleet::Shared;
pub use fleet::run;
pub use notifier::Notifier;
use replacement::{Clients, Part};
pub use replacement::{Loops, Replacement};
use requests::{Done, Requests, Withheld};
pub use standby::Keeping;
use standby::{HANDED_OVER, Halt, PERMIT_AGAIN, name, next_event};
use sweep::{Tick, Ticks};

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

/// What is in flight when the daemon is told to stop has this long to be answered. Service managers
/// kill after ten seconds and more.
const GRACE: Duration = Duration::from_secs(9);

/// The journal has this long to write its last words. What it lacks then counts as in doubt at the
/// next start.
const CLOSE: Duration = Duration::from_millis(800);

/// What is learnt of a quota is saved this often at most.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Between two such savings quotas are saved so often at most because requests leave that take the
/// last of what is covered. Two are needed at a start: one for the request that goes alone, one for
/// the rest.
const MOST_SAVED_AHEAD: u32 = 4;

/// Notices that are left have this long to be sent, if what was in flight has left as much.
const FLUSH: Duration = Duration::from_secs(2);

/// Replies that are taken in before the loop looks at the clock again.
const REPLIES_AT_ONCE: usize = 256;

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
    pub asked: ControlReceiver,
    /// Who tells people how occurrences end.
    pub notices: Option<Notices>,
    /// Who started the daemon, and is told how it is.
    pub notifier: Notifier,
    /// Who writes the log.
    pub log_writer: LogWriter,
    /// Whether the schedule file is what is fired.
    pub on_disk: OnDisk,
}

/// How a loop has wound up.
struct WoundUp {
    /// How much may have started unseen: what was not answered in time, and what is in doubt. The
    /// journal has it as being sent, so that who leads next finds out.
    left: usize,
    /// Nothing is written to the journal any more.
    closed: bool,
}

/// The loop of one shard.
struct Daemon {
    shard: Shard,
    shared: Arc<Shared>,
    /// The schedule of all loops.
    whole: Arc<Schedule>,
    /// What of it this one fires.
    schedule: Arc<Schedule>,
    core: Core,
    requests: Requests,
    /// Something was learnt of a quota since it was last saved.
    quotas_changed: bool,
    /// When quotas were last saved.
    quotas_saved: Option<Mono>,
    /// How often they were saved since then before answers had told.
    saved_ahead: u32,
    /// How far it has sent, for a process that comes after a crash. `None` while it stands by.
    mark: Option<SendWatermark>,
    /// Where the journal is shared.
    seat: Option<ShardHandle>,
    /// For which it leads.
    term: Option<Term>,
    /// The journal knows that this schedule is in force.
    in_force_told: bool,
    /// Moves that the journal did not apply.
    refused: mpsc::UnboundedReceiver<Refused>,
    /// The journal cannot be written since then.
    ill_since: Option<Timestamp>,
    /// Decides when the log tells of the journal's outage.
    outage: Outage,
    metrics: Option<Watched>,
    desk: ControlState,
}

impl Daemon {
    fn new(
        shared: &Arc<Shared>,
        whole: Arc<Schedule>,
        schedule: Arc<Schedule>,
        clients: Clients,
        (shard, seat): (Shard, Option<ShardHandle>),
        path: &Arc<str>,
    ) -> Daemon {
        let now = Now::read();
        let (core, _) = Core::new(&schedule, Recovered::default(), 0, now);
        Daemon {
            shard,
            shared: Arc::clone(shared),
            whole,
            schedule,
            core,
            requests: Requests::new(clients, Journal::of_another(), SendPermit::none_yet()),
            quotas_changed: false,
            quotas_saved: None,
            saved_ahead: 0,
            mark: None,
            in_force_told: false,
            seat,
            term: None,
            refused: mpsc::unbounded_channel().1,
            ill_since: None,
            outage: Outage::default(),
            metrics: shared.metrics.as_ref().map(Metrics::watch),
            desk: ControlState::new(now.wall, path, &shared.journal),
        }
    }

    /// Fires what is the shard's while it leads, until it is told to stop. Returns how much may
    /// have started unseen.
    async fn run(
        mut self,
        mut stop: watch::Receiver<Option<StopReason>>,
        mut ticks: Ticks,
        mut parts: mpsc::Receiver<Part>,
        mut asks: mpsc::UnboundedReceiver<ControlRequest>,
        stopping: mpsc::UnboundedSender<usize>,
    ) -> usize {
        let stopped = async {
            // Its other end lives as long as the daemon.
            let _ = stop.wait_for(Option::is_some).await;
        };
        tokio::pin!(stopped);
        loop {
            if !self.leads() && !self.stand_by(&mut stopped, &mut ticks, &mut parts, &mut asks).await {
                break;
            }
            match self.fire_until(&mut stopped, &mut ticks, &mut parts, &mut asks).await {
                Halt::Stopped => break,
                Halt::Deposed => self.step_down(),
                Halt::Replaced => self.idle(),
                Halt::HandsOver => self.hand_over().await,
                Halt::Renews => self.renew().await,
            }
        }
        let left = self.finish(&stopping).await;
        ticks.stop().await;
        left
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
            let Ending { calendar, until, days, .. } = ending;
            self.emit(CalendarEnding { calendar, until: until.to_string(), days, warning: message }.into());
        }
    }

    async fn fire_until(
        &mut self,
        stop: &mut (impl Future<Output = ()> + Unpin),
        ticks: &mut Ticks,
        parts: &mut mpsc::Receiver<Part>,
        asks: &mut mpsc::UnboundedReceiver<ControlRequest>,
    ) -> Halt {
        let mut done = Vec::with_capacity(REPLIES_AT_ONCE);
        let mut health = self.requests.journal.health();
        self.tell_endings();
        loop {
            let now = Now::read();
            // Without it another may lead: nothing is decided that could be wrong by now.
            let permitted = self.is_permitted(now);
            if permitted {
                if self.core.runs_low(now) {
                    self.claim_window(now);
                }
                let effects = self.core.turn(now);
                self.perform(effects);
            } else {
                self.core.watches(now);
            }
            if let Some(metrics) = &self.metrics {
                metrics.turned(permitted && self.core.is_current(now), self.core.waits_for_clock(now));
            }
            let ill = self.ill_since.is_some();
            let problem = || self.gravest_problem(now);
            self.shared.supervised(|supervision| {
                supervision.turned(&self.shard, now, &self.core, ill, problem);
            });
            let wake = if permitted { self.core.wakes_at(now) } else { now.mono + PERMIT_AGAIN };
            tokio::select! {
                biased;
                () = &mut *stop => return Halt::Stopped,
                notice = next_event(&mut self.seat) => match notice {
                    LeadershipChange::Deposed => return Halt::Deposed,
                    LeadershipChange::Replaced => return Halt::Replaced,
                    LeadershipChange::HandsOver => return Halt::HandsOver,
                    LeadershipChange::Leads(_) | LeadershipChange::StandsBy(_) => {}
                },
                _ = self.requests.next_replies(&mut done, REPLIES_AT_ONCE) => self.take_in(&mut done),
                tick = ticks.next() => match tick {
                    Tick::ClaimWindow => {
                        self.claim_window(Now::read());
                        // A failure that was not told, as its cause had been told a moment ago, is
                        // told if it lasts.
                        let lasts = health.borrow().clone();
                        self.tell_health(&lasts);
                    }
                    // What is settled is everybody's, and is pruned by one.
                    Tick::Prune if self.shard == Shard::Common => self.requests.prune(Now::read(), self.shared.keep),
                    Tick::Remind => self.tell_endings(),
                    Tick::Prune => {}
                },
                Ok(()) = health.changed() => self.tell_health(&health.borrow_and_update()),
                Some(refused) = self.refused.recv() => {
                    let (key, error) = (refused.key(), refused.to_string());
                    let (entry, scheduled_at, pass) = (key.entry().clone(), key.scheduled_at(), key.pass().into());
                    self.emit(JournalRefused { entry, scheduled_at, pass, error }.into());
                }
                Some(part) = parts.recv() => if self.replace(part) {
                    return Halt::Renews;
                },
                Some(ask) = asks.recv() => self.asked(ask),
                () = sleep(wake.saturating_sub(now.mono)) => {}
            }
        }
    }

    /// Plans and claims what is due in the next seconds.
    fn claim_window(&mut self, now: Now) {
        if !self.leads() {
            return;
        }
        let planned = self.core.planned_until();
        let claims = self.core.claim_window(now);
        self.tell_in_force(planned.unwrap_or(now.wall));
        if let Some(claims) = claims {
            if let Some(metrics) = &self.metrics {
                metrics.claims();
            }
            if let (Some(_), Some(mark)) = (claims.repeat, &mut self.mark) {
                mark.journal_goes_back(now.wall);
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

    /// Saves that quota is in use before the answers tell so. A daemon that is killed between would
    /// have the next one ask for what is spent, and so would that one's end.
    fn save_quotas_ahead(&mut self, now: Now) {
        let since = self.quotas_saved.map_or(SAVE_EVERY, |saved| now.mono.saturating_sub(saved));
        if since >= SAVE_EVERY {
            self.saved_ahead = 0;
        }
        if self.saved_ahead < MOST_SAVED_AHEAD {
            self.saved_ahead += 1;
            self.core.quotas().for_each(|(account, saved)| self.requests.journal.save_quota(account, saved));
            self.requests.write_now();
        }
    }

    /// Tells the journal from which instant on it plans by this schedule, once anything is planned:
    /// a clock that is none tells of no instant.
    fn tell_in_force(&mut self, since: Timestamp) {
        if self.in_force_told || self.core.planned_until().is_none() {
            return;
        }
        self.in_force_told = true;
        self.requests.journal.in_force(since, Definition::of_all(&self.schedule.entries));
    }

    fn save_quotas(&mut self, now: Now) {
        self.quotas_changed = false;
        self.quotas_saved = Some(now.mono);
        self.saved_ahead = 0;
        self.core.quotas().for_each(|(account, saved)| self.requests.journal.save_quota(account, saved));
    }

    /// Goes on with another schedule. Returns whether it has accounts of another shard from now on,
    /// of which the journal knows more.
    fn replace(&mut self, part: Part) -> bool {
        let now = Now::read();
        let Part { clients, whole, prepared, done } = part;
        let of = |schedule: &Schedule, name: &AccountName| {
            let mut accounts = schedule.accounts.iter();
            accounts.find(|account| account.name == *name).map(|account| account.shard.clone())
        };
        let moved = |schedule: &Schedule, other: &Schedule| {
            let mut accounts = schedule.accounts.iter().filter(|account| account.shard == self.shard);
            accounts.any(|account| of(other, &account.name).is_some_and(|shard| shard != self.shard))
        };
        let shares = self.seat.is_some() && self.leads();
        let (came, went) = (shares && moved(&whole, &self.whole), shares && moved(&self.whole, &whole));
        self.requests.replace(clients, |account| self.core.needs(account));
        let schedule = Arc::clone(&prepared.schedule);
        let (effects, leftover) = self.core.replace(prepared, now);
        self.perform(effects);
        (self.schedule, self.whole) = (schedule, whole);
        self.in_force_told = false;
        if went {
            self.leave_pauses();
        }
        if let Some(done) = done {
            let _ = done.send(());
        }
        self.claim_window(now);
        tokio::task::spawn_blocking(move || {
            drop(leftover);
            memory::give_back();
        });
        came
    }

    /// Ends in order, and gives up its part in the shard. Returns how much may have started unseen.
    async fn finish(&mut self, stopping: &mpsc::UnboundedSender<usize>) -> usize {
        let effects = self.core.stop();
        let _ = stopping.send(self.core.fires_in_flight());
        self.perform(effects);
        let WoundUp { left, .. } = self.wind_up(GRACE).await;
        if let Some(seat) = self.seat.take() {
            let (member, led) = (seat.member().to_owned(), self.leads());
            let handed_over = timeout(HANDED_OVER, seat.leave()).await;
            if led && handed_over == Ok(true) {
                self.emit(LeaseReleased { member, shard: name(&self.shard) }.into());
            }
        }
        left
    }

    /// Sends nothing new, waits for the answers to what was sent, and closes the journal.
    async fn wind_up(&mut self, grace: Duration) -> WoundUp {
        let effects = self.core.stop();
        let stopped_at = Timestamp::now();
        self.perform(effects);
        let end = Instant::now() + grace;
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
        // A journal that cannot be written has been told of, and what is in it says enough.
        let closed = timeout(CLOSE, self.requests.journal.close(stopped_at)).await;
        WoundUp { left, closed: matches!(closed, Ok(Ok(()))) }
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
            self.quotas_changed |= matches!(
                done,
                Done::Fired { .. }
                    | Done::Followed { .. }
                    | Done::Listed { .. }
                    | Done::Recorded { .. }
                    | Done::Looked { .. }
            );
            effects.extend(match done {
                Done::ByHand(by_hand) => {
                    self.perform(std::mem::take(&mut effects));
                    self.answered_by_hand(by_hand);
                    continue;
                }
                Done::Fired { id, sent_at, reply } => self.core.fired(id, sent_at, reply, now),
                Done::Followed { id, reply } => self.core.followed(id, reply, now),
                Done::Listed { id, reply } => self.core.listed(id, reply, now),
                Done::Looked { id, reply } => self.core.looked(id, reply, now),
                Done::Recorded { id, reply } => self.core.recorded(id, reply, now),
                Done::Recalled { account, stack, known } => self.core.recalled(account, stack, known, now),
                Done::Claimed { cursor, known: Ok(claimed) } => {
                    if let Some(mark) = &mut self.mark {
                        mark.journal_reaches(cursor);
                    }
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
        // The first answer is worth the most, and the last one: a daemon that is killed again and
        // again must not ask each time.
        let saved_lately = self.quotas_saved.is_some_and(|saved| now.mono.saturating_sub(saved) < SAVE_EVERY);
        if self.quotas_changed && (spent || !saved_lately) {
            self.save_quotas(now);
        }
        if spent {
            self.requests.write_now();
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

    fn perform(&mut self, mut effects: Vec<Effect>) {
        let edge = effects.iter().any(|effect| match effect {
            Effect::Send(_, Request::RunNow(entry)) | Effect::SendAfter(_, _, Request::RunNow(entry)) => {
                self.core.is_on_quotas_edge(&entry.account.name)
            }
            _ => false,
        });
        if edge {
            self.save_quotas_ahead(Now::read());
        }
        let fires = |effect: &Effect| {
            matches!(
                effect,
                Effect::Send(_, Request::RunNow(_)) | Effect::SendAfter(_, _, Request::RunNow(_))
            )
        };
        let marked = match &mut self.mark {
            Some(mark) if effects.iter().any(fires) => mark.raise(self.core.sent_up_to()),
            _ => Ok(()),
        };
        let now = Now::read();
        // Each request by its own due instant: what a leader with a clock ahead had sent keeps
        // nothing from going.
        let may_send = |id: RequestId| match (self.core.due_of(id), &self.mark) {
            (Some(due_at), Some(mark)) if !mark.permit().covers(due_at, now) => Err(Withheld::Permit),
            (Some(_), _) => marked.as_ref().copied().map_err(Withheld::Watermark),
            // A question changes nothing.
            (None, _) => Ok(()),
        };
        // An end is told before it is written: a crash between the two has it told again, and not
        // concealed.
        effects.sort_by_key(|effect| !matches!(effect, Effect::Log(_)));
        for effect in effects {
            match effect {
                Effect::Warm(account, due, connections) => self.requests.warm(&account, due, connections),
                Effect::Log(event) => self.emit(*event),
                Effect::PauseEnds(entry) => self.desk.pause_ends(entry, &self.requests.journal),
                Effect::Recall(account, stack, since, listed) => {
                    self.requests.recall(account, stack, since, listed);
                }
                Effect::Record(key, mv) => self.requests.journal.record(key, mv),
                Effect::End(handover) => self.requests.journal.end(*handover),
                Effect::Resent(resent) => self.requests.journal.resent(*resent),
                Effect::Amend(claim) => self.requests.journal.amend(*claim),
                Effect::Send(id, request) => match may_send(id) {
                    Ok(()) => self.requests.send(id, request),
                    Err(withheld) => self.requests.hold_back(id, withheld),
                },
                Effect::SendAfter(written, id, request) => match may_send(id) {
                    Ok(()) => self.requests.send_after(*written, id, request),
                    Err(withheld) => self.requests.hold_back(id, withheld),
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
