//! The meaning of an event for those who are notified: a start, a good end or a bad end.

use std::sync::Arc;

use crate::log::Event;
use crate::schedule::{ByName, Entry, Receiver, Trigger};

/// Something that happened to an entry that tells somebody.
#[derive(Clone, Debug)]
pub(super) struct NotifiedEnd {
    pub(super) entry: Arc<Entry>,
    pub(super) what: What,
    /// The log event. It is put into words only when it is sent: in a flood, few events are.
    pub(super) event: Box<Event>,
}

/// The kind of happening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The action has started, and its end will be known.
    Started,
    /// A good end: success, or a start of which no more will be known.
    Good,
    /// A bad end after which the entry runs again.
    Retried,
    /// Never [`Trigger::Recovered`] or [`Trigger::Retried`].
    Bad(Trigger),
    /// No end, and nothing that an end makes good: [`Trigger::Slow`] or [`Trigger::Quick`].
    Odd(Trigger),
}

impl NotifiedEnd {
    /// Returns the meaning of an event. `None`: the event concerns no entry that notifies anybody.
    pub(super) fn of(event: &Event, entries: &ByName) -> Option<NotifiedEnd> {
        let name = match event {
            Event::ActionStarted(e) => &e.entry,
            Event::ActionFinished(e) => &e.entry,
            Event::OccurrenceMissed(e) => &e.entry,
            // The rerun of a failed run is skipped, so the failure before it was the last one.
            Event::OccurrenceSkipped(e) if e.retry.0.is_some() => &e.entry,
            Event::OccurrenceRejected(e) => &e.entry,
            Event::OccurrenceUnknown(e) => &e.entry,
            Event::ActionSlow(e) => &e.entry,
            Event::ActionQuick(e) => &e.entry,
            _ => return None,
        };
        let entry = entries.get(name).filter(|entry| entry.notify.is_some())?;
        let what = match event {
            Event::ActionStarted(_) if entry.follow => What::Started,
            Event::ActionStarted(_) => What::Good,
            Event::ActionFinished(e) if e.action.succeeded() => What::Good,
            Event::ActionFinished(e) if e.retry_at.0.is_some() => What::Retried,
            Event::ActionFinished(_) | Event::OccurrenceSkipped(_) => What::Bad(Trigger::Failed),
            Event::OccurrenceMissed(e) if e.retry.0.is_some() => What::Bad(Trigger::Failed),
            Event::OccurrenceMissed(_) => What::Bad(Trigger::Missed),
            Event::OccurrenceRejected(_) => What::Bad(Trigger::Rejected),
            Event::ActionSlow(_) => What::Odd(Trigger::Slow),
            Event::ActionQuick(_) => What::Odd(Trigger::Quick),
            _ => What::Bad(Trigger::Unknown),
        };
        let is_told = what != What::Started
            || entry.notify.as_ref().is_some_and(|notify| {
                notify.ping.is_some() || notify.receivers.iter().any(|receiver| is_late(event, receiver))
            });
        is_told.then(|| NotifiedEnd { entry: Arc::clone(entry), what, event: Box::new(event.clone()) })
    }
}

/// Returns true when an occurrence started later than the receiver's `late_after`.
pub(super) fn is_late(event: &Event, receiver: &Receiver) -> bool {
    let Event::ActionStarted(started) = event else {
        return false;
    };
    let late = u64::try_from(started.lateness_ms).unwrap_or(0);
    receiver.on.contains(&Trigger::Late) && u128::from(late) >= receiver.late_after.as_millis()
}
