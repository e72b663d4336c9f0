//! The daemon as a process: how it is started, what it says, and what it takes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use stackcron::journal::FILE_NAME;

/// The unit of /proc/PID/stat, the same on every Linux that this runs on.
const TICKS_A_SECOND: f64 = 100.0;

/// A daemon at work. Dropped, it is stopped.
pub struct Daemon {
    child: Child,
    lines: Receiver<String>,
    /// From exec to the first sweep.
    pub swept: Duration,
    /// What the start cost.
    pub start_cpu: Duration,
}

impl Daemon {
    /// From nothing to its first sweep, with more arguments of `run`.
    pub fn start(file: &Path, state: &Path, arguments: &[&str]) -> Daemon {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stackcron"));
        command.args(["run", "--log-format", "json", "--config"]).arg(file);
        command
            .arg("--state-dir")
            .arg(state)
            .args(arguments)
            .env("BENCH_TOKEN", "token")
            .stdout(Stdio::piped());
        let exec = Instant::now();
        let mut child = command.spawn().expect("stackcron starts");
        let log = BufReader::new(child.stdout.take().expect("its log"));
        let (sender, lines) = channel();
        // All is read, so that the daemon never waits for a reader.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if line.contains("\"schedule.") || line.contains("\"daemon.") {
                    let _ = sender.send(line);
                }
            }
        });
        let mut daemon = Daemon { child, lines, swept: Duration::ZERO, start_cpu: Duration::ZERO };
        daemon.wait_for("daemon.started");
        wait_for_cursor(state);
        daemon.swept = exec.elapsed();
        daemon.start_cpu = daemon.cpu();
        daemon
    }

    /// Waits for an event of its log that is of the daemon or of its schedule.
    pub fn wait_for(&mut self, event: &str) {
        let wanted = format!("\"{event}\"");
        let patience = Duration::from_secs(120);
        while !self.lines.recv_timeout(patience).expect("the daemon speaks").contains(&wanted) {}
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the daemon lives");
    }

    /// Number of open file descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("its descriptors").count()
    }

    /// User and system time of all its threads.
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // The name before may have blanks; fields 14 and 15 are meant.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks")).sum();
        Duration::from_secs_f64(ticks as f64 / TICKS_A_SECOND)
    }

    /// A line of its status, in MB.
    pub fn memory(&self, name: &str) -> f64 {
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
