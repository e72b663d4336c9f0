//! A daemon among several: it stands by until it leads, and steps down when another does.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::core::Core;
use super::forgotten::{attempts, forgotten, take_in};
use super::replacement::Part;
use super::requests::Done;
use super::sweep::{Reach, Tick, Ticks};
use super::{Daemon, WoundUp};
use crate::clock::Now;
use crate::control::ControlRequest;
use crate::dispatch::Effect;
use crate::journal::postgres::{
    Leadership, LeadershipChange, Leads, MemberEvent, Membership, ShardHandle, Term,
};
use crate::journal::{Health, Journal, JournalError, Opened, Recovered, SendPermit};
use crate::log::Event;
use crate::log::event::{
    ClockDiffers, JournalOlder, JournalReplaced, LeaseAcquired, LeaseLost, LeaseReachable, LeaseReleased,
    LeaseStandby, LeaseUnreachable, ScheduleDiffers,
};
use crate::schedule::{Schedule, Shard};

/// Whose journal a daemon keeps.
pub enum Keeping {
    /// Its own. It fires at once.
    Own(Box<Opened>),
    /// One that it shares. It fires while it leads.
    Shared(Box<Membership>),
}

/// A member has this long to hand over. Otherwise its lease ends by itself.
pub(super) const HANDED_OVER: Duration = Duration::from_millis(500);

/// A shard that is handed over waits so long for the answers to what it has in flight.
const HANDS_OVER_WITHIN: Duration = Duration::from_secs(4);

/// A member that stepped down listens for the answers to its requests for this long: longer than
/// the longest `timeout` that an account may have, which is 5 minutes.
const LISTENS: Duration = Duration::from_secs(330);

/// While the permit to send has run out, the loop looks at it so often.
pub(super) const PERMIT_AGAIN: Duration = Duration::from_millis(20);

/// Why a loop does not go on as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// The daemon is to stop.
    Stopped,
    /// Another member leads.
    Deposed,
    /// The journal is gone, or another one is in its place.
    Replaced,
    /// Another member has fewer shards.
    HandsOver,
    /// The shard has accounts that were another's.
    Renews,
}

/// The next thing that a member learns of a shard. Never comes to a daemon alone.
pub(super) async fn next_event(seat: &mut Option<ShardHandle>) -> LeadershipChange {
    match seat {
        Some(seat) => seat.next_event().await,
        None => std::future::pending().await,
    }
}

/// The journal is being opened for a term.
struct Opening {
    term: Term,
    opened: Pin<Box<dyn Future<Output = Result<OpenedAgain, JournalError>> + Send>>,
}

/// A journal, and what it had forgotten: that is claimed again.
type OpenedAgain = (Opened, Option<JournalOlder>);

/// Claims what an older copy of the journal has forgotten: none of it is sent before the stacks'
/// actions have told. Returns what the log says of that.
///
/// # Errors
/// When the journal cannot be written. Then nothing may be sent.
pub(super) async fn claim_forgotten(
    schedule: &Schedule,
    opened: &mut Opened,
) -> Result<Option<JournalOlder>, JournalError> {
    let Some((claims, event)) = forgotten(schedule, &opened.recovered) else {
        return Ok(None);
    };
    let claimed = opened.journal.claim(claims.cursor, claims.claims.clone()).await?;
    let attempts = attempts(&opened.recovered, claims.cursor);
    if !attempts.is_empty() {
        opened.journal.commit(attempts).await?;
    }
    take_in(&mut opened.recovered, claims, &claimed.known);
    Ok(Some(event))
}

/// The end of an opening. Never comes while nothing is opened.
async fn opened(opening: &mut Option<Opening>) -> (Term, Result<OpenedAgain, JournalError>) {
    let Some(begun) = opening else { return std::future::pending().await };
    let opened = (&mut begun.opened).await;
    let term = begun.term.clone();
    *opening = None;
    (term, opened)
}

/// A shard's name, for the log.
pub(super) fn name(shard: &Shard) -> Option<String> {
    shard.name().map(ToString::to_string)
}

/// What a member has learnt, for the log.
pub(super) fn event_for_log(member: String, news: MemberEvent) -> Event {
    match news {
        MemberEvent::Unreachable(error) => LeaseUnreachable { member, error: error.to_string() }.into(),
        MemberEvent::Replaced { journal, known, found } => {
            let (known, found) = (known.to_string(), found.map(|found| found.to_string()));
            JournalReplaced { known, found, journal }.into()
        }
        MemberEvent::Reachable => LeaseReachable { member }.into(),
        MemberEvent::Differs { member, schedule, leader, leader_schedule } => {
            let (fingerprint, leader_fingerprint) = (schedule, leader_schedule);
            ScheduleDiffers { member, fingerprint, leader, leader_fingerprint }.into()
        }
        MemberEvent::ClockOff { by_ms } => ClockDiffers { by_ms }.into(),
    }
}

impl Daemon {
    /// Whether it fires.
    pub(super) fn leads(&self) -> bool {
        self.mark.is_some()
    }

    /// Who leads, as far as this member knows.
    pub(super) fn leadership(&self, now: Now) -> Leadership {
        let unseen = Leadership { leads: Leads::Unknown, last: None };
        self.seat.as_ref().map_or(unseen, |seat| seat.leadership(now.mono))
    }

    /// Whether it may send.
    pub(super) fn is_permitted(&self, now: Now) -> bool {
        self.mark.as_ref().is_some_and(|mark| mark.permit().holds(now))
    }

    /// Goes on where a journal ends.
    pub(super) fn take_over(&mut self, opened: Opened) {
        let Opened { journal, mut recovered, mut mark, refused } = opened;
        if self.seat.is_some() && !recovered.paused.is_empty() {
            // Those of other shards are theirs to keep up with.
            let others = self.whole.entries.iter().filter(|entry| entry.account.shard != self.shard);
            let others: HashSet<_> = others.map(|entry| &entry.name).collect();
            recovered.paused.retain(|(entry, _)| !others.contains(entry));
        }
        let (core, effects) = Core::new(&self.schedule, recovered, fastrand::u64(..), Now::read());
        let shared = self.seat.is_some();
        self.in_force_told = false;
        self.core = core.reaching(if shared { Reach::SHARED } else { Reach::ALONE });
        journal.follow(self.shared.log());
        drop(self.requests.turn_to(journal, mark.permit().clone()));
        // Where it cannot be written, no process will believe it; and nothing is sent before it can
        // be.
        let _ = mark.raise(self.core.sent_up_to());
        self.mark = Some(mark);
        self.refused = refused;
        self.perform(effects);
    }

    /// Forgets the pauses of entries that are another shard's by now: they are that one's to keep
    /// up with.
    pub(super) fn leave_pauses(&mut self) {
        let paused = Arc::clone(self.core.paused());
        for entry in self.whole.entries.iter().filter(|entry| entry.account.shard != self.shard) {
            if paused.contains_key(&entry.name) {
                self.core.resume(&entry.name);
            }
        }
    }

    /// Waits until this member leads. `false`: it is to stop.
    pub(super) async fn stand_by(
        &mut self,
        stop: &mut (impl Future<Output = ()> + Unpin),
        ticks: &mut Ticks,
        parts: &mut mpsc::Receiver<Part>,
        asks: &mut mpsc::UnboundedReceiver<ControlRequest>,
    ) -> bool {
        let mut done = Vec::new();
        // A term that is renewed is begun at once.
        let renewed = self.term.take();
        let mut opening = renewed.and_then(|term| self.opens(term));
        loop {
            if let Some(metrics) = &self.metrics {
                metrics.stands_by(true);
                metrics.turned(false, None);
            }
            let (now, leadership) = (Now::read(), self.leadership(Now::read()));
            self.shared.supervised(|supervision| supervision.stands_by(&self.shard, leadership, now));
            tokio::select! {
                biased;
                () = &mut *stop => return false,
                notice = next_event(&mut self.seat) => match notice {
                    // Handed over before this was heard of.
                    LeadershipChange::Leads(term) if term.is_over() => {}
                    LeadershipChange::Leads(term) => opening = self.opens(term),
                    LeadershipChange::StandsBy(leader) => {
                        let (member, shard) = (self.member(), name(&self.shard));
                        self.emit(LeaseStandby { member, shard, leader }.into());
                    }
                    LeadershipChange::Deposed | LeadershipChange::Replaced => opening = None,
                    LeadershipChange::HandsOver => if opening.take().is_some()
                        && let Some(seat) = &self.seat
                    {
                        seat.release();
                    },
                },
                (term, opened) = opened(&mut opening) => {
                    self.begin(term, opened);
                    if self.leads() {
                        return true;
                    }
                }
                tick = ticks.next() => match tick {
                    Tick::ClaimWindow | Tick::Prune | Tick::Remind => {}
                },
                // What people ask of the journal is refused.
                _ = self.requests.replies.recv_many(&mut done, 1) => self.take_in(&mut done),
                Some(part) = parts.recv() => drop(self.replace(part)),
                Some(ask) = asks.recv() => self.asked(ask),
                // The loop is seen to live.
                () = sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    fn member(&self) -> String {
        self.seat.as_ref().map(|seat| seat.member().to_owned()).unwrap_or_default()
    }

    /// Opens the journal for a term. Meanwhile the loop goes on to stand by: the database may take
    /// its time.
    fn opens(&self, term: Term) -> Option<Opening> {
        let seat = self.seat.as_ref()?;
        let (opening, schedule) = (seat.open(term.clone()), Arc::clone(&self.schedule));
        let opened = async move {
            let mut opened = opening.await?;
            let older = claim_forgotten(&schedule, &mut opened).await?;
            Ok((opened, older))
        };
        Some(Opening { opened: Box::pin(opened), term })
    }

    /// Begins a term, unless the journal could not be opened.
    fn begin(&mut self, term: Term, opened: Result<OpenedAgain, JournalError>) {
        let (opened, older) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                if let Some(seat) = &self.seat {
                    seat.release();
                }
                let (member, error) = (self.member(), error.to_string());
                return self.emit(LeaseUnreachable { member, error }.into());
            }
        };
        if let Some(older) = older {
            self.emit(older.into());
        }
        let open = opened.recovered.open.len();
        let (member, shard, journal) = (self.member(), name(&self.shard), self.desk.journal.to_string());
        self.emit(LeaseAcquired { member, shard, journal, open }.into());
        if let Some(metrics) = &self.metrics {
            metrics.stands_by(false);
        }
        self.term = Some(term);
        self.take_over(opened);
    }

    /// Another member leads: nothing is decided here any more, and nothing sent.
    pub(super) fn step_down(&mut self) {
        let in_flight = self.core.fires_in_flight();
        self.emit(LeaseLost { member: self.member(), shard: name(&self.shard), in_flight }.into());
        self.idle();
    }

    /// Leaves the shard to a member that has fewer.
    pub(super) async fn hand_over(&mut self) {
        self.wind_up(HANDS_OVER_WITHIN).await;
        if let Some(seat) = &self.seat {
            seat.release();
        }
        self.emit(LeaseReleased { member: self.member(), shard: name(&self.shard) }.into());
        self.idle();
    }

    /// Goes on under the same lease with all that the journal knows.
    pub(super) async fn renew(&mut self) {
        let term = self.term.take();
        let WoundUp { closed, .. } = self.wind_up(HANDS_OVER_WITHIN).await;
        self.idle();
        match (term, &self.seat) {
            (Some(term), _) if closed => self.term = Some(term.renewed()),
            // What is still to be written of the old term must not come into a new one with the
            // same number.
            (_, Some(seat)) => seat.release(),
            (_, None) => {}
        }
    }

    /// Decides nothing from now on.
    pub(super) fn idle(&mut self) {
        (self.mark, self.term) = (None, None);
        self.tell_health(&Health::Well);
        self.desk.claiming_since = None;
        let (idle, _) = Core::new(&self.schedule, Recovered::default(), 0, Now::read());
        let core = std::mem::replace(&mut self.core, idle);
        let replies = self.requests.turn_to(Journal::of_another(), SendPermit::none_yet());
        tokio::spawn(listen(core, replies));
    }
}

/// Tells which actions have started of what was in flight. What becomes of the rest is the new
/// leader's to find out.
async fn listen(mut core: Core, mut replies: mpsc::UnboundedReceiver<Done>) {
    drop(core.stop());
    let all = async {
        while core.fires_in_flight() > 0 {
            let Some(done) = replies.recv().await else {
                return;
            };
            if let Done::Fired { id, sent_at, reply } = done {
                for effect in core.fired(id, sent_at, reply, Now::read()) {
                    if let Effect::Log(event) = effect
                        && matches!(*event, Event::ActionStarted(_))
                    {
                        event.emit();
                    }
                }
            }
        }
    };
    let _ = timeout(LISTENS, all).await;
}
