//! One run: time, the server, the disk and the process, what is done to them from outside, and when all is over.
//!
//! Between any two steps the process may die.

mod by_hand;
mod shell;

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

use super::book::Book;
use super::disk::{Disk, Steered};
use super::scenario::{Act, Scenario};
use crate::clock::Now;
use crate::rehearsal::network::Network;
use crate::schedule::EntryName;
use shell::{Done, Process};

/// All that was due while things went wrong has to be settled this long after. The longest job runs for ten minutes,
/// and a quota for three requests in ninety seconds may be all there is for hundreds of questions.
const SETTLES_WITHIN: Duration = Duration::from_secs(6 * 60 * 60);

/// How long it goes on as usual when all is well again.
const AFTERMATH: Duration = Duration::from_secs(15);

/// No run needs as many: the loop does not sleep.
const MOST_ROUNDS: u32 = 200_000;

/// A request takes effect so long after it was sent at most.
const LATEST_EFFECT: Duration = Duration::from_secs(40);

/// The machine was started so long before the daemon.
const BOOTED: Duration = Duration::from_secs(100);

/// The process is gone.
pub(super) struct Crash;

type Step<T = ()> = Result<T, Crash>;

/// What happens at an instant that is known before.
enum Happens {
    Beat(u32),
    Arrives(u32, Done),
    Act(usize),
    Start,
    /// The daemon is told to read the file that is in place.
    Reread,
    Resume(EntryName),
    AllIsWell,
    Silence,
}

pub(super) struct World<'a> {
    scenario: &'a Scenario,
    chances: Rng,
    /// Since the first start. The server's clock goes with it.
    time: Duration,
    /// How far the wall clock is ahead of the server's, and how far it has ever been.
    ahead: SignedDuration,
    ahead_at_most: SignedDuration,
    /// When the machine was started, before the first start of the daemon.
    booted: SignedDuration,
    queue: BTreeMap<(Duration, u32, u64), Happens>,
    last: u64,
    network: Network,
    disk: Disk,
    process: Option<Process>,
    lives: u32,
    crashes: u32,
    /// The file that is in place.
    file: usize,
    frozen_until: Duration,
    unreachable_until: Duration,
    calm: bool,
    /// All that was due while things went wrong is settled since then.
    settled_at: Option<Duration>,
    pub(super) book: Book<'a>,
}

impl<'a> World<'a> {
    /// Runs a scenario to its end, and judges it.
    pub(super) fn run(scenario: &'a Scenario, trace: bool) -> Book<'a> {
        let mut chances = Rng::with_seed(scenario.seed ^ 0x5eed);
        let network = Network::new(&scenario.universe, &scenario.conditions, &mut chances, scenario.start);
        let mut world = World {
            scenario,
            time: Duration::ZERO,
            ahead: SignedDuration::ZERO,
            ahead_at_most: SignedDuration::ZERO,
            booted: SignedDuration::ZERO,
            queue: BTreeMap::new(),
            last: 0,
            network,
            disk: Disk::new(scenario.disk),
            process: None,
            lives: 0,
            crashes: 0,
            file: 0,
            frozen_until: Duration::ZERO,
            unreachable_until: Duration::ZERO,
            calm: false,
            settled_at: None,
            book: Book::new(scenario, trace),
            chances,
        };
        world.at(Duration::ZERO, Happens::Start);
        for (number, &(at, _)) in scenario.acts.iter().enumerate() {
            world.at(at, Happens::Act(number));
        }
        world.at(scenario.span, Happens::AllIsWell);
        world.go_on();
        world.book.judge(&world.disk.committed, world.network.api());
        world.book
    }

    fn at(&mut self, at: Duration, what: Happens) {
        self.last += 1;
        // What happens at one instant happens in any order.
        self.queue.insert((at, self.chances.u32(..), self.last), what);
    }

    fn now(&self) -> Now {
        let mono = SignedDuration::try_from(BOOTED + self.time).unwrap_or_default() - self.booted;
        Now { wall: self.server() + self.ahead, mono: mono.unsigned_abs() }
    }

    fn server(&self) -> Timestamp {
        self.scenario.start + SignedDuration::try_from(self.time).unwrap_or_default()
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.book.traces() {
            let wall = self.now().wall;
            self.book.note(self.time, wall, what());
        }
    }

    fn go_on(&mut self) {
        let end = self.scenario.span + SETTLES_WITHIN;
        for round in 0.. {
            if round == MOST_ROUNDS {
                let (disk, wake) =
                    (self.disk.next_at(), self.process.as_ref().map(|process| process.wakes_at));
                self.book.violated(format!(
                    "it goes round and round: disk {disk:?}, wake {wake:?}, {}",
                    self.left()
                ));
            }
            if !self.book.holds() || self.time >= end {
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
            let wake = self.process.as_ref().map(|process| {
                let at = match (process.stopping, process.inbox.is_empty()) {
                    (_, false) => self.time,
                    (Some(stopping), true) => stopping.ends_at,
                    (None, true) => process.wakes_at,
                };
                at.max(self.frozen_until)
            });
            let next = [arrival, scheduled, self.disk.next_at(), wake].into_iter().flatten().min();
            let Some(next) = next else { break };
            self.time = self.time.max(next);
            if self.step().is_err() {
                self.dies(None);
            }
        }
        if self.time >= end {
            self.book.violated(format!("not settled six hours after all was well: {}", self.left()));
        }
    }

    /// Whether all is settled, and nothing that may still take effect is under way.
    fn is_over(&mut self) -> bool {
        let duty = self.book.duty_ends();
        let settled = self.process.is_some()
            && self.disk.committed.rows().all(|(key, row)| row.is_settled || key.scheduled_at() > duty)
            && self.book.owes(&self.disk.committed).is_none();
        if !settled {
            self.settled_at = None;
            return false;
        }
        let since = *self.settled_at.get_or_insert(self.time);
        self.network.next_at().is_none() || self.time >= since + LATEST_EFFECT
    }

    /// What is not settled yet.
    fn left(&self) -> String {
        let duty = self.book.duty_ends();
        let open =
            self.disk.committed.rows().find(|(key, row)| !row.is_settled && key.scheduled_at() <= duty);
        format!("open {open:?}, lost {:?}", self.book.owes(&self.disk.committed))
    }

    /// Whatever is to be done at this instant, one thing of it.
    fn step(&mut self) -> Step {
        if self.disk.next_at().is_some_and(|at| at <= self.time) {
            for written in self.disk.proceed(self.time, &mut self.chances) {
                self.written(written)?;
            }
            return Ok(());
        }
        while let Some(arrived) = self.network.arrives(self.server()) {
            self.arrives(arrived)?;
        }
        if let Some(first) = self.queue.first_entry()
            && first.key().0 <= self.time
        {
            let what = first.remove();
            self.happens(what)?;
        }
        self.turn()
    }

    fn happens(&mut self, what: Happens) -> Step {
        match what {
            Happens::Start => self.starts(),
            Happens::Beat(life) => {
                if self.process.as_ref().is_some_and(|process| process.life == life) && !self.calm {
                    self.at(self.time + Duration::from_secs(1), Happens::Beat(life));
                    let lost = self.chances.u32(..100) < self.scenario.lost_beats;
                    if !lost && self.time >= self.frozen_until {
                        self.beat()?;
                    }
                }
                Ok(())
            }
            Happens::Arrives(life, done) => {
                if let Some(process) = self.process.as_mut().filter(|process| process.life == life) {
                    process.inbox.push_back(done);
                }
                Ok(())
            }
            Happens::Act(number) => self.act(&self.scenario.acts[number].1),
            Happens::Reread => self.reload(),
            Happens::Resume(entry) => self.steer(&entry, Steered::Resumed),
            Happens::AllIsWell => self.all_is_well(),
            Happens::Silence => self.falls_silent(),
        }
    }

    fn act(&mut self, act: &Act) -> Step {
        self.note(|| format!("ACT {act:?}"));
        match *act {
            Act::Reload(file) => {
                self.file = file;
                self.reload()
            }
            Act::Edit(file) => {
                if self.process.is_none() {
                    self.file = file;
                }
                Ok(())
            }
            Act::Stop(down) => self.stop(down),
            Act::Kill { machine, down } => {
                if self.process.is_some() {
                    self.dies(Some((machine, down)));
                }
                Ok(())
            }
            Act::Fire(ref entry) => self.fire(entry),
            Act::Pause(ref entry, span) => {
                self.at(self.time + span, Happens::Resume(entry.clone()));
                self.steer(entry, Steered::Paused)
            }
            Act::SetClock(by) => {
                // A former process is taken to have been as far from the API's time as this one, or right.
                self.ahead = if self.ahead.is_zero() { by } else { SignedDuration::ZERO };
                self.ahead_at_most = self.ahead_at_most.max(self.ahead);
                Ok(())
            }
            Act::Freeze(span) => {
                self.frozen_until = self.time + span;
                self.disk.freezes(self.frozen_until);
                Ok(())
            }
            Act::IllDisk(span, mark) => {
                self.disk.falls_ill(self.time + span, mark);
                Ok(())
            }
            Act::HangingDisk(span) => {
                self.disk.hangs(self.time + span);
                Ok(())
            }
            Act::Unreachable(span) => {
                self.unreachable_until = self.time + span;
                Ok(())
            }
            Act::Limit(limit) => {
                for account in &self.scenario.universe.accounts {
                    let user = self.network.user(&account.name).unwrap_or_default().to_owned();
                    let _ = self.network.api_mut().set_limit(&user, limit);
                }
                Ok(())
            }
        }
    }

    /// Nothing goes wrong any more: all has to come to its end.
    fn all_is_well(&mut self) -> Step {
        self.note(|| "ALL IS WELL".to_owned());
        self.calm = true;
        self.frozen_until = self.frozen_until.min(self.time);
        self.unreachable_until = Duration::ZERO;
        self.disk.is_well_and_quick();
        self.network.api_mut().set_faults(Vec::new());
        self.network.others_leave();
        // No clock is behind what it has shown.
        self.ahead = self.ahead_at_most;
        self.book.all_is_well(self.now().wall);
        for account in &self.scenario.universe.accounts {
            let user = self.network.user(&account.name).unwrap_or_default().to_owned();
            let _ = self.network.api_mut().set_limit(&user, account.quota.limit);
        }
        self.at(self.time + AFTERMATH, Happens::Silence);
        Ok(())
    }

    /// Nothing comes due any more, so that all comes to its end whatever the quota.
    fn falls_silent(&mut self) -> Step {
        self.file = self.scenario.silent_file;
        self.reload()
    }

    /// A place at which the process may die.
    fn point(&mut self) -> Step {
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
        self.disk.crash(machine, self.time, &mut self.chances);
        if machine {
            let up = SignedDuration::try_from(self.time + down + BOOTED).unwrap_or_default();
            self.booted = up - SignedDuration::from_secs(3);
        }
        self.network.hang_up(&mut self.chances);
        if let Some(process) = self.process.take() {
            self.book.died(process.life, self.disk.committed.cursor());
        }
        self.at(self.time + down, Happens::Start);
    }
}
