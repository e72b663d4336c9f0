//! The journal's thread and the mark in virtual time: what is asked for is gathered into groups, each of which is
//! written as a whole, or is gone.

use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;

use super::scenario::DiskSpeed;
use crate::daemon::core::Claims;
use crate::dispatch::{Request, RequestId};
use crate::journal::memory::Memory;
use crate::journal::{Claim, Key, Known, Move, Recovered, Refused};
use crate::quota;
use crate::schedule::{AccountName, EntryName, StackUid};

/// What is recorded waits this long for company, as in the journal's thread.
const SOON: Duration = Duration::from_millis(50);

/// Between two tries to write what could not be written.
const AGAIN: Duration = Duration::from_secs(1);

/// What is asked of the journal.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Step(Key, Move),
    Quota(AccountName, Box<quota::Saved>),
    Claim(Claims),
    /// Of what a person fires.
    ByHand(Timestamp, Claim),
    Pause(EntryName),
    Resume(EntryName),
    /// What was recorded is written without the wait for company.
    Flush,
    /// And then the request is sent.
    Commit(Key, Move, RequestId, Request),
    /// And then the actions are told that are known of a stack.
    Recall(AccountName, StackUid, Timestamp),
    Close(Timestamp),
}

/// What came of it, for who waits.
pub(super) enum Written {
    Claimed(Timestamp, Option<Vec<Key>>),
    /// Whether it is written, and was not known before.
    ByHand(Claim, Option<bool>),
    Steered(EntryName, Steered),
    Committed(RequestId, Request, bool),
    Recalled(AccountName, StackUid, Option<Known>),
    Refused(Refused),
    Closed,
}

/// What came of a pause or a resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Steered {
    Paused,
    Resumed,
    Not,
}

/// What survives a process, and what is under way to it.
pub(super) struct Disk {
    speed: DiskSpeed,
    pub(super) committed: Memory,
    /// In microseconds.
    mark: Option<i64>,
    batch: Vec<Write>,
    write_at: Option<Duration>,
    writing: Option<(Duration, Vec<Write>)>,
    /// Written last, and reported to have failed: a process that comes after a crash may find it all the same.
    failed: Vec<Write>,
    /// Nothing can be written until then; the mark cannot either, if so.
    ill_until: Duration,
    mark_is_ill: bool,
    hangs_until: Duration,
}

impl Disk {
    pub(super) fn new(speed: DiskSpeed) -> Disk {
        Disk {
            speed,
            committed: Memory::default(),
            mark: None,
            batch: Vec::new(),
            write_at: None,
            writing: None,
            failed: Vec::new(),
            ill_until: Duration::ZERO,
            mark_is_ill: false,
            hangs_until: Duration::ZERO,
        }
    }

    pub(super) fn falls_ill(&mut self, until: Duration, mark: bool) {
        (self.ill_until, self.mark_is_ill) = (until, mark);
    }

    /// What is being written, or is written next, takes until then.
    pub(super) fn hangs(&mut self, until: Duration) {
        self.hangs_until = until;
        if let Some((done_at, _)) = &mut self.writing {
            *done_at = (*done_at).max(until);
        }
    }

    pub(super) fn is_well_and_quick(&mut self) {
        (self.ill_until, self.hangs_until) = (Duration::ZERO, Duration::ZERO);
        self.speed = DiskSpeed { slow: 0, ..self.speed };
    }

    /// The journal's thread does not run until then.
    pub(super) fn freezes(&mut self, until: Duration) {
        self.write_at = self.write_at.map(|at| at.max(until));
        if let Some((done_at, _)) = &mut self.writing {
            *done_at = (*done_at).max(until);
        }
    }

    pub(super) fn ask(&mut self, write: Write, now: Duration) {
        match write {
            Write::Step(..) | Write::Quota(..) => {
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

    /// When something is begun or done.
    pub(super) fn next_at(&self) -> Option<Duration> {
        match &self.writing {
            Some((done_at, _)) => Some(*done_at),
            None => self.write_at,
        }
    }

    /// Goes on, if it is time.
    pub(super) fn proceed(&mut self, now: Duration, chances: &mut Rng) -> Vec<Written> {
        if self.next_at().is_none_or(|at| at > now) {
            return Vec::new();
        }
        if let Some((_, group)) = self.writing.take() {
            let written = if now < self.ill_until { self.fail(group, now) } else { self.commit(group) };
            if !self.batch.is_empty() {
                self.write_at.get_or_insert(now);
            }
            return written;
        }
        self.write_at = None;
        // What precedes an end in order is written before it.
        let end = self.batch.iter().position(|write| matches!(write, Write::Close(_)));
        let rest = self.batch.split_off(end.map_or(self.batch.len(), |end| end.max(1)));
        let group = std::mem::replace(&mut self.batch, rest);
        let most = match chances.u32(..100) < self.speed.slow {
            true => self.speed.slowest,
            false => self.speed.usual,
        };
        let takes = Duration::from_micros(chances.u64(50..=most.as_micros() as u64));
        self.writing = Some(((now + takes).max(self.hangs_until), group));
        Vec::new()
    }

    fn commit(&mut self, group: Vec<Write>) -> Vec<Written> {
        self.failed.clear();
        let mut written = Vec::new();
        for write in group {
            match write {
                Write::Step(key, mv) => written.extend(self.committed.step(&key, &mv).map(Written::Refused)),
                Write::Quota(account, saved) => self.committed.save_quota(account, *saved),
                Write::Claim(Claims { cursor, claims }) => {
                    let claimed = self.committed.claim(cursor, &claims);
                    written.push(Written::Claimed(cursor, Some(claimed.known)));
                }
                Write::ByHand(cursor, claim) => {
                    let claimed = self.committed.claim(cursor, std::slice::from_ref(&claim));
                    written.push(Written::ByHand(claim, Some(claimed.known.is_empty())));
                }
                Write::Pause(entry) => {
                    self.committed.pause(entry.clone());
                    written.push(Written::Steered(entry, Steered::Paused));
                }
                Write::Resume(entry) => {
                    self.committed.resume(&entry);
                    written.push(Written::Steered(entry, Steered::Resumed));
                }
                Write::Flush => {}
                Write::Commit(key, mv, id, request) => {
                    written.extend(self.committed.step(&key, &mv).map(Written::Refused));
                    written.push(Written::Committed(id, request, true));
                }
                Write::Recall(account, stack, since) => {
                    let known = self.committed.actions(&stack, since);
                    written.push(Written::Recalled(account, stack, Some(known)));
                }
                Write::Close(at) => {
                    self.committed.stopped(at);
                    written.push(Written::Closed);
                }
            }
        }
        written
    }

    fn fail(&mut self, group: Vec<Write>, now: Duration) -> Vec<Written> {
        self.failed.clone_from(&group);
        let mut written = Vec::new();
        let mut kept = Vec::new();
        for write in group {
            match write {
                Write::Step(..) | Write::Quota(..) => kept.push(write),
                Write::Claim(Claims { cursor, .. }) => written.push(Written::Claimed(cursor, None)),
                Write::ByHand(_, claim) => written.push(Written::ByHand(claim, None)),
                Write::Pause(entry) | Write::Resume(entry) => {
                    written.push(Written::Steered(entry, Steered::Not));
                }
                Write::Flush => {}
                Write::Commit(_, _, id, request) => written.push(Written::Committed(id, request, false)),
                Write::Recall(account, stack, _) => written.push(Written::Recalled(account, stack, None)),
                Write::Close(_) => written.push(Written::Closed),
            }
        }
        // Who waits for the end waits for what precedes it.
        if let Some(end) = self.batch.iter().position(|write| matches!(write, Write::Close(_))) {
            self.batch.remove(end);
            written.push(Written::Closed);
        }
        if !kept.is_empty() && self.write_at.is_none() {
            self.write_at = Some(now + AGAIN);
        }
        kept.append(&mut self.batch);
        self.batch = kept;
        written
    }

    /// The process is gone. Of what was being written, all is committed or nothing.
    pub(super) fn crash(&mut self, machine: bool, now: Duration, chances: &mut Rng) {
        self.batch.clear();
        self.write_at = None;
        let writing = self.writing.take().filter(|_| now >= self.ill_until).map(|(_, group)| group);
        let group = writing.unwrap_or_else(|| std::mem::take(&mut self.failed));
        if chances.bool() {
            self.commit(group);
        }
        self.failed.clear();
        if machine {
            self.mark = None;
        }
    }

    /// What a new process finds.
    pub(super) fn recover(&mut self) -> Recovered {
        let mark = self.mark.and_then(|micros| Timestamp::from_microsecond(micros + 1).ok());
        Recovered { sent_up_to: mark, ..self.committed.recover() }
    }
}
