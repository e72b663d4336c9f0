//! The wait before an attempt is made again.

use std::time::Duration;

/// The first wait, before its jitter.
const FIRST: Duration = Duration::from_millis(500);

/// No wait is longer: a nightly job should go out soon after the API is back.
const LONGEST: Duration = Duration::from_secs(60);

/// Waits that double, each drawn from the upper half of its range, so that what failed together does not
/// come back together.
pub(super) struct RetryDelay(fastrand::Rng);

impl RetryDelay {
    pub(super) fn new(seed: u64) -> RetryDelay {
        RetryDelay(fastrand::Rng::with_seed(seed))
    }

    /// The wait after so many attempts.
    pub(super) fn after(&mut self, attempts: u32) -> Duration {
        let doubled = FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(16));
        let span = doubled.min(LONGEST);
        span / 2 + span.mul_f64(self.0.f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute() {
        let mut backoff = RetryDelay::new(1);
        for (attempts, most) in [(1, 500), (2, 1000), (3, 2000), (8, 60_000), (u32::MAX, 60_000)] {
            let wait = backoff.after(attempts).as_millis();
            assert!(
                (most / 2..=most).contains(&wait),
                "after {attempts} attempts: {wait} ms, at most {most}"
            );
        }
    }
}
