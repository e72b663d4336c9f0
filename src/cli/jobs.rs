//! `stackcron jobs`: what jobs a stack has, and as entries ready to paste.

pub(super) mod stack;
pub(super) mod yaml;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::{Map, Value};

use super::CommandEnd;
use super::api;
use super::complete;
use super::output::{self, OutputFormat};
use super::table::{Align, Cell, Column, Table};
use crate::cloud66::Job;
use crate::online::{AskError, CheckClient, Tally};
use crate::schedule::{Account, Schedule, entries, one_line};
use stack::{Chosen, StackError, choose};

/// List the jobs of a stack, or print them as entries ready to paste.
///
/// It asks the API within the account's quota and never out of its reserve. A stack's name is
/// unique only together with its environment: where several stacks have it, --environment says
/// which is meant.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The stack: its uid, or its name
    #[arg(value_name = "STACK", add = complete::stacks())]
    stack: String,
    #[command(flatten)]
    asker: JobsAsker,
    /// Print entries to paste under `jobs:`, from the jobs' own crons where they have one
    #[arg(long)]
    yaml: bool,
}

/// The arguments that say who asks, and which of several stacks of one name is meant.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct JobsAsker {
    /// The account whose token asks. Need not be named where the schedule file has only one
    #[arg(long, value_name = "A", add = complete::accounts())]
    account: Option<String>,
    /// The environment of the stack, as production
    #[arg(long, value_name = "E")]
    environment: Option<String>,
}

/// The jobs of a stack, as the API lists them.
pub(super) struct StackJobs<'s> {
    pub(super) account: &'s Arc<Account>,
    pub(super) stack: Chosen,
    pub(super) jobs: Vec<Job>,
}

/// An account that cannot be chosen.
#[derive(Debug, thiserror::Error)]
enum AccountError {
    #[error("no account is named `{0}`{1}")]
    Unknown(String, String),
    #[error("there are several accounts; say which with --account: {0}")]
    Several(String),
    #[error("the schedule file has no account to ask with; see `accounts` in `stackcron schema`")]
    None,
}

/// YAML and JSON at once.
#[derive(Debug, thiserror::Error)]
#[error("--yaml prints YAML, and --format json JSON: name one of them")]
struct TwoFormats;

/// Answer to the question for a stack.
enum StackAnswer {
    Jobs(Chosen, Vec<Job>),
    WrongStack(StackError),
    NotAsked(AskError),
}

/// Asks, and prints.
pub(super) fn run(args: &Args, config: &Path, format: OutputFormat) -> anyhow::Result<CommandEnd> {
    if args.yaml && format == OutputFormat::Json {
        return Ok(output::usage(&TwoFormats));
    }
    let Some(loaded) = output::load(config)? else {
        return Ok(CommandEnd::Config);
    };
    let StackJobs { account, stack, jobs } = match args.asker.jobs_of(&args.stack, &loaded.schedule)? {
        Ok(found) => found,
        Err(status) => return Ok(status),
    };
    let mut out = Vec::new();
    match (format, args.yaml) {
        (_, true) => out.extend(yaml::entries(&stack, &jobs, account, &loaded.schedule).into_bytes()),
        (OutputFormat::Json, _) => json(account, &stack, &jobs, &mut out)?,
        (OutputFormat::Text, _) => text(&stack, &jobs, &mut out)?,
    }
    output::print(&out)
}

impl JobsAsker {
    /// Asks the API for the jobs of a stack. `Err` is the exit status of a failure that is already
    /// told on stderr.
    pub(super) fn jobs_of<'s>(
        &self,
        stack: &str,
        schedule: &'s Schedule,
    ) -> anyhow::Result<Result<StackJobs<'s>, CommandEnd>> {
        let account = match account(self.account.as_deref(), schedule) {
            Ok(account) => account,
            Err(error) => return Ok(Err(output::usage(&error))),
        };
        let tally = Arc::new(Tally::default());
        let client = match api::desk(account, &tally) {
            Ok(client) => client,
            Err(error) => return Ok(Err(not_asked(account, &error, &error.remedy(account)))),
        };
        let answer = api::ask(&tally, self.ask(stack, &client))?;
        if let Some(warning) = client.warning() {
            api::warn(&format!("the API says: {}", one_line(warning)));
        }
        Ok(match answer {
            StackAnswer::WrongStack(error) => Err(output::usage(&error)),
            StackAnswer::NotAsked(error) => Err(not_asked(account, &error, &error.remedy(account))),
            StackAnswer::Jobs(stack, jobs) => Ok(StackJobs { account, stack, jobs }),
        })
    }

    async fn ask(&self, wanted: &str, client: &CheckClient) -> StackAnswer {
        let found = |stacks: &[crate::cloud66::Stack]| stacks.iter().any(|stack| stack.uid == wanted);
        let stacks = match client.stacks(found).await {
            Ok(stacks) => stacks,
            Err(error) => return StackAnswer::NotAsked(error),
        };
        let chosen = match choose(wanted, self.environment.as_deref(), &stacks) {
            Ok(chosen) => chosen,
            Err(error) => return StackAnswer::WrongStack(error),
        };
        match client.jobs(&chosen.uid).await {
            Ok(jobs) => StackAnswer::Jobs(chosen, jobs),
            Err(AskError::NotFound(_)) => StackAnswer::WrongStack(StackError::unknown(wanted, &stacks)),
            Err(error) => StackAnswer::NotAsked(error),
        }
    }
}

fn account<'s>(named: Option<&str>, schedule: &'s Schedule) -> Result<&'s Arc<Account>, AccountError> {
    let known = || schedule.accounts.iter().map(|account| account.name.as_str());
    match (named, &schedule.accounts[..]) {
        (_, []) => Err(AccountError::None),
        (None, [only]) => Ok(only),
        (None, _) => Err(AccountError::Several(known().collect::<Vec<_>>().join(", "))),
        (Some(name), accounts) => accounts
            .iter()
            .find(|account| account.name.as_str() == name)
            .ok_or_else(|| AccountError::Unknown(name.to_owned(), entries::did_you_mean(name, known()))),
    }
}

fn not_asked(account: &Account, error: &dyn std::error::Error, remedy: &str) -> CommandEnd {
    let text = format!("account `{}` could not be asked: {error}", account.name);
    // Nothing can be told of a stderr that is closed.
    let _ = writeln!(anstream::stderr(), "error: {}\nhelp: {remedy}", one_line(&text));
    CommandEnd::Failed
}

/// One line of JSON. Its keys are an interface.
#[derive(Serialize)]
struct JobLine<'a> {
    account: &'a str,
    stack: &'a str,
    stack_name: Option<&'a str>,
    environment: Option<&'a str>,
    job: &'a str,
    name: &'a str,
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    cron: Option<&'a str>,
    paused: bool,
    status: Option<&'a str>,
    params: &'a Map<String, Value>,
}

fn json(account: &Account, stack: &Chosen, jobs: &[Job], out: &mut Vec<u8>) -> anyhow::Result<()> {
    for job in jobs {
        let record = JobLine {
            account: account.name.as_str(),
            stack: stack.uid.as_str(),
            stack_name: stack.name.as_deref(),
            environment: stack.environment.as_deref(),
            job: &job.uid,
            name: &job.name,
            kind: job.kind.as_deref(),
            cron: job.cron.as_deref(),
            paused: job.paused,
            status: job.status.map(|status| status.as_str()),
            params: &job.params,
        };
        serde_json::to_writer(&mut *out, &record)?;
        out.push(b'\n');
    }
    Ok(())
}

const COLUMNS: [Column; 6] = [
    Column { head: "NAME", align: Align::Left, rank: 0 },
    Column { head: "UID", align: Align::Left, rank: 0 },
    Column { head: "CRON", align: Align::Left, rank: 1 },
    Column { head: "STATE", align: Align::Left, rank: 2 },
    Column { head: "TYPE", align: Align::Left, rank: 3 },
    Column { head: "RUNS", align: Align::Left, rank: 4 },
];

fn text(stack: &Chosen, jobs: &[Job], out: &mut Vec<u8>) -> anyhow::Result<()> {
    let bold = Style::new().bold();
    writeln!(out, "{bold}{}{bold:#}", one_line(&stack.to_string()))?;
    if jobs.is_empty() {
        writeln!(out, "it has no jobs")?;
        return Ok(());
    }
    let yellow = AnsiColor::Yellow.on_default();
    let mut table = Table::new(&COLUMNS, output::columns());
    for job in jobs {
        let (state, style) = match (job.paused, job.status) {
            (true, _) => ("paused", yellow),
            (false, Some(status)) => (status.as_str(), Style::new()),
            (false, None) => ("-", Style::new()),
        };
        let or_dash = |text: Option<&str>| Cell::plain(text.map_or_else(|| "-".to_owned(), one_line));
        let cells = [
            Cell::plain(one_line(&job.name)),
            Cell::plain(one_line(&job.uid)),
            or_dash(job.cron.as_deref()),
            Cell::styled(state, style),
            or_dash(job.kind.as_deref()),
            Cell::plain(runs(&job.params)),
        ];
        table.row(cells, None, out)?;
    }
    table.finish(out)?;
    Ok(())
}

/// Returns what a job runs: its one parameter, or all of them.
pub(super) fn runs(params: &Map<String, Value>) -> String {
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let command = ["command", "task"].into_iter().find_map(|key| params.get(key));
    let text = match command {
        Some(command) => shown(command),
        None if params.is_empty() => "-".to_owned(),
        None => {
            let pairs: Vec<String> =
                params.iter().map(|(key, value)| format!("{key}={}", shown(value))).collect();
            pairs.join(" ")
        }
    };
    one_line(&text)
}
