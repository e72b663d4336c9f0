//! The loop of a shard that this daemon leads: it selects inputs for the node, and performs the
//! node's outputs in their order.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::control_state::Askers;
use super::node::{Answer, Input, Node, Output, WoundUp};
use super::replacement::ShardPart;
use super::requests::Requests;
use super::sweep::{Reach, Tick, Ticks};
use super::{Daemon, REPLIES_AT_ONCE};
use crate::clock::Now;
use crate::control::ControlRequest;
use crate::dispatch::{Effect, Request};
use crate::journal::postgres::{LeadershipChange, ShardHandle, Term};
use crate::journal::{EndedTerm, Health, Opened, Refused, SendWatermark};
use crate::log::event::{JournalRefused, LeaseLost, LeaseReleased};
use crate::memory;
use crate::schedule::{AccountName, Schedule, Shard};

/// A shard that is handed over waits this long for the answers to its requests in flight.
const HANDS_OVER_WITHIN: Duration = Duration::from_secs(4);

/// A member that stepped down listens for the answers to its requests for this long: longer than
/// the longest `timeout` that an account may have, which is 5 minutes.
const LISTENS: Duration = Duration::from_secs(330);

/// The runtime's timer is this coarse. What is nearer is waited for by yielding.
const TIMER_GRAIN: Duration = Duration::from_millis(1);

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
pub(super) async fn next_event(shard_handle: &mut Option<ShardHandle>) -> LeadershipChange {
    match shard_handle {
        Some(shard_handle) => shard_handle.next_event().await,
        None => std::future::pending().await,
    }
}

/// A shard that this daemon leads.
pub(super) struct Leader {
    pub(super) node: Node,
    pub(super) requests: Requests,
    /// The send watermark, by which the process after a crash knows how far this one has sent.
    mark: SendWatermark,
    /// The term for which the daemon leads. `None`: nobody shares the journal.
    term: Option<Term>,
    /// Transitions that the journal did not apply.
    refused: mpsc::UnboundedReceiver<Refused>,
    pub(super) askers: Askers,
}

impl Leader {
    /// Returns a leader that goes on where the journal ends.
    pub(super) fn begin(daemon: &mut Daemon, opened: Opened, term: Option<Term>) -> Leader {
        let Opened { journal, mut recovered, mark, refused } = opened;
        let shared = daemon.shard_handle.is_some();
        if shared && !recovered.paused.is_empty() {
            // Those of other shards are theirs to keep up with.
            let others: HashSet<_> = daemon.entries_of_others().collect();
            recovered.paused.retain(|(entry, _)| !others.contains(entry));
        }
        let reach = if shared { Reach::SHARED } else { Reach::ALONE };
        let (schedule, permit) = (Arc::clone(&daemon.schedule), mark.permit().clone());
        let (node, outputs) = Node::new(schedule, recovered, reach, permit, fastrand::u64(..), Now::read());
        journal.follow(daemon.shared.log());
        let requests = Requests::new(daemon.clients.clone(), journal, node.permit().clone());
        let mut leader = Leader { node, requests, mark, term, refused, askers: Askers::default() };
        leader.perform(daemon, outputs);
        leader
    }

    /// Fires what is the shard's until something ends that.
    pub(super) async fn fire_until(
        &mut self,
        daemon: &mut Daemon,
        stop: &mut (impl Future<Output = ()> + Unpin),
        ticks: &mut Ticks,
        parts: &mut mpsc::Receiver<ShardPart>,
        asks: &mut mpsc::UnboundedReceiver<ControlRequest>,
    ) -> Halt {
        let mut answers = Vec::with_capacity(REPLIES_AT_ONCE);
        let mut health = self.requests.journal.health();
        daemon.tell_endings();
        loop {
            let now = Now::read();
            self.handle(daemon, Input::Wake, now);
            self.tell_turn(daemon, now);
            let wait = self.node.wakes_at(now).saturating_sub(now.mono);
            tokio::select! {
                biased;
                () = &mut *stop => return Halt::Stopped,
                notice = next_event(&mut daemon.shard_handle) => match notice {
                    LeadershipChange::Deposed => return Halt::Deposed,
                    LeadershipChange::Replaced => return Halt::Replaced,
                    LeadershipChange::HandsOver => return Halt::HandsOver,
                    LeadershipChange::TermsEnded(ended) => {
                        self.handle(daemon, Input::TermsEnded(ended), Now::read());
                    }
                    LeadershipChange::Leads(_) | LeadershipChange::StandsBy(_) => {}
                },
                _ = self.requests.next_answers(&mut answers, REPLIES_AT_ONCE) => {
                    self.take_in(daemon, &mut answers);
                }
                tick = ticks.next() => match tick {
                    Tick::ClaimWindow => {
                        self.handle(daemon, Input::ClaimWindow, Now::read());
                        // A failure that was not told, as its cause had been told a moment ago, is
                        // told if it lasts.
                        let lasts = health.borrow().clone();
                        daemon.tell_health(&lasts);
                    }
                    // All shards share the settled rows, so that one leader prunes them.
                    Tick::Prune if daemon.shard == Shard::Common => {
                        self.requests.prune(Now::read(), daemon.shared.keep);
                    }
                    Tick::Remind => daemon.tell_endings(),
                    Tick::Prune => {}
                },
                Ok(()) = health.changed() => daemon.tell_health(&health.borrow_and_update()),
                Some(refused) = self.refused.recv() => {
                    let (key, error) = (refused.key(), refused.to_string());
                    let (entry, scheduled_at) = (key.entry().clone(), key.scheduled_at());
                    daemon.emit(JournalRefused { entry, scheduled_at, pass: key.pass().into(), error }.into());
                }
                Some(part) = parts.recv() => if self.replace(daemon, part) {
                    return Halt::Renews;
                },
                Some(ask) = asks.recv() => self.asked(daemon, ask),
                () = sleep(wait) => {}
            }
        }
    }

    /// Tells the metrics and the service manager that the loop turns, and how.
    fn tell_turn(&self, daemon: &Daemon, now: Now) {
        let core = self.node.core();
        if let Some(metrics) = &daemon.metrics {
            let fires = self.node.is_permitted(now) && core.is_current(now);
            metrics.turned(fires, core.waits_for_clock(now));
        }
        let problem = || self.gravest_problem(daemon, now);
        daemon.shared.supervised(|supervision| {
            supervision.turned(&daemon.shard, now, core, daemon.ill_since.is_some(), problem);
        });
    }

    /// Hands an input to the node, and performs what the node decides.
    pub(super) fn handle(&mut self, daemon: &mut Daemon, input: Input, now: Now) {
        let outputs = self.node.handle(input, now);
        self.perform(daemon, outputs);
    }

    fn take_in(&mut self, daemon: &mut Daemon, answers: &mut Vec<Answer>) {
        if let Some(metrics) = &daemon.metrics {
            let claimed = answers.iter().filter(|answer| matches!(answer, Answer::Claimed { .. }));
            claimed.for_each(|_| metrics.claimed());
        }
        self.handle(daemon, Input::Answers(std::mem::take(answers)), Now::read());
    }

    fn perform(&mut self, daemon: &mut Daemon, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Effect(effect) => self.effect(daemon, effect),
                Output::Raise(due_at) => {
                    let raised = self.mark.raise(due_at).map_err(|error| error.to_string());
                    self.handle(daemon, Input::Raised(raised), Now::read());
                }
                Output::HoldBack(id, request, error) => {
                    debug_assert!(matches!(request, Request::RunNow(_)), "a question may always leave");
                    self.requests.hold_back(id, error);
                }
                Output::Claim(claims) => {
                    if let Some(metrics) = &daemon.metrics {
                        metrics.claims();
                    }
                    self.requests.claim(claims);
                }
                Output::Swept(at) => {
                    daemon.desk.swept_at = Some(at);
                    if let Some(metrics) = &daemon.metrics {
                        let core = self.node.core();
                        metrics.swept(core.paused().len(), core.gauges());
                    }
                }
                Output::JournalReaches(cursor) => self.mark.journal_reaches(cursor),
                Output::JournalGoesBack(cursor) => self.mark.journal_goes_back(cursor),
                Output::SaveQuota(account, saved) => self.requests.journal.save_quota(account, *saved),
                Output::WriteNow => self.requests.write_now(),
                Output::InForce(since, schedule) => self.requests.journal.in_force(since, schedule),
                Output::ClaimByHand { claim, fire } => self.requests.claim_by_hand(*claim, fire),
                Output::Fired(asker, key) => self.askers.fired(asker, key, &mut daemon.desk),
                Output::NotFired(asker, error) => self.askers.not_fired(asker, error),
                Output::WriteSteering(steering) => self.requests.steer(steering),
                Output::Steered(asker, changed) => self.askers.steered(asker, changed),
                Output::Free(leftover) => drop(tokio::task::spawn_blocking(move || {
                    drop(leftover);
                    memory::give_back();
                })),
                Output::Close(stopped_at) => self.requests.close(stopped_at),
            }
        }
    }

    fn effect(&mut self, daemon: &Daemon, effect: Effect) {
        match effect {
            Effect::Warm(account, due, connections) => self.requests.warm(&account, due, connections),
            Effect::Log(event) => daemon.emit(*event),
            // A person's pause or resume of the entry is being written, and replaces the pause that
            // ends.
            Effect::PauseEnds(entry) if self.node.is_being_steered(&entry) => {}
            Effect::PauseEnds(entry) => self.requests.journal.ends_pause(entry),
            Effect::Recall(account, stack, since, listed) => {
                self.requests.recall(account, stack, since, listed);
            }
            Effect::Record(key, transition) => self.requests.journal.record(key, transition),
            Effect::End(handover) => self.requests.journal.end(*handover),
            Effect::Resent(resent) => self.requests.journal.resent(*resent),
            Effect::Amend(claim) => self.requests.journal.amend(*claim),
            Effect::Send(id, request) => self.requests.send(id, request),
            Effect::SendAfter(written, id, request) => self.requests.send_after(*written, id, request),
        }
    }

    /// Goes on with another schedule. Returns true when the shard takes over accounts of another
    /// shard: the journal has to be read for their open occurrences.
    fn replace(&mut self, daemon: &mut Daemon, part: ShardPart) -> bool {
        let now = Now::read();
        let ShardPart { clients, whole, prepared, done } = part;
        let shares = daemon.shard_handle.is_some();
        let came = shares && has_moved(&daemon.shard, &whole, &daemon.whole);
        let went = shares && has_moved(&daemon.shard, &daemon.whole, &whole);
        // What is due by now leaves under the former schedule, by the clients of that one.
        self.handle(daemon, Input::Wake, now);
        daemon.clients.replace(clients, |account| self.node.core().needs(account));
        self.requests.clients = daemon.clients.clone();
        (daemon.schedule, daemon.calendars) = (Arc::clone(&prepared.schedule), prepared.calendars.clone());
        daemon.whole = whole;
        self.handle(daemon, Input::Replace(prepared), now);
        if went {
            self.node.leave_pauses(daemon.entries_of_others());
        }
        if let Some(done) = done {
            let _ = done.send(());
        }
        self.handle(daemon, Input::ClaimWindow, now);
        came
    }

    /// Sends nothing new, waits for the answers to what was sent, and closes the journal.
    async fn wind_up(&mut self, daemon: &mut Daemon, within: Duration) -> WoundUp {
        self.handle(daemon, Input::Stop(within), Now::read());
        let mut answers = Vec::new();
        loop {
            let now = Now::read();
            self.handle(daemon, Input::Wake, now);
            if let Some(wound_up) = self.node.wound_up() {
                return wound_up;
            }
            let wait = self.node.wakes_at(now).saturating_sub(now.mono);
            tokio::select! {
                _ = self.requests.answers.recv_many(&mut answers, REPLIES_AT_ONCE) => {
                    self.take_in(daemon, &mut answers);
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Ends in order. Returns how much may have started unseen.
    pub(super) async fn finish(
        mut self,
        daemon: &mut Daemon,
        stopping: &mpsc::UnboundedSender<usize>,
        grace: Duration,
    ) -> usize {
        let _ = stopping.send(self.node.core().fires_in_flight());
        self.wind_up(daemon, grace).await.left
    }

    /// Another member leads: nothing is decided here any more, and nothing sent.
    pub(super) fn step_down(self, daemon: &mut Daemon) {
        let in_flight = self.node.core().fires_in_flight();
        daemon.emit(LeaseLost { member: daemon.member(), shard: daemon.shard_name(), in_flight }.into());
        self.ends_term(daemon);
    }

    /// Leaves the shard to a member that has fewer.
    pub(super) async fn hand_over(mut self, daemon: &mut Daemon) {
        self.wind_up(daemon, HANDS_OVER_WITHIN).await;
        daemon.release();
        daemon.emit(LeaseReleased { member: daemon.member(), shard: daemon.shard_name() }.into());
        self.ends_term(daemon);
    }

    /// Ends a term. Returns the one that goes on under the same lease with all that the journal
    /// knows. `None`: the lease is left to others.
    pub(super) async fn renew(mut self, daemon: &mut Daemon) -> Option<Term> {
        let WoundUp { is_closed, .. } = self.wind_up(daemon, HANDS_OVER_WITHIN).await;
        if !is_closed {
            // Writes of the old term must not reach a later term with the same number.
            daemon.release();
            self.ends_term(daemon);
            return None;
        }
        let term = self.term.take().map(|term| term.renewed(self.mark.sent_up_to()));
        self.idle(daemon);
        term
    }

    /// Decides nothing from now on, and has the other members know how far it has sent.
    pub(super) fn ends_term(self, daemon: &mut Daemon) {
        if let (Some(shard_handle), Some(term)) = (&daemon.shard_handle, &self.term) {
            let (number, sent_up_to) = (term.number(), self.mark.sent_up_to());
            shard_handle.term_ended(EndedTerm { number, sent_up_to });
        }
        self.idle(daemon);
    }

    /// Decides nothing from now on.
    fn idle(self, daemon: &mut Daemon) {
        daemon.tell_health(&Health::Well);
        let Leader { mut node, requests, .. } = self;
        node.steps_down();
        tokio::spawn(listen(node, requests.into_answers()));
    }
}

/// Returns true when an account of the shard in one schedule belongs to another shard in the other
/// schedule.
fn has_moved(shard: &Shard, schedule: &Schedule, other: &Schedule) -> bool {
    let shard_of = |name: &AccountName| {
        let account = other.accounts.iter().find(|account| account.name == *name);
        account.map(|account| &account.shard)
    };
    let mut accounts = schedule.accounts.iter().filter(|account| account.shard == *shard);
    accounts.any(|account| shard_of(&account.name).is_some_and(|other| other != shard))
}

/// Tells which actions have started of what was in flight. What becomes of the rest is the new
/// leader's to find out.
async fn listen(mut node: Node, mut answers: mpsc::UnboundedReceiver<Answer>) {
    let all = async {
        while node.core().fires_in_flight() > 0 {
            let Some(answer) = answers.recv().await else {
                return;
            };
            if let Some(started) = node.listens(answer, Now::read()) {
                started.emit();
            }
        }
    };
    let _ = timeout(LISTENS, all).await;
}

/// Waits for a span, to some ten microseconds.
async fn sleep(span: Duration) {
    match span.checked_sub(TIMER_GRAIN) {
        Some(most) if !most.is_zero() => sleep_until(Instant::now() + most).await,
        _ => tokio::task::yield_now().await,
    }
}
