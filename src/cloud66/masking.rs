//! Arguments are masked in what the API says of them, so that no message of the log has them.
//!
//! Whole occurrences alone are masked: `--full` is not found in `--fuller`. Arguments of fewer than [`SHORTEST`] characters
//! are not masked, since an `e` in a sentence is no argument. SECURITY.md promises the same.

use serde_json::Value;

use super::action::Action;

/// Shorter arguments are too common in a sentence to be looked for.
const SHORTEST: usize = 4;

const MASK: &str = "[args]";

/// The text with each whole occurrence of the arguments replaced. A text that was cut before ends with `…`: a beginning of
/// the arguments in front of that is masked as well.
pub(crate) fn masked(args: Option<&str>, text: &str) -> String {
    let Some(args) = args.map(str::trim).filter(|args| args.chars().count() >= SHORTEST) else {
        return text.to_owned();
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some(at) = rest.find(args) {
        let (front, found) = rest.split_at(at);
        let behind = &found[args.len()..];
        let joined_before = joined(front.chars().next_back().or(before), args.chars().next());
        let joined_behind = joined(args.chars().next_back(), behind.chars().next());
        out += front;
        if joined_before || joined_behind {
            // Goes on behind the first character, where another occurrence may begin.
            let step = found.chars().next().map_or(found.len(), char::len_utf8);
            out += &found[..step];
            (before, rest) = (found[..step].chars().next_back(), &found[step..]);
        } else {
            out += MASK;
            (before, rest) = (args.chars().next_back(), behind);
        }
    }
    out += rest;
    match out.strip_suffix('…').and_then(|cut| without_beginning(cut, args)) {
        Some(cut) => format!("{cut}{MASK}…"),
        None => out,
    }
}

/// The action with the arguments masked in what it said at its end, and in fields that this program does not know.
pub(crate) fn action(args: Option<&str>, mut action: Action) -> Action {
    action.more.values_mut().for_each(|value| mask(args, value));
    Action { finished_message: action.finished_message.map(|text| masked(args, &text)), ..action }
}

/// Masks the arguments in every text of a value. An answer has at most 128 levels: no more are read.
fn mask(args: Option<&str>, value: &mut Value) {
    match value {
        Value::String(text) => *text = masked(args, text),
        Value::Array(items) => items.iter_mut().for_each(|item| mask(args, item)),
        Value::Object(fields) => fields.values_mut().for_each(|field| mask(args, field)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The text without the beginning of the arguments that it ends with, if it does.
fn without_beginning<'t>(text: &'t str, args: &str) -> Option<&'t str> {
    let beginnings = args.char_indices().map(|(at, _)| &args[..at]).rev();
    beginnings
        .take_while(|beginning| beginning.chars().count() >= SHORTEST)
        .find_map(|beginning| text.strip_suffix(beginning))
}

fn joined(left: Option<char>, right: Option<char>) -> bool {
    left.is_some_and(char::is_alphanumeric) && right.is_some_and(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_occurrences_are_masked_and_short_ones_never() {
        for (args, text, expected) in [
            ("e", "There are errors", "There are errors"),
            ("--full", "bad --full, --fuller --full", "bad [args], --fuller [args]"),
            ("secret", "secretly secret", "secretly [args]"),
            ("secret words", "unknown: secret wo…", "unknown: [args]…"),
            ("  padded  ", "no padded", "no [args]"),
        ] {
            assert_eq!(masked(Some(args), text), expected, "{args:?} in {text:?}");
        }
        assert_eq!(masked(None, "text"), "text");
    }

    #[test]
    fn arguments_are_masked_in_what_newer_answers_add() {
        let answer = serde_json::json!({"id": 7, "finished_message": "bad --full", "finished_result": "ran --full",
            "metadata": {"command": ["rake", "--full"], "exit": 1}});
        let action = action(Some("--full"), Action::from_json(answer).expect("an action"));
        assert_eq!(action.finished_message.as_deref(), Some("bad [args]"));
        let expected = serde_json::json!({"finished_result": "ran [args]",
            "metadata": {"command": ["rake", "[args]"], "exit": 1}});
        assert_eq!(Value::Object(action.more), expected);
    }
}
