//! Durations as people write them: `500ms`, `90s`, `5m`, `1h 30m`, `2d`, `1w`.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// The longest duration that the file may state: ten years. Sums with it stay within what a
/// timestamp can hold.
pub const LONGEST: Duration = Duration::from_secs(3_653 * 86_400);

/// Pattern of a duration, for a JSON Schema: the units go from great to small, each once.
pub const PATTERN: &str = r"^(?=.*[0-9])\s*([0-9]+\s*w\s*)?([0-9]+\s*d\s*)?([0-9]+\s*h\s*)?([0-9]+\s*m\s*)?([0-9]+\s*s\s*)?([0-9]+\s*ms\s*)?$";

/// Pattern of a duration that is not zero.
pub const POSITIVE_PATTERN: &str = r"^(?=.*[1-9])\s*([0-9]+\s*w\s*)?([0-9]+\s*d\s*)?([0-9]+\s*h\s*)?([0-9]+\s*m\s*)?([0-9]+\s*s\s*)?([0-9]+\s*ms\s*)?$";

/// Each unit and its milliseconds, the greatest first.
const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// The text is empty, or nothing but white space.
    #[error("an empty duration")]
    Empty,
    /// A number stands where its unit should follow.
    #[error("`{number}` has no unit")]
    NoUnit {
        /// The number, as it was written.
        number: String,
        /// The byte range in the text.
        span: Range<usize>,
    },
    /// A word that is no unit.
    #[error("`{unit}` is no unit of time")]
    UnknownUnit {
        /// The word, as it was written.
        unit: String,
        /// The byte range in the text.
        span: Range<usize>,
    },
    /// Something else than a whole number.
    #[error("a duration is made of whole numbers and units")]
    NoNumber {
        /// The byte at which a number was expected.
        span: Range<usize>,
    },
    /// A unit that is not smaller than the one before it.
    #[error("the units of a duration go from great to small, each once")]
    Order {
        /// The part that stands too late.
        span: Range<usize>,
    },
    /// Longer than [`LONGEST`].
    #[error("a duration is ten years at most")]
    TooLong,
}

impl DurationError {
    /// The bytes of the text that are wrong; `None` is all of it.
    pub fn span(&self) -> Option<Range<usize>> {
        match self {
            DurationError::Empty | DurationError::TooLong => None,
            DurationError::NoUnit { span, .. }
            | DurationError::UnknownUnit { span, .. }
            | DurationError::NoNumber { span }
            | DurationError::Order { span } => Some(span.clone()),
        }
    }

    /// Returns the remedy.
    pub fn help(&self) -> String {
        match self {
            DurationError::NoUnit { number, .. } => {
                format!("add a unit: `{number}s`, `{number}m` or `{number}h` (units: ms, s, m, h, d, w)")
            }
            DurationError::UnknownUnit { unit, .. } => match long_name(unit) {
                Some(short) => format!("write `{short}` (units: ms, s, m, h, d, w)"),
                None => "the units are ms, s, m, h, d and w, as in `1h 30m`".into(),
            },
            DurationError::Order { .. } => "write them in order, as in `1d 2h 30m`".into(),
            DurationError::TooLong => "write a shorter one".into(),
            DurationError::Empty | DurationError::NoNumber { .. } => {
                "write it as in `500ms`, `90s`, `5m`, `1h 30m` or `2d`".into()
            }
        }
    }
}

/// The unit that a longer word means.
fn long_name(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => "ms",
        "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hrs" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        "w" | "wk" | "week" | "weeks" => "w",
        _ => return None,
    })
}

/// Reads a duration: whole numbers, each with its unit, from great to small.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let mut total = Duration::ZERO;
    let mut smallest = u64::MAX;
    let mut at = skip_blanks(text, 0);
    if at == text.len() {
        return Err(DurationError::Empty);
    }
    while at < text.len() {
        let digits = run(text, at, |c| c.is_ascii_digit());
        if digits.is_empty() {
            let width = text[at..].chars().next().map_or(0, char::len_utf8);
            return Err(DurationError::NoNumber { span: at..at + width });
        }
        let word = run(text, skip_blanks(text, digits.end), char::is_alphabetic);
        if word.is_empty() {
            // `1.5h` has its unit; what it lacks is a whole number.
            let next = text[digits.end..].chars().next();
            return Err(match next {
                Some(c) if !c.is_whitespace() && !c.is_ascii_digit() => {
                    DurationError::NoNumber { span: digits.end..digits.end + c.len_utf8() }
                }
                _ => DurationError::NoUnit { number: text[digits.clone()].into(), span: digits },
            });
        }
        let unit = &text[word.clone()];
        let Some(&(_, millis)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(DurationError::UnknownUnit { unit: unit.into(), span: word });
        };
        if millis >= smallest {
            return Err(DurationError::Order { span: digits.start..word.end });
        }
        smallest = millis;
        let part = text[digits]
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(millis))
            .ok_or(DurationError::TooLong)?;
        total = total
            .checked_add(Duration::from_millis(part))
            .filter(|sum| *sum <= LONGEST)
            .ok_or(DurationError::TooLong)?;
        at = skip_blanks(text, word.end);
    }
    Ok(total)
}

/// The longest run from `at` of characters that `is` holds for.
fn run(text: &str, at: usize, is: impl Fn(char) -> bool) -> Range<usize> {
    let length = text[at..].find(|c| !is(c)).unwrap_or(text.len() - at);
    at..at + length
}

fn skip_blanks(text: &str, at: usize) -> usize {
    run(text, at, char::is_whitespace).end
}

/// Shows a duration as [`parse`] reads it, in the fewest parts: `1h 30m`. What is less than a
/// millisecond is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compact(pub Duration);

impl fmt::Display for Compact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.pad("0s");
        }
        let mut text = String::new();
        // Days are the greatest: nobody thinks of 90 days as of 12w 6d.
        for (unit, millis) in &UNITS[1..] {
            let (number, remainder) = (rest / u128::from(*millis), rest % u128::from(*millis));
            if number > 0 {
                let blank = if text.is_empty() { "" } else { " " };
                text += &format!("{blank}{number}{unit}");
            }
            rest = remainder;
        }
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_unit_is_read() {
        for (text, millis) in [
            ("500ms", 500),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            (" 2d ", 172_800_000),
            ("1w", 604_800_000),
            ("2 h", 7_200_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_duration_says_why_and_where() {
        let cases: [(&str, &str, Option<Range<usize>>); 11] = [
            ("", "an empty duration", None),
            ("30", "`30` has no unit", Some(0..2)),
            ("1h 30", "`30` has no unit", Some(3..5)),
            ("30 sec", "`sec` is no unit of time", Some(3..6)),
            ("5M", "`M` is no unit of time", Some(1..2)),
            ("1.5h", "a duration is made of whole numbers and units", Some(1..2)),
            ("-1s", "a duration is made of whole numbers and units", Some(0..1)),
            ("ten s", "a duration is made of whole numbers and units", Some(0..1)),
            ("30m 1h", "the units of a duration go from great to small, each once", Some(4..6)),
            ("99999999999999999999s", "a duration is ten years at most", None),
            ("4000d", "a duration is ten years at most", None),
        ];
        for (text, message, span) in cases {
            let error = parse(text).expect_err(text);
            assert_eq!((error.to_string().as_str(), error.span()), (message, span), "{text:?}");
            assert!(!error.help().is_empty(), "{text:?} comes with help");
        }
    }

    #[test]
    fn a_long_unit_gets_its_short_name() {
        let error = parse("30 minutes").expect_err("no unit");
        assert!(error.help().starts_with("write `m`"), "{}", error.help());
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(millis in 0..=3_653 * 86_400_000u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&Compact(duration).to_string()), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = parse(&text).map_err(|error| (error.span().map(|span| text[span].len()), error.help()));
        }
    }
}
