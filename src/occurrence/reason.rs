//! Why an occurrence waits, is missed or is skipped.

use std::fmt;
use std::str::FromStr;

/// The reason of a state, as the log, the journal, the metrics and `status` name it. The words are
/// an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Waits, or is missed: no quota was left.
    Quota,
    /// Waits, or is skipped: the entry's last action has not finished.
    Overlap,
    /// Waits: the attempt before had no effect and is repeated.
    Retry,
    /// Waits, is missed or is skipped: the stack was being deployed.
    Deploying,
    /// Waits, is missed or is skipped: the stack was in maintenance.
    Maintenance,
    /// Waits, is missed or is skipped: the job was paused in Cloud 66.
    PausedRemotely,
    /// Waits in the journal, or is missed: nobody looked when the occurrence was due.
    Down,
    /// Is missed: `start_deadline` passed.
    Deadline,
    /// Is missed: a newer occurrence of the entry goes in its place.
    Superseded,
    /// Is missed: the clock was set forward over its instant.
    Clock,
    /// Is skipped: somebody paused the entry.
    Paused,
    /// Is skipped: the occurrence falls on a calendar of its entry.
    Calendar,
    /// Is skipped: the schedule has the entry no more.
    Removed,
    /// Is skipped: the entry that it comes after did not end as it should.
    Upstream,
}

/// A word that names no reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the word of a reason")]
pub struct UnknownReason;

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 14] = [
        Reason::Quota,
        Reason::Overlap,
        Reason::Retry,
        Reason::Deploying,
        Reason::Maintenance,
        Reason::PausedRemotely,
        Reason::Down,
        Reason::Deadline,
        Reason::Superseded,
        Reason::Clock,
        Reason::Paused,
        Reason::Calendar,
        Reason::Removed,
        Reason::Upstream,
    ];

    /// The word that operators know the reason by.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Quota => "quota",
            Reason::Overlap => "overlap",
            Reason::Retry => "retry",
            Reason::Deploying => "deploying",
            Reason::Maintenance => "maintenance",
            Reason::PausedRemotely => "paused_remotely",
            Reason::Down => "down",
            Reason::Deadline => "deadline",
            Reason::Superseded => "superseded",
            Reason::Clock => "clock",
            Reason::Paused => "paused",
            Reason::Calendar => "calendar",
            Reason::Removed => "removed",
            Reason::Upstream => "upstream",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(word: &str) -> Result<Reason, UnknownReason> {
        Reason::ALL.into_iter().find(|reason| reason.as_str() == word).ok_or(UnknownReason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_names_its_reason() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
        }
        assert_eq!("turn".parse::<Reason>(), Err(UnknownReason));
    }
}
