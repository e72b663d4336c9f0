//! Attempts in doubt: the stack's actions are asked before anything else happens to their occurrences.
//!
//! In doubt is an attempt that brought no answer, half of one or a 5xx that tells nothing, and what a former process may have
//! sent ([`super::recovery`]). A stack is asked within the quota soon after an attempt on it came into doubt, again after
//! pauses that double, and at last when it is too late for the attempt to take effect: two minutes after it left. Sent at
//! 02:00:00, in doubt at 02:00:00, it is looked for at 02:00:01, :04, :08, :16, :32, 02:01:04 and 02:02:00. What did start is
//! known with the first list that shows it; that it did not start, with the last. The entry's other occurrences go on time
//! with `overlap: allow`; with `skip` and `queue` the attempt counts as a running action. Then the journal is asked which of the actions are known. What both say is
//! judged in [`super::reconcile`]. A list or a journal that cannot be read is asked again, until the occurrence's deadline or for
//! [`LEAST_PATIENCE`], whichever is later.
//!
//! Nothing of this is written down: the journal has the claim as one that may have been sent, so that a crash or a stop leaves it
//! to the next start.
//!
//! An action that cannot be told from those of other attempts has no `action_id` in the log and in the journal: it is not
//! followed, and an overlap with it is not seen. It may be in a later list, as may that of an attempt that was given up. The
//! journal tells which occurrences these are ([`crate::journal::Unnamed`]).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::listing::{Ahead, Next, Reading};
use super::reconcile::{Attempt, CUT_OFF, Judgement, Standing, Verdict, candidates, judge};
use super::{Dispatch, Doubtful, Effect, Id, InFlight, Pending, Place, Request, RequestId, log};
use crate::clock::{Mono, Now};
use crate::cloud66::{Action, ActionId, ActionsListed};
use crate::journal::{ClockOf, Key, Known};
use crate::log::event::{OccurrenceInDoubt, OccurrenceReconciled};
use crate::quota::Purpose;
use crate::schedule::{AccountName, CatchUp, Entry, StackUid};

/// The stack is asked this long after an attempt came into doubt: most effects can be seen by then.
const FIRST: Duration = Duration::from_secs(1);

/// Until the next question after one that told nothing, at least. The pause doubles from question to question.
const LEAST_PAUSE: Duration = Duration::from_secs(3);

/// An attempt may take effect for so long after it left, whatever the account's timeout: a request may wait in a proxy or
/// in a queue of the API when nobody waits for its answer any more. Effects were seen 70 s late.
const SETTLES: Duration = Duration::from_secs(120);

/// Where the account's timeout is short, an attempt is given at least so long after its end.
const SETTLES_AFTER_END: Duration = Duration::from_secs(10);

/// A stack whose list leaves attempts open that are too late to take effect is asked again after this pause: an answer in
/// flight may still tell.
const REPEATS: Duration = Duration::from_secs(5);

/// A lookup goes behind the fires of its account, but not for longer than this: where no answer tells of a quota, one request
/// follows another, and fires of every second would leave no room for it.
const OVERDUE: Duration = Duration::from_secs(5);

/// The API's clocks may differ by so much from the one that it shows in its answers.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

/// The API's clock may differ by so much from ours where its answers do not show it, and from that of another member of those
/// that share the journal.
const BLIND: SignedDuration = SignedDuration::from_secs(60);

/// An attempt of a former process may have taken effect so long after it was sent: [`SETTLES`], and a minute for the time
/// between the writing of its instant and its leaving.
const LONGEST_EFFECT: SignedDuration = SignedDuration::from_secs(180);

/// An attempt that was given up is remembered for so long: its action may be on a page of a list that is yet to be read.
const REMEMBERED: SignedDuration = SignedDuration::from_mins(10);

/// Asked for at least so long, also where the occurrence could not be sent again any more.
const LEAST_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// An action that the journal is asked for was scheduled at most so long before it started, or an entry's
/// `start_deadline` if that is more.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// An attempt in doubt.
#[derive(Debug)]
pub(super) struct InDoubtAttempt {
    account: AccountName,
    stack: StackUid,
    /// When it left, or the earliest that it can have left.
    sent_at: Timestamp,
    /// The same by the wall clock as it was when the attempt came into doubt.
    left_at: Timestamp,
    /// The answer may tell better when it left.
    vague: bool,
    /// The clocks when it came into doubt.
    seen: Now,
    over_at: Mono,
    given_up_at: Mono,
    error: String,
    status: Option<u16>,
    token: Token,
    /// Of a former process, which had this clock.
    former: Option<ClockOf>,
}

/// By whose token an attempt was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// By the one of so many reloads.
    OfReload(u32),
    /// By one of a former process.
    Former,
}

/// What is known of an attempt when it comes into doubt.
pub(super) struct InDoubtReport {
    pub(super) sent_at: Timestamp,
    /// When it left by the clock that nobody sets. `None`: another process sent it.
    pub(super) left: Option<Mono>,
    pub(super) vague: bool,
    pub(super) token: Token,
    pub(super) error: String,
    pub(super) status: Option<u16>,
}

/// A stack that is asked about by one account.
#[derive(Debug)]
pub(super) struct ActionLookup {
    /// When it is to be asked.
    at: Mono,
    failures: u32,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Waits,
    /// The list is read since then. The number is of the page that is to be asked for, or was asked for then.
    Lists {
        reading: Reading,
        since: Mono,
        page: u32,
        asked: Option<Mono>,
    },
    /// The journal is asked. The attempts were in flight when it was.
    Recalls {
        reading: Reading,
        since: Mono,
        in_flight: Vec<Now>,
    },
}

/// Everything in doubt, and what may own an action that nobody is known to own.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    open: BTreeMap<Id, InDoubtAttempt>,
    /// Nothing could tell whether they started an action, or which one. It may still be in the lists.
    unnamed: Vec<(Key, InDoubtAttempt)>,
    /// Attempts that have started although nothing tells which action is whose, and the actions that they own together. Neither
    /// competes with other attempts any more. Kept for [`REMEMBERED`].
    shared_out: SharedOut,
    inquiries: BTreeMap<(AccountName, StackUid), ActionLookup>,
    /// What former processes sent, they sent by this clock.
    pub(super) former: ClockOf,
    patience: BTreeSet<(Mono, Id)>,
}

/// Groups of attempts that own as many actions together.
#[derive(Debug, Default)]
struct SharedOut {
    occurrences: HashMap<Key, Mono>,
    actions: HashMap<(StackUid, ActionId), Mono>,
}

impl SharedOut {
    fn forget_past(&mut self, now: Now) {
        let kept = |since: &mut Mono| *since + REMEMBERED.unsigned_abs() > now.mono;
        self.occurrences.retain(|_, since| kept(since));
        self.actions.retain(|_, since| kept(since));
    }
}

impl Doubts {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// When an attempt in doubt left, or the earliest that it can have left.
    pub(super) fn sent_at(&self, id: Id) -> Option<Timestamp> {
        self.open.get(&id).map(|doubt| doubt.sent_at)
    }

    /// When an account has something to ask.
    pub(super) fn next_at(&self, account: &AccountName) -> Option<Mono> {
        let ready =
            self.inquiries.iter().filter(|((of, _), inquiry)| of == account && inquiry.waits_for_us());
        ready.map(|(_, inquiry)| inquiry.at).min()
    }

    /// Whether something is to be asked by an account.
    pub(super) fn asks_by(&self, account: &AccountName) -> bool {
        self.inquiries.keys().any(|(of, _)| of == account)
    }

    /// When the patience with one of them ends.
    pub(super) fn patience_ends(&self) -> Option<Mono> {
        self.patience.first().map(|&(at, _)| at)
    }

    /// Whether a lookup of an account has waited behind fires for [`OVERDUE`].
    pub(super) fn is_overdue(&self, account: &AccountName, now: Now) -> bool {
        let mut lookups = self.inquiries.iter().filter(|((of, _), _)| of == account);
        lookups.any(|(_, lookup)| lookup.waits_for_us() && lookup.at + OVERDUE <= now.mono)
    }

    fn due(&self, account: &AccountName, now: Now) -> Option<StackUid> {
        let mut of_account = self.inquiries.iter().filter(|((of, _), _)| of == account);
        of_account
            .find(|(_, inquiry)| inquiry.waits_for_us() && inquiry.at <= now.mono)
            .map(|((_, stack), _)| stack.clone())
    }

    fn of_stack(
        &self,
        account: &AccountName,
        stack: &StackUid,
    ) -> impl Iterator<Item = (Id, &InDoubtAttempt)> {
        let of_stack = move |doubt: &InDoubtAttempt| doubt.account == *account && doubt.stack == *stack;
        self.open.iter().filter(move |(_, doubt)| of_stack(doubt)).map(|(&id, doubt)| (id, doubt))
    }
}

impl ActionLookup {
    /// Nothing of it is with the API or the journal.
    fn waits_for_us(&self) -> bool {
        matches!(self.stage, Stage::Waits | Stage::Lists { asked: None, .. })
    }
}

impl InDoubtAttempt {
    /// The span in which it took effect, if it did, by a clock that is so much ahead of ours.
    fn span(&self, now: Now, ahead: Option<Ahead>) -> (Timestamp, Timestamp) {
        let until = wall(now, self.over_at);
        // Somebody may have set our clock since.
        let set = until.duration_since(wall(self.seen, self.over_at));
        let left_at = moved(self.left_at, set);
        let (from, until) = spread(left_at, until, ahead);
        // A former process had the API's time, or was as far from it as we are: the clock may have been set between. Another
        // machine's clock tells nothing of ours.
        let agreed = self.former.map(|clock| match clock {
            ClockOf::ThisMachine => spread(self.left_at, until, Some(Ahead::NONE)).0,
            ClockOf::AnyMember => spread(self.left_at, until, None).0,
        });
        (agreed.map_or(from, |agreed| from.min(agreed)), until)
    }

    /// When its stack is worth asking again: an effect is shown soon as a rule, and late at times.
    fn asked_next(&self, now: Mono) -> Mono {
        if self.over_at <= now {
            return now + REPEATS;
        }
        let age = now.saturating_sub(self.seen.mono);
        (now + age.max(LEAST_PAUSE)).min(self.over_at)
    }

    fn attempt(&self, now: Now, ahead: Option<Ahead>, user: Option<String>, standing: Standing) -> Attempt {
        let (from, until) = self.span(now, ahead);
        Attempt { from, until, user, standing }
    }
}

impl Dispatch {
    /// An attempt may have taken effect: the occurrence waits until that is known. Other occurrences do not.
    pub(super) fn comes_into_doubt(
        &mut self,
        id: Id,
        came: InDoubtReport,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        let entry = Arc::clone(&pending.entry);
        pending.place = Place::Doubt;
        let (scheduled_at, attempts) = (pending.scheduled_at, pending.history.attempts);
        let InDoubtReport { sent_at, left, vague, token, error, status } = came;
        let clock = if left.is_none() { self.doubts.former } else { ClockOf::ThisMachine };
        // The clock was set back since a former process sent it: by how much, nothing tells, and so no list does.
        let apart = match clock {
            ClockOf::ThisMachine => TOLERANCE,
            ClockOf::AnyMember => BLIND,
        };
        let set_back = left.is_none() && sent_at.duration_since(now.wall) > apart;
        let patience = match set_back {
            true => Duration::ZERO,
            false => now.until(pending.deadline).max(LEAST_PATIENCE),
        };
        effects.push(log(OccurrenceInDoubt {
            entry: entry.name.clone(),
            scheduled_at,
            pass: pending.pass.into(),
            attempts,
            error: error.clone(),
            status,
        }));
        self.activity.entry(entry.name.clone()).or_default().in_doubt += 1;
        let doubt = InDoubtAttempt {
            account: entry.account.name.clone(),
            stack: entry.stack.clone(),
            sent_at,
            left_at: match left {
                Some(left) => wall(now, left),
                None if set_back => Timestamp::MIN,
                None => sent_at.min(now.wall),
            },
            vague,
            seen: now,
            over_at: (left.unwrap_or(now.mono) + SETTLES)
                .max(now.mono + entry.account.timeout.max(SETTLES_AFTER_END)),
            given_up_at: now.mono + patience,
            error,
            status,
            token,
            former: (token == Token::Former).then_some(clock),
        };
        let first = now.mono + FIRST;
        let inquiry = self.doubts.inquiries.entry((doubt.account.clone(), doubt.stack.clone()));
        let inquiry = inquiry.or_insert(ActionLookup { at: first, failures: 0, stage: Stage::Waits });
        if matches!(inquiry.stage, Stage::Waits) {
            inquiry.at = inquiry.at.min(first);
        }
        self.doubts.patience.insert((doubt.given_up_at, id));
        self.doubts.open.insert(id, doubt);
    }

    /// What is in doubt, and is left to the next process when this one ends.
    pub fn in_doubt(&self) -> usize {
        self.doubts.len()
    }

    /// Asks what is to be asked by an account.
    pub(super) fn inquire(&mut self, account: &AccountName, now: Now, effects: &mut Vec<Effect>) {
        while let Some(stack) = self.doubts.due(account, now) {
            if self.doubts.of_stack(account, &stack).next().is_none() {
                self.doubts.inquiries.remove(&(account.clone(), stack));
                continue;
            }
            let request = RequestId(self.number());
            let Some(lane) = self.lanes.get_mut(account) else {
                return;
            };
            let Ok(ticket) = lane.admit(Purpose::Reconcile, now) else {
                return;
            };
            lane.leaves();
            let Some(inquiry) = self.doubts.inquiries.get_mut(&(account.clone(), stack.clone())) else {
                return;
            };
            if matches!(inquiry.stage, Stage::Waits) {
                let reading = Reading::new();
                inquiry.stage = Stage::Lists { reading, since: now.mono, page: 1, asked: None };
            }
            if let Stage::Lists { page, asked, .. } = &mut inquiry.stage {
                *asked = Some(now.mono);
                let (account, stack, page) = (account.clone(), stack.clone(), *page);
                effects.push(Effect::Send(
                    request,
                    Request::Actions { account, stack, page, purpose: Purpose::Reconcile },
                ));
            }
            self.requests.insert(request, InFlight::ActionLookup(ticket, account.clone(), stack));
        }
    }

    /// A page of a stack's actions was asked for, or could not be read.
    pub(super) fn read(
        &mut self,
        account: AccountName,
        stack: StackUid,
        listed: ActionsListed,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let key = (account, stack);
        let Some(inquiry) = self.doubts.inquiries.get_mut(&key) else {
            return;
        };
        let Stage::Lists { mut reading, since, page, asked } =
            std::mem::replace(&mut inquiry.stage, Stage::Waits)
        else {
            return;
        };
        let next = match listed {
            ActionsListed::Page(listed) => {
                reading.read_clock(&listed, asked.unwrap_or(now.mono), now);
                let ahead = reading.ahead(now);
                let from = self.doubts.of_stack(&key.0, &key.1).map(|(_, doubt)| doubt.span(now, ahead).0);
                // An action's instant is a whole second, cut off.
                let back_to = moved(from.min().unwrap_or(now.wall), -CUT_OFF);
                reading.take(page, listed, back_to)
            }
            ActionsListed::Unanswered { .. } => {
                self.ask_again(&key, now);
                return;
            }
        };
        match next {
            Next::Page(page) => {
                if let Some(inquiry) = self.doubts.inquiries.get_mut(&key) {
                    inquiry.at = now.mono;
                    inquiry.stage = Stage::Lists { reading, since, page, asked: None };
                }
            }
            Next::Complete => {
                let stack = key.1.clone();
                let since_when = self.doubts.of_stack(&key.0, &stack).map(|(_, doubt)| doubt.sent_at).min();
                let since_when = since_when.unwrap_or(now.wall);
                let in_flight = self.in_flight_on(&stack);
                let back = SignedDuration::try_from(self.longest_wait).unwrap_or(SignedDuration::MAX);
                if let Some(inquiry) = self.doubts.inquiries.get_mut(&key) {
                    inquiry.stage = Stage::Recalls { reading, since, in_flight };
                }
                effects.push(Effect::Recall(key.0, stack, moved(since_when, -back)));
            }
            Next::TooLong => {
                let verdicts: Vec<(Id, Verdict)> = (self.doubts.of_stack(&key.0, &key.1))
                    .filter(|(_, doubt)| doubt.over_at <= since)
                    .map(|(id, _)| (id, Verdict::Unknown))
                    .collect();
                self.carry_out(verdicts, now, effects);
                self.ask_later(&key, now);
            }
        }
    }

    /// The actions of a stack that the journal knows. `None` when it cannot be read.
    pub fn recalled(
        &mut self,
        account: AccountName,
        stack: StackUid,
        known: Option<Known>,
        now: Now,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let key = (account, stack);
        let Some(inquiry) = self.doubts.inquiries.get_mut(&key) else {
            return effects;
        };
        let Stage::Recalls { reading, since, in_flight } =
            std::mem::replace(&mut inquiry.stage, Stage::Waits)
        else {
            return effects;
        };
        let Some(known) = known else {
            self.ask_again(&key, now);
            return effects;
        };
        inquiry.failures = 0;
        let verdicts = self.verdicts(&key, reading, since, &in_flight, &known, now);
        self.carry_out(verdicts, now, &mut effects);
        self.ask_later(&key, now);
        effects
    }

    fn verdicts(
        &mut self,
        (account, stack): &(AccountName, StackUid),
        reading: Reading,
        since: Mono,
        in_flight: &[Now],
        known: &Known,
        now: Now,
    ) -> Vec<(Id, Verdict)> {
        let ahead = reading.ahead(now);
        let mut started: HashSet<ActionId> = known.actions.iter().copied().collect();
        let users = |token| self.user_of(account, token, &reading.actions, &started);
        let mut ids = Vec::new();
        let mut keys = Vec::new();
        let mut attempts = Vec::new();
        // Whoever sent them: what is known of the user holds for this account alone.
        for (&id, doubt) in self.doubts.open.iter().filter(|(_, doubt)| doubt.stack == *stack) {
            let standing = if doubt.over_at <= since { Standing::Over } else { Standing::Open };
            let user = if doubt.account == *account { users(doubt.token) } else { None };
            ids.push((id, doubt.account == *account));
            keys.extend(self.pending.get(&id).map(Pending::key));
            attempts.push(doubt.attempt(now, ahead, user, standing));
        }
        let judged = attempts.len();
        for (key, doubt) in self.doubts.unnamed.iter().filter(|(_, doubt)| doubt.stack == *stack) {
            keys.push(key.clone());
            let user = if doubt.account == *account { users(doubt.token) } else { None };
            attempts.push(doubt.attempt(now, ahead, user, Standing::GivenUp));
        }
        let of_this_life = |key: &Key| {
            self.doubts.unnamed.iter().any(|(ours, _)| ours == key)
                || self.doubts.shared_out.occurrences.contains_key(key)
        };
        for former in known.unnamed.iter().filter(|unnamed| !of_this_life(&unnamed.key)) {
            let until = moved(former.sent_at, LONGEST_EFFECT);
            let (from, until) = if ahead.is_some() && self.doubts.former == ClockOf::ThisMachine {
                // As far from the API's time as we are, or right: the clock may have been set since.
                let (right, as_now) =
                    (spread(former.sent_at, until, Some(Ahead::NONE)), spread(former.sent_at, until, ahead));
                (right.0.min(as_now.0), right.1.max(as_now.1))
            } else {
                spread(former.sent_at, until, None)
            };
            keys.push(former.key.clone());
            attempts.push(Attempt { from, until, user: None, standing: Standing::GivenUp });
        }
        for left in in_flight {
            let (from, _) = spread(moved(left.wall, set_since(*left, now)), now.wall, ahead);
            let standing = Standing::InFlight;
            attempts.push(Attempt { from, until: Timestamp::MAX, user: None, standing });
        }
        let shared_out = self.doubts.shared_out.actions.keys().filter(|(on, _)| on == stack);
        started.extend(shared_out.map(|(_, action)| *action));
        let judgement = judge(&attempts, &candidates(reading.actions, &started));
        // An attempt by another account is judged when that account asks, by the same actions.
        if ids.iter().all(|(_, ours)| *ours) && keys.len() + in_flight.len() == attempts.len() {
            self.share_out(stack, &keys, &judgement, now);
        }
        ids.into_iter()
            .zip(judgement.verdicts.into_iter().take(judged))
            .filter(|((_, ours), _)| *ours)
            .map(|((id, _), verdict)| (id, verdict))
            .collect()
    }

    /// Remembers which attempts own which actions together, so that neither competes with others from now on.
    fn share_out(&mut self, stack: &StackUid, keys: &[Key], judgement: &Judgement, now: Now) {
        self.doubts.shared_out.forget_past(now);
        for (key, verdict) in keys.iter().zip(&judgement.verdicts) {
            if matches!(verdict, Verdict::Started(_)) {
                self.doubts.unnamed.retain(|(unnamed, _)| unnamed != key);
                self.doubts.shared_out.occurrences.insert(key.clone(), now.mono);
            }
        }
        let owned = judgement.owned.iter().map(|action| ((stack.clone(), *action), now.mono));
        self.doubts.shared_out.actions.extend(owned);
    }

    /// Whose actions are started by a token, if no action in the list that is known to be ours says otherwise.
    fn user_of(
        &self,
        account: &AccountName,
        token: Token,
        actions: &[Action],
        known: &HashSet<ActionId>,
    ) -> Option<String> {
        let lane = self.lanes.get(account)?;
        let user = lane.user.clone().filter(|_| token == Token::OfReload(lane.reloads))?;
        let ours = actions.iter().filter(|action| action.id.is_some_and(|id| known.contains(&id)));
        let agree = ours.filter_map(|action| action.user.as_ref()).all(|other| *other == user);
        agree.then_some(user)
    }

    fn in_flight_on(&self, stack: &StackUid) -> Vec<Now> {
        let fires = self.requests.values().filter_map(|request| match request {
            InFlight::Fire(_, id, left) => Some((self.pending.get(id)?, *left)),
            _ => None,
        });
        let on_stack = fires.filter(|(pending, _)| pending.entry.stack == *stack);
        on_stack.map(|(_, left)| left).collect()
    }

    /// The list or the journal could not be read.
    fn ask_again(&mut self, key: &(AccountName, StackUid), now: Now) {
        if let Some(inquiry) = self.doubts.inquiries.get_mut(key) {
            inquiry.failures += 1;
            inquiry.stage = Stage::Waits;
            inquiry.at = now.mono + self.backoff.after(inquiry.failures + 1);
        }
    }

    /// Some of it is still to come: an effect that is not shown yet, or an answer.
    fn ask_later(&mut self, key: &(AccountName, StackUid), now: Now) {
        let next = self.doubts.of_stack(&key.0, &key.1).map(|(_, doubt)| doubt.asked_next(now.mono));
        let Some(at) = next.min() else {
            self.doubts.inquiries.remove(key);
            return;
        };
        if let Some(inquiry) = self.doubts.inquiries.get_mut(key) {
            inquiry.stage = Stage::Waits;
            inquiry.at = at.max(now.mono + FIRST);
        }
    }

    /// Gives up those for which nothing could be found out in time.
    pub(super) fn lose_patience(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while let Some(&(at, id)) = self.doubts.patience.first()
            && at <= now.mono
        {
            self.carry_out(vec![(id, Verdict::Unknown)], now, effects);
            self.doubts.patience.remove(&(at, id));
        }
    }

    fn carry_out(&mut self, verdicts: Vec<(Id, Verdict)>, now: Now, effects: &mut Vec<Effect>) {
        let mut entries = BTreeSet::new();
        for (id, verdict) in verdicts {
            let Some(doubt) = (verdict != Verdict::Later).then(|| self.doubts.open.remove(&id)).flatten()
            else {
                continue;
            };
            self.doubts.patience.remove(&(doubt.given_up_at, id));
            let Some(pending) = self.pending.get(&id) else {
                continue;
            };
            let (entry, key) = (Arc::clone(&pending.entry), pending.key());
            if let Some(activity) = self.activity.get_mut(&entry.name) {
                activity.in_doubt -= 1;
            }
            let (word, action_id) = match &verdict {
                Verdict::Started(action) => ("started", action.as_ref().and_then(|action| action.id)),
                Verdict::NotStarted => ("not_started", None),
                Verdict::Unknown | Verdict::Later => ("unknown", None),
            };
            effects.push(log(OccurrenceReconciled {
                entry: entry.name.clone(),
                scheduled_at: pending.scheduled_at,
                pass: pending.pass.into(),
                verdict: word,
                action_id,
            }));
            match verdict {
                Verdict::Started(action) => {
                    self.adopt(id, action.map(|a| *a).unwrap_or_default(), &doubt, now, effects);
                    if action_id.is_none() && !self.doubts.shared_out.occurrences.contains_key(&key) {
                        self.forget_past(now);
                        self.doubts.unnamed.push((key, doubt));
                    }
                }
                Verdict::NotStarted => self.goes_again(id, now, effects),
                Verdict::Unknown | Verdict::Later => {
                    let (error, status, sent_at) = (doubt.error.clone(), doubt.status, doubt.sent_at);
                    self.forget_past(now);
                    self.doubts.unnamed.push((key, doubt));
                    self.stays_unknown(id, &entry, Doubtful { error, sent_at }, status, now, effects);
                }
            }
            entries.insert(entry.name.clone());
        }
        for entry in entries {
            self.release(&entry);
        }
    }

    fn adopt(&mut self, id: Id, action: Action, doubt: &InDoubtAttempt, now: Now, effects: &mut Vec<Effect>) {
        let Some(lane) = self.lanes.get(&doubt.account) else {
            return;
        };
        let (limit, remaining) = (lane.quota.limit(), lane.quota.remaining());
        let began = action.started().filter(|&at| doubt.vague && at > doubt.sent_at);
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.history.attempts = pending.history.attempts.max(1);
        }
        self.started(id, action, (began.unwrap_or(doubt.sent_at), None), limit, remaining, now, effects);
    }

    /// It had no effect: `catch_up` and `start_deadline` decide, as of anything that has waited.
    fn goes_again(&mut self, id: Id, now: Now, effects: &mut Vec<Effect>) {
        if !self.waits_again(id, now, effects) {
            return;
        }
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        pending.waited = true;
        effects.extend(pending.record_waiting("retry"));
        let newest = self.activity.get(&pending.entry.name).and_then(|activity| activity.newest_sent);
        let newer_went = newest.is_some_and(|newest| newest > pending.scheduled_at);
        if newer_went && pending.entry.catch_up == CatchUp::Latest && !pending.is_by_hand() {
            return self.miss(id, "superseded", now, effects);
        }
        self.comes_due(id, now, effects);
    }

    fn stays_unknown(
        &mut self,
        id: Id,
        entry: &Entry,
        doubt: Doubtful,
        status: Option<u16>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if !entry.idempotent {
            return self.unknown(id, doubt.error, effects);
        }
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        let error = doubt.error.clone();
        pending.history.doubt.get_or_insert(doubt);
        if pending.due_at <= now.wall {
            return self.retry(id, error, status, now, effects);
        }
        // The clock was set back: it is not sent before it is due.
        pending.place = Place::Future;
        self.future.insert((pending.due_at, id));
    }

    /// Forgets those whose actions no list that is yet to be read can hold.
    fn forget_past(&mut self, now: Now) {
        let kept = REMEMBERED.unsigned_abs() + BLIND.unsigned_abs() * 2;
        let oldest = self.doubts.open.values().map(|doubt| doubt.seen.mono).min().unwrap_or(now.mono);
        self.doubts.unnamed.retain(|(_, doubt)| doubt.over_at + kept > oldest);
    }
}

/// A span of our clock as the API's shows it, with what may be between them.
fn spread(from: Timestamp, until: Timestamp, ahead: Option<Ahead>) -> (Timestamp, Timestamp) {
    let (Ahead { least, most }, tolerance) = match ahead {
        Some(ahead) => (ahead, TOLERANCE),
        None => (Ahead::NONE, BLIND),
    };
    (moved(from, least - tolerance), moved(until, most + tolerance))
}

fn moved(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(at)
}

/// The wall clock's reading at an instant before or after `now`, if nobody sets it.
fn wall(now: Now, at: Mono) -> Timestamp {
    let span = |mono| SignedDuration::try_from(mono).unwrap_or(SignedDuration::MAX);
    moved(now.wall, span(at).saturating_sub(span(now.mono)))
}

/// By how much the wall clock was set since.
pub(super) fn set_since(then: Now, now: Now) -> SignedDuration {
    wall(now, now.mono).duration_since(wall(then, now.mono))
}
