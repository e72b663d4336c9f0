//! The commands: one file for each.

mod api;
mod audit;
mod backfill;
pub mod check;
pub mod complete;
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
mod unit;
pub mod why;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use jiff::Timestamp;
use output::OutputFormat;
use place::StatePlace;

use crate::control::ControlError;
use crate::journal::UsualRuns;

/// The schedule file of the packaged service.
const CONFIG: &str = "/etc/stackcron/schedule.yaml";

/// Runs Cloud 66 jobs on their cron expressions: once, on time, within the API's quota.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// The schedule file; or a directory, of which every file whose name ends in `.yaml` is read,
    /// all of them as one schedule
    #[arg(
        long,
        global = true,
        env = "STACKCRON_CONFIG",
        value_name = "PATH",
        default_value = CONFIG
    )]
    config: PathBuf,

    /// How records are printed.
    #[arg(long, global = true, value_enum, default_value_t)]
    format: Printed,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fire the schedule: the daemon.
    #[command(after_help = "Example:\n  stackcron run --sandbox --listen 127.0.0.1:8080")]
    Run(run::Args),
    #[command(
        after_help = "Examples:\n  stackcron check --online\n  git show main:schedule.yaml | stackcron check --diff - schedule.yaml"
    )]
    Check(check::Args),
    #[command(after_help = "Example:\n  stackcron next nightly-report --from tomorrow --count 5")]
    Next(next::Args),
    #[command(after_help = "Example:\n  stackcron why nightly-report --at 01:30")]
    Why(why::Args),
    #[command(after_help = "Example:\n  stackcron forecast --from tomorrow --suggest")]
    Forecast(forecast::Args),
    #[command(after_help = "Example:\n  stackcron rehearse --from 2026-10-25 --until 2026-10-26")]
    Rehearse(rehearse::Args),
    #[command(after_help = "Example:\n  stackcron fire nightly-report --args \"--full\"")]
    Fire(fire::Args),
    #[command(after_help = "Example:\n  stackcron history nightly-report --since yesterday")]
    History(history::Args),
    #[command(after_help = "Example:\n  stackcron status --watch")]
    Status(status::Args),
    #[command(
        after_help = "Example:\n  stackcron pause 'nightly-*' --until 06:00 --note 'the database moves'"
    )]
    Pause(pause::Args),
    #[command(after_help = "Example:\n  stackcron resume 'nightly-*'")]
    Resume(pause::ResumeArgs),
    #[command(after_help = "Example:\n  stackcron jobs shop --yaml")]
    Jobs(jobs::Args),
    #[command(after_help = "Example:\n  stackcron audit --from yesterday")]
    Audit(audit::Args),
    #[command(
        after_help = "Example:\n  stackcron backfill nightly-report --from 2026-10-01 --until 2026-10-08 --dry-run"
    )]
    Backfill(backfill::Args),
    #[command(after_help = "Example:\n  stackcron import crontab.txt --stack shop")]
    Import(import::Args),
    #[command(
        subcommand,
        after_help = "Example:\n  stackcron journal move --to postgres://stackcron@db/stackcron"
    )]
    Journal(journal::JournalCommand),
    /// Serve a look-alike of the Cloud 66 API, for trying things out.
    #[command(after_help = "Example:\n  stackcron sandbox --limit 100 --window 1m")]
    Sandbox(sandbox::Args),
    /// Print the JSON Schema of the schedule file.
    #[command(after_help = "Example:\n  stackcron schema > schedule.schema.json")]
    Schema,
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  source <(stackcron completions bash)")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all of them into a directory.
    #[command(after_help = "Example:\n  stackcron man | man -l -")]
    Man(man::Args),
}

/// How records are printed, and the findings of `check`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Printed {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
    /// SARIF 2.1.0, of `check` alone: code hosts show each finding beside its line.
    Sarif,
}

/// Another command than `check` was asked for SARIF.
#[derive(Debug, thiserror::Error)]
#[error("only `check` prints SARIF; write `--format json`")]
struct NoSarif;

/// End of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// It did what it was asked.
    Done,
    /// It could not.
    Failed,
    /// The arguments were wrong.
    Usage,
    /// The schedule file or its settings are wrong: to start again would not help (EX_CONFIG of
    /// sysexits.h).
    Config,
}

impl From<CommandEnd> for ExitCode {
    fn from(status: CommandEnd) -> ExitCode {
        ExitCode::from(match status {
            CommandEnd::Done => 0,
            CommandEnd::Failed => 1,
            CommandEnd::Usage => 2,
            CommandEnd::Config => 78,
        })
    }
}

/// Directory of the packaged service's socket.
const SERVICE: &str = "/run/stackcron";

/// A daemon that knows no entry of a name was asked wrongly.
/// How the runs of entries are as a rule. None is known where there is no journal to read.
fn usual_runs(place: &StatePlace) -> anyhow::Result<UsualRuns> {
    let journal = place.reading()?;
    Ok(journal.and_then(|journal| UsualRuns::of_all(&journal).ok()).unwrap_or_default())
}

fn asked(ended: anyhow::Result<CommandEnd>) -> anyhow::Result<CommandEnd> {
    match ended {
        Err(error) => match error.downcast_ref() {
            Some(unknown @ ControlError::UnknownEntry(_)) => Ok(output::usage(unknown)),
            // The packaged service is among those that were looked for.
            Some(nobody @ ControlError::Nobody { places })
                if places.iter().any(|place| place.starts_with(SERVICE)) =>
            {
                Err(match unit::told() {
                    Some(unit) => anyhow::anyhow!("{nobody}\n{unit}"),
                    None => error,
                })
            }
            _ => Err(error),
        },
        ended => ended,
    }
}

impl Cli {
    /// Runs the command. An error is one that the operator reads as a sentence; its exit status is
    /// 1.
    pub fn run(self) -> anyhow::Result<CommandEnd> {
        if !matches!(self.command, Command::Run(_)) {
            crate::hangup::release();
        }
        let (format, report) = match (self.format, &self.command) {
            (Printed::Text, _) => (OutputFormat::Text, check::Report::Plain),
            (Printed::Json, _) => (OutputFormat::Json, check::Report::Plain),
            (Printed::Sarif, Command::Check(_)) => (OutputFormat::Json, check::Report::Sarif),
            (Printed::Sarif, _) => return Ok(output::usage(&NoSarif)),
        };
        match self.command {
            Command::Run(args) => run::run(&self.config, args),
            Command::Check(args) => {
                check::run(args.file.as_ref().unwrap_or(&self.config), format, report, &args)
            }
            Command::Next(args) => output::of_schedule(&self.config, |schedule, out| {
                let told = next::Extras {
                    arguments: next::Arguments::Told,
                    until_due: match schedule.entries.iter().any(|entry| entry.after.is_some()) {
                        true => usual_runs(&args.place)?.until_due(schedule),
                        false => HashMap::new(),
                    },
                };
                match next::run(&args, schedule, Timestamp::now(), format, &told, output::columns(), out) {
                    Ok(()) => Ok(CommandEnd::Done),
                    Err(next::NextError::Output(error)) => Err(error.into()),
                    Err(error) => Ok(output::usage(&error)),
                }
            }),
            Command::Why(args) => output::of_schedule(&self.config, |schedule, out| {
                let journal = args.place.reading()?;
                let mut text = Vec::new();
                let now = Timestamp::now();
                match why::run(&args, schedule, journal.as_ref(), now, format, &mut text) {
                    Ok(known) => {
                        output::fit(&text, format, out);
                        Ok(match known {
                            why::JournalPart::AsFarAsAsked => CommandEnd::Done,
                            why::JournalPart::NotToBeRead(error) => output::failed(&error),
                        })
                    }
                    Err(why::WhyError::Output(error)) => Err(error.into()),
                    Err(error) => Ok(output::usage(&error)),
                }
            }),
            Command::Forecast(args) => output::of_schedule(&self.config, |schedule, out| {
                let (now, columns) = (Timestamp::now(), output::columns());
                let mut text = Vec::new();
                let basis = forecast::Basis { usual: usual_runs(&args.place)?, most: None };
                let fit = forecast::run(&args, schedule, now, basis, format, columns, &mut text);
                output::fit(&text, format, out);
                match fit {
                    Ok(forecast::Fit::Not) if args.strict => Ok(CommandEnd::Failed),
                    Ok(_) => Ok(CommandEnd::Done),
                    Err(forecast::ForecastError::Span(error)) => Ok(output::usage(&error)),
                    Err(error) => Err(error.into()),
                }
            }),
            Command::Rehearse(args) => rehearse::command(&args, &self.config, format),
            Command::Fire(args) => asked(fire::run(&args, format)),
            Command::Status(args) => asked(status::run(&args, format)),
            Command::Pause(args) => asked(pause::pause(args, &self.config, format)),
            Command::Resume(args) => asked(pause::resume(&args, format)),
            Command::History(args) => history::run(&args, &self.config, format),
            Command::Jobs(args) => jobs::run(&args, &self.config, format),
            Command::Journal(command) => journal::run(&command, &self.config, format),
            Command::Audit(args) => audit::run(&args, &self.config, format),
            Command::Backfill(args) => asked(backfill::run(&args, &self.config, format)),
            Command::Import(args) => import::run(&args, &self.config),
            Command::Sandbox(args) => sandbox::run(args),
            Command::Schema => schema::run(),
            Command::Completions { shell } => match complete::script(&shell.to_string(), &Cli::command()) {
                Some(script) => output::print(&script?),
                None => {
                    let mut script = Vec::new();
                    clap_complete::generate(shell, &mut Cli::command(), "stackcron", &mut script);
                    output::print(&script)
                }
            },
            Command::Man(args) => man::run(&args, Cli::command()),
        }
    }
}
