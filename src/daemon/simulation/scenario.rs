//! All that a run depends on, drawn from its seed: schedules, the API's behaviour, and what goes
//! wrong when.
//!
//! Each kind of trouble is absent from about half of the runs, so that runs differ in more than
//! their numbers.

mod clocks;
mod links;
mod people;
mod several;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

use super::database;
use crate::rehearsal::{Conditions, Latency, Others};
use crate::sandbox::fault::{Fault, FaultEffect, FaultKind, FaultOrder};
use crate::sandbox::{Deploys, Endpoint, WindowKind};
use crate::schedule::{
    self, Account, AccountName, CatchUp, Entry, EntryName, Expression, JobUid, Overlap, Priority,
    QuotaSettings, Reserve, Schedule, StackState, StackUid, TokenSource,
};
pub(super) use people::People;

/// Everything that a run depends on.
pub(super) struct Scenario {
    pub(super) seed: u64,
    /// The wall clock at the first start.
    pub(super) start: Timestamp,
    /// Time during which faults happen. Afterwards there are none, and every occurrence has to come
    /// to its end.
    pub(super) span: Duration,
    /// The versions of the schedule file.
    pub(super) files: Vec<File>,
    /// The one by which nothing comes due.
    pub(super) silent_file: usize,
    /// Every stack and job that any file names, and an account for each token, by the token's name.
    pub(super) universe: Schedule,
    pub(super) conditions: Conditions,
    /// Time by which each machine's clock is ahead of the server's at the start. Several machines
    /// share the journal.
    pub(super) clocks: Vec<SignedDuration>,
    /// So far apart are they at most.
    pub(super) apart: Duration,
    /// When, on which machine, and what.
    pub(super) acts: Vec<(Duration, usize, Act)>,
    /// Crashes at one in so many points, if at all.
    pub(super) crash: Option<u32>,
    pub(super) crashes: u32,
    /// Percentage of crashes that are the machine's.
    pub(super) machine: u32,
    /// Percentages of requests that cannot connect, and of answers that come twice.
    pub(super) refused: u32,
    pub(super) doubled: u32,
    /// Percentage of turns of the loop that come late.
    pub(super) sluggish: u32,
    /// Percentage of beats that are lost.
    pub(super) lost_beats: u32,
    /// Time of a write until it is on disk, or of an answer of the database.
    pub(super) disk: database::DatabaseLatency,
    /// The people who run jobs of the stacks with our tokens.
    pub(super) people: Option<People>,
    /// True when a run moves the record of its job.
    pub(super) records_move: bool,
}

/// One version of the schedule file.
pub(super) struct File {
    pub(super) schedule: Schedule,
    pub(super) lines: Vec<SimulatedEntry>,
}

/// The period of an appointment, in seconds.
const DAY: i64 = 24 * 60 * 60;

/// The due instants of an entry, apart from the timetable: the seconds since the epoch that leave a
/// remainder.
#[derive(Clone)]
pub(super) struct SimulatedEntry {
    pub(super) entry: Arc<Entry>,
    pub(super) due: Due,
}

/// The instants with `at % period == phase`, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    period: i64,
    phase: i64,
}

/// Something that is done to the daemon from outside.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// A version of the file is put in place, and read by a daemon that runs.
    Reload(usize),
    /// A version of the file is put in place while no daemon looks.
    Edit(usize),
    /// The daemon is told to stop, and started again after a while.
    Stop(Duration),
    /// The process is killed, or the machine.
    Kill { machine: bool, down: Duration },
    /// A person has an entry run now.
    Fire(EntryName),
    /// A person pauses an entry, and resumes it after a while.
    Pause(EntryName, Duration),
    /// Somebody sets a clock that is right wrong, by so much in each case, or one that is wrong
    /// right.
    SetClock(SignedDuration),
    /// The daemon does not run: the machine sleeps, or the process is stopped.
    Freeze(Duration),
    /// The journal cannot be written; neither can the mark, if so.
    IllDisk(Duration, bool),
    /// A write hangs.
    HangingDisk(Duration),
    /// The shared database is gone, and comes back.
    Gone(Duration),
    /// An older copy of the journal is put in its place.
    Restore { age: Duration, down: Duration },
    /// Another journal is in the place of the shared one, until somebody brings it back.
    Replaced(Duration),
    /// The line between the machine and the shared database is cut.
    CutOff(Duration),
    /// The connection through which the machine writes to the shared database swallows all, and the
    /// elector's goes on.
    Swallows(Duration),
    /// Nobody can connect to the API.
    Unreachable(Duration),
    /// The server has another limit from now on.
    Limit(u32),
    /// Somebody has a stack in maintenance.
    Maintain(&'static str, Duration),
    /// Somebody has all jobs of a stack paused in Cloud 66.
    PauseInCloud66(&'static str, Duration),
}

/// Periods and what they are in cron. `0` stands for never, while anything runs.
static CRON: LazyLock<HashMap<(i64, i64), Expression>> = LazyLock::new(|| {
    let mut known = HashMap::new();
    for period in [1, 2, 3, 5, 10, 20, 30] {
        for phase in 0..period.min(7) {
            let seconds: Vec<String> = (0..60 / period).map(|n| (phase + n * period).to_string()).collect();
            known.insert((period, phase), format!("{} * * * * *", seconds.join(",")));
        }
    }
    for minutes in [1, 2, 5] {
        for phase in [0, 1, 30] {
            known.insert((minutes * 60, phase), format!("{phase} */{minutes} * * * *"));
        }
    }
    known.insert((0, 0), "0 0 0 1 1 *".to_owned());
    let parse = |text: String| Expression::parse(&text).expect("an expression");
    known.into_iter().map(|(due, text)| (due, parse(text))).collect()
});

/// An account and an entry as the file has them by default.
static TEMPLATE: LazyLock<Schedule> = LazyLock::new(|| {
    let file =
        "accounts: { main: { token: { env: T } } }\njobs: { e: { stack: s, job: j, cron: '@daily' } }\n";
    schedule::parse("template.yaml", file).expect("a valid file").schedule
});

impl Due {
    fn draw(rng: &mut Rng) -> Due {
        let period = match rng.u32(..10) {
            0 => rng.choice([1, 2]).unwrap_or(1),
            1..5 => rng.choice([3, 5, 10]).unwrap_or(5),
            5..8 => rng.choice([20, 30]).unwrap_or(30),
            _ => rng.choice([60, 120, 300]).unwrap_or(60),
        };
        let phase = if period < 60 { rng.i64(0..period.min(7)) } else { rng.choice([0, 1, 30]).unwrap_or(0) };
        Due { period, phase }
    }

    const NEVER: Due = Due { period: 0, phase: 0 };

    /// Returns true for an appointment, which is kept once however often the clock shows its
    /// instant.
    pub(super) fn is_appointment(self) -> bool {
        self.period == DAY
    }

    /// Returns true when the entry is due at this instant.
    pub(super) fn is_at(self, at: Timestamp) -> bool {
        self.period > 0 && at.subsec_nanosecond() == 0 && at.as_second().rem_euclid(self.period) == self.phase
    }

    /// The instants with `after` < at <= `until`.
    pub(super) fn between(self, after: Timestamp, until: Timestamp) -> impl Iterator<Item = Timestamp> {
        let first = after.as_second() + 1;
        // A period of nothing is due at no instant.
        let step = if self.period > 0 { self.period } else { i64::MAX };
        let wait = if self.period > 0 { (self.phase - first).rem_euclid(self.period) } else { i64::MAX / 4 };
        std::iter::successors(first.checked_add(wait), move |second| second.checked_add(step))
            .take_while(move |&second| second <= until.as_second())
            .filter_map(|second| Timestamp::from_second(second).ok())
    }
}

impl File {
    fn new(accounts: &[Arc<Account>], lines: Vec<SimulatedEntry>) -> File {
        let entries = lines.iter().map(|line| Arc::clone(&line.entry)).collect();
        File { schedule: Schedule { accounts: accounts.to_vec(), entries }, lines }
    }

    /// Returns the due instants of an entry by this file.
    pub(super) fn due(&self, entry: &EntryName) -> Option<Due> {
        self.lines.iter().find(|line| line.entry.name == *entry).map(|line| line.due)
    }
}

impl Scenario {
    /// The entry that an entry comes after: the same one in every version that has both.
    pub(super) fn upstream_of(&self, entry: &EntryName) -> Option<&EntryName> {
        let mut all = self.universe.entries.iter().filter(|known| known.name == *entry);
        all.find_map(|entry| entry.after.as_ref()).map(|after| &after.entry)
    }

    /// An entry as each version of the file has it. `None`: a version does not have it.
    pub(super) fn versions_of(&self, entry: &EntryName) -> Vec<Option<&Entry>> {
        let of = |file: &File| file.lines.iter().position(|line| line.entry.name == *entry);
        self.files.iter().map(|file| of(file).map(|place| &*file.lines[place].entry)).collect()
    }

    /// The entries that come after an entry in every version of the file.
    pub(super) fn followers_of(&self, entry: &EntryName) -> Vec<&Entry> {
        let after = |known: &Entry| known.after.as_ref().is_some_and(|after| after.entry == *entry);
        let first = self.files[0].lines.iter().map(|line| &*line.entry).filter(|known| after(known));
        first.filter(|known| self.versions_of(&known.name).iter().all(Option::is_some)).collect()
    }

    pub(super) fn from_seed(seed: u64) -> Scenario {
        match seed % 4 {
            0 => Scenario::with_clocks_by_days(seed),
            _ => Scenario::of_one(seed),
        }
    }

    fn of_one(seed: u64) -> Scenario {
        let mut rng = Rng::with_seed(seed);
        let rng = &mut rng;
        let span = Duration::from_secs(rng.u64(20..120));
        let mut accounts: Vec<Arc<Account>> =
            (0..rng.usize(1..=2)).map(|number| Arc::new(account(number, rng))).collect();
        let count = rng.usize(1..=5);
        let mut lines: Vec<SimulatedEntry> = (0..count).map(|number| line(number, &accounts, rng)).collect();
        let mut files = vec![File::new(&accounts, lines.clone())];
        for _ in 0..if rng.bool() { 0 } else { rng.usize(1..=3) } {
            change(&mut accounts, &mut lines, rng);
            files.push(File::new(&accounts, lines.clone()));
        }
        links::draw(seed, &mut files, &mut lines);
        let silent = lines.iter().map(|line| SimulatedEntry { due: Due::NEVER, ..line.clone() });
        let silent_file = files.len();
        files.push(File::new(&accounts, silent.map(SimulatedEntry::timed).collect()));
        let mut entries: Vec<_> =
            files.iter().flat_map(|file| file.schedule.entries.iter().cloned()).collect();
        let (people, records_move) = people::draw(seed, &mut entries);
        let mut some = |most: u32| if rng.bool() { 0 } else { rng.u32(1..=most) };
        let (machine, refused, doubled, sluggish, lost_beats) =
            (some(100), some(40), some(20), some(10), some(100));
        let disk = database::DatabaseLatency {
            usual: Duration::from_millis(u64::from(1 + some(80))),
            slow: some(20),
            slowest: Duration::from_millis(rng.u64(100..3000)),
        };
        let start =
            Timestamp::from_millisecond(1_780_272_000_000 + rng.i64(0..86_400_000)).expect("an instant");
        let scenario = Scenario {
            seed,
            start: if rng.bool() {
                start
            } else {
                Timestamp::from_second(start.as_second()).expect("an instant")
            },
            span,
            universe: Schedule { accounts: by_token(&files), entries },
            silent_file,
            conditions: conditions(rng),
            clocks: vec![SignedDuration::ZERO],
            apart: Duration::ZERO,
            acts: acts(span, silent_file, rng),
            files,
            crash: (rng.u32(..4) > 0).then(|| 1 << rng.u32(2..9)),
            crashes: rng.u32(1..6),
            machine,
            refused,
            doubled,
            sluggish,
            lost_beats,
            disk,
            people,
            records_move,
        };
        scenario.restoring_known_worlds()
    }

    /// Returns true when a run may be repeated, or lead to another.
    pub(super) fn has_links(&self) -> bool {
        self.universe.entries.iter().any(|entry| entry.after.is_some() || entry.retry.is_some())
    }

    /// Leaves out restores of an older journal where somebody sets a clock.
    ///
    /// The copy does not know which passes through an instant were begun after it was made. Their
    /// occurrences are in doubt under the pass that the copy knows, and the oracle cannot tell one
    /// pass from the other.
    fn restoring_known_worlds(mut self) -> Scenario {
        if self.acts.iter().any(|(.., act)| matches!(act, Act::SetClock(_))) {
            self.acts.retain(|(.., act)| !matches!(act, Act::Restore { .. }));
        }
        self
    }
}

fn account(number: usize, rng: &mut Rng) -> Account {
    let limit = if rng.bool() { rng.u32(3..40) } else { rng.u32(100..1000) };
    Account {
        name: AccountName::new(["main", "other"][number]).expect("a name"),
        token: TokenSource::Env(format!("T{number}")),
        timeout: Duration::from_secs(rng.u64(4..15)),
        quota: QuotaSettings {
            limit,
            window: Duration::from_secs(rng.u64(10..90)),
            reserve: reserve(limit, rng),
        },
        ..(*TEMPLATE.accounts[0]).clone()
    }
}

/// Returns the name of an account's token: accounts come by other names and other tokens.
pub(super) fn token(account: &Account) -> AccountName {
    match &account.token {
        TokenSource::Env(name) => AccountName::new(name).expect("a name"),
        other => unreachable!("no account of a scenario has {other:?}"),
    }
}

/// Returns an account for each token of any file, by the token's name.
fn by_token(files: &[File]) -> Vec<Arc<Account>> {
    let mut accounts: Vec<Arc<Account>> = Vec::new();
    for account in files.iter().flat_map(|file| &file.schedule.accounts) {
        let name = token(account);
        if accounts.iter().all(|known| known.name != name) {
            accounts.push(Arc::new(Account { name, ..(**account).clone() }));
        }
    }
    accounts
}

fn reserve(limit: u32, rng: &mut Rng) -> Reserve {
    match rng.u32(..3) {
        0 => Reserve::Requests(0),
        1 => Reserve::Requests(rng.u32(..=limit / 3)),
        _ => Reserve::Percent(5.0),
    }
}

fn jitter(rng: &mut Rng) -> Duration {
    Duration::from_secs(rng.choice([0, 1, 4, 10, 60]).unwrap_or(1))
}

fn deadline(rng: &mut Rng) -> Duration {
    Duration::from_secs(rng.choice([3, 20, 60, 300]).unwrap_or(3))
}

fn amend(line: &mut SimulatedEntry, change: impl FnOnce(&mut Entry)) {
    let mut entry = (*line.entry).clone();
    change(&mut entry);
    line.entry = Arc::new(entry);
}

fn line(number: usize, accounts: &[Arc<Account>], rng: &mut Rng) -> SimulatedEntry {
    let job = match rng.u32(..12) {
        0 => format!("j{number}-fails"),
        1 => format!("j{number}-slow"),
        2 => format!("j{number}-forbidden"),
        3 => format!("j{number}-missing"),
        _ => format!("j{}", rng.u32(..3)),
    };
    let entry = Entry {
        name: EntryName::new(&format!("e{number}")).expect("a name"),
        account: Arc::clone(&accounts[rng.usize(..accounts.len())]),
        stack: StackUid::new(["s0", "s1"][rng.usize(..2)]).expect("a uid"),
        job: JobUid::new(&job).expect("a uid"),
        overlap: rng.choice([Overlap::Allow, Overlap::Skip, Overlap::Queue]).unwrap_or_default(),
        catch_up: rng.choice([CatchUp::None, CatchUp::Latest, CatchUp::All]).unwrap_or_default(),
        start_deadline: deadline(rng),
        jitter: if rng.u32(..4) > 0 { Duration::ZERO } else { jitter(rng) },
        priority: rng.choice([Priority::Low, Priority::Normal, Priority::High]).unwrap_or_default(),
        // The account of one entry is the same in every file: an occurrence that is sent under one
        // file may be settled under another.
        idempotent: number == 3,
        follow: rng.u32(..10) < 6,
        paused: rng.u32(..20) == 0,
        stack_state: rng.choice([StackState::Ignore, StackState::Hold, StackState::Skip]).unwrap_or_default(),
        ..(*TEMPLATE.entries[0]).clone()
    };
    SimulatedEntry { entry: Arc::new(entry), due: Due::draw(rng) }.timed()
}

impl SimulatedEntry {
    /// With the cron expression of when it is due.
    fn timed(self) -> SimulatedEntry {
        if self.entry.after.is_some() {
            return self;
        }
        let Due { period, phase } = self.due;
        let cron = match self.due.is_appointment() {
            true => {
                let text = format!("{} {} {} * * *", phase % 60, phase / 60 % 60, phase / 3600);
                Expression::parse(&text).expect("an expression")
            }
            false => CRON[&(period, phase)].clone(),
        };
        SimulatedEntry { entry: Arc::new(Entry { cron: [cron].into(), ..(*self.entry).clone() }), ..self }
    }
}

/// A change of the schedule file.
fn change(accounts: &mut [Arc<Account>], lines: &mut Vec<SimulatedEntry>, rng: &mut Rng) {
    for _ in 0..rng.usize(1..=3) {
        let place = rng.usize(..lines.len());
        match rng.u32(..10) {
            0 if lines.len() > 1 => drop(lines.remove(place)),
            0 | 1 => {
                let number =
                    (0..6).find(|n| lines.iter().all(|line| line.entry.name.as_str() != format!("e{n}")));
                if let Some(number) = number {
                    lines.insert(place, line(number, accounts, rng));
                }
            }
            2 | 3 => {
                let number = lines[place].entry.name.as_str()[1..].parse().expect("a number");
                lines[place] = line(number, accounts, rng);
            }
            // A change by reload to occurrences that are claimed or wait.
            6 => {
                let jitter = jitter(rng);
                lines.iter_mut().for_each(|line| amend(line, |entry| entry.jitter = jitter));
            }
            7 => amend(&mut lines[place], |entry| entry.paused = !entry.paused),
            9 => amend(&mut lines[place], |entry| entry.stack_state = StackState::Hold),
            8 => amend(&mut lines[place], |entry| entry.start_deadline = deadline(rng)),
            4 => lines[place] = SimulatedEntry { due: Due::draw(rng), ..lines[place].clone() }.timed(),
            _ => {
                let place = rng.usize(..accounts.len());
                let mut changed = (*accounts[place]).clone();
                changed.quota.reserve = reserve(changed.quota.limit, rng);
                changed.timeout = Duration::from_secs(rng.u64(4..15));
                let fresh = rng.u32(100..1_000_000);
                match rng.u32(..3) {
                    // The account is renamed: it has the same token.
                    0 => changed.name = AccountName::new(&format!("a{fresh}")).expect("a name"),
                    // It has another user's token.
                    1 => changed.token = TokenSource::Env(format!("T{fresh}")),
                    _ => {}
                }
                let changed = Arc::new(changed);
                let was = accounts[place].name.clone();
                for line in lines.iter_mut().filter(|line| line.entry.account.name == was) {
                    let entry = Entry { account: Arc::clone(&changed), ..(*line.entry).clone() };
                    line.entry = Arc::new(entry);
                }
                accounts[place] = changed;
            }
        }
    }
}

fn conditions(rng: &mut Rng) -> Conditions {
    let latency = rng.choice(["1ms..20ms", "20ms..300ms", "200ms..2s", "1ms..6s"]).unwrap_or("200ms");
    let others = [None, None, Some("5/1m"), Some("60/1m"), Some("10/1s")][rng.usize(..5)];
    let faults = if rng.bool() { 0 } else { rng.usize(1..=4) };
    Conditions {
        latency: latency.parse::<Latency>().expect("a latency"),
        faults: (0..faults).map(|_| fault(rng)).collect(),
        others: others.map(|others| others.parse::<Others>().expect("others' use")),
        window_kind: rng
            .choice([WindowKind::Fixed, WindowKind::FirstRequest, WindowKind::Rolling])
            .unwrap_or_default(),
        deploys: ["s0", "s1"].into_iter().filter_map(|stack| deploys(stack, rng)).collect(),
        action_duration: Duration::from_millis(rng.u64(100..20_000)),
        usual: crate::journal::UsualRuns::default(),
        seed: rng.u64(..),
    }
}

/// Deployments of a stack that come and go, in half of the runs.
fn deploys(stack: &str, rng: &mut Rng) -> Option<Deploys> {
    let every = rng.u64(5..120);
    let lasts = rng.u64(1..every);
    let stack = StackUid::new(stack).expect("a uid");
    rng.bool().then_some(Deploys {
        stack,
        lasts: Duration::from_secs(lasts),
        every: Duration::from_secs(every),
    })
}

fn fault(rng: &mut Rng) -> Fault {
    let span = |rng: &mut Rng| Duration::from_millis(rng.u64(10..20_000));
    let effect = if rng.bool() { FaultEffect::First } else { FaultEffect::None };
    let retry_after = [None, Some("2".to_owned()), Some("15".to_owned())][rng.usize(..3)].clone();
    let kind = match rng.u32(..21) {
        0 => FaultKind::Status(500, effect),
        1 => FaultKind::Status(504, effect),
        2 => FaultKind::Status(rng.choice([401, 404, 409, 422]).unwrap_or(404), FaultEffect::None),
        3 => FaultKind::NotImplemented,
        4 => FaultKind::Throttled(retry_after),
        5 => FaultKind::TooManyRequests(retry_after),
        6 => FaultKind::Redirect("http://localhost/".to_owned()),
        7 => FaultKind::Html502(effect),
        8 => FaultKind::CloseBefore,
        9 => FaultKind::CloseAfter,
        10 => FaultKind::ResetMidBody,
        11 => FaultKind::Slow(span(rng), FaultOrder::EffectFirst),
        12 => FaultKind::Slow(Duration::from_millis(rng.u64(10..3500)), FaultOrder::EffectLast),
        // A request that takes effect more than two minutes after it was sent counts as not
        // started, so that its occurrence may run twice.
        13 => FaultKind::Slow(Duration::from_millis(rng.u64(3500..110_000)), FaultOrder::EffectLast),
        14 => FaultKind::Garbage,
        15 => FaultKind::Bare,
        16 => FaultKind::Retyped,
        17 => FaultKind::MissingFields,
        18 => FaultKind::NoHeaders,
        19 => FaultKind::Slow(Duration::from_millis(rng.u64(110_000..480_000)), FaultOrder::EffectLast),
        _ => FaultKind::OddHeaders,
    };
    let on = [Some(Endpoint::RunNow), Some(Endpoint::RunNow), None][rng.usize(..3)];
    Fault { on, probability: 0.02 + 0.5 * rng.f64() * rng.f64(), ..Fault::new(kind) }
}

fn acts(span: Duration, files: usize, rng: &mut Rng) -> Vec<(Duration, usize, Act)> {
    let count = if rng.u32(..3) == 0 { 0 } else { rng.usize(1..=5) };
    let short = |rng: &mut Rng| Duration::from_millis(rng.u64(100..8000));
    let long = |rng: &mut Rng| Duration::from_millis(rng.u64(100..40_000));
    let wrong = SignedDuration::from_millis(match rng.u32(..3) {
        0 => rng.i64(-2000..2000),
        1 => rng.i64(-90_000..90_000),
        _ => rng.i64(-400_000..400_000),
    });
    let name = |rng: &mut Rng| EntryName::new(&format!("e{}", rng.u32(..4))).expect("a name");
    let draw = |rng: &mut Rng| match rng.u32(..19) {
        0..=2 => Act::Reload(rng.usize(..files)),
        3 => Act::Edit(rng.usize(..files)),
        4 => Act::Stop(if rng.bool() { short(rng) } else { long(rng) }),
        5 => Act::Kill { machine: rng.bool(), down: if rng.bool() { short(rng) } else { long(rng) } },
        6 | 7 => Act::SetClock(wrong),
        8 => Act::Freeze(if rng.bool() { short(rng) } else { long(rng) }),
        9 => Act::IllDisk(long(rng), rng.bool()),
        10 => Act::HangingDisk(long(rng)),
        11 => Act::Unreachable(long(rng)),
        12 => Act::Restore { age: long(rng), down: short(rng) },
        13 => Act::Fire(name(rng)),
        16 => Act::Maintain(["s0", "s1"][rng.usize(..2)], long(rng)),
        17 => Act::PauseInCloud66(["s0", "s1"][rng.usize(..2)], long(rng)),
        14 | 15 => Act::Pause(name(rng), long(rng)),
        _ => Act::Limit(rng.u32(3..400)),
    };
    let mut acts: Vec<(Duration, usize, Act)> = (0..count)
        .map(|_| {
            let at = Duration::from_millis(rng.u64(..span.as_millis() as u64));
            (at, 0, draw(rng))
        })
        .collect();
    // Before what a reload has changed is written, or soon after.
    if let Some(at) = acts.iter().find(|(.., act)| matches!(act, Act::Reload(_))).map(|act| act.0)
        && rng.bool()
    {
        let kill = Act::Kill { machine: false, down: short(rng) };
        // What a reload makes due at once leaves within a millisecond, and is on disk soon after.
        let within = if rng.bool() { 3000 } else { 4_000_000 };
        acts.push((at + Duration::from_micros(rng.u64(..within)), 0, kill));
    }
    // Several at once, now and then.
    if acts.len() > 1 && rng.u32(..4) == 0 {
        let at = acts[0].0;
        acts[1].0 = at + Duration::from_millis(rng.u64(..3000));
    }
    acts
}
