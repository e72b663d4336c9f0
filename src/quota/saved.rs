//! What of the quota survives a restart, on the wall clock.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The state of one account's quota, as it is written to the state directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The limit in force.
    pub limit: u32,
    /// What the newest answer told.
    pub told: Option<SavedTold>,
    /// Requests in flight, lost, or answered without a Remaining: any of them may have been counted since.
    pub uncovered: u32,
    /// Requests of the last window, oldest first.
    pub used: Vec<SavedUse>,
    /// Nothing is sent before: the server said so.
    pub not_before: Option<Timestamp>,
    /// When the quota was first seen to be used up, if it is.
    pub exhausted_since: Option<Timestamp>,
}

/// What an answer told, and between which instants the server counted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedTold {
    pub remaining: u32,
    pub sent: Timestamp,
    pub came: Timestamp,
}

/// Requests counted between two instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedUse {
    pub from: Timestamp,
    pub until: Timestamp,
    pub own: u32,
    pub others: u32,
}
