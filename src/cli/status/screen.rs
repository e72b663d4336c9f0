//! A status as people read it: what is wrong first, then quota, what is next, what waits, what happened.

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use super::super::history::{STATES, style};
use super::super::output::{distance, span};
use crate::control::{
    AccountStatus, EntryStatus, LatelyStatus, NotableStatus, PausedBy, Status, WaitingStatus,
};
use crate::log::visible;

const BOLD: Style = Style::new().bold();
const FAINT: Style = Style::new().dimmed();
const WELL: Style = AnsiColor::Green.on_default();
const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
const WRONG: Style = AnsiColor::Red.on_default();

/// The whole screen. No line is wider than `width`.
pub(super) fn of(status: &Status, width: usize) -> String {
    let mut screen = Screen { text: String::new(), width, now: status.now };
    screen.head(status);
    screen.accounts(&status.accounts);
    screen.entries(&status.entries, status.schedule.entries);
    screen.waiting(&status.waiting, status.waiting_total);
    screen.lately(status.lately.as_ref());
    screen.paused(status);
    screen.text
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
        let (word, style) = if status.ready { ("fires", WELL) } else { ("DOES NOT FIRE", WRONG) };
        let program = format!("stackcron {}, process {}", status.version, status.pid);
        self.line(style, &format!("{word}: {program}, up {up}, last sweep {swept}"));
        if let Some(why) = &status.not_ready {
            self.line(WRONG, &format!("  {why}"));
        }
        let (entries, accounts) = (status.schedule.entries, status.schedule.accounts);
        let counted =
            format!("{}, {}", plural(entries, "entry", "entries"), plural(accounts, "account", "accounts"));
        self.line(Style::new(), &format!("schedule {}: {counted}", status.schedule.path));
        let journal = &status.journal;
        match (&journal.error, journal.failed_since) {
            (Some(error), since) => {
                let since = since.map_or(String::new(), |since| format!(" since {}", instant(since)));
                self.line(WRONG, &format!("journal {} cannot be written{since}", journal.path));
                self.line(WRONG, &format!("  {}", visible(error)));
            }
            (None, _) => self.line(Style::new(), &format!("journal {}", journal.path)),
        }
    }

    fn accounts(&mut self, accounts: &[AccountStatus]) {
        let name = self.width.saturating_sub(57).max(8);
        let quota_head = format!("{:>15} {:>8}", "LEFT", "RESERVE");
        self.heading(&format!(
            "{:name$} {quota_head} {:>9} {:>9} {:>10}",
            "ACCOUNT", "WAITING", "IN FLIGHT", "FOLLOWED"
        ));
        for of in accounts {
            let left = of.remaining.map_or("?".to_owned(), |left| left.to_string());
            let left = format!("{left} of {}", of.limit);
            let waiting = of.waiting.values().sum::<usize>() + of.held;
            let account = cut(&of.account, name);
            self.line(
                if of.exhausted_until.is_some() { DOUBTFUL } else { Style::new() },
                &format!(
                    "{account:name$} {left:>15} {:>8} {waiting:>9} {:>9} {:>10}",
                    of.reserve, of.in_flight, of.following
                ),
            );
            if let Some(until) = of.exhausted_until {
                let until = format!("{} ({})", instant(until), distance(self.now, until));
                self.line(DOUBTFUL, &format!("  nothing but the reserve is left until {until}"));
            }
            if let Some(refused) = &of.refused {
                let (ago, entry, status) = (self.ago(refused.at), &refused.entry, refused.status);
                let error = visible(&refused.error);
                self.line(WRONG, &format!("  last refused {ago}: {entry}: {status} {error}"));
            }
        }
    }

    fn entries(&mut self, entries: &[EntryStatus], of: usize) {
        let name = self.width.saturating_sub(53).max(8);
        self.heading(&format!("{:name$} {:29} {:>10}  {}", "NEXT", "AT", "", "LAST"));
        if entries.is_empty() {
            let why = if of == 0 { "the schedule has no entries" } else { "no entry is ever due again" };
            self.line(FAINT, &format!("  {why}"));
        }
        for of in entries {
            let at = of.next_local.as_deref().unwrap_or("never again");
            let distance = of.next.map_or(String::new(), |next| distance(self.now, next));
            let last = of.last.as_ref().and_then(|last| last.state.as_deref()).unwrap_or("-");
            let (distance, style) = match of.paused {
                Some(_) => ("paused".to_owned(), DOUBTFUL),
                None => (distance, of_state(last)),
            };
            let entry = cut(&of.entry, name);
            let before = format!("{entry:name$} {at:29} {distance:>10}  ");
            self.styled(&before, style, last);
        }
    }

    fn waiting(&mut self, waiting: &[WaitingStatus], total: usize) {
        if total == 0 {
            return;
        }
        let name = self.width.saturating_sub(53).max(8);
        self.heading(&format!("WAITING {total}"));
        for of in waiting {
            let why = match of.reason.as_str() {
                "quota" => "quota",
                "overlap" => "its last action",
                "retry" => "another try",
                _ => "its turn",
            };
            let until = of.until.map_or(String::new(), |until| format!(" until {}", time_of_day(until)));
            let since = self.ago(of.scheduled_at);
            let entry = cut(&of.entry, name);
            self.line(Style::new(), &format!("{entry:name$} due {since:>12}, for {why}{until}"));
        }
        self.more(total, waiting.len());
    }

    fn lately(&mut self, lately: Option<&LatelyStatus>) {
        let Some(lately) = lately else {
            self.heading("LAST 24 H");
            return self.line(WRONG, "  the journal cannot be read now");
        };
        let mut counts: Vec<String> = STATES
            .iter()
            .filter_map(|state| Some(format!("{} {state}", lately.counts.get(state.as_str())?)))
            .collect();
        if lately.late > 0 {
            counts.push(format!("{} sent late", lately.late));
        }
        if counts.is_empty() {
            counts.push("nothing was due".to_owned());
        }
        let newest = if lately.cut { " (of the newest)" } else { "" };
        self.heading(&format!("LAST 24 H  {}{newest}", counts.join(", ")));
        for of in &lately.notable {
            self.notable(of);
        }
    }

    fn notable(&mut self, of: &NotableStatus) {
        let name = self.width.saturating_sub(53).max(8);
        let mut what = Vec::new();
        if let Some(ms) = of.lateness_ms.filter(|&ms| ms > 1000) {
            what.push(format!("{} late", span((ms / 1000).max(1))));
        }
        if let Some(action) = of.action_id {
            what.push(format!("action {action}"));
        }
        what.extend(of.reason.as_deref().map(visible));
        let entry = cut(&of.entry, name);
        let before = format!("{entry:name$} {} ", instant(of.scheduled_at));
        self.styled(&before, of_state(&of.state), &format!("{:8} {}", of.state, what.join(": ")));
    }

    fn paused(&mut self, status: &Status) {
        if status.paused_total == 0 {
            return;
        }
        self.heading(&format!("PAUSED {}", status.paused_total));
        for of in &status.paused {
            let by = match (of.by, of.in_schedule) {
                (PausedBy::Schedule, _) => "in the schedule file".to_owned(),
                (PausedBy::Command, true) => format!("until `stackcron resume {}`", of.entry),
                (PausedBy::Command, false) => "and no longer in the schedule".to_owned(),
                (PausedBy::Both, _) => "in the schedule file, and by `stackcron pause`".to_owned(),
            };
            self.line(DOUBTFUL, &format!("{} {by}", of.entry));
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

    fn line(&mut self, style: Style, text: &str) {
        self.styled("", style, text);
    }

    fn styled(&mut self, before: &str, style: Style, text: &str) {
        let before = cut(before, self.width);
        let text = cut(text, self.width - before.chars().count());
        self.text += &format!("{before}{style}{text}{style:#}\n");
    }

    fn ago(&self, at: Timestamp) -> String {
        distance(self.now, at)
    }
}

/// The text in so many columns.
fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(columns.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

fn of_state(word: &str) -> Style {
    STATES.into_iter().find(|state| state.as_str() == word).map_or(Style::new(), style)
}

fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

fn time_of_day(at: Timestamp) -> String {
    at.strftime("%H:%M:%SZ").to_string()
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
