//! Vital signs: whether the daemon lives, and whether it fires. An orchestrator asks for them all
//! the time.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// The loop turns once a second at the least. When it has not for so long, it hangs.
const HANGS: Duration = Duration::from_secs(10);

/// A claim takes some milliseconds. When it has not been answered for so long, the disk hangs.
pub(crate) const DISK_HANGS: Duration = Duration::from_secs(10);

/// No claim is being written.
const NONE: u64 = u64::MAX;

/// Value of `clock` while nothing waits for the clock.
const IN_TIME: i64 = i64::MIN;

/// Why the daemon does not live, or does not fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ailment {
    #[error("the loop has not turned for {} s", .0.as_secs())]
    Hangs(Duration),
    #[error("the daemon is stopping: nothing new is started")]
    Stopping,
    #[error("the journal cannot be written: nothing new is started; the log says why (journal.failed)")]
    Journal,
    #[error("the journal has not answered for {} s: nothing new is started", .0.as_secs())]
    Disk(Duration),
    #[error("this member stands by; `stackcron status` says who fires")]
    StandsBy,
    #[error(
        "the clock is behind what it has shown: nothing new is started until it shows {0:.0}; see that time is synchronised"
    )]
    Clock(Timestamp),
    #[error("what is due is not claimed yet")]
    Starting,
}

/// Values that a loop stores for others to read. The loop never waits for a reader.
#[derive(Debug)]
pub(super) struct Vitals {
    since: Instant,
    /// The instant at which the loop last turned, in milliseconds since the process started.
    turned: AtomicU64,
    /// The instant at which the claim that is being written was given to the journal, in
    /// milliseconds since the process started, or [`NONE`].
    claiming: AtomicU64,
    /// True once everything that was due at the start has been claimed.
    fires: AtomicBool,
    journal_ill: AtomicBool,
    /// The instant until which every new occurrence waits for the clock, in seconds since 1970, or
    /// [`IN_TIME`].
    clock: AtomicI64,
    stands_by: AtomicBool,
    stopping: AtomicBool,
    /// Number of the loop's entries that are paused.
    paused: AtomicUsize,
}

impl Vitals {
    pub(super) fn new(now: Instant) -> Vitals {
        Vitals {
            since: now,
            turned: AtomicU64::new(0),
            claiming: AtomicU64::new(NONE),
            fires: AtomicBool::new(false),
            journal_ill: AtomicBool::new(false),
            clock: AtomicI64::new(IN_TIME),
            stands_by: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            paused: AtomicUsize::new(0),
        }
    }

    pub(super) fn turned(&self, now: Instant) {
        self.turned.store(self.ms(now), Relaxed);
    }

    pub(super) fn fires(&self) {
        self.fires.store(true, Relaxed);
    }

    pub(super) fn waits_for_clock(&self, until: Option<Timestamp>) {
        self.clock.store(until.map_or(IN_TIME, Timestamp::as_second), Relaxed);
    }

    pub(super) fn journal(&self, ill: bool) {
        self.journal_ill.store(ill, Relaxed);
    }

    pub(super) fn is_journal_ill(&self) -> bool {
        self.journal_ill.load(Relaxed)
    }

    pub(super) fn paused(&self, paused: usize) {
        self.paused.store(paused, Relaxed);
    }

    pub(super) fn number_paused(&self) -> usize {
        self.paused.load(Relaxed)
    }

    /// Records whether another member leads the shard. A loop that stops standing by begins anew.
    pub(super) fn stands_by(&self, stands_by: bool) {
        self.stands_by.store(stands_by, Relaxed);
        self.fires.store(false, Relaxed);
        self.waits_for_clock(None);
        self.claiming.store(NONE, Relaxed);
        self.paused.store(0, Relaxed);
    }

    pub(super) fn stops(&self) {
        self.stopping.store(true, Relaxed);
    }

    pub(super) fn claims(&self, now: Instant) {
        self.claiming.store(self.ms(now), Relaxed);
    }

    /// The journal has answered. How long that took.
    pub(super) fn claimed(&self, now: Instant) -> Option<Duration> {
        let before = self.claiming.swap(NONE, Relaxed);
        (before != NONE).then(|| self.past(before, now))
    }

    /// Returns the reason why the loop does not turn, if it does not.
    pub(super) fn alive(&self, now: Instant) -> Result<(), Ailment> {
        let still = self.past(self.turned.load(Relaxed), now);
        if still > HANGS { Err(Ailment::Hangs(still)) } else { Ok(()) }
    }

    /// Returns the reason why the loop does not send what comes due, if it does not.
    pub(super) fn ready(&self, now: Instant) -> Result<(), Ailment> {
        self.alive(now)?;
        if self.stopping.load(Relaxed) {
            return Err(Ailment::Stopping);
        }
        if self.stands_by.load(Relaxed) {
            return Err(Ailment::StandsBy);
        }
        if self.journal_ill.load(Relaxed) {
            return Err(Ailment::Journal);
        }
        let claiming = self.claiming.load(Relaxed);
        if claiming != NONE {
            let waits = self.past(claiming, now);
            if waits > DISK_HANGS {
                return Err(Ailment::Disk(waits));
            }
        }
        let clock = self.clock.load(Relaxed);
        if clock != IN_TIME
            && let Ok(until) = Timestamp::from_second(clock)
        {
            return Err(Ailment::Clock(until));
        }
        if self.fires.load(Relaxed) { Ok(()) } else { Err(Ailment::Starting) }
    }

    fn ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.since).as_millis().try_into().unwrap_or(NONE - 1)
    }

    fn past(&self, ms: u64, now: Instant) -> Duration {
        Duration::from_millis(self.ms(now).saturating_sub(ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_hangs_is_neither_alive_nor_ready() {
        let start = Instant::now();
        let vitals = Vitals::new(start);
        vitals.fires();
        vitals.turned(start + Duration::from_secs(5));
        let later = start + Duration::from_secs(15);
        assert_eq!((vitals.alive(later), vitals.ready(later)), (Ok(()), Ok(())), "ten seconds are allowed");
        let later = later + Duration::from_millis(1);
        let hangs = Err(Ailment::Hangs(Duration::from_millis(10_001)));
        assert_eq!((vitals.alive(later), vitals.ready(later)), (hangs, hangs));
        vitals.turned(later);
        assert_eq!((vitals.alive(later), vitals.ready(later)), (Ok(()), Ok(())), "it goes on");
    }

    #[test]
    fn what_does_not_fire_is_alive_and_says_why_it_is_not_ready() {
        let start = Instant::now();
        let vitals = Vitals::new(start);
        assert_eq!(vitals.ready(start), Err(Ailment::Starting));
        vitals.fires();
        assert_eq!(vitals.ready(start), Ok(()));
        vitals.claims(start);
        let later = start + Duration::from_secs(11);
        vitals.turned(later);
        assert_eq!(vitals.ready(later), Err(Ailment::Disk(Duration::from_secs(11))));
        assert_eq!(vitals.claimed(later), Some(Duration::from_secs(11)));
        assert_eq!(vitals.claimed(later), None, "one claim is answered once");
        assert_eq!(vitals.ready(later), Ok(()));
        vitals.journal(true);
        assert_eq!(vitals.ready(later), Err(Ailment::Journal));
        vitals.journal(false);
        vitals.waits_for_clock(Some(Timestamp::UNIX_EPOCH));
        assert_eq!(vitals.ready(later), Err(Ailment::Clock(Timestamp::UNIX_EPOCH)));
        vitals.waits_for_clock(None);
        assert_eq!(vitals.ready(later), Ok(()));
        vitals.stops();
        assert_eq!((vitals.alive(later), vitals.ready(later)), (Ok(()), Err(Ailment::Stopping)));
    }
}
