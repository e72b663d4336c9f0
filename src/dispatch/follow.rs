//! When actions are asked for until they have finished, and which of them together.
//!
//! One page of a stack's list tells of up to thirty actions at the price of one. So what is due or
//! soon due of one stack is asked for together. What is not on the page is looked for on another,
//! or alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::linked_key::LinkedKey;
use super::listing;
use crate::clock::{Mono, Now};
use crate::cloud66::{Action, ActionId, ActionsPage};
use crate::schedule::{Entry, StackUid};

/// The first question comes this long after the start.
const FIRST: Duration = Duration::from_secs(2);

/// Intervals grow to this one while there is room: a job of an hour is asked for some sixty times.
const LONGEST: Duration = Duration::from_secs(60);

/// An action that has not finished by then is not asked for any more.
const GIVEN_UP: Duration = Duration::from_secs(24 * 60 * 60);

/// An action that is asked for until it has finished.
#[derive(Clone, Debug)]
pub(super) struct Following {
    pub(super) entry: Arc<Entry>,
    /// The occurrence that started it.
    pub(super) ending: LinkedKey,
    pub(super) action: ActionId,
    pub(super) sent_at: Timestamp,
    since: Mono,
    interval: Duration,
    place: ActionPlace,
    /// The page that it is to be asked for on, while it waits.
    page: Option<u32>,
    /// It was told that the action runs longer than its entry expects.
    pub(super) told_slow: bool,
}

/// Where an action is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ActionPlace {
    /// Where its stack's newest are.
    Newest,
    /// On this page of its stack's list: it was not where the newest are.
    On(u32),
    /// Not in the list this time, which could not be read.
    AloneOnce,
    /// Not in the list: it was not there.
    Alone,
}

/// The next question about an action.
#[derive(Debug)]
pub(super) enum FollowQuestion {
    /// For one action.
    One(Following),
    /// For this page of a stack's list, where these should be.
    Page(StackUid, u32, Vec<Following>),
}

/// The state of one action that was looked for on a page.
#[derive(Debug)]
pub(super) enum FoundAction {
    /// This.
    There(Following, Box<Action>),
    /// Nothing: it is to be looked for elsewhere, at once.
    Elsewhere(Following),
}

impl Following {
    pub(super) fn new(
        entry: Arc<Entry>,
        ending: LinkedKey,
        action: ActionId,
        sent_at: Timestamp,
        now: Now,
    ) -> Following {
        Following {
            entry,
            ending,
            action,
            sent_at,
            since: now.mono,
            interval: FIRST,
            place: ActionPlace::Newest,
            page: None,
            told_slow: false,
        }
    }

    /// Returns how long the action may run, and how long it has run. `None`: it may run on, or it
    /// was told that it runs too long.
    pub(super) fn runs_over(&self, now: Now) -> Option<(Duration, SignedDuration)> {
        let within =
            self.entry.expect.as_ref().and_then(|expect| expect.within).filter(|_| !self.told_slow)?;
        Some((within, now.wall.duration_since(self.sent_at)))
    }

    /// Until the action has run for longer than its entry expects. `None`: that instant is past, or
    /// does not come.
    fn slow_in(&self, now: Now) -> Option<Duration> {
        let (within, ran) = self.runs_over(now)?;
        let left = SignedDuration::try_from(within).ok()?.checked_sub(ran)?;
        Duration::try_from(left).ok().filter(|left| !left.is_zero())
    }

    /// Returns true when the action has run for so long that nobody waits for it.
    pub(super) fn given_up(&self, now: Now) -> bool {
        now.mono.saturating_sub(self.since) >= GIVEN_UP
    }
}

/// The share of the quota that is left to follow-up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// The quota's interval.
    pub(super) window: Duration,
    /// Questions in one window.
    pub(super) questions: u32,
}

/// The actions of one account, by the instant of the next question.
#[derive(Debug, Default)]
pub(super) struct Follow {
    /// The number keeps apart what is due at one instant, whatever ids the API gives.
    next: BTreeMap<(Mono, u64), Following>,
    /// Those of them that are looked for in a list, by stack and page.
    listed: HashMap<(StackUid, u32), BTreeSet<(Mono, u64)>>,
    /// The page of a stack's list that has the newest, where it is not the first.
    newest: HashMap<StackUid, u32>,
    last: u64,
}

impl Follow {
    /// Asks again after the action's interval, which grows by half each time: to a minute, or to
    /// what is fair where `room` is short for all open actions.
    pub(super) fn again(&mut self, mut following: Following, room: Room, now: Now) {
        let open = u32::try_from(self.next.len() + 1).unwrap_or(u32::MAX);
        let fair = room.window.saturating_mul(open) / room.questions.max(1);
        // An action that runs too long is told of when it does, and so is asked for then.
        let wait = following.slow_in(now).map_or(following.interval, |left| left.min(following.interval));
        let at = now.mono + wait;
        following.interval = (following.interval * 3 / 2).min(LONGEST.max(fair));
        self.insert(at, following);
    }

    /// Asks now for what was not where it was looked for.
    pub(super) fn at_once(&mut self, following: Following, now: Now) {
        self.insert(now.mono, following);
    }

    fn insert(&mut self, at: Mono, mut following: Following) {
        self.last += 1;
        following.page = self.page_of(&following);
        if let Some(page) = following.page {
            let stack = following.entry.stack.clone();
            self.listed.entry((stack, page)).or_default().insert((at, self.last));
        }
        self.next.insert((at, self.last), following);
    }

    fn page_of(&self, following: &Following) -> Option<u32> {
        match following.place {
            ActionPlace::Newest => Some(self.newest.get(&following.entry.stack).copied().unwrap_or(1)),
            ActionPlace::On(page) => Some(page),
            ActionPlace::AloneOnce | ActionPlace::Alone => None,
        }
    }

    /// When the next question is due.
    pub(super) fn next_at(&self) -> Option<Mono> {
        self.next.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Returns the number of unfinished actions.
    pub(super) fn len(&self) -> usize {
        self.next.len()
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = &Following> {
        self.next.values()
    }

    pub(super) fn due(&self, now: Now) -> bool {
        self.next_at().is_some_and(|at| at <= now.mono)
    }

    /// Takes out what is to be asked for now: the first one, and with it what can be asked for at
    /// the same price.
    pub(super) fn take(&mut self, now: Now) -> Option<FollowQuestion> {
        let (key, mut first) = self.next.pop_first()?;
        let Some(page) = first.page else {
            if first.place == ActionPlace::AloneOnce {
                first.place = ActionPlace::Newest;
            }
            return Some(FollowQuestion::One(first));
        };
        let place = (first.entry.stack.clone(), page);
        let mut keys = self.listed.remove(&place).unwrap_or_default();
        keys.remove(&key);
        let mut together = vec![first];
        // In the order of time; a little early is soon enough.
        while let Some(&next) = keys.first()
            && self.next.get(&next).is_some_and(|other| next.0 <= now.mono + other.interval / 2)
        {
            keys.pop_first();
            together.extend(self.next.remove(&next));
        }
        if !keys.is_empty() {
            self.listed.insert(place.clone(), keys);
        }
        match together.len() {
            1 => together.pop().map(FollowQuestion::One),
            _ => Some(FollowQuestion::Page(place.0, page, together)),
        }
    }

    /// Looks for actions on a page. The page tells where to look for those that are not on it.
    pub(super) fn find(
        &mut self,
        number: u32,
        page: ActionsPage,
        sought: Vec<Following>,
    ) -> Vec<FoundAction> {
        let last = page.pages.filter(|&last| last > number);
        // Where the oldest come first the newest are on the last page.
        let newest_last = listing::goes_up(&page.actions);
        let next = if newest_last { last.or(page.next) } else { page.next };
        if newest_last && let (Some(page), Some(first)) = (next, sought.first()) {
            self.newest.insert(first.entry.stack.clone(), page);
        }
        let mut actions: HashMap<ActionId, Action> =
            page.actions.into_iter().filter_map(|action| Some((action.id?, action))).collect();
        let find = |mut following: Following| match actions.remove(&following.action) {
            Some(action) => FoundAction::There(following, Box::new(action)),
            None => {
                following.place = match (following.place, next) {
                    (ActionPlace::Newest, Some(_)) if newest_last => ActionPlace::Newest,
                    (ActionPlace::Newest, Some(next)) => ActionPlace::On(next),
                    // One more page costs as much as one question.
                    _ => ActionPlace::Alone,
                };
                FoundAction::Elsewhere(following)
            }
        };
        sought.into_iter().map(find).collect()
    }
}

impl Following {
    /// The list could not be read: the next question is for it alone.
    pub(super) fn alone_once(mut self) -> Following {
        self.place = ActionPlace::AloneOnce;
        self
    }
}
