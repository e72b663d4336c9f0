//! The time for which a member leads a shard, and what a member learns of shards and of others.

use jiff::Timestamp;

use super::super::uuid::Identity;
use super::super::{JournalError, SendPermit};
use super::identity::Id;
use super::lease::{KnownBeat, Number};
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
    pub(super) number: Number,
    pub(super) holder: Id,
    pub(super) known_beat: KnownBeat,
    /// Identity of the journal in which the lease was taken.
    pub(super) identity: Identity,
    /// Number of the term before.
    pub(super) former: Number,
    pub(super) permit: SendPermit,
    /// No former leader sent anything that is due after this instant.
    pub(super) sends_until: Option<Timestamp>,
    /// The watermark of the leader before, where that leader was a former process of this member.
    pub(super) mark: Option<Timestamp>,
}

impl Term {
    /// Returns the number of the term.
    #[cfg(test)]
    pub(crate) fn number(&self) -> Number {
        self.number
    }

    /// The leading member.
    #[cfg(test)]
    pub(crate) fn holder(&self) -> Id {
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

    /// Returns the instant after which nothing that is due was sent before this term. `numbers` are
    /// the terms in which the open occurrences were claimed or last written.
    pub(super) fn sent_up_to(&self, mut numbers: impl Iterator<Item = i64>) -> Option<Timestamp> {
        // The mark of the process before tells of its own claims alone.
        let own = numbers.all(|number| number == self.former.get());
        match (self.sends_until, self.mark) {
            (until, Some(mark)) if own => Some(until.map_or(mark, |until| until.min(mark))),
            (until, _) => until,
        }
    }

    /// Returns this term opened again, with the open occurrences claimed under its own number.
    pub(crate) fn renewed(self) -> Term {
        Term { former: self.number, ..self }
    }
}
