//! Arguments are masked in what the API says of them, so that no message of the log has them.
//!
//! An answer may repeat them as they are, or as JSON, a URL or an HTML page writes them: each of
//! these forms is looked for. Whole occurrences alone are masked: `--full` is not found in
//! `--fuller`. Arguments of fewer than [`SHORTEST`] characters are not masked, since an `e` in a
//! sentence is no argument. Text is masked before it is cut, since a cut occurrence is not found
//! any more. SECURITY.md promises the same.

use serde_json::Value;

use super::action::Action;

/// Shorter arguments are too common in a sentence to be looked for, in characters.
const SHORTEST: usize = 4;

/// Bytes of the longest escape of a character in HTML: `&#x10ffff;`.
const LONGEST_ENTITY: usize = 10;

const MASK: &str = "[args]";

/// A form in which the arguments may be written.
#[derive(Clone, Copy)]
enum ArgsForm {
    AsTheyAre,
    Json,
    Url,
    Html,
}

const FORMS: [ArgsForm; 4] = [ArgsForm::AsTheyAre, ArgsForm::Json, ArgsForm::Url, ArgsForm::Html];

/// Marks that this program or the API leaves where a text was cut.
const CUT: [&str; 2] = ["…", "..."];

/// The text with each whole occurrence of the arguments replaced. Where the text was cut before, a
/// beginning of the arguments in front of the cut is masked as well.
pub(crate) fn masked(args: Option<&str>, text: &str) -> String {
    let Some(args) = args.map(str::trim).filter(|args| args.chars().count() >= SHORTEST) else {
        return text.to_owned();
    };
    FORMS.iter().fold(text.to_owned(), |text, form| without(args, &text, *form))
}

/// The text, masked and then cut to so many characters.
pub(crate) fn masked_and_cut(args: Option<&str>, text: &str, most: usize) -> String {
    let text = masked(args, text);
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The action with the arguments masked in what it said at its end, and in fields that this program
/// does not know.
pub(crate) fn action(args: Option<&str>, mut action: Action) -> Action {
    action.more.values_mut().for_each(|value| mask(args, value));
    Action { finished_message: action.finished_message.map(|text| masked(args, &text)), ..action }
}

/// Masks the arguments in every text of a value. An answer has at most 128 levels: no more are
/// read.
fn mask(args: Option<&str>, value: &mut Value) {
    match value {
        Value::String(text) => *text = masked(args, text),
        Value::Array(items) => items.iter_mut().for_each(|item| mask(args, item)),
        Value::Object(fields) => fields.values_mut().for_each(|field| mask(args, field)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn without(args: &str, text: &str, form: ArgsForm) -> String {
    let decoded = Decoded::of(text, form);
    let (mut out, mut copied) = (String::with_capacity(text.len()), 0);
    for (start, end) in occurrences(args, &decoded.text) {
        out += &text[copied..decoded.source[start]];
        out += MASK;
        copied = decoded.source[end];
    }
    out + &text[copied..]
}

/// Returns the byte ranges at which a text has the arguments, or their beginning right before a
/// cut.
fn occurrences(args: &str, text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find(args) {
        let (start, end) = (from + at, from + at + args.len());
        let joined_before = joined(text[..start].chars().next_back(), args.chars().next());
        let joined_behind = joined(args.chars().next_back(), text[end..].chars().next());
        if joined_before || joined_behind {
            // Another occurrence may begin behind the first character.
            from = start + args.chars().next().map_or(1, char::len_utf8);
        } else {
            found.push((start, end));
            from = end;
        }
    }
    let cut = CUT.iter().find_map(|cut| text.strip_suffix(cut)).filter(|text| text.len() > from);
    if let Some(text) = cut
        && let Some(before) = without_beginning(&text[from..], args)
    {
        found.push((from + before.len(), text.len()));
    }
    found
}

/// A text without its escapes, and where each byte of the result comes from.
struct Decoded {
    text: String,
    /// For each byte of the text the offset of its origin in the source. One more element holds the
    /// source's length.
    source: Vec<usize>,
}

impl Decoded {
    fn of(text: &str, form: ArgsForm) -> Decoded {
        let mut decoded = Decoded { text: String::with_capacity(text.len()), source: Vec::new() };
        let mut at = 0;
        while let Some(next) = text[at..].chars().next() {
            let (plain, length) = unescaped(&text[at..], form).unwrap_or((next, next.len_utf8()));
            decoded.text.push(plain);
            decoded.source.resize(decoded.text.len(), at);
            at += length;
        }
        decoded.source.push(text.len());
        decoded
    }
}

/// The character that an escape at the beginning of a text stands for, and the escape's length.
/// `None`: there is no escape.
fn unescaped(text: &str, form: ArgsForm) -> Option<(char, usize)> {
    match (form, text.as_bytes().first()?) {
        (ArgsForm::Url, b'+') => Some((' ', 1)),
        (ArgsForm::Url, b'%') => {
            let byte = |at: usize| match text.get(at..at + 3)?.strip_prefix('%') {
                Some(digits) => u8::from_str_radix(digits, 16).ok(),
                None => None,
            };
            let bytes: Vec<u8> = (0..4).map_while(|number| byte(number * 3)).collect();
            // A character has up to four bytes.
            (1..=bytes.len()).find_map(|length| {
                let plain = std::str::from_utf8(&bytes[..length]).ok()?.chars().next()?;
                Some((plain, length * 3))
            })
        }
        (ArgsForm::Json, b'\\') => {
            let plain = match text.as_bytes().get(1)? {
                b'n' => '\n',
                b't' => '\t',
                b'r' => '\r',
                plain @ (b'"' | b'\\' | b'/') => char::from(*plain),
                b'u' => return Some((char::from_u32(u32::from_str_radix(text.get(2..6)?, 16).ok()?)?, 6)),
                _ => return None,
            };
            Some((plain, 2))
        }
        (ArgsForm::Html, b'&') => {
            let end = text.bytes().take(LONGEST_ENTITY).position(|byte| byte == b';')?;
            let name = &text[1..end];
            let plain = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                number => {
                    let number = number.strip_prefix('#')?;
                    let hex = number.strip_prefix(['x', 'X']).map(|hex| u32::from_str_radix(hex, 16));
                    char::from_u32(hex.unwrap_or_else(|| number.parse()).ok()?)?
                }
            };
            Some((plain, name.len() + 2))
        }
        _ => None,
    }
}

/// The text without the beginning of the arguments that it ends with, if it does.
fn without_beginning<'t>(text: &'t str, args: &str) -> Option<&'t str> {
    let ends = args.char_indices().skip(SHORTEST).map(|(at, _)| at).collect::<Vec<_>>();
    ends.into_iter().rev().find_map(|end| text.strip_suffix(&args[..end]))
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
            ("--day 1/2", "GET /run_now?job_args=%2D%2Dday%201%2f2", "GET /run_now?job_args=[args]"),
            ("--tag é 100%", "at %2D%2Dtag%20%C3%A9%20100%25&x", "at [args]&x"),
            ("a%b+c", "a%b+c, a%25b%2Bc", "[args], [args]"),
            ("café", "caf\\u00e9, \\u00zz %", "[args], \\u00zz %"),
        ] {
            assert_eq!(masked(Some(args), text), expected, "{args:?} in {text:?}");
        }
        assert_eq!(masked(None, "text"), "text");
        assert_eq!(masked_and_cut(Some("secret"), "a secret, and more", 12), "a [args], an…");
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
