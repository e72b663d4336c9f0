//! Links from one occurrence to another: `retry` after a run without success, `after` another
//! entry's end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;

use super::words::Word;
use super::{Entry, EntryName, Schedule, shape};

/// The policy by which an action that ended without success is run again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Repetitions at most, from 1.
    pub times: u32,
    /// The wait from the end of a run to the next one.
    pub after: Backoff,
}

/// The wait before a rerun.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Before the first repetition.
    pub first: Duration,
    /// Each further wait is this many times as long as the one before: 1 or more.
    pub factor: f64,
    /// No wait is longer. `None`: waits grow on.
    pub most: Option<Duration>,
}

impl Backoff {
    /// Returns the wait before rerun `number`, counted from 1.
    pub fn before(&self, number: u32) -> Duration {
        let exponent = i32::try_from(number.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.first.as_secs_f64() * self.factor.powi(exponent);
        let most = self.most.unwrap_or(LONGEST).min(LONGEST);
        Duration::try_from_secs_f64(seconds).map_or(most, |wait| wait.min(most))
    }

    /// Returns the due instant of rerun `number`, of a run that ended at `ended_at`.
    pub fn due_at(&self, ended_at: Timestamp, number: u32) -> Timestamp {
        ended_at.checked_add(self.before(number)).unwrap_or(Timestamp::MAX)
    }
}

/// No repetition waits longer, whatever a growing wait comes to.
pub(super) const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// The entry whose end makes another one due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    /// The name of the entry.
    pub entry: EntryName,
    /// The ends of its action that make the follower due.
    pub on: End,
}

/// The ends of an entry's action that make its followers due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "lowercase", transform = shape::words)]
pub enum End {
    /// The action ended with success.
    #[default]
    Success,
    /// The action ended without success, and is not run again.
    Failure,
    /// The action ended, however it did.
    End,
}

impl Word for End {
    const ALL: &'static [(&'static str, Self)] =
        &[("success", End::Success), ("failure", End::Failure), ("end", End::End)];
}

impl End {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        self.word()
    }

    /// Returns true when an action with this outcome makes the follower due.
    pub fn admits(self, success: bool) -> bool {
        match self {
            End::Success => success,
            End::Failure => !success,
            End::End => true,
        }
    }
}

/// The entries that come after others.
#[derive(Clone, Debug, Default)]
pub struct Followers(HashMap<EntryName, Vec<Arc<Entry>>>);

impl Followers {
    /// Collects the followers among these entries.
    pub fn of<'e>(entries: impl IntoIterator<Item = &'e Arc<Entry>>) -> Followers {
        let mut followers: HashMap<EntryName, Vec<Arc<Entry>>> = HashMap::new();
        for entry in entries {
            if let Some(after) = &entry.after {
                followers.entry(after.entry.clone()).or_default().push(Arc::clone(entry));
            }
        }
        Followers(followers)
    }

    /// The entries that come right after one, in the file's order.
    pub fn after(&self, entry: &EntryName) -> &[Arc<Entry>] {
        self.0.get(entry).map_or(&[], Vec::as_slice)
    }

    /// An entry, and each that comes after it or after one of those, in the order of the chain.
    pub fn chain(&self, entry: &Arc<Entry>) -> Vec<Arc<Entry>> {
        let mut chain = Vec::new();
        let mut open = vec![Arc::clone(entry)];
        while let Some(entry) = open.pop() {
            open.extend(self.after(&entry.name).iter().rev().cloned());
            chain.push(entry);
        }
        chain
    }
}

impl Schedule {
    /// The entry that an entry comes after in the end, which is due by the clock; an entry without
    /// `after` itself.
    pub fn root<'s>(&'s self, entry: &'s Arc<Entry>) -> &'s Arc<Entry> {
        self.upstream(entry).last().unwrap_or(entry)
    }

    /// The entries that an entry comes after: the next one first, the one that is due by the clock
    /// last.
    pub fn upstream<'s>(&'s self, entry: &'s Entry) -> impl Iterator<Item = &'s Arc<Entry>> {
        let before = move |entry: &Entry| {
            let after = entry.after.as_ref()?;
            self.entries.iter().find(|other| other.name == after.entry)
        };
        std::iter::successors(before(entry), move |entry| before(entry)).take(self.entries.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_by_their_factor_up_to_the_longest() {
        let minutes = |backoff: Backoff| [1, 2, 3, 4, 40].map(|number| backoff.before(number).as_secs() / 60);
        let first = Duration::from_secs(60);
        let doubling = Backoff { first, factor: 2.0, most: Some(Duration::from_secs(360)) };
        assert_eq!(minutes(doubling), [1, 2, 4, 6, 6]);
        assert_eq!(minutes(Backoff { factor: 1.0, most: None, ..doubling }), [1; 5]);
        assert_eq!(minutes(Backoff { most: None, ..doubling })[4], LONGEST.as_secs() / 60);
    }
}
