//! As a container's first process, which a signal does not end unless it is listened for.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::machine::{PROGRAM, PROJECT, not_run};

#[test]
fn as_process_one_it_logs_to_stdout_and_sigterm_ends_it_in_order() {
    let isolated = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    if !Command::new("unshare").args(isolated).arg("true").status().is_ok_and(|it| it.success()) {
        return not_run("unshare may not make a namespace of processes");
    }
    let mut unshare = Command::new("unshare")
        .args(isolated)
        .args([PROGRAM, "run", "--sandbox", "--config"])
        .arg(Path::new(PROJECT).join("config/demo.yaml"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare");
    let stdout = unshare.stdout.take().expect("its stdout");
    let mut lines = BufReader::new(stdout).lines().map(|line| -> Value {
        serde_json::from_str(&line.expect("UTF-8")).expect("each line is one JSON object")
    });
    let started = lines.find(|line| line["event"] == "daemon.started").expect("it starts");
    assert_eq!(started["pid"], 1, "{started}");
    let children = format!("/proc/{0}/task/{0}/children", unshare.id());
    let pid = std::fs::read_to_string(children).expect("its child").trim().parse().expect("a number");
    kill_process(Pid::from_raw(pid).expect("a process"), Signal::TERM).expect("it lives");
    assert_eq!(lines.last().expect("a line")["event"], "daemon.stopped");
    assert!(unshare.wait().expect("its end").success());
}
