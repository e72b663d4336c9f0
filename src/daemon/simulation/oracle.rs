//! The history of a run, and the judge of it: against the server's ledger, the journal, and a
//! reading of the schedule that is not the timetable's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::links;
use super::policies::PolicyOracle;
use super::scenario::{Act, Scenario, token};
use super::shown::{AHEAD, PlanProgress, ShownTime};
use super::spending::Spending;
use crate::clock::Now;
use crate::journal::memory::Memory;
use crate::journal::{Key, Origin, Pause, Reached, Recovered, Repeat, State};
use crate::log::Event;
use crate::occurrence::Reason;
use crate::quota::QuotaAnswer;
use crate::rehearsal::network::Network;
use crate::sandbox;
use crate::schedule::{AccountName, EntryName, QuotaSettings, Schedule};

/// A clock that is further from the API's is wrong.
const CLOCKS_APART: SignedDuration = SignedDuration::from_secs(5);

/// An effect that comes so long after its request was sent is taken not to come.
const BOUND: SignedDuration = SignedDuration::from_secs(119);

/// No request is waited for longer: the longest timeout of an account, and the time to give up.
const LONGEST_ANSWER: SignedDuration = SignedDuration::from_secs(20);

/// Tells for a look at what runs cover that a leader found a claim unsent, though the one before
/// was permitted to send it.
pub(super) const UNSENT: &str = "not sent by the word of a former leader";

pub(super) struct Oracle<'a> {
    scenario: &'a Scenario,
    trace: Option<Vec<String>>,
    violation: Option<String>,
    sent: Vec<RecordedSend>,
    /// The instants that the wall clock has shown.
    shown: ShownTime,
    /// The journal has a cursor: from here on every occurrence counts.
    begun: bool,
    file: usize,
    /// Occurrences that come due later are not judged.
    duty: Timestamp,
    /// Instants about which a claim may be made or not, and it may not be made though it should
    /// have been: the process died after a reload.
    undone: Vec<(Timestamp, Timestamp)>,
    /// The same, should the process die before what a reload did is written.
    vague_if_it_dies: Vec<(Timestamp, Timestamp)>,
    spending: BTreeMap<AccountName, Spending>,
    /// The settings of each token's quota by the newest file that has the token: they count for
    /// what an account that is gone or renamed still asks.
    quotas: BTreeMap<AccountName, QuotaSettings>,
    /// The entries that somebody paused, and was told so.
    paused: BTreeMap<EntryName, Pause>,
    /// The journal was an older copy of itself: what an occurrence scheduled before had led to may
    /// be forgotten.
    older_until: Option<Timestamp>,
    /// Second actions that were told, and of which occurrence.
    surplus: Vec<(Key, u64)>,
    policies: PolicyOracle,
    /// Adopted without a record of when they were sent.
    adopted: BTreeSet<Key>,
    /// The journal was put back to an older copy since this life began, and has lost claims that it
    /// may send.
    pub(super) is_behind: bool,
    /// The final states that were told, in their order, and by which life.
    told: BTreeMap<Key, Vec<(&'static str, u32)>>,
    /// For a look at what runs cover.
    pub(super) seen: BTreeSet<&'static str>,
}

struct RecordedSend {
    key: Option<Key>,
    account: AccountName,
    wall: Timestamp,
    /// By the API's clock.
    server: Timestamp,
    settings: QuotaSettings,
    /// The journal has the difference between the clocks by which it is sent.
    is_clock_known: bool,
}

impl<'a> Oracle<'a> {
    pub(super) fn new(scenario: &'a Scenario, trace: bool) -> Oracle<'a> {
        Oracle {
            scenario,
            trace: trace.then(Vec::new),
            violation: None,
            sent: Vec::new(),
            shown: ShownTime::default(),
            begun: false,
            file: 0,
            duty: Timestamp::MAX,
            undone: Vec::new(),
            vague_if_it_dies: Vec::new(),
            spending: BTreeMap::new(),
            quotas: BTreeMap::new(),
            paused: BTreeMap::new(),
            older_until: None,
            surplus: Vec::new(),
            policies: PolicyOracle::default(),
            adopted: BTreeSet::new(),
            is_behind: false,
            told: BTreeMap::new(),
            seen: BTreeSet::new(),
        }
    }

    pub(super) fn traces(&self) -> bool {
        self.trace.is_some()
    }

    pub(super) fn note(&mut self, time: Duration, wall: Timestamp, what: String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>12.6} {wall:.6} {what}", time.as_secs_f64()));
        }
    }

    pub(super) fn trace(self) -> Vec<String> {
        self.trace.unwrap_or_default()
    }

    /// The first invariant that did not hold.
    pub(super) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    pub(super) fn holds(&self) -> bool {
        self.violation.is_none()
    }

    pub(super) fn violated(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub(super) fn starts(&mut self, life: u32, file: usize, wall: Timestamp, recovered: &Recovered) {
        self.is_behind = false;
        // A crash of the machine between the mark of how far the journal reaches and the journal's
        // own write leaves a journal that looks like an older copy.
        self.older_until = self.older_until.max(recovered.older_until);
        if life > 1 && file != self.file {
            // A restart under another file decides on occurrences that were claimed ahead, and is
            // not judged.
            let shown = self.shown().unwrap_or(wall);
            self.shown.doubts(shown - AHEAD, shown.max(wall) + AHEAD);
        }
        self.shown.starts(recovered.cursor, recovered.repeat, self.begun);
        for open in recovered.open.iter().filter(|open| open.reached == Reached::Unsent) {
            self.was_not_sent(&open.claim.key);
        }
        self.takes_over(file);
        let in_order = recovered.stopped_at.is_some();
        self.spending.values_mut().for_each(|spending| spending.starts(in_order));
    }

    /// A process goes by another file.
    fn takes_over(&mut self, file: usize) {
        self.file = file;
        let accounts = &self.scenario.files[file].schedule.accounts;
        self.quotas.extend(accounts.iter().map(|account| (token(account), account.quota)));
    }

    /// A leader takes a claim of a former term for one that was not sent.
    pub(super) fn was_not_sent(&mut self, key: &Key) {
        self.seen.insert(UNSENT);
        if self.sent.iter().any(|sent| sent.key.as_ref() == Some(key)) {
            self.violated(format!("{key} was sent, and a leader takes it for one that was not"));
        }
    }

    pub(super) fn reloads(&mut self, file: usize) {
        self.takes_over(file);
        if let Some(shown) = self.shown() {
            self.vague_if_it_dies.push((shown - AHEAD, shown + AHEAD));
        }
    }

    /// A reload takes over at this instant.
    pub(super) fn passes(&mut self, wall: Timestamp) {
        self.shown.passes(wall, self.file);
    }

    /// The daemon has looked at its clocks.
    pub(super) fn sees(&mut self, now: Now, planned: PlanProgress) {
        if let Err(what) = self.shown.sees(now, self.file, planned) {
            self.violated(what);
        }
    }

    /// The latest that the wall clock has shown, as far as somebody knows of it.
    pub(super) fn shown(&self) -> Option<Timestamp> {
        self.shown.until()
    }

    /// Occurrences that come due later are not judged.
    pub(super) fn duty_ends(&self) -> Timestamp {
        self.shown().unwrap_or(Timestamp::MIN).min(self.duty)
    }

    /// Takes in that no fault happens from now on.
    pub(super) fn all_is_well(&mut self, wall: Timestamp) {
        self.duty = wall;
    }

    /// The journal has claims.
    pub(super) fn claimed(&mut self, committed: &Memory) {
        self.begun |= committed.cursor().is_some();
    }

    /// Instants that no journal knows come due in another life.
    pub(super) fn died(&mut self, committed: &Memory) {
        self.undone.append(&mut self.vague_if_it_dies);
        if let Some(cursor) = committed.cursor() {
            self.begun = true;
            self.shown.died(cursor, committed.repeat(), self.file);
        }
    }

    /// The journal is an older copy of itself. What came due since is planned again, by the file of
    /// the next life.
    pub(super) fn is_restored(&mut self, cursor: Timestamp, repeat: Option<Repeat>) {
        self.is_behind = true;
        let until = self.shown().unwrap_or(cursor).max(cursor) + AHEAD;
        self.older_until = self.older_until.max(Some(until));
        self.shown.is_restored(cursor, repeat, self.file);
        // Where the file has changed since, occurrences of the former file that the copy has not
        // claimed ahead are not planned again.
        self.undone.push((cursor - AHEAD, cursor));
    }

    pub(super) fn sends(
        &mut self,
        (asked, time): (Duration, Duration),
        wall: Timestamp,
        account: &AccountName,
        key: Option<Key>,
        committed: &Memory,
        network: &Network,
    ) -> usize {
        let number = self.sent.len();
        let settings = self.quotas.get(account).copied();
        let settings = settings.unwrap_or(self.scenario.universe.accounts[0].quota);
        if let Some(key) = key.as_ref().filter(|_| !self.is_behind) {
            match committed.row(key) {
                None => self.violated(format!("{key} is sent and not claimed")),
                Some(row) if row.is_settled => self.violated(format!("{key} is sent and settled: {row:?}")),
                Some(row) if row.state == State::Waiting => {
                    self.violated(format!("{key} is sent, and the journal has it that it waits"));
                }
                Some(_) => {}
            }
        }
        let server = self.scenario.start + SignedDuration::try_from(time).unwrap_or_default();
        if let Some(key) = key.as_ref().filter(|key| !self.is_behind && !is_by_hand(key)) {
            // Where an answer is awaited that tells of the quota, nobody says that it is spent.
            let awaited_from = server - wall.duration_since(key.scheduled_at()) - LONGEST_ANSWER;
            let waits = |sent: &RecordedSend| sent.account == *account && sent.server >= awaited_from;
            let was_sent = |sent: &RecordedSend| sent.key.as_ref() == Some(key);
            let decided = wall - SignedDuration::try_from(time.saturating_sub(asked)).unwrap_or_default();
            if !self.sent.iter().any(|sent| waits(sent) || was_sent(sent))
                && let Err(what) = self.policies.sends(self.scenario, key, decided)
            {
                self.violated(what);
            }
        }
        let spending = self.spending.entry(account.clone()).or_default();
        if let Err(what) = spending.sends(number, (asked, time), settings, (network, self.scenario.apart)) {
            self.violated(format!("quota of {account}: #{number}: {what}"));
        }
        let is_clock_known = committed.knows_clock(server.duration_since(wall));
        self.sent.push(RecordedSend {
            key,
            account: account.clone(),
            wall,
            server,
            settings,
            is_clock_known,
        });
        number
    }

    /// A person asks for a run under this instant.
    pub(super) fn asks(&mut self, at: Timestamp) {
        self.policies.asks(at);
    }

    /// A process begins with these entries paused.
    pub(super) fn knows_paused(&mut self, entries: &[(EntryName, Pause)]) {
        self.paused = entries.iter().cloned().collect();
    }

    pub(super) fn paused(&mut self, entry: &EntryName, pause: &Pause) {
        self.paused.insert(entry.clone(), pause.clone());
    }

    pub(super) fn resumed(&mut self, entry: &EntryName) {
        self.paused.remove(entry);
    }

    /// An occurrence is decided to be sent, under a schedule.
    pub(super) fn may_be_sent(&mut self, key: Option<&Key>, schedule: &Schedule) {
        if let Some(key) = key.filter(|key| !is_by_hand(key))
            && schedule.entries.iter().any(|entry| entry.name == *key.entry() && entry.paused)
        {
            self.violated(format!("{key} is sent, and the schedule has paused its entry"));
        }
        if let Some(key) = key
            && let Some(pause) = self.paused.get(key.entry())
            && !is_by_hand(key)
            // A pause ends for what is due from its end on, whatever delay the file of its claim
            // gave it.
            && self.delays(key.entry()).all(|delay| pause.keeps_back(key.scheduled_at() + delay))
        {
            self.violated(format!("{key} is sent, and somebody has paused its entry"));
        }
    }

    /// The delays that an entry has by any file.
    fn delays(&self, name: &EntryName) -> impl Iterator<Item = Duration> {
        let entries = self.scenario.files.iter().flat_map(|file| &file.schedule.entries);
        entries.filter(move |entry| entry.name == *name).map(|entry| entry.delay())
    }

    /// A request is admitted, and leaves later or never.
    pub(super) fn admits(&mut self, account: &AccountName, time: Duration) {
        self.spending.entry(account.clone()).or_default().admits(time);
    }

    /// One that was admitted leaves, or will not.
    pub(super) fn was_admitted(&mut self, account: &AccountName) {
        self.spending.entry(account.clone()).or_default().was_admitted();
    }

    pub(super) fn flies(&mut self, number: usize, flight: u64) {
        if let Some(spending) = self.spending.get_mut(&self.sent[number].account) {
            spending.flies(number, flight);
        }
    }

    pub(super) fn ended(
        &mut self,
        number: usize,
        time: Duration,
        answer: Option<QuotaAnswer>,
        network: &Network,
    ) {
        let sent = &self.sent[number];
        if let Some(spending) = self.spending.get_mut(&sent.account) {
            spending.ended(number, time, answer, sent.settings, network);
        }
    }

    /// An occurrence may be given up, under a schedule: not before its deadline by that one.
    pub(super) fn is_missed(&mut self, event: &Event, schedule: &Schedule) {
        if let Event::OccurrenceMissed(e) = event
            && e.reason == Reason::Deadline
            && let Some(entry) = schedule.entries.iter().find(|entry| entry.name == e.entry)
            && i128::from(e.lateness_ms)
                < i128::try_from(entry.start_deadline.as_millis()).unwrap_or(i128::MAX)
        {
            self.violated(format!("{} of {} is missed before its deadline", e.entry, e.scheduled_at));
        }
    }

    /// An operator reads the log.
    pub(super) fn told(&mut self, life: u32, event: Event) {
        self.seen.insert(event.name());
        if let Err(what) = self.policies.told(&event, self.scenario) {
            self.violated(what);
        }
        let (entry, at, pass, state) = match &event {
            Event::ActionStarted(e) => (&e.entry, e.scheduled_at, e.pass, "started"),
            Event::ActionFinished(e) if e.action.succeeded() => {
                (&e.entry, e.scheduled_at, e.pass, "finished")
            }
            Event::ActionFinished(e) => (&e.entry, e.scheduled_at, e.pass, "failed"),
            Event::ActionUnfinished(e) => (&e.entry, e.scheduled_at, e.pass, "started"),
            Event::OccurrenceMissed(e) => (&e.entry, e.scheduled_at, e.pass, "missed"),
            Event::OccurrenceSkipped(e) => (&e.entry, e.scheduled_at, e.pass, "skipped"),
            Event::OccurrenceRejected(e) => (&e.entry, e.scheduled_at, e.pass, "rejected"),
            Event::OccurrenceReconciled(e) => {
                self.adopted.insert(Key::new(e.entry.clone(), e.scheduled_at).in_pass(e.pass.number()));
                return;
            }
            Event::OccurrenceUnknown(e) => (&e.entry, e.scheduled_at, e.pass, "unknown"),
            Event::OccurrenceSurplus(e) => {
                self.surplus
                    .push((Key::new(e.entry.clone(), e.scheduled_at).in_pass(e.pass.number()), e.action_id));
                return;
            }
            _ => return,
        };
        let key = Key::new(entry.clone(), at).in_pass(pass.number());
        let ends = matches!(event, Event::ActionFinished(_) | Event::ActionUnfinished(_));
        let told = self.told.entry(key.clone()).or_default();
        let before = told.iter().rev().find(|&&(_, by)| by == life).map(|&(before, _)| before);
        told.push((state, life));
        if let Some(before) = before.filter(|&before| !(ends && before == "started")) {
            self.violated(format!("{key} is told to be {before}, then {state}"));
        }
    }

    /// An occurrence that came due and is not claimed.
    pub(super) fn owes(&self, committed: &Memory) -> Option<Key> {
        if !self.begun {
            return None;
        }
        self.expected().find(|key| !self.has(committed, key))
    }

    /// Occurrences that came due, in each pass through their instant.
    fn expected(&self) -> impl Iterator<Item = Key> + '_ {
        self.shown.stretches().iter().flat_map(move |stretch| {
            self.scenario.files[stretch.file].lines.iter().flat_map(move |line| {
                let due = line.due.between(stretch.after, stretch.until.min(self.duty));
                due.filter(|&at| !self.is_undone(at)).map(move |at| {
                    Key::new(line.entry.name.clone(), at).in_pass(self.shown.pass_of(at, stretch))
                })
            })
        })
    }

    /// Returns true when the entry has an appointment at this instant by every file by which it is
    /// due.
    fn is_appointment(&self, key: &Key) -> bool {
        let due = self.scenario.files.iter().filter_map(|file| file.due(key.entry()));
        let mut then = due.filter(|due| due.is_at(key.scheduled_at())).peekable();
        then.peek().is_some() && then.all(|due| due.is_appointment())
    }

    /// Returns true when an occurrence is claimed, or was left to an earlier pass that has not
    /// ended.
    fn has(&self, committed: &Memory, key: &Key) -> bool {
        committed.row(key).is_some() || committed.is_left_to_former_pass(key)
    }

    fn is_undone(&self, at: Timestamp) -> bool {
        self.undone.iter().any(|&(from, until)| from <= at && at <= until)
    }

    /// Holds the end of a run against the invariants.
    pub(super) fn judge(&mut self, committed: &Memory, api: &sandbox::SandboxState) {
        if self.violation.is_some() {
            return;
        }
        let mut started: BTreeMap<&Key, Vec<u64>> = BTreeMap::new();
        // Effects that came later than an attempt is waited for.
        let mut late: BTreeMap<u64, &Key> = BTreeMap::new();
        let began: BTreeMap<u64, Timestamp> =
            api.actions().map(|action| (action.id, action.started_at)).collect();
        for record in api.ledger().started() {
            let number = record.args.as_deref().and_then(|args| args.parse::<usize>().ok());
            if let Some((key, action)) =
                number.and_then(|number| self.sent[number].key.as_ref()).zip(record.action)
            {
                started.entry(key).or_default().push(action);
                let sent = number.map_or(Timestamp::MAX, |number| self.sent[number].server);
                if began.get(&action).is_some_and(|began| began.duration_since(sent) >= BOUND) {
                    late.insert(action, key);
                }
            }
        }
        let success: BTreeMap<u64, bool> =
            api.actions().map(|action| (action.id, action.success && action.finishes_at.is_some())).collect();
        let mut wrong = Vec::new();
        let mut doubled = false;
        for (key, actions) in started.iter().filter(|(_, actions)| actions.len() > 1) {
            let mut entries = self.scenario.universe.entries.iter();
            let is_late = actions.iter().any(|action| late.contains_key(action));
            let is_idempotent = entries.any(|entry| entry.name == *key.entry() && entry.idempotent);
            if is_idempotent || is_late || self.was_sent_by_a_wrong_clock(key) {
                doubled = true;
            } else {
                wrong.push(format!("{key} started the actions {actions:?}"));
            }
            let told = |action: &&u64| self.surplus.iter().any(|(_, told)| told == *action);
            let own = committed.row(key).and_then(|row| row.action);
            let untold = actions.iter().filter(|action| Some(**action) != own && !told(action)).count();
            let adopted = committed.rows().any(|(other, row)| {
                other != *key && row.action.is_some_and(|action| actions.contains(&action))
            });
            // Of an idempotent one, nothing may tell its actions from those of others that are in
            // doubt for good; and where people use the token, from theirs.
            let is_certain = own.is_some_and(|own| actions.contains(&own))
                && !is_idempotent
                && self.scenario.people.is_none();
            // An occurrence of the stack that stays unknown may own the second action, so that
            // nobody can say whose it is.
            let stacks = |name: &EntryName| {
                let named = self.scenario.universe.entries.iter().filter(move |entry| entry.name == *name);
                named.map(|entry| &entry.stack).collect::<BTreeSet<_>>()
            };
            let own_stacks = stacks(key.entry());
            let claimed_by_others = committed.rows().any(|(other, row)| {
                row.state == State::Unknown
                    && other != *key
                    && !stacks(other.entry()).is_disjoint(&own_stacks)
            });
            if is_certain && untold > 0 && !adopted && !(is_late && claimed_by_others) {
                wrong
                    .push(format!("{key} started {actions:?}, is known by {own:?}, and nothing tells of it"));
            }
        }
        let mut kept: BTreeMap<Key, usize> = BTreeMap::new();
        for (key, actions) in started.iter().filter(|(key, _)| self.is_appointment(key)) {
            // An effect that came later than an attempt is waited for is told as a surplus action.
            let in_time = actions.iter().filter(|action| !late.contains_key(action)).count();
            *kept.entry((*key).clone().in_pass(0)).or_default() += in_time;
        }
        let twice = kept.iter().filter(|&(key, &times)| {
            let mut entries = self.scenario.universe.entries.iter();
            times > 1 && !entries.any(|entry| entry.name == *key.entry() && entry.idempotent)
        });
        wrong.extend(twice.map(|(key, times)| format!("the appointment {key} was kept {times} times")));
        for (key, action) in &self.surplus {
            // An idempotent entry is run again on the mere possibility that it did not start. Then
            // nothing tells a run by people who use the token from the first attempt's.
            let mut entries = self.scenario.universe.entries.iter();
            let is_idempotent = entries.any(|entry| entry.name == *key.entry() && entry.idempotent);
            if is_idempotent && self.scenario.people.is_some() {
                continue;
            }
            let mut owner = started.iter().filter(|(_, actions)| actions.contains(action));
            let is_so = owner.any(|(_, actions)| actions.len() > 1 || late.contains_key(action))
                && committed.row(key).is_none_or(|row| row.action != Some(*action));
            if !is_so {
                wrong.push(format!("{key} is told to have {action} as a second action, and has not"));
            }
        }
        doubled |= !late.is_empty();
        // A person's fire, a repetition or a follower that an older copy of the journal does not
        // have, or has as unknown: nothing tells its action from one of ours.
        let is_forgotten = |action: u64| {
            let mut owners = started.iter().filter(|(_, actions)| actions.contains(&action));
            let is_not_known = |key| committed.row(key).is_none_or(|row| row.state == State::Unknown);
            self.older_until.is_some() && owners.any(|(key, _)| is_not_known(key))
        };
        if self.begun {
            wrong.extend(
                self.expected()
                    .filter(|key| !self.has(committed, key))
                    .map(|key| format!("{key} came due and is lost")),
            );
        }
        let duty = self.duty_ends();
        for (key, row) in committed.rows() {
            let actions = started.get(key).map_or(&[][..], Vec::as_slice);
            let truth = match row.state {
                State::Started | State::Finished | State::Failed => match row.action {
                    // The second action of an idempotent occurrence is nobody's, and may be taken
                    // for another's.
                    _ if doubled && self.adopted.contains(key) => true,
                    Some(action) => actions.contains(&action) || is_forgotten(action),
                    None => !actions.is_empty() || started.values().flatten().any(|&one| is_forgotten(one)),
                },
                State::Missed | State::Skipped | State::Rejected => {
                    self.was_sent_by_a_wrong_clock(key)
                        || actions.iter().all(|action| late.contains_key(action))
                }
                State::Unknown => true,
                State::Due | State::Waiting | State::Sending => true,
            };
            if !truth {
                wrong.push(format!("{key} is {} ({:?}), and started {actions:?}", row.state, row.reason));
            }
            if let (State::Finished | State::Failed, Some(action)) = (row.state, row.action)
                && success.get(&action) != Some(&(row.state == State::Finished))
            {
                wrong.push(format!("{key} is {}, and its action {action} is not", row.state));
            }
            if let (State::Started | State::Finished | State::Failed, Some(sent_at)) =
                (row.state, row.sent_at)
            {
                let left = |sent: &RecordedSend| sent.wall.as_microsecond() == sent_at.as_microsecond();
                if !self.adopted.contains(key)
                    && !self.sent.iter().any(|sent| sent.key.as_ref() == Some(key) && left(sent))
                {
                    wrong.push(format!("{key} was not sent at {sent_at}"));
                }
            }
            if row.is_settled {
                let told = self.told.get(key).map_or(&[][..], Vec::as_slice);
                // Of several members, a former leader may come to tell of an end when another has
                // told of a later one. A copy of the journal has the word of the life that it was
                // made in, and a later life may have told of another end before it was put back.
                let any_counts =
                    self.scenario.clocks.len() > 1 || Some(key.scheduled_at()) <= self.older_until;
                let counts = if any_counts { told } else { &told[told.len().saturating_sub(1)..] };
                if !counts.iter().any(|&(state, _)| state == row.state.as_str()) {
                    wrong.push(format!("{key} is {} ({:?}), and told to be {told:?}", row.state, row.reason));
                }
            } else if row.first(key) <= duty {
                wrong.push(format!("{key} came due and is {}", row.state));
            }
            self.seen.insert(row.state.as_str());
        }
        wrong.extend(self.uncalled_for(committed));
        let again = self.policies.runs_again(committed);
        wrong.extend(again.map(|key| format!("{key} is run by a question that was asked again")));
        let excused = |at: Timestamp| {
            at > duty
                || Some(at) <= self.older_until
                || self.shown.is_again(at)
                || self.is_undone(at)
                || self.shown.is_vague(at)
        };
        wrong.extend(links::judge(self.scenario, committed, api, &started, excused));
        if let Some(first) = wrong.first() {
            let more = wrong.len() - 1;
            self.violated(if more == 0 { first.clone() } else { format!("{first}, and {more} more") });
        }
    }

    /// Returns true when an attempt that came into doubt left while the clock was fast, when the
    /// journal did not have by how much, and somebody sets that clock: the next process looks for
    /// it by the time that the clock showed, as if the clock had been right, or as wrong as it is
    /// now.
    fn was_sent_by_a_wrong_clock(&self, key: &Key) -> bool {
        let is_wrong = |sent: &RecordedSend| {
            !sent.is_clock_known && sent.wall.duration_since(sent.server) > CLOCKS_APART
        };
        self.adopted.contains(key)
            && self.scenario.acts.iter().any(|(.., act)| matches!(act, Act::SetClock(_)))
            && self.sent.iter().any(|sent| sent.key.as_ref() == Some(key) && is_wrong(sent))
    }

    /// Claims of what is not due by any reading.
    fn uncalled_for(&self, committed: &Memory) -> Vec<String> {
        let expected: BTreeSet<Key> = self.expected().collect();
        let duty = self.duty_ends();
        let first = self.shown.stretches().first().map(|first| first.after);
        committed
            .rows()
            .filter(|(key, row)| {
                let at = key.scheduled_at();
                let due =
                    self.scenario.files.iter().any(|file| file.due(key.entry()).is_some_and(|d| d.is_at(at)));
                let removed =
                    row.state == State::Skipped && row.reason.as_deref() == Some(Reason::Removed.as_str());
                let given_up = row.state == State::Missed;
                let reloaded = (self.vague_if_it_dies.iter())
                    .any(|&(from, until)| given_up && from <= at && at <= until);
                let vague = reloaded || self.is_undone(at) || self.shown.is_vague(at);
                let excused = removed || vague || at > duty || Some(at) <= first;
                let linked = matches!(row.origin, Origin::Retry(_) | Origin::Upstream);
                !is_by_hand(key) && !linked && (!due || !(expected.contains(key) || excused))
            })
            .map(|(key, row)| format!("{key} was not due, and is {} ({:?})", row.state, row.reason))
            .collect()
    }
}

/// The schedule's occurrences have whole seconds, those of a person's `fire` have not.
fn is_by_hand(key: &Key) -> bool {
    key.scheduled_at().subsec_nanosecond() != 0
}
