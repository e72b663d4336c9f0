//! The daemon's state in printable values, made of what its loop, its schedule and its journal say.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::attention::{Attention, States, attention};
use super::journal_reading::JournalReading;
use super::request::{NotReady, Snapshot};
use crate::dispatch::{AccountStanding, WaitingOccurrence, Waits};
use crate::journal::postgres::{Leadership, Leads, Member};
use crate::journal::{Health, Pause, Record, State, Unusual};
use crate::occurrence::Reason;
use crate::schedule::{AccountName, Entry, EntryName, ListEnding, Priority, Schedule, ending};
use crate::timetable::zone_name;

/// State of a daemon. Its keys are an interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is what its name says; the doc comments tell what it does not")]
pub struct Status {
    pub version: String,
    pub pid: u32,
    /// The instant of this state.
    pub now: Timestamp,
    /// The instant at which the daemon started.
    pub since: Timestamp,
    /// True while occurrences that come due are sent.
    pub ready: bool,
    /// The reason where `ready` is false.
    pub not_ready: Option<String>,
    /// The member that was last seen leading. `None`: this daemon leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<LeaderStatus>,
    /// The problems of now, the gravest first.
    #[serde(default)]
    pub attention: Vec<Attention>,
    pub schedule: ScheduleStatus,
    pub journal: JournalStatus,
    /// The instant of the last sweep of the timetable.
    pub swept_at: Option<Timestamp>,
    /// run_now requests that wait for their answer.
    pub in_flight: usize,
    pub accounts: Vec<AccountStatus>,
    /// The entries that were asked for, or else those that are due next.
    pub entries: Vec<EntryStatus>,
    /// The first of what waits, of each account.
    pub waiting: Vec<WaitingStatus>,
    /// Number of occurrences that wait in all.
    pub waiting_total: usize,
    /// The first of what is paused.
    pub paused: Vec<PausedEntry>,
    pub paused_total: usize,
    /// Runs of the last day, and those that run on, that take three times as long as their entry's
    /// median; those that run on first, then the newest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unusual: Vec<UnusualStatus>,
    /// `None`: the journal cannot be read now.
    pub lately: Option<LatelyStatus>,
    /// The members that share the journal, the leader first. Empty: the journal is this daemon's
    /// own, or cannot be read now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberStatus>,
}

/// The member that was last seen leading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderStatus {
    /// Host and process id of the member. `None`: no member has been seen leading.
    pub member: Option<String>,
    /// The instant at which the member was last seen leading.
    pub seen_at: Option<Timestamp>,
    /// True while a member leads. `None`: unknown, as the journal is out of reach.
    pub leads: Option<bool>,
}

impl From<&Leadership> for LeaderStatus {
    fn from(leadership: &Leadership) -> LeaderStatus {
        let last = leadership.last.clone();
        LeaderStatus {
            member: last.as_ref().map(|last| last.member.clone()),
            seen_at: last.map(|last| last.seen_at),
            leads: match leadership.leads {
                Leads::Lives | Leads::Own => Some(true),
                Leads::Nobody | Leads::NobodyForTheClock => Some(false),
                Leads::Unknown => None,
            },
        }
    }
}

/// A daemon that shares the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is what its name says; the doc comments tell what it does not")]
pub struct MemberStatus {
    /// Host and process id of the member.
    pub member: String,
    /// True for the member that fires every account without a named shard.
    pub leads: bool,
    /// The named shards that it fires.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<String>,
    /// True when the member's heartbeat came within the last seconds.
    pub lives: bool,
    pub version: String,
    /// Fingerprint of the member's schedule file. Equal files have equal fingerprints.
    pub schedule: String,
    pub entries: u32,
    /// Age of the member's last heartbeat in milliseconds.
    pub lag_ms: u64,
    /// Milliseconds by which the member's clock is ahead of the database's.
    pub clock_ahead_ms: Option<i64>,
    pub since: Timestamp,
}

impl From<Member> for MemberStatus {
    fn from(member: Member) -> MemberStatus {
        MemberStatus {
            leads: member.leads,
            shards: member.shards.clone(),
            lives: member.lives(),
            member: member.name,
            version: member.version,
            schedule: member.schedule,
            entries: member.entries,
            lag_ms: member.lag_ms,
            clock_ahead_ms: member.clock_ahead_ms,
            since: member.started_at,
        }
    }
}

/// The schedule that is fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is what its name says; the doc comments tell what it does not")]
pub struct ScheduleStatus {
    pub path: String,
    pub entries: usize,
    pub accounts: usize,
    /// The instant at which the schedule file was read. `None`: an older daemon, which does not
    /// tell it.
    #[serde(default)]
    pub loaded_at: Option<Timestamp>,
}

/// The journal, and since when and why it cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is what its name says")]
pub struct JournalStatus {
    pub path: String,
    pub healthy: bool,
    pub failed_since: Option<Timestamp>,
    pub error: Option<String>,
}

/// An account and its quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is what its name says; the doc comments tell what it does not")]
pub struct AccountStatus {
    pub account: String,
    pub limit: u32,
    /// The quota's window, in milliseconds. Zero: the daemon that told this is an older one.
    #[serde(default)]
    pub window_ms: u64,
    /// Remaining requests, as the API last told. `None`: the API has not told.
    pub remaining: Option<u32>,
    /// Left to people and CI.
    pub reserve: u32,
    /// The instant until which only the reserve is left. `None`: more than the reserve is left.
    pub exhausted_until: Option<Timestamp>,
    /// Number of occurrences that wait for quota or for another try, by priority.
    pub waiting: BTreeMap<String, usize>,
    /// Number of occurrences that wait for their entry's last action to finish, or for their stack.
    pub held: usize,
    /// Requests that wait for their answer.
    pub in_flight: usize,
    /// Actions that have not finished.
    pub following: usize,
    /// Requests that the API refused for want of quota, since the start.
    pub throttled: u64,
    /// The last request since the start that the API refused for good.
    pub refused: Option<RefusedStatus>,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is what its name says")]
pub struct RefusedStatus {
    pub at: Timestamp,
    pub entry: String,
    pub status: u16,
    pub error: String,
}

/// An entry, when it was and will be due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is what its name says; the doc comments tell what it does not")]
pub struct EntryStatus {
    pub entry: String,
    #[serde(default)]
    pub stack: String,
    #[serde(default)]
    pub job: String,
    pub account: String,
    /// `None`: never again.
    pub next: Option<Timestamp>,
    /// The next occurrence on the clocks of the entry's zone.
    pub next_local: Option<String>,
    /// The entry whose end makes it due: `next` is the instant of the chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The instant at which the entry should be due, by the median run times of the entries before
    /// it in the chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Timestamp>,
    pub timezone: String,
    pub paused: Option<PausedBy>,
    /// The terms of a person's pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// The entry's last occurrence, whether or not the daemon was up.
    pub last: Option<LastStatus>,
}

/// An entry's last scheduled occurrence, and what the journal has of it: all `None` where it has
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is what its name says")]
pub struct LastStatus {
    pub scheduled_at: Timestamp,
    /// `None`: the first time through the instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<u32>,
    pub state: Option<String>,
    pub sent_at: Option<Timestamp>,
    pub action_id: Option<u64>,
    pub reason: Option<String>,
    /// Why it is in its state, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// An occurrence that is due and not sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is what its name says; the doc comments tell what it does not")]
pub struct WaitingStatus {
    pub entry: String,
    pub account: String,
    pub scheduled_at: Timestamp,
    /// `None`: the first time through the instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<u32>,
    /// `quota`, `overlap`, `retry`, `deploying`, `maintenance`, `paused_remotely`, or `turn`: the
    /// answers to requests before it.
    pub reason: String,
    pub until: Option<Timestamp>,
    /// The instant after which the occurrence is missed.
    pub deadline: Timestamp,
    pub attempts: u32,
    /// The error of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub by_hand: bool,
}

/// An entry whose occurrences are skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is what its name says; the doc comments tell what it does not")]
pub struct PausedEntry {
    pub entry: String,
    pub by: PausedBy,
    /// The terms of a person's pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// True while the schedule has the entry.
    pub in_schedule: bool,
}

/// The origin of a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PausedBy {
    /// `paused: true` in the schedule file.
    Schedule,
    /// `stackcron pause`.
    Command,
    /// Both the file and a person.
    Both,
}

/// A run that takes far longer than its entry's runs do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is what its name says; the doc comments tell what it does not")]
pub struct UnusualStatus {
    pub entry: String,
    pub scheduled_at: Timestamp,
    /// `None`: the first time through the instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<u32>,
    pub action_id: Option<u64>,
    pub sent_at: Timestamp,
    /// Run time of the action, up to now where it is unfinished.
    pub run_ms: i64,
    /// The median of its entry's successful runs.
    pub median_ms: i64,
    /// True while the action is unfinished.
    pub running: bool,
}

/// The outcomes of the last day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatelyStatus {
    /// Occurrences that were scheduled since this instant are counted.
    pub since: Timestamp,
    /// Occurrences by state.
    pub counts: BTreeMap<String, u64>,
    /// The hours in which occurrences were scheduled, the first one first.
    #[serde(default)]
    pub hours: Vec<HourStatus>,
    /// Sent more than a second late.
    pub late: u64,
    /// True when there were too many to read: only the newest are counted.
    pub cut: bool,
    /// The newest of what failed, was rejected or missed, is unknown, or was late; the newest
    /// first.
    pub notable: Vec<NotableStatus>,
}

/// The outcomes of an hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourStatus {
    /// The beginning of the hour, which is a full one in UTC.
    pub from: Timestamp,
    /// Occurrences by state.
    pub counts: BTreeMap<String, u64>,
}

/// An occurrence that somebody should look into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is what its name says")]
pub struct NotableStatus {
    pub entry: String,
    pub scheduled_at: Timestamp,
    /// `None`: the first time through the instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<u32>,
    pub state: String,
    pub lateness_ms: Option<i64>,
    pub action_id: Option<u64>,
    pub reason: Option<String>,
    /// Why it is in its state, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// An entry, its next instant, its last one, and what the journal has of that.
pub(super) struct Around {
    pub(super) entry: Arc<Entry>,
    /// The entries that it comes after, the next one first.
    pub(super) upstream: Vec<Arc<Entry>>,
    pub(super) next: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    pub(super) record: Option<Record>,
    /// The instant at which the entries before it in the chain should have ended, by their latest
    /// run times.
    pub(super) expected: Option<Timestamp>,
}

impl Around {
    /// Returns true when the end of another entry makes this one due.
    pub(super) fn is_expected(&self) -> bool {
        !self.upstream.is_empty() && self.next.is_some()
    }
}

impl Status {
    /// Puts together what is known. Of what is paused at most so many are listed.
    pub(super) fn of(
        snapshot: &Snapshot,
        around: Vec<Around>,
        read: Option<JournalReading>,
        unusual: Vec<Unusual>,
        members: Vec<Member>,
        most: usize,
    ) -> Status {
        let schedule = &snapshot.schedule;
        let (lately, unresolved) = match read {
            Some(read) => (Some((read.since, read.lately)), read.unresolved),
            None => (None, Vec::new()),
        };
        let endings: Vec<ListEnding> = (schedule.calendars().into_values())
            .filter_map(|calendar| ending(calendar, snapshot.now))
            .collect();
        let (failed_since, error) = match &snapshot.health {
            Health::Well => (None, None),
            Health::Ill { since, error } => (Some(*since), Some(error.to_string())),
        };
        let members: Vec<MemberStatus> = members.into_iter().map(MemberStatus::from).collect();
        let states = States {
            not_ready: snapshot.not_ready.as_ref(),
            health: &snapshot.health,
            path: &snapshot.path,
            on_disk: snapshot.on_disk.unused.as_ref(),
            in_force_since: snapshot.on_disk.in_force_since,
            log: snapshot.log,
            accounts: &snapshot.accounts,
            unresolved: &unresolved,
            unusual: &unusual,
            endings: &endings,
            paused: &snapshot.paused,
            now: snapshot.now,
        };
        let attention = attention(&states);
        let (paused, paused_total) = paused(snapshot, most);
        let waits = |(_, standing): &(AccountName, AccountStanding)| {
            waiting_of(standing).values().sum::<usize>() + standing.held
        };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            now: snapshot.now,
            since: snapshot.since,
            ready: snapshot.not_ready.is_none(),
            not_ready: snapshot.not_ready.as_ref().map(ToString::to_string),
            leader: match &snapshot.not_ready {
                Some(NotReady::StandsBy(leadership)) => Some(leadership.into()),
                _ => None,
            },
            attention,
            schedule: ScheduleStatus {
                path: snapshot.path.to_string(),
                entries: schedule.entries.len(),
                accounts: schedule.accounts.len(),
                loaded_at: Some(snapshot.on_disk.in_force_since),
            },
            journal: JournalStatus {
                path: snapshot.journal.to_string(),
                healthy: snapshot.health == Health::Well,
                failed_since,
                error,
            },
            swept_at: snapshot.swept_at,
            in_flight: snapshot.fires_in_flight,
            accounts: snapshot.accounts.iter().map(|known| account(known, schedule)).collect(),
            entries: around.into_iter().map(|around| entry(around, snapshot)).collect(),
            waiting: snapshot.waiting.iter().map(waiting).collect(),
            waiting_total: snapshot.accounts.iter().map(waits).sum(),
            paused,
            paused_total,
            members,
            unusual: unusual.into_iter().take(most).map(UnusualStatus::from).collect(),
            lately: lately.map(|(since, lately)| LatelyStatus {
                since,
                counts: by_word(&lately.counts),
                hours: (lately.hours.iter())
                    .map(|(from, counts)| HourStatus { from: *from, counts: by_word(counts) })
                    .collect(),
                late: lately.late,
                cut: lately.cut,
                notable: lately.notable.into_iter().map(notable).collect(),
            }),
        }
    }
}

fn by_word(counts: &[(State, u64)]) -> BTreeMap<String, u64> {
    counts.iter().map(|&(state, count)| (word(state), count)).collect()
}

fn account((name, standing): &(AccountName, AccountStanding), schedule: &Schedule) -> AccountStatus {
    let gauges = standing.gauges;
    let window = schedule.accounts.iter().find(|account| account.name == *name);
    let window = window.map_or(0, |account| account.quota.window.as_millis());
    AccountStatus {
        window_ms: window.try_into().unwrap_or(u64::MAX),
        account: name.to_string(),
        limit: gauges.limit,
        remaining: gauges.remaining,
        reserve: gauges.reserve,
        exhausted_until: standing.exhausted_until,
        waiting: waiting_of(standing),
        held: standing.held,
        in_flight: standing.in_flight,
        following: standing.following,
        throttled: gauges.sent.throttled,
        refused: standing.refused.as_ref().map(|refused| RefusedStatus {
            at: refused.at,
            entry: refused.entry.to_string(),
            status: refused.status,
            error: refused.error.clone(),
        }),
    }
}

fn waiting_of(standing: &AccountStanding) -> BTreeMap<String, usize> {
    let word = |priority| match priority {
        Priority::High => "high",
        Priority::Normal => "normal",
        Priority::Low => "low",
    };
    standing.gauges.waiting.iter().map(|&(priority, count)| (word(priority).to_owned(), count)).collect()
}

fn waiting(waiting: &WaitingOccurrence) -> WaitingStatus {
    let (reason, until) = match waiting.waits {
        Waits::Quota { until } => (Reason::Quota.as_str(), until),
        Waits::Turn | Waits::Stack(None) => ("turn", None),
        Waits::Retry { until } => (Reason::Retry.as_str(), until),
        Waits::Overlap => (Reason::Overlap.as_str(), None),
        Waits::Stack(Some(obstacle)) => (Reason::from(obstacle).as_str(), None),
    };
    WaitingStatus {
        entry: waiting.entry.name.to_string(),
        account: waiting.entry.account.name.to_string(),
        scheduled_at: waiting.scheduled_at,
        pass: further(waiting.pass),
        reason: reason.to_owned(),
        until,
        deadline: waiting.deadline,
        attempts: waiting.attempts,
        error: waiting.error.clone(),
        by_hand: waiting.by_hand,
    }
}

fn entry(around: Around, snapshot: &Snapshot) -> EntryStatus {
    let Around { entry, next, last, record, expected, .. } = around;
    let local = |at: Timestamp| {
        at.to_zoned_datetime(entry.timezone.clone()).strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string()
    };
    EntryStatus {
        entry: entry.name.to_string(),
        stack: entry.stack.to_string(),
        job: entry.job.to_string(),
        account: entry.account.name.to_string(),
        next,
        next_local: next.map(local),
        after: entry.after.as_ref().map(|after| after.entry.to_string()),
        expected,
        timezone: zone_name(&entry.timezone, snapshot.now),
        paused: paused_by(entry.paused, snapshot.paused.contains_key(&entry.name)),
        pause: snapshot.paused.get(&entry.name).cloned(),
        last: last.map(|scheduled_at| LastStatus {
            scheduled_at,
            pass: record.as_ref().and_then(|record| further(record.key.pass())),
            state: record.as_ref().map(|record| word(record.state)),
            sent_at: record.as_ref().and_then(|record| record.sent_at),
            action_id: record.as_ref().and_then(|record| record.action_id),
            why: record.as_ref().and_then(Record::in_words),
            reason: record.and_then(|record| record.reason),
        }),
    }
}

/// The first of what is paused, by name, and how many there are.
fn paused(snapshot: &Snapshot, most: usize) -> (Vec<PausedEntry>, usize) {
    let mut known: BTreeMap<&EntryName, bool> = snapshot.paused.keys().map(|name| (name, false)).collect();
    let mut in_schedule = Vec::new();
    for entry in &snapshot.schedule.entries {
        match known.get_mut(&entry.name) {
            Some(known) => {
                *known = true;
                if entry.paused {
                    in_schedule.push(&entry.name);
                }
            }
            None if entry.paused => in_schedule.push(&entry.name),
            None => {}
        }
    }
    let mut all: BTreeMap<&EntryName, (PausedBy, bool)> =
        known.into_iter().map(|(name, known)| (name, (PausedBy::Command, known))).collect();
    for name in in_schedule {
        let paused = all.entry(name).or_insert((PausedBy::Schedule, true));
        if paused.0 == PausedBy::Command {
            paused.0 = PausedBy::Both;
        }
    }
    let total = all.len();
    let first = all.into_iter().take(most);
    let listed = first.map(|(name, (by, in_schedule))| {
        let pause = snapshot.paused.get(name).cloned();
        PausedEntry { entry: name.to_string(), by, pause, in_schedule }
    });
    (listed.collect(), total)
}

fn paused_by(in_schedule: bool, by_command: bool) -> Option<PausedBy> {
    match (in_schedule, by_command) {
        (true, true) => Some(PausedBy::Both),
        (true, false) => Some(PausedBy::Schedule),
        (false, true) => Some(PausedBy::Command),
        (false, false) => None,
    }
}

fn notable(record: Record) -> NotableStatus {
    NotableStatus {
        entry: record.key.entry().to_string(),
        scheduled_at: record.key.scheduled_at(),
        pass: further(record.key.pass()),
        state: word(record.state),
        lateness_ms: record.lateness_ms,
        action_id: record.action_id,
        why: record.in_words(),
        reason: record.reason,
    }
}

impl From<Unusual> for UnusualStatus {
    fn from(run: Unusual) -> UnusualStatus {
        UnusualStatus {
            entry: run.key.entry().to_string(),
            scheduled_at: run.key.scheduled_at(),
            pass: further(run.key.pass()),
            action_id: run.action_id,
            sent_at: run.sent_at,
            run_ms: run.run_ms,
            median_ms: run.median_ms,
            running: run.running,
        }
    }
}

/// A pass as it is shown: the first one is not.
fn further(pass: u32) -> Option<u32> {
    Some(pass).filter(|&pass| pass > 0)
}

fn word(state: State) -> String {
    state.as_str().to_owned()
}
