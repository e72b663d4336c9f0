//! Verdicts, tabled; and a journal with holes against its timetable.

use super::*;
use crate::journal::{InForce, Key};
use crate::schedule::Schedule;
use crate::timetable::tests::{at, entry};

#[test]
fn each_state_has_its_verdict() {
    for (state, lateness_ms, expected) in [
        (State::Due, None, None),
        (State::Waiting, None, None),
        (State::Sending, Some(5), None),
        (State::Started, Some(1000), Some(Verdict::OnTime)),
        (State::Started, Some(1001), Some(Verdict::Late)),
        (State::Finished, Some(3), Some(Verdict::OnTime)),
        (State::Finished, Some(60_000), Some(Verdict::Late)),
        (State::Finished, None, Some(Verdict::OnTime)),
        (State::Failed, Some(60_000), Some(Verdict::Failed)),
        (State::Rejected, Some(3), Some(Verdict::Rejected)),
        (State::Missed, None, Some(Verdict::Missed)),
        (State::Skipped, None, Some(Verdict::Skipped)),
        (State::Unknown, Some(3), Some(Verdict::Unknown)),
    ] {
        assert_eq!(verdict(state, lateness_ms), expected, "{state} after {lateness_ms:?} ms");
    }
}

fn record(name: &str, minute: &str) -> Record {
    Record {
        state: State::Finished,
        lateness_ms: Some(4),
        attempts: 1,
        action_id: Some(7),
        finished_success: Some(true),
        ..Record::due(Key::new(
            EntryName::new(name).expect("a name"),
            at(&format!("2026-10-01T{minute}:00Z")),
        ))
    }
}

fn tell(judged: &Judged) -> String {
    let entry = judged.entry.as_ref().map_or("-", |entry| entry.as_str());
    let at = judged.scheduled_at.map_or("-".to_owned(), |at| at.to_string());
    format!("{entry} {at} {}", judged.verdict.as_str())
}

/// Audits 10:00 to 10:05, in which `a` is due every minute and `b` every other one. Returns the
/// verdicts other than `on_time`, and four numbers of instants: on time, open, before the first
/// row, and not planned.
fn audited(rows: &[(&str, &str)], cursor: &str) -> (Vec<String>, [u64; 4]) {
    let entries = vec![entry("a", "UTC", &["* * * * *"]), entry("b", "UTC", &["*/2 * * * *"])];
    let schedule = Schedule { accounts: vec![entries[0].account.clone()], entries };
    let (from, until) = (at("2026-10-01T10:00:00Z"), at("2026-10-01T10:06:00Z"));
    let cursor = Some(at(&format!("2026-10-01T{cursor}Z")));
    let scope = Scope { from, until, cursor, entries: None };
    let mut told = Vec::new();
    let mut audit =
        Audit::new(scope, Plan::new(&schedule, &InForce::default(), false, from), |judged: Judged| {
            if judged.verdict != Verdict::OnTime {
                told.push(tell(&judged));
            }
        });
    rows.iter().for_each(|(name, minute)| audit.take(record(name, minute)));
    let counts = audit.finish();
    (told, [counts.of(Verdict::OnTime), counts.open, counts.before_first, counts.unplanned])
}

#[test]
fn what_the_journal_passes_over_is_lost() {
    let rows = [("a", "09:59"), ("a", "10:00"), ("a", "10:02"), ("b", "10:02"), ("a", "10:03")];
    let (told, counts) = audited(&rows, "10:05:30");
    let lost = [
        "a 2026-10-01T10:01:00Z",
        "a 2026-10-01T10:04:00Z",
        "b 2026-10-01T10:04:00Z",
        "a 2026-10-01T10:05:00Z",
    ];
    assert_eq!(told, lost.map(|lost| format!("{lost} lost")));
    // `b` of 10:00 is before its first row.
    assert_eq!(counts, [4, 0, 1, 0]);
}

#[test]
fn an_instant_that_is_not_planned_yet_is_not_lost() {
    let rows = [("a", "10:00"), ("b", "10:00"), ("a", "10:01"), ("a", "10:02"), ("b", "10:02")];
    assert_eq!(audited(&rows, "10:03:00"), (Vec::new(), [5, 0, 0, 4]));
    assert_eq!(audited(&[], "10:06:00"), (Vec::new(), [0, 0, 9, 0]), "nothing is known of the entries");
}

#[test]
fn a_row_that_the_schedule_does_not_have_is_judged_as_well() {
    let rows = [("a", "10:00"), ("b", "10:00"), ("gone", "10:00"), ("a", "10:01"), ("b", "10:01")];
    assert_eq!(audited(&rows, "10:02:00"), (Vec::new(), [5, 0, 0, 6]));
}

#[test]
fn what_was_made_up_for_is_late_and_no_longer_missed() {
    let minute = "2026-10-01T10:00:00Z";
    let missed = Record { state: State::Missed, lateness_ms: None, action_id: None, ..record("a", "10:00") };
    let made_up = |state| Record {
        key: missed.key.clone().in_pass(1),
        state,
        sent_at: Some(at("2026-10-01T17:00:00Z")),
        link: Some(crate::journal::Linked::Backfill),
        ..record("a", "10:00")
    };
    let entries = vec![entry("a", "UTC", &["* * * * *"])];
    let schedule = Schedule { accounts: vec![entries[0].account.clone()], entries };
    let from = at(minute);
    let until = at("2026-10-01T10:01:00Z");
    for (rows, expected) in [
        (vec![missed.clone()], "missed None None"),
        (vec![missed.clone(), made_up(State::Finished)], "late Some(25200000) Some(\"backfill\")"),
        (vec![made_up(State::Finished)], "late Some(25200000) Some(\"backfill\")"),
        (vec![missed.clone(), made_up(State::Failed)], "failed Some(25200000) Some(\"backfill\")"),
        (vec![missed.clone(), made_up(State::Due)], "1 open"),
    ] {
        let scope = Scope { from, until, cursor: Some(until), entries: None };
        let mut told = Vec::new();
        let mut audit =
            Audit::new(scope, Plan::new(&schedule, &InForce::default(), false, from), |judged: Judged| {
                told.push(format!(
                    "{} {:?} {:?}",
                    judged.verdict.as_str(),
                    judged.lateness_ms,
                    judged.reason
                ));
            });
        rows.into_iter().for_each(|row| audit.take(row));
        let counts = audit.finish();
        if counts.open > 0 {
            told.push(format!("{} open", counts.open));
        }
        assert_eq!(told, [expected]);
    }
}
