//! Diagnostics: the faults of a schedule file, each with its place and its remedy.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

pub use super::place::Place;
use super::render;

/// One fault of a schedule file, or one doubtful thing in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The kind of fault. Scripts may rely on it.
    pub code: Code,
    /// Tells whether the file can be used all the same.
    pub severity: Severity,
    /// The file, as it was named.
    pub path: Arc<str>,
    /// The place of the fault. `None`: the file as a whole is meant, as when it cannot be read.
    pub place: Option<Place>,
    /// The fault in words.
    pub message: String,
    /// The remedy.
    pub help: String,
    /// Another place that has to do with it, and what it is.
    pub related: Option<Related>,
}

/// A place that has to do with a diagnostic, as the first one of two that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// The file, as it was named.
    pub path: Arc<str>,
    /// The place.
    pub place: Place,
    /// The thing at that place.
    pub label: String,
}

/// Tells whether a file with this fault can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but somebody should look.
    Warning,
    /// The file can be used. The note explains what may happen next.
    Note,
}

/// The kind of fault, in a word that does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The file is not there, may not be read, or is no regular file.
    Unreadable,
    /// The file, or what its aliases make of it, is beyond what is read.
    TooLarge,
    /// The file is not UTF-8, or has NUL bytes in it.
    NotText,
    /// Neither YAML nor JSON.
    Syntax,
    /// A key that the format has not.
    UnknownKey,
    /// A key that stands twice in one mapping.
    DuplicateKey,
    /// A key that must be there.
    MissingKey,
    /// A value of another type: a list for a text, a text for a number.
    WrongType,
    /// A word that is none of those allowed.
    UnknownWord,
    /// No name of an entry or account, or no uid.
    BadName,
    /// A number out of its bounds.
    BadNumber,
    /// No duration, or one out of its bounds.
    BadDuration,
    /// No address of an API.
    BadUrl,
    /// No time zone.
    UnknownTimezone,
    /// No cron expression, or one that never comes due.
    BadCron,
    /// A template with a field that there is not.
    BadTemplate,
    /// A token from nowhere, or from several places.
    BadToken,
    /// An account that is not defined, or none where one has to be chosen.
    BadAccount,
    /// A receiver that is not defined, or that is told of nothing.
    BadReceiver,
    /// Entries that come after each other in a way that never comes due, or a `retry` whose runs
    /// have no known end.
    BadChain,
    /// An entry that comes after a paused one.
    PausedUpstream,
    /// `args` that are longer than a request can carry.
    ArgsTooLong,
    /// Two entries run one job of one stack on one expression.
    DuplicateEntry,
    /// A token that would travel unencrypted.
    PlainHttp,
    /// A receiver that no entry names.
    UnusedReceiver,
    /// An `expect` of an entry whose actions are not followed.
    BadExpectation,
    /// No date, or a range of dates that ends before it begins.
    BadDate,
    /// A calendar that is not defined, or that says nothing or too much.
    BadCalendar,
    /// A file that a calendar names, and that cannot be used.
    BadCalendarFile,
    /// A calendar that no entry names.
    UnusedCalendar,
    /// A calendar whose list of dates ends within thirty days, or has ended.
    CalendarEnds,
    /// An entry whose every occurrence falls on a calendar of its own.
    NeverSent,
    /// A step that does not divide its range, so that its last gap differs.
    UnevenStep,
    /// Day-of-month and day-of-week are both restricted, and one of them suffices.
    EitherDay,
    /// A day that some of the months lack.
    ShortMonths,
    /// 29 February alone.
    LeapDay,
    /// A time that the clocks skip within a year.
    SkippedTime,
    /// A time that the clocks show twice within a year.
    RepeatedTime,
    /// Two entries that start the same job of the same stack at the same instant.
    SharedInstant,
    /// A minute on which more than a quarter of its hour is due.
    CrowdedMinute,
    /// A stack that the API does not have, or not for this token.
    UnknownStack,
    /// A job that its stack does not have.
    UnknownJob,
    /// A job that is paused at Cloud 66.
    PausedJob,
    /// A job with a cron of its own at Cloud 66, so that it runs from there as well.
    DoubledJob,
    /// A stack that is being deployed.
    StackDeploying,
    /// A stack in maintenance mode.
    StackMaintenance,
    /// The API could not be asked about something.
    NotAsked,
}

/// A diagnostic as `check --format json` prints it. The keys are part of the interface.
#[derive(Clone, Debug, Serialize)]
pub struct DiagnosticRecord<'a> {
    /// The kind of fault.
    pub code: Code,
    /// `error`, `warning` or `note`.
    pub severity: Severity,
    /// The file, as it was named.
    pub path: &'a str,
    /// Counted from 1; null where the whole file is meant.
    pub line: Option<usize>,
    /// The column in characters, counted from 1.
    pub column: Option<usize>,
    /// The fault in words.
    pub message: &'a str,
    /// The remedy.
    pub help: &'a str,
    /// The line, or of a long one the part around the place.
    pub text: Option<&'a str>,
}

impl Diagnostic {
    /// Returns the sort key of diagnostics: those of a whole file come before those of its places.
    pub(crate) fn order(&self) -> (Option<&str>, Option<usize>) {
        let start = self.place.as_ref().map(|place| place.span.start);
        (start.is_some().then_some(&*self.path), start)
    }

    /// The diagnostic as a record for a machine.
    pub fn record(&self) -> DiagnosticRecord<'_> {
        let place = self.place.as_ref();
        DiagnosticRecord {
            code: self.code,
            severity: self.severity,
            path: &self.path,
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            message: &self.message,
            help: &self.help,
            text: place.map(|place| place.text.as_str()),
        }
    }
}

/// Writes one line, for a log: the file, the place and the message.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(place) = &self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A schedule file that cannot be used, with everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.summary())]
pub struct Rejected {
    /// Errors and warnings in the file's order. At least one is an error.
    pub diagnostics: Vec<Diagnostic>,
    /// True when there were so many faults that the rest of the file was not read.
    pub cut: bool,
}

impl Rejected {
    /// Returns the number of errors.
    pub fn errors(&self) -> usize {
        let listed = self.diagnostics.iter();
        listed.filter(|d| d.severity == Severity::Error).count()
    }

    /// The first error, as the log tells it.
    pub fn first(&self) -> Option<&Diagnostic> {
        let mut errors = self.diagnostics.iter().filter(|d| d.severity == Severity::Error);
        errors.next()
    }

    /// Returns all errors as a text for people.
    pub fn render(&self, colour: render::Colour) -> String {
        render::render(&self.diagnostics, self.cut, colour)
    }

    /// The same, with the excerpts on lines of so many columns at most.
    pub fn render_within(&self, colour: render::Colour, columns: usize) -> String {
        render::render_within(&self.diagnostics, self.cut, colour, columns)
    }

    fn summary(&self) -> String {
        let first = self.first().map(Diagnostic::to_string).unwrap_or_default();
        match self.errors() {
            0 | 1 => first,
            2 => format!("{first} (and 1 more error)"),
            errors => format!("{first} (and {} more errors)", errors - 1),
        }
    }
}
