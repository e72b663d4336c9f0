//! The thread that writes: it gathers requests into transactions, keeps what could not be written,
//! and prunes between.
//!
//! A write that the store can never perform fails all that is written together with it. The group
//! is then written in halves, and these in halves again, until the one write is alone: a transition
//! is written in other words, and is told to be refused where that does not help either; whoever
//! waits for anything else is told the error. All else is written. A group of 1,000 costs some ten
//! transactions more.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc::UnboundedSender, oneshot, watch};

use super::inbox::{InboxReceiver, Waited};
use super::store::{Store, Write, Written};
use super::{
    Claim, Claimed, Cursor, Handover, Health, JournalError, Key, KnownActions, Pause, Pruned, Refused,
    Resent, Transition,
};
use crate::background;
use crate::cloud66::ActionId;
use crate::log;
use crate::memory;
use crate::quota;
use crate::schedule::{AccountName, EntryName, Schedule, StackUid};

/// A record waits this long for others to be written with it, and during a burst of sends for the
/// end of the burst ([`background::let_sends_go_first`]). A crash loses at most this much, and the
/// API's lists bring it back.
const SOON: Duration = Duration::from_millis(50);

/// A batch of this many changes is written without waiting for more.
pub(super) const GROUP: usize = 1000;

/// Between two tries to write what could not be written.
const AGAIN: Duration = Duration::from_secs(1);

/// Between two tries at the end, and how many there are.
const LAST_AGAIN: Duration = Duration::from_millis(100);
const LAST_TRIES: u32 = 6;

/// An end waits so long for a log that is slow, or that writes the lines of a burst. Claims are
/// made further ahead.
const LOG_BEHIND: Duration = Duration::from_millis(400);

/// Rows that are pruned in one step: a claim waits for one at most.
const STEP: u32 = 500;

/// Stands in the journal in place of words that it cannot store.
const UNSTORABLE: &str = "the journal could not store what was said";

/// Kept changes are looked through for what later ones cover when there are so many more than after
/// the last time.
const SLACK: usize = 10_000;

pub(super) type AnswerSender<T> = oneshot::Sender<Result<T, JournalError>>;

/// Something that is written soon, and kept until it can be.
#[derive(Debug)]
pub(super) enum PendingChange {
    Step((Key, Transition)),
    End(Box<Handover>),
    Amend(Box<Claim>),
    Resent(Box<Resent>),
    Quota(AccountName, Box<quota::SavedQuota>),
    InForce(Timestamp, Arc<Schedule>),
}

/// A request to the thread.
#[derive(Debug)]
pub(super) enum WriterRequest {
    Soon(PendingChange),
    Follow(log::LogProgress),
    Claim { cursor: Option<Cursor>, claims: Vec<Claim>, answer: AnswerSender<Claimed> },
    Commit { moves: Vec<(Key, Transition)>, answer: AnswerSender<Vec<Refused>> },
    Pause(EntryName, Pause, AnswerSender<()>),
    Resume(EntryName, AnswerSender<()>),
    Flush(AnswerSender<()>),
    Actions { stack: StackUid, since: Timestamp, listed: Vec<ActionId>, answer: AnswerSender<KnownActions> },
    Prune { before: Timestamp, answer: AnswerSender<Pruned> },
    Close { stopped_at: Timestamp, answer: AnswerSender<()> },
}

/// A prune under way.
struct Pruning {
    before: Timestamp,
    rows: u64,
    answer: AnswerSender<Pruned>,
}

/// The kind of writes that fail. A claim needs more space than a transition, so a successful
/// transition says nothing about claims.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Failing {
    Moves,
    Claims,
}

pub(super) struct Writer<S> {
    store: S,
    inbox: InboxReceiver<WriterRequest>,
    /// Taken from it, and not looked at.
    arrived: VecDeque<WriterRequest>,
    health: watch::Sender<Health>,
    refused: UnboundedSender<Refused>,
    /// The log, which is to tell of an end first.
    log: Option<log::LogProgress>,
    /// The requests to write, in the order of asking.
    batch: Vec<WriterRequest>,
    /// The instant at which the batch is written, unless a request that waits comes first.
    write_at: Option<Instant>,
    /// Arrival of the oldest change that is not written and that nobody waits for.
    changed_at: Option<Instant>,
    failing: Option<Failing>,
    /// The batch's length at which it is looked through again.
    crowded: usize,
    pruning: Option<Pruning>,
}

/// The requests that could not be written and are to be tried again.
struct Left {
    kept: Vec<WriterRequest>,
    error: JournalError,
}

/// Tells whether the thread goes on.
enum WriterNext {
    Continue,
    /// Somebody may wait for the end.
    End(Option<(AnswerSender<()>, Result<(), JournalError>)>),
}

impl<S: Store> Writer<S> {
    pub(super) fn new(
        store: S,
        inbox: InboxReceiver<WriterRequest>,
        health: watch::Sender<Health>,
        refused: UnboundedSender<Refused>,
    ) -> Writer<S> {
        Writer {
            store,
            inbox,
            arrived: VecDeque::new(),
            health,
            refused,
            log: None,
            batch: Vec::new(),
            write_at: None,
            changed_at: None,
            failing: None,
            crowded: SLACK,
            pruning: None,
        }
    }

    /// Serves requests until the journal is closed or every handle is gone.
    pub(super) fn run(mut self) {
        // A burst of sends goes first: what became of it can be written a little later, and claims
        // are made seconds ahead.
        background::yield_to_sends();
        let awaited = loop {
            if let WriterNext::End(awaited) = self.turn() {
                break awaited;
            }
        };
        // Closes the store: another daemon can open it now.
        drop(self);
        if let Some((answer, result)) = awaited {
            let _ = answer.send(result);
        }
    }

    /// Takes in all requests that have arrived, writes those that are due, and prunes a little.
    fn turn(&mut self) -> WriterNext {
        match self.wait() {
            Waited::Gone => {
                // Nobody is there to tell when it fails.
                let _ = self.write();
                return WriterNext::End(None);
            }
            Waited::TimedOut if self.write_at.is_none() && self.pruning.is_none() => {
                self.store.keep_alive();
                return WriterNext::Continue;
            }
            Waited::TimedOut | Waited::Arrived => {}
        }
        if self.batch.is_empty() && self.arrived.is_empty() {
            self.changed_at = None;
        }
        self.arrived.append(&mut self.inbox.take());
        self.let_sends_go_first();
        while let Some(request) = self.arrived.pop_front() {
            match request {
                WriterRequest::Close { stopped_at, answer } => {
                    return WriterNext::End(Some((answer, self.close(stopped_at))));
                }
                WriterRequest::Prune { before, answer } => {
                    self.pruning = Some(Pruning { before, rows: 0, answer });
                }
                WriterRequest::Follow(log) => self.log = Some(log),
                WriterRequest::Soon(change) => {
                    self.write_at.get_or_insert_with(|| Instant::now() + SOON);
                    self.batch.push(WriterRequest::Soon(change));
                }
                waited_for => {
                    self.batch.push(waited_for);
                    self.write_at = Some(Instant::now());
                }
            }
            if self.batch.len() >= GROUP {
                break;
            }
        }
        let group = self.batch.len() >= GROUP && self.failing.is_none();
        if group || self.write_at.is_some_and(|at| at <= Instant::now()) {
            // Told by health, and to those who wait.
            let _ = self.write();
        }
        self.prune();
        WriterNext::Continue
    }

    /// Waits for the end of a burst of sends, if nobody waits for a write. A burst that goes on
    /// holds nothing up after a moment, until all that has arrived meanwhile is written.
    fn let_sends_go_first(&mut self) {
        let since = *self.changed_at.get_or_insert_with(Instant::now);
        if !self.batch.iter().chain(&self.arrived).any(is_awaited) {
            background::let_sends_go_first(since, || !self.inbox.is_awaited());
            self.arrived.append(&mut self.inbox.take());
        }
    }

    /// Waits until there is something to do.
    fn wait(&self) -> Waited {
        match self.write_at {
            _ if !self.arrived.is_empty() => Waited::Arrived,
            _ if self.pruning.is_some() => self.inbox.wait_until(Instant::now()),
            None => self.inbox.wait(self.store.idles_for()),
            Some(at) => self.inbox.wait_until(at),
        }
    }

    /// Writes the batch. What nobody waits for is kept when that fails.
    fn write(&mut self) -> Result<(), JournalError> {
        let batch = std::mem::take(&mut self.batch);
        self.write_at = None;
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(log) = &self.log
            && batch.iter().any(has_end)
        {
            log.catch_up(LOG_BEHIND);
        }
        let is_large = batch.iter().any(is_large);
        match self.write_together(batch) {
            Ok(()) => {
                if is_large {
                    memory::give_back();
                }
                self.crowded = SLACK;
                self.store.tidy();
                Ok(())
            }
            Err(Left { mut kept, error }) => {
                if kept.len() >= self.crowded {
                    kept = without_covered(kept);
                    self.crowded = kept.len() + SLACK;
                }
                self.write_at = (!kept.is_empty()).then(|| Instant::now() + AGAIN);
                self.batch = kept;
                Err(error)
            }
        }
    }

    /// Writes requests as one transaction, or in parts where the store refuses one of them for
    /// good.
    fn write_together(&mut self, batch: Vec<WriterRequest>) -> Result<(), Left> {
        let writes: Vec<Write<'_>> = batch.iter().filter_map(write_of).collect();
        let written = if writes.is_empty() { Ok(Vec::new()) } else { self.store.write(&writes) };
        match written {
            Ok(written) => {
                self.is_well(&batch);
                let mut written = written.into_iter();
                for request in batch {
                    let outcome = if write_of(&request).is_some() { written.next() } else { None };
                    self.answer(request, outcome);
                }
                Ok(())
            }
            Err(error @ JournalError::Unstorable { .. }) => self.write_apart(batch, &error),
            Err(error) => {
                self.is_ill(&batch, &error);
                let kept = batch.into_iter().filter_map(|request| fail(request, &error)).collect();
                Err(Left { kept, error })
            }
        }
    }

    /// Writes in two parts what the store refused as a whole, and sees to what it refuses alone.
    fn write_apart(&mut self, mut batch: Vec<WriterRequest>, error: &JournalError) -> Result<(), Left> {
        let second = batch.split_off(batch.len().div_ceil(2));
        if second.is_empty() {
            return batch.into_iter().try_for_each(|request| self.write_otherwise(request, error));
        }
        match self.write_together(batch) {
            Ok(()) => self.write_together(second),
            // The store cannot be written at all by now.
            Err(Left { mut kept, error }) => {
                self.is_ill(&second, &error);
                kept.extend(second.into_iter().filter_map(|request| fail(request, &error)));
                Err(Left { kept, error })
            }
        }
    }

    /// Sees to a request that the store refuses.
    fn write_otherwise(&mut self, request: WriterRequest, error: &JournalError) -> Result<(), Left> {
        match request {
            WriterRequest::Soon(PendingChange::Step((key, mv))) => {
                let other = mv.in_other_words(UNSTORABLE).filter(|other| *other != mv);
                match other {
                    Some(other) => {
                        self.write_together(vec![WriterRequest::Soon(PendingChange::Step((key, other)))])
                    }
                    None => {
                        let to = mv.state();
                        let _ = self.refused.send(Refused::Unstorable { key, to, error: error.clone() });
                        Ok(())
                    }
                }
            }
            WriterRequest::Soon(PendingChange::End(handover)) => match handover.in_other_words(UNSTORABLE) {
                Some(other) => {
                    self.write_together(vec![WriterRequest::Soon(PendingChange::End(Box::new(other)))])
                }
                None => {
                    let (key, to) = (handover.key, handover.end.state());
                    let _ = self.refused.send(Refused::Unstorable { key, to, error: error.clone() });
                    Ok(())
                }
            },
            // The newest state of a quota comes with the next answer.
            WriterRequest::Soon(PendingChange::Quota(..) | PendingChange::InForce(..)) => Ok(()),
            waited_for => {
                fail(waited_for, error);
                Ok(())
            }
        }
    }

    fn is_well(&mut self, batch: &[WriterRequest]) {
        if self.failing.is_some() && self.failing <= kind(batch) {
            self.failing = None;
            self.health.send_replace(Health::Well);
        }
    }

    fn is_ill(&mut self, batch: &[WriterRequest], error: &JournalError) {
        let Some(kind) = kind(batch) else {
            return;
        };
        self.failing = self.failing.max(Some(kind));
        self.health.send_if_modified(|health| match health {
            Health::Ill { error: known, .. } if known == error => false,
            Health::Ill { error: known, .. } => {
                *known = error.clone();
                true
            }
            Health::Well => {
                *health = Health::Ill { since: Timestamp::now(), error: error.clone() };
                true
            }
        });
    }

    /// Tells that it is on disk. Whoever does not listen any more is not told.
    fn answer(&mut self, request: WriterRequest, written: Option<Written>) {
        match (request, written) {
            (WriterRequest::Soon(_), Some(Written::Steps(refused))) => {
                for refused in refused {
                    let _ = self.refused.send(refused);
                }
            }
            (WriterRequest::Claim { answer, .. }, Some(Written::Claimed(claimed))) => {
                drop(answer.send(Ok(claimed)))
            }
            (WriterRequest::Commit { answer, .. }, Some(Written::Steps(refused))) => {
                drop(answer.send(Ok(refused)))
            }
            (WriterRequest::Actions { stack, since, listed, answer }, _) => {
                drop(answer.send(self.store.actions(&stack, since, &listed)));
            }
            (
                WriterRequest::Pause(.., answer)
                | WriterRequest::Resume(_, answer)
                | WriterRequest::Flush(answer),
                _,
            ) => {
                drop(answer.send(Ok(())));
            }
            _ => {}
        }
    }

    fn prune(&mut self) {
        let Some(mut pruning) = self.pruning.take() else {
            return;
        };
        if pruning.answer.is_closed() {
            return;
        }
        match self.store.prune(pruning.before, STEP) {
            Ok(rows) => {
                pruning.rows += rows;
                self.store.tidy();
                if rows < u64::from(STEP) {
                    let _ = pruning.answer.send(Ok(Pruned { rows: pruning.rows }));
                } else {
                    self.pruning = Some(pruning);
                }
            }
            Err(error) => drop(pruning.answer.send(Err(error))),
        }
    }

    /// Writes that fail at the end are tried a few times more, since nobody else writes them.
    fn close(&mut self, stopped_at: Timestamp) -> Result<(), JournalError> {
        let mut tries = 0;
        loop {
            let written = self.write().and_then(|()| self.store.write(&[Write::Stopped(stopped_at)]));
            match written {
                Err(error) if error.passes() && tries < LAST_TRIES => {
                    tries += 1;
                    std::thread::sleep(LAST_AGAIN);
                }
                written => return written.map(|_| ()),
            }
        }
    }
}

/// Returns the write of a request. `None`: it writes nothing.
fn write_of(request: &WriterRequest) -> Option<Write<'_>> {
    match request {
        WriterRequest::Soon(PendingChange::Step(step)) => Some(Write::Steps(std::slice::from_ref(step))),
        WriterRequest::Soon(PendingChange::End(handover)) => Some(Write::End(handover)),
        WriterRequest::Soon(PendingChange::Amend(claim)) => Some(Write::Amend(claim)),
        WriterRequest::Soon(PendingChange::Resent(resent)) => Some(Write::Resent(resent)),
        WriterRequest::Soon(PendingChange::Quota(account, saved)) => Some(Write::Quota(account, saved)),
        WriterRequest::Soon(PendingChange::InForce(since, schedule)) => {
            Some(Write::InForce(*since, schedule))
        }
        WriterRequest::Claim { cursor, claims, .. } => Some(Write::Claim(*cursor, claims)),
        WriterRequest::Commit { moves, .. } => Some(Write::Steps(moves)),
        WriterRequest::Pause(entry, pause, _) => Some(Write::Pause(entry, pause)),
        WriterRequest::Resume(entry, _) => Some(Write::Resume(entry)),
        WriterRequest::Flush(_)
        | WriterRequest::Follow(_)
        | WriterRequest::Actions { .. }
        | WriterRequest::Prune { .. }
        | WriterRequest::Close { .. } => None,
    }
}

/// Returns true when the request names so many entries that its memory is worth giving back once it
/// is written.
fn is_large(request: &WriterRequest) -> bool {
    matches!(request, WriterRequest::Soon(PendingChange::InForce(_, schedule)) if schedule.entries.len() > GROUP)
}

/// Returns true when somebody waits for the request.
fn is_awaited(request: &WriterRequest) -> bool {
    !matches!(request, WriterRequest::Soon(_) | WriterRequest::Follow(_))
}

/// Returns true when the request writes the end of an occurrence.
fn has_end(request: &WriterRequest) -> bool {
    let is_end =
        |(_, mv): &(Key, Transition)| !matches!(mv, Transition::Waiting { .. } | Transition::Sending { .. });
    match request {
        WriterRequest::Soon(PendingChange::Step(step)) => is_end(step),
        WriterRequest::Soon(PendingChange::End(_)) => true,
        WriterRequest::Commit { moves, .. } => moves.iter().any(is_end),
        _ => false,
    }
}

/// Returns the kind of a batch's writes. `None`: the batch writes nothing, so its success says
/// nothing.
fn kind(batch: &[WriterRequest]) -> Option<Failing> {
    let kinds = batch.iter().filter_map(|request| match request {
        WriterRequest::Claim { .. } => Some(Failing::Claims),
        WriterRequest::Commit { moves, .. } => (!moves.is_empty()).then_some(Failing::Moves),
        WriterRequest::Soon(_) | WriterRequest::Pause(..) | WriterRequest::Resume(..) => Some(Failing::Moves),
        WriterRequest::Flush(_)
        | WriterRequest::Follow(_)
        | WriterRequest::Actions { .. }
        | WriterRequest::Prune { .. }
        | WriterRequest::Close { .. } => None,
    });
    kinds.max()
}

/// Tells those who wait that nothing was written. Gives back what is kept.
fn fail(request: WriterRequest, error: &JournalError) -> Option<WriterRequest> {
    let error = error.clone();
    match request {
        WriterRequest::Soon(_) => return Some(request),
        WriterRequest::Follow(_) => {}
        WriterRequest::Claim { answer, .. } => drop(answer.send(Err(error))),
        WriterRequest::Commit { answer, .. } => drop(answer.send(Err(error))),
        WriterRequest::Actions { answer, .. } => drop(answer.send(Err(error))),
        WriterRequest::Prune { answer, .. } => drop(answer.send(Err(error))),
        WriterRequest::Pause(.., answer)
        | WriterRequest::Resume(_, answer)
        | WriterRequest::Flush(answer)
        | WriterRequest::Close { answer, .. } => drop(answer.send(Err(error))),
    }
    None
}

/// Leaves out the changes that a later one makes needless.
fn without_covered(batch: Vec<WriterRequest>) -> Vec<WriterRequest> {
    let mut later: HashMap<Key, Transition> = HashMap::new();
    let mut accounts: HashSet<AccountName> = HashSet::new();
    let mut kept: Vec<WriterRequest> = batch
        .into_iter()
        .rev()
        .filter(|request| match request {
            WriterRequest::Soon(PendingChange::Step((key, mv))) => {
                let covered = later.get(key).is_some_and(|later| mv.is_covered_by(later));
                later.insert(key.clone(), mv.clone());
                !covered
            }
            WriterRequest::Soon(PendingChange::Quota(account, _)) => accounts.insert(account.clone()),
            _ => true,
        })
        .collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(second: i64, mv: Transition) -> WriterRequest {
        let scheduled_at = Timestamp::from_second(second).expect("a timestamp");
        WriterRequest::Soon(PendingChange::Step((
            Key::new(EntryName::new("a").expect("a name"), scheduled_at),
            mv,
        )))
    }

    fn waiting(attempts: u32, reason: &'static str) -> Transition {
        Transition::Waiting { attempts, reason: reason.into() }
    }

    fn sending(attempts: u32) -> Transition {
        Transition::Sending { attempts, sent_at: Timestamp::UNIX_EPOCH }
    }

    fn quota(limit: u32) -> WriterRequest {
        let saved = quota::SavedQuota { limit, ..quota::SavedQuota::default() };
        WriterRequest::Soon(PendingChange::Quota(AccountName::new("main").expect("a name"), Box::new(saved)))
    }

    #[test]
    fn what_is_kept_does_not_grow_with_repetition() {
        let unknown = Transition::Unknown { error: "lost".to_owned() };
        let mut batch = vec![quota(1)];
        for _ in 0..100 {
            batch.extend([step(1, waiting(0, "quota")), step(1, waiting(0, "overlap")), quota(2)]);
        }
        batch.extend([
            step(2, sending(1)),
            step(2, waiting(1, "retry")),
            step(2, sending(2)),
            // A mistake: it is kept, to be refused and told.
            step(2, waiting(1, "retry")),
            step(2, unknown.clone()),
        ]);
        let kept: Vec<String> = without_covered(batch)
            .into_iter()
            .map(|request| match request {
                WriterRequest::Soon(PendingChange::Step((key, mv))) => {
                    format!("{} {mv:?}", key.scheduled_at().as_second())
                }
                WriterRequest::Soon(PendingChange::Quota(_, saved)) => format!("limit {}", saved.limit),
                _ => "another request".to_owned(),
            })
            .collect();
        let expected = [
            format!("1 {:?}", waiting(0, "overlap")),
            "limit 2".to_owned(),
            format!("2 {:?}", sending(2)),
            format!("2 {:?}", waiting(1, "retry")),
            format!("2 {unknown:?}"),
        ];
        assert_eq!(kept, expected);
    }
}
