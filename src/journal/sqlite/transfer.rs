//! The file's side of a move: its rows are read, or written anew.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row as SqlRow, params};

use super::super::directory;
use super::super::transfer::{Idle, InForceRow, JournalHead, More, PORTION, ResentRow, TransferRow};
use super::super::{Identity, JournalError};
use super::{file, schema};
use crate::schedule::{AccountName, ShardName};

/// A file that no daemon uses.
pub(in super::super) struct IdleFile {
    path: PathBuf,
    db: Option<Connection>,
    /// The last settled row that was read: scheduled_at, entry and pass.
    last: Option<(i64, i64, i64)>,
}

const OPEN: &str = "
    SELECT scheduled_at, name, pass, account, stack, job, due, state, attempts, sent, action, reason, link, retry_of,
        deadline, by_person, args
    FROM open JOIN entry ON entry.id = entry JOIN target ON target.id = target ORDER BY scheduled_at, entry, pass";

const SETTLED: &str = "
    SELECT scheduled_at, name, pass, account, stack, job, due, state, attempts, sent, action, reason, link, retry_of,
        finished, success, entry
    FROM settled JOIN entry ON entry.id = entry JOIN target ON target.id = target
    WHERE (scheduled_at, entry, pass) > (?1, ?2, ?3) ORDER BY scheduled_at, entry, pass LIMIT ?4";

const RESENT: &str = "
    SELECT scheduled_at, name, pass, stack, surplus, watch FROM resent JOIN entry ON entry.id = entry ORDER BY 1, 2, 3";

impl IdleFile {
    pub(in super::super) fn at(path: &Path) -> IdleFile {
        IdleFile { path: path.to_owned(), db: None, last: None }
    }

    fn db(&mut self) -> Result<&Connection, JournalError> {
        if self.db.is_none() {
            self.db = Some(file::connect(&self.path, schema::MIGRATIONS)?);
        }
        self.db.as_ref().ok_or(JournalError::Closed)
    }

    fn with<T>(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, JournalError> {
        let path = self.path.clone();
        work(self.db()?).map_err(|error| JournalError::sqlite(&path, &error))
    }
}

fn row(row: &SqlRow<'_>, more: More) -> rusqlite::Result<TransferRow> {
    Ok(TransferRow {
        scheduled_at: row.get(0)?,
        entry: row.get(1)?,
        pass: row.get(2)?,
        target: [row.get(3)?, row.get(4)?, row.get(5)?],
        due: row.get(6)?,
        state: row.get(7)?,
        attempts: row.get(8)?,
        sent: row.get(9)?,
        action: row.get(10)?,
        reason: row.get(11)?,
        link: row.get(12)?,
        retry_of: row.get(13)?,
        more,
    })
}

impl Idle for IdleFile {
    fn head(&mut self) -> Result<Option<JournalHead>, JournalError> {
        if file::summary(&self.path)?.is_none() {
            return Ok(None);
        }
        self.with(|db| {
            let pairs = |sql: &str| -> rusqlite::Result<Vec<(String, String)>> {
                db.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
            };
            let paused = pairs("SELECT entry, terms FROM paused ORDER BY 1")?;
            let quotas = pairs("SELECT account, saved FROM quota ORDER BY 1")?;
            let mut resent = db.prepare(RESENT)?;
            let resent = resent.query_map([], |row| {
                Ok(ResentRow {
                    scheduled_at: row.get(0)?,
                    entry: row.get(1)?,
                    pass: row.get(2)?,
                    stack: row.get(3)?,
                    surplus: row.get(4)?,
                    watch: row.get(5)?,
                })
            })?;
            let resent = resent.collect::<Result<_, _>>()?;
            let mut in_force = db.prepare("SELECT entry, since, until, definition FROM in_force ORDER BY 1, 2")?;
            let in_force = in_force.query_map([], |row| {
                let (entry, since) = (row.get(0)?, row.get(1)?);
                Ok(InForceRow { entry, since, until: row.get(2)?, definition: row.get(3)? })
            })?;
            let in_force = in_force.collect::<Result<_, _>>()?;
            let sql =
                "SELECT identity, cursor, stopped_at, moved_to, moved_from, pass, pass_until, pass_from, pruned_until, older_until FROM journal";
            let (identity, head) = db.query_row(sql, [], |row| {
                let identity: String = row.get(0)?;
                let from: Option<String> = row.get(4)?;
                Ok((
                    Identity::parse(&identity),
                    (row.get(1)?, row.get(2)?, row.get(3)?, from, row.get(5)?, row.get(6)?, row.get(7)?, row.get(8)?, row.get(9)?),
                ))
            })?;
            let (cursor, stopped_at, moved_to, moved_from, pass, pass_until, pass_from, pruned_until, lost_until) = head;
            Ok(identity.map(|identity| JournalHead {
                identity,
                cursor,
                stopped_at,
                pass,
                pass_until,
                pass_from,
                lost_until,
                sends_until: None,
                paused,
                quotas,
                resent,
                in_force,
                pruned_until,
                moved_to,
                moved_from: moved_from.as_deref().and_then(Identity::parse),
            }))
        })
    }

    fn open(&mut self) -> Result<Vec<TransferRow>, JournalError> {
        self.with(|db| {
            let mut statement = db.prepare(OPEN)?;
            let rows = statement.query_map([], |columns| {
                row(
                    columns,
                    More::Open {
                        deadline: columns.get(14)?,
                        by_person: columns.get(15)?,
                        args: columns.get(16)?,
                    },
                )
            })?;
            rows.collect()
        })
    }

    fn settled(&mut self) -> Result<Vec<TransferRow>, JournalError> {
        let (at, entry, pass) = self.last.unwrap_or((i64::MIN, i64::MIN, i64::MIN));
        let rows: Vec<(TransferRow, i64)> = self.with(|db| {
            let mut statement = db.prepare_cached(SETTLED)?;
            let rows = statement.query_map(params![at, entry, pass, PORTION as i64], |columns| {
                Ok((
                    row(columns, More::Settled { finished: columns.get(14)?, success: columns.get(15)? })?,
                    columns.get(16)?,
                ))
            })?;
            rows.collect()
        })?;
        self.last = rows.last().map(|(row, entry)| (row.scheduled_at, *entry, row.pass)).or(self.last);
        Ok(rows.into_iter().map(|(row, _)| row).collect())
    }

    /// A journal that was moved away before is kept beside the new one.
    fn begin(
        &mut self,
        head: &JournalHead,
        _: &[(ShardName, Vec<AccountName>)],
    ) -> Result<Identity, JournalError> {
        self.db = None;
        file::set_aside(&self.path, file::summary(&self.path)?.as_ref())?;
        directory::create(&self.path)?;
        directory::sync_directory(&self.path)?;
        self.with(|db| {
            db.execute_batch("BEGIN IMMEDIATE")?;
            db.execute(
                "UPDATE journal SET cursor = ?1, stopped_at = ?2, moved_from = ?3, pass = ?4, pass_until = ?5, pass_from = ?6",
                params![head.cursor, head.stopped_at, head.identity.as_str(), head.pass, head.pass_until, head.pass_from],
            )?;
            for (entry, terms) in &head.paused {
                db.execute("INSERT INTO paused (entry, terms) VALUES (?1, ?2)", [entry, terms])?;
            }
            for (account, saved) in &head.quotas {
                db.execute("INSERT INTO quota (account, saved) VALUES (?1, ?2)", [account, saved])?;
            }
            db.execute("UPDATE journal SET pruned_until = ?1, older_until = ?2", [head.pruned_until, head.lost_until])?;
            for row in &head.in_force {
                db.prepare_cached("INSERT INTO in_force (entry, since, until, definition) VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![row.entry, row.since, row.until, row.definition])?;
            }
            for row in &head.resent {
                db.execute("INSERT INTO entry (name) VALUES (?1) ON CONFLICT DO NOTHING", [&row.entry])?;
                db.execute(
                    "INSERT INTO resent (scheduled_at, entry, pass, stack, surplus, watch)
                     VALUES (?1, (SELECT id FROM entry WHERE name = ?2), ?3, ?4, ?5, ?6)",
                    params![row.scheduled_at, row.entry, row.pass, row.stack, row.surplus, row.watch],
                )?;
            }
            Ok(())
        })?;
        let path = self.path.clone();
        file::identity(self.db()?, &path)
    }

    fn insert(&mut self, rows: &[TransferRow]) -> Result<(), JournalError> {
        self.with(|db| {
            for row in rows {
                db.prepare_cached("INSERT INTO entry (name) VALUES (?1) ON CONFLICT DO NOTHING")?
                    .execute([&row.entry])?;
                db.prepare_cached(
                    "INSERT INTO target (account, stack, job) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                )?
                .execute(params![row.target[0], row.target[1], row.target[2]])?;
                let (table, columns, [one, two, three]): (_, _, [&dyn rusqlite::ToSql; 3]) = match &row.more {
                    More::Open { deadline, by_person, args } => {
                        ("open", "deadline, by_person, args", [deadline, by_person, args])
                    }
                    More::Settled { finished, success } => {
                        ("settled", "finished, success", [finished, success, &None::<i64>])
                    }
                };
                let last = if table == "open" { ", ?17" } else { "" };
                let sql = format!(
                    "INSERT INTO {table}
                     (scheduled_at, entry, pass, target, due, state, attempts, sent, action, reason, link,
                      retry_of, {columns})
                     VALUES (?1, (SELECT id FROM entry WHERE name = ?2), ?3,
                        (SELECT id FROM target WHERE account = ?4 AND stack = ?5 AND job = ?6),
                        ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16{last})"
                );
                let mut statement = db.prepare_cached(&sql)?;
                let values: [&dyn rusqlite::ToSql; 17] = [
                    &row.scheduled_at,
                    &row.entry,
                    &row.pass,
                    &row.target[0],
                    &row.target[1],
                    &row.target[2],
                    &row.due,
                    &row.state,
                    &row.attempts,
                    &row.sent,
                    &row.action,
                    &row.reason,
                    &row.link,
                    &row.retry_of,
                    one,
                    two,
                    three,
                ];
                let count = if table == "open" { 17 } else { 16 };
                statement.execute(&values[..count])?;
            }
            Ok(())
        })
    }

    fn commit(&mut self, moved_to: Option<&str>) -> Result<(), JournalError> {
        self.with(|db| {
            db.execute("UPDATE journal SET moved_to = ?1", [moved_to])?;
            if !db.is_autocommit() {
                db.execute_batch("COMMIT")?;
            }
            db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A column that is added to the journal is lost by a move, unless the move carries it.
    #[test]
    fn a_move_carries_every_column() {
        let place = tempfile::tempdir().expect("a directory");
        let db = file::connect(&place.path().join("journal"), schema::MIGRATIONS).expect("a new journal");
        for (table, columns) in [
            (
                "journal",
                "only identity cursor pass pass_from pass_until pruned_until older_until stopped_at moved_to moved_from",
            ),
            (
                "open",
                "scheduled_at entry pass target due deadline by_person args state attempts sent action reason link retry_of",
            ),
            (
                "settled",
                "scheduled_at entry pass target due state attempts sent action finished success reason link retry_of",
            ),
            ("resent", "scheduled_at entry pass stack surplus watch"),
            ("in_force", "entry since until definition"),
            ("paused", "entry terms"),
            ("quota", "account saved"),
        ] {
            let mut statement = db.prepare("SELECT name FROM pragma_table_info(?1)").expect("a statement");
            let names: Vec<String> = statement
                .query_map([table], |row| row.get(0))
                .and_then(Iterator::collect)
                .expect("the table's columns");
            assert_eq!(
                names.join(" "),
                columns,
                "{table}: what is new has to be carried by both sides of a move"
            );
        }
    }
}
