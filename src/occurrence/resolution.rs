//! The resolution of an attempt in doubt, by the stack's actions.

use std::fmt;

/// The resolution of an attempt in doubt, as `occurrence.reconciled` names it. The words are an
/// interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The attempt started an action.
    Started,
    /// The attempt had no effect.
    NotStarted,
    /// Nothing can tell.
    Unknown,
}

impl Resolution {
    /// The word that operators know the resolution by.
    pub const fn as_str(self) -> &'static str {
        match self {
            Resolution::Started => "started",
            Resolution::NotStarted => "not_started",
            Resolution::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
