//! The values that the fields allow, as bitsets, and the search for civil times that they allow.
//!
//! Civil time knows no zone: what daylight saving makes of these times is the timetable's subject.

use jiff::civil::{Date, DateTime};

use super::field::Field;

/// The civil times that an expression's fields allow. Bit n of a set stands for the value n.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Calendar {
    pub(crate) seconds: u64,
    pub(crate) minutes: u64,
    pub(crate) hours: u32,
    pub(crate) months: u16,
    pub(crate) month_days: MonthDays,
    pub(crate) weekdays: Weekdays,
    /// The rule that joins day-of-month and day-of-week.
    pub(crate) days: Days,
    /// True when the minute or the hour has a `*`: the entry follows elapsed time and keeps no
    /// appointments.
    pub(crate) wildcard: bool,
}

/// The days that the day-of-month field allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct MonthDays {
    /// Days by number, 1 to 31.
    pub(crate) days: u32,
    /// Days by their distance from the last: bit 0 is `L`, bit 3 is `L-3`.
    pub(crate) before_last: u32,
    /// `15W`: the working day nearest to the 15th within the month.
    pub(crate) nearest_working_day: u32,
    /// `LW`: the last working day.
    pub(crate) last_working_day: bool,
}

/// The days that the day-of-week field allows. Bit 0 is Sunday.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Weekdays {
    /// The days that are allowed in every week.
    pub(crate) every: u8,
    /// `1#2`: the weekdays whose first, second, ... fifth of the month is allowed.
    pub(crate) nth: [u8; 5],
    /// `5L`: the weekdays whose last of the month is allowed.
    pub(crate) last: u8,
}

/// The rule that joins day-of-month and day-of-week.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Days {
    /// Both must match: at least one field begins with `*`.
    Both,
    /// One suffices: both fields are restricted.
    Either,
}

/// The first, eighth, ... 29th bit: one weekday through a month.
const WEEKLY: u32 = 1 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28;

impl Calendar {
    /// Returns true when one field allows a civil time, whatever the others say.
    pub(crate) fn allows(&self, field: Field, at: DateTime) -> bool {
        match field {
            Field::Second => has(self.seconds, at.second()),
            Field::Minute => has(self.minutes, at.minute()),
            Field::Hour => has(u64::from(self.hours), at.hour()),
            Field::Month => has(u64::from(self.months), at.month()),
            Field::DayOfMonth => has(u64::from(self.month_days.of(Month::of(at.date()))), at.day()),
            Field::DayOfWeek => has(u64::from(self.weekdays.of(Month::of(at.date()))), at.day()),
        }
    }

    /// The first allowed civil time at or after `from`, to the end of the year 9999. `from` is a
    /// whole second.
    pub(crate) fn next(&self, from: DateTime) -> Option<DateTime> {
        if self.has_date(from.date())
            && let Some((hour, minute, second)) = self.time_from(from.hour(), from.minute(), from.second())
        {
            return Some(from.date().at(hour, minute, second, 0));
        }
        let date = self.date_from(from.date().tomorrow().ok()?)?;
        Some(date.at(first(u64::from(self.hours))?, first(self.minutes)?, first(self.seconds)?, 0))
    }

    /// The last allowed civil time before `until`, back to the year -9999. `until` is a whole
    /// second.
    pub(crate) fn previous(&self, until: DateTime) -> Option<DateTime> {
        if self.has_date(until.date())
            && let Some((hour, minute, second)) =
                self.time_before(until.hour(), until.minute(), until.second())
        {
            return Some(until.date().at(hour, minute, second, 0));
        }
        let date = self.date_to(until.date().yesterday().ok()?)?;
        Some(date.at(last(u64::from(self.hours))?, last(self.minutes)?, last(self.seconds)?, 0))
    }

    /// Returns true when any date at all is allowed. The search ends after 400 years, when the
    /// calendar repeats.
    pub(crate) fn has_any_date(&self) -> bool {
        let start = Date::constant(2000, 1, 1);
        self.date_from(start).is_some_and(|date| date.year() < start.year() + 400)
    }

    /// Returns true when a date is allowed.
    pub(crate) fn has_date(&self, date: Date) -> bool {
        has(u64::from(self.months), date.month())
            && has(u64::from(self.days_of(date.year(), date.month())), date.day())
    }

    fn time_from(&self, hour: i8, minute: i8, second: i8) -> Option<(i8, i8, i8)> {
        let hours = u64::from(self.hours);
        if has(hours, hour) {
            if has(self.minutes, minute)
                && let Some(second) = at_least(self.seconds, second)
            {
                return Some((hour, minute, second));
            }
            if let Some(minute) = at_least(self.minutes, minute + 1) {
                return Some((hour, minute, first(self.seconds)?));
            }
        }
        Some((at_least(hours, hour + 1)?, first(self.minutes)?, first(self.seconds)?))
    }

    fn time_before(&self, hour: i8, minute: i8, second: i8) -> Option<(i8, i8, i8)> {
        let hours = u64::from(self.hours);
        if has(hours, hour) {
            if has(self.minutes, minute)
                && let Some(second) = below(self.seconds, second)
            {
                return Some((hour, minute, second));
            }
            if let Some(minute) = below(self.minutes, minute) {
                return Some((hour, minute, last(self.seconds)?));
            }
        }
        Some((below(hours, hour)?, last(self.minutes)?, last(self.seconds)?))
    }

    fn date_from(&self, from: Date) -> Option<Date> {
        let months = u64::from(self.months);
        let (mut year, mut month, mut day) = (from.year(), from.month(), from.day());
        loop {
            if has(months, month)
                && let Some(day) = at_least(u64::from(self.days_of(year, month)), day)
            {
                return Date::new(year, month, day).ok();
            }
            day = 1;
            month = match at_least(months, month + 1) {
                Some(month) => month,
                None => {
                    year += 1;
                    first(months)?
                }
            };
            if year > Date::MAX.year() {
                return None;
            }
        }
    }

    fn date_to(&self, to: Date) -> Option<Date> {
        let months = u64::from(self.months);
        let (mut year, mut month, mut day) = (to.year(), to.month(), to.day());
        loop {
            if has(months, month)
                && let Some(day) = below(u64::from(self.days_of(year, month)), day + 1)
            {
                return Date::new(year, month, day).ok();
            }
            day = 31;
            month = match below(months, month) {
                Some(month) => month,
                None => {
                    year -= 1;
                    last(months)?
                }
            };
            if year < Date::MIN.year() {
                return None;
            }
        }
    }

    /// The allowed days of one month.
    fn days_of(&self, year: i16, month: i8) -> u32 {
        let Ok(first) = Date::new(year, month, 1) else {
            return 0;
        };
        let month = Month::of(first);
        let (by_number, by_weekday) = (self.month_days.of(month), self.weekdays.of(month));
        match self.days {
            Days::Both => by_number & by_weekday,
            Days::Either => by_number | by_weekday,
        }
    }
}

/// The properties of a month on which its days depend.
#[derive(Clone, Copy)]
struct Month {
    length: i8,
    first_weekday: i8,
}

impl Month {
    /// The month of a date.
    fn of(date: Date) -> Month {
        Month {
            length: date.days_in_month(),
            first_weekday: date.first_of_month().weekday().to_sunday_zero_offset(),
        }
    }

    /// A bit for each of its days, beginning with bit 1.
    fn all(self) -> u32 {
        u32::MAX >> (31 - self.length) & !1
    }

    /// 0 is Sunday.
    fn weekday(self, day: i8) -> i8 {
        (self.first_weekday + day - 1) % 7
    }

    /// The day nearest to `day` that is Monday to Friday, without leaving the month.
    fn working_day_near(self, day: i8) -> i8 {
        match self.weekday(day) {
            6 if day == 1 => 3,
            6 => day - 1,
            0 if day == self.length => day - 2,
            0 => day + 1,
            _ => day,
        }
    }
}

impl MonthDays {
    fn of(&self, month: Month) -> u32 {
        let mut days = self.days & month.all();
        if self.before_last != 0 {
            days |= (0..month.length)
                .filter(|&n| has(u64::from(self.before_last), n))
                .fold(0, |days, n| days | 1 << (month.length - n));
        }
        if self.nearest_working_day != 0 {
            days |= (1..=month.length)
                .filter(|&day| has(u64::from(self.nearest_working_day), day))
                .fold(0, |days, day| days | 1 << month.working_day_near(day));
        }
        if self.last_working_day {
            days |= 1 << month.working_day_near(month.length);
        }
        days
    }
}

impl Weekdays {
    /// Every day of every week.
    pub(crate) const ALL: u8 = 0b111_1111;

    fn of(&self, month: Month) -> u32 {
        if self.every == Weekdays::ALL {
            return month.all();
        }
        (0..7).fold(0, |mut days, weekday| {
            let in_set = |set: u8| has(u64::from(set), weekday);
            let weekly = (WEEKLY << (1 + (weekday - month.first_weekday).rem_euclid(7))) & month.all();
            if in_set(self.every) {
                days |= weekly;
            }
            if in_set(self.last) {
                days |= 1 << weekly.ilog2();
            }
            for (n, set) in (0..).zip(self.nth) {
                if in_set(set) {
                    days |= weekly & (0b111_1111 << (1 + 7 * n));
                }
            }
            days
        })
    }
}

fn has(set: u64, value: i8) -> bool {
    set >> value & 1 == 1
}

/// The smallest value of the set that is at least `value`, which is 0 to 63.
fn at_least(set: u64, value: i8) -> Option<i8> {
    first(set & (u64::MAX << value))
}

/// The largest value of the set that is less than `value`, which is 0 to 63.
fn below(set: u64, value: i8) -> Option<i8> {
    last(set & !(u64::MAX << value))
}

// The number of a bit is at most 63.
fn first(set: u64) -> Option<i8> {
    (set != 0).then(|| set.trailing_zeros() as i8)
}

fn last(set: u64) -> Option<i8> {
    set.checked_ilog2().map(|bit| bit as i8)
}
