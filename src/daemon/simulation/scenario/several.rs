//! The faults of a world in which several daemons share a journal.

use std::time::Duration;

use fastrand::Rng;
use jiff::SignedDuration;

use super::{Act, Scenario};
use crate::schedule::EntryName;

/// Clocks are at most so far apart, in milliseconds.
const APART: i64 = 30_000;

impl Scenario {
    /// Returns the scenario with the same schedule and API for two or three daemons that share a
    /// journal and a file.
    pub(in super::super) fn of_several(seed: u64) -> Scenario {
        let alone = Scenario::of_one(seed);
        let mut rng = Rng::with_seed(seed ^ 0x5e7e);
        let machines = rng.usize(2..=3);
        let apart = match rng.u32(..4) {
            0 => 0,
            1 => rng.i64(0..=APART),
            _ => APART,
        };
        // The API's clock is the latest, the earliest, or between.
        let earliest = rng.choice([-apart, -apart / 2, 0]).unwrap_or(0);
        let clocks = DrawnClocks { earliest, apart };
        let several = Scenario {
            clocks: (0..machines).map(|_| clocks.draw(&mut rng)).collect(),
            apart: Duration::from_millis(apart.unsigned_abs()),
            acts: acts(alone.span, machines, &clocks, &mut rng),
            ..alone
        };
        several.restoring_known_worlds()
    }
}

/// Draws the clocks, in milliseconds ahead of the API's.
struct DrawnClocks {
    earliest: i64,
    apart: i64,
}

impl DrawnClocks {
    fn draw(&self, rng: &mut Rng) -> SignedDuration {
        SignedDuration::from_millis(self.earliest + rng.i64(0..=self.apart))
    }
}

fn acts(span: Duration, machines: usize, clocks: &DrawnClocks, rng: &mut Rng) -> Vec<(Duration, usize, Act)> {
    let count = if rng.u32(..4) == 0 { 0 } else { rng.usize(1..=8) };
    let some = |rng: &mut Rng| {
        let most = if rng.bool() { 8000 } else { 40_000 };
        Duration::from_millis(rng.u64(100..most))
    };
    let name = |rng: &mut Rng| EntryName::new(&format!("e{}", rng.u32(..4))).expect("a name");
    let draw = |rng: &mut Rng| match rng.u32(..20) {
        0 | 1 => Act::Stop(some(rng)),
        2..=4 => Act::Kill { machine: rng.u32(..3) == 0, down: some(rng) },
        5 => Act::SetClock(clocks.draw(rng)),
        6..=8 => Act::Freeze(some(rng)),
        9 => Act::IllDisk(some(rng), rng.bool()),
        10 => Act::HangingDisk(some(rng)),
        11 => Act::Gone(some(rng)),
        12 => Act::CutOff(some(rng)),
        13 => Act::Swallows(some(rng)),
        14 => Act::Unreachable(some(rng)),
        15 => Act::Fire(name(rng)),
        16 => Act::Pause(name(rng), some(rng)),
        17 => Act::Restore { age: some(rng), down: some(rng) },
        18 => Act::Replaced(some(rng)),
        _ => Act::Limit(rng.u32(3..400)),
    };
    let mut acts: Vec<(Duration, usize, Act)> = Vec::new();
    for _ in 0..count {
        // Several in a row, now and then: one member after the other.
        let at = match acts.last() {
            Some(&(at, ..)) if rng.u32(..3) == 0 => at + Duration::from_millis(rng.u64(..4000)),
            _ => Duration::from_millis(rng.u64(..span.as_millis() as u64)),
        };
        acts.push((at.min(span - Duration::from_millis(1)), rng.usize(..machines), draw(rng)));
    }
    acts
}
