//! Occurrences that a former process left.

use super::*;
use crate::journal::ClockOf;
use crate::quota::{SavedClock, SavedQuota};

fn of_two(account: &Arc<Account>) -> Schedule {
    let entries = ["a", "b"].map(|name| Arc::new(entry(name, account)));
    Schedule { accounts: vec![Arc::clone(account)], entries: entries.to_vec() }
}

#[test]
fn after_a_crash_what_the_former_process_had_not_come_to_is_sent() {
    let account = account(100);
    let all = [Reached::Due, Reached::Due, Reached::Waiting { attempts: 1, reason: "quota".into() }];
    let sending = Reached::Sending { attempts: 1, sent_at: World::at(-10) };
    for (sent_up_to, sent, told) in [
        (
            Some(World::at(-8)),
            vec!["late", "waits"],
            vec!["occurrence.in_doubt early", "occurrence.in_doubt sending"],
        ),
        (
            None,
            vec!["waits"],
            vec!["occurrence.in_doubt early", "occurrence.in_doubt late", "occurrence.in_doubt sending"],
        ),
    ] {
        let mut world = World::new(&account);
        let [early, late, waits] = all.clone();
        let left = vec![
            open("early", -9, early),
            open("late", -7, late),
            open("waits", -30, waits),
            open("sending", -10, sending.clone()),
        ];
        let entries = ["early", "late", "waits", "sending"].map(|name| Arc::new(entry(name, &account)));
        let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries: entries.to_vec() };
        let effects =
            world.dispatch.recover(Recovered { sent_up_to, ..recovered(left) }, &schedule, world.now);
        world.take(effects);
        world.advance();
        let mut now_sent = world.jobs_sent();
        now_sent.sort_unstable();
        assert_eq!(now_sent, sent, "with a mark at {sent_up_to:?}");
        assert_eq!(world.told(), told, "with a mark at {sent_up_to:?}");
    }
}

#[test]
fn after_two_crashes_what_the_first_left_in_doubt_is_not_taken_for_unsent() {
    let account = account(100);
    let mut world = World::new(&account);
    let schedule = of_two(&account);
    world.go_to(10.0);
    // The machine was started anew: no mark is believed.
    let left = vec![open("a", 5, Reached::Due), open("b", 9, Reached::Due)];
    let effects = world.dispatch.recover(recovered(left), &schedule, world.now);
    world.take(effects);
    assert!(world.dispatch.sent_up_to() >= World::at(9), "the mark is raised past both");
}

#[test]
fn what_another_member_left_in_doubt_is_written_as_sending_at_a_stop() {
    let account = account(100);
    let mut world = World::new(&account);
    let schedule = of_two(&account);
    // Due by a clock that is 20 s ahead of ours, and sent by it, perhaps.
    let left = vec![open("a", 20, Reached::Due), open("b", 23, Reached::Due)];
    let former = Recovered { sent_up_to: Some(World::at(22)), clock: ClockOf::AnyMember, ..recovered(left) };
    let effects = world.dispatch.recover(former, &schedule, world.now);
    world.take(effects);
    world.dispatch.stop();
    let parked = world.dispatch.park();
    let sending = |effect: &Effect| match effect {
        Effect::Record(key, Transition::Sending { attempts: 1, sent_at }) => {
            Some((key.entry().to_string(), *sent_at))
        }
        _ => None,
    };
    let written: Vec<_> = parked.iter().filter_map(sending).collect();
    assert_eq!(
        written,
        [("a".to_owned(), World::at(20))],
        "the next one must not take it for unsent: {parked:?}"
    );
    assert!(world.dispatch.park().iter().all(|effect| sending(effect).is_none()), "once");
}

#[test]
fn after_a_clock_that_was_set_back_nothing_is_taken_for_not_started() {
    let account = account(100);
    let mut world = World::new(&account);
    let schedule = of_two(&account);
    let sending = Reached::Sending { attempts: 1, sent_at: World::at(3600) };
    let left = vec![open("a", 3600, sending), open("b", 3600, Reached::Due)];
    let cursor = Some(World::at(3605));
    let effects = world.dispatch.recover(Recovered { cursor, ..recovered(left) }, &schedule, world.now);
    world.take(effects);
    world.advance();
    let told = world.told();
    for entry in ["a", "b"] {
        assert!(told.contains(&format!("occurrence.unknown {entry}")), "{told:?}");
    }
    world.go_to(3700.0);
    assert!(world.jobs_sent().is_empty(), "nothing is sent again");
}

#[test]
fn after_a_crash_a_removed_entry_is_skipped_or_unknown_and_told() {
    let account = account(100);
    let mut world = World::new(&account);
    let left = vec![
        open("waited", -9, Reached::Waiting { attempts: 0, reason: "quota".into() }),
        open("sent", -8, Reached::Sending { attempts: 1, sent_at: World::at(-8) }),
    ];
    let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries: Vec::new() };
    let effects = world.dispatch.recover(recovered(left), &schedule, world.now);
    world.take(effects);
    assert_eq!(world.told(), ["occurrence.skipped waited removed", "occurrence.unknown sent"]);
}

#[test]
fn an_idempotent_occurrence_that_may_have_started_is_never_called_missed() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    entry.idempotent = true;
    entry.start_deadline = Duration::from_secs(5);
    world.plan(&entry, &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    let two = [run(7, 1, "we"), run(8, 2, "we")];
    for second in 2..200 {
        world.reconcile(f64::from(second), &two);
        while !world.sent.is_empty() {
            world.answer(not_sent());
        }
    }
    assert_eq!(world.told().last().map(String::as_str), Some("occurrence.unknown a"));
}

#[test]
fn what_is_saved_of_a_quota_says_nothing_of_another_users() {
    let account = account(1);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[0]);
    world.advance();
    world.answer(started(1));
    let saved: Vec<_> = world.dispatch.quotas().collect();
    let url = "http://127.0.0.1:2/api/3".parse().expect("a URL");
    let elsewhere = Account { url, ..Account::clone(&account) };
    let token = TokenSource::Env("OTHER".to_owned());
    let another = Account { token, ..Account::clone(&account) };
    for (account, sent) in [(Account::clone(&account), 0), (elsewhere, 1), (another, 1)] {
        let account = Arc::new(account);
        let entries = vec![Arc::new(entry("waits", &account))];
        let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries };
        let reached = Reached::Waiting { attempts: 0, reason: "quota".into() };
        let left = Recovered { quotas: saved.clone(), ..recovered(vec![open("waits", 0, reached)]) };
        let mut dispatch = Dispatch::new(&schedule.accounts, 1, world.now);
        let mut effects = dispatch.recover(left, &schedule, world.now);
        effects.extend(dispatch.advance(world.now));
        let sends = |effect: &&Effect| matches!(effect, Effect::Send(..) | Effect::SendAfter(..));
        assert_eq!(effects.iter().filter(sends).count(), sent, "{account:?}");
    }
}

/// A schedule in which the entry `a` is on another stack than it was claimed for.
fn moved_to_another_stack(account: &Arc<Account>) -> Schedule {
    let moved = Entry { stack: StackUid::new("another").expect("a uid"), ..entry("a", account) };
    Schedule { accounts: vec![Arc::clone(account)], entries: vec![Arc::new(moved)] }
}

#[test]
fn a_claim_is_sent_on_the_stack_that_the_journal_has_it_for() {
    let account = account(100);
    let mut world = World::new(&account);
    let left = vec![open("a", -9, Reached::Waiting { attempts: 0, reason: "quota".into() })];
    let effects = world.dispatch.recover(recovered(left), &moved_to_another_stack(&account), world.now);
    world.take(effects);
    world.advance();
    let [(_, Request::RunNow(sent))] = &world.sent[..] else { panic!("one is sent: {:?}", world.sent) };
    assert_eq!(sent.stack.as_str(), "stack");
}

#[test]
fn an_action_is_asked_for_on_the_stack_that_it_was_started_on() {
    let account = account(100);
    let mut world = World::new(&account);
    let claim = open("a", -9, Reached::Due).claim;
    let following =
        vec![Followed { claim, action: 7, attempts: 1, sent_at: World::at(-9), told_slow: false }];
    let recovered = Recovered { following, ..recovered(Vec::new()) };
    let effects = world.dispatch.recover(recovered, &moved_to_another_stack(&account), world.now);
    world.take(effects);
    world.go_to(10.0);
    let [(_, Request::Action(_, stack, 7))] = &world.sent[..] else { panic!("{:?}", world.sent) };
    assert_eq!(stack.as_str(), "stack");
}

#[test]
fn what_a_former_process_gave_up_may_own_an_action() {
    let account = account(100);
    let mut world = World::new(&account);
    let entries = vec![Arc::new(entry("a", &account))];
    let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries };
    world.unnamed = vec![Unnamed { key: open("b", -9, Reached::Due).claim.key, sent_at: World::at(-9) }];
    let sending = Reached::Sending { attempts: 1, sent_at: World::at(-8) };
    let effects = world.dispatch.recover(recovered(vec![open("a", -8, sending)]), &schedule, world.now);
    world.take(effects);
    world.reconcile(130.0, &[run(7, -8, "we")]);
    let told = world.told();
    assert!(told.contains(&"occurrence.unknown a".to_owned()), "nothing tells whose it is: {told:?}");
}

#[test]
fn after_a_leader_whose_clock_was_ahead_each_request_has_its_own_due_instant() {
    let account = account(100);
    let mut world = World::new(&account);
    let schedule = Schedule {
        accounts: vec![Arc::clone(&account)],
        entries: vec![Arc::new(entry("ahead", &account)), Arc::new(entry("now", &account))],
    };
    let reached = Reached::Sending { attempts: 1, sent_at: World::at(30) };
    let recovered = Recovered {
        open: vec![Open { reached, ..open_at("ahead", World::at(30)) }],
        clock: ClockOf::AnyMember,
        ..Recovered::default()
    };
    let effects = world.dispatch.recover(recovered, &schedule, world.now);
    world.take(effects);
    assert_eq!(world.dispatch.sent_up_to(), World::at(30), "a later process must not take it for unsent");
    world.plan(&entry("now", &account), &[1]);
    world.go_to(1.0);
    let (fires, questions): (Vec<_>, Vec<_>) =
        world.sent.iter().partition(|(_, request)| matches!(request, Request::RunNow(_)));
    let due = |(id, _): &&(RequestId, Request)| world.dispatch.due_of(*id);
    assert_eq!(fires.iter().map(due).collect::<Vec<_>>(), [Some(World::at(1))], "and not the leader's");
    assert!(questions.iter().all(|question| due(question).is_none()), "a question is due at no instant");
}

#[test]
fn an_attempt_by_a_clock_that_was_fast_and_is_right_now_is_not_taken_for_not_started() {
    let account = account(100);
    let schedule = of_two(&account);
    // An hour fast, the former process sent at second -10 by its clock.
    let left = || vec![open("a", -10, Reached::Sending { attempts: 1, sent_at: World::at(-10) })];
    for (clocks, told) in [
        (vec![], vec!["occurrence.reconciled a not_started"]),
        (
            vec![SavedClock { ahead_ms: -3_600_000, until: World::at(-3700) }],
            vec!["occurrence.reconciled a unknown", "occurrence.unknown a"],
        ),
    ] {
        let mut world = World::new(&account);
        let saved = SavedQuota { clocks, ..SavedQuota::default() };
        let quotas = vec![(account.name.clone(), saved)];
        let effects = world.dispatch.recover(Recovered { quotas, ..recovered(left()) }, &schedule, world.now);
        world.take(effects);
        world.advance();
        world.told();
        world.reconcile(130.0, &[run(8, -3609, "we")]);
        assert_eq!(world.told(), told);
    }
}
