//! Arguments are masked in what the API says of them, so that no message of the log has them.
//!
//! An answer may repeat them as they are, or as JSON, a URL or an HTML page writes them: each of these forms is looked for.
//! Whole occurrences alone are masked: `--full` is not found in `--fuller`. Arguments of fewer than [`SHORTEST`] characters
//! are not masked, since an `e` in a sentence is no argument. Text is masked before it is cut, since a cut occurrence is not
//! found any more. SECURITY.md promises the same.

use serde_json::Value;

use super::action::Action;

/// Shorter arguments are too common in a sentence to be looked for, in characters.
const SHORTEST: usize = 4;

const MASK: &str = "[args]";

/// What stands where a text was cut, by this program or by the API.
const CUT: [&str; 2] = ["…", "..."];

/// The text with each whole occurrence of the arguments replaced. Where the text was cut before, a beginning of the arguments
/// in front of the cut is masked as well.
pub(crate) fn masked(args: Option<&str>, text: &str) -> String {
    let Some(args) = args.map(str::trim).filter(|args| args.chars().count() >= SHORTEST) else {
        return text.to_owned();
    };
    forms(args).iter().fold(text.to_owned(), |text, form| without(form, &text))
}

/// The text, masked and then cut to so many characters.
pub(crate) fn masked_and_cut(args: Option<&str>, text: &str, most: usize) -> String {
    let text = masked(args, text);
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The action with the arguments masked in what it said at its end, and in the fields that this program does not know.
pub(crate) fn action(args: Option<&str>, action: Action) -> Action {
    let finished_message = action.finished_message.map(|text| masked(args, &text));
    let more = action.more.into_iter().map(|(name, value)| (name, within(args, value))).collect();
    Action { finished_message, more, ..action }
}

fn within(args: Option<&str>, value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(masked(args, &text)),
        Value::Array(values) => values.into_iter().map(|value| within(args, value)).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, within(args, value))).collect()
        }
        other => other,
    }
}

/// How the arguments may be written, the longest first: a form may hold another.
fn forms(args: &str) -> Vec<String> {
    let json = Value::from(args).to_string();
    let json = json.trim_start_matches('"').strip_suffix('"').unwrap_or(args).to_owned();
    // As Rails writes it.
    let rails = json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    let html = args.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let html_of_ruby = html.replace('\'', "&#39;");
    let form = encoded(args);
    let url = form.replace('+', "%20");
    let mut forms = vec![args.to_owned(), json, rails, html, html_of_ruby, form, url];
    forms.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    forms.dedup();
    forms
}

/// As the query of a request has them.
fn encoded(args: &str) -> String {
    let mut url = String::with_capacity(args.len());
    for byte in args.bytes() {
        match byte {
            b' ' => url.push('+'),
            b'*' | b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => url.push(byte.into()),
            other => url += &format!("%{other:02X}"),
        }
    }
    url
}

fn without(args: &str, text: &str) -> String {
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
    for cut in CUT {
        if let Some(beginning) = out.strip_suffix(cut).and_then(|text| without_beginning(text, args)) {
            return format!("{beginning}{MASK}{cut}");
        }
    }
    out
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
            ("secret words", "unknown: secret wo...", "unknown: [args]..."),
            ("  padded  ", "no padded", "no [args]"),
            ("--say \"<hi> you\"", r#"{"said":"--say \"<hi> you\""}"#, r#"{"said":"[args]"}"#),
            ("--say \"<hi> you\"", r#"{"said":"--say \"\u003chi\u003e you\""}"#, r#"{"said":"[args]"}"#),
            ("a <b> 'c'", "<p>a &lt;b&gt; &#39;c&#39;</p>", "<p>[args]</p>"),
            ("--day 1/2", "GET /run_now?job_args=--day+1%2F2 failed", "GET /run_now?job_args=[args] failed"),
            ("--day 1/2", "GET /run_now?job_args=--day%201%2F2", "GET /run_now?job_args=[args]"),
        ] {
            assert_eq!(masked(Some(args), text), expected, "{args:?} in {text:?}");
        }
        assert_eq!(masked(None, "text"), "text");
        assert_eq!(masked_and_cut(Some("secret"), "a secret, and more", 12), "a [args], an…");
    }

    #[test]
    fn fields_that_are_not_known_are_masked_at_any_depth() {
        let more = serde_json::json!({ "params": { "job_args": ["secret"], "n": 1 }, "of": "a secret" });
        let Value::Object(more) = more else { panic!("an object") };
        let masked = action(Some("secret"), Action { more, ..Action::default() });
        let expected = serde_json::json!({ "params": { "job_args": ["[args]"], "n": 1 }, "of": "a [args]" });
        assert_eq!(Value::Object(masked.more), expected);
    }
}
