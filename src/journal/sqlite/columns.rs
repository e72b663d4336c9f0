//! How a column of a row becomes a value: instants, offsets from `scheduled_at`, states and names.
//!
//! A column that holds no such value is an error that names the column, never a panic.

use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::Type;

use super::super::{Pause, State};
use crate::cloud66::ActionId;
use crate::schedule::{AccountName, EntryName};

pub(super) fn state(row: &Row<'_>, index: usize) -> rusqlite::Result<State> {
    let code: i64 = row.get(index)?;
    State::of_code(code).ok_or_else(|| unreadable(index, Type::Integer, format!("{code} is no state")))
}

pub(super) fn action_id(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<ActionId>> {
    Ok(row.get::<_, Option<i64>>(index)?.map(i64::cast_unsigned))
}

pub(super) fn instant(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Timestamp>> {
    let micros: Option<i64> = row.get(index)?;
    micros
        .map(|micros| {
            Timestamp::from_microsecond(micros)
                .map_err(|error| unreadable(index, Type::Integer, error.to_string()))
        })
        .transpose()
}

pub(super) fn required(row: &Row<'_>, index: usize) -> rusqlite::Result<Timestamp> {
    instant(row, index)?.ok_or_else(|| unreadable(index, Type::Null, "an instant is missing".to_owned()))
}

pub(super) fn offset(
    row: &Row<'_>,
    scheduled_at: Timestamp,
    index: usize,
) -> rusqlite::Result<Option<Timestamp>> {
    let micros: Option<i64> = row.get(index)?;
    micros
        .map(|micros| {
            scheduled_at
                .as_microsecond()
                .checked_add(micros)
                .and_then(|at| Timestamp::from_microsecond(at).ok())
                .ok_or_else(|| unreadable(index, Type::Integer, format!("{micros} leads out of time")))
        })
        .transpose()
}

pub(super) fn required_offset(
    row: &Row<'_>,
    scheduled_at: Timestamp,
    index: usize,
) -> rusqlite::Result<Timestamp> {
    offset(row, scheduled_at, index)?
        .ok_or_else(|| unreadable(index, Type::Null, "an instant is missing".to_owned()))
}

/// An entry that somebody paused, and the terms.
pub(super) fn paused_entry(row: &Row<'_>) -> rusqlite::Result<(EntryName, Pause)> {
    Ok((entry_name(row, 0)?, Pause::read(&row.get::<_, String>(1)?)))
}

pub(super) fn entry_name(row: &Row<'_>, index: usize) -> rusqlite::Result<EntryName> {
    named(row, index, EntryName::new)
}

pub(super) fn account_name(row: &Row<'_>, index: usize) -> rusqlite::Result<AccountName> {
    named(row, index, AccountName::new)
}

pub(super) fn named<T, E: ToString>(
    row: &Row<'_>,
    index: usize,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> rusqlite::Result<T> {
    let text: String = row.get(index)?;
    parse(&text).map_err(|error| unreadable(index, Type::Text, error.to_string()))
}

pub(super) fn unreadable(column: usize, kind: Type, detail: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, detail.into())
}
