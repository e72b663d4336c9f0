//! The policies of an entry: their values, and what they mean for the occurrence.

use std::io::{self, Write};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::super::output::local_time;
use super::heading;
use crate::schedule::duration::Compact;
use crate::schedule::{CatchUp, Entry, Overlap, Priority, StackState};

/// Run time of an action when all is well. Durations are as in the schedule file.
#[derive(Clone, Serialize)]
struct ExpectedRun {
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<String>,
}

impl std::fmt::Display for ExpectedRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let least = self.at_least.as_ref().map(|least| format!("at least {least}"));
        let within = self.within.as_ref().map(|within| format!("within {within}"));
        f.write_str(&least.into_iter().chain(within).collect::<Vec<_>>().join(", "))
    }
}

/// The policies in force. Durations are as in the schedule file.
#[derive(Clone, Serialize)]
pub(crate) struct EntryPolicies {
    paused: bool,
    overlap: &'static str,
    catch_up: &'static str,
    start_deadline: String,
    jitter: String,
    /// The entry's own delay, of those that `jitter` allows.
    delay: String,
    priority: &'static str,
    idempotent: bool,
    follow: bool,
    stack_state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<String>,
    /// The calendars on which its occurrences are skipped.
    not_on: Vec<String>,
    /// Run time of an action when all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    expect: Option<ExpectedRun>,
}

impl EntryPolicies {
    pub(crate) fn of(entry: &Entry) -> EntryPolicies {
        EntryPolicies {
            paused: entry.paused,
            overlap: match entry.overlap {
                Overlap::Allow => "allow",
                Overlap::Skip => "skip",
                Overlap::Queue => "queue",
            },
            catch_up: match entry.catch_up {
                CatchUp::None => "none",
                CatchUp::Latest => "latest",
                CatchUp::All => "all",
            },
            start_deadline: Compact(entry.start_deadline).to_string(),
            jitter: Compact(entry.jitter).to_string(),
            delay: Compact(entry.delay()).to_string(),
            priority: match entry.priority {
                Priority::High => "high",
                Priority::Normal => "normal",
                Priority::Low => "low",
            },
            idempotent: entry.idempotent,
            follow: entry.follow,
            stack_state: match entry.stack_state {
                StackState::Ignore => "ignore",
                StackState::Hold => "hold",
                StackState::Skip => "skip",
            },
            expect: entry.expect.as_ref().map(|expect| ExpectedRun {
                at_least: expect.at_least.map(|least| Compact(least).to_string()),
                within: expect.within.map(|within| Compact(within).to_string()),
            }),
            retry: entry.retry.as_ref().map(|retry| {
                let first = Compact(retry.after.first);
                match retry.after.factor > 1.0 {
                    true => format!("{} times, first after {first}", retry.times),
                    false => format!("{} times, each after {first}", retry.times),
                }
            }),
            not_on: entry.not_on.iter().map(|calendar| calendar.name.to_string()).collect(),
        }
    }

    /// Prints each with its meaning; `due` is the occurrence, where there is one.
    pub(super) fn print(&self, entry: &Entry, due: Option<Timestamp>, out: &mut dyn Write) -> io::Result<()> {
        let flag = |set| if set { "true" } else { "false" };
        let sent = due.and_then(|at| later(at, entry.delay()));
        let deadline = sent.and_then(|at| later(at, entry.start_deadline));
        let not_on = self.not_on.join(", ");
        let mut rows = vec![
            (
                "paused",
                flag(self.paused),
                match entry.paused {
                    true => "its occurrences are skipped".into(),
                    false => "its occurrences are sent".into(),
                },
            ),
            (
                "overlap",
                self.overlap,
                match entry.overlap {
                    Overlap::Allow => "sent even while its last action is unfinished".into(),
                    Overlap::Skip => "skipped while its last action is unfinished".into(),
                    Overlap::Queue => "waits while its last action is unfinished, one at most".into(),
                },
            ),
            (
                "catch_up",
                self.catch_up,
                match entry.catch_up {
                    CatchUp::None => "of those that had to wait, none is sent".into(),
                    CatchUp::Latest => "of those that had to wait, the newest is sent".into(),
                    CatchUp::All => "of those that had to wait, every one is sent".into(),
                },
            ),
            (
                "start_deadline",
                &self.start_deadline,
                match deadline {
                    Some(deadline) => {
                        format!("missed when not sent by {}", local_time(&entry.timezone, deadline))
                    }
                    None => "how long an occurrence may wait".into(),
                },
            ),
            (
                "jitter",
                &self.jitter,
                match (entry.jitter.is_zero(), sent) {
                    (true, _) => "sent when it is due".into(),
                    (false, None) => format!("this entry's own delay is {}", self.delay),
                    (false, Some(sent)) => {
                        let sent = local_time(&entry.timezone, sent);
                        format!("this entry's own delay is {}: sent at {sent}", self.delay)
                    }
                },
            ),
            (
                "priority",
                self.priority,
                match entry.priority {
                    Priority::High => "goes before all others when the quota is short".into(),
                    Priority::Normal => "goes in its turn when the quota is short".into(),
                    Priority::Low => "goes after all others when the quota is short".into(),
                },
            ),
            (
                "idempotent",
                flag(self.idempotent),
                match entry.idempotent {
                    true => "sent again when nobody knows whether it took effect".into(),
                    false => "never sent again once it may have taken effect".into(),
                },
            ),
            (
                "follow",
                flag(self.follow),
                match entry.follow {
                    true => "its action is asked for until it has finished".into(),
                    false => "its action is not asked for again".into(),
                },
            ),
            (
                "stack_state",
                self.stack_state,
                match entry.stack_state {
                    StackState::Ignore => "sent even while its stack deploys or is in maintenance".into(),
                    StackState::Hold => {
                        "waits while its stack deploys or is in maintenance, or its job is paused in Cloud 66"
                            .into()
                    }
                    StackState::Skip => {
                        "skipped while its stack deploys or is in maintenance, or its job is paused in Cloud 66"
                            .into()
                    }
                },
            ),
        ];
        if let Some(retry) = &self.retry {
            rows.push(("retry", retry, "run again when its action ended without success".into()));
        }
        if !self.not_on.is_empty() {
            rows.push((
                "not_on",
                &not_on,
                "skipped on the days and in the windows of these calendars".into(),
            ));
        }
        let expect = self.expect.as_ref().map(ToString::to_string).unwrap_or_default();
        if !expect.is_empty() {
            rows.push((
                "expect",
                &expect,
                "told when an action ends sooner or runs longer; nothing is stopped".into(),
            ));
        }
        heading("Policies", out)?;
        let width = rows.iter().map(|(_, value, _)| value.len()).max().unwrap_or(0);
        for (name, value, meaning) in rows {
            let meaning: String = meaning;
            writeln!(out, "  {name:14}  {value:width$}  {meaning}")?;
        }
        Ok(())
    }
}

fn later(at: Timestamp, by: Duration) -> Option<Timestamp> {
    at.checked_add(SignedDuration::try_from(by).ok()?).ok()
}
