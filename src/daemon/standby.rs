//! A daemon among several: it stands by until it leads, and steps down when another does.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::Daemon;
use super::forgotten::{attempts, cursor_behind, forgotten, take_in};
use super::leader::{Leader, next_event};
use super::node::Input;
use super::replacement::ShardPart;
use super::sweep::{Tick, Ticks};
use crate::clock::Now;
use crate::control::ControlRequest;
use crate::journal::postgres::{Leadership, LeadershipChange, Leads, MemberEvent, Membership, Term};
use crate::journal::{EndedTerm, JournalError, Opened};
use crate::log::Event;
use crate::log::event::{
    ClockDiffers, JournalOlder, JournalReplaced, LeaseAcquired, LeaseReachable, LeaseStandby,
    LeaseUnreachable, ScheduleDiffers,
};
use crate::schedule::Schedule;

/// The journal that a daemon keeps.
pub enum Keeping {
    /// Its own. It fires at once.
    Own(Box<Opened>),
    /// One that it shares. It fires while it leads.
    Shared(Box<Membership>),
}

/// A member has this long to hand over. Otherwise its lease ends by itself.
pub(super) const HANDED_OVER: Duration = Duration::from_millis(500);

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
    // The cursor last: until then the next process finds the copy as well.
    let attempts = attempts(&opened.recovered, claims.cursor);
    if !attempts.is_empty() {
        opened.journal.commit(attempts).await?;
    }
    let claimed = opened.journal.claim(cursor_behind(claims.cursor), claims.claims.clone()).await?;
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

/// Returns the event for the log that tells of a change among the members.
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
    /// Returns the leader as far as this member knows.
    pub(super) fn leadership(&self, now: Now) -> Leadership {
        let unseen = Leadership { leads: Leads::Unknown, last: None };
        self.shard_handle.as_ref().map_or(unseen, |shard_handle| shard_handle.leadership(now.mono))
    }

    /// Waits until this member leads. `renewed` is a term that goes on, and is begun at once.
    /// `None`: the member is to stop.
    pub(super) async fn stand_by(
        &mut self,
        renewed: Option<Term>,
        stop: &mut (impl Future<Output = ()> + Unpin),
        ticks: &mut Ticks,
        parts: &mut mpsc::Receiver<ShardPart>,
        asks: &mut mpsc::UnboundedReceiver<ControlRequest>,
    ) -> Option<Leader> {
        let mut opening = renewed.and_then(|term| self.opens(term));
        // Terms that ended while the journal was being opened.
        let mut ended = Vec::new();
        loop {
            if let Some(metrics) = &self.metrics {
                metrics.stands_by(true);
                metrics.turned(false, None);
            }
            let (now, leadership) = (Now::read(), self.leadership(Now::read()));
            self.shared.supervised(|supervision| supervision.stands_by(&self.shard, leadership, now));
            tokio::select! {
                biased;
                () = &mut *stop => return None,
                notice = next_event(&mut self.shard_handle) => match notice {
                    // Handed over before this was heard of.
                    LeadershipChange::Leads(term) if term.is_over() => {}
                    LeadershipChange::Leads(term) => {
                        ended.clear();
                        opening = self.opens(term);
                    }
                    LeadershipChange::TermsEnded(terms) => ended.extend(terms),
                    LeadershipChange::StandsBy(leader) => {
                        let (member, shard) = (self.member(), self.shard_name());
                        self.emit(LeaseStandby { member, shard, leader }.into());
                    }
                    LeadershipChange::Deposed | LeadershipChange::Replaced => self.gives_up(opening.take()),
                    LeadershipChange::HandsOver => if opening.is_some() {
                        self.release();
                        self.gives_up(opening.take());
                    },
                },
                (term, opened) = opened(&mut opening) => match opened {
                    Ok((opened, older)) => return Some(self.begin(term, opened, older, ended)),
                    Err(error) => {
                        self.release();
                        self.sent_nothing(&term);
                        let (member, error) = (self.member(), error.to_string());
                        self.emit(LeaseUnreachable { member, error }.into());
                    }
                },
                tick = ticks.next() => match tick {
                    Tick::ClaimWindow | Tick::Prune | Tick::Remind => {}
                },
                Some(part) = parts.recv() => self.takes_over(part),
                Some(ask) = asks.recv() => self.refuse(ask),
                // The loop is seen to live.
                () = sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    /// This member's name. Empty where nobody shares the journal.
    pub(super) fn member(&self) -> String {
        self.shard_handle.as_ref().map(|shard_handle| shard_handle.member().to_owned()).unwrap_or_default()
    }

    /// Leaves the lease to others.
    pub(super) fn release(&self) {
        if let Some(shard_handle) = &self.shard_handle {
            shard_handle.release();
        }
    }

    /// Opens the journal for a term. Meanwhile the loop goes on to stand by: the database may take
    /// its time.
    fn opens(&self, term: Term) -> Option<Opening> {
        let shard_handle = self.shard_handle.as_ref()?;
        let (opening, schedule) = (shard_handle.open(term.clone()), Arc::clone(&self.schedule));
        let opened = async move {
            let mut opened = opening.await?;
            let older = claim_forgotten(&schedule, &mut opened).await?;
            Ok((opened, older))
        };
        Some(Opening { opened: Box::pin(opened), term })
    }

    /// Leaves a term for which the journal is being opened.
    fn gives_up(&self, opening: Option<Opening>) {
        if let Some(Opening { term, .. }) = opening {
            self.sent_nothing(&term);
        }
    }

    /// Tells the other members that nothing was sent under a term for which the journal was not
    /// opened.
    fn sent_nothing(&self, term: &Term) {
        if let Some(shard_handle) = &self.shard_handle {
            shard_handle.term_ended(term.unopened());
        }
    }

    /// Begins a term. `ended` are terms that ended while the journal was being opened.
    fn begin(
        &mut self,
        term: Term,
        opened: Opened,
        older: Option<JournalOlder>,
        ended: Vec<EndedTerm>,
    ) -> Leader {
        if let Some(older) = older {
            self.emit(older.into());
        }
        let open = opened.recovered.open.len();
        let (member, shard, journal) = (self.member(), self.shard_name(), self.desk.journal.to_string());
        self.emit(LeaseAcquired { member, shard, journal, open }.into());
        if let Some(metrics) = &self.metrics {
            metrics.stands_by(false);
        }
        let mut leader = Leader::begin(self, opened, Some(term));
        leader.handle(self, Input::TermsEnded(ended), Now::read());
        leader
    }

    /// Another schedule takes over while this member stands by.
    fn takes_over(&mut self, part: ShardPart) {
        let ShardPart { clients, whole, prepared, done } = part;
        self.clients.replace(clients, |_| false);
        (self.schedule, self.whole, self.calendars) = (prepared.schedule, whole, prepared.calendars);
        if let Some(done) = done {
            let _ = done.send(());
        }
    }
}
