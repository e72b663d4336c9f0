//! The rule of what has waited and what is on time, wherever an occurrence was when time passed.

use super::*;

/// Returns the fate of an entry of every other second when nobody looks for 8 s, by where its
/// occurrences were meanwhile: claimed ahead, or planned when somebody looked again.
fn after_a_stop_of_eight_seconds(catch_up: CatchUp, ahead: &[i64], later: &[i64]) -> (Vec<String>, usize) {
    let account = account(100);
    let mut world = World::new(&account);
    let entry = Entry { catch_up, ..entry("a", &account) };
    world.plan(&entry, ahead);
    world.now.wall += SignedDuration::from_millis(8040);
    world.now.mono += Duration::from_millis(8040);
    world.plan(&entry, later);
    world.advance();
    (world.told(), world.jobs_sent().len())
}

#[test]
fn after_a_stop_only_what_is_five_seconds_late_has_waited_wherever_it_was() {
    for (ahead, later) in [(&[2, 4, 6, 8][..], &[][..]), (&[2, 4], &[6, 8]), (&[], &[2, 4, 6, 8])] {
        let of = |catch_up| after_a_stop_of_eight_seconds(catch_up, ahead, later);
        let missed = |reason: &str| vec![format!("occurrence.missed a {reason}")];
        assert_eq!(of(CatchUp::None), (missed("down"), 3), "{ahead:?} claimed ahead");
        assert_eq!(of(CatchUp::Latest), (missed("superseded"), 3), "{ahead:?} claimed ahead");
        assert_eq!(of(CatchUp::All), (Vec::new(), 4), "{ahead:?} claimed ahead");
    }
}

#[test]
fn what_the_quota_delays_for_less_than_five_seconds_goes_with_catch_up_none() {
    let account = account(1);
    let mut world = World::new(&account);
    world.plan(&entry("first", &account), &[1]);
    world.go_to(1.0);
    world.answer(started(1));
    world.told();
    world.plan(&Entry { catch_up: CatchUp::None, ..entry("a", &account) }, &[2]);
    world.go_to(2.0);
    assert_eq!(world.told(), ["occurrence.waiting a quota"]);
    let raised = Schedule {
        accounts: vec![Arc::new(Account {
            quota: QuotaSettings { limit: 100, window: Duration::from_secs(2), ..account.quota },
            ..Account::clone(&account)
        })],
        entries: vec![Arc::new(Entry { catch_up: CatchUp::None, ..entry("a", &account) })],
    };
    world.replace(&raised);
    for tenth in 21..69 {
        world.go_to(f64::from(tenth) / 10.0);
    }
    let told = world.told();
    assert!(!told.iter().any(|line| line.starts_with("occurrence.missed")), "{told:?}");
}

#[test]
fn what_an_api_out_of_reach_delays_goes_on_until_its_deadline_with_catch_up_none() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&Entry { catch_up: CatchUp::None, ..entry("a", &account) }, &[1]);
    world.go_to(1.0);
    world.answer(not_sent());
    for second in 2..30 {
        world.go_to(f64::from(second));
        while !world.sent.is_empty() {
            world.answer(not_sent());
        }
    }
    let told = world.told();
    assert!(told.iter().all(|line| line.starts_with("occurrence.retrying")), "{told:?}");
}

#[test]
fn what_overlap_held_goes_after_a_restart_with_catch_up_none() {
    let account = account(100);
    for (reason, goes) in [("overlap", true), ("retry", true), ("quota", false), ("down", false)] {
        let mut world = World::new(&account);
        let entry = Entry { catch_up: CatchUp::None, ..entry("a", &account) };
        let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries: vec![Arc::new(entry)] };
        let reached = Reached::Waiting { attempts: 0, reason: reason.into() };
        let open = Open { reached, ..open_at("a", World::at(-30)) };
        let recovered = Recovered { open: vec![open], ..Recovered::default() };
        let effects = world.dispatch.recover(recovered, &schedule, world.now);
        world.take(effects);
        world.advance();
        assert_eq!(world.jobs_sent().len(), usize::from(goes), "it waited for {reason}");
    }
}
