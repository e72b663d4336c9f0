//! Explains the fault of a text that is neither YAML nor JSON.

use std::ops::Range;

use serde_yaml::Error;

use super::diagnostic::Code;
use super::place::{shown, visible};
use super::report::Problem;

/// Turns the parser's error into a problem with a place and help. The parser stops at its first
/// error: where that is a value that needs quotes, every other value of the kind is a problem too.
pub(super) fn problems(error: &Error, text: &str) -> Vec<Problem> {
    let first = problem(error, text);
    let start = first.span.as_ref().map_or(text.len(), |span| span.start);
    let mut problems = vec![first];
    if !text[start..].starts_with(NEEDS_QUOTES) {
        return problems;
    }
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        for at in unquoted(line).map(|at| line_start + at).filter(|at| *at != start) {
            let (code, message, help) = unquoted_value(&text[at..]);
            let value = text[at..].split([' ', '\t', '\r', '\n', ',']).next().map_or(1, str::len);
            let span = Some(at..at + value);
            problems.push(Problem { code, span, message, help, related: None });
        }
        line_start += line.len();
    }
    let anchored = |problem: &Problem| {
        let at = problem.span.as_ref().map_or(text.len(), |span| span.start);
        let name: String = text[at..].chars().skip(1).take_while(|c| c.is_alphanumeric()).collect();
        text[at..].starts_with('*') && !name.is_empty() && text.contains(&format!("&{name}"))
    };
    problems.retain(|problem| {
        problem.span.as_ref().is_some_and(|span| span.start == start) || !anchored(problem)
    });
    problems
}

/// A value that begins with one of these is no plain text in YAML.
const NEEDS_QUOTES: [char; 4] = ['*', '@', '`', '%'];

/// Returns the offsets of values in a line that begin with such a character: behind a key, or as an
/// item of a list.
fn unquoted(line: &str) -> impl Iterator<Item = usize> {
    let comment = if line.trim_start().starts_with('#') { 0 } else { line.find(" #").unwrap_or(line.len()) };
    let line = &line[..comment];
    line.match_indices(NEEDS_QUOTES).map(|(at, _)| at).filter(|at| {
        let before = &line[..*at];
        let bare = before.trim_end_matches([' ', '\t']);
        let key = bare.strip_suffix(':').and_then(|key| key.chars().next_back());
        let behind_key = key.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == '"');
        before.len() > bare.len() && (behind_key || bare.trim_start() == "-")
    })
}

fn unquoted_value(rest: &str) -> (Code, String, String) {
    if rest.starts_with('*') {
        return unknown_anchor(rest);
    }
    let begins = rest.chars().next().unwrap_or(' ');
    (Code::Syntax, format!("a value that begins with `{begins}` is no plain text"), quoted(rest))
}

fn problem(error: &Error, text: &str) -> Problem {
    let error = error.without_snippet();
    let mut span = span(error, text);
    if let (Error::MultipleDocuments { .. }, Some(marker)) = (error, text[..span.start].rfind("\n---")) {
        // The parser points at what follows the marker.
        span = marker + 1..marker + 4;
    }
    let (code, message, help) = explain(error, &text[span.start..]);
    Problem { code, span: Some(span), message, help, related: None }
}

fn explain(error: &Error, rest: &str) -> (Code, String, String) {
    let (code, message, help) = match error {
        Error::MultipleDocuments { .. } => (
            Code::Syntax,
            "a second YAML document begins here".into(),
            "keep one document in a file: remove this line and join what follows",
        ),
        Error::UnknownAnchor { .. } => return unknown_anchor(rest),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => return beyond(error),
        Error::RecursiveReferencesRequireWeakTypes { .. } => (
            Code::Syntax,
            "an alias inside of what it stands for".into(),
            "move the anchor, so that it does not contain its own alias",
        ),
        Error::AliasError { error, .. } => return explain(error, rest),
        Error::MergeValueNotMapOrSeqOfMaps { .. } => (
            Code::WrongType,
            "`<<` takes a mapping, or a list of mappings".into(),
            "give it an alias of a mapping, as in `<<: *nightly`",
        ),
        Error::Unexpected { .. } => (
            Code::WrongType,
            "a key must be text".into(),
            "write the key as one word, without brackets or braces",
        ),
        other => return syntax(other, rest),
    };
    (code, message, help.into())
}

/// Explains a fault of YAML's grammar. The parser has no codes for such faults, so its text decides
/// on the help.
fn syntax(error: &Error, rest: &str) -> (Code, String, String) {
    let said = error.to_string();
    // The place is shown with the line, and need not be said again.
    let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
    if said.contains("recursion limit") {
        return (
            Code::TooLarge,
            "lists and mappings are nested too deeply".into(),
            "the schedule file needs no more than five levels".into(),
        );
    }
    if rest.starts_with('*') {
        let message = "a value that begins with `*` is an alias, and this is none".into();
        return (Code::Syntax, message, quoted(rest));
    }
    let help = if said.contains("tab") {
        "indent with spaces".into()
    } else if said.contains("unexpected character") || rest.starts_with(['@', '`', '%', '&', '!']) {
        quoted(rest)
    } else if said.contains("quote") {
        "close the quote, and write a backslash in double quotes as `\\\\`".into()
    } else if said.contains("bracket") {
        "close every `[` with `]` and every `{` with `}`, with commas between".into()
    } else if said.contains("mapping values are not allowed") {
        "put a value that has `: ` in it in quotes, and indent the keys of one mapping alike".into()
    } else if said.contains("key") {
        "indent the keys of one mapping alike, each with a colon and a blank behind it".into()
    } else {
        "check the indentation and the quotes here and in the line above".into()
    };
    (Code::Syntax, said.chars().map(visible).collect(), help)
}

/// Explains an unknown anchor. Most often it is a cron expression without quotes: `*/5 * * * *`.
fn unknown_anchor(rest: &str) -> (Code, String, String) {
    let alias: String = rest.chars().take_while(|c| !c.is_whitespace()).collect();
    let message = format!("`{}` is an alias, and no anchor has its name", shown(&alias));
    let help = match alias.strip_prefix('*') {
        Some(name) if !name.is_empty() && name.chars().all(char::is_alphanumeric) => {
            format!("define `&{}` above, or {}", shown(name), quoted(rest))
        }
        _ => quoted(rest),
    };
    (Code::Syntax, message, help)
}

fn quoted(rest: &str) -> String {
    let line = rest.lines().next().unwrap_or_default();
    // A closing brace or bracket is no part of the value.
    let value =
        line.split(" #").next().unwrap_or_default().trim_end_matches([' ', '\t', '\r', '}', ']', ',']).trim();
    let begins = value.chars().next().unwrap_or(' ');
    if visible(begins) != begins {
        return "remove the control character".into();
    }
    let advice = format!("put a value that begins with `{begins}` in quotes");
    match value.contains(['"', '\\']) {
        true => advice,
        false => format!("{advice}: \"{}\"", shown(value)),
    }
}

fn beyond(error: &Error) -> (Code, String, String) {
    let deep = matches!(error, Error::Budget { breach, .. } if matches!(breach, serde_yaml::budget::BudgetBreach::Depth { .. }));
    let (message, help) = if deep {
        ("lists and mappings are nested too deeply", "the schedule file needs no more than five levels")
    } else {
        (
            "the file and its aliases come to more values than are read",
            "use fewer aliases, or split the schedule among several daemons",
        )
    };
    (Code::TooLarge, message.into(), help.into())
}

/// The bytes that the parser points at. It counts characters for some errors, and bytes for others.
fn span(error: &Error, text: &str) -> Range<usize> {
    let Some(location) = error.location() else {
        return text.len()..text.len();
    };
    if let (Some(start), Some(length)) = (location.span().byte_offset(), location.span().byte_len()) {
        let start = floor(text, usize::try_from(start).unwrap_or(usize::MAX));
        let end = floor(text, start.saturating_add(usize::try_from(length).unwrap_or(0)));
        return start..end.max(start);
    }
    let line = location.line().saturating_sub(1);
    let column = location.column().saturating_sub(1);
    let start = (0..line).try_fold(0, |at, _| text[at..].find('\n').map(|newline| at + newline + 1));
    let start = start.unwrap_or(text.len());
    let start = text[start..]
        .char_indices()
        .zip(0..=column)
        .last()
        .map_or(start, |((at, c), number)| start + at + if number < column { c.len_utf8() } else { 0 });
    start..start
}

/// The start of the character that a byte belongs to.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
