//! Lists the problems of now: cause, since when, for whom, and remedy.
//!
//! `status`, the status page and the service manager show the list. A problem that ends leaves the
//! list by itself, since the list is made anew each time from the states that the daemon is in.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::on_disk::NotInUse;
use super::request::NotReady;
use crate::dispatch::AccountStanding;
use crate::journal::postgres::Leads;
use crate::journal::{Health, JournalError, Pause, Record, State, Unusual};
use crate::log::LogGap;
use crate::log::words::duration;
use crate::schedule::{Account, AccountName, EntryName, ListEnding, TokenSource};

/// A problem of now. Its keys are an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attention {
    /// The kind of problem, for programs.
    pub kind: ProblemKind,
    /// The problem and its cause, in words.
    pub what: String,
    /// `None`: from the start on, or not known.
    pub since: Option<Timestamp>,
    /// For whom: an account, an entry, or everything; and how many occurrences wait.
    pub concerns: String,
    /// The remedy, or when the problem ends by itself.
    pub remedy: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    /// The account, where the problem is one account's.
    pub account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    /// The entry, where the problem is one entry's.
    pub entry: Option<String>,
}

/// The kinds of problems, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The journal cannot be written, has gone, or does not answer.
    Journal,
    /// The lease of a shared journal is not renewed.
    Lease,
    /// Several daemons share the journal, and none leads.
    NobodyLeads,
    /// The clock is behind what it has shown.
    ClockBehind,
    /// The API does not answer an account's requests.
    ApiUnreachable,
    /// The API does not accept an account's token (401).
    TokenRefused,
    /// The API does not let an account's token do what is asked (403).
    Forbidden,
    /// The schedule file on disk is not what is fired.
    ScheduleNotInUse,
    /// Nobody reads the log, and it lacks lines.
    Log,
    /// An account's quota is spent down to the reserve.
    QuotaExhausted,
    /// The newest occurrence of an entry did not end well.
    LastRun,
    /// A run takes three times as long as its entry's median, and has not ended.
    LongRun,
    /// The list of a calendar ends within thirty days, or has ended.
    CalendarEnds,
    /// A pause has no end, and is older than a week.
    PauseForgotten,
}

/// The states from which the list is made.
pub(crate) struct States<'a> {
    pub(crate) not_ready: Option<&'a NotReady>,
    pub(crate) health: &'a Health,
    pub(crate) path: &'a str,
    pub(crate) on_disk: Option<&'a NotInUse>,
    /// The instant at which the schedule in force was read.
    pub(crate) in_force_since: Timestamp,
    /// Lines that the log lacks. `None` once the log has told of them.
    pub(crate) log: Option<LogGap>,
    pub(crate) accounts: &'a [(AccountName, AccountStanding)],
    /// Newest occurrences of entries that did not end well.
    pub(crate) unresolved: &'a [Record],
    /// Runs out of the ordinary.
    pub(crate) unusual: &'a [Unusual],
    /// Calendars whose list ends soon, or has ended.
    pub(crate) endings: &'a [ListEnding],
    /// Entries that a person paused.
    pub(crate) paused: &'a BTreeMap<EntryName, Pause>,
    pub(crate) now: Timestamp,
}

/// A pause without an end that is older may have been forgotten.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Names that a sentence lists at most.
const NAMED: usize = 3;

/// The list, the gravest first.
pub(crate) fn attention(states: &States<'_>) -> Vec<Attention> {
    let mut list = Vec::new();
    list.extend(journal(states));
    list.extend(states.not_ready.and_then(not_ready));
    for (_, standing) in states.accounts {
        list.extend(account(standing));
    }
    list.extend(states.on_disk.map(|unused| schedule_file(states, unused)));
    list.extend(states.log.map(log));
    list.extend(states.unresolved.iter().filter_map(|record| last_run(record, states.accounts)));
    list.extend(states.unusual.iter().filter(|run| run.running).map(long_run));
    list.extend(states.endings.iter().map(calendar_ends));
    list.extend(forgotten_pauses(states));
    list.sort_by_key(|problem| problem.kind);
    list
}

fn long_run(run: &Unusual) -> Attention {
    let (entry, at) = (run.key.entry(), run.key.scheduled_at());
    let action = run.action_id.map_or(String::new(), |id| format!(" (action {id})"));
    let time = duration;
    let what = format!(
        "{entry} has run for {}, and its median is {}{action}",
        time(run.run_ms),
        time(run.median_ms.max(1_000))
    );
    let remedy = format!(
        "See the job on its stack in Cloud 66: nothing stops it from here. `stackcron why {entry} --at {}` tells more. \
         `expect: {{ within: ... }}` of the entry says what is still ordinary.",
        at.strftime("%Y-%m-%dT%H:%M:%SZ")
    );
    let mut problem =
        problem(ProblemKind::LongRun, Some(run.sent_at), what, &format!("entry {entry}"), remedy);
    problem.entry = Some(entry.to_string());
    problem
}

fn calendar_ends(ending: &ListEnding) -> Attention {
    let calendar = &ending.calendar;
    // The list is kept through the day `until`.
    let ended = (ending.days < 0).then(|| ending.until.tomorrow().ok()).flatten();
    let since = ended.and_then(|day| TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok());
    let remedy = format!(
        "Add the days to come to the calendar `{calendar}`, and set its `until` to the last day that the list is kept for: \
         after it nothing stops what the calendar should stop."
    );
    problem(ProblemKind::CalendarEnds, since, ending.to_string(), "the entries that name it", remedy)
}

fn forgotten_pauses(states: &States<'_>) -> Option<Attention> {
    let is_forgotten =
        |pause: &Pause| pause.until.is_none() && states.now.duration_since(pause.since) > FORGOTTEN_AFTER;
    let forgotten: Vec<(&EntryName, &Pause)> =
        states.paused.iter().filter(|(_, pause)| is_forgotten(pause)).collect();
    let (entry, oldest) = *forgotten.iter().min_by_key(|(_, pause)| pause.since)?;
    let names: Vec<&str> = forgotten.iter().take(NAMED).map(|(entry, _)| entry.as_str()).collect();
    let more = match forgotten.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let note = oldest.note.as_ref().map_or(String::new(), |note| format!(" ({})", first_line(note)));
    let what = match forgotten.len() {
        1 => format!("{entry} has been paused by {} for more than a week, without an end{note}", oldest.by),
        count => format!("{count} entries have been paused for more than a week, without an end"),
    };
    let remedy = format!(
        "`stackcron resume {entry}` lets it go on, `stackcron pause {entry} --until T` gives the pause an end."
    );
    let concerns = format!("{}{more}", names.join(", "));
    Some(problem(ProblemKind::PauseForgotten, Some(oldest.since), what, &concerns, remedy))
}

fn problem(
    kind: ProblemKind,
    since: Option<Timestamp>,
    what: String,
    concerns: &str,
    remedy: impl Into<String>,
) -> Attention {
    let (concerns, remedy) = (concerns.to_owned(), remedy.into());
    Attention { kind, what, since, concerns, remedy, account: None, entry: None }
}

fn journal(states: &States<'_>) -> Option<Attention> {
    let Health::Ill { since, error } = states.health else {
        return None;
    };
    let (what, remedy): (String, Cow<'_, str>) = match error {
        JournalError::Full(path) => {
            let directory = path.parent().unwrap_or(path).display();
            (
                format!("the disk of the journal {} is full", path.display()),
                format!("Free space there (`df {directory}`). The daemon goes on by itself then.").into(),
            )
        }
        JournalError::Gone(path) => (
            format!("the journal {} was removed or replaced while in use", path.display()),
            "Put the file back if you have it, then start the daemon anew: `systemctl restart stackcron`."
                .into(),
        ),
        JournalError::Unreachable { address, detail } => (
            format!("the journal {address} cannot be reached: {detail}"),
            "See that the database runs and answers from here. The daemon goes on by itself then.".into(),
        ),
        JournalError::ReadOnly { path, detail } => (
            format!("the journal {} cannot be written: {detail}", path.display()),
            "Make it writable for the daemon's user. The daemon goes on by itself then.".into(),
        ),
        other => (other.to_string(), "See to the journal. The daemon goes on by itself then.".into()),
    };
    Some(problem(ProblemKind::Journal, Some(*since), what, "nothing new is started", remedy))
}

fn not_ready(why: &NotReady) -> Option<Attention> {
    let everything = "nothing new is started";
    Some(match why {
        // The journal's health tells more.
        NotReady::Journal => return None,
        // It passes in some seconds.
        NotReady::Behind => return None,
        NotReady::StandsBy(leadership) => {
            let since = leadership.last.as_ref().map(|last| last.seen_at);
            let (kind, remedy) = match leadership.leads {
                Leads::Lives | Leads::Own => return None,
                Leads::Nobody => (
                    ProblemKind::NobodyLeads,
                    "One should take over within seconds. Else see `stackcron status` and the log of each member.",
                ),
                Leads::NobodyForTheClock => (
                    ProblemKind::NobodyLeads,
                    "See that time is synchronised on this machine and on the database's (`timedatectl`).",
                ),
                Leads::Unknown => (
                    ProblemKind::Lease,
                    "See that the database answers from here. The daemon goes on by itself then.",
                ),
            };
            problem(kind, since, leadership.to_string(), "nothing is started here", remedy)
        }
        NotReady::Replaced => problem(
            ProblemKind::Journal,
            None,
            "the journal is gone, or another one is in its place".to_owned(),
            everything,
            "Bring the journal back, or begin a new one by hand: `stackcron run --new-journal`.",
        ),
        NotReady::Lapsed => problem(
            ProblemKind::Lease,
            None,
            "the lease of the journal has not been renewed in time".to_owned(),
            everything,
            "See that the database answers from here. The daemon goes on by itself then.",
        ),
        NotReady::Disk(seconds) => problem(
            ProblemKind::Journal,
            None,
            format!("the journal has not answered for {seconds} s"),
            everything,
            "See to its disk or its database (`dmesg` tells of a disk that hangs), then restart the daemon.",
        ),
        NotReady::Clock(until) => problem(
            ProblemKind::ClockBehind,
            None,
            format!("the clock is behind the journal: it has shown {} before", instant(*until)),
            everything,
            "See that time is synchronised (`timedatectl`). The daemon goes on when the clock shows that instant.",
        ),
    })
}

fn account(standing: &AccountStanding) -> Vec<Attention> {
    let (account, trouble) = (&standing.account, &standing.trouble);
    let waiting = standing.gauges.waiting.iter().map(|&(_, count)| count).sum::<usize>() + standing.held;
    let concerns = match waiting {
        0 => format!("account {}", account.name),
        1 => format!("account {}; 1 occurrence waits", account.name),
        waiting => format!("account {}; {waiting} occurrences wait", account.name),
    };
    let mut list = Vec::new();
    if let Some(unreachable) = &trouble.unreachable {
        let host = account.url.host_str().unwrap_or("the API");
        let what = format!("cannot reach {host}: {}", unreachable.error);
        let then = match waiting {
            0 => format!(
                "The last try was at {}; the next occurrence is the next one.",
                instant(unreachable.tried_at)
            ),
            _ => "What waits is tried again until its deadline.".to_owned(),
        };
        let remedy = format!(
            "Try `curl -sSI {}` from here: see to the network, the proxy, or the API. {then}",
            account.url
        );
        list.push(problem(ProblemKind::ApiUnreachable, Some(unreachable.since), what, &concerns, remedy));
    }
    if let Some(denied) = &trouble.denied {
        let (kind, what, remedy) = match denied.status {
            401 => (
                ProblemKind::TokenRefused,
                format!("the API does not know the token (401): {}", denied.error),
                renew(account),
            ),
            status => (
                ProblemKind::Forbidden,
                format!("the API refuses {} ({status}): {}", denied.entry, denied.error),
                "Give the token the scopes public and jobs (or admin), and its user access to the stack."
                    .to_owned(),
            ),
        };
        list.push(problem(kind, Some(denied.since), what, &concerns, remedy));
    }
    // A spent quota that keeps nobody waiting is the schedule's normal state.
    if let Some(until) = standing.exhausted_until.filter(|_| waiting > 0) {
        let what = format!(
            "the quota of {} requests is spent{}",
            standing.gauges.limit,
            match standing.gauges.reserve {
                0 => String::new(),
                reserve => format!(" down to the reserve of {reserve}"),
            }
        );
        let remedy = format!(
            "It should come back at {}, and what waits goes then. `stackcron forecast --suggest` tells how to spread what \
             does not fit.",
            instant(until)
        );
        list.push(problem(ProblemKind::QuotaExhausted, trouble.exhausted_since, what, &concerns, remedy));
    }
    for problem in &mut list {
        problem.account = Some(account.name.to_string());
    }
    list
}

/// Says how to replace a token that is not accepted.
fn renew(account: &Account) -> String {
    match &account.token {
        TokenSource::Credential(name) => format!(
            "Replace the token in /etc/stackcron/{name} (or where the unit's LoadCredential= says), then `systemctl restart \
             stackcron`: a reload does not hand it over."
        ),
        TokenSource::Env(name) => {
            format!(
                "Set {name} to a token that is valid where the daemon is started, then restart the daemon."
            )
        }
        TokenSource::File(path) => {
            format!("Replace the token in {}, then `systemctl reload stackcron`.", path.display())
        }
    }
}

fn schedule_file(states: &States<'_>, unused: &NotInUse) -> Attention {
    let what = format!("the schedule file on disk is not in use: {}", unused.first);
    let concerns = format!("the schedule read at {} is fired", instant(states.in_force_since));
    let remedy = format!(
        "Mend {0} (`stackcron check --config {0}` tells every error). It is read again when it changes.",
        states.path
    );
    problem(ProblemKind::ScheduleNotInUse, Some(unused.since), what, &concerns, remedy)
}

fn log(gap: LogGap) -> Attention {
    let lines = if gap.lines == 1 { "1 line is".to_owned() } else { format!("{} lines are", gap.lines) };
    let what = format!("nobody reads the log: {lines} dropped");
    let remedy = "See to the process that reads the daemon's stdout, as `ps` and the unit show it. `stackcron history` has \
                  what became of each occurrence.";
    problem(ProblemKind::Log, Some(gap.since), what, "the log; firing goes on", remedy)
}

/// The newest occurrence of an entry, where a person should look into it.
fn last_run(record: &Record, accounts: &[(AccountName, AccountStanding)]) -> Option<Attention> {
    let (entry, at) = (record.key.entry(), record.key.scheduled_at());
    let reason = record.reason.as_deref().filter(|reason| !reason.is_empty());
    let because = record.in_words().filter(|words| !words.is_empty());
    let because = because.map_or(String::new(), |words| format!(": {}", first_line(&words)));
    // The account's own problem tells it for all of its entries.
    let told =
        |(_, standing): &(AccountName, AccountStanding)| {
            standing.trouble.denied.as_ref().is_some_and(|denied| {
                reason.is_some_and(|reason| reason.starts_with(&denied.status.to_string()))
            })
        };
    if record.state == State::Rejected && accounts.iter().any(told) {
        return None;
    }
    let why = format!("`stackcron why {entry} --at {}` tells more.", at.strftime("%Y-%m-%dT%H:%M:%SZ"));
    let (what, remedy) = match record.state {
        State::Failed => {
            let action = record.action_id.map_or(String::new(), |id| format!(" (action {id})"));
            (
                format!("the last job of {entry} failed{action}{because}"),
                format!("See the job's output on its stack in Cloud 66. {why}"),
            )
        }
        State::Rejected => {
            let remedy = match reason {
                Some(reason) if reason.starts_with("404") => {
                    format!(
                        "Compare `stack` and `job` of {entry} with the uids that `stackcron jobs STACK` lists."
                    )
                }
                _ => why,
            };
            (format!("the API refused {entry}{because}"), remedy)
        }
        State::Missed => (format!("{entry} was not run{because}"), why),
        State::Unknown => (
            format!("nothing tells whether {entry} started{because}"),
            format!(
                "Look at the stack's actions in Cloud 66, and run it with `stackcron fire {entry}` if it did not."
            ),
        ),
        _ => return None,
    };
    let mut problem = problem(ProblemKind::LastRun, Some(at), what, &format!("entry {entry}"), remedy);
    problem.entry = Some(entry.to_string());
    Some(problem)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}
