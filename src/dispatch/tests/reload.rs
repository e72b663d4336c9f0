//! The changes that a reload makes to claimed and waiting occurrences: at once, and in the journal
//! before a request leaves.

use super::*;

/// An entry of every second.
fn entry(name: &str, account: &Arc<Account>) -> Entry {
    let cron = [Expression::parse("* * * * * *").expect("an expression")].into();
    Entry { cron, ..world::entry(name, account) }
}

fn schedule(entry: Entry) -> Schedule {
    Schedule { accounts: vec![Arc::clone(&entry.account)], entries: vec![Arc::new(entry)] }
}

#[test]
fn what_a_reload_makes_due_sooner_is_in_the_journal_before_it_is_sent() {
    let account = account(100);
    let mut world = World::new(&account);
    let later = Entry { jitter: Duration::from_secs(60), ..entry("a", &account) };
    let (due_at, _) = later.times(World::at(1));
    assert!(due_at > World::at(2), "the test needs a delay");
    world.plan(&later, &[1]);
    world.replace(&schedule(entry("a", &account)));
    let [claim] = &world.amended[..] else { panic!("one claim is amended: {:?}", world.amended) };
    assert_eq!((claim.due_at, claim.deadline), (World::at(1), World::at(3601)));
    world.now.wall = World::at(1);
    world.now.mono += Duration::from_secs(1);
    let effects = world.dispatch.advance(world.now);
    let [Effect::SendAfter(written, ..)] = &effects[..] else {
        panic!("it leaves once the journal has it as being sent: {effects:?}");
    };
    assert_eq!(written.0, claim.key);
}

#[test]
fn another_job_is_in_the_journal_before_it_is_sent() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1]);
    let another = JobUid::new("another").expect("a uid");
    world.replace(&schedule(Entry { job: another.clone(), ..entry("a", &account) }));
    let jobs: Vec<_> = world.amended.iter().map(|claim| &claim.job).collect();
    assert_eq!(jobs, [&another]);
}

#[test]
fn a_reload_that_changes_nothing_of_a_claim_amends_nothing() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1]);
    world.replace(&schedule(Entry { priority: Priority::High, ..entry("a", &account) }));
    assert_eq!(world.amended, []);
}

#[test]
fn a_schedule_that_changed_while_no_daemon_ran_is_in_the_journal_before_it_is_sent() {
    let account = account(100);
    let mut world = World::new(&account);
    let another = JobUid::new("another").expect("a uid");
    let changed = schedule(Entry { job: another.clone(), ..entry("a", &account) });
    let recovered = Recovered {
        open: vec![Open { reached: Reached::Due, ..open_at("a", World::at(3)) }],
        ..Recovered::default()
    };
    let effects = world.dispatch.recover(recovered, &changed, world.now);
    world.take(effects);
    let jobs: Vec<_> = world.amended.iter().map(|claim| &claim.job).collect();
    assert_eq!(jobs, [&another]);
}

#[test]
fn a_reload_that_pauses_an_entry_holds_back_what_waits_of_it() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&entry("a", &account), &[1, 5]);
    world.go_to(1.0);
    world.answer(not_sent());
    world.told();
    world.replace(&schedule(Entry { paused: true, ..entry("a", &account) }));
    assert_eq!(world.told(), ["occurrence.skipped a paused"], "the one that is tried again");
    world.go_to(60.0);
    assert_eq!(world.told(), ["occurrence.skipped a paused"], "the one that was planned ahead");
    assert!(world.sent.is_empty());
}

#[test]
fn a_longer_deadline_counts_for_what_waits() {
    let account = account(100);
    let mut world = World::new(&account);
    let short = Entry { start_deadline: Duration::from_secs(10), ..entry("a", &account) };
    world.plan(&short, &[1]);
    world.go_to(1.0);
    world.answer(not_sent());
    world.replace(&schedule(Entry { start_deadline: Duration::from_secs(3600), ..entry("a", &account) }));
    world.told();
    for second in 2..60 {
        world.go_to(f64::from(second));
        while !world.sent.is_empty() {
            world.answer(not_sent());
        }
    }
    let told = world.told();
    assert!(told.iter().all(|line| line.starts_with("occurrence.retrying")), "{told:?}");
    world.replace(&schedule(short));
    world.go_to(60.1);
    assert!(world.told().contains(&"occurrence.missed a deadline".to_owned()), "a shorter one counts too");
}

/// The account under another name, or with another token.
fn another(account: &Account, name: &str, token: &str) -> Arc<Account> {
    let name = AccountName::new(name).expect("a name");
    Arc::new(Account { name, token: TokenSource::Env(token.to_owned()), ..account.clone() })
}

/// The schedule of one entry by an account.
fn of_account(account: &Arc<Account>) -> Schedule {
    schedule(entry("a", account))
}

/// Answers the oldest run_now in flight with a refusal that asks for a wait of a day.
fn refused_for_a_day(world: &mut World) {
    let place = world.sent.iter().position(|(_, request)| matches!(request, Request::RunNow(_)));
    let (id, _) = world.sent.remove(place.expect("a run_now is in flight"));
    let refused = Throttle { retry_after: Some(Duration::from_secs(86_000)), words: ThrottleWords::OfTheApi };
    let quota = Some(QuotaAnswer { limit: None, remaining: Some(0), refused: Some(refused), date: None });
    let outcome = Outcome::Throttled { status: 429, words: ThrottleWords::OfTheApi };
    let reply = Reply { quota, warning: None, left: None, outcome };
    let effects = world.dispatch.fired(id, world.now.wall, reply, world.now);
    world.take(effects);
    world.advance();
}

#[test]
fn a_question_under_a_former_name_counts_against_the_quota_under_the_new_name() {
    let account = account(3);
    let mut world = World::new(&account);
    world.plan(&world::entry("first", &account), &[1]);
    world.go_to(1.0);
    world.answer(in_doubt());
    let renamed = another(&account, "renamed", "TOKEN");
    world.replace(&of_account(&renamed));
    world.go_to(2.5);
    assert!(world.asks(), "the attempt in doubt is asked about under the former name");
    world.plan(&world::entry("b", &renamed), &[3]);
    world.plan(&world::entry("c", &renamed), &[3]);
    world.go_to(3.0);
    assert_eq!(world.jobs_sent().len(), 1, "of three requests the attempt and the question took two");
}

#[test]
fn an_answer_under_a_former_name_tells_of_the_quota_under_the_new_name() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&world::entry("first", &account), &[1]);
    world.go_to(1.0);
    let renamed = another(&account, "renamed", "TOKEN");
    world.replace(&of_account(&renamed));
    refused_for_a_day(&mut world);
    world.sent.clear();
    world.plan(&world::entry("b", &renamed), &[3]);
    world.go_to(3.0);
    assert_eq!(world.jobs_sent(), [""; 0], "the API has asked this token to wait");
}

#[test]
fn an_answer_to_the_former_token_changes_nothing_of_the_new_token_s_quota() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&world::entry("first", &account), &[1]);
    world.go_to(1.0);
    let renewed = another(&account, "main", "ANOTHER");
    world.replace(&of_account(&renewed));
    refused_for_a_day(&mut world);
    world.sent.clear();
    world.plan(&world::entry("b", &renewed), &[3]);
    world.go_to(3.0);
    assert_eq!(world.jobs_sent(), ["b"], "the API has asked the new token for no wait");
}

#[test]
fn a_token_that_comes_back_is_known_to_be_spent() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&world::entry("first", &account), &[1]);
    world.go_to(1.0);
    world.replace(&of_account(&another(&account, "main", "ANOTHER")));
    refused_for_a_day(&mut world);
    world.sent.clear();
    world.replace(&of_account(&account));
    world.plan(&world::entry("b", &account), &[3]);
    world.go_to(3.0);
    assert_eq!(world.jobs_sent(), [""; 0], "the API has asked this token to wait");
}

#[test]
fn an_account_that_is_renamed_while_no_daemon_runs_finds_its_quota() {
    let account = account(100);
    let mut world = World::new(&account);
    world.plan(&world::entry("first", &account), &[1]);
    world.go_to(1.0);
    refused_for_a_day(&mut world);
    let renamed = another(&account, "renamed", "TOKEN");
    let quotas = world.dispatch.quotas().collect();
    let mut next = World::new(&renamed);
    next.now = world.now;
    next.dispatch = Dispatch::new(std::slice::from_ref(&renamed), 1, next.now);
    let recovered = Recovered { quotas, stopped_at: Some(next.now.wall), ..Recovered::default() };
    let effects = next.dispatch.recover(recovered, &of_account(&renamed), next.now);
    next.take(effects);
    next.plan(&world::entry("b", &renamed), &[3]);
    next.go_to(3.0);
    assert_eq!(next.jobs_sent(), [""; 0], "the API has asked this token to wait");
}

#[test]
fn a_reload_loses_and_doubles_nothing_at_any_instant() {
    let account = account(10_000);
    for step in 0..1000 {
        let mut world = World::new(&account);
        let kept = entry("a", &account);
        world.plan(&kept, &[1, 2, 3]);
        let mut sent = 0;
        let mut answer = |world: &mut World| {
            while !world.sent.is_empty() {
                world.answer(started(1));
                sent += 1;
            }
        };
        let reload_at = f64::from(step) * 0.004;
        for tenth in 0..=40 {
            let to = f64::from(tenth) / 10.0;
            if to > reload_at && to - 0.1 <= reload_at {
                world.go_to(reload_at);
                let schedule =
                    Schedule { accounts: vec![Arc::clone(&account)], entries: vec![Arc::new(kept.clone())] };
                let from = world.replace(&schedule);
                let again: Vec<i64> = (1..=3).filter(|&second| World::at(second) > from).collect();
                world.plan(&kept, &again);
            }
            world.go_to(to);
            answer(&mut world);
        }
        assert_eq!(sent, 3, "with a reload at {reload_at} s: {:?}", world.told());
    }
}

#[test]
fn a_reload_skips_what_waits_of_a_removed_entry_and_changes_what_waits_of_a_changed_one() {
    let account = account(100);
    let mut world = World::new(&account);
    for name in ["gone", "changed", "in-flight"] {
        world.plan(&entry(name, &account), &[1]);
    }
    world.go_to(1.0);
    world.answer(not_sent());
    world.answer(not_sent());
    world.told();
    let mut changed = entry("changed", &account);
    changed.job = JobUid::new("another").expect("a uid");
    let schedule = Schedule { accounts: vec![Arc::clone(&account)], entries: vec![Arc::new(changed)] };
    world.replace(&schedule);
    assert_eq!(world.told(), ["occurrence.skipped gone removed"]);
    world.answer(not_sent());
    assert_eq!(world.told(), ["occurrence.skipped in-flight removed"], "its attempt came back unsent");
    world.go_to(10.0);
    let [(_, Request::RunNow(entry))] = &world.sent[..] else {
        panic!("one run_now is sent: {:?}", world.sent);
    };
    assert_eq!(entry.job.as_str(), "another", "it goes on under the new definition");
}
