//! Reads the outcomes of the last day, at a cost that is bounded however long the journal is.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, named_params};

use super::super::{HOUR, JournalError, Key, LastEnds, Lately, Pause, Record, State};
use super::columns::{self, paused_entry, state};
use super::file;
use super::history::{ROWS, record};
use super::rows::PAUSED;
use crate::schedule::EntryName;

/// An occurrence that was sent later than this after it was due counts as late.
const LATE: SignedDuration = SignedDuration::from_secs(1);

/// At most this many rows are read, the newest, which takes some tenths of a second.
const MOST_ROWS: u64 = 500_000;

/// The states that an operator looks into.
const NOTABLE: [State; 4] = [State::Failed, State::Rejected, State::Missed, State::Unknown];

/// Counts what was scheduled with `since` <= scheduled_at < `until`, and picks out the newest
/// `most` that somebody should look into. Never writes, and never makes the daemon wait.
///
/// # Errors
/// When there is no journal in the directory, or it cannot be read.
pub fn read_lately(
    directory: &Path,
    since: Timestamp,
    until: Timestamp,
    most: usize,
) -> Result<Lately, JournalError> {
    let db = file::connect_to_read(directory)?;
    let path = directory.join(file::FILE_NAME);
    lately(&db, since, until, most).map_err(|error| JournalError::sqlite(&path, &error))
}

fn lately(db: &Connection, since: Timestamp, until: Timestamp, most: usize) -> rusqlite::Result<Lately> {
    // One transaction, so that both queries see one state of the file.
    let db = db.unchecked_transaction()?;
    let late = LATE.as_micros();
    let rows = format!("{ROWS} ORDER BY 1 DESC, 2 DESC LIMIT {MOST_ROWS}");
    let (since, until) = (since.as_microsecond(), until.as_microsecond());
    let mut lately = Lately::default();
    let mut statement = db.prepare(&format!(
        "SELECT state, count(*), sum(coalesce(sent - due > {late}, 0)), scheduled_at / {HOUR} AS hour
         FROM ({rows}) GROUP BY hour, state ORDER BY hour, state"
    ))?;
    let mut found =
        statement.query(named_params! { ":since": since, ":until": until, ":entry": None::<i64> })?;
    let mut total = 0;
    while let Some(row) = found.next()? {
        let count = row.get::<_, i64>(1)?.cast_unsigned();
        total += count;
        lately.late += row.get::<_, i64>(2)?.cast_unsigned();
        lately.count(row.get(3)?, state(row, 0)?, count);
    }
    lately.counts.sort_by_key(|(state, _)| state.code());
    lately.cut = total >= MOST_ROWS;
    let notable = NOTABLE.map(|state| state.code().to_string()).join(", ");
    let mut statement = db.prepare(&format!(
        "SELECT rows.*, name FROM ({rows}) AS rows JOIN entry ON id = entry
         WHERE state IN ({notable}) OR sent - due > {late} ORDER BY 1 DESC, 2 DESC LIMIT {most}"
    ))?;
    let mut found =
        statement.query(named_params! { ":since": since, ":until": until, ":entry": None::<i64> })?;
    while let Some(row) = found.next()? {
        lately.notable.push(record(row)?);
    }
    Ok(lately)
}

/// What became of each of these occurrences. `None` of what the journal does not have.
///
/// # Errors
/// When there is no journal in the directory, or it cannot be read.
pub fn read_records(directory: &Path, keys: &[Key]) -> Result<Vec<Option<Record>>, JournalError> {
    let db = file::connect_to_read(directory)?;
    let path = directory.join(file::FILE_NAME);
    records(&db, keys).map_err(|error| JournalError::sqlite(&path, &error))
}

/// The entries that somebody paused, and the terms.
///
/// # Errors
/// When there is no journal in the directory, or it cannot be read.
pub fn read_pauses(directory: &Path) -> Result<Vec<(EntryName, Pause)>, JournalError> {
    let db = file::connect_to_read(directory)?;
    let path = directory.join(file::FILE_NAME);
    let read = || -> rusqlite::Result<Vec<_>> { db.prepare(PAUSED)?.query_map([], paused_entry)?.collect() };
    read().map_err(|error| JournalError::sqlite(&path, &error))
}

/// When an action of each entry last ended, and last ended with success.
///
/// # Errors
/// When there is no journal in the directory, or it cannot be read.
pub fn last_ends(directory: &Path) -> Result<Vec<(EntryName, LastEnds)>, JournalError> {
    const LAST: &str = "
        SELECT name, max(scheduled_at + finished), max(CASE WHEN success = 1 THEN scheduled_at + finished END)
        FROM settled JOIN entry ON id = entry WHERE finished IS NOT NULL GROUP BY entry";
    let db = file::connect_to_read(directory)?;
    let path = directory.join(file::FILE_NAME);
    let read = || -> rusqlite::Result<Vec<_>> {
        let mut statement = db.prepare(LAST)?;
        let ends = statement.query_map([], |row| {
            let ends = LastEnds { end: columns::instant(row, 1)?, success: columns::instant(row, 2)? };
            Ok((columns::entry_name(row, 0)?, ends))
        })?;
        ends.collect()
    };
    read().map_err(|error| JournalError::sqlite(&path, &error))
}

fn records(db: &Connection, keys: &[Key]) -> rusqlite::Result<Vec<Option<Record>>> {
    let db = db.unchecked_transaction()?;
    let mut statement = db.prepare(&format!(
        "SELECT rows.*, name FROM entry JOIN ({}) AS rows WHERE id = entry AND name = :name",
        ROWS.replace(":entry IS NULL OR entry = :entry", "entry = (SELECT id FROM entry WHERE name = :name)"),
    ))?;
    let mut record_of = |key: &Key| {
        let at = key.scheduled_at().as_microsecond();
        let place = named_params! { ":since": at, ":until": at + 1, ":name": key.entry().as_str() };
        let mut found = statement.query(place)?;
        while let Some(row) = found.next()? {
            let record = record(row)?;
            if record.key == *key {
                return Ok(Some(record));
            }
        }
        Ok(None)
    };
    keys.iter().map(&mut record_of).collect()
}
