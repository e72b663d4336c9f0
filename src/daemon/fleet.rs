//! The loops of one daemon: one for each shard of the schedule that several daemons share, and one
//! alone where nobody else does.
//!
//! Each loop decides for its accounts alone, with a part of the schedule, a lease, a permit, a
//! cursor, a mark and a journal's handle of its own. What they share is here: the schedule file,
//! the log, the metrics, who is told, and whoever asks.
//!
//! A shard is the accounts that name it, or all that name none. Claims are unique across shards:
//! while the files of two members differ in where an account belongs, each occurrence is the
//! first's who claims it. What is open of a shard is that shard's to end, also when the file has it
//! no more. An account that moves brings its pauses and its quota along: who leads its new shard
//! opens the journal anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::leader::Leader;
use super::node::CLOSE;
use super::replacement::{Clients, DifferenceCounts, Loops, ShardPart};
use super::standby::{HANDED_OVER, claim_forgotten, event_for_log};
use super::supervision::Supervision;
use super::sweep::Ticks;
use super::{Daemon, DaemonError, FLUSH, GRACE, Keeping, Replacement, Setup, StopReason};
use crate::control::{ControlReceiver, ControlRequest, FireError, FireRequest, NotReady, OnDisk, Snapshot};
use crate::journal::Health;
use crate::journal::Opened;
use crate::journal::postgres::{MemberEvent, Membership};
use crate::log::LogProgress;
use crate::log::event::{
    DaemonStarted, DaemonStopped, DaemonStopping, Event, ScheduleReloaded, ScheduleShrunk,
};
use crate::metrics::Metrics;
use crate::notify::Notices;
use crate::schedule::{Schedule, Shard};
use crate::timetable::tz;

/// Time for each loop to say, when the daemon stops, how many requests it has in flight.
const SAID: Duration = Duration::from_millis(500);

/// State that all loops share.
pub(super) struct Shared {
    pub(super) metrics: Option<Arc<Metrics>>,
    log: LogProgress,
    notices: RwLock<Option<Notices>>,
    supervision: Mutex<Supervision>,
    pub(super) journal: Arc<str>,
    pub(super) on_disk: OnDisk,
    /// The journal that the state directory knows is gone, or another one is in its place.
    without_journal: AtomicBool,
    pub(super) keep: Duration,
}

impl Shared {
    /// Logs an event, and tells whom it concerns. It is counted before.
    pub(super) fn emit(&self, event: Event) {
        if let Some(notices) = &*self.notices.read().unwrap_or_else(PoisonError::into_inner) {
            notices.observe(&event);
        }
        event.emit();
    }

    /// Returns true when the journal that the state directory knows is gone, or another one is in
    /// its place.
    pub(super) fn is_without_journal(&self) -> bool {
        self.without_journal.load(Relaxed)
    }

    /// Returns the progress of the thread that writes the log.
    pub(super) fn log(&self) -> LogProgress {
        self.log.clone()
    }

    /// Tells of all loops.
    fn announce(&self, event: Event) {
        if let Some(metrics) = &self.metrics {
            metrics.observe(&event);
        }
        self.emit(event);
    }

    /// Changes what the service manager is told.
    pub(super) fn supervised(&self, say: impl FnOnce(&mut Supervision)) {
        say(&mut self.supervision.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A loop, as the others see it.
struct Loop {
    /// Its part of the schedule.
    schedule: Arc<Schedule>,
    parts: mpsc::Sender<ShardPart>,
    asks: mpsc::UnboundedSender<ControlRequest>,
}

struct Fleet {
    shared: Arc<Shared>,
    path: Arc<str>,
    /// The whole schedule, of all shards.
    schedule: Arc<Schedule>,
    loops: BTreeMap<Shard, Loop>,
    /// Each of them as it runs. It returns how much may have started unseen.
    running: JoinSet<usize>,
    /// Membership among the daemons that share the journal. `None`: nobody else uses the journal.
    membership: Option<Box<Membership>>,
    in_force: watch::Sender<Arc<Schedule>>,
    stop: watch::Sender<Option<StopReason>>,
    /// Sender on which each loop says, when it stops, how many requests it has in flight.
    stopping: mpsc::UnboundedSender<usize>,
}

/// Fires the schedule until `stop` resolves, then waits for what is in flight.
///
/// It goes on where the journal ends; with an empty one, occurrences from now on are fired. What
/// arrives on `replacements` takes over at once.
pub async fn run(
    setup: Setup,
    mut replacements: mpsc::Receiver<Replacement>,
    stop: impl Future<Output = StopReason>,
) -> Result<(), DaemonError> {
    let Setup { path, schedule, clients, journal, journal_name, keep, metrics, asked, notices, .. } = setup;
    let ControlReceiver { mut asks, schedule: in_force } = asked;
    if let Some(metrics) = &metrics {
        metrics.follow(setup.log.clone());
    }
    let shared = Arc::new(Shared {
        metrics,
        log: setup.log,
        notices: RwLock::new(notices),
        supervision: Mutex::new(Supervision::new(setup.notifier)),
        on_disk: setup.on_disk,
        journal: journal_name.as_str().into(),
        without_journal: AtomicBool::new(false),
        keep,
    });
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
    let (stopping, mut stopped) = mpsc::unbounded_channel();
    let mut fleet = Fleet {
        shared,
        path: path.as_str().into(),
        schedule: Arc::clone(&schedule),
        loops: BTreeMap::new(),
        running: JoinSet::new(),
        membership,
        in_force,
        stop: watch::channel(None).0,
        stopping,
    };
    let parts = ShardPart::clients(&schedule, clients, fleet.loops_are());
    fleet.shared.announce(started.into());
    let mut opened = opened;
    for (shard, clients) in parts {
        fleet.begin(shard, clients, opened.take()).await?;
    }
    let left_open = fleet.membership.as_ref().map(|membership| membership.left_open().to_vec());
    for shard in left_open.unwrap_or_default() {
        // Its occurrences still end in a final state.
        if !fleet.loops.contains_key(&shard) {
            fleet.begin(shard, Clients::new(), None).await?;
        }
    }
    tokio::pin!(stop);
    let reason = loop {
        tokio::select! {
            biased;
            reason = &mut stop => break reason,
            // Nobody else would fire what is its: the service manager starts the whole anew.
            Some(ended) = fleet.running.join_next() => return Err(DaemonError::Ended(ended.err())),
            news = next_event(&mut fleet.membership) => fleet.on_event(news),
            // Nor does a loop that waits for its database keep the daemon from stopping.
            Some(replacement) = replacements.recv() => tokio::select! {
                biased;
                reason = &mut stop => break reason,
                replaced = fleet.replace(replacement) => replaced?,
            },
            Some(ask) = asks.recv() => fleet.ask(ask),
        }
    };
    // Requests over the control socket are refused at once from now on.
    drop(asks);
    let end = Instant::now() + GRACE + CLOSE;
    fleet.stop.send_replace(Some(reason));
    let (mut in_flight, said) = (0, Instant::now() + SAID);
    for _ in 0..fleet.loops.len() {
        in_flight += timeout_at(said, stopped.recv()).await.ok().flatten().unwrap_or(0);
    }
    fleet.shared.announce(DaemonStopping { reason: reason.to_owned(), in_flight }.into());
    fleet.shared.supervised(|supervision| supervision.stopping(reason, in_flight));
    let mut left = 0;
    while let Some(ended) = fleet.running.join_next().await {
        // One that has panicked leaves what the journal has as being sent.
        left += ended.unwrap_or(0);
    }
    if let Some(membership) = fleet.membership.take() {
        let _ = timeout(HANDED_OVER, membership.leave()).await;
    }
    let notices = fleet.shared.notices.write().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(notices) = notices {
        notices.close(FLUSH.min(end - Instant::now())).await;
    }
    fleet.shared.announce(DaemonStopped { reason: reason.to_owned(), in_flight: left }.into());
    Ok(())
}

/// The next thing that a member learns. Never comes to a daemon alone.
async fn next_event(membership: &mut Option<Box<Membership>>) -> MemberEvent {
    match membership {
        Some(membership) => membership.next_event().await,
        None => std::future::pending().await,
    }
}

impl Fleet {
    /// Returns true when each shard has a loop of its own.
    fn is_split(&self) -> bool {
        self.membership.is_some()
    }

    fn loops_are(&self) -> Loops {
        if self.is_split() { Loops::OfShards } else { Loops::One }
    }

    /// Begins the loop of a shard.
    async fn begin(
        &mut self,
        shard: Shard,
        clients: Clients,
        opened: Option<Box<Opened>>,
    ) -> Result<(), DaemonError> {
        let shard_handle =
            self.membership.as_ref().map(|membership| membership.shard_handle(shard.clone())).transpose()?;
        let schedule = if self.is_split() {
            ShardPart::schedule(&self.schedule, &shard)
        } else {
            Arc::clone(&self.schedule)
        };
        let whole = Arc::clone(&self.schedule);
        let mut daemon = Daemon::new(
            &self.shared,
            whole,
            Arc::clone(&schedule),
            clients,
            (shard.clone(), shard_handle),
            &self.path,
        );
        let mut leader = None;
        if let Some(mut opened) = opened {
            let older = claim_forgotten(&daemon.schedule, &mut opened).await?;
            if let Some(older) = older {
                daemon.emit(older.into());
            }
            leader = Some(Leader::begin(&mut daemon, *opened, None));
        }
        let ticks = Ticks::start().await?;
        let (parts, coming) = mpsc::channel(1);
        let (asks, asked) = mpsc::unbounded_channel();
        self.running.spawn(daemon.run(
            leader,
            self.stop.subscribe(),
            ticks,
            coming,
            asked,
            self.stopping.clone(),
        ));
        self.loops.insert(shard, Loop { schedule, parts, asks });
        Ok(())
    }

    /// Goes on with another schedule. Returns once all loops have taken it over.
    async fn replace(&mut self, replacement: Replacement) -> Result<(), DaemonError> {
        let Replacement { path, fingerprint, audience, difference, schedule, mut parts } = replacement;
        let DifferenceCounts { added, removed, changed } = difference;
        let entries = schedule.entries.len();
        self.schedule = Arc::clone(&schedule);
        let mut waits = Vec::new();
        for (shard, running) in &mut self.loops {
            // A shard that the file has no more is led on, with nothing in it.
            let mut part = parts.remove(shard).unwrap_or_else(|| ShardPart::empty(&schedule));
            let (done, replaced) = oneshot::channel();
            part.done = Some(done);
            running.schedule = Arc::clone(&part.prepared.schedule);
            if running.parts.send(part).await.is_ok() {
                waits.push(replaced);
            }
        }
        for (shard, ShardPart { clients, .. }) in parts {
            self.begin(shard, clients, None).await?;
        }
        for replaced in waits {
            let _ = replaced.await;
        }
        if let Some(membership) = &self.membership {
            membership.describe(fingerprint, entries);
        }
        self.path = path.as_str().into();
        self.in_force.send_replace(schedule);
        // Notices of occurrences that are settled under the old schedule go to the receivers that
        // the old schedule names.
        if let Some(notices) = &mut *self.shared.notices.write().unwrap_or_else(PoisonError::into_inner) {
            notices.replace(audience);
        }
        let was = entries + removed - added;
        let shrunk =
            (removed * 2 > was).then(|| ScheduleShrunk { path: path.clone(), entries, removed, was });
        self.shared.announce(ScheduleReloaded { path, entries, added, removed, changed }.into());
        if let Some(shrunk) = shrunk {
            self.shared.announce(shrunk.into());
        }
        self.shared.supervised(Supervision::reloaded);
        Ok(())
    }

    /// Passes a question on to the loop that knows.
    fn ask(&mut self, ask: ControlRequest) {
        let (shard, ask) = match ask {
            ControlRequest::Fire(fire) if !Arc::ptr_eq(&fire.schedule, &self.schedule) => {
                return drop(fire.answer.send(Err(FireError::Stale)));
            }
            ControlRequest::Fire(fire) => {
                let shard = fire.entry.account.shard.clone();
                let Some(running) = self.loop_of(&shard) else { return };
                let schedule = Arc::clone(&running.schedule);
                (shard, ControlRequest::Fire(Box::new(FireRequest { schedule, ..*fire })))
            }
            ControlRequest::Pause(steer, terms) => (steer.shard.clone(), ControlRequest::Pause(steer, terms)),
            ControlRequest::Resume(steer) => (steer.shard.clone(), ControlRequest::Resume(steer)),
            ControlRequest::Snapshot { most, answer } => return self.snapshot(most, answer),
        };
        if let Some(running) = self.loop_of(&shard) {
            let _ = running.asks.send(ask);
        }
    }

    fn loop_of(&self, shard: &Shard) -> Option<&Loop> {
        self.loops.get(if self.is_split() { shard } else { &Shard::Common })
    }

    /// Asks all loops how things stand.
    fn snapshot(&self, most: usize, answer: oneshot::Sender<Box<Snapshot>>) {
        let mut coming = Vec::new();
        for running in self.loops.values() {
            let (answer, answered) = oneshot::channel();
            if running.asks.send(ControlRequest::Snapshot { most, answer }).is_ok() {
                coming.push(answered);
            }
        }
        let (schedule, path) = (Arc::clone(&self.schedule), Arc::clone(&self.path));
        tokio::spawn(async move {
            let mut all: Option<Box<Snapshot>> = None;
            for answered in coming {
                // One that has ended knows nothing.
                let Ok(snapshot) = answered.await else { continue };
                all = Some(match all {
                    None => snapshot,
                    Some(all) => Box::new(both(*all, *snapshot, most)),
                });
            }
            if let Some(mut all) = all {
                let place: HashMap<_, usize> = schedule
                    .accounts
                    .iter()
                    .zip(0..)
                    .map(|(account, place)| (&account.name, place))
                    .collect();
                all.accounts.sort_by_key(|(name, _)| place.get(name).copied());
                let _ = answer.send(Box::new(Snapshot { schedule: Arc::clone(&schedule), path, ..*all }));
            }
        });
    }

    /// Tells what this member has learnt.
    fn on_event(&self, news: MemberEvent) {
        match news {
            MemberEvent::Replaced { .. } => self.shared.without_journal.store(true, Relaxed),
            MemberEvent::Reachable => self.shared.without_journal.store(false, Relaxed),
            _ => {}
        }
        let member = self.membership.as_ref().map(|membership| membership.name()).unwrap_or_default();
        self.shared.announce(event_for_log(member, news));
    }
}

/// Returns the snapshots of two loops as one.
fn both(one: Snapshot, other: Snapshot, most: usize) -> Snapshot {
    let not_ready = match (one.not_ready, other.not_ready) {
        // A member that leads one shard fires.
        (Some(NotReady::StandsBy(one)), Some(NotReady::StandsBy(other))) => {
            Some(NotReady::StandsBy(one.or_worse(other)))
        }
        (Some(NotReady::StandsBy(_)), why) | (why, Some(NotReady::StandsBy(_))) => why,
        (one, other) => one.or(other),
    };
    let mut waiting = one.waiting;
    waiting.extend(other.waiting);
    waiting.sort_by_key(|waiting| waiting.scheduled_at);
    waiting.truncate(most);
    let mut upcoming = one.upcoming;
    upcoming.extend(other.upcoming);
    upcoming.sort_by_key(|&(_, at)| at);
    upcoming.truncate(most);
    let mut accounts = one.accounts;
    accounts.extend(other.accounts);
    let mut paused = one.paused;
    if !other.paused.is_empty() {
        let other = other.paused.iter().map(|(entry, pause)| (entry.clone(), pause.clone()));
        Arc::make_mut(&mut paused).extend(other);
    }
    Snapshot {
        health: if one.health == Health::Well { other.health } else { one.health },
        swept_at: one.swept_at.max(other.swept_at),
        not_ready,
        on_disk: one.on_disk,
        log: one.log,
        fires_in_flight: one.fires_in_flight + other.fires_in_flight,
        accounts,
        waiting,
        upcoming,
        paused,
        now: one.now,
        since: one.since,
        path: one.path,
        schedule: one.schedule,
        journal: one.journal,
    }
}
