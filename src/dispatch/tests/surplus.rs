//! A second action of an occurrence that was sent again.

use super::*;

/// Of an entry whose attempt was taken not to have started, and which was sent again: action 8.
fn sent_again(entry: &Entry, account: &Arc<Account>) -> World {
    let mut world = World::new(account);
    world.plan(entry, &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    world.reconcile(122.0, &[]);
    assert_eq!(world.jobs_sent(), ["a"], "it is sent again");
    world.answer(Outcome::Started(Box::new(run(8, 122, "we"))));
    world.told();
    world
}

const TOLD: &str = "occurrence.surplus a 9 8";

#[test]
fn an_effect_that_comes_after_three_minutes_is_told_as_surplus() {
    let account = account(100);
    let mut world = sent_again(&entry("a", &account), &account);
    world.reconcile(241.0, &[]);
    assert_eq!(world.sent.len(), 0, "the list is not read before it is due");
    world.reconcile(243.0, &[run(8, 122, "we"), run(9, 180, "we")]);
    assert_eq!(world.told(), [TOLD]);
    let row = world.resent.last().expect("it is written down");
    assert_eq!((row.surplus, row.watch.is_some()), (Some(9), true));
    world.reconcile(723.0, &[run(8, 122, "we"), run(9, 180, "we")]);
    assert_eq!(world.told(), [""; 0], "it is told once");
    let row = world.resent.last().expect("it is written down");
    assert_eq!((row.surplus, row.watch.is_some()), (Some(9), false), "nobody reads on");
    world.reconcile(3000.0, &[]);
    assert!(world.sent.is_empty());
}

#[test]
fn an_effect_that_comes_after_nine_minutes_is_told_by_the_second_reading() {
    let account = account(100);
    let mut world = sent_again(&entry("a", &account), &account);
    world.reconcile(243.0, &[run(8, 122, "we")]);
    assert_eq!(world.told(), [""; 0]);
    world.reconcile(723.0, &[run(8, 122, "we"), run(9, 540, "we")]);
    assert_eq!(world.told(), [TOLD]);
}

#[test]
fn an_idempotent_occurrence_that_ran_twice_is_told_as_surplus() {
    let account = account(100);
    let idempotent = Entry { idempotent: true, ..entry("a", &account) };
    let mut world = World::new(&account);
    world.plan(&idempotent, &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    // Two runs: nothing tells which one is ours.
    world.reconcile(122.0, &[run(7, 1, "we"), run(9, 2, "they")]);
    world.go_to(140.0);
    world.answer(Outcome::Started(Box::new(run(8, 122, "we"))));
    assert!(world.told().contains(&"occurrence.reconciled a unknown".to_owned()));
    world.reconcile(262.0, &[run(7, 1, "we"), run(8, 122, "we"), run(9, 2, "they")]);
    assert_eq!(world.told(), ["occurrence.surplus a 7 8"]);
}

#[test]
fn what_another_user_starts_is_not_surplus() {
    let account = account(100);
    let mut world = sent_again(&entry("a", &account), &account);
    world.reconcile(243.0, &[run(8, 122, "we"), run(9, 180, "they")]);
    assert_eq!(world.told(), [""; 0]);
}

#[test]
fn a_restart_goes_on_reading_for_a_second_action() {
    let account = account(100);
    let of_one =
        || Schedule { accounts: vec![Arc::clone(&account)], entries: vec![Arc::new(entry("a", &account))] };
    let former = sent_again(&entry("a", &account), &account);
    let mut world = World::new(&account);
    world.recorded = former.recorded;
    world.go_to(600.0);
    let resent = vec![former.resent.last().expect("it was written down").clone()];
    let effects = world.dispatch.recover(Recovered { resent, ..recovered(vec![]) }, &of_one(), world.now);
    world.take(effects);
    world.reconcile(723.0, &[run(8, 122, "we"), run(9, 180, "we")]);
    assert_eq!(world.told(), [TOLD]);
}

#[test]
fn what_a_former_process_found_not_to_have_started_is_read_for_once_this_one_has_sent_it() {
    let account = account(100);
    let schedule =
        Schedule { accounts: vec![Arc::clone(&account)], entries: vec![Arc::new(entry("a", &account))] };
    let mut former = World::new(&account);
    former.plan(&entry("a", &account), &[1]);
    former.go_to(1.0);
    former.answer(in_doubt());
    former.reconcile(122.0, &[]);
    let mut world = World::new(&account);
    world.go_to(130.0);
    let left = vec![open("a", 1, Reached::Waiting { attempts: 1, reason: "retry".into() })];
    let resent = vec![former.resent.last().expect("it was written down").clone()];
    let effects = world.dispatch.recover(Recovered { resent, ..recovered(left) }, &schedule, world.now);
    world.take(effects);
    world.advance();
    world.answer(Outcome::Started(Box::new(run(8, 130, "we"))));
    world.told();
    world.reconcile(251.0, &[run(8, 130, "we"), run(9, 180, "we")]);
    assert_eq!(world.told(), [TOLD]);
}
