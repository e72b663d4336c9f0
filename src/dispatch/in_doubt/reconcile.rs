//! Of attempts in doubt and a stack's actions: which attempt has started one, and which has not.
//!
//! An action does not name its job, and others start jobs of the same stack. So an attempt may have
//! started any action that nobody is known to have started, of the same user, in the time in which
//! it can have taken effect. The verdict is what holds in every case that can be:
//!
//! - there is no such action, and it is too late for one to come: not started;
//! - of a group of attempts that compete for the same actions, there are as many as actions, and
//!   nobody else is seen to use the same user for the stack: all have started. Which action is
//!   whose is said where only one way is possible, also among the attempts of one entry: requests
//!   overtake each other;
//! - otherwise nothing can tell.
//!
//! It rests on this: an attempt took effect within its span by the API's clock or not at all; a
//! former process's clock was right, or as far from the API's as ours is, and that of another
//! member within a minute of the API's; and an action of another user is not ours, once an answer
//! has told who the token's user is, until the next reload. Not started needs nothing else.
//!
//! Started also supposes what the list cannot show: that nobody starts a job of this stack with the
//! same user in the very seconds of an attempt that never arrived. Who does so at other times is
//! seen, as far back as the list goes, and then nothing can tell by the list. The record of the job
//! may contradict it (`evidence.rs`).

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use crate::cloud66::{Action, ActionId};

/// Instants are whole seconds, cut off.
pub(super) const CUT_OFF: SignedDuration = SignedDuration::from_secs(1);

/// An attempt that may have started an action that is not known.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// It took no effect earlier, by the API's clock.
    pub(super) from: Timestamp,
    /// Nor later.
    pub(super) until: Timestamp,
    /// Whose actions it starts, where that is known for sure.
    pub(super) user: Option<String>,
    pub(super) standing: Standing,
}

/// What can still happen to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its answer may still come.
    InFlight,
    /// In doubt, and it may still take effect.
    Open,
    /// In doubt, and too late to take effect.
    Over,
    /// Nothing could tell whether it started one of the actions, or which, and nobody asks any
    /// more.
    GivenUp,
}

/// What became of an attempt in doubt.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// It started an action; this one, where it can be told from the others.
    Started(Option<Box<Action>>),
    /// It started none, and will not.
    NotStarted,
    /// Nothing can tell.
    Unknown,
    /// Ask again: something is still to come.
    Later,
}

/// What a list of actions says of all attempts on its stack.
#[derive(Debug)]
pub(super) struct Judgement {
    /// One verdict for each attempt, in their order.
    pub(super) verdicts: Vec<Verdict>,
    /// Actions of the groups in which all attempts have started, whichever action is whose. No
    /// other attempt can own one of them.
    pub(super) owned: Vec<ActionId>,
    /// Somebody else is seen to start jobs of the stack with our user, at times at which no attempt
    /// of ours can have.
    pub(super) is_user_shared: bool,
}

/// The actions that an attempt of ours may have started: runs of jobs through the API that nobody
/// is known to have started. What cannot be read is kept, since it may be one.
pub(super) fn candidates(actions: Vec<Action>, known: &HashSet<ActionId>) -> Vec<Action> {
    let mut seen = HashSet::new();
    let may_be = |field: &Option<String>, word: &str| {
        field.as_ref().is_none_or(|field| field.eq_ignore_ascii_case(word))
    };
    let mut candidates: Vec<Action> = (actions.into_iter())
        .filter(|action| may_be(&action.action, "job_run_now") && may_be(&action.started_via, "api"))
        // A list that changes while its pages are read shows an action twice.
        .filter(|action| action.id.is_none_or(|id| !known.contains(&id) && seen.insert(id)))
        .collect();
    candidates.sort_by_key(|action| (action.started(), action.id));
    candidates
}

/// Judges each attempt. The candidates are of a list that was read as it was not before any attempt
/// that is [`Standing::Over`] was so.
pub(super) fn judge(attempts: &[Attempt], candidates: &[Action]) -> Judgement {
    let fits: Vec<Vec<usize>> = attempts
        .iter()
        .map(|attempt| (0..candidates.len()).filter(|&c| attempt.may_own(&candidates[c])).collect())
        .collect();
    let mut owners = vec![Vec::new(); candidates.len()];
    for (attempt, fits) in fits.iter().enumerate() {
        for &candidate in fits {
            owners[candidate].push(attempt);
        }
    }
    // Somebody else starts jobs of this stack, and nothing tells theirs from ours.
    let strangers = owners.iter().zip(candidates).any(|(owners, candidate)| {
        owners.is_empty() && attempts.iter().any(|attempt| attempt.is_of_user(candidate))
    });
    let mut verdicts: Vec<Option<Verdict>> = vec![None; attempts.len()];
    let mut owned = Vec::new();
    for first in 0..attempts.len() {
        if verdicts[first].is_some() {
            continue;
        }
        let group = group(first, &fits, &owners);
        let started = if strangers { None } else { all_started(&group, attempts, candidates, &fits) };
        if started.is_some() {
            owned.extend(group.candidates.iter().filter_map(|&candidate| candidates[candidate].id));
        }
        for (place, &attempt) in group.attempts.iter().enumerate() {
            verdicts[attempt] = Some(match &started {
                Some(owned) => Verdict::Started(owned[place].map(|c| Box::new(candidates[c].clone()))),
                None => alone(attempt, attempts, &fits, &owners),
            });
        }
    }
    let verdicts = verdicts.into_iter().map(|verdict| verdict.unwrap_or(Verdict::Later)).collect();
    Judgement { verdicts, owned, is_user_shared: strangers }
}

impl Attempt {
    /// One of which nobody asks any more what became of it.
    pub(super) fn given_up(from: Timestamp, until: Timestamp, user: Option<String>) -> Attempt {
        Attempt { from, until, user, standing: Standing::GivenUp }
    }

    pub(super) fn may_own(&self, action: &Action) -> bool {
        let in_time = action.started().is_none_or(|at| {
            at >= self.from.checked_sub(CUT_OFF).unwrap_or(Timestamp::MIN) && at <= self.until
        });
        in_time && self.is_of_user(action)
    }

    pub(super) fn is_of_user(&self, action: &Action) -> bool {
        match (&self.user, &action.user) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        }
    }
}

/// Attempts and the candidates that they compete for.
struct Group {
    attempts: Vec<usize>,
    candidates: Vec<usize>,
}

fn group(first: usize, fits: &[Vec<usize>], owners: &[Vec<usize>]) -> Group {
    let (mut attempts, mut candidates) = (vec![first], Vec::new());
    let (mut known, mut claimed) = (HashSet::from([first]), HashSet::new());
    let mut next = 0;
    while let Some(&attempt) = attempts.get(next) {
        next += 1;
        for &candidate in &fits[attempt] {
            if claimed.insert(candidate) {
                candidates.push(candidate);
                attempts.extend(owners[candidate].iter().filter(|&&owner| known.insert(owner)));
            }
        }
    }
    attempts.sort_unstable();
    candidates.sort_unstable();
    Group { attempts, candidates }
}

/// The verdict on an attempt of which the number of actions says nothing.
fn alone(attempt: usize, attempts: &[Attempt], fits: &[Vec<usize>], owners: &[Vec<usize>]) -> Verdict {
    if attempts[attempt].standing == Standing::GivenUp {
        return Verdict::Unknown;
    }
    let over = attempts[attempt].standing == Standing::Over;
    if fits[attempt].is_empty() {
        return if over { Verdict::NotStarted } else { Verdict::Later };
    }
    let rivals = fits[attempt].iter().flat_map(|&candidate| &owners[candidate]);
    let mut rivals = rivals.map(|&rival| attempts[rival].standing);
    match over && rivals.all(|standing| matches!(standing, Standing::Over | Standing::GivenUp)) {
        true => Verdict::Unknown,
        false => Verdict::Later,
    }
}

/// The candidate of each attempt of a group, when each must have started one. `None` when that is
/// not certain.
fn all_started(
    group: &Group,
    attempts: &[Attempt],
    candidates: &[Action],
    fits: &[Vec<usize>],
) -> Option<Vec<Option<usize>>> {
    let in_flight = |&attempt: &usize| attempts[attempt].standing == Standing::InFlight;
    if group.candidates.is_empty()
        || group.attempts.len() != group.candidates.len()
        || group.attempts.iter().any(in_flight)
        || group.candidates.iter().any(|&c| candidates[c].started().is_none() || candidates[c].id.is_none())
        // Where the user is not known of each, an action of another may be nobody's of these.
        || !group.candidates.iter().all(|&c| group.attempts.iter().all(|&a| attempts[a].is_of_user(&candidates[c])))
        || !can_be_matched(group, fits)
    {
        return None;
    }
    // Whoever can own only one candidate that is left owns it.
    let mut owned: Vec<Option<usize>> = vec![None; group.attempts.len()];
    let mut left: HashSet<usize> = group.candidates.iter().copied().collect();
    let only = |left: &HashSet<usize>, attempt: usize| {
        let mut fitting = fits[attempt].iter().filter(|candidate| left.contains(candidate));
        fitting.next().filter(|_| fitting.next().is_none()).copied()
    };
    while let Some((place, candidate)) = (0..owned.len())
        .filter(|&place| owned[place].is_none())
        .find_map(|place| Some((place, only(&left, group.attempts[place])?)))
    {
        owned[place] = Some(candidate);
        left.remove(&candidate);
    }
    Some(owned)
}

/// Whether each attempt of a group can have one of the candidates for itself.
fn can_be_matched(group: &Group, fits: &[Vec<usize>]) -> bool {
    let mut owner = std::collections::HashMap::new();
    group.attempts.iter().all(|&attempt| place(attempt, fits, &mut owner))
}

/// Finds a candidate for an attempt; those that have one may have to take another (an augmenting
/// path).
fn place(attempt: usize, fits: &[Vec<usize>], owner: &mut std::collections::HashMap<usize, usize>) -> bool {
    let mut came_from = std::collections::HashMap::new();
    let mut queue = std::collections::VecDeque::from([attempt]);
    while let Some(current) = queue.pop_front() {
        for &candidate in &fits[current] {
            if came_from.contains_key(&candidate) {
                continue;
            }
            came_from.insert(candidate, current);
            match owner.get(&candidate) {
                Some(&taken) => queue.push_back(taken),
                None => {
                    let mut free = candidate;
                    loop {
                        let Some(&by) = came_from.get(&free) else { return false };
                        let former = owner.iter().find(|&(_, &o)| o == by).map(|(&c, _)| c);
                        owner.insert(free, by);
                        match former {
                            Some(former) if by != attempt => free = former,
                            _ => return true,
                        }
                    }
                }
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
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

    fn attempt(from: i64, until: i64, standing: Standing) -> Attempt {
        Attempt { from: at(from), until: at(until), user: Some("we".to_owned()), standing }
    }

    fn ids(verdicts: Vec<Verdict>) -> Vec<String> {
        let brief = |verdict| match verdict {
            Verdict::Started(Some(action)) => format!("started {}", action.id.unwrap_or_default()),
            Verdict::Started(None) => "started".to_owned(),
            Verdict::NotStarted => "not started".to_owned(),
            Verdict::Unknown => "unknown".to_owned(),
            Verdict::Later => "later".to_owned(),
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
        let over = |from, until| attempt(from, until, Standing::Over);
        for (attempts, actions, expected) in [
            (vec![over(0, 10)], vec![action(1, 5)], vec!["started 1"]),
            // Only one way is possible.
            (
                vec![over(0, 10), over(8, 20)],
                vec![action(1, 5), action(2, 9)],
                vec!["started 1", "started 2"],
            ),
            // Both ways are.
            (vec![over(0, 10), over(0, 10)], vec![action(1, 5), action(2, 6)], vec!["started", "started"]),
            (vec![over(0, 10), over(0, 10)], vec![action(1, 5)], vec!["unknown", "unknown"]),
            (vec![over(0, 10), over(40, 50)], vec![action(1, 5)], vec!["started 1", "not started"]),
            (vec![over(0, 10)], vec![action(1, 5), action(2, 6)], vec!["unknown"]),
            // Two started at once, and only one attempt can have.
            (
                vec![over(0, 10), over(40, 50)],
                vec![action(1, 5), action(2, 6)],
                vec!["unknown", "not started"],
            ),
            // Somebody else uses the user for this stack.
            (vec![over(0, 10)], vec![action(1, 5), action(2, 60)], vec!["unknown"]),
        ] {
            assert_eq!(ids(judge(&attempts, &actions).verdicts), expected, "{attempts:?} with {actions:?}");
        }
    }

    #[test]
    fn what_is_still_to_come_is_waited_for() {
        let open = attempt(0, 10, Standing::Open);
        let over = attempt(0, 10, Standing::Over);
        let flying = attempt(0, 99, Standing::InFlight);
        let given_up = attempt(0, 10, Standing::GivenUp);
        for (attempts, actions, expected) in [
            (vec![open.clone()], vec![], vec!["later"]),
            (vec![open.clone()], vec![action(1, 5)], vec!["started 1"]),
            (vec![over.clone(), open.clone()], vec![action(1, 5)], vec!["later", "later"]),
            (vec![over.clone(), flying.clone()], vec![action(1, 5)], vec!["later", "later"]),
            (vec![over.clone(), flying], vec![], vec!["not started", "later"]),
            (vec![over.clone(), given_up.clone()], vec![action(1, 5)], vec!["unknown", "unknown"]),
            (vec![over, given_up], vec![], vec!["not started", "unknown"]),
        ] {
            assert_eq!(ids(judge(&attempts, &actions).verdicts), expected, "{attempts:?} with {actions:?}");
        }
    }

    #[test]
    fn an_action_without_a_time_or_a_user_may_be_anybody_s() {
        let over = attempt(0, 10, Standing::Over);
        let timeless = Action { started_at: Some("soon".to_owned()), ..action(1, 5) };
        assert_eq!(ids(judge(std::slice::from_ref(&over), &[timeless]).verdicts), ["unknown"]);
        let nobody = Action { user: None, ..action(1, 5) };
        assert_eq!(ids(judge(std::slice::from_ref(&over), &[nobody]).verdicts), ["started 1"]);
        let theirs = Action { user: Some("they".to_owned()), ..action(1, 5) };
        assert_eq!(ids(judge(&[over], &[theirs]).verdicts), ["not started"]);
    }

    /// What really happened.
    #[derive(Clone, Debug)]
    struct Truth {
        attempts: Vec<Told>,
        /// Runs of others: the second, whether with our user, whether through the API.
        others: Vec<(i64, bool, bool)>,
        learned: bool,
        asked: i64,
    }

    /// An attempt: when it left, how long its answer was waited for, and when it started an action.
    #[derive(Clone, Debug)]
    struct Told {
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
            Told { left, waited, effect, standing }
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
                _ if ended >= truth.asked => Standing::InFlight,
                0 => {
                    known.extend(started.map(|(id, _)| id));
                    if told.effect.is_some() && started.is_none() {
                        return Err(TestCaseError::reject("no answer comes before the effect"));
                    }
                    continue;
                }
                1 if ended + SETTLES < truth.asked => Standing::GivenUp,
                _ if ended + SETTLES < truth.asked => Standing::Over,
                _ => Standing::Open,
            };
            let until = if standing == Standing::InFlight { i64::from(u32::MAX) } else { ended + SETTLES };
            let mut attempt = attempt(told.left, until, standing);
            attempt.user =
                if matches!(standing, Standing::Over | Standing::Open) { user.clone() } else { None };
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
        let verdicts = judge(&attempts, &candidates(actions, &known)).verdicts;
        for ((attempt, (effect, started)), verdict) in attempts.iter().zip(&effects).zip(&verdicts) {
            if matches!(attempt.standing, Standing::InFlight | Standing::GivenUp) {
                continue;
            }
            certain += usize::from(!matches!(verdict, Verdict::Unknown | Verdict::Later));
            match verdict {
                Verdict::NotStarted => prop_assert_eq!(*effect, None, "{:?} in {:?}", attempt, verdicts),
                Verdict::Started(_) if with_our_user => {}
                Verdict::Started(found) => {
                    prop_assert!(started.is_some(), "{:?} did not start: {:?}", attempt, verdicts);
                    if let Some(found) = found {
                        prop_assert_eq!(found.id, started.map(|(id, _)| id), "of {:?}", attempt);
                    }
                }
                Verdict::Unknown | Verdict::Later => {}
            }
        }
        let mut owned: Vec<_> = verdicts
            .iter()
            .filter_map(|verdict| match verdict {
                Verdict::Started(Some(action)) => action.id,
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
}
