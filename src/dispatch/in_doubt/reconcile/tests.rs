//! Verdicts by the list alone: a table of each rule, and every verdict of drawn worlds held against
//! the truth.

use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a timestamp")
}

fn action(id: ActionId, second: i64) -> Action {
    Action {
        id: Some(id),
        user: Some("we".to_owned()),
        action: Some("job_run_now".to_owned()),
        started_via: Some("api".to_owned()),
        started_at: Some(at(second).to_string()),
        ..Action::default()
    }
}

fn attempt(from: i64, until: i64, standing: StillPossible) -> Attempt {
    let (from, until) = (at(from), at(until));
    Attempt { from, until, near: vec![(from, until)], user: Some("we".to_owned()), standing }
}

fn ids(verdicts: Vec<AttemptVerdict>) -> Vec<String> {
    let brief = |verdict| match verdict {
        AttemptVerdict::Started(Some(action)) => format!("started {}", action.id.unwrap_or_default()),
        AttemptVerdict::Started(None) => "started".to_owned(),
        AttemptVerdict::NotStarted => "not started".to_owned(),
        AttemptVerdict::Unknown => "unknown".to_owned(),
        AttemptVerdict::Later => "later".to_owned(),
    };
    verdicts.into_iter().map(brief).collect()
}

#[test]
fn what_can_be_no_run_of_ours_is_no_candidate() {
    let known = HashSet::from([1]);
    let other = |change: fn(&mut Action)| {
        let mut other = action(2, 1);
        change(&mut other);
        other
    };
    for (gone, left) in [
        (action(1, 1), 0),
        (other(|a| a.action = Some("stack_deploy".to_owned())), 0),
        (other(|a| a.started_via = Some("web".to_owned())), 0),
        (other(|a| a.started_via = Some("API".to_owned())), 1),
        (other(|a| a.action = None), 1),
        (other(|a| a.id = None), 1),
    ] {
        assert_eq!(candidates(vec![gone.clone(), gone.clone()], &known).len().min(1), left, "{gone:?}");
    }
    assert_eq!(candidates(vec![action(2, 1), action(2, 1)], &known).len(), 1, "it is listed twice");
}

#[test]
fn as_many_actions_as_attempts_are_theirs() {
    let over = |from, until| attempt(from, until, StillPossible::Over);
    for (attempts, actions, expected) in [
        (vec![over(0, 10)], vec![action(1, 5)], vec!["started 1"]),
        // Only one way is possible.
        (vec![over(0, 10), over(8, 20)], vec![action(1, 5), action(2, 9)], vec!["started 1", "started 2"]),
        // Both ways are.
        (vec![over(0, 10), over(0, 10)], vec![action(1, 5), action(2, 6)], vec!["started", "started"]),
        (vec![over(0, 10), over(0, 10)], vec![action(1, 5)], vec!["unknown", "unknown"]),
        (vec![over(0, 10), over(40, 50)], vec![action(1, 5)], vec!["started 1", "not started"]),
        (vec![over(0, 10)], vec![action(1, 5), action(2, 6)], vec!["unknown"]),
        // Two started at once, and only one attempt can have.
        (vec![over(0, 10), over(40, 50)], vec![action(1, 5), action(2, 6)], vec!["unknown", "not started"]),
        // Somebody else uses the user for this stack.
        (vec![over(0, 10)], vec![action(1, 5), action(2, 60)], vec!["unknown"]),
    ] {
        assert_eq!(
            ids(judge(&attempts, &actions, false).verdicts),
            expected,
            "{attempts:?} with {actions:?}"
        );
    }
}

#[test]
fn what_is_still_to_come_is_waited_for() {
    let open = attempt(0, 10, StillPossible::Open);
    let over = attempt(0, 10, StillPossible::Over);
    let flying = attempt(0, 99, StillPossible::InFlight);
    let given_up = attempt(0, 10, StillPossible::GivenUp);
    for (attempts, actions, expected) in [
        (vec![open.clone()], vec![], vec!["later"]),
        (vec![open.clone()], vec![action(1, 5)], vec!["started 1"]),
        (vec![over.clone(), open.clone()], vec![action(1, 5)], vec!["later", "later"]),
        (vec![over.clone(), flying.clone()], vec![action(1, 5)], vec!["later", "later"]),
        (vec![over.clone(), flying], vec![], vec!["not started", "later"]),
        (vec![over.clone(), given_up.clone()], vec![action(1, 5)], vec!["unknown", "unknown"]),
        (vec![over, given_up], vec![], vec!["not started", "unknown"]),
    ] {
        assert_eq!(
            ids(judge(&attempts, &actions, false).verdicts),
            expected,
            "{attempts:?} with {actions:?}"
        );
    }
}

#[test]
fn an_action_without_a_time_or_a_user_may_be_anybody_s() {
    let over = attempt(0, 10, StillPossible::Over);
    let timeless = Action { started_at: Some("soon".to_owned()), ..action(1, 5) };
    assert_eq!(ids(judge(std::slice::from_ref(&over), &[timeless], false).verdicts), ["unknown"]);
    let nobody = Action { user: None, ..action(1, 5) };
    assert_eq!(ids(judge(std::slice::from_ref(&over), &[nobody], false).verdicts), ["started 1"]);
    let theirs = Action { user: Some("they".to_owned()), ..action(1, 5) };
    assert_eq!(ids(judge(&[over], &[theirs], false).verdicts), ["not started"]);
}

#[test]
fn an_action_hours_after_an_attempt_left_shows_nothing_of_it() {
    // The clock may have been right, or ahead by 1000 s.
    let wide = |standing| Attempt {
        near: vec![(at(0), at(180)), (at(1000), at(1180))],
        ..attempt(0, 2000, standing)
    };
    let over = || wide(StillPossible::Over);
    let narrow = || attempt(1400, 1600, StillPossible::Over);
    for (attempts, actions, expected) in [
        (vec![over()], vec![action(1, 100)], vec!["started 1"]),
        (vec![over()], vec![action(1, 1100)], vec!["started 1"]),
        (vec![over()], vec![action(1, 500)], vec!["unknown"]),
        (vec![wide(StillPossible::Open)], vec![action(1, 1500)], vec!["later"]),
        (vec![over()], vec![], vec!["not started"]),
        // Each has one near it, and which is whose is not certain where both ways are possible.
        (vec![over(), narrow()], vec![action(1, 100), action(2, 1500)], vec!["started 1", "started 2"]),
        (vec![over(), over()], vec![action(1, 100), action(2, 1100)], vec!["started", "started"]),
        // Both actions are near one of the two alone.
        (vec![over(), narrow()], vec![action(1, 1450), action(2, 1500)], vec!["unknown", "unknown"]),
    ] {
        assert_eq!(ids(judge(&attempts, &actions, false).verdicts), expected, "{actions:?}");
    }
}

#[test]
fn who_was_seen_to_share_the_user_before_may_have_started_an_action() {
    let over = || attempt(0, 10, StillPossible::Over);
    assert_eq!(ids(judge(&[over()], &[action(1, 5)], true).verdicts), ["unknown"]);
    assert_eq!(ids(judge(&[over()], &[], true).verdicts), ["not started"]);
}

/// The truth that the verdicts are held against.
#[derive(Clone, Debug)]
struct Truth {
    attempts: Vec<SampleAttempt>,
    /// Runs of others: the second, whether with our user, whether through the API.
    others: Vec<(i64, bool, bool)>,
    learned: bool,
    asked: i64,
}

/// An attempt: when it left, how long its answer was waited for, and when it started an action.
#[derive(Clone, Debug)]
struct SampleAttempt {
    left: i64,
    waited: i64,
    effect: Option<i64>,
    standing: u8,
}

/// An attempt takes effect at most so long after its end.
const SETTLES: i64 = 20;

fn truths(with_our_user: bool) -> impl Strategy<Value = Truth> {
    let told = (0..200i64, 0..15i64, proptest::option::weighted(0.6, 0.0..1.0f64), 0..4u8);
    let told = told.prop_map(|(left, waited, effect, standing)| {
        #[expect(clippy::cast_possible_truncation, reason = "some seconds")]
        let effect = effect.map(|part| left + (part * (waited + SETTLES) as f64) as i64);
        SampleAttempt { left, waited, effect, standing }
    });
    let others = proptest::collection::vec((0..220i64, any::<bool>(), any::<bool>()), 0..3);
    (proptest::collection::vec(told, 1..6), others, any::<bool>(), 30..260i64).prop_map(
        move |(attempts, mut others, learned, asked)| {
            if !with_our_user {
                // Where our user is not known, everybody may be it.
                others.retain(|&(_, ours, api)| (!ours && learned) || !api);
            }
            Truth { attempts, others, learned, asked }
        },
    )
}

/// Judges a world, and holds each verdict against the truth. Returns how many were neither
/// unknown nor later.
fn hold(truth: &Truth, with_our_user: bool) -> Result<usize, TestCaseError> {
    let user = truth.learned.then(|| "we".to_owned());
    let (mut attempts, mut effects, mut actions, mut known) =
        (Vec::new(), Vec::new(), Vec::new(), HashSet::new());
    let mut last = 0;
    let mut id = || {
        last += 1;
        last
    };
    for told in truth.attempts.iter().filter(|told| told.left < truth.asked) {
        let started = told.effect.filter(|&effect| effect < truth.asked).map(|effect| (id(), effect));
        if let Some((id, effect)) = started {
            actions.push(action(id, effect));
        }
        let ended = told.left + told.waited;
        // One in four is answered; whose answer is lost may be asked about or given up.
        let standing = match told.standing {
            _ if ended >= truth.asked => StillPossible::InFlight,
            0 => {
                known.extend(started.map(|(id, _)| id));
                if told.effect.is_some() && started.is_none() {
                    return Err(TestCaseError::reject("no answer comes before the effect"));
                }
                continue;
            }
            1 if ended + SETTLES < truth.asked => StillPossible::GivenUp,
            _ if ended + SETTLES < truth.asked => StillPossible::Over,
            _ => StillPossible::Open,
        };
        let until = if standing == StillPossible::InFlight { i64::from(u32::MAX) } else { ended + SETTLES };
        let mut attempt = attempt(told.left, until, standing);
        attempt.user =
            if matches!(standing, StillPossible::Over | StillPossible::Open) { user.clone() } else { None };
        attempts.push(attempt);
        effects.push((told.effect, started));
    }
    for &(second, ours, api) in truth.others.iter().filter(|&&(second, ..)| second < truth.asked) {
        let mut run = action(id(), second);
        run.user = Some(if ours { "we" } else { "they" }.to_owned());
        run.started_via = Some(if api { "api" } else { "web" }.to_owned());
        actions.push(run);
    }
    let mut certain = 0;
    let verdicts = judge(&attempts, &candidates(actions, &known), false).verdicts;
    for ((attempt, (effect, started)), verdict) in attempts.iter().zip(&effects).zip(&verdicts) {
        if matches!(attempt.standing, StillPossible::InFlight | StillPossible::GivenUp) {
            continue;
        }
        certain += usize::from(!matches!(verdict, AttemptVerdict::Unknown | AttemptVerdict::Later));
        match verdict {
            AttemptVerdict::NotStarted => prop_assert_eq!(*effect, None, "{:?} in {:?}", attempt, verdicts),
            AttemptVerdict::Started(_) if with_our_user => {}
            AttemptVerdict::Started(found) => {
                prop_assert!(started.is_some(), "{:?} did not start: {:?}", attempt, verdicts);
                if let Some(found) = found {
                    prop_assert_eq!(found.id, started.map(|(id, _)| id), "of {:?}", attempt);
                }
            }
            AttemptVerdict::Unknown | AttemptVerdict::Later => {}
        }
    }
    let mut owned: Vec<_> = verdicts
        .iter()
        .filter_map(|verdict| match verdict {
            AttemptVerdict::Started(Some(action)) => action.id,
            _ => None,
        })
        .collect();
    owned.sort_unstable();
    let all = owned.len();
    owned.dedup();
    prop_assert_eq!(owned.len(), all, "an action belongs to one attempt");
    Ok(certain)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Whoever else starts jobs of the stack, with whatever user: what is said not to have
    /// started has not, and will not.
    #[test]
    fn what_is_sent_again_had_no_effect(truth in truths(true)) {
        hold(&truth, true)?;
    }

    /// Where nobody else starts jobs with our user, each verdict is right or none.
    #[test]
    fn a_verdict_is_right_or_none(truth in truths(false)) {
        hold(&truth, false)?;
    }
}

#[test]
fn most_worlds_have_a_verdict() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut certain, mut worlds) = (0, 0);
    for _ in 0..500 {
        let truth = truths(false).new_tree(&mut runner).expect("a world").current();
        if let Ok(count) = hold(&truth, false) {
            certain += count;
            worlds += 1;
        }
    }
    assert!(certain * 2 > worlds, "{certain} verdicts in {worlds} worlds");
}
