//! The lease: who sweeps and sends. A row with a number that grows with each leader, and a beat
//! that grows while it lives.
//!
//! A leader may send for [`VALID`] after it *asked* for a beat that was then committed, by its own
//! monotonic clock. Another member takes the lease when it has seen the same beat for [`EXPIRES`],
//! by *its* monotonic clock: it saw the beat after it was committed, so the leader's permit has
//! ended by then, however the clocks of the members and of the database are set. A row that was
//! handed over is taken at once.
//!
//! A leader may send no more than what is due by an instant in the row (`sends_until`): of what is
//! due later, the next one knows that it was not sent.
//!
//! No advisory lock: it goes with its session, and the end of a session tells nothing of whether
//! its process still sends. It would free the lock too early when a connection is cut, and too late
//! when a machine is.
//!
//! A number, as each statement of a leader names it ([`super::rows`]): to take the lease is to
//! change it, which waits for those that hold the row, and those that come later do nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::Mono;

/// A leader may send for so long after it asked for a beat. Longer than two answers of a database
/// that takes a second for each.
pub(crate) const VALID: Duration = Duration::from_millis(2250);

/// A beat that has not changed for so long is a leader's that may not send any more. What it had
/// decided to send just before has left by then.
pub(super) const EXPIRES: Duration = Duration::from_millis(2450);

/// A leader asks for a beat so often.
pub(crate) const BEAT: Duration = Duration::from_millis(200);

/// Another member looks at the beat so often.
pub(crate) const LOOK: Duration = Duration::from_millis(150);

/// The last beat of a leader that is known to be written. Whoever writes for the leader names it as
/// well as the number: a database that has lost this beat is an older copy of itself, in which the
/// number may be the same.
#[derive(Clone, Debug)]
pub(crate) struct KnownBeat(Arc<AtomicI64>);

impl KnownBeat {
    pub(crate) fn new(beat: i64) -> KnownBeat {
        KnownBeat(Arc::new(AtomicI64::new(beat)))
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn reaches(&self, beat: i64) {
        self.0.store(beat, Ordering::Release);
    }
}

/// The content of the lease's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) number: i64,
    pub(crate) beat: i64,
    /// Handed over by its last holder, or never held.
    pub(crate) released: bool,
}

/// The next act of a stand-by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StandbyAct {
    /// Take the lease, if it is still as it was seen.
    Take,
    /// Look again after so long.
    Wait(Duration),
}

/// The observations of a stand-by.
#[derive(Debug, Default)]
pub(super) struct LeaseWatch {
    since: Option<(Seen, Mono)>,
}

impl LeaseWatch {
    /// Decides by what was seen. `mono` is from after it was answered.
    pub(super) fn see(&mut self, seen: Seen, mono: Mono) -> StandbyAct {
        if seen.released {
            return StandbyAct::Take;
        }
        match self.since {
            Some((before, since)) if before == seen => match (since + EXPIRES).checked_sub(mono) {
                None | Some(Duration::ZERO) => StandbyAct::Take,
                Some(left) => StandbyAct::Wait(left.min(LOOK)),
            },
            _ => {
                self.since = Some((seen, mono));
                StandbyAct::Wait(LOOK)
            }
        }
    }

    /// Begins anew. After a connection was lost, nobody knows how often the beat has changed
    /// meanwhile, nor whether the database has lost the last of them; and the leader gets the time
    /// to connect anew as well.
    pub(super) fn forget(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(beat: i64) -> Seen {
        Seen { number: 1, beat, released: false }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_beat_that_stays_is_taken_over_and_one_that_changes_is_not() {
        let mut watch = LeaseWatch::default();
        assert_eq!(watch.see(seen(1), ms(0)), StandbyAct::Wait(LOOK));
        assert_eq!(watch.see(seen(2), ms(2400)), StandbyAct::Wait(LOOK));
        assert_eq!(
            watch.see(seen(2), ms(4750)),
            StandbyAct::Wait(ms(100)),
            "looks again when it would be over"
        );
        assert_eq!(watch.see(seen(2), ms(4850)), StandbyAct::Take);
        let mut watch = LeaseWatch::default();
        watch.see(seen(2), ms(0));
        watch.forget();
        assert_eq!(
            watch.see(seen(2), ms(9000)),
            StandbyAct::Wait(LOOK),
            "what was seen before a lost connection is no word"
        );
    }

    #[test]
    fn what_is_handed_over_is_taken_at_once() {
        let released = Seen { released: true, ..seen(1) };
        assert_eq!(LeaseWatch::default().see(released, ms(0)), StandbyAct::Take);
    }

    proptest! {
        /// A leader asks for beats, each committed some time after; another looks. Whenever it
        /// takes the lease, the leader's permit is over. The two clocks begin anywhere.
        #[test]
        fn nobody_takes_a_lease_under_which_another_may_send(
            beats in proptest::collection::vec((0_u64..2000, 0_u64..3000), 1..20),
            looks in proptest::collection::vec((1_u64..900, 0_u64..500), 1..100),
            ahead in 0_u64..1_000_000,
        ) {
            let mut committed = Vec::new();
            let mut at = 0;
            for (pause, takes) in beats {
                let asked = at + pause;
                at = asked + takes;
                committed.push((asked, at));
            }
            let mut watch = LeaseWatch::default();
            let mut now = 0;
            for (pause, takes) in looks {
                // The database is read some time before its answer is there.
                let read = now + pause;
                now = read + takes;
                let beats = |at| committed.iter().filter(|&&(_, committed)| committed <= at).count();
                let beat = beats(read);
                // The lease is taken only if it is still as it was seen.
                if watch.see(seen(beat as i64), ms(now + ahead)) == StandbyAct::Take && beats(now) == beat {
                    let valid = committed[..beat].last().map_or(0, |(asked, _)| asked + VALID.as_millis() as u64);
                    prop_assert!(valid <= now, "taken at {now}, and the permit lasts until {valid}");
                    break;
                }
            }
        }
    }
}
