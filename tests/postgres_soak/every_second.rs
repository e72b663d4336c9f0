//! Three members, and ten entries of every second: the leader is killed or stopped every 4 to 9
//! seconds. Requests go on within 5 s each time, none is sent twice, and none is lost: each member
//! is back within seconds, and says how far it has sent. Unknown for good may stay what the leader
//! was just sending when its fault came, and nothing else.
//!
//! `STACKCRON_SOAK=120` asks for a run of so many seconds; without it nothing runs. The arguments
//! of a request name its occurrence, so that the ledger of the API is compared with the journal
//! occurrence by occurrence.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::common::postgres::Server;
use crate::common::{MACHINE, PATIENCE, sandbox, schedule};
use jiff::Timestamp;
use rustix::process::Signal;
use stackcron::journal::postgres::PostgresAddress;
use stackcron::journal::{Record, State};
use stackcron::sandbox::{Endpoint, Ledger, Sandbox};

use super::{Machine, everything_settles, number, rows, say, stop};

/// Entries that are due every second.
const ENTRIES: usize = 10;

/// Milliseconds from one fault of a leader to the next.
const FAULTS: std::ops::Range<u64> = 4000..9000;

/// Milliseconds for which a leader is stopped. The shortest end before its lease does, and the
/// longest shortly before the next fault.
const STOPS: std::ops::Range<u64> = 1000..9000;

/// Longest time between two requests: another member leads within 3 s, the next second follows
/// within one, and one is left for the machine.
const LONGEST_GAP: Duration = Duration::from_secs(5);

/// A request that is later than this is not one of those that go on: a doubt has ended, and the
/// occurrence is sent after all. It does not fill a gap.
const CATCHES_UP: Duration = Duration::from_secs(5);

/// A member that is stopped is back this long before the next fault at the latest, so that what it
/// had not come to is not being sent at the very moment of that fault.
const BACK_BEFORE: Duration = Duration::from_secs(1);

/// Milliseconds from a fault of the leader to the instant at which what it was just sending left.
/// An occurrence that has started may stay unknown, because its answer is not written yet.
const BEING_SENT: std::ops::RangeInclusive<i64> = -2000..=0;

/// Milliseconds from a fault of the leader to the beginning of a batch that was cut in two by the
/// fault: of what has not left, nobody can tell either.
const BEING_CUT: std::ops::RangeInclusive<i64> = -500..=0;

/// An occurrence, as a request names it in its arguments.
type Named = (String, i64);

/// Entries of an expression. Those whose action is followed are the ones with an even number, as
/// `everything_settles` expects.
fn entries(sandbox: &Sandbox, cron: &str) -> String {
    let entry = |number: usize| {
        let (job, follow) = (["j1", "j2"][number % 2], number.is_multiple_of(2));
        format!(
            "  e{number}: {{ stack: s1, job: {job}, args_template: 'e{number} {{unix}}', cron: '{cron}', overlap: allow, \
             catch_up: all, follow: {follow} }}\n"
        )
    };
    schedule(&sandbox.url(), "timeout: 5s", &(0..ENTRIES).map(entry).collect::<String>())
}

/// Which of the machines leads by the database's word. `None` while the holder of the lease is a
/// process that is gone.
fn leader(server: &Server, database: &str, machines: &[Machine]) -> Option<usize> {
    let holder = server.sql(database, "SELECT holder_name FROM stackcron.lease WHERE NOT released");
    let process: u32 = holder.rsplit('/').next()?.parse().ok()?;
    machines.iter().position(|machine| machine.daemon.id() == process)
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_every_second_go_on_within_five_seconds_of_each_fault_of_their_leader() {
    let Some(seconds) = number("STACKCRON_SOAK") else { return };
    let all = MACHINE.acquire_many(2).await;
    let Some(server) = Server::start() else { return };
    let seed = number("STACKCRON_SEED").unwrap_or_else(|| fastrand::u64(..));
    say(&format!("STACKCRON_SEED={seed} STACKCRON_SOAK={seconds}"));
    let mut random = fastrand::Rng::with_seed(seed);
    let database = server.database();
    let sandbox = sandbox(&[]).await;
    let schedule = entries(&sandbox, "* * * * * *");
    let mut machines: Vec<Machine> = (0..3).map(|_| Machine::firing(&server, &database, &schedule)).collect();
    let begun = sandbox.wait_for(|ledger| ledger.started().count() > 0);
    tokio::time::timeout(PATIENCE, begun).await.expect("one of them fires");
    let (mut kills, mut stops) = (Vec::new(), Vec::new());
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut next = Instant::now() + Duration::from_millis(random.u64(FAULTS));
    while Instant::now() < end {
        for machine in &mut machines {
            if machine.until.is_some_and(|until| until <= Instant::now()) {
                machine.recover();
            }
        }
        if next <= Instant::now()
            && let Some(leads) = leader(&server, &database, &machines)
        {
            machines.iter_mut().for_each(Machine::recover);
            let (kill, stopped) = (random.bool(), Duration::from_millis(random.u64(STOPS)));
            next = Instant::now() + Duration::from_millis(random.u64(FAULTS));
            if kill {
                machines[leads].is_killed();
                kills.push(Timestamp::now());
            } else {
                machines[leads].daemon.signal(Signal::STOP);
                machines[leads].until = Some((Instant::now() + stopped).min(next - BACK_BEFORE));
                stops.push(Timestamp::now());
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for machine in &mut machines {
        machine.recover();
        machine.place.replace(&entries(&sandbox, "0 0 29 2 *"));
    }
    // The doubts end two minutes later, and meanwhile next to nothing is done.
    drop(all);
    let address: PostgresAddress = server.url(&database).parse().expect("an address");
    everything_settles(&address).await;
    let log = stop(&mut machines);
    let (rows, ledger) = (rows(&address), sandbox.ledger());
    let mut wrong = broken(&rows, &ledger, &[kills.as_slice(), &stops].concat());
    let gaps = gaps(&rows, &ledger);
    for (gap, from) in gaps.iter().filter(|(gap, _)| *gap > LONGEST_GAP) {
        wrong.push(format!("nothing was sent for {gap:?} from {from} on"));
    }
    let unknown = rows.iter().filter(|row| row.state == State::Unknown).count();
    let ran = has_run(&ledger);
    let unsent =
        rows.iter().filter(|row| row.state == State::Unknown && !ran.contains(&name_of(row))).count();
    let latest = rows.iter().filter_map(|row| row.lateness_ms).max().unwrap_or_default();
    say(&format!(
        "{} occurrences, {} actions, {unknown} in doubt for good, {unsent} of which have not run; {} kills and {} stops of the leader, {} terms; \
         the latest was sent {latest} ms late; \
         the longest gaps between two requests: {:?}",
        rows.len(),
        ledger.started().count(),
        kills.len(),
        stops.len(),
        log.matches("\"lease.acquired\"").count(),
        gaps.iter().map(|(gap, _)| *gap).take(5).collect::<Vec<_>>(),
    ));
    let text = format!("kills: {kills:?}\nstops: {stops:?}\n{log}");
    super::nothing_is(&wrong, &text, (seed, seconds));
}

/// Row of an occurrence that the last schedule file took away before it was due.
fn is_removed(row: &Record) -> bool {
    row.state == State::Skipped && row.reason.as_deref() == Some("removed")
}

/// Returns true when the leader was sending an occurrence, and had not told of it, when a fault
/// came.
fn was_being_sent(row: &Record, has_started: bool, faults: &[Timestamp]) -> bool {
    let sent_at = row.sent_at.unwrap_or(row.key.scheduled_at());
    let moment = if has_started { BEING_SENT } else { BEING_CUT };
    faults.iter().any(|fault| moment.contains(&(sent_at.as_millisecond() - fault.as_millisecond())))
}

fn name_of(row: &Record) -> Named {
    (row.key.entry().as_str().to_owned(), row.key.scheduled_at().as_second())
}

/// The occurrence that a request names in its arguments.
fn named(args: &str) -> Option<Named> {
    let (entry, second) = args.split_once(' ')?;
    Some((entry.to_owned(), second.parse().ok()?))
}

/// Returns the occurrences whose action has started.
fn has_run(ledger: &Ledger) -> BTreeSet<Named> {
    ledger.started().filter_map(|record| named(record.args.as_deref()?)).collect()
}

/// Returns what is twice, lost, or told otherwise by the journal than by the API.
fn broken(rows: &[Record], ledger: &Ledger, faults: &[Timestamp]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut actions: BTreeMap<Named, Vec<u64>> = BTreeMap::new();
    for record in ledger.started() {
        match record.args.as_deref().and_then(named) {
            Some(named) => actions.entry(named).or_default().extend(record.action),
            None => wrong.push(format!("an action of no occurrence: {record:?}")),
        }
    }
    let mut seconds: BTreeMap<i64, BTreeSet<&str>> = BTreeMap::new();
    for row in rows.iter().filter(|row| !is_removed(row)) {
        let (entry, second) = (row.key.entry().as_str(), row.key.scheduled_at().as_second());
        seconds.entry(second).or_default().insert(entry);
        let started = actions.remove(&name_of(row)).unwrap_or_default();
        if started.len() > 1 {
            wrong.push(format!("twice: {row:?} has the actions {started:?}"));
        }
        match row.state {
            State::Started | State::Finished | State::Failed if started.is_empty() => {
                wrong.push(format!("lost, and told as started: {row:?}"));
            }
            State::Started | State::Finished | State::Failed
                if row.action_id.is_some_and(|id| !started.contains(&id)) =>
            {
                wrong.push(format!("{row:?} has another's action, and not {started:?}"));
            }
            State::Started | State::Finished | State::Failed => {}
            State::Unknown if was_being_sent(row, !started.is_empty(), faults) => {}
            _ => wrong.push(format!("lost: {row:?}")),
        }
    }
    for (named, of) in actions {
        wrong.push(format!("the journal knows nothing of {of:?}, of {named:?}"));
    }
    let (first, last) = (seconds.keys().next(), seconds.keys().next_back());
    for second in first.copied().unwrap_or(0)..=last.copied().unwrap_or(-1) {
        let entries = seconds.get(&second).map_or(0, BTreeSet::len);
        if entries != ENTRIES {
            wrong.push(format!("lost: {entries} entries of the second {second}"));
        }
    }
    wrong
}

/// The times between requests of what came due shortly before, the longest first, and since when.
/// Until the last one that the schedule had.
fn gaps(rows: &[Record], ledger: &Ledger) -> Vec<(Duration, Timestamp)> {
    let last = rows.iter().filter(|row| !is_removed(row)).map(|row| row.key.scheduled_at()).max();
    let due = |args: &Option<String>| Some(named(args.as_deref()?)?.1);
    let sent = ledger.of(Endpoint::RunNow).filter(|record| {
        let due = due(&record.args).and_then(|second| Timestamp::from_second(second).ok());
        due.is_some_and(|due| record.at.duration_since(due).unsigned_abs() < CATCHES_UP && Some(due) <= last)
    });
    let mut sent: Vec<Timestamp> = sent.map(|record| record.at).collect();
    sent.sort_unstable();
    let pairs = sent.windows(2);
    let mut gaps: Vec<_> =
        pairs.map(|pair| (pair[1].duration_since(pair[0]).unsigned_abs(), pair[0])).collect();
    gaps.sort_unstable_by_key(|(gap, _)| std::cmp::Reverse(*gap));
    gaps
}
