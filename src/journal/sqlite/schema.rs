//! The journal's tables, and how an older file comes by them.
//!
//! What is open is kept apart from what is settled. Open rows are few and change; a start reads
//! them and nothing else. Settled rows are many, are written once, and lie in the order of time:
//! claims append, pruning cuts off the beginning, and neither touches a page for each entry. A row
//! has no more than what differs from its neighbours: instants are offsets to scheduled_at, names
//! are numbers.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::super::{JournalError, directory};

/// Tells a journal from any other SQLite file: `sCrn`.
const APPLICATION_ID: u32 = 0x7343_726e;

/// The statements that lead from one version of the schema to the next. A released step never
/// changes.
pub(super) const MIGRATIONS: &[&str] = &[FIRST];

/// All instants are microseconds: scheduled_at and the cursor since 1970, `due`, `sent` and
/// `deadline` after scheduled_at, `finished` after it as well. `pass` is 0 unless the clock was set
/// back. The identity is a UUID (version 4). `link` and `retry_of` are explained in `link`. The
/// journal's `pass` is the greatest so far, of the instants from `pass_from` to `pass_until`.
///
/// Actions are numbered as time goes on, so that the index on them is appended to. It is asked for
/// what a list of the API shows.
///
/// `resent`: an occurrence that was sent again. `surplus` is a second action that it turned out to
/// have, `watch` (JSON) how the stack's list is read for one; NULL once nobody reads on.
///
/// `in_force`: the instants from `since` up to `until` were planned by this definition of the
/// entry. NULL: they are still. What was scheduled before `pruned_until` is not known.
///
/// `older_until`: the journal was found to be an older copy of itself, which may have forgotten the
/// outcome of what is scheduled before.
///
/// `moved_to`: the journal goes on there. `moved_from`: it was filled from the journal of this
/// identity.
const FIRST: &str = "
    CREATE TABLE journal (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        identity TEXT NOT NULL,
        cursor INTEGER,
        pass INTEGER,
        pass_from INTEGER,
        pass_until INTEGER,
        pruned_until INTEGER,
        older_until INTEGER,
        stopped_at INTEGER,
        moved_to TEXT,
        moved_from TEXT
    ) STRICT;
    INSERT INTO journal (only, identity) SELECT 1, lower(
        substr(hex, 1, 8) || '-' || substr(hex, 9, 4) || '-4' || substr(hex, 14, 3) || '-8' || substr(hex, 18, 3)
        || '-' || substr(hex, 21, 12)
    ) FROM (SELECT hex(randomblob(16)) AS hex);
    CREATE TABLE entry (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE target (
        id INTEGER PRIMARY KEY,
        account TEXT NOT NULL,
        stack TEXT NOT NULL,
        job TEXT NOT NULL,
        UNIQUE (account, stack, job)
    ) STRICT;
    CREATE TABLE open (
        scheduled_at INTEGER NOT NULL,
        entry INTEGER NOT NULL REFERENCES entry,
        pass INTEGER NOT NULL DEFAULT 0,
        target INTEGER NOT NULL REFERENCES target,
        due INTEGER NOT NULL,
        deadline INTEGER NOT NULL,
        by_person INTEGER NOT NULL,
        args TEXT,
        state INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        sent INTEGER,
        action INTEGER,
        reason TEXT,
        link INTEGER,
        retry_of INTEGER,
        PRIMARY KEY (scheduled_at, entry, pass)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE settled (
        scheduled_at INTEGER NOT NULL,
        entry INTEGER NOT NULL REFERENCES entry,
        pass INTEGER NOT NULL DEFAULT 0,
        target INTEGER NOT NULL REFERENCES target,
        due INTEGER NOT NULL,
        state INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        sent INTEGER,
        action INTEGER,
        finished INTEGER,
        success INTEGER,
        reason TEXT,
        link INTEGER,
        retry_of INTEGER,
        PRIMARY KEY (scheduled_at, entry, pass)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX settled_action ON settled (action) WHERE action IS NOT NULL;
    CREATE TABLE resent (
        scheduled_at INTEGER NOT NULL,
        entry INTEGER NOT NULL REFERENCES entry,
        pass INTEGER NOT NULL DEFAULT 0,
        stack TEXT NOT NULL,
        surplus INTEGER,
        watch TEXT,
        PRIMARY KEY (scheduled_at, entry, pass)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE in_force (
        entry TEXT NOT NULL,
        since INTEGER NOT NULL,
        until INTEGER,
        definition TEXT NOT NULL,
        PRIMARY KEY (entry, since)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE paused (
        entry TEXT PRIMARY KEY,
        terms TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE quota (
        account TEXT PRIMARY KEY,
        saved TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// The newest version: so many migrations there are.
pub(super) fn known(migrations: &[&str]) -> u32 {
    u32::try_from(migrations.len()).unwrap_or(u32::MAX)
}

/// The kind of the file, as the file itself says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// The file is empty.
    Empty,
    /// A journal with so many migrations applied.
    Journal(u32),
}

/// Reads the version, and refuses what is no journal or a later one. Changes nothing.
pub(super) fn version(db: &Connection, path: &Path, migrations: &[&str]) -> Result<Version, JournalError> {
    let read = |pragma: &str| {
        db.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, u32>(0))
            .map_err(|error| JournalError::sqlite(path, &error))
    };
    let (application, found) = (read("application_id")?, read("user_version")?);
    let known = known(migrations);
    match (application, found) {
        (0, 0) if read("page_count")? <= 1 && is_without_tables(db, path)? => Ok(Version::Empty),
        (APPLICATION_ID, 0) => Err(JournalError::corrupt(path, "it has no schema version")),
        (APPLICATION_ID, found) if found > known => {
            Err(JournalError::Newer { path: path.to_owned(), found, known })
        }
        (APPLICATION_ID, found) => Ok(Version::Journal(found)),
        _ => Err(JournalError::corrupt(path, "it is an SQLite file of another program")),
    }
}

fn is_without_tables(db: &Connection, path: &Path) -> Result<bool, JournalError> {
    db.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|error| JournalError::sqlite(path, &error))
}

/// Applies what the file lacks, in one transaction. A file that holds a journal is copied first.
pub(super) fn migrate(
    db: &mut Connection,
    path: &Path,
    from: Version,
    migrations: &[&str],
) -> Result<(), JournalError> {
    let applied = match from {
        Version::Empty => 0,
        Version::Journal(applied) => applied,
    };
    let missing = migrations.get(applied as usize..).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    if applied > 0 {
        back_up(db, path, applied)?;
    }
    let apply = |db: &mut Connection| {
        let transaction = db.transaction()?;
        for statements in missing {
            transaction.execute_batch(statements)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", known(migrations))?;
        transaction.commit()
    };
    apply(db).map_err(|error| JournalError::sqlite(path, &error))
}

/// Returns the path of the copy of a file with an older schema.
pub(super) fn backup_path(path: &Path, version: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".v{version}"));
    name.into()
}

/// A copy that is there is whole: it gets its name when it is on disk.
fn back_up(db: &Connection, path: &Path, version: u32) -> Result<(), JournalError> {
    let backup = backup_path(path, version);
    let partial = backup_path(&backup, version);
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| JournalError::io(&path, &error)
    };
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(&partial)(error)),
        _ => {}
    }
    // Made first, with the journal's mode: a journal is not for everybody.
    directory::create(&partial)?;
    db.execute("VACUUM INTO ?1", [partial.to_string_lossy()])
        .map_err(|error| JournalError::sqlite(&partial, &error))?;
    File::open(&partial).and_then(|file| file.sync_all()).map_err(io(&partial))?;
    fs::rename(&partial, &backup).map_err(io(&backup))?;
    directory::sync_directory(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sqlite::file;

    const SECOND: &str = "ALTER TABLE paused ADD COLUMN since INTEGER";

    #[test]
    fn an_older_schema_is_migrated_and_a_copy_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("journal");
        let db = file::connect(&path, MIGRATIONS).expect("a new journal");
        db.execute("INSERT INTO paused VALUES ('nightly', '{}')", []).expect("a row");
        drop(db);
        let later = [FIRST, SECOND];
        let db = file::connect(&path, &later).expect("a migrated journal");
        assert_eq!(version(&db, &path, &later).expect("a version"), Version::Journal(2));
        let row: (String, Option<i64>) = db
            .query_row("SELECT entry, since FROM paused", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("the row is kept");
        assert_eq!(row, ("nightly".to_owned(), None));
        let copy = Connection::open(backup_path(&path, 1)).expect("a copy");
        assert_eq!(version(&copy, &path, MIGRATIONS).expect("a version"), Version::Journal(1));
        let kept: u32 = copy.query_row("SELECT count(*) FROM paused", [], |row| row.get(0)).expect("a count");
        assert_eq!(kept, 1, "the copy has what the file had");
    }

    #[test]
    fn a_migration_that_fails_leaves_the_file_as_it_was() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("journal");
        drop(file::connect(&path, MIGRATIONS).expect("a new journal"));
        let failing = [FIRST, SECOND, "ALTER TABLE nothing ADD COLUMN since INTEGER"];
        file::connect(&path, &failing).expect_err("the third migration cannot be applied");
        let db = file::connect(&path, MIGRATIONS).expect("the file can still be used");
        db.prepare("SELECT since FROM paused").expect_err("the second migration was taken back");
    }
}
