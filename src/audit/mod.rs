//! Holds the journal against the schedule: every instant of a span gets a verdict.
//!
//! The journal's rows and the timetable's instants both come in the order of time. They are walked
//! side by side once, so that a long span costs neither memory nor a query for each instant. An
//! instant of the schedule that the journal passes over is lost.
//!
//! The journal keeps which schedule was in force when (`journal/in_force.rs`), and each instant is
//! judged by the schedule of then. Of an entry of which the journal does not know that, an instant
//! before the first row is not judged: the entry may not have been in the schedule then, or the row
//! was pruned. Nor is an instant judged that the daemon has not planned yet. Both are counted.
//!
//! Example: `e` is due at 10:00, 10:01 and 10:02. The journal has rows of 10:00 and 10:02, and its
//! cursor is at 10:02:30. 10:01 is lost. At 10:03 nothing is planned yet, because the daemon is
//! down: that instant is counted and not judged.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::cloud66::ActionId;
use crate::journal::{Record, State};
use crate::schedule::{Entry, EntryName};

pub use plan::Plan;

/// An occurrence that was sent more than this late, jitter not counted, is `late`. In milliseconds.
const LATE_MS: i64 = 1000;

/// The timetable is stepped by so much at once: a gap in the journal costs no memory.
const STEP: SignedDuration = SignedDuration::from_mins(10);

/// The judgement on one instant: whether it ran, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of the operator's manual")]
pub enum Verdict {
    OnTime,
    Late,
    Failed,
    Skipped,
    Missed,
    Rejected,
    Unknown,
    Lost,
}

impl Verdict {
    /// All verdicts, in the order of the summary.
    pub const ALL: [Verdict; 8] = [
        Verdict::OnTime,
        Verdict::Late,
        Verdict::Failed,
        Verdict::Skipped,
        Verdict::Missed,
        Verdict::Rejected,
        Verdict::Unknown,
        Verdict::Lost,
    ];

    /// The word that operators know it by.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::OnTime => "on_time",
            Verdict::Late => "late",
            Verdict::Failed => "failed",
            Verdict::Skipped => "skipped",
            Verdict::Missed => "missed",
            Verdict::Rejected => "rejected",
            Verdict::Unknown => "unknown",
            Verdict::Lost => "lost",
        }
    }

    /// Returns true when the verdict breaks the promise to run each occurrence once, or leaves it
    /// open.
    pub fn is_broken(self) -> bool {
        matches!(self, Verdict::Missed | Verdict::Unknown | Verdict::Lost)
    }
}

/// The verdict on an occurrence that the journal has. `None`: the occurrence has not come to its
/// end.
pub fn verdict(state: State, lateness_ms: Option<i64>) -> Option<Verdict> {
    match state {
        State::Due | State::Waiting | State::Sending => None,
        State::Started | State::Finished if lateness_ms.is_some_and(|ms| ms > LATE_MS) => Some(Verdict::Late),
        State::Started | State::Finished => Some(Verdict::OnTime),
        State::Failed => Some(Verdict::Failed),
        State::Rejected => Some(Verdict::Rejected),
        State::Missed => Some(Verdict::Missed),
        State::Skipped => Some(Verdict::Skipped),
        State::Unknown => Some(Verdict::Unknown),
    }
}

/// An instant with its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The entry that was due.
    pub entry: EntryName,
    /// The nominal instant.
    pub scheduled_at: Timestamp,
    /// The judgement on the instant.
    pub verdict: Verdict,
    /// The action that the occurrence started.
    pub action_id: Option<ActionId>,
    /// Lateness of the request in milliseconds. `None`: nothing was sent.
    pub lateness_ms: Option<i64>,
    /// Why the verdict is as it is, where the verdict does not say it.
    pub reason: Option<String>,
}

/// Number of instants for each verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The counts in the order of [`Verdict::ALL`].
    verdicts: [u64; Verdict::ALL.len()],
    /// Occurrences that have not come to their end.
    pub open: u64,
    /// Instants before the first row that the journal has of their entry.
    pub before_first: u64,
    /// Instants that the daemon has not planned yet.
    pub unplanned: u64,
}

impl Counts {
    /// Returns the number of instants with this verdict.
    pub fn of(&self, verdict: Verdict) -> u64 {
        Verdict::ALL.iter().zip(self.verdicts).find(|(known, _)| **known == verdict).map_or(0, |(_, n)| n)
    }

    /// Returns the number of instants that have a verdict.
    pub fn judged(&self) -> u64 {
        self.verdicts.iter().sum()
    }

    /// Returns true when any verdict breaks the promise or leaves it open.
    pub fn is_broken(&self) -> bool {
        Verdict::ALL.into_iter().any(|verdict| verdict.is_broken() && self.of(verdict) > 0)
    }

    fn add(&mut self, verdict: Verdict) {
        let mut counts = Verdict::ALL.iter().zip(&mut self.verdicts);
        if let Some((_, count)) = counts.find(|(known, _)| **known == verdict) {
            *count += 1;
        }
    }
}

/// The span and the entries that an audit covers.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Beginning of the span.
    pub from: Timestamp,
    /// End of the span, itself excluded.
    pub until: Timestamp,
    /// Everything scheduled before is planned. `None`: nothing is.
    pub cursor: Option<Timestamp>,
    /// The entries that are asked for. `None`: all, those that are no longer in the schedule
    /// included.
    pub entries: Option<HashSet<EntryName>>,
}

/// Walks the journal and the timetable side by side.
pub struct Audit<F> {
    scope: Scope,
    plan: Plan,
    /// The instant that the journal's rows are at.
    at: Timestamp,
    /// The entries that are due at this instant and that no row has named yet.
    pending: Vec<Arc<Entry>>,
    /// Entries of which the journal has a row.
    seen: HashSet<EntryName>,
    counts: Counts,
    each: F,
}

impl<F: FnMut(Judged)> Audit<F> {
    /// Begins an audit. `plan` begins at the scope's `from`, with the entries that are asked for.
    /// `each` is handed every instant that has a verdict, in the order of time.
    pub fn new(scope: Scope, plan: Plan, each: F) -> Audit<F> {
        let at = scope.from;
        let (pending, seen, counts) = (Vec::new(), HashSet::new(), Counts::default());
        Audit { scope, plan, at, pending, seen, counts, each }
    }

    /// Takes a row of the journal. Rows come in the order of scheduled_at, from the journal's
    /// beginning.
    pub fn take(&mut self, record: Record) {
        let (entry, at) = (record.key.entry().clone(), record.key.scheduled_at());
        if self.scope.entries.as_ref().is_some_and(|asked| !asked.contains(&entry)) || at >= self.scope.until
        {
            return;
        }
        if at >= self.scope.from {
            self.reach(at);
            self.pending.retain(|due| due.name != entry);
            match verdict(record.state, record.lateness_ms) {
                None => self.counts.open += 1,
                Some(verdict) => self.tell(Judged {
                    entry: entry.clone(),
                    scheduled_at: at,
                    verdict,
                    action_id: record.action_id,
                    lateness_ms: record.lateness_ms,
                    reason: record.reason,
                }),
            }
        }
        if !self.seen.contains(&entry) {
            self.seen.insert(entry);
        }
    }

    /// Judges what is left after the journal's last row.
    pub fn finish(mut self) -> Counts {
        self.reach(self.scope.until);
        self.counts
    }

    /// Judges what is due before `at` and was not named by a row, and gathers what is due at `at`.
    fn reach(&mut self, at: Timestamp) {
        if at > self.at {
            for entry in std::mem::take(&mut self.pending) {
                self.is_absent(&entry, self.at);
            }
            let mut reached = self.at;
            while reached < at {
                reached = reached.checked_add(STEP).map_or(at, |next| next.min(at));
                for due in self.plan.step(reached) {
                    self.is_absent(&due.entry, due.scheduled_at);
                }
            }
            self.at = at;
        }
        if at < self.scope.until {
            // The timetable has given every occurrence of an instant that it has passed.
            let after = at.checked_add(SignedDuration::from_micros(1)).unwrap_or(at);
            self.pending.extend(self.plan.step(after).into_iter().map(|due| due.entry));
        }
    }

    fn is_absent(&mut self, entry: &Entry, at: Timestamp) {
        if self.scope.cursor.is_none_or(|cursor| at >= cursor) {
            self.counts.unplanned += 1;
        } else if !self.plan.knows(&entry.name, at) && !self.seen.contains(&entry.name) {
            self.counts.before_first += 1;
        } else {
            self.tell(Judged {
                entry: entry.name.clone(),
                scheduled_at: at,
                verdict: Verdict::Lost,
                action_id: None,
                lateness_ms: None,
                reason: Some("the journal has nothing".to_owned()),
            });
        }
    }

    fn tell(&mut self, judged: Judged) {
        self.counts.add(judged.verdict);
        (self.each)(judged);
    }
}

mod plan;
#[cfg(test)]
mod tests;
