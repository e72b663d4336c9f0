//! The places of a schedule's parts in its file, for diagnostics that come up after it was read.

use std::ops::Range;

use super::CalendarName;
use super::sources::Sources;
use super::tree::{Span, TreeNode};

/// The texts of a schedule, and the places of its parts.
#[derive(Clone, Debug)]
pub(super) struct SourceMap {
    pub sources: Sources,
    pub places: Places,
}

/// A part of the schedule file of which something is said after it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The name of an account, by the account's number.
    Account(usize),
    /// The name of an entry, by the entry's number.
    Name(usize),
    /// The uid of an entry's stack.
    Stack(usize),
    /// The uid of an entry's job.
    Job(usize),
}

/// The places of the accounts, of the entries and of all their expressions, each in the file's
/// order.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    accounts: Vec<Range<usize>>,
    calendars: Vec<(CalendarName, Range<usize>)>,
    entries: Vec<Range<usize>>,
    /// Places of the stack and the job of each entry.
    pairs: Vec<(Span, Span)>,
    expressions: Vec<ExpressionPlace>,
}

#[derive(Clone, Copy, Debug)]
struct ExpressionPlace {
    /// The scalar, quotes included.
    at: Span,
    /// Beginning of the text. `None`: the text is not written as it reads, as with escapes.
    words: Option<u32>,
}

impl Places {
    pub fn account(&mut self, name: Range<usize>) {
        self.accounts.push(name);
    }

    pub fn calendar(&mut self, name: CalendarName, at: Range<usize>) {
        self.calendars.push((name, at));
    }

    /// The calendars, each with the place of its name.
    pub fn calendars(&self) -> impl Iterator<Item = (&CalendarName, &Range<usize>)> {
        self.calendars.iter().map(|(name, at)| (name, at))
    }

    pub fn entry(&mut self, name: Range<usize>, stack: Span, job: Span) {
        self.entries.push(name);
        self.pairs.push((stack, job));
    }

    /// A part of the file.
    pub fn of(&self, part: Part) -> Option<Range<usize>> {
        match part {
            Part::Account(account) => self.accounts.get(account).cloned(),
            Part::Name(entry) => self.name_of(entry),
            Part::Stack(entry) => self.pairs.get(entry).map(|(stack, _)| stack.range()),
            Part::Job(entry) => self.pairs.get(entry).map(|(_, job)| job.range()),
        }
    }

    pub fn expression(&mut self, node: &TreeNode<'_>, source: &str) {
        let words = node.part(source, 0..0).and_then(|words| words.start.try_into().ok());
        self.expressions.push(ExpressionPlace { at: node.at, words });
    }

    /// The name of an entry, by its number.
    pub fn name_of(&self, entry: usize) -> Option<Range<usize>> {
        self.entries.get(entry).cloned()
    }

    /// An expression, by its number among those of all entries; or a part of it, where its bytes
    /// can be told.
    pub fn part_of(&self, expression: usize, part: Option<Range<usize>>) -> Option<Range<usize>> {
        let place = self.expressions.get(expression)?;
        Some(match (place.words, part) {
            (Some(words), Some(part)) => words as usize + part.start..words as usize + part.end,
            _ => place.at.range(),
        })
    }
}
