//! A clock that is set back and forth by seconds to days, with restarts between, under entries that
//! are due by the minute or once a day.

use std::time::Duration;

use fastrand::Rng;
use jiff::SignedDuration;

use super::{Act, DAY, Due, File, Scenario, SimulatedEntry};

/// In milliseconds.
const HOUR: i64 = 3_600_000;

impl Scenario {
    /// Returns the run with another clock. Its entries are due less often, because a clock that is
    /// set forward by a day brings a day's occurrences at once.
    pub(super) fn with_clocks_by_days(seed: u64) -> Scenario {
        let alone = Scenario::of_one(seed);
        let mut rng = Rng::with_seed(seed ^ 0xda75);
        let rng = &mut rng;
        let start = alone.start.as_second();
        let span = i64::try_from(alone.span.as_secs()).unwrap_or(i64::MAX);
        let mut files = Vec::new();
        for file in alone.files {
            let accounts = file.schedule.accounts.clone();
            files.push(File::new(
                &accounts,
                file.lines.into_iter().map(|line| seldom(line, start, span)).collect(),
            ));
        }
        let mut acts: Vec<(Duration, usize, Act)> = alone.acts;
        acts.retain(|(.., act)| !matches!(act, Act::SetClock(_)));
        for _ in 0..rng.usize(1..=4) {
            let at = Duration::from_millis(rng.u64(..alone.span.as_millis() as u64));
            acts.push((at, 0, Act::SetClock(by(rng))));
            if rng.bool() {
                let (after, down) = (rng.u64(..3000), rng.u64(100..8000));
                let down = Duration::from_millis(down);
                let ends = match rng.bool() {
                    true => Act::Stop(down),
                    false => Act::Kill { machine: rng.u32(..4) == 0, down },
                };
                let at = (at + Duration::from_millis(after)).min(alone.span - Duration::from_millis(1));
                acts.push((at, 0, ends));
            }
        }
        let mut rng = Rng::with_seed(seed ^ 0xfa57);
        if rng.u32(..3) == 0 {
            acts.extend(fast_until_killed(alone.span, &mut rng));
        }
        Scenario { files, acts, ..alone }.restoring_known_worlds()
    }
}

/// The clock is fast for a while. The daemon is killed, the clock is set right, and the next
/// process starts when the clock shows what it has shown before: it finds attempts that left
/// earlier by the API than the journal has it.
fn fast_until_killed(span: Duration, rng: &mut Rng) -> [(Duration, usize, Act); 3] {
    let fast = Duration::from_secs(rng.u64(7..60));
    let killed_after = Duration::from_millis(rng.u64(1000..20_000));
    let down = fast + Duration::from_millis(rng.u64(..10_000));
    let left = span.saturating_sub(killed_after + down).max(Duration::from_secs(1));
    let at = Duration::from_millis(rng.u64(..left.as_millis() as u64));
    let killed = (at + killed_after).min(span - Duration::from_millis(2));
    let by = SignedDuration::try_from(fast).unwrap_or(SignedDuration::ZERO);
    [
        (at, 0, Act::SetClock(by)),
        (killed, 0, Act::Kill { machine: rng.bool(), down }),
        (killed + Duration::from_millis(1), 0, Act::SetClock(by)),
    ]
}

/// By how much a clock is wrong.
fn by(rng: &mut Rng) -> SignedDuration {
    let ms = match rng.u32(..6) {
        0 => rng.i64(500..60_000),
        1 => rng.i64(60_000..120_000),
        2 => rng.i64(120_000..HOUR),
        3 => rng.i64(HOUR..3 * HOUR),
        4 => rng.i64(3 * HOUR..12 * HOUR),
        _ => rng.i64(12 * HOUR..26 * HOUR),
    };
    SignedDuration::from_millis(if rng.u32(..3) == 0 { ms } else { -ms })
}

/// The entry, due by the minute or once a day, within the run.
fn seldom(line: SimulatedEntry, start: i64, span: i64) -> SimulatedEntry {
    let Due { period, phase } = line.due;
    let due = match period {
        0 => line.due,
        1..=5 => Due { period: DAY, phase: (start + (7 * period + 13 * phase) % span).rem_euclid(DAY) },
        6..=59 => Due { period: 60, phase: [0, 1, 30][(phase % 3) as usize] },
        _ => line.due,
    };
    SimulatedEntry { due, ..line }.timed()
}
