//! Why the journal cannot be opened, read or written, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::Identity;

/// What the caller can do differs by variant; what the operator can do is in the text.
///
/// At the start each of them ends the daemon. Later, what is [worth another
/// try](JournalError::passes) is waited for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Another daemon has it open.
    #[error(
        "another daemon{} keeps its state in {}; stop it first, since two daemons with one schedule start each occurrence \
         twice. Only daemons that share a journal (--journal) run side by side, each with a --state-dir of its own",
        pid.map_or(String::new(), |pid| format!(" (process {pid})")),
        directory.display()
    )]
    Locked {
        /// The state directory.
        directory: PathBuf,
        /// The other daemon, if it says so.
        pid: Option<u32>,
    },
    /// There is no journal. Only readers meet this: a daemon creates one.
    #[error("there is no journal in {}; has the daemon run with this --state-dir?", .0.display())]
    Missing(PathBuf),
    /// A later stackcron wrote it. It was not touched.
    #[error(
        "{} has schema {found}, and this stackcron knows none later than {known}; use the stackcron that wrote it, \
         or a later one",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema of the journal.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// The file is damaged, or is no journal. It was not changed.
    #[error(
        "the journal {} cannot be trusted: {detail}; move it away with the files `-wal` and `-shm` beside it, then \
         restore it from a backup, or begin a new one with `stackcron run --new-journal`, which knows nothing of what was claimed or paused",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The fault of the file.
        detail: String,
    },
    /// The file system or its permissions do not let it be written.
    #[error("the journal {} cannot be written: {detail}; make it writable for the daemon's user", path.display())]
    ReadOnly {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        detail: String,
    },
    /// The user who reads it may not.
    #[error(
        "the journal {} may not be read by this user: run the command {}",
        path.display(),
        crate::permission::remedy(path)
    )]
    Forbidden {
        /// The file or directory.
        path: PathBuf,
    },
    /// No space is left.
    #[error("the journal {} cannot be written: no space is left on its file system", .0.display())]
    Full(PathBuf),
    /// Somebody removed or replaced the file under the daemon. What would be written is lost at its
    /// end.
    #[error("the journal {} was removed or replaced while in use; start the daemon anew", .0.display())]
    Gone(PathBuf),
    /// The database does not answer, or is just starting.
    #[error("the journal {address} cannot be reached: {detail}")]
    Unreachable {
        /// The address, without a password.
        address: String,
        /// The fault.
        detail: String,
    },
    /// The database refused what was asked.
    #[error("the journal {address} cannot be used: {detail}{}", remedy.map_or(String::new(), |remedy| format!("; {remedy}")))]
    Database {
        /// The address, without a password.
        address: String,
        /// The database's own words.
        detail: String,
        /// Advice for the operator.
        remedy: Option<&'static str>,
    },
    /// The store refuses what it was given, and would do so again. Nothing else is wrong with it.
    #[error("the journal {journal} cannot store what it was given: {detail}")]
    Unstorable {
        /// The address, without a password.
        journal: String,
        /// The database's own words.
        detail: String,
    },
    /// A later stackcron has brought the database to a schema that this one cannot write.
    #[error(
        "the journal {address} has schema {found}, which this stackcron does not know; use a stackcron that does"
    )]
    NewerDatabase {
        /// The address, without a password.
        address: String,
        /// The schema of the journal.
        found: i32,
    },
    /// The journal that this state directory knows is gone, or is another one.
    #[error(
        "the journal {location} is not the one that this state directory knows ({known}): {}; restore it from a backup, or begin \
         a new one with `stackcron run --new-journal`, which knows nothing of what was claimed or paused",
        found.as_ref().map_or("there is none".to_owned(), |found| format!("it is {found}"))
    )]
    Replaced {
        /// The address, without a password.
        location: String,
        /// The identity of the journal that was seen last.
        known: Identity,
        /// The identity of what is there now. `None`: no journal is there.
        found: Option<Identity>,
    },
    /// The journal that this state directory knows is another one, and must not be left as it is.
    #[error(
        "this state directory knows the journal {known}, and {location} is another one: {why}; carry it over with \
         `stackcron journal move --to URL`, or leave it behind with `stackcron run --new-journal`"
    )]
    Elsewhere {
        /// The place of the journal that was seen last.
        known: String,
        /// The place of this journal.
        location: String,
        /// Why the known one must not be left.
        why: String,
    },
    /// The journal goes on at another place.
    #[error("the journal {location} was moved to {moved_to}, and goes on there: use that one")]
    Moved {
        /// The former place.
        location: String,
        /// The present place.
        moved_to: String,
    },
    /// Another member leads, and writes.
    #[error("this member stands by, and another one leads: ask there; `stackcron status` names it")]
    StandsBy,
    /// Another member has taken over. What was to be written is that member's to find out.
    #[error("another member leads: what this one asked for is not written")]
    Deposed,
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// Anything else that the system or SQLite said.
    #[error("the journal {} cannot be used: {detail}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error's own words.
        detail: String,
    },
}

impl JournalError {
    /// Returns true when the same operation may succeed later, without a restart of the daemon.
    pub fn passes(&self) -> bool {
        matches!(
            self,
            JournalError::Full(_)
                | JournalError::ReadOnly { .. }
                | JournalError::Io { .. }
                | JournalError::Unreachable { .. }
                | JournalError::Database { .. }
                | JournalError::Replaced { .. }
        )
    }

    pub(super) fn corrupt(path: &Path, detail: impl Into<String>) -> JournalError {
        JournalError::Corrupt { path: path.to_owned(), detail: detail.into() }
    }

    pub(super) fn io(path: &Path, error: &io::Error) -> JournalError {
        let (path, detail) = (path.to_owned(), error.to_string());
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                JournalError::ReadOnly { path, detail }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => JournalError::Full(path),
            _ => JournalError::Io { path, detail },
        }
    }

    pub(super) fn sqlite(path: &Path, error: &rusqlite::Error) -> JournalError {
        let (path, detail) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => JournalError::Full(path),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                JournalError::ReadOnly { path, detail }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                JournalError::Corrupt { path, detail }
            }
            Some(ErrorCode::TooBig | ErrorCode::ConstraintViolation) => {
                JournalError::Unstorable { journal: path.display().to_string(), detail }
            }
            Some(_) => JournalError::Io { path, detail },
            // No failure of SQLite: a value that is not what its column holds.
            None => JournalError::Corrupt { path, detail },
        }
    }
}
