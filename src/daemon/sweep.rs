//! The sweep: plans the window from the cursor to a few seconds ahead, once a second.
//!
//! One job on tokio-cron-scheduler, in UTC, gives the beat. A beat that comes late, twice or never
//! changes nothing: the window is just longer or shorter, and the loop sweeps of itself when the
//! plan runs low.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::clock::Now;
use crate::journal::Repeat;
use crate::schedule::{Entry, Schedule};
use crate::timetable::{Occurrence, Timetable};

/// The look-ahead of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Occurrences are planned up to this time ahead of now.
    pub(super) ahead: Duration,
    /// The plan runs low when it reaches no further than this.
    low: Duration,
}

impl Reach {
    /// Look-ahead of a daemon whose journal nobody else uses. A disk that hangs for less than 5 s
    /// delays nothing.
    pub(crate) const ALONE: Reach = Reach { ahead: Duration::from_secs(5), low: Duration::from_secs(2) };

    /// Look-ahead of a leader among several members. It reaches no further than a permit to send,
    /// so that claimed occurrences are sent on time even without the database, and so that few are
    /// in doubt when another member takes over.
    pub(crate) const SHARED: Reach = Reach { ahead: Duration::from_secs(2), low: Duration::from_millis(900) };
}

/// The longest window that is planned in one step: what a long sleep left is taken in portions.
const PORTION: Duration = Duration::from_secs(60 * 60);

/// A clock that shows an earlier time is wrong: this program did not exist then. A machine without
/// a battery boots in 1970 and is corrected soon. The date is `SOURCE_DATE_EPOCH` of the build, as
/// packagers set it; else the date of these sources. (Not the instant of compiling: a clock that is
/// set back by an hour right after an upgrade is still one.)
const PLAUSIBLE: Timestamp = match option_env!("SOURCE_DATE_EPOCH") {
    // Tests run in a time of their own.
    Some(epoch) if !cfg!(test) => Timestamp::constant(seconds(epoch), 0),
    _ => SOURCES,
};

/// No build is older.
const SOURCES: Timestamp = Timestamp::constant(SOURCES_AT, 0);

/// 2025-12-01, in seconds since 1970.
const SOURCES_AT: i64 = 1_764_547_200;

/// The year 3000: no build is dated later.
const LAST: i64 = 32_503_680_000;

/// A clock may be behind what it has shown by so much before that is told: ntpd slews it by less.
const NOT_BEHIND: SignedDuration = SignedDuration::from_secs(1);

/// A clock that is set back by more is followed; one that is set back by so much or less is waited
/// for.
const WAITS_AT_MOST: SignedDuration = SignedDuration::from_mins(1);

/// The number that a text is. What is no number, and what is before the sources, is the date of the
/// sources.
const fn seconds(text: &str) -> i64 {
    match i64::from_str_radix(text, 10) {
        Ok(seconds) if seconds > SOURCES_AT && seconds < LAST => seconds,
        _ => SOURCES_AT,
    }
}

/// The plan: what is due, and how far that is known.
pub(crate) struct Sweep {
    timetable: SweepPlan,
    /// Everything before this instant is planned. It never moves back, whatever the clock does.
    /// `None` until the clock is plausible.
    cursor: Option<Timestamp>,
    /// The latest instant that the clock is known to have shown. `None` until it is plausible.
    shown: Option<Timestamp>,
    /// The journal's cursor at the start, which a former process had reached. `None`: there was
    /// none.
    claimed: Option<Timestamp>,
    /// The last stretch that the clock showed again. `None`: it was never set back.
    repeat: Option<Repeat>,
    /// The program's build date. Nothing is planned while the clock shows an earlier time.
    plausible: Timestamp,
    /// Only occurrences that are scheduled before this instant are planned.
    end: Timestamp,
    reach: Reach,
}

enum SweepPlan {
    /// Begins with the first plausible time.
    From(Schedule),
    Running(Timetable),
}

impl Sweep {
    /// Returns a sweep that plans from `from` on. `None`: it plans from the first plausible time
    /// on.
    pub(crate) fn new(schedule: &Schedule, from: Option<Timestamp>) -> Sweep {
        let timetable = match from {
            Some(from) => SweepPlan::Running(Timetable::new(schedule, from)),
            None => SweepPlan::From(schedule.clone()),
        };
        Sweep {
            timetable,
            cursor: from,
            shown: from,
            claimed: None,
            repeat: None,
            plausible: PLAUSIBLE,
            end: Timestamp::MAX,
            reach: Reach::ALONE,
        }
    }

    /// Returns a sweep that goes on where a former process had planned everything before `cursor`,
    /// some of it ahead. Another schedule may have further occurrences in the stretch ahead. The
    /// journal knows those that the former process claimed there.
    pub(super) fn again(schedule: &Schedule, cursor: Option<Timestamp>, repeat: Option<Repeat>) -> Sweep {
        let ahead = Reach::ALONE.ahead;
        // Occurrences before the instant to which the clock was set back belong to an earlier pass,
        // in which they were claimed.
        let first = repeat.map_or(Timestamp::MIN, |repeat| repeat.from);
        let from =
            |cursor: Timestamp| cursor.checked_sub(ahead).unwrap_or(Timestamp::MIN).max(first.min(cursor));
        Sweep { repeat, claimed: cursor, ..Sweep::new(schedule, cursor.map(from)) }
    }

    /// Returns this sweep with another look-ahead.
    pub(crate) fn reaching(self, reach: Reach) -> Sweep {
        Sweep { reach, ..self }
    }

    /// Returns the look-ahead.
    pub(crate) fn reach(&self) -> Reach {
        self.reach
    }

    /// Returns a sweep with a timetable that was built beforehand. A timetable that begins later
    /// than `from` is built anew.
    pub(super) fn resume(schedule: &Schedule, mut timetable: Timetable, from: Timestamp) -> Sweep {
        if timetable.position() > from {
            return Sweep::new(schedule, Some(from));
        }
        timetable.step(from);
        Sweep { timetable: SweepPlan::Running(timetable), ..Sweep::new(&Schedule::default(), Some(from)) }
    }

    /// Plans what is due with `from` <= scheduled_at < `until`, whatever the clock may show.
    pub(super) fn within(schedule: &Schedule, from: Timestamp, until: Timestamp) -> Sweep {
        Sweep { plausible: Timestamp::MIN, end: until, ..Sweep::new(schedule, Some(from)) }
    }

    /// The next portion of what is due up to a few seconds ahead of now. `None` when all of it is
    /// planned.
    pub(crate) fn step(&mut self, now: Now) -> Option<Vec<Occurrence>> {
        if now.wall < self.plausible {
            return None;
        }
        let cursor = *self.cursor.get_or_insert(now.wall);
        if let SweepPlan::From(schedule) = &self.timetable {
            self.timetable = SweepPlan::Running(Timetable::new(schedule, cursor));
        }
        let horizon = now.wall.checked_add(self.reach.ahead).unwrap_or(Timestamp::MAX);
        self.step_to(horizon)
    }

    /// The next portion of what is due before an instant. `None` when all of it is planned.
    pub(super) fn step_to(&mut self, horizon: Timestamp) -> Option<Vec<Occurrence>> {
        let (cursor, horizon) = (self.cursor?, horizon.min(self.end));
        let SweepPlan::Running(timetable) = &mut self.timetable else {
            return None;
        };
        if cursor >= horizon {
            return None;
        }
        let until = cursor.checked_add(PORTION).unwrap_or(Timestamp::MAX).min(horizon);
        self.cursor = Some(until);
        self.shown = self.shown.max(until.checked_sub(self.reach.ahead).ok());
        let mut occurrences = timetable.step(until);
        if let Some(Repeat { pass, from, until }) = self.repeat {
            let again = |at| from <= at && at < until;
            occurrences.iter_mut().filter(|it| again(it.scheduled_at)).for_each(|it| it.pass = pass);
        }
        Some(occurrences)
    }

    /// Takes the plan back with a clock that was set back by more than a minute. Returns the
    /// stretch that the clock shows again. `None`: the clock was set back by less, or not at all.
    pub(super) fn goes_back(&mut self, now: Now) -> Option<Repeat> {
        let shown = self.waits_for_clock(now)?;
        let cursor = self.cursor.max(self.claimed)?;
        if now.wall < self.plausible || shown.duration_since(now.wall) <= WAITS_AT_MOST {
            return None;
        }
        let SweepPlan::Running(timetable) = &mut self.timetable else {
            return None;
        };
        timetable.go_back(now.wall);
        let former = self.repeat;
        let pass = former.map_or(1, |former| former.pass.saturating_add(1));
        let until = former.map_or(cursor, |former| former.until.max(cursor));
        let repeat = Repeat { pass, from: now.wall, until };
        (self.cursor, self.shown) = (Some(now.wall), Some(now.wall));
        self.repeat = Some(repeat);
        Some(repeat)
    }

    /// The clock was set forward: what it skips of a stretch that it was showing again is left out,
    /// for it has been shown. Returns where that ends.
    pub(super) fn skips_repeated(&mut self, now: Now) -> Option<Timestamp> {
        let repeat = self.repeat?;
        let until = repeat.until.min(now.wall);
        if self.cursor? < until
            && let SweepPlan::Running(timetable) = &mut self.timetable
        {
            timetable.step(until);
            (self.cursor, self.shown) = (Some(until), self.shown.max(Some(until)));
        }
        Some(until)
    }

    /// The last stretch that the clock showed again.
    pub(crate) fn repeat(&self) -> Option<Repeat> {
        self.repeat
    }

    /// Returns this sweep with a stretch that the clock shows again.
    pub(super) fn repeating(self, repeat: Option<Repeat>) -> Sweep {
        Sweep { repeat, ..self }
    }

    /// Returns the instant before which everything is planned.
    pub(crate) fn cursor(&self) -> Option<Timestamp> {
        self.cursor
    }

    /// The entries that are due next of what is not planned yet: at most so many.
    pub(super) fn soonest(&self, most: usize) -> Vec<(&Arc<Entry>, Timestamp)> {
        match &self.timetable {
            SweepPlan::Running(timetable) => timetable.soonest(most),
            SweepPlan::From(_) => Vec::new(),
        }
    }

    /// The latest instant that the clock is known to have shown. `None` until it is plausible.
    pub(super) fn shown_before(&self) -> Option<Timestamp> {
        self.shown
    }

    /// Returns the instant for which planning waits, because the clock was set back or shows a time
    /// before the program's build date. `None`: planning does not wait.
    pub(super) fn waits_for_clock(&self, now: Now) -> Option<Timestamp> {
        if now.wall < self.plausible {
            return Some(self.plausible);
        }
        let behind = |shown: &Timestamp| shown.duration_since(now.wall) > NOT_BEHIND;
        // A time that is made up begins where it is told to.
        self.shown.filter(|shown| self.plausible > Timestamp::MIN && behind(shown))
    }

    /// Returns true when a clock that shows this time may be right.
    pub(super) fn is_plausible(&self, at: Timestamp) -> bool {
        at >= self.plausible
    }

    /// Returns the number of entries in the plan.
    pub(super) fn entries(&self) -> usize {
        match &self.timetable {
            SweepPlan::From(schedule) => schedule.entries.len(),
            SweepPlan::Running(timetable) => timetable.entries(),
        }
    }

    /// The first full second at which a step brings something. Beats before it may be left out.
    pub(crate) fn brings_at(&self) -> Option<Timestamp> {
        let SweepPlan::Running(timetable) = &self.timetable else {
            return None;
        };
        let reach = SignedDuration::try_from(self.reach.ahead).ok()? - SignedDuration::from_secs(1);
        let next = timetable.next_at().filter(|&next| next < self.end)?;
        Some(next.checked_sub(reach).unwrap_or(Timestamp::MIN))
    }

    /// Returns true when something may be due that is not planned yet.
    pub(crate) fn is_behind(&self, now: Now) -> bool {
        now.wall >= self.plausible && self.cursor.is_none_or(|cursor| cursor < now.wall.min(self.end))
    }

    /// Returns the time until the plan runs low.
    pub(super) fn low_in(&self, now: Now) -> Duration {
        match self.cursor {
            Some(cursor) => now.until(cursor).saturating_sub(self.reach.low),
            None if now.wall < self.plausible => self.reach.low,
            None => Duration::ZERO,
        }
    }

    /// Returns true when the next window is overdue.
    pub(super) fn runs_low(&self, now: Now) -> bool {
        self.low_in(now).is_zero()
    }
}

/// The timer of claim windows and of housekeeping.
pub(super) struct Ticks {
    scheduler: JobScheduler,
    beats: mpsc::Receiver<()>,
    prunings: mpsc::Receiver<()>,
    reminders: mpsc::Receiver<()>,
}

impl Ticks {
    /// Starts the beat, every second, the housekeeping, every hour, and the reminders, every day,
    /// in UTC.
    pub(super) async fn start() -> Result<Ticks, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        let beats = every(&scheduler, "* * * * * *").await?;
        // Off the minutes on which most schedules are due.
        let prunings = every(&scheduler, "43 37 * * * *").await?;
        let reminders = every(&scheduler, "13 37 6 * * *").await?;
        scheduler.start().await?;
        Ok(Ticks { scheduler, beats, prunings, reminders })
    }

    /// The next beat. Never comes when the scheduler has died: the loop does not depend on it.
    pub(super) async fn next(&mut self) -> Tick {
        tokio::select! {
            Some(()) = self.beats.recv() => Tick::ClaimWindow,
            Some(()) = self.prunings.recv() => Tick::Prune,
            Some(()) = self.reminders.recv() => Tick::Remind,
            else => std::future::pending().await,
        }
    }

    /// Ends the beat.
    pub(super) async fn stop(mut self) {
        // The daemon ends whether or not its beat can be ended in order.
        let _ = self.scheduler.shutdown().await;
    }
}

/// Work that is to be done now.
pub(super) enum Tick {
    /// Sweep.
    ClaimWindow,
    /// Take old rows out of the journal.
    Prune,
    /// Tell again what nobody has mended.
    Remind,
}

/// A signal on each occurrence of a cron expression. One that waits is as good as many.
async fn every(scheduler: &JobScheduler, cron: &str) -> Result<mpsc::Receiver<()>, JobSchedulerError> {
    let (signal, signals) = mpsc::channel(1);
    let job = Job::new(cron, move |_, _| {
        let _ = signal.try_send(());
    })?;
    scheduler.add(job).await?;
    Ok(signals)
}
