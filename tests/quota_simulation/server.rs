//! The look-alike of the server's quota.

use std::collections::VecDeque;
use std::time::Duration;

use stackcron::clock::Mono;

use super::WINDOW;
use super::scenario::{Kind, Scenario};

/// The look-alike of the server's quota.
pub struct Server {
    kind: Kind,
    pub limit: u32,
    phase: Duration,
    behind: i64,
    opened: Option<Mono>,
    count: u32,
    recent: VecDeque<(Mono, u32)>,
    /// Every window there was, oldest first; none when it rolls.
    pub turns: Vec<Window>,
}

/// One window of the server's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    pub opened: Mono,
    pub own: u32,
    /// Of them, how many were no fires.
    pub background: u32,
    pub others: u32,
    pub lost: u32,
}

impl Server {
    pub fn new(scenario: &Scenario) -> Server {
        Server {
            kind: scenario.kind,
            limit: scenario.limit,
            phase: scenario.phase,
            behind: scenario.behind,
            opened: None,
            count: 0,
            recent: VecDeque::new(),
            turns: Vec::new(),
        }
    }

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
    pub fn take(&mut self, at: Mono, own: bool) -> Option<u32> {
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
        Some(self.limit.saturating_sub(self.count))
    }

    /// When the next request would be taken, if it were refused now.
    pub fn returns(&self, at: Mono) -> Duration {
        let back = match self.kind {
            Kind::Rolling => self.recent.front().map(|&(when, _)| when + WINDOW),
            _ => self.opened.map(|opened| opened + WINDOW),
        };
        back.unwrap_or(at).saturating_sub(at)
    }
}
