//! Notices that files may have changed, whatever it is that leads to it: an editor's rename, a
//! symbolic link that is swapped, a directory that is replaced.
//!
//! A change is only a hint: who is told looks at the content, and [`FileSeen`] says whether it is
//! another one. inotify tells of changes as they happen. Where it cannot, the file is looked at
//! every few seconds.
//!
//! Who writes a file in place empties it first, and half of a schedule can be a valid one. So a
//! file that was written to is read after its writer has closed it, or once nothing has happened to
//! it for two seconds, where nobody tells of the close. Example: an editor truncates the file at 0
//! s, writes at 1.5 s and closes it at 1.6 s; it is read at 1.8 s. One that hangs after truncating
//! it has it read at 2 s: a file that is empty is an error, and nothing changes.

mod chain;
mod inotify;
mod seen;

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::log::event::{Event, SchedulePolled};
use inotify::{Hint, WatchError, Watches};
pub use seen::{FileSeen, FileState, once_it_stays};

/// A file is read when nothing has happened to it for this long: what writes it has come to its
/// end.
const SETTLED: Duration = Duration::from_millis(200);

/// A file that is still open for writing, as far as anybody can tell, is read when it has stayed
/// the same for this long: a writer that takes longer between two writes has most likely forgotten
/// it.
const STABLE: Duration = Duration::from_secs(2);

/// The interval at which a file is polled where the kernel reports no events.
const POLL: Duration = Duration::from_secs(3);

/// Files that are watched.
#[derive(Debug)]
pub struct Watch {
    /// The schedule file, or its directory, is the first. Of a directory every schedule file that
    /// appears in it is told.
    paths: Vec<PathBuf>,
    way: Way,
    /// True once the log has said that the file is polled.
    told: bool,
    /// Something may have happened that nobody was told of: before the watch began, at first.
    stale: bool,
    /// True while a writer is known to have the file open.
    writing: bool,
}

/// The way in which changes are noticed.
#[derive(Debug)]
enum Way {
    Told(Watches),
    /// Watches are being placed, and nothing is told meanwhile.
    Placing(Placing),
    Polled(Stamps),
}

/// Watches that a thread of its own places: a network file system may let it wait.
#[derive(Debug)]
struct Placing {
    /// True when nothing was watched before.
    first: bool,
    /// The files' metadata before the watches were placed.
    last: Stamps,
    /// The watches, and the files' metadata once they were in place.
    placed: JoinHandle<(Result<Watches, WatchError>, Stamps)>,
}

/// The metadata of each path; `None` where there is no file.
type Stamps = Vec<Option<Stamp>>;

/// Metadata that differs after a change. It is a hint only; the content decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watch {
    /// Watches the files that paths lead to, be they there or not.
    pub fn new(paths: Vec<PathBuf>) -> Watch {
        Watch { paths, way: Way::Polled(Vec::new()), told: false, stale: true, writing: false }
    }

    /// Watches these files from now on. What happened to one of them before is told.
    pub fn set(&mut self, paths: Vec<PathBuf>) {
        if paths != self.paths {
            (self.paths, self.stale) = (paths, true);
            if let Way::Placing(placing) = &mut self.way {
                // These watches are of the paths before.
                self.way = Way::Polled(std::mem::take(&mut placing.last));
            }
        }
    }

    /// Resolves when nobody is known to write the file. At once, most often.
    ///
    /// May be dropped at any time, as [`Watch::changed`].
    pub async fn quiet(&mut self) {
        if matches!(self.way, Way::Placing(_)) {
            self.follow().await;
        }
        if let Way::Told(watches) = &mut self.way
            && let Some(hint) = watches.waiting()
        {
            (self.writing, self.stale) = (hint == Hint::Written, true);
        }
        if self.writing {
            self.changed().await;
            // The change itself is still to be told.
            self.stale = true;
        }
    }

    /// Resolves when the file may have changed, and has settled since. The first time it does so at
    /// once, for what happened before.
    ///
    /// May be dropped at any time: what was noticed by then is told by the next call.
    pub async fn changed(&mut self) {
        if !self.stale {
            self.next().await;
            self.stale = true;
        }
        loop {
            self.follow().await;
            let patience = if self.writing { STABLE } else { SETTLED };
            let quiet = match &mut self.way {
                Way::Told(watches) => match timeout(patience, watches.next()).await {
                    Ok(hint) => {
                        self.writing = hint.leaves_open(self.writing);
                        false
                    }
                    Err(_) => true,
                },
                Way::Placing(_) => false,
                Way::Polled(last) => {
                    sleep(STABLE).await;
                    let now = stamps_of(&self.paths).await;
                    let stays = *last == now;
                    *last = now;
                    stays
                }
            };
            if quiet {
                (self.stale, self.writing) = (false, false);
                return;
            }
        }
    }

    async fn next(&mut self) {
        match &mut self.way {
            Way::Told(watches) => self.writing = watches.next().await.leaves_open(self.writing),
            Way::Placing(_) => {}
            Way::Polled(last) => loop {
                sleep(POLL).await;
                let now = stamps_of(&self.paths).await;
                let stays = *last == now;
                *last = now;
                if !stays {
                    return;
                }
            },
        }
    }

    /// Watches what leads to the file now. A call that is dropped is gone on with by the next one:
    /// whether a writer has the file open is not forgotten.
    async fn follow(&mut self) {
        if !matches!(self.way, Way::Placing(_)) {
            let last = stamps_of(&self.paths).await;
            let before = match std::mem::replace(&mut self.way, Way::Polled(Stamps::new())) {
                Way::Told(watches) => Some(watches),
                Way::Placing(_) | Way::Polled(_) => None,
            };
            let first = before.is_none();
            let paths = self.paths.clone();
            let placed = spawn_blocking(move || {
                let placed = Watches::place(&paths, before);
                (placed, paths.iter().map(|path| stamp(path)).collect())
            });
            self.way = Way::Placing(Placing { first, last, placed });
        }
        let Way::Placing(Placing { first, last, placed }) = &mut self.way else { return };
        let outcome = placed.await;
        let (first, last) = (*first, std::mem::take(last));
        match outcome {
            Ok((Ok(watches), now)) => {
                // No event reports a change from before the watch began. Such a change may be the
                // beginning of a write.
                self.writing |= now != last || first && now.iter().flatten().any(|stamp| stamp.is_recent());
                self.way = Way::Told(watches);
            }
            Ok((Err(error), _)) => {
                self.way = Way::Polled(last);
                if !std::mem::replace(&mut self.told, true) {
                    let path = self.paths.first().map(|path| path.display().to_string()).unwrap_or_default();
                    let reason = error.to_string();
                    Event::from(SchedulePolled { path, every_ms: POLL.as_millis() as u64, reason }).emit();
                }
            }
            // The runtime ends.
            Err(_) => self.way = Way::Polled(last),
        }
    }
}

impl Stamp {
    /// Returns true when the file was written to within the last seconds.
    fn is_recent(self) -> bool {
        let age = jiff::Timestamp::now().as_second() - self.modified.0;
        age.unsigned_abs() <= STABLE.as_secs()
    }
}

/// Looked at by a thread of its own: a network file system may let it wait.
async fn stamps_of(paths: &[PathBuf]) -> Stamps {
    let paths = paths.to_owned();
    spawn_blocking(move || paths.iter().map(|path| stamp(path)).collect()).await.unwrap_or_default()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let stamp = |file: Metadata| Stamp {
        device: file.dev(),
        inode: file.ino(),
        size: file.size(),
        modified: (file.mtime(), file.mtime_nsec()),
        changed: (file.ctime(), file.ctime_nsec()),
    };
    std::fs::metadata(path).ok().map(stamp)
}

#[cfg(test)]
mod tests;
