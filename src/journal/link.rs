//! How the origin of an occurrence is kept in the columns of a journal.
//!
//! `by_person` and `args` tell what a person fires. `link` is NULL where nothing but the schedule
//! or a person asked for the occurrence, [`UPSTREAM`], [`BACKFILL`], or the number of a repetition;
//! that one has in `retry_of` how many microseconds after its own scheduled_at the first run was
//! scheduled, which is a negative number.

use jiff::Timestamp;

use super::{Origin, Retry};

/// The upstream of the entry has ended.
const UPSTREAM: i32 = 0;

/// A person has it made up for.
const BACKFILL: i32 = -1;

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
        match (link, retry(link, retry_of, scheduled_at)) {
            (_, Some((of, number))) => Origin::Retry(Retry { of, number, args }),
            (Some(BACKFILL), None) => Origin::Backfill,
            (Some(_), None) => Origin::Upstream,
            (None, None) if by_person => Origin::Person { args },
            (None, None) => Origin::Schedule,
        }
    }
}

/// Returns the run that is repeated and the number of the repetition. `None`: the occurrence
/// repeats none.
pub(super) fn retry(
    link: Option<i32>,
    retry_of: Option<i64>,
    scheduled_at: Timestamp,
) -> Option<(Timestamp, u32)> {
    let number = u32::try_from(link?).ok().filter(|number| *number > 0)?;
    let of = Timestamp::from_microsecond(scheduled_at.as_microsecond().checked_add(retry_of?)?).ok()?;
    Some((of, number))
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
