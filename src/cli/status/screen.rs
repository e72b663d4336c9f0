//! A status as people read it: what is wrong first, then quota, what is next, what waits, what
//! happened.

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use super::super::history::style;
use super::super::output::{distance, span};
use super::super::table::cut;
use crate::control::{
    AccountStatus, Attention, EntryStatus, LatelyStatus, MemberStatus, NotableStatus, PausedBy, Status,
    UnusualStatus, WaitingStatus,
};
use crate::journal::State;
use crate::log::words::counted;
use crate::log::{shortened, visible};
use crate::occurrence::Reason;

const BOLD: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const WELL: Style = AnsiColor::Green.on_default();
const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
const WRONG: Style = AnsiColor::Red.on_default();

/// Before what belongs to the line above.
const INDENT: &str = "  ";

/// Lines that a text of others may have.
const MOST_WRAPPED: usize = 3;

/// Lines that a problem may have, and what to do about it.
const MOST_OF_PROBLEM: usize = 6;

/// Most problems that the block shows.
const MOST_PROBLEMS: usize = 6;

/// Accounts that are shown at most.
const MOST_ACCOUNTS: usize = 8;

/// Members of a shared journal that are shown at most.
const MOST_MEMBERS: usize = 8;

/// Recent failures that are shown at most, the newest first.
const MOST_NOTABLE: usize = 5;

/// Runs out of the ordinary that are shown at most.
const MOST_UNUSUAL: usize = 5;

/// Names are cut to so many columns.
const LONGEST_NAME: usize = 24;

/// The whole screen. No line is wider than `width`.
pub(super) fn of(status: &Status, width: usize) -> String {
    let mut screen = Screen { text: String::new(), width, now: status.now };
    screen.head(status);
    screen.attention(&status.attention);
    screen.sources(status);
    screen.members(&status.members);
    screen.accounts(&status.accounts);
    screen.entries(&status.entries, status.schedule.entries, status.swept_at.is_some());
    screen.waiting(&status.waiting, status.waiting_total);
    screen.lately(status.lately.as_ref());
    screen.unusual(&status.unusual);
    screen.paused(status);
    screen.text
}

/// State of the daemon, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Headline {
    Fires,
    Problems,
    StandsBy,
    No,
}

impl Headline {
    pub(super) fn of(status: &Status) -> Headline {
        let leads = status.members.iter().any(|member| member.leads && member.lives);
        match (status.ready, status.attention.is_empty()) {
            (true, true) => Headline::Fires,
            (true, false) => Headline::Problems,
            (false, true) if leads => Headline::StandsBy,
            (false, _) => Headline::No,
        }
    }
}

struct Screen {
    text: String,
    width: usize,
    now: Timestamp,
}

impl Screen {
    fn head(&mut self, status: &Status) {
        let up = span(status.now.as_second() - status.since.as_second());
        let swept = status.swept_at.map_or("never".to_owned(), |at| self.ago(at));
        let (word, style) = match Headline::of(status) {
            Headline::Fires => ("fires", WELL),
            Headline::Problems => ("fires, with problems", DOUBTFUL),
            Headline::StandsBy => ("stands by", Style::new()),
            Headline::No => ("does not fire", WRONG),
        };
        let program = format!("stackcron {}, process {}", status.version, status.pid);
        self.line(style, &format!("{word}: {program}, up {up}, last sweep {swept}"));
        if let Some(why) = &status.not_ready {
            self.wrapped(style, why);
        }
    }

    /// Prints the problems first: what is wrong, since when, for whom, and what to do.
    fn attention(&mut self, attention: &[Attention]) {
        if attention.is_empty() {
            return;
        }
        self.heading(&format!("ATTENTION {}", attention.len()));
        for problem in attention.iter().take(MOST_PROBLEMS) {
            let since =
                problem.since.map_or(String::new(), |since| format!("since {}: ", self.moment(since)));
            let told = format!("{since}{} ({})", problem.what, problem.concerns);
            self.broken(WRONG, "", &told, MOST_OF_PROBLEM);
            self.broken(Style::new(), INDENT, &problem.remedy, MOST_OF_PROBLEM);
        }
        self.more(attention.len(), attention.len().min(MOST_PROBLEMS));
        self.text.push('\n');
    }

    /// Prints which schedule is fired and which journal is written.
    fn sources(&mut self, status: &Status) {
        let (entries, accounts) = (status.schedule.entries, status.schedule.accounts);
        let counted =
            format!("{}, {}", counted(entries, "entry", "entries"), counted(accounts, "account", "accounts"));
        self.line(Style::new(), &format!("schedule {}: {counted}", status.schedule.path));
        let journal = &status.journal;
        match (&journal.error, journal.failed_since) {
            (Some(error), since) => {
                let since = since.map_or(String::new(), |since| format!(" since {}", instant(since)));
                self.line(WRONG, &format!("journal cannot be written{since}"));
                self.wrapped(WRONG, error);
            }
            (None, _) => self.line(Style::new(), &format!("journal {}", journal.path)),
        }
    }

    fn members(&mut self, members: &[MemberStatus]) {
        if members.is_empty() {
            return;
        }
        let name = column(members.iter().map(|member| &member.member)).max("MEMBER".len());
        self.heading(&format!(
            "{:name$} {:8} {:16} {:>7} {:>9}",
            "MEMBER", "VERSION", "SCHEDULE", "LAG", "CLOCK"
        ));
        let leader = members.iter().find(|member| member.leads).map(|member| member.schedule.clone());
        for member in members.iter().take(MOST_MEMBERS) {
            let style = match member {
                member if !member.lives => WRONG,
                member if leader.as_ref().is_some_and(|leader| *leader != member.schedule) => DOUBTFUL,
                member if member.leads || !member.shards.is_empty() => WELL,
                _ => Style::new(),
            };
            let clock = member.clock_ahead_ms.map_or("?".to_owned(), |ms| format!("{ms:+} ms"));
            let lag = format!("{} ms", member.lag_ms);
            let shards = member.shards.iter().map(|shard| visible(shard));
            let shards: Vec<_> =
                member.leads.then_some("all else".into()).into_iter().chain(shards).collect();
            let leads = match &member.shards[..] {
                [] if member.leads => " leads".to_owned(),
                [] => String::new(),
                _ => format!(" leads {}", shards.join(", ")),
            };
            let (member, version, schedule) = (
                shortened(&visible(&member.member), name),
                cut(&member.version, 8),
                cut(&member.schedule, 16),
            );
            self.line(style, &format!("{member:name$} {version:8} {schedule:16} {lag:>7} {clock:>9}{leads}"));
        }
        self.more(members.len(), members.len().min(MOST_MEMBERS));
    }

    fn accounts(&mut self, accounts: &[AccountStatus]) {
        let name = column(accounts.iter().map(|row| &row.account)).max("ACCOUNT".len());
        let quota_head = format!("{:>15} {:>8}", "LEFT", "RESERVE");
        self.heading(&format!(
            "{:name$} {quota_head} {:>9} {:>9} {:>10}",
            "ACCOUNT", "WAITING", "IN FLIGHT", "FOLLOWED"
        ));
        // Those with something to tell come first.
        let mut sorted: Vec<&AccountStatus> = accounts.iter().collect();
        let waits = |row: &AccountStatus| row.waiting.values().sum::<usize>() + row.held;
        sorted.sort_by_key(|row| row.exhausted_until.is_none() && row.refused.is_none() && waits(row) == 0);
        for row in sorted.into_iter().take(MOST_ACCOUNTS) {
            let left = row.remaining.map_or("?".to_owned(), |left| left.to_string());
            let left = format!("{left} of {}", row.limit);
            let waiting = waits(row);
            let account = shortened(&row.account, name);
            self.line(
                if row.exhausted_until.is_some() { DOUBTFUL } else { Style::new() },
                &format!(
                    "{account:name$} {left:>15} {:>8} {waiting:>9} {:>9} {:>10}",
                    row.reserve, row.in_flight, row.following
                ),
            );
            if let Some(until) = row.exhausted_until {
                let until = format!("{} ({})", instant(until), distance(self.now, until));
                let left = if row.reserve == 0 { "nothing" } else { "nothing but the reserve" };
                self.line(DOUBTFUL, &format!("  {left} is left until {until}"));
            }
            if let Some(refused) = &row.refused {
                let (ago, entry, status) = (self.ago(refused.at), &refused.entry, refused.status);
                self.wrapped(WRONG, &format!("last refused {ago}: {entry}: {status} {}", refused.error));
            }
        }
        self.more(accounts.len(), accounts.len().min(MOST_ACCOUNTS));
    }

    fn entries(&mut self, entries: &[EntryStatus], total: usize, swept: bool) {
        let name = column(entries.iter().map(|entry| &entry.entry));
        self.heading(&format!("{:name$} {:29} {:>14}  {}", "NEXT", "AT", "", "LAST"));
        if entries.is_empty() {
            let why = match (total, swept) {
                (0, _) => "the schedule has no entries",
                (_, false) => "nothing is planned here now; `stackcron next` lists what comes due",
                (_, true) => "no entry is ever due again",
            };
            self.line(FAINT, &format!("  {why}"));
        }
        for entry in entries {
            let at = entry.next_local.as_deref().unwrap_or("never again");
            // An entry with `after` is due when the other entry's action has ended.
            let at =
                entry.expected.map_or(at.to_owned(), |expected| format!("about {}", self.moment(expected)));
            let distance =
                entry.expected.or(entry.next).map_or(String::new(), |next| distance(self.now, next));
            let last = entry.last.as_ref().and_then(|last| last.state.as_deref()).unwrap_or("-");
            let (distance, style) = match entry.paused {
                Some(_) => ("paused".to_owned(), DOUBTFUL),
                None => (distance, of_state(last)),
            };
            let entry = shortened(&entry.entry, name);
            let before = format!("{entry:name$} {at:29} {distance:>14}  ");
            self.styled(&before, style, last);
        }
    }

    fn waiting(&mut self, waiting: &[WaitingStatus], total: usize) {
        if total == 0 {
            return;
        }
        let name = column(waiting.iter().map(|occurrence| &occurrence.entry));
        self.heading(&format!("WAITING {total}"));
        for occurrence in waiting {
            let why = match occurrence.reason.parse() {
                Ok(Reason::Quota) => "quota",
                Ok(Reason::Overlap) => "its last action",
                Ok(Reason::Retry) => "another try",
                Ok(Reason::Deploying) => "the end of a deployment",
                Ok(Reason::Maintenance) => "the end of a maintenance",
                Ok(Reason::PausedRemotely) => "its job to be resumed in Cloud 66",
                _ => "its turn",
            };
            let until =
                occurrence.until.map_or(String::new(), |until| format!(" until {}", time_of_day(until)));
            let since = self.ago(occurrence.scheduled_at);
            let entry = shortened(&occurrence.entry, name);
            self.line(Style::new(), &format!("{entry:name$} due {since:>12}, for {why}{until}"));
            if let Some(error) = &occurrence.error {
                self.wrapped(FAINT, &format!("{error}, attempt {}", occurrence.attempts));
            }
        }
        self.more(total, waiting.len());
    }

    fn lately(&mut self, lately: Option<&LatelyStatus>) {
        let Some(lately) = lately else {
            self.heading("LAST 24 H");
            return self.line(WRONG, "  the journal cannot be read now");
        };
        let mut counts: Vec<String> = State::ALL
            .iter()
            .filter_map(|state| Some(format!("{} {state}", lately.counts.get(state.as_str())?)))
            .collect();
        if lately.late > 0 {
            counts.push(format!("{} sent late", lately.late));
        }
        if counts.is_empty() {
            counts.push("nothing was due".to_owned());
        }
        let newest = if lately.cut { " (the newest)" } else { "" };
        self.heading(&format!("LAST 24 H{newest}  {}", counts.join(", ")));
        let notable = &lately.notable[..lately.notable.len().min(MOST_NOTABLE)];
        let name = column(notable.iter().map(|failure| &failure.entry));
        for failure in notable {
            self.notable(failure, name);
        }
    }

    fn notable(&mut self, failure: &NotableStatus, name: usize) {
        let late =
            failure.lateness_ms.filter(|&ms| ms > 1000).map(|ms| format!(", {} late", span(ms / 1000)));
        let action = failure.action_id.map(|action| format!(", action {action}"));
        let what = [Some(failure.state.clone()), action, late].into_iter().flatten().collect::<String>();
        let entry = shortened(&failure.entry, name);
        self.styled(
            &format!("{entry:name$}  {}  ", instant(failure.scheduled_at)),
            of_state(&failure.state),
            &what,
        );
        if let Some(why) = failure.why.as_ref().or(failure.reason.as_ref()) {
            self.wrapped(FAINT, why);
        }
    }

    /// Prints the runs that take far longer than their entry's do.
    fn unusual(&mut self, unusual: &[UnusualStatus]) {
        if unusual.is_empty() {
            return;
        }
        self.heading(&format!("OUT OF THE ORDINARY {}", unusual.len()));
        let shown = &unusual[..unusual.len().min(MOST_UNUSUAL)];
        let name = column(shown.iter().map(|run| &run.entry));
        for run in shown {
            let (took, median) = (span(run.run_ms / 1000), span(run.median_ms / 1000));
            let ran = if run.running { "has run for" } else { "ran for" };
            let action = run.action_id.map_or(String::new(), |action| format!(" (action {action})"));
            let entry = shortened(&run.entry, name);
            let before = format!("{entry:name$}  {}  ", instant(run.scheduled_at));
            self.styled(&before, DOUBTFUL, &format!("{ran} {took}"));
            self.wrapped(FAINT, &format!("its median is {median}{action}"));
        }
        self.more(unusual.len(), shown.len());
    }

    fn paused(&mut self, status: &Status) {
        if status.paused_total == 0 {
            return;
        }
        self.heading(&format!("PAUSED {}", status.paused_total));
        for pause in &status.paused {
            let by = match (pause.by, pause.in_schedule) {
                (PausedBy::Schedule, _) => "in the schedule file".to_owned(),
                (PausedBy::Command, true) => match pause.pause.as_ref().and_then(|pause| pause.until) {
                    Some(until) => format!("until {} ({})", instant(until), distance(self.now, until)),
                    None => format!("until `stackcron resume {}`", pause.entry),
                },
                (PausedBy::Command, false) => "and no longer in the schedule".to_owned(),
                (PausedBy::Both, _) => "in the schedule file, and by `stackcron pause`".to_owned(),
            };
            self.line(DOUBTFUL, &format!("{} {by}", pause.entry));
            if let Some(pause) = &pause.pause {
                let note = pause.note.as_ref().map_or(String::new(), |note| format!(": {note}"));
                let told = format!("since {} by {}{note}", instant(pause.since), pause.by);
                self.wrapped(FAINT, &told);
            }
        }
        self.more(status.paused_total, status.paused.len());
    }

    fn more(&mut self, total: usize, listed: usize) {
        if total > listed {
            self.line(FAINT, &format!("  and {} more", total - listed));
        }
    }

    fn heading(&mut self, text: &str) {
        self.text.push('\n');
        self.line(BOLD, text.trim_end());
    }

    /// A text of others, under the line that it belongs to. A long one is cut off.
    fn wrapped(&mut self, style: Style, text: &str) {
        self.broken(style, INDENT, text, MOST_WRAPPED);
    }

    /// A text in lines of its own, no word broken: at most so many.
    fn broken(&mut self, style: Style, indent: &str, text: &str, most: usize) {
        let room = self.width.saturating_sub(INDENT.len());
        let mut lines: Vec<String> = vec![String::new()];
        for word in visible(text).split_whitespace() {
            let line = lines.len() - 1;
            let wanted = lines[line].chars().count() + 1 + word.chars().count();
            match lines[line].is_empty() {
                true => lines[line] = word.to_owned(),
                false if wanted <= room => lines[line] += &format!(" {word}"),
                false if lines.len() < most => lines.push(word.to_owned()),
                false => {
                    lines[line] += " …";
                    break;
                }
            }
        }
        for (line, at) in lines.iter().zip(0..) {
            let indent = if at == 0 { indent } else { INDENT };
            self.line(style, &format!("{indent}{line}"));
        }
    }

    fn line(&mut self, style: Style, text: &str) {
        self.styled("", style, text);
    }

    fn styled(&mut self, before: &str, style: Style, text: &str) {
        let before = cut(before, self.width);
        let text = cut(text, self.width - before.chars().count());
        self.text += &format!("{before}{style}{text}{style:#}\n");
    }

    /// The time of day, with the date where it is another day's.
    fn moment(&self, at: Timestamp) -> String {
        let day = |at: Timestamp| at.strftime("%F").to_string();
        if day(at) == day(self.now) { time_of_day(at) } else { instant(at) }
    }

    fn ago(&self, at: Timestamp) -> String {
        distance(self.now, at)
    }
}

/// Returns the width of the column: that of the longest name, within a limit.
fn column<'n>(names: impl Iterator<Item = &'n String>) -> usize {
    names.map(|name| name.chars().count()).max().unwrap_or(0).clamp(5, LONGEST_NAME)
}

fn of_state(word: &str) -> Style {
    State::of_word(word).map_or(Style::new(), style)
}

fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

fn time_of_day(at: Timestamp) -> String {
    at.strftime("%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A status on a good day.
    fn quiet() -> Value {
        json!({
            "version": "1.2.3", "pid": 4711, "now": "2026-11-25T08:14:01.5Z", "since": "2026-11-22T03:00:00Z",
            "ready": true, "not_ready": null,
            "schedule": { "path": "/etc/stackcron/schedule.yaml", "entries": 12, "accounts": 1 },
            "journal": {
                "path": "/var/lib/stackcron/journal.sqlite3", "healthy": true, "failed_since": null, "error": null
            },
            "swept_at": "2026-11-25T08:14:01Z", "in_flight": 0,
            "accounts": [{
                "account": "main", "limit": 3600, "remaining": 3412, "reserve": 180, "exhausted_until": null,
                "waiting": { "high": 0, "normal": 0, "low": 0 }, "held": 0, "in_flight": 0, "following": 2,
                "throttled": 0, "refused": null
            }],
            "entries": [
                {
                    "entry": "nightly-report", "account": "main", "next": "2026-11-26T01:30:00Z",
                    "next_local": "Wed 2026-11-25 20:30:00 EST", "timezone": "America/New_York", "paused": null,
                    "last": {
                        "scheduled_at": "2026-11-25T01:30:00Z", "state": "finished", "sent_at": null,
                        "action_id": 7, "reason": null
                    }
                },
            ],
            "waiting": [], "waiting_total": 0, "paused": [], "paused_total": 0,
            "lately": {
                "since": "2026-11-24T08:14:01Z", "counts": { "finished": 231, "started": 2 }, "late": 0, "cut": false,
                "notable": []
            }
        })
    }

    /// A status at 3 a.m.
    fn bad() -> Value {
        let mut status = quiet();
        status["ready"] = false.into();
        status["not_ready"] = "the journal cannot be written: nothing new is started".into();
        status["attention"] = json!([
            {
                "kind": "journal", "what": "the disk of the journal /var/lib/stackcron/journal.sqlite3 is full",
                "since": "2026-11-25T08:00:00Z", "concerns": "nothing new is started",
                "remedy": "Free space there (`df /var/lib/stackcron`). The daemon goes on by itself then."
            },
            {
                "kind": "token_refused", "what": "the API does not know the token (401): Not\u{1b}[2J known",
                "since": "2026-11-24T23:12:00Z", "concerns": "account main; 13 occurrences wait", "account": "main",
                "remedy": "Replace the token in /etc/stackcron/cloud66-token (or where the unit's LoadCredential= says), then \
                    `systemctl restart stackcron`: a reload does not hand it over."
            },
        ]);
        status["journal"]["healthy"] = false.into();
        status["journal"]["failed_since"] = "2026-11-25T08:00:00Z".into();
        status["journal"]["error"] =
            "the journal /var/lib/stackcron/journal.sqlite3 cannot be written: no space is left on \
            its file system"
                .into();
        status["accounts"][0]["exhausted_until"] = "2026-11-25T08:30:00Z".into();
        status["accounts"][0]["remaining"] = Value::Null;
        status["accounts"][0]["waiting"] = json!({ "high": 1, "normal": 12, "low": 0 });
        status["accounts"][0]["refused"] = json!({
            "at": "2026-11-25T08:12:00Z", "entry": "old-import", "status": 403,
            "error": "You may not do this,\nnor that,\u{1b}[2J and not with this token, which is not allowed anything at all"
        });
        let mut paused = status["entries"][0].clone();
        paused["entry"] = "a-name-of-sixty-four-characters-is-longer-than-its-column-can-be".into();
        paused["paused"] = "command".into();
        paused["last"] = Value::Null;
        let mut never = paused.clone();
        (never["paused"], never["next"], never["next_local"]) = (Value::Null, Value::Null, Value::Null);
        status["entries"].as_array_mut().expect("a list").extend([paused, never]);
        let waiting = |entry: &str, reason: &str, until: Value| {
            json!({
                "entry": entry, "account": "main", "scheduled_at": "2026-11-25T08:00:00Z", "reason": reason,
                "until": until, "deadline": "2026-11-25T09:00:00Z", "attempts": 0, "by_hand": false
            })
        };
        status["waiting"] = json!([
            waiting("nightly-report", "quota", "2026-11-25T08:30:00Z".into()),
            waiting("hourly", "retry", "2026-11-25T08:14:09Z".into()),
            waiting("backup", "overlap", Value::Null),
            waiting("import", "deploying", Value::Null),
            waiting("import", "maintenance", Value::Null),
            waiting("export", "paused_remotely", Value::Null),
            waiting("a-name-of-sixty-four-characters-is-longer-than-its-column-can-be", "turn", Value::Null),
        ]);
        status["waiting_total"] = 14.into();
        let paused = |entry: &str, by: &str, in_schedule: bool| json!({ "entry": entry, "by": by, "in_schedule": in_schedule });
        status["paused"] = json!([
            paused("by-command", "command", true),
            paused("by-file", "schedule", true),
            paused("by-both", "both", true),
            paused("gone", "command", false),
        ]);
        status["paused_total"] = 5.into();
        status["lately"]["counts"] =
            json!({ "finished": 231, "failed": 2, "missed": 1, "skipped": 3, "unknown": 1 });
        status["lately"]["late"] = 4.into();
        status["lately"]["cut"] = true.into();
        let notable = |entry: &str, state: &str, ms: Value, action: Value, reason: Value| {
            json!({
                "entry": entry, "scheduled_at": "2026-11-25T08:00:00Z", "state": state, "lateness_ms": ms,
                "action_id": action, "reason": reason
            })
        };
        status["lately"]["notable"] = json!([
            notable("backup", "failed", 3.into(), 71.into(), "exit status 1\nand more".into()),
            notable("hourly", "finished", 754_321.into(), 72.into(), Value::Null),
            notable("report", "missed", Value::Null, Value::Null, "deadline".into()),
            notable(
                "report",
                "unknown",
                2.into(),
                Value::Null,
                "the connection was closed before an answer came".into()
            ),
        ]);
        status["unusual"] = json!([
            {
                "entry": "nightly-report", "scheduled_at": "2026-11-25T01:30:00Z", "sent_at": "2026-11-25T01:30:00Z",
                "action_id": 73, "run_ms": 24_241_000, "median_ms": 720_000, "running": true
            },
            {
                "entry": "hourly", "scheduled_at": "2026-11-25T06:00:00Z", "sent_at": "2026-11-25T06:00:00Z",
                "action_id": null, "run_ms": 95_000, "median_ms": 12_000, "running": false
            },
        ]);
        status
    }

    fn told(status: Value) -> String {
        let status: Status = serde_json::from_value(status).expect("a status");
        anstream::adapter::strip_str(&of(&status, 80)).to_string()
    }

    #[test]
    fn a_quiet_day_is_short() {
        insta::assert_snapshot!(told(quiet()));
    }

    #[test]
    fn a_bad_night_tells_what_is_wrong_and_fits_the_terminal() {
        let screen = told(bad());
        assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
        assert!(!screen.contains('\u{1b}'), "what the API said cannot steer the terminal");
        insta::assert_snapshot!(screen);
    }

    #[test]
    fn a_bad_night_on_a_wide_terminal() {
        let status: Status = serde_json::from_value(bad()).expect("a status");
        let screen = anstream::adapter::strip_str(&of(&status, 120)).to_string();
        assert!(screen.lines().all(|line| line.chars().count() <= 120), "{screen}");
        insta::assert_snapshot!(screen);
    }

    #[test]
    fn a_new_daemon_has_little_to_tell() {
        let mut status = quiet();
        (status["swept_at"], status["lately"]) = (Value::Null, Value::Null);
        (status["entries"], status["schedule"]["entries"]) = (json!([]), 0.into());
        insta::assert_snapshot!(told(status));
    }

    #[test]
    fn no_terminal_is_too_narrow() {
        for width in [0, 1, 20, 40] {
            let status: Status = serde_json::from_value(bad()).expect("a status");
            let screen = anstream::adapter::strip_str(&of(&status, width)).to_string();
            assert!(screen.lines().all(|line| line.chars().count() <= width), "{width}:\n{screen}");
        }
    }
}
