//! The look-alike API over real sockets.

use stackcron::sandbox::{DEFAULT_TOKEN, Job, Sandbox, Settings, Stack};
use stackcron::schedule::{JobUid, StackUid};

fn uid_stack(uid: &str) -> Stack {
    Stack::new(StackUid::new(uid).expect("a uid"))
}

fn uid_job(uid: &str) -> Job {
    Job::new(JobUid::new(uid).expect("a uid"))
}

#[tokio::test]
async fn ten_thousand_runs_are_answered_and_remembered() {
    let mut settings = Settings::default().stack(uid_stack("S1").job(uid_job("J1")));
    settings.users[0].quota.limit = 20_000;
    let sandbox = Sandbox::start(settings).await.expect("listens");
    let client = reqwest::Client::new();
    let start = std::time::Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let client = client.clone();
        let url = format!("{}/stacks/S1/jobs/J1/run_now.json", sandbox.url());
        tasks.spawn(async move {
            for _ in 0..100 {
                let answer = client.post(&url).bearer_auth(DEFAULT_TOKEN).send().await.expect("an answer");
                assert_eq!(answer.status(), 200);
                assert!(answer.headers().contains_key("x-ratelimit-remaining"));
                answer.text().await.expect("a body");
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no panic");
    }
    eprintln!("{:?}", start.elapsed());
    let ledger = sandbox.ledger();
    assert_eq!(ledger.started().count(), 10_000);
    assert_eq!(ledger.requests.last().and_then(|last| last.remaining), Some(10_000));
    sandbox.stop().await;
}
