//! The fate of an occurrence: the journal's record of it, and the log event that told it.

use std::io::{self, Write};
use std::ops::ControlFlow;

use anstyle::Style;
use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

use super::super::history::{HistoryRecord, style};
use super::super::output::local_time;
use super::heading;
use super::then::Then;
use crate::cloud66::ActionId;
use crate::journal::{Filter, JournalError, Linked, Location, Record, SLOW, State};
use crate::log::visible;
use crate::occurrence::Reason;
use crate::schedule::Entry;
use crate::timetable::Explanation;

/// The journal's part of the answer for an occurrence.
pub(super) enum Fate {
    /// There is no place where a journal could be.
    NotAsked,
    /// There is no journal, or it cannot be read.
    Unreadable(JournalError),
    /// The journal has no such occurrence. What it knows of the entry then, if anything.
    Absent(Option<Then>),
    /// This became of it, and of its repetitions.
    Known(Box<JournalRows>),
}

/// The journal's rows of an occurrence, of its former passes and of its reruns.
pub(super) struct JournalRows {
    /// The last time through the instant.
    record: Record,
    /// The times through the instant before that.
    before: Vec<Record>,
    retries: Vec<Record>,
}

/// The record as JSON. Its keys are an interface.
#[derive(Serialize)]
struct FateRecord<'a> {
    /// `None`: the first time through the instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pass: Option<u32>,
    /// `upstream` or `backfill`. `None`: the schedule asked for it, or a person who fired it.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
    state: &'a str,
    sent_at: Option<Timestamp>,
    lateness_ms: Option<i64>,
    attempts: u32,
    action_id: Option<ActionId>,
    finished_at: Option<Timestamp>,
    finished_success: Option<bool>,
    reason: Option<&'a str>,
    /// The calendar that it falls on, where the reason is `calendar`.
    #[serde(skip_serializing_if = "Option::is_none")]
    calendar: Option<&'a str>,
    /// Error of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    /// The scheduled_at of the newer occurrence that went in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_by: Option<Timestamp>,
    /// A second action that it turned out to have. `None`: there is none, as nearly always.
    #[serde(skip_serializing_if = "Option::is_none")]
    surplus_action_id: Option<ActionId>,
    event: Option<&'a str>,
    /// The times through the instant before this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    before: Vec<HistoryRecord<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    retries: Vec<HistoryRecord<'a>>,
}

impl Serialize for Fate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let told = match self {
            Fate::Known(known) => {
                let JournalRows { record, before, retries } = &**known;
                Some(FateRecord {
                    pass: Some(record.key.pass()).filter(|&pass| pass > 0),
                    origin: record.link.map(Linked::as_str),
                    state: record.state.as_str(),
                    sent_at: record.sent_at,
                    lateness_ms: record.lateness_ms,
                    attempts: record.attempts,
                    action_id: record.action_id,
                    finished_at: record.finished_at,
                    finished_success: record.finished_success,
                    reason: record.reason_word(),
                    calendar: record.calendar(),
                    error: record.error.as_deref(),
                    replaced_by: record.replaced_by,
                    surplus_action_id: record.surplus,
                    event: event(record),
                    before: before.iter().map(HistoryRecord::of).collect(),
                    retries: retries.iter().map(HistoryRecord::of).collect(),
                })
            }
            Fate::NotAsked | Fate::Unreadable(_) | Fate::Absent(_) => None,
        };
        told.serialize(serializer)
    }
}

impl Fate {
    /// Returns the journal's word on the entry at an instant of which it has no occurrence.
    pub(super) fn then(&self) -> Option<&Then> {
        match self {
            Fate::Absent(then) => then.as_ref(),
            _ => None,
        }
    }

    /// Looks into the journal.
    pub(super) fn of(journal: &Location, entry: &Entry, at: Timestamp) -> Fate {
        let filter = Filter {
            entry: Some(entry.name.clone()),
            since: Some(at),
            until: match entry.retry {
                Some(_) => at.checked_add(RETRIES_WITHIN).ok(),
                None => at.checked_add(SignedDuration::from_micros(1)).ok(),
            },
            newest: None,
        };
        let mut passes: Vec<Record> = Vec::new();
        let mut retries = Vec::new();
        let mut rows = 0;
        let read = journal.read_history(&filter, |record| {
            rows += 1;
            if record.key.scheduled_at() == at {
                passes.push(record);
            } else if record.retry().is_some_and(|(first, _)| first == at) {
                retries.push(record);
            }
            if rows < MOST_ROWS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        match read {
            // The last time through the instant is told.
            Ok(()) => match passes.pop() {
                Some(record) => Fate::Known(Box::new(JournalRows { record, before: passes, retries })),
                None => match journal.read_in_force(Some(&entry.name)) {
                    Ok(in_force) => Fate::Absent(Then::of(&in_force, at)),
                    Err(error) => Fate::Unreadable(error),
                },
            },
            Err(error) => Fate::Unreadable(error),
        }
    }

    /// Ends a sentence of an entry with what became of it. Empty where nothing is known.
    pub(super) fn in_brief(&self) -> String {
        match self {
            Fate::Known(known) => {
                let last = known.retries.last().unwrap_or(&known.record);
                format!("; it is {}", last.state)
            }
            Fate::NotAsked | Fate::Unreadable(_) | Fate::Absent(_) => String::new(),
        }
    }

    /// Prints what became of it. Where nothing was due and nothing is known, there is nothing to
    /// print.
    pub(super) fn print(
        &self,
        explanation: &Explanation,
        entry: &Entry,
        now: Timestamp,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let faint = Style::new().dimmed();
        let hint = match self {
            Fate::Known(known) => {
                heading(TITLE, out)?;
                print_record(known, explanation.due, entry, out)?;
                return print_retries(&known.retries, entry, out);
            }
            Fate::NotAsked => return Ok(()),
            Fate::Absent(_) | Fate::Unreadable(_) if !explanation.due => return Ok(()),
            Fate::Absent(_) if explanation.at > now => "it is still to come".to_owned(),
            Fate::Absent(Some(then)) => then.to_string(),
            Fate::Absent(None) => "not in the journal: due before its first start, or pruned".to_owned(),
            Fate::Unreadable(error) => error.to_string(),
        };
        heading(TITLE, out)?;
        writeln!(out, "  {faint}{hint}{faint:#}")
    }
}

/// Repetitions are looked for up to so long after the occurrence.
const RETRIES_WITHIN: SignedDuration = SignedDuration::from_hours(31 * 24);

/// Rows that are looked at: an entry that is due every second has many after the one that is asked
/// for.
const MOST_ROWS: usize = 10_000;

const TITLE: &str = "What became of it";

fn print_record(
    JournalRows { record, before, .. }: &JournalRows,
    due: bool,
    entry: &Entry,
    out: &mut dyn Write,
) -> io::Result<()> {
    let style = style(record.state);
    writeln!(out, "  {:16}  {style}{}{style:#}: {}", "state", record.state, meaning(record.state))?;
    let mut row = |name: &str, value: Option<String>| match value {
        Some(value) => writeln!(out, "  {name:16}  {value}"),
        None => Ok(()),
    };
    if record.is_backfill() {
        row("backfill", Some("a person had it made up for".to_owned()))?;
        let before = before.iter().map(|record| match record.in_words().as_deref().map(visible) {
            Some(reason) => format!("{}: {reason}", record.state),
            None => record.state.to_string(),
        });
        before.into_iter().try_for_each(|told| row("before", Some(told)))?;
    } else if record.key.pass() > 0 {
        let pass = record.key.pass();
        row("pass", Some(format!("{pass}: the clock was set back, and showed this instant again")))?;
    }
    if !due {
        row("", Some("the entry was due then by an earlier version of the schedule, or by hand".to_owned()))?;
    }
    let local = |at| local_time(&entry.timezone, at);
    row("sent_at", record.sent_at.map(|at| format!("{at:.3}, {}", local(at))))?;
    row("lateness_ms", record.lateness_ms.map(|ms| ms.to_string()))?;
    row("attempts", Some(record.attempts.to_string()))?;
    row("action_id", record.action_id.map(|id| id.to_string()))?;
    row("finished_at", record.finished_at.map(|at| format!("{at:.3}, {}", local(at))))?;
    row("finished_success", record.finished_success.map(|success| success.to_string()))?;
    row("reason", record.in_words().as_deref().map(visible))?;
    let twice = |id| format!("{id}: it ran twice, since the first attempt took effect after all");
    row("surplus_action_id", record.surplus.map(twice))?;
    row("event", event(record).map(|event| format!("{event} in the log tells it")))
}

/// Each run that repeats the occurrence's.
fn print_retries(retries: &[Record], entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
    for record in retries {
        let Some((_, number)) = record.retry() else { continue };
        let (style, at) = (style(record.state), local_time(&entry.timezone, record.key.scheduled_at()));
        let reason = record.reason.as_deref().map(|reason| format!(": {}", visible(reason)));
        let reason = reason.unwrap_or_default();
        writeln!(
            out,
            "  {:16}  {style}{}{style:#}, due {at}{reason}",
            format!("retry {number}"),
            record.state
        )?;
    }
    Ok(())
}

fn meaning(state: State) -> &'static str {
    match state {
        State::Due => "claimed, and not sent yet",
        State::Waiting => "it could not be sent yet",
        State::Sending => {
            "it was sent, and what came of it is awaited, or looked for among the stack's actions"
        }
        State::Started => "run_now answered with an action",
        State::Finished => "its action ended with success",
        State::Failed => "its action ended without success",
        State::Rejected => "the API refused it for good",
        State::Missed => "it was not sent in time",
        State::Skipped => "it was not meant to be sent",
        State::Unknown => "it was sent, and nothing can tell whether it took effect",
    }
}

/// The log event that told of the state.
fn event(record: &Record) -> Option<&'static str> {
    Some(match record.state {
        State::Due | State::Sending => return None,
        State::Waiting if record.reason.as_deref() == Some(Reason::Retry.as_str()) && record.attempts > 0 => {
            "occurrence.retrying"
        }
        State::Waiting => "occurrence.waiting",
        // A reason of its own: it is not followed any more.
        State::Started if record.reason.as_deref() == Some(SLOW) => "action.slow",
        State::Started if record.reason.is_some() => "action.unfinished",
        State::Started => "action.started",
        State::Finished | State::Failed => "action.finished",
        State::Rejected => "occurrence.rejected",
        State::Missed => "occurrence.missed",
        State::Skipped => "occurrence.skipped",
        State::Unknown => "occurrence.unknown",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Claim, Journal, Key, Origin, Started, Transition};
    use crate::log::event::Event;
    use crate::timetable::explain;
    use crate::timetable::tests::{at, entry};

    /// What is told of a day in UTC, of an entry whose occurrence of the first of May took these
    /// moves.
    async fn told(moves: &[Transition], day: &str) -> String {
        let nightly = entry("nightly", "Europe/London", &["30 1 * * *"]);
        let place = tempfile::tempdir().expect("a directory");
        let journal = Journal::open(place.path()).expect("a journal").journal;
        let due_at = at("2026-05-01T00:30:00Z");
        let key = Key::new(nightly.name.clone(), due_at);
        let claim = Claim {
            key: key.clone(),
            account: nightly.account.name.clone(),
            stack: nightly.stack.clone(),
            job: nightly.job.clone(),
            due_at,
            deadline: at("2026-05-01T01:30:00Z"),
            origin: Origin::Schedule,
            repetition: crate::journal::Repetition::default(),
        };
        journal.claim(due_at, vec![claim]).await.expect("claimed");
        let moves = moves.iter().map(|mv| (key.clone(), mv.clone())).collect();
        assert_eq!(journal.commit(moves).await, Ok(Vec::new()), "each move is applied");
        let explanation = explain(&nightly, at(day));
        let fate = Fate::of(&Location::Directory(place.path().to_owned()), &nightly, explanation.at);
        let mut out = anstream::StripStream::new(Vec::new());
        fate.print(&explanation, &nightly, at("2026-05-02T12:00:00Z"), &mut out).expect("printed");
        let json = serde_json::to_string_pretty(&fate).expect("JSON");
        String::from_utf8(out.into_inner()).expect("text") + &json
    }

    fn finished(success: bool) -> [Transition; 2] {
        let (sent_at, finished_at) = (at("2026-05-01T00:30:00.0124Z"), at("2026-05-01T00:42:07Z"));
        let message = Some("killed:\n\u{1b}[2J".to_owned());
        [
            Transition::Started { attempts: 2, sent_at, action: Started::Followed(71) },
            Transition::Finished { success: Some(success), finished_at, message },
        ]
    }

    #[tokio::test]
    async fn a_finished_occurrence_is_told_with_its_action_and_its_event() {
        insta::assert_snapshot!(told(&finished(true), "2026-05-01T00:30:00Z").await);
    }

    #[tokio::test]
    async fn what_the_api_said_cannot_steer_the_terminal() {
        insta::assert_snapshot!(told(&finished(false), "2026-05-01T00:30:00Z").await);
    }

    #[tokio::test]
    async fn what_the_stack_s_state_did_is_told() {
        let (skipped, waits) = ("deploying", "paused_remotely");
        let skipped = told(&[Transition::Skipped { reason: skipped.into() }], "2026-05-01T00:30:00Z").await;
        let waits = Transition::Waiting { attempts: 0, reason: waits.into() };
        let waits = told(&[waits], "2026-05-01T00:30:00Z").await;
        insta::assert_snapshot!(format!("{skipped}\n\n{waits}"));
    }

    #[tokio::test]
    async fn an_occurrence_that_the_journal_lacks_is_told_as_such() {
        for (day, expected) in [
            (
                "2026-04-30T00:30:00Z",
                "\nWhat became of it\n  not in the journal: due before its first start, or pruned\n",
            ),
            ("2026-05-03T00:30:00Z", "\nWhat became of it\n  it is still to come\n"),
            ("2026-05-01T00:31:00Z", ""),
        ] {
            assert_eq!(told(&[], day).await, format!("{expected}null"), "{day}");
        }
    }

    #[test]
    fn no_journal_is_a_hint_and_no_failure() {
        let nightly = entry("nightly", "Europe/London", &["30 1 * * *"]);
        let explanation = explain(&nightly, at("2026-05-01T00:30:00Z"));
        let place = tempfile::tempdir().expect("a directory");
        let fate = Fate::of(&Location::Directory(place.path().to_owned()), &nightly, explanation.at);
        let mut out = Vec::new();
        fate.print(&explanation, &nightly, explanation.at, &mut out).expect("printed");
        let text = String::from_utf8(out).expect("text");
        assert!(text.contains("there is no journal in") && text.contains("--state-dir"), "{text}");
        assert_eq!(serde_json::to_string(&fate).expect("JSON"), "null");
    }

    #[test]
    fn each_event_that_is_named_is_one_of_the_log_s() {
        let nightly = entry("nightly", "UTC", &["30 1 * * *"]);
        for state in State::ALL {
            for reason in [None, Some("retry".to_owned())] {
                let record = Record {
                    state,
                    reason,
                    ..Record::due(crate::journal::Key::new(nightly.name.clone(), at("2026-05-01T01:30:00Z")))
                };
                let named = event(&record);
                assert!(
                    named.is_none_or(|named| Event::TABLE.iter().any(|(name, _)| *name == named)),
                    "{state} is told by {named:?}"
                );
            }
        }
    }
}
