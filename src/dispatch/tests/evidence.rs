//! Somebody else uses our token for the stack: what a job's own record tells then.

use super::*;
use crate::cloud66::JobStatus;

fn record(status: JobStatus, second: i64) -> JobRecord {
    JobRecord { status: Some(status), updated_at: Some(World::at(second)) }
}

fn ended_run(id: ActionId, second: i64) -> Action {
    Action { finished_at: Some(World::at(second + 2).to_string()), ..run(id, second, "we") }
}

/// An entry whose job ran at second 1 (action 1, for two seconds), and whose attempt of second 100
/// is in doubt.
fn in_doubt_after_a_run(record: Option<JobRecord>) -> World {
    let account = account(100);
    let mut world = World::new(&account);
    let mut followed = entry("a", &account);
    followed.follow = true;
    world.records.extend(record.map(|record| ("a".to_owned(), record)));
    world.known_jobs.insert(1, followed.job.clone());
    world.plan(&followed, &[1, 100]);
    world.go_to(1.0);
    world.answer(Outcome::Started(Box::new(run(1, 1, "we"))));
    world.go_to(3.0);
    world.answer_follow_up(FollowUp::Action(Box::new(ended_run(1, 1))));
    world.go_to(100.0);
    world.answer(in_doubt());
    world.told();
    world
}

#[test]
fn an_action_of_somebody_else_in_the_same_second_is_not_taken_for_ours() {
    let mut world = in_doubt_after_a_run(Some(record(JobStatus::Success, 1)));
    world.reconcile(230.0, &[run(8, 100, "we"), ended_run(1, 1)]);
    let told = world.told();
    assert_eq!(
        told,
        ["occurrence.reconciled a unknown", "occurrence.unknown a"],
        "the list says that it ran, and the record that it did not"
    );
}

#[test]
fn where_the_user_is_shared_the_record_tells_that_the_job_did_not_run() {
    let mut world = in_doubt_after_a_run(Some(record(JobStatus::Success, 1)));
    world.reconcile(230.0, &[run(8, 100, "we"), run(7, 20, "we"), ended_run(1, 1)]);
    assert_eq!(world.told(), ["occurrence.reconciled a not_started"]);
    assert_eq!(world.jobs_sent(), ["a"], "it is sent again");
}

#[test]
fn where_the_user_is_shared_and_the_record_does_not_move_with_runs_nothing_can_tell() {
    for status in
        [record(JobStatus::Success, -900), record(JobStatus::Updated, 1), record(JobStatus::Success, 50)]
    {
        let mut world = in_doubt_after_a_run(Some(status));
        world.reconcile(230.0, &[run(8, 100, "we"), run(7, 20, "we"), ended_run(1, 1)]);
        assert_eq!(world.told(), ["occurrence.reconciled a unknown", "occurrence.unknown a"], "{status:?}");
        assert!(world.sent.is_empty());
    }
}

#[test]
fn without_a_record_the_list_alone_decides() {
    let mut world = in_doubt_after_a_run(None);
    world.reconcile(110.0, &[run(8, 100, "we"), ended_run(1, 1)]);
    assert_eq!(world.told(), ["occurrence.reconciled a started 8", "action.started a"]);
    assert_eq!(world.records_asked, 1, "only once there is a verdict");
}

#[test]
fn where_the_user_is_shared_a_record_that_is_known_to_move_tells_that_the_job_ran() {
    let mut world = in_doubt_after_a_run(Some(record(JobStatus::Success, 1)));
    let others = [run(7, 20, "we")];
    world.reconcile(230.0, &[run(8, 100, "we"), others[0].clone(), ended_run(1, 1)]);
    // It is sent again, and its run ends: the record is seen to move with it.
    world.records.insert("a".to_owned(), record(JobStatus::Success, 230));
    world.answer(Outcome::Started(Box::new(run(9, 230, "we"))));
    world.known_jobs.insert(9, JobUid::new("a").expect("a uid"));
    world.go_to(240.0);
    world.answer_follow_up(FollowUp::Action(Box::new(ended_run(9, 230))));
    world.told();
    let followed = Entry { follow: true, ..entry("a", &account(100)) };
    world.plan(&followed, &[400]);
    world.go_to(400.0);
    world.records.insert("a".to_owned(), record(JobStatus::Started, 400));
    world.answer(in_doubt());
    let list =
        [run(11, 401, "we"), run(10, 395, "we"), ended_run(9, 230), others[0].clone(), ended_run(1, 1)];
    world.reconcile(530.0, &list);
    let told = world.told();
    let expected = "occurrence.reconciled a started 11".to_owned();
    assert!(told.contains(&expected), "not the one of 395: {told:?}");
}

#[test]
fn another_token_s_user_is_not_taken_for_shared_because_the_former_one_was() {
    for (renewed, told) in
        [(false, "occurrence.reconciled a unknown"), (true, "occurrence.reconciled a started 12")]
    {
        let mut world = in_doubt_after_a_run(None);
        world.reconcile(230.0, &[run(8, 100, "we"), run(7, 20, "we"), ended_run(1, 1)]);
        assert_eq!(world.told(), ["occurrence.reconciled a unknown", "occurrence.unknown a"]);
        let token = TokenSource::Env("ANOTHER".to_owned());
        let account = Arc::new(match renewed {
            true => Account { token, ..(*account(100)).clone() },
            false => (*account(100)).clone(),
        });
        let entry = entry("a", &account);
        world.replace(&Schedule {
            accounts: vec![Arc::clone(&account)],
            entries: vec![Arc::new(entry.clone())],
        });
        world.plan(&entry, &[1000]);
        world.go_to(1000.0);
        world.answer(in_doubt());
        world.reconcile(1130.0, &[run(12, 1000, "they")]);
        let heard = world.told();
        assert!(heard.iter().any(|line| line == told), "{renewed}: {heard:?}");
    }
}
