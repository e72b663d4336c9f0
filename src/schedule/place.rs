//! A place in the schedule file: its line and column for people, and the part of the line that is
//! worth showing.

use std::ops::Range;

/// Characters of a line that are shown at most: two terminal widths.
const SHOWN: usize = 160;

/// Columns of the excerpt before the marked part.
const BEFORE: usize = 60;

/// Characters of a word from the file that a message repeats.
const WORD: usize = 60;

/// Distance in bytes of the places whose line and column are computed in advance.
const STEP: usize = 4096;

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// Bytes of the file, without its byte order mark.
    pub span: Range<usize>,
    /// The line, without control characters, and of a long one the part around the place.
    pub text: String,
    /// Bytes of `text` that the place is.
    pub mark: Range<usize>,
}

/// Finds lines and columns. One pass over the text, then each place is found in constant time, even
/// where the whole file is one line.
pub(super) struct Locator<'s> {
    text: &'s str,
    /// Bytes that are never shown, in order.
    secrets: &'s [Range<usize>],
    /// Line and column at every `STEP` bytes, counted from 0.
    known: Vec<(usize, usize)>,
}

impl<'s> Locator<'s> {
    pub fn new(text: &'s str, secrets: &'s [Range<usize>]) -> Self {
        let mut at = (0, 0);
        let mut known = Vec::with_capacity(text.len() / STEP + 1);
        for block in text.as_bytes().chunks(STEP) {
            known.push(at);
            at = walk(at, block);
        }
        Locator { text, secrets, known }
    }

    pub fn place(&self, span: Range<usize>) -> Place {
        let mut start = span.start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let block = start / STEP;
        let from = self.known.get(block).copied().unwrap_or((0, 0));
        let (line, column) = match self.known.get(block) {
            Some(_) => walk(from, &self.text.as_bytes()[block * STEP..start]),
            // Past the end of a text whose length is a multiple of STEP.
            None => match self.known.last() {
                Some(&last) => walk(last, &self.text.as_bytes()[(self.known.len() - 1) * STEP..start]),
                None => (0, 0),
            },
        };
        let (text, mark) = self.excerpt(start..span.end.max(start));
        Place { line: line + 1, column: column + 1, span, text, mark }
    }

    /// The line around a span, fit to be shown, and where the span lies in it. An empty span is the
    /// rest of its line.
    fn excerpt(&self, span: Range<usize>) -> (String, Range<usize>) {
        let text = self.text;
        let before = text[..span.start]
            .char_indices()
            .rev()
            .take_while(|(_, c)| *c != '\n')
            .take(SHOWN + 1)
            .map(|(at, _)| at);
        let starts: Vec<usize> = before.collect();
        let rest = text[span.start..].chars().take_while(|c| *c != '\n').take(SHOWN + 1);
        let rest: String = rest.collect();
        let rest = rest.trim_end_matches('\r');

        let whole = starts.len() + rest.chars().count() <= SHOWN;
        let kept = if whole { SHOWN } else { BEFORE };
        let from = starts[..starts.len().min(kept)].last().copied().unwrap_or(span.start);
        let room = SHOWN - starts.len().min(kept);

        let mut shown = String::new();
        if starts.len() > kept {
            shown.push('…');
        }
        shown.extend(text[from..span.start].char_indices().map(|(at, c)| self.shown(from + at, c)));
        let start = shown.len();
        let length = match span.len() {
            0 => rest.trim_end().len(),
            length => length,
        };
        let mut end = start;
        for (at, c) in rest.char_indices().take(room) {
            shown.push(self.shown(span.start + at, c));
            if at < length {
                end = shown.len();
            }
        }
        if rest.chars().count() > room {
            shown.push('…');
        }
        (shown, start..end)
    }

    /// Returns the character that is shown for the one at a byte.
    fn shown(&self, at: usize, c: char) -> char {
        let next = self.secrets.partition_point(|secret| secret.end <= at);
        match self.secrets.get(next) {
            Some(secret) if secret.start <= at => '*',
            _ => visible(c),
        }
    }
}

/// Line and column after some bytes. A character counts where it begins.
fn walk((mut line, mut column): (usize, usize), bytes: &[u8]) -> (usize, usize) {
    for byte in bytes {
        if *byte == b'\n' {
            (line, column) = (line + 1, 0);
        } else if byte & 0xC0 != 0x80 {
            column += 1;
        }
    }
    (line, column)
}

/// A word from the file, fit to stand in a message: short, on one line, without control characters.
pub(super) fn shown(word: &str) -> String {
    let mut text: String = word.chars().take(WORD).map(visible).collect();
    if word.chars().nth(WORD).is_some() {
        text.push('…');
    }
    text
}

/// A text from elsewhere on one line, without what would move the cursor, change the terminal or
/// reorder the text.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(visible).collect()
}

/// The character, or what stands for it where it would move the cursor, change the terminal or
/// reorder the text.
pub(super) fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(text: &str, span: Range<usize>) -> Place {
        Locator::new(text, &[]).place(span)
    }

    #[test]
    fn lines_and_columns_count_from_one_in_characters() {
        let found = place("a: 1\né: ü x\r\n", 12..13);
        assert_eq!((found.line, found.column), (2, 6));
        assert_eq!((found.text.as_str(), &found.text[found.mark.clone()]), ("é: ü x", "x"));
    }

    #[test]
    fn an_empty_span_is_the_rest_of_the_line() {
        let found = place("a:\n  b: 1  \nc: 2", 5..5);
        assert_eq!(&found.text[found.mark], "b: 1");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("a: {}wrong{}", "x".repeat(1 << 20), "y".repeat(1 << 20));
        let start = text.find("wrong").expect("it is there");
        let found = place(&text, start..start + 5);
        assert_eq!(found.column, start + 1);
        assert_eq!(&found.text[found.mark.clone()], "wrong");
        assert!(found.text.chars().count() <= SHOWN + 2, "{} is too long", found.text);
        assert!(found.text.starts_with('…') && found.text.ends_with('…'), "{} shows its cuts", found.text);
    }

    #[test]
    fn control_characters_are_shown_and_not_sent() {
        let found = place("a: \u{1b}[31mred\u{202e}\u{9b}\tb", 3..4);
        assert_eq!(found.text, "a: ␛[31mred\u{fffd}\u{fffd} b");
        assert_eq!(shown("a\nb\0"), "a␊b␀");
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secrets = [7..10, 17..18];
        let found = Locator::new("token: abc # mine", &secrets).place(0..5);
        assert_eq!(found.text, "token: *** # mine");
    }

    proptest! {
        #[test]
        fn every_place_of_every_text_is_found(text in "(\\PC|\n|\r|\t){0,300}", repeat in 1..60usize, at in any::<prop::sample::Index>()) {
            let text = text.repeat(repeat);
            let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let start = starts[at.index(starts.len())];
            let found = place(&text, start..text.len());
            let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
            prop_assert_eq!(found.line, text[..start].matches('\n').count() + 1);
            prop_assert_eq!(found.column, text[line_start..start].chars().count() + 1);
            prop_assert!(found.text.get(found.mark.clone()).is_some(), "{:?} of {:?}", found.mark, found.text);
        }
    }
}
