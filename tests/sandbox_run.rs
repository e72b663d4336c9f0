//! A newcomer's first look: `run --sandbox`, and a second terminal.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::common::{Place, schedule, until};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn a_sandbox_run_says_how_to_ask_it_in_a_second_terminal_and_leaves_nothing() {
    let jobs = "  nightly: { stack: s1, job: j1, cron: '@yearly' }\n";
    let place = Place::with(&schedule("https://app.cloud66.com/api/3", "", jobs));
    let mut command = place.command(&["run", "--sandbox"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("its stderr"));
    let mut said = String::new();
    stderr.read_line(&mut said).expect("a line");
    let state = said.split("--state-dir ").nth(1).and_then(|rest| rest.split('`').next());
    let state = state.unwrap_or_else(|| panic!("it says where its state is: {said}")).to_owned();
    let ask = |command: &[&str]| place.run(&[command, &["--state-dir", &state]].concat());
    until("a daemon that fires", || {
        let status = ask(&["status"]);
        if status.stdout.starts_with("fires: ") { Ok(()) } else { Err(format!("{status:?}")) }
    });
    let fired = ask(&["fire", "nightly"]);
    assert!(fired.stdout.starts_with("started nightly: action "), "{fired:?}");
    let history = ask(&["history"]);
    assert!(history.stdout.contains("nightly"), "{history:?}");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it lives");
    assert!(child.wait().expect("it ends").success());
    assert!(!std::path::Path::new(&state).exists(), "its state is gone with it");
}
