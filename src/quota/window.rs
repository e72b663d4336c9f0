//! When quota comes back: which kind of window the server keeps, and when it turns.
//!
//! Three kinds are possible at first: aligned to the wall clock (the clock hour), opened by the
//! first request after the former ended, rolling. Each foretells when quota comes back, and each
//! answer that is surely newer than the last is held against what they foretold. A kind that cannot
//! explain it is out. While several remain, all of their instants are tried. When none remains, a
//! whole window is waited and all are possible again.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::estimate::NewestAnswer;
use super::ledger::QuotaLedger;
use super::{mono, wall};
use crate::clock::{Mono, Now};

/// Servers whose clocks are kept by NTP turn at the edge of our clock, or within this time after
/// it, unless the window is so short that it would mean much. The edge is tried first; then this,
/// and the next window begins with what held.
const SKEW: Duration = Duration::from_secs(1);
/// A skew is at most this part of a window.
const SKEW_PART: u32 = 20;
/// After this many consecutive probes that found no quota where a rolling window would have freed
/// some, `Rolling` is ruled out.
const FRUITLESS: u32 = 2;
/// At most this many probes of a window narrow down the instant at which others opened it. Each
/// probe leaves a part of the span.
const NARROWINGS: u32 = 3;
/// An opening that is known this well, or to a hundredth of the window, needs no narrowing.
const NARROW: Duration = Duration::from_secs(1);

/// The kinds of window that are still possible, and the state of the present window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedWindow {
    /// Aligned to the wall clock.
    pub aligned: bool,
    /// Opened by the first request after the former ended.
    pub first: bool,
    /// Rolling.
    pub rolling: bool,
    /// The server's clock is behind ours.
    pub skewed: bool,
    /// Between which instants the present window opened, if a first request opened it.
    pub opened: Option<(Timestamp, Timestamp)>,
    /// Aligned edges up to here are done with.
    pub settled: Option<Timestamp>,
}

impl Default for SavedWindow {
    fn default() -> SavedWindow {
        SavedWindow { aligned: true, first: true, rolling: true, skewed: false, opened: None, settled: None }
    }
}

/// The kinds that explain all that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kinds {
    aligned: bool,
    first: bool,
    rolling: bool,
}

const ALL: Kinds = Kinds { aligned: true, first: true, rolling: true };
const NONE: Kinds = Kinds { aligned: false, first: false, rolling: false };

/// Two instants that something happened between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Between {
    pub from: Mono,
    pub until: Mono,
}

#[derive(Debug)]
pub(super) struct QuotaWindow {
    length: Duration,
    possible: Kinds,
    /// An aligned edge was tried in vain, and the skew after it was not.
    skewed: bool,
    /// The span in which the present window opened, if its first request opened it.
    opened: Option<Between>,
    /// Number of times that `opened` was narrowed in this window.
    narrowed: u32,
    /// The last turn came with an aligned edge, but others had been there already: it may have been
    /// earlier.
    contested: bool,
    /// Number of probes that looked for an earlier turn in vain.
    early: u32,
    /// Requests in a row that found nothing where a rolling window should have given something
    /// back.
    fruitless: u32,
    /// An aligned edge up to here is done with: it gave its rise.
    settled: Option<Mono>,
}

impl QuotaWindow {
    pub fn new(length: Duration) -> QuotaWindow {
        QuotaWindow {
            length,
            possible: ALL,
            skewed: false,
            opened: None,
            narrowed: 0,
            contested: false,
            early: 0,
            fruitless: 0,
            settled: None,
        }
    }

    /// Restores the window as a former process saved it. `past` converts instants of the wall
    /// clock.
    pub fn restored(length: Duration, saved: SavedWindow, past: impl Fn(Timestamp) -> Mono) -> QuotaWindow {
        QuotaWindow {
            possible: Kinds { aligned: saved.aligned, first: saved.first, rolling: saved.rolling },
            skewed: saved.skewed,
            opened: saved.opened.map(|(from, until)| Between { from: past(from), until: past(until) }),
            settled: saved.settled.map(past),
            ..QuotaWindow::new(length)
        }
    }

    /// Returns the state for a later process.
    pub fn save(&self, at: impl Fn(Mono) -> Timestamp) -> SavedWindow {
        SavedWindow {
            aligned: self.possible.aligned,
            first: self.possible.first,
            rolling: self.possible.rolling,
            skewed: self.skewed,
            opened: self.opened.map(|opened| (at(opened.from), at(opened.until))),
            settled: self.settled.map(at),
        }
    }

    /// Holds an answer against what was foretold. `probe`: its request went alone to see whether
    /// quota came back.
    pub fn observe(
        &mut self,
        was: Option<NewestAnswer>,
        told: NewestAnswer,
        probe: bool,
        ledger: &QuotaLedger,
        now: Now,
    ) {
        let Some(was) = was else {
            self.opened = Some(self.opening(told, told.came.saturating_sub(self.length)));
            self.settled = Some(told.sent);
            return;
        };
        if told.rose_above(was) {
            self.rose(was, told, ledger, now);
        } else {
            self.sank(was, told, probe, ledger, now);
        }
    }

    fn rose(&mut self, was: NewestAnswer, told: NewestAnswer, ledger: &QuotaLedger, now: Now) {
        if self.possible == NONE {
            *self = QuotaWindow { opened: None, ..QuotaWindow::new(self.length) };
        }
        let edge = self.open_edge_after(was.sent.saturating_sub(self.skew()), now);
        self.settled = Some(told.came);
        match edge {
            // The server's clock may also be ahead of ours.
            Some(edge) if edge <= told.came.saturating_add(self.skew()) => {
                self.settled = Some(told.came.max(edge));
                self.skewed |= was.sent >= edge;
            }
            _ => self.possible.aligned = false,
        }
        let earliest = match self.opened {
            Some(opened) if self.possible.first => {
                let turns = self.turn_of(opened);
                self.possible.first = turns.from <= told.came && was.sent <= turns.until;
                turns.from.max(was.sent)
            }
            _ => was.sent,
        };
        self.opened = Some(self.opening(told, earliest.max(told.came.saturating_sub(self.length))));
        self.narrowed = 0;
        self.contested = told.used() > 1;
        // A rise as large as a turn of the window gives is no sign of a rolling window.
        if !told.is_of_a_new_window(was) {
            self.fruitless = 0;
        }
        self.possible.rolling &= ledger.counted_within(told, self.length) <= told.used();
    }

    fn sank(&mut self, was: NewestAnswer, told: NewestAnswer, probe: bool, ledger: &QuotaLedger, now: Now) {
        // Others cannot have used, unseen, more than half of a new window.
        let turn_would_show = was.remaining <= was.limit / 2;
        if turn_would_show
            && let Some(edge) = self.open_edge_after(was.sent.saturating_sub(self.skew()), now)
            && edge + self.skew() <= told.sent
        {
            self.possible.aligned = false;
        }
        if let Some(opened) = self.opened {
            let turns = self.turn_of(opened);
            if turn_would_show {
                if told.sent >= turns.until {
                    self.possible.first = false;
                } else if told.sent > turns.from {
                    self.opened = Some(Between { from: told.sent.saturating_sub(self.length), ..opened });
                    self.narrowed += u32::from(probe);
                    self.early += u32::from(probe && self.contested && self.possible.aligned);
                    self.possible.first &= self.early < NARROWINGS || !self.possible.aligned;
                }
            } else if told.sent >= turns.until {
                let from = turns.from.max(told.came.saturating_sub(self.length));
                self.opened = Some(Between { from, until: told.came });
            }
        }
        if probe && ledger.ours_leave_after(was.sent, 1).is_some_and(|at| at <= told.sent) {
            self.fruitless += 1;
            let another = self.possible.aligned || self.possible.first;
            self.possible.rolling &= self.fruitless < FRUITLESS || !another;
        }
    }

    /// The first instant after `after` at which quota should have come back: past, if nobody looked
    /// since. Where it comes back bit by bit, as much as is wanted.
    pub fn returns_after(&self, after: Mono, wanted: u32, ledger: &QuotaLedger, now: Now) -> Option<Mono> {
        let aligned = || {
            let edge = self.open_edge_after(after.saturating_sub(self.skew()), now)?;
            let tries = [(!self.skewed).then_some(edge), Some(edge + self.skew())];
            tries.into_iter().flatten().find(|&at| at > after)
        };
        let first = || {
            let turns = self.turn_of(self.opened?);
            let part = match self.possible {
                Kinds { aligned: false, rolling: false, .. } => {
                    (turns.until - turns.from) / (NARROWINGS.saturating_sub(self.narrowed) + 1)
                }
                // Once in a window, so often in all: if nothing is found, the window is aligned.
                Kinds { aligned: true, rolling: false, .. } if self.contested && self.narrowed == 0 => {
                    (turns.until - turns.from) / 2
                }
                _ => turns.until - turns.from,
            };
            let narrowing = part > NARROW.min(self.length / 100) && turns.from + part > after;
            let at = if narrowing { turns.from + part } else { turns.until };
            (at > after).then_some(at)
        };
        // The instants of others' requests are known roughly. They are good enough for a probe only
        // if nothing else gives an instant.
        let rolling = || match self.possible {
            Kinds { aligned: false, first: false, .. } => ledger.leave_after(after, wanted),
            _ => ledger.ours_leave_after(after, wanted),
        };
        let instants = [
            self.possible.aligned.then(aligned).flatten(),
            self.possible.first.then(first).flatten(),
            self.possible.rolling.then(rolling).flatten(),
        ];
        instants.into_iter().flatten().min()
    }

    fn skew(&self) -> Duration {
        SKEW.min(self.length / SKEW_PART)
    }

    fn opening(&self, told: NewestAnswer, earliest: Mono) -> Between {
        // The first request of a window tells that it is: then it was that one which opened it.
        let from = if told.used() == 1 { told.sent } else { earliest.min(told.came) };
        Between { from, until: told.came }
    }

    fn turn_of(&self, opened: Between) -> Between {
        Between {
            from: opened.from.saturating_add(self.length),
            until: opened.until.saturating_add(self.length),
        }
    }

    /// The first aligned edge after `after` that no rise was seen at yet.
    fn open_edge_after(&self, after: Mono, now: Now) -> Option<Mono> {
        self.edge_after(after.max(self.settled.unwrap_or(Mono::ZERO)), now)
    }

    fn edge_after(&self, after: Mono, now: Now) -> Option<Mono> {
        next_multiple(wall(now, after), self.length).map(|edge| mono(now, edge))
    }
}

/// The first multiple of `length` since the epoch after `after`.
fn next_multiple(after: Timestamp, length: Duration) -> Option<Timestamp> {
    let length = i128::try_from(length.as_nanos()).ok()?;
    let passed = after.as_nanosecond().checked_div_euclid(length)?;
    Timestamp::from_nanosecond((passed + 1) * length).ok()
}
