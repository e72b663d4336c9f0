//! The times that the wall clock has shown to the daemon, stretch by stretch: under which file, and
//! which time through.
//!
//! A clock that is set back by more than a minute shows instants again, and each time through is a
//! duty of its own. Where a pass begins is the daemon's word; that it is right is held against the
//! clock. Example: the clock shows 12:00 to 12:10 and is then set back to 12:05. The stretches are
//! 12:00 to 12:10 in pass 0 and, as time goes on, 12:05 to 12:15 in pass 1, of which what is
//! scheduled from 12:10 on is of pass 0: nobody has seen that before.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Now;
use crate::journal::Repeat;

/// So far ahead of the clock does a daemon claim, and a little.
pub(super) const AHEAD: SignedDuration = SignedDuration::from_secs(6);

/// A clock that is set back by so much or less is waited for.
const WAITS_AT_MOST: SignedDuration = SignedDuration::from_secs(60);

/// A clock that is set back by more may be followed: a restart knows the end of a claim, and not
/// what the clock has shown.
const FOLLOWED: SignedDuration = SignedDuration::from_secs(50);

/// A clock that goes ahead of itself by more was set.
const SET: SignedDuration = SignedDuration::from_millis(500);

const JUST: SignedDuration = SignedDuration::from_nanos(1);

/// Instants that the clock has shown: `after` < instant <= `until`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShownStretch {
    pub(super) after: Timestamp,
    pub(super) until: Timestamp,
    /// The schedule file that was in force.
    pub(super) file: usize,
    pass: u32,
}

/// Progress of the daemon by its own word.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlanProgress {
    /// Everything before this instant is planned. `None`: nothing is.
    pub(super) cursor: Option<Timestamp>,
    pub(super) repeat: Option<Repeat>,
    /// The cursor that is committed.
    pub(super) committed: Option<Timestamp>,
}

#[derive(Default)]
pub(super) struct ShownTime {
    stretches: Vec<ShownStretch>,
    /// The stretch that the clock shows again in each pass but the first.
    repeats: BTreeMap<u32, Repeat>,
    pass: u32,
    /// The stretches, the journal's cursor and its pass when this life began.
    at_start: (Vec<ShownStretch>, Option<Timestamp>, u32),
    /// Both clocks when this life looked at them last.
    looked: Option<Now>,
    /// Instants about which a claim may be made or not.
    vague: Vec<(Timestamp, Timestamp)>,
}

impl ShownTime {
    pub(super) fn stretches(&self) -> &[ShownStretch] {
        &self.stretches
    }

    /// The pass of what is scheduled at an instant of a stretch.
    pub(super) fn pass_of(&self, at: Timestamp, stretch: &ShownStretch) -> u32 {
        let shown_before = self.repeats.get(&stretch.pass).is_some_and(|repeat| at < repeat.until);
        if shown_before { stretch.pass } else { 0 }
    }

    /// The latest that the clock has shown in this pass.
    pub(super) fn until(&self) -> Option<Timestamp> {
        self.stretches.last().map(|last| last.until)
    }

    /// Returns true when the clock has shown an instant more than once.
    pub(super) fn is_again(&self, at: Timestamp) -> bool {
        self.repeats.values().any(|repeat| repeat.from <= at && at < repeat.until)
    }

    pub(super) fn is_vague(&self, at: Timestamp) -> bool {
        self.vague.iter().any(|&(from, until)| from <= at && at <= until)
    }

    pub(super) fn doubts(&mut self, from: Timestamp, until: Timestamp) {
        self.vague.push((from, until));
    }

    /// A process begins with what is committed.
    pub(super) fn starts(&mut self, cursor: Option<Timestamp>, repeat: Option<Repeat>, begun: bool) {
        self.pass = repeat.map_or(0, |repeat| repeat.pass);
        self.at_start = (self.stretches.clone(), cursor, self.pass);
        self.looked = None;
        if !begun {
            self.stretches.clear();
        }
    }

    /// Time has passed when a reload takes over, which does not look at the clocks.
    pub(super) fn passes(&mut self, wall: Timestamp, file: usize) {
        if self.until().is_none_or(|until| wall > until) {
            self.extends(wall, file);
        }
    }

    /// The daemon has looked at its clocks: all that is due up to now comes due, once in each pass.
    pub(super) fn sees(&mut self, now: Now, file: usize, planned: PlanProgress) -> Result<(), String> {
        let looked = self.looked.replace(now);
        let Some(until) = self.until() else {
            self.pass = planned.repeat.map_or(0, |repeat| repeat.pass);
            self.extends(now.wall, file);
            return Ok(());
        };
        if let Some(repeat) = planned.repeat.filter(|repeat| repeat.pass != self.pass) {
            return self.goes_back(now, file, repeat, planned.committed);
        }
        let back = until.duration_since(now.wall);
        if back > WAITS_AT_MOST {
            let unseen = |cursor: &Timestamp| cursor.duration_since(now.wall) <= WAITS_AT_MOST + AHEAD;
            let Some(cursor) = planned.cursor.filter(unseen) else {
                return Err(format!("the clock was set back by {back:#}, and is not followed"));
            };
            // A journal that hung has kept what the clock has shown from being planned. It comes
            // again.
            self.cut(cursor);
        }
        if now.wall <= until {
            return Ok(());
        }
        // Another machine's clocks tell nothing of this one's.
        let passed = |before: Now| before.wall.checked_add(now.mono.checked_sub(before.mono)?).ok();
        let unset = looked.and_then(passed).map(|unset| unset.min(now.wall));
        if let (Some(unset), Some(repeat)) = (unset, planned.repeat)
            && now.wall.duration_since(unset) >= SET
            && repeat.until > unset
        {
            // A clock that is put right leaves out what it has shown before.
            let skipped_until = repeat.until.min(now.wall);
            self.extends(unset.max(until), file);
            self.doubts(unset - AHEAD, skipped_until + AHEAD);
            let after = unset.max(skipped_until - JUST);
            self.stretches.push(ShownStretch { after, until: now.wall, file, pass: self.pass });
            return Ok(());
        }
        self.extends(now.wall, file);
        Ok(())
    }

    fn extends(&mut self, wall: Timestamp, file: usize) {
        let pass = self.pass;
        match self.stretches.last_mut() {
            Some(last) if last.file == file && last.pass == pass => last.until = wall,
            Some(last) => {
                let after = last.until;
                self.stretches.push(ShownStretch { after, until: wall, file, pass });
            }
            None => self.stretches.push(ShownStretch { after: wall, until: wall, file, pass }),
        }
    }

    fn goes_back(
        &mut self,
        now: Now,
        file: usize,
        repeat: Repeat,
        committed: Option<Timestamp>,
    ) -> Result<(), String> {
        let until = self.until().unwrap_or(now.wall);
        let back = until.duration_since(now.wall);
        if back <= FOLLOWED {
            return Err(format!("the clock was set back by {back:#} alone, and is followed: {repeat:?}"));
        }
        if repeat.pass < self.pass || repeat.from > now.wall || committed > Some(repeat.until) {
            return Err(format!("{repeat:?} at {} after pass {} and {committed:?}", now.wall, self.pass));
        }
        // Claimed ahead: the clock has not come to it.
        self.doubts(until, repeat.until + AHEAD);
        self.cut(repeat.until);
        self.pass = repeat.pass;
        self.repeats.insert(repeat.pass, repeat);
        let pass = repeat.pass;
        self.stretches.push(ShownStretch { after: now.wall - JUST, until: now.wall, file, pass });
        Ok(())
    }

    /// Occurrences from this instant on were not planned.
    fn cut(&mut self, cursor: Timestamp) {
        for stretch in &mut self.stretches {
            stretch.until = stretch.until.min(cursor - JUST).max(stretch.after);
        }
    }

    /// The journal is an older copy of itself. What came due since comes due again.
    pub(super) fn is_restored(&mut self, cursor: Timestamp, repeat: Option<Repeat>, file: usize) {
        self.doubts(cursor - AHEAD, cursor);
        let (before, pass) = (cursor - JUST, repeat.map_or(0, |repeat| repeat.pass));
        self.pass = pass;
        self.repeats.retain(|known, _| *known <= pass);
        self.stretches.retain_mut(|stretch| {
            stretch.until = before.min(stretch.until);
            stretch.pass <= pass && stretch.after < stretch.until
        });
        if self.stretches.last().is_none_or(|last| last.pass != pass) {
            self.stretches.push(ShownStretch { after: before, until: before, file, pass });
        }
    }

    /// Instants that no journal knows come due in another life.
    pub(super) fn died(&mut self, cursor: Timestamp, repeat: Option<Repeat>, file: usize) {
        let pass = repeat.map_or(0, |repeat| repeat.pass);
        // The next life plans this stretch again, by its own file.
        self.doubts(cursor - AHEAD, cursor);
        if (Some(cursor), pass) == (self.at_start.1, self.at_start.2) {
            // None of the occurrences that were planned is claimed.
            self.stretches = std::mem::take(&mut self.at_start.0);
        }
        // An occurrence at the cursor is not before it.
        let before = cursor - JUST;
        self.stretches.retain_mut(|stretch| {
            if stretch.pass == pass {
                stretch.until = before.min(stretch.until);
            }
            stretch.pass <= pass && stretch.after < stretch.until
        });
        self.pass = pass;
        if self.stretches.last().is_none_or(|last| last.pass != pass) {
            self.stretches.push(ShownStretch { after: before, until: before, file, pass });
        }
    }
}
