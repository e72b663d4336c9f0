//! The other daemons on this machine, and whether one of them fires what this one is to fire.
//!
//! Somebody runs `stackcron run` by hand beside the service. The two have a state directory each,
//! so no lock keeps them apart, and each entry is fired twice. So a daemon registers: it listens on
//! an abstract Unix socket with a name of its own, which the others find in `/proc/self/net/unix`,
//! and answers what it fires. Then it asks all the others, and does not start where one of them
//! fires the same file, or an entry with the same account URL, stack and job. Daemons that share a
//! journal share the work as well, and are no conflict.
//!
//! Each registers before it asks, and takes its stamp, the time since the machine booted, between
//! the two. So of two that start at once at least one sees the other, and the one with the later
//! stamp gives way:
//!
//! ```text
//! 10:00:00.000  A listens          10:00:00.001  B listens
//! 10:00:00.002  A takes its stamp  10:00:00.003  B takes its stamp
//! 10:00:00.004  A asks B: its stamp is later, so A starts
//! 10:00:00.005  B asks A: its stamp is earlier, so B exits with 78
//! ```
//!
//! A reload does so too: the new schedule is registered as proposed, with a stamp of its own, until
//! the others have answered.
//!
//! An answer has no names and uids, but hashes salted by who asks, so that nobody learns what
//! another fires. The salt is also why an answer can be believed: the kernel says whose process
//! answers, and one that is another user's is believed about entries alone, whose hashes only one
//! who knows their uids can make. A process that does not answer in time stops nobody: it is told
//! of, and the daemon starts. Daemons in another network namespace, as in a container, are not
//! seen.

mod compare;
mod socket;

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use self::compare::{
    Common, Compared, FileId, Fired, NeighbourAnswer, NeighbourRank, OwnDaemon, Salt, entry_marks, mark,
};
use self::socket::AskOutcome;
use crate::background::Background;
use crate::clock::Now;
use crate::journal::Identity;
use crate::log::event::NeighbourUnasked;
use crate::schedule::{EntryName, Schedule};

/// The error where this daemon's own mistake keeps it from comparing.
const COMPARES_NOT: &str = "comparing the schedules came to no end; see the log";

/// The schedule and the journal with which a daemon fires.
pub(crate) struct Fires {
    /// The other daemon's schedule file.
    pub(crate) config: PathBuf,
    pub(crate) schedule: Arc<Schedule>,
    /// The journal that it shares with others. `None`: its journal is its own.
    pub(crate) journal: Option<SharedJournal>,
}

/// A journal that several daemons share, by what they know it by.
pub(crate) struct SharedJournal {
    /// Without a password.
    pub(crate) address: String,
    /// `None` until the database has answered once.
    pub(crate) identity: watch::Receiver<Option<Identity>>,
}

/// This daemon among those on the machine. The others see it until this is dropped.
pub(crate) struct Neighbours {
    registered: Arc<Registered>,
    /// Hashes and compares entries, which takes a while for a large schedule.
    background: Arc<Background>,
    name: String,
    serving: JoinHandle<()>,
}

/// Another daemon fires what this one is to fire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// `None`: the process has no number here, because it is in another PID namespace.
    pid: Option<u32>,
    shared: SharedWork,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum SharedWork {
    File(PathBuf),
    /// The first entry of this schedule that the other one fires as well, and how many more there
    /// are.
    Entries(EntryName, usize),
}

/// The result of asking the others.
pub(crate) struct NeighboursFound {
    pub(crate) conflict: Option<Conflict>,
    /// Processes that cannot be told to fire something else.
    pub(crate) unclear: Vec<NeighbourUnasked>,
}

struct Registered {
    config: PathBuf,
    journal: Option<SharedJournal>,
    schedules: Mutex<Schedules>,
}

/// The schedules that are fired or proposed, with stamps in nanoseconds since the machine booted.
struct Schedules {
    since: u64,
    settled: Arc<Schedule>,
    /// The schedule of a reload, while the others are asked about it.
    proposed: Option<(u64, Arc<Schedule>)>,
}

impl Neighbours {
    /// Has the others see this daemon, and what it is going to fire. Call it within a runtime.
    ///
    /// # Errors
    /// When the system has no socket or thread left.
    pub(crate) fn register(fires: Fires) -> io::Result<Neighbours> {
        let (name, listener) = socket::listen()?;
        // Whoever asks before it is answered waits: the stamp is later than the socket's first
        // sight.
        let schedules = Schedules { since: stamp(), settled: fires.schedule, proposed: None };
        let (config, journal) = (fires.config, fires.journal);
        let registered = Arc::new(Registered { config, journal, schedules: Mutex::new(schedules) });
        let background = Arc::new(Background::start("neighbours")?);
        let answering = (Arc::clone(&registered), Arc::clone(&background));
        let serving = tokio::spawn(socket::serve(listener, move |salt| {
            let (registered, background) = answering.clone();
            async move { background.run(move || registered.answer(&salt)).await.flatten() }
        }));
        Ok(Neighbours { registered, background, name, serving })
    }

    /// Asks the others about the whole schedule, for a daemon that starts.
    pub(crate) async fn at_start(&self) -> NeighboursFound {
        let (since, schedule) = {
            let schedules = self.registered.schedules();
            (schedules.since, Arc::clone(&schedules.settled))
        };
        let file = file_id(&self.registered.config);
        self.ask(since, file, schedule, None).await
    }

    /// Asks the others about what a reload would add. Where nothing speaks against the schedule it
    /// is registered as proposed, until [`Neighbours::settle`].
    pub(crate) async fn at_reload(&self, schedule: &Arc<Schedule>) -> NeighboursFound {
        let (since, settled) = {
            let mut schedules = self.registered.schedules();
            let since = stamp();
            schedules.proposed = Some((since, Arc::clone(schedule)));
            (since, Arc::clone(&schedules.settled))
        };
        let found = self.ask(since, None, Arc::clone(schedule), Some(settled)).await;
        if found.conflict.is_some() {
            self.registered.schedules().proposed = None;
        }
        found
    }

    /// The proposed schedule is fired from now on.
    pub(crate) fn settle(&self) {
        let mut schedules = self.registered.schedules();
        if let Some((_, schedule)) = schedules.proposed.take() {
            // Whoever came after the proposal asks later, and gives way to the earlier stamp as
            // well.
            schedules.settled = schedule;
        }
    }

    /// Asks every other daemon. Entries of `but` are not asked about.
    async fn ask(
        &self,
        since: u64,
        file: Option<FileId>,
        schedule: Arc<Schedule>,
        but: Option<Arc<Schedule>>,
    ) -> NeighboursFound {
        let mut found = NeighboursFound { conflict: None, unclear: Vec::new() };
        let (salt, others) = match (socket::salt(), socket::others(&self.name)) {
            (Ok(_), Ok(others)) if others.is_empty() => return found,
            (Ok(salt), Ok(others)) => (salt, others),
            (Err(error), _) | (_, Err(error)) => {
                let error = format!("other daemons cannot be looked for: {error}");
                found.unclear.push(NeighbourUnasked { pid: None, error });
                return found;
            }
        };
        let rank = NeighbourRank { since, name: self.name.clone() };
        let journal = self.registered.journal_marks(&salt);
        let unheard = || NeighbourUnasked { pid: None, error: COMPARES_NOT.to_owned() };
        let asked_about = Arc::clone(&schedule);
        let own = self.background.run(move || {
            let mut own = OwnDaemon::new(rank, file, journal, &salt, &asked_about);
            if let Some(but) = but {
                own.leave_out(&entry_marks(&salt, &but).collect());
            }
            (!own.asks_nothing()).then(|| Arc::new(own))
        });
        let own = match own.await {
            Some(Some(own)) => own,
            Some(None) => return found,
            None => {
                found.unclear.push(unheard());
                return found;
            }
        };
        let mut asking = JoinSet::new();
        for other in others {
            asking.spawn(async move { (socket::ask(&other, &salt).await, other) });
        }
        let mut first: Option<(NeighbourRank, Conflict)> = None;
        while let Some(asked) = asking.join_next().await {
            let Ok((asked, name)) = asked else { continue };
            let (peer, answer) = match asked {
                AskOutcome::Gone => continue,
                AskOutcome::Silent { pid, error } => {
                    found.unclear.push(NeighbourUnasked { pid, error });
                    continue;
                }
                AskOutcome::Answered(peer, answer) => (peer, answer),
            };
            let (own, is_trusted) = (Arc::clone(&own), peer.is_trusted());
            let compared = self.background.run(move || own.compare(&answer, &name, is_trusted));
            let (rank, common) = match compared.await {
                Some(Compared::Apart) => continue,
                None => {
                    found.unclear.push(NeighbourUnasked { pid: peer.pid, ..unheard() });
                    continue;
                }
                Some(Compared::Unproven) => {
                    let error = "it says that it fires this schedule file, is another user's and knows none of the entries".into();
                    found.unclear.push(NeighbourUnasked { pid: peer.pid, error });
                    continue;
                }
                Some(Compared::Shares(rank, common)) => (rank, common),
            };
            let shared = match common {
                Common::File => SharedWork::File(self.registered.config.clone()),
                Common::Entries { first, more } => {
                    SharedWork::Entries(schedule.entries[first].name.clone(), more)
                }
            };
            if first.as_ref().is_none_or(|(earliest, _)| rank < *earliest) {
                first = Some((rank, Conflict { pid: peer.pid, shared }));
            }
        }
        found.conflict = first.map(|(_, conflict)| conflict);
        found
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Registered {
    fn schedules(&self) -> MutexGuard<'_, Schedules> {
        self.schedules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the answer to another daemon.
    fn answer(&self, salt: &Salt) -> Option<Vec<u8>> {
        let (settled, proposed) = {
            let schedules = self.schedules();
            ((schedules.since, Arc::clone(&schedules.settled)), schedules.proposed.clone())
        };
        let fires = std::iter::once(settled).chain(proposed);
        let answer = NeighbourAnswer {
            file: file_id(&self.config),
            journal: self.journal_marks(salt),
            fires: fires
                .map(|(since, schedule)| Fired { since, entries: entry_marks(salt, &schedule).collect() })
                .collect(),
        };
        serde_json::to_vec(&answer).ok()
    }

    fn journal_marks(&self, salt: &Salt) -> Vec<u64> {
        let Some(journal) = &self.journal else {
            return Vec::new();
        };
        let identity = journal.identity.borrow();
        let identity = identity.as_ref().map(|identity| mark(salt, &["identity", identity.as_str()]));
        identity.into_iter().chain([mark(salt, &["address", &journal.address])]).collect()
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid} ")?,
            None => f.write_str("a process in another PID namespace ")?,
        }
        match &self.shared {
            SharedWork::File(path) => write!(f, "already fires this schedule file, {}", path.display())?,
            SharedWork::Entries(first, 0) => write!(
                f,
                "already fires what entry {first} fires: the account URL, stack and job of both are equal"
            )?,
            SharedWork::Entries(first, more) => write!(
                f,
                "already fires what entry {first} and {more} more of this schedule fire: their account URLs, stacks and \
                 jobs are equal"
            )?,
        }
        f.write_str(
            ", so each occurrence would start twice; stop that process first. To try something out beside it, use \
             `stackcron run --sandbox`; daemons that are to share a schedule share a journal, with --journal",
        )
    }
}

/// The file behind all links. `None`: it cannot be looked at now.
fn file_id(config: &Path) -> Option<FileId> {
    let metadata = std::fs::metadata(config).ok()?;
    Some(FileId(metadata.dev(), metadata.ino()))
}

fn stamp() -> u64 {
    u64::try_from(Now::read().mono.as_nanos()).unwrap_or(u64::MAX)
}
