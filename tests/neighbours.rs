//! Two daemons on one machine never fire one thing twice.

use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use rustix::process::Signal;
use serde_json::Value;
use stackcron::sandbox::Sandbox;

use crate::common::postgres::Server;
use crate::common::{Daemon, Ended, Place, sandbox, schedule};

const YEARLY: &str = "  nightly: { stack: s1, job: j1, cron: '0 0 1 1 *' }\n";
const OTHER: &str = "  other: { stack: s1, job: j2, cron: '0 0 1 1 *' }\n";

fn started(place: &Place) -> Daemon {
    let mut daemon = place.start();
    daemon.event("daemon.started");
    daemon
}

/// A state directory that no other daemon uses, for the schedule of `place`.
fn beside(place: &Place) -> (tempfile::TempDir, Place) {
    let state = tempfile::tempdir().expect("a directory");
    let beside = place.clone().env("STATE_DIRECTORY", &state.path().display().to_string());
    (state, beside)
}

fn assert_refused(ended: &Ended, expected: &[&str]) {
    assert_eq!(ended.status.code(), Some(78), "{ended:?}");
    for expected in expected {
        assert!(ended.stderr.contains(expected), "stderr says {expected}: {}", ended.stderr);
    }
    assert!(ended.stdout.contains("schedule.rejected"), "the log says so as well: {}", ended.stdout);
    assert!(!ended.stdout.contains("daemon.started"), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_file_beside_the_service_is_refused_until_the_service_has_stopped() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", YEARLY);
    let mut service = started(&place);
    let (_state, by_hand) = beside(&place);
    let process = format!("process {} already fires this schedule file", service.id());
    assert_refused(&by_hand.run(&["run"]), &[&process, "--sandbox"]);
    assert!(service.stop().success(), "{}", service.raw);
    assert!(started(&by_hand).stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_another_file_is_refused_by_its_stack_and_job_and_url() {
    let sandbox = sandbox(&[]).await;
    let service = started(&Place::firing_at(&sandbox, "", &format!("{YEARLY}{OTHER}")));
    let process = format!("process {} already fires what entry", service.id());
    let one =
        "  a: { stack: s2, job: j1, cron: '@yearly' }\n  mine: { stack: s1, job: j2, cron: '@daily' }\n";
    let (one, more) = (one.to_owned(), format!("{one}  b: {{ stack: s1, job: j1, cron: '@daily' }}\n"));
    assert_refused(&Place::firing_at(&sandbox, "", &one).run(&["run"]), &[&process, "entry mine fires"]);
    assert_refused(
        &Place::firing_at(&sandbox, "", &more).run(&["run"]),
        &[&process, "entry mine and 1 more"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_url_and_a_sandbox_are_no_business_of_the_first() {
    let (first, second) = (sandbox(&[]).await, sandbox(&[]).await);
    let place = Place::firing_at(&first, "", YEARLY);
    let _service = started(&place);
    assert!(started(&Place::firing_at(&second, "", YEARLY)).stop().success());
    let (_state, played) = beside(&place);
    let mut played = played.start_with(&["--sandbox"]);
    played.event("daemon.started");
    assert!(played.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_one_shared_journal_fire_one_file_together() {
    let sandbox = sandbox(&[]).await;
    let Some(server) = Server::shared() else { return };
    let journal = server.url(&server.database());
    let place = Place::firing_at(&sandbox, "", YEARLY).env("STACKCRON_JOURNAL", &journal);
    let mut first = started(&place);
    let (_state, second) = beside(&place);
    let mut second = second.start();
    second.event("schedule.loaded");
    second.event("daemon.started");
    // One with a journal of its own is none of them.
    let (_state, alone) = beside(&place);
    assert_refused(&alone.env("STACKCRON_JOURNAL", "").run(&["run"]), &["already fires this schedule file"]);
    assert!(second.stop().success() && first.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_daemon_that_hangs_is_told_of_and_holds_up_nothing() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", YEARLY);
    let service = started(&place);
    service.signal(Signal::STOP);
    let (_state, by_hand) = beside(&place);
    let mut by_hand = by_hand.start();
    let id = service.id();
    by_hand.wait_for("neighbour.unasked", |line| line["pid"] == id);
    by_hand.event("daemon.started");
    service.signal(Signal::CONT);
    assert!(by_hand.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_under_a_daemons_name_is_told_of_and_not_believed() {
    let name = format!("stackcron.fires.{}.0123456789abcdef", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let listener = UnixListener::bind_addr(&address).expect("a socket");
    let over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&over);
    let answering = std::thread::spawn(move || {
        // Who has hung up already, as a parallel test's daemon may, wants no answer.
        while let (false, Ok((mut stream, _))) = (is_over.load(SeqCst), listener.accept()) {
            let _ = stream.write_all(b"garbage");
        }
    });
    let sandbox = sandbox(&[]).await;
    let mut daemon = Place::firing_at(&sandbox, "", YEARLY).start();
    let id = std::process::id();
    daemon.wait_for("neighbour.unasked", |line| line["pid"] == id);
    daemon.event("daemon.started");
    assert!(daemon.stop().success());
    over.store(true, SeqCst);
    UnixStream::connect_addr(&address).expect("it still answers");
    answering.join().expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_that_start_at_one_moment_exactly_one_fires() {
    let sandbox = sandbox(&[]).await;
    for round in 0..5 {
        let place = Place::firing_at(&sandbox, "", YEARLY);
        let places: Vec<_> = (0..3).map(|_| beside(&place)).collect();
        let mut daemons: Vec<Daemon> = places.iter().map(|(_, place)| place.start()).collect();
        let mut fires = 0;
        for daemon in &mut daemons {
            loop {
                match daemon.next_event()["event"].as_str() {
                    Some("daemon.started") => {
                        fires += 1;
                        break;
                    }
                    Some("schedule.rejected") => {
                        assert_eq!(daemon.end().code(), Some(78), "{}", daemon.raw);
                        break;
                    }
                    _ => {}
                }
            }
        }
        assert_eq!(fires, 1, "in round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_adds_what_another_daemon_fires_is_rejected_until_that_one_has_stopped() {
    let sandbox = sandbox(&[]).await;
    let (one, two) = (Place::firing_at(&sandbox, "", YEARLY), Place::firing_at(&sandbox, "", OTHER));
    let (mut first, mut second) = (started(&one), started(&two));
    two.replace(&added(&sandbox));
    let rejected = second.event("schedule.rejected");
    let expected = format!("process {} already fires what entry nightly fires", first.id());
    assert!(rejected["first"].as_str().is_some_and(|said| said.starts_with(&expected)), "{rejected}");
    let status: Value = serde_json::from_str(&two.run(&["status", "--format", "json"]).stdout).expect("JSON");
    assert_eq!(status["schedule"]["entries"], 1, "{status}");
    assert_eq!(status["entries"][0]["entry"], "other", "{status}");
    assert!(first.stop().success());
    second.signal(Signal::HUP);
    let reloaded = second.event("schedule.reloaded");
    assert_eq!((&reloaded["entries"], &reloaded["added"]), (&2.into(), &1.into()), "{reloaded}");
    // What it fires now is its own: the first one cannot come back.
    assert_refused(&one.run(&["run"]), &[&format!("process {} already fires", second.id())]);
    assert!(second.stop().success());
}

fn added(sandbox: &Sandbox) -> String {
    schedule(&sandbox.url(), "", &format!("{OTHER}{YEARLY}"))
}
