//! The time for which a member leads a shard, and what a member learns of shards and of others.

use jiff::Timestamp;

use super::super::uuid::Identity;
use super::super::{EndedTerm, JournalError, Key, Reached, Recovered, SendPermit, TermNumber};
use super::identity::RunId;
use super::lease::KnownBeat;
use crate::schedule::Shard;

/// The data about a member that the others read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Host and process id.
    pub name: String,
    /// Version of the member's program.
    pub version: String,
    /// Fingerprint of the member's schedule file.
    pub schedule: String,
    /// The entries in it.
    pub entries: usize,
}

/// A change of a shard's leadership, for the member.
#[derive(Debug)]
pub enum LeadershipChange {
    /// The member leads from now on. No other member sends.
    Leads(Term),
    /// The journal is gone, or another one is in its place: nobody leads.
    Replaced,
    /// Another one leads: this one had not beaten for too long. What it had in hand is the other's
    /// now.
    Deposed,
    /// The member has more shards than others, and is to hand this one over.
    HandsOver,
    /// Terms before this one are over, and their leaders say how far they have sent.
    TermsEnded(Vec<EndedTerm>),
    /// Another one leads, of this name if it is known, and this one stands by.
    StandsBy(Option<String>),
}

/// An event for the member that concerns no single shard.
#[derive(Debug)]
pub enum MemberEvent {
    /// The database is out of reach. A leader goes on with what its permit covers.
    Unreachable(JournalError),
    /// The journal that the state directory knows is gone, or another one is in its place. Nobody
    /// leads until it is back.
    Replaced {
        /// The place of the journal.
        journal: String,
        /// The identity of the journal that was seen last.
        known: Identity,
        /// The identity of what is there now. `None`: no journal is there.
        found: Option<Identity>,
    },
    /// The database is back.
    Reachable,
    /// A member's schedule file is not the leader's, which counts.
    Differs {
        /// Whose.
        member: String,
        /// Fingerprint of this member's file.
        schedule: String,
        /// The leading member.
        leader: String,
        /// Fingerprint of the leader's file.
        leader_schedule: String,
    },
    /// This machine's clock is off from the database's.
    ClockOff {
        /// Milliseconds by which this machine's clock is ahead.
        by_ms: i64,
    },
}

/// A time for which a member leads a shard.
#[derive(Clone, Debug)]
pub struct Term {
    pub(super) shard: Shard,
    pub(super) number: TermNumber,
    pub(super) holder: RunId,
    pub(super) known_beat: KnownBeat,
    /// Identity of the journal in which the lease was taken.
    pub(super) identity: Identity,
    pub(super) permit: SendPermit,
    /// No former leader sent anything that is due after this instant.
    pub(super) sends_until: Option<Timestamp>,
    /// Before the journal was opened for the term, nothing was sent under it that is due after this
    /// instant.
    pub(super) sent_up_to: Timestamp,
}

impl Term {
    /// Returns the number of the term.
    pub(crate) fn number(&self) -> TermNumber {
        self.number
    }

    /// The leading member.
    #[cfg(test)]
    pub(crate) fn holder(&self) -> RunId {
        self.holder
    }

    /// The last beat that is known to be written.
    #[cfg(test)]
    pub(crate) fn known_beat(&self) -> &KnownBeat {
        &self.known_beat
    }

    /// Whether, and up to which due instant, its leader may send.
    #[cfg(test)]
    pub(crate) fn permit(&self) -> &SendPermit {
        &self.permit
    }

    /// Returns true when the term has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.permit.is_revoked()
    }

    /// Returns the end of a term for which the journal could not be opened, so that nothing was
    /// sent since it began, or since it was renewed.
    pub(crate) fn unopened(&self) -> EndedTerm {
        EndedTerm { number: self.number, sent_up_to: self.sent_up_to }
    }

    /// Returns this term, to be opened again. Nothing was sent under it that is due after
    /// `sent_up_to`.
    pub(crate) fn renewed(self, sent_up_to: Timestamp) -> Term {
        Term { sent_up_to, ..self }
    }

    /// Tells of each claim that a former leader left whether it was sent: not, where the leaders
    /// were permitted to send no more than this, or where the term is over in which alone it can
    /// have been sent, and that term's leader has not come to it. `number` returns the term in
    /// which a row was written last.
    ///
    /// Returns the claims that were not sent and have another term's number: they are to have this
    /// one's before they are sent.
    pub(super) fn sorts_out(
        &self,
        recovered: &mut Recovered,
        ended: &[EndedTerm],
        number: impl Fn(&Key) -> TermNumber,
    ) -> Vec<Key> {
        let permitted = recovered.stopped_at.into_iter().chain(recovered.sent_up_to).min();
        let older_until = recovered.older_until;
        let mut taken_over = Vec::new();
        for open in recovered.open.iter_mut().filter(|open| open.reached == Reached::Due) {
            let (due_at, claimed_in) = (open.claim.due_at, number(&open.claim.key));
            let by_word = ended.iter().any(|term| term.leaves_out(claimed_in, due_at, older_until));
            if permitted.is_some_and(|permitted| due_at > permitted) || by_word {
                open.reached = Reached::Unsent;
                if claimed_in != self.number {
                    taken_over.push(open.claim.key.clone());
                }
            } else {
                open.may_have_been_sent_in = Some(claimed_in);
            }
        }
        taken_over
    }
}
