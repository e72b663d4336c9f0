//! Each answer as the vendor documents it.

use stackcron::sandbox::{
    ActionEnding, ActionsOrder, ArgsFrom, Endpoint, Occupation, SandboxAnswer, SandboxRequest, Settings,
    Unknown,
};

use super::*;

const STARTED: &str = r#"{"response":{"id":2593,"user":"demo@example.com","resource_type":"stack","action":"job_run_now","resource_id":"1602","started_via":"api","started_at":"2016-02-04T12:52:24Z","finished_at":null,"finished_success":null,"finished_message":null,"finished_result":null,"metadata":{}}}"#;

#[test]
fn run_now_answers_with_the_documented_action() {
    let mut state = state(&settings(&[]));
    let reply = post(&mut state, RUN, noon());
    assert_eq!(reply.status, 200);
    assert_eq!(text(&reply), STARTED);
    let headers: Vec<String> = reply.headers.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    let expected = [
        "Content-Type: application/json; charset=utf-8",
        "X-RateLimit-Limit: 3600",
        "X-RateLimit-Remaining: 3599",
    ];
    assert_eq!(headers, expected);
}

#[test]
fn an_action_finishes_when_its_time_has_come_and_not_before() {
    let mut state = state(&Settings::default().stack(stack("S1", &["J1", "J2-fails", "J3-slow"])));
    for job in ["J1", "J2-fails", "J3-slow"] {
        post(&mut state, &format!("/api/3/stacks/S1/jobs/{job}/run_now"), noon());
    }
    let almost = at("2016-02-04T12:52:25.999999Z");
    let after = at("2016-02-04T12:52:26Z");
    assert_eq!(text(&get(&mut state, "/api/3/stacks/S1/actions/2593.json", almost)), STARTED);
    for (path, end) in [
        (
            "2593",
            r#""finished_at":"2016-02-04T12:52:26Z","finished_success":true,"finished_message":"The job finished","finished_result":null,"metadata":{}}}"#,
        ),
        (
            "2594",
            r#""finished_at":"2016-02-04T12:52:26Z","finished_success":false,"finished_message":"The job exited with status 1","finished_result":null,"metadata":{}}}"#,
        ),
        (
            "2595",
            r#""finished_at":null,"finished_success":null,"finished_message":null,"finished_result":null,"metadata":{}}}"#,
        ),
    ] {
        let reply = get(&mut state, &format!("/api/3/stacks/S1/actions/{path}"), after);
        assert!(text(&reply).ends_with(end), "{path} is to end in\n{end}\nand is\n{}", text(&reply));
    }
    let late = get(&mut state, "/api/3/stacks/S1/actions/2595", at("2016-02-04T12:53:24Z"));
    assert!(text(&late).contains(r#""finished_at":"2016-02-04T12:53:24Z""#), "30 times 2 s: {}", text(&late));
}

#[test]
fn an_action_can_be_made_to_run_for_ever() {
    let mut stack = stack("S1", &["J1"]);
    stack.jobs[0].ending = ActionEnding::Never;
    let mut state = state(&Settings::default().stack(stack));
    post(&mut state, RUN, noon());
    let reply = get(&mut state, "/api/3/stacks/S1/actions/2593", at("2036-01-01T00:00:00Z"));
    assert_eq!(text(&reply), STARTED);
}

#[test]
fn the_list_of_jobs_is_the_documented_one() {
    let mut stack = stack("S1", &["98ee5a9b93919d9b63bd5377636675bd"]);
    stack.jobs[0].name = "rake_test".to_owned();
    stack.jobs[0].params = serde_json::from_str(r#"{"task":"db:migrate"}"#).expect("parameters");
    let mut state = state(&Settings::default().stack(stack));
    let expected = r#"{"response":[{"uid":"98ee5a9b93919d9b63bd5377636675bd","name":"rake_test","type":"RakeJob","cron":null,"status":0,"paused":false,"params":{"task":"db:migrate"},"created_at":"2016-02-01 13:37:07 UTC","updated_at":"2016-02-01 13:37:07 UTC"}],"count":1,"pagination":{"previous":null,"next":null,"current":1,"per_page":30,"count":1,"pages":1}}"#;
    assert_eq!(text(&get(&mut state, "/api/3/stacks/S1/jobs.json?page=1", noon())), expected);
    let one = get(&mut state, "/api/3/stacks/S1/jobs/98ee5a9b93919d9b63bd5377636675bd", noon());
    let job = &expected[r#"{"response":["#.len()..expected.find("],\"count\"").expect("the list's end")];
    assert_eq!(text(&one), format!(r#"{{"response":{job}}}"#));
}

#[test]
fn a_job_tells_how_its_last_action_stands() {
    let mut state = state(&Settings::default().stack(stack("S1", &["J1", "J2-fails"])));
    let status = |state: &mut _, job: &str, now| {
        let reply = get(state, &format!("/api/3/stacks/S1/jobs/{job}"), now);
        serde_json::from_str::<serde_json::Value>(text(&reply)).expect("JSON")["response"]["status"].clone()
    };
    for (job, ended) in [("J1", 2), ("J2-fails", 3)] {
        assert_eq!(status(&mut state, job, noon()), 0, "{job} has not run");
        post(&mut state, &format!("/api/3/stacks/S1/jobs/{job}/run_now"), noon());
        assert_eq!(status(&mut state, job, noon()), 1, "{job} runs");
        assert_eq!(status(&mut state, job, at("2016-02-04T12:53:00Z")), ended, "{job} has run");
    }
}

#[test]
fn stacks_are_listed_and_told_one_by_one() {
    let mut state = state(&settings(&[]));
    let stack = r#"{"uid":"S1","name":"S1","environment":"production","status":1,"health":3,"maintenance_mode":false,"account_id":1,"account_name":"Sandbox","created_at_iso":"2016-02-01T13:37:07Z","updated_at_iso":"2016-02-01T13:37:07Z"}"#;
    assert_eq!(text(&get(&mut state, "/api/3/stacks/S1.json", noon())), format!(r#"{{"response":{stack}}}"#));
    let list = get(&mut state, "/api/3/stacks.json?page=1", noon());
    assert!(
        text(&list).starts_with(&format!(r#"{{"response":[{stack}],"count":1,"pagination":"#)),
        "{}",
        text(&list)
    );
}

#[test]
fn a_ping_is_read_by_the_vendors_client_and_by_the_documentation() {
    let mut state = state(&settings(&[]));
    let both = r#"{"ok":true,"message":"pong","response":{"ok":true,"message":"pong"}}"#;
    assert_eq!(text(&get(&mut state, "/api/3/ping/auth.json", noon())), both);
    let stranger = SandboxRequest::new(Method::GET, "/api/3/ping.json", "nobody's");
    let SandboxAnswer::Reply(reply) = state.handle(stranger, noon()) else { panic!("an answer at once") };
    assert_eq!((reply.status, text(&reply)), (200, r#"{"response":{"ok":true,"message":"pong"}}"#));
    assert_eq!(reply.header("X-RateLimit-Remaining"), None, "it costs nobody's quota");
}

#[test]
fn pausing_is_an_action_of_the_stack_and_no_run() {
    let mut state = state(&Settings::default().stack(stack("S1", &["J1"])));
    let reply = post(&mut state, "/api/3/stacks/S1/jobs/J1/pause.json", noon());
    let documented = r#"{"response":{"id":2593,"user":"demo@example.com","resource_type":"stack","action":"job_pause_handler","resource_id":"1602","started_via":"api","started_at":"2016-02-04T12:52:24Z","finished_at":null,"finished_success":null,"finished_message":null,"finished_result":null,"metadata":{}}}"#;
    assert_eq!(text(&reply), documented);
    post(&mut state, RUN, noon());
    let list = get(&mut state, "/api/3/stacks/S1/actions", noon());
    let body: serde_json::Value = serde_json::from_str(text(&list)).expect("JSON");
    let names: Vec<&str> = body["response"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|action| action["action"].as_str())
        .collect();
    assert_eq!(names, ["job_run_now", "job_pause_handler"], "the newest first");
    assert_eq!((state.started(), state.actions().count()), (1, 1), "a pause is no run");
}

#[test]
fn a_list_holds_what_its_filters_want() {
    let mut state = state(&Settings::default().stack(stack("S1", &["J1", "J2", "J3"])));
    post(&mut state, "/api/3/stacks/S1/jobs/J2/pause", noon());
    for (query, uids) in [
        ("filter_name=J3", &["J3"][..]),
        ("filter_paused=true", &["J2"]),
        ("page=1&filter_status=0&filter_uid=J1", &["J1"]),
        ("filter_name=none", &[]),
        ("filter_of_nothing=1", &[]),
    ] {
        let reply = get(&mut state, &format!("/api/3/stacks/S1/jobs.json?{query}"), noon());
        let body: serde_json::Value = serde_json::from_str(text(&reply)).expect("JSON");
        let found: Vec<&str> = body["response"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|job| job["uid"].as_str())
            .collect();
        assert_eq!(found, uids, "{query}");
        assert_eq!(body["pagination"]["count"], uids.len(), "{query}");
    }
}

#[test]
fn a_stack_deploys_and_is_maintained_for_as_long_as_asked() {
    let deploys = vec!["S1=5m/30m".parse().expect("deployments")];
    let mut state = state(&Settings { deploys, ..Settings::default().stack(stack("S1", &["J1"])) });
    let mut stands = |now: &str| {
        let reply = get(&mut state, "/api/3/stacks/S1", at(now));
        let body: serde_json::Value = serde_json::from_str(text(&reply)).expect("JSON");
        (body["response"]["status"].as_u64(), body["response"]["maintenance_mode"].as_bool())
    };
    assert_eq!(stands("2016-02-04T12:30:00Z"), (Some(5), Some(false)), "by the clock");
    assert_eq!(stands("2016-02-04T12:35:00Z"), (Some(1), Some(false)));
    for with in [Occupation::Deployment, Occupation::Maintenance] {
        state.occupy("S1", with, at("2016-02-04T12:36:00Z")).expect("a stack");
        assert_eq!(state.occupy("S9", with, noon()), None);
    }
    let mut stands = |now: &str| {
        let reply = get(&mut state, "/api/3/stacks/S1", at(now));
        let body: serde_json::Value = serde_json::from_str(text(&reply)).expect("JSON");
        (body["response"]["status"].as_u64(), body["response"]["maintenance_mode"].as_bool())
    };
    assert_eq!(stands("2016-02-04T12:35:59Z"), (Some(5), Some(true)), "on demand");
    assert_eq!(stands("2016-02-04T12:36:00Z"), (Some(1), Some(false)));
}

#[test]
fn pausing_shows_in_the_job_and_stops_no_run_now() {
    let mut state = state(&Settings::default().stack(stack("S1", &["J1", "J2"])));
    let paused = |state: &mut _| {
        let reply = get(state, "/api/3/stacks/S1/jobs", noon());
        let body: serde_json::Value = serde_json::from_str(text(&reply)).expect("JSON");
        (body["response"][0]["paused"].clone(), body["response"][1]["paused"].clone())
    };
    assert_eq!(paused(&mut state), (false.into(), false.into()), "nobody has paused yet");
    for (path, expected) in [
        ("jobs/J1/pause", (true.into(), false.into())),
        ("jobs/pause_all.json", (true.into(), true.into())),
        ("jobs/J2/unpause.json", (true.into(), false.into())),
        ("jobs/unpause_all", (false.into(), false.into())),
    ] {
        let reply = post(&mut state, &format!("/api/3/stacks/S1/{path}"), noon());
        assert_eq!(reply.status, 200, "{path}");
        assert_eq!(paused(&mut state), expected, "after {path}");
    }
    post(&mut state, "/api/3/stacks/S1/jobs/J1/pause", noon());
    assert_eq!(post(&mut state, RUN, noon()).status, 200);
    assert_eq!(state.started(), 1);
}

#[test]
fn what_does_not_exist_is_404_with_the_documented_body() {
    let mut state =
        state(&Settings::default().stack(stack("S1", &["J1", "J2-missing"])).stack(stack("S2", &[])));
    post(&mut state, RUN, noon());
    let body = |details| {
        format!(
            r#"{{"error":"not_found","error_description":"The resource was not found","details":"{details}"}}"#
        )
    };
    for (path, details) in [
        ("stacks/S9", "There is no such stack"),
        ("stacks/S9/jobs", "There is no such stack"),
        ("stacks/S9/actions", "There is no such stack"),
        ("stacks/S1/jobs/J9", "There is no such job"),
        ("stacks/S1/jobs/J2-missing", "There is no such job"),
        ("stacks/S1/actions/2594", "There is no such action"),
        ("stacks/S1/actions/1", "There is no such action"),
        ("stacks/S1/actions/x", "There is no such action"),
        ("stacks/S2/actions/2593", "There is no such action"),
        ("nothing", "There is no such path"),
        ("stacks/S1/jobs/J1/run_now", "There is no such path"),
    ] {
        let reply = get(&mut state, &format!("/api/3/{path}"), noon());
        assert_eq!((reply.status, text(&reply)), (404, body(details).as_str()), "{path}");
        assert!(reply.header("x-ratelimit-remaining").is_some(), "an error tells the quota: {path}");
    }
}

#[test]
fn a_uid_tells_how_its_run_now_is_refused() {
    let settings = Settings { unknown: Unknown::Created, ..Settings::default() };
    let mut state = state(&settings);
    for (path, status) in [
        ("stacks/a/jobs/b", 200),
        ("stacks/a/jobs/b-forbidden", 403),
        ("stacks/a/jobs/b-missing", 404),
        ("stacks/a-missing/jobs/b", 404),
        ("stacks/a/jobs/b%20c", 404),
    ] {
        let reply = post(&mut state, &format!("/api/3/{path}/run_now"), noon());
        assert_eq!(reply.status, status, "{path}");
    }
    assert_eq!(state.started(), 1);
}

#[test]
fn a_page_holds_thirty_and_names_the_next() {
    let uids: Vec<String> = (0..65).map(|number| format!("J{number}")).collect();
    let uids: Vec<&str> = uids.iter().map(String::as_str).collect();
    let mut state = state(&Settings::default().stack(stack("S1", &uids)));
    let mut met = Vec::new();
    let mut next = Some(1);
    while let Some(page) = next {
        let reply = get(&mut state, &format!("/api/3/stacks/S1/jobs.json?page={page}"), noon());
        let body: serde_json::Value = serde_json::from_str(text(&reply)).expect("JSON");
        let jobs = body["response"].as_array().expect("a list");
        assert_eq!(body["count"], jobs.len());
        met.extend(jobs.iter().map(|job| job["uid"].as_str().expect("a uid").to_owned()));
        next = body["pagination"]["next"].as_u64();
    }
    assert_eq!(met, uids);
    assert_eq!(get(&mut state, "/api/3/stacks/S1/jobs?page=0", noon()).status, 400);
    assert_eq!(get(&mut state, "/api/3/stacks/S1/jobs?page=x", noon()).status, 400);
}

#[test]
fn actions_are_listed_newest_first_or_oldest_first() {
    for (actions_order, expected) in
        [(ActionsOrder::NewestFirst, [2595, 2594, 2593]), (ActionsOrder::OldestFirst, [2593, 2594, 2595])]
    {
        let mut state = state(&Settings { actions_order, ..settings(&[]) });
        for _ in 0..3 {
            post(&mut state, RUN, noon());
        }
        let reply = get(&mut state, "/api/3/stacks/S1/actions.json", noon());
        let body: serde_json::Value = serde_json::from_str(text(&reply)).expect("JSON");
        let ids: Vec<_> =
            body["response"].as_array().expect("a list").iter().map(|action| &action["id"]).collect();
        assert_eq!(ids, expected);
    }
}

#[test]
fn arguments_are_taken_however_they_come() {
    let mut state = state(&settings(&[]));
    post(&mut state, &format!("{RUN}?job_args=%22a%20b%22+c"), noon());
    post_with(&mut state, RUN, "application/x-www-form-urlencoded", "job_args=%22a+b%22+c");
    post_with(&mut state, RUN, "application/json", r#"{"job_args":"\"a b\" c"}"#);
    post(&mut state, RUN, noon());
    let given: Vec<_> =
        state.ledger().started().map(|record| (record.args.as_deref(), record.args_from)).collect();
    let args = Some(r#""a b" c"#);
    let expected = [
        (args, Some(ArgsFrom::Query)),
        (args, Some(ArgsFrom::Form)),
        (args, Some(ArgsFrom::Json)),
        (None, None),
    ];
    assert_eq!(given, expected);
}

#[test]
fn arguments_that_cannot_be_read_start_nothing() {
    let mut state = state(&settings(&[]));
    for body in ["{", r#"{"job_args":7}"#, "[]"] {
        assert_eq!(post_with(&mut state, RUN, "application/json", body).status, 400, "{body}");
    }
    assert_eq!(state.started(), 0);
}

#[test]
fn ten_thousand_open_actions_are_told_one_by_one_and_by_page() {
    let mut settings = settings(&[]);
    settings.users[0].quota.limit = 30_000;
    let mut state = state(&settings);
    for _ in 0..10_000 {
        post(&mut state, RUN, noon());
    }
    for id in [2593, 12_592] {
        assert_eq!(get(&mut state, &format!("/api/3/stacks/S1/actions/{id}"), noon()).status, 200, "{id}");
    }
    let last = get(&mut state, "/api/3/stacks/S1/actions?page=334", noon());
    assert!(
        text(&last).contains(r#""count":10,"pagination":{"previous":333,"next":null"#),
        "{}",
        text(&last)
    );
    assert_eq!(state.ledger().of(Endpoint::RunNow).count(), 10_000, "the ledger forgets nothing");
}
