//! Dates and ranges of dates as people write them: `2026-12-25`, `2026-12-26..2026-12-28`; and a
//! file with one of them a line.

use std::ops::Range;

use jiff::civil::Date;

use super::{FileProblem, MOST_PROBLEMS, Spans};

/// Why a text is neither a date nor a range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum DateError {
    /// The text is not `YYYY-MM-DD`, or names a day that no month has.
    #[error("`{text}` is no date")]
    NoDate {
        /// The text as it was written, cut if it is long.
        text: String,
        /// The byte range of the text.
        span: Range<usize>,
    },
    /// A range whose last day is before its first.
    #[error("the range ends on {last}, before it begins on {first}")]
    Backwards { first: Date, last: Date },
}

impl DateError {
    /// The bytes that are wrong; `None` is all of the text.
    pub fn span(&self) -> Option<Range<usize>> {
        match self {
            DateError::NoDate { span, .. } => Some(span.clone()),
            DateError::Backwards { .. } => None,
        }
    }

    /// Returns the text to write instead.
    pub fn help(&self) -> &'static str {
        match self {
            DateError::NoDate { .. } => "write a date as 2026-12-25, or a range as 2026-12-26..2026-12-28",
            DateError::Backwards { .. } => "write the earlier date first",
        }
    }
}

/// The first and the last day of a date or a range.
pub(in super::super) fn dates(text: &str) -> Result<(Date, Date), DateError> {
    let Some(dots) = text.find("..") else {
        let day = date(text, 0)?;
        return Ok((day, day));
    };
    let first = date(&text[..dots], 0)?;
    let last = date(&text[dots + 2..], dots + 2)?;
    if last < first { Err(DateError::Backwards { first, last }) } else { Ok((first, last)) }
}

/// A date, and nothing beside: `YYYY-MM-DD`.
fn date(text: &str, at: usize) -> Result<Date, DateError> {
    let trimmed = text.trim();
    let bytes = trimmed.as_bytes();
    let shaped = bytes.len() == 10
        && bytes.iter().enumerate().all(|(n, byte)| match n {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let parsed = shaped.then(|| trimmed.parse::<Date>().ok()).flatten();
    parsed.ok_or_else(|| {
        let start = at + (text.len() - text.trim_start().len());
        DateError::NoDate { text: crate::schedule::place::shown(trimmed), span: start..start + trimmed.len() }
    })
}

/// Reads a file with a date or a range a line. Whatever follows a `#` is a comment.
pub(super) fn read(text: &str) -> Result<Spans, Vec<FileProblem>> {
    let (mut spans, mut problems) = (Spans::default(), Vec::new());
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let said = line.split('#').next().unwrap_or_default();
        if !said.trim().is_empty() {
            match dates(said) {
                Ok((first, last)) => spans.add_days(first, last),
                Err(error) if problems.len() < MOST_PROBLEMS => {
                    let part = error.span().unwrap_or_else(|| {
                        let indent = said.len() - said.trim_start().len();
                        indent..said.trim_end().len()
                    });
                    let span = start + part.start..start + part.end;
                    let help = error.help().into();
                    problems.push(FileProblem { span, message: error.to_string(), help });
                }
                Err(_) => {}
            }
        }
        start += line.len();
    }
    if problems.is_empty() { Ok(spans) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_date_a_range_or_a_comment() {
        let text = "# Bank holidays\n2026-12-25\n2026-12-26 .. 2026-12-28 # and the Monday\r\n\n";
        let spans = read(text).expect("a list").listed();
        let days: Vec<String> =
            spans.local.iter().map(|(from, until)| format!("{}..{}", from.date(), until.date())).collect();
        assert_eq!(days, ["2026-12-25..2026-12-29"], "days that touch are one span, its end excluded");
    }

    #[test]
    fn each_bad_line_is_told_with_its_place() {
        let text = "2026-12-25\n 2026-02-30\n2026-1-1\n2026-12-28..2026-12-26\n2026-12-25..soon\n";
        let problems = read(text).expect_err("problems");
        let told: Vec<(&str, &str)> =
            problems.iter().map(|problem| (&text[problem.span.clone()], problem.message.as_str())).collect();
        assert_eq!(
            told,
            [
                ("2026-02-30", "`2026-02-30` is no date"),
                ("2026-1-1", "`2026-1-1` is no date"),
                ("2026-12-28..2026-12-26", "the range ends on 2026-12-26, before it begins on 2026-12-28"),
                ("soon", "`soon` is no date"),
            ]
        );
    }
}
