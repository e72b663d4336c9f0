//! The daemon from start to end: signals, secrets, a burst, and what it refuses to start with.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::common::{PATIENCE, Place, sandbox, sandbox_with, schedule, settings, until};
use rustix::process::Signal;
use stackcron::sandbox::Endpoint;

const EVERY_SECOND: &str = "  nightly: { stack: s1, job: j1, cron: '* * * * * *' }\n";

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_what_is_in_flight_finish_and_starts_nothing_more() {
    for signal in [Signal::TERM, Signal::INT] {
        let sandbox = sandbox(&["slow=2s"]).await;
        let mut daemon = Place::firing_at(&sandbox, "", EVERY_SECOND).start();
        sandbox.wait_for(|ledger| ledger.of(Endpoint::RunNow).count() == 1).await;
        daemon.signal(signal);
        let status = daemon.end();
        assert!(status.success(), "it exits 0: {status}\n{}", daemon.raw);
        let stopping = daemon.events("daemon.stopping");
        assert_eq!(stopping[0]["in_flight"], 1, "{}", daemon.raw);
        let sent = sandbox.ledger().of(Endpoint::RunNow).count();
        assert_eq!(daemon.events("action.started").len(), sent, "each is logged:\n{}", daemon.raw);
        assert_eq!(daemon.log.last().map(|line| line["event"].clone()), Some("daemon.stopped".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_finish_in_ten_seconds_is_found_out_at_the_next_start() {
    let sandbox = sandbox(&["slow=60s"]).await;
    let place = Place::firing_at(&sandbox, "", EVERY_SECOND);
    let mut daemon = place.start();
    sandbox.wait_for(|ledger| ledger.of(Endpoint::RunNow).count() >= 1).await;
    let asked = std::time::Instant::now();
    assert!(daemon.stop().success());
    assert!(asked.elapsed() < Duration::from_secs(20), "it is gone after {:?}", asked.elapsed());
    let sent = sandbox.ledger().of(Endpoint::RunNow).count();
    assert_eq!(daemon.event("daemon.stopped")["in_flight"], sent, "{}", daemon.raw);
    assert_eq!(daemon.events("occurrence.unknown").len(), 0, "{}", daemon.raw);
    sandbox.set_faults(Vec::new());
    let mut daemon = place.start();
    for call in sandbox.ledger().started() {
        daemon.wait_for("action.started", |line| line["action_id"] == serde_json::json!(call.action));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_due_in_one_second_all_start_once() {
    let sandbox = sandbox(&[]).await;
    let due = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + 12).expect("a timestamp");
    let cron = due.strftime("%-S %-M %-H %-d %-m *");
    let jobs: String = (0..10_000)
        .map(|n| format!("  e{n}: {{ stack: s1, job: j1, args: '{n}', follow: false, cron: '{cron}' }}\n"))
        .collect();
    let mut daemon = Place::firing_at(&sandbox, "quota: { limit: 100000 }", &jobs).start();
    let all = sandbox.wait_for(|ledger| ledger.started().count() >= 10_000);
    let ledger = tokio::time::timeout(PATIENCE, all).await.expect("all are sent");
    until("10,000 lines of the log", || {
        daemon.read();
        let lines = daemon.events("action.started").len();
        if lines >= 10_000 { Ok(()) } else { Err(lines.to_string()) }
    });
    assert!(daemon.stop().success());
    let entries: HashSet<String> =
        daemon.events("action.started").iter().map(|line| line["entry"].to_string()).collect();
    assert_eq!(entries.len(), 10_000, "each entry is in the log");
    assert_eq!(daemon.events("action.started").len(), 10_000, "none is in it twice");
    let arguments: HashSet<_> = ledger.started().filter_map(|call| call.args.clone()).collect();
    assert_eq!(arguments.len(), 10_000, "each reached the server");
    assert_eq!(sandbox.ledger().started().count(), 10_000, "none reached it twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_output() {
    let faults = ["status=500:times=1", "redirect:to=http://127.0.0.1:1/,times=2", "close-after:times=3"];
    let sandbox = sandbox(&faults).await;
    let jobs = "  nightly: { stack: s1, job: j1, cron: '* * * * * *', args: 'password=hunter2' }\n";
    let mut daemon = Place::firing_at(&sandbox, "timeout: 1s", jobs).start_with(&["--log-level", "debug"]);
    daemon.event("action.finished");
    assert!(daemon.stop().success());
    let output = daemon.stderr() + &daemon.raw;
    for secret in [stackcron::sandbox::DEFAULT_TOKEN, "hunter2", "job_args", "Bearer"] {
        assert!(!output.contains(secret), "{secret} is in the output:\n{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_from_a_file_that_others_can_read_is_warned_of() {
    let sandbox = sandbox(&[]).await;
    let place = Place::with("");
    let token = place.directory.path().join("token");
    std::fs::write(&token, format!("{}\n", stackcron::sandbox::DEFAULT_TOKEN)).expect("the token");
    std::fs::set_permissions(&token, PermissionsExt::from_mode(0o644)).expect("its mode");
    let account = format!("url: '{}', token: {{ file: '{}' }}", sandbox.url(), token.display());
    place.write(&format!("accounts: {{ main: {{ {account} }} }}\njobs:\n{EVERY_SECOND}"));
    let mut daemon = place.start();
    let line = daemon.event("token.exposed");
    assert!(line["hint"].as_str().is_some_and(|hint| hint.contains("chmod")), "{line}");
    daemon.event("action.started");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_read_from_its_directory() {
    let sandbox = sandbox(&[]).await;
    let place = Place::with("");
    let directory = place.directory.path().join("credentials");
    std::fs::create_dir(&directory).expect("a directory");
    std::fs::write(directory.join("cloud66-token"), stackcron::sandbox::DEFAULT_TOKEN).expect("the token");
    let account = format!("url: '{}', token: {{ credential: cloud66-token }}", sandbox.url());
    place.write(&format!("accounts: {{ main: {{ {account} }} }}\njobs:\n{EVERY_SECOND}"));
    let place = place.env("CREDENTIALS_DIRECTORY", &directory.display().to_string());
    place.start().event("action.started");
}

#[test]
fn a_missing_or_malformed_token_is_a_clear_error_and_exit_78() {
    let place = Place::with("");
    let file = |content: &[u8]| {
        let path = place.directory.path().join(format!("token-{}", content.len()));
        std::fs::write(&path, content).expect("the token");
        format!("{{ file: '{}' }}", path.display())
    };
    for (token, expected) in [
        ("{ env: NOT_SET }".to_owned(), "NOT_SET"),
        ("{ credential: cloud66-token }".to_owned(), "LoadCredential"),
        ("{ file: /nonexistent/token }".to_owned(), "/nonexistent/token"),
        ("{ file: /dev/zero }".to_owned(), "no file"),
        (file(b"abc\r\nX-Evil: 1\n"), "line break as its character 4"),
        (file(b""), "empty"),
    ] {
        place.write(&format!("accounts: {{ main: {{ token: {token} }} }}\njobs:\n{EVERY_SECOND}"));
        let ended = place.run(&["run"]);
        assert_eq!(ended.status.code(), Some(78), "with {token}: {ended:?}");
        assert!(ended.stderr.contains(expected), "with {token} stderr names {expected}: {}", ended.stderr);
        assert!(!ended.stderr.contains("X-Evil"), "no token is printed: {}", ended.stderr);
    }
}

#[test]
fn a_bad_schedule_is_told_in_full_and_exit_78() {
    let place = Place::with(&schedule(
        "http://127.0.0.1:1",
        "",
        "  a: { stack: s1, job: j1, cron: '61 * * * *' }\n  b: { stack: s1, jub: j1, cron: '1 * * * *' }\n",
    ));
    let ended = place.run(&["run"]);
    assert_eq!(ended.status.code(), Some(78), "{ended:?}");
    for expected in ["schedule.yaml:3:", "schedule.yaml:4:", "jub"] {
        assert!(ended.stderr.contains(expected), "stderr names {expected}: {}", ended.stderr);
    }
    assert!(ended.stdout.contains("schedule.rejected"), "the log tells it too: {}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_the_schedule_again() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", EVERY_SECOND);
    let mut daemon = place.start();
    daemon.event("action.started");
    let jobs = format!("{EVERY_SECOND}  added: {{ stack: s2, job: j1, cron: '* * * * * *' }}\n");
    place.write(&schedule(&sandbox.url(), "", &jobs));
    daemon.signal(Signal::HUP);
    let line = daemon.event("schedule.reloaded");
    assert_eq!((&line["entries"], &line["added"]), (&2.into(), &1.into()), "{line}");
    daemon.wait_for("action.started", |line| line["entry"] == "added");
    assert!(daemon.stop().success());
    assert_unique(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_schedule_changes_nothing_at_reload() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", EVERY_SECOND);
    let mut daemon = place.start();
    daemon.event("action.started");
    place.write("jobs: [");
    daemon.signal(Signal::HUP);
    let rejected = daemon.event("schedule.rejected");
    daemon.wait_for("action.started", |line| line["timestamp"].as_str() > rejected["timestamp"].as_str());
    assert!(daemon.stop().success());
    assert_unique(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_read_again_at_reload() {
    let sandbox = sandbox(&[]).await;
    let place = Place::with("");
    let token = place.directory.path().join("token");
    std::fs::write(&token, "revoked").expect("the token");
    let account = format!("url: '{}', token: {{ file: '{}' }}", sandbox.url(), token.display());
    place.write(&format!("accounts: {{ main: {{ {account} }} }}\njobs:\n{EVERY_SECOND}"));
    let mut daemon = place.start();
    let line = daemon.event("occurrence.rejected");
    assert_eq!(line["status"], 401, "{line}");
    std::fs::write(&token, stackcron::sandbox::DEFAULT_TOKEN).expect("the token");
    daemon.signal(Signal::HUP);
    daemon.event("action.started");
}

/// No occurrence has two actions.
fn assert_unique(daemon: &crate::common::Daemon) {
    let started = daemon.events("action.started");
    let unique: HashSet<String> =
        started.iter().map(|line| format!("{} {}", line["entry"], line["scheduled_at"])).collect();
    assert_eq!(unique.len(), started.len(), "an occurrence started twice:\n{}", daemon.raw);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_the_last_one_ended() {
    let sandbox = sandbox(&[]).await;
    let jobs = "  all: { stack: s1, job: j1, cron: '* * * * * *', catch_up: all, follow: false }\n  \
                latest: { stack: s1, job: j2, cron: '* * * * * *', follow: false }\n  \
                none: { stack: s2, job: j1, cron: '* * * * * *', catch_up: none, follow: false }\n";
    let place = Place::firing_at(&sandbox, "", jobs);
    let mut first = place.start();
    first.wait_for("action.started", |line| line["entry"] == "all");
    assert!(first.stop().success());
    let last = first.events("action.started").iter().filter(|line| line["entry"] == "all").count();
    // Some occurrences come due while no daemon runs.
    let gap_end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(8);
    while jiff::Timestamp::now() < gap_end {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut second = place.start();
    second.wait_for("occurrence.missed", |line| line["entry"] == "none" && line["reason"] == "down");
    second.wait_for("occurrence.missed", |line| line["entry"] == "latest" && line["reason"] == "superseded");
    second.wait_for("action.started", |line| {
        line["entry"] == "all" && line["lateness_ms"].as_i64() > Some(2000)
    });
    second.wait_for("action.started", |line| line["entry"] == "none");
    assert!(second.stop().success());
    let mut all: Vec<String> = first
        .events("action.started")
        .into_iter()
        .chain(second.events("action.started"))
        .filter(|line| line["entry"] == "all")
        .map(|line| line["scheduled_at"].as_str().unwrap_or_default().to_owned())
        .collect();
    all.sort();
    let seconds: Vec<i64> =
        all.iter().map(|at| at.parse::<jiff::Timestamp>().expect("an instant").as_second()).collect();
    assert!(seconds.len() > last + 3, "those of the gap are among them: {all:?}");
    assert!(seconds.windows(2).all(|pair| pair[1] == pair[0] + 1), "none lost, none twice: {all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_leads_to_no_certificate_is_named_at_the_start() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", EVERY_SECOND).env("SSL_CERT_FILE", "/nowhere/roots.pem");
    let ended = place.run(&["run", "--log-format", "json"]);
    assert_eq!(ended.status.code(), Some(78), "no TLS can be set up: {ended:?}");
    for said in
        ["certificates.missing", "SSL_CERT_FILE leads to no certificate (/nowhere/roots.pem: No such file"]
    {
        assert!(ended.stdout.contains(said), "{said}: {ended:?}");
    }
    // With another one that leads to some it starts, and some servers are trusted.
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let roots = place.directory.path().join("roots.pem");
    std::fs::write(&roots, certified.cert.pem()).expect("written");
    let place =
        place.env("SSL_CERT_FILE", &roots.display().to_string()).env("SSL_CERT_DIR", "/nowhere/certs");
    let mut daemon = place.start();
    let warned = daemon.event("certificates.missing");
    assert_eq!((&warned["variable"], &warned["path"]), (&"SSL_CERT_DIR".into(), &"/nowhere/certs".into()));
    daemon.event("daemon.started");
    assert_eq!(daemon.events("certificates.missing").len(), 1, "{}", daemon.raw);
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_same_state_is_a_clear_error() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", EVERY_SECOND);
    let mut first = place.start();
    first.event("daemon.started");
    let second = place.run(&["run"]);
    assert_eq!(second.status.code(), Some(78), "{second:?}");
    let process = format!("another daemon (process {})", first.id());
    assert!(second.stderr.contains(&process), "{}", second.stderr);
    first.event("action.started");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_open_actions_of_a_stack_cost_a_few_lists() {
    let mut settings = settings(&[]);
    settings.action_duration = Duration::from_secs(8);
    let sandbox = sandbox_with(settings).await;
    let due = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + 4).expect("a timestamp");
    let cron = due.strftime("%-S %-M %-H %-d %-m *");
    let jobs: String =
        (0..20).map(|n| format!("  e{n}: {{ stack: s1, job: j1, args: '{n}', cron: '{cron}' }}\n")).collect();
    let mut daemon = Place::firing_at(&sandbox, "", &jobs).start();
    for n in 0..20 {
        daemon.wait_for("action.finished", |line| line["entry"] == format!("e{n}"));
    }
    assert!(daemon.stop().success());
    let ledger = sandbox.ledger();
    let (lists, single) = (ledger.of(Endpoint::Actions).count(), ledger.of(Endpoint::Action).count());
    assert!(
        lists + single <= 10,
        "{lists} lists and {single} questions for one, for 20 actions asked for some three times"
    );
}
