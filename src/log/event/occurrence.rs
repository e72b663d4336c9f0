//! Events of entries and their occurrences, up to the start of an action.

use jiff::Timestamp;
use tracing::Level;

use super::{Pass, Seldom, brief};
use crate::log::words::duration;
use crate::occurrence::{Reason, Resolution};
use crate::schedule::{CalendarName, EntryName, StackUid};

events! {
    /// A stack or a job of it could not be looked at for `stack_state`, so that what is due on it
    /// is sent. Told once for each outage.
    StackUnasked = "stack.unasked", |e| Level::WARN, {
        stack: StackUid,
        error: String,
    }, format!("the state of stack {} is unknown, so its occurrences are sent: {}", e.stack, e.error);

    /// A person asked for an entry to be fired now. It is claimed, and ends as every occurrence
    /// does.
    EntryFired = "entry.fired", |e| Level::INFO, {
        entry: EntryName,
        scheduled_at: Timestamp,
        /// The user who asked.
        by_uid: u32,
    }, format!("{}: fired by user {}", e.entry, e.by_uid);

    /// A person has an occurrence made up for that did not start. It is claimed as a further pass
    /// through its instant, and ends as every occurrence does.
    OccurrenceBackfilled = "occurrence.backfilled", |e| Level::INFO, {
        entry: EntryName,
        scheduled_at: Timestamp,
        pass: Pass,
        /// The user who asked.
        by_uid: u32,
    }, format!("{}: that of {} is made up for, as user {} asked", e.entry, e.scheduled_at, e.by_uid);

    /// A person paused an entry.
    EntryPaused = "entry.paused", |e| Level::INFO, {
        entry: EntryName,
        by_uid: u32,
        /// The name of that user.
        by: String,
        /// Occurrences that are due from this instant on are sent again. `None`: a person has to
        /// resume the entry.
        until: Option<Timestamp>,
        /// Why, in the person's words.
        note: Option<String>,
    }, {
        let until = e.until.map_or("until it is resumed".to_owned(), |until| format!("until {until}"));
        let note = e.note.as_ref().map_or(String::new(), |note| format!(": {note}"));
        format!("{}: paused by {} {until}{note}", e.entry, e.by)
    };

    /// A person resumed an entry.
    EntryResumed = "entry.resumed", |e| Level::INFO, {
        entry: EntryName,
        by_uid: u32,
        /// The name of that user.
        by: String,
    }, format!("{}: resumed by {}", e.entry, e.by);

    /// The end of an entry's pause has come: what is due from now on is sent again.
    PauseEnded = "entry.pause_ended", |e| Level::INFO, {
        entry: EntryName,
    }, format!("{}: the pause has ended", e.entry);

    /// An occurrence is due and cannot be sent yet.
    OccurrenceWaiting = "occurrence.waiting", |e| Level::INFO, {
        entry: EntryName,
        scheduled_at: Timestamp,
        pass: Pass,
        /// `quota`, `overlap`, `retry`, `deploying`, `maintenance` or `paused_remotely`.
        reason: Reason,
        until: Option<Timestamp>,
    }, waiting_message(e);

    /// An attempt did not reach the API, or may be made again whatever became of it; there will be
    /// another.
    OccurrenceRetrying = "occurrence.retrying", |e| Level::WARN, {
        entry: EntryName,
        scheduled_at: Timestamp,
        pass: Pass,
        attempts: u32,
        error: String,
        status: Option<u16>,
        retry_in_ms: u64,
    }, format!(
        "{}: attempt {} failed, the next one follows in {}: {}",
        e.entry, e.attempts, duration(e.retry_in_ms.try_into().unwrap_or(i64::MAX)), e.error
    );

    /// An occurrence that was not sent in time, or that a newer one replaced.
    OccurrenceMissed = "occurrence.missed", |e| Level::WARN, {
        entry: EntryName,
        scheduled_at: Timestamp,
        pass: Pass,
        /// The scheduled_at of the run that this one repeats.
        retry_of: Seldom<Timestamp>,
        /// The number of this repetition, from 1.
        retry: Seldom<u32>,
        /// `deadline`, `superseded`, `down`, `quota`, `clock`, `deploying`, `maintenance` or
        /// `paused_remotely`.
        reason: Reason,
        lateness_ms: i64,
    }, format!("{}: missed {}{}: {}", e.entry, e.scheduled_at, e.pass, e.reason);

    /// An occurrence that was not meant to be sent.
    OccurrenceSkipped = "occurrence.skipped", |e| Level::WARN, {
        entry: EntryName,
        scheduled_at: Timestamp,
        pass: Pass,
        /// The scheduled_at of the run that this one repeats.
        retry_of: Seldom<Timestamp>,
        /// The number of this repetition, from 1.
        retry: Seldom<u32>,
        /// `overlap`, `paused`, `calendar`, `upstream`, `removed`, `deploying`, `maintenance` or
        /// `paused_remotely`.
        reason: Reason,
        /// The calendar that it falls on, where the reason is `calendar`.
        calendar: Option<CalendarName>,
        lateness_ms: i64,
    }, format!(
        "{}: skipped {}{}: {}{}",
        e.entry, e.scheduled_at, e.pass, e.reason, e.calendar.as_ref().map_or(String::new(), |name| format!(" {name}"))
    );

    /// The API refused run_now for good.
    OccurrenceRejected = "occurrence.rejected", |e| Level::ERROR, {
        entry: EntryName,
        scheduled_at: Timestamp,
        pass: Pass,
        /// The scheduled_at of the run that this one repeats.
        retry_of: Seldom<Timestamp>,
        /// The number of this repetition, from 1.
        retry: Seldom<u32>,
        /// The HTTP status. `None`: the request cannot be written, and was not sent.
        status: Option<u16>,
        error: String,
        /// The likely cause, and what to do.
        hint: String,
    }, match e.status {
        Some(status) => format!("{}: refused with {status}: {}; {}", e.entry, e.error, e.hint),
        None => format!("{}: cannot be sent: {}; {}", e.entry, e.error, e.hint),
    };

    /// An attempt may have taken effect. The stack's actions are asked before the occurrence is
    /// sent again.
    OccurrenceInDoubt = "occurrence.in_doubt", |e| Level::WARN, {
        entry: EntryName,
        scheduled_at: Timestamp,
        pass: Pass,
        attempts: u32,
        error: String,
        status: Option<u16>,
    }, format!("{}: attempt {} is in doubt, and the stack's actions are searched for it: {}", e.entry, e.attempts, e.error);

    /// The stack's actions have decided an attempt in doubt.
    OccurrenceReconciled = "occurrence.reconciled", |e| Level::WARN, {
        entry: EntryName,
        scheduled_at: Timestamp,
        pass: Pass,
        /// `started`, `not_started` or `unknown`.
        verdict: Resolution,
        /// The action that the attempt started, where that can be told.
        action_id: Option<u64>,
    }, reconciled_message(e);

    /// run_now may have taken effect, and nothing can tell.
    OccurrenceUnknown = "occurrence.unknown", |e| Level::ERROR, {
        entry: EntryName,
        scheduled_at: Timestamp,
        pass: Pass,
        /// The scheduled_at of the run that this one repeats.
        retry_of: Seldom<Timestamp>,
        /// The number of this repetition, from 1.
        retry: Seldom<u32>,
        error: String,
    }, format!("{}: it is unknown whether it started, so it is not sent again: {}", e.entry, e.error);

    /// An occurrence that was sent again has two actions: its first attempt took effect after all,
    /// later than two minutes after it left, or its entry is idempotent.
    OccurrenceSurplus = "occurrence.surplus", |e| Level::ERROR, {
        entry: EntryName,
        scheduled_at: Timestamp,
        pass: Pass,
        /// The second action.
        action_id: u64,
        /// The action that the occurrence is known by.
        first_action_id: u64,
    }, format!(
        "{}: ran twice for {}{}: action {} besides action {}. Check whether the second run has to be undone",
        e.entry, e.scheduled_at, e.pass, e.action_id, e.first_action_id
    );
}

fn waiting_message(e: &OccurrenceWaiting) -> String {
    let what = match e.reason {
        Reason::Quota => "waits for quota",
        Reason::Overlap => "waits for its last action to finish",
        Reason::Deploying => "waits for the deployment of its stack to end",
        Reason::Maintenance => "waits for the maintenance of its stack to end",
        Reason::PausedRemotely => "waits for its job to be resumed in Cloud 66",
        _ => "waits to be sent again",
    };
    match e.until {
        Some(until) => format!("{}: {what} until {}", e.entry, brief(until)),
        None => format!("{}: {what}", e.entry),
    }
}

fn reconciled_message(e: &OccurrenceReconciled) -> String {
    let verdict = match (e.verdict, e.action_id) {
        (Resolution::Started, Some(id)) => format!("it started action {id}"),
        (Resolution::Started, None) => "it started one of the stack's actions".to_owned(),
        (Resolution::NotStarted, _) => "it did not start".to_owned(),
        (Resolution::Unknown, _) => "it may or may not have started".to_owned(),
    };
    format!("{}: of the attempt in doubt, the stack's actions tell that {verdict}", e.entry)
}
