//! Events of the schedule file and its calendars.

use tracing::Level;

use super::or_unknown;
use crate::log::words::counted;
use crate::schedule::CalendarName;

events! {
    /// The schedule file was read at start.
    ScheduleLoaded = "schedule.loaded", |e| Level::INFO, {
        path: String,
        entries: usize,
        added: usize,
        removed: usize,
        changed: usize,
    }, format!("{} has {}", e.path, counted(e.entries, "entry", "entries"));

    /// The schedule file was read again.
    ScheduleReloaded = "schedule.reloaded", |e| Level::INFO, {
        path: String,
        entries: usize,
        added: usize,
        removed: usize,
        changed: usize,
    }, format!(
        "{} was read again: {}, of which {} added, {} changed; {} removed",
        e.path, counted(e.entries, "entry", "entries"), e.added, e.changed, e.removed
    );

    /// A reload has removed more than half of the entries, which a file that was cut off does too.
    ScheduleShrunk = "schedule.shrunk", |e| Level::WARN, {
        path: String,
        /// Entries that are left.
        entries: usize,
        removed: usize,
        /// Entries before the reload.
        was: usize,
    }, format!(
        "{} has lost {} of {} entries; the removed ones fire no more. Restore the file if this was not meant",
        e.path, e.removed, e.was
    );

    /// The schedule file is wrong; nothing changed.
    ScheduleRejected = "schedule.rejected", |e| Level::ERROR, {
        path: String,
        /// Number of errors in the file.
        errors: usize,
        /// The first of them.
        first: String,
    }, format!(
        "{} is not used: {}{}", e.path, e.first, if e.errors > 1 { "; `stackcron check` shows every error" } else { "" }
    );

    /// The schedule file is gone; nothing changed.
    ScheduleMissing = "schedule.missing", |e| Level::WARN, {
        path: String,
    }, format!("{} is gone; the schedule that was read from it stays in force until the file is there again", e.path);

    /// Nobody tells of changes of the schedule file, so it is looked at by and by. It is read all
    /// the same.
    SchedulePolled = "schedule.polled", |e| Level::INFO, {
        path: String,
        every_ms: u64,
        reason: String,
    }, format!("{} is polled every {} ms, because the system cannot report its changes: {}", e.path, e.every_ms, e.reason);

    /// Something about the schedule file that works and is likely not what was meant.
    ScheduleWarning = "schedule.warning", |e| Level::WARN, {
        path: String,
        /// The stable code of the warning.
        code: String,
        line: Option<usize>,
        column: Option<usize>,
        warning: String,
        /// The advice: the text to write instead.
        help: String,
    }, format!("line {} of {}: {}", or_unknown(e.line), e.path, e.warning);

    /// A calendar's list of days ends within thirty days, or has ended: what it should stop runs
    /// then. Told once a day.
    CalendarEnding = "calendar.ending", |e| Level::WARN, {
        calendar: CalendarName,
        /// The last day that the list is kept for.
        until: String,
        /// Days from today to that day; below zero when the list has ended.
        days: i64,
        /// A sentence that says when the list ends, or has ended.
        warning: String,
    }, format!("{}. Add the days to come, and set `until` to the last day that the list covers", e.warning);
}
