//! The committed rows of a journal, in memory: for a daemon in virtual time whose disk is made up
//! too.
//!
//! The rule of states is the journal's own (`progress`). That it recovers what the file does is
//! tested below.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::progress::{Progress, Step};
use super::store::{Write, Written};
use super::{
    Claim, Claimed, Cursor, Handover, Key, KnownActions, Origin, Pause, Recovered, Refused, Repeat,
    Repetition, Resent, State, Successor, Transition, Unnamed, whole_micros,
};
use crate::cloud66::ActionId;
use crate::quota;
use crate::schedule::{AccountName, EntryName, StackUid};

/// The committed state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    cursor: Option<Timestamp>,
    repeat: Option<Repeat>,
    older_until: Option<Timestamp>,
    stopped_at: Option<Timestamp>,
    rows: BTreeMap<Key, (Claim, Progress)>,
    /// Left to an earlier pass through their instants.
    kept: BTreeSet<Key>,
    paused: BTreeMap<EntryName, Pause>,
    quotas: BTreeMap<AccountName, quota::SavedQuota>,
    resent: BTreeMap<Key, Resent>,
}

/// The row of an occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemoryRow {
    pub(crate) state: State,
    pub(crate) is_settled: bool,
    pub(crate) action: Option<ActionId>,
    pub(crate) sent_at: Option<Timestamp>,
    pub(crate) reason: Option<String>,
    pub(crate) origin: Origin,
}

impl MemoryRow {
    /// The first run's instant of what repeats one, its own otherwise.
    pub(crate) fn first(&self, key: &Key) -> Timestamp {
        self.origin.first(key.scheduled_at())
    }
}

impl Memory {
    /// Claims what is not known yet, and moves the cursor on.
    pub(crate) fn claim(&mut self, cursor: Option<Cursor>, claims: &[Claim]) -> Claimed {
        let claimed = self.claim_all(claims);
        let Some(Cursor { at, repeat, older_until }) = cursor else { return claimed };
        self.older_until = self.older_until.max(older_until.map(whole_micros));
        match repeat {
            Some(Repeat { pass, from, until }) => {
                self.cursor = Some(whole_micros(at));
                self.repeat = Some(Repeat { pass, from: whole_micros(from), until: whole_micros(until) });
            }
            None => self.cursor = self.cursor.max(Some(whole_micros(at))),
        }
        claimed
    }

    /// Claims what is not known yet, and leaves the cursor.
    pub(crate) fn claim_all(&mut self, claims: &[Claim]) -> Claimed {
        let mut claimed = Claimed::default();
        for claim in claims {
            let is_there = self.rows.contains_key(&claim.key);
            if is_there || self.is_kept_by_another_pass(claim) {
                if !is_there {
                    self.kept.insert(claim.key.clone());
                }
                claimed.known.push(claim.key.clone());
                continue;
            }
            let claim = Claim {
                due_at: whole_micros(claim.due_at),
                deadline: whole_micros(claim.deadline),
                ..claim.clone()
            };
            self.rows.insert(claim.key.clone(), (claim, Progress::due()));
        }
        claimed
    }

    /// Ends an occurrence, and claims what follows.
    pub(crate) fn end(&mut self, handover: &Handover) -> Option<Refused> {
        let refused = self.step(&handover.key, &handover.end);
        for Successor { claim, given_up } in &handover.next {
            self.claim_all(std::slice::from_ref(claim));
            if let Some(end) = given_up {
                self.step(&claim.key, end);
            }
        }
        refused
    }

    /// Returns true when another pass through the instant settles the claim of this pass.
    fn is_kept_by_another_pass(&self, claim: &Claim) -> bool {
        let in_pass = |pass| claim.key.clone().in_pass(pass);
        let once = claim.repetition == Repetition::Once;
        self.rows.range(in_pass(0)..=in_pass(u32::MAX)).any(|(key, (_, progress))| match progress.state {
            State::Due | State::Waiting => once || key.pass() < claim.key.pass(),
            State::Rejected | State::Missed | State::Skipped => false,
            _ => once,
        })
    }

    /// Changes what is claimed, if it is open.
    pub(crate) fn amend(&mut self, claim: &Claim) {
        if let Some((known, _)) = self.rows.get_mut(&claim.key).filter(|(_, progress)| !progress.is_settled())
        {
            *known = Claim {
                due_at: whole_micros(claim.due_at),
                deadline: whole_micros(claim.deadline),
                origin: known.origin.clone(),
                ..claim.clone()
            };
        }
    }

    /// Applies a move to what is claimed, if it goes further.
    pub(crate) fn step(&mut self, key: &Key, mv: &Transition) -> Option<Refused> {
        let refused = |from| Some(Refused::Backwards { key: key.clone(), from, to: mv.state() });
        let Some((_, standing)) = self.rows.get_mut(key) else {
            return refused(None);
        };
        match standing.step(mv) {
            Step::Further(further) => *standing = further,
            Step::Stays => {}
            Step::Refused => return refused(Some(standing.state)),
        }
        None
    }

    pub(crate) fn save_quota(&mut self, account: AccountName, saved: quota::SavedQuota) {
        self.quotas.insert(account, saved);
    }

    /// Leaves what is open as it is said to stand. False when it is not open.
    pub(super) fn overwrite(&mut self, key: &Key, standing: &Progress) -> bool {
        match self.rows.get_mut(key) {
            Some((_, known)) if !known.is_settled() => {
                *known = standing.clone();
                true
            }
            _ => false,
        }
    }

    /// Forgets a claim.
    pub(super) fn withdraw(&mut self, key: &Key) {
        self.rows.remove(key);
    }

    /// Claimed, and nothing else.
    pub(super) fn is_untouched(&self, key: &Key) -> bool {
        self.rows.get(key).is_some_and(|(_, standing)| *standing == Progress::due())
    }

    pub(super) fn settled(&self, key: &Key) -> Option<Progress> {
        let (_, standing) = self.rows.get(key)?;
        standing.is_settled().then(|| standing.clone())
    }

    pub(super) fn open(&self) -> impl Iterator<Item = (Key, Progress)> {
        let open = self.rows.iter().filter(|(_, (_, standing))| !standing.is_settled());
        open.map(|(key, (_, standing))| (key.clone(), standing.clone()))
    }

    /// Performs writes in their order, and says of each what came of it.
    pub(crate) fn write(&mut self, writes: &[Write<'_>]) -> Vec<Written> {
        let perform = |write: &Write<'_>| match *write {
            Write::Steps(steps) => {
                Written::Steps(steps.iter().filter_map(|(key, mv)| self.step(key, mv)).collect())
            }
            Write::Claim(cursor, claims) => Written::Claimed(self.claim(cursor, claims)),
            Write::Quota(account, saved) => {
                self.save_quota(account.clone(), saved.clone());
                Written::Done
            }
            // Daemons make no decision by the schedules that were in force, so this model leaves
            // them out.
            Write::InForce(..) => Written::Done,
            Write::End(handover) => Written::Steps(self.end(handover).into_iter().collect()),
            Write::Amend(claim) => {
                self.amend(claim);
                Written::Done
            }
            Write::Resent(resent) => {
                self.resent(resent);
                Written::Done
            }
            Write::Pause(entry, pause) => {
                self.pause(entry.clone(), pause.clone());
                Written::Done
            }
            Write::Resume(entry) => {
                self.resume(entry);
                Written::Done
            }
            Write::Stopped(at) => {
                self.stopped(at);
                Written::Done
            }
        };
        writes.iter().map(perform).collect()
    }

    /// Keeps what is said of an occurrence that was sent again.
    pub(crate) fn resent(&mut self, resent: &Resent) {
        match resent.watch.is_none() && resent.surplus.is_none() {
            true => drop(self.resent.remove(&resent.key)),
            false => drop(self.resent.insert(resent.key.clone(), resent.clone())),
        }
    }

    /// The daemon ended in order.
    pub(crate) fn stopped(&mut self, at: Timestamp) {
        self.stopped_at = Some(whole_micros(at));
    }

    pub(crate) fn pause(&mut self, entry: EntryName, pause: Pause) {
        self.paused.insert(entry, pause);
    }

    pub(crate) fn resume(&mut self, entry: &EntryName) {
        self.paused.remove(entry);
    }

    /// The actions known of a stack, of the occurrences scheduled since then; and those of the
    /// listed ones that are of earlier ones.
    pub(crate) fn actions(&self, stack: &StackUid, since: Timestamp, listed: &[ActionId]) -> KnownActions {
        let mut known = KnownActions::default();
        let surplus = self.resent.values().filter(|resent| resent.stack == *stack);
        known.actions.extend(surplus.filter_map(|resent| resent.surplus));
        for (key, (claim, standing)) in self.rows.iter().filter(|(_, (claim, _))| claim.stack == *stack) {
            let is_recent = *key >= first_at(since);
            let may_own = is_recent && matches!(standing.state, State::Started | State::Unknown);
            match standing.action.filter(|action| is_recent || listed.contains(action)) {
                Some(action) => {
                    known.actions.push(action);
                    known.jobs.insert(action, claim.job.clone());
                }
                None if may_own => {
                    let sent_at = standing.sent_at.unwrap_or(claim.due_at);
                    known.unnamed.push(Unnamed { key: key.clone(), sent_at });
                }
                None => {}
            }
        }
        known
    }

    /// Returns the state that a former daemon left, and forgets its orderly stop.
    pub(crate) fn recover(&mut self) -> Recovered {
        let mut recovered = Recovered {
            cursor: self.cursor,
            repeat: self.repeat,
            older_until: self.older_until,
            stopped_at: self.stopped_at.take(),
            paused: self.paused.clone().into_iter().collect(),
            quotas: self.quotas.clone().into_iter().collect(),
            resent: self.resent.values().filter(|resent| resent.watch.is_some()).cloned().collect(),
            ..Recovered::default()
        };
        for (claim, standing) in self.rows.values().filter(|(_, standing)| !standing.is_settled()) {
            recovered.add(claim.clone(), standing.clone()).expect("what is not settled is open");
        }
        recovered
    }

    /// Returns the cursor: every occurrence that was scheduled before it and had to be claimed is
    /// claimed.
    pub(crate) fn cursor(&self) -> Option<Timestamp> {
        self.cursor
    }

    /// The last stretch that the clock went through again.
    pub(crate) fn repeat(&self) -> Option<Repeat> {
        self.repeat
    }

    /// Returns true when an occurrence of a further pass was not claimed because an earlier pass
    /// settles it.
    pub(crate) fn is_left_to_former_pass(&self, key: &Key) -> bool {
        self.kept.contains(key)
    }

    /// Returns true when the journal has it that the API's clock was seen so far ahead.
    pub(crate) fn knows_clock(&self, ahead: SignedDuration) -> bool {
        let mut clocks = self.quotas.values().flat_map(|saved| &saved.clocks);
        clocks.any(|clock| i128::from(clock.ahead_ms).abs_diff(ahead.as_millis()) <= 2500)
    }

    /// Returns the row of an occurrence. `None`: it was never claimed.
    pub(crate) fn row(&self, key: &Key) -> Option<MemoryRow> {
        self.rows.get(key).map(row)
    }

    /// Returns the rows of all occurrences that were ever claimed, by scheduled_at.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&Key, MemoryRow)> {
        self.rows.iter().map(|(key, kept)| (key, row(kept)))
    }
}

/// Before every key of an instant.
fn first_at(at: Timestamp) -> Key {
    Key::new(EntryName::new("0").expect("a name"), at)
}

fn row((claim, standing): &(Claim, Progress)) -> MemoryRow {
    MemoryRow {
        state: standing.state,
        is_settled: standing.is_settled(),
        action: standing.action,
        sent_at: standing.sent_at,
        reason: standing.reason.clone(),
        origin: claim.origin.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Journal, Opened, ResentWatch, Started};
    use super::*;
    use crate::schedule::JobUid;

    /// A question to both journals.
    #[derive(Clone, Debug)]
    enum Ask {
        Claim(i64, Vec<i64>),
        Transition(i64, Transition),
        Quota(u32),
        Pause(bool),
        /// Sends it to another job, later.
        Amend(i64, i64),
        Actions(i64),
        /// Sent again: read on or not, with a surplus action or none.
        Resent(i64, bool, Option<ActionId>),
        /// Closes it in order, and opens it again.
        Stop(i64),
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_nanosecond(i128::from(millis) * 1_000_000 + 789).expect("an instant")
    }

    fn key(number: i64) -> Key {
        Key::new(EntryName::new(["a", "b"][(number % 2) as usize]).expect("a name"), at(number * 1000))
    }

    fn claim_of(number: i64) -> Claim {
        Claim {
            key: key(number),
            account: AccountName::new("main").expect("a name"),
            stack: StackUid::new("s").expect("a uid"),
            job: JobUid::new("j").expect("a uid"),
            due_at: at(number * 1000 + 500),
            deadline: at(number * 1000 + 60_000),
            origin: Origin::Schedule,
            repetition: Repetition::default(),
        }
    }

    fn asks() -> impl Strategy<Value = Ask> {
        let attempts = 0u32..3;
        let mv = prop_oneof![
            attempts.clone().prop_map(|attempts| Transition::Waiting { attempts, reason: "retry".into() }),
            attempts.clone().prop_map(|attempts| Transition::Sending { attempts, sent_at: at(7) }),
            attempts.prop_map(|attempts| Transition::Started {
                attempts,
                sent_at: at(7),
                action: Started::Followed(9)
            }),
            Just(Transition::Finished { success: Some(true), finished_at: at(8), message: None }),
            Just(Transition::Missed { reason: "deadline".into() }),
            Just(Transition::Unknown { error: "lost".to_owned() }),
        ];
        prop_oneof![
            2 => (0i64..9000, prop::collection::vec(0i64..5, 0..4))
                .prop_map(|(cursor, numbers)| Ask::Claim(cursor, numbers)),
            4 => (0i64..6, mv).prop_map(|(number, mv)| Ask::Transition(number, mv)),
            1 => (1u32..100).prop_map(Ask::Quota),
            1 => any::<bool>().prop_map(Ask::Pause),
            2 => (0i64..6, 0i64..5).prop_map(|(number, later)| Ask::Amend(number, later)),
            1 => (0i64..5).prop_map(Ask::Actions),
            1 => (0i64..5, any::<bool>(), proptest::option::of(70u64..75))
                .prop_map(|(number, watched, surplus)| Ask::Resent(number, watched, surplus)),
            1 => (0i64..9000).prop_map(Ask::Stop),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_recovers_what_the_file_does(asks in prop::collection::vec(asks(), 1..30)) {
            let directory = tempfile::tempdir().expect("a directory");
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let mut memory = Memory::default();
            runtime.block_on(async {
                let Opened { mut journal, .. } = Journal::open(directory.path()).expect("a journal");
                for ask in asks.into_iter().chain([Ask::Stop(9)]) {
                    match ask {
                        Ask::Claim(cursor, numbers) => {
                            let claims: Vec<Claim> = numbers.into_iter().map(claim_of).collect();
                            let claimed = journal.claim(at(cursor), claims.clone()).await.expect("claimed");
                            prop_assert_eq!(claimed, memory.claim(Some(at(cursor).into()), &claims));
                        }
                        Ask::Transition(number, mv) => {
                            let moves = vec![(key(number), mv.clone())];
                            let refused = journal.commit(moves).await.expect("written");
                            let modelled: Vec<Refused> = memory.step(&key(number), &mv).into_iter().collect();
                            prop_assert_eq!(refused, modelled);
                        }
                        Ask::Quota(limit) => {
                            let account = AccountName::new("main").expect("a name");
                            let saved = quota::SavedQuota { limit, ..quota::SavedQuota::default() };
                            journal.save_quota(account.clone(), saved.clone());
                            memory.save_quota(account, saved);
                        }
                        Ask::Amend(number, later) => {
                            let claim = Claim {
                                job: JobUid::new("k").expect("a uid"),
                                due_at: at(number * 1000 + later),
                                deadline: at(number * 1000 + 60_000 + later),
                                ..claim_of(number)
                            };
                            journal.amend(claim.clone());
                            memory.amend(&claim);
                        }
                        Ask::Resent(number, watched, surplus) => {
                            let Claim { key, account, stack, .. } = claim_of(number);
                            let (from, until) = (key.scheduled_at(), Some(whole_micros(at(number))));
                            let watch = ResentWatch { account, from, first_action: surplus, until };
                            let resent = Resent { key, stack, surplus, watch: watched.then_some(watch) };
                            journal.resent(resent.clone());
                            memory.resent(&resent);
                        }
                        Ask::Pause(paused) => {
                            let entry = key(1).entry().clone();
                            if paused {
                                let pause = Pause { since: at(9), by: "root".to_owned(), until: None, note: None };
                                journal.pause(entry.clone(), pause.clone()).await.expect("written");
                                memory.pause(entry, pause);
                            } else {
                                journal.resume(entry.clone()).await.expect("written");
                                memory.resume(&entry);
                            }
                        }
                        Ask::Actions(since) => {
                            let (stack, since) = (claim_of(0).stack, at(since * 1000));
                            let mut known = journal.actions(stack.clone(), since, vec![9, 70]).await.expect("read");
                            known.actions.sort_unstable();
                            known.unnamed.sort_by(|a, b| a.key.cmp(&b.key));
                            let mut modelled = memory.actions(&stack, since, &[9, 70]);
                            modelled.actions.sort_unstable();
                            prop_assert_eq!(known, modelled);
                        }
                        Ask::Stop(stopped_at) => {
                            journal.close(at(stopped_at)).await.expect("closed");
                            memory.stopped(at(stopped_at));
                            let opened = Journal::open(directory.path()).expect("opened again");
                            prop_assert_eq!(opened.recovered, memory.recover());
                            journal = opened.journal;
                        }
                    }
                }
                Ok(())
            })?;
        }
    }
}
