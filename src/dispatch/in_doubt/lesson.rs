//! Learns whether a job's record moves with its runs, from a run that is certain.
//!
//! A record that shows a run in the span of an attempt in doubt counts only where it is known to
//! have moved with the run before that. So where somebody else is seen to use the token for a
//! stack, the record of a job is read once when one of its followed runs has ended: one request a
//! run, as a background request, and not asked again when the quota refuses it. Where nobody shares
//! the user, the list is enough, and nothing is asked. A restart learns anew: until then nothing is
//! known.

use super::evidence::KnownRun;
use crate::clock::Now;
use crate::cloud66::{Action, JobRecord};
use crate::dispatch::{Dispatch, Effect, InFlight, Request, RequestId};
use crate::quota::Purpose;
use crate::schedule::{AccountName, Entry, JobUid, StackUid};

/// A run that has ended, and whose record is to be read.
#[derive(Clone, Debug)]
pub(in crate::dispatch) struct Lesson {
    stack: StackUid,
    job: JobUid,
    run: KnownRun,
}

impl Dispatch {
    /// A followed action has ended.
    pub(in crate::dispatch) fn learns_from(
        &mut self,
        entry: &Entry,
        action: &Action,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let (stack, job) = (entry.stack.clone(), entry.job.clone());
        let Some(id) = action.id.filter(|_| self.doubts.is_user_shared(&stack, now)) else {
            return;
        };
        let run = KnownRun::of(id, std::slice::from_ref(action));
        let lesson = Lesson { stack: stack.clone(), job: job.clone(), run };
        self.ask_record(&entry.account.name, stack, job, Some(lesson), now, effects);
    }

    /// Asks for a job's record. `None` when the quota has no room for a background request.
    pub(super) fn ask_record(
        &mut self,
        account: &AccountName,
        stack: StackUid,
        job: JobUid,
        lesson: Option<Lesson>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<RequestId> {
        let request = RequestId(self.number());
        let access = self.accounts.get_mut(account)?;
        let admitted = access.admission.admit(&mut self.quotas, Purpose::Check, now).ok()?;
        let question = Request::JobRecord(account.clone(), stack.clone(), job.clone());
        effects.push(Effect::Send(request, question));
        let asked = InFlight::JobRecord(admitted, account.clone(), stack, job, lesson);
        self.requests.insert(request, asked);
        Some(request)
    }

    /// The record of a job whose run has ended.
    pub(super) fn learns(&mut self, lesson: Lesson, record: Option<JobRecord>) {
        let place = (lesson.stack, lesson.job);
        match record.is_some_and(|record| lesson.run.is_shown_by(&record)) {
            true => drop(self.doubts.moved_with.insert(place, lesson.run.action)),
            false => drop(self.doubts.moved_with.remove(&place)),
        }
    }
}
