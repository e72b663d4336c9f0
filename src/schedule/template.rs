//! `args_template`: arguments with fields that each occurrence fills with its own instant.
//!
//! A template is checked when the schedule is loaded, so that filling one cannot fail: the result
//! depends on the entry and on `scheduled_at` alone, and is the same before and after a restart.
//! `{{` stands for one `{`; a `}` outside of a field stands for itself.

use std::fmt::Write as _;
use std::ops::Range;

use jiff::Timestamp;

use super::Entry;
use super::words::{Word, nearest};

/// Arguments with fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    pieces: Box<[TemplatePiece]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TemplatePiece {
    /// Sent as written.
    Text(Box<str>),
    Field(TemplateField),
}

/// The fields that a template may have. Dates and times are those of the entry's zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TemplateField {
    /// `2026-10-25T01:30:00+01:00`.
    ScheduledAt,
    /// `2026-10-25`.
    Date,
    /// `01:30:00`.
    Time,
    /// Whole seconds since 1970-01-01T00:00:00Z.
    Unix,
    /// The entry's name.
    Entry,
}

impl Word for TemplateField {
    const ALL: &'static [(&'static str, Self)] = &[
        ("scheduled_at", TemplateField::ScheduledAt),
        ("date", TemplateField::Date),
        ("time", TemplateField::Time),
        ("unix", TemplateField::Unix),
        ("entry", TemplateField::Entry),
    ];
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TemplateError {
    /// The bytes of the text that are wrong.
    pub span: Range<usize>,
    pub message: String,
    pub help: String,
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Template, TemplateError> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut at = 0;
        while let Some(open) = text[at..].find('{').map(|open| at + open) {
            plain += &text[at..open];
            let inside = open + 1;
            if text[inside..].starts_with('{') {
                plain.push('{');
                at = inside + 1;
                continue;
            }
            let end = text[inside..].find(['{', '}']).map(|end| inside + end);
            let Some(close) = end.filter(|end| text[*end..].starts_with('}')) else {
                return Err(TemplateError {
                    span: open..inside,
                    message: "this `{` begins a field that has no end".into(),
                    help: format!("close the field with `}}`, or write `{{{{` for a brace; {}", fields()),
                });
            };
            if !plain.is_empty() {
                pieces.push(TemplatePiece::Text(std::mem::take(&mut plain).into()));
            }
            pieces.push(TemplatePiece::Field(field(text, inside..close)?));
            at = close + 1;
        }
        plain += &text[at..];
        if !plain.is_empty() {
            pieces.push(TemplatePiece::Text(plain.into()));
        }
        Ok(Template { text: text.into(), pieces: pieces.into() })
    }

    /// The template as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The arguments of the entry's occurrence at an instant.
    pub fn render(&self, entry: &Entry, scheduled_at: Timestamp) -> String {
        let offset = entry.timezone.to_offset(scheduled_at);
        let local = offset.to_datetime(scheduled_at);
        let mut args = String::with_capacity(self.text.len() + 32);
        for piece in &self.pieces {
            // Writing to a `String` does not fail.
            let _ = match piece {
                TemplatePiece::Text(text) => write!(args, "{text}"),
                TemplatePiece::Field(TemplateField::ScheduledAt) => {
                    write!(args, "{}", scheduled_at.display_with_offset(offset))
                }
                TemplatePiece::Field(TemplateField::Date) => write!(args, "{}", local.date()),
                TemplatePiece::Field(TemplateField::Time) => write!(args, "{}", local.strftime("%H:%M:%S")),
                TemplatePiece::Field(TemplateField::Unix) => write!(args, "{}", scheduled_at.as_second()),
                TemplatePiece::Field(TemplateField::Entry) => write!(args, "{}", entry.name),
            };
        }
        args
    }
}

fn field(text: &str, name: Range<usize>) -> Result<TemplateField, TemplateError> {
    let word = &text[name.clone()];
    TemplateField::of(word).ok_or_else(|| {
        let help = match nearest(word, TemplateField::ALL.iter().map(|(word, _)| *word)) {
            Some(meant) => format!("did you mean `{{{meant}}}`? {}, and `{{{{` is a brace", fields()),
            None => format!("{}; write `{{{{` for a brace", fields()),
        };
        let message = format!("`{{{}}}` is no field of a template", super::place::shown(word));
        TemplateError { span: name.start - 1..name.end + 1, message, help }
    })
}

/// The fields in a sentence.
fn fields() -> String {
    let all: Vec<String> = TemplateField::ALL.iter().map(|(word, _)| format!("`{{{word}}}`")).collect();
    format!("the fields are {}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timetable::tests::{at, entry};

    fn rendered(zone: &str, template: &str, scheduled_at: &str) -> String {
        let template = Template::parse(template).expect("a template");
        template.render(&entry("nightly", zone, &["30 1 * * *"]), at(scheduled_at))
    }

    #[test]
    fn fields_are_filled_in_the_zone_of_the_entry() {
        let template = "{entry} --day {date} --at '{time}' {scheduled_at} {unix}";
        assert_eq!(
            rendered("Europe/London", template, "2026-10-24T23:30:00Z"),
            "nightly --day 2026-10-25 --at '00:30:00' 2026-10-25T00:30:00+01:00 1792884600"
        );
        assert_eq!(
            rendered("UTC", template, "2026-10-24T23:30:00Z"),
            "nightly --day 2026-10-24 --at '23:30:00' 2026-10-24T23:30:00+00:00 1792884600"
        );
    }

    #[test]
    fn two_open_braces_are_one() {
        let json = r#"{{"day": "{date}", "nested": {{}}"#;
        assert_eq!(rendered("UTC", json, "2026-10-24T23:30:00Z"), r#"{"day": "2026-10-24", "nested": {}}"#);
        assert_eq!(rendered("UTC", "{{date} {{{date}}", "2026-10-24T23:30:00Z"), "{date} {2026-10-24}");
        assert_eq!(rendered("UTC", "", "2026-10-24T23:30:00Z"), "");
    }

    #[test]
    fn an_unknown_field_is_told_at_its_place() {
        let error = |text: &str| {
            let error = Template::parse(text).expect_err("no template");
            (error.span, error.message)
        };
        let unknown = |field: &str| format!("`{field}` is no field of a template");
        assert_eq!(error("--day {day}"), (6..11, unknown("{day}")));
        assert_eq!(error("{}"), (0..2, unknown("{}")));
        assert_eq!(error("{ date }"), (0..8, unknown("{ date }")));
        let unclosed = "this `{` begins a field that has no end";
        assert_eq!(error("--day {date"), (6..7, unclosed.to_owned()));
        assert_eq!(error("{date {time}"), (0..1, unclosed.to_owned()));
        assert_eq!(error("{{{"), (2..3, unclosed.to_owned()));
    }
}
