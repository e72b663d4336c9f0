//! What the journal costs: on this machine's disk, beside the same journal on a disk in memory,
//! where a sync costs nothing.
//!
//! 1,000 entries come due at once, again and again; each occurrence is claimed, sent, started and
//! finished. Then the file is measured, read, and pruned while claims go on.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use stackcron::journal::{
    Claim, FILE_NAME, Filter, Journal, Key, Origin, Started, State, Transition, read_history,
};
use stackcron::schedule::{AccountName, EntryName, JobUid, StackUid};

const ENTRIES: usize = 1000;
const ROUNDS: usize = 200;
const EVERY_SECONDS: i64 = 300;
const START: i64 = 1_790_000_000;

/// Seconds of a year by which a year's rows are reckoned.
const YEAR: f64 = 365.0 * 24.0 * 3600.0;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on disk");
    let memory = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    println!("{ENTRIES} entries due at once, {ROUNDS} times; times in ms");
    let on_disk = runtime.block_on(measure(disk.path()));
    let in_memory = runtime.block_on(measure(memory.path()));
    println!("{:<44} {:>10} {:>10} {:>7}", "", "disk", "memory", "ratio");
    for ((what, ours), (_, theirs)) in on_disk.iter().zip(&in_memory) {
        println!("{what:<44} {ours:>10.2} {theirs:>10.2} {:>7.2}", ours / theirs);
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).expect("a timestamp")
}

fn claims(entries: &[EntryName], second: i64) -> Vec<Claim> {
    let of = |(number, entry): (usize, &EntryName)| Claim {
        key: Key::new(entry.clone(), at(second)),
        account: AccountName::new("main").expect("a name"),
        stack: StackUid::new(&format!("5999b763474b0eafa5fafb64{number:08}")).expect("a uid"),
        job: JobUid::new(&format!("98ee5a9b93919d9b63bd5377{number:08}")).expect("a uid"),
        due_at: at(second),
        deadline: at(second + 3600),
        origin: Origin::Schedule,
        repetition: stackcron::journal::Repetition::default(),
    };
    entries.iter().enumerate().map(of).collect()
}

async fn measure(place: &Path) -> Vec<(&'static str, f64)> {
    let entries: Vec<EntryName> = (0..ENTRIES + 1)
        .map(|number| EntryName::new(&format!("nightly-report-{number}")).expect("a name"))
        .collect();
    let (entries, other) = entries.split_at(ENTRIES);
    let journal = Journal::open(place).expect("a journal").journal;
    let (mut claiming, mut settling, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let second = round as i64 * EVERY_SECONDS;
        let due = claims(entries, second);
        let keys: Vec<Key> = due.iter().map(|claim| claim.key.clone()).collect();
        claiming.push(timed(journal.claim(at(second + 5), due)).await);
        let start = Instant::now();
        for (number, key) in keys.into_iter().enumerate() {
            let action = (round * ENTRIES + number) as u64 + 20_000_000;
            let sent_at = at(second) + Duration::from_micros(number as u64 * 40);
            journal.record(key.clone(), Transition::Sending { attempts: 1, sent_at });
            let action = Started::Followed(action);
            journal.record(key.clone(), Transition::Started { attempts: 1, sent_at, action });
            let finished_at = at(second + 95);
            journal.record(key, Transition::Finished { success: Some(true), finished_at, message: None });
        }
        journal.flush().await.expect("flushed");
        settling.push(start.elapsed());
        let one = claims(other, second);
        let key = one[0].key.clone();
        journal.claim(at(second), one).await.expect("claimed");
        let skipped = Transition::Skipped { reason: "overlap".into() };
        alone.push(timed(journal.commit(vec![(key, skipped)])).await);
    }
    let rows = (ROUNDS * (ENTRIES + 1)) as f64;
    let total = |times: &[Duration]| times.iter().sum::<Duration>().as_secs_f64();
    let mut results = vec![
        ("claims a second, 1,000 in a transaction", (ROUNDS * ENTRIES) as f64 / total(&claiming)),
        ("a claim of 1,000, median", percentile(&mut claiming, 50)),
        ("a claim of 1,000, 99 of 100", percentile(&mut claiming, 99)),
        ("occurrences settled a second, 3 moves each", (ROUNDS * ENTRIES) as f64 / total(&settling)),
        ("a commit of one move, median", percentile(&mut alone, 50)),
        ("a commit of one move, 99 of 100", percentile(&mut alone, 99)),
    ];

    let bytes = used_bytes(place) / rows;
    let a_year = YEAR / EVERY_SECONDS as f64 * ENTRIES as f64;
    results.push(("bytes of an occurrence", bytes));
    results.push(("GB of a year, every 5 minutes", bytes * a_year / 1e9));
    results.push(("GB of the 90 days that are kept", bytes * a_year * 90.0 / 365.0 / 1e9));

    let all = Filter { entry: Some(other[0].clone()), ..Filter::default() };
    results.push(("the history of one entry, read", read(place, &all)));
    let newest = Filter { newest: Some(20), ..all };
    results.push(("the newest 20 of one entry, read", read(place, &newest)));

    let mut beside = Vec::new();
    let start = Instant::now();
    let claim_on = async {
        let mut second = ROUNDS as i64 * EVERY_SECONDS;
        loop {
            let ten = claims(&entries[..10], second);
            beside.push(timed(journal.claim(at(second), ten)).await);
            second += 1;
        }
    };
    let pruned = tokio::select! {
        pruned = journal.prune(at(ROUNDS as i64 * EVERY_SECONDS)) => pruned.expect("pruned").rows,
        () = claim_on => 0,
    };
    let pruning = start.elapsed();
    let mut idle = Vec::new();
    for second in 0..500 {
        let ten = claims(&entries[..10], second + 100_000_000);
        idle.push(timed(journal.claim(at(second), ten)).await);
    }
    results.extend([
        ("rows pruned a second beside claims", pruned as f64 / pruning.as_secs_f64()),
        ("a claim of 10 beside pruning, median", percentile(&mut beside, 50)),
        ("a claim of 10 beside pruning, 99 of 100", percentile(&mut beside, 99)),
        ("a claim of 10 without pruning, median", percentile(&mut idle, 50)),
        ("a claim of 10 without pruning, 99 of 100", percentile(&mut idle, 99)),
    ]);
    journal.close(at(0)).await.expect("closed");
    results
}

async fn timed<T, E: std::fmt::Debug>(request: impl Future<Output = Result<T, E>>) -> Duration {
    let start = Instant::now();
    request.await.expect("a write");
    start.elapsed()
}

fn read(place: &Path, filter: &Filter) -> f64 {
    let start = Instant::now();
    let mut seen = 0;
    let read = read_history(place, filter, |record| {
        assert_eq!(record.state, State::Skipped);
        seen += 1;
        ControlFlow::Continue(())
    });
    read.expect("a readable history");
    assert!(seen > 0);
    start.elapsed().as_secs_f64() * 1e3
}

/// What the pages that are in use take.
fn used_bytes(place: &Path) -> f64 {
    let db = rusqlite::Connection::open(place.join(FILE_NAME)).expect("the journal");
    let pragma = |name: &str| -> i64 {
        db.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).expect("a number")
    };
    ((pragma("page_count") - pragma("freelist_count")) * pragma("page_size")) as f64
}

fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let index = (times.len() * percent / 100).min(times.len() - 1);
    times[index].as_secs_f64() * 1e3
}
