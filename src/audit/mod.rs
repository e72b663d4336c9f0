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
//! An occurrence that was made up for (`stackcron backfill`) has a row of its own beside the one
//! that was given up. The instant gets one verdict, that of the later row: `late` where it ran, by
//! the time since its scheduled instant, with the reason `backfill`. So an audit after a backfill
//! no longer finds what was missed.
//!
//! With the actions that the stacks list ([`Online`]) it also tells which actions nobody here
//! started, and which occurrences have two.
//!
//! Example: `e` is due at 10:00, 10:01 and 10:02. The journal has rows of 10:00 and 10:02, and its
//! cursor is at 10:02:30. 10:01 is lost. At 10:03 nothing is planned yet, because the daemon is
//! down: that instant is counted and not judged.

mod online;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::cloud66::ActionId;
use crate::journal::{Key, Record, State};
use crate::schedule::{Entry, EntryName};

pub use plan::Plan;

use online::Lacking;
pub use online::Online;

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
    Twice,
    Foreign,
}

impl Verdict {
    /// All verdicts, in the order of the summary.
    pub const ALL: [Verdict; 10] = [
        Verdict::OnTime,
        Verdict::Late,
        Verdict::Failed,
        Verdict::Skipped,
        Verdict::Missed,
        Verdict::Rejected,
        Verdict::Unknown,
        Verdict::Lost,
        Verdict::Twice,
        Verdict::Foreign,
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
            Verdict::Twice => "twice",
            Verdict::Foreign => "foreign",
        }
    }

    /// Returns true when the verdict breaks the promise to run each occurrence once, or leaves it
    /// open.
    pub fn is_broken(self) -> bool {
        matches!(self, Verdict::Missed | Verdict::Unknown | Verdict::Lost | Verdict::Twice)
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

/// The judgement on a row. `None`: the occurrence has not come to its end.
fn judged(record: Record) -> Option<Judged> {
    let is_backfill = record.is_backfill();
    let scheduled_at = record.key.scheduled_at();
    // The journal counts from when a person asked for it.
    let since_scheduled = || {
        let late = record.sent_at?.duration_since(scheduled_at).as_millis();
        Some(late.try_into().unwrap_or(i64::MAX))
    };
    let lateness_ms = if is_backfill { since_scheduled() } else { record.lateness_ms };
    let reason = match record.reason {
        Some(reason) if is_backfill => Some(format!("{BACKFILL}: {reason}")),
        None if is_backfill => Some(BACKFILL.to_owned()),
        reason => reason,
    };
    let mut judged = Judged {
        entry: Some(record.key.entry().clone()),
        scheduled_at: Some(scheduled_at),
        verdict: verdict(record.state, lateness_ms)?,
        action_id: record.action_id,
        lateness_ms,
        reason,
    };
    if let Some(surplus) = record.surplus {
        judged.verdict = Verdict::Twice;
        judged.reason = Some(format!("action {surplus} as well"));
    }
    Some(judged)
}

/// The reason of what ran because a person had it made up for.
const BACKFILL: &str = "backfill";

/// An instant with its verdict, or an action that nobody here started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The entry that was due. `None`: the action is foreign.
    pub entry: Option<EntryName>,
    /// When it was scheduled. `None`: the action is foreign.
    pub scheduled_at: Option<Timestamp>,
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

/// A row that has been read, and is not told yet.
struct Held {
    key: Key,
    /// `None`: the occurrence has not come to its end.
    judged: Option<Judged>,
    /// The occurrence may have an action that its row does not name.
    lacking: Option<Lacking>,
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
    /// The last row, whose judgement a row of a backfill replaces.
    held: Option<Held>,
    /// The actions that the stacks list, and the entries that tell the stack of a row. `None`: no
    /// stack was asked.
    online: Option<(Online, HashMap<EntryName, Arc<Entry>>)>,
    counts: Counts,
    each: F,
}

impl<F: FnMut(Judged)> Audit<F> {
    /// Begins an audit. `plan` begins at the scope's `from`, with the entries that are asked for.
    /// `each` is handed every instant that has a verdict, in the order of time.
    pub fn new(scope: Scope, plan: Plan, each: F) -> Audit<F> {
        let at = scope.from;
        let (pending, seen, counts) = (Vec::new(), HashSet::new(), Counts::default());
        Audit { scope, plan, at, pending, seen, held: None, online: None, counts, each }
    }

    /// Returns this audit with the actions that the stacks of these entries list. They are read
    /// before the journal, so that the journal knows of each that this daemon started.
    pub fn against(self, online: Online, entries: &[Arc<Entry>]) -> Audit<F> {
        let entries = entries.iter().map(|entry| (entry.name.clone(), Arc::clone(entry))).collect();
        Audit { online: Some((online, entries)), ..self }
    }

    /// Takes a row of the journal. Rows come in the order of scheduled_at, from the journal's
    /// beginning.
    pub fn take(&mut self, record: Record) {
        let (entry, at) = (record.key.entry().clone(), record.key.scheduled_at());
        let mut lacking = None;
        if let Some((online, entries)) = &mut self.online {
            online.is_named(&record);
            if let Some(entry) = entries.get(&entry) {
                online.is_under_way(&record, entry);
                lacking = Lacking::of(&record, entry);
            }
        }
        if self.scope.entries.as_ref().is_some_and(|asked| !asked.contains(&entry)) || at >= self.scope.until
        {
            return;
        }
        if at >= self.scope.from {
            let is_same = |held: &Held| *held.key.entry() == entry && held.key.scheduled_at() == at;
            if record.is_backfill() && self.held.as_ref().is_some_and(is_same) {
                self.held = None;
            }
            self.release();
            self.reach(at);
            self.pending.retain(|due| due.name != entry);
            self.held = Some(Held { key: record.key.clone(), judged: judged(record), lacking });
        }
        if !self.seen.contains(&entry) {
            self.seen.insert(entry);
        }
    }

    /// Judges what is left after the journal's last row.
    pub fn finish(mut self) -> Counts {
        self.release();
        self.reach(self.scope.until);
        if let Some((online, _)) = self.online.take() {
            let told = online.finish(self.scope.from, self.scope.until);
            told.into_iter().for_each(|judged| self.tell(judged));
        }
        self.counts
    }

    /// Tells the judgement that no later row has replaced.
    fn release(&mut self) {
        match self.held.take() {
            Some(Held { judged: Some(judged), lacking, .. }) => self.tell_or_keep(judged, lacking),
            Some(Held { judged: None, .. }) => self.counts.open += 1,
            None => {}
        }
    }

    /// Tells a judgement, unless the actions of the stacks may say more.
    fn tell_or_keep(&mut self, judged: Judged, lacking: Option<Lacking>) {
        match (lacking, &mut self.online) {
            (Some(lacking), Some((online, _))) => online.lacks(lacking, judged),
            _ => self.tell(judged),
        }
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
            let judged = Judged {
                entry: Some(entry.name.clone()),
                scheduled_at: Some(at),
                verdict: Verdict::Lost,
                action_id: None,
                lateness_ms: None,
                reason: Some("the journal has nothing".to_owned()),
            };
            // The definition that was in force tells when the entry was due, and not on which
            // stack.
            let entries = self.online.as_ref().map(|(_, entries)| entries);
            let now = entries.and_then(|entries| entries.get(&entry.name));
            let lacking = now.map(|entry| Lacking::lost(entry, at));
            self.tell_or_keep(judged, lacking);
        }
    }

    fn tell(&mut self, judged: Judged) {
        self.counts.add(judged.verdict);
        (self.each)(judged);
    }
}

mod plan;
#[cfg(test)]
mod online_tests;
#[cfg(test)]
mod tests;
