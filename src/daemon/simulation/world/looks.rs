//! Remembers what looks at stacks and jobs have shown to a process, and judges its sends by that.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::SimulatedWorld;
use crate::cloud66::{Looked, Obstacle};
use crate::dispatch::{Request, RequestId};
use crate::schedule::{AccountName, Entry, JobUid, StackState, StackUid};

/// A stack is looked at no more often.
const EVERY: Duration = Duration::from_secs(15);

/// A look counts for sends up to this long after its request left.
const SERVES: Duration = Duration::from_secs(17);

/// The account that looks, the stack, and the job.
type LookSubject = (AccountName, StackUid, Option<JobUid>);

/// The looks of one life and their answers.
#[derive(Default)]
pub(super) struct LookHistory {
    asked: HashMap<RequestId, (LookSubject, Duration)>,
    newest: BTreeMap<LookSubject, Duration>,
    shown: BTreeMap<LookSubject, (Duration, Option<Obstacle>)>,
}

impl LookHistory {
    fn asks(&mut self, id: RequestId, subject: LookSubject, time: Duration) -> Result<(), String> {
        self.asked.insert(id, (subject.clone(), time));
        match self.newest.insert(subject.clone(), time) {
            Some(before) if time < before + EVERY => {
                Err(format!("{subject:?} is looked at {:?} after the last time", time - before))
            }
            _ => Ok(()),
        }
    }

    /// The answer is known to the process.
    pub(super) fn ended(&mut self, id: RequestId, looked: &Looked) {
        let asked = self.asked.remove(&id);
        if let (Some((subject, time)), Looked::Seen(obstacle)) = (asked, looked) {
            self.shown.insert(subject, (time, *obstacle));
        }
    }

    fn sends(&self, entry: &Entry, time: Duration) -> Result<(), String> {
        if entry.stack_state == StackState::Ignore {
            return Ok(());
        }
        for job in [None, Some(entry.job.clone())] {
            let subject = (entry.account.name.clone(), entry.stack.clone(), job);
            if let Some(&(asked, Some(obstacle))) = self.shown.get(&subject)
                && time <= asked + SERVES
            {
                let ago = time - asked;
                return Err(format!("{} is sent, and {ago:?} ago {subject:?} was {obstacle:?}", entry.name));
            }
        }
        Ok(())
    }
}

impl SimulatedWorld<'_> {
    /// A request is decided on.
    pub(super) fn heeds_looks(&mut self, id: RequestId, request: &Request) {
        let time = self.time;
        let Some(process) = &mut self.machines[self.here].process else { return };
        let heeded = match request {
            Request::RunNow(entry) => process.looks.sends(entry, time),
            Request::Look { account, stack, job } => {
                process.looks.asks(id, (account.clone(), stack.clone(), job.clone()), time)
            }
            Request::Action(..) | Request::Actions { .. } | Request::JobRecord(..) => Ok(()),
        };
        if let Err(what) = heeded {
            self.oracle.violated(what);
        }
    }
}
