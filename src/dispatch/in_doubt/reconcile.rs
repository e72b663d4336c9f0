//! Of attempts in doubt and a stack's actions: which attempt has started one, and which has not.
//!
//! An action does not name its job, and others start jobs of the same stack. So an attempt may have
//! started any action that nobody is known to have started, of the same user, in the time in which
//! it can have taken effect. The verdict is what holds in every case that can be:
//!
//! - there is no such action, and it is too late for one to come: not started;
//! - of a group of attempts that compete for the same actions, there are as many as actions, each
//!   can have one that began soon after it left, and nobody else is seen to use the same user for
//!   the stack: all have started. Which action is whose is said where only one way is possible,
//!   also among the attempts of one entry: requests overtake each other;
//! - otherwise nothing can tell.
//!
//! It rests on this: an attempt took effect within its span by the API's clock or not at all; a
//! former process's clock was right, or as far from the API's as ours is, and that of another
//! member within a minute of the API's; and an action of another user is not ours, once an answer
//! has told who the token's user is, until the next reload. Not started needs nothing else.
//!
//! Started also supposes what the list cannot show: that nobody starts a job of this stack with the
//! same user in the very minutes of an attempt that never arrived. Who does so at other times is
//! seen, as far back as the list goes, and remembered for a day; then nothing can tell by the list.
//! The record of the job may contradict it (`evidence.rs`).
//!
//! An attempt's span may be hours long: its machine slept, or the clock was wrong by hours when its
//! process was killed, and nothing tells from when on it was. An action in the midst of it keeps
//! the attempt from being sent again, and does not show that it started. Example: due at 02:00, the
//! clock is five hours fast at the next start, at 02:05 by the API. The attempt left at 02:00 or at
//! 21:00. Somebody's run of 23:30 is in its span, and near neither.

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
    /// The parts of that span soon after it left, by each clock that it may have left by. An action
    /// in one of them shows that the attempt started it, where nobody else can have.
    pub(super) near: Vec<(Timestamp, Timestamp)>,
    /// The user whose actions the token starts, where that is known for sure.
    pub(super) user: Option<String>,
    pub(super) standing: StillPossible,
}

/// The events that are still possible for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StillPossible {
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

/// The verdict on an attempt in doubt.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum AttemptVerdict {
    /// It started an action; this one, where it can be told from the others.
    Started(Option<Box<Action>>),
    /// It started none, and will not.
    NotStarted,
    /// Nothing can tell.
    Unknown,
    /// Ask again: something is still to come.
    Later,
}

/// The verdicts that a list of actions gives on all attempts of its stack.
#[derive(Debug)]
pub(super) struct Judgement {
    /// One verdict for each attempt, in their order.
    pub(super) verdicts: Vec<AttemptVerdict>,
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
/// that is [`StillPossible::Over`] was so. `is_shared`: somebody else was seen to start jobs of the
/// stack with our user, in a list before.
pub(super) fn judge(attempts: &[Attempt], candidates: &[Action], is_shared: bool) -> Judgement {
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
    let mut verdicts: Vec<Option<AttemptVerdict>> = vec![None; attempts.len()];
    let mut owned = Vec::new();
    for first in 0..attempts.len() {
        if verdicts[first].is_some() {
            continue;
        }
        let group = group(first, &fits, &owners);
        let started =
            if strangers || is_shared { None } else { all_started(&group, attempts, candidates, &fits) };
        if started.is_some() {
            owned.extend(group.candidates.iter().filter_map(|&candidate| candidates[candidate].id));
        }
        for (place, &attempt) in group.attempts.iter().enumerate() {
            verdicts[attempt] = Some(match &started {
                Some(owned) => AttemptVerdict::Started(owned[place].map(|c| Box::new(candidates[c].clone()))),
                None => alone(attempt, attempts, &fits, &owners),
            });
        }
    }
    let verdicts = verdicts.into_iter().map(|verdict| verdict.unwrap_or(AttemptVerdict::Later)).collect();
    Judgement { verdicts, owned, is_user_shared: strangers }
}

impl Attempt {
    /// One of which nobody asks any more what became of it.
    pub(super) fn given_up(from: Timestamp, until: Timestamp, user: Option<String>) -> Attempt {
        Attempt::given_up_near(vec![(from, until)], user)
    }

    /// One of which nobody asks any more what became of it, and which took effect in one of these
    /// spans, or between them.
    pub(super) fn given_up_near(near: Vec<(Timestamp, Timestamp)>, user: Option<String>) -> Attempt {
        let from = near.iter().map(|&(from, _)| from).min().unwrap_or(Timestamp::MIN);
        let until = near.iter().map(|&(_, until)| until).max().unwrap_or(Timestamp::MAX);
        Attempt { from, until, near, user, standing: StillPossible::GivenUp }
    }

    pub(super) fn may_own(&self, action: &Action) -> bool {
        action.started().is_none_or(|at| is_within(at, (self.from, self.until))) && self.is_of_user(action)
    }

    /// Returns true when an action that the attempt may own began soon after the attempt left.
    pub(super) fn is_shown_by(&self, action: &Action) -> bool {
        let is_near = |at| self.near.iter().any(|&span| is_within(at, span));
        self.may_own(action) && action.started().is_some_and(is_near)
    }

    pub(super) fn is_of_user(&self, action: &Action) -> bool {
        match (&self.user, &action.user) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        }
    }
}

/// Returns true when an instant that is cut to whole seconds is in a span.
fn is_within(at: Timestamp, (from, until): (Timestamp, Timestamp)) -> bool {
    at >= from.checked_sub(CUT_OFF).unwrap_or(Timestamp::MIN) && at <= until
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
fn alone(attempt: usize, attempts: &[Attempt], fits: &[Vec<usize>], owners: &[Vec<usize>]) -> AttemptVerdict {
    if attempts[attempt].standing == StillPossible::GivenUp {
        return AttemptVerdict::Unknown;
    }
    let over = attempts[attempt].standing == StillPossible::Over;
    if fits[attempt].is_empty() {
        return if over { AttemptVerdict::NotStarted } else { AttemptVerdict::Later };
    }
    let rivals = fits[attempt].iter().flat_map(|&candidate| &owners[candidate]);
    let mut rivals = rivals.map(|&rival| attempts[rival].standing);
    match over && rivals.all(|standing| matches!(standing, StillPossible::Over | StillPossible::GivenUp)) {
        true => AttemptVerdict::Unknown,
        false => AttemptVerdict::Later,
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
    let in_flight = |&attempt: &usize| attempts[attempt].standing == StillPossible::InFlight;
    if group.candidates.is_empty()
        || group.attempts.len() != group.candidates.len()
        || group.attempts.iter().any(in_flight)
        || group.candidates.iter().any(|&c| candidates[c].started().is_none() || candidates[c].id.is_none())
        // Where the user is not known of each, an action of another may be nobody's of these.
        || !group.candidates.iter().all(|&c| group.attempts.iter().all(|&a| attempts[a].is_of_user(&candidates[c])))
        || !can_be_matched(group, attempts, candidates, fits)
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

/// Returns true when each attempt of a group can have one of the candidates that show it for
/// itself.
fn can_be_matched(group: &Group, attempts: &[Attempt], candidates: &[Action], fits: &[Vec<usize>]) -> bool {
    let mut shown = vec![Vec::new(); attempts.len()];
    for &attempt in &group.attempts {
        let of_attempt = fits[attempt].iter().copied();
        shown[attempt] = of_attempt.filter(|&c| attempts[attempt].is_shown_by(&candidates[c])).collect();
    }
    let mut owner = std::collections::HashMap::new();
    group.attempts.iter().all(|&attempt| place(attempt, &shown, &mut owner))
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
mod tests;
