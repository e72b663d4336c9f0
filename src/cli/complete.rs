//! Completes the names of entries, accounts and stacks in the shells.
//!
//! The script of a shell runs the program for each completion, and the program reads the schedule
//! file. A file that is wrong completes nothing.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap_complete::CompletionCandidate;
use clap_complete::engine::ArgValueCandidates;
use clap_complete::env::Shells;

use super::CONFIG;
use crate::schedule::{self, Schedule};

/// The variable in which the script of a shell says which shell asks.
pub const VARIABLE: &str = "COMPLETE";

/// Names of entries.
pub(super) fn entries() -> ArgValueCandidates {
    of_schedule(|schedule| schedule.entries.iter().map(|entry| entry.name.to_string()).collect())
}

/// Names of accounts.
pub(super) fn accounts() -> ArgValueCandidates {
    of_schedule(|schedule| schedule.accounts.iter().map(|account| account.name.to_string()).collect())
}

/// The uids of stacks.
pub(super) fn stacks() -> ArgValueCandidates {
    of_schedule(|schedule| schedule.entries.iter().map(|entry| entry.stack.as_str().to_owned()).collect())
}

fn of_schedule(names: impl Fn(&Schedule) -> BTreeSet<String> + Send + Sync + 'static) -> ArgValueCandidates {
    ArgValueCandidates::new(move || {
        let loaded = schedule::load(&config(std::env::args_os())).ok();
        let names = loaded.map(|loaded| names(&loaded.schedule)).unwrap_or_default();
        names.into_iter().map(CompletionCandidate::new).collect::<Vec<_>>()
    })
}

/// The schedule file of the line that is being completed.
fn config(line: impl Iterator<Item = OsString>) -> PathBuf {
    let mut line = line.skip_while(|word| word != "--config");
    let named = line.nth(1).map(PathBuf::from);
    let variable = || std::env::var_os("STACKCRON_CONFIG").map(PathBuf::from);
    named.or_else(variable).unwrap_or_else(|| CONFIG.into())
}

/// The script by which a shell asks the program. `None`: no shell of this name is known.
pub(super) fn script(shell: &str, command: &clap::Command) -> Option<std::io::Result<Vec<u8>>> {
    let shells = Shells::builtins();
    let completer = shells.completer(shell)?;
    let mut script = Vec::new();
    let written = completer.write_registration(VARIABLE, "stackcron", "stackcron", "stackcron", &mut script);
    let commands: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    script.extend_from_slice(format!("\n# Completes, among others: {}\n", commands.join(" ")).as_bytes());
    Some(written.map(|()| script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_line_is_looked_into() {
        let line = |words: &str| config(words.split(' ').map(OsString::from));
        assert_eq!(line("stackcron -- stackcron --config other.yaml why"), PathBuf::from("other.yaml"));
    }
}
