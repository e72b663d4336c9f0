//! Where the parts of a schedule stand in its file, for what is said of it after it was read.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::tree::{Node, Span};

/// The file of a schedule, and the places of its parts.
#[derive(Clone)]
pub(super) struct Origin {
    /// What its diagnostics call it.
    pub path: Arc<str>,
    pub text: Arc<str>,
    pub places: Places,
}

/// The whole text would hide everything else.
impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Origin").field(&self.path).finish()
    }
}

/// The places of the entries and of all their expressions, each in the file's order.
#[derive(Clone, Default)]
pub(super) struct Places {
    entries: Vec<Range<usize>>,
    expressions: Vec<ExpressionPlace>,
}

#[derive(Clone, Copy)]
struct ExpressionPlace {
    /// The scalar, quotes included.
    at: Span,
    /// Where its words begin; `None` where they are not written as they read, as with escapes.
    words: Option<u32>,
}

impl Places {
    pub fn entry(&mut self, name: Range<usize>) {
        self.entries.push(name);
    }

    pub fn expression(&mut self, node: &Node<'_>, source: &str) {
        let words = node.part(source, 0..0).and_then(|words| words.start.try_into().ok());
        self.expressions.push(ExpressionPlace { at: node.at, words });
    }

    /// The name of an entry, by its number.
    pub fn name_of(&self, entry: usize) -> Option<Range<usize>> {
        self.entries.get(entry).cloned()
    }

    /// An expression, by its number among those of all entries; or a part of it, where its bytes can be told.
    pub fn part_of(&self, expression: usize, part: Option<Range<usize>>) -> Option<Range<usize>> {
        let place = self.expressions.get(expression)?;
        Some(match (place.words, part) {
            (Some(words), Some(part)) => words as usize + part.start..words as usize + part.end,
            _ => place.at.range(),
        })
    }
}
