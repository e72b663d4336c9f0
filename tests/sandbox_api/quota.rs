//! Who may ask, and how often.

use std::time::Duration;

use axum::http::Method;
use stackcron::sandbox::{
    SandboxQuota, SandboxRequest, SandboxToken, Settings, TokenRights, User, WindowKind,
};

use super::*;

fn limited(limit: u32, kind: WindowKind) -> Settings {
    settings(&[]).quota(SandboxQuota { limit, window: Duration::from_secs(60), kind })
}

fn remaining(reply: &stackcron::sandbox::SandboxReply) -> &str {
    reply.header("X-RateLimit-Remaining").expect("every answer tells what remains")
}

#[test]
fn past_the_limit_every_kind_of_window_throttles_until_it_turns() {
    // The first request at 12:52:24; when the next one is taken again.
    for (kind, turns) in [
        (WindowKind::Fixed, "2016-02-04T12:53:00Z"),
        (WindowKind::FirstRequest, "2016-02-04T12:53:24Z"),
        (WindowKind::Rolling, "2016-02-04T12:53:24Z"),
    ] {
        let mut state = state(&limited(2, kind));
        assert_eq!(remaining(&post(&mut state, RUN, noon())), "1");
        assert_eq!(remaining(&post(&mut state, RUN, at("2016-02-04T12:52:30Z"))), "0");
        let before = at(turns).checked_sub(jiff::SignedDuration::from_micros(1)).expect("an instant");
        for _ in 0..3 {
            let reply = post(&mut state, RUN, before);
            let expected = r#"{"error":"throttled","error_description":"The rate limit has been reached","details":"Retry in the next hourly interval"}"#;
            assert_eq!((reply.status, text(&reply)), (503, expected), "{kind}");
            assert_eq!((reply.header("X-RateLimit-Limit"), remaining(&reply)), (Some("2"), "0"), "{kind}");
            assert_eq!(reply.header("Retry-After"), None, "none is documented");
        }
        let left = if kind == WindowKind::Rolling { "0" } else { "1" };
        let reply = post(&mut state, RUN, at(turns));
        assert_eq!(
            (reply.status, remaining(&reply)),
            (200, left),
            "{kind}: a refused request has not counted"
        );
        assert_eq!((state.started(), state.ledger().throttled().count()), (3, 3), "{kind}");
    }
}

#[test]
fn every_call_counts_and_so_does_every_error() {
    let mut state = state(&limited(10, WindowKind::Fixed));
    assert_eq!(remaining(&get(&mut state, "/api/3/ping/auth", noon())), "9");
    assert_eq!(remaining(&get(&mut state, "/api/3/stacks/S1/jobs", noon())), "8");
    assert_eq!(remaining(&get(&mut state, "/api/3/stacks/S9", noon())), "7");
    assert_eq!(remaining(&post_with(&mut state, RUN, "application/json", "{")), "6");
}

#[test]
fn tokens_of_one_user_share_a_quota_and_users_do_not() {
    let mut settings = limited(10, WindowKind::Fixed);
    settings.users[0].tokens.push(SandboxToken { text: "second".to_owned(), scope: TokenRights::Full });
    let mut other = User::new("other@example.com", "third");
    other.quota.limit = 5;
    settings.users.push(other);
    let mut state = state(&settings);
    let mut ask = |token| {
        let reply = replied(state.handle(SandboxRequest::new(Method::POST, RUN, token), noon()));
        (reply.header("X-RateLimit-Limit").map(str::to_owned), remaining(&reply).to_owned())
    };
    let told = |limit: &str, remaining: &str| (Some(limit.to_owned()), remaining.to_owned());
    assert_eq!(ask(DEFAULT_TOKEN), told("10", "9"));
    assert_eq!(ask("second"), told("10", "8"));
    assert_eq!(ask("third"), told("5", "4"));
    assert_eq!(ask(DEFAULT_TOKEN), told("10", "7"));
    let users: Vec<String> = state.actions().map(|action| action.user).collect();
    assert_eq!(users, [USER, USER, "other@example.com", USER]);
}

#[test]
fn an_unknown_token_is_401_and_touches_nobodys_quota() {
    let mut state = state(&limited(10, WindowKind::Fixed));
    let mut absent = SandboxRequest::new(Method::POST, RUN, "");
    absent.token = None;
    for request in [SandboxRequest::new(Method::POST, RUN, "wrong"), absent] {
        let reply = replied(state.handle(request, noon()));
        assert_eq!(reply.status, 401);
        assert!(
            text(&reply).starts_with(r#"{"error":"unauthenticated","error_description":"#),
            "{}",
            text(&reply)
        );
    }
    assert_eq!(state.started(), 0);
    assert_eq!(remaining(&post(&mut state, RUN, noon())), "9");
    assert_eq!(state.ledger().requests[0].user, None);
}

#[test]
fn a_token_that_may_only_read_is_403_for_the_rest() {
    let mut settings = settings(&[]);
    settings.users[0].tokens[0].scope = TokenRights::ReadOnly;
    let mut state = state(&settings);
    assert_eq!(get(&mut state, "/api/3/stacks/S1/jobs", noon()).status, 200);
    let reply = post(&mut state, RUN, noon());
    assert_eq!(reply.status, 403);
    assert!(text(&reply).starts_with(r#"{"error":"forbidden","#), "{}", text(&reply));
    assert_eq!(state.started(), 0);
}

#[test]
fn what_others_use_is_gone_for_us() {
    let mut state = state(&limited(10, WindowKind::Rolling));
    assert_eq!(state.use_quota(USER, 4, noon()), Some(4));
    assert_eq!(remaining(&post(&mut state, RUN, noon())), "5");
    assert_eq!(state.use_quota(USER, 99, noon()), Some(5), "as many as were left");
    assert_eq!(post(&mut state, RUN, noon()).status, 503);
    assert_eq!(state.use_quota("nobody", 1, noon()), None);
}

#[test]
fn a_new_limit_is_told_with_the_next_answer() {
    let mut state = state(&limited(10, WindowKind::Fixed));
    post(&mut state, RUN, noon());
    assert_eq!(state.set_limit(USER, 100), Some(()));
    let reply = post(&mut state, RUN, noon());
    assert_eq!((reply.header("X-RateLimit-Limit"), remaining(&reply)), (Some("100"), "98"));
    assert_eq!(state.set_limit("nobody", 1), None);
}
