//! When an action of an entry last ended.

use jiff::Timestamp;

/// The last end of an entry's actions, and the last one with success. `None`: the journal has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastEnds {
    /// However it ended.
    pub end: Option<Timestamp>,
    /// With success.
    pub success: Option<Timestamp>,
}

impl LastEnds {
    /// Takes in ends that somebody else knows of: the later one counts.
    pub fn merge(&mut self, other: LastEnds) {
        self.end = self.end.max(other.end);
        self.success = self.success.max(other.success);
    }
}
