//! The daemon in virtual time: its own node, against the sandbox's state in this process.
//!
//! There is no runtime, no socket and no clock. Time jumps from one instant at which something
//! happens to the next, so that a week takes as long as what happens in it. All chance is drawn
//! from one seed: the same schedule under the same conditions gives the same happenings.

mod condition_error;
mod conditions;
mod difference;
mod forecast;
mod load;
pub(crate) mod network;
mod others;
mod suggest;
mod summary;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

pub use condition_error::ConditionError;
pub use conditions::{Conditions, Latency};
pub use difference::{AccountDifference, Change, Difference, EntryDifference, Load};
pub use forecast::{AccountForecast, Forecast, Troubled, WindowForecast};
pub use load::{Busiest, busiest};
pub use others::Others;
pub use suggest::{Peak, QuieterTime, Suggestion, suggest};
pub use summary::Summary;

use crate::clock::Now;
use crate::cloud66::ActionId;
use crate::daemon::{Answer, Input, Node, Output};
use crate::dispatch::Effect;
use crate::journal::{self, KnownActions, Started};
use crate::log::Event;
use crate::quota::{self, Purpose};
use crate::sandbox;
use crate::schedule::{AccountName, Schedule};

use network::{Arrived, Network};

/// A daemon that fires the occurrences of a span of time, and then goes on until each has a final
/// state and each followed action has ended.
pub struct Rehearsal {
    node: Node,
    network: Network,
    now: Now,
    due: u64,
    happened: VecDeque<(Timestamp, Happening)>,
    stage: RehearsalStage,
    /// Actions that a journal would know.
    known: KnownActions,
    /// Sweeps on every full second, whether or not that brings anything.
    #[cfg(test)]
    every_beat: bool,
}

/// An event of a rehearsal.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// It told its operator.
    Told(Box<Event>),
    /// It sent a request.
    Sent {
        /// With whose token.
        account: AccountName,
        /// Purpose of the request.
        purpose: Purpose,
    },
    /// An answer told of the quota.
    Answered {
        /// The account whose quota it is.
        account: AccountName,
        /// The answer's word on the quota.
        quota: quota::QuotaAnswer,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RehearsalStage {
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
            node: Node::within(Arc::new(schedule.clone()), from, until, chances.u64(..), now),
            network: Network::new(schedule, conditions, &mut chances, from),
            now,
            due: 0,
            happened: VecDeque::new(),
            stage: RehearsalStage::Begins,
            known: KnownActions::default(),
            #[cfg(test)]
            every_beat: false,
        }
    }

    /// Returns the number of occurrences that came due so far, those of paused entries included.
    pub fn due(&self) -> u64 {
        self.due
    }

    /// The API as it is now, with its ledger of all requests.
    pub fn api(&self) -> &sandbox::SandboxState {
        self.network.api()
    }

    /// Goes to the next instant at which anything happens.
    fn step(&mut self) {
        let next = match self.stage {
            RehearsalStage::Begins => Some(self.now.wall),
            RehearsalStage::Runs => self.next_at(),
            RehearsalStage::Over => return,
        };
        self.stage = RehearsalStage::Runs;
        // At the end of the calendar time stands still: what is waited for would never come.
        let Some(next) = next.filter(|next| *next < Timestamp::MAX) else {
            self.stage = RehearsalStage::Over;
            return;
        };
        let passed = self.now.until(next);
        self.now = Now { wall: next, mono: self.now.mono + passed };
        self.node.passed(self.now);
        self.handle(Input::ClaimWindow);
        while let Some(arrived) = self.network.arrives(self.now.wall) {
            self.take_in(arrived);
        }
        self.handle(Input::Wake);
    }

    /// `None` when all is over.
    fn next_at(&self) -> Option<Timestamp> {
        let core = self.node.core().happens_at(self.now);
        #[cfg(test)]
        let core = match Timestamp::from_second(self.now.wall.as_second() + 1) {
            Ok(second) if self.every_beat => core.map(|at| at.min(second)),
            _ => core,
        };
        // A request that was given up may still take effect when all is settled.
        [core, self.network.next_at()].into_iter().flatten().min()
    }

    fn handle(&mut self, input: Input) {
        for output in self.node.handle(input, self.now) {
            self.perform(output);
        }
    }

    fn take_in(&mut self, arrived: Arrived) {
        let Arrived { account, quota, id, .. } = arrived;
        if let Some(quota) = quota {
            self.happened.push_back((self.now.wall, Happening::Answered { account, quota }));
        }
        let answer = match arrived.reply {
            network::NetworkReply::Fired { sent_at, reply } => Answer::Fired { id, sent_at, reply },
            network::NetworkReply::Listed(reply) => Answer::Listed { id, reply },
            network::NetworkReply::Followed(reply) => Answer::Followed { id, reply },
            network::NetworkReply::Looked(reply) => Answer::Looked { id, reply },
            network::NetworkReply::Recorded(reply) => Answer::Recorded { id, reply },
        };
        self.handle(Input::Answers(vec![answer]));
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Effect(effect) => self.effect(effect),
            Output::Raise(_) => self.handle(Input::Raised(Ok(()))),
            // The journal writes at once.
            Output::Claim(claims) => {
                self.due += claims.claims.len() as u64;
                let claimed = Answer::Claimed { cursor: claims.cursor, known: Some(Vec::new()) };
                self.handle(Input::Answers(vec![claimed]));
                self.handle(Input::ClaimWindow);
            }
            // Nobody stops this daemon or asks it anything, and it has no journal.
            Output::Swept(_)
            | Output::HoldBack(..)
            | Output::JournalReaches(_)
            | Output::JournalGoesBack(_)
            | Output::SaveQuota(..)
            | Output::WriteNow
            | Output::InForce(..)
            | Output::ClaimByHand { .. }
            | Output::Fired(..)
            | Output::NotFired(..)
            | Output::WriteSteering(_)
            | Output::Steered(..)
            | Output::Free(_)
            | Output::Close(_) => {}
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            // Connections cost nothing here, and no restart reads what is written.
            Effect::Warm(..) | Effect::Amend(_) | Effect::Resent(_) | Effect::PauseEnds(_) => {}
            Effect::End(handover) => self.known.actions.extend(action(&handover.end)),
            Effect::Record(_, mv) => self.known.actions.extend(action(&mv)),
            Effect::Recall(account, stack, ..) => {
                let known = Some(self.known.clone());
                self.handle(Input::Answers(vec![Answer::Recalled { account, stack, known }]));
            }
            Effect::Log(event) => self.happened.push_back((self.now.wall, Happening::Told(event))),
            Effect::Send(id, request) | Effect::SendAfter(_, id, request) => {
                let (account, purpose) = network::purpose(&request);
                self.happened.push_back((self.now.wall, Happening::Sent { account, purpose }));
                self.network.send(id, request, self.now.wall);
            }
        }
    }
}

/// The action that a move tells of.
fn action(mv: &journal::Transition) -> Option<ActionId> {
    match *mv {
        journal::Transition::Started { action: Started::Followed(id), .. } => Some(id),
        journal::Transition::Started { action: Started::Alone(id), .. } => id,
        _ => None,
    }
}

/// Yields the events in the order of time, each with its instant.
impl Iterator for Rehearsal {
    type Item = (Timestamp, Happening);

    fn next(&mut self) -> Option<Self::Item> {
        while self.happened.is_empty() && self.stage != RehearsalStage::Over {
            self.step();
        }
        self.happened.pop_front()
    }
}
