//! `calendars:`, each a list of days, a window or a file; and the calendars that an entry names.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::super::calendars::{self, FileKind, ListedSpans, Spans};
use super::super::content::Unreadable;
use super::super::diagnostic::Code;
use super::super::place::shown;
use super::super::report::{Problem, Reported};
use super::super::shape::CalendarKey;
use super::super::tree::{NodeKind, TreeNode};
use super::super::words::{MappingKey, Word, nearest};
use super::super::{CalendarName, Covered, Entry, NamedCalendar, NotOn, Window, source};
use super::values::ExpectedValue;
use super::{Fields, Pair, Read, Slot, Validator};

const FORMS: &str = "write `dates: [2026-12-25, 2026-12-26..2026-12-28]`, or a window as `cron: \"0 18 * * FRI\"` with `for: 62h`, or `file: holidays.txt`";

/// The calendars under `calendars:`. Faulty ones are included, so that their entries are not
/// reported as well.
#[derive(Default)]
pub(super) struct Calendars {
    by_name: HashMap<String, Result<Arc<NamedCalendar>, Reported>>,
    /// The names in the file's order, each with its place.
    names: Vec<(String, Range<usize>)>,
    /// The key itself is wrong, so that nothing is known of the calendars.
    unknown: Option<Reported>,
}

impl<'s> Validator<'s, '_> {
    /// `timezone` is that of a window that names none.
    pub(super) fn calendars(&mut self, slot: Slot<'_, 's>, timezone: &TimeZone) -> Calendars {
        let mut calendars = Calendars::default();
        let pairs = match slot {
            Slot::Absent => return calendars,
            Slot::Reported(reported) => Err(reported),
            Slot::Given((_, node)) => self.pairs(node, "`calendars`"),
        };
        let pairs = match pairs {
            Ok(pairs) => pairs,
            Err(reported) => {
                calendars.unknown = Some(reported);
                return calendars;
            }
        };
        self.each_name(pairs, |this, pair| {
            let name = &*pair.0.0;
            let calendar = this.calendar(pair, timezone).map(Arc::new);
            if let Ok(calendar) = &calendar {
                let at = this.key_span(pair);
                this.places.calendar(calendar.name.clone(), at);
            }
            calendars.by_name.insert(name.into(), calendar);
            calendars.names.push((name.into(), this.key_span(pair)));
        });
        calendars
    }

    fn calendar(&mut self, pair: Pair<'_, 's>, timezone: &TimeZone) -> Result<NamedCalendar, Reported> {
        let (key, node) = pair;
        let name = CalendarName::new(&key.0).map_err(|error| {
            let help = "write a name such as `holidays`";
            self.error(Code::BadName, self.key_span(pair), error.to_string(), help)
        });
        let fields = self.fields::<CalendarKey>(node, CalendarKey::OF)?;
        let covered = self.covered(pair, &fields, timezone);
        let until = self.value(fields.slot(CalendarKey::Until), Self::date);
        Ok(NamedCalendar {
            name: name?,
            covered: covered?,
            until: match until {
                Read::Good(until) => Some(until),
                Read::Absent => None,
                Read::Reported(reported) => return Err(reported),
            },
        })
    }

    /// Reads the days or windows of a calendar: one of three forms, with the keys that belong to
    /// that form alone.
    fn covered(
        &mut self,
        pair: Pair<'_, 's>,
        fields: &Fields<'_, 's, CalendarKey>,
        timezone: &TimeZone,
    ) -> Result<Covered, Reported> {
        let name = shown(&pair.0.0);
        let given = |key: &CalendarKey| !matches!(fields.slot(*key), Slot::Absent);
        let forms = [CalendarKey::Dates, CalendarKey::Cron, CalendarKey::File];
        let form = match forms.iter().filter(|key| given(key)).collect::<Vec<_>>()[..] {
            [form] => *form,
            // Only `for` or `until` is given, which do not make a calendar.
            [] => {
                let message = format!("the calendar `{name}` covers nothing");
                return Err(self.error(Code::BadCalendar, self.key_span(pair), message, FORMS));
            }
            [first, second, ..] => {
                let message =
                    format!("the calendar `{name}` has both `{}` and `{}`", first.word(), second.word());
                let help = "make two calendars of it; an entry may name both: `not_on: [one, other]`";
                return Err(self.error(Code::BadCalendar, self.key_span(pair), message, help));
            }
        };
        let foreign: &[CalendarKey] = match form {
            CalendarKey::Cron => &[CalendarKey::Until],
            _ => &[CalendarKey::For, CalendarKey::Timezone],
        };
        for key in foreign {
            if let Slot::Given(other) = fields.slot(*key) {
                let message = format!("`{}` says nothing beside `{}`", key.word(), form.word());
                let help = match key {
                    CalendarKey::Timezone => "remove the key: its days are those of each entry's own zone",
                    CalendarKey::Until => {
                        "remove the key: a window opens for as long as the calendar is there"
                    }
                    _ => "remove the key",
                };
                self.error(Code::BadCalendar, self.key_span(other), message, help);
            }
        }
        let value = match form {
            CalendarKey::Dates => self.value(fields.slot(form), Self::days),
            CalendarKey::File => self.value(fields.slot(form), Self::calendar_file),
            _ => return self.window(pair, fields, timezone).map(Covered::Window),
        };
        match value {
            Read::Good(listed) => Ok(Covered::Listed(listed)),
            Read::Reported(reported) => Err(reported),
            Read::Absent => {
                let message = format!("the calendar `{name}` covers nothing");
                Err(self.error(Code::BadCalendar, self.key_span(pair), message, FORMS))
            }
        }
    }

    fn window(
        &mut self,
        pair: Pair<'_, 's>,
        fields: &Fields<'_, 's, CalendarKey>,
        timezone: &TimeZone,
    ) -> Result<Window, Reported> {
        let name = shown(&pair.0.0);
        let opens = match self.value(fields.slot(CalendarKey::Cron), Self::window_opens) {
            Read::Good(opens) => Ok(opens),
            Read::Reported(reported) => Err(reported),
            Read::Absent => {
                let message = format!("the calendar `{name}` covers nothing");
                Err(self.error(Code::BadCalendar, self.key_span(pair), message, FORMS))
            }
        };
        let lasts = match self.value(fields.slot(CalendarKey::For), Self::span_of_time) {
            Read::Good(lasts) => Ok(lasts),
            Read::Reported(reported) => Err(reported),
            Read::Absent => {
                let message =
                    format!("the calendar `{name}` does not say for how long its window stays open");
                Err(self.error(
                    Code::MissingKey,
                    self.key_span(pair),
                    message,
                    "write how long, as `for: 62h`",
                ))
            }
        };
        let zone = match self.value(fields.slot(CalendarKey::Timezone), Self::timezone) {
            Read::Good(zone) => Ok(zone),
            Read::Absent => Ok(timezone.clone()),
            Read::Reported(reported) => Err(reported),
        };
        Ok(Window { opens: opens?, lasts: lasts?, timezone: zone? })
    }

    fn days(&mut self, node: &TreeNode<'s>) -> Result<ListedSpans, Reported> {
        let mut spans = Spans::default();
        let mut wrong = None;
        let mut add = |this: &mut Self, item: &TreeNode<'s>| match this.range(item) {
            Ok((first, last)) => spans.add_days(first, last),
            Err(reported) => wrong = Some(reported),
        };
        match &node.kind {
            // Each is read before the first failure counts, so that all of them are reported.
            NodeKind::List(items) => items.iter().for_each(|item| add(self, item)),
            _ => add(self, node),
        }
        match wrong {
            Some(reported) => Err(reported),
            None => Ok(spans.listed()),
        }
    }

    fn range(&mut self, node: &TreeNode<'s>) -> Result<(Date, Date), Reported> {
        let words = self.scalar(node, ExpectedValue("a date, or a range of dates"))?;
        calendars::dates(words).map_err(|error| {
            self.error_in(node, error.span(), Code::BadDate, error.to_string(), error.help())
        })
    }

    fn date(&mut self, node: &TreeNode<'s>) -> Result<Date, Reported> {
        match self.range(node)? {
            (first, last) if first == last => Ok(first),
            (_, last) => {
                let message = "`until` is one date, and this is a range".into();
                Err(self.error_in(node, None, Code::BadDate, message, format!("write {last}")))
            }
        }
    }

    /// The days and times of a file. What is wrong in the file is told at its place in the file.
    fn calendar_file(&mut self, node: &TreeNode<'s>) -> Result<ListedSpans, Reported> {
        let name = self.scalar(node, ExpectedValue("the path of a file"))?;
        if name.is_empty() || name.contains(char::is_control) {
            let message = "this is not a path".into();
            return Err(self.error_in(
                node,
                None,
                Code::BadCalendarFile,
                message,
                "write the path of a file",
            ));
        }
        let (path, read) = self.files.named(name);
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(Unreadable { message, help }) => {
                let message = format!("{} cannot be used: {message}", path.display());
                return Err(self.error_in(node, None, Code::BadCalendarFile, message, help));
            }
        };
        let (text, wrong) = match source::decode(&bytes) {
            Ok(text) => (text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(), None),
            Err(problem) => (String::from_utf8_lossy(&bytes).into_owned(), Some(problem)),
        };
        let base = self.sources.add(&path.to_string_lossy(), &text);
        let used = || Some((node.at.range(), "the calendar that names the file".to_owned()));
        if let Some(problem) = wrong {
            let span = problem.span.map(|span| base + span.start..base + span.end);
            return Err(self.report.error(Problem { span, related: used(), ..problem }));
        }
        calendars::read(&text, FileKind::of(&path)).map_err(|problems| {
            let mut reported = None;
            for problem in problems {
                let span = Some(base + problem.span.start..base + problem.span.end);
                let (code, message, help) = (Code::BadCalendarFile, problem.message, problem.help);
                reported = Some(self.report.error(Problem { code, span, message, help, related: used() }));
            }
            reported.unwrap_or_else(|| {
                let message = format!("{} cannot be used", path.display());
                self.error_in(node, None, Code::BadCalendarFile, message, "look into the file")
            })
        })
    }

    /// The calendars that an entry names: one, or a list. An empty list is none.
    pub(super) fn named_calendars(
        &mut self,
        node: &TreeNode<'s>,
        calendars: &Calendars,
    ) -> Result<NotOn, Reported> {
        let named = match &node.kind {
            NodeKind::List(items) => {
                let read: Vec<_> = items.iter().map(|item| self.named_calendar(item, calendars)).collect();
                read.into_iter().collect::<Result<Vec<_>, Reported>>()?
            }
            _ => vec![self.named_calendar(node, calendars)?],
        };
        let mut once: Vec<Arc<NamedCalendar>> = Vec::with_capacity(named.len());
        for calendar in named {
            if !once.iter().any(|known| known.name == calendar.name) {
                once.push(calendar);
            }
        }
        Ok(once.into())
    }

    fn named_calendar(
        &mut self,
        node: &TreeNode<'s>,
        calendars: &Calendars,
    ) -> Result<Arc<NamedCalendar>, Reported> {
        let name = self.scalar(node, ExpectedValue("the name of a calendar, or a list of names"))?;
        if let Some(reported) = calendars.unknown {
            return Err(reported);
        }
        if let Some(calendar) = calendars.by_name.get(name) {
            return calendar.clone();
        }
        let help = match nearest(name, calendars.names.iter().map(|(name, _)| name.as_str())) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => "define it at the top level, as in `calendars: { holidays: { dates: [2026-12-25] } }`, and write `not_on: holidays`".into(),
        };
        let message = format!("`{}` is no calendar of this file", shown(name));
        Err(self.error_in(node, None, Code::BadCalendar, message, help))
    }

    /// A calendar that no entry names changes nothing.
    pub(super) fn warn_of_unused(&mut self, calendars: &Calendars, entries: &[Arc<Entry>]) {
        // In a file with errors it is unknown which calendars the entries name.
        if calendars.names.is_empty() || entries.is_empty() || self.report.has_errors() {
            return;
        }
        let named: HashSet<&str> =
            entries.iter().flat_map(|entry| &entry.not_on).map(|calendar| calendar.name.as_str()).collect();
        for (name, place) in &calendars.names {
            if !named.contains(name.as_str()) {
                let name = shown(name);
                self.report.warning(Problem {
                    code: Code::UnusedCalendar,
                    span: Some(place.clone()),
                    message: format!("no entry names the calendar `{name}`, so that it stops nothing"),
                    help: format!(
                        "write `not_on: {name}` into an entry, or under `defaults` for all of them; or remove the calendar"
                    ),
                    related: None,
                });
            }
        }
    }
}
