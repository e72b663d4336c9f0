//! The columns of a journal that keep the origin of an occurrence.
//!
//! `by_person` and `args` tell what a person fires. `link` is NULL where nothing but the schedule
//! or a person asked for the occurrence, [`UPSTREAM`], [`BACKFILL`], or the number of a repetition;
//! that one has in `retry_of` how many microseconds after its own scheduled_at the first run was
//! scheduled, which is a negative number.

use jiff::Timestamp;

use super::{Origin, Record, Retry};

/// The upstream of the entry has ended.
const UPSTREAM: i32 = 0;

/// A person has it made up for.
const BACKFILL: i32 = -1;

/// The reason for an occurrence that neither an expression nor a person's `fire` asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// The occurrence repeats a run.
    Retry {
        /// The scheduled_at of the first run.
        of: Timestamp,
        /// The number of the repetition, from 1.
        number: u32,
    },
    /// The entry that its own entry comes after has ended.
    Upstream,
    /// A person has the schedule's occurrence made up for.
    Backfill,
}

impl Linked {
    /// The word that operators know it by.
    pub fn as_str(self) -> &'static str {
        match self {
            Linked::Retry { .. } => "retry",
            Linked::Upstream => "upstream",
            Linked::Backfill => "backfill",
        }
    }
}

impl Record {
    /// Returns the run that the occurrence repeats: when that was scheduled, and the number of the
    /// repetition. `None`: it repeats none.
    pub fn retry(&self) -> Option<(Timestamp, u32)> {
        match self.link {
            Some(Linked::Retry { of, number }) => Some((of, number)),
            Some(Linked::Upstream | Linked::Backfill) | None => None,
        }
    }

    /// Returns true when a person asked for the occurrence with `backfill`.
    pub fn is_backfill(&self) -> bool {
        self.link == Some(Linked::Backfill)
    }
}

/// The columns of an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link<'o> {
    pub(super) by_person: bool,
    pub(super) args: Option<&'o str>,
    pub(super) link: Option<i32>,
    pub(super) retry_of: Option<i64>,
}

impl Origin {
    pub(super) fn link(&self, scheduled_at: Timestamp) -> Link<'_> {
        let none = Link { by_person: false, args: None, link: None, retry_of: None };
        match self {
            Origin::Schedule => none,
            Origin::Person { args } => Link { by_person: true, args: args.as_deref(), ..none },
            Origin::Retry(Retry { of, number, args }) => Link {
                args: args.as_deref(),
                link: Some(i32::try_from(*number).unwrap_or(i32::MAX)),
                retry_of: Some(of.as_microsecond() - scheduled_at.as_microsecond()),
                ..none
            },
            Origin::Upstream => Link { link: Some(UPSTREAM), ..none },
            Origin::Backfill => Link { link: Some(BACKFILL), ..none },
        }
    }

    pub(super) fn of_columns(
        by_person: bool,
        args: Option<String>,
        link: Option<i32>,
        retry_of: Option<i64>,
        scheduled_at: Timestamp,
    ) -> Origin {
        match linked(link, retry_of, scheduled_at) {
            Some(Linked::Retry { of, number }) => Origin::Retry(Retry { of, number, args }),
            Some(Linked::Backfill) => Origin::Backfill,
            Some(Linked::Upstream) => Origin::Upstream,
            None if by_person => Origin::Person { args },
            None => Origin::Schedule,
        }
    }
}

/// Reads the columns. `None`: the schedule or a person asked for the occurrence.
pub(super) fn linked(link: Option<i32>, retry_of: Option<i64>, scheduled_at: Timestamp) -> Option<Linked> {
    let link = link?;
    let of = || Timestamp::from_microsecond(scheduled_at.as_microsecond().checked_add(retry_of?)?).ok();
    let number = u32::try_from(link).ok().filter(|number| *number > 0);
    Some(match number.zip(of()) {
        Some((number, of)) => Linked::Retry { of, number },
        None if link == BACKFILL => Linked::Backfill,
        None => Linked::Upstream,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_origin_is_read_as_it_was_written() {
        let at = |second| Timestamp::from_second(second).expect("an instant");
        let args = || Some("--full".to_owned());
        for origin in [
            Origin::Schedule,
            Origin::Person { args: None },
            Origin::Person { args: args() },
            Origin::Retry(Retry { of: at(50), number: 1, args: None }),
            Origin::Retry(Retry { of: at(50), number: 7, args: args() }),
            Origin::Upstream,
            Origin::Backfill,
        ] {
            let Link { by_person, args, link, retry_of } = origin.link(at(100));
            let args = args.map(str::to_owned);
            assert_eq!(Origin::of_columns(by_person, args, link, retry_of, at(100)), origin);
        }
    }
}
