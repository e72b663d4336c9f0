//! Who is measured, and how each is started and stopped.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use jiff::{SignedDuration, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::{NamedTempFile, TempDir};

use super::rivals;
use super::server::LIMIT;

pub const OURS: &str = "stackcron";
pub const IN_MEMORY: &str = "stackcron, journal in memory";
pub const AMONG_MANY: &str = "stackcron, 100,000 others";
pub const HOLDING: &str = "stackcron, stack_state: hold";
pub const BARE_LOOP: &str = "bare loop";

/// Entries beside the one that is due every second.
const MANY_OTHERS: usize = 100_000;

/// A disk in memory: a sync costs nothing there.
const MEMORY: &str = "/dev/shm";

/// One that fires the schedule.
pub struct Contender {
    pub name: &'static str,
    /// Its instants are multiples of so many seconds.
    pub resolution: i64,
    /// Entries in its schedule that are not due meanwhile.
    pub others: usize,
    sizes: Sizes,
    launch: Launch,
}

/// What a contender can be asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sizes {
    All,
    /// Entries at one instant only.
    Bursts,
    /// One entry every second only.
    EverySecond,
    /// No more than so many at one instant.
    BurstsUpTo(usize),
}

enum Launch {
    Daemon(Daemon),
    /// A program that takes the schedule as arguments. What it is kept in is removed with the
    /// contender.
    Program {
        program: String,
        arguments: Vec<String>,
        _built_in: Option<TempDir>,
    },
}

/// How the daemon is started.
#[derive(Clone, Copy)]
struct Daemon {
    /// Its state directory is made within this one.
    state_in: &'static str,
    /// Entries that are not due.
    others: usize,
    /// Keys of all entries.
    defaults: &'static str,
}

/// What is asked of a contender.
#[derive(Clone, Copy)]
pub struct Start {
    pub address: SocketAddr,
    pub entries: usize,
    pub due: Due,
}

/// When the entries of a run are due.
#[derive(Clone, Copy)]
pub enum Due {
    /// All at one instant.
    At(Timestamp),
    EverySecond,
}

impl Due {
    /// Six fields, in UTC.
    pub fn cron(self) -> String {
        match self {
            Due::At(at) => at.strftime("%-S %-M %-H %-d %-m *").to_string(),
            Due::EverySecond => "* * * * * *".to_owned(),
        }
    }
}

/// Everybody who is here. Who is not is named, with how to get them.
pub fn all() -> Vec<Contender> {
    let daemon = |name, daemon: Daemon, sizes| Contender {
        name,
        resolution: 1,
        others: daemon.others,
        sizes,
        launch: Launch::Daemon(daemon),
    };
    let usual = Daemon { state_in: env!("CARGO_TARGET_TMPDIR"), others: 0, defaults: "follow: false" };
    let mut all = vec![
        daemon(OURS, usual, Sizes::All),
        daemon(AMONG_MANY, Daemon { others: MANY_OTHERS, ..usual }, Sizes::EverySecond),
        daemon(HOLDING, Daemon { defaults: "follow: false, stack_state: hold", ..usual }, Sizes::EverySecond),
    ];
    if Path::new(MEMORY).is_dir() {
        all.push(daemon(IN_MEMORY, Daemon { state_in: MEMORY, ..usual }, Sizes::All));
    } else {
        println!("skipped: {IN_MEMORY}; there is no {MEMORY}");
    }
    all.push(itself(BARE_LOOP, Sizes::Bursts, "bare-loop"));
    all.push(itself("tokio-cron-scheduler", Sizes::All, "tokio-cron-scheduler-jobs"));
    for rival in rivals::all() {
        match rival.find() {
            Ok(found) => {
                println!("{}: {}", rival.name, found.version);
                let (resolution, sizes) = match rival.most_at_a_minute {
                    Some(most) => (60, Sizes::BurstsUpTo(most)),
                    None => (1, Sizes::All),
                };
                let launch = Launch::Program {
                    program: found.program,
                    arguments: found.arguments,
                    _built_in: found.built_in,
                };
                all.push(Contender { name: rival.name, resolution, others: 0, sizes, launch });
            }
            Err(why) => println!("skipped: {} ({why}); to have it: {}", rival.name, rival.install),
        }
    }
    all
}

/// A contender that is in this program.
fn itself(name: &'static str, sizes: Sizes, argument: &str) -> Contender {
    let program = std::env::current_exe().expect("this program").display().to_string();
    let launch = Launch::Program { program, arguments: vec![argument.to_owned()], _built_in: None };
    Contender { name, resolution: 1, others: 0, sizes, launch }
}

impl Contender {
    /// Whether it can fire so many at one instant; 0 is one every second.
    pub fn can(&self, size: usize) -> bool {
        match self.sizes {
            Sizes::All => true,
            Sizes::Bursts => size > 0,
            Sizes::EverySecond => size == 0,
            Sizes::BurstsUpTo(most) => size > 0 && size <= most,
        }
    }

    pub fn start(&self, start: Start) -> Running {
        match &self.launch {
            Launch::Daemon(daemon) => daemon.start(start),
            Launch::Program { program, arguments, .. } => {
                let mut command = Command::new(program);
                command.args(arguments).arg(start.address.to_string()).arg(start.entries.to_string());
                command.arg(start.due.cron());
                if let Due::At(at) = start.due {
                    command.arg(at.to_string());
                }
                Running { child: command.spawn().expect("it starts"), kept: None }
            }
        }
    }
}

impl Daemon {
    /// The daemon, from a new state directory and a schedule file that are removed with it.
    fn start(self, Start { address, entries, due }: Start) -> Running {
        let Daemon { state_in, others, defaults } = self;
        let mut schedule = format!(
            "accounts: {{ main: {{ url: 'http://{address}/api/3', token: {{ env: BENCH_TOKEN }}, quota: {{ limit: {LIMIT}, reserve: 0 }} }} }}\n\
         defaults: {{ {defaults} }}\njobs:\n"
        );
        for number in 0..entries {
            schedule += &format!("  e{number}: {{ stack: s, job: j{number}, cron: '{}' }}\n", due.cron());
        }
        // Due once a year, half a year from now.
        let date = (Timestamp::now() + SignedDuration::from_hours(24 * 182)).strftime("%-d %-m");
        for number in 0..others {
            let (minute, hour) = (number % 60, number / 60 % 24);
            schedule +=
                &format!("  o{number}: {{ stack: s, job: o{number}, cron: '{minute} {hour} {date} *' }}\n");
        }
        let mut file = NamedTempFile::new().expect("a file");
        file.write_all(schedule.as_bytes()).expect("the schedule");
        let state = tempfile::tempdir_in(state_in).expect("a state directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_stackcron"));
        command.args(["run", "--log-format", "json"]).env("BENCH_TOKEN", "token").stdout(Stdio::null());
        command.arg("--config").arg(file.path()).arg("--state-dir").arg(state.path());
        Running { child: command.spawn().expect("stackcron starts"), kept: Some((file, state)) }
    }
}

/// A contender at work. Dropped, it is ended and awaited.
pub struct Running {
    child: Child,
    /// Removed after the daemon has ended in order.
    kept: Option<(NamedTempFile, TempDir)>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already needs no signal. `unshare`, which runs one of them, heeds no
        // other.
        let signal = if self.kept.is_some() { Signal::TERM } else { Signal::KILL };
        let _ = kill_process(Pid::from_child(&self.child), signal);
        let _ = self.child.wait();
    }
}
