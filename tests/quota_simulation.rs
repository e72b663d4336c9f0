//! The quota against a model of the server, in virtual time: never refused for what could have been known, never idle.
//!
//! Every scenario follows from its seed. `STACKCRON_SIMULATIONS=N` runs more of them, `STACKCRON_SEED=N` one again.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use fastrand::Rng;
use governor::clock::{Clock, FakeRelativeClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota as Rate, RateLimiter};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use stackcron::clock::{Mono, Now};
use stackcron::quota::{Answer, Change, Purpose, Quota, Refusal, Throttle, Ticket};
use stackcron::schedule::{QuotaSettings, Reserve};

const WINDOW: Duration = Duration::from_secs(3600);
/// Two windows to recognise the kind, ten that are measured.
const LEARNING: u32 = 2;
const WINDOWS: u32 = LEARNING + 10;
/// After which a request without an answer is given up: longer than the slowest way there.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The model's clocks begin here; ten virtual hours after the machine booted.
const BOOT: Duration = Duration::from_secs(36_000);

/// The kinds of window a server may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Aligned,
    FirstRequest,
    Rolling,
}

/// All that a run depends on.
#[derive(Clone, Debug)]
struct Scenario {
    seed: u64,
    kind: Kind,
    limit: u32,
    reserve: Reserve,
    /// What others use of the limit in a window, in percent, and in how many bursts.
    others_percent: u32,
    bursts: u32,
    /// Slowest answer; the fastest takes a thousandth of it, but 1 ms at least.
    latency: Duration,
    /// Of a thousand requests: how many are lost, how many cannot be sent, how many answers lack the headers.
    lost: u32,
    unsent: u32,
    bare: u32,
    /// Where in its window an aligned server is when the run begins.
    phase: Duration,
    /// How far the server's clock is behind ours, in milliseconds.
    behind: i64,
    /// A refusal names the instant.
    retry_after: bool,
    /// Requests in flight at most.
    connections: u32,
}

impl Scenario {
    fn from_seed(seed: u64) -> Scenario {
        let mut rng = Rng::with_seed(seed);
        let kind = [Kind::Aligned, Kind::FirstRequest, Kind::Rolling][rng.usize(..3)];
        let limit = match rng.u32(..100) {
            0 => 100_000,
            1..10 => rng.u32(1000..20_000),
            _ => 10f64.powf(1.0 + 2.0 * rng.f64()) as u32,
        };
        let reserve = match rng.u32(..4) {
            0 => Reserve::Requests(0),
            1 => Reserve::Requests(rng.u32(..limit / 4)),
            _ => Reserve::Percent(5.0),
        };
        let latency = Duration::from_secs_f64(10f64.powf(-3.0 + 4.0 * rng.f64()));
        let mut some = |most: u32| if rng.bool() { 0 } else { rng.u32(1..=most) };
        let (others_percent, lost, unsent, bare) = (some(60), some(20), some(50), some(20));
        Scenario {
            seed,
            kind,
            limit,
            reserve,
            others_percent,
            bursts: rng.u32(1..40),
            latency,
            lost,
            unsent,
            bare,
            phase: Duration::from_millis(rng.u64(..3_600_000)),
            behind: if rng.bool() { 0 } else { rng.i64(-900..900) },
            retry_after: rng.u32(..5) == 0,
            connections: 1 << rng.u32(..11),
        }
        .with_enough_connections()
    }

    /// Enough connections to use up a window's quota within a tenth of it, at the slowest, so that the quota decides.
    fn with_enough_connections(mut self) -> Scenario {
        let needed =
            (f64::from(self.limit) * self.latency.as_secs_f64() * 10.0 / WINDOW.as_secs_f64()).ceil();
        let lost = f64::from(self.limit) * f64::from(self.lost) / 1000.0 * TIMEOUT.as_secs_f64() * 10.0
            / WINDOW.as_secs_f64();
        self.connections = self.connections.max((needed + lost) as u32 + 1);
        self
    }

    fn settings(&self) -> QuotaSettings {
        QuotaSettings { limit: 3600, window: WINDOW, reserve: self.reserve }
    }

    fn now(&self, mono: Mono) -> Now {
        let epoch: i64 = 1_700_000_000 / 3600 * 3600;
        let wall = Timestamp::from_second(epoch).expect("a timestamp")
            + SignedDuration::try_from(self.phase + (mono - BOOT)).expect("a short run");
        Now { wall, mono }
    }
}

/// The look-alike of the server's quota.
struct Server {
    kind: Kind,
    limit: u32,
    phase: Duration,
    behind: i64,
    opened: Option<Mono>,
    count: u32,
    recent: VecDeque<(Mono, u32)>,
    /// Turns of the window, oldest first.
    turns: Vec<Window>,
}

/// One window of the server's.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    opened: Mono,
    own: u32,
    others: u32,
    lost: u32,
}

impl Server {
    fn turn(&mut self, at: Mono) {
        match self.kind {
            Kind::Aligned => {
                let clock = (at + self.phase).as_nanos() as i128 - i128::from(self.behind) * 1_000_000;
                let start = clock.div_euclid(WINDOW.as_nanos() as i128) * WINDOW.as_nanos() as i128;
                let start = start + i128::from(self.behind) * 1_000_000 - self.phase.as_nanos() as i128;
                let start = Mono::from_nanos(start.max(0) as u64);
                if self.opened != Some(start) {
                    self.open(start);
                }
            }
            Kind::FirstRequest => {
                if self.opened.is_none_or(|opened| at >= opened + WINDOW) {
                    self.open(at);
                }
            }
            Kind::Rolling => {
                while let Some(&(when, n)) = self.recent.front()
                    && when + WINDOW <= at
                {
                    self.count -= n;
                    self.recent.pop_front();
                }
            }
        }
    }

    fn open(&mut self, at: Mono) {
        self.opened = Some(at);
        self.count = 0;
        self.turns.push(Window { opened: at, ..Window::default() });
    }

    /// Counts one request: `None` when it is refused.
    fn take(&mut self, at: Mono, own: bool) -> Option<u32> {
        self.turn(at);
        if self.count >= self.limit {
            return None;
        }
        self.count += 1;
        if self.kind == Kind::Rolling {
            match self.recent.back_mut() {
                Some((when, n)) if *when == at => *n += 1,
                _ => self.recent.push_back((at, 1)),
            }
        }
        if let Some(window) = self.turns.last_mut() {
            window.own += u32::from(own);
            window.others += u32::from(!own);
        }
        Some(self.limit - self.count)
    }

    /// When the next request would be taken, if it were refused now.
    fn returns(&self, at: Mono) -> Duration {
        let back = match self.kind {
            Kind::Rolling => self.recent.front().map(|&(when, _)| when + WINDOW),
            _ => self.opened.map(|opened| opened + WINDOW),
        };
        back.unwrap_or(at).saturating_sub(at)
    }
}

enum Event {
    Arrives(usize),
    Answered(usize),
    Lost(usize),
    Unsent(usize),
    Others(u32),
    Wake,
}

struct Sent {
    ticket: Option<Ticket>,
    sent: Mono,
    /// It went beyond what the newest headers covered.
    probe: bool,
    /// How many requests others had used by the newest answer that was known when it was sent.
    others_known: u64,
    answers_at: Option<Mono>,
    ended: Mono,
    outcome: Option<Outcome>,
}

#[derive(Clone, Copy)]
struct Outcome {
    /// The server's order.
    order: u64,
    remaining: u32,
    refused: bool,
    bare: bool,
    others: u64,
    retry_after: Duration,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
struct Report {
    sent: u64,
    refused: u64,
    /// Refused with no single request of others' in between, and no guess.
    inexcusable: u64,
    /// Of the quota beyond reserve and others, in the windows that are measured.
    usable: f64,
    used: f64,
    /// The latest first request after a turn, in the windows that are measured.
    late: Duration,
    /// Guesses that were refused, by then and after.
    guesses_learning: u64,
    guesses_after: u64,
    exhausted: u64,
    restored: u64,
}

/// Who decides when to send.
enum Client {
    Ours(Box<Quota>),
    /// governor alone, at the true limit: what one writes without knowing better.
    Plain(RateLimiter<NotKeyed, InMemoryState, FakeRelativeClock, NoOpMiddleware<Nanos>>),
}

impl Client {
    fn ours(scenario: &Scenario) -> Client {
        Client::Ours(Box::new(Quota::new(scenario.settings(), scenario.now(BOOT))))
    }

    fn plain(scenario: &Scenario) -> Client {
        let limit = NonZeroU32::new(scenario.limit).expect("a limit");
        let rate = Rate::with_period(WINDOW / limit.get()).expect("a period").allow_burst(limit);
        let clock = FakeRelativeClock::default();
        clock.advance(BOOT);
        Client::Plain(RateLimiter::direct_with_clock(rate, clock))
    }
}

struct Simulation<'a> {
    scenario: &'a Scenario,
    rng: Rng,
    now: Mono,
    events: BinaryHeap<Reverse<(Mono, u64)>>,
    /// By the sequence number in `events`.
    kinds: Vec<Option<Event>>,
    server: Server,
    client: Client,
    sent: Vec<Sent>,
    in_flight: u32,
    wake: Option<Mono>,
    /// Requests the server took, and others' among them.
    order: u64,
    others: u64,
    /// The newest outcome that is known, in the server's order.
    newest: Option<Outcome>,
    /// Lost requests that no answer known is sure to include, and the latest send that was answered.
    doubtful: Vec<Mono>,
    /// Every request that was taken or may have been: when, ours, others', lost.
    taken: Vec<(Mono, i64, i64, i64)>,
    report: Report,
}

impl<'a> Simulation<'a> {
    fn run(scenario: &'a Scenario, client: Client) -> Report {
        let mut simulation = Simulation {
            scenario,
            rng: Rng::with_seed(scenario.seed ^ 0x5eed),
            now: BOOT,
            events: BinaryHeap::new(),
            kinds: Vec::new(),
            server: Server {
                kind: scenario.kind,
                limit: scenario.limit,
                phase: scenario.phase,
                behind: scenario.behind,
                opened: None,
                count: 0,
                recent: VecDeque::new(),
                turns: Vec::new(),
            },
            client,
            sent: Vec::new(),
            in_flight: 0,
            wake: None,
            order: 0,
            others: 0,
            newest: None,
            doubtful: Vec::new(),
            taken: Vec::new(),
            report: Report::default(),
        };
        simulation.plan_others();
        simulation.pump();
        let end = BOOT + WINDOW * (WINDOWS + 1);
        while let Some(Reverse((at, event))) = simulation.events.pop() {
            if at > end {
                break;
            }
            simulation.now = at;
            simulation.step(event as usize);
        }
        simulation.measure();
        simulation.report
    }

    fn at(&mut self, at: Mono, event: Event) {
        self.events.push(Reverse((at, self.kinds.len() as u64)));
        self.kinds.push(Some(event));
    }

    /// Others' use: half of it in bursts, half one by one.
    fn plan_others(&mut self) {
        let all = self.scenario.limit * self.scenario.others_percent / 100;
        let span = WINDOW.as_nanos() as u64;
        // They were there before us.
        let begin = BOOT - WINDOW;
        for window in 0..WINDOWS + 2 {
            for burst in 0..self.scenario.bursts.min(all / 2) {
                let at = begin + WINDOW * window + Duration::from_nanos(self.rng.u64(..span));
                let size = (all / 2 + burst) / self.scenario.bursts.min(all / 2);
                self.at(at, Event::Others(size));
            }
            for _ in 0..all - all / 2 {
                let at = begin + WINDOW * window + Duration::from_nanos(self.rng.u64(..span));
                self.at(at, Event::Others(1));
            }
        }
        // Their use before the run is taken in before anything is sent.
        while let Some(&Reverse((at, event))) = self.events.peek()
            && at < BOOT
        {
            self.events.pop();
            self.now = at;
            self.step(event as usize);
        }
        self.now = BOOT;
    }

    fn step(&mut self, event: usize) {
        match self.kinds[event].take().expect("an event happens once") {
            Event::Others(size) => {
                for _ in 0..size {
                    if self.server.take(self.now, false).is_some() {
                        self.order += 1;
                        self.others += 1;
                        self.taken.push((self.now, 0, 1, 0));
                    }
                }
                return;
            }
            Event::Arrives(id) => return self.arrives(id),
            Event::Wake => {
                self.wake = None;
                if let Client::Ours(quota) = &mut self.client {
                    let changes = quota.tick(self.scenario.now(self.now));
                    self.hear(changes);
                }
            }
            Event::Answered(id) => self.answered(id),
            Event::Lost(id) => {
                self.sent[id].ended = self.now;
                self.in_flight -= 1;
                self.doubtful.push(self.now);
                if let (Client::Ours(quota), Some(ticket)) = (&mut self.client, self.sent[id].ticket.take()) {
                    let changes = quota.lost(ticket, self.scenario.now(self.now));
                    self.hear(changes);
                }
            }
            Event::Unsent(id) => {
                self.sent[id].ended = self.now;
                self.in_flight -= 1;
                if let (Client::Ours(quota), Some(ticket)) = (&mut self.client, self.sent[id].ticket.take()) {
                    let changes = quota.unsent(ticket, self.scenario.now(self.now));
                    self.hear(changes);
                }
            }
        }
        self.pump();
    }

    fn arrives(&mut self, id: usize) {
        let left = self.server.take(self.now, true);
        self.order += 1;
        if left.is_some() {
            self.taken.push((self.now, 1, 0, 0));
        }
        let outcome = Outcome {
            order: self.order,
            remaining: left.unwrap_or(0),
            refused: left.is_none(),
            bare: self.rng.u32(..1000) < self.scenario.bare,
            others: self.others,
            retry_after: self.server.returns(self.now),
        };
        self.sent[id].outcome = Some(outcome);
        if outcome.refused {
            self.report.refused += 1;
            let learning = self.now < BOOT + WINDOW * LEARNING;
            if self.sent[id].probe {
                self.report.guesses_learning += u64::from(learning);
                self.report.guesses_after += u64::from(!learning);
            } else if self.sent[id].others_known == self.others {
                self.report.inexcusable += 1;
            }
        }
        if self.sent[id].probe && std::env::var("TRACE").is_ok() {
            let Client::Ours(q) = &self.client else { panic!() };
            println!(
                "probe sent {:.3} arrives {:.3} left {} refused {} | {}",
                (self.sent[id].sent - BOOT).as_secs_f64(),
                (self.now - BOOT).as_secs_f64(),
                outcome.remaining,
                outcome.refused,
                q.debug()
            );
        }
        if let Some(at) = self.sent[id].answers_at {
            self.at(at.max(self.now), Event::Answered(id));
        }
    }

    fn answered(&mut self, id: usize) {
        self.in_flight -= 1;
        self.sent[id].ended = self.now;
        let outcome = self.sent[id].outcome.expect("it arrived");
        let told = !outcome.bare || outcome.refused;
        if told && self.newest.is_none_or(|newest| newest.order < outcome.order) {
            self.newest = Some(outcome);
        }
        if told {
            let sent = self.sent[id].sent;
            self.doubtful.retain(|&lost| lost > sent);
        } else {
            self.doubtful.push(self.now);
        }
        let now = self.scenario.now(self.now);
        if let (Client::Ours(quota), Some(ticket)) = (&mut self.client, self.sent[id].ticket.take()) {
            let retry_after = self.scenario.retry_after.then_some(outcome.retry_after);
            let answer = Answer {
                limit: (!outcome.bare).then_some(self.scenario.limit),
                remaining: (!outcome.bare).then_some(outcome.remaining),
                refused: outcome.refused.then_some(Throttle { retry_after }),
            };
            let changes = quota.answered(ticket, answer, now);
            self.hear(changes);
        }
    }

    fn hear(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Limit { .. } => {}
                Change::Exhausted { .. } => self.report.exhausted += 1,
                Change::Restored { .. } => self.report.restored += 1,
            }
        }
    }

    /// Sends whatever may be sent: the backlog never ends.
    fn pump(&mut self) {
        while self.in_flight < self.scenario.connections {
            let now = self.scenario.now(self.now);
            let ticket = match &mut self.client {
                Client::Ours(quota) => match quota.admit(Purpose::Fire, now) {
                    Ok(ticket) => Some(ticket),
                    Err(Refusal::InFlight) => {
                        assert!(self.in_flight > 0, "nothing is in flight that could decide");
                        return;
                    }
                    Err(Refusal::Until(until)) => {
                        assert!(until.at > self.now, "{until:?} is not ahead of {:?}", self.now);
                        assert_eq!(
                            quota.wakes_at(),
                            Some(until.at),
                            "it wakes when it is worth asking again"
                        );
                        self.no_pacing();
                        self.wake_at(until.at);
                        return;
                    }
                },
                Client::Plain(limiter) => {
                    limiter.clock().advance(self.now - Duration::from_nanos(limiter.clock().now().as_u64()));
                    if let Err(not_until) = limiter.check() {
                        let at = not_until.earliest_possible();
                        self.wake_at(
                            Duration::from_nanos(at.as_u64()).max(self.now + Duration::from_nanos(1)),
                        );
                        return;
                    }
                    None
                }
            };
            self.send(ticket);
        }
    }

    /// What waits is told to wait only when the newest headers, less what is lost, leave nothing beyond the reserve.
    fn no_pacing(&self) {
        let reserve = self.scenario.reserve.of(self.scenario.limit);
        if let Some(newest) = self.newest
            && !self.scenario.retry_after
        {
            let left = u64::from(newest.remaining).saturating_sub(self.doubtful.len() as u64);
            let Client::Ours(q) = &self.client else { return };
            assert!(
                left <= u64::from(reserve),
                "made to wait with {left} left and a reserve of {reserve} doubt {} {}",
                self.doubtful.len(),
                q.debug()
            );
        }
    }

    fn wake_at(&mut self, at: Mono) {
        if self.wake.is_none_or(|wake| at < wake) {
            self.wake = Some(at);
            self.at(at, Event::Wake);
        }
    }

    fn send(&mut self, ticket: Option<Ticket>) {
        let probe = !self.covered();
        if std::env::var("TRACE").is_ok() {
            if let Client::Ours(q) = &self.client {
                println!(
                    "send {} at {:.3} probe {probe} newest {:?} doubtful {} told {}",
                    self.sent.len(),
                    (self.now - BOOT).as_secs_f64(),
                    self.newest.map(|n| n.remaining),
                    self.doubtful.len(),
                    q.debug().split("told").nth(1).unwrap()
                );
            }
        }
        if probe && matches!(self.client, Client::Ours(_)) {
            let other = self.sent.iter().rev().take(4096).find(|sent| sent.probe && sent.ticket.is_some());
            assert!(
                other.is_none(),
                "two requests beyond what is covered, at {:?} and {:?}",
                other.map(|s| s.sent),
                self.now
            );
        }
        let id = self.sent.len();
        self.in_flight += 1;
        self.report.sent += 1;
        let slowest = self.scenario.latency;
        let fastest = (slowest / 1000).max(Duration::from_millis(1)).min(slowest);
        let took = fastest + (slowest - fastest).mul_f64(self.rng.f64());
        let there = took.mul_f64(self.rng.f64());
        let fate = self.rng.u32(..1000);
        let mut answers_at = None;
        if fate < self.scenario.unsent {
            self.at(self.now + there, Event::Unsent(id));
        } else if fate < self.scenario.unsent + self.scenario.lost {
            if self.rng.bool() {
                self.at(self.now + there, Event::Arrives(id));
            } else {
                self.taken.push((self.now, 0, 0, 1));
                if let Some(window) = self.server.turns.last_mut() {
                    window.lost += 1;
                }
            }
            self.at(self.now + TIMEOUT, Event::Lost(id));
        } else {
            answers_at = Some(self.now + took);
            self.at(self.now + there, Event::Arrives(id));
        }
        let others_known = self.newest.map_or(u64::MAX, |newest| newest.others);
        self.sent.push(Sent {
            ticket,
            sent: self.now,
            probe,
            others_known,
            answers_at,
            ended: Mono::MAX,
            outcome: None,
        });
    }

    /// Whether the newest headers, less what they do not include and the reserve, cover one more.
    fn covered(&self) -> bool {
        let reserve = u64::from(self.scenario.reserve.of(self.scenario.limit));
        let Some(newest) = self.newest else { return false };
        let left = u64::from(newest.remaining);
        if left > reserve + u64::from(self.in_flight) + self.doubtful.len() as u64 {
            return true;
        }
        let out = |sent: &&Sent| match sent.outcome {
            Some(outcome) => outcome.order > newest.order,
            None => sent.ticket.is_some(),
        };
        left > reserve + self.sent.iter().filter(out).count() as u64
    }

    fn measure(&mut self) {
        let begin = BOOT + WINDOW * LEARNING;
        let end = BOOT + WINDOW * WINDOWS;
        let beyond_reserve = f64::from(self.scenario.limit - self.scenario.reserve.of(self.scenario.limit));
        if self.scenario.kind == Kind::Rolling {
            // In the mean over time: ours within the last window, against what others leave.
            let mut steps: Vec<(Mono, i64, i64)> = Vec::new();
            for &(at, own, others, lost) in &self.taken {
                steps.push((at, own, others + lost));
                steps.push((at + WINDOW, -own, -others - lost));
            }
            steps.sort_unstable();
            let (mut last, mut own, mut others) = (Duration::ZERO, 0i64, 0i64);
            for (at, d_own, d_others) in steps {
                let span = at.clamp(begin, end).saturating_sub(last.clamp(begin, end)).as_secs_f64();
                let usable = (beyond_reserve - others as f64).max(0.0);
                self.report.usable += usable * span;
                self.report.used += usable.min(own as f64) * span;
                (last, own, others) = (at, own + d_own, others + d_others);
            }
            return;
        }
        let turns: Vec<Window> =
            self.server.turns.iter().copied().filter(|w| w.opened >= begin && w.opened <= end).collect();
        let mut sends = self.sent.iter().peekable();
        let mut ended = Mono::ZERO;
        let mut windows = 0.0;
        for pair in turns.windows(2) {
            let (window, next) = (pair[0], pair[1]);
            let usable = (beyond_reserve - f64::from(window.others + window.lost)).max(0.0);
            // A window that opens late was idle before.
            let idle = (next.opened - window.opened).as_secs_f64() / WINDOW.as_secs_f64();
            windows += idle;
            self.report.usable += usable * idle;
            self.report.used += usable.min(f64::from(window.own));
            let turned =
                if self.scenario.kind == Kind::FirstRequest { window.opened + WINDOW } else { next.opened };
            while let Some(before) = sends.next_if(|sent| sent.sent < turned) {
                ended = ended.max(before.ended);
            }
            // One that was under way when it turned has to end first.
            if let Some(first) = sends.peek() {
                self.report.late = self.report.late.max(first.sent.saturating_sub(turned.max(ended)));
            }
        }
        assert!(windows >= 9.0, "{windows} windows of {} were measured", turns.len());
    }
}

/// How many scenarios a test runs: all of them in a release build, fewer where the code is slow.
fn seeds() -> Vec<u64> {
    if let Ok(seed) = std::env::var("STACKCRON_SEED") {
        return vec![seed.parse().expect("STACKCRON_SEED is a number")];
    }
    let count = std::env::var("STACKCRON_SIMULATIONS")
        .ok()
        .map(|n| n.parse().expect("STACKCRON_SIMULATIONS is a number"));
    (0..count.unwrap_or(if cfg!(debug_assertions) { 60 } else { 2000 })).collect()
}

#[test]
fn explore() {
    for seed in seeds() {
        let scenario = Scenario::from_seed(seed);
        let report = std::panic::catch_unwind(|| Simulation::run(&scenario, Client::ours(&scenario)));
        let Ok(report) = report else {
            println!("PANIC {scenario:?}");
            continue;
        };
        let share = report.used / report.usable * 100.0;
        if share < 98.0
            || report.inexcusable > 0
            || report.guesses_after > 0
            || report.late > Duration::from_secs(1)
        {
            println!(
                "{seed} {:?} L={} R={:?} o={}% lat={:?} lost={} bare={} behind={} ra={} | sent {} refused {} inexc {} use {share:.2}% late {:?} guesses {}+{} ex {} re {}",
                scenario.kind,
                scenario.limit,
                scenario.reserve,
                scenario.others_percent,
                scenario.latency,
                scenario.lost,
                scenario.bare,
                scenario.behind,
                scenario.retry_after,
                report.sent,
                report.refused,
                report.inexcusable,
                report.late,
                report.guesses_learning,
                report.guesses_after,
                report.exhausted,
                report.restored
            );
        }
    }
}
