//! `stackcron run`: the daemon, from its settings to its last log line.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;
use reqwest::Url;
use tokio::signal::unix::{SignalKind, signal};

use super::Status;
use crate::cloud66::{Client, Token};
use crate::daemon::{self, StopReason};
use crate::log::event::{Event, ScheduleLoaded, ScheduleRejected, ScheduleWarning, TokenExposed};
use crate::log::setup;
use crate::sandbox::{Sandbox, Settings};
use crate::schedule::render::Colour;
use crate::schedule::{self, Account, AccountName, Schedule};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Fire at an embedded look-alike of the Cloud 66 API instead of the real one. No account is needed.
    #[arg(long)]
    sandbox: bool,

    /// How log lines are written: text on a terminal, JSON elsewhere, unless given.
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<setup::Format>,

    /// The least grave level that is logged.
    #[arg(long, value_enum, env = "STACKCRON_LOG", value_name = "LEVEL", default_value_t)]
    log_level: setup::Level,
}

pub(super) fn run(config: &Path, args: Args) -> anyhow::Result<Status> {
    let _log = setup::to_stdout(args.log_format, args.log_level);
    let Some(schedule) = load(config)? else {
        return Ok(Status::Config);
    };
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = stop_signal()?;
        if !args.sandbox {
            let Some(clients) = clients(&schedule)? else {
                return Ok(Status::Config);
            };
            daemon::run(schedule, clients, stop).await?;
            return Ok(Status::Done);
        }
        let sandbox =
            Sandbox::start(Settings::for_schedule(&schedule)).await.context("the sandbox cannot start")?;
        let clients = point_at(&sandbox, &schedule)?;
        daemon::run(schedule, clients, stop).await?;
        sandbox.stop().await;
        Ok(Status::Done)
    })
}

/// Reads the schedule, and tells what is wrong with it: in full on stderr, in short in the log.
fn load(config: &Path) -> anyhow::Result<Option<Schedule>> {
    let path = config.display().to_string();
    match schedule::load(config) {
        Ok(loaded) => {
            let loaded = loaded.linted(Timestamp::now());
            let entries = loaded.schedule.entries.len();
            for warning in &loaded.warnings {
                let record = warning.record();
                let warning = ScheduleWarning {
                    path: path.clone(),
                    code: serde_json::to_value(record.code)?.as_str().unwrap_or_default().to_owned(),
                    line: record.line,
                    column: record.column,
                    warning: record.message.to_owned(),
                    help: record.help.to_owned(),
                };
                Event::from(warning).emit();
            }
            Event::from(ScheduleLoaded { path, entries, added: entries, removed: 0, changed: 0 }).emit();
            Ok(Some(loaded.schedule))
        }
        Err(rejected) => {
            anstream::stderr().write_all(rejected.render(Colour::Always).as_bytes())?;
            let first = rejected.first().map(ToString::to_string).unwrap_or_default();
            Event::from(ScheduleRejected { path, errors: rejected.errors(), first }).emit();
            Ok(None)
        }
    }
}

/// Points every account at the sandbox, with the token that it has there.
fn point_at(sandbox: &Sandbox, schedule: &Schedule) -> anyhow::Result<BTreeMap<AccountName, Client>> {
    let url: Url = sandbox.url().parse()?;
    let accounts =
        schedule.accounts.iter().map(|account| Account { url: url.clone(), ..(**account).clone() });
    accounts
        .map(|account| {
            let token = Token::new(&Settings::token_of(account.name.as_str()), "the sandbox")?;
            Ok((account.name.clone(), Client::new(&account, &token)?))
        })
        .collect()
}

/// A client for each account. `None` when a token is missing; each missing one is told.
fn clients(schedule: &Schedule) -> anyhow::Result<Option<BTreeMap<AccountName, Client>>> {
    let mut clients = BTreeMap::new();
    for account in &schedule.accounts {
        match Token::read(&account.token) {
            Ok(found) => {
                if let Some(path) = found.exposed {
                    let path = path.display().to_string();
                    let hint = format!("chmod o-r {path}");
                    Event::from(TokenExposed { account: account.name.clone(), path, hint }).emit();
                }
                clients.insert(account.name.clone(), Client::new(account, &found.token)?);
            }
            Err(error) => eprintln!("error: account {}: {error}", account.name),
        }
    }
    Ok((clients.len() == schedule.accounts.len()).then_some(clients))
}

/// Resolves when the daemon is asked to stop.
fn stop_signal() -> anyhow::Result<impl Future<Output = StopReason>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// Lets the process open as many files as it may: each request in flight can need a connection.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it is not allowed, the limit that stands is enough for all but the largest bursts.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
