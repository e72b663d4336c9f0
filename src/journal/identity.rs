//! The journal that a state directory has seen, and how far that journal had come.
//!
//! A database can be dropped and made anew, and a backup can be restored, under a daemon that knows
//! better. The daemon would begin with an empty journal, or send again what the backup has
//! forgotten. So a journal has an identity, a UUID that is made with its tables, and a state
//! directory keeps the identity and the place of the journal that it has seen last. A daemon that
//! finds another identity, or no journal at all, does not fire until a person says so with
//! `--new-journal`.
//!
//! For each shard the directory also keeps an instant up to which occurrences may have been sent:
//! the cursor of a file, or what the lease in a database allowed. That instant never falls in one
//! journal. So a journal that has come less far is an older copy of itself, and what is due between
//! may have been sent.
//!
//! Example: the cursor is at 10:00:40 when somebody puts back the copy of 10:00:00. The journal
//! says 10:00:00 and the state directory says 10:00:40: the occurrences of these 40 s are claimed
//! again as attempts in doubt, and the stacks' actions tell which of them started.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::JournalError;
use super::uuid::Identity;
use crate::schedule::{Shard, ShardName};

/// Name of the file in the state directory.
const FILE: &str = "journal.known";

/// The reaction of a daemon whose state directory knows another journal than the one that is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenReplaced {
    /// The daemon refuses to fire.
    Refuse,
    /// The daemon goes on with the journal that it finds, or with an empty one: a person said
    /// `--new-journal`.
    BeginAnew,
}

/// The journal that a state directory has seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeenJournal {
    pub(super) identity: Identity,
    /// The path of a file, or the address of a database without its password.
    pub(super) location: String,
    /// For each shard the instant after whose due occurrences nothing was sent, in microseconds
    /// since 1970. The common shard has the empty name.
    until: BTreeMap<String, i64>,
}

impl SeenJournal {
    /// Returns the instant up to which occurrences of any shard may have been sent, in microseconds
    /// since 1970.
    pub(super) fn furthest(&self) -> Option<i64> {
        self.until.values().copied().max()
    }
}

/// The file that remembers it. Only the daemon that has the lock on the directory writes it.
#[derive(Debug)]
pub(super) struct KnownJournal {
    path: PathBuf,
    seen: Option<SeenJournal>,
}

impl KnownJournal {
    /// Reads what the state directory knows. A file that cannot be understood counts as none.
    pub(super) fn open(directory: &Path) -> io::Result<KnownJournal> {
        let path = directory.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        Ok(KnownJournal { path, seen: parse(&text) })
    }

    /// The journal that was seen last. `None`: none was.
    pub(super) fn seen(&self) -> Option<&SeenJournal> {
        self.seen.as_ref()
    }

    /// Returns the instant up to which occurrences of a shard may have been sent.
    pub(super) fn until(&self, shard: &Shard) -> Option<Timestamp> {
        let micros = *self.seen.as_ref()?.until.get(name(shard))?;
        Timestamp::from_microsecond(micros).ok()
    }

    /// The error of a write to the file.
    pub(super) fn failed(&self, error: &io::Error) -> JournalError {
        JournalError::io(&self.path, error)
    }

    /// Forgets the journal until another one is seen.
    pub(super) fn forget(&mut self) {
        self.seen = None;
    }

    /// Remembers that this journal is there. On disk when it returns.
    pub(super) fn sees(&mut self, identity: &Identity, location: &str) -> io::Result<()> {
        let until = match &self.seen {
            Some(seen) if seen.identity == *identity && seen.location == location => return Ok(()),
            Some(seen) if seen.identity == *identity => seen.until.clone(),
            _ => BTreeMap::new(),
        };
        let seen = SeenJournal { identity: identity.clone(), location: location.to_owned(), until };
        let partial = self.path.with_extension("known.partial");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&partial)?;
        file.write_all(render(&seen).as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, &self.path)?;
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        self.seen = Some(seen);
        Ok(())
    }

    /// The clock was set back, and the journal's cursor goes back with it.
    pub(super) fn goes_back(&mut self, shard: &Shard, cursor: Timestamp) -> io::Result<()> {
        let Some(seen) = &mut self.seen else { return Ok(()) };
        let Some(until) = seen.until.get_mut(name(shard)) else { return Ok(()) };
        *until = (*until).min(cursor.as_microsecond());
        OpenOptions::new().write(true).open(&self.path)?.write_all_at(render(seen).as_bytes(), 0)
    }

    /// Remembers how far the journal has come. The write outlives the process and waits for no
    /// disk: after a power failure the file may know of less.
    pub(super) fn reaches(&mut self, shard: &Shard, until: Timestamp) -> io::Result<()> {
        let Some(seen) = &mut self.seen else { return Ok(()) };
        let micros = until.as_microsecond();
        let known = seen.until.get(name(shard)).copied();
        if known.is_some_and(|known| known >= micros) {
            return Ok(());
        }
        seen.until.insert(name(shard).to_owned(), micros);
        // The text only grows, so that each write replaces the whole text before.
        OpenOptions::new().write(true).open(&self.path)?.write_all_at(render(seen).as_bytes(), 0)
    }
}

fn name(shard: &Shard) -> &str {
    shard.name().map_or("", ShardName::as_str)
}

fn render(seen: &SeenJournal) -> String {
    let mut text = format!("identity {}\nlocation {}\n", seen.identity, seen.location);
    for (shard, micros) in &seen.until {
        text += &format!("until {micros:020} {shard}\n");
    }
    text
}

fn parse(text: &str) -> Option<SeenJournal> {
    let mut lines = text.lines();
    let identity = Identity::parse(lines.next()?.strip_prefix("identity ")?)?;
    let location = lines.next()?.strip_prefix("location ")?.to_owned();
    let until = lines.map_while(|line| {
        let (micros, shard) = line.strip_prefix("until ")?.split_once(' ')?;
        Some((shard.to_owned(), micros.parse().ok()?))
    });
    Some(SeenJournal { identity, location, until: until.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_knows_its_journal_and_how_far_that_has_come() {
        let directory = tempfile::tempdir().expect("a directory");
        let known = || KnownJournal::open(directory.path()).expect("it can be read");
        assert_eq!(known().seen(), None);
        let [one, other] = ["1", "2"].map(|digit| {
            Identity::parse(&format!("0000000{digit}-0000-4000-8000-000000000000")).expect("a UUID")
        });
        let at = |second| Timestamp::from_second(second).expect("an instant");
        let shard = Shard::Named(ShardName::new("b").expect("a name"));
        let mut file = known();
        file.sees(&one, "postgres://h/a").expect("written");
        file.reaches(&Shard::Common, at(100)).expect("written");
        file.reaches(&shard, at(90)).expect("written");
        file.reaches(&Shard::Common, at(50)).expect("it never falls");
        assert_eq!(known().until(&Shard::Common), Some(at(100)));
        assert_eq!(known().until(&shard), Some(at(90)));
        file.sees(&one, "postgres://h/b").expect("written");
        assert_eq!(known().until(&shard), Some(at(90)), "the journal has another address");
        file.sees(&other, "postgres://h/b").expect("written");
        assert_eq!(known().until(&shard), None, "another journal has come as far as it says");
        assert_eq!(known().seen().map(|seen| &seen.identity), Some(&other));
    }
}
