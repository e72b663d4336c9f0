//! The lint for a minute on which more than a quarter of its hour's occurrences fall.

use std::collections::HashMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::super::Schedule;
use super::super::cron::Rule;
use super::super::diagnostic::Code;
use super::{Findings, WarningText, WrittenExpression, Zones, expressions};
use crate::timetable::zone_name;

/// Fewer occurrences in an hour are no crowd.
const ENOUGH: u32 = 20;

/// The days that are looked at: what is due on one weekday alone is among them.
const DAYS: usize = 7;

/// Minutes of the days that are looked at.
const MINUTES: i64 = 24 * 60 * DAYS as i64;

/// Number of quieter minutes that are named.
const NAMED: usize = 5;

/// Minutes that are counted at most, so that no file takes long. Expressions that are alike are
/// counted together.
const COUNTED: usize = 10_000_000;

pub(super) fn check(schedule: &Schedule, zones: &Zones<'_>, now: Timestamp, findings: &mut Findings<'_>) {
    if schedule.entries.len() < ENOUGH as usize {
        return;
    }
    let zone = match &zones.all[..] {
        [one] => (*one).clone(),
        _ => TimeZone::UTC,
    };
    let week = CrowdWeek::from(now, zone);
    let alike = alike(schedule, zones, &week);
    let Some(minutes) = count(&alike) else {
        return;
    };
    let mut crowded: Vec<Crowd> = minutes.chunks(60).enumerate().filter_map(Crowd::of).collect();
    crowded.sort_by_key(|crowd| (std::cmp::Reverse(crowd.due), crowd.hour));
    let Some(worst) = crowded.first() else {
        return;
    };
    let minute = worst.hour as i64 * 60 + worst.minute as i64;
    let first = alike.iter().filter(|(shape, _)| shape.is_due(minute)).map(|(_, same)| same.first).min();
    let span = first.and_then(|first| findings.places.part_of(first, None));
    findings.add(Code::CrowdedMinute, span, || worst.told(&week, crowded.len() - 1, &minutes));
}

/// The seven days that are looked at. Clocks that change within them are let go.
struct CrowdWeek {
    start: Timestamp,
    zone: TimeZone,
}

impl CrowdWeek {
    /// Returns the week from the beginning of the present hour on.
    fn from(now: Timestamp, zone: TimeZone) -> CrowdWeek {
        let local = now.as_second() + i64::from(zone.to_offset(now).seconds());
        let start = now.as_second() - local.rem_euclid(3600);
        CrowdWeek { start: Timestamp::from_second(start).unwrap_or(now), zone }
    }

    /// Returns the days of the week in a zone. There are eight, since the week begins in the middle
    /// of a day.
    fn days_in(&self, zone: &TimeZone) -> CrowdDays {
        let first = zone.to_datetime(self.start).date();
        let midnight = zone.to_offset(self.start).to_timestamp(first.at(0, 0, 0, 0)).unwrap_or(self.start);
        let dates = (0..=DAYS as i64).filter_map(|day| first.checked_add(day.days()).ok());
        CrowdDays {
            dates: dates.collect(),
            midnight: (midnight.as_second() - self.start.as_second()).div_euclid(60),
        }
    }
}

/// The days of a week.
struct CrowdDays {
    dates: Vec<Date>,
    /// Midnight of the first one, in minutes from the start of the week.
    midnight: i64,
}

/// The due instants of an expression, in minutes from the start of the week.
#[derive(PartialEq, Eq, Hash)]
enum Shape {
    Calendar {
        minutes: u64,
        hours: u32,
        /// A bit for each day that is allowed.
        days: u16,
        /// Midnight of the first day, the entry's own delay included.
        midnight: i64,
    },
    Every {
        period: i64,
        first: i64,
    },
}

/// Expressions of one shape.
struct Same {
    number: u32,
    /// The first of them.
    first: usize,
}

impl Shape {
    fn of(written: &WrittenExpression<'_>, of_zone: &CrowdDays, week: &CrowdWeek) -> Option<Shape> {
        let delay = i64::try_from(written.entry.delay().as_secs() / 60).ok()?;
        match written.expression.rule() {
            Rule::Calendar(calendar) => {
                // Occurrences from before the week that jitter delays into it are left out, since a
                // delay is short.
                let dates = of_zone.dates.iter().enumerate();
                let allowed = dates.filter(|(_, date)| calendar.has_date(**date));
                let days = allowed.fold(0, |days, (day, _)| days | 1 << day);
                let midnight = of_zone.midnight + delay;
                Some(Shape::Calendar { minutes: calendar.minutes, hours: calendar.hours, days, midnight })
            }
            Rule::EveryMinutes(period) => {
                let period = i64::from(*period);
                let first = (-(week.start.as_second() / 60)).rem_euclid(period) + delay;
                Some(Shape::Every { period, first })
            }
        }
    }

    /// Returns the number of minutes at which the expression is due.
    fn size(&self) -> usize {
        match self {
            Shape::Calendar { minutes, hours, days, .. } => {
                (minutes.count_ones() * hours.count_ones() * days.count_ones()) as usize
            }
            Shape::Every { period, .. } => (MINUTES / period) as usize,
        }
    }

    fn each(&self, mut take: impl FnMut(i64)) {
        match *self {
            Shape::Calendar { minutes, hours, days, midnight } => {
                for day in bits(days.into()) {
                    for hour in bits(hours.into()) {
                        for minute in bits(minutes) {
                            take(midnight + (day * 24 + hour) * 60 + minute);
                        }
                    }
                }
            }
            Shape::Every { period, first } => {
                (0..).map(|n| first + n * period).take_while(|at| *at < MINUTES).for_each(take);
            }
        }
    }

    fn is_due(&self, minute: i64) -> bool {
        let mut due = false;
        self.each(|at| due |= at == minute);
        due
    }
}

fn bits(mut set: u64) -> impl Iterator<Item = i64> {
    std::iter::from_fn(move || {
        let bit = (set != 0).then(|| i64::from(set.trailing_zeros()))?;
        set &= set - 1;
        Some(bit)
    })
}

fn alike(schedule: &Schedule, zones: &Zones<'_>, week: &CrowdWeek) -> HashMap<Shape, Same> {
    let days: Vec<CrowdDays> = zones.all.iter().map(|zone| week.days_in(zone)).collect();
    let mut alike: HashMap<Shape, Same> = HashMap::new();
    for written in expressions(schedule).filter(|written| !written.entry.paused) {
        if let Some(shape) = Shape::of(&written, &days[zones.of_entry[written.entry_number]], week) {
            alike.entry(shape).or_insert(Same { number: 0, first: written.number }).number += 1;
        }
    }
    alike
}

/// Returns the number of expressions that are due at each minute. `None`: counting would take too
/// long.
fn count(alike: &HashMap<Shape, Same>) -> Option<Vec<u32>> {
    if alike.keys().map(Shape::size).sum::<usize>() > COUNTED {
        return None;
    }
    let mut minutes = vec![0_u32; MINUTES as usize];
    for (shape, same) in alike {
        shape.each(|at| {
            if let Some(due) = usize::try_from(at).ok().and_then(|at| minutes.get_mut(at)) {
                *due += same.number;
            }
        });
    }
    Some(minutes)
}

/// A crowded minute of an hour.
struct Crowd {
    /// Counted from the start of the week.
    hour: usize,
    minute: usize,
    due: u32,
    of: u32,
}

impl Crowd {
    fn of((hour, minutes): (usize, &[u32])) -> Option<Crowd> {
        let of: u32 = minutes.iter().sum();
        // The first of several equal minutes is told.
        let (minute, due) = minutes.iter().enumerate().rev().max_by_key(|(_, due)| **due)?;
        (of >= ENOUGH && *due * 4 > of).then_some(Crowd { hour, minute, due: *due, of })
    }

    fn told(&self, week: &CrowdWeek, others: usize, minutes: &[u32]) -> WarningText {
        let at = SignedDuration::from_mins((self.hour * 60 + self.minute) as i64);
        let at = week.start.checked_add(at).unwrap_or(week.start);
        let local = week.zone.to_datetime(at).strftime("%A %Y-%m-%d %H:%M");
        let zone = zone_name(&week.zone, at);
        let others = match others {
            0 => String::new(),
            1 => "; one more hour of the week is like it".into(),
            others => format!("; {others} more hours of the week are like it"),
        };
        let message = format!(
            "{} of the {} occurrences of an hour fall on one minute, {local} {zone}{others}",
            self.due, self.of
        );
        let hour = &minutes[self.hour * 60..(self.hour + 1) * 60];
        let mut quiet: Vec<usize> = (0..hour.len()).collect();
        // Away from the minutes that everybody writes.
        quiet.sort_by_key(|minute| (hour[*minute], minute % 5 == 0, minute * 37 % 60));
        let mut quiet: Vec<usize> = quiet.into_iter().take(NAMED).collect();
        quiet.sort_unstable();
        let start = week.zone.to_datetime(week.start).minute().unsigned_abs();
        let named: Vec<String> =
            quiet.iter().map(|minute| ((minute + usize::from(start)) % 60).to_string()).collect();
        let help = format!(
            "spread them with `jitter`, or move some to quieter minutes, such as {}",
            named.join(", ")
        );
        WarningText { message, help, related: None }
    }
}
