//! Files, answers and clients that mean ill: each ends in a clear error and in bounded memory, and
//! firing goes on.
//!
//! What one module alone can show is tested beside it: `schedule_file.rs`, `answers.rs`, and the
//! clients of `control.rs` and `metrics.rs`.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::common::machine::{Memory, memory};
use crate::common::{Daemon, Ended, PATIENCE, Place, sandbox, schedule, side_by_side, until};
use rustix::process::Signal;
use serde_json::{Value, json};
use stackcron::sandbox::Endpoint;
use tokio::runtime::Handle;

const EVERY_SECOND: &str =
    "  nightly: { stack: s1, job: j1, cron: '* * * * * *', follow: false, catch_up: all }\n";

/// A file that means ill.
enum Evil {
    Bytes(Vec<u8>),
    /// So many bytes long, with nothing in it.
    Sparse(u64),
    Fifo,
    Socket,
    Directory,
    /// What never ends.
    Endless,
    Loop,
}

impl Evil {
    /// Puts it in the place of whatever is at the path.
    fn put(&self, path: &Path) {
        let new = path.with_extension("new");
        match self {
            Evil::Bytes(bytes) => fs::write(&new, bytes).expect("a file"),
            Evil::Sparse(length) => {
                fs::File::create(&new).and_then(|file| file.set_len(*length)).expect("a file");
            }
            Evil::Fifo => {
                assert!(Command::new("mkfifo").arg(&new).status().expect("mkfifo").success());
            }
            Evil::Socket => drop(UnixListener::bind(&new).expect("a socket")),
            Evil::Directory => fs::create_dir(&new).expect("a directory"),
            Evil::Endless => std::os::unix::fs::symlink("/dev/zero", &new).expect("a link"),
            Evil::Loop => std::os::unix::fs::symlink(path, &new).expect("a link"),
        }
        take_away(path);
        fs::rename(&new, path).expect("it takes the place");
    }
}

fn take_away(path: &Path) {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        fs::remove_dir(path).expect("removed");
    } else {
        let _ = fs::remove_file(path);
    }
}

/// Lists, or mappings that are merged, of ten of the one before, thirty times.
fn bomb(merged: bool) -> Vec<u8> {
    let mut text = String::from(if merged { "a0: &a0 { k0: 1 }\n" } else { "a0: &a0 [x, x, x, x, x]\n" });
    for n in 1..30 {
        let ten = vec![format!("*a{}", n - 1); 10].join(", ");
        text += &match merged {
            true => format!("a{n}: &a{n} {{ <<: [{ten}], k{n}: 1 }}\n"),
            false => format!("a{n}: &a{n} [{ten}]\n"),
        };
    }
    text.into_bytes()
}

/// A long text that many aliases repeat.
fn long_alias() -> Vec<u8> {
    let long = "x".repeat(1_000_000);
    let mut text = format!("jobs:\n  a: {{ stack: s, job: j, cron: '@daily', args: &a {long} }}\n");
    for n in 0..1000 {
        text += &format!("  b{n}: {{ stack: s, job: j, cron: '@daily', args: *a }}\n");
    }
    text.into_bytes()
}

/// Each with what is said of it.
fn evils() -> Vec<(&'static str, Evil, &'static str)> {
    let text = |text: String| Evil::Bytes(text.into_bytes());
    let deep: String = (0..1000).map(|n| " ".repeat(n) + "a:\n").collect();
    vec![
        ("lists of lists by aliases", Evil::Bytes(bomb(false)), "aliases come to more values"),
        ("merged mappings by aliases", Evil::Bytes(bomb(true)), "aliases come to more values"),
        ("a long text by aliases", Evil::Bytes(long_alias()), "aliases come to more values"),
        ("an alias of itself", text("a: &a [*a]\n".into()), ""),
        ("300 MB of nothing", Evil::Sparse(300 << 20), "larger than 256 MiB"),
        ("brackets", text("[".repeat(1 << 20)), "nested too deeply"),
        ("braces", text("{a: ".repeat(1 << 18)), "nested too deeply"),
        ("dashes", text("- ".repeat(1 << 19)), "nested too deeply"),
        ("indentation", text(deep), "nested too deeply"),
        ("a NUL", text("jobs: {}\n\0".into()), "NUL"),
        ("UTF-16", Evil::Bytes(b"\xff\xfej\0o\0b\0s\0".to_vec()), "0xFF is no UTF-8"),
        ("no UTF-8", Evil::Bytes(b"jobs: {}\n# \xc3\x28\n".to_vec()), "0xC3 is no UTF-8"),
        ("random bytes", Evil::Bytes((0..=255).cycle().skip(128).take(4096).collect()), "no UTF-8"),
        (
            "a key of a megabyte",
            text(format!("'{}': 1\n", "k".repeat(1 << 20))),
            "mapping values are not allowed",
        ),
        ("a name of a megabyte", text(format!("jobs: {{ ? '{}' : 1 }}\n", "k".repeat(1 << 20))), ""),
        ("a zone that steers a terminal", text("timezone: \"\\e[2J\\u009b2J\"\n".into()), "no time zone"),
        ("a FIFO", Evil::Fifo, "no regular file"),
        // Which cannot even be opened.
        ("a socket", Evil::Socket, "cannot be read"),
        ("a directory", Evil::Directory, "no file of the directory"),
        ("/dev/zero", Evil::Endless, "no regular file"),
        ("a link to itself", Evil::Loop, "cannot be read"),
    ]
}

/// Runs a command with so much memory to address, in kB.
fn run_within(place: &Place, memory: u64, arguments: &[&str]) -> Ended {
    let program = place.command(arguments);
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -v {memory} && exec \"$@\"")])
        .arg("sh")
        .arg(program.get_program())
        .args(program.get_args())
        .env_clear()
        .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null());
    let output = command.output().expect("a shell");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ended { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn a_hostile_file_is_refused_within_half_a_gigabyte_with_an_error_that_can_be_read() {
    let place = Place::with("");
    for (what, evil, said) in evils() {
        evil.put(&place.config());
        let ended = run_within(&place, 512 << 10, &["check"]);
        assert_eq!(ended.status.code(), Some(78), "{what}: {ended:?}");
        let told = ended.stdout + &ended.stderr;
        assert!(told.contains(said), "{what} is told by {said:?}:\n{told}");
        assert!(!told.is_empty() && told.len() < 100_000, "{what}: {} bytes", told.len());
        let steers = |c: char| c.is_control() && c != '\n';
        assert!(!told.contains(steers), "{what}: nothing steers the terminal: {told:?}");
    }
}

/// The most that a process ever had in memory, in kB.
fn most_memory(daemon: &mut Daemon) -> u64 {
    memory(&daemon.event("daemon.started")["pid"], Memory::Peak)
}

/// Waits for a start of what is due from now on.
fn fires_on(daemon: &mut Daemon) {
    let now = jiff::Timestamp::now().to_string();
    daemon.wait_for("action.started", |line| line["scheduled_at"].as_str() > Some(&now));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_meets_a_hostile_file_says_so_and_fires_on() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", EVERY_SECOND);
    let mut daemon = place.start();
    fires_on(&mut daemon);
    let before = most_memory(&mut daemon);
    // The merged ones take as long again as all the rest.
    for (what, evil, said) in evils().into_iter().filter(|(what, ..)| !what.starts_with("merged")) {
        let told = daemon.events("schedule.rejected").len();
        evil.put(&place.config());
        daemon.signal(Signal::HUP);
        while daemon.events("schedule.rejected").len() == told {
            daemon.next_event();
        }
        let told = &daemon.events("schedule.rejected")[told];
        let first = told["first"].as_str().expect("a text");
        assert!(first.contains(said) && first.len() < 1000, "{what} is told by {said:?}: {told}");
    }
    let grown = most_memory(&mut daemon) - before;
    assert!(grown < 400 << 10, "it took {grown} kB");
    fires_on(&mut daemon);
    take_away(&place.config());
    place.write(&schedule(&sandbox.url(), "", EVERY_SECOND));
    daemon.signal(Signal::HUP);
    daemon.event("schedule.reloaded");
    fires_on(&mut daemon);
    assert!(daemon.stop().success(), "{}", daemon.raw);
    let mut seconds: Vec<i64> = (daemon.events("action.started").iter())
        .map(|line| line["scheduled_at"].as_str().expect("a time").parse::<jiff::Timestamp>())
        .map(|at| at.expect("a time").as_second())
        .collect();
    seconds.sort_unstable();
    assert!(seconds.windows(2).all(|pair| pair[1] == pair[0] + 1), "each second fired once: {seconds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_answers_take_bounded_memory_and_hold_up_nobody_else() {
    let runtime = Handle::current();
    let cases =
        ["huge:on=any", "endless:on=any", "header-flood:on=any", "drip=100ms:on=any", "garbage:on=any"];
    side_by_side(&cases, |&fault| {
        let good = runtime.block_on(sandbox(&[]));
        let evil = runtime.block_on(sandbox(&[fault]));
        let mut text = format!(
            "accounts:
  good: {{ url: '{}', token: {{ env: TOKEN }} }}
  evil: {{ url: '{}', token: {{ env: TOKEN }}, timeout: 2s }}
jobs:
  nightly: {{ account: good, stack: s1, job: j1, cron: '* * * * * *', catch_up: all }}
",
            good.url(),
            evil.url()
        );
        for n in 0..20 {
            text += &format!(
                "  e{n}: {{ account: evil, stack: s1, job: j1, args: '{n}', cron: '* * * * * *', idempotent: {} }}\n",
                n % 2 == 0
            );
        }
        let place = Place::with(&text);
        let mut daemon = place.start();
        fires_on(&mut daemon);
        let before = most_memory(&mut daemon);
        // Each entry is in doubt from its first attempt on, and the lists that would tell are no
        // better. One attempt comes after another, as no answer tells of a quota; on a busy machine
        // some end before they reach the server.
        while daemon.events("occurrence.in_doubt").len() < 20 {
            daemon.next_event();
        }
        let lists = evil.wait_for(|ledger| ledger.of(Endpoint::Actions).count() >= 1);
        let waited = runtime.block_on(async { tokio::time::timeout(PATIENCE, lists).await });
        assert!(waited.is_ok(), "with {fault} lists are asked for");
        fires_on(&mut daemon);
        assert_eq!(place.run(&["status"]).status.code(), Some(0), "with {fault} it answers");
        let grown = most_memory(&mut daemon) - before;
        assert!(grown < 128 << 10, "with {fault} it took {grown} kB");
        let longest = daemon.raw.lines().map(str::len).max();
        assert!(longest < Some(48 << 10), "with {fault} the longest line has {longest:?} bytes");
        assert!(daemon.stop().success(), "{}", daemon.raw);
        let mine = |line: &&&Value| line["entry"] == "nightly";
        for event in ["occurrence.missed", "occurrence.unknown", "occurrence.retrying"] {
            assert_eq!(daemon.events(event).iter().filter(mine).count(), 0, "with {fault}: {}", daemon.raw);
        }
    });
}

/// A server that answers each request as it is told: by the request's first line.
fn answering(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), answer) = (stream, Arc::clone(&answer)) else { return };
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
                let first = lines.next().and_then(Result::ok).unwrap_or_default();
                while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
                // A connection that was only opened ahead asks nothing.
                if !first.is_empty() {
                    let _ = stream.write_all(&answer(&first));
                }
            });
        }
    });
    address
}

/// Whoever prints this as it comes obeys it.
const SAYS: &str = "x\r\n{\"event\":\"action.finished\"}\n\u{1b}[2J\u{9b}31m\u{85}\u{2028}\u{202e}\u{7}\0";

/// An answer of JSON, with a warning that has all that a header can have.
fn answer(status: u16, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\nX-Cloud66-Warning: a\t\u{9b}2J\u{202e}b\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

#[test]
fn nothing_that_an_api_says_forges_a_line_or_steers_a_terminal() {
    let action = json!({"id": 7, "user": SAYS, "resource_type": SAYS, "action": SAYS, "started_via": SAYS,
        "resource_id": SAYS, "started_at": SAYS, "finished_at": SAYS, "finished_success": false,
        "finished_message": SAYS.repeat(1000), SAYS: SAYS, "long": "x".repeat(500_000), "event": SAYS});
    let api = answering(move |line| match line {
        line if line.contains("refused") => answer(422, &json!({"error": SAYS, "error_description": SAYS})),
        line if line.starts_with("POST") => answer(200, &json!({"response": action})),
        line if line.contains("/jobs") => answer(
            200,
            &json!({"response": [{"uid": SAYS, "id": 1, "name": SAYS, "type": SAYS, "cron": SAYS, "status": SAYS,
                "params": {"command": SAYS, SAYS: SAYS}}], "pagination": {"next": null}}),
        ),
        line if line.contains("/stacks") => answer(
            200,
            &json!({"response": [{"uid": "s1", "name": SAYS, "environment": SAYS, "status": SAYS}],
                "pagination": {"next": null}}),
        ),
        _ => answer(200, &json!({"response": []})),
    });
    let jobs = "  started: { stack: s1, job: j1, cron: '* * * * * *' }\n  \
                refused: { stack: s1, job: refused, cron: '* * * * * *' }\n";
    let place = Place::with(&schedule(&format!("http://{api}/api/3"), "", jobs));

    let mut daemon = place.start();
    for event in ["action.started", "action.finished", "occurrence.rejected", "api.warning"] {
        let line = daemon.event(event);
        assert!(line["entry"].is_string(), "{line}");
    }
    let started = daemon.event("action.started");
    assert_eq!(started["action_user"], SAYS, "what it said is there for who wants to read it");
    let commands: [&[&str]; 7] = [
        &["history"],
        &["status"],
        &["why", "refused", "--at", "now"],
        &["fire", "started"],
        &["jobs", "s1"],
        &["jobs", "s1", "--yaml"],
        &["check", "--online"],
    ];
    for command in commands {
        let ended = match command {
            ["why", ..] => {
                let at = daemon.event("occurrence.rejected")["scheduled_at"].clone();
                place.run(&["why", "refused", "--at", at.as_str().expect("a time")])
            }
            command => place.run(command),
        };
        let said = ended.stdout + &ended.stderr;
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}' || c == '\u{2028}';
        assert!(!said.contains(steers), "{command:?} says {said:?}");
        assert!(!said.contains("\n{\"event\""), "{command:?} says {said}");
    }
    assert!(daemon.stop().success(), "{}", daemon.raw);
    for line in daemon.raw.lines() {
        // That each is JSON with a time, a level and an event was seen as it was read.
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(line.len() < 48 << 10, "the journal takes it whole: {} bytes", line.len());
    }

    let mut text = place.command(&["run", "--log-format", "text"]);
    let mut text = text.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts");
    let lines = BufReader::new(text.stdout.take().expect("its stdout")).lines();
    let mut told = 0;
    for line in lines.map(|line| line.expect("UTF-8")) {
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
        // A day is told once, then each line begins with its time of day; what an event goes on
        // with is indented.
        let begins = |line: &str| {
            line.starts_with("20") || line.starts_with(' ') || line.as_bytes().get(2) == Some(&b':')
        };
        assert!(begins(&line), "each line begins with its time: {line:?}");
        told += usize::from(line.contains("refused with") || line.contains(" action "));
        if told == 4 {
            let pid = rustix::process::Pid::from_child(&text);
            rustix::process::kill_process(pid, Signal::TERM).expect("it lives");
        }
    }
    assert!(text.wait().expect("it ends").success());
    assert!(told >= 4);
}

#[test]
fn a_list_without_end_is_not_read_to_its_end() {
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let api = answering(move |_| {
        let page = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let items: Vec<Value> =
            (0..100).map(|n| json!({"uid": format!("u{page}-{n}"), "name": "x".repeat(5000)})).collect();
        answer(200, &json!({"response": items, "pagination": {"next": page + 1}}))
    });
    let place = Place::with(&schedule(&format!("http://{api}/api/3"), "", EVERY_SECOND));
    for command in [&["jobs", "s1"][..], &["check", "--online"]] {
        let ended = run_within(&place, 1 << 20, command);
        assert!(matches!(ended.status.code(), Some(1 | 2 | 78)), "{command:?}: {:?}", ended.status);
        assert!(ended.stderr.len() < 10_000 && !ended.stderr.is_empty(), "{command:?}: {}", ended.stderr);
    }
    let asked = asked.load(std::sync::atomic::Ordering::Relaxed);
    assert!(asked < 1000, "{asked} pages were asked for");
}

/// Everything that comes until the other end closes the connection.
fn closed(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("the connection is never closed"),
        _ => bytes,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_clients_of_the_port_get_little_and_cost_little() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", EVERY_SECOND);
    let mut daemon = place.start_with(&["--listen", "127.0.0.1:0"]);
    let address: SocketAddr = daemon.event("daemon.listening")["address"]
        .as_str()
        .expect("an address")
        .parse()
        .expect("an address");
    fires_on(&mut daemon);
    let before = most_memory(&mut daemon);
    let connect = || TcpStream::connect(address).expect("the port is open");

    for garbage in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"\xff\xfe\xfd\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /metrics\r\n\r\n",
        b"GET  /metrics HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n folded: x\r\nA\0B: c\r\n\r\n",
        b"{\"version\":1,\"command\":\"fire\",\"entry\":\"nightly\"}\n\r\n\r\n",
    ] {
        let mut client = connect();
        client.write_all(garbage).expect("sent");
        client.shutdown(std::net::Shutdown::Write).expect("no more is sent");
        let answer = closed(&mut client);
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{garbage:?}: {}", String::from_utf8_lossy(&answer));
    }

    // A body that nobody asked for, without end.
    for head in ["Content-Length: 99999999999", "Transfer-Encoding: chunked"] {
        let mut client = connect();
        let _ = write!(client, "POST /metrics HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n");
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        let sent = (0..10_000).find(|_| client.write_all(chunk.as_bytes()).is_err());
        assert!(sent.is_some(), "{head}: it is not listened to for ever");
    }
    // Ten thousand requests on one connection that reads nothing; more of these than connections
    // are served.
    let mut deaf: Vec<TcpStream> = Vec::new();
    for _ in 0..300 {
        let mut client = connect();
        client.set_nonblocking(true).expect("a mode");
        let _ =
            client.write_all("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(10_000).as_bytes());
        deaf.push(client);
    }
    let asked = until("an answer to who asks well", || {
        let mut client = connect();
        let _ = client.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = String::from_utf8_lossy(&closed(&mut client)).into_owned();
        if answer.starts_with("HTTP/1.1 200") { Ok(answer) } else { Err(answer) }
    });
    assert!(asked.ends_with("ok\n"), "{asked}");
    drop(deaf);
    let grown = most_memory(&mut daemon) - before;
    assert!(grown < 32 << 10, "it took {grown} kB");
    fires_on(&mut daemon);
    assert!(daemon.stop().success(), "{}", daemon.raw);
    assert_eq!(daemon.events("entry.fired").len(), 0, "nobody fires over the port");
    assert_eq!(daemon.events("occurrence.missed").len(), 0, "{}", daemon.raw);
}
