//! Events of the actions that run_now has started.

use jiff::Timestamp;
use tracing::Level;

use super::{Pass, Seldom, brief, or_unknown};
use crate::log::words::duration;
use crate::schedule::{AccountName, EntryName, JobUid, StackUid};

events! {
    /// run_now answered with an action.
    ActionStarted = "action.started", |e| Level::INFO, {
        entry: EntryName,
        account: AccountName,
        stack: StackUid,
        job: JobUid,
        scheduled_at: Timestamp,
        pass: Pass,
        /// The scheduled_at of the run that this one repeats.
        retry_of: Seldom<Timestamp>,
        /// The number of this repetition, from 1.
        retry: Seldom<u32>,
        sent_at: Timestamp,
        lateness_ms: i64,
        /// Milliseconds for which the request waited for a connection. Zero: one was ready. Null:
        /// that is not known.
        connect_ms: Option<u64>,
        attempts: u32,
        quota_limit: u32,
        quota_remaining: Option<u32>,
        ..action: Action
    }, started_message(e);

    /// An action came to its end.
    ActionFinished = "action.finished", |e| if e.action.succeeded() { Level::INFO } else { Level::ERROR }, {
        entry: EntryName,
        stack: StackUid,
        job: JobUid,
        scheduled_at: Timestamp,
        pass: Pass,
        /// The scheduled_at of the run that this one repeats.
        retry_of: Seldom<Timestamp>,
        /// The number of this repetition, from 1.
        retry: Seldom<u32>,
        /// The instant at which the run is repeated. Absent after a success, and where this is the
        /// last run.
        retry_at: Seldom<Timestamp>,
        duration_ms: Option<i64>,
        ..action: Action
    }, finished_message(e);

    /// An action runs longer than its entry expects. Told once, and nothing is stopped.
    ActionSlow = "action.slow", |e| Level::WARN, {
        entry: EntryName,
        stack: StackUid,
        job: JobUid,
        scheduled_at: Timestamp,
        pass: Pass,
        action_id: u64,
        /// Milliseconds for which the action has run.
        after_ms: i64,
        /// `expect.within` of the entry.
        expected_ms: i64,
    }, format!(
        "{}: action {} has run for {}, and should end within {}",
        e.entry, e.action_id, duration(e.after_ms), duration(e.expected_ms)
    );

    /// An action ended sooner than its entry expects.
    ActionQuick = "action.quick", |e| Level::WARN, {
        entry: EntryName,
        stack: StackUid,
        job: JobUid,
        scheduled_at: Timestamp,
        pass: Pass,
        action_id: u64,
        /// Milliseconds for which the action ran.
        after_ms: i64,
        /// `expect.at_least` of the entry.
        expected_ms: i64,
    }, format!(
        "{}: action {} ended after {}, and should take at least {}",
        e.entry, e.action_id, duration(e.after_ms), duration(e.expected_ms)
    );

    /// An action that is no longer asked for, though it has not finished.
    ActionUnfinished = "action.unfinished", |e| Level::WARN, {
        entry: EntryName,
        stack: StackUid,
        job: JobUid,
        scheduled_at: Timestamp,
        pass: Pass,
        action_id: u64,
        reason: String,
    }, format!("{}: action {} is no longer followed: {}", e.entry, e.action_id, e.reason);

    /// The API added a warning to an answer.
    ApiWarning = "api.warning", |e| Level::WARN, {
        entry: EntryName,
        account: AccountName,
        stack: StackUid,
        warning: String,
    }, format!("{}: the API warns: {}", e.entry, e.warning);
}

fn started_message(e: &ActionStarted) -> String {
    let mut text = format!("{}: action {}", e.entry, or_unknown(e.action.id));
    for (word, value) in [("of", &e.action.user), ("on resource", &e.action.resource_id)] {
        if let Some(value) = value {
            text += &format!(" {word} {value}");
        }
    }
    text += &format!(", {} late", duration(e.lateness_ms));
    match e.quota_remaining {
        Some(remaining) => text + &format!(", {remaining} of {} requests left", e.quota_limit),
        None => text,
    }
}

fn finished_message(e: &ActionFinished) -> String {
    let how = match e.action.finished_success {
        Some(true) => "succeeded",
        Some(false) => "failed",
        None => "ended without telling how",
    };
    let mut text = format!("{}: action {} {how}", e.entry, or_unknown(e.action.id));
    if let Some(ms) = e.duration_ms {
        text += &format!(" after {}", duration(ms));
    }
    if let Some(said) = &e.action.finished_message {
        text += &format!(": {said}");
    }
    if let Some(at) = e.retry_at.0 {
        text += &format!("; it runs again at {}", brief(at));
    }
    text
}
