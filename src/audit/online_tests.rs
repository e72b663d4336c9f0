//! Rows of a journal beside what the stacks list.

use super::*;
use crate::cloud66::Action;
use crate::journal::InForce;
use crate::schedule::{Schedule, StackUid};
use crate::timetable::tests::{at, entry};

fn run(id: ActionId, time: &str, user: &str) -> (StackUid, Action) {
    let action = Action {
        id: Some(id),
        user: Some(user.to_owned()),
        action: Some("job_run_now".to_owned()),
        started_via: Some("api".to_owned()),
        started_at: Some(format!("2026-10-01T{time}Z")),
        ..Action::default()
    };
    (entry("a", "UTC", &["@daily"]).stack.clone(), action)
}

fn row(time: &str, state: State, attempts: u32, action_id: Option<ActionId>) -> Record {
    let scheduled_at = at(&format!("2026-10-01T{time}Z"));
    Record {
        state,
        sent_at: Some(scheduled_at),
        lateness_ms: Some(4),
        attempts,
        action_id,
        ..Record::due(Key::new(EntryName::new("a").expect("a name"), scheduled_at))
    }
}

/// Audits 10:00 to 10:05, in which `a` is due every minute. Returns all that is told, but for what
/// was on time.
fn audited(rows: Vec<Record>, runs: Vec<(StackUid, Action)>) -> Vec<String> {
    let entries = vec![entry("a", "UTC", &["* * * * *"])];
    let schedule = Schedule { accounts: vec![entries[0].account.clone()], entries };
    let (from, until) = (at("2026-10-01T10:00:00Z"), at("2026-10-01T10:05:00Z"));
    let scope = Scope { from, until, cursor: Some(until), entries: None };
    let mut told = Vec::new();
    let audit =
        Audit::new(scope, Plan::new(&schedule, &InForce::default(), false, from), |judged: Judged| {
            let at = judged.scheduled_at.map_or("-".to_owned(), |at| at.strftime("%H:%M").to_string());
            let (verdict, action) = (judged.verdict.as_str(), judged.action_id.unwrap_or_default());
            if judged.verdict != Verdict::OnTime {
                told.push(format!("{at} {verdict} {action} {}", judged.reason.unwrap_or_default()));
            }
        });
    let mut audit = audit.against(Online::new(runs), &schedule.entries);
    rows.into_iter().for_each(|row| audit.take(row));
    audit.finish();
    told
}

#[test]
fn an_action_that_no_row_names_is_foreign_and_a_deployment_is_none_of_ours() {
    let deployed = Action { action: Some("deploy".to_owned()), ..run(9, "10:02:30", "us").1 };
    let stack = run(9, "10:02:30", "us").0;
    let rows =
        (0..5).map(|minute| row(&format!("10:0{minute}:00"), State::Finished, 1, Some(minute + 1))).collect();
    let ours = (0..5).map(|minute| run(minute + 1, &format!("10:0{minute}:00"), "us"));
    let others = [run(7, "10:02:10", "ada"), run(8, "10:05:00", "ada"), run(7, "10:02:10", "ada")];
    let told = audited(rows, ours.chain(others).chain([(stack.clone(), deployed)]).collect());
    assert_eq!(
        told,
        [format!("- foreign 7 job_run_now on stack {stack} at 2026-10-01T10:02:10Z by ada via api")],
        "once, and nothing of what started after the span"
    );
}

#[test]
fn what_was_sent_again_and_has_a_second_action_is_twice() {
    let surplus = Record { surplus: Some(90), ..row("10:03:00", State::Finished, 2, Some(4)) };
    let rows = vec![
        row("10:00:00", State::Finished, 1, Some(1)),
        row("10:01:00", State::Finished, 2, Some(2)),
        row("10:02:00", State::Finished, 2, Some(3)),
        surplus,
        row("10:04:00", State::Finished, 1, Some(5)),
    ];
    let runs = [
        run(1, "10:00:00", "us"),
        run(20, "10:01:00", "us"),
        run(2, "10:01:30", "us"),
        // Another user's is not taken for it.
        run(30, "10:02:00", "ada"),
        run(3, "10:02:30", "us"),
        run(90, "10:03:00", "us"),
    ];
    let told = audited(rows, runs.into());
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[0], "10:03 twice 4 action 90 as well", "the journal knows it");
    assert_eq!(told[1], "10:01 twice 2 action 20 of 2026-10-01T10:01:00Z as well");
    assert!(told[2].starts_with("- foreign 30"), "{told:?}");
}

#[test]
fn what_is_lost_or_unknown_and_has_an_action_is_named() {
    let rows = vec![
        row("10:00:00", State::Finished, 1, Some(1)),
        row("10:01:00", State::Unknown, 1, None),
        row("10:03:00", State::Finished, 1, None),
        Record { state: State::Sending, ..row("10:04:00", State::Sending, 1, None) },
    ];
    let runs = [
        run(1, "10:00:00", "us"),
        run(2, "10:01:01", "us"),
        run(3, "10:02:00", "us"),
        run(4, "10:03:00", "us"),
        run(5, "10:04:00", "us"),
    ];
    assert_eq!(
        audited(rows, runs.into()),
        [
            "10:01 unknown 2 action 2 of 2026-10-01T10:01:01Z may be its run",
            "10:02 lost 3 the journal has nothing; action 3 of 2026-10-01T10:02:00Z may be its run",
        ],
        "one that started without a number took 4, and 5 is of an attempt that is under way"
    );
}
