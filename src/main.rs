//! Arguments to a command, a command's result to an exit status.

use std::process::ExitCode;

use clap::Parser;
use stackcron::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
