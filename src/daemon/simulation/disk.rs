//! The journal's thread and the mark in virtual time: what is asked for is gathered into groups,
//! each of which is written as a whole, or is gone. To a file of its own, or to the database that a
//! leader shares with others.

use std::collections::HashSet;
use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;

use super::database::{
    DatabaseCall, DatabaseClient, DatabaseLatency, Kind, SimulatedDatabase, Statement, Went,
};
use crate::cloud66::ActionId;
use crate::daemon::core::Claims;
use crate::daemon::node::{FireByHand, PauseChange, Steering};
use crate::dispatch::{Request, RequestId};
use crate::journal::postgres::Term;
use crate::journal::postgres::tables::{KnownBeat, OpenedPostgres, RunId, TermWriter, WriteGroup};
use crate::journal::store;
use crate::journal::{
    Claim, Cursor, EndedTerm, Handover, Key, KnownActions, Recovered, Refused, Resent, TermNumber, Transition,
};
use crate::quota;
use crate::schedule::{AccountName, EntryName, StackUid};

/// Time for which a record waits for others to be written with it, as in the journal's thread.
const SOON: Duration = Duration::from_millis(50);

/// Between two tries to write what could not be written.
const AGAIN: Duration = Duration::from_secs(1);

/// A request to the journal.
#[derive(Clone, Debug)]
pub(super) enum DiskRequest {
    Step((Key, Transition)),
    End(Box<Handover>),
    Amend(Box<Claim>),
    Resent(Box<Resent>),
    Quota(AccountName, Box<quota::SavedQuota>),
    Claim(Claims),
    /// The claim of a person's `fire`.
    ByHand(FireByHand, Claim),
    /// A pause or a resume that a person asks for.
    Steer(Steering),
    /// Nobody waits for it.
    PauseEnds(EntryName),
    /// Writes the records without a wait for others.
    Flush,
    /// And then the request is sent.
    Commit((Key, Transition), RequestId, Request),
    /// And then the actions are told that are known of a stack.
    Recall(AccountName, StackUid, Timestamp, Vec<ActionId>),
    Close(Timestamp),
}

/// The outcome, for the one who waits.
pub(super) enum DiskAnswer {
    Claimed(Timestamp, Option<Vec<Key>>),
    /// The keys that the journal knew before. `None`: the journal cannot be written.
    ByHand(FireByHand, Claim, Option<Vec<Key>>),
    /// True when it is written.
    Steered(Steering, bool),
    Committed(RequestId, Request, bool),
    Recalled(AccountName, StackUid, Option<KnownActions>),
    Refused(Refused),
    Closed,
}

/// The way to one daemon's journal, with the writes that are under way.
pub(super) struct Disk {
    latency: DatabaseLatency,
    /// In microseconds.
    mark: Option<i64>,
    /// The term in which the mark is raised, where several share the journal.
    mark_term: Option<TermNumber>,
    batch: Vec<DiskRequest>,
    write_at: Option<Duration>,
    writing: Option<Writing>,
    /// Written last, and reported to have failed: a process that comes after a crash may find it
    /// all the same.
    failed: Vec<DiskRequest>,
    /// The disk refuses writes until this time; with `true` it refuses the send watermark too.
    ill_until: Duration,
    mark_is_ill: bool,
    hangs_until: Duration,
    /// The session with the shared database, while this daemon leads.
    session: Option<DatabaseSession>,
}

/// A leader's session with the database.
struct DatabaseSession {
    client: DatabaseClient,
    number: TermNumber,
    holder: RunId,
    known_beat: KnownBeat,
    open: OpenedPostgres,
}

impl DatabaseSession {
    fn writer(&self) -> TermWriter {
        TermWriter { number: self.number, holder: self.holder, known_beat: self.known_beat.get() }
    }
}

/// The group that is being written.
struct Writing {
    group: Vec<DiskRequest>,
    to: To,
}

enum To {
    /// The time at which the group is on disk.
    File(Duration),
    /// Its own rows, what will have come of each write, and the claims that were new.
    Database(Box<(WriteGroup, Vec<store::Written>)>, DatabaseCall<Option<HashSet<Key>>>),
}

impl Disk {
    pub(super) fn new(latency: DatabaseLatency) -> Disk {
        Disk {
            latency,
            mark: None,
            mark_term: None,
            batch: Vec::new(),
            write_at: None,
            writing: None,
            failed: Vec::new(),
            ill_until: Duration::ZERO,
            mark_is_ill: false,
            hangs_until: Duration::ZERO,
            session: None,
        }
    }

    /// A term begins: what is written from now on is this leader's.
    pub(super) fn leads(&mut self, client: DatabaseClient, term: &Term, open: OpenedPostgres) {
        let (number, holder, known_beat) = (term.number(), term.holder(), term.known_beat().clone());
        self.session = Some(DatabaseSession { client, number, holder, known_beat, open });
    }

    /// Number of the term in which the group is written.
    pub(super) fn number(&self) -> Option<TermNumber> {
        self.session.as_ref().map(|session| session.number)
    }

    /// The process, or its term, is over. What is on its way to the database may arrive.
    pub(super) fn ends(&mut self, now: Duration, database: &mut SimulatedDatabase, chances: &mut Rng) {
        self.batch.clear();
        self.failed.clear();
        self.write_at = None;
        if let (Some(session), Some(Writing { to: To::Database(asked, call), .. })) =
            (self.session.take(), self.writing.take())
            && call.is_there()
        {
            let write = Statement::Write(session.writer(), Box::new(asked.0));
            database.comes_late(session.client, write, now, chances);
        }
    }

    pub(super) fn falls_ill(&mut self, until: Duration, mark: bool) {
        (self.ill_until, self.mark_is_ill) = (until, mark);
    }

    /// The present or the next write takes until this time.
    pub(super) fn hangs(&mut self, until: Duration) {
        self.hangs_until = until;
        self.waits(until);
    }

    pub(super) fn is_well_and_quick(&mut self) {
        (self.ill_until, self.hangs_until) = (Duration::ZERO, Duration::ZERO);
        self.latency.slow = 0;
    }

    /// The journal's thread does not run until then.
    pub(super) fn freezes(&mut self, until: Duration) {
        self.write_at = self.write_at.map(|at| at.max(until));
        self.waits(until);
    }

    fn waits(&mut self, until: Duration) {
        if let Some(Writing { to: To::File(done_at), .. }) = &mut self.writing {
            *done_at = (*done_at).max(until);
        }
    }

    pub(super) fn ask(&mut self, write: DiskRequest, now: Duration) {
        match write {
            DiskRequest::Step(..)
            | DiskRequest::End(..)
            | DiskRequest::Amend(..)
            | DiskRequest::Resent(..)
            | DiskRequest::Quota(..) => {
                self.write_at.get_or_insert(now + SOON);
            }
            _ => self.write_at = Some(now),
        }
        self.batch.push(write);
    }

    /// Raises the mark. False when it cannot be written.
    pub(super) fn raise(&mut self, due_at: Timestamp, now: Duration) -> bool {
        let micros = due_at.as_microsecond();
        if self.mark.is_some_and(|mark| micros <= mark) {
            return true;
        }
        let well = now >= self.ill_until || !self.mark_is_ill;
        if well {
            self.mark = Some(micros);
        }
        well
    }

    /// A term begins to raise the mark. False when it cannot be written.
    pub(super) fn begins_term(&mut self, term: TermNumber, now: Duration) -> bool {
        let well = now >= self.ill_until || !self.mark_is_ill;
        if well {
            self.mark_term = Some(term);
        }
        well
    }

    /// Returns how far the last term has sent that was led here. `None`: there was none since the
    /// machine was started.
    pub(super) fn ended_term(&self) -> Option<EndedTerm> {
        let sent_up_to = self.mark().unwrap_or(Timestamp::MIN);
        self.mark_term.map(|number| EndedTerm { number, sent_up_to })
    }

    /// The send watermark of the former process.
    pub(super) fn mark(&self) -> Option<Timestamp> {
        self.mark.and_then(|micros| Timestamp::from_microsecond(micros + 1).ok())
    }

    /// Returns the time of the journal's next step. Its thread does not run until `thaws`.
    pub(super) fn next_at(&self, thaws: Duration) -> Option<Duration> {
        match &self.writing {
            Some(Writing { to: To::File(done_at), .. }) => Some(*done_at),
            Some(Writing { to: To::Database(_, call), .. }) => Some(call.next_at(thaws)),
            None => self.write_at.map(|at| at.max(thaws)),
        }
    }

    /// Takes the next step.
    pub(super) fn proceed(
        &mut self,
        now: Duration,
        database: &mut SimulatedDatabase,
        chances: &mut Rng,
    ) -> Vec<DiskAnswer> {
        let Some(Writing { group, to }) = self.writing.take() else {
            self.begins(now, database, chances);
            return Vec::new();
        };
        let done = match to {
            To::File(_) if now < self.ill_until => None,
            To::File(_) => Some(database.tables.memory.write(&writes(&group))),
            To::Database(asked, mut call) => {
                let Some(session) = &self.session else {
                    return Vec::new();
                };
                let (client, writer) = (session.client, session.writer());
                if call.is_there() {
                    database.ends_former_session(client, now);
                }
                match call.proceed(now, database, Kind::Writes, |tables| tables.write(writer, &asked.0)) {
                    Went::On => {
                        self.writing = Some(Writing { group, to: To::Database(asked, call) });
                        return Vec::new();
                    }
                    Went::Astray => {
                        database.comes_late(
                            client,
                            Statement::Write(writer, Box::new(asked.0.clone())),
                            now,
                            chances,
                        );
                        self.writing = Some(Writing { group, to: To::Database(asked, call) });
                        return Vec::new();
                    }
                    Went::Back(None | Some(None)) => {
                        if let Some(session) = &mut self.session {
                            session.open.is_lost(&writes(&group));
                        }
                        None
                    }
                    Went::Back(Some(Some(new))) => {
                        let (done, mut written): (WriteGroup, Vec<store::Written>) = *asked;
                        if let Some(session) = &mut self.session {
                            session.open.is_written(done, new, &writes(&group), &mut written);
                        }
                        Some(written)
                    }
                }
            }
        };
        let written = match done {
            Some(done) => self.answer(group, done, database),
            None => self.fail(group, now),
        };
        if !self.batch.is_empty() {
            self.write_at.get_or_insert(now);
        }
        written
    }

    fn begins(&mut self, now: Duration, database: &SimulatedDatabase, chances: &mut Rng) {
        self.write_at = None;
        // Records that precede an orderly end are written before it.
        let end = self.batch.iter().position(|write| matches!(write, DiskRequest::Close(_)));
        let rest = self.batch.split_off(end.map_or(self.batch.len(), |end| end.max(1)));
        let group = std::mem::replace(&mut self.batch, rest);
        let to = match &self.session {
            None => To::File((now + self.latency.draw(chances)).max(self.hangs_until)),
            Some(session) => {
                let writes = writes(&group);
                let settled = database.tables.settled(session.open.moved_otherwise(&writes).into_iter());
                let asked = Box::new(session.open.group(&writes, &settled));
                To::Database(asked, DatabaseCall::new(session.client, self.latency, now, chances))
            }
        };
        self.writing = Some(Writing { group, to });
    }

    /// Says of each what came of it.
    fn answer(
        &mut self,
        group: Vec<DiskRequest>,
        done: Vec<store::Written>,
        database: &SimulatedDatabase,
    ) -> Vec<DiskAnswer> {
        self.failed.clear();
        let mut done = done.into_iter();
        let mut written = Vec::new();
        for write in group {
            let came = if write_of(&write).is_some() { done.next() } else { None };
            let is_refused = matches!(&came, Some(store::Written::Steps(refused)) if !refused.is_empty());
            let known = match came {
                Some(store::Written::Steps(refused)) => {
                    written.extend(refused.into_iter().map(DiskAnswer::Refused));
                    Vec::new()
                }
                Some(store::Written::Claimed(claimed)) => claimed.known,
                Some(store::Written::Done) | None => Vec::new(),
            };
            match write {
                DiskRequest::Step(..)
                | DiskRequest::End(..)
                | DiskRequest::Amend(..)
                | DiskRequest::Resent(..)
                | DiskRequest::Quota(..)
                | DiskRequest::PauseEnds(_)
                | DiskRequest::Flush => {}
                DiskRequest::Claim(Claims { cursor, .. }) => {
                    written.push(DiskAnswer::Claimed(cursor, Some(known)))
                }
                DiskRequest::ByHand(fire, claim) => {
                    written.push(DiskAnswer::ByHand(fire, claim, Some(known)))
                }
                DiskRequest::Steer(steering) => written.push(DiskAnswer::Steered(steering, true)),
                DiskRequest::Commit(_, id, request) => {
                    written.push(DiskAnswer::Committed(id, request, !is_refused))
                }
                DiskRequest::Recall(account, stack, since, listed) => {
                    let known = database.tables.memory.actions(&stack, since, &listed);
                    written.push(DiskAnswer::Recalled(account, stack, Some(known)));
                }
                DiskRequest::Close(_) => written.push(DiskAnswer::Closed),
            }
        }
        written
    }

    fn fail(&mut self, group: Vec<DiskRequest>, now: Duration) -> Vec<DiskAnswer> {
        self.failed.clone_from(&group);
        let mut written = Vec::new();
        let mut kept = Vec::new();
        for write in group {
            match write {
                DiskRequest::Step(..)
                | DiskRequest::End(..)
                | DiskRequest::Amend(..)
                | DiskRequest::Resent(..)
                | DiskRequest::Quota(..) => kept.push(write),
                DiskRequest::Claim(Claims { cursor, .. }) => written.push(DiskAnswer::Claimed(cursor, None)),
                DiskRequest::ByHand(fire, claim) => written.push(DiskAnswer::ByHand(fire, claim, None)),
                DiskRequest::Steer(steering) => written.push(DiskAnswer::Steered(steering, false)),
                DiskRequest::PauseEnds(_) | DiskRequest::Flush => {}
                DiskRequest::Commit(_, id, request) => {
                    written.push(DiskAnswer::Committed(id, request, false))
                }
                DiskRequest::Recall(account, stack, ..) => {
                    written.push(DiskAnswer::Recalled(account, stack, None))
                }
                DiskRequest::Close(_) => written.push(DiskAnswer::Closed),
            }
        }
        // The one who waits for the end waits for the records before it.
        if let Some(end) = self.batch.iter().position(|write| matches!(write, DiskRequest::Close(_))) {
            self.batch.remove(end);
            written.push(DiskAnswer::Closed);
        }
        if !kept.is_empty() && self.write_at.is_none() {
            self.write_at = Some(now + AGAIN);
        }
        kept.append(&mut self.batch);
        self.batch = kept;
        written
    }

    /// The process is gone. Of what was being written to its own file, all is committed or nothing.
    pub(super) fn crash(
        &mut self,
        machine: bool,
        now: Duration,
        database: &mut SimulatedDatabase,
        chances: &mut Rng,
    ) {
        match self.session {
            Some(_) => self.ends(now, database, chances),
            None => {
                self.batch.clear();
                self.write_at = None;
                let writing =
                    self.writing.take().filter(|_| now >= self.ill_until).map(|writing| writing.group);
                let group = writing.unwrap_or_else(|| std::mem::take(&mut self.failed));
                if chances.bool() {
                    database.tables.memory.write(&writes(&group));
                }
            }
        }
        self.failed.clear();
        if machine {
            (self.mark, self.mark_term) = (None, None);
        }
    }

    /// Returns what a new process finds in its own file.
    pub(super) fn recover(&mut self, database: &mut SimulatedDatabase) -> Recovered {
        Recovered { sent_up_to: self.mark(), ..database.tables.memory.recover() }
    }
}

fn writes(group: &[DiskRequest]) -> Vec<store::Write<'_>> {
    group.iter().filter_map(write_of).collect()
}

/// The part of the group that is written. `None`: nothing is.
fn write_of(write: &DiskRequest) -> Option<store::Write<'_>> {
    match write {
        DiskRequest::Step(step) | DiskRequest::Commit(step, ..) => {
            Some(store::Write::Steps(std::slice::from_ref(step)))
        }
        DiskRequest::Quota(account, saved) => Some(store::Write::Quota(account, saved)),
        DiskRequest::End(handover) => Some(store::Write::End(handover)),
        DiskRequest::Amend(claim) => Some(store::Write::Amend(claim)),
        DiskRequest::Resent(resent) => Some(store::Write::Resent(resent)),
        DiskRequest::Claim(Claims { cursor, repeat, claims }) => {
            let cursor = Cursor { at: *cursor, repeat: *repeat, older_until: None };
            Some(store::Write::Claim(Some(cursor), claims))
        }
        DiskRequest::ByHand(_, claim) => Some(store::Write::Claim(None, std::slice::from_ref(claim))),
        DiskRequest::Steer(Steering { entry, to: PauseChange::Paused(pause), .. }) => {
            Some(store::Write::Pause(entry, pause))
        }
        DiskRequest::Steer(Steering { entry, to: PauseChange::Resumed, .. })
        | DiskRequest::PauseEnds(entry) => Some(store::Write::Resume(entry)),
        DiskRequest::Close(at) => Some(store::Write::Stopped(*at)),
        DiskRequest::Flush | DiskRequest::Recall(..) => None,
    }
}
