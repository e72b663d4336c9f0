//! The result of a rehearsal, in numbers.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::Serialize;

use super::Happening;
use crate::log::Event;
use crate::occurrence::Reason;
use crate::quota::Purpose;
use crate::schedule::EntryName;

/// An occurrence counts as late when it was sent so many milliseconds after it came due, or later.
pub(super) const LATE_MS: i64 = 1000;

/// The numbers. Of occurrences, except where requests are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Sent, whatever came of it: started, rejected and unknown.
    pub sent: u64,
    /// Answered with an action.
    pub started: u64,
    /// Number of started occurrences that were sent more than a second late.
    pub late: u64,
    /// Had to wait: for quota, for the entry's last action, for its stack, or for another attempt.
    pub waited: u64,
    /// Not sent at all. The sum of the next five.
    pub missed: u64,
    /// Waited past their `start_deadline`.
    pub missed_deadline: u64,
    /// Waited until a newer one came due, under `catch_up: latest`.
    pub missed_superseded: u64,
    /// Would have had to wait for quota, under `catch_up: none`.
    pub missed_quota: u64,
    /// Came due while the daemon was down, under `catch_up: none`.
    pub missed_down: u64,
    /// Held past their `start_deadline` by `stack_state: hold`.
    pub missed_stack: u64,
    /// The entry's last action was unfinished.
    pub skipped_overlap: u64,
    /// The entry is paused.
    pub skipped_paused: u64,
    /// The stack deployed, under `stack_state: skip`.
    pub skipped_stack: u64,
    /// The occurrence falls on a calendar of the entry.
    pub skipped_calendar: u64,
    /// Refused for good.
    pub rejected: u64,
    /// Sent, and nothing tells whether they started.
    pub unknown: u64,
    /// Actions that were seen to succeed.
    pub succeeded: u64,
    /// Actions that were seen to end without success.
    pub failed: u64,
    /// run_now requests, every attempt counted.
    pub requests_fire: u64,
    /// Requests that asked how an action goes.
    pub requests_follow_up: u64,
    /// Requests that asked what became of an attempt in doubt, or looked at a stack or a job for
    /// `stack_state`.
    pub requests_check: u64,
    /// Requests that the API refused for want of quota.
    pub requests_refused: u64,
    /// The latest that a started occurrence was sent, in milliseconds.
    pub highest_lateness_ms: Option<i64>,
    /// The lowest Remaining that an answer told, of any account.
    pub lowest_remaining: Option<u32>,
    /// Occurrences that have waited and have no final state yet.
    #[serde(skip)]
    waiting: HashSet<(EntryName, Timestamp)>,
}

impl Summary {
    /// Counts what happened.
    pub fn take(&mut self, happening: &Happening) {
        match happening {
            Happening::Told(event) => self.told(event),
            Happening::Sent { purpose: Purpose::Fire, .. } => self.requests_fire += 1,
            Happening::Sent { purpose: Purpose::FollowUp, .. } => self.requests_follow_up += 1,
            Happening::Sent { purpose: Purpose::Check | Purpose::Reconcile, .. } => self.requests_check += 1,
            Happening::Answered { quota, .. } => {
                self.requests_refused += u64::from(quota.refused.is_some());
                self.lowest_remaining = [self.lowest_remaining, quota.remaining].into_iter().flatten().min();
            }
        }
    }

    /// Returns the number of occurrences that have a final state.
    pub fn ended(&self) -> u64 {
        self.sent + self.missed + self.skipped()
    }

    /// Number of occurrences that were not meant to be sent.
    pub fn skipped(&self) -> u64 {
        self.skipped_overlap + self.skipped_paused + self.skipped_calendar + self.skipped_stack
    }

    fn told(&mut self, event: &Event) {
        match event {
            Event::ActionStarted(e) => {
                self.started += 1;
                self.sent += 1;
                self.late += u64::from(e.lateness_ms > LATE_MS);
                self.highest_lateness_ms = self.highest_lateness_ms.max(Some(e.lateness_ms));
                self.ends(&e.entry, e.scheduled_at);
            }
            Event::ActionFinished(e) if e.action.succeeded() => self.succeeded += 1,
            Event::ActionFinished(_) => self.failed += 1,
            Event::OccurrenceWaiting(e) => self.waits(&e.entry, e.scheduled_at),
            Event::OccurrenceRetrying(e) => self.waits(&e.entry, e.scheduled_at),
            Event::OccurrenceMissed(e) => {
                self.missed += 1;
                *match e.reason {
                    Reason::Superseded => &mut self.missed_superseded,
                    Reason::Quota => &mut self.missed_quota,
                    Reason::Down => &mut self.missed_down,
                    Reason::Deploying | Reason::Maintenance | Reason::PausedRemotely => {
                        &mut self.missed_stack
                    }
                    _ => &mut self.missed_deadline,
                } += 1;
                self.ends(&e.entry, e.scheduled_at);
            }
            Event::OccurrenceSkipped(e) => {
                *match e.reason {
                    Reason::Paused => &mut self.skipped_paused,
                    Reason::Calendar => &mut self.skipped_calendar,
                    Reason::Deploying | Reason::Maintenance | Reason::PausedRemotely => {
                        &mut self.skipped_stack
                    }
                    _ => &mut self.skipped_overlap,
                } += 1;
                self.ends(&e.entry, e.scheduled_at);
            }
            Event::OccurrenceRejected(e) => {
                self.rejected += 1;
                self.sent += 1;
                self.ends(&e.entry, e.scheduled_at);
            }
            Event::OccurrenceUnknown(e) => {
                self.unknown += 1;
                self.sent += 1;
                self.ends(&e.entry, e.scheduled_at);
            }
            _ => {}
        }
    }

    fn waits(&mut self, entry: &EntryName, scheduled_at: Timestamp) {
        self.waited += u64::from(self.waiting.insert((entry.clone(), scheduled_at)));
    }

    fn ends(&mut self, entry: &EntryName, scheduled_at: Timestamp) {
        if !self.waiting.is_empty() {
            self.waiting.remove(&(entry.clone(), scheduled_at));
        }
    }
}
