//! `check --online` and `jobs`: what the commands make of the API's answers, over real sockets.

use std::time::Duration;

use crate::common::{Ended, Place, quota, sandbox_with, schedule, settings};
use serde_json::Value;
use stackcron::sandbox::{
    DEFAULT_TOKEN, Endpoint, Sandbox, SandboxJob, SandboxStack, SandboxToken, Settings, TokenRights, User,
};
use stackcron::schedule::{JobUid, StackUid};

const WEB: &str = "5999b763474b0eafa5fafb64bff0ba80";
const RAKE: &str = "98ee5a9b93919d9b63bd5377636675bd";

fn job(uid: &str, name: &str, cron: Option<&str>) -> SandboxJob {
    let job = SandboxJob::new(JobUid::new(uid).expect("a uid"));
    SandboxJob { name: name.to_owned(), cron: cron.map(str::to_owned), ..job }
}

fn stack(uid: &str, name: &str, environment: &str) -> SandboxStack {
    let stack = SandboxStack::new(StackUid::new(uid).expect("a uid"));
    SandboxStack { name: name.to_owned(), environment: environment.to_owned(), ..stack }
}

/// A few stacks, one of them with jobs of every kind.
fn world(faults: &[&str]) -> Settings {
    let web = stack(WEB, "web", "production")
        .job(job(RAKE, "rake_test", None))
        .job(job("digest", "Send \"digest\": now", Some("30 1 * * *")))
        .job(job("sweep", "sweep", Some("*/72 * * * *")))
        .job(job("5999763474000000", "Отчёт", Some("0 3 * * *")));
    Settings {
        stacks: vec![web, stack("u2", "web", "staging"), stack("u3", "api", "production")],
        ..settings(faults)
    }
}

fn check(place: &Place, more: &[&str]) -> Ended {
    place.run(&[&["check", "--online"], more].concat())
}

/// The records that a check prints, by code and line.
fn found(ended: &Ended) -> Vec<(String, u64)> {
    let records = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let of = |record: Value| {
        (record["code"].as_str().expect("a code").to_owned(), record["line"].as_u64().unwrap_or(0))
    };
    records.map(of).collect()
}

fn entries(pairs: &[(&str, &str)]) -> String {
    let entry = |(number, (stack, job)): (usize, &(&str, &str))| {
        format!("  e{number}:\n    stack: {stack}\n    job: {job}\n    cron: '{number} 1 * * *'\n")
    };
    pairs.iter().enumerate().map(entry).collect()
}

async fn fired_at(sandbox: &Sandbox, pairs: &[(&str, &str)]) -> Place {
    Place::firing_at(sandbox, "", &entries(pairs))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_costs_a_request_for_each_stack_and_one_for_all() {
    let sandbox = sandbox_with(world(&[])).await;
    let place = fired_at(&sandbox, &[(WEB, RAKE), (WEB, RAKE), (WEB, RAKE)]).await;
    let ended = check(&place, &[]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(
        ended.stdout.contains("online: 1 stack asked about with 2 requests; account main has "),
        "{ended:?}"
    );
    assert!(ended.stdout.contains("ok: 3 entries, 1 account"), "{ended:?}");
    let asked: Vec<Endpoint> = sandbox.ledger().requests.iter().map(|record| record.endpoint).collect();
    assert_eq!(asked, [Endpoint::Stacks, Endpoint::Jobs]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told_at_its_place_with_what_to_write() {
    let sandbox = sandbox_with(world(&[])).await;
    let pairs = [
        ("web", RAKE),
        ("5999b763474b0eafa5fafb64bff0ba81", RAKE),
        ("elsewhere", RAKE),
        (WEB, "rake_test"),
        (WEB, "98ee5a9b93919d9b63bd5377636675be"),
        (WEB, "nothing-like-it"),
        ("u3", RAKE),
    ];
    let place = fired_at(&sandbox, &pairs).await;
    let ended = check(&place, &[]);
    assert_eq!(ended.status.code(), Some(78), "{ended:?}");
    let text = ended.stdout.replace(&place.config().display().to_string(), "schedule.yaml");
    let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("online:")).collect();
    insta::assert_snapshot!(text.join("\n"));
    let json = check(&place, &["--format", "json"]);
    assert_eq!(json.status.code(), Some(78));
    let expected = [4, 8, 12, 17, 21, 25, 29];
    let found = found(&json);
    assert_eq!(found.iter().map(|(_, line)| *line).collect::<Vec<_>>(), expected, "{found:?}");
    assert!(found[..3].iter().all(|(code, _)| code == "unknown-stack"), "{found:?}");
    assert!(found[3..].iter().all(|(code, _)| code == "unknown-job"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_twice_is_paused_or_deploys_is_told_and_stops_nothing() {
    let mut settings = world(&[]);
    settings.stacks[0].status = 5;
    settings.stacks[2] =
        SandboxStack { maintenance: true, status: 6, ..settings.stacks[2].clone() }.job(job("j", "j", None));
    let sandbox = sandbox_with(settings).await;
    for job in ["sweep", RAKE] {
        pause(&sandbox, WEB, job).await;
    }
    let jobs = format!(
        "  doubled: {{ stack: {WEB}, job: digest, cron: '30 1 * * *', timezone: Europe/London }}\n  \
           taken-over: {{ stack: {WEB}, job: sweep, cron: '*/5 * * * *' }}\n  \
           paused: {{ stack: {WEB}, job: {RAKE}, cron: '*/5 * * * *' }}\n  \
           off: {{ stack: {WEB}, job: digest, cron: '7 7 * * *', paused: true }}\n  \
           well: {{ stack: u3, job: j, cron: '7 7 * * *' }}\n"
    );
    let place = Place::firing_at(&sandbox, "", &jobs);
    let ended = check(&place, &["--format", "json"]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let online = |(code, line): (String, u64)| (line >= 3).then_some((code, line));
    let mut found: Vec<_> = found(&ended).into_iter().filter_map(online).collect();
    found.retain(|(code, _)| !code.ends_with("-time") && code != "shared-instant");
    let expected = [
        ("stack-deploying", 3),
        ("doubled-job", 3),
        ("paused-job", 4),
        ("paused-job", 5),
        ("stack-deploying", 7),
        ("stack-maintenance", 7),
    ];
    assert_eq!(found, expected.map(|(code, line)| (code.to_owned(), line)), "{}", ended.stdout);
    let severities: Vec<Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter(|record| record["code"] == "paused-job")
        .map(|record| record["severity"].clone())
        .collect();
    assert_eq!(
        severities,
        ["note", "warning"],
        "a job that is paused instead of its cron is as it should be"
    );
    let text = check(&place, &[]).stdout;
    assert!(text.contains("`30 1 * * *`, and starts there as well as from here; both are due at "), "{text}");
}

async fn pause(sandbox: &Sandbox, stack: &str, job: &str) {
    let url = format!("{}/stacks/{stack}/jobs/{job}/pause", sandbox.url());
    let answer = reqwest::Client::new().post(url).bearer_auth(DEFAULT_TOKEN).send().await.expect("an answer");
    assert!(answer.status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_many_pages_are_read_to_where_the_last_one_is() {
    let many = |number: usize| {
        let stack = stack(&format!("s{number}"), &format!("stack {number}"), "production");
        (0..65).fold(stack, |stack, number| {
            stack.job(job(&format!("j{number}"), &format!("job {number}"), None))
        })
    };
    let sandbox = sandbox_with(Settings { stacks: (0..95).map(many).collect(), ..settings(&[]) }).await;
    let place = fired_at(&sandbox, &[("s94", "j64"), ("s3", "j0")]).await;
    let ended = check(&place, &[]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.contains("2 stacks asked about with 10 requests"), "4 pages and twice 3: {ended:?}");
    // The first page has all that is asked for.
    let near = fired_at(&sandbox, &[("s3", "j0")]).await;
    assert!(check(&near, &[]).stdout.contains("with 4 requests"));
    let jobs = place.run(&["jobs", "s94", "--format", "json"]);
    assert_eq!(jobs.stdout.lines().count(), 65, "{jobs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_are_asked_at_once_and_no_more() {
    let latency = Duration::from_millis(200);
    let stacks: Vec<SandboxStack> =
        (0..13).map(|number| stack(&format!("s{number}"), "s", "production")).collect();
    let sandbox = sandbox_with(Settings { stacks, latency, ..settings(&[]) }).await;
    let uids: Vec<String> = (0..13).map(|number| format!("s{number}")).collect();
    let pairs: Vec<(&str, &str)> = uids.iter().map(|uid| (uid.as_str(), "j")).collect();
    let place = fired_at(&sandbox, &pairs).await;
    assert_eq!(check(&place, &[]).status.code(), Some(78), "there are no such jobs");
    let came: Vec<_> = sandbox.ledger().of(Endpoint::Jobs).map(|record| record.at).collect();
    assert_eq!(came.len(), 13);
    // The fifth leaves when one of the first four is answered, and so on.
    let apart = came.windows(5).map(|five| five[4].duration_since(five[0]).as_millis()).min();
    assert!(apart >= Some(latency.as_millis() as i128), "four at once at most: {apart:?} ms apart");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reserve_is_left_to_people() {
    let sandbox = sandbox_with(world(&[]).quota(quota(100, Duration::from_secs(3600)))).await;
    sandbox_use(&sandbox, 89).await;
    let place = Place::firing_at(&sandbox, "quota: { reserve: 10 }", &entries(&[(WEB, RAKE), ("u2", RAKE)]));
    let ended = check(&place, &[]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stdout.contains("account `main` could not be asked about its 2 stacks: the quota beyond the reserve is spent until"), "{ended:?}");
    let left = sandbox.ledger().requests.iter().filter_map(|record| record.remaining).min();
    assert_eq!(left, Some(10), "one request told what is left, and the reserve is whole");
}

async fn sandbox_use(sandbox: &Sandbox, requests: u32) {
    let root = sandbox.url().replace("/api/3", "");
    let url = format!("{root}/_sandbox/use?user=demo@example.com&n={requests}");
    assert!(reqwest::Client::new().post(url).send().await.expect("an answer").status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_answer_is_obeyed() {
    // It says when to ask again: soon enough to wait for.
    let sandbox = sandbox_with(world(&["429:on=jobs,times=1,retry-after=1"])).await;
    let place = fired_at(&sandbox, &[(WEB, RAKE)]).await;
    let ended = check(&place, &[]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let jobs: Vec<_> = sandbox.ledger().of(Endpoint::Jobs).map(|record| record.at).collect();
    assert_eq!(jobs.len(), 2);
    assert!(jobs[1].duration_since(jobs[0]).as_millis() >= 1000, "it waited: {jobs:?}");
    // Its own header says that quota is left: each is asked again after a pause, a few times, and
    // then given up.
    let sandbox = sandbox_with(world(&["throttled:on=jobs"])).await;
    let place = fired_at(&sandbox, &[(WEB, RAKE), ("u2", RAKE), ("u3", RAKE)]).await;
    let ended = check(&place, &[]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let asked = sandbox.ledger().of(Endpoint::Jobs).count();
    assert!(asked <= 12, "a few times each: {asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_passes_is_no_failure() {
    let faults = ["status=500:on=jobs,times=1", "html-502:on=stacks,times=1", "close-before:on=jobs,times=1"];
    for fault in faults {
        let sandbox = sandbox_with(world(&[fault])).await;
        let place = fired_at(&sandbox, &[(WEB, RAKE)]).await;
        let ended = check(&place, &[]);
        assert_eq!(ended.status.code(), Some(0), "{fault}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shape_of_a_list_is_understood() {
    for fault in ["retyped", "bare", "no-headers", "odd-headers", "drip", "warning"] {
        let faults = [format!("{fault}:on=jobs"), format!("{fault}:on=stacks")];
        let sandbox = sandbox_with(world(&faults.each_ref().map(String::as_str))).await;
        let place = fired_at(&sandbox, &[(WEB, RAKE), (WEB, "5999763474000000"), (WEB, "no-such-job")]).await;
        let ended = check(&place, &["--format", "json"]);
        assert_eq!(ended.status.code(), Some(78), "{fault}: {ended:?}");
        assert_eq!(
            found(&ended).iter().filter(|(code, _)| code == "unknown-job").count(),
            1,
            "{fault}: {ended:?}"
        );
        assert_eq!(ended.stderr.contains("will be retired"), fault == "warning", "{fault}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_the_api_from_being_asked_is_told_with_its_remedy() {
    let sandbox = sandbox_with(world(&[])).await;
    let pairs = [(WEB, RAKE), ("u2", RAKE)];
    let place = fired_at(&sandbox, &pairs).await;
    let unreachable = Place::with(&schedule("http://127.0.0.1:1/api/3", "timeout: 2s", &entries(&pairs)));
    let elsewhere = Place::with(&schedule(&sandbox.url().replace("/api/3", "/other"), "", &entries(&pairs)));
    for (what, place, said) in [
        ("a revoked token", place.clone().env("TOKEN", "revoked"), "the token was not accepted (401)"),
        (
            "no token",
            place.clone().env("TOKEN", ""),
            "what comes from the environment variable TOKEN is empty",
        ),
        ("no server", unreachable, "127.0.0.1:1 cannot be reached"),
        ("another path", elsewhere, "this is not the API"),
    ] {
        let ended = check(&place, &["--format", "json"]);
        assert_eq!(ended.status.code(), Some(1), "{what}: {ended:?}");
        let online: Vec<Value> = ended
            .stdout
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
            .filter(|record| record["code"] == "not-asked")
            .collect();
        assert_eq!(online.len(), 1, "{what} is told once: {ended:?}");
        let message = online[0]["message"].as_str().expect("a message");
        assert!(message.contains(said), "{what}: {message}");
        assert!(!online[0]["help"].as_str().expect("help").is_empty(), "{what}");
        assert_eq!((online[0]["line"].as_u64(), online[0]["column"].as_u64()), (Some(1), Some(13)), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_the_scope_is_told_which_to_have() {
    let sandbox = sandbox_with(world(&["status=403:on=jobs"])).await;
    let place = fired_at(&sandbox, &[(WEB, RAKE), (WEB, "digest")]).await;
    let ended = check(&place, &[]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stdout.contains("scopes public and jobs (or admin)"), "{ended:?}");
    assert_eq!(ended.stdout.matches("(403)").count(), 1, "once for the stack: {ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_account_asks_with_its_own_token() {
    let mut settings = world(&[]);
    settings.users.push(User {
        tokens: vec![SandboxToken { text: "other-token".into(), scope: TokenRights::ReadOnly }],
        ..User::new("other@example.com", "other-token")
    });
    let sandbox = sandbox_with(settings).await;
    let url = sandbox.url();
    let place = Place::with(&format!(
        "accounts:\n  main: {{ url: '{url}', token: {{ env: TOKEN }} }}\n  idle: {{ url: '{url}', token: {{ env: NONE }} }}\n  \
           other: {{ url: '{url}', token: {{ env: OTHER }} }}\n\
         jobs:\n  a: {{ stack: {WEB}, job: {RAKE}, cron: '@daily', account: main }}\n  \
           b: {{ stack: {WEB}, job: gone, cron: '@daily', account: other }}\n"
    ))
    .env("OTHER", "other-token");
    let ended = check(&place, &["--format", "json"]);
    assert_eq!(ended.status.code(), Some(78), "what is wrong goes before what could not be asked: {ended:?}");
    let found = found(&ended);
    assert!(found.contains(&("not-asked".into(), 3)), "the idle account has no token: {found:?}");
    assert!(found.contains(&("unknown-job".into(), 7)), "{found:?}");
    let users: Vec<_> = sandbox.ledger().of(Endpoint::Jobs).map(|record| record.user.clone()).collect();
    assert_eq!(users.len(), 2);
    assert!(users.contains(&Some("other@example.com".into())), "{users:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_wrong_is_not_asked_about() {
    let sandbox = sandbox_with(world(&[])).await;
    let place = Place::firing_at(&sandbox, "", "  a: { stack: s }\n");
    assert_eq!(check(&place, &[]).status.code(), Some(78));
    assert_eq!(sandbox.ledger().requests.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_listed_by_uid_or_by_a_name_that_is_clear() {
    let sandbox = sandbox_with(world(&[])).await;
    pause(&sandbox, WEB, "sweep").await;
    let place = fired_at(&sandbox, &[]).await;
    let text = place.run(&["jobs", WEB]);
    assert_eq!(text.status.code(), Some(0), "{text:?}");
    insta::assert_snapshot!(text.stdout);
    let by_name = place.run(&["jobs", "web", "--environment", "production", "--account", "main"]);
    assert_eq!(by_name.stdout, text.stdout);
    let json = place.run(&["jobs", WEB, "--format", "json"]);
    let first: Value = serde_json::from_str(json.stdout.lines().next().expect("a line")).expect("JSON");
    insta::assert_snapshot!(serde_json::to_string_pretty(&first).expect("JSON"));

    for (arguments, said) in [
        (&["jobs", "web"][..], "several stacks are named `web`"),
        (&["jobs", "wep"], "did you mean `web`"),
        (&["jobs", "web", "--environment", "test"], "no stack `web` is in the environment `test`"),
        (&["jobs", WEB, "--account", "mian"], "no account is named `mian`; did you mean `main`?"),
        (&["jobs", WEB, "--yaml", "--format", "json"], "--yaml"),
    ] {
        let ended = place.run(arguments);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(said), "{arguments:?}: {ended:?}");
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
    let ambiguous = place.run(&["jobs", "web"]).stderr;
    assert!(
        ambiguous.contains(WEB)
            && ambiguous.contains("(staging), uid u2")
            && ambiguous.contains("--environment"),
        "{ambiguous}"
    );
    let refused = place.clone().env("TOKEN", "revoked").run(&["jobs", WEB]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("401") && refused.stderr.contains("help: "), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_jobs_prints_as_yaml_passes_the_check_where_it_is_pasted() {
    let sandbox = sandbox_with(world(&[])).await;
    let place = fired_at(&sandbox, &[]).await;
    let printed = place.run(&["jobs", WEB, "--yaml"]);
    assert_eq!(printed.status.code(), Some(0), "{printed:?}");
    let pasted = Place::firing_at(&sandbox, "", &printed.stdout);
    let ended = check(&pasted, &["--format", "json"]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}\n{}", printed.stdout);
    let doubled = found(&ended).iter().filter(|(code, _)| code == "doubled-job").count();
    assert_eq!(doubled, 3, "each has its cron at Cloud 66 still, as the comment says: {ended:?}");
    let next = pasted.run(&["next", "--format", "json", "--from", "2026-03-29T00:30:00Z", "--count", "3"]);
    assert_eq!(next.status.code(), Some(0), "{next:?}");
    // Pasted twice, it says which entries run the jobs already.
    let again = pasted.run(&["jobs", WEB, "--yaml"]).stdout;
    assert_eq!(again.matches("runs it already").count(), 3, "{again}");
}
