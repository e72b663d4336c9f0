//! All that a run of the simulation depends on.

use std::time::Duration;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use stackcron::clock::{Mono, Now};
use stackcron::schedule::{QuotaSettings, Reserve};

use super::{BOOT, TIMEOUT, WINDOW};

/// The kinds of window a server may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Aligned,
    FirstRequest,
    Rolling,
}

/// All that a run depends on.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub kind: Kind,
    pub limit: u32,
    /// What the limit becomes in the second window.
    pub becomes: Option<u32>,
    /// Of a hundred requests, how many are follow-up if they may.
    pub follow_percent: u32,
    pub reserve: Reserve,
    /// What others use of the limit in a window, in percent, and in how many bursts.
    pub others_percent: u32,
    pub bursts: u32,
    /// Slowest answer; the fastest takes a thousandth of it, but 1 ms at least.
    pub latency: Duration,
    /// Of a thousand requests: how many are lost, how many cannot be sent, how many answers lack the headers.
    pub lost: u32,
    pub unsent: u32,
    pub bare: u32,
    /// Where in its window an aligned server is when the run begins.
    pub phase: Duration,
    /// How far the server's clock is behind ours, in milliseconds.
    pub behind: i64,
    /// A refusal names the instant.
    pub retry_after: bool,
    /// Restarts in the middle of the measured windows, and whether the process is killed each time.
    pub restarts: u32,
    pub killed: bool,
    /// Requests in flight at most.
    pub connections: u32,
}

impl Scenario {
    pub fn from_seed(seed: u64) -> Scenario {
        let mut rng = Rng::with_seed(seed);
        let kind = [Kind::Aligned, Kind::FirstRequest, Kind::Rolling][rng.usize(..3)];
        let limit = match rng.u32(..100) {
            0 => 100_000,
            1..10 => rng.u32(1000..20_000),
            _ => 10f64.powf(1.0 + 2.0 * rng.f64()) as u32,
        };
        let reserve = match rng.u32(..4) {
            0 => Reserve::Requests(0),
            1 => Reserve::Requests(rng.u32(..limit / 4)),
            _ => Reserve::Percent(5.0),
        };
        let latency = Duration::from_secs_f64(10f64.powf(-3.0 + 4.0 * rng.f64()));
        let mut some = |most: u32| if rng.bool() { 0 } else { rng.u32(1..=most) };
        let (others_percent, lost, unsent, bare) = (some(60), some(20), some(50), some(20));
        let becomes = (rng.u32(..4) == 0).then(|| (limit / 2 + rng.u32(..limit)).max(10));
        let follow_percent = if rng.bool() { 0 } else { rng.u32(1..=100) };
        Scenario {
            seed,
            kind,
            limit,
            becomes,
            follow_percent,
            reserve,
            others_percent,
            bursts: rng.u32(1..40),
            latency,
            lost,
            unsent,
            bare,
            phase: Duration::from_millis(rng.u64(..3_600_000)),
            behind: if rng.bool() { 0 } else { rng.i64(-900..900) },
            retry_after: rng.u32(..5) == 0,
            restarts: if seed.is_multiple_of(3) { 10 } else { 0 },
            killed: seed.is_multiple_of(2),
            connections: 1 << rng.u32(..11),
        }
        .with_enough_connections()
    }

    /// Enough connections to use up a window's quota within a tenth of it, at the slowest, so that the quota decides.
    pub fn with_enough_connections(mut self) -> Scenario {
        let limit = self.limit.max(self.becomes.unwrap_or_default());
        let needed = (f64::from(limit) * self.latency.as_secs_f64() * 10.0 / WINDOW.as_secs_f64()).ceil();
        let lost = f64::from(limit) * f64::from(self.lost) / 1000.0 * TIMEOUT.as_secs_f64() * 10.0
            / WINDOW.as_secs_f64();
        self.connections = self.connections.max((needed + lost) as u32 + 1);
        self
    }

    pub fn settings(&self) -> QuotaSettings {
        QuotaSettings { limit: 3600, window: WINDOW, reserve: self.reserve }
    }

    pub fn now(&self, mono: Mono) -> Now {
        let epoch: i64 = 1_700_000_000 / 3600 * 3600;
        let wall = Timestamp::from_second(epoch).expect("a timestamp")
            + SignedDuration::try_from(self.phase + (mono - BOOT)).expect("a short run");
        Now { wall, mono }
    }
}
