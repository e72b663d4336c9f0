//! Arguments to a command, a command's result to an exit status.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;
use stackcron::cli::Cli;
use stackcron::cli::complete::VARIABLE;
use stackcron::hangup;

fn main() -> ExitCode {
    CompleteEnv::with_factory(Cli::command).var(VARIABLE).complete();
    hangup::hold();
    match Cli::parse().run() {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
