//! A reader of the log that hangs: a pipe that nobody empties.

use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stackcron::sandbox::Endpoint;

use crate::common::{DOUBT_ENDS, MACHINE, Place, sandbox, until, until_within};

const FIRES: &str = "  fires: { stack: s1, job: j1, cron: '* * * * * *', follow: false }\n";

/// A daemon whose log goes to a pipe that nobody reads.
struct Unread(Child);

impl Unread {
    fn start(place: &Place) -> Unread {
        let mut command = place.command(&["run", "--log-format", "json"]);
        Unread(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the daemon starts"))
    }

    fn stop(&self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).expect("the daemon lives");
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Entries that are due each second and skipped: a line each.
fn skipped(entries: usize) -> String {
    (0..entries).fold(String::new(), |mut jobs, number| {
        let _ = writeln!(
            jobs,
            "  s{number}: {{ stack: s2, job: j1, args: '{number}', cron: '* * * * * *', paused: true }}"
        );
        jobs
    })
}

fn status(place: &Place) -> Result<Value, String> {
    let ended = place.run(&["status", "--format", "json"]);
    serde_json::from_str(&ended.stdout).map_err(|error| format!("{error}: {ended:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn firing_goes_on_beyond_what_is_kept_and_all_that_is_lost_is_counted() {
    let _machine = MACHINE.acquire().await.expect("it is never closed");
    let sandbox = sandbox(&[]).await;
    let jobs = format!("{FIRES}{}", skipped(4000));
    let place = Place::firing_at(&sandbox, "quota: { limit: 100000 }", &jobs);
    let mut daemon = Unread::start(&place);
    let gap = |status: &Value| {
        let attention = status["attention"].as_array().cloned().unwrap_or_default();
        attention.into_iter().find(|problem| problem["kind"] == "log")
    };
    let problem = until_within(DOUBT_ENDS, "lines are dropped", || {
        let status = status(&place)?;
        gap(&status).ok_or_else(|| status.to_string())
    });
    assert!(problem["what"].as_str().is_some_and(|what| what.contains("dropped")), "{problem}");
    let fired = || sandbox.ledger().of(Endpoint::RunNow).count();
    let before = fired();
    until("it fires on", || if fired() > before + 3 { Ok(()) } else { Err(fired().to_string()) });

    // The reader goes on.
    let lines = BufReader::new(daemon.0.stdout.take().expect("its stdout")).lines();
    let (mut told, mut read) = (None, 0);
    for line in lines {
        let line: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        read += 1;
        if line["event"] == "log.dropped" {
            told = line["lines"].as_u64();
            daemon.stop();
        }
    }
    assert!(
        told.is_some_and(|lines| lines > 0),
        "of {read} lines one tells how many others there were: {told:?}"
    );
    assert!(read >= 100_000, "what was kept is not lost: {read}");
    assert!(daemon.0.wait().expect("it ends").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_reader_that_hangs() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", &format!("{FIRES}{}", skipped(500)));
    let mut daemon = Unread::start(&place);
    // A thousand lines are more than a pipe holds.
    until("the log hangs", || {
        let history = place.run(&["history", "--format", "json"]).stdout;
        let skipped = history.matches("\"skipped\"").count();
        let fired = history.contains("\"started\"");
        if skipped > 1000 && fired {
            Ok(())
        } else {
            Err(format!("{skipped} are skipped, and one fired: {fired}"))
        }
    });
    daemon.stop();
    let ended = until_within(Duration::from_secs(20), "it ends", || {
        daemon.0.try_wait().map_err(|error| error.to_string())?.ok_or_else(|| "it runs".to_owned())
    });
    assert!(ended.success(), "{ended:?}");
    // The journal has what the log lacks.
    let history = place.run(&["history", "fires"]);
    assert!(history.stdout.contains("started"), "{history:?}");
}
