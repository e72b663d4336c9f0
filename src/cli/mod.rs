//! The commands: one file for each.

mod api;
mod audit;
pub mod check;
mod fire;
pub mod forecast;
pub(crate) mod history;
mod import;
mod journal;
mod jobs;
pub(crate) mod listen;
mod man;
pub mod moment;
pub mod next;
pub mod output;
pub mod place;
mod pause;
mod progress;
pub mod rehearse;
mod run;
mod sandbox;
mod schema;
mod table;
pub mod span;
mod status;
pub mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use jiff::Timestamp;
use output::Format;

use crate::control::ClientError;

/// Runs Cloud 66 jobs on their cron expressions: once, on time, within the API's quota.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// The schedule file.
    #[arg(
        long,
        global = true,
        env = "STACKCRON_CONFIG",
        value_name = "FILE",
        default_value = "/etc/stackcron/schedule.yaml"
    )]
    config: PathBuf,

    /// How records are printed.
    #[arg(long, global = true, value_enum, default_value_t)]
    format: Format,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fire the schedule: the daemon.
    Run(run::Args),
    Check(check::Args),
    Next(next::Args),
    Why(why::Args),
    Forecast(forecast::Args),
    Rehearse(rehearse::Args),
    Fire(fire::Args),
    History(history::Args),
    Status(status::Args),
    Pause(pause::Args),
    Resume(pause::ResumeArgs),
    Jobs(jobs::Args),
    Audit(audit::Args),
    Import(import::Args),
    #[command(subcommand)]
    Journal(journal::Command),
    /// Serve a look-alike of the Cloud 66 API, for trying things out.
    Sandbox(sandbox::Args),
    /// Print the JSON Schema of the schedule file.
    Schema,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all of them into a directory.
    Man(man::Args),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It did what it was asked.
    Done,
    /// It could not.
    Failed,
    /// The arguments were wrong.
    Usage,
    /// The schedule file or its settings are wrong: to start again would not help (EX_CONFIG of sysexits.h).
    Config,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(match status {
            Status::Done => 0,
            Status::Failed => 1,
            Status::Usage => 2,
            Status::Config => 78,
        })
    }
}

/// A daemon that knows no entry of a name was asked wrongly.
fn asked(ended: anyhow::Result<Status>) -> anyhow::Result<Status> {
    match ended {
        Err(error) => match error.downcast_ref() {
            Some(unknown @ ClientError::UnknownEntry(_)) => Ok(output::usage(unknown)),
            _ => Err(error),
        },
        ended => ended,
    }
}

impl Cli {
    /// Runs the command. An error is one that the operator reads as a sentence; its exit status is 1.
    pub fn run(self) -> anyhow::Result<Status> {
        if !matches!(self.command, Command::Run(_)) {
            crate::hangup::release();
        }
        match self.command {
            Command::Run(args) => run::run(&self.config, args),
            Command::Check(args) => check::run(&self.config, self.format, &args),
            Command::Next(args) => output::of_schedule(&self.config, |schedule, out| {
                match next::run(
                    &args,
                    schedule,
                    Timestamp::now(),
                    self.format,
                    next::Arguments::Told,
                    output::columns(),
                    out,
                ) {
                    Ok(()) => Ok(Status::Done),
                    Err(next::NextError::Output(error)) => Err(error.into()),
                    Err(error) => Ok(output::usage(&error)),
                }
            }),
            Command::Why(args) => output::of_schedule(&self.config, |schedule, out| {
                let journal = args.place.reading()?;
                let mut text = Vec::new();
                let now = Timestamp::now();
                match why::run(&args, schedule, journal.as_ref(), now, self.format, &mut text) {
                    Ok(()) => {
                        output::fit(&text, self.format, out);
                        Ok(Status::Done)
                    }
                    Err(why::WhyError::Output(error)) => Err(error.into()),
                    Err(error) => Ok(output::usage(&error)),
                }
            }),
            Command::Forecast(args) => output::of_schedule(&self.config, |schedule, out| {
                let (now, columns) = (Timestamp::now(), output::columns());
                let mut text = Vec::new();
                let fit = forecast::run(&args, schedule, now, self.format, columns, &mut text);
                output::fit(&text, self.format, out);
                match fit {
                    Ok(forecast::Fit::Not) if args.strict => Ok(Status::Failed),
                    Ok(_) => Ok(Status::Done),
                    Err(forecast::ForecastError::Span(error)) => Ok(output::usage(&error)),
                    Err(error) => Err(error.into()),
                }
            }),
            Command::Rehearse(args) => rehearse::command(&args, &self.config, self.format),
            Command::Fire(args) => asked(fire::run(&args, self.format)),
            Command::Status(args) => asked(status::run(&args, self.format)),
            Command::Pause(args) => asked(pause::pause(args, &self.config, self.format)),
            Command::Resume(args) => asked(pause::resume(&args, self.format)),
            Command::History(args) => history::run(&args, &self.config, self.format),
            Command::Jobs(args) => jobs::run(&args, &self.config, self.format),
            Command::Journal(command) => journal::run(&command, &self.config, self.format),
            Command::Audit(args) => audit::run(&args, &self.config, self.format),
            Command::Import(args) => import::run(&args, &self.config),
            Command::Sandbox(args) => sandbox::run(args),
            Command::Schema => schema::run(),
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "stackcron", &mut script);
                output::print(&script)
            }
            Command::Man(args) => man::run(&args, Cli::command()),
        }
    }
}
