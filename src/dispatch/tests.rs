//! The dispatch in virtual time, with an API whose answers the test decides.

mod backfill;
mod by_hand;
mod doubt;
mod ended_terms;
mod ends_once;
mod evidence;
mod follow;
mod links;
mod recovery;
mod reload;
mod stack_state;
mod surplus;
mod waited;
mod world;

use std::collections::HashMap;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde_json::json;
use world::*;

use super::*;
use crate::cloud66::{
    Action, ActionId, ActionsListed, ActionsPage, FollowUp, JobRecord, Looked, Obstacle, Outcome, Reply,
};
use crate::journal::{
    Claim, Followed, Handover, Key, KnownActions, Open, Origin, Pause, Reached, Recovered, Resent, Started,
    Transition, Unnamed,
};
use crate::log::Event;
use crate::quota::{QuotaAnswer, Throttle, ThrottleWords};
use crate::schedule::{
    CatchUp, Expression, JobUid, Overlap, Priority, QuotaSettings, Reserve, Schedule, Shard, StackState,
    StackUid, Template, TokenSource,
};

#[test]
fn an_occurrence_is_sent_at_its_instant_and_not_before() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[3]);
    world.go_to(2.999);
    assert!(world.sent.is_empty(), "nothing is due yet");
    assert_eq!(world.dispatch.wakes_at(world.now), Some(world.now.mono + Duration::from_millis(1)));
    world.go_to(3.0);
    assert_eq!(world.jobs_sent(), ["a"]);
    world.answer(started(7));
    assert_eq!(world.told(), ["action.started a"]);
    world.go_to(60.0);
    assert!(world.sent.is_empty(), "it is sent once");
}

#[test]
fn connections_are_opened_ahead_however_short_ago_the_last_request_was() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[3, 4]);
    assert_eq!(world.warmed, 2, "one for each");
    world.go_to(3.0);
    world.go_to(4.0);
    world.answer(started(1));
    world.answer(started(2));
    world.plan(&entry("a", &account), &[8]);
    assert_eq!(world.warmed, 3, "a front may have closed what was used 4 s ago");
}

#[test]
fn jitter_delays_by_the_same_span_each_time() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut spread = entry("a", &account);
    spread.jitter = Duration::from_secs(10);
    let delay = spread.delay();
    assert!(delay > Duration::ZERO && delay < spread.jitter, "drawn from the span: {delay:?}");
    world.plan(&spread, &[60, 120]);
    for minute in [60.0, 120.0] {
        world.go_to(minute + delay.as_secs_f64() - 0.002);
        assert!(world.sent.is_empty(), "not before its delay");
        world.go_to(minute + delay.as_secs_f64());
        assert_eq!(world.jobs_sent(), ["a"]);
        world.answer(started(7));
    }
}

#[test]
fn high_goes_before_normal_before_low_and_older_before_newer() {
    let account = account(100);
    let mut world = World::new(&account);
    for (name, priority, at) in [
        ("low", Priority::Low, 1),
        ("newer", Priority::Normal, 3),
        ("older", Priority::Normal, 2),
        ("high", Priority::High, 4),
    ] {
        let mut entry = entry(name, &account);
        entry.priority = priority;
        world.plan(&entry, &[at]);
    }
    world.go_to(5.0);
    assert_eq!(world.jobs_sent(), ["high", "older", "newer", "low"]);
}

#[test]
fn what_the_quota_does_not_cover_waits_and_is_told_once() {
    let account = account(2);
    let mut world = World::new(&account);
    for name in ["a", "b", "c"] {
        world.plan(&entry(name, &account), &[1]);
    }
    world.go_to(1.0);
    while !world.sent.is_empty() {
        world.answer(started(1));
    }
    let told = world.told();
    let waiting: Vec<_> = told.iter().filter(|line| line.starts_with("occurrence.waiting")).collect();
    assert_eq!(waiting, ["occurrence.waiting c quota"], "of {told:?}");
    world.go_to(2.0);
    world.go_to(3.0);
    assert_eq!(world.told(), [""; 0], "it is told once");
    world.used = 0;
    for minute in 1..130 {
        world.go_to(f64::from(minute) * 60.0);
        if !world.sent.is_empty() {
            assert_eq!(world.jobs_sent(), ["c"]);
            return;
        }
    }
    panic!("the window turned and c was not sent: {:?}", world.told());
}

#[test]
fn of_what_waits_for_quota_only_the_newest_is_sent_with_latest() {
    let account = account(1);
    let mut world = World::new(&account);
    world.plan(&entry("first", &account), &[1]);
    world.go_to(1.0);
    world.answer(started(1));
    world.told();
    world.plan(&entry("a", &account), &[2, 3]);
    let mut all = entry("b", &account);
    all.catch_up = CatchUp::All;
    world.plan(&all, &[2, 3]);
    let mut none = entry("c", &account);
    none.catch_up = CatchUp::None;
    world.plan(&none, &[2]);
    world.go_to(2.0);
    world.go_to(3.0);
    assert_eq!(
        world.told(),
        [
            "occurrence.waiting a quota",
            "occurrence.waiting b quota",
            "occurrence.waiting c quota",
            "occurrence.waiting a quota",
            "occurrence.waiting b quota",
        ],
        "what is less than 5 s late is on time"
    );
    world.go_to(6.9);
    assert_eq!(world.told(), [""; 0]);
    world.go_to(7.0);
    assert_eq!(world.told(), ["occurrence.missed a superseded", "occurrence.missed c quota"]);
}

#[test]
fn a_stalled_loop_supersedes_nothing() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1, 2, 3]);
    world.go_to(4.0);
    assert_eq!(world.jobs_sent(), ["a", "a", "a"], "nothing kept them but a late wake-up");
    assert_eq!(world.told(), [""; 0]);
}

#[test]
fn what_came_due_while_the_daemon_was_down_follows_catch_up() {
    let account = account(100);
    for (catch_up, expected) in [
        (CatchUp::None, &["occurrence.missed a down", "occurrence.missed a down"][..]),
        (CatchUp::Latest, &["occurrence.missed a superseded"]),
        (CatchUp::All, &[]),
    ] {
        let mut world = World::new(&account);
        let mut entry = entry("a", &account);
        entry.catch_up = catch_up;
        world.plan(&entry, &[-120, -60]);
        world.advance();
        assert_eq!(world.told(), expected, "with {catch_up:?}");
        assert_eq!(world.jobs_sent().len(), 2 - expected.len(), "with {catch_up:?}");
    }
}

#[test]
fn an_occurrence_past_its_deadline_is_missed() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    entry.start_deadline = Duration::from_secs(10);
    world.plan(&entry, &[-11, -10, 1]);
    world.go_to(1.0);
    assert_eq!(world.told(), ["occurrence.missed a deadline", "occurrence.missed a deadline"]);
    world.answer(not_sent());
    for tenth in 10..200 {
        world.go_to(f64::from(tenth) / 10.0);
        while !world.jobs_sent().is_empty() {
            world.answer(not_sent());
        }
    }
    let told = world.told();
    assert!(told.len() > 3, "it is tried several times: {told:?}");
    assert_eq!(told.last().map(String::as_str), Some("occurrence.missed a deadline"));
    assert_eq!(world.dispatch.wakes_at(world.now), None, "nothing is left");
}

#[test]
fn a_refusal_for_good_is_final() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1]);
    world.go_to(1.0);
    world.answer(Outcome::Rejected { status: 404, error: String::new(), hint: String::new() });
    world.go_to(3000.0);
    assert_eq!(world.told(), ["occurrence.rejected a"]);
    assert!(world.sent.is_empty());
}

#[test]
fn a_throttled_occurrence_waits_for_the_window_and_is_sent() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    entry.start_deadline = Duration::from_secs(10_000);
    world.plan(&entry, &[1]);
    world.go_to(1.0);
    world.answer(Outcome::Throttled { status: 503, words: ThrottleWords::OfTheApi });
    assert!(world.sent.is_empty(), "the window has to turn");
    assert!(world.told().contains(&"occurrence.waiting a quota".to_owned()));
    assert_eq!(world.gauges().waiting, [(Priority::High, 0), (Priority::Normal, 1), (Priority::Low, 0)]);
    let sent = Sent { fires: 2, follow_ups: 0, checks: 0, throttled: 1 };
    assert_eq!(world.gauges().sent, sent, "the first, and the refused one");
    for minute in 1..=121 {
        world.go_to(f64::from(minute) * 60.0);
    }
    assert_eq!(world.jobs_sent(), ["a"]);
}

#[test]
fn a_paused_entry_is_skipped() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    entry.paused = true;
    world.plan(&entry, &[1]);
    world.go_to(1.0);
    assert_eq!(world.told(), ["occurrence.skipped a paused"]);
}

#[test]
fn overlap_skip_gives_up_while_the_last_action_is_unfinished() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    entry.overlap = Overlap::Skip;
    world.plan(&entry, &[1, 2, 3, 100]);
    world.go_to(1.0);
    world.go_to(2.0);
    assert_eq!(world.told(), ["occurrence.skipped a overlap"], "the answer is not in yet");
    world.answer(started(7));
    world.go_to(3.0);
    assert_eq!(world.told(), ["action.started a", "occurrence.skipped a overlap"]);
    world.go_to(4.0);
    world.answer_follow_up(ended(7, true));
    world.go_to(100.0);
    assert_eq!(world.jobs_sent(), ["a"]);
}

#[test]
fn overlap_queue_holds_one_until_the_last_action_has_finished() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    entry.overlap = Overlap::Queue;
    world.plan(&entry, &[1, 2, 3]);
    world.go_to(1.0);
    world.answer(started(7));
    world.go_to(2.0);
    world.go_to(3.0);
    assert_eq!(
        world.told(),
        ["action.started a", "occurrence.waiting a overlap", "occurrence.skipped a overlap"]
    );
    world.go_to(4.0);
    assert!(world.jobs_sent().is_empty(), "the action runs");
    world.answer_follow_up(ended(7, false));
    assert_eq!(world.told(), ["action.finished a"]);
    assert_eq!(world.jobs_sent(), ["a"], "the held one goes");
}

#[test]
fn nothing_starts_after_stop_and_what_is_in_flight_is_told() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1]);
    world.plan(&entry("b", &account), &[1]);
    world.plan(&entry("c", &account), &[2]);
    world.go_to(1.0);
    world.dispatch.stop();
    world.go_to(2.0);
    assert_eq!(world.jobs_sent(), ["a", "b"]);
    assert_eq!(world.dispatch.fires_in_flight(), 2);
    world.answer(started(1));
    world.answer(in_doubt());
    assert_eq!(world.told(), ["action.started a", "occurrence.in_doubt b"]);
    assert_eq!(world.dispatch.in_doubt(), 1, "the next process asks");
    assert_eq!(world.dispatch.wakes_at(world.now), None);
}

#[test]
fn ten_thousand_at_one_instant_are_all_sent_once() {
    let account = account(20_000);
    let mut world = World::new(&account);
    for number in 0..10_000 {
        world.plan(&entry(&format!("e{number}"), &account), &[1]);
    }
    world.go_to(1.0);
    let mut seen = HashMap::new();
    while !world.sent.is_empty() {
        *seen.entry(world.jobs_sent()[0].to_owned()).or_insert(0) += 1;
        world.answer(started(1));
    }
    assert_eq!(seen.len(), 10_000);
    assert!(seen.values().all(|&times| times == 1), "none is sent twice");
}
