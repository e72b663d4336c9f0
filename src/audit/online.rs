//! Holds what the journal tells against the actions that the stacks list.
//!
//! The problem: an action does not name its job, nor the occurrence that it is of. What the journal
//! knows it knows by the action's number. An action that no row names is one that somebody else
//! started, or the second one of an occurrence that was sent again, or the run of an occurrence
//! that the journal has lost.
//!
//! The mechanism: rows take the actions that they name. What is left over is offered to the
//! occurrences that lack one: those that started without a number, that are unknown or lost, or
//! that were sent several times. Each may take an action that started while the occurrence could
//! have been sent, by a user whose actions the journal knows. What nobody takes is `foreign`.
//!
//! Example: the stack lists actions 1, 2 and 3, which started at 01:30:00, 01:30:02 and 09:00:00.
//! The journal has an occurrence of 01:30 that was sent twice and started action 2. Action 1 is the
//! other one: the occurrence is `twice`. Action 3 is foreign.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::{Judged, Verdict};
use crate::cloud66::{Action, ActionId};
use crate::journal::{Record, State};
use crate::schedule::{Entry, StackUid};

/// The API tells whole seconds, cut off, by a clock of its own: an action may have begun so long
/// before its request left.
const SLACK: SignedDuration = SignedDuration::from_secs(2);

/// An attempt takes effect within this time after it left, if at all. The daemon waits as long
/// before it decides about an attempt in doubt.
const SETTLES: SignedDuration = SignedDuration::from_secs(120);

/// The API's name for the action of a job's run.
const RUN: &str = "job_run_now";

/// A run that a stack lists.
#[derive(Clone, Debug)]
struct ListedRun {
    id: ActionId,
    stack: StackUid,
    started_at: Timestamp,
    user: Option<String>,
    via: Option<String>,
    /// A row of the journal names it, or it was ascribed to an occurrence.
    is_taken: bool,
}

/// Why an occurrence may have an action that its row does not name. In this order they are offered
/// what is left over: those first that are the surest to have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lack {
    /// An action started whose number was not told.
    Unnamed,
    /// Nobody knows whether an action started.
    Unknown,
    /// The journal has nothing.
    Lost,
    /// It was sent several times.
    Repeated,
}

/// An occurrence that may have an action which its row does not name.
#[derive(Clone, Debug)]
pub(super) struct Lacking {
    pub(super) lack: Lack,
    pub(super) stack: StackUid,
    /// The action started then at the earliest.
    from: Timestamp,
    /// And then at the latest.
    until: Timestamp,
}

/// The runs that the stacks list, and what becomes of them.
#[derive(Debug, Default)]
pub struct Online {
    /// In the order of time.
    runs: Vec<ListedRun>,
    places: HashMap<ActionId, usize>,
    /// Users whose actions the journal knows.
    ours: HashSet<Option<String>>,
    lacking: Vec<(Lacking, Judged)>,
    /// Attempts whose outcome is awaited, by the stack and the instant at which each left.
    under_way: Vec<(StackUid, Timestamp)>,
}

impl Online {
    /// The runs among the actions that stacks list.
    pub fn new(actions: impl IntoIterator<Item = (StackUid, Action)>) -> Online {
        let runs = actions.into_iter().filter_map(|(stack, action)| {
            let started_at = action.started()?;
            let is_run = action.action.as_deref() == Some(RUN);
            let (id, user, via) = (action.id?, action.user, action.started_via);
            is_run.then_some(ListedRun { id, stack, started_at, user, via, is_taken: false })
        });
        let mut runs: Vec<ListedRun> = runs.collect();
        runs.sort_by_key(|run| (run.started_at, run.id));
        // A list that grows while it is read shows an action on two pages.
        runs.dedup_by_key(|run| run.id);
        let places = runs.iter().enumerate().map(|(place, run)| (run.id, place)).collect();
        Online { runs, places, ..Online::default() }
    }

    /// Notes the actions that a row names.
    pub(super) fn is_named(&mut self, record: &Record) {
        for id in [record.action_id, record.surplus].into_iter().flatten() {
            if let Some(run) = self.places.get(&id).and_then(|place| self.runs.get_mut(*place)) {
                run.is_taken = true;
                if !self.ours.contains(&run.user) {
                    self.ours.insert(run.user.clone());
                }
            }
        }
    }

    /// Notes an attempt whose outcome is awaited.
    pub(super) fn is_under_way(&mut self, record: &Record, entry: &Entry) {
        if record.state == State::Sending {
            let left = record.sent_at.unwrap_or(record.key.scheduled_at());
            self.under_way.push((entry.stack.clone(), left));
        }
    }

    /// Keeps an occurrence that lacks an action until every row is read.
    pub(super) fn lacks(&mut self, lacking: Lacking, judged: Judged) {
        self.lacking.push((lacking, judged));
    }

    /// Ascribes what is left over. Returns the occurrences that lacked an action, then the foreign
    /// actions that started within the span.
    pub(super) fn finish(mut self, from: Timestamp, until: Timestamp) -> Vec<Judged> {
        let mut told: Vec<Judged> = Vec::new();
        let mut lacking = std::mem::take(&mut self.lacking);
        lacking.sort_by_key(|(lacking, _)| (lacking.lack, lacking.from));
        for (lacking, mut judged) in lacking {
            if let Some(run) = self.takes(&lacking) {
                let (id, at) = (run.id, run.started_at);
                match lacking.lack {
                    Lack::Lost | Lack::Unknown => {
                        judged.action_id = judged.action_id.or(Some(id));
                        let may_be = format!("action {id} of {at:.0} may be its run");
                        judged.reason = Some(match judged.reason {
                            Some(reason) => format!("{reason}; {may_be}"),
                            None => may_be,
                        });
                    }
                    Lack::Repeated => {
                        judged.verdict = Verdict::Twice;
                        judged.reason = Some(format!("action {id} of {at:.0} as well"));
                    }
                    Lack::Unnamed => judged.action_id = Some(id),
                }
            }
            told.push(judged);
        }
        told.sort_by_key(|judged| judged.scheduled_at);
        let is_awaited = |run: &ListedRun| {
            let mut of_stack = self.under_way.iter().filter(|(stack, _)| *stack == run.stack);
            of_stack.any(|(_, left)| earlier(*left, SLACK) <= run.started_at)
        };
        let foreign = self.runs.iter().filter(|run| {
            !run.is_taken && from <= run.started_at && run.started_at < until && !is_awaited(run)
        });
        told.extend(foreign.map(|run| Judged {
            entry: None,
            scheduled_at: None,
            verdict: Verdict::Foreign,
            action_id: Some(run.id),
            lateness_ms: None,
            reason: Some(format!(
                "{RUN} on stack {} at {:.0} by {} via {}",
                run.stack,
                run.started_at,
                run.user.as_deref().unwrap_or("an unknown user"),
                run.via.as_deref().unwrap_or("an unknown way"),
            )),
        }));
        told
    }

    /// The first run that an occurrence may have started and that nobody has taken.
    fn takes(&mut self, lacking: &Lacking) -> Option<&ListedRun> {
        let first = self.runs.partition_point(|run| run.started_at < lacking.from);
        let run =
            self.runs[first..].iter_mut().take_while(|run| run.started_at <= lacking.until).find(|run| {
                let is_ours = self.ours.is_empty() || self.ours.contains(&run.user);
                !run.is_taken && run.stack == lacking.stack && is_ours
            })?;
        run.is_taken = true;
        Some(run)
    }
}

impl Lacking {
    /// Returns the action that a row of the journal lacks. `None`: the row lacks none.
    pub(super) fn of(record: &Record, entry: &Entry) -> Option<Lacking> {
        let scheduled_at = record.key.scheduled_at();
        let sent_at = record.sent_at.unwrap_or(scheduled_at);
        let (lack, from) = match record.state {
            State::Unknown => (Lack::Unknown, sent_at.min(scheduled_at)),
            State::Started | State::Finished | State::Failed => match record.action_id {
                None => (Lack::Unnamed, sent_at),
                // The journal has read the list for a second one, and has found it.
                Some(_) if record.surplus.is_some() => return None,
                Some(_) if record.attempts > 1 && record.is_backfill() => {
                    (Lack::Repeated, earlier(sent_at, SETTLES))
                }
                Some(_) if record.attempts > 1 => (Lack::Repeated, scheduled_at),
                Some(_) => return None,
            },
            _ => return None,
        };
        // The first of several attempts took effect before the last one left, if at all: the daemon
        // waits for that.
        let until = if lack == Lack::Repeated { later(sent_at, SLACK) } else { later(sent_at, SETTLES) };
        Some(Lacking { lack, stack: entry.stack.clone(), from: earlier(from, SLACK), until })
    }

    /// Returns the action that an instant lacks for which the journal has no row.
    pub(super) fn lost(entry: &Entry, at: Timestamp) -> Lacking {
        let (_, deadline) = entry.times(at);
        Lacking {
            lack: Lack::Lost,
            stack: entry.stack.clone(),
            from: earlier(at, SLACK),
            until: later(deadline, SETTLES),
        }
    }
}

fn earlier(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
