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
    world.reconcile(120.5, &[]);
    assert_eq!(world.jobs_sent(), [""; 0], "it may still take effect");
    world.reconcile(122.0, &[]);
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
    world.reconcile(230.0, &[run(1, 1, "we"), run(2, 100, "they")]);
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
fn with_allow_later_occurrences_go_on_time_while_an_earlier_one_is_in_doubt() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1, 2, 3]);
    world.go_to(1.0);
    world.answer(in_doubt());
    world.told();
    for (second, action) in [(2.0, 2), (3.0, 3)] {
        world.go_to(second);
        assert_eq!(world.jobs_sent(), ["a"], "at second {second}");
        world.answer(Outcome::Started(Box::new(run(action, i64::try_from(action).unwrap_or(0), "we"))));
        assert_eq!(world.told(), ["action.started a"], "at second {second}");
    }
    assert_eq!(world.dispatch.in_doubt(), 1);
}

#[test]
fn with_skip_and_queue_an_attempt_in_doubt_counts_as_a_running_action() {
    let account = account(100);
    for (overlap, first, then) in [
        (Overlap::Skip, "occurrence.skipped a overlap", vec![]),
        (Overlap::Queue, "occurrence.waiting a overlap", vec!["a"]),
    ] {
        let mut world = World::new(&account);
        let policy = Entry { overlap, catch_up: CatchUp::All, ..entry("a", &account) };
        world.plan(&policy, &[1, 2]);
        world.go_to(1.0);
        world.answer(in_doubt());
        world.told();
        world.go_to(2.0);
        assert_eq!(world.jobs_sent(), [""; 0], "{overlap:?}");
        assert!(world.told().iter().any(|told| told == first), "{overlap:?}");
        world.reconcile(6.0, &[run(7, 1, "we")]);
        world.answer_follow_up(ended(7, true));
        assert_eq!(world.jobs_sent(), then, "{overlap:?}");
    }
}

#[test]
fn an_effect_that_comes_70_s_late_is_not_sent_again_whatever_the_timeout_is() {
    for timeout in [5, 30, 60] {
        let account =
            Arc::new(Account { timeout: Duration::from_secs(timeout), ..Account::clone(&account(100)) });
        let mut world = World::new(&account);
        world.plan(&entry("a", &account), &[1]);
        world.go_to(1.0);
        world.go_to(1.0 + f64::from(u32::try_from(timeout).unwrap_or(0)));
        world.answer(in_doubt());
        world.reconcile(71.0, &[]);
        assert_eq!(world.jobs_sent(), [""; 0], "with a timeout of {timeout} s");
        world.reconcile(300.0, &[run(7, 71, "we")]);
        assert_eq!(
            world.told(),
            ["occurrence.in_doubt a", "occurrence.reconciled a started 7", "action.started a"],
            "with a timeout of {timeout} s"
        );
    }
}

#[test]
fn what_turns_out_not_to_have_started_goes_by_catch_up_as_anything_that_has_waited() {
    let account = account(100);
    for (catch_up, sent, last) in [
        (CatchUp::None, 0, "occurrence.missed a down"),
        (CatchUp::Latest, 0, "occurrence.missed a superseded"),
        (CatchUp::All, 1, "occurrence.reconciled a not_started"),
    ] {
        let mut world = World::new(&account);
        world.plan(&Entry { catch_up, ..entry("a", &account) }, &[1, 2]);
        world.go_to(1.0);
        world.answer(in_doubt());
        world.go_to(2.0);
        world.answer(Outcome::Started(Box::new(run(2, 2, "we"))));
        world.reconcile(130.0, &[run(2, 2, "we")]);
        assert_eq!(world.jobs_sent().len(), sent, "{catch_up:?}");
        assert_eq!(world.told().last().map(String::as_str), Some(last), "{catch_up:?}");
    }
}

#[test]
fn a_late_effect_is_known_soon_after_it() {
    let account = account(1000);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    world.reconcile(10.0, &[]);
    world.reconcile(21.0, &[run(7, 9, "we")]);
    assert!(world.told().contains(&"occurrence.reconciled a started 7".to_owned()));
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
    world.reconcile(130.0, &[run(7, 1, "we"), run(8, 2, "we")]);
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
    world.reconcile(130.0, &two);
    world.recorded.clear();
    world.answer(not_sent());
    world.reconcile(140.0, &two);
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
