//! The messages about a database that is out of reach: each cause when it shows, and not again
//! within ten seconds.
//!
//! A connection that comes and goes would fill the log otherwise: its failure, its end, its
//! failure. An outage whose cause was told a moment ago is told only if it lasts, and the end of
//! one that was not told is not told either.
//!
//! Example: the server refuses certificates at 0 s and has too many clients at 3 s: both are told,
//! once. It is back at 4 s, which is told; it refuses certificates again from 5 s to 6 s, which is
//! not told, and from 8 s to 20 s, which is told at 10 s, and its end at 20 s.

use std::time::Duration;

use super::JournalError;
use crate::clock::Mono;

/// One cause is logged at most once in this time.
const AGAIN: Duration = Duration::from_secs(10);

/// The causes that were logged, and when.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    causes: Vec<(JournalError, Mono)>,
    /// The cause that lasts, where it was told.
    lasts: Option<JournalError>,
}

impl Outage {
    /// Something failed. Returns whether that is to be told.
    pub(crate) fn fails(&mut self, cause: &JournalError, now: Mono) -> bool {
        if self.lasts.as_ref() == Some(cause) {
            return false;
        }
        self.causes.retain(|(_, told)| now.saturating_sub(*told) < AGAIN);
        if self.causes.iter().any(|(known, _)| known == cause) {
            return false;
        }
        self.causes.push((cause.clone(), now));
        self.lasts = Some(cause.clone());
        true
    }

    /// Something succeeded. Returns whether that is to be told.
    pub(crate) fn ends(&mut self) -> bool {
        self.lasts.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(detail: &str) -> JournalError {
        JournalError::Unreachable { address: "postgres://a/b".to_owned(), detail: detail.to_owned() }
    }

    fn at(seconds: u64) -> Mono {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_cause_is_told_when_it_shows_and_a_connection_that_flaps_fills_no_log() {
        let mut outage = Outage::default();
        let (certificate, crowd) = (error("UnknownIssuer"), error("too many clients"));
        assert!(!outage.ends(), "nothing had failed");
        assert!(outage.fails(&certificate, at(0)));
        assert!(!outage.fails(&certificate, at(1)), "it lasts");
        assert!(outage.fails(&crowd, at(3)), "the cause has changed");
        assert!(outage.ends());
        assert!(!outage.fails(&certificate, at(5)), "it was told a moment ago");
        assert!(!outage.ends(), "nor is its end told");
        assert!(!outage.fails(&certificate, at(8)));
        assert!(outage.fails(&certificate, at(10)), "it lasts all the same");
        assert!(!outage.fails(&certificate, at(100)));
        assert!(outage.ends());
    }
}
