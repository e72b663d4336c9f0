//! Entries that people fire, pause and resume.

use super::*;

fn paused_until(until: Option<Timestamp>) -> Pause {
    Pause { since: World::at(0), by: "ada".to_owned(), until, note: None }
}

#[test]
fn a_pause_ends_by_itself_and_what_was_due_before_its_end_is_skipped_however_late_it_is_looked_at() {
    let account = account(100);
    let mut world = World::new(&account);
    let entry = entry("a", &account);
    let effects = world.dispatch.pause(&entry.name, paused_until(Some(World::at(4))), world.now);
    world.take(effects);
    world.plan(&entry, &[3, 4]);
    let early = world.dispatch.end_pauses(world.now);
    assert_eq!(early, [], "its end is to come");
    world.go_to(4.5);
    assert_eq!(world.told(), ["occurrence.skipped a paused"], "what was due before the end");
    assert_eq!(world.jobs_sent().len(), 1, "what is due at the end goes");
    let ended = world.dispatch.end_pauses(world.now);
    assert!(ended.contains(&Effect::PauseEnds(entry.name.clone())), "{ended:?}");
    assert!(world.dispatch.paused().is_empty());
    // A process that starts after the end still skips what was due before it.
    let mut world = World::new(&account);
    let paused = vec![(entry.name.clone(), paused_until(Some(World::at(-2))))];
    let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries: vec![Arc::new(entry.clone())] };
    let effects = world.dispatch.recover(Recovered { paused, ..Recovered::default() }, &schedule, world.now);
    world.take(effects);
    world.plan(&entry, &[-3, -1]);
    world.advance();
    assert_eq!((world.told().len(), world.jobs_sent().len()), (1, 1), "one is skipped, one goes");
}

#[test]
fn a_person_fires_a_paused_entry_with_other_arguments() {
    let account = account(100);
    let mut world = World::new(&account);
    let mut entry = entry("a", &account);
    (entry.paused, entry.jitter) = (true, Duration::from_secs(600));
    entry.catch_up = CatchUp::None;
    world.dispatch.pause(&entry.name, paused_until(None), world.now);
    world.go_to(1.5);
    world.fire(&entry, "--now");
    assert_eq!(world.args_sent(), [Some("--now")], "at once, though it is paused and catches up on nothing");
    world.answer(not_sent());
    world.told();
    world.go_to(10.0);
    assert_eq!(world.args_sent(), [Some("--now")], "tried again with the same arguments");
    world.answer(started(7));
    assert_eq!(world.told(), ["action.started a"]);
}

#[test]
fn what_a_person_fires_and_what_is_scheduled_supersede_each_other_never() {
    let account = account(3);
    let mut world = World::new(&account);
    let entry = entry("a", &account);
    for name in ["x", "y", "z"] {
        world.plan(&self::entry(name, &account), &[1]);
    }
    world.go_to(1.0);
    while !world.sent.is_empty() {
        world.answer(started(1));
    }
    world.plan(&entry, &[2]);
    world.go_to(2.0);
    world.go_to(2.5);
    world.fire(&entry, "by hand");
    world.plan(&entry, &[3]);
    world.go_to(3.0);
    world.go_to(7.0);
    let missed: Vec<String> = world.told().into_iter().filter(|told| told.contains("missed")).collect();
    assert_eq!(missed, ["occurrence.missed a superseded"], "the older one of the schedule alone");
    assert_eq!(world.gauges().waiting[1].1, 2, "the newer one of the schedule and the person's wait");
    let waiting = world.dispatch.waiting(10, world.now);
    assert_eq!(waiting.iter().filter(|waiting| waiting.by_hand).count(), 1);
    assert!(
        waiting.iter().all(|waiting| matches!(waiting.waits, Waits::Quota { until: Some(_) })),
        "{waiting:?}"
    );
    assert_eq!(world.dispatch.waiting(1, world.now).len(), 1, "no more than is asked for");
}

#[test]
fn overlap_goes_for_what_a_person_fires() {
    let account = account(100);
    for (overlap, told) in
        [(Overlap::Skip, "occurrence.skipped a overlap"), (Overlap::Queue, "occurrence.waiting a overlap")]
    {
        let mut world = World::new(&account);
        let mut entry = entry("a", &account);
        entry.overlap = overlap;
        world.plan(&entry, &[1]);
        world.go_to(1.0);
        world.answer(started(7));
        world.told();
        world.fire(&entry, "");
        assert_eq!(world.told(), [told]);
        let held = usize::from(overlap == Overlap::Queue);
        assert_eq!(world.dispatch.standings().next().map(|(_, standing)| standing.held), Some(held));
        world.go_to(4.0);
        world.answer_follow_up(ended(7, true));
        assert_eq!(world.args_sent().len(), held, "what is held goes when the action has finished");
        assert_eq!(world.dispatch.standings().next().map(|(_, standing)| standing.held), Some(0));
    }
}

#[test]
fn a_pause_skips_what_waits_and_what_comes_back_unsent_and_a_resume_what_comes_next() {
    let account = account(100);
    let mut world = World::new(&account);
    let entry = entry("a", &account);
    world.plan(&entry, &[1, 2, 3, 9]);
    world.go_to(1.0);
    world.answer(not_sent());
    world.go_to(2.0);
    world.told();
    let effects = world.dispatch.pause(&entry.name, paused_until(None), world.now);
    world.take(effects);
    assert_eq!(world.told(), Vec::<String>::new(), "the first was superseded, the second is in flight");
    world.answer(not_sent());
    assert_eq!(world.told(), ["occurrence.skipped a paused"], "it is not tried again");
    world.go_to(3.0);
    assert_eq!(world.told(), ["occurrence.skipped a paused"]);
    world.dispatch.resume(&entry.name);
    world.go_to(9.0);
    assert_eq!(world.jobs_sent(), ["a"]);
}

#[test]
fn a_reload_keeps_the_arguments_that_a_person_gave() {
    let account = account(100);
    let mut world = World::new(&account);
    let entry = entry("a", &account);
    world.fire(&entry, "by hand");
    world.answer(not_sent());
    let changed =
        Entry { job: JobUid::new("other").expect("a uid"), args: Some("own".into()), ..entry.clone() };
    let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries: vec![Arc::new(changed)] };
    let effects = world.dispatch.replace(&schedule.accounts, &schedule.by_name(), world.now);
    world.take(effects);
    world.go_to(10.0);
    let [(_, Request::RunNow(sent))] = &world.sent[..] else { panic!("one is sent: {:?}", world.sent) };
    assert_eq!((sent.job.as_str(), sent.args.as_deref()), ("other", Some("by hand")));
}

#[test]
fn after_a_crash_what_a_person_fired_goes_with_its_own_arguments_though_the_entry_is_paused() {
    let account = account(100);
    let mut world = World::new(&account);
    let entry = Arc::new(entry("a", &account));
    let mut left = open("a", -5, Reached::Waiting { attempts: 0, reason: "quota".into() });
    left.claim.origin = Origin::Person { args: Some("by hand".to_owned()) };
    let scheduled = open("a", -4, Reached::Waiting { attempts: 0, reason: "quota".into() });
    let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries: vec![Arc::clone(&entry)] };
    let recovered = Recovered {
        paused: vec![(entry.name.clone(), paused_until(None))],
        ..recovered(vec![left, scheduled])
    };
    let effects = world.dispatch.recover(recovered, &schedule, world.now);
    world.take(effects);
    world.advance();
    assert_eq!(world.args_sent(), [Some("by hand")]);
    assert_eq!(world.told(), ["occurrence.skipped a paused"]);
}

#[test]
fn a_template_is_filled_for_what_is_planned_and_what_a_former_process_left() {
    let account = account(100);
    let mut world = World::new(&account);
    let template = Template::parse("{unix}").expect("a template");
    let entry = Entry { args_template: Some(Arc::new(template)), ..entry("a", &account) };
    let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries: vec![Arc::new(entry.clone())] };
    let left = open("a", -60, Reached::Waiting { attempts: 0, reason: "overlap".into() });
    let effects = world.dispatch.recover(recovered(vec![left]), &schedule, world.now);
    world.take(effects);
    world.advance();
    let unix = |second| World::at(second).as_second().to_string();
    assert_eq!(world.args_sent(), [Some(&*unix(-60))]);
    world.plan(&entry, &[60]);
    let effects = world.dispatch.replace(&schedule.accounts, &schedule.by_name(), world.now);
    world.take(effects);
    world.answer(started(1));
    world.go_to(60.0);
    assert_eq!(world.args_sent(), [Some(&*unix(60))], "after a reload too");
}

#[test]
fn what_a_person_fires_of_an_entry_that_is_gone_is_skipped() {
    let account = account(100);
    let mut world = World::new(&account);
    let effects = world.dispatch.fire(open("gone", 0, Reached::Due).claim, None, Haste::Usual, world.now);
    world.take(effects);
    assert_eq!(world.told(), ["occurrence.skipped gone removed"]);
    assert!(matches!(world.recorded.last(), Some((_, Transition::Skipped { .. }))), "and the journal knows");
}
