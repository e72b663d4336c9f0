//! Occurrences that people have made up for.

use super::*;

/// The claim of an occurrence that was scheduled a day before it was asked for.
fn made_up(entry: &Entry, world: &World) -> Claim {
    let scheduled_at = world.now.wall - SignedDuration::from_hours(24);
    let claim = open_at(entry.name.as_str(), world.now.wall).claim;
    Claim {
        key: Key::new(entry.name.clone(), scheduled_at).in_pass(1),
        deadline: as_sent(&Arc::new(entry.clone()), &Origin::Backfill, scheduled_at).deadline(world.now.wall),
        origin: Origin::Backfill,
        ..claim
    }
}

#[test]
fn what_is_made_up_for_outlasts_its_entry_s_deadline_and_goes_after_what_is_due() {
    let account = account(1);
    let mut world = World::new(&account);
    let mut short = entry("short", &account);
    short.start_deadline = Duration::from_secs(10);
    short.priority = Priority::High;
    world.plan(&entry("other", &account), &[1, 30]);
    world.go_to(1.0);
    world.answer(started(1));
    let claim = made_up(&short, &world);
    let effects = world.dispatch.fire(claim, Some(&Arc::new(short)), Haste::Usual, world.now);
    world.take(effects);
    world.advance();
    let mut order = Vec::new();
    for minute in 1..400 {
        world.go_to(f64::from(minute) * 60.0);
        if let [name] = &world.jobs_sent()[..] {
            order.push((*name).to_owned());
            world.answer(started(1 + order.len() as u64));
            world.used = 0;
        }
    }
    assert_eq!(order, ["other", "short"], "what is due goes first, and an hour is not too long");
    assert!(!world.told().iter().any(|line| line.starts_with("occurrence.missed")));
}

#[test]
fn what_an_older_copy_of_the_journal_has_as_made_up_for_and_due_is_in_doubt() {
    let account = account(100);
    let entries = ["early", "late"].map(|name| Arc::new(entry(name, &account)));
    let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries: entries.to_vec() };
    let left = |name: &str, second: i64| {
        let open = open(name, second, Reached::Due);
        Open { claim: Claim { origin: Origin::Backfill, ..open.claim.clone() }, ..open }
    };
    let mut world = World::new(&account);
    // The copy is of a minute ago: what was due by then may have left.
    let former = Recovered {
        older_until: Some(World::at(-5)),
        sent_up_to: Some(World::at(-5)),
        ..recovered(vec![left("early", -60), left("late", -1)])
    };
    let effects = world.dispatch.recover(former, &schedule, world.now);
    world.take(effects);
    world.advance();
    assert_eq!(world.told(), ["occurrence.in_doubt early"]);
    assert_eq!(world.jobs_sent(), ["late"]);
}

#[test]
fn a_pause_and_a_running_action_stand_against_it() {
    let account = account(100);
    let mut world = World::new(&account);
    let a = Entry { overlap: Overlap::Skip, ..entry("a", &account) };
    let at = World::at(-100);
    assert_eq!(world.dispatch.hinders_backfill(&a, at, world.now), None);
    world.plan(&a, &[1]);
    world.go_to(1.0);
    assert_eq!(world.dispatch.hinders_backfill(&a, at, world.now), Some(Hindrance::Busy));
    let allows = Entry { overlap: Overlap::Allow, ..a.clone() };
    assert_eq!(world.dispatch.hinders_backfill(&allows, at, world.now), None);
    world.answer(started(1));
    let pause = Pause { since: World::at(0), by: "ada".to_owned(), until: None, note: None };
    let effects = world.dispatch.pause(&a.name, pause.clone(), world.now);
    world.take(effects);
    let hindrance = world.dispatch.hinders_backfill(&a, at, world.now);
    assert_eq!(hindrance, Some(Hindrance::Paused(Some(pause))));
}
