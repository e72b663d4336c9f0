//! What the server saw of a run, window by window, beside what others used.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use stackcron::sandbox::{Ledger, Sandbox, WindowKind};

use super::{USER, WINDOW};

/// Other clients of the same user.
#[derive(Default)]
pub struct Others {
    used: Mutex<Vec<(Timestamp, u32)>>,
    stopped: AtomicBool,
}

/// Between two bursts: no divisor of a window, so that they fall everywhere in it.
const BETWEEN: Duration = Duration::from_millis(1270);

impl Others {
    /// Uses so many at once, again and again, until it is stopped.
    pub fn use_in_bursts(&self, sandbox: &Sandbox, burst: u32) {
        while burst > 0 && !self.stopped.load(Ordering::Relaxed) {
            let granted = sandbox.use_quota(USER, burst).expect("a known user");
            self.used.lock().expect("a lock").push((Timestamp::now(), granted));
            std::thread::sleep(BETWEEN);
        }
    }

    /// They stop when this is dropped, be it that the test has failed.
    pub fn stopping(&self) -> Stopping<'_> {
        Stopping(self)
    }

    /// When, and how many.
    pub fn used(&self) -> Vec<(Timestamp, u32)> {
        self.used.lock().expect("a lock").clone()
    }
}

/// Stops others when it is dropped.
pub struct Stopping<'a>(&'a Others);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

/// A window of the server's.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub opened: Timestamp,
    pub own: u32,
    pub others: u32,
    pub refused: u32,
}

/// A run as the server saw it.
#[derive(Debug)]
pub struct Seen {
    /// The oldest first. Of a rolling window, as good as any: its length from the first request on.
    pub turns: Vec<Turn>,
}

impl Seen {
    pub fn of(kind: WindowKind, ledger: &Ledger, others: &[(Timestamp, u32)]) -> Seen {
        let own = ledger.requests.iter().map(|r| (r.at, u32::from(!r.throttled), 0, u32::from(r.throttled)));
        let mut events: Vec<_> = own.chain(others.iter().map(|&(at, others)| (at, 0, others, 0))).collect();
        events.sort_unstable();
        let length = SignedDuration::try_from(WINDOW).expect("a short window");
        let mut turns: Vec<Turn> = Vec::new();
        for (at, own, others, refused) in events {
            let opened = match (kind, turns.last()) {
                (WindowKind::Fixed, _) => {
                    let seconds = at.as_second() / length.as_secs() * length.as_secs();
                    Timestamp::from_second(seconds).expect("an instant")
                }
                (_, Some(last)) if at.duration_since(last.opened) < length => last.opened,
                (WindowKind::Rolling, Some(last)) => last.opened + length,
                (WindowKind::FirstRequest, _) | (WindowKind::Rolling, None) => at,
            };
            if turns.last().is_none_or(|last| last.opened != opened) {
                turns.push(Turn { opened, own: 0, others: 0, refused: 0 });
            }
            let turn = turns.last_mut().expect("one was opened");
            turn.own += own;
            turn.others += others;
            turn.refused += refused;
        }
        Seen { turns }
    }

    /// Of what was usable in the whole windows after the first ones, the percentage that was used. Time in which no
    /// window was open counts as left unused.
    pub fn used_percent(&self, usable: u32, after: usize) -> f64 {
        let (mut all, mut used) = (0.0, 0.0);
        for pair in self.turns[after..].windows(2) {
            let (turn, next) = (pair[0], pair[1]);
            let usable = f64::from(usable.saturating_sub(turn.others));
            let span = next.opened.duration_since(turn.opened).as_secs_f64() / WINDOW.as_secs_f64();
            all += usable * span;
            used += usable.min(f64::from(turn.own));
        }
        used / all * 100.0
    }

    /// Requests that the spent quota refused: in the first windows, and after.
    pub fn refused(&self, first: usize) -> [u32; 2] {
        let (learning, after) = self.turns.split_at(first.min(self.turns.len()));
        [learning, after].map(|turns| turns.iter().map(|turn| turn.refused).sum())
    }
}
