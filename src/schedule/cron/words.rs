//! Says an expression in words, for people. An uncommon one has no words, and is shown as it is
//! written.

use super::field::{MONTH_NAMES, MONTHS, WEEKDAY_NAMES, WEEKDAYS};
use super::{Expression, Rule, nickname};

impl Expression {
    /// Returns the expression in words, as `at 01:30 on Monday to Friday`. `None`: it is of no
    /// common kind.
    pub(crate) fn in_words(&self) -> Option<String> {
        if let Rule::EveryMinutes(minutes) = self.rule {
            return Some(format!("every {minutes} minutes from 00:00 UTC"));
        }
        let fields: Vec<&str> = nickname::expanded(&self.source).split_ascii_whitespace().collect();
        match fields[..] {
            [minute, hour, days, month, weekdays] => words(["0", minute, hour], days, month, weekdays),
            [second, minute, hour, days, month, weekdays] => {
                words([second, minute, hour], days, month, weekdays)
            }
            _ => None,
        }
    }
}

fn words(time: [&str; 3], days: &str, month: &str, weekdays: &str) -> Option<String> {
    let is_any = |field: &str| matches!(field, "*" | "?");
    let time = time_of_day(time)?;
    let months = match is_any(month) {
        true => None,
        false => Some(ranges(month, |word| name(word, &MONTHS, &MONTH_NAMES, 1))?),
    };
    let weekdays = match is_any(weekdays) {
        true => None,
        // Sunday is 0 and 7.
        false => Some(ranges(weekdays, |word| {
            name(if word == "7" { "0" } else { word }, &WEEKDAYS, &WEEKDAY_NAMES, 0)
        })?),
    };
    let days = match days {
        _ if is_any(days) => None,
        "L" | "l" => Some("the last day".to_owned()),
        _ => Some(format!("day {}", ranges(days, |word| number(word).map(|day| day.to_string()))?)),
    };
    let in_months = months.as_ref().map(|months| format!(" in {months}")).unwrap_or_default();
    Some(match (days, weekdays) {
        (Some(days), Some(weekdays)) => {
            format!("{time} on {days} of the month or on {weekdays}{in_months}")
        }
        (Some(days), None) => format!("{time} on {days} of {}", months.as_deref().unwrap_or("the month")),
        (None, Some(weekdays)) => format!("{time} on {weekdays}{in_months}"),
        // A time of day without a day reads as if it were once.
        (None, None) if time.starts_with("at ") && !time.starts_with("at minute") => {
            format!("{time} every day{in_months}")
        }
        (None, None) => time + &in_months,
    })
}

/// The time of day, as `at 01:30` or `every 5 minutes, in hour 9 to 17`.
fn time_of_day([second, minute, hour]: [&str; 3]) -> Option<String> {
    if let (Some(second), Some(minute), Some(hours)) = (number(second), number(minute), list(hour)) {
        let tail = if second == 0 { String::new() } else { format!(":{second:02}") };
        let times = hours.iter().map(|hour| format!("{hour:02}:{minute:02}{tail}"));
        return Some(format!("at {}", and(times.collect())));
    }
    let at_second = match number(second) {
        Some(0) => String::new(),
        Some(second) => format!(" at second {second}"),
        None if minute == "*" && hour == "*" && second == "*" => return Some("every second".to_owned()),
        None if minute == "*" && hour == "*" => return step(second, "second", 60),
        None => return None,
    };
    let minutes = match list(minute) {
        _ if minute == "*" => "every minute".to_owned(),
        Some(list) => {
            let list = and(list.iter().map(u32::to_string).collect());
            format!("{}at minute {list}", if hour == "*" { "every hour " } else { "" })
        }
        None => step(minute, "minute", 60)?,
    };
    let hours = match ranges(hour, |word| number(word).map(|hour| format!("{hour:02}"))) {
        _ if hour == "*" => String::new(),
        Some(hours) => format!(", in hour {hours}"),
        None => format!(", {}", step(hour, "hour", 24)?),
    };
    Some(format!("{minutes}{at_second}{hours}"))
}

/// A step from a first value, as `every 20 seconds, from second 9 on`. `all`: the number of values
/// of the field.
fn step(field: &str, unit: &str, all: u32) -> Option<String> {
    let (first, by) = field.split_once('/')?;
    let by = number(by).filter(|by| *by < all)?;
    let every = if by == 1 { format!("every {unit}") } else { format!("every {by} {unit}s") };
    Some(match first {
        "*" | "0" => every,
        _ => format!("{every}, from {unit} {} on", number(first)?),
    })
}

/// The values and ranges of a field, as `Monday to Wednesday and Friday`.
fn ranges(field: &str, name: impl Fn(&str) -> Option<String>) -> Option<String> {
    let parts = field.split(',').map(|part| match part.split_once('-') {
        Some((first, last)) => Some(format!("{} to {}", name(first)?, name(last)?)),
        None => name(part),
    });
    Some(and(parts.collect::<Option<_>>()?))
}

/// The name of a value that is a number, the first of which is `least`, or one of `short`.
fn name(word: &str, short: &[&str], names: &[&str], least: usize) -> Option<String> {
    let place = match number(word) {
        Some(number) => usize::try_from(number).ok()?.checked_sub(least)?,
        None => short.iter().position(|one| one.eq_ignore_ascii_case(word))?,
    };
    names.get(place).map(|name| (*name).to_owned())
}

fn number(word: &str) -> Option<u32> {
    word.parse().ok()
}

fn list(field: &str) -> Option<Vec<u32>> {
    field.split(',').map(number).collect()
}

fn and(mut words: Vec<String>) -> String {
    match (words.pop(), words.is_empty()) {
        (Some(last), false) => format!("{} and {last}", words.join(", ")),
        (last, _) => last.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_expression_has_words() {
        for (expression, expected) in [
            ("30 1 * * *", "at 01:30 every day"),
            ("5 9,17 * * MON-fri", "at 09:05 and 17:05 on Monday to Friday"),
            ("0 0 3 * * 0,7", "at 03:00 on Sunday and Sunday"),
            ("9 30 8 * * *", "at 08:30:09 every day"),
            ("* * * * *", "every minute"),
            ("* * * * * *", "every second"),
            ("9/20 * * * * *", "every 20 seconds, from second 9 on"),
            ("*/5 9-17 * * 1-5", "every 5 minutes, in hour 09 to 17 on Monday to Friday"),
            ("15,45 * * * *", "every hour at minute 15 and 45"),
            ("0 */2 * * *", "at minute 0, every 2 hours"),
            ("*/1 * * * *", "every minute"),
            ("30 * * * * *", "every minute at second 30"),
            ("0 6 1,15 * *", "at 06:00 on day 1 and 15 of the month"),
            ("0 6 L * *", "at 06:00 on the last day of the month"),
            ("0 6 1 jan,7-9 ?", "at 06:00 on day 1 of January and July to September"),
            ("0 6 13 * FRI", "at 06:00 on day 13 of the month or on Friday"),
            ("0 6 * DEC *", "at 06:00 every day in December"),
            ("@daily", "at 00:00 every day"),
            ("@hourly", "every hour at minute 0"),
            ("*/72 * * * *", "every 72 minutes from 00:00 UTC"),
        ] {
            let words = Expression::parse(expression).expect("an expression").in_words();
            assert_eq!(words.as_deref(), Some(expected), "{expression}");
        }
    }

    #[test]
    fn an_uncommon_expression_has_none() {
        for expression in ["0 6 15W * *", "0 6 * * FRI#2", "*/7 * 3 * * *", "0 6 */2 * *", "10-40/5 * * * *"]
        {
            let words = Expression::parse(expression).expect("an expression").in_words();
            assert_eq!(words, None, "{expression}");
        }
    }
}
