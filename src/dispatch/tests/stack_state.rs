//! `stack_state`: what is looked at when, and what becomes of what is due on it.

use super::*;

fn entry_with(stack_state: StackState, name: &str, account: &Arc<Account>) -> Entry {
    Entry { stack_state, ..entry(name, account) }
}

fn seen(obstacle: Option<Obstacle>) -> Looked {
    Looked::Seen(obstacle)
}

fn refused() -> Looked {
    Looked::Unanswered { error: "502: a proxy".to_owned() }
}

/// Answers every look in flight: the stack with this, each job with nothing.
fn answer_all(world: &mut World, stack: Option<Obstacle>) {
    loop {
        let Some(look) = world.looks().first().map(ToString::to_string) else {
            return;
        };
        match look.as_str() {
            "stack" => world.answer_look(None, seen(stack)),
            job => world.answer_look(Some(job), seen(None)),
        }
    }
}

/// Answers every look at a stack as it is then, up to an instant, and returns when the stack was
/// looked at.
fn live(world: &mut World, until: u32, obstacle: impl Fn(f64) -> Option<Obstacle>) -> Vec<f64> {
    let mut looked_at = Vec::new();
    let mut at = world.now.wall.duration_since(World::at(0)).as_secs_f64();
    while at < f64::from(until) {
        at += 0.5;
        world.go_to(at);
        looked_at.extend(world.looks().iter().filter(|look| **look == "stack").map(|_| at));
        answer_all(world, obstacle(at));
        while !world.jobs_sent().is_empty() {
            world.answer(started((at * 10.0) as u64 + world.used as u64 * 100_000));
        }
    }
    looked_at
}

#[test]
fn a_stack_is_looked_at_ahead_so_that_a_send_waits_for_nothing() {
    let account = account(1000);
    let mut world = World::new(&account);
    world.plan(&entry_with(StackState::Hold, "a", &account), &[10]);
    world.plan(&entry_with(StackState::Skip, "b", &account), &[10]);
    world.plan(&entry("c", &account), &[10]);
    world.plan(&Entry { paused: true, ..entry_with(StackState::Hold, "d", &account) }, &[10]);
    world.go_to(7.999);
    assert!(world.looks().is_empty());
    world.go_to(8.0);
    assert_eq!(world.looks(), ["stack", "a", "b"], "the stack once, and the jobs of those that ask");
    answer_all(&mut world, None);
    world.go_to(10.0);
    assert_eq!(world.jobs_sent(), ["a", "b", "c"]);
    assert!(world.looks().is_empty(), "what is known is not asked again");
    assert_eq!(world.gauges().sent.checks, 3);
}

#[test]
fn one_look_serves_all_that_is_due_within_fifteen_seconds() {
    let account = account(100_000);
    let mut world = World::new(&account);
    let seconds: Vec<i64> = (10..100).collect();
    let entry = Entry { catch_up: CatchUp::All, ..entry_with(StackState::Hold, "a", &account) };
    world.plan(&entry, &seconds);
    let looked_at = live(&mut world, 120, |_| None);
    assert_eq!(world.told().len(), seconds.len(), "all are sent");
    assert_eq!(looked_at.first(), Some(&8.0));
    assert!(looked_at.windows(2).all(|pair| pair[1] - pair[0] >= 15.0), "{looked_at:?}");
    assert_eq!(looked_at.len(), 6, "{looked_at:?}");
}

#[test]
fn what_is_held_while_a_stack_deploys_is_sent_after_it() {
    let account = account(1000);
    let mut world = World::new(&account);
    for catch_up in [CatchUp::None, CatchUp::Latest, CatchUp::All] {
        let entry = Entry {
            catch_up,
            ..entry_with(StackState::Hold, &format!("{catch_up:?}").to_lowercase(), &account)
        };
        world.plan(&entry, &[10, 20, 30]);
    }
    let looked_at = live(&mut world, 60, |at| (7.0..40.0).contains(&at).then_some(Obstacle::Deploying));
    assert_eq!(looked_at, [8.0, 23.5, 39.0, 54.5], "again every 15 s");
    let told = world.told();
    let count = |what: &str| told.iter().filter(|line| line.starts_with(what)).count();
    assert_eq!(count("action.started"), 9, "{told:?}");
    assert_eq!(count("occurrence.waiting"), 9, "{told:?}");
    assert!(told.contains(&"occurrence.waiting latest deploying".to_owned()), "{told:?}");
}

#[test]
fn skip_gives_up_and_ignore_asks_nothing() {
    let account = account(1000);
    let mut world = World::new(&account);
    world.plan(&entry_with(StackState::Skip, "skips", &account), &[10, 20]);
    world.plan(&entry("ignores", &account), &[10, 20]);
    let looked_at = live(&mut world, 30, |_| Some(Obstacle::Maintenance));
    assert_eq!(looked_at, [8.0], "it serves what is due at 20 as well");
    let skipped = "occurrence.skipped skips maintenance";
    let sent = "action.started ignores";
    assert_eq!(world.told(), [skipped, sent, skipped, sent]);
}

#[test]
fn a_job_that_is_paused_in_cloud_66_is_held_and_other_jobs_of_its_stack_are_not() {
    let account = account(1000);
    let mut world = World::new(&account);
    world.plan(&entry_with(StackState::Hold, "a", &account), &[10]);
    world.plan(&entry_with(StackState::Hold, "b", &account), &[10]);
    world.go_to(8.0);
    world.answer_look(Some("a"), seen(Some(Obstacle::PausedRemotely)));
    answer_all(&mut world, None);
    world.go_to(10.0);
    assert_eq!(world.jobs_sent(), ["b"]);
    world.answer(started(1));
    assert_eq!(world.told(), ["occurrence.waiting a paused_remotely", "action.started b"]);
    world.go_to(23.5);
    assert_eq!(world.looks(), ["a"], "the job alone is looked at again");
    world.answer_look(Some("a"), seen(Some(Obstacle::PausedRemotely)));
    world.go_to(39.0);
    world.answer_look(Some("a"), seen(None));
    assert!(world.jobs_sent().is_empty(), "its stack may have begun to deploy since");
    assert_eq!(world.looks(), ["stack"]);
    answer_all(&mut world, None);
    assert_eq!(world.jobs_sent(), ["a"]);
}

#[test]
fn what_is_held_past_its_deadline_is_missed_for_what_held_it() {
    let account = account(1000);
    let mut world = World::new(&account);
    let entry =
        Entry { start_deadline: Duration::from_secs(40), ..entry_with(StackState::Hold, "a", &account) };
    world.plan(&entry, &[10]);
    live(&mut world, 60, |_| Some(Obstacle::Maintenance));
    assert_eq!(world.told(), ["occurrence.waiting a maintenance", "occurrence.missed a maintenance"]);
    assert!(world.dispatch.occurrences.has_nothing());
    assert!(world.looks().is_empty(), "nothing is looked at for nobody");
    live(&mut world, 120, |_| Some(Obstacle::Maintenance));
}

#[test]
fn what_cannot_be_looked_at_is_sent_and_each_outage_is_told_once() {
    let account = account(1000);
    let mut world = World::new(&account);
    let hold = entry_with(StackState::Hold, "a", &account);
    world.plan(&hold, &[10, 40, 70, 100]);
    for (due, answer) in [(10.0, refused()), (40.0, refused()), (70.0, seen(None)), (100.0, refused())] {
        world.go_to(due - 2.0);
        world.answer_look(None, answer);
        answer_all(&mut world, None);
        world.go_to(due);
        assert_eq!(world.jobs_sent(), ["a"], "at {due}");
        world.answer(started(due as u64));
    }
    let told = world.told();
    let unasked: Vec<usize> = (0..told.len()).filter(|&n| told[n] == "stack.unasked").collect();
    assert_eq!(told.len(), 6, "{told:?}");
    assert_eq!(unasked, [0, 4], "before what is due at 10 and at 100: {told:?}");
}

#[test]
fn an_answer_that_does_not_come_is_waited_for_while_it_is_on_time() {
    let account = account(1000);
    let mut world = World::new(&account);
    world.plan(&entry_with(StackState::Skip, "a", &account), &[10]);
    world.go_to(10.0);
    assert_eq!(world.looks(), ["stack", "a"]);
    world.go_to(12.999);
    // The loop came late, at 10.0: from there on the answer has five seconds.
    assert!(world.jobs_sent().is_empty());
    let mut late = World::new(&account);
    late.plan(&entry_with(StackState::Skip, "a", &account), &[10]);
    late.go_to(8.0);
    late.go_to(10.0);
    late.go_to(12.999);
    assert!(late.jobs_sent().is_empty());
    assert_eq!(late.dispatch.wakes_at(late.now), Some(late.now.mono + Duration::from_millis(1)));
    late.go_to(13.0);
    assert_eq!(late.jobs_sent(), ["a"]);
    assert_eq!(late.told(), ["stack.unasked"], "once for the stack and its job");
    late.answer_look(None, seen(Some(Obstacle::Deploying)));
    assert_eq!(late.jobs_sent(), ["a"], "it is too late");
}

#[test]
fn the_last_of_the_quota_is_for_the_job() {
    let account = account(1000);
    let mut world = World::new(&account);
    world.used = 999;
    world.limit = 1000;
    world.plan(&entry("first", &account), &[1]);
    world.go_to(1.0);
    // Its answer tells that one request is left.
    world.used = 999;
    world.answer(started(1));
    world.told();
    world.plan(&entry_with(StackState::Hold, "a", &account), &[10]);
    world.go_to(8.0);
    world.go_to(10.0);
    assert!(world.looks().is_empty(), "{:?}", world.sent);
    assert_eq!(world.jobs_sent(), ["a"]);
    assert_eq!(world.told(), ["stack.unasked"]);
}

#[test]
fn an_obstacle_that_was_seen_is_believed_for_two_minutes_without_an_answer() {
    let account = account(1000);
    let mut world = World::new(&account);
    world.plan(&entry_with(StackState::Hold, "a", &account), &[10]);
    world.go_to(8.0);
    answer_all(&mut world, Some(Obstacle::Deploying));
    world.go_to(10.0);
    let mut sent_at = None;
    for second in 11..200 {
        world.go_to(f64::from(second));
        while world.looks().contains(&"stack") {
            world.answer_look(None, refused());
        }
        answer_all(&mut world, None);
        if sent_at.is_none() && !world.jobs_sent().is_empty() {
            sent_at = Some(second);
        }
    }
    assert_eq!(sent_at, Some(136), "with the first failure after 128");
    assert_eq!(world.told(), ["occurrence.waiting a deploying", "stack.unasked"]);
}

#[test]
fn a_person_s_fire_looks_as_well_unless_it_is_to_go_now() {
    let account = account(1000);
    let mut world = World::new(&account);
    let hold = entry_with(StackState::Hold, "a", &account);
    world.go_to(1.0001);
    world.fire(&hold, "waits");
    assert_eq!((world.looks(), world.args_sent()), (vec!["stack", "a"], vec![]));
    answer_all(&mut world, Some(Obstacle::Deploying));
    assert_eq!(world.told(), ["occurrence.waiting a deploying"]);
    world.go_to(2.0001);
    world.fire_in(Haste::Now, &hold, "now");
    assert_eq!(world.args_sent(), [Some("now")]);
    live(&mut world, 40, |_| None);
    assert_eq!(world.told(), ["action.started a", "action.started a"]);
}

#[test]
fn a_reload_finds_out_anew_what_holds() {
    let account = account(1000);
    let with = |stack_state| Schedule {
        accounts: vec![Arc::clone(&account)],
        entries: vec![Arc::new(entry_with(stack_state, "a", &account))],
    };
    let mut world = World::new(&account);
    world.plan(&entry_with(StackState::Hold, "a", &account), &[60, 120]);
    world.go_to(58.0);
    answer_all(&mut world, Some(Obstacle::Deploying));
    world.go_to(60.0);
    world.told();
    world.replace(&with(StackState::Hold));
    world.advance();
    assert!(world.told().is_empty() && world.jobs_sent().is_empty(), "it goes on as it was");
    world.replace(&with(StackState::Ignore));
    world.advance();
    assert_eq!(world.jobs_sent(), ["a"]);
    world.answer(started(1));
    world.go_to(118.0);
    assert!(world.looks().is_empty(), "nobody asks any more");
    world.go_to(120.0);
    assert_eq!(world.jobs_sent(), ["a"]);
}

#[test]
fn an_account_that_is_renamed_while_a_stack_deploys_looks_by_its_new_name() {
    let old = account(1000);
    let new = Arc::new(Account { name: AccountName::new("renamed").expect("a name"), ..(*old).clone() });
    let mut world = World::new(&old);
    world.plan(&entry_with(StackState::Hold, "a", &old), &[60]);
    world.go_to(58.0);
    answer_all(&mut world, Some(Obstacle::Deploying));
    world.go_to(60.0);
    world.replace(&Schedule {
        accounts: vec![Arc::clone(&new)],
        entries: vec![Arc::new(entry_with(StackState::Hold, "a", &new))],
    });
    live(&mut world, 100, |_| None);
    assert_eq!(world.told(), ["occurrence.waiting a deploying", "action.started a"]);
}

#[test]
fn what_is_held_when_a_process_ends_is_held_by_the_next_one() {
    let account = account(1000);
    let entry = Arc::new(entry_with(StackState::Hold, "a", &account));
    let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries: vec![entry] };
    let mut world = World::new(&account);
    let held = |at| {
        let reason = "deploying".into();
        open("a", at, Reached::Waiting { attempts: 0, reason })
    };
    world.go_to(100.0);
    let effects = world.dispatch.recover(recovered(vec![held(10), held(20)]), &schedule, world.now);
    world.take(effects);
    world.advance();
    answer_all(&mut world, Some(Obstacle::Deploying));
    live(&mut world, 160, |at| (at < 120.0).then_some(Obstacle::Deploying));
    assert_eq!(world.told(), ["action.started a", "action.started a"], "no newer one supersedes the older");
}

#[test]
fn a_person_s_pause_skips_what_is_held() {
    let account = account(1000);
    let mut world = World::new(&account);
    let hold = entry_with(StackState::Hold, "a", &account);
    world.plan(&hold, &[10]);
    world.go_to(8.0);
    answer_all(&mut world, Some(Obstacle::Deploying));
    world.go_to(10.0);
    assert_eq!(world.dispatch.waiting(5, world.now)[0].waits, Waits::Stack(Some(Obstacle::Deploying)));
    let pause = Pause { since: World::at(10), by: "ada".to_owned(), until: None, note: None };
    let effects = world.dispatch.pause(&hold.name, pause, world.now);
    world.take(effects);
    assert_eq!(world.told(), ["occurrence.waiting a deploying", "occurrence.skipped a paused"]);
}
