//! The commands on a terminal: lines that fit it, colours, and bars for what takes a while.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Place, sandbox_with, schedule, settings};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A terminal: the side of who looks at it, and that of the programs on it.
fn terminal(columns: u16) -> (File, OwnedFd) {
    // What another test starts meanwhile would keep it open.
    let seen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&seen).expect("it is ours");
    unlockpt(&seen).expect("it is open");
    let name = ptsname(&seen, Vec::new()).expect("its name");
    let used = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
        .expect("its other side");
    let size = Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&used, size).expect("its size");
    (File::from(seen), used)
}

/// Everything that is written to a terminal until `enough`, or until nobody has it open.
fn read(seen: &mut File, enough: impl Fn(&str) -> bool) -> String {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    // The end is an error here, as no program has it open any more.
    while let Ok(length) = seen.read(&mut buffer)
        && length > 0
    {
        bytes.extend_from_slice(&buffer[..length]);
        if enough(&String::from_utf8_lossy(&bytes)) {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a command prints on a terminal of so many columns.
fn shown(mut command: Command, columns: u16) -> String {
    let (mut seen, used) = terminal(columns);
    command.env("TERM", "xterm").stdout(used.try_clone().expect("the terminal")).stderr(used);
    let mut child = command.spawn().expect("it starts");
    // Its copies of the terminal would keep it open.
    drop(command);
    let text = read(&mut seen, |_| false);
    child.wait().expect("it ends");
    text.replace("\r\n", "\n")
}

/// A command whose stderr is a terminal, and whose stdout is not.
fn watched(mut command: Command, columns: u16) -> (Child, File) {
    let (seen, used) = terminal(columns);
    command.env("TERM", "xterm").stdout(Stdio::null()).stderr(used);
    (command.spawn().expect("it starts"), seen)
}

fn place() -> Place {
    Place::with(
        "timezone: Europe/London\n\
         accounts: { main: { token: { env: T }, quota: { limit: 40, reserve: 10 } } }\n\
         jobs:\n  \
           nightly-report-of-all-the-things-that-were-sold: { stack: s1, job: j1, cron: '30 1 * * *', jitter: 5m }\n  \
           sweep: { stack: s1, job: j2, cron: '*/7 * * * *' }\n  \
           busy: { stack: s1, job: j3, cron: '* * * * *', overlap: queue }\n",
    )
}

const COMMANDS: [&[&str]; 7] = [
    &["check"],
    &["next", "--from", "2026-03-29", "--count", "200"],
    &["next", "--calendar", "--from", "2026-03-29"],
    &["why", "nightly-report-of-all-the-things-that-were-sold", "--at", "2026-03-29T01:30"],
    &["why", "busy", "--at", "2026-10-25T01:30"],
    &["forecast", "--from", "2026-03-29", "--until", "2026-03-29T12:00", "--suggest"],
    &["rehearse", "--from", "2026-03-29", "--until", "2026-03-29T03:00", "--quiet"],
];

/// The text without its colours.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn no_line_is_longer_than_its_terminal_is_wide() {
    for columns in [40, 80, 200] {
        for arguments in COMMANDS {
            let text = shown(place().command(arguments), columns);
            assert!(text.lines().count() > 2, "{arguments:?} tells something: {text}");
            let text = plain(&text);
            // A word has no blank to break it at, nor has a path.
            let too_long = |line: &&str| {
                let word = line.trim().trim_start_matches("--> ");
                line.chars().count() > usize::from(columns) && word.contains(' ')
            };
            assert_eq!(text.lines().find(too_long), None, "{arguments:?} at {columns}:\n{text}");
        }
    }
}

#[test]
fn colours_are_for_terminals_and_not_for_who_asks_for_none() {
    for arguments in COMMANDS {
        assert!(shown(place().command(arguments), 80).contains("\u{1b}["), "{arguments:?} has colours");
        let mut command = place().command(arguments);
        command.env("NO_COLOR", "1");
        assert!(!shown(command, 80).contains('\u{1b}'), "{arguments:?} has none with NO_COLOR");
        assert!(!place().run(arguments).stdout.contains('\u{1b}'), "{arguments:?} has none in a pipe");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_the_api_sees_how_far_it_is() {
    let mut slow = settings(&[]);
    slow.latency = Duration::from_millis(1200);
    let sandbox = sandbox_with(slow).await;
    let jobs = "  a: { stack: s1, job: j1, cron: '@daily' }\n";
    let place = Place::firing_at(&sandbox, "", jobs);
    let (mut child, mut seen) = watched(place.command(&["check", "--online"]), 60);
    let text = tokio::task::spawn_blocking(move || read(&mut seen, |_| false)).await.expect("read");
    assert!(child.wait().expect("it ends").success());
    assert!(text.contains("asking the API ["), "{text:?}");
    assert!(text.contains("50%"), "one of two lists was read: {text:?}");
    assert_eq!(place.run(&["check", "--online"]).stderr, "", "no bar where stderr is no terminal");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_quick_shows_no_bar() {
    let sandbox = sandbox_with(settings(&[])).await;
    let place = Place::firing_at(&sandbox, "", "  a: { stack: s1, job: j1, cron: '@daily' }\n");
    let begun = Instant::now();
    let (mut child, mut seen) = watched(place.command(&["check", "--online"]), 60);
    let text = tokio::task::spawn_blocking(move || read(&mut seen, |_| false)).await.expect("read");
    assert!(child.wait().expect("it ends").success());
    // On a busy machine it may not have been quick.
    if begun.elapsed() < Duration::from_secs(1) {
        assert_eq!(text, "");
    }
}

#[test]
fn a_long_rehearsal_shows_how_far_it_is() {
    let jobs = "  a: { stack: s1, job: j1, cron: '* * * * * *' }\n";
    let place = Place::with(&schedule("http://127.0.0.1:1/api/3", "", jobs));
    let long = ["rehearse", "--from", "2026-01-01", "--until", "2036-01-01"];
    let (mut child, mut seen) = watched(place.command(&long), 60);
    let text = read(&mut seen, |text| text.contains("rehearsing ["));
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    assert!(text.contains("rehearsing ["), "{text:?}");
}
