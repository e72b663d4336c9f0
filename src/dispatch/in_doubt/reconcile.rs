//! Judges the attempts in doubt on a stack by the stack's actions: which attempts have started an
//! action, and which have not.
//!
//! **Problem.** An action does not name its job, and other people start jobs of the same stack. An
//! attempt may have started any action of its token's user that began while the attempt could take
//! effect (its *span*), unless somebody else is known to have started that action.
//!
//! **Mechanism.** Actions that nobody is known to have started are *candidates*. Attempts that can
//! own a candidate in common form a *group*. A verdict is given where it holds in every case that
//! is possible:
//!
//! - `NotStarted`: the attempt can own no candidate, and it is too late for its action to appear.
//! - `Started`, of all attempts of a group: the group has as many candidates as attempts, each
//!   attempt can have a candidate of its own that began soon after the attempt left, and nobody
//!   else is seen to start jobs of the stack with our user. The verdict names the action of an
//!   attempt where only one assignment is possible. Requests overtake each other, so this holds
//!   among the attempts of one entry too.
//! - `Unknown` otherwise, or `Later` while an action may still appear.
//!
//! Every verdict supposes three things. An attempt takes effect within its span by the API's clock,
//! or never. The clock of a former process was right, or as wrong as ours is, and the clock of
//! another member is within a minute of the API's. Once an answer has told who the token's user is,
//! another user's action is not ours; a reload makes the user unknown again.
//!
//! `Started` supposes a fourth thing, which no list shows: nobody starts a job of this stack with
//! our user in the very minutes of an attempt that never arrived. A person who does so at other
//! times is seen, as far back as the list goes, and remembered for a day; meanwhile no list leads
//! to `Started`. The record of the job may contradict the list (`evidence.rs`).
//!
//! **Long spans.** The span of an attempt is hours long where its machine slept, or where its
//! process was killed while the clock was wrong by hours, because nothing tells since when the
//! clock was wrong. A candidate in the midst of such a span keeps the attempt from being sent
//! again, and does not show that it started.
//!
//! **Example.** An occurrence is due at 02:00. At the next start the API's clock shows 02:05, and
//! ours is five hours fast. So the attempt left at 02:00, or at 21:00 the day before. A run of
//! 23:30 is in its span, and soon after neither: the verdict is `Unknown`.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use crate::cloud66::{Action, ActionId};

/// The API cuts the instants of actions to whole seconds, so that an action may seem to have begun
/// this much before it did.
pub(super) const CUT_OFF: SignedDuration = SignedDuration::from_secs(1);

/// An attempt of which no answer tells whether it started an action.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// Begin of the span in which the attempt can have taken effect, by the API's clock.
    pub(super) from: Timestamp,
    /// End of that span.
    pub(super) until: Timestamp,
    /// The parts of the span soon after the attempt left, one for each clock that it may have left
    /// by. An action in one of them shows that the attempt started, where nobody else can have
    /// started that action.
    pub(super) near: Vec<(Timestamp, Timestamp)>,
    /// The user of the token. `None`: no answer has told who that is.
    pub(super) user: Option<String>,
    pub(super) standing: StillPossible,
}

/// The events that are still possible for an attempt. An attempt that is `InFlight` or `Open` may
/// start an action that is in no list yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StillPossible {
    /// Its answer may still come.
    InFlight,
    /// In doubt, and it may still take effect.
    Open,
    /// In doubt, and too late to take effect.
    Over,
    /// No longer asked about, because nothing could tell whether the attempt started an action, or
    /// which one. It still competes for the actions that it may have started.
    GivenUp,
}

/// The verdict on an attempt in doubt.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum AttemptVerdict {
    /// The attempt started an action. `None`: which one of several is not certain.
    Started(Option<Box<Action>>),
    /// The attempt started no action, and cannot start one any more.
    NotStarted,
    /// No later list will tell whether the attempt started an action.
    Unknown,
    /// A later list may tell: an action or an answer may still come.
    Later,
}

/// The verdicts that a list of actions gives on all attempts of its stack.
#[derive(Debug)]
pub(super) struct Judgement {
    /// One verdict for each attempt, in their order.
    pub(super) verdicts: Vec<AttemptVerdict>,
    /// Actions of the groups in which all attempts have started, even where it is not certain which
    /// attempt started which action. No other attempt can own one of them.
    pub(super) owned: Vec<ActionId>,
    /// Somebody else is seen to start jobs of the stack with our user: a candidate began when none
    /// of our attempts can have started it.
    pub(super) is_user_shared: bool,
}

/// Returns the actions that an attempt of ours may have started, the earliest first: runs of jobs
/// through the API that are not `known` to belong to an occurrence. An action whose kind cannot be
/// read is kept, because it may be such a run.
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

/// Judges each attempt. The list with the candidates must have been read after every attempt that
/// is [`StillPossible::Over`] had come to that. `is_shared`: an earlier list has shown that
/// somebody else starts jobs of the stack with our user.
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
    // A candidate that none of our attempts can own: somebody else starts jobs of this stack, and
    // nothing tells which of the candidates are theirs.
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
    /// Returns an attempt that is no longer asked about.
    pub(super) fn given_up(from: Timestamp, until: Timestamp, user: Option<String>) -> Attempt {
        Attempt::given_up_near(vec![(from, until)], user)
    }

    /// Returns an attempt that is no longer asked about, and that took effect in one of these spans
    /// or between them.
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

/// Returns the verdict on an attempt whose group is not known to have started as a whole.
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

/// Returns the candidate of each attempt of a group in which each attempt must have started one: an
/// inner `None` where it is not certain which. `None` when it is not certain that all have started.
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
        // A candidate of another user than some attempt's may belong to none of the group.
        || !group.candidates.iter().all(|&c| group.attempts.iter().all(|&a| attempts[a].is_of_user(&candidates[c])))
        || !can_be_matched(group, attempts, candidates, fits)
    {
        return None;
    }
    // An attempt that can own only one of the candidates that are left owns that candidate.
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

/// Finds a candidate for an attempt. Attempts that have one may be given another in exchange (an
/// augmenting path of bipartite matching). Returns false when no exchange leaves one over.
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
