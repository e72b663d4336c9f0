//! The journal's file: whether it can be trusted, and how it is opened.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::super::directory::{Lock, create, sync_directory};
use super::super::summary::JournalSummary;
use super::super::{Identity, JournalError};
use super::{columns, schema};

/// The journal's file in the state directory.
pub const FILE_NAME: &str = "journal.sqlite3";

/// A file no larger than this is checked as a whole at each start, well within a second. Of a
/// larger one what is open is checked: damage in the rest is found when it is read.
const CHECKED_WHOLE: u64 = 32 << 20;

/// Another program that writes, as a person's `sqlite3`, is waited for this long.
const BUSY: Duration = Duration::from_secs(2);

/// The write-ahead log is cut to this many bytes when it begins anew.
const LONGEST_LOG: i64 = 16 << 20;

/// Makes the journal's file where it is missing, and has the lock watch it.
pub(super) fn make(lock: &mut Lock, journal: &Path) -> Result<(), JournalError> {
    create(journal)?;
    sync_directory(journal)?;
    lock.watch(journal)
}

/// The identity of a journal.
pub(super) fn identity(db: &Connection, path: &Path) -> Result<Identity, JournalError> {
    let text: String = db
        .query_row("SELECT identity FROM journal", [], |row| row.get(0))
        .map_err(|error| JournalError::sqlite(path, &error))?;
    Identity::parse(&text).ok_or_else(|| JournalError::corrupt(path, "it has no identity"))
}

/// Returns the facts that decide whether the journal may be left or entered. `None`: there is no
/// journal. Changes nothing.
pub(super) fn summary(path: &Path) -> Result<Option<JournalSummary>, JournalError> {
    let sqlite = |error| JournalError::sqlite(path, &error);
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(JournalError::io(path, &error)),
        Ok(metadata) if metadata.len() == 0 => return Ok(None),
        Ok(_) => {}
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    db.busy_timeout(BUSY).map_err(sqlite)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(sqlite)?;
    if schema::version(&db, path, schema::MIGRATIONS)? == schema::Version::Empty {
        return Ok(None);
    }
    let identity = identity(&db, path)?;
    let counted = db.query_row(
        "SELECT (SELECT count(*) FROM open) + (SELECT count(*) FROM paused), cursor, moved_to FROM journal",
        [],
        |row| Ok((row.get::<_, i64>(0)?, columns::instant(row, 1)?, row.get(2)?)),
    );
    let (open, cursor, moved_to) = counted.map_err(sqlite)?;
    Ok(Some(JournalSummary { identity, open: open.cast_unsigned(), cursor, moved_to }))
}

/// Keeps a journal's file beside the new one that takes its place.
pub(super) fn set_aside(path: &Path, found: Option<&JournalSummary>) -> Result<(), JournalError> {
    let Some(found) = found else { return Ok(()) };
    for suffix in ["-wal", "-shm", ""] {
        let [from, to] = [String::new(), format!(".{}", found.identity)].map(|middle| {
            let mut name = path.as_os_str().to_owned();
            name.push(middle + suffix);
            name
        });
        match fs::rename(from, to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(JournalError::io(path, &error));
            }
            _ => {}
        }
    }
    sync_directory(path)
}

/// Opens a journal for writing: checked first, then brought to the newest schema.
pub(super) fn connect(path: &Path, migrations: &[&str]) -> Result<Connection, JournalError> {
    let sqlite = |error| JournalError::sqlite(path, &error);
    // Never makes the file: it was made with its mode.
    create(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    db.busy_timeout(BUSY).map_err(sqlite)?;
    // A file that is refused stays as it is, with what a crash left in its write-ahead log.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(sqlite)?;
    let version = schema::version(&db, path, migrations)?;
    let size = fs::metadata(path).map_err(|error| JournalError::io(path, &error))?.len();
    check(&db, path, size)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(sqlite)?;
    db.pragma_update(None, "journal_mode", "wal").map_err(sqlite)?;
    db.pragma_update(None, "synchronous", "full").map_err(sqlite)?;
    // Checkpoints are made after the answer to a claim, not before it.
    db.pragma_update(None, "wal_autocheckpoint", 0).map_err(sqlite)?;
    // The write-ahead log shrinks to this length again after a long catch-up.
    db.pragma_update(None, "journal_size_limit", LONGEST_LOG).map_err(sqlite)?;
    // Every column that names an entry or a target is filled from its table.
    db.pragma_update(None, "foreign_keys", false).map_err(sqlite)?;
    schema::migrate(&mut db, path, version, migrations)?;
    Ok(db)
}

/// Looks for damage, in as much of a file of this size as a start has time for.
fn check(db: &Connection, path: &Path, size: u64) -> Result<(), JournalError> {
    let sqlite = |error| JournalError::sqlite(path, &error);
    let checks: &[&str] = match size {
        0..=CHECKED_WHOLE => &["quick_check(1)"],
        _ => &["quick_check(journal)", "quick_check(open)", "quick_check(entry)", "quick_check(target)"],
    };
    for pragma in checks {
        let verdict: String =
            db.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0)).map_err(sqlite)?;
        if verdict != "ok" {
            return Err(JournalError::corrupt(path, verdict.lines().last().unwrap_or_default()));
        }
    }
    Ok(())
}

/// Opens a journal for reading, beside a daemon or without one.
pub(super) fn connect_to_read(directory: &Path) -> Result<Connection, JournalError> {
    connect_readable(directory).map_err(|error| match error {
        // A reader needs no right to write, so the error says that the file is forbidden.
        JournalError::ReadOnly { path, .. } => JournalError::Forbidden { path },
        error => error,
    })
}

fn connect_readable(directory: &Path) -> Result<Connection, JournalError> {
    let path = directory.join(FILE_NAME);
    let sqlite = |error| JournalError::sqlite(&path, &error);
    match fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(JournalError::Missing(directory.to_owned()));
        }
        Err(error) => return Err(JournalError::io(&path, &error)),
        Ok(_) => {}
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(&path, flags).map_err(sqlite)?;
    db.busy_timeout(BUSY).map_err(sqlite)?;
    let found = schema::version(&db, &path, schema::MIGRATIONS);
    let (db, version) = match found {
        // Nobody has it open, and who reads may not make the files beside it: it is read as it
        // lies.
        Err(JournalError::Io { .. } | JournalError::ReadOnly { .. }) if !wal_exists(&path) => {
            let db = immutable(&path).map_err(sqlite)?;
            let version = schema::version(&db, &path, schema::MIGRATIONS)?;
            (db, version)
        }
        found => (db, found?),
    };
    let newest = schema::known(schema::MIGRATIONS);
    match version {
        schema::Version::Empty => Err(JournalError::Missing(directory.to_owned())),
        schema::Version::Journal(version) if version < newest => Err(JournalError::Io {
            path,
            detail: format!(
                "it has the older schema {version}; the daemon brings it up to date at its start"
            ),
        }),
        schema::Version::Journal(_) => Ok(db),
    }
}

fn wal_exists(path: &Path) -> bool {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    Path::new(&wal).exists()
}

fn immutable(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte))
            }
            other => uri += &format!("%{other:02x}"),
        }
    }
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(uri + "?immutable=1", flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A journal with a page of 0xff in place of the one at which a table begins.
    fn damaged(directory: &Path, table: &str) -> Connection {
        let path = directory.join(table);
        let db = connect(&path, schema::MIGRATIONS).expect("a new journal");
        let page: u32 = db
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [table], |row| row.get(0))
            .expect("a table");
        drop(db);
        let mut bytes = fs::read(&path).expect("a file");
        let start = (page as usize - 1) * 4096;
        bytes[start..start + 4096].fill(0xff);
        fs::write(&path, bytes).expect("written");
        Connection::open(&path).expect("a file with an intact first page")
    }

    #[test]
    fn of_a_large_file_what_is_open_is_checked() {
        let place = tempfile::tempdir().expect("a directory");
        for (table, found_in_large) in [("open", true), ("entry", true), ("target", true), ("settled", false)]
        {
            let db = damaged(place.path(), table);
            let refused = |size| check(&db, place.path(), size).is_err();
            assert!(refused(CHECKED_WHOLE), "damage in {table} is found in a small file");
            assert_eq!(refused(CHECKED_WHOLE + 1), found_in_large, "damage in {table} of a large file");
        }
    }
}
