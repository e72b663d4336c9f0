//! Arguments to a command, a command's result to an exit status.

use std::process::ExitCode;

use clap::Parser;
use stackcron::cli::Cli;
use stackcron::hangup;

fn main() -> ExitCode {
    hangup::hold();
    match Cli::parse().run() {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
