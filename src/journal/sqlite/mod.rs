//! The journal in one SQLite file, for one daemon.

mod columns;
mod file;
mod history;
mod lately;
mod rows;
mod schema;
mod transfer;

use std::path::Path;

use super::directory::Lock;
use super::elsewhere;
use super::identity::{KnownJournal, WhenReplaced};
use super::summary::JournalSummary;
use super::{Journal, JournalError, Opened, SendPermit, SendWatermark};
use crate::schedule::Shard;

pub use file::FILE_NAME;
pub use history::{read_history, read_in_force};
pub use lately::{last_ends, read_lately, read_pauses, read_records};
pub(super) use transfer::IdleFile;

/// Returns the facts that decide whether the journal in a file may be left or entered. `None`:
/// there is no journal.
pub(super) fn summary(path: &Path) -> Result<Option<JournalSummary>, JournalError> {
    file::summary(path)
}

/// Finds that the journal at this place is the one that the state directory knows, or may take the
/// place of that one.
fn may_open(
    known: &KnownJournal,
    found: Option<&JournalSummary>,
    location: &str,
) -> Result<(), JournalError> {
    if let Some(moved_to) = found.and_then(|found| found.moved_to.clone()) {
        return Err(JournalError::Moved { location: location.to_owned(), moved_to });
    }
    match known.seen() {
        Some(seen) if found.map(|found| &found.identity) != Some(&seen.identity) => {
            elsewhere::may_enter(seen, location, found)
        }
        _ => Ok(()),
    }
}

impl Journal {
    /// Opens the journal in a state directory, and makes both where there is none. Blocks.
    ///
    /// # Errors
    /// When another daemon has it, or it cannot be used as it is: see [`JournalError`].
    /// The journal's file is not changed then.
    pub fn open(directory: &Path) -> Result<Opened, JournalError> {
        Journal::open_or_begin(directory, WhenReplaced::Refuse)
    }

    /// Opens the journal in a state directory, as [`Journal::open`]. `when` tells what to do where
    /// the journal is not the one that the directory knows. A file that is left for a new one is
    /// kept beside it, under a name with its identity.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_or_begin(directory: &Path, when: WhenReplaced) -> Result<Opened, JournalError> {
        let mut lock = Lock::take(directory)?;
        let io = |error| JournalError::io(directory, &error);
        let path = std::path::absolute(directory.join(FILE_NAME)).map_err(io)?;
        let location = path.display().to_string();
        let mut known = KnownJournal::open(directory).map_err(io)?;
        let found = summary(&path)?;
        match may_open(&known, found.as_ref(), &location) {
            Err(_) if when == WhenReplaced::BeginAnew => {
                file::set_aside(&path, found.as_ref())?;
                known.forget();
            }
            opens => opens?,
        }
        file::make(&mut lock, &path)?;
        let db = file::connect(&path, schema::MIGRATIONS)?;
        let identity = file::identity(&db, &path)?;
        known.sees(&identity, &location).map_err(io)?;
        let mut rows = rows::SqliteRows::new(db, path.clone(), lock);
        let mut recovered = rows.recover()?;
        let (mark, sent_up_to) = SendWatermark::open(directory, &Shard::Common, SendPermit::unlimited())
            .map_err(|error| JournalError::io(&directory.join("sent.mark"), &error))?;
        recovered.sent_up_to = sent_up_to;
        recovered.may_have_been_sent(known.until(&Shard::Common));
        let mark = mark.knowing(known);
        Opened::new(rows, recovered, mark).map_err(|error| JournalError::io(&path, &error))
    }
}
