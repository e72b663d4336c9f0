//! The part of the quota's state that survives a restart. Its instants are on the wall clock, since
//! the machine may have been started anew.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::estimate::{Heard, QuotaEstimate};
use super::ledger::{Bucket, QuotaLedger};
use super::limiter::Limiter;
use super::window::{QuotaWindow, SavedWindow};
use super::{Ending, Quota, inner, mono, wall};
use crate::clock::{Mono, Now};
use crate::schedule::QuotaSettings;

/// A ledger is written in about so many pieces at most.
const PIECES: usize = 60;

/// The state of one account's quota, as it is written to the state directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedQuota {
    /// The user whose quota it is: of another user's quota it says nothing. `None` where whoever
    /// wrote it did not say.
    #[serde(default)]
    pub user: Option<String>,
    /// The limit in force.
    pub limit: u32,
    /// The word of the newest answer.
    pub told: Option<SavedTold>,
    /// Told to that process, and not only to one before it.
    #[serde(default)]
    pub confirmed: bool,
    /// Requests in flight, lost, or answered without a Remaining: any of them may have been counted
    /// since.
    pub uncovered: u32,
    /// Requests of the last window, oldest first.
    pub used: Vec<SavedUse>,
    /// The requests among `used` that were no fires.
    pub background: Vec<SavedUse>,
    /// The state of the window.
    pub window: SavedWindow,
    /// The instant before which the server asked for nothing to be sent.
    pub not_before: Option<Timestamp>,
    /// Milliseconds from the quota's last look at the clocks to `not_before`. The wait is no longer
    /// than that, wherever somebody has set the clock since. `None`: nothing is waited for.
    #[serde(default)]
    pub wait_ms: Option<u64>,
    /// The instant at which the quota was first seen to be spent. `None`: it is not spent.
    pub exhausted_since: Option<Timestamp>,
    /// The log says that it is used up.
    pub exhausted: bool,
    /// How far the API's clock was seen ahead of ours lately. Nothing of the quota goes by it.
    #[serde(default)]
    pub clocks: Vec<SavedClock>,
}

/// A difference between the API's clock and ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedClock {
    /// Milliseconds by which the API's clock was ahead of ours.
    pub ahead_ms: i64,
    /// When that was last so, by the API's clock.
    pub until: Timestamp,
}

/// The word of an answer, and the span in which the server counted its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedTold {
    /// `X-RateLimit-Remaining`.
    pub remaining: u32,
    /// Departure of the request.
    pub sent: Timestamp,
    /// Arrival of the answer.
    pub came: Timestamp,
}

/// Requests counted between two instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedUse {
    /// The server counted no request of the bucket earlier.
    pub from: Timestamp,
    /// The server counted no request of the bucket later.
    pub until: Timestamp,
    /// Ours, and counted.
    pub own: u32,
    /// Ours, and perhaps counted.
    pub doubtful: u32,
    /// Others'.
    pub others: u32,
}

impl Quota {
    /// A quota as a former process left it.
    ///
    /// After an end in order, within a window of the newest answer, it goes on as that process
    /// would have: others may have used some of the quota since, but so they may between any two
    /// answers. Otherwise its first request goes alone, as without a saved state.
    pub fn restore(settings: QuotaSettings, saved: SavedQuota, ending: Ending, now: Now) -> Quota {
        let mut quota = Quota::new(settings, now);
        let now = inner(now);
        let past = |at| mono(now, at).min(now.mono);
        if saved.limit > 0 {
            quota.limit = saved.limit;
            quota.limiter = Limiter::new(saved.limit);
        }
        let heard = saved.told.map(|told| Heard {
            sent: past(told.sent),
            came: past(told.came),
            limit: quota.limit,
            remaining: Some(told.remaining),
            refused: false,
        });
        // A clock that was set back makes no answer fresh.
        let fresh = |told: SavedTold| {
            let age = now.wall.duration_since(told.came);
            Duration::try_from(age).is_ok_and(|age| age < settings.window)
        };
        let known = saved.confirmed && saved.told.is_some_and(fresh);
        quota.unconfirmed = ending == Ending::Killed || !known;
        quota.belief = QuotaEstimate::restored(heard, saved.uncovered);
        read(&mut quota.ledger, &saved.used, past);
        read(&mut quota.background, &saved.background, past);
        quota.window = QuotaWindow::restored(settings.window, saved.window, past);
        let longest = saved.wait_ms.map_or(Duration::MAX, Duration::from_millis);
        quota.not_before = saved.not_before.map(|at| mono(now, at).min(now.mono.saturating_add(longest)));
        quota.exhausted_since = saved.exhausted_since.map(past);
        quota.exhausted = saved.exhausted;
        quota.age(now);
        quota
    }

    /// Goes on under other settings. What the API has told stays, and so does what is in flight.
    pub fn resettle(&mut self, settings: QuotaSettings, now: Now) {
        let former = std::mem::replace(&mut self.settings, settings);
        let now = inner(now);
        self.age(now);
        if self.belief.told().is_none() && self.limit == former.limit && settings.limit != former.limit {
            self.limit = settings.limit;
            self.limiter = Limiter::new(settings.limit);
        }
        if settings.window != former.window {
            let saved = self.save();
            let past = |at| mono(now, at).min(now.mono);
            (self.ledger, self.background) =
                (QuotaLedger::new(settings.window), QuotaLedger::new(settings.window));
            read(&mut self.ledger, &saved.used, past);
            read(&mut self.background, &saved.background, past);
            self.window = QuotaWindow::restored(settings.window, saved.window, past);
            self.age(now);
        }
    }

    /// Returns the state for a later process. It is worth saving before a request is sent, and
    /// after each change.
    pub fn save(&self) -> SavedQuota {
        let at = |mono| wall(self.seen, mono);
        SavedQuota {
            user: None,
            limit: self.limit,
            told: self.belief.told().map(|told| SavedTold {
                remaining: told.remaining,
                sent: at(told.sent),
                came: at(told.came),
            }),
            confirmed: !self.unconfirmed,
            uncovered: self.belief.in_flight().saturating_add(self.belief.loose()),
            used: write(&self.ledger, at),
            background: write(&self.background, at),
            window: self.window.save(at),
            not_before: self.not_before.map(at),
            wait_ms: self.not_before.map(|until| until_ms(until.saturating_sub(self.seen.mono))),
            exhausted_since: self.exhausted_since.map(at),
            exhausted: self.exhausted,
            clocks: Vec::new(),
        }
    }
}

/// Milliseconds of a wait, rounded up: a wait that is kept ends no sooner.
fn until_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn read(ledger: &mut QuotaLedger, saved: &[SavedUse], past: impl Fn(Timestamp) -> Mono) {
    for used in saved {
        ledger.add(Bucket {
            from: past(used.from),
            until: past(used.until),
            own: used.own,
            doubtful: used.doubtful,
            others: used.others,
        });
    }
}

fn write(ledger: &QuotaLedger, at: impl Fn(Mono) -> Timestamp) -> Vec<SavedUse> {
    ledger
        .pieces(PIECES)
        .map(|bucket| SavedUse {
            from: at(bucket.from),
            until: at(bucket.until),
            own: bucket.own,
            doubtful: bucket.doubtful,
            others: bucket.others,
        })
        .collect()
}
