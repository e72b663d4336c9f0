//! From text to bitsets, with an error that says which bytes are wrong and what to write instead.
//!
//! Numbers, lists, ranges and steps are read as Debian's cron reads them, `L`, `W`, `#` and `?` as
//! Quartz does, except that 0 and 7 are Sunday.

use super::advice::{
    allowed, backwards_help, never_due, out_of_range_help, refuse_crontab_syntax, refuse_strange_characters,
    star_step_help, step_help, unknown_nickname, unknown_word, wrong_count,
};
use super::calendar::{Calendar, Days, MonthDays, Weekdays};
use super::field::Field;
use super::nickname::expanded;
use super::piece::Piece;
use super::{CronError, Rule};

/// The steps of Cloud 66 that go past the hour, in minutes. Each divides a day.
const STEPS_PAST_THE_HOUR: [u16; 4] = [72, 80, 90, 96];

/// Reads an expression.
pub(super) fn rule(text: &str) -> Result<Rule, CronError> {
    let whole = Piece { text, start: 0 };
    refuse_strange_characters(whole)?;
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
            Field::DayOfMonth => {
                calendar.month_days =
                    month_days(piece).map_err(|error| star_step_help(error, piece, fields))?;
            }
            Field::DayOfWeek => {
                calendar.weekdays = weekdays(piece).map_err(|error| star_step_help(error, piece, fields))?;
            }
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

/// Reads one item of a list: `*` or its other spelling `?`, a value or a range, each with or
/// without a step.
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
        range(field, from, to, step)?
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

/// Reads both ends of a range. Sunday may end one: `FRI-SUN`.
fn range(field: Field, from: Piece, to: Piece, step: Option<Piece>) -> Result<(u8, u8), CronError> {
    let (low, mut high) = (value(field, from)?, value(field, to)?);
    if field == Field::DayOfWeek && high == 0 && low > 0 && to.is("SUN") {
        high = 7;
    }
    if low > high {
        return Err(CronError {
            span: from.start..to.span().end,
            message: format!("the range {}-{} of {field} runs backwards", from.text, to.text),
            help: backwards_help(field, (from, low), high, step.and_then(|step| step.text.parse().ok())),
        });
    }
    Ok((low, high))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::schedule::Expression;

    proptest! {
        #[test]
        fn whatever_is_written_an_error_points_into_it(
            text in r"[-0-9*/,?#LWlwxé@ ]{0,24}|[-0-9*/,éMONJAFRI#L]{0,5}( [-*0-9éMONAUGLW#]{1,4}){3,6}"
        ) {
            if let Err(error) = Expression::parse(&text) {
                prop_assert!(text.get(error.span.clone()).is_some(), "{error:?}");
                prop_assert!(!error.message.is_empty() && !error.help.is_empty(), "{error:?}");
            }
        }
    }

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
            "0 22-2/2 * * *",
            "0 22-2/3 * * *",
            "0 22-1/5 * * *",
            "50-10/7 * * * *",
            "0 0 * NOV-FEB/2 *",
            "0 0 * * FRI-MON/2",
            "0 0 * * 5-0/2",
            "1 1 */32,1-7 * 2",
            "1 1 */32,8-14 * FRI",
            "1 1 */40 * MON-FRI",
            "1 1 1-7 * */8",
            "1 1 */32 * *",
            "0 1\u{a0}* * *",
            "0 1 * * 1\u{2013}5",
            "0 1 * * \u{ff11}",
            "0 1 *\u{200b} * *",
            "0\u{b}1 * * *",
            "0 1 * * \u{41c}ON",
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
            "5 4 * * éON",
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
