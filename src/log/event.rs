//! The events of the log: their names, levels and fields. Users alert on them.
//!
//! Each file in `event/` has the table of the events of one subject. A change there is a change of
//! the interface: it needs a line in CHANGELOG.md.

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::Level;

use super::field::LogField;
pub use super::field::{Pass, Seldom};
use super::line::LineFields;
use crate::cloud66::Action;
use crate::schedule::EntryName;

/// The properties of an event that its table gives.
trait Tabled {
    fn name(&self) -> &'static str;
    fn level(&self) -> Level;
    fn message(&self) -> String;
    /// Adds the fields that are not common to all events.
    fn record(&self, line: &mut LineFields);
}

/// Declares the events of one subject.
macro_rules! events {
    ($(
        $(#[$doc:meta])*
        $event:ident = $name:literal, |$self:ident| $level:expr, {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
            $(..$action:ident: Action)?
        }, $message:expr;
    )*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $event {
            $($(#[$field_doc])* pub $field: $type,)*
            $(
                /// The action as the API returned it.
                pub $action: $crate::cloud66::Action,
            )?
        }

        impl $event {
            /// The event's name, and those of the fields that are not common to all events.
            /// `action_*` stands for the fields of the returned action.
            pub(super) const NAMES: (&str, &[&str]) =
                ($name, &[$(stringify!($field),)* $(events!(@star $action))?]);
        }

        impl super::Tabled for $event {
            fn name(&self) -> &'static str {
                $name
            }

            fn level(&self) -> Level {
                let $self = self;
                let _ = $self;
                $level
            }

            fn message(&self) -> String {
                let $self = self;
                $message
            }

            fn record(&self, line: &mut $crate::log::line::LineFields) {
                $(super::put(line, stringify!($field), &self.$field);)*
                $(super::put_action(line, &self.$action);)?
            }
        }
    )*};
    (@star $action:ident) => { "action_*" };
}

mod account;
mod action;
mod daemon;
mod journal;
mod occurrence;
mod schedule;

pub use account::*;
pub use action::*;
pub use daemon::*;
pub use journal::*;
pub use occurrence::*;
pub use schedule::*;

macro_rules! any_of {
    ($($event:ident,)*) => {
        /// Something an operator is told.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Event {
            $($event($event),)*
        }

        $(
            impl From<$event> for Event {
                fn from(event: $event) -> Event {
                    Event::$event(event)
                }
            }
        )*

        impl Event {
            /// The names of all events, with their fields besides the common ones. `action_*`
            /// stands for the fields of the returned action.
            pub const TABLE: &[(&str, &[&str])] = &[$($event::NAMES,)*];

            fn tabled(&self) -> &dyn Tabled {
                match self {
                    $(Event::$event(event) => event,)*
                }
            }
        }
    };
}

any_of! {
    DaemonStarted, DaemonListening, DaemonStopping, DaemonStopped, ScheduleLoaded, ScheduleReloaded,
    ScheduleShrunk, ScheduleRejected, ScheduleMissing, SchedulePolled, ScheduleWarning,
    CalendarEnding, AccountUnusable, TokenExposed, NotifyUnusable, NotifyFailed, NotifyRestored,
    ActionStarted, ActionFinished, ActionSlow, ActionQuick, ActionUnfinished, ApiWarning,
    StackUnasked, EntryFired, OccurrenceBackfilled, EntryPaused, EntryResumed, PauseEnded,
    ControlUnavailable, CertificatesMissing, LogDropped, NeighbourUnasked, OccurrenceWaiting,
    OccurrenceRetrying, OccurrenceMissed, OccurrenceSkipped, OccurrenceRejected, OccurrenceInDoubt,
    OccurrenceReconciled, OccurrenceUnknown, OccurrenceSurplus, QuotaChanged, QuotaExhausted,
    TokenUnchanged, QuotaRestored, JournalFailed, JournalRestored, JournalReplaced, JournalOlder,
    JournalRefused, LeaseAcquired, LeaseLost, LeaseReleased, LeaseStandby, LeaseUnreachable,
    LeaseReachable, ScheduleDiffers, ClockDiffers, ClockJumped, ClockBehind,
}

impl Event {
    /// Returns the event's name, as the log's `event` has it.
    pub fn name(&self) -> &'static str {
        self.tabled().name()
    }

    /// Returns the event's level.
    pub fn level(&self) -> Level {
        self.tabled().level()
    }

    /// One sentence for people. No token, query string or argument is ever part of it.
    pub fn message(&self) -> String {
        self.tabled().message()
    }

    /// Returns the fields of the event's line in the log, without the timestamp.
    pub(crate) fn record(&self) -> Map<String, Value> {
        let mut fields = LineFields::default();
        self.record_in(&mut fields);
        fields.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect()
    }

    /// Adds the event's fields to a line. No other code turns an event into fields.
    pub(super) fn record_in(&self, line: &mut LineFields) {
        let event = self.tabled();
        line.put("level", event.level().as_str().to_ascii_lowercase());
        line.put("event", event.name());
        line.put("message", event.message());
        event.record(line);
    }

    /// Returns the occurrence that the event tells of. `None`: the event tells of no single one.
    pub fn occurrence(&self) -> Option<(&EntryName, Timestamp)> {
        Some(match self {
            Event::ActionStarted(e) => (&e.entry, e.scheduled_at),
            Event::ActionFinished(e) => (&e.entry, e.scheduled_at),
            Event::ActionUnfinished(e) => (&e.entry, e.scheduled_at),
            Event::OccurrenceWaiting(e) => (&e.entry, e.scheduled_at),
            Event::OccurrenceRetrying(e) => (&e.entry, e.scheduled_at),
            Event::OccurrenceMissed(e) => (&e.entry, e.scheduled_at),
            Event::OccurrenceSkipped(e) => (&e.entry, e.scheduled_at),
            Event::OccurrenceRejected(e) => (&e.entry, e.scheduled_at),
            Event::OccurrenceUnknown(e) => (&e.entry, e.scheduled_at),
            Event::OccurrenceSurplus(e) => (&e.entry, e.scheduled_at),
            _ => return None,
        })
    }
}

/// Adds a field to a line, unless the value is one that only some lines have.
fn put(line: &mut LineFields, name: &'static str, value: &impl LogField) {
    if let Some(value) = value.json() {
        line.put(name, value);
    }
}

fn put_action(line: &mut LineFields, action: &Action) {
    put(line, "action_id", &action.id);
    put(line, "action_user", &action.user);
    put(line, "action_resource_type", &action.resource_type);
    put(line, "action_action", &action.action);
    put(line, "action_resource_id", &action.resource_id);
    put(line, "action_started_via", &action.started_via);
    put(line, "action_started_at", &action.started_at);
    put(line, "action_finished_at", &action.finished_at);
    put(line, "action_finished_success", &action.finished_success);
    put(line, "action_finished_message", &action.finished_message);
    for (key, value) in &action.more {
        line.put_if_absent(format!("action_{key}"), value.clone());
    }
}

fn or_unknown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "(unknown)".to_owned(), |value| value.to_string())
}

/// An instant to the second, as people read it.
fn brief(at: Timestamp) -> String {
    format!("{at:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{JobUid, StackUid};

    #[test]
    fn events_keep_their_names_and_fields() {
        let table: Vec<String> =
            Event::TABLE.iter().map(|(name, fields)| format!("{name}: {}", fields.join(", "))).collect();
        insta::assert_snapshot!(table.join("\n"));
    }

    #[test]
    fn an_action_that_does_not_say_how_it_ended_is_an_error() {
        let mut event = ActionFinished {
            entry: EntryName::new("a").expect("a name"),
            stack: StackUid::new("s").expect("a uid"),
            job: JobUid::new("j").expect("a uid"),
            scheduled_at: Timestamp::UNIX_EPOCH,
            pass: Pass::default(),
            retry_of: Seldom::default(),
            retry: Seldom::default(),
            retry_at: Seldom::default(),
            duration_ms: Some(1500),
            action: Action { id: Some(7), finished_success: Some(true), ..Action::default() },
        };
        assert_eq!(Event::from(event.clone()).level(), Level::INFO);
        assert_eq!(Event::from(event.clone()).message(), "a: action 7 succeeded after 1.5 s");
        event.action.finished_success = None;
        assert_eq!(Event::from(event).level(), Level::ERROR);
    }
}
