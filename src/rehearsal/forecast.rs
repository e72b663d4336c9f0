//! The schedule against the quota, window by window: what a rehearsal without faults comes to.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::load::{self, Windows};
use super::summary::LATE_MS;
use super::{Conditions, Happening, Rehearsal};
use crate::journal::UsualRuns;
use crate::log::Event;
use crate::occurrence::Reason;
use crate::quota::Purpose;
use crate::schedule::{Account, AccountName, Entry, EntryName, Schedule};
use crate::timetable;

/// Forecast of what the daemon will do with a schedule under its quota.
#[derive(Clone, Debug)]
pub struct Forecast {
    /// In the schedule's order.
    pub accounts: Vec<AccountForecast>,
}

/// Forecast of one account's quota.
#[derive(Clone, Debug)]
pub struct AccountForecast {
    /// The account.
    pub account: Arc<Account>,
    /// Every window of the span, in order.
    pub windows: Vec<WindowForecast>,
    /// The entries that the quota delays or stops, in the order of their names.
    pub troubled: BTreeMap<EntryName, Troubled>,
}

/// One window of an account's quota. What became of an occurrence belongs to the window in which it
/// came due.
#[derive(Clone, Debug)]
pub struct WindowForecast {
    /// Beginning of the window. Windows are assumed to begin on the clock.
    pub window_start: Timestamp,
    /// Occurrences that come due in it and ask for quota.
    pub due: u64,
    /// Requests in the window.
    pub limit: u32,
    /// Part of `limit` that is kept for people and CI.
    pub reserve: u32,
    /// Number of due occurrences and reruns beyond what the window has without the reserve.
    pub over: u64,
    /// Requests in it that ask how actions go.
    pub follow_up: u64,
    /// Requests in it that look at stacks and jobs, for `stack_state`.
    pub looks: u64,
    /// Reruns (`retry`) that it should have, by how often the entries' runs end without success.
    /// In thousandths of a request.
    pub reruns_in_1000: u64,
    /// Number of due occurrences that are sent more than a second late for want of quota.
    pub late: u64,
    /// Number of due occurrences that are not sent for want of quota.
    pub missed: u64,
    /// The entries that have late occurrences.
    pub late_entries: BTreeSet<EntryName>,
    /// The entries that have missed occurrences.
    pub missed_entries: BTreeSet<EntryName>,
}

/// Effect of the quota on an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Troubled {
    /// Occurrences sent over a second late.
    pub late: u64,
    /// Occurrences not sent.
    pub missed: u64,
    /// The latest that one is sent, in milliseconds.
    pub highest_lateness_ms: i64,
}

impl WindowForecast {
    /// Returns true when all occurrences that are due in the window are sent in time.
    pub fn fits(&self) -> bool {
        self.over == 0 && self.late == 0 && self.missed == 0
    }

    /// Returns the number of requests that are asked of the window.
    pub fn asked(&self) -> u64 {
        self.due + self.reruns() + self.follow_up + self.looks
    }

    /// The reruns that the window should have, in whole requests.
    pub fn reruns(&self) -> u64 {
        (self.reruns_in_1000 + 500) / 1000
    }

    fn count_over(&mut self) {
        self.over = (self.due + self.reruns()).saturating_sub(self.usable().into());
    }

    /// Requests in the window beyond the reserve.
    pub fn usable(&self) -> u32 {
        self.limit - self.reserve
    }
}

impl Forecast {
    /// Forecasts the occurrences with `from` <= scheduled_at < `until`.
    pub fn new(schedule: &Schedule, conditions: &Conditions, from: Timestamp, until: Timestamp) -> Forecast {
        let mut reader = OccurrenceReader::new(schedule, conditions, from, until);
        for (at, happening) in Rehearsal::new(schedule, conditions, from, until) {
            reader.take(at, &happening);
        }
        reader.forecast()
    }

    /// Forecasts as `new` does. `None`: more than `most` requests, answers and lines of the log
    /// come of the span.
    pub fn at_most(
        schedule: &Schedule,
        conditions: &Conditions,
        from: Timestamp,
        until: Timestamp,
        most: u64,
    ) -> Option<Forecast> {
        // Whatever is due happens. Counting that takes a fraction of the time.
        let least = load::due(schedule, from, until).zip(0..=most).count() as u64;
        if least > most {
            return None;
        }
        let mut reader = OccurrenceReader::new(schedule, conditions, from, until);
        let mut happened = 0;
        for (at, happening) in Rehearsal::new(schedule, conditions, from, until) {
            happened += 1;
            if happened > most {
                return None;
            }
            reader.take(at, &happening);
        }
        Some(reader.forecast())
    }

    /// Returns true when all occurrences are sent in time.
    pub fn fits(&self) -> bool {
        self.accounts.iter().flat_map(|account| &account.windows).all(WindowForecast::fits)
    }
}

/// Reads a rehearsal.
struct OccurrenceReader {
    accounts: Vec<(Windows, AccountForecast)>,
    places: HashMap<AccountName, usize>,
    entries: HashMap<EntryName, Arc<Entry>>,
    /// Those that wait for quota.
    waiting: HashSet<(EntryName, Timestamp)>,
    usual: UsualRuns,
    /// The run time of an action, where `usual` does not tell.
    action_duration: Duration,
}

impl OccurrenceReader {
    fn new(
        schedule: &Schedule,
        conditions: &Conditions,
        from: Timestamp,
        until: Timestamp,
    ) -> OccurrenceReader {
        let last = until.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(until).max(from);
        let due = load::by_window(schedule, load::due(schedule, from, until), |_| 1);
        let accounts = due.into_iter().map(|(account, windows, counts)| {
            let limit = account.quota.limit;
            let reserve = account.quota.reserve.of(limit);
            // A jitter can bring an occurrence past the end.
            let end = windows.index(last).max(counts.keys().next_back().copied().unwrap_or(i64::MIN));
            let window = |index: i64| {
                let due = counts.get(&index).copied().unwrap_or(0);
                WindowForecast {
                    window_start: windows.start(index),
                    due,
                    limit,
                    reserve,
                    over: due.saturating_sub((limit - reserve).into()),
                    follow_up: 0,
                    looks: 0,
                    reruns_in_1000: 0,
                    late: 0,
                    missed: 0,
                    late_entries: BTreeSet::new(),
                    missed_entries: BTreeSet::new(),
                }
            };
            let all = (windows.index(from)..=end).map(window).collect();
            (windows, AccountForecast { account, windows: all, troubled: BTreeMap::new() })
        });
        let accounts: Vec<_> = accounts.collect();
        OccurrenceReader {
            places: (accounts.iter().enumerate())
                .map(|(place, (_, account))| (account.account.name.clone(), place))
                .collect(),
            accounts,
            entries: (schedule.entries.iter()).map(|entry| (entry.name.clone(), Arc::clone(entry))).collect(),
            waiting: HashSet::new(),
            usual: conditions.usual.clone(),
            action_duration: conditions.action_duration,
        }
    }

    fn forecast(self) -> Forecast {
        Forecast { accounts: self.accounts.into_iter().map(|(_, account)| account).collect() }
    }

    fn take(&mut self, at: Timestamp, happening: &Happening) {
        match happening {
            Happening::Sent { account, purpose: Purpose::FollowUp } => {
                if let Some((window, _)) = self.window(account, at) {
                    window.follow_up += 1;
                }
            }
            Happening::Sent { account, purpose: Purpose::Check } => {
                if let Some((window, _)) = self.window(account, at) {
                    window.looks += 1;
                }
            }
            Happening::Told(event) => self.told(event),
            Happening::Sent { .. } | Happening::Answered { .. } => {}
        }
    }

    fn told(&mut self, event: &Event) {
        match event {
            Event::OccurrenceWaiting(e) if e.reason == Reason::Quota => {
                self.waiting.insert((e.entry.clone(), e.scheduled_at));
            }
            Event::ActionStarted(e) => {
                self.follows(&e.entry, e.sent_at);
                // A rerun is part of the share of the first run.
                if e.retry.0.is_none() {
                    self.may_be_run_again(&e.entry, e.scheduled_at, e.sent_at);
                }
                let waited = self.waited(&e.entry, e.scheduled_at);
                if waited && e.lateness_ms > LATE_MS {
                    self.late(&e.entry, e.scheduled_at, e.lateness_ms);
                }
            }
            Event::OccurrenceMissed(e) => {
                let waited = self.waited(&e.entry, e.scheduled_at);
                // No request fails in a forecast, so that only the quota lets a newer occurrence
                // come before an older one is sent.
                if waited || matches!(e.reason, Reason::Quota | Reason::Superseded) {
                    self.missed(&e.entry, e.scheduled_at);
                }
            }
            Event::OccurrenceSkipped(e) => {
                self.waited(&e.entry, e.scheduled_at);
            }
            Event::OccurrenceRejected(e) => {
                self.waited(&e.entry, e.scheduled_at);
            }
            _ => {}
        }
    }

    /// Counts in what came due by the end of another entry's action: the timetable does not have
    /// it.
    fn follows(&mut self, name: &EntryName, sent_at: Timestamp) {
        let Some(entry) = self.entries.get(name).filter(|entry| entry.after.is_some()) else { return };
        let account = entry.account.name.clone();
        if let Some((window, _)) = self.window(&account, sent_at) {
            window.due += 1;
            window.count_over();
        }
    }

    /// Counts in the share of each rerun that is to be expected. What fails is no part of the
    /// rehearsal: a share of a run cannot be sent.
    fn may_be_run_again(&mut self, name: &EntryName, scheduled_at: Timestamp, sent_at: Timestamp) {
        let Some(entry) = self.entries.get(name).cloned() else { return };
        let (Some(policy), Some(usual)) = (&entry.retry, self.usual.get(name)) else { return };
        if usual.failures_of_1000 == 0 {
            return;
        }
        // A newer occurrence ends the reruns.
        let before = |entry: &Arc<Entry>| self.entries.get(&entry.after.as_ref()?.entry).cloned();
        let chain = std::iter::successors(Some(Arc::clone(&entry)), before).take(self.entries.len());
        let root = chain.last().unwrap_or_else(|| Arc::clone(&entry));
        let newer = scheduled_at.checked_add(SignedDuration::from_secs(1)).ok();
        let newer = newer.and_then(|after| timetable::next(&root, after)).unwrap_or(Timestamp::MAX);
        let run = usual.run.unwrap_or(self.action_duration);
        let (mut at, mut share_of_1000) = (sent_at, 1000);
        for number in 1..=policy.times {
            share_of_1000 = share_of_1000 * usual.failures_of_1000 / 1000;
            let Ok(ended_at) = at.checked_add(run) else { return };
            at = policy.after.due_at(ended_at, number);
            if share_of_1000 == 0 || at >= newer {
                return;
            }
            if let Some((window, _)) = self.window(&entry.account.name, at) {
                window.reruns_in_1000 += share_of_1000;
                window.count_over();
            }
        }
    }

    /// Returns true when an occurrence that now has a final state had waited for quota.
    fn waited(&mut self, entry: &EntryName, scheduled_at: Timestamp) -> bool {
        !self.waiting.is_empty() && self.waiting.remove(&(entry.clone(), scheduled_at))
    }

    fn late(&mut self, entry: &EntryName, scheduled_at: Timestamp, lateness_ms: i64) {
        if let Some((window, troubled)) = self.of_entry(entry, scheduled_at) {
            window.late += 1;
            window.late_entries.insert(entry.clone());
            troubled.late += 1;
            troubled.highest_lateness_ms = troubled.highest_lateness_ms.max(lateness_ms);
        }
    }

    fn missed(&mut self, entry: &EntryName, scheduled_at: Timestamp) {
        if let Some((window, troubled)) = self.of_entry(entry, scheduled_at) {
            window.missed += 1;
            window.missed_entries.insert(entry.clone());
            troubled.missed += 1;
        }
    }

    fn of_entry(
        &mut self,
        name: &EntryName,
        scheduled_at: Timestamp,
    ) -> Option<(&mut WindowForecast, &mut Troubled)> {
        let entry = Arc::clone(self.entries.get(name)?);
        let due_at = scheduled_at.checked_add(entry.delay()).ok()?;
        let (window, troubled) = self.window(&entry.account.name, due_at)?;
        Some((window, troubled.entry(name.clone()).or_default()))
    }

    fn window(
        &mut self,
        account: &AccountName,
        at: Timestamp,
    ) -> Option<(&mut WindowForecast, &mut BTreeMap<EntryName, Troubled>)> {
        let (windows, account) = &mut self.accounts[*self.places.get(account)?];
        let first = windows.index(account.windows.first()?.window_start);
        let place = usize::try_from(windows.index(at) - first).ok()?;
        Some((account.windows.get_mut(place)?, &mut account.troubled))
    }
}
