//! Three members on one database, of which a random one is killed, paused or cut off every second
//! while a hundred occurrences a second come due: ledger, journal and logs agree, none is sent
//! twice, none is lost.
//!
//! `every_second.rs` holds the other soak: what is due every second goes on when its leader ends.
//!
//! `STACKCRON_SOAK=120` does it for so many seconds; `STACKCRON_SEED=N` repeats a run's moments, as
//! far as the machine's own timing lets it.

mod every_second;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::common::postgres::{Proxy, Server};
use crate::common::{Daemon, MACHINE, PATIENCE, Place, sandbox};
use rustix::process::Signal;
use stackcron::journal::postgres::{PostgresAddress, read_history};
use stackcron::journal::{Filter, Record, State};
use stackcron::sandbox::{Endpoint, Sandbox};

/// So many are due every second, each of them once a minute: that one is in doubt holds no other
/// up.
const EACH_SECOND: usize = 100;

/// By default it lasts so many seconds.
const SECONDS: u64 = 10;

/// The seconds of a minute can be divided by it.
const SHARDS: i64 = 3;

/// One account of all that is of no named shard, and others of two such: who leads one need not
/// lead another.
fn schedule(sandbox: &Sandbox, due: impl Fn(usize) -> Option<usize>) -> String {
    let account = |name: &str, shard: &str| {
        let url = sandbox.url();
        format!("  {name}: {{ url: '{url}', token: {{ env: TOKEN }}, timeout: 5s{shard} }}\n")
    };
    let (one, two, three) =
        (account("a0", ""), account("a1", ", shard: east"), account("a2", ", shard: west"));
    format!("accounts:\n{one}{two}{three}jobs:\n{}", jobs(due))
}

/// A pause or a cut lasts at most so many milliseconds: some end before a lease does, and some
/// after.
const LONGEST: u64 = 4000;

/// One of the machines.
struct Machine {
    place: Place,
    proxy: Proxy,
    daemon: Daemon,
    /// When the pause or the cut ends.
    until: Option<Instant>,
    log: String,
}

impl Machine {
    fn new(server: &Server, database: &str, sandbox: &Sandbox) -> Machine {
        Machine::firing(server, database, &schedule(sandbox, Some))
    }

    fn firing(server: &Server, database: &str, schedule: &str) -> Machine {
        let proxy = Proxy::before(server);
        let place = Place::with(schedule).env("STACKCRON_JOURNAL", &proxy.url(database));
        let daemon = place.start();
        Machine { place, proxy, daemon, until: None, log: String::new() }
    }

    /// Kills it and starts it again, pauses it or cuts it off.
    fn strike(&mut self, random: &mut fastrand::Rng) {
        self.recover();
        let until = Instant::now() + Duration::from_millis(random.u64(100..LONGEST));
        match random.u8(0..3) {
            0 => self.is_killed(),
            1 => {
                self.daemon.signal(Signal::STOP);
                self.until = Some(until);
            }
            _ => {
                self.proxy.cut(true);
                self.until = Some(until);
            }
        }
    }

    /// Is killed, and starts again.
    fn is_killed(&mut self) {
        self.daemon.signal(Signal::KILL);
        self.daemon.end();
        self.log += &self.daemon.raw;
        self.daemon = self.place.start();
    }

    fn recover(&mut self) {
        self.until = None;
        self.daemon.signal(Signal::CONT);
        self.proxy.cut(false);
    }
}

/// The entries, due at these seconds of each minute, or as good as never.
fn jobs(due: impl Fn(usize) -> Option<usize>) -> String {
    let entry = |of: usize| {
        let (follow, job) = (of.is_multiple_of(2), ["j1", "j2"][of % 2]);
        let cron = due(of % 60).map_or("0 0 29 2 *".to_owned(), |second| format!("{second} * * * * *"));
        format!(
            "  e{of}: {{ stack: s1, job: {job}, account: a{}, args: e{of}, cron: '{cron}', catch_up: all, follow: {follow} }}\n",
            of % SHARDS as usize
        )
    };
    (0..60 * EACH_SECOND).map(entry).collect()
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable} is a number, and not {text}: {error}")))
}

fn rows(address: &PostgresAddress) -> Vec<Record> {
    let mut rows = Vec::new();
    let read = read_history(address, &Filter::default(), |record| {
        rows.push(record);
        ControlFlow::Continue(())
    });
    read.expect("a readable journal");
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_members_nothing_is_lost_or_sent_twice() {
    let _turn = MACHINE.acquire().await;
    let Some(server) = Server::start() else { return };
    let seed = number("STACKCRON_SEED").unwrap_or_else(|| fastrand::u64(..));
    let seconds = number("STACKCRON_SOAK").unwrap_or(SECONDS);
    say(&format!("STACKCRON_SEED={seed} STACKCRON_SOAK={seconds}"));
    let mut random = fastrand::Rng::with_seed(seed);
    let database = server.database();
    let sandbox = sandbox(&[]).await;
    let mut machines: Vec<Machine> = (0..3).map(|_| Machine::new(&server, &database, &sandbox)).collect();
    let begun = sandbox.wait_for(|ledger| ledger.started().count() > 0);
    tokio::time::timeout(PATIENCE, begun).await.expect("one of them fires");
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut strikes = Instant::now();
    while Instant::now() < end {
        if strikes <= Instant::now() {
            let which = random.usize(0..machines.len());
            machines[which].strike(&mut random);
            strikes += Duration::from_secs(1);
        }
        for machine in &mut machines {
            if machine.until.is_some_and(|until| until <= Instant::now()) {
                machine.recover();
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for machine in &mut machines {
        machine.recover();
        machine.place.write(&schedule(&sandbox, |_| None));
    }
    let address: PostgresAddress = server.url(&database).parse().expect("an address");
    everything_settles(&address).await;
    let log = stop(&mut machines);
    let rows = rows(&address);
    let mut wrong = compare(&rows, &sandbox, &log);
    machines[0].place.write(&schedule(&sandbox, Some));
    wrong.extend(broken_by_audit(&machines[0].place, &rows, seconds));
    tell(&rows, &sandbox, &log);
    nothing_is(&wrong, &log, (seed, seconds));
}

/// Stops every machine's daemon in order, and returns what all of them have logged.
fn stop(machines: &mut [Machine]) -> String {
    let mut log = String::new();
    for machine in machines {
        assert!(machine.daemon.stop().success(), "{}", machine.daemon.stderr());
        log += &machine.log;
        log += &machine.daemon.raw;
    }
    log
}

/// Fails when anything is wrong, with the log kept in a file.
fn nothing_is(wrong: &[String], log: &str, (seed, seconds): (u64, u64)) {
    if !wrong.is_empty() {
        let kept = std::env::temp_dir().join(format!("stackcron-soak-{seed}.log"));
        std::fs::write(&kept, log).expect("the log is kept");
        panic!(
            "{} things are wrong with STACKCRON_SEED={seed} STACKCRON_SOAK={seconds}; the log is {}:\n{}",
            wrong.len(),
            kept.display(),
            wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
        );
    }
}

/// A list of more actions than a run of so many seconds starts is not read to its end.
const LISTED: u64 = 30;

/// What `audit` calls lost, twice or foreign, until the last occurrence: afterwards the schedule
/// was another one.
fn broken_by_audit(place: &Place, rows: &[Record], seconds: u64) -> Vec<String> {
    let last = rows.iter().map(|row| row.key.scheduled_at()).max().expect("some came due").to_string();
    let mut arguments = vec!["audit", "--from", "-1h", "--until", &last, "--format", "json"];
    if seconds <= LISTED {
        arguments.push("--online");
    }
    let ended = place.run(&arguments);
    let summary = ended.stdout.lines().last().unwrap_or_default();
    if !summary.contains("\"summary\":true") || ended.stderr.contains("warning") {
        return vec![format!("audit does not come to its end: {}", ended.stderr)];
    }
    let verdicts = ["lost", "twice", "foreign"].map(|verdict| format!("\"verdict\":\"{verdict}\""));
    let broken = ended.stdout.lines().filter(|line| verdicts.iter().any(|verdict| line.contains(verdict)));
    broken.map(|line| format!("audit: {line}")).collect()
}

/// Waits until nothing can happen to any occurrence any more.
async fn everything_settles(address: &PostgresAddress) {
    let end = Instant::now() + 3 * PATIENCE;
    let mut before = usize::MAX;
    loop {
        let rows = rows(address);
        let followed = |row: &Record| {
            row.state == State::Started
                && row.action_id.is_some()
                && row.reason.is_none()
                && row.key.entry().as_str()[1..].parse::<usize>().is_ok_and(|of| of.is_multiple_of(2))
        };
        let open = |row: &&Record| {
            followed(row) || matches!(row.state, State::Due | State::Waiting | State::Sending)
        };
        let left = rows.iter().filter(open).count();
        if left == 0 && before == rows.len() {
            return;
        }
        before = rows.len();
        assert!(Instant::now() < end, "all settle in time: {left} of {} are open", rows.len());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// What does not agree.
fn compare(rows: &[Record], sandbox: &Sandbox, log: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut seconds: BTreeMap<i64, BTreeSet<&str>> = BTreeMap::new();
    let (mut doubtful, mut of_rows) = (BTreeMap::<&str, usize>::new(), BTreeMap::new());
    for row in rows {
        let entry = row.key.entry().as_str();
        seconds.entry(row.key.scheduled_at().as_second()).or_default().insert(entry);
        match (row.state, row.action_id) {
            (State::Started | State::Finished | State::Failed, Some(action)) => {
                if of_rows.insert(action, &row.key).is_some() {
                    wrong.push(format!("{row:?} has another's action"));
                }
            }
            (State::Unknown | State::Started, None) => *doubtful.entry(entry).or_default() += 1,
            // Claimed for a second that the last schedule does not have.
            (State::Skipped, None) if row.reason.as_deref() == Some("removed") => {}
            _ => wrong.push(format!("that is no end: {row:?}")),
        }
    }
    // What is due in one second is one shard's, and each of them ends when its leader has read the
    // last schedule.
    for shard in 0..SHARDS {
        let mut own = seconds.keys().copied().filter(|second| second.rem_euclid(SHARDS) == shard);
        let (first, last) = (own.next(), own.next_back());
        let all = (first.unwrap_or(0)..=last.or(first).unwrap_or(0)).step_by(SHARDS as usize);
        for second in all.filter(|_| first.is_some()) {
            let entries = seconds.get(&second).map_or(0, BTreeSet::len);
            if entries != EACH_SECOND {
                wrong.push(format!("{entries} entries of the second {second}"));
            }
        }
    }
    let ledger = sandbox.ledger();
    let known: BTreeSet<u64> = ledger.started().filter_map(|record| record.action).collect();
    for record in ledger.started() {
        let left = doubtful.entry(record.args.as_deref().unwrap_or_default()).or_default();
        if record.action.is_some_and(|action| of_rows.contains_key(&action)) {
            continue;
        } else if *left > 0 {
            *left -= 1;
        } else {
            wrong.push(format!("nobody knows of {record:?}"));
        }
    }
    for (action, key) in of_rows.iter().filter(|(action, _)| !known.contains(action)) {
        wrong.push(format!("the server knows nothing of action {action} of {key}"));
    }
    let mut told: BTreeMap<(String, String), u64> = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains("\"action.started\"")) {
        // A killed member's last line may be torn.
        let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let word = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let Some(action) = line["action_id"].as_u64() else { continue };
        if !known.contains(&action) {
            wrong.push(format!("the server knows nothing of {line}"));
        }
        if let Some(other) = told.insert((word("entry"), word("scheduled_at")), action)
            && other != action
        {
            wrong.push(format!("action {other} was told before {line}"));
        }
    }
    wrong
}

fn tell(rows: &[Record], sandbox: &Sandbox, log: &str) {
    let ledger = sandbox.ledger();
    let sent: Vec<_> = ledger.of(Endpoint::RunNow).map(|record| record.at).collect();
    let gaps = sent.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_millis());
    let count = |state: State| rows.iter().filter(|row| row.state == state).count();
    let adopted = rows.iter().filter(|row| row.state == State::Started && row.action_id.is_none()).count();
    say(&format!(
        "{} occurrences, {} actions; {} in doubt for good, {adopted} started as one of several; {} leaders; the longest gap \
         between two requests: {} ms",
        rows.len(),
        ledger.started().count(),
        count(State::Unknown),
        log.matches("\"lease.acquired\"").count(),
        gaps.max().unwrap_or(0),
    ));
}
