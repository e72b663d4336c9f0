//! Attempts in doubt: what becomes of them, and of their entry meanwhile.

use super::*;

#[test]
fn an_attempt_in_doubt_that_started_is_adopted_and_never_repeated() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut followed = entry("a", &account);
    followed.follow = true;
    world.plan(&followed, &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    world.reconcile(4.0, &[run(7, 1, "we")]);
    assert_eq!(
        world.told(),
        ["occurrence.in_doubt a", "occurrence.reconciled a started 7", "action.started a"]
    );
    world.answer_follow_up(ended(7, true));
    world.reconcile(3000.0, &[]);
    assert!(world.sent.is_empty(), "it is not sent again");
    assert_eq!(world.told(), ["action.finished a"]);
}

#[test]
fn an_attempt_that_did_not_start_is_sent_again_when_it_is_too_late_for_it_to_start() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    world.reconcile(30.0, &[]);
    assert_eq!(world.jobs_sent(), [""; 0], "it may still take effect");
    world.reconcile(40.0, &[]);
    assert_eq!(world.jobs_sent(), ["a"]);
    assert_eq!(world.told(), ["occurrence.in_doubt a", "occurrence.reconciled a not_started"]);
    world.answer(started(8));
    assert_eq!(world.told(), ["action.started a"]);
}

#[test]
fn an_effect_that_comes_late_is_found() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    world.reconcile(20.0, &[]);
    world.reconcile(3000.0, &[run(7, 25, "we")]);
    assert!(world.sent.is_empty(), "it is not sent again");
    assert!(world.told().contains(&"occurrence.reconciled a started 7".to_owned()));
}

#[test]
fn what_others_start_is_not_taken_for_ours() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1, 100]);
    world.go_to(1.0);
    world.answer(Outcome::Started(Box::new(run(1, 1, "we"))));
    world.told();
    world.go_to(100.0);
    world.answer(in_doubt());
    world.reconcile(150.0, &[run(1, 1, "we"), run(2, 100, "they")]);
    assert_eq!(world.told(), ["occurrence.in_doubt a", "occurrence.reconciled a not_started"]);
}

#[test]
fn two_runs_for_one_attempt_in_doubt_tell_nothing() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    world.reconcile(3000.0, &[run(7, 1, "we"), run(8, 2, "we")]);
    assert!(world.sent.is_empty(), "it may have started");
    assert_eq!(
        world.told(),
        ["occurrence.in_doubt a", "occurrence.reconciled a unknown", "occurrence.unknown a"]
    );
}

#[test]
fn the_same_entry_waits_while_one_of_its_occurrences_is_in_doubt_and_others_go() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut all = entry("a", &account);
    all.catch_up = CatchUp::All;
    world.plan(&all, &[1, 2, 3]);
    world.plan(&entry("b", &account), &[2]);
    world.go_to(1.0);
    world.answer(in_doubt());
    world.go_to(1.5);
    world.told();
    for second in [2.0, 3.0] {
        world.go_to(second);
    }
    assert_eq!(world.jobs_sent(), ["b"]);
    assert_eq!(world.gauges().waiting, world.waiting(), "what waits behind is counted");
    world.answer(started(2));
    assert_eq!(
        world.told(),
        ["occurrence.waiting a retry", "occurrence.waiting a retry", "action.started b"]
    );
    world.reconcile(3.5, &[run(1, 1, "we"), run(2, 2, "we")]);
    assert_eq!(world.jobs_sent(), ["a", "a"]);
}

#[test]
fn a_list_that_cannot_be_read_is_asked_for_until_patience_ends() {
    let account = account(1000);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    let mut asked = 0;
    for second in 2..4000 {
        world.go_to(f64::from(second));
        while world.asks() {
            asked += 1;
            world.answer_list(unlisted());
        }
    }
    assert!((50..200).contains(&asked), "with pauses of up to a minute in an hour: {asked}");
    let told = world.told();
    assert_eq!(told[1..], ["occurrence.reconciled a unknown", "occurrence.unknown a"]);
    assert!(world.dispatch.is_idle(), "nothing is left over");
}

#[test]
fn a_journal_that_cannot_be_read_is_waited_for() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    world.recalls = false;
    world.reconcile(100.0, &[run(7, 1, "we")]);
    assert_eq!(world.told(), ["occurrence.in_doubt a"]);
    world.recalls = true;
    world.reconcile(200.0, &[run(7, 1, "we")]);
    assert_eq!(world.told(), ["occurrence.reconciled a started 7", "action.started a"]);
}

#[test]
fn an_idempotent_attempt_is_repeated_when_nothing_can_tell() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    entry.idempotent = true;
    world.plan(&entry, &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    world.reconcile(60.0, &[run(7, 1, "we"), run(8, 2, "we")]);
    assert_eq!(world.jobs_sent(), ["a"]);
}

#[test]
fn after_a_reload_another_token_may_have_another_user() {
    let account = account(100);
    let mut world = World::new(&account);
    let entry = entry("a", &account);
    world.plan(&entry, &[1]);
    world.go_to(1.0);
    world.answer(Outcome::Started(Box::new(run(1, 1, "we"))));
    let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries: vec![Arc::new(entry.clone())] };
    let effects = world.dispatch.replace(&schedule.accounts, &schedule.by_name(), world.now);
    world.take(effects);
    world.plan(&entry, &[100]);
    world.go_to(100.0);
    world.answer(in_doubt());
    world.told();
    world.reconcile(150.0, &[run(1, 1, "we"), run(2, 100, "they")]);
    assert_eq!(world.told(), ["occurrence.reconciled a started 2", "action.started a"]);
}

#[test]
fn what_may_have_started_is_kept_as_being_sent_from_its_first_attempt_on() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    entry.idempotent = true;
    world.plan(&entry, &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    let two = [run(7, 1, "we"), run(8, 2, "we")];
    world.reconcile(60.0, &two);
    world.recorded.clear();
    world.answer(not_sent());
    world.reconcile(70.0, &two);
    let first = Some(World::at(1));
    let recorded = world.recorded.iter().map(|(_, mv)| match *mv {
        Transition::Sending { sent_at, .. } => Some(sent_at),
        _ => None,
    });
    assert!(recorded.clone().all(|sent_at| sent_at == first), "{:?}", world.recorded);
    let rejected = Outcome::Rejected {
        status: 404,
        error: "no such job".to_owned(),
        hint: "correct the uid".to_owned(),
    };
    world.answer(rejected);
    assert_eq!(world.told().last().map(String::as_str), Some("occurrence.unknown a"));
}
