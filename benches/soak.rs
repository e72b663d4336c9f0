//! Whether memory stays flat: 30 occurrences a second for an hour, resident memory, descriptors and
//! the journal told every few minutes.
//!
//! The journal keeps settled occurrences for five minutes and is pruned each hour at 37 minutes and
//! 43 seconds: an hour sees one pruning, and a shorter soak does when it begins in time. `cargo
//! bench --bench soak` takes an hour, `-- 15` fifteen minutes, and `-- 15 300` fires 300 a second
//! meanwhile.

#[path = "growth/daemon.rs"]
#[allow(dead_code, reason = "each bench uses a part")]
mod daemon;
#[path = "lateness/server.rs"]
#[allow(dead_code, reason = "each bench uses a part")]
mod server;

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use stackcron::journal::FILE_NAME;

use daemon::Daemon;
use server::Server;

/// Minutes, unless given.
const MINUTES: usize = 60;

/// Entries that are due every second, unless given.
const ENTRIES: usize = 30;

/// Lines of the table, from the first minute to the last.
const LINES: usize = 10;

/// Buffers and caches have grown to their size by then.
const WARM_UP: Duration = Duration::from_secs(60);

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|word| word.parse::<usize>().ok());
    let (minutes, entries) = (numbers.next().unwrap_or(MINUTES), numbers.next().unwrap_or(ENTRIES));
    let server = Server::start();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let file = directory.path().join("schedule.yaml");
    let mut text = format!(
        "accounts: {{ main: {{ url: 'http://{}/api/3', token: {{ env: BENCH_TOKEN }}, quota: {{ limit: 1000000, reserve: 0 }} }} }}\n\
         defaults: {{ follow: false }}\njobs:\n",
        server.address()
    );
    for number in 0..entries {
        text += &format!("  e{number}: {{ stack: s, job: j{number}, cron: '* * * * * *' }}\n");
    }
    std::fs::write(&file, text).expect("the schedule");
    let daemon = Daemon::start(&file, directory.path(), &["--keep", "5m"]);
    std::thread::sleep(WARM_UP);
    println!("{entries} occurrences a second, {minutes} minutes");
    println!(
        "{:>10} {:>9} {:>13} {:>12} {:>12} {:>8} {:>12} {:>9}",
        "time", "fired", "resident, MB", "anonymous, MB", "descriptors", "WAL, MB", "journal, MB", "p99, ms"
    );
    let pause = Duration::from_secs(60) * u32::try_from(minutes).expect("some minutes") / LINES as u32;
    for line in 0..=LINES {
        let mut late: Vec<i32> = server.take().iter().map(|at| at.subsec_nanosecond()).collect();
        late.sort_unstable();
        let p99 = late.get(late.len() * 99 / 100).map_or(f64::NAN, |late| f64::from(*late) / 1e6);
        let megabytes = |name: &str| size(&directory.path().join(name)) / 1e6;
        println!(
            "{:>10} {:>9} {:>13.2} {:>12.2} {:>12} {:>8.2} {:>12.2} {p99:>9.2}",
            Timestamp::now().strftime("%H:%M:%S").to_string(),
            late.len(),
            daemon.memory("VmRSS"),
            daemon.memory("RssAnon"),
            daemon.descriptors(),
            megabytes(&format!("{FILE_NAME}-wal")),
            megabytes(FILE_NAME),
        );
        if line < LINES {
            std::thread::sleep(pause);
        }
    }
}

fn size(file: &Path) -> f64 {
    file.metadata().map_or(0.0, |file| file.len() as f64)
}
