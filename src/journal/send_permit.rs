//! The permit to send: always there for a daemon alone, for a while after each beat for one that
//! holds a lease.
//!
//! While it has run out the loop decides nothing, and a request that was decided before is not
//! sent. Left to chance is a process that is paused between that last look and the first byte on
//! the wire, some ten microseconds: it sends when it wakes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

use jiff::Timestamp;

use crate::clock::{Mono, Now};

/// Whether, and up to which due instant, this process may send. Its clones are the same permit.
#[derive(Clone, Debug, Default)]
pub struct SendPermit(Option<Arc<Granted>>);

#[derive(Debug)]
struct Granted {
    /// End of the permit on the monotonic clock, in nanoseconds.
    until: AtomicU64,
    /// The latest due instant that may be sent, in microseconds since 1970.
    due: AtomicI64,
}

impl SendPermit {
    /// Returns the permit of a daemon whose journal nobody else uses.
    pub(super) fn unlimited() -> SendPermit {
        SendPermit(None)
    }

    /// Returns the permit of a member that does not lead yet.
    pub(crate) fn none_yet() -> SendPermit {
        SendPermit(Some(Arc::new(Granted { until: AtomicU64::new(0), due: AtomicI64::new(i64::MIN) })))
    }

    /// Allows sends for longer.
    pub(super) fn extend(&self, until: Mono, due: Timestamp) {
        if let Some(granted) = &self.0 {
            granted.due.fetch_max(due.as_microsecond(), SeqCst);
            granted.until.fetch_max(until.as_nanos().try_into().unwrap_or(u64::MAX), SeqCst);
        }
    }

    /// Allows nothing any more, for good.
    pub(super) fn revoke(&self) {
        if let Some(granted) = &self.0 {
            granted.until.store(0, SeqCst);
            granted.due.store(i64::MIN, SeqCst);
        }
    }

    /// Returns true when the permit was granted once and has been withdrawn for good.
    pub(super) fn is_revoked(&self) -> bool {
        self.0.as_ref().is_some_and(|granted| granted.until.load(SeqCst) == 0)
    }

    /// Returns true when an occurrence that is due now may be sent now.
    pub fn holds(&self, now: Now) -> bool {
        self.covers(now.wall, now)
    }

    /// Returns true when an occurrence whose sending was decided may still be sent now.
    pub fn lasts(&self, now: Now) -> bool {
        self.0.as_ref().is_none_or(|granted| now.mono.as_nanos() < u128::from(granted.until.load(SeqCst)))
    }

    /// Returns true when an occurrence that was due at `due_at` may be sent now.
    pub fn covers(&self, due_at: Timestamp, now: Now) -> bool {
        let due = |granted: &Arc<Granted>| due_at.as_microsecond() <= granted.due.load(SeqCst);
        self.lasts(now) && self.0.as_ref().is_none_or(due)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_permit_ends_by_the_monotonic_clock_and_at_a_due_instant() {
        let at = |second| Timestamp::from_second(second).expect("an instant");
        let now = |wall, mono| Now { wall: at(wall), mono: Duration::from_secs(mono) };
        let permit = SendPermit::none_yet();
        assert!(!permit.holds(now(100, 10)));
        permit.extend(Duration::from_secs(12), at(102));
        assert!(permit.holds(now(100, 11)));
        assert!(!permit.holds(now(100, 12)), "however the wall clock is set");
        assert!(
            !permit.holds(now(103, 11)),
            "a clock that jumps ahead makes nothing due that was not allowed"
        );
        assert!(permit.covers(at(90), now(100, 11)), "what is late may be sent");
        permit.extend(Duration::from_secs(11), at(101));
        assert!(permit.covers(at(102), now(100, 11)), "an older word takes nothing away");
        permit.revoke();
        assert!(!permit.holds(now(100, 11)));
        assert!(SendPermit::unlimited().holds(now(100, 11)));
    }
}
