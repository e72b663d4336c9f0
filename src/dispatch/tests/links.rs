//! Tests of what follows the end of an occurrence: repetitions, and the entries that come after.

use super::*;
use crate::journal::{Retry, Successor};
use crate::schedule::{After, Backoff, End, RetryPolicy};

const MINUTE: Duration = Duration::from_secs(60);

fn retrying(name: &str, account: &Arc<Account>, times: u32) -> Entry {
    let after = Backoff { first: MINUTE, factor: 1.0, most: None };
    Entry { follow: true, retry: Some(RetryPolicy { times, after }.into()), ..entry(name, account) }
}

fn follower(name: &str, of: &Entry, on: End) -> Entry {
    let after = After { entry: of.name.clone(), on };
    Entry { cron: [].into(), after: Some(after), follow: true, ..entry(name, &of.account) }
}

fn schedule(entries: &[&Entry]) -> Schedule {
    let account = Arc::clone(&entries[0].account);
    let entries = entries.iter().map(|&entry| Arc::new(entry.clone())).collect();
    Schedule { accounts: vec![account], entries }
}

fn world(entries: &[&Entry]) -> World {
    let mut world = World::new(&entries[0].account);
    world.dispatch.relink(Links::from(&schedule(entries)));
    world
}

/// The action of the oldest run_now starts and ends.
fn run_through(world: &mut World, id: ActionId, success: bool) {
    world.answer(started(id));
    let second = world.now.wall.duration_since(World::at(0)).as_secs_f64();
    world.go_to(second + 5.0);
    world.answer_follow_up(ended(id, success));
}

fn claimed(world: &mut World) -> Vec<(String, Claim, Option<Transition>)> {
    let next = std::mem::take(&mut world.ended).into_iter().flat_map(|handover| handover.next);
    next.map(|Successor { claim, given_up }| (claim.key.entry().to_string(), claim, given_up)).collect()
}

#[test]
fn what_ended_without_success_runs_again_a_while_after_its_end_and_so_often_at_most() {
    let a = retrying("a", &account(100), 2);
    let mut world = world(&[&a]);
    world.plan(&a, &[1]);
    world.go_to(1.0);
    run_through(&mut world, 1, false);
    for number in 1..=2 {
        let [(_, claim, None)] = &claimed(&mut world)[..] else { panic!("one is claimed with the end") };
        let Origin::Retry(Retry { of, number: told, .. }) = &claim.origin else { panic!("{claim:?}") };
        assert_eq!((*of, *told), (World::at(1), number), "linked to the first run");
        let wait = claim.due_at.duration_since(world.now.wall);
        assert_eq!(wait.as_secs(), 60, "from the end on");
        assert_ne!(claim.key.scheduled_at().subsec_nanosecond(), 0, "no expression names its instant");
        let second = world.now.wall.duration_since(World::at(0)).as_secs_f64();
        world.go_to(second + 59.0);
        assert!(world.jobs_sent().is_empty(), "not yet");
        world.go_to(second + 61.0);
        assert_eq!(world.jobs_sent(), ["a"]);
        run_through(&mut world, 1 + u64::from(number), false);
    }
    assert!(claimed(&mut world).is_empty(), "twice at most");
    world.go_to(1000.0);
    assert!(world.jobs_sent().is_empty() && world.dispatch.is_idle());
}

#[test]
fn what_ended_with_success_or_is_unknown_does_not_run_again() {
    let a = retrying("a", &account(100), 2);
    let mut world = world(&[&a]);
    world.plan(&a, &[1, 600]);
    world.go_to(1.0);
    run_through(&mut world, 1, true);
    assert!(claimed(&mut world).is_empty());
    world.go_to(600.0);
    world.answer(in_doubt());
    world.reconcile(5000.0, &[]);
    assert!(claimed(&mut world).is_empty(), "{:?}", world.told());
}

#[test]
fn a_newer_occurrence_ends_the_repetitions() {
    let a = retrying("a", &account(100), 2);
    let mut world = world(&[&a]);
    world.plan(&a, &[1, 30]);
    world.go_to(1.0);
    run_through(&mut world, 1, false);
    assert_eq!(claimed(&mut world).len(), 1);
    world.told();
    world.go_to(30.0);
    assert!(world.told().contains(&"occurrence.missed a superseded".to_owned()));
    world.answer(started(2));
    world.go_to(200.0);
    assert!(world.jobs_sent().is_empty(), "the older run is not repeated");
}

#[test]
fn a_run_that_fails_after_a_newer_one_was_sent_is_not_repeated() {
    let a = retrying("a", &account(100), 2);
    let mut world = world(&[&a]);
    world.plan(&a, &[1, 2]);
    world.go_to(1.0);
    world.answer(started(1));
    world.go_to(2.0);
    world.answer(started(2));
    world.go_to(20.0);
    while let Some((_, request)) = world.sent.first().cloned() {
        match request {
            Request::Action(_, _, id) => world.answer_follow_up(ended(id, id != 1)),
            Request::Actions { .. } => {
                let over = |id, success| Action { finished_success: Some(success), ..run(id, 1, "we") };
                world.answer_list(page(&[over(2, true), over(1, false)]));
            }
            _ => panic!("nothing is sent again"),
        }
    }
    assert!(claimed(&mut world).is_empty());
}

#[test]
fn what_a_former_process_claimed_with_an_end_goes_on() {
    let a = retrying("a", &account(100), 2);
    let b = follower("b", &a, End::Success);
    let mut world = world(&[&a, &b]);
    let retry = |number| Origin::Retry(Retry { of: World::at(-500), number, args: Some("by hand".into()) });
    let mut again = open("a", -20, Reached::Due);
    again.claim.origin = retry(1);
    let mut after = open("b", -400, Reached::Due);
    after.claim.origin = Origin::Upstream;
    (after.claim.due_at, after.claim.deadline) = (World::at(-20), World::at(600));
    let effects = world.dispatch.recover(recovered(vec![after, again]), &schedule(&[&a, &b]), world.now);
    world.take(effects);
    world.advance();
    let mut sent = world.jobs_sent();
    sent.sort_unstable();
    assert_eq!(sent, ["a", "b"], "neither is in doubt: what is linked is written as being sent first");
    assert!(world.args_sent().contains(&Some("by hand")));
}

#[test]
fn what_comes_after_an_entry_is_due_at_its_end_with_its_instant() {
    let a = retrying("a", &account(100), 1);
    let (b, c) = (follower("b", &a, End::Success), follower("c", &a, End::Failure));
    let d = follower("d", &b, End::End);
    let mut world = world(&[&a, &b, &c, &d]);
    world.plan(&a, &[1]);
    world.go_to(1.0);
    run_through(&mut world, 1, false);
    let names: Vec<String> = claimed(&mut world).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["a"], "only the last run counts for what comes after");
    world.go_to(100.0);
    run_through(&mut world, 2, true);
    let next = claimed(&mut world);
    let told: Vec<_> =
        next.iter().map(|(name, claim, end)| (&**name, claim.key.scheduled_at(), end)).collect();
    let skipped = Some(Transition::Skipped { reason: "upstream".into() });
    assert_eq!(told, [("c", World::at(1), &skipped), ("b", World::at(1), &None)]);
    assert!(world.told().contains(&"occurrence.skipped c upstream".to_owned()));
    world.go_to(106.0);
    assert_eq!(world.jobs_sent(), ["b"]);
    run_through(&mut world, 3, false);
    world.go_to(120.0);
    assert_eq!(world.jobs_sent(), ["d"], "whatever became of b");
}

#[test]
fn an_upstream_that_is_given_up_skips_the_whole_chain_with_it() {
    let a = Entry { paused: true, ..retrying("a", &account(100), 1) };
    let b = follower("b", &a, End::End);
    let c = follower("c", &b, End::Failure);
    let mut world = world(&[&a, &b, &c]);
    world.plan(&a, &[1]);
    world.go_to(1.0);
    assert_eq!(
        world.told(),
        ["occurrence.skipped a paused", "occurrence.skipped b upstream", "occurrence.skipped c upstream"]
    );
    let names: Vec<String> = claimed(&mut world).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["b", "c"], "in one write");
}
