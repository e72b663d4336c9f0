//! The texts that a schedule is made of, and which of them a place belongs to.
//!
//! A schedule is one file, or the files of a directory, and the calendar files that they name. Each
//! text has a range of positions of its own: the first one begins at 0, and each of the others one
//! past the end of the text before it. So a range of positions says which file it is in, and
//! whoever reports a problem needs to know of one number only.
//!
//! Example: a schedule file of 100 bytes names a calendar file of 30. Position 42 is byte 42 of the
//! schedule file; position 105 is byte 4 of the calendar file, whose text begins at 101.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::place::{Locator, Place};

/// The texts, in the order of their positions.
#[derive(Clone)]
pub(super) struct Sources {
    /// The schedule file, or the directory, by which the whole schedule is named.
    name: Arc<str>,
    pieces: Vec<SourcePiece>,
}

/// One file's text.
#[derive(Clone)]
struct SourcePiece {
    /// Path of the file in diagnostics.
    path: Arc<str>,
    /// The position of its first byte.
    base: usize,
    text: Arc<str>,
}

impl Sources {
    /// No text yet, of a schedule with this path.
    pub fn named(name: &str) -> Sources {
        Sources { name: name.into(), pieces: Vec::new() }
    }

    /// A single text.
    pub fn of(path: &str, text: &str) -> Sources {
        let mut sources = Sources::named(path);
        sources.add(path, text);
        sources
    }

    /// Adds a text, and returns the position of its first byte.
    pub fn add(&mut self, path: &str, text: &str) -> usize {
        let base = self.pieces.last().map_or(0, |last| last.base + last.text.len() + 1);
        self.pieces.push(SourcePiece { path: path.into(), base, text: text.into() });
        base
    }

    /// Returns true when two positions are in one file.
    pub fn share_a_file(&self, one: usize, other: usize) -> bool {
        number(self, one) == number(self, other)
    }
}

/// The whole texts would hide everything else.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.pieces.iter().map(|piece| &piece.path)).finish()
    }
}

/// Finds the file, line and column of positions. A text is gone through when the first place of it
/// is looked for.
pub(super) struct Finder<'s> {
    sources: &'s Sources,
    /// Positions that are never shown, in order, each text's with its own bytes.
    secrets: Vec<Vec<Range<usize>>>,
}

impl<'s> Finder<'s> {
    /// `secrets` are ranges of positions, in order.
    pub fn new(sources: &'s Sources, secrets: &[Range<usize>]) -> Finder<'s> {
        let mut own = vec![Vec::new(); sources.pieces.len()];
        for secret in secrets {
            let number = number(sources, secret.start);
            if let (Some(piece), Some(own)) = (sources.pieces.get(number), own.get_mut(number)) {
                own.push(secret.start - piece.base..secret.end - piece.base);
            }
        }
        Finder { sources, secrets: own }
    }

    /// The file and the place of each range, in their order. `None`: the schedule as a whole.
    pub fn places(
        &self,
        spans: impl Iterator<Item = Option<Range<usize>>>,
    ) -> Vec<(Arc<str>, Option<Place>)> {
        let mut locators: BTreeMap<usize, Locator<'_>> = BTreeMap::new();
        let mut found = Vec::new();
        for span in spans {
            let Some(span) = span else {
                found.push((Arc::clone(&self.sources.name), None));
                continue;
            };
            let number = number(self.sources, span.start);
            let Some(piece) = self.sources.pieces.get(number) else {
                found.push((Arc::clone(&self.sources.name), None));
                continue;
            };
            let locator = locators.entry(number).or_insert_with(|| {
                Locator::new(&piece.text, self.secrets.get(number).map_or(&[], Vec::as_slice))
            });
            let local = span.start - piece.base..span.end.max(span.start) - piece.base;
            found.push((Arc::clone(&piece.path), Some(locator.place(local))));
        }
        found
    }
}

/// The number of the text that a position is in.
fn number(sources: &Sources, position: usize) -> usize {
    sources.pieces.partition_point(|piece| piece.base <= position).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_belongs_to_the_text_that_it_is_in() {
        let mut sources = Sources::of("a.yaml", "jobs: {}");
        assert_eq!(sources.add("empty.txt", ""), 9);
        assert_eq!(sources.add("b.txt", "one\ntwo"), 10);
        let secret = 14..17;
        let finder = Finder::new(&sources, std::slice::from_ref(&secret));
        let places = finder.places([Some(0..4), Some(8..8), Some(9..9), Some(14..17), None].into_iter());
        let told: Vec<_> = places
            .iter()
            .map(|(path, place)| {
                (&**path, place.as_ref().map(|place| (place.line, place.column, place.text.as_str())))
            })
            .collect();
        assert_eq!(
            told,
            [
                ("a.yaml", Some((1, 1, "jobs: {}"))),
                ("a.yaml", Some((1, 9, "jobs: {}"))),
                ("empty.txt", Some((1, 1, ""))),
                ("b.txt", Some((2, 1, "***"))),
                ("a.yaml", None),
            ]
        );
    }
}
