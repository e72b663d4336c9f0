//! Compares the schedule file on disk with the schedule in force. The reload writes the result
//! here; `status` and the page read it.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

/// Clones share one value.
#[derive(Clone, Debug)]
pub struct OnDisk(Arc<Mutex<LoadedFile>>);

/// The schedule file as it was read last.
#[derive(Clone, Debug)]
pub(crate) struct LoadedFile {
    /// The instant at which the schedule in force was read.
    pub(crate) in_force_since: Timestamp,
    /// `None`: the schedule in force is what the file has.
    pub(crate) unused: Option<NotInUse>,
}

/// A file that is wrong or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotInUse {
    pub(crate) since: Timestamp,
    /// The first thing that is wrong.
    pub(crate) first: String,
}

impl OnDisk {
    /// The file was read at `now`, and is fired.
    pub fn in_use(now: Timestamp) -> OnDisk {
        OnDisk(Arc::new(Mutex::new(LoadedFile { in_force_since: now, unused: None })))
    }

    /// The file as it is now is fired from now on.
    pub fn taken_over(&self, now: Timestamp) {
        self.set(|seen| *seen = LoadedFile { in_force_since: now, unused: None });
    }

    /// The file as it is now cannot be fired. What was wrong with it before is wrong since then.
    pub fn refused(&self, first: String, now: Timestamp) {
        self.set(|seen| {
            let since = seen.unused.take().map_or(now, |unused| unused.since);
            seen.unused = Some(NotInUse { since, first });
        });
    }

    pub(crate) fn seen(&self) -> LoadedFile {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, change: impl FnOnce(&mut LoadedFile)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
