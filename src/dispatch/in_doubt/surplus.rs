//! A second action of an occurrence that was sent again: the stack's list is read once more, and
//! tells.
//!
//! **Problem.** An attempt is taken to have had no effect two minutes after it left. An effect that
//! comes later than that is beyond the bound: the occurrence was sent again by then, and its job
//! runs twice. Nobody can prevent that, since the API knows no idempotency key, but whoever owns
//! the job has to hear of it.
//!
//! **Mechanism.** Once the second attempt has started an action, the list is read again two and ten
//! minutes later ([`READINGS`]), and whenever it is read for another reason. The second reading is
//! there for a front that hands over what it has queued when the API comes back; each costs one
//! request as a rule. An action counts as surplus that began before the reading and after the list
//! that did not show the first attempt's (after the first attempt, of an idempotent entry), was
//! started by the user of the first action, and can belong to no other attempt. Where that user
//! starts jobs of the stack at other times too, and the journal does not know of them, somebody
//! else uses the token: then nothing is said. What is to be read is in the journal, so that a
//! restart goes on with it.
//!
//! **Example.** Sent at 02:00:00 and not answered; taken not to have started at 02:02:00, and sent
//! again: action 7. At 02:03:10 a proxy hands over the first request: action 8. The list is read at
//! 02:04:00 and shows both: `occurrence.surplus` with `action_id` 8 and `first_action_id` 7.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;

use super::InDoubtAttempt;
use super::reconcile::Attempt;
use super::span::spread;
use crate::clock::{Mono, Now};
use crate::cloud66::{Action, ActionId};
use crate::dispatch::listing::Ahead;
use crate::dispatch::{Dispatch, Effect, Id, log};
use crate::journal::{Key, Resent, ResentWatch};
use crate::log::event::OccurrenceSurplus;
use crate::schedule::{AccountName, StackUid};

/// The list is read so long after the second attempt has started an action: as long as an attempt
/// is waited for, and once more for what an outage has held back.
const READINGS: [Duration; 2] = [Duration::from_secs(120), Duration::from_secs(600)];

/// A list that cannot be read is asked for until so long after the last reading was due.
const PATIENCE: Duration = Duration::from_secs(600);

/// An occurrence whose stack's list is read for a second action.
#[derive(Debug)]
pub(super) struct SurplusWatch {
    stack: StackUid,
    watch: ResentWatch,
    /// The action that a second attempt has started.
    first_action: ActionId,
    /// When the list is to be read.
    at: Mono,
    /// True for the last look.
    is_last: bool,
    /// The action that was told first.
    surplus: Option<ActionId>,
    /// All that were told.
    told: HashSet<ActionId>,
}

impl SurplusWatch {
    pub(super) fn is_of(&self, account: &AccountName, stack: &StackUid) -> bool {
        self.watch.account == *account && self.stack == *stack
    }

    pub(super) fn at(&self) -> Mono {
        self.at
    }

    /// Not earlier than that, by a clock that is so much ahead of ours, can a surplus action have
    /// begun.
    pub(super) fn from(&self, ahead: Option<Ahead>) -> Timestamp {
        spread(self.watch.from, self.watch.from, ahead).0
    }

    /// The span of a surplus action, and whose it is. `None` where nothing tells that.
    pub(super) fn attempt(
        &self,
        now: Now,
        ahead: Option<Ahead>,
        actions: &[Action],
        user: Option<&String>,
    ) -> Option<Attempt> {
        let first = actions.iter().find(|action| action.id == Some(self.first_action));
        let user = first.and_then(|action| action.user.as_ref()).or(user)?.clone();
        let (from, until) = spread(self.watch.from, now.wall, ahead);
        Some(Attempt::given_up(from, until, Some(user)))
    }

    pub(super) fn has_told(&self, action: ActionId) -> bool {
        self.told.contains(&action)
    }

    fn row(&self, key: &Key, watch: Option<ResentWatch>) -> Effect {
        let (key, stack, surplus) = (key.clone(), self.stack.clone(), self.surplus);
        Effect::Resent(Box::new(Resent { key, stack, surplus, watch }))
    }
}

/// Returns the candidates that are surplus, with the number of the watched occurrence of each.
/// `watched` gives the span and the user of each, `rivals` are all other attempts on the stack.
pub(super) fn surplus(
    watched: &[Attempt],
    rivals: &[Attempt],
    candidates: &[Action],
) -> Vec<(usize, ActionId)> {
    let timed = |action: &&Action| action.started().is_some() && action.user.is_some();
    let left: Vec<&Action> = (candidates.iter().filter(timed))
        .filter(|action| !rivals.iter().any(|rival| rival.may_own(action)))
        .collect();
    let is_strange = |action: &&&Action| {
        watched.iter().any(|one| one.is_of_user(action)) && !watched.iter().any(|one| one.may_own(action))
    };
    if left.iter().any(|action| is_strange(&action)) {
        return Vec::new();
    }
    let mut found: Vec<(usize, ActionId)> = Vec::new();
    for action in left {
        // Actions are given to occurrences in the order of sending: the earliest action to the
        // earliest occurrence.
        let fitting = || (0..watched.len()).filter(|&one| watched[one].may_own(action));
        let without = fitting().find(|one| found.iter().all(|(other, _)| other != one));
        found.extend(without.or_else(|| fitting().next()).zip(action.id));
    }
    found
}

impl Dispatch {
    /// An occurrence is sent again although an attempt may still take effect: because nothing shows
    /// that it did, or because its entry is idempotent. A second action began at `from` at the
    /// earliest.
    pub(super) fn is_sent_again(
        &mut self,
        id: Id,
        doubt: &InDoubtAttempt,
        from: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(pending) = self.occurrences.get_mut(id) else {
            return;
        };
        let from = pending.history.surplus_from.map_or(from, |first| first.min(from));
        pending.history.surplus_from = Some(from);
        let watch = ResentWatch { account: doubt.account.clone(), from, first_action: None, until: None };
        let (key, stack) = (pending.key(), doubt.stack.clone());
        effects.push(Effect::Resent(Box::new(Resent { key, stack, surplus: None, watch: Some(watch) })));
    }

    /// An occurrence that was sent again has started an action.
    pub(in crate::dispatch) fn watches_for_surplus(
        &mut self,
        id: Id,
        first_action: ActionId,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some((pending, from)) =
            self.occurrences.get(id).and_then(|pending| Some((pending, pending.history.surplus_from?)))
        else {
            return;
        };
        let [first, last] = READINGS;
        let until = now.wall.checked_add(last).ok();
        let account = pending.entry.account.name.clone();
        let (key, stack) = (pending.key(), pending.entry.stack.clone());
        let watch = ResentWatch { account, from, first_action: Some(first_action), until };
        let at = now.mono + first;
        self.watches(key, stack, watch, first_action, (at, false), effects);
    }

    fn watches(
        &mut self,
        key: Key,
        stack: StackUid,
        watch: ResentWatch,
        first_action: ActionId,
        (at, is_last): (Mono, bool),
        effects: &mut Vec<Effect>,
    ) {
        let told = HashSet::new();
        let watched = SurplusWatch { stack, watch, first_action, at, is_last, surplus: None, told };
        effects.push(watched.row(&key, Some(watched.watch.clone())));
        self.doubts.ask_at(&watched.watch.account, &watched.stack, at);
        self.doubts.resent.insert(key, watched);
    }

    /// Goes on with what a former process has sent again. An account that the schedule has no more
    /// cannot be asked.
    pub(in crate::dispatch) fn recover_resent(
        &mut self,
        resent: Vec<Resent>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        for Resent { key, stack, surplus, watch } in resent {
            let Some(watch) = watch.filter(|watch| self.accounts.contains_key(&watch.account)) else {
                continue;
            };
            match (watch.first_action, watch.until) {
                (Some(first_action), Some(until)) => {
                    let left = now.until(until);
                    let between = READINGS[1].saturating_sub(READINGS[0]);
                    let next = match left.checked_sub(between) {
                        Some(first) if !first.is_zero() => (now.mono + first, false),
                        _ => (now.mono + left, true),
                    };
                    self.watches(key.clone(), stack, watch, first_action, next, effects);
                    if let Some(watched) = self.doubts.resent.get_mut(&key) {
                        watched.surplus = surplus;
                        watched.told.extend(surplus);
                    }
                }
                _ => match self.occurrences.id_of(&key).and_then(|id| self.occurrences.get_mut(id)) {
                    Some(pending) => pending.history.surplus_from = Some(watch.from),
                    // It has come to an end that is no start.
                    None => {
                        effects.push(Effect::Resent(Box::new(Resent { key, stack, surplus, watch: None })))
                    }
                },
            }
        }
    }

    #[cfg(test)]
    /// Returns the number of occurrences that are watched for a second action.
    pub(crate) fn watched_for_surplus(&self) -> usize {
        self.doubts.resent.len()
    }

    /// Tells of surplus actions.
    pub(super) fn tell_surplus(&mut self, found: Vec<(Key, ActionId)>, effects: &mut Vec<Effect>) {
        for (key, action_id) in found {
            let Some(watched) = self.doubts.resent.get_mut(&key) else {
                continue;
            };
            watched.told.insert(action_id);
            watched.surplus.get_or_insert(action_id);
            let (entry, scheduled_at) = (key.entry().clone(), key.scheduled_at());
            let first_action_id = watched.first_action;
            let pass = key.pass().into();
            effects.push(log(OccurrenceSurplus { entry, scheduled_at, pass, action_id, first_action_id }));
            effects.push(watched.row(&key, Some(watched.watch.clone())));
        }
    }

    /// The list was read for a stack, as it was at `since`: who was to be read for by then waits
    /// for the next time, if there is one.
    pub(super) fn was_read(
        &mut self,
        (account, stack): &(AccountName, StackUid),
        since: Mono,
        effects: &mut Vec<Effect>,
    ) {
        let between = READINGS[1].saturating_sub(READINGS[0]);
        self.doubts.resent.retain(|key, watched| {
            if !watched.is_of(account, stack) || watched.at > since {
                return true;
            }
            if watched.is_last {
                effects.push(watched.row(key, None));
                return false;
            }
            (watched.at, watched.is_last) = (watched.at + between, true);
            true
        });
    }

    /// The list cannot be read: nobody asks for ever.
    pub(super) fn gives_up_reading(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.doubts.resent.retain(|key, watched| {
            let lasts = watched.at + PATIENCE > now.mono;
            if !lasts {
                effects.push(watched.row(key, None));
            }
            lasts
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a timestamp")
    }

    fn action(id: ActionId, second: i64, user: &str) -> Action {
        Action {
            id: Some(id),
            user: Some(user.to_owned()),
            started_at: Some(at(second).to_string()),
            ..Action::default()
        }
    }

    fn span(from: i64, until: i64, user: &str) -> Attempt {
        Attempt::given_up(at(from), at(until), Some(user.to_owned()))
    }

    #[test]
    fn what_no_other_attempt_can_have_started_is_surplus() {
        let watched = |from| span(from, 300, "we");
        for (name, watches, rivals, actions, expected) in [
            ("nothing", vec![watched(0)], vec![], vec![], vec![]),
            ("one", vec![watched(0)], vec![], vec![action(8, 190, "we")], vec![(0, 8)]),
            ("another user's", vec![watched(0)], vec![], vec![action(8, 190, "they")], vec![]),
            (
                "another attempt's, perhaps",
                vec![watched(0)],
                vec![span(150, 270, "we")],
                vec![action(8, 190, "we")],
                vec![],
            ),
            ("before the first attempt", vec![watched(100)], vec![], vec![action(8, 40, "we")], vec![]),
            (
                "somebody shares the user",
                vec![watched(100)],
                vec![],
                vec![action(8, 40, "we"), action(9, 190, "we")],
                vec![],
            ),
            (
                "two, in the order of sending",
                vec![watched(0), watched(5)],
                vec![],
                vec![action(8, 190, "we"), action(9, 191, "we")],
                vec![(0, 8), (1, 9)],
            ),
            ("one for two", vec![watched(0), watched(5)], vec![], vec![action(8, 190, "we")], vec![(0, 8)]),
        ] {
            assert_eq!(surplus(&watches, &rivals, &actions), expected, "{name}");
        }
    }
}
