//! The wording of errors: what is wrong, and what to write instead.

use super::CronError;
use super::field::{Field, MONTHS, WEEKDAYS};
use super::nickname::{NICKNAMES, expanded};
use super::piece::Piece;

/// A range that runs backwards, as the two that were meant. A step goes on in the second one where
/// it was in the first.
pub(super) fn backwards_help(field: Field, (from, low): (Piece, u8), high: u8, step: Option<u8>) -> String {
    let by = step.map_or(String::new(), |step| format!("/{step}"));
    if field == Field::DayOfWeek && high == 0 {
        return format!("Sunday at the end of a range is 7: write `{}-7{by}`", from.text);
    }
    let word = |value: u8| match field.words().get(usize::from(value - field.low())) {
        Some(word) if from.text.starts_with(|c: char| c.is_ascii_alphabetic()) => (*word).to_string(),
        _ => value.to_string(),
    };
    // A step on a single value has no effect, and a step from that value on means more than was
    // written.
    let part = |from: u8, to: u8| match step {
        _ if from == to => word(from),
        Some(step) if u16::from(from) + u16::from(step) > u16::from(to) => word(from),
        _ => format!("{}-{}{by}", word(from), word(to)),
    };
    let last = field.last().max(low);
    let step = u16::from(step.unwrap_or(1).max(1));
    let size = u16::from(field.last() - field.low()) + 1;
    let behind = u16::from(low) + (u16::from(last - low) / step + 1) * step - size;
    match u8::try_from(behind).ok().filter(|first| (field.low()..=high).contains(first)) {
        Some(first) => format!("write it as a list of two: `{},{}`", part(low, last), part(first, high)),
        None => format!("write `{}`: the step leaves out all that comes behind", part(low, last)),
    }
}

/// Refuses characters that look like a blank, a dash or a digit and are none.
pub(super) fn refuse_strange_characters(whole: Piece) -> Result<(), CronError> {
    let strange = |c: char| !c.is_ascii() || c.is_ascii_control() && !c.is_ascii_whitespace();
    let Some((at, found)) = whole.text.char_indices().find(|(_, c)| strange(*c)) else {
        return Ok(());
    };
    let (name, help) = match found {
        '\u{a0}' => ("a no-break space", "write a plain blank"),
        '\u{2007}' | '\u{202f}' => ("a no-break space of another width", "write a plain blank"),
        '\u{200b}' | '\u{200c}' | '\u{200d}' | '\u{2060}' | '\u{feff}' => {
            ("a character without a width", "remove the character")
        }
        '\u{2013}' => ("an en dash", "write a plain `-`"),
        '\u{2014}' => ("an em dash", "write a plain `-`"),
        '\u{2010}' | '\u{2011}' | '\u{2012}' | '\u{2212}' => {
            ("a hyphen or a minus of another kind", "write a plain `-`")
        }
        '\u{2217}' | '\u{ff0a}' | '\u{22c6}' => ("a star of another kind", "write a plain `*`"),
        '\u{2044}' | '\u{2215}' | '\u{ff0f}' => ("a slash of another kind", "write a plain `/`"),
        '\u{ff10}'..='\u{ff19}' => ("a digit of another width", "write a plain digit"),
        '\u{201c}' | '\u{201d}' | '\u{2018}' | '\u{2019}' => ("a curly quote", "remove the quote"),
        c if c.is_whitespace() => ("a blank of another kind", "write a plain blank"),
        c if c.is_control() => ("a control character", "remove the character"),
        _ => (
            "a character that no expression has",
            "write digits, the English words of months and weekdays, and `*/,-?LW#`",
        ),
    };
    let column = whole.text[..at].chars().count() + 1;
    let code = u32::from(found);
    let message = if found.is_alphanumeric() || found.is_ascii_punctuation() {
        format!("`{found}` (U+{code:04X}) in column {column} of the expression is {name}")
    } else {
        format!("U+{code:04X} in column {column} of the expression is {name}")
    };
    Err(CronError { span: at..at + found.len_utf8(), message, help: help.into() })
}

/// `*/32,1-7` is written for its star: with one in front a day must match day-of-month and
/// day-of-week. The step that is past the range is replaced by the largest one, which keeps that.
pub(super) fn star_step_help(error: CronError, piece: Piece, fields: &[(Field, Piece)]) -> CronError {
    let text =
        |wanted| fields.iter().find(|(field, _)| *field == wanted).map_or("*", |(_, piece)| piece.text);
    let (days, weekdays) = (text(Field::DayOfMonth), text(Field::DayOfWeek));
    let of_weekdays = piece.text == weekdays && piece.start > 0 && piece.text != days;
    let other = if of_weekdays { days } else { weekdays };
    let step = piece.text.split([',']).next().and_then(|item| item.split_once('/'));
    let Some((base @ ("*" | "?"), step)) = step else { return error };
    let past = step.parse::<u32>().is_ok_and(|step| step > if of_weekdays { 7 } else { 31 });
    if !past || other.starts_with(['*', '?']) || error.span.start != piece.start + 2 {
        return error;
    }
    let largest = if of_weekdays { 7 } else { 31 };
    let mut help =
        format!("write `{base}/{largest}`, which keeps the meaning: the day must match both fields");
    let week = match piece.text.split_once(',') {
        Some((_, "1-7")) => Some(1),
        Some((_, "8-14")) => Some(2),
        Some((_, "15-21")) => Some(3),
        Some((_, "22-28")) => Some(4),
        _ => None,
    };
    let word = other.parse::<usize>().ok().map(|day| WEEKDAYS[day % 7].to_owned());
    let word = word.or_else(|| is_word_of(other, &WEEKDAYS).then(|| other.to_ascii_uppercase()));
    if let (Some(week), Some(word), false) = (week, word, of_weekdays) {
        help = format!("{help}; better, write `*` here and `{word}#{week}` for day-of-week");
    }
    CronError { help, ..error }
}

pub(super) fn step_help(field: Field, step: &str) -> String {
    let once = field.low();
    match (field, step.parse::<u32>()) {
        (Field::Minute, Ok(n)) if n % 60 == 0 && 1440 % n == 0 && n > 60 => {
            format!("write `0 */{} * * *` for every {} hours", n / 60, n / 60)
        }
        (Field::Minute, Ok(n)) if n > 60 => {
            format!("write `{once}` for once an hour; past the hour there are the steps 72, 80, 90 and 96")
        }
        (Field::Second, _) => format!("write `{once}` for once a minute"),
        (Field::Minute, _) => format!("write `{once}` for once an hour"),
        (Field::Hour, _) => format!("write `{once}` for once a day"),
        (Field::DayOfMonth, _) => format!("write `{once}` for once a month"),
        (Field::Month, _) => format!("write `{once}` for once a year"),
        (Field::DayOfWeek, _) => format!("write `{once}` for once a week, on Sunday"),
    }
}

pub(super) fn allowed(field: Field) -> String {
    let numbers = format!("{} to {}", field.low(), field.high());
    match field.words() {
        [] => numbers,
        words => format!("{numbers}, or {} to {}", words[0], words[words.len() - 1]),
    }
}

pub(super) fn out_of_range_help(field: Field, text: &str) -> String {
    match (field, text.parse::<u32>()) {
        (Field::Hour, Ok(24)) => "write `0`: the hour after 23 is 0 of the next day".into(),
        (Field::Second | Field::Minute, Ok(60)) => "write `0`: it counts from 0 to 59".into(),
        (Field::DayOfMonth, Ok(0)) => "write `1`: the first day is 1; the last is `L`".into(),
        (Field::Month, Ok(0)) => "write `1`: January is 1".into(),
        (Field::DayOfWeek, _) => "write 0 to 7: 1 is Monday, 0 and 7 are Sunday".into(),
        _ => format!("write {}", allowed(field)),
    }
}

pub(super) fn unknown_word(field: Field, piece: Piece) -> CronError {
    let text = piece.text;
    let message = format!("`{text}` is no {field}");
    if text.starts_with('-') {
        return piece.error(message, format!("write {}, without a sign", allowed(field)));
    }
    if text.contains(['*', '?']) {
        return piece.error(message, "write `*` alone, or with a step, as `*/5`");
    }
    if text.contains('/') {
        return piece.error(message, "write one `/`, as in `0-30/5`");
    }
    if text.contains('~') || text.starts_with(['H', 'R']) && field.words().is_empty() {
        return piece.error(message, "a time that differs from entry to entry is the entry's `jitter`");
    }
    if let Some(help) = special_help(field, text) {
        return piece.error(message, help);
    }
    match nearest(text, field.words()) {
        Some(word) => piece.error(message, format!("write `{word}`")),
        None if is_word_of(text, &MONTHS) && field != Field::Month => piece.error(
            message,
            format!("it is a month: month comes after day-of-month. Here write {}", allowed(field)),
        ),
        None if is_word_of(text, &WEEKDAYS) && field != Field::DayOfWeek => piece.error(
            message,
            format!("it is a weekday: day-of-week comes last. Here write {}", allowed(field)),
        ),
        None => piece.error(message, format!("write {}", allowed(field))),
    }
}

/// Returns the advice for `L`, `W` and `#` in fields where they mean nothing.
fn special_help(field: Field, text: &str) -> Option<&'static str> {
    let upper = text.to_ascii_uppercase();
    if field == Field::DayOfMonth && text.contains('#') {
        return Some("`#` belongs to day-of-week: `0 9 * * MON#2` is the second Monday");
    }
    if upper.ends_with('L') && upper.len() <= 2 && field != Field::DayOfWeek {
        return Some(
            "`L` is the last day in day-of-month, and behind a weekday (`5L`) its last in the month",
        );
    }
    if upper.ends_with('W') && upper.len() <= 3 && field != Field::DayOfMonth {
        return Some("`W` belongs to day-of-month: `15W` is the working day nearest to the 15th");
    }
    text.contains('#').then_some("`#` belongs to day-of-week: `MON#2` is the second Monday")
}

fn is_word_of(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// The word that was meant: by its first three letters (`monday`), or by one slip of the finger
/// (`MUN`).
fn nearest<'a>(text: &str, words: &[&'a str]) -> Option<&'a str> {
    let upper = text.to_ascii_uppercase();
    let by_letters = words.iter().find(|word| upper.len() > word.len() && upper.starts_with(**word));
    let by_distance = || {
        words
            .iter()
            .map(|word| (strsim::damerau_levenshtein(&upper, word), *word))
            .filter(|(distance, _)| *distance == 1)
            .min_by_key(|(_, word)| word.as_bytes().first() != upper.as_bytes().first())
            .map(|(_, word)| word)
    };
    by_letters.copied().or_else(by_distance)
}

pub(super) fn unknown_nickname(piece: Piece, whole: &str) -> CronError {
    let text = piece.text;
    if piece.is("@reboot") {
        return piece.error(
            "`@reboot` is not supported: an occurrence is an instant, and a restart of the daemon is none",
            "run what belongs to a boot from a systemd unit of its own",
        );
    }
    if piece.is("@every") {
        return piece.error(
            "`@every` is not supported: it would count from whenever the daemon started",
            "write a step: `*/5 * * * *` for every five minutes",
        );
    }
    if whole.trim_ascii() != text && expanded(text) != text {
        return piece.error(
            format!("`{text}` stands alone, without further fields"),
            format!("write `{text}`, or the fields it stands for: `{}`", expanded(text)),
        );
    }
    let near = NICKNAMES
        .iter()
        .map(|(name, _)| (strsim::damerau_levenshtein(text, name), *name))
        .filter(|(distance, _)| *distance <= 2)
        .min();
    let all = "write @yearly, @monthly, @weekly, @daily or @hourly, or five fields";
    piece.error(
        format!("`{text}` is no nickname of an expression"),
        near.map_or(all.to_string(), |(_, name)| format!("write `{name}`")),
    )
}

/// Refuses the parts of a crontab line that belong to no expression.
pub(super) fn refuse_crontab_syntax(pieces: &[Piece]) -> Result<(), CronError> {
    for piece in pieces {
        if piece.text.contains('%') {
            return Err(piece.error(
                "`%` means nothing in an expression",
                "in a crontab it stands in the command; what the job is given is the entry's `args`",
            ));
        }
        if piece.text.starts_with("TZ=") || piece.text.starts_with("CRON_TZ=") {
            return Err(piece.error(
                "the zone is not part of the expression",
                "write it under the entry's own key, `timezone`",
            ));
        }
    }
    Ok(())
}

pub(super) fn wrong_count(pieces: &[Piece]) -> CronError {
    let (first, last) = (pieces[0], pieces[pieces.len() - 1]);
    let span = first.start..last.span().end;
    let count = pieces.len();
    if count > 6 {
        return CronError {
            span: pieces[6].start..span.end,
            message: format!("{count} fields: an expression has five, or six with seconds first"),
            help: "remove the rest; there is no field for the year".into(),
        };
    }
    let names: Vec<&str> = Field::ALL[1..].iter().map(|field| field.name()).collect();
    CronError {
        span,
        message: format!(
            "{count} {}: an expression has five, or six with seconds first",
            if count == 1 { "field" } else { "fields" }
        ),
        help: format!("write {}; missing: {}", names.join(" "), names[count..].join(" ")),
    }
}

pub(super) fn never_due(fields: &[(Field, Piece)]) -> CronError {
    let place = |wanted: Field| fields.iter().find(|(field, _)| *field == wanted).map(|(_, piece)| *piece);
    let start = place(Field::DayOfMonth).map_or(0, |piece| piece.start);
    let end = place(Field::DayOfWeek).map_or(start, |piece| piece.span().end);
    CronError {
        span: start..end,
        message: "the expression never comes due: no date has such a day, month and weekday".into(),
        help: "a month has at most 31 days, April, June, September and November 30, February 29; `L` is the last day"
            .into(),
    }
}
