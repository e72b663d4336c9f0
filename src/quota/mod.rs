//! The quota of one account: what may be sent now, and when it is worth asking again.
//!
//! Requests are admitted from what the API's headers cover: Remaining as newest told, less what it may not include,
//! less the reserve. Beyond that only single requests go, at instants when quota should have come back: their answers
//! tell. So a wrong guess about the window costs one request at most.

mod belief;
mod headers;
mod ledger;
mod limiter;
mod saved;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::{Mono, Now};
use crate::schedule::QuotaSettings;
use belief::{Belief, Reading};
pub use headers::{Headers, headers};
use ledger::{Bucket, Ledger};
use limiter::Limiter;
pub use saved::{Saved, SavedTold, SavedUse};

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// run_now.
    Fire,
    /// Asks how an action goes.
    FollowUp,
    /// Asks whether stacks, jobs and the token are in order.
    Check,
}

/// Of what is usable in a window, the percentage that follow-up and checks may use together, so that fires find room.
const ASIDE_PERCENT: u64 = 30;
/// After the quota was used up, it counts as restored once this percentage of the usable is left: with a rolling window
/// a little comes back all the time.
const RESTORED_PERCENT: u64 = 10;
/// So many answers in a row without a Remaining, and the API is taken to tell none any more.
const SILENT_ANSWERS: u32 = 3;

/// One request in flight. Hand it back when it ended: to [`Quota::answered`], [`Quota::lost`] or [`Quota::unsent`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a ticket that is not handed back counts as in flight for ever"]
pub struct Ticket {
    number: u64,
    sent: Mono,
    purpose: Purpose,
}

/// Why nothing may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Answers under way decide: ask again when one has come.
    InFlight,
    /// It is not worth asking again before an instant.
    Until(Until),
}

/// The earliest instant worth asking again, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    pub at: Mono,
    pub wall: Timestamp,
    pub why: Why,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The quota beyond the reserve is used up: its window has to turn.
    Exhausted,
    /// The server named the instant, with `Retry-After`.
    RetryAfter,
    /// Follow-up and checks have had their share of the window.
    Share,
}

/// What an answer told of the quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub limit: Option<u32>,
    pub remaining: Option<u32>,
    /// The request was refused for want of quota: 429, or 503 `throttled`.
    pub refused: Option<Throttle>,
}

/// A refusal for want of quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    pub retry_after: Option<Duration>,
}

/// What an operator is told, once for each change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The server's limit is another.
    Limit { limit: u32, was: u32 },
    /// Nothing is left beyond the reserve. `until` is when it should come back.
    Exhausted { limit: u32, remaining: u32, until: Timestamp },
    /// There is quota again.
    Restored { limit: u32, remaining: u32 },
}

/// The quota of one account. Owned by the loop that sends; it reads no clock.
#[derive(Debug)]
pub struct Quota {
    settings: QuotaSettings,
    limit: u32,
    belief: Belief,
    ledger: Ledger,
    asides: Ledger,
    asides_in_flight: u32,
    limiter: Limiter,
    /// The request that went beyond what was covered, while its answer is awaited.
    probe: Option<u64>,
    /// Nothing was answered since the start: what is believed may be stale, so one request goes first.
    unconfirmed: bool,
    silent: u32,
    not_before: Option<Mono>,
    exhausted_since: Option<Mono>,
    exhausted: bool,
    seen: Now,
}

/// How a request may go.
enum Clearance {
    Covered(u32),
    Alone,
    InFlight,
    Until(Mono, Why),
}

impl Quota {
    /// A quota of which nothing is known but its settings.
    pub fn new(settings: QuotaSettings, now: Now) -> Quota {
        Quota {
            settings,
            limit: settings.limit,
            belief: Belief::default(),
            ledger: Ledger::new(settings.window),
            asides: Ledger::new(settings.window),
            asides_in_flight: 0,
            limiter: Limiter::new(settings.limit),
            probe: None,
            unconfirmed: true,
            silent: 0,
            not_before: None,
            exhausted_since: None,
            exhausted: false,
            seen: now,
        }
    }

    /// A quota as a former process left it.
    pub fn restore(settings: QuotaSettings, saved: Saved, now: Now) -> Quota {
        let mut quota = Quota::new(settings, now);
        if saved.limit > 0 {
            quota.limit = saved.limit;
            quota.limiter = Limiter::new(saved.limit);
        }
        let limit = quota.limit;
        let told = saved.told.map(|told| {
            (
                told.remaining.min(limit),
                limit,
                mono(now, told.sent).min(now.mono),
                mono(now, told.came).min(now.mono),
            )
        });
        quota.belief = Belief::restored(told, saved.uncovered);
        for used in saved.used {
            let (from, until) = (mono(now, used.from).min(now.mono), mono(now, used.until).min(now.mono));
            quota.ledger.add(Bucket { from, until, own: used.own, others: used.others });
        }
        quota.ledger.age(now.mono);
        quota.not_before = saved.not_before.map(|at| mono(now, at));
        quota.exhausted_since = saved.exhausted_since.map(|at| mono(now, at).min(now.mono));
        quota.exhausted = quota.exhausted_since.is_some();
        quota
    }

    /// What a later process should know.
    pub fn save(&self) -> Saved {
        let at = |mono| wall(self.seen, mono);
        Saved {
            limit: self.limit,
            told: self.belief.told().map(|told| SavedTold {
                remaining: told.remaining,
                sent: at(told.sent),
                came: at(told.came),
            }),
            uncovered: self.belief.in_flight().saturating_add(self.belief.loose()),
            used: self
                .ledger
                .buckets()
                .map(|b| SavedUse { from: at(b.from), until: at(b.until), own: b.own, others: b.others })
                .collect(),
            not_before: self.not_before.map(at),
            exhausted_since: self.exhausted_since.map(at),
        }
    }

    /// Asks for one request to be sent now.
    pub fn admit(&mut self, purpose: Purpose, now: Now) -> Result<Ticket, Refusal> {
        self.age(now);
        if purpose != Purpose::Fire
            && let Some(at) = self.aside_waits_for()
        {
            return Err(self.until(at, Why::Share));
        }
        let alone = match self.clearance() {
            Clearance::Covered(left) => {
                self.limiter.level(left);
                false
            }
            Clearance::Alone => {
                self.limiter.level(1);
                true
            }
            Clearance::InFlight => return Err(Refusal::InFlight),
            Clearance::Until(at, why) => return Err(self.until(at, why)),
        };
        if !self.limiter.admit() {
            return Err(Refusal::InFlight);
        }
        let number = self.belief.send();
        if alone {
            self.probe = Some(number);
        }
        self.asides_in_flight += u32::from(purpose != Purpose::Fire);
        Ok(Ticket { number, sent: now.mono, purpose })
    }

    /// An answer came, whatever its status.
    pub fn answered(&mut self, ticket: Ticket, answer: Answer, now: Now) -> Vec<Change> {
        self.age(now);
        self.hand_back(&ticket, true);
        let limit = answer.limit.filter(|&limit| limit > 0).unwrap_or(self.limit);
        let remaining = match answer.refused {
            Some(_) => Some(0),
            None => answer.remaining.filter(|&remaining| remaining <= limit),
        };
        if answer.refused.is_none() {
            self.ledger.add_own(ticket.sent, now.mono);
        }
        self.unconfirmed = false;
        let reading = self.belief.answered(ticket.number, ticket.sent, now.mono, limit, remaining);
        let mut changes = Vec::new();
        match reading {
            Reading::Silent => self.silent = self.silent.saturating_add(1),
            Reading::Unordered => self.silent = 0,
            Reading::Newer { .. } => {
                self.silent = 0;
                self.not_before = None;
                if limit != self.limit {
                    changes.push(Change::Limit { limit, was: self.limit });
                    self.limit = limit;
                    self.limiter = Limiter::new(limit);
                }
            }
        }
        if let Some(Throttle { retry_after: Some(wait) }) = answer.refused {
            self.not_before = Some(now.mono.saturating_add(wait));
        }
        self.note(&mut changes);
        changes
    }

    /// No answer will come, and the request may have reached the server.
    pub fn lost(&mut self, ticket: Ticket, now: Now) -> Vec<Change> {
        self.age(now);
        self.hand_back(&ticket, true);
        self.belief.lost(ticket.number);
        self.ledger.add_own(ticket.sent, now.mono);
        let mut changes = Vec::new();
        self.note(&mut changes);
        changes
    }

    /// The request certainly never reached the server: no connection, no name, no TLS.
    pub fn unsent(&mut self, ticket: Ticket, now: Now) -> Vec<Change> {
        self.age(now);
        self.hand_back(&ticket, false);
        self.belief.unsent(ticket.number);
        Vec::new()
    }

    /// Time passed.
    pub fn tick(&mut self, now: Now) -> Vec<Change> {
        self.age(now);
        let mut changes = Vec::new();
        self.note(&mut changes);
        changes
    }

    /// The limit in force: the file's until a header tells another.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Remaining, as newest told.
    pub fn remaining(&self) -> Option<u32> {
        self.belief.told().map(|told| told.remaining)
    }

    /// What is left to people and CI, in requests under the limit in force.
    pub fn reserve(&self) -> u32 {
        self.settings.reserve.of(self.limit)
    }

    /// How many requests are covered now: none is sent beyond, but for the one whose answer tells whether the window turned.
    pub fn available(&self, now: Now) -> u32 {
        let mut ledger = 0;
        for bucket in self.ledger.buckets() {
            if bucket.until.saturating_add(self.settings.window) > now.mono {
                ledger += bucket.own;
            }
        }
        self.covered(ledger)
    }

    /// When waiting requests should be tried again, if no answer under way decides.
    pub fn wakes_at(&self) -> Option<Mono> {
        match self.clearance() {
            Clearance::Until(at, _) => Some(at),
            Clearance::Covered(_) | Clearance::Alone | Clearance::InFlight => None,
        }
    }

    /// When the window should turn, as far as it is known.
    pub fn window_ends(&self) -> Option<Timestamp> {
        Some(wall(self.seen, self.returns_at(self.seen.mono)))
    }

    fn clearance(&self) -> Clearance {
        let now = self.seen.mono;
        if let Some(at) = self.not_before
            && now < at
        {
            return Clearance::Until(at, Why::RetryAfter);
        }
        if self.unconfirmed && self.belief.in_flight() > 0 {
            return Clearance::InFlight;
        }
        let covered = self.covered(self.ledger.own());
        if covered > 0 {
            return if self.unconfirmed { Clearance::Alone } else { Clearance::Covered(covered) };
        }
        if self.probe.is_some() {
            return Clearance::InFlight;
        }
        let Some(told) = self.told() else {
            return match self.belief.in_flight() {
                0 => Clearance::Until(
                    self.ledger.leaves_after(now).unwrap_or(now + self.settings.window),
                    Why::Exhausted,
                ),
                _ => Clearance::InFlight,
            };
        };
        let loose = self.belief.loose();
        let beyond_reserve = told.remaining.saturating_sub(self.reserve());
        if beyond_reserve > loose
            || (beyond_reserve > 0 && loose > 0 && self.belief.in_flight() > 0 && self.belief.settles_loose())
        {
            return Clearance::InFlight;
        }
        if beyond_reserve > 0 && told.remaining > loose.saturating_add(self.belief.in_flight()) {
            return Clearance::Alone;
        }
        if told.doubtful {
            return if self.belief.settles_told() { Clearance::InFlight } else { Clearance::Alone };
        }
        let at = self.not_before.unwrap_or_else(|| self.returns_at(told.sent));
        if at <= now { Clearance::Alone } else { Clearance::Until(at, Why::Exhausted) }
    }

    fn told(&self) -> Option<belief::Told> {
        self.belief.told().filter(|_| self.silent < SILENT_ANSWERS)
    }

    fn covered(&self, own: u32) -> u32 {
        let base = match self.told() {
            Some(told) => told.remaining.saturating_sub(self.belief.loose()),
            None => self.limit.saturating_sub(own),
        };
        base.saturating_sub(self.belief.in_flight()).saturating_sub(self.reserve())
    }

    /// The first instant after `after` at which quota should have come back.
    fn returns_at(&self, after: Mono) -> Mono {
        let window = self.settings.window;
        let edge = next_multiple(wall(self.seen, after), window).map(|edge| mono(self.seen, edge));
        let whole = self.exhausted_since.map(|since| since + window).filter(|&at| at > after);
        [edge, whole, self.ledger.leaves_after(after)].into_iter().flatten().min().unwrap_or(after + window)
    }

    fn aside_waits_for(&self) -> Option<Mono> {
        let used = u64::from(self.asides.own()) + u64::from(self.asides_in_flight);
        let usable = u64::from(self.covered(self.ledger.own()))
            + u64::from(self.ledger.own())
            + u64::from(self.belief.in_flight());
        let share = (usable * ASIDE_PERCENT / 100).max(1);
        let now = self.seen.mono;
        (used >= share).then(|| self.asides.leaves_after(now).unwrap_or(now + self.settings.window))
    }

    fn hand_back(&mut self, ticket: &Ticket, counted: bool) {
        if self.probe == Some(ticket.number) {
            self.probe = None;
        }
        if ticket.purpose != Purpose::Fire {
            self.asides_in_flight = self.asides_in_flight.saturating_sub(1);
            if counted {
                self.asides.add_own(ticket.sent, self.seen.mono);
            }
        }
    }

    fn note(&mut self, changes: &mut Vec<Change>) {
        let left = match self.told() {
            Some(told) if told.doubtful => return,
            Some(told) => told.remaining,
            None => self.limit.saturating_sub(self.ledger.own()),
        };
        let (limit, reserve) = (self.limit, self.reserve());
        let beyond = left.saturating_sub(reserve);
        if beyond == 0 {
            let since = *self.exhausted_since.get_or_insert(self.seen.mono);
            if self.seen.mono >= since + self.settings.window {
                self.exhausted_since = Some(self.seen.mono);
            }
            if !self.exhausted {
                self.exhausted = true;
                let at = match self.clearance() {
                    Clearance::Until(at, _) => at,
                    _ => self.returns_at(self.seen.mono),
                };
                changes.push(Change::Exhausted { limit, remaining: left, until: wall(self.seen, at) });
            }
        } else {
            self.exhausted_since = None;
            let enough = (u64::from(limit - reserve) * RESTORED_PERCENT / 100).max(1);
            if self.exhausted && u64::from(beyond) >= enough {
                self.exhausted = false;
                changes.push(Change::Restored { limit, remaining: left });
            }
        }
    }

    fn age(&mut self, now: Now) {
        self.seen = now;
        self.ledger.age(now.mono);
        self.asides.age(now.mono);
    }

    fn until(&self, at: Mono, why: Why) -> Refusal {
        Refusal::Until(Until { at, wall: wall(self.seen, at), why })
    }
}

/// The wall clock's reading at `at`, if nobody sets it.
fn wall(now: Now, at: Mono) -> Timestamp {
    let ahead = SignedDuration::try_from(at)
        .unwrap_or(SignedDuration::MAX)
        .saturating_sub(SignedDuration::try_from(now.mono).unwrap_or(SignedDuration::MAX));
    now.wall.saturating_add(ahead).unwrap_or(now.wall)
}

/// The monotonic clock's reading when the wall clock shows `at`, zero for what lies before the machine's start.
fn mono(now: Now, at: Timestamp) -> Mono {
    let ahead = at.duration_since(now.wall);
    match Duration::try_from(ahead) {
        Ok(ahead) => now.mono.saturating_add(ahead),
        Err(_) => now.mono.saturating_sub(ahead.unsigned_abs()),
    }
}

/// The first multiple of `window` since the epoch after `after`.
fn next_multiple(after: Timestamp, window: Duration) -> Option<Timestamp> {
    let window = i128::try_from(window.as_nanos()).ok()?;
    Timestamp::from_nanosecond((after.as_nanosecond().div_euclid(window) + 1) * window).ok()
}
