//! One run: time, the server, the machines with a process each, what is done to them from outside,
//! and when all is over.
//!
//! Between any two steps a process may die. One machine keeps a journal of its own; several share
//! one, and of those one leads.

mod act;
mod by_hand;
mod looks;
mod machine;
mod process;
mod shell;
mod stopping;
mod term;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

use super::database::SimulatedDatabase;
use super::oracle::Oracle;
use super::scenario::{Act, People, Scenario};
use crate::clock::Now;
use crate::daemon::node::{Answer, Input, PauseChange};
use crate::dispatch::{Request, RequestId};
use crate::journal::memory::Memory;
use crate::journal::postgres::tables::Tables;
use crate::rehearsal::network::Network;
use crate::schedule::{AccountName, EntryName, StackUid};
use machine::Machine;
use process::Process;

/// Time after the last fault by which everything that was due before has to be settled. The longest
/// job runs for ten minutes, and a quota of three requests in ninety seconds may have to do for
/// hundreds of questions.
const SETTLES_WITHIN: Duration = Duration::from_secs(6 * 60 * 60);

/// Time for which the run goes on after the last fault is settled.
const AFTERMATH: Duration = Duration::from_secs(15);

/// No run needs as many: the loop does not sleep.
const MOST_ROUNDS: u32 = 200_000;

/// A request takes effect so long after it was sent at most.
const LATEST_EFFECT: Duration = Duration::from_secs(485);

/// The machine was started so long before the daemon.
const BOOTED: Duration = Duration::from_secs(100);

/// The process is gone.
pub(super) struct Crash;

type StepResult<T = ()> = Result<T, Crash>;

/// An event at an instant that is known beforehand.
enum Happens {
    Beat(u32),
    Arrives(u32, Answer),
    Act(usize),
    Start,
    /// The daemon is told to read the file that is in place.
    Reread,
    Resume(EntryName),
    /// A person asks for a run once more, under the instant of the first time.
    AsksAgain(EntryName, Timestamp),
    /// Somebody makes the copy of the journal that an act puts back.
    Copies(usize),
    ResumeInCloud66(&'static str),
    /// Somebody runs a job of a stack with an account's token.
    SomebodyRuns(AccountName, StackUid),
    /// A request that a leader has decided to send comes to its task.
    Leaves(u32, RequestId, Box<Request>),
    AllIsWell,
    Silence,
}

pub(super) struct SimulatedWorld<'a> {
    scenario: &'a Scenario,
    chances: Rng,
    /// Time since the first start. The server's clock goes with it.
    time: Duration,
    /// The next events, each with its machine.
    queue: BTreeMap<(Duration, u32, u64), (usize, Happens)>,
    last: u64,
    network: Network,
    /// Rows that any member has committed.
    database: SimulatedDatabase,
    machines: Vec<Machine>,
    /// Copies of the journal, by the act that puts them back.
    copies: BTreeMap<usize, Tables>,
    /// The one to which something happens.
    here: usize,
    lives: u32,
    crashes: u32,
    /// The file that is in place.
    file: usize,
    calm: bool,
    /// Time since which everything that was due during the faults is settled.
    settled_at: Option<Duration>,
    pub(super) oracle: Oracle<'a>,
}

impl<'a> SimulatedWorld<'a> {
    /// Runs a scenario to its end, and judges it.
    pub(super) fn run(scenario: &'a Scenario, trace: bool) -> Oracle<'a> {
        let mut chances = Rng::with_seed(scenario.seed ^ 0x5eed);
        let before = if scenario.people.is_some() { People::BEFORE } else { SignedDuration::ZERO };
        let known_since = scenario.start - before;
        let mut network = Network::new(&scenario.universe, &scenario.conditions, &mut chances, known_since);
        if !scenario.records_move {
            network.api_mut().records_stay();
        }
        if let Some(people) = &scenario.people {
            for (account, stack) in
                scenario.universe.accounts.iter().flat_map(|a| people.stacks.iter().map(move |s| (a, s)))
            {
                let user = network.user(&account.name).unwrap_or_default().to_owned();
                network.api_mut().has_run(&user, stack.as_str(), people.job.as_str(), known_since);
            }
        }
        let mut world = SimulatedWorld {
            scenario,
            time: Duration::ZERO,
            queue: BTreeMap::new(),
            last: 0,
            network,
            database: SimulatedDatabase::new(scenario.clocks.len()),
            machines: scenario.clocks.iter().map(|&ahead| Machine::new(ahead, scenario.disk)).collect(),
            copies: BTreeMap::new(),
            here: 0,
            lives: 0,
            crashes: 0,
            file: 0,
            calm: false,
            settled_at: None,
            oracle: Oracle::new(scenario, trace),
            chances,
        };
        for machine in 0..world.machines.len() {
            world.here = machine;
            world.at(Duration::ZERO, Happens::Start);
        }
        for (number, (at, machine, act)) in scenario.acts.iter().enumerate() {
            world.here = *machine;
            world.at(*at, Happens::Act(number));
            if let Act::Restore { age, .. } = act {
                world.at(at.saturating_sub(*age), Happens::Copies(number));
            }
        }
        world.at(scenario.span, Happens::AllIsWell);
        world.go_on();
        world.oracle.judge(&world.database.tables.memory, world.network.api());
        world.oracle
    }

    fn at(&mut self, at: Duration, what: Happens) {
        self.last += 1;
        // Events of one instant happen in any order.
        self.queue.insert((at, self.chances.u32(..), self.last), (self.here, what));
    }

    fn now(&self) -> Now {
        let machine = &self.machines[self.here];
        let mono = SignedDuration::try_from(BOOTED + self.time).unwrap_or_default() - machine.booted;
        Now { wall: self.server() + machine.ahead, mono: mono.unsigned_abs() }
    }

    /// Returns the committed journal.
    fn journal(&self) -> &Memory {
        &self.database.tables.memory
    }

    /// Returns true when several members share the journal.
    fn is_shared(&self) -> bool {
        self.machines.len() > 1
    }

    /// Returns the machine that fires.
    fn leader(&self) -> Option<usize> {
        self.machines.iter().position(|machine| machine.process.is_some())
    }

    fn server(&self) -> Timestamp {
        self.scenario.start + SignedDuration::try_from(self.time).unwrap_or_default()
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.oracle.traces() {
            let wall = self.now().wall;
            self.oracle.note(self.time, wall, what());
        }
    }

    fn go_on(&mut self) {
        let end = self.scenario.span + SETTLES_WITHIN;
        for round in 0.. {
            if round == MOST_ROUNDS {
                self.oracle.violated(format!("it goes round and round: {}", self.left()));
            }
            if !self.oracle.holds() || self.time >= end {
                break;
            }
            if self.calm && round % 64 == 0 && self.is_over() {
                break;
            }
            let arrival = self
                .network
                .next_at()
                .map(|at| Duration::try_from(at.duration_since(self.scenario.start)).unwrap_or_default());
            let scheduled = self.queue.first_key_value().map(|(&(at, ..), _)| at);
            let machine = self.machines.iter().filter_map(|machine| machine.next_at(self.time)).min();
            let next = [arrival, scheduled, self.database.next_at(), machine].into_iter().flatten().min();
            let Some(next) = next else { break };
            self.time = self.time.max(next);
            if self.step().is_err() {
                self.dies(None);
            }
        }
        if self.time >= end {
            self.oracle.violated(format!("not settled six hours after all was well: {}", self.left()));
        }
    }

    /// Returns true when everything is settled and no request that may still take effect is under
    /// way.
    fn is_over(&mut self) -> bool {
        let duty = self.oracle.duty_ends();
        let watches = |process: &Process| process.node.core().watched_for_surplus() > 0;
        let settled = self.leader().is_some()
            && !self.machines.iter().any(|machine| machine.process.as_ref().is_some_and(watches))
            && self.journal().rows().all(|(key, row)| row.is_settled || row.first(key) > duty)
            && self.oracle.owes(self.journal()).is_none();
        if !settled {
            self.settled_at = None;
            return false;
        }
        let since = *self.settled_at.get_or_insert(self.time);
        self.network.next_at().is_none() || self.time >= since + LATEST_EFFECT
    }

    /// Returns what is not settled yet, for a failure's message.
    fn left(&self) -> String {
        let duty = self.oracle.duty_ends();
        let open = self.journal().rows().find(|(key, row)| !row.is_settled && row.first(key) <= duty);
        format!("open {open:?}, lost {:?}", self.oracle.owes(self.journal()))
    }

    /// Whatever is to be done at this instant, one thing of it.
    fn step(&mut self) -> StepResult {
        self.database.proceed(self.time);
        for machine in 0..self.machines.len() {
            self.here = machine;
            if self.goes_on()? {
                return Ok(());
            }
        }
        while let Some(arrived) = self.network.arrives(self.server()) {
            self.arrives(arrived)?;
        }
        if let Some(first) = self.queue.first_entry()
            && first.key().0 <= self.time
        {
            let (machine, what) = first.remove();
            self.here = machine;
            self.happens(what)?;
        }
        if !self.is_shared() {
            return self.turn();
        }
        // The loops run beside each other.
        let first = self.chances.usize(..self.machines.len());
        for machine in 0..self.machines.len() {
            self.here = (first + machine) % self.machines.len();
            if self.machines[self.here].wakes_at(self.time).is_some_and(|at| at <= self.time) {
                self.turn()?;
            }
        }
        Ok(())
    }

    /// The journal's thread, or the member's, has something to do: one step of it.
    fn goes_on(&mut self) -> StepResult<bool> {
        let (time, now) = (self.time, self.now());
        let machine = &mut self.machines[self.here];
        let frozen_until = machine.frozen_until;
        if machine.disk.next_at(frozen_until).is_some_and(|at| at <= time) {
            let written = machine.disk.proceed(time, &mut self.database, &mut self.chances);
            for written in written {
                self.written(written)?;
            }
            return Ok(true);
        }
        if let Some(opening) = &machine.opening
            && opening.next_at(frozen_until) <= time
        {
            self.opens()?;
            return Ok(true);
        }
        if let Some(member) = &mut machine.member
            && member.next_at(frozen_until).is_some_and(|at| at <= time)
        {
            member.proceed(time, now, self.scenario.disk, &mut self.database, &mut self.chances);
            machine.known_until = machine.known_until.max(member.sent_until());
            return Ok(true);
        }
        Ok(false)
    }

    fn happens(&mut self, what: Happens) -> StepResult {
        match what {
            Happens::Start => self.starts(),
            Happens::Beat(life) => {
                if self.machines[self.here].process.as_ref().is_some_and(|process| process.life == life)
                    && !self.calm
                {
                    self.at(self.time + Duration::from_secs(1), Happens::Beat(life));
                    let lost = self.chances.u32(..100) < self.scenario.lost_beats;
                    if !lost && self.time >= self.machines[self.here].frozen_until {
                        self.handle(Input::ClaimWindow)?;
                    }
                }
                Ok(())
            }
            Happens::Arrives(life, answer) => {
                if let Some(process) =
                    self.machines[self.here].process.as_mut().filter(|process| process.life == life)
                {
                    process.inbox.push_back(answer);
                }
                Ok(())
            }
            Happens::Act(number) => self.act(number),
            Happens::Copies(number) => {
                self.copies.insert(number, self.database.tables.clone());
                Ok(())
            }
            Happens::Reread => self.reload(),
            Happens::Resume(entry) => {
                self.here = self.leader().unwrap_or(self.here);
                self.steer(&entry, PauseChange::Resumed)
            }
            Happens::AsksAgain(entry, at) => {
                self.here = self.leader().unwrap_or(self.here);
                self.fire(&entry, Some(at))
            }
            Happens::ResumeInCloud66(stack) => {
                self.network.api_mut().pause_all(stack, false);
                Ok(())
            }
            Happens::SomebodyRuns(account, stack) => {
                let server = self.server();
                if let Some(people) = &self.scenario.people {
                    self.note(|| format!("somebody runs a job of {stack} by {account}"));
                    self.network.somebody_runs(&account, &stack, &people.job, server);
                }
                Ok(())
            }
            Happens::Leaves(life, id, request) => self.comes_to_its_task(life, id, *request),
            Happens::AllIsWell => self.all_is_well(),
            Happens::Silence => self.falls_silent(),
        }
    }

    /// Ends the faults: everything has to come to its end.
    fn all_is_well(&mut self) -> StepResult {
        self.note(|| "ALL IS WELL".to_owned());
        self.calm = true;
        self.database.is_well(self.time);
        let ahead_at_most = self.machines.iter().map(|machine| machine.ahead_at_most).max();
        for machine in &mut self.machines {
            machine.frozen_until = machine.frozen_until.min(self.time);
            machine.unreachable_until = Duration::ZERO;
            machine.disk.is_well_and_quick();
            // No clock is behind what any has shown.
            machine.ahead = ahead_at_most.unwrap_or_default();
        }
        self.network.api_mut().set_faults(Vec::new());
        self.network.others_leave();
        self.oracle.all_is_well(self.now().wall);
        for account in &self.scenario.universe.accounts {
            let user = self.network.user(&account.name).unwrap_or_default().to_owned();
            let _ = self.network.api_mut().set_limit(&user, account.quota.limit);
        }
        self.at(self.time + AFTERMATH, Happens::Silence);
        Ok(())
    }

    /// Ends the schedule, so that everything comes to its end whatever the quota.
    fn falls_silent(&mut self) -> StepResult {
        self.file = self.scenario.silent_file;
        for machine in 0..self.machines.len() {
            self.here = machine;
            self.reload()?;
        }
        Ok(())
    }

    /// A place at which the process may die.
    fn point(&mut self) -> StepResult {
        if let Some(one_in) = self.scenario.crash
            && !self.calm
            && self.crashes < self.scenario.crashes
            && self.chances.u32(..one_in) == 0
        {
            return Err(Crash);
        }
        Ok(())
    }

    fn dies(&mut self, how: Option<(bool, Duration)>) {
        let (machine, down) = how.unwrap_or_else(|| {
            let machine = self.chances.u32(..100) < self.scenario.machine;
            let most = if self.chances.bool() { 2000 } else { 60_000 };
            (machine, Duration::from_millis(self.chances.u64(1..most)))
        });
        // No machine is up again at once.
        let down = if machine { down + Duration::from_secs(5) } else { down };
        self.note(|| format!("CRASH of the {}, for {down:?}", if machine { "machine" } else { "process" }));
        self.crashes += 1;
        if machine {
            let up = SignedDuration::try_from(self.time + down + BOOTED).unwrap_or_default();
            self.machines[self.here].booted = up - SignedDuration::from_secs(3);
            self.machines[self.here].down_until = self.time + down;
            self.machines[self.here].former = None;
        }
        self.is_gone(machine);
        self.at(self.time + down, Happens::Start);
    }

    /// The process is gone.
    fn is_gone(&mut self, with_machine: bool) {
        let machine = &mut self.machines[self.here];
        machine.disk.crash(with_machine, self.time, &mut self.database, &mut self.chances);
        if let Some(member) = machine.member.take() {
            member.dies(self.time, &mut self.database, &mut self.chances);
        }
        machine.opening = None;
        let process = machine.process.take();
        let fired = process.is_some();
        let listening = machine.listeners.drain(..).chain(process);
        let flights: BTreeSet<u64> = listening.flat_map(|process| process.flying.into_keys()).collect();
        self.network.hang_up(&flights, &mut self.chances);
        if fired {
            self.oracle.died(&self.database.tables.memory);
        }
    }
}
