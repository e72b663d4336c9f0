//! A booted systemd, and services on it: the project's unit, each under a name of its own.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use serde_json::Value;

use crate::common::{PATIENCE, read};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_stackcron");

/// The project.
pub const PROJECT: &str = env!("CARGO_MANIFEST_DIR");

/// With this variable set, what cannot run is a failure.
const REQUIRED: &str = "STACKCRON_TESTS_NEED_SYSTEMD";

/// A systemd in namespaces of its own. It ends with the process.
pub struct Machine {
    /// Of its first process.
    pid: String,
    boot: Child,
}

impl Machine {
    /// The one on which services are tried side by side. `None`, and said why, where none can be
    /// booted.
    pub fn shared() -> Option<&'static Machine> {
        static SHARED: OnceLock<Option<Machine>> = OnceLock::new();
        let booted = || {
            let machine = Machine::boot()?;
            // A link would lead into a home directory, which the unit hides.
            machine.run_ok(&["touch", "/usr/bin/stackcron"]);
            machine.run_ok(&["mount", "--bind", PROGRAM, "/usr/bin/stackcron"]);
            Some(machine)
        };
        SHARED.get_or_init(booted).as_ref()
    }

    /// Boots one. `None`, and said why, where that cannot be.
    pub fn boot() -> Option<Machine> {
        Machine::boot_with(&[])
    }

    /// Boots one on which these directories are what they are here.
    pub fn boot_with(directories: &[&Path]) -> Option<Machine> {
        let directory = Path::new(PROGRAM).parent().unwrap_or(Path::new("/"));
        let mut boot = Command::new(Path::new(PROJECT).join("tests/systemd/boot"))
            .args([Path::new(PROJECT), directory])
            .args(directories)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("bash");
        let mut pid = String::new();
        BufReader::new(boot.stdout.take().expect("its stdout")).read_line(&mut pid).expect("its stdout");
        if pid.is_empty() {
            let output = boot.wait_with_output().expect("its end");
            not_run(&String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Some(Machine { pid: pid.trim().to_owned(), boot })
    }

    /// A command on the machine.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--all", "--wd=/", "-t", &self.pid, "--"]).args(words).stdin(Stdio::null());
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, words: &[&str]) -> Ran {
        let output = self.command(words).output().expect("nsenter");
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
        Ran { status: output.status, stdout, stderr }
    }

    /// What a command printed that must succeed.
    pub fn run_ok(&self, words: &[&str]) -> String {
        let ran = self.run(words);
        assert!(ran.status.success(), "{words:?}: {ran:?}");
        ran.stdout
    }

    /// Where a path of the machine is for this process.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.pid))
    }

    pub fn write(&self, path: &str, text: &str, mode: u32) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("its mode");
    }

    /// A property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.run_ok(&["systemctl", "show", "--value", "-p", name, unit]).trim().to_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its end is the machine's.
        drop(self.boot.stdin.take());
        let _ = self.boot.wait();
    }
}

/// Says that tests did not run, past what the test harness holds back.
pub fn not_run(why: &str) {
    assert!(std::env::var_os(REQUIRED).is_none(), "{REQUIRED} is set, and there is no systemd: {why}");
    let text = format!("\nNOT RUN: what needs a real systemd: {}\n", why.trim());
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// How a command on the machine ended.
#[derive(Debug)]
#[allow(dead_code, reason = "what it said on stderr is for whom a failure is shown")]
pub struct Ran {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// The project's unit under a name of its own, and a look-alike of the API for it.
pub struct Service {
    pub machine: &'static Machine,
    pub name: String,
    pub sandbox: Sandbox<'static>,
    log: Log,
}

impl Service {
    /// Installs the unit with these lines added to its `[Service]`, and with a log of JSON lines.
    /// Its token is the sandbox's.
    pub fn install(machine: &'static Machine, name: &str, sandbox: &[&str], more: &str) -> Service {
        let more = format!("Environment=STACKCRON_LOG_FORMAT=json\n{more}");
        Service::as_packaged(machine, name, sandbox, &more)
    }

    /// The same with the log as the unit has it.
    pub fn as_packaged(machine: &'static Machine, name: &str, sandbox: &[&str], more: &str) -> Service {
        let name = format!("stackcron-{name}");
        let unit = read(&Path::new(PROJECT).join("systemd/stackcron.service"))
            .replace("Directory=stackcron\n", &format!("Directory={name}\n"))
            .replace("/run/stackcron/", &format!("/run/{name}/"))
            .replace("cloud66-token:/etc/stackcron/", &format!("cloud66-token:/etc/{name}/"));
        machine.write(&format!("/etc/systemd/system/{name}.service"), &unit, 0o644);
        let more = format!("[Service]\nEnvironment=STACKCRON_CONFIG=/etc/{name}/schedule.yaml\n{more}\n");
        machine.write(&format!("/etc/systemd/system/{name}.service.d/test.conf"), &more, 0o644);
        let service = Service {
            machine,
            sandbox: Sandbox::start(machine, sandbox),
            log: Log::of(machine, &name),
            name,
        };
        service.write_token(stackcron::sandbox::DEFAULT_TOKEN);
        machine.run_ok(&["systemctl", "daemon-reload"]);
        service
    }

    pub fn config(&self) -> String {
        format!("/etc/{}/schedule.yaml", self.name)
    }

    pub fn token(&self) -> String {
        format!("/etc/{}/cloud66-token", self.name)
    }

    pub fn write_token(&self, token: &str) {
        self.machine.write(&self.token(), token, 0o600);
    }

    /// Writes a schedule with one account and these jobs: lines of YAML.
    pub fn schedule(&self, jobs: &str) {
        self.schedule_with("{ credential: cloud66-token }", jobs);
    }

    pub fn schedule_with(&self, token: &str, jobs: &str) {
        let url = &self.sandbox.url;
        let quota = "quota: { limit: 100000 }";
        let text =
            format!("accounts: {{ main: {{ url: '{url}', token: {token}, {quota} }} }}\njobs:\n{jobs}");
        self.machine.write(&self.config(), &text, 0o644);
    }

    pub fn systemctl(&self, verb: &str) -> Ran {
        self.machine.run(&["systemctl", verb, &self.name])
    }

    pub fn start(&self) {
        let ran = self.systemctl("start");
        assert!(
            ran.status.success(),
            "{ran:?}\n{}",
            self.machine.run(&["systemctl", "status", &self.name]).stdout
        );
    }

    pub fn stop(&self) {
        let ran = self.systemctl("stop");
        assert!(ran.status.success(), "{ran:?}");
        assert_eq!(self.property("Result"), "success");
    }

    pub fn property(&self, name: &str) -> String {
        self.machine.property(&self.name, name)
    }

    /// What it says of itself, once that begins like this. It is told just behind the log.
    pub fn status(&self, beginning: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.property("StatusText");
            if status.starts_with(beginning) {
                return status;
            }
            assert!(Instant::now() < end, "{beginning} is not said, but {status}:\n{}", self.journal());
        }
    }

    /// The first event that follows those that were asked for before. Waits for it.
    pub fn event(&mut self, event: &str) -> Value {
        self.log.wait_for(&self.name, |line| line["event"] == event)
    }

    /// All events of the service, from its first start to now.
    pub fn events(&self) -> Vec<Value> {
        self.machine.run_ok(&["journalctl", "--sync"]);
        let text = self.machine.run_ok(&["journalctl", "-u", &self.name, "-o", "cat", "--no-pager"]);
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// What the service's journal holds, as a text to be read when something is wrong.
    pub fn journal(&self) -> String {
        self.machine.run_ok(&["journalctl", "-u", &self.name, "--no-pager"])
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.machine.run(&["systemctl", "kill", "-s", "KILL", &self.name]);
        let _ = self.machine.run(&["systemctl", "stop", "--no-block", &self.name]);
    }
}

/// `journalctl -f` of a service.
struct Log {
    follower: Child,
    lines: Receiver<String>,
}

impl Log {
    fn of(machine: &Machine, unit: &str) -> Log {
        let words = ["journalctl", "-f", "--lines=all", "-u", unit, "-o", "json"];
        let mut follower = machine.command(&words).stdout(Stdio::piped()).spawn().expect("journalctl");
        let stdout = follower.stdout.take().expect("its stdout");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.for_each(|line| drop(sender.send(line)));
        });
        Log { follower, lines }
    }

    /// Each line of the service's is one JSON object in the journal's MESSAGE; what systemd says of
    /// it is none.
    fn wait_for(&self, unit: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        let mut seen = String::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("what is wanted does not come; {unit} says:\n{seen}");
            };
            let record: Value = serde_json::from_str(&line).expect("journalctl prints JSON");
            let message = record["MESSAGE"].as_str().unwrap_or_default();
            seen += &format!("{message}\n");
            if let Some(event) = serde_json::from_str(message).ok().filter(&wanted) {
                return event;
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = self.follower.kill();
        let _ = self.follower.wait();
    }
}

/// `stackcron sandbox` on the machine.
pub struct Sandbox<'a> {
    machine: &'a Machine,
    server: Child,
    pub url: String,
}

impl Sandbox<'_> {
    pub fn start<'a>(machine: &'a Machine, arguments: &[&str]) -> Sandbox<'a> {
        let words =
            [&[PROGRAM, "sandbox", "--listen", "127.0.0.1:0", "--limit", "100000"], arguments].concat();
        let mut server = machine.command(&words).stdout(Stdio::piped()).spawn().expect("the sandbox");
        let mut line = String::new();
        BufReader::new(server.stdout.take().expect("its stdout")).read_line(&mut line).expect("its address");
        let url = line.trim().strip_prefix("listening on ").expect("its address").to_owned();
        Sandbox { machine, server, url }
    }

    /// The starts that the server has, once there are so many.
    pub fn started(&self, at_least: usize) -> Vec<Value> {
        let ledger = self.get(&format!("/_sandbox/ledger?started={at_least}"));
        let requests = ledger["requests"].as_array().unwrap_or_else(|| panic!("a ledger: {ledger}"));
        requests.iter().filter(|request| !request["action"].is_null()).cloned().collect()
    }

    fn get(&self, path: &str) -> Value {
        let address = self.url.strip_prefix("http://").expect("a URL").split('/').next().unwrap_or_default();
        let (host, port) = address.split_once(':').expect("a port");
        let script = format!(
            "exec 3<>/dev/tcp/{host}/{port}; printf 'GET {path} HTTP/1.1\\r\\nHost: {address}\\r\\nConnection: close\\r\\n\\r\\n' >&3; cat <&3"
        );
        let answer = self.machine.run_ok(&["bash", "-c", &script]);
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("an answer: {answer}"));
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }
}

impl Drop for Sandbox<'_> {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
