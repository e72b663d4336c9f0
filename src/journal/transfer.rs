//! Moves a journal: pauses, open occurrences, quotas, history and the cursor go from one place to
//! another.
//!
//! A daemon must find exactly one of the two journals in use, however the move ends. So the move
//! has three steps, each one transaction, and a journal with `moved_to` is never started with:
//!
//! 1. The new journal is filled. Its `moved_to` names the old place.
//! 2. The old journal's `moved_to` names the new place.
//! 3. The new journal's `moved_to` is taken away.
//!
//! Example: the machine fails after step 1. The old journal is in use as before, and the next move
//! fills the new one again. It fails after step 2: neither journal can be started with, and the
//! next move goes on with step 3.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::directory::Lock;
use super::identity::KnownJournal;
use super::location::Location;
use super::{Cause, FILE_NAME, Identity, JournalError, State, postgres, sqlite};
use crate::occurrence::Reason;
use crate::schedule::{AccountName, Shard, ShardName};

/// Rows that are read and written at once: a long history costs no memory.
pub(super) const PORTION: usize = 2000;

/// Why nothing was moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// A journal cannot be opened, read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A daemon uses one of the two.
    #[error("{who} uses the journal {location}; stop every daemon that uses the journal, then move it")]
    InUse {
        /// The place of the journal.
        location: String,
        /// The daemon.
        who: String,
    },
    /// The new place has a journal of its own.
    #[error(
        "{0} has a journal of its own, whose history would be lost; name an empty database or another directory with --to"
    )]
    Occupied(String),
    /// Both places are one.
    #[error("{0} is where the journal is already; name another place with --to")]
    SamePlace(String),
    /// The old place has none.
    #[error("there is no journal in {0}; name the one that is to be moved with --state-dir or --journal")]
    Nothing(String),
}

/// The extent of a move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Occurrences and actions that have not come to their end.
    pub open: u64,
    /// Occurrences that are settled.
    pub settled: u64,
    /// Paused entries.
    pub paused: u64,
    /// Accounts with a quota.
    pub quotas: u64,
    /// The former place of the journal.
    pub from: String,
    /// The present place of the journal.
    pub to: String,
}

/// The single values of a journal. Instants are microseconds since 1970.
#[derive(Clone, Debug)]
pub(super) struct JournalHead {
    pub(super) identity: Identity,
    /// Everything scheduled before this instant is claimed, in every shard. `None`: nothing was
    /// planned yet.
    pub(super) cursor: Option<i64>,
    /// The instant at which the last daemon stopped in order. `None` after a crash of any leader.
    pub(super) stopped_at: Option<i64>,
    /// The greatest pass, and the first and the last instant of what the clock shows again. `None`:
    /// it was never set back.
    pub(super) pass: Option<i64>,
    pub(super) pass_from: Option<i64>,
    pub(super) pass_until: Option<i64>,
    /// Occurrences that are due up to this instant may have been sent, though the journal does not
    /// know.
    pub(super) lost_until: Option<i64>,
    /// A leader may have sent what is due up to this instant. `None` in a file.
    pub(super) sends_until: Option<i64>,
    /// Entry and the terms of its pause.
    pub(super) paused: Vec<(String, String)>,
    /// Account and saved quota.
    pub(super) quotas: Vec<(String, String)>,
    /// Rows of occurrences that were sent again.
    pub(super) resent: Vec<ResentRow>,
    /// The schedules that were in force, by entry and time.
    pub(super) in_force: Vec<InForceRow>,
    /// Occurrences from before this instant may have been pruned.
    pub(super) pruned_until: Option<i64>,
    pub(super) moved_to: Option<String>,
    pub(super) moved_from: Option<Identity>,
}

impl JournalHead {
    /// Returns true when nothing was ever planned or asked for with this journal.
    fn is_new(&self) -> bool {
        self.cursor.is_none() && self.paused.is_empty()
    }
}

/// Row of an occurrence that was sent again, as both journals have it.
#[derive(Clone, Debug)]
pub(super) struct ResentRow {
    pub(super) scheduled_at: i64,
    pub(super) entry: String,
    pub(super) pass: i64,
    pub(super) stack: String,
    pub(super) surplus: Option<i64>,
    pub(super) watch: Option<String>,
}

/// A span of instants that were planned by one definition of an entry.
#[derive(Clone, Debug)]
pub(super) struct InForceRow {
    pub(super) entry: String,
    pub(super) since: i64,
    pub(super) until: Option<i64>,
    pub(super) definition: String,
}

/// An occurrence. Its instants are microseconds, all but the first after `scheduled_at`.
#[derive(Clone, Debug)]
pub(super) struct TransferRow {
    pub(super) scheduled_at: i64,
    pub(super) entry: String,
    pub(super) pass: i64,
    /// Account, stack and job.
    pub(super) target: [String; 3],
    pub(super) due: i64,
    pub(super) state: i64,
    pub(super) attempts: i64,
    pub(super) sent: Option<i64>,
    pub(super) action: Option<i64>,
    pub(super) reason: Option<String>,
    pub(super) link: Option<i32>,
    pub(super) retry_of: Option<i64>,
    pub(super) more: More,
}

/// The columns that one of the two tables has alone.
#[derive(Clone, Debug)]
pub(super) enum More {
    Open { deadline: i64, by_person: bool, args: Option<String> },
    Settled { finished: Option<i64>, success: Option<bool> },
}

/// A journal that no daemon uses. Each call blocks.
pub(super) trait Idle {
    /// Reads the single values. `None`: there is no journal yet.
    fn head(&mut self) -> Result<Option<JournalHead>, JournalError>;
    /// Reads all open rows. The settled ones follow in portions, of which an empty one is the last.
    fn open(&mut self) -> Result<Vec<TransferRow>, JournalError>;
    fn settled(&mut self) -> Result<Vec<TransferRow>, JournalError>;
    /// Begins to fill the journal: what is in it is taken away. Returns its identity.
    fn begin(
        &mut self,
        head: &JournalHead,
        shards: &[(ShardName, Vec<AccountName>)],
    ) -> Result<Identity, JournalError>;
    fn insert(&mut self, rows: &[TransferRow]) -> Result<(), JournalError>;
    /// Sets `moved_to`, and makes all that was written since the beginning durable.
    fn commit(&mut self, moved_to: Option<&str>) -> Result<(), JournalError>;
}

/// Moves the journal at `from` to `to`. `shards` names the accounts of each named shard of the
/// schedule. `state_dir` is the state directory of this machine's daemon, which knows from then on
/// that its journal is at `to`. `tell` hears how many rows are moved.
///
/// # Errors
/// Then the old journal is in use as before; or, after a failure between the last steps,
/// the move has to be asked for again.
pub fn move_journal(
    from: &Location,
    to: &Location,
    state_dir: &Path,
    shards: &[(ShardName, Vec<AccountName>)],
    mut tell: impl FnMut(u64),
) -> Result<Moved, MoveError> {
    let [from_name, to_name] = [name(from)?, name(to)?];
    if from_name == to_name {
        return Err(MoveError::SamePlace(to_name));
    }
    let mut directories: Vec<PathBuf> = vec![absolute(state_dir)?];
    for location in [from, to] {
        if let Location::Directory(directory) = location {
            let directory = absolute(directory)?;
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
    }
    if let Location::Directory(directory) = from
        && !directory.join(FILE_NAME).exists()
    {
        return Err(MoveError::Nothing(from_name));
    }
    let locked: Result<Vec<Lock>, _> = directories.iter().map(|directory| Lock::take(directory)).collect();
    let _locks = locked?;
    for location in [from, to] {
        idle(location)?;
    }
    let [mut old, mut new] = [of(from)?, of(to)?];
    let Some(mut head) = old.head()? else { return Err(MoveError::Nothing(from_name)) };
    let there = new.head()?;
    let is_filled = there.as_ref().is_some_and(|there| {
        there.moved_from.as_ref() == Some(&head.identity) && there.moved_to.as_ref() == Some(&from_name)
    });
    let mut moved = Moved { from: from_name.clone(), to: to_name.clone(), ..Moved::default() };
    match (&head.moved_to, there) {
        (Some(moved_to), Some(there)) if is_filled && *moved_to == to_name => {
            new.commit(None)?;
            return remembered(&directories, &there.identity, &to_name, None).map(|()| moved);
        }
        (Some(moved_to), _) => {
            let (location, moved_to) = (from_name, moved_to.clone());
            return Err(JournalError::Moved { location, moved_to }.into());
        }
        (None, Some(there)) if !there.is_new() && there.moved_to.is_none() => {
            return Err(MoveError::Occupied(to_name));
        }
        (None, _) => {}
    }
    for directory in &directories {
        head.lost_until = head.lost_until.max(forgotten(directory, &head)?);
    }
    let sent_up_to = sent_up_to(from, &head)?;
    let identity = new.begin(&head, shards)?;
    (moved.paused, moved.quotas) = (head.paused.len() as u64, head.quotas.len() as u64);
    let mut open = old.open()?;
    park(&mut open, sent_up_to);
    moved.open = open.len() as u64;
    for rows in open.chunks(PORTION) {
        new.insert(rows)?;
    }
    loop {
        let rows = old.settled()?;
        if rows.is_empty() {
            break;
        }
        new.insert(&rows)?;
        moved.settled += rows.len() as u64;
        tell(moved.open + moved.settled);
    }
    new.commit(Some(&from_name))?;
    old.commit(Some(&to_name))?;
    new.commit(None)?;
    remembered(&directories, &identity, &to_name, head.lost_until)?;
    Ok(moved)
}

/// The place as the journal and the state directory name it.
fn name(location: &Location) -> Result<String, JournalError> {
    match location {
        Location::Directory(directory) => Ok(absolute(&directory.join(FILE_NAME))?.display().to_string()),
        Location::Database(address) => Ok(address.to_string()),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, JournalError> {
    std::path::absolute(path).map_err(|error| JournalError::io(path, &error))
}

/// Finds that no daemon uses the journal. The lock of a state directory says so of a file.
fn idle(location: &Location) -> Result<(), MoveError> {
    let Location::Database(address) = location else { return Ok(()) };
    match postgres::in_use(address)? {
        Some(who) => Err(MoveError::InUse { location: address.to_string(), who }),
        None => Ok(()),
    }
}

fn of(location: &Location) -> Result<Box<dyn Idle>, JournalError> {
    Ok(match location {
        Location::Directory(directory) => {
            Box::new(sqlite::IdleFile::at(&absolute(&directory.join(FILE_NAME))?))
        }
        Location::Database(address) => Box::new(postgres::IdleDatabase::at(address)?),
    })
}

/// Returns the instant up to which occurrences may have been sent that the journal, an older copy,
/// has forgotten. `None`: the journal is no older copy.
fn forgotten(directory: &Path, head: &JournalHead) -> Result<Option<i64>, JournalError> {
    let known = KnownJournal::open(directory).map_err(|error| JournalError::io(directory, &error))?;
    let until = match known.seen() {
        Some(seen) if seen.identity == head.identity => seen.furthest(),
        _ => None,
    };
    Ok(until.filter(|_| until > head.sends_until.max(head.cursor)))
}

/// Returns the instant after which nothing that was due has been sent. `None`: that is not known.
fn sent_up_to(from: &Location, head: &JournalHead) -> Result<Option<i64>, JournalError> {
    // No start has taken in yet what an older copy has forgotten.
    if head.lost_until > head.cursor {
        return Ok(None);
    }
    let mark = match from {
        Location::Directory(directory) => super::send_watermark::read(directory, &Shard::Common)
            .map_err(|error| JournalError::io(directory, &error))?
            .map(Timestamp::as_microsecond),
        Location::Database(_) => head.sends_until,
    };
    Ok(mark.map(|mark| mark.max(head.lost_until.unwrap_or(mark))))
}

/// Writes down of what a killed daemon had not come to that it waits, as a stop in order does. The
/// new journal cannot ask the send watermark of the old one.
fn park(open: &mut [TransferRow], sent_up_to: Option<i64>) {
    let Some(sent_up_to) = sent_up_to else { return };
    for row in open {
        if row.state == i64::from(State::Due.code()) && row.scheduled_at + row.due > sent_up_to {
            row.state = State::Waiting.code().into();
            row.reason = Some(Cause::from(Reason::Down).to_string());
        }
    }
}

/// Has the state directories know where the journal is now. Send watermarks are of the old journal,
/// so that they are taken away.
fn remembered(
    directories: &[PathBuf],
    identity: &Identity,
    location: &str,
    lost_until: Option<i64>,
) -> Result<(), MoveError> {
    for directory in directories {
        let io = |error| JournalError::io(directory, &error);
        super::send_watermark::forget(directory).map_err(io)?;
        let mut known = KnownJournal::open(directory).map_err(io)?;
        known.forget();
        known.sees(identity, location).map_err(io)?;
        if let Some(until) = lost_until.and_then(|micros| Timestamp::from_microsecond(micros).ok()) {
            known.reaches(&Shard::Common, until).map_err(io)?;
        }
    }
    Ok(())
}
