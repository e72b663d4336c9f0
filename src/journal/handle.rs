//! A handle on the journal, whatever it is kept in.
//!
//! Requests are taken in the order in which they were made. What somebody waits for is written at
//! once, with all that was recorded before it and whatever else waits by then, as one transaction;
//! what is merely recorded is written soon. So a sync of the disk is shared by all who ask
//! meanwhile, and none stands in the way of a send.

use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{oneshot, watch};

use super::inbox::{self, Hurry};
use super::store::Store;
use super::writer::{AnswerSender, GROUP, PendingChange, Writer, WriterRequest};
use super::{
    Claim, Claimed, Cursor, Handover, Health, JournalError, Key, KnownActions, Pause, Pruned, Recovered,
    Refused, Resent, SendWatermark, Transition,
};
use crate::cloud66::ActionId;
use crate::log;
use crate::quota;
use crate::schedule::{AccountName, EntryName, Schedule, StackUid};

/// A handle on the journal. Its clones are the same journal.
#[derive(Clone, Debug)]
pub struct Journal {
    requests: inbox::InboxSender<WriterRequest>,
    health: watch::Receiver<Health>,
    /// The error for requests after the journal's thread has ended.
    gone: JournalError,
}

/// A journal that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The handle.
    pub journal: Journal,
    /// State that a former daemon left.
    pub recovered: Recovered,
    /// The watermark, which is raised before each send.
    pub mark: SendWatermark,
    /// The records that [`Journal::record`] could not apply. Each is a mistake of the daemon's own,
    /// and is logged.
    pub refused: tokio::sync::mpsc::UnboundedReceiver<Refused>,
}

impl Opened {
    /// Gives a store to a thread of its own, and returns the handle on it.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn new(store: impl Store, recovered: Recovered, mark: SendWatermark) -> io::Result<Opened> {
        let (requests, inbox) = inbox::inbox(GROUP);
        let (tell, health) = watch::channel(Health::Well);
        let (refuse, refused) = tokio::sync::mpsc::unbounded_channel();
        let writer = Writer::new(store, inbox, tell, refuse);
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run())?;
        let journal = Journal { requests, health, gone: JournalError::Closed };
        Ok(Opened { journal, recovered, refused, mark })
    }
}

impl Journal {
    /// Claims occurrences and moves the cursor on, all or nothing, on disk when it returns. The
    /// cursor never moves back.
    ///
    /// Nothing may be sent without it. While the journal is ill, a claim without occurrences finds
    /// out whether it can be written again.
    ///
    /// # Errors
    /// Then nothing is claimed and the cursor stands; ask again when the error
    /// [passes](JournalError::passes).
    pub async fn claim(
        &self,
        cursor: impl Into<Cursor>,
        claims: Vec<Claim>,
    ) -> Result<Claimed, JournalError> {
        let cursor = Some(cursor.into());
        self.ask(|answer| WriterRequest::Claim { cursor, claims, answer }).await
    }

    /// Claims what a person asked for. The cursor tells what is scheduled and stands, wherever the
    /// clock was set meanwhile.
    ///
    /// # Errors
    /// Then nothing is claimed.
    pub(crate) async fn claim_by_hand(&self, claim: Claim) -> Result<Claimed, JournalError> {
        self.ask(|answer| WriterRequest::Claim { cursor: None, claims: vec![claim], answer }).await
    }

    /// Writes moves, on disk when it returns. Returns those that would go back; the others are
    /// applied.
    ///
    /// # Errors
    /// Then none is written.
    pub async fn commit(&self, moves: Vec<(Key, Transition)>) -> Result<Vec<Refused>, JournalError> {
        self.ask(|answer| WriterRequest::Commit { moves, answer }).await
    }

    /// Writes a move soon, after all that was asked for before. Kept and tried again until it can
    /// be written.
    ///
    /// What is kept is bounded by what is claimed: a few moves of each open occurrence.
    pub fn record(&self, key: Key, mv: Transition) {
        self.soon(PendingChange::Step((key, mv)));
    }

    /// Writes soon how an occurrence ends, with what is claimed by that, after all that was asked
    /// for before and before all that is asked for later. Kept and tried again until it can be
    /// written.
    pub fn end(&self, handover: Handover) {
        self.soon(PendingChange::End(Box::new(handover)));
    }

    /// Writes soon what a reload made of a claim that is open, after all that was asked for before
    /// and before all that is asked for later. Kept and tried again until it can be written.
    pub fn amend(&self, claim: Claim) {
        self.soon(PendingChange::Amend(Box::new(claim)));
    }

    /// Writes soon what is kept of an occurrence that was sent again, in the order of asking. Kept
    /// and tried again until it can be written.
    pub fn resent(&self, resent: Resent) {
        self.soon(PendingChange::Resent(Box::new(resent)));
    }

    /// Writes the state of an account's quota soon. Only the newest counts.
    pub fn save_quota(&self, account: AccountName, saved: quota::SavedQuota) {
        self.soon(PendingChange::Quota(account, Box::new(saved)));
    }

    /// Writes soon that the entries of this schedule, and no others, are planned from an instant
    /// on. Kept and tried again until it can be written.
    pub fn in_force(&self, since: Timestamp, schedule: Arc<Schedule>) {
        self.soon(PendingChange::InForce(since, schedule));
    }

    /// Returns when all that was recorded before is on disk.
    pub async fn flush(&self) -> Result<(), JournalError> {
        self.ask(WriterRequest::Flush).await
    }

    /// Remembers that an entry is paused, on these terms from now on. On disk when it returns.
    pub async fn pause(&self, entry: EntryName, pause: Pause) -> Result<(), JournalError> {
        self.ask(|answer| WriterRequest::Pause(entry, pause, answer)).await
    }

    /// Forgets that an entry is paused. On disk when it returns.
    pub async fn resume(&self, entry: EntryName) -> Result<(), JournalError> {
        self.ask(|answer| WriterRequest::Resume(entry, answer)).await
    }

    /// Forgets soon that an entry was paused, as its pause has come to its end. Where that cannot
    /// be written, the pause is at its end for the next process too.
    pub fn ends_pause(&self, entry: EntryName) {
        let (answer, _) = oneshot::channel();
        let _ = self.requests.send(WriterRequest::Resume(entry, answer), Hurry::Soon);
    }

    /// The actions known of a stack, of the occurrences scheduled since then: who looks for the
    /// action of an occurrence in doubt leaves these out, and knows who may own others. What was
    /// recorded before is among them, and so are those of the `listed` actions that are of
    /// occurrences scheduled before `since`.
    pub async fn actions(
        &self,
        stack: StackUid,
        since: Timestamp,
        listed: Vec<ActionId>,
    ) -> Result<KnownActions, JournalError> {
        self.ask(|answer| WriterRequest::Actions { stack, since, listed, answer }).await
    }

    /// Takes away what was scheduled before an instant and is settled, in small steps between other
    /// requests. Stops when it is not waited for any more. The file does not shrink: its free pages
    /// are used again.
    pub async fn prune(&self, before: Timestamp) -> Result<Pruned, JournalError> {
        self.ask(|answer| WriterRequest::Prune { before, answer }).await
    }

    /// Ends the journal in order: writes what was recorded, remembers that nothing was sent after
    /// `stopped_at`, and closes the file. Another daemon can open it when this returns. Later
    /// requests are answered with [`JournalError::Closed`].
    pub async fn close(&self, stopped_at: Timestamp) -> Result<(), JournalError> {
        self.ask(|answer| WriterRequest::Close { stopped_at, answer }).await
    }

    /// From now on the end of an occurrence is written once the log has every line from before it,
    /// unless nobody reads the log.
    pub fn follow(&self, log: log::LogProgress) {
        // A lost request is treated as a lost record is.
        let _ = self.requests.send(WriterRequest::Follow(log), Hurry::Soon);
    }

    /// Returns whether the journal can be written. The value recovers by itself.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    fn soon(&self, change: PendingChange) {
        // Nobody is there to write it after the close, and the daemon is at its end then.
        let _ = self.requests.send(WriterRequest::Soon(change), Hurry::Soon);
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(AnswerSender<T>) -> WriterRequest,
    ) -> Result<T, JournalError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer), Hurry::Now).map_err(|_| self.gone.clone())?;
        answered.await.map_err(|_| self.gone.clone())?
    }
}
