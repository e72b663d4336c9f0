//! Tells the service manager that the daemon is ready, when the next occurrence is due, and that
//! the loop turns.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;

use super::Notifier;
use super::core::{Core, Upcoming};
use crate::clock::{Mono, Now};
use crate::journal::postgres::Leadership;
use crate::schedule::Shard;

/// A claim takes some milliseconds, and a disk that fails says so. A claim that has had no answer
/// for so long will have none: the daemon starts nothing any more, and only a restart can help.
const CLAIM_HANGS: Duration = Duration::from_secs(60);

/// The status is told no more often than this.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// A loop that has not turned for so long hangs, or waits for a database that hangs.
const HANGS: Duration = Duration::from_secs(30);

/// Tells the service manager how the daemon is, from one turn of its loops to the next.
pub(super) struct Supervision {
    notifier: Notifier,
    told: ToldStatus,
    loops: BTreeMap<Shard, Turned>,
}

/// State of a loop at its last turn.
#[derive(Default)]
struct Turned {
    at: Mono,
    /// The leader, where this member stands by.
    leadership: Option<Leadership>,
    is_current: bool,
    journal_is_ill: bool,
    pulse: Pulse,
    lives: bool,
    /// The next occurrence and the number that waits, at the last turn.
    next: Option<Upcoming>,
    waiting: usize,
    looked_at: Option<Mono>,
    /// The gravest problem at that time.
    problem: Option<String>,
}

impl Supervision {
    pub(super) fn new(notifier: Notifier) -> Supervision {
        Supervision { notifier, told: ToldStatus::default(), loops: BTreeMap::new() }
    }

    /// The loop of a shard has turned.
    /// `problem` tells what is wrong now, in one line: it is asked about once a second.
    pub(super) fn turned(
        &mut self,
        shard: &Shard,
        now: Now,
        core: &Core,
        journal_is_ill: bool,
        problem: impl FnOnce() -> Option<String>,
    ) {
        if !self.notifier.listens() {
            return;
        }
        let looks = !self.told.ready || !self.told.reloaded;
        let turned = self.of(shard);
        turned.lives = turned.pulse.lives(core.claims_up_to(), now.mono);
        (turned.at, turned.leadership, turned.journal_is_ill) = (now.mono, None, journal_is_ill);
        turned.is_current = core.is_current(now);
        if looks || turned.looked_at.is_none_or(|at| now.mono.saturating_sub(at) >= STATUS_EVERY) {
            (turned.next, turned.waiting, turned.looked_at) =
                (core.next_up(), core.number_waiting(), Some(now.mono));
            turned.problem = problem();
        }
        self.news(now);
    }

    /// This member waits for its turn to lead. That is all that it can be ready for.
    pub(super) fn stands_by(&mut self, shard: &Shard, leadership: Leadership, now: Now) {
        if !self.notifier.listens() {
            return;
        }
        *self.of(shard) = Turned {
            at: now.mono,
            leadership: Some(leadership),
            is_current: true,
            lives: true,
            ..Turned::default()
        };
        self.news(now);
    }

    fn of(&mut self, shard: &Shard) -> &mut Turned {
        self.loops.entry(shard.clone()).or_default()
    }

    fn news(&mut self, now: Now) {
        self.notifier.settle();
        let hangs = |turned: &Turned| now.mono.saturating_sub(turned.at) >= HANGS;
        let turn = NotifyTurn {
            is_current: self.loops.values().all(|turned| turned.is_current),
            lives: self.loops.values().all(|turned| turned.lives && !hangs(turned)),
            watchdog: self.notifier.watchdog(),
        };
        let is_ready = self.told.ready || turn.is_current;
        let status = || {
            let leads = || self.loops.values().filter(|turned| turned.leadership.is_none());
            match (leads().any(|turned| turned.journal_is_ill), is_ready) {
                (true, _) => return "the journal cannot be written: nothing new is started".to_owned(),
                (false, false) => return "what came due is being claimed".to_owned(),
                (false, true) => {}
            }
            let (number, all) = (leads().count(), self.loops.len());
            if number == 0 {
                let all = self.loops.values().filter_map(|turned| turned.leadership.clone());
                return all
                    .reduce(Leadership::or_worse)
                    .map_or_else(String::new, |turned| turned.to_string());
            }
            let next = leads().filter_map(|turned| turned.next.as_ref()).min_by_key(|next| next.scheduled_at);
            let status = status(next, leads().map(|turned| turned.waiting).sum());
            let status = match leads().find_map(|turned| turned.problem.as_ref()) {
                Some(problem) => format!("problems: {problem}; {status}"),
                None => status,
            };
            if number < all { format!("leads {number} of {all} shards; {status}") } else { status }
        };
        if let Some((news, told)) = self.told.news(&turn, now.mono, status)
            && (news.is_empty() || self.notifier.tell(&news))
        {
            self.told = told;
            if self.told.ready {
                self.notifier.is_ready();
            }
        }
    }

    /// Another schedule has taken over. It is told with the next turn, and with it what comes next.
    pub(super) fn reloaded(&mut self) {
        self.told.reloaded = false;
    }

    /// Tells the service manager that the daemon is stopping.
    pub(super) fn stopping(&self, reason: &str, in_flight: usize) {
        self.notifier.tell(&format!("STOPPING=1\nSTATUS={reason}: {in_flight} requests are in flight"));
    }
}

/// State of the daemon after a turn of its loop.
struct NotifyTurn {
    /// Everything that is due by now is claimed.
    is_current: bool,
    /// The sweep comes on.
    lives: bool,
    /// The longest time between two signs of life.
    watchdog: Option<Duration>,
}

/// The last that the service manager was told.
#[derive(Clone, Debug, Default, PartialEq)]
struct ToldStatus {
    ready: bool,
    /// The manager has been told that the last reload has ended.
    reloaded: bool,
    fed_at: Option<Mono>,
    status_at: Option<Mono>,
    status: String,
}

impl ToldStatus {
    /// Returns the text to be told, which may be empty, and the state once it has been told.
    /// `None`: nothing can have changed.
    fn news(
        &self,
        turn: &NotifyTurn,
        now: Mono,
        status: impl FnOnce() -> String,
    ) -> Option<(String, ToldStatus)> {
        let is_past = |at: Option<Mono>, every| at.is_none_or(|at| now.saturating_sub(at) >= every);
        let ready = (turn.is_current && !self.ready) || (self.ready && !self.reloaded);
        // Often enough that a turn which comes late is no reason to be killed.
        let feed = turn.lives && turn.watchdog.is_some_and(|limit| is_past(self.fed_at, limit / 4));
        let look = ready || is_past(self.status_at, STATUS_EVERY);
        if !(ready || feed || look) {
            return None;
        }
        let mut told = self.clone();
        let mut news = Vec::new();
        if ready {
            (told.ready, told.reloaded) = (true, true);
            news.push("READY=1".to_owned());
        }
        if feed {
            told.fed_at = Some(now);
            news.push("WATCHDOG=1".to_owned());
        }
        if look {
            told.status = status();
            told.status_at = Some(now);
            if told.status != self.status {
                news.push(format!("STATUS={}", told.status));
            }
        }
        Some((news.join("\n"), told))
    }
}

/// Watches whether the journal answers claims.
#[derive(Default)]
struct Pulse {
    /// The claim that the journal has, by its cursor, and since when.
    claim: Option<(Timestamp, Mono)>,
}

impl Pulse {
    fn lives(&mut self, claim: Option<Timestamp>, now: Mono) -> bool {
        self.claim = claim.map(|cursor| match self.claim {
            Some((known, since)) if known == cursor => (cursor, since),
            _ => (cursor, now),
        });
        self.claim.is_none_or(|(_, since)| now.saturating_sub(since) < CLAIM_HANGS)
    }
}

/// One line: what comes next, and what waits.
fn status(next: Option<&Upcoming>, waiting: usize) -> String {
    let mut status = match next {
        Some(Upcoming { entry, scheduled_at, is_paused }) => {
            let paused = if *is_paused { " (paused)" } else { "" };
            format!("next: {entry} at {scheduled_at:.0}{paused}")
        }
        None => "no entry is ever due".to_owned(),
    };
    if waiting > 0 {
        // Writing to a String cannot fail.
        let _ = write!(status, "; due and not sent yet: {waiting}");
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::EntryName;

    const LIMIT: Duration = Duration::from_secs(60);

    fn turn(is_current: bool, lives: bool) -> NotifyTurn {
        NotifyTurn { is_current, lives, watchdog: Some(LIMIT) }
    }

    fn says(told: &ToldStatus, turn: &NotifyTurn, now: Mono, status: &str) -> String {
        told.news(turn, now, || status.into()).map(|(news, _)| news).unwrap_or_default()
    }

    fn seconds(seconds: u64) -> Mono {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_is_ready_once_all_that_is_due_is_claimed() {
        let told = ToldStatus::default();
        let (news, told) = told.news(&turn(false, true), seconds(1), || "claims".into()).expect("news");
        assert_eq!(news, "WATCHDOG=1\nSTATUS=claims");
        let (news, told) = told.news(&turn(true, true), seconds(1), || "next".into()).expect("news");
        assert_eq!(news, "READY=1\nSTATUS=next", "at once, and with it what comes next");
        assert_eq!(says(&told, &turn(false, true), seconds(3), "next"), "", "it stays ready");
    }

    #[test]
    fn the_end_of_a_reload_is_told_at_once_and_with_it_what_comes_next() {
        let (_, told) =
            ToldStatus::default().news(&turn(true, true), seconds(1), || "a".into()).expect("news");
        let told = ToldStatus { reloaded: false, ..told };
        let (news, told) = told.news(&turn(false, true), seconds(1), || "b".into()).expect("news");
        assert_eq!(news, "READY=1\nSTATUS=b", "whether or not all of it is claimed");
        assert_eq!(says(&told, &turn(true, true), seconds(1), "b"), "");
        let starting = ToldStatus { reloaded: false, ..ToldStatus::default() };
        let (news, _) = starting.news(&turn(false, true), seconds(1), || "claims".into()).expect("news");
        assert!(!news.contains("READY"), "a reload makes nothing ready: {news}");
    }

    #[test]
    fn the_status_is_told_once_a_second_and_when_it_changed() {
        let (_, told) =
            ToldStatus::default().news(&turn(true, true), seconds(1), || "a".into()).expect("news");
        let soon = seconds(1) + Duration::from_millis(999);
        assert_eq!(says(&told, &turn(true, true), soon, "b"), "");
        assert_eq!(says(&told, &turn(true, true), seconds(2), "a"), "");
        let (news, _) = told.news(&turn(true, true), seconds(2), || "b".into()).expect("news");
        assert_eq!(news, "STATUS=b");
    }

    #[test]
    fn the_watchdog_is_fed_four_times_while_the_sweep_comes_on_and_never_when_it_does_not() {
        let (_, told) =
            ToldStatus::default().news(&turn(true, true), seconds(0), || "a".into()).expect("news");
        assert_eq!(says(&told, &turn(true, true), seconds(14), "a"), "");
        assert_eq!(says(&told, &turn(true, true), seconds(15), "a"), "WATCHDOG=1");
        assert_eq!(says(&told, &turn(true, false), seconds(100), "a"), "");
        let unwatched = NotifyTurn { watchdog: None, ..turn(true, true) };
        assert_eq!(says(&told, &unwatched, seconds(100), "a"), "");
    }

    #[test]
    fn a_claim_without_an_answer_is_waited_for_a_minute() {
        let (first, second) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
        let mut pulse = Pulse::default();
        assert!(pulse.lives(None, seconds(0)));
        assert!(pulse.lives(Some(first), seconds(10)));
        assert!(pulse.lives(Some(first), seconds(69)));
        assert!(!pulse.lives(Some(first), seconds(70)), "it has had its minute");
        assert!(pulse.lives(Some(second), seconds(71)), "another claim: the first was answered");
        assert!(pulse.lives(None, seconds(500)), "nothing is claimed");
    }

    #[test]
    fn the_status_says_what_comes_next_and_what_waits() {
        let entry = EntryName::new("nightly").expect("a name");
        let next = |is_paused| {
            Some(Upcoming {
                entry: entry.clone(),
                scheduled_at: "2026-03-29T01:30:00Z".parse().expect("an instant"),
                is_paused,
            })
        };
        assert_eq!(status(next(false).as_ref(), 0), "next: nightly at 2026-03-29T01:30:00Z");
        assert_eq!(
            status(next(true).as_ref(), 3),
            "next: nightly at 2026-03-29T01:30:00Z (paused); due and not sent yet: 3"
        );
        assert_eq!(status(None, 0), "no entry is ever due");
    }
}
