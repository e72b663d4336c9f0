//! `stackcron run`: the daemon, from its settings to its last log line.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use reqwest::Url;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::{Status, output};
use crate::cloud66::{Client, Token};
use crate::daemon::{self, Notifier, Replacement, Setup, StopReason};
use crate::journal::{self, Journal};
use crate::log::event::{
    AccountUnusable, DaemonListening, Event, ScheduleLoaded, ScheduleRejected, ScheduleWarning, TokenExposed,
};
use crate::log::setup;
use crate::memory;
use crate::metrics::{Metrics, Server};
use crate::sandbox::{Sandbox, Settings, Unknown};
use crate::schedule::render::Colour;
use crate::schedule::{self, Account, AccountName, Schedule, duration};
use crate::timetable::tz;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Fire at an embedded look-alike of the Cloud 66 API instead of the real one. No account is needed.
    #[arg(long)]
    sandbox: bool,

    /// Where the daemon keeps what survives it. $STATE_DIRECTORY, or else stackcron in $XDG_STATE_HOME, unless
    /// given; a throw-away directory with --sandbox.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// Answer /healthz, /readyz and /metrics over HTTP there: whoever reaches the address may read them. Port 0 is any
    /// free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,

    /// How long the journal keeps what is settled.
    #[arg(long, value_name = "D", value_parser = duration::parse, default_value = "90d")]
    keep: Duration,

    /// How log lines are written: text on a terminal, JSON elsewhere, unless given.
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<setup::Output>,

    /// The least grave level that is logged.
    #[arg(long, value_enum, env = "STACKCRON_LOG", value_name = "LEVEL", default_value_t)]
    log_level: setup::Level,
}

pub(super) fn run(config: &Path, args: Args) -> anyhow::Result<Status> {
    let _log = setup::begin(args.log_format, args.log_level)
        .context("systemd's journal does not listen; without --log-format journald the log goes to stdout")?;
    let Ok(schedule) = load(config) else {
        return Ok(Status::Config);
    };
    let path = config.display().to_string();
    let entries = schedule.entries.len();
    Event::from(ScheduleLoaded { path: path.clone(), entries, added: entries, removed: 0, changed: 0 })
        .emit();
    raise_open_files();
    let server = args.listen.map(listen).transpose()?;
    let throw_away = match (&args.state_dir, args.sandbox) {
        (None, true) => {
            Some(tempfile::tempdir().context("a directory for the sandbox's journal cannot be made")?)
        }
        _ => None,
    };
    let state = match &throw_away {
        Some(directory) => directory.path().to_owned(),
        None => output::state_directory(args.state_dir.as_deref())?,
    };
    let journal = Journal::open(&state)?;
    let journal_name = state.join(journal::FILE_NAME).display().to_string();
    let notifier = Notifier::from_env().context("$NOTIFY_SOCKET cannot be used")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (stop, reloads) =
            (stop_signal()?, signal(SignalKind::hangup()).context("SIGHUP cannot be handled")?);
        let sandbox = match args.sandbox {
            true => Some(start_sandbox(&schedule).await?),
            false => None,
        };
        let target = match &sandbox {
            Some(sandbox) => Target::Sandbox(sandbox.url().parse()?),
            None => Target::Api,
        };
        let Ok(clients) = target.clients(&schedule) else {
            return Ok(Status::Config);
        };
        let metrics = server.is_some().then(|| Arc::new(Metrics::new()));
        let serving = match (server, &metrics) {
            (Some(server), Some(metrics)) => Some(server.serve(Arc::clone(metrics))?),
            _ => None,
        };
        let (sender, replacements) = mpsc::channel(1);
        let config = config.to_owned();
        let reloading =
            tokio::spawn(reload(reloads, config, target, sender, metrics.clone(), notifier.clone()));
        // On a worker: what it spawns is then near at hand.
        let first = Replacement { path, schedule, clients };
        let setup = Setup { first, journal, journal_name, keep: args.keep, metrics, notifier };
        tokio::spawn(daemon::run(setup, replacements, stop)).await??;
        reloading.abort();
        if let Some(serving) = serving {
            serving.abort();
        }
        if let Some(sandbox) = sandbox {
            sandbox.stop().await;
        }
        Ok(Status::Done)
    })
}

/// Takes the address before anything else is begun: where it is in use, nothing has happened.
fn listen(address: SocketAddr) -> anyhow::Result<Server> {
    let server =
        Server::bind(address).with_context(|| format!("--listen {address} cannot be listened on"))?;
    Event::from(DaemonListening { address: server.address().to_string() }).emit();
    Ok(server)
}

/// Something about the settings is wrong, and has been told: in full on stderr, in short in the log.
struct Told;

/// Reads the schedule, and keeps nothing else of it.
fn load(config: &Path) -> Result<Schedule, Told> {
    let schedule = read(config)?;
    memory::give_back();
    Ok(schedule)
}

/// Reads the schedule, and tells what is wrong or doubtful in it.
fn read(config: &Path) -> Result<Schedule, Told> {
    let path = config.display().to_string();
    match schedule::load(config) {
        Ok(loaded) => {
            let loaded = loaded.linted(Timestamp::now());
            for warning in &loaded.warnings {
                let record = warning.record();
                let code = serde_json::to_value(record.code).ok();
                let warning = ScheduleWarning {
                    path: path.clone(),
                    code: code.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned(),
                    line: record.line,
                    column: record.column,
                    warning: record.message.to_owned(),
                    help: record.help.to_owned(),
                };
                Event::from(warning).emit();
            }
            Ok(loaded.schedule)
        }
        Err(rejected) => {
            // Nothing can be told of a stderr that is closed.
            let _ = anstream::stderr().write_all(rejected.render(Colour::Always).as_bytes());
            let first = rejected.first().map(ToString::to_string).unwrap_or_default();
            Event::from(ScheduleRejected { path, errors: rejected.errors(), first }).emit();
            Err(Told)
        }
    }
}

/// Reads the schedule again on each SIGHUP. A bad one changes nothing.
async fn reload(
    mut reloads: Signal,
    config: PathBuf,
    target: Target,
    replacements: mpsc::Sender<Replacement>,
    metrics: Option<Arc<Metrics>>,
    notifier: Notifier,
) {
    while reloads.recv().await.is_some() {
        notifier.reloading();
        let (config, target) = (config.clone(), target.clone());
        // Off the loop: a large file takes a while, and nothing may be late for it.
        let read = tokio::task::spawn_blocking(move || {
            tz::refresh();
            let schedule = load(&config)?;
            let clients = target.clients(&schedule)?;
            Ok::<_, Told>(Replacement { path: config.display().to_string(), schedule, clients })
        });
        match (read.await, &metrics) {
            (Ok(Ok(replacement)), _) => {
                if replacements.send(replacement).await.is_err() {
                    return;
                }
            }
            (_, metrics) => {
                if let Some(metrics) = metrics {
                    metrics.reload_failed();
                }
                notifier.reloaded();
            }
        }
    }
}

/// What requests go to.
#[derive(Clone, Debug)]
enum Target {
    /// Each account's own URL, with its own token.
    Api,
    /// The sandbox, with the token that it gives each account.
    Sandbox(Url),
}

impl Target {
    /// A client for each account. What is missing or wrong with any of them is told.
    fn clients(&self, schedule: &Schedule) -> Result<BTreeMap<AccountName, Client>, Told> {
        let mut clients = BTreeMap::new();
        for account in &schedule.accounts {
            match self.client(account) {
                Ok(client) => {
                    clients.insert(account.name.clone(), client);
                }
                Err(error) => {
                    let error =
                        AccountUnusable { account: account.name.clone(), error: format!("{error:#}") };
                    let _ = writeln!(anstream::stderr(), "error: account {}: {}", error.account, error.error);
                    Event::from(error).emit();
                }
            }
        }
        if clients.len() == schedule.accounts.len() { Ok(clients) } else { Err(Told) }
    }

    fn client(&self, account: &Account) -> anyhow::Result<Client> {
        let found = match self {
            Target::Api => Token::read(&account.token)?,
            Target::Sandbox(url) => {
                let token = Token::new(&Settings::token_of(account.name.as_str()), "the sandbox")?;
                return Ok(Client::new(&Account { url: url.clone(), ..account.clone() }, &token)?);
            }
        };
        if let Some(path) = found.exposed {
            let path = path.display().to_string();
            let hint = format!("chmod o-r {path}");
            Event::from(TokenExposed { account: account.name.clone(), path, hint }).emit();
        }
        Ok(Client::new(account, &found.token)?)
    }
}

/// A sandbox that knows what the schedule names, and what a later version of it will name.
async fn start_sandbox(schedule: &Schedule) -> anyhow::Result<Sandbox> {
    let settings = Settings { unknown: Unknown::Created, ..Settings::for_schedule(schedule) };
    Sandbox::start(settings).await.context("the sandbox cannot start")
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
