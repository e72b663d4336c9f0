//! Text from outside, as every journal can keep it: what the API says, and what errors say.
//!
//! PostgreSQL stores no NUL, and a write that holds one fails as a whole, however often it is tried. All words about an
//! occurrence pass [`storable`] before a store sees them, so that no answer of the API can stop the claims that are
//! written together with it. What passes and still cannot be stored is written apart by the writer ([`super::writer`]).

/// Longer texts are cut: one answer of the API must not fill the journal.
pub(super) const LONGEST: usize = 1000;

/// Returns the text with its control characters escaped, as `\u{0}`, and cut at a letter to at most [`LONGEST`] bytes.
/// Line ends and tabs stay.
pub(super) fn storable(text: &str) -> String {
    let mut kept = String::with_capacity(text.len().min(LONGEST));
    for c in text.chars() {
        let before = kept.len();
        match c {
            '\n' | '\t' => kept.push(c),
            c if c.is_control() => kept.extend(c.escape_default()),
            c => kept.push(c),
        }
        if kept.len() > LONGEST {
            kept.truncate(before);
            break;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_database_stores_is_escaped_and_all_else_stays() {
        assert_eq!(storable("a\0b\u{1b}[1m\u{85}"), "a\\u{0}b\\u{1b}[1m\\u{85}");
        assert_eq!(storable("deux\nlignes…\t✓ 日本"), "deux\nlignes…\t✓ 日本");
    }

    #[test]
    fn a_long_text_is_cut_at_a_letter_and_no_escape_is_cut_in_two() {
        let long = storable(&"é".repeat(2000));
        assert!(long.len() <= LONGEST && long.chars().all(|c| c == 'é'), "{} bytes", long.len());
        assert!(storable(&"\0".repeat(2000)).ends_with("\\u{0}"));
    }
}
