//! The packaged unit, where no daemon answers: what systemd says of it, its last error, and what to
//! run next.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::log::visible;

/// The unit of the packages.
const UNIT: &str = "stackcron.service";

/// A systemd that hangs is not waited for longer: whoever asks wants to know now.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);

/// Between two looks whether systemctl has ended.
const LOOK: Duration = Duration::from_millis(10);

/// The longest answer that is read, in bytes.
const LONGEST: u64 = 16 << 10;

/// The schedule file or its settings are wrong (EX_CONFIG).
const CONFIG: &str = "78";

/// The file with the largest number of user namespaces that the kernel allows.
const USER_NAMESPACES: &str = "/proc/sys/user/max_user_namespaces";

/// systemd could not set up the user of the unit.
const USER: &str = "217";

/// The unit as systemd tells of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unit {
    load: String,
    active: String,
    sub: String,
    result: String,
    exit_status: String,
    /// End of the process: 1 is an exit, 2 and 3 are signals.
    exit_code: String,
    since: String,
    restarts: String,
    /// The machine lets nobody have a user namespace.
    no_user_namespaces: bool,
    last_error: Option<String>,
}

/// Says what systemd knows of the unit. `None` where there is no systemd, or the unit is not
/// installed.
pub(super) fn told() -> Option<String> {
    let shown = output(
        "systemctl",
        &[
            "show",
            UNIT,
            "--property=LoadState,ActiveState,SubState,Result,ExecMainStatus,ExecMainCode,StateChangeTimestamp,NRestarts",
        ],
    )?;
    let mut unit = Unit::read(&shown);
    if unit.load != "loaded" {
        return None;
    }
    unit.no_user_namespaces = std::fs::read_to_string(USER_NAMESPACES).is_ok_and(|most| most.trim() == "0");
    let errors = output("journalctl", &["-u", UNIT, "-p", "err", "-n", "1", "-o", "cat", "--no-pager", "-q"]);
    unit.last_error = errors.and_then(|errors| last_error(&errors));
    Some(unit.sentences())
}

/// The last line, or the message of it where the line is JSON.
fn last_error(lines: &str) -> Option<String> {
    let line = lines.lines().rfind(|line| !line.trim().is_empty())?;
    let json: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let message = json.as_ref().and_then(|line| line.get("message")).and_then(|message| message.as_str());
    Some(visible(message.unwrap_or(line)))
}

/// Returns what the program prints. `None`: it failed or took too long.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut stdout = child.stdout.take()?.take(LONGEST);
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stdout.read_to_end(&mut text);
        text
    });
    let end = Instant::now() + ANSWERED_WITHIN;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if Instant::now() < end => std::thread::sleep(LOOK),
            Ok(None) | Err(_) => break None,
        }
    };
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let text = reader.join().ok()?;
    status.filter(std::process::ExitStatus::success).map(|_| String::from_utf8_lossy(&text).into_owned())
}

impl Unit {
    fn read(shown: &str) -> Unit {
        let value = |key: &str| {
            let lines = shown.lines().filter_map(|line| line.split_once('='));
            visible(
                lines.filter(|(found, _)| *found == key).map(|(_, value)| value).next().unwrap_or_default(),
            )
        };
        Unit {
            load: value("LoadState"),
            active: value("ActiveState"),
            sub: value("SubState"),
            result: value("Result"),
            exit_status: value("ExecMainStatus"),
            exit_code: value("ExecMainCode"),
            since: value("StateChangeTimestamp"),
            restarts: value("NRestarts"),
            no_user_namespaces: false,
            last_error: None,
        }
    }

    /// Returns sentences that say what happened to the unit, since when, and what to do.
    fn sentences(&self) -> String {
        let since = match self.since.as_str() {
            "" => String::new(),
            since => format!(" since {since}"),
        };
        let ended = match (self.result.as_str(), self.exit_code.as_str(), self.exit_status.as_str()) {
            ("success" | "", _, _) => String::new(),
            (result, "1", status) => format!(": {result}, exit status {status}"),
            (result, "2" | "3", signal) => format!(": {result}, signal {signal}"),
            (result, ..) => format!(": {result}"),
        };
        let mut text = format!("{UNIT} is {} ({}){since}{ended}", self.active, self.sub);
        if let Some(error) = &self.last_error {
            text += &format!("\nlast error: {error}");
        }
        text + "\nnext: " + &self.next()
    }

    fn next(&self) -> String {
        let start = "`sudo systemctl start stackcron`, then `stackcron status`";
        match (self.active.as_str(), self.exit_status.as_str()) {
            ("active", _) => {
                "the unit runs, and its socket is not where this command looks: say where its state is with \
                 --state-dir DIR, or use `sudo`"
                    .to_owned()
            }
            ("failed" | "activating", USER) => {
                let cause = match self.no_user_namespaces {
                    true => "user namespaces are switched off here (user.max_user_namespaces=0)",
                    false => {
                        "systemd cannot set up the unit's user (217/USER), as where user namespaces are restricted"
                    }
                };
                format!(
                    "{cause}: `sudo systemctl edit stackcron`, write `[Service]` and below it `PrivateUsers=no`, then \
                     `sudo systemctl restart stackcron`"
                )
            }
            ("failed" | "activating", CONFIG) => {
                "`sudo stackcron check` tells what is wrong with the schedule file; \
                 mend it, then `sudo systemctl restart stackcron`"
                    .to_owned()
            }
            ("failed", _) => {
                "`journalctl -u stackcron -n 50` tells more; mend it, then `sudo systemctl restart stackcron`"
                    .to_owned()
            }
            ("activating", _) if self.sub == "auto-restart" => format!(
                "systemd starts it again by itself ({} restarts so far); `journalctl -u stackcron -n 50` tells why it ends",
                self.restarts
            ),
            ("activating" | "reloading", _) => "it is starting: ask again in a moment".to_owned(),
            _ => start.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(shown: &str, errors: &str) -> String {
        Unit { last_error: last_error(errors), ..Unit::read(shown) }.sentences()
    }

    #[test]
    fn each_end_of_the_unit_has_its_cause_and_its_remedy() {
        let shown = |active: &str, sub: &str, result: &str, code: &str, status: &str| {
            format!(
                "LoadState=loaded\nActiveState={active}\nSubState={sub}\nResult={result}\nExecMainCode={code}\n\
                 ExecMainStatus={status}\nStateChangeTimestamp=Mon 2026-11-30 03:00:02 UTC\nNRestarts=3\n"
            )
        };
        let rejected = "{\"level\":\"error\",\"message\":\"the schedule is rejected: line 9: minute 61\"}\n";
        let cases = [
            (shown("failed", "failed", "exit-code", "1", "78"), rejected),
            (shown("failed", "failed", "exit-code", "1", "217"), ""),
            (shown("inactive", "dead", "success", "1", "0"), ""),
            (shown("activating", "auto-restart", "signal", "2", "9"), "killed\u{1b}[2J\n"),
            (shown("failed", "failed", "oom-kill", "2", "9"), ""),
            (shown("active", "running", "success", "0", "0"), ""),
        ];
        let mut all: Vec<String> = cases.iter().map(|(shown, errors)| told(shown, errors)).collect();
        let hardened = Unit { no_user_namespaces: true, ..Unit::read(&cases[1].0) };
        all.push(hardened.sentences());
        insta::assert_snapshot!(all.join("\n\n"));
    }
}
