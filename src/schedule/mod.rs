//! The content of a schedule file that is known to be valid, and its reading: [`load`].
//!
//! The text becomes a `tree` of values with places, the tree becomes a [`Schedule`] in `validate`,
//! and everything that is wrong on the way becomes a [`Diagnostic`].

mod arguments;
mod calendars;
mod content;
mod defaults;
pub mod cron;
pub mod diagnostic;
pub mod duration;
pub mod entries;
mod links;
mod lint;
pub mod name;
pub mod notify;
mod place;
pub mod render;
mod report;
mod origin;
mod pairing;
pub mod shape;
pub mod source;
mod sources;
mod syntax;
mod template;
mod tree;
mod validate;
mod words;
mod yaml;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;

use self::content::CalendarFiles;
use self::origin::SourceMap;
use self::report::{Problem, ProblemReport};
use self::sources::Sources;
use self::words::Word;

pub use arguments::{ArgsIn, ArgsTooLong, LONGEST_IN_BODY, LONGEST_IN_QUERY};
pub use calendars::{Covered, ListedSpans, NamedCalendar, NotOn, Window};
pub(crate) use calendars::{ListEnding, ending};
pub use content::Content;
pub(crate) use content::EXTENSION;
pub use cron::{CronError, Expression};
pub use diagnostic::{Code, Diagnostic, Rejected, Related, Severity};
pub use links::{After, Backoff, End, Followers, RetryPolicy};
pub use name::{AccountName, CalendarName, EntryName, JobUid, NameError, ReceiverName, ShardName, StackUid};
pub use notify::{Address, Format, Notify, Receiver, SecretUrl, Trigger};
pub use origin::Part;
pub(crate) use pairing::Pairs;
pub(crate) use place::one_line;
pub use template::Template;

/// A schedule file that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The valid schedule.
    pub schedule: Schedule,
    /// Warnings: parts of a valid schedule that somebody should look at.
    pub warnings: Vec<Diagnostic>,
    /// The text and the places in it, by which a warning that is found later names its line.
    origin: SourceMap,
}

impl Loaded {
    /// Adds to the warnings what in the schedule is likely not meant as it is written. What depends
    /// on time is told of the year from `now` on.
    pub fn linted(mut self, now: Timestamp) -> Loaded {
        let mut report = ProblemReport::default();
        for problem in lint::check(&self.schedule, &self.origin.places, now) {
            report.warning(problem);
        }
        self.warnings.extend(report.finish(&self.origin.sources));
        self.warnings.sort_by(|one, other| one.order().cmp(&other.order()));
        self
    }

    /// Findings as diagnostics, each with its place in the file, in the file's order.
    pub fn diagnosed(&self, findings: Vec<Finding>) -> Vec<Diagnostic> {
        let mut report = ProblemReport::default();
        for Finding { code, severity, part, message, help } in findings {
            let span = self.origin.places.of(part);
            report.add(severity, Problem { code, span, message, help, related: None });
        }
        report.finish(&self.origin.sources)
    }
}

/// A finding about a valid schedule from elsewhere, for example from the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The stable code of the finding.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// The part of the schedule that the finding is about.
    pub part: Part,
    /// The fault, in a sentence.
    pub message: String,
    /// The remedy: what to write or to do instead.
    pub help: String,
}

/// Reads and validates a schedule file, or the files of a directory as one schedule, with the
/// calendar files that are named.
///
/// Whatever the path leads to, this ends soon and takes bounded memory: no more than
/// [`source::MAX_BYTES`] are read, and what is no regular file is refused.
///
/// # Errors
/// Everything that is wrong with the file, at once; or the one reason why it cannot be read.
pub fn load(path: &Path) -> Result<Loaded, Rejected> {
    Content::read(path, &[])?.understand()
}

/// Validates what was read of a schedule file. A calendar file that it names is not read, and is an
/// error.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn understand(path: &Path, bytes: &[u8]) -> Result<Loaded, Rejected> {
    let name = path.to_string_lossy();
    match source::decode(bytes) {
        Ok(text) => parse(&name, text),
        Err(problem) => Err(rejected(&name, &String::from_utf8_lossy(bytes), problem)),
    }
}

/// Validates the text of a schedule file. `name` is what its diagnostics call it. Nothing is read:
/// a calendar file that the text names is an error.
///
/// # Errors
/// Everything that is wrong with the text, at once. A text that is no YAML has one error:
/// where it stops being one.
pub fn parse(name: &str, text: &str) -> Result<Loaded, Rejected> {
    parse_with(name, &[Text { path: name, text }], &mut CalendarFiles::default())
}

/// Validates the texts of the files of a schedule. `name` is what diagnostics call the whole.
fn parse_with(name: &str, texts: &[Text<'_>], files: &mut CalendarFiles) -> Result<Loaded, Rejected> {
    let mut sources = Sources::named(name);
    let mut report = ProblemReport::default();
    // One text, so that one number says which file a place is in, and where.
    let mut whole = Cow::Borrowed("");
    let mut parts = Vec::with_capacity(texts.len());
    for Text { path, text } in texts {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let base = sources.add(path, text);
        if texts.len() == 1 {
            whole = Cow::Borrowed(text);
        } else {
            if base > 0 {
                whole.to_mut().push('\n');
            }
            whole.to_mut().push_str(text);
        }
        parts.push(base..base + text.len());
        if let Err(problem) = source::screen(text) {
            report.error(problem.later(base));
        }
    }
    if report.has_errors() {
        return Err(Rejected { diagnostics: report.finish(&sources), cut: false });
    }
    let mut roots = Vec::with_capacity(parts.len());
    for part in parts {
        match yaml::parse(&whole, part.clone()) {
            Ok(node) => roots.push(validate::Root { node, part }),
            Err(error) => {
                for problem in syntax::problems(&error, &whole[part.clone()]) {
                    report.error(problem.later(part.start));
                }
            }
        }
    }
    if report.has_errors() {
        return Err(Rejected { diagnostics: report.finish(&sources), cut: false });
    }
    let (schedule, places) = validate::schedule(&roots, &whole, files, &mut sources, &mut report);
    let (has_errors, cut) = (report.has_errors(), report.is_full());
    let diagnostics = report.finish(&sources);
    if has_errors {
        Err(Rejected { diagnostics, cut })
    } else {
        Ok(Loaded { schedule, warnings: diagnostics, origin: SourceMap { sources, places } })
    }
}

/// A file of a schedule, and the text that was read from it.
#[derive(Clone, Copy, Debug)]
struct Text<'t> {
    path: &'t str,
    text: &'t str,
}

/// One problem that leaves nothing to validate.
fn rejected(name: &str, text: &str, problem: Problem) -> Rejected {
    let mut report = ProblemReport::default();
    report.error(problem);
    Rejected { diagnostics: report.finish(&Sources::of(name, text)), cut: false }
}

/// A valid schedule: every entry's account exists, every expression comes due.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    /// In the file's order.
    pub accounts: Vec<Arc<Account>>,
    /// In the file's order.
    pub entries: Vec<Arc<Entry>>,
}

/// The entries of a schedule by their names.
pub type ByName = HashMap<EntryName, Arc<Entry>>;

impl Schedule {
    /// The entries by their names.
    pub fn by_name(&self) -> ByName {
        self.entries.iter().map(|entry| (entry.name.clone(), Arc::clone(entry))).collect()
    }

    /// The shards that its accounts belong to, and the common one, whether or not it has any.
    pub fn shards(&self) -> BTreeSet<Shard> {
        let named = self.accounts.iter().map(|account| account.shard.clone());
        named.chain([Shard::Common]).collect()
    }

    /// The calendars that its entries name, by their names.
    pub fn calendars(&self) -> BTreeMap<&CalendarName, &Arc<NamedCalendar>> {
        let named = self.entries.iter().flat_map(|entry| &entry.not_on);
        named.map(|calendar| (&calendar.name, calendar)).collect()
    }

    /// Returns the accounts and entries of one shard.
    pub fn of_shard(&self, shard: &Shard) -> Schedule {
        let accounts = self.accounts.iter().filter(|account| account.shard == *shard);
        let entries = self.entries.iter().filter(|entry| entry.account.shard == *shard);
        Schedule { accounts: accounts.cloned().collect(), entries: entries.cloned().collect() }
    }
}

/// One API token with a quota of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Its key under `accounts:`.
    pub name: AccountName,
    /// Base of every path, without a trailing slash.
    pub url: reqwest::Url,
    /// The place from which the token is read.
    pub token: TokenSource,
    /// Time that one request may take, the answer's body included.
    pub timeout: Duration,
    /// The quota that is assumed until an answer's headers say otherwise.
    pub quota: QuotaSettings,
    /// With which others it is led, where several daemons share a journal.
    pub shard: Shard,
    /// The part of run_now that carries `args`: query or body.
    pub args_in: ArgsIn,
    /// Number of the organisation that the requests are for, sent as `X-Account`. `None`: the
    /// token's user has one alone.
    pub organization: Option<u64>,
}

/// A share of the schedule, by its accounts, that one of several daemons leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shard {
    /// The shard of all accounts that name none.
    #[default]
    Common,
    /// The shard of the accounts that name it.
    Named(ShardName),
}

impl Shard {
    /// Its name, where it has one.
    pub fn name(&self) -> Option<&ShardName> {
        match self {
            Shard::Common => None,
            Shard::Named(name) => Some(name),
        }
    }
}

/// The place in which a token is kept. The token itself is never part of the schedule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TokenSource {
    /// A systemd credential: a file of this name in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// An environment variable.
    Env(String),
    /// A file, its last newline removed.
    File(std::path::PathBuf),
}

/// The quota of an account, as the file states it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuotaSettings {
    /// Requests in one window.
    pub limit: u32,
    /// The interval after which the count starts anew.
    pub window: Duration,
    /// Requests that the schedule leaves to people and CI on the same token.
    pub reserve: Reserve,
}

/// A part of the quota that the schedule never uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reserve {
    /// A fixed number of requests.
    Requests(u32),
    /// A share of the limit in force, 0 to 100.
    Percent(f64),
}

impl Reserve {
    /// The reserve in requests under a limit, rounded up.
    pub fn of(self, limit: u32) -> u32 {
        match self {
            Reserve::Requests(n) => n.min(limit),
            // The product is at most `limit`: a percentage is checked to be 0 to 100.
            Reserve::Percent(p) => (f64::from(limit) * p / 100.0).ceil() as u32,
        }
    }
}

/// A stack/job pair, when it is due, and its policies.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its key under `jobs:`.
    pub name: EntryName,
    /// The account whose token starts it.
    pub account: Arc<Account>,
    /// The stack that has the job.
    pub stack: StackUid,
    /// The job that is run.
    pub job: JobUid,
    /// Due whenever any of them is. Empty where the entry comes after another one, and only there.
    /// Entries that have their one expression in common share it.
    pub cron: Arc<[Expression]>,
    /// The entry whose end makes this one due, in place of expressions.
    pub after: Option<After>,
    /// The zone its expressions are read in.
    pub timezone: TimeZone,
    /// Sent as `job_args`, exactly as written. In a schedule `None` where there is a template; an
    /// occurrence of an entry with a template carries a copy of the entry that has the filled
    /// template here.
    pub args: Option<String>,
    /// Filled with the occurrence's instant, instead of fixed arguments.
    pub args_template: Option<Arc<Template>>,
    /// The policy while this entry's last action is unfinished.
    pub overlap: Overlap,
    /// Which of several waiting occurrences are sent.
    pub catch_up: CatchUp,
    /// An occurrence that is not sent this long after it came due is missed.
    pub start_deadline: Duration,
    /// The entry's own delay is drawn from `[0, jitter)`.
    pub jitter: Duration,
    /// Rank of the entry when the quota is short.
    pub priority: Priority,
    /// An attempt whose outcome is unknown may be sent again.
    pub idempotent: bool,
    /// Ask for the action until it has finished.
    pub follow: bool,
    /// When true, the entry's occurrences are skipped.
    pub paused: bool,
    /// Repetitions of an action that ended without success. `None`: it is not run again.
    pub retry: Option<Arc<RetryPolicy>>,
    /// The policy while the stack is not ready for a job.
    pub stack_state: StackState,
    /// Receivers that are told how the entry's occurrences end.
    pub notify: Option<Arc<Notify>>,
    /// Calendars on which its occurrences are skipped.
    pub not_on: NotOn,
    /// Run time of an action when all is well. Only an entry with `follow` has one.
    pub expect: Option<Arc<Expectation>>,
}

/// Run time of an action when all is well. The log tells of an action that ends sooner or runs
/// longer. No action is stopped, for the API has no way to stop one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// An action that ends sooner has done less than it should.
    pub at_least: Option<Duration>,
    /// An action that runs longer is slow.
    pub within: Option<Duration>,
}

/// The policy for an occurrence while the entry's last action is unfinished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "lowercase", transform = shape::words)]
pub enum Overlap {
    /// Send it all the same.
    #[default]
    Allow,
    /// Give it up.
    Skip,
    /// Send it when the action has finished. One waits at most.
    Queue,
}

impl Word for Overlap {
    const ALL: &'static [(&'static str, Self)] =
        &[("allow", Overlap::Allow), ("skip", Overlap::Skip), ("queue", Overlap::Queue)];
}

/// What to do with an occurrence while Cloud 66 deploys its stack or has it in maintenance, or has
/// its job paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "lowercase", transform = shape::words)]
pub enum StackState {
    /// Send it all the same; nobody asks how the stack is.
    #[default]
    Ignore,
    /// Send it when that is over.
    Hold,
    /// Give it up.
    Skip,
}

impl Word for StackState {
    const ALL: &'static [(&'static str, Self)] =
        &[("ignore", StackState::Ignore), ("hold", StackState::Hold), ("skip", StackState::Skip)];
}

/// Which of an entry's occurrences are sent, of those that wait because the daemon was down or the
/// quota spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "lowercase", transform = shape::words)]
pub enum CatchUp {
    /// No occurrence is sent.
    None,
    /// The newest alone; it supersedes the older ones.
    #[default]
    Latest,
    /// Every one of them.
    All,
}

impl Word for CatchUp {
    const ALL: &'static [(&'static str, Self)] =
        &[("none", CatchUp::None), ("latest", CatchUp::Latest), ("all", CatchUp::All)];
}

/// Who goes first when the quota is short. Greater goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(rename_all = "lowercase", transform = shape::words)]
pub enum Priority {
    /// After all others.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before all others.
    High,
}

impl Word for Priority {
    const ALL: &'static [(&'static str, Self)] =
        &[("high", Priority::High), ("normal", Priority::Normal), ("low", Priority::Low)];
}

impl Entry {
    /// Returns the due instant of an occurrence, which has the entry's own delay, and its deadline.
    pub fn times(&self, scheduled_at: Timestamp) -> (Timestamp, Timestamp) {
        let later = |at: Timestamp, by| at.checked_add(by).unwrap_or(Timestamp::MAX);
        let due_at = later(scheduled_at, self.delay());
        (due_at, self.deadline(due_at))
    }

    /// Returns the deadline of an occurrence with this due instant. An occurrence that is not sent
    /// by then is missed.
    pub fn deadline(&self, due_at: Timestamp) -> Timestamp {
        due_at.checked_add(self.start_deadline).unwrap_or(Timestamp::MAX)
    }

    /// The delay of this entry's occurrences: in `[0, jitter)`, the same every time and on every
    /// machine.
    ///
    /// It depends on the name alone, so that periods stay exact and a changed `cron` keeps its
    /// place.
    pub fn delay(&self) -> Duration {
        let span = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX);
        match span {
            0 => Duration::ZERO,
            span => Duration::from_millis(fnv1a(self.name.as_str()) % span),
        }
    }
}

/// FNV-1a with 64 bits: its value is fixed for all time, unlike that of the standard library's
/// hasher.
fn fnv1a(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
