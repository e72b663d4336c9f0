//! One run in virtual time: a client that always has something to send, the server, other clients,
//! and the judge.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::num::NonZeroU32;
use std::time::Duration;

use fastrand::Rng;
use governor::clock::{Clock, FakeRelativeClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota as Rate, RateLimiter};
use stackcron::clock::Mono;
use stackcron::quota::{
    Ending, Purpose, Quota, QuotaAnswer, QuotaChange, Refusal, SavedQuota, Throttle, ThrottleWords, Ticket,
};

use super::scenario::{Kind, Scenario};
use super::server::{Server, Window};
use super::{BOOT, DOWN, MEASURED_FROM, TIMEOUT, WINDOW, WINDOWS};

/// Of what is usable, the part that follow-up may use.
const BACKGROUND: f64 = 0.3;

enum Event {
    Arrives(usize),
    Answered(usize),
    Lost(usize),
    Unsent(usize),
    Others(u32),
    Limit(u32),
    Wake,
    Stop,
    Start,
}

struct Sent {
    /// Which process sent it.
    life: u32,
    ticket: Option<Ticket>,
    sent: Mono,
    /// It was no fire.
    background: bool,
    /// It went beyond what the newest headers covered.
    probe: bool,
    /// How many requests others had used by the newest answer that was known when it was sent.
    others_known: u64,
    answers_at: Option<Mono>,
    /// When it was answered, lost or known to be unsent.
    ended: Mono,
    outcome: Option<Outcome>,
}

#[derive(Clone, Copy)]
struct Outcome {
    /// The server's order.
    order: u64,
    limit: u32,
    remaining: u32,
    refused: bool,
    bare: bool,
    others: u64,
    retry_after: Duration,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    pub sent: u64,
    pub refused: u64,
    /// Refused though the newest headers covered it, and nobody else had used any since.
    pub inexcusable: u64,
    /// Single requests beyond what was covered that were refused, though nobody else had used any
    /// since the newest answer: in the windows that are for learning, and in those that are
    /// measured.
    pub wrong_guesses: [u64; 2],
    /// In the windows that are measured: what was left beyond reserve, others' use and losses, and
    /// what was used of it.
    pub usable: f64,
    pub used: f64,
    /// In the windows that are measured: the longest that a turn waited for a request.
    pub late: Duration,
    pub exhausted: u64,
    pub restored: u64,
}

impl Report {
    /// The percentage of the usable that was used.
    pub fn use_percent(&self) -> f64 {
        self.used / self.usable.max(f64::MIN_POSITIVE) * 100.0
    }
}

/// Who decides when to send.
pub enum Client {
    Ours(Box<Quota>),
    /// governor alone, at the true limit: what one writes without knowing better.
    Plain(RateLimiter<NotKeyed, InMemoryState, FakeRelativeClock, NoOpMiddleware<Nanos>>),
}

impl Client {
    pub fn ours(scenario: &Scenario) -> Client {
        Client::Ours(Box::new(Quota::new(scenario.settings(), scenario.now(BOOT))))
    }

    pub fn plain(scenario: &Scenario) -> Client {
        let limit = NonZeroU32::new(scenario.limit).expect("a limit");
        let rate = Rate::with_period(WINDOW / limit.get()).expect("a period").allow_burst(limit);
        let clock = FakeRelativeClock::default();
        clock.advance(BOOT);
        Client::Plain(RateLimiter::direct_with_clock(rate, clock))
    }
}

pub struct Simulation<'a> {
    scenario: &'a Scenario,
    rng: Rng,
    now: Mono,
    events: BinaryHeap<Reverse<(Mono, u64)>>,
    /// By their number in `events`.
    kinds: Vec<Option<Event>>,
    server: Server,
    client: Client,
    sent: Vec<Sent>,
    in_flight: u32,
    /// Since when requests have been in flight, if any is.
    in_flight_since: Mono,
    /// Sent, and not known to be unsent or counted by the newest answer that is known.
    open: BTreeSet<usize>,
    wake: Option<Mono>,
    life: u32,
    /// Stopped, and not started again.
    down: bool,
    /// What was saved last, and when: each second, as the daemon does.
    saved: (Mono, SavedQuota),
    /// Requests the server took, and others' among them.
    order: u64,
    others: u64,
    /// The newest outcome that is known, in the server's order.
    newest: Option<Outcome>,
    /// When requests were lost, or answered without headers, that no answer known is sure to
    /// include.
    doubtful: Vec<Mono>,
    /// Requests: when, and how many were ours, others', and ours but lost on the way.
    taken: Vec<(Mono, i64, i64, i64)>,
    report: Report,
}

impl<'a> Simulation<'a> {
    pub fn run(scenario: &'a Scenario, client: Client) -> Report {
        let mut simulation = Simulation {
            scenario,
            rng: Rng::with_seed(scenario.seed ^ 0x5eed),
            now: BOOT,
            events: BinaryHeap::new(),
            kinds: Vec::new(),
            server: Server::new(scenario),
            client,
            sent: Vec::new(),
            in_flight: 0,
            in_flight_since: BOOT,
            open: BTreeSet::new(),
            wake: None,
            life: 0,
            down: false,
            saved: (BOOT, SavedQuota::default()),
            order: 0,
            others: 0,
            newest: None,
            doubtful: Vec::new(),
            taken: Vec::new(),
            report: Report::default(),
        };
        simulation.plan_others();
        simulation.plan_restarts();
        if let Some(limit) = scenario.becomes {
            let at = BOOT + WINDOW + WINDOW.mul_f64(simulation.rng.f64());
            simulation.at(at, Event::Limit(limit));
        }
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

    /// All in one window, well apart.
    fn plan_restarts(&mut self) {
        let apart = WINDOW / self.scenario.restarts.max(1);
        for restart in 0..self.scenario.restarts {
            let span = (apart - DOWN * 2).as_nanos() as u64;
            let at = BOOT + WINDOW * 4 + apart * restart + Duration::from_nanos(self.rng.u64(..span));
            self.at(at, Event::Stop);
            self.at(at + DOWN, Event::Start);
        }
    }

    /// Another process goes on with what was saved. What is in flight still is answered to nobody.
    fn start(&mut self) {
        let Client::Ours(quota) = &mut self.client else { return };
        let ending = if self.scenario.killed { Ending::Killed } else { Ending::InOrder };
        let saved = if self.scenario.killed { self.saved.1.clone() } else { quota.save() };
        let now = self.scenario.now(self.now);
        **quota = Quota::restore(self.scenario.settings(), saved, ending, now);
        (self.life, self.down, self.in_flight) = (self.life + 1, false, 0);
        for sent in self.sent.iter_mut().filter(|sent| sent.ticket.is_some()) {
            sent.ticket = None;
            sent.ended = self.now;
            self.doubtful.push(self.now);
        }
        if self.scenario.killed {
            self.newest = None;
        }
    }

    fn save(&mut self) {
        if let Client::Ours(quota) = &self.client
            && self.scenario.restarts > 0
            && !self.down
            && self.now >= self.saved.0 + Duration::from_secs(1)
        {
            self.saved = (self.now, quota.save());
        }
    }

    fn step(&mut self, event: usize) {
        self.save();
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
            Event::Limit(limit) => {
                self.server.limit = limit;
                // As if others had used it: no answer could have told.
                self.others += 1;
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
            Event::Stop => {
                self.down = true;
                return;
            }
            Event::Start => self.start(),
            Event::Answered(id) | Event::Lost(id) | Event::Unsent(id) if self.sent[id].life < self.life => {
                return;
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
            if let Some(window) = self.server.turns.last_mut() {
                window.background += u32::from(self.sent[id].background);
            }
        }
        let outcome = Outcome {
            order: self.order,
            limit: self.server.limit,
            remaining: left.unwrap_or(0),
            refused: left.is_none(),
            bare: self.rng.u32(..1000) < self.scenario.bare,
            others: self.others,
            retry_after: self.server.returns(self.now),
        };
        self.sent[id].outcome = Some(outcome);
        if outcome.refused {
            self.report.refused += 1;
            let excused = self.sent[id].others_known != self.others;
            if !excused && self.sent[id].probe {
                self.report.wrong_guesses[usize::from(self.now > MEASURED_FROM)] += 1;
            } else if !excused {
                self.report.inexcusable += 1;
            }
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
            let answer = QuotaAnswer {
                limit: (!outcome.bare).then_some(outcome.limit),
                remaining: (!outcome.bare).then_some(outcome.remaining),
                refused: outcome.refused.then_some(Throttle { retry_after, words: ThrottleWords::OfTheApi }),
                date: None,
            };
            let changes = quota.answered(ticket, answer, now);
            self.hear(changes);
        }
    }

    fn hear(&mut self, changes: Vec<QuotaChange>) {
        for change in changes {
            match change {
                QuotaChange::Limit { .. } => {}
                QuotaChange::Exhausted { .. } => self.report.exhausted += 1,
                QuotaChange::Restored { .. } => self.report.restored += 1,
            }
        }
    }

    /// Sends whatever may be sent: the backlog never ends.
    fn pump(&mut self) {
        if self.down {
            return;
        }
        while self.in_flight < self.scenario.connections {
            let now = self.scenario.now(self.now);
            let mut background = false;
            let follow_up = self.rng.u32(..100) < self.scenario.follow_percent;
            let ticket = match &mut self.client {
                Client::Ours(quota) => match follow_up
                    .then(|| quota.admit(Purpose::FollowUp, now))
                    .and_then(Result::ok)
                    .inspect(|_| background = true)
                    .map_or_else(|| quota.admit(Purpose::Fire, now), Ok)
                {
                    Ok(ticket) => Some(ticket),
                    Err(Refusal::InFlight) => {
                        assert!(self.in_flight > 0, "nothing is in flight that could decide");
                        if let Some(at) = quota.wakes_at() {
                            assert!(at > self.now, "{at:?} is not ahead of {:?}", self.now);
                            self.wake_at(at);
                        }
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
            self.send(ticket, background);
        }
    }

    /// What waits is told to wait only when the newest headers, less what is in doubt, leave
    /// nothing beyond the reserve.
    fn no_pacing(&self) {
        let Some(newest) = self.newest.filter(|_| !self.scenario.retry_after) else {
            return;
        };
        let reserve = u64::from(self.scenario.reserve.of(newest.limit));
        // With a rolling window answers that overtook each other leave a doubt; it ends with what
        // comes back next.
        let doubt = match self.scenario.kind {
            Kind::Rolling if self.scenario.others_percent > 0 => return,
            Kind::Rolling => u64::from(self.scenario.connections.min(self.scenario.limit / 50 + 1)),
            Kind::Aligned | Kind::FirstRequest => 0,
        };
        let left = u64::from(newest.remaining).saturating_sub(doubt + self.doubtful.len() as u64);
        assert!(
            left <= reserve,
            "made to wait with {left} left and a reserve of {reserve}, at {:?}",
            self.now - BOOT
        );
    }

    fn wake_at(&mut self, at: Mono) {
        if self.wake.is_none_or(|wake| at < wake) {
            self.wake = Some(at);
            self.at(at, Event::Wake);
        }
    }

    fn send(&mut self, ticket: Option<Ticket>, background: bool) {
        let probe = matches!(self.client, Client::Ours(_)) && !self.covered();
        if probe && self.newest.is_none() {
            self.few_on_nothing();
        } else if probe {
            let other = self.sent.iter().rev().take(4096).find(|sent| sent.probe && sent.ticket.is_some());
            assert!(
                other.is_none(),
                "two requests beyond what is covered, at {:?} and {:?}",
                other.map(|s| s.sent),
                self.now
            );
        }
        let id = self.sent.len();
        self.open.insert(id);
        if self.in_flight == 0 {
            self.in_flight_since = self.now;
        }
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
            life: self.life,
            background,
            ticket,
            sent: self.now,
            probe,
            others_known,
            answers_at,
            ended: Mono::MAX,
            outcome: None,
        });
    }

    /// While nothing was told, one goes; for each two seconds without an answer twice as many.
    fn few_on_nothing(&self) {
        let silence = self.now - if self.in_flight == 0 { self.now } else { self.in_flight_since };
        let most = 1u64 << (silence.as_secs() / 2).min(62);
        // Answers without headers let the quota count for itself.
        let bare = self.sent.iter().filter(|sent| sent.outcome.is_some_and(|outcome| outcome.bare)).count();
        assert!(
            bare >= 5 || u64::from(self.in_flight) < most,
            "{} are in flight and nothing was told, at {:?}",
            self.in_flight,
            self.now
        );
    }

    /// Whether the newest headers, less what they do not include and the reserve, cover one more.
    fn covered(&mut self) -> bool {
        let Some(newest) = self.newest else { return false };
        let reserve = u64::from(self.scenario.reserve.of(newest.limit));
        let left = u64::from(newest.remaining);
        if left > reserve + u64::from(self.in_flight) + self.doubtful.len() as u64 {
            return true;
        }
        let (sent, order) = (&self.sent, newest.order);
        self.open.retain(|&id| match sent[id].outcome {
            Some(outcome) => outcome.order > order,
            None => sent[id].ticket.is_some(),
        });
        left > reserve + self.open.len() as u64
    }

    fn measure(&mut self) {
        let begin = MEASURED_FROM;
        let end = BOOT + WINDOW * WINDOWS;
        let limit = self.scenario.becomes.unwrap_or(self.scenario.limit);
        let beyond_reserve = f64::from(limit - self.scenario.reserve.of(limit).min(limit));
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
            assert!(
                f64::from(window.background) <= (beyond_reserve * BACKGROUND).max(1.0),
                "{} of {beyond_reserve} went to follow-up",
                window.background
            );
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
        assert!(windows >= 8.0, "{windows} windows of {} were measured", turns.len());
    }
}
