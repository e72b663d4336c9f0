//! The daemon in virtual time: the same sweep, dispatch and quota, against the sandbox's state in this process.
//!
//! There is no runtime, no socket and no clock. Time jumps from one instant at which something happens to the next,
//! so that a week takes as long as what happens in it. All chance is drawn from one seed: the same schedule under the
//! same conditions gives the same happenings.

mod conditions;
mod forecast;
mod load;
mod network;
mod others;
mod suggest;
mod summary;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

pub use conditions::{ConditionError, Conditions, Latency};
pub use forecast::{AccountForecast, Forecast, Troubled, WindowForecast};
pub use load::{Busiest, busiest};
pub use others::Others;
pub use suggest::{Move, Peak, Suggestion, suggest};
pub use summary::Summary;

use crate::clock::Now;
use crate::daemon::Sweep;
use crate::dispatch::{Dispatch, Effect};
use crate::log::Event;
use crate::quota::{self, Purpose};
use crate::sandbox;
use crate::schedule::{AccountName, Schedule};

use network::{Arrived, Network};

/// A timer that is asked for at once fires a little later, as the daemon's does.
const TIMER: Duration = Duration::from_millis(1);

/// A daemon that fires the occurrences of a span of time, and then goes on until each has a final state and each
/// followed action has ended.
pub struct Rehearsal {
    dispatch: Dispatch,
    sweep: Sweep,
    network: Network,
    now: Now,
    until: Timestamp,
    due: u64,
    happened: VecDeque<(Timestamp, Happening)>,
    stage: Stage,
    /// Sweeps on every full second, whether or not that brings anything.
    #[cfg(test)]
    every_beat: bool,
}

/// What is seen from the daemon.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// It told its operator.
    Told(Box<Event>),
    /// It sent a request.
    Sent {
        /// With whose token.
        account: AccountName,
        /// What for.
        purpose: Purpose,
    },
    /// An answer told of the quota.
    Answered {
        /// Whose quota.
        account: AccountName,
        /// What it told.
        quota: quota::Answer,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begins,
    Runs,
    Over,
}

impl Rehearsal {
    /// Fires what is due with `from` <= scheduled_at < `until`.
    pub fn new(schedule: &Schedule, conditions: &Conditions, from: Timestamp, until: Timestamp) -> Rehearsal {
        let now = Now { wall: from, mono: Duration::ZERO };
        let mut chances = fastrand::Rng::with_seed(conditions.seed);
        Rehearsal {
            dispatch: Dispatch::new(&schedule.accounts, chances.u64(..), now),
            sweep: Sweep::new(schedule, from),
            network: Network::new(schedule, conditions, &mut chances, from),
            now,
            until,
            due: 0,
            happened: VecDeque::new(),
            stage: Stage::Begins,
            #[cfg(test)]
            every_beat: false,
        }
    }

    /// How many occurrences came due so far, paused entries' included.
    pub fn due(&self) -> u64 {
        self.due
    }

    /// The API as it is now, with its ledger of all requests.
    pub fn api(&self) -> &sandbox::State {
        self.network.api()
    }

    /// Goes to the next instant at which anything happens.
    fn step(&mut self) {
        let next = match self.stage {
            Stage::Begins => Some(self.now.wall),
            Stage::Runs => self.next_at(),
            Stage::Over => return,
        };
        self.stage = Stage::Runs;
        let Some(next) = next else {
            self.stage = Stage::Over;
            return;
        };
        let passed = self.now.until(next);
        self.now = Now { wall: next, mono: self.now.mono + passed };
        if self.is_beat() {
            self.plan();
        }
        while let Some(arrived) = self.network.arrives(self.now.wall) {
            self.take_in(arrived);
        }
        let effects = self.dispatch.advance(self.now);
        self.perform(effects);
    }

    /// `None` when all is over.
    fn next_at(&self) -> Option<Timestamp> {
        let beat = self.next_beat();
        if beat.is_none() && self.dispatch.is_idle() {
            // What was given up may still take effect.
            return self.network.next_at();
        }
        let timer = self.dispatch.wakes_at(self.now).map(|at| {
            let wait = at.saturating_sub(self.now.mono).max(TIMER);
            self.now.wall.checked_add(wait).unwrap_or(Timestamp::MAX)
        });
        [beat, timer, self.network.next_at()].into_iter().flatten().min()
    }

    fn next_beat(&self) -> Option<Timestamp> {
        #[cfg(test)]
        if self.every_beat {
            let second = Timestamp::from_second(self.now.wall.as_second() + 1).ok();
            let more = self.sweep.next_at().is_some_and(|at| at < self.until);
            return second.filter(|_| more || !self.dispatch.is_idle());
        }
        self.sweep.next_at().filter(|&at| at < self.until)?;
        self.sweep.brings_at().map(|at| at.max(self.now.wall))
    }

    fn is_beat(&self) -> bool {
        #[cfg(test)]
        if self.every_beat {
            return true;
        }
        self.next_beat().is_some_and(|at| at <= self.now.wall)
    }

    fn plan(&mut self) {
        while let Some(mut occurrences) = self.sweep.step(self.now) {
            occurrences.retain(|occurrence| occurrence.scheduled_at < self.until);
            self.due += occurrences.len() as u64;
            let effects = self.dispatch.plan(occurrences, self.now);
            self.perform(effects);
        }
    }

    fn take_in(&mut self, arrived: Arrived) {
        let Arrived { account, quota, .. } = &arrived;
        if let &Some(quota) = quota {
            let account = account.clone();
            self.happened.push_back((self.now.wall, Happening::Answered { account, quota }));
        }
        let effects = match arrived.reply {
            network::Reply::Fired { sent_at, reply } => {
                self.dispatch.fired(arrived.id, sent_at, reply, self.now)
            }
            network::Reply::Followed(reply) => self.dispatch.followed(arrived.id, reply, self.now),
        };
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                // Connections cost nothing here.
                Effect::Warm(..) => {}
                // No process comes after this one.
                Effect::Record(..) => {}
                Effect::Log(event) => self.happened.push_back((self.now.wall, Happening::Told(event))),
                Effect::Send(id, request) | Effect::SendAfter(_, id, request) => {
                    let (account, purpose) = network::purpose(&request);
                    self.happened.push_back((self.now.wall, Happening::Sent { account, purpose }));
                    self.network.send(id, request, self.now.wall);
                }
            }
        }
    }
}

/// What happens, in the order of time, with its instant.
impl Iterator for Rehearsal {
    type Item = (Timestamp, Happening);

    fn next(&mut self) -> Option<Self::Item> {
        while self.happened.is_empty() && self.stage != Stage::Over {
            self.step();
        }
        self.happened.pop_front()
    }
}
