//! The leader of a shard, as a member that stands by has seen it: for people, who ask why nothing
//! is sent here.
//!
//! A lease's row names who took it last, and does not say whether that one lives. A beat does,
//! which a leader changes five times a second. So somebody leads whose beat was seen to change a
//! moment ago, and nobody leads where the beat stays as it is. When the leader before was last
//! there is known from what this member has seen itself, and otherwise from the row, which tells
//! how far the leader was permitted to send.
//!
//! ```text
//! 10:00:00.0  a member starts. The row is of host-a/71, which may send until 09:12:03: host-a/71 led until 09:12:01
//! 10:00:02.5  the beat has not changed: the member takes the lease, and leads
//! 11:30:00.0  another one has taken over, and its beat changes: that one leads
//! 11:45:00.0  the database is gone: who led until 11:45:00 is known, and whether anybody leads is not
//! ```

use std::fmt;

use jiff::Timestamp;

use super::election_state::Found;
use super::lease::{EXPIRES, LOOK, Seen, VALID};
use crate::clock::{Mono, Now};

/// A beat that was seen to change is a living leader's for so long: until a stand-by takes the
/// lease, and one look more.
const FRESH: Mono = EXPIRES.saturating_add(LOOK);

/// A member that led, and when it was last there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastLeader {
    /// Host and process id.
    pub member: String,
    /// By this machine's clock where this member has seen the beat change, and otherwise by the
    /// leader's.
    pub seen_at: Timestamp,
}

/// Tells whether anybody leads, ordered from no concern to one that needs a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leads {
    /// The last leader lives.
    Lives,
    /// This member has the lease, and reads the journal.
    Own,
    /// The database is out of reach.
    Unknown,
    /// Nobody does.
    Nobody,
    /// Nobody does, and this member does not because its clock is too far from the database's.
    NobodyForTheClock,
}

/// The leadership of a shard, as far as this member knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// Tells whether anybody leads now.
    pub leads: Leads,
    /// The last leader. `None`: nobody has led yet, or this member has not seen the lease.
    pub last: Option<LastLeader>,
}

impl Leadership {
    /// Returns the one of two shards that needs more attention: nobody leads it, or its leader is
    /// unknown.
    pub(crate) fn or_worse(self, other: Leadership) -> Leadership {
        if other.leads > self.leads { other } else { self }
    }
}

impl fmt::Display for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.last.as_ref();
        let last_seen = match last {
            Some(LastLeader { member, seen_at }) => format!("{member} was last seen leading at {seen_at:.0}"),
            None => "nobody has been seen leading".to_owned(),
        };
        match (self.leads, last) {
            (Leads::Lives, Some(LastLeader { member, .. })) => {
                write!(f, "this member stands by: {member} fires")
            }
            (Leads::Lives, None) => write!(f, "this member stands by: another one fires"),
            (Leads::Own, _) => write!(f, "this member takes over: it reads what the journal has open"),
            (Leads::Nobody, _) => {
                write!(f, "nobody fires: {last_seen}; this member takes over once the lease is free")
            }
            (Leads::NobodyForTheClock, _) => write!(
                f,
                "nobody fires: {last_seen}; this member does not take over, as its clock is more than 10 s from the database's: \
                 see that time is synchronised on both"
            ),
            (Leads::Unknown, _) => write!(
                f,
                "this member stands by and cannot see who fires, as the journal is out of reach: {last_seen}; the log says why \
                 (lease.unreachable)"
            ),
        }
    }
}

/// A shard's lease as a member has seen it.
#[derive(Clone, Debug, Default)]
pub(super) struct Sighting {
    /// The lease at the last look. `None`: it was not looked at since the connection was made.
    lease: Option<Seen>,
    /// The time at which the beat was last seen to change.
    beat_at: Option<Mono>,
    last: Option<LastLeader>,
    is_own: bool,
    /// This member's clock is too far from the database's for it to lead.
    is_clock_off: bool,
}

impl Sighting {
    /// Takes in a look at the lease. `is_own`: this member has it.
    pub(super) fn sees(&mut self, found: &Found, is_own: bool, is_clock_off: bool, now: Now) {
        (self.is_own, self.is_clock_off) = (is_own, is_clock_off);
        let before = self.lease.replace(found.seen);
        let by_row = found.sends_until.and_then(|until| until.checked_sub(VALID).ok());
        let by_row = by_row.unwrap_or(now.wall).min(now.wall);
        let seen_at = match before {
            _ if found.seen.released => by_row,
            Some(before) if before == found.seen => return,
            Some(_) => now.wall,
            // It may have been a second ago, by a clock that is off by a second.
            None => by_row,
        };
        let lives = !found.seen.released
            && (before.is_some() || now.wall.duration_since(seen_at).unsigned_abs() < FRESH);
        self.beat_at = lives.then_some(now.mono);
        if let Some(member) = &found.name {
            self.last = Some(LastLeader { member: member.clone(), seen_at });
        }
    }

    /// This member has taken the lease.
    pub(super) fn takes(&mut self) {
        self.is_own = true;
    }

    /// The connection is lost.
    pub(super) fn loses_sight(&mut self) {
        (self.lease, self.beat_at, self.is_own) = (None, None, false);
    }

    /// Returns who leads now, by this sighting.
    pub(super) fn leadership(&self, mono: Mono) -> Leadership {
        let leads = match self.beat_at {
            _ if self.lease.is_none() => Leads::Unknown,
            _ if self.is_own => Leads::Own,
            Some(at) if mono.saturating_sub(at) < FRESH => Leads::Lives,
            _ if self.is_clock_off => Leads::NobodyForTheClock,
            _ => Leads::Nobody,
        };
        Leadership { leads, last: self.last.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn now(seconds: u64) -> Now {
        let wall = "2026-11-30T10:00:00Z".parse::<Timestamp>().expect("an instant");
        Now { wall: wall + Duration::from_secs(seconds), mono: Duration::from_secs(seconds) }
    }

    fn lease(beat: i64, sends_until: &str) -> Found {
        let seen = Seen { number: 7, beat, released: false };
        let sends_until = sends_until.parse().expect("an instant");
        Found { seen, holder: None, name: Some("host-a/71".to_owned()), sends_until: Some(sends_until) }
    }

    fn told(sighting: &Sighting, seconds: u64) -> String {
        sighting.leadership(now(seconds).mono).to_string()
    }

    #[test]
    fn a_stand_by_says_that_nobody_fires_and_who_was_last_seen_to() {
        let mut sighting = Sighting::default();
        assert_eq!(
            told(&sighting, 0),
            "this member stands by and cannot see who fires, as the journal is out of reach: nobody has been seen leading; the log \
             says why (lease.unreachable)"
        );
        let dead = lease(1, "2026-11-30T09:12:03.25Z");
        let nobody = "nobody fires: host-a/71 was last seen leading at 2026-11-30T09:12:01Z; this member takes over once the lease is free";
        sighting.sees(&dead, false, false, now(0));
        assert_eq!(told(&sighting, 0), nobody, "by the row");
        sighting.sees(&dead, false, false, now(1));
        assert_eq!(told(&sighting, 1), nobody, "the beat stays as it is");
        sighting.sees(&dead, false, true, now(1));
        assert!(told(&sighting, 1).contains("see that time is synchronised"), "{}", told(&sighting, 1));
        sighting.sees(&lease(2, "2026-11-30T10:00:04Z"), false, false, now(2));
        assert_eq!(told(&sighting, 2), "this member stands by: host-a/71 fires");
        assert!(
            told(&sighting, 5)
                .starts_with("nobody fires: host-a/71 was last seen leading at 2026-11-30T10:00:02Z")
        );
        sighting.loses_sight();
        assert!(told(&sighting, 6).contains("host-a/71 was last seen leading at 2026-11-30T10:00:02Z"));
        sighting.sees(&lease(9, "2026-11-30T10:00:09Z"), false, false, now(8));
        assert_eq!(told(&sighting, 8), "this member stands by: host-a/71 fires", "it was there a second ago");
        sighting.takes();
        assert_eq!(told(&sighting, 8), "this member takes over: it reads what the journal has open");
    }
}
