//! Cron expressions: from text to what each field allows.

mod advice;
mod calendar;
mod field;
mod nickname;
mod parse;
mod piece;
mod words;

use std::fmt;
use std::ops::Range;

pub(crate) use calendar::{Calendar, Days, MonthDays, Weekdays};
pub use field::Field;
pub(crate) use field::{MONTH_NAMES, WEEKDAY_NAMES};

/// One cron expression that comes due at some time.
#[derive(Clone, PartialEq, Eq)]
pub struct Expression {
    source: Box<str>,
    rule: Rule,
}

/// The instants that an expression asks for.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Times of a calendar, in the entry's zone.
    Calendar(Calendar),
    /// Cloud 66's steps past the hour: every so many minutes from 00:00 UTC, whatever the entry's
    /// zone. The number divides a day, so the period is the same across midnight.
    EveryMinutes(u16),
}

/// Why a text is no cron expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CronError {
    /// The bytes of the expression that are wrong.
    pub span: Range<usize>,
    /// The fault.
    pub message: String,
    /// The text to write instead.
    pub help: String,
}

impl Expression {
    /// Reads five fields, six with seconds first, or a nickname such as `@daily`.
    ///
    /// An expression that can never come due (`0 0 30 2 *`) is an error.
    pub fn parse(text: &str) -> Result<Expression, CronError> {
        Ok(Expression { rule: parse::rule(text)?, source: text.into() })
    }

    /// The text it was read from.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Returns the fields as they are written, with nicknames spelt out. The second comes first
    /// where it is written.
    pub fn fields(&self) -> impl Iterator<Item = (Field, &str)> {
        let fields = nickname::expanded(&self.source).split_ascii_whitespace();
        let skipped = if fields.clone().count() == Field::ALL.len() { 0 } else { 1 };
        Field::ALL.into_iter().skip(skipped).zip(fields)
    }

    /// The bytes of one of its [fields](Expression::fields); `None` where a nickname stands for it.
    pub(crate) fn span_of(&self, part: &str) -> Option<Range<usize>> {
        let start = part.as_ptr().addr().checked_sub(self.source.as_ptr().addr())?;
        let end = start + part.len();
        (end <= self.source.len()).then_some(start..end)
    }

    pub(crate) fn rule(&self) -> &Rule {
        &self.rule
    }
}

/// The nicknames, each of which stands for five fields.
pub(super) fn nicknames() -> impl Iterator<Item = &'static str> {
    nickname::NICKNAMES.iter().map(|(name, _)| *name)
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.source, f)
    }
}
