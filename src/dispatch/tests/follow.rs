//! Actions that are asked for until they have finished.

use super::*;

/// A page of the list of a stack's runs, which were started a second apart: 30 on a page, the
/// newest first or last.
fn listed(ids: &[ActionId], number: u32, newest_first: bool, finished: bool) -> ActionsListed {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    if newest_first {
        ids.reverse();
    }
    let pages: Vec<&[ActionId]> = ids.chunks(30).collect();
    let count = u32::try_from(pages.len()).expect("few");
    let action = |&id: &ActionId| Action {
        finished_success: finished.then_some(true),
        ..run(id, i64::try_from(id).expect("small"), "we")
    };
    ActionsListed::Page(ActionsPage {
        actions: pages[number as usize - 1].iter().map(action).collect(),
        next: (number < count).then_some(number + 1),
        pages: Some(count),
        date: None,
    })
}

#[test]
fn many_open_actions_of_a_stack_are_asked_for_together() {
    for (open, newest_first, most) in [(20, true, 1), (20, false, 1), (70, true, 15), (70, false, 45)] {
        let account = account(100_000);
        let mut world = World::new(&account);
        for number in 0..open {
            let mut entry = entry(&format!("e{number}"), &account);
            entry.follow = true;
            world.plan(&entry, &[1]);
        }
        world.go_to(1.0);
        for id in 0..open {
            world.answer(started(id + 1));
        }
        let ids: Vec<ActionId> = (1..=open).collect();
        world.go_to(10.0);
        let mut asked = 0;
        while let Some((_, request)) = world.sent.first().cloned() {
            asked += 1;
            match request {
                Request::Actions { page, .. } => world.answer_list(listed(&ids, page, newest_first, true)),
                Request::Action(_, _, id) => world.answer_follow_up(ended(id, true)),
                Request::RunNow(_) | Request::JobRecord(..) | Request::Look { .. } => {
                    panic!("all have started, and none is in doubt")
                }
            }
        }
        let finished = world.told().iter().filter(|line| line.starts_with("action.finished")).count();
        assert_eq!(
            finished,
            usize::try_from(open).expect("few"),
            "each is found, the newest first: {newest_first}"
        );
        assert!(asked <= most, "{asked} requests for {open} actions, the newest first: {newest_first}");
        assert!(world.dispatch.is_idle(), "nothing is left over");
    }
}

#[test]
fn a_list_that_fails_or_lacks_an_action_leaves_each_to_be_asked_for_alone() {
    let account = account(1000);
    let mut world = World::new(&account);
    for name in ["a", "b"] {
        let mut entry = entry(name, &account);
        entry.follow = true;
        world.plan(&entry, &[1]);
    }
    world.go_to(1.0);
    world.answer(started(1));
    world.answer(started(2));
    world.go_to(4.0);
    world.answer_list(unlisted());
    world.go_to(10.0);
    world.answer_follow_up(FollowUp::Action(Box::default()));
    world.answer_follow_up(FollowUp::Action(Box::default()));
    world.go_to(30.0);
    world.answer_list(listed(&[1], 1, true, true));
    assert_eq!(world.told()[2..], ["action.finished a"]);
    world.answer_follow_up(ended(2, true));
    assert_eq!(world.told(), ["action.finished b"]);
    assert!(world.dispatch.is_idle(), "nothing is left over");
}

#[test]
fn an_action_is_asked_for_until_it_has_finished() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    entry.follow = true;
    world.plan(&entry, &[1]);
    world.go_to(1.0);
    world.answer(started(7));
    for (second, reply) in
        [(10.0, FollowUp::Action(Box::default())), (60.0, FollowUp::Unanswered), (200.0, ended(7, false))]
    {
        world.go_to(second);
        world.answer_follow_up(reply);
    }
    assert_eq!(world.told(), ["action.started a", "action.finished a"]);
    world.go_to(3000.0);
    assert!(world.sent.is_empty(), "it is not asked for any more");
}

#[test]
fn many_open_actions_share_the_room_for_questions() {
    let account = account(100);
    let mut world = World::new(&account);
    for number in 0..10 {
        let mut entry = entry(&format!("e{number}"), &account);
        entry.follow = true;
        entry.stack = StackUid::new(&format!("s{number}")).expect("a uid");
        world.plan(&entry, &[1]);
    }
    world.go_to(1.0);
    for number in 0..10 {
        world.answer(started(number));
    }
    let mut asked = 0;
    for second in 2..3600 {
        world.go_to(f64::from(second));
        while !world.sent.is_empty() {
            world.answer_follow_up(FollowUp::Unanswered);
            asked += 1;
        }
    }
    assert!(
        (20..=32).contains(&asked),
        "ten open actions ask some thirty times in an hour of a hundred: {asked}"
    );
}

#[test]
fn an_action_that_never_finishes_is_given_up_after_a_day() {
    let account = account(1_000_000);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    entry.follow = true;
    world.plan(&entry, &[1]);
    world.go_to(1.0);
    world.answer(started(7));
    let mut asked = 0;
    for minute in 1..=1442 {
        world.go_to(f64::from(minute) * 60.0);
        while !world.sent.is_empty() {
            world.answer_follow_up(FollowUp::Unanswered);
            asked += 1;
        }
    }
    assert_eq!(world.told(), ["action.started a", "action.unfinished a"]);
    assert!(asked > 1000, "it was asked for through the day: {asked}");
}
