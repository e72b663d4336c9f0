//! The quota of one account: which requests may be sent now, and when it is worth asking again.
//!
//! **Problem.** The API grants a number of requests (Limit) in a window. Its answers tell how many
//! are left (Remaining), but answers arrive in any order, people and CI use the same token, and
//! the vendor does not say when a window begins. A request beyond the quota is refused, and a
//! fire that is refused is late.
//!
//! **Mechanism.** A request is *covered* as long as the newest Remaining, less the requests that
//! it may not include yet, less the reserve, is above zero ([`estimate`]). Covered requests go at
//! once. When nothing is covered, one request at a time goes as a probe, at the instant at which
//! quota should have come back ([`window`]), and its answer tells. So a wrong guess about the
//! window costs one refused request. Background requests (follow-up and checks) may use
//! [`BACKGROUND_PERCENT`] of a window together, so that fires find room. A refusal that
//! contradicts Remaining is a burst limit, and only delays ([`burst`]).
//!
//! **Example.** Limit 60 an hour, reserve 3.
//!
//! | time  | event                                   | estimate                              |
//! |-------|-----------------------------------------|---------------------------------------|
//! | 10:00 | answer: 5 left                          | 5 - 3 = 2 requests are covered        |
//! | 10:01 | two fires are due, both are sent        | 2 in flight, none covered             |
//! | 10:01 | both answers: 3 left                    | exhausted: the third fire waits       |
//! | 11:00 | the window should have turned           | the waiting fire goes alone, as probe |
//! | 11:00 | answer: 59 left                         | restored: 56 are covered              |
//!
//! If the probe at 11:00 is refused instead, the window turns later than it was guessed, and the
//! next probe goes at the next instant that is still possible.

mod burst;
mod estimate;
mod headers;
mod ledger;
mod limiter;
mod saved;
mod terms;
mod window;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::{Mono, Now};
use crate::schedule::QuotaSettings;
use burst::{Burst, Gate};
use estimate::{Heard, QuotaEstimate, Reading};
pub use headers::{Headers, headers};
use ledger::QuotaLedger;
use limiter::Limiter;
pub use saved::{SavedClock, SavedQuota, SavedTold, SavedUse};
pub use terms::{
    Ending, Purpose, QuotaAnswer, QuotaChange, QuotaVerdict, Refusal, Throttle, ThrottleWords, Ticket, Until,
    WaitCause,
};
use window::QuotaWindow;
pub use window::SavedWindow;

/// Percentage of a window's usable requests that follow-up and checks may use together, so that
/// fires find room.
const BACKGROUND_PERCENT: u64 = 30;
/// After the quota was used up, it counts as restored once this percentage of the usable is left:
/// with a rolling window a little comes back all the time.
const RESTORED_PERCENT: u64 = 10;
/// After this many consecutive probes whose answers told no Remaining, the API is taken to tell
/// none, and our own requests are counted instead.
const SILENT_ANSWERS: u32 = 5;
/// So long a request that goes to learn what is left holds up the others alone. An API that is well
/// answers sooner; and a request that is never answered must not hold up a schedule until it is
/// given up, which takes half a minute.
const PATIENCE: Duration = Duration::from_secs(2);
/// An answer may contradict the API's word `throttled` for this part of a window, so for six
/// minutes of an hour. In that time others would have to send five requests a second to use up half
/// of a usual quota.
const RECENT_PART: u32 = 10;
/// Within the quota the machine's clock reads so much more, so that it has a reading for what a
/// former process saw before the machine was started.
const BEFORE_START: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The quota of one account. Owned by the loop that sends; it reads no clock.
#[derive(Debug)]
pub struct Quota {
    settings: QuotaSettings,
    /// Burst limit of fires, and of the questions that fires wait for.
    fire_burst: Burst,
    /// Burst limit of follow-up and checks.
    background_burst: Burst,
    limit: u32,
    belief: QuotaEstimate,
    ledger: QuotaLedger,
    window: QuotaWindow,
    /// The ledger's requests that were no fires.
    background: QuotaLedger,
    background_in_flight: u32,
    limiter: Limiter,
    /// The request that went beyond what was covered, while its answer is awaited.
    probe: Option<u64>,
    /// No Remaining was told since the start: what is believed may be stale, so requests go one by
    /// one.
    unconfirmed: bool,
    /// The instant since which requests have been in flight. It has no meaning while none is.
    in_flight_since: Mono,
    /// Requests in a row that went alone and were told no Remaining.
    silent: u32,
    /// The server said when, in refusing.
    not_before: Option<Mono>,
    /// The server said when, and refused again: the window is waited for too.
    misled: bool,
    /// The instant since which nothing was left beyond the reserve. `None`: something is left.
    exhausted_since: Option<Mono>,
    /// True when the last change that was reported was `Exhausted`.
    exhausted: bool,
    /// The last reading of the clocks, with [`BEFORE_START`].
    seen: Now,
}

/// The terms on which a request may go.
enum Clearance {
    /// This many requests are covered.
    Covered(u32),
    /// No request is surely covered. One may go alone, and its answer tells what is left.
    Alone,
    InFlight,
    /// Requests in flight keep others from going until this instant. When they are unanswered by
    /// then, the estimate is relied on a little more.
    Patient(Mono),
    Until(Mono, WaitCause),
}

impl Quota {
    /// A quota of which nothing is known but its settings.
    pub fn new(settings: QuotaSettings, now: Now) -> Quota {
        Quota {
            settings,
            fire_burst: Burst::default(),
            background_burst: Burst::default(),
            limit: settings.limit,
            belief: QuotaEstimate::default(),
            ledger: QuotaLedger::new(settings.window),
            window: QuotaWindow::new(settings.window),
            background: QuotaLedger::new(settings.window),
            background_in_flight: 0,
            limiter: Limiter::new(settings.limit),
            probe: None,
            unconfirmed: true,
            in_flight_since: Mono::ZERO,
            silent: 0,
            not_before: None,
            misled: false,
            exhausted_since: None,
            exhausted: false,
            seen: inner(now),
        }
    }

    /// Returns what a refusal tells of the quota. `None` when the answer is no refusal.
    ///
    /// The answer's own Remaining decides where it has one. Otherwise the API's words close the
    /// window, unless an answer of the last [`RECENT_PART`] of the window left more than half of
    /// the limit: others cannot have used that much unseen. A refusal without the API's words is a
    /// burst limit.
    pub fn judge(&self, answer: &QuotaAnswer) -> Option<QuotaVerdict> {
        let refused = answer.refused?;
        Some(match (answer.remaining, refused.words) {
            (Some(0), _) => QuotaVerdict::Spent,
            (Some(_), _) | (None, ThrottleWords::Absent) => QuotaVerdict::Burst,
            (None, ThrottleWords::OfTheApi) => match self.told() {
                Some(told) if self.is_recent(told) && told.remaining > told.limit / 2 => QuotaVerdict::Burst,
                Some(_) | None => QuotaVerdict::Spent,
            },
        })
    }

    /// Returns true when this process has learnt the value, and lately.
    fn is_recent(&self, told: estimate::NewestAnswer) -> bool {
        let age = self.seen.mono.saturating_sub(told.came);
        !self.unconfirmed && age < self.settings.window / RECENT_PART
    }

    /// Asks for one request to be sent now.
    pub fn admit(&mut self, purpose: Purpose, now: Now) -> Result<Ticket, Refusal> {
        let now = inner(now);
        self.age(now);
        if purpose.is_background()
            && let Some(at) = self.background_waits_for()
        {
            return Err(self.until(at, WaitCause::Share));
        }
        let gate = match (self.fire_burst.gate(now.mono), purpose.is_background()) {
            (Gate::Open, true) => self.background_burst.gate(now.mono),
            (gate, _) => gate,
        };
        match gate {
            Gate::Open => {}
            Gate::InFlight => return Err(Refusal::InFlight),
            Gate::Until(at) => return Err(self.until(at, WaitCause::Burst)),
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
            Clearance::InFlight | Clearance::Patient(_) => return Err(Refusal::InFlight),
            Clearance::Until(at, why) => return Err(self.until(at, why)),
        };
        if !self.limiter.admit() {
            return Err(Refusal::InFlight);
        }
        if self.belief.in_flight() == 0 {
            self.in_flight_since = now.mono;
        }
        let number = self.belief.send();
        if alone {
            self.probe = Some(number);
        }
        self.background_in_flight += u32::from(purpose.is_background());
        self.burst(purpose).left();
        Ok(Ticket { number, sent: now.mono, purpose })
    }

    /// An answer came, whatever its status.
    pub fn answered(&mut self, ticket: Ticket, answer: QuotaAnswer, now: Now) -> Vec<QuotaChange> {
        let now = inner(now);
        self.age(now);
        let verdict = self.judge(&answer);
        let probe = self.probe == Some(ticket.number);
        self.hand_back(&ticket, true);
        let limit = answer.limit.filter(|&limit| limit > 0).unwrap_or(self.limit);
        let remaining = match verdict {
            Some(QuotaVerdict::Spent) => Some(0),
            Some(QuotaVerdict::Burst) | None => answer.remaining.filter(|&remaining| remaining <= limit),
        };
        match (verdict, remaining) {
            (Some(QuotaVerdict::Spent), _) => {}
            (None, Some(_)) => self.ledger.add_own(ticket.sent, now.mono),
            (None, None) | (Some(QuotaVerdict::Burst), _) => self.ledger.add_doubtful(ticket.sent, now.mono),
        }
        match verdict {
            Some(QuotaVerdict::Burst) => {
                let retry_after = answer.refused.and_then(|throttle| throttle.retry_after);
                self.burst(ticket.purpose).refused(ticket.sent, retry_after, now.mono);
            }
            Some(QuotaVerdict::Spent) => {}
            None => self.burst(ticket.purpose).passed(ticket.sent),
        }
        let (sent, came, refused) = (ticket.sent, now.mono, verdict == Some(QuotaVerdict::Spent));
        let heard = Heard { sent, came, limit, remaining, refused };
        let reading = self.belief.answered(ticket.number, heard);
        let mut changes = Vec::new();
        match reading {
            Reading::Silent if verdict == Some(QuotaVerdict::Burst) => {}
            Reading::Silent => {
                self.silent = self.silent.saturating_add(u32::from(probe));
                self.unconfirmed &= self.silent < SILENT_ANSWERS;
            }
            Reading::Unordered => self.silent = 0,
            Reading::Newer { was, told } => {
                self.ledger.explain(was, told, self.belief.in_flight());
                self.window.observe(was, told, probe, &self.ledger, now);
                self.silent = 0;
                self.unconfirmed = false;
                // Whatever was in flight beside the refusal says nothing of the wait that it asked
                // for.
                let waited = self.not_before.take_if(|at| *at <= now.mono).is_some();
                self.misled = refused && (self.misled || waited);
                if limit != self.limit {
                    changes.push(QuotaChange::Limit { limit, was: self.limit });
                    self.limit = limit;
                    self.limiter = Limiter::new(limit);
                }
            }
        }
        if let Some(wait) = answer.refused.and_then(|throttle| throttle.retry_after) {
            self.not_before = self.not_before.max(Some(now.mono.saturating_add(wait)));
        }
        self.note(&mut changes);
        changes
    }

    /// No answer will come, and the request may have reached the server.
    pub fn lost(&mut self, ticket: Ticket, now: Now) -> Vec<QuotaChange> {
        let now = inner(now);
        self.age(now);
        self.hand_back(&ticket, true);
        self.belief.lost(ticket.number);
        self.ledger.add_doubtful(ticket.sent, now.mono);
        let mut changes = Vec::new();
        self.note(&mut changes);
        changes
    }

    /// The request certainly never reached the server: no connection, no name, no TLS.
    pub fn unsent(&mut self, ticket: Ticket, now: Now) -> Vec<QuotaChange> {
        let now = inner(now);
        self.age(now);
        self.hand_back(&ticket, false);
        self.belief.unsent(ticket.number);
        Vec::new()
    }

    /// Time passed.
    pub fn tick(&mut self, now: Now) -> Vec<QuotaChange> {
        let now = inner(now);
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

    /// Returns the reserve for people and CI, in requests under the limit in force.
    pub fn reserve(&self) -> u32 {
        self.settings.reserve.of(self.limit)
    }

    /// Returns the number of requests of a whole window that follow-up and checks may use together.
    pub fn background_share(&self) -> u32 {
        let share = u64::from(self.limit.saturating_sub(self.reserve())) * BACKGROUND_PERCENT / 100;
        u32::try_from(share).unwrap_or(u32::MAX).max(1)
    }

    /// Returns the number of requests that are covered now. Beyond them one goes at a time, and its
    /// answer tells whether quota came back.
    pub fn available(&self, now: Now) -> u32 {
        let now = inner(now).mono;
        if matches!(self.fire_burst.gate(now), Gate::Until(_)) {
            return 0;
        }
        match self.not_before {
            Some(at) if now < at => 0,
            _ => self.covered(self.ledger.ours_at(now)),
        }
    }

    /// Returns true when the requests in flight take the last covered one, or probe what is left.
    /// The next process must know of them even if this one is killed now.
    pub fn is_on_edge(&self) -> bool {
        self.belief.in_flight() > 0 && (self.unconfirmed || self.covered(self.ledger.ours()) == 0)
    }

    /// Returns the instant at which waiting requests should be tried again, unless an answer that
    /// is under way comes before.
    pub fn wakes_at(&self) -> Option<Mono> {
        match self.clearance() {
            Clearance::Until(at, _) | Clearance::Patient(at) => Some(outer(at)),
            Clearance::Covered(_) | Clearance::Alone | Clearance::InFlight => None,
        }
    }

    /// Returns the instant at which the window should turn. `None`: unknown.
    pub fn window_ends(&self) -> Option<Timestamp> {
        Some(wall(self.seen, self.returns_at(self.seen.mono)))
    }

    /// Returns the instant until which nothing is left beyond the reserve, as it is estimated now.
    /// `None`: something is left.
    pub fn exhausted_until(&self) -> Option<Timestamp> {
        let at = match self.clearance() {
            _ if !self.exhausted => return None,
            Clearance::Until(at, _) => at,
            _ => self.returns_at(self.seen.mono),
        };
        Some(wall(self.seen, at))
    }

    fn clearance(&self) -> Clearance {
        let now = self.seen.mono;
        if let Some(at) = self.not_before
            && now < at
        {
            return Clearance::Until(at, WaitCause::RetryAfter);
        }
        if self.unconfirmed
            && let Some(at) = self.patient_until()
            && now < at
        {
            return Clearance::Patient(at);
        }
        let covered = self.covered(self.ledger.ours());
        if covered > 0 {
            return if self.unconfirmed { Clearance::Alone } else { Clearance::Covered(covered) };
        }
        if self.probe.is_some() {
            return Clearance::InFlight;
        }
        let Some(told) = self.told() else {
            return match self.belief.in_flight() {
                0 => Clearance::Until(
                    self.ledger.leave_after(now, 1).unwrap_or(now + self.settings.window),
                    WaitCause::Exhausted,
                ),
                _ => Clearance::InFlight,
            };
        };
        let loose = self.belief.loose();
        let beyond_reserve = told.remaining.saturating_sub(self.reserve());
        if beyond_reserve > 0 && self.belief.in_flight() > 0 {
            return Clearance::InFlight;
        }
        // One more request cannot be refused even if the server counted every lost request, and its
        // answer tells how many the server counted.
        if beyond_reserve > 0 && told.remaining > loose {
            return Clearance::Alone;
        }
        if told.doubtful {
            return if self.belief.settles_told() { Clearance::InFlight } else { Clearance::Alone };
        }
        let at = match self.not_before {
            Some(at) if !self.misled => at,
            _ => self.returns_at(told.sent),
        };
        if at <= now { Clearance::Alone } else { Clearance::Until(at, WaitCause::Exhausted) }
    }

    /// Returns the instant until which requests in flight keep others from going, while no answer
    /// has confirmed the estimate. The first request goes alone. For each [`PATIENCE`] without an
    /// answer twice as many may be in flight. So a lost request delays the rest by one `PATIENCE`,
    /// a slow API soon gets all requests that the estimate covers, and an API that refuses has
    /// refused few.
    fn patient_until(&self) -> Option<Mono> {
        let doublings = self.belief.in_flight().checked_ilog2()? + 1;
        Some(self.in_flight_since + PATIENCE * doublings)
    }

    fn told(&self) -> Option<estimate::NewestAnswer> {
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
        // In a rolling window quota comes back bit by bit, and the reserve is filled first.
        let wanted = self.told().map_or(1, |told| (self.reserve() + 1).saturating_sub(told.remaining));
        let foretold = self.window.returns_after(after, wanted, &self.ledger, self.seen);
        // By then every request that was counted when the quota was first seen to be spent is older
        // than a window.
        let whole = self.exhausted_since.map(|since| since + window).filter(|&at| at > after);
        [foretold, whole].into_iter().flatten().min().unwrap_or(after + window)
    }

    fn background_waits_for(&self) -> Option<Mono> {
        let used = u64::from(self.background.ours()) + u64::from(self.background_in_flight);
        let usable = u64::from(self.covered(self.ledger.ours()))
            + u64::from(self.ledger.ours())
            + u64::from(self.belief.in_flight());
        // Just after a turn the ledger still has the former window's requests: no window holds more
        // than the limit.
        let usable = usable.min(u64::from(self.limit.saturating_sub(self.reserve())));
        let share = (usable * BACKGROUND_PERCENT / 100).max(1);
        let now = self.seen.mono;
        (used >= share).then(|| self.background.leave_after(now, 1).unwrap_or(now + self.settings.window))
    }

    fn burst(&mut self, purpose: Purpose) -> &mut Burst {
        if purpose.is_background() { &mut self.background_burst } else { &mut self.fire_burst }
    }

    fn hand_back(&mut self, ticket: &Ticket, counted: bool) {
        self.burst(ticket.purpose).ended();
        if self.probe == Some(ticket.number) {
            self.probe = None;
        }
        if ticket.purpose.is_background() {
            self.background_in_flight = self.background_in_flight.saturating_sub(1);
            if counted {
                self.background.add_own(ticket.sent, self.seen.mono);
            }
        }
    }

    fn note(&mut self, changes: &mut Vec<QuotaChange>) {
        let (left, asked) = match self.told() {
            Some(told) if told.doubtful => return,
            Some(told) => (told.remaining, told.sent),
            None => (self.limit.saturating_sub(self.ledger.ours()), self.seen.mono),
        };
        let (limit, reserve) = (self.limit, self.reserve());
        let beyond = left.saturating_sub(reserve);
        if beyond == 0 {
            // A whole window later it was still used up: by others, in the window that followed.
            let since = self.exhausted_since.filter(|&since| asked < since + self.settings.window);
            self.exhausted_since = since.or(Some(self.seen.mono));
            if !self.exhausted {
                self.exhausted = true;
                let at = match self.clearance() {
                    Clearance::Until(at, _) => at,
                    _ => self.returns_at(self.seen.mono),
                };
                changes.push(QuotaChange::Exhausted { limit, remaining: left, until: wall(self.seen, at) });
            }
        } else {
            self.exhausted_since = None;
            let enough = (u64::from(limit - reserve) * RESTORED_PERCENT / 100).max(1);
            if self.exhausted && u64::from(beyond) >= enough {
                self.exhausted = false;
                changes.push(QuotaChange::Restored { limit, remaining: left });
            }
        }
    }

    fn age(&mut self, now: Now) {
        self.seen = now;
        self.ledger.age(now.mono);
        self.background.age(now.mono);
    }

    fn until(&self, at: Mono, why: WaitCause) -> Refusal {
        Refusal::Until(Until { at: outer(at), wall: wall(self.seen, at), why })
    }
}

fn inner(now: Now) -> Now {
    Now { mono: now.mono.saturating_add(BEFORE_START), ..now }
}

fn outer(at: Mono) -> Mono {
    at.saturating_sub(BEFORE_START)
}

/// The wall clock's reading at `at`, if nobody sets it.
fn wall(now: Now, at: Mono) -> Timestamp {
    let ahead = SignedDuration::try_from(at)
        .unwrap_or(SignedDuration::MAX)
        .saturating_sub(SignedDuration::try_from(now.mono).unwrap_or(SignedDuration::MAX));
    now.wall.saturating_add(ahead).unwrap_or(now.wall)
}

/// The monotonic clock's reading when the wall clock shows `at`, zero for what lies before the
/// machine's start.
fn mono(now: Now, at: Timestamp) -> Mono {
    let ahead = at.duration_since(now.wall);
    match Duration::try_from(ahead) {
        Ok(ahead) => now.mono.saturating_add(ahead),
        Err(_) => now.mono.saturating_sub(ahead.unsigned_abs()),
    }
}

#[cfg(test)]
mod tests;
