//! The place of a journal for reading, beside a running daemon or without one.

use std::ops::ControlFlow;
use std::path::PathBuf;

use jiff::Timestamp;

use super::postgres::{self, PostgresAddress};
use super::{FILE_NAME, Filter, InForce, JournalError, Key, LastEnds, Lately, Pause, Record, sqlite};
use crate::schedule::EntryName;

/// The place of a journal.
#[derive(Clone, Debug)]
pub enum Location {
    /// A state directory with a file in it.
    Directory(PathBuf),
    /// A database.
    Database(Box<PostgresAddress>),
}

impl Location {
    /// Hands out the records that a filter admits, in the order of scheduled_at, until there are no
    /// more or `each` breaks off. Never writes, and never makes a daemon wait. Blocks.
    ///
    /// # Errors
    /// When there is no journal, or it cannot be read.
    pub fn read_history(
        &self,
        filter: &Filter,
        each: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), JournalError> {
        match self {
            Location::Directory(directory) => sqlite::read_history(directory, filter, each),
            Location::Database(address) => postgres::read_history(address, filter, each),
        }
    }

    /// Everything scheduled before this instant is planned, in every shard. `None`: nothing is.
    /// Blocks.
    ///
    /// # Errors
    /// As [`Location::read_history`].
    pub fn planned_until(&self) -> Result<Option<Timestamp>, JournalError> {
        match self {
            Location::Directory(directory) => match sqlite::summary(&directory.join(FILE_NAME))? {
                Some(summary) => Ok(summary.cursor),
                None => Err(JournalError::Missing(directory.clone())),
            },
            Location::Database(address) => postgres::planned_until(address),
        }
    }

    /// Which schedules were in force: of one entry, or of all. Blocks.
    ///
    /// # Errors
    /// As [`Location::read_history`].
    pub fn read_in_force(&self, entry: Option<&EntryName>) -> Result<InForce, JournalError> {
        match self {
            Location::Directory(directory) => sqlite::read_in_force(directory, entry),
            Location::Database(address) => postgres::read_in_force(address, entry),
        }
    }

    /// Counts what was scheduled with `since` <= scheduled_at < `until`, and picks out the newest
    /// `most` that somebody should look into. Blocks.
    ///
    /// # Errors
    /// As [`Location::read_history`].
    pub fn read_lately(
        &self,
        since: Timestamp,
        until: Timestamp,
        most: usize,
    ) -> Result<Lately, JournalError> {
        match self {
            Location::Directory(directory) => sqlite::read_lately(directory, since, until, most),
            Location::Database(address) => postgres::read_lately(address, since, until, most),
        }
    }

    /// What became of each of these occurrences. `None` of what the journal does not have. Blocks.
    ///
    /// # Errors
    /// As [`Location::read_history`].
    pub fn read_records(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, JournalError> {
        match self {
            Location::Directory(directory) => sqlite::read_records(directory, keys),
            Location::Database(address) => postgres::read_records(address, keys),
        }
    }

    /// When an action of each entry last ended, and last ended with success. Reads all that the
    /// journal keeps, once. Blocks.
    ///
    /// # Errors
    /// As [`Location::read_history`].
    pub fn last_ends(&self) -> Result<Vec<(EntryName, LastEnds)>, JournalError> {
        match self {
            Location::Directory(directory) => sqlite::last_ends(directory),
            Location::Database(address) => postgres::last_ends(address),
        }
    }

    /// The entries that somebody paused, and the terms. Blocks.
    ///
    /// # Errors
    /// As [`Location::read_history`].
    pub fn pauses(&self) -> Result<Vec<(EntryName, Pause)>, JournalError> {
        match self {
            Location::Directory(directory) => sqlite::read_pauses(directory),
            Location::Database(address) => postgres::read_pauses(address),
        }
    }

    /// The daemons that share it, the leader first. None where it is one daemon's own. Blocks.
    ///
    /// # Errors
    /// As [`Location::read_history`].
    pub fn members(&self) -> Result<Vec<postgres::Member>, JournalError> {
        match self {
            Location::Directory(_) => Ok(Vec::new()),
            Location::Database(address) => postgres::members(address),
        }
    }
}
