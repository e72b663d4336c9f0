//! What the daemon makes of each class of answer, over real sockets.

use std::time::Duration;

use crate::common::{Daemon, Place, quota, sandbox, sandbox_with, schedule, settings, side_by_side};
use serde_json::{Value, json};
use stackcron::sandbox::{ArgsFrom, Endpoint, Sandbox};
use tokio::runtime::Handle;

const EVERY_SECOND: &str = "  nightly: { stack: s1, job: j1, cron: '* * * * * *', catch_up: all }\n";

/// The same, and each waits for the one before, however long.
const AT_ONCE: &str = "  nightly: { stack: s1, job: j1, cron: '* * * * * *', catch_up: all }\n";

/// The calls of run_now that the sandbox saw for one scheduled instant's job.
fn run_now(sandbox: &Sandbox) -> usize {
    sandbox.ledger().of(Endpoint::RunNow).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_the_returned_action_is_in_the_log() {
    let sandbox = sandbox(&[]).await;
    let jobs = "  nightly: { stack: s1, job: j1, cron: '* * * * * *', args: \"--full '2 days' & 100%\" }\n";
    let mut daemon = Place::firing_at(&sandbox, "", jobs).start();
    let line = daemon.event("action.started");
    let call = sandbox.ledger().of(Endpoint::RunNow).next().cloned().expect("a call");
    assert_eq!(call.args.as_deref(), Some("--full '2 days' & 100%"), "args arrive exactly as written");
    assert_eq!(call.args_from, Some(ArgsFrom::Query));
    assert_eq!(call.user.as_deref(), Some("demo@example.com"), "the bearer token is sent");
    for (key, expected) in [
        ("level", json!("info")),
        ("entry", json!("nightly")),
        ("account", json!("main")),
        ("stack", json!("s1")),
        ("job", json!("j1")),
        ("attempts", json!(1)),
        ("quota_limit", json!(100_000)),
        ("quota_remaining", json!(call.remaining)),
        ("action_id", json!(call.action)),
        ("action_user", json!("demo@example.com")),
        ("action_resource_type", json!("stack")),
        ("action_action", json!("job_run_now")),
        ("action_started_via", json!("api")),
        ("action_finished_at", Value::Null),
        ("action_finished_success", Value::Null),
        ("action_finished_message", Value::Null),
    ] {
        assert_eq!(line[key], expected, "{key} in {line}");
    }
    assert!(line["action_resource_id"].is_string() && line["action_started_at"].is_string(), "{line}");
    assert!(line["lateness_ms"].as_i64().is_some_and(|late| (0..30_000).contains(&late)), "{line}");
    assert!(!line["message"].to_string().contains("2 days"), "args are no part of a message: {line}");
    let finished = daemon.wait_for("action.finished", |finished| finished["action_id"] == line["action_id"]);
    assert_eq!(finished["action_finished_success"], true);
    assert_eq!(finished["scheduled_at"], line["scheduled_at"]);
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_too_long_for_a_query_travel_in_a_body_and_are_refused_beyond_it() {
    let sandbox = sandbox(&[]).await;
    let args = format!("--ids '{}'", "1234567 ".repeat(4000));
    let jobs = format!("  nightly: {{ stack: s1, job: j1, cron: '0 0 1 1 *', args: \"{args}\" }}\n");
    let refused = Place::firing_at(&sandbox, "", &jobs).run(&["check"]);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    assert!(refused.stdout.contains("4 KiB is the most"), "{refused:?}");

    let jobs = jobs + "  ready: { stack: s1, job: j2, cron: '* * * * * *', follow: false }\n";
    let place = Place::firing_at(&sandbox, "args_in: body", &jobs);
    let mut daemon = place.start();
    daemon.event("action.started");
    let fired = place.run(&["fire", "nightly"]);
    assert_eq!(fired.status.code(), Some(0), "{fired:?}");
    let with_args = || {
        sandbox.ledger().of(Endpoint::RunNow).filter(|call| call.args.is_some()).cloned().collect::<Vec<_>>()
    };
    let call = with_args().pop().expect("a call");
    assert_eq!((call.args, call.args_from), (Some(args), Some(ArgsFrom::Json)), "exactly as written");
    let more = place.run(&["fire", "nightly", "--args", &"x".repeat(70_000)]);
    assert_eq!(more.status.code(), Some(1), "{more:?}");
    assert!(more.stderr.contains("64 KiB is the most"), "{more:?}");
    assert_eq!(with_args().len(), 1, "what is too long is never sent");
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_that_fails_is_an_error() {
    let sandbox = sandbox(&[]).await;
    let jobs = "  nightly: { stack: s1, job: j-fails, cron: '* * * * * *' }\n";
    let mut daemon = Place::firing_at(&sandbox, "", jobs).start();
    let line = daemon.event("action.finished");
    assert_eq!(line["level"], "error", "{line}");
    assert_eq!(line["action_finished_success"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_action_is_taken_with_what_is_there() {
    let runtime = Handle::current();
    let cases = [
        ("bare", json!("demo@example.com")),
        ("retyped", json!("demo@example.com")),
        ("missing-fields", Value::Null),
        ("drip", json!("demo@example.com")),
        ("no-headers", json!("demo@example.com")),
        ("odd-headers", json!("demo@example.com")),
    ];
    side_by_side(&cases, |(fault, expected)| {
        let sandbox = runtime.block_on(sandbox(&[fault]));
        let mut daemon = Place::firing_at(&sandbox, "", EVERY_SECOND).start();
        let line = daemon.event("action.started");
        let action = sandbox.ledger().started().next().and_then(|call| call.action);
        assert_eq!(line["action_id"], json!(action), "with {fault}: {line}");
        assert_eq!(line["action_user"], *expected, "with {fault}: {line}");
        assert!(line["action_resource_id"].is_null() || line["action_resource_id"].is_string(), "{line}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_for_good_says_what_to_do() {
    let runtime = Handle::current();
    let cases = [
        ("status=401", 401, "token"),
        ("status=402", 402, "trial"),
        ("status=403", 403, "scopes"),
        ("status=404", 404, "uids"),
        ("status=422", 422, "args"),
        ("not-implemented", 503, "does not offer"),
        ("redirect:to=http://127.0.0.1:1/elsewhere", 307, "redirect"),
    ];
    side_by_side(&cases, |&(fault, status, hint)| {
        let sandbox = runtime.block_on(sandbox(&[fault]));
        let mut daemon = Place::firing_at(&sandbox, "", EVERY_SECOND).start();
        let line = daemon.event("occurrence.rejected");
        assert_eq!(line["level"], "error");
        assert_eq!(line["status"], status, "with {fault}: {line}");
        assert!(line["hint"].as_str().is_some_and(|text| text.contains(hint)), "with {fault}: {line}");
        assert!(daemon.stop().success());
        let told = daemon.events("occurrence.rejected").len();
        assert_eq!(run_now(&sandbox), told, "with {fault} each occurrence is sent once");
    });
}

/// A verdict takes two minutes where an attempt did not start.
const VERDICT: std::time::Duration = std::time::Duration::from_secs(180);

/// What the log has of one occurrence: its reconciliation, and its start.
fn reconciled(daemon: &mut Daemon) -> (Value, Value) {
    let doubtful = daemon.event("occurrence.in_doubt");
    assert_eq!(doubtful["level"], "warn");
    let same = |line: &Value| line["scheduled_at"] == doubtful["scheduled_at"];
    let verdict = daemon.wait_long_for(VERDICT, "occurrence.reconciled", same);
    assert_eq!(verdict["level"], "warn");
    (verdict, daemon.wait_for("action.started", same))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_whose_answer_was_lost_is_found_and_adopted() {
    let runtime = Handle::current();
    let cases = [
        "close-after:times=1",
        "reset-mid-body:times=1",
        "garbage:times=1",
        "huge:times=1",
        "endless:times=1",
        "header-flood:times=1",
        "html-502:effect=first,times=1",
        "status=500:effect=first,times=1",
        "slow=60s:times=1",
        "slow=4s:effect=last,times=1",
    ];
    side_by_side(&cases, |&fault| {
        let sandbox = runtime.block_on(sandbox(&[fault]));
        let mut daemon = Place::firing_at(&sandbox, "timeout: 700ms", EVERY_SECOND).start();
        let (verdict, started) = reconciled(&mut daemon);
        assert_eq!(verdict["verdict"], "started", "with {fault}: {verdict}");
        assert_eq!(verdict["action_id"], started["action_id"], "with {fault}");
        daemon.wait_for("action.finished", |line| line["action_id"] == started["action_id"]);
        assert!(daemon.stop().success());
        assert_eq!(daemon.events("occurrence.unknown").len(), 0, "with {fault}");
        let told = daemon.events("action.started").len();
        assert_eq!(run_now(&sandbox), told, "with {fault} each occurrence is sent once");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_started_nothing_is_sent_again_once_that_is_certain() {
    let runtime = Handle::current();
    let cases = ["status=500:times=1", "html-502:times=1", "close-before:times=1", "status=408:times=1"];
    side_by_side(&cases, |&fault| {
        let sandbox = runtime.block_on(sandbox(&[fault]));
        let mut daemon = Place::firing_at(&sandbox, "timeout: 700ms", AT_ONCE).start();
        let (verdict, started) = reconciled(&mut daemon);
        assert_eq!(verdict["verdict"], "not_started", "with {fault}: {verdict}");
        assert!(verdict["action_id"].is_null(), "with {fault}: {verdict}");
        assert_eq!(started["attempts"], 2, "with {fault}: {started}");
        assert!(daemon.stop().success());
        let told = daemon.events("action.started").len();
        assert_eq!(sandbox.actions().len(), told, "with {fault} each occurrence starts one action");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_does_not_come_is_asked_for_again() {
    let faults = ["close-after:times=1", "status=500:on=actions,times=2"];
    let sandbox = sandbox(&faults).await;
    let mut daemon = Place::firing_at(&sandbox, "timeout: 700ms", EVERY_SECOND).start();
    let (verdict, _) = reconciled(&mut daemon);
    assert_eq!(verdict["verdict"], "started", "{verdict}");
    assert!(daemon.stop().success());
    assert!(sandbox.ledger().of(Endpoint::Actions).count() >= 3, "it was asked for until it came");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_doubt_at_a_stop_is_found_out_at_the_next_start() {
    let sandbox = sandbox(&["close-after:times=1", "status=500:on=actions"]).await;
    let place = Place::firing_at(&sandbox, "timeout: 700ms", EVERY_SECOND);
    let mut daemon = place.start();
    let doubtful = daemon.event("occurrence.in_doubt");
    assert!(daemon.stop().success());
    assert_eq!(daemon.event("daemon.stopped")["in_flight"], 1, "it is told that something is left");
    assert_eq!(daemon.events("occurrence.unknown").len(), 0, "nobody has given it up");
    sandbox.set_faults(Vec::new());
    let mut daemon = place.start();
    let same = |line: &Value| line["scheduled_at"] == doubtful["scheduled_at"];
    let verdict = daemon.wait_for("occurrence.reconciled", same);
    assert_eq!(verdict["verdict"], "started", "{verdict}");
    let started = daemon.wait_for("action.started", same);
    let first = sandbox.ledger().started().next().and_then(|call| call.action);
    assert_eq!(started["action_id"], json!(first), "it is the action of the lost answer");
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_contradicts_what_is_left_is_tried_again_and_then_starts() {
    let runtime = Handle::current();
    let cases = ["throttled:times=1,retry-after=2", "429:times=1,retry-after=2"];
    side_by_side(&cases, |&fault| {
        let sandbox = runtime.block_on(sandbox(&[fault]));
        let mut daemon = Place::firing_at(&sandbox, "quota: { window: 3s }", EVERY_SECOND).start();
        let retrying = daemon.event("occurrence.retrying");
        assert!(matches!(retrying["status"].as_u64(), Some(429 | 503)), "with {fault}: {retrying}");
        daemon.event("action.started");
        assert!(daemon.stop().success());
        assert_eq!(daemon.events("quota.exhausted").len(), 0, "with {fault}: the API says that much is left");
        assert_eq!(
            daemon.events("occurrence.unknown").len(),
            0,
            "with {fault}: a throttled request has no effect"
        );
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_out_of_reach_is_tried_again_until_it_is_back() {
    // Bound, so that no other test is given it, but not open.
    let closed = tokio::net::TcpSocket::new_v4().expect("a socket");
    closed.set_reuseaddr(true).expect("a socket of whose port another may be");
    closed.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let port = closed.local_addr().expect("its address");
    let jobs = "  nightly: { stack: s1, job: j1, cron: '* * * * * *', catch_up: all }\n";
    let place = Place::with(&schedule(&format!("http://{port}/api/3"), "", jobs));
    let mut daemon = place.start();
    let line = daemon.wait_for("occurrence.retrying", |line| line["attempts"] == 2);
    assert_eq!(line["level"], "warn");
    assert!(line["retry_in_ms"].as_u64().is_some_and(|ms| ms >= 250), "{line}");
    let mut back = settings(&[]);
    back.listen = port;
    let sandbox = sandbox_with(back).await;
    let started =
        daemon.wait_for("action.started", |started| started["scheduled_at"] == line["scheduled_at"]);
    assert!(started["attempts"].as_u64().is_some_and(|attempts| attempts > 2), "{started}");
    assert!(daemon.stop().success());
    assert_eq!(sandbox.ledger().started().count(), daemon.events("action.started").len());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_certificates_that_fail_are_no_reason_to_give_up() {
    let sandbox = sandbox(&[]).await;
    let tls = format!("https://{}/api/3", sandbox.address());
    for url in ["http://no-such-host.invalid/api/3", tls.as_str()] {
        let place = Place::with(&schedule(url, "", EVERY_SECOND));
        let line = place.start().event("occurrence.retrying");
        assert_eq!(line["attempts"], 1, "{url}: {line}");
    }
    assert_eq!(sandbox.ledger().requests.len(), 0, "no request is sent without TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_quota_delays_and_loses_nothing() {
    let sandbox = sandbox_with(settings(&[]).quota(quota(5, Duration::from_secs(4)))).await;
    let account = "quota: { limit: 5, window: 4s, reserve: 0 }";
    let jobs = "  nightly: { stack: s1, job: j1, cron: '* * * * * *', catch_up: all, follow: false }\n  \
                other: { stack: s2, job: j1, cron: '* * * * * *', catch_up: all, follow: false }\n";
    let mut daemon = Place::firing_at(&sandbox, account, jobs).start();
    daemon.wait_for("occurrence.waiting", |line| line["reason"] == "quota");
    let waiting = daemon.events("occurrence.waiting")[0].clone();
    daemon.wait_for("action.started", |line| {
        (&line["entry"], &line["scheduled_at"]) == (&waiting["entry"], &waiting["scheduled_at"])
    });
    daemon.event("quota.exhausted");
    assert!(daemon.stop().success());
    assert!(
        sandbox.ledger().throttled().count() <= 1,
        "no request is refused that could have been held back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_of_the_api_is_logged() {
    let sandbox = sandbox(&["warning"]).await;
    let mut daemon = Place::firing_at(&sandbox, "", EVERY_SECOND).start();
    let line = daemon.event("api.warning");
    assert!(line["warning"].as_str().is_some_and(|text| !text.is_empty()), "{line}");
}
