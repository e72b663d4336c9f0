//! A daemon among several: it stands by until it leads, and steps down when another does.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::core::Core;
use super::requests::Done;
use super::sweep::{Reach, Tick, Ticks};
use super::{Daemon, Replacement, StopReason};
use crate::clock::Now;
use crate::control::Ask;
use crate::dispatch::Effect;
use crate::journal::postgres::{Membership, Notice, Term};
use crate::journal::{Health, Journal, Opened, Permit, Recovered};
use crate::log::Event;
use crate::log::event::{
    ClockDiffers, LeaseAcquired, LeaseLost, LeaseReachable, LeaseReleased, LeaseStandby, LeaseUnreachable,
    ScheduleDiffers,
};

/// Whose journal a daemon keeps.
pub enum Keeping {
    /// Its own. It fires at once.
    Own(Box<Opened>),
    /// One that it shares. It fires while it leads.
    Shared(Box<Membership>),
}

/// A member has this long to hand over. Otherwise its lease ends by itself.
const HANDED_OVER: Duration = Duration::from_millis(500);

/// What was in flight when a member stepped down is listened to for so long: longer than any request's timeout.
const LISTENS: Duration = Duration::from_secs(120);

/// While the permit to send has run out, the loop looks at it so often.
pub(super) const PERMIT_AGAIN: Duration = Duration::from_millis(20);

/// Why a daemon stops firing.
pub(super) enum Halt {
    Stopped(StopReason),
    Deposed,
}

/// The next thing that a member learns. Never comes to a daemon alone.
pub(super) async fn learn(membership: &mut Option<Box<Membership>>) -> Notice {
    match membership {
        Some(membership) => membership.learn().await,
        None => std::future::pending().await,
    }
}

impl Daemon {
    /// Whether it fires.
    pub(super) fn leads(&self) -> bool {
        self.mark.is_some()
    }

    /// Whether it may send.
    pub(super) fn is_permitted(&self, now: Now) -> bool {
        self.mark.as_ref().is_some_and(|mark| mark.permit().holds(now))
    }

    /// Goes on where a journal ends.
    pub(super) fn take_over(&mut self, opened: Opened) {
        let Opened { journal, recovered, mut mark, refused } = opened;
        let (core, effects) = Core::new(&self.schedule, recovered, fastrand::u64(..), Now::read());
        let shared = self.membership.is_some();
        self.core = core.reaching(if shared { Reach::SHARED } else { Reach::ALONE });
        journal.follow(self.scribe.progress());
        drop(self.requests.turn_to(journal, mark.permit().clone()));
        // Where it cannot be written, no process will believe it; and nothing is sent before it can be.
        let _ = mark.raise(self.core.sent_up_to());
        self.mark = Some(mark);
        self.refused = refused;
        self.perform(effects);
    }

    /// Waits until this member leads. Returns why it is asked to stop before.
    pub(super) async fn stand_by(
        &mut self,
        stop: &mut (impl Future<Output = StopReason> + Unpin),
        ticks: &mut Ticks,
        replacements: &mut mpsc::Receiver<Replacement>,
        asks: &mut mpsc::Receiver<Ask>,
    ) -> Option<StopReason> {
        let mut done = Vec::new();
        loop {
            if let Some(metrics) = &self.metrics {
                metrics.stands_by(true);
                metrics.turned(false);
            }
            self.supervision.stands_by(Now::read());
            tokio::select! {
                biased;
                reason = &mut *stop => return Some(reason),
                notice = learn(&mut self.membership) => if let Some(term) = self.heed(notice) {
                    self.begin(term).await;
                    if self.leads() {
                        return None;
                    }
                },
                tick = ticks.next() => match tick {
                    Tick::Beat | Tick::Prune => {}
                },
                // What people ask of the journal is refused.
                _ = self.requests.replies.recv_many(&mut done, 1) => self.take_in(&mut done),
                Some(replacement) = replacements.recv() => self.replace(replacement),
                Some(ask) = asks.recv() => self.asked(ask),
                // The loop is seen to live.
                () = sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    /// Begins a term, unless the journal cannot be opened or the term is over before.
    async fn begin(&mut self, term: Term) {
        let Some(membership) = &self.membership else {
            return;
        };
        let opened = match membership.open(term).await {
            Ok(opened) => opened,
            Err(error) => {
                let (member, error) = (membership.name(), error.to_string());
                return self.tell(LeaseUnreachable { member, error }.into());
            }
        };
        let open = opened.recovered.open.len();
        let (member, journal) = (membership.name(), self.desk.journal.to_string());
        self.tell(LeaseAcquired { member, journal, open }.into());
        if let Some(metrics) = &self.metrics {
            metrics.stands_by(false);
        }
        self.take_over(opened);
    }

    /// Another member leads: nothing is decided here any more, and nothing sent.
    pub(super) fn step_down(&mut self) {
        let in_flight = self.core.fires_in_flight();
        if let Some(membership) = &self.membership {
            self.tell(LeaseLost { member: membership.name(), in_flight }.into());
        }
        self.mark = None;
        self.tell_health(&Health::Well);
        self.desk.claiming_since = None;
        let (idle, _) = Core::new(&self.schedule, Recovered::default(), 0, Now::read());
        let core = std::mem::replace(&mut self.core, idle);
        let replies = self.requests.turn_to(Journal::of_another(), Permit::none_yet());
        tokio::spawn(listen(core, replies));
    }

    /// Tells what a member has learnt. Returns the term when it is to begin.
    pub(super) fn heed(&self, notice: Notice) -> Option<Term> {
        let member = self.membership.as_ref().map(|membership| membership.name()).unwrap_or_default();
        let event: Event = match notice {
            Notice::Leads(term) => return Some(term),
            Notice::Deposed => return None,
            Notice::StandsBy(leader) => LeaseStandby { member, leader }.into(),
            Notice::Unreachable(error) => LeaseUnreachable { member, error: error.to_string() }.into(),
            Notice::Reachable => LeaseReachable { member }.into(),
            Notice::Differs { member, schedule, leader, leader_schedule } => {
                let (fingerprint, leader_fingerprint) = (schedule, leader_schedule);
                ScheduleDiffers { member, fingerprint, leader, leader_fingerprint }.into()
            }
            Notice::ClockOff { by_ms } => ClockDiffers { by_ms }.into(),
        };
        self.tell(event);
        None
    }

    /// Hands the lease over, when the journal is closed.
    pub(super) async fn hand_over(&mut self) {
        if let Some(membership) = self.membership.take() {
            let (member, led) = (membership.name(), self.leads());
            let left = timeout(HANDED_OVER, membership.leave()).await;
            if led && left.is_ok() {
                self.tell(LeaseReleased { member }.into());
            }
        }
    }
}

/// Tells which actions have started of what was in flight. What becomes of the rest is the new leader's to find out.
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
