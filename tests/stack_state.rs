//! `stack_state` through the program: deployments that come and go at the sandbox, and what is sent
//! meanwhile.

use std::time::Duration;

use crate::common::{Daemon, PATIENCE, Place, quota, sandbox, sandbox_with, settings, until};
use serde_json::Value;
use stackcron::sandbox::{Endpoint, Ledger, Occupation, Sandbox};

/// Which runs of a job the server started, by the second of the minute in which the request came.
fn started<'a>(ledger: &'a Ledger, args: &'a str) -> impl Iterator<Item = jiff::Timestamp> + 'a {
    ledger.started().filter(move |call| call.args.as_deref() == Some(args)).map(|call| call.at)
}

/// At most one look at a stack in 15 s, from the first to the last, as the server counted them.
fn looks_are_rare(ledger: &Ledger) {
    let looks: Vec<jiff::Timestamp> = ledger.of(Endpoint::Stack).map(|call| call.at).collect();
    let (Some(first), Some(last)) = (looks.first(), looks.last()) else { panic!("nobody looked") };
    let most = last.duration_since(*first).as_secs() / 15 + 1;
    assert!(i64::try_from(looks.len()).expect("few") <= most, "at most {most} looks: {looks:?}");
}

fn ready(place: &Place, daemon: &mut Daemon) {
    daemon.event("daemon.started");
    until("a daemon that fires", || {
        let ended = place.run(&["--format", "json", "status"]);
        let ready = serde_json::from_str::<Value>(&ended.stdout).is_ok_and(|status| status["ready"] == true);
        if ready { Ok(()) } else { Err(format!("{ended:?}")) }
    });
}

async fn wait_for(sandbox: &Sandbox, condition: impl FnMut(&Ledger) -> bool) -> Ledger {
    let waited = tokio::time::timeout(PATIENCE, sandbox.wait_for(condition)).await;
    waited.unwrap_or_else(|_| panic!("not as wished in time: {:#?}", sandbox.ledger().requests.last()))
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_deployment_of_twenty_seconds_hold_waits_skip_skips_and_ignore_sends() {
    let sandbox = sandbox(&[]).await;
    let jobs = "  holds: { stack: s1, job: j1, args: holds, cron: '*/5 * * * * *', stack_state: hold, catch_up: none }
  skips: { stack: s1, job: j1, args: skips, cron: '*/5 * * * * *', stack_state: skip }
  ignores: { stack: s1, job: j1, args: ignores, cron: '*/5 * * * * *' }
";
    let place = Place::firing_at(&sandbox, "", jobs);
    sandbox.occupy("s1", Occupation::Deployment, Duration::from_secs(20)).expect("the stack is there");
    let ends = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(20);
    let mut daemon = place.start();
    // After the end of the deployment, everything that was held, and one that was not.
    let ledger = wait_for(&sandbox, |ledger| started(ledger, "holds").count() >= 4).await;
    assert!(
        started(&ledger, "holds").all(|at| at >= ends),
        "nothing that holds is sent before {ends}: {ledger:?}"
    );
    let while_it_lasts = started(&ledger, "ignores").filter(|at| *at < ends).count();
    assert!(while_it_lasts >= 2, "{while_it_lasts} were sent during the deployment");
    assert!(daemon.stop().success());
    looks_are_rare(&sandbox.ledger());

    let of = |event: &str, entry: &str| {
        let lines = daemon.events(event).into_iter().filter(|line| line["entry"] == entry);
        lines.cloned().collect::<Vec<Value>>()
    };
    let held = of("occurrence.waiting", "holds");
    assert!(held.len() >= 3, "{held:?}");
    assert!(held.iter().all(|line| line["reason"] == "deploying"), "{held:?}");
    for line in &held {
        let sent =
            of("action.started", "holds").iter().any(|sent| sent["scheduled_at"] == line["scheduled_at"]);
        assert!(sent, "what was held is sent: {line}\n{}", daemon.raw);
    }
    let skipped = of("occurrence.skipped", "skips");
    assert!(skipped.len() >= 3 && skipped.iter().all(|line| line["reason"] == "deploying"), "{skipped:?}");
    assert!(of("occurrence.waiting", "ignores").is_empty());
    assert!(daemon.events("stack.unasked").is_empty(), "{}", daemon.raw);
    let told = place.run(&["why", "skips", "--at", skipped[0]["scheduled_at"].as_str().expect("an instant")]);
    assert!(told.stdout.contains("its stack was being deployed (stack_state: skip)"), "{}", told.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_over_by_the_deadline_is_missed_for_it() {
    let sandbox = sandbox(&[]).await;
    let jobs = "  a: { stack: s1, job: j1, cron: '* * * * * *', stack_state: hold, start_deadline: 3s }\n";
    sandbox.occupy("s1", Occupation::Maintenance, Duration::from_secs(600)).expect("the stack is there");
    let mut daemon = Place::firing_at(&sandbox, "", jobs).start();
    let missed = daemon.event("occurrence.missed");
    assert_eq!(missed["reason"], "maintenance", "{missed}");
    assert!(daemon.stop().success());
    assert_eq!(sandbox.ledger().started().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_cannot_be_looked_at_is_fired_at_and_told_of_once() {
    let sandbox = sandbox(&["status=500:on=stack"]).await;
    let jobs = "  a: { stack: s1, job: j1, cron: '*/2 * * * * *', stack_state: hold }\n";
    let mut daemon = Place::firing_at(&sandbox, "", jobs).start();
    // More than one look lasts.
    let ledger = wait_for(&sandbox, |ledger| ledger.of(Endpoint::Stack).count() >= 2).await;
    assert!(ledger.started().count() >= 3, "{ledger:?}");
    assert!(daemon.stop().success());
    let told = daemon.events("stack.unasked");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["stack"], &told[0]["level"]), (&"s1".into(), &"warn".into()));
    assert!(told[0]["error"].as_str().is_some_and(|error| error.starts_with("500")), "{told:?}");
    looks_are_rare(&sandbox.ledger());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_s_fire_says_what_it_waits_for_and_goes_at_once_with_now() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(
        &sandbox,
        "",
        "  nightly: { stack: s1, job: j1, cron: '@yearly', stack_state: hold }\n  \
           weekly: { stack: s1, job: j2, cron: '@yearly', stack_state: skip }\n",
    );
    let mut daemon = place.start();
    ready(&place, &mut daemon);
    sandbox.occupy("s1", Occupation::Deployment, Duration::from_secs(600)).expect("the stack is there");
    let waits = place.run(&["fire", "nightly", "--wait", "2s"]);
    assert_eq!(waits.status.code(), Some(1), "{waits:?}");
    assert!(waits.stdout.contains("waits for the deployment of its stack to end"), "{waits:?}");
    let status = place.run(&["status"]);
    assert!(status.stdout.contains("for the end of a deployment"), "{}", status.stdout);
    let skipped = place.run(&["fire", "weekly"]);
    assert_eq!(skipped.status.code(), Some(1), "{skipped:?}");
    assert!(skipped.stderr.contains("--now"), "{skipped:?}");
    assert_eq!(sandbox.ledger().started().count(), 0);
    let now = place.run(&["fire", "nightly", "--now"]);
    assert_eq!(now.status.code(), Some(0), "{now:?}");
    assert_eq!(sandbox.ledger().started().count(), 1);
    sandbox.occupy("s1", Occupation::Deployment, Duration::ZERO).expect("the stack is there");
    wait_for(&sandbox, |ledger| ledger.started().count() == 2).await;
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn looks_cost_what_the_forecast_says() {
    const WINDOW: Duration = Duration::from_secs(20);
    let sandbox = sandbox_with(settings(&[]).quota(quota(100, WINDOW))).await;
    let jobs = "  a: { stack: s1, job: j1, cron: '*/10 * * * * *', stack_state: hold, follow: false }\n";
    let place = Place::firing_at(&sandbox, "quota: { limit: 100, window: 20s }", jobs);
    let forecast = place.run(&[
        "--format",
        "json",
        "forecast",
        "--from",
        "2026-03-01T00:00:00Z",
        "--until",
        "2026-03-01T00:10:00Z",
    ]);
    let windows: Vec<Value> =
        forecast.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let foretold: u64 = windows.iter().filter_map(|window| window["looks"].as_u64()).sum();
    // In each window two are due, which one look at the stack and one at the job serve.
    assert_eq!(foretold, 60, "{}", forecast.stdout);
    let mut daemon = place.start();
    let ledger = wait_for(&sandbox, |ledger| ledger.started().count() >= 5).await;
    let count = |endpoint| ledger.of(endpoint).count();
    // Between the first occurrence and the fifth: two windows, and the look ahead of the first or
    // of what follows.
    for endpoint in [Endpoint::Stack, Endpoint::Job] {
        assert!((2..=4).contains(&count(endpoint)), "{endpoint:?}: {}", count(endpoint));
    }
    assert!(daemon.stop().success());
}

#[test]
fn a_rehearsal_supposes_deployments() {
    let jobs = "  holds: { stack: s1, job: j1, cron: '0,31 * * * *', stack_state: hold }
  skips: { stack: s1, job: j2, cron: '0,31 * * * *', stack_state: skip }
";
    let place = Place::with(&crate::common::schedule("http://127.0.0.1:1", "", jobs));
    let ended = place.run(&[
        "rehearse",
        "--from",
        "2026-03-01T00:00:00Z",
        "--until",
        "2026-03-01T01:00:00Z",
        "--deploy",
        "s1=2m/1h",
    ]);
    assert!(ended.status.success(), "{ended:?}");
    insta::assert_snapshot!(ended.stdout);
}
