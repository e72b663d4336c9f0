//! When actions are asked for until they have finished.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::{Mono, Now};
use crate::cloud66::ActionId;
use crate::journal::Key;
use crate::schedule::Entry;

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
    pub(super) scheduled_at: Timestamp,
    pub(super) action: ActionId,
    pub(super) sent_at: Timestamp,
    since: Mono,
    interval: Duration,
}

impl Following {
    pub(super) fn new(
        entry: Arc<Entry>,
        scheduled_at: Timestamp,
        action: ActionId,
        sent_at: Timestamp,
        now: Now,
    ) -> Following {
        Following { entry, scheduled_at, action, sent_at, since: now.mono, interval: FIRST }
    }

    /// The occurrence that started it.
    pub(super) fn key(&self) -> Key {
        Key::new(self.entry.name.clone(), self.scheduled_at)
    }

    /// Whether it has run for so long that nobody waits for it.
    pub(super) fn given_up(&self, now: Now) -> bool {
        now.mono.saturating_sub(self.since) >= GIVEN_UP
    }
}

/// What the quota leaves to follow-up.
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
    last: u64,
}

impl Follow {
    /// Asks again after the action's interval, which grows by half each time: to a minute, or to what is fair
    /// where `room` is short for all open actions.
    pub(super) fn again(&mut self, mut following: Following, room: Room, now: Now) {
        let open = u32::try_from(self.next.len() + 1).unwrap_or(u32::MAX);
        let fair = room.window.saturating_mul(open) / room.questions.max(1);
        let at = now.mono + following.interval;
        following.interval = (following.interval * 3 / 2).min(LONGEST.max(fair));
        self.last += 1;
        self.next.insert((at, self.last), following);
    }

    /// When the next question is due.
    pub(super) fn next_at(&self) -> Option<Mono> {
        self.next.first_key_value().map(|(&(at, _), _)| at)
    }

    /// How many actions have not finished.
    pub(super) fn len(&self) -> usize {
        self.next.len()
    }

    pub(super) fn due(&self, now: Now) -> bool {
        self.next_at().is_some_and(|at| at <= now.mono)
    }

    /// Takes the first one out, to be asked for now.
    pub(super) fn take(&mut self) -> Option<Following> {
        self.next.pop_first().map(|(_, following)| following)
    }
}
