//! A reading of the journal, which serves the statuses of a moment.

use jiff::Timestamp;
use tokio::time::Instant;

use crate::journal::{Lately, Record};

/// A reading of the journal.
#[derive(Clone)]
pub(super) struct JournalReading {
    pub(super) since: Timestamp,
    pub(super) lately: Lately,
    /// The newest occurrences of their entries that a person should look into.
    pub(super) unresolved: Vec<Record>,
    /// The next status reads the journal anew after this instant.
    pub(super) good_until: Instant,
}
