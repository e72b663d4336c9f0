//! The state directory: made where it is missing, and locked by the daemon that uses it.
//!
//! A daemon holds a lock on a file in it. SQLite's own exclusive mode would lock out those who only
//! read; and the kernel takes this lock away when the process ends, however it ends.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::JournalError;

/// Held by the daemon. Its text is the daemon's process id.
const LOCK_NAME: &str = "journal.lock";

/// The lock on a state directory, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    /// The files that must stay in their place while the directory is in use.
    places: Vec<FileInUse>,
}

/// A file that is in use, by its path and its inode.
#[derive(Debug)]
struct FileInUse {
    path: PathBuf,
    inode: (u64, u64),
}

impl FileInUse {
    fn of(path: &Path) -> Result<FileInUse, JournalError> {
        let metadata = fs::metadata(path).map_err(|error| JournalError::io(path, &error))?;
        Ok(FileInUse { path: path.to_owned(), inode: (metadata.dev(), metadata.ino()) })
    }

    fn is_kept(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.inode)
    }
}

impl Lock {
    /// Makes the directory where it is missing, and takes the lock.
    pub(super) fn take(directory: &Path) -> Result<Lock, JournalError> {
        let io = |error| JournalError::io(directory, &error);
        DirBuilder::new().recursive(true).mode(0o750).create(directory).map_err(io)?;
        let path = directory.join(LOCK_NAME);
        let mut file = create(&path)?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(JournalError::Locked { directory: directory.to_owned(), pid: holder(&mut file) });
        }
        // The process id in the lock file only serves another daemon's error message. On a full
        // disk the lock holds without it.
        let _ = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Lock { file, places: vec![FileInUse::of(&path)?] })
    }

    /// A file that must stay in its place too.
    pub(super) fn watch(&mut self, path: &Path) -> Result<(), JournalError> {
        self.places.push(FileInUse::of(path)?);
        Ok(())
    }

    /// Checks that the files are still where they were opened. Writes to a removed file are lost,
    /// and a process that replaced the lock's file can take the lock a second time.
    pub(super) fn check(&self) -> Result<(), JournalError> {
        match self.places.iter().find(|place| !place.is_kept()) {
            None => Ok(()),
            Some(place) => Err(JournalError::Gone(place.path.clone())),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A process that is just being spawned has the file open until it becomes another program.
        // The lock goes now.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Opens a file for writing, and makes it where there is none: for its owner, and for its group to
/// read.
pub(super) fn create(path: &Path) -> Result<File, JournalError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .open(path)
        .map_err(|error| JournalError::io(path, &error))
}

/// A name that was given in a directory is there after a power failure too.
pub(super) fn sync_directory(path: &Path) -> Result<(), JournalError> {
    let directory = path.parent().unwrap_or(path);
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| JournalError::io(directory, &error))
}
