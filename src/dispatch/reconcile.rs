//! Of attempts in doubt and a stack's actions: which attempt has started one, and which has not.
//!
//! An action does not name its job, and others start jobs of the same stack. So an attempt may have started any action
//! that nobody is known to have started, of the same user, in the time in which it can have taken effect. The verdict is
//! what holds in every case that can be:
//!
//! - there is no such action, and it is too late for one to come: not started;
//! - of a group of attempts that compete for the same actions, there are as many as actions, and nobody else is seen to
//!   use the same user for the stack: all have started. Which action is whose is said where only one way is possible, or
//!   where the attempts are of one entry, so that it makes no difference;
//! - otherwise nothing can tell.
//!
//! What cannot be seen: somebody who starts a job of this stack with the same user, in these very seconds and at no other
//! time near, while ours never arrived. It is taken for ours.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use crate::cloud66::{Action, ActionId};
use crate::schedule::EntryName;

/// Instants are whole seconds, cut off.
const CUT_OFF: SignedDuration = SignedDuration::from_secs(1);

/// An attempt that may have started an action that is not known.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) entry: EntryName,
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
    /// Nothing could tell, and nobody asks any more. It may own one of the actions.
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

/// The actions that an attempt of ours may have started: runs of jobs through the API that nobody is known to have
/// started. What cannot be read is kept, since it may be one.
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

/// Judges each attempt. The candidates are of a list that was read as it was not before any attempt that is
/// [`Standing::Over`] was so.
pub(super) fn judge(attempts: &[Attempt], candidates: &[Action]) -> Vec<Verdict> {
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
    for first in 0..attempts.len() {
        if verdicts[first].is_some() {
            continue;
        }
        let group = group(first, &fits, &owners);
        let started = if strangers { None } else { all_started(&group, attempts, candidates, &fits) };
        for (place, &attempt) in group.attempts.iter().enumerate() {
            verdicts[attempt] = Some(match &started {
                Some(owned) => Verdict::Started(owned[place].map(|c| Box::new(candidates[c].clone()))),
                None => alone(attempt, attempts, &fits, &owners),
            });
        }
    }
    verdicts.into_iter().map(|verdict| verdict.unwrap_or(Verdict::Later)).collect()
}

impl Attempt {
    fn may_own(&self, action: &Action) -> bool {
        let in_time = action.started().is_none_or(|at| {
            at >= self.from.checked_sub(CUT_OFF).unwrap_or(Timestamp::MIN) && at <= self.until
        });
        in_time && self.is_of_user(action)
    }

    fn is_of_user(&self, action: &Action) -> bool {
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

/// The candidate of each attempt of a group, when each must have started one. `None` when that is not certain.
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
    let mut open: Vec<usize> = (0..owned.len()).filter(|&place| owned[place].is_none()).collect();
    let of = |place: usize| &attempts[group.attempts[place]];
    let one_entry = open.windows(2).all(|pair| of(pair[0]).entry == of(pair[1]).entry);
    open.sort_by_key(|&place| (of(place).from, place));
    let mut rest: Vec<usize> = left.into_iter().collect();
    // They are in the order of time.
    rest.sort_unstable();
    let in_order = || open.iter().zip(&rest);
    if one_entry && in_order().all(|(&place, candidate)| fits[group.attempts[place]].contains(candidate)) {
        for (&place, &candidate) in in_order() {
            owned[place] = Some(candidate);
        }
    }
    Some(owned)
}

/// Whether each attempt of a group can have one of the candidates for itself.
fn can_be_matched(group: &Group, fits: &[Vec<usize>]) -> bool {
    let mut owner = std::collections::HashMap::new();
    group.attempts.iter().all(|&attempt| place(attempt, fits, &mut owner))
}

/// Finds a candidate for an attempt; those that have one may have to take another (an augmenting path).
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
