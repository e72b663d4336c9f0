//! The schedule that was in force at an instant: for each entry the spans of instants that were
//! planned by one definition of it.
//!
//! The schedule file tells what is due from now on, and nothing of what it said before. So a daemon
//! that begins, and one that takes over another schedule, tells the journal the entries that it
//! plans from an instant on. The journal ends the spans of what is gone or due by other
//! expressions, and begins those of what is new. Rows are few: one for each change of an entry.
//!
//! Example: `e` is due each minute. At 12:10 a reload removes it, and at 12:30 another one brings
//! it back. The journal has two spans of `e`: up to 12:10, and from 12:30 on. Of 12:20 it can say
//! that the entry was not in the schedule then.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::schedule::{self, Entry, EntryName, Expression, Pairs, Schedule};
use crate::timetable;

/// The text that decides an entry's instants: its zone, then its expressions, each on a line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Definition(Arc<str>);

/// Instants that were planned by one definition of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForceSpan {
    /// The entry.
    pub entry: EntryName,
    /// The first instant.
    pub since: Timestamp,
    /// The end, itself excluded. `None`: the definition is in force still.
    pub until: Option<Timestamp>,
    /// The definition of the entry.
    pub definition: Definition,
}

/// The schedules that were in force, as far as the journal has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// Occurrences from before this instant may have been pruned. `None`: none were.
    pub pruned_until: Option<Timestamp>,
    /// The spans, by entry and time.
    pub spans: Vec<ForceSpan>,
}

impl Definition {
    /// The definition of each entry. Entries that share their expressions share the definition.
    pub fn of_all(entries: &[Arc<Entry>]) -> Vec<(EntryName, Definition)> {
        let mut known: HashMap<(*const Expression, Option<&str>), Definition> = HashMap::new();
        let definitions = entries.iter().map(|entry| {
            let common = (entry.cron.as_ptr(), entry.timezone.iana_name());
            let definition = known.entry(common).or_insert_with(|| Definition::of(entry));
            (entry.name.clone(), definition.clone())
        });
        definitions.collect()
    }

    /// Returns the definition of an entry.
    pub fn of(entry: &Entry) -> Definition {
        let mut text = entry.timezone.iana_name().unwrap_or("UTC").to_owned();
        for expression in entry.cron.iter() {
            text.push('\n');
            text.push_str(expression.as_str());
        }
        Definition(text.into())
    }

    /// The text as a journal keeps it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn of_saved(text: String) -> Definition {
        Definition(text.into())
    }

    /// An entry that is due as this one was; its stack, its job and its policies are nobody's.
    /// `None`: the zone or an expression is of another version.
    pub fn entry(&self, name: &EntryName) -> Option<Arc<Entry>> {
        let mut lines = self.0.split('\n');
        let timezone = TimeZone::get(lines.next()?).ok()?;
        let cron = lines.map(|line| Expression::parse(line).ok()).collect::<Option<Arc<[_]>>>()?;
        let template = TEMPLATE.as_ref()?;
        (!cron.is_empty())
            .then(|| Arc::new(Entry { name: name.clone(), timezone, cron, ..Entry::clone(template) }))
    }
}

/// The definitions by which two schedules differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct DefinitionChanges {
    /// Entries whose definition in the earlier schedule is no more in force.
    pub(super) over: Vec<EntryName>,
    /// Entries with a definition that the earlier schedule did not have.
    pub(super) begun: Vec<(EntryName, Definition)>,
}

impl DefinitionChanges {
    /// Compares two schedules. Entries that both of them share cost next to nothing.
    pub(super) fn between(earlier: &Schedule, later: &Schedule) -> DefinitionChanges {
        let pairs = Pairs::of(&earlier.entries, &later.entries);
        let mut changes = DefinitionChanges::default();
        changes.over.extend(pairs.gone.iter().map(|entry| entry.name.clone()));
        for (entry, before) in later.entries.iter().zip(pairs.before) {
            if before.is_some_and(|before| Arc::ptr_eq(before, entry)) {
                continue;
            }
            let definition = Definition::of(entry);
            match before.map(|before| Definition::of(before)) {
                Some(before) if before == definition => continue,
                Some(_) => changes.over.push(entry.name.clone()),
                None => {}
            }
            changes.begun.push((entry.name.clone(), definition));
        }
        changes
    }
}

/// An entry of nobody's. It is always there.
static TEMPLATE: LazyLock<Option<Arc<Entry>>> = LazyLock::new(|| {
    let text = "accounts: { a: { token: { env: T } } }\njobs: { e: { stack: s, job: j, cron: '@daily' } }\n";
    schedule::parse("", text).ok()?.schedule.entries.into_iter().next()
});

impl ForceSpan {
    /// Returns true when the definition was in force at an instant.
    pub fn holds(&self, at: Timestamp) -> bool {
        self.since <= at && self.until.is_none_or(|until| at < until)
    }

    /// Returns true when the entry was due at an instant. `None`: its definition cannot be read.
    pub fn is_due(&self, at: Timestamp) -> Option<bool> {
        let entry = self.definition.entry(&self.entry)?;
        Some(self.holds(at) && timetable::next(&entry, at) == Some(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_read_as_it_was_written() {
        let text = "accounts: { a: { token: { env: T } } }\n\
                    jobs: { e: { stack: s, job: j, timezone: Europe/London, cron: ['30 1 * * *', '0 0 12 * * MON'] } }\n";
        let entry = schedule::parse("", text).expect("a valid file").schedule.entries.remove(0);
        let definition = Definition::of(&entry);
        let read =
            Definition::of_saved(definition.as_str().to_owned()).entry(&entry.name).expect("it is readable");
        assert_eq!((&read.cron, &read.timezone), (&entry.cron, &entry.timezone));
        let at: Timestamp = "2026-07-01T00:30:00Z".parse().expect("an instant");
        let span = ForceSpan { entry: entry.name.clone(), since: at, until: None, definition };
        assert_eq!(span.is_due(at), Some(true));
        assert_eq!(ForceSpan { until: Some(at), ..span }.is_due(at), Some(false), "its end is not in it");
    }

    #[test]
    fn definitions_change_where_an_entry_comes_or_goes_or_is_due_at_other_times() {
        let schedule = |jobs: &str| {
            let text = format!("accounts: {{ a: {{ token: {{ env: T }} }} }}\njobs:\n{jobs}");
            schedule::parse("", &text).expect("a valid file").schedule
        };
        let earlier = schedule(
            "  gone: { stack: s, job: a, cron: '@daily' }\n  \
               kept: { stack: s, job: b, cron: '@daily' }\n  \
               moved: { stack: s, job: c, cron: '@daily' }\n  \
               renamed: { stack: s, job: d, cron: '@daily' }\n",
        );
        let mut later = schedule(
            "  kept: { stack: s, job: b, cron: '@daily' }\n  \
               moved: { stack: s, job: c, cron: '@hourly' }\n  \
               renamed: { stack: s, job: of-another-name, cron: '@daily' }\n  \
               new: { stack: s, job: e, cron: '@daily' }\n",
        );
        later.entries[0] = Arc::clone(&earlier.entries[1]);
        let DefinitionChanges { over, begun } = DefinitionChanges::between(&earlier, &later);
        assert_eq!(over.iter().map(EntryName::as_str).collect::<Vec<_>>(), ["gone", "moved"]);
        let begun: Vec<_> = begun.iter().map(|(entry, text)| (entry.as_str(), text.as_str())).collect();
        assert_eq!(begun, [("moved", "UTC\n@hourly"), ("new", "UTC\n@daily")]);
    }
}
