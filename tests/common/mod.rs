//! The daemon as a process, its log as it comes, and the sandbox that it fires at.

#![allow(dead_code, reason = "tests and benches use a part of it each")]

pub mod entries;
pub mod machine;
pub mod postgres;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stackcron::sandbox::{Fault, Sandbox, SandboxJob, SandboxQuota, SandboxStack, Settings, WindowKind};
use stackcron::schedule::{JobUid, StackUid};
use tokio::sync::Semaphore;

/// What a test waits for comes within this time, or the test has failed. Generous: the machine may
/// be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Whether an attempt in doubt had an effect is decided two minutes after it at the earliest.
pub const DOUBT_ENDS: Duration = Duration::from_secs(170);

/// Held by a test that keeps the machine busy, or whose daemon must not be kept from it for long:
/// they take turns, two at a time. One that needs more of it holds both.
pub static MACHINE: Semaphore = Semaphore::const_new(2);

/// Runs each case on a thread of its own, and tells all that failed.
pub fn side_by_side<T: Sync>(cases: &[T], run: impl Fn(&T) + Sync) {
    let run = &run;
    let failed = std::thread::scope(|scope| {
        let threads: Vec<_> = cases.iter().map(|case| scope.spawn(move || run(case))).collect();
        threads.into_iter().map(|thread| thread.join()).filter(Result::is_err).count()
    });
    assert_eq!(failed, 0, "of {} cases so many failed: see above", cases.len());
}

/// Asks again until it is as wished: what is asked has no event to wait for.
pub fn until<T>(what: &str, asked: impl FnMut() -> Result<T, String>) -> T {
    until_within(PATIENCE, what, asked)
}

/// Asks again until it is as wished, for what takes minutes by design. To ask often means to start
/// a program: the pause between two questions is a tenth of the time that has passed.
pub fn until_within<T>(patience: Duration, what: &str, mut asked: impl FnMut() -> Result<T, String>) -> T {
    let begin = Instant::now();
    let end = begin + patience;
    loop {
        match asked() {
            Ok(wished) => return wished,
            Err(state) if Instant::now() > end => panic!("never {what}; the last was {state}"),
            Err(_) => std::thread::sleep(
                (begin.elapsed() / 10).clamp(Duration::from_millis(20), Duration::from_millis(500)),
            ),
        }
    }
}

/// Reads the instant of a field. The log writes six digits of a fraction and the commands as many as
/// it needs, so that two texts may tell one instant.
pub fn instant(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("an instant: {value}"))
}

/// A directory with a schedule file in it, and the daemon's environment.
#[derive(Clone)]
pub struct Place {
    pub directory: Arc<tempfile::TempDir>,
    variables: HashMap<String, String>,
}

impl Place {
    /// A place whose schedule file is `schedule`.
    pub fn with(schedule: &str) -> Place {
        let place = Place {
            directory: Arc::new(tempfile::tempdir().expect("a directory")),
            variables: HashMap::from([("TOKEN".to_owned(), stackcron::sandbox::DEFAULT_TOKEN.to_owned())]),
        };
        place.write(schedule);
        place
    }

    /// A place whose schedule has one account, the sandbox's, and these jobs: lines of YAML.
    pub fn firing_at(sandbox: &Sandbox, account: &str, jobs: &str) -> Place {
        Place::with(&schedule(&sandbox.url(), account, jobs))
    }

    pub fn env(mut self, name: &str, value: &str) -> Place {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("schedule.yaml")
    }

    pub fn write(&self, schedule: &str) {
        std::fs::write(self.config(), schedule).expect("the schedule file");
    }

    /// Puts another schedule file in its place at once: no daemon reads one that is empty as yet.
    pub fn replace(&self, schedule: &str) {
        let new = self.directory.path().join("schedule.new");
        std::fs::write(&new, schedule).expect("the schedule file");
        std::fs::rename(new, self.config()).expect("it takes the place");
    }

    /// The program with this schedule and these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stackcron"));
        command
            .args(arguments)
            .env_clear()
            .env("STACKCRON_CONFIG", self.config())
            .env("STATE_DIRECTORY", self.directory.path())
            .envs(&self.variables)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let output = self.command(arguments).output().expect("the program starts");
        Ended {
            status: output.status,
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Waits until a daemon fires the schedule, so that what a person fires is claimed.
    pub fn fires(&self) {
        until("a daemon that fires", || {
            let ended = self.run(&["--format", "json", "status"]);
            match serde_json::from_str::<Value>(&ended.stdout) {
                Ok(status) if ended.status.success() && status["ready"] == true => Ok(()),
                _ => Err(format!("{ended:?}")),
            }
        });
    }

    /// Starts the daemon.
    pub fn start(&self) -> Daemon {
        self.start_with(&[])
    }

    /// Starts the daemon with more arguments.
    pub fn start_with(&self, arguments: &[&str]) -> Daemon {
        let arguments = [&["run", "--log-format", "json"], arguments].concat();
        Daemon::start(self.command(&arguments), Arc::clone(&self.directory))
    }
}

/// A schedule file with one account and these jobs: lines of YAML.
pub fn schedule(url: &str, account: &str, jobs: &str) -> String {
    let jobs = if jobs.is_empty() { " {}\n".to_owned() } else { format!("\n{jobs}") };
    format!("accounts: {{ main: {{ url: '{url}', token: {{ env: TOKEN }}, {account} }} }}\njobs:{jobs}")
}

/// A sandbox with two stacks of a few jobs.
pub async fn sandbox(faults: &[&str]) -> Sandbox {
    sandbox_with(settings(faults)).await
}

pub async fn sandbox_with(settings: Settings) -> Sandbox {
    Sandbox::start(settings).await.expect("the sandbox starts")
}

/// What [`sandbox`] is started with: a quota that never binds, and actions that end at once.
pub fn settings(faults: &[&str]) -> Settings {
    let stack = |uid: &str, jobs: &[&str]| {
        let stack = SandboxStack::new(StackUid::new(uid).expect("a uid"));
        jobs.iter().fold(stack, |stack, job| stack.job(SandboxJob::new(JobUid::new(job).expect("a uid"))))
    };
    let mut settings = Settings::default()
        .stack(stack("s1", &["j1", "j2", "j-fails", "j-forbidden", "j-slow"]))
        .stack(stack("s2", &["j1"]))
        .quota(quota(100_000, Duration::from_secs(3600)));
    settings.action_duration = Duration::from_millis(100);
    settings.faults = faults.iter().map(|fault| fault.parse::<Fault>().expect("a fault")).collect();
    settings
}

pub fn quota(limit: u32, window: Duration) -> SandboxQuota {
    SandboxQuota { limit, window, kind: WindowKind::default() }
}

/// How a command ended, and what it printed.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// A running daemon. Killed when it is dropped.
pub struct Daemon {
    child: Child,
    /// Kept while the daemon may read from it.
    _directory: Arc<tempfile::TempDir>,
    lines: Receiver<String>,
    /// Every line so far.
    pub log: Vec<Value>,
    /// Every line so far, as it came.
    pub raw: String,
}

impl Daemon {
    pub fn start(mut command: Command, directory: Arc<tempfile::TempDir>) -> Daemon {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the daemon starts");
        let stdout = child.stdout.take().expect("its stdout");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Daemon { child, _directory: directory, lines, log: Vec::new(), raw: String::new() }
    }

    /// The first line from the start on that is this event and fulfils the condition. Waits for it.
    pub fn wait_for(&mut self, event: &str, condition: impl Fn(&Value) -> bool) -> Value {
        self.wait_long_for(PATIENCE, event, condition)
    }

    /// Waits for an action that was sent after now. Returns when it was sent.
    pub fn fires(&mut self) -> Timestamp {
        let now = Timestamp::now();
        let sent_at = |line: &Value| -> Timestamp {
            line["sent_at"].as_str().and_then(|at| at.parse().ok()).unwrap_or(Timestamp::MIN)
        };
        let started = self.wait_for("action.started", |line| sent_at(line) > now);
        sent_at(&started)
    }

    /// The first line from the start on that is this event and fulfils the condition, for what
    /// takes minutes by design.
    pub fn wait_long_for(
        &mut self,
        patience: Duration,
        event: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> Value {
        let wanted = |line: &Value| line["event"] == event && condition(line);
        if let Some(line) = self.log.iter().find(|line| wanted(line)) {
            return line.clone();
        }
        let end = Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.next(left) {
                Ok(line) if wanted(&line) => return line,
                Ok(_) => {}
                Err(error) => {
                    let stderr = self.stderr();
                    panic!("no {event} as wanted ({error}); the log is:\n{}\n{stderr}", self.raw)
                }
            }
        }
    }

    /// The first line that is this event.
    pub fn event(&mut self, event: &str) -> Value {
        self.wait_for(event, |_| true)
    }

    /// The lines of one event so far.
    pub fn events(&self, event: &str) -> Vec<&Value> {
        self.log.iter().filter(|line| line["event"] == event).collect()
    }

    /// The next line, whatever it is. Waits for it.
    pub fn next_event(&mut self) -> Value {
        self.next(PATIENCE).unwrap_or_else(|error| panic!("no more lines ({error}):\n{}", self.raw))
    }

    /// Takes in what it has said, and waits for nothing.
    pub fn read(&mut self) {
        while self.next(Duration::ZERO).is_ok() {}
    }

    fn next(&mut self, patience: Duration) -> Result<Value, RecvTimeoutError> {
        let line = self.lines.recv_timeout(patience)?;
        let value: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"));
        for key in ["timestamp", "level", "event", "message"] {
            assert!(value[key].is_string(), "every line has a {key}: {line}");
        }
        self.raw += &line;
        self.raw += "\n";
        self.log.push(value.clone());
        Ok(value)
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the daemon lives");
    }

    /// Asks it to stop, and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.end()
    }

    /// Waits for its end, and reads the rest of its log.
    pub fn end(&mut self) -> ExitStatus {
        while self.next(PATIENCE).is_ok() {}
        self.child.wait().expect("it ends")
    }

    /// What it wrote to stderr. Call it after the end.
    pub fn stderr(&mut self) -> String {
        let _ = self.child.kill();
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text of a file beside the tests.
pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
