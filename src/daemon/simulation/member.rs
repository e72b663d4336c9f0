//! A member's keeper in virtual time: it beats, looks, takes and hands over, over a line that may
//! be cut.
//!
//! What it decides is the keeper's own (`journal/postgres/election_state.rs`).

use std::collections::VecDeque;
use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;

use super::database::{
    DatabaseCall, DatabaseClient, DatabaseLatency, Kind, SimulatedDatabase, Statement, Went,
};
use crate::clock::Now;
use crate::journal::postgres::LeadershipChange;
use crate::journal::postgres::tables::{
    BEAT, Beat, ElectionState, ElectionStep, Found, LOOK, RunId, Tables, sends_until,
};
use crate::journal::{EndedTerm, Identity, TermNumber};
use crate::schedule::Shard;

/// Before a connection is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// Events for the member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Hand the lease over, and look again for it later.
    Release,
    /// Hand it over, and look for it no more.
    Leave,
}

pub(super) struct SimulatedMember {
    number: usize,
    id: RunId,
    former: Option<RunId>,
    part: ElectionState,
    beat_at: Duration,
    look_at: Duration,
    doing: Doing,
    orders: VecDeque<Order>,
    /// Terms that are over, and of which the database has not been told.
    reports: Vec<EndedTerm>,
    notices: VecDeque<LeadershipChange>,
}

/// Stages of taking a lease.
#[derive(Clone, Copy)]
struct Taking {
    lost_until: Option<Timestamp>,
    until: Timestamp,
}

enum Doing {
    /// The member has no connection, and makes one at this time.
    Away(Duration),
    Connects(DatabaseCall<Identity>),
    Idle,
    Beats(DatabaseCall<(Vec<i64>, Vec<EndedTerm>)>, Beat, Now),
    /// The first so many reports are told.
    Reports(DatabaseCall<()>, usize),
    Looks(DatabaseCall<Found>),
    Takes(DatabaseCall<Option<TermNumber>>, Box<Found>, Taking, Now),
    Releases(DatabaseCall<()>, TermNumber, Order),
    Left,
}

impl SimulatedMember {
    /// A process begins. `former` is who it was before, and `ended` how far the last term has sent
    /// that one led. `known` is up to when anybody may have sent, by what the state directory
    /// knows.
    pub(super) fn new(
        number: usize,
        id: RunId,
        former: Option<RunId>,
        ended: Option<EndedTerm>,
        known: Option<Timestamp>,
    ) -> SimulatedMember {
        let mut part = ElectionState::new();
        part.may_have_sent(known);
        SimulatedMember {
            number,
            id,
            former,
            part,
            beat_at: Duration::ZERO,
            look_at: Duration::ZERO,
            doing: Doing::Away(Duration::ZERO),
            orders: VecDeque::new(),
            reports: ended.into_iter().collect(),
            notices: VecDeque::new(),
        }
    }

    /// Takes in the instant up to which anybody may have sent.
    pub(super) fn may_have_sent(&mut self, until: Option<Timestamp>) {
        self.part.may_have_sent(until);
    }

    /// Returns the instant up to which anybody may have sent, by all that the member has seen.
    pub(super) fn sent_until(&self) -> Option<Timestamp> {
        self.part.sent_until()
    }

    pub(super) fn order(&mut self, order: Order) {
        self.orders.push_back(order);
    }

    /// Has the others know how far a term has sent that is over.
    pub(super) fn reports(&mut self, ended: EndedTerm) {
        self.reports.push(ended);
    }

    pub(super) fn has_left(&self) -> bool {
        matches!(self.doing, Doing::Left)
    }

    /// Returns true when an event waits.
    pub(super) fn has_notices(&self) -> bool {
        !self.notices.is_empty()
    }

    /// Returns the next event for the member's loop.
    pub(super) fn take_notices(&mut self) -> Option<LeadershipChange> {
        self.notices.pop_front()
    }

    /// Returns the time of the member's next step. The member does not run until `thaws`.
    pub(super) fn next_at(&self, thaws: Duration) -> Option<Duration> {
        Some(match &self.doing {
            Doing::Away(_) | Doing::Idle if !self.orders.is_empty() => thaws,
            Doing::Away(at) => (*at).max(thaws),
            Doing::Idle if !self.reports.is_empty() => thaws,
            Doing::Idle if self.part.leads() => self.beat_at.max(thaws),
            Doing::Idle => self.look_at.max(thaws),
            Doing::Connects(call) => call.next_at(thaws),
            Doing::Releases(call, ..) => call.next_at(thaws),
            Doing::Beats(call, ..) => call.next_at(thaws),
            Doing::Reports(call, _) => call.next_at(thaws),
            Doing::Looks(call) => call.next_at(thaws),
            Doing::Takes(call, ..) => call.next_at(thaws),
            Doing::Left => return None,
        })
    }

    /// Takes the next step.
    pub(super) fn proceed(
        &mut self,
        time: Duration,
        now: Now,
        latency: DatabaseLatency,
        database: &mut SimulatedDatabase,
        chances: &mut Rng,
    ) {
        let (client, id) = (DatabaseClient::Elector(self.number), self.id);
        self.doing = match std::mem::replace(&mut self.doing, Doing::Left) {
            Doing::Away(at) => match self.orders.pop_front() {
                // The lease ends by itself.
                Some(order) => {
                    self.part.rests(now.mono);
                    if order == Order::Leave { Doing::Left } else { Doing::Away(at) }
                }
                None => Doing::Connects(DatabaseCall::connect(client, latency, time, chances)),
            },
            Doing::Connects(mut call) => {
                match call.proceed(time, database, Kind::Reads, |tables| tables.identity().clone()) {
                    Went::Back(Some(identity)) if identity == *Tables::new().identity() => Doing::Idle,
                    Went::Back(Some(_)) => {
                        self.notices.extend(self.part.is_without_journal());
                        self.fails(time)
                    }
                    Went::Back(None) => self.fails(time),
                    Went::On | Went::Astray => Doing::Connects(call),
                }
            }
            Doing::Idle => self.begins(client, time, now, latency, chances),
            Doing::Beats(mut call, beat, asked) => {
                let until = sends_until(asked);
                match call.proceed(time, database, Kind::Writes, |tables| tables.keep(beat, id, until)) {
                    Went::On => Doing::Beats(call, beat, asked),
                    Went::Astray => {
                        database.comes_late(client, Statement::Keep(beat, id, until), time, chances);
                        Doing::Beats(call, beat, asked)
                    }
                    Went::Back(Some((kept, ended))) => {
                        if let Some(notice) = self.part.kept(&kept, asked) {
                            self.notices.push_back(notice);
                            self.look_at = time;
                        }
                        self.notices.extend(self.part.terms_ended(&ended));
                        Doing::Idle
                    }
                    Went::Back(None) => self.fails(time),
                }
            }
            Doing::Reports(mut call, told) => {
                let reports = &self.reports[..told];
                match call.proceed(time, database, Kind::Writes, |tables| tables.report(reports)) {
                    Went::On => Doing::Reports(call, told),
                    Went::Astray => {
                        database.comes_late(client, Statement::Report(reports.to_vec()), time, chances);
                        Doing::Reports(call, told)
                    }
                    Went::Back(Some(())) => {
                        self.reports.drain(..told);
                        Doing::Idle
                    }
                    Went::Back(None) => self.fails(time),
                }
            }
            Doing::Looks(mut call) => match call.proceed(time, database, Kind::Reads, |tables| tables.look())
            {
                Went::On | Went::Astray => Doing::Looks(call),
                Went::Back(None) => self.fails(time),
                Went::Back(Some(found)) => {
                    let (next, notice) = self.part.consider(&found, self.former, Duration::ZERO, now.mono);
                    self.notices.extend(notice);
                    match next {
                        ElectionStep::Wait(pause) => {
                            self.look_at = time + pause;
                            Doing::Idle
                        }
                        ElectionStep::Take { lost_until } => {
                            let until = sends_until(now).max(self.part.sent_until().unwrap_or(now.wall));
                            let lost_until = lost_until.map(|lost| lost.max(now.wall));
                            let taking = Taking { lost_until, until };
                            let call = DatabaseCall::new(client, latency, time, chances);
                            Doing::Takes(call, Box::new(found), taking, now)
                        }
                    }
                }
            },
            Doing::Takes(mut call, found, taking, asked) => {
                let (seen, Taking { lost_until, until }) = (found.seen, taking);
                match call
                    .proceed(time, database, Kind::Writes, |tables| tables.take(seen, id, until, lost_until))
                {
                    Went::On => Doing::Takes(call, found, taking, asked),
                    Went::Astray => {
                        database.comes_late(
                            client,
                            Statement::Take(seen, id, until, lost_until),
                            time,
                            chances,
                        );
                        Doing::Takes(call, found, taking, asked)
                    }
                    Went::Back(Some(Some(number))) => {
                        let of = (id, database.tables.identity());
                        let term = self.part.taken(Shard::Common, &found, number, of, asked);
                        self.notices.push_back(LeadershipChange::Leads(term));
                        (self.beat_at, self.look_at) = (time + BEAT, time + LOOK);
                        Doing::Idle
                    }
                    Went::Back(Some(None)) => {
                        self.part.missed();
                        self.look_at = time;
                        Doing::Idle
                    }
                    Went::Back(None) => self.fails(time),
                }
            }
            Doing::Releases(mut call, number, order) => {
                match call.proceed(time, database, Kind::Writes, |tables| tables.release(number, id)) {
                    Went::On => Doing::Releases(call, number, order),
                    Went::Astray => {
                        database.comes_late(client, Statement::Release(number, id), time, chances);
                        Doing::Releases(call, number, order)
                    }
                    Went::Back(_) if order == Order::Leave => Doing::Left,
                    Went::Back(Some(())) => Doing::Idle,
                    Went::Back(None) => self.fails(time),
                }
            }
            Doing::Left => Doing::Left,
        };
    }

    fn begins(
        &mut self,
        client: DatabaseClient,
        time: Duration,
        now: Now,
        latency: DatabaseLatency,
        chances: &mut Rng,
    ) -> Doing {
        if let Some(order) = self.orders.pop_front() {
            let number = self.part.number();
            self.part.rests(now.mono);
            return match number {
                Some(number) => {
                    Doing::Releases(DatabaseCall::new(client, latency, time, chances), number, order)
                }
                None if order == Order::Leave => Doing::Left,
                None => Doing::Idle,
            };
        }
        if !self.reports.is_empty() {
            return Doing::Reports(DatabaseCall::new(client, latency, time, chances), self.reports.len());
        }
        match self.part.beats() {
            Some(beat) => {
                self.beat_at = time + BEAT;
                Doing::Beats(DatabaseCall::new(client, latency, time, chances), beat, now)
            }
            None => Doing::Looks(DatabaseCall::new(client, latency, time, chances)),
        }
    }

    fn fails(&mut self, time: Duration) -> Doing {
        self.part.loses_sight();
        Doing::Away(time + AGAIN)
    }

    /// The process is gone: what it has asked may arrive all the same.
    pub(super) fn dies(self, time: Duration, database: &mut SimulatedDatabase, chances: &mut Rng) {
        let client = DatabaseClient::Elector(self.number);
        let statement = match self.doing {
            Doing::Beats(call, beat, asked) if call.is_there() => {
                Statement::Keep(beat, self.id, sends_until(asked))
            }
            Doing::Takes(call, found, taking, _) if call.is_there() => {
                Statement::Take(found.seen, self.id, taking.until, taking.lost_until)
            }
            Doing::Releases(call, number, _) if call.is_there() => Statement::Release(number, self.id),
            Doing::Reports(call, told) if call.is_there() => Statement::Report(self.reports[..told].to_vec()),
            _ => return,
        };
        database.comes_late(client, statement, time, chances);
    }
}
