//! What each fault makes of an answer, and which requests it strikes.

use std::time::Duration;

use stackcron::sandbox::{SandboxAnswer, SandboxDelivery, SandboxReply};

use super::*;

/// One run_now under a fault: the answer, and how many actions it started.
fn run(fault: &str) -> (SandboxReply, usize) {
    let mut state = state(&settings(&[fault]));
    let reply = post(&mut state, RUN, noon());
    assert_eq!(state.ledger().requests[0].faults, [fault], "the ledger names the fault");
    (reply, state.started())
}

#[test]
fn refusals_come_with_their_documented_body_and_start_nothing() {
    for (fault, status, error) in [
        ("status=400", 400, "bad_request"),
        ("status=401", 401, "unauthenticated"),
        ("status=402", 402, "trial_expired"),
        ("status=403", 403, "forbidden"),
        ("status=404", 404, "not_found"),
        ("status=408", 408, "time_out"),
        ("status=409", 409, "conflict"),
        ("status=422", 422, "unprocessable_entity"),
        ("status=500", 500, "internal_server_error"),
        ("status=504", 504, "gateway_timeout"),
        ("not-implemented", 503, "not_implemented"),
        ("throttled", 503, "throttled"),
        ("429", 429, "too_many_requests"),
    ] {
        let (reply, started) = run(fault);
        assert_eq!((reply.status, started), (status, 0), "{fault}");
        let body: serde_json::Value = serde_json::from_str(text(&reply)).expect("JSON");
        assert_eq!(body["error"], error, "{fault}");
        assert!(body["error_description"].is_string() && body["details"].is_string(), "{fault}: {body}");
        assert_eq!(reply.header("X-RateLimit-Remaining"), Some("3599"), "{fault} counts");
    }
}

#[test]
fn a_failure_can_have_taken_effect() {
    for (fault, status) in [("status=504:effect=first", 504), ("html-502:effect=first", 502)] {
        let (reply, started) = run(fault);
        assert_eq!((reply.status, started), (status, 1), "{fault}");
    }
}

#[test]
fn a_proxys_page_knows_nothing_of_the_quota() {
    let (reply, started) = run("html-502");
    assert_eq!((reply.status, started), (502, 0));
    assert_eq!(reply.header("Content-Type"), Some("text/html"));
    assert_eq!(reply.header("X-RateLimit-Remaining"), None);
    assert!(text(&reply).starts_with("<html>"), "{}", text(&reply));
    let mut state = state(&settings(&["html-502:times=1"]));
    post(&mut state, RUN, noon());
    assert_eq!(
        post(&mut state, RUN, noon()).header("X-RateLimit-Remaining"),
        Some("3599"),
        "it did not count"
    );
}

#[test]
fn retry_after_is_told_as_it_is_given() {
    for fault in ["429", "throttled"] {
        assert_eq!(run(fault).0.header("Retry-After"), None);
        for value in ["30", "Wed, 21 Oct 2026 07:28:00 GMT", "soon"] {
            let (reply, _) = run(&format!("{fault}:retry-after={value}"));
            assert_eq!(reply.header("Retry-After"), Some(value));
        }
    }
}

#[test]
fn a_redirect_names_the_other_place() {
    let (reply, started) = run("redirect:to=http://127.0.0.1:9/elsewhere");
    assert_eq!((reply.status, started), (307, 0));
    assert_eq!(reply.header("Location"), Some("http://127.0.0.1:9/elsewhere"));
}

#[test]
fn odd_actions_are_odd_in_the_ways_that_were_seen() {
    let plain = run("warning").0;
    let inner = text(&plain).strip_prefix(r#"{"response":"#).and_then(|rest| rest.strip_suffix('}'));
    assert_eq!(text(&run("bare").0), inner.expect("a wrapped action"));
    assert_eq!(text(&run("missing-fields").0), r#"{"response":{"id":2593}}"#);
    let retyped = r#"{"response":{"id":"2593","user":"demo@example.com","resource_type":"stack","action":"job_run_now","resource_id":1602,"started_via":"api","started_at":"2016-02-04T12:52:24Z","finished_at":null,"finished_success":null,"finished_message":null,"finished_result":null,"metadata":{"source":"sandbox"}}}"#;
    assert_eq!(text(&run("retyped").0), retyped);
    let garbage = run("garbage").0;
    assert_eq!(garbage.status, 200);
    assert!(std::str::from_utf8(&garbage.body).is_err(), "it is no text");
    let huge = run("huge").0;
    assert!(huge.body.len() > 1 << 20, "{} bytes", huge.body.len());
    assert!(serde_json::from_slice::<serde_json::Value>(&huge.body).is_ok(), "it is JSON");
}

#[test]
fn a_finished_action_and_a_job_are_retyped_too() {
    let mut state = state(&settings(&["retyped:on=any"]));
    post(&mut state, RUN, noon());
    let action = get(&mut state, "/api/3/stacks/S1/actions/2593", at("2016-02-04T13:00:00Z"));
    assert!(text(&action).contains(r#""finished_success":"true""#), "{}", text(&action));
    assert!(text(&action).contains(r#""finished_result":"success""#), "{}", text(&action));
    let jobs = get(&mut state, "/api/3/stacks/S1/jobs", at("2016-02-04T13:00:00Z"));
    assert!(text(&jobs).contains(r#""status":"2""#), "{}", text(&jobs));
    assert!(text(&jobs).contains(r#""current":1"#), "pages keep their numbers: {}", text(&jobs));
}

#[test]
fn quota_headers_can_be_absent_or_odd() {
    let absent = run("no-headers").0;
    assert!(absent.headers.iter().all(|(key, _)| !key.to_lowercase().starts_with("x-ratelimit")));
    let odd = run("odd-headers").0;
    assert!(
        odd.headers.contains(&("x-rAtElImIt-lImIt".to_owned(), "3600 requests".to_owned())),
        "{:?}",
        odd.headers
    );
    let warning = run("warning").0;
    assert!(warning.header("X-Cloud66-Warning").is_some());
    assert!(run("header-flood").0.headers.len() > 2_000);
}

#[test]
fn what_the_wire_is_to_do_is_part_of_the_answer() {
    for (fault, delivery, started) in [
        ("close-before", SandboxDelivery::Nothing, 0),
        ("close-after", SandboxDelivery::Nothing, 1),
        ("reset-mid-body", SandboxDelivery::Half, 1),
        ("endless", SandboxDelivery::Endless, 1),
        ("drip=5ms", SandboxDelivery::Dripped(Duration::from_millis(5)), 1),
    ] {
        let (reply, actions) = run(fault);
        assert_eq!((reply.delivery, actions), (delivery, started), "{fault}");
    }
    let mut state = state(&settings(&["close-after"]));
    post(&mut state, RUN, noon());
    assert_eq!(state.ledger().requests[0].status, None, "nothing was answered");
    assert_eq!(state.ledger().requests[0].action, Some(2593), "an action was started");
}

#[test]
fn a_slow_answer_tells_of_an_early_or_a_late_effect() {
    let (reply, started) = run("slow=5000ms");
    assert_eq!((reply.delay, started), (Duration::from_secs(5), 1));
    let mut state = state(&settings(&["slow=5000ms:effect=last"]));
    let request = stackcron::sandbox::SandboxRequest::new(axum::http::Method::POST, RUN, DEFAULT_TOKEN);
    let SandboxAnswer::Postponed(after, ticket) = state.handle(request, noon()) else {
        panic!("the effect is to come last");
    };
    assert_eq!((after, state.started()), (Duration::from_secs(5), 0));
    let reply = state.resume(ticket, at("2016-02-04T12:52:29Z"));
    assert_eq!((reply.status, state.started()), (200, 1));
    assert!(text(&reply).contains(r#""started_at":"2016-02-04T12:52:29Z""#), "{}", text(&reply));
    assert_eq!(state.ledger().requests[0].at, noon(), "the ledger keeps the arrival");
}

#[test]
fn latency_holds_back_every_answer() {
    let mut settings = settings(&["slow=5000ms"]);
    settings.latency = Duration::from_millis(20);
    let mut state = state(&settings);
    assert_eq!(post(&mut state, RUN, noon()).delay, Duration::from_millis(5_020));
    assert_eq!(get(&mut state, "/api/3/stacks", noon()).delay, Duration::from_millis(20));
}

fn statuses(fault: &str, requests: usize) -> Vec<u16> {
    let mut state = state(&settings(&[fault]));
    (0..requests).map(|_| post(&mut state, RUN, noon()).status).collect()
}

#[test]
fn a_fault_strikes_the_first_n_or_every_nth() {
    assert_eq!(statuses("status=500:times=2", 4), [500, 500, 200, 200]);
    assert_eq!(statuses("status=500:every=3", 7), [200, 200, 500, 200, 200, 500, 200]);
    assert_eq!(statuses("status=500:every=2,times=1", 5), [200, 500, 200, 200, 200]);
}

#[test]
fn chance_is_the_seeds_and_the_same_every_time() {
    let first = statuses("status=500:p=0.3", 1_000);
    assert_eq!(first, statuses("status=500:p=0.3", 1_000));
    let struck = first.iter().filter(|status| **status == 500).count();
    assert!((200..400).contains(&struck), "about 300 of 1,000, not {struck}");
    assert_eq!(statuses("status=500:p=0", 50), [200; 50]);
    assert_eq!(statuses("status=500:p=1", 50), [500; 50]);
}

#[test]
fn a_fault_strikes_the_call_the_stack_and_the_job_that_it_names() {
    let settings = Settings::default()
        .stack(stack("S1", &["J1", "J2"]))
        .stack(stack("S2", &["J1"]))
        .fault("status=500:stack=S1,job=J1".parse().expect("a fault"))
        .fault("status=418:on=jobs".parse().expect("a fault"));
    let mut state = state(&settings);
    for (path, status) in [("S1/jobs/J1", 500), ("S1/jobs/J2", 200), ("S2/jobs/J1", 200)] {
        let reply = post(&mut state, &format!("/api/3/stacks/{path}/run_now"), noon());
        assert_eq!(reply.status, status, "{path}");
    }
    assert_eq!(get(&mut state, "/api/3/stacks/S1/jobs", noon()).status, 418);
    assert_eq!(get(&mut state, "/api/3/stacks/S1/jobs/J1", noon()).status, 200);
    assert_eq!(get(&mut state, "/api/3/stacks/S1", noon()).status, 200);
}

#[test]
fn several_faults_can_meet_one_request() {
    let mut state = state(&settings(&["slow=1000ms", "bare", "no-headers"]));
    let reply = post(&mut state, RUN, noon());
    assert_eq!(reply.delay, Duration::from_secs(1));
    assert!(text(&reply).starts_with(r#"{"id":2593"#), "{}", text(&reply));
    assert_eq!(reply.header("X-RateLimit-Limit"), None);
    assert_eq!(state.ledger().requests[0].faults.len(), 3);
}
