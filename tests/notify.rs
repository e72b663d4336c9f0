//! Who is told how occurrences end: webhooks and pings, at a real receiver.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{DOUBT_ENDS, PATIENCE, Place, sandbox, schedule};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use serde_json::Value;
use stackcron::sandbox::{Endpoint, Sandbox};
use tokio::sync::watch;

/// A request that the receiver got.
#[derive(Clone, Debug)]
struct Got {
    method: Method,
    path: String,
    body: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }

    /// What it says of each occurrence: its entry, and what became of it.
    fn ends(&self) -> Vec<(String, String)> {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let body = self.json();
        let ends = body["occurrences"].as_array().unwrap_or_else(|| panic!("occurrences in {}", self.body));
        ends.iter().map(|end| (word(&end["entry"]), word(&end["what"]))).collect()
    }
}

/// How the receiver answers.
#[derive(Clone, Debug)]
enum Answer {
    Status(StatusCode),
    /// Never.
    Hang,
}

/// A server that is posted to.
struct Receiver {
    url: String,
    got: watch::Receiver<Vec<Got>>,
}

impl Receiver {
    /// Its first answers are these, and 200 comes after.
    async fn answering(first: &[Answer]) -> Receiver {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let (sender, got) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        let answers = Arc::new(Mutex::new(first.iter().rev().cloned().collect::<Vec<_>>()));
        let router = axum::Router::new().fallback(move |request: Request| {
            let (sender, answers) = (Arc::clone(&sender), Arc::clone(&answers));
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
                let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
                let body = String::from_utf8(body.to_vec()).expect("UTF-8");
                let answer = answers.lock().expect("a lock").pop();
                sender.send_modify(|got| got.push(Got { method: head.method, path, body }));
                match answer {
                    None => StatusCode::OK,
                    Some(Answer::Status(status)) => status,
                    Some(Answer::Hang) => std::future::pending().await,
                }
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Receiver { url, got }
    }

    async fn new() -> Receiver {
        Receiver::answering(&[]).await
    }

    /// What it has got, once that fulfils the condition.
    async fn wait_for(&self, what: &str, condition: impl Fn(&[Got]) -> bool) -> Vec<Got> {
        let mut got = self.got.clone();
        let patience = if what == "unknown" { DOUBT_ENDS } else { PATIENCE };
        let found = tokio::time::timeout(patience, got.wait_for(|got| condition(got))).await;
        match found {
            Ok(found) => found.expect("the receiver lives").clone(),
            Err(_) => panic!("no {what}; it got {:#?}", self.got.borrow()),
        }
    }

    /// Waits until it was told that of an entry.
    async fn told(&self, entry: &str, what: &str) -> Vec<Got> {
        let wanted = (entry.to_owned(), what.to_owned());
        self.wait_for(what, |got| got.iter().any(|got| got.ends().contains(&wanted))).await
    }
}

/// A schedule whose entries all tell `ops`, which has these keys.
fn telling(sandbox: &Sandbox, ops: &str, defaults: &str, jobs: &str) -> String {
    let file = schedule(&sandbox.url(), "", jobs);
    format!("notify: {{ ops: {{ {ops} }} }}\ndefaults: {{ notify: ops, {defaults} }}\n{file}")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_end_is_told_with_the_fields_of_its_event_and_a_good_one_is_not() {
    let sandbox = sandbox(&["close-after:job=j2,times=1"]).await;
    // Somebody else's run in the same seconds: whose is whose nothing can tell.
    let run_now = format!("{}/stacks/s1/jobs/j1/run_now", sandbox.url());
    let theirs = reqwest::Client::new().post(run_now).bearer_auth(stackcron::sandbox::DEFAULT_TOKEN).send();
    assert!(theirs.await.expect("an answer").status().is_success());
    let receiver = Receiver::new().await;
    let jobs = "  good: { stack: s1, job: j1, cron: '* * * * * *' }\n  \
                fails: { stack: s1, job: j-fails, cron: '* * * * * *' }\n  \
                forbidden: { stack: s1, job: j-forbidden, cron: '* * * * * *' }\n  \
                lost: { stack: s1, job: j2, cron: '* * * * * *' }\n  \
                silent: { stack: s2, job: gone, cron: '* * * * * *', notify: [] }\n";
    let file = telling(&sandbox, &format!("webhook: '{}/hook'", receiver.url), "catch_up: none", jobs);
    let place = Place::with(&file.replace("token:", "timeout: 1s, token:"));
    let mut daemon = place.start();
    receiver.told("fails", "failed").await;
    receiver.told("lost", "unknown").await;
    let got = receiver.told("forbidden", "rejected").await;
    assert_eq!((&got[0].method, got[0].path.as_str()), (&Method::POST, "/hook"));
    let line = daemon.wait_for("occurrence.rejected", |line| line["entry"] == "forbidden");
    daemon.stop();

    // What comes due while it is down: nothing tells of that until it is there again. What is less
    // than 5 s late is on time.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let mut daemon = place.start();
    let got = receiver.told("good", "missed").await;
    daemon.stop();
    assert!(daemon.events("notify.failed").is_empty(), "{}", daemon.raw);

    let all: Vec<(String, String)> = got.iter().flat_map(Got::ends).collect();
    assert!(all.iter().all(|(entry, _)| entry != "silent"), "nobody is told of `silent`: {all:?}");
    let of_good = all.iter().filter(|(entry, _)| entry == "good");
    assert!(of_good.clone().all(|(_, what)| what == "missed" || what == "recovered"), "no good end: {all:?}");
    let told = got.iter().flat_map(|got| got.json()["occurrences"].as_array().cloned().unwrap_or_default());
    let told: Vec<Value> = told.collect();
    let same = |end: &&Value| end["entry"] == line["entry"] && end["scheduled_at"] == line["scheduled_at"];
    let end = told.iter().find(same).unwrap_or_else(|| panic!("{line} is told: {told:#?}"));
    for (key, value) in line.as_object().expect("an object").iter().filter(|(key, _)| *key != "timestamp") {
        assert_eq!(&end[key], value, "{key} is told as it is logged: {end}");
    }
    let body = got[0].json();
    assert_eq!(body["source"], "stackcron", "{body}");
    assert!(body["host"].as_str().is_some_and(|host| !host.is_empty()), "{body}");
    let count: u64 = body["counts"].as_object().expect("counts").values().filter_map(Value::as_u64).sum();
    assert_eq!(count as usize, got[0].ends().len(), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_is_told_in_words_and_a_flood_is_one_message() {
    let sandbox = sandbox(&[]).await;
    let receiver = Receiver::new().await;
    let mut jobs = String::new();
    for number in 0..300 {
        jobs += &format!(
            "  e{number}: {{ stack: s1, job: gone-{number}, cron: '* * * * * *', paused: false }}\n"
        );
    }
    let ops = format!("webhook: '{}/hook', format: slack, on: rejected", receiver.url);
    let mut daemon = Place::with(&telling(&sandbox, &ops, "catch_up: latest", &jobs)).start();
    let got = receiver.wait_for("flood", |got| got.len() >= 2).await;
    daemon.stop();
    let text = got[0].json()["text"].as_str().map(str::to_owned).expect("a text");
    assert!(text.starts_with("*stackcron* on "), "{text}");
    assert!(text.contains("occurrences rejected"), "{text}");
    assert!(text.contains(" more"), "{text}");
    assert!(text.lines().count() <= 12, "{text}");
    let rejected = daemon.events("occurrence.rejected").len();
    assert!(rejected >= 600, "there were many: {rejected}");
    assert!(receiver.got.borrow().len() < 10, "and few messages");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_good_end_after_a_bad_one_is_told_once() {
    let sandbox = sandbox(&[]).await;
    let receiver = Receiver::new().await;
    let ops = format!("webhook: '{}/hook'", receiver.url);
    let file = |job: &str| {
        telling(&sandbox, &ops, "", &format!("  nightly: {{ stack: s1, job: {job}, cron: '* * * * * *' }}\n"))
    };
    let place = Place::with(&file("j-fails"));
    let mut daemon = place.start();
    receiver.told("nightly", "failed").await;
    place.write(&file("j1"));
    daemon.event("schedule.reloaded");
    let got = receiver.told("nightly", "recovered").await;
    sandbox.wait_for(|ledger| ledger.of(Endpoint::RunNow).count() >= 8).await;
    daemon.stop();
    let recovered = got.iter().flat_map(Got::ends).filter(|(_, what)| what == "recovered").count();
    assert_eq!(recovered, 1, "{got:#?}");
    let last = got.last().expect("a message").json();
    let of_recovery = last["occurrences"].as_array().expect("occurrences").last().cloned().expect("one");
    assert_eq!(of_recovery["action_finished_success"], true, "{of_recovery}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_does_not_take_is_sent_again() {
    let sandbox = sandbox(&[]).await;
    let status = |status: StatusCode| Answer::Status(status);
    let first = [status(StatusCode::INTERNAL_SERVER_ERROR), status(StatusCode::TOO_MANY_REQUESTS)];
    let receiver = Receiver::answering(&first).await;
    let ops = format!("webhook: '{}/hook'", receiver.url);
    let jobs = "  fails: { stack: s1, job: j-fails, cron: '* * * * * *' }\n";
    let mut daemon = Place::with(&telling(&sandbox, &ops, "", jobs)).start();
    let got = receiver.wait_for("retry", |got| got.len() >= 4).await;
    daemon.stop();
    assert_eq!((&got[0].body, &got[1].body), (&got[1].body, &got[2].body), "the same message");
    assert_ne!(got[2].body, got[3].body, "and then the next one");
    assert!(daemon.events("notify.failed").is_empty(), "{}", daemon.raw);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_delays_nothing_and_is_given_up() {
    let sandbox = sandbox(&[]).await;
    let receiver = Receiver::answering(&[Answer::Hang, Answer::Hang]).await;
    let ops = format!("webhook: '{}/hook'", receiver.url);
    let jobs = "  fails: { stack: s1, job: j-fails, cron: '* * * * * *', catch_up: all }\n";
    let mut daemon = Place::with(&telling(&sandbox, &ops, "", jobs)).start();
    receiver.wait_for("first message", |got| got.len() == 1).await;
    let before = sandbox.ledger().of(Endpoint::RunNow).count();
    sandbox.wait_for(|ledger| ledger.of(Endpoint::RunNow).count() >= before + 5).await;
    assert_eq!(receiver.got.borrow().len(), 1, "all this while it has one message, and no more");
    // It is timed out, and sent again.
    let got = receiver.wait_for("second try", |got| got.len() == 2).await;
    assert_eq!(got[0].body, got[1].body, "the same message");
    let asked = std::time::Instant::now();
    assert!(daemon.stop().success());
    assert!(asked.elapsed() < Duration::from_secs(20), "it is gone after {:?}", asked.elapsed());
    let started = daemon.events("action.started");
    let missed = daemon.events("occurrence.missed").len() + daemon.events("occurrence.waiting").len();
    assert_eq!(missed, 0, "nothing waited: {}", daemon.raw);
    assert_eq!(started.len(), sandbox.ledger().of(Endpoint::RunNow).count());
    let failed = daemon.events("notify.failed");
    assert_eq!(failed.len(), 1, "what was never taken is told: {}", daemon.raw);
    assert!(failed[0]["lost"].as_u64().is_some_and(|lost| lost >= 5), "{}", failed[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_sent_when_the_daemon_stops() {
    let sandbox = sandbox(&[]).await;
    let receiver = Receiver::new().await;
    let ops = format!("webhook: '{}/hook'", receiver.url);
    let jobs = "  gone: { stack: s1, job: gone, cron: '* * * * * *' }\n";
    let mut daemon = Place::with(&telling(&sandbox, &ops, "", jobs)).start();
    daemon.event("occurrence.rejected");
    daemon.stop();
    let told: usize = receiver.got.borrow().iter().map(|got| got.ends().len()).sum();
    assert_eq!(told, daemon.events("occurrence.rejected").len(), "every one is told:\n{}", daemon.raw);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_address_is_never_printed() {
    let sandbox = sandbox(&[]).await;
    let refusing: Vec<Answer> = (0..50).map(|_| Answer::Status(StatusCode::NOT_FOUND)).collect();
    let receiver = Receiver::answering(&refusing).await;
    let place = Place::with("");
    let kept = place.directory.path().join("webhook");
    std::fs::write(&kept, format!("{}/T0/s3cret-hook?key=s3cret-key\n", receiver.url)).expect("a file");
    let jobs = format!(
        "  gone: {{ stack: s1, job: gone, cron: '* * * * * *', ping: '{}/s3cret-ping' }}\n  \
           dead: {{ stack: s1, job: gone-too, cron: '* * * * * *', ping: {{ env: PING }} }}\n",
        receiver.url
    );
    place.write(&telling(&sandbox, &format!("webhook: {{ file: '{}' }}", kept.display()), "", &jobs));
    let place = place.env("PING", "http://127.0.0.1:9/s3cret-dead");
    let mut daemon = place.start_with(&["--log-level", "debug"]);
    let failed = daemon.wait_for("notify.failed", |line| line["receiver"] == "ops");
    assert_eq!((&failed["host"], &failed["attempts"]), (&"127.0.0.1".into(), &1.into()), "{failed}");
    daemon.wait_for("notify.failed", |line| line["entry"] == "gone");
    let refused = daemon.wait_for("notify.failed", |line| line["entry"] == "dead");
    let error = refused["error"].as_str().unwrap_or_default();
    assert!(error.contains("refused") && refused["host"] == "127.0.0.1", "it says why: {refused}");
    assert!(
        receiver.got.borrow().iter().any(|got| got.path == "/T0/s3cret-hook?key=s3cret-key"),
        "it was asked"
    );
    daemon.stop();
    let failures = daemon.events("notify.failed").len();
    assert_eq!(failures, 3, "each is told once:\n{}", daemon.raw);
    let stderr = daemon.stderr();
    assert!(!daemon.raw.contains("s3cret") && !stderr.contains("s3cret"), "{}\n{stderr}", daemon.raw);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_pings_at_its_start_its_success_and_its_failure() {
    let sandbox = sandbox(&[]).await;
    let receiver = Receiver::new().await;
    let ping = |name: &str| format!("{}/{name}?rid=1", receiver.url);
    let jobs = format!(
        "  good: {{ stack: s1, job: j1, cron: '* * * * * *', ping: '{}' }}\n  \
           fails: {{ stack: s1, job: j-fails, cron: '* * * * * *', ping: '{}' }}\n  \
           blind: {{ stack: s2, job: j1, cron: '* * * * * *', follow: false, ping: '{}' }}\n",
        ping("good"),
        ping("fails"),
        ping("blind")
    );
    let mut daemon = Place::with(&schedule(&sandbox.url(), "", &jobs)).start();
    let has = |got: &[Got], path: &str| got.iter().any(|got| got.path == path);
    let paths =
        ["/good/start?rid=1", "/good?rid=1", "/fails/start?rid=1", "/fails/fail?rid=1", "/blind?rid=1"];
    let got = receiver.wait_for("ping", |got| paths.iter().all(|path| has(got, path))).await;
    daemon.stop();
    for path in ["/good/fail?rid=1", "/fails?rid=1", "/blind/start?rid=1", "/blind/fail?rid=1"] {
        assert!(!has(&got, path), "{path} was not to be asked: {got:#?}");
    }
    let place = |path: &str| got.iter().position(|got| got.path == path);
    assert!(place("/good/start?rid=1") < place("/good?rid=1"), "in order: {got:#?}");
    let fail = got.iter().find(|got| got.path == "/fails/fail?rid=1").expect("a failure");
    assert_eq!(fail.method, Method::POST);
    assert!(fail.body.starts_with("fails: action "), "it says why: {}", fail.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_not_there_is_refused_at_start_and_at_reload() {
    let sandbox = sandbox(&[]).await;
    let jobs = "  nightly: { stack: s1, job: j1, cron: '* * * * * *' }\n";
    let bad = telling(&sandbox, "webhook: { env: NOT_SET }", "", jobs);
    let place = Place::with(&bad).env("WORDS", "s3cret no address");
    let mut daemon = place.start();
    let status = daemon.end();
    assert_eq!(status.code(), Some(78), "{}", daemon.raw);
    let line = daemon.event("notify.unusable");
    assert_eq!(line["receiver"], "ops", "{line}");
    assert!(line["error"].as_str().is_some_and(|error| error.contains("NOT_SET")), "{line}");

    place.write(&schedule(&sandbox.url(), "", jobs));
    let mut daemon = place.start();
    daemon.event("action.started");
    place.replace(&telling(&sandbox, "webhook: { env: WORDS }", "", jobs));
    let line = daemon.event("notify.unusable");
    assert!(!line.to_string().contains("s3cret"), "{line}");
    let before = sandbox.ledger().of(Endpoint::RunNow).count();
    sandbox.wait_for(|ledger| ledger.of(Endpoint::RunNow).count() > before).await;
    daemon.stop();
    assert!(daemon.events("schedule.reloaded").is_empty(), "the old one goes on:\n{}", daemon.raw);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_sandbox_nobody_is_told() {
    let receiver = Receiver::new().await;
    let file = format!(
        "accounts: {{ main: {{ token: {{ env: NOT_SET }} }} }}\n\
         notify: {{ ops: {{ webhook: '{0}/hook' }}, more: {{ webhook: {{ env: NOT_SET }} }} }}\n\
         jobs:\n  nightly: {{ stack: s1, job: j1, cron: '* * * * * *', notify: [ops, more], ping: '{0}/ping' }}\n",
        receiver.url
    );
    let mut daemon = Place::with(&file).start_with(&["--sandbox"]);
    daemon.event("action.finished");
    daemon.stop();
    assert!(receiver.got.borrow().is_empty(), "{:#?}", receiver.got.borrow());
}
