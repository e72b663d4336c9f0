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

use tokio::time::{sleep, timeout};

use crate::log::event::{Event, SchedulePolled};
use inotify::Watches;
pub use seen::{Seen, Sight};

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
    /// Nobody knows what happened before the watch began.
    begun: bool,
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
        let mut watch = Watch { path: path.to_owned(), way: Way::Polled(None), told: false, begun: false };
        watch.follow();
        watch
    }

    /// Resolves when the file may have changed, and has settled since. The first time it does so at once, for
    /// what happened before.
    ///
    /// May be dropped at any time: the content is to be looked at then, and later changes are told.
    pub async fn changed(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            self.next().await;
        }
        loop {
            self.follow();
            let quiet = match &mut self.way {
                Way::Told(watches) => timeout(SETTLED, watches.next()).await.is_err(),
                Way::Polled(last) => {
                    let before = *last;
                    sleep(SETTLED).await;
                    *last = stamp(&self.path);
                    *last == before
                }
            };
            if quiet {
                return;
            }
        }
    }

    async fn next(&mut self) {
        match &mut self.way {
            Way::Told(watches) => watches.next().await,
            Way::Polled(last) => loop {
                sleep(POLL).await;
                let now = stamp(&self.path);
                if std::mem::replace(last, now) != now {
                    return;
                }
            },
        }
    }

    /// Watches what leads to the file now.
    fn follow(&mut self) {
        // One of few that a user may have: given back before another is taken.
        let last = stamp(&self.path);
        self.way = Way::Polled(last);
        match Watches::place(&self.path) {
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
