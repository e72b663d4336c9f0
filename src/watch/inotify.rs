//! inotify watches on every directory that has a part in what a path leads to.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::chain::{self, ChainLink};
use crate::schedule::EXTENSION;

/// The path may be changed while it is followed. After so many tries the last one counts.
const TRIES: usize = 5;

/// Something that is named appears, goes or may be read by others than before.
const NAMES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Changes of names and of contents. Only the file's own directory is watched with these flags: in
/// `/tmp` they would report every write of every process.
const CONTENT: WatchFlags = NAMES.union(WatchFlags::MODIFY).union(WatchFlags::CLOSE_WRITE);

/// Why changes are not told.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    /// No more instances or watches are allowed, or a directory may not be read.
    #[error("inotify: {0}")]
    Refused(#[from] io::Error),
    /// Changes that another machine makes are told to nobody here.
    #[error("the file is on a network file system")]
    Network,
}

/// An event that inotify told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// The content was written to, and its writer has not closed it since.
    Written,
    /// The writer has closed the file, or another file has taken its place.
    Complete,
    /// Something else.
    Other,
}

impl Hint {
    /// Returns true when the file is open for writing after this event, given whether it was open
    /// before. A writer that opened the file before the watch began is unknown.
    pub(super) fn leaves_open(self, before: bool) -> bool {
        match self {
            Hint::Written => true,
            Hint::Complete => false,
            Hint::Other => before,
        }
    }

    fn of(events: ReadFlags) -> Hint {
        if events.contains(ReadFlags::MODIFY) {
            Hint::Written
        } else if events.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO) {
            Hint::Complete
        } else {
            Hint::Other
        }
    }
}

/// The watches of some paths, as they were when the watches were placed.
#[derive(Debug)]
pub(super) struct Watches {
    inotify: AsyncFd<OwnedFd>,
    names: HashMap<i32, FileNames>,
}

/// The names of a directory that matter.
#[derive(Debug, Default)]
struct FileNames {
    listed: Vec<OsString>,
    /// Every name of a schedule file matters: one that appears belongs to the schedule.
    schedule_files: bool,
}

impl FileNames {
    fn has(&self, name: &OsStr) -> bool {
        let is_schedule = || Path::new(name).extension().is_some_and(|end| end == EXTENSION);
        self.listed.iter().any(|known| known == name) || self.schedule_files && is_schedule()
    }
}

impl Watches {
    /// Watches all that leads to the paths now. Watches that were placed before are changed: their
    /// events are kept, where to close them and begin anew would lose those of some 20 ms.
    pub(super) fn place(paths: &[PathBuf], before: Option<Watches>) -> Result<Watches, WatchError> {
        let mut watches = before.map_or_else(Watches::none, Ok)?;
        let chains = || paths.iter().map(|path| chain::of(path)).collect::<io::Result<Vec<_>>>();
        let directories: Vec<&PathBuf> = paths.iter().filter(|path| path.is_dir()).collect();
        let mut last = chains()?;
        for _ in 0..TRIES {
            watches.set(&last, &directories)?;
            let placed = std::mem::replace(&mut last, chains()?);
            if placed == last {
                return Ok(watches);
            }
        }
        watches.set(&last, &directories)?;
        Ok(watches)
    }

    /// Returns an instance of inotify that watches nothing yet.
    fn none() -> Result<Watches, WatchError> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        // SAFETY: the descriptor is open, and nothing replaces or closes it while the AsyncFd owns
        // it.
        let inotify = unsafe { AsyncFd::register(inotify) }.map_err(io::Error::from)?;
        Ok(Watches { inotify, names: HashMap::new() })
    }

    /// Watches these names, and no others any more.
    fn set(&mut self, chains: &[Vec<ChainLink>], directories: &[&PathBuf]) -> Result<(), WatchError> {
        let inotify = self.inotify.get_ref();
        let mut names: HashMap<i32, FileNames> = HashMap::new();
        // The kernel keeps one watch for each directory, with the flags that were given last.
        let with_content: HashSet<&Path> =
            chains.iter().flatten().filter(|link| link.is_file()).map(|link| &*link.directory).collect();
        for chain in chains {
            for link in chain {
                let flags = if with_content.contains(&*link.directory) { CONTENT } else { NAMES };
                match inotify::add_watch(inotify, &link.directory, flags) {
                    Ok(watch) => names.entry(watch).or_default().listed.push(link.name.clone()),
                    // The watch of the parent directory reports the name when it appears.
                    Err(Errno::NOENT | Errno::NOTDIR) => break,
                    Err(error) => return Err(io::Error::from(error).into()),
                }
                if is_remote(&link.directory) {
                    return Err(WatchError::Network);
                }
            }
        }
        for directory in directories {
            match inotify::add_watch(inotify, directory.as_path(), CONTENT) {
                Ok(watch) => names.entry(watch).or_default().schedule_files = true,
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        for watch in self.names.keys().filter(|watch| !names.contains_key(watch)) {
            // Fails where the kernel has removed it with its directory.
            let _ = inotify::remove_watch(inotify, *watch);
        }
        self.names = names;
        Ok(())
    }

    /// Resolves when something has happened that matters.
    pub(super) async fn next(&mut self) -> Hint {
        loop {
            let Ok(mut ready) = self.inotify.readable_mut().await else {
                // The runtime ends.
                return std::future::pending().await;
            };
            let hint = read(ready.get_inner(), &self.names);
            ready.clear_ready();
            if let Some(hint) = hint {
                return hint;
            }
        }
    }

    /// Returns an event that was not told yet.
    pub(super) fn waiting(&mut self) -> Option<Hint> {
        read(self.inotify.get_ref(), &self.names)
    }
}

/// Takes what has happened. `None` when nothing of it matters.
fn read(inotify: &OwnedFd, names: &HashMap<i32, FileNames>) -> Option<Hint> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = Reader::new(inotify, &mut buffer);
    let mut hint = None;
    loop {
        match events.next() {
            Ok(event) if concerns(names, event.wd(), event.file_name()) => {
                // The last one that tells of the content counts.
                hint = match (Hint::of(event.events()), hint) {
                    (Hint::Other, Some(known)) => Some(known),
                    (other, _) => Some(other),
                };
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return hint,
            // Cannot be of an inotify instance; what it may have told is looked for.
            Err(_) => return hint.or(Some(Hint::Other)),
        }
    }
}

/// Returns true when an event concerns the path. An event without a name concerns a whole
/// directory, or reports that other events were lost.
fn concerns(names: &HashMap<i32, FileNames>, watch: i32, name: Option<&std::ffi::CStr>) -> bool {
    let Some(name) = name else { return true };
    let name = OsStr::from_bytes(name.to_bytes());
    names.get(&watch).is_none_or(|names| names.has(name))
}

/// Returns true for a directory on a file system that other machines write: NFS, SMB, CIFS, FUSE,
/// 9P, Ceph, AFS.
fn is_remote(directory: &Path) -> bool {
    const REMOTE: [u32; 7] =
        [0x6969, 0xfe53_4d42, 0xff53_4d42, 0x6573_5546, 0x0102_1997, 0x00c3_6400, 0x5346_414f];
    // The magic number has 32 bits, in a field whose type depends on the machine.
    rustix::fs::statfs(directory).is_ok_and(|stat| REMOTE.contains(&(stat.f_type as u32)))
}
