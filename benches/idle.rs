//! What the daemon costs while nothing is due: 100,000 entries beside 100.
//!
//! The real binary, as `stackcron run` starts it. Its start is over with the first sweep, which is when the journal has
//! a cursor: by then the file is read, validated and linted, and every entry's next instant is known.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use stackcron::journal::FILE_NAME;

const MANY: usize = 100_000;
const FEW: usize = 100;

/// Starts of each, of which the medians are told. The last one goes on to be idle.
const STARTS: usize = 5;

/// What was done at the start is over by then.
const SETTLES: Duration = Duration::from_secs(3);

const WATCHED: Duration = Duration::from_secs(30);

/// The unit of /proc/PID/stat, the same on every Linux that this runs on.
const TICKS_A_SECOND: f64 = 100.0;

fn main() {
    let (many, few) = (measure(MANY), measure(FEW));
    println!("{:<44} {MANY:>10} {FEW:>10} {:>9} {:>7}", "entries", "ratio", "goal");
    for ((what, many, goal), (_, few, _)) in many.into_iter().zip(few) {
        let ratio = if few > 0.0 { format!("{:.1}", many / few) } else { "-".to_owned() };
        println!("{what:<44} {many:>10.2} {few:>10.2} {ratio:>9} {goal:>7}");
    }
}

type Row = (&'static str, f64, &'static str);

fn measure(entries: usize) -> Vec<Row> {
    let mut starts: Vec<Daemon> = (0..STARTS - 1).map(|_| Daemon::start(entries)).collect();
    let last = Daemon::start(entries);
    std::thread::sleep(SETTLES);
    let before = last.cpu();
    std::thread::sleep(WATCHED);
    let idle = (last.cpu() - before).as_secs_f64() / WATCHED.as_secs_f64() * 100.0;
    let (resident, peak) = (last.memory("VmRSS"), last.memory("VmHWM"));
    starts.push(last);
    let median = |of: fn(&Daemon) -> Duration| {
        let mut all: Vec<Duration> = starts.iter().map(of).collect();
        all.sort();
        all[all.len() / 2].as_secs_f64()
    };
    vec![
        ("idle: CPU, % of one core", idle, "< 0.5"),
        ("resident, MB", resident, "< 80"),
        ("resident at most, at the start, MB", peak, ""),
        ("exec to `daemon.started`, s", median(|daemon| daemon.started), ""),
        ("exec to the first sweep, s", median(|daemon| daemon.swept), "< 2"),
        ("CPU until then, s", median(|daemon| daemon.start_cpu), ""),
    ]
}

struct Daemon {
    child: Child,
    started: Duration,
    swept: Duration,
    /// What the start cost.
    start_cpu: Duration,
}

impl Daemon {
    /// From nothing to its first sweep. Dropped, it is stopped.
    fn start(entries: usize) -> Daemon {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(schedule(entries).as_bytes()).expect("the schedule");
        let state = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a state directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_stackcron"));
        command.args(["run", "--log-format", "json", "--config"]).arg(file.path());
        command.arg("--state-dir").arg(state.path()).env("BENCH_TOKEN", "token").stdout(Stdio::piped());
        let exec = Instant::now();
        let mut child = command.spawn().expect("stackcron starts");
        let mut log = BufReader::new(child.stdout.take().expect("its log"));
        let mut line = String::new();
        while !line.contains(r#""event":"daemon.started""#) {
            line.clear();
            assert_ne!(log.read_line(&mut line).expect("a line"), 0, "it ended before it started");
        }
        let started = exec.elapsed();
        wait_for_cursor(state.path());
        let swept = exec.elapsed();
        // What it still says is read, so that it never waits for a reader.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let mut daemon = Daemon { child, started, swept, start_cpu: Duration::ZERO };
        daemon.start_cpu = daemon.cpu();
        daemon
    }

    /// User and system time of all its threads.
    fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // The name before may have blanks; fields 14 and 15 are meant.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks")).sum();
        Duration::from_secs_f64(ticks as f64 / TICKS_A_SECOND)
    }

    /// A line of its status, in MB.
    fn memory(&self, name: &str) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with(name)).expect(name);
        let kib: f64 = line.split_ascii_whitespace().nth(1).expect(name).parse().expect("a number");
        kib * 1024.0 / 1e6
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("its state")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that has ended already needs no signal.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

fn wait_for_cursor(state: &Path) {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let journal = rusqlite::Connection::open_with_flags(state.join(FILE_NAME), flags).expect("the journal");
    let read = "SELECT cursor IS NOT NULL FROM journal";
    while !journal.query_row(read, [], |row| row.get(0)).unwrap_or(false) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Each entry is due once a day, none of them in the next two hours.
fn schedule(entries: usize) -> String {
    let now = jiff::tz::Offset::UTC.to_datetime(Timestamp::now()).hour() as usize;
    let mut text = String::from("accounts: { main: { token: { env: BENCH_TOKEN } } }\njobs:\n");
    for number in 0..entries {
        let (minute, hour) = (number % 60, (now + 3 + number / 60 % 20) % 24);
        let _ = writeln!(
            text,
            "  job-{number}: {{ stack: 5999b763474b0eafa5fafb64bff0ba80, job: 98ee5a9b93919d9b63bd{number:012}, \
             cron: \"{minute} {hour} * * *\" }}"
        );
    }
    text
}
