//! From text to bitsets, with an error that says which bytes are wrong and what to write instead.
//!
//! Numbers, lists, ranges and steps are read as Debian's cron reads them, `L`, `W`, `#` and `?` as Quartz does,
//! except that 0 and 7 are Sunday.

use std::ops::Range;

use super::calendar::{Calendar, Days, MonthDays, Weekdays};
use super::field::{Field, MONTHS, WEEKDAYS};
use super::{CronError, Rule};

/// The steps of Cloud 66 that go past the hour, in minutes. Each divides a day.
const STEPS_PAST_THE_HOUR: [u16; 4] = [72, 80, 90, 96];

/// The nicknames and what they stand for.
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// A piece of the expression and where it stands.
#[derive(Clone, Copy)]
struct Piece<'a> {
    text: &'a str,
    start: usize,
}

impl<'a> Piece<'a> {
    fn span(self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    fn error(self, message: impl Into<String>, help: impl Into<String>) -> CronError {
        CronError { span: self.span(), message: message.into(), help: help.into() }
    }

    /// The pieces between the separators.
    fn split(self, separator: impl Fn(char) -> bool) -> impl Iterator<Item = Piece<'a>> {
        self.text.split(separator).map(move |text| Piece {
            text,
            start: self.start + text.as_ptr().addr() - self.text.as_ptr().addr(),
        })
    }

    /// The pieces before and after the first separator.
    fn split_once(self, separator: char) -> Option<(Piece<'a>, Piece<'a>)> {
        let (before, after) = self.text.split_once(separator)?;
        let after_start = self.start + before.len() + separator.len_utf8();
        Some((Piece { text: before, ..self }, Piece { text: after, start: after_start }))
    }

    /// The piece without a last letter, in either case.
    fn strip_letter(self, letter: char) -> Option<Piece<'a>> {
        let last = self.text.chars().next_back()?;
        last.eq_ignore_ascii_case(&letter)
            .then(|| Piece { text: &self.text[..self.text.len() - letter.len_utf8()], ..self })
    }

    fn is(self, text: &str) -> bool {
        self.text.eq_ignore_ascii_case(text)
    }
}

/// What a nickname stands for; any other text as it is.
pub(crate) fn expanded(text: &str) -> &str {
    let text = text.trim_ascii();
    NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map_or(text, |(_, fields)| fields)
}

/// Reads an expression.
pub(super) fn rule(text: &str) -> Result<Rule, CronError> {
    let whole = Piece { text, start: 0 };
    let trimmed =
        whole.split(|c| c.is_ascii_whitespace()).find(|piece| !piece.text.is_empty()).ok_or_else(|| {
            whole.error(
                "the expression is empty",
                "write five fields: minute hour day-of-month month day-of-week, as `30 1 * * *`",
            )
        })?;
    if trimmed.text.starts_with('@') {
        let expansion = expanded(text);
        return match expansion.starts_with('@') {
            true => Err(unknown_nickname(trimmed, text)),
            false => rule(expansion),
        };
    }
    let pieces: Vec<Piece> =
        whole.split(|c| c.is_ascii_whitespace()).filter(|piece| !piece.text.is_empty()).collect();
    refuse_crontab_syntax(&pieces)?;
    let fields: Vec<(Field, Piece)> = match pieces.len() {
        5 => Field::ALL[1..].iter().copied().zip(pieces).collect(),
        6 => Field::ALL.iter().copied().zip(pieces).collect(),
        _ => return Err(wrong_count(&pieces)),
    };
    if let Some(minutes) = step_past_the_hour(&fields)? {
        return Ok(Rule::EveryMinutes(minutes));
    }
    let calendar = calendar(&fields)?;
    if !calendar.has_any_date() {
        return Err(never_due(&fields));
    }
    Ok(Rule::Calendar(calendar))
}

fn calendar(fields: &[(Field, Piece)]) -> Result<Calendar, CronError> {
    let mut calendar = Calendar {
        seconds: 1,
        minutes: 0,
        hours: 0,
        months: 0,
        month_days: MonthDays::default(),
        weekdays: Weekdays::default(),
        days: Days::Either,
        wildcard: false,
    };
    for &(field, piece) in fields {
        match field {
            // A set holds no bit past the field's range, so these lose nothing.
            Field::Second => calendar.seconds = plain_set(field, piece)?,
            Field::Minute => calendar.minutes = plain_set(field, piece)?,
            Field::Hour => calendar.hours = plain_set(field, piece)? as u32,
            Field::Month => calendar.months = plain_set(field, piece)? as u16,
            Field::DayOfMonth => calendar.month_days = month_days(piece)?,
            Field::DayOfWeek => calendar.weekdays = weekdays(piece)?,
        }
        match field {
            Field::Minute | Field::Hour => calendar.wildcard |= piece.text.contains(['*', '?']),
            Field::DayOfMonth | Field::DayOfWeek if piece.text.starts_with(['*', '?']) => {
                calendar.days = Days::Both;
            }
            _ => {}
        }
    }
    Ok(calendar)
}

fn plain_set(field: Field, piece: Piece) -> Result<u64, CronError> {
    let mut set = 0;
    for item in piece.split(|c| c == ',') {
        set |= item_set(field, item)?;
    }
    Ok(set)
}

fn month_days(piece: Piece) -> Result<MonthDays, CronError> {
    let field = Field::DayOfMonth;
    let mut days = MonthDays::default();
    for item in piece.split(|c| c == ',') {
        if item.is("L") {
            days.before_last |= 1;
        } else if item.is("LW") || item.is("WL") {
            days.last_working_day = true;
        } else if let Some((before, distance)) = item.split_once('-')
            && before.is("L")
        {
            days.before_last |= 1 << distance_from_last(distance)?;
        } else if let Some(day) = item.strip_letter('W')
            && !day.text.is_empty()
        {
            if !day.text.bytes().all(|b| b.is_ascii_digit()) {
                return Err(item.error(
                    format!("`{}` is not a day and a `W`", item.text),
                    "write `15W` for the working day nearest to the 15th; it takes one day, no range or list",
                ));
            }
            days.nearest_working_day |= 1 << value(field, day)?;
        } else {
            days.days |= item_set(field, item)? as u32;
        }
    }
    Ok(days)
}

/// The `3` of `L-3`.
fn distance_from_last(piece: Piece) -> Result<u32, CronError> {
    match piece.text.parse() {
        Ok(distance @ 0..=30) if !piece.text.starts_with('+') => Ok(distance),
        _ => Err(piece.error(
            format!("`{}` is not a number of days before the last one", piece.text),
            "write 0 to 30: `L-3` is three days before the last of the month",
        )),
    }
}

fn weekdays(piece: Piece) -> Result<Weekdays, CronError> {
    let field = Field::DayOfWeek;
    let mut days = Weekdays::default();
    for item in piece.split(|c| c == ',') {
        if let Some((day, nth)) = item.split_once('#') {
            let weekday = 1 << (value(field, day)? % 7);
            match nth.text.as_bytes() {
                [n @ b'1'..=b'5'] => days.nth[usize::from(n - b'1')] |= weekday,
                b"L" | b"l" => days.last |= weekday,
                _ => {
                    return Err(nth.error(
                        format!("`{}` is not a week of the month", nth.text),
                        "write 1 to 5: `MON#2` is the second Monday; `MON#L` or `1L` is the last",
                    ));
                }
            }
        } else if item.is("L") {
            return Err(item.error(
                "`L` in day-of-week does not say the last of which weekday",
                "write `5L` or `FRIL` for the last Friday of the month, `6` for every Saturday",
            ));
        } else if let Some(day) = item.strip_letter('L') {
            days.last |= 1 << (value(field, day)? % 7);
        } else {
            let set = item_set(field, item)?;
            days.every |= (set | set >> 7) as u8 & Weekdays::ALL;
        }
    }
    Ok(days)
}

/// One item of a list: `*` or its other spelling `?`, a value or a range, each with or without a step.
fn item_set(field: Field, item: Piece) -> Result<u64, CronError> {
    if item.text.is_empty() {
        return Err(item.error(
            format!("an item of the {field} list is missing"),
            "write a value on both sides of each comma",
        ));
    }
    let (base, step) = match item.split_once('/') {
        Some((base, step)) => (base, Some(step)),
        None => (item, None),
    };
    let (from, to) = if matches!(base.text, "*" | "?") {
        (field.low(), field.last())
    } else if base.is("x") {
        return Err(base.error(
            "`x` stands only before a minute step of 72, 80, 90 or 96, as in `x/72 * * * *`",
            "write `*`",
        ));
    } else if let Some((from, to)) = base.split_once('-') {
        range(field, from, to)?
    } else {
        let from = value(field, base)?;
        match step {
            Some(_) => (from, field.last().max(from)),
            None => (from, from),
        }
    };
    let step = match step {
        Some(step) => step_of(field, step)?,
        None => 1,
    };
    Ok(values(from, to, step))
}

/// Every `step`th value from `from` to `to`, which is at most 63.
fn values(from: u8, to: u8, step: u8) -> u64 {
    (from..=to).step_by(step.into()).fold(0, |set, value| set | 1 << value)
}

/// Both ends of a range. Sunday may end one: `FRI-SUN`.
fn range(field: Field, from: Piece, to: Piece) -> Result<(u8, u8), CronError> {
    let (low, mut high) = (value(field, from)?, value(field, to)?);
    if field == Field::DayOfWeek && high == 0 && low > 0 && to.is("SUN") {
        high = 7;
    }
    if low > high {
        return Err(CronError {
            span: from.start..to.span().end,
            message: format!("the range {}-{} of {field} runs backwards", from.text, to.text),
            help: backwards_help(field, from, to, low, high),
        });
    }
    Ok((low, high))
}

fn backwards_help(field: Field, from: Piece, to: Piece, low: u8, high: u8) -> String {
    if field == Field::DayOfWeek && high == 0 {
        return format!("Sunday at the end of a range is 7: write `{}-7`", from.text);
    }
    let part = |from: &str, to: &str| {
        if from == to { from.to_string() } else { format!("{from}-{to}") }
    };
    let word = |value: u8| match field.words().get(usize::from(value - field.low())) {
        Some(word) if from.text.starts_with(|c: char| c.is_ascii_alphabetic()) => (*word).to_string(),
        _ => value.to_string(),
    };
    let (last, first) = (word(field.last().max(low)), word(field.low()));
    format!("write it as a list of two: `{},{}`", part(from.text, &last), part(&first, to.text))
}

fn step_of(field: Field, step: Piece) -> Result<u8, CronError> {
    let limit = field.high();
    match step.text.parse::<u8>() {
        _ if !step.text.bytes().all(|b| b.is_ascii_digit()) || step.text.is_empty() => Err(step.error(
            format!("the step of {field} is not a number: `{}`", step.text),
            format!("write a number from 1 to {limit} after the `/`"),
        )),
        Ok(0) => Err(step.error(
            format!("a step of 0 in {field} never comes to a next value"),
            "write `*` for every value",
        )),
        Ok(step) if step <= limit => Ok(step),
        _ => Err(step.error(
            format!("a step of {} is past the range of {field}, {} to {limit}", step.text, field.low()),
            step_help(field, step.text),
        )),
    }
}

fn step_help(field: Field, step: &str) -> String {
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

/// A number or a word of the field.
fn value(field: Field, piece: Piece) -> Result<u8, CronError> {
    let (low, high) = (field.low(), field.high());
    if piece.text.is_empty() {
        return Err(
            piece.error(format!("a value of {field} is missing"), format!("write {}", allowed(field)))
        );
    }
    if piece.text.bytes().all(|b| b.is_ascii_digit()) {
        return match piece.text.parse::<u8>() {
            Ok(value) if (low..=high).contains(&value) => Ok(value),
            _ => Err(piece.error(
                format!("{field} {} is out of its range, {low} to {high}", piece.text),
                out_of_range_help(field, piece.text),
            )),
        };
    }
    let word = (low..).zip(field.words()).find(|(_, word)| piece.is(word)).map(|(value, _)| value);
    word.ok_or_else(|| unknown_word(field, piece))
}

fn allowed(field: Field) -> String {
    let numbers = format!("{} to {}", field.low(), field.high());
    match field.words() {
        [] => numbers,
        words => format!("{numbers}, or {} to {}", words[0], words[words.len() - 1]),
    }
}

fn out_of_range_help(field: Field, text: &str) -> String {
    match (field, text.parse::<u32>()) {
        (Field::Hour, Ok(24)) => "write `0`: the hour after 23 is 0 of the next day".into(),
        (Field::Second | Field::Minute, Ok(60)) => "write `0`: it counts from 0 to 59".into(),
        (Field::DayOfMonth, Ok(0)) => "write `1`: the first day is 1; the last is `L`".into(),
        (Field::Month, Ok(0)) => "write `1`: January is 1".into(),
        (Field::DayOfWeek, _) => "write 0 to 7: 1 is Monday, 0 and 7 are Sunday".into(),
        _ => format!("write {}", allowed(field)),
    }
}

fn unknown_word(field: Field, piece: Piece) -> CronError {
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

/// For `L`, `W` and `#` where they mean nothing.
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

/// The word that was meant: by its first three letters (`monday`), or by one slip of the finger (`MUN`).
fn nearest<'a>(text: &str, words: &[&'a str]) -> Option<&'a str> {
    let upper = text.to_ascii_uppercase();
    let by_letters = words.iter().find(|word| upper.len() > word.len() && upper.starts_with(**word));
    let by_distance = || {
        words
            .iter()
            .map(|word| (strsim::damerau_levenshtein(&upper, word), *word))
            .filter(|(distance, _)| *distance == 1)
            .min_by_key(|(_, word)| !word.starts_with(&upper[..upper.len().min(1)]))
            .map(|(_, word)| word)
    };
    by_letters.copied().or_else(by_distance)
}

fn unknown_nickname(piece: Piece, whole: &str) -> CronError {
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

/// What belongs to a line of a crontab and not to an expression.
fn refuse_crontab_syntax(pieces: &[Piece]) -> Result<(), CronError> {
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

fn wrong_count(pieces: &[Piece]) -> CronError {
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

/// The period of `*/72 * * * *` and its like; `None` for every other expression.
fn step_past_the_hour(fields: &[(Field, Piece)]) -> Result<Option<u16>, CronError> {
    let Some(&(_, minute)) = fields.iter().find(|(field, _)| *field == Field::Minute) else {
        return Ok(None);
    };
    let Some((base, step)) = minute.split_once('/') else {
        return Ok(None);
    };
    if base.text != "*" && !base.is("x") {
        return Ok(None);
    }
    let Some(minutes) = step.text.parse().ok().filter(|minutes| STEPS_PAST_THE_HOUR.contains(minutes)) else {
        return Ok(None);
    };
    match fields.iter().find(|(field, piece)| *field != Field::Minute && !matches!(piece.text, "*" | "?")) {
        None if fields.len() == 5 => Ok(Some(minutes)),
        None => Err(fields[0].1.error(
            format!("a step of {minutes} minutes has no field for seconds beside it"),
            format!("write five fields: `*/{minutes} * * * *`"),
        )),
        Some((field, piece)) => Err(piece.error(
            format!(
                "a step of {minutes} minutes runs through the whole day, so {field} cannot be restricted"
            ),
            format!("write `*/{minutes} * * * *`"),
        )),
    }
}

fn never_due(fields: &[(Field, Piece)]) -> CronError {
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

#[cfg(test)]
mod tests {
    use crate::schedule::Expression;

    #[test]
    fn the_dialect_is_read() {
        for text in [
            "* * * * *",
            "*/5 * * * *",
            "0 0-23/2 1,15 JAN-mar,12 mon-FRI",
            "  30\t1 * * *\n",
            "15 30 1 * * *",
            "0 0 L * *",
            "0 0 L-3,LW,15W * ?",
            "0 0 ? * 5L",
            "0 0 ? * FRIL,MON#2,1#L",
            "5/15 * * * *",
            "0 0 * * 7",
            "0 0 * * FRI-SUN",
            "0 0 * * 5-7",
            "*/72 * * * *",
            "x/96 * * ? *",
            "@daily",
            "@Hourly",
            "0 0 29 2 *",
            "*/59 */23 */31 */12 */7",
        ] {
            assert!(Expression::parse(text).is_ok(), "{text:?}: {:?}", Expression::parse(text));
        }
    }

    #[test]
    fn errors_name_the_bytes_and_what_to_write() {
        let told: String = [
            "",
            "@reboot",
            "@every 5m",
            "@dayly",
            "@daily 5",
            "* * * *",
            "1",
            "0 0 1 1 * * 2026",
            "60 * * * *",
            "0 24 * * *",
            "0 0 0 * *",
            "0 0 32 * *",
            "0 0 * 0 *",
            "0 0 * 13 *",
            "0 0 * * 8",
            "0 0 * * MUN",
            "0 0 * * monday",
            "0 0 * MON *",
            "0 0 * JANUARY *",
            "0 0 * * JAN",
            "0 0 * * L",
            "0 0 * * 1#6",
            "0 0 2#1 * *",
            "0 0 L-31 * *",
            "0 0 1-5W * *",
            "0 0 W * *",
            "0 L * * *",
            "0 0 * * 15W",
            "*/0 * * * *",
            "*/60 * * * *",
            "*/120 * * * *",
            "*/75 * * * *",
            "0 */72 * * *",
            "0 */24 * * *",
            "x/15 * * * *",
            "*/72 9 * * *",
            "0 */72 * * * *",
            "1,,2 * * * *",
            "1-/2 * * * *",
            "-5 * * * *",
            "*/ * * * *",
            "1/2/3 * * * *",
            "0 22-2 * * *",
            "0 0 * * FRI-MON",
            "0 0 * * 5-0",
            "0 0 * NOV-FEB *",
            "0 0 30 2 *",
            "0 0 31 4,6 *",
            "H * * * *",
            "0~30 * * * *",
            "1? * * * *",
            "5 4 * * % echo",
            "TZ=UTC 5 4 * * *",
            "5 4 * * été",
            "99999999999999999999 * * * *",
            "1-* * * * *",
        ]
        .into_iter()
        .map(|text| match Expression::parse(text) {
            Ok(_) => format!("{text}\n  accepted\n"),
            Err(error) => format!(
                "{text}\n{}{}\n  {}\n  help: {}\n",
                " ".repeat(text[..error.span.start].chars().count()),
                "^".repeat(text[error.span.clone()].chars().count().max(1)),
                error.message,
                error.help
            ),
        })
        .collect();
        insta::assert_snapshot!(told);
    }
}
