//! Rows of a journal beside a timetable: which instants are made up for.

use super::*;
use crate::journal::{Definition, Linked};
use crate::schedule::EntryName;
use crate::timetable::tests::{at, entry};

fn row(minute: &str, pass: u32, state: State, link: Option<Linked>) -> Record {
    let key = Key::new(EntryName::new("e").expect("a name"), at(&format!("2026-10-01T{minute}Z")));
    Record {
        state,
        action_id: matches!(state, State::Started | State::Finished | State::Failed).then_some(7),
        link,
        ..Record::due(key.in_pass(pass))
    }
}

/// The backlog of 10:00 to 10:06, in which `e` is due every minute, with a history since 10:01 and
/// a cursor at 10:05.
fn plan(rows: Vec<Record>) -> Backlog {
    plan_in(InForce::default(), rows)
}

fn plan_in(in_force: InForce, rows: Vec<Record>) -> Backlog {
    let bounds = Bounds {
        from: at("2026-10-01T10:00:00Z"),
        until: at("2026-10-01T10:06:00Z"),
        history_from: Some(at("2026-10-01T10:01:00Z")),
        cursor: Some(at("2026-10-01T10:05:00Z")),
    };
    let mut planner = Planner::new(&entry("e", "UTC", &["* * * * *"]), in_force, bounds);
    rows.into_iter().for_each(|row| planner.take(row));
    planner.finish()
}

fn told(plan: &Backlog) -> Vec<String> {
    let items = plan.items.iter().map(|item| match item {
        Item::UnderWay(key) => format!("{:.0} is under way in pass {}", key.scheduled_at(), key.pass()),
        Item::Gap(gap) => format!("{:.0} in pass {}", gap.key.scheduled_at(), gap.key.pass()),
    });
    items.collect()
}

#[test]
fn what_was_given_up_or_has_no_row_is_made_up_for() {
    let plan = plan(vec![
        row("10:01:00", 0, State::Finished, None),
        row("10:02:00", 0, State::Missed, None),
        row("10:02:00", 1, State::Skipped, Some(Linked::Backfill)),
        row("10:03:00", 0, State::Rejected, None),
    ]);
    assert_eq!(
        told(&plan),
        [
            "2026-10-01T10:02:00Z in pass 2",
            "2026-10-01T10:03:00Z in pass 1",
            "2026-10-01T10:04:00Z in pass 0"
        ]
    );
    assert_eq!((plan.started, plan.before_history, plan.unplanned), (1, 1, 1));
}

#[test]
fn what_started_or_may_have_in_any_pass_is_left_alone() {
    let plan = plan(vec![
        row("10:01:00", 0, State::Missed, None),
        row("10:01:00", 1, State::Failed, Some(Linked::Backfill)),
        row("10:02:00", 0, State::Unknown, None),
        row("10:03:00", 0, State::Sending, None),
        row("10:04:00", 0, State::Missed, None),
        row("10:04:00", 1, State::Started, Some(Linked::Backfill)),
    ]);
    assert_eq!(told(&plan), ["2026-10-01T10:04:00Z is under way in pass 1"]);
    assert_eq!((plan.started, plan.unknown, plan.open), (1, 1, 1));
}

#[test]
fn a_calendar_s_day_a_person_s_run_and_a_rerun_are_no_gaps() {
    let holiday =
        Record { reason: Some("calendar uk".to_owned()), ..row("10:01:00", 0, State::Skipped, None) };
    let retry = Linked::Retry { of: at("2026-10-01T10:02:00Z"), number: 1 };
    let plan = plan(vec![
        holiday,
        row("10:02:00", 0, State::Finished, None),
        row("10:02:30.000001", 0, State::Missed, Some(retry)),
        row("10:03:00", 0, State::Finished, None),
        row("10:03:30.000001", 0, State::Missed, None),
        row("10:04:00", 0, State::Finished, None),
    ]);
    assert_eq!(told(&plan), [""; 0]);
    assert_eq!((plan.on_calendar, plan.started), (1, 3));
}

#[test]
fn what_another_schedule_had_not_due_is_no_gap() {
    let was = entry("e", "UTC", &["*/2 * * * *"]);
    let span = |since: &str, until: Option<&str>, cron: &str| ForceSpan {
        entry: was.name.clone(),
        since: at(since),
        until: until.map(at),
        definition: Definition::of(&entry("e", "UTC", &[cron])),
    };
    let changed = "2026-10-01T10:02:30Z";
    let spans = vec![
        span("2026-10-01T09:00:00Z", Some(changed), "*/2 * * * *"),
        span("2026-10-01T10:03:30Z", None, "* * * * *"),
    ];
    let plan = plan_in(InForce { pruned_until: None, spans }, Vec::new());
    let gaps = ["2026-10-01T10:02:00Z in pass 0", "2026-10-01T10:04:00Z in pass 0"];
    assert_eq!(told(&plan), gaps, "10:01 was not due, and at 10:03 the entry was gone");
}
