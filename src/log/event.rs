//! The events of the log: their names, levels and fields. Users alert on them.
//!
//! A change here is a change of the interface: it needs a line in CHANGELOG.md.

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::Level;

use super::field::Field;
pub use super::field::{Pass, Seldom};
use super::json;
use super::words::{counted, duration};
use crate::cloud66::Action;
use crate::occurrence::{Reason, Resolution};
use crate::schedule::{AccountName, CalendarName, EntryName, JobUid, ReceiverName, StackUid};

/// Words that name the shard of a lease, with a blank in front. Empty for the common shard.
fn of_shard(shard: &Option<String>) -> String {
    shard.as_ref().map_or(String::new(), |shard| format!(" the shard {shard}"))
}

macro_rules! events {
    ($(
        $(#[$doc:meta])*
        $event:ident = $name:literal, |$self:ident| $level:expr, {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
            $(..$action:ident: Action)?
        }, $message:expr;
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq)]
            pub struct $event {
                $($(#[$field_doc])* pub $field: $type,)*
                $(
                    /// The action as the API returned it.
                    pub $action: Action,
                )?
            }

            impl From<$event> for Event {
                fn from(event: $event) -> Event {
                    Event::$event(event)
                }
            }
        )*

        /// Something an operator is told.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Event {
            $($(#[$doc])* $event($event),)*
        }

        impl Event {
            /// The names of all events, with their fields besides the common ones. `action_*`
            /// stands for the fields of the returned action.
            pub const TABLE: &[(&str, &[&str])] = &[
                $(($name, &[$(stringify!($field),)* $(events!(@star $action))?]),)*
            ];

            /// Its name, as in the log's `event`.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Event::$event(_) => $name,)*
                }
            }

            /// Its level.
            pub fn level(&self) -> Level {
                match self {
                    $(Event::$event($self) => { let _ = $self; $level })*
                }
            }

            /// One sentence for people. No token, query string or argument is ever part of it.
            pub fn message(&self) -> String {
                match self {
                    $(Event::$event($self) => $message,)*
                }
            }

            /// Its own fields by name, as the log has them.
            pub(super) fn fields(&self) -> Vec<(&'static str, Value)> {
                match self {
                    $(Event::$event(event) => {
                        let own = vec![$((stringify!($field), event.$field.json()),)*];
                        own.into_iter()$(.chain(action_fields(&event.$action)))?.collect()
                    })*
                }
            }

            /// Returns the fields of the event's line in the log, without the timestamp.
            pub(crate) fn record(&self) -> Map<String, Value> {
                let mut record = Map::new();
                json::record(self, &mut record);
                record
            }

            /// Hands the event to the log.
            pub fn emit(&self) {
                match self {
                    $(Event::$event(event) => {
                        let level = self.level();
                        if level == Level::ERROR {
                            events!(@emit ERROR, $name, self, event, [$($field)*] $($action)?);
                        } else if level == Level::WARN {
                            events!(@emit WARN, $name, self, event, [$($field)*] $($action)?);
                        } else {
                            events!(@emit INFO, $name, self, event, [$($field)*] $($action)?);
                        }
                    })*
                }
            }
        }
    };
    (@star $action:ident) => { "action_*" };
    (@emit $level:ident, $name:literal, $self:ident, $event:ident, [$($field:ident)*]) => {
        tracing::event!(
            target: "stackcron", Level::$level, event = $name, message = $self.message(),
            $($field = $event.$field.value(),)*
        )
    };
    (@emit $level:ident, $name:literal, $self:ident, $event:ident, [$($field:ident)*] $action:ident) => {
        tracing::event!(
            target: "stackcron", Level::$level, event = $name, message = $self.message(),
            $($field = $event.$field.value(),)*
            action_id = $event.$action.id.value(),
            action_user = $event.$action.user.value(),
            action_resource_type = $event.$action.resource_type.value(),
            action_action = $event.$action.action.value(),
            action_resource_id = $event.$action.resource_id.value(),
            action_started_via = $event.$action.started_via.value(),
            action_started_at = $event.$action.started_at.value(),
            action_finished_at = $event.$action.finished_at.value(),
            action_finished_success = $event.$action.finished_success.value(),
            action_finished_message = $event.$action.finished_message.value(),
            action_more = more(&$event.$action),
        )
    };
}

events! {
    /// The daemon fires from now on.
    DaemonStarted = "daemon.started", |e| Level::INFO, {
        version: &'static str,
        entries: usize,
        accounts: usize,
        journal: String,
        pid: u32,
        /// Which tz database tells local time, and its version.
        tz_database: String,
    }, format!(
        "stackcron {} started: {}, {}",
        e.version, counted(e.entries, "entry", "entries"), counted(e.accounts, "account", "accounts")
    );

    /// The daemon answers who watches it.
    DaemonListening = "daemon.listening", |e| Level::INFO, {
        /// With the port that was taken.
        address: String,
    }, format!("http://{} serves the status page, /healthz, /readyz and /metrics", e.address);

    /// The daemon starts nothing any more.
    DaemonStopping = "daemon.stopping", |e| Level::INFO, {
        reason: String,
        /// Requests that wait for their answer.
        in_flight: usize,
    }, format!(
        "{}: nothing new is sent; {} in flight",
        e.reason, counted(e.in_flight, "request is", "requests are")
    );

    /// The daemon ends.
    DaemonStopped = "daemon.stopped", |e| Level::INFO, {
        reason: String,
        /// Attempts that may have started, in flight or in doubt. The next start finds out.
        in_flight: usize,
    }, format!("stopped: {}", e.reason);

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
        /// What to write instead.
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
        /// The same in words.
        warning: String,
    }, format!("{}. Add the days to come, and set `until` to the last day that the list covers", e.warning);

    /// An account whose token or settings cannot be used. Nothing changes, or the daemon does not
    /// start.
    AccountUnusable = "account.unusable", |e| Level::ERROR, {
        account: AccountName,
        error: String,
    }, format!("account {} cannot be used: {}", e.account, e.error);

    /// A token that others on the machine can read.
    TokenExposed = "token.exposed", |e| Level::WARN, {
        account: AccountName,
        path: String,
        hint: String,
    }, format!("other users can read the token of account {}: {}", e.account, e.hint);

    /// An address that somebody is to be told by cannot be used. Nothing changes, or the daemon
    /// does not start.
    NotifyUnusable = "notify.unusable", |e| Level::ERROR, {
        /// Whose webhook it is.
        receiver: Option<ReceiverName>,
        /// Whose ping it is.
        entry: Option<EntryName>,
        error: String,
    }, format!("{} cannot be notified: {}", told(&e.receiver, &e.entry), e.error);

    /// Somebody is not told of something, for good. Said once, until something is taken again.
    NotifyFailed = "notify.failed", |e| Level::WARN, {
        receiver: Option<ReceiverName>,
        entry: Option<EntryName>,
        /// Host of the address. The rest of the address is a secret.
        host: Option<String>,
        attempts: u32,
        /// The ends that are not told. The log has them.
        lost: usize,
        error: String,
    }, format!("{} was not notified of {}, which the log has: {}", told(&e.receiver, &e.entry), counted(e.lost, "end", "ends"), e.error);

    /// Somebody can be told again.
    NotifyRestored = "notify.restored", |e| Level::INFO, {
        receiver: Option<ReceiverName>,
        entry: Option<EntryName>,
        /// The ends that were not told meanwhile.
        lost: usize,
    }, format!("{} can be notified again; it missed {}", told(&e.receiver, &e.entry), counted(e.lost, "end", "ends"));

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

    /// The daemon cannot be asked anything: it fires all the same.
    ControlUnavailable = "control.unavailable", |e| Level::WARN, {
        path: String,
        error: String,
    }, format!("the control socket {} cannot be opened, so `fire`, `status`, `pause` and `resume` do not work: {}", e.path, e.error);

    /// A variable takes the place of the system's certificate authorities and leads to none.
    CertificatesMissing = "certificates.missing", |e| Level::WARN, {
        /// SSL_CERT_FILE or SSL_CERT_DIR.
        variable: &'static str,
        path: String,
        error: String,
    }, format!(
        "{} leads to no certificate ({}: {}), so every TLS connection fails. Set it to a file with certificates in PEM, or unset \
         {} to use the system's",
        e.variable, e.path, e.error, e.variable
    );

    /// The log's reader hung, and more lines were told than could be kept for it. The journal has
    /// what they told.
    LogDropped = "log.dropped", |e| Level::WARN, {
        /// Number of lines that the log lacks.
        lines: u64,
        /// The instant at which the first of them was told.
        since: Timestamp,
    }, format!(
        "{} {} of the log dropped since {}, because nobody read it; `stackcron history` has what became of each occurrence",
        e.lines, if e.lines == 1 { "line was" } else { "lines were" }, brief(e.since)
    );

    /// Another process on this machine may fire the same jobs, and cannot be asked.
    NeighbourUnasked = "neighbour.unasked", |e| Level::WARN, {
        /// `None`: no single process is meant, or it has no number here.
        pid: Option<u32>,
        error: String,
    }, format!(
        "it is unknown whether {} fires the same jobs: {}. Make sure that no second daemon does",
        e.pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")), e.error
    );

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
        /// Which one it started, where that can be told.
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

    /// The quota's limit changed.
    QuotaChanged = "quota.changed", |e| Level::INFO, {
        account: AccountName,
        limit: u32,
        was: u32,
    }, format!("account {}: the limit is now {}, it was {}", e.account, e.limit, e.was);

    /// Only the reserve is left of the quota.
    QuotaExhausted = "quota.exhausted", |e| Level::WARN, {
        account: AccountName,
        limit: u32,
        remaining: u32,
        until: Timestamp,
    }, format!("account {}: the quota of {} is spent until {}", e.account, e.limit, brief(e.until));

    /// The file of a credential is newer than what the service was given at its start, and a reload
    /// does not hand it over.
    TokenUnchanged = "token.unchanged", |e| Level::WARN, {
        account: AccountName,
        path: String,
    }, format!(
        "account {}: {} was changed since the start, and a reload does not read it. Run `systemctl restart stackcron`",
        e.account, e.path
    );

    /// There is quota again.
    QuotaRestored = "quota.restored", |e| Level::INFO, {
        account: AccountName,
        limit: u32,
        remaining: u32,
    }, format!("account {}: there is quota again, {} of {}", e.account, e.remaining, e.limit);

    /// The journal cannot be written. What it has claimed is still sent; nothing else is.
    JournalFailed = "journal.failed", |e| Level::ERROR, {
        since: Timestamp,
        error: String,
    }, format!("the journal cannot be written, so nothing new is claimed until it can: {}", e.error);

    /// The journal can be written again.
    JournalRestored = "journal.restored", |e| Level::INFO, {
        failed_since: Timestamp,
    }, format!("the journal can be written again, after failures since {}", brief(e.failed_since));

    /// The journal that the state directory knows is gone, or another one is in its place. Nothing
    /// is sent.
    JournalReplaced = "journal.replaced", |e| Level::ERROR, {
        /// The identity of the journal that was seen last.
        known: String,
        /// The identity of the one that is there now.
        found: Option<String>,
        journal: String,
    }, match &e.found {
        Some(found) => format!(
            "the journal {} is {found}, and this daemon knows {}, so nothing is sent. Restore the journal from a backup, or begin with \
             this one by `stackcron run --new-journal`",
            e.journal, e.known
        ),
        None => format!(
            "the journal {} is gone, with its claims and pauses, so nothing is sent. Restore it from a backup, or begin a \
             new one with `stackcron run --new-journal`",
            e.journal
        ),
    };

    /// The journal is an older copy of itself. What is due between may have been sent, and is
    /// looked for.
    JournalOlder = "journal.older", |e| Level::WARN, {
        /// The journal knows everything that was scheduled before.
        from: Timestamp,
        /// Nothing that is due after this instant was sent.
        until: Timestamp,
        /// Number of occurrences that were due between the two instants.
        occurrences: usize,
    }, format!(
        "the journal is an older copy of itself. It lacks the outcome of {} between {} and {}, which may have been sent; \
         the stacks' actions are searched for them",
        counted(e.occurrences, "occurrence", "occurrences"), brief(e.from), brief(e.until)
    );

    /// The journal did not take a step back. It and the log may disagree on this occurrence: a
    /// fault of the daemon's.
    JournalRefused = "journal.refused", |e| Level::ERROR, {
        entry: EntryName,
        scheduled_at: Timestamp,
        pass: Pass,
        error: String,
    }, format!("the journal refused a change of state: {}", e.error);

    /// This member leads: it fires the schedule, or a shard of it, and the others stand by.
    LeaseAcquired = "lease.acquired", |e| Level::INFO, {
        member: String,
        /// Name of the shard. Null: the common shard.
        shard: Option<String>,
        journal: String,
        /// Number of occurrences that the former leader had claimed and not settled.
        open: usize,
    }, format!("this member, {}, leads{}: it fires the schedule", e.member, of_shard(&e.shard));

    /// Another member leads from now on. What this one has sent and has no answer to is that one's
    /// to find out.
    LeaseLost = "lease.lost", |e| Level::ERROR, {
        member: String,
        shard: Option<String>,
        in_flight: usize,
    }, format!(
        "another member leads{}, because this member, {}, did not renew its lease in time. This member stands by",
        of_shard(&e.shard), e.member
    );

    /// This member has stopped, or leads more shards than others, and hands over.
    LeaseReleased = "lease.released", |e| Level::INFO, {
        member: String,
        shard: Option<String>,
    }, format!("this member, {}, has handed over{}", e.member, of_shard(&e.shard));

    /// Another member leads, and this one stands by.
    LeaseStandby = "lease.standby", |e| Level::INFO, {
        member: String,
        shard: Option<String>,
        leader: Option<String>,
    }, format!(
        "{} leads{}, and this member, {}, stands by",
        e.leader.as_deref().unwrap_or("another member"), of_shard(&e.shard), e.member
    );

    /// The shared journal is out of reach. A leader sends what is claimed and due in two seconds,
    /// and nothing else.
    LeaseUnreachable = "lease.unreachable", |e| Level::ERROR, {
        member: String,
        error: String,
    }, format!("the shared journal is out of reach, so this member can neither lead nor take over: {}", e.error);

    /// The shared journal is within reach again.
    LeaseReachable = "lease.reachable", |e| Level::INFO, {
        member: String,
    }, format!("the shared journal is within reach again for this member, {}", e.member);

    /// A member's schedule file is not the leader's. The leader's counts.
    ScheduleDiffers = "schedule.differs", |e| Level::WARN, {
        member: String,
        fingerprint: String,
        leader: String,
        leader_fingerprint: String,
    }, format!(
        "the schedule file of {} ({}) differs from that of the leader, {} ({}), which is in force",
        e.member, e.fingerprint, e.leader, e.leader_fingerprint
    );

    /// This machine's clock is off from the database's. A leader's clock says what is due.
    ClockDiffers = "clock.differs", |e| Level::WARN, {
        /// Ahead when positive.
        by_ms: i64,
    }, format!("the clock is {} ms off from the database's. Synchronise the time of both machines", e.by_ms);

    /// The wall clock was set, or the machine slept.
    ClockJumped = "clock.jumped", |e| Level::WARN, {
        /// Forward when positive.
        by_ms: i64,
    }, format!("the clock jumped by {} ms", e.by_ms);

    /// The clock is behind what it has shown, or is none: nothing new is sent.
    ClockBehind = "clock.behind", |e| Level::WARN, {
        /// The clock is waited for until it shows this.
        until: Timestamp,
        /// Number of entries that wait.
        entries: usize,
    }, format!(
        "the clock is behind: {} until it shows {}. Synchronise the machine's time",
        counted(e.entries, "entry waits", "entries wait"), e.until
    );
}

impl Event {
    /// The occurrence that it tells of, if it does.
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

/// The action's fields as they are recorded.
fn action_fields(action: &Action) -> [(&'static str, Value); 11] {
    [
        ("action_id", action.id.json()),
        ("action_user", action.user.json()),
        ("action_resource_type", action.resource_type.json()),
        ("action_action", action.action.json()),
        ("action_resource_id", action.resource_id.json()),
        ("action_started_via", action.started_via.json()),
        ("action_started_at", action.started_at.json()),
        ("action_finished_at", action.finished_at.json()),
        ("action_finished_success", action.finished_success.json()),
        ("action_finished_message", action.finished_message.json()),
        ("action_more", more(action).json()),
    ]
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

fn reconciled_message(e: &OccurrenceReconciled) -> String {
    let verdict = match (e.verdict, e.action_id) {
        (Resolution::Started, Some(id)) => format!("it started action {id}"),
        (Resolution::Started, None) => "it started one of the stack's actions".to_owned(),
        (Resolution::NotStarted, _) => "it did not start".to_owned(),
        (Resolution::Unknown, _) => "it may or may not have started".to_owned(),
    };
    format!("{}: of the attempt in doubt, the stack's actions tell that {verdict}", e.entry)
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

/// Names the target of a notification: a receiver, or an entry's ping.
fn told(receiver: &Option<ReceiverName>, entry: &Option<EntryName>) -> String {
    match (receiver, entry) {
        (Some(receiver), _) => format!("receiver {receiver}"),
        (None, Some(entry)) => format!("the ping of {entry}"),
        (None, None) => "nobody".to_owned(),
    }
}

fn or_unknown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "(unknown)".to_owned(), |value| value.to_string())
}

/// An instant to the second, as people read it.
fn brief(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// The action's other fields as one JSON object. The JSON lines take it apart again.
fn more(action: &Action) -> Option<String> {
    (!action.more.is_empty()).then(|| Value::Object(action.more.clone()).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

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
