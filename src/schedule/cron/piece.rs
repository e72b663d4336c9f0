//! A piece of an expression that knows where it stands, so that an error can point at it.

use std::ops::Range;

use super::CronError;

/// A piece of the expression and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) text: &'a str,
    pub(super) start: usize,
}

impl<'a> Piece<'a> {
    pub(super) fn span(self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    pub(super) fn error(self, message: impl Into<String>, help: impl Into<String>) -> CronError {
        CronError { span: self.span(), message: message.into(), help: help.into() }
    }

    /// The pieces between the separators.
    pub(super) fn split(self, separator: impl Fn(char) -> bool) -> impl Iterator<Item = Piece<'a>> {
        self.text.split(separator).map(move |text| Piece {
            text,
            start: self.start + text.as_ptr().addr() - self.text.as_ptr().addr(),
        })
    }

    /// The pieces before and after the first separator.
    pub(super) fn split_once(self, separator: char) -> Option<(Piece<'a>, Piece<'a>)> {
        let (before, after) = self.text.split_once(separator)?;
        let after_start = self.start + before.len() + separator.len_utf8();
        Some((Piece { text: before, ..self }, Piece { text: after, start: after_start }))
    }

    /// The piece without a last letter, in either case.
    pub(super) fn strip_letter(self, letter: char) -> Option<Piece<'a>> {
        let last = self.text.chars().next_back()?;
        last.eq_ignore_ascii_case(&letter)
            .then(|| Piece { text: &self.text[..self.text.len() - letter.len_utf8()], ..self })
    }

    pub(super) fn is(self, text: &str) -> bool {
        self.text.eq_ignore_ascii_case(text)
    }
}
