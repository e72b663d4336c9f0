//! Once, for real: the daemon is killed at random moments while things go wrong, and then the
//! server's ledger, the journal and the log are compared.
//!
//! `STACKCRON_KILLS=50` kills it as often, in a minute and a half; `STACKCRON_SEED=N` repeats a
//! run's moments and faults, as far as the machine's own timing lets it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{ErrorKind, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{MACHINE, PATIENCE, Place, quota, sandbox_with, schedule, settings};
use jiff::Timestamp;
use rustix::process::Signal;
use serde::Deserialize;
use stackcron::journal::{Filter, State, read_history};
use stackcron::sandbox::{Endpoint, Ledger, Sandbox, Unknown};

/// Each is due every second.
const ENTRIES: usize = 100;

/// So many by default, so that the test ends within 40 seconds.
const KILLS: u64 = 12;

/// The daemon lives this long at most, in milliseconds: dead before it has begun, or after a few
/// sweeps.
const LONGEST_LIFE: u64 = 2000;

/// It is away for so long at most, in milliseconds.
const LONGEST_GAP: u64 = 1500;

/// One absence is longer, so that occurrences come due that nobody has claimed.
const LONG_GAP: Duration = Duration::from_millis(6500);

const FAULTS: [&str; 12] = [
    "close-before:p=0.02",
    "close-after:p=0.02",
    "status=500:p=0.02",
    "status=500:effect=first,p=0.02",
    "status=409:p=0.01",
    "garbage:p=0.01",
    "throttled:retry-after=1,p=0.002",
    "slow=400ms:p=0.05",
    "slow=300ms:effect=last,p=0.02",
    "status=500:on=action,p=0.05",
    "close-before:on=action,p=0.05",
    "status=500:on=actions,p=0.1",
];

/// An occurrence by its entry and its instant, as JSON has it.
type Name = (String, String);

/// A row of `history --format json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    entry: String,
    scheduled_at: Timestamp,
    state: String,
    sent_at: Option<Timestamp>,
    lateness_ms: Option<i64>,
    attempts: u32,
    action_id: Option<u64>,
    finished_success: Option<bool>,
    reason: Option<String>,
    #[serde(default)]
    #[expect(dead_code, reason = "told for people")]
    error: Option<String>,
    #[serde(default)]
    #[expect(dead_code, reason = "told for people")]
    replaced_by: Option<Timestamp>,
}

impl Row {
    fn name(&self) -> Name {
        (self.entry.clone(), self.scheduled_at.to_string())
    }
}

/// One of the entries. Together they have every combination of policies, and each has arguments of
/// its own, which the ledger has too.
struct Entry(usize);

impl Entry {
    fn all() -> impl Iterator<Item = Entry> {
        (0..ENTRIES).map(Entry)
    }

    fn named(name: &str) -> Entry {
        Entry(name[1..].parse().expect("a name is e and a number"))
    }

    fn name(&self) -> String {
        format!("e{}", self.0)
    }

    fn follow(&self) -> bool {
        self.0.is_multiple_of(2)
    }

    fn overlap(&self) -> &'static str {
        ["allow", "allow", "allow", "queue", "skip"][self.0 / 8 % 5]
    }

    /// Whether somebody asks for its actions: an overlap can only be seen so.
    fn is_followed(&self) -> bool {
        self.follow() || self.overlap() != "allow"
    }

    fn line(&self, cron: &str) -> String {
        let (name, follow, overlap) = (self.name(), self.follow(), self.overlap());
        let catch_up = ["all", "latest"][self.0 / 2 % 2];
        let job = ["j1", "j-fails"][self.0 / 4 % 2];
        format!(
            "  {name}: {{ stack: s-{name}, job: {job}, args: {name}, cron: '{cron}', follow: {follow}, \
             catch_up: {catch_up}, overlap: {overlap} }}\n"
        )
    }
}

/// All of them.
fn jobs(cron: &str) -> String {
    Entry::all().map(|entry| entry.line(cron)).collect()
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable} is a number, and not {text}: {error}")))
}

/// Past the harness, which keeps what a test prints to itself unless it fails.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_kill_loses_an_occurrence_or_sends_it_twice() {
    let _turn = MACHINE.acquire().await;
    let seed = number("STACKCRON_SEED").unwrap_or_else(|| fastrand::u64(..));
    let kills = number("STACKCRON_KILLS").unwrap_or(KILLS);
    say(&format!("STACKCRON_SEED={seed} STACKCRON_KILLS={kills}"));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut settings = settings(&FAULTS).quota(quota(100_000, Duration::from_secs(2)));
    settings.seed = seed;
    // A stack for each entry: where attempts of several are in doubt at once, few can be told
    // apart.
    settings.unknown = Unknown::Created;
    let sandbox = sandbox_with(settings).await;
    let account = "timeout: 3s, quota: { limit: 100000, window: 2s }";
    let place = Place::firing_at(&sandbox, account, &jobs("* * * * * *"));
    let mut log = String::new();

    let long = random.u64(0..kills.max(1));
    for kill in 0..kills {
        let mut daemon = place.start();
        tokio::time::sleep(Duration::from_millis(random.u64(0..LONGEST_LIFE))).await;
        daemon.signal(Signal::KILL);
        daemon.end();
        log += &daemon.raw;
        let gap = Duration::from_millis(random.u64(0..LONGEST_GAP) * random.u64(0..=1));
        tokio::time::sleep(if kill == long { LONG_GAP } else { gap }).await;
    }
    sandbox.set_faults(Vec::new());
    let mut daemon = place.start();
    let begun = daemon.event("daemon.started")["timestamp"].clone();
    daemon.wait_for("action.started", |line| line["scheduled_at"].as_str() > begun.as_str());
    place.write(&schedule(&sandbox.url(), account, &jobs("0 0 29 2 *")));
    daemon.signal(Signal::HUP);
    daemon.event("schedule.reloaded");
    everything_settles(place.directory.path()).await;
    assert!(daemon.stop().success(), "the last one ends in order\n{}", daemon.stderr());
    log += &daemon.raw;

    let rows = history(&place);
    let mut wrong = compare_with_ledger(&rows, &sandbox, &log);
    wrong.extend(compare_with_log(&rows, &log));
    place.write(&schedule(&sandbox.url(), account, &jobs("* * * * * *")));
    wrong.extend(broken_by_audit(&place, &rows));
    tell_what_happened(&rows, &sandbox.ledger());
    if !wrong.is_empty() {
        let kept = std::env::temp_dir().join(format!("stackcron-once-{seed}.log"));
        std::fs::write(&kept, &log).expect("the log is kept");
        panic!(
            "{} things are wrong with STACKCRON_SEED={seed} STACKCRON_KILLS={kills}; the log is {}:\n{}",
            wrong.len(),
            kept.display(),
            wrong.join("\n")
        );
    }
}

/// Waits until nothing can happen to any occurrence any more.
async fn everything_settles(state: &Path) {
    let end = Instant::now() + 3 * PATIENCE;
    loop {
        let mut open = Vec::new();
        read_history(state, &Filter::default(), |record| {
            let followed = record.state == State::Started
                && record.reason.is_none()
                && record.action_id.is_some()
                && Entry::named(record.key.entry().as_str()).is_followed();
            if followed || matches!(record.state, State::Due | State::Waiting | State::Sending) {
                open.push(record);
            }
            ControlFlow::Continue(())
        })
        .expect("a readable journal");
        if open.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "all of these settle in time: {open:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The journal, as an operator's command tells it.
fn history(place: &Place) -> Vec<Row> {
    let ended = place.run(&["history", "--format", "json"]);
    assert!(ended.status.success(), "history succeeds: {}", ended.stderr);
    let row = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    ended.stdout.lines().map(row).collect()
}

/// What `audit` calls lost, twice or foreign, until the last occurrence: afterwards the schedule
/// was another one.
fn broken_by_audit(place: &Place, rows: &[Row]) -> Vec<String> {
    let last = rows.iter().map(|row| row.scheduled_at).max().expect("some came due");
    let until = last.to_string();
    let ended = place.run(&["audit", "--online", "--from", "-1h", "--until", &until, "--format", "json"]);
    let summary = ended.stdout.lines().last().unwrap_or_default();
    if !summary.contains("\"summary\":true") {
        return vec![format!("audit ends without a summary: {}", ended.stderr)];
    }
    if ended.stderr.contains("warning") {
        return vec![format!("audit could not ask: {}", ended.stderr)];
    }
    let verdicts = ["lost", "twice", "foreign"].map(|verdict| format!("\"verdict\":\"{verdict}\""));
    let broken = ended.stdout.lines().filter(|line| verdicts.iter().any(|verdict| line.contains(verdict)));
    broken.map(|line| format!("audit: {line}")).collect()
}

/// What the journal says, against what the server was asked.
fn compare_with_ledger(rows: &[Row], sandbox: &Sandbox, log: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let given_up = given_up(log);
    let ledger = sandbox.ledger();
    let mut sent: HashMap<&str, BTreeMap<u64, Timestamp>> = HashMap::new();
    let actions = sandbox.actions();
    let begun: HashMap<u64, Timestamp> =
        actions.iter().map(|action| (action.id, action.started_at)).collect();
    for call in ledger.started() {
        let entry = call.args.as_deref().expect("each run_now has its entry's arguments");
        sent.entry(entry).or_default().insert(call.action.expect("it started an action"), call.at);
    }
    let successes: HashMap<u64, bool> = actions.iter().map(|action| (action.id, action.success)).collect();

    let seconds = |rows: &mut dyn Iterator<Item = &Row>| -> BTreeSet<i64> {
        rows.map(|row| row.scheduled_at.as_second()).collect()
    };
    let came = seconds(&mut rows.iter());
    let (first, last) = (came.first().expect("some came due"), came.last().expect("some came due"));
    let all: BTreeSet<i64> = (*first..=*last).collect();
    let mut claimed = HashSet::new();

    for entry in Entry::all() {
        let name = entry.name();
        let of_entry: Vec<&Row> = rows.iter().filter(|row| row.entry == name).collect();
        let here = seconds(&mut of_entry.iter().copied());
        if here != all {
            wrong.push(format!("{name} lacks {:?}", all.difference(&here).collect::<Vec<_>>()));
        }
        if here.len() != of_entry.len() {
            wrong.push(format!("{name} has an occurrence twice in the history"));
        }
        let none = BTreeMap::new();
        let mut unclaimed = sent.get(name.as_str()).unwrap_or(&none).clone();
        for row in &of_entry {
            let mut bad = |what: &str| wrong.push(format!("{what}: {row:?}"));
            match row.state.as_str() {
                "started" if entry.is_followed() && row.reason.is_none() && row.action_id.is_some() => {
                    bad("its end was never told")
                }
                "started" | "finished" | "failed" => match row.action_id {
                    // Found out later, and not which: see below.
                    None if given_up.contains_key(&row.name()) => {}
                    None => bad("it has no action"),
                    Some(action) => {
                        // When one that was killed sent it only its action tells, which a slow
                        // server began after it had arrived.
                        match unclaimed.remove(&action).map(|at| at.max(begun[&action])) {
                            None => bad("its action is not in the ledger, or is another occurrence's"),
                            Some(at)
                                if row.sent_at.is_none_or(|sent| sent > at || sent < row.scheduled_at) =>
                            {
                                bad("it was not sent when it says");
                            }
                            Some(_) => {}
                        }
                        if !claimed.insert(action) {
                            bad("its action is another occurrence's");
                        }
                        let success = row.state != "failed";
                        if row.state != "started" && successes.get(&action) != Some(&success) {
                            bad("its action did not end so");
                        }
                        if row.finished_success.is_some_and(|said| said != success) {
                            bad("its state and its action's end differ");
                        }
                    }
                },
                "missed" | "skipped" if row.sent_at.is_none() && row.reason.is_some() => {}
                "rejected" if row.attempts > 0 && row.reason.is_some() => {}
                "unknown" if row.reason.is_some() => {}
                _ => bad("this is no final state, or lacks its reason"),
            }
            if row.sent_at.is_some() != row.lateness_ms.is_some() {
                bad("sent, and no lateness");
            }
        }
        // What is left of the ledger are starts of occurrences that lack an action, each of another
        // one: sent when it was due or later, and before it was given up or told to have started.
        let lacking = |state: &str| {
            let rows = of_entry.iter().filter(|row| row.state == state && row.action_id.is_none());
            let mut spans: Vec<(Timestamp, Timestamp)> =
                rows.filter_map(|row| Some((*given_up.get(&row.name())?, row.scheduled_at))).collect();
            spans.sort();
            spans
        };
        let (mut started, mut unknown) = (lacking("started"), lacking("unknown"));
        let mut times: Vec<Timestamp> = unclaimed.values().copied().collect();
        times.sort();
        for at in times {
            let take = |spans: &mut Vec<(Timestamp, Timestamp)>| {
                let fits = spans.iter().position(|(given_up, due)| *due <= at && at <= *given_up);
                fits.map(|place| spans.remove(place)).is_some()
            };
            if !take(&mut started) && !take(&mut unknown) {
                wrong.push(format!("{name} was started at {at}, and no occurrence is left that could be it"));
            }
        }
        wrong.extend(
            started.iter().map(|(_, due)| format!("{name} of {due} is told to have started, and did not")),
        );
    }
    wrong
}

/// When each occurrence whose action is not known was last told to be unknown, or to have started
/// one.
fn given_up(log: &str) -> HashMap<Name, Timestamp> {
    #[derive(Deserialize)]
    struct Line {
        timestamp: Timestamp,
        entry: String,
        scheduled_at: Timestamp,
    }
    let told = [r#""event":"occurrence.unknown""#, r#""verdict":"started""#];
    let unknown = log.lines().filter(|line| told.iter().any(|told| line.contains(told)));
    let lines = unknown.filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines.map(|line| ((line.entry, line.scheduled_at.to_string()), line.timestamp)).collect()
}

/// What the journal says, against what can be told from the log alone.
fn compare_with_log(rows: &[Row], log: &str) -> Vec<String> {
    let Some(fates) = fates(log) else {
        say("NOT CHECKED: whether the log alone tells what became of each occurrence, for want of jq");
        return Vec::new();
    };
    let mut wrong = Vec::new();
    for row in rows {
        let action = row.action_id.map_or("-".to_owned(), |id| id.to_string());
        let in_journal = (row.state.clone(), action);
        match fates.get(&row.name()) {
            Some(in_log) if *in_log == in_journal => {}
            in_log => wrong.push(format!("the log has {in_log:?} of {row:?}")),
        }
    }
    if fates.len() > rows.len() {
        wrong.push(format!("the log has {} occurrences, the journal {}", fates.len(), rows.len()));
    }
    wrong
}

/// State and action of each occurrence, as `fate.jq` makes them from the log. `None` where there is
/// no jq.
fn fates(log: &str) -> Option<HashMap<Name, (String, String)>> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fate.jq");
    let mut jq = Command::new("jq");
    jq.arg("-Rrn").arg("-f").arg(program).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut jq = match jq.spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        started => started.expect("jq starts"),
    };
    let mut input = jq.stdin.take().expect("its stdin");
    let text = log.to_owned();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = jq.wait_with_output().expect("jq ends");
    assert!(output.status.success(), "fate.jq is a good program");
    writer.join().expect("the writer ends").expect("jq reads all of the log");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let fate = |line: &str| match line.split('\t').collect::<Vec<_>>()[..] {
        [entry, at, state, action] => ((entry.into(), at.into()), (state.into(), action.into())),
        _ => panic!("four columns, and not {line:?}"),
    };
    Some(text.lines().map(fate).collect())
}

/// A summary, so that a run that proves little can be told from one that proves much.
fn tell_what_happened(rows: &[Row], ledger: &Ledger) {
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    rows.iter().for_each(|row| *states.entry(&row.state).or_default() += 1);
    let requests = ledger.of(Endpoint::RunNow).count();
    let started = ledger.started().count();
    say(&format!("{} occurrences {states:?}; run_now asked {requests} times, started {started}", rows.len()));
}
