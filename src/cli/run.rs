//! `stackcron run`: the daemon, from its settings to its last log line.

mod beside;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use reqwest::Url;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::place::StatePlace;
use super::{CommandEnd, output};
use crate::background::Background;
use crate::cloud66::{Client, Token, roots};
use crate::control::{self, OnDisk, StatusReader};
use crate::daemon::{self, Keeping, Loops, Notifier, Replacement, Setup, StopReason};
use crate::hangup;
use crate::journal::postgres::{Membership, Profile};
use crate::journal::{self, Journal, JournalError, Location, WhenReplaced};
use crate::log::event::{
    AccountUnusable, CertificatesMissing, ControlUnavailable, DaemonListening, Event, JournalReplaced,
    NotifyUnusable, ScheduleLoaded, ScheduleMissing, ScheduleRejected, ScheduleWarning, TokenExposed,
    TokenUnchanged,
};
use crate::log::{RecentLines, setup};
use crate::memory;
use crate::metrics::{DEFAULT_ENTRIES, Metrics};
use crate::neighbours::{Fires, Neighbours, SharedJournal};
use crate::notify::{Audience, Notices};
use crate::sandbox::{Sandbox, Settings, Unknown};
use crate::schedule::render::Colour;
use crate::schedule::{Account, AccountName, Content, Loaded, Rejected, Schedule, duration};
use crate::timetable::tz;
use crate::watch::{FileSeen, FileState, Watch, once_it_stays};
use crate::web::{self, HostName, Site};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Fire at an embedded look-alike of the Cloud 66 API instead of the real one. No account is
    /// needed.
    #[arg(long)]
    sandbox: bool,

    #[command(flatten)]
    place: StatePlace,

    /// Serve the status page, its API, /healthz, /readyz and /metrics there, for reading: whoever
    /// reaches the address may read them. A port alone is on loopback; port 0 is any free one;
    /// unix:/PATH is a socket for a reverse proxy.
    #[arg(long, value_name = "ADDR")]
    listen: Option<web::WebAddress>,

    /// Answer requests for this name too, besides those for the address that is listened on. May be
    /// given several times
    #[arg(long = "listen-host", value_name = "NAME", requires = "listen")]
    listen_hosts: Vec<HostName>,

    /// So many entries of the schedule, the first ones of the file, have series of their own in
    /// /metrics: last success, last end, next due instant and interval. 0 is none
    #[arg(long, value_name = "N", default_value_t = DEFAULT_ENTRIES, requires = "listen")]
    metrics_entries: usize,

    /// How long the journal keeps what is settled.
    #[arg(long, value_name = "D", value_parser = duration::parse, default_value = "90d")]
    keep: Duration,

    /// Begin with an empty journal where the one that the state directory knows is gone or is
    /// another one. Pauses and open occurrences of the known journal are left behind. Give it once,
    /// by hand, and not in a unit
    #[arg(long)]
    new_journal: bool,

    /// How log lines are written: text on a terminal, JSON elsewhere, unless given.
    #[arg(long, value_enum, env = "STACKCRON_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<setup::LogOutput>,

    /// The least grave level that is logged.
    #[arg(long, value_enum, env = "STACKCRON_LOG", value_name = "LEVEL", default_value_t)]
    log_level: setup::Level,
}

pub(super) fn run(config: &Path, args: Args) -> anyhow::Result<CommandEnd> {
    memory::keep_little();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Before anything else: without a handler SIGHUP ends the process. One that comes before the
    // daemon runs is a reload then.
    let reloads = {
        let _within = runtime.enter();
        signal(SignalKind::hangup()).context("SIGHUP cannot be handled")?
    };
    hangup::release();
    let recent = RecentLines::default();
    let kept = args.listen.is_some().then(|| recent.clone());
    let log = setup::begin(args.log_format, args.log_level, kept)
        .context("systemd's journal does not listen; without --log-format journald the log goes to stdout")?;
    let Ok((schedule, seen, files)) = load(config) else {
        return Ok(CommandEnd::Config);
    };
    let path = config.display().to_string();
    let entries = schedule.entries.len();
    let loaded = path.clone();
    Event::from(ScheduleLoaded { path: loaded, entries, added: entries, removed: 0, changed: 0 }).emit();
    for missing in roots::check() {
        let (variable, path) = (missing.variable, missing.path.display().to_string());
        Event::from(CertificatesMissing { variable, path, error: missing.why }).emit();
    }
    raise_open_files();
    let server = args.listen.as_ref().map(listen).transpose()?;
    let throw_away = match (&args.place.state_dir, args.sandbox) {
        (None, true) => {
            let directory = tempfile::Builder::new().prefix("stackcron-sandbox-").tempdir();
            Some(directory.context("a directory for the sandbox's journal cannot be made")?)
        }
        _ => None,
    };
    let state = match &throw_away {
        Some(directory) => directory.path().to_owned(),
        None => output::state_directory(args.place.state_dir.as_deref())?,
    };
    let when = if args.new_journal { WhenReplaced::BeginAnew } else { WhenReplaced::Refuse };
    let (journal, location, journal_name) = match args.place.database() {
        Err(error) => return Ok(output::misconfigured(&error)),
        Ok(None) => {
            let name = state.join(journal::FILE_NAME).display().to_string();
            match Journal::open_or_begin(&state, when) {
                Err(error) if is_misplaced(&error) => return Ok(tell_replaced(error)),
                opened => (Keeping::Own(Box::new(opened?)), Location::Directory(state.clone()), name),
            }
        }
        Ok(Some(address)) => {
            let name = address.to_string();
            let profile = profile(seen.fingerprint(), entries);
            match Membership::join(address.clone(), &state, profile, when) {
                Err(error) if is_misplaced(&error) => return Ok(tell_replaced(error)),
                joined => (Keeping::Shared(Box::new(joined?)), Location::Database(Box::new(address)), name),
            }
        }
    };
    // A sandbox run fires no job of anybody.
    let neighbours = match args.sandbox {
        true => None,
        false => {
            let (config, schedule) = (config.to_owned(), Arc::clone(&schedule));
            let fires = Fires { config, schedule, journal: shared_journal(&journal, &journal_name) };
            match runtime.block_on(beside::start(fires)) {
                Ok(neighbours) => neighbours.map(Arc::new),
                Err(SettingsFault(_)) => return Ok(CommandEnd::Config),
            }
        }
    };
    let control = control(&state);
    if throw_away.is_some() && control.is_some() {
        // Not an event: it is of no use to who reads the log later.
        let _ = writeln!(
            anstream::stderr(),
            "sandbox: in a second terminal, `stackcron status --watch --state-dir {}`; it takes `fire`, `pause`, `resume`, `history` \
             as well, and is gone when this ends",
            state.display()
        );
    }
    let notifier = Notifier::from_env().context("$NOTIFY_SOCKET cannot be used")?;
    runtime.block_on(async {
        let stop = stop_signal()?;
        let sandbox = match args.sandbox {
            true => Some(start_sandbox(&schedule).await?),
            false => None,
        };
        let target = match &sandbox {
            Some(sandbox) => ApiTarget::Sandbox(sandbox.url().parse()?),
            None => ApiTarget::Api,
        };
        let (Ok(clients), Ok(audience)) = (target.clients(&schedule), target.audience(&schedule)) else {
            return Ok(CommandEnd::Config);
        };
        let metrics =
            server.is_some().then(|| Arc::new(Metrics::new(Timestamp::now(), args.metrics_entries)));
        let notices = sandbox.is_none().then(|| Notices::start(audience, metrics.clone()));
        let (sender, replacements) = mpsc::channel(1);
        let loops = match journal {
            Keeping::Own(_) => Loops::One,
            Keeping::Shared(_) => Loops::OfShards,
        };
        let on_disk = OnDisk::in_use(Timestamp::now());
        let reader = ScheduleReader {
            config: config.to_owned(),
            target,
            loops,
            running: Arc::clone(&schedule),
            seen,
            files,
        };
        let reloading = reload(
            reloads,
            reader,
            sender,
            metrics.clone(),
            notifier.clone(),
            on_disk.clone(),
            neighbours.clone(),
        );
        let reloading = tokio::spawn(reloading);
        // On a worker: what it spawns is then near at hand.
        let (asking, asked) = control::channel(Arc::clone(&schedule));
        let status = Arc::new(StatusReader::new(asking.clone(), location.clone())?);
        let serving = match (server, &metrics) {
            (Some(server), Some(metrics)) => {
                let site = Site::new(
                    Arc::clone(metrics),
                    asking.clone(),
                    Arc::clone(&status),
                    location.clone(),
                    recent,
                )?;
                Some(server.serve(Arc::new(site), args.listen_hosts.clone())?)
            }
            _ => None,
        };
        let controlling = control.and_then(|server| server.serve(asking, status).ok());
        let keep = args.keep;
        let log = log.progress.clone();
        let setup = Setup {
            path,
            schedule,
            clients,
            journal,
            journal_name,
            keep,
            metrics,
            asked,
            notices,
            notifier,
            log,
            on_disk,
        };
        tokio::spawn(daemon::run(setup, replacements, stop)).await??;
        reloading.abort();
        if let Some(controlling) = controlling {
            controlling.stop().await;
        }
        drop(serving);
        if let Some(sandbox) = sandbox {
            sandbox.stop().await;
        }
        Ok(CommandEnd::Done)
    })
}

/// Returns true when another daemon holds the journal, or when the state directory knows another
/// journal. To start again does not help.
fn is_misplaced(error: &JournalError) -> bool {
    use JournalError::{Elsewhere, Locked, Moved, Replaced};
    matches!(error, Replaced { .. } | Elsewhere { .. } | Moved { .. } | Locked { .. })
}

/// By what other daemons know the journal, where it is shared.
fn shared_journal(journal: &Keeping, name: &str) -> Option<SharedJournal> {
    match journal {
        Keeping::Own(_) => None,
        Keeping::Shared(membership) => {
            Some(SharedJournal { address: name.to_owned(), identity: membership.identity() })
        }
    }
}

/// Tells that the daemon does not start without a person's word.
fn tell_replaced(error: JournalError) -> CommandEnd {
    let status = output::misconfigured(&error);
    if let JournalError::Replaced { location: journal, known, found } = error {
        let (known, found) = (known.to_string(), found.map(|found| found.to_string()));
        Event::from(JournalReplaced { known, found, journal }).emit();
    }
    status
}

/// Returns the profile of this member, for the other members.
fn profile(schedule: String, entries: usize) -> Profile {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let (name, version) = (format!("{host}/{}", std::process::id()), env!("CARGO_PKG_VERSION").to_owned());
    Profile { name, version, schedule, entries }
}

/// Takes the address before anything else is begun: where it is in use, nothing has happened.
fn listen(address: &web::WebAddress) -> anyhow::Result<web::WebServer> {
    let server =
        web::WebServer::bind(address).with_context(|| format!("--listen {address} cannot be listened on"))?;
    Event::from(DaemonListening { address: server.address().to_string() }).emit();
    Ok(server)
}

/// Takes the control socket's place. Without it the schedule is fired all the same: that comes
/// first.
fn control(state: &Path) -> Option<control::Server> {
    let path = control::place(state);
    match control::Server::bind(&path, state) {
        Ok(server) => Some(server),
        Err(error) => {
            let path = path.display().to_string();
            Event::from(ControlUnavailable { path, error: error.to_string() }).emit();
            None
        }
    }
}

/// Something about the settings is wrong, and has been told: in full on stderr, in short in the
/// log. The first thing that is wrong, in one line.
struct SettingsFault(String);

/// The files that were read with the schedule, besides the one that names it.
#[derive(Clone, Default)]
struct FilesRead {
    /// Those of a directory.
    parts: Vec<PathBuf>,
    /// The calendar files that the schedule named, be it good or bad.
    calendars: Vec<PathBuf>,
}

/// Reads the schedule, and keeps nothing else of it but how it is known again, and the files that
/// it is made of.
fn load(config: &Path) -> Result<(Arc<Schedule>, FileSeen, FilesRead), SettingsFault> {
    let tell = |rejected| tell_rejected(config, &rejected);
    let mut content = Content::read(config, &[]).map_err(tell)?;
    let loaded = content.understand().map_err(tell)?;
    let schedule = Arc::new(loaded.schedule.clone());
    tell_warnings(loaded);
    let files = FilesRead { parts: Content::files_of(config), calendars: content.calendars() };
    let seen = FileSeen::new(FileState::of_all(content.parts(&files.calendars)));
    drop(content);
    memory::give_back();
    Ok((schedule, seen, files))
}

/// Tells what is doubtful in a schedule.
fn tell_warnings(loaded: Loaded) {
    for warning in loaded.linted(Timestamp::now()).warnings {
        let record = warning.record();
        let code = serde_json::to_value(record.code).ok();
        let warning = ScheduleWarning {
            path: record.path.to_owned(),
            code: code.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned(),
            line: record.line,
            column: record.column,
            warning: record.message.to_owned(),
            help: record.help.to_owned(),
        };
        Event::from(warning).emit();
    }
}

/// Tells what is wrong with a schedule.
fn tell_rejected(config: &Path, rejected: &Rejected) -> SettingsFault {
    // Nothing can be told of a stderr that is closed.
    let _ = anstream::stderr().write_all(rejected.render(Colour::Always).as_bytes());
    let first = rejected.first().map(ToString::to_string).unwrap_or_default();
    let path = config.display().to_string();
    Event::from(ScheduleRejected { path, errors: rejected.errors(), first: first.clone() }).emit();
    SettingsFault(first)
}

/// Reads the schedule again on each SIGHUP, and when its file has changed. A bad one changes
/// nothing.
async fn reload(
    mut reloads: Signal,
    mut reader: ScheduleReader,
    replacements: mpsc::Sender<Replacement>,
    metrics: Option<Arc<Metrics>>,
    notifier: Notifier,
    on_disk: OnDisk,
    neighbours: Option<Arc<Neighbours>>,
) {
    let mut watch = Watch::new(reader.paths());
    loop {
        let cause = tokio::select! {
            Some(()) = reloads.recv() => ReadCause::Asked,
            () = watch.changed() => ReadCause::Changed,
        };
        if cause == ReadCause::Asked {
            notifier.reloading();
            // Nobody means the half of a file.
            watch.quiet().await;
        }
        let before = Arc::clone(&reader.running);
        let mut reading = reader.clone();
        let read = aside(move || {
            let read = reading.read(cause);
            (reading, read)
        });
        // A fault of the reading's own leaves the reader as it was.
        let read = match read.await {
            Some((reading, read)) => {
                reader = reading;
                watch.set(reader.paths());
                read
            }
            None => Err(SettingsFault("reading it came to no end; see the log".to_owned())),
        };
        let read = match read {
            Ok(Some((replacement, loaded))) => {
                let asked = beside::reload(neighbours.as_deref(), &reader.config, replacement.schedule());
                let permitted = asked.await;
                if permitted.is_err() {
                    reader.running = Arc::clone(&before);
                }
                permitted.map(|()| Some((replacement, loaded)))
            }
            read => read,
        };
        match (read, &metrics) {
            (Ok(None), _) => {}
            (Ok(Some((replacement, loaded))), _) => {
                if replacements.send(replacement).await.is_err() {
                    return;
                }
                on_disk.taken_over(Timestamp::now());
                if cause == ReadCause::Asked {
                    tell_unchanged_tokens(&reader.running);
                }
                if let Some(neighbours) = &neighbours {
                    neighbours.settle();
                }
                // Searching a large file for doubtful expressions takes as long as all the rest.
                aside(move || {
                    tell_warnings(loaded);
                    // The loops have taken over by now: whoever lets go of the former schedule last
                    // frees it.
                    drop(before);
                    memory::give_back();
                })
                .await;
            }
            (Err(SettingsFault(first)), metrics) => {
                on_disk.refused(first, Timestamp::now());
                if let Some(metrics) = metrics {
                    metrics.reload_failed();
                }
                if cause == ReadCause::Asked {
                    notifier.reloaded();
                }
            }
        }
    }
}

/// Tells of the credentials that were changed since the start.
fn tell_unchanged_tokens(schedule: &Schedule) {
    for account in &schedule.accounts {
        if let Some(path) = Token::changed_since_start(&account.token) {
            let path = path.display().to_string();
            Event::from(TokenUnchanged { account: account.name.clone(), path }).emit();
        }
    }
}

/// Does something long off the loop, in a thread that gives way to it. `None` when it came to no
/// end.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    Background::start("reload").ok()?.run(work).await
}

/// Why the schedule is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadCause {
    /// Somebody asked for it, perhaps for what is not in the file: a token, the tz database.
    Asked,
    /// The file may have changed.
    Changed,
}

/// Reads the schedule again, and knows what it was the last time.
#[derive(Clone)]
struct ScheduleReader {
    config: PathBuf,
    target: ApiTarget,
    loops: Loops,
    /// The schedule that was handed over last.
    running: Arc<Schedule>,
    seen: FileSeen,
    files: FilesRead,
}

impl ScheduleReader {
    /// The schedule that the file has now, ready to take over. `None` when there is nothing to do,
    /// or to tell that has not been told.
    fn read(&mut self, cause: ReadCause) -> Result<Option<(Replacement, Loaded)>, SettingsFault> {
        let (mut sight, mut content) = self.look();
        if cause == ReadCause::Changed && !self.seen.shows(&sight) {
            (sight, content) = once_it_stays(
                (sight, content),
                |look| &look.0,
                || {
                    std::thread::sleep(STAYS);
                    self.look()
                },
            );
        }
        let gone = sight == FileState::Gone;
        self.files.parts = Content::files_of(&self.config);
        if !self.seen.differs(sight) && cause == ReadCause::Changed {
            return Ok(None);
        }
        if gone && cause == ReadCause::Changed {
            Event::from(ScheduleMissing { path: self.config.display().to_string() }).emit();
            return Err(SettingsFault("it is gone".to_owned()));
        }
        tz::refresh();
        let loaded = content.and_then(|mut content| {
            let understood = content.understand();
            let calendars = content.calendars();
            if calendars != self.files.calendars {
                // Calendar files that are named for the first time belong to what was seen.
                self.files.calendars = calendars;
                self.seen = FileSeen::new(FileState::of_all(content.parts(&self.files.calendars)));
            }
            understood
        });
        let loaded = loaded.map_err(|rejected| tell_rejected(&self.config, &rejected))?;
        // Warnings about accounts and receivers are told before the file is refused.
        let clients = self.target.clients(&loaded.schedule);
        let audience = self.target.audience(&loaded.schedule);
        let (clients, audience) = (clients?, audience?);
        let (path, now) = (self.config.display().to_string(), Timestamp::now());
        let schedule = loaded.schedule.clone();
        let replacement =
            Replacement::prepare(path, schedule, clients, audience, &self.running, self.loops, now)
                .known_by(self.seen.fingerprint());
        self.running = replacement.schedule().clone();
        Ok(Some((replacement, loaded)))
    }

    /// Returns the paths to watch: the schedule file or the directory and its files, and the
    /// calendar files that they name.
    fn paths(&self) -> Vec<PathBuf> {
        [&self.config].into_iter().chain(&self.files.parts).chain(&self.files.calendars).cloned().collect()
    }

    fn look(&self) -> (FileState, Result<Content, Rejected>) {
        let content = Content::read(&self.config, &self.files.calendars);
        let sight = match &content {
            Ok(content) => FileState::of_all(content.parts(&self.files.calendars)),
            Err(_) if self.is_gone() => FileState::Gone,
            Err(rejected) => FileState::Unreadable(rejected.to_string()),
        };
        (sight, content)
    }

    fn is_gone(&self) -> bool {
        let found = std::fs::metadata(&self.config);
        found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    }
}

/// A file that has changed has to stay the same for so long.
const STAYS: Duration = Duration::from_millis(100);

/// The API that requests go to.
#[derive(Clone, Debug)]
enum ApiTarget {
    /// Each account's own URL, with its own token.
    Api,
    /// The sandbox, with the token that it gives each account.
    Sandbox(Url),
}

impl ApiTarget {
    /// A client for each account. What is missing or wrong with any of them is told.
    fn clients(&self, schedule: &Schedule) -> Result<BTreeMap<AccountName, Client>, SettingsFault> {
        let mut clients = BTreeMap::new();
        let mut first = None;
        for account in &schedule.accounts {
            match self.client(account) {
                Ok(client) => {
                    clients.insert(account.name.clone(), client);
                }
                Err(error) => {
                    let error =
                        AccountUnusable { account: account.name.clone(), error: format!("{error:#}") };
                    let _ = writeln!(anstream::stderr(), "error: account {}: {}", error.account, error.error);
                    first.get_or_insert_with(|| format!("account {}: {}", error.account, error.error));
                    Event::from(error).emit();
                }
            }
        }
        first.map_or(Ok(clients), |first| Err(SettingsFault(first)))
    }

    /// Returns the receivers of notifications: none where the schedule is only played. What is
    /// wrong with any address is told.
    fn audience(&self, schedule: &Schedule) -> Result<Audience, SettingsFault> {
        if let ApiTarget::Sandbox(_) = self {
            return Ok(Audience::default());
        }
        Audience::of(schedule).map_err(|problems| {
            let mut first = None;
            for (owner, problem) in problems {
                let (receiver, entry) = owner.split();
                let event = Event::from(NotifyUnusable { receiver, entry, error: problem.to_string() });
                let _ = writeln!(anstream::stderr(), "error: {}", event.message());
                first.get_or_insert_with(|| event.message());
                event.emit();
            }
            SettingsFault(first.unwrap_or_default())
        })
    }

    fn client(&self, account: &Account) -> anyhow::Result<Client> {
        let found = match self {
            ApiTarget::Api => Token::read(&account.token)?,
            ApiTarget::Sandbox(url) => {
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
