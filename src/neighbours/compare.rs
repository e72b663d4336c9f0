//! Makes and reads the answer of one daemon to another, and finds what the two have in common.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::schedule::Schedule;

/// Chosen by who asks.
pub(super) type Salt = [u8; 16];

/// The beginning of a salted hash.
pub(super) type Mark = u64;

/// A file's device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileId(pub(super) u64, pub(super) u64);

/// The answer of a daemon about itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NeighbourAnswer {
    /// The other daemon's schedule file. `None`: the file is gone.
    pub(super) file: Option<FileId>,
    /// The marks of the other daemon's shared journal. Empty: its journal is its own.
    pub(super) journal: Vec<Mark>,
    /// First what it fires, then what a reload is about to bring.
    pub(super) fires: Vec<Fired>,
}

/// Entries that are fired since the same stamp.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Fired {
    /// The other daemon's start, in nanoseconds since the machine booted.
    pub(super) since: u64,
    pub(super) entries: Vec<Mark>,
}

/// The order of daemons by their start. The name decides between equal starts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NeighbourRank {
    pub(super) since: u64,
    pub(super) name: String,
}

/// The marks of this daemon that are compared with an answer.
pub(super) struct OwnDaemon {
    rank: NeighbourRank,
    file: Option<FileId>,
    journal: Vec<Mark>,
    /// The marks of the entries, in the schedule's order. `None`: the entry is not asked about.
    entries: Vec<Option<Mark>>,
}

/// The result of comparing another daemon's answer with this one's schedule.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// Both may fire, or the other one gives way.
    Apart,
    /// The other one fires this already, with that rank.
    Shares(NeighbourRank, Common),
    /// The other one says so, and need not be believed.
    Unproven,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Common {
    File,
    /// The first entry of this schedule, by its place, and how many more.
    Entries {
        first: usize,
        more: usize,
    },
}

impl OwnDaemon {
    pub(super) fn new(
        rank: NeighbourRank,
        file: Option<FileId>,
        journal: Vec<Mark>,
        salt: &Salt,
        schedule: &Schedule,
    ) -> OwnDaemon {
        OwnDaemon { rank, file, journal, entries: entry_marks(salt, schedule).map(Some).collect() }
    }

    /// Does not ask about these entries.
    pub(super) fn leave_out(&mut self, marks: &HashSet<Mark>) {
        for entry in &mut self.entries {
            *entry = entry.filter(|mark| !marks.contains(mark));
        }
    }

    pub(super) fn asks_nothing(&self) -> bool {
        self.file.is_none() && self.entries.iter().all(Option::is_none)
    }

    /// `trusted`: the other process is one of this user's or root's. What another user's process
    /// says of a file anybody could say; about entries it has to know their uids.
    pub(super) fn compare(&self, answer: &NeighbourAnswer, name: &str, trusted: bool) -> Compared {
        if self.journal.iter().any(|mark| answer.journal.contains(mark)) {
            return Compared::Apart;
        }
        let rank = |fired: &Fired| NeighbourRank { since: fired.since, name: name.to_owned() };
        let earlier: Vec<&Fired> = answer.fires.iter().filter(|fired| rank(fired) < self.rank).collect();
        let Some(first) = earlier.iter().min_by_key(|fired| fired.since) else {
            return Compared::Apart;
        };
        let theirs: HashSet<Mark> = earlier.iter().flat_map(|fired| &fired.entries).copied().collect();
        let is_common = |mark: &Option<Mark>| mark.is_some_and(|mark| theirs.contains(&mark));
        let mut common =
            self.entries.iter().enumerate().filter(|(_, mark)| is_common(mark)).map(|(at, _)| at);
        let entries = common.next().map(|first| Common::Entries { first, more: common.count() });
        let same_file = self.file.is_some() && self.file == answer.file;
        match (same_file, entries) {
            (true, entries) if trusted || entries.is_some() => Compared::Shares(rank(first), Common::File),
            (_, Some(entries)) => Compared::Shares(rank(first), entries),
            (true, None) => Compared::Unproven,
            (false, None) => Compared::Apart,
        }
    }
}

/// Returns the mark of each entry in order: a digest of its account's URL, stack and job.
pub(super) fn entry_marks(salt: &Salt, schedule: &Schedule) -> impl Iterator<Item = Mark> {
    schedule.entries.iter().map(|entry| {
        let (url, stack, job) = (entry.account.url.as_str(), entry.stack.as_str(), entry.job.as_str());
        mark(salt, &["entry", url, stack, job])
    })
}

/// The beginning of the hash of some texts.
pub(super) fn mark(salt: &Salt, texts: &[&str]) -> Mark {
    let mut hash = Sha256::new_with_prefix(salt);
    for text in texts {
        // The length goes first, so that no two lists of texts come to the same bytes.
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.finalize().iter().take(8).fold(0, |mark, &byte| mark << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = [7; 16];

    fn schedule(url: &str, jobs: &[&str]) -> Schedule {
        let jobs: String = jobs
            .iter()
            .map(|job| format!("  e-{job}: {{ stack: s, job: {job}, cron: '@daily' }}\n"))
            .collect();
        let file = format!("accounts: {{ main: {{ url: '{url}', token: {{ env: T }} }} }}\njobs:\n{jobs}");
        crate::schedule::parse("test.yaml", &file).expect("a valid file").schedule
    }

    fn own(since: u64, journal: &[Mark], jobs: &[&str]) -> OwnDaemon {
        let rank = NeighbourRank { since, name: "b".into() };
        OwnDaemon::new(
            rank,
            Some(FileId(1, 2)),
            journal.to_vec(),
            &SALT,
            &schedule("https://a.example", jobs),
        )
    }

    fn answer(since: u64, file: u64, url: &str, jobs: &[&str]) -> NeighbourAnswer {
        let entries = entry_marks(&SALT, &schedule(url, jobs)).collect();
        NeighbourAnswer {
            file: Some(FileId(1, file)),
            journal: vec![5],
            fires: vec![Fired { since, entries }],
        }
    }

    #[test]
    fn the_earlier_one_fires_what_both_have() {
        let url = "https://a.example";
        let shares = |since, common| Compared::Shares(NeighbourRank { since, name: "a".into() }, common);
        let entries = |first, more| Common::Entries { first, more };
        for (what, own, answer, trusted, expected) in [
            ("its file", own(9, &[], &["x"]), answer(3, 2, url, &["y"]), true, shares(3, Common::File)),
            (
                "the file alone, by another user",
                own(9, &[], &["x"]),
                answer(3, 2, url, &["y"]),
                false,
                Compared::Unproven,
            ),
            (
                "file and entry, by another user",
                own(9, &[], &["x"]),
                answer(3, 2, url, &["x"]),
                false,
                shares(3, Common::File),
            ),
            (
                "two of three",
                own(9, &[], &["x", "y", "z"]),
                answer(3, 4, url, &["z", "y"]),
                false,
                shares(3, entries(1, 1)),
            ),
            (
                "another URL",
                own(9, &[], &["x"]),
                answer(3, 4, "https://b.example", &["x"]),
                true,
                Compared::Apart,
            ),
            ("other jobs", own(9, &[], &["x"]), answer(3, 4, url, &["y"]), true, Compared::Apart),
            ("one journal", own(9, &[5], &["x"]), answer(3, 2, url, &["x"]), true, Compared::Apart),
            (
                "another journal",
                own(9, &[6], &["x"]),
                answer(3, 4, url, &["x"]),
                true,
                shares(3, entries(0, 0)),
            ),
            ("a later one", own(2, &[], &["x"]), answer(3, 2, url, &["x"]), true, Compared::Apart),
            (
                "an equal stamp, and an earlier name",
                own(3, &[], &["x"]),
                answer(3, 4, url, &["x"]),
                true,
                shares(3, entries(0, 0)),
            ),
        ] {
            assert_eq!(own.compare(&answer, "a", trusted), expected, "{what}");
        }
    }

    #[test]
    fn of_what_a_reload_proposes_only_the_new_counts_and_its_stamp_is_its_own() {
        let url = "https://a.example";
        let mut reload = own(20, &[], &["x", "y"]);
        reload.leave_out(&entry_marks(&SALT, &schedule(url, &["x"])).collect());
        reload.file = None;
        assert_eq!(
            reload.compare(&answer(3, 4, url, &["x"]), "a", true),
            Compared::Apart,
            "x is fired already"
        );
        let mut other = answer(3, 4, url, &["z"]);
        other.fires.push(Fired { since: 21, ..answer(0, 4, url, &["y"]).fires.remove(0) });
        assert_eq!(reload.compare(&other, "a", true), Compared::Apart, "the other proposes it later");
        other.fires[1].since = 19;
        assert!(
            matches!(reload.compare(&other, "a", true), Compared::Shares(..)),
            "the other proposed it earlier"
        );
    }
}
