//! Notices that a file may have changed, whatever it is that leads to it: an editor's rename, a symbolic link that is
//! swapped, a directory that is replaced.
//!
//! A change is only a hint: who is told looks at the content, and [`Seen`] says whether it is another one. inotify tells of
//! changes as they happen. Where it cannot, the file is looked at every few seconds.

mod chain;
mod inotify;
mod seen;

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::log::event::{Event, SchedulePolled};
use inotify::Watches;
pub use seen::{FileState, Seen, once_it_stays};

/// A file is read when nothing has happened to it for this long: what writes it has come to its end.
const SETTLED: Duration = Duration::from_millis(200);

/// How often a file is looked at that nobody tells of.
const POLL: Duration = Duration::from_secs(3);

/// A file that is watched.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    way: Way,
    /// It was said that the file is polled.
    told: bool,
    /// Something may have happened that nobody was told of: before the watch began, at first.
    stale: bool,
}

/// How changes are noticed.
#[derive(Debug)]
enum Way {
    Told(Watches),
    Polled(Option<Stamp>),
}

/// What differs when a file was changed. Enough for a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watch {
    /// Watches the file that a path leads to, be it there or not.
    pub fn new(path: &Path) -> Watch {
        Watch { path: path.to_owned(), way: Way::Polled(None), told: false, stale: true }
    }

    /// Resolves when the file may have changed, and has settled since. The first time it does so at once, for
    /// what happened before.
    ///
    /// May be dropped at any time: what was noticed by then is told by the next call.
    pub async fn changed(&mut self) {
        if !self.stale {
            self.next().await;
            self.stale = true;
        }
        loop {
            self.follow().await;
            let quiet = match &mut self.way {
                Way::Told(watches) => timeout(SETTLED, watches.next()).await.is_err(),
                Way::Polled(last) => {
                    sleep(SETTLED).await;
                    let now = stamp_of(&self.path).await;
                    std::mem::replace(last, now) == now
                }
            };
            if quiet {
                self.stale = false;
                return;
            }
        }
    }

    async fn next(&mut self) {
        match &mut self.way {
            Way::Told(watches) => watches.next().await,
            Way::Polled(last) => loop {
                sleep(POLL).await;
                let now = stamp_of(&self.path).await;
                if std::mem::replace(last, now) != now {
                    return;
                }
            },
        }
    }

    /// Watches what leads to the file now.
    async fn follow(&mut self) {
        let last = stamp_of(&self.path).await;
        // One of few that a user may have: given back before another is taken.
        self.way = Way::Polled(last);
        let path = self.path.clone();
        let Ok(placed) = spawn_blocking(move || Watches::place(&path)).await else {
            return;
        };
        match placed {
            Ok(watches) => self.way = Way::Told(watches),
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    let (path, reason) = (self.path.display().to_string(), error.to_string());
                    Event::from(SchedulePolled { path, every_ms: POLL.as_millis() as u64, reason }).emit();
                }
            }
        }
    }
}

/// Looked at by a thread of its own: a network file system may let it wait.
async fn stamp_of(path: &Path) -> Option<Stamp> {
    let path = path.to_owned();
    spawn_blocking(move || stamp(&path)).await.ok().flatten()
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
