//! `stack_state`: whether a stack and its jobs are ready for what is due on them.
//!
//! A job that is fired into a deployment fails. So an entry with `stack_state: hold` or `skip` has
//! its stack looked at, and its job, [`AHEAD`] of the due instant: the answer is there when the
//! occurrence is due, and its send waits for nothing. One look serves all that is due on the stack
//! within [`EVERY`]: the next one is asked for [`EVERY`] later at the earliest.
//!
//! Due at 02:00:00, 02:00:10 and 02:00:20 on one stack: it is looked at at 01:59:58, which serves
//! the first two, and at 02:00:18. Where it deploys at 01:59:58, what is due at 02:00:00 and :10 is
//! kept back, and the stack is looked at again at 02:00:13.5 and :29, until the deployment is over.
//!
//! What cannot be looked at is sent: a missing backup is worse than a failed one. That holds where
//! no answer comes within [`ANSWERED_WITHIN`], where the answer cannot be read, and where no quota
//! is left to ask with. A deployment that begins between the look and the send is not seen.
//!
//! This file keeps what is known of each stack and job; [`super::holding`] keeps occurrences back
//! by it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Mono;
use crate::cloud66::{Looked, Obstacle};
use crate::schedule::{AccountName, Entry, JobUid, StackState, StackUid};

/// A stack is looked at this long before what is due on it: longer than a usual answer takes.
pub(super) const AHEAD: Duration = Duration::from_secs(2);

/// From one look at a stack to the next, at least: 15 s at the server, where one may arrive later
/// than another.
pub(super) const EVERY: Duration = Duration::from_millis(15_500);

/// A look serves what is due up to so long after it was asked for: the look that follows it is then
/// answered in time.
const SERVES: Duration = Duration::from_millis(17_500);

/// A look without an answer after this time counts as one that cannot be had: what waits for it is
/// then still on time.
pub(super) const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// While something is kept back, the obstacle that was seen is believed for so long without a newer
/// answer. It is also the longest from one look to the next where the quota is short.
pub(super) const BELIEVED: Duration = Duration::from_secs(120);

/// A timer that is past is set to so much later than now: the loop goes on meanwhile.
const LEAST_PAUSE: Duration = Duration::from_millis(1);

/// A subject that no occurrence needed for this long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60 * 60);

/// A stack, or one of its jobs, as an account's token sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subject {
    pub(super) account: AccountName,
    pub(super) stack: StackUid,
    /// `None`: the stack itself.
    pub(super) job: Option<JobUid>,
}

impl Subject {
    /// Returns the subjects that an occurrence of this entry needs. Empty: the stack's state does
    /// not matter.
    pub(super) fn of(entry: &Entry) -> Vec<Subject> {
        if entry.stack_state == StackState::Ignore {
            return Vec::new();
        }
        let subject = |job| Subject { account: entry.account.name.clone(), stack: entry.stack.clone(), job };
        vec![subject(None), subject(Some(entry.job.clone()))]
    }
}

/// The knowledge about one subject at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    Seen(Option<Obstacle>),
    /// It could not be looked at lately.
    Unasked,
    /// It has to be looked at.
    Nothing,
}

/// The verdict on all subjects of an occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StackVerdict {
    /// Nothing keeps it from being sent, as far as is known.
    Clear,
    /// This keeps it.
    Obstacle(Obstacle),
    /// These have to be looked at first.
    Unknown(Vec<Subject>),
}

#[derive(Debug, Default)]
struct Look {
    /// When it was asked for last, whatever came of it.
    asked_at: Option<Mono>,
    /// The question of `asked_at` has no answer yet.
    in_flight: bool,
    /// The newest answer, and when its request left.
    seen: Option<(Mono, Option<Obstacle>)>,
    /// When asking failed last, since the last answer.
    failed_at: Option<Mono>,
    /// When something is to be done: to ask again, or to wait no longer for the answer.
    timer: Option<Mono>,
}

impl Look {
    /// `is_needed`: an occurrence is kept back by it.
    fn knowledge(&self, at: Mono, is_needed: bool) -> Knowledge {
        if let Some((asked_at, obstacle)) = self.seen {
            let lasts = if obstacle.is_some() && is_needed { BELIEVED } else { SERVES };
            if at <= asked_at + lasts {
                return Knowledge::Seen(obstacle);
            }
        }
        match self.failed_at {
            Some(failed_at) if at <= failed_at + SERVES => Knowledge::Unasked,
            _ => Knowledge::Nothing,
        }
    }
}

/// All that is known of stacks and jobs.
#[derive(Debug, Default)]
pub(super) struct Looks {
    looks: BTreeMap<Subject, Look>,
    timers: BTreeSet<(Mono, Subject)>,
    /// Not asked for, since requests in flight kept it. Asked for as soon as one of them has ended.
    postponed: BTreeSet<Subject>,
    /// Stacks of which the operator has been told that they, or a job of them, cannot be asked: no
    /// answer has come since.
    told: BTreeSet<(AccountName, StackUid)>,
    /// When what is old was forgotten.
    tidied: Mono,
}

impl Looks {
    /// When something is to be done at the latest.
    pub(super) fn wakes_at(&self) -> Option<Mono> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// Takes a subject whose time has come: to be asked for again, or to be awaited no longer.
    pub(super) fn next_timer(&mut self, now: Mono) -> Option<Subject> {
        self.timers.first().filter(|&&(at, _)| at <= now)?;
        let (_, subject) = self.timers.pop_first()?;
        if let Some(look) = self.looks.get_mut(&subject) {
            look.timer = None;
        }
        Some(subject)
    }

    /// Returns the verdict on these subjects for a send at `at`. `is_needed`: an occurrence is kept
    /// back by a subject.
    pub(super) fn verdict(
        &self,
        subjects: &[Subject],
        at: Mono,
        is_needed: impl Fn(&Subject) -> bool,
    ) -> StackVerdict {
        let knowledge = |subject| {
            let look = self.looks.get(subject);
            look.map_or(Knowledge::Nothing, |look| look.knowledge(at, is_needed(subject)))
        };
        let (mut first, mut unknown) = (None::<Obstacle>, Vec::new());
        for subject in subjects {
            match knowledge(subject) {
                Knowledge::Seen(obstacle) => first = first.into_iter().chain(obstacle).min(),
                Knowledge::Unasked => {}
                Knowledge::Nothing => unknown.push(subject.clone()),
            }
        }
        match first {
            Some(obstacle) => StackVerdict::Obstacle(obstacle),
            None if unknown.is_empty() => StackVerdict::Clear,
            None => StackVerdict::Unknown(unknown),
        }
    }

    /// Returns true when the subject was asked for and has no answer.
    pub(super) fn is_in_flight(&self, subject: &Subject) -> bool {
        self.looks.get(subject).is_some_and(|look| look.in_flight)
    }

    /// Returns true when the subject's answer is waited for, or will be as soon as a request has
    /// ended. A question that has been without an answer for too long is in flight, and waited for
    /// no longer.
    pub(super) fn is_under_way(&self, subject: &Subject) -> bool {
        let is_awaited = |look: &Look| look.in_flight && look.failed_at < look.asked_at;
        self.looks.get(subject).is_some_and(is_awaited) || self.postponed.contains(subject)
    }

    /// It was asked for.
    pub(super) fn asked(&mut self, subject: &Subject, now: Mono) {
        self.postponed.remove(subject);
        let look = self.looks.entry(subject.clone()).or_default();
        (look.asked_at, look.in_flight) = (Some(now), true);
        self.set_timer(subject, Some(now + ANSWERED_WITHIN));
    }

    /// It cannot be asked for before a request in flight has ended.
    pub(super) fn postpone(&mut self, subject: Subject, now: Mono) {
        self.looks.entry(subject.clone()).or_default();
        if self.postponed.insert(subject.clone()) {
            self.set_timer(&subject, Some(now + ANSWERED_WITHIN));
        }
    }

    /// Returns the subjects of an account whose look waits for a request to end.
    pub(super) fn postponed(&self, account: &AccountName) -> Vec<Subject> {
        self.postponed.iter().filter(|subject| subject.account == *account).cloned().collect()
    }

    /// It is not asked for after all.
    pub(super) fn drop_postponed(&mut self, subject: &Subject) -> bool {
        self.postponed.remove(subject)
    }

    /// Its answer came. Returns what went wrong, where the operator is to be told.
    pub(super) fn answered(
        &mut self,
        subject: &Subject,
        looked: Looked,
        is_needed: bool,
        now: Mono,
    ) -> Option<String> {
        let look = self.looks.entry(subject.clone()).or_default();
        look.in_flight = false;
        let asked_at = look.asked_at.unwrap_or(now);
        match looked {
            Looked::Seen(obstacle) => {
                look.seen = Some((asked_at, obstacle));
                look.failed_at = None;
                self.set_timer(subject, None);
                self.recovers(subject, now);
                None
            }
            Looked::Unanswered { error } => {
                self.set_timer(subject, None);
                self.failed(subject, error, is_needed, now)
            }
        }
    }

    /// It could not be asked for, or no answer came. Returns the error where the operator is to be
    /// told: once for each outage, and not while an obstacle that was seen is believed.
    pub(super) fn failed(
        &mut self,
        subject: &Subject,
        error: String,
        is_needed: bool,
        now: Mono,
    ) -> Option<String> {
        let look = self.looks.entry(subject.clone()).or_default();
        look.failed_at = Some(now);
        let is_believed = look.knowledge(now, is_needed) != Knowledge::Unasked;
        let stack = (subject.account.clone(), subject.stack.clone());
        (!is_believed && self.told.insert(stack)).then_some(error)
    }

    /// An outage of a stack is over with the first answer, unless another look at it failed lately.
    fn recovers(&mut self, subject: &Subject, now: Mono) {
        let stack = (subject.account.clone(), subject.stack.clone());
        if !self.told.contains(&stack) {
            return;
        }
        let mut of_stack = self
            .looks
            .iter()
            .filter(|(other, _)| other.account == subject.account && other.stack == subject.stack);
        let failed_lately = |look: &Look| look.failed_at.is_some_and(|at| now.saturating_sub(at) < BELIEVED);
        if !of_stack.any(|(_, look)| failed_lately(look)) {
            self.told.remove(&stack);
        }
    }

    /// Returns true when an obstacle was seen at a stack or a job.
    pub(super) fn shows_obstacle(&self, subject: &Subject) -> bool {
        let seen = self.looks.get(subject).and_then(|look| look.seen);
        seen.is_some_and(|(_, obstacle)| obstacle.is_some())
    }

    /// Sees to it that an obstacle which keeps something back is looked at again, so long after the
    /// last time.
    pub(super) fn look_again(&mut self, subject: &Subject, interval: Duration, now: Mono) {
        let Some(look) = self.looks.get(subject) else {
            return;
        };
        let (Some((seen_at, Some(_))), None) = (look.seen, look.timer) else {
            return;
        };
        // A question that nobody waits for any more may still be answered.
        let at = if look.in_flight { seen_at + BELIEVED } else { look.asked_at.unwrap_or(now) + interval };
        self.look_later(subject, at.max(now + LEAST_PAUSE));
    }

    /// Has something done of it then, and not before.
    pub(super) fn look_later(&mut self, subject: &Subject, at: Mono) {
        self.set_timer(subject, Some(at));
    }

    /// Forgets what nobody has asked for lately.
    pub(super) fn tidy(&mut self, now: Mono, is_needed: impl Fn(&Subject) -> bool) {
        if now.saturating_sub(self.tidied) < FORGOTTEN {
            return;
        }
        self.tidied = now;
        self.looks.retain(|subject, look| {
            let is_new = look.asked_at.is_some_and(|at| now.saturating_sub(at) < FORGOTTEN);
            is_new || look.in_flight || look.timer.is_some() || is_needed(subject)
        });
    }

    fn set_timer(&mut self, subject: &Subject, at: Option<Mono>) {
        let Some(look) = self.looks.get_mut(subject) else {
            return;
        };
        if let Some(was) = std::mem::replace(&mut look.timer, at) {
            self.timers.remove(&(was, subject.clone()));
        }
        self.timers.extend(at.map(|at| (at, subject.clone())));
    }
}

/// When the stack of what is due then is looked at.
pub(super) fn look_at(due_at: Timestamp) -> Timestamp {
    due_at.checked_sub(AHEAD).unwrap_or(Timestamp::MIN)
}
