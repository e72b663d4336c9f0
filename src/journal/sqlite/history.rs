//! Reads what became of occurrences, beside a running daemon or without one.

use std::ops::ControlFlow;
use std::path::Path;

use rusqlite::{Connection, Row, named_params};

use super::super::{Definition, Filter, ForceSpan, InForce, JournalError, Key, Record, link};
use super::columns;
use super::file;
use crate::schedule::EntryName;

/// Open and settled alike. Both tables lie in the order that is asked for, so that they are merged
/// and never sorted.
pub(super) const ROWS: &str = "
    SELECT scheduled_at, entry, due, state, attempts, sent, action, NULL, NULL, reason, pass,
        (SELECT surplus FROM resent r WHERE r.scheduled_at = o.scheduled_at AND r.entry = o.entry AND r.pass = o.pass), link, retry_of
    FROM open o
    WHERE scheduled_at >= :since AND scheduled_at < :until AND (:entry IS NULL OR entry = :entry)
    UNION ALL
    SELECT scheduled_at, entry, due, state, attempts, sent, action, finished, success, reason, pass,
        (SELECT surplus FROM resent r WHERE r.scheduled_at = s.scheduled_at AND r.entry = s.entry AND r.pass = s.pass), link, retry_of
    FROM settled s
    WHERE scheduled_at >= :since AND scheduled_at < :until AND (:entry IS NULL OR entry = :entry)";

/// Hands out the records that a filter admits, in the order of scheduled_at, until there are no
/// more or `each` breaks off.
///
/// Never writes, never makes the daemon wait, and sees what was committed when it began.
///
/// # Errors
/// When there is no journal in the directory, or it cannot be read.
pub fn read_history(
    directory: &Path,
    filter: &Filter,
    mut each: impl FnMut(Record) -> ControlFlow<()>,
) -> Result<(), JournalError> {
    let db = file::connect_to_read(directory)?;
    let path = directory.join(file::FILE_NAME);
    read(&db, filter, &mut each).map_err(|error| JournalError::sqlite(&path, &error))
}

fn read(
    db: &Connection,
    filter: &Filter,
    each: &mut impl FnMut(Record) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    // One transaction, so that both queries see one state of the file.
    let db = db.unchecked_transaction()?;
    let entry: Option<i64> = match &filter.entry {
        None => None,
        Some(name) => {
            let mut ids = db.prepare("SELECT id FROM entry WHERE name = ?1")?;
            match ids.query_map([name.as_str()], |row| row.get(0))?.next() {
                Some(id) => Some(id?),
                None => return Ok(()),
            }
        }
    };
    let order = match filter.newest {
        None => "ORDER BY 1, 2, 11".to_owned(),
        Some(newest) => format!("ORDER BY 1 DESC, 2 DESC, 11 DESC LIMIT {newest}"),
    };
    let mut statement = db.prepare(&format!(
        "SELECT rows.*, name FROM ({ROWS} {order}) AS rows JOIN entry ON id = entry ORDER BY 1, 2, 11"
    ))?;
    let mut found = statement.query(named_params! {
        ":since": filter.since.map_or(i64::MIN, |at| at.as_microsecond()),
        ":until": filter.until.map_or(i64::MAX, |at| at.as_microsecond()),
        ":entry": entry,
    })?;
    while let Some(row) = found.next()? {
        if each(record(row)?).is_break() {
            break;
        }
    }
    Ok(())
}

/// Which schedules were in force: of one entry, or of all.
///
/// # Errors
/// As [`read_history`].
pub fn read_in_force(directory: &Path, entry: Option<&EntryName>) -> Result<InForce, JournalError> {
    let db = file::connect_to_read(directory)?;
    let path = directory.join(file::FILE_NAME);
    let read = || -> rusqlite::Result<InForce> {
        let db = db.unchecked_transaction()?;
        let pruned_until =
            db.query_row("SELECT pruned_until FROM journal", [], |row| columns::instant(row, 0))?;
        let mut statement = db.prepare(
            "SELECT entry, since, until, definition FROM in_force WHERE ?1 IS NULL OR entry = ?1 ORDER BY 1, 2",
        )?;
        let spans = statement.query_map([entry.map(EntryName::as_str)], |row| {
            Ok(ForceSpan {
                entry: columns::entry_name(row, 0)?,
                since: columns::required(row, 1)?,
                until: columns::instant(row, 2)?,
                definition: Definition::of_saved(row.get(3)?),
            })
        })?;
        Ok(InForce { pruned_until, spans: spans.collect::<Result<_, _>>()? })
    };
    read().map_err(|error| JournalError::sqlite(&path, &error))
}

pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let scheduled_at = columns::required(row, 0)?;
    let due_at = columns::required_offset(row, scheduled_at, 2)?;
    let sent_at = columns::offset(row, scheduled_at, 5)?;
    Ok(Record {
        key: Key::new(columns::entry_name(row, 14)?, scheduled_at).in_pass(row.get(10)?),
        state: columns::state(row, 3)?,
        sent_at,
        lateness_ms: sent_at.map(|at| at.duration_since(due_at).as_millis().try_into().unwrap_or(i64::MAX)),
        attempts: row.get(4)?,
        action_id: columns::action_id(row, 6)?,
        finished_at: columns::offset(row, scheduled_at, 7)?,
        finished_success: row.get(8)?,
        reason: row.get(9)?,
        surplus: columns::action_id(row, 11)?,
        link: link::linked(row.get(12)?, row.get(13)?, scheduled_at),
        replaced_by: None,
        error: None,
    }
    .with_cause())
}
