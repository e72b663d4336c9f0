//! A member's part in one shard: it stands by until the lease is free, takes it, and leads while
//! its beats are kept.
//!
//! The state is pure: it takes in what was found in the database, and when, and returns the next
//! step. The elector asks the database and performs the step.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::{EndedTerm, Identity, SendPermit, TermNumber};
use super::identity::RunId;
use super::lease::{EXPIRES, KnownBeat, LOOK, LeaseWatch, Seen, StandbyAct, VALID};
use super::term::{LeadershipChange, Term};
use crate::clock::{Mono, Now};
use crate::schedule::Shard;

/// A shard that was handed over is not taken back for so long.
const RESTS: Duration = Duration::from_secs(2);

/// A lease as it is in the database.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) seen: Seen,
    pub(crate) holder: Option<RunId>,
    pub(crate) name: Option<String>,
    /// As far as the database knows, nothing that was due after this instant has been sent.
    pub(crate) sends_until: Option<Timestamp>,
}

/// A beat of a leader, and the last one that it knows to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beat {
    pub(crate) number: TermNumber,
    /// A row with an older beat is of a database that has lost this one: an older copy of itself.
    pub(crate) known: i64,
    /// Greater than each that was asked for before.
    pub(crate) next: i64,
}

/// The next step of a member towards a lease that it does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ElectionStep {
    /// Look again after so long.
    Wait(Duration),
    /// Take it, if it is still as it was found.
    Take { lost_until: Option<Timestamp> },
}

/// A shard that this member leads or stands by for.
pub(crate) struct ElectionState {
    /// This process has led: a lease of the process before it in the same state directory is long
    /// another's.
    has_led: bool,
    role: Role,
    watch: LeaseWatch,
    /// The time since which the lease is free.
    free_since: Option<Mono>,
    /// The member takes the lease no earlier than this.
    rests_until: Mono,
    /// The time since which the database looks like an older copy of itself.
    older_since: Option<Mono>,
    /// The lease is being handed over.
    leaves: bool,
    /// By all that this member and its former processes have seen, nothing that is due after this
    /// instant was sent. The instant never falls within one journal.
    sent_until: Option<Timestamp>,
}

/// Role of a member in a shard.
enum Role {
    StandsBy { leader: Option<RunId> },
    Leads(TermNumber, SendPermit, Beats),
}

/// The beats of a leader that are known to be written, and that are asked for.
struct Beats {
    known: KnownBeat,
    asked: i64,
    /// Former terms of whose ends the leader was told.
    ended: BTreeSet<TermNumber>,
}

impl ElectionState {
    pub(crate) fn new() -> ElectionState {
        ElectionState {
            has_led: false,
            role: Role::StandsBy { leader: None },
            watch: LeaseWatch::default(),
            free_since: None,
            rests_until: Mono::ZERO,
            older_since: None,
            leaves: false,
            sent_until: None,
        }
    }

    /// Takes in the instant up to which anybody may have sent, as the state directory knows it.
    pub(crate) fn may_have_sent(&mut self, until: Option<Timestamp>) {
        self.sent_until = self.sent_until.max(until);
    }

    /// Up to when anybody may have sent, by all that was seen. Grows with each beat that is
    /// written, so that a copy of the database from before a beat is known by it. Example: the
    /// clock of the leader is 11 s behind the one of the leader before it, and what it sends is due
    /// long before the end of the former one's permit. A copy from the beginning of its term has
    /// that end as well, and lacks what it has sent.
    pub(crate) fn sent_until(&self) -> Option<Timestamp> {
        self.sent_until
    }

    pub(crate) fn leads(&self) -> bool {
        self.number().is_some()
    }

    /// Returns true when the member leads and is not handing the lease over.
    pub(super) fn stays(&self) -> bool {
        self.leads() && !self.leaves
    }

    /// Returns the number of the term for which the member leads.
    pub(crate) fn number(&self) -> Option<TermNumber> {
        match self.role {
            Role::Leads(number, ..) => Some(number),
            Role::StandsBy { .. } => None,
        }
    }

    /// Decides by what was found, which was answered by now. `former` is the process before this
    /// one in the same state directory: it is dead. A lease beyond one's share is left to others
    /// for as long as one `hesitates`.
    pub(crate) fn consider(
        &mut self,
        found: &Found,
        former: Option<RunId>,
        hesitates: Duration,
        mono: Mono,
    ) -> (ElectionStep, Option<LeadershipChange>) {
        // A database that has come less far than was seen has lost what lies between. That may have
        // been sent.
        let lost_until = self.sent_until.filter(|&until| found.sends_until.is_none_or(|found| found < until));
        self.sent_until = self.sent_until.max(found.sends_until);
        // A leader before the restore may send until its permit ends, whatever the copy says of its
        // lease.
        self.older_since = lost_until.and(self.older_since).or(lost_until.map(|_| mono));
        let settles = self.older_since.is_some_and(|since| mono.saturating_sub(since) < EXPIRES);
        if mono < self.rests_until || settles {
            return (ElectionStep::Wait(LOOK), self.follow(found));
        }
        if !self.has_led && found.holder.is_some() && found.holder == former {
            return (ElectionStep::Take { lost_until }, None);
        }
        if let StandbyAct::Wait(pause) = self.watch.see(found.seen, mono) {
            self.free_since = None;
            return (ElectionStep::Wait(pause), self.follow(found));
        }
        let since = *self.free_since.get_or_insert(mono);
        if mono.saturating_sub(since) < hesitates {
            return (ElectionStep::Wait(LOOK), None);
        }
        (ElectionStep::Take { lost_until }, None)
    }

    /// It was asked for then, and is this member's.
    pub(crate) fn taken(
        &mut self,
        shard: Shard,
        found: &Found,
        number: TermNumber,
        (holder, identity): (RunId, &Identity),
        asked: Now,
    ) -> Term {
        let permit = SendPermit::none_yet();
        permit.extend(asked.mono + VALID, sends_until(asked));
        let beat = found.seen.beat + 1;
        let known_beat = KnownBeat::new(beat);
        let beats = Beats { known: known_beat.clone(), asked: beat, ended: BTreeSet::new() };
        self.role = Role::Leads(number, permit.clone(), beats);
        let until = sends_until(asked).max(self.sent_until.unwrap_or(Timestamp::MIN));
        self.sent_until = grown(found.sends_until, until);
        (self.has_led, self.free_since) = (true, None);
        let sends_until = found.sends_until;
        let identity = identity.clone();
        let sent_up_to = Timestamp::MIN;
        Term { shard, number, holder, known_beat, identity, permit, sends_until, sent_up_to }
    }

    /// It was asked for, and was not as it was found: somebody was faster, or the leader is back.
    pub(crate) fn missed(&mut self) {
        self.free_since = None;
        self.watch.forget();
    }

    /// The beat to ask for next. `None` while it stands by.
    pub(crate) fn beats(&mut self) -> Option<Beat> {
        match &mut self.role {
            Role::Leads(number, _, beats) => {
                beats.asked += 1;
                Some(Beat { number: *number, known: beats.known.get(), next: beats.asked })
            }
            Role::StandsBy { .. } => None,
        }
    }

    /// A beat was asked for then, and these leases are kept by it.
    pub(crate) fn kept(&mut self, numbers: &[i64], asked: Now) -> Option<LeadershipChange> {
        match &mut self.role {
            Role::Leads(number, permit, beats) if numbers.contains(&number.get()) => {
                permit.extend(asked.mono + VALID, sends_until(asked));
                beats.known.reaches(beats.asked);
                self.sent_until = grown(self.sent_until, sends_until(asked));
                None
            }
            Role::Leads(..) => {
                self.steps_down();
                Some(LeadershipChange::Deposed)
            }
            Role::StandsBy { .. } => None,
        }
    }

    /// Terms are over, by the word of their leaders. Returns those of which the leader was not
    /// told, if it leads.
    pub(crate) fn terms_ended(&mut self, ended: &[EndedTerm]) -> Option<LeadershipChange> {
        let Role::Leads(.., beats) = &mut self.role else { return None };
        let new: Vec<EndedTerm> =
            ended.iter().filter(|term| beats.ended.insert(term.number)).copied().collect();
        (!new.is_empty()).then_some(LeadershipChange::TermsEnded(new))
    }

    /// The journal was replaced by another one, or by none: nobody leads.
    pub(crate) fn is_without_journal(&mut self) -> Option<LeadershipChange> {
        let led = self.leads();
        self.steps_down();
        led.then_some(LeadershipChange::Replaced)
    }

    /// Is to be handed over.
    pub(super) fn leaves(&mut self) -> LeadershipChange {
        self.leaves = true;
        LeadershipChange::HandsOver
    }

    /// Gives it up from now on, and leaves it to others for a while.
    pub(crate) fn rests(&mut self, mono: Mono) {
        self.rests_until = mono + RESTS;
        self.steps_down();
    }

    /// The connection is lost, and with it what was seen.
    pub(crate) fn loses_sight(&mut self) {
        self.watch.forget();
        self.free_since = None;
    }

    fn steps_down(&mut self) {
        if let Role::Leads(_, permit, ..) = &self.role {
            permit.revoke();
        }
        self.role = Role::StandsBy { leader: None };
        self.watch.forget();
        (self.free_since, self.leaves) = (None, false);
    }

    /// Tells who leads, when that is somebody else than before.
    fn follow(&mut self, found: &Found) -> Option<LeadershipChange> {
        match (&mut self.role, found.holder) {
            (Role::StandsBy { leader }, Some(holder)) if !found.seen.released && *leader != Some(holder) => {
                *leader = Some(holder);
                Some(LeadershipChange::StandsBy(found.name.clone()))
            }
            _ => None,
        }
    }
}

/// Returns the `sends_until` of a lease after a beat that was asked for with `until`, as the
/// statements compute it.
pub(crate) fn grown(sends_until: Option<Timestamp>, until: Timestamp) -> Option<Timestamp> {
    let next = |was: Timestamp| was.checked_add(SignedDuration::from_micros(1)).unwrap_or(was);
    sends_until.map(next).max(Some(until))
}

/// Returns the instant after which nothing that is due is sent before the next beat.
pub(crate) fn sends_until(asked: Now) -> Timestamp {
    let until = asked.wall.checked_add(VALID).unwrap_or(Timestamp::MAX);
    // The database keeps microseconds. Rounded so, a row that was written for this instant is not
    // older than the instant.
    Timestamp::from_microsecond(until.as_microsecond()).unwrap_or(until)
}

#[cfg(test)]
mod tests {
    use super::super::tables::Tables;
    use super::*;

    /// Takes the lease at a second of the member's clock.
    fn leads(tables: &mut Tables, id: RunId, second: i64) -> ElectionState {
        let mut part = ElectionState::new();
        let wall = Timestamp::from_second(second).expect("an instant");
        let asked = Now { wall, mono: Duration::from_secs(60) };
        let found = tables.look();
        let _ = part.consider(&found, None, Duration::ZERO, asked.mono);
        let until = sends_until(asked).max(part.sent_until().unwrap_or(wall));
        let number = tables.take(found.seen, id, until, None).expect("the lease is as it was seen");
        let identity = tables.identity().clone();
        part.taken(Shard::Common, &found, number, (id, &identity), asked);
        part
    }

    #[test]
    fn a_copy_from_before_a_leader_whose_clock_is_behind_is_an_older_one() {
        let mut tables = Tables::new();
        leads(&mut tables, RunId(1), 1_000_011);
        let copy = tables.clone();
        let behind = leads(&mut tables, RunId(2), 1_000_000);
        assert_eq!(behind.sent_until(), tables.look().sends_until, "as the database has it");
        let mut another = ElectionState::new();
        another.may_have_sent(behind.sent_until());
        let _ = another.consider(&tables.look(), None, Duration::ZERO, Duration::from_secs(60));
        assert_eq!(another.older_since, None);
        let _ = another.consider(&copy.look(), None, Duration::ZERO, Duration::from_secs(60));
        assert!(another.older_since.is_some(), "the second leader may have sent what the copy lacks");
    }
}
