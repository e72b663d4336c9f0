//! A second witness beside the list of actions: what a job's own record says of an attempt in
//! doubt.
//!
//! **Problem.** An action does not name its job. Where somebody else runs another job of the stack
//! with the same token in the very second of an attempt that had no effect, the list shows an
//! action that looks like ours.
//!
//! **Mechanism.** The record of the attempt's job is read after the list. `updated_at` before the
//! attempt says that the job did not run; `updated_at` within the attempt's span, with a `status`
//! of a run, says that it did. Whether a run moves `updated_at` at all is not documented: a record
//! counts only where it moved with the last certain run of its job. That the job did not run needs
//! a record which shows the very instants of that run now; that it ran needs one which showed them
//! when that run ended ([`super::lesson`]). Where another run of the job may have moved the record,
//! the record says nothing. List and record are weighed by [`weigh`]: where they contradict each
//! other, nothing can tell.
//!
//! **Example.** The job ran at 01:00:00 for 5 s, and its record shows 01:00:00. Sent at 02:00:00,
//! with no answer; the list shows an action of 02:00:00. At 02:02:00 the record still shows
//! 01:00:00: that action is another job's.

use jiff::{SignedDuration, Timestamp};

use super::reconcile::{Attempt, AttemptVerdict, CUT_OFF};
use crate::cloud66::{Action, ActionId, JobRecord, JobStatus};

/// A record is written so long before or after the action that it belongs to.
const NEAR: SignedDuration = SignedDuration::from_secs(2);

/// A run of the attempt's job that the journal knows, as the list shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownRun {
    pub(super) action: ActionId,
    /// `None`: the list does not show it, or does not say when it began.
    pub(super) started: Option<Timestamp>,
    /// `None`: it has not finished, as far as the list shows.
    pub(super) finished: Option<Timestamp>,
}

/// The facts about an attempt's job besides its record.
#[derive(Debug, Default)]
pub(super) struct JobFacts {
    /// Its runs that the journal knows.
    pub(super) runs: Vec<KnownRun>,
    /// Other attempts, of the same job as far as is known, may have started a run that nobody knows
    /// of.
    pub(super) others: bool,
    /// The run with which the record was seen to move.
    pub(super) moved_with: Option<ActionId>,
}

/// The statement of a job's record about an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Testimony {
    /// The job ran.
    Ran,
    /// The job did not run.
    DidNot,
    /// Nothing.
    Silent,
}

impl KnownRun {
    /// The run as a list of actions shows it.
    pub(super) fn of(action: ActionId, actions: &[Action]) -> KnownRun {
        let shown = actions.iter().find(|shown| shown.id == Some(action));
        let started = shown.and_then(Action::started);
        let finished = shown.and_then(|shown| shown.finished_at.as_deref()?.parse().ok());
        KnownRun { action, started, finished }
    }

    /// Returns true when a record shows an instant of this run.
    pub(super) fn is_shown_by(&self, record: &JobRecord) -> bool {
        let near = |at: Timestamp| record.updated_at.is_some_and(|to| at.duration_since(to).abs() <= NEAR);
        self.started.is_some_and(near) || self.finished.is_some_and(near)
    }

    /// Returns true when the run was over before an instant.
    fn was_over_before(&self, at: Timestamp) -> bool {
        self.started.is_some_and(|started| started < at)
            && self.finished.is_some_and(|finished| finished < at)
    }
}

/// Returns the testimony of a record that was read when it was too late for the attempt to take
/// effect, or that says early that the job ran.
pub(super) fn testify(record: &JobRecord, attempt: &Attempt, background: &JobFacts) -> Testimony {
    let from = attempt.from.checked_sub(CUT_OFF).unwrap_or(Timestamp::MIN);
    let Some((updated_at, last)) =
        record.updated_at.zip(background.runs.iter().max_by_key(|run| run.started))
    else {
        return Testimony::Silent;
    };
    if !background.runs.iter().all(|run| run.was_over_before(from)) {
        return Testimony::Silent;
    }
    let ran = matches!(record.status, Some(JobStatus::Started | JobStatus::Success | JobStatus::Failed));
    if updated_at < from {
        // Had another attempt started a run of the job, the record would show that one.
        let is_idle = ran && record.status != Some(JobStatus::Started);
        return if is_idle && last.is_shown_by(record) { Testimony::DidNot } else { Testimony::Silent };
    }
    // A run of another attempt may have begun long before, and end in the span.
    match ran
        && updated_at <= attempt.until
        && !background.others
        && background.moved_with == Some(last.action)
    {
        true => Testimony::Ran,
        false => Testimony::Silent,
    }
}

/// The verdict of both witnesses. `is_over`: it is too late for the attempt to take effect.
/// `fitting`: the actions that the attempt may own, and that began soon after it left.
pub(super) fn weigh(
    by_list: AttemptVerdict,
    testimony: Testimony,
    is_over: bool,
    record: &JobRecord,
    fitting: &[&Action],
) -> AttemptVerdict {
    match (by_list, testimony) {
        (AttemptVerdict::Started(_), Testimony::DidNot) if is_over => AttemptVerdict::Unknown,
        // The record may lag behind the list.
        (AttemptVerdict::Started(_), Testimony::DidNot) => AttemptVerdict::Later,
        (AttemptVerdict::NotStarted, Testimony::Ran) => AttemptVerdict::Unknown,
        // Somebody else may have run the job, in the hours in which the attempt may have.
        (AttemptVerdict::Unknown, Testimony::Ran) if fitting.is_empty() => AttemptVerdict::Unknown,
        (AttemptVerdict::Unknown, Testimony::Ran) => {
            let run = |action: &Action| action.id.map(|id| KnownRun::of(id, std::slice::from_ref(action)));
            let mut shown =
                fitting.iter().filter(|action| run(action).is_some_and(|run| run.is_shown_by(record)));
            let only = shown.next().filter(|_| shown.next().is_none());
            AttemptVerdict::Started(only.map(|action| Box::new((*action).clone())))
        }
        (AttemptVerdict::Unknown, Testimony::DidNot) => AttemptVerdict::NotStarted,
        (verdict, _) => verdict,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::super::reconcile::{StillPossible, candidates, judge};
    use super::*;

    /// An attempt takes effect at most so many seconds after its end.
    const SETTLES: i64 = 20;

    /// When the list and the records are read: too late for any attempt.
    const ASKED: i64 = 500;

    /// When the job ran for certain, and with which action, by its number.
    const CERTAIN: [(ActionId, i64); 3] = [(1, -300), (2, -200), (3, -90)];

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a timestamp")
    }

    /// A run with our user.
    fn action(id: ActionId, second: i64, lasts: i64) -> Action {
        Action {
            id: Some(id),
            user: Some("we".to_owned()),
            action: Some("job_run_now".to_owned()),
            started_via: Some("api".to_owned()),
            started_at: Some(at(second).to_string()),
            finished_at: (second + lasts <= ASKED).then(|| at(second + lasts).to_string()),
            ..Action::default()
        }
    }

    /// The truth of a world, against which a statement is held.
    #[derive(Clone, Debug)]
    struct EvidenceTruth {
        attempts: Vec<SampleEvidence>,
        jobs: Vec<Known>,
        /// Somebody runs other jobs of the stack with our token: so many seconds after an attempt
        /// left, by its number. Who does so has done so before.
        people: Vec<(usize, i64)>,
    }

    #[derive(Clone, Debug)]
    struct SampleEvidence {
        job: usize,
        left: i64,
        effect: Option<i64>,
        lasts: i64,
    }

    /// A job: whether its record moves with its runs, also at their end, whether that was learnt,
    /// and when somebody edited the job.
    #[derive(Clone, Debug)]
    struct Known {
        moves: bool,
        at_end: bool,
        learnt: bool,
        edited: Option<i64>,
    }

    impl EvidenceTruth {
        fn attempt(&self, place: usize) -> Attempt {
            let left = self.attempts[place].left;
            let (from, until) = (at(left), at(left + SETTLES));
            let (near, user) = (vec![(from, until)], Some("we".to_owned()));
            Attempt { from, until, near, user, standing: StillPossible::Over }
        }

        /// The record of a job as the API shows it when it is read.
        fn record(&self, job: usize) -> JobRecord {
            let known = &self.jobs[job];
            let runs = self.attempts.iter().filter(|told| told.job == job);
            let effects = runs.filter_map(|told| Some((told.left + told.effect?, told.lasts)));
            let runs = effects.chain([(CERTAIN[job].1, 5)]);
            let changes = runs.filter(|_| known.moves).flat_map(|(start, lasts)| {
                let end = (known.at_end && start + lasts <= ASKED).then_some(start + lasts);
                let status = if start + lasts <= ASKED { JobStatus::Success } else { JobStatus::Started };
                [Some((start, status)), end.map(|end| (end, status))].into_iter().flatten()
            });
            let edits = known.edited.map(|second| (second, JobStatus::Updated));
            let (second, status) = changes.chain(edits).max_by_key(|change| change.0).unwrap_or((
                -9000,
                // Nothing but the status moves.
                JobStatus::Success,
            ));
            JobRecord { status: Some(status), updated_at: Some(at(second)) }
        }
    }

    fn truths() -> impl Strategy<Value = EvidenceTruth> {
        let effect = proptest::option::weighted(0.5, 0..SETTLES);
        let told = (0..3usize, 0..200i64, effect, 1..400i64);
        let told = told.prop_map(|(job, left, effect, lasts)| SampleEvidence { job, left, effect, lasts });
        let edited = proptest::option::weighted(0.3, 1..260i64);
        let known = (any::<bool>(), any::<bool>(), any::<bool>(), edited)
            .prop_map(|(moves, at_end, learnt, edited)| Known { moves, at_end, learnt, edited });
        let people = proptest::collection::vec((0..4usize, 0..3i64), 0..4);
        (proptest::collection::vec(told, 1..5), proptest::collection::vec(known, 3), people)
            .prop_map(|(attempts, jobs, people)| EvidenceTruth { attempts, jobs, people })
    }

    /// Judges a world by both witnesses, and holds each verdict against the truth. Returns how many
    /// were certain.
    fn hold(truth: &EvidenceTruth) -> Result<usize, TestCaseError> {
        let mut last = 10;
        let mut id = || {
            last += 1;
            last
        };
        let mut actions: Vec<Action> = CERTAIN.iter().map(|&(id, second)| action(id, second, 5)).collect();
        let mut started = Vec::new();
        for told in &truth.attempts {
            let ours = told.effect.map(|effect| action(id(), told.left + effect, told.lasts));
            started.push(ours.as_ref().and_then(|ours| ours.id));
            actions.extend(ours);
        }
        for &(attempt, after) in &truth.people {
            let left = truth.attempts[attempt % truth.attempts.len()].left;
            actions.extend([action(id(), left + after, 3), action(id(), -400, 3)]);
        }
        let ours: HashSet<ActionId> = CERTAIN.iter().map(|&(id, _)| id).collect();
        let attempts: Vec<Attempt> = (0..truth.attempts.len()).map(|place| truth.attempt(place)).collect();
        let candidates = candidates(actions.clone(), &ours);
        let mut certain = 0;
        for (place, by_list) in judge(&attempts, &candidates, false).verdicts.into_iter().enumerate() {
            let (told, attempt) = (&truth.attempts[place], &attempts[place]);
            let known = &truth.jobs[told.job];
            let record = truth.record(told.job);
            let run = KnownRun::of(CERTAIN[told.job].0, &actions);
            let is_of_job = |other: usize| other != place && truth.attempts[other].job == told.job;
            let background = JobFacts {
                runs: vec![run],
                others: (0..attempts.len()).any(is_of_job),
                moved_with: (known.moves && known.learnt).then_some(run.action),
            };
            let testimony = testify(&record, attempt, &background);
            let fitting: Vec<&Action> =
                candidates.iter().filter(|action| attempt.is_shown_by(action)).collect();
            let verdict = weigh(by_list, testimony, true, &record, &fitting);
            certain += usize::from(!matches!(verdict, AttemptVerdict::Unknown | AttemptVerdict::Later));
            match verdict {
                AttemptVerdict::NotStarted => {
                    prop_assert_eq!(told.effect, None, "{:?}: {:?}", attempt, testimony)
                }
                AttemptVerdict::Started(found) => {
                    prop_assert!(told.effect.is_some(), "{:?} did not start: {:?}", attempt, testimony);
                    if let Some(found) = found {
                        prop_assert_eq!(found.id, started[place], "of {:?}: {:?}", attempt, testimony);
                    }
                }
                AttemptVerdict::Unknown | AttemptVerdict::Later => {}
            }
        }
        Ok(certain)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        /// Holds where records move and where they do not, and while others run jobs of the stack
        /// with our token in the same second.
        #[test]
        fn a_verdict_of_both_witnesses_is_right_or_none(truth in truths()) {
            hold(&truth)?;
        }
    }

    /// One job, one attempt of second 100, and somebody who uses the token in the same second.
    fn shared(effect: Option<i64>, moves: bool, learnt: bool) -> EvidenceTruth {
        EvidenceTruth {
            attempts: vec![SampleEvidence { job: 0, left: 100, effect, lasts: 5 }],
            jobs: vec![Known { moves, at_end: false, learnt, edited: None }; 3],
            people: vec![(0, 0)],
        }
    }

    #[test]
    fn a_record_that_moves_tells_where_the_list_cannot() {
        for (effect, moves, learnt, certain) in [
            (None, true, false, 1),
            (None, false, false, 0),
            (Some(0), true, true, 1),
            (Some(0), true, false, 0),
            (Some(0), false, false, 0),
        ] {
            assert_eq!(
                hold(&shared(effect, moves, learnt)).expect("right or none"),
                certain,
                "effect {effect:?}, moves {moves}, learnt {learnt}"
            );
        }
    }

    #[test]
    fn witnesses_are_weighed_by_a_table() {
        let run = action(7, 100, 5);
        let started = || AttemptVerdict::Started(Some(Box::new(run.clone())));
        let record = JobRecord { status: Some(JobStatus::Success), updated_at: Some(at(100)) };
        for (by_list, testimony, is_over, expected) in [
            (started(), Testimony::Ran, true, started()),
            (started(), Testimony::Silent, true, started()),
            (started(), Testimony::DidNot, true, AttemptVerdict::Unknown),
            (started(), Testimony::DidNot, false, AttemptVerdict::Later),
            (AttemptVerdict::NotStarted, Testimony::Ran, true, AttemptVerdict::Unknown),
            (AttemptVerdict::NotStarted, Testimony::Silent, true, AttemptVerdict::NotStarted),
            (AttemptVerdict::NotStarted, Testimony::DidNot, true, AttemptVerdict::NotStarted),
            (AttemptVerdict::Unknown, Testimony::Ran, true, started()),
            (AttemptVerdict::Unknown, Testimony::Silent, true, AttemptVerdict::Unknown),
            (AttemptVerdict::Unknown, Testimony::DidNot, true, AttemptVerdict::NotStarted),
            (AttemptVerdict::Later, Testimony::Ran, false, AttemptVerdict::Later),
        ] {
            let weighed = weigh(by_list.clone(), testimony, is_over, &record, &[&run]);
            assert_eq!(weighed, expected, "{by_list:?} and {testimony:?}");
        }
    }
}
