//! A second witness beside the list of actions: what a job's own record says of an attempt in doubt.
//!
//! **Problem.** An action does not name its job. Where somebody else runs another job of the stack with the same token in the very
//! second of an attempt that had no effect, the list shows an action that looks like ours.
//!
//! **Mechanism.** The record of the attempt's job is read after the list. `updated_at` before the attempt says that the job did not
//! run; `updated_at` within the attempt's span, with a `status` of a run, says that it did. Whether a run moves `updated_at` at
//! all is not documented: a record counts only where it moved with the last certain run of its job. That the job did not run needs
//! a record which shows the very instants of that run now; that it ran needs one which showed them when that run ended
//! ([`Lesson`](super::lesson)). Where another run of the job may have moved the record, the record says nothing.
//! List and record are weighed by [`weigh`]: where they contradict each other, nothing can tell.
//!
//! **Example.** The job ran at 01:00:00 for 5 s, and its record shows 01:00:00. Sent at 02:00:00, with no answer; the list shows an
//! action of 02:00:00. At 02:02:00 the record still shows 01:00:00: that action is another job's.

use jiff::{SignedDuration, Timestamp};

use super::reconcile::{Attempt, CUT_OFF, Verdict};
use crate::cloud66::{Action, ActionId, JobRecord, JobStatus};

/// A record is written so long before or after the action that it belongs to.
const NEAR: SignedDuration = SignedDuration::from_secs(2);

/// A run of the attempt's job that the journal knows, as the list shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) action: ActionId,
    /// `None`: the list does not show it, or does not say when it began.
    pub(super) started: Option<Timestamp>,
    /// `None`: it has not finished, as far as the list shows.
    pub(super) finished: Option<Timestamp>,
}

/// What is known of an attempt's job besides its record.
#[derive(Debug, Default)]
pub(super) struct Background {
    /// Its runs that the journal knows.
    pub(super) runs: Vec<Run>,
    /// Other attempts, of the same job as far as is known, may have started a run since this one left.
    pub(super) others: bool,
    /// The run with which the record was seen to move.
    pub(super) moved_with: Option<ActionId>,
}

/// What a record says of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Testimony {
    /// The job ran.
    Ran,
    /// The job did not run.
    DidNot,
    /// Nothing.
    Silent,
}

impl Run {
    /// The run as a list of actions shows it.
    pub(super) fn of(action: ActionId, actions: &[Action]) -> Run {
        let shown = actions.iter().find(|shown| shown.id == Some(action));
        let started = shown.and_then(Action::started);
        let finished = shown.and_then(|shown| shown.finished_at.as_deref()?.parse().ok());
        Run { action, started, finished }
    }

    /// Whether a record shows an instant of this run.
    pub(super) fn is_shown_by(&self, record: &JobRecord) -> bool {
        let near = |at: Timestamp| record.updated_at.is_some_and(|to| at.duration_since(to).abs() <= NEAR);
        self.started.is_some_and(near) || self.finished.is_some_and(near)
    }

    /// Whether it was over before an instant.
    fn was_over_before(&self, at: Timestamp) -> bool {
        self.started.is_some_and(|started| started < at)
            && self.finished.is_some_and(|finished| finished < at)
    }
}

/// What a record says that was read when it was too late for the attempt to take effect, or says early that the job ran.
pub(super) fn testify(record: &JobRecord, attempt: &Attempt, background: &Background) -> Testimony {
    let from = attempt.from.checked_sub(CUT_OFF).unwrap_or(Timestamp::MIN);
    let Some((updated_at, last)) =
        record.updated_at.zip(background.runs.iter().max_by_key(|run| run.started))
    else {
        return Testimony::Silent;
    };
    if background.others || !background.runs.iter().all(|run| run.was_over_before(from)) {
        return Testimony::Silent;
    }
    let ran = matches!(record.status, Some(JobStatus::Started | JobStatus::Success | JobStatus::Failed));
    if updated_at < from {
        let is_idle = ran && record.status != Some(JobStatus::Started);
        return if is_idle && last.is_shown_by(record) { Testimony::DidNot } else { Testimony::Silent };
    }
    match ran && updated_at <= attempt.until && background.moved_with == Some(last.action) {
        true => Testimony::Ran,
        false => Testimony::Silent,
    }
}

/// The verdict of both witnesses. `is_over`: it is too late for the attempt to take effect. `fitting`: the actions that the
/// attempt may own.
pub(super) fn weigh(
    by_list: Verdict,
    testimony: Testimony,
    is_over: bool,
    record: &JobRecord,
    fitting: &[&Action],
) -> Verdict {
    match (by_list, testimony) {
        (Verdict::Started(_), Testimony::DidNot) if is_over => Verdict::Unknown,
        // The record may lag behind the list.
        (Verdict::Started(_), Testimony::DidNot) => Verdict::Later,
        (Verdict::NotStarted, Testimony::Ran) => Verdict::Unknown,
        (Verdict::Unknown, Testimony::Ran) => {
            let run = |action: &Action| action.id.map(|id| Run::of(id, std::slice::from_ref(action)));
            let mut shown =
                fitting.iter().filter(|action| run(action).is_some_and(|run| run.is_shown_by(record)));
            let only = shown.next().filter(|_| shown.next().is_none());
            Verdict::Started(only.map(|action| Box::new((*action).clone())))
        }
        (Verdict::Unknown, Testimony::DidNot) => Verdict::NotStarted,
        (verdict, _) => verdict,
    }
}
